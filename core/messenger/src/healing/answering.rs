//! What becomes of a request for letters of ours.
//!
//! A letter is sent again as it was, message id and counter, encrypted anew on the session that letters to the device go on now. Only rows
//! of that very device count: what another got is none of its business, unless it comes in that one's place by its word. What is not held
//! any more is named, so that nobody waits for it.
//! Not here: letters of a device that left its list, and who else gets those (`outbox/moved.rs`).

use std::time::Duration;

use rusqlite::{Row, params};
use sotto_crypto::letter::{Ciphertext, Content, Counters, GivenUp, ResendRequest};
use sotto_protocol::limits::RESEND_RANGES_MAX;
use sotto_protocol::{DeviceId, MessageId, Timestamp};

use crate::outbox::{self, NewLetter, Says};
use crate::peer::{self, DeviceRow};
use crate::store::column::{counter, ms, stored};
use crate::store::{Query, StoreError, Tx};
use crate::upkeep::CONFIRMATION_LIFETIME;
use crate::world::Chance;

/// Letters that one request makes us send: more than one request's worth of holes after a bad night, and less than a minute of an uplink.
/// The rest is asked for again when these have come.
const LETTERS_MAX: usize = 256;
/// Letters of which one request makes us look up what became of them.
const LOOKS_MAX: usize = 4_096;
/// Requests of one device that are answered in a day. With the letters of each that is three times what a busy conversation says in a month;
/// beyond that nothing is answered, and the device, which asks more and more rarely, is heard the day after.
const ANSWERS_PER_DAY_MAX: u32 = 64;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What became of a letter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Letter {
    /// It leaves, or is about to: it was not there yet.
    Leaves,
    /// It can be sent again.
    Held { row: i64 },
    /// It said something, and is not held any more.
    Missing,
    /// It said nothing that anybody would miss.
    Empty,
}

/// Sends again what is held of what a device asks for, and says of the rest that it is not.
pub(crate) fn answer(
    tx: &mut Tx<'_>,
    device: DeviceRow,
    request: &ResendRequest,
    now: Timestamp,
    chance: &Chance<'_>,
) -> Result<(), StoreError> {
    if !may_answer(tx, device, now)? {
        return Ok(());
    }
    if let Some(predecessor) = &request.predecessor {
        return answer_successor(tx, device, predecessor, request);
    }
    let mut answer = Answer { tx, device, given_up: GivenUp::default(), room: LETTERS_MAX, looks: LOOKS_MAX };
    let sent = peer::device_by_row(answer.tx, device)?.counter_sent;
    for range in &request.counters {
        answer.give_range(Counters { first: range.first, last: range.last.min(sent) })?;
    }
    for hash in &request.inner_hashes {
        answer.give_hash(hash)?;
    }
    let given_up = answer.given_up;
    if given_up.is_empty() {
        return Ok(());
    }
    let content = Content::GivenUp(given_up).encode().map_err(|_| StoreError::Failed)?;
    let letter = NewLetter {
        says: Says::Content(&content),
        message_id: MessageId::from_bytes(chance.bytes()),
        sent_at: now,
        dies_at: Some(now.after(CONFIRMATION_LIFETIME)),
        after_batch: None,
    };
    outbox::queue(tx, device, &letter)
}

/// The device `?2` in whose place the device `?1` has come, or that one's own by its word, and so on. A device that is replaced every day for
/// as long as anything is held comes in the place of so many.
const IN_WHOSE_PLACE: &str = "
    WITH RECURSIVE before (id, device, predecessor, place) AS (
        SELECT id, device, predecessor, 0 FROM peer_device WHERE id = ?1
        UNION ALL SELECT peer_device.id, peer_device.device, peer_device.predecessor, place + 1
        FROM before JOIN peer_device ON peer_device.id = before.predecessor WHERE place < 37)
    SELECT id FROM before WHERE device = ?2 AND place > 0 LIMIT 1";

/// Turns what another device has confirmed to the one that came in its place, by that one's own word: it may have come from an older copy, and
/// have nothing of it (PROTOCOL H2). What was not confirmed has gone that way already. Nobody else hears even whether there was anything.
fn answer_successor(
    tx: &mut Tx<'_>,
    successor: DeviceRow,
    predecessor: &DeviceId,
    request: &ResendRequest,
) -> Result<(), StoreError> {
    let before = tx.one(IN_WHOSE_PLACE, params![successor.0, predecessor.as_ref()], |row| row.get(0).map(DeviceRow))?;
    let Some(before) = before else { return Ok(()) };
    outbox::moved::hand_over(tx, before, successor, &request.counters, &request.inner_hashes)
}

fn may_answer(tx: &mut Tx<'_>, device: DeviceRow, now: Timestamp) -> Result<bool, StoreError> {
    // A day that began after now was dated by a wild clock.
    tx.execute(
        "UPDATE peer_device SET answers = 0, answers_since = ?2 WHERE id = ?1 AND (answers_since <= ?3 OR answers_since > ?2)",
        params![device.0, ms(now), ms(now.before(DAY))],
    )?;
    let counted = tx.execute(
        "UPDATE peer_device SET answers = answers + 1 WHERE id = ?1 AND answers < ?2",
        params![device.0, ANSWERS_PER_DAY_MAX],
    )?;
    Ok(counted > 0)
}

struct Answer<'a, 'c> {
    tx: &'a mut Tx<'c>,
    device: DeviceRow,
    given_up: GivenUp,
    room: usize,
    looks: usize,
}

