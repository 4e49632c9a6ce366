//! The stage: people, their devices and relays, and what each step of a schedule does to them.
//!
//! After the last step everything that is not dead is mended and every device opened cold; then time passes, in ever longer rounds, until
//! everything is as it must be, or was not within [`PATIENCE`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sotto_core::records::{ContactState, MessageState};
use sotto_core::world::Clock as _;
use sotto_core::{Error, InviteOptions, StoreError};
use sotto_protocol::{AccountId, RelayAddress, Timestamp};
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use tempfile::TempDir;
use tokio::time::error::Elapsed;

use super::promises::{Ledger, Promise, Said, Shown, Transcript, Violation, broken};
use super::ratchets;
use crate::chance::Chance;
use crate::device::Device;
use crate::people::temporary;
use crate::schedule::{Cast, PEOPLE, RELAYS, Schedule, Step, lasting};
use crate::{Database, Network, TestClock, Weather};

/// How long a step waits for what a person would wait for: an invite's tokens, a link's answer.
const MEETING_WAIT: Duration = Duration::from_secs(30);
/// How long devices of one account take to know each other before anything else happens.
const UNTIL_KNOWN: Duration = Duration::from_secs(60);
/// How long everybody sends and receives in a round at the end.
const ROUND: Duration = Duration::from_secs(120);
const AN_HOUR: Duration = Duration::from_secs(3_600);
/// What passes before each round at the end: longer than any pause between two tries, than the day after which a device confirms, and than
/// the three for which a relay of its own may hold back what it looks at again.
const PATIENCE: [Duration; 8] = [
    Duration::from_secs(1),
    Duration::from_secs(90),
    Duration::from_secs(900),
    Duration::from_secs(3_700),
    Duration::from_secs(6 * 3_600),
    Duration::from_secs(25 * 3_600),
    Duration::from_secs(50 * 3_600),
    Duration::from_secs(75 * 3_600),
];

/// A relay, and what stays of it when its process dies.
struct House {
    address: RelayAddress,
    directory: TempDir,
    /// What its operator has copied, with when.
    copies: Vec<(TempDir, Timestamp)>,
    is_dead: bool,
    /// Somebody has left it, and not everybody may know.
    is_left: bool,
    hangs: bool,
}

/// Two who are to be contacts.
struct Meeting {
    owner: usize,
    scanner: usize,
    link: Option<String>,
    is_asked: bool,
}

pub(super) struct Stage<'a> {
    cast: Cast,
    network: Network,
    clock: TestClock,
    houses: Vec<House>,
    devices: Vec<Device>,
    accounts: Vec<AccountId>,
    /// Where each person reads, as far as was seen.
    listed: Vec<BTreeSet<usize>>,
    meetings: Vec<Meeting>,
    ledger: Ledger,
    /// Devices that are there by now.
    begun: BTreeSet<usize>,
    /// Of devices' files, with how much had been said.
    copies: Vec<(usize, TempDir, usize)>,
    story: &'a mut Vec<String>,
}

/// Whether an error tells of trouble on the way, or of a disk that was made to fail: what a person meets by trying again.
fn may_be(error: &Error) -> bool {
    error.is_retryable() || matches!(error, Error::Relay(_))
}

impl<'a> Stage<'a> {
    /// Plays a schedule to its end. Returns what broke, the hash, and how much was said.
    pub(super) async fn play(schedule: &Schedule, story: &'a mut Vec<String>) -> (Option<Violation>, [u8; 32], usize) {
        let clock = TestClock::default();
        let mut seed = Chance::new(schedule.seed, u64::from_be_bytes(*b"network "));
        let rng = Arc::new(crate::SeededRng::new(seed.between(0, u64::MAX - 1)));
        let network = Network::new(Arc::new(clock.clone()), rng);
        network.begin_record();
        let mut stage = Self {
            cast: schedule.cast.clone(),
            network,
            clock,
            houses: Vec::new(),
            devices: Vec::new(),
            accounts: Vec::new(),
            listed: schedule.cast.people.iter().map(|relays| relays.iter().copied().collect()).collect(),
            meetings: Vec::new(),
            ledger: Ledger { devices: schedule.cast.devices.clone(), known_from: BTreeMap::new(), said: Vec::new() },
            begun: BTreeSet::new(),
            copies: Vec::new(),
            story,
        };
        let violation = stage.run(schedule).await.err();
        if let Some(violation) = &violation {
            stage.tell(&format!("BROKEN: {violation}"));
            stage.tell_refusals();
        }
        stage.devices.iter_mut().for_each(Device::switch_off);
        (violation, stage.network.recorded().unwrap_or_default(), stage.ledger.said.len())
    }

