//! Subscriptions: what a screen shows, kept up to date.
//!
//! Each is an object that is asked for what comes next: the first answer is the whole list, each one behind it the differences since, to be
//! applied in their order. Nobody is called, so a screen that is slow, or gone, costs nothing but its last answer.
//! One at a time asks. Whoever gives up an answer that it waits for, or stops listening, drops the object and makes another one: an answer that
//! was ready and that nobody took is not given again.

use std::sync::{Arc, Mutex, PoisonError};

use sotto_core::protocol::{AccountId, Timestamp};
use sotto_core::{records, subscriptions};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use crate::error::SottoError;
use crate::messenger::Messenger;
use crate::records::{Chats, Conversation, Message, list};
use crate::runtime::{drop_elsewhere, run_while_awaited};

/// A difference of a list: one enum for each, because what crosses has no type parameters.
macro_rules! change {
    ($(#[$doc:meta])* $name:ident of $item:ty, $core:ty) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug, uniffi::Enum)]
        pub enum $name {
            /// All of it, in the place of whatever there was.
            Reset {
                /// The list.
                items: Vec<$item>,
            },
            /// Something goes.
            Remove {
                /// Where it stood.
                index: u32,
            },
            /// Something comes.
            Insert {
                /// Where it stands.
                index: u32,
                /// What it is.
                item: $item,
            },
            /// Something is otherwise, and stands where it stood.
            Update {
                /// Where.
                index: u32,
                /// How it is now.
                item: $item,
            },
        }

        impl From<subscriptions::Change<$core>> for $name {
            fn from(change: subscriptions::Change<$core>) -> Self {
                match change {
                    subscriptions::Change::Reset { items } => Self::Reset { items: list(items) },
                    subscriptions::Change::Remove { index } => Self::Remove { index },
                    subscriptions::Change::Insert { index, item } => Self::Insert { index, item: item.into() },
                    subscriptions::Change::Update { index, item } => Self::Update { index, item: item.into() },
                }
            }
        }
    };
}

change! {
    /// A difference of a chat list, to be applied to the list that those before it have left.
    ChatChange of Conversation, records::Conversation
}

change! {
    /// A difference of a timeline, to be applied to the list that those before it have left.
    MessageChange of Message, records::Message
}

/// What has changed of a timeline.
#[derive(Clone, PartialEq, Eq, Debug, uniffi::Record)]
pub struct TimelineChanges {
    /// The differences.
    pub changes: Vec<MessageChange>,
    /// Whether something stands before it.
    pub has_older: bool,
    /// Whether something stands behind it: what is said now is not seen then.
    pub has_newer: bool,
}

impl From<subscriptions::TimelineChanges> for TimelineChanges {
    fn from(changes: subscriptions::TimelineChanges) -> Self {
        let subscriptions::TimelineChanges { changes, has_older, has_newer } = changes;
        Self { changes: list(changes), has_older, has_newer }
    }
}

/// Where a timeline begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, uniffi::Enum)]
pub enum TimelineStart {
    /// At the newest message, with those before it.
    Newest,
    /// Around the first message that was not read; at the newest one, where all were.
    FirstUnread,
    /// Around a position: of a message that was found, say.
    Around {
        /// Which.
        position: i64,
    },
    /// At the first message of a time or after it, with some before it.
    Since {
        /// Which.
        time_ms: u64,
    },
}

impl From<TimelineStart> for subscriptions::Start {
    fn from(start: TimelineStart) -> Self {
        match start {
            TimelineStart::Newest => Self::Newest,
            TimelineStart::FirstUnread => Self::FirstUnread,
            TimelineStart::Around { position } => Self::Around(position),
            TimelineStart::Since { time_ms } => Self::Date(Timestamp::from_ms(time_ms)),
        }
    }
}

/// Something changed; read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, uniffi::Enum)]
pub enum Event {
    /// A message came in.
    MessageReceived {
        /// Its local number.
        number: i64,
    },
    /// A message of ours moved on, or conversations changed.
    MessagesChanged,
    /// Contacts changed.
    ContactsChanged,
    /// What a contact does right now: nothing that was stored.
    LiveChanged {
        /// Who.
        account: AccountId,
    },
    /// A relay of ours is in trouble otherwise than before, or no longer: see `relays`.
    ConnectionsChanged,
    /// Everything that was said is in the search index again: a search that was not complete can be made once more.
    SearchIndexed,
    /// More has happened than was kept for a listener this slow: read everything.
    Missed,
}

impl From<sotto_core::Event> for Event {
    fn from(event: sotto_core::Event) -> Self {
        match event {
            sotto_core::Event::MessageReceived(number) => Self::MessageReceived { number },
            sotto_core::Event::MessagesChanged => Self::MessagesChanged,
            sotto_core::Event::ContactsChanged => Self::ContactsChanged,
            sotto_core::Event::LiveChanged(account) => Self::LiveChanged { account },
            sotto_core::Event::ConnectionsChanged => Self::ConnectionsChanged,
            sotto_core::Event::SearchIndexed => Self::SearchIndexed,
        }
    }
}

/// What all of them have in common: there until it is stopped, and never dropped on the platform's thread.
struct Subscription<T: Send + Sync + 'static> {
    of: Mutex<Option<Arc<T>>>,
    is_stopped: watch::Sender<bool>,
}

