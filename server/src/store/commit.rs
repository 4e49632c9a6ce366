//! Group commit: one writer, many callers, one sync for all who came together.
//!
//! A batch takes everything that waits, up to 256 envelopes; while it is being synced the next one gathers. When the batch before it
//! was shared, the writer waits up to 2 ms for company, otherwise not at all. Acknowledgements, for which nobody waits, travel
//! with the next batch, and each inbox's only as its newest. A batch that fails is undone whole; then each of its steps is tried by
//! itself, acknowledgements first, and each caller is told what became of its own.
//! Invariants: nobody hears of a success before the commit has been synced; observers hear after the commit; **an I/O error while
//! writing or syncing ends the process**, because after a failed sync nobody can say what is on the disk and a second sync would
//! lie. Restarting reads back what is there. A full disk, a quota, or a limit on the size of files is no such error: it is told to the
//! callers and passes: the reserve is given back, what removes is carried out in parts that it has room for, what adds is denied until
//! the reserve can be made again (`reserve.rs`).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, ffi};
use sotto_protocol::InboxId;
use tokio::sync::oneshot;

use super::fleeting::Fleeting;
use super::ledger::Ledger;
use super::open::OpenError;
use super::reserve::{self, Reserve};
use super::seen::SeenDays;
use super::sure_time::SureTime;
use super::transaction::{Sql, Steps, Tx, unsigned};
use super::{AckSignature, Arrival, Denied, MailObserver, Mailbox};
use crate::limits::{
    ACKNOWLEDGE_WAIT, BATCH_BYTES_MAX, BATCH_WAIT, BATCH_WEIGHT_MAX, CHECKPOINT_STEPS, GROWTH_SLACK_BYTES,
    SWEEP_ENVELOPES, SWEEP_ENVELOPES_FULL, StoreBounds, WRITER_QUEUE_BYTES_MAX,
};

/// Ends the process; a simulation ends the relay instead.
pub type Crash = Arc<dyn Fn(&str) + Send + Sync>;

/// Everything a step may use. Its methods are the steps themselves, in the files named after what they change.
pub(crate) struct Batch<'a> {
    pub(crate) tx: Tx<'a>,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) seen: &'a mut SeenDays,
    pub(crate) sure_time: &'a mut Option<SureTime>,
    pub(crate) fleeting: &'a mut Fleeting,
    pub(crate) news: &'a mut News,
    pub(crate) bounds: &'a StoreBounds,
    /// Envelopes that one step removes where it may leave some for the next.
    pub(crate) removed_max: u32,
}

/// A step's result: an error undoes the whole batch, a denial only says that this step changed nothing.
pub(crate) type Step<T> = Sql<Result<T, Denied>>;

/// What observers are told after the commit.
#[derive(Default)]
pub(crate) struct News {
    pub(crate) arrived: Vec<Arrival>,
    pub(crate) deleted: Vec<InboxId>,
}

