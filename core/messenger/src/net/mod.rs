//! The network: relay calls over HTTP, the stream over a WebSocket, both over rustls.
//!
//! Calls of different [`Isolation`](crate::world::Isolation) have a client, a connection pool and a TLS session cache of their own, so
//! that a relay cannot join an anonymous send with the inbox it came from by the connection. Streams are signed and have fresh
//! TLS state each.
//! With a proxy (`socks.rs`) each pool and each stream has a way of its own through it, and nothing else is connected to.
//! Every socket is known (`sockets.rs`), so that a pause closes all of them, those of idle pools too.
//! Not here: when to call and what to do with the answer (`relay_client.rs`, `stream.rs`).

mod dial;
mod http;
mod sockets;
mod socks;
mod tls;
mod websocket;

pub use http::HttpTransport;
pub use socks::{BadProxy, Proxy};