impl<T: Send + Sync + 'static> Subscription<T> {
    fn new(of: T) -> Self {
        Self { of: Mutex::new(Some(Arc::new(of))), is_stopped: watch::Sender::new(false) }
    }

    fn of(&self) -> Option<Arc<T>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What comes next; nothing once it was stopped, meanwhile too.
    async fn next<R, F>(&self, ask: impl FnOnce(Arc<T>) -> F) -> Result<Option<R>, SottoError>
    where
        R: Send + 'static,
        F: Future<Output = Result<Option<R>, SottoError>> + Send + 'static,
    {
        let Some(of) = self.of() else { return Ok(None) };
        let mut is_stopped = self.is_stopped.subscribe();
        let next = ask(of);
        run_while_awaited(async move {
            tokio::select! {
                biased;
                _ = is_stopped.wait_for(|is_stopped| *is_stopped) => Ok(None),
                next = next => next,
            }
        })
        .await
    }

    fn stop(&self) {
        let of = self.of.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.is_stopped.send_replace(true);
        drop_elsewhere(of);
    }
}

impl<T: Send + Sync + 'static> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A chat list that is kept up to date for as long as this is held.
#[derive(uniffi::Object)]
pub struct ChatList(Subscription<subscriptions::ChatList>);

#[uniffi::export]
impl ChatList {
    /// The list, and each time behind that what has changed of it since: waits until something has. None: it was stopped.
    ///
    /// # Errors
    /// [`SottoError::Paused`], [`SottoError::Device`]: it may be asked again. [`SottoError::ShutDown`].
    pub async fn next(&self) -> Result<Option<Vec<ChatChange>>, SottoError> {
        self.0.next(|chats| async move { Ok(Some(list(chats.next().await?))) }).await
    }

    /// So many more are shown: they come with the next differences.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub fn more(&self, count: u32) -> Result<(), SottoError> {
        if let Some(chats) = self.0.of() {
            chats.more(count);
        }
        Ok(())
    }

    /// Ends it, whoever still holds it, and whoever waits for what comes next.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub fn stop(&self) -> Result<(), SottoError> {
        self.0.stop();
        Ok(())
    }
}

/// A conversation that is kept up to date for as long as this is held.
#[derive(uniffi::Object)]
pub struct Timeline(Subscription<subscriptions::Timeline>);

#[uniffi::export]
impl Timeline {
    /// The messages, and each time behind that what has changed of them since: waits until something has. None: it was stopped.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Paused`], [`SottoError::Device`]: it may be asked again. [`SottoError::ShutDown`].
    pub async fn next(&self) -> Result<Option<TimelineChanges>, SottoError> {
        self.0.next(|timeline| async move { Ok(Some(timeline.next().await?.into())) }).await
    }

    /// So many more before them are shown: they come with the next differences.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub fn older(&self, count: u32) -> Result<(), SottoError> {
        if let Some(timeline) = self.0.of() {
            timeline.older(count);
        }
        Ok(())
    }

    /// So many more behind them are shown.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub fn newer(&self, count: u32) -> Result<(), SottoError> {
        if let Some(timeline) = self.0.of() {
            timeline.newer(count);
        }
        Ok(())
    }

    /// Ends it, whoever still holds it, and whoever waits for what comes next.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub fn stop(&self) -> Result<(), SottoError> {
        self.0.stop();
        Ok(())
    }
}

/// What happens, for whatever is no list: contacts, live state, notifications. Ends when the messenger does.
#[derive(uniffi::Object)]
pub struct Events(Subscription<tokio::sync::Mutex<broadcast::Receiver<sotto_core::Event>>>);

#[uniffi::export]
impl Events {
    /// What happens next, since this was made. None: it was stopped, or nothing will.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub async fn next(&self) -> Result<Option<Event>, SottoError> {
        let next = |events: Arc<tokio::sync::Mutex<broadcast::Receiver<_>>>| async move {
            Ok(match events.lock().await.recv().await {
                Ok(event) => Some(Event::from(event)),
                Err(RecvError::Lagged(_)) => Some(Event::Missed),
                Err(RecvError::Closed) => None,
            })
        };
        self.0.next(next).await
    }

    /// Ends it, whoever still holds it, and whoever waits for what comes next.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub fn stop(&self) -> Result<(), SottoError> {
        self.0.stop();
        Ok(())
    }
}

#[uniffi::export]
impl Messenger {
    /// A chat list that is kept up to date: its first `count` chats, and more as they are asked for.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub fn chat_list(&self, chats: Chats, count: u32) -> Result<Arc<ChatList>, SottoError> {
        Ok(Arc::new(ChatList(Subscription::new(self.core().chat_list(chats.into(), count)))))
    }

    /// The conversation with a contact (or with oneself), kept up to date: so many messages from there, and more as they are asked for.
    ///
    /// # Errors
    /// [`SottoError::Input`] for what is no account.
    pub fn timeline(&self, with: AccountId, start: TimelineStart, count: u32) -> Result<Arc<Timeline>, SottoError> {
        Ok(Arc::new(Timeline(Subscription::new(self.core().timeline(with, start.into(), count)))))
    }

    /// What happens from now on.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub fn events(&self) -> Result<Arc<Events>, SottoError> {
        Ok(Arc::new(Events(Subscription::new(tokio::sync::Mutex::new(self.core().events())))))
    }
}
