//! Two people say a thousand things each while their relays and both devices are killed (SIGKILL) on the way.
//!
//! Moments are counted in texts, not in seconds: a kill comes when so many texts have been said and seen, and what was killed comes back
//! when so many more have, or when nothing else can happen. What was killed is started on what is on its disk. Where a device was
//! killed while it said something, its person looks at the transcript and says the rest, as a careful script would.
//!
//! What must hold: each device shows each text of the other at least once and never before an earlier one; in the end both transcripts
//! hold every text once, in its sender's order, with the same ids. With several relays, which both people have, what went to one of them
//! can overtake what waits at another: then a text may show before an earlier one, which takes its place in the transcript when it comes.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::chance::Chance;
use crate::process::{Finished, PATIENCE, Process, Profile, Relay};

const NAMES: [&str; 2] = ["alice", "bob"];
/// What was killed stays away for at most this part of all texts.
const AWAY: usize = 20;

/// How much is said, and how much is killed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where the moments come from.
    pub seed: u64,
    /// Texts each way.
    pub texts: usize,
    /// How many relays there are; both people have all of them, in the same order.
    pub relays: usize,
    /// How often a relay is killed.
    pub relay_kills: usize,
    /// How often each device is killed.
    pub device_kills: usize,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// Texts in each transcript.
    pub texts: usize,
    /// Times that a relay was killed.
    pub relay_kills: usize,
    /// Times that a device was killed.
    pub device_kills: usize,
    /// Times that a device was killed while it was saying something.
    pub cut_short: usize,
    /// Texts that a device had stored and not shown when it was killed, or shown and not written down: shown (again) when it came back.
    pub shown_again: usize,
    /// From the first text to the last.
    pub elapsed: Duration,
}

/// What went wrong, in words.
#[derive(Debug)]
pub struct Violation(pub String);

impl From<io::Error> for Violation {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Plays it, and tells the story line by line.
///
/// # Errors
/// The first thing that must not be.
pub fn play(binary: &Path, plan: &Plan, tell: &mut dyn FnMut(&str)) -> Result<Numbers, Violation> {
    let directory = tempfile::tempdir()?;
    let mut stage = Stage::set(binary, directory.path(), plan, tell)?;
    stage.talk()?;
    stage.compare()
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    Relay(usize),
    Device(usize),
}

/// A kill, and when it comes, in texts said and seen.
struct Kill {
    at: usize,
    target: Target,
}

impl Plan {
    /// In the order of their moments. The first and the last tenth are left alone: a kill is to be followed by something.
    ///
    /// The first kill of each device comes before so many texts were said and seen as one person says: so it cuts somebody short.
    fn kills(&self, chance: &mut Chance) -> Vec<Kill> {
        let steps = 4 * self.texts;
        let (first, last) = (steps / 10, steps - steps / 10);
        let relay: Vec<_> =
            (0..self.relay_kills).map(|_| (Target::Relay(chance.between(0, self.relays)), last)).collect();
        let devices = [0, 1].into_iter().flat_map(|person| {
            (0..self.device_kills).map(move |kill| (Target::Device(person), if kill == 0 { self.texts } else { last }))
        });
        let mut kills: Vec<Kill> = relay
            .into_iter()
            .chain(devices)
            .map(|(target, before)| Kill { at: chance.between(first, before), target })
            .collect();
        kills.sort_by_key(|kill| kill.at);
        kills
    }

    /// Whether texts come in the order in which they were said.
    const fn comes_in_order(&self) -> bool {
        self.relays == 1
    }

    /// Whether everything that was planned has happened.
    fn check(&self, numbers: &Numbers) -> Result<(), Violation> {
        let happened = (numbers.relay_kills, numbers.device_kills);
        if happened != (self.relay_kills, 2 * self.device_kills) {
            return Err(Violation(format!("{happened:?} kills of relay and devices are not those that were planned")));
        }
        if self.device_kills > 0 && numbers.cut_short < 2 {
            return Err(Violation("no kill cut both short while they were saying something".to_owned()));
        }
        Ok(())
    }
}

/// What processes report.
enum Report {
    Line { person: usize, line: String },
    StayEnded { person: usize },
    SayEnded { person: usize },
}

/// Somebody with a device.
struct Person {
    profile: Profile,
    account: String,
    staying: Option<Process>,
    saying: Option<Process>,
    /// Texts of theirs that are stored on their device.
    said: usize,
    /// How many texts of the other their device has shown.
    seen: usize,
    /// Their numbers.
    shown: BTreeSet<usize>,
}

struct Stage<'a> {
    plan: &'a Plan,
    chance: Chance,
    relays: Vec<Relay>,
    people: [Person; 2],
    reports: Receiver<Report>,
    sender: Sender<Report>,
    /// What is away, and the moment at which it comes back.
    away: Vec<(Target, usize)>,
    numbers: Numbers,
    tell: &'a mut dyn FnMut(&str),
}

