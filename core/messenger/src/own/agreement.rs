//! One list by several devices: the account's own chain decides, and who comes second signs anew behind what stands there (PROTOCOL B2, B4).
//!
//! ```text
//! a list of ours --taken by the own chain's relay--> the account's list --> projected to the chains of all others
//!                --another device's stands there---> its list is ours too; what only we say is signed again behind it
//! ```
//! A device changes nothing but its own entry, so whatever two devices say at once, both is said in the end. A projection says what the
//! account's list says and is the same by whichever device: who finds a chain written already takes it as it is.
//! Not here: reading and verifying the own chain, which is done as with a contact's (`manifests.rs`); what tells another device's list
//! from that of a copy of this one (`second_copy.rs`).

use rusqlite::params;
use sotto_crypto::manifest::{Device, VerifiedManifest};
use sotto_protocol::{AccountId, Bytes, ChainId, Timestamp};

use super::chain::{self, Chain};
use super::{Own, birth, siblings, sync};
use crate::error::Error;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::task;
use crate::world::Chance;

/// A relay has taken what was queued for a chain of ours: nobody else has come first.
pub(crate) fn was_appended(
    tx: &mut Tx<'_>,
    own: &Own,
    chain: &ChainId,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    // Also where one more waits behind it: both name whom the account's newest list here names.
    if is_own_list_in(tx, chain)? {
        is_named(tx, own, &chain::own_list(tx)?)?;
    }
    if task::is_written_to(tx, chain)? {
        return Ok(());
    }
    chain::stands(tx, chain)?;
    if siblings::are_none(tx)? {
        return Ok(());
    }
    tx.execute("UPDATE own_chain SET told = NULL WHERE chain = ?1", [chain.as_ref()])?;
    if is_own_list_in(tx, chain)? {
        siblings::list_stands(tx, now)?;
        sync::hand_over(tx, own, now, chance)?;
        let batch = task::new_batch(tx)?;
        chain::project(tx, &own.seal, batch, chance)?;
    }
    Ok(())
}

/// A list stands in the account's own chain: this device may speak where that names it.
fn is_named(tx: &mut Tx<'_>, own: &Own, list: &VerifiedManifest) -> Result<(), StoreError> {
    if list.device(&own.party.device).is_some() { birth::is_published(tx) } else { Ok(()) }
}

/// Whether a chain is the account's own.
pub(crate) fn is_own_list_in(view: &impl Query, chain: &ChainId) -> Result<bool, StoreError> {
    Ok(purpose_of(view, chain)? == Some(Chain::OwnDevices))
}

fn purpose_of(view: &impl Query, chain: &ChainId) -> Result<Option<Chain>, StoreError> {
    Ok(chain::rows(view)?.into_iter().find(|row| row.chain == *chain).map(|row| row.purpose))
}

/// Whether a list in the account's own chain is by this device, and none that it remembers: then this is a copy of it (PROTOCOL H1).
pub(crate) fn has_unknown_of_ours(view: &impl Query, own: &Own, entries: &[Bytes]) -> Result<bool, StoreError> {
    let signed = chain::signed(view)?;
    let mut lists = entries.iter().filter_map(|entry| reload(&own.account, entry));
    Ok(lists.any(|list| list.author() == Some(&own.party.device) && signed.lacks(&list)))
}

