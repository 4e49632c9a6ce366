//! What can go wrong for a caller of the public API, split by what the caller can do about it.
//!
//! Every error has a stable code for scripts and for platforms whose bindings lose Rust's variants. None carries text, a key or an id
//! of a person.

use std::time::Duration;

use sotto_protocol::VersionGap;
use sotto_protocol::decode::DecodeError;

use crate::relay_client::RelayError;
use crate::store::StoreError;
use crate::world::{SecretStoreError, TransportError};

/// The code of a relay's refusal.
pub(crate) const RELAY_REFUSED: &str = "relay_refused";
/// The code of whatever a pause ended or kept from beginning.
const PAUSED: &str = "paused";

/// Why a call did nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The database on this device.
    #[error(transparent)]
    Store(StoreError),
    /// The keystore of this device.
    #[error(transparent)]
    SecretStore(#[from] SecretStoreError),
    /// The database is older than the keystore or a relay remembers: it was restored or copied. Ratchets must not run. It becomes another
    /// device of its account by itself, as soon as the relay of the account's list lets it.
    #[error(
        "this profile was restored from an older copy: it sends and receives once it has become a device of its own"
    )]
    RolledBack,
    /// The same, and the relay of the account's list, which alone decides who goes on, has not answered for a day, or not with that list. Where it is gone for
    /// good, it can be left: [`Messenger::remove_relay`](crate::Messenger::remove_relay), which takes the root key.
    #[error(
        "this profile was restored from an older copy, and the relay of its account's list has not shown that list for a day: {home}"
    )]
    HomeAway {
        /// That relay.
        home: sotto_protocol::RelayAddress,
    },
    /// Another copy of this profile has taken this device's place, or it was removed from its account, or that is being deleted. It can only be read.
    #[error("another copy of this profile has taken its place: it sends and receives nothing any more")]
    DeviceReplaced,
    /// This device does not hold the root key, which alone can do this.
    #[error("the root key of this account is not on this device")]
    NeedsRootKey,
    /// A relay.
    #[error(transparent)]
    Relay(RelayError),
    /// An invite.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// What a peer published is not acceptable.
    #[error("what the other side published is not acceptable: {code}")]
    Peer {
        /// Which check it failed.
        code: &'static str,
    },
    /// The caller's input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The engine pauses: [`Messenger::resume`](crate::Messenger::resume), then the same call works.
    #[error("the engine pauses")]
    Paused,
    /// The engine was shut down.
    #[error("the engine is shut down")]
    ShutDown,
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Paused => Self::Paused,
            error => Self::Store(error),
        }
    }
}

impl From<RelayError> for Error {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::Transport(TransportError::Paused) => Self::Paused,
            error => Self::Relay(error),
        }
    }
}

/// Why an invite link cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InviteError {
    /// It is not an invite link, or was damaged in copying.
    #[error("this is not a whole invite link: {0}")]
    Garbage(DecodeError),
    /// Its time is over.
    #[error("the invite has expired")]
    Expired,
    /// Its uses are spent, or its owner took it back. Relays do not tell which.
    #[error("the invite is used up or was taken back")]
    UsedUp,
    /// It is this account's own.
    #[error("this is your own invite")]
    Own,
    /// It was used here already, and its owner is a contact or has been asked.
    #[error("you have used this invite already")]
    AlreadyContact,
}

/// What the caller gave that cannot be meant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InputError {
    /// No such contact, conversation or message.
    #[error("no such {what}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// More than one is meant.
    #[error("more than one {what} is called that")]
    Ambiguous {
        /// What was looked for.
        what: &'static str,
    },
    /// An empty text or name.
    #[error("{what} is empty")]
    Empty {
        /// What is empty.
        what: &'static str,
    },
    /// A name that would steer a terminal or span lines.
    #[error("{what} holds a control character")]
    ControlCharacter {
        /// What holds it.
        what: &'static str,
    },
    /// A name with something in it that nobody sees, or that turns what stands around it.
    #[error("{what} holds a character that nobody sees")]
    HiddenCharacter {
        /// What holds it.
        what: &'static str,
    },
    /// Longer than allowed.
    #[error("{what} is longer than {bytes_max} bytes")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// The most that is allowed.
        bytes_max: usize,
    },
    /// A number outside what is allowed.
    #[error("{what} is out of range")]
    OutOfRange {
        /// Which number.
        what: &'static str,
    },
    /// One more of these than there may be.
    #[error("there are {count_max} {what} already, which is as many as there may be")]
    TooMany {
        /// What there would be too many of.
        what: &'static str,
        /// The most that is allowed.
        count_max: u32,
    },
    /// Not a relay address.
    #[error("not a relay address")]
    BadRelayAddress,
    /// An account reads at one relay at least.
    #[error("this is your only relay: add another one first")]
    LastRelay,
    /// The contact was verified, and has other devices since: nothing leaves to them until somebody decides.
    #[error("the keys of this verified contact have changed: look at them, then accept or remove")]
    KeysChanged,
    /// What was scanned is not what somebody shows to verify themselves to this account, or not who was meant.
    #[error("the code is not that of the contact and you")]
    WrongCode,
    /// The contact is not in a state that allows this.
    #[error("the contact {what}")]
    WrongState {
        /// Why not, as a predicate.
        what: &'static str,
    },
}

