//! What is done to messages: said otherwise, taken back, felt about, pinned, taken from view.
//!
//! Each returns once it is stored and queued, offline too, and does nothing where it would change nothing.

use std::collections::BTreeSet;

use sotto_crypto::letter::{Content, OwnDeviceSync, Target, Text};
use sotto_protocol::limits::{DELETED_MAX, REACTION_BYTES_MAX};
use sotto_protocol::{AccountId, Bytes, MessageId};

use super::Messenger;
use super::messages::{check_words, conversation_with, sendable};
use crate::contact::{self, Contact, ContactRow};
use crate::conversation::deeds::{self, DeedKind, Named, NewDeed};
use crate::conversation::{self, ConversationRow, MessageRow};
use crate::engine::Engine;
use crate::error::{Error, InputError};
use crate::events::Event;
use crate::outbox::{self, NewLetter, Says};
use crate::peer::Line;
use crate::records::{Kind, Message, MessageState, NewText, Version};
use crate::store::{Query, StoreError, Tx};

impl Messenger {
    /// Says a message of our own otherwise, for everyone. What it said before stays in its history.
    ///
    /// # Errors
    /// [`InputError`]: no such message, not ours, no words, or somebody who is not written to; an answer cannot be made one, or another
    /// one. [`Error::DeviceReplaced`]; [`Error::Store`].
    pub async fn edit(&self, number: i64, text: impl Into<NewText>) -> Result<Message, Error> {
        let text = text.into();
        check_words(&text.body)?;
        if text.reply_to.is_some() {
            return Err(InputError::OutOfRange { what: "what an edit answers" }.into());
        }
        self.change(move |engine, tx| {
            let message = done_to(engine, tx, number)?;
            if message.sender != engine.own().account {
                return Err(InputError::WrongState { what: "is not yours" }.into());
            }
            if message.kind != Kind::Text {
                return Err(InputError::WrongState { what: "has no words" }.into());
            }
            if (&message.text, &message.ranges) == (&text.body, &text.ranges) {
                return Ok(message);
            }
            let text = Text { body: text.body, ranges: text.ranges, reply_to: None, forwarded: false };
            let content = Content::Edit { message_id: message.id, text };
            do_to(engine, tx, &[message], DeedKind::Edit, &content)?;
            read(engine, tx, number)
        })
        .await
    }

    /// Says what we feel about a message; `None` takes it back.
    ///
    /// # Errors
    /// [`InputError`]: no such message, nothing that can be felt about, more than a short word, or somebody who is not written to.
    /// [`Error::DeviceReplaced`]; [`Error::Store`].
    pub async fn react(&self, number: i64, emoji: Option<String>) -> Result<Message, Error> {
        check_emoji(emoji.as_deref())?;
        self.change(move |engine, tx| {
            let message = done_to(engine, tx, number)?;
            let own = engine.own().account;
            let before = message.reactions.iter().find(|reaction| reaction.author == own);
            if before.map(|reaction| &reaction.emoji) == emoji.as_ref() {
                return Ok(message);
            }
            let kind = DeedKind::Reaction { holds: emoji.is_some() };
            let content = Content::Reaction { target: target_of(&message), emoji };
            do_to(engine, tx, &[message], kind, &content)?;
            read(engine, tx, number)
        })
        .await
    }

    /// Keeps a message where both sides find it; or no longer.
    ///
    /// # Errors
    /// [`InputError`]: no such message, nothing that can be pinned, or somebody who is not written to. [`Error::DeviceReplaced`];
    /// [`Error::Store`].
    pub async fn pin(&self, number: i64, is_pinned: bool) -> Result<Message, Error> {
        self.change(move |engine, tx| {
            let message = done_to(engine, tx, number)?;
            if message.is_pinned == is_pinned {
                return Ok(message);
            }
            let content = Content::Pin { target: target_of(&message), pinned: is_pinned };
            do_to(engine, tx, &[message], DeedKind::Pin { holds: is_pinned }, &content)?;
            read(engine, tx, number)
        })
        .await
    }

