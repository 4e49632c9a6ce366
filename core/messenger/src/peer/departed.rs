//! What stays of a device that has left its list, and of an inbox that a device reads no more.
//!
//! ```text
//! left --37 days: nothing of it is heard any longer--> its ratchets and seals are erased
//!      --twice as long, and nothing for it is left in the outbox--> nothing: its messages stay where they are
//! ```
//! An id that was forgotten and comes again is that of a new device. A list with more devices than [`KNOWN_MAX`], or more inboxes than
//! [`KNOWN_INBOXES_MAX`], together with those that left and are not forgotten yet, is refused: nobody replaces so many. An inbox is forgotten
//! 37 days after it left, where no session that its device may still write on was begun by it.
//! Not here: what was for it (`outbox/moved.rs`), what is missing of its letters (`healing/asking.rs`).

use rusqlite::params;
use sotto_crypto::manifest::VerifiedManifest;
use sotto_protocol::Timestamp;

use super::{DeviceRow, HEARD_OUT, device_by_id};
use crate::contact::ContactRow;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};

/// Devices of a contact that are known, those that left among them.
const KNOWN_MAX: i64 = 1_024;
/// Inboxes of all devices of a contact that are known, those that left among them: as many as that many devices list.
const KNOWN_INBOXES_MAX: i64 = 4 * KNOWN_MAX;
/// So many are forgotten in one turn: each is looked for among all contacts and devices.
const FORGOTTEN_AT_ONCE: i64 = 16;

/// Whether a list names more new devices, or inboxes of devices, than there is room for.
pub(crate) fn has_too_many(
    view: &impl Query,
    contact: ContactRow,
    list: &VerifiedManifest,
) -> Result<bool, StoreError> {
    let count = |sql| view.one(sql, [contact.0], |row| row.get::<_, i64>(0)).map(Option::unwrap_or_default);
    let mut devices = count("SELECT count(*) FROM peer_device WHERE contact = ?1")?;
    let mut inboxes = count(
        "SELECT count(*) FROM peer_inbox JOIN peer_device ON peer_device.id = peer_inbox.peer_device WHERE contact = ?1",
    )?;
    for device in list.devices() {
        let Some(known) = device_by_id(view, contact, &device.id)? else {
            devices += 1;
            inboxes += i64::try_from(device.inboxes.len()).unwrap_or(i64::MAX);
            continue;
        };
        for inbox in &device.inboxes {
            inboxes += i64::from(super::inbox_by_id(view, known.row, &inbox.inbox)?.is_none());
        }
    }
    Ok(devices > KNOWN_MAX || inboxes > KNOWN_INBOXES_MAX)
}

/// Forgets what is over, by a time that has surely passed.
pub(crate) fn forget(tx: &mut Tx<'_>, sure_now: Timestamp) -> Result<(), StoreError> {
    let heard_out = sure_now.before(HEARD_OUT);
    erase_keys(tx, heard_out, sure_now)?;
    forget_inboxes(tx, heard_out)?;
    // What was for it has failed by then, and that is forgotten after as long again.
    let sql = "SELECT id FROM peer_device WHERE left_at <= ?1 AND listed = 0
               AND NOT EXISTS (SELECT 1 FROM outbox WHERE peer_device = peer_device.id)
               AND NOT EXISTS (SELECT 1 FROM seal_in WHERE peer_device = peer_device.id)
               AND NOT EXISTS (SELECT 1 FROM unopened WHERE peer_device = peer_device.id)
               AND NOT EXISTS (SELECT 1 FROM predecessor_request WHERE peer_device = peer_device.id)
               ORDER BY left_at LIMIT ?2";
    let over = params![ms(heard_out.before(HEARD_OUT)), FORGOTTEN_AT_ONCE];
    for device in tx.all(sql, over, |row| row.get(0).map(DeviceRow))? {
        forget_device(tx, device)?;
    }
    Ok(())
}

/// Retired seals keep their hashes, as those of devices that stay do.
fn erase_keys(tx: &mut Tx<'_>, heard_out: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    const LEFT: &str = "SELECT id FROM peer_device WHERE left_at <= ?1 AND listed = 0";
    let inboxes = format!("SELECT id FROM peer_inbox WHERE peer_device IN ({LEFT})");
    for table in ["session", "seal_out"] {
        tx.execute(&format!("DELETE FROM {table} WHERE peer_inbox IN ({inboxes})"), [ms(heard_out)])?;
    }
    tx.execute(
        &format!(
            "UPDATE seal_in SET state_sealed = NULL, retired_at = coalesce(retired_at, ?2)
             WHERE state_sealed IS NOT NULL AND peer_device IN ({LEFT})"
        ),
        params![ms(heard_out), ms(now)],
    )?;
    Ok(())
}

/// Inboxes that stand in no list since then, and that nothing refers to any more, of devices that have others.
fn forget_inboxes(tx: &mut Tx<'_>, left: Timestamp) -> Result<(), StoreError> {
    const OVER: &str = "SELECT id FROM peer_inbox WHERE left_at <= ?1 AND listed = 0
                        AND NOT EXISTS (SELECT 1 FROM session WHERE session.peer_inbox = peer_inbox.id)
                        AND EXISTS (SELECT 1 FROM peer_inbox AS other WHERE other.peer_device = peer_inbox.peer_device AND other.listed = 1)";
    if tx.one(&format!("{OVER} LIMIT 1"), [ms(left)], |_| Ok(()))?.is_none() {
        return Ok(());
    }
    tx.execute(&format!("DELETE FROM seal_out WHERE peer_inbox IN ({OVER})"), [ms(left)])?;
    // One pass over the outbox for all of them.
    tx.execute(
        &format!(
            "DELETE FROM peer_inbox WHERE id IN ({OVER}) AND id NOT IN (
                 SELECT peer_inbox FROM outbox WHERE peer_inbox IS NOT NULL UNION
                 SELECT to_inbox FROM outbox WHERE to_inbox IS NOT NULL)"
        ),
        [ms(left)],
    )?;
    Ok(())
}

fn forget_device(tx: &mut Tx<'_>, device: DeviceRow) -> Result<(), StoreError> {
    for change in [
        "UPDATE contact SET asker = NULL WHERE asker = ?1",
        "UPDATE peer_device SET predecessor = NULL WHERE predecessor = ?1",
        "DELETE FROM received_counter WHERE peer_device = ?1",
        "DELETE FROM skipped_counter WHERE peer_device = ?1",
        "DELETE FROM peer_inbox WHERE peer_device = ?1",
        "DELETE FROM peer_device WHERE id = ?1",
    ] {
        tx.execute(change, [device.0])?;
    }
    Ok(())
}
