//! Letters that came and cannot be opened: each leaves a visible place, and its sender is asked for it again (PROTOCOL E6).
//!
//! ```text
//! Unopened --the letter comes in another ciphertext--> the message, in that place
//!          --it was no message, or nobody made it----> gone
//!          --its sender has given it up, or never answers--> Missing
//! ```
//! A place belongs to the device that the seal names. Only a letter of that device, authenticated like all others, takes or ends it: which
//! ciphertexts it left in before is said inside the ratchet. So whoever makes a ciphertext in somebody's name gets a line shown for as long
//! as that one needs to disown it.
//!
//! A letter that opens and says what no letter may is not asked for again: its device would say the same. It counts like every other, so
//! that nothing behind it is held up, changes nothing else, and leaves a line where a message may have been meant.

use rusqlite::params;
use sotto_crypto::letter::{ContentError, Counters, GivenUp, Letter};
use sotto_protocol::{MessageId, Timestamp};

use super::content::content_code;
use super::open::Authentic;
use super::{Batch, Fault, count_refusals, counters};
use crate::contact::{self, Contact, ContactRow, ContactState};
use crate::conversation::{self, ConversationRow, MessageRow, NewMessage, Order};
use crate::peer::{self, DeviceRow};
use crate::records::{Kind, MessageState, Missing, Unopened};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// Places of one contact at most: a screenful or two of what cannot be read says all there is to say. Of more no place is kept; their
/// sender is asked for everything instead.
pub(crate) const UNOPENED_MAX: usize = 64;

/// Inner hashes of a device's letters that could not be opened.
pub(crate) fn unopened_of(view: &impl Query, device: DeviceRow, limit: usize) -> Result<Vec<[u8; 32]>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    view.all(
        "SELECT hash FROM unopened WHERE peer_device = ?1 ORDER BY message LIMIT ?2",
        params![device.0, limit],
        |row| row.get(0),
    )
}

/// Nobody answers for what is missing of a device's letters: it is shown so, and not asked for any more.
pub(crate) fn give_up_asking(
    tx: &mut Tx<'_>,
    device: DeviceRow,
    now: Timestamp,
    chance: &Chance<'_>,
) -> Result<(), StoreError> {
    for hash in unopened_of(tx, device, UNOPENED_MAX)? {
        if let Some(place) = end(tx, device, &hash)? {
            conversation::set_kind(tx, place, Kind::Missing(Missing::Unanswered))?;
        }
    }
    let skipped = tx.execute("DELETE FROM skipped_counter WHERE peer_device = ?1", [device.0])?;
    let has_holes = counters::highest(tx, device)?.is_some();
    if skipped == 0 && !has_holes {
        return Ok(());
    }
    let contact = peer::device_by_row(tx, device)?.contact;
    // What another device of ours has said may have been said to anybody: it is missing where all that is ours is.
    let conversation = match contact {
        ContactRow::OWN => Some(conversation::note_to_self(tx, &contact::by_row(tx, contact)?.account)?),
        contact => conversation::with_contact(tx, contact)?,
    };
    let Some(conversation) = conversation else { return Ok(()) };
    let missing = missing(conversation, contact, MessageId::from_bytes(chance.bytes()), now, Missing::Unanswered);
    if let Some(stored) = conversation::insert(tx, &missing)? {
        let arrivals = conversation::Arrivals { last: Some(stored.row), last_at: now, unread: 1 };
        conversation::touch(tx, conversation, &arrivals)?;
    }
    Ok(())
}

/// Ends a place, and says which it was.
fn end(tx: &mut Tx<'_>, device: DeviceRow, hash: &[u8; 32]) -> Result<Option<MessageRow>, StoreError> {
    let sql = "SELECT message FROM unopened WHERE hash = ?1 AND peer_device = ?2";
    let place = tx.one(sql, params![hash, device.0], |row| row.get(0).map(MessageRow))?;
    if place.is_some() {
        tx.execute("DELETE FROM unopened WHERE hash = ?1", [hash])?;
    }
    Ok(place)
}

const fn missing(
    conversation: ConversationRow,
    sender: contact::ContactRow,
    message_id: MessageId,
    now: Timestamp,
    cause: Missing,
) -> NewMessage<'static> {
    NewMessage {
        conversation,
        sender: Some(sender),
        message_id,
        sent_at: now,
        received_at: now,
        kind: Kind::Missing(cause),
        text: "",
        content: &[],
        state: MessageState::Received,
        order: Order::NONE,
    }
}

/// What an authenticated letter says, and no letter may.
pub(super) struct Nonsense {
    pub(super) code: &'static str,
    /// Whether it may have been meant as a message.
    pub(super) is_shown: bool,
}

impl From<ContentError> for Nonsense {
    fn from(error: ContentError) -> Self {
        let is_shown = match error {
            ContentError::Misplaced | ContentError::BadName | ContentError::Resend(_) => false,
            ContentError::Text(_)
            | ContentError::Malformed(_)
            | ContentError::BodyCount { .. }
            | ContentError::FallbackTooLong { .. } => true,
        };
        Self { code: content_code(&error), is_shown }
    }
}