impl<'a> Stage<'a> {
    fn set(binary: &Path, directory: &Path, plan: &'a Plan, tell: &'a mut dyn FnMut(&str)) -> Result<Self, Violation> {
        let relays = (0..plan.relays).map(|relay| Relay::start(binary, &directory.join(format!("relay {relay}"))));
        let relays = relays.collect::<io::Result<Vec<_>>>()?;
        let mut people = Vec::new();
        for name in NAMES {
            let profile = Profile::at(binary, &directory.join(name));
            let mut words = vec!["--json", "init", "--name", name];
            relays.iter().for_each(|relay| words.extend(["--relay", relay.address()]));
            let account = objects(profile.run(&words)?)?;
            let account = text_of(&account, "account")?;
            let shown = BTreeSet::new();
            people.push(Person { profile, account, staying: None, saying: None, said: 0, seen: 0, shown });
        }
        let people = people.try_into().map_err(|_| Violation("two people".to_owned()))?;
        let (sender, reports) = mpsc::channel();
        let chance = Chance::seeded(plan.seed);
        let away = Vec::new();
        let mut stage = Self { plan, chance, relays, people, reports, sender, away, numbers: Numbers::default(), tell };
        stage.introduce()?;
        Ok(stage)
    }

    /// The first stays, they become contacts, and each sees that they are.
    fn introduce(&mut self) -> Result<(), Violation> {
        let mut staying = self.people[0].profile.stay()?;
        let lines = staying.lines();
        let invite = objects(self.people[0].profile.run(&["--json", "invite", "--auto-accept"])?)?;
        objects(self.people[1].profile.run(&["--json", "join", &text_of(&invite, "link")?])?)?;
        let is_contact = |line: &Value| line["kind"] == "contact" && line["state"] == "accepted";
        lines.next_object(is_contact).ok_or_else(|| Violation("alice did not get a contact".to_owned()))?;
        // The answer may come while any of bob's processes is up: asked for until it is there, each time with a look at the relay.
        let begun = Instant::now();
        while !objects(self.people[1].profile.run(&["--json", "contacts"])?)?.iter().any(is_contact) {
            if begun.elapsed() > PATIENCE {
                return Err(Violation("bob did not get a contact".to_owned()));
            }
            self.people[1].profile.run(&["--json", "sync"])?;
        }
        // What follows starts her anew.
        staying.stop()?;
        Ok(())
    }

    fn talk(&mut self) -> Result<(), Violation> {
        let begun = Instant::now();
        self.say(&format!("{} texts each way, seed {}", self.plan.texts, self.plan.seed));
        let mut kills = self.plan.kills(&mut self.chance).into_iter().peekable();
        for person in [0, 1] {
            self.start(Target::Device(person))?;
        }
        while self.people.iter().any(|person| person.said < self.plan.texts || person.seen < self.plan.texts) {
            let report = self.reports.recv_timeout(PATIENCE).map_err(|_| self.stuck())?;
            self.hear(report)?;
            while let Some(kill) = kills.next_if(|kill| kill.at <= self.steps()) {
                self.kill(kill.target)?;
            }
            self.bring_back_who_is_due()?;
        }
        self.numbers.elapsed = begun.elapsed();
        self.plan.check(&self.numbers)?;
        self.say("every text was seen on the other side");
        Ok(())
    }

    /// Texts said and texts seen: what moments are counted in.
    fn steps(&self) -> usize {
        self.people.iter().map(|person| person.said + person.seen).sum()
    }

    fn stuck(&self) -> Violation {
        let count = |person: &Person| format!("said {}, saw {}", person.said, person.seen);
        let [alice, bob] = &self.people;
        Violation(format!("nothing happens any more: alice {}, bob {}", count(alice), count(bob)))
    }

    fn hear(&mut self, report: Report) -> Result<(), Violation> {
        match report {
            Report::Line { person, line } => {
                let object: Value = serde_json::from_str(&line)
                    .map_err(|_| Violation(format!("{} printed no object: {line}", NAMES[person])))?;
                // Not a contact.
                let Some(text) = object["text"].as_str() else { return Ok(()) };
                if object["sender"] == self.people[person].account.as_str() {
                    self.heard_said(person, text)
                } else {
                    self.heard_seen(person, text)
                }
            }
            Report::SayEnded { person } => {
                let Some(process) = self.people[person].saying.take() else { return Ok(()) };
                let status = process.wait()?;
                if status.success() && self.people[person].said == self.plan.texts {
                    self.say(&format!("{} has said everything", NAMES[person]));
                    return Ok(());
                }
                Err(Violation(format!("{} stopped saying things after {}", NAMES[person], self.people[person].said)))
            }
            Report::StayEnded { person } => {
                Err(Violation(format!("the process of {}'s device ended by itself", NAMES[person])))
            }
        }
    }

