//! What relays hold of the chains that we write, and going on behind it.
//!
//! Whoever comes late, from an older copy of this database, does not know what its chains say by now. The account's own chain must be read
//! before anything is signed: it alone says what the account's list is (PROTOCOL B2, B4). Any other that cannot be read now keeps its place:
//! what is appended to it as we knew it is refused, and then it goes on behind whatever is there (`clerk.rs`).

use std::sync::Arc;

use rusqlite::params;
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::secret::ChainKey;
use sotto_protocol::{AccountId, Bytes, ChainId, Timestamp};

use super::chain::{self, Chain};
use super::{Own, siblings};
use crate::contact::ChainAddress;
use crate::engine::Engine;
use crate::error::Error;
use crate::manifests::{self, Part};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// A chain of ours, and what its relay holds of it.
pub(crate) struct HeldChain {
    pub(crate) chain: ChainId,
    /// Hash of its last entry; empty where nothing is there.
    end: Bytes,
    /// The lists in it, the last one last.
    pub(crate) lists: Vec<VerifiedManifest>,
}

impl HeldChain {
    fn empty(chain: ChainId) -> Self {
        Self { chain, end: Bytes::new(), lists: Vec::new() }
    }

    pub(crate) fn newest(&self) -> Option<&VerifiedManifest> {
        self.lists.last()
    }
}

/// Reads the account's own chain. Nothing is made up where it cannot be read: without a list it is only where none was ever known to stand there.
pub(crate) async fn read_own_list(engine: &Arc<Engine>) -> Result<HeldChain, Error> {
    let chains = engine.read(|_, view| chains(view)).await?;
    let (_, address) = chains.into_iter().find(|(of, _)| *of == Chain::OwnDevices).ok_or(StoreError::Corrupt)?;
    let known = engine.read(|_, view| known_order(view)).await?;
    let held = match read(engine, &address).await {
        Err(Error::Relay(error)) if error.is("refused") => HeldChain::empty(address.chain),
        read => read?,
    };
    match held.newest() {
        None if known != (0, 0) => Err(Error::Peer { code: "own_list_missing" }),
        // Its relay came back from a backup, or says so: what it shows now is not what the account's list is.
        Some(list) if list.head().order() < known => Err(Error::Peer { code: "own_list_older" }),
        _ => Ok(held),
    }
}

/// Reads all other chains of ours, as far as they can be read now.
pub(crate) async fn read_others(engine: &Arc<Engine>) -> Result<Vec<HeldChain>, Error> {
    let mut held = Vec::new();
    for (of, address) in engine.read(|_, view| chains(view)).await? {
        if of == Chain::OwnDevices {
            continue;
        }
        match read(engine, &address).await {
            Ok(chain) => held.push(chain),
            // Nobody has begun it, or it is gone: it begins with our next list.
            Err(Error::Relay(error)) if error.is("refused") => {
                held.push(HeldChain::empty(address.chain));
            }
            Err(error @ Error::Store(_)) => return Err(error),
            Err(error) => tracing::debug!(code = error.code(), "a chain of ours cannot be read now"),
        }
    }
    Ok(held)
}

async fn read(engine: &Arc<Engine>, address: &ChainAddress) -> Result<HeldChain, Error> {
    let part = manifests::read_own(&engine.client, address).await?;
    let ours = engine.read(|_, view| certified(view)).await?;
    let lists = lists(&ours, &part)?;
    Ok(HeldChain { chain: address.chain, end: part.end, lists })
}

/// The lists of a chain of ours. Only our root key certifies who signs them.
fn lists(ours: &Certified, part: &Part) -> Result<Vec<VerifiedManifest>, Error> {
    let reload = |entry: &Bytes| VerifiedManifest::reload(&ours.account, entry.clone());
    let lists: Result<Vec<_>, _> = part.entries.iter().map(reload).collect();
    let lists = lists.map_err(|_| Error::Peer { code: "own_list_refused" })?;
    let is_second =
        |list: &VerifiedManifest| list.head().epoch == ours.epoch && **list.certificate().bytes() != *ours.certificate;
    if lists.iter().any(is_second) { Err(Error::Peer { code: "account_compromised" }) } else { Ok(lists) }
}

/// Whose list it must be.
struct Certified {
    account: AccountId,
    epoch: u32,
    certificate: Vec<u8>,
}

