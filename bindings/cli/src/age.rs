//! How long ago something was.

use std::fmt;

use sotto_core::protocol::Timestamp;
use sotto_core::world::{Clock as _, SystemClock};

use crate::date;

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
            _ => date::day(self.at),
        })
    }
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
}
