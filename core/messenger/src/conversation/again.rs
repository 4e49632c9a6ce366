//! What was here already comes again under another number, where this device has come in the place of another (PROTOCOL H2).
//!
//! Senders say anew, in order, whatever that one had not confirmed. Some of it was here: what it had beyond a hole. From now on that stands by its
//! new number, and what its device made before it goes before it; without, what filled the hole would stand behind all.

use rusqlite::params;
use sotto_protocol::limits::COUNTER_MAX;

use super::{NewMessage, SELF};
use crate::store::column::stored;
use crate::store::{Query, StoreError, Tx};

/// So far below and above the numbers of the new count those of the count before go, in their order.
const APART: i64 = COUNTER_MAX.cast_signed() + 1;

/// So many numbers before it are looked through for messages that go before one that came again: a sender who says everything again backwards is
/// not worth more of the writer's time. What is further apart stays where it is.
const LOOKED_THROUGH: i64 = 4_096;

/// All that is here now is of the count before.
pub(crate) fn count_anew(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO meta (key, value) SELECT 'counted_anew_after', coalesce(max(id), 0) FROM message";
    tx.execute(sql, []).map(drop)
}

/// A message that is here already has come under a number. Says whether the order in its conversation has changed.
pub(crate) fn came_again(tx: &mut Tx<'_>, new: &NewMessage<'_>) -> Result<bool, StoreError> {
    let Some(order) = new.order.filter(|order| order.is_late || order.is_early) else { return Ok(false) };
    let sender = new.sender.map_or(SELF, |contact| contact.0);
    let found = tx.one(
        "SELECT id, place, counter FROM message WHERE conversation = ?1 AND sender = ?2 AND message_id = ?3 AND kind < 3
         AND (peer_device IS NULL OR counter <= 0) AND id <= (SELECT value FROM meta WHERE key = 'counted_anew_after')",
        params![new.conversation.0, sender, new.message_id.as_ref()],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)),
    )?;
    let Some((row, place, before)) = found else { return Ok(false) };
    let (device, counter) = (order.device.0, stored(order.counter));
    tx.execute(
        "UPDATE message SET counter = counter + iif(counter < ?3, -?5, ?5)
         WHERE conversation = ?1 AND place = ?2 AND id != ?4 AND peer_device IS NULL AND abs(counter) < ?5",
        params![new.conversation.0, place, before, row, APART],
    )?;
    tx.execute("UPDATE message SET peer_device = ?2, counter = ?3 WHERE id = ?1", params![row, device, counter])?;
    // In order they are those behind the last one that stands before it already. What was here before is moved by nobody.
    let moved = tx.execute(
        "UPDATE message SET place = ?3 WHERE peer_device = ?2 AND counter < ?4 AND conversation = ?1 AND place > ?3
         AND id > (SELECT value FROM meta WHERE key = 'counted_anew_after')
         AND counter > max(0, ?4 - ?5, coalesce((
             SELECT counter FROM message WHERE peer_device = ?2 AND counter > max(0, ?4 - ?5) AND counter < ?4 AND place <= ?3
             AND conversation = ?1 AND id != ?6 ORDER BY counter DESC LIMIT 1), 0))",
        params![new.conversation.0, device, place, counter, LOOKED_THROUGH, row],
    )?;
    if moved > 0 {
        super::look_up_last(tx, new.conversation)?;
    }
    Ok(moved > 0)
}

/// What another device is known for good to have said stands before all that it says from now on.
pub(crate) fn below_all_to_come(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let sql = "UPDATE message SET counter = counter - ?1 WHERE peer_device IS NOT NULL AND counter > 0";
    tx.execute(sql, [APART]).map(drop)
}