/// A row of the outbox, as far as it says what became of its letter.
const LETTER: &str = "id, counter, state, message IS NOT NULL, message IS NOT NULL OR content IS NOT NULL";

fn read_letter(row: &Row<'_>) -> rusqlite::Result<(u64, Letter)> {
    let (id, state, is_message, is_held): (_, i64, bool, bool) = (row.get(0)?, row.get(2)?, row.get(3)?, row.get(4)?);
    let letter = match state {
        ..2 => Letter::Leaves,
        2 | 3 if is_held => Letter::Held { row: id },
        _ if is_message => Letter::Missing,
        _ => Letter::Empty,
    };
    Ok((counter(row.get::<_, Option<i64>>(1)?.unwrap_or(0)), letter))
}

impl Answer<'_, '_> {
    fn give_range(&mut self, range: Counters) -> Result<(), StoreError> {
        let anew = self
            .tx
            .one("SELECT counter_anew FROM peer_device WHERE id = ?1", [self.device.0], |row| row.get::<_, i64>(0))?;
        let anew = counter(anew.unwrap_or(0));
        let mut next = range.first;
        while next <= range.last && self.looks > 0 {
            self.looks -= 1;
            let Some((counter, letter)) = self.first_from(next, range.last)? else {
                self.give_up_unknown(Counters { first: next, last: range.last }, anew);
                return Ok(());
            };
            if counter > next {
                self.give_up_unknown(Counters { first: next, last: counter - 1 }, anew);
            }
            match letter {
                Letter::Leaves => {}
                Letter::Held { .. } if self.room == 0 => return Ok(()),
                Letter::Held { row } => self.send_again(row)?,
                Letter::Missing => push(&mut self.given_up.missing, Counters { first: counter, last: counter }),
                Letter::Empty => push(&mut self.given_up.empty, Counters { first: counter, last: counter }),
            }
            next = counter + 1;
        }
        Ok(())
    }

    /// The first letter in a range of counters. In two parts, each of which an index answers.
    fn first_from(&self, first: u64, last: u64) -> Result<Option<(u64, Letter)>, StoreError> {
        let part = |states: &str| {
            let sql = format!(
                "SELECT {LETTER} FROM outbox WHERE peer_device = ?1 AND counter IS NOT NULL AND {states} AND counter >= ?2 AND counter <= ?3
                 ORDER BY counter LIMIT 1"
            );
            self.tx.one(&sql, params![self.device.0, stored(first), stored(last)], read_letter)
        };
        let (unconfirmed, over) = (part("state <= 2")?, part("state > 2")?);
        Ok(unconfirmed.into_iter().chain(over).min_by_key(|(counter, _)| *counter))
    }

    /// Of counters of which nothing is known any more only those before the last beginning are known to have said nothing: what they said was
    /// said again.
    fn give_up_unknown(&mut self, range: Counters, anew: u64) {
        if range.first <= anew {
            push(&mut self.given_up.empty, Counters { first: range.first, last: range.last.min(anew) });
        }
        if range.last > anew {
            push(&mut self.given_up.missing, Counters { first: range.first.max(anew + 1), last: range.last });
        }
    }

    fn give_hash(&mut self, hash: &[u8; 32]) -> Result<(), StoreError> {
        // A request names no more of them than an answer has room for. One of which nothing is known was made by somebody else, and delivered
        // by a relay as ours.
        let (counter, letter) = self.by_hash(hash)?.unwrap_or((0, Letter::Empty));
        let ciphertext = Ciphertext { inner_hash: *hash, counter: Some(counter).filter(|counter| *counter != 0) };
        match letter {
            Letter::Leaves => {}
            Letter::Held { .. } if self.room == 0 => {}
            Letter::Held { row } => self.send_again(row)?,
            Letter::Missing => self.given_up.missing_ciphertexts.push(ciphertext),
            Letter::Empty => self.given_up.empty_ciphertexts.push(ciphertext),
        }
        Ok(())
    }

    /// The letter that left in that ciphertext, to that device.
    fn by_hash(&self, hash: &[u8; 32]) -> Result<Option<(u64, Letter)>, StoreError> {
        let last = format!("SELECT {LETTER} FROM outbox WHERE inner = ?2 AND peer_device = ?1");
        let found = self.tx.one(&last, params![self.device.0, hash], read_letter)?;
        if found.is_some() {
            return Ok(found);
        }
        let before = format!(
            "SELECT {LETTER} FROM outbox WHERE peer_device = ?1 AND inner_before IS NOT NULL AND instr(inner_before, ?2) > 0 LIMIT 1"
        );
        self.tx.one(&before, params![self.device.0, hash], read_letter)
    }

    /// Queues a letter again, in the place that it had: before everything that was said after it.
    fn send_again(&mut self, row: i64) -> Result<(), StoreError> {
        self.room -= 1;
        self.tx.execute(
            "UPDATE outbox SET state = 0, olm = NULL, envelope = NULL, accepted_at = NULL, again_at = NULL, to_inbox = NULL, after_batch = NULL
             WHERE id = ?1",
            [row],
        )?;
        Ok(())
    }
}

/// Adds a range behind the others; what no longer fits is asked for again.
fn push(ranges: &mut Vec<Counters>, range: Counters) {
    if let Some(before) = ranges.last_mut().filter(|before| before.last + 1 == range.first) {
        before.last = range.last;
    } else if ranges.len() < RESEND_RANGES_MAX {
        ranges.push(range);
    }
}
