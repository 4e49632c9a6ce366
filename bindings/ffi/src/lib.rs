//! Sotto for Kotlin and Swift: `sotto-core` in the words that UniFFI can carry.
//!
//! Only translates: ids cross as hex, times as milliseconds, errors as what the caller can do about them with a stable code. Whatever
//! decides something about messages is in the core.
//! Invariants: what an asynchronous export begins is begun with the first poll, and then runs on this library's own runtime to its end, even when
//! the caller's side of it is dropped (a subscription's `next` changes nothing, and ends with whoever waits for it); the platform's keystore is
//! asked on one of that runtime's threads, never on the caller's; nothing is called `close`, which the generated classes keep for themselves.
//! - `messenger`: the handle, from its making to its end; `contacts`, `messages`, `deeds`, `settings`, `verification`, `profile`, `live`, `search`: what it
//!   can do
//! - `subscriptions`: lists that are kept up to date, and events
//! - `records`, `ids`: data that crosses by value; `error`: what can go wrong
//! - `secrets`: the platform's keystore; `log`: what the library says of its own working; `runtime`: where everything runs
//!
//! Not here yet: the notification peek.

mod contacts;
mod deeds;
mod error;
mod ids;
mod live;
mod log;
mod messages;
mod messenger;
mod profile;
mod records;
mod runtime;
mod search;
mod secrets;
mod settings;
mod subscriptions;
mod verification;

pub use error::SottoError;
pub use live::{AppState, LiveSettings, LiveState, Presence};
pub use log::{LogLevel, LogRecord, LogSink, LogSinkError, set_log_sink};
pub use messenger::{Messenger, create_messenger, open_messenger, open_messenger_to_read, wipe_profile};
pub use records::{
    Account, CatchUp, ChatPlace, Chats, Contact, ContactState, Conversation, Deleted, Delivery, DeliveryState,
    DeviceKind, InviteLink, InviteOptions, Meaning, Message, MessageKind, MessageState, MessageVersion, NewProfile,
    NewText, OwnRelay, Profile, Quote, Quoted, Reaction, TextRange, TextSpan, TextStyle, Trust, UnreachableRelay,
};
pub use search::{SearchHit, SearchPage, SearchQuery, Snippet};
pub use secrets::{SecretStore, SecretStoreError};
pub use subscriptions::{ChatChange, ChatList, Event, Events, MessageChange, Timeline, TimelineChanges, TimelineStart};
pub use verification::SafetyNumber;

uniffi::setup_scaffolding!("sotto");
