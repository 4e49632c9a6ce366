//! What the engine's tasks are at, for those who wait until everything is dealt with. Nothing here decides anything.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sotto_protocol::RelayAddress;
use tokio::sync::Notify;

use crate::contact::ContactRow;
use crate::error::RELAY_REFUSED;
use crate::peer::DeviceRow;
use crate::records::LETTER_REFUSED;

/// Who is doing something.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Doing {
    Courier(DeviceRow),
    Clerk(RelayAddress),
    Stream(RelayAddress),
    /// What the relay says of us on its stream, which goes on.
    Witness(RelayAddress),
    /// A copy becomes another device.
    Rebirth,
    /// Somebody's chain is read, or ours.
    Reading(ContactRow),
}

/// What every task is at, and how much has moved.
#[derive(Default)]
pub(crate) struct Status {
    doing: Mutex<BTreeMap<Doing, State>>,
    changed: Notify,
    received: AtomicU64,
    sent: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// At it.
    Working,
    /// Failed since the last network hint, and waits to try again.
    Failing(&'static str),
    /// A stream that has delivered everything that waited.
    Drained,
}

impl Status {
    fn set(&self, doing: Doing, state: Option<State>) {
        if let Ok(mut all) = self.doing.lock() {
            match state {
                Some(state) => all.insert(doing, state),
                None => all.remove(&doing),
            };
        }
        self.progressed();
    }

    pub(crate) fn working(&self, doing: Doing) {
        self.set(doing, Some(State::Working));
    }

    pub(crate) fn failed(&self, doing: Doing, code: &'static str) {
        self.set(doing, Some(State::Failing(code)));
    }

    pub(crate) fn drained(&self, relay: &RelayAddress) {
        self.set(Doing::Stream(relay.clone()), Some(State::Drained));
    }

    pub(crate) fn ended(&self, doing: Doing) {
        self.set(doing, None);
    }

    /// What failed before a hint is tried again, and not failing until it fails again. What a relay said it has said until its stream
    /// begins anew.
    pub(crate) fn new_round(&self) {
        if let Ok(mut all) = self.doing.lock() {
            all.retain(|doing, state| matches!(doing, Doing::Witness(_)) || !matches!(state, State::Failing(_)));
        }
    }

    /// All tasks have ended.
    pub(crate) fn all_ended(&self) {
        if let Ok(mut all) = self.doing.lock() {
            all.clear();
        }
        self.progressed();
    }

    pub(crate) fn progressed(&self) {
        self.changed.notify_waiters();
    }

    pub(crate) fn received(&self, count: usize) {
        self.received.fetch_add(count as u64, Ordering::Relaxed);
        self.progressed();
    }

    pub(crate) fn sent(&self, count: usize) {
        self.sent.fetch_add(count as u64, Ordering::Relaxed);
        self.progressed();
    }

    /// Messages received and letters sent since the engine opened.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    pub(crate) fn of(&self, doing: &Doing) -> Option<State> {
        self.doing.lock().ok().and_then(|all| all.get(doing).copied())
    }

    /// What everybody is at, at one moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot(self.doing.lock().map(|all| all.clone()).unwrap_or_default())
    }

    /// Ready when anything changed after the call.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }
}

/// What every task was at, at one moment: whoever asks twice may hear of two.
pub(crate) struct Snapshot(BTreeMap<Doing, State>);

impl Snapshot {
    /// Whether it has nothing more to do for now.
    pub(crate) fn is_over(&self, doing: &Doing) -> bool {
        matches!(self.0.get(doing), Some(State::Drained | State::Failing(_)))
    }

    /// Whether any list is still read for the first time since the last hint.
    pub(crate) fn is_reading(&self) -> bool {
        self.0.iter().any(|(doing, state)| matches!((doing, state), (Doing::Reading(_), State::Working)))
    }

    /// Own relays that fail, with the code of the error.
    pub(crate) fn failing_relays(&self) -> Vec<(RelayAddress, &'static str)> {
        self.failing(|doing| match doing {
            Doing::Clerk(relay) | Doing::Stream(relay) | Doing::Witness(relay) => Some(relay.clone()),
            Doing::Courier(_) | Doing::Rebirth | Doing::Reading(_) => None,
        })
    }

    /// Devices whose letters do not get away, likewise.
    pub(crate) fn failing_devices(&self) -> Vec<(DeviceRow, &'static str)> {
        let mut failing = self.failing(|doing| match doing {
            Doing::Courier(device) => Some(*device),
            Doing::Clerk(_) | Doing::Stream(_) | Doing::Witness(_) | Doing::Rebirth | Doing::Reading(_) => None,
        });
        // Whatever a letter needs there, their list or their prekeys, is refused like the letter.
        for (_, code) in &mut failing {
            if *code == RELAY_REFUSED {
                *code = LETTER_REFUSED;
            }
        }
        failing
    }

    fn failing<T>(&self, wanted: impl Fn(&Doing) -> Option<T>) -> Vec<(T, &'static str)> {
        let failing = self.0.iter().filter_map(|(doing, state)| match state {
            State::Failing(code) => Some((wanted(doing)?, *code)),
            State::Working | State::Drained => None,
        });
        failing.collect()
    }
}
