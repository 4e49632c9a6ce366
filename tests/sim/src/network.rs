//! Relays by name, transports to them, and whoever sits between.
//!
//! Every call is written down as it passes, with its body: tests read there what a relay could. A [meddler](Network::meddle) decides
//! what becomes of each call, which is how answers get lost, batches change and relays lie. What lies between one device and one relay is
//! its [`Weather`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sotto_core::world::{Call, Clock, Isolation, Rng, Transport, TransportError};
use sotto_protocol::relay::{ServerFrame, server_frame};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message as _, RelayAddress, RelayName, Timestamp};
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};

use crate::chance::Chance;
use crate::condition::Condition;
use crate::handed_out::HandedOut;
use crate::passage::InProcess;
use crate::record::Record;
use crate::weather::Weather;

/// A call as a relay saw it: on which isolated connection, and whether it was signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Which relay.
    pub relay: RelayName,
    /// Whose connection.
    pub isolation: Isolation,
    /// Which call.
    pub path: &'static str,
    /// Whether it carried a signature.
    pub signed: bool,
    /// What it said.
    pub body: Bytes,
}

/// What becomes of a call on its way.
pub enum Fate {
    /// It arrives, and so does its answer.
    Passes,
    /// It arrives, so much later.
    Late(Duration),
    /// It never arrives.
    Lost,
    /// The relay takes it, and its answer never arrives.
    AnswerLost,
    /// Another body arrives in its place.
    Becomes(Bytes),
    /// The relay never hears of it; this is the answer that the device gets.
    Answered(Bytes),
    /// Likewise, with another status than success.
    Fails(u16, Bytes),
}

/// Somebody between the devices and their relays.
pub type Meddler = Box<dyn FnMut(&Traffic) -> Fate + Send>;

/// A relay that says something else on its streams.
pub type Liar = Box<dyn FnMut(&RelayName, &mut server_frame::Frame) + Send>;

/// All relays. Clones are the same network.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    relays: BTreeMap<RelayName, Entry>,
    traffic: Vec<Traffic>,
    meddler: Option<Meddler>,
    liar: Option<Liar>,
    acks_are_lost: bool,
    stream_delay: Duration,
    answer_delay: Option<(&'static str, Duration)>,
    slow: BTreeMap<RelayName, Duration>,
    clocks_ahead: Duration,
    clocks_behind: Duration,
    weathers: BTreeMap<(usize, RelayName), Condition<Weather>>,
    /// What the weather does, once there is any.
    chance: Option<Chance>,
    record: Option<Record>,
    handed_out: HandedOut,
}

struct Entry {
    relay: Arc<Relay>,
    is_down: Condition<bool>,
}

