//! Relays by name, transports to them, and whoever sits between.
//!
//! Every call is written down as it passes, with its body: tests read there what a relay could. A [meddler](Network::meddle) decides
//! what becomes of each call, which is how answers get lost, batches change and relays lie.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sotto_core::world::{Answer, BoxFuture, Call, Clock, Isolation, RelayStream, Rng, Transport, TransportError};
use sotto_protocol::relay::{ClientFrame, ServerFrame, client_frame, server_frame};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message as _, RelayAddress, RelayName, Timestamp};
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig, Request, StreamSession};

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
}

struct Entry {
    relay: Arc<Relay>,
    is_down: tokio::sync::watch::Sender<bool>,
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
        let entry = Entry { relay, is_down: tokio::sync::watch::channel(false).0 };
        self.state().relays.insert(address.name().clone(), entry);
    }

    /// The relay of that address.
    #[must_use]
    pub fn relay(&self, address: &RelayAddress) -> Option<Arc<Relay>> {
        self.state().relays.get(address.name()).map(|entry| Arc::clone(&entry.relay))
    }

    /// Cuts a relay off, or brings it back. Its streams end.
    pub fn set_down(&self, address: &RelayAddress, is_down: bool) {
        if let Some(entry) = self.state().relays.get(address.name()) {
            entry.is_down.send_replace(is_down);
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

    fn relays_now(&self) -> Timestamp {
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
        Arc::new(InProcess(self.clone()))
    }

    /// Writes a call down and asks the meddler.
    fn judge(&self, traffic: Traffic) -> Fate {
        let mut state = self.state();
        let fate = match &mut state.meddler {
            Some(meddler) => meddler(&traffic),
            None => Fate::Passes,
        };
        state.traffic.push(traffic);
        fate
    }

    /// A frame as it comes out of a relay's stream.
    fn said(&self, relay: &RelayName, bytes: Bytes) -> Bytes {
        let mut state = self.state();
        match (&mut state.liar, ServerFrame::decode(bytes.clone())) {
            (Some(liar), Ok(ServerFrame { frame: Some(mut frame) })) => {
                liar(relay, &mut frame);
                ServerFrame { frame: Some(frame) }.encode_to_vec().into()
            }
            _ => bytes,
        }
    }

    fn reach(
        &self,
        address: &RelayAddress,
    ) -> Result<(Arc<Relay>, tokio::sync::watch::Receiver<bool>), TransportError> {
        let state = self.state();
        let entry = state.relays.get(address.name()).ok_or(TransportError::Unreachable)?;
        let is_down = entry.is_down.subscribe();
        if *is_down.borrow() { Err(TransportError::Unreachable) } else { Ok((Arc::clone(&entry.relay), is_down)) }
    }
}

struct InProcess(Network);

impl Transport for InProcess {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, TransportError>> {
        Box::pin(async move {
            let (relay, _) = self.0.reach(&call.relay)?;
            let traffic = Traffic {
                relay: call.relay.name().clone(),
                isolation: call.isolation,
                path: call.path,
                signed: call.authorization.is_some(),
                body: call.body.clone(),
            };
            let (body, answer_is_lost) = match self.0.judge(traffic) {
                Fate::Passes => (call.body, false),
                Fate::AnswerLost => (call.body, true),
                Fate::Becomes(body) => (body, false),
                Fate::Lost => return Err(TransportError::Unreachable),
                Fate::Answered(body) => return Ok(Answer { status: 200, body }),
                Fate::Fails(status, body) => return Ok(Answer { status, body }),
            };
            let request = Request {
                method: if call.path == path::WELL_KNOWN { "GET" } else { "POST" }.to_owned(),
                path: call.path.to_owned(),
                body,
                authorization: call.authorization,
                has_cookie: false,
                version: Some(sotto_protocol::PROTOCOL_VERSION.to_string()),
            };
            let response = relay.handle(request, self.0.relays_now()).await;
            let answer_delay = self.0.state().answer_delay;
            if let Some((_, delay)) = answer_delay.filter(|(path, _)| *path == call.path) {
                self.0.pass(delay).await;
            }
            if answer_is_lost {
                return Err(TransportError::Broken);
            }
            Ok(Answer { status: response.status, body: response.body })
        })
    }

    fn stream(&self, relay: &RelayAddress) -> BoxFuture<'_, Result<Box<dyn RelayStream>, TransportError>> {
        let name = relay.name().clone();
        let delay = {
            let state = self.0.state();
            state.slow.get(&name).copied().unwrap_or(state.stream_delay)
        };
        let reached = self.0.reach(relay);
        Box::pin(async move {
            let (relay, is_down) = reached?;
            self.0.pass(delay).await;
            let mut challenge = [0; 32];
            self.0.inner.rng.fill(&mut challenge);
            let session = relay.open_stream(challenge, self.0.relays_now());
            Ok(Box::new(Stream { name, session, is_down, network: self.0.clone() }) as Box<dyn RelayStream>)
        })
    }
}

fn is_ack(frame: &Bytes) -> bool {
    ClientFrame::decode(frame.clone()).is_ok_and(|frame| matches!(frame.frame, Some(client_frame::Frame::Ack(_))))
}

struct Stream {
    name: RelayName,
    session: StreamSession,
    is_down: tokio::sync::watch::Receiver<bool>,
    network: Network,
}

impl RelayStream for Stream {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            if *self.is_down.borrow() {
                return Err(TransportError::Broken);
            }
            if self.network.state().acks_are_lost && is_ack(&frame) {
                return Ok(());
            }
            self.session.receive(&frame).await.map_err(|_| TransportError::Broken)
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                _ = self.is_down.wait_for(|is_down| *is_down) => Some(Err(TransportError::Broken)),
                frame = self.session.next() => frame.map(|frame| Ok(self.network.said(&self.name, frame))),
            }
        })
    }
}
