//! Events: hints to whoever listens that something changed. They are told behind the commit and carry next to nothing: the database is read.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sotto_protocol::AccountId;
use tokio::sync::broadcast;

/// Events kept for a slow listener; one that falls behind reads the database instead.
const KEPT: usize = 1_024;

/// Something changed; read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A message came in, with its local number.
    MessageReceived(i64),
    /// A message of ours moved on, or conversations changed.
    MessagesChanged,
    /// Contacts changed.
    ContactsChanged,
    /// What a contact does right now: nothing that was stored.
    LiveChanged(AccountId),
    /// A relay of ours is in trouble otherwise than before, or no longer: [`OwnRelay::trouble`](crate::OwnRelay::trouble). Nothing that was stored.
    ConnectionsChanged,
    /// Everything that was said is in the search index again: a search that was not [complete](crate::SearchPage::is_complete) can be made once more.
    SearchIndexed,
}

/// Where they are told.
pub(crate) struct Events {
    /// None: nothing is told any more.
    sender: Mutex<Option<broadcast::Sender<Event>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: Mutex::new(Some(broadcast::channel(KEPT).0)) }
    }
}

impl Events {
    /// No change ends halfway: what a panic leaves is whole.
    fn sender(&self) -> MutexGuard<'_, Option<broadcast::Sender<Event>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is told from now on; it ends with the engine.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender().as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe)
    }

    /// That nobody listens is no failure.
    pub(crate) fn tell(&self, event: Event) {
        if let Some(sender) = &*self.sender() {
            let _ = sender.send(event);
        }
    }

    /// Listeners hear that nothing comes any more.
    pub(crate) fn end(&self) {
        drop(self.sender().take());
    }
}
