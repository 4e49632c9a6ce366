//! Seeded choices: the same ones for the same seed.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A stream of choices.
#[derive(Clone, Debug)]
pub(crate) struct Chance(ChaCha20Rng);

impl Chance {
    /// From a seed. Streams for different purposes of one seed do not disturb each other.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut whole = [0; 32];
        whole[..8].copy_from_slice(&seed.to_le_bytes());
        whole[8..16].copy_from_slice(&purpose.to_le_bytes());
        Self(ChaCha20Rng::from_seed(whole))
    }

    /// From `low` to `high`, both included. The slight preference of the remainder for small numbers does not matter here.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.next_u64() % (high.saturating_sub(low).saturating_add(1)).max(1)
    }

    /// An index into so many.
    ///
    /// # Panics
    /// When there are none.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        assert!(count > 0, "somebody chooses from nothing");
        usize::try_from(self.between(0, count as u64 - 1)).expect("smaller than a usize")
    }

    /// In so many cases of a hundred.
    pub(crate) fn percent(&mut self, cases: u32) -> bool {
        self.between(0, 99) < u64::from(cases)
    }

    /// Fills `bytes`.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}
