//! Prekeys: what a sender needs of a device before the first letter, each signed by the device (PROTOCOL D5, `docs/protocol.md`
//! section 4).
//!
//! Owner and purpose are signed, not sent: the reader knows whom it asked, and for what, so a key of another device or for another
//! purpose does not verify. Bundles and one-time keys are encrypted under a key from the manifest; a relay can test no signature.

#[cfg(test)]
mod tests;

use std::time::Duration;

use rand_core::CryptoRng;
use sotto_protocol::decode::{self, DecodeError};
use sotto_protocol::label::{KEM_KEY, LAST_RESORT_KEY, ONE_TIME_KEY, PREKEY_BLOB, labelled};
use sotto_protocol::limits::{
    BUNDLE_BYTES_MAX, BUNDLE_RENEWED, BUNDLE_VALID, DATED_AHEAD_MAX, ONE_TIME_BYTES_MAX, ONE_TIME_KEY_VALID,
};
use sotto_protocol::{Bytes, InboxId, KeyId, Message, Timestamp, identity};

use crate::aead;
use crate::certificate::array;
use crate::contributory::is_contributory;
use crate::kem::KemPublicKey;
use crate::keys::verify;
use crate::olm::OlmAccount;
use crate::party::{DeviceName, Party};
use crate::secret::PrekeyKey;

/// Why a prekey is refused: its device, or the relay that gave it, broke the protocol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PrekeyError {
    /// The blob does not open with the inbox's prekey key as what was asked for.
    #[error("the prekey blob does not open")]
    CannotOpen,
    /// Not a prekey that this code can read.
    #[error("malformed prekey: {0}")]
    Malformed(#[from] DecodeError),
    /// It carries no signature.
    #[error("the prekey is not signed")]
    Unsigned,
    /// The device signed it, for another purpose.
    #[error("the prekey was signed for another purpose")]
    WrongPurpose,
    /// Signed by another device, or for another account, or changed since.
    #[error("the prekey is not signed by its device")]
    BadSignature,
    /// Its time is over.
    #[error("the prekey has expired")]
    Expired,
    /// It claims to hold for longer than its kind may.
    #[error("the prekey holds too long")]
    HoldsTooLong,
    /// A secret agreed with it would be known to all.
    #[error("the prekey contributes nothing")]
    NonContributory,
    /// Not a key of the KEM.
    #[error("not a KEM key")]
    BadKemKey,
}

/// What a key was signed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    OneTime,
    LastResort,
    Kem,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::OneTime, Self::LastResort, Self::Kem];

    const fn label(self) -> &'static str {
        match self {
            Self::OneTime => ONE_TIME_KEY,
            Self::LastResort => LAST_RESORT_KEY,
            Self::Kem => KEM_KEY,
        }
    }

    const fn valid(self) -> Duration {
        match self {
            Self::OneTime => ONE_TIME_KEY_VALID,
            Self::LastResort | Self::Kem => BUNDLE_VALID,
        }
    }
}

/// A one-time or last-resort Olm key that its device vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OlmPrekey {
    id: KeyId,
    key: [u8; 32],
    expires_at: Timestamp,
}

impl OlmPrekey {
    /// Names it.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The Curve25519 key.
    #[must_use]
    pub const fn key(&self) -> &[u8; 32] {
        &self.key
    }
}

/// A KEM key that its device vouches for.
#[derive(Clone)]
pub struct KemPrekey {
    id: KeyId,
    key: KemPublicKey,
    expires_at: Timestamp,
}

impl KemPrekey {
    /// Names it: openers carry it.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The X-Wing key.
    #[must_use]
    pub const fn key(&self) -> &KemPublicKey {
        &self.key
    }
}

/// A key of our own with the device's signature, on its way to a relay.
#[derive(Clone)]
pub struct SignedKey(identity::SignedKey);

impl SignedKey {
    /// Names it.
    ///
    /// # Panics
    /// Never: it was made with an id of eight bytes.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::try_from(&*self.0.id).expect("made with an id of eight bytes")
    }

    /// Encrypts a one-time key for the relay of `inbox`.
    #[must_use]
    pub fn seal_one_time(&self, key: &PrekeyKey, inbox: &InboxId, rng: &mut impl CryptoRng) -> Vec<u8> {
        seal_blob(key, inbox, Blob::OneTime, &self.0.encode_to_vec(), rng)
    }
}

