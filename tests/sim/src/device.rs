//! A device: an engine that comes and goes, over what stays of it: files, keystore, clock. Where it has a fuse, it can die at every step.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sotto_core::records::CatchUp;
use sotto_core::world::{Rng, SecretStore};
use sotto_core::{DeviceKind, Error, Event, Messenger, NewProfile, StoreError, Threading, danger};
use sotto_protocol::RelayAddress;
use tempfile::TempDir;
use tokio::sync::broadcast;

use crate::chance::Chance;
use crate::people::temporary;
use crate::walk::fuse::Fuse;
use crate::{MemorySecrets, Network, TestClock};

/// How long a device that is about to have another beside it gets to tell its relays.
const UNTIL_TOLD: Duration = Duration::from_secs(60);

/// Where a device keeps what stays of it.
pub(crate) enum Place {
    /// Gone with the device.
    Temporary(TempDir),
    /// Somebody else's.
    At(PathBuf),
}

/// See the file's story.
pub(crate) struct Device {
    pub(crate) number: usize,
    pub(crate) secrets: Arc<dyn SecretStore>,
    clock: TestClock,
    rng: Arc<DeviceRng>,
    place: Place,
    fuse: Option<Fuse>,
    /// What the release that it runs has behind the migrations of this one.
    migrations: Vec<String>,
    running: Option<Running>,
    /// Its next writes fail, or already do.
    is_dying: bool,
}

struct Running {
    messenger: Messenger,
    events: broadcast::Receiver<Event>,
}

/// Chance of one device: what others do does not disturb it.
struct DeviceRng(Mutex<Chance>);

impl Rng for DeviceRng {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }
}

impl Device {
    /// Without a profile yet, on a disk of its own.
    pub(crate) fn new(number: usize, seed: u64, clock: TestClock) -> Self {
        Self::at(Place::Temporary(temporary()), Arc::new(MemorySecrets::default()), number, seed, clock)
    }

    /// With what is at a place.
    pub(crate) fn at(place: Place, secrets: Arc<dyn SecretStore>, number: usize, seed: u64, clock: TestClock) -> Self {
        let rng = Arc::new(DeviceRng(Mutex::new(Chance::new(seed, 1 + number as u64))));
        Self { number, secrets, clock, rng, place, fuse: None, migrations: Vec::new(), running: None, is_dying: false }
    }

    /// From its next opening on it hangs on a fuse.
    pub(crate) fn hang_on(&mut self, fuse: &Fuse) {
        self.fuse = Some(fuse.clone());
    }

    /// Makes an account.
    pub(crate) async fn begin(&mut self, name: &str, relays: &[RelayAddress], network: &Network) -> Result<(), Error> {
        let profile = NewProfile { kind: DeviceKind::Phone, ..NewProfile::named(name, relays) };
        danger::hear_steps(self.fuse.as_ref().map(Fuse::hook));
        let created = Messenger::create(self.world(network), self.directory(), profile).await;
        danger::hear_steps(None);
        self.runs(created?);
        Ok(())
    }

    /// Becomes one more device of the account of one that is on.
    pub(crate) async fn begin_beside(&mut self, first: &Self, network: &Network) -> Result<(), Error> {
        let Some(messenger) = first.messenger() else { return Err(StoreError::Closed.into()) };
        danger::expect_siblings(messenger).await?;
        messenger.catch_up(UNTIL_TOLD).await?;
        for name in first.secrets.list()? {
            let secret = first.secrets.get(&name)?.unwrap_or_default();
            self.secrets.put(&name, &secret)?;
        }
        copy_files(first.directory(), self.directory()).map_err(|_| StoreError::Failed)?;
        danger::hear_steps(self.fuse.as_ref().map(Fuse::hook));
        let begun = danger::open_beside(self.world(network), self.directory()).await;
        danger::hear_steps(None);
        self.runs(begun?);
        Ok(())
    }

