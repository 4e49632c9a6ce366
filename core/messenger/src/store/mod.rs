//! The store: one SQLCipher database, one writer, a few readers.
//!
//! Everything that must agree changes in one transaction: [`Store::write`] runs a closure inside one, on the writer's thread in
//! production and inline on the caller in simulations (a paused clock does not wait for threads). A job is handed over the moment
//! `write` is called, so a caller that drops the future loses the answer and nothing else.
//! A store that pauses closes every file, the lock too ([`Store::pause`]): the transaction under way ends, what waits behind it is answered
//! [`StoreError::Paused`] and is not begun. [`Store::reopen`] and [`Store::adopt`] bring it back under the same handles.
//! On a disk without room a profile can still be opened to be read: nothing is written then, and every write says that the disk is full.
//! Invariants: all writes pass [`Tx::execute`]; a closure that fails leaves nothing; what cannot be read is an error, never absence.
//! Not here: what the rows mean (each table's concept has a module of its own).

use sotto_cipher as _;

pub(crate) mod column;
mod lane;
mod migrate;
mod open;
mod salvage;
mod tx;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use crate::danger;
use lane::{Lane, Submitted};
pub(crate) use migrate::SCHEMA_VERSION;
use open::OpenMode;
pub(crate) use open::{DatabaseKey, ProfileLock};
pub(crate) use salvage::{SalvagedMessage, salvage};
pub(crate) use tx::{FailAt, Query, Tx};
pub use tx::{StepHook, StoreStep};

/// Readers beside the writer: the chat list and a timeline may load while a batch is being received.
const READERS: usize = 2;

/// Why the database did not do what was asked. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another handle in this one, has the profile open.
    #[error("the profile is in use")]
    ProfileInUse,
    /// There is no profile here.
    #[error("there is no profile here")]
    Absent,
    /// There is a profile here already.
    #[error("there is a profile here already")]
    Exists,
    /// The key does not open this database, or its first page is damaged.
    #[error("the key does not open this database")]
    WrongKey,
    /// A page is damaged.
    #[error("the database is damaged")]
    Corrupt,
    /// No room on the disk. The same call will work when there is.
    #[error("the disk is full")]
    DiskFull,
    /// Written by a later version of this program.
    #[error("the database was written by a later version")]
    TooNew,
    /// Too much waits for it already. The same call will work in a moment.
    #[error("the database has too much to do")]
    Busy,
    /// Reading or writing failed for another reason of the device's.
    #[error("the database cannot be used right now")]
    Failed,
    /// The store pauses. The same call will work once it goes on.
    #[error("the store pauses")]
    Paused,
    /// The store was shut down.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            // Nothing else interrupts.
            Some(ErrorCode::OperationInterrupted) => Self::Paused,
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt,
            Some(ErrorCode::NotADatabase) => Self::WrongKey,
            Some(ErrorCode::SystemIoFailure) if is_short_of_space(&error) => Self::DiskFull,
            _ => {
                tracing::error!(code = ?error.sqlite_error_code(), "unexpected database error");
                Self::Failed
            }
        }
    }
}

/// Some file systems report a full disk as a failed write.
fn is_short_of_space(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_TRUNCATE, SQLITE_IOERR_WRITE};
    let code = match error {
        rusqlite::Error::SqliteFailure(failure, _) => failure.extended_code,
        _ => return false,
    };
    // The last two: a file that cannot grow, the shared index of the log for one.
    [SQLITE_IOERR_WRITE, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_TRUNCATE].contains(&code)
}

/// How transactions get their thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Threading {
    /// A writer thread and reader threads: production.
    Threads,
    /// On the caller: simulations on one thread and virtual time.
    Inline,
}

/// The open database.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Lane,
    readers: Lane,
    fail_at: FailAt,
    is_only_read: bool,
    threading: Threading,
    /// Held until the store is closed or pauses, whoever still has a handle then.
    lock: Mutex<Option<ProfileLock>>,
    /// Where the profile is; nowhere while a new one is filled.
    directory: Option<PathBuf>,
    /// One at a time closes the lanes or brings others, and whoever closes them again waits until they are. No job does either.
    turn: Mutex<()>,
}

impl Store {
    /// Opens the database of a profile whose lock is held; the lock goes when the store is closed.
    pub(crate) fn open(lock: ProfileLock, key: &DatabaseKey, threading: Threading) -> Result<Self, StoreError> {
        Self::open_with(lock, key, threading, FailAt::heard_by(danger::step_hook()), &danger::migrations_to_come())
    }

