//! What contacts' devices say of themselves, for as long as it holds: in memory alone.
//!
//! ```text
//! silent --typing--> typing --stopped, a message, 8 s--> silent          silent --online--> online --offline, 300 s--> silent
//! ```
//! A contact types, or is online, when one of their devices says so. The newest time of each device stays for as long as an older envelope of it would
//! still be of now, so that none counts twice; then the device is forgotten, and costs nothing.
//! Pure: the times come in as arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use sotto_crypto::seal::ephemeral::{Ephemeral, EphemeralError, Signal};
use sotto_protocol::limits::EPHEMERAL_WINDOW;
use sotto_protocol::{AccountId, Timestamp};

use super::{Live, LiveSettings, Presence};
use crate::peer::DeviceRow;

/// How long somebody types who says nothing more: longer than they take to say it again, and one is late.
pub(crate) const TYPING_SHOWN: Duration = Duration::from_secs(8);
/// Likewise for somebody who is online: two may get lost.
pub(crate) const ONLINE_SHOWN: Duration = Duration::from_secs(300);
/// Devices that are remembered: more than speak in a minute, with the bounds on what is looked at. With one more it is not heeded.
const DEVICES_MAX: usize = 2_048;

/// Whose device says it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Speaker {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceRow,
}

/// What was heard of a device.
struct Heard {
    newest: Timestamp,
    typing_until: Instant,
    online_until: Instant,
}

/// The times that a signal is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    /// As relays tell it.
    pub(crate) now: Timestamp,
    /// On the clock that never jumps.
    pub(crate) instant: Instant,
}

/// See the file's story.
pub(crate) struct Hearing {
    began: Instant,
    devices: BTreeMap<Speaker, Heard>,
    /// What was told of everybody of whom there is something to tell.
    shown: BTreeMap<AccountId, Live>,
}

impl Hearing {
    /// From now on.
    pub(crate) const fn new(began: Instant) -> Self {
        Self { began, devices: BTreeMap::new(), shown: BTreeMap::new() }
    }

