//! Reading what was said: pages of a conversation and of the chat list, in the order of an index.

use rusqlite::{Row, params};
use sotto_crypto::letter::{Channel, Content, Target};
use sotto_protocol::{AccountId, Bytes, ConversationId, MessageId};

use super::deeds::edited;
use super::{ConversationRow, MessageRow, SELF};
use crate::contact::ContactRow;
use crate::records::{
    ChatPlace, Chats, Conversation, Kind, Message, MessageState, Quote, Quoted, Range, Reaction, Version,
};
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError};

const MESSAGE_COLUMNS: &str = "message.id, conversation.conversation, contact.account, message.message_id, message.sent_at, message.received_at, \
                               message.kind, message.text, message.state, message.failure, message.cause, coalesce(message.arrival, message.id), message.position, \
                               message.content, edit.content, edit.sent_at, message.reacted, message.pinned, message.unread";
const MESSAGE_TABLES: &str = "message JOIN conversation ON conversation.id = message.conversation LEFT JOIN contact ON contact.id = message.sender \
                              LEFT JOIN message AS edit ON edit.id = message.edit";

/// A message as its row says, and whether more is to be looked up of it.
struct Read {
    message: Message,
    is_reacted: bool,
}

fn read_message(own: AccountId) -> impl Fn(&Row<'_>) -> rusqlite::Result<Result<Read, StoreError>> {
    move |row| {
        let sender: Option<[u8; 32]> = row.get(2)?;
        let (kind, state, failure): (i64, i64, Option<i64>) = (row.get(6)?, row.get(8)?, row.get(9)?);
        let (cause, arrival): (Option<i64>, i64) = (row.get(10)?, row.get(11)?);
        let (number, conversation, message_id) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let (sent_at, received_at, text, position) = (row.get(4)?, row.get(5)?, row.get(7)?, row.get(12)?);
        let (mut ranges, reply_to, is_forwarded) = besides_words(row.get(13)?);
        let (edit, edited_at): (Option<Vec<u8>>, Option<i64>) = (row.get(14)?, row.get(15)?);
        let (is_reacted, is_pinned, is_unread) = (row.get(16)?, row.get(17)?, row.get(18)?);
        if let Some(edit) = edit.and_then(edited) {
            ranges = edit.ranges;
        }
        let parse = || {
            let message = Message {
                number,
                position,
                arrival,
                id: MessageId::from_bytes(message_id),
                conversation: ConversationId::from_bytes(conversation),
                sender: sender.map_or(own, AccountId::from_bytes),
                sent_at: timestamp(sent_at),
                received_at: timestamp(received_at),
                kind: Kind::from_codes(kind, cause)?,
                text,
                ranges,
                reply_to: reply_to.map(|Target { author, message_id }| Quote { author, id: message_id, here: None }),
                is_forwarded,
                edited_at: edited_at.map(timestamp),
                reactions: Vec::new(),
                is_pinned,
                is_unread,
                state: MessageState::from_code(state, failure)?,
            };
            Ok(Read { message, is_reacted })
        };
        Ok(parse())
    }
}

/// What a text says besides its words. What is shown of anything else is its words alone.
fn besides_words(content: Vec<u8>) -> (Vec<Range>, Option<Target>, bool) {
    match Content::decode(&Bytes::from(content), Channel::Own) {
        Ok(Content::Text(text)) => (text.ranges, text.reply_to, text.forwarded),
        _ => (Vec::new(), None, false),
    }
}

const QUOTED: &str = "SELECT message.id, message.kind, message.cause, message.text FROM message JOIN conversation ON conversation.id = message.conversation
     WHERE conversation.conversation = ?1 AND message.sender = iif(?2 = ?3, 0, (SELECT id FROM contact WHERE account = ?2)) AND message.message_id = ?4";

/// Looks up what a message answers.
fn look_up_quote(view: &impl Query, own: &AccountId, message: &mut Message) -> Result<(), StoreError> {
    let Some(quote) = &mut message.reply_to else { return Ok(()) };
    let named = params![message.conversation.as_ref(), quote.author.as_ref(), own.as_ref(), quote.id.as_ref()];
    let found = view.one(QUOTED, named, |row| {
        Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<i64>>(2)?, row.get(3)?))
    })?;
    if let Some((number, kind, cause, text)) = found {
        quote.here = Some(Quoted { number, kind: Kind::from_codes(kind, cause)?, text });
    }
    Ok(())
}

