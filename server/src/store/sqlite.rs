//! The embedded store: one SQLite file in WAL mode with synchronous=FULL, written by one connection.
//!
//! It runs in one of two ways with the same code below. In production a thread owns the writing connection and two more read; in a
//! simulation or a test every step runs inline on the caller, on one connection, and every answer is there at once.
//! Invariants: secure_delete is on, so that a deleted row leaves zeros, and [`MailboxStore::checkpoint`] empties the log; opening
//! moves a log left by a kill into the main file before anything is answered, or, when only room is missing for that, writes it again
//! where it stands, so that nothing read from a page cache after a failed sync is taken for stored.
//! Not here: how the file is opened (`open.rs`), where steps run (`lanes.rs`), what the steps do (`inboxes.rs`, `tokens.rs`, `prekeys.rs`, `chains.rs`, `envelopes.rs`, `sweep.rs`), how they are
//! committed together (`commit.rs`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use sotto_protocol::{Bytes, ChainId, InboxId, Timestamp, TokenHash};
use tokio::sync::oneshot;

use super::commit::{Acknowledgement, Batch, Job, Message, QueuedBytes, Step, TRUNCATE, TypedJob, Writer};
use super::fleeting::Fleeting;
use super::lanes::{Lane, Threads, read_now};
use super::ledger::Ledger;
use super::open::{OpenError, Running, SqliteOptions, connect, no_room, prepare_schema};
use super::reserve::Reserve;
use super::seen::SeenDays;
use super::sweep::Swept;
use super::transaction::Steps;
use super::{
    AckSignature, Answer, Caller, ChainSlice, ClaimRequest, Claimed, Creation, Denied, Glimpse, Head, InboxKeys,
    MailObserver, Mailbox, MailboxStore, Owner, Page, Position, PrekeyChange, PrekeysPut, PublicKey, Put, PutOutcome,
    TokenGrant, WaitingPage, chains, envelopes,
};
use crate::limits::WRITER_CACHE_KIB;

/// See the file's story.
pub struct SqliteStore {
    lane: Lane,
    observer: Arc<OnceLock<Arc<dyn MailObserver>>>,
    queued: QueuedBytes,
}

impl SqliteStore {
    /// Opens or creates a store.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        let reserve = (options.path.as_ref().filter(|_| options.reserve_bytes > 0))
            .map(|path| Reserve::new(path, options.reserve_bytes));
        if let Some(reserve) = reserve.as_ref().filter(|reserve| !reserve.has_room_to_open()) {
            reserve.give_back();
        }
        let mut connection = connect(&options, WRITER_CACHE_KIB).map_err(no_room)?;
        prepare_schema(&connection).map_err(no_room)?;
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
            fleeting: Fleeting::default(),
            steps: Steps { count: 0, hook: options.step_hook.clone() },
            bounds: options.bounds.clone(),
            observer: Arc::clone(&observer),
            crash: Arc::clone(&options.crash),
            checkpointed_at: 0,
            is_dead: false,
            reserve,
            is_full: false,
            main_max: u64::MAX,
        };
        writer.begin(options.path.as_deref())?;
        let lane = match (options.running, &options.path) {
            (Running::Inline, _) => Lane::Inline(Box::new(Mutex::new(writer))),
            (Running::Threads, None) => return Err(OpenError::MemoryNeedsInline),
            (Running::Threads, Some(_)) => Lane::Threads(Threads::start(writer, &options)?),
        };
        Ok(Self { lane, observer, queued: QueuedBytes::default() })
    }

    /// Queues a step that removes, or that writes nothing to speak of; `weight` is the number of envelopes in it.
    fn write<T, W>(&self, weight: usize, work: W) -> Answer<T>
    where
        T: Send + 'static,
        W: FnMut(&mut Batch<'_>) -> Step<T> + Send + 'static,
    {
        self.queue(weight, None, work)
    }

    /// Queues a step that adds `bytes` and small rows; while the disk is full it is denied.
    fn grow<T, W>(&self, weight: usize, bytes: usize, work: W) -> Answer<T>
    where
        T: Send + 'static,
        W: FnMut(&mut Batch<'_>) -> Step<T> + Send + 'static,
    {
        self.queue(weight, Some(bytes), work)
    }

    /// It is carried out also when its caller goes away meanwhile.
    fn queue<T, W>(&self, weight: usize, growth: Option<usize>, work: W) -> Answer<T>
    where
        T: Send + 'static,
        W: FnMut(&mut Batch<'_>) -> Step<T> + Send + 'static,
    {
        let (reply, receiver) = oneshot::channel();
        let Some(queued) = self.queued.add(growth.unwrap_or_default()) else {
            return Answer::ready(Err(Denied::Unavailable));
        };
        let job: Box<dyn Job> = Box::new(TypedJob { weight, growth, work, result: None, reply, queued });
        match &self.lane {
            Lane::Inline(writer) => {
                writer.lock().unwrap_or_else(PoisonError::into_inner).run_batch(&mut vec![job]);
                Answer::coming(receiver)
            }
            Lane::Threads(threads) if threads.write(Message::Job(job)) => Answer::coming(receiver),
            Lane::Threads(_) => Answer::ready(Err(Denied::Unavailable)),
        }
    }

    /// Queues a step that only reads.
    pub(crate) fn read<T, R>(&self, work: R) -> Answer<T>
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
            Lane::Threads(threads) => threads.read(work),
        }
    }
}

