//! What another device of this account says: what was said there, and what a contact is.

use sotto_crypto::letter::{Channel, Content, Letter, OwnDeviceSync};

use super::apply::{into_fault, shown};
use super::deeds::{Doer, Done};
use super::{Batch, Fault};
use crate::contact::{self, Contact, ContactRow};
use crate::conversation::{self, ConversationRow, NewMessage, Order, progress, reading};
use crate::own;
use crate::peer::{self, DeviceRow};
use crate::receipts;
use crate::records::MessageState;
use crate::settings;
use crate::store::StoreError;

impl Batch<'_, '_, '_> {
    /// Heeds it. All of it is harmless to hear again.
    pub(super) fn apply_own(
        &mut self,
        own: &Contact,
        device: DeviceRow,
        letter: &Letter,
        content: Content,
    ) -> Result<(), Fault> {
        match content {
            Content::OwnDeviceSync(OwnDeviceSync::Said { account, content }) => {
                let Some(contact) = contact::by_account(self.tx, &account)? else { return Ok(()) };
                let Ok(said) = Content::decode(&content, Channel::Contact) else {
                    return Err(Fault::Refused("content_malformed"));
                };
                let conversation = self.conversation(&contact)?;
                let order = self.order(own, device, letter)?;
                self.say_own((conversation, Some(&contact)), letter, order, &said, &content)?;
            }
            Content::OwnDeviceSync(OwnDeviceSync::Hidden { account, targets }) => {
                let contact = match account {
                    account if account == self.own.account => None,
                    account => match contact::by_account(self.tx, &account)? {
                        Some(contact) => Some(contact),
                        None => return Ok(()),
                    },
                };
                let conversation = match &contact {
                    Some(contact) => self.conversation(contact)?,
                    None => conversation::note_to_self(self.tx, &self.own.account)?,
                };
                let line = self.order(own, device, letter)?.line;
                let doer = Doer { conversation, contact: contact.as_ref(), author: None, line };
                self.do_to_messages(doer, letter, &Done::hidden(targets), &letter.content)?;
            }
            Content::OwnDeviceSync(OwnDeviceSync::Read { account, message_ids }) => {
                // What is counted changes.
                self.write_arrivals()?;
                let Some(contact) = contact::by_account(self.tx, &account)? else { return Ok(()) };
                let conversation = self.conversation(&contact)?;
                reading::read_elsewhere(self.tx, conversation, contact.row, &message_ids, self.now)?;
            }
            Content::OwnDeviceSync(OwnDeviceSync::States { account, states }) => {
                let Some(contact) = contact::by_account(self.tx, &account)? else { return Ok(()) };
                let conversation = self.conversation(&contact)?;
                progress::told(self.tx, conversation, None, &states, self.now)?;
            }
            Content::OwnDeviceSync(OwnDeviceSync::Setting(setting)) => {
                self.write_arrivals()?;
                settings::take(self.tx, self.own, &setting)?;
                if !settings::receipts(self.tx)? {
                    receipts::take_back(self.tx, None, self.now)?;
                }
            }
            Content::OwnDeviceSync(OwnDeviceSync::Contact(synced)) => {
                let author = peer::device_by_row(self.tx, device)?.device;
                let times = self.times();
                let changed = own::sync::take_contact(self.tx, self.own, &author, &synced, times, self.chance)
                    .map_err(into_fault)?;
                if let Some(row) = changed {
                    self.forget_contact(row);
                    self.relist()?;
                    self.received.contacts_changed = true;
                    self.received.answered.extend([row, ContactRow::OWN]);
                }
            }
            said => {
                let conversation = ConversationRow(conversation::note_to_self(self.tx, &self.own.account)?.0);
                let order = self.order(own, device, letter)?;
                self.say_own((conversation, None), letter, order, &said, &letter.content)?;
            }
        }
        Ok(())
    }

    /// Whether another device of ours has said something to somebody of whom nobody has told us yet.
    pub(super) fn is_about_somebody_unknown(&self, contact: &Contact, letter: &Letter) -> Result<bool, StoreError> {
        if contact.row != ContactRow::OWN {
            return Ok(false);
        }
        let Ok(Content::OwnDeviceSync(sync)) = Content::decode(&letter.content, Channel::Own) else { return Ok(false) };
        let with = match sync {
            OwnDeviceSync::Said { account, .. }
            | OwnDeviceSync::Hidden { account, .. }
            | OwnDeviceSync::Read { account, .. }
            | OwnDeviceSync::States { account, .. } => Some(account),
            OwnDeviceSync::Setting(setting) => setting.account,
            OwnDeviceSync::Contact(_) | OwnDeviceSync::Unknown => None,
        };
        match with.filter(|account| *account != self.own.account) {
            Some(account) => Ok(contact::by_account(self.tx, &account)?.is_none()),
            None => Ok(false),
        }
    }

    /// A message of this account, said on another device; or what it does there to messages.
    fn say_own(
        &mut self,
        (conversation, contact): (ConversationRow, Option<&Contact>),
        letter: &Letter,
        order: Order,
        said: &Content,
        content: &[u8],
    ) -> Result<(), StoreError> {
        if let Some(done) = Done::of(said, self.own.account) {
            let doer = Doer { conversation, contact, author: None, line: order.line };
            return self.do_to_messages(doer, letter, &done, content);
        }
        let Some((kind, text)) = shown(said) else { return Ok(()) };
        let new = NewMessage {
            conversation,
            sender: None,
            message_id: letter.message_id,
            sent_at: letter.sent_at,
            received_at: self.now,
            kind,
            text,
            content,
            // What becomes of it is known on the device that it was said on, which tells; the note to self has arrived.
            state: if contact.is_some() { MessageState::Queued } else { MessageState::Sent },
            order,
        };
        if let Some(stored) = conversation::insert(self.tx, &new)? {
            self.arrived_here(conversation, stored);
        }
        Ok(())
    }
}
