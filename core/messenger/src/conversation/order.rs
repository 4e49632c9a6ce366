//! Where a message stands: what one device says in a conversation stands in the order in which it was said, whichever letter comes first.
//!
//! Whoever says something gives it the next ordinal of the conversation, and says that with it. How often and under which counters it leaves
//! has nothing to do with that: it may come after what was said later, because a relay lost it, because it was asked for, because it was told
//! another device before. A device that comes in the place of another goes on with the ordinals of that one, above all that it can have
//! given: both are one line.
//! Nothing waits for what is missing, and what is here is moved by nobody.

use std::time::Duration;

use rusqlite::{Row, params};
use sotto_protocol::limits::COUNTER_MAX;

use super::{ConversationRow, MessageRow, NewMessage};
use crate::generation;
use crate::peer::{HEARD_OUT, Line, begins_behind};
use crate::store::column::{counter, stored, timestamp};
use crate::store::{Query, StoreError, Tx};

/// A message stands before none that came longer ago: nobody puts one among those of last year, and an ordinal that is far too high makes
/// nobody's words stand above it for longer. Twice as long as anything is kept for whoever lacks it.
const LATE_FOR: Duration = HEARD_OUT.saturating_mul(2);

/// What a message says of where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) line: Line,
    /// 0: nowhere in particular.
    pub(crate) ordinal: u64,
}

impl Order {
    /// Of what nobody has said.
    pub(crate) const NONE: Self = Self { line: Line::HERE, ordinal: 0 };
}

/// The place of the last message that stands before it in its line.
pub(super) const PLACE_BEHIND: &str = "SELECT place FROM message WHERE conversation = ?1 AND line = ?2 AND line > 0 AND ordinal < ?3 AND ordinal > 0 ORDER BY ordinal DESC LIMIT 1";

/// The first message that stands behind it in its line, and when that came.
pub(super) const NEXT: &str = "SELECT place, received_at FROM message WHERE conversation = ?1 AND line = ?2 AND line > 0 AND ordinal > ?3 ORDER BY ordinal LIMIT 1";

/// Where a message belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// Behind all others.
    Last,
    /// Behind all others, although some of its line should stand behind it: those came too long ago.
    LastTooLate,
    /// At the place of the first of its line that stands behind it, before that.
    Before(i64),
}

/// Where a message belongs in its conversation.
pub(super) fn place(tx: &Tx<'_>, new: &NewMessage<'_>) -> Result<Where, StoreError> {
    if new.order.ordinal == 0 || new.order.line == Line::HERE {
        return Ok(Where::Last);
    }
    let next = tx.one(NEXT, params![new.conversation.0, new.order.line.0, stored(new.order.ordinal)], |row| {
        Ok((row.get(0)?, timestamp(row.get(1)?)))
    })?;
    Ok(match next {
        None => Where::Last,
        Some((_, came_at)) if came_at.after(LATE_FOR) < new.received_at => Where::LastTooLate,
        Some((place, _)) => Where::Before(place),
    })
}

/// Whether a message does not belong where a place was left for it: the one before it in its line stands behind that, or the next one before.
pub(crate) fn belongs_elsewhere(tx: &Tx<'_>, left: MessageRow, new: &NewMessage<'_>) -> Result<bool, StoreError> {
    let left: Option<i64> = tx.one("SELECT place FROM message WHERE id = ?1", [left.0], |row| row.get(0))?;
    let left = left.ok_or(StoreError::Corrupt)?;
    let of = params![new.conversation.0, new.order.line.0, stored(new.order.ordinal)];
    let behind: Option<i64> = tx.one(PLACE_BEHIND, of, |row| row.get(0))?;
    Ok(behind.is_some_and(|behind| behind > left)
        || match place(tx, new)? {
            Where::Last => false,
            Where::LastTooLate => true,
            Where::Before(next) => next < left,
        })
}

/// The order of what is said here next. It is given once the conversation has moved up to that ([`super::touch`]).
pub(crate) fn said_here(view: &impl Query, conversation: ConversationRow) -> Result<Order, StoreError> {
    let sql = "SELECT max(ordinal, coalesce((SELECT value FROM meta WHERE key = 'ordinals_from'), 0)) FROM conversation WHERE id = ?1";
    let last = view.one(sql, [conversation.0], |row| row.get(0))?.ok_or(StoreError::Corrupt)?;
    Ok(Order { line: Line::HERE, ordinal: counter(last).saturating_add(1).min(COUNTER_MAX) })
}

const SAID_SINCE: &str = "SELECT id, conversation FROM message WHERE id > ?1 AND line = 0 AND ordinal > 0 ORDER BY id";

const NOT_LEFT: &str = "
    WITH waiting (id, conversation) AS (
        SELECT id, conversation FROM message WHERE line = 0 AND ordinal > 0
        AND id IN (SELECT message FROM outbox WHERE message IS NOT NULL GROUP BY message HAVING max(state) < 2)),
    gone (conversation, last) AS (
        SELECT conversation, max(id) FROM message WHERE line = 0 AND ordinal > 0 AND id NOT IN (SELECT id FROM waiting)
        AND conversation IN (SELECT conversation FROM waiting) GROUP BY conversation)
    SELECT id, conversation FROM waiting LEFT JOIN gone USING (conversation) WHERE id > coalesce(last, 0) ORDER BY id";

/// What was said here on a copy, and bears ordinals that the one before may have given to something else: where the keystore has shown the copy
/// all since it was opened; else it can only be what is last in its conversation and has not left.
pub(crate) fn said_on_copy(view: &impl Query) -> Result<Vec<(MessageRow, ConversationRow)>, StoreError> {
    let read = |row: &Row<'_>| Ok((MessageRow(row.get(0)?), ConversationRow(row.get(1)?)));
    match generation::copied_after(view)? {
        Some(after) => view.all(SAID_SINCE, [after], read),
        None => view.all(NOT_LEFT, [], read),
    }
}

/// This device is another one from now on, by the list of that epoch and version. Whatever those in whose place it comes have said, also what
/// this database does not know of, they said as devices of lists before: ordinals begin above that, those of what was said on the copy first.
pub(crate) fn goes_on(
    tx: &mut Tx<'_>,
    (epoch, version): (u32, u32),
    said_on_copy: &[(MessageRow, ConversationRow)],
) -> Result<(), StoreError> {
    let from = stored(begins_behind(epoch, version));
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('ordinals_from', ?1)", [from])?;
    for (row, conversation) in said_on_copy {
        let ordinal = stored(said_here(tx, *conversation)?.ordinal);
        tx.execute("UPDATE message SET ordinal = ?2 WHERE id = ?1", params![row.0, ordinal])?;
        tx.execute("UPDATE conversation SET ordinal = ?2 WHERE id = ?1", params![conversation.0, ordinal])?;
    }
    Ok(())
}
