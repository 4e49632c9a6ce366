//! What every play has in common: chance, what it counts, and how it ends badly.

use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::image::below;

/// A promise that was not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What happened in a play.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers {
    /// Power cuts.
    pub cuts: u64,
    /// Writes, syncs and the like on the machines that were cut.
    pub steps: u64,
    /// Envelopes that a relay accepted.
    pub accepted: u64,
    /// Texts that somebody said.
    pub texts: u64,
}

impl Numbers {
    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            cuts: self.cuts + other.cuts,
            steps: self.steps + other.steps,
            accepted: self.accepted + other.accepted,
            texts: self.texts + other.texts,
        }
    }
}

/// Plays on a thread, a clock and a source of randomness of its own: one seed plays the same twice.
///
/// # Errors
/// The first promise that was broken.
pub fn alone<P>(seed: u64, play: impl FnOnce() -> P + Send) -> Result<Numbers, Violation>
where
    P: Future<Output = Result<Numbers, Violation>>,
{
    sotto_entropy::on_seeded_thread(seed, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.map_err(|error| Violation(error.to_string()))?.block_on(play())
    })
}

/// The same choices for the same seed.
pub(crate) struct Chance(ChaCha20Rng);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        below(&mut self.0, bound)
    }

    /// Once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// When the power goes: soon mostly, so that cuts meet every kind of step, and sometimes later.
    pub(crate) fn cut_step(&mut self) -> u64 {
        let last = if self.once_in(3) { 400 } else { 40 };
        1 + self.below(last) as u64
    }
}

/// Fails a play unless something is true.
macro_rules! promise {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err($crate::play::Violation(format!($($words)+)));
        }
    };
}

pub(crate) use promise;
