//! Where jobs run: in order on threads of their own, or at once on the caller.
//!
//! A lane that has ended says why to every job that comes, and the job to whoever waits for it.
//! Invariant: a job is run with a connection once, or told once why not; nothing is dropped without a word.

use std::sync::mpsc::{self, RecvTimeoutError, TrySendError};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};

use super::{StoreError, Threading};

/// Jobs that may wait for a lane: each task of the engine has one at a time, so what is over is an app that asks faster than its disk
/// writes. It is told so, and nothing of it is kept.
pub(super) const JOBS_MAX: usize = 1_024;

/// A statement that begins right behind an interruption is interrupted by the next.
const INTERRUPT_AGAIN: Duration = Duration::from_millis(2);

/// One piece of work on a connection, or why there is none for it.
pub(super) type Job = Box<dyn FnOnce(Result<&mut Connection, StoreError>) + Send>;

/// Whether a lane took a job.
pub(super) enum Submitted {
    Yes,
    /// Too many wait.
    Not,
}

/// See the file's story.
pub(super) struct Lane(Mutex<State>);

enum State {
    Threads(Threads),
    Inline(Connection),
    Ended(StoreError),
}

struct Threads {
    sender: mpsc::SyncSender<Job>,
    threads: Vec<JoinHandle<()>>,
    /// Why jobs that wait are not begun any more.
    verdict: Arc<OnceLock<StoreError>>,
    /// Of connections that only read: to break that off undoes nothing.
    interrupts: Vec<InterruptHandle>,
    /// Nobody sends: it closes with the last thread.
    running: mpsc::Receiver<()>,
}

impl Lane {
    /// Over these connections.
    pub(super) fn of(name: &str, connections: Vec<Connection>, threading: Threading) -> Result<Self, StoreError> {
        let state = match threading {
            Threading::Threads => State::Threads(Threads::over(name, connections)?),
            Threading::Inline => connections.into_iter().next().map_or(State::Ended(StoreError::Closed), State::Inline),
        };
        Ok(Self(Mutex::new(state)))
    }

    /// For a store that lacks it.
    pub(super) fn none() -> Self {
        Self(Mutex::new(State::Ended(StoreError::Closed)))
    }

    /// Runs the job, or tells it why not. One that it has no room for is dropped, and that is said.
    pub(super) fn submit(&self, job: Job) -> Submitted {
        // Behind a panic the job is dropped, and with it the sender of its answer: the caller reads `Closed`.
        let Ok(mut state) = self.0.lock() else { return Submitted::Yes };
        match &mut *state {
            State::Threads(threads) => {
                if let Err(TrySendError::Full(_)) = threads.sender.try_send(job) {
                    return Submitted::Not;
                }
            }
            State::Inline(connection) => job(Ok(connection)),
            State::Ended(why) => job(Err(*why)),
        }
        Submitted::Yes
    }

    /// Ends, and waits for that. [`StoreError::Closed`]: behind all jobs that it has. [`StoreError::Paused`]: behind those under way.
    pub(super) fn end(&self, why: StoreError) {
        let Ok(mut state) = self.0.lock() else { return };
        match &*state {
            // Whoever is shut down does not only pause.
            State::Ended(StoreError::Closed) => {}
            State::Ended(_) => *state = State::Ended(why),
            State::Threads(_) | State::Inline(_) => {
                let open = std::mem::replace(&mut *state, State::Ended(why));
                drop(state);
                open.close(why);
            }
        }
    }

    /// Why it has ended, if it has.
    pub(super) fn has_ended(&self) -> Option<StoreError> {
        self.0.lock().ok().and_then(|state| match &*state {
            State::Ended(why) => Some(*why),
            State::Threads(_) | State::Inline(_) => None,
        })
    }

    /// Goes on as the other, which has ended then.
    pub(super) fn adopt(&self, other: &Self) {
        if let (Ok(mut ours), Ok(mut theirs)) = (self.0.lock(), other.0.lock()) {
            *ours = std::mem::replace(&mut *theirs, State::Ended(StoreError::Closed));
        }
    }
}

impl State {
    fn close(self, why: StoreError) {
        if let Self::Threads(threads) = self {
            threads.close(why);
        }
    }
}

impl Threads {
    fn over(name: &str, connections: Vec<Connection>) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::sync_channel::<Job>(JOBS_MAX);
        let (runs, running) = mpsc::channel();
        let (receiver, verdict) = (Arc::new(Mutex::new(receiver)), Arc::new(OnceLock::new()));
        let (mut threads, mut interrupts) = (Vec::with_capacity(connections.len()), Vec::new());
        for mut connection in connections {
            if connection.pragma_query_value(None, "query_only", |row| row.get(0))? {
                interrupts.push(connection.get_interrupt_handle());
            }
            let (receiver, verdict, runs) = (Arc::clone(&receiver), Arc::clone(&verdict), mpsc::Sender::clone(&runs));
            let run = move || {
                while let Some(job) = next(&receiver) {
                    job(verdict.get().map_or(Ok(&mut connection), |why| Err(*why)));
                }
                drop(connection);
                drop(runs);
            };
            threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|_| StoreError::Failed)?);
        }
        Ok(Self { sender, threads, verdict, interrupts, running })
    }

    fn close(self, why: StoreError) {
        let Self { sender, threads, verdict, interrupts, running } = self;
        if why == StoreError::Paused {
            let _ = verdict.set(why);
        }
        drop(sender);
        if why == StoreError::Paused {
            interrupts.iter().for_each(InterruptHandle::interrupt);
            while running.recv_timeout(INTERRUPT_AGAIN) == Err(RecvTimeoutError::Timeout) {
                interrupts.iter().for_each(InterruptHandle::interrupt);
            }
        }
        // SQLCipher frees its keys when the process exits: no thread may still be writing then.
        let here = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != here) {
            let _ = thread.join();
        }
    }
}

fn next(receiver: &Mutex<mpsc::Receiver<Job>>) -> Option<Job> {
    receiver.lock().ok()?.recv().ok()
}
