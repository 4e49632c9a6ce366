//! Where chains of ours end at their relays, and going on behind whatever is there.

use rusqlite::params;
use sotto_crypto::manifest::{VerifiedManifest, seal_entry};
use sotto_crypto::secret::ChainKey;
use sotto_protocol::label::chain_entry_hash;
use sotto_protocol::{AccountId, Bytes, ChainId, relay};

use crate::store::{Query, StoreError, Tx};
use crate::task::{self, Subject};
use crate::world::Chance;

/// A chain's relay has another head than we wrote: from now on the chain is the newest manifest as a snapshot in place of everything up to
/// that head, which is empty where the chain is gone. What was queued for it is in there.
pub(crate) fn begin_behind(
    tx: &mut Tx<'_>,
    chain: &ChainId,
    head: &[u8],
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let row = tx.one(
        "SELECT relay, chain_key, manifest FROM own_chain WHERE chain = ?1 AND audience != 3",
        [chain.as_ref()],
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, Vec<u8>>(2)?)),
    )?;
    let Some((relay, key, manifest)) = row else { return Ok(()) };
    let account =
        tx.one("SELECT account FROM account", [], |row| row.get::<_, [u8; 32]>(0))?.ok_or(StoreError::Corrupt)?;
    let manifest =
        VerifiedManifest::reload(&AccountId::from_bytes(account), manifest.into()).map_err(|_| StoreError::Corrupt)?;
    // Behind that head, so that who has read up to it finds something new.
    let key = ChainKey::from_bytes(key);
    let batch = task::newest_batch(tx, chain)?.map_or_else(|| task::new_batch(tx), Ok)?;
    let relay = relay.parse().map_err(|_| StoreError::Corrupt)?;
    let entry = seal_entry(&manifest, chain, &key, chance);
    let behind = chain_entry_hash(head, &entry);
    task::forget_chain(tx, chain)?;
    tx.execute("UPDATE own_chain SET entry_hash = ?2 WHERE chain = ?1", params![chain.as_ref(), behind])?;
    let append = relay::ChainAppend {
        chain: (*chain).into(),
        previous: Bytes::copy_from_slice(head),
        entry: entry.into(),
        ..relay::ChainAppend::default()
    };
    task::queue(tx, batch, &relay, Subject::Chain(*chain), task::Kind::ChainAppend, &append)?;
    let compact = relay::ChainCompact {
        chain: (*chain).into(),
        head: Bytes::copy_from_slice(&behind),
        snapshot: seal_entry(&manifest, chain, &key, chance).into(),
    };
    task::queue(tx, batch, &relay, Subject::Chain(*chain), task::Kind::ChainCompact, &compact)
}

/// Our chains at a relay, with the hash of the last entry that we wrote.
pub(crate) fn ends_of_chains(view: &impl Query, relay: &str) -> Result<Vec<(ChainId, [u8; 32])>, StoreError> {
    view.all("SELECT chain, entry_hash FROM own_chain WHERE relay = ?1 AND audience != 3", [relay], |row| {
        Ok((ChainId::from_bytes(row.get(0)?), row.get(1)?))
    })
}

/// The hash of the last entry that we wrote to a chain.
pub(crate) fn end_of_chain(view: &impl Query, chain: &ChainId) -> Result<Option<[u8; 32]>, StoreError> {
    view.one("SELECT entry_hash FROM own_chain WHERE chain = ?1", [chain.as_ref()], |row| row.get(0))
}
