//! Relay calls over HTTP/1.1 and HTTP/2.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use sotto_protocol::request::{VERSION_HEADER, path};
use sotto_protocol::{Bytes, PROTOCOL_VERSION, RelayAddress};

use super::{tls, websocket};
use crate::world::{Answer, BoxFuture, Call, Isolation, RelayStream, Transport, TransportError};

/// A phone on a bad network needs a few seconds for TCP and TLS; after that another relay is the better bet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A full batch over a slow uplink.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// An idle connection is kept for the next message of a conversation, not for the evening.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Clients kept: every relay of a busy phone's contacts, and its own inboxes and chains. The least recently used goes.
const CLIENTS_MAX: usize = 64;
/// The largest answer: chain entries, with their framing.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The production [`Transport`].
#[derive(Default)]
pub struct HttpTransport {
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    by_route: HashMap<(RelayAddress, Isolation), (reqwest::Client, u64)>,
    uses: u64,
}

impl HttpTransport {
    /// Without any connection yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn client(&self, relay: &RelayAddress, isolation: Isolation) -> Result<reqwest::Client, TransportError> {
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
        let client = build_client(relay)?;
        clients.by_route.insert((relay.clone(), isolation), (client.clone(), use_number));
        Ok(client)
    }

    async fn post(&self, call: Call) -> Result<Answer, TransportError> {
        let client = self.client(&call.relay, call.isolation)?;
        let url = format!("{}{}", call.relay.base_url(), call.path);
        // The page about itself is the one thing that is fetched; all else is a call.
        let request = if call.path == path::WELL_KNOWN {
            client.get(url)
        } else {
            client.post(url).header("content-type", "application/x-protobuf").body(call.body)
        };
        let mut request = request.header(VERSION_HEADER, PROTOCOL_VERSION.to_string());
        if let Some(authorization) = call.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.send().await.map_err(|error| classify(&error))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(TransportError::Broken);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body: Bytes::from(body) })
    }
}

impl Transport for HttpTransport {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, TransportError>> {
        Box::pin(self.post(call))
    }

    fn stream(&self, relay: &RelayAddress) -> BoxFuture<'_, Result<Box<dyn RelayStream>, TransportError>> {
        let relay = relay.clone();
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, websocket::connect(&relay)).await;
            connected.map_err(|_| TransportError::TimedOut)?.map(|stream| Box::new(stream) as Box<dyn RelayStream>)
        })
    }

    fn reset(&self) {
        if let Ok(mut clients) = self.clients.lock() {
            clients.by_route.clear();
        }
    }
}

fn build_client(relay: &RelayAddress) -> Result<reqwest::Client, TransportError> {
    let mut config = tls::client_config(relay.tls()).map_err(|_| TransportError::Broken)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(1)
        .build()
        .map_err(|_| TransportError::Broken)
}

fn classify(error: &reqwest::Error) -> TransportError {
    if error.is_timeout() {
        TransportError::TimedOut
    } else if tls::is_refused_certificate(error) {
        TransportError::WrongCertificate
    } else if error.is_connect() {
        TransportError::Unreachable
    } else {
        TransportError::Broken
    }
}
