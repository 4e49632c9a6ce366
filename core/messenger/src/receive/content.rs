//! What a letter may say, on which channel.

use sotto_crypto::letter::{Channel, Content, ContentError, Letter};

use super::unopened::Nonsense;
use crate::contact::{Contact, ContactRow};

/// What a letter of a contact says. An answer is legal where it was asked for; everything else also there, because it may follow the answer
/// before the pair's tokens are known to stand.
pub(super) fn content_of(letter: &Letter, contact: &Contact, is_reply_alias: bool) -> Result<Content, ContentError> {
    match Content::decode(&letter.content, channel_of(contact)) {
        Err(ContentError::Misplaced) if is_reply_alias => Content::decode(&letter.content, Channel::Reply),
        content => content,
    }
}

pub(super) const fn channel_of(contact: &Contact) -> Channel {
    if contact.row.0 == ContactRow::OWN.0 { Channel::Own } else { Channel::Contact }
}

/// A contact speaks for its own account only.
pub(super) fn check_cards(contact: &Contact, content: &Content) -> Result<(), Nonsense> {
    match content {
        Content::ContactAccept { card, .. } | Content::CardChange(card) if card.account != contact.account => {
            Err(Nonsense { code: "card_of_another_account", is_shown: false })
        }
        _ => Ok(()),
    }
}

pub(super) const fn content_code(error: &ContentError) -> &'static str {
    match error {
        ContentError::Misplaced => "content_misplaced",
        ContentError::BadName => "name_refused",
        ContentError::Resend(_) => "resend_refused",
        ContentError::Text(_) => "text_refused",
        ContentError::Malformed(_) | ContentError::BodyCount { .. } | ContentError::FallbackTooLong { .. } => {
            "content_malformed"
        }
    }
}
