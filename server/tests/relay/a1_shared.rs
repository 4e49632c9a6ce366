//! A1 for callers who share a commit: whatever fails in it, at whichever step, its beginning and its end included, each is told the
//! truth about its own envelope.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use sotto_relay::store::{SqliteOptions, SqliteStore, StepFate};

use crate::support::{Sent, World, dump};

const CALLERS: usize = 8;
/// Beginning and end, for each caller the memory of its envelope and the envelope, one inbox and one token: in one transaction.
const SHARED_STEPS: u64 = 2 + 2 * CALLERS as u64 + 2;
/// The same for a caller alone.
const LONE_STEPS: u64 = 2 + 2 + 2;

type Fates = Box<dyn Fn(u64) -> StepFate + Send>;

/// Holds the writer before a transaction while others queue up behind it, and decides what the steps after it meet.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    is_closed: bool,
    is_somebody_held: bool,
    steps: u64,
    fates: Option<Fates>,
}

impl Gate {
    fn pass(&self) -> StepFate {
        let mut state = self.state.lock().unwrap();
        state.is_somebody_held = state.is_closed;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| state.is_closed).unwrap();
        state.is_somebody_held = false;
        state.steps += 1;
        let step = state.steps;
        state.fates.as_ref().map_or(StepFate::Run, |fates| fates(step))
    }

    fn close(&self) {
        self.state.lock().unwrap().is_closed = true;
    }

    fn wait_until_somebody_is_held(&self) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |state| !state.is_somebody_held).unwrap());
    }

    /// `fates` are asked with the number of each step from the one that was held, which is 1.
    fn open(&self, fates: Fates) {
        let mut state = self.state.lock().unwrap();
        (state.is_closed, state.steps, state.fates) = (false, 0, Some(fates));
        self.changed.notify_all();
    }
}

/// What became of one shared batch.
struct Told {
    outcomes: Vec<Sent>,
    /// Steps of the batch and of all that was tried after it.
    steps: u64,
    crashed: bool,
    /// Envelopes on the disk, of this batch.
    kept: usize,
}

/// Lets all callers into one batch whose steps, from 1, meet `fates`.
fn share_a_batch(fates: impl Fn(u64) -> StepFate + Send + 'static) -> Told {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sqlite");
    let (gate, crashed) = (Arc::new(Gate::default()), Arc::new(AtomicBool::new(false)));
    let (hook, crash) = (Arc::clone(&gate), Arc::clone(&crashed));
    let options = SqliteOptions {
        step_hook: Some(Arc::new(move |step| if step == 0 { StepFate::Run } else { hook.pass() })),
        crash: Arc::new(move |_| crash.store(true, Ordering::SeqCst)),
        ..SqliteOptions::file(&path)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcomes = runtime.block_on(async {
        let world = World::on(Arc::new(SqliteStore::open(options).unwrap()));
        let (bob, token) = world.device_with_token().await;
        // Makes the day's table.
        assert_eq!(world.send_async(vec![world.item(&bob, &token)], b"first").await, [Sent::Accepted]);
        gate.close();
        let mut before = Box::pin(world.send_async(vec![world.item(&bob, &token)], b"second"));
        assert!(futures_util::poll!(&mut before).is_pending());
        gate.wait_until_somebody_is_held();
        let mut sends: Vec<Pin<Box<dyn Future<Output = Vec<Sent>> + '_>>> = Vec::new();
        for _ in 0..CALLERS {
            let mut send: Pin<Box<dyn Future<Output = Vec<Sent>>>> =
                Box::pin(world.send_async(vec![world.item(&bob, &token)], b"shared"));
            assert!(futures_util::poll!(&mut send).is_pending());
            sends.push(send);
        }
        gate.open(Box::new(move |step| if step <= LONE_STEPS { StepFate::Run } else { fates(step - LONE_STEPS) }));
        assert_eq!(before.await, [Sent::Accepted]);
        let mut outcomes = Vec::new();
        for send in sends {
            outcomes.extend(send.await);
        }
        outcomes
    });
    let steps = gate.state.lock().unwrap().steps - LONE_STEPS;
    let kept = dump(&path).iter().filter(|line| line.starts_with("envelope:")).count() - 2;
    Told { outcomes, steps, crashed: crashed.load(Ordering::SeqCst), kept }
}

#[test]
fn a1_callers_who_come_together_share_one_commit() {
    let told = share_a_batch(|_| StepFate::Run);
    assert_eq!(told.outcomes, [Sent::Accepted; CALLERS]);
    assert_eq!((told.steps, told.kept, told.crashed), (SHARED_STEPS, CALLERS, false));
}

#[test]
fn a1_a_full_disk_at_any_step_of_a_shared_commit_is_told_to_every_caller_and_nothing_stands() {
    for fail_at in 1..=SHARED_STEPS {
        let told = share_a_batch(move |step| if step >= fail_at { StepFate::DiskFull } else { StepFate::Run });
        assert_eq!(told.outcomes, [Sent::Busy; CALLERS], "step {fail_at}");
        assert_eq!((told.kept, told.crashed), (0, false), "step {fail_at}");
    }
}

#[test]
fn a1_a_failed_sync_at_any_step_of_a_shared_commit_is_a_crash_and_nobody_is_told_of_a_success() {
    for fail_at in 1..=SHARED_STEPS {
        let told = share_a_batch(move |step| if step == fail_at { StepFate::DiskBroken } else { StepFate::Run });
        assert_eq!(told.outcomes, [Sent::Busy; CALLERS], "step {fail_at}");
        assert_eq!((told.kept, told.crashed, told.steps), (0, true, fail_at), "step {fail_at}");
    }
}

#[test]
fn a1_one_bad_step_fails_its_own_caller_and_none_of_those_who_shared_the_commit() {
    for fail_at in [2, 7, SHARED_STEPS] {
        // Once in the batch, once more when the third is tried by itself.
        let again = fail_at + 2 * LONE_STEPS + 2;
        let told =
            share_a_batch(move |step| if step == fail_at || step == again { StepFate::Wrong } else { StepFate::Run });
        let mut expected = [Sent::Accepted; CALLERS];
        expected[2] = Sent::Busy;
        assert_eq!(told.outcomes, expected, "step {fail_at}");
        assert_eq!((told.kept, told.crashed), (CALLERS - 1, false), "step {fail_at}");
    }
}
