//! Domain separation: what every hash, signature and key derivation starts from.
//!
//! A label names one purpose, and lengths stand before the parts, so that no bytes made for one purpose can be read as another's.

use sha2::{Digest, Sha256};

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = concat!("sotto/v1/", $text);)*

        #[cfg(test)]
        const ALL: &[&str] = &[$($name),*];
    };
}

labels! {
    /// What a relay stores of a token.
    TOKEN_HASH = "token-hash";
    /// Links a chain's entries.
    CHAIN_ENTRY = "chain-entry";
    /// A signed relay call.
    REQUEST = "request";
    /// The answer to a stream's challenge.
    ATTACH = "attach";
    /// An owner's word for what its device has acknowledged.
    ACK = "ack";
    /// Proof of work for a new inbox or chain.
    PROOF_OF_WORK = "proof-of-work";
    /// Root key over a certificate.
    CERTIFICATE = "certificate";
    /// List key over a manifest.
    MANIFEST = "manifest";
    /// Device key over the device that comes in its place.
    SUCCESSOR = "successor";
    /// Links manifests and names a head.
    MANIFEST_HASH = "manifest-hash";
    /// Encryption of a manifest in its chain.
    MANIFEST_ENTRY = "manifest-entry";
    /// Device key over a one-time key.
    ONE_TIME_KEY = "one-time-key";
    /// Device key over a last-resort key.
    LAST_RESORT_KEY = "last-resort-key";
    /// Device key over a KEM key.
    KEM_KEY = "kem-key";
    /// Encryption of bundles and one-time keys on the relay.
    PREKEY_BLOB = "prekey-blob";
    /// HPKE info of a seal.
    SEAL = "seal";
    /// HPKE exporter context of a seal.
    SEAL_SECRET = "seal-secret";
    /// The key that letters are sealed under.
    SEAL_KEY = "seal-key";
    /// The key that tags continuations.
    SEAL_TAG_KEY = "seal-tag-key";
    /// A continuation's tag.
    SEAL_TAG = "seal-tag";
    /// The key that what is ephemeral is sealed under.
    EPHEMERAL_KEY = "ephemeral-key";
    /// The key that tags what is ephemeral.
    EPHEMERAL_TAG_KEY = "ephemeral-tag-key";
    /// The tag of what is ephemeral.
    EPHEMERAL_TAG = "ephemeral-tag";
    /// Names an opener.
    OPENER = "opener";
    /// Ties a letter to its two ends.
    BINDING = "binding";
    /// Names an inner ciphertext.
    INNER = "inner";
    /// Names a 1:1 conversation.
    CONVERSATION = "conversation";
    /// A token of two contacts.
    PAIR_TOKEN = "pair-token";
    /// What the devices of an account share, for the tokens of each other.
    OWN_SECRET = "own-secret";
    /// Names a pair secret to who shares it.
    PAIR_ID = "pair-id";
    /// A token for the answer to a request.
    REPLY_TOKEN = "reply-token";
    /// A token of an invite.
    INVITE_TOKEN = "invite-token";
    /// An invite's chain id.
    INVITE_CHAIN = "invite-chain";
    /// An invite's chain key.
    INVITE_CHAIN_KEY = "invite-chain-key";
    /// Shows under which invite a contact request was made.
    INVITE_PROOF = "invite-proof";
    /// Detects a damaged invite link.
    INVITE_CHECKSUM = "invite-checksum";
    /// An account's share of a safety number.
    SAFETY_NUMBER = "safety-number";
    /// The key that seals ratchet state at rest.
    STATE_KEY = "state-key";
    /// Associated data of sealed state rows.
    STATE_ROW = "state-row";
}

/// The label, then every part with its length before it.
#[must_use]
pub fn labelled(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + label.len() + parts.iter().map(|part| 4 + part.len()).sum::<usize>());
    write_labelled(label, parts, |bytes| out.extend_from_slice(bytes));
    out
}

/// SHA-256 of [`labelled`].
#[must_use]
pub fn hash(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    write_labelled(label, parts, |bytes| digest.update(bytes));
    digest.finalize().into()
}

fn write_labelled(label: &str, parts: &[&[u8]], mut write: impl FnMut(&[u8])) {
    let label_length =
        u8::try_from(label.len()).expect("labels are constants of this crate, all shorter than 256 bytes");
    write(&[label_length]);
    write(label.as_bytes());
    for part in parts {
        let length = u32::try_from(part.len()).expect("no part reaches 4 GiB: every input is bounded by `limits`");
        write(&length.to_be_bytes());
        write(part);
    }
}

/// The hash that links a chain's entries; `previous` is empty for the first.
#[must_use]
pub fn chain_entry_hash(previous: &[u8], entry: &[u8]) -> [u8; 32] {
    hash(CHAIN_ENTRY, &[previous, entry])
}

/// What an owner key signs to attach an inbox.
#[must_use]
pub fn attach_signature_input(relay: &crate::RelayName, challenge: &[u8], inbox: &crate::InboxId) -> Vec<u8> {
    labelled(ATTACH, &[relay.as_str().as_bytes(), challenge, inbox.as_ref()])
}

/// What an owner key signs to acknowledge everything up to `sequence`.
#[must_use]
pub fn ack_signature_input(relay: &crate::RelayName, inbox: &crate::InboxId, sequence: u64) -> Vec<u8> {
    labelled(ACK, &[relay.as_str().as_bytes(), inbox.as_ref(), &sequence.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_labels_are_equal_and_none_is_too_long() {
        let mut labels = ALL.to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), ALL.len());
        assert!(ALL.iter().all(|label| label.len() < 256));
    }

    #[test]
    fn moving_a_byte_between_parts_changes_the_result() {
        assert_ne!(labelled(SEAL, &[b"ab", b"c"]), labelled(SEAL, &[b"a", b"bc"]));
        assert_ne!(labelled(SEAL, &[b"ab"]), labelled(SEAL, &[b"ab", b""]));
    }

    #[test]
    fn hashing_and_writing_agree() {
        assert_eq!(hash(INNER, &[b"x", b"yz"]), <[u8; 32]>::from(Sha256::digest(labelled(INNER, &[b"x", b"yz"]))));
    }
}
