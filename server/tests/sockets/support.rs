//! A server in this process, and clients that can misbehave: raw sockets and WebSockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use sotto_protocol::label::{ack_signature_input, attach_signature_input};
use sotto_protocol::relay::{
    Ack, Attach, ClientFrame, InboxCreate, Send, SendItem, SendOutcome, SendResults, ServerFrame, Token as WireToken,
    TokenPut, client_frame, server_frame::Frame,
};
use sotto_protocol::request::{Authorization, path, signature_input};
use sotto_protocol::{Bytes, EnvelopeId, InboxId, Message, RelayName, Timestamp, Token};
use sotto_relay::limits::ShellLimits;
use sotto_relay::shell::{Server, Tls, Witness};
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as WsMessage;

static NONCE: AtomicU64 = AtomicU64::new(1);

pub(crate) fn fresh() -> [u8; 16] {
    let mut bytes = [0xcd; 16];
    bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
    bytes[8..].copy_from_slice(&NONCE.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_ms(u64::try_from(since_epoch.as_millis()).unwrap())
}

/// A server in this process.
pub(crate) struct TestServer {
    pub(crate) relay: Arc<Relay>,
    pub(crate) address: SocketAddr,
    pub(crate) directory: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

/// What a test changes about a server.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) limits: ShellLimits,
    pub(crate) tls: Option<Tls>,
    pub(crate) witness: Option<Arc<dyn Witness>>,
}

impl TestServer {
    pub(crate) async fn start(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::file(directory.path().join("relay.sqlite"))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let relay = Relay::new(Arc::new(store), RelayConfig::open(name(address)), now());
        let Setup { limits, tls, witness } = setup;
        let server = Server { relay: Arc::clone(&relay), listener, metrics: None, tls, limits, witness };
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.serve(async {
            stopped.await.ok();
        }));
        Self { relay, address, directory, stop, running }
    }

    /// Tells the server to stop; ready when it has.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }

    /// Tells the server to stop, and goes on; what it leaves on the disk stays as long as the second value.
    pub(crate) fn begin_stop(self) -> (JoinHandle<()>, tempfile::TempDir) {
        self.stop.send(()).unwrap();
        (self.running, self.directory)
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until a counter of this server has reached a value.
    pub(crate) async fn reaches(&self, line: &str) {
        self.counts(|text| text.lines().any(|found| found == line)).await;
    }

    /// Waits until that many connections and calls have been shed, whatever for.
    pub(crate) async fn sheds(&self, count: u64) {
        let value = |line: &str| line.strip_prefix("sotto_relay_shed_total")?.rsplit(' ').next()?.parse::<u64>().ok();
        self.counts(|text| text.lines().filter_map(value).sum::<u64>() >= count).await;
    }

    /// Waits until its counters say something. The server runs on this test's own threads: it gets there while the test gives way.
    async fn counts(&self, is_so: impl Fn(&str) -> bool) {
        let counted = async {
            while !is_so(&self.relay.metrics().render()) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, counted).await.expect("it never gets there");
    }
}

/// Longer than anything takes on the busiest machine: a test that waits in vain fails, it does not hang.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn name(address: SocketAddr) -> RelayName {
    RelayName::parse(&address.to_string(), 80).unwrap()
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The stable code of a problem.
    pub(crate) fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        body["code"].as_str().unwrap().to_owned()
    }
}

/// Reads one answer with a content length; `None` when the connection was closed instead.
pub(crate) async fn read_answer(socket: &mut (impl AsyncRead + Unpin)) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if socket.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let status = head[9..12].parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    Some(Answer { status, head, body })
}

/// One call on an open connection.
pub(crate) async fn post(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
    headers: &str,
    body: &[u8],
) -> Option<Answer> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: relay\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    socket.write_all(head.as_bytes()).await.ok()?;
    socket.write_all(body).await.ok()?;
    read_answer(socket).await
}

pub(crate) fn authorization(key: &SigningKey, relay: &RelayName, path: &str, body: &[u8]) -> String {
    let (time, nonce) = (now(), fresh());
    let input = signature_input(relay, "POST", path, body, time, &nonce);
    let signature = key.sign(&input).to_bytes();
    let authorization = Authorization { key: key.verifying_key().to_bytes(), time, nonce, signature };
    format!("authorization: {authorization}\r\n")
}

/// What one phone holds.
pub(crate) struct Device {
    pub(crate) inbox: InboxId,
    pub(crate) owner: SigningKey,
    pub(crate) manage: SigningKey,
    pub(crate) token: Token,
}

impl Device {
    pub(crate) fn new() -> Self {
        let key = || SigningKey::from_bytes(&[fresh(), fresh()].concat().try_into().unwrap());
        Self { inbox: InboxId::from_bytes(fresh()), owner: key(), manage: key(), token: Token::from_bytes(fresh()) }
    }

