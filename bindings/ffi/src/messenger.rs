//! The handle: each method is one of the core's, with its arguments and results translated.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sotto_core::net::HttpTransport;
use sotto_core::protocol::AccountId;
use sotto_core::world::{SystemClock, SystemRng};
use sotto_core::{Error, InputError, Threading, World};

use crate::error::SottoError;
use crate::records::{CatchUp, Contact, Deleted, InviteLink, InviteOptions, Message, NewProfile};
use crate::runtime::{drop_elsewhere, run, run_blocking};
use crate::secrets::{Foreign, SecretStore};

/// One open account on this device. Ends with [`Messenger::shutdown`], or when the platform drops its last reference.
#[derive(uniffi::Object)]
pub struct Messenger {
    /// Taken by `drop` alone.
    core: Option<sotto_core::Messenger>,
}

impl Messenger {
    fn of(core: sotto_core::Messenger) -> Arc<Self> {
        Arc::new(Self { core: Some(core) })
    }

    fn core(&self) -> sotto_core::Messenger {
        self.core.clone().expect("only drop takes it, and nobody calls a method then")
    }
}

impl Drop for Messenger {
    /// The last handle waits for the database. The platform's garbage collector must not.
    fn drop(&mut self) {
        drop_elsewhere(self.core.take());
    }
}

/// Makes an account with its inboxes at its relays, and opens it. The directory must be the app's own and outside of backups.
///
/// # Errors
/// Bad input, a relay that is not reached or refuses, a keystore that is locked, a directory that holds a profile already.
#[uniffi::export]
pub async fn create_messenger(
    directory: String,
    profile: NewProfile,
    secrets: Arc<dyn SecretStore>,
) -> Result<Arc<Messenger>, SottoError> {
    run(async move {
        let core =
            sotto_core::Messenger::create(world(secrets), &PathBuf::from(directory), profile.try_into()?).await?;
        Ok(Messenger::of(core))
    })
    .await
}

/// Opens the account in a directory.
///
/// # Errors
/// No profile, one that is in use, a locked keystore, a wrong key, a damaged database, an older copy.
#[uniffi::export]
pub async fn open_messenger(directory: String, secrets: Arc<dyn SecretStore>) -> Result<Arc<Messenger>, SottoError> {
    run(async move {
        let core = sotto_core::Messenger::open(world(secrets), &PathBuf::from(directory)).await?;
        Ok(Messenger::of(core))
    })
    .await
}

/// Deletes the profile in a directory that nobody has open, on this device alone: its keys first, then its files.
///
/// # Errors
/// [`SottoError::Keystore`]: nothing was deleted. [`SottoError::Device`]: the keys are gone, and files are left.
#[uniffi::export]
pub async fn wipe_profile(directory: String, secrets: Arc<dyn SecretStore>) -> Result<(), SottoError> {
    run_blocking(move || sotto_core::Messenger::wipe(&Foreign(secrets), &PathBuf::from(directory)))
        .await?
        .map_err(Into::into)
}

