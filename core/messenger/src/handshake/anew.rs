//! Meeting again: what is undone of the meeting before.
//!
//! Whoever begins anew may have lost what the sessions and seals of before need, or have been removed and missed letters. So a handshake
//! stands on a session of its own, and on seals that begin with an opener. Old sessions still open what is under way.

use sotto_crypto::letter::Content;
use sotto_crypto::secret::PairSecret;
use sotto_protocol::Timestamp;

use super::tokens::{Dropped, Purpose, Quota, batch_of, drop_former_tokens, drop_tokens, has_tokens_of, put_tokens};
use crate::contact::ContactRow;
use crate::engine::Times;
use crate::error::Error;
use crate::outbox;
use crate::own::Own;
use crate::peer::DeviceRow;
use crate::store::{StoreError, Tx};
use crate::task;
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
fn end_pair(tx: &mut Tx<'_>, own: &Own, contact: ContactRow, times: Times) -> Result<(), StoreError> {
    drop_tokens(tx, own, contact, Dropped::Replaced, times.judging)?;
    outbox::anew::end_letters(tx, contact, times.network)
}

/// Tokens of a pair secret stand from now on, and none of any before it; whatever was still to leave is over. Returns the batch that puts them.
pub(super) fn begin_tokens(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: ContactRow,
    pair: &PairSecret,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<i64, StoreError> {
    if has_tokens_of(tx, own, contact, pair)?
        && let Some(batch) = batch_of(tx, own, contact, pair)?
    {
        drop_former_tokens(tx, own, contact, pair, None, times.judging)?;
        outbox::anew::end_letters(tx, contact, times.network)?;
        return Ok(batch);
    }
    end_pair(tx, own, contact, times)?;
    let batch = task::new_batch(tx)?;
    put_tokens(tx, own, batch, Purpose::Pair(contact), Quota::default(), |inbox| pair.token(inbox, 0), chance)?;
    Ok(batch)
}

/// What there was between us and a contact whose secret another device of ours tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Before {
    /// We shared another secret, and may still be written to under it.
    Pair,
    /// They were none, or a handshake was under way here.
    Nothing,
}

/// Another device of ours shares a pair secret with a contact: its tokens are put here too. Between those who stay contacts the tokens of the
/// pair before stand until something has come under these: they are written under for as long as nobody has told the contact that we
/// know the new one.
pub(crate) fn take_pair(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: ContactRow,
    pair: &PairSecret,
    before: Before,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    if before == Before::Nothing {
        end_pair(tx, own, contact, times)?;
    }
    let batch = task::new_batch(tx)?;
    put_tokens(tx, own, batch, Purpose::Pair(contact), Quota::default(), |inbox| pair.token(inbox, 0), chance)?;
    Ok(outbox::anew::send_messages_again(tx, contact)?)
}

/// Queues what the pair begins with, behind its tokens, and behind it the texts that nobody has confirmed. `to`: all of their devices, or
/// those.
pub(super) fn begin_pair(
    tx: &mut Tx<'_>,
    contact: ContactRow,
    first: &Content,
    to: Option<DeviceRow>,
    batch: i64,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    match to {
        Some(device) => outbox::queue_content_to(tx, &[device], first, Some(batch), None, now, chance)?,
        None => outbox::queue_content(tx, contact, first, Some(batch), None, now, chance)?,
    }
    Ok(outbox::anew::send_messages_again(tx, contact)?)
}
