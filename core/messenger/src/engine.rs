//! The engine: the tasks that carry letters out and in, and how they wake each other.
//!
//! ```text
//! dispatcher  starts a courier per device that has letters (outbox/dispatcher.rs, outbox/courier.rs)
//! clerks      make the signed calls that wait, one per relay (clerk.rs)
//! streams     one per own relay: deliveries in, acknowledgements out (stream.rs)
//! upkeep      what is due by the clock: prekeys, manifests, confirmations, things to forget (upkeep.rs)
//! ```
//! All of them read their work from the database, so nothing is lost with them: a wake-up is a hint. Every task ends when the engine
//! shuts down; opening, `catch_up` and a first success are network hints, at which everything queued is due at once.

use std::collections::HashSet;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use sotto_protocol::{RelayAddress, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};

use crate::contact::{self, ContactRow};
use crate::conversation::MessageRow;
use crate::outbox::dispatcher;
use crate::outbox::post::Post;
use crate::own::Own;
use crate::receive;
use crate::relay_client::RelayClient;
use crate::status::Status;
use crate::store::{Answer, Store, StoreError, Tx};
use crate::world::{Chance, Clock, Rng};
use crate::{clerk, manifests, stream, upkeep};

/// Events kept for a slow listener; one that falls behind reads the database instead.
const EVENTS: usize = 1_024;
/// Between two readings of a contact's chain that letters asked for.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);

/// Something changed; read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A message came in, with its local number.
    MessageReceived(i64),
    /// A message of ours moved on, or conversations changed.
    MessagesChanged,
    /// Contacts changed.
    ContactsChanged,
}

/// Everything that the tasks share.
pub(crate) struct Engine {
    pub(crate) store: Store,
    pub(crate) own: Own,
    pub(crate) client: RelayClient,
    pub(crate) post: Arc<Post>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) status: Status,
    pub(crate) runtime: Handle,
    events: broadcast::Sender<Event>,
    outbox_changed: Notify,
    tasks_changed: Notify,
    upkeep_due: Notify,
    hint: watch::Sender<u64>,
    shut_down: watch::Sender<bool>,
    rolled_back: AtomicBool,
    /// Contacts whose chain is being read because a letter asked for it.
    refreshing: Mutex<HashSet<ContactRow>>,
}

