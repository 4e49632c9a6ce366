//! A relay without sockets on a store that runs inline, devices that sign for it, and streams that are driven by hand.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use futures_util::FutureExt;
use rusqlite::Connection;
use sotto_protocol::label::{ack_signature_input, attach_signature_input};
use sotto_protocol::relay::{
    Ack, Attach, ClientFrame, Delivery, InboxCreate, Lifetime, Send, SendItem, SendOutcome, SendResults, ServerFrame,
    Token as WireToken, TokenPut, client_frame, server_frame::Frame,
};
use sotto_protocol::request::{Authorization, path, signature_input};
use sotto_protocol::{Bytes, EnvelopeId, InboxId, Message, RelayName, Timestamp, Token};
use sotto_relay::limits::{CLOCK_AGREEMENT, StoreBounds};
use sotto_relay::store::{Crash, Denied, MailboxStore, SqliteOptions, SqliteStore, StepHook, Swept};
use sotto_relay::{Relay, RelayConfig, Request, Response, StreamEnd, StreamSession};
use tempfile::TempDir;

/// Noon of some day.
pub(crate) const NOON: Timestamp = Timestamp::from_ms(20_500 * 86_400_000 + 43_200_000);

static NONCE: AtomicU64 = AtomicU64::new(1);

/// Sixteen bytes that no other call got.
pub(crate) fn fresh() -> [u8; 16] {
    let mut bytes = [0xab; 16];
    bytes[8..].copy_from_slice(&NONCE.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

pub(crate) fn name() -> RelayName {
    RelayName::parse("relay.example", 443).unwrap()
}

/// What became of an item, printable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    Accepted,
    Refused,
    Full,
    Stale,
    Busy,
}

impl From<SendOutcome> for Sent {
    fn from(outcome: SendOutcome) -> Self {
        match outcome {
            SendOutcome::Unspecified => panic!("a result without an outcome"),
            SendOutcome::Accepted => Self::Accepted,
            SendOutcome::Refused => Self::Refused,
            SendOutcome::Full => Self::Full,
            SendOutcome::Stale => Self::Stale,
            SendOutcome::Busy => Self::Busy,
        }
    }
}

/// One relay, its disk and its clock.
pub(crate) struct World {
    pub(crate) relay: Arc<Relay>,
    pub(crate) now: Timestamp,
    pub(crate) bounds: StoreBounds,
    directory: Option<TempDir>,
    /// By the monotonic clock.
    swept_at: AtomicU64,
}

impl World {
    /// Nothing on disk.
    pub(crate) fn new() -> Self {
        Self::bounded(StoreBounds::default())
    }

    pub(crate) fn bounded(bounds: StoreBounds) -> Self {
        let relay = settled(SqliteOptions { bounds: bounds.clone(), ..SqliteOptions::memory() });
        Self { relay, now: NOON, bounds, directory: None, swept_at: started() }
    }

    /// On a disk that outlives the relay.
    pub(crate) fn on_disk() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bounds = StoreBounds::default();
        let relay = settled(SqliteOptions::file(directory.path().join("relay.sqlite")).inline());
        Self { relay, now: NOON, bounds, directory: Some(directory), swept_at: started() }
    }

    /// On a store of one's own.
    pub(crate) fn on(store: Arc<dyn MailboxStore>) -> Self {
        let relay = Relay::new(store, RelayConfig::open(name()), NOON);
        Self { relay, now: NOON, bounds: StoreBounds::default(), directory: None, swept_at: started() }
    }

    /// On a disk where `hook` decides what works.
    pub(crate) fn on_bad_disk(hook: StepHook, crash: Crash) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = SqliteOptions::file(directory.path().join("relay.sqlite")).inline();
        let relay = relay(SqliteOptions { step_hook: Some(hook), crash, ..file }, NOON);
        Self { relay, now: NOON, bounds: StoreBounds::default(), directory: Some(directory), swept_at: started() }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    pub(crate) fn database(&self) -> std::path::PathBuf {
        self.directory().join("relay.sqlite")
    }

    /// Ends this relay and opens its disk with nothing in memory.
    pub(crate) fn reopened(self) -> Self {
        let Self { relay: old, now, bounds, directory, .. } = self;
        drop(old);
        let path = directory.as_ref().unwrap().path().join("relay.sqlite");
        let options = SqliteOptions { bounds: bounds.clone(), ..SqliteOptions::file(path).inline() };
        let swept_at = AtomicU64::new(now.as_ms());
        Self { relay: relay(options, now), now, bounds, directory, swept_at }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    pub(crate) fn handle(&self, request: Request) -> Response {
        self.relay.handle(request, self.now).now_or_never().unwrap()
    }

    pub(crate) fn post(&self, path: &str, message: &impl Message) -> Response {
        self.handle(Request::post(path, message.encode_to_vec()))
    }

    pub(crate) fn signed(&self, key: &SigningKey, path: &str, message: &impl Message) -> Response {
        self.handle(sign(key, path, message, self.now, fresh()))
    }

    /// A device with an inbox.
    pub(crate) fn device(&self) -> Device {
        let device = Device::new();
        let response = self.signed(&device.owner, path::INBOX_CREATE, &device.create());
        assert_eq!(response.status, 200, "{}", text(&response));
        device
    }

    /// A token to the device's inbox, under an alias.
    pub(crate) fn token(&self, device: &Device, alias: u32) -> Token {
        self.token_with(device, |token| token.alias = alias)
    }

    pub(crate) fn token_with(&self, device: &Device, change: impl FnOnce(&mut WireToken)) -> Token {
        let token = Token::from_bytes(fresh());
        let mut wire = WireToken { hash: token.hash().into(), ..WireToken::default() };
        change(&mut wire);
        let put = TokenPut { inbox: device.inbox.into(), tokens: vec![wire] };
        let response = self.signed(&device.manage, path::TOKEN_PUT, &put);
        assert_eq!(response.status, 200, "{}", text(&response));
        token
    }

    /// An item as most senders make it.
    pub(crate) fn item(&self, device: &Device, token: &Token) -> SendItem {
        SendItem {
            inbox: device.inbox.into(),
            token: token.as_bytes().to_vec().into(),
            envelope: self.envelope_id().into(),
            header: Bytes::from_static(b"header"),
            payload: 0,
            lifetime: Lifetime::Retention.into(),
            ..SendItem::default()
        }
    }

    pub(crate) fn envelope_id(&self) -> EnvelopeId {
        EnvelopeId::new(self.now, fresh()[4..].try_into().unwrap())
    }

    pub(crate) fn send(&self, items: Vec<SendItem>, payload: &[u8]) -> Vec<Sent> {
        let send = Send { payloads: vec![Bytes::copy_from_slice(payload)], items };
        let response = self.post(path::SEND, &send);
        assert_eq!(response.status, 200, "{}", text(&response));
        let results = SendResults::decode(response.body).unwrap().results;
        results.iter().map(|result| result.outcome().into()).collect()
    }

    /// As [`Self::send`], on a store with threads.
    pub(crate) async fn send_async(&self, items: Vec<SendItem>, payload: &[u8]) -> Vec<Sent> {
        let send = Send { payloads: vec![Bytes::copy_from_slice(payload)], items };
        let response = self.relay.handle(Request::post(path::SEND, send.encode_to_vec()), self.now).await;
        let results = SendResults::decode(response.body).unwrap().results;
        results.iter().map(|result| result.outcome().into()).collect()
    }

    /// A device and a token, on a store with threads.
    pub(crate) async fn device_with_token(&self) -> (Device, Token) {
        let (device, token) = (Device::new(), Token::from_bytes(fresh()));
        let create = sign(&device.owner, path::INBOX_CREATE, &device.create(), self.now, fresh());
        assert_eq!(self.relay.handle(create, self.now).await.status, 200);
        let wire = WireToken { hash: token.hash().into(), ..WireToken::default() };
        let put = TokenPut { inbox: device.inbox.into(), tokens: vec![wire] };
        let put = sign(&device.manage, path::TOKEN_PUT, &put, self.now, fresh());
        assert_eq!(self.relay.handle(put, self.now).await.status, 200);
        (device, token)
    }

    /// Puts one envelope.
    pub(crate) fn put(&self, device: &Device, token: &Token, payload: &[u8]) -> Sent {
        self.send(vec![self.item(device, token)], payload)[0]
    }

    pub(crate) fn stream(&self) -> Stream {
        Stream::new(self.relay.open_stream([fresh()[15]; 32], self.now), self.now)
    }

    /// A stream with the device's inbox attached; the frames up to *attached* are taken.
    pub(crate) fn attached(&self, device: &Device) -> Stream {
        let mut stream = self.stream();
        stream.attach(device);
        assert!(matches!(stream.frame(), Some(Frame::Attached(_))));
        stream
    }

    /// Everything that waits in the device's inbox, without touching it.
    pub(crate) fn waiting(&self, device: &Device) -> Vec<Delivery> {
        let mut stream = self.attached(device);
        stream.deliveries()
    }

    /// Every value of every table: what a cold reader would find.
    pub(crate) fn dump(&self) -> Vec<String> {
        dump(&self.database())
    }

    pub(crate) fn sweep(&self) {
        while self.sweep_once().unwrap().has_more {}
    }

    /// One bounded step of it.
    pub(crate) fn sweep_once(&self) -> Result<Swept, Denied> {
        let elapsed = self.now.since(Timestamp::from_ms(self.swept_at.load(Ordering::SeqCst)));
        let swept = self.relay.sweep(self.now, elapsed).now_or_never().unwrap();
        if swept.is_ok() {
            self.swept_at.store(self.now.as_ms(), Ordering::SeqCst);
        }
        swept
    }

    /// The wall clock jumps; no time passes.
    pub(crate) fn set_clock(&mut self, now: Timestamp) {
        self.now = now;
        self.swept_at.store(now.as_ms(), Ordering::SeqCst);
    }

    /// Sweeps on a disk that fails now and then.
    pub(crate) fn sweep_until_done(&self) {
        while self.sweep_once().map_or(true, |swept| swept.has_more) {}
    }
}

pub(crate) fn dump(database: &Path) -> Vec<String> {
    let connection = Connection::open(database).unwrap();
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut lines = Vec::new();
    for table in tables {
        let mut rows = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = rows.column_count();
        let mut found = rows.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values: Vec<String> = (0..columns).map(|index| format!("{:?}", row.get_ref(index).unwrap())).collect();
            lines.push(format!("{table}: {}", values.join(", ")));
        }
    }
    lines
}

