//! Records: data that crosses by value, in lists, never as objects. Each mirrors one of the core's and says no more than it.
//!
//! - `account`: this account, its relays, and what became of them; `contact`: people and invites
//! - `message`: what was said; `text`: words and what stretches of them mean; `chat`: lines of a chat list; `delivery`: how far a message is
//!
//! Records that only one file's functions speak of are in that file.

mod account;
mod chat;
mod contact;
mod delivery;
mod message;
mod text;

pub use account::{Account, CatchUp, Deleted, DeviceKind, NewProfile, OwnRelay, Profile, UnreachableRelay};
pub use chat::{ChatPlace, Chats, Conversation};
pub use contact::{Contact, ContactState, InviteLink, InviteOptions, Trust};
pub use delivery::{Delivery, DeliveryState};
pub use message::{Message, MessageKind, MessageState, MessageVersion, Quote, Quoted, Reaction};
pub use text::{Meaning, NewText, TextRange, TextSpan, TextStyle};

/// A list in our records.
pub(crate) fn list<T, R: From<T>>(items: Vec<T>) -> Vec<R> {
    items.into_iter().map(R::from).collect()
}

/// A record that mirrors one of the core's, field by field.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident from $core:ty as $value:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $from:expr,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug, uniffi::Record)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl From<$core> for $name {
            fn from($value: $core) -> Self {
                Self { $($field: $from,)* }
            }
        }
    };
}

/// Mirrors one of the core's enums, variant by variant, so that a new variant there does not compile until it has a name here.
macro_rules! mirror {
    ($(#[$doc:meta])* $name:ident from $core:path { $($(#[$variant_doc:meta])* $variant:ident = $pattern:pat,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, uniffi::Enum)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl From<$core> for $name {
            fn from(value: $core) -> Self {
                match value { $($pattern => Self::$variant,)* }
            }
        }
    };
}

pub(crate) use {mirror, record};