    /// A text was stored on its sender's device.
    fn heard_said(&mut self, person: usize, text: &str) -> Result<(), Violation> {
        let speaker = &mut self.people[person];
        expect(text, person, speaker.said + 1)?;
        speaker.said += 1;
        Ok(())
    }

    /// A text of the other's was shown.
    fn heard_seen(&mut self, person: usize, text: &str) -> Result<(), Violation> {
        let listener = &mut self.people[person];
        let number = number_of(text, 1 - person)?;
        if !listener.shown.insert(number) {
            self.numbers.shown_again += 1;
            return if self.numbers.device_kills == 0 {
                Err(Violation(format!("{} saw “{text}” twice", NAMES[person])))
            } else {
                Ok(())
            };
        }
        if self.plan.comes_in_order() {
            expect(text, 1 - person, listener.seen + 1)?;
        }
        listener.seen += 1;
        Ok(())
    }

    fn kill(&mut self, target: Target) -> Result<(), Violation> {
        if self.away.iter().any(|(away, _)| *away == target) {
            self.bring_back(target)?;
        }
        match target {
            Target::Relay(relay) => {
                self.relays[relay].kill()?;
                self.numbers.relay_kills += 1;
            }
            Target::Device(person) => {
                let cut_short = self.people[person].saying.take();
                self.numbers.cut_short += usize::from(cut_short.is_some());
                self.numbers.device_kills += 1;
                let processes: Vec<Process> = self.people[person].staying.take().into_iter().chain(cut_short).collect();
                let ends = processes.len();
                processes.into_iter().try_for_each(Process::kill)?;
                self.hear_out(person, ends)?;
            }
        }
        let back_at = self.steps() + self.chance.between(0, 4 * self.plan.texts / AWAY);
        self.away.push((target, back_at));
        self.say(&format!("{} is killed", what(target)));
        Ok(())
    }

    /// Heeds what the processes of a killed device had printed, up to the ends of all of them.
    fn hear_out(&mut self, killed: usize, mut ends: usize) -> Result<(), Violation> {
        while ends > 0 {
            match self.reports.recv_timeout(PATIENCE).map_err(|_| self.stuck())? {
                Report::StayEnded { person } | Report::SayEnded { person } if person == killed => ends -= 1,
                report => self.hear(report)?,
            }
        }
        Ok(())
    }

    fn bring_back_who_is_due(&mut self) -> Result<(), Violation> {
        // With the relay or a device away and nobody saying anything, no more steps come.
        let can_stall = self.people.iter().all(|person| person.saying.is_none());
        let steps = self.steps();
        let due = self.away.iter().filter(|(_, back_at)| can_stall || *back_at <= steps);
        let due: Vec<Target> = due.map(|(target, _)| *target).collect();
        due.into_iter().try_for_each(|target| self.bring_back(target))
    }

    fn bring_back(&mut self, target: Target) -> Result<(), Violation> {
        self.away.retain(|(away, _)| *away != target);
        self.start(target)?;
        self.say(&format!("{} is back", what(target)));
        Ok(())
    }

    fn start(&mut self, target: Target) -> Result<(), Violation> {
        let person = match target {
            Target::Relay(relay) => return Ok(self.relays[relay].restart()?),
            Target::Device(person) => person,
        };
        let mut staying = self.people[person].profile.stay()?;
        let sender = self.sender.clone();
        staying.lines().forward(move |line| {
            sender.send(line.map_or(Report::StayEnded { person }, |line| Report::Line { person, line })).is_ok()
        });
        self.people[person].staying = Some(staying);
        self.say_the_rest(person)
    }

    /// Looks at what is stored, and says what is missing.
    fn say_the_rest(&mut self, person: usize) -> Result<(), Violation> {
        let transcript = self.transcript(person)?;
        let own: Vec<&Value> = transcript.iter().filter(|message| self.is_from(message, person)).collect();
        for (index, message) in own.iter().enumerate() {
            expect(message["text"].as_str().unwrap_or_default(), person, index + 1)?;
        }
        if own.len() < self.people[person].said {
            return Err(Violation(format!("{} lost a text that was stored", NAMES[person])));
        }
        self.people[person].said = own.len();
        if own.len() == self.plan.texts {
            return Ok(());
        }
        let rest: String = (own.len() + 1..=self.plan.texts).map(|number| text(person, number) + "\n").collect();
        let mut saying = self.people[person].profile.start_saying(NAMES[1 - person], &rest)?;
        let sender = self.sender.clone();
        saying.lines().forward(move |line| {
            sender.send(line.map_or(Report::SayEnded { person }, |line| Report::Line { person, line })).is_ok()
        });
        self.people[person].saying = Some(saying);
        Ok(())
    }

