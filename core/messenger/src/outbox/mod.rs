//! The outbox: letters that still have to leave, one row per letter and device.
//!
//! ```text
//! Queued --encrypt--> Encrypted --a relay took it--> Accepted --the device confirmed--> Confirmed (bytes gone, kept for resends)
//!                     Encrypted --its first message is too old, or its inbox is shut--> Queued
//!                                                              Accepted --nobody confirms it--> Queued
//! any    --its time is over, or the contact is gone--> Failed
//! any    --the device left its list, for too long--> Failed
//! any    --the device left its list, and the root key has named others--> Failed, and Queued for those
//! ```
//! In the state column these are 0, 1, 2, 3 and 4.
//! Invariant: the ratchet step and the ciphertext are committed together before any byte leaves the device, so a crash repeats the
//! same bytes and never a ratchet step. A row, and its message, lives until the recipient's device has confirmed it.
//! - `plan.rs`: what a device's letters need, and where they go; `encrypt.rs`: rows into ciphertexts, one transaction for many
//! - `courier.rs`: the task that carries one device's letters to its relay, and comes back with the answer
//! - `details.rs`: where a message is, device by device; `inner_hashes.rs`: in which ciphertexts a letter has left
//! - `reach.rs`: where letters can be put right now; `backoff.rs`: when to try again
//! - `again.rs`: what nobody has confirmed is put again; `unanswered.rs`: first messages that nobody answered are made again;
//!   `anew.rs`: a contact is met again; `moved.rs`: a device left its list; `newcomer.rs`: one is new there

pub(crate) mod again;
pub(crate) mod anew;
pub(crate) mod backoff;
pub(crate) mod courier;
pub(crate) mod details;
pub(crate) mod dispatcher;
pub(crate) mod encrypt;
mod inner_hashes;
pub(crate) mod moved;
pub(crate) mod newcomer;
pub(crate) mod plan;
pub(crate) mod post;
pub(crate) mod reach;
pub(crate) mod unanswered;

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::letter::{Channel, Content};
use sotto_protocol::{Bytes, MessageId, Timestamp};

use crate::contact::{ContactRow, HAS_WAY};
use crate::conversation::{MessageRow, progress};
use crate::error::{Error, InputError};
use crate::own;
use crate::peer::{self, DeviceRow};
use crate::records::{Failure, MessageState};
use crate::store::column::{ms, stored};
use crate::store::{Query, StoreError, Tx};
use crate::task::LETTER_WAITS;
use crate::world::Chance;

/// How long the map from counters to messages outlives the confirmation: for resends.
const RESENDS: Duration = Duration::from_secs(37 * 24 * 3600);

/// What a letter says.
#[derive(Clone, Copy)]
pub(crate) enum Says<'a> {
    /// The content of a message row.
    Message(MessageRow),
    /// Something that is no message: its encoded Content.
    Content(&'a [u8]),
}

/// A letter to queue.
#[derive(Clone, Copy)]
pub(crate) struct NewLetter<'a> {
    pub(crate) says: Says<'a>,
    pub(crate) message_id: MessageId,
    pub(crate) sent_at: Timestamp,
    /// When it is pointless.
    pub(crate) dies_at: Option<Timestamp>,
    /// Relay calls that must be made first.
    pub(crate) after_batch: Option<i64>,
}

/// Queues a letter to one device.
pub(crate) fn queue(tx: &mut Tx<'_>, device: DeviceRow, letter: &NewLetter<'_>) -> Result<(), StoreError> {
    let (message, content) = match letter.says {
        Says::Message(message) => (Some(message.0), None),
        Says::Content(content) => (None, Some(content)),
    };
    tx.execute(
        "INSERT INTO outbox (peer_device, message, content, message_id, state, sent_at, dies_at, after_batch) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7)",
        params![device.0, message, content, letter.message_id.as_ref(), ms(letter.sent_at), letter.dies_at.map(ms), letter.after_batch],
    )?;
    Ok(())
}

