//! Olm, by vodozemac, used carefully: the double ratchet under every letter.
//!
//! - `olm/account.rs`: a device's identity and prekeys, sessions in and out
//! - `olm/session.rs`: one ratchet between two inboxes
//! - `olm/message.rs`: what a ratchet makes
//!
//! Invariants: session config version 1 (the stable one). No step changes anything in place: [`OlmAccount::accept`] and
//! [`OlmSession::decrypt`] answer with the state after it, and the caller stores that or drops it, so a failure leaves nothing half
//! done and no ratchet lives in memory across transactions. Keys that contribute nothing are refused. State is stored by `state.rs`,
//! never by vodozemac's own pickle encryption, which is deterministic.
//!
//! Not here: which session to send on, tombstones, waiting for holes to close (the engine), and any key forwarding or key import.

mod account;
mod message;
mod session;
#[cfg(test)]
mod tests;

pub use account::{Accepted, LastResortKey, OlmAccount, OneTimeKey, PrekeyUsed};
pub use message::{OlmMessage, inner_hash};
pub use session::{OlmSession, SessionId};

use sotto_protocol::decode::DecodeError;
use vodozemac::olm::SessionConfig;

pub(crate) const CONFIG: SessionConfig = SessionConfig::version_1();

/// Why an Olm message is refused, or no session begins.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OlmError {
    /// Not an Olm message of the stable version.
    #[error("malformed Olm message: {0}")]
    Malformed(#[from] DecodeError),
    /// A prekey message of another session.
    #[error("the prekey message begins another session")]
    WrongSession,
    /// It does not authenticate under this session.
    #[error("the Olm message does not authenticate")]
    BadMessage,
    /// Its key was used already, or forgotten: a replay, or too late.
    #[error("the key of message {index} is gone")]
    MissingKey {
        /// Place in its chain.
        index: u64,
    },
    /// It skips more than vodozemac follows.
    #[error("the message skips {gap} others")]
    TooFarAhead {
        /// How many.
        gap: u64,
    },
    /// A prekey message to a one-time key that is not there: used already, or never ours.
    #[error("the one-time key is not there")]
    MissingOneTimeKey,
    /// A prekey message from another identity than the sender's manifest lists.
    #[error("the message is from another identity key")]
    WrongIdentity,
    /// A key that contributes nothing to the secret.
    #[error("a key contributes nothing")]
    NonContributory,
    /// A normal message where only a prekey message can begin a session.
    #[error("not a prekey message")]
    NotAPrekeyMessage,
}
