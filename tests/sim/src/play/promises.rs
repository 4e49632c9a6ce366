//! What must be true, whatever happens: all the time, and in the end, when everything that is not dead was mended and time has passed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sotto_core::records::{Kind, Message, MessageState};

use crate::schedule::PEOPLE;

/// One promise that can be broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Promise {
    /// What was said arrives.
    EverythingArrives,
    /// Nothing is shown twice.
    NothingComesTwice,
    /// What one person says comes in the order in which they said it.
    OrderIsKept,
    /// Nothing waits for ever between people who can reach each other.
    NothingIsStuck,
    /// What is shown as delivered is there.
    DeliveredIsTrue,
    /// What was said stays with who said it.
    OwnWordsStay,
    /// Nobody shows what nobody said.
    NothingIsInvented,
    /// Both are contacts, or none.
    ContactsAgree,
    /// No key of a ratchet is used twice.
    RatchetsMoveOn,
    /// No one-time key is handed out to two, and none begins two sessions.
    KeysServeOnce,
    /// A device opens, and does what it is asked.
    DevicesWork,
    /// No bad input, and no moment, makes a device or a relay panic.
    NothingPanics,
}

/// A promise that was broken, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.promise, self.what)
    }
}

/// Shorthand for a broken promise.
pub(super) fn broken<T>(promise: Promise, what: String) -> Result<T, Violation> {
    Err(Violation { promise, what })
}

/// A text that somebody said, and that their device has stored.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) text: String,
    /// The furthest that its sender saw it.
    pub(super) seen: MessageState,
    /// Its sender's device was restored from a copy that does not have it.
    pub(super) is_forgotten: bool,
    /// Its recipient's device was, and is to get it again.
    pub(super) is_owed: bool,
}

/// What one device shows of a conversation: with whom, and what.
pub(super) type Transcript = BTreeMap<usize, Vec<Message>>;

/// Everything that was said.
pub(super) struct Ledger {
    pub(super) said: Vec<Said>,
}

impl Ledger {
    /// What somebody said to somebody, in order.
    fn between(&self, from: usize, to: usize) -> impl Iterator<Item = &Said> {
        self.said.iter().filter(move |said| said.from == from && said.to == to)
    }

    /// Somebody's device is again as it was when so much had been said.
    pub(super) fn is_restored(&mut self, person: usize, said_then: usize) {
        for (place, said) in self.said.iter_mut().enumerate() {
            if said.from == person {
                said.is_forgotten |= place >= said_then;
                said.seen = MessageState::Queued;
            }
            said.is_owed |= said.to == person;
        }
    }

    /// What is true at every moment. `shown` is what devices show: whose, and what.
    pub(super) fn look(&mut self, shown: &[(usize, Transcript)]) -> Result<(), Violation> {
        for (person, transcript) in shown {
            for (with, messages) in transcript {
                self.look_at_own(*person, *with, messages)?;
                self.look_at_theirs(*person, *with, messages)?;
            }
        }
        self.delivered_is_true(shown)
    }

    fn look_at_own(&mut self, person: usize, with: usize, messages: &[Message]) -> Result<(), Violation> {
        let own: Vec<&Message> = messages.iter().filter(|message| message.state != MessageState::Received).collect();
        let said = self.between(person, with).filter(|said| !said.is_forgotten);
        let said: Vec<&str> = said.map(|said| said.text.as_str()).collect();
        let kept: Vec<&str> = own.iter().map(|message| message.text.as_str()).collect();
        if said != kept {
            let what = format!("{} said {said:?} to {}, and has {kept:?}", PEOPLE[person], PEOPLE[with]);
            return broken(Promise::OwnWordsStay, what);
        }
        let said = self.said.iter_mut().filter(|said| said.from == person && said.to == with && !said.is_forgotten);
        for (said, message) in said.zip(own) {
            if matches!(message.state, MessageState::Failed(_)) {
                let what = format!("“{}” has failed: {:?}", said.text, message.state);
                return broken(Promise::EverythingArrives, what);
            }
            if rank(message.state) < rank(said.seen) {
                let what = format!("“{}” was {:?} and is {:?}", said.text, said.seen, message.state);
                return broken(Promise::NothingIsStuck, what);
            }
            said.seen = message.state;
        }
        Ok(())
    }

    fn look_at_theirs(&self, person: usize, with: usize, messages: &[Message]) -> Result<(), Violation> {
        // A place that waits for its text says nothing yet.
        let is_text = |message: &&Message| message.state == MessageState::Received && message.kind == Kind::Text;
        let theirs = messages.iter().filter(is_text);
        let shown: Vec<&str> = theirs.map(|message| message.text.as_str()).collect();
        let places: BTreeMap<&str, usize> =
            self.between(with, person).enumerate().map(|(place, said)| (said.text.as_str(), place)).collect();
        let mut seen = BTreeSet::new();
        let mut last = None;
        for text in shown {
            let whose = || format!("{} shows “{text}” of {}'s", PEOPLE[person], PEOPLE[with]);
            let Some(place) = places.get(text) else {
                return broken(Promise::NothingIsInvented, whose() + ", which nobody said");
            };
            if !seen.insert(place) {
                return broken(Promise::NothingComesTwice, whose() + " twice");
            }
            if last.is_some_and(|last| last > place) {
                return broken(Promise::OrderIsKept, whose() + " behind a later one");
            }
            last = Some(place);
        }
        Ok(())
    }

    fn delivered_is_true(&self, shown: &[(usize, Transcript)]) -> Result<(), Violation> {
        for said in &self.said {
            let is_delivered = matches!(said.seen, MessageState::Delivered | MessageState::Read);
            let mut devices = shown.iter().filter(|(person, _)| *person == said.to).peekable();
            if !is_delivered || said.is_forgotten || said.is_owed || devices.peek().is_none() {
                continue;
            }
            if !devices.any(|(_, transcript)| has(transcript, said)) {
                let what = format!("{} sees “{}” as {:?}", PEOPLE[said.from], said.text, said.seen);
                return broken(Promise::DeliveredIsTrue, format!("{what}, and {} does not have it", PEOPLE[said.to]));
            }
        }
        Ok(())
    }

    /// The first thing that is not yet as it must be in the end.
    pub(super) fn missing(&self, shown: &[(usize, Transcript)]) -> Option<Violation> {
        for said in self.said.iter().filter(|said| !said.is_forgotten) {
            for (_, transcript) in shown.iter().filter(|(person, _)| *person == said.to) {
                if !has(transcript, said) {
                    let what = format!("“{}” ({:?}) is not with {}", said.text, said.seen, PEOPLE[said.to]);
                    return Some(Violation { promise: Promise::EverythingArrives, what });
                }
            }
            if matches!(said.seen, MessageState::Queued | MessageState::Sending) {
                let what = format!("“{}” is still {:?}", said.text, said.seen);
                return Some(Violation { promise: Promise::NothingIsStuck, what });
            }
        }
        None
    }
}

fn has(transcript: &Transcript, said: &Said) -> bool {
    let is_it = |message: &Message| message.state == MessageState::Received && message.text == said.text;
    transcript.get(&said.from).is_some_and(|messages| messages.iter().any(is_it))
}

/// How far a message is: it never goes back.
fn rank(state: MessageState) -> u8 {
    match state {
        MessageState::Queued => 0,
        MessageState::Sending => 1,
        MessageState::Sent => 2,
        MessageState::Delivered => 3,
        MessageState::Read => 4,
        MessageState::Failed(_) | MessageState::Received => 5,
    }
}
