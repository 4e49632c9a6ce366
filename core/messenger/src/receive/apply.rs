//! What an authenticated letter changes: ratchet, seal, counters, confirmations, and what it says.

use sotto_crypto::letter::{Content, Letter, Progress};
use sotto_crypto::manifest::HeadNews;
use sotto_protocol::{ConversationId, MessageId};

use super::confirming::asks_to_be_confirmed;
use super::content::{check_cards, content_of};
use super::deeds::{Doer, Done};
use super::open::Ratchet;
use super::{Batch, Fault, Incoming, Why};
use crate::contact::pair_change::Heard;
use crate::contact::{self, Contact, ContactRow, ContactState, Trust};
use crate::conversation::{self, MessageRow, NewMessage, Order, progress};
use crate::error::Error;
use crate::handshake::{self, Answered};
use crate::healing::{self, News};
use crate::outbox::{self, NewLetter, Says};
use crate::own;
use crate::peer::{self, DeviceRow, Met, ends_at};
use crate::profile;
use crate::records::{Kind, MessageState};
use crate::seal;
use crate::session;
use crate::store::StoreError;
use crate::upkeep::CONFIRMATION_LIFETIME;

impl Batch<'_, '_, '_> {
    /// Takes a letter of a contact. Says whether a seal key was installed.
    pub(super) fn take_letter(
        &mut self,
        row: ContactRow,
        is_reply_alias: bool,
        incoming: &Incoming<'_>,
    ) -> Result<bool, Fault> {
        let contact = self.contact(row)?;
        if contact.state == ContactState::Removed {
            return Err(Fault::Refused("contact_removed"));
        }
        if contact.blocked {
            return Err(Fault::Wait(Why::Blocked));
        }
        match contact.trust {
            Trust::Sound => {}
            Trust::Forked => {
                self.received.stale.push(row);
                return Err(Fault::Wait(Why::Distrusted));
            }
            Trust::Compromised => return Err(Fault::Refused("contact_distrusted")),
        }
        let unsealed = self.unseal(row, incoming)?;
        if self.is_repeat(&unsealed)? {
            return Err(Fault::Refused("repeat"));
        }
        let device = self.maker(&contact, &unsealed)?;
        let inner_hash = unsealed.inner_hash;
        let authentic = match self.authenticate(&contact, device, unsealed) {
            Err(Fault::Unopened(cause)) => {
                self.could_not_open(&contact, device, inner_hash, cause)?;
                return Err(Fault::Unopened(cause));
            }
            authentic => authentic?,
        };
        if authentic.letter.conversation != ConversationId::between(&self.own.account, &contact.account) {
            return Err(Fault::Refused("conversation_refused"));
        }
        if matches!(authentic.ratchet, Ratchet::Begun { .. }) {
            let reply_inbox = authentic.letter.reply_inbox.ok_or(Fault::Refused("reply_inbox_refused"))?;
            if peer::inbox_by_id(self.tx, device, &reply_inbox)?.is_none() {
                // Its owner reads at another relay now, and this may be the very letter that tells where the list is that says so.
                self.received.stale.push(row);
            }
        }
        if self.is_about_somebody_unknown(&contact, &authentic.letter)? {
            // Who that is comes in a letter of its own.
            return Err(Fault::Wait(Why::NotAnswered));
        }
        if self.was_counted(&contact, device, authentic.letter.counter)? {
            // Here again: through another inbox, or because its sender never heard that it came. It hears it again, and may have given up
            // others meanwhile.
            let content = content_of(&authentic.letter, &contact, is_reply_alias).ok();
            let asks = content.as_ref().is_none_or(asks_to_be_confirmed);
            let (installed, letter) = self.keep_keys(&contact, device, authentic)?;
            self.count(&contact, device, &letter, asks)?;
            self.heed(&contact, device, &letter)?;
            let places = self.places_of(&contact, device, &inner_hash, &letter)?;
            match content {
                Some(content) if contact.row == ContactRow::OWN => {
                    self.clear(&places)?;
                    self.apply_own(&contact, device, &letter, content)?;
                }
                // It was counted without having been seen, or has been since.
                Some(content) if !places.is_empty() => {
                    if let Some((kind, text)) = shown(&content) {
                        self.say(&contact, device, &letter, kind, text, &places)?;
                    } else {
                        self.clear(&places)?;
                        self.do_what_is_said(&contact, device, &letter, &content)?;
                    }
                }
                _ => {}
            }
            return Ok(installed);
        }
        let content = match content_of(&authentic.letter, &contact, is_reply_alias) {
            Ok(content) => check_cards(&contact, &content).map(|()| content),
            Err(error) => Err(error.into()),
        };
        let content = match content {
            Err(nonsense) if contact.state == ContactState::Accepted => {
                return self.take_nonsense(&contact, device, authentic, nonsense);
            }
            Err(nonsense) => return Err(Fault::Refused(nonsense.code)),
            Ok(content) => content,
        };
        // One in whose place another has come speaks of what that one does not know, and need not be the owner's any more: it leads nowhere.
        let leads_on = matches!(content, Content::PairChange { .. } | Content::CardChange(_));
        let leads_astray = leads_on && !self.device(&contact, device)?.listed;
        if let Content::PairChange { pair_secret, epoch, before } = &content
            && !leads_astray
        {
            if *epoch > contact.head.epoch {
                // Only the list of that epoch says which devices are theirs still: this one may be the one that they have removed.
                self.received.stale.push(row);
                return Err(Fault::Wait(Why::UnknownDevice));
            }
            if handshake::is_unanswered(self.tx, self.own_inbox, incoming.alias)? {
                // It speaks of the pair of an answer that was sent before it, and would be undone by that.
                return Err(Fault::Wait(Why::NotAnswered));
            }
            let (change, under) = ((pair_secret, *epoch, before), (self.own_inbox, incoming.alias));
            let heard = handshake::hears_of(self.tx, self.own, &contact, change, under)?;
            if matches!(heard, Heard::News | Heard::Shared) && !contact::may_meet(self.tx, row, self.now)? {
                return Err(Fault::Refused("pair_change_too_often"));
            }
        }
        match contact.state {
            ContactState::Accepted => {}
            ContactState::Asked if matches!(content, Content::ContactAccept { .. }) => {}
            // They speak as contacts do. Between us that is so only when their answer has come, or ours has gone.
            _ => return Err(Fault::Wait(Why::NotAnswered)),
        }
        let (installed, letter) = self.keep_keys(&contact, device, authentic)?;
        let alias = (self.own_inbox, incoming.alias);
        handshake::knows_pair(self.tx, self.own, &contact, device, alias)?;
        if handshake::came_under(self.tx, self.own, &contact, alias, self.times()).map_err(into_fault)? {
            self.forget_contact(row);
        }
        let is_of_handshake = matches!(content, Content::ContactAccept { .. } | Content::PairReady);
        let is_over = leads_astray || is_of_handshake && self.meet(&contact, device, letter.counter)? == Met::Late;
        self.count(&contact, device, &letter, asks_to_be_confirmed(&content))?;
        // One that left before and is new here was missing, whether or not that was known.
        self.device(&contact, device)?.news.was_missing |= !letter.earlier.is_empty();
        self.heed(&contact, device, &letter)?;
        let places = self.places_of(&contact, device, &inner_hash, &letter)?;
        if is_own_word(&contact, &content) {
            self.clear(&places)?;
            self.apply_own(&contact, device, &letter, content)?;
        } else if let Some((kind, text)) = shown(&content) {
            self.say(&contact, device, &letter, kind, text, &places)?;
        } else {
            self.clear(&places)?;
            self.do_what_is_said(&contact, device, &letter, &content)?;
            if !is_over {
                self.apply(&contact, device, incoming.alias, &letter, content)?;
            }
        }
        Ok(installed)
    }

    /// What a contact does to messages.
    fn do_what_is_said(
        &mut self,
        contact: &Contact,
        device: DeviceRow,
        letter: &Letter,
        content: &Content,
    ) -> Result<(), StoreError> {
        let Some(done) = Done::of(content, contact.account) else { return Ok(()) };
        let conversation = self.conversation(contact)?;
        let line = self.order(contact, device, letter)?.line;
        let doer = Doer { conversation, contact: Some(contact), author: Some(contact.row), line };
        self.do_to_messages(doer, letter, &done, &letter.content)
    }

    /// A letter of a handshake begins the count anew: its sender has given up whatever came before it.
    pub(super) fn meet(&mut self, contact: &Contact, row: DeviceRow, counter: u64) -> Result<Met, StoreError> {
        let met = peer::meet(self.tx, row, counter)?;
        if met == Met::Now {
            let (tx, device) = self.tx_and_device(contact, row)?;
            device.counted.begin_anew(tx, row, counter)?;
        }
        Ok(met)
    }

    /// Whether a letter of that counter was taken already.
    pub(super) fn was_counted(&mut self, contact: &Contact, row: DeviceRow, counter: u64) -> Result<bool, StoreError> {
        let (tx, device) = self.tx_and_device(contact, row)?;
        device.counted.holds(tx, row, counter)
    }

    /// Counts a letter, and moves the contiguous counter over what came early and what will not come.
    pub(super) fn count(
        &mut self,
        contact: &Contact,
        row: DeviceRow,
        letter: &Letter,
        asks_to_be_confirmed: bool,
    ) -> Result<(), StoreError> {
        let (tx, device) = self.tx_and_device(contact, row)?;
        let place = device.counted.add(tx, row, letter)?;
        device.changed = true;
        device.to_confirm += u32::from(asks_to_be_confirmed || place.closed_hole);
        device.news.add(News { lacks_more: place.lacks_more, was_missing: place.was_missing });
        Ok(())
    }

    /// What the letter says of our own letters, seals and of its sender's list.
    pub(super) fn heed(&mut self, contact: &Contact, device: DeviceRow, letter: &Letter) -> Result<(), StoreError> {
        let (now, (tx, known)) = (self.now, self.tx_and_device(contact, device)?);
        known.spoke_at = known.spoke_at.max(letter.sent_at);
        if letter.confirmed > known.confirmed && outbox::confirmed(tx, device, letter.confirmed, now)? {
            known.confirmed = letter.confirmed;
        }
        if let Some(opened) = &letter.opened {
            seal::confirm_out(self.tx, device, opened, self.now)?;
        }
        if contact.state == ContactState::Asked {
            return Ok(());
        }
        if contact.chain_is_new {
            // Hashes of another chain say nothing; that the root key has spoken does.
            if letter.head.epoch > contact.head.epoch {
                contact::manifest_is_stale(self.tx, contact.row)?;
            }
            return Ok(());
        }
        match contact.head.news(&letter.head) {
            HeadNews::Same if contact.row == ContactRow::OWN => own::siblings::no_fork(self.tx)?,
            HeadNews::Same | HeadNews::Older => {}
            // Whoever holds the list key could as well write behind ours. What stands decides.
            HeadNews::Fork if contact.row == ContactRow::OWN => {
                own::siblings::note_fork(self.tx, letter.head.version)?;
                self.received.stale.push(contact.row);
            }
            HeadNews::Newer => {
                self.received.stale.push(contact.row);
                if letter.head.epoch > contact.head.epoch {
                    // Devices may have been removed: nothing is sent before that list was read.
                    contact::manifest_is_stale(self.tx, contact.row)?;
                }
            }
            HeadNews::Fork => {
                contact::distrust(self.tx, contact.row, Trust::Forked)?;
                self.forget_contact(contact.row);
                self.received.contacts_changed = true;
            }
        }
        Ok(())
    }

    /// Heeds what is no message.
    fn apply(
        &mut self,
        contact: &Contact,
        device: DeviceRow,
        alias: u32,
        letter: &Letter,
        content: Content,
    ) -> Result<(), Fault> {
        match content {
            // Done before.
            Content::Confirmation
            | Content::Text(_)
            | Content::Edit { .. }
            | Content::Delete(_)
            | Content::Reaction { .. }
            | Content::Pin { .. }
            | Content::Nudge
            | Content::Unknown { .. } => {}
            Content::Receipts(ids) => self.are_read(contact, &ids)?,
            Content::Profile(profile) => {
                // One in whose place another has come, or that was removed, speaks for nobody any more.
                if self.device(contact, device)?.listed && profile::take(self.tx, contact.row, &profile)? {
                    self.forget_contact(contact.row);
                    self.received.contacts_changed = true;
                }
            }
            Content::ResendRequest(request) => healing::answer(self.tx, device, &request, self.now, self.chance)?,
            Content::GivenUp(given_up) => self.take_given_up(contact, device, letter, &given_up)?,
            Content::PairReady => {
                let Some(pair) = contact.pair_secret() else { return Ok(()) };
                if !handshake::is_under_pair(self.tx, self.own, self.own_inbox, alias, pair)? {
                    // Under a token of a pair before, it tells of that pair.
                    return Ok(());
                }
                if contact.is_telling_change() {
                    // The answer of this device may still take them to the pair before: that they have this one for good they say themselves.
                    return Ok(());
                }
                contact::pair_is_usable(self.tx, contact.row)?;
                if !contact.is_pair_usable() {
                    own::sync::contact_changed(self.tx, self.own, contact.row, self.now, self.chance)
                        .map_err(into_fault)?;
                }
                handshake::change_what_is_due(self.tx, self.own, contact.row, self.times(), self.chance)
                    .map_err(into_fault)?;
                self.forget_contact(contact.row);
            }
            Content::PairChange { pair_secret, epoch, before } => {
                let change = (&pair_secret, epoch, &before);
                let under = (self.own_inbox, alias);
                let is_ours =
                    handshake::take_pair_change(self.tx, self.own, contact, change, under, self.times(), self.chance)
                        .map_err(into_fault)?;
                self.forget_contact(contact.row);
                self.received.answered.extend(is_ours.then_some(contact.row));
            }
            Content::PairChanged { pair } => {
                if handshake::pair_is_changed(self.tx, self.own, contact, &pair, self.times(), self.chance)
                    .map_err(into_fault)?
                {
                    self.forget_contact(contact.row);
                    self.received.answered.push(contact.row);
                }
            }
            Content::CardChange(card) => {
                let chain = handshake::chain_of(&card);
                contact::led_to_chain(self.tx, contact.row, &chain)?;
                self.forget_contact(contact.row);
            }
            Content::ContactAccept { .. } if !handshake::is_first_answer(self.tx, self.own_inbox, alias)? => {}
            Content::ContactAccept { name, card, pair_secret } => {
                let chain = handshake::chain_of(&card);
                let answer = Answered { name, chain, pair_secret };
                handshake::answered(self.tx, self.own, contact.row, &answer, self.times(), self.chance)
                    .map_err(into_fault)?;
                self.forget_contact(contact.row);
                self.received.contacts_changed = true;
                self.received.answered.push(contact.row);
            }
            Content::ContactRequest { .. } | Content::OwnDeviceSync(_) => {
                return Err(Fault::Refused("content_misplaced"));
            }
        }
        Ok(())
    }

    /// They have read messages of ours.
    fn are_read(&mut self, contact: &Contact, ids: &[MessageId]) -> Result<(), StoreError> {
        let conversation = self.conversation(contact)?;
        let read: Vec<_> = ids.iter().map(|id| (*id, Progress::Read)).collect();
        progress::told(self.tx, conversation, Some(contact.row), &read, self.now)
    }

    /// What a letter says of where its message stands.
    pub(super) fn order(&mut self, contact: &Contact, device: DeviceRow, letter: &Letter) -> Result<Order, StoreError> {
        let known = self.device(contact, device)?;
        let end = ends_at(contact.head.epoch, contact.head.version).min(known.ordinals_end.unwrap_or(u64::MAX));
        let ordinal = if letter.ordinal > end { 0 } else { letter.ordinal };
        Ok(Order { line: known.line, ordinal })
    }

    /// A message: in the first of the places that were left for it, or where its ordinal puts it.
    pub(super) fn say(
        &mut self,
        contact: &Contact,
        device: DeviceRow,
        letter: &Letter,
        kind: Kind,
        text: &str,
        places: &[MessageRow],
    ) -> Result<(), StoreError> {
        let conversation = self.conversation(contact)?;
        let new = NewMessage {
            conversation,
            sender: Some(contact.row),
            message_id: letter.message_id,
            sent_at: letter.sent_at,
            received_at: self.now,
            kind,
            text,
            content: &letter.content,
            state: MessageState::Received,
            order: self.order(contact, device, letter)?,
        };
        if let Some((place, others)) = places.split_first() {
            self.write_arrivals()?;
            self.clear(others)?;
            if conversation::take_place(self.tx, *place, &new)? {
                self.received.messages.push(*place);
            }
            return Ok(());
        }
        if let Some(stored) = conversation::insert(self.tx, &new)? {
            self.arrived(conversation, stored);
        }
        Ok(())
    }
}

