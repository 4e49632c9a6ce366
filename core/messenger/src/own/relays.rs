//! The relays of this device: taking one more, and leaving one (PROTOCOL B6, E5).
//!
//! ```text
//! made at the relay -> tokens, prekeys -> on the list      (the list waits for the others, see task.rs)
//! off the list -> read for [`READ_FOR`] -> deleted at the relay, or given up with it
//! ```
//! Whoever was away meanwhile has put letters where we were: an inbox that has left the list is read for as long as any list that names
//! it is fresh. Chains at a relay that is left move to the first one that stays, and whoever reads them is told by letter; the account's
//! own chain moves by the root key's word alone, which begins an epoch (PROTOCOL B2), so that it moves from a dead relay as well.
//! Not here: making the inbox at its relay (`messenger/relays.rs`).

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::keys::{OwnerKey, RootKey};
use sotto_protocol::limits::{INBOXES_PER_DEVICE_MAX, MANIFEST_VALID};
use sotto_protocol::{InboxId, RelayAddress, Timestamp, relay};

use super::chain::{self, Chain};
use super::epoch::{self, Known};
use super::{Own, OwnInbox, siblings};
use crate::engine::Engine;
use crate::error::{Error, InputError};
use crate::state::StateSeal;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::task::{self, Subject};
use crate::world::Chance;
use crate::{handshake, prekey};

/// How long an inbox is read that our list names no more, and a chain kept from which its readers were led away: as long as a list that
/// names it is used.
pub(super) const READ_FOR: Duration = MANIFEST_VALID;
/// How long its relay is asked to delete it. One that is gone for good has nothing left to delete.
const DELETED_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Between two times that a relay is asked for an inbox which could not be asked when this device came to be: this at first, then twice as long
/// each time. Each that is answered may cost two lists.
const JOINED_AGAIN: Duration = Duration::from_secs(3600);
/// It doubles so often: more than a day then.
const DOUBLINGS_MAX: u32 = 5;

/// Inboxes of this device, with those that were left and are read for another 37 days: each has a stream. Nobody moves so often.
const READ_MAX: usize = 16;

/// Writes an inbox of ours down, behind those that there are.
pub(super) fn store(
    tx: &mut Tx<'_>,
    inbox: &OwnInbox,
    seal: &StateSeal,
    chance: &mut Chance<'_>,
) -> Result<i64, StoreError> {
    tx.insert(
        "INSERT INTO own_inbox (own_device, position, relay, inbox, prekey_key, owner_key_sealed, manage_key_sealed, relay_code)
         SELECT own_device.id, (SELECT coalesce(max(position), -1) + 1 FROM own_inbox), ?1, ?2, ?3, ?4, ?5, ?6
         FROM own_device JOIN account USING (device)",
        params![
            inbox.relay.to_string(),
            inbox.inbox.as_ref(),
            inbox.prekey_key.as_bytes(),
            seal.seal("own_inbox.owner_key", inbox.inbox.as_ref(), &inbox.owner_key, chance),
            seal.seal("own_inbox.manage_key", inbox.inbox.as_ref(), &inbox.manage_key, chance),
            inbox.relay_code,
        ],
    )
}

/// Whether one more relay can be taken, and this is none of ours.
pub(crate) fn is_listed(own: &Own, relay: &RelayAddress) -> Result<bool, InputError> {
    if own.listed().any(|inbox| inbox.relay == *relay) {
        return Ok(true);
    }
    if own.listed().count() >= INBOXES_PER_DEVICE_MAX {
        return Err(InputError::OutOfRange { what: "the number of relays" });
    }
    if own.inboxes_at(relay).next().is_none() && own.inboxes.len() >= READ_MAX {
        return Err(InputError::OutOfRange {
            what: "the number of relays, with those that were left and are still read",
        });
    }
    Ok(false)
}

/// Puts an inbox that its relay has made on our list, behind its tokens and prekeys.
pub(crate) fn add_relay(engine: &Engine, tx: &mut Tx<'_>, new: &OwnInbox) -> Result<(), Error> {
    let seal = engine.own().seal.clone();
    let before = super::load(tx, seal.clone())?;
    if is_listed(&before, &new.relay)? {
        return Ok(());
    }
    if before.inboxes_at(&new.relay).next().is_some() {
        // It was left, and is still there: its tokens stand.
        tx.execute("UPDATE own_inbox SET leaving_at = NULL WHERE relay = ?1", [new.relay.to_string()])?;
    } else {
        will_be_read(tx, new)?;
        store(tx, new, &seal, &mut engine.chance())?;
    }
    let own = super::load(tx, seal.clone())?;
    let inbox = own.listed().find(|inbox| inbox.relay == new.relay).ok_or(StoreError::Corrupt)?;
    let (times, batch) = (engine.times(), task::new_batch(tx)?);
    handshake::put_all_tokens(tx, inbox, batch, times, &mut engine.chance())?;
    prekey::put_again(tx, &own, batch, inbox, (times.network, engine.sure_now()), &mut engine.chance())?;
    chain::renew_manifest(tx, &seal, batch, times.network, &mut engine.chance())?;
    delete_unread(tx, batch)?;
    tx.changes_own();
    Ok(())
}

