//! Two people who write to each other while the power of their devices and of their relay is cut again and again.
//!
//! Real engines, a real relay, virtual time. After each cut whoever lost the power comes back with what its disk holds, everything is
//! finished, and both sides are compared. Invariants: what was said is in both transcripts, once, in the order in which it was said;
//! what a relay accepted was delivered, under numbers that were used once; nobody was sent what cannot be opened; every database
//! opens and is whole.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use sotto_core::records::{Contact, Message};
use sotto_core::world::SecretStore as _;
use sotto_core::{Error, InviteOptions, Messenger, NewProfile, StoreError};
use sotto_protocol::{AccountId, RelayAddress};
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use sotto_sim::{MemorySecrets, World, hex};
use tempfile::TempDir;

use crate::play::{Chance, Numbers, Violation, promise};
use crate::wire::{Keystore, Line, Wire};
use crate::{LeftOut, Machine, temporary};

/// Cuts of one play.
const CUTS: usize = 3;
/// Long enough for everything that works, too short for many retries of what cannot.
const SOON: Duration = Duration::from_secs(2);
/// Virtual time is free: longer than any back-off.
const PATIENCE: Duration = Duration::from_secs(600);
/// Writes and syncs until an account is made, and some more.
const BEGINNING_STEPS: u64 = 420;
/// More turns than a play takes to say everything.
const TURNS_MAX: usize = 40;

/// What came twice is nothing that could not be opened: whoever does not hear that something was accepted puts it again.
const REPEAT: &str = "repeat";

/// Whose power is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Victim {
    /// The relay.
    Relay,
    /// One of the two devices.
    Device,
}

/// Plays with one seed. Needs a paused tokio clock and one thread, as [`alone`](crate::alone) has them.
///
/// # Errors
/// The first promise that was broken.
pub async fn play(seed: u64, victim: Victim, left_out: LeftOut) -> Result<Numbers, Violation> {
    let mut stage = Stage::set(seed, left_out).await?;
    for _ in 0..CUTS {
        match victim {
            Victim::Relay => stage.cut_relay().await?,
            Victim::Device => {
                let who = stage.chance.below(2);
                stage.cut_device(who).await?;
            }
        }
        stage.settle().await?;
        stage.check().await?;
    }
    stage.numbers.accepted = stage.wire.accepted();
    let machines = stage.people.iter().map(|person| &person.machine).chain([&stage.relay.machine]);
    stage.numbers.steps = machines.map(Machine::steps).sum();
    Ok(stage.numbers)
}

/// Cuts the power of a device while its account is made, at a step that the seed says: so many seeds in a row walk through all of
/// them. Needs what [`play`] needs.
///
/// # Errors
/// The first promise that was broken.
pub async fn play_beginning(seed: u64, left_out: LeftOut) -> Result<Numbers, Violation> {
    let world = World::seeded(seed);
    let wire = Wire::default();
    let relay = world.network.add_relay("relay.example");
    let mut device = Device::new("alice", left_out);
    device.machine.cut_at(1 + seed % BEGINNING_STEPS);
    let begun = device.begin(&world, &wire, &relay).await;
    // Who is told that there is an account has one.
    let is_sure = begun.is_ok() && !device.machine.is_cut();
    promise!(begun.is_ok() || device.machine.is_cut(), "no account can be made: {begun:?}");
    device.lose_power(seed);
    match device.open(&world, &wire).await {
        Ok(()) => {}
        // What was not finished is not there, and can be begun again.
        Err(Error::Store(StoreError::Absent)) if !is_sure => {
            let begun = device.begin(&world, &wire, &relay).await;
            promise!(begun.is_ok(), "it cannot be begun again: {begun:?}");
        }
        Err(error) => return Err(Violation(format!("the profile does not open: {error}"))),
    }
    device.check()?;
    Ok(Numbers { cuts: 1, steps: device.machine.steps(), ..Numbers::default() })
}

struct Stage {
    chance: Chance,
    world: World,
    wire: Wire,
    address: RelayAddress,
    relay: RelayMachine,
    people: [Device; 2],
    numbers: Numbers,
}

struct RelayMachine {
    machine: Machine,
    directory: TempDir,
}

