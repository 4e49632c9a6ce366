//! One connection: let in, shaken hands with, served, watched, let go.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::drain::Drain;
use super::http;
use super::patience::Patience;
use super::tls::Tls;
use crate::limits::{
    H2_CONNECTION_WINDOW, H2_ERROR_RESETS_MAX, H2_PENDING_RESETS_MAX, H2_SEND_BUFFER, H2_STREAM_WINDOW, H2_STREAMS_MAX,
    HEADERS_BYTES_MAX, HEADERS_COUNT_MAX, ShellLimits,
};
use crate::relay::Relay;

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

/// What all connections share.
pub(crate) struct Door {
    pub(crate) relay: Arc<Relay>,
    pub(crate) limits: ShellLimits,
    pub(crate) witness: Option<Arc<dyn Witness>>,
    pub(crate) drain: Drain,
    handshakes: Semaphore,
    inside: Mutex<Inside>,
    left: Notify,
    next_id: AtomicU64,
}

#[derive(Default)]
struct Inside {
    count: usize,
    per_address: HashMap<IpAddr, usize>,
}

impl Door {
    pub(crate) fn new(
        relay: Arc<Relay>,
        limits: ShellLimits,
        witness: Option<Arc<dyn Witness>>,
        drain: Drain,
    ) -> Arc<Self> {
        let handshakes = Semaphore::new(limits.handshakes_max);
        let (inside, left, next_id) = (Mutex::default(), Notify::new(), AtomicU64::new(0));
        Arc::new(Self { relay, limits, witness, drain, handshakes, inside, left, next_id })
    }

    fn let_in(self: &Arc<Self>, address: IpAddr) -> Option<Guest> {
        let address = neighbourhood(address);
        let mut inside = self.inside();
        let of_address = inside.per_address.get(&address).copied().unwrap_or(0);
        let per_address_max = self.limits.connections_per_address_max;
        if inside.count >= self.limits.connections_max || (per_address_max > 0 && of_address >= per_address_max) {
            return None;
        }
        inside.count += 1;
        inside.per_address.insert(address, of_address + 1);
        self.relay.metrics.connections().inc();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        Some(Guest {
            door: Arc::clone(self),
            address,
            id,
            in_flight: AtomicUsize::new(0),
            is_stream: AtomicBool::new(false),
            active: Mutex::new(Instant::now()),
        })
    }

    /// Waits until the last connection is gone, or for `patience`.
    pub(crate) async fn wait_until_empty(&self, patience: Duration) {
        let empty = async {
            loop {
                let left = self.left.notified();
                if self.inside().count == 0 {
                    return;
                }
                left.await;
            }
        };
        if timeout(patience, empty).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one address: of IPv6, the network that a household gets.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// A connection's place; given back when the last user of it is gone.
pub(crate) struct Guest {
    pub(crate) door: Arc<Door>,
    address: IpAddr,
    pub(crate) id: ConnectionId,
    in_flight: AtomicUsize,
    is_stream: AtomicBool,
    active: Mutex<Instant>,
}

impl Guest {
    pub(crate) fn witness(&self, kind: CallKind) {
        if let Some(witness) = &self.door.witness {
            witness.saw(self.id, kind);
        }
    }

    /// From now on the stream looks after itself.
    pub(crate) fn become_stream(&self) {
        self.is_stream.store(true, Ordering::Relaxed);
    }

    pub(crate) fn call_begins(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn call_ends(&self) {
        *self.active() = Instant::now();
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn active(&self) -> MutexGuard<'_, Instant> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready once nothing has happened for the idle timeout.
    async fn idle(&self) {
        loop {
            let due = *self.active() + self.door.limits.idle_timeout;
            let is_busy = self.in_flight.load(Ordering::Relaxed) > 0 || self.is_stream.load(Ordering::Relaxed);
            if is_busy {
                sleep(self.door.limits.idle_timeout).await;
            } else if due <= Instant::now() {
                return;
            } else {
                sleep_until(due).await;
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.door.inside();
        inside.count -= 1;
        let of_address = inside.per_address.get(&self.address).copied().unwrap_or(0);
        if of_address > 1 {
            inside.per_address.insert(self.address, of_address - 1);
        } else {
            inside.per_address.remove(&self.address);
        }
        drop(inside);
        self.door.relay.metrics.connections().dec();
        self.door.left.notify_waiters();
    }
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
    let Ok(_place) = guest.door.handshakes.try_acquire() else {
        return guest.door.relay.metrics.shed("handshakes");
    };
    let shaken = timeout(guest.door.limits.handshake_timeout, tls.accept(socket)).await;
    drop(_place);
    match shaken {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_one_ipv6_network_count_as_one_address() {
        let of = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::1"), of("2001:db8:1:2:4::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
