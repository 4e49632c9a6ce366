//! Receiving: a batch of deliveries in, one transaction out.
//!
//! For each envelope, in this order: what its alias stands for, its seal, whether its inner ciphertext was seen before, its ratchet,
//! whom it is bound to, its counter, its content. Only when all of that is right does anything change. What a peer did wrong is
//! counted and changes nothing; what cannot be opened yet waits; trouble of this device ends the batch, nothing is acknowledged, and
//! the same bytes come again, one by one where one of them may be the trouble.
//! In a batch a session is loaded, stepped and stored once, and a conversation row written once. Acknowledgement and events come after
//! the commit, and are not here (`stream.rs`).
//! - `open.rs`: seal and ratchet, up to an authenticated letter
//! - `apply.rs`: what a letter changes; `keys.rs`: of its keys; `content.rs`: what it may say; `confirming.rs`: when its sender hears of it; `request.rs`: a stranger's first letter; `counters.rs`: how far a device's letters have come;
//!   `deeds.rs`: what it does to messages; `siblings.rs`: what our other devices say; `waiting.rs`: what is not understood yet; `unopened.rs`: what came and cannot be opened

mod apply;
mod confirming;
mod content;
mod counters;
mod deeds;
mod keys;
mod open;
mod request;
mod siblings;
mod unopened;
mod waiting;

use counters::Counted;
pub(crate) use counters::{highest, lacking};
pub(crate) use unopened::{give_up_asking, unopened_of};
use waiting::Gaps;
pub(crate) use waiting::{Why, are_gaps_over, expire_waiting, open_gaps, retry_waiting};

use std::collections::{BTreeMap, HashMap};

use rusqlite::params;
use sotto_crypto::olm::OlmAccount;
use sotto_crypto::seal::{OfferedSeal, OpenerHash};
use sotto_crypto::{DeviceName, Party};
use sotto_protocol::limits::{HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX};
use sotto_protocol::{Timestamp, relay};

use crate::contact::{self, Contact, ContactRow};
use crate::conversation::{self, Arrivals, ConversationRow, MessageRow, Stored};
use crate::engine::Times;
use crate::handshake::{self, Purpose};
use crate::healing::{self, News};
use crate::own::{self, Own};
use crate::peer::{self, DeviceRow, Line};
use crate::records::Unopened;
use crate::seal::SealIn;
use crate::session::{self, SessionRow};
use crate::store::column::stored;
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// What came out of a batch.
#[derive(Default)]
pub(crate) struct Received {
    /// Messages that are new, in order.
    pub(crate) messages: Vec<MessageRow>,
    /// How many messages of this account came from its other devices.
    pub(crate) own_messages: usize,
    /// Contacts whose manifest must be read again.
    pub(crate) stale: Vec<ContactRow>,
    /// Whether contacts changed.
    pub(crate) contacts_changed: bool,
    /// Contacts who have become that: what they said behind their answer may wait.
    pub(crate) answered: Vec<ContactRow>,
    /// Whether letters wait that skip too much, until all relays of ours are drained.
    pub(crate) waits_behind_gap: bool,
}

impl Received {
    fn add(&mut self, more: Self) {
        self.messages.extend(more.messages);
        self.own_messages += more.own_messages;
        self.stale.extend(more.stale);
        self.contacts_changed |= more.contacts_changed;
        self.answered.extend(more.answered);
        self.waits_behind_gap |= more.waits_behind_gap;
    }
}

