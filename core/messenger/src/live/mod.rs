//! Live state: who types, who is online. Told and heard only while it holds, off unless its user wants it, and written down nowhere.
//!
//! ```text
//! set_typing, set_presence --> speaking.rs (what is due when) --> telling.rs (to whom, one anonymous call) --> their devices that are attached
//! stream.rs: deliveries without a number --> flood.rs (how many) --> opening.rs (whose, does it open) --> hearing.rs (what is shown until when)
//! ```
//! What is sent and received are no letters (`docs/protocol.md` section 5, "Ephemerals"): no outbox, no ratchet, no transaction that writes, no answer.
//! Invariants: nothing of this is stored on either side but the two switches; who does not tell is not shown; of somebody who is blocked, removed,
//! unknown or not trusted nothing is shown, and to them nothing is told; whatever comes costs a bounded part of this device.
//! Not here: the keys (`sotto_crypto::seal::ephemeral`), typing that shows the text itself.

mod flood;
mod hearing;
mod opening;
mod speaking;
mod telling;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sotto_crypto::seal::ephemeral::Signal;
use sotto_protocol::limits::EPHEMERAL_WINDOW;
use sotto_protocol::{AccountId, RelayAddress, Timestamp, relay};
use tokio::sync::Notify;

use crate::contact::{Contact, ContactState, Trust};
use crate::conversation::MessageRow;
use crate::engine::Engine;
use crate::error::Error;
use crate::events::Event;
use crate::own::Own;
use crate::settings::{self, Key, Of};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;
use flood::Flood;
use hearing::{Hearing, Moment};
use speaking::{Action, Speaking};

/// Calls under way at a relay that does not answer: of more nobody there is told.
const CALLS_MAX: usize = 4;

/// What is told to contacts, and seen of them: who does not tell does not see. Off unless switched on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LiveSettings {
    /// That somebody is typing.
    pub typing: bool,
    /// That somebody is online.
    pub presence: bool,
}

impl LiveSettings {
    /// As they are stored.
    pub(crate) fn load(view: &impl Query) -> Result<Self, StoreError> {
        let is_on = |key| Ok::<_, StoreError>(settings::get(view, Of::Account, key)? == settings::flag(true));
        Ok(Self { typing: is_on(Key::Typing)?, presence: is_on(Key::Presence)? })
    }

    /// Sets them, for all devices of the account.
    pub(crate) fn store(
        self,
        tx: &mut Tx<'_>,
        own: &Own,
        now: Timestamp,
        chance: &mut Chance<'_>,
    ) -> Result<(), Error> {
        for (key, is_on) in [(Key::Typing, self.typing), (Key::Presence, self.presence)] {
            settings::set(tx, own, Of::Account, key, &settings::flag(is_on), now, chance)?;
        }
        Ok(())
    }
}

/// Where the app is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppState {
    /// Before its user.
    Foreground,
    /// Not before anybody.
    Background,
}

/// What a contact does right now, as far as they tell.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Live {
    /// They type in the conversation with us.
    pub is_typing: bool,
    /// Whether they are there.
    pub presence: Presence,
}

/// Whether a contact is there.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Presence {
    /// Nobody knows: they do not tell, or cannot be heard. There is no "last seen": that would be a record.
    #[default]
    Unknown,
    /// They have the app before them.
    Online,
}

/// All of it, in memory.
pub(crate) struct LiveState {
    inner: Mutex<Inner>,
    changed: Notify,
}

struct Inner {
    /// None before they were read.
    settings: Option<LiveSettings>,
    speaking: Speaking,
    hearing: Hearing,
    flood: Flood,
    /// What was not heeded, by its cause: causes are few.
    refusals: BTreeMap<&'static str, u64>,
    /// Calls under way.
    calls: BTreeMap<RelayAddress, usize>,
    /// When something was told last.
    told_at: Timestamp,
}

impl Inner {
    fn settings(&self) -> LiveSettings {
        self.settings.unwrap_or_default()
    }

    fn heed(&mut self, settings: LiveSettings, now: Instant) {
        self.settings = Some(settings);
        self.speaking.heed(settings, now);
        self.hearing.heed(settings, now);
    }

    fn refuse(&mut self, code: &'static str) {
        *self.refusals.entry(code).or_default() += 1;
    }
}

