//! `sotto` as its users run it: the real binary, real processes, real sockets, real files.
//!
//! Tests wait for lines and for ends of processes, never for time to pass.

/// One name before all of them: `cargo xtask test` runs them as a step of their own.
#[path = "."]
mod end_to_end {
    mod at_rest;
    mod bad_input;
    mod begin;
    mod chat;
    mod daemon;
    mod deeds;
    mod demo;
    mod export;
    mod full_disk;
    mod handover;
    mod hostile;
    mod json;
    mod names;
    mod own;
    mod passphrase;
    mod private;
    mod proxy;
    mod relays;
    mod rolled_back;
    mod schema;
    mod settings;
    mod stage;
    mod waiting;
}