impl MailboxStore for SqliteStore {
    fn observe(&self, observer: Arc<dyn MailObserver>) {
        drop(self.observer.set(observer));
    }

    fn create_inbox(&self, caller: Caller, inbox: InboxId, keys: InboxKeys, creation: Creation) -> Answer<()> {
        self.grow(1, 0, move |batch| batch.create_inbox(&caller, &inbox, &keys, creation))
    }

    fn delete_inbox(&self, caller: Caller, inbox: InboxId) -> Answer<()> {
        self.write(1, move |batch| batch.delete_inbox(&caller, &inbox))
    }

    fn replace_manage_key(&self, caller: Caller, inbox: InboxId, manage: PublicKey) -> Answer<u64> {
        self.grow(1, 0, move |batch| batch.replace_manage_key(&caller, &inbox, manage))
    }

    fn put_tokens(&self, caller: Caller, inbox: InboxId, tokens: Vec<TokenGrant>) -> Answer<u64> {
        self.grow(tokens.len(), 0, move |batch| batch.put_tokens(&caller, &inbox, &tokens))
    }

    fn drop_tokens(&self, caller: Caller, inbox: InboxId, hashes: Vec<TokenHash>) -> Answer<u64> {
        self.write(hashes.len(), move |batch| batch.drop_tokens(&caller, &inbox, &hashes))
    }

    fn put_prekeys(&self, caller: Caller, inbox: InboxId, change: PrekeyChange) -> Answer<PrekeysPut> {
        let bytes = change.bundle.iter().chain(&change.one_time).map(Bytes::len).sum();
        self.grow(1 + change.one_time.len(), bytes, move |batch| batch.put_prekeys(&caller, &inbox, &change))
    }

    fn claim_prekey(&self, request: ClaimRequest, now: Timestamp) -> Answer<Claimed> {
        self.grow(1, 0, move |batch| batch.claim_prekey(&request, now))
    }

    fn append_chain(
        &self,
        caller: Caller,
        chain: ChainId,
        previous: Bytes,
        entry: Bytes,
        creation: Creation,
    ) -> Answer<Head> {
        self.grow(1, entry.len(), move |batch| batch.append_chain(&caller, &chain, &previous, &entry, creation))
    }

    fn compact_chain(&self, caller: Caller, chain: ChainId, head: Bytes, snapshot: Bytes) -> Answer<Head> {
        self.grow(1, snapshot.len(), move |batch| batch.compact_chain(&caller, &chain, &head, &snapshot))
    }

