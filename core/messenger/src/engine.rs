//! The engine: the tasks that carry letters out and in, and how they wake each other.
//!
//! ```text
//! dispatcher  starts a courier per device that has letters (outbox/courier.rs)
//! clerk       makes the signed calls that wait (one per relay)
//! streams     one per own relay: deliveries in, acknowledgements out (stream.rs)
//! upkeep      what is due by the clock: prekeys, manifests, confirmations, things to forget
//! ```
//! All of them read their work from the database, so nothing is lost with them: a wake-up is a hint. Every task ends when the engine
//! shuts down; opening, `catch_up` and a first success are network hints, at which everything queued is due at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, params};
use sotto_crypto::letter::Content;
use sotto_protocol::limits::{MANIFEST_RENEWED, RETENTION};
use sotto_protocol::{MessageId, RelayAddress, Timestamp, relay};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};

use crate::contact::{ContactRow, DeviceRow, ms, timestamp};
use crate::conversation::MessageRow;
use crate::error::Error;
use crate::outbox::backoff::Backoff;
use crate::outbox::post::Post;
use crate::outbox::{self, NewLetter, Says, courier};
use crate::own::{self, Own};
use crate::prekey;
use crate::receive;
use crate::relay_client::{RelayClient, RelayError};
use crate::store::{Answer, Query, Store, StoreError, Tx};
use crate::task::{self, Kind, Subject, Task};
use crate::world::{Chance, Clock, Rng};
use crate::{handshake, manifests, stream};

/// Events kept for a slow listener; one that falls behind reads the database instead.
const EVENTS: usize = 1_024;
/// Between two readings of a contact's chain that letters asked for.
const REFRESH_PAUSE: Duration = Duration::from_secs(10);
/// The longest the upkeep sleeps: clocks jump.
const UPKEEP_MAX: Duration = Duration::from_secs(3600);
/// A confirmation that could not leave for so long says nothing that the next letter will not say.
const CONFIRMATION_LIFETIME: Duration = Duration::from_secs(37 * 24 * 3600);
/// How long inner hashes are kept: relays hold nothing longer than the retention, and repeats of sends for a week more.
const SEEN_FOR: Duration = Duration::from_secs(RETENTION.as_secs() + 7 * 24 * 3600);

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
        self.spawn(run_dispatcher(Arc::clone(self)));
        self.spawn(run_clerks(Arc::clone(self)));
        self.spawn(run_upkeep(Arc::clone(self)));
        let relays: HashSet<RelayAddress> = self.own.inboxes.iter().map(|inbox| inbox.relay.clone()).collect();
        for relay in relays {
            self.spawn(stream::run(Arc::clone(self), relay));
        }
    }

    /// Runs a task until it ends or the engine shuts down.
    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
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
    let read_at =
        engine.read(move |_, view| crate::contact::by_row(view, contact)).await.map(|contact| contact.manifest_read_at);
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

// ---- couriers ---------------------------------------------------------------------------------------------------------------------

async fn run_dispatcher(engine: Arc<Engine>) {
    let mut couriers = tokio::task::JoinSet::new();
    let mut busy: HashMap<tokio::task::Id, DeviceRow> = HashMap::new();
    loop {
        if !engine.is_rolled_back()
            && let Ok(devices) = engine.read(|_, view| outbox::destinations(view)).await
        {
            let idle: Vec<_> = devices.into_iter().filter(|device| !busy.values().any(|busy| busy == device)).collect();
            for device in idle {
                let handle = couriers.spawn(courier::run(Arc::clone(&engine), device));
                busy.insert(handle.id(), device);
            }
        }
        tokio::select! {
            biased;
            Some(ended) = couriers.join_next_with_id() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(error) => error.id(),
                };
                // Round again: letters may have come between its last look and its end.
                busy.remove(&id);
                engine.status.progressed();
            }
            () = engine.outbox_changed.notified() => {}
        }
    }
}

// ---- signed calls -----------------------------------------------------------------------------------------------------------------