    fn open_with(
        lock: ProfileLock,
        key: &DatabaseKey,
        threading: Threading,
        fail_at: FailAt,
        to_come: &[String],
    ) -> Result<Self, StoreError> {
        let connected = open::connect(&lock.database(), key, OpenMode::Existing, &fail_at, to_come);
        let lanes = connected.and_then(|writer| Self::lanes(writer, &lock.database(), key, READERS, threading));
        let (writer, readers) = lanes.map_err(|error| lock.reason(error))?;
        Ok(Self::over(writer, readers, false, threading, fail_at, Some(lock)))
    }

    /// As [`Self::open`] on a disk without room: see [`Self::is_only_read`].
    pub(crate) fn open_to_read(lock: ProfileLock, key: &DatabaseKey, threading: Threading) -> Result<Self, StoreError> {
        let readers = Lane::of("sotto-reader", vec![open::connect_only_reader(&lock.database(), key)?], threading)?;
        let fail_at = FailAt::heard_by(danger::step_hook());
        Ok(Self::over(Lane::none(), readers, true, threading, fail_at, Some(lock)))
    }

    fn over(
        writer: Lane,
        readers: Lane,
        is_only_read: bool,
        threading: Threading,
        fail_at: FailAt,
        lock: Option<ProfileLock>,
    ) -> Self {
        let directory = lock.as_ref().map(|lock| lock.directory().to_owned());
        let (lock, turn) = (Mutex::new(lock), Mutex::default());
        let inner = Inner { writer, readers, fail_at, is_only_read, threading, lock, directory, turn };
        Self { inner: Arc::new(inner) }
    }

    /// Whether every write answers [`StoreError::DiskFull`], for as long as this store is open.
    pub(crate) fn is_only_read(&self) -> bool {
        self.inner.is_only_read
    }

    /// Makes the database of a new profile, filled by `fill` in one transaction. It is there whole, or not at all.
    pub(crate) async fn create<E: From<StoreError> + Send + 'static>(
        lock: &ProfileLock,
        key: &DatabaseKey,
        threading: Threading,
        fill: impl FnOnce(&mut Tx<'_>) -> Result<(), E> + Send + 'static,
    ) -> Result<(), E> {
        let path = lock.new_database()?;
        let filled = match Self::open_new(&path, key, threading) {
            Ok(store) => {
                let filled = store.write(fill).await;
                store.close();
                filled.and_then(|()| Ok(lock.publish_new()?))
            }
            Err(error) => Err(error.into()),
        };
        if filled.is_err() {
            // What cannot be removed now, the next attempt removes.
            let _ = lock.discard_new();
        }
        filled
    }

    fn open_new(path: &Path, key: &DatabaseKey, threading: Threading) -> Result<Self, StoreError> {
        let fail_at = FailAt::heard_by(danger::step_hook());
        let writer = open::connect(path, key, OpenMode::Create, &fail_at, &danger::migrations_to_come())?;
        // Who fills a new database reads nothing.
        let (writer, readers) = Self::lanes(writer, path, key, 0, threading)?;
        Ok(Self::over(writer, readers, false, threading, fail_at, None))
    }

    fn lanes(
        writer: Connection,
        path: &Path,
        key: &DatabaseKey,
        readers: usize,
        threading: Threading,
    ) -> Result<(Lane, Lane), StoreError> {
        // One is enough for a thread.
        let readers = if threading == Threading::Inline { readers.min(1) } else { readers };
        let readers = (0..readers).map(|_| open::connect_reader(path, key)).collect::<Result<Vec<_>, _>>()?;
        Ok((Lane::of("sotto-writer", vec![writer], threading)?, Lane::of("sotto-reader", readers, threading)?))
    }

