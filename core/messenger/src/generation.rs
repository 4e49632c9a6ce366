//! The generation counter: how a restored or copied database is told from a crash (PROTOCOL H1).
//!
//! At every opening, before the first ratchet step, the database commits generation g+1 and then the keystore gets it. A database that
//! equals the keystore, or is one ahead of it (a crash between the two), is the one that ran last; any other is a copy of an older day,
//! and its ratchets must not move. The keystore is never called while a transaction is open.

use crate::error::Error;
use crate::store::{Query, Store, StoreError, Tx};
use crate::world::SecretStore;

/// Its name in the keystore.
pub(crate) const SECRET: &str = "generation";

/// Compares, and moves nothing: for a database that is only read.
pub(crate) async fn compare(store: &Store, secrets: &dyn SecretStore) -> Result<(), Error> {
    found_and_standing(store, secrets).await.map(drop)
}

/// Compares, then moves both on.
pub(crate) async fn advance(store: &Store, secrets: &dyn SecretStore) -> Result<(), Error> {
    let (found, standing) = found_and_standing(store, secrets).await?;
    if standing == Standing::Ahead {
        // The keystore first, so that the database is never two ahead of it; then on, like every opening: a copy made in between is
        // an old one from now on.
        secrets.put(SECRET, &found.to_be_bytes())?;
    }
    let next = found + 1;
    store
        .write(move |tx| {
            tx.execute("UPDATE meta SET value = ?1 WHERE key = 'generation'", [crate::store::column::stored(next)])
                .map(drop)
        })
        .await?;
    Ok(secrets.put(SECRET, &next.to_be_bytes())?)
}

async fn found_and_standing(store: &Store, secrets: &dyn SecretStore) -> Result<(u64, Standing), Error> {
    let remembered = secrets.get(SECRET)?.and_then(|bytes| bytes.as_slice().try_into().ok().map(u64::from_be_bytes));
    let found: i64 = store
        .read(|view| view.one("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0)))
        .await?
        .ok_or(StoreError::Corrupt)?;
    let found = crate::store::column::counter(found);
    match standing(found, remembered) {
        Standing::Copy => Err(Error::RolledBack),
        standing => Ok((found, standing)),
    }
}

/// Writes down that a relay has shown this database to be a copy: later processes know it before they reach that relay.
pub(crate) fn note_copy(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('is_copy', 1)", []).map(drop)
}

/// Whether that was written down.
pub(crate) fn is_known_copy(view: &impl Query) -> Result<bool, StoreError> {
    Ok(view.one("SELECT 1 FROM meta WHERE key = 'is_copy'", [], |_| Ok(()))?.is_some())
}

/// How a database stands to what the keystore saw last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// It is the one.
    Current,
    /// It is the one, and the keystore was not told of its last step. It takes no other before that: a keystore that fails twice would
    /// leave it two ahead, which only a copy can be.
    Ahead,
    /// Another one ran last.
    Copy,
}

/// A new database stands at 0, and its keystore has nothing to say yet.
fn standing(found: u64, remembered: Option<u64>) -> Standing {
    match remembered.map_or(Some(found), |remembered| found.checked_sub(remembered)) {
        Some(0) => Standing::Current,
        Some(1) => Standing::Ahead,
        _ => Standing::Copy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h1_equal_or_one_ahead_is_a_crash_and_anything_else_a_copy() {
        assert_eq!(standing(0, None), Standing::Current);
        assert_eq!(standing(1, None), Standing::Ahead, "killed between the first commit and the keystore");
        assert_eq!(standing(7, Some(7)), Standing::Current);
        assert_eq!(standing(8, Some(7)), Standing::Ahead, "killed between the commit and the keystore");
        assert_eq!(standing(6, Some(7)), Standing::Copy, "a restored database");
        assert_eq!(standing(9, Some(7)), Standing::Copy, "a restored keystore");
        assert_eq!(standing(7, None), Standing::Copy, "a database without its keystore");
    }
}