    async fn run(&mut self, schedule: &Schedule) -> Result<(), Violation> {
        self.begin(schedule.seed).await?;
        for (_, step) in &schedule.steps {
            self.step(step).await?;
            self.look().await?;
        }
        self.end().await
    }

    async fn begin(&mut self, seed: u64) -> Result<(), Violation> {
        for name in &RELAYS[..self.cast.relays] {
            let address: RelayAddress =
                format!("https://{name}").parse().expect("a relay of this stage has a good name");
            let house = House {
                address,
                directory: temporary(),
                copies: Vec::new(),
                is_dead: false,
                is_left: false,
                hangs: false,
            };
            self.houses.push(house);
            self.start_relay(self.houses.len() - 1)?;
        }
        for device in 0..self.cast.devices.len() {
            self.devices.push(Device::new(device, seed, self.clock.another()));
            if self.cast.later.contains(&device) {
                continue;
            }
            let person = self.cast.devices[device];
            if self.cast.is_second(device) {
                let result = self.begin_beside(device).await;
                self.works(person, "does not begin", result)?;
                // The first reads the list that names this one when it hears of it.
                self.network.pass(UNTIL_KNOWN).await;
                continue;
            }
            let relays: Vec<_> =
                self.cast.people[person].iter().map(|relay| self.houses[*relay].address.clone()).collect();
            let result = self.devices[device].begin(PEOPLE[person], &relays, &self.network).await;
            self.works(person, "does not begin", result)?;
            let account = match self.devices[device].messenger() {
                Some(messenger) => messenger.account().await,
                None => continue,
            };
            ratchets::keep(&self.database(device));
            self.accounts.push(self.works(person, "has no account", account)?.id);
            self.begun.insert(device);
            self.ledger.known_from.insert(device, 0);
        }
        Ok(())
    }

    fn database(&self, device: usize) -> Database {
        let device = &self.devices[device];
        Database::open(device.directory(), &*device.secrets)
    }

    /// A device becomes one of its owner's account, beside one that is on. What keeps that one's ciphertexts is copied with it.
    async fn begin_beside(&mut self, device: usize) -> Result<(), Error> {
        let (before, rest) = self.devices.split_at_mut(device);
        let person = self.cast.devices[device];
        let first = before.iter().find(|first| self.cast.devices[first.number] == person && first.is_on());
        let first = first.ok_or(StoreError::Closed)?;
        rest[0].begin_beside(first, &self.network).await?;
        self.begun.insert(device);
        Ok(())
    }

    /// As any other step that needs a relay: whoever sees an error has no second device.
    async fn add_device(&mut self, device: usize) -> Result<(), Violation> {
        if self.begun.contains(&device) {
            return Ok(());
        }
        match tokio::time::timeout(MEETING_WAIT * 4, self.begin_beside(device)).await {
            Ok(Err(error)) if may_be(&error) || error.code() == "shut_down" => {
                self.tell(&format!("it does not: {}", error.code()));
            }
            Ok(result) => self.works(self.cast.devices[device], "does not begin", result)?,
            Err(_) => self.tell("it has not begun for two minutes"),
        }
        Ok(())
    }

    /// From when on others can know of a device: its account's list names it.
    fn note_known(&mut self) {
        let unknown = self.begun.iter().filter(|device| !self.ledger.known_from.contains_key(device));
        let is_known =
            |device: &usize| self.database(*device).number("SELECT count(*) FROM meta WHERE key = 'born_with'") == 0;
        let known: Vec<usize> = unknown.copied().filter(is_known).collect();
        let said = self.ledger.said.len();
        self.ledger.known_from.extend(known.into_iter().map(|device| (device, said)));
    }

    fn works<T>(&self, person: usize, what: &str, result: Result<T, Error>) -> Result<T, Violation> {
        result.or_else(|error| {
            broken(Promise::DevicesWork, format!("{}'s device {what}: {}", PEOPLE[person], error.code()))
        })
    }

