//! How a round of a walk ends: the device that died is opened cold, everything is finished, and what must be true is looked at; and what must
//! have come of a scene in which nobody died, before anything else is done for it.

use std::time::Duration;

use sotto_core::Error;
use sotto_core::records::{ContactState, Kind, Message, MessageState};

use super::scenes::Scene;
use super::theatre::{PATIENCE, Theatre, Who, told};
use crate::Database;
use crate::device::Device;
use crate::play::ratchets;

/// How long letters may take to find the other relay while the first is away.
const MINUTES_ELSEWHERE: usize = 10;

impl Theatre {
    /// The device that died is opened cold, everything is finished, and what must be true is looked at.
    pub(super) async fn finish(&mut self, scene: &Scene) -> Result<(), String> {
        self.finish_all(scene).await?;
        let before = std::mem::take(&mut self.names);
        self.note_names();
        for (who, (before, now)) in [Who::Alice, Who::Bob].into_iter().zip(before.iter().zip(&self.names)) {
            // A copy is another device in the end, and what died while it was made may be.
            let may_be_another = scene.who == who && matches!(scene.name, "begin" | "rollback");
            if before != now && !may_be_another {
                return Err(format!("{who:?}'s device took itself for a copy"));
            }
        }
        Ok(())
    }

    async fn finish_all(&mut self, scene: &Scene) -> Result<(), String> {
        if scene.name == "failover" {
            self.finish_elsewhere().await?;
        }
        self.set_first_down(false);
        if let Some(original) = self.original.take() {
            self.bob.switch_on(&self.network).await.map_err(told)?;
            return self.finish_clone(original).await;
        }
        self.alice.switch_on(&self.network).await.map_err(told)?;
        match self.bob.switch_on(&self.network).await {
            // What died while it was made was never there, and is made now.
            Err(error) if scene.name == "begin" && error.code() == "no_profile" => {
                self.begin_bob().await.map_err(told)?;
            }
            opened => opened.map_err(told)?,
        }
        self.settle().await?;
        let bob = self.account(Who::Bob).await?;
        let contacts = self.alice.messenger().ok_or("is off")?.contacts().await.map_err(told)?;
        let knows = contacts.iter().any(|contact| contact.id == bob && contact.state == ContactState::Accepted);
        if !knows {
            self.meet().await?;
        }
        self.say(Who::Alice).await;
        self.say(Who::Bob).await;
        self.settle().await?;
        self.compare().await
    }

    /// The first relay is still away: what was said since arrives by the other one.
    pub(super) async fn finish_elsewhere(&mut self) -> Result<(), String> {
        self.alice.switch_on(&self.network).await.map_err(told)?;
        self.bob.switch_on(&self.network).await.map_err(told)?;
        for _ in 0..MINUTES_ELSEWHERE {
            self.settle().await?;
            // What was said before is with the relay that is away, and is put again when that has lasted.
            let before = self.noted.parse().unwrap_or(0);
            if self.said.len() <= before || shows(self, Who::Bob, Who::Alice).await? {
                return Ok(());
            }
            self.network.pass(Duration::from_secs(60)).await;
        }
        Err("it waits for a relay that is away".to_owned())
    }

    /// The copy is another device of her account by now, or becomes one; the one that it was made of is told so, and sends nothing.
    async fn finish_clone(&mut self, mut original: Device) -> Result<(), String> {
        self.alice.switch_on(&self.network).await.map_err(told)?;
        self.settle().await?;
        let envelopes = self.network.envelopes().len();
        original.switch_on(&self.network).await.map_err(told)?;
        let found_out = original.catch_up(PATIENCE).await.map(drop);
        if !matches!(found_out, Err(Error::DeviceReplaced)) {
            return Err(format!("the original of a copy goes on: {found_out:?}"));
        }
        original.switch_off();
        if self.network.envelopes().len() > envelopes {
            return Err("the original of a copy has sent letters".to_owned());
        }
        if let Some(ledge) = &self.ledge {
            // She is that one from now on.
            ledge.note("alice is clone", ledge.number("clones"));
        }
        // Bob may hear only now that she is another, and say again what the one before has not confirmed.
        for who in [Who::Alice, Who::Bob, Who::Alice, Who::Bob] {
            self.say(who).await;
            self.settle().await?;
        }
        if let Some(twice) = ratchets::used_twice_among(&[&database(&self.alice), &database(&original)]) {
            return Err(format!("a copy and its original have made {twice}"));
        }
        self.compare().await
    }

