//! Relays that come, die, hang, are restored, and are taken and left by accounts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sotto_core::Error;
use sotto_core::world::Clock as _;
use sotto_protocol::AccountId;
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use tempfile::TempDir;
use tokio::time::error::Elapsed;

use super::{House, MEETING_WAIT, Stage, may_be};
use crate::people::temporary;
use crate::play::promises::{Promise, Violation, broken};
use crate::{Database, Weather};

impl Stage<'_> {
    /// Whether everybody can still be reached without that relay. One dies at a time: whoever has lost both relays cannot be. Nor can
    /// whoever has left a relay that their contacts still know them at, or has another since then of which nobody has heard.
    pub(super) async fn can_do_without(&mut self, relay: usize) -> Result<bool, Violation> {
        if self.houses[relay].is_left || self.houses.iter().any(|house| house.is_dead) {
            return Ok(false);
        }
        // Nobody would ever hear of a device whose list waits there.
        if self.begun.iter().any(|device| !self.ledger.known_from.contains_key(device)) {
            return Ok(false);
        }
        // Nor of another relay, whose list waits there.
        let lost = &self.houses[relay].address;
        let waiting = format!(
            "SELECT count(*) FROM relay_task JOIN own_chain ON own_chain.chain = relay_task.subject
             WHERE kind = 4 AND audience IN (0, 1) AND relay_task.relay = '{lost}'"
        );
        if self.begun.iter().any(|device| self.database(*device).number(&waiting) > 0) {
            return Ok(false);
        }
        // Nor what became of a copy, if the relay of its list is this one.
        if !self.all_know_all(relay) || self.begun.iter().any(|device| self.is_copy(*device)) {
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

    /// Whether everybody's devices know every device of their contacts, also of those whom another device of theirs has met, and know it to
    /// read elsewhere: what nobody has read before its list was lost is never heard of.
    fn all_know_all(&self, relay: usize) -> bool {
        let lost = &self.houses[relay].address;
        let ids = self.begun.iter().filter_map(|device| {
            let id = self.database(*device).blobs("SELECT device FROM account").pop()?;
            Some((*device, self.accounts[self.cast.devices[*device]], id))
        });
        let met = |reader: usize, account: &AccountId| {
            let of = self.cast.devices[reader];
            let is_contact = format!(
                "SELECT count(*) FROM contact WHERE account = x'{}' AND state IN (1, 2, 3)",
                crate::hex(account.as_ref())
            );
            let mut theirs = self.begun.iter().filter(|device| self.cast.devices[**device] == of);
            theirs.any(|device| self.database(*device).number(&is_contact) > 0)
        };
        let knows = |reader: usize, account: &AccountId, id: &[u8]| {
            self.database(reader).number(&format!(
                "SELECT count(*) FROM contact JOIN peer_device ON peer_device.contact = contact.id
                 JOIN peer_inbox ON peer_inbox.peer_device = peer_device.id AND peer_inbox.listed = 1
                 WHERE account = x'{}' AND device = x'{}' AND peer_device.listed = 1 AND peer_inbox.relay != '{lost}'",
                crate::hex(account.as_ref()),
                crate::hex(id)
            )) > 0
        };
        ids.into_iter().all(|(device, account, id)| {
            let others = self.begun.iter().filter(|reader| **reader != device);
            others.filter(|reader| met(**reader, &account)).all(|reader| knows(*reader, &account, &id))
        })
    }

    /// Whether a device is a copy that has not become another one yet: its keystore has seen a later one (PROTOCOL H1).
    fn is_copy(&self, device: usize) -> bool {
        let of = &self.devices[device];
        let remembered = of.secrets.get("generation").ok().flatten().and_then(|bytes| bytes.as_slice().try_into().ok());
        let remembered = remembered.map_or(0, u64::from_be_bytes);
        let database = self.database(device);
        let found = database.number("SELECT value FROM meta WHERE key = 'generation'");
        let is_marked = database.number("SELECT count(*) FROM meta WHERE key = 'is_copy'") > 0;
        is_marked || u64::try_from(found).is_ok_and(|found| found < remembered)
    }

    /// Where somebody reads now.
    pub(super) async fn note_listed(&mut self, device: usize) -> Result<(), Violation> {
        let Some(messenger) = self.devices[device].messenger() else { return Ok(()) };
        let person = self.cast.devices[device];
        let relays = self.works(person, "does not say where it reads", messenger.relays().await)?;
        let listed = relays.iter().filter(|relay| !relay.is_left);
        let listed = listed.filter_map(|relay| self.houses.iter().position(|house| house.address == relay.address));
        self.listed[person] = listed.collect();
        Ok(())
    }

    /// Several devices of one account do not move together yet, and what one of them can do without the other may not.
    pub(super) fn moves_alone(&self, device: usize) -> bool {
        self.database(device).number("SELECT count(*) FROM contact WHERE id = 0") == 0
    }

    /// The relay of an account's own list, where that is gone for good.
    pub(super) fn dead_home(&self, database: &Database) -> Option<usize> {
        let home = database.texts("SELECT relay FROM own_chain WHERE audience = 0").pop()?;
        self.houses.iter().position(|house| house.is_dead && house.address.to_string() == home)
    }

    pub(super) async fn add_relay(&mut self, device: usize, relay: usize) -> Result<(), Violation> {
        let Some(messenger) = self.devices[device].messenger() else { return Ok(()) };
        if !self.moves_alone(device) {
            return Ok(());
        }
        let added = messenger.add_relay(self.houses[relay].address.clone(), String::new());
        let added = tokio::time::timeout(MEETING_WAIT * 4, added).await;
        self.has_changed_relays(device, added).await
    }

    pub(super) async fn remove_relay(&mut self, device: usize, relay: usize) -> Result<(), Violation> {
        let Some(messenger) = self.devices[device].messenger() else {
            self.to_leave.push((device, relay));
            return Ok(());
        };
        if !self.moves_alone(device) {
            return Ok(());
        }
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

    /// Who was to leave a relay that is gone for good does so once their device is on: nothing else tells their contacts where they are.
    pub(super) async fn leave_what_is_dead(&mut self) -> Result<(), Violation> {
        for (device, relay) in std::mem::take(&mut self.to_leave) {
            if self.houses[relay].is_dead && self.listed[self.cast.devices[device]].contains(&relay) {
                self.remove_relay(device, relay).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn has_changed_relays(
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
    pub(super) fn slow_down(&self, relay: usize, time: Duration) {
        let latency = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        for device in 0..self.devices.len() {
            self.change_weather(device, relay, |before| Weather {
                latency_ms_min: latency,
                latency_ms_max: latency,
                ..before
            });
        }
    }

    pub(super) fn set_down(&self, relay: usize, is_down: bool) {
        self.network.set_down(&self.houses[relay].address, is_down);
    }

    pub(super) fn change_weather(&self, device: usize, relay: usize, change: impl FnOnce(Weather) -> Weather) {
        let relay = &self.houses[relay].address;
        self.network.set_weather(device, relay, change(self.network.weather_at(device, relay)));
    }

    /// Starts a relay on what is on its disk, in the place of the process that ran there.
    pub(super) fn start_relay(&mut self, relay: usize) -> Result<(), Violation> {
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
}

impl House {
    pub(super) fn file(&self) -> PathBuf {
        self.directory.path().join("relay.db")
    }

    pub(super) fn copy(&self) -> Result<TempDir, Violation> {
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