    fn tell(&mut self, what: &str) {
        let since = self.clock.now().since(crate::BEGINNING);
        let (seconds, ms) = (since.as_secs(), since.subsec_millis());
        let (day, hour, minute, second) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        self.story.push(format!("day {day:>2} {hour:02}:{minute:02}:{second:02}.{ms:03}  {what}"));
    }

    async fn step(&mut self, step: &Step) -> Result<(), Violation> {
        self.tell(&step.tell(&self.cast));
        match step {
            Step::Meet { owner, scanner } => self.meet(*owner, *scanner).await?,
            Step::Say { device, to, texts } => self.say(*device, *to, *texts).await?,
            Step::Wait(time) => self.network.pass(*time).await,
            Step::Night(time) => self.night(*time).await?,
            Step::Kill(device) => {
                if self.devices[*device].is_on() {
                    self.devices[*device].switch_off();
                    self.open(*device).await?;
                }
            }
            Step::KillAtWrite { device, write } => self.devices[*device].dies_at_write(*write),
            Step::Off(device) => self.devices[*device].switch_off(),
            Step::On(device) => self.open(*device).await?,
            Step::DeviceAdded(device) => self.add_device(*device).await?,
            Step::DeviceCopied(device) => self.back_up(*device).await?,
            Step::DeviceRestored(device) => self.restore(*device).await?,
            Step::RelayDown(relay) => self.set_down(*relay, true),
            Step::RelayUp(relay) => {
                self.set_down(*relay, self.houses[*relay].is_dead);
                if std::mem::take(&mut self.houses[*relay].hangs) {
                    self.slow_down(*relay, Duration::ZERO);
                }
            }
            Step::RelayHangs { relay, seconds } => {
                self.houses[*relay].hangs = true;
                self.slow_down(*relay, Duration::from_secs(*seconds));
            }
            Step::RelayAdded { device, relay } => self.add_relay(*device, *relay).await?,
            Step::RelayRemoved { device, relay } => self.remove_relay(*device, *relay).await?,
            Step::RelayRestarts(relay) => self.start_relay(*relay)?,
            Step::RelayCopied(relay) => {
                let copy = self.houses[*relay].copy()?;
                self.houses[*relay].copies.push((copy, self.clock.now()));
            }
            Step::RelayRestored(relay) => {
                if let Some((copy, copied_at)) = self.houses[*relay].copies.pop() {
                    self.houses[*relay].directory = copy;
                    self.network.is_restored(self.houses[*relay].address.name(), copied_at);
                    self.start_relay(*relay)?;
                }
            }
            Step::RelayDies(relay) => {
                if self.can_do_without(*relay).await? {
                    self.houses[*relay].is_dead = true;
                    self.set_down(*relay, true);
                }
            }
            Step::Cut { device, relay } => self.change_weather(*device, *relay, Weather::cut),
            Step::Mend { device, relay } => self.change_weather(*device, *relay, Weather::mended),
            Step::Weather { device, relay, weather } => {
                self.change_weather(*device, *relay, |before| Weather { is_cut: before.is_cut, ..*weather });
            }
            Step::Clock { device, seconds } => self.devices[*device].set_clock(*seconds),
            Step::Forget(device) => self.forget(*device),
        }
        Ok(())
    }

    /// Whether everybody can still be reached without that relay. One dies at a time: whoever has lost both relays cannot be. Nor can
    /// whoever has left a relay that their contacts still know them at, or has another since then of which nobody has heard.
    async fn can_do_without(&mut self, relay: usize) -> Result<bool, Violation> {
        if self.houses[relay].is_left || self.houses.iter().any(|house| house.is_dead) {
            return Ok(false);
        }
        // Nobody would ever hear of a device whose list waits there.
        if self.begun.iter().any(|device| !self.ledger.known_from.contains_key(device)) {
            return Ok(false);
        }
        for device in 0..self.devices.len() {
            self.note_listed(device).await?;
        }
        Ok(self.cast.people.iter().zip(&self.listed).all(|(begun, listed)| {
            let reads_there = begun.contains(&relay) || listed.contains(&relay);
            let has_others = begun.iter().any(|other| *other != relay) && listed.iter().any(|other| *other != relay);
            !reads_there || has_others
        }))
    }

