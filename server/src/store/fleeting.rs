//! How much ephemeral is passed on under a token: it leaves no row, so nothing else counts it.
//!
//! In memory only, by the minute of the wall clock. A token over its rate is told to come back with the next minute, attached or not.

use std::collections::HashMap;

use sotto_protocol::Timestamp;

use crate::limits::{EPHEMERAL_BYTES_A_MINUTE, LEDGER_ROWS_MAX};

const MINUTE_MS: u64 = 60_000;
/// What a put counts for beside its bytes: an empty one is work too.
const PUT_BYTES: u64 = 256;

/// Bytes passed in one minute, by token.
#[derive(Default)]
pub(crate) struct Fleeting {
    minute: u64,
    passed: HashMap<i64, u64>,
}

impl Fleeting {
    /// Counts a put of `size` bytes, or says in how many milliseconds there is room again.
    pub(crate) fn pass(&mut self, token: i64, size: u64, now: Timestamp) -> Result<(), u64> {
        let minute = now.as_ms() / MINUTE_MS;
        if self.minute != minute || self.passed.len() > LEDGER_ROWS_MAX {
            self.minute = minute;
            self.passed.clear();
        }
        let passed = self.passed.entry(token).or_default();
        let after = passed.saturating_add(size + PUT_BYTES);
        if after > EPHEMERAL_BYTES_A_MINUTE {
            return Err(MINUTE_MS - now.as_ms() % MINUTE_MS);
        }
        *passed = after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_passes_its_bytes_a_minute_and_another_its_own() {
        let mut fleeting = Fleeting::default();
        let now = Timestamp::from_ms(7 * MINUTE_MS + 10_000);
        assert_eq!(fleeting.pass(1, EPHEMERAL_BYTES_A_MINUTE - PUT_BYTES, now), Ok(()));
        assert_eq!(fleeting.pass(1, 0, now), Err(50_000));
        assert_eq!(fleeting.pass(2, 1_000, now), Ok(()));
        assert_eq!(fleeting.pass(1, 0, Timestamp::from_ms(8 * MINUTE_MS)), Ok(()));
    }
}
