//! Opening: the lock, the key, the settings, the schema.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::StoreError;

/// The database's name in a profile directory.
pub(super) const FILE_NAME: &str = "sotto.db";
const LOCK_NAME: &str = "lock";
const SCHEMA: &str = include_str!("schema.sql");
const SCHEMA_VERSION: i64 = 1;

/// Statements kept prepared: all of the engine's, so that a send parses no SQL.
const STATEMENTS: usize = 256;
/// WAL pages before a checkpoint: 4 MiB, so that a batch of received letters is one.
const CHECKPOINT_PAGES: u32 = 1_000;

/// The raw 256-bit key of a database.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct DatabaseKey([u8; 32]);

impl DatabaseKey {
    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Whether a database must be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OpenMode {
    /// It must not be there yet.
    Create,
    /// It must be there.
    Existing,
}

/// One engine per profile: an operating-system lock beside the database, gone with the process.
pub(super) struct ProfileLock(
    #[expect(dead_code, reason = "held, never read: closing the file releases the lock")] File,
);

impl ProfileLock {
    pub(super) fn take(directory: &Path, mode: OpenMode) -> Result<Self, StoreError> {
        let database = directory.join(FILE_NAME);
        match mode {
            OpenMode::Existing if !database.exists() => return Err(StoreError::Absent),
            OpenMode::Create => create_private_directory(directory)?,
            OpenMode::Existing => {}
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK_NAME))
            .map_err(from_io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::ProfileInUse),
            Err(fs::TryLockError::Error(error)) => return Err(from_io(error)),
        }
        if mode == OpenMode::Create && database.exists() {
            return Err(StoreError::Exists);
        }
        Ok(Self(file))
    }
}

#[cfg(unix)]
fn create_private_directory(directory: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(from_io)
}

#[cfg(not(unix))]
fn create_private_directory(directory: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(directory).map_err(from_io)
}

#[expect(clippy::needless_pass_by_value, reason = "shaped for map_err")]
fn from_io(error: std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => StoreError::DiskFull,
        kind => {
            tracing::warn!(?kind, "the profile directory cannot be used");
            StoreError::Failed
        }
    }
}

/// The writer's connection, with the schema in place.
pub(super) fn connect(path: &Path, key: &DatabaseKey, mode: OpenMode) -> Result<Connection, StoreError> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if mode == OpenMode::Create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let mut connection = connect_with(path, key, flags)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    ))?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// A reader's connection.
pub(super) fn connect_reader(path: &Path, key: &DatabaseKey) -> Result<Connection, StoreError> {
    let connection = connect_with(path, key, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.execute_batch("PRAGMA query_only = ON;")?;
    Ok(connection)
}

fn connect_with(path: &Path, key: &DatabaseKey, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags)?;
    let hex = Zeroizing::new(data_encoding::HEXLOWER.encode(key.as_bytes()));
    let pragma = Zeroizing::new(format!("PRAGMA key = \"x'{}'\";", hex.as_str()));
    connection.execute_batch(&pragma)?;
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;")?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // The first read: with a wrong key, SQLCipher says here that this is no database.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        SCHEMA_VERSION => Ok(()),
        0 => {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            Ok(transaction.commit()?)
        }
        _ => Err(StoreError::TooNew),
    }
}