    /// Where somebody reads now.
    async fn note_listed(&mut self, device: usize) -> Result<(), Violation> {
        let Some(messenger) = self.devices[device].messenger() else { return Ok(()) };
        let person = self.cast.devices[device];
        let relays = self.works(person, "does not say where it reads", messenger.relays().await)?;
        let listed = relays.iter().filter(|relay| !relay.is_left);
        let listed = listed.filter_map(|relay| self.houses.iter().position(|house| house.address == relay.address));
        self.listed[person] = listed.collect();
        Ok(())
    }

    /// Several devices of one account do not move together yet, and what one of them can do without the other may not.
    fn moves_alone(&self, device: usize) -> bool {
        let whose = self.cast.devices[device];
        self.begun.iter().filter(|of| self.cast.devices[**of] == whose).count() == 1
    }

    async fn add_relay(&mut self, device: usize, relay: usize) -> Result<(), Violation> {
        if !self.moves_alone(device) {
            return Ok(());
        }
        let Some(messenger) = self.devices[device].messenger() else { return Ok(()) };
        let added = messenger.add_relay(self.houses[relay].address.clone(), String::new());
        let added = tokio::time::timeout(MEETING_WAIT * 4, added).await;
        self.has_changed_relays(device, added).await
    }

    async fn remove_relay(&mut self, device: usize, relay: usize) -> Result<(), Violation> {
        if !self.moves_alone(device) {
            return Ok(());
        }
        let Some(messenger) = self.devices[device].messenger() else { return Ok(()) };
        let listed = &self.listed[self.cast.devices[device]];
        // Whoever keeps none but what is gone for good cannot be reached, as anybody would tell them.
        if listed.iter().all(|other| *other == relay || self.houses[*other].is_dead) {
            return Ok(());
        }
        // Also where the answer does not say so: it may be left, and somebody may still look for letters there.
        let is_there = listed.contains(&relay);
        let removed = messenger.remove_relay(self.houses[relay].address.clone());
        let removed = tokio::time::timeout(MEETING_WAIT * 4, removed).await;
        self.houses[relay].is_left |= is_there;
        self.has_changed_relays(device, removed).await
    }

    async fn has_changed_relays(
        &mut self,
        device: usize,
        changed: Result<Result<(), Error>, Elapsed>,
    ) -> Result<(), Violation> {
        match changed {
            Ok(Ok(())) => {}
            // The only one, or one that is none of theirs.
            Ok(Err(error)) if may_be(&error) || ["last_relay", "not_found"].contains(&error.code()) => {
                self.tell(&format!("it does not: {}", error.code()));
            }
            Ok(Err(error)) => return self.works(self.cast.devices[device], "does not change its relays", Err(error)),
            Err(_) => self.tell("it has not worked for two minutes"),
        }
        self.note_listed(device).await
    }

    /// Everything at a relay takes so long, for everybody.
    fn slow_down(&self, relay: usize, time: Duration) {
        let latency = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        for device in 0..self.devices.len() {
            self.change_weather(device, relay, |before| Weather {
                latency_ms_min: latency,
                latency_ms_max: latency,
                ..before
            });
        }
    }

    fn set_down(&self, relay: usize, is_down: bool) {
        self.network.set_down(&self.houses[relay].address, is_down);
    }

    fn change_weather(&self, device: usize, relay: usize, change: impl FnOnce(Weather) -> Weather) {
        let relay = &self.houses[relay].address;
        self.network.set_weather(device, relay, change(self.network.weather_at(device, relay)));
    }

    /// Starts a relay on what is on its disk, in the place of the process that ran there.
    fn start_relay(&mut self, relay: usize) -> Result<(), Violation> {
        let house = &self.houses[relay];
        if house.is_dead {
            return Ok(());
        }
        // Who is connected hears of it.
        self.network.set_down(&house.address, true);
        let store = SqliteStore::open(SqliteOptions::file(house.file()).inline());
        let store = store.or_else(|error| broken(Promise::DevicesWork, format!("a relay does not start: {error}")))?;
        let config = RelayConfig::open(house.address.name().clone());
        self.network.put_relay(&house.address, Relay::new(Arc::new(store), config, self.clock.now()));
        Ok(())
    }

    /// As phones do it: while the app is not running. What is opened again has told the keystore so, which is how a device knows a copy of
    /// before: one that is brought back while nothing was opened or received since looks like the device itself (PROTOCOL H1).
    async fn back_up(&mut self, device: usize) -> Result<(), Violation> {
        if !self.begun.contains(&device) {
            return Ok(());
        }
        let was_on = self.devices[device].is_on();
        self.devices[device].switch_off();
        match self.devices[device].back_up() {
            Ok(copy) => self.copies.push((device, copy, self.ledger.said.len())),
            Err(error) => return broken(Promise::DevicesWork, format!("a device cannot be copied: {error}")),
        }
        if was_on { self.open(device).await } else { Ok(()) }
    }

