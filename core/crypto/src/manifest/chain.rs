//! A manifest in its chain: the encrypted entry, and reading several of them.
//!
//! The relay sees opaque entries; their key comes from a card or an invite. In an account's chain only the last manifest counts, but
//! the links between are checked, so that a relay or a thief of a list key cannot slip one in.

use rand_core::CryptoRng;
use sotto_protocol::label::{MANIFEST_ENTRY, labelled};
use sotto_protocol::{AccountId, Bytes, ChainId, Timestamp};

use super::{History, ManifestError, VerifiedManifest};
use crate::aead;
use crate::secret::ChainKey;

/// Encrypts a manifest as an entry of `chain`.
#[must_use]
pub fn seal_entry(manifest: &VerifiedManifest, chain: &ChainId, key: &ChainKey, rng: &mut impl CryptoRng) -> Vec<u8> {
    aead::seal(key.as_bytes(), &labelled(MANIFEST_ENTRY, &[chain.as_ref()]), manifest.bytes(), rng)
}

/// Decrypts an entry of `chain`: a SignedManifest, to be verified.
///
/// # Errors
/// [`ManifestError::CannotOpen`] for an entry under another key or of another chain, and for a damaged one.
pub fn open_entry(entry: &[u8], chain: &ChainId, key: &ChainKey) -> Result<Bytes, ManifestError> {
    let opened = aead::open(key.as_bytes(), &labelled(MANIFEST_ENTRY, &[chain.as_ref()]), entry);
    opened.map(|bytes| Bytes::copy_from_slice(&bytes)).ok_or(ManifestError::CannotOpen)
}

/// Verifies opened entries that stand one after the other, and returns the last. `history` is how the first of them relates to what is
/// known: [`History::Next`] after the known head, [`History::Later`] for a snapshot. Only the last one's time must not be over.
///
/// `None` when there are no entries: nothing new.
///
/// # Errors
/// As [`VerifiedManifest::verify`], of the first entry that fails.
pub fn read_chain(
    account: &AccountId,
    entries: &[Bytes],
    history: History<'_>,
    now: Timestamp,
) -> Result<Option<VerifiedManifest>, ManifestError> {
    let Some((last, earlier)) = entries.split_last() else { return Ok(None) };
    let mut known = None;
    for entry in earlier {
        let history = known.as_ref().map_or(history, History::Next);
        known = Some(VerifiedManifest::verify_at_any_time(account, entry.clone(), history)?.known());
    }
    VerifiedManifest::verify(account, last.clone(), known.as_ref().map_or(history, History::Next), now).map(Some)
}
