//! Letters to devices that a list names for the first time.
//!
//! Whoever writes does so to the devices of the list that was read last, up to a day ago (PROTOCOL B5). What was said since then goes to a device
//! that the next reading finds as well: it may have been listed all the time, and nobody promised it less than the others. What was said
//! before that reading it is not promised, and does not get (PROTOCOL E6): an archive brings it, where its owner wants that.
//! Nothing goes to a device in a list from which another has gone without a word of its own or of the root key: whoever holds a list
//! key could name one of theirs in its place. Nor does it go to a device that says it comes in the place of one that was known: that one gets what
//! was for the other, if it is believed (`moved.rs`).

use rusqlite::params;
use sotto_crypto::manifest::VerifiedManifest;
use sotto_protocol::{DeviceId, MessageId, Timestamp};

use super::{NewLetter, Says, queue};
use crate::contact::ContactRow;
use crate::conversation::MessageRow;
use crate::peer::{self, DeviceRow};
use crate::receipts;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};

/// What was said on this device since the list of the contact `?1` was read last, to it, or to anybody where that is this account itself. What
/// other devices of ours have said is theirs to send; it bears their line. States up to 4 are of what is ours and has not failed, and kind 21 is for
/// our own devices alone.
const SAID_SINCE: &str = "
    SELECT message.id, message_id, sent_at FROM message JOIN conversation ON conversation.id = message.conversation
    WHERE message.id > (SELECT said_before FROM contact WHERE id = ?1) AND line = 0 AND state <= 4
    AND (?1 = 0 OR conversation.contact = ?1 AND kind != 21) ORDER BY message.id";

/// A list of a contact was read. `before`: the devices that were known.
pub(crate) fn welcome(
    tx: &mut Tx<'_>,
    contact: ContactRow,
    list: &VerifiedManifest,
    before: &[DeviceId],
    is_later_epoch: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    if !is_later_epoch && has_lost_one(tx, contact, now)? {
        return Ok(());
    }
    for new in list.devices().iter().filter(|device| !before.contains(&device.id)) {
        // One in whose place it came, and whom nobody knew, had nothing that could be turned over.
        if new.replaces.is_some_and(|replaces| before.contains(&replaces.device))
            || peer::has_predecessor(tx, contact, &new.id)?
        {
            continue;
        }
        let device = peer::device_by_id(tx, contact, &new.id)?.ok_or(StoreError::Corrupt)?;
        tell(tx, contact, device.row)?;
    }
    Ok(())
}

/// Whether a device has left the list just now for which none has come by its word.
fn has_lost_one(tx: &Tx<'_>, contact: ContactRow, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT id FROM peer_device WHERE contact = ?1 AND left_at = ?2";
    let left: Vec<DeviceRow> = tx.all(sql, params![contact.0, ms(now)], |row| row.get(0).map(DeviceRow))?;
    for device in left {
        if !peer::is_heard_out(tx, device, now)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Queues what was said since the list was read last for a device that is new there, behind what waits for it already.
pub(crate) fn tell(tx: &mut Tx<'_>, contact: ContactRow, device: DeviceRow) -> Result<(), StoreError> {
    let said: Vec<(MessageRow, MessageId, Timestamp)> = tx.all(SAID_SINCE, [contact.0], |row| {
        Ok((MessageRow(row.get(0)?), MessageId::from_bytes(row.get(1)?), timestamp(row.get(2)?)))
    })?;
    for (message, message_id, sent_at) in said {
        let waits = "SELECT 1 FROM outbox WHERE message = ?1 AND peer_device = ?2 AND state <= 3";
        if tx.one(waits, params![message.0, device.0], |_| Ok(()))?.is_none() {
            let letter =
                NewLetter { says: Says::Message(message), message_id, sent_at, dies_at: None, after_batch: None };
            queue(tx, device, &letter)?;
            if contact == ContactRow::OWN {
                // How far it is as well.
                receipts::note_progress(tx, message, Timestamp::EPOCH)?;
            }
        }
    }
    Ok(())
}
