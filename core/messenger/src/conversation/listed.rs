//! What a chat list shows of a conversation beside its last message: silent, put away, above the others, to look unread.
//!
//! A conversation is put away up to where it stood then: whatever is said there later brings it back. So devices agree
//! without telling each other more than that.

use sotto_protocol::Timestamp;

use super::ConversationRow;
use crate::settings::{self, Key, Of};
use crate::store::column::{ms, stored};
use crate::store::{Query, StoreError, Tx};

/// Where the last message of a conversation stands; 0 where there is none.
const LAST: &str = "SELECT max(position) FROM message WHERE conversation = ?1";

/// A conversation looks as it is set to.
pub(crate) fn settle(tx: &mut Tx<'_>, conversation: ConversationRow) -> Result<(), StoreError> {
    let of = Of::Conversation(conversation);
    let muted_until = settings::number(&settings::get(tx, of, Key::MutedUntil)?);
    let archived_up_to = stored(settings::number(&settings::get(tx, of, Key::ArchivedUpTo)?));
    let is_pinned = settings::get(tx, of, Key::Pinned)? == settings::flag(true);
    let is_marked = settings::get(tx, of, Key::MarkedUnread)? == settings::flag(true);
    let is_archived = archived_up_to > 0 && last(tx, conversation)? <= archived_up_to;
    tx.execute(
        "UPDATE conversation SET muted_until = ?2, archived = ?3, pinned = ?4, marked_unread = ?5, archived_up_to = ?6 WHERE id = ?1",
        rusqlite::params![conversation.0, stored(muted_until), is_archived, is_pinned, is_marked, archived_up_to],
    )?;
    Ok(())
}

/// Up to where a conversation is put away now.
pub(crate) fn last(view: &impl Query, conversation: ConversationRow) -> Result<i64, StoreError> {
    let last = view.one(LAST, [conversation.0], |row| row.get::<_, Option<i64>>(0))?;
    Ok(last.flatten().unwrap_or(0))
}

/// Until when a conversation is silent, as it is stored.
pub(crate) fn until(time: Timestamp) -> [u8; 8] {
    u64::try_from(ms(time)).unwrap_or(0).to_be_bytes()
}
