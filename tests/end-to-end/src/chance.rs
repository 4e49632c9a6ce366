//! Seeded choices.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// The same choices for the same seed.
pub(crate) struct Chance(ChaCha20Rng);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// From `low` up to `high`, which is left out. The slight preference of the remainder for small numbers does not matter here.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        let width = high.saturating_sub(low).max(1) as u64;
        low + usize::try_from(self.0.next_u64() % width).expect("smaller than a usize")
    }
}
