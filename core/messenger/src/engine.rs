//! The engine: the tasks that carry letters out and in, and how they wake each other.
//!
//! ```text
//! dispatcher  starts a courier per device that has letters (outbox/dispatcher.rs, outbox/courier.rs)
//! clerks      make the signed calls that wait, one per relay (clerk.rs)
//! streams     one per own relay: deliveries in, acknowledgements out (stream.rs)
//! live        what is told and heard only while it holds (live/mod.rs)
//! upkeep      what is due by the clock: prekeys, manifests, confirmations, things to forget (upkeep.rs)
//! search      words of what was said go into the index (search/fill.rs)
//! ```
//! All of them read their work from the database, so nothing is lost with them: a wake-up is a hint. Every task ends when the engine
//! shuts down or pauses; opening, `catch_up` and a first success are network hints, at which everything queued is due at once.

mod gate;
mod lives;
mod readings;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;
use sotto_protocol::{RelayAddress, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast};

pub(crate) use gate::Gate;

use crate::contact::ContactRow;
use crate::conversation::MessageRow;
use crate::error::Error;
use crate::events::{Event, Events};
use crate::generation::Standing;
use crate::live::{LiveSettings, LiveState};
use crate::outbox::dispatcher;
use crate::outbox::post::Post;
use crate::outbox::reach::Reach;
use crate::own::{self, Own};
use crate::relay_client::RelayClient;
use crate::status::Status;
use crate::store::{Answer, Store, StoreError, Tx};
use crate::watched::{Watched, Watcher};
use crate::witness::{self, Witness};
use crate::world::{Chance, Clock, Rng, SecretStore};
use crate::{clerk, live, rebirth, receive, search, stream, upkeep};

/// What waits could not be looked at: it is looked at again, though nobody queues anything more.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The times to work by.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// What relays date by.
    pub(crate) network: Timestamp,
    /// What others signed is judged by this one.
    pub(crate) judging: Timestamp,
}

/// Whether it moves.
///
/// ```text
/// Awake --pause--> Paused --resume--> Awake;  either --shut down--> Down, for good
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Tasks run, the database is open.
    Awake,
    /// No task, no file, no socket: it waits to be resumed.
    Paused,
    /// It has ended.
    Down,
}

/// Everything that the tasks share.
pub(crate) struct Engine {
    pub(crate) store: Store,
    /// What this device is and where it reads, as it was committed last.
    own: Watched<Arc<Own>>,
    pub(crate) client: RelayClient,
    pub(crate) post: Arc<Post>,
    pub(crate) reach: Reach,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) secrets: Arc<dyn SecretStore>,
    pub(crate) status: Status,
    pub(crate) runtime: Handle,
    events: Arc<Events>,
    /// Counts commits that changed what screens show.
    shown: Watched<u64>,
    outbox_changed: Notify,
    tasks_changed: Notify,
    upkeep_due: Notify,
    search_due: Notify,
    search_wanted: Notify,
    /// How often upkeep was asked for, and how often it had been when the last turn that is over began.
    upkeep_asked: AtomicU64,
    upkeep_done: AtomicU64,
    /// Counts network hints.
    hint: Watched<u64>,
    /// Counts them too, and every time that a relay of ours came back. Streams do not listen to it: they would call each other.
    retry: Watched<u64>,
    pub(crate) witness: Witness,
    pub(crate) live: LiveState,
    phase: Watched<Phase>,
    standing: Mutex<Standing>,
    /// One at a time pauses or resumes: each ends what runs, or starts it again.
    turning: tokio::sync::Mutex<()>,
    /// Counts lives: the tasks of one end with it.
    life: Watched<u64>,
    /// Contacts whose chain is being read, and whether somebody has asked for another reading meanwhile.
    reading: Mutex<HashMap<ContactRow, readings::Again>>,
}

impl Engine {
    #[expect(clippy::too_many_arguments, reason = "each is a part of the world that it lives in")]
    pub(crate) fn new(
        store: Store,
        own: Own,
        client: RelayClient,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        secrets: Arc<dyn SecretStore>,
        runtime: Handle,
        standing: Standing,
        phase: Watched<Phase>,
    ) -> Arc<Self> {
        let life = Watched::new(0);
        let events = Arc::new(Events::default());
        Arc::new(Self {
            post: Post::new(client.clone(), runtime.clone(), phase.watcher(), life.clone()),
            witness: Witness::new(own.inboxes.iter().map(|inbox| inbox.relay.clone())),
            live: LiveState::new(clock.instant()),
            store,
            own: Watched::new(Arc::new(own)),
            client,
            clock,
            rng,
            secrets,
            reach: Reach::default(),
            status: Status::new(Arc::clone(&events)),
            runtime,
            events,
            shown: Watched::new(0),
            outbox_changed: Notify::new(),
            tasks_changed: Notify::new(),
            upkeep_due: Notify::new(),
            search_due: Notify::new(),
            search_wanted: Notify::new(),
            upkeep_asked: AtomicU64::new(0),
            upkeep_done: AtomicU64::new(0),
            hint: Watched::new(0),
            retry: Watched::new(0),
            phase,
            standing: Mutex::new(standing),
            turning: tokio::sync::Mutex::default(),
            life,
            reading: Mutex::default(),
        })
    }