/// Signs a one-time Olm key; valid for [`ONE_TIME_KEY_VALID`].
#[must_use]
pub fn sign_one_time_key(
    device: &OlmAccount,
    owner: &DeviceName,
    id: KeyId,
    key: &[u8; 32],
    now: Timestamp,
) -> SignedKey {
    sign(device, owner, Purpose::OneTime, id, key, now.after(ONE_TIME_KEY_VALID))
}

/// Signs a last-resort Olm key; valid as long as the bundle it goes into.
#[must_use]
pub fn sign_last_resort_key(
    device: &OlmAccount,
    owner: &DeviceName,
    id: KeyId,
    key: &[u8; 32],
    now: Timestamp,
) -> SignedKey {
    sign(device, owner, Purpose::LastResort, id, key, now.after(BUNDLE_VALID))
}

/// Signs a KEM key; valid as long as the bundle it goes into.
#[must_use]
pub fn sign_kem_key(
    device: &OlmAccount,
    owner: &DeviceName,
    id: KeyId,
    key: &KemPublicKey,
    now: Timestamp,
) -> SignedKey {
    sign(device, owner, Purpose::Kem, id, &key.to_bytes(), now.after(BUNDLE_VALID))
}

/// Encrypts a bundle of two signed keys for the relay of `inbox`.
#[must_use]
pub fn seal_bundle(
    kem: &SignedKey,
    last_resort: &SignedKey,
    key: &PrekeyKey,
    inbox: &InboxId,
    rng: &mut impl CryptoRng,
) -> Vec<u8> {
    let bundle = identity::Bundle { kem: Some(kem.0.clone()), last_resort: Some(last_resort.0.clone()) };
    seal_blob(key, inbox, Blob::Bundle, &bundle.encode_to_vec(), rng)
}

/// Opens and verifies the one-time key that a relay gave for `owner`'s inbox.
///
/// # Errors
/// One variant per check.
pub fn open_one_time(
    blob: &[u8],
    key: &PrekeyKey,
    inbox: &InboxId,
    owner: &Party,
    now: Timestamp,
) -> Result<OlmPrekey, PrekeyError> {
    let opened = open_blob(key, inbox, Blob::OneTime, blob, ONE_TIME_BYTES_MAX)?;
    let signed: identity::SignedKey = decode::message(&opened, ONE_TIME_BYTES_MAX)?;
    verify_olm_key(&signed, Purpose::OneTime, owner, now)
}

/// What a sender uses of an inbox's bundle.
#[derive(Clone)]
pub struct Bundle {
    /// To seal to.
    pub kem: KemPrekey,
    /// To begin an Olm session with when no one-time key is left.
    pub last_resort: OlmPrekey,
}

impl Bundle {
    /// Opens and verifies the bundle that a relay gave for `owner`'s inbox.
    ///
    /// # Errors
    /// One variant per check.
    pub fn open(
        blob: &[u8],
        key: &PrekeyKey,
        inbox: &InboxId,
        owner: &Party,
        now: Timestamp,
    ) -> Result<Self, PrekeyError> {
        let opened = open_blob(key, inbox, Blob::Bundle, blob, BUNDLE_BYTES_MAX)?;
        let bundle: identity::Bundle = decode::message(&opened, BUNDLE_BYTES_MAX)?;
        let kem = bundle.kem.ok_or(DecodeError::Missing { what: "KEM key" })?;
        let last_resort = bundle.last_resort.ok_or(DecodeError::Missing { what: "last-resort key" })?;
        let kem = verify_kem_key(&kem, owner, now)?;
        Ok(Self { kem, last_resort: verify_olm_key(&last_resort, Purpose::LastResort, owner, now)? })
    }

    /// Whether its device should have renewed it by now: fetch it again, and use this one if there is no newer (PROTOCOL D4).
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        now.since(self.kem.expires_at.before(BUNDLE_VALID)) > BUNDLE_RENEWED
    }

    /// Whether it may still be used.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.kem.expires_at || now >= self.last_resort.expires_at
    }
}

