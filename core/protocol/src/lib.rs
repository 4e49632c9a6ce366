//! What crosses a wire: the messages, ids, padding, codes and limits that devices and relays agree on.
//!
//! No I/O and no keys: hashes, labels and signature inputs are here because both ends of the relay need them, signing and
//! encrypting are in `sotto-crypto` and in the relay. `proto/*.proto` and `docs/protocol.md` are the contract; this crate is their
//! Rust form.
//!
//! - [`relay`], [`identity`], [`letter`]: the generated messages
//! - [`ids`], [`Timestamp`]: newtypes for all that could be swapped by mistake
//! - [`decode`]: the one way to turn foreign bytes into a message
//! - [`label`]: domain-separated hashing and signature inputs
//! - [`address`]: relay addresses and names; [`request`]: paths and the `authorization` header
//! - [`header`], [`padding`]: the outside of an envelope
//! - [`invite`]: the link; [`name`]: what people call themselves
//! - [`limits`]: every bound, with its reason

pub mod address;
pub mod decode;
pub mod header;
pub mod ids;
pub mod invite;
pub mod label;
pub mod limits;
pub mod name;
pub mod padding;
pub mod request;
mod time;
mod version;
pub mod work;

pub use address::{RelayAddress, RelayName};
pub use bytes::Bytes;
pub use ids::{
    AccountId, Alias, ChainId, ClaimId, ConversationId, DeviceId, EnvelopeId, InboxId, KeyId, MessageId, Token,
    TokenHash,
};
pub use prost::Message;
pub use time::Timestamp;
pub use version::{PROTOCOL_VERSION, VersionGap, Versions};

#[expect(
    missing_docs,
    unreachable_pub,
    clippy::doc_markdown,
    reason = "generated; the documentation is in the .proto files"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/wire.rs"));
}

/// Manifests, prekeys, cards: generated from `identity.proto`.
pub use wire::sotto::identity::v1 as identity;
/// Device and device: generated from `letter.proto`.
pub use wire::sotto::letter::v1 as letter;
/// Device and relay: generated from `relay.proto`.
pub use wire::sotto::relay::v1 as relay;