    fn world(&self, network: &Network) -> sotto_core::World {
        let (transport, secrets) = (network.transport_of(self.number), Arc::clone(&self.secrets));
        let (transport, secrets) = match &self.fuse {
            Some(fuse) => (fuse.transport(transport), fuse.secrets(secrets)),
            None => (transport, secrets),
        };
        sotto_core::World {
            transport,
            clock: Arc::new(self.clock.clone()),
            rng: self.rng.clone(),
            secrets,
            threading: Threading::Inline,
        }
    }

    fn runs(&mut self, messenger: Messenger) {
        self.running = Some(Running { events: messenger.events(), messenger });
    }

    /// The engine, while it is on.
    pub(crate) fn messenger(&self) -> Option<&Messenger> {
        self.running.as_ref().map(|running| &running.messenger)
    }

    pub(crate) const fn is_dying(&self) -> bool {
        self.is_dying
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.running.is_some()
    }

    /// Sends and receives; nothing while it is off.
    pub(crate) async fn catch_up(&self, deadline: Duration) -> Result<CatchUp, Error> {
        match self.messenger() {
            Some(messenger) => messenger.catch_up(deadline).await,
            None => Err(StoreError::Closed.into()),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        match &self.place {
            Place::Temporary(directory) => directory.path(),
            Place::At(directory) => directory,
        }
    }

    /// Ends the engine where it is.
    pub(crate) fn switch_off(&mut self) {
        if let Some(running) = self.running.take() {
            running.messenger.shut_down();
        }
        self.is_dying = false;
    }

    /// Opens it cold, unless it is on and well.
    pub(crate) async fn switch_on(&mut self, network: &Network) -> Result<(), Error> {
        if self.is_on() && !self.is_dying {
            return Ok(());
        }
        self.switch_off();
        // What the old engine had under way ends before the new one begins.
        tokio::task::yield_now().await;
        danger::hear_steps(self.fuse.as_ref().map(Fuse::hook));
        danger::let_come(self.migrations.clone());
        let opened = Messenger::open(self.world(network), self.directory()).await;
        danger::let_come(Vec::new());
        danger::hear_steps(None);
        self.runs(opened?);
        Ok(())
    }

    /// From its next opening on it runs a release with so many more migrations.
    pub(crate) fn runs_a_later_release(&mut self, migrations: usize) {
        self.migrations = (1..=migrations).map(migration).collect();
    }

    /// A copy of its files.
    pub(crate) fn back_up(&self) -> std::io::Result<TempDir> {
        let copy = temporary();
        copy_files(self.directory(), copy.path())?;
        Ok(copy)
    }

    /// It is off, and its files are those of a copy.
    pub(crate) fn restore(&mut self, copy: &Path) -> std::io::Result<()> {
        self.switch_off();
        for file in std::fs::read_dir(self.directory())? {
            std::fs::remove_file(file?.path())?;
        }
        copy_files(copy, self.directory())
    }

    /// It dies at a write.
    pub(crate) fn dies_at_write(&mut self, write: u64) {
        if let Some(running) = &self.running {
            danger::fail_writes_from(&running.messenger, write);
            self.is_dying = true;
        }
    }

    /// Its clock is off by so much from now on.
    pub(crate) fn set_clock(&self, seconds: i64) {
        let off = Duration::from_secs(seconds.unsigned_abs());
        match seconds {
            0 => self.clock.set_right(),
            1.. => self.clock.set_ahead(off),
            _ => self.clock.set_behind(off),
        }
    }

    /// What its engine has told since it was asked last.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let Some(running) = &mut self.running else { return Vec::new() };
        std::iter::from_fn(|| running.events.try_recv().ok()).collect()
    }
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    for file in std::fs::read_dir(from)? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

/// A migration as releases have them: a column for a long table, and a short table that is made anew under its name.
fn migration(number: usize) -> String {
    format!(
        "ALTER TABLE outbox ADD COLUMN later_{number} INTEGER NOT NULL DEFAULT {number};
         ALTER TABLE message ADD COLUMN later_{number} TEXT;
         CREATE TABLE refusal_anew (code TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         INSERT INTO refusal_anew SELECT code, count FROM refusal;
         DROP TABLE refusal;
         ALTER TABLE refusal_anew RENAME TO refusal;
         UPDATE outbox SET later_{number} = 0;"
    )
}
