//! The handle: made, opened, paused and ended here. What else it can do is in a file for each concept, where every method is one of the
//! core's, with its arguments and results translated.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sotto_core::net::HttpTransport;
use sotto_core::protocol::RelayAddress;
use sotto_core::world::{SystemClock, SystemRng};
use sotto_core::{Error, Threading, World};

use crate::error::SottoError;
use crate::records::{Account, CatchUp, Deleted, NewProfile, OwnRelay, list};
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

    pub(crate) fn core(&self) -> sotto_core::Messenger {
        self.core.clone().expect("only drop takes it, and nobody calls a method then")
    }

    /// A call of the core's, which runs to its end once it was begun.
    pub(crate) async fn run<T, F>(&self, call: impl FnOnce(sotto_core::Messenger) -> F) -> Result<T, SottoError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let answer = call(self.core());
        run(async move { Ok(answer.await?) }).await
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
        let core = sotto_core::Messenger::create(world(secrets), &PathBuf::from(directory), profile.into()).await?;
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

/// Opens an account on a disk without room, where [`open_messenger`] answers `disk_full`: what is there can be read, nothing is sent or fetched,
/// and whatever would write answers `disk_full` until it is opened anew.
///
/// # Errors
/// As of [`open_messenger`].
#[uniffi::export]
pub async fn open_messenger_to_read(
    directory: String,
    secrets: Arc<dyn SecretStore>,
) -> Result<Arc<Messenger>, SottoError> {
    run(async move {
        let core = sotto_core::Messenger::open_to_read(world(secrets), &PathBuf::from(directory)).await?;
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
    /// This account and device.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn account(&self) -> Result<Account, SottoError> {
        self.run(|core| async move { core.account().await.map(Account::from) }).await
    }

    /// A report without anybody's words, names or keys, a line for each fact, in English: for a file that its user looks at before they send it to
    /// anybody.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn diagnostics(&self) -> Result<String, SottoError> {
        self.run(|core| async move { core.diagnostics().await }).await
    }

    /// Where this account reads, the preferred relay first; those that were left last.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn relays(&self) -> Result<Vec<OwnRelay>, SottoError> {
        self.run(|core| async move { core.relays().await.map(list) }).await
    }

    /// Reads at one more relay, behind those that there are; `relay_code` is what its operator wants to see of new users, or nothing.
    /// [`Messenger::catch_up`] waits until others hear of it.
    ///
    /// # Errors
    /// [`SottoError::Input`] for a fifth relay, [`SottoError::Relay`], [`SottoError::RolledBack`].
    pub async fn add_relay(&self, relay: RelayAddress, relay_code: String) -> Result<(), SottoError> {
        self.run(|core| async move { core.add_relay(relay, relay_code).await }).await
    }

    /// Reads at a relay no more, once those who write there have heard of it.
    ///
    /// # Errors
    /// [`SottoError::Input`]: not one of ours, or the only one. [`SottoError::Keystore`], [`SottoError::RolledBack`].
    pub async fn remove_relay(&self, relay: RelayAddress) -> Result<(), SottoError> {
        self.run(|core| async move { core.remove_relay(relay).await }).await
    }

    /// The system is about to stop the app: call this before. When it returns no file of the profile and no socket is open. What was under way
    /// has ended: what answers [`SottoError::Paused`] has changed nothing, and everything but resuming and shutting down answers that from then on.
    /// Harmless while it pauses already.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub async fn pause(&self) -> Result<(), SottoError> {
        self.run(|core| async move {
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
        self.run(|core| async move { core.resume().await }).await
    }

    /// The network may be back: everything queued is tried at once.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub fn network_hint(&self) -> Result<(), SottoError> {
        self.core().network_hint();
        Ok(())
    }

    /// Tries everything that waits here and at the relays, at once, and waits until it is dealt with; at most `deadline_ms`.
    ///
    /// # Errors
    /// [`SottoError::RolledBack`], [`SottoError::Device`]. An unreachable relay is no error but part of the result.
    pub async fn catch_up(&self, deadline_ms: u64) -> Result<CatchUp, SottoError> {
        let deadline = Duration::from_millis(deadline_ms);
        self.run(|core| async move { core.catch_up(deadline).await.map(CatchUp::from) }).await
    }

    /// Deletes what the account has at its relays, for at most `deadline_ms`. From then on the profile can only be read; it may be called again for
    /// relays that were not reached.
    ///
    /// # Errors
    /// [`SottoError::RolledBack`], [`SottoError::DeviceReplaced`]: another goes on in this one's place. [`SottoError::Device`].
    pub async fn delete_at_relays(&self, deadline_ms: u64) -> Result<Deleted, SottoError> {
        let deadline = Duration::from_millis(deadline_ms);
        self.run(|core| async move { core.delete_at_relays(deadline).await.map(Deleted::from) }).await
    }

    /// Deletes the account on this device: at its relays for at most `deadline_ms` (0: not at all), and then, whatever came of that, its keys and
    /// its files. The messenger is shut down then.
    ///
    /// # Errors
    /// [`SottoError::Keystore`]: the profile stands. [`SottoError::Device`]: its keys are gone, and a file could not be removed.
    pub async fn delete_account(&self, deadline_ms: u64) -> Result<Deleted, SottoError> {
        let deadline = Duration::from_millis(deadline_ms);
        self.run(|core| async move { core.delete_account(deadline).await.map(Deleted::from) }).await
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

fn world(secrets: Arc<dyn SecretStore>) -> World {
    World {
        transport: Arc::new(HttpTransport::new()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        secrets: Arc::new(Foreign(secrets)),
        threading: Threading::Threads,
    }
}