fn started() -> AtomicU64 {
    AtomicU64::new(NOON.as_ms())
}

/// A relay that has run for a day, so that it is sure of the time.
fn settled(options: SqliteOptions) -> Arc<Relay> {
    let relay = relay(options, NOON);
    for (ago, elapsed) in [(CLOCK_AGREEMENT, Duration::ZERO), (Duration::ZERO, CLOCK_AGREEMENT)] {
        relay.sweep(NOON.before(ago), elapsed).now_or_never().unwrap().unwrap();
    }
    relay
}

fn relay(options: SqliteOptions, now: Timestamp) -> Arc<Relay> {
    Relay::new(Arc::new(SqliteStore::open(options).unwrap()), RelayConfig::open(name()), now)
}

pub(crate) fn sign(key: &SigningKey, path: &str, message: &impl Message, time: Timestamp, nonce: [u8; 16]) -> Request {
    sign_bytes(key, path, &message.encode_to_vec(), time, nonce)
}

pub(crate) fn sign_bytes(key: &SigningKey, path: &str, body: &[u8], time: Timestamp, nonce: [u8; 16]) -> Request {
    let mut request = Request::post(path, body.to_vec());
    request.authorization = Some(authorization(key, &name(), &request, time, nonce));
    request
}

pub(crate) fn authorization(
    key: &SigningKey,
    relay: &RelayName,
    request: &Request,
    time: Timestamp,
    nonce: [u8; 16],
) -> String {
    let input = signature_input(relay, &request.method, &request.path, &request.body, time, &nonce);
    let signature = key.sign(&input).to_bytes();
    Authorization { key: key.verifying_key().to_bytes(), time, nonce, signature }.to_string()
}

