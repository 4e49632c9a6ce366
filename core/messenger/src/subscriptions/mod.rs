//! Subscriptions: what a screen shows, kept up to date.
//!
//! A handle holds what it said last: the first `next` is the whole list, and each one behind it the differences to what stands in the
//! database then, as many commits as lie between. So nothing is queued for whoever is slow, and a handle that is never asked again
//! costs its window until it is dropped. It reads on a reader's connection, and nobody waits for it. A failure is said once, and behind it
//! `next` waits until something has changed, as after a pause; that the engine was shut down is said each time.
//! - `difference.rs`: from one list to another; `chats.rs`: a chat list; `accounts.rs`: those of several accounts as one; `timeline.rs`: a conversation
//!
//! Invariant: differences applied to the list before are what a query finds at the moment of the answer.
//! Not here: that something has changed at all (`Tx::has_changed_shown`).

mod accounts;
mod chats;
mod difference;
mod timeline;

pub use accounts::{AccountChat, AccountFailure, AllChats, AllChatsChanges};
pub use chats::ChatList;
pub use difference::{Change, apply};
pub use timeline::{Start, Timeline, TimelineChanges};

use crate::engine::Engine;
use crate::error::Error;
use crate::store::StoreError;
use crate::watched::Watcher;

/// Waits for the commit after which something shown is other than it was.
struct Moved {
    shown: Watcher<u64>,
    /// What was said last is that it could not be read.
    has_failed: bool,
}

impl Moved {
    fn of(engine: &Engine) -> Self {
        Self { shown: engine.shown_changes(), has_failed: false }
    }

    /// What is read from here on has seen everything up to now. Behind a failure something has to move before.
    async fn begin(&mut self) {
        if self.has_failed {
            self.shown.changed().await;
            self.has_failed = false;
        }
        self.see();
    }

    /// Says a failure, and remembers that it was said: whoever asks again and again is not told it again and again. That it is all over is said to
    /// everybody who asks.
    fn note<T>(&mut self, read: Result<T, Error>) -> Result<T, Error> {
        self.has_failed = read.as_ref().is_err_and(|error| !is_over(error));
        read
    }

    fn see(&mut self) {
        self.shown.see(|_| ());
    }

    async fn again(&mut self) {
        self.shown.changed().await;
    }
}

/// Whether nothing will ever be read any more.
fn is_over(error: &Error) -> bool {
    *error == Error::Store(StoreError::Closed)
}
