//! Asking every sender in the name of the device in whose place this one has come (PROTOCOL H2).
//!
//! ```text
//! to be asked --may be asked: a letter--> asked --that is confirmed--> answered
//!                                               --others end it------> to be asked
//! ```
//! Whatever that device had counted of others' letters is forgotten when this one comes; what is to be asked is written down before, for every
//! device of everybody, and stands until that device has confirmed a letter that asks it. Devices that this one hears of only later have
//! perhaps written to the one before: they are asked for everything. It ends when nobody holds anything any more that was sent then.
//! What is asked is bounded by whom we know, and answered within the bounds of `answering.rs`.

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::letter::{Content, Counters, ResendRequest};
use sotto_protocol::limits::{COUNTER_MAX, MANIFEST_VALID};
use sotto_protocol::{DeviceId, MessageId, Timestamp};

use super::asking::for_predecessor;
use crate::error::Error;
use crate::outbox::{self, NewLetter, Says};
use crate::peer::DeviceRow;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::upkeep::CONFIRMATION_LIFETIME;
use crate::world::Chance;

/// What was confirmed is kept by its sender for so long.
const HELD_FOR: Duration = MANIFEST_VALID;

/// In so many names everybody is asked at most, the latest: letters of a device that nobody knows yet wait at whoever they are for, and what is
/// said must find room beside those that ask.
const PREDECESSORS_MAX: i64 = 8;

/// Devices that are to be asked and may be, with what: the letter that asks is not under way, nor confirmed. In this order, however many devices
/// there are: as a rule nobody is to be asked, and it is looked at with every wake-up.
const MAY_BE_ASKED: &str = "
    predecessor_request CROSS JOIN peer_device ON peer_device.id = predecessor_request.peer_device
    CROSS JOIN contact ON contact.id = peer_device.contact
    WHERE listed = 1 AND contact.state = 3 AND contact.blocked = 0 AND contact.trust = 0 AND contact.claim IS NULL
    AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.id = predecessor_request.letter AND state <= 3)";

/// Devices that this one has heard of since it came.
const HEARD_OF_SINCE: &str = "
    predecessor CROSS JOIN peer_device ON peer_device.id > predecessor.last_device WHERE listed = 1";

/// Writes down what is to be asked of whom, before all that is forgotten.
pub(crate) fn note_predecessor(tx: &mut Tx<'_>, predecessor: DeviceId, now: Timestamp) -> Result<(), StoreError> {
    forget_what_is_over(tx, now)?;
    tx.execute(
        "INSERT OR REPLACE INTO predecessor (device, ends_at, last_device)
         VALUES (?1, ?2, (SELECT coalesce(max(id), 0) FROM peer_device))",
        params![predecessor.as_ref(), ms(now.after(HELD_FOR))],
    )?;
    tx.execute(
        "DELETE FROM predecessor WHERE device NOT IN (SELECT device FROM predecessor ORDER BY ends_at DESC LIMIT ?1)",
        [PREDECESSORS_MAX],
    )?;
    let devices = tx.all("SELECT id FROM peer_device ORDER BY id", [], |row| row.get(0).map(DeviceRow))?;
    for device in devices {
        note(tx, device, for_predecessor(tx, device, predecessor)?)?;
    }
    Ok(())
}

fn note(tx: &mut Tx<'_>, device: DeviceRow, request: ResendRequest) -> Result<(), StoreError> {
    let Some(predecessor) = request.predecessor else { return Ok(()) };
    let content = Content::ResendRequest(request).encode().map_err(|_| StoreError::Failed)?;
    tx.execute(
        "INSERT OR REPLACE INTO predecessor_request (peer_device, predecessor, content) VALUES (?1, ?2, ?3)",
        params![device.0, predecessor.as_ref(), content.as_ref()],
    )?;
    Ok(())
}

/// When something of it is to be done.
pub(crate) fn due_at(view: &impl Query) -> Result<Option<Timestamp>, StoreError> {
    for any in [MAY_BE_ASKED, HEARD_OF_SINCE] {
        if view.one(&format!("SELECT 1 FROM {any} LIMIT 1"), [], |_| Ok(()))?.is_some() {
            return Ok(Some(Timestamp::EPOCH));
        }
    }
    let ends_at = view.one("SELECT min(ends_at) FROM predecessor", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(ends_at.flatten().map(timestamp))
}

/// Asks whoever is still to be asked.
pub(crate) fn ask_for_predecessors(tx: &mut Tx<'_>, now: Timestamp, chance: &Chance<'_>) -> Result<(), Error> {
    forget_what_is_over(tx, now)?;
    let since = tx.all(&format!("SELECT peer_device.id, predecessor.device FROM {HEARD_OF_SINCE}"), [], |row| {
        Ok((DeviceRow(row.get(0)?), DeviceId::from_bytes(row.get(1)?)))
    })?;
    for (device, predecessor) in since {
        let counters = vec![Counters { first: 1, last: COUNTER_MAX }];
        note(tx, device, ResendRequest { counters, inner_hashes: Vec::new(), predecessor: Some(predecessor) })?;
    }
    tx.execute("UPDATE predecessor SET last_device = (SELECT coalesce(max(id), 0) FROM peer_device)", [])?;
    let sql = format!(
        "SELECT peer_device.id, predecessor_request.predecessor, predecessor_request.content FROM {MAY_BE_ASKED} ORDER BY 1, 2"
    );
    let due =
        tx.all(&sql, [], |row| Ok((DeviceRow(row.get(0)?), row.get::<_, [u8; 16]>(1)?, row.get::<_, Vec<u8>>(2)?)))?;
    for (device, predecessor, content) in due {
        let letter = NewLetter {
            says: Says::Content(&content),
            message_id: MessageId::from_bytes(chance.bytes()),
            sent_at: now,
            dies_at: Some(now.after(CONFIRMATION_LIFETIME)),
            after_batch: None,
        };
        outbox::queue(tx, device, &letter)?;
        tx.execute(
            "UPDATE predecessor_request SET letter = (SELECT max(id) FROM outbox) WHERE peer_device = ?1 AND predecessor = ?2",
            params![device.0, predecessor],
        )?;
    }
    Ok(())
}

/// Whoever has confirmed the letter has answered; and nobody holds anything for ever.
fn forget_what_is_over(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("DELETE FROM predecessor WHERE ends_at <= ?1", [ms(now)])?;
    tx.execute(
        "DELETE FROM predecessor_request WHERE predecessor NOT IN (SELECT device FROM predecessor)
         OR EXISTS (SELECT 1 FROM outbox WHERE outbox.id = predecessor_request.letter AND state = 3)",
        [],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{HEARD_OF_SINCE, MAY_BE_ASKED};

    #[test]
    fn what_is_to_be_asked_is_found_without_a_look_at_every_device_or_letter() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../store/schema.sql")).unwrap();
        for any in [MAY_BE_ASKED, HEARD_OF_SINCE] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN SELECT 1 FROM {any} LIMIT 1")).unwrap();
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next().unwrap() {
                let step: String = row.get(3).unwrap();
                assert!(!step.contains("SCAN") || step.contains("SCAN predecessor"), "{step}");
            }
        }
    }
}
