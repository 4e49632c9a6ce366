//! Meeting again: what is undone of the meeting before.
//!
//! Whoever begins anew may have lost what the sessions and seals of before need, or have been removed and missed letters. So a handshake
//! stands on a session of its own, and on seals that begin with an opener. Old sessions still open what is under way.

use sotto_crypto::letter::Content;
use sotto_protocol::Timestamp;

use super::tokens::{Dropped, drop_tokens};
use crate::contact::ContactRow;
use crate::engine::Times;
use crate::error::Error;
use crate::outbox;
use crate::own::Own;
use crate::store::{StoreError, Tx};
use crate::world::Chance;

/// The inboxes of a contact's devices.
const INBOXES: &str = "SELECT peer_inbox.id FROM peer_inbox JOIN peer_device ON peer_device.id = peer_inbox.peer_device
                       WHERE peer_device.contact = ?1";

/// The next letter to each of their inboxes begins a session.
pub(super) fn stop_sessions(tx: &mut Tx<'_>, contact: ContactRow) -> Result<(), StoreError> {
    let sql = format!("UPDATE session SET sending = 0 WHERE sending = 1 AND peer_inbox IN ({INBOXES})");
    tx.execute(&sql, [contact.0])?;
    Ok(())
}

/// The next letter to each of their inboxes is an opener.
pub(super) fn stop_seals(tx: &mut Tx<'_>, contact: ContactRow) -> Result<(), StoreError> {
    tx.execute(&format!("DELETE FROM seal_out WHERE peer_inbox IN ({INBOXES})"), [contact.0])?;
    Ok(())
}

/// A pair secret takes the place of whatever was before it.
pub(super) fn end_pair(tx: &mut Tx<'_>, own: &Own, contact: ContactRow, times: Times) -> Result<(), StoreError> {
    drop_tokens(tx, own, contact, Dropped::Replaced, times.judging)?;
    outbox::anew::end_letters(tx, contact, times.network)
}

/// Queues what the pair begins with, behind its tokens, and behind it the texts that nobody has confirmed.
pub(super) fn begin_pair(
    tx: &mut Tx<'_>,
    contact: ContactRow,
    first: &Content,
    batch: i64,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    outbox::queue_content(tx, contact, first, Some(batch), None, now, chance)?;
    Ok(outbox::anew::send_messages_again(tx, contact)?)
}