impl Error {
    /// Stable, for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => match error {
                StoreError::ProfileInUse => "profile_in_use",
                StoreError::Absent => "no_profile",
                StoreError::Exists => "profile_exists",
                StoreError::WrongKey => "wrong_key",
                StoreError::Corrupt => "database_damaged",
                StoreError::DiskFull => "disk_full",
                StoreError::TooNew => "database_too_new",
                StoreError::Busy => "database_busy",
                StoreError::Failed => "database_failed",
                StoreError::Paused => PAUSED,
                StoreError::Closed => "shut_down",
            },
            Self::SecretStore(error) => match error {
                SecretStoreError::Locked => "keystore_locked",
                SecretStoreError::WrongPassphrase => "wrong_passphrase",
                SecretStoreError::Full => "disk_full",
                SecretStoreError::Failed => "keystore_failed",
            },
            Self::RolledBack => "rolled_back",
            Self::HomeAway { .. } => "home_away",
            Self::DeviceReplaced => "device_replaced",
            Self::NeedsRootKey => "needs_root_key",
            Self::Relay(error) => match error {
                RelayError::Transport(TransportError::Unreachable) => "relay_unreachable",
                RelayError::Transport(TransportError::WrongCertificate) => "relay_certificate",
                RelayError::Transport(TransportError::TimedOut) => "relay_timed_out",
                RelayError::Transport(TransportError::Broken) => "relay_broken",
                RelayError::Transport(TransportError::Versions(VersionGap::OursIsOlder)) => "upgrade_required",
                RelayError::Transport(TransportError::Versions(VersionGap::TheirsIsOlder)) => "relay_outdated",
                RelayError::Transport(TransportError::Paused) => PAUSED,
                RelayError::Refused(_) => RELAY_REFUSED,
                RelayError::AsksForCode => "relay_asks_for_code",
                RelayError::AsksForWork { .. } => "relay_asks_for_work",
                RelayError::ClocksApart => "clocks_apart",
                RelayError::Malformed => "relay_malformed",
                RelayError::Unproven => "relay_unproven",
            },
            Self::Invite(error) => match error {
                InviteError::Garbage(_) => "invite_garbage",
                InviteError::Expired => "invite_expired",
                InviteError::UsedUp => "invite_used_up",
                InviteError::Own => "invite_own",
                InviteError::AlreadyContact => "already_contact",
            },
            Self::Peer { code } => code,
            Self::Input(error) => match error {
                InputError::NotFound { .. } => "not_found",
                InputError::Ambiguous { .. } => "ambiguous",
                InputError::Empty { .. } => "empty",
                InputError::ControlCharacter { .. } => "control_character",
                InputError::HiddenCharacter { .. } => "hidden_character",
                InputError::TooLong { .. } => "too_long",
                InputError::OutOfRange { .. } => "out_of_range",
                InputError::TooMany { .. } => "too_many",
                InputError::BadRelayAddress => "bad_relay_address",
                InputError::LastRelay => "last_relay",
                InputError::WrongState { .. } => "wrong_state",
                InputError::KeysChanged => "keys_changed",
                InputError::WrongCode => "wrong_code",
            },
            Self::Paused => PAUSED,
            Self::ShutDown => "shut_down",
        }
    }

    /// Whether the same call may succeed later, unchanged.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => {
                use StoreError::{Busy, DiskFull, Failed, Paused, ProfileInUse};
                matches!(error, ProfileInUse | DiskFull | Busy | Failed | Paused)
            }
            Self::SecretStore(error) => !matches!(error, SecretStoreError::WrongPassphrase),
            Self::Relay(error) => error.is_retryable(),
            Self::RolledBack | Self::HomeAway { .. } | Self::Paused => true,
            Self::DeviceReplaced
            | Self::NeedsRootKey
            | Self::Invite(_)
            | Self::Peer { .. }
            | Self::Input(_)
            | Self::ShutDown => false,
        }
    }

    /// How long to wait before trying again, where somebody said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Relay(error) => error.retry_after(),
            _ => None,
        }
    }
}
