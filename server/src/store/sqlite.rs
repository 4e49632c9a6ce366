//! The embedded store: one SQLite file in WAL mode with synchronous=FULL, written by one connection.
//!
//! It runs in one of two ways with the same code below. In production a thread owns the writing connection and two more read; in a
//! simulation or a test every step runs inline on the caller, on one connection, and every answer is there at once.
//! Invariants: secure_delete is on, so that a deleted row leaves zeros, and [`MailboxStore::checkpoint`] empties the log; opening
//! moves a log left by a kill into the main file before anything is answered, so that nothing read from a page cache after a failed
//! sync is taken for stored.
//! Not here: what the steps do (`inboxes.rs`, `tokens.rs`, `prekeys.rs`, `chains.rs`, `envelopes.rs`, `sweep.rs`), how they are
//! committed together (`commit.rs`).

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, OpenFlags};
use sotto_protocol::{Bytes, ChainId, InboxId, Timestamp, TokenHash};
use tokio::sync::oneshot;

use super::commit::{Acknowledgement, Batch, Crash, Job, Message, Step, TRUNCATE, TypedJob, Writer, serve};
use super::ledger::Ledger;
use super::seen::SeenDays;
use super::sweep::Swept;
use super::transaction::{StepHook, Steps};
use super::{
    Answer, Caller, ChainSlice, ClaimRequest, Claimed, Creation, Denied, Glimpse, Head, InboxKeys, MailObserver,
    Mailbox, MailboxStore, Owner, Page, Position, PrekeyChange, PublicKey, Put, PutOutcome, TokenGrant, WaitingPage,
    chains, envelopes,
};
use crate::limits::{READER_CACHE_KIB, READER_QUEUE_MAX, READERS, StoreBounds, WRITER_CACHE_KIB, WRITER_QUEUE_MAX};

/// The schema that this code reads and writes.
const SCHEMA_VERSION: i64 = 1;
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
    /// The file cannot be opened or is damaged.
    #[error("the database cannot be opened: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// No thread could be started.
    #[error("no thread could be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// See the file's story.
pub struct SqliteStore {
    lane: Lane,
    observer: Arc<OnceLock<Arc<dyn MailObserver>>>,
}

enum Lane {
    Inline(Box<Mutex<Writer>>),
    Threads(Threads),
}

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

struct Threads {
    writer: Option<SyncSender<Message>>,
    readers: Option<SyncSender<ReadJob>>,
    handles: Vec<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens or creates a store.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        let mut connection = connect(&options, WRITER_CACHE_KIB)?;
        prepare_schema(&connection)?;
        if let Some(hook) = options.statement_hook.clone() {
            let hear = move |event: TraceEvent<'_>| {
                if let TraceEvent::Stmt(_, text) = event {
                    hook(text);
                }
            };
            connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(hear))?;
        }
        let observer = Arc::default();
        let mut writer = Writer {
            connection,
            ledger: Ledger::default(),
            seen: SeenDays::default(),
            sure_time: None,
            steps: Steps { count: 0, hook: options.step_hook.clone() },
            bounds: options.bounds.clone(),
            observer: Arc::clone(&observer),
            crash: Arc::clone(&options.crash),
            checkpointed_at: 0,
            is_dead: false,
        };
        writer.checkpoint(TRUNCATE);
        let lane = match (options.running, &options.path) {
            (Running::Inline, _) => Lane::Inline(Box::new(Mutex::new(writer))),
            (Running::Threads, None) => return Err(OpenError::MemoryNeedsInline),
            (Running::Threads, Some(_)) => Lane::Threads(Threads::start(writer, &options)?),
        };
        Ok(Self { lane, observer })
    }

    /// Queues a step that writes; `weight` is the number of envelopes in it.
    fn write<T, W>(&self, weight: usize, work: W) -> Answer<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Batch<'_>) -> Step<T> + Send + 'static,
    {
        let (reply, receiver) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(TypedJob { weight, work: Some(work), result: None, reply });
        match &self.lane {
            Lane::Inline(writer) => {
                writer.lock().unwrap_or_else(PoisonError::into_inner).run_batch(&mut vec![job]);
                Answer::coming(receiver)
            }
            Lane::Threads(threads) => match threads.writer.as_ref().map(|queue| queue.try_send(Message::Job(job))) {
                Some(Ok(())) => Answer::coming(receiver),
                _ => Answer::ready(Err(Denied::Unavailable)),
            },
        }
    }

    /// Queues a step that only reads.
    fn read<T, R>(&self, work: R) -> Answer<T>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> Step<T> + Send + 'static,
    {
        match &self.lane {
            Lane::Inline(writer) => {
                let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                Answer::ready(if writer.is_dead {
                    Err(Denied::Unavailable)
                } else {
                    read_now(&writer.connection, work)
                })
            }
            Lane::Threads(threads) => {
                let (reply, receiver) = oneshot::channel();
                let job: ReadJob = Box::new(move |connection| drop(reply.send(read_now(connection, work))));
                match threads.readers.as_ref().map(|queue| queue.try_send(job)) {
                    Some(Ok(())) => Answer::coming(receiver),
                    _ => Answer::ready(Err(Denied::Unavailable)),
                }
            }
        }
    }
}

