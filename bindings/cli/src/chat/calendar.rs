//! Days and times as their reader's clocks show them.

use jiff::Timestamp as Moment;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use sotto_core::protocol::Timestamp;

/// The time zone of whoever reads.
pub(super) struct Calendar(TimeZone);

impl Calendar {
    /// As the system says: `TZ`, else its own.
    pub(super) fn of_the_system() -> Self {
        Self(TimeZone::system())
    }

    #[cfg(test)]
    pub(super) fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    fn at(&self, time: Timestamp) -> DateTime {
        // Somebody whose clock is beyond the year 9999 stands at its end.
        let moment = i64::try_from(time.as_ms()).ok().and_then(|ms| Moment::from_millisecond(ms).ok());
        self.0.to_datetime(moment.unwrap_or(Moment::MAX))
    }

    /// The day on which something was.
    pub(super) fn day(&self, time: Timestamp) -> Date {
        self.at(time).date()
    }

    /// Hours and minutes.
    pub(super) fn time(&self, time: Timestamp) -> String {
        self.at(time).strftime("%H:%M").to_string()
    }

    /// A day as people call it.
    pub(super) fn day_name(&self, day: Date, now: Timestamp) -> String {
        let today = self.day(now);
        if day == today {
            "Today".to_owned()
        } else if day.tomorrow().is_ok_and(|tomorrow| tomorrow == today) {
            "Yesterday".to_owned()
        } else {
            day.strftime("%A, %-d %B %Y").to_string()
        }
    }

    /// Day and time, to the second.
    pub(super) fn moment(&self, time: Timestamp) -> String {
        self.at(time).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Day and time, briefly.
    pub(super) fn short(&self, time: Timestamp, now: Timestamp) -> String {
        let at = self.at(time);
        let format = if at.date() == self.day(now) { "%H:%M" } else { "%Y-%m-%d" };
        at.strftime(format).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_reader() {
        let noon = Timestamp::from_ms(1_800_000_000_000);
        let utc = Calendar::utc();
        assert_eq!(utc.moment(noon), "2027-01-15 08:00:00");
        assert_eq!((utc.time(noon), utc.day_name(utc.day(noon), noon)), ("08:00".to_owned(), "Today".to_owned()));
        let next_day = noon.after(std::time::Duration::from_secs(86_400));
        assert_eq!(utc.day_name(utc.day(noon), next_day), "Yesterday");
        let later = next_day.after(std::time::Duration::from_secs(86_400));
        assert_eq!(utc.day_name(utc.day(noon), later), "Friday, 15 January 2027");
        let east = Calendar(TimeZone::fixed(jiff::tz::offset(14)));
        assert_eq!((east.time(noon), east.day(noon)), ("22:00".to_owned(), utc.day(noon)));
        assert_eq!(east.short(noon, noon), "22:00");
        assert_eq!(east.short(noon, later), "2027-01-15");
        assert_eq!(utc.time(Timestamp::from_ms(u64::MAX)), "22:00", "a clock that is beyond all calendars");
    }
}
