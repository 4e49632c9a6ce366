//! What was read of what others have said: only ever by somebody's word, message by message, and never by fetching it.

use rusqlite::params;
use sotto_protocol::{MessageId, Timestamp};

use super::deeds::{self, Named};
use super::{ConversationRow, MessageRow};
use crate::contact::ContactRow;
use crate::store::{Query, StoreError, Tx};

/// A message that was unread: where it stands, whose it is.
pub(crate) type WasUnread = (ConversationRow, (ContactRow, MessageId));

/// A message is read. Says what it was, where it was not read before.
pub(crate) fn read(tx: &mut Tx<'_>, message: MessageRow) -> Result<Option<WasUnread>, StoreError> {
    let sql = "SELECT conversation, sender, message_id FROM message WHERE id = ?1 AND unread = 1";
    let unread = tx.one(sql, [message.0], |row| {
        Ok((ConversationRow(row.get(0)?), (ContactRow(row.get(1)?), MessageId::from_bytes(row.get(2)?))))
    })?;
    if unread.is_some() {
        tx.execute("UPDATE message SET unread = 0 WHERE id = ?1", [message.0])?;
        let sql = "UPDATE conversation SET unread = max(0, unread - 1) WHERE id = (SELECT conversation FROM message WHERE id = ?1)";
        tx.execute(sql, [message.0])?;
    }
    Ok(unread)
}

/// Messages of a contact's were read on another device of ours.
pub(crate) fn read_elsewhere(
    tx: &mut Tx<'_>,
    conversation: ConversationRow,
    contact: ContactRow,
    message_ids: &[MessageId],
    now: Timestamp,
) -> Result<(), StoreError> {
    for message_id in message_ids {
        let named = Named { sender: Some(contact), message_id: *message_id };
        match deeds::here(tx, conversation, &named)? {
            Some(message) => drop(read(tx, message)?),
            None => deeds::read_before_it_came(tx, conversation, &named, now)?,
        }
    }
    Ok(())
}

/// Messages of a conversation that are unread, from the first on.
pub(super) const UNREAD: &str =
    "SELECT id FROM message WHERE conversation = ?1 AND unread = 1 ORDER BY position LIMIT ?2";

/// The first messages of a conversation that are unread.
pub(crate) fn unread(
    view: &impl Query,
    conversation: ConversationRow,
    limit: u32,
) -> Result<Vec<MessageRow>, StoreError> {
    view.all(UNREAD, params![conversation.0, limit], |row| row.get(0).map(MessageRow))
}

/// The first messages of a conversation that are unread, of those that have a number up to that one.
pub(crate) fn unread_up_to(
    view: &impl Query,
    conversation: ConversationRow,
    number: i64,
    limit: u32,
) -> Result<Vec<MessageRow>, StoreError> {
    let sql = "SELECT id FROM message WHERE conversation = ?1 AND unread = 1 AND id <= ?2 ORDER BY position LIMIT ?3";
    view.all(sql, params![conversation.0, number, limit], |row| row.get(0).map(MessageRow))
}

/// Where the first message of a conversation stands that is unread.
pub(crate) fn first_unread(view: &impl Query, conversation: ConversationRow) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT min(position) FROM message WHERE conversation = ?1 AND unread = 1";
    Ok(view.one(sql, [conversation.0], |row| row.get::<_, Option<i64>>(0))?.flatten())
}