fn read_now<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Step<T>) -> Result<T, Denied> {
    work(connection).unwrap_or_else(|error| {
        tracing::error!("a read failed: {error}");
        Err(Denied::Unavailable)
    })
}

impl Threads {
    fn start(writer: Writer, options: &SqliteOptions) -> Result<Self, OpenError> {
        let mut threads = Self { writer: None, readers: None, handles: Vec::new() };
        let (queue, jobs) = mpsc::sync_channel::<ReadJob>(READER_QUEUE_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..READERS {
            let connection = connect(options, READER_CACHE_KIB)?;
            connection.pragma_update(None, "query_only", true)?;
            let jobs = Arc::clone(&jobs);
            let thread = std::thread::Builder::new().name(format!("reader-{number}"));
            threads.handles.push(thread.spawn(move || serve_reads(&connection, &jobs))?);
        }
        threads.readers = Some(queue);
        let (queue, messages) = mpsc::sync_channel(WRITER_QUEUE_MAX);
        let thread = std::thread::Builder::new().name("writer".to_owned());
        threads.handles.push(thread.spawn(move || serve(writer, &messages))?);
        threads.writer = Some(queue);
        Ok(threads)
    }
}

impl Drop for Threads {
    /// Waits until everything queued is done and every connection is closed.
    fn drop(&mut self) {
        self.readers = None;
        self.writer = None;
        for handle in self.handles.drain(..) {
            drop(handle.join());
        }
    }
}

fn serve_reads(connection: &Connection, jobs: &Mutex<Receiver<ReadJob>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(connection),
            Err(_) => return,
        }
    }
}

fn connect(options: &SqliteOptions, cache_kib: u32) -> Result<Connection, OpenError> {
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
    Ok(connection)
}

fn prepare_schema(connection: &Connection) -> Result<(), OpenError> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, application) = (pragma("user_version")?, pragma("application_id")?);
    match (version, application) {
        (SCHEMA_VERSION, APPLICATION_ID) => Ok(()),
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

fn is_empty(connection: &Connection) -> Result<bool, OpenError> {
    Ok(connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))? == 0)
}

impl MailboxStore for SqliteStore {
    fn observe(&self, observer: Arc<dyn MailObserver>) {
        drop(self.observer.set(observer));
    }

    fn create_inbox(&self, caller: Caller, inbox: InboxId, keys: InboxKeys, creation: Creation) -> Answer<()> {
        self.write(1, move |batch| batch.create_inbox(&caller, &inbox, &keys, creation))
    }

    fn delete_inbox(&self, caller: Caller, inbox: InboxId) -> Answer<()> {
        self.write(1, move |batch| batch.delete_inbox(&caller, &inbox))
    }

    fn replace_manage_key(&self, caller: Caller, inbox: InboxId, manage: PublicKey) -> Answer<()> {
        self.write(1, move |batch| batch.replace_manage_key(&caller, &inbox, manage))
    }

