//! The stream: one WebSocket, binary messages only.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use sotto_protocol::address::Tls;
use sotto_protocol::limits::SERVER_FRAME_BYTES_MAX;
use sotto_protocol::request::VERSION_HEADER;
use sotto_protocol::{Bytes, PROTOCOL_VERSION, RelayAddress, VersionGap};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::dial::{Duplex, Line, dial};
use super::sockets::Sockets;
use super::socks::Tunnel;
use super::tls;
use crate::relay_client::Problem;
use crate::world::{BoxFuture, RelayStream, TransportError};

/// Frames are small and few; a backlog comes in larger ones.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Acks are tiny: more than this unsent means that the connection is dead.
const WRITE_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// A connected WebSocket.
pub(super) struct Connected(WebSocketStream<Box<dyn Duplex>>);

/// How long a relay may take to answer the upgrade.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects and upgrades.
pub(super) async fn connect(
    relay: &RelayAddress,
    sockets: &Sockets,
    tunnel: Option<&Tunnel>,
) -> Result<Connected, TransportError> {
    let config = match relay.tls() {
        Tls::Absent => None,
        protected => Some(Arc::new(tls::client_config(protected).map_err(|_| TransportError::Broken)?)),
    };
    let line = dial(relay, config, sockets, tunnel).await?;
    let upgraded = tokio::time::timeout(UPGRADE_TIMEOUT, upgrade(relay, line)).await;
    upgraded.unwrap_or(Err(TransportError::TimedOut))
}

async fn upgrade(relay: &RelayAddress, line: Line) -> Result<Connected, TransportError> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(SERVER_FRAME_BYTES_MAX))
        .max_frame_size(Some(SERVER_FRAME_BYTES_MAX));
    let (stream, _) =
        client_async_with_config(request(relay)?, line.io, Some(config)).await.map_err(|error| refusal(&error))?;
    Ok(Connected(stream))
}

fn request(relay: &RelayAddress) -> Result<Request, TransportError> {
    let mut request = relay.stream_url().into_client_request().map_err(|_| TransportError::Broken)?;
    request.headers_mut().insert(VERSION_HEADER, HeaderValue::from(PROTOCOL_VERSION));
    Ok(request)
}

/// A relay that does not speak our version says so in place of the upgrade.
fn refusal(error: &tungstenite::Error) -> TransportError {
    let tungstenite::Error::Http(response) = error else { return TransportError::Broken };
    if response.status() != StatusCode::UPGRADE_REQUIRED {
        return TransportError::Broken;
    }
    // Without the end of its body, which may still be under way, it is what its number says.
    let problem = response.body().as_deref().and_then(|body| serde_json::from_slice::<Problem>(body).ok());
    TransportError::Versions(problem.and_then(|problem| problem.version_gap()).unwrap_or(VersionGap::OursIsOlder))
}

impl RelayStream for Connected {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move { self.0.send(Message::Binary(frame)).await.map_err(|_| TransportError::Broken) })
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
        Box::pin(async move {
            loop {
                match self.0.next().await? {
                    Ok(Message::Binary(frame)) => return Some(Ok(frame)),
                    // The library answers pings by itself.
                    Ok(Message::Ping(_) | Message::Pong(_)) => {}
                    Ok(Message::Close(_)) => return None,
                    Ok(Message::Text(_) | Message::Frame(_)) | Err(_) => return Some(Err(TransportError::Broken)),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_relay_that_does_not_speak_our_version_says_so_in_place_of_a_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let sockets = Sockets::default();
        for (min, max, gap) in [(2, 3, VersionGap::OursIsOlder), (0, 0, VersionGap::TheirsIsOlder)] {
            let answer = async {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(socket.read_u8().await.unwrap());
                }
                let body = format!(r#"{{"code":"upgrade_required","min":{min},"max":{max}}}"#);
                let head = format!("HTTP/1.1 426 Upgrade Required\r\ncontent-length: {}\r\n\r\n", body.len());
                socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                String::from_utf8(asked).unwrap().to_lowercase()
            };
            let (connected, asked) = tokio::join!(connect(&relay, &sockets, None), answer);
            assert_eq!(connected.map(drop), Err(TransportError::Versions(gap)));
            assert!(asked.contains(&format!("{VERSION_HEADER}: {PROTOCOL_VERSION}\r\n")), "{asked}");
        }
    }
}
