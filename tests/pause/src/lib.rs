//! An app that the system is about to stop: its engine pauses at every step of what it does, and has no file of its profile and no socket
//! open then. iOS kills an app that is stopped with a locked file.
//!
//! Everything is real here: threads, files, sockets, clocks; the relay is a process of its own, so that whatever is open in this one is the
//! engine's. A walk lets the writer begin a step and holds it there, begins to pause, lets it go, and looks into `/proc` once the pause is over.
//! Then everything goes on, and each text must have come once; a call that answered *paused* must have changed nothing.
//! - `walk.rs`: the walk; `scenes.rs`: what is walked through; `hold.rs`: holding a writer at a step
//! - `open.rs`: what this process has open; `people.rs`: two people and their relay; `at_once.rs`: pausing, resuming and ending at once; `frozen.rs`: a relay that takes calls and never answers
//!
//! Nothing fails because it is slow: how long pausing takes is measured, and reported by the benchmarks.

mod at_once;
mod frozen;
mod hold;
mod open;
mod people;
mod scenes;
mod walk;

pub use at_once::at_once;
pub use frozen::frozen;
pub use people::RELAY_PROCESS;
pub use walk::{Slice, Walked, walk};

/// What was not true.
#[derive(Debug)]
pub struct Violation(pub String);

impl std::fmt::Display for Violation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Violation {}

impl From<std::io::Error> for Violation {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<sotto_core::Error> for Violation {
    fn from(error: sotto_core::Error) -> Self {
        Self(format!("{}: {error}", error.code()))
    }
}

impl From<rusqlite::Error> for Violation {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}