    fn put_tokens(&self, caller: Caller, inbox: InboxId, tokens: Vec<TokenGrant>) -> Answer<()> {
        self.write(tokens.len(), move |batch| batch.put_tokens(&caller, &inbox, &tokens))
    }

    fn drop_tokens(&self, caller: Caller, inbox: InboxId, hashes: Vec<TokenHash>) -> Answer<()> {
        self.write(hashes.len(), move |batch| batch.drop_tokens(&caller, &inbox, &hashes))
    }

    fn put_prekeys(&self, caller: Caller, inbox: InboxId, change: PrekeyChange, now: Timestamp) -> Answer<u32> {
        self.write(1 + change.one_time.len(), move |batch| batch.put_prekeys(&caller, &inbox, &change, now))
    }

    fn claim_prekey(&self, request: ClaimRequest, now: Timestamp) -> Answer<Claimed> {
        self.write(1, move |batch| batch.claim_prekey(&request, now))
    }

    fn append_chain(
        &self,
        caller: Caller,
        chain: ChainId,
        previous: Bytes,
        entry: Bytes,
        creation: Creation,
    ) -> Answer<Head> {
        self.write(1, move |batch| batch.append_chain(&caller, &chain, &previous, &entry, creation))
    }

    fn compact_chain(&self, caller: Caller, chain: ChainId, head: Bytes, snapshot: Bytes) -> Answer<Head> {
        self.write(1, move |batch| batch.compact_chain(&caller, &chain, &head, &snapshot))
    }

    fn delete_chain(&self, caller: Caller, chain: ChainId) -> Answer<()> {
        self.write(1, move |batch| batch.delete_chain(&caller, &chain))
    }

    fn read_chain(&self, chain: ChainId, from: u64) -> Answer<ChainSlice> {
        self.read(move |connection| chains::read(connection, &chain, from))
    }

    fn put_envelopes(&self, puts: Vec<Put>, now: Timestamp) -> Answer<Vec<PutOutcome>> {
        self.write(puts.len(), move |batch| batch.put_envelopes(&puts, now))
    }

    fn owner(&self, inbox: InboxId) -> Answer<Option<Owner>> {
        self.read(move |connection| envelopes::owner(connection, &inbox))
    }

    fn position(&self, mailbox: Mailbox) -> Answer<Option<Position>> {
        self.write(1, move |batch| batch.position(mailbox))
    }

    fn waiting(&self, mailbox: Mailbox, page: Page) -> Answer<WaitingPage> {
        self.read(move |connection| envelopes::waiting(connection, mailbox, &page).map(Ok))
    }

    fn peek(&self, key: PublicKey, inbox: InboxId, page: Page) -> Answer<Glimpse> {
        self.read(move |connection| envelopes::peek(connection, &key, &inbox, &page))
    }

    fn acknowledge(&self, mailbox: Mailbox, sequence: u64) {
        let acknowledgement = Acknowledgement { mailbox, sequence };
        match &self.lane {
            Lane::Inline(writer) => {
                let job: Box<dyn Job> = Box::new(vec![acknowledgement]);
                writer.lock().unwrap_or_else(PoisonError::into_inner).run_batch(&mut vec![job]);
            }
            Lane::Threads(threads) => {
                if let Some(queue) = &threads.writer {
                    // One that finds no room is covered by the next, which is cumulative.
                    queue.try_send(Message::Acknowledge(acknowledgement)).ok();
                }
            }
        }
    }

    fn sweep(&self, now: Timestamp, elapsed: Duration) -> Answer<Swept> {
        self.write(1, move |batch| batch.sweep(now, elapsed))
    }

    fn checkpoint(&self) -> Answer<()> {
        match &self.lane {
            Lane::Inline(writer) => {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                Answer::ready(if writer.checkpoint(TRUNCATE) { Ok(()) } else { Err(Denied::Unavailable) })
            }
            Lane::Threads(threads) => {
                let (reply, receiver) = oneshot::channel();
                match threads.writer.as_ref().map(|queue| queue.try_send(Message::Checkpoint(reply))) {
                    Some(Ok(())) => Answer::coming(receiver),
                    _ => Answer::ready(Err(Denied::Unavailable)),
                }
            }
        }
    }
}