    async fn restore(&mut self, device: usize) -> Result<(), Violation> {
        let Some(place) = self.copies.iter().rposition(|(of, ..)| *of == device) else { return Ok(()) };
        let (_, copy, said_then) = self.copies.remove(place);
        let of = &mut self.devices[device];
        of.switch_off();
        let kept = ratchets::take_along(&Database::open(of.directory(), &*of.secrets));
        if let Err(error) = of.restore(copy.path()) {
            return broken(Promise::DevicesWork, format!("a device cannot be restored: {error}"));
        }
        ratchets::bring_back(&Database::open(of.directory(), &*of.secrets), &kept);
        self.ledger.is_restored(device, said_then);
        self.open(device).await
    }

    async fn open(&mut self, device: usize) -> Result<(), Violation> {
        if !self.begun.contains(&device) {
            return Ok(());
        }
        let opened = self.devices[device].switch_on(&self.network).await;
        self.works(self.cast.devices[device], "does not open", opened)
    }

    async fn night(&mut self, time: Duration) -> Result<(), Violation> {
        let on: Vec<usize> = (0..self.devices.len()).filter(|device| self.devices[*device].is_on()).collect();
        on.iter().for_each(|device| self.devices[*device].switch_off());
        self.network.pass(time).await;
        for device in on {
            self.open(device).await?;
        }
        Ok(())
    }

    /// The device of somebody's that is on.
    fn device_of(&self, person: usize) -> Option<&Device> {
        self.devices.iter().find(|device| self.cast.devices[device.number] == person && device.is_on())
    }

    async fn meet(&mut self, owner: usize, scanner: usize) -> Result<(), Violation> {
        let known = self.meetings.iter().position(|meeting| (meeting.owner, meeting.scanner) == (owner, scanner));
        let meeting = known.unwrap_or_else(|| {
            self.meetings.push(Meeting { owner, scanner, link: None, is_asked: false });
            self.meetings.len() - 1
        });
        self.go_on_with(meeting).await
    }

    /// As far as it goes now: whoever sees an error tries again later.
    async fn go_on_with(&mut self, meeting: usize) -> Result<(), Violation> {
        let Meeting { owner, scanner, .. } = self.meetings[meeting];
        if self.meetings[meeting].is_asked {
            return Ok(());
        }
        if self.meetings[meeting].link.is_none() {
            let Some(messenger) = self.device_of(owner).and_then(Device::messenger) else { return Ok(()) };
            let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
            match messenger.invite(options).await {
                Ok(invite) => self.meetings[meeting].link = Some(invite.link),
                Err(error) if may_be(&error) => return Ok(()),
                Err(error) => return self.works(owner, "makes no invite", Err(error)),
            }
        }
        if let Some(messenger) = self.device_of(owner).and_then(Device::messenger) {
            let caught_up = messenger.catch_up(MEETING_WAIT).await;
            self.excuse(owner, "does not catch up", caught_up.map(drop))?;
        }
        let link = self.meetings[meeting].link.clone().unwrap_or_default();
        let Some(messenger) = self.device_of(scanner).and_then(Device::messenger) else { return Ok(()) };
        let joined = tokio::time::timeout(MEETING_WAIT * 4, messenger.join(&link)).await;
        match joined {
            Ok(Ok(_)) => self.meetings[meeting].is_asked = true,
            Ok(Err(error)) => {
                let line = format!("the link does not work yet: {}", error.code());
                // Used as far as it goes, by a call whose answer was not waited for.
                self.meetings[meeting].is_asked = error.code() == "already_contact";
                if !may_be(&error) {
                    // Somebody whose link does not work asks for another.
                    self.meetings[meeting].link = None;
                }
                self.tell(&line);
            }
            Err(_) => self.tell("the link has not worked for two minutes"),
        }
        for person in [scanner, owner] {
            if let Some(messenger) = self.device_of(person).and_then(Device::messenger) {
                let caught_up = messenger.catch_up(MEETING_WAIT).await;
                self.excuse(person, "does not catch up", caught_up.map(drop))?;
            }
        }
        Ok(())
    }

