//! What can still be read of a database that does not open: its messages, one by one, past the pages that are damaged.
//!
//! Nothing is written, and nothing but the words is looked at: no index, no key, no ratchet. A page that is damaged takes the messages on
//! it along, and where it stands nobody knows before it is met. So messages are read in the order of their numbers; where one cannot be,
//! the first one behind the damage is searched for in small strides, up to the last number that anything readable names.
//! Not here: a database whose key is gone, or whose first pages are damaged. Of those nothing can be read.

use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::open::{DatabaseKey, ProfileLock, connect_damaged};
use super::{StoreError, column};
use sotto_protocol::{AccountId, Timestamp};

/// Fewer messages than stand on a page, but for long ones.
const STRIDE: i64 = 4;
/// How far behind the last message that is known there may be others, where the last of all cannot be read.
const BEYOND: i64 = 10_000;

const NEXT: &str = "SELECT id, conversation, sender, sent_at, text FROM message WHERE id > ?1 ORDER BY id LIMIT 1";
const LAST: &str = "SELECT max(id) FROM message";
/// What else names messages, each on pages of its own: the last ones of conversations, and what the search index has come to.
const NAMED: [&str; 3] = [
    "SELECT max(last_message) FROM conversation",
    "SELECT max(done) FROM search_fill",
    "SELECT max(message) FROM search_row",
];
const SIDE: &str = "SELECT contact.account, coalesce(contact.given_name, contact.name)
     FROM conversation JOIN contact ON contact.id = conversation.contact WHERE conversation.id = ?1";

/// A message that could be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SalvagedMessage {
    /// With whom it was said, where that could be read too, and it is no note to self.
    pub(crate) with: Option<(AccountId, String)>,
    pub(crate) is_own: bool,
    pub(crate) sent_at: Timestamp,
    pub(crate) text: String,
}

/// Where it stands.
struct Found {
    number: i64,
    conversation: i64,
    message: SalvagedMessage,
}

/// What could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Unread {
    /// Stretches of messages.
    pub(crate) holes: u64,
    /// Nothing could be read behind the last of them.
    pub(crate) is_cut_short: bool,
}

/// Hands out every message with words that can be read, in the order of their numbers. Says what could not be.
pub(crate) fn salvage<E: From<StoreError>>(
    lock: &ProfileLock,
    key: &DatabaseKey,
    mut each: impl FnMut(SalvagedMessage) -> Result<(), E>,
) -> Result<Unread, E> {
    let mut database = Damaged { path: lock.database(), key, open: connect_damaged(&lock.database(), key)? };
    let (mut number, mut unread) = (0, Unread::default());
    loop {
        match database.next(number) {
            Ok(None) => return Ok(unread),
            Ok(Some(mut found)) => {
                number = found.number;
                if !found.message.text.is_empty() {
                    found.message.with = database.side(found.conversation);
                    each(found.message)?;
                }
            }
            Err(_) => {
                unread.holes += 1;
                match database.behind_damage(number) {
                    Some(behind) => number = behind,
                    None => return Ok(Unread { is_cut_short: true, ..unread }),
                }
            }
        }
    }
}

/// SQLCipher reads nothing more on a connection that has met a damaged page: there is another one then.
struct Damaged<'a> {
    path: PathBuf,
    key: &'a DatabaseKey,
    open: Connection,
}

impl Damaged<'_> {
    fn ask<T>(&mut self, query: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>) -> Result<T, StoreError> {
        let answer = query(&self.open);
        if answer.is_err() {
            self.open = connect_damaged(&self.path, self.key)?;
        }
        Ok(answer?)
    }

    fn next(&mut self, number: i64) -> Result<Option<Found>, StoreError> {
        let read = |row: &Row<'_>| {
            let is_own = row.get::<_, i64>(2)? == 0;
            let message =
                SalvagedMessage { with: None, is_own, sent_at: column::timestamp(row.get(3)?), text: row.get(4)? };
            Ok(Found { number: row.get(0)?, conversation: row.get(1)?, message })
        };
        self.ask(|database| database.prepare_cached(NEXT)?.query_row(params![number], read).optional())
    }

    /// The first number behind `number` from which on the next message can be read. Tried in strides that no page between two damaged ones
    /// is lost between.
    fn behind_damage(&mut self, number: i64) -> Option<i64> {
        let stride = usize::try_from(STRIDE).unwrap_or(1);
        let readable = (number..=self.end(number)).step_by(stride).skip(1).find(|number| self.next(*number).is_ok())?;
        (readable - STRIDE + 1..=readable).find(|number| self.next(*number).is_ok())
    }

    /// No message stands behind it, as far as that can be told where the last of them cannot be read.
    fn end(&mut self, number: i64) -> i64 {
        if let Some(last) = self.number(LAST) {
            return last.saturating_add(STRIDE);
        }
        let last = NAMED.iter().filter_map(|sql| self.number(sql)).fold(number, i64::max);
        last.saturating_add(BEYOND)
    }

    fn number(&mut self, sql: &str) -> Option<i64> {
        self.ask(|database| database.query_row(sql, [], |row| row.get(0))).ok().flatten()
    }

    fn side(&mut self, conversation: i64) -> Option<(AccountId, String)> {
        let read = |row: &Row<'_>| Ok((AccountId::from_bytes(row.get(0)?), row.get(1)?));
        let side = |database: &Connection| database.prepare_cached(SIDE)?.query_row([conversation], read).optional();
        self.ask(side).ok().flatten()
    }
}
