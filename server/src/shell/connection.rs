//! One connection: let in, shaken hands with, served, watched, let go.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::door::Door;
use super::drain::Drain;
use super::guest::Guest;
use super::http;
use super::patience::Patience;
use super::tls::Tls;
use crate::limits::{
    H2_CONNECTION_WINDOW, H2_ERROR_RESETS_MAX, H2_PENDING_RESETS_MAX, H2_SEND_BUFFER, H2_STREAM_WINDOW, H2_STREAMS_MAX,
    HEADERS_BYTES_MAX, HEADERS_COUNT_MAX, ShellLimits,
};

/// Numbers connections for a [`Witness`]; never logged, never stored.
pub type ConnectionId = u64;

/// What a connection carried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CallKind {
    /// A call without credentials.
    Anonymous,
    /// A call signed by this key.
    Signed([u8; 32]),
    /// A stream, on which inboxes are attached.
    Stream,
}

/// Sees which connection carried which kind of call: how a test proves that clients keep them apart.
pub trait Witness: Send + Sync {
    /// Called before each call is answered.
    fn saw(&self, connection: ConnectionId, kind: CallKind);
}

/// Accepts until the relay stops.
pub(crate) async fn accept(listener: TcpListener, tls: Option<Tls>, door: Arc<Door>, drain: Drain) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = drain.begun() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => match door.let_in(peer.ip()) {
                Some(guest) => drop(tokio::spawn(welcome(socket, tls.clone(), Arc::new(guest)))),
                None => door.relay.metrics.shed("connections"),
            },
            Err(error) => {
                // Out of descriptors, mostly: wait for somebody to leave instead of spinning.
                tracing::warn!("cannot accept: {}", error.kind());
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn welcome(socket: TcpStream, tls: Option<Tls>, guest: Arc<Guest>) {
    // Answers are small and complete: waiting for more to send only delays them.
    drop(socket.set_nodelay(true));
    let socket = Patience::new(socket, guest.door.limits.write_timeout);
    let Some(tls) = tls else { return serve(socket, guest).await };
    // A silent peer costs a descriptor; only work takes turns.
    let shaken = timeout(guest.door.limits.handshake_timeout, async {
        let hello = tls.hello(socket).await?;
        guest.door.handshakes.work(&guest.handshakes, || tls.shake(hello)).await
    });
    match shaken.await {
        Ok(Ok(socket)) => serve(socket, guest).await,
        Ok(Err(_)) => guest.door.relay.metrics.shed("handshake"),
        Err(_) => guest.door.relay.metrics.shed("handshake_timeout"),
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(socket: S, guest: Arc<Guest>) {
    let builder = builder(&guest.door.limits);
    let service = http::service(Arc::clone(&guest));
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(socket), service));
    let wants_end = async {
        tokio::select! {
            biased;
            () = guest.door.drain.begun() => guest.door.limits.drain_timeout,
            () = guest.idle() => guest.door.limits.header_timeout,
        }
    };
    let grace = tokio::select! {
        biased;
        // How a connection ended concerns nobody.
        _ = connection.as_mut() => return,
        () = guest.sent_away.notified() => return guest.door.relay.metrics.shed("crowded"),
        () = guest.overdue() => return guest.door.relay.metrics.shed("answer_timeout"),
        grace = wants_end => grace,
    };
    connection.as_mut().graceful_shutdown();
    if timeout(grace, connection).await.is_err() {
        guest.door.relay.metrics.shed("idle");
    }
}

fn builder(limits: &ShellLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEADERS_BYTES_MAX)
        .max_headers(HEADERS_COUNT_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS_MAX)
        .max_local_error_reset_streams(H2_ERROR_RESETS_MAX)
        .max_header_list_size(u32::try_from(HEADERS_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER);
    builder
}
