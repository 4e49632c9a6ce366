//! Letters to devices that left their contact's list.
//!
//! Nothing is sent to a device that is not listed. What it has not confirmed goes to the devices that are (PROTOCOL H4): to each once, in
//! the order in which it was queued, behind what waits for that device already.

use rusqlite::params;
use sotto_crypto::letter::Content;
use sotto_protocol::Timestamp;

use crate::contact::ContactRow;
use crate::peer;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};

/// Turns letters of a contact from devices that left to those that are listed. A confirmation is for the device that it is for, and over.
pub(crate) fn follow(tx: &mut Tx<'_>, contact: ContactRow, now: Timestamp) -> Result<(), StoreError> {
    let left: Vec<i64> = tx.all(
        "SELECT outbox.id FROM peer_device JOIN outbox ON outbox.peer_device = peer_device.id
         WHERE peer_device.contact = ?1 AND peer_device.listed = 0 AND outbox.state <= 2 ORDER BY outbox.id",
        [contact.0],
        |row| row.get(0),
    )?;
    if left.is_empty() {
        return Ok(());
    }
    let confirmation = Content::Confirmation.encode().map_err(|_| StoreError::Failed)?;
    let listed = peer::listed_devices(tx, contact)?;
    for row in left {
        for device in &listed {
            tx.execute(
                "INSERT INTO outbox (peer_device, message, content, message_id, state, sent_at, dies_at, after_batch)
                 SELECT ?2, message, content, message_id, 0, sent_at, dies_at, after_batch FROM outbox AS moved
                 WHERE id = ?1 AND content IS NOT ?3
                 AND NOT EXISTS (SELECT 1 FROM outbox WHERE peer_device = ?2 AND message_id = moved.message_id AND state <= 3)",
                params![row, device.0, confirmation.as_ref()],
            )?;
        }
        tx.execute(
            "UPDATE outbox SET state = 4, olm = NULL, content = NULL, ended_at = ?2 WHERE id = ?1",
            params![row, ms(now)],
        )?;
    }
    Ok(())
}