/// An inbox is made at this relay once it can be asked.
pub(super) fn join_later(tx: &mut Tx<'_>, relay: &RelayAddress, code: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT OR IGNORE INTO relay_to_join (relay, relay_code) VALUES (?1, ?2)",
        params![relay.to_string(), code],
    )?;
    Ok(())
}

/// The relays that are to be asked for an inbox now, each with what its operator wants to see. They count as asked. One whose inbox stands on
/// our list, with all that belongs in it, is not asked any more.
pub(crate) fn to_join(tx: &mut Tx<'_>, now: Timestamp) -> Result<Vec<(RelayAddress, String)>, StoreError> {
    tx.execute(&format!("DELETE FROM relay_to_join WHERE relay IN ({LISTED} AND NOT {IS_PUT_INTO})"), [])?;
    let sql = format!("SELECT relay, relay_code, tried_at, tries FROM relay_to_join WHERE relay NOT IN ({LISTED})");
    let relays = tx.all(&sql, [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, timestamp(row.get(2)?), row.get::<_, u32>(3)?))
    })?;
    let mut due = Vec::new();
    for (relay, code, tried_at, tries) in relays {
        let wait = JOINED_AGAIN.saturating_mul(1 << tries.saturating_sub(1).min(DOUBLINGS_MAX));
        // One that was tried after now was tried under a wild clock.
        if tries > 0 && tried_at <= now && now < tried_at.after(wait) {
            continue;
        }
        tx.execute(
            "UPDATE relay_to_join SET tried_at = ?2, tries = tries + 1 WHERE relay = ?1",
            params![relay, ms(now)],
        )?;
        due.push((relay.parse().map_err(|_| StoreError::Corrupt)?, code));
    }
    Ok(due)
}

/// The relays of the inboxes on our list.
const LISTED: &str = "SELECT relay FROM own_inbox WHERE owner_key_sealed IS NOT NULL AND leaving_at IS NULL";
/// Something is still to be put into the inbox.
const IS_PUT_INTO: &str =
    "EXISTS (SELECT 1 FROM relay_task WHERE subject = own_inbox.inbox AND relay_task.kind IN (1, 3))";

/// Whether any is.
pub(crate) fn is_to_join(view: &impl Query) -> Result<bool, StoreError> {
    Ok(view.one("SELECT 1 FROM relay_to_join LIMIT 1", [], |_| Ok(()))?.is_some())
}

/// The user has said where this device reads.
pub(crate) fn is_joined(tx: &mut Tx<'_>, relay: &RelayAddress) -> Result<bool, StoreError> {
    Ok(tx.execute("DELETE FROM relay_to_join WHERE relay = ?1", [relay.to_string()])? > 0)
}

/// The relay of the account's own chain.
pub(crate) fn home(view: &impl Query) -> Result<RelayAddress, StoreError> {
    chain::relay_of(view, Chain::OwnDevices)
}

/// Takes the inbox at a relay off our list. `root` is needed where the account's own chain is there.
pub(crate) fn remove_relay(
    engine: &Engine,
    tx: &mut Tx<'_>,
    relay: &RelayAddress,
    root: Option<&RootKey>,
) -> Result<(), Error> {
    let seal = engine.own().seal.clone();
    let own = super::load(tx, seal.clone())?;
    let was_to_join = is_joined(tx, relay)?;
    let Some(inbox) = own.listed().find(|inbox| inbox.relay == *relay) else {
        // It was never on our list.
        return if was_to_join { Ok(()) } else { Err(InputError::NotFound { what: "relay" }.into()) };
    };
    let next = own.listed().find(|inbox| inbox.relay != *relay).ok_or(InputError::LastRelay)?.relay.clone();
    let (now, chance) = (engine.network_now(), &mut engine.chance());
    tx.execute("UPDATE own_inbox SET leaving_at = ?2 WHERE id = ?1", params![inbox.row, ms(engine.judging_now())])?;
    task::forget_puts(tx, &inbox.inbox)?;
    let moving = chain::at(tx, relay)?;
    let moves_lists = moving.contains(&Chain::OwnDevices) || moving.contains(&Chain::Contacts);
    if moves_lists && !siblings::are_none(tx)? {
        // They would not learn the new list key, nor where the lists are.
        return Err(
            InputError::WrongState { what: "has other devices, which cannot follow to another home yet" }.into()
        );
    }
    if moving.contains(&Chain::OwnDevices) {
        epoch::begin(tx, &own, root.ok_or(Error::NeedsRootKey)?, &next, Known::All, now, chance)?;
    }
    let batch = task::new_batch(tx)?;
    move_chains(engine, tx, &own, &moving, &next, batch)?;
    if moves_lists {
        let own = super::load(tx, seal)?;
        handshake::ask_from_elsewhere(tx, &own, engine.times(), chance)?;
    }
    tx.changes_own();
    Ok(())
}

