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
    /// No device becomes another one that was not restored from a copy.
    NobodyIsReplaced,
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
    /// On which of their devices.
    pub(super) device: usize,
    pub(super) to: usize,
    pub(super) text: String,
    /// The furthest that its sender saw it.
    pub(super) seen: MessageState,
    /// Its sender's device was restored from a copy that does not have it: as far as that had got by then.
    pub(super) forgotten: Option<MessageState>,
    /// A device of its recipient's was, and is to get it again.
    pub(super) is_owed: bool,
    /// Its sender's device knew every device of its recipient's by then. What was put for one of before, when those were restored already, is heard
    /// by the one in its place only from a sender who still holds it.
    pub(super) is_addressed: bool,
}

/// What one device shows of a conversation: with whom, and what.
pub(super) type Transcript = BTreeMap<usize, Vec<Message>>;

/// What one device shows, and whose it is.
pub(super) struct Shown {
    pub(super) device: usize,
    pub(super) person: usize,
    pub(super) transcript: Transcript,
}

/// Everything that was said.
pub(super) struct Ledger {
    /// Whose device each device is.
    pub(super) devices: Vec<usize>,
    /// How much had been said when the account's list named a device: what is said from then on comes to it, and what was before need not.
    pub(super) known_from: BTreeMap<usize, usize>,
    pub(super) said: Vec<Said>,
    /// A relay has lost what it had taken: what nobody else holds is lost with that.
    pub(super) is_mail_lost: bool,
}

impl Ledger {
    /// What somebody said to somebody, in order.
    fn between(&self, from: usize, to: usize) -> impl Iterator<Item = &Said> {
        self.said.iter().filter(move |said| said.from == from && said.to == to)
    }

    /// A device is again as it was when so much had been said.
    pub(super) fn is_restored(&mut self, device: usize, said_then: usize) {
        for (place, said) in self.said.iter_mut().enumerate() {
            if said.device == device {
                if place >= said_then && said.forgotten.is_none() {
                    said.forgotten = Some(said.seen);
                }
                said.seen = MessageState::Queued;
            }
            said.is_owed |= said.to == self.devices[device];
        }
    }

    /// What is true at every moment. `shown` is what devices show: whose, and what.
    pub(super) fn look(&mut self, shown: &[Shown]) -> Result<(), Violation> {
        for Shown { device, person, transcript } in shown {
            for (with, messages) in transcript {
                self.look_at_own((*device, *person), *with, messages)?;
                self.look_at_others(*person, *device, *with, messages)?;
                self.look_at_theirs(*person, *with, messages)?;
            }
        }
        self.delivered_is_true(shown)
    }

