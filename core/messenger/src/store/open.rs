//! Opening: the lock, the key, the settings, the schema.
//!
//! A new database is filled under another name and renamed into place, so that what carries the real name is always whole: a device
//! that dies while it makes its account has no profile, and may make one. The lock is taken before anything else and held throughout.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::StoreError;

/// The database's name in a profile directory.
const FILE_NAME: &str = "sotto.db";
/// Its name while it is being filled.
const NEW_FILE_NAME: &str = "sotto.db.new";
/// What SQLite puts behind a database's name for the files beside it.
const COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];
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

/// A profile directory that is ours alone: an operating-system lock beside the database, gone with the process.
pub(crate) struct ProfileLock {
    directory: PathBuf,
    #[expect(dead_code, reason = "held, never read: closing the file releases the lock")]
    file: File,
}

impl ProfileLock {
    /// Of a profile that is there.
    pub(crate) fn of_existing(directory: &Path) -> Result<Self, StoreError> {
        // Looked for first, so that asking for what is not there leaves nothing behind; and again under the lock.
        require(directory.join(FILE_NAME))?;
        let lock = Self::take(directory)?;
        require(lock.database())?;
        Ok(lock)
    }

    /// Of a directory, made if need be, that holds no profile yet.
    pub(crate) fn of_new(directory: &Path) -> Result<Self, StoreError> {
        create_private_directory(directory)?;
        let lock = Self::take(directory)?;
        if lock.database().try_exists().map_err(from_io)? { Err(StoreError::Exists) } else { Ok(lock) }
    }

    fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(LOCK_NAME);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(from_io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { directory: directory.to_owned(), file }),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::ProfileInUse),
            Err(fs::TryLockError::Error(error)) => Err(from_io(error)),
        }
    }

    pub(super) fn database(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }

    /// Where a new database is filled. What an earlier attempt left there goes.
    pub(super) fn new_database(&self) -> Result<PathBuf, StoreError> {
        self.discard_new()?;
        Ok(self.directory.join(NEW_FILE_NAME))
    }

    pub(super) fn discard_new(&self) -> Result<(), StoreError> {
        for companion in COMPANIONS {
            match fs::remove_file(self.directory.join(format!("{NEW_FILE_NAME}{companion}"))) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(from_io(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The filled database, closed by everybody, becomes the profile's.
    pub(super) fn publish_new(&self) -> Result<(), StoreError> {
        // The last connection writes the log back and removes it; a database without its log would be an older one.
        let log = self.directory.join(format!("{NEW_FILE_NAME}-wal"));
        if log.try_exists().map_err(from_io)? {
            return Err(StoreError::Failed);
        }
        fs::rename(self.directory.join(NEW_FILE_NAME), self.database()).map_err(from_io)?;
        sync_directory(&self.directory)
    }
}

/// What cannot be looked at is not absent.
fn require(database: PathBuf) -> Result<(), StoreError> {
    if database.try_exists().map_err(from_io)? { Ok(()) } else { Err(StoreError::Absent) }
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(from_io)
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> Result<(), StoreError> {
    Ok(())
}

/// Whether a database may be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OpenMode {
    Create,
    Existing,
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