#[uniffi::export]
impl Messenger {
    /// Makes an invite. The link works once the relays have its tokens, which [`Messenger::catch_up`] waits for.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn invite(&self, options: InviteOptions) -> Result<InviteLink, SottoError> {
        let core = self.core();
        run(async move { Ok(core.invite(options.into()).await?.into()) }).await
    }

    /// Uses an invite. Returns the account of who made it.
    ///
    /// # Errors
    /// [`SottoError::Invite`], [`SottoError::Relay`], [`SottoError::Peer`]. Nothing was changed then.
    pub async fn join(&self, link: String) -> Result<String, SottoError> {
        let core = self.core();
        run(async move { Ok(core.join(&link).await?.to_string()) }).await
    }

    /// All contacts that were not removed.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn contacts(&self) -> Result<Vec<Contact>, SottoError> {
        let core = self.core();
        run(async move { Ok(core.contacts().await?.into_iter().map(Contact::from).collect()) }).await
    }

    /// Says something to an account. Returns once it is stored and queued, offline too.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn send_text(&self, to: String, text: String) -> Result<Message, SottoError> {
        let core = self.core();
        run(async move { Ok(core.send_text(account(&to)?, text).await?.into()) }).await
    }

    /// The newest messages with an account before the position `before`, oldest first.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn messages(&self, with: String, before: Option<i64>, limit: u32) -> Result<Vec<Message>, SottoError> {
        let core = self.core();
        run(async move {
            Ok(core.messages(account(&with)?, before, limit).await?.into_iter().map(Message::from).collect())
        })
        .await
    }

    /// The system is about to stop the app: call this before. When it returns no file of the profile and no socket is open. What was under way
    /// has ended: what answers [`SottoError::Paused`] has changed nothing, and everything but resuming and shutting down answers that from then on.
    /// Harmless while it pauses already.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub async fn pause(&self) -> Result<(), SottoError> {
        let core = self.core();
        run(async move {
            core.pause().await;
            Ok(())
        })
        .await
    }

    /// The app goes on: after [`Messenger::pause`], or where the system had stopped it without one; call this before anything else then. All
    /// calls are made anew, as after opening, and a copy of the profile that was made before is told from it from now on.
    ///
    /// # Errors
    /// [`SottoError::Keystore`], [`SottoError::Device`]: it still pauses, or all goes on, as before, and it may be called again. [`SottoError::ShutDown`].
    pub async fn resume(&self) -> Result<(), SottoError> {
        let core = self.core();
        run(async move { Ok(core.resume().await?) }).await
    }

    /// Tries everything that waits here and at the relays, at once, and waits until it is dealt with; at most `deadline_ms`.
    ///
    /// # Errors
    /// [`SottoError::RolledBack`], [`SottoError::Device`]. An unreachable relay is no error but part of the result.
    pub async fn catch_up(&self, deadline_ms: u64) -> Result<CatchUp, SottoError> {
        let core = self.core();
        run(async move { Ok(core.catch_up(Duration::from_millis(deadline_ms)).await?.into()) }).await
    }

    /// Deletes what the account has at its relays, for at most `deadline_ms`. From then on the profile can only be read; it may be called again for
    /// relays that were not reached.
    ///
    /// # Errors
    /// [`SottoError::RolledBack`], [`SottoError::DeviceReplaced`]: another goes on in this one's place. [`SottoError::Device`].
    pub async fn delete_at_relays(&self, deadline_ms: u64) -> Result<Deleted, SottoError> {
        let core = self.core();
        run(async move { Ok(core.delete_at_relays(Duration::from_millis(deadline_ms)).await?.into()) }).await
    }

    /// Deletes the account on this device: at its relays for at most `deadline_ms` (0: not at all), and then, whatever came of that, its keys and
    /// its files. The messenger is shut down then.
    ///
    /// # Errors
    /// [`SottoError::Keystore`]: the profile stands. [`SottoError::Device`]: its keys are gone, and a file could not be removed.
    pub async fn delete_account(&self, deadline_ms: u64) -> Result<Deleted, SottoError> {
        let core = self.core();
        run(async move { Ok(core.delete_account(Duration::from_millis(deadline_ms)).await?.into()) }).await
    }

    /// Ends the engine: its tasks stop, and the database closes behind the transaction under way. Later calls answer
    /// [`SottoError::ShutDown`].
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub async fn shutdown(&self) -> Result<(), SottoError> {
        let core = self.core();
        run_blocking(move || core.shut_down()).await
    }
}

fn account(id: &str) -> Result<AccountId, Error> {
    id.parse().map_err(|_| InputError::NotFound { what: "contact" }.into())
}

fn world(secrets: Arc<dyn SecretStore>) -> World {
    World {
        transport: Arc::new(HttpTransport::new()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        secrets: Arc::new(Foreign(secrets)),
        threading: Threading::Threads,
    }
}
