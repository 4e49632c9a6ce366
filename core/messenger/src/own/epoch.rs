//! A new epoch: the root key certifies another list key, and with it another home for the account's own chain (PROTOCOL B1, B2).

use rusqlite::params;
use sotto_crypto::certificate::{Certificate, Continues, Epoch};
use sotto_crypto::keys::{ListKey, RootKey};
use sotto_protocol::{RelayAddress, Timestamp};

use super::Own;
use super::chain::Chain;
use crate::error::Error;
use crate::store::{Query as _, StoreError, Tx};
use crate::world::Chance;

/// How far behind the last known epoch the next one may be numbered by who does not know whether it is the last: another copy of this profile may
/// have begun those behind it, and two certificates of one epoch would end the account. Two copies meet in one number once in so many.
const APART: u32 = 1 << 16;

/// Whether the last epoch that is known here is the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    All,
    /// This is a copy, and may not have heard of the last ones.
    Perhaps,
}

/// Certifies the next epoch, whose first list is still to be signed.
pub(super) fn begin(
    tx: &mut Tx<'_>,
    own: &Own,
    root: &RootKey,
    home: &RelayAddress,
    known: Known,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    if root.account() != own.account {
        return Err(Error::NeedsRootKey);
    }
    let last =
        tx.one("SELECT epoch, version, hash FROM own_chain WHERE audience = ?1", [Chain::OwnDevices.code()], |row| {
            Ok((row.get::<_, u32>(0)?, Continues { version: row.get(1)?, hash: row.get(2)? }))
        })?;
    let (epoch, continues) = last.ok_or(StoreError::Corrupt)?;
    let list_key = ListKey::generate(chance);
    let skipped = if known == Known::All { 0 } else { u32::from_be_bytes(chance.bytes()) % APART };
    let number = epoch.checked_add(1 + skipped).ok_or(StoreError::Corrupt)?;
    let epoch = Epoch { number, list_key: list_key.public(), continues: Some(continues), home: home.clone() };
    let certificate = Certificate::issue(root, epoch, now);
    tx.execute(
        "UPDATE account SET epoch = ?1, version = 0, list_key_sealed = ?2, certificate = ?3, certificate_signature = ?4",
        params![
            number,
            own.seal.seal("account.list_key", b"1", &list_key, chance),
            certificate.bytes().as_ref(),
            certificate.signature(),
        ],
    )?;
    Ok(())
}
