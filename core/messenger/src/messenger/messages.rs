//! What is said: texts queued, pages of chats and messages read.

use std::collections::BTreeSet;
use std::time::Duration;

use sotto_crypto::letter::{Content, Target, Text};
use sotto_protocol::limits::TEXT_BYTES_MAX;
use sotto_protocol::{AccountId, ConversationId, MessageId};

use super::Messenger;
use super::contacts::known_contact;
use super::settings::unmark;
use crate::contact::{self, ContactRow, ContactState, Trust};
use crate::conversation::{self, Arrivals, ConversationRow, MessageRow, NewMessage, reading};
use crate::engine::Engine;
use crate::error::{Error, InputError};
use crate::outbox::{self, NewLetter, Says, details};
use crate::receipts::{self, Shown};
use crate::records::{ChatPlace, Chats, Conversation, Delivery, Kind, Meaning, Message, MessageState, NewText};
use crate::store::{Query, StoreError, Tx};

/// Messages that are read in one transaction: a pause, and whoever writes, waits for no more.
const READ_AT_ONCE: u32 = 256;

impl Messenger {
    /// Says something to a contact, or to oneself. Returns once it is stored and queued, offline too.
    ///
    /// # Errors
    /// [`InputError`]; [`Error::DeviceReplaced`]; [`Error::Store`] when nothing could be stored.
    pub async fn send_text(&self, to: AccountId, text: impl Into<NewText>) -> Result<Message, Error> {
        let text = text.into();
        check_words(&text.body)?;
        self.say(to, move |engine, tx| {
            let reply_to = text.reply_to.map(|number| target(engine, tx, &to, number)).transpose()?;
            let text = Text { body: text.body, ranges: text.ranges, reply_to, forwarded: false };
            store_text(engine, tx, &to, text)
        })
        .await
    }

    /// Nudges a contact: look here, and no words.
    ///
    /// # Errors
    /// As [`Self::send_text`]; nobody nudges themselves.
    pub async fn nudge(&self, to: AccountId) -> Result<Message, Error> {
        self.say(to, move |engine, tx| {
            if to == engine.own().account {
                return Err(InputError::WrongState { what: "is yourself" }.into());
            }
            store(engine, tx, &to, (Kind::Nudge, ""), &Content::Nudge)
        })
        .await
    }

    /// Says to somebody what was said elsewhere, and that it was: not by whom, nor who was meant in it.
    ///
    /// # Errors
    /// As [`Self::send_text`]; [`InputError::NotFound`] where there is no such message, and [`InputError::WrongState`] where it has no words.
    pub async fn forward(&self, number: i64, to: AccountId) -> Result<Message, Error> {
        self.say(to, move |engine, tx| {
            let message = conversation::message(tx, &engine.own().account, MessageRow(number))?;
            let message = message.ok_or(InputError::NotFound { what: "message" })?;
            if message.kind != Kind::Text {
                return Err(InputError::WrongState { what: "has no words" }.into());
            }
            let ranges = message.ranges.into_iter().filter(|range| !matches!(range.meaning, Meaning::Mention(_)));
            let text = Text { body: message.text, ranges: ranges.collect(), reply_to: None, forwarded: true };
            store_text(engine, tx, &to, text)
        })
        .await
    }

    /// One transaction that says something, and then it leaves.
    async fn say(
        &self,
        to: AccountId,
        work: impl FnOnce(&Engine, &mut Tx<'_>) -> Result<Message, Error> + Send + 'static,
    ) -> Result<Message, Error> {
        self.change_and(work, move |engine| engine.types_to(to, false)).await
    }

    /// A page of a chat list: the conversations that stand above the others, and then those that moved last, before the place of the last one
    /// of the page above.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn conversations(
        &self,
        chats: Chats,
        before: Option<ChatPlace>,
        limit: u32,
    ) -> Result<Vec<Conversation>, Error> {
        self.engine().read(move |_, view| Ok(conversation::list(view, chats, before, limit)?)).await
    }

