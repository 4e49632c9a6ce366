//! What relays have said of the time.
//!
//! Each time is kept with the instant at which it was heard, and goes on from there: our wall clock may fall back, or be set right, without
//! moving what relays said. A wall clock that has run ahead of that instant tells of a jump or of a device that slept, which instants may not
//! count: then nothing is known of any relay's time until it speaks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sotto_protocol::limits::CLOCK_WINDOW;
use sotto_protocol::{RelayName, Timestamp};

use crate::world::Clock;

/// How far the wall clock may run ahead of instants before what was heard is taken as forgotten: clocks that are set right little by little
/// stay well within.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// The clocks of all relays that have told their time, and ours.
pub(crate) struct RelayClocks {
    clock: Arc<dyn Clock>,
    heard: Mutex<HashMap<RelayName, Heard>>,
    /// When calls to it were signed last.
    signed: Mutex<HashMap<RelayName, Timestamp>>,
}

/// A relay's time, and when we heard of it.
#[derive(Clone, Copy)]
struct Heard {
    theirs: Timestamp,
    ours: Timestamp,
    at: Instant,
}

impl Heard {
    /// What that relay would say now; `None` when that is not known any more.
    fn now(&self, ours: Timestamp, at: Instant) -> Option<Timestamp> {
        let elapsed = at.saturating_duration_since(self.at);
        (ours.since(self.ours.after(elapsed)) <= AHEAD_MAX).then(|| self.theirs.after(elapsed))
    }
}

impl RelayClocks {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, heard: Mutex::default(), signed: Mutex::default() }
    }

    /// Remembers a relay's clock.
    pub(crate) fn learn(&self, relay: &RelayName, theirs: Timestamp) {
        let heard = Heard { theirs, ours: self.clock.now(), at: self.clock.instant() };
        if let Ok(mut all) = self.heard.lock() {
            all.insert(relay.clone(), heard);
        }
    }

    /// Now, as that relay would say, or as we do.
    pub(crate) fn now_at(&self, relay: &RelayName) -> Timestamp {
        let (ours, at) = (self.clock.now(), self.clock.instant());
        let heard = self.heard.lock().ok().and_then(|all| all.get(relay).copied());
        heard.and_then(|heard| heard.now(ours, at)).unwrap_or(ours)
    }

    /// When a call to that relay is signed: now, and not before the last one, whatever clocks say meanwhile. A relay does some calls in the order
    /// in which they were signed.
    pub(crate) fn sign_at(&self, relay: &RelayName) -> Timestamp {
        let now = self.now_at(relay);
        let Ok(mut signed) = self.signed.lock() else { return now };
        let last = signed.entry(relay.clone()).or_insert(now);
        // Calls that lie further apart are not compared: a clock was wrong.
        if *last < now || last.since(now) > CLOCK_WINDOW * 2 {
            *last = now;
        }
        *last
    }

    /// That relay does not accept the time at which the last call to it was signed: the next one is signed now.
    pub(crate) fn sign_anew(&self, relay: &RelayName) {
        if let Ok(mut signed) = self.signed.lock() {
            signed.remove(relay);
        }
    }

    /// Now by the relay that agrees best with our own clock; `None` while none has told its time.
    pub(crate) fn heard_now(&self) -> Option<Timestamp> {
        let (ours, at) = (self.clock.now(), self.clock.instant());
        let all = self.heard.lock().ok()?;
        let times = all.values().filter_map(|heard| heard.now(ours, at));
        times.min_by_key(|theirs| theirs.as_ms().abs_diff(ours.as_ms()))
    }

    /// Now by our own clock.
    pub(crate) fn own_now(&self) -> Timestamp {
        self.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::BoxFuture;

    const NOON: Timestamp = Timestamp::from_ms(1_800_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A wall clock, and the instant beside it.
    struct Set(Mutex<(Timestamp, Instant)>);

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            self.0.lock().unwrap().0
        }

        fn instant(&self) -> Instant {
            self.0.lock().unwrap().1
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }

    /// A relay that is five minutes ahead has just said so.
    fn heard() -> (Arc<Set>, RelayClocks, RelayName) {
        let clock = Arc::new(Set(Mutex::new((NOON, Instant::now()))));
        let clocks = RelayClocks::new(clock.clone());
        let relay = "https://relay.example".parse::<sotto_protocol::RelayAddress>().unwrap().name().clone();
        clocks.learn(&relay, NOON.after(5 * MINUTE));
        (clock, clocks, relay)
    }

    #[test]
    fn a7_calls_are_signed_in_order_when_a_clock_falls_back() {
        let (clock, clocks, relay) = heard();
        assert_eq!(clocks.sign_at(&relay), NOON.after(5 * MINUTE));
        clocks.learn(&relay, NOON);
        assert_eq!(clocks.sign_at(&relay), NOON.after(5 * MINUTE), "not before the last one");
        pass(&clock, 6 * MINUTE);
        assert_eq!(clocks.sign_at(&relay), NOON.after(6 * MINUTE));
        clocks.learn(&relay, NOON);
        clocks.sign_anew(&relay);
        assert_eq!(clocks.sign_at(&relay), NOON, "it does not take the other");
        clocks.learn(&relay, NOON.after(DAY));
        assert_eq!(clocks.sign_at(&relay), NOON.after(DAY));
        clocks.learn(&relay, NOON);
        assert_eq!(clocks.sign_at(&relay), NOON, "nothing is compared with that");
    }

    fn pass(clock: &Set, duration: Duration) {
        let mut now = clock.0.lock().unwrap();
        *now = (now.0.after(duration), now.1 + duration);
    }

    #[test]
    fn a_relays_time_goes_on() {
        let (clock, clocks, relay) = heard();
        pass(&clock, DAY);
        assert_eq!(clocks.heard_now(), Some(NOON.after(DAY + 5 * MINUTE)));
        assert_eq!(clocks.now_at(&relay), NOON.after(DAY + 5 * MINUTE));
    }

    #[test]
    fn a_wall_clock_that_falls_back_takes_no_relays_time_with_it() {
        let (clock, clocks, relay) = heard();
        pass(&clock, MINUTE);
        clock.0.lock().unwrap().0 = NOON.before(60 * DAY);
        assert_eq!(clocks.heard_now(), Some(NOON.after(6 * MINUTE)));
        assert_eq!(clocks.now_at(&relay), NOON.after(6 * MINUTE));
    }

    #[test]
    fn a_wall_clock_that_ran_ahead_knows_of_no_relays_time_until_it_is_right_or_one_speaks() {
        let (clock, clocks, relay) = heard();
        clock.0.lock().unwrap().0 = NOON.after(60 * DAY);
        assert_eq!(clocks.heard_now(), None);
        assert_eq!(clocks.now_at(&relay), NOON.after(60 * DAY));
        clock.0.lock().unwrap().0 = NOON;
        assert_eq!(clocks.heard_now(), Some(NOON.after(5 * MINUTE)));
        clock.0.lock().unwrap().0 = NOON.after(60 * DAY);
        clocks.learn(&relay, NOON);
        assert_eq!(clocks.heard_now(), Some(NOON));
    }
}
