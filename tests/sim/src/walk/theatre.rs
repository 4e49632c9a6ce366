//! Two people at two relays, and what must be true of them whenever everything is finished.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sotto_core::world::{Clock as _, SecretStore};
use sotto_core::{Error, InviteOptions};
use sotto_protocol::{AccountId, RelayAddress};
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};

use super::finish::database;
use super::fuse::Fuse;
use super::ledge::Ledge;
use crate::device::{Device, Place};
use crate::people::temporary;
use crate::play::ratchets;
use crate::schedule::RELAYS;
use crate::{BEGINNING, MemorySecrets, Network, SeededRng, TestClock};

/// Virtual time is free: longer than any backoff.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
const ROUNDS_MAX: usize = 20;
/// Names in the ledge.
const FIRST_IS_DOWN: &str = "first is down";
const NOTED: &str = "noted";
const NAMES: [&str; 2] = ["alice is called", "bob is called"];

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Who {
    Alice,
    Bob,
}

/// A text that somebody was asked to say. One whose call failed may have been stored all the same: the device died meanwhile.
pub(super) struct Said {
    pub(super) by: Who,
    pub(super) text: String,
    pub(super) is_sure: bool,
}

/// See the file's story.
pub(super) struct Theatre {
    pub(super) network: Network,
    pub(super) alice: Device,
    pub(super) bob: Device,
    /// The link that bob was to use.
    link: Option<String>,
    clock: TestClock,
    pub(super) relays: Vec<RelayAddress>,
    round: u64,
    bobs: usize,
    /// What alice's release has that this one lacks.
    migrations: usize,
    bob_called: String,
    pub(super) said: Vec<Said>,
    /// Alice before she went on elsewhere: what is opened is a copy.
    pub(super) original: Option<Device>,
    pub(super) ledge: Option<Ledge>,
    /// Texts so far in this round of this process.
    texts: usize,
    /// How things stood before what is walked through.
    pub(super) noted: String,
    /// What each one's device was called when nobody was dead: whoever looks into a profile behind a death finds it mended by that.
    pub(super) names: [String; 2],
}

impl Theatre {
    /// Everything in memory, and gone afterwards.
    pub(super) async fn in_memory() -> Result<Self, String> {
        let (network, clock) = network();
        let relays = RELAYS[..2].iter().map(|name| network.add_relay(name)).collect();
        let devices = [1, 2].map(|number| Device::new(number, 1, clock.another()));
        let mut theatre = Self::with(network, clock, relays, devices);
        theatre.raise().await?;
        Ok(theatre)
    }

    /// On what is in a directory, or is to be there: another process has left it, in whatever state.
    pub(super) async fn at(ledge: Ledge) -> Result<Self, String> {
        let (network, clock) = network();
        let begins = ledge.begun();
        clock.set_ahead(begins);
        let relays: Vec<RelayAddress> = RELAYS[..2].iter().map(|name| address(name)).collect();
        for relay in &relays {
            let store = SqliteStore::open(SqliteOptions::file(ledge.file(relay.name().to_string())).inline());
            let (store, config) = (store.map_err(|error| error.to_string())?, RelayConfig::open(relay.name().clone()));
            network.put_relay(relay, Relay::new(Arc::new(store), config, clock.now()));
        }
        let is_new = !ledge.has("alice");
        let (bobs, clones) = (ledge.number("bobs"), ledge.number("clones"));
        let device = |name: &str, number| {
            let own = clock.another();
            own.set_ahead(begins);
            let (place, secrets) = ledge.place(name);
            // Another process draws other bytes: what the one before drew is spent.
            Device::at(place, secrets, number, begins.as_secs(), own)
        };
        let alice = match ledge.number("alice is clone") {
            0 => device("alice", 1),
            clone => device(&format!("clone {clone}"), 1_000 + clone),
        };
        let devices = [alice, device(&format!("bob {bobs}"), 2 + bobs)];
        let is_cloned = clones > ledge.number("alice is clone");
        let original = is_cloned.then(|| device(&format!("clone {clones}"), 1_000 + clones));
        let mut theatre = Self::with(network, clock, relays, devices);
        theatre.bobs = bobs;
        theatre.migrations = ledge.number("migrations");
        theatre.alice.runs_a_later_release(theatre.migrations);
        theatre.bob_called = format!("bob {bobs}");
        theatre.said = ledge.said();
        theatre.link = Some(ledge.read("link")).filter(|link| !link.is_empty());
        if let Some(clone) = original {
            theatre.original = Some(std::mem::replace(&mut theatre.alice, clone));
        }
        theatre.network.set_down(&theatre.relays[0], ledge.number(FIRST_IS_DOWN) > 0);
        theatre.noted = ledge.read(NOTED);
        theatre.names = NAMES.map(|name| ledge.read(name));
        theatre.ledge = Some(ledge);
        if is_new {
            theatre.raise().await?;
        }
        Ok(theatre)
    }

