//! What is exported, called in Rust as the generated code calls it, on real sockets and files.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod dropped;
mod log;
mod stage;
