//! What SQLCipher asks of a provider, on slices: HMAC, PBKDF2 and AES-256 in CBC mode without padding.
//!
//! SQLCipher decides what is encrypted and authenticated, and in which order; this is the arithmetic it does not bring along. Keys
//! are only borrowed, and the key schedules and hash states made from them are wiped when dropped.
//! Not here: pointers (`provider.rs`), comparing tags (SQLCipher does it in constant time).

use aes::Aes256;
use cbc::cipher::{Block, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::Hmac;
use hmac::digest::typenum::Unsigned;
use hmac::digest::{FixedOutput, InvalidLength, KeyInit, Update};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// Bytes in an AES-256 key.
pub(crate) const KEY_SIZE: u8 = 32;
/// Bytes in an AES block, and so in an initialization vector.
pub(crate) const BLOCK_SIZE: u8 = 16;

/// SQLCipher asked for something that does not exist here. It fails the page, and nothing is written.
#[derive(Debug)]
pub(crate) struct Refused;

impl From<InvalidLength> for Refused {
    fn from(_: InvalidLength) -> Self {
        Self
    }
}

/// What one hash function is good for: a tag over two texts as if they were one; a key from a passphrase, a salt and rounds.
pub(crate) struct Hash {
    pub(crate) tag_size: u8,
    pub(crate) hmac: fn(Bytes, [Bytes; 2]) -> Result<Tag, Refused>,
    pub(crate) pbkdf2: fn(Bytes, Bytes, u32, &mut [u8]) -> Result<(), InvalidLength>,
}

type Bytes<'call> = &'call [u8];

/// Room for the longest tag, that of HMAC-SHA512. A shorter one leaves zeros behind it.
pub(crate) type Tag = [u8; 64];

/// In the order of `SQLCIPHER_HMAC_*` and `SQLCIPHER_PBKDF2_HMAC_*`. New files use the last; older files ask for the others.
const HASHES: [Hash; 3] = [Hash::of::<Hmac<Sha1>>(), Hash::of::<Hmac<Sha256>>(), Hash::of::<Hmac<Sha512>>()];

impl Hash {
    const fn of<Mac: KeyInit + Update + FixedOutput + Clone>() -> Self {
        Self { tag_size: Mac::OutputSize::U8, hmac: hmac::<Mac>, pbkdf2: pbkdf2::pbkdf2::<Mac> }
    }

    pub(crate) fn numbered(number: i32) -> Result<&'static Self, Refused> {
        usize::try_from(number).ok().and_then(|index| HASHES.get(index)).ok_or(Refused)
    }
}

fn hmac<Mac: KeyInit + Update + FixedOutput>(key: &[u8], parts: [&[u8]; 2]) -> Result<Tag, Refused> {
    let mut mac = Mac::new_from_slice(key)?;
    parts.iter().for_each(|part| mac.update(part));
    let made = mac.finalize_fixed();
    let mut tag = [0; size_of::<Tag>()];
    tag.get_mut(..made.len()).ok_or(Refused)?.copy_from_slice(&made);
    Ok(tag)
}

/// AES-256-CBC over whole blocks, in place. Zero decrypts and one encrypts, as in `SQLCIPHER_DECRYPT` and `SQLCIPHER_ENCRYPT`.
pub(crate) fn aes_256_cbc(mode: i32, key: &[u8], iv: &[u8], page: &mut [u8]) -> Result<(), Refused> {
    let (blocks, []) = page.as_chunks_mut() else {
        return Err(Refused);
    };
    let blocks = Block::<Aes256>::cast_slice_from_core_mut(blocks);
    match mode {
        0 => cbc::Decryptor::<Aes256>::new_from_slices(key, iv)?.decrypt_blocks(blocks),
        1 => cbc::Encryptor::<Aes256>::new_from_slices(key, iv)?.encrypt_blocks(blocks),
        _ => return Err(Refused),
    }
    Ok(())
}
