//! A value that tasks wait for changes of. They are woken in the order in which they began to wait.
//!
//! tokio's own channel for this wakes in an order that depends on how many runtimes its process has made: one seed of the simulation would
//! be one story in a process of its own, and another as one of many.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// See the file's story. Clones are the same value.
pub(crate) struct Watched<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: Mutex<Value<T>>,
    changed: Notify,
}

struct Value<T> {
    value: T,
    /// How often it was changed.
    version: u64,
}

impl<T> Inner<T> {
    /// No change ends halfway: what a panic leaves is whole.
    fn lock(&self) -> MutexGuard<'_, Value<T>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Inner { value: Mutex::new(Value { value, version: 0 }), changed: Notify::new() }))
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.0.lock().value)
    }

    /// Changes it, and wakes everybody who waits for that.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = {
            let mut inner = self.0.lock();
            inner.version += 1;
            change(&mut inner.value)
        };
        self.0.changed.notify_waiters();
        result
    }

    /// Somebody who has seen it as it is now.
    pub(crate) fn watcher(&self) -> Watcher<T> {
        Watcher { seen: self.0.lock().version, of: Arc::clone(&self.0) }
    }
}

/// Somebody who waits for changes. A clone has seen what it was cloned from has seen.
pub(crate) struct Watcher<T> {
    of: Arc<Inner<T>>,
    seen: u64,
}

impl<T> Clone for Watcher<T> {
    fn clone(&self) -> Self {
        Self { of: Arc::clone(&self.of), seen: self.seen }
    }
}

impl<T> Watcher<T> {
    /// Looks at it as it is now.
    pub(crate) fn see<R>(&mut self, read: impl FnOnce(&T) -> R) -> R {
        let inner = self.of.lock();
        self.seen = inner.version;
        read(&inner.value)
    }

    /// Ready once it has changed since it was seen last; then it was seen.
    pub(crate) async fn changed(&mut self) {
        let before = self.seen;
        loop {
            // Made before the look: what changes behind it is heard.
            let notified = self.of.changed.notified();
            let now = self.of.lock().version;
            if now != before {
                self.seen = now;
                return;
            }
            notified.await;
        }
    }

    /// Ready once it is so.
    pub(crate) async fn until(&mut self, is_so: impl Fn(&T) -> bool) {
        while !self.see(&is_so) {
            self.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn what_changed_before_the_wait_is_heard_once() {
        let watched = Watched::new(0);
        let mut watcher = watched.watcher();
        assert!(watcher.changed().now_or_never().is_none());
        watched.change(|value| *value = 1);
        watched.change(|value| *value = 2);
        assert!(watcher.changed().now_or_never().is_some());
        assert!(watcher.changed().now_or_never().is_none());
        watched.change(|value| *value = 3);
        assert_eq!(watcher.see(|value| *value), 3);
        assert!(watcher.clone().changed().now_or_never().is_none(), "it was seen");
        assert!(watcher.until(|value| *value == 4).now_or_never().is_none());
        assert!(watcher.until(|value| *value == 3).now_or_never().is_some());
    }

    #[test]
    fn whoever_waits_first_is_woken_first() {
        struct Told(usize, Arc<Mutex<Vec<usize>>>);
        impl std::task::Wake for Told {
            fn wake(self: Arc<Self>) {
                self.1.lock().unwrap().push(self.0);
            }
        }
        let watched = Watched::new(());
        let woken = Arc::<Mutex<Vec<usize>>>::default();
        let mut watchers: Vec<_> = (0..20).map(|_| watched.watcher()).collect();
        let mut waiting: Vec<_> = watchers.iter_mut().map(|watcher| Box::pin(watcher.changed())).collect();
        for (number, waiting) in waiting.iter_mut().enumerate() {
            let told = Told(number, Arc::clone(&woken));
            assert!(waiting.poll_unpin(&mut Context::from_waker(&Waker::from(Arc::new(told)))).is_pending());
        }
        watched.change(|()| ());
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }
}
