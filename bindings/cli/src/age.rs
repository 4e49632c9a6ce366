//! How long ago something was.

use std::fmt;

use sotto_core::protocol::Timestamp;
use sotto_core::world::{Clock as _, SystemClock};

/// How long ago something was, for people; from a day on, its date (UTC).
pub(crate) struct Age {
    now: Timestamp,
    at: Timestamp,
}

impl Age {
    pub(crate) fn of(at: Timestamp) -> Self {
        Self { now: SystemClock.now(), at }
    }
}

impl fmt::Display for Age {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.now.since(self.at).as_secs() / 60;
        formatter.pad(&match minutes {
            0 => "now".to_owned(),
            1..60 => format!("{minutes} min"),
            60..1_440 => format!("{} h", minutes / 60),
            _ => date(i64::from(self.at.day())),
        })
    }
}

/// The civil date of a day since 1970: years begin in March, so that the leap day is the last, and come in cycles of 400.
fn date(day: i64) -> String {
    let since_march = day + 719_468;
    let (cycle, day_of_cycle) = (since_march.div_euclid(146_097), since_march.rem_euclid(146_097));
    let year = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day_of_month:02}", cycle * 400 + year + next_year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_how_long_ago_something_was() {
        let now = Timestamp::from_ms(1_800_000_000_000);
        let age = |seconds| {
            let at = now.before(std::time::Duration::from_secs(seconds));
            Age { now, at }.to_string()
        };
        assert_eq!([age(59), age(60), age(3_599)], ["now", "1 min", "59 min"]);
        assert_eq!([age(3_600), age(86_399), age(86_400)], ["1 h", "23 h", "2027-01-14"]);
        let ahead = now.after(std::time::Duration::from_secs(9));
        assert_eq!(Age { now, at: ahead }.to_string(), "now", "their clock is ahead");
    }

    #[test]
    fn days_have_their_date() {
        for (day, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_088, "2024-12-31"),
            (20_089, "2025-01-01"),
        ] {
            assert_eq!(date(day), expected);
        }
    }
}