    /// Runs `work` in one write transaction. It commits when `work` succeeds; else, or when the commit fails, nothing happened.
    pub(crate) fn write<T, E>(&self, work: impl FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static) -> Answer<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.write_then(work, |value| value)
    }

    /// As [`Self::write`]. After the commit, and before any later job, `then` makes the answer of what `work` returned.
    pub(crate) fn write_then<R, T, E>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<R, E> + Send + 'static,
        then: impl FnOnce(R) -> T + Send + 'static,
    ) -> Answer<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        if self.is_only_read() {
            let _ = sender.send(Err(StoreError::DiskFull.into()));
            return Answer::coming(Submitted::Yes, receiver);
        }
        let fail_at = self.inner.fail_at.clone();
        let submitted = self.inner.writer.submit(Box::new(move |connection| {
            let result = connection.map_err(E::from).and_then(|connection| run_write(connection, &fail_at, work));
            // The caller may have gone; the work is done all the same.
            let _ = sender.send(result.map(then));
        }));
        Answer::coming(submitted, receiver)
    }

    /// Runs `work` in one read transaction, on what was committed last.
    pub(crate) fn read<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static) -> Answer<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let submitted = self.inner.readers.submit(Box::new(move |connection| {
            let _ = sender.send(connection.map_err(E::from).and_then(|connection| run_read(connection, work)));
        }));
        Answer::coming(submitted, receiver)
    }

    /// As [`Self::read`], on the writer's connection and in its turn: after a commit its pages are still in memory, where a reader's are
    /// stale and are decrypted again. For small questions that follow most writes.
    pub(crate) fn read_after_write<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Answer<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let lane = if self.is_only_read() { &self.inner.readers } else { &self.inner.writer };
        let submitted = lane.submit(Box::new(move |connection| {
            let _ = sender.send(connection.map_err(E::from).and_then(|connection| run_read(connection, work)));
        }));
        Answer::coming(submitted, receiver)
    }

    /// The next writes fail at a step of the caller's choice: for tests that walk through all of them.
    pub(crate) fn fail_at(&self) -> &FailAt {
        &self.inner.fail_at
    }

    /// Waits for the jobs already submitted, closes the connections and lets the profile go: it may be opened again at once. Later jobs
    /// get [`StoreError::Closed`].
    pub(crate) fn close(&self) {
        self.end(StoreError::Closed);
    }

    /// Waits for the jobs under way, closes the connections and lets the profile go. What waits behind those jobs, and comes later, is not
    /// begun and gets [`StoreError::Paused`], until [`Self::adopt`]. Reading is broken off. Blocks the thread for as long as a transaction takes.
    pub(crate) fn pause(&self) {
        self.end(StoreError::Paused);
    }

    fn end(&self, why: StoreError) {
        // What a panic leaves behind this lock is nothing.
        let _alone = self.inner.turn.lock();
        // The writer last and alone: it writes the log back, which two that end at once leave to each other.
        self.inner.readers.end(why);
        self.inner.writer.end(why);
        drop(self.inner.lock.lock().map(|mut lock| lock.take()));
    }

    /// Opens the profile of a store that pauses once more, as it was opened before. Blocks the thread.
    pub(crate) fn reopen(&self, key: &DatabaseKey, to_come: &[String]) -> Result<Self, StoreError> {
        let directory = self.inner.directory.as_deref().ok_or(StoreError::Absent)?;
        let lock = ProfileLock::of_existing(directory)?;
        if self.is_only_read() {
            return Self::open_to_read(lock, key, self.inner.threading);
        }
        Self::open_with(lock, key, self.inner.threading, self.inner.fail_at.clone(), to_come)
    }

    /// A store that pauses goes on with what another one has opened, unless it was closed meanwhile.
    pub(crate) fn adopt(&self, opened: &Self) -> Result<(), StoreError> {
        let _alone = self.inner.turn.lock();
        if let Some(why) = self.inner.readers.has_ended().filter(|why| *why != StoreError::Paused) {
            opened.close();
            return Err(why);
        }
        self.inner.writer.adopt(&opened.inner.writer);
        self.inner.readers.adopt(&opened.inner.readers);
        if let (Ok(mut ours), Ok(mut theirs)) = (self.inner.lock.lock(), opened.inner.lock.lock()) {
            *ours = theirs.take();
        }
        Ok(())
    }

    /// Removes the files of a profile that nobody has open. Its key must be gone before.
    pub(crate) fn wipe(directory: &Path) -> Result<(), StoreError> {
        ProfileLock::of_any(directory)?.map_or(Ok(()), ProfileLock::wipe)
    }

    pub(crate) fn directory(&self) -> Option<&Path> {
        self.inner.directory.as_deref()
    }

    pub(crate) fn threading(&self) -> Threading {
        self.inner.threading
    }
}

fn run_write<T, E: From<StoreError>>(
    connection: &mut Connection,
    fail_at: &FailAt,
    work: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let mut tx = Tx::begin(connection, fail_at)?;
    let value = work(&mut tx)?;
    tx.commit()?;
    Ok(value)
}

fn run_read<T, E: From<StoreError>>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred).map_err(StoreError::from)?;
    work(&transaction)
}

/// The answer to a job that is already under way; or that was not taken.
pub(crate) struct Answer<T, E>(Option<oneshot::Receiver<Result<T, E>>>);

impl<T, E> Answer<T, E> {
    fn coming(submitted: Submitted, receiver: oneshot::Receiver<Result<T, E>>) -> Self {
        match submitted {
            Submitted::Yes => Self(Some(receiver)),
            Submitted::Not => Self(None),
        }
    }
}