    fn transcript(&self, person: usize) -> Result<Vec<Value>, Violation> {
        objects(self.people[person].profile.run(&["--json", "messages", NAMES[1 - person], "--limit", "1000000"])?)
    }

    fn is_from(&self, message: &Value, person: usize) -> bool {
        message["sender"] == self.people[person].account.as_str()
    }

    /// Everything leaves, everything stops, and the files are read again.
    fn compare(mut self) -> Result<Numbers, Violation> {
        for target in std::mem::take(&mut self.away).into_iter().map(|(target, _)| target) {
            self.bring_back(target)?;
        }
        for person in [0, 1] {
            objects(self.people[person].profile.run(&["--json", "sync"])?)?;
        }
        for person in [0, 1] {
            if let Some(staying) = self.people[person].staying.take() {
                staying.stop()?;
            }
        }
        let transcripts = [self.transcript(0)?, self.transcript(1)?];
        for (person, transcript) in transcripts.iter().enumerate() {
            self.check(person, transcript)?;
        }
        let ids = |transcript: &[Value], sender: usize| -> Vec<Value> {
            let of_sender = transcript.iter().filter(|message| self.is_from(message, sender));
            of_sender.map(|message| message["id"].clone()).collect()
        };
        for sender in [0, 1] {
            let [one, other] = [0, 1].map(|person| ids(&transcripts[person], sender));
            if one != other {
                return Err(Violation(format!("the transcripts differ in what {} said", NAMES[sender])));
            }
        }
        self.numbers.texts = transcripts[0].len();
        Ok(self.numbers)
    }

    /// Every text once, in its sender's order, and none of our own still on its way.
    fn check(&self, person: usize, transcript: &[Value]) -> Result<(), Violation> {
        let whose = NAMES[person];
        let ids: BTreeSet<String> = transcript.iter().map(|message| message["id"].to_string()).collect();
        if ids.len() != transcript.len() || transcript.len() != 2 * self.plan.texts {
            return Err(Violation(format!("{whose} has {} messages, {} different", transcript.len(), ids.len())));
        }
        for sender in [0, 1] {
            let said = transcript.iter().filter(|message| self.is_from(message, sender));
            for (index, message) in said.enumerate() {
                expect(message["text"].as_str().unwrap_or_default(), sender, index + 1)
                    .map_err(|Violation(what)| Violation(format!("in {whose}'s transcript: {what}")))?;
                let is_settled = match message["state"].as_str() {
                    Some("received") => sender != person,
                    Some("sent" | "delivered") => sender == person,
                    _ => false,
                };
                if !is_settled {
                    return Err(Violation(format!(
                        "in {whose}'s transcript “{}” is {}",
                        message["text"], message["state"]
                    )));
                }
            }
        }
        Ok(())
    }

    fn say(&mut self, what: &str) {
        let [alice, bob] = &self.people;
        let counts = format!(
            "alice {:>4} said {:>4} seen, bob {:>4} said {:>4} seen",
            alice.said, alice.seen, bob.said, bob.seen
        );
        (self.tell)(&format!("{counts}   {what}"));
    }
}

fn what(target: Target) -> String {
    match target {
        Target::Relay(relay) => format!("relay {relay}"),
        Target::Device(person) => format!("{}'s device", NAMES[person]),
    }
}

fn text(person: usize, number: usize) -> String {
    format!("{} {number}", NAMES[person])
}

fn number_of(said: &str, person: usize) -> Result<usize, Violation> {
    let number = said.strip_prefix(NAMES[person]).and_then(|rest| rest.trim().parse().ok());
    number.ok_or_else(|| Violation(format!("nobody said “{said}”")))
}

fn expect(said: &str, person: usize, number: usize) -> Result<(), Violation> {
    let expected = text(person, number);
    if said == expected {
        Ok(())
    } else {
        Err(Violation(format!("“{said}” stands where “{expected}” was next")))
    }
}

fn objects(finished: Finished) -> Result<Vec<Value>, Violation> {
    match finished.objects() {
        Some(objects) if finished.code == Some(0) => Ok(objects),
        _ => Err(Violation(format!("a command failed: {}", finished.err.trim()))),
    }
}

fn text_of(objects: &[Value], field: &str) -> Result<String, Violation> {
    let text = objects.first().and_then(|object| object[field].as_str());
    text.map(str::to_owned).ok_or_else(|| Violation(format!("an answer without {field}")))
}