    /// The time is written down: whoever goes on here comes later.
    pub(super) fn note_time(&self) {
        if let Some(ledge) = &self.ledge {
            ledge.note_time(self.clock.now().since(BEGINNING));
        }
    }

    /// Leaves something to whoever comes next.
    pub(super) fn write(&self, name: &str, what: &str) {
        if let Some(ledge) = &self.ledge {
            ledge.write(name, what);
        }
    }

    /// The link that bob is to use, by whoever goes on here: a walk that made another one after each death would make more than anybody may.
    pub(super) fn keep_link(&mut self, link: &str) {
        self.write("link", link);
        self.link = Some(link.to_owned());
    }

    /// A place for somebody new.
    fn place(&self, name: &str) -> (Place, Arc<dyn SecretStore>) {
        match &self.ledge {
            Some(ledge) => ledge.place(name),
            None => (Place::Temporary(temporary()), Arc::new(MemorySecrets::default())),
        }
    }

    /// A clock that is as right as everybody's.
    fn right_clock(&self) -> TestClock {
        let clock = self.clock.another();
        clock.set_ahead(self.ledge.as_ref().map(Ledge::begun).unwrap_or_default());
        clock
    }

    fn with(network: Network, clock: TestClock, relays: Vec<RelayAddress>, devices: [Device; 2]) -> Self {
        let [alice, bob] = devices;
        let (said, bob_called) = (Vec::new(), "bob".to_owned());
        let (link, original, ledge) = (None, None, None);
        let (round, bobs, migrations, texts) = (0, 0, 0, 0);
        Self {
            network,
            alice,
            bob,
            link,
            clock,
            relays,
            round,
            bobs,
            migrations,
            bob_called,
            said,
            original,
            ledge,
            texts,
            noted: String::new(),
            names: [String::new(), String::new()],
        }
    }

    /// What the devices are called from now on.
    pub(super) fn note_names(&mut self) {
        self.names =
            [&self.alice, &self.bob].map(|device| database(device).texts("SELECT hex(device) FROM account").concat());
        for (file, name) in NAMES.into_iter().zip(&self.names) {
            self.write(file, name);
        }
    }

    /// They begin and meet.
    async fn raise(&mut self) -> Result<(), String> {
        self.alice.begin("alice", &self.relays, &self.network).await.map_err(told)?;
        ratchets::keep(&database(&self.alice));
        self.begin_bob().await.map_err(told)?;
        self.note_names();
        self.meet().await
    }

    pub(super) fn actor(&mut self, who: Who) -> &mut Device {
        match who {
            Who::Alice => &mut self.alice,
            Who::Bob => &mut self.bob,
        }
    }

    pub(super) const fn round(&mut self, round: u64) {
        self.round = round;
    }

    /// From now on somebody's device hangs on a fuse, and is on, if it has begun.
    pub(super) async fn hang(&mut self, who: Who, fuse: &Fuse) -> Result<(), String> {
        let network = self.network.clone();
        let device = self.actor(who);
        let was_on = device.is_on();
        device.switch_off();
        device.hang_on(fuse);
        if was_on { device.switch_on(&network).await.map_err(told) } else { Ok(()) }
    }

    /// Makes the account of whoever is bob now.
    pub(super) async fn begin_bob(&mut self) -> Result<(), Error> {
        self.bob.begin(&self.bob_called, &self.relays, &self.network).await
    }

    /// Somebody else is bob, and has no account yet.
    pub(super) async fn another_bob(&mut self) -> Result<(), String> {
        self.bobs += 1;
        self.bob_called = format!("bob {}", self.bobs);
        self.said.clear();
        self.link = None;
        self.write("link", "");
        self.bob.switch_off();
        let (place, secrets) = self.place(&self.bob_called);
        self.bob = Device::at(place, secrets, 2 + self.bobs, 1 + self.round, self.right_clock());
        if let Some(ledge) = &self.ledge {
            ledge.note("bobs", self.bobs);
            ledge.forget_said();
        }
        Ok(())
    }

    /// Likewise, and has one.
    pub(super) async fn another_bob_begins(&mut self) -> Result<(), String> {
        self.another_bob().await?;
        self.begin_bob().await.map_err(told)?;
        self.note_names();
        Ok(())
    }

    /// Alice's next opening is by a later release.
    pub(super) fn alice_gets_a_later_release(&mut self) {
        self.migrations += 1;
        self.alice.runs_a_later_release(self.migrations);
        if let Some(ledge) = &self.ledge {
            ledge.note("migrations", self.migrations);
        }
    }

