//! How long things are kept: arithmetic only.
//!
//! An envelope stays until it is acknowledged, or until the end of its lifetime bucket, or of the relay's retention, whichever
//! comes first. Repeats of a send are recognised for a week longer; ids carry the day they were made, and a day outside that
//! window is stale. Not here: removing what is due (`store/sweep.rs`).

use std::time::Duration;

use sotto_protocol::Timestamp;
use sotto_protocol::limits::IDEMPOTENCY_MARGIN;
use sotto_protocol::relay::Lifetime;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// When an envelope accepted at `now` goes.
#[must_use]
pub fn expiry(lifetime: Lifetime, retention: Duration, now: Timestamp) -> Timestamp {
    let bucket = match lifetime {
        Lifetime::Retention => retention,
        Lifetime::Hour => HOUR,
        Lifetime::SixHours => 6 * HOUR,
        Lifetime::Day => DAY,
        Lifetime::ThreeDays => 3 * DAY,
        Lifetime::Week => 7 * DAY,
        Lifetime::TwoWeeks => 14 * DAY,
    };
    now.after(bucket.min(retention))
}

/// The days whose envelopes are accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnvelopeWindow {
    /// The first one.
    pub day_min: u32,
    /// The last one: tomorrow, for phones whose clock is ahead.
    pub day_max: u32,
}

impl EnvelopeWindow {
    /// The window at `now`.
    #[must_use]
    pub fn at(now: Timestamp, retention: Duration) -> Self {
        let remembered = (retention + IDEMPOTENCY_MARGIN).as_secs().div_ceil(DAY.as_secs());
        let remembered = u32::try_from(remembered).unwrap_or(u32::MAX);
        let today = now.day();
        Self { day_min: today.saturating_sub(remembered), day_max: today.saturating_add(1) }
    }

    /// Whether an envelope of that day is accepted.
    #[must_use]
    pub const fn contains(&self, day: u32) -> bool {
        self.day_min <= day && day <= self.day_max
    }
}

#[cfg(test)]
mod tests {
    use sotto_protocol::limits::RETENTION;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(20_000 * 86_400_000 + 12_345);

    #[test]
    fn a_lifetime_bucket_never_outlives_the_relays_retention() {
        assert_eq!(expiry(Lifetime::Retention, RETENTION, NOW), NOW.after(RETENTION));
        assert_eq!(expiry(Lifetime::Hour, RETENTION, NOW), NOW.after(HOUR));
        assert_eq!(expiry(Lifetime::TwoWeeks, DAY, NOW), NOW.after(DAY));
    }

    #[test]
    fn envelopes_are_accepted_from_thirty_seven_days_ago_until_tomorrow() {
        let window = EnvelopeWindow::at(NOW, RETENTION);
        assert_eq!(window, EnvelopeWindow { day_min: 20_000 - 37, day_max: 20_001 });
        assert!(window.contains(20_000 - 37) && window.contains(20_001));
        assert!(!window.contains(20_000 - 38) && !window.contains(20_002));
    }
}
