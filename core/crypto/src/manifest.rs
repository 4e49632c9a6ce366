//! Manifests: the signed, versioned, hash-chained list of an account's devices (PROTOCOL B).
//!
//! A [`VerifiedManifest`] exists only after every check of `docs/protocol.md` section 3, in that order, so whoever needs the keys of
//! a device asks for one. The signed bytes are kept and passed on as they are; fields of the future survive in them.
//! Invariants: within one chain (epoch, version) never goes back, and one (epoch, version) never has two hashes; two certificates
//! for one epoch are never both believed.
//!
//! - `manifest/device.rs`: devices and what a list of them must satisfy
//! - `manifest/draft.rs`: signing one
//! - `manifest/chain.rs`: its encrypted entry in a chain, and reading a chain
//!
//! Not here: when to read a chain again, and what to show when a check fails (the engine).

mod chain;
mod device;
mod draft;
#[cfg(test)]
mod tests;

pub use chain::{open_entry, read_chain, seal_entry};
pub use device::{Device, DevicesError, InboxAddress, Predecessor};
pub use draft::{Audience, ManifestDraft};
pub use sotto_protocol::identity::DeviceKind;

use std::cmp::Ordering;

use sotto_protocol::decode::{self, DecodeError};
use sotto_protocol::label::{MANIFEST, MANIFEST_HASH, hash, labelled};
use sotto_protocol::limits::{CHAIN_ENTRY_BYTES_MAX, DATED_AHEAD_MAX, MANIFEST_VALID};
use sotto_protocol::{AccountId, Bytes, DeviceId, Timestamp, identity};

use crate::Party;
use crate::certificate::{Certificate, CertificateError, array};
use crate::keys::verify;

const FORMAT: u32 = 1;

/// Why a manifest is refused. Never retry the same bytes.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ManifestError {
    /// A chain's entry that its key does not open.
    #[error("the entry does not open")]
    CannotOpen,
    /// Not a manifest that this code can read.
    #[error("malformed manifest: {0}")]
    Malformed(#[from] DecodeError),
    /// The certificate inside is refused.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Not signed by the certified list key.
    #[error("the manifest is not signed by the epoch's list key")]
    BadSignature,
    /// It says that it is another account's.
    #[error("the manifest names another account")]
    WrongAccount,
    /// It says that it is of another epoch than its certificate.
    #[error("the manifest names another epoch")]
    WrongEpoch,
    /// Versions count from 1.
    #[error("the manifest has version 0")]
    VersionZero,
    /// Its time is over.
    #[error("the manifest has expired")]
    Expired,
    /// Dated so far ahead that it would stay fresh for longer than any manifest may.
    #[error("the manifest is dated ahead")]
    DatedAhead,
    /// The list of devices breaks a rule.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// It does not follow from what is known of the account.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// A manifest that is well made, and contradicts what the reader knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HistoryError {
    /// The account has certified two list keys for one epoch: its root key is in two hands. Stop using it, and say so.
    #[error("two certificates for one epoch: the account is compromised")]
    Compromised,
    /// Lower than what is known: a relay shows the past.
    #[error("older than the known manifest")]
    Older,
    /// The known (epoch, version) with another hash, or the version after it that continues another one: two lists for two people. Show
    /// it.
    #[error("another manifest of the known version")]
    Fork,
    /// Versions are missing between it and the known one: whoever served the chain left entries out. Read it again.
    #[error("the manifest does not continue the known one")]
    Unlinked,
}

/// A place in a manifest chain: what letters carry of their sender's list. Ordered by epoch, then version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// From 1.
    pub epoch: u32,
    /// From 1 in each epoch.
    pub version: u32,
    /// Of certificate and manifest.
    pub hash: [u8; 32],
}

impl Head {
    /// What decides which of two manifests is the later one.
    #[must_use]
    pub const fn order(&self) -> (u32, u32) {
        (self.epoch, self.version)
    }

    /// As it stands in a letter.
    #[must_use]
    pub fn to_message(&self) -> identity::Head {
        identity::Head { epoch: self.epoch, version: self.version, hash: Bytes::copy_from_slice(&self.hash) }
    }

    /// From a letter.
    ///
    /// # Errors
    /// [`DecodeError`] for a hash of another length, [`DecodeError::Missing`] for epoch or version 0.
    pub fn from_message(message: &identity::Head) -> Result<Self, DecodeError> {
        if message.epoch == 0 || message.version == 0 {
            return Err(DecodeError::Missing { what: "epoch or version" });
        }
        Ok(Self { epoch: message.epoch, version: message.version, hash: array("head", &message.hash)? })
    }
}