impl LiveState {
    pub(crate) fn new(now: Instant) -> Self {
        let inner = Inner {
            settings: None,
            speaking: Speaking::new(),
            hearing: Hearing::new(now),
            flood: Flood::default(),
            refusals: BTreeMap::new(),
            calls: BTreeMap::new(),
            told_at: Timestamp::EPOCH,
        };
        Self { inner: Mutex::new(inner), changed: Notify::new() }
    }

    /// No change ends halfway: what a panic leaves is whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was not heeded, and how often.
    pub(crate) fn refusals(&self) -> BTreeMap<&'static str, u64> {
        self.lock().refusals.clone()
    }

    /// The time to give what is told now: above that of everything told before, unless a clock that was ahead has been set right since.
    fn next_time(&self, now: Timestamp) -> Timestamp {
        let mut inner = self.lock();
        let next = inner.told_at.after(Duration::from_millis(1));
        inner.told_at = if next > now.after(EPHEMERAL_WINDOW) { now } else { now.max(next) };
        inner.told_at
    }

    /// One more call to a relay, unless too many are under way.
    fn begins_call(&self, relay: &RelayAddress) -> bool {
        let mut inner = self.lock();
        let calls = inner.calls.entry(relay.clone()).or_default();
        let may = *calls < CALLS_MAX;
        *calls += usize::from(may);
        may
    }

    fn ends_call(&self, relay: &RelayAddress) {
        let mut inner = self.lock();
        if let Some(calls) = inner.calls.get_mut(relay) {
            *calls = calls.saturating_sub(1);
        }
        inner.calls.retain(|_, calls| *calls > 0);
    }
}

/// Whether somebody may hear of us, and we of them.
fn may_share(contact: &Contact) -> bool {
    contact.state == ContactState::Accepted && !contact.blocked && !contact.held && contact.trust == Trust::Sound
}

/// What is told, and what ends, for as long as the engine lives.
pub(crate) async fn run(engine: Arc<Engine>) {
    // A call that ended with the life before says no more that it has.
    engine.live.lock().calls.clear();
    if let Ok(settings) = engine.read(|_, view| LiveSettings::load(view)).await {
        let mut inner = engine.live.lock();
        if inner.settings.is_none() {
            inner.heed(settings, engine.clock.instant());
        }
    }
    loop {
        let changed = engine.live.changed.notified();
        tell_what_is_due(&engine).await;
        tell_changes(&engine);
        let now = engine.clock.instant();
        let (speaks_at, ends_at) = {
            let inner = engine.live.lock();
            (inner.speaking.next_wakeup(), inner.hearing.next_wakeup(now))
        };
        match speaks_at.into_iter().chain(ends_at).min() {
            Some(at) => {
                let wait = engine.clock.sleep(at.saturating_duration_since(now));
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = wait => {}
                }
            }
            None => changed.await,
        }
    }
}

async fn tell_what_is_due(engine: &Arc<Engine>) {
    let mut signals = Vec::new();
    let mut finds_listeners = false;
    {
        let (now, chance) = (engine.clock.instant(), engine.chance());
        let mut inner = engine.live.lock();
        while let Some(action) = inner.speaking.poll_action(now, &chance) {
            match action {
                Action::Tell(who, signal) => signals.push((who, signal)),
                Action::FindListeners => finds_listeners = true,
            }
        }
    }
    if finds_listeners && engine.witness.is_any_up() {
        let listeners = engine.read(|engine, view| telling::to_tell(view, engine.network_now())).await;
        if let Ok(listeners) = listeners {
            let (now, chance) = (engine.clock.instant(), engine.chance());
            engine.live.lock().speaking.round(&listeners, now, &chance);
        }
    }
    if !signals.is_empty() {
        telling::tell(engine, signals).await;
    }
}

/// Tells listeners of whom there is something else to see.
fn tell_changes(engine: &Engine) {
    let changed = engine.live.lock().hearing.changes(moment(engine));
    for account in changed {
        engine.tell(Event::LiveChanged(account));
    }
}

fn moment(engine: &Engine) -> Moment {
    Moment { now: engine.network_now(), instant: engine.clock.instant() }
}

