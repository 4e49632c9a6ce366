//! The devices of a manifest, and the rules that a list of them must satisfy.
//!
//! Ids and keys are distinct because everything later is looked up by them: two devices with one key would be told apart by a letter's
//! claim alone. Keys that contribute nothing to a secret are refused here already, for sending and receiving alike.

use std::collections::BTreeSet;

use sotto_protocol::decode::DecodeError;
use sotto_protocol::identity::{self, DeviceKind};
use sotto_protocol::label::{SUCCESSOR, labelled};
use sotto_protocol::limits::{DEVICES_MAX, INBOXES_PER_DEVICE_MAX};
use sotto_protocol::{AccountId, Bytes, DeviceId, InboxId, RelayAddress, Timestamp};

use crate::certificate::{array, canonical_address};
use crate::contributory::{is_contributory, is_device_signer};
use crate::keys::verify;
use crate::olm::OlmAccount;
use crate::secret::PrekeyKey;

/// A list of devices that breaks a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DevicesError {
    /// Two devices of one id.
    #[error("two devices have one id")]
    DuplicateDevice,
    /// One key twice, on one device or on two.
    #[error("a key stands in the list twice")]
    DuplicateKey,
    /// A key of small order, or in a form that no key generation makes.
    #[error("a device has a weak key")]
    WeakKey,
    /// The device that wrote the list is not in it.
    #[error("the list is by a device that is not listed")]
    AuthorUnlisted,
    /// A device comes in the place of one that is still there.
    #[error("a device replaces one that is listed")]
    ReplacesListed,
    /// One inbox twice.
    #[error("an inbox stands in the list twice")]
    DuplicateInbox,
}

/// Where a device's envelopes wait on one relay.
#[derive(Clone)]
pub struct InboxAddress {
    /// Where.
    pub relay: RelayAddress,
    /// Which.
    pub inbox: InboxId,
    /// Opens its bundle and one-time keys.
    pub prekey_key: PrekeyKey,
}

/// The device in whose place another one comes after a rollback, with its word for that: the list key alone could put anybody in anybody's
/// place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Predecessor {
    /// Which.
    pub device: DeviceId,
    /// Its signature over its successor.
    pub signature: [u8; 64],
}

/// One installation of an account.
#[derive(Clone)]
pub struct Device {
    /// 16 random bytes.
    pub id: DeviceId,
    /// Unspecified outside the own-devices chain.
    pub kind: DeviceKind,
    /// Signs its prekeys.
    pub ed25519: [u8; 32],
    /// Its identity in Olm.
    pub curve25519: [u8; 32],
    /// 1 to 4, the preferred relay first.
    pub inboxes: Vec<InboxAddress>,
    /// [`Timestamp::EPOCH`] outside the own-devices chain.
    pub added_at: Timestamp,
    /// The device that this one replaces after a rollback.
    pub replaces: Option<Predecessor>,
}

impl Device {
    /// Comes in the place of the device whose Olm account that is.
    pub fn succeed(&mut self, account: &AccountId, predecessor: DeviceId, olm: &OlmAccount) {
        let signature = olm.sign(&self.succession(account, &predecessor));
        self.replaces = Some(Predecessor { device: predecessor, signature });
    }

    /// The device that it replaces by that one's own word. `ed25519_of` knows the keys of devices that were listed before: a list says nothing
    /// of those that have left.
    pub fn predecessor(
        &self,
        account: &AccountId,
        ed25519_of: impl FnOnce(&DeviceId) -> Option<[u8; 32]>,
    ) -> Option<DeviceId> {
        let Predecessor { device, signature } = self.replaces?;
        let ed25519 = ed25519_of(&device)?;
        verify(&ed25519, &self.succession(account, &device), &signature).ok()?;
        Some(device)
    }

    fn succession(&self, account: &AccountId, predecessor: &DeviceId) -> Vec<u8> {
        labelled(
            SUCCESSOR,
            &[account.as_ref(), predecessor.as_ref(), self.id.as_ref(), &self.ed25519, &self.curve25519],
        )
    }

