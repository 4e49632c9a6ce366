//! Secrets of 32 bytes: one type per purpose, so that none is used for another's.
//!
//! They are erased when dropped, compared in constant time, and never printed. Everything that derives from one of them is a method
//! of it (HKDF-SHA256 without salt, `docs/protocol.md` section 1), so no caller handles key material by itself.

use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use sotto_protocol::decode::DecodeError;
use sotto_protocol::invite::InviteSecret;
use sotto_protocol::label::{
    INVITE_CHAIN, INVITE_CHAIN_KEY, INVITE_PROOF, INVITE_TOKEN, PAIR_ID, PAIR_TOKEN, REPLY_TOKEN, STATE_KEY, labelled,
};
use sotto_protocol::{AccountId, ChainId, InboxId, Token};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Draws a new one.
            #[must_use]
            pub fn generate(rng: &mut impl CryptoRng) -> Self {
                let mut bytes = [0; 32];
                rng.fill_bytes(&mut bytes);
                Self(bytes)
            }

            /// From its bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its bytes: only for the wire and the store.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = DecodeError;

            /// # Errors
            /// [`DecodeError::WrongLength`] for anything but 32 bytes.
            fn try_from(bytes: &[u8]) -> Result<Self, DecodeError> {
                bytes.try_into().map(Self).map_err(|_| DecodeError::WrongLength { what: stringify!($name), length: bytes.len() })
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}
    )*};
}

secrets! {
    /// Opens the entries of a manifest chain.
    ChainKey;
    /// Opens an inbox's bundle and one-time keys, which are noise to the relay.
    PrekeyKey;
    /// What two contacts share: the tokens for all their inboxes derive from it.
    PairSecret;
    /// Names a pair secret, among those who share it.
    PairId;
    /// What a contact request carries: the tokens for its answer derive from it.
    ReplySecret;
    /// What shows under which invite a contact request was made: only who holds that invite's secret can make it.
    InviteProof;
    /// Encrypts ratchet state at rest.
    StateKey;
}

impl StateKey {
    /// The state key of a database: whoever opens the one opens the other, and neither key is used for both.
    #[must_use]
    pub fn of_database(database_key: &[u8; 32]) -> Self {
        Self(derive(database_key, STATE_KEY, &[]))
    }
}

