//! What we say of ourselves, to whom and when: typing where we type, online to a few.
//!
//! ```text
//! Quiet     --typing--> Beginning --its moment--> Told --typing, a while later--> Repeating --its moment--> Told
//! Beginning --stopped, said--> Quiet (nobody has heard of it)
//! Told, Repeating --stopped, said--> Quiet, and that is told at once;  --not repeated for 8 s--> Quiet (whoever was told sees it end)
//!
//! away --the app comes before its user--> here: rounds, in each of which it is told to whom a look at the conversations finds
//! here --the app goes--> away, and that is told at once to whoever was told
//! ```
//! Nothing leaves when a key is pressed: each first and each repeated sign has a moment that is drawn, so a relay that sees envelopes come does not
//! see how somebody types. Pure: the time and chance come in as arguments; feed it, drain it, sleep until `next_wakeup`.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use sotto_crypto::seal::ephemeral::Signal;
use sotto_protocol::AccountId;

use super::hearing::{ONLINE_SHOWN, TYPING_SHOWN};
use super::{AppState, LiveSettings};
use crate::world::Chance;

/// Until the first sign leaves, at most: whoever looks at the conversation notices nothing of it.
const BEGIN_WITHIN: Duration = Duration::from_millis(500);
/// Between two signs, at least; with the pause of a slow typist, what is drawn and a slow network still within what is shown of one.
const TYPING_AGAIN_MIN: Duration = Duration::from_secs(3);
/// And drawn up to.
const TYPING_AGAIN_MAX: Duration = Duration::from_millis(4_500);
/// Conversations that somebody types in at once: a person in one, a program in a few. Of more nobody is told.
const CONVERSATIONS_MAX: usize = 16;

/// Contacts who are told that we are online: as many as a screen of conversations or two, however many there are.
pub(crate) const TOLD_MAX: usize = 24;
/// Each at a moment of their own within this: not one burst, in which a relay would see who belongs together.
const ROUND: Duration = Duration::from_secs(10);
/// From one round to the next: two may get lost before it ends where it is shown.
const NEXT_ROUND_MIN: Duration = Duration::from_secs(100);
/// And drawn up to.
const NEXT_ROUND_MAX: Duration = Duration::from_secs(140);
/// While no stream of ours stands, a round waits, and it is looked again after so long. In memory: it costs a timer.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Whoever comes online is told that we are, unless they have heard it so lately.
const ANSWER_AFTER: Duration = Duration::from_secs(30);
/// And at a moment that is drawn up to this.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What is to be done now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Tells a contact.
    Tell(AccountId, Signal),
    /// Finds out who is to be told that we are online: [`Speaking::round`].
    FindListeners,
}

/// Typing in one conversation: see the file's story.
#[derive(Clone, Copy)]
enum Typing {
    Quiet { again_at: Instant },
    Beginning { leaves_at: Instant },
    Told { again_at: Instant, shown_until: Instant },
    Repeating { leaves_at: Instant, shown_until: Instant },
}

/// While we are online.
struct Here {
    round_at: Instant,
    /// Who is still to be told, and when.
    due: BTreeMap<AccountId, Instant>,
}

/// See the file's story.
pub(crate) struct Speaking {
    settings: LiveSettings,
    app: AppState,
    typing: BTreeMap<AccountId, Typing>,
    here: Option<Here>,
    /// Whoever opens and leaves the app all the time begins no round before.
    next_round_at: Option<Instant>,
    /// Who was told that we are online, and when.
    told: BTreeMap<AccountId, Instant>,
    at_once: VecDeque<(AccountId, Signal)>,
}

impl Speaking {
    /// Of nothing yet.
    pub(crate) const fn new() -> Self {
        Self {
            settings: LiveSettings { typing: false, presence: false },
            app: AppState::Background,
            typing: BTreeMap::new(),
            here: None,
            next_round_at: None,
            told: BTreeMap::new(),
            at_once: VecDeque::new(),
        }
    }

    /// The switches stand otherwise.
    pub(crate) fn heed(&mut self, settings: LiveSettings, now: Instant) {
        self.settings = settings;
        if !settings.typing {
            self.stop_all(now);
            self.typing.clear();
        }
        self.come_or_go(now);
    }

