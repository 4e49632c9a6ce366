//! First messages that were accepted and never answered: made again (PROTOCOL E2).
//!
//! A session that the peer has never answered may have begun with prekeys that were gone. A day after its letters were accepted, and
//! our own relays drained since, prekeys are claimed again and the letters go out on a new session, under the counters that they had:
//! the peer takes each once, whichever copy opens. Likewise letters whose session the peer replaced by one of its own. A request goes out again on the session that it has, because its claim id always
//! gets the same one-time key. The wait doubles each time, so that a phone in a drawer does not fill its own inbox.

use std::time::Duration;

use rusqlite::params;
use sotto_protocol::Timestamp;

use crate::peer::InboxRow;
use crate::prekey::looked_through_at;
use crate::session;
use crate::store::column::timestamp;
use crate::store::{Query, StoreError, Tx};

/// What a peer that is there confirms within.
const WAIT: Duration = Duration::from_secs(24 * 3600);
/// The wait doubles so often: a month, and then the letters are over anyway.
const DOUBLINGS_MAX: u32 = 5;

/// Inboxes whose session is unanswered, with the oldest letter that was accepted on it, how often it was made again, and whether a request
/// waits. What was accepted on the sessions before it says nothing of this one.
const UNANSWERED: &str = "
    SELECT peer_inbox.id, min(outbox.accepted_at), peer_inbox.renewals, contact.claim IS NOT NULL
    FROM outbox JOIN peer_inbox ON peer_inbox.id = outbox.peer_inbox
    JOIN session ON session.peer_inbox = peer_inbox.id AND session.sending = 1 AND session.answered = 0
    JOIN peer_device ON peer_device.id = outbox.peer_device JOIN contact ON contact.id = peer_device.contact
    WHERE outbox.state = 2 AND outbox.encrypted_at >= session.created_at AND contact.state IN (1, 3) AND contact.blocked = 0
    GROUP BY peer_inbox.id";

/// Letters that left on a session which another has taken the place of, with their time: the peer may never have had that session, and
/// began this one for that very reason.
const SUPERSEDED: &str = "
    SELECT outbox.id, outbox.accepted_at
    FROM outbox JOIN session ON session.peer_inbox = outbox.peer_inbox AND session.sending = 1
    JOIN peer_device ON peer_device.id = outbox.peer_device JOIN contact ON contact.id = peer_device.contact
    WHERE outbox.state = 2 AND outbox.encrypted_at < session.created_at AND contact.state = 3 AND contact.blocked = 0";

struct Unanswered {
    inbox: InboxRow,
    accepted_at: Timestamp,
    renewals: u32,
    is_request: bool,
}

impl Unanswered {
    fn due_at(&self) -> Timestamp {
        self.accepted_at.after(WAIT.saturating_mul(1 << self.renewals.min(DOUBLINGS_MAX)))
    }
}

fn all(view: &impl Query) -> Result<Vec<Unanswered>, StoreError> {
    view.all(UNANSWERED, [], |row| {
        Ok(Unanswered {
            inbox: InboxRow(row.get(0)?),
            accepted_at: timestamp(row.get(1)?),
            renewals: row.get(2)?,
            is_request: row.get(3)?,
        })
    })
}

/// Those that may be made again once they are due: the answer to the others may wait in our own inbox.
fn all_drained(view: &impl Query, now: Timestamp) -> Result<impl Iterator<Item = Unanswered>, StoreError> {
    let looked_through_at = looked_through_at(view, now)?;
    Ok(all(view)?.into_iter().filter(move |unanswered| looked_through_at >= unanswered.accepted_at))
}

/// Letters of [`SUPERSEDED`] that were accepted before our own relays were last drained, each with when it is due. Once each: made again
/// they are the new session's.
fn superseded(view: &impl Query, now: Timestamp) -> Result<Vec<(i64, Timestamp)>, StoreError> {
    let looked_through_at = looked_through_at(view, now)?;
    let rows = view.all(SUPERSEDED, [], |row| Ok((row.get(0)?, timestamp(row.get(1)?))))?;
    let drained = rows.into_iter().filter(move |(_, accepted_at)| looked_through_at >= *accepted_at);
    Ok(drained.map(|(row, accepted_at)| (row, accepted_at.after(WAIT))).collect())
}

/// When the next one is due.
pub(crate) fn due_at(view: &impl Query, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let superseded = superseded(view, now)?.into_iter().map(|(_, due_at)| due_at);
    Ok(all_drained(view, now)?.map(|unanswered| unanswered.due_at()).chain(superseded).min())
}

/// Makes again what is due.
pub(crate) fn renew(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    for (row, _) in superseded(tx, now)?.into_iter().filter(|(_, due_at)| now >= *due_at) {
        tx.execute(
            "UPDATE outbox SET state = 0, envelope = NULL, accepted_at = NULL, again_at = NULL WHERE id = ?1",
            [row],
        )?;
    }
    let due: Vec<_> = all_drained(tx, now)?.filter(|unanswered| now >= unanswered.due_at()).collect();
    for unanswered in due {
        let inbox = unanswered.inbox.0;
        if !unanswered.is_request {
            session::begin_anew(tx, unanswered.inbox)?;
        }
        tx.execute(
            "UPDATE outbox SET state = 0, envelope = NULL, accepted_at = NULL, again_at = NULL WHERE peer_inbox = ?1 AND state = 2",
            [inbox],
        )?;
        tx.execute("UPDATE peer_inbox SET renewals = ?2 WHERE id = ?1", params![inbox, unanswered.renewals + 1])?;
    }
    Ok(())
}
