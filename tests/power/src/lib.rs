//! Power cuts under relay and client: a file system below SQLite that forgets what was not synced.
//!
//! [`Machine`] is a directory whose power can be cut, at any write or sync of SQLite's. What comes back is what a disk may hold then:
//! everything that was synced, and of the rest a part that a seed decides. SQLite, both stores and the engine run on it unchanged.
//! [`relay::play`] asks a relay's store for everything, [`conversation::play`] lets two people talk; both compare what comes back with
//! what was answered.
//! Modules: `vfs` (SQLite's calls), `directories` (syncs of directories), `machine` (power), `disk` (names), `image` (bytes), `wire` (what
//! relays said), `play` (chance and counts).

#![cfg(target_os = "linux")]

pub mod conversation;
mod directories;
mod disk;
mod image;
mod machine;
mod play;
pub mod relay;
mod vfs;
mod wire;

pub use machine::{LeftOut, Machine};
pub use play::{Numbers, Violation, alone};

use std::path::Path;

use tempfile::TempDir;

/// A directory in memory where there is one: what a power cut leaves is decided here and not by a disk.
///
/// # Panics
/// When none can be made.
#[must_use]
pub fn temporary() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a temporary directory can be made")
}
