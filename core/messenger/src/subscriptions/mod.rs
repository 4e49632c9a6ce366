//! Subscriptions: what a screen shows, kept up to date.
//!
//! A handle holds what it said last: the first `next` is the whole list, and each one behind it the differences to what stands in the
//! database then, as many commits as lie between. So nothing is queued for whoever is slow, and a handle that is never asked again
//! costs its window until it is dropped. It reads on a reader's connection, and nobody waits for it.
//! - `difference.rs`: from one list to another; `chats.rs`: a chat list; `accounts.rs`: those of several accounts as one; `timeline.rs`: a conversation
//!
//! Invariant: differences applied to the list before are what a query finds at the moment of the answer.
//! Not here: that something has changed at all (`Tx::has_changed_shown`).

mod accounts;
mod chats;
mod difference;
mod timeline;

pub use accounts::{AccountChat, AllChats};
pub use chats::ChatList;
pub use difference::{Change, apply};
pub use timeline::{Start, Timeline, TimelineChanges};

use crate::engine::Engine;
use crate::watched::Watcher;

/// Waits for the commit after which something shown is other than it was.
struct Moved(Watcher<u64>);

impl Moved {
    fn of(engine: &Engine) -> Self {
        Self(engine.shown_changes())
    }

    /// What is read from here on has seen everything up to now.
    fn begin(&mut self) {
        self.0.see(|_| ());
    }

    async fn again(&mut self) {
        self.0.changed().await;
    }
}