    /// The app came before its user, or went.
    pub(crate) fn app_is(&mut self, app: AppState, now: Instant) {
        self.app = app;
        if app == AppState::Background {
            self.stop_all(now);
        }
        self.come_or_go(now);
    }

    fn stop_all(&mut self, now: Instant) {
        let conversations: Vec<_> = self.typing.keys().copied().collect();
        for with in conversations {
            self.stop(&with, now);
        }
    }

    fn come_or_go(&mut self, now: Instant) {
        let is_here = self.settings.presence && self.app == AppState::Foreground;
        if is_here && self.here.is_none() {
            let round_at = self.next_round_at.map_or(now, |at| at.max(now));
            self.here = Some(Here { round_at, due: BTreeMap::new() });
        }
        if !is_here && self.here.take().is_some() {
            let told = std::mem::take(&mut self.told).into_iter();
            let told = told.filter(|(_, at)| now.saturating_duration_since(*at) < ONLINE_SHOWN);
            self.at_once.extend(told.map(|(who, _)| (who, Signal::Offline)));
        }
    }

    /// Somebody types in the conversation with a contact.
    pub(crate) fn type_to(&mut self, with: AccountId, now: Instant, chance: &Chance<'_>) {
        self.typing.retain(|_, typing| match typing {
            Typing::Quiet { again_at } => *again_at > now,
            Typing::Told { shown_until, .. } => *shown_until > now,
            Typing::Beginning { .. } | Typing::Repeating { .. } => true,
        });
        let is_new = !self.typing.contains_key(&with);
        if !self.settings.typing || (is_new && self.typing.len() >= CONVERSATIONS_MAX) {
            return;
        }
        let moment = now + chance.duration(Duration::ZERO, BEGIN_WITHIN);
        let typing = self.typing.entry(with).or_insert(Typing::Quiet { again_at: now });
        *typing = match *typing {
            Typing::Quiet { again_at } => Typing::Beginning { leaves_at: moment.max(again_at) },
            Typing::Told { again_at, shown_until } if again_at <= now => {
                Typing::Repeating { leaves_at: moment, shown_until }
            }
            other => other,
        };
    }

    /// Nobody types there any more, or it is said. Says whether that is to be told.
    pub(crate) fn stop(&mut self, with: &AccountId, now: Instant) -> bool {
        let Some(typing) = self.typing.get_mut(with) else { return false };
        let (again_at, is_shown) = match *typing {
            Typing::Quiet { again_at } => (again_at, false),
            Typing::Beginning { leaves_at } => (leaves_at, false),
            Typing::Told { again_at, shown_until } | Typing::Repeating { leaves_at: again_at, shown_until } => {
                (again_at, shown_until > now)
            }
        };
        *typing = Typing::Quiet { again_at };
        if is_shown {
            self.at_once.push_back((*with, Signal::Stopped));
        }
        is_shown
    }

    /// These are to be told that we are online, in this round.
    pub(crate) fn round(&mut self, listeners: &[AccountId], now: Instant, chance: &Chance<'_>) {
        let Some(here) = &mut self.here else { return };
        let listeners = listeners.iter().take(TOLD_MAX);
        here.due = listeners.map(|who| (*who, now + chance.duration(Duration::ZERO, ROUND))).collect();
        here.round_at = now + chance.duration(NEXT_ROUND_MIN, NEXT_ROUND_MAX);
        self.next_round_at = Some(now + ROUND);
        self.told.retain(|_, at| now.saturating_duration_since(*at) < ONLINE_SHOWN);
    }

    /// A contact has come online: one of those whom we tell hears soon that we are.
    pub(crate) fn somebody_is_online(&mut self, who: &AccountId, now: Instant, chance: &Chance<'_>) {
        let Some(here) = &mut self.here else { return };
        let was_told_before = self.told.get(who).is_some_and(|at| now.saturating_duration_since(*at) >= ANSWER_AFTER);
        if was_told_before {
            let moment = now + chance.duration(Duration::ZERO, ANSWER_WITHIN);
            here.due.entry(*who).or_insert(moment);
        }
    }

