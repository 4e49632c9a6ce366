//! Opening the store's file: how it is asked for, what every connection is set to, which schema it has.
//!
//! Invariant: a connection that would lie about what is on stable storage is not handed out. SQLite answers a pragma that it does
//! not follow with what it does instead, and goes on; so what matters is asked back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::commit::Crash;
use super::transaction::StepHook;
use crate::limits::StoreBounds;

/// What each schema after the first changes about the one before it. Never edited once released: databases have walked it. Until the first
/// release there is none, and `schema.sql` changes by itself.
const MIGRATIONS: &[&str] = &[];
/// The schema that this code reads and writes.
const SCHEMA_VERSION: i64 = version_after(MIGRATIONS);

/// The first schema is 1, and each migration leads to the next.
#[expect(clippy::cast_possible_wrap, reason = "a constant has no other way, and a list of them is short")]
const fn version_after(migrations: &[&str]) -> i64 {
    1 + migrations.len() as i64
}
/// "Sott" in the file's header.
const APPLICATION_ID: i64 = 0x536f_7474;

/// Where steps run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Running {
    /// On the caller.
    Inline,
    /// On a writer's thread and two readers'.
    Threads,
}

/// Hears the text of a statement.
pub type StatementHook = Arc<dyn Fn(&str) + Send + Sync>;

/// How to open a store.
pub struct SqliteOptions {
    /// The file; `None` for a store in memory, which only runs inline.
    pub path: Option<PathBuf>,
    /// Where steps run.
    pub running: Running,
    /// Bytes of the reserve for a full disk; 0: none is kept.
    pub reserve_bytes: u64,
    /// What inboxes may hold.
    pub bounds: StoreBounds,
    /// A registered VFS to open the file with, instead of the operating system's.
    pub vfs: Option<String>,
    /// Sees every writing statement; for tests that walk through failures.
    pub step_hook: Option<StepHook>,
    /// Hears the text of every statement that the writing connection runs, without its values; for tests that compare paths.
    pub statement_hook: Option<StatementHook>,
    /// What happens when the disk cannot be trusted any more; by default the process is aborted.
    pub crash: Crash,
}

impl SqliteOptions {
    /// A file, written by a thread.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: Some(path.into()), running: Running::Threads, ..Self::memory() }
    }

    /// Nothing on disk, inline: for tests.
    #[must_use]
    pub fn memory() -> Self {
        Self {
            path: None,
            running: Running::Inline,
            reserve_bytes: 0,
            bounds: StoreBounds::default(),
            vfs: None,
            step_hook: None,
            statement_hook: None,
            crash: Arc::new(abort),
        }
    }

    /// On the caller instead of on threads.
    #[must_use]
    pub fn inline(self) -> Self {
        Self { running: Running::Inline, ..self }
    }
}

/// Makes a directory for a store, for this user alone, and syncs its name and those of the directories that are made above it: a power cut
/// would take along with them what was accepted.
///
/// # Errors
/// When one of them cannot be made or synced.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let above: Vec<&Path> = directory.ancestors().skip(1).take_while(is_missing).collect();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Its own name also where it was there: whoever made it may have been killed before this.
    std::iter::once(directory).chain(above).try_for_each(|made| {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match fs::File::open(above).and_then(|above| above.sync_all()) {
            // Somebody else's, which must not be read, cannot be synced either.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        }
    })
}

fn abort(message: &str) {
    tracing::error!("{message}");
    std::process::abort();
}

/// Why a store does not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Written by a newer relay, or not by a relay at all.
    #[error("the database has schema {found}, this relay knows {SCHEMA_VERSION}")]
    UnknownSchema {
        /// What the file says.
        found: i64,
    },
    /// A store in memory has one connection, which two threads cannot share.
    #[error("a store in memory runs inline only")]
    MemoryNeedsInline,
    /// The disk or SQLite does not do what makes *accepted* true.
    #[error("the database would not be safe here: {pragma} is {found}")]
    Unsafe {
        /// What was asked for.
        pragma: &'static str,
        /// What it is instead.
        found: String,
    },
    /// The log that the last run left could not be moved into the main file: somebody reads the database, or the disk is broken. What is read from it may never have reached the disk, so nothing is answered from it.
    #[error("the log of the last run cannot be moved into the database")]
    LogNotEmptied,
    /// There is no room to open it, reserve or not.
    #[error("the disk is full: the database cannot even be opened")]
    DiskFull,
    /// The file cannot be opened or is damaged.
    #[error("the database cannot be opened: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// No thread could be started.
    #[error("no thread could be started: {0}")]
    Thread(#[from] std::io::Error),
}

pub(crate) fn connect(options: &SqliteOptions, cache_kib: u32) -> Result<Connection, OpenError> {
    let memory = PathBuf::from(":memory:");
    let path: &Path = options.path.as_ref().unwrap_or(&memory);
    // Every connection stays on the thread that it was given to.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.execute_batch(&format!(
        "PRAGMA trusted_schema = OFF;
         PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA cache_size = -{cache_kib};"
    ))?;
    if options.path.is_some() {
        require_safe(&connection)?;
    }
    Ok(connection)
}

