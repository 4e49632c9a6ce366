//! Where the store's steps run: on a writer's thread and two readers', or inline on the caller.
//!
//! Invariants: what waits for a thread is bounded in steps and, for the writer, in bytes; a step that writes is carried out whether
//! or not its caller waits, one that reads only while somebody does; a reader outlives a step that panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::commit::{Message, Step, Writer, serve};
use super::open::{OpenError, SqliteOptions, connect};
use super::{Answer, Denied};
use crate::limits::{READER_CACHE_KIB, READER_QUEUE_MAX, READERS, WRITER_QUEUE_MAX};

/// See the file's story.
pub(crate) enum Lane {
    Inline(Box<Mutex<Writer>>),
    Threads(Threads),
}

/// A step that only reads.
pub(crate) type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// The threads; they end when this is dropped.
pub(crate) struct Threads {
    writer: Option<SyncSender<Message>>,
    readers: Option<SyncSender<ReadJob>>,
    reading: Vec<JoinHandle<()>>,
    writing: Option<JoinHandle<()>>,
}

/// Reads on this thread.
pub(crate) fn read_now<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Step<T>) -> Result<T, Denied> {
    work(connection).unwrap_or_else(|error| {
        tracing::error!("a read failed: {error}");
        Err(Denied::Unavailable)
    })
}

impl Threads {
    pub(crate) fn start(writer: Writer, options: &SqliteOptions) -> Result<Self, OpenError> {
        let mut threads = Self { writer: None, readers: None, reading: Vec::new(), writing: None };
        let (queue, jobs) = mpsc::sync_channel::<ReadJob>(READER_QUEUE_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..READERS {
            let connection = connect(options, READER_CACHE_KIB)?;
            connection.pragma_update(None, "query_only", true)?;
            let jobs = Arc::clone(&jobs);
            let thread = std::thread::Builder::new().name(format!("reader-{number}"));
            threads.reading.push(thread.spawn(move || serve_reads(&connection, &jobs))?);
        }
        threads.readers = Some(queue);
        let (queue, messages) = mpsc::sync_channel(WRITER_QUEUE_MAX);
        let thread = std::thread::Builder::new().name("writer".to_owned());
        threads.writing = Some(thread.spawn(move || serve(writer, &messages))?);
        threads.writer = Some(queue);
        Ok(threads)
    }

    /// Sends it to the writer; `false` when too much waits there.
    pub(crate) fn write(&self, message: Message) -> bool {
        self.writer.as_ref().is_some_and(|queue| queue.try_send(message).is_ok())
    }

    /// Sends a step to whichever reader is free next.
    pub(crate) fn read<T, R>(&self, work: R) -> Answer<T>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> Step<T> + Send + 'static,
    {
        let (reply, receiver) = oneshot::channel();
        let job: ReadJob = Box::new(move |connection| {
            // What a reader would do for a caller who went away, it does for those who did not.
            if !reply.is_closed() {
                drop(reply.send(read_now(connection, work)));
            }
        });
        match self.readers.as_ref().map(|queue| queue.try_send(job)) {
            Some(Ok(())) => Answer::coming(receiver),
            _ => Answer::ready(Err(Denied::Unavailable)),
        }
    }
}

impl Drop for Threads {
    /// Waits until everything queued is done and every connection is closed, the writer's last: SQLite takes the log away with the last
    /// one, and leaves it lying when two close at the same moment.
    fn drop(&mut self) {
        self.readers = None;
        for thread in self.reading.drain(..) {
            drop(thread.join());
        }
        self.writer = None;
        if let Some(thread) = self.writing.take() {
            drop(thread.join());
        }
    }
}

fn serve_reads(connection: &Connection, jobs: &Mutex<Receiver<ReadJob>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            // Its caller is told "not now" by the reply that the panic drops; without this two bad steps would end all reading.
            Ok(job) => {
                if catch_unwind(AssertUnwindSafe(|| job(connection))).is_err() {
                    tracing::error!("a read ended by a bug");
                }
            }
            Err(_) => return,
        }
    }
}
