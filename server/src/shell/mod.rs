//! Sockets around the relay: accepting, TLS, HTTP, WebSocket, limits, draining.
//!
//! Everything that can be decided without a socket is decided in [`Relay`]; this is kept dull. Each connection is one task that
//! owns its socket and a guard; the guard gives back its place when the last user is gone, the stream of an upgraded connection
//! included. No address and no id is ever logged.

mod connection;
mod door;
mod drain;
mod entry;
mod guest;
mod http;
mod memory;
mod network;
mod patience;
mod tls;
mod turns;
mod websocket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sotto_protocol::Timestamp;
use tokio::net::TcpListener;

use crate::limits::{LOG_EMPTIED_INTERVAL, SWEEP_INTERVAL, ShellLimits};
use crate::relay::Relay;

pub use connection::{CallKind, ConnectionId, Witness};
pub(crate) use entry::database;
pub use entry::run;
pub use tls::{Tls, TlsError};

use door::Door;
use drain::Drain;

/// A relay behind a listening socket.
pub struct Server {
    /// What answers.
    pub relay: Arc<Relay>,
    /// Where connections come in.
    pub listener: TcpListener,
    /// Where the operator reads counters, if anywhere.
    pub metrics: Option<TcpListener>,
    /// TLS, or none on loopback.
    pub tls: Option<Tls>,
    /// Bounds of every connection.
    pub limits: ShellLimits,
    /// Sees which connection carried which kind of call; for tests.
    pub witness: Option<Arc<dyn Witness>>,
}

impl Server {
    /// Serves until `stop` is ready, then lets running calls and streams end and empties the store's log.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let drain = Drain::default();
        let door = Door::new(Arc::clone(&self.relay), self.limits.clone(), self.witness, drain.clone());
        let upkeep = tokio::spawn(upkeep(Arc::clone(&self.relay), drain.clone()));
        let metrics = self.metrics.map(|listener| tokio::spawn(http::serve_metrics(listener, Arc::clone(&self.relay))));
        let accept = connection::accept(self.listener, self.tls, Arc::clone(&door), drain.clone());
        let accept = tokio::spawn(accept);
        stop.await;
        drain.begin();
        // The listening socket closes first: who comes now goes elsewhere.
        drop(accept.await);
        door.wait_until_empty(self.limits.drain_timeout).await;
        if let Some(metrics) = metrics {
            metrics.abort();
        }
        drop(upkeep.await);
        if self.relay.checkpoint().await.is_err() {
            tracing::warn!("the log could not be emptied; the next start does it");
        }
    }
}

/// Sweeps what is due and empties the log, until the relay stops.
async fn upkeep(relay: Arc<Relay>, drain: Drain) {
    let mut emptied_at = tokio::time::Instant::now();
    let mut swept_at = tokio::time::Instant::now();
    loop {
        loop {
            let looked_at = tokio::time::Instant::now();
            let swept = relay.sweep(now(), looked_at - swept_at).await;
            if swept.is_ok() {
                swept_at = looked_at;
            }
            if drain.has_begun() || !swept.is_ok_and(|swept| swept.has_more) {
                break;
            }
            tokio::task::yield_now().await;
        }
        tokio::select! {
            biased;
            () = drain.begun() => return,
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
        }
        if emptied_at.elapsed() >= LOG_EMPTIED_INTERVAL && relay.checkpoint().await.is_ok() {
            emptied_at = tokio::time::Instant::now();
        }
    }
}

/// The wall clock: the one place where it is read.
fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// Binds a listening socket.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    // So that a relay that was killed can be started again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(crate::limits::ACCEPT_QUEUE)
}
