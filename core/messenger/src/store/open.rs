//! Opening: the lock, the key, the settings.
//!
//! A new database is filled under another name and renamed into place, so that what carries the real name is always whole: a device
//! that dies while it makes its account has no profile, and may make one. The lock is taken before anything else and held throughout.
//! Nothing is opened through a link that stands in the place of a profile's file.
//! Not here: the schema (`migrate.rs`).

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::StoreError;
use super::migrate::{SCHEMA_VERSION, migrate, schema_version};
use super::tx::FailAt;

/// The database's name in a profile directory.
const FILE_NAME: &str = "sotto.db";
/// Its name while it is being filled.
const NEW_FILE_NAME: &str = "sotto.db.new";
/// What SQLite puts behind a database's name for the files beside it.
const COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];
const LOCK_NAME: &str = "lock";

/// Statements kept prepared: all of the engine's, so that a send parses no SQL.
const STATEMENTS: usize = 256;
/// What a reader keeps of the database in memory, in KiB: all pages that lead to others in a profile of a million messages, and what the last
/// screens were made of. To check and decrypt a page takes longer than to read it.
const READER_KIB: u32 = 8 * 1024;
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
    file: File,
}

impl Drop for ProfileLock {
    /// Said, not left to the closing: a process that the app starts at this moment has the file too until it runs, and would hold the lock.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
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

    /// Of a directory, whatever is in it, if there is one.
    pub(super) fn of_any(directory: &Path) -> Result<Option<Self>, StoreError> {
        if directory.try_exists().map_err(from_io)? { Self::take(directory).map(Some) } else { Ok(None) }
    }

    /// Removes every file of the profile, the lock last, and the directory if nothing else is in it.
    pub(super) fn wipe(self) -> Result<(), StoreError> {
        self.discard_new()?;
        // The log first: it holds what was written last.
        for companion in COMPANIONS.iter().rev() {
            remove(&self.directory.join(format!("{FILE_NAME}{companion}")))?;
        }
        remove(&self.directory.join(LOCK_NAME))?;
        sync_directory(&self.directory)?;
        match fs::remove_dir(&self.directory) {
            // Somebody else's files are in it, or the directory is not ours to remove.
            Err(error) => tracing::debug!(kind = ?error.kind(), "the profile directory stays"),
            Ok(()) => sync_directory_above(&self.directory)?,
        }
        Ok(())
    }

    fn take(directory: &Path) -> Result<Self, StoreError> {
        // SQLite counts a link anywhere in a path: those that lead to the directory are the caller's, and followed here.
        let directory = directory.canonicalize().map_err(from_io)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        refuse_links(&mut options);
        let file = options.open(directory.join(LOCK_NAME)).map_err(from_io)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { directory, file }),
            Err(fs::TryLockError::WouldBlock) => Err(StoreError::ProfileInUse),
            Err(fs::TryLockError::Error(error)) => Err(from_io(error)),
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn database(&self) -> PathBuf {
        self.directory.join(FILE_NAME)
    }

    /// Where a new database is filled. What an earlier attempt left there goes.
    pub(super) fn new_database(&self) -> Result<PathBuf, StoreError> {
        self.discard_new()?;
        Ok(self.directory.join(NEW_FILE_NAME))
    }

    /// Why the database could not be opened. SQLite does not tell why it could not make a file beside it: one that is made to find out does.
    pub(super) fn reason(&self, error: StoreError) -> StoreError {
        if error != StoreError::Failed {
            return error;
        }
        let made = self.new_database().and_then(|path| {
            let mut options = OpenOptions::new();
            refuse_links(options.write(true).create_new(true));
            options.open(path).map_err(from_io)
        });
        match made.and_then(|_| self.discard_new()) {
            Err(StoreError::DiskFull) => StoreError::DiskFull,
            _ => error,
        }
    }

    pub(super) fn discard_new(&self) -> Result<(), StoreError> {
        COMPANIONS.iter().try_for_each(|companion| remove(&self.directory.join(format!("{NEW_FILE_NAME}{companion}"))))
    }

    /// The filled database, closed by everybody, becomes the profile's.
    pub(super) fn publish_new(&self) -> Result<(), StoreError> {
        // The last connection writes the log back and removes it; a database without its log would be an older one.
        let log = self.directory.join(format!("{NEW_FILE_NAME}-wal"));
        if log.try_exists().map_err(from_io)? {
            return Err(StoreError::Failed);
        }
        let new = self.directory.join(NEW_FILE_NAME);
        fs::rename(&new, self.database()).map_err(from_io)?;
        sync_directory(&self.directory).inspect_err(|_| {
            // Its maker takes the key back: a database with the real name would be one that nobody opens.
            let _ = fs::rename(self.database(), &new);
        })
    }
}

