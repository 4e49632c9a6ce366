//! This account, its relays, and what became of what it has there.

use sotto_core::protocol::{AccountId, DeviceId, RelayAddress};
use sotto_core::records;

use super::{list, record};

/// What a new account is to be.
#[derive(Clone, Debug, uniffi::Record)]
pub struct NewProfile {
    /// What others see.
    pub name: String,
    /// Addresses of one to four relays, the preferred first.
    pub relays: Vec<RelayAddress>,
    /// What this device is.
    pub kind: DeviceKind,
    /// What the relays' operators want to see of new users, in the order of `relays`; empty where nothing is asked for.
    #[uniffi(default = [])]
    pub relay_codes: Vec<String>,
}

impl From<NewProfile> for sotto_core::NewProfile {
    fn from(profile: NewProfile) -> Self {
        let NewProfile { name, relays, kind, relay_codes } = profile;
        Self { name, relays, kind: kind.into(), relay_codes }
    }
}

/// What contacts see of this account.
#[derive(Clone, PartialEq, Eq, Debug, uniffi::Record)]
pub struct Profile {
    /// What we call ourselves.
    pub name: String,
    /// What we say of ourselves, at most 512 bytes; may be empty.
    pub status: String,
}

impl From<records::Profile> for Profile {
    fn from(records::Profile { name, status }: records::Profile) -> Self {
        Self { name, status }
    }
}

impl From<Profile> for records::Profile {
    fn from(Profile { name, status }: Profile) -> Self {
        Self { name, status }
    }
}

/// What a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, uniffi::Enum)]
pub enum DeviceKind {
    /// A phone.
    Phone,
    /// A tablet.
    Tablet,
    /// A computer.
    Desktop,
    /// A program.
    Bot,
    /// A door to another network.
    Bridge,
}

impl From<DeviceKind> for sotto_core::DeviceKind {
    fn from(kind: DeviceKind) -> Self {
        match kind {
            DeviceKind::Phone => Self::Phone,
            DeviceKind::Tablet => Self::Tablet,
            DeviceKind::Desktop => Self::Desktop,
            DeviceKind::Bot => Self::Bot,
            DeviceKind::Bridge => Self::Bridge,
        }
    }
}

record! {
    /// This account and device.
    Account from records::Account as account {
        /// The account: the note to self is the conversation with it.
        id: AccountId = account.id,
        /// This installation.
        device: DeviceId = account.device,
        /// What others see.
        name: String = account.name,
        /// Where its inboxes are, the preferred first.
        relays: Vec<RelayAddress> = account.relays,
    }
}

record! {
    /// A relay of ours.
    OwnRelay from records::OwnRelay as relay {
        /// Which.
        address: RelayAddress = relay.address,
        /// Whether the account's own list is there.
        is_home: bool = relay.is_home,
        /// Whether it was taken off our list: it is still read for a while.
        is_left: bool = relay.is_left,
        /// Why it cannot be read right now: the code of an error.
        trouble: Option<String> = relay.trouble.map(ToOwned::to_owned),
    }
}

record! {
    /// What catching up managed.
    CatchUp from records::CatchUp as caught_up {
        /// Messages that came in.
        received: u64 = caught_up.received,
        /// Letters that relays took.
        sent: u64 = caught_up.sent,
        /// Letters still waiting to leave.
        waiting: u64 = caught_up.waiting,
        /// Whether everything that waited has been dealt with.
        is_complete: bool = caught_up.is_complete,
        /// Whether what others need to reach us is at our relays, but for those that were left.
        is_published: bool = caught_up.is_published,
        /// Relays with which not everything could be done.
        unreachable: Vec<UnreachableRelay> = list(caught_up.unreachable),
    }
}

record! {
    /// A relay with which something could not be done.
    UnreachableRelay from (RelayAddress, &'static str) as found {
        /// Its address.
        relay: RelayAddress = found.0,
        /// The code of the error.
        code: String = found.1.to_owned(),
    }
}

record! {
    /// What became of what an account had at its relays.
    Deleted from records::Deleted as deleted {
        /// Relays that have nothing of this device and of the account's lists any more.
        told: Vec<RelayAddress> = deleted.told,
        /// Those that may have.
        not_told: Vec<UnreachableRelay> = list(deleted.not_told),
        /// Whether the account has other devices, which go on until they are deleted themselves.
        has_other_devices: bool = deleted.has_other_devices,
    }
}