#[derive(Clone, Copy)]
enum Blob {
    Bundle,
    OneTime,
}

impl Blob {
    fn aad(self, inbox: &InboxId) -> Vec<u8> {
        let kind: &[u8] = match self {
            Self::Bundle => b"bundle",
            Self::OneTime => b"one-time",
        };
        labelled(PREKEY_BLOB, &[inbox.as_ref(), kind])
    }
}

fn seal_blob(key: &PrekeyKey, inbox: &InboxId, kind: Blob, message: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
    aead::seal(key.as_bytes(), &kind.aad(inbox), message, rng)
}

fn open_blob(
    key: &PrekeyKey,
    inbox: &InboxId,
    kind: Blob,
    blob: &[u8],
    length_max: usize,
) -> Result<Bytes, PrekeyError> {
    if blob.len() > length_max {
        return Err(DecodeError::TooLong { length: blob.len(), length_max }.into());
    }
    let opened = aead::open(key.as_bytes(), &kind.aad(inbox), blob).ok_or(PrekeyError::CannotOpen)?;
    Ok(Bytes::copy_from_slice(&opened))
}

fn sign(
    device: &OlmAccount,
    owner: &DeviceName,
    purpose: Purpose,
    id: KeyId,
    key: &[u8],
    expires_at: Timestamp,
) -> SignedKey {
    let signature = device.sign(&signature_input(purpose, owner, &id, expires_at, key));
    SignedKey(identity::SignedKey {
        id: id.into(),
        key: Bytes::copy_from_slice(key),
        expires_at_ms: expires_at.as_ms(),
        signature: Bytes::copy_from_slice(&signature),
    })
}

fn signature_input(purpose: Purpose, owner: &DeviceName, id: &KeyId, expires_at: Timestamp, key: &[u8]) -> Vec<u8> {
    let expires_at = expires_at.as_ms().to_be_bytes();
    labelled(purpose.label(), &[owner.account.as_ref(), owner.device.as_ref(), id.as_ref(), &expires_at, key])
}

fn verify_olm_key(
    signed: &identity::SignedKey,
    purpose: Purpose,
    owner: &Party,
    now: Timestamp,
) -> Result<OlmPrekey, PrekeyError> {
    let key = array("Olm key", &signed.key)?;
    let (id, expires_at) = verify_signed(signed, purpose, owner, now)?;
    if is_contributory(&key) { Ok(OlmPrekey { id, key, expires_at }) } else { Err(PrekeyError::NonContributory) }
}

fn verify_kem_key(signed: &identity::SignedKey, owner: &Party, now: Timestamp) -> Result<KemPrekey, PrekeyError> {
    let (id, expires_at) = verify_signed(signed, Purpose::Kem, owner, now)?;
    let key = KemPublicKey::from_bytes(&signed.key).map_err(|_| PrekeyError::BadKemKey)?;
    Ok(KemPrekey { id, key, expires_at })
}

fn verify_signed(
    signed: &identity::SignedKey,
    purpose: Purpose,
    owner: &Party,
    now: Timestamp,
) -> Result<(KeyId, Timestamp), PrekeyError> {
    let id = KeyId::try_from(&*signed.id)?;
    let expires_at = Timestamp::from_ms(signed.expires_at_ms);
    if signed.signature.is_empty() {
        return Err(PrekeyError::Unsigned);
    }
    let signed_for = |purpose| {
        verify(
            &owner.ed25519,
            &signature_input(purpose, &owner.name(), &id, expires_at, &signed.key),
            &signed.signature,
        )
        .is_ok()
    };
    if !signed_for(purpose) {
        let elsewhere = Purpose::ALL.into_iter().any(|other| other != purpose && signed_for(other));
        return Err(if elsewhere { PrekeyError::WrongPurpose } else { PrekeyError::BadSignature });
    }
    if now >= expires_at {
        return Err(PrekeyError::Expired);
    }
    if expires_at > now.after(purpose.valid()).after(DATED_AHEAD_MAX) {
        return Err(PrekeyError::HoldsTooLong);
    }
    Ok((id, expires_at))
}
