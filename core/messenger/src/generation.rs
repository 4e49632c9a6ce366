//! The generation counter: how a restored or copied database is told from a crash (PROTOCOL H1).
//!
//! At every opening, before the first ratchet step, the database commits generation g+1 and then the keystore gets it. A database that
//! equals the keystore, or is one ahead of it (a crash between the two), is the one that ran last; any other is a copy of an older day,
//! and its ratchets must not move. The keystore is never called while a transaction is open.

use crate::error::Error;
use crate::store::{Query, Store, StoreError};
use crate::world::SecretStore;

const KEY: &str = "generation";

/// Compares, then moves both on.
pub(crate) async fn advance(store: &Store, secrets: &dyn SecretStore) -> Result<(), Error> {
    let remembered = secrets.get(KEY)?.and_then(|bytes| bytes.as_slice().try_into().ok().map(u64::from_be_bytes));
    let found: i64 = store
        .read(|view| view.one("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0)))
        .await?
        .ok_or(StoreError::Corrupt)?;
    let found = crate::store::column::counter(found);
    if !is_ours(found, remembered) {
        return Err(Error::RolledBack);
    }
    let next = found + 1;
    store
        .write(move |tx| {
            tx.execute("UPDATE meta SET value = ?1 WHERE key = 'generation'", [crate::store::column::stored(next)])
                .map(drop)
        })
        .await?;
    Ok(secrets.put(KEY, &next.to_be_bytes())?)
}

/// Whether a database of this generation is the one that the keystore saw last. A new database stands at 0, and its keystore has
/// nothing to say yet.
fn is_ours(found: u64, remembered: Option<u64>) -> bool {
    match remembered {
        None => found <= 1,
        Some(remembered) => found == remembered || found == remembered + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h1_equal_or_one_ahead_is_a_crash_and_anything_else_a_copy() {
        assert!(is_ours(0, None));
        assert!(is_ours(1, None), "killed between the first commit and the keystore");
        assert!(is_ours(7, Some(7)));
        assert!(is_ours(8, Some(7)), "killed between the commit and the keystore");
        assert!(!is_ours(6, Some(7)), "a restored database");
        assert!(!is_ours(9, Some(7)), "a restored keystore");
        assert!(!is_ours(7, None), "a database without its keystore");
    }
}
