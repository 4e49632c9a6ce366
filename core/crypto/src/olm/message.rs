//! Olm messages, as they stand in a seal.

use sotto_protocol::Bytes;
use sotto_protocol::decode::DecodeError;
use sotto_protocol::label::{INNER, hash};
use sotto_protocol::letter::OlmKind;
use sotto_protocol::limits::SEALED_BYTES_MAX;
use vodozemac::olm::{self, Message, PreKeyMessage};

use super::SessionId;

/// vodozemac's message version of session config 1.
const VERSION: u8 = 3;

/// A decoded Olm message beside its bytes.
#[derive(Clone)]
pub struct OlmMessage {
    pub(super) message: olm::OlmMessage,
    bytes: Bytes,
}

impl OlmMessage {
    /// Reads one.
    ///
    /// # Errors
    /// [`DecodeError`] for an unknown kind, another version, and what is no Olm message.
    pub fn decode(kind: i32, bytes: Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > SEALED_BYTES_MAX {
            return Err(DecodeError::TooLong { length: bytes.len(), length_max: SEALED_BYTES_MAX });
        }
        let kind = OlmKind::try_from(kind)
            .map_err(|_| DecodeError::UnknownKind { kind: u8::try_from(kind).unwrap_or(u8::MAX) })?;
        let message = match kind {
            OlmKind::Normal => {
                olm::OlmMessage::Normal(Message::from_bytes(&bytes).map_err(|_| DecodeError::Malformed)?)
            }
            OlmKind::Prekey => {
                olm::OlmMessage::PreKey(PreKeyMessage::from_bytes(&bytes).map_err(|_| DecodeError::Malformed)?)
            }
        };
        let decoded = Self::new(message);
        match decoded.ratchet().version() {
            // One message has one spelling: its MAC covers the one that every implementation writes, and a repeat is known by its bytes.
            VERSION if decoded.bytes == bytes => Ok(decoded),
            VERSION => Err(DecodeError::Malformed),
            version => Err(DecodeError::UnknownVersion { version: version.into() }),
        }
    }

    pub(super) fn new(message: olm::OlmMessage) -> Self {
        let bytes = match &message {
            olm::OlmMessage::Normal(message) => message.to_bytes(),
            olm::OlmMessage::PreKey(message) => message.to_bytes(),
        };
        Self { message, bytes: bytes.into() }
    }

    /// Which of the two kinds.
    #[must_use]
    pub const fn kind(&self) -> OlmKind {
        match self.message {
            olm::OlmMessage::Normal(_) => OlmKind::Normal,
            olm::OlmMessage::PreKey(_) => OlmKind::Prekey,
        }
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What recognises it when it comes again, before any ratchet is touched (PROTOCOL E3).
    #[must_use]
    pub fn inner_hash(&self) -> [u8; 32] {
        inner_hash(self.kind(), &self.bytes)
    }

    /// What a prekey message says of the session that it begins; `None` for a normal message.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.prekey().map(|message| SessionId::of(&message.session_keys()))
    }

    /// The identity key that a prekey message claims to come from; `None` for a normal message.
    #[must_use]
    pub fn identity_key(&self) -> Option<[u8; 32]> {
        self.prekey().map(|message| message.identity_key().to_bytes())
    }

    /// The one-time or last-resort key that a prekey message was made for; `None` for a normal message.
    #[must_use]
    pub fn one_time_key(&self) -> Option<[u8; 32]> {
        self.prekey().map(|message| message.one_time_key().to_bytes())
    }

    /// Place in its chain, from 0: what a message that begins a session would skip.
    #[must_use]
    pub fn chain_index(&self) -> u64 {
        self.ratchet().chain_index()
    }

    pub(super) fn ratchet_key(&self) -> [u8; 32] {
        self.ratchet().ratchet_key().to_bytes()
    }

    pub(super) const fn prekey(&self) -> Option<&PreKeyMessage> {
        match &self.message {
            olm::OlmMessage::PreKey(message) => Some(message),
            olm::OlmMessage::Normal(_) => None,
        }
    }

    fn ratchet(&self) -> &Message {
        match &self.message {
            olm::OlmMessage::Normal(message) => message,
            olm::OlmMessage::PreKey(message) => message.message(),
        }
    }
}

/// Names an inner ciphertext.
#[must_use]
pub fn inner_hash(kind: OlmKind, bytes: &[u8]) -> [u8; 32] {
    let kind = match kind {
        OlmKind::Normal => 0_u8,
        OlmKind::Prekey => 1,
    };
    hash(INNER, &[&[kind], bytes])
}