/// A copy has become another device without the relay of the account's list, which is gone: by the root key's word the list goes on elsewhere.
pub(super) fn leave_home(engine: &Engine, tx: &mut Tx<'_>, own: &Own, root: &RootKey, batch: i64) -> Result<(), Error> {
    let next = own.listed().next().ok_or(InputError::LastRelay)?.relay.clone();
    let moving = chain::at(tx, &home(tx)?)?;
    epoch::begin(tx, own, root, &next, Known::Perhaps, engine.network_now(), &mut engine.chance())?;
    move_chains(engine, tx, own, &moving, &next, batch)
}

/// Signs the next list, and moves chains to where they go on with it; contacts are told by letter.
fn move_chains(
    engine: &Engine,
    tx: &mut Tx<'_>,
    own: &Own,
    moving: &[Chain],
    next: &RelayAddress,
    batch: i64,
) -> Result<(), Error> {
    let (now, ends_at) = (engine.network_now(), engine.judging_now().after(READ_FOR));
    let (seal, chance) = (&own.seal, &mut engine.chance());
    chain::renew_manifest(tx, seal, batch, now, chance)?;
    for purpose in [Chain::OwnDevices, Chain::Contacts].into_iter().filter(|purpose| moving.contains(purpose)) {
        chain::move_chain(tx, batch, purpose, next, seal, ends_at, chance)?;
    }
    if moving.contains(&Chain::Contacts) {
        handshake::tell_all_of_chain(tx, own, batch, now, chance)?;
    }
    Ok(())
}

/// When something that was left is over.
pub(crate) fn left_due_at(view: &impl Query) -> Result<Option<Timestamp>, StoreError> {
    let left = |is_deleting: bool| {
        let sql = "SELECT min(leaving_at) FROM own_inbox WHERE (inbox IN (SELECT subject FROM relay_task WHERE kind = ?1)) = ?2";
        let left =
            view.one(sql, params![task::Kind::InboxDelete.code(), is_deleting], |row| row.get::<_, Option<i64>>(0))?;
        Ok::<_, StoreError>(left.flatten().map(|leaving_at| timestamp(leaving_at).after(READ_FOR)))
    };
    let given_up = left(true)?.map(|deleted_at| deleted_at.after(DELETED_WITHIN));
    let chain = view
        .one("SELECT min(ends_at) FROM own_chain", [], |row| row.get::<_, Option<i64>>(0))?
        .flatten()
        .map(timestamp);
    let former = view
        .one("SELECT min(ends_at) FROM former_inbox", [], |row| row.get::<_, Option<i64>>(0))?
        .flatten()
        .map(timestamp);
    Ok(left(false)?.into_iter().chain(given_up).chain(chain).chain(former).min())
}

/// Has what was left long enough ago deleted at its relay; what could not be deleted for too long is given up.
pub(crate) fn forget_left(tx: &mut Tx<'_>, own: &Own, now: Timestamp) -> Result<(), StoreError> {
    chain::forget_retired(tx, now, DELETED_WITHIN)?;
    let given_up: Vec<[u8; 16]> =
        tx.all("SELECT inbox FROM former_inbox WHERE ends_at <= ?1", [ms(now)], |row| row.get(0))?;
    given_up.into_iter().try_for_each(|inbox| is_deleted(tx, &InboxId::from_bytes(inbox)))?;
    for inbox in own.inboxes.iter().filter(|inbox| inbox.is_leaving) {
        let leaving_at: Option<i64> =
            tx.one("SELECT leaving_at FROM own_inbox WHERE id = ?1", [inbox.row], |row| row.get(0))?;
        let Some(leaving_at) = leaving_at.map(timestamp) else { continue };
        let subject = Subject::Inbox(inbox.inbox);
        if now >= leaving_at.after(READ_FOR).after(DELETED_WITHIN) {
            is_deleted(tx, &inbox.inbox)?;
        } else if now >= leaving_at.after(READ_FOR) && !task::is_deleting(tx, &inbox.inbox)? {
            let body = relay::InboxDelete { inbox: inbox.inbox.into() };
            let batch = task::new_batch(tx)?;
            task::queue(tx, batch, &inbox.relay, subject, task::Kind::InboxDelete, &body)?;
        }
    }
    Ok(())
}

