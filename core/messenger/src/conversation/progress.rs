//! How far our messages are: forward only, whoever tells it.
//!
//! The device on which something was said knows it from relays and confirmations, and tells our others; that something was read its
//! reader tells all of them. A message that failed here may have arrived all the same, and is that far then.

use rusqlite::params;
use sotto_crypto::letter::Progress;
use sotto_protocol::{MessageId, Timestamp};

use super::deeds::{self, Named};
use super::{ConversationRow, MessageRow, SELF};
use crate::contact::ContactRow;
use crate::receipts;
use crate::records::{Failure, MessageState};
use crate::store::{Query, StoreError, Tx};

/// Moves a message that was said here forward; never back. What a relay has taken may arrive whether or not its recipient is removed. Says
/// whether our other devices are to hear of it.
pub(crate) fn advance(
    tx: &mut Tx<'_>,
    message: MessageRow,
    state: MessageState,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (before, failure) = match state {
        MessageState::Failed(Failure::Removed) => (MessageState::Sent, Some(Failure::Removed.code())),
        MessageState::Failed(failure) => (MessageState::Delivered, Some(failure.code())),
        _ => (state, None),
    };
    let sql = "UPDATE message SET state = ?2, failure = ?3 WHERE id = ?1 AND state < ?4";
    let moved = tx.execute(sql, params![message.0, state.code(), failure, before.code()])?;
    if moved == 0 || state == MessageState::Sending { Ok(false) } else { receipts::note_progress(tx, message, now) }
}

/// A relay has taken our message. One that failed meanwhile because its recipient was removed may arrive all the same.
pub(crate) fn taken(tx: &mut Tx<'_>, message: MessageRow, now: Timestamp) -> Result<bool, StoreError> {
    let removed = MessageState::Failed(Failure::Removed).code();
    let moved = tx.execute(
        "UPDATE message SET state = ?2, failure = NULL WHERE id = ?1 AND (state < ?2 OR (state = ?3 AND failure = ?4))",
        params![message.0, MessageState::Sent.code(), removed, Failure::Removed.code()],
    )?;
    if moved == 0 { Ok(false) } else { receipts::note_progress(tx, message, now) }
}

/// Somebody who knows says how far messages of ours are: our device that said them, or their reader.
pub(crate) fn told(
    tx: &mut Tx<'_>,
    conversation: ConversationRow,
    who: Option<ContactRow>,
    states: &[(MessageId, Progress)],
    now: Timestamp,
) -> Result<(), StoreError> {
    for (message_id, progress) in states {
        let named = Named { sender: None, message_id: *message_id };
        let state = state_of(*progress).stored();
        match deeds::here(tx, conversation, &named)? {
            Some(message) => take(tx, message, state)?,
            None => deeds::told_before_it_came(tx, conversation, &named, who, state, now)?,
        }
    }
    Ok(())
}

const fn state_of(progress: Progress) -> MessageState {
    match progress {
        Progress::Sent => MessageState::Sent,
        Progress::Delivered => MessageState::Delivered,
        Progress::Read => MessageState::Read,
        Progress::Expired => MessageState::Failed(Failure::Expired),
        Progress::Removed => MessageState::Failed(Failure::Removed),
    }
}

/// How far a message is, where there is something to tell of it.
pub(crate) fn of(
    view: &impl Query,
    conversation: ConversationRow,
    message_id: &MessageId,
) -> Result<Option<Progress>, StoreError> {
    let sql = "SELECT state, failure FROM message WHERE conversation = ?1 AND sender = ?2 AND message_id = ?3 AND position IS NOT NULL";
    let found = view.one(sql, params![conversation.0, SELF, message_id.as_ref()], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
    })?;
    let Some((state, failure)) = found else { return Ok(None) };
    Ok(match MessageState::from_code(state, failure)? {
        MessageState::Sent => Some(Progress::Sent),
        MessageState::Delivered => Some(Progress::Delivered),
        MessageState::Read => Some(Progress::Read),
        MessageState::Failed(Failure::Expired) => Some(Progress::Expired),
        MessageState::Failed(Failure::Removed) => Some(Progress::Removed),
        MessageState::Queued | MessageState::Sending | MessageState::Received => None,
    })
}

/// States and failures that somebody told, as one number: failures stand behind all states.
const FAILURES: i64 = 100;

impl MessageState {
    const fn stored(self) -> i64 {
        match self {
            Self::Failed(failure) => FAILURES + failure.code(),
            state => state.code(),
        }
    }
}

/// A message is as far as somebody told, unless it is further: nothing that arrived has failed.
pub(super) fn take(tx: &mut Tx<'_>, message: MessageRow, told: i64) -> Result<(), StoreError> {
    let failed = MessageState::Failed(Failure::Expired).code();
    if told > FAILURES {
        let sql = "UPDATE message SET state = ?2, failure = ?3 WHERE id = ?1 AND sender = 0 AND state < ?4";
        tx.execute(sql, params![message.0, failed, told - FAILURES, MessageState::Delivered.code()])?;
    } else {
        let sql =
            "UPDATE message SET state = ?2, failure = NULL WHERE id = ?1 AND sender = 0 AND (state < ?2 OR state = ?3)";
        tx.execute(sql, params![message.0, told, failed])?;
    }
    Ok(())
}
