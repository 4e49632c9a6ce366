//! Relays and devices in one process: no sockets, no real clock, one seed.
//!
//! [`Network`] holds relays by name and hands out transports to them; [`TestClock`] is tokio's paused time; [`MemorySecrets`] is a
//! keystore that a test can copy, lock and roll back. [`World`] puts a whole network of people together. [`Envelope`] and [`Database`]
//! show what passed on the wire and what stands in a profile, and let a test change both. Everything runs on one thread: stores work
//! inline, so a paused clock never waits for a thread.
//!
//! The proving ground stands on the same parts: a [`schedule`] drawn from a seed is [played](play) with every byte of chance drawn from that
//! seed too, and what must be true is looked at after every step and in the end.

mod chance;
mod condition;
mod database;
mod device;
mod envelope;
mod forger;
mod handed_out;
mod held;
mod network;
mod passage;
mod people;
mod plain;
pub mod play;
mod prekeys;
mod record;
pub mod schedule;
mod secrets;
pub mod walk;
mod weather;

pub use database::{Database, hex};
pub use envelope::{Envelope, envelopes_of};
pub use forger::Forger;
pub use held::HeldPost;
pub use network::{Fate, Liar, Meddler, Network, Traffic};
pub use people::{Backup, Person, World};
pub use prekeys::{Flaw, Prekeys};
pub use secrets::{FileSecrets, MemorySecrets};
pub use weather::Weather;

use std::cell::Cell;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sotto_core::world::{BoxFuture, Clock, Rng};
use sotto_protocol::Timestamp;
use tokio::time::Instant;

/// Noon of some day in 2026, where every simulation begins.
pub const BEGINNING: Timestamp = Timestamp::from_ms(20_600 * 86_400_000 + 43_200_000);

/// Virtual time: tokio's clock, which must be paused. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct TestClock {
    origin: Instant,
    off: Arc<Mutex<Off>>,
    /// Milliseconds that people took for what they did, all clocks of the world together.
    moments: Arc<AtomicU64>,
}

/// How far a device's clock is off.
#[derive(Clone, Copy, Debug)]
enum Off {
    Ahead(Duration),
    Behind(Duration),
}

impl Default for TestClock {
    fn default() -> Self {
        Self { origin: Instant::now(), off: Arc::new(Mutex::new(Off::Ahead(Duration::ZERO))), moments: Arc::default() }
    }
}

impl TestClock {
    /// Another clock of the same world: what befalls one does not befall the other.
    #[must_use]
    fn another(&self) -> Self {
        Self { origin: self.origin, moments: Arc::clone(&self.moments), ..Self::default() }
    }

    /// Somebody does something, and that takes a moment: no two things are done at one time. Nothing is woken by it.
    pub fn tick(&self) {
        self.moments.fetch_add(1, Ordering::Relaxed);
    }

    fn moments(&self) -> Duration {
        Duration::from_millis(self.moments.load(Ordering::Relaxed))
    }

    fn set(&self, off: Off) {
        *self.off.lock().unwrap_or_else(PoisonError::into_inner) = off;
    }

    /// The clock jumps: from now on it is so far ahead of the world's.
    pub fn set_ahead(&self, ahead: Duration) {
        self.set(Off::Ahead(ahead));
    }

    /// The clock jumps: from now on it is so far behind the world's.
    pub fn set_behind(&self, behind: Duration) {
        self.set(Off::Behind(behind));
    }

    /// The clock jumps to the world's time.
    pub fn set_right(&self) {
        self.set(Off::Ahead(Duration::ZERO));
    }
}

/// Looks at clocks in one instant: so many that only somebody who spins on the spot takes them.
const LOOKS_MAX: u64 = 250_000;

thread_local! {
    static LOOKS: Cell<(Option<Instant>, u64)> = const { Cell::new((None, 0)) };
}

/// Time stands still while anybody computes, so one that computes without end would never be found out otherwise.
fn is_looked_at(now: Instant) {
    let looks = match LOOKS.get() {
        (Some(since), looks) if since == now => looks + 1,
        _ => 1,
    };
    LOOKS.set((Some(now), looks));
    if looks > LOOKS_MAX {
        // Not as a panic, which a task would swallow, nor as an abort, which is what walks look for; and past what a test captures.
        let here = std::thread::current();
        let _ =
            writeln!(std::io::stderr(), "{}: somebody spins, and the clock stands", here.name().unwrap_or_default());
        std::process::exit(101);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        is_looked_at(Instant::now());
        let world_now = BEGINNING.after(self.origin.elapsed() + self.moments());
        match *self.off.lock().unwrap_or_else(PoisonError::into_inner) {
            Off::Ahead(ahead) => world_now.after(ahead),
            Off::Behind(behind) => world_now.before(behind),
        }
    }

    fn instant(&self) -> std::time::Instant {
        Instant::now().into_std() + self.moments()
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