/// A step that waits for the writer, and whoever waits for the step.
pub(crate) trait Job: Send {
    fn weight(&self) -> usize;
    /// The bytes that it adds to the database; `None`: it removes, or writes nothing to speak of.
    fn growth(&self) -> Option<usize>;
    fn run(&mut self, batch: &mut Batch<'_>) -> Sql<()>;
    /// On a full disk: removes a part of what it removes, and says whether more is left that [`Self::run`] might have no room for.
    fn run_part(&mut self, _: &mut Batch<'_>) -> Sql<bool> {
        Ok(false)
    }
    fn finish(self: Box<Self>, is_committed: bool);
}

pub(crate) struct TypedJob<W, T> {
    pub(crate) weight: usize,
    pub(crate) growth: Option<usize>,
    /// Run again when the batch that it was in was undone because of another.
    pub(crate) work: W,
    pub(crate) result: Option<Result<T, Denied>>,
    pub(crate) reply: oneshot::Sender<Result<T, Denied>>,
    pub(crate) queued: Queued,
}

/// Bytes that wait for the writer.
#[derive(Clone, Default)]
pub(crate) struct QueuedBytes(Arc<AtomicUsize>);

/// One step's share of them; given back when it is dropped.
pub(crate) struct Queued(Arc<AtomicUsize>, usize);

impl QueuedBytes {
    /// `None` when that is too much.
    pub(crate) fn add(&self, bytes: usize) -> Option<Queued> {
        let queued = Queued(Arc::clone(&self.0), bytes);
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        (before + bytes <= WRITER_QUEUE_BYTES_MAX).then_some(queued)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl<W, T> Job for TypedJob<W, T>
where
    W: FnMut(&mut Batch<'_>) -> Step<T> + Send,
    T: Send,
{
    fn weight(&self) -> usize {
        self.weight
    }

    fn growth(&self) -> Option<usize> {
        self.growth
    }

    fn run(&mut self, batch: &mut Batch<'_>) -> Sql<()> {
        self.result = Some((self.work)(batch)?);
        Ok(())
    }

    fn finish(self: Box<Self>, is_committed: bool) {
        drop(self.queued);
        let result = self.result.filter(|_| is_committed).unwrap_or(Err(Denied::Unavailable));
        // A caller that went away does not mind.
        drop(self.reply.send(result));
    }
}

/// The one owner of the writing connection.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) ledger: Ledger,
    pub(crate) seen: SeenDays,
    /// `None`: to be read.
    pub(crate) sure_time: Option<SureTime>,
    pub(crate) fleeting: Fleeting,
    pub(crate) steps: Steps,
    pub(crate) bounds: StoreBounds,
    pub(crate) observer: Arc<OnceLock<Arc<dyn MailObserver>>>,
    pub(crate) crash: Crash,
    /// Steps when the log was last moved into the main file.
    pub(crate) checkpointed_at: u64,
    /// Set by the crash of a writer whose process did not end with it: nothing is accepted any more.
    pub(crate) is_dead: bool,
    pub(crate) reserve: Option<Reserve>,
    /// There is no reserve, or the log waits for room: only what removes is carried out.
    pub(crate) is_full: bool,
    /// How large the main file may become.
    pub(crate) main_max: u64,
}

impl Writer {
    /// Runs all jobs in one transaction and tells every caller.
    pub(crate) fn run_batch(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        self.recover();
        if jobs.iter().any(|job| job.growth().is_some()) {
            self.refuse_growth(jobs);
        }
        let was_full = self.is_full;
        if !self.is_dead && self.commit(jobs) {
            for job in jobs.drain(..) {
                job.finish(true);
            }
        } else {
            // Each by itself: one bad step, or one too large for the disk, must not fail those that came with it.
            let is_alone = jobs.len() == 1;
            for mut job in jobs.drain(..) {
                // Room that was made by the failure is for those that remove.
                let has_room = job.growth().is_none() || !self.is_full;
                let is_worth_it = has_room && (!is_alone || self.is_full != was_full);
                let is_committed = is_worth_it && !self.is_dead && self.commit(std::slice::from_mut(&mut job));
                job.finish(is_committed);
            }
        }
        if !self.is_dead && self.steps.count >= self.checkpointed_at.saturating_add(CHECKPOINT_STEPS) {
            self.checkpointed_at = self.steps.count;
            self.checkpoint(PASSIVE);
        }
        self.bound_log();
    }

    fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> bool {
        if self.is_full {
            while !self.is_dead && self.attempt(jobs, Part::Some) == Some(true) {
                self.bound_log();
            }
        }
        !self.is_dead && self.attempt(jobs, Part::Whole).is_some()
    }

    /// One transaction; `None`: nothing of it was kept.
    fn attempt(&mut self, jobs: &mut [Box<dyn Job>], part: Part) -> Option<bool> {
        let mut news = News::default();
        match self.transact(jobs, part, &mut news) {
            Ok(has_more) => {
                self.ledger.trim();
                self.announce(news);
                Some(has_more)
            }
            Err(error) => {
                // Before the rollback, which may fail in its own way.
                let severity = self.severity(&error);
                self.undo();
                self.judge(severity, &error, "a commit failed");
                if severity == Severity::Passing && !self.is_dead {
                    // Acknowledgements and sweeps make room, and need room in the log themselves.
                    self.run_dry();
                }
                None
            }
        }
    }

    fn transact(&mut self, jobs: &mut [Box<dyn Job>], part: Part, news: &mut News) -> Sql<bool> {
        self.steps.next()?;
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let tx = Tx { connection: &self.connection, steps: &mut self.steps };
        let mut batch = Batch {
            tx,
            ledger: &mut self.ledger,
            seen: &mut self.seen,
            sure_time: &mut self.sure_time,
            fleeting: &mut self.fleeting,
            news,
            bounds: &self.bounds,
            removed_max: if self.is_full { SWEEP_ENVELOPES_FULL } else { SWEEP_ENVELOPES },
        };
        let mut has_more = false;
        for job in jobs {
            match part {
                Part::Whole => job.run(&mut batch)?,
                Part::Some => has_more |= job.run_part(&mut batch)?,
            }
        }
        batch.ledger.settle(&mut batch.tx)?;
        self.steps.next()?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(has_more)
    }

    fn undo(&mut self) {
        self.ledger.clear();
        self.seen.forget();
        self.sure_time = None;
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            self.judge(self.severity(&error), &error, "a rollback failed");
        }
    }

    fn announce(&self, news: News) {
        let Some(observer) = self.observer.get() else { return };
        if !news.arrived.is_empty() {
            observer.mail_arrived(news.arrived);
        }
        if !news.deleted.is_empty() {
            observer.inboxes_deleted(&news.deleted);
        }
    }

    /// Runs a checkpoint; `false` when readers were in the way or the disk is full.
    pub(crate) fn checkpoint(&mut self, sql: &str) -> bool {
        let is_done = self.move_log(sql) == Moved::Done;
        if is_done {
            self.measure();
        }
        is_done
    }

    fn move_log(&mut self, sql: &str) -> Moved {
        let moved =
            self.steps.checkpoint().and_then(|()| self.connection.query_row(sql, [], |row| row.get::<_, bool>(0)));
        match moved {
            Ok(true) => Moved::InTheWay,
            Ok(false) => Moved::Done,
            Err(error) => {
                let severity = self.severity(&error);
                self.judge(severity, &error, "a checkpoint failed");
                if severity == Severity::Passing { Moved::NoRoom } else { Moved::Failed }
            }
        }
    }

    /// Moves the log of the last run into the main file, or makes sure of it where it stands when only room is missing.
    pub(crate) fn begin(&mut self, database: Option<&Path>) -> Result<(), OpenError> {
        let mut moved = self.move_log(TRUNCATE);
        if moved == Moved::NoRoom
            && let Some(reserve) = &self.reserve
        {
            reserve.give_back();
            moved = self.move_log(TRUNCATE);
        }
        match (moved, database) {
            (Moved::Done, _) => {}
            (Moved::NoRoom, Some(database)) => {
                tracing::warn!(
                    "the disk is full: the log of the last run stays where it is, mail is delivered, none is accepted"
                );
                reserve::write_log_again(database).map_err(|error| {
                    tracing::error!("the log of the last run cannot be written again: {error}");
                    OpenError::LogNotEmptied
                })?;
                self.is_full = true;
                return Ok(());
            }
            _ => return Err(OpenError::LogNotEmptied),
        }
        self.is_full = self.reserve.as_ref().is_some_and(|reserve| !reserve.make());
        if self.is_full {
            tracing::warn!("the disk is full: mail is delivered, none is accepted");
        }
        self.measure();
        Ok(())
    }

    /// After a write that found no room: gives the reserve back for those that remove.
    fn run_dry(&mut self) {
        let Some(reserve) = &self.reserve else {
            self.checkpoint(PASSIVE);
            return;
        };
        if !self.is_full {
            tracing::warn!("the disk is full: mail is delivered, none is accepted until there is room again");
        }
        reserve.give_back();
        self.is_full = true;
        if self.log_fits() {
            self.checkpoint(TRUNCATE);
        }
    }

    /// Ends what [`Self::run_dry`] began, or the start on a full disk, once there is room.
    fn recover(&mut self) {
        if !self.is_full || self.is_dead {
            return;
        }
        let log = self.reserve.as_ref().map_or(1, Reserve::log);
        if log > 0 && !(self.log_fits() && self.checkpoint(TRUNCATE)) {
            return;
        }
        if self.reserve.as_ref().is_none_or(Reserve::make) {
            tracing::info!("there is room on the disk again");
            self.is_full = false;
            self.measure();
        }
    }

    /// Tells those that would make the database grow to come back, when it must not.
    fn refuse_growth(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let growth = jobs.iter().filter_map(|job| job.growth()).sum::<usize>() as u64;
        if !self.is_full && !self.has_room(growth) {
            // What others freed on the disk meanwhile counts too.
            self.measure();
        }
        if self.is_full || !self.has_room(growth) {
            for job in std::mem::take(jobs) {
                if job.growth().is_some() { job.finish(false) } else { jobs.push(job) }
            }
        }
    }

    /// Whether the main file has room for so much, most of it on pages of its own. One that cannot say has: writing will tell.
    fn has_room(&self, growth: u64) -> bool {
        if self.reserve.is_none() {
            return true;
        }
        let (Some(size), Some(pages), Some(unused)) =
            (self.measured("page_size"), self.measured("page_count"), self.measured("freelist_count"))
        else {
            return true;
        };
        let room = self.main_max.saturating_sub(pages * size) + unused * size;
        room >= GROWTH_SLACK_BYTES + 2 * growth
    }

    fn measured(&self, name: &str) -> Option<u64> {
        self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(unsigned).ok()
    }

    /// Whether the disk has room for what moving the log adds to the main file: what surely fails is not tried for every caller.
    fn log_fits(&self) -> bool {
        let Some(reserve) = &self.reserve else { return true };
        match (self.measured("page_size"), self.measured("page_count")) {
            (Some(size), Some(pages)) => reserve.has_room_for_main(size * pages),
            _ => true,
        }
    }

    /// Empties a log that became too long for the reserve, and at once while there is none.
    fn bound_log(&mut self) {
        let Some(reserve) = &self.reserve else { return };
        let (log, log_max) = (reserve.log(), if self.is_full { 0 } else { reserve.log_max() });
        if log > log_max && !self.is_dead && self.log_fits() {
            self.checkpoint(TRUNCATE);
        }
    }

    /// Looks how large the main file may become, and whether the reserve may be larger.
    fn measure(&mut self) {
        if let Some(reserve) = &self.reserve {
            if !self.is_full {
                reserve.make();
            }
            self.main_max = reserve.main_max();
        }
    }

    fn severity(&self, error: &rusqlite::Error) -> Severity {
        severity(error, io::Error::from_raw_os_error(sotto_cipher::system_error(&self.connection)).kind())
    }

    /// Ends the process on an error after which the disk cannot be trusted.
    fn judge(&mut self, severity: Severity, error: &rusqlite::Error, what: &str) {
        match severity {
            Severity::Passing => tracing::warn!("{what}: there is no room; nothing was kept"),
            Severity::Bug => tracing::error!("{what}: {error}"),
            Severity::Crash => {
                self.is_dead = true;
                (self.crash)(&format!("{what}: {error}; stopping, because the disk can no longer be trusted"));
            }
        }
    }
}

/// How much of a job a transaction carries out.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    Some,
}

/// What became of the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moved {
    Done,
    /// Readers were.
    InTheWay,
    NoRoom,
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Severity {
    /// There is no room.
    Passing,
    Bug,
    Crash,
}

/// `system` is what the operating system said, if this is a failure that it had a part in.
fn severity(error: &rusqlite::Error, system: io::ErrorKind) -> Severity {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return Severity::Bug };
    match failure.code {
        ErrorCode::DiskFull => Severity::Passing,
        // SQLite knows a disk without room by one number only. A quota and a limit on a file's size have others, and like it they refuse
        // a write before it has changed anything. Never asked of a sync: what failed to reach the disk there may be anything.
        ErrorCode::SystemIoFailure
            if failure.extended_code == ffi::SQLITE_IOERR_WRITE
                && matches!(
                    system,
                    io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull
                ) =>
        {
            Severity::Passing
        }
        // The index of the log is a file too, and growing it is no write that anybody relies on.
        ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Severity::Passing,
        ErrorCode::SystemIoFailure => Severity::Crash,
        _ => Severity::Bug,
    }
}