/// What a database in memory cannot be, and one on disk must.
fn require_safe(connection: &Connection) -> Result<(), OpenError> {
    const WANTED: [(&str, &str); 5] = [
        ("journal_mode", "wal"),
        // FULL: every commit is synced.
        ("synchronous", "2"),
        ("fullfsync", "1"),
        ("secure_delete", "1"),
        // Only the writer decides when the log is moved: a checkpoint in the middle of a commit would hide its errors.
        ("wal_autocheckpoint", "0"),
    ];
    for (pragma, wanted) in WANTED {
        let found = connection.query_row(&format!("PRAGMA {pragma}"), [], |row| {
            Ok(match row.get_ref(0)? {
                ValueRef::Integer(number) => number.to_string(),
                other => other.as_str().unwrap_or_default().to_owned(),
            })
        })?;
        if found != wanted {
            return Err(OpenError::Unsafe { pragma, found });
        }
    }
    Ok(())
}

pub(crate) fn prepare_schema(connection: &Connection) -> Result<(), OpenError> {
    prepare(connection, MIGRATIONS)
}

/// Makes the schema in an empty file, or walks the migrations that it lacks, in one transaction: it is of the release that wrote it or of
/// this one, whatever happens meanwhile.
fn prepare(connection: &Connection, migrations: &[&str]) -> Result<(), OpenError> {
    let newest = version_after(migrations);
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, application) = (pragma("user_version")?, pragma("application_id")?);
    match (version, application) {
        (found, APPLICATION_ID) if found == newest => Ok(()),
        (1.., APPLICATION_ID) if version < newest => {
            let walked = usize::try_from(version - 1).unwrap_or(usize::MAX);
            let missing = migrations.get(walked..).unwrap_or_default().concat();
            let transaction = connection.unchecked_transaction()?;
            transaction.execute_batch(&missing)?;
            transaction.pragma_update(None, "user_version", newest)?;
            Ok(transaction.commit()?)
        }
        (0, 0) if is_empty(connection)? => {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE; {} PRAGMA user_version = {SCHEMA_VERSION}; PRAGMA application_id = {APPLICATION_ID}; COMMIT;",
                include_str!("schema.sql")
            ))?;
            Ok(())
        }
        _ => Err(OpenError::UnknownSchema { found: version }),
    }
}

/// Says so when only room is missing.
pub(crate) fn no_room(error: OpenError) -> OpenError {
    match error {
        OpenError::Sqlite(rusqlite::Error::SqliteFailure(failure, _))
            if failure.code == ErrorCode::DiskFull || failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE =>
        {
            OpenError::DiskFull
        }
        other => other,
    }
}

fn is_empty(connection: &Connection) -> Result<bool, OpenError> {
    Ok(connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))? == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_an_earlier_release_walks_the_migrations_that_it_lacks_or_stays_as_it_was() {
        let connection = connect(&SqliteOptions::memory(), 64).unwrap();
        prepare_schema(&connection).unwrap();
        connection.execute("INSERT INTO leaving (inbox) VALUES (7)", []).unwrap();
        let version = || connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap();
        let (first, second) =
            ("ALTER TABLE leaving ADD COLUMN since INTEGER NOT NULL DEFAULT 0;", "CREATE TABLE new (id);");
        assert!(prepare(&connection, &[first, "INSERT INTO nowhere VALUES (1);"]).is_err());
        assert_eq!(version(), 1);
        prepare(&connection, &[first]).unwrap();
        prepare(&connection, &[first, second]).unwrap();
        assert_eq!(version(), 3);
        let kept = "SELECT inbox + since + (SELECT COUNT(*) FROM new) FROM leaving";
        assert_eq!(connection.query_row(kept, [], |row| row.get::<_, i64>(0)).unwrap(), 7);
        // One of a later release is left alone.
        assert!(matches!(prepare_schema(&connection), Err(OpenError::UnknownSchema { found: 3 })));
    }

    #[test]
    fn a1_a_connection_that_would_lie_about_stable_storage_is_not_handed_out() {
        let directory = tempfile::tempdir().unwrap();
        let options = SqliteOptions::file(directory.path().join("relay.sqlite"));
        require_safe(&connect(&options, 64).unwrap()).unwrap();
        for wrong in [
            "synchronous = OFF",
            "synchronous = NORMAL",
            "journal_mode = DELETE",
            "fullfsync = OFF",
            "secure_delete = OFF",
            "wal_autocheckpoint = 1000",
        ] {
            let connection = connect(&options, 64).unwrap();
            connection.execute_batch(&format!("PRAGMA {wrong}")).unwrap();
            assert!(matches!(require_safe(&connection), Err(OpenError::Unsafe { .. })), "{wrong}");
        }
    }
}
