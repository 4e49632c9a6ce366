//! Conversations and messages: what was said, in the order of its places (what a device said stands in that device's order).
//!
//! A message is one row, unique by (conversation, sender, message id); its state moves forward only. A conversation row holds what a
//! chat list shows, so that a list page reads no message table.
//! - `codes`: how states and kinds are stored; `pages`: reading what was said; `order`: where a message stands; `deeds`: what is done to it;
//!   `reading`: what was read; `progress`: how far messages are; `listed`: how conversations are listed
//!
//! Not here: what leaves and arrives (`outbox`, `receive.rs`).

mod codes;
pub(crate) mod deeds;
pub(crate) mod listed;
mod order;
mod pages;
pub(crate) mod progress;
pub(crate) mod reading;

use rusqlite::params;
use sotto_protocol::{AccountId, ConversationId, MessageId, Timestamp};

use crate::contact::ContactRow;
use crate::records::{KeyChange, Kind, MessageState};
use crate::search;
use crate::store::column::{ms, stored};
use crate::store::{Query, StoreError, Tx};

use deeds::{Awaited, Named};
pub(crate) use order::{Order, first_position, goes_on, said_at, said_here, said_on_copy, set_right};
pub(crate) use pages::{
    history, list, message, newest, nth_after, nth_before, page, page_after, pinned, received_after, stretch,
    with_contact,
};
pub(crate) use reading::first_unread;

/// Row of a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct MessageRow(pub(crate) i64);

/// Row of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct ConversationRow(pub(crate) i64);

/// The sender column of our own messages.
pub(crate) const SELF: i64 = 0;

/// A message to store.
pub(crate) struct NewMessage<'a> {
    pub(crate) conversation: ConversationRow,
    /// `None`: this account.
    pub(crate) sender: Option<ContactRow>,
    pub(crate) message_id: MessageId,
    pub(crate) sent_at: Timestamp,
    pub(crate) received_at: Timestamp,
    pub(crate) kind: Kind,
    pub(crate) text: &'a str,
    pub(crate) content: &'a [u8],
    pub(crate) state: MessageState,
    pub(crate) order: Order,
}

impl NewMessage<'_> {
    /// What others say is unread; that their keys have changed is not said by them.
    fn is_unread(&self) -> bool {
        self.state == MessageState::Received && !matches!(self.kind, Kind::KeyChange(_))
    }

    const fn named(&self) -> Named {
        Named { sender: self.sender, message_id: self.message_id }
    }
}

/// A message that was stored.
#[derive(Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) row: MessageRow,
    /// It stands behind all others.
    pub(crate) is_last: bool,
    /// To be counted.
    pub(crate) is_unread: bool,
}

/// Stores a message, where it belongs (`order`), as what was done to it already leaves it (`deeds`); `None` when it is there already, or is
/// not to be seen.
pub(crate) fn insert(tx: &mut Tx<'_>, new: &NewMessage<'_>) -> Result<Option<Stored>, StoreError> {
    let sender = new.sender.map_or(SELF, |contact| contact.0);
    let awaited = deeds::awaits(tx, new.conversation, sender, &new.message_id)?;
    if awaited == Awaited::Hidden {
        return Ok(None);
    }
    // A number is never given again, and stands for one arrival: whoever reads what came since one misses nothing.
    let number = newest(tx)? + 1;
    let place = order::place(tx, new)?;
    let inserted = tx.execute(
        "INSERT INTO message (id, conversation, sender, message_id, sent_at, received_at, kind, text, content, state, cause, position, line, ordinal, unread)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING",
        params![
            number,
            new.conversation.0,
            sender,
            new.message_id.as_ref(),
            ms(new.sent_at),
            ms(new.received_at),
            new.kind.code(),
            new.text,
            new.content,
            new.state.code(),
            new.kind.cause(),
            place.position.0,
            new.order.line.0,
            stored(place.ordinal),
            new.is_unread() && awaited == Awaited::Nothing,
        ],
    )?;
    if inserted == 0 {
        return Ok(None);
    }
    let row = MessageRow(number);
    let mut is_unread = new.is_unread();
    if awaited == Awaited::Changed {
        is_unread &= !deeds::arrived(tx, row, new.conversation, &new.named(), new.received_at)?;
        let sql = "UPDATE message SET unread = ?2 WHERE id = ?1 AND kind != ?3";
        is_unread &= tx.execute(sql, params![row.0, is_unread, Kind::Deleted.code()])? > 0;
    }
    Ok(Some(Stored { row, is_last: place.is_last, is_unread }))
}