const REACTIONS: &str = "SELECT contact.account, said.content, said.sent_at FROM message
     JOIN deed ON deed.conversation = message.conversation AND deed.sender = message.sender AND deed.target = message.message_id
          AND deed.kind = 3 AND deed.holds = 1
     JOIN message AS said ON said.id = deed.message LEFT JOIN contact ON contact.id = deed.author
     WHERE message.id = ?1 ORDER BY deed.stamp";

/// What is felt about a message.
fn reactions(view: &impl Query, own: &AccountId, message: MessageRow) -> Result<Vec<Reaction>, StoreError> {
    let said = view.all(REACTIONS, [message.0], |row| {
        Ok((row.get::<_, Option<[u8; 32]>>(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?))
    })?;
    let read = |(author, content, at): (Option<[u8; 32]>, Vec<u8>, i64)| {
        let Ok(Content::Reaction { emoji, .. }) = Content::decode(&Bytes::from(content), Channel::Contact) else {
            return None;
        };
        let author = author.map_or(*own, AccountId::from_bytes);
        emoji.map(|emoji| Reaction { author, emoji, at: timestamp(at) })
    };
    Ok(said.into_iter().filter_map(read).collect())
}

/// Messages by a query for them.
fn messages(
    view: &impl Query,
    own: &AccountId,
    sql: &str,
    named: impl rusqlite::Params,
) -> Result<Vec<Message>, StoreError> {
    let rows = view.all(sql, named, read_message(*own))?;
    let mut messages = Vec::with_capacity(rows.len());
    for read in rows {
        let Read { mut message, is_reacted } = read?;
        look_up_quote(view, own, &mut message)?;
        if is_reacted {
            message.reactions = reactions(view, own, MessageRow(message.number))?;
        }
        messages.push(message);
    }
    Ok(messages)
}

/// The newest messages of a conversation before a position, oldest first.
pub(crate) fn page(
    view: &impl Query,
    own: &AccountId,
    conversation: ConversationRow,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    let before = before.unwrap_or(i64::MAX);
    let mut messages = messages(view, own, &page_query(), params![conversation.0, before, limit])?;
    messages.reverse();
    Ok(messages)
}

fn page_query() -> String {
    format!(
        "SELECT {MESSAGE_COLUMNS} FROM {MESSAGE_TABLES} WHERE message.conversation = ?1 AND message.position < ?2
         ORDER BY message.position DESC LIMIT ?3"
    )
}

/// The position of the `n`th message of a conversation before a position; `None` where there are fewer.
pub(crate) fn nth_before(
    view: &impl Query,
    conversation: ConversationRow,
    position: i64,
    n: u32,
) -> Result<Option<i64>, StoreError> {
    let Some(skipped) = n.checked_sub(1) else { return Ok(Some(position)) };
    view.one(NTH_BEFORE, params![conversation.0, position, skipped], |row| row.get(0))
}

/// The position of the `n`th message of a conversation behind a position; `None` where there are fewer.
pub(crate) fn nth_after(
    view: &impl Query,
    conversation: ConversationRow,
    position: i64,
    n: u32,
) -> Result<Option<i64>, StoreError> {
    let Some(skipped) = n.checked_sub(1) else { return Ok(Some(position)) };
    view.one(NTH_AFTER, params![conversation.0, position, skipped], |row| row.get(0))
}

const NTH_BEFORE: &str =
    "SELECT position FROM message WHERE conversation = ?1 AND position < ?2 ORDER BY position DESC LIMIT 1 OFFSET ?3";
const NTH_AFTER: &str =
    "SELECT position FROM message WHERE conversation = ?1 AND position > ?2 ORDER BY position LIMIT 1 OFFSET ?3";

/// The messages of a conversation between two positions, both included: from the newest of them back, or from the oldest on.
pub(crate) fn stretch(
    view: &impl Query,
    own: &AccountId,
    conversation: ConversationRow,
    (first, last): (Option<i64>, Option<i64>),
    limit: u32,
    from_newest: bool,
) -> Result<Vec<Message>, StoreError> {
    let named = params![conversation.0, first.unwrap_or(i64::MIN), last.unwrap_or(i64::MAX), limit];
    messages(view, own, &stretch_query(from_newest), named)
}

fn stretch_query(from_newest: bool) -> String {
    let order = if from_newest { "DESC" } else { "ASC" };
    format!(
        "SELECT {MESSAGE_COLUMNS} FROM {MESSAGE_TABLES} WHERE message.conversation = ?1 AND message.position >= ?2 AND message.position <= ?3
         ORDER BY message.position {order} LIMIT ?4"
    )
}

/// The first messages of a conversation behind a position, oldest first.
pub(crate) fn page_after(
    view: &impl Query,
    own: &AccountId,
    conversation: ConversationRow,
    after: i64,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    messages(view, own, &page_after_query(), params![conversation.0, after, limit])
}

fn page_after_query() -> String {
    format!(
        "SELECT {MESSAGE_COLUMNS} FROM {MESSAGE_TABLES} WHERE message.conversation = ?1 AND message.position > ?2
         ORDER BY message.position LIMIT ?3"
    )
}

/// One message by its row.
pub(crate) fn message(view: &impl Query, own: &AccountId, row: MessageRow) -> Result<Option<Message>, StoreError> {
    let sql = format!(
        "SELECT {MESSAGE_COLUMNS} FROM {MESSAGE_TABLES} WHERE message.id = ?1 AND message.position IS NOT NULL"
    );
    Ok(messages(view, own, &sql, [row.0])?.pop())
}

const PINNED_QUERY: &str = "message.conversation = ?1 AND message.pinned = 1 AND message.position < ?2 ORDER BY message.position DESC LIMIT ?3";

/// The newest messages of a conversation that are pinned before a position, newest first.
pub(crate) fn pinned(
    view: &impl Query,
    own: &AccountId,
    conversation: ConversationRow,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    let sql = format!("SELECT {MESSAGE_COLUMNS} FROM {MESSAGE_TABLES} WHERE {PINNED_QUERY}");
    messages(view, own, &sql, params![conversation.0, before.unwrap_or(i64::MAX), limit])
}

/// All that a message has said, from the first on; the last of it is shown.
pub(crate) fn history(view: &impl Query, message: MessageRow, limit: u32) -> Result<Vec<Version>, StoreError> {
    let first = "SELECT content, sent_at FROM message WHERE id = ?1 AND kind = ?2";
    let first =
        view.one(first, params![message.0, Kind::Text.code()], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?)))?;
    let Some((content, said_at)) = first else { return Ok(Vec::new()) };
    let mut versions = Vec::new();
    if let Ok(Content::Text(text)) = Content::decode(&Bytes::from(content), Channel::Own) {
        versions.push(Version { text: text.body, ranges: text.ranges, said_at: timestamp(said_at) });
    }
    let edits = "SELECT content, sent_at FROM (
                     SELECT said.content, said.sent_at, stamp FROM message
                     JOIN deed ON deed.conversation = message.conversation AND deed.sender = message.sender AND deed.target = message.message_id AND deed.kind = 1
                     JOIN message AS said ON said.id = deed.message WHERE message.id = ?1 ORDER BY stamp DESC LIMIT ?2) ORDER BY stamp";
    let edits =
        view.all(edits, [message.0, i64::from(limit)], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)))?;
    versions.extend(edits.into_iter().filter_map(|(content, said_at)| {
        let text = edited(content)?;
        Some(Version { text: text.body, ranges: text.ranges, said_at: timestamp(said_at) })
    }));
    Ok(versions)
}

