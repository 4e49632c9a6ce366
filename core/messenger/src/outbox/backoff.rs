//! When to try again: arithmetic only.

use std::time::Duration;

use crate::world::Chance;

/// First wait after a failure.
const DELAY_MIN: Duration = Duration::from_secs(1);
/// Longest wait: a relay that is back is found within a minute, and a phone wakes at most once a minute for it.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// Longest wait after refusals: somebody who blocked or removed us is asked no more than once an hour.
pub(crate) const REFUSED_DELAY_MAX: Duration = Duration::from_secs(3600);

/// How often something failed in a row.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure: how long to wait now. Doubles up to the longest wait, with jitter of a half, so that devices which lost the
    /// same relay do not come back in step.
    pub(crate) fn failed(&mut self, asked_for: Option<Duration>, chance: &Chance<'_>) -> Duration {
        let ceiling = DELAY_MIN.saturating_mul(1 << self.failures.min(6)).min(DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        let jittered = chance.duration(ceiling / 2, ceiling);
        asked_for.map_or(jittered, |asked_for| asked_for.clamp(jittered, DELAY_MAX))
    }

    /// One more refusal, which time alone will hardly change: waits grow past a minute.
    pub(crate) fn refused(&mut self, chance: &Chance<'_>) -> Duration {
        let ceiling = DELAY_MIN.saturating_mul(1 << self.failures.min(12)).min(REFUSED_DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        chance.duration(ceiling / 2, ceiling)
    }

    /// It worked, or the network changed.
    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Rng;

    struct Fixed(u8);

    impl Rng for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn waits_grow_and_never_exceed_a_minute() {
        for rng in [Fixed(0), Fixed(0x5a), Fixed(0xff)] {
            let chance = Chance(&rng);
            let mut backoff = Backoff::default();
            let waits: Vec<_> = (0..40).map(|_| backoff.failed(None, &chance)).collect();
            assert!(waits[0] <= DELAY_MIN);
            assert!(waits.iter().all(|wait| *wait <= DELAY_MAX));
            assert!(waits[39] >= DELAY_MAX / 2);
        }
    }

    #[test]
    fn a_relay_cannot_ask_for_more_than_a_minute() {
        let chance = Chance(&Fixed(7));
        assert_eq!(Backoff::default().failed(Some(Duration::from_secs(3600)), &chance), DELAY_MAX);
        assert!(Backoff::default().failed(Some(Duration::ZERO), &chance) >= DELAY_MIN / 2);
    }

    #[test]
    fn refusals_are_answered_by_waits_of_up_to_an_hour() {
        let chance = Chance(&Fixed(3));
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.refused(&chance)).collect();
        assert!(waits[0] <= DELAY_MIN);
        assert!(waits.iter().all(|wait| *wait <= REFUSED_DELAY_MAX));
        assert!(waits[39] >= REFUSED_DELAY_MAX / 2);
    }

    #[test]
    fn a_success_starts_over() {
        let chance = Chance(&Fixed(1));
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.failed(None, &chance);
        }
        backoff.reset();
        assert!(backoff.failed(None, &chance) <= DELAY_MIN);
    }
}
