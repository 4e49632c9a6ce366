//! Sotto's engine: one account on one device, from the database to the network.
//!
//! Everything that is said is stored before it is sent, sent until the other device has confirmed it, and acknowledged only once it is
//! stored there: [`Messenger`] is the handle, [`World`] what it runs on.
//!
//! - [`messenger`](Messenger): the public API; [`records`]: what it returns; [`error`]: what can go wrong, by remedy
//! - [`world`]: network, time, chance and keystore as traits; [`net`]: the real network
//! - [`subscriptions`]: lists and pages that are kept up to date
//! - `keystore`: names of secrets; `store`: the database; `state`: ratchets and secrets sealed inside it; `generation`, `witness`, `second_copy`: told from an older copy
//! - `own`, `prekey`: this account's identity, chains and prekeys; `admission`: what relays ask of new users; `contact`, `peer`, `manifests`: others'
//! - `handshake`: invites, requests, answers; `conversation`: what was said; `receipts`, `settings`: what is told of it, and set; `healing`: what is missing of it
//! - `search`: the words of what was said
//! - `outbox`, `task`: what still has to leave; `forgetful`: what a relay is told again; `receive`, `stream`: what comes in; `session`, `seal`: the keys of both
//! - `live`: what is told and heard only while it holds
//! - `engine`: the tasks and how they wake each other (`clerk`, `upkeep` and those of `outbox` and `stream`); `status`: what they are at; `redate`: dates of a
//!   clock that was wrong
//! - [`danger`]: tools for tests and benchmarks alone
//!
//! Not here yet: groups, attachments, expiry, the ceremony that adds a device to an account.

pub mod accounts;
mod admission;
mod clerk;
mod contact;
mod conversation;
pub mod danger;
mod engine;
pub mod error;
mod events;
mod forgetful;
mod generation;
mod handshake;
mod healing;
mod keystore;
mod live;
mod manifests;
mod messenger;
pub mod net;
mod outbox;
mod own;
mod peer;
mod prekey;
mod profile;
mod rebirth;
mod receipts;
mod receive;
pub mod records;
mod redate;
mod relay_client;
mod relay_clocks;
mod seal;
mod search;
mod second_copy;
mod session;
mod settings;
mod state;
mod status;
mod store;
mod stream;
pub mod subscriptions;
mod task;
mod upkeep;
mod watched;
mod witness;
pub mod world;

pub use error::{Error, InputError, InviteError};
pub use events::Event;
pub use handshake::InviteOptions;
pub use messenger::{DeviceKind, Messenger, NewProfile, Salvaged, World};
pub use relay_client::{Problem, RelayError};
pub use sotto_crypto::safety::SafetyNumber;
pub use sotto_protocol as protocol;
pub use store::{StoreError, Threading};
