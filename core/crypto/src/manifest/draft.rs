//! Signing a manifest.

use std::time::Duration;

use sotto_protocol::decode::DecodeError;
use sotto_protocol::header::NONCE_BYTES;
use sotto_protocol::label::MANIFEST;
use sotto_protocol::limits::CHAIN_ENTRY_BYTES_MAX;
use sotto_protocol::{Bytes, DeviceId, Message, Timestamp, identity};

use super::{Device, DeviceKind, FORMAT, History, ManifestError, VerifiedManifest};
use crate::aead;
use crate::certificate::Certificate;
use crate::keys::ListKey;

/// When a manifest that nobody renewed is not used at all. A contact whose phone lies in a drawer for months is shown as outdated
/// and still reached; after a year its last list is as good as none.
const EXPIRES_AFTER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Who will read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// The account's own devices: the chain that is the commit point, which any of them may write.
    OwnDevices {
        /// Which of them writes this one.
        author: DeviceId,
    },
    /// Anyone else: device kinds and dates are left out (PROTOCOL B4).
    Others,
}

/// What a manifest is to say.
pub struct ManifestDraft<'a> {
    /// Of the epoch.
    pub certificate: &'a Certificate,
    /// From 1 in each epoch, the same in every audience's chain.
    pub version: u32,
    /// Hash of the manifest before it in the same chain; `None` in a chain's first entry.
    pub previous: Option<[u8; 32]>,
    /// 1 to 16 of them.
    pub devices: &'a [Device],
    /// Who will read it.
    pub audience: Audience,
}

impl ManifestDraft<'_> {
    /// Signs it, and reads it back as its audience will: what they would refuse is not made.
    ///
    /// # Errors
    /// As [`VerifiedManifest::verify`]; [`ManifestError::BadSignature`] for a list key that the certificate does not certify.
    pub fn sign(&self, list_key: &ListKey, now: Timestamp) -> Result<VerifiedManifest, ManifestError> {
        let account = self.certificate.account();
        let manifest = identity::Manifest {
            format: FORMAT,
            account: (*account).into(),
            epoch: self.certificate.epoch().number,
            version: self.version,
            previous: self.previous.map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(&hash)),
            issued_at_ms: now.as_ms(),
            expires_at_ms: now.after(EXPIRES_AFTER).as_ms(),
            devices: self.devices.iter().map(|device| self.project(device).to_message()).collect(),
            author: match self.audience {
                Audience::OwnDevices { author } => author.into(),
                Audience::Others => Bytes::new(),
            },
        };
        let manifest = Bytes::from(manifest.encode_to_vec());
        let signature = list_key.sign(MANIFEST, &[account.as_ref(), &manifest]);
        let signed = identity::SignedManifest {
            certificate: self.certificate.bytes().clone(),
            certificate_signature: Bytes::copy_from_slice(self.certificate.signature()),
            manifest,
            manifest_signature: Bytes::copy_from_slice(&signature),
        };
        let bytes = Bytes::from(signed.encode_to_vec());
        let length_max = CHAIN_ENTRY_BYTES_MAX - NONCE_BYTES - aead::TAG_BYTES;
        if bytes.len() > length_max {
            return Err(DecodeError::TooLong { length: bytes.len(), length_max }.into());
        }
        VerifiedManifest::verify(account, bytes, History::Unknown, now)
    }

    fn project(&self, device: &Device) -> Device {
        match self.audience {
            Audience::OwnDevices { .. } => device.clone(),
            Audience::Others => Device { kind: DeviceKind::Unspecified, added_at: Timestamp::EPOCH, ..device.clone() },
        }
    }
}
