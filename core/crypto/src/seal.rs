//! The seal: the hybrid post-quantum layer around every letter (PROTOCOL D, `docs/protocol.md` section 5).
//!
//! ```text
//! maker      SealMaker::encapsulate --opener, the same enc each time--> ... the peer confirms ... --continuation--> ...
//! recipient  OfferedSeal::decapsulate, once per enc --the letter inside vouches for it--> SealKey --its tag finds it--> ...
//! ```
//! HPKE base mode over X-Wing agrees on a secret; its exporter gives the seal key, under which every letter, the first too, is
//! XChaCha20-Poly1305 with its own random nonce and the header as associated data. HPKE's own encryption is not used: its nonces count,
//! and a counter would have to survive every crash.
//! Invariants: a seal key serves one direction; only a [`SealKey`] can be stored, and it comes only from a letter that repeats the hash
//! of its opener (PROTOCOL D2); there is no unsealed path.
//!
//! - `seal/ephemeral.rs`: what holds for a moment only, under keys that derive from the seal key
//!
//! Not here: when to begin a new seal, which hashes are retired, installing in a transaction (the engine).

pub mod ephemeral;
#[cfg(test)]
mod tests;

use hmac::{Hmac, KeyInit, Mac};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, HpkeError, OpModeR, OpModeS, Serializable, setup_receiver, setup_sender_with_rng};
use rand_core::CryptoRng;
use sha2::Sha256;
use sotto_protocol::decode::{self, DecodeError};
use sotto_protocol::header::{ENC_BYTES, Header, NONCE_BYTES, TAG_BYTES};
use sotto_protocol::label::{OPENER, SEAL, SEAL_KEY, SEAL_SECRET, SEAL_TAG, SEAL_TAG_KEY, hash, labelled};
use sotto_protocol::limits::SEALED_BYTES_MAX;
use sotto_protocol::padding::{pad, unpad};
use sotto_protocol::{AccountId, Bytes, DeviceId, KeyId, Message, letter};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::aead;
use crate::kem::{EncappedKey, KemPrivateKey};
use crate::letter::Letter;
use crate::olm::OlmMessage;
use crate::party::DeviceName;
use crate::prekey::KemPrekey;
use crate::secret::derive;
use crate::state::{self, StateError, Stored};

/// Why an envelope is not opened. The peer, or someone in between, broke the protocol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// Header or content is not what this code can read.
    #[error("malformed envelope: {0}")]
    Malformed(#[from] DecodeError),
    /// The header is an opener's, of another seal.
    #[error("the header belongs to another seal")]
    WrongOpener,
    /// The header is a continuation's, and its tag is not of this seal.
    #[error("the tag belongs to another seal")]
    WrongTag,
    /// Header or payload were changed, or made under another key.
    #[error("the envelope does not open")]
    CannotOpen,
    /// An opener that does not say who made it.
    #[error("the opener names no sender")]
    MissingSender,
    /// A continuation that says who made it: the seal key has said so already.
    #[error("the continuation names a sender")]
    UnexpectedSender,
}

/// The letter inside does not vouch for the opener that it came in: deliver it, install nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the letter names another opener, or none")]
pub struct NotVouchedFor;

/// Names an opener: a hash of its encapsulated key and of the KEM key that it was made for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpenerHash([u8; 32]);

impl OpenerHash {
    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Of an opener.
    #[must_use]
    pub fn of(enc: &[u8; ENC_BYTES], key_id: &KeyId) -> Self {
        Self(hash(OPENER, &[enc, key_id.as_ref()]))
    }

    /// Its bytes: what the maker's letters carry until the peer confirms.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first half: what the peer's letters carry to confirm it.
    #[must_use]
    pub fn opened(&self) -> Opened {
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&self.0[..16]);
        Opened(prefix)
    }
}

/// A recipient's word that it has installed the key of an opener: the first half of that opener's hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Opened([u8; 16]);

impl Opened {
    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// An envelope's header as it arrived: decoded once, and an opener hashed once, however many keys are tried on it.
#[derive(Clone)]
pub struct Arrived<'a> {
    bytes: &'a [u8],
    header: Header,
    opener: Option<OpenerHash>,
}

impl<'a> Arrived<'a> {
    /// Reads a header.
    ///
    /// # Errors
    /// As [`Header::decode`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let header = Header::decode(bytes)?;
        let opener = match &header {
            Header::Opener { key_id, enc, .. } => Some(OpenerHash::of(enc, key_id)),
            Header::Continuation { .. } => None,
        };
        Ok(Self { bytes, header, opener })
    }

    /// What it says.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Names the opener, if it is one.
    #[must_use]
    pub const fn opener(&self) -> Option<OpenerHash> {
        self.opener
    }
}

/// What a seal holds: an Olm message, and in an opener who made it.
#[derive(Clone)]
pub struct Sealed {
    /// In an opener; in a continuation the seal key names its maker.
    pub sender: Option<DeviceName>,
    /// What is inside.
    pub message: OlmMessage,
}