    /// The newest messages of the conversation with a contact (or with oneself) before the position `before`, oldest first.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn messages(&self, with: AccountId, before: Option<i64>, limit: u32) -> Result<Vec<Message>, Error> {
        self.engine()
            .read(move |engine, view| match conversation_with(engine, view, &with)? {
                Some(row) => Ok(conversation::page(view, &engine.own().account, row, before, limit)?),
                None => Ok(Vec::new()),
            })
            .await
    }

    /// One message by its local number.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn message(&self, number: i64) -> Result<Message, Error> {
        self.engine()
            .read(move |engine, view| {
                conversation::message(view, &engine.own().account, MessageRow(number))?
                    .ok_or(InputError::NotFound { what: "message" }.into())
            })
            .await
    }

    /// With whom a message was said: whose conversation it stands in, this account's own for a note to oneself.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn said_with(&self, number: i64) -> Result<AccountId, Error> {
        self.engine()
            .read(move |engine, view| {
                let own = engine.own().account;
                let message = conversation::message(view, &own, MessageRow(number))?;
                let message = message.ok_or(InputError::NotFound { what: "message" })?;
                Ok(said_with(view, &message)?.unwrap_or(own))
            })
            .await
    }

    /// Messages of others that came in after a local number, in the order in which they came: of the last of them `arrival` is the number
    /// to go on from.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn received_after(&self, number: i64, limit: u32) -> Result<Vec<Message>, Error> {
        self.engine()
            .read(move |engine, view| Ok(conversation::received_after(view, &engine.own().account, number, limit)?))
            .await
    }

    /// The local number of the newest arrival of all.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn newest(&self) -> Result<i64, Error> {
        self.engine().read(|_, view| Ok(conversation::newest(view)?)).await
    }

    /// Messages were shown to somebody who has read them: these and no others. Their senders hear of it, as far as receipts are given.
    ///
    /// # Errors
    /// [`Error::DeviceReplaced`], [`Error::Store`].
    pub async fn mark_read(&self, numbers: Vec<i64>) -> Result<(), Error> {
        self.read_by(move |engine, tx| {
            let messages: Vec<MessageRow> = numbers.into_iter().map(MessageRow).collect();
            for conversation in read(engine, tx, messages, Shown::Yes)? {
                unmark(engine, tx, conversation)?;
            }
            Ok(())
        })
        .await
    }

    /// Everything in the conversation with a contact counts as read, shown or not. Its sender does not hear of it. Very much is read in portions:
    /// where that fails or the app pauses meanwhile, what was read so far stays so, and this may be called again.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::DeviceReplaced`], [`Error::Store`], [`Error::Paused`].
    pub async fn mark_all_read(&self, with: AccountId) -> Result<(), Error> {
        let this = self.clone();
        let newest = self.newest().await?;
        let reading = self.engine().to_the_end(|_| async move {
            while this.read_portion(with, newest).await? {}
            Ok(())
        });
        reading.await.unwrap_or(Err(StoreError::Failed.into()))
    }

    /// Reads some of what is unread and came up to then. Says whether there may be more.
    async fn read_portion(&self, with: AccountId, newest: i64) -> Result<bool, Error> {
        let work = move |engine: &Engine, tx: &mut Tx<'_>| {
            let Some(conversation) = conversation_with(engine, tx, &with)? else { return Ok(false) };
            let messages = reading::unread_up_to(tx, conversation, newest, READ_AT_ONCE)?;
            let may_be_more = messages.len() == READ_AT_ONCE as usize;
            read(engine, tx, messages, Shown::No)?;
            unmark(engine, tx, conversation)?;
            Ok(may_be_more)
        };
        self.change_and(work, Engine::look_after).await
    }

    /// The first message of a conversation that was not read, if any.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn first_unread(&self, with: AccountId) -> Result<Option<Message>, Error> {
        self.engine()
            .read(move |engine, view| {
                let Some(conversation) = conversation_with(engine, view, &with)? else { return Ok(None) };
                let first = reading::unread(view, conversation, 1)?.pop();
                Ok(first.map(|row| conversation::message(view, &engine.own().account, row)).transpose()?.flatten())
            })
            .await
    }

    async fn read_by(
        &self,
        work: impl FnOnce(&Engine, &mut Tx<'_>) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.change_and(work, Engine::look_after).await
    }

    /// How far a message of ours that was said on this device is with each device that it is for; nothing of what is long over.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn deliveries(&self, number: i64) -> Result<Vec<Delivery>, Error> {
        self.engine()
            .read(move |engine, view| {
                let message = conversation::message(view, &engine.own().account, MessageRow(number))?;
                message.ok_or(InputError::NotFound { what: "message" })?;
                Ok(details::deliveries(view, MessageRow(number))?)
            })
            .await
    }

    /// Tries once more to send a message that has failed.
    ///
    /// # Errors
    /// As [`Self::send_text`]; [`InputError::WrongState`] for one that has not failed.
    pub async fn retry(&self, number: i64) -> Result<Message, Error> {
        self.change(move |engine, tx| {
            let own = engine.own().account;
            let message = conversation::message(tx, &own, MessageRow(number))?;
            let message = message.ok_or(InputError::NotFound { what: "message" })?;
            if !matches!(message.state, MessageState::Failed(_)) || message.kind == Kind::Deleted {
                return Err(InputError::WrongState { what: "has not failed" }.into());
            }
            let recipient = said_with(tx, &message)?.ok_or(StoreError::Corrupt)?;
            let recipient = sendable(tx, &recipient)?;
            details::retry(tx, MessageRow(number), recipient.row)?;
            Ok(conversation::message(tx, &own, MessageRow(number))?.ok_or(StoreError::Failed)?)
        })
        .await
    }

    /// Waits until a relay took a message, or it failed; at most `deadline`. Returns how far it is.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn wait_sent(&self, number: i64, deadline: Duration) -> Result<Message, Error> {
        let mut over = self.engine().clock.sleep(deadline);
        loop {
            let changed = self.engine().status.changed();
            let message = self.message(number).await?;
            if !matches!(message.state, MessageState::Queued | MessageState::Sending) {
                return Ok(message);
            }
            self.refuse_if_replaced()?;
            tokio::select! {
                biased;
                () = &mut over => return Ok(message),
                () = changed => {}
            }
        }
    }
}

