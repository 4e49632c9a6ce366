//! What people do with their devices: they meet, speak, switch them off, and bring old copies back.

use std::time::Duration;

use sotto_core::records::MessageState;
use sotto_core::{Error, InviteOptions};
use tempfile::TempDir;

use super::{MEETING_WAIT, Meeting, Stage, may_be};
use crate::Database;
use crate::device::Device;
use crate::play::promises::{Promise, Said, Violation, broken};
use crate::play::ratchets;
use crate::schedule::PEOPLE;

impl Stage<'_> {
    /// As phones do it: while the app is not running. What is opened again has told the keystore so, which is how a device knows a copy of
    /// before: one that is brought back while nothing was opened or received since looks like the device itself (PROTOCOL H1).
    pub(super) async fn back_up(&mut self, device: usize) -> Result<(), Violation> {
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

    pub(super) async fn restore(&mut self, device: usize) -> Result<(), Violation> {
        let Some(place) = self.copies.iter().rposition(|(of, ..)| *of == device) else { return Ok(()) };
        let copy = Database::open(self.copies[place].1.path(), &*self.devices[device].secrets);
        let epoch = "SELECT epoch FROM account";
        if copy.number(epoch) < self.database(device).number(epoch) {
            self.tell("it has left a home since, and the copy never had the list key of now: it would say so for ever");
            return Ok(());
        }
        if self.dead_home(&copy).is_some() {
            self.tell("nobody could say what became of it: the relay of its list is gone");
            return Ok(());
        }
        let name = copy.texts("SELECT hex(device) FROM account").concat();
        let (_, copy, said_then) = self.copies.remove(place);
        // Of several copies of one device the first wins: the others can only be read (PROTOCOL H2).
        let secrets = &*self.devices[device].secrets;
        let is_of =
            |copy: &TempDir| Database::open(copy.path(), secrets).texts("SELECT hex(device) FROM account").concat();
        self.copies.retain(|(of, copy, _)| *of != device || is_of(copy) != name);
        let of = &mut self.devices[device];
        of.switch_off();
        let kept = ratchets::take_along(&Database::open(of.directory(), &*of.secrets));
        if let Err(error) = of.restore(copy.path()) {
            return broken(Promise::DevicesWork, format!("a device cannot be restored: {error}"));
        }
        ratchets::bring_back(&Database::open(of.directory(), &*of.secrets), &kept);
        self.ledger.is_restored(device, said_then);
        self.names.remove(&device);
        self.restored.insert(device, self.name(device));
        self.open(device).await
    }

    pub(super) async fn open(&mut self, device: usize) -> Result<(), Violation> {
        if !self.begun.contains(&device) {
            return Ok(());
        }
        let opened = self.devices[device].switch_on(&self.network).await;
        self.works(self.cast.devices[device], "does not open", opened)
    }

    pub(super) async fn resume(&mut self, device: usize) -> Result<(), Violation> {
        let Some(messenger) = self.devices[device].messenger().cloned() else { return Ok(()) };
        match messenger.resume().await {
            // It died at a write before, or does at this one.
            Err(error) if matches!(error.code(), "disk_full" | "shut_down") => {
                self.tell(&format!("it is not: {}", error.code()));
                Ok(())
            }
            resumed => self.works(self.cast.devices[device], "is not resumed", resumed),
        }
    }

    pub(super) async fn night(&mut self, time: Duration) -> Result<(), Violation> {
        let on: Vec<usize> = (0..self.devices.len()).filter(|device| self.devices[*device].is_on()).collect();
        on.iter().for_each(|device| self.devices[*device].switch_off());
        self.network.pass(time).await;
        for device in on {
            self.open(device).await?;
        }
        Ok(())
    }

    /// The device of somebody's that is on.
    pub(super) fn device_of(&self, person: usize) -> Option<&Device> {
        self.devices.iter().find(|device| self.cast.devices[device.number] == person && device.is_on())
    }

    pub(super) async fn meet(&mut self, owner: usize, scanner: usize) -> Result<(), Violation> {
        let known = self.meetings.iter().position(|meeting| (meeting.owner, meeting.scanner) == (owner, scanner));
        let meeting = known.unwrap_or_else(|| {
            self.meetings.push(Meeting { owner, scanner, link: None, is_asked: false });
            self.meetings.len() - 1
        });
        self.go_on_with(meeting).await
    }

    /// As far as it goes now: whoever sees an error tries again later.
    pub(super) async fn go_on_with(&mut self, meeting: usize) -> Result<(), Violation> {
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

    pub(super) fn excuse(&self, person: usize, what: &str, result: Result<(), Error>) -> Result<(), Violation> {
        match result {
            Err(error) if !may_be(&error) => self.works(person, what, Err(error)),
            _ => Ok(()),
        }
    }

    pub(super) async fn say(&mut self, device: usize, to: usize, texts: usize) -> Result<(), Violation> {
        let from = self.cast.devices[device];
        let account = self.accounts[to];
        let is_addressed = self.begun.contains(&device) && self.knows_all_devices_of(device, to);
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
                    forgotten: None,
                    is_owed: false,
                    is_addressed,
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

    /// Whether this device has read of every device of theirs, and none of those is about to become another.
    fn knows_all_devices_of(&self, device: usize, person: usize) -> bool {
        let known = self.database(device).texts("SELECT hex(device) FROM peer_device WHERE listed = 1");
        let theirs = self.begun.iter().filter(|other| self.cast.devices[**other] == person);
        theirs.map(|other| (other, self.name(*other))).all(|(other, name)| {
            let is_copy = self.restored.get(other) == Some(&name);
            known.contains(&name) && !is_copy
        })
    }

    pub(super) fn forget(&self, device: usize) {
        let last = "(SELECT max(id) FROM message WHERE sender != 0)";
        self.database(device)
            .change(&format!("DELETE FROM search_row WHERE message = {last}; DELETE FROM message WHERE id = {last};"));
    }
}