    /// Each has what they said, and the other the same, once, in the same order.
    async fn compare(&mut self) -> Result<(), String> {
        let ids = [(Who::Alice, self.account(Who::Bob).await?), (Who::Bob, self.account(Who::Alice).await?)];
        let mut shown = Vec::new();
        for (who, with) in ids {
            let device = self.actor(who).messenger().ok_or("is off")?;
            shown.push(device.messages(with, None, u32::MAX).await.map_err(told)?);
        }
        for (by, own, theirs) in [(Who::Alice, &shown[0], &shown[1]), (Who::Bob, &shown[1], &shown[0])] {
            let own = own.iter().filter(|message| message.state != MessageState::Received);
            let own: Vec<_> = own.map(|message| (&message.text, message.state)).collect();
            let is_said = |message: &&Message| !matches!(message.kind, Kind::KeyChange(_));
            let came = theirs.iter().filter(|message| message.state == MessageState::Received).filter(is_said);
            let came: Vec<_> = came.map(|message| &message.text).collect();
            let kept: Vec<_> = own.iter().map(|(text, _)| *text).collect();
            if kept != came {
                return Err(format!("{by:?} said {kept:?}, and the other has {came:?}"));
            }
            // The last word of the other one confirmed all but the last of these.
            let is_enough = |place: usize, state| match state {
                MessageState::Delivered => true,
                MessageState::Sent => place + 1 == own.len(),
                _ => false,
            };
            let lags = own.iter().enumerate().find(|(place, (_, state))| !is_enough(*place, *state));
            if let Some((_, (text, state))) = lags {
                return Err(format!("“{text}” is {state:?}"));
            }
            let mut kept = kept.into_iter().peekable();
            for said in self.said.iter().filter(|said| said.by == by) {
                let is_kept = kept.next_if(|text| **text == said.text).is_some();
                if said.is_sure && !is_kept {
                    return Err(format!("{by:?} has lost “{}”", said.text));
                }
            }
        }
        self.said.retain(|said| shown.iter().flatten().any(|message| message.text == said.text));
        Ok(())
    }
}

/// That of a device, from outside.
pub(super) fn database(device: &Device) -> Database {
    Database::open(device.directory(), &*device.secrets)
}

/// Somebody shows the last thing that the other was asked to say and has.
pub(super) async fn shows(theatre: &mut Theatre, who: Who, of: Who) -> Result<bool, String> {
    let last = theatre.said.iter().rev().find(|said| said.by == of && said.is_sure).map(|said| said.text.clone());
    let with = theatre.account(of).await?;
    let messages =
        theatre.actor(who).messenger().ok_or("is off")?.messages(with, None, u32::MAX).await.map_err(told)?;
    Ok(last.is_none_or(|last| messages.iter().any(|message| message.text == last)))
}

/// The last thing that alice said is known to be with bob.
pub(super) async fn is_confirmed(theatre: &Theatre) -> Result<bool, String> {
    let with = theatre.account(Who::Bob).await?;
    let messages = theatre.alice.messenger().ok_or("is off")?.messages(with, None, u32::MAX).await.map_err(told)?;
    let own = messages.iter().rfind(|message| message.state != MessageState::Received);
    Ok(own.is_some_and(|message| message.state == MessageState::Delivered))
}

/// Each is a contact of the other's.
pub(super) async fn have_met(theatre: &Theatre) -> Result<bool, String> {
    let pairs =
        [(&theatre.alice, theatre.account(Who::Bob).await?), (&theatre.bob, theatre.account(Who::Alice).await?)];
    for (device, other) in pairs {
        let contacts = device.messenger().ok_or("is off")?.contacts().await.map_err(told)?;
        if !contacts.iter().any(|contact| contact.id == other && contact.state == ContactState::Accepted) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a query of alice's database says.
pub(super) fn alices(theatre: &Theatre, sql: &str) -> String {
    database(&theatre.alice).texts(&format!("SELECT CAST(({sql}) AS TEXT)")).concat()
}
