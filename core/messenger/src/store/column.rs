//! How times and counters stand in columns: SQLite knows signed integers only.

use sotto_protocol::Timestamp;

/// A stored time.
pub(crate) fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_ms(u64::try_from(ms).unwrap_or(0))
}

/// A time to store: SQLite's integers end in the year 292,278,994.
pub(crate) fn ms(time: Timestamp) -> i64 {
    i64::try_from(time.as_ms()).unwrap_or(i64::MAX)
}

/// Counters are stored as SQLite's signed integers and never negative.
pub(crate) fn counter(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// A counter to store.
pub(crate) fn stored(counter: u64) -> i64 {
    i64::try_from(counter).unwrap_or(i64::MAX)
}
