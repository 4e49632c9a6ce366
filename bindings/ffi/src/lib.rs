//! Sotto for Kotlin and Swift: `sotto-core` in the words that UniFFI can carry.
//!
//! Only translates: ids cross as hex, times as milliseconds, errors as what the caller can do about them with a stable code. Whatever
//! decides something about messages is in the core.
//! Invariants: every asynchronous export runs on this library's own runtime to its end, even when the caller's side of it is dropped;
//! the platform's keystore is asked on one of that runtime's threads, never on the caller's; nothing is called `close`, which the
//! generated classes keep for themselves.
//! - `messenger`: the handle; `records`: data that crosses by value; `error`: what can go wrong
//! - `secrets`: the platform's keystore; `runtime`: where everything runs
//!
//! Not here yet: subscriptions, the notification peek.

mod error;
mod messenger;
mod records;
mod runtime;
mod secrets;

pub use error::SottoError;
pub use messenger::{Messenger, create_messenger, open_messenger, wipe_profile};
pub use records::{
    CatchUp, Contact, ContactState, Deleted, DeviceKind, InviteLink, InviteOptions, Message, MessageKind, MessageState,
    NewProfile, Trust, UnreachableRelay,
};
pub use secrets::{SecretStore, SecretStoreError};

uniffi::setup_scaffolding!("sotto");
