//! Letters: what Olm carries, tied by a binding to the two devices that it is between (PROTOCOL E4, E7, `docs/protocol.md` section 6).
//!
//! A decoded letter is an [`UnverifiedLetter`]; its claims become a [`Letter`] only by [`UnverifiedLetter::verify`], which recomputes
//! the binding from the *authenticated* sender (the device whose Curve25519 key made the Olm session), from the recipient and from the
//! conversation. Nothing of the envelope goes into that comparison.
//!
//! - `letter/binding.rs`: the binding
//! - `letter/content.rs`: what a letter says, and on which channel it may; `letter/text.rs`: texts and their ranges;
//!   `letter/deeds.rs`: what is done to messages; `letter/profile.rs`: what somebody wants to be seen as;
//!   `letter/resend.rs`: what is to be sent again, and what will not be; `letter/sync.rs`: what devices of one account tell each other

mod binding;
mod content;
mod deeds;
mod profile;
mod resend;
mod sync;
#[cfg(test)]
mod tests;
mod text;

pub use binding::binding;
pub use content::{Card, Channel, Content, ContentError};
pub use deeds::Target;
pub use profile::Profile;
pub use resend::{Ciphertext, Counters, GivenUp, ResendError, ResendRequest};
pub use sync::{OwnDeviceSync, Progress, Setting, SyncedContact, SyncedState};
pub use text::{Meaning, Range, Style, Text, TextError};

use sotto_protocol::decode::{self, DecodeError};
use sotto_protocol::letter::OlmKind;
use sotto_protocol::limits::{COUNTER_MAX, EARLIER_HASHES_MAX, SEALED_BYTES_MAX};
use sotto_protocol::{Bytes, ConversationId, InboxId, Message, MessageId, Timestamp, letter};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::certificate::array;
use crate::manifest::Head;
use crate::party::Party;
use crate::seal::{Opened, OpenerHash};

/// Why a letter is refused: its sender broke the protocol.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LetterError {
    /// Not a letter that this code can read.
    #[error("malformed letter: {0}")]
    Malformed(#[from] DecodeError),
    /// The session that decrypted it was made with another device's key.
    #[error("the letter came through another device's session")]
    WrongSender,
    /// It was written between other devices, or in another conversation.
    #[error("the letter is bound to other ends")]
    WrongBinding,
    /// Letters count from 1.
    #[error("the letter has counter 0")]
    CounterZero,
    /// No device writes so many letters.
    #[error("the letter's counter is too high")]
    CounterTooHigh,
    /// No device says so much.
    #[error("the letter's ordinal is too high")]
    OrdinalTooHigh,
    /// What may still come begins at 1, and not behind the letter that says so.
    #[error("the letter says that it will not come itself")]
    BadOldest,
    /// It names more ciphertexts of itself than it may.
    #[error("the letter left too often before")]
    TooManyEarlier,
    /// It begins a session and does not say where that is answered.
    #[error("a first letter without a reply inbox")]
    MissingReplyInbox,
    /// It spells out the conversation that an empty field means.
    #[error("the conversation is spelled out needlessly")]
    RedundantConversation,
}

/// A letter whose two ends have been checked, or that is about to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// Names the message across devices.
    pub message_id: MessageId,
    /// To this device, from 1; a failover or resend keeps it.
    pub counter: u64,
    /// The lowest counter that may still come: what was below it and never arrived was given up.
    pub oldest: u64,
    /// Highest contiguous counter received from it.
    pub confirmed: u64,
    /// By the time that relays told the sender; of a message behind all that it has seen in the conversation.
    pub sent_at: Timestamp,
    /// Of the sender's manifest chain that the recipient reads.
    pub head: Head,
    /// While the sender's opener is unconfirmed.
    pub opener: Option<OpenerHash>,
    /// Until a continuation under the key installed last came.
    pub opened: Option<Opened>,
    /// With a prekey message: where its session is answered.
    pub reply_inbox: Option<InboxId>,
    /// Where it belongs; the 1:1 of the two accounts, or another.
    pub conversation: ConversationId,
    /// Inner hashes of the ciphertexts in which the same letter left before, the last first: whoever could not open those puts it in
    /// their place.
    pub earlier: Vec<[u8; 32]>,
    /// Of a message: where it stands among all that its device says in this conversation. 0: nowhere in particular.
    pub ordinal: u64,
    /// An encoded [`Content`]: kept as it came, for bodies that a later version will understand.
    pub content: Bytes,
}

impl Letter {
    /// The Olm plaintext.
    #[must_use]
    pub fn encode(&self, sender: &Party, recipient: &Party) -> Zeroizing<Vec<u8>> {
        let is_default = self.conversation == ConversationId::between(&sender.account, &recipient.account);
        let message = letter::Letter {
            binding: Bytes::copy_from_slice(&binding(sender, recipient, &self.conversation)),
            message_id: self.message_id.into(),
            counter: self.counter,
            oldest: self.oldest,
            confirmed: self.confirmed,
            sent_at_ms: self.sent_at.as_ms(),
            head: Some(self.head.to_message()),
            opener: self.opener.map_or_else(Bytes::new, |opener| Bytes::copy_from_slice(opener.as_bytes())),
            opened: self.opened.map_or_else(Bytes::new, |opened| Bytes::copy_from_slice(opened.as_bytes())),
            reply_inbox: self.reply_inbox.map_or_else(Bytes::new, Bytes::from),
            conversation: if is_default { Bytes::new() } else { self.conversation.into() },
            earlier: resend::hashes_to(&self.earlier),
            ordinal: self.ordinal,
            content: self.content.clone(),
        };
        Zeroizing::new(message.encode_to_vec())
    }
}