/// Why an envelope was not taken.
pub(crate) enum Fault {
    /// The peer, or someone in between, broke the protocol; or we no longer want it. Counted, and gone.
    Refused(&'static str),
    /// It cannot be opened yet.
    Wait(Why),
    /// Its seal opened, and its ratchet does not. Counted; what it leaves is decided where its maker is known.
    Unopened(Unopened),
    /// This device is in trouble: nothing of the batch counts.
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// One envelope, wherever it comes from.
pub(crate) struct Incoming<'a> {
    pub(crate) alias: u32,
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// Takes deliveries of one inbox, in order, and moves its cursor behind the last.
///
/// The cursor decides nothing here: what comes again is known by what it says, not by the number that a relay gives it.
pub(crate) fn receive(
    tx: &mut Tx<'_>,
    own: &Own,
    own_inbox: i64,
    deliveries: &[relay::Delivery],
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<Received, StoreError> {
    let (cursor, remembered): (i64, i64) = tx
        .one("SELECT cursor, remembered FROM own_inbox WHERE id = ?1", [own_inbox], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .ok_or(StoreError::Corrupt)?;
    let mut batch = Batch::new(tx, own, own_inbox, times, chance);
    let mut last = 0;
    for delivery in deliveries {
        last = last.max(stored(delivery.sequence));
        let incoming = Incoming { alias: delivery.alias, header: &delivery.header, payload: &delivery.payload };
        batch.take_or_keep(&incoming)?;
    }
    batch.retry_behind_gaps()?;
    let mut received = batch.finish()?;
    if last > cursor.min(remembered) {
        tx.execute(MOVE_ON, params![own_inbox, last])?;
    }
    waiting::retry_answered(tx, own, &mut received, times, chance)?;
    Ok(received)
}

/// Up to a number everything of an inbox was dealt with, and its relay is about to hear it.
const MOVE_ON: &str = "UPDATE own_inbox SET cursor = max(cursor, ?2), remembered = max(remembered, ?2) WHERE id = ?1";

/// Lets go of a delivery that fails whenever it is taken.
pub(crate) fn set_aside(tx: &mut Tx<'_>, own_inbox: i64, sequence: u64) -> Result<(), StoreError> {
    count_refusals(tx, "set_aside", 1)?;
    tx.execute(MOVE_ON, params![own_inbox, stored(sequence)])?;
    Ok(())
}

fn count_refusals(tx: &mut Tx<'_>, code: &'static str, count: usize) -> Result<(), StoreError> {
    if count == 0 {
        return Ok(());
    }
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO refusal (code, count) VALUES (?1, ?2) ON CONFLICT (code) DO UPDATE SET count = count + ?2",
        params![code, count],
    )?;
    Ok(())
}

/// Everything that a batch has read and not yet written.
pub(crate) struct Batch<'t, 'c, 'r> {
    pub(super) tx: &'t mut Tx<'c>,
    pub(super) own: &'t Own,
    pub(super) own_inbox: i64,
    pub(super) now: Timestamp,
    /// What others signed is judged by this one, and what is forgotten some time later is dated by it: a clock that is behind must not make
    /// that too soon. One that is ahead is set right (`redate.rs`).
    pub(super) judging: Timestamp,
    pub(super) chance: &'t mut Chance<'r>,
    contacts: HashMap<ContactRow, Contact>,
    purposes: HashMap<u32, Purpose>,
    device_rows: HashMap<DeviceName, DeviceRow>,
    pub(super) seals: HashMap<ContactRow, Vec<SealIn>>,
    /// Decapsulated in this batch, installed or not: once per enc.
    pub(super) decapsulated: HashMap<OpenerHash, OfferedSeal>,
    pub(super) devices: BTreeMap<DeviceRow, Device>,
    pub(super) olm: Option<OlmAccount>,
    pub(super) olm_changed: bool,
    gaps: Gaps,
    conversation_rows: HashMap<ContactRow, ConversationRow>,
    conversations: BTreeMap<ConversationRow, Arrivals>,
    pub(super) received: Received,
}

/// A peer's device during a batch.
pub(super) struct Device {
    pub(super) party: Party,
    pub(super) listed: bool,
    pub(super) sessions: Vec<Stepped>,
    counted: Counted,
    /// Of what it says.
    pub(super) line: Line,
    /// Beyond that its ordinals say nothing.
    pub(super) ordinals_end: Option<u64>,
    /// Whether letters of it came that could not be opened.
    pub(super) has_unopened: bool,
    /// What the batch says of what is missing of its letters.
    pub(super) news: News,
    /// What it has confirmed of ours.
    pub(super) confirmed: u64,
    /// When it made the latest letter of this batch, by its clock.
    pub(super) spoke_at: Timestamp,
    /// Letters of this batch that ask to be confirmed.
    pub(super) to_confirm: u32,
    pub(super) changed: bool,
}

/// A session during a batch.
pub(super) struct Stepped {
    pub(super) row: SessionRow,
    pub(super) changed: bool,
}

impl<'t, 'c, 'r> Batch<'t, 'c, 'r> {
    fn new(tx: &'t mut Tx<'c>, own: &'t Own, own_inbox: i64, times: Times, chance: &'t mut Chance<'r>) -> Self {
        Self {
            tx,
            own,
            own_inbox,
            now: times.network,
            judging: times.judging,
            chance,
            contacts: HashMap::new(),
            purposes: HashMap::new(),
            device_rows: HashMap::new(),
            seals: HashMap::new(),
            decapsulated: HashMap::new(),
            devices: BTreeMap::new(),
            olm: None,
            olm_changed: false,
            gaps: Gaps::Wait,
            conversation_rows: HashMap::new(),
            conversations: BTreeMap::new(),
            received: Received::default(),
        }
    }

    /// Takes an envelope; where it must wait, stores it; where it is refused, counts that.
    fn take_or_keep(&mut self, incoming: &Incoming<'_>) -> Result<(), StoreError> {
        match self.take(incoming) {
            Ok(installed) => {
                if installed {
                    self.retry(incoming.alias, &[Why::NoOpener])?;
                }
                Ok(())
            }
            Err(Fault::Refused(code)) => {
                tracing::debug!(code, "an envelope was refused");
                count_refusals(self.tx, code, 1)
            }
            Err(Fault::Unopened(cause)) => count_refusals(self.tx, open::unopened_code(cause), 1),
            Err(Fault::Wait(why)) => self.keep(incoming, why),
            Err(Fault::Store(error)) => Err(error),
        }
    }

    /// Takes one envelope. Says whether a seal key was installed, which others may be waiting for.
    fn take(&mut self, incoming: &Incoming<'_>) -> Result<bool, Fault> {
        if incoming.header.len() > HEADER_BYTES_MAX || incoming.payload.len() > PAYLOAD_BYTES_MAX {
            // No relay that keeps to the protocol has accepted it.
            return Err(Fault::Refused("oversized"));
        }
        match self.purpose(incoming.alias)? {
            Purpose::Invite(invite) => self.take_request(invite, incoming),
            Purpose::Pair(contact) => self.take_letter(contact, false, incoming),
            Purpose::Reply(contact) => self.take_letter(contact, true, incoming),
        }
    }

    pub(super) const fn times(&self) -> Times {
        Times { network: self.now, judging: self.judging }
    }

    /// What an alias stands for. It never stands for anything else.
    fn purpose(&mut self, alias: u32) -> Result<Purpose, Fault> {
        if let Some(purpose) = self.purposes.get(&alias) {
            return Ok(*purpose);
        }
        let purpose = handshake::purpose(self.tx, self.own_inbox, alias)?.ok_or(Fault::Refused("unknown_alias"))?;
        self.purposes.insert(alias, purpose);
        Ok(purpose)
    }

    fn contact(&mut self, row: ContactRow) -> Result<Contact, StoreError> {
        if let Some(contact) = self.contacts.get(&row) {
            return Ok(contact.clone());
        }
        let contact = contact::by_row(self.tx, row)?;
        self.contacts.insert(row, contact.clone());
        Ok(contact)
    }

    /// The contact changed in this batch: what was read of it is old.
    fn forget_contact(&mut self, row: ContactRow) {
        self.contacts.remove(&row);
    }

    pub(super) fn device(&mut self, contact: &Contact, row: DeviceRow) -> Result<&mut Device, StoreError> {
        if !self.devices.contains_key(&row) {
            let peer = peer::device_by_row(self.tx, row)?;
            let party = crate::outbox::plan::party(contact, &peer);
            let sessions = session::of_device(self.tx, &self.own.seal, row)?;
            let sessions = sessions.into_iter().map(|row| Stepped { row, changed: false }).collect();
            let device = Device {
                party,
                listed: peer.listed,
                sessions,
                counted: Counted::load(self.tx, row, peer.received)?,
                line: peer.line,
                ordinals_end: peer.ordinals_end,
                has_unopened: !unopened_of(self.tx, row, 1)?.is_empty(),
                news: News::default(),
                confirmed: peer.confirmed,
                spoke_at: Timestamp::EPOCH,
                to_confirm: 0,
                changed: false,
            };
            self.devices.insert(row, device);
        }
        self.devices.get_mut(&row).ok_or(StoreError::Corrupt)
    }

    /// A device, and the transaction to write of it in.
    pub(super) fn tx_and_device(
        &mut self,
        contact: &Contact,
        row: DeviceRow,
    ) -> Result<(&mut Tx<'c>, &mut Device), StoreError> {
        self.device(contact, row)?;
        let device = self.devices.get_mut(&row).ok_or(StoreError::Corrupt)?;
        Ok((&mut *self.tx, device))
    }

    /// The row of a contact's device, if it was ever listed. A device's row stays.
    pub(super) fn device_row(
        &mut self,
        contact: ContactRow,
        name: &DeviceName,
    ) -> Result<Option<DeviceRow>, StoreError> {
        if let Some(row) = self.device_rows.get(name) {
            return Ok(Some(*row));
        }
        let found = peer::device_by_id(self.tx, contact, &name.device)?.map(|device| device.row);
        if let Some(row) = found {
            self.device_rows.insert(*name, row);
        }
        Ok(found)
    }

    /// The conversation with a contact.
    pub(super) fn conversation(&mut self, contact: &Contact) -> Result<ConversationRow, StoreError> {
        if let Some(row) = self.conversation_rows.get(&contact.row) {
            return Ok(*row);
        }
        let row = ConversationRow(contact::conversation(self.tx, &self.own.account, contact)?);
        self.conversation_rows.insert(contact.row, row);
        Ok(row)
    }

    /// Lists changed in this batch: devices that were read before may have left theirs.
    fn relist(&mut self) -> Result<(), StoreError> {
        for (row, device) in &mut self.devices {
            let known = peer::device_by_row(self.tx, *row)?;
            (device.listed, device.line, device.ordinals_end) = (known.listed, known.line, known.ordinals_end);
        }
        Ok(())
    }

    fn olm(&mut self) -> Result<&OlmAccount, StoreError> {
        if self.olm.is_none() {
            self.olm = Some(own::olm(self.tx, &self.own.seal)?);
        }
        self.olm.as_ref().ok_or(StoreError::Corrupt)
    }

    /// Writes what the batch stepped.
    fn finish(mut self) -> Result<Received, StoreError> {
        for (row, device) in &self.devices {
            for stepped in device.sessions.iter().filter(|stepped| stepped.changed) {
                session::store(self.tx, &self.own.seal, &stepped.row, self.chance)?;
                session::answered(self.tx, stepped.row.row)?;
            }
            if device.changed {
                confirming::owe_confirmation(self.tx, *row, device, self.now, self.chance)?;
                healing::note(self.tx, *row, device.news, self.now, self.chance)?;
            }
        }
        if let (Some(olm), true) = (&self.olm, self.olm_changed) {
            own::store_olm(self.tx, &self.own.seal, olm, self.chance)?;
        }
        self.write_arrivals()?;
        Ok(self.received)
    }

    /// Writes what the batch knows of conversations.
    fn write_arrivals(&mut self) -> Result<(), StoreError> {
        for (conversation, arrivals) in std::mem::take(&mut self.conversations) {
            conversation::touch(self.tx, conversation, &arrivals)?;
        }
        Ok(())
    }

    /// A message of another has come.
    fn arrived(&mut self, conversation: ConversationRow, stored: Stored) {
        self.received.messages.push(stored.row);
        self.moved(conversation, stored).unread += u32::from(stored.is_unread);
    }

    /// A message of ours has come.
    fn arrived_here(&mut self, conversation: ConversationRow, stored: Stored) {
        self.received.own_messages += 1;
        self.moved(conversation, stored);
    }

    fn moved(&mut self, conversation: ConversationRow, stored: Stored) -> &mut Arrivals {
        let now = self.now;
        let arrivals =
            self.conversations.entry(conversation).or_insert(Arrivals { last: None, last_at: now, unread: 0 });
        if stored.is_last {
            arrivals.last = arrivals.last.max(Some(stored.row));
        }
        arrivals
    }
}
