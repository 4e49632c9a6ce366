//! What lies between one device and one relay: how long things are under way, what gets lost, what arrives twice, whether there is a way
//! at all. Where nothing was said of it there is none of that.

use std::time::Duration;

use sotto_core::world::TransportError;

use crate::chance::Chance;

/// How long a device waits for an answer that does not come.
const NO_ANSWER: Duration = Duration::from_secs(20);
/// How late the second copy of a call arrives, at most.
const REPEAT_DELAY_MS_MAX: u64 = 90_000;

/// See the file's story.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Weather {
    /// The shortest time under way, each way.
    pub latency_ms_min: u64,
    /// The longest.
    pub latency_ms_max: u64,
    /// Of a hundred calls, answers and frames so many get lost.
    pub losses: u32,
    /// Of a hundred calls so many arrive a second time, later.
    pub repeats: u32,
    /// Whether there is no way.
    pub is_cut: bool,
}

impl Weather {
    /// No way.
    #[must_use]
    pub const fn cut(self) -> Self {
        Self { is_cut: true, ..self }
    }

    /// A way.
    #[must_use]
    pub const fn mended(self) -> Self {
        Self { is_cut: false, ..self }
    }

    pub(crate) fn latency(&self, chance: &mut Chance) -> Duration {
        if self.latency_ms_max == 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(chance.between(self.latency_ms_min, self.latency_ms_max))
    }

    pub(crate) fn loses(&self, chance: &mut Chance) -> bool {
        self.losses > 0 && chance.percent(self.losses)
    }

    /// How much later a call arrives again, if it does.
    pub(crate) fn repeats(&self, chance: &mut Chance) -> Option<Duration> {
        (self.repeats > 0 && chance.percent(self.repeats))
            .then(|| Duration::from_millis(chance.between(0, REPEAT_DELAY_MS_MAX)))
    }

    /// What a device hears of something that got lost, and after how long.
    pub(crate) fn loss(chance: &mut Chance) -> (Duration, TransportError) {
        if chance.percent(50) {
            (Duration::ZERO, TransportError::Broken)
        } else {
            (NO_ANSWER, TransportError::TimedOut)
        }
    }
}
