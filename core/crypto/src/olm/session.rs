//! One Olm session: the ratchet between two inboxes (PROTOCOL E1).
//!
//! vodozemac follows a gap of up to 2,000 messages and keeps the keys of the last 40 that it skipped, quietly forgetting the rest. So
//! that a hole is seen before keys are lost, the session remembers beside vodozemac's state where each receiving chain stands, and
//! answers how many keys a message would skip without touching the ratchet ([`OlmSession::gap`]).

use std::fmt;

use serde::{Deserialize, Serialize};
use sotto_protocol::letter::OlmKind;
use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{DecryptionError, Session, SessionKeys, SessionPickle};
use zeroize::Zeroizing;

use super::OlmError;
use super::message::OlmMessage;
use crate::state::{self, StateError, Stored};

/// Receiving chains that vodozemac keeps; the oldest goes first.
const CHAINS_MAX: usize = 5;

/// Names a session: the same at both ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 32]);

impl SessionId {
    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn of(keys: &SessionKeys) -> Self {
        let bytes = vodozemac::base64_decode(keys.session_id()).expect("vodozemac writes session ids in base64");
        Self(bytes.try_into().expect("a session id is a SHA-256"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionId(")?;
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))?;
        formatter.write_str(")")
    }
}

/// One end of an Olm session.
pub struct OlmSession {
    session: Session,
    peer: Curve25519PublicKey,
    chains: Vec<ReceivingChain>,
}

/// Where a receiving chain stands: a mirror of what vodozemac keeps to itself.
#[derive(Clone, Serialize, Deserialize)]
struct ReceivingChain {
    ratchet_key: Curve25519PublicKey,
    next_index: u64,
}

#[derive(Serialize, Deserialize)]
struct SessionRow {
    session: SessionPickle,
    peer: Curve25519PublicKey,
    chains: Vec<ReceivingChain>,
}

impl OlmSession {
    pub(super) const fn outbound(session: Session, peer: Curve25519PublicKey) -> Self {
        Self { session, peer, chains: Vec::new() }
    }

    pub(super) fn inbound(session: Session, peer: Curve25519PublicKey, first: &OlmMessage) -> Self {
        let mut inbound = Self { session, peer, chains: Vec::new() };
        inbound.advance_chain(first);
        inbound
    }

    /// Names it.
    #[must_use]
    pub fn id(&self) -> SessionId {
        SessionId::of(&self.session.session_keys())
    }

    /// The Curve25519 identity key that it was made with: whoever sends on it holds that key.
    #[must_use]
    pub fn peer(&self) -> [u8; 32] {
        self.peer.to_bytes()
    }

    /// Which kind the next message will be: prekey messages until the peer has answered.
    #[must_use]
    pub const fn next_kind(&self) -> OlmKind {
        if self.session.has_received_message() { OlmKind::Normal } else { OlmKind::Prekey }
    }

    /// Encrypts, one ratchet step. Store the session in the transaction that stores the message, before the message leaves.
    ///
    /// # Errors
    /// [`OlmError::NonContributory`] when the peer's ratchet key contributes nothing; the session is unchanged.
    pub fn encrypt(&mut self, plaintext: &[u8]) -> Result<OlmMessage, OlmError> {
        self.session.encrypt(plaintext).map(OlmMessage::new).map_err(|_| OlmError::NonContributory)
    }

    /// How many messages of its chain `message` comes before its turn: that many keys would be skipped, and of more than 40 vodozemac
    /// forgets the first. 0 for a message in order, and for one that fills a hole.
    #[must_use]
    pub fn gap(&self, message: &OlmMessage) -> u64 {
        let ratchet_key = Curve25519PublicKey::from_bytes(message.ratchet_key());
        let chain = self.chains.iter().find(|chain| chain.ratchet_key == ratchet_key);
        message.chain_index().saturating_sub(chain.map_or(0, |chain| chain.next_index))
    }

    /// Decrypts. The answer is the plaintext with the session after it: store that when everything about the letter is right, drop it
    /// otherwise, and nothing has happened.
    ///
    /// # Errors
    /// One variant per cause; nothing was changed.
    pub fn decrypt(&self, message: &OlmMessage) -> Result<(Self, Zeroizing<Vec<u8>>), OlmError> {
        if message.session().is_some_and(|session| session != self.id()) {
            return Err(OlmError::WrongSession);
        }
        let mut next = self.copy();
        let plaintext = next.session.decrypt(&message.message).map_err(|error| refusal(&error))?;
        next.advance_chain(message);
        Ok((next, Zeroizing::new(plaintext)))
    }

    fn advance_chain(&mut self, message: &OlmMessage) {
        let ratchet_key = Curve25519PublicKey::from_bytes(message.ratchet_key());
        let next_index = message.chain_index().saturating_add(1);
        if let Some(chain) = self.chains.iter_mut().find(|chain| chain.ratchet_key == ratchet_key) {
            chain.next_index = chain.next_index.max(next_index);
            return;
        }
        if self.chains.len() == CHAINS_MAX {
            self.chains.remove(0);
        }
        self.chains.push(ReceivingChain { ratchet_key, next_index });
    }

    fn copy(&self) -> Self {
        Self { session: Session::from_pickle(self.session.pickle()), peer: self.peer, chains: self.chains.clone() }
    }
}

/// What vodozemac says of a message that it does not decrypt, in our words.
pub(super) fn refusal(error: &DecryptionError) -> OlmError {
    match error {
        DecryptionError::MissingMessageKey(index) => OlmError::MissingKey { index: *index },
        DecryptionError::TooBigMessageGap(gap, _) => OlmError::TooFarAhead { gap: *gap },
        DecryptionError::NonContributoryKey => OlmError::NonContributory,
        DecryptionError::InvalidMAC(_) | DecryptionError::InvalidMACLength(..) | DecryptionError::InvalidPadding(_) => {
            OlmError::BadMessage
        }
    }
}

impl Stored for OlmSession {}

impl state::sealed::Row for OlmSession {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        state::to_json(&SessionRow { session: self.session.pickle(), peer: self.peer, chains: self.chains.clone() })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let row: SessionRow = state::from_json(bytes)?;
        Ok(Self { session: Session::from_pickle(row.session), peer: row.peer, chains: row.chains })
    }
}
