//! Relays by name, and transports to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sotto_core::world::{Answer, BoxFuture, Call, Clock, Isolation, RelayStream, Rng, Transport, TransportError};
use sotto_protocol::{Bytes, RelayAddress, RelayName};
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig, Request, StreamSession};

/// A call as a relay saw it: on which isolated connection, and whether it was signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Which relay.
    pub relay: RelayName,
    /// Whose connection.
    pub isolation: Isolation,
    /// Which call.
    pub path: &'static str,
    /// Whether it carried a signature.
    pub signed: bool,
}

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

    /// A transport to all relays.
    #[must_use]
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(InProcess(self.clone()))
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
            self.0.state().traffic.push(Traffic {
                relay: call.relay.name().clone(),
                isolation: call.isolation,
                path: call.path,
                signed: call.authorization.is_some(),
            });
            let request = Request {
                method: "POST".to_owned(),
                path: call.path.to_owned(),
                body: call.body,
                authorization: call.authorization,
                has_cookie: false,
                version: Some(sotto_protocol::PROTOCOL_VERSION.to_string()),
            };
            let response = relay.handle(request, self.0.inner.clock.now()).await;
            Ok(Answer { status: response.status, body: response.body })
        })
    }

    fn stream(&self, relay: &RelayAddress) -> BoxFuture<'_, Result<Box<dyn RelayStream>, TransportError>> {
        let reached = self.0.reach(relay);
        Box::pin(async move {
            let (relay, is_down) = reached?;
            let mut challenge = [0; 32];
            self.0.inner.rng.fill(&mut challenge);
            let session = relay.open_stream(challenge, self.0.inner.clock.now());
            Ok(Box::new(Stream { session, is_down, clock: Arc::clone(&self.0.inner.clock) }) as Box<dyn RelayStream>)
        })
    }
}

struct Stream {
    session: StreamSession,
    is_down: tokio::sync::watch::Receiver<bool>,
    clock: Arc<dyn Clock>,
}

impl RelayStream for Stream {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            if *self.is_down.borrow() {
                return Err(TransportError::Broken);
            }
            self.session.receive(&frame, self.clock.now()).await.map_err(|_| TransportError::Broken)
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                _ = self.is_down.wait_for(|is_down| *is_down) => Some(Err(TransportError::Broken)),
                frame = self.session.next() => frame.map(Ok),
            }
        })
    }
}