/// Messages that arrived after a row, oldest first: for those who print what comes in.
pub(crate) fn received_after(
    view: &impl Query,
    own: &AccountId,
    after: i64,
    limit: u32,
) -> Result<Vec<Message>, StoreError> {
    messages(view, own, &received_after_query(), params![after, limit])
}

/// Those that came in order, and those that came late into their places.
fn received_after_query() -> String {
    format!(
        "WITH came (id, number) AS (
             SELECT * FROM (SELECT id, id FROM message WHERE id > ?1 AND sender != 0 AND arrival IS NULL AND position IS NOT NULL ORDER BY id LIMIT ?2)
             UNION ALL
             SELECT * FROM (SELECT id, arrival FROM message WHERE arrival > ?1 AND sender != 0 ORDER BY arrival LIMIT ?2)
         )
         SELECT {MESSAGE_COLUMNS} FROM came CROSS JOIN {MESSAGE_TABLES} WHERE message.id = came.id ORDER BY came.number LIMIT ?2"
    )
}

/// The number of the newest arrival of all.
pub(crate) fn newest(view: &impl Query) -> Result<i64, StoreError> {
    let sql = "SELECT max(coalesce((SELECT max(id) FROM message), 0), coalesce((SELECT value FROM meta WHERE key = 'last_number'), 0))";
    Ok(view.one(sql, [], |row| row.get(0))?.unwrap_or(0))
}

/// The conversation with a contact, if anything was ever said.
pub(crate) fn with_contact(view: &impl Query, contact: ContactRow) -> Result<Option<ConversationRow>, StoreError> {
    view.one("SELECT id FROM conversation WHERE contact = ?1", [contact.0], |row| row.get(0).map(ConversationRow))
}

