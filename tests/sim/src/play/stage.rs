//! The stage: people, their devices and relays, and what each step of a schedule does to them.
//!
//! After the last step everything that is not dead is mended and every device opened cold; then time passes, in ever longer rounds, until
//! everything is as it must be, or was not within [`PATIENCE`].
//! - `relays`, `people`: what steps do to the ones and the others; `end`: what is looked at, and the end

mod end;
mod people;
mod relays;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sotto_core::world::Clock as _;
use sotto_core::{Error, StoreError};
use sotto_protocol::{AccountId, RelayAddress, Timestamp};
use tempfile::TempDir;

use super::promises::{Ledger, Promise, Violation, broken};
use super::ratchets;
use crate::chance::Chance;
use crate::device::Device;
use crate::people::temporary;
use crate::schedule::{Cast, PEOPLE, RELAYS, Schedule, Step};
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
/// What passes then where a clock ran ahead: all that was to be done a day after something is done so much later. And where a relay has
/// lost something: a list that it has lost, and nothing else that would show it, is there again with the next one, a week after it.
const BEHIND_A_CLOCK: Duration = Duration::from_secs(50 * 3_600);
/// What passes then where a relay has lost what it had taken: for a device that has nothing to say its mail waits there, as far as anybody knows, for
/// as long as relays keep it, and then it is put again.
const BEHIND_LOST_MAIL: Duration = Duration::from_secs(31 * 24 * 3_600);

/// What passes behind that: within a day a device confirms what came.
const UNTIL_CONFIRMED: Duration = Duration::from_secs(25 * 3_600);

/// A relay, and what stays of it when its process dies.
struct House {
    address: RelayAddress,
    directory: TempDir,
    /// What its operator has copied, with when.
    copies: Vec<(TempDir, Timestamp)>,
    is_dead: bool,
    /// Somebody has left it, and not everybody may know.
    is_left: bool,
    /// It came back from a backup.
    is_set_back: bool,
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
    /// Relays that somebody was to leave whose device was off.
    to_leave: Vec<(usize, usize)>,
    meetings: Vec<Meeting>,
    ledger: Ledger,
    /// Devices that are there by now.
    begun: BTreeSet<usize>,
    /// What each was called that was restored, before it becomes another.
    restored: BTreeMap<usize, String>,
    /// What each is called that its account's list names, and that was not restored since.
    names: BTreeMap<usize, String>,
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
            to_leave: Vec::new(),
            meetings: Vec::new(),
            ledger: Ledger {
                devices: schedule.cast.devices.clone(),
                known_from: BTreeMap::new(),
                said: Vec::new(),
                is_mail_lost: false,
            },
            begun: BTreeSet::new(),
            restored: BTreeMap::new(),
            names: BTreeMap::new(),
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
        let ran_ahead = |(_, step): &(_, Step)| matches!(step, Step::Clock { seconds, .. } if *seconds > 0);
        self.end(schedule.steps.iter().any(ran_ahead)).await
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
                is_set_back: false,
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
            self.names.insert(device, self.name(device));
        }
        Ok(())
    }

    fn name(&self, device: usize) -> String {
        self.database(device).texts("SELECT hex(device) FROM account").concat()
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
        let first = self.cast.devices.iter().position(|person| *person == self.cast.devices[device]).unwrap_or(device);
        if self.dead_home(&self.database(first)).is_some() {
            self.tell("the relay of their list is gone: that is left first");
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

    /// From when on others can know of a device: its account's lists name it, the own one first and then that for contacts.
    fn note_known(&mut self) {
        let unknown = self.begun.iter().filter(|device| !self.ledger.known_from.contains_key(device));
        let waiting = "SELECT (SELECT count(*) FROM meta WHERE key = 'born_with') + (SELECT count(*) FROM relay_task
                       JOIN own_chain ON own_chain.chain = relay_task.subject WHERE kind = 4 AND audience IN (0, 1))";
        let is_known = |device: &usize| self.database(*device).number(waiting) == 0;
        let known: Vec<usize> = unknown.copied().filter(is_known).collect();
        let said = self.ledger.said.len();
        let names: Vec<_> = known.iter().map(|device| (*device, self.name(*device))).collect();
        self.names.extend(names);
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
            Step::Resumed(device) => self.resume(*device).await?,
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
                    self.houses[*relay].is_set_back = true;
                    self.network.is_restored(self.houses[*relay].address.name(), copied_at);
                    self.ledger.is_mail_lost = true;
                    self.start_relay(*relay)?;
                }
            }
            Step::RelayDies(relay) => {
                if self.can_do_without(*relay).await? {
                    self.houses[*relay].is_dead = true;
                    self.ledger.is_mail_lost = true;
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
}
