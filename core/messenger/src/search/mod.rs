//! Search: the words of what was said, and where they stand.
//!
//! One FTS5 table holds the words and nothing else: texts stand in `message` alone, and whatever changes or takes one away takes its words
//! out first ([`forget`], with the same words made of it once more) and puts the new ones in after ([`put`]). What FTS5 takes out is
//! overwritten (`secure-delete`). A row's conversation and sender are words of a second column, so that "in this chat" and "by her" cost no
//! more than one more word; its id grows with the time at which it was said, so that the newest come first without being sorted.
//! - `words`: cutting texts; `query`: what a person typed; `snippet`: showing what was found
//! - `fill`: the index follows `message` behind a cursor, so that nobody who says or receives something waits for it, and is put together when it
//!   has grown
//!
//! Invariants: a row of the index has its message; words of what is gone or was said otherwise are not in it. Words cut by other rules, or by
//! other tables of Unicode, could not be taken out any more: such an index is emptied and filled anew.
//! Not here: what disappears by itself is never in the index.

mod fill;
mod query;
mod snippet;
mod words;

use std::cmp::Reverse;
use std::sync::LazyLock;

use rusqlite::params;
use sotto_protocol::{AccountId, Timestamp};

use crate::conversation::{self, ConversationRow, MessageRow};
use crate::records::{SearchHit, SearchPage};
use crate::store::{Query, StoreError, Tx};

pub(crate) use fill::{Rest, batch, rest, run};
pub(crate) use query::Phrases;

/// The rules of `words`: one more whenever they cut anything otherwise.
const RULES: u32 = 1;

/// What words are cut by: the rules, and the tables of letters that they use.
static CUT: LazyLock<String> = LazyLock::new(|| {
    let (letters, marks) = (char::UNICODE_VERSION, unicode_normalization::UNICODE_VERSION);
    format!("{RULES} {letters:?} {marks:?}")
});

/// Bits of a position (`conversation/order.rs`) that are not in a row's id: what tells two of one time apart, and the last of its milliseconds. Ids are
/// written beside every word, each as its distance from the one before: whole positions would make the index half as large again.
const POSITION_BITS: u32 = 24;
/// Ids of about a second. Where an id is taken the row stands behind all others of its second.
const SECOND: i64 = 64;
/// How far behind the id of its time a row may stand without a note of that: further only where a thousand messages bear one second.
const MOVED: i64 = 16 * SECOND;