    fn delete_chain(&self, caller: Caller, chain: ChainId) -> Answer<()> {
        self.write(1, move |batch| batch.delete_chain(&caller, &chain))
    }

    fn read_chain(&self, chain: ChainId, from: u64) -> Answer<ChainSlice> {
        self.read(move |connection| chains::read(connection, &chain, from))
    }

    fn put_envelopes(&self, puts: Vec<Put>, now: Timestamp) -> Answer<Vec<PutOutcome>> {
        self.grow(puts.len(), put_bytes(&puts), move |batch| batch.put_envelopes(&puts, now))
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

    fn acknowledge(&self, mailbox: Mailbox, sequence: u64, signature: AckSignature) {
        let acknowledgement = Acknowledgement { mailbox, sequence, signature };
        match &self.lane {
            Lane::Inline(writer) => {
                let job: Box<dyn Job> = Box::new(vec![acknowledgement]);
                writer.lock().unwrap_or_else(PoisonError::into_inner).run_batch(&mut vec![job]);
            }
            Lane::Threads(threads) => {
                // One that finds no room is covered by the next, which is cumulative.
                threads.write(Message::Acknowledge(acknowledgement));
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
                if threads.write(Message::Checkpoint(reply)) {
                    Answer::coming(receiver)
                } else {
                    Answer::ready(Err(Denied::Unavailable))
                }
            }
        }
    }
}

/// What a send holds in memory: a payload that several items carry is there once.
fn put_bytes(puts: &[Put]) -> usize {
    let payloads: BTreeMap<u32, usize> = puts.iter().map(|put| (put.payload.index, put.payload.bytes.len())).collect();
    puts.iter().map(|put| put.header.len()).sum::<usize>() + payloads.values().sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::limits::{READERS, WRITER_QUEUE_BYTES_MAX};

    fn threaded() -> (SqliteStore, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::file(directory.path().join("relay.sqlite"))).unwrap();
        (store, directory)
    }

    #[test]
    fn a1_the_connection_that_writes_syncs_every_commit() {
        let directory = tempfile::tempdir().unwrap();
        let file = SqliteOptions::file(directory.path().join("relay.sqlite")).inline();
        let store = SqliteStore::open(file).unwrap();
        let Lane::Inline(writer) = &store.lane else { panic!("it was opened inline") };
        let writer = writer.lock().unwrap();
        let pragma = |name| writer.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((pragma("synchronous"), pragma("secure_delete"), pragma("wal_autocheckpoint")), (2, 1, 0));
    }

    #[tokio::test]
    async fn reads_that_panic_cost_their_callers_only() {
        let (store, _directory) = threaded();
        for _ in 0..2 * READERS {
            assert_eq!(store.read::<(), _>(|_| panic!("a bug")).await, Err(Denied::Unavailable));
        }
        assert_eq!(store.read(|_| Ok(Ok(7))).await, Ok(7));
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_any_more_is_not_carried_out() {
        let (store, _directory) = threaded();
        let held: Vec<mpsc::Sender<()>> = (0..READERS)
            .map(|_| {
                let (release, held) = mpsc::channel::<()>();
                // Kept, or it would not be carried out itself.
                std::mem::forget(store.read(move |_| {
                    held.recv().ok();
                    Ok(Ok(()))
                }));
                release
            })
            .collect();
        let was_run = Arc::new(AtomicBool::new(false));
        let runs = Arc::clone(&was_run);
        drop(store.read(move |_| {
            runs.store(true, Ordering::SeqCst);
            Ok(Ok(()))
        }));
        drop(held);
        assert_eq!(store.read(|_| Ok(Ok(()))).await, Ok(()));
        assert!(!was_run.load(Ordering::SeqCst));
    }

    #[test]
    fn what_waits_for_the_writer_is_bounded_in_bytes() {
        let queued = QueuedBytes::default();
        let all = queued.add(WRITER_QUEUE_BYTES_MAX);
        assert!(all.is_some() && queued.add(1).is_none());
        drop(all);
        assert!(queued.add(1).is_some(), "what was refused took nothing");
    }
}
