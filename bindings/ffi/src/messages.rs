//! What is said: texts queued, pages of chats and messages read, and told to have been read.

use std::time::Duration;

use sotto_core::protocol::{AccountId, Timestamp};

use crate::error::SottoError;
use crate::messenger::Messenger;
use crate::records::{ChatPlace, Chats, Conversation, Delivery, Message, NewText, list};

#[uniffi::export]
impl Messenger {
    /// Says something to a contact, or to oneself. Returns once it is stored and queued, offline too.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn send_text(&self, to: AccountId, text: NewText) -> Result<Message, SottoError> {
        self.run(|core| async move { core.send_text(to, text_of(text)).await.map(Message::from) }).await
    }

    /// Nudges a contact: look here, and no words.
    ///
    /// # Errors
    /// As of [`Messenger::send_text`]; nobody nudges themselves.
    pub async fn nudge(&self, to: AccountId) -> Result<Message, SottoError> {
        self.run(|core| async move { core.nudge(to).await.map(Message::from) }).await
    }

    /// Says to somebody what was said elsewhere, and that it was: not by whom, nor who was meant in it.
    ///
    /// # Errors
    /// As of [`Messenger::send_text`]; no such message, or one without words.
    pub async fn forward(&self, number: i64, to: AccountId) -> Result<Message, SottoError> {
        self.run(|core| async move { core.forward(number, to).await.map(Message::from) }).await
    }

    /// Tries once more to send a message that has failed.
    ///
    /// # Errors
    /// As of [`Messenger::send_text`]; [`SottoError::Input`] for one that has not failed.
    pub async fn retry(&self, number: i64) -> Result<Message, SottoError> {
        self.run(|core| async move { core.retry(number).await.map(Message::from) }).await
    }

    /// Waits until a relay took a message, or it failed; at most `deadline_ms`. Returns how far it is.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn wait_sent(&self, number: i64, deadline_ms: u64) -> Result<Message, SottoError> {
        let deadline = Duration::from_millis(deadline_ms);
        self.run(|core| async move { core.wait_sent(number, deadline).await.map(Message::from) }).await
    }

    /// How far a message of ours that was said on this device is with each device that it is for; nothing of what is long over.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn deliveries(&self, number: i64) -> Result<Vec<Delivery>, SottoError> {
        self.run(|core| async move { core.deliveries(number).await.map(list) }).await
    }

    /// A page of a chat list: those that stand above the others, then those that moved last, before the place of the last one of the page above.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn conversations(
        &self,
        chats: Chats,
        before: Option<ChatPlace>,
        limit: u32,
    ) -> Result<Vec<Conversation>, SottoError> {
        let before = before.map(Into::into);
        self.run(|core| async move { core.conversations(chats.into(), before, limit).await.map(list) }).await
    }

    /// The newest messages with somebody before the position `before`, oldest first.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn messages(&self, with: AccountId, before: Option<i64>, limit: u32) -> Result<Vec<Message>, SottoError> {
        self.run(|core| async move { core.messages(with, before, limit).await.map(list) }).await
    }

    /// The first messages with somebody behind the position `after`, oldest first.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn messages_after(&self, with: AccountId, after: i64, limit: u32) -> Result<Vec<Message>, SottoError> {
        self.run(|core| async move { core.messages_after(with, after, limit).await.map(list) }).await
    }

    /// The messages with somebody around a position, oldest first: half of them before it, and half from it on.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn messages_around(
        &self,
        with: AccountId,
        position: i64,
        limit: u32,
    ) -> Result<Vec<Message>, SottoError> {
        self.run(|core| async move { core.messages_around(with, position, limit).await.map(list) }).await
    }

    /// The first message with somebody at a time or after it: its position is the place to open the conversation at. None: the last one is
    /// older.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn first_message_since(&self, with: AccountId, time_ms: u64) -> Result<Option<Message>, SottoError> {
        let time = Timestamp::from_ms(time_ms);
        self.run(|core| async move { Ok(core.first_message_since(with, time).await?.map(Message::from)) }).await
    }

    /// One message by its local number.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn message(&self, number: i64) -> Result<Message, SottoError> {
        self.run(|core| async move { core.message(number).await.map(Message::from) }).await
    }

    /// Messages of others that came in after a local number, in the order in which they came: of the last of them `arrival` is the number to go
    /// on from.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn received_after(&self, number: i64, limit: u32) -> Result<Vec<Message>, SottoError> {
        self.run(|core| async move { core.received_after(number, limit).await.map(list) }).await
    }

    /// The local number of the newest arrival of all.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn newest(&self) -> Result<i64, SottoError> {
        self.run(|core| async move { core.newest().await }).await
    }

    /// Messages were shown to somebody who has read them: these and no others. Their senders hear of it, as far as receipts are given.
    ///
    /// # Errors
    /// [`SottoError::DeviceReplaced`], [`SottoError::Device`].
    pub async fn mark_read(&self, numbers: Vec<i64>) -> Result<(), SottoError> {
        self.run(|core| async move { core.mark_read(numbers).await }).await
    }

    /// Everything with somebody counts as read, shown or not. Its sender does not hear of it.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::DeviceReplaced`], [`SottoError::Device`].
    pub async fn mark_all_read(&self, with: AccountId) -> Result<(), SottoError> {
        self.run(|core| async move { core.mark_all_read(with).await }).await
    }

    /// The first message with somebody that was not read, if any.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn first_unread(&self, with: AccountId) -> Result<Option<Message>, SottoError> {
        self.run(|core| async move { Ok(core.first_unread(with).await?.map(Message::from)) }).await
    }
}

/// Named, because whatever becomes a string becomes a text too.
pub(crate) fn text_of(text: NewText) -> sotto_core::records::NewText {
    text.into()
}