    /// The next thing that is due: drain to `None` after everything that is fed.
    pub(crate) fn poll_action(&mut self, now: Instant, chance: &Chance<'_>) -> Option<Action> {
        if let Some((who, signal)) = self.at_once.pop_front() {
            return Some(Action::Tell(who, signal));
        }
        for (with, typing) in &mut self.typing {
            if let Typing::Beginning { leaves_at } | Typing::Repeating { leaves_at, .. } = *typing
                && leaves_at <= now
            {
                let again_at = now + chance.duration(TYPING_AGAIN_MIN, TYPING_AGAIN_MAX);
                *typing = Typing::Told { again_at, shown_until: now + TYPING_SHOWN };
                return Some(Action::Tell(*with, Signal::Typing));
            }
        }
        let here = self.here.as_mut()?;
        if let Some(who) = here.due.iter().find(|(_, at)| **at <= now).map(|(who, _)| *who) {
            here.due.remove(&who);
            self.told.insert(who, now);
            return Some(Action::Tell(who, Signal::Online));
        }
        // Where nobody can be told now it is looked again.
        (here.round_at <= now).then(|| {
            here.round_at = now + LOOK_AGAIN;
            Action::FindListeners
        })
    }

    /// When something is due next.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        let typing = self.typing.values().filter_map(|typing| match typing {
            Typing::Beginning { leaves_at } | Typing::Repeating { leaves_at, .. } => Some(*leaves_at),
            Typing::Quiet { .. } | Typing::Told { .. } => None,
        });
        let here = self.here.iter().flat_map(|here| here.due.values().copied().chain([here.round_at]));
        typing.chain(here).min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::world::SystemRng;

    const BOB: AccountId = AccountId::from_bytes([2; 32]);
    const BOTH: LiveSettings = LiveSettings { typing: true, presence: true };
    const STEP: Duration = Duration::from_millis(100);

    /// Somebody who speaks, on a clock of their own.
    struct Voice {
        speaking: Speaking,
        begin: Instant,
        now: Instant,
    }

    impl Voice {
        fn with(settings: LiveSettings) -> Self {
            let (mut speaking, now) = (Speaking::new(), Instant::now());
            speaking.heed(settings, now);
            Self { speaking, begin: now, now }
        }

        fn types(&mut self) {
            self.speaking.type_to(BOB, self.now, &Chance(&SystemRng));
        }

        /// What is done now.
        fn said(&mut self) -> Vec<Action> {
            std::iter::from_fn(|| self.speaking.poll_action(self.now, &Chance(&SystemRng))).collect()
        }

        /// Time passes; says when what was done, in milliseconds since the beginning.
        fn pass(&mut self, duration: Duration, mut every: impl FnMut(&mut Self)) -> Vec<(u128, Action)> {
            let (end, mut done) = (self.now + duration, Vec::new());
            while self.now < end {
                self.now += STEP;
                every(self);
                let at = self.now.duration_since(self.begin).as_millis();
                done.extend(self.said().into_iter().map(|action| (at, action)));
            }
            done
        }

        fn signals(&mut self, duration: Duration, every: impl FnMut(&mut Self)) -> Vec<(u128, Signal)> {
            let done = self.pass(duration, every).into_iter();
            done.map(|(at, action)| match action {
                Action::Tell(_, signal) => (at, signal),
                Action::FindListeners => unreachable!("nobody is told that we are online"),
            })
            .collect()
        }
    }

    fn accounts(count: u8) -> Vec<AccountId> {
        (0..count).map(|number| AccountId::from_bytes([number; 32])).collect()
    }

    #[test]
    fn typing_is_told_every_few_seconds_however_fast_somebody_types() {
        let mut voice = Voice::with(BOTH);
        let told = voice.signals(Duration::from_secs(60), Voice::types);
        assert!(told.iter().all(|(_, signal)| *signal == Signal::Typing));
        assert!(told[0].0 <= 700, "{told:?}");
        for pair in told.windows(2) {
            assert!((3_000..=5_300).contains(&(pair[1].0 - pair[0].0)), "{told:?}");
        }
    }

    #[test]
    fn the_moments_are_drawn() {
        let (begin, again): (BTreeSet<_>, BTreeSet<_>) = (0..20)
            .map(|_| {
                let mut voice = Voice::with(BOTH);
                voice.types();
                let leaves = voice.speaking.next_wakeup().unwrap();
                assert!(leaves <= voice.now + BEGIN_WITHIN);
                voice.now = leaves;
                assert_eq!(voice.said(), [Action::Tell(BOB, Signal::Typing)]);
                let Some(Typing::Told { again_at, .. }) = voice.speaking.typing.get(&BOB) else { unreachable!() };
                (leaves.duration_since(voice.begin), again_at.duration_since(leaves))
            })
            .unzip();
        assert!(begin.len() > 10 && again.len() > 10, "{begin:?} {again:?}");
    }

    #[test]
    fn what_ends_is_told_at_once_and_only_where_it_was_told_that_it_began() {
        let mut voice = Voice::with(BOTH);
        voice.types();
        voice.speaking.stop(&BOB, voice.now);
        assert!(voice.signals(Duration::from_secs(10), |_| {}).is_empty(), "nobody has heard of it");
        voice.types();
        voice.signals(Duration::from_secs(1), |_| {});
        voice.speaking.stop(&BOB, voice.now);
        assert_eq!(voice.said(), [Action::Tell(BOB, Signal::Stopped)]);
        voice.speaking.stop(&BOB, voice.now);
        assert!(voice.said().is_empty(), "once");
        voice.types();
        voice.signals(Duration::from_secs(15), |_| {});
        voice.speaking.stop(&BOB, voice.now);
        assert!(voice.said().is_empty(), "it has ended by itself there");
    }

    #[test]
    fn who_begins_and_stops_all_the_time_tells_no_more_of_it() {
        let mut voice = Voice::with(BOTH);
        let told = voice.signals(Duration::from_secs(60), |voice| {
            voice.types();
            if voice.now.duration_since(voice.begin).as_millis() % 1_000 == 0 {
                voice.speaking.stop(&BOB, voice.now);
            }
        });
        assert!(told.len() <= 40, "{told:?}");
        let began: Vec<_> = told.iter().filter(|(_, signal)| *signal == Signal::Typing).collect();
        assert!(began.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 3_000), "{told:?}");
    }

    #[test]
    fn nothing_is_told_unless_it_is_switched_on() {
        let mut voice = Voice::with(LiveSettings::default());
        voice.speaking.app_is(AppState::Foreground, voice.now);
        assert!(voice.pass(Duration::from_secs(300), Voice::types).is_empty());
        assert_eq!(voice.speaking.next_wakeup(), None);
        let mut voice = Voice::with(LiveSettings { typing: false, presence: true });
        voice.speaking.app_is(AppState::Foreground, voice.now);
        let done = voice.pass(Duration::from_secs(30), Voice::types);
        assert!(done.iter().all(|(_, action)| *action == Action::FindListeners) && !done.is_empty());
        let mut voice = Voice::with(LiveSettings { typing: true, presence: false });
        voice.speaking.app_is(AppState::Foreground, voice.now);
        assert!(!voice.signals(Duration::from_secs(5), Voice::types).is_empty());
    }

    #[test]
    fn switching_off_and_leaving_the_app_ends_what_is_shown() {
        let switch_off = |voice: &mut Voice| voice.speaking.heed(LiveSettings::default(), voice.now);
        let leave = |voice: &mut Voice| voice.speaking.app_is(AppState::Background, voice.now);
        for end in [&switch_off as &dyn Fn(&mut Voice), &leave] {
            let mut voice = Voice::with(BOTH);
            voice.speaking.app_is(AppState::Foreground, voice.now);
            assert_eq!(voice.said(), [Action::FindListeners]);
            voice.speaking.round(&[BOB], voice.now, &Chance(&SystemRng));
            voice.pass(Duration::from_secs(11), Voice::types);
            end(&mut voice);
            let ends = [Action::Tell(BOB, Signal::Stopped), Action::Tell(BOB, Signal::Offline)];
            assert_eq!(voice.said(), ends);
            assert!(voice.pass(Duration::from_secs(300), |_| {}).is_empty(), "nothing goes on");
        }
    }

    #[test]
    fn each_of_a_few_hears_in_every_round_that_we_are_online_and_no_two_at_once() {
        let mut voice = Voice::with(BOTH);
        voice.speaking.app_is(AppState::Foreground, voice.now);
        let everybody = accounts(100);
        let mut rounds = Vec::new();
        for _ in 0..6_000 {
            voice.now += STEP;
            for action in voice.said() {
                match action {
                    Action::FindListeners => {
                        rounds.push((voice.now, Vec::new()));
                        voice.speaking.round(&everybody, voice.now, &Chance(&SystemRng));
                    }
                    Action::Tell(who, signal) => {
                        assert_eq!(signal, Signal::Online);
                        rounds.last_mut().unwrap().1.push((who, voice.now));
                    }
                }
            }
        }
        assert!((4..=7).contains(&rounds.len()), "{}", rounds.len());
        for (begun, told) in &rounds[..rounds.len() - 1] {
            assert_eq!(told.len(), TOLD_MAX);
            assert!(told.iter().all(|(_, at)| at.duration_since(*begun) <= ROUND + STEP));
            let moments: BTreeSet<_> = told.iter().map(|(_, at)| at).collect();
            assert!(moments.len() > 10, "they are spread");
        }
        assert!(voice.speaking.told.len() <= TOLD_MAX);
    }

    #[test]
    fn who_comes_online_hears_soon_that_we_are_if_they_are_told_at_all() {
        let mut voice = Voice::with(BOTH);
        let chance = Chance(&SystemRng);
        voice.speaking.app_is(AppState::Foreground, voice.now);
        voice.said();
        voice.speaking.round(&[BOB], voice.now, &chance);
        voice.pass(ROUND + STEP, |_| {});
        let stranger = AccountId::from_bytes([9; 32]);
        voice.speaking.somebody_is_online(&BOB, voice.now, &chance);
        voice.speaking.somebody_is_online(&stranger, voice.now, &chance);
        assert!(voice.pass(Duration::from_secs(19), |_| {}).is_empty(), "they have heard it just now");
        voice.pass(Duration::from_secs(15), |_| {});
        for _ in 0..5 {
            voice.speaking.somebody_is_online(&BOB, voice.now, &chance);
            voice.speaking.somebody_is_online(&stranger, voice.now, &chance);
        }
        let told = voice.pass(ANSWER_WITHIN + STEP, |_| {});
        assert_eq!(told.into_iter().map(|(_, action)| action).collect::<Vec<_>>(), [Action::Tell(BOB, Signal::Online)]);
    }

    #[test]
    fn who_opens_and_leaves_the_app_all_the_time_tells_no_more_of_it() {
        let (mut voice, mut rounds) = (Voice::with(BOTH), 0);
        for step in 0..600 {
            let app = if step % 10 < 5 { AppState::Foreground } else { AppState::Background };
            voice.speaking.app_is(app, voice.now);
            if voice.said().contains(&Action::FindListeners) {
                rounds += 1;
                voice.speaking.round(&[BOB], voice.now, &Chance(&SystemRng));
            }
            voice.now += STEP;
        }
        assert!((5..=7).contains(&rounds), "{rounds} in a minute");
    }

    #[test]
    fn where_nobody_can_be_told_now_it_is_looked_again() {
        let mut voice = Voice::with(BOTH);
        voice.speaking.app_is(AppState::Foreground, voice.now);
        let looks = voice.pass(Duration::from_secs(20), |_| {});
        assert!((3..=5).contains(&looks.len()), "{looks:?}");
    }

    #[test]
    fn of_more_conversations_than_anybody_types_in_nobody_is_told() {
        let mut voice = Voice::with(BOTH);
        for who in accounts(100) {
            voice.speaking.type_to(who, voice.now, &Chance(&SystemRng));
        }
        voice.now += BEGIN_WITHIN;
        assert_eq!(voice.said().len(), CONVERSATIONS_MAX);
        voice.now += Duration::from_secs(20);
        voice.types();
        assert_eq!(voice.speaking.typing.len(), 1, "what is over makes room");
    }
}
