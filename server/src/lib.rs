//! The Sotto relay: opaque inboxes, tokens, prekeys and chains, and nothing about people.
//!
//! A relay promises: what it accepted is on stable storage or was acknowledged by its recipient; nothing is given out twice under
//! one sequence number; who may not gets the same answer as who asks for what is not there. It knows no accounts, names, keys of
//! people, contacts, groups or senders.
//!
//! - [`Relay`]: a call in, an answer out, without sockets; [`StreamSession`]: the stream, likewise
//! - [`store`]: the storage trait and the embedded SQLite
//! - [`shell`]: HTTP, WebSocket and TLS around it, and the binary's entry [`shell::run`]
//! - [`inspect`]: everything a relay knows, for people to read
//! - [`limits`]: every bound, with its reason
//!
//! Not here yet, and with a place of their own beside [`store::MailboxStore`]: blobs (a `BlobStore` for attachments) and push
//! endpoints (a `WakeUp`, told after a commit, as the hub is).

mod auth;
mod chain;
mod config;
mod hub;
mod inbox;
pub mod inspect;
pub mod limits;
mod metrics;
mod policy;
mod prekey;
mod problem;
mod relay;
pub mod retention;
mod send;
pub mod shell;
pub mod store;
mod stream;
mod token;

/// Named so that SQLite finds its cryptography; the relay's own database is not encrypted: what it holds is.
use sotto_cipher as _;

pub use auth::Request;
pub use metrics::Metrics;
pub use policy::InboxPolicy;
pub use problem::{Problem, Response};
pub use relay::{Relay, RelayConfig};
pub use stream::{StreamEnd, StreamSession};
