//! Signing keys: a type per role, and what each role signs.
//!
//! - [`RootKey`] is the account; it signs certificates and nothing else.
//! - [`ListKey`] speaks for the account during one epoch; it signs manifests.
//! - [`OwnerKey`], [`ManageKey`], [`WriteKey`] are capabilities at relays, made for one inbox or chain, linked to no account.
//!
//! A device's own Ed25519 key lives in its Olm account (`olm/account.rs`). All signatures are over labelled bytes, so that nothing
//! signed in one role means anything in another; verification is strict ([`verify`]).

use ed25519_dalek::{Signature, Signer, SigningKey};
use rand_core::CryptoRng;
use sotto_protocol::label::{OWN_SECRET, ack_signature_input, attach_signature_input, labelled};
use sotto_protocol::request::{Authorization, signature_input};
use sotto_protocol::{AccountId, InboxId, RelayName, Timestamp};
use zeroize::Zeroizing;

use crate::contributory::strong_signer;

use crate::secret::{PairSecret, derive};
use crate::state::{self, StateError, Stored};

/// A signature that is not one, or not by that key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// Verifies an Ed25519 signature by RFC 8032, and refuses what it leaves open: small-order and non-canonical keys, small-order and
/// non-canonical commitments, unreduced scalars. So no two implementations can disagree about a signature.
///
/// # Errors
/// [`BadSignature`], whatever is wrong.
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
    strong_signer(public).ok_or(BadSignature)?.verify_strict(message, &signature).map_err(|_| BadSignature)
}

macro_rules! signing_keys {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SigningKey);

        impl $name {
            /// Draws a new one.
            #[must_use]
            pub fn generate(rng: &mut impl CryptoRng) -> Self {
                Self(SigningKey::generate(rng))
            }

            /// From its 32 secret bytes.
            #[must_use]
            pub fn from_bytes(bytes: &[u8; 32]) -> Self {
                Self(SigningKey::from_bytes(bytes))
            }

            /// Its 32 secret bytes: only for the store.
            #[must_use]
            pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
                Zeroizing::new(self.0.to_bytes())
            }

            /// The public half.
            #[must_use]
            pub fn public(&self) -> [u8; 32] {
                self.0.verifying_key().to_bytes()
            }
        }

        impl Stored for $name {}

        impl state::sealed::Row for $name {
            fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
                Zeroizing::new(self.0.to_bytes().to_vec())
            }

            fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
                bytes.try_into().map(Self::from_bytes).map_err(|_| StateError::Malformed)
            }
        }
    )*};
}

signing_keys! {
    /// The account itself. Its private half is in the recovery kit, and on the first device only behind user presence.
    RootKey;
    /// Signs an account's manifests during one epoch; all its devices hold it.
    ListKey;
    /// The right to attach, acknowledge and delete one inbox: its device alone holds it.
    OwnerKey;
    /// The right to put and drop one inbox's tokens and prekeys: the account's devices share it.
    ManageKey;
    /// The right to append to one chain.
    WriteKey;
}

impl RootKey {
    /// The account that this key is.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId::from_bytes(self.public())
    }

    pub(crate) fn sign(&self, label: &str, parts: &[&[u8]]) -> [u8; 64] {
        self.0.sign(&labelled(label, parts)).to_bytes()
    }
}

impl ListKey {
    /// What the devices of an account share as two contacts share a pair secret: whoever holds the list key of an epoch knows it, also a device
    /// that never heard of the others, and with the epoch it changes.
    #[must_use]
    pub fn own_secret(&self) -> PairSecret {
        PairSecret::from_bytes(derive(&self.to_bytes(), OWN_SECRET, &[]))
    }

    pub(crate) fn sign(&self, label: &str, parts: &[&[u8]]) -> [u8; 64] {
        self.0.sign(&labelled(label, parts)).to_bytes()
    }
}

impl OwnerKey {
    /// The answer to a stream's challenge: takes `inbox` over on the relay that goes by `relay`, and on no other.
    #[must_use]
    pub fn attach(&self, relay: &RelayName, challenge: &[u8; 32], inbox: &InboxId) -> [u8; 64] {
        self.0.sign(&attach_signature_input(relay, challenge, inbox)).to_bytes()
    }

    /// The word that everything in `inbox` up to `sequence` is dealt with. The relay gives it back at every attaching: that much was
    /// acknowledged, and nobody can make it up.
    #[must_use]
    pub fn acknowledge(&self, relay: &RelayName, inbox: &InboxId, sequence: u64) -> [u8; 64] {
        self.0.sign(&ack_signature_input(relay, inbox, sequence)).to_bytes()
    }

    /// Whether this key has acknowledged exactly that.
    #[must_use]
    pub fn has_acknowledged(&self, relay: &RelayName, inbox: &InboxId, sequence: u64, signature: &[u8]) -> bool {
        verify(&self.public(), &ack_signature_input(relay, inbox, sequence), signature).is_ok()
    }
}

/// A relay call that needs a signature: all of it is signed.
#[derive(Clone, Copy)]
pub struct SignedCall<'a> {
    /// Which relay it goes to.
    pub relay: &'a RelayName,
    /// One of [`sotto_protocol::request::path`].
    pub path: &'a str,
    /// The encoded message.
    pub body: &'a [u8],
}