    fn excuse(&self, person: usize, what: &str, result: Result<(), Error>) -> Result<(), Violation> {
        match result {
            Err(error) if !may_be(&error) => self.works(person, what, Err(error)),
            _ => Ok(()),
        }
    }

    async fn say(&mut self, device: usize, to: usize, texts: usize) -> Result<(), Violation> {
        let from = self.cast.devices[device];
        let account = self.accounts[to];
        for _ in 0..texts {
            let Some(messenger) = self.devices[device].messenger() else { return Ok(()) };
            let number = self.ledger.said.len() + 1;
            let text = format!("{} to {}, {number}", PEOPLE[from], PEOPLE[to]);
            match messenger.send_text(account, text.clone()).await {
                Ok(_) => self.ledger.said.push(Said {
                    from,
                    device,
                    to,
                    text,
                    seen: MessageState::Queued,
                    is_forgotten: false,
                    is_owed: false,
                }),
                Err(error) if may_be(&error) && self.devices[device].is_dying() => {
                    self.tell(&format!("“{text}” is not stored: {}", error.code()));
                    return Ok(());
                }
                // They are no contacts yet.
                Err(error) if ["not_found", "wrong_state"].contains(&error.code()) => {
                    self.tell(&format!("they cannot talk yet: {}", error.code()));
                    return Ok(());
                }
                Err(error) => return self.works(from, &format!("does not take “{text}”"), Err(error)),
            }
        }
        Ok(())
    }

    fn forget(&self, device: usize) {
        let last = "DELETE FROM message WHERE id = (SELECT max(id) FROM message WHERE sender != 0)";
        self.database(device).change(last);
    }

    /// What every device that is on shows.
    async fn shown(&self) -> Result<Vec<Shown>, Violation> {
        let mut shown = Vec::new();
        for device in &self.devices {
            let Some(messenger) = device.messenger() else { continue };
            let person = self.cast.devices[device.number];
            let mut transcript = Transcript::new();
            for (with, account) in self.accounts.iter().enumerate().filter(|(with, _)| *with != person) {
                match messenger.messages(*account, None, u32::MAX).await {
                    Ok(messages) => drop(transcript.insert(with, messages)),
                    Err(error) if error.code() == "not_found" => {}
                    Err(error) => return self.works(person, "does not show what was said", Err(error)),
                }
            }
            shown.push(Shown { device: device.number, person, transcript });
        }
        Ok(shown)
    }

    async fn look(&mut self) -> Result<Vec<Shown>, Violation> {
        for device in &mut self.devices {
            for event in device.events() {
                self.network.record(&[&device.number.to_le_bytes(), format!("{event:?}").as_bytes()]);
            }
        }
        if let Some(what) = self.network.handed_out_twice() {
            return broken(Promise::KeysServeOnce, what);
        }
        let shown = self.shown().await?;
        self.note_known();
        self.ledger.look(&shown)?;
        Ok(shown)
    }

    /// Everything that is not dead is mended; then time passes until nothing is missing.
    async fn end(&mut self) -> Result<(), Violation> {
        self.tell("everything is mended, and every device opened anew");
        for relay in 0..self.houses.len() {
            self.set_down(relay, self.houses[relay].is_dead);
            for device in 0..self.devices.len() {
                self.change_weather(device, relay, |_| Weather::default());
            }
        }
        for device in 0..self.devices.len() {
            self.devices[device].set_clock(0);
            self.devices[device].switch_off();
            self.open(device).await?;
        }
        // An invite to somebody whose relay is gone is read there, and nobody uses it any more.
        let (houses, begun, listed) = (&self.houses, &self.cast.people, &self.listed);
        let is_lost = |owner: usize| begun[owner].iter().chain(&listed[owner]).any(|relay| houses[*relay].is_dead);
        self.meetings.retain(|meeting| meeting.is_asked || !is_lost(meeting.owner));
        let mut missing = None;
        for time in PATIENCE {
            if time > AN_HOUR {
                self.ask_anew().await?;
            }
            // Hours with engines that run are as many minutes of a processor, and every opening tries everything anew.
            if time < AN_HOUR {
                self.network.pass(time).await
            } else {
                self.night(time).await?
            }
            for meeting in 0..self.meetings.len() {
                self.go_on_with(meeting).await?;
            }
            self.catch_up_all().await?;
            let shown = self.look().await?;
            missing = match self.ledger.missing(&shown).or_else(|| self.unknown()) {
                Some(missing) => Some(missing),
                None => self.disagreement().await?,
            };
            let Some(missing) = &missing else {
                self.tell("everything is with everybody");
                return self.keys_served_once();
            };
            self.tell(&format!("after {} more: {}", lasting(time), missing.what));
        }
        // The cause before what came of it.
        self.keys_served_once()?;
        missing.map_or(Ok(()), Err)
    }

