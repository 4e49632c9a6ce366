//! Receipts: what others learn of messages, and when.
//!
//! | who | learns | unless |
//! |---|---|---|
//! | an accepted contact | which of their messages were read here, once they were shown | receipts are switched off, or were when it was read |
//! | our other devices | which messages were read here, shown or not, and how far messages are that were said here | |
//! | somebody who asks, is asked, blocked, removed, or shows two lists of devices | nothing | |
//!
//! What is to be told is written down with what it tells of, and leaves a little later, together, at a moment that says nothing about when
//! exactly somebody looked at the screen. Of each message is told what is known then.

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::letter::{Content, OwnDeviceSync};
use sotto_protocol::limits::RECEIPTS_MAX;
use sotto_protocol::{MessageId, Timestamp};

use crate::contact::{self, Contact, ContactRow, ContactState, Trust};
use crate::conversation::{self, MessageRow, progress};
use crate::error::Error;
use crate::own::siblings;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::upkeep::CONFIRMATION_LIFETIME;
use crate::world::Chance;
use crate::{outbox, settings};

/// How soon: a page that is read at once is one letter, and nobody waits for it.
const SOON: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// How soon our own devices hear how far messages are: those that leave together are told together.
const OWN_SOON: Duration = Duration::from_secs(2);

/// What is told, to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum About {
    /// That a message was read, to its sender.
    ReadToSender,
    /// The same, to our other devices.
    ReadToSiblings,
    /// How far a message of ours is, to them.
    Progress,
}

impl About {
    const ALL: [Self; 3] = [Self::ReadToSender, Self::ReadToSiblings, Self::Progress];

    const fn code(self) -> i64 {
        match self {
            Self::ReadToSender => 1,
            Self::ReadToSiblings => 2,
            Self::Progress => 3,
        }
    }
}

/// Whether a message that is read was on a screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shown {
    Yes,
    No,
}

/// Notes that a message was read here.
pub(crate) fn note_read(
    tx: &mut Tx<'_>,
    (sender, message_id): (ContactRow, MessageId),
    shown: Shown,
    now: Timestamp,
    chance: &Chance<'_>,
) -> Result<(), StoreError> {
    if sender == ContactRow::OWN {
        return Ok(());
    }
    let due_at = now.after(chance.duration(SOON.0, SOON.1));
    if !siblings::are_none(tx)? {
        note(tx, About::ReadToSiblings, sender, &message_id, due_at)?;
    }
    if shown == Shown::Yes && may_learn(tx, &contact::by_row(tx, sender)?)? {
        note(tx, About::ReadToSender, sender, &message_id, due_at)?;
    }
    Ok(())
}

/// With what is to be told already, where there is something.
fn note(
    tx: &mut Tx<'_>,
    about: About,
    contact: ContactRow,
    message_id: &MessageId,
    due_at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO to_tell (about, contact, message_id, due_at)
         VALUES (?1, ?2, ?3, coalesce((SELECT due_at FROM to_tell WHERE about = ?1 AND contact = ?2 LIMIT 1), ?4)) ON CONFLICT DO NOTHING",
        params![about.code(), contact.0, message_id.as_ref(), ms(due_at)],
    )?;
    Ok(())
}

const NOTE_PROGRESS: &str = "
    INSERT INTO to_tell (about, contact, message_id, due_at)
    SELECT 3, contact, message_id, coalesce((SELECT due_at FROM to_tell WHERE about = 3 AND contact = conversation.contact LIMIT 1), ?2)
    FROM message JOIN conversation ON conversation.id = message.conversation
    WHERE message.id = ?1 AND sender = 0 AND line = 0 AND position IS NOT NULL AND contact IS NOT NULL AND EXISTS (SELECT 1 FROM contact WHERE id = 0)
    ON CONFLICT DO NOTHING";

/// Notes that a message that was said here has moved on. Says whether anybody is to hear of it who was not to hear anything yet.
pub(crate) fn note_progress(tx: &mut Tx<'_>, message: MessageRow, now: Timestamp) -> Result<bool, StoreError> {
    Ok(tx.execute(NOTE_PROGRESS, params![message.0, ms(now.after(OWN_SOON))])? > 0)
}

/// Whether somebody may hear what of theirs was read.
fn may_learn(view: &impl Query, contact: &Contact) -> Result<bool, StoreError> {
    let is_known = contact.state == ContactState::Accepted && !contact.blocked && contact.trust == Trust::Sound;
    Ok(is_known && settings::receipts(view)?)
}

/// What somebody, or nobody at all, is to hear any more of what was read does not leave: what no relay has taken is taken back.
pub(crate) fn take_back(tx: &mut Tx<'_>, from: Option<ContactRow>, now: Timestamp) -> Result<(), StoreError> {
    outbox::fail_contents(tx, from, |content| matches!(content, Content::Receipts(_)), now)
}

/// When something is to be told.
pub(crate) fn due_at(view: &impl Query) -> Result<Option<Timestamp>, StoreError> {
    let due = view.one("SELECT min(due_at) FROM to_tell", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(due.flatten().map(timestamp))
}

/// Whether nothing is.
pub(crate) fn is_all_told(view: &impl Query) -> Result<bool, StoreError> {
    Ok(view.one("SELECT 1 FROM to_tell LIMIT 1", [], |_| Ok(()))?.is_none())
}

/// Queues what is due.
pub(crate) fn tell_what_is_due(tx: &mut Tx<'_>, now: Timestamp, chance: &mut Chance<'_>) -> Result<(), Error> {
    let due = "SELECT DISTINCT about, contact FROM to_tell WHERE due_at <= ?1 ORDER BY about, contact";
    let due = tx.all(due, [ms(now)], |row| Ok((row.get::<_, i64>(0)?, ContactRow(row.get(1)?))))?;
    for (code, contact) in due {
        let about = About::ALL.into_iter().find(|about| about.code() == code).ok_or(StoreError::Corrupt)?;
        let of_contact = params![code, contact.0];
        let ids = tx.all("SELECT message_id FROM to_tell WHERE about = ?1 AND contact = ?2", of_contact, |row| {
            row.get(0).map(MessageId::from_bytes)
        })?;
        tx.execute("DELETE FROM to_tell WHERE about = ?1 AND contact = ?2", of_contact)?;
        for ids in ids.chunks(RECEIPTS_MAX) {
            tell(tx, about, &contact::by_row(tx, contact)?, ids, now, chance)?;
        }
    }
    Ok(())
}

fn tell(
    tx: &mut Tx<'_>,
    about: About,
    contact: &Contact,
    ids: &[MessageId],
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let account = contact.account;
    let (to, content) = match about {
        About::ReadToSender if !may_learn(tx, contact)? => return Ok(()),
        About::ReadToSender => (contact.row, Content::Receipts(ids.to_vec())),
        About::ReadToSiblings => {
            (ContactRow::OWN, Content::OwnDeviceSync(OwnDeviceSync::Read { account, message_ids: ids.to_vec() }))
        }
        About::Progress => {
            let Some(conversation) = conversation::with_contact(tx, contact.row)? else { return Ok(()) };
            let mut states = Vec::with_capacity(ids.len());
            for id in ids {
                states.extend(progress::of(tx, conversation, id)?.map(|progress| (*id, progress)));
            }
            if states.is_empty() {
                return Ok(());
            }
            (ContactRow::OWN, Content::OwnDeviceSync(OwnDeviceSync::States { account, states }))
        }
    };
    let dies_at = (to != ContactRow::OWN).then(|| now.after(CONFIRMATION_LIFETIME));
    outbox::queue_content(tx, to, &content, None, dies_at, now, chance)
}
