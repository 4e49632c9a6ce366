//! Dates as they are shown and typed: civil days, UTC.

use std::time::Duration;

use sotto_core::protocol::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);

/// The date of a moment: `2027-01-14`.
pub(crate) fn day(at: Timestamp) -> String {
    let (year, month, day) = civil(i64::from(at.day()));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Date and time of a moment, to the minute: `2027-01-14 08:00`.
pub(crate) fn minute(at: Timestamp) -> String {
    let minutes = at.as_ms() / 60_000 % 1_440;
    format!("{} {:02}:{:02}", day(at), minutes / 60, minutes % 60)
}

/// The moment at which a typed date begins.
pub(crate) fn beginning(typed: &str) -> Result<Timestamp, String> {
    let wrong = || "a date: 2027-01-14".to_owned();
    let parts: Vec<&str> = typed.split('-').collect();
    let [year, month, day] = parts[..] else { return Err(wrong()) };
    let is_of_digits = typed.chars().all(|letter| letter == '-' || letter.is_ascii_digit());
    if !is_of_digits || [year.len(), month.len(), day.len()] != [4, 2, 2] {
        return Err(wrong());
    }
    let number = |part: &str| part.parse::<u32>().map_err(|_| wrong());
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    let days = days_until(i64::from(year), month, day);
    // A day that there is not has the date of another.
    if civil(days) != (i64::from(year), month, day) {
        return Err("no such day".to_owned());
    }
    let days = u32::try_from(days).map_err(|_| "a date from 1970 on".to_owned())?;
    Ok(Timestamp::from_ms(0).after(DAY * days))
}

/// The civil date of a day since 1970: years begin in March, so that the leap day is the last, and come in cycles of 400.
fn civil(day: i64) -> (i64, u32, u32) {
    let since_march = day + 719_468;
    let (cycle, day_of_cycle) = (since_march.div_euclid(146_097), since_march.rem_euclid(146_097));
    let year = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let small = |number: i64| u32::try_from(number).unwrap_or_default();
    (cycle * 400 + year + next_year, small(month), small(day_of_month))
}

/// The other way round; of a day that there is not, some other day.
fn days_until(year: i64, month: u32, day: u32) -> i64 {
    let (month, day) = (i64::from(month), i64::from(day));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    cycle * 146_097 + 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_date_and_dates_their_day() {
        for (number, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_088, "2024-12-31"),
            (20_089, "2025-01-01"),
        ] {
            let at = Timestamp::from_ms(0).after(DAY * number);
            assert_eq!(day(at), expected);
            assert_eq!(beginning(expected), Ok(at));
        }
        assert_eq!(minute(Timestamp::from_ms(1_800_000_000_000)), "2027-01-15 08:00");
    }

    #[test]
    fn what_is_no_day_is_no_date() {
        let no_dates =
            ["", "today", "2025-02-29", "2025-13-01", "2025-00-10", "2025-1-01", "1969-12-31", "2025-01-+1", "2025-01"];
        for wrong in no_dates {
            assert!(beginning(wrong).is_err(), "{wrong}");
        }
    }
}