    /// What somebody has said on this device.
    fn look_at_own(
        &mut self,
        (device, person): (usize, usize),
        with: usize,
        messages: &[Message],
    ) -> Result<(), Violation> {
        let said = self.between(person, with).filter(|said| said.device == device && said.forgotten.is_none());
        let said: Vec<&str> = said.map(|said| said.text.as_str()).collect();
        let here: BTreeSet<&str> = said.iter().copied().collect();
        let is_own = |message: &&Message| message.state != MessageState::Received && here.contains(&*message.text);
        let own: Vec<&Message> = messages.iter().filter(is_own).collect();
        let kept: Vec<&str> = own.iter().map(|message| message.text.as_str()).collect();
        if said != kept {
            let what = format!("{} said {said:?} to {}, and has {kept:?}", PEOPLE[person], PEOPLE[with]);
            return broken(Promise::OwnWordsStay, what);
        }
        let is_it = |said: &&mut Said| {
            said.from == person && said.to == with && said.device == device && said.forgotten.is_none()
        };
        let said = self.said.iter_mut().filter(is_it);
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

    /// What they have said on others: of each once, in its order.
    fn look_at_others(&self, person: usize, device: usize, with: usize, messages: &[Message]) -> Result<(), Violation> {
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<usize, usize> = BTreeMap::new();
        // Each device numbers what it sends, whomever it is to; of one conversation that is the order in which it was said.
        for message in messages.iter().filter(|message| message.state != MessageState::Received) {
            let whose = || format!("{} shows their own “{}”", PEOPLE[person], message.text);
            let found = self.between(person, with).enumerate().find(|(_, said)| said.text == message.text);
            let Some((place, said)) = found else {
                return broken(Promise::NothingIsInvented, whose() + ", which they never said");
            };
            if !seen.insert(place) {
                return broken(Promise::NothingComesTwice, whose() + " twice");
            }
            if said.device != device && last.insert(said.device, place).is_some_and(|last| last > place) {
                return broken(Promise::OrderIsKept, whose() + " behind a later one");
            }
        }
        Ok(())
    }

    fn look_at_theirs(&self, person: usize, with: usize, messages: &[Message]) -> Result<(), Violation> {
        // A place that waits for its text says nothing yet.
        let is_text = |message: &&Message| message.state == MessageState::Received && message.kind == Kind::Text;
        let theirs = messages.iter().filter(is_text);
        let shown: Vec<&str> = theirs.map(|message| message.text.as_str()).collect();
        let places: BTreeMap<&str, (usize, usize)> = self
            .between(with, person)
            .enumerate()
            .map(|(place, said)| (said.text.as_str(), (place, said.device)))
            .collect();
        let mut seen = BTreeSet::new();
        let mut last: BTreeMap<usize, usize> = BTreeMap::new();
        for text in shown {
            let whose = || format!("{} shows “{text}” of {}'s", PEOPLE[person], PEOPLE[with]);
            let Some((place, device)) = places.get(text) else {
                return broken(Promise::NothingIsInvented, whose() + ", which nobody said");
            };
            if !seen.insert(place) {
                return broken(Promise::NothingComesTwice, whose() + " twice");
            }
            // One device's words stand in its order; those of two come as they come.
            if last.insert(*device, *place).is_some_and(|last| last > *place) {
                return broken(Promise::OrderIsKept, whose() + " behind a later one");
            }
        }
        Ok(())
    }

    fn delivered_is_true(&self, shown: &[Shown]) -> Result<(), Violation> {
        for said in &self.said {
            let is_delivered = matches!(said.seen, MessageState::Delivered | MessageState::Read);
            let is_known = |shown: &&Shown| self.known_from.contains_key(&shown.device);
            let mut devices = shown.iter().filter(|shown| shown.person == said.to).filter(is_known);
            // One that is off may be the one that has it.
            let is_theirs = |device: &&usize| self.devices[**device] == said.to;
            let are_all_on = devices.clone().count() == self.known_from.keys().filter(is_theirs).count();
            if !is_delivered || said.forgotten.is_some() || said.is_owed || !are_all_on {
                continue;
            }
            if !devices.any(|shown| has(&shown.transcript, said)) {
                let what = format!("{} sees “{}” as {:?}", PEOPLE[said.from], said.text, said.seen);
                return broken(Promise::DeliveredIsTrue, format!("{what}, and {} does not have it", PEOPLE[said.to]));
            }
        }
        Ok(())
    }

    /// The first thing that is not yet as it must be in the end, but between others and whoever nothing goes to any more.
    pub(super) fn missing(&self, shown: &[Shown], forked: Option<usize>) -> Option<Violation> {
        let is_second = |device: usize| self.devices[..device].contains(&self.devices[device]);
        // What relays had taken of a device of before is heard, unless whoever got it has lost it too.
        let is_heard = |state| matches!(state, MessageState::Sent | MessageState::Delivered) && !self.is_mail_lost;
        for (place, said) in self.said.iter().enumerate() {
            if forked.is_some_and(|person| said.from == person || said.to == person) {
                continue;
            }
            if said.forgotten.is_some_and(|state| said.is_owed || !said.is_addressed || !is_heard(state)) {
                continue;
            }
            let knew = |shown: &&Shown| self.known_from.get(&shown.device).is_some_and(|from| *from <= place);
            for shown in shown.iter().filter(|shown| shown.person == said.to).filter(knew) {
                if !has(&shown.transcript, said) {
                    let where_else = if is_second(shown.device) { " on their second device" } else { "" };
                    let (text, seen, to) = (&said.text, said.seen, PEOPLE[said.to]);
                    let what = format!("“{text}” ({seen:?}) is not with {to}{where_else}");
                    return Some(Violation { promise: Promise::EverythingArrives, what });
                }
            }
            if said.forgotten.is_some() {
                continue;
            }
            for shown in shown.iter().filter(|shown| shown.person == said.from).filter(knew) {
                let is_it = |message: &Message| message.state != MessageState::Received && message.text == said.text;
                if !shown.transcript.get(&said.to).is_some_and(|messages| messages.iter().any(is_it)) {
                    let what = format!("“{}” is not on another device of {}'s", said.text, PEOPLE[said.from]);
                    return Some(Violation { promise: Promise::EverythingArrives, what });
                }
            }
            // Whoever has heard of it says so, within a day at most.
            if matches!(said.seen, MessageState::Queued | MessageState::Sending | MessageState::Sent) {
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