    /// A copy is made of alice, who goes on; in her place stands the copy.
    pub(super) async fn alice_is_cloned(&mut self) -> Result<(), String> {
        self.alice.switch_off();
        let number = self.ledge.as_ref().map_or(self.round, |ledge| 1 + ledge.number("clones") as u64);
        let number = usize::try_from(number).unwrap_or(0);
        let (place, secrets) = self.place(&format!("clone {number}"));
        let other = || Arc::clone(&secrets);
        let clone = Device::at(place, other(), 1_000 + number, 1 + self.round, self.right_clock());
        copy(self.alice.directory(), clone.directory()).map_err(|error| error.to_string())?;
        for name in self.alice.secrets.list().map_err(|error| error.to_string())? {
            let secret = self.alice.secrets.get(&name).map_err(|error| error.to_string())?.unwrap_or_default();
            secrets.put(&name, &secret).map_err(|error| error.to_string())?;
        }
        self.alice.switch_on(&self.network).await.map_err(told)?;
        self.say(Who::Bob).await;
        self.settle().await?;
        self.alice.switch_off();
        if let Some(ledge) = &self.ledge {
            ledge.note("clones", number);
        }
        self.original = Some(std::mem::replace(&mut self.alice, clone));
        Ok(())
    }

    /// Alice reads at all relays.
    pub(super) async fn alice_reads_everywhere(&mut self) -> Result<(), String> {
        let alice = self.alice.messenger().ok_or("is off")?;
        let listed = alice.account().await.map_err(told)?.relays;
        for relay in self.relays.iter().filter(|relay| !listed.contains(relay)) {
            alice.add_relay(relay.clone(), String::new()).await.map_err(told)?;
        }
        self.settle().await
    }

    pub(super) fn set_first_down(&self, is_down: bool) {
        self.network.set_down(&self.relays[0], is_down);
        if let Some(ledge) = &self.ledge {
            // It is as far away for the process that comes next.
            ledge.note(FIRST_IS_DOWN, usize::from(is_down));
            ledge.write(NOTED, &self.noted);
        }
    }

    pub(super) async fn say(&mut self, by: Who) {
        self.texts += 1;
        let text = format!("{by:?} {} in round {}", self.texts, self.round);
        let Ok(to) = self.account(if by == Who::Alice { Who::Bob } else { Who::Alice }).await else { return };
        if let Some(ledge) = &self.ledge {
            ledge.note_said(by, &text, false);
        }
        let is_sure = match self.actor(by).messenger() {
            Some(messenger) => messenger.send_text(to, text.clone()).await.is_ok(),
            None => return,
        };
        if let (Some(ledge), true) = (&self.ledge, is_sure) {
            ledge.note_said(by, &text, true);
        }
        self.said.push(Said { by, text, is_sure });
    }

    pub(super) async fn account(&self, who: Who) -> Result<AccountId, String> {
        let device = if who == Who::Alice { &self.alice } else { &self.bob };
        let account = device.messenger().ok_or("is off")?.account().await.map_err(told)?;
        Ok(account.id)
    }

    /// Nobody's device is on for some time; then whoever is not to die is.
    pub(super) async fn night(&mut self, time: Duration) {
        self.alice.switch_off();
        self.bob.switch_off();
        self.network.pass(time).await;
        let _ = self.bob.switch_on(&self.network).await;
    }

    /// Everybody sends and receives until nothing moves.
    pub(super) async fn settle(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            let mut moved = 0;
            for device in [&self.bob, &self.alice] {
                let caught_up = device.catch_up(PATIENCE).await.map_err(told)?;
                moved += caught_up.received + caught_up.sent;
            }
            if moved == 0 {
                return Ok(());
            }
        }
        Err("letters go to and fro without end".to_owned())
    }

    pub(super) async fn meet(&mut self) -> Result<(), String> {
        // Lists that are signed in one millisecond are one list.
        self.network.pass(Duration::from_secs(1)).await;
        let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
        let link = match self.link.take() {
            Some(link) => {
                self.write("link", "");
                link
            }
            None => self.alice.messenger().ok_or("is off")?.invite(options).await.map_err(told)?.link,
        };
        self.alice.catch_up(PATIENCE).await.map_err(told)?;
        match self.bob.messenger().ok_or("is off")?.join(&link).await {
            // As far as he knew before he died.
            Err(error) if error.code() == "already_contact" => {}
            joined => drop(joined.map_err(told)?),
        }
        self.settle().await
    }
}

fn network() -> (Network, TestClock) {
    let clock = TestClock::default();
    let network = Network::new(Arc::new(clock.clone()), Arc::new(SeededRng::new(1)));
    (network, clock)
}

fn address(name: &str) -> RelayAddress {
    format!("https://{name}").parse().expect("a relay of this theatre has a good name")
}

#[expect(clippy::needless_pass_by_value, reason = "shaped for map_err")]
pub(super) fn told(error: Error) -> String {
    error.code().to_owned()
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    for file in std::fs::read_dir(from)? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}
