//! The store: one SQLCipher database, one writer, a few readers.
//!
//! Everything that must agree changes in one transaction: [`Store::write`] runs a closure inside one, on the writer's thread in
//! production and inline on the caller in simulations (a paused clock does not wait for threads). A job is handed over the moment
//! `write` is called, so a caller that drops the future loses the answer and nothing else.
//! On a disk without room a profile can still be opened to be read: nothing is written then, and every write says that the disk is full.
//! Invariants: all writes pass [`Tx::execute`]; a closure that fails leaves nothing; what cannot be read is an error, never absence.
//! Not here: what the rows mean (each table's concept has a module of its own).

use sotto_cipher as _;

pub(crate) mod column;
mod migrate;
mod open;
mod tx;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use open::OpenMode;
pub(crate) use open::{DatabaseKey, ProfileLock};
pub(crate) use tx::{FailAt, Query, Tx};
pub use tx::{StepHook, StoreStep};

/// Readers beside the writer: the chat list and a timeline may load while a batch is being received.
const READERS: usize = 2;

/// Jobs that may wait for a lane: each task of the engine has one at a time, so what is over is an app that asks faster than its disk
/// writes. It is told so, and nothing of it is kept.
const JOBS_MAX: usize = 1_024;

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
    /// The store was shut down.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
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
    /// Held until the store is closed, whoever still has a handle then.
    lock: Mutex<Option<ProfileLock>>,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The way to some threads, and the threads.
type Threads = (mpsc::SyncSender<Job>, Vec<JoinHandle<()>>);

/// Whether a lane took a job.
enum Submitted {
    Yes,
    /// Too many wait.
    Not,
}

/// Where jobs run: in order on threads of their own, or at once on the caller.
enum Lane {
    Threads(Mutex<Option<Threads>>),
    Inline(Mutex<Option<Connection>>),
}

impl Lane {
    fn inline(connection: Option<Connection>) -> Self {
        Self::Inline(Mutex::new(connection))
    }

    fn threads(name: &str, connections: Vec<Connection>) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::sync_channel::<Job>(JOBS_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::with_capacity(connections.len());
        for mut connection in connections {
            let receiver = Arc::clone(&receiver);
            let run = move || {
                loop {
                    let job = match receiver.lock() {
                        Ok(receiver) => receiver.recv(),
                        Err(_) => return,
                    };
                    match job {
                        Ok(job) => job(&mut connection),
                        Err(mpsc::RecvError) => return,
                    }
                }
            };
            threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|_| StoreError::Failed)?);
        }
        Ok(Self::Threads(Mutex::new(Some((sender, threads)))))
    }

    /// Runs the job, or drops it when the lane is closed. One that it has no room for is dropped too, and that is said.
    fn submit(&self, job: Job) -> Submitted {
        match self {
            Self::Threads(sender) => {
                if let Ok(sender) = sender.lock()
                    && let Some((sender, _)) = sender.as_ref()
                    && let Err(mpsc::TrySendError::Full(_)) = sender.try_send(job)
                {
                    return Submitted::Not;
                }
                // A closed channel drops the job, and with it the sender of its answer: the caller reads `Closed`.
            }
            Self::Inline(connection) => {
                if let Ok(mut connection) = connection.lock()
                    && let Some(connection) = connection.as_mut()
                {
                    job(connection);
                }
            }
        }
        Submitted::Yes
    }

    fn close(&self) {
        match self {
            Self::Threads(sender) => {
                let Some((sender, threads)) = sender.lock().ok().and_then(|mut sender| sender.take()) else { return };
                drop(sender);
                // SQLCipher frees its keys when the process exits: no thread may still be writing then.
                let here = std::thread::current().id();
                for thread in threads.into_iter().filter(|thread| thread.thread().id() != here) {
                    let _ = thread.join();
                }
            }
            Self::Inline(connection) => drop(connection.lock().map(|mut connection| connection.take())),
        }
    }
}

impl Store {
    /// Opens the database of a profile whose lock is held; the lock goes when the store is closed.
    pub(crate) fn open(lock: ProfileLock, key: &DatabaseKey, threading: Threading) -> Result<Self, StoreError> {
        let store = Self::open_file(&lock.database(), key, OpenMode::Existing, threading);
        let store = store.map_err(|error| lock.reason(error))?;
        store.hold(lock);
        Ok(store)
    }