/// What a reader keeps of the last manifest that it believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its place.
    pub head: Head,
    /// The bytes of its certificate.
    pub certificate: Bytes,
}

/// What a head in a letter says to someone who knows a head of the same chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadNews {
    /// The known one.
    Same,
    /// There is a later one: read the chain.
    Newer,
    /// The sender wrote before it knew its own later list: nothing to do.
    Older,
    /// Two lists for two people, or two list keys: show it (PROTOCOL B5).
    Fork,
}

impl Head {
    /// What the head in a letter says to someone who knows this one.
    #[must_use]
    pub fn news(&self, head: &Self) -> HeadNews {
        match head.order().cmp(&self.order()) {
            Ordering::Less => HeadNews::Older,
            Ordering::Greater => HeadNews::Newer,
            Ordering::Equal if head.hash == self.hash => HeadNews::Same,
            Ordering::Equal => HeadNews::Fork,
        }
    }
}

/// How a manifest relates to what is known of the account.
#[derive(Clone, Copy)]
pub enum History<'a> {
    /// Nothing is known: first contact.
    Unknown,
    /// It is the same chain's next entry: it must name the known one.
    Next(&'a Known),
    /// It is of the same chain, with a gap before it (a snapshot), or the known one read again.
    Later(&'a Known),
    /// It is of another chain of the account: order and certificate are comparable, hashes are not.
    OtherChain(&'a Known),
}

impl History<'_> {
    fn check(&self, read: &Known, previous: Option<&[u8; 32]>) -> Result<(), HistoryError> {
        let (Self::Next(known) | Self::Later(known) | Self::OtherChain(known)) = self else { return Ok(()) };
        // First of all: whichever manifest is the older one, a second certificate proves that the root key is in two hands.
        if read.head.epoch == known.head.epoch && read.certificate != known.certificate {
            return Err(HistoryError::Compromised);
        }
        if read.head.order() < known.head.order() {
            return Err(HistoryError::Older);
        }
        if matches!(self, Self::OtherChain(_)) {
            return Ok(());
        }
        if read.head.order() == known.head.order() {
            return if read.head.hash == known.head.hash { Ok(()) } else { Err(HistoryError::Fork) };
        }
        // A new epoch is the root key's word, and heals whatever came before it.
        let is_linked = previous == Some(&known.head.hash) || read.head.epoch > known.head.epoch;
        if is_linked || !matches!(self, Self::Next(_)) {
            return Ok(());
        }
        let is_next_version = read.head.version == known.head.version.saturating_add(1);
        Err(if is_next_version { HistoryError::Fork } else { HistoryError::Unlinked })
    }
}

/// A manifest that passed every check, or that was made here.
#[derive(Clone)]
pub struct VerifiedManifest {
    certificate: Certificate,
    head: Head,
    previous: Option<[u8; 32]>,
    issued_at: Timestamp,
    expires_at: Timestamp,
    devices: Vec<Device>,
    author: Option<DeviceId>,
    bytes: Bytes,
}

impl VerifiedManifest {
    /// Reads a SignedManifest of the account that the caller asked for.
    ///
    /// # Errors
    /// The first check that fails, in the order of `docs/protocol.md` section 3.
    pub fn verify(
        account: &AccountId,
        bytes: Bytes,
        history: History<'_>,
        now: Timestamp,
    ) -> Result<Self, ManifestError> {
        let parsed = Parsed::new(bytes)?;
        parsed.certificate.check(account)?;
        parsed.certificate.check_time(now)?;
        parsed.check()?;
        if now >= parsed.expires_at() {
            return Err(ManifestError::Expired);
        }
        if parsed.issued_at() > now.after(DATED_AHEAD_MAX) {
            return Err(ManifestError::DatedAhead);
        }
        parsed.into_verified(history)
    }

    /// Reads a SignedManifest that this device verified before and kept. Only its time and history are not checked again.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn reload(account: &AccountId, bytes: Bytes) -> Result<Self, ManifestError> {
        Self::verify_at_any_time(account, bytes, History::Unknown)
    }

    fn verify_at_any_time(account: &AccountId, bytes: Bytes, history: History<'_>) -> Result<Self, ManifestError> {
        let parsed = Parsed::new(bytes)?;
        parsed.certificate.check(account)?;
        parsed.check()?;
        parsed.into_verified(history)
    }

    /// Whose it is.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        self.certificate.account()
    }

    /// Its place in its chain.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Hash of the manifest before it in its chain; `None` in a chain's first entry.
    #[must_use]
    pub const fn previous(&self) -> Option<&[u8; 32]> {
        self.previous.as_ref()
    }

    /// The epoch's certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// When it was signed.
    #[must_use]
    pub const fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// 1 to 16 of them.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Which of the devices has written it: known in the own-devices chain alone.
    #[must_use]
    pub const fn author(&self) -> Option<&DeviceId> {
        self.author.as_ref()
    }

    /// The device of that id, when it is listed.
    #[must_use]
    pub fn device(&self, id: &DeviceId) -> Option<&Device> {
        self.devices.iter().find(|device| device.id == *id)
    }

    /// One end of a letter: a listed device with its keys.
    #[must_use]
    pub fn party(&self, id: &DeviceId) -> Option<Party> {
        let device = self.device(id)?;
        Some(Party {
            account: *self.account(),
            device: device.id,
            ed25519: device.ed25519,
            curve25519: device.curve25519,
        })
    }

    /// Whether it is young enough for first contact (PROTOCOL B5). For a contact that is known already, an older one is shown as
    /// outdated.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.issued_at) <= MANIFEST_VALID
    }

    /// Whether nobody has renewed it for so long that it is not used at all.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }

    /// What to keep, for comparing the next one with.
    #[must_use]
    pub fn known(&self) -> Known {
        Known { head: self.head, certificate: self.certificate.bytes().clone() }
    }

    /// The SignedManifest: what stands in a chain's entry and in a contact request.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// A SignedManifest of the right shape, nothing of it believed.
