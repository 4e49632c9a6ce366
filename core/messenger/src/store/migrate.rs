//! Migrations: how the database of an earlier release becomes one of this.
//!
//! Each takes it from one schema to the next. Those that a database lacks are walked in one transaction while it is opened: it is of the
//! release that wrote it, or of this one, whatever happens meanwhile. On a disk without room it stays as it is, and cannot be read either.
//! Invariants: every message and every row of the outbox outlives them; no reference is left dangling; what is long to rewrite (messages,
//! the outbox) gets columns with a default and is not rewritten. The longest part is then to look up every reference once.
//! Until the first release the list is empty: `schema.sql` changes by itself, and the profile that `tests/compatibility` opens is made anew.

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Batch, Connection};

use super::StoreError;
use super::tx::{FailAt, StoreStep};

const SCHEMA: &str = include_str!("schema.sql");

/// What each schema after the first changes about the one before it. Never edited once released: databases have walked it.
const MIGRATIONS: &[&str] = &[];

/// The schema of this release.
pub(crate) const SCHEMA_VERSION: i64 = version_after(MIGRATIONS);

/// The first schema is 1, and each migration leads to the next. There will not be so many that a number is too small.
#[expect(clippy::cast_possible_wrap, reason = "a constant has no other way, and a list of them is short")]
const fn version_after(migrations: &[&str]) -> i64 {
    1 + migrations.len() as i64
}

/// Brings a database to the schema of this release; an empty one gets it at once.
pub(super) fn migrate(connection: &mut Connection, steps: &FailAt, to_come: &[String]) -> Result<(), StoreError> {
    let migrations: Vec<&str> = MIGRATIONS.iter().copied().chain(to_come.iter().map(String::as_str)).collect();
    let newest = version_after(&migrations);
    match schema_version(connection)? {
        found if found == newest => Ok(()),
        0 => {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            Ok(transaction.commit()?)
        }
        found => walk(connection, found, &migrations, steps),
    }
}

pub(super) fn schema_version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn walk(connection: &mut Connection, found: i64, migrations: &[&str], steps: &FailAt) -> Result<(), StoreError> {
    let walked = usize::try_from(found).ok().and_then(|found| found.checked_sub(1));
    let missing = walked.and_then(|walked| migrations.get(walked..)).ok_or(StoreError::TooNew)?;
    // A table that is made anew under its old name would take along what refers to it; SQLite switches this only between transactions.
    connection.pragma_update(None, "foreign_keys", false)?;
    let transaction = connection.transaction()?;
    for migration in missing {
        let mut statements = Batch::new(&transaction, migration);
        while let Some(mut statement) = statements.next()? {
            let text = statement.expanded_sql().unwrap_or_default();
            steps.step(StoreStep::Write(&text))?;
            statement.execute([])?;
        }
    }
    let is_dangling = transaction.prepare("PRAGMA foreign_key_check")?.exists([])?;
    if is_dangling {
        return Err(StoreError::Corrupt);
    }
    transaction.pragma_update(None, "user_version", version_after(migrations))?;
    steps.step(StoreStep::Commit)?;
    transaction.commit()?;
    steps.step(StoreStep::Committed)?;
    Ok(connection.pragma_update(None, "foreign_keys", true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW_COLUMN: &str = "ALTER TABLE message ADD COLUMN added INTEGER NOT NULL DEFAULT 0;";
    /// A column that is not null and has no default: the table is made anew, and others refer to it.
    const NEW_TABLE: &str = "
        CREATE TABLE conversation_new (
            id INTEGER PRIMARY KEY, conversation BLOB NOT NULL UNIQUE, contact INTEGER REFERENCES contact (id), muted INTEGER NOT NULL
        ) STRICT;
        INSERT INTO conversation_new SELECT id, conversation, contact, 0 FROM conversation;
        DROP TABLE conversation;
        ALTER TABLE conversation_new RENAME TO conversation;";

    /// A database of the first schema with a message that waits in the outbox.
    fn first() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        migrate(&mut connection, &FailAt::default(), &[]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection
            .execute_batch(
                "PRAGMA foreign_keys = OFF;
                 INSERT INTO conversation (id, conversation) VALUES (1, x'01');
                 INSERT INTO message (id, conversation, sender, message_id, sent_at, received_at, kind, text, content, state, position)
                 VALUES (7, 1, 0, x'07', 1, 1, 1, 'not sent yet', x'', 0, 7);
                 INSERT INTO contact (id, account, name, state, relay, chain, chain_key, manifest, epoch, version, hash, manifest_read_at, created_at)
                 VALUES (1, x'02', 'bob', 3, '', x'', x'', x'', 1, 1, x'', 1, 1);
                 INSERT INTO peer_device (id, contact, device, ed25519, curve25519, listed) VALUES (1, 1, x'03', x'', x'', 1);
                 INSERT INTO outbox (peer_device, message, message_id, state, sent_at) VALUES (1, 7, x'07', 0, 1);
                 PRAGMA foreign_keys = ON;",
            )
            .unwrap();
        connection
    }

    fn number(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    const WAITING: &str =
        "SELECT COUNT(*) FROM outbox JOIN message ON message.id = outbox.message WHERE message.text = 'not sent yet'";

    #[test]
    fn a_database_walks_the_migrations_that_it_lacks_and_keeps_what_it_holds() {
        let mut connection = first();
        walk(&mut connection, 1, &[NEW_COLUMN, NEW_TABLE], &FailAt::default()).unwrap();
        assert_eq!(schema_version(&connection).unwrap(), 3);
        assert_eq!(number(&connection, WAITING), 1);
        assert_eq!(number(&connection, "SELECT SUM(added) + (SELECT SUM(muted) FROM conversation) FROM message"), 0);
        assert!(connection.execute("DELETE FROM conversation", []).is_err(), "references hold again");
        // One that has walked the first of them lacks the other.
        let mut connection = first();
        walk(&mut connection, 1, &[NEW_COLUMN], &FailAt::default()).unwrap();
        walk(&mut connection, 2, &[NEW_COLUMN, NEW_TABLE], &FailAt::default()).unwrap();
        assert_eq!((schema_version(&connection).unwrap(), number(&connection, WAITING)), (3, 1));
    }

    #[test]
    fn a_migration_that_fails_leaves_the_database_as_it_was() {
        let columns = "SELECT COUNT(*) FROM pragma_table_info('message')";
        for bad in ["INSERT INTO nowhere VALUES (1);", "DELETE FROM message;"] {
            let mut connection = first();
            let before = number(&connection, columns);
            assert!(walk(&mut connection, 1, &[NEW_COLUMN, bad], &FailAt::default()).is_err(), "{bad}");
            assert_eq!((schema_version(&connection).unwrap(), number(&connection, columns)), (1, before));
            assert_eq!(number(&connection, WAITING), 1);
        }
    }

    #[test]
    fn a_database_of_a_later_release_is_left_alone() {
        for found in [SCHEMA_VERSION + 1, -1] {
            let mut connection = first();
            connection.pragma_update(None, "user_version", found).unwrap();
            assert_eq!(migrate(&mut connection, &FailAt::default(), &[]), Err(StoreError::TooNew));
            assert_eq!(schema_version(&connection).unwrap(), found);
        }
    }
}
