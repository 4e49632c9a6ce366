//! The relay's behaviour, rule by rule, through its public API: bytes in, bytes out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by panicking")]

mod support;

mod a1_accepted;
mod a1_shared;
mod a2_stream;
mod a3_send;
mod a4_tokens;
mod a5_prekeys;
mod a6_chains;
mod a7_signatures;
mod a9_knowledge;
mod calls;
mod clocks;
mod refusals;