impl<T, E: From<StoreError>> Future for Answer<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(receiver) = &mut self.0 else { return Poll::Ready(Err(StoreError::Busy.into())) };
        Pin::new(receiver).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(StoreError::Closed.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn opened(place: &Path, key: &DatabaseKey) -> Store {
        let lock = ProfileLock::of_new(place).unwrap();
        Store::create(&lock, key, Threading::Threads, |_| Ok::<_, StoreError>(())).await.unwrap();
        Store::open(lock, key, Threading::Threads).unwrap()
    }

    fn count(tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let sql = "INSERT INTO meta (key, value) VALUES ('count', 1) ON CONFLICT DO UPDATE SET value = value + 1";
        tx.execute(sql, []).map(drop)
    }

    async fn counted(store: &Store) -> Option<i64> {
        let sql = "SELECT value FROM meta WHERE key = 'count'";
        store.read(|view| view.one(sql, [], |row| row.get(0))).await.unwrap()
    }

    #[tokio::test]
    async fn what_has_begun_when_the_store_pauses_is_done_and_what_waits_is_told_that_it_is_not() {
        let place = tempfile::tempdir().unwrap();
        let key = DatabaseKey::from_bytes([7; 32]);
        let store = opened(place.path(), &key).await;
        let (began, is_begun) = std::sync::mpsc::channel::<()>();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let first = store.write(move |tx| {
            drop(began);
            let _ = held.recv();
            count(tx)
        });
        let _ = is_begun.recv();
        let waiting: Vec<_> = (0..10).map(|_| store.write(count)).collect();
        let pausing = std::thread::spawn({
            let store = store.clone();
            move || store.pause()
        });
        while store.read(|_| Ok::<_, StoreError>(())).await.is_ok() {}
        drop(release);
        pausing.join().unwrap();
        assert_eq!(first.await, Ok(()));
        for answer in waiting {
            assert_eq!(answer.await, Err(StoreError::Paused));
        }
        assert_eq!(store.write(count).await, Err(StoreError::Paused));
        // Nobody has it: another one opens it, and meanwhile it cannot be had again.
        let other = Store::open(ProfileLock::of_existing(place.path()).unwrap(), &key, Threading::Threads).unwrap();
        assert_eq!(counted(&other).await, Some(1));
        assert_eq!(store.reopen(&key, &[]).map(drop).unwrap_err(), StoreError::ProfileInUse);
        other.close();
        store.adopt(&store.reopen(&key, &[]).unwrap()).unwrap();
        assert_eq!(store.write(count).await, Ok(()));
        assert_eq!(counted(&store).await, Some(2));
        store.pause();
        let late = store.reopen(&key, &[]).unwrap();
        store.close();
        assert_eq!(store.adopt(&late), Err(StoreError::Closed));
        assert_eq!(ProfileLock::of_existing(place.path()).map(drop), Ok(()), "what came too late is closed");
    }

    #[tokio::test]
    async fn reading_is_broken_off_when_the_store_pauses() {
        let place = tempfile::tempdir().unwrap();
        let store = opened(place.path(), &DatabaseKey::from_bytes([7; 32])).await;
        let (began, is_begun) = std::sync::mpsc::channel::<()>();
        let endless = store.read(move |view| {
            drop(began);
            let sql = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT max(n) FROM n";
            view.one(sql, [], |row| row.get::<_, i64>(0))
        });
        let _ = is_begun.recv();
        store.pause();
        assert_eq!(endless.await, Err(StoreError::Paused));
    }

    #[tokio::test]
    async fn a_writer_that_has_too_much_to_do_says_so_and_does_what_it_took() {
        let place = tempfile::tempdir().unwrap();
        let key = DatabaseKey::from_bytes([7; 32]);
        let store = opened(place.path(), &key).await;
        let (began, is_begun) = std::sync::mpsc::channel::<()>();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let first = store.write(move |_| {
            drop(began);
            let _ = held.recv();
            Ok::<_, StoreError>(())
        });
        let _ = is_begun.recv();
        let taken: Vec<_> = (0..lane::JOBS_MAX).map(|_| store.write(count)).collect();
        assert_eq!(store.write(count).await, Err(StoreError::Busy));
        drop(release);
        first.await.unwrap();
        for answer in taken {
            answer.await.unwrap();
        }
        assert_eq!(store.write(count).await, Ok(()), "there is room again");
        assert_eq!(counted(&store).await, Some(lane::JOBS_MAX as i64 + 1));
        store.close();
    }
}
