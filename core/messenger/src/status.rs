//! What the engine's tasks are at, for those who wait until everything is dealt with. Nothing here decides anything.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sotto_protocol::RelayAddress;
use tokio::sync::Notify;

use crate::contact::ContactRow;
use crate::error::RELAY_REFUSED;
use crate::events::{Event, Events};
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
pub(crate) struct Status {
    doing: Mutex<BTreeMap<Doing, State>>,
    /// Why our relays are not read, each until it answers again: trying again is no end of the trouble.
    troubles: Mutex<BTreeMap<RelayAddress, &'static str>>,
    events: Arc<Events>,
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
    pub(crate) fn new(events: Arc<Events>) -> Self {
        Self {
            doing: Mutex::default(),
            troubles: Mutex::default(),
            events,
            changed: Notify::new(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    fn set(&self, doing: Doing, state: Option<State>) {
        match (&doing, state) {
            (Doing::Stream(relay), Some(State::Failing(code))) => self.is_in_trouble(relay, code),
            (Doing::Stream(relay), None) => self.is_well(relay),
            _ => {}
        }
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

    fn is_in_trouble(&self, relay: &RelayAddress, code: &'static str) {
        let before = self.troubles.lock().ok().and_then(|mut all| all.insert(relay.clone(), code));
        if before != Some(code) {
            self.events.tell(Event::ConnectionsChanged);
        }
    }

    /// A relay of ours answers, or is no longer read.
    pub(crate) fn is_well(&self, relay: &RelayAddress) {
        if self.troubles.lock().is_ok_and(|mut all| all.remove(relay).is_some()) {
            self.events.tell(Event::ConnectionsChanged);
        }
    }

    /// Why a relay of ours is not read.
    pub(crate) fn trouble(&self, relay: &RelayAddress) -> Option<&'static str> {
        self.troubles.lock().ok().and_then(|all| all.get(relay).copied())
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
        if self.troubles.lock().is_ok_and(|mut all| !std::mem::take(&mut *all).is_empty()) {
            self.events.tell(Event::ConnectionsChanged);
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
