//! The files of a profile as whoever has its key reads them: every page of the database and every page that was ever written to its log,
//! those that nothing points to any more too.
//!
//! SQLite is not asked: it shows no page that it considers free, and of a log only what counts. The format is SQLCipher's (its own
//! documentation, "Security Design"): AES-256 in CBC mode, and behind each page its first block and a tag.

use std::collections::BTreeMap;

use aes::Aes256;
use aes::cipher::Block;
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use sotto_core::world::SecretStore as _;

use crate::Person;

const PAGE: usize = 4_096;
/// Behind the content of a page: 16 bytes that its encryption began with, and a tag of 64.
const RESERVE: usize = 80;
const BLOCK: usize = 16;
/// At the beginning of a database stands the salt of its key, in the place of what begins every database.
const SALT: usize = 16;
const LOG_HEAD: usize = 32;
const FRAME_HEAD: usize = 24;

impl Person {
    /// Every file of the profile by its name, decrypted.
    ///
    /// # Panics
    /// When there is no key, or a file is none of SQLCipher's.
    #[must_use]
    pub fn plain_files(&self) -> BTreeMap<String, Vec<u8>> {
        let key = self.secrets.get("database").expect("the keystore answers").expect("a profile has a key");
        let plain = |path: std::path::PathBuf| {
            let bytes = std::fs::read(&path).expect("a file is read");
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            let plain = match name.as_str() {
                "sotto.db" => database(&bytes, &key),
                "sotto.db-wal" => log(&bytes, &key),
                // The lock, and the index of the log: numbers of pages.
                _ => bytes,
            };
            (name, plain)
        };
        self.files().into_iter().map(plain).collect()
    }
}

fn database(bytes: &[u8], key: &[u8]) -> Vec<u8> {
    let mut plain = vec![0; SALT];
    for (number, page) in bytes.chunks(PAGE).enumerate() {
        plain.extend(decrypted(if number == 0 { &page[SALT..] } else { page }, key));
    }
    assert!(bytes.is_empty() || plain[SALT..].starts_with(&[0x10, 0x00]), "the key opens the database");
    plain
}

fn log(bytes: &[u8], key: &[u8]) -> Vec<u8> {
    let frames = bytes.get(LOG_HEAD..).unwrap_or_default().chunks(FRAME_HEAD + PAGE);
    let whole = frames.filter(|frame| frame.len() == FRAME_HEAD + PAGE);
    whole
        .flat_map(|frame| {
            let is_first = frame[..4] == [0, 0, 0, 1];
            decrypted(&frame[FRAME_HEAD + if is_first { SALT } else { 0 }..], key)
        })
        .collect()
}

/// The content of a page, or of the first one what stands behind the salt.
fn decrypted(page: &[u8], key: &[u8]) -> Vec<u8> {
    let (content, reserve) = page.split_at(page.len() - RESERVE);
    let mut plain = content.to_vec();
    let (blocks, []) = plain.as_chunks_mut() else { unreachable!("pages are whole blocks") };
    let mut decryptor = cbc::Decryptor::<Aes256>::new_from_slices(key, &reserve[..BLOCK]).expect("a key of 32 bytes");
    decryptor.decrypt_blocks(Block::<Aes256>::cast_slice_from_core_mut(blocks));
    plain
}