/// Queues a letter to every listed device of a contact.
pub(crate) fn queue_to_contact(tx: &mut Tx<'_>, contact: ContactRow, letter: &NewLetter<'_>) -> Result<(), StoreError> {
    for device in peer::listed_devices(tx, contact)? {
        queue(tx, device, letter)?;
    }
    Ok(())
}

/// Queues a letter that is no message to every listed device of a contact.
pub(crate) fn queue_content(
    tx: &mut Tx<'_>,
    contact: ContactRow,
    content: &Content,
    after_batch: Option<i64>,
    dies_at: Option<Timestamp>,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let devices = peer::listed_devices(tx, contact)?;
    queue_content_to(tx, &devices, content, after_batch, dies_at, now, chance)
}

/// Likewise, to some devices only.
pub(crate) fn queue_content_to(
    tx: &mut Tx<'_>,
    devices: &[DeviceRow],
    content: &Content,
    after_batch: Option<i64>,
    dies_at: Option<Timestamp>,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let content = content.encode().map_err(|_| InputError::OutOfRange { what: "the content" })?;
    let message_id = MessageId::from_bytes(chance.bytes());
    let letter = NewLetter { says: Says::Content(&content), message_id, sent_at: now, dies_at, after_batch };
    Ok(devices.iter().try_for_each(|device| queue(tx, *device, &letter))?)
}

/// Condition: the row may leave now. `?1` is the device. Letters leave in the order in which they were queued: behind one that waits
/// for relay calls the others wait too, because only the first of them tells the peer what to make of the next. While we ask somebody who
/// was a contact before, only the request leaves, which alone waits for such calls then: what is behind it goes the way that the answer
/// opens.
fn may_leave() -> String {
    format!(
        "peer_device = ?1 AND state < 2 AND id < coalesce((SELECT min(id) FROM outbox WHERE peer_device = ?1 AND state < 2
         AND after_batch IS NOT NULL AND {LETTER_WAITS}), 9223372036854775807)
         AND (after_batch IS NOT NULL OR NOT EXISTS (SELECT 1 FROM peer_device JOIN contact ON contact.id = peer_device.contact
             WHERE peer_device.id = ?1 AND contact.claim IS NOT NULL))"
    )
}

/// Devices that have letters which may leave now. Steps from device to device in the index, so that its cost is that of the devices
/// with letters and not that of their letters.
pub(crate) fn destinations(view: &impl Query) -> Result<Vec<DeviceRow>, StoreError> {
    if own::is_unpublished(view)? {
        // Nobody knows this device yet, and another may be known in its place.
        return Ok(Vec::new());
    }
    let sql = format!(
        "WITH RECURSIVE busy (device) AS (
             SELECT min(peer_device) FROM outbox WHERE state < 2
             UNION ALL
             SELECT (SELECT min(peer_device) FROM outbox WHERE state < 2 AND peer_device > device) FROM busy WHERE device IS NOT NULL
         )
         SELECT peer_device.id FROM busy JOIN peer_device ON peer_device.id = busy.device JOIN contact ON contact.id = peer_device.contact
         WHERE peer_device.listed = 1 AND contact.blocked = 0 AND contact.trust = 0 AND contact.held = 0 AND {HAS_WAY}
         AND (contact.claim IS NULL OR EXISTS (SELECT 1 FROM outbox WHERE peer_device = busy.device AND state < 2 AND after_batch IS NOT NULL))
         AND NOT EXISTS (
             SELECT 1 FROM outbox WHERE outbox.id = (SELECT min(id) FROM outbox WHERE peer_device = busy.device AND state < 2)
             AND outbox.after_batch IS NOT NULL AND {LETTER_WAITS}
         )"
    );
    view.all(&sql, [], |row| row.get(0).map(DeviceRow))
}

/// Letters that have not left.
pub(crate) fn waiting(view: &impl Query) -> Result<u64, StoreError> {
    Ok(view
        .one("SELECT count(*) FROM outbox WHERE state < 2", [], |row| row.get(0))?
        .map_or(0, crate::store::column::counter))
}

