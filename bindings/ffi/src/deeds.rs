//! What is done to messages: said otherwise, taken back, felt about, pinned, taken from view.

use sotto_core::protocol::AccountId;

use crate::error::SottoError;
use crate::messages::text_of;
use crate::messenger::Messenger;
use crate::records::{Message, MessageVersion, NewText, list};

#[uniffi::export]
impl Messenger {
    /// Says a message of our own otherwise, for everyone. What it said before stays in its history.
    ///
    /// # Errors
    /// [`SottoError::Input`]: no such message, not ours, no words, or a text that answers something; [`SottoError::Device`].
    pub async fn edit(&self, number: i64, text: NewText) -> Result<Message, SottoError> {
        self.run(|core| async move { core.edit(number, text_of(text)).await.map(Message::from) }).await
    }

    /// Says what we feel about a message; none takes it back.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn react(&self, number: i64, emoji: Option<String>) -> Result<Message, SottoError> {
        self.run(|core| async move { core.react(number, emoji).await.map(Message::from) }).await
    }

    /// Keeps a message where both sides find it; or no longer.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn pin(&self, number: i64, is_pinned: bool) -> Result<Message, SottoError> {
        self.run(|core| async move { core.pin(number, is_pinned).await.map(Message::from) }).await
    }

    /// Takes messages of our own in one conversation back, for everyone: nothing of them stays but that they were there.
    ///
    /// # Errors
    /// [`SottoError::Input`]: no such message, not ours, none or more than 64, or of several conversations. Nothing was taken back then.
    pub async fn delete_for_everyone(&self, numbers: Vec<i64>) -> Result<(), SottoError> {
        self.run(|core| async move { core.delete_for_everyone(numbers).await }).await
    }

    /// Takes messages of one conversation from view, whoever said them, on all devices of this account and nowhere else.
    ///
    /// # Errors
    /// [`SottoError::Input`]: no such message, none or more than 64, of several conversations, or one that is still to come. Nothing was
    /// taken from view then.
    pub async fn delete_for_me(&self, numbers: Vec<i64>) -> Result<(), SottoError> {
        self.run(|core| async move { core.delete_for_me(numbers).await }).await
    }

    /// All that a message has said, from the first on; the last of it is shown. Of very many only the first and the last `limit`.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn history(&self, number: i64, limit: u32) -> Result<Vec<MessageVersion>, SottoError> {
        self.run(|core| async move { core.history(number, limit).await.map(list) }).await
    }

    /// The messages that are pinned with somebody before the position `before`, newest first.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn pinned(&self, with: AccountId, before: Option<i64>, limit: u32) -> Result<Vec<Message>, SottoError> {
        self.run(|core| async move { core.pinned(with, before, limit).await.map(list) }).await
    }
}