/// What the writer's thread is sent.
pub(crate) enum Message {
    Job(Box<dyn Job>),
    Acknowledge(Acknowledgement),
    /// Move the log into the main file and empty it.
    Checkpoint(oneshot::Sender<Result<(), Denied>>),
}

/// Everything up to a sequence number, by its owner's word.
#[derive(Clone, Copy)]
pub(crate) struct Acknowledgement {
    pub(crate) mailbox: Mailbox,
    pub(crate) sequence: u64,
    pub(crate) signature: AckSignature,
}

/// Acknowledgements on their way: nobody waits for them, so they travel with whatever comes next.
impl Job for Vec<Acknowledgement> {
    fn weight(&self) -> usize {
        self.len()
    }

    fn growth(&self) -> Option<usize> {
        None
    }

    fn run(&mut self, batch: &mut Batch<'_>) -> Sql<()> {
        for acknowledgement in self {
            batch.acknowledge(*acknowledgement)?;
        }
        Ok(())
    }

    fn run_part(&mut self, batch: &mut Batch<'_>) -> Sql<bool> {
        for acknowledgement in self {
            if batch.remove_acknowledged(acknowledgement)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One that could not be kept is covered by the next, which is cumulative.
    fn finish(self: Box<Self>, _: bool) {}
}

/// The writer's thread, until every sender is gone.
pub(crate) fn serve(mut writer: Writer, messages: &Receiver<Message>) {
    let fuse = Fuse(Arc::clone(&writer.crash));
    let mut gathering = Gathering::default();
    while gathering.gather(messages) {
        if !gathering.jobs.is_empty() {
            writer.run_batch(&mut gathering.jobs);
        }
        for reply in gathering.checkpoints.drain(..) {
            let is_done = writer.checkpoint(TRUNCATE);
            let done = if is_done { Ok(()) } else { Err(Denied::Unavailable) };
            reply.send(done).ok();
        }
    }
    writer.checkpoint(TRUNCATE);
    std::mem::forget(fuse);
}

/// Moves what no reader needs any more.
const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
/// Moves everything and empties the file.
pub(crate) const TRUNCATE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// What goes into the next batch.
#[derive(Default)]
struct Gathering {
    jobs: Vec<Box<dyn Job>>,
    checkpoints: Vec<oneshot::Sender<Result<(), Denied>>>,
    /// The highest of each inbox: it says all that the others said.
    acknowledgements: BTreeMap<Mailbox, Acknowledgement>,
    /// When those must go even without company.
    acknowledge_by: Option<Instant>,
    weight: usize,
    bytes: usize,
    /// Whether the last batch had more than one caller.
    was_shared: bool,
}

impl Gathering {
    /// Waits for work and takes what belongs into one batch; `false` once every sender is gone and nothing is left.
    fn gather(&mut self, messages: &Receiver<Message>) -> bool {
        self.weight = 0;
        self.bytes = 0;
        let is_open = self.await_first(messages);
        let deadline = Instant::now() + if self.was_shared { BATCH_WAIT } else { Duration::ZERO };
        while is_open && self.weight < BATCH_WEIGHT_MAX && self.bytes < BATCH_BYTES_MAX && self.checkpoints.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match messages.recv_timeout(left) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        self.was_shared = self.jobs.len() > 1;
        if !self.acknowledgements.is_empty() {
            self.acknowledge_by = None;
            let all: Vec<_> = std::mem::take(&mut self.acknowledgements).into_values().collect();
            // First: who asks for a position is told what was acknowledged before.
            self.jobs.insert(0, Box::new(all));
        }
        is_open || !self.jobs.is_empty()
    }

    /// Waits until there is a reason for a batch.
    fn await_first(&mut self, messages: &Receiver<Message>) -> bool {
        while self.jobs.is_empty() && self.checkpoints.is_empty() && self.acknowledgements.len() < BATCH_WEIGHT_MAX {
            let received = match self.acknowledge_by {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => messages.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            };
            match received {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Job(job) => {
                self.weight += job.weight().max(1);
                self.bytes += job.growth().unwrap_or_default();
                self.jobs.push(job);
            }
            Message::Acknowledge(acknowledgement) => {
                self.weight += 1;
                self.acknowledge_by.get_or_insert_with(|| Instant::now() + ACKNOWLEDGE_WAIT);
                let highest = self.acknowledgements.entry(acknowledgement.mailbox).or_insert(acknowledgement);
                if acknowledgement.sequence > highest.sequence {
                    *highest = acknowledgement;
                }
            }
            Message::Checkpoint(reply) => self.checkpoints.push(reply),
        }
    }
}

/// A writer that panicked would leave a relay that accepts connections and answers nothing.
struct Fuse(Crash);

impl Drop for Fuse {
    fn drop(&mut self) {
        (self.0)("the writer stopped by a bug");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_a_write_without_room_passes_and_a_sync_that_failed_ends_the_process_whatever_the_reason() {
        let failure = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        for system in full {
            assert_eq!(severity(&failure(ffi::SQLITE_FULL), system), Severity::Passing);
            assert_eq!(severity(&failure(ffi::SQLITE_IOERR_WRITE), system), Severity::Passing, "{system}");
            for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC, ffi::SQLITE_IOERR_READ] {
                assert_eq!(severity(&failure(code), system), Severity::Crash, "{system}");
            }
        }
        for system in [io::ErrorKind::Other, io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            assert_eq!(severity(&failure(ffi::SQLITE_IOERR_WRITE), system), Severity::Crash, "{system}");
        }
    }
}