/// Makes a message of one that could not be opened, and puts it where it belongs; unless it is there already: then that one goes.
pub(crate) fn take_place(tx: &mut Tx<'_>, row: MessageRow, new: &NewMessage<'_>) -> Result<bool, StoreError> {
    let sender = new.sender.map_or(SELF, |contact| contact.0);
    let awaited = deeds::awaits(tx, new.conversation, sender, &new.message_id)?;
    let number = newest(tx)? + 1;
    let place = order::place(tx, new)?;
    search::forget(tx, row)?;
    let changed = match awaited {
        Awaited::Hidden => 0,
        Awaited::Nothing | Awaited::Changed => tx.execute(
            "UPDATE OR IGNORE message SET message_id = ?2, sent_at = ?3, received_at = ?4, kind = ?5, text = ?6, content = ?7, cause = ?8, arrival = ?9,
                 position = ?10, line = ?11, ordinal = ?12 WHERE id = ?1",
            params![
                row.0,
                new.message_id.as_ref(),
                ms(new.sent_at),
                ms(new.received_at),
                new.kind.code(),
                new.text,
                new.content,
                new.kind.cause(),
                number,
                place.position.0,
                new.order.line.0,
                stored(place.ordinal),
            ],
        )?,
    };
    if changed == 0 {
        remove(tx, row)?;
        return Ok(false);
    }
    search::put(tx, row)?;
    // Whoever has seen the place has not seen what stands there now.
    tx.execute(
        "UPDATE conversation SET unread = unread + 1 WHERE id = ?1 AND (SELECT unread FROM message WHERE id = ?2) = 0",
        [new.conversation.0, row.0],
    )?;
    tx.execute("UPDATE message SET unread = 1 WHERE id = ?1", [row.0])?;
    if awaited == Awaited::Changed && deeds::arrived(tx, row, new.conversation, &new.named(), new.received_at)? {
        reading::read(tx, row)?;
    }
    look_up_last(tx, new.conversation)?;
    note_last_number(tx, number)?;
    Ok(true)
}

/// What could not be opened turns out to be something else.
pub(crate) fn set_kind(tx: &mut Tx<'_>, place: MessageRow, kind: Kind) -> Result<(), StoreError> {
    tx.execute("UPDATE message SET kind = ?2, cause = ?3 WHERE id = ?1", params![place.0, kind.code(), kind.cause()])?;
    Ok(())
}

/// Takes a message out of its conversation.
pub(crate) fn remove(tx: &mut Tx<'_>, row: MessageRow) -> Result<(), StoreError> {
    let number = newest(tx)?;
    let conversation: Option<i64> =
        tx.one("SELECT conversation FROM message WHERE id = ?1", [row.0], |row| row.get(0))?;
    let Some(conversation) = conversation else { return Ok(()) };
    tx.execute(
        "UPDATE conversation SET unread = max(0, unread - (SELECT unread FROM message WHERE id = ?2)) WHERE id = ?1",
        [conversation, row.0],
    )?;
    search::forget(tx, row)?;
    tx.execute("DELETE FROM message WHERE id = ?1", [row.0])?;
    note_last_number(tx, number)?;
    look_up_last(tx, ConversationRow(conversation))
}

fn look_up_last(tx: &mut Tx<'_>, conversation: ConversationRow) -> Result<(), StoreError> {
    let sql = "UPDATE conversation SET last_message = (SELECT id FROM message WHERE conversation = ?1 AND position IS NOT NULL
                   ORDER BY position DESC LIMIT 1)
               WHERE id = ?1";
    tx.execute(sql, [conversation.0]).map(drop)
}

/// No message gets a number up to this one any more.
fn note_last_number(tx: &mut Tx<'_>, number: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (key, value) VALUES ('last_number', ?1) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)";
    tx.execute(sql, [number]).map(drop)
}

/// What a batch changes in one conversation: written once at its end.
#[derive(Clone, Copy)]
pub(crate) struct Arrivals {
    /// The last in order; `None` when none stands behind those that were there.
    pub(crate) last: Option<MessageRow>,
    pub(crate) last_at: Timestamp,
    pub(crate) unread: u32,
}

/// Moves a conversation up to its newest message.
pub(crate) fn touch(tx: &mut Tx<'_>, conversation: ConversationRow, arrivals: &Arrivals) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE conversation SET last_message = coalesce(?2, last_message), last_at = max(last_at, ?3), unread = unread + ?4,
             ordinal = coalesce((SELECT ordinal FROM message WHERE id = ?2 AND line = 0 AND ordinal > 0), ordinal),
         archived = iif(archived = 1 AND (SELECT position FROM message WHERE id = ?2) > archived_up_to, 0, archived) WHERE id = ?1",
        params![conversation.0, arrivals.last.map(|last| last.0), ms(arrivals.last_at), arrivals.unread],
    )?;
    Ok(())
}

/// Says in the conversation with a contact, where there is one, that their keys have changed. `mark` is of the change: a message of theirs
/// may have taken the name that it gives, and keeps nothing from being said by that.
pub(crate) fn note_key_change(
    tx: &mut Tx<'_>,
    contact: ContactRow,
    change: KeyChange,
    mark: &[u8; 32],
    now: Timestamp,
) -> Result<Option<MessageRow>, StoreError> {
    let Some(conversation) = with_contact(tx, contact)? else { return Ok(None) };
    let mut name = [0; 16];
    name.copy_from_slice(&mark[..16]);
    let mut number = u128::from_be_bytes(name);
    loop {
        let new = NewMessage {
            conversation,
            sender: Some(contact),
            message_id: MessageId::from_bytes(number.to_be_bytes()),
            sent_at: now,
            received_at: now,
            kind: Kind::KeyChange(change),
            text: "",
            content: &[],
            state: MessageState::Received,
            order: Order::NONE,
        };
        if let Some(stored) = insert(tx, &new)? {
            return Ok(Some(stored.row));
        }
        number = number.wrapping_add(1);
    }
}

/// The note to self, made when it is first needed.
pub(crate) fn note_to_self(tx: &mut Tx<'_>, own: &AccountId) -> Result<ConversationRow, StoreError> {
    let found = tx.one("SELECT id FROM conversation WHERE contact IS NULL", [], |row| row.get(0))?;
    match found {
        Some(row) => Ok(ConversationRow(row)),
        None => {
            let id = ConversationId::between(own, own);
            Ok(ConversationRow(tx.insert("INSERT INTO conversation (conversation) VALUES (?1)", [id.as_ref()])?))
        }
    }
}