/// What cannot be looked at is not absent.
fn require(database: PathBuf) -> Result<(), StoreError> {
    if database.try_exists().map_err(from_io)? { Ok(()) } else { Err(StoreError::Absent) }
}

/// A file, if it is there.
fn remove(file: &Path) -> Result<(), StoreError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(from_io(error)),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn refuse_links(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
}

#[cfg(not(unix))]
fn refuse_links(_: &mut OpenOptions) {}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(from_io)
}

/// As [`sync_directory`] for one that may be somebody else's: what must not be read cannot be synced either.
#[cfg(unix)]
fn sync_directory_above(path: &Path) -> Result<(), StoreError> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(above).and_then(|directory| directory.sync_all()) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(from_io),
    }
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> Result<(), StoreError> {
    Ok(())
}

#[cfg(not(unix))]
fn sync_directory_above(_: &Path) -> Result<(), StoreError> {
    Ok(())
}

/// Whether a database may be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OpenMode {
    Create,
    Existing,
}

/// Its name, and those of the directories that are made above it, are synced: a power cut would take the profile along with them.
#[cfg(unix)]
fn create_private_directory(directory: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let above: Vec<&Path> = directory.ancestors().skip(1).take_while(is_missing).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(from_io)?;
    // Its own name also where it was there: whoever made it may have been killed before this.
    std::iter::once(directory).chain(above).try_for_each(sync_directory_above)
}

#[cfg(not(unix))]
fn create_private_directory(directory: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(directory).map_err(from_io)
}

#[expect(clippy::needless_pass_by_value, reason = "shaped for map_err")]
fn from_io(error: std::io::Error) -> StoreError {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::DiskFull,
        kind => {
            tracing::warn!(?kind, "the profile directory cannot be used");
            StoreError::Failed
        }
    }
}

/// The writer's connection, with the schema in place. `steps` are those of the way there; `to_come` is what a later release has behind the
/// migrations of this one.
pub(super) fn connect(
    path: &Path,
    key: &DatabaseKey,
    mode: OpenMode,
    steps: &FailAt,
    to_come: &[String],
) -> Result<Connection, StoreError> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if mode == OpenMode::Create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let mut connection = connect_with(path, key, flags, "")?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    ))?;
    migrate(&mut connection, steps, to_come)?;
    Ok(connection)
}

/// A reader's connection.
pub(super) fn connect_reader(path: &Path, key: &DatabaseKey) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    connect_with(path, key, flags, &format!("PRAGMA query_only = ON; PRAGMA cache_size = -{READER_KIB};"))
}

/// The only connection, on a disk without room: it reads what was committed, from the log too, and writes nothing. The index of the log,
/// which two connections would share in a file, is in memory; closing leaves the log where it is. Where there is no log none is made.
pub(super) fn connect_only_reader(path: &Path, key: &DatabaseKey) -> Result<Connection, StoreError> {
    let connection = connect_unchanged(path, key)?;
    require_schema(&connection)?;
    Ok(connection)
}

/// The only connection to a database that does not open otherwise, likewise, whatever its schema. A log that is damaged itself is left aside.
pub(super) fn connect_damaged(path: &Path, key: &DatabaseKey) -> Result<Connection, StoreError> {
    connect_unchanged(path, key).or_else(|_| connect_without_log(path, key))
}

fn connect_unchanged(path: &Path, key: &DatabaseKey) -> Result<Connection, StoreError> {
    let log = path.with_file_name(format!("{FILE_NAME}-wal"));
    let connection = if log.try_exists().map_err(from_io)? {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        connect_with(path, key, flags, "PRAGMA query_only = ON; PRAGMA locking_mode = EXCLUSIVE;")?
    } else {
        connect_without_log(path, key)?
    };
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

fn connect_without_log(path: &Path, key: &DatabaseKey) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    connect_with(Path::new(&unchanging(path)), key, flags, "PRAGMA query_only = ON;")
}

/// The name under which SQLite opens a database that nobody changes meanwhile: the profile's lock is held.
fn unchanging(path: &Path) -> String {
    let letter = |byte: &u8| match byte {
        b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(*byte).to_string(),
        byte => format!("%{byte:02x}"),
    };
    format!("file:{}?immutable=1", path.as_os_str().as_encoded_bytes().iter().map(letter).collect::<String>())
}

