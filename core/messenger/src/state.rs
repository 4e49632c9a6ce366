//! Sealing of the columns named `*_sealed`: ratchets, private keys and seal secrets are encrypted once more inside the database,
//! bound to table and row, so that no row can be put in another's place.

use rand_core::CryptoRng;
use sotto_crypto::secret::StateKey;
use sotto_crypto::state::{StateRow, Stored, open_state, seal_state};

use crate::store::{DatabaseKey, StoreError};

/// Number of the format of sealed rows.
const FORMAT: u64 = 1;

/// Seals and opens state rows of one profile.
#[derive(Clone)]
pub(crate) struct StateSeal(StateKey);

impl StateSeal {
    /// Derives the state key from the database's.
    pub(crate) fn new(key: &DatabaseKey) -> Self {
        Self(StateKey::of_database(key.as_bytes()))
    }

    pub(crate) fn seal(&self, table: &str, row: &[u8], state: &impl Stored, rng: &mut impl CryptoRng) -> Vec<u8> {
        seal_state(state, &self.0, &StateRow { table, id: row, version: FORMAT }, rng)
    }

    pub(crate) fn open<S: Stored>(&self, table: &str, row: &[u8], sealed: &[u8]) -> Result<S, StoreError> {
        open_state(sealed, &self.0, &StateRow { table, id: row, version: FORMAT }).map_err(|error| {
            tracing::error!(table, %error, "a sealed row does not open");
            StoreError::Corrupt
        })
    }
}
