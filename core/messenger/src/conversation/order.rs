//! Where a message stands: at the time at which it was said, and what one device says in the order in which it said it.
//!
//! Whoever says something dates it behind all that it has seen in the conversation, and by the time that relays tell. So an answer stands
//! behind what it answers, and every device puts the same messages into the same order, whichever comes first. Two that bear one time
//! stand in the order of their ids.
//! A clock may be wild all the same. So whoever says something also gives it the next ordinal of the conversation: where time and ordinals
//! do not agree, ordinals decide. A device that comes in the place of another goes on with the ordinals of that one, above all that it can
//! have given: both are one line. And what is dated ahead of all clocks here stands where it came, more or less.
//! Nothing waits for what is missing, and what is here is moved by nobody.

use std::time::Duration;

use rusqlite::{Row, params};
use sotto_protocol::limits::{COUNTER_MAX, DATED_AHEAD_MAX};
use sotto_protocol::{MessageId, Timestamp};

use super::{ConversationRow, MessageRow, NewMessage};
use crate::generation;
use crate::peer::{HEARD_OUT, Line, begins_behind};
use crate::search;
use crate::store::column::{counter, ms, stored, timestamp};
use crate::store::{Query, StoreError, Tx};

/// A message stands before none that came longer ago: nobody puts one among those of last year, and an ordinal that is far too high makes
/// nobody's words stand above it for longer. Twice as long as anything is kept for whoever lacks it.
const LATE_FOR: Duration = HEARD_OUT.saturating_mul(2);

/// What is dated further ahead of our clocks counts as dated so far ahead: a wild clock would keep its words below everybody's. Two clocks
/// that agree are no further apart (PROTOCOL G1).
pub(super) const AHEAD_MAX: Duration = Duration::from_secs(5 * 60);

/// Where a message stands in its conversation: milliseconds since the epoch, and below them what tells two of one millisecond apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Position(pub(crate) i64);

/// Enough that two messages of one conversation and millisecond do not meet, and few enough that the milliseconds last until 2248.
const TIE_BITS: u32 = 20;
/// Where a message stands that time alone would put elsewhere in its line: next to the one it belongs to, with room for others.
const STEP: i64 = 1 << 10;

impl Position {
    pub(super) fn at(time: Timestamp, message_id: &MessageId) -> Self {
        let [first, second, third, ..] = *message_id.as_bytes();
        let tie = i64::from(u32::from_be_bytes([0, first, second, third]) >> (24 - TIE_BITS));
        Self(Self::first_of(time).0 | tie)
    }

    pub(super) fn first_of(time: Timestamp) -> Self {
        Self(ms(time).min(i64::MAX >> TIE_BITS) << TIE_BITS)
    }

    /// The first millisecond behind it.
    pub(super) fn next_time(self) -> Timestamp {
        timestamp((self.0 >> TIE_BITS).saturating_add(1))
    }
}

/// Where a message of that time may stand at the earliest.
pub(crate) fn first_position(time: Timestamp) -> i64 {
    Position::first_of(time).0
}

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

/// Where the last message that stands before it in its line stands.
pub(super) const BEHIND: &str = "SELECT position FROM message WHERE conversation = ?1 AND line = ?2 AND line > 0 AND ordinal < ?3 AND ordinal > 0 ORDER BY ordinal DESC LIMIT 1";

/// Where the first message that stands behind it in its line stands, and when that came.
pub(super) const NEXT: &str = "SELECT position, received_at FROM message WHERE conversation = ?1 AND line = ?2 AND line > 0 AND ordinal > ?3 ORDER BY ordinal LIMIT 1";

/// Where the last message of a conversation stands.
pub(super) const LAST: &str = "SELECT max(position) FROM message WHERE conversation = ?1";

/// Where a message belongs.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) position: Position,
    /// It stands behind all others.
    pub(super) is_last: bool,
    /// 0 where some of its line should stand behind it that came too long ago: whatever stands elsewhere than its ordinal says must not
    /// say where others stand.
    pub(super) ordinal: u64,
}

/// Where a message belongs in its conversation.
pub(super) fn place(tx: &Tx<'_>, new: &NewMessage<'_>) -> Result<Place, StoreError> {
    let last = tx.one(LAST, [new.conversation.0], |row| row.get::<_, Option<i64>>(0))?.flatten().unwrap_or(i64::MIN);
    let (oldest, newest) = (new.received_at.before(LATE_FOR), new.received_at.after(AHEAD_MAX));
    let Position(by_time) = Position::at(new.sent_at.clamp(oldest, newest), &new.message_id);
    if new.order.line == Line::HERE {
        // Said here behind all that is here, or a line that nobody has said.
        let position = Position(by_time.max(last.saturating_add(1)));
        return Ok(Place { position, is_last: true, ordinal: new.order.ordinal });
    }
    let of_line = params![new.conversation.0, new.order.line.0, stored(new.order.ordinal)];
    let next = match new.order.ordinal {
        0 => None,
        _ => tx.one(NEXT, of_line, |row| Ok((row.get::<_, i64>(0)?, timestamp(row.get(1)?))))?,
    };
    let is_too_late = next.is_some_and(|(_, came_at)| came_at.after(LATE_FOR) < new.received_at);
    let ordinal = if is_too_late { 0 } else { new.order.ordinal };
    let before = next.filter(|_| !is_too_late).map(|(position, _)| position);
    if before.is_none() && by_time > last {
        return Ok(Place { position: Position(by_time), is_last: true, ordinal });
    }
    let behind = if ordinal == 0 { None } else { tx.one(BEHIND, of_line, |row| row.get::<_, i64>(0))? };
    let position = free(tx, new.conversation, within(by_time, behind, before))?;
    Ok(Place { position: Position(position), is_last: position > last, ordinal })
}