    /// Takes messages of our own in one conversation back, for everyone: nothing of them stays but that they were there. What has not left
    /// does not leave any more.
    ///
    /// # Errors
    /// [`InputError`]: no such message, not ours, none or more than 64, of several conversations, or somebody who is not written to.
    /// Nothing was taken back then. [`Error::DeviceReplaced`]; [`Error::Store`].
    pub async fn delete_for_everyone(&self, numbers: Vec<i64>) -> Result<(), Error> {
        let numbers = apart(numbers)?;
        self.change(move |engine, tx| {
            let messages = numbers.iter().map(|number| read(engine, tx, *number)).collect::<Result<Vec<_>, _>>()?;
            if messages.iter().any(|message| message.sender != engine.own().account) {
                return Err(InputError::WrongState { what: "is not yours" }.into());
            }
            let left: Vec<_> = messages.into_iter().filter(|message| message.kind != Kind::Deleted).collect();
            if left.is_empty() {
                return Ok(());
            }
            let content = Content::Delete(left.iter().map(|message| message.id).collect());
            do_to(engine, tx, &left, DeedKind::Delete, &content)
        })
        .await
    }

    /// Takes messages of one conversation from view, whoever said them, on all devices of this account and nowhere else. What has not left
    /// leaves all the same.
    ///
    /// # Errors
    /// [`InputError`]: no such message, none or more than 64, of several conversations, or one that is still to come. Nothing was taken
    /// from view then. [`Error::DeviceReplaced`]; [`Error::Store`].
    pub async fn delete_for_me(&self, numbers: Vec<i64>) -> Result<(), Error> {
        let numbers = apart(numbers)?;
        self.change(move |engine, tx| {
            let messages = numbers.iter().map(|number| read(engine, tx, *number)).collect::<Result<Vec<_>, _>>()?;
            if messages.iter().any(|message| matches!(message.kind, Kind::Unopened(_))) {
                return Err(InputError::WrongState { what: "is still to come" }.into());
            }
            // What stands here alone is named by nobody else.
            let is_here_alone = |message: &&Message| matches!(message.kind, Kind::Missing(_) | Kind::KeyChange(_));
            let place = place_of(tx, &messages)?;
            for message in messages.iter().filter(is_here_alone) {
                conversation::remove(tx, MessageRow(message.number))?;
            }
            let shown: Vec<_> = messages.iter().filter(|message| !is_here_alone(message)).cloned().collect();
            if shown.is_empty() {
                return Ok(());
            }
            let account = place.contact.as_ref().map_or(engine.own().account, |contact| contact.account);
            let targets = shown.iter().map(target_of).collect();
            let content = Content::OwnDeviceSync(OwnDeviceSync::Hidden { account, targets });
            say(engine, tx, &place, &shown, DeedKind::Hide, &content)
        })
        .await
    }

    /// All that a message has said, from the first on; the last of it is shown. Of very many only the first and the last `limit`.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn history(&self, number: i64, limit: u32) -> Result<Vec<Version>, Error> {
        self.engine()
            .read(move |engine, view| {
                read(engine, view, number)?;
                Ok(conversation::history(view, MessageRow(number), limit)?)
            })
            .await
    }

    /// The messages that are pinned in the conversation with a contact (or with oneself) before the position `before`, newest first.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn pinned(&self, with: AccountId, before: Option<i64>, limit: u32) -> Result<Vec<Message>, Error> {
        self.engine()
            .read(move |engine, view| match conversation_with(engine, view, &with)? {
                Some(row) => Ok(conversation::pinned(view, &engine.own().account, row, before, limit)?),
                None => Ok(Vec::new()),
            })
            .await
    }

    /// One transaction that does something, and then it leaves.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine, &mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.change_and(work, |_| ()).await
    }

    /// Likewise; something else hears of it too.
    pub(super) async fn change_and<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine, &mut Tx<'_>) -> Result<T, Error> + Send + 'static,
        also: impl FnOnce(&Engine) + Send + 'static,
    ) -> Result<T, Error> {
        self.refuse_if_replaced()?;
        self.engine()
            .write_then(work, |engine, _| {
                also(engine);
                engine.wake_couriers();
                engine.tell(Event::MessagesChanged);
            })
            .await
    }
}

fn apart(numbers: Vec<i64>) -> Result<BTreeSet<i64>, InputError> {
    let numbers: BTreeSet<i64> = numbers.into_iter().collect();
    match numbers.len() {
        0 => Err(InputError::Empty { what: "the list of messages" }),
        length if length > DELETED_MAX => Err(InputError::OutOfRange { what: "the number of messages" }),
        _ => Ok(numbers),
    }
}

