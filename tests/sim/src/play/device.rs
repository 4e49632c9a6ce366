//! A device of the stage: an engine that comes and goes, over what stays of it: files, keystore, clock.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sotto_core::world::Rng;
use sotto_core::{DeviceKind, Error, Event, Messenger, NewProfile, Threading, danger};
use sotto_protocol::RelayAddress;
use tempfile::TempDir;
use tokio::sync::broadcast;

use crate::chance::Chance;
use crate::people::temporary;
use crate::{MemorySecrets, Network, TestClock};

/// See the file's story.
pub(super) struct Device {
    pub(super) number: usize,
    pub(super) secrets: MemorySecrets,
    clock: TestClock,
    rng: Arc<DeviceRng>,
    directory: TempDir,
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
    /// A new one, of a new account.
    pub(super) async fn begin(
        number: usize,
        name: &str,
        relays: &[RelayAddress],
        network: &Network,
        seed: u64,
        clock: TestClock,
    ) -> Result<Self, Error> {
        let rng = Arc::new(DeviceRng(Mutex::new(Chance::new(seed, 1 + number as u64))));
        let (secrets, directory) = (MemorySecrets::default(), temporary());
        let mut device = Self { number, secrets, clock, rng, directory, running: None, is_dying: false };
        let profile = NewProfile { kind: DeviceKind::Phone, ..NewProfile::named(name, relays) };
        device.runs(Messenger::create(device.world(network), device.directory.path(), profile).await?);
        Ok(device)
    }

    fn world(&self, network: &Network) -> sotto_core::World {
        sotto_core::World {
            transport: network.transport_of(self.number),
            clock: Arc::new(self.clock.clone()),
            rng: self.rng.clone(),
            secrets: Arc::new(self.secrets.clone()),
            threading: Threading::Inline,
        }
    }

    fn runs(&mut self, messenger: Messenger) {
        self.running = Some(Running { events: messenger.events(), messenger });
    }

    /// The engine, while it is on.
    pub(super) fn messenger(&self) -> Option<&Messenger> {
        self.running.as_ref().map(|running| &running.messenger)
    }

    pub(super) const fn is_dying(&self) -> bool {
        self.is_dying
    }

    pub(super) const fn is_on(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends the engine where it is.
    pub(super) fn switch_off(&mut self) {
        if let Some(running) = self.running.take() {
            running.messenger.shut_down();
        }
        self.is_dying = false;
    }

    /// Opens it cold, unless it is on and well.
    pub(super) async fn switch_on(&mut self, network: &Network) -> Result<(), Error> {
        if self.is_on() && !self.is_dying {
            return Ok(());
        }
        self.switch_off();
        // What the old engine had under way ends before the new one begins.
        tokio::task::yield_now().await;
        let messenger = Messenger::open(self.world(network), self.directory.path()).await?;
        self.runs(messenger);
        Ok(())
    }

    /// It dies at a write.
    pub(super) fn dies_at_write(&mut self, write: u64) {
        if let Some(running) = &self.running {
            danger::fail_writes_from(&running.messenger, write);
            self.is_dying = true;
        }
    }

    /// Its clock is off by so much from now on.
    pub(super) fn set_clock(&self, seconds: i64) {
        let off = Duration::from_secs(seconds.unsigned_abs());
        match seconds {
            0 => self.clock.set_right(),
            1.. => self.clock.set_ahead(off),
            _ => self.clock.set_behind(off),
        }
    }

    /// What its engine has told since it was asked last.
    pub(super) fn events(&mut self) -> Vec<Event> {
        let Some(running) = &mut self.running else { return Vec::new() };
        std::iter::from_fn(|| running.events.try_recv().ok()).collect()
    }
}