/// An envelope's two halves, ready to be put into an inbox.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The per-recipient header.
    pub header: Vec<u8>,
    /// The padded, encrypted rest.
    pub payload: Vec<u8>,
}

/// The key that letters of one direction are sealed under, and the key that tags them.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Keys {
    seal: [u8; 32],
    tag: [u8; 32],
}

impl Keys {
    fn export(export: impl FnOnce(&[u8], &mut [u8]) -> Result<(), HpkeError>) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        export(&labelled(SEAL_SECRET, &[]), secret.as_mut()).expect("HKDF-SHA256 exports up to 8,160 bytes");
        Self { seal: derive(&secret, SEAL_KEY, &[]), tag: derive(&secret, SEAL_TAG_KEY, &[]) }
    }

    fn tag(&self, nonce: &[u8; NONCE_BYTES]) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&hmac(&self.tag, &labelled(SEAL_TAG, &[nonce]))[..TAG_BYTES]);
        tag
    }

    fn seal(
        &self,
        header: &Header,
        nonce: &[u8; NONCE_BYTES],
        sealed: &letter::Sealed,
    ) -> Result<Envelope, DecodeError> {
        let padded = Zeroizing::new(pad(&sealed.encode_to_vec())?);
        let header = header.encode();
        let payload = aead::encrypt(&self.seal, nonce, &header, &padded);
        Ok(Envelope { header, payload })
    }
}

/// The maker's end of a seal.
#[derive(Clone)]
pub struct SealMaker {
    key_id: KeyId,
    enc: Box<[u8; ENC_BYTES]>,
    keys: Keys,
}

impl SealMaker {
    /// Begins a seal to `recipient`, under the KEM key that its bundle gave: one encapsulation.
    ///
    /// # Panics
    /// Never: X-Wing encapsulates to every key that [`KemPrekey`] lets through.
    #[must_use]
    pub fn encapsulate(recipient: &DeviceName, kem: &KemPrekey, rng: &mut impl CryptoRng) -> Self {
        let info = seal_info(recipient, &kem.id());
        let (encapped, context) =
            setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(&OpModeS::Base, kem.key().inner(), &info, rng)
                .expect("encapsulation has nothing left to check");
        let mut enc = Box::new([0; ENC_BYTES]);
        encapped.write_exact(enc.as_mut());
        let keys = Keys::export(|label, secret| context.export(label, secret));
        Self { key_id: kem.id(), enc, keys }
    }

    /// The peer's KEM key that it was made for: on another one, a new seal is due.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Names it. Letters carry this until the peer has confirmed it.
    #[must_use]
    pub fn opener(&self) -> OpenerHash {
        OpenerHash::of(&self.enc, &self.key_id)
    }

    /// Seals while the peer has not confirmed: the same enc each time, another nonce.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`].
    pub fn seal_opener(
        &self,
        sender: &DeviceName,
        message: &OlmMessage,
        rng: &mut impl CryptoRng,
    ) -> Result<Envelope, DecodeError> {
        let nonce = aead::draw_nonce(rng);
        let header = Header::Opener { key_id: self.key_id, enc: self.enc.clone(), nonce };
        self.keys.seal(&header, &nonce, &sealed_message(Some(sender), message))
    }

    /// Seals once the peer has confirmed.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`].
    pub fn seal_continuation(&self, message: &OlmMessage, rng: &mut impl CryptoRng) -> Result<Envelope, DecodeError> {
        let nonce = aead::draw_nonce(rng);
        let header = Header::Continuation { tag: self.keys.tag(&nonce), nonce };
        self.keys.seal(&header, &nonce, &sealed_message(None, message))
    }
}

/// What a decapsulated opener offers: opens the envelopes that carry it, and nothing else yet.
#[derive(Clone)]
pub struct OfferedSeal {
    key_id: KeyId,
    key: SealKey,
}

impl OfferedSeal {
    /// Decapsulates an opener made to this device under one of its KEM keys: once per enc, however often it repeats.
    ///
    /// # Panics
    /// Never: X-Wing gives a secret for any enc; a wrong one opens nothing.
    #[must_use]
    pub fn decapsulate(
        recipient: &DeviceName,
        private_key: &KemPrivateKey,
        key_id: &KeyId,
        enc: &[u8; ENC_BYTES],
    ) -> Self {
        let encapped = EncappedKey::from_bytes(enc).expect("an enc of the right length");
        let info = seal_info(recipient, key_id);
        let context = setup_receiver::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            private_key.inner(),
            &encapped,
            &info,
        )
        .expect("decapsulation rejects implicitly");
        let keys = Keys::export(|label, secret| context.export(label, secret));
        Self { key_id: *key_id, key: SealKey { opener: OpenerHash::of(enc, key_id), keys } }
    }

    /// Names it.
    #[must_use]
    pub const fn opener(&self) -> OpenerHash {
        self.key.opener
    }

    /// The KEM key that it was made for: while that one lives the opener can come again.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Opens an envelope that carries this opener.
    ///
    /// # Errors
    /// As [`SealKey::open`].
    pub fn open(&self, header: &Arrived<'_>, payload: &[u8]) -> Result<Sealed, SealError> {
        self.key.open(header, payload)
    }

    /// The key to install, once the letter inside has been verified: its maker repeats the opener's hash where only it could have
    /// written it.
    ///
    /// # Errors
    /// [`NotVouchedFor`].
    pub fn install(self, letter: &Letter) -> Result<SealKey, NotVouchedFor> {
        if letter.opener == Some(self.key.opener) { Ok(self.key) } else { Err(NotVouchedFor) }
    }
}

