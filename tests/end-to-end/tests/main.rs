//! `sotto` as its users run it: the real binary, real processes, real sockets, real files.
//!
//! Tests wait for lines and for ends of processes, never for time to pass.

mod bad_input;
mod begin;
mod demo;
mod handover;
mod hostile;
mod json;
mod names;
mod passphrase;
mod stage;
mod waiting;
