//! The relay's behaviour, rule by rule, through its public API: bytes in, bytes out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod support;

mod a1_accepted;
mod a2_stream;