fn check_emoji(emoji: Option<&str>) -> Result<(), InputError> {
    let Some(emoji) = emoji else { return Ok(()) };
    match emoji.len() {
        0 => Err(InputError::Empty { what: "the reaction" }),
        length if length > REACTION_BYTES_MAX => {
            Err(InputError::TooLong { what: "the reaction", bytes_max: REACTION_BYTES_MAX })
        }
        _ if emoji.chars().any(|letter| letter.is_control() || letter.is_whitespace()) => {
            Err(InputError::ControlCharacter { what: "the reaction" })
        }
        _ => Ok(()),
    }
}

fn read(engine: &Engine, view: &impl Query, number: i64) -> Result<Message, Error> {
    let message = conversation::message(view, &engine.own().account, MessageRow(number))?;
    message.ok_or(InputError::NotFound { what: "message" }.into())
}

/// A message that somebody has said, to which something can be done.
fn done_to(engine: &Engine, view: &impl Query, number: i64) -> Result<Message, Error> {
    let message = read(engine, view, number)?;
    match message.kind {
        Kind::Text | Kind::Unknown | Kind::Nudge => Ok(message),
        Kind::Deleted => Err(InputError::WrongState { what: "was taken back" }.into()),
        Kind::Unopened(_) | Kind::Missing(_) | Kind::KeyChange(_) => {
            Err(InputError::WrongState { what: "is no message" }.into())
        }
    }
}

const fn target_of(message: &Message) -> Target {
    Target { author: message.sender, message_id: message.id }
}

/// Where messages stand.
struct Place {
    conversation: ConversationRow,
    /// `None`: the note to self.
    contact: Option<Contact>,
}

/// Where messages stand, all of them.
fn place_of(tx: &Tx<'_>, messages: &[Message]) -> Result<Place, Error> {
    let first = messages.first().ok_or(InputError::Empty { what: "the list of messages" })?.conversation;
    if messages.iter().any(|message| message.conversation != first) {
        return Err(InputError::OutOfRange { what: "the number of conversations" }.into());
    }
    let found = tx.one("SELECT id, contact FROM conversation WHERE conversation = ?1", [first.as_ref()], |row| {
        Ok((ConversationRow(row.get(0)?), row.get::<_, Option<i64>>(1)?.map(ContactRow)))
    })?;
    let (conversation, contact) = found.ok_or(StoreError::Corrupt)?;
    Ok(Place { conversation, contact: contact.map(|row| contact::by_row(tx, row)).transpose()? })
}

/// Does something to messages that all who see them hear of.
fn do_to(
    engine: &Engine,
    tx: &mut Tx<'_>,
    messages: &[Message],
    kind: DeedKind,
    content: &Content,
) -> Result<(), Error> {
    let place = place_of(tx, messages)?;
    if let Some(contact) = &place.contact {
        sendable(tx, &contact.account)?;
    }
    say(engine, tx, &place, messages, kind, content)
}

fn say(
    engine: &Engine,
    tx: &mut Tx<'_>,
    place: &Place,
    messages: &[Message],
    kind: DeedKind,
    content: &Content,
) -> Result<(), Error> {
    let now = engine.network_now();
    let named = |message: &Message| Named {
        sender: place.contact.as_ref().filter(|contact| contact.account == message.sender).map(|contact| contact.row),
        message_id: message.id,
    };
    let targets: Vec<Named> = messages.iter().map(named).collect();
    let content: Bytes = content.encode().map_err(|_| InputError::OutOfRange { what: "a range of the text" })?;
    let message_id = MessageId::from_bytes(engine.chance().bytes());
    let sent_at = deeds::said_at(tx, place.conversation, &targets, kind, now)?;
    let recipient = place.contact.as_ref().filter(|_| kind != DeedKind::Hide).map(|contact| contact.row);
    let new = NewDeed {
        conversation: place.conversation,
        author: None,
        message_id,
        sent_at,
        received_at: now,
        line: Line::HERE,
        kind,
        targets: &targets,
        content: &content,
        state: if recipient.is_some() { MessageState::Queued } else { MessageState::Sent },
    };
    let row = deeds::take(tx, &new)?.ok_or(StoreError::Failed)?;
    let letter = NewLetter { says: Says::Message(row), message_id, sent_at, dies_at: None, after_batch: None };
    for row in recipient.into_iter().chain([ContactRow::OWN]) {
        outbox::queue_to_contact(tx, row, &letter)?;
    }
    Ok(())
}