/// `first` is run before anything is read.
fn connect_with(path: &Path, key: &DatabaseKey, flags: OpenFlags, first: &str) -> Result<Connection, StoreError> {
    sotto_cipher::begin();
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NOFOLLOW)?;
    let hex = Zeroizing::new(data_encoding::HEXLOWER.encode(key.as_bytes()));
    let pragma = Zeroizing::new(format!("PRAGMA key = \"x'{}'\";", hex.as_str()));
    connection.execute_batch(&pragma)?;
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;")?;
    connection.execute_batch(first)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // The first read: with a wrong key, SQLCipher says here that this is no database.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// A schema that is read as it is, because it cannot be changed now.
fn require_schema(connection: &Connection) -> Result<(), StoreError> {
    match schema_version(connection)? {
        SCHEMA_VERSION => Ok(()),
        older if older < SCHEMA_VERSION => Err(StoreError::DiskFull),
        _ => Err(StoreError::TooNew),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::{Store, Threading};
    use super::*;

    const KEY: DatabaseKey = DatabaseKey::from_bytes([7; 32]);

    async fn profile(directory: &Path) {
        let lock = ProfileLock::of_new(directory).expect("a lock");
        Store::create(&lock, &KEY, Threading::Inline, |_| Ok::<_, StoreError>(())).await.expect("a database");
    }

    #[test]
    fn a_profile_is_free_when_its_holder_is_gone_though_a_process_that_is_being_started_has_its_lock_file() {
        let place = tempfile::tempdir().unwrap();
        let lock = ProfileLock::take(place.path()).unwrap();
        // What a child has between its making and its program.
        let of_a_child = lock.file.try_clone().unwrap();
        assert_eq!(ProfileLock::take(place.path()).map(drop), Err(StoreError::ProfileInUse));
        drop(lock);
        assert_eq!(ProfileLock::take(place.path()).map(drop), Ok(()));
        drop(of_a_child);
    }

    #[tokio::test]
    async fn a_database_is_read_alone_with_its_log_and_without_one_wherever_it_is() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("100% Zo\u{eb}?mode=memory#&x=1");
        profile(&directory).await;
        let database = directory.join(FILE_NAME);
        let generation = |connection: &Connection| -> i64 {
            connection.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0)).unwrap()
        };
        let change = "INSERT INTO meta (key, value) VALUES ('generation', 7)";
        let writer = connect(&database, &KEY, OpenMode::Existing, &FailAt::default(), &[]).unwrap();
        writer.execute(change, []).unwrap();
        drop(writer);
        for has_log in [false, true] {
            let log = directory.join("sotto.db-wal");
            if has_log {
                // As a process that was killed leaves it.
                let writer = connect(&database, &KEY, OpenMode::Existing, &FailAt::default(), &[]).unwrap();
                writer.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
                writer.execute("UPDATE meta SET value = 8 WHERE key = 'generation'", []).unwrap();
            }
            assert_eq!(log.exists(), has_log);
            let before = fs::read(&database).unwrap();
            let reader = connect_only_reader(&database, &KEY).unwrap();
            assert_eq!(generation(&reader), if has_log { 8 } else { 7 });
            assert!(reader.execute(change, []).is_err());
            drop(reader);
            assert!(fs::read(&database).unwrap() == before && log.exists() == has_log);
        }
    }

    #[tokio::test]
    async fn nothing_is_opened_or_made_through_a_link_in_the_place_of_a_profiles_file() {
        let place = tempfile::tempdir().unwrap();
        let (ours, elsewhere) = (place.path().join("ours"), place.path().join("elsewhere"));
        profile(&ours).await;
        profile(&elsewhere).await;
        // A link to the directory is the caller's own.
        let linked = place.path().join("linked");
        symlink(&ours, &linked).unwrap();
        Store::open(ProfileLock::of_existing(&linked).unwrap(), &KEY, Threading::Inline).unwrap().close();
        // A database that is another's.
        fs::remove_file(ours.join(FILE_NAME)).unwrap();
        symlink(elsewhere.join(FILE_NAME), ours.join(FILE_NAME)).unwrap();
        for open in [Store::open, Store::open_to_read] {
            let lock = ProfileLock::of_existing(&ours).unwrap();
            assert_eq!(open(lock, &KEY, Threading::Inline).map(drop).unwrap_err(), StoreError::Failed);
        }
        // A lock that is another's, and one that nobody has made yet.
        let missing = place.path().join("missing");
        for target in [elsewhere.join(LOCK_NAME), missing.clone()] {
            fs::remove_file(ours.join(LOCK_NAME)).unwrap();
            symlink(target, ours.join(LOCK_NAME)).unwrap();
            assert_eq!(ProfileLock::of_existing(&ours).map(drop).unwrap_err(), StoreError::Failed);
        }
        assert!(!missing.exists());
    }
}