/// Somebody's device, and what they remember of what they said.
struct Device {
    name: &'static str,
    machine: Machine,
    directory: TempDir,
    secrets: MemorySecrets,
    messenger: Option<Messenger>,
    /// What was said, and whether the engine took it: what it did not may be there all the same.
    said: Vec<(String, bool)>,
}

impl Stage {
    async fn set(seed: u64, left_out: LeftOut) -> Result<Self, Violation> {
        let world = World::seeded(seed);
        let directory = temporary();
        let machine = Machine::new(directory.path()).leaving_out(left_out);
        let address = world.network.add_relay("relay.example");
        let people = ["alice", "bob"].map(|name| Device::new(name, left_out));
        let mut stage = Self {
            chance: Chance::seeded(seed),
            world,
            wire: Wire::default(),
            address,
            relay: RelayMachine { machine, directory },
            people,
            numbers: Numbers::default(),
        };
        stage.start_relay()?;
        for person in &mut stage.people {
            let begun = person.begin(&stage.world, &stage.wire, &stage.address).await;
            promise!(begun.is_ok(), "no account: {begun:?}");
        }
        stage.introduce().await?;
        Ok(stage)
    }

    fn start_relay(&self) -> Result<(), Violation> {
        let options = SqliteOptions {
            crash: Arc::new(|_| {}),
            ..SqliteOptions::file(self.relay.directory.path().join("relay.sqlite")).inline()
        };
        let store =
            SqliteStore::open(options).map_err(|error| Violation(format!("the relay does not open: {error}")))?;
        let now = self.world.world(&MemorySecrets::default()).clock.now();
        let config = RelayConfig::open(self.address.name().clone());
        self.world.network.put_relay(&self.address, Relay::new(Arc::new(store), config, now));
        Ok(())
    }

    async fn introduce(&self) -> Result<(), Violation> {
        let [alice, bob] = &self.people;
        let meet = async {
            let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
            // Lists that are signed in one millisecond are one list.
            self.world.world(&alice.secrets).clock.sleep(Duration::from_secs(1)).await;
            let invite = alice.messenger()?.invite(options).await?;
            alice.messenger()?.catch_up(PATIENCE).await?;
            bob.messenger()?.join(&invite.link).await?;
            Ok::<_, Error>(())
        };
        meet.await.map_err(|error| Violation(format!("they do not meet: {error}")))?;
        self.settle().await
    }

    /// Somebody says something, and somebody looks what there is, until the power of one of them is gone.
    async fn talk_until_cut(&mut self, machine: &Machine) {
        for _ in 0..TURNS_MAX {
            let who = self.chance.below(2);
            for _ in 0..self.chance.below(4) {
                self.numbers.texts += 1;
                let text = format!("text {}", self.numbers.texts);
                self.people[who].say(text).await;
            }
            for who in [who, 1 - who] {
                if self.chance.below(4) > 0
                    && let Ok(messenger) = self.people[who].messenger()
                {
                    let _ = messenger.catch_up(SOON).await;
                }
            }
            if machine.is_cut() {
                return;
            }
        }
        // Whoever was to be cut later than everything took is cut now.
        machine.cut();
    }

    async fn cut_relay(&mut self) -> Result<(), Violation> {
        let machine = self.relay.machine.clone();
        machine.cut_at(self.chance.cut_step());
        self.talk_until_cut(&machine).await;
        self.numbers.cuts += 1;
        self.stop_relay().await?;
        machine.come_back(self.chance.seed());
        self.start_relay()?;
        check_database(&self.relay.directory.path().join("relay.sqlite"), None)
    }

    /// Its process is gone: nobody is connected any more, and its files are closed.
    async fn stop_relay(&self) -> Result<(), Violation> {
        self.world.network.set_down(&self.address, true);
        let gone = self.world.network.relay(&self.address).map(|relay| Arc::downgrade(&relay));
        self.world.network.add_relay("relay.example");
        self.world.network.set_down(&self.address, true);
        for _ in 0..TURNS_MAX {
            // Whoever was connected finds out.
            self.world.world(&MemorySecrets::default()).clock.sleep(SOON).await;
        }
        promise!(gone.is_some_and(|gone| gone.strong_count() == 0), "somebody holds on to a relay that is gone");
        Ok(())
    }

