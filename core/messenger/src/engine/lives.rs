//! An engine's lives: the tasks of one end together, and the next begins with what stands in the database.
//!
//! A life ends when the engine pauses, when the system lets a stopped process go on, and when the database turns out to be a copy: then
//! everything begins anew as another device, or never.
//! Invariant: a paused engine has no task, no socket and no file open, and whatever was told that it did not happen did not.

use std::future::Future;
use std::sync::Arc;

use super::{Engine, Event, Phase};
use crate::error::Error;
use crate::generation::{self, Standing};
use crate::own::Own;
use crate::store::{DatabaseKey, Store, StoreError, Threading, Tx};
use crate::world::SecretStore;
use crate::{danger, keystore};

impl Engine {
    /// The database is an older copy: nothing of this device may move any more, in this process or a later one. It becomes another device.
    pub(crate) async fn declare_rolled_back(self: &Arc<Self>) {
        if !self.change_standing(Standing::One, Standing::Copy) {
            return;
        }
        tracing::error!("a relay or the keystore remembers more than this database: it was restored or copied");
        self.to_the_end(|engine| async move {
            // What could not be written down, the relay says again.
            let _ = engine.write(|_, tx| generation::note_copy(tx).map_err(Error::from)).await;
            // Unless it was opened anew meanwhile, and found to be none.
            if engine.standing() == Standing::Copy {
                engine.end_life();
                engine.begin_rebirth();
            }
        })
        .await;
    }

    /// All tasks and calls end, and every file and socket is closed once this is over. What was shut down stays so.
    pub(crate) async fn pause(self: &Arc<Self>) {
        self.to_the_end(Self::rest).await;
    }

    async fn rest(self: Arc<Self>) {
        let _alone = self.turning.lock().await;
        self.phase.change(|phase| {
            if *phase == Phase::Awake {
                *phase = Phase::Paused;
            }
        });
        self.end_life();
        let store = self.store.clone();
        tokio::join!(self.client.transport().hang_up(), self.off_the_runtime(move || store.pause()));
        // Whoever waits for something finds out.
        self.status.progressed();
    }

