//! Letters to devices that left their contact's list.
//!
//! Nothing is sent to a device that is not listed, and nothing of before goes to another in its place because a list says so (PROTOCOL E6):
//! whoever holds a list key, with a linked device or a stolen one, could have all that the owner's device has not confirmed. It is kept: the
//! device may be listed again. The root key's word for a later epoch moves it (PROTOCOL H4): to the devices that are listed, to each once,
//! in the order in which it was queued, behind what waits for that device already. Where neither happens for long enough it fails, and
//! the message shows that, unless another device has it or may have it yet.
//! A device that was rolled back comes back as another one within its epoch (PROTOCOL H2): what was for it is for that one, because it has signed
//! so itself. It may have come from a copy that is older than what the one before has confirmed: that it gets when it asks for it.

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::letter::{Card, Channel, Content, Counters};
use sotto_crypto::secret::ReplySecret;
use sotto_protocol::limits::MANIFEST_VALID;
use sotto_protocol::{Bytes, Timestamp};

use super::fail;
use crate::contact::ContactRow;
use crate::error::{Error, InputError};
use crate::peer::{self, DeviceRow};
use crate::records::Failure;
use crate::store::column::{ms, stored};
use crate::store::{Query, StoreError, Tx};

/// What a device that left has not confirmed is kept for as long as the list is fresh that names it no more: whoever can will have signed
/// another by then, and everybody will have read it.
const KEPT: Duration = MANIFEST_VALID;

/// Letters that are turned over for one request, the newest of each range: a month of a busy conversation.
const HANDED_OVER_MAX: usize = 4_096;

/// Stands for the counter of a message that was confirmed to the device in whose place this one has come. Counters begin behind it.
const OF_A_COUNT_BEFORE: i64 = 0;

/// The letters for one listed device, `?2`, of those that devices of the contact `?1` have left behind: what it has, or waits for already, it
/// does not get again. A confirmation is for the device that it is for, and over. One pass over the outbox: there may be thousands.
const FOLLOW: &str = "
    INSERT INTO outbox (peer_device, message, content, message_id, state, sent_at, dies_at, after_batch)
    SELECT ?2, message, content, message_id, 0, sent_at, dies_at, after_batch
    FROM outbox JOIN peer_device ON peer_device.id = outbox.peer_device
    WHERE peer_device.contact = ?1 AND peer_device.listed = 0 AND outbox.state <= 2 AND outbox.content IS NOT ?3
    AND message_id NOT IN (SELECT message_id FROM outbox WHERE peer_device = ?2 AND state <= 3)
    GROUP BY message_id ORDER BY min(outbox.id)";

/// The same, of one device that has left, `?1`. The ciphertexts in which they left are known to the one in its place, which may have come
/// from a copy that could not open them.
const FOLLOW_ONE: &str = "
    INSERT INTO outbox (peer_device, message, content, message_id, state, sent_at, dies_at, after_batch, inner, inner_before)
    SELECT ?2, message, content, message_id, 0, sent_at, dies_at, after_batch, inner, inner_before FROM outbox
    WHERE peer_device = ?1 AND state <= 2 AND content IS NOT ?3
    AND message_id NOT IN (SELECT message_id FROM outbox WHERE peer_device = ?2 AND state <= 3) ORDER BY id";

/// Letters of devices that left so long ago. In two parts, each of which an index answers: what was encrypted has a counter.
const LEFT_BEHIND: &str = "
    SELECT id FROM outbox WHERE state < 2 AND peer_device IN (SELECT id FROM peer_device WHERE left_at <= ?1)
    UNION
    SELECT id FROM outbox WHERE state <= 2 AND counter IS NOT NULL AND peer_device IN (SELECT id FROM peer_device WHERE left_at <= ?1)";

