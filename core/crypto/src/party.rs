//! Who is at one end: an account's device, by its ids alone or with the keys that its manifest lists.

use sotto_protocol::{AccountId, DeviceId};

/// One device of one account. Device ids alone are chosen by their owners and prove nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceName {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
}

/// One end of a letter: a device with its keys, as a verified manifest lists it
/// ([`VerifiedManifest::party`](crate::manifest::VerifiedManifest::party)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Party {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub device: DeviceId,
    /// Signs its prekeys.
    pub ed25519: [u8; 32],
    /// Its identity in Olm.
    pub curve25519: [u8; 32],
}

impl Party {
    /// Without the keys.
    #[must_use]
    pub const fn name(&self) -> DeviceName {
        DeviceName { account: self.account, device: self.device }
    }
}