    /// A device says something. What it says of what we do not tell ourselves is passed over.
    ///
    /// # Errors
    /// The code of the refusal: nothing has changed then.
    pub(crate) fn hear(
        &mut self,
        speaker: Speaker,
        said: &Ephemeral,
        settings: LiveSettings,
        at: Moment,
    ) -> Result<(), &'static str> {
        let known = self.devices.get(&speaker);
        // Where that lies ahead of us a clock has been set right since: theirs and ours told it to be of now.
        let newest = known.map(|heard| heard.newest).filter(|newest| *newest <= at.now.after(EPHEMERAL_WINDOW));
        said.check(at.now, newest).map_err(|error| code(&error))?;
        if said.sent_at < at.now.before(at.instant.saturating_duration_since(self.began)) {
            // What came before is not remembered: a relay may have shown it to us already.
            return Err("before_begin");
        }
        if known.is_none() && self.devices.len() >= DEVICES_MAX {
            return Err("too_many_devices");
        }
        let silent = Heard { newest: said.sent_at, typing_until: at.instant, online_until: at.instant };
        let heard = self.devices.entry(speaker).or_insert(silent);
        heard.newest = said.sent_at;
        match said.signal {
            Signal::Typing if settings.typing => heard.typing_until = at.instant + TYPING_SHOWN,
            Signal::Stopped => heard.typing_until = at.instant,
            Signal::Online if settings.presence => heard.online_until = at.instant + ONLINE_SHOWN,
            Signal::Offline => heard.online_until = at.instant,
            Signal::Typing | Signal::Online | Signal::Unknown => {}
        }
        Ok(())
    }

    /// Somebody has said what they were typing.
    pub(crate) fn has_spoken(&mut self, account: &AccountId, instant: Instant) {
        for heard in self.of_mut(account) {
            heard.typing_until = heard.typing_until.min(instant);
        }
    }

    /// What is not told is not seen.
    pub(crate) fn heed(&mut self, settings: LiveSettings, instant: Instant) {
        for heard in self.devices.values_mut() {
            if !settings.typing {
                heard.typing_until = heard.typing_until.min(instant);
            }
            if !settings.presence {
                heard.online_until = heard.online_until.min(instant);
            }
        }
    }

    /// Whether anybody is typing.
    pub(crate) fn is_anybody_typing(&self, instant: Instant) -> bool {
        self.devices.values().any(|heard| heard.typing_until > instant)
    }

    /// What somebody does.
    pub(crate) fn live(&self, account: &AccountId, instant: Instant) -> Live {
        let is_typing = self.of(account).any(|heard| heard.typing_until > instant);
        let is_online = self.of(account).any(|heard| heard.online_until > instant);
        Live { is_typing, presence: if is_online { Presence::Online } else { Presence::Unknown } }
    }

    /// Of whom there is something else to tell than there was; and forgets what does not matter any more.
    pub(crate) fn changes(&mut self, at: Moment) -> Vec<AccountId> {
        let of_now = at.now.before(EPHEMERAL_WINDOW);
        let over = |until: Instant| until <= at.instant;
        self.devices
            .retain(|_, heard| heard.newest >= of_now || !over(heard.typing_until) || !over(heard.online_until));
        let mut accounts: BTreeSet<AccountId> = self.shown.keys().copied().collect();
        accounts.extend(self.devices.keys().map(|speaker| speaker.account));
        let mut changed = Vec::new();
        for account in accounts {
            let live = self.live(&account, at.instant);
            let before = if live == Live::default() {
                self.shown.remove(&account).unwrap_or_default()
            } else {
                self.shown.insert(account, live).unwrap_or_default()
            };
            if before != live {
                changed.push(account);
            }
        }
        changed
    }

    /// When something ends next.
    pub(crate) fn next_wakeup(&self, instant: Instant) -> Option<Instant> {
        let ends = self.devices.values().flat_map(|heard| [heard.typing_until, heard.online_until]);
        ends.filter(|end| *end > instant).min()
    }

    fn of(&self, account: &AccountId) -> impl Iterator<Item = &Heard> {
        self.devices.range(all_of(account)).map(|(_, heard)| heard)
    }

    fn of_mut(&mut self, account: &AccountId) -> impl Iterator<Item = &mut Heard> {
        self.devices.range_mut(all_of(account)).map(|(_, heard)| heard)
    }
}

fn all_of(account: &AccountId) -> RangeInclusive<Speaker> {
    let speaker = |device| Speaker { account: *account, device: DeviceRow(device) };
    speaker(i64::MIN)..=speaker(i64::MAX)
}

