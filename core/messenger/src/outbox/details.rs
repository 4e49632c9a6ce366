//! Where a message is, device by device; and another try for one that has failed.

use rusqlite::params;
use sotto_protocol::{DeviceId, MessageId, Timestamp};

use super::{NewLetter, Says, queue};
use crate::contact::ContactRow;
use crate::conversation::MessageRow;
use crate::peer;
use crate::records::{Delivery, DeliveryState, Failure, MessageState};
use crate::store::column::timestamp;
use crate::store::{Query, StoreError, Tx};

const DELIVERIES: &str = "
    SELECT peer_device.device, peer_device.contact, outbox.state, coalesce(ended_at, accepted_at, encrypted_at), peer_inbox.relay
    FROM outbox JOIN peer_device ON peer_device.id = outbox.peer_device LEFT JOIN peer_inbox ON peer_inbox.id = outbox.peer_inbox
    WHERE outbox.message = ?1 AND outbox.id = (
        SELECT max(id) FROM outbox AS last WHERE last.message = ?1 AND last.peer_device = outbox.peer_device)
    ORDER BY peer_device.contact = 0, outbox.id";

/// How far a message is with each device that it is for. Of what is over for as long as anything of it is kept.
pub(crate) fn deliveries(view: &impl Query, message: MessageRow) -> Result<Vec<Delivery>, StoreError> {
    let rows = view.all(DELIVERIES, [message.0], |row| {
        let (device, contact, state): (_, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (at, relay): (Option<i64>, Option<String>) = (row.get(3)?, row.get(4)?);
        Ok((DeviceId::from_bytes(device), contact, state, at.map(timestamp), relay))
    })?;
    let read = |(device, contact, state, at, relay): (_, _, _, _, Option<String>)| {
        let relay = relay.map(|relay| relay.parse().map_err(|_| StoreError::Corrupt)).transpose()?;
        let state = match state {
            0 | 1 => DeliveryState::Waiting,
            2 => DeliveryState::Accepted,
            3 => DeliveryState::Confirmed,
            4 => DeliveryState::Failed,
            _ => return Err(StoreError::Corrupt),
        };
        Ok(Delivery { device, is_own: contact == ContactRow::OWN.0, state, at, relay })
    };
    rows.into_iter().map(read).collect()
}

/// A message of ours that has failed leaves once more, to every device that its recipient has now.
pub(crate) fn retry(tx: &mut Tx<'_>, message: MessageRow, recipient: ContactRow) -> Result<(), StoreError> {
    let said = tx.one("SELECT message_id, sent_at FROM message WHERE id = ?1", [message.0], |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)?))
    })?;
    let (message_id, sent_at): ([u8; 16], i64) = said.ok_or(StoreError::Corrupt)?;
    let sent_at: Timestamp = timestamp(sent_at);
    let letter = NewLetter {
        says: Says::Message(message),
        message_id: MessageId::from_bytes(message_id),
        sent_at,
        dies_at: None,
        after_batch: None,
    };
    for device in peer::listed_devices(tx, recipient)? {
        let lives = "SELECT 1 FROM outbox WHERE message = ?1 AND peer_device = ?2 AND state <= 3";
        if tx.one(lives, params![message.0, device.0], |_| Ok(()))?.is_none() {
            queue(tx, device, &letter)?;
        }
    }
    let failed = MessageState::Failed(Failure::Expired).code();
    let sql = "UPDATE message SET state = ?2, failure = NULL WHERE id = ?1 AND state = ?3";
    tx.execute(sql, params![message.0, MessageState::Queued.code(), failed]).map(drop)
}