/// The conversation with a contact, or with oneself, if anything was ever said there.
pub(crate) fn conversation_with(
    engine: &Engine,
    view: &impl Query,
    with: &AccountId,
) -> Result<Option<ConversationRow>, Error> {
    if *with == engine.own().account {
        return Ok(
            view.one("SELECT id FROM conversation WHERE contact IS NULL", [], |row| row.get(0).map(ConversationRow))?
        );
    }
    let contact = contact::by_account(view, with)?.ok_or(InputError::NotFound { what: "contact" })?;
    Ok(conversation::with_contact(view, contact.row)?)
}

/// The contact with whom a message was said; `None`: it is a note to oneself.
fn said_with(view: &impl Query, message: &Message) -> Result<Option<AccountId>, StoreError> {
    let sql = "SELECT contact.account FROM conversation JOIN contact ON contact.id = conversation.contact WHERE conversation = ?1";
    view.one(sql, [message.conversation.as_ref()], |row| row.get(0).map(AccountId::from_bytes))
}

/// Messages are read; in which conversations any were.
fn read(
    engine: &Engine,
    tx: &mut Tx<'_>,
    messages: Vec<MessageRow>,
    shown: Shown,
) -> Result<BTreeSet<ConversationRow>, Error> {
    let now = engine.network_now();
    let mut conversations = BTreeSet::new();
    for message in messages {
        if let Some((conversation, unread)) = reading::read(tx, message)? {
            conversations.insert(conversation);
            receipts::note_read(tx, unread, shown, now, &engine.chance())?;
        }
    }
    Ok(conversations)
}