/// The code of a refusal.
pub(crate) const fn code(error: &EphemeralError) -> &'static str {
    match error {
        EphemeralError::Malformed(_) => "malformed",
        EphemeralError::WrongTag => "wrong_tag",
        EphemeralError::CannotOpen => "cannot_open",
        EphemeralError::NotOfNow => "not_of_now",
        EphemeralError::NotNewer => "not_newer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: LiveSettings = LiveSettings { typing: true, presence: true };
    const NOON: Timestamp = Timestamp::from_ms(1_800_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    /// Somebody who hears, an hour after they began to.
    struct Ear {
        hearing: Hearing,
        begin: Instant,
    }

    impl Ear {
        fn new() -> Self {
            let begin = Instant::now();
            Self { hearing: Hearing::new(begin - Duration::from_secs(3600)), begin }
        }

        fn at(&self, seconds: u64) -> Moment {
            let passed = SECOND * u32::try_from(seconds).unwrap();
            Moment { now: NOON.after(passed), instant: self.begin + passed }
        }

        /// At a second after noon, sent in that very moment.
        fn hears(&mut self, who: (u8, i64), signal: Signal, seconds: u64) -> Result<(), &'static str> {
            let at = self.at(seconds);
            self.hearing.hear(speaker(who), &Ephemeral { sent_at: at.now, signal }, BOTH, at)
        }

        fn live(&self, account: u8, seconds: u64) -> (bool, bool) {
            let live = self.hearing.live(&AccountId::from_bytes([account; 32]), self.at(seconds).instant);
            (live.is_typing, live.presence == Presence::Online)
        }
    }

    fn speaker((account, device): (u8, i64)) -> Speaker {
        Speaker { account: AccountId::from_bytes([account; 32]), device: DeviceRow(device) }
    }

    #[test]
    fn typing_ends_by_itself_by_stopping_and_by_a_message() {
        let mut ear = Ear::new();
        ear.hears((1, 1), Signal::Typing, 0).unwrap();
        assert_eq!((ear.live(1, 0), ear.live(1, 7), ear.live(1, 8)), ((true, false), (true, false), (false, false)));
        ear.hears((1, 1), Signal::Typing, 9).unwrap();
        ear.hears((1, 1), Signal::Stopped, 10).unwrap();
        assert_eq!(ear.live(1, 10), (false, false));
        ear.hears((1, 1), Signal::Online, 11).unwrap();
        ear.hears((1, 1), Signal::Typing, 12).unwrap();
        assert_eq!(ear.live(1, 12), (true, true));
        ear.hears((1, 1), Signal::Offline, 13).unwrap();
        assert_eq!(ear.live(1, 13), (true, false), "each for its own");
        ear.hears((1, 1), Signal::Typing, 14).unwrap();
        ear.hears((1, 2), Signal::Typing, 14).unwrap();
        let now = ear.at(15).instant;
        ear.hearing.has_spoken(&AccountId::from_bytes([2; 32]), now);
        assert_eq!(ear.live(1, 15), (true, false), "that was somebody else");
        ear.hearing.has_spoken(&AccountId::from_bytes([1; 32]), now);
        assert_eq!(ear.live(1, 15), (false, false));
    }

    #[test]
    fn somebody_is_online_on_one_of_their_devices() {
        let mut ear = Ear::new();
        ear.hears((1, 1), Signal::Online, 0).unwrap();
        ear.hears((1, 2), Signal::Online, 1).unwrap();
        ear.hears((1, 1), Signal::Offline, 2).unwrap();
        assert_eq!(
            (ear.live(1, 2), ear.live(1, 300), ear.live(1, 301)),
            ((false, true), (false, true), (false, false))
        );
        assert_eq!(ear.live(2, 2), (false, false));
    }

    #[test]
    fn what_was_heard_once_or_overtaken_is_not_heard_again() {
        let mut ear = Ear::new();
        ear.hears((1, 1), Signal::Typing, 5).unwrap();
        ear.hears((1, 1), Signal::Stopped, 7).unwrap();
        let overtaken = Ephemeral { sent_at: ear.at(6).now, signal: Signal::Typing };
        let at = ear.at(8);
        assert_eq!(ear.hearing.hear(speaker((1, 1)), &overtaken, BOTH, at), Err("not_newer"));
        let again = Ephemeral { sent_at: ear.at(5).now, signal: Signal::Typing };
        for seconds in [8, 30, 65] {
            let at = ear.at(seconds);
            ear.hearing.changes(at);
            assert_eq!(ear.hearing.hear(speaker((1, 1)), &again, BOTH, at), Err("not_newer"), "{seconds}");
        }
        let at = ear.at(66);
        assert_eq!(ear.hearing.hear(speaker((1, 1)), &again, BOTH, at), Err("not_of_now"));
        assert_eq!(ear.live(1, 66), (false, false));
        assert_eq!(ear.hears((1, 2), Signal::Typing, 6), Ok(()), "another device has times of its own");
    }

    #[test]
    fn a_clock_that_is_set_right_makes_nobody_mute() {
        let mut ear = Ear::new();
        let ahead = Moment { now: ear.at(3_600).now, ..ear.at(0) };
        let said = Ephemeral { sent_at: ahead.now, signal: Signal::Stopped };
        ear.hearing.hear(speaker((1, 1)), &said, BOTH, ahead).unwrap();
        ear.hears((1, 1), Signal::Typing, 20).unwrap();
        assert_eq!(ear.live(1, 20), (true, false));
        assert_eq!(ear.hears((1, 1), Signal::Typing, 19), Err("not_newer"));
        let ahead = Ephemeral { sent_at: ear.at(80).now, signal: Signal::Stopped };
        let at = ear.at(20);
        assert_eq!(ear.hearing.hear(speaker((1, 1)), &ahead, BOTH, at), Ok(()));
        assert_eq!(ear.hears((1, 1), Signal::Typing, 21), Err("not_newer"), "a minute ahead is no wrong clock");
    }

    #[test]
    fn what_was_sent_before_the_ear_was_there_is_refused() {
        let mut ear = Ear::new();
        ear.hearing.began = ear.begin;
        let before = Ephemeral { sent_at: NOON.before(SECOND), signal: Signal::Typing };
        let at = ear.at(3);
        assert_eq!(ear.hearing.hear(speaker((1, 1)), &before, BOTH, at), Err("before_begin"));
        let behind = Ephemeral { sent_at: NOON, signal: Signal::Typing };
        assert_eq!(ear.hearing.hear(speaker((1, 1)), &behind, BOTH, at), Ok(()));
    }

    #[test]
    fn each_switch_is_for_its_own() {
        for (settings, expected) in [
            (LiveSettings { typing: true, presence: false }, (true, false)),
            (LiveSettings { typing: false, presence: true }, (false, true)),
            (LiveSettings::default(), (false, false)),
        ] {
            let mut ear = Ear::new();
            for (seconds, signal) in [(0, Signal::Typing), (1, Signal::Online)] {
                let at = ear.at(seconds);
                let said = Ephemeral { sent_at: at.now, signal };
                ear.hearing.hear(speaker((1, 1)), &said, settings, at).unwrap();
            }
            assert_eq!(ear.live(1, 1), expected, "what comes is not seen");
            let mut ear = Ear::new();
            ear.hears((1, 1), Signal::Typing, 0).unwrap();
            ear.hears((1, 1), Signal::Online, 1).unwrap();
            let now = ear.at(1).instant;
            ear.hearing.heed(settings, now);
            assert_eq!(ear.live(1, 1), expected, "nor is what has come");
        }
    }

    #[test]
    fn every_change_is_told_once_and_wakes_somebody() {
        let mut ear = Ear::new();
        let account = AccountId::from_bytes([1; 32]);
        ear.hears((1, 1), Signal::Typing, 0).unwrap();
        let (now, end) = (ear.at(0), ear.at(8));
        assert_eq!(ear.hearing.changes(now), [account]);
        assert!(ear.hearing.changes(now).is_empty());
        ear.hears((1, 1), Signal::Typing, 1).unwrap();
        let at = ear.at(1);
        assert!(ear.hearing.changes(at).is_empty(), "that was so before");
        assert_eq!(ear.hearing.next_wakeup(end.instant), Some(ear.at(9).instant));
        let at = ear.at(9);
        assert_eq!(ear.hearing.changes(at), [account]);
        assert_eq!(ear.hearing.next_wakeup(at.instant), None);
        ear.hears((1, 1), Signal::Unknown, 10).unwrap();
        let at = ear.at(10);
        assert!(ear.hearing.changes(at).is_empty(), "a signal that nobody knows");
    }

    #[test]
    fn who_says_nothing_any_more_is_forgotten_and_there_are_never_too_many() {
        let mut ear = Ear::new();
        for device in 0..2_048 {
            ear.hears((1, device), Signal::Stopped, 0).unwrap();
        }
        assert_eq!(ear.hears((2, 1), Signal::Typing, 1), Err("too_many_devices"));
        assert_eq!(ear.hears((1, 1), Signal::Typing, 1), Ok(()), "one of those");
        ear.hears((1, 2), Signal::Online, 1).unwrap();
        let at = ear.at(62);
        ear.hearing.changes(at);
        assert_eq!(ear.hearing.devices.len(), 1, "one that is online");
        let at = ear.at(301);
        ear.hearing.changes(at);
        assert!(ear.hearing.devices.is_empty() && ear.hearing.shown.is_empty());
    }
}
