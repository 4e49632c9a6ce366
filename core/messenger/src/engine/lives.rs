//! What becomes of an engine whose database is a copy: everything stops, and begins anew as another device, or never.

use std::future::Future;
use std::sync::Arc;

use super::{Engine, Event};
use crate::error::Error;
use crate::generation::{self, Standing};
use crate::store::StoreError;

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
            engine.end_life();
            engine.begin_rebirth();
        })
        .await;
    }

    /// The system had stopped this process, and lets it go on: all tasks end, the generation moves, so that files that were copied before are
    /// those of an older day, and all begins as at an opening. A known copy is left alone until it has become another device.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), Error> {
        self.to_the_end(Self::begin_again).await.unwrap_or(Err(StoreError::Failed.into()))
    }

    async fn begin_again(self: Arc<Self>) -> Result<(), Error> {
        let _alone = self.resuming.lock().await;
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

    fn forget_readings(&self) {
        if let Ok(mut reading) = self.reading.lock() {
            reading.clear();
        }
    }

    /// Goes on also where whoever began it is ended meanwhile, by others who have found out the same, or does not wait for it. Nothing comes of what
    /// panicked, or where nobody runs any more.
    async fn to_the_end<T, F>(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) -> F) -> Option<T>
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
            engine.end_life();
            engine.status.progressed();
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