struct Parsed {
    certificate: Certificate,
    manifest_bytes: Bytes,
    manifest_signature: Bytes,
    message: identity::Manifest,
    previous: Option<[u8; 32]>,
    account: AccountId,
    devices: Vec<Device>,
    author: Option<DeviceId>,
    bytes: Bytes,
}

impl Parsed {
    fn new(bytes: Bytes) -> Result<Self, ManifestError> {
        let signed: identity::SignedManifest = decode::shared(bytes.clone(), CHAIN_ENTRY_BYTES_MAX)?;
        let certificate = Certificate::parse(signed.certificate, &signed.certificate_signature)?;
        let message: identity::Manifest = decode::shared(signed.manifest.clone(), CHAIN_ENTRY_BYTES_MAX)?;
        if message.format != FORMAT {
            return Err(DecodeError::UnknownVersion { version: message.format }.into());
        }
        let previous = if message.previous.is_empty() { None } else { Some(array("previous", &message.previous)?) };
        let account = AccountId::try_from(&*message.account)?;
        let devices = device::parse_all(&message.devices)?;
        let author = if message.author.is_empty() { None } else { Some(DeviceId::try_from(&*message.author)?) };
        if signed.manifest_signature.len() != 64 {
            return Err(DecodeError::WrongLength { what: "signature", length: signed.manifest_signature.len() }.into());
        }
        Ok(Self {
            certificate,
            manifest_bytes: signed.manifest,
            manifest_signature: signed.manifest_signature,
            message,
            previous,
            account,
            devices,
            author,
            bytes,
        })
    }

    const fn expires_at(&self) -> Timestamp {
        Timestamp::from_ms(self.message.expires_at_ms)
    }

    const fn issued_at(&self) -> Timestamp {
        Timestamp::from_ms(self.message.issued_at_ms)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let account = self.certificate.account();
        let signed = labelled(MANIFEST, &[account.as_ref(), &self.manifest_bytes]);
        verify(&self.certificate.epoch().list_key, &signed, &self.manifest_signature)
            .map_err(|_| ManifestError::BadSignature)?;
        if self.account != *account {
            return Err(ManifestError::WrongAccount);
        }
        if self.message.epoch != self.certificate.epoch().number {
            return Err(ManifestError::WrongEpoch);
        }
        if self.message.version == 0 {
            return Err(ManifestError::VersionZero);
        }
        Ok(())
    }

    fn into_verified(self, history: History<'_>) -> Result<VerifiedManifest, ManifestError> {
        device::check_all(&self.devices, self.author.as_ref())?;
        let hash = hash(MANIFEST_HASH, &[self.certificate.bytes(), &self.manifest_bytes]);
        let head = Head { epoch: self.message.epoch, version: self.message.version, hash };
        let verified = VerifiedManifest {
            expires_at: self.expires_at(),
            issued_at: self.issued_at(),
            certificate: self.certificate,
            head,
            previous: self.previous,
            devices: self.devices,
            author: self.author,
            bytes: self.bytes,
        };
        history.check(&verified.known(), verified.previous())?;
        Ok(verified)
    }
}