/// Where time puts it, as far as what stands behind and before it in its line leaves it there.
fn within(by_time: i64, behind: Option<i64>, before: Option<i64>) -> i64 {
    match (behind, before) {
        (Some(behind), Some(before)) if by_time <= behind || by_time >= before => behind.midpoint(before),
        (Some(behind), None) if by_time <= behind => behind.saturating_add(STEP),
        (None, Some(before)) if by_time >= before => before.saturating_sub(STEP),
        _ => by_time,
    }
}

/// A position that no message has: the one meant, or else the first behind all of its millisecond. Two at one position would be one to whoever
/// reads page by page.
fn free(tx: &Tx<'_>, conversation: ConversationRow, mut position: i64) -> Result<i64, StoreError> {
    let taken = "SELECT 1 FROM message WHERE conversation = ?1 AND position = ?2";
    let last = "SELECT max(position) FROM message WHERE conversation = ?1 AND position >= ?2 AND position <= ?2 | ?3";
    while tx.one(taken, params![conversation.0, position], |_| Ok(()))?.is_some() {
        let of_time = params![conversation.0, position, (1_i64 << TIE_BITS) - 1];
        let last = tx.one(last, of_time, |row| row.get::<_, Option<i64>>(0))?.flatten();
        position = last.unwrap_or(position).saturating_add(1);
    }
    Ok(position)
}

/// The time of what is said here now: behind all that is here, but for what a wild clock has dated.
pub(crate) fn said_at(
    view: &impl Query,
    conversation: ConversationRow,
    now: Timestamp,
) -> Result<Timestamp, StoreError> {
    let last = last_within(view, conversation, now.after(DATED_AHEAD_MAX))?;
    Ok(last.map_or(now, |last| now.max(last.next_time())))
}

/// The last message of a conversation that is not dated behind a time.
fn last_within(
    view: &impl Query,
    conversation: ConversationRow,
    end: Timestamp,
) -> Result<Option<Position>, StoreError> {
    let sql = "SELECT max(position) FROM message WHERE conversation = ?1 AND position < ?2";
    let last = view.one(sql, params![conversation.0, Position::first_of(end).0], |row| row.get::<_, Option<i64>>(0))?;
    Ok(last.flatten().map(Position))
}

/// What a clock has put further ahead than others believe, by every clock that we know now, stands as if it had come now; and what has not left
/// says so too.
pub(crate) fn set_right(tx: &mut Tx<'_>, latest: Timestamp) -> Result<(), StoreError> {
    let end = latest.after(DATED_AHEAD_MAX);
    let sql = "SELECT message.id, conversation.id, message.message_id FROM conversation
               JOIN message ON message.conversation = conversation.id AND message.position >= ?1
               ORDER BY conversation.id, message.position";
    let wild = tx.all(sql, [Position::first_of(end).0], |row| {
        Ok((row.get::<_, i64>(0)?, ConversationRow(row.get(1)?), MessageId::from_bytes(row.get(2)?)))
    })?;
    super::deeds::set_right(tx, latest, Position::first_of(end))?;
    for (row, conversation, message_id) in wild {
        let last = last_within(tx, conversation, end)?;
        let time = last.map_or(latest, |last| latest.max(last.next_time()));
        let Position(position) = Position::at(time, &message_id);
        search::forget(tx, MessageRow(row))?;
        tx.execute("UPDATE message SET position = ?2 WHERE id = ?1", [row, position])?;
        search::put(tx, MessageRow(row))?;
        say_at(tx, MessageRow(row), time)?;
    }
    Ok(())
}

/// What was said here and has not left says another time.
pub(super) fn say_at(tx: &mut Tx<'_>, MessageRow(row): MessageRow, time: Timestamp) -> Result<(), StoreError> {
    let left = "SELECT 1 FROM outbox WHERE message = ?1 AND counter IS NOT NULL LIMIT 1";
    if tx.one(left, [row], |_| Ok(()))?.is_none() {
        tx.execute("UPDATE message SET sent_at = ?2 WHERE id = ?1 AND sender = 0 AND line = 0", [row, ms(time)])?;
        tx.execute("UPDATE outbox SET sent_at = ?2 WHERE message = ?1", [row, ms(time)])?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::{STEP, within};

    #[test]
    fn a_message_stands_by_its_time_as_far_as_its_line_leaves_it_there() {
        for (by_time, behind, before, position) in [
            (50, None, None, 50),
            (50, Some(40), Some(60), 50),
            (30, Some(40), Some(60), 50),
            (60, Some(40), Some(60), 50),
            (40, Some(40), None, 40 + STEP),
            (60, None, Some(60), 60 - STEP),
            (50, Some(40), None, 50),
            (50, None, Some(60), 50),
        ] {
            assert_eq!(within(by_time, behind, before), position, "{by_time} between {behind:?} and {before:?}");
        }
    }
}