impl Batch<'_, '_, '_> {
    /// Takes a letter for what it is, and nothing of what it says. Says whether a seal key was installed.
    pub(super) fn take_nonsense(
        &mut self,
        contact: &Contact,
        device: DeviceRow,
        authentic: Authentic,
        nonsense: Nonsense,
    ) -> Result<bool, Fault> {
        count_refusals(self.tx, nonsense.code, 1)?;
        let inner_hash = authentic.inner_hash;
        let (installed, letter) = self.keep_keys(contact, device, authentic)?;
        self.count(contact, device, &letter, false)?;
        self.heed(contact, device, &letter)?;
        let places = self.places_of(contact, device, &inner_hash, &letter)?;
        if nonsense.is_shown {
            self.say(contact, device, &letter, Kind::Missing(Missing::Malformed), "", &places)?;
        } else {
            self.clear(&places)?;
        }
        Ok(installed)
    }

    /// Leaves a place for a letter of a contact's device that cannot be opened, and sees to it that its sender hears of it.
    pub(super) fn could_not_open(
        &mut self,
        contact: &Contact,
        device: DeviceRow,
        hash: [u8; 32],
        cause: Unopened,
    ) -> Result<(), StoreError> {
        // One that has left the list is asked for nothing.
        if contact.state != ContactState::Accepted || !self.device(contact, device)?.listed {
            return Ok(());
        }
        self.leave_place(contact, device, hash, cause)?;
        match cause {
            // The session is as good as before.
            Unopened::KeyGone => Ok(()),
            Unopened::SessionLost | Unopened::TooFarAhead | Unopened::PrekeyGone => {
                self.answer_by_fresh_session(contact, device)
            }
        }
    }

    fn leave_place(
        &mut self,
        contact: &Contact,
        device: DeviceRow,
        hash: [u8; 32],
        cause: Unopened,
    ) -> Result<(), StoreError> {
        let is_there = self.tx.one("SELECT 1 FROM unopened WHERE hash = ?1", [hash], |_| Ok(()))?;
        if is_there.is_some() {
            return Ok(());
        }
        let state = self.device(contact, device)?;
        state.news.lacks_more = true;
        state.changed = true;
        let places = "SELECT count(*) FROM unopened JOIN peer_device ON peer_device.id = unopened.peer_device
                      WHERE peer_device.contact = ?1";
        let places = self.tx.one(places, [contact.row.0], |row| row.get::<_, i64>(0))?.unwrap_or(0);
        if usize::try_from(places).is_ok_and(|places| places >= UNOPENED_MAX) {
            return count_refusals(self.tx, "too_many_unopened", 1);
        }
        let conversation = self.conversation(contact)?;
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        let new = NewMessage {
            kind: Kind::Unopened(cause),
            ..missing(conversation, contact.row, MessageId::from_bytes(id), self.now, Missing::Unanswered)
        };
        let Some(stored) = conversation::insert(self.tx, &new)? else { return Ok(()) };
        self.tx.execute(
            "INSERT INTO unopened (hash, peer_device, message) VALUES (?1, ?2, ?3)",
            params![hash, device.0, stored.row.0],
        )?;
        self.device(contact, device)?.has_unopened = true;
        self.arrived(conversation, stored);
        Ok(())
    }

    /// The places of a letter: of this very ciphertext, and of those in which it left before. They are ended.
    pub(super) fn places_of(
        &mut self,
        contact: &Contact,
        device: DeviceRow,
        inner_hash: &[u8; 32],
        letter: &Letter,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let (tx, state) = self.tx_and_device(contact, device)?;
        if !state.has_unopened {
            return Ok(Vec::new());
        }
        let mut places = Vec::new();
        for hash in std::iter::once(inner_hash).chain(&letter.earlier) {
            places.extend(end(tx, device, hash)?);
        }
        if !places.is_empty() {
            state.news.was_missing = true;
            state.changed = true;
        }
        Ok(places)
    }

    /// Nothing takes these places.
    pub(super) fn clear(&mut self, places: &[MessageRow]) -> Result<(), StoreError> {
        self.write_arrivals()?;
        for place in places {
            conversation::remove(self.tx, *place)?;
            self.received.messages.retain(|row| row != place);
        }
        Ok(())
    }

    /// A device says what of its letters will not come.
    pub(super) fn take_given_up(
        &mut self,
        contact: &Contact,
        device: DeviceRow,
        letter: &Letter,
        given_up: &GivenUp,
    ) -> Result<(), StoreError> {
        let (tx, state) = self.tx_and_device(contact, device)?;
        let (mut was_known, mut is_missing, mut emptied) = (false, false, Vec::new());
        // First: a letter whose place says that it is missing is not missing a second time by its counter.
        for ciphertext in &given_up.missing_ciphertexts {
            let Some(place) = end(tx, device, &ciphertext.inner_hash)? else { continue };
            was_known = true;
            conversation::set_kind(tx, place, Kind::Missing(Missing::GivenUp))?;
            if let Some(counter) = ciphertext.counter.filter(|counter| *counter > 0) {
                state.counted.close(tx, device, Counters { first: counter, last: counter })?;
            }
        }
        for ciphertext in &given_up.empty_ciphertexts {
            emptied.extend(end(tx, device, &ciphertext.inner_hash)?);
        }
        for range in &given_up.missing {
            is_missing |= state.counted.close(tx, device, *range)?;
        }
        for range in &given_up.empty {
            was_known |= state.counted.close(tx, device, *range)?;
        }
        state.news.was_missing |= was_known || is_missing || !emptied.is_empty();
        self.clear(&emptied)?;
        if is_missing {
            // One line, however many there were.
            let conversation = self.conversation(contact)?;
            let missing = missing(conversation, contact.row, letter.message_id, self.now, Missing::GivenUp);
            if let Some(stored) = conversation::insert(self.tx, &missing)? {
                self.arrived(conversation, stored);
            }
        }
        Ok(())
    }
}