    /// What blocks its thread: on another one, where there are threads.
    async fn off_the_runtime<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        match self.store.threading() {
            Threading::Threads => self.runtime.spawn_blocking(work).await.ok(),
            Threading::Inline => Some(work()),
        }
    }

    /// Goes on after a pause, or where the system had stopped this process and lets it go on: all tasks end, the generation moves, so that files
    /// that were copied before are those of an older day, and all begins as at an opening.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), Error> {
        let to_come = danger::migrations_to_come();
        self.to_the_end(|engine| engine.begin_again(to_come)).await.unwrap_or(Err(StoreError::Failed.into()))
    }

    async fn begin_again(self: Arc<Self>, to_come: Vec<String>) -> Result<(), Error> {
        let _alone = self.turning.lock().await;
        match self.phase() {
            Phase::Awake => self.begin_next_life().await,
            Phase::Paused => self.wake_up(to_come).await,
            Phase::Down => Err(StoreError::Closed.into()),
        }
    }

    /// Nothing of what was known before counts: another process may have opened the profile meanwhile.
    async fn wake_up(self: &Arc<Self>, to_come: Vec<String>) -> Result<(), Error> {
        // The key is not kept while nobody needs it, and the keystore is asked for the generation in any case: it must be open.
        let key = keystore::database_key(&*self.secrets)?;
        let (store, for_it) = (self.store.clone(), key.clone());
        let reopened = self.off_the_runtime(move || store.reopen(&for_it, &to_come)).await;
        let opened = reopened.ok_or(StoreError::Failed)??;
        let (own, standing) = match self.prepare_again(&opened, &key).await {
            Ok(prepared) => prepared,
            Err(error) => {
                self.off_the_runtime(move || opened.close()).await;
                return Err(error);
            }
        };
        self.store.adopt(&opened)?;
        // What the last tasks of the life before have left.
        self.status.all_ended();
        self.forget_readings();
        self.reach.forget();
        self.witness.ask_anew(own.inboxes.iter().map(|inbox| inbox.relay.clone()));
        self.own.change(|now| *now = Arc::new(own));
        if let Ok(mut now) = self.standing.lock() {
            *now = standing;
        }
        self.phase.change(|phase| {
            if *phase == Phase::Paused {
                *phase = Phase::Awake;
            }
        });
        if !self.store.is_only_read() {
            self.start();
        }
        self.all_may_have_changed();
        Ok(())
    }

    async fn prepare_again(&self, opened: &Store, key: &DatabaseKey) -> Result<(Own, Standing), Error> {
        let prepared = generation::prepare(opened, &*self.secrets, key).await?;
        // Another account was made in its place: what was this one is not there any more.
        if prepared.0.account == self.own().account { Ok(prepared) } else { Err(StoreError::Absent.into()) }
    }

    /// A known copy is left alone until it has become another device.
    async fn begin_next_life(self: &Arc<Self>) -> Result<(), Error> {
        if self.is_rolled_back() || self.store.is_only_read() {
            return Ok(());
        }
        self.end_life();
        let advanced = generation::advance(&self.store, &*self.secrets).await;
        if matches!(advanced, Ok(Standing::Copy)) {
            self.declare_rolled_back().await;
            return Ok(());
        }
        // Whoever finds a copy meanwhile ends this life too, behind the lock.
        if let Ok(standing) = self.standing.lock()
            && *standing == Standing::One
        {
            self.forget_readings();
            self.witness.ask_anew(self.own().inboxes.iter().map(|inbox| inbox.relay.clone()));
            self.start_life();
        }
        advanced.map(drop)
    }

    /// The account is being deleted: nothing of it moves any more, in this process or a later one.
    pub(crate) async fn end_account(self: &Arc<Self>) -> Result<(), Error> {
        let noted = |engine: &Self, tx: &mut Tx<'_>| {
            engine.refuse_if_rolled_back()?;
            Ok::<_, Error>(generation::note_ending(tx)?)
        };
        let ending = self.to_the_end(|engine| async move {
            engine.write(noted).await?;
            if engine.change_standing(Standing::One, Standing::Replaced) {
                engine.end_life();
            }
            Ok(())
        });
        ending.await.unwrap_or(Err(StoreError::Failed.into()))
    }

    /// Deletes the profile on this device, the keys first, and shuts down.
    pub(crate) async fn wipe(self: &Arc<Self>, secrets: Arc<dyn SecretStore>) -> Result<(), Error> {
        let wiping = self.to_the_end(|engine| async move {
            let _alone = engine.turning.lock().await;
            keystore::wipe(&*secrets)?;
            let of = Arc::clone(&engine);
            let wiped = engine.off_the_runtime(move || {
                of.shut_down();
                of.store.directory().map_or(Ok(()), Store::wipe)
            });
            Ok(wiped.await.unwrap_or(Err(StoreError::Failed))?)
        });
        wiping.await.unwrap_or(Err(StoreError::Failed.into()))
    }

    fn forget_readings(&self) {
        if let Ok(mut reading) = self.reading.lock() {
            reading.clear();
        }
    }

    /// Goes on also where whoever began it is ended meanwhile, by others who have found out the same, or does not wait for it. Nothing comes of what
    /// panicked, or where nobody runs any more.
    pub(crate) async fn to_the_end<T, F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.runtime.spawn(work(Arc::clone(self))).await.ok()
    }

    /// Another copy has taken this device's place: nothing of it moves any more.
    pub(crate) async fn declare_replaced(self: &Arc<Self>) {
        if !self.change_standing(Standing::One, Standing::Replaced)
            && !self.change_standing(Standing::Copy, Standing::Replaced)
        {
            return;
        }
        tracing::error!("another copy of this profile has taken its place");
        self.to_the_end(|engine| async move {
            // What could not be written down, the account's list says again.
            let _ = engine.write(|_, tx| generation::note_replaced(tx).map_err(Error::from)).await;
            if engine.standing() == Standing::Replaced {
                engine.end_life();
                engine.status.progressed();
            }
        })
        .await;
    }

    /// The database has become another device, which goes on.
    pub(crate) fn is_reborn(self: &Arc<Self>) {
        tracing::warn!("this copy is a device of its own now");
        self.forget_readings();
        self.witness.begin_anew(self.own().inboxes.iter().map(|inbox| inbox.relay.clone()));
        self.status.all_ended();
        self.change_standing(Standing::Copy, Standing::One);
        self.start_life();
        self.all_may_have_changed();
    }

    /// Whoever shows or keeps anything reads it again.
    fn all_may_have_changed(&self) {
        self.show_again();
        self.tell(Event::ContactsChanged);
        self.tell(Event::MessagesChanged);
    }

    /// Ends all tasks of this life, the calling one where it waits next.
    fn end_life(&self) {
        self.life.change(|life| *life += 1);
        self.status.all_ended();
    }

    fn change_standing(&self, from: Standing, to: Standing) -> bool {
        self.standing.lock().is_ok_and(|mut standing| {
            let is_from = *standing == from;
            if is_from {
                *standing = to;
            }
            is_from
        })
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().map_or(Standing::Copy, |standing| *standing)
    }

    /// Whether nothing of this device may move.
    pub(crate) fn is_rolled_back(&self) -> bool {
        self.standing() != Standing::One
    }

    /// For what moves a ratchet or speaks for this device: asked inside its transaction, behind whatever was written before.
    pub(crate) fn refuse_if_rolled_back(&self) -> Result<(), Error> {
        match self.standing() {
            Standing::One => Ok(()),
            Standing::Copy => Err(Error::RolledBack),
            Standing::Replaced => Err(Error::DeviceReplaced),
        }
    }
}
