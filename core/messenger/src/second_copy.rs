//! Whether another copy of this profile has written to a chain of ours: a third witness against a restored or copied database (PROTOCOL H1).
//!
//! A relay that came back from a backup shows less than we wrote. A list that is newer than all of ours, or another one that follows the
//! same list of ours, only the account's own list key can have signed without us; so no relay can make this up. Lists of our other
//! chains prove nothing: they carry the same numbers, and who reads two chains can put one's list into the other. A relay that hides
//! such a list is not found out.
//! Where the account has other devices, they sign lists as well: then only a list of the account's own chain shows anything, which says
//! whose it is. One that this device has signed, by its own name, and that it did not write is a copy's; any other is to be taken up.

use std::sync::Arc;

use rusqlite::Connection;
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::secret::ChainKey;
use sotto_protocol::limits::MANIFEST_RENEWED;
use sotto_protocol::{AccountId, ChainId, RelayAddress, Timestamp};

use crate::contact::{ChainAddress, ContactRow};
use crate::engine::Engine;
use crate::error::Error;
use crate::own::siblings;
use crate::store::column::timestamp;
use crate::store::{Query as _, StoreError};
use crate::{manifests, own, prekey, task};

/// Whether a chain of ours at this relay shows it. Lists are renewed by the clock: until ours is due, or already waits to be appended,
/// another copy has renewed none either, and nothing is asked. A chain that cannot be read shows nothing, and holds nobody up.
pub(crate) async fn is_shown_by(engine: &Arc<Engine>, relay: &RelayAddress) -> Result<bool, Error> {
    let at = relay.to_string();
    let chain = engine.read(move |engine, view| could_show(view, &at, engine.network_now())).await?;
    let Some(chain) = chain else { return Ok(false) };
    match has_written(engine, relay, chain).await {
        Err(error @ (Error::Relay(_) | Error::Peer { .. })) => {
            tracing::debug!(code = error.code(), "our own chain cannot be read");
            Ok(false)
        }
        answer => answer,
    }
}

fn could_show(view: &Connection, relay: &str, now: Timestamp) -> Result<Option<ChainId>, StoreError> {
    // All chains are renewed together.
    let found = view.one(
        "SELECT chain, issued_at FROM own_chain, account
         WHERE relay = ?1 AND (audience = 0 OR audience = 1 AND NOT EXISTS (SELECT 1 FROM contact WHERE id = 0)) ORDER BY audience DESC LIMIT 1",
        [relay],
        |row| Ok((ChainId::from_bytes(row.get(0)?), timestamp(row.get(1)?))),
    )?;
    let Some((chain, issued_at)) = found else { return Ok(None) };
    let is_due = now >= prekey::renewal_due_at(issued_at, MANIFEST_RENEWED, now);
    Ok((is_due || task::is_written_to(view, &chain)?).then_some(chain))
}

/// Reads a chain of ours, and looks for a list in it that we did not write.
pub(crate) async fn has_written(engine: &Arc<Engine>, relay: &RelayAddress, chain: ChainId) -> Result<bool, Error> {
    let Some((account, key, _)) = engine.read(move |_, view| own(view, &chain)).await? else { return Ok(false) };
    let address = ChainAddress { relay: relay.clone(), chain, key };
    let part = manifests::read_own(&engine.client, &address).await?;
    // Afterwards: what we have written meanwhile is ours.
    let Some((_, _, own)) = engine.read(move |_, view| own(view, &chain)).await? else { return Ok(false) };
    let mut lists = part.entries.into_iter().filter_map(|entry| VerifiedManifest::reload(&account, entry).ok());
    let (are_none, device, signed) = engine
        .read(move |engine, view| {
            let signed = if own::is_own_list_in(view, &chain)? { Some(own::signed(view)?) } else { None };
            Ok::<_, Error>((siblings::are_none(view)?, engine.own().party.device, signed))
        })
        .await?;
    Ok(lists.any(|list| {
        // Nobody but our devices can write to the account's own chain, whatever its relay does: there it counts what has stood, and not what
        // is only signed here and waits.
        let is_lacking = signed.as_ref().is_some_and(|signed| signed.lacks(&list));
        if are_none {
            is_lacking || is_anothers(&Place::of(&list), &own)
        } else {
            is_lacking && list.author() == Some(&device)
        }
    }))
}

/// What became of a chain of ours that does not end as we wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// A copy of this device has written to it.
    Copy,
    /// Another device of ours has: what it wrote is taken up.
    Sibling,
    /// Its relay has lost something, or all of it.
    Loss,
}

