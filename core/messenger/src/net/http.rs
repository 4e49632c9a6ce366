//! Relay calls over HTTP/1.1 and HTTP/2.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use sotto_protocol::address::Tls;
use sotto_protocol::request::{VERSION_HEADER, path};
use sotto_protocol::{Bytes, PROTOCOL_VERSION, RelayAddress};

use super::dial::{Duplex, Line, dial};
use super::sockets::Sockets;
use super::socks::{Proxy, Tunnel};
use super::{tls, websocket};
use crate::world::{Answer, BoxFuture, Call, Isolation, RelayStream, Transport, TransportError};

/// A full batch over a slow uplink.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// An idle connection is kept for the next message of a conversation, not for the evening.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Clients kept: every relay of a busy phone's contacts, and its own inboxes and chains. The least recently used goes.
const CLIENTS_MAX: usize = 64;
/// The largest answer: chain entries, with their framing.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The production [`Transport`], of one engine.
#[derive(Default)]
pub struct HttpTransport {
    clients: Mutex<Clients>,
    sockets: Sockets,
    proxy: Option<Proxy>,
}

/// One pool of connections.
type Pool = Client<Dialler, Full<Bytes>>;

#[derive(Default)]
struct Clients {
    by_route: HashMap<(RelayAddress, Isolation), (Pool, u64)>,
    uses: u64,
}

impl HttpTransport {
    /// Without any connection yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Likewise, and every connection goes through a proxy, which looks up the names of relays too: nothing else is connected to.
    #[must_use]
    pub fn through(proxy: Proxy) -> Self {
        Self { proxy: Some(proxy), ..Self::default() }
    }

    fn client(&self, relay: &RelayAddress, isolation: Isolation) -> Result<Pool, TransportError> {
        let mut clients = self.clients.lock().map_err(|_| TransportError::Broken)?;
        clients.uses += 1;
        let use_number = clients.uses;
        if let Some((client, last_use)) = clients.by_route.get_mut(&(relay.clone(), isolation)) {
            *last_use = use_number;
            return Ok(client.clone());
        }
        if clients.by_route.len() >= CLIENTS_MAX {
            let oldest =
                clients.by_route.iter().min_by_key(|(_, (_, last_use))| *last_use).map(|(route, _)| route.clone());
            if let Some(route) = oldest {
                clients.by_route.remove(&route);
            }
        }
        let client = build_client(relay, &self.sockets, self.tunnel())?;
        clients.by_route.insert((relay.clone(), isolation), (client.clone(), use_number));
        Ok(client)
    }

    /// A way of its own for each pool and each stream.
    fn tunnel(&self) -> Option<Tunnel> {
        self.proxy.as_ref().map(Proxy::tunnel)
    }

    async fn post(&self, call: Call) -> Result<Answer, TransportError> {
        let client = self.client(&call.relay, call.isolation)?;
        let url = format!("{}{}", call.relay.base_url(), call.path);
        // The page about itself is the one thing that is fetched; all else is a call.
        let (mut request, body) = if call.path == path::WELL_KNOWN {
            (Request::get(url), Bytes::new())
        } else {
            (Request::post(url).header("content-type", "application/x-protobuf"), call.body)
        };
        request = request.header(VERSION_HEADER, PROTOCOL_VERSION);
        if let Some(authorization) = call.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Full::new(body)).map_err(|_| TransportError::Broken)?;
        let answer = tokio::time::timeout(CALL_TIMEOUT, answer(&client, request)).await;
        answer.unwrap_or(Err(TransportError::TimedOut))
    }
}

async fn answer(client: &Pool, request: Request<Full<Bytes>>) -> Result<Answer, TransportError> {
    let response = client.request(request).await.map_err(|error| classify(&error))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(Answer { status, body: body.map_err(|_| TransportError::Broken)?.to_bytes() })
}

impl Transport for HttpTransport {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, TransportError>> {
        Box::pin(self.post(call))
    }

    fn stream(&self, relay: &RelayAddress) -> BoxFuture<'_, Result<Box<dyn RelayStream>, TransportError>> {
        let relay = relay.clone();
        Box::pin(async move {
            let connected = websocket::connect(&relay, &self.sockets, self.tunnel().as_ref()).await;
            connected.map(|stream| Box::new(stream) as Box<dyn RelayStream>)
        })
    }

    fn reset(&self) {
        if let Ok(mut clients) = self.clients.lock() {
            clients.by_route.clear();
        }
    }

    fn hang_up(&self) -> BoxFuture<'_, ()> {
        self.reset();
        Box::pin(self.sockets.close_all())
    }
}

fn build_client(relay: &RelayAddress, sockets: &Sockets, tunnel: Option<Tunnel>) -> Result<Pool, TransportError> {
    let config = match relay.tls() {
        Tls::Absent => None,
        protected => {
            let mut config = tls::client_config(protected).map_err(|_| TransportError::Broken)?;
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            Some(Arc::new(config))
        }
    };
    let dialler = Dialler { relay: relay.clone(), config, sockets: sockets.clone(), tunnel };
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(1)
        .build(dialler))
}

/// What the connection failed of, if it never stood; all else broke on the way.
fn classify(error: &(dyn std::error::Error + 'static)) -> TransportError {
    match error.downcast_ref::<TransportError>() {
        Some(cause) => *cause,
        None => error.source().map_or(TransportError::Broken, classify),
    }
}

/// Makes the connections of a pool, to one relay whatever is asked for.
#[derive(Clone)]
struct Dialler {
    relay: RelayAddress,
    config: Option<Arc<ClientConfig>>,
    sockets: Sockets,
    tunnel: Option<Tunnel>,
}

impl tower_service::Service<Uri> for Dialler {
    type Response = Dialled;
    type Error = TransportError;
    type Future = BoxFuture<'static, Result<Dialled, TransportError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { relay, config, sockets, tunnel } = self.clone();
        // On a task of its own: a caller who looks no more after their call must not keep a socket half open.
        let dialling = tokio::spawn(async move { dial(&relay, config, &sockets, tunnel.as_ref()).await });
        Box::pin(async move {
            let Line { io, is_http2 } = dialling.await.unwrap_or(Err(TransportError::Broken))?;
            Ok(Dialled { io: TokioIo::new(io), is_http2 })
        })
    }
}

/// A [`Line`] in the shape that the pool takes.
struct Dialled {
    io: TokioIo<Box<dyn Duplex>>,
    is_http2: bool,
}

impl Dialled {
    fn io(self: Pin<&mut Self>) -> Pin<&mut TokioIo<Box<dyn Duplex>>> {
        Pin::new(&mut self.get_mut().io)
    }
}

impl Connection for Dialled {
    fn connected(&self) -> Connected {
        if self.is_http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl Read for Dialled {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.io().poll_read(context, into)
    }
}

impl Write for Dialled {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(context)
    }
}