pub(crate) fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

/// The stable code of a problem.
pub(crate) fn code(response: &Response) -> String {
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["status"], response.status);
    body["code"].as_str().unwrap().to_owned()
}

/// What one phone holds.
pub(crate) struct Device {
    pub(crate) inbox: InboxId,
    pub(crate) owner: SigningKey,
    pub(crate) manage: SigningKey,
}

impl Device {
    pub(crate) fn new() -> Self {
        Self { inbox: InboxId::from_bytes(fresh()), owner: signing_key(), manage: signing_key() }
    }

    pub(crate) fn create(&self) -> InboxCreate {
        InboxCreate {
            inbox: self.inbox.into(),
            owner_key: self.owner.verifying_key().to_bytes().to_vec().into(),
            manage_key: self.manage.verifying_key().to_bytes().to_vec().into(),
            ..InboxCreate::default()
        }
    }
}

pub(crate) fn signing_key() -> SigningKey {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(&fresh());
    SigningKey::from_bytes(&seed)
}

/// What the device says of everything up to `sequence`.
pub(crate) fn ack(device: &Device, sequence: u64) -> Ack {
    let input = ack_signature_input(&name(), &device.inbox, sequence);
    let signature = device.owner.sign(&input).to_bytes().to_vec().into();
    Ack { inbox: device.inbox.into(), sequence, signature }
}