/// The account's own chain was read, and verified: `entries` of it, and the hash of the last. What another device has written there is taken up.
pub(crate) fn take_up_own_list(
    tx: &mut Tx<'_>,
    own: &Own,
    entries: &[Bytes],
    end: &Bytes,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let Some(list) = siblings::list(tx)? else { return Ok(()) };
    let lists: Vec<_> = entries.iter().filter_map(|entry| reload(&own.account, entry)).chain([list.clone()]).collect();
    if birth::is_taken_away(tx, &lists)? {
        return Err(Error::DeviceReplaced);
    }
    // Ours may have stood there before, and whoever wrote behind it have been faster than the answer that says so.
    is_named(tx, own, &list)?;
    sync::hand_over(tx, own, now, chance)?;
    let rows = chain::rows(tx)?;
    let row = rows.iter().find(|row| row.purpose == Chain::OwnDevices).ok_or(StoreError::Corrupt)?;
    if list.head().hash == row.hash {
        // What we wrote last stands, or nobody has written since.
        return Ok(());
    }
    if task::is_written_to(tx, &row.chain)? && follows(tx, row.chain, &list)? {
        return Ok(());
    }
    let batch = task::newest_batch(tx, &row.chain)?.map_or_else(|| task::new_batch(tx), Ok)?;
    set_end(tx, &row.chain, &list, end)?;
    tx.execute(
        "UPDATE account SET version = ?2, issued_at = ?3 WHERE epoch = ?1",
        params![list.head().epoch, list.head().version, ms(list.issued_at())],
    )?;
    if says_the_same(list.devices(), &super::list::devices(tx)?) {
        chain::project(tx, &own.seal, batch, chance)
    } else {
        chain::renew_manifest(tx, &own.seal, batch, now, chance)
    }
}

/// Whether what is queued for a chain goes on behind that list.
fn follows(view: &impl Query, chain: ChainId, list: &VerifiedManifest) -> Result<bool, StoreError> {
    let told = view
        .one("SELECT told FROM own_chain WHERE chain = ?1", [chain.as_ref()], |row| row.get::<_, Option<Vec<u8>>>(0))?;
    Ok(told.flatten().is_some_and(|told| *told == **list.bytes()))
}

/// Any other chain of ours was read. Says whether what stands there was written by another device, and is taken up; else its relay has lost
/// what was there.
pub(crate) fn take_up_projection(
    tx: &mut Tx<'_>,
    own: &Own,
    chain: &ChainId,
    entries: &[Bytes],
    end: &Bytes,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<bool, Error> {
    let Some(newest) = entries.iter().rev().find_map(|entry| reload(&own.account, entry)) else { return Ok(false) };
    let told = tx.one("SELECT coalesce(told, manifest) FROM own_chain WHERE chain = ?1", [chain.as_ref()], |row| {
        row.get::<_, Vec<u8>>(0)
    })?;
    let Some(told) = told.and_then(|told| reload(&own.account, &told.into())) else { return Ok(false) };
    if newest.head().order() < told.head().order() {
        return Ok(false);
    }
    set_end(tx, chain, &newest, end)?;
    let list = chain::own_list(tx)?;
    let batch = task::new_batch(tx)?;
    if newest.head().order() == list.head().order() && !says_the_same_to_others(&newest, &list) {
        // A device wrote there before it knew that it is not alone.
        chain::renew_manifest(tx, &own.seal, batch, now, chance)?;
    } else {
        chain::project(tx, &own.seal, batch, chance)?;
    }
    Ok(true)
}

fn reload(account: &AccountId, entry: &Bytes) -> Option<VerifiedManifest> {
    VerifiedManifest::reload(account, entry.clone()).ok()
}

/// From now on this is the end of a chain. What was queued for it is not written any more.
fn set_end(tx: &mut Tx<'_>, chain: &ChainId, list: &VerifiedManifest, end: &Bytes) -> Result<(), StoreError> {
    task::forget_chain(tx, chain)?;
    let end: [u8; 32] = end.as_ref().try_into().map_err(|_| StoreError::Failed)?;
    let head = list.head();
    tx.execute(
        "UPDATE own_chain SET epoch = ?2, version = ?3, hash = ?4, entry_hash = ?5, manifest = ?6, told = NULL,
             stood_epoch = ?2, stood_version = ?3 WHERE chain = ?1",
        params![chain.as_ref(), head.epoch, head.version, head.hash, end, list.bytes().as_ref()],
    )?;
    Ok(())
}

fn says_the_same(one: &[Device], other: &[Device]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.to_message() == other.to_message())
}

/// Apart from what is left out for others.
fn says_the_same_to_others(one: &VerifiedManifest, other: &VerifiedManifest) -> bool {
    let without = |device: &Device| {
        let mut message = device.to_message();
        (message.kind, message.added_at_ms) = (0, 0);
        message
    };
    one.devices().iter().map(without).eq(other.devices().iter().map(without))
}
