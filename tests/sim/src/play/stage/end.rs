//! What is looked at after every step, and how a play ends: everything is mended, and time passes until nothing is missing.

use sotto_core::records::ContactState;

use super::{AN_HOUR, BEHIND_A_CLOCK, BEHIND_LOST_MAIL, Meeting, PATIENCE, ROUND, Stage, UNTIL_CONFIRMED};
use crate::Weather;
use crate::device::Device;
use crate::play::promises::{Promise, Shown, Transcript, Violation, broken};
use crate::play::{FORKED, ratchets};
use crate::schedule::{PEOPLE, lasting};

impl Stage<'_> {
    /// What every device that is on shows.
    pub(super) async fn shown(&self) -> Result<Vec<Shown>, Violation> {
        let mut shown = Vec::new();
        for device in &self.devices {
            let Some(messenger) = device.messenger() else { continue };
            let person = self.cast.devices[device.number];
            let mut transcript = Transcript::new();
            for (with, account) in self.accounts.iter().enumerate().filter(|(with, _)| *with != person) {
                // Nobody does anything between two looks, as they might where this task has had its turn.
                match tokio::task::unconstrained(messenger.messages(*account, None, u32::MAX)).await {
                    Ok(messages) => drop(transcript.insert(with, messages)),
                    Err(error) if error.code() == "not_found" => {}
                    Err(error) => return self.works(person, "does not show what was said", Err(error)),
                }
            }
            shown.push(Shown { device: device.number, person, transcript });
        }
        Ok(shown)
    }

    pub(super) async fn look(&mut self) -> Result<Vec<Shown>, Violation> {
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
    pub(super) async fn end(&mut self, a_clock_ran_ahead: bool) -> Result<(), Violation> {
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
        self.leave_what_is_dead().await?;
        // An invite to somebody whose relay is gone is read there, and nobody uses it any more.
        let (houses, begun, listed) = (&self.houses, &self.cast.people, &self.listed);
        let is_lost = |owner: usize| begun[owner].iter().chain(&listed[owner]).any(|relay| houses[*relay].is_dead);
        self.meetings.retain(|meeting| meeting.is_asked || !is_lost(meeting.owner));
        let mut missing: Option<Violation> = None;
        let longer = [
            (a_clock_ran_ahead || self.ledger.is_mail_lost).then_some(BEHIND_A_CLOCK),
            // Each time what was found out is done then.
            self.ledger.is_mail_lost.then_some(AN_HOUR),
            self.ledger.is_mail_lost.then_some(BEHIND_LOST_MAIL),
            self.ledger.is_mail_lost.then_some(UNTIL_CONFIRMED),
        ];
        for time in PATIENCE.into_iter().chain(longer.into_iter().flatten()) {
            // What is put again comes so late.
            let is_awaited = |missing: &Violation| missing.promise == Promise::EverythingArrives;
            if time == BEHIND_LOST_MAIL && !missing.as_ref().is_some_and(is_awaited) {
                break;
            }
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
            let forked = self.sees_fork();
            missing =
                match self.ledger.missing(&shown, forked).or_else(|| self.unknown()).or_else(|| self.stuck(forked)) {
                    Some(missing) => Some(missing),
                    None => self.disagreement().await?,
                };
            let Some(missing) = &missing else {
                self.tell("everything is with everybody");
                if let Some(person) = forked {
                    let whose = PEOPLE[person];
                    self.tell(&format!(
                        "{FORKED}: two devices of {whose}'s wrote a list each on both sides of a backup"
                    ));
                }
                self.nobody_is_replaced()?;
                return self.keys_served_once();
            };
            self.tell(&format!("after {} more: {}", lasting(time), missing.what));
        }
        // The cause before what came of it.
        self.keys_served_once()?;
        missing.map_or(Ok(()), Err)
    }

    /// Whose lists a contact cannot tell from a thief's: two devices wrote them, one before their relay came back from a backup and one after.
    /// Nothing goes to them any more (docs/limits.md), and nothing more is expected of what they and others say to each other.
    fn sees_fork(&self) -> Option<usize> {
        if !self.houses.iter().any(|house| house.is_set_back) {
            return None;
        }
        let accounts = self
            .begun
            .iter()
            .flat_map(|device| self.database(*device).blobs("SELECT account FROM contact WHERE trust = 1 AND id != 0"));
        let mut people = accounts.filter_map(|account| self.accounts.iter().position(|of| of.as_ref() == account));
        let has_several =
            |person: usize| self.begun.iter().filter(|device| self.cast.devices[**device] == person).count() > 1;
        let was_set_back = |person: usize| self.listed[person].iter().any(|relay| self.houses[*relay].is_set_back);
        people.find(|person| has_several(*person) && was_set_back(*person))
    }

    /// A device that no list of its account names.
    pub(super) fn unknown(&self) -> Option<Violation> {
        let unknown = self.begun.iter().find(|device| !self.ledger.known_from.contains_key(device))?;
        let what = format!("a second device of {}'s is on no list", PEOPLE[self.cast.devices[*unknown]]);
        Some(Violation { promise: Promise::NothingIsStuck, what })
    }

    /// What a device still has to do that nothing stands in the way of, or holds against somebody who did nothing.
    fn stuck(&self, forked: Option<usize>) -> Option<Violation> {
        let but = forked.map_or_else(String::new, |person| {
            format!(" AND NOT (trust = 1 AND account = x'{}')", crate::hex(self.accounts[person].as_ref()))
        });
        let is_dead = |house: &&super::House| house.is_dead;
        let dead: Vec<String> =
            self.houses.iter().filter(is_dead).map(|house| format!("'{}'", house.address)).collect();
        let dead = dead.join(", ");
        // All other lists, and the end of inboxes that they name no more, wait for the account's own list, and that for its user to leave a home
        // that is gone (PROTOCOL B2).
        let calls = format!(
            "SELECT count(*) FROM relay_task WHERE relay NOT IN ({dead}) AND NOT (relay_task.kind IN (4, 6, 7) AND EXISTS (
                 SELECT 1 FROM relay_task AS list JOIN own_chain ON own_chain.chain = list.subject
                 WHERE list.batch = relay_task.batch AND list.relay IN ({dead}) AND list.kind = 4 AND own_chain.audience = 0))"
        );
        let looked_at = [
            (calls, "calls to relays to make"),
            (
                format!(
                    "SELECT count(*) FROM outbox JOIN peer_device ON peer_device.id = peer_device JOIN contact ON contact.id = peer_device.contact
                     WHERE outbox.state < 2 AND listed = 1{but}"
                ),
                "letters that have not left",
            ),
            (format!("SELECT count(*) FROM contact WHERE trust != 0{but}"), "lists that do not agree"),
        ];
        for device in &self.begun {
            let database = self.database(*device);
            for (sql, what) in &looked_at {
                let count = database.number(sql);
                if count > 0 {
                    let what = format!("{}'s device has {count} {what}", PEOPLE[self.cast.devices[*device]]);
                    return Some(Violation { promise: Promise::NothingIsStuck, what });
                }
            }
        }
        None
    }

    /// Whoever takes itself for a copy and is none may have what others have in the end all the same: its contacts see that it is another.
    fn nobody_is_replaced(&self) -> Result<(), Violation> {
        let replaced = self.names.iter().find(|(device, name)| self.name(**device) != **name);
        let Some((device, _)) = replaced else { return Ok(()) };
        let what = format!("{}'s device is another, and was not restored", PEOPLE[self.cast.devices[*device]]);
        broken(Promise::NobodyIsReplaced, what)
    }

    pub(super) fn keys_served_once(&self) -> Result<(), Violation> {
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

    pub(super) async fn catch_up_all(&self) -> Result<(), Violation> {
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

    /// Whoever has waited for hours for an answer asks under another invite: the first may have expired before the request could leave. An
    /// invite is read at the first relay of the device that made it, the home of who has no other: where that is gone for good, it is left first.
    pub(super) async fn ask_anew(&mut self) -> Result<(), Violation> {
        if self.disagreement().await?.is_none() {
            return Ok(());
        }
        for meeting in 0..self.meetings.len() {
            (self.meetings[meeting].link, self.meetings[meeting].is_asked) = (None, false);
            let Some(device) = self.device_of(self.meetings[meeting].owner).map(|device| device.number) else {
                continue;
            };
            if let Some(home) = self.dead_home(&self.database(device)) {
                self.remove_relay(device, home).await?;
            }
        }
        Ok(())
    }

    /// Two who met, and do not both know it.
    pub(super) async fn disagreement(&self) -> Result<Option<Violation>, Violation> {
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
    pub(super) fn tell_refusals(&mut self) {
        let mut lines = Vec::new();
        for device in &self.begun {
            let refused = self.database(*device).refusals();
            lines.push(format!("{} refused: {refused:?}", PEOPLE[self.cast.devices[*device]]));
        }
        lines.iter().for_each(|line| self.tell(line));
    }
}
