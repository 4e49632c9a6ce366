//! The KEM of seals: X-Wing, which is ML-KEM-768 and X25519 in one, so that a secret holds while either does.

use hpke::kem::{Kem, XWing};
use hpke::{Deserializable, Serializable};
use rand_core::CryptoRng;
use sotto_protocol::decode::DecodeError;
use zeroize::Zeroizing;

use crate::contributory::is_contributory;

/// Length of a public key.
pub const KEM_PUBLIC_BYTES: usize = 1_216;
/// Of that, what belongs to ML-KEM-768; an X25519 key follows.
const ML_KEM_PUBLIC_BYTES: usize = 1_184;

pub(crate) type PrivateKey = <XWing as Kem>::PrivateKey;
pub(crate) type PublicKey = <XWing as Kem>::PublicKey;
pub(crate) type EncappedKey = <XWing as Kem>::EncappedKey;

/// The private half of a device's KEM key. Whoever has it opens every seal made to it: it is erased as PROTOCOL D4 says.
#[derive(Clone)]
pub struct KemPrivateKey(PrivateKey);

impl KemPrivateKey {
    /// Draws a new one.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        Self::from_bytes(&seed)
    }

    /// From its 32-byte seed.
    #[must_use]
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(PrivateKey::from_bytes(seed).expect("every 32 bytes are an X-Wing seed"))
    }

    /// Its 32-byte seed: only for the store.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut seed = Zeroizing::new([0; 32]);
        self.0.write_exact(seed.as_mut());
        seed
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> KemPublicKey {
        KemPublicKey(XWing::sk_to_pk(&self.0))
    }

    pub(crate) const fn inner(&self) -> &PrivateKey {
        &self.0
    }
}

/// The public half of a device's KEM key.
#[derive(Clone, PartialEq, Eq)]
pub struct KemPublicKey(PublicKey);

impl KemPublicKey {
    /// Reads a key: both halves must be ones that a key generation can make.
    ///
    /// # Errors
    /// [`DecodeError::WrongLength`], [`DecodeError::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (_, x25519) = bytes
            .split_at_checked(ML_KEM_PUBLIC_BYTES)
            .filter(|_| bytes.len() == KEM_PUBLIC_BYTES)
            .ok_or(DecodeError::WrongLength { what: "KEM key", length: bytes.len() })?;
        let x25519 = x25519.try_into().map_err(|_| DecodeError::Malformed)?;
        if !is_contributory(x25519) {
            return Err(DecodeError::Malformed);
        }
        PublicKey::from_bytes(bytes).map(Self).map_err(|_| DecodeError::Malformed)
    }

    /// Its 1,216 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes().to_vec()
    }

    pub(crate) const fn inner(&self) -> &PublicKey {
        &self.0
    }
}