impl Network {
    /// Without relays.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self { inner: Arc::new(Inner { clock, rng, state: Mutex::default() }) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(crate) async fn pass(&self, duration: Duration) {
        if !duration.is_zero() {
            self.inner.clock.sleep(duration).await;
        }
    }

    pub(crate) fn fill(&self, bytes: &mut [u8]) {
        self.inner.rng.fill(bytes);
    }

    /// Makes an anonymous call, as anybody could; returns the status.
    ///
    /// # Panics
    /// When the relay is not reached.
    pub async fn anonymous(&self, relay: &RelayAddress, path: &'static str, body: Bytes) -> u16 {
        let isolation = Isolation::Anonymous;
        let call = Call { relay: relay.clone(), isolation, path, body, authorization: None };
        self.transport().call(call).await.expect("the relay is up").status
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a relay in memory and returns its address.
    ///
    /// # Panics
    /// When the name is no host name: a mistake of the test.
    pub fn add_relay(&self, name: &str) -> RelayAddress {
        let address: RelayAddress = format!("https://{name}").parse().expect("a test's relay has a good name");
        let store = SqliteStore::open(SqliteOptions::memory()).expect("a database in memory opens");
        self.put_relay(
            &address,
            Relay::new(Arc::new(store), RelayConfig::open(address.name().clone()), self.inner.clock.now()),
        );
        address
    }

    /// Puts a relay in the place of its name; who was connected to the old one is not any more.
    pub fn put_relay(&self, address: &RelayAddress, relay: Arc<Relay>) {
        let entry = Entry { relay, is_down: Condition::default() };
        let before = self.state().relays.insert(address.name().clone(), entry);
        if let Some(before) = before {
            before.is_down.set(true);
        }
    }

    /// The relay of that address.
    #[must_use]
    pub fn relay(&self, address: &RelayAddress) -> Option<Arc<Relay>> {
        self.state().relays.get(address.name()).map(|entry| Arc::clone(&entry.relay))
    }

    /// Cuts a relay off, or brings it back. Its streams end.
    pub fn set_down(&self, address: &RelayAddress, is_down: bool) {
        if let Some(entry) = self.state().relays.get(address.name()) {
            entry.is_down.set(is_down);
        }
    }

    /// Every call so far.
    #[must_use]
    pub fn traffic(&self) -> Vec<Traffic> {
        self.state().traffic.clone()
    }

    /// Lets somebody decide what becomes of every call from now on, or nobody.
    pub fn meddle(&self, meddler: Option<Meddler>) {
        self.state().meddler = meddler;
    }

    /// Lets somebody change every frame that relays send on their streams from now on, or nobody.
    pub fn lie(&self, liar: Option<Liar>) {
        self.state().liar = liar;
    }

    /// How far ahead of the world's clock all relays believe to be from now on.
    pub fn set_clocks_ahead(&self, ahead: Duration) {
        self.state().clocks_ahead = ahead;
    }

    /// How far behind the world's clock all relays believe to be from now on.
    pub fn set_clocks_behind(&self, behind: Duration) {
        self.state().clocks_behind = behind;
    }

    pub(crate) fn relays_now(&self) -> Timestamp {
        let state = self.state();
        self.inner.clock.now().after(state.clocks_ahead).before(state.clocks_behind)
    }

    /// Whether acknowledgements on streams get lost on the way.
    pub fn lose_acks(&self, are_lost: bool) {
        self.state().acks_are_lost = are_lost;
    }

    /// How long a stream takes to open from now on.
    pub fn delay_streams(&self, delay: Duration) {
        self.state().stream_delay = delay;
    }

    /// How long the answers to calls of one kind are under way from now on. What they say is of when they were asked.
    pub fn delay_answers(&self, path: &'static str, delay: Duration) {
        self.state().answer_delay = Some((path, delay));
    }

    /// How long a stream takes to open at this relay from now on.
    pub fn delay_streams_of(&self, relay: &RelayAddress, delay: Duration) {
        self.state().slow.insert(relay.name().clone(), delay);
    }

    /// A transport to all relays.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(InProcess { network: self.clone(), device: None })
    }

    /// A device's transport to all relays, through the weather that lies between it and each of them.
    #[must_use]
    pub fn transport_of(&self, device: usize) -> Arc<dyn Transport> {
        Arc::new(InProcess { network: self.clone(), device: Some(device) })
    }

    /// What lies between a device and a relay from now on.
    pub fn set_weather(&self, device: usize, relay: &RelayAddress, weather: Weather) {
        self.weather(device, relay.name()).set(weather);
    }

    /// What lies there now.
    #[must_use]
    pub fn weather_at(&self, device: usize, relay: &RelayAddress) -> Weather {
        self.weather(device, relay.name()).now()
    }

    pub(crate) fn weather(&self, device: usize, relay: &RelayName) -> Condition<Weather> {
        self.state().weathers.entry((device, relay.clone())).or_default().clone()
    }

    /// What the weather does now.
    pub(crate) fn roll<T>(&self, choose: impl FnOnce(&mut Chance) -> T) -> T {
        let mut state = self.state();
        let rng = &self.inner.rng;
        let chance = state.chance.get_or_insert_with(|| {
            let mut seed = [0; 8];
            rng.fill(&mut seed);
            Chance::new(u64::from_le_bytes(seed), 0)
        });
        choose(chance)
    }

    /// From now on everything that passes goes into a hash.
    pub fn begin_record(&self) {
        self.state().record = Some(Record::default());
    }

    /// Puts something into the hash, with the time.
    pub fn record(&self, parts: &[&[u8]]) {
        let now = self.inner.clock.now();
        if let Some(record) = &mut self.state().record {
            record.add(now, parts);
        }
    }

    /// The hash of everything that has passed since it was begun.
    #[must_use]
    pub fn recorded(&self) -> Option<[u8; 32]> {
        self.state().record.as_ref().map(Record::hash)
    }

    /// A relay has answered a call.
    pub(crate) fn answered(&self, relay: &RelayName, call: &str, request: &Bytes, answer: &Bytes) {
        let now = self.inner.clock.now();
        if call == path::PREKEY_CLAIM {
            self.state().handed_out.answered(relay, request, answer, now);
        }
    }

    /// A relay came back from a copy that was made then.
    pub(crate) fn is_restored(&self, relay: &RelayName, copied_at: Timestamp) {
        self.state().handed_out.are_forgotten(relay, copied_at);
    }

    /// Which one-time key a relay has handed out twice, without having forgotten the first time.
    #[must_use]
    pub fn handed_out_twice(&self) -> Option<String> {
        self.state().handed_out.twice()
    }

    pub(crate) fn answer_delay(&self, path: &str) -> Duration {
        self.state().answer_delay.filter(|(of, _)| *of == path).map(|(_, delay)| delay).unwrap_or_default()
    }

    pub(crate) fn stream_delay(&self, relay: &RelayName) -> Duration {
        let state = self.state();
        state.slow.get(relay).copied().unwrap_or(state.stream_delay)
    }

    pub(crate) fn are_acks_lost(&self) -> bool {
        self.state().acks_are_lost
    }

    /// Writes a call down and asks the meddler.
    pub(crate) fn judge(&self, traffic: Traffic) -> Fate {
        let mut state = self.state();
        let fate = match &mut state.meddler {
            Some(meddler) => meddler(&traffic),
            None => Fate::Passes,
        };
        state.traffic.push(traffic);
        fate
    }

    /// A frame as it comes out of a relay's stream.
    pub(crate) fn said(&self, relay: &RelayName, bytes: Bytes) -> Bytes {
        let mut state = self.state();
        match (&mut state.liar, ServerFrame::decode(bytes.clone())) {
            (Some(liar), Ok(ServerFrame { frame: Some(mut frame) })) => {
                liar(relay, &mut frame);
                ServerFrame { frame: Some(frame) }.encode_to_vec().into()
            }
            _ => bytes,
        }
    }

    pub(crate) fn reach(&self, address: &RelayAddress) -> Result<(Arc<Relay>, Condition<bool>), TransportError> {
        let state = self.state();
        let entry = state.relays.get(address.name()).ok_or(TransportError::Unreachable)?;
        if entry.is_down.now() {
            return Err(TransportError::Unreachable);
        }
        Ok((Arc::clone(&entry.relay), entry.is_down.clone()))
    }
}
