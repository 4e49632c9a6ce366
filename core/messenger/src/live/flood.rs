//! How much of what is ephemeral is looked at: so many under each alias and in each inbox in a while, and what is over is passed over unread.
//!
//! A contact who floods us spends what we look at of that contact, a relay what we look at in our inbox there; nobody spends anybody else's. In memory,
//! and bounded by what it bounds: only what is looked at is counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Counts begin anew after so long.
const WHILE: Duration = Duration::from_secs(10);
/// Under one alias: four devices of a contact, of which each begins and stops to type as often as it may.
const OF_ALIAS_MAX: u32 = 20;
/// In one inbox: a reading each, of about a millisecond, so that a flood takes a fiftieth of the time.
const OF_INBOX_MAX: u32 = 200;

/// See the file's story.
#[derive(Default)]
pub(crate) struct Flood {
    begun: Option<Instant>,
    of_aliases: BTreeMap<(i64, u32), u32>,
    of_inboxes: BTreeMap<i64, u32>,
}

impl Flood {
    /// Whether one more is looked at.
    pub(crate) fn lets_pass(&mut self, own_inbox: i64, alias: u32, now: Instant) -> bool {
        if self.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= WHILE) {
            *self = Self { begun: Some(now), ..Self::default() };
        }
        let of_alias = self.of_aliases.get(&(own_inbox, alias)).copied().unwrap_or(0);
        let of_inbox = self.of_inboxes.entry(own_inbox).or_default();
        if of_alias >= OF_ALIAS_MAX || *of_inbox >= OF_INBOX_MAX {
            return false;
        }
        *of_inbox += 1;
        self.of_aliases.insert((own_inbox, alias), of_alias + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(flood: &mut Flood, own_inbox: i64, aliases: std::ops::Range<u32>, now: Instant) -> usize {
        aliases.filter(|alias| flood.lets_pass(own_inbox, *alias, now)).count()
    }

    #[test]
    fn an_alias_that_floods_spends_its_own_share_until_the_while_is_over() {
        let (mut flood, now) = (Flood::default(), Instant::now());
        let of_alias = |flood: &mut Flood, now| (0..1_000).filter(|_| flood.lets_pass(1, 7, now)).count();
        assert_eq!(of_alias(&mut flood, now), 20);
        assert_eq!(of_alias(&mut flood, now + Duration::from_secs(9)), 0);
        assert!(flood.lets_pass(1, 8, now), "another contact's");
        assert_eq!(of_alias(&mut flood, now + Duration::from_secs(10)), 20);
    }

    #[test]
    fn a_relay_that_makes_aliases_up_spends_its_own_inbox_and_no_memory() {
        let (mut flood, now) = (Flood::default(), Instant::now());
        assert_eq!(passed(&mut flood, 1, 0..100_000, now), 200);
        assert_eq!(flood.of_aliases.len(), 200);
        assert_eq!(passed(&mut flood, 2, 0..100, now), 100, "another inbox");
    }
}
