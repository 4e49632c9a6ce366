//! The relay behind real sockets on loopback: limits, streams, TLS, draining, and a process that is killed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod support;

mod apart;
mod drain;
mod floods;
mod limits;
mod process;
mod streams;
mod tls;