/// A stream driven by hand.
pub(crate) struct Stream {
    session: StreamSession,
    challenge: Bytes,
    now: Timestamp,
}

impl Stream {
    fn new(mut session: StreamSession, now: Timestamp) -> Self {
        let first = session.next().now_or_never().unwrap().unwrap();
        let Some(Frame::Challenge(challenge)) = ServerFrame::decode(first).unwrap().frame else {
            panic!("a stream begins with a challenge")
        };
        assert_eq!(challenge.relay, name().as_str());
        Self { session, challenge: challenge.challenge, now }
    }

    pub(crate) fn attach(&mut self, device: &Device) {
        self.attach_signed(device, &device.owner, &name());
    }

    pub(crate) fn attach_signed(&mut self, device: &Device, key: &SigningKey, relay: &RelayName) {
        let frame = self.attach_frame(device, key, relay);
        self.give_raw(&frame).unwrap();
    }

    fn attach_frame(&self, device: &Device, key: &SigningKey, relay: &RelayName) -> Vec<u8> {
        let input = attach_signature_input(relay, &self.challenge, &device.inbox);
        let signature = key.sign(&input).to_bytes().to_vec().into();
        let frame = client_frame::Frame::Attach(Attach { inbox: device.inbox.into(), signature });
        ClientFrame { frame: Some(frame) }.encode_to_vec()
    }

    pub(crate) fn ack(&mut self, device: &Device, sequence: u64) {
        self.give(client_frame::Frame::Ack(ack(device, sequence)));
    }

    /// Gives bytes that need be no frame.
    pub(crate) fn give_raw(&mut self, frame: &[u8]) -> Result<(), StreamEnd> {
        self.session.receive(frame).now_or_never().unwrap()
    }

    /// The relay's clock goes on; the session hears of it with a ping.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        self.now = now;
        self.session.tick(now);
    }

    pub(crate) fn give(&mut self, frame: client_frame::Frame) {
        let frame = ClientFrame { frame: Some(frame) }.encode_to_vec();
        self.session.receive(&frame).now_or_never().unwrap().unwrap();
    }

    /// As [`Self::attach`], on a store with threads.
    pub(crate) async fn attach_async(&mut self, device: &Device) {
        let frame = self.attach_frame(device, &device.owner, &name());
        self.session.receive(&frame).await.unwrap();
    }

    /// As [`Self::ack`], on a store with threads.
    pub(crate) async fn ack_async(&mut self, device: &Device, sequence: u64) {
        let frame = client_frame::Frame::Ack(ack(device, sequence));
        let frame = ClientFrame { frame: Some(frame) }.encode_to_vec();
        self.session.receive(&frame).await.unwrap();
    }

    /// The next frame, waiting for it.
    pub(crate) async fn frame_async(&mut self) -> Frame {
        ServerFrame::decode(self.session.next().await.unwrap()).unwrap().frame.unwrap()
    }

    /// The next frame, if there is one now.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let bytes = self.session.next().now_or_never()??;
        Some(ServerFrame::decode(bytes).unwrap().frame.unwrap())
    }

    /// Whether the relay closes it now.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.session.next().now_or_never(), Some(None))
    }

    pub(crate) fn raw_frames(&mut self) -> Vec<Bytes> {
        std::iter::from_fn(|| self.session.next().now_or_never()?).collect()
    }

    /// Attaches once more, and says whether the connection goes on.
    pub(crate) fn try_attach(&mut self, device: &Device) -> Result<(), StreamEnd> {
        let frame = self.attach_frame(device, &device.owner, &name());
        self.give_raw(&frame)
    }

    pub(crate) fn frames(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.frame()).collect()
    }

    /// Every delivery that comes now, without the frames in between.
    pub(crate) fn deliveries(&mut self) -> Vec<Delivery> {
        let frames = self.frames().into_iter();
        frames
            .flat_map(|frame| match frame {
                Frame::Deliveries(deliveries) => deliveries.deliveries,
                _ => Vec::new(),
            })
            .collect()
    }
}