    async fn cut_device(&mut self, who: usize) -> Result<(), Violation> {
        let machine = self.people[who].machine.clone();
        machine.cut_at(self.chance.cut_step());
        self.talk_until_cut(&machine).await;
        loop {
            self.numbers.cuts += 1;
            let person = &mut self.people[who];
            person.lose_power(self.chance.seed());
            if self.chance.once_in(3) {
                // Again, while it is being opened.
                machine.cut_at(1 + self.chance.below(30) as u64);
            }
            match person.open(&self.world, &self.wire).await {
                Ok(()) if !machine.is_cut() => break,
                Ok(()) => {}
                Err(_) if machine.is_cut() => {}
                Err(error) => return Err(Violation(format!("{} does not open: {error}", person.name))),
            }
        }
        machine.cut_at(u64::MAX / 2);
        Ok(())
    }

    /// Everybody looks at everything until nothing moves any more.
    async fn settle(&self) -> Result<(), Violation> {
        loop {
            let mut moved = 0;
            for person in &self.people {
                let caught_up = async { person.messenger()?.catch_up(PATIENCE).await };
                let caught_up = caught_up.await.map_err(|error| Violation(format!("{}: {error}", person.name)))?;
                moved += caught_up.received + caught_up.sent;
            }
            if moved == 0 {
                return Ok(());
            }
        }
    }

    async fn check(&self) -> Result<(), Violation> {
        self.wire.check()?;
        for (who, person) in self.people.iter().enumerate() {
            let other = &self.people[1 - who];
            let mine = person.texts_of(person).await?;
            let theirs = other.texts_of(person).await?;
            let name = person.name;
            let once: BTreeSet<_> = mine.iter().collect();
            promise!(once.len() == mine.len(), "{name} said something twice");
            let mut kept = mine.iter();
            for (text, is_sure) in &person.said {
                let is_kept = kept.clone().next() == Some(text);
                promise!(is_kept || !is_sure, "{name}: {text:?} is gone from its own device");
                if is_kept {
                    kept.next();
                }
            }
            promise!(kept.next().is_none(), "{name} has what nobody said, or in another order");
            promise!(mine == theirs, "{name} said {mine:?}, and the other sees {theirs:?}");
            person.check()?;
        }
        Ok(())
    }
}

impl Device {
    fn new(name: &'static str, left_out: LeftOut) -> Self {
        let directory = temporary();
        let machine = Machine::new(directory.path()).leaving_out(left_out);
        Self { name, machine, directory, secrets: MemorySecrets::default(), messenger: None, said: Vec::new() }
    }

    /// In a directory that is made with it: that too can be lost.
    fn profile(&self) -> PathBuf {
        self.directory.path().join("people").join(self.name)
    }

    fn messenger(&self) -> Result<&Messenger, Error> {
        self.messenger.as_ref().ok_or(Error::ShutDown)
    }

    fn world(&self, world: &World, wire: &Wire) -> sotto_core::World {
        let (machine, wire) = (self.machine.clone(), wire.clone());
        let secrets = Arc::new(Keystore { secrets: self.secrets.clone(), machine: machine.clone() });
        let transport = Arc::new(Line { network: world.network.transport(), machine, wire });
        sotto_core::World { transport, secrets, ..world.world(&self.secrets) }
    }

    async fn begin(&mut self, world: &World, wire: &Wire, relay: &RelayAddress) -> Result<(), Error> {
        let profile = NewProfile::named(self.name, std::slice::from_ref(relay));
        self.messenger = Some(Messenger::create(self.world(world, wire), &self.profile(), profile).await?);
        Ok(())
    }

    async fn open(&mut self, world: &World, wire: &Wire) -> Result<(), Error> {
        self.messenger = Some(Messenger::open(self.world(world, wire), &self.profile()).await?);
        Ok(())
    }

    fn lose_power(&mut self, seed: u64) {
        self.machine.cut();
        if let Some(messenger) = self.messenger.take() {
            messenger.shut_down();
        }
        self.machine.come_back(seed);
    }

    async fn say(&mut self, text: String) {
        let said = async {
            let messenger = self.messenger()?;
            let contact = self.other().await?;
            messenger.send_text(contact.id, text.clone()).await
        };
        let is_taken = said.await.is_ok();
        self.said.push((text, is_taken));
    }

