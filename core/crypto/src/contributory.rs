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

/// The point of an Ed25519 key, unless it is of small order or in another form than key generation writes.
pub(crate) fn strong_signer(key: &[u8; 32]) -> Option<VerifyingKey> {
    let point = VerifyingKey::from_bytes(key).ok()?;
    (!point.is_weak() && point.to_edwards().compress().as_bytes() == key).then_some(point)
}

/// Whether a device may sign with it: a signer in the group that key generation draws from. With a part of small order added, a key
/// verifies all the same, and is another spelling of the signer.
pub(crate) fn is_device_signer(key: &[u8; 32]) -> bool {
    strong_signer(key).is_some_and(|signer| signer.to_edwards().is_torsion_free())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::keys_that_contribute_nothing;

    #[test]
    fn keys_of_small_order_contribute_nothing() {
        for key in keys_that_contribute_nothing() {
            assert!(!is_contributory(&key), "{key:?}");
        }
        let mut base_point = [0; 32];
        base_point[0] = 9;
        assert!(is_contributory(&base_point));
    }

    #[test]
    fn a_device_signs_with_a_key_of_prime_order() {
        // The base point, and the base point with the point of order two added.
        let (mut base_point, mut mixed) = ([0x66; 32], [0x99; 32]);
        (base_point[0], mixed[0]) = (0x58, 0x95);
        assert!(is_device_signer(&base_point));
        assert!(strong_signer(&mixed).is_some() && !is_device_signer(&mixed));
    }

    #[test]
    fn a_key_has_one_spelling() {
        let mut base_point_with_high_bit = [0; 32];
        base_point_with_high_bit[0] = 9;
        base_point_with_high_bit[31] = 0x80;
        assert!(!is_contributory(&base_point_with_high_bit));
        // y = 3 is on the curve and of large order; 3 + p spells the same point.
        let mut three = [0; 32];
        three[0] = 3;
        let mut three_and_p = [0xff; 32];
        three_and_p[0] = 0xf0;
        three_and_p[31] = 0x7f;
        assert!(strong_signer(&three).is_some() && VerifyingKey::from_bytes(&three_and_p).is_ok());
        assert!(strong_signer(&three_and_p).is_none());
    }
}
