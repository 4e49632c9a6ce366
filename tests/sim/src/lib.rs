//! Relays and devices in one process: no sockets, no real clock, one seed.
//!
//! [`Network`] holds relays by name and hands out transports to them; [`TestClock`] is tokio's paused time; [`MemorySecrets`] is a
//! keystore that a test can copy, lock and roll back. [`World`] puts a whole network of people together. [`Envelope`] and [`Database`]
//! show what passed on the wire and what stands in a profile, and let a test change both. Everything runs on one thread: stores work
//! inline, so a paused clock never waits for a thread.

mod database;
mod envelope;
mod forger;
mod held;
mod network;
mod people;
mod prekeys;
mod secrets;

pub use database::{Database, hex};
pub use envelope::{Envelope, envelopes_of};
pub use forger::Forger;
pub use held::HeldPost;
pub use network::{Fate, Liar, Meddler, Network, Traffic};
pub use people::{Backup, Person, World};
pub use prekeys::{Flaw, Prekeys};
pub use secrets::MemorySecrets;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sotto_core::world::{BoxFuture, Clock, Rng};
use sotto_protocol::Timestamp;
use tokio::time::Instant;

/// Noon of some day in 2026, where every simulation begins.
pub const BEGINNING: Timestamp = Timestamp::from_ms(20_600 * 86_400_000 + 43_200_000);

/// Virtual time: tokio's clock, which must be paused.
#[derive(Clone, Copy, Debug)]
pub struct TestClock {
    origin: Instant,
}

impl Default for TestClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        BEGINNING.after(self.origin.elapsed())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// One seed for everything but vodozemac.
#[derive(Debug)]
pub struct SeededRng(Mutex<ChaCha20Rng>);

impl SeededRng {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(ChaCha20Rng::seed_from_u64(seed)))
    }
}

impl Rng for SeededRng {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}

/// The README's example is compiled and run like any other.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