    /// As it stands in a manifest.
    #[must_use]
    pub fn to_message(&self) -> identity::Device {
        let inbox = |address: &InboxAddress| identity::InboxAddress {
            relay: address.relay.to_string(),
            inbox: address.inbox.into(),
            prekey_key: Bytes::copy_from_slice(address.prekey_key.as_bytes()),
        };
        identity::Device {
            id: self.id.into(),
            kind: self.kind.into(),
            ed25519: Bytes::copy_from_slice(&self.ed25519),
            curve25519: Bytes::copy_from_slice(&self.curve25519),
            inboxes: self.inboxes.iter().map(inbox).collect(),
            added_at_ms: self.added_at.as_ms(),
            replaces: self.replaces.map_or_else(Bytes::new, |replaces| replaces.device.into()),
            replaces_signature: self
                .replaces
                .map_or_else(Bytes::new, |replaces| Bytes::copy_from_slice(&replaces.signature)),
        }
    }
}

/// Counts, lengths and spellings.
pub(super) fn parse_all(messages: &[identity::Device]) -> Result<Vec<Device>, DecodeError> {
    if messages.is_empty() || messages.len() > DEVICES_MAX {
        return Err(DecodeError::WrongCount { what: "devices", count: messages.len() });
    }
    messages.iter().map(parse).collect()
}

fn parse(message: &identity::Device) -> Result<Device, DecodeError> {
    if message.inboxes.is_empty() || message.inboxes.len() > INBOXES_PER_DEVICE_MAX {
        return Err(DecodeError::WrongCount { what: "inboxes", count: message.inboxes.len() });
    }
    Ok(Device {
        id: DeviceId::try_from(&*message.id)?,
        // A kind of the future is shown as none; the signed bytes keep it.
        kind: message.kind(),
        ed25519: array("Ed25519 key", &message.ed25519)?,
        curve25519: array("Curve25519 key", &message.curve25519)?,
        inboxes: message.inboxes.iter().map(parse_inbox).collect::<Result<_, _>>()?,
        added_at: Timestamp::from_ms(message.added_at_ms),
        replaces: parse_predecessor(message)?,
    })
}

fn parse_predecessor(message: &identity::Device) -> Result<Option<Predecessor>, DecodeError> {
    match (message.replaces.is_empty(), message.replaces_signature.is_empty()) {
        (true, true) => Ok(None),
        (true, false) | (false, true) => Err(DecodeError::Missing { what: "whom a device replaces" }),
        (false, false) => Ok(Some(Predecessor {
            device: DeviceId::try_from(&*message.replaces)?,
            signature: array("signature", &message.replaces_signature)?,
        })),
    }
}

fn parse_inbox(message: &identity::InboxAddress) -> Result<InboxAddress, DecodeError> {
    Ok(InboxAddress {
        relay: canonical_address(&message.relay)?,
        inbox: InboxId::try_from(&*message.inbox)?,
        prekey_key: PrekeyKey::try_from(&*message.prekey_key)?,
    })
}

/// What the devices must satisfy together.
pub(super) fn check_all(devices: &[Device], author: Option<&DeviceId>) -> Result<(), DevicesError> {
    let mut ids = BTreeSet::new();
    let mut keys = BTreeSet::new();
    let mut inboxes = BTreeSet::new();
    let is_listed = |id: &DeviceId| devices.iter().any(|device| device.id == *id);
    if author.is_some_and(|author| !is_listed(author)) {
        return Err(DevicesError::AuthorUnlisted);
    }
    for device in devices {
        if device.replaces.is_some_and(|replaces| is_listed(&replaces.device)) {
            return Err(DevicesError::ReplacesListed);
        }
        if !ids.insert(device.id) {
            return Err(DevicesError::DuplicateDevice);
        }
        if !keys.insert(device.ed25519) || !keys.insert(device.curve25519) {
            return Err(DevicesError::DuplicateKey);
        }
        if !is_device_signer(&device.ed25519) || !is_contributory(&device.curve25519) {
            return Err(DevicesError::WeakKey);
        }
        if !device.inboxes.iter().all(|address| inboxes.insert(address.inbox)) {
            return Err(DevicesError::DuplicateInbox);
        }
    }
    Ok(())
}
