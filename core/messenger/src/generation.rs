//! The generation counter: how a restored or copied database is told from a crash (PROTOCOL H1).
//!
//! At every opening or resuming, before the first ratchet step, the database commits generation g+1 and then the keystore gets it. A database that
//! equals the keystore, or is one ahead of it (a crash between the two), is the one that ran last; any other is a copy of an older day,
//! and its ratchets must not move. The keystore is never called while a transaction is open.

use rusqlite::Connection;

use crate::conversation;
use crate::error::Error;
use crate::own::{self, Own};
use crate::state::StateSeal;
use crate::store::{DatabaseKey, Query, Store, StoreError, Tx};
use crate::world::SecretStore;

/// Its name in the keystore.
pub(crate) const SECRET: &str = "generation";

/// What a database is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// The one that goes on.
    One,
    /// A copy of one that has gone on: it replaces itself before it sends or takes anything.
    Copy,
    /// A copy, or what it was made of, whose place another has taken; or what is left of an account that is being deleted. For good.
    Replaced,
}

/// What every opening does before anything else moves: the next generation where one can be written down, and then who we are; and whether
/// this is known to be a copy.
pub(crate) async fn prepare(
    store: &Store,
    secrets: &dyn SecretStore,
    key: &DatabaseKey,
) -> Result<(Own, Standing), Error> {
    let standing = if store.is_only_read() { compare(store, secrets).await? } else { advance(store, secrets).await? };
    let seal = StateSeal::new(key);
    Ok((store.read(move |view| own::load(view, seal)).await?, standing))
}

/// Compares, and moves nothing: for a database that is only read.
async fn compare(store: &Store, secrets: &dyn SecretStore) -> Result<Standing, Error> {
    let (found, remembered) = numbers(store, secrets).await?;
    standing(store, compared(found, remembered)).await
}

/// Compares, then moves both on. A copy moves nothing, and notes once what was there when it was first opened.
pub(crate) async fn advance(store: &Store, secrets: &dyn SecretStore) -> Result<Standing, Error> {
    let (found, remembered) = numbers(store, secrets).await?;
    let compared = compared(found, remembered);
    match compared {
        Compared::Copy => {
            store.write(note_copied).await?;
            return standing(store, compared).await;
        }
        // The keystore first, so that the database is never two ahead of it; then on, like every opening: a copy made in between is
        // an old one from now on.
        Compared::Ahead => secrets.put(SECRET, &found.to_be_bytes())?,
        Compared::Current => {}
    }
    let next = found + 1;
    store
        .write(move |tx| {
            set(tx, next)?;
            tx.execute("DELETE FROM meta WHERE key = 'copied_after'", []).map(drop)
        })
        .await?;
    secrets.put(SECRET, &next.to_be_bytes())?;
    standing(store, compared).await
}

/// A copy is about to become another device: tells the keystore the number that this one begins with, which [`is_another`] must write. Killed
/// in between it is still a copy, whatever it was known by: its number is lower than the keystore's.
pub(crate) async fn prepare_another(store: &Store, secrets: &dyn SecretStore) -> Result<u64, Error> {
    let (found, remembered) = numbers(store, secrets).await?;
    let next = found.max(remembered.unwrap_or(0)) + 1;
    secrets.put(SECRET, &next.to_be_bytes())?;
    Ok(next)
}

/// From now on the database is another device's, and the only one of its kind.
pub(crate) fn is_another(tx: &mut Tx<'_>, generation: u64) -> Result<(), StoreError> {
    set(tx, generation)?;
    tx.execute("DELETE FROM meta WHERE key IN ('is_copy', 'copied_after')", []).map(drop)
}

/// The newest message that the device may know of which this database is a copy, as far as its keystore told that: what was said here since
/// then was never said anywhere else.
pub(crate) fn copied_after(view: &impl Query) -> Result<Option<i64>, StoreError> {
    view.one("SELECT value FROM meta WHERE key = 'copied_after'", [], |row| row.get(0))
}

/// A copy was opened for the first time.
fn note_copied(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO meta (key, value) VALUES ('copied_after', ?1)";
    tx.execute(sql, [conversation::newest(tx)?]).map(drop)
}

fn set(tx: &mut Tx<'_>, generation: u64) -> Result<(), StoreError> {
    tx.execute("UPDATE meta SET value = ?1 WHERE key = 'generation'", [crate::store::column::stored(generation)])
        .map(drop)
}

/// What the database says, and what the keystore remembers.
async fn numbers(store: &Store, secrets: &dyn SecretStore) -> Result<(u64, Option<u64>), Error> {
    let remembered = secrets.get(SECRET)?.and_then(|bytes| bytes.as_slice().try_into().ok().map(u64::from_be_bytes));
    let found: i64 = store
        .read(|view| view.one("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0)))
        .await?
        .ok_or(StoreError::Corrupt)?;
    Ok((crate::store::column::counter(found), remembered))
}

/// What it is, by the numbers and by what was written down before.
async fn standing(store: &Store, compared: Compared) -> Result<Standing, Error> {
    let noted = |key: &'static str| {
        store.read(move |view| {
            Ok::<_, StoreError>(view.one("SELECT 1 FROM meta WHERE key = ?1", [key], |_| Ok(()))?.is_some())
        })
    };
    if noted("is_replaced").await? || store.read(is_ending).await? {
        return Ok(Standing::Replaced);
    }
    Ok(if compared == Compared::Copy || noted("is_copy").await? { Standing::Copy } else { Standing::One })
}

/// Writes down that a relay has shown this database to be a copy: later processes know it before they reach that relay.
pub(crate) fn note_copy(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('is_copy', 1)", []).map(drop)
}

/// Writes down that another has taken its place.
pub(crate) fn note_replaced(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('is_replaced', 1)", []).map(drop)
}

/// Writes down that its account is being deleted: what stands there is only read from then on.
pub(crate) fn note_ending(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('is_ending', 1)", []).map(drop)
}

/// Whether it is.
pub(crate) fn is_ending(view: &Connection) -> Result<bool, StoreError> {
    Ok(view.one("SELECT 1 FROM meta WHERE key = 'is_ending'", [], |_| Ok(()))?.is_some())
}

/// How a database stands to what the keystore saw last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Compared {
    /// It is the one.
    Current,
    /// It is the one, and the keystore was not told of its last step. It takes no other before that: a keystore that fails twice would
    /// leave it two ahead, which only a copy can be.
    Ahead,
    /// Another one ran last.
    Copy,
}

/// A new database stands at 0, and its keystore has nothing to say yet.
fn compared(found: u64, remembered: Option<u64>) -> Compared {
    match remembered.map_or(Some(found), |remembered| found.checked_sub(remembered)) {
        Some(0) => Compared::Current,
        Some(1) => Compared::Ahead,
        _ => Compared::Copy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h1_equal_or_one_ahead_is_a_crash_and_anything_else_a_copy() {
        assert_eq!(compared(0, None), Compared::Current);
        assert_eq!(compared(1, None), Compared::Ahead, "killed between the first commit and the keystore");
        assert_eq!(compared(7, Some(7)), Compared::Current);
        assert_eq!(compared(8, Some(7)), Compared::Ahead, "killed between the commit and the keystore");
        assert_eq!(compared(6, Some(7)), Compared::Copy, "a restored database");
        assert_eq!(compared(9, Some(7)), Compared::Copy, "a restored keystore");
        assert_eq!(compared(7, None), Compared::Copy, "a database without its keystore");
    }
}