fn certified(view: &impl Query) -> Result<Certified, StoreError> {
    let found = view.one("SELECT account, epoch, certificate FROM account", [], |row| {
        Ok(Certified { account: AccountId::from_bytes(row.get(0)?), epoch: row.get(1)?, certificate: row.get(2)? })
    })?;
    found.ok_or(StoreError::Corrupt)
}

/// Epoch and version of the newest list that is known to have stood in the account's own chain.
fn known_order(view: &impl Query) -> Result<(u32, u32), StoreError> {
    let sql = "SELECT stood_epoch, stood_version FROM own_chain WHERE audience = ?1";
    let known = view.one(sql, [Chain::OwnDevices.code()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(known.unwrap_or_default())
}

/// The chains that we write.
fn chains(view: &impl Query) -> Result<Vec<(Chain, ChainAddress)>, StoreError> {
    let rows = view.all(
        "SELECT audience, relay, chain, chain_key FROM own_chain WHERE audience != ?1 ORDER BY audience, id",
        [Chain::Gone.code()],
        |row| {
            let (audience, relay): (i64, String) = (row.get(0)?, row.get(1)?);
            Ok((audience, relay, ChainId::from_bytes(row.get(2)?), ChainKey::from_bytes(row.get(3)?)))
        },
    )?;
    rows.into_iter()
        .map(|(audience, relay, chain, key)| {
            let relay = relay.parse().map_err(|_| StoreError::Corrupt)?;
            Ok((Chain::from_code(audience)?, ChainAddress { relay, chain, key }))
        })
        .collect()
}

/// From now on our chains are what their relays hold: the next list follows that, and is later than all of them. What was still to be
/// appended is not any more. Returns those that hold less than we knew, or nothing.
pub(super) fn adopt<'a>(
    tx: &mut Tx<'_>,
    own: &Own,
    held: &'a [HeldChain],
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<Vec<&'a HeldChain>, StoreError> {
    tx.execute("DELETE FROM relay_task WHERE kind IN (4, 6)", [])?;
    let own_id = chains(tx)?.into_iter().find(|(of, _)| *of == Chain::OwnDevices).map(|(_, address)| address.chain);
    let mut shorter = Vec::new();
    for chain in held {
        let Some(list) = chain.newest() else {
            shorter.push(chain);
            continue;
        };
        let head = list.head();
        let adopted = tx.execute(
            "UPDATE own_chain SET epoch = ?2, version = ?3, hash = ?4, entry_hash = ?5, manifest = ?6, told = NULL,
                 stood_epoch = ?2, stood_version = ?3 WHERE chain = ?1 AND (epoch, version) <= (?2, ?3)",
            params![
                chain.chain.as_ref(),
                head.epoch,
                head.version,
                head.hash,
                chain.end.as_ref(),
                list.bytes().as_ref()
            ],
        )?;
        if adopted == 0 {
            shorter.push(chain);
        }
        tx.execute(
            "UPDATE account SET version = max(version, ?2) WHERE epoch = ?1",
            params![head.epoch, head.version],
        )?;
    }
    let own_chain = held.iter().find(|held| own_id == Some(held.chain));
    siblings::list_was_read(tx, own, own_chain.map_or(&[], |own_chain| &own_chain.lists), now, chance)?;
    Ok(shorter)
}

/// These go on behind what is there, with the list that was signed since.
pub(super) fn go_on_behind(tx: &mut Tx<'_>, shorter: &[&HeldChain], chance: &mut Chance<'_>) -> Result<(), StoreError> {
    shorter.iter().try_for_each(|chain| chain::begin_behind(tx, &chain.chain, &chain.end, chance))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn h2_what_has_stood_is_known_also_while_something_waits() {
        let view = Connection::open_in_memory().unwrap();
        view.execute_batch(include_str!("../store/schema.sql")).unwrap();
        assert_eq!(known_order(&view).unwrap(), (0, 0));
        view.execute_batch(
            "INSERT INTO own_chain (audience, relay, chain, chain_key, write_key_sealed, epoch, version, hash, entry_hash, manifest,
                 stood_epoch, stood_version) VALUES (0, '', x'01', x'', x'', 1, 7, x'', x'', x'', 1, 6);
             INSERT INTO relay_task (relay, subject, kind, body, batch) VALUES ('', x'01', 4, x'', 1);",
        )
        .unwrap();
        assert_eq!(known_order(&view).unwrap(), (1, 6));
    }
}
