//! Which inboxes letters can be put into right now, as far as any courier of this device has found out.
//!
//! A relay that does not answer is passed over by all couriers, not found dead by each after a wait of its own; and an inbox that
//! refuses, or is full, by whoever writes to its device. Both are asked again, less and less often: a relay by a call that costs nothing, so
//! that no ratchet steps for a letter that will not leave.
//! Nothing here is lost with the process: it is found out again. What a relay that is gone for good has taken is put elsewhere by what
//! `again.rs` remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sotto_protocol::RelayAddress;

use super::backoff::Backoff;
use crate::peer::{InboxRow, PeerInbox};
use crate::world::Chance;

/// How long a courier that asks a relay whether it is back has the others wait for its answer.
const ASKING: Duration = Duration::from_secs(15);

/// How long an answer shows that this device has a network.
const LATELY: Duration = Duration::from_secs(600);

/// Who did not take letters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// A relay that does not answer, or has no time.
    Relay(RelayAddress),
    /// An inbox that wants none of ours, has no room, or whose prekeys are not acceptable.
    Inbox(InboxRow),
}

struct Shut {
    backoff: Backoff,
    until: Instant,
    /// Asked whether it is back, it has answered: letters go there again. It is not open before it has taken some: a relay that answers and
    /// takes nothing is asked as rarely as one that is silent.
    is_back: bool,
    /// Whether this was news already, while this device had a network.
    is_told: bool,
}

/// See the file's story.
#[derive(Default)]
pub(crate) struct Reach(Mutex<Known>);

#[derive(Default)]
struct Known {
    shut: BTreeMap<Place, Shut>,
    /// Relays that have answered since they last did not.
    answering: BTreeSet<RelayAddress>,
    last_answer: Option<Instant>,
}

/// Where a device's letters go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// To the inbox at this place of its list.
    Take(usize),
    /// There too, after its relay has shown that it is back.
    Ask(usize),
    /// There, though nobody knows of any that can be reached: it is the first that may be tried again.
    Hope(usize),
}

impl Choice {
    /// The place in the list.
    pub(crate) const fn place(self) -> usize {
        match self {
            Self::Take(place) | Self::Ask(place) | Self::Hope(place) => place,
        }
    }
}

impl Reach {
    /// Chooses among a device's inboxes, of which the preferred stands first. `None` where there is none.
    pub(crate) fn choose(&self, inboxes: &[PeerInbox], now: Instant) -> Option<Choice> {
        if inboxes.len() < 2 {
            return inboxes.first().map(|_| Choice::Take(0));
        }
        let Ok(mut known) = self.0.lock() else { return Some(Choice::Take(0)) };
        let shut = &mut known.shut;
        let opens_at = |shut: &BTreeMap<Place, Shut>, inbox: &PeerInbox| {
            let of = |place: Place| shut.get(&place).map(|shut| shut.until);
            of(Place::Relay(inbox.relay.clone())).max(of(Place::Inbox(inbox.row)))
        };
        for (place, inbox) in inboxes.iter().enumerate() {
            match opens_at(shut, inbox) {
                None => return Some(Choice::Take(place)),
                Some(opens_at) if opens_at <= now => {
                    let Some(relay) = shut.get_mut(&Place::Relay(inbox.relay.clone())) else {
                        return Some(Choice::Take(place));
                    };
                    if relay.is_back {
                        return Some(Choice::Take(place));
                    }
                    relay.until = now + ASKING;
                    return Some(Choice::Ask(place));
                }
                Some(_) => {}
            }
        }
        let first = inboxes.iter().enumerate().min_by_key(|(_, inbox)| opens_at(shut, inbox));
        first.map(|(place, _)| Choice::Hope(place))
    }

    /// Whether letters that are encrypted for an inbox had better go to another.
    pub(crate) fn is_shut(&self, inbox: &PeerInbox) -> bool {
        self.0.lock().is_ok_and(|known| {
            [Place::Relay(inbox.relay.clone()), Place::Inbox(inbox.row)]
                .iter()
                .any(|place| known.shut.get(place).is_some_and(|shut| !shut.is_back))
        })
    }

    /// It took nothing. Says whether that is news, and of the place: where no relay has answered lately, it is the network of this device that
    /// is away, and says nothing of relays.
    pub(crate) fn failed(&self, place: Place, asked_for: Option<Duration>, now: Instant, chance: &Chance<'_>) -> bool {
        let Ok(mut known) = self.0.lock() else { return false };
        if let Place::Relay(relay) = &place {
            known.answering.remove(relay);
        }
        let has_network = known.last_answer.is_some_and(|answer| now.saturating_duration_since(answer) <= LATELY);
        let is_relay = matches!(place, Place::Relay(_));
        let shut = known.shut.entry(place).or_insert_with(|| Shut {
            backoff: Backoff::default(),
            until: now,
            is_back: false,
            is_told: false,
        });
        let wait = if is_relay { shut.backoff.failed(asked_for, chance) } else { shut.backoff.refused(chance) };
        (shut.until, shut.is_back) = (now + wait, false);
        let is_news = has_network && !shut.is_told;
        shut.is_told |= has_network;
        is_news
    }

    /// Whether a relay takes no letters, and has not shown that it is back.
    pub(crate) fn is_out(&self, relay: &RelayAddress) -> bool {
        self.0.lock().is_ok_and(|known| known.shut.get(&Place::Relay(relay.clone())).is_some_and(|shut| !shut.is_back))
    }

    /// A relay answers when it is asked whether it is back.
    pub(crate) fn is_back(&self, relay: &RelayAddress, now: Instant) {
        let Ok(mut known) = self.0.lock() else { return };
        known.last_answer = Some(now);
        if let Some(shut) = known.shut.get_mut(&Place::Relay(relay.clone())) {
            (shut.until, shut.is_back) = (now, true);
        }
    }

