//! The time that has surely passed: what destroys goes by it and by no clock.
//!
//! One look at a clock that is wrong (a bad one before it was set, a machine that was resumed) must not delete all mail. So the
//! relay stores a time of its own. While it runs, that time goes on with the monotonic clock, which cannot jump. By what the wall
//! clock is ahead of it, it moves only after a day of running in which the wall clock never said less: the smallest lead seen in
//! that day is believed. The day is counted across restarts. A relay that was off for a week is a week behind for one day of
//! running, and a new one is sure of nothing for its first: it keeps things too long, never too short.
//! Invariants: it never goes back; no wall clock moves it that was wrong for less than [`CLOCK_AGREEMENT`].
//! Not here: what is accepted and told to callers (that goes by the wall clock), what is removed (`sweep.rs`).

use std::time::Duration;

use rusqlite::params;
use sotto_protocol::Timestamp;

use super::commit::Batch;
use super::transaction::{Sql, signed, unsigned};
use crate::limits::CLOCK_AGREEMENT;

/// A lead that is not worth a day of watching: what a clock drifts until it is set. While there is none, nothing is watched, so that
/// the day begins when a clock jumps.
const LEAD_MIN: Duration = Duration::from_secs(60);

/// See the file's story.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SureTime {
    /// What has passed.
    pub(crate) at: Timestamp,
    /// The smallest lead of the wall clock since the last time that it was believed; `None` before it was first looked at.
    lead: Option<Duration>,
    /// How long it has been looked at since then.
    watched: Duration,
}

impl SureTime {
    /// After `elapsed` by the monotonic clock, when the wall clock says `wall`.
    fn looked(self, wall: Timestamp, elapsed: Duration) -> Self {
        let at = self.at.after(elapsed);
        let lead = wall.since(at);
        let lead_before = self.lead.unwrap_or_default();
        if lead_before < LEAD_MIN {
            // There was nothing to believe: what may be begins now.
            return Self { at, lead: Some(lead), watched: Duration::ZERO };
        }
        let lead_min = lead_before.min(lead);
        let watched = self.watched + elapsed;
        if watched < CLOCK_AGREEMENT {
            return Self { at, lead: Some(lead_min), watched };
        }
        Self { at: at.after(lead_min), lead: Some(lead.saturating_sub(lead_min)), watched: Duration::ZERO }
    }
}

impl Batch<'_> {
    /// What has surely passed.
    pub(crate) fn sure_time(&mut self) -> Sql<SureTime> {
        if let Some(known) = *self.sure_time {
            return Ok(known);
        }
        let read = "SELECT sure_at, clock_lead, clock_watched FROM relay";
        let found = self.tx.row(read, [], |row| {
            let ms = |value: i64| Duration::from_millis(unsigned(value));
            Ok(SureTime {
                at: Timestamp::from_ms(unsigned(row.get(0)?)),
                lead: row.get::<_, Option<i64>>(1)?.map(ms),
                watched: ms(row.get(2)?),
            })
        })?;
        let found = found.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        *self.sure_time = Some(found);
        Ok(found)
    }

    /// Looks at both clocks and remembers what is sure then.
    pub(crate) fn look_at_clocks(&mut self, wall: Timestamp, elapsed: Duration) -> Sql<SureTime> {
        let before = self.sure_time()?;
        let after = before.looked(wall, elapsed);
        if after != before {
            let ms = |duration: Duration| signed(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
            self.tx.execute(
                "UPDATE relay SET sure_at = ?1, clock_lead = ?2, clock_watched = ?3 WHERE id = 1",
                params![signed(after.at.as_ms()), after.lead.map(ms), ms(after.watched)],
            )?;
            *self.sure_time = Some(after);
        }
        Ok(after)
    }

    /// The time to write beside what will be removed some while after it: never earlier than what has surely passed, so that a
    /// clock that is behind shortens nothing.
    pub(crate) fn stamp(&mut self, wall: Timestamp) -> Sql<Timestamp> {
        Ok(wall.max(self.sure_time()?.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const NEW: SureTime = SureTime { at: Timestamp::from_ms(0), lead: None, watched: Duration::ZERO };
    const TODAY: Timestamp = Timestamp::from_ms(20_500 * 86_400_000);
    const FAR: Duration = Duration::from_secs(4_000 * 24 * 3600);

    /// Runs for some hours, looking at a wall clock that is `ahead` of the true time.
    fn run(mut sure: SureTime, truth: &mut Timestamp, hours: u32, ahead: Duration) -> SureTime {
        sure = sure.looked(truth.after(ahead), Duration::ZERO);
        for _ in 0..hours {
            *truth = truth.after(HOUR);
            sure = sure.looked(truth.after(ahead), HOUR);
        }
        sure
    }

    #[test]
    fn a_new_relay_is_sure_of_the_time_after_a_day_and_of_nothing_before() {
        let mut truth = TODAY;
        let sure = run(NEW, &mut truth, 23, Duration::ZERO);
        assert_eq!(sure.at, Timestamp::from_ms(0).after(23 * HOUR));
        assert_eq!(run(sure, &mut truth, 1, Duration::ZERO).at, truth);
    }

    #[test]
    fn a_clock_that_is_wild_for_less_than_a_day_moves_nothing() {
        let mut truth = TODAY;
        let sure = run(NEW, &mut truth, 24, Duration::ZERO);
        let sure = run(sure, &mut truth, 23, FAR);
        assert_eq!(sure.at, truth);
        let sure = run(sure, &mut truth, 48, Duration::ZERO);
        assert_eq!(sure.at, truth, "nor does it count for later");
    }

    #[test]
    fn a_clock_that_is_wild_again_and_again_moves_nothing() {
        let mut truth = TODAY;
        let mut sure = run(NEW, &mut truth, 24, Duration::ZERO);
        for _ in 0..10 {
            sure = run(sure, &mut truth, 20, FAR);
            sure = run(sure, &mut truth, 1, Duration::ZERO);
        }
        assert_eq!(sure.at, truth);
    }

    #[test]
    fn a_week_switched_off_is_believed_after_a_day_of_running_also_in_pieces() {
        let mut truth = TODAY;
        let mut sure = run(NEW, &mut truth, 24, Duration::ZERO);
        let stopped_at = sure.at;
        for _ in 0..3 {
            truth = truth.after(7 * DAY);
            sure = run(sure, &mut truth, 7, Duration::ZERO);
        }
        assert_eq!(sure.at, stopped_at.after(21 * HOUR));
        sure = run(sure, &mut truth, 3, Duration::ZERO);
        assert_eq!(sure.at, stopped_at.after(7 * DAY + 24 * HOUR), "the first week, which all looks agree on");
        sure = run(sure, &mut truth, 24, Duration::ZERO);
        assert_eq!(sure.at, truth);
    }

    #[test]
    fn a_clock_that_goes_back_takes_nothing_back() {
        let mut truth = TODAY;
        let sure = run(NEW, &mut truth, 24, Duration::ZERO);
        assert_eq!(sure.looked(Timestamp::from_ms(0), HOUR).at, truth.after(HOUR));
    }
}