/// A relay took these rows. Their ciphertext is no longer needed: a relay that loses it gets the letter encrypted anew. Says whether our other
/// devices are to hear of it.
pub(crate) fn accepted(tx: &mut Tx<'_>, rows: &[i64], now: Timestamp) -> Result<bool, StoreError> {
    let mut is_to_tell = false;
    for row in rows {
        let tries = tx.one("SELECT tries FROM outbox WHERE id = ?1", [row], |row| row.get(0))?.unwrap_or(0);
        tx.execute(
            // What was sent again after it had been confirmed is confirmed.
            "UPDATE outbox SET accepted_at = ?2, olm = NULL, again_at = ?3,
                 state = iif(counter <= (SELECT confirmed FROM peer_device WHERE peer_device.id = outbox.peer_device), 3, 2)
             WHERE id = ?1 AND state = 1",
            params![row, ms(now), ms(again::again_at(now, tries))],
        )?;
        if let Some(message) = message_of(tx, *row)? {
            is_to_tell |= progress::taken(tx, message, now)?;
        }
    }
    Ok(is_to_tell)
}

/// The lowest counter of a letter that may still come to the device: those below it are confirmed, or were given up, and the device
/// need not wait for them before it confirms what came after.
pub(crate) fn oldest_unconfirmed(view: &impl Query, device: DeviceRow) -> Result<Option<u64>, StoreError> {
    let lowest = "SELECT min(counter) FROM outbox WHERE peer_device = ?1 AND state <= 2 AND counter IS NOT NULL";
    let lowest = view.one(lowest, [device.0], |row| row.get::<_, Option<i64>>(0))?;
    Ok(lowest.flatten().map(crate::store::column::counter))
}

/// The device says that it has everything up to a counter. Says whether that is news, and can be.
pub(crate) fn confirmed(tx: &mut Tx<'_>, device: DeviceRow, counter: u64, now: Timestamp) -> Result<bool, StoreError> {
    let known = tx.one("SELECT confirmed, counter_sent FROM peer_device WHERE id = ?1", [device.0], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    })?;
    let (already, sent) = known.ok_or(StoreError::Corrupt)?;
    // More than was ever sent is no confirmation of anything: it would end letters that nobody has.
    if stored(counter) <= already || stored(counter) > sent {
        return Ok(false);
    }
    tx.execute("UPDATE peer_device SET confirmed = ?2 WHERE id = ?1", params![device.0, stored(counter)])?;
    let rows = tx.all(
        // What was confirmed before is asked for again where it stands here.
        "SELECT id, message FROM outbox WHERE peer_device = ?1 AND counter > ?2 AND counter <= ?3 AND state <= 2",
        params![device.0, already, stored(counter)],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)),
    )?;
    let is_sibling = peer::device_by_row(tx, device)?.contact == ContactRow::OWN;
    for (row, message) in rows {
        match message {
            Some(message) => {
                tx.execute(
                    "UPDATE outbox SET state = 3, olm = NULL, ended_at = ?2 WHERE id = ?1",
                    params![row, ms(now)],
                )?;
                if !is_sibling {
                    progress::advance(tx, MessageRow(message), MessageState::Delivered, now)?;
                }
            }
            // Not a message: nobody will ask for it again by its place in a conversation.
            None => {
                tx.execute(
                    "UPDATE outbox SET state = 3, olm = NULL, content = NULL, ended_at = ?2 WHERE id = ?1",
                    params![row, ms(now)],
                )?;
            }
        }
    }
    Ok(true)
}

/// Nothing of what has not been confirmed is sent to a contact any more: they were removed, or their answer never came. What no relay has
/// taken fails; the rest may arrive, and stays what it is: sent.
pub(crate) fn fail_all(
    tx: &mut Tx<'_>,
    contact: ContactRow,
    failure: Failure,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows = tx.all(
        "SELECT outbox.id FROM outbox JOIN peer_device ON peer_device.id = outbox.peer_device WHERE peer_device.contact = ?1 AND state <= 2",
        [contact.0],
        |row| row.get(0),
    )?;
    rows.into_iter().try_for_each(|row| fail(tx, row, failure, now))
}

