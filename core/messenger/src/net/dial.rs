//! From a relay's address to a connection: TCP by whichever of its addresses answers first, and TLS where the address wants it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sotto_protocol::RelayAddress;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tower_service::Service as _;

use super::sockets::{Socket, Sockets};
use super::tls;
use crate::world::TransportError;

/// A phone on a bad network needs a few seconds for TCP and TLS; after that another relay is the better bet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to a relay.
pub(super) struct Line {
    pub(super) io: Box<dyn Duplex>,
    /// Both sides have agreed on it.
    pub(super) is_http2: bool,
}

/// Connects, with TLS as `config` says, or without any.
pub(super) async fn dial(
    relay: &RelayAddress,
    config: Option<Arc<ClientConfig>>,
    sockets: &Sockets,
) -> Result<Line, TransportError> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect(relay, config, sockets)).await;
    connected.unwrap_or(Err(TransportError::TimedOut))
}

async fn connect(
    relay: &RelayAddress,
    config: Option<Arc<ClientConfig>>,
    sockets: &Sockets,
) -> Result<Line, TransportError> {
    let uri: Uri = relay.base_url().parse().map_err(|_| TransportError::Unreachable)?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let mut held = sockets.hold();
    let mut tcp = HttpConnector::new();
    // That is about the scheme: it connects, and speaks nothing.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tcp = tokio::select! {
        biased;
        () = held.over() => return Err(TransportError::Broken),
        tcp = tcp.call(uri) => tcp.map_err(|_| TransportError::Unreachable)?,
    };
    let socket = Socket::new(tcp.into_inner(), held);
    let Some(config) = config else { return Ok(Line { io: Box::new(socket), is_http2: false }) };
    let server_name = ServerName::try_from(host).map_err(|_| TransportError::WrongCertificate)?;
    let tls = TlsConnector::from(config).connect(server_name, socket).await.map_err(|error| classify(&error))?;
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Line { io: Box::new(tls), is_http2 })
}

fn classify(error: &io::Error) -> TransportError {
    if tls::is_refused_certificate(error) { TransportError::WrongCertificate } else { TransportError::Broken }
}
