//! `sotto demo`: a real relay and two devices, each a process of its own, play a conversation; the relay and a device are killed on the way.
//!
//! The relay is this binary run again; the devices are this binary with a profile each, staying in `sync` and taking their words through
//! the same door that any second `sotto` uses. At the end: both transcripts, and everything the relay knows, read from its files.
//! - `script.rs`: the conversation; `process.rs`: the processes; `report.rs`: what is printed at the end

mod process;
mod report;
mod script;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use process::{Device, Leash, Relay};
use script::{Script, Step};

use crate::failed::Failed;
use crate::output::Output;
use crate::terminal::Terminal;

pub(crate) use process::{Part, end_with_the_demo};

/// How long anything may take to arrive before the demo gives up. Devices try a lost relay again within a minute.
const PATIENCE: Duration = Duration::from_secs(120);
/// The relay's data and the two profiles, in the demo's directory: people's names are for people.
const RELAY: &str = "relay";
const PROFILES: [&str; 2] = ["first", "second"];

/// Plays a script and says whether everything arrived.
pub(crate) fn run(script: Option<&Path>, json: bool) -> ExitCode {
    let mut terminal = Terminal::default();
    let played = Leash::new().map_err(problem).and_then(|leash| match play(script, &leash, json) {
        Err(_) if leash.caught().is_some() => {
            Err(leash.caught().map_or_else(|| problem("interrupted".to_owned()), Failed::interrupted))
        }
        played => played.map_err(problem),
    });
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            Output::new(json, &mut terminal).fail(&failed);
            ExitCode::from(failed.exit_code())
        }
    }
}

fn problem(what: String) -> Failed {
    Failed::new("demo_failed", what)
}

/// Where progress goes, line by line, at once.
#[derive(Clone, Copy)]
struct Teller {
    json: bool,
}

impl Teller {
    fn say(self, line: &str) {
        let object = serde_json::json!({ "kind": "progress", "text": line.trim() });
        Output::new(self.json, &mut Terminal::default()).show(&object, line);
    }
}

fn play(script: Option<&Path>, leash: &Leash, json: bool) -> Result<(), String> {
    let teller = Teller { json };
    let script = match script {
        Some(path) => {
            Script::read(&std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?)?
        }
        None => Script::read(include_str!("../../demo/conversation.txt"))?,
    };
    let directory = tempfile::tempdir().map_err(|error| format!("no temporary directory: {error}"))?;
    let mut stage = Stage::set(&script, leash, directory.path(), teller)?;
    stage.introduce()?;
    for step in &script.steps {
        stage.perform(step)?;
    }
    stage.wait_for_everything()?;
    let transcripts = stage.transcripts()?;
    stage.end()?;
    report::print(&script.people, &transcripts, &directory.path().join(RELAY), teller)?;
    if report::said(&transcripts[0]) == report::said(&transcripts[1]) && transcripts[0].len() == script.texts() {
        teller.say(&format!("\nAll {} messages arrived once, in order, on both devices.", script.texts()));
        Ok(())
    } else {
        Err("the transcripts differ".to_owned())
    }
}

/// The processes, and what is still under way between them.
struct Stage {
    relay: Relay,
    devices: [Device; 2],
    /// Texts said and not seen yet on the other device, in order.
    outstanding: [Vec<String>; 2],
    begun: Instant,
    /// The relay's files.
    data: PathBuf,
    /// What the relay knows was shown while letters wait there.
    was_inspected: bool,
    teller: Teller,
}

impl Stage {
    fn set(script: &Script, leash: &Leash, directory: &Path, teller: Teller) -> Result<Self, String> {
        let data = directory.join(RELAY);
        let relay = Relay::start(leash, &data)?;
        teller.say(&format!("relay     listening on {} (process {})", relay.address(), relay.id()));
        let mut devices = Vec::with_capacity(2);
        for (name, profile) in script.people.iter().zip(PROFILES) {
            let device = Device::init(leash, name, &directory.join(profile), relay.address())?;
            teller.say(&format!("{:<9} has an account and a device (process {})", name, device.id()));
            devices.push(device);
        }
        let devices = devices.try_into().map_err(|_| "a script has two people")?;
        Ok(Self {
            relay,
            devices,
            outstanding: [Vec::new(), Vec::new()],
            begun: Instant::now(),
            data,
            was_inspected: false,
            teller,
        })
    }