/// Turns letters of a contact from devices that left to those that the list of a later epoch names.
pub(crate) fn follow(tx: &mut Tx<'_>, contact: ContactRow, now: Timestamp) -> Result<(), StoreError> {
    let confirmation = Content::Confirmation.encode().map_err(|_| StoreError::Failed)?;
    let last = newest(tx)?;
    for device in peer::listed_devices(tx, contact)? {
        tx.execute(FOLLOW, params![contact.0, device.0, confirmation.as_ref()])?;
    }
    forget_what_is_bound(tx, last)?;
    tx.execute(
        "UPDATE outbox SET state = 4, olm = NULL, content = NULL, ended_at = ?2 WHERE state <= 2
         AND peer_device IN (SELECT id FROM peer_device WHERE contact = ?1 AND listed = 0)",
        params![contact.0, ms(now)],
    )?;
    Ok(())
}

/// Turns the letters for a device that has left to the one that it has declared to come in its place: by its own word, which a list
/// key alone cannot give.
pub(crate) fn succeed(
    tx: &mut Tx<'_>,
    predecessor: DeviceRow,
    successor: DeviceRow,
    now: Timestamp,
) -> Result<(), StoreError> {
    let confirmation = Content::Confirmation.encode().map_err(|_| StoreError::Failed)?;
    let last = newest(tx)?;
    tx.execute(FOLLOW_ONE, params![predecessor.0, successor.0, confirmation.as_ref()])?;
    forget_what_is_bound(tx, last)?;
    tx.execute(
        "UPDATE outbox SET state = 4, olm = NULL, content = NULL, ended_at = ?2 WHERE peer_device = ?1 AND state <= 2",
        params![predecessor.0, ms(now)],
    )?;
    Ok(())
}

fn newest(tx: &Tx<'_>) -> Result<i64, StoreError> {
    Ok(tx.one("SELECT coalesce(max(id), 0) FROM outbox", [], |row| row.get(0))?.unwrap_or(0))
}

/// Letters behind that row, which speak of the counters and ciphertexts of one device, say nothing to another, or something that is not true.
pub(crate) fn forget_what_is_bound(tx: &mut Tx<'_>, last: i64) -> Result<(), StoreError> {
    let rows = tx.all("SELECT id, content FROM outbox WHERE id > ?1 AND content IS NOT NULL", [last], |row| {
        Ok((row.get::<_, i64>(0)?, Bytes::from(row.get::<_, Vec<u8>>(1)?)))
    })?;
    for (row, content) in rows {
        let content = Content::decode(&content, Channel::Contact);
        if matches!(content, Ok(Content::Confirmation | Content::ResendRequest(_) | Content::GivenUp(_))) {
            tx.execute("DELETE FROM outbox WHERE id = ?1", [row])?;
        }
    }
    Ok(())
}

/// Our requests to somebody, who is asked in another name.
pub(crate) fn forget_requests(tx: &mut Tx<'_>, contact: ContactRow) -> Result<(), StoreError> {
    for (row, _) in requests(tx, contact)? {
        tx.execute("DELETE FROM outbox WHERE id = ?1", [row])?;
    }
    Ok(())
}

/// Our requests to somebody leave once more, behind that batch and with this card, list and secret: what they named before may be gone. Says
/// whether there are any.
pub(crate) fn renew_requests(
    tx: &mut Tx<'_>,
    contact: ContactRow,
    (card, manifest, reply): (&Card, &Bytes, &ReplySecret),
    batch: i64,
) -> Result<bool, Error> {
    let requests = requests(tx, contact)?;
    let are_any = !requests.is_empty();
    for (row, mut request) in requests {
        if let Content::ContactRequest { card: its_card, manifest: its_manifest, reply_secret, .. } = &mut request {
            (*its_card, *its_manifest, *reply_secret) = (card.clone(), manifest.clone(), reply.clone());
        }
        let content = request.encode().map_err(|_| InputError::OutOfRange { what: "the content" })?;
        tx.execute(
            "UPDATE outbox SET content = ?2, after_batch = ?3, state = 0, olm = NULL, envelope = NULL, accepted_at = NULL, again_at = NULL
             WHERE id = ?1",
            params![row, &*content, batch],
        )?;
    }
    Ok(are_any)
}

