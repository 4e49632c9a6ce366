//! Secret state at rest: ratchets, KEM keys and seals, each sealed as a row of the store (`docs/protocol.md` section 9).
//!
//! XChaCha20-Poly1305 under the state key with a random nonce, so that storing the same state twice never gives the same bytes; table,
//! row and format are associated data, so that no row can be put in another's place or read as what it is not. The store itself is
//! encrypted too; what this layer adds is the tie between a state and its place.
//! Not here: telling an older copy of a row from the newest. Rows age together, and the store knows how old it is as a whole.

use rand_core::CryptoRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sotto_protocol::label::{STATE_ROW, labelled};
use zeroize::Zeroizing;

use crate::aead;
use crate::secret::StateKey;

/// Why a stored row is not read. This device's store is damaged, or not the one the key belongs to: never "it is not there".
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateError {
    /// It does not open with this key as this version of this row.
    #[error("the stored state does not open")]
    CannotOpen,
    /// It opens, and is not what this code writes.
    #[error("the stored state is malformed")]
    Malformed,
}

/// Which row of the store a state is.
#[derive(Clone, Copy)]
pub struct StateRow<'a> {
    /// Name of the table.
    pub table: &'a str,
    /// Key of the row.
    pub id: &'a [u8],
    /// Numbers the format of what is sealed.
    pub version: u64,
}

impl StateRow<'_> {
    fn aad(&self) -> Vec<u8> {
        labelled(STATE_ROW, &[self.table.as_bytes(), self.id, &self.version.to_be_bytes()])
    }
}

/// State that a store may keep, only sealed.
pub trait Stored: sealed::Row {}

pub(crate) mod sealed {
    use super::{StateError, Zeroizing};

    pub trait Row: Sized {
        fn to_bytes(&self) -> Zeroizing<Vec<u8>>;
        fn from_bytes(bytes: &[u8]) -> Result<Self, StateError>;
    }
}

/// Seals a state as a row.
#[must_use]
pub fn seal_state(state: &impl Stored, key: &StateKey, row: &StateRow<'_>, rng: &mut impl CryptoRng) -> Vec<u8> {
    aead::seal(key.as_bytes(), &row.aad(), &state.to_bytes(), rng)
}

/// Opens a row.
///
/// # Errors
/// [`StateError::CannotOpen`] for another key, table, row or version, and for damage.
pub fn open_state<S: Stored>(sealed: &[u8], key: &StateKey, row: &StateRow<'_>) -> Result<S, StateError> {
    S::from_bytes(&aead::open(key.as_bytes(), &row.aad(), sealed).ok_or(StateError::CannotOpen)?)
}

/// vodozemac's state is tagged by name, which only a format that describes itself can carry.
pub(crate) fn to_json(value: &impl Serialize) -> Zeroizing<Vec<u8>> {
    // Large enough for most sessions: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    serde_json::to_writer(&mut *bytes, value)
        .expect("state holds numbers, strings and lists, and memory takes every write");
    bytes
}

pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    serde_json::from_slice(bytes).map_err(|_| StateError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kem::KemPrivateKey;
    use crate::olm::{OlmAccount, OlmSession};
    use crate::seal::SealKey;
    use crate::testing::{NOW, rng};

    const ROW: StateRow<'_> = StateRow { table: "session", id: b"row", version: 3 };

    #[test]
    fn a_state_opens_as_the_row_that_it_was_sealed_as_and_as_no_other() {
        let (mut rng, key) = (rng(1), StateKey::from_bytes([7; 32]));
        let account = OlmAccount::generate(NOW);
        let sealed = seal_state(&account, &key, &ROW, &mut rng);
        assert!(
            open_state::<OlmAccount>(&sealed, &key, &ROW).is_ok_and(|opened| opened.ed25519() == account.ed25519())
        );
        let mut tampered = sealed.clone();
        tampered[100] ^= 1;
        let other_key = StateKey::from_bytes([8; 32]);
        for (sealed, key, row) in [
            (&sealed, &key, StateRow { table: "account", ..ROW }),
            (&sealed, &key, StateRow { id: b"other", ..ROW }),
            (&sealed, &key, StateRow { version: 2, ..ROW }),
            (&sealed, &other_key, ROW),
            (&tampered, &key, ROW),
            (&Vec::new(), &key, ROW),
        ] {
            assert_eq!(open_state::<OlmAccount>(sealed, key, &row).err(), Some(StateError::CannotOpen));
        }
    }

    #[test]
    fn the_same_state_sealed_twice_has_nothing_in_common() {
        let (mut rng, key) = (rng(1), StateKey::from_bytes([7; 32]));
        let account = OlmAccount::generate(NOW);
        let (one, two) = (seal_state(&account, &key, &ROW, &mut rng), seal_state(&account, &key, &ROW, &mut rng));
        assert!(one[..24] != two[..24] && one.chunks(16).zip(two.chunks(16)).all(|(one, two)| one != two));
    }

    #[test]
    fn nothing_readable_is_in_a_sealed_state() {
        let (mut rng, key) = (rng(1), StateKey::from_bytes([7; 32]));
        let kem = KemPrivateKey::generate(&mut rng);
        let sealed = seal_state(&kem, &key, &ROW, &mut rng);
        assert!(!sealed.windows(32).any(|window| window == kem.to_bytes().as_slice()));
        assert!(
            open_state::<KemPrivateKey>(&sealed, &key, &ROW).is_ok_and(|opened| opened.to_bytes() == kem.to_bytes())
        );
    }

    #[test]
    fn a_row_of_another_kind_is_malformed() {
        let (mut rng, key) = (rng(1), StateKey::from_bytes([7; 32]));
        let sealed = seal_state(&OlmAccount::generate(NOW), &key, &ROW, &mut rng);
        assert_eq!(open_state::<OlmSession>(&sealed, &key, &ROW).err(), Some(StateError::Malformed));
        assert_eq!(open_state::<KemPrivateKey>(&sealed, &key, &ROW).err(), Some(StateError::Malformed));
        assert_eq!(open_state::<SealKey>(&sealed, &key, &ROW).err(), Some(StateError::Malformed));
    }
}
