//! Who is reached: invites made and used, requests accepted, contacts renamed, blocked and removed.

use sotto_core::protocol::AccountId;

use crate::error::SottoError;
use crate::messenger::Messenger;
use crate::records::{Contact, InviteLink, InviteOptions, list};

#[uniffi::export]
impl Messenger {
    /// Makes an invite. The link works once the relays have its tokens, which [`Messenger::catch_up`] waits for.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn invite(&self, options: InviteOptions) -> Result<InviteLink, SottoError> {
        self.run(|core| async move { core.invite(options.into()).await.map(InviteLink::from) }).await
    }

    /// Uses an invite. Returns the account of who made it.
    ///
    /// # Errors
    /// [`SottoError::Invite`], [`SottoError::Relay`], [`SottoError::Peer`]. Nothing was changed then.
    pub async fn join(&self, link: String) -> Result<AccountId, SottoError> {
        self.run(|core| async move { core.join(&link).await }).await
    }

    /// All contacts that were not removed.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn contacts(&self) -> Result<Vec<Contact>, SottoError> {
        self.run(|core| async move { core.contacts().await.map(list) }).await
    }

    /// Accepts a request.
    ///
    /// # Errors
    /// [`SottoError::Input`] for somebody who has not asked, asked too long ago, or is blocked; [`SottoError::RolledBack`].
    pub async fn accept(&self, contact: AccountId) -> Result<(), SottoError> {
        self.run(|core| async move { core.accept(contact).await }).await
    }

    /// Calls a contact by another name, on this account only; none: by their own.
    ///
    /// # Errors
    /// [`SottoError::Input`].
    pub async fn rename(&self, contact: AccountId, name: Option<String>) -> Result<(), SottoError> {
        self.run(|core| async move { core.rename(contact, name).await }).await
    }

    /// Blocks a contact: at once nothing of theirs is shown or confirmed.
    ///
    /// # Errors
    /// [`SottoError::Input`].
    pub async fn block(&self, contact: AccountId) -> Result<(), SottoError> {
        self.run(|core| async move { core.block(contact).await }).await
    }

    /// Takes a blocking back: what was under way when they were blocked arrives.
    ///
    /// # Errors
    /// [`SottoError::Input`] for somebody who is not blocked.
    pub async fn unblock(&self, contact: AccountId) -> Result<(), SottoError> {
        self.run(|core| async move { core.unblock(contact).await }).await
    }

    /// Removes a contact: they can no longer reach us, and what was still to leave to them fails. What was said stays.
    ///
    /// # Errors
    /// [`SottoError::Input`].
    pub async fn remove(&self, contact: AccountId) -> Result<(), SottoError> {
        self.run(|core| async move { core.remove(contact).await }).await
    }
}
