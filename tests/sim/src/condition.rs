//! What a relay or a way is like at the moment, and whoever waits for it to be otherwise: woken in the order in which they began to wait, so
//! that a seed is the same story however many its process has played.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// See the file's story. Clones are the same condition.
#[derive(Clone, Default)]
pub(crate) struct Condition<T>(Arc<Inner<T>>);

#[derive(Default)]
struct Inner<T> {
    now: Mutex<T>,
    changed: Notify,
}

impl<T: Copy> Condition<T> {
    pub(crate) fn now(&self) -> T {
        *self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, now: T) {
        *self.0.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
        self.0.changed.notify_waiters();
    }

    /// Ready once it is so.
    pub(crate) async fn until(&self, is_so: impl Fn(T) -> bool) {
        loop {
            // Made before the look: what changes behind it is heard.
            let changed = self.0.changed.notified();
            if is_so(self.now()) {
                return;
            }
            changed.await;
        }
    }
}