fn requests(view: &impl Query, contact: ContactRow) -> Result<Vec<(i64, Content)>, StoreError> {
    let rows = view.all(
        "SELECT outbox.id, content FROM outbox JOIN peer_device ON peer_device.id = outbox.peer_device
         WHERE peer_device.contact = ?1 AND state <= 2 AND content IS NOT NULL",
        [contact.0],
        |row| Ok((row.get::<_, i64>(0)?, Bytes::from(row.get::<_, Vec<u8>>(1)?))),
    )?;
    let request = |(row, content)| match Content::decode(&content, Channel::Invite) {
        Ok(request @ Content::ContactRequest { .. }) => Some((row, request)),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(request).collect())
}

/// This device becomes another one, which counts anew. Messages that were confirmed are held for as long as all others, for whoever has lost
/// them: without a counter that anybody could name, they are handed over to those who ask for everything.
pub(crate) fn end_count(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("DELETE FROM outbox WHERE state > 2 AND (state != 3 OR message IS NULL)", [])?;
    let sql = "UPDATE outbox SET counter = ?1, inner = NULL, inner_before = NULL WHERE state = 3";
    tx.execute(sql, [OF_A_COUNT_BEFORE]).map(drop)
}

/// Messages that a device has confirmed are for the one in its place as well, as far as it asks for them and does not have them: by their
/// counters of then, or by the ciphertexts in which they left. Who asks from the first counter on has heard nothing of this device.
pub(crate) fn hand_over(
    tx: &mut Tx<'_>,
    predecessor: DeviceRow,
    successor: DeviceRow,
    counters: &[Counters],
    inner_hashes: &[[u8; 32]],
) -> Result<(), StoreError> {
    let mut rows: Vec<(i64, i64)> = Vec::new();
    for range in counters {
        let left = HANDED_OVER_MAX - rows.len().min(HANDED_OVER_MAX);
        let first = if range.first <= 1 { OF_A_COUNT_BEFORE } else { stored(range.first) };
        rows.extend(tx.all(
            "SELECT message, id FROM outbox WHERE peer_device = ?1 AND counter IS NOT NULL AND state > 2 AND state = 3 AND message IS NOT NULL
             AND counter >= ?2 AND counter <= ?3 ORDER BY counter DESC, id DESC LIMIT ?4",
            params![predecessor.0, first, stored(range.last), i64::try_from(left).unwrap_or(0)],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?);
    }
    for hash in inner_hashes {
        rows.extend(tx.all(
            "SELECT message, id FROM outbox WHERE inner = ?2 AND peer_device = ?1 AND state = 3 AND message IS NOT NULL",
            params![predecessor.0, hash],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?);
    }
    // As they were said.
    rows.sort_unstable();
    for (_, row) in rows {
        tx.execute(
            "INSERT INTO outbox (peer_device, message, message_id, state, sent_at, dies_at, inner, inner_before)
             SELECT ?2, message, message_id, 0, sent_at, dies_at, inner, inner_before FROM outbox AS before WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM outbox WHERE message = before.message AND peer_device = ?2 AND state <= 3)",
            params![row, successor.0],
        )?;
    }
    Ok(())
}

/// What devices have left behind for too long fails.
pub(super) fn expire(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    let rows: Vec<i64> = tx.all(LEFT_BEHIND, [ms(now.before(KEPT))], |row| row.get(0))?;
    rows.into_iter().try_for_each(|row| fail(tx, row, Failure::Expired, now))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{FOLLOW, LEFT_BEHIND};

    /// What SQLite would do, one step a line.
    fn plan(query: &str) -> Vec<String> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../store/schema.sql")).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let mut rows = statement.raw_query();
        let mut plan = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get(3).unwrap());
        }
        plan
    }

    #[test]
    fn what_was_left_behind_moves_in_one_pass_and_is_not_looked_for_letter_by_letter() {
        let plan = plan(FOLLOW);
        assert!(!plan.iter().any(|step| step.contains("CORRELATED")), "{plan:?}");
    }

    #[test]
    fn what_was_left_behind_for_too_long_is_found_by_indexes() {
        let plan = plan(LEFT_BEHIND);
        assert!(!plan.iter().any(|step| step.contains("SCAN")), "{plan:?}");
    }
}