/// A decoded letter, before anyone has checked whom it is between.
pub struct UnverifiedLetter {
    binding: [u8; 32],
    message_id: MessageId,
    counter: u64,
    oldest: u64,
    confirmed: u64,
    sent_at: Timestamp,
    head: Head,
    opener: Option<OpenerHash>,
    opened: Option<Opened>,
    reply_inbox: Option<InboxId>,
    conversation: Option<ConversationId>,
    earlier: Vec<[u8; 32]>,
    ordinal: u64,
    content: Bytes,
}

impl UnverifiedLetter {
    /// Reads an Olm plaintext that came in a message of `kind`.
    ///
    /// # Errors
    /// One variant per check.
    pub fn decode(plaintext: &[u8], kind: OlmKind) -> Result<Self, LetterError> {
        let message: letter::Letter = decode::message(plaintext, SEALED_BYTES_MAX)?;
        if message.counter == 0 {
            return Err(LetterError::CounterZero);
        }
        if message.counter > COUNTER_MAX {
            return Err(LetterError::CounterTooHigh);
        }
        if message.oldest == 0 || message.oldest > message.counter {
            return Err(LetterError::BadOldest);
        }
        if message.ordinal > COUNTER_MAX {
            return Err(LetterError::OrdinalTooHigh);
        }
        if message.earlier.len() > EARLIER_HASHES_MAX {
            return Err(LetterError::TooManyEarlier);
        }
        let reply_inbox = optional(&message.reply_inbox, |bytes| InboxId::try_from(bytes))?;
        if kind == OlmKind::Prekey && reply_inbox.is_none() {
            return Err(LetterError::MissingReplyInbox);
        }
        Ok(Self {
            binding: array("binding", &message.binding)?,
            message_id: MessageId::try_from(&*message.message_id)?,
            counter: message.counter,
            oldest: message.oldest,
            confirmed: message.confirmed,
            sent_at: Timestamp::from_ms(message.sent_at_ms),
            head: Head::from_message(message.head.as_ref().ok_or(DecodeError::Missing { what: "head" })?)?,
            opener: optional(&message.opener, |bytes| array("opener", bytes).map(OpenerHash::from_bytes))?,
            opened: optional(&message.opened, |bytes| array("opened", bytes).map(Opened::from_bytes))?,
            reply_inbox,
            conversation: optional(&message.conversation, |bytes| ConversationId::try_from(bytes))?,
            earlier: resend::hashes(&message.earlier)?,
            ordinal: message.ordinal,
            content: message.content,
        })
    }

    /// What a contact request says, before its sender can be known: the manifest in it is what proves the sender, and then
    /// [`Self::verify`] has to hold. Any other content is refused here.
    ///
    /// # Errors
    /// As [`Content::decode`] on the invite channel.
    pub fn introduction(&self) -> Result<Content, ContentError> {
        Content::decode(&self.content, Channel::Invite)
    }

    /// Compares the binding with the two ends. `session_peer` is what the session that decrypted it was made with
    /// ([`OlmSession::peer`](crate::olm::OlmSession::peer)); `sender` is the device that the seal named, by its verified manifest.
    ///
    /// # Errors
    /// [`LetterError::WrongSender`], [`LetterError::WrongBinding`], [`LetterError::RedundantConversation`].
    pub fn verify(self, session_peer: &[u8; 32], sender: &Party, recipient: &Party) -> Result<Letter, LetterError> {
        if !bool::from(session_peer.ct_eq(&sender.curve25519)) {
            return Err(LetterError::WrongSender);
        }
        let default = ConversationId::between(&sender.account, &recipient.account);
        let conversation = self.conversation.unwrap_or(default);
        if !bool::from(self.binding.ct_eq(&binding(sender, recipient, &conversation))) {
            return Err(LetterError::WrongBinding);
        }
        if self.conversation == Some(default) {
            return Err(LetterError::RedundantConversation);
        }
        Ok(Letter {
            message_id: self.message_id,
            counter: self.counter,
            oldest: self.oldest,
            confirmed: self.confirmed,
            sent_at: self.sent_at,
            head: self.head,
            opener: self.opener,
            opened: self.opened,
            reply_inbox: self.reply_inbox,
            conversation,
            earlier: self.earlier,
            ordinal: self.ordinal,
            content: self.content,
        })
    }
}

fn optional<T>(bytes: &[u8], read: impl FnOnce(&[u8]) -> Result<T, DecodeError>) -> Result<Option<T>, DecodeError> {
    if bytes.is_empty() { Ok(None) } else { read(bytes).map(Some) }
}