async fn run_clerks(engine: Arc<Engine>) {
    let mut clerks: HashMap<RelayAddress, Arc<Notify>> = HashMap::new();
    loop {
        if let Ok(relays) = engine.read(|_, view| task::relays(view)).await {
            for relay in relays {
                let wake = clerks.entry(relay.clone()).or_insert_with(|| {
                    let wake = Arc::new(Notify::new());
                    engine.spawn(run_clerk(Arc::clone(&engine), relay, Arc::clone(&wake)));
                    wake
                });
                wake.notify_one();
            }
        }
        engine.tasks_changed.notified().await;
    }
}

async fn run_clerk(engine: Arc<Engine>, relay: RelayAddress, wake: Arc<Notify>) {
    let mut backoff = Backoff::default();
    let mut hint = engine.hints();
    loop {
        match work_off(&engine, &relay).await {
            Ok(()) => {
                backoff.reset();
                engine.status.ended(Doing::Clerk(relay.clone()));
                wake.notified().await;
            }
            Err(error) => {
                engine.status.failed(Doing::Clerk(relay.clone()), error.code());
                let wait = backoff.failed(error.retry_after(), &engine.chance());
                if engine.wait_or_hint(wait, &mut hint).await {
                    backoff.reset();
                }
            }
        }
    }
}

