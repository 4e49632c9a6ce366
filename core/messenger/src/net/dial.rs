//! From a relay's address to a connection: TCP by whichever of its addresses answers first, or what a proxy makes of a connection to it, and
//! TLS where the address wants it.
//!
//! Invariant: with a tunnel, nothing but the proxy is looked up or connected to.

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
use super::socks::Tunnel;
use super::tls;
use crate::world::TransportError;

/// A phone on a bad network needs a few seconds for TCP and TLS; after that another relay is the better bet.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A proxy may have to build a circuit through half the world first.
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(45);

/// Bytes in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to a relay.
pub(super) struct Line {
    pub(super) io: Box<dyn Duplex>,
    /// Both sides have agreed on it.
    pub(super) is_http2: bool,
}

/// Connects, with TLS as `config` says, or without any; through a proxy, where there is one.
pub(super) async fn dial(
    relay: &RelayAddress,
    config: Option<Arc<ClientConfig>>,
    sockets: &Sockets,
    tunnel: Option<&Tunnel>,
) -> Result<Line, TransportError> {
    let patience = if tunnel.is_some() { TUNNEL_TIMEOUT } else { CONNECT_TIMEOUT };
    let connected = tokio::time::timeout(patience, connect(relay, config, sockets, tunnel)).await;
    connected.unwrap_or(Err(TransportError::TimedOut))
}

async fn connect(
    relay: &RelayAddress,
    config: Option<Arc<ClientConfig>>,
    sockets: &Sockets,
    tunnel: Option<&Tunnel>,
) -> Result<Line, TransportError> {
    let uri: Uri = relay.base_url().parse().map_err(|_| TransportError::Unreachable)?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let socket = match tunnel {
        None => connect_tcp(uri, sockets).await?,
        Some(tunnel) => {
            let port = uri.port_u16().unwrap_or(if config.is_some() { 443 } else { 80 });
            let proxy = format!("http://{}", tunnel.proxy).parse().map_err(|_| TransportError::Unreachable)?;
            let mut socket = connect_tcp(proxy, sockets).await?;
            tunnel.open(&mut socket, &host, port).await?;
            socket
        }
    };
    let Some(config) = config else { return Ok(Line { io: Box::new(socket), is_http2: false }) };
    let server_name = ServerName::try_from(host).map_err(|_| TransportError::WrongCertificate)?;
    let tls = TlsConnector::from(config).connect(server_name, socket).await.map_err(|error| classify(&error))?;
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Line { io: Box::new(tls), is_http2 })
}

/// Connects to the host and port of an address.
async fn connect_tcp(uri: Uri, sockets: &Sockets) -> Result<Socket, TransportError> {
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
    Ok(Socket::new(tcp.into_inner(), held))
}

fn classify(error: &io::Error) -> TransportError {
    if tls::is_refused_certificate(error) { TransportError::WrongCertificate } else { TransportError::Broken }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::socks::Proxy;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_says_nothing_is_given_up_and_nothing_else_is_tried() {
        let [silent, direct] =
            [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
        let proxy: Proxy = format!("socks5://{}", silent.local_addr().unwrap()).parse().unwrap();
        let relay: RelayAddress = format!("http://{}", direct.local_addr().unwrap()).parse().unwrap();
        let dialled = dial(&relay, None, &Sockets::default(), Some(&proxy.tunnel())).await;
        assert_eq!(dialled.err(), Some(TransportError::TimedOut));
        let asked = std::pin::pin!(direct.accept());
        assert!(futures_util::poll!(asked).is_pending(), "nobody came");
    }
}
