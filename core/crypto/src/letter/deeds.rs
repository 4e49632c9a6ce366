//! What is done to messages that were said: said otherwise, taken back, felt about, pinned, read (`docs/protocol.md` section 6, "Deeds").
//!
//! An edit and a deletion name the message alone: its author is whoever sends the letter, and nobody else's can be meant. A reaction and a
//! pin name the author as well. Not here: what becomes of the message, and which of two deeds counts (the engine).

use std::collections::BTreeSet;

use sotto_protocol::decode::DecodeError;
use sotto_protocol::limits::REACTION_BYTES_MAX;
use sotto_protocol::{AccountId, Bytes, MessageId, letter};

use super::content::ContentError;
use super::text::Text;

/// A message of a conversation, by who said it and its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Target {
    /// Who said it.
    pub author: AccountId,
    /// Its id.
    pub message_id: MessageId,
}

impl Target {
    pub(super) fn to_message(self) -> letter::Target {
        letter::Target { author: self.author.into(), message_id: self.message_id.into() }
    }

    pub(super) fn from_message(message: &letter::Target) -> Result<Self, DecodeError> {
        Ok(Self {
            author: AccountId::try_from(&*message.author)?,
            message_id: MessageId::try_from(&*message.message_id)?,
        })
    }

    pub(super) fn required(message: Option<&letter::Target>) -> Result<Self, DecodeError> {
        Self::from_message(message.ok_or(DecodeError::Missing { what: "target" })?)
    }
}

/// An edit's text says nothing of what stays as it was.
pub(super) fn edit_to(message_id: MessageId, text: &Text) -> Result<letter::Edit, ContentError> {
    Ok(letter::Edit { message_id: message_id.into(), text: Some(check_edit(text)?.to_message()?) })
}

pub(super) fn edit_from(message: letter::Edit) -> Result<(MessageId, Text), ContentError> {
    let text = Text::from_message(message.text.ok_or(DecodeError::Missing { what: "text" })?)?;
    check_edit(&text)?;
    Ok((MessageId::try_from(&*message.message_id).map_err(ContentError::Malformed)?, text))
}

fn check_edit(text: &Text) -> Result<&Text, ContentError> {
    if text.reply_to.is_none() && !text.forwarded { Ok(text) } else { Err(DecodeError::Malformed.into()) }
}

/// A reaction is seen, on one line. What is not a picture is a short word; who shows it decides how.
pub(super) fn check_emoji(emoji: &str) -> Result<&str, DecodeError> {
    if emoji.len() > REACTION_BYTES_MAX {
        return Err(DecodeError::TooLong { length: emoji.len(), length_max: REACTION_BYTES_MAX });
    }
    let is_on_one_line = !emoji.chars().any(|letter| letter.is_control() || letter.is_whitespace());
    if is_on_one_line { Ok(emoji) } else { Err(DecodeError::Malformed) }
}

/// Ids of messages: some, no more than so many, and none twice.
pub(super) fn ids(ids: &[Bytes], count_max: usize) -> Result<Vec<MessageId>, DecodeError> {
    let ids = ids.iter().map(|id| MessageId::try_from(&**id)).collect::<Result<Vec<_>, _>>()?;
    check_ids(&ids, count_max)?;
    Ok(ids)
}

pub(super) fn ids_to(ids: &[MessageId], count_max: usize) -> Result<Vec<Bytes>, DecodeError> {
    check_ids(ids, count_max)?;
    Ok(ids.iter().map(|id| Bytes::from(*id)).collect())
}

fn check_ids(ids: &[MessageId], count_max: usize) -> Result<(), DecodeError> {
    check_apart(ids, count_max)
}

/// Some messages, no more than so many, and none twice.
pub(super) fn check_apart<T: Ord>(ids: &[T], count_max: usize) -> Result<(), DecodeError> {
    if ids.is_empty() {
        return Err(DecodeError::Missing { what: "message id" });
    }
    if ids.len() > count_max {
        return Err(DecodeError::TooLong { length: ids.len(), length_max: count_max });
    }
    let apart: BTreeSet<_> = ids.iter().collect();
    if apart.len() == ids.len() { Ok(()) } else { Err(DecodeError::Malformed) }
}