impl Batch<'_, '_, '_> {
    /// A listed device of an accepted contact sends on a session that we do not have, or used a one-time key that is gone: our next letter, which is made here, begins a session
    /// that both have.
    pub(super) fn answer_by_fresh_session(&mut self, contact: &Contact, device: DeviceRow) -> Result<(), StoreError> {
        // Nothing but the request leaves while we ask.
        if contact.state != ContactState::Accepted || contact.is_asked() {
            return Ok(());
        }
        if !session::may_begin_afresh(self.tx, device, self.now)? {
            return Ok(());
        }
        self.tx.execute(
            "UPDATE session SET sending = 0 WHERE sending = 1 AND peer_inbox IN (SELECT id FROM peer_inbox WHERE peer_device = ?1)",
            [device.0],
        )?;
        let content = Content::Confirmation.encode().map_err(|_| StoreError::Failed)?;
        let message_id = MessageId::from_bytes(self.chance.bytes());
        let letter = NewLetter {
            says: Says::Content(&content),
            message_id,
            sent_at: self.now,
            dies_at: Some(self.now.after(CONFIRMATION_LIFETIME)),
            after_batch: None,
        };
        outbox::queue(self.tx, device, &letter)
    }
}

/// What is shown of a content, where anything is.
pub(super) fn shown(content: &Content) -> Option<(Kind, &str)> {
    match content {
        Content::Text(text) => Some((Kind::Text, &text.body)),
        Content::Unknown { fallback } => Some((Kind::Unknown, fallback)),
        Content::Nudge => Some((Kind::Nudge, "")),
        _ => None,
    }
}

/// What this account says to itself.
fn is_own_word(contact: &Contact, content: &Content) -> bool {
    let is_said = matches!(content, Content::OwnDeviceSync(_)) || shown(content).is_some();
    contact.row == ContactRow::OWN && (is_said || Done::of(content, contact.account).is_some())
}

/// The handshake has begun to write: what stops it is this device's own trouble, and no reason to keep half of it.
pub(super) fn into_fault(error: Error) -> Fault {
    match error {
        Error::Store(error) => Fault::Store(error),
        _ => Fault::Store(StoreError::Corrupt),
    }
}