/// What to look for.
pub(crate) struct Asked {
    pub(crate) phrases: Phrases,
    pub(crate) conversation: Option<ConversationRow>,
    /// `contact.id`; 0: this account.
    pub(crate) sender: Option<i64>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

/// How far the index has come: the last message that it knows. `None`: it is to be begun.
fn done(view: &impl Query) -> Result<Option<i64>, StoreError> {
    view.one("SELECT done FROM search_fill WHERE cut = ?1", [CUT.as_str()], |row| row.get(0))
}

/// As [`done`], of an index that is begun.
fn begun(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    if let Some(done) = done(tx)? {
        return Ok(done);
    }
    tx.execute("INSERT INTO search (search) VALUES ('delete-all')", [])?;
    tx.execute("DELETE FROM search_row", [])?;
    tx.execute("DELETE FROM meta WHERE key = 'search_moved'", [])?;
    let sql = "INSERT INTO search_fill (id, done, merged, cut) VALUES (1, 0, 0, ?1)
               ON CONFLICT (id) DO UPDATE SET done = 0, merged = 0, cut = excluded.cut";
    tx.execute(sql, [CUT.as_str()])?;
    Ok(0)
}

/// What of a message is in the index.
struct Entry {
    message: i64,
    words: String,
    place: String,
    position: i64,
}

/// That of a message, if it has words.
fn entry(view: &impl Query, message: MessageRow) -> Result<Option<Entry>, StoreError> {
    // Texts, and what stands for what this version does not know.
    let sql = "SELECT conversation, sender, text, position FROM message WHERE id = ?1 AND kind IN (1, 2)";
    view.one(sql, [message.0], |row| {
        let words: Vec<_> = words::pieces(row.get_ref(2)?.as_str()?).into_iter().map(|piece| piece.text).collect();
        Ok(Entry {
            message: message.0,
            words: words.join(" "),
            place: format!("{} {}", in_conversation(row.get(0)?), by_sender(row.get(1)?)),
            position: row.get(3)?,
        })
    })
}

/// The word of a row that stands in a conversation: of characters that are nobody's letters, one where it can be, because the index also holds the
/// beginnings of words.
fn in_conversation(conversation: i64) -> String {
    private_word('\u{f0000}', conversation)
}

/// That of a row that somebody said.
fn by_sender(sender: i64) -> String {
    private_word('\u{100000}', sender)
}

/// A number in the private characters of a plane of Unicode.
fn private_word(zero: char, mut number: i64) -> String {
    /// The last two of a plane are no characters.
    const DIGITS: i64 = 0xfffe;
    let mut word = String::new();
    loop {
        let digit = u32::try_from(number % DIGITS).unwrap_or(0);
        word.extend(char::from_u32(u32::from(zero) + digit));
        number /= DIGITS;
        if number == 0 {
            return word;
        }
    }
}

/// Takes the words of a message out, before it goes or changes; nothing where they are not in.
pub(crate) fn forget(tx: &mut Tx<'_>, message: MessageRow) -> Result<(), StoreError> {
    begun(tx)?;
    let id = tx.one("SELECT id FROM search_row WHERE message = ?1", [message.0], |row| row.get::<_, i64>(0))?;
    let (Some(id), Some(entry)) = (id, entry(tx, message)?) else { return Ok(()) };
    let sql = "INSERT INTO search (search, rowid, words, place) VALUES ('delete', ?1, ?2, ?3)";
    tx.execute(sql, params![id, entry.words, entry.place])?;
    tx.execute("DELETE FROM search_row WHERE id = ?1", [id]).map(drop)
}

/// Puts the words of a message in, after it came into the place of something else or has changed; nothing where the index will come to it.
pub(crate) fn put(tx: &mut Tx<'_>, message: MessageRow) -> Result<(), StoreError> {
    if message.0 > begun(tx)? {
        return Ok(());
    }
    entry(tx, message)?.map_or(Ok(()), |entry| add(tx, &entry))
}

fn add(tx: &mut Tx<'_>, entry: &Entry) -> Result<(), StoreError> {
    if entry.words.is_empty() {
        return Ok(());
    }
    let meant = entry.position >> POSITION_BITS;
    let id = free(tx, meant)?;
    note_moved(tx, id - meant)?;
    tx.execute("INSERT INTO search_row (id, message) VALUES (?1, ?2)", [id, entry.message])?;
    let sql = "INSERT INTO search (rowid, words, place) VALUES (?1, ?2, ?3)";
    tx.execute(sql, params![id, entry.words, entry.place]).map(drop)
}

/// An id that no row has: the one meant, or the first behind all of its second.
fn free(view: &impl Query, mut id: i64) -> Result<i64, StoreError> {
    let taken = "SELECT 1 FROM search_row WHERE id = ?1";
    let last = "SELECT max(id) FROM search_row WHERE id BETWEEN ?1 AND ?2";
    while view.one(taken, [id], |_| Ok(()))?.is_some() {
        let last = view.one(last, [id, id | (SECOND - 1)], |row| row.get::<_, Option<i64>>(0))?.flatten();
        id = last.unwrap_or(id).saturating_add(1);
    }
    Ok(id)
}

/// How far behind the id of its time a row may stand.
fn moved_max(view: &impl Query) -> Result<i64, StoreError> {
    let noted = view.one("SELECT value FROM meta WHERE key = 'search_moved'", [], |row| row.get::<_, i64>(0))?;
    Ok(noted.map_or(MOVED, |noted| noted.max(MOVED)))
}

/// A row stands so far behind the id of its time. Twice as much is noted: of many that bear one second not each writes it.
fn note_moved(tx: &mut Tx<'_>, moved: i64) -> Result<(), StoreError> {
    if moved <= MOVED || moved <= moved_max(tx)? {
        return Ok(());
    }
    let sql = "INSERT INTO meta (key, value) VALUES ('search_moved', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    tx.execute(sql, [moved.saturating_mul(2)]).map(drop)
}

/// Rows that the index finds, the newest first: message, whose conversation, text.
const BY_WORDS: &str = "SELECT search.rowid, message.id, contact.account, message.text
     FROM search CROSS JOIN search_row ON search_row.id = search.rowid CROSS JOIN message ON message.id = search_row.message
     CROSS JOIN conversation ON conversation.id = message.conversation LEFT JOIN contact ON contact.id = conversation.contact
     WHERE search MATCH ?1 AND search.rowid >= ?2 AND search.rowid < ?3 AND message.position >= ?4 AND message.position < ?5
     ORDER BY search.rowid DESC LIMIT ?6";

/// The same of any words.
const BY_DATE: &str = "SELECT search_row.id, message.id, contact.account, message.text
     FROM search_row CROSS JOIN message ON message.id = search_row.message
     CROSS JOIN conversation ON conversation.id = message.conversation LEFT JOIN contact ON contact.id = conversation.contact
     WHERE ?1 IS NULL AND search_row.id >= ?2 AND search_row.id < ?3 AND message.position >= ?4 AND message.position < ?5
     ORDER BY search_row.id DESC LIMIT ?6";

impl Asked {
    /// As the index is asked; `None`: for everything.
    fn expression(&self) -> Option<String> {
        let place = |word: String| format!("place : \"{word}\"");
        let places = self.conversation.map(|row| in_conversation(row.0)).into_iter().chain(self.sender.map(by_sender));
        let parts: Vec<_> = self.phrases.expression().into_iter().chain(places.map(place)).collect();
        (!parts.is_empty()).then(|| parts.join(" AND "))
    }
}

/// A page of what was asked for, the newest first, from before the row `before` on.
pub(crate) fn find(
    view: &impl Query,
    own: &AccountId,
    asked: &Asked,
    before: Option<i64>,
    limit: u32,
) -> Result<SearchPage, StoreError> {
    let expression = asked.expression();
    let sql = if expression.is_some() { BY_WORDS } else { BY_DATE };
    let since = asked.since.map_or(i64::MIN, conversation::first_position);
    let until = asked.until.map_or(i64::MAX, conversation::first_position);
    let end = (until >> POSITION_BITS).saturating_add(moved_max(view)?).min(before.unwrap_or(i64::MAX));
    let mut found =
        view.all(sql, params![expression, since >> POSITION_BITS, end, since, until, i64::from(limit) + 1], |row| {
            Ok((row.get::<_, i64>(0)?, MessageRow(row.get(1)?), row.get(2)?, row.get::<_, String>(3)?))
        })?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| is_more).map(|(id, ..)| *id);
    let mut hits = Vec::with_capacity(found.len());
    for (_, row, with, text) in found {
        let message = conversation::message(view, own, row)?.ok_or(StoreError::Corrupt)?;
        let with: Option<[u8; 32]> = with;
        let snippet = snippet::snippet(&text, &asked.phrases);
        hits.push(SearchHit { message, with: with.map_or(*own, AccountId::from_bytes), snippet });
    }
    // Rows of one second stand as there was room for them.
    hits.sort_by_key(|hit| Reverse(hit.message.position));
    Ok(SearchPage { hits, next, is_complete: fill::rest(view)? == Rest::None })
}

#[cfg(test)]
mod tests;
