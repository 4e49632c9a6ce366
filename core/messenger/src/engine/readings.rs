//! Contacts' chains that are to be read soon: one reading of each at a time.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use crate::contact::{self, ContactRow};
use crate::manifests;
use crate::status::Doing;

/// Between two readings of a contact's chain that letters asked for.
const READING_PAUSE: Duration = Duration::from_secs(10);
/// The same when the first of them failed.
const READING_FAILED_PAUSE: Duration = Duration::from_secs(60);

/// Whether a contact's chain must be read once more after the reading under way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Yes,
    No,
}

impl Engine {
    /// Reads a contact's chain soon. One reading at a time, with a pause between two: letters that keep naming heads which nobody finds,
    /// and relays that hang, are no lever.
    pub(crate) fn read_again(self: &Arc<Self>, contact: ContactRow) {
        let is_new = self.reading.lock().is_ok_and(|mut reading| match reading.entry(contact) {
            Entry::Occupied(mut again) => {
                again.insert(Again::Yes);
                if self.status.of(&Doing::Reading(contact)).is_none() {
                    self.status.working(Doing::Reading(contact));
                }
                false
            }
            Entry::Vacant(place) => {
                place.insert(Again::No);
                self.status.working(Doing::Reading(contact));
                true
            }
        });
        if is_new {
            let engine = Arc::clone(self);
            self.spawn(async move { read_chain_of(engine, contact).await });
        }
    }

    /// A reading has ended. Says whether another was asked for meanwhile.
    fn has_read(&self, contact: ContactRow) -> Again {
        let Ok(mut reading) = self.reading.lock() else { return Again::No };
        match reading.insert(contact, Again::No) {
            Some(Again::Yes) => {
                self.status.working(Doing::Reading(contact));
                Again::Yes
            }
            _ => {
                reading.remove(&contact);
                self.status.ended(Doing::Reading(contact));
                Again::No
            }
        }
    }
}

async fn read_chain_of(engine: Arc<Engine>, contact: ContactRow) {
    // A courier may have read it just now.
    let known = engine.read(move |_, view| contact::by_row(view, contact)).await;
    let again_at = known.map(|known| known.manifest_read_at).unwrap_or_default().after(READING_PAUSE);
    engine.clock.sleep(again_at.since(engine.network_now()).min(READING_PAUSE)).await;
    loop {
        if let Err(error) = manifests::refresh(&engine, contact).await {
            // What waits for it, waits: it is read before the next letter to them, and upkeep comes back to it.
            tracing::debug!(code = error.code(), "a contact's chain was not read");
            engine.status.failed(Doing::Reading(contact), error.code());
            let tried = engine.write(move |engine, tx| contact::was_read_in_vain(tx, contact, engine.network_now()));
            if let Err(error) = tried.await {
                tracing::debug!(%error, "a reading in vain was not noted");
            }
            engine.wait_or_hint(READING_FAILED_PAUSE, &mut engine.hints()).await;
        } else {
            engine.status.ended(Doing::Reading(contact));
            engine.clock.sleep(READING_PAUSE).await;
        }
        if engine.has_read(contact) == Again::No {
            return;
        }
    }
}
