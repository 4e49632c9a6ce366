//! What is set, on all devices of the account: of the conversation with a contact (or with oneself), and of receipts.

use sotto_core::protocol::{AccountId, Timestamp};

use crate::error::SottoError;
use crate::messenger::Messenger;
use crate::records::NewText;

#[uniffi::export]
impl Messenger {
    /// Makes a conversation silent until a time; none: no longer. It is the app that is silent.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::DeviceReplaced`], [`SottoError::Device`].
    pub async fn mute(&self, with: AccountId, until_ms: Option<u64>) -> Result<(), SottoError> {
        let until = until_ms.map(Timestamp::from_ms);
        self.run(|core| async move { core.mute(with, until).await }).await
    }

    /// Puts a conversation away, until something is said there again; or takes it back.
    ///
    /// # Errors
    /// As of [`Messenger::mute`].
    pub async fn archive(&self, with: AccountId, is_archived: bool) -> Result<(), SottoError> {
        self.run(|core| async move { core.archive(with, is_archived).await }).await
    }

    /// Keeps a conversation above the others; or no longer.
    ///
    /// # Errors
    /// As of [`Messenger::mute`].
    pub async fn pin_conversation(&self, with: AccountId, is_pinned: bool) -> Result<(), SottoError> {
        self.run(|core| async move { core.pin_conversation(with, is_pinned).await }).await
    }

    /// Makes a conversation look unread, until something in it is read. No message becomes unread.
    ///
    /// # Errors
    /// As of [`Messenger::mute`].
    pub async fn mark_unread(&self, with: AccountId) -> Result<(), SottoError> {
        self.run(|core| async move { core.mark_unread(with).await }).await
    }

    /// Keeps what is being written: call it when somebody pauses, not with each letter. None, or no words: nothing is.
    ///
    /// # Errors
    /// As of [`Messenger::mute`]; [`SottoError::Input`] also for a range beyond the end, or a text that is too long.
    pub async fn set_draft(&self, with: AccountId, draft: Option<NewText>) -> Result<(), SottoError> {
        let draft = draft.map(Into::into);
        self.run(|core| async move { core.set_draft(with, draft).await }).await
    }

    /// What is being written.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn draft(&self, with: AccountId) -> Result<Option<NewText>, SottoError> {
        self.run(|core| async move { Ok(core.draft(with).await?.map(NewText::from)) }).await
    }

    /// Notes something of a contact, for all our devices and nobody else; none, or no words: nothing.
    ///
    /// # Errors
    /// As of [`Messenger::mute`]; [`SottoError::Input`] also for what is too long.
    pub async fn set_note(&self, of: AccountId, note: Option<String>) -> Result<(), SottoError> {
        self.run(|core| async move { core.set_note(of, note).await }).await
    }

    /// Whether contacts hear which of their messages were shown here. What is read while they do not is never told.
    ///
    /// # Errors
    /// [`SottoError::DeviceReplaced`], [`SottoError::Device`].
    pub async fn set_receipts(&self, are_given: bool) -> Result<(), SottoError> {
        self.run(|core| async move { core.set_receipts(are_given).await }).await
    }

    /// Whether they do.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn receipts(&self) -> Result<bool, SottoError> {
        self.run(|core| async move { core.receipts().await }).await
    }
}