    /// It took letters, or one of ours answers. Says whether that is news.
    pub(crate) fn answered(&self, place: &Place, now: Instant) -> bool {
        let Ok(mut known) = self.0.lock() else { return false };
        known.last_answer = Some(now);
        let was_shut = known.shut.remove(place).is_some();
        let is_first = match place {
            Place::Relay(relay) => known.answering.insert(relay.clone()),
            Place::Inbox(_) => false,
        };
        was_shut || is_first
    }

    /// The network may be back: everything is tried again.
    pub(crate) fn forget(&self) {
        if let Ok(mut known) = self.0.lock() {
            known.shut.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use sotto_protocol::InboxId;

    use super::*;
    use crate::world::SystemRng;

    fn inboxes(count: i64) -> Vec<PeerInbox> {
        let inbox = |row: i64| PeerInbox {
            row: InboxRow(row),
            relay: format!("https://{row}.example").parse().unwrap(),
            inbox: InboxId::from_bytes([0; 16]),
            prekey_key: [0; 32],
            claim: None,
        };
        (0..count).map(inbox).collect()
    }

    fn relay(inbox: &PeerInbox) -> Place {
        Place::Relay(inbox.relay.clone())
    }

    #[test]
    fn letters_go_to_the_first_inbox_that_is_not_shut() {
        let (reach, all, now, chance) = (Reach::default(), inboxes(3), Instant::now(), Chance(&SystemRng));
        reach.answered(&relay(&all[2]), now);
        assert_eq!(reach.choose(&all, now), Some(Choice::Take(0)));
        assert!(reach.failed(relay(&all[0]), None, now, &chance));
        assert!(!reach.failed(relay(&all[0]), None, now, &chance), "that was known");
        assert_eq!(reach.choose(&all, now), Some(Choice::Take(1)));
        reach.failed(Place::Inbox(all[1].row), None, now, &chance);
        assert_eq!(reach.choose(&all, now), Some(Choice::Take(2)));
        assert!(reach.answered(&relay(&all[0]), now));
        assert_eq!(reach.choose(&all, now), Some(Choice::Take(0)));
        assert_eq!(reach.choose(&[], now), None);
    }

    #[test]
    fn a_relay_that_was_away_before_this_device_had_a_network_is_news_once_it_has() {
        let (reach, all, now, chance) = (Reach::default(), inboxes(2), Instant::now(), Chance(&SystemRng));
        assert!(!reach.failed(relay(&all[0]), None, now, &chance), "nobody answers");
        reach.answered(&relay(&all[1]), now);
        assert!(reach.failed(relay(&all[0]), None, now, &chance));
        assert!(!reach.failed(relay(&all[0]), None, now, &chance), "that was known");
        assert!(reach.is_out(&all[0].relay) && !reach.is_out(&all[1].relay));
        reach.is_back(&all[0].relay, now);
        assert!(!reach.is_out(&all[0].relay));
    }

    #[test]
    fn one_courier_asks_a_relay_whether_it_is_back_and_the_others_go_on_where_they_were() {
        let (reach, all, now, chance) = (Reach::default(), inboxes(2), Instant::now(), Chance(&SystemRng));
        reach.failed(relay(&all[0]), None, now, &chance);
        let later = now + Duration::from_secs(61);
        assert_eq!(reach.choose(&all, later), Some(Choice::Ask(0)));
        assert_eq!(reach.choose(&all, later), Some(Choice::Take(1)));
        assert!(reach.is_shut(&all[0]));
        reach.is_back(&all[0].relay, later);
        assert!(!reach.is_shut(&all[0]));
        assert_eq!(reach.choose(&all, later), Some(Choice::Take(0)));
    }

    #[test]
    fn a_relay_that_answers_and_takes_nothing_is_tried_less_and_less_often() {
        let (reach, all, chance) = (Reach::default(), inboxes(2), Chance(&SystemRng));
        let (begin, mut tries) = (Instant::now(), 0);
        for second in 0..3600 {
            let now = begin + Duration::from_secs(second);
            let mut choice = reach.choose(&all, now);
            if choice == Some(Choice::Ask(0)) {
                reach.is_back(&all[0].relay, now);
                choice = reach.choose(&all, now);
            }
            if choice == Some(Choice::Take(0)) {
                tries += 1;
                reach.failed(relay(&all[0]), None, now, &chance);
            }
        }
        assert!((30..200).contains(&tries), "{tries}");
        reach.answered(&relay(&all[0]), begin);
        assert_eq!(reach.choose(&all, begin), Some(Choice::Take(0)));
    }

    #[test]
    fn where_nothing_can_be_reached_the_one_that_may_be_tried_first_is() {
        let (reach, all, now, chance) = (Reach::default(), inboxes(2), Instant::now(), Chance(&SystemRng));
        for _ in 0..8 {
            reach.failed(relay(&all[0]), None, now, &chance);
        }
        reach.failed(relay(&all[1]), None, now, &chance);
        assert_eq!(reach.choose(&all, now), Some(Choice::Hope(1)));
        reach.forget();
        assert_eq!(reach.choose(&all, now), Some(Choice::Take(0)));
    }

    #[test]
    fn a_device_with_one_inbox_is_tried_whatever_is_known() {
        let (reach, all, now, chance) = (Reach::default(), inboxes(1), Instant::now(), Chance(&SystemRng));
        reach.failed(relay(&all[0]), None, now, &chance);
        assert_eq!(reach.choose(&all, now), Some(Choice::Take(0)));
    }
}
