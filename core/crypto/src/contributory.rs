//! Public keys that no honest key generation makes: with them, a shared secret or a signature proves nothing.

use ed25519_dalek::VerifyingKey;
use vodozemac::{Curve25519PublicKey, Curve25519SecretKey};

/// Any scalar will do: every clamped one sends a point of small order to zero, and no other point.
const PROBE: [u8; 32] = [1; 32];

/// Whether a Curve25519 key contributes to what is agreed with it, and is in the one form that key generation writes.
pub(crate) fn is_contributory(key: &[u8; 32]) -> bool {
    is_reduced(key)
        && Curve25519SecretKey::from_slice(&PROBE).diffie_hellman(&Curve25519PublicKey::from_bytes(*key)).is_some()
}

/// Whether an Ed25519 key is a canonical point that is not of small order.
pub(crate) fn is_strong_signer(key: &[u8; 32]) -> bool {
    VerifyingKey::from_bytes(key).is_ok_and(|point| !point.is_weak() && point.to_edwards().compress().as_bytes() == key)
}

/// Below 2^255 - 19. X25519 takes the rest too, and one key would have two spellings.
fn is_reduced(key: &[u8; 32]) -> bool {
    const HIGHEST: [u8; 32] = {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xec;
        bytes[31] = 0x7f;
        bytes
    };
    key.iter().rev().le(HIGHEST.iter().rev())
}
