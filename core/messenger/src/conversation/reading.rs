//! What was read of what others have said: only ever by somebody's word, message by message, and never by fetching it.

use rusqlite::params;

use super::{ConversationRow, MessageRow};
use crate::store::{Query, StoreError, Tx};

/// A message is read.
pub(crate) fn read(tx: &mut Tx<'_>, message: MessageRow) -> Result<(), StoreError> {
    if tx.execute("UPDATE message SET unread = 0 WHERE id = ?1 AND unread = 1", [message.0])? > 0 {
        let sql = "UPDATE conversation SET unread = max(0, unread - 1) WHERE id = (SELECT conversation FROM message WHERE id = ?1)";
        tx.execute(sql, [message.0])?;
    }
    Ok(())
}

/// Messages of a conversation that are unread, from the first on.
pub(crate) const UNREAD: &str =
    "SELECT id FROM message WHERE conversation = ?1 AND unread = 1 ORDER BY position LIMIT ?2";

/// The first messages of a conversation that are unread.
pub(crate) fn unread(
    view: &impl Query,
    conversation: ConversationRow,
    limit: u32,
) -> Result<Vec<MessageRow>, StoreError> {
    view.all(UNREAD, params![conversation.0, limit], |row| row.get(0).map(MessageRow))
}