macro_rules! relay_keys {
    ($($name:ident),*) => {$(
        impl $name {
            /// Signs a relay call, with a nonce drawn here. A retry is signed anew: relays accept a nonce once.
            #[must_use]
            pub fn authorize(&self, call: &SignedCall<'_>, now: Timestamp, rng: &mut impl CryptoRng) -> Authorization {
                authorize(&self.0, call, now, rng)
            }
        }
    )*};
}

relay_keys!(OwnerKey, ManageKey, WriteKey);

fn authorize(key: &SigningKey, call: &SignedCall<'_>, time: Timestamp, rng: &mut impl CryptoRng) -> Authorization {
    let mut nonce = [0; 16];
    rng.fill_bytes(&mut nonce);
    let input = signature_input(call.relay, "POST", call.path, call.body, time, &nonce);
    Authorization { key: key.verifying_key().to_bytes(), time, nonce, signature: key.sign(&input).to_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, rng};
    use sotto_protocol::request::path;

    fn relay(name: &str) -> RelayName {
        RelayName::parse(name, 443).unwrap()
    }

    #[test]
    fn a7_a_call_is_signed_for_its_relay_path_body_time_and_nonce() {
        let key = ManageKey::generate(&mut rng(1));
        let call = SignedCall { relay: &relay("relay.example"), path: path::TOKEN_PUT, body: b"body" };
        let signed = key.authorize(&call, NOW, &mut rng(2));
        assert_eq!(signed.key, key.public());
        let verifies = |relay: &RelayName, path: &str, body: &[u8], time: Timestamp, nonce: &[u8; 16]| {
            let input = signature_input(relay, "POST", path, body, time, nonce);
            verify(&signed.key, &input, &signed.signature).is_ok()
        };
        assert!(verifies(call.relay, call.path, call.body, NOW, &signed.nonce));
        assert!(!verifies(&relay("other.example"), call.path, call.body, NOW, &signed.nonce));
        assert!(!verifies(call.relay, path::TOKEN_DROP, call.body, NOW, &signed.nonce));
        assert!(!verifies(call.relay, call.path, b"bodi", NOW, &signed.nonce));
        assert!(!verifies(call.relay, call.path, call.body, Timestamp::EPOCH, &signed.nonce));
        assert!(!verifies(call.relay, call.path, call.body, NOW, &[0; 16]));
    }

    #[test]
    fn a7_a_call_signed_again_has_another_nonce() {
        let key = WriteKey::generate(&mut rng(1));
        let call = SignedCall { relay: &relay("relay.example"), path: path::CHAIN_APPEND, body: b"body" };
        let mut rng = rng(2);
        assert_ne!(key.authorize(&call, NOW, &mut rng).nonce, key.authorize(&call, NOW, &mut rng).nonce);
    }

    #[test]
    fn a7_an_answer_to_a_challenge_names_the_relay_and_the_inbox() {
        let key = OwnerKey::generate(&mut rng(1));
        let (name, inbox) = (relay("relay.example"), InboxId::from_bytes([1; 16]));
        let signature = key.attach(&name, &[7; 32], &inbox);
        let verifies = |name: &RelayName, challenge: &[u8], inbox: &InboxId| {
            verify(&key.public(), &attach_signature_input(name, challenge, inbox), &signature).is_ok()
        };
        assert!(verifies(&name, &[7; 32], &inbox));
        assert!(!verifies(&relay("other.example"), &[7; 32], &inbox));
        assert!(!verifies(&name, &[8; 32], &inbox));
        assert!(!verifies(&name, &[7; 32], &InboxId::from_bytes([2; 16])));
    }

    #[test]
    fn h1_an_acknowledgement_is_the_owners_for_one_relay_inbox_and_number() {
        let key = OwnerKey::generate(&mut rng(1));
        let (name, inbox) = (relay("relay.example"), InboxId::from_bytes([1; 16]));
        let signature = key.acknowledge(&name, &inbox, 7);
        assert!(key.has_acknowledged(&name, &inbox, 7, &signature));
        assert!(!key.has_acknowledged(&relay("other.example"), &inbox, 7, &signature));
        assert!(!key.has_acknowledged(&name, &InboxId::from_bytes([2; 16]), 7, &signature));
        assert!(!key.has_acknowledged(&name, &inbox, 8, &signature));
        assert!(!key.has_acknowledged(&name, &inbox, 7, &[]));
        assert!(!OwnerKey::generate(&mut rng(2)).has_acknowledged(&name, &inbox, 7, &signature));
    }

    #[test]
    fn b1_an_account_is_its_root_public_key() {
        let root = RootKey::generate(&mut rng(1));
        assert_eq!(root.account().as_bytes(), &root.public());
        assert_eq!(RootKey::from_bytes(&root.to_bytes()).account(), root.account());
    }

    #[test]
    fn a_signature_of_another_length_is_refused() {
        let root = RootKey::generate(&mut rng(1));
        let signature = root.0.sign(b"message").to_bytes();
        assert_eq!(verify(&root.public(), b"message", &signature), Ok(()));
        assert_eq!(verify(&root.public(), b"message", &signature[..63]), Err(BadSignature));
        assert_eq!(verify(&root.public(), b"message", &[signature.as_slice(), &[0]].concat()), Err(BadSignature));
    }
}
