//! Requests: letters of somebody who scanned an invite of ours.
//!
//! The sender is not known yet: the manifest in the request proves them, and everything is checked against it before anything is written.

use sotto_crypto::DeviceName;
use sotto_crypto::letter::{Card, Channel, Content, Letter, UnverifiedLetter};
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::secret::{InviteProof, ReplySecret};
use sotto_protocol::AccountId;

use super::apply::into_fault;
use super::content::content_code;
use super::open::{Authentic, Unsealed};
use super::{Batch, Fault, Incoming};
use crate::contact::{self, Contact};
use crate::handshake::{self, ProvenRequest, Requested};
use crate::peer::{self, DeviceRow};
use crate::session;
use crate::store::StoreError;

/// What somebody says who asks.
struct Asks<'a> {
    invite: i64,
    sender: &'a DeviceName,
    name: &'a str,
    card: &'a Card,
    manifest: &'a VerifiedManifest,
    reply_secret: &'a ReplySecret,
}

impl Batch<'_, '_, '_> {
    /// Takes a letter that came under an invite's token.
    pub(super) fn take_request(&mut self, invite: i64, incoming: &Incoming<'_>) -> Result<bool, Fault> {
        let unsealed = self.unseal_opener(incoming)?;
        if self.is_repeat(&unsealed)? {
            return Err(Fault::Refused("repeat"));
        }
        let message = &unsealed.sealed.message;
        let sender = unsealed.sealed.sender.ok_or(Fault::Refused("sender_missing"))?;
        if sender.account == self.own.account {
            return Err(Fault::Refused("request_of_own_account"));
        }
        let (Some(session), Some(identity_key)) = (message.session(), message.identity_key()) else {
            return Err(Fault::Refused("prekey_message_expected"));
        };
        let known = self.known_device(&sender)?;
        if known.as_ref().is_some_and(|(contact, _)| contact.blocked) {
            return Err(Fault::Refused("request_of_blocked"));
        }
        if let Some((contact, device)) = &known
            && session::is_of_device(self.tx, *device, &session)?
        {
            return self.take_request_again(invite, (&sender, &identity_key), contact, *device, unsealed);
        }
        let (ratchet, plaintext) = self.accept_session(&session, &identity_key, message)?;
        let unverified =
            UnverifiedLetter::decode(&plaintext, message.kind()).map_err(|_| Fault::Refused("letter_malformed"))?;
        let content = unverified.introduction().map_err(|error| Fault::Refused(content_code(&error)))?;
        let Content::ContactRequest { name, card, manifest, reply_secret, proof } = content else {
            return Err(Fault::Refused("content_misplaced"));
        };
        self.check_proof(invite, &sender.account, &proof)?;
        let (manifest, party) = self.introduce(&sender, manifest, &identity_key)?;
        let letter =
            unverified.verify(&identity_key, &party, &self.own.party).map_err(|_| Fault::Refused("binding_refused"))?;
        if card.account != sender.account {
            return Err(Fault::Refused("card_of_another_account"));
        }
        check_reply_inbox(&manifest, &sender, &letter)?;
        let brings_list = self.brings_list(&manifest, known.as_ref(), &letter)?;
        let counter = letter.counter;
        let (kind, inner_hash) = (message.kind(), unsealed.inner_hash);
        let authentic = Authentic { letter, kind, inner_hash, ratchet, seal: unsealed.seal };
        if let Some((contact, device)) = known
            && (self.was_counted(&contact, device, counter)? || counter <= peer::device_by_row(self.tx, device)?.met)
        {
            return self.take_late_request(&contact, device, authentic);
        }
        let asks = Asks {
            invite,
            sender: &sender,
            name: &name,
            card: &card,
            manifest: &manifest,
            reply_secret: &reply_secret,
        };
        self.take_proven_request(&asks, brings_list, authentic)
    }

    /// Everything about a request is in order, and it is news.
    fn take_proven_request(&mut self, asks: &Asks<'_>, brings_list: bool, authentic: Authentic) -> Result<bool, Fault> {
        let &Asks { invite, sender, name, card, manifest, reply_secret } = asks;
        let counter = authentic.letter.counter;
        let chain = handshake::chain_of(card);
        let list = brings_list.then_some((&chain, manifest));
        let request =
            ProvenRequest { invite, account: &sender.account, device: &sender.device, name, list, reply_secret };
        let requested =
            handshake::take_request(self.tx, self.own, &request, self.times(), self.chance).map_err(into_fault)?;
        let row = match requested {
            Requested::Ignored(code) => return Err(Fault::Refused(code)),
            Requested::Taken(row) => row,
            Requested::Accepted(row) => {
                self.received.answered.push(row);
                row
            }
        };
        self.forget_contact(row);
        self.relist()?;
        self.received.contacts_changed = true;
        let contact = self.contact(row)?;
        let device = peer::device_by_id(self.tx, row, &sender.device)?.ok_or(StoreError::Corrupt)?.row;
        let (_, letter) = self.keep_keys(&contact, device, authentic)?;
        self.meet(&contact, device, counter)?;
        // Nothing is owed for it: only accepted contacts hear what came.
        self.count(&contact, device, &letter, false)?;
        Ok(false)
    }

    /// Whether the list in a request, and the chain of its card, are what counts from now on. Where they are not, the list that is known
    /// must name the device that asks: whoever is new there asks again after the chain was read.
    fn brings_list(
        &mut self,
        manifest: &VerifiedManifest,
        known: Option<&(Contact, DeviceRow)>,
        letter: &Letter,
    ) -> Result<bool, Fault> {
        let Some(contact) = contact::by_account(self.tx, manifest.account())? else { return Ok(true) };
        if contact.gives_way_to(manifest) {
            return Ok(true);
        }
        self.received.stale.push(contact.row);
        let Some((_, device)) = known else { return Err(Fault::Refused("device_unlisted")) };
        if !peer::device_by_row(self.tx, *device)?.listed {
            return Err(Fault::Refused("device_unlisted"));
        }
        let reply_inbox = letter.reply_inbox.ok_or(Fault::Refused("reply_inbox_refused"))?;
        peer::inbox_by_id(self.tx, *device, &reply_inbox)?.ok_or(Fault::Refused("reply_inbox_refused"))?;
        Ok(false)
    }

    /// A relay delivers under whatever alias it likes: the invite is the one whose secret made the proof.
    fn check_proof(&self, invite: i64, requester: &AccountId, proof: &InviteProof) -> Result<(), Fault> {
        let is_proven = handshake::is_proven(self.tx, self.own, invite, requester, proof)?;
        if is_proven { Ok(()) } else { Err(Fault::Refused("request_of_another_invite")) }
    }

    fn known_device(&self, sender: &DeviceName) -> Result<Option<(Contact, DeviceRow)>, StoreError> {
        let Some(contact) = contact::by_account(self.tx, &sender.account)? else { return Ok(None) };
        let device = peer::device_by_id(self.tx, contact.row, &sender.device)?;
        Ok(device.map(|device| (contact, device.row)))
    }

    /// A request that was sent again on its session: its ratchet moves, and nothing else is new. But where its sender has left the relay of
    /// their list since, the answer has other inboxes to come to, and their root key says so: then it is one like any other.
    fn take_request_again(
        &mut self,
        invite: i64,
        (sender, identity_key): (&DeviceName, &[u8; 32]),
        contact: &Contact,
        device: DeviceRow,
        unsealed: Unsealed,
    ) -> Result<bool, Fault> {
        let authentic = self.authenticate(contact, device, unsealed)?;
        let content = Content::decode(&authentic.letter.content, Channel::Invite)
            .map_err(|error| Fault::Refused(content_code(&error)))?;
        let Content::ContactRequest { name, card, manifest, reply_secret, proof } = content else {
            return Err(Fault::Refused("content_misplaced"));
        };
        self.check_proof(invite, &contact.account, &proof)?;
        // A later letter of a handshake may have come before it.
        let is_newest = authentic.letter.counter >= peer::device_by_row(self.tx, device)?.met;
        match self.introduce(sender, manifest, identity_key) {
            Ok((manifest, _)) if manifest.head().epoch > contact.head.epoch && is_newest && !contact.is_asked() => {
                if card.account != sender.account {
                    return Err(Fault::Refused("card_of_another_account"));
                }
                check_reply_inbox(&manifest, sender, &authentic.letter)?;
                let (name, card, manifest, reply_secret) = (&*name, &card, &manifest, &reply_secret);
                let asks = Asks { invite, sender, name, card, manifest, reply_secret };
                return self.take_proven_request(&asks, true, authentic);
            }
            // What it says of their list is no news.
            Ok(_) | Err(Fault::Refused(_)) => {}
            Err(fault) => return Err(fault),
        }
        self.keep_keys(contact, device, authentic)?;
        handshake::was_asked_again(self.tx, contact, self.judging)?;
        Ok(false)
    }

    /// A request whose counter was dealt with: it was made anew, or a later letter of a handshake has overtaken it. Its session is as good as
    /// any, and what it says is over.
    fn take_late_request(&mut self, contact: &Contact, device: DeviceRow, authentic: Authentic) -> Result<bool, Fault> {
        let inbox = authentic.letter.reply_inbox.ok_or(Fault::Refused("reply_inbox_refused"))?;
        peer::inbox_by_id(self.tx, device, &inbox)?.ok_or(Fault::Refused("reply_inbox_refused"))?;
        let (_, letter) = self.keep_keys(contact, device, authentic)?;
        if !self.was_counted(contact, device, letter.counter)? {
            self.count(contact, device, &letter, false)?;
        }
        Ok(false)
    }
}

/// A request is answered where its list says that its sender reads.
fn check_reply_inbox(manifest: &VerifiedManifest, sender: &DeviceName, letter: &Letter) -> Result<(), Fault> {
    let refused = Fault::Refused("reply_inbox_refused");
    let Some(reply_inbox) = letter.reply_inbox else { return Err(refused) };
    let is_listed = manifest
        .device(&sender.device)
        .is_some_and(|device| device.inboxes.iter().any(|inbox| inbox.inbox == reply_inbox));
    if is_listed { Ok(()) } else { Err(refused) }
}