impl Engine {
    pub(crate) fn new(
        store: Store,
        own: Own,
        client: RelayClient,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            post: Post::new(client.clone(), runtime.clone()),
            store,
            own,
            client,
            clock,
            rng,
            status: Status::default(),
            runtime,
            events: broadcast::channel(EVENTS).0,
            outbox_changed: Notify::new(),
            tasks_changed: Notify::new(),
            upkeep_due: Notify::new(),
            hint: watch::channel(0).0,
            shut_down: watch::channel(false).0,
            rolled_back: AtomicBool::new(false),
            refreshing: Mutex::default(),
        })
    }

    /// Starts the tasks.
    pub(crate) fn start(self: &Arc<Self>) {
        self.spawn(dispatcher::run(Arc::clone(self)));
        self.spawn(clerk::run(Arc::clone(self)));
        self.spawn(upkeep::run(Arc::clone(self)));
        let relays: HashSet<RelayAddress> = self.own.inboxes.iter().map(|inbox| inbox.relay.clone()).collect();
        for relay in relays {
            self.spawn(stream::run(Arc::clone(self), relay));
        }
    }

    /// Runs a task until it ends or the engine shuts down.
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut shut_down = self.shut_down.subscribe();
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                _ = shut_down.wait_for(|is_down| *is_down) => {}
                () = task => {}
            }
        });
    }

    /// Ends all tasks and closes the database behind the transaction under way.
    pub(crate) fn shut_down(&self) {
        self.shut_down.send_replace(true);
        self.client.transport().reset();
        self.store.close();
    }

    pub(crate) fn chance(&self) -> Chance<'_> {
        Chance(&*self.rng)
    }

    /// Now, on the time that relays go by: what they date and judge is made on it.
    pub(crate) fn network_now(&self) -> Timestamp {
        self.client.network_now()
    }

    /// A time that has passed by every clock that we know: what destroys something goes by it.
    pub(crate) fn sure_now(&self) -> Timestamp {
        self.client.sure_now()
    }

    /// One write transaction with the engine at hand.
    pub(crate) fn write<T, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Answer<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let engine = Arc::clone(self);
        self.store.write(move |tx| work(&engine, tx))
    }

    /// One read transaction, likewise.
    pub(crate) fn read<T, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &Connection) -> Result<T, E> + Send + 'static,
    ) -> Answer<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let engine = Arc::clone(self);
        self.store.read(move |view| work(&engine, view))
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Tells listeners, after the commit. That nobody listens is no failure.
    pub(crate) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Letters or signed calls were queued, or became due.
    pub(crate) fn wake(&self) {
        self.outbox_changed.notify_one();
        self.tasks_changed.notify_one();
    }

    /// Ready when letters were queued or became due.
    pub(crate) fn outbox_changed(&self) -> impl Future<Output = ()> + '_ {
        self.outbox_changed.notified()
    }

    /// Ready when signed calls were queued or became due.
    pub(crate) fn tasks_changed(&self) -> impl Future<Output = ()> + '_ {
        self.tasks_changed.notified()
    }

    /// Ready when something came in that has to be looked after.
    pub(crate) fn upkeep_is_due(&self) -> impl Future<Output = ()> + '_ {
        self.upkeep_due.notified()
    }

    /// The network may be back: everything queued is due at once.
    pub(crate) fn network_hint(&self) {
        self.status.new_round();
        self.hint.send_modify(|count| *count += 1);
        self.wake();
    }

    pub(crate) fn hints(&self) -> watch::Receiver<u64> {
        self.hint.subscribe()
    }

    /// Waits; says whether a network hint ended it early.
    pub(crate) async fn wait_or_hint(&self, wait: Duration, hint: &mut watch::Receiver<u64>) -> bool {
        tokio::select! {
            biased;
            _ = hint.changed() => true,
            () = self.clock.sleep(wait) => false,
        }
    }

    /// The database is an older copy: no ratchet may move any more.
    pub(crate) fn declare_rolled_back(&self) {
        tracing::error!("the relay remembers more than this database: it was restored or copied");
        self.rolled_back.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_rolled_back(&self) -> bool {
        self.rolled_back.load(Ordering::SeqCst)
    }

    /// After a commit of a batch: listeners, and whoever has work now.
    pub(crate) fn after_receive(self: &Arc<Self>, received: &receive::Received) {
        for MessageRow(row) in &received.messages {
            self.tell(Event::MessageReceived(*row));
        }
        if received.contacts_changed {
            self.tell(Event::ContactsChanged);
        }
        self.tell(Event::MessagesChanged);
        self.status.received(received.messages.len());
        let stale: HashSet<ContactRow> = received.stale.iter().copied().collect();
        for contact in stale {
            let is_new = self.refreshing.lock().is_ok_and(|mut refreshing| refreshing.insert(contact));
            if is_new {
                let engine = Arc::clone(self);
                self.spawn(async move { refresh_and_retry(engine, contact).await });
            }
        }
        self.upkeep_due.notify_one();
        self.wake();
    }
}

/// A letter named a head or a device that we do not know: reads the contact's chain, and tries again what waited for it.
async fn refresh_and_retry(engine: Arc<Engine>, contact: ContactRow) {
    // Letters that keep naming heads which nobody finds are no lever: one reading at a time, with a pause between two.
    let read_at = engine.read(move |_, view| contact::by_row(view, contact)).await.map(|known| known.manifest_read_at);
    let again_at = read_at.unwrap_or_default().after(REFRESH_PAUSE);
    engine.clock.sleep(again_at.since(engine.network_now()).min(REFRESH_PAUSE)).await;
    if let Ok(mut refreshing) = engine.refreshing.lock() {
        refreshing.remove(&contact);
    }
    if manifests::refresh(&engine, contact).await.is_err() {
        // It is read again before the next letter to them; what waits, waits.
        return;
    }
    let retried = engine
        .write(move |engine, tx| {
            receive::retry_waiting(tx, &engine.own, contact, engine.network_now(), &mut engine.chance())
        })
        .await;
    if let Ok(received) = retried
        && received.stale.is_empty()
    {
        engine.after_receive(&received);
    }
}