/// An inbox is drawn, and its relay about to be asked for it; or it was the device's before. Whoever dies now leaves nothing behind: what does not
/// become an inbox of ours is deleted where it was made.
pub(crate) fn will_not_be_read(
    tx: &mut Tx<'_>,
    inbox: &OwnInbox,
    seal: &StateSeal,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let owner_key = seal.seal("former_inbox.owner_key", inbox.inbox.as_ref(), &inbox.owner_key, chance);
    tx.execute(
        "INSERT OR IGNORE INTO former_inbox (inbox, relay, owner_key_sealed, ends_at) VALUES (?1, ?2, ?3, ?4)",
        params![inbox.inbox.as_ref(), inbox.relay.to_string(), owner_key, ms(now.after(DELETED_WITHIN))],
    )?;
    Ok(())
}

/// It becomes ours.
pub(super) fn will_be_read(tx: &mut Tx<'_>, inbox: &OwnInbox) -> Result<(), StoreError> {
    tx.execute("DELETE FROM former_inbox WHERE inbox = ?1", [inbox.inbox.as_ref()]).map(drop)
}

/// Has the relays delete whatever they may have made for nobody: behind the lists of that batch, which do not name it.
pub(super) fn delete_unread(tx: &mut Tx<'_>, batch: i64) -> Result<(), StoreError> {
    let unread = tx.all(
        "SELECT inbox, relay FROM former_inbox WHERE NOT EXISTS (SELECT 1 FROM relay_task WHERE subject = former_inbox.inbox)",
        [],
        |row| Ok((InboxId::from_bytes(row.get(0)?), row.get::<_, String>(1)?)),
    )?;
    for (inbox, relay) in unread {
        let relay = relay.parse().map_err(|_| StoreError::Corrupt)?;
        let body = relay::InboxDelete { inbox: inbox.into() };
        task::queue(tx, batch, &relay, Subject::Inbox(inbox), task::Kind::InboxDelete, &body)?;
    }
    Ok(())
}

/// The key that deletes an inbox of the device that this one was before.
pub(crate) fn former_owner_key(
    view: &impl Query,
    seal: &StateSeal,
    inbox: &InboxId,
) -> Result<Option<OwnerKey>, StoreError> {
    let sealed: Option<Vec<u8>> =
        view.one("SELECT owner_key_sealed FROM former_inbox WHERE inbox = ?1", [inbox.as_ref()], |row| row.get(0))?;
    sealed.map(|sealed| seal.open("former_inbox.owner_key", inbox.as_ref(), &sealed)).transpose()
}

/// An inbox of ours is gone at its relay, or its relay is: nothing comes there any more.
pub(crate) fn is_deleted(tx: &mut Tx<'_>, inbox: &InboxId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM relay_task WHERE subject = ?1", [inbox.as_ref()])?;
    tx.execute("DELETE FROM former_inbox WHERE inbox = ?1", [inbox.as_ref()])?;
    let row = tx.one("SELECT id FROM own_inbox WHERE inbox = ?1", [inbox.as_ref()], |row| row.get::<_, i64>(0))?;
    let Some(row) = row else { return Ok(()) };
    for table in ["alias", "waiting", "seal_in"] {
        tx.execute(&format!("DELETE FROM {table} WHERE own_inbox = ?1"), [row])?;
    }
    tx.execute("DELETE FROM own_inbox WHERE id = ?1", [row])?;
    tx.changes_own();
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn nothing_is_due_for_an_inbox_whose_deletion_is_asked_for_before_that_is_given_up() {
        let view = Connection::open_in_memory().unwrap();
        view.execute_batch(include_str!("../store/schema.sql")).unwrap();
        view.execute_batch(
            "PRAGMA foreign_keys = OFF;
             INSERT INTO own_inbox (id, own_device, position, relay, inbox, prekey_key, manage_key_sealed, leaving_at)
                 VALUES (1, 1, 0, '', x'01', x'', x'', 0);",
        )
        .unwrap();
        let left_at = Timestamp::EPOCH;
        assert_eq!(left_due_at(&view).unwrap(), Some(left_at.after(READ_FOR)));
        view.execute_batch("INSERT INTO relay_task (relay, subject, kind, body, batch) VALUES ('', x'01', 7, x'', 1)")
            .unwrap();
        assert_eq!(left_due_at(&view).unwrap(), Some(left_at.after(READ_FOR).after(DELETED_WITHIN)));
    }
}