/// Makes a call that nobody waits for, and whose answer nobody reads.
fn post(engine: &Arc<Engine>, relay: RelayAddress, batch: relay::Send, patience: Duration) {
    if !engine.live.begins_call(&relay) {
        return;
    }
    let this = Arc::clone(engine);
    engine.spawn(async move {
        tokio::select! {
            biased;
            _ = this.client.send(&relay, &batch) => {}
            () = this.clock.sleep(patience) => {}
        }
        this.live.ends_call(&relay);
    });
}

/// What an app asks for and is told.
impl Engine {
    /// The switches stand so from now on, behind the commit that says it.
    pub(crate) fn heed_live_settings(&self, settings: LiveSettings) {
        self.live.lock().heed(settings, self.clock.instant());
        self.live.changed.notify_one();
    }

    /// Somebody types in the conversation with a contact, or does not any more.
    pub(crate) fn types_to(&self, with: AccountId, is_typing: bool) {
        let (now, chance) = (self.clock.instant(), self.chance());
        let mut inner = self.live.lock();
        if is_typing {
            inner.speaking.type_to(with, now, &chance);
        } else if !inner.speaking.stop(&with, now) {
            // Every message that is sent ends typing: mostly there is none.
            return;
        }
        drop(inner);
        self.live.changed.notify_one();
    }

    /// The app came before its user, or went.
    pub(crate) fn app_is(&self, app: AppState) {
        self.live.lock().speaking.app_is(app, self.clock.instant());
        self.live.changed.notify_one();
    }

    /// What a contact does.
    pub(crate) fn live_of(&self, contact: &Contact) -> Live {
        if may_share(contact) {
            self.live.lock().hearing.live(&contact.account, self.clock.instant())
        } else {
            Live::default()
        }
    }
}

/// Takes what a relay delivers without a number: whatever it is, nothing is stored and nobody is answered.
pub(crate) async fn hear(engine: &Arc<Engine>, own_inbox: i64, deliveries: Vec<relay::Delivery>) {
    let looked_at = {
        let now = engine.clock.instant();
        let mut inner = engine.live.lock();
        if inner.settings() == LiveSettings::default() {
            return;
        }
        let mut looked_at = Vec::new();
        for delivery in deliveries {
            if !opening::has_the_size(&delivery) {
                inner.refuse("malformed");
            } else if inner.flood.lets_pass(own_inbox, delivery.alias, now) {
                looked_at.push(delivery);
            } else {
                inner.refuse("too_many");
            }
        }
        looked_at
    };
    if looked_at.is_empty() {
        return;
    }
    let opened = engine
        .read(move |engine, view| -> Result<Vec<_>, StoreError> {
            looked_at.iter().map(|delivery| opening::open(&engine.own(), view, own_inbox, delivery)).collect()
        })
        .await;
    let Ok(opened) = opened else { return };
    let at = moment(engine);
    {
        let chance = engine.chance();
        let mut inner = engine.live.lock();
        for opened in opened {
            let settings = inner.settings();
            let heard = opened.and_then(|(speaker, said)| {
                let was_online = inner.hearing.live(&speaker.account, at.instant).presence == Presence::Online;
                inner.hearing.hear(speaker, &said, settings, at)?;
                Ok((speaker, said.signal == Signal::Online && settings.presence && !was_online))
            });
            match heard {
                Ok((speaker, true)) => inner.speaking.somebody_is_online(&speaker.account, at.instant, &chance),
                Ok((_, false)) => {}
                Err(code) => inner.refuse(code),
            }
        }
    }
    tell_changes(engine);
    engine.live.changed.notify_one();
}

/// Messages have come: whoever said them does not type them any more.
pub(crate) async fn messages_came(engine: &Arc<Engine>, messages: &[MessageRow]) {
    let is_anybody_typing = engine.live.lock().hearing.is_anybody_typing(engine.clock.instant());
    if messages.is_empty() || !is_anybody_typing {
        return;
    }
    let messages = messages.to_vec();
    let senders = engine.read(move |_, view| opening::senders(view, &messages)).await;
    let Ok(senders) = senders else { return };
    {
        let now = engine.clock.instant();
        let mut inner = engine.live.lock();
        senders.iter().for_each(|account| inner.hearing.has_spoken(account, now));
    }
    tell_changes(engine);
}
