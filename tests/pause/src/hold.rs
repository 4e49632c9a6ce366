//! Holding a writer at a step of its database.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sotto_core::danger::{StepHook, StoreStep};
use tokio::sync::Notify;

/// Where a walk gives up: nothing here takes long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Counts the steps of a profile's database, and holds the thread that takes the one that is wanted.
#[derive(Clone, Default)]
pub(crate) struct Hold(Arc<Inner>);

#[derive(Default)]
struct Inner {
    steps: Mutex<Steps>,
    goes_on: Condvar,
    is_held: Notify,
}

#[derive(Default)]
struct Steps {
    taken: u64,
    /// 0: none.
    wanted: u64,
    held: Option<String>,
}

impl Hold {
    /// To be heard by a profile.
    pub(crate) fn hook(&self) -> StepHook {
        let hold = self.clone();
        Arc::new(move |step| {
            hold.take(step);
            true
        })
    }

    fn take(&self, step: StoreStep<'_>) {
        let mut steps = self.steps();
        steps.taken += 1;
        if steps.taken == steps.wanted {
            steps.held = Some(match step {
                StoreStep::Write(sql) => sql.split_whitespace().take(4).collect::<Vec<_>>().join(" "),
                StoreStep::Commit => "a commit".to_owned(),
                StoreStep::Committed => "behind a commit".to_owned(),
            });
            self.0.is_held.notify_one();
            let is_held = |steps: &mut Steps| steps.held.is_some();
            drop(self.0.goes_on.wait_timeout_while(steps, PATIENCE, is_held));
        }
    }

    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.0.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the `step`th is waited at.
    pub(crate) fn at(&self, step: u64) {
        *self.steps() = Steps { taken: 0, wanted: step, held: None };
    }

    /// What is held, if anything is.
    pub(crate) fn held(&self) -> Option<String> {
        self.steps().held.clone()
    }

    /// Ready when something is.
    pub(crate) async fn is_held(&self) {
        while self.held().is_none() {
            self.0.is_held.notified().await;
        }
    }

    /// Nothing is held any more.
    pub(crate) fn release(&self) {
        let mut steps = self.steps();
        steps.wanted = 0;
        steps.held = None;
        self.0.goes_on.notify_all();
    }
}