/// Reads a chain of ours that does not end as we wrote it. A loss is written over, so it is one only where the chain was read: a relay that is busy
/// or serves nonsense may still hold what another device has written.
pub(crate) async fn look_at(engine: &Arc<Engine>, relay: &RelayAddress, chain: ChainId) -> Result<Found, Error> {
    match has_written(engine, relay, chain).await {
        Ok(false) => {}
        Ok(true) => return Ok(Found::Copy),
        Err(error) => return loss(error),
    }
    let (is_own, before) = engine
        .read(move |_, view| {
            let is_own = !siblings::are_none(view)? && own::is_own_list_in(view, &chain)?;
            Ok::<_, Error>((is_own, own::end_of_chain(view, &chain)?))
        })
        .await?;
    let result = if is_own {
        manifests::refresh(engine, ContactRow::OWN).await
    } else {
        take_up_projection(engine, relay, chain).await
    };
    match result {
        Ok(()) => {}
        Err(error) => return loss(error),
    }
    let after = engine.read(move |_, view| own::end_of_chain(view, &chain)).await?;
    Ok(if after == before { Found::Loss } else { Found::Sibling })
}

/// A chain that is gone, or that holds less than we know. Whatever else stops a reading says nothing, and it is done again.
fn loss(error: Error) -> Result<Found, Error> {
    let is_less = match &error {
        Error::Relay(error) => error.is("refused"),
        Error::Peer { code } => manifests::is_of_less(code),
        _ => false,
    };
    if is_less { Ok(Found::Loss) } else { Err(error) }
}

async fn take_up_projection(engine: &Arc<Engine>, relay: &RelayAddress, chain: ChainId) -> Result<(), Error> {
    let known = engine
        .read(move |_, view| Ok::<_, Error>(if siblings::are_none(view)? { None } else { own(view, &chain)? }))
        .await?;
    let Some((_, key, _)) = known else { return Ok(()) };
    let address = ChainAddress { relay: relay.clone(), chain, key };
    let part = manifests::read_own(&engine.client, &address).await?;
    engine
        .write(move |engine, tx| {
            let (own, now) = (engine.own(), engine.network_now());
            own::take_up_projection(tx, &own, &chain, &part.entries, &part.end, now, &mut engine.chance()).map(drop)
        })
        .await
}

/// Where a list stands among ours.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    /// Epoch and version: over all chains in ours, in one chain in what is found.
    order: (u32, u32),
    hash: [u8; 32],
    previous: Option<[u8; 32]>,
}

impl Place {
    fn of(list: &VerifiedManifest) -> Self {
        Self { order: list.head().order(), hash: list.head().hash, previous: list.previous().copied() }
    }
}

fn is_anothers(found: &Place, own: &Place) -> bool {
    let follows_the_same = found.previous.is_some() && found.previous == own.previous;
    found.order > own.order || found.order == own.order && found.hash != own.hash && follows_the_same
}

type Own = (AccountId, ChainKey, Place);

/// The account, the chain's key, and the place of the newest list that we wrote to it, with the newest number of all.
fn own(view: &Connection, chain: &ChainId) -> Result<Option<Own>, StoreError> {
    let found = view.one(
        "SELECT account, chain_key, account.epoch, account.version, manifest FROM own_chain, account WHERE chain = ?1",
        [chain.as_ref()],
        |row| {
            let account = AccountId::from_bytes(row.get(0)?);
            Ok((account, ChainKey::from_bytes(row.get(1)?), (row.get(2)?, row.get(3)?), row.get::<_, Vec<u8>>(4)?))
        },
    )?;
    let Some((account, key, order, manifest)) = found else { return Ok(None) };
    let manifest = VerifiedManifest::reload(&account, manifest.into()).map_err(|_| StoreError::Corrupt)?;
    Ok(Some((account, key, Place { order, ..Place::of(&manifest) })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h1_only_a_newer_list_or_another_one_behind_the_same_list_is_anothers() {
        let place = |epoch, version, hash, previous: Option<u8>| Place {
            order: (epoch, version),
            hash: [hash; 32],
            previous: previous.map(|byte| [byte; 32]),
        };
        let own = place(1, 5, 5, Some(4));
        let ours = [place(1, 5, 5, Some(4)), place(1, 4, 4, Some(3)), place(1, 1, 1, None), place(0, 9, 9, Some(8))];
        // Of another chain of ours, which was begun on its own.
        let of_another_chain = [place(1, 5, 6, Some(7)), place(1, 5, 6, None)];
        for found in ours.into_iter().chain(of_another_chain) {
            assert!(!is_anothers(&found, &own), "{found:?}");
        }
        for found in [place(1, 5, 6, Some(4)), place(1, 6, 6, Some(5)), place(2, 1, 1, None)] {
            assert!(is_anothers(&found, &own), "{found:?}");
        }
        assert!(!is_anothers(&place(1, 1, 2, None), &place(1, 1, 1, None)), "two chains that have just begun");
    }
}