    async fn other(&self) -> Result<Contact, Error> {
        let name = if self.name == "alice" { "bob" } else { "alice" };
        self.messenger()?.find_contact(name).await
    }

    /// What that person said, in the order in which it stands here.
    async fn texts_of(&self, person: &Self) -> Result<Vec<String>, Violation> {
        let read = async {
            let speaker: AccountId = person.messenger()?.account().await?.id;
            let messages = self.messenger()?.messages(self.other().await?.id, None, u32::MAX).await?;
            let is_theirs = |message: &Message| message.sender == speaker;
            Ok::<_, Error>(messages.into_iter().filter(is_theirs).map(|message| message.text).collect())
        };
        read.await.map_err(|error| Violation(format!("{}: {error}", self.name)))
    }

    /// Whether the database is whole, and nothing came that could not be opened.
    fn check(&self) -> Result<(), Violation> {
        let key = self.secrets.get("database").ok().flatten();
        let key = key.ok_or_else(|| Violation("the keystore lost the database's key".to_owned()))?;
        check_database(&self.profile().join("sotto.db"), Some(&hex(&key)))
    }
}

fn check_database(path: &std::path::Path, key: Option<&str>) -> Result<(), Violation> {
    let asked = || -> rusqlite::Result<_> {
        let connection = Connection::open(path)?;
        if let Some(key) = key {
            connection.execute_batch(&format!("PRAGMA key = \"x'{key}'\""))?;
        }
        let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        let refusals = if key.is_some() {
            let mut statement = connection.prepare("SELECT code FROM refusal WHERE code != ?1")?;
            let codes = statement.query_map([REPEAT], |row| row.get::<_, String>(0))?;
            codes.collect::<rusqlite::Result<Vec<_>>>()?
        } else {
            Vec::new()
        };
        Ok((check, refusals))
    };
    let (check, refusals) = asked().map_err(|error| Violation(format!("the database cannot be read: {error}")))?;
    promise!(check == "ok", "the database is damaged: {check}");
    promise!(refusals.is_empty(), "something came that could not be opened: {refusals:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alone;

    fn kept(seed: u64, victim: Victim) -> Numbers {
        let played = alone(seed, move || play(seed, victim, LeftOut::Nothing));
        played.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"))
    }

    fn cuts(victim: Victim) -> u64 {
        (0..6).map(|seed| kept(seed, victim).cuts).sum()
    }

    #[test]
    fn what_was_said_survives_power_cuts_of_the_relay() {
        assert_eq!(cuts(Victim::Relay), 6 * CUTS as u64);
    }

    #[test]
    fn what_was_said_survives_power_cuts_of_the_devices() {
        assert!(cuts(Victim::Device) >= 6 * CUTS as u64, "some come while a profile is opened again");
    }

    #[test]
    fn one_seed_plays_the_same_twice() {
        for victim in [Victim::Relay, Victim::Device] {
            assert_eq!(kept(7, victim), kept(7, victim));
        }
    }

    #[test]
    fn an_account_is_whole_or_not_there_wherever_the_power_goes_while_it_is_made() {
        for seed in (0..BEGINNING_STEPS).step_by(12) {
            let played = alone(seed, move || play_beginning(seed, LeftOut::Nothing));
            played.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_steps_of_making_an_account_are_fewer_than_the_walk_is_long() {
        let world = World::seeded(1);
        let relay = world.network.add_relay("relay.example");
        let mut device = Device::new("alice", LeftOut::Nothing);
        device.begin(&world, &Wire::default(), &relay).await.unwrap();
        let steps = device.machine.steps();
        assert!(steps < BEGINNING_STEPS && steps > BEGINNING_STEPS / 2, "{steps}");
    }

    #[test]
    fn a_relay_and_devices_that_do_not_sync_their_commits_are_found_out() {
        for victim in [Victim::Relay, Victim::Device] {
            let is_found_out = |seed: &u64| alone(*seed, || play(*seed, victim, LeftOut::SyncsOfCommits)).is_err();
            let found_out = (0..6).filter(is_found_out).count();
            assert!(found_out > 3, "{victim:?}: {found_out} of 6");
        }
    }
}