/// What no relay has taken yet and carries such content leaves no more: for one contact, or for all of them.
pub(crate) fn fail_contents(
    tx: &mut Tx<'_>,
    of: Option<ContactRow>,
    is_meant: impl Fn(&Content) -> bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let waiting = "SELECT outbox.id, content FROM outbox JOIN peer_device ON peer_device.id = outbox.peer_device
                   WHERE state < 2 AND content IS NOT NULL AND contact = coalesce(?1, contact) AND contact != 0";
    let waiting = tx.all(waiting, [of.map(|contact| contact.0)], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let meant = waiting.into_iter().filter(|(_, content)| {
        Content::decode(&Bytes::copy_from_slice(content), Channel::Contact).is_ok_and(|content| is_meant(&content))
    });
    meant.map(|(row, _)| row).try_for_each(|row| fail(tx, row, Failure::Expired, now))
}

/// Rows whose time is over fail; confirmed ones are forgotten when resends are over.
pub(crate) fn expire(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    let rows = tx.all("SELECT id FROM outbox WHERE state <= 2 AND dies_at <= ?1", [ms(now)], |row| row.get(0))?;
    rows.into_iter().try_for_each(|row| fail(tx, row, Failure::Expired, now))?;
    moved::expire(tx, now)?;
    tx.execute("DELETE FROM outbox WHERE ended_at <= ?1", [ms(now.before(RESENDS))])?;
    Ok(())
}

/// A letter fails; its message does with the last of them, when no device has it or may have it yet.
fn fail(tx: &mut Tx<'_>, row: i64, failure: Failure, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE outbox SET state = 4, olm = NULL, content = NULL, ended_at = ?2 WHERE id = ?1",
        params![row, ms(now)],
    )?;
    let Some(message) = message_of(tx, row)? else { return Ok(()) };
    let lives = "SELECT 1 FROM outbox WHERE message = ?1 AND state <= 3 AND peer_device NOT IN (SELECT id FROM peer_device WHERE contact = 0) LIMIT 1";
    let lives = tx.one(lives, [message.0], |_| Ok(()))?;
    if lives.is_none() {
        progress::advance(tx, message, MessageState::Failed(failure), now)?;
    }
    Ok(())
}

/// A message was taken back: what has not left does not leave, and what is asked for again is not there.
pub(crate) fn take_back(tx: &mut Tx<'_>, message: MessageRow, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("DELETE FROM outbox WHERE message = ?1 AND state = 0 AND counter IS NULL", [message.0])?;
    tx.execute(
        "UPDATE outbox SET message = NULL, olm = NULL, state = iif(state <= 2, 4, state), ended_at = coalesce(ended_at, ?2) WHERE message = ?1",
        params![message.0, ms(now)],
    )?;
    Ok(())
}

/// A message goes from this device, and not from those that it is for: what they have not confirmed they get all the same.
pub(crate) fn goes_on_without_message(tx: &mut Tx<'_>, message: MessageRow) -> Result<(), StoreError> {
    let content = tx.one("SELECT content FROM message WHERE id = ?1", [message.0], |row| row.get::<_, Vec<u8>>(0))?;
    let content = content.ok_or(StoreError::Corrupt)?;
    let for_siblings = own::sync::said(tx, message, content.clone())?;
    let sql = "UPDATE outbox SET message = NULL, content = ?2 WHERE message = ?1 AND state <= 2
               AND peer_device IN (SELECT id FROM peer_device WHERE (contact = 0) = ?3)";
    for (content, is_sibling) in [(content, false), (for_siblings, true)] {
        tx.execute(sql, params![message.0, content, is_sibling])?;
    }
    tx.execute("UPDATE outbox SET message = NULL WHERE message = ?1", [message.0])?;
    Ok(())
}

/// The message whose state a row decides: how far one is that goes to our own devices too its recipients' devices alone decide.
fn message_of(tx: &Tx<'_>, row: i64) -> Result<Option<MessageRow>, StoreError> {
    let sql = "SELECT message FROM outbox JOIN peer_device ON peer_device.id = outbox.peer_device WHERE outbox.id = ?1 AND contact != 0";
    Ok(tx.one(sql, [row], |row| row.get::<_, Option<i64>>(0))?.flatten().map(MessageRow))
}
