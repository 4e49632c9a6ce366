//! Proof of work: what creating an inbox or a chain costs where a relay asks for it.
//!
//! A proof is 8 bytes whose hash together with the id begins with enough zero bits; it holds for that id only. How many are asked
//! for stands among the features of the well-known document, as `proof-of-work-BITS`.

use sha2::{Digest, Sha256};

use crate::label::{PROOF_OF_WORK, labelled};

/// Leading zero bits of the proof `nonce` for the inbox or chain `id`.
#[must_use]
pub fn bits(id: &[u8], nonce: &[u8; 8]) -> u32 {
    let hash: [u8; 32] = Sha256::digest(labelled(PROOF_OF_WORK, &[id, nonce])).into();
    let zero_bytes = hash.iter().take_while(|byte| **byte == 0).count();
    let rest = hash.get(zero_bytes).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(zero_bytes * 8).unwrap_or(u32::MAX).saturating_add(rest)
}

/// A proof of `bits_min` zero bits for `id`: a second of a phone at 20 bits, twice as long with each more.
/// `None` only when no proof exists, which no caller lives to see: bound `bits_min` before asking.
#[must_use]
pub fn prove(id: &[u8], bits_min: u32) -> Option<[u8; 8]> {
    (0_u64..).map(u64::to_be_bytes).find(|nonce| bits(id, nonce) >= bits_min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_of_work_holds_for_one_id_only() {
        let nonce = prove(&[1; 16], 12).unwrap();
        assert!(bits(&[1; 16], &nonce) >= 12);
        assert!(bits(&[2; 16], &nonce) < 12);
        assert!(bits(&[1; 32], &nonce) < 12);
    }
}