pub(super) fn check_words(words: &str) -> Result<(), InputError> {
    match words.len() {
        0 => Err(InputError::Empty { what: "the text" }),
        length if length > TEXT_BYTES_MAX => Err(InputError::TooLong { what: "the text", bytes_max: TEXT_BYTES_MAX }),
        _ => Ok(()),
    }
}

/// A message of the conversation with somebody, as it is named there.
pub(super) fn target(engine: &Engine, view: &impl Query, with: &AccountId, number: i64) -> Result<Target, Error> {
    let own = &engine.own().account;
    let message = conversation::message(view, own, MessageRow(number))?;
    let message = message.filter(|message| message.conversation == ConversationId::between(own, with));
    let message = message.ok_or(InputError::NotFound { what: "message" })?;
    match message.kind {
        Kind::Text | Kind::Unknown | Kind::Nudge => Ok(Target { author: message.sender, message_id: message.id }),
        Kind::Deleted => Err(InputError::WrongState { what: "was taken back" }.into()),
        // What stands there is named so on this device alone.
        Kind::Unopened(_) | Kind::Missing(_) | Kind::KeyChange(_) => {
            Err(InputError::WrongState { what: "is no message" }.into())
        }
    }
}

fn store_text(engine: &Engine, tx: &mut Tx<'_>, to: &AccountId, text: Text) -> Result<Message, Error> {
    let words = text.body.clone();
    store(engine, tx, to, (Kind::Text, &words), &Content::Text(text))
}

/// The message, its conversation, a letter per device, our own other ones included.
fn store(
    engine: &Engine,
    tx: &mut Tx<'_>,
    to: &AccountId,
    (kind, text): (Kind, &str),
    content: &Content,
) -> Result<Message, Error> {
    let own = &engine.own();
    let now = engine.network_now();
    let contact = if *to == own.account { None } else { Some(sendable(tx, to)?) };
    let conversation = match &contact {
        Some(contact) => ConversationRow(contact::conversation(tx, &own.account, contact)?),
        None => conversation::note_to_self(tx, &own.account)?,
    };
    let content = content.encode().map_err(|_| InputError::OutOfRange { what: "a range of the text" })?;
    let message_id = MessageId::from_bytes(engine.chance().bytes());
    let sent_at = conversation::said_at(tx, conversation, now)?;
    let new = NewMessage {
        conversation,
        sender: None,
        message_id,
        sent_at,
        received_at: now,
        kind,
        text,
        content: &content,
        // The note to self has arrived.
        state: if contact.is_some() { MessageState::Queued } else { MessageState::Sent },
        order: conversation::said_here(tx, conversation)?,
    };
    let row = conversation::insert(tx, &new)?.ok_or(StoreError::Failed)?.row;
    conversation::touch(tx, conversation, &Arrivals { last: Some(row), last_at: now, unread: 0 })?;
    let letter = NewLetter { says: Says::Message(row), message_id, sent_at, dies_at: None, after_batch: None };
    let recipient = contact.map(|contact| contact.row);
    for row in recipient.into_iter().chain([ContactRow::OWN]) {
        outbox::queue_to_contact(tx, row, &letter)?;
    }
    Ok(conversation::message(tx, &own.account, row)?.ok_or(StoreError::Failed)?)
}

pub(super) fn sendable(tx: &Tx<'_>, to: &AccountId) -> Result<contact::Contact, Error> {
    let contact = known_contact(tx, to)?;
    if contact.held {
        return Err(InputError::KeysChanged.into());
    }
    let problem = match contact.state {
        _ if contact.blocked => Some("is blocked"),
        _ if contact.trust != Trust::Sound => Some("shows two lists of devices"),
        ContactState::Asked => Some("has not answered yet"),
        ContactState::Asking => Some("waits to be accepted"),
        ContactState::Accepted => None,
        ContactState::Removed => Some("was removed"),
    };
    problem.map_or(Ok(contact), |what| Err(InputError::WrongState { what }.into()))
}