    /// An invite, a request that it accepts by itself, and both are contacts.
    fn introduce(&mut self) -> Result<(), String> {
        let [owner, scanner] = &mut self.devices;
        let invite = owner.ask(&["invite", "--auto-accept"])?;
        let link = invite.first().and_then(|line| line["link"].as_str()).ok_or("no invite link")?.to_owned();
        self.teller.say(&format!(
            "{:<9} makes an invite: {}…",
            owner.name(),
            link.chars().take(60).collect::<String>()
        ));
        scanner.ask(&["join", &link])?;
        self.teller.say(&format!("{:<9} joins with it", scanner.name()));
        let deadline = Instant::now() + PATIENCE;
        for device in &mut self.devices {
            device.wait_for_contact(deadline).map_err(|error| format!("becoming contacts: {error}"))?;
        }
        self.teller.say("          they are contacts\n");
        Ok(())
    }

    fn perform(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Say { person, text } => self.let_say(*person, text),
            Step::Away { person } => {
                self.settle()?;
                self.devices[*person].kill()?;
                self.teller.say(&format!("      *   {}'s device is killed", self.devices[*person].name()));
                Ok(())
            }
            Step::Back { person } => {
                self.devices[*person].start()?;
                self.teller.say(&format!("      *   {}'s device starts again", self.devices[*person].name()));
                self.settle()
            }
            Step::RelayKilled => {
                self.settle()?;
                self.relay.kill()?;
                self.teller.say("      *   the relay is killed");
                self.inspect_while_letters_wait()
            }
            Step::RelayBack => {
                self.relay.restart()?;
                self.teller.say("      *   the relay starts again");
                self.settle()
            }
        }
    }

    fn let_say(&mut self, person: usize, text: &str) -> Result<(), String> {
        let to = self.devices[1 - person].account().to_owned();
        let both_are_here = self.relay.is_running() && self.devices[1 - person].is_running();
        let words: &[&str] =
            if self.relay.is_running() { &["send", "--wait", &to, "--", text] } else { &["send", &to, "--", text] };
        let began = Instant::now();
        let sent = self.devices[person].ask(words)?;
        let state = sent.first().and_then(|line| line["state"].as_str()).unwrap_or("lost").to_owned();
        self.outstanding[1 - person].push(text.to_owned());
        if both_are_here {
            self.settle()?;
        }
        let fate = if both_are_here { format!("arrived after {} ms", began.elapsed().as_millis()) } else { state };
        self.teller.say(&format!("{:<9} {text}   [{fate}]", self.devices[person].name()));
        Ok(())
    }

    /// Once, while the relay holds letters: at the end it holds none.
    fn inspect_while_letters_wait(&mut self) -> Result<(), String> {
        let waiting = self.outstanding.iter().map(Vec::len).sum::<usize>();
        if waiting == 0 || self.was_inspected {
            return Ok(());
        }
        self.was_inspected = true;
        self.teller
            .say(&format!("\n── everything on the relay's disk while {waiting} letters wait there {}", "─".repeat(12)));
        report::print_relay(&self.data, self.teller)
    }

    /// Waits until everything that can arrive now has arrived.
    fn settle(&mut self) -> Result<(), String> {
        if !self.relay.is_running() {
            return Ok(());
        }
        for person in [0, 1] {
            // What its maker could not hand over yet, because it is away, cannot arrive.
            if self.devices[person].is_running() && self.devices[1 - person].is_running() {
                self.wait_for(person)?;
            }
        }
        Ok(())
    }

    fn wait_for(&mut self, person: usize) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(expected) = self.outstanding[person].first() {
            let text = self.devices[person]
                .next_text(deadline)
                .map_err(|error| format!("waiting for “{expected}”: {error}"))?;
            if text != *expected {
                return Err(format!("{} saw “{text}” where “{expected}” was next", self.devices[person].name()));
            }
            self.outstanding[person].remove(0);
        }
        Ok(())
    }

    fn wait_for_everything(&mut self) -> Result<(), String> {
        if !self.relay.is_running() {
            self.relay.restart()?;
            self.teller.say("      *   the relay starts again");
        }
        for person in [0, 1] {
            if !self.devices[person].is_running() {
                self.devices[person].start()?;
            }
        }
        self.settle()?;
        self.teller.say(&format!("\nEverything arrived. {} s.", self.begun.elapsed().as_secs()));
        Ok(())
    }

    fn transcripts(&mut self) -> Result<[Vec<report::Line>; 2], String> {
        let names: BTreeMap<String, String> =
            self.devices.iter().map(|device| (device.account().to_owned(), device.name().to_owned())).collect();
        let mut transcripts = [Vec::new(), Vec::new()];
        for person in [0, 1] {
            let other = self.devices[1 - person].account().to_owned();
            for message in self.devices[person].ask(&["messages", &other, "--limit", "100000"])? {
                transcripts[person].push(report::Line::read(&message, &names)?);
            }
        }
        Ok(transcripts)
    }

    /// Stops everything in order, so that the relay's files are complete.
    fn end(mut self) -> Result<(), String> {
        for device in &mut self.devices {
            device.stop()?;
        }
        self.relay.stop()
    }
}
