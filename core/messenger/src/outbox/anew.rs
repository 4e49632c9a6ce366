//! Beginning anew with a contact: what was still to leave for the meeting before.

use rusqlite::params;
use sotto_protocol::Timestamp;

use crate::contact::ContactRow;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};

/// Letters that are no messages say nothing any more, whether or not they have left.
pub(crate) fn end_letters(tx: &mut Tx<'_>, contact: ContactRow, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE outbox SET state = 4, olm = NULL, content = NULL, ended_at = ?2 WHERE message IS NULL AND state <= 2
         AND peer_device IN (SELECT id FROM peer_device WHERE contact = ?1)",
        params![contact.0, ms(now)],
    )?;
    Ok(())
}

/// Messages that were not confirmed go out again behind everything queued so far, and under counters of their own: those that they had are
/// given up. A copy under such a counter that arrives all the same is the same message, and shown once.
pub(crate) fn send_messages_again(tx: &mut Tx<'_>, contact: ContactRow) -> Result<(), StoreError> {
    tx.execute("UPDATE peer_device SET counter_anew = counter_sent WHERE contact = ?1", [contact.0])?;
    let last: i64 = tx.one("SELECT coalesce(max(id), 0) FROM outbox", [], |row| row.get(0))?.unwrap_or(0);
    let rows: Vec<i64> = tx.all(
        "SELECT id FROM outbox WHERE message IS NOT NULL AND state <= 2
         AND peer_device IN (SELECT id FROM peer_device WHERE contact = ?1) ORDER BY id",
        [contact.0],
        |row| row.get(0),
    )?;
    // One number after the other: a peer decides how often this happens, and must not be able to use the numbers up.
    for (row, number) in rows.into_iter().zip(last.saturating_add(1)..) {
        tx.execute(
            "UPDATE outbox SET id = ?2, state = 0, counter = NULL, peer_inbox = NULL, olm_kind = NULL, olm = NULL, envelope = NULL,
                 encrypted_at = NULL, accepted_at = NULL, after_batch = NULL, to_inbox = NULL, again_at = NULL, tries = 0 WHERE id = ?1",
            params![row, number],
        )?;
    }
    Ok(())
}