    /// Starts the tasks. A database that is known to be a copy gets none but the one that makes it another device: it must not even be
    /// attached in the place of the one that goes on.
    pub(crate) fn start(self: &Arc<Self>) {
        match self.standing() {
            Standing::One => self.start_life(),
            Standing::Copy => self.begin_rebirth(),
            Standing::Replaced => {}
        }
    }

    fn start_life(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        self.spawn(async move {
            engine.clock.sleep(witness::PATIENCE).await;
            engine.witness.lose_patience();
        });
        self.spawn(dispatcher::run(Arc::clone(self)));
        self.spawn(clerk::run(Arc::clone(self)));
        self.spawn(upkeep::run(Arc::clone(self)));
        self.spawn(live::run(Arc::clone(self)));
        self.spawn(stream::run_all(Arc::clone(self)));
        self.spawn(search::run(Arc::clone(self)));
    }

    /// Runs a task until it ends, this database turns out to be a copy, or the engine pauses or shuts down.
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let (mut phase, mut life) = (self.phase.watcher(), self.life.watcher());
        // Asked behind the watchers: whoever pauses changes the phase, and then ends the life that they have seen.
        if self.phase() != Phase::Awake {
            return;
        }
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                () = phase.until(|phase| *phase == Phase::Down) => {}
                () = life.changed() => {}
                () = task => {}
            }
        });
    }

    fn begin_rebirth(self: &Arc<Self>) {
        self.spawn(rebirth::run(Arc::clone(self)));
    }

    fn phase(&self) -> Phase {
        self.phase.read(|phase| *phase)
    }

    /// For what waits for the tasks: none of them comes to an end now.
    pub(crate) fn refuse_if_paused(&self) -> Result<(), Error> {
        match self.phase() {
            Phase::Awake => Ok(()),
            Phase::Paused => Err(Error::Paused),
            Phase::Down => Err(StoreError::Closed.into()),
        }
    }

    /// Ends all tasks and closes the database behind the transaction under way.
    pub(crate) fn shut_down(&self) {
        self.phase.change(|phase| *phase = Phase::Down);
        self.client.transport().reset();
        self.store.close();
        // Whoever waits for something to show hears that nothing will come.
        self.show_again();
        self.events.end();
    }

    pub(crate) fn chance(&self) -> Chance<'_> {
        Chance(&*self.rng)
    }

    /// Now, on the time that relays go by: what they date and judge is made on it.
    pub(crate) fn network_now(&self) -> Timestamp {
        self.client.network_now()
    }

    /// The latest time by any clock that we know: what others signed is judged by it, so that a relay whose clock runs late cannot make
    /// an old list or an old key look fresh.
    pub(crate) fn judging_now(&self) -> Timestamp {
        self.clock.now().max(self.client.network_now())
    }

    /// Both.
    pub(crate) fn times(&self) -> Times {
        Times { network: self.network_now(), judging: self.judging_now() }
    }

    /// A time that has passed by our clock and a relay's: what destroys something goes by it, and not at all while no relay has told one.
    pub(crate) fn sure_now(&self) -> Option<Timestamp> {
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
        self.write_then(work, |_, _| ())
    }

    /// As [`Self::write`]. Behind the commit `then` wakes who has work now and tells listeners, whatever has become of the caller. Other writes
    /// wait for it.
    pub(crate) fn write_then<T, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &mut Tx<'_>) -> Result<T, E> + Send + 'static,
        then: impl FnOnce(&Arc<Self>, &T) + Send + 'static,
    ) -> Answer<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (engine, after) = (Arc::clone(self), Arc::clone(self));
        let work = move |tx: &mut Tx<'_>| {
            let value = work(&engine, tx)?;
            let own = tx.has_changed_own().then(|| own::load(tx, engine.own().seal.clone())).transpose()?;
            let live = tx.has_changed_live().then(|| LiveSettings::load(tx)).transpose()?;
            Ok((value, own, live, tx.has_changed_shown()))
        };
        self.store.write_then(work, move |(value, own, live, has_changed_shown)| {
            if let Some(own) = own {
                after.own.change(|now| *now = Arc::new(own));
            }
            if let Some(live) = live {
                after.heed_live_settings(live);
            }
            if has_changed_shown {
                after.show_again();
            }
            then(&after, &value);
            value
        })
    }

    /// What this device is and where it reads, as it was committed last: within a write transaction, that is before it.
    pub(crate) fn own(&self) -> Arc<Own> {
        self.own.read(Arc::clone)
    }

    /// Changes with every commit that changes what [`Self::own`] says.
    pub(crate) fn own_changes(&self) -> Watcher<Arc<Own>> {
        self.own.watcher()
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

    /// One read transaction where the last write is still in memory: see [`Store::read_after_write`].
    pub(crate) fn read_after_write<T, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Answer<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.store.read_after_write(work)
    }

    /// What is told from now on; it ends with the engine.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.listen()
    }

    /// Tells listeners, after the commit.
    pub(crate) fn tell(&self, event: Event) {
        self.events.tell(event);
        if event == Event::MessagesChanged {
            self.search_due.notify_one();
        }
    }

    /// Ready when something may have been said that the search index does not have.
    pub(crate) fn search_is_due(&self) -> impl Future<Output = ()> + '_ {
        self.search_due.notified()
    }

    /// Somebody searches, and much is not in the index yet.
    pub(crate) fn want_search(&self) {
        self.search_due.notify_one();
        self.search_wanted.notify_one();
    }

    /// Ready then.
    pub(crate) fn search_is_wanted(&self) -> impl Future<Output = ()> + '_ {
        self.search_wanted.notified()
    }

    /// Changes with every commit that changes what screens show.
    pub(crate) fn shown_changes(&self) -> Watcher<u64> {
        self.shown.watcher()
    }

    /// Whoever shows something looks at it again.
    pub(crate) fn show_again(&self) {
        self.shown.change(|count| *count += 1);
    }

    /// Letters or signed calls were queued, or became due.
    pub(crate) fn wake(&self) {
        self.outbox_changed.notify_one();
        self.tasks_changed.notify_one();
    }

    /// Letters were queued, and nothing else.
    pub(crate) fn wake_couriers(&self) {
        self.outbox_changed.notify_one();
    }

    /// Ready when letters were queued or became due.
    pub(crate) fn outbox_changed(&self) -> impl Future<Output = ()> + '_ {
        self.outbox_changed.notified()
    }

    /// Ready when signed calls were queued or became due.
    pub(crate) fn tasks_changed(&self) -> impl Future<Output = ()> + '_ {
        self.tasks_changed.notified()
    }

    /// A relay of ours has said what it remembers of us. When it could not be reached before, the network is back: everything queued
    /// is due at once.
    pub(crate) fn heard_of(&self, relay: &RelayAddress) {
        if self.witness.spoke(relay) {
            self.retry.change(|count| *count += 1);
            self.wake();
        }
    }

    /// Something may be due that was not.
    pub(crate) fn look_after(&self) {
        self.upkeep_asked.fetch_add(1, Ordering::SeqCst);
        self.upkeep_due.notify_one();
    }

    /// How often upkeep was asked for.
    pub(crate) fn upkeep_asked(&self) -> u64 {
        self.upkeep_asked.load(Ordering::SeqCst)
    }

    /// A turn of upkeep is over that began when it had been asked for so often.
    pub(crate) fn looked_after(&self, asked: u64) {
        self.upkeep_done.store(asked, Ordering::SeqCst);
        self.status.progressed();
    }

    /// Whether a turn of upkeep has begun and ended since it was last asked for.
    pub(crate) fn is_looked_after(&self) -> bool {
        self.upkeep_done.load(Ordering::SeqCst) >= self.upkeep_asked()
    }

    /// Ready when something came in that has to be looked after.
    pub(crate) fn upkeep_is_due(&self) -> impl Future<Output = ()> + '_ {
        self.upkeep_due.notified()
    }

    /// The network may be back: everything queued is due at once.
    pub(crate) fn network_hint(&self) {
        self.status.new_round();
        self.reach.forget();
        self.hint.change(|count| *count += 1);
        self.retry.change(|count| *count += 1);
        self.wake();
    }

    /// Changes with every network hint.
    pub(crate) fn hints(&self) -> Watcher<u64> {
        self.hint.watcher()
    }

    /// Changes when what failed should be tried at once.
    pub(crate) fn retries(&self) -> Watcher<u64> {
        self.retry.watcher()
    }

    /// Waits; says whether a network hint ended it early.
    pub(crate) async fn wait_or_hint(&self, wait: Duration, hint: &mut Watcher<u64>) -> bool {
        tokio::select! {
            biased;
            () = hint.changed() => true,
            () = self.clock.sleep(wait) => false,
        }
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
        self.status.received(received.messages.len() + received.own_messages);
        for contact in &received.stale {
            self.read_again(*contact);
        }
        if received.waits_behind_gap || received.contacts_changed {
            // Whoever waits until everything is dealt with waits for that too.
            self.look_after();
        }
        self.upkeep_due.notify_one();
        self.wake();
    }
}
