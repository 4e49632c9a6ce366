//! The end of an account on this device: at its relays, in the keystore, on the disk.
//!
//! ```text
//! relays    best effort, for as long as the caller waits: inboxes with all that is in them, and every list
//! keystore  the database's key first: from then on nobody reads what is left, in this copy of the files or in any other
//! files     the database, then the lock
//! ```
//! What was begun is written down before the first relay is told, so that no later process makes again what was deleted.
//! Invariant: a copy, which another device goes on in place of, deletes nothing but itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sotto_protocol::RelayAddress;

use super::{Empty, Messenger};
use crate::engine::Engine;
use crate::error::Error;
use crate::own::{self, Holding};
use crate::records::Deleted;
use crate::relay_client::RelayError;
use crate::store::Store;
use crate::world::{SecretStore, TransportError};
use crate::{generation, keystore};

impl Messenger {
    /// Deletes what this account has at its relays: this device's inboxes with everything in them, and the account's lists, also those of
    /// invites. From then on the profile can only be read, here and when it is opened again, and this may be called again for relays that were
    /// not reached; it takes at most `deadline`. Contacts are not told: what they send is refused.
    ///
    /// Other devices of the account are theirs to delete, each on itself: their inboxes have keys that this one never had, and one that goes on
    /// puts the account's lists up again.
    ///
    /// # Errors
    /// [`Error::RolledBack`], [`Error::DeviceReplaced`]: another goes on in this one's place, and loses nothing. [`Error::Store`].
    pub async fn delete_at_relays(&self, deadline: Duration) -> Result<Deleted, Error> {
        let engine = self.engine();
        let over = engine.clock.instant() + deadline;
        let left = || over.saturating_duration_since(engine.clock.instant());
        if !engine.read(|_, view| generation::is_ending(view)).await? {
            engine.refuse_if_rolled_back()?;
            // Whether this is a copy is known once its relays have spoken.
            tokio::select! {
                biased;
                () = engine.witness.is_complete() => {}
                () = engine.clock.sleep(left()) => {
                    return self.told_nobody(&unreached()).await;
                }
            }
            engine.end_account().await?;
        }
        let mut by_relay: BTreeMap<RelayAddress, Vec<Holding>> = BTreeMap::new();
        for holding in engine.read(|engine, view| own::holdings(view, &engine.own())).await? {
            by_relay.entry(holding.relay.clone()).or_default().push(holding);
        }
        let calls = by_relay.into_iter().map(|(relay, holdings)| async move {
            let answer = tokio::select! {
                biased;
                answer = delete_at(engine, &relay, &holdings) => answer,
                () = engine.clock.sleep(left()) => Err(TransportError::TimedOut.into()),
            };
            (relay, answer)
        });
        let mut deleted = Deleted { has_other_devices: self.has_other_devices().await?, ..Deleted::default() };
        for (relay, answer) in join_all(calls).await {
            match answer {
                Ok(()) => deleted.told.push(relay),
                Err(error) => deleted.not_told.push((relay, Error::from(error).code())),
            }
        }
        Ok(deleted)
    }

    /// Deletes the account on this device: [`Self::delete_at_relays`] for at most `deadline`, and then, whatever came of that, the keys and the
    /// files of this profile. With no deadline at all no relay is told. The engine is shut down then.
    ///
    /// # Errors
    /// [`Error::SecretStore`]: the keys stand, and so does the profile; [`Error::Store`]: the keys are gone, and a file could not be removed. It may
    /// be called again, or [`Self::wipe`].
    pub async fn delete_account(&self, deadline: Duration) -> Result<Deleted, Error> {
        let told = if deadline.is_zero() { Err(unreached()) } else { self.delete_at_relays(deadline).await };
        let deleted = match told {
            Ok(deleted) => deleted,
            // What cannot be read cannot be told either.
            Err(error) => self.told_nobody(&error).await.unwrap_or_default(),
        };
        self.engine().wipe(Arc::clone(&self.secrets)).await?;
        Ok(deleted)
    }

    /// Deletes a profile that is not open, on this device alone: the keys first, which takes milliseconds and is what counts, then the files.
    /// Harmless where there is none. Whatever else is in the directory stays.
    ///
    /// # Errors
    /// [`Error::SecretStore`]: nothing was deleted. [`Error::Store`]: the keys are gone, and files are left; with
    /// [`ProfileInUse`](crate::StoreError::ProfileInUse) somebody has it open, and can use it until they close it.
    pub fn wipe(secrets: &dyn SecretStore, directory: &Path) -> Result<(), Error> {
        keystore::wipe(secrets)?;
        Ok(Store::wipe(directory)?)
    }

    async fn told_nobody(&self, error: &Error) -> Result<Deleted, Error> {
        let engine = self.engine();
        let mut relays: Vec<_> = engine
            .read(|engine, view| own::holdings(view, &engine.own()))
            .await?
            .into_iter()
            .map(|held| held.relay)
            .collect();
        relays.sort();
        relays.dedup();
        let not_told = relays.into_iter().map(|relay| (relay, error.code())).collect();
        Ok(Deleted { not_told, has_other_devices: self.has_other_devices().await?, told: Vec::new() })
    }

    async fn has_other_devices(&self) -> Result<bool, Error> {
        Ok(!self.engine().read(|_, view| own::siblings::are_none(view)).await?)
    }
}

/// Nobody waited for it for long enough.
fn unreached() -> Error {
    RelayError::from(TransportError::TimedOut).into()
}

/// Everything at one relay, one after the other. What is not there any more is deleted.
async fn delete_at(engine: &Arc<Engine>, relay: &RelayAddress, holdings: &[Holding]) -> Result<(), RelayError> {
    for holding in holdings {
        let (path, body) = holding.deletion();
        let answer = engine.client.signed::<Empty>(relay, holding.subject.isolation(), path, body, holding.signer());
        match answer.await {
            Err(error) if error.is("refused") => {}
            answer => answer.map(drop)?,
        }
    }
    Ok(())
}