impl PairSecret {
    /// The contact's token for `inbox`, in a generation of the pair.
    #[must_use]
    pub fn token(&self, inbox: &InboxId, generation: u32) -> Token {
        Token::from_bytes(derive(&self.0, PAIR_TOKEN, &[inbox.as_ref(), &generation.to_be_bytes()]))
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> PairId {
        PairId(derive(&self.0, PAIR_ID, &[]))
    }
}

impl ReplySecret {
    /// The invite owner's token for the requester's `inbox`.
    #[must_use]
    pub fn token(&self, inbox: &InboxId) -> Token {
        Token::from_bytes(derive(&self.0, REPLY_TOKEN, &[inbox.as_ref()]))
    }
}

/// The chain that an invite's manifest stands in, and the key to its entries.
#[must_use]
pub fn invite_chain(secret: &InviteSecret) -> (ChainId, ChainKey) {
    let chain = ChainId::from_bytes(derive(secret.as_bytes(), INVITE_CHAIN, &[]));
    (chain, ChainKey(derive(secret.as_bytes(), INVITE_CHAIN_KEY, &[])))
}

/// An invite's token for one inbox of its owner.
#[must_use]
pub fn invite_token(secret: &InviteSecret, inbox: &InboxId) -> Token {
    Token::from_bytes(derive(secret.as_bytes(), INVITE_TOKEN, &[inbox.as_ref()]))
}

/// The proof that `requester` asks `owner` under this invite: whoever delivers a request chooses where, and must not choose the invite.
#[must_use]
pub fn invite_proof(secret: &InviteSecret, requester: &AccountId, owner: &AccountId) -> InviteProof {
    InviteProof(derive(secret.as_bytes(), INVITE_PROOF, &[requester.as_ref(), owner.as_ref()]))
}

/// The labelled parts as info.
pub(crate) fn derive<const N: usize>(secret: &[u8; 32], label: &str, parts: &[&[u8]]) -> [u8; N] {
    expand(secret, &labelled(label, parts))
}

/// HKDF-SHA256 without salt.
pub(crate) fn expand<const N: usize>(secret: &[u8], info: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    Hkdf::<Sha256>::new(None, secret).expand(info, &mut out).expect("no key here is longer than 8,160 bytes");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rng;

    const INBOX: InboxId = InboxId::from_bytes([1; 16]);
    const OTHER_INBOX: InboxId = InboxId::from_bytes([2; 16]);

    #[test]
    fn c1_both_sides_compute_one_token_per_inbox_and_generation() {
        let (here, there) = (PairSecret::from_bytes([7; 32]), PairSecret::from_bytes([7; 32]));
        assert_eq!(here.token(&INBOX, 1), there.token(&INBOX, 1));
        assert_ne!(here.token(&INBOX, 1), here.token(&OTHER_INBOX, 1));
        assert_ne!(here.token(&INBOX, 1), here.token(&INBOX, 2));
        assert_ne!(here.token(&INBOX, 1), PairSecret::from_bytes([8; 32]).token(&INBOX, 1));
    }

    #[test]
    fn c2_what_derives_from_one_secret_for_different_purposes_differs() {
        let (invite, reply) = (InviteSecret::from_bytes([7; 32]), ReplySecret::from_bytes([7; 32]));
        let (chain, key) = invite_chain(&invite);
        assert_ne!(chain.as_bytes(), key.as_bytes());
        assert_ne!(invite_token(&invite, &INBOX), reply.token(&INBOX));
        assert_ne!(invite_token(&invite, &INBOX), invite_token(&invite, &OTHER_INBOX));
        assert_ne!(reply.token(&INBOX), reply.token(&OTHER_INBOX));
        assert_ne!(reply.token(&INBOX), PairSecret::from_bytes([7; 32]).token(&INBOX, 1));
    }

    #[test]
    fn c2_a_proof_is_of_one_invite_one_requester_and_one_owner() {
        let (invite, other_invite) = (InviteSecret::from_bytes([7; 32]), InviteSecret::from_bytes([8; 32]));
        let (alice, bob, carol) = [1, 2, 3].map(|byte| AccountId::from_bytes([byte; 32])).into();
        let proof = invite_proof(&invite, &alice, &bob);
        assert!(proof == invite_proof(&invite, &alice, &bob));
        assert!(proof != invite_proof(&other_invite, &alice, &bob));
        assert!(proof != invite_proof(&invite, &carol, &bob) && proof != invite_proof(&invite, &alice, &carol));
        assert!(proof != invite_proof(&invite, &bob, &alice), "a proof is no answer");
    }

    #[test]
    fn a_state_key_is_not_the_database_key_that_it_derives_from() {
        let key = StateKey::of_database(&[7; 32]);
        assert!(key == StateKey::of_database(&[7; 32]) && key != StateKey::of_database(&[8; 32]));
        assert!(key != StateKey::from_bytes([7; 32]));
    }

    #[test]
    fn secrets_are_drawn_from_the_rng_and_compared_by_value() {
        let mut rng = rng(1);
        let (one, other) = (StateKey::generate(&mut rng), StateKey::generate(&mut rng));
        assert!(one != other && one == StateKey::from_bytes(*one.as_bytes()));
        assert!(StateKey::try_from([0; 31].as_slice()).is_err());
    }

    /// Does not compile when the type prints: then two implementations of `printable` apply.
    macro_rules! assert_never_prints {
        ($($secret:ty),* $(,)?) => {$({
            trait Ambiguous<Marker> {
                fn printable() {}
            }
            enum Prints {}
            impl<T: ?Sized> Ambiguous<()> for T {}
            impl<T: ?Sized + std::fmt::Debug> Ambiguous<Prints> for T {}
            let _ = <$secret as Ambiguous<_>>::printable;
        })*};
    }

    #[test]
    fn secrets_never_print() {
        assert_never_prints!(ChainKey, PrekeyKey, PairSecret, PairId, ReplySecret, InviteProof, StateKey);
        assert_never_prints!(InviteSecret, sotto_protocol::invite::Invite);
        assert_never_prints!(crate::keys::RootKey, crate::keys::ListKey, crate::keys::OwnerKey);
        assert_never_prints!(crate::keys::ManageKey, crate::keys::WriteKey, crate::kem::KemPrivateKey);
        assert_never_prints!(crate::olm::OlmAccount, crate::olm::OlmSession, crate::olm::Accepted);
        assert_never_prints!(crate::seal::SealMaker, crate::seal::SealKey, crate::seal::OfferedSeal);
        assert_never_prints!(crate::letter::Letter, crate::letter::Content, crate::letter::Card, crate::letter::Text);
        assert_never_prints!(crate::manifest::Device, crate::manifest::VerifiedManifest);
    }
}
