//! XChaCha20-Poly1305, the one cipher of everything that Sotto encrypts by itself.
//!
//! Nonces are 24 random bytes: long enough to draw forever under one key without meeting one twice.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand_core::CryptoRng;
use sotto_protocol::header::NONCE_BYTES;
use zeroize::Zeroizing;

/// Length of the authentication tag.
pub(crate) const TAG_BYTES: usize = 16;

/// `nonce || ciphertext`, with a nonce drawn here.
pub(crate) fn seal(key: &[u8; 32], aad: &[u8], plaintext: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
    let nonce = draw_nonce(rng);
    let mut sealed = Vec::with_capacity(NONCE_BYTES + plaintext.len() + TAG_BYTES);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&encrypt(key, &nonce, aad, plaintext));
    sealed
}

/// The reverse of [`seal`]; `None` for anything that it did not make with the same key and aad.
pub(crate) fn open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    decrypt(key, nonce, aad, ciphertext)
}

pub(crate) fn draw_nonce(rng: &mut impl CryptoRng) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    rng.fill_bytes(&mut nonce);
    nonce
}

pub(crate) fn encrypt(key: &[u8; 32], nonce: &[u8; NONCE_BYTES], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    XChaCha20Poly1305::new(key.into())
        .encrypt(&XNonce::from(*nonce), Payload { msg: plaintext, aad })
        .expect("plaintexts are bounded far below the cipher's 256 GiB")
}

pub(crate) fn decrypt(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
    aad: &[u8],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let payload = Payload { msg: ciphertext, aad };
    XChaCha20Poly1305::new(key.into()).decrypt(&XNonce::from(*nonce), payload).ok().map(Zeroizing::new)
}
