//! Taking a device off the account (PROTOCOL B3): always a new epoch, and in the same step every secret that the device knew is another.
//!
//! What it knew, and what becomes of it:
//! - the list key: the root key certifies another, for the next epoch
//! - the account's chains: others are begun; those before are told of the first list without it, and of nothing behind that
//! - the manage keys of inboxes: replaced at their relays, before anything else is done there
//! - the own secret, and the pair secrets of all contacts: others, `handshake/rotation.rs`
//! - invites: ended
//!
//! Not here yet: telling devices that stay of the new keys. An account with more devices than these two cannot remove one.

use rusqlite::params;
use sotto_crypto::keys::{ManageKey, RootKey};
use sotto_protocol::{Bytes, DeviceId, InboxId, relay};

use super::chain::{self, Chain};
use super::epoch::Known;
use super::relays::READ_FOR;
use super::{Own, epoch, siblings};
use crate::contact::ContactRow;
use crate::engine::Engine;
use crate::error::{Error, InputError};
use crate::store::{StoreError, Tx};
use crate::task::{self, Subject};
use crate::world::Chance;
use crate::{handshake, peer, profile};

/// Takes another device off the account's list, for good.
pub(crate) fn remove_device(engine: &Engine, tx: &mut Tx<'_>, device: &DeviceId, root: &RootKey) -> Result<(), Error> {
    let seal = engine.own().seal.clone();
    let own = super::load(tx, seal.clone())?;
    let known = peer::device_by_id(tx, ContactRow::OWN, device)?.filter(|known| known.listed);
    let known = known.ok_or(InputError::NotFound { what: "device" })?;
    if peer::listed_devices(tx, ContactRow::OWN)?.len() > 1 {
        return Err(
            InputError::WrongState { what: "has more devices, which cannot be told of the new keys yet" }.into()
        );
    }
    let (times, chance) = (engine.times(), &mut engine.chance());
    let batch = task::new_batch(tx)?;
    for inbox in &own.inboxes {
        change_manage_key(tx, &own, batch, inbox, chance)?;
    }
    tx.execute("UPDATE peer_device SET listed = 0 WHERE id = ?1", [known.row.0])?;
    let (home, contacts_home) = (chain::relay_of(tx, Chain::OwnDevices)?, chain::relay_of(tx, Chain::Contacts)?);
    epoch::begin(tx, &own, root, &home, Known::All, times.network, chance)?;
    chain::renew_manifest(tx, &seal, batch, times.network, chance)?;
    let ends_at = engine.judging_now().after(READ_FOR);
    chain::move_chain(tx, batch, Chain::OwnDevices, &home, &seal, ends_at, chance)?;
    chain::move_chain(tx, batch, Chain::Contacts, &contacts_home, &seal, ends_at, chance)?;
    chain::close_former(tx, super::epoch(tx)?)?;
    siblings::change_secret(tx, &own, batch, times.judging, chance)?;
    handshake::end_invites(tx, &own, times.judging)?;
    handshake::change_pairs(tx, &own, times, chance)?;
    handshake::tell_all_of_chain(tx, &own, batch, times.network, chance)?;
    // What it has set may have come to us alone.
    profile::nobody_is_told(tx)?;
    tx.changes_own();
    Ok(())
}

/// A relay refuses what the key that manages an inbox has signed: it may have come back from a backup of before that key. It is told of it again,
/// before anything else.
pub(crate) fn manage_key_was_refused(tx: &mut Tx<'_>, own: &Own, inbox: &InboxId) -> Result<(), StoreError> {
    let Some(inbox) = own.inbox(inbox) else { return Ok(()) };
    let batch = task::new_batch(tx)?;
    tell_manage_key(tx, batch, inbox, &inbox.manage_key)
}

fn tell_manage_key(tx: &mut Tx<'_>, batch: i64, inbox: &super::OwnInbox, key: &ManageKey) -> Result<(), StoreError> {
    task::forget_manage_key(tx, &inbox.inbox)?;
    let body = relay::InboxManageKey { inbox: inbox.inbox.into(), manage_key: Bytes::copy_from_slice(&key.public()) };
    task::queue(tx, batch, &inbox.relay, Subject::Inbox(inbox.inbox), task::Kind::InboxManageKey, &body)
}

/// Replaces the key that manages an inbox. Its relay hears of that first: all that waits for it is signed by the new one.
fn change_manage_key(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    inbox: &super::OwnInbox,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let key = ManageKey::generate(chance);
    tell_manage_key(tx, batch, inbox, &key)?;
    tx.execute(
        "UPDATE own_inbox SET manage_key_sealed = ?2 WHERE id = ?1",
        params![inbox.row, own.seal.seal("own_inbox.manage_key", inbox.inbox.as_ref(), &key, chance)],
    )?;
    Ok(())
}