const LIST_QUERY: &str =
    "SELECT conversation.id, conversation.conversation, contact.account, coalesce(contact.given_name, contact.name),
             conversation.last_at, conversation.unread, message.text, message.sender, message.kind, message.cause,
             conversation.muted_until, conversation.archived, conversation.pinned, conversation.marked_unread, setting.value
      FROM conversation LEFT JOIN contact ON contact.id = conversation.contact LEFT JOIN message ON message.id = conversation.last_message
      LEFT JOIN setting ON setting.conversation = conversation.id AND setting.key = 5
      WHERE conversation.archived = ?1 AND (conversation.pinned, conversation.last_at, conversation.id) < (?2, ?3, ?4)
      ORDER BY conversation.pinned DESC, conversation.last_at DESC, conversation.id DESC LIMIT ?5";

/// A page of a chat list, before the given place: those that stand above the others, and then those that moved last.
pub(crate) fn list(
    view: &impl Query,
    chats: Chats,
    before: Option<ChatPlace>,
    limit: u32,
) -> Result<Vec<Conversation>, StoreError> {
    let is_archived = chats == Chats::Archived;
    let (pinned, at, row) =
        before.map_or((2, i64::MAX, i64::MAX), |place| (i64::from(place.is_pinned), ms(place.last_at), place.number));
    let rows = view.all(LIST_QUERY, params![is_archived, pinned, at, row, limit], |row| {
        let contact: Option<[u8; 32]> = row.get(2)?;
        let (last_sender, kind, cause): (Option<i64>, Option<i64>, Option<i64>) =
            (row.get(7)?, row.get(8)?, row.get(9)?);
        let (muted_until, draft): (i64, Option<Vec<u8>>) = (row.get(10)?, row.get(14)?);
        let conversation = Conversation {
            number: row.get(0)?,
            id: ConversationId::from_bytes(row.get(1)?),
            contact: contact.map(AccountId::from_bytes),
            name: row.get(3)?,
            last_at: timestamp(row.get(4)?),
            unread: row.get(5)?,
            is_marked_unread: row.get(13)?,
            muted_until: (muted_until > 0).then(|| timestamp(muted_until)),
            is_archived: row.get(11)?,
            is_pinned: row.get(12)?,
            draft: draft.and_then(drafted),
            preview: row.get(6)?,
            preview_kind: None,
            preview_is_own: last_sender == Some(SELF),
        };
        Ok((conversation, kind, cause))
    })?;
    let with_kind = |(conversation, kind, cause): (Conversation, Option<i64>, Option<i64>)| {
        let preview_kind = kind.map(|kind| Kind::from_codes(kind, cause)).transpose()?;
        Ok(Conversation { preview_kind, ..conversation })
    };
    rows.into_iter().map(with_kind).collect()
}

/// The words of a draft, where there are any.
fn drafted(draft: Vec<u8>) -> Option<String> {
    match Content::decode(&Bytes::from(draft), Channel::Own) {
        Ok(Content::Text(text)) => Some(text.body),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::order::{BEHIND, LAST, NEXT};
    use super::*;

    /// What SQLite would do, one step a line.
    fn plan(query: &str) -> Vec<String> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../store/schema.sql")).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let count = statement.parameter_count();
        let steps = statement.query_map(rusqlite::params_from_iter(vec![1; count]), |row| row.get(3)).unwrap();
        steps.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn pages_are_read_in_the_order_of_an_index_however_long_the_conversation_is() {
        for (query, index) in [
            (page_query(), "message_by_conversation"),
            (page_after_query(), "message_by_conversation"),
            (LIST_QUERY.to_owned(), "conversation_by_time"),
            (NEXT.to_owned(), "message_by_ordinal"),
            (BEHIND.to_owned(), "message_by_ordinal"),
            (LAST.to_owned(), "message_by_conversation"),
            (format!("SELECT * FROM message WHERE {PINNED_QUERY}"), "message_pinned"),
            (NTH_BEFORE.to_owned(), "message_by_conversation"),
            (NTH_AFTER.to_owned(), "message_by_conversation"),
            (stretch_query(true), "message_by_conversation"),
            (stretch_query(false), "message_by_conversation"),
            (super::super::reading::UNREAD.to_owned(), "message_unread"),
        ] {
            let plan = plan(&query);
            assert!(plan.iter().any(|step| step.contains(index)), "{plan:?}");
            assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
        }
        // The few of one message are put in order when they were found.
        let plan = plan(REACTIONS);
        assert!(plan.iter().any(|step| step.contains("deed_by_target")), "{plan:?}");
        assert!(!plan.iter().any(|step| step.contains("SCAN")), "{plan:?}");
    }
}