/// Makes all calls that wait for a relay. Those of one subject keep their order; one that is refused holds up its own subject only.
async fn work_off(engine: &Arc<Engine>, relay: &RelayAddress) -> Result<(), Error> {
    let mut refused: BTreeSet<Subject> = BTreeSet::new();
    let mut refusal = None;
    loop {
        let at = relay.clone();
        let tasks = engine.read(move |_, view| task::due(view, &at)).await?;
        let tasks: Vec<_> = tasks.into_iter().filter(|task| !refused.contains(&task.subject)).collect();
        if tasks.is_empty() {
            return refusal.map_or(Ok(()), Err);
        }
        engine.status.working(Doing::Clerk(relay.clone()));
        for task in tasks {
            let (id, subject, kind) = (task.id, task.subject, task.kind);
            match perform(engine, relay, task).await {
                Ok(()) => {
                    engine
                        .write(move |_, tx| {
                            if let (Subject::Chain(chain), Kind::ChainDelete) = (subject, kind) {
                                own::chain_is_gone(tx, &chain)?;
                            }
                            task::done(tx, id)
                        })
                        .await?;
                    // Letters may have waited for it, and lists at other relays.
                    engine.wake();
                }
                Err(Error::Relay(RelayError::Refused(problem))) => {
                    tracing::warn!(code = problem.code, "a relay refuses a call of ours");
                    refused.insert(subject);
                    refusal = Some(RelayError::Refused(problem).into());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

async fn perform(engine: &Arc<Engine>, relay: &RelayAddress, task: Task) -> Result<(), Error> {
    let (path, isolation, body) = (task.kind.path(), task.subject.isolation(), task.body.into());
    match task.subject {
        Subject::Inbox(inbox) => {
            let Some(own) = engine.own.inbox(&inbox) else { return Ok(()) };
            if task.kind == Kind::PrekeyPut {
                engine.client.signed::<relay::PrekeyCount>(relay, isolation, path, body, &own.manage_key).await?;
            } else {
                engine.client.signed::<Nothing>(relay, isolation, path, body, &own.manage_key).await?;
            }
            Ok(())
        }
        Subject::Chain(chain) => {
            let key = engine.read(move |engine, view| own::write_key(view, &engine.own.seal, &chain)).await?;
            let Some(key) = key else { return Ok(()) };
            match engine.client.signed::<relay::ChainHead>(relay, isolation, path, body, &key).await {
                // Nobody else writes our chains: it is there from before a crash.
                Err(error) if error.is("conflict") => Ok(()),
                Err(error) if error.is("refused") && task.kind == Kind::ChainDelete => Ok(()),
                answer => Ok(answer.map(drop)?),
            }
        }
    }
}

/// The empty answer.
#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

// ---- upkeep -----------------------------------------------------------------------------------------------------------------------

async fn run_upkeep(engine: Arc<Engine>) {
    let mut failures = Backoff::default();
    loop {
        let wait = match look_after(&engine).await {
            Ok(wait) => {
                failures.reset();
                wait
            }
            Err(error) => {
                tracing::warn!(code = error.code(), "upkeep failed");
                failures.failed(error.retry_after(), &engine.chance())
            }
        };
        tokio::select! {
            biased;
            () = engine.upkeep_due.notified() => {}
            () = engine.clock.sleep(wait) => {}
        }
    }
}

/// Does what is due; says how long nothing will be.
async fn look_after(engine: &Arc<Engine>) -> Result<Duration, Error> {
    let due = engine.read(|_, view| due_at(view)).await?;
    if due <= engine.network_now() {
        engine.write(upkeep).await?;
        engine.wake();
        engine.status.progressed();
    }
    let due = engine.read(|_, view| due_at(view)).await?;
    // At least a second: what is due and could not be done is no reason to spin.
    Ok(due.since(engine.network_now()).clamp(Duration::from_secs(1), UPKEEP_MAX))
}

/// When something is due next.
fn due_at(view: &impl Query) -> Result<Timestamp, StoreError> {
    let issued_at =
        view.one("SELECT issued_at FROM account", [], |row| row.get(0))?.map(timestamp).ok_or(StoreError::Corrupt)?;
    let confirm_at = view.one("SELECT min(confirm_due) FROM peer_device WHERE confirm_due IS NOT NULL", [], |row| {
        row.get::<_, Option<i64>>(0)
    })?;
    let dies_at = view.one("SELECT min(dies_at) FROM outbox WHERE dies_at IS NOT NULL AND state <= 2", [], |row| {
        row.get::<_, Option<i64>>(0)
    })?;
    let others = [confirm_at.flatten(), dies_at.flatten()].into_iter().flatten().map(timestamp);
    let others = others.chain(outbox::unanswered::due_at(view)?);
    Ok(others.fold(prekey::due_at(view)?.min(issued_at.after(MANIFEST_RENEWED)), Timestamp::min))
}

fn upkeep(engine: &Engine, tx: &mut Tx<'_>) -> Result<(), Error> {
    let (now, sure_now) = (engine.network_now(), engine.sure_now());
    prekey::upkeep(tx, &engine.own, task::new_batch(tx)?, now, sure_now, &mut engine.chance())?;
    let issued_at =
        tx.one("SELECT issued_at FROM account", [], |row| row.get(0))?.map(timestamp).ok_or(StoreError::Corrupt)?;
    if now >= issued_at.after(MANIFEST_RENEWED) {
        own::renew_manifest(tx, &engine.own.seal, now, &mut engine.chance())?;
    }
    confirm_what_is_due(engine, tx, now)?;
    note_drained(engine, tx, now)?;
    outbox::unanswered::renew(tx, now)?;
    outbox::expire(tx, sure_now)?;
    handshake::forget_old_invites(tx, sure_now)?;
    receive::expire_waiting(tx, sure_now)?;
    tx.execute("DELETE FROM seen_inner WHERE day < ?1", [sure_now.before(SEEN_FOR).day()])?;
    tx.execute("DELETE FROM seen_message WHERE dies_at <= ?1", [ms(sure_now)])?;
    tx.execute("DELETE FROM session_tombstone WHERE dies_at <= ?1", [ms(sure_now)])?;
    Ok(())
}

/// A stream that is up and drained has nothing waiting now, however long ago the relay said so.
fn note_drained(engine: &Engine, tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    for inbox in &engine.own.inboxes {
        if engine.status.of(&Doing::Stream(inbox.relay.clone())) == Some(State::Drained) {
            tx.execute("UPDATE own_inbox SET drained_at = ?2 WHERE id = ?1", params![inbox.row, ms(now)])?;
        }
    }
    Ok(())
}

/// Letters that carry nothing but what was received, to devices that heard nothing from us for too long.
fn confirm_what_is_due(engine: &Engine, tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Error> {
    let due = tx.all(
        "SELECT peer_device.id FROM peer_device JOIN contact ON contact.id = peer_device.contact
         WHERE confirm_due <= ?1 AND contact.state = 3 AND contact.blocked = 0",
        [ms(now)],
        |row| row.get(0).map(DeviceRow),
    )?;
    let content = Content::Confirmation.encode().map_err(|_| StoreError::Failed)?;
    for device in &due {
        let message_id = MessageId::from_bytes(engine.chance().bytes());
        let letter = NewLetter {
            says: Says::Content(&content),
            message_id,
            sent_at: now,
            dies_at: Some(now.after(CONFIRMATION_LIFETIME)),
            after_batch: None,
        };
        outbox::queue(tx, *device, &letter)?;
    }
    // Where nothing may be confirmed, nothing is owed.
    tx.execute("UPDATE peer_device SET confirm_due = NULL WHERE confirm_due <= ?1", params![ms(now)])?;
    Ok(())
}

// ---- status -----------------------------------------------------------------------------------------------------------------------

/// Who is doing something.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Doing {
    Courier(DeviceRow),
    Clerk(RelayAddress),
    Stream(RelayAddress),
}

/// What the tasks are at, for those who wait until everything is dealt with. Nothing here decides anything.
#[derive(Default)]
pub(crate) struct Status {
    doing: Mutex<BTreeMap<Doing, State>>,
    changed: Notify,
    received: AtomicU64,
    sent: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// At it.
    Working,
    /// Failed since the last network hint, and waits to try again.
    Failing(&'static str),
    /// A stream that has delivered everything that waited.
    Drained,
}

impl Status {
    fn set(&self, doing: Doing, state: Option<State>) {
        if let Ok(mut all) = self.doing.lock() {
            match state {
                Some(state) => all.insert(doing, state),
                None => all.remove(&doing),
            };
        }
        self.progressed();
    }

    pub(crate) fn working(&self, doing: Doing) {
        self.set(doing, Some(State::Working));
    }

    pub(crate) fn failed(&self, doing: Doing, code: &'static str) {
        self.set(doing, Some(State::Failing(code)));
    }

    pub(crate) fn drained(&self, relay: &RelayAddress) {
        self.set(Doing::Stream(relay.clone()), Some(State::Drained));
    }

    pub(crate) fn ended(&self, doing: Doing) {
        self.set(doing, None);
    }

    /// What failed before a hint is tried again, and not failing until it fails again.
    fn new_round(&self) {
        if let Ok(mut all) = self.doing.lock() {
            all.retain(|_, state| !matches!(state, State::Failing(_)));
        }
    }

    pub(crate) fn progressed(&self) {
        self.changed.notify_waiters();
    }

    pub(crate) fn received(&self, count: usize) {
        self.received.fetch_add(count as u64, Ordering::Relaxed);
        self.progressed();
    }

    pub(crate) fn sent(&self, count: usize) {
        self.sent.fetch_add(count as u64, Ordering::Relaxed);
        self.progressed();
    }

    /// Messages received and letters sent since the engine opened.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    pub(crate) fn of(&self, doing: &Doing) -> Option<State> {
        self.doing.lock().ok().and_then(|all| all.get(doing).copied())
    }

    /// Relays that fail, with the code of the error.
    pub(crate) fn failing_relays(&self) -> Vec<(RelayAddress, &'static str)> {
        let Ok(all) = self.doing.lock() else { return Vec::new() };
        let mut failing: Vec<_> = all
            .iter()
            .filter_map(|(doing, state)| match (doing, state) {
                (Doing::Clerk(relay) | Doing::Stream(relay), State::Failing(code)) => Some((relay.clone(), *code)),
                _ => None,
            })
            .collect();
        failing.dedup_by(|one, other| one.0 == other.0);
        failing
    }

    /// Ready when anything changed after the call.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.changed.notified()
    }
}
