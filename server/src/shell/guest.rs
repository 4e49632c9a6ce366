//! A connection's place, what is under way on it, and when it has to go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::{CallKind, ConnectionId};
use super::door::Door;
use super::network::Origin;
use super::turns::Share;

/// A connection's place; given back when the last user of it is gone.
pub(crate) struct Guest {
    pub(crate) door: Arc<Door>,
    pub(crate) origin: Origin,
    pub(crate) id: ConnectionId,
    pub(crate) handshakes: Share,
    /// Told when one of its calls had to make room for another.
    pub(crate) sent_away: Arc<Notify>,
    is_stream: AtomicBool,
    /// Whether it counts among the streams with an inbox.
    is_attached: AtomicBool,
    calls: Mutex<Calls>,
}

/// What is under way on it.
struct Calls {
    next_number: u64,
    /// By when each answer must have been taken; `None` while there is no answer yet.
    open: BTreeMap<u64, Option<Instant>>,
    active_at: Instant,
}

impl Guest {
    pub(crate) fn new(door: Arc<Door>, origin: Origin, id: ConnectionId, handshakes: Share) -> Self {
        let calls = Mutex::new(Calls { next_number: 0, open: BTreeMap::new(), active_at: Instant::now() });
        let (is_stream, is_attached) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { door, origin, id, handshakes, sent_away: Arc::default(), is_stream, is_attached, calls }
    }

    pub(crate) fn witness(&self, kind: CallKind) {
        if let Some(witness) = &self.door.witness {
            witness.saw(self.id, kind);
        }
    }

    /// From now on the stream looks after itself.
    pub(crate) fn become_stream(&self) {
        self.is_stream.store(true, Ordering::Relaxed);
    }

    /// An inbox is attached on it, or none any more. Told by its stream alone, one after the other.
    pub(crate) fn set_attached(&self, is_attached: bool) {
        match (self.is_attached(), is_attached) {
            (false, true) => self.is_attached.store(self.door.attach(self.origin), Ordering::Relaxed),
            (true, false) => {
                self.door.detach(self.origin);
                self.is_attached.store(false, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.is_attached.load(Ordering::Relaxed)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once nothing has happened for the idle timeout.
    pub(crate) async fn idle(&self) {
        loop {
            let (due, is_busy) = {
                let calls = self.calls();
                (calls.active_at + self.door.limits.idle_timeout, !calls.open.is_empty())
            };
            if is_busy || self.is_stream.load(Ordering::Relaxed) {
                sleep(self.door.limits.idle_timeout).await;
            } else if due <= Instant::now() {
                return;
            } else {
                sleep_until(due).await;
            }
        }
    }

    /// Ready once an answer has not been taken for the answer timeout, or up to twice as long.
    pub(crate) async fn overdue(&self) {
        loop {
            let earliest = self.calls().open.values().flatten().min().copied();
            match earliest {
                None => sleep(self.door.limits.answer_timeout).await,
                Some(due) if due <= Instant::now() => return,
                Some(due) => sleep_until(due).await,
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.set_attached(false);
        self.door.let_out(self.origin);
    }
}

/// A call: from its headers until its answer has been taken, or its connection is gone.
pub(crate) struct Call {
    guest: Arc<Guest>,
    number: u64,
}

impl Call {
    pub(crate) fn begin(guest: &Arc<Guest>) -> Self {
        let mut calls = guest.calls();
        let number = calls.next_number;
        calls.next_number += 1;
        calls.open.insert(number, None);
        drop(calls);
        Self { guest: Arc::clone(guest), number }
    }

    /// There is an answer: from now on it is the peer's turn.
    pub(crate) fn is_answered(&self) {
        let due = Instant::now() + self.guest.door.limits.answer_timeout;
        self.guest.calls().open.insert(self.number, Some(due));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut calls = self.guest.calls();
        calls.open.remove(&self.number);
        calls.active_at = Instant::now();
    }
}
