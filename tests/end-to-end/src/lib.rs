//! Sotto as its users run it: the `sotto` binary in processes of its own, over real sockets, on real files.
//!
//! - `process.rs`: relays, profiles and what they print; `at_rest.rs`: what must not be found in files
//! - `terminal.rs`: a terminal, what is typed on it and what is seen
//! - `tests/`: what its users meet, as tests of the package that makes the binary, because cargo builds it for nobody else
//! - `kills.rs`: a long conversation while the relay and both devices are killed on the way (`cargo xtask kill-test`)
//!
//! The binary comes by its path, so nothing of Sotto is linked here: what passes is what ships. Nothing waits for time to pass, only
//! for lines and for ends of processes; a deadline is where a test gives up.

pub mod at_rest;
mod chance;
pub mod kills;
mod process;
mod terminal;

pub use rustix::process::Signal;

pub use process::{Finished, Lines, PATIENCE, Process, Profile, Relay, finish};
pub use terminal::Terminal;