/// The recipient's end of a seal.
#[derive(Clone)]
pub struct SealKey {
    opener: OpenerHash,
    keys: Keys,
}

impl SealKey {
    /// Names the opener that it came from.
    #[must_use]
    pub const fn opener(&self) -> OpenerHash {
        self.opener
    }

    /// Opens an envelope. Another seal's is [`SealError::WrongOpener`] or [`SealError::WrongTag`], for the price of one hash at most.
    ///
    /// # Errors
    /// One variant per check. Whatever is wrong, nothing may be installed or consumed.
    pub fn open(&self, arrived: &Arrived<'_>, payload: &[u8]) -> Result<Sealed, SealError> {
        self.check(arrived)?;
        let (Header::Opener { nonce, .. } | Header::Continuation { nonce, .. }) = &arrived.header;
        let padded = aead::decrypt(&self.keys.seal, nonce, arrived.bytes, payload).ok_or(SealError::CannotOpen)?;
        let message: letter::Sealed = decode::message(unpad(&padded)?, SEALED_BYTES_MAX)?;
        let is_anonymous = message.sender_account.is_empty() && message.sender_device.is_empty();
        let sender = match arrived.header {
            Header::Opener { .. } if is_anonymous => return Err(SealError::MissingSender),
            Header::Opener { .. } => Some(DeviceName {
                account: AccountId::try_from(&*message.sender_account)?,
                device: DeviceId::try_from(&*message.sender_device)?,
            }),
            Header::Continuation { .. } if !is_anonymous => return Err(SealError::UnexpectedSender),
            Header::Continuation { .. } => None,
        };
        Ok(Sealed { sender, message: OlmMessage::decode(message.kind, message.olm)? })
    }

    fn check(&self, arrived: &Arrived<'_>) -> Result<(), SealError> {
        match &arrived.header {
            Header::Opener { .. } if arrived.opener != Some(self.opener) => Err(SealError::WrongOpener),
            Header::Continuation { tag, nonce } if !bool::from(self.keys.tag(nonce).ct_eq(tag)) => {
                Err(SealError::WrongTag)
            }
            Header::Opener { .. } | Header::Continuation { .. } => Ok(()),
        }
    }
}

pub(crate) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn seal_info(recipient: &DeviceName, key_id: &KeyId) -> Vec<u8> {
    labelled(SEAL, &[recipient.account.as_ref(), recipient.device.as_ref(), key_id.as_ref()])
}

fn sealed_message(sender: Option<&DeviceName>, message: &OlmMessage) -> letter::Sealed {
    letter::Sealed {
        sender_account: sender.map_or_else(Bytes::new, |sender| sender.account.into()),
        sender_device: sender.map_or_else(Bytes::new, |sender| sender.device.into()),
        kind: message.kind().into(),
        olm: message.bytes().clone(),
    }
}

impl Stored for SealMaker {}

impl state::sealed::Row for SealMaker {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.key_id.as_ref(), self.enc.as_slice(), &self.keys.seal, &self.keys.tag].concat())
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let (key_id, rest) = bytes.split_first_chunk().ok_or(StateError::Malformed)?;
        let (enc, rest) = rest.split_first_chunk::<ENC_BYTES>().ok_or(StateError::Malformed)?;
        Ok(Self { key_id: KeyId::from_bytes(*key_id), enc: Box::new(*enc), keys: read_keys(rest)? })
    }
}

impl Stored for SealKey {}

impl state::sealed::Row for SealKey {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.opener.0, self.keys.seal, self.keys.tag].concat())
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let (opener, rest) = bytes.split_first_chunk().ok_or(StateError::Malformed)?;
        Ok(Self { opener: OpenerHash(*opener), keys: read_keys(rest)? })
    }
}

fn read_keys(bytes: &[u8]) -> Result<Keys, StateError> {
    let (seal, tag) = bytes.split_first_chunk().ok_or(StateError::Malformed)?;
    Ok(Keys { seal: *seal, tag: tag.try_into().map_err(|_| StateError::Malformed)? })
}

impl Stored for KemPrivateKey {}

impl state::sealed::Row for KemPrivateKey {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(Self::to_bytes(self).to_vec())
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        bytes.try_into().map(Self::from_bytes).map_err(|_| StateError::Malformed)
    }
}