    /// A device that no list of its account names.
    fn unknown(&self) -> Option<Violation> {
        let unknown = self.begun.iter().find(|device| !self.ledger.known_from.contains_key(device))?;
        let what = format!("a second device of {}'s is on no list", PEOPLE[self.cast.devices[*unknown]]);
        Some(Violation { promise: Promise::NothingIsStuck, what })
    }

    fn keys_served_once(&self) -> Result<(), Violation> {
        let databases: Vec<_> = self.begun.iter().map(|device| self.database(*device)).collect();
        for (device, database) in self.begun.iter().zip(&databases) {
            if let Some(what) = ratchets::used_twice(database) {
                let whose = PEOPLE[self.cast.devices[*device]];
                return broken(Promise::RatchetsMoveOn, format!("{whose}'s device made {what}"));
            }
        }
        match ratchets::one_time_key_used_twice(&databases) {
            Some(what) => broken(Promise::KeysServeOnce, format!("a device made {what}")),
            None => Ok(()),
        }
    }

    async fn catch_up_all(&self) -> Result<(), Violation> {
        const ROUNDS_MAX: usize = 20;
        for _ in 0..ROUNDS_MAX {
            let mut moved = 0;
            for device in &self.devices {
                let Some(messenger) = device.messenger() else { continue };
                let person = self.cast.devices[device.number];
                let caught_up = self.works(person, "does not catch up", messenger.catch_up(ROUND).await)?;
                moved += caught_up.received + caught_up.sent;
            }
            if moved == 0 {
                return Ok(());
            }
        }
        broken(Promise::NothingIsStuck, "letters go to and fro without end".to_owned())
    }

    /// Whoever has waited for hours for an answer asks under another invite: the first may have expired before the request could leave.
    async fn ask_anew(&mut self) -> Result<(), Violation> {
        if self.disagreement().await?.is_some() {
            for meeting in &mut self.meetings {
                (meeting.link, meeting.is_asked) = (None, false);
            }
        }
        Ok(())
    }

    /// Two who met, and do not both know it.
    async fn disagreement(&self) -> Result<Option<Violation>, Violation> {
        for Meeting { owner, scanner, is_asked, .. } in &self.meetings {
            for (one, other) in [(*owner, *scanner), (*scanner, *owner)] {
                let devices = self.devices.iter().filter(|device| self.cast.devices[device.number] == one);
                for messenger in devices.filter_map(Device::messenger) {
                    let contacts = self.works(one, "does not list contacts", messenger.contacts().await)?;
                    let state =
                        contacts.iter().find(|contact| contact.id == self.accounts[other]).map(|contact| contact.state);
                    if state != Some(ContactState::Accepted) {
                        let (one, other) = (PEOPLE[one], PEOPLE[other]);
                        let what = format!("to {one}, {other} is {state:?} (asked: {is_asked})");
                        return Ok(Some(Violation { promise: Promise::ContactsAgree, what }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// What devices have refused: it often says why.
    fn tell_refusals(&mut self) {
        let mut lines = Vec::new();
        for device in &self.begun {
            let refused = self.database(*device).refusals();
            lines.push(format!("{} refused: {refused:?}", PEOPLE[self.cast.devices[*device]]));
        }
        lines.iter().for_each(|line| self.tell(line));
    }
}

impl House {
    fn file(&self) -> PathBuf {
        self.directory.path().join("relay.db")
    }

    fn copy(&self) -> Result<TempDir, Violation> {
        let copy = temporary();
        let files = std::fs::read_dir(self.directory.path()).map(|files| files.flatten().collect::<Vec<_>>());
        for file in files.unwrap_or_default() {
            if let Err(error) = std::fs::copy(file.path(), copy.path().join(file.file_name())) {
                return broken(Promise::DevicesWork, format!("a relay cannot be copied: {error}"));
            }
        }
        Ok(copy)
    }
}