    /// As [`Self::open`] on a disk without room: see [`Self::is_only_read`].
    pub(crate) fn open_to_read(lock: ProfileLock, key: &DatabaseKey, threading: Threading) -> Result<Self, StoreError> {
        let reader = open::connect_only_reader(&lock.database(), key)?;
        let readers = match threading {
            Threading::Inline => Lane::inline(Some(reader)),
            Threading::Threads => Lane::threads("sotto-reader", vec![reader])?,
        };
        let store = Self::over(Lane::inline(None), readers, true);
        store.hold(lock);
        Ok(store)
    }

    fn over(writer: Lane, readers: Lane, is_only_read: bool) -> Self {
        let fail_at = FailAt::heard_by(crate::danger::step_hook());
        let inner = Inner { writer, readers, fail_at, is_only_read, lock: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    fn hold(&self, lock: ProfileLock) {
        if let Ok(mut held) = self.inner.lock.lock() {
            *held = Some(lock);
        }
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
        let filled = match Self::open_file(&path, key, OpenMode::Create, threading) {
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

    fn open_file(path: &Path, key: &DatabaseKey, mode: OpenMode, threading: Threading) -> Result<Self, StoreError> {
        let writer = open::connect(path, key, mode)?;
        // Who fills a new database reads nothing.
        let readers = if mode == OpenMode::Create { 0 } else { READERS };
        let reader = || open::connect_reader(path, key);
        let (writer, readers) = match threading {
            Threading::Inline => (Lane::inline(Some(writer)), Lane::inline((readers > 0).then(reader).transpose()?)),
            Threading::Threads => {
                let readers = (0..readers).map(|_| reader()).collect::<Result<Vec<_>, _>>()?;
                (Lane::threads("sotto-writer", vec![writer])?, Lane::threads("sotto-reader", readers)?)
            }
        };
        Ok(Self::over(writer, readers, false))
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
            let result = run_write(connection, &fail_at, work).map(then);
            // The caller may have gone; the work is done all the same.
            let _ = sender.send(result);
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
            let _ = sender.send(run_read(connection, work));
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
            let _ = sender.send(run_read(connection, work));
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
        // The writer last and alone: it writes the log back, which two that end at once leave to each other.
        self.inner.readers.close();
        self.inner.writer.close();
        drop(self.inner.lock.lock().map(|mut lock| lock.take()));
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

    #[tokio::test]
    async fn a_writer_that_has_too_much_to_do_says_so_and_does_what_it_took() {
        let place = tempfile::tempdir().unwrap();
        let key = DatabaseKey::from_bytes([7; 32]);
        let lock = ProfileLock::of_new(place.path()).unwrap();
        Store::create(&lock, &key, Threading::Threads, |_| Ok::<_, StoreError>(())).await.unwrap();
        let store = Store::open(lock, &key, Threading::Threads).unwrap();
        let (began, is_begun) = mpsc::channel::<()>();
        let (release, held) = mpsc::channel::<()>();
        let first = store.write(move |_| {
            drop(began);
            let _ = held.recv();
            Ok::<_, StoreError>(())
        });
        let _ = is_begun.recv();
        let count = |tx: &mut Tx<'_>| {
            let sql = "INSERT INTO meta (key, value) VALUES ('count', 1) ON CONFLICT DO UPDATE SET value = value + 1";
            tx.execute(sql, []).map(drop)
        };
        let taken: Vec<_> = (0..JOBS_MAX).map(|_| store.write(count)).collect();
        assert_eq!(store.write(count).await, Err(StoreError::Busy));
        drop(release);
        first.await.unwrap();
        for answer in taken {
            answer.await.unwrap();
        }
        assert_eq!(store.write(count).await, Ok(()), "there is room again");
        let counted = store.read(|view| view.one("SELECT value FROM meta WHERE key = 'count'", [], |row| row.get(0)));
        assert_eq!(counted.await, Ok::<Option<i64>, StoreError>(Some(JOBS_MAX as i64 + 1)));
        store.close();
    }
}