    /// Creates the inbox and puts the token, each on a connection of its own.
    pub(crate) async fn register(address: SocketAddr) -> Self {
        let device = Self::new();
        let create = InboxCreate {
            inbox: device.inbox.into(),
            owner_key: device.owner.verifying_key().to_bytes().to_vec().into(),
            manage_key: device.manage.verifying_key().to_bytes().to_vec().into(),
            ..InboxCreate::default()
        };
        let token = WireToken { hash: device.token.hash().into(), alias: 1, ..WireToken::default() };
        let put = TokenPut { inbox: device.inbox.into(), tokens: vec![token] };
        for (key, path, body) in [
            (&device.owner, path::INBOX_CREATE, create.encode_to_vec()),
            (&device.manage, path::TOKEN_PUT, put.encode_to_vec()),
        ] {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let header = authorization(key, &name(address), path, &body);
            let answer = post(&mut socket, path, &header, &body).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        device
    }

    pub(crate) fn item(&self) -> SendItem {
        SendItem {
            inbox: self.inbox.into(),
            token: self.token.as_bytes().to_vec().into(),
            envelope: EnvelopeId::new(now(), fresh()[4..].try_into().unwrap()).into(),
            header: Bytes::from_static(b"header"),
            ..SendItem::default()
        }
    }

    pub(crate) fn send(&self, payload: &[u8]) -> Vec<u8> {
        Send { payloads: vec![Bytes::copy_from_slice(payload)], items: vec![self.item()] }.encode_to_vec()
    }
}

/// Whether every item was accepted.
pub(crate) fn is_accepted(answer: &Answer) -> bool {
    let results = SendResults::decode(&answer.body[..]).unwrap().results;
    !results.is_empty() && results.iter().all(|result| result.outcome() == SendOutcome::Accepted)
}

/// A WebSocket client.
pub(crate) struct WsClient<S = TcpStream> {
    pub(crate) socket: WebSocketStream<S>,
    challenge: Bytes,
    relay: RelayName,
}

impl WsClient {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await.unwrap()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WsClient<S> {
    /// `None` when the relay closed before the challenge.
    pub(crate) async fn over(socket: S) -> Option<Self> {
        let (socket, _) = tokio_tungstenite::client_async("ws://relay/v1/stream", socket).await.ok()?;
        let relay = RelayName::parse("unknown", 443).unwrap();
        let mut client = Self { socket, challenge: Bytes::new(), relay };
        let Some(Frame::Challenge(challenge)) = client.frame().await else { return None };
        client.challenge = challenge.challenge;
        client.relay = RelayName::parse(&challenge.relay, 443).unwrap();
        Some(client)
    }

    pub(crate) async fn attach(&mut self, device: &Device) {
        let input = attach_signature_input(&self.relay, &self.challenge, &device.inbox);
        let signature = device.owner.sign(&input).to_bytes().to_vec().into();
        self.give(client_frame::Frame::Attach(Attach { inbox: device.inbox.into(), signature })).await;
    }

    pub(crate) async fn ack(&mut self, device: &Device, sequence: u64) {
        let input = ack_signature_input(&self.relay, &device.inbox, sequence);
        let signature = device.owner.sign(&input).to_bytes().to_vec().into();
        self.give(client_frame::Frame::Ack(Ack { inbox: device.inbox.into(), sequence, signature })).await;
    }

    async fn give(&mut self, frame: client_frame::Frame) {
        let frame = ClientFrame { frame: Some(frame) }.encode_to_vec();
        self.socket.send(WsMessage::Binary(frame.into())).await.unwrap();
    }

    /// The next frame; `None` once the relay closed the stream.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            match self.socket.next().await? {
                Ok(WsMessage::Binary(frame)) => return ServerFrame::decode(frame).unwrap().frame,
                Ok(WsMessage::Ping(_) | WsMessage::Pong(_)) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// Everything up to *drained*: sequence numbers and envelopes.
    pub(crate) async fn drain(&mut self) -> Vec<(u64, Bytes)> {
        let mut found = Vec::new();
        loop {
            match self.frame().await {
                Some(Frame::Deliveries(deliveries)) => {
                    let all = deliveries.deliveries.into_iter();
                    found.extend(all.map(|delivery| (delivery.sequence, delivery.envelope)));
                }
                Some(Frame::Drained(_)) => return found,
                Some(_) => {}
                None => panic!("the stream ended before it was drained"),
            }
        }
    }
}

/// Reads until the peer closes.
pub(crate) async fn read_to_close(socket: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is a close too.
    timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("the peer never closed").ok();
    bytes
}

fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What an HTTP/2 peer says to make the same call on each of these streams, with a window in which no byte of an answer has room.
pub(crate) fn http2_calls(path: &str, body: &[u8], streams: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let initial_window_size = [0, 4, 0, 0, 0, 0];
    bytes.extend(http2_frame(4, 0, 0, &initial_window_size));
    let length = u8::try_from(path.len()).unwrap();
    // POST, http, a path and an authority, all literal.
    let headers = [&[0x83, 0x86, 0x04, length], path.as_bytes(), &[0x01, 5], b"relay"].concat();
    for stream in 0..streams {
        let number = 2 * stream + 1;
        bytes.extend(http2_frame(1, 0x4, number, &headers));
        bytes.extend(http2_frame(0, 0x1, number, body));
    }
    bytes
}

/// Reads frames until the headers of that many answers have come.
pub(crate) async fn http2_answers_begin(socket: &mut TcpStream, count: usize) {
    let mut begun = 0;
    while begun < count {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        socket.read_exact(&mut vec![0; length]).await.unwrap();
        begun += usize::from(head[3] == 1);
    }
}
