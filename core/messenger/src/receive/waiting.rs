//! Envelopes that cannot be opened or believed yet: acknowledged, stored, and tried again when what they wait for has come.
//!
//! Each says what it waits for, so that a new seal key does not try what waits for a list. What waits too long, or is too much, is given
//! up: its sender keeps it until it is confirmed, and sends it again.

use rusqlite::params;
use sotto_protocol::Timestamp;
use sotto_protocol::limits::{RETENTION, WAITING_CONTINUATIONS_MAX};

use super::open::unopened_code;
use super::{Batch, Fault, Incoming, Received, count_refusals};
use crate::contact::ContactRow;
use crate::engine::Times;
use crate::own::Own;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// How long an envelope that cannot be opened yet waits: its opener lives no longer at any relay.
const WAITS: std::time::Duration = RETENTION;

/// Envelopes of one contact that wait at most, under all of its aliases together: as many as under the aliases of four inboxes, which is the most
/// that an account has. Aliases come and go with each handshake, and must not bring room with them.
const WAITING_PER_CONTACT_MAX: i64 = 4 * WAITING_CONTINUATIONS_MAX as i64;

/// Letters of one alias that wait behind a gap: with one more, what is before them will not come. What waits here is not confirmed, and a backlog
/// must not pile up behind what a relay has lost.
const BEHIND_GAP_MAX: i64 = 64;

/// How long they wait where a relay of ours does not say that it is drained.
const GAP_WAITS: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// What becomes of letters behind a gap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gaps {
    /// They wait.
    Wait,
    /// They are opened, and the keys that they skip are risked.
    Open,
}

/// What an envelope waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The opener of its seal.
    NoOpener,
    /// A manifest that lists its device.
    UnknownDevice,
    /// An answer, theirs or ours: its sender speaks as a contact does.
    NotAnswered,
    /// A new epoch of an account that has shown two lists.
    Distrusted,
    /// What was sent before it: it would skip more keys than are worth risking (PROTOCOL E6).
    Gap,
    /// The end of a blocking. Refused it would be gone: its sender sends it again a month later at the earliest, and everything that counts
    /// on it waits as long.
    Blocked,
}

impl Why {
    const fn code(self) -> i64 {
        match self {
            Self::NoOpener => 1,
            Self::UnknownDevice => 2,
            Self::NotAnswered => 3,
            Self::Distrusted => 4,
            Self::Blocked => 5,
            Self::Gap => 6,
        }
    }
}

/// Tries envelopes of a contact again that waited for one of these.
pub(crate) fn retry_waiting(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: ContactRow,
    waited_for: &[Why],
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<Received, StoreError> {
    let mut received = retry_under_all_aliases(tx, own, contact, waited_for, times, chance)?;
    retry_answered(tx, own, &mut received, times, chance)?;
    Ok(received)
}

fn retry_under_all_aliases(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: ContactRow,
    waited_for: &[Why],
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<Received, StoreError> {
    let aliases = tx.all("SELECT own_inbox, alias FROM alias WHERE contact = ?1", [contact.0], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?))
    })?;
    let mut all = Received::default();
    for (own_inbox, alias) in aliases {
        let mut batch = Batch::new(tx, own, own_inbox, times, chance);
        batch.retry(alias, waited_for)?;
        all.add(batch.finish()?);
    }
    Ok(all)
}

/// Where letters wait behind a gap whose time is over: at once when nothing more can come before them.
fn behind_gaps(view: &impl Query, are_drained: bool, now: Timestamp) -> Result<Vec<(i64, u32)>, StoreError> {
    let by = if are_drained { i64::MAX } else { ms(now.before(GAP_WAITS)) };
    view.all(
        "SELECT own_inbox, alias FROM waiting WHERE reason = 6 GROUP BY own_inbox, alias HAVING min(stored_at) <= ?1",
        [by],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Whether any do.
pub(crate) fn are_gaps_over(view: &impl Query, are_drained: bool, now: Timestamp) -> Result<bool, StoreError> {
    Ok(!behind_gaps(view, are_drained, now)?.is_empty())
}

/// Opens them, whatever they skip.
pub(crate) fn open_gaps(
    tx: &mut Tx<'_>,
    own: &Own,
    are_drained: bool,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<Received, StoreError> {
    let mut all = Received::default();
    for (own_inbox, alias) in behind_gaps(tx, are_drained, times.judging)? {
        let mut batch = Batch::new(tx, own, own_inbox, times, chance);
        batch.gaps = Gaps::Open;
        batch.retry(alias, &[Why::Gap])?;
        all.add(batch.finish()?);
    }
    retry_answered(tx, own, &mut all, times, chance)?;
    Ok(all)
}

/// Envelopes that waited too long are given up.
pub(crate) fn expire_waiting(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    let given_up = tx.execute("DELETE FROM waiting WHERE stored_at <= ?1", [ms(now.before(WAITS))])?;
    count_refusals(tx, "waited_too_long", given_up)
}

/// Tries again what waited for an answer that has come.
pub(super) fn retry_answered(
    tx: &mut Tx<'_>,
    own: &Own,
    received: &mut Received,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    while let Some(contact) = received.answered.pop() {
        // What another device of ours has said to somebody waits until they are known here.
        for row in [contact, ContactRow::OWN] {
            received.add(retry_under_all_aliases(tx, own, row, &[Why::NotAnswered, Why::Blocked], times, chance)?);
        }
    }
    Ok(())
}

impl Batch<'_, '_, '_> {
    /// Stores an envelope that waits.
    pub(super) fn keep(&mut self, incoming: &Incoming<'_>, why: Why) -> Result<(), StoreError> {
        // What was not acknowledged, or is the same again under another number, waits once.
        let waits = self.tx.one(
            "SELECT 1 FROM waiting WHERE own_inbox = ?1 AND alias = ?2 AND header = ?3 AND payload = ?4",
            params![self.own_inbox, incoming.alias, incoming.header, incoming.payload],
            |_| Ok(()),
        )?;
        if waits.is_some() {
            return Ok(());
        }
        let waiting: i64 = self
            .tx
            .one(
                "SELECT count(*) FROM waiting WHERE own_inbox = ?1 AND alias = ?2",
                params![self.own_inbox, incoming.alias],
                |row| row.get(0),
            )?
            .unwrap_or(0);
        let of_contact: i64 = self
            .tx
            .one(
                "SELECT count(*) FROM alias JOIN waiting ON waiting.own_inbox = alias.own_inbox AND waiting.alias = alias.alias
                 WHERE alias.contact = (SELECT contact FROM alias WHERE own_inbox = ?1 AND alias = ?2)",
                params![self.own_inbox, incoming.alias],
                |row| row.get(0),
            )?
            .unwrap_or(0);
        // What waits for somebody's word, ours or theirs, is bounded per contact alone: it was put before the word was there.
        let is_full =
            why == Why::NoOpener && usize::try_from(waiting).is_ok_and(|waiting| waiting >= WAITING_CONTINUATIONS_MAX);
        let is_far_behind = why == Why::Gap && self.behind_gap(incoming.alias)? >= BEHIND_GAP_MAX;
        if is_far_behind || (why == Why::Gap && of_contact >= WAITING_PER_CONTACT_MAX) {
            return self.stop_waiting(incoming);
        }
        if is_full || of_contact >= WAITING_PER_CONTACT_MAX {
            // Its sender keeps it until we confirm, and sends it again.
            return count_refusals(self.tx, "too_many_waiting", 1);
        }
        self.tx.execute(
            "INSERT INTO waiting (own_inbox, alias, header, payload, stored_at, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                self.own_inbox,
                incoming.alias,
                incoming.header,
                incoming.payload,
                ms(self.judging),
                why.code()
            ],
        )?;
        self.received.waits_behind_gap |= why == Why::Gap;
        Ok(())
    }

    fn behind_gap(&self, alias: u32) -> Result<i64, StoreError> {
        let sql = "SELECT count(*) FROM waiting WHERE own_inbox = ?1 AND alias = ?2 AND reason = 6";
        Ok(self.tx.one(sql, params![self.own_inbox, alias], |row| row.get(0))?.unwrap_or(0))
    }

    /// Takes everything that waits behind a gap under this alias, and this one behind it.
    fn stop_waiting(&mut self, incoming: &Incoming<'_>) -> Result<(), StoreError> {
        self.gaps = Gaps::Open;
        self.retry(incoming.alias, &[Why::Gap])?;
        self.take_or_keep(incoming)?;
        self.gaps = Gaps::Wait;
        Ok(())
    }

    /// Tries again what waits behind gaps: they may have closed.
    pub(super) fn retry_behind_gaps(&mut self) -> Result<(), StoreError> {
        let aliases = self.tx.all(
            "SELECT DISTINCT alias FROM waiting WHERE own_inbox = ?1 AND reason = 6",
            [self.own_inbox],
            |row| row.get::<_, u32>(0),
        )?;
        aliases.into_iter().try_for_each(|alias| self.retry(alias, &[Why::Gap]))
    }

    /// Tries again what waits for one of these under an alias, in the order in which it came.
    pub(super) fn retry(&mut self, alias: u32, waited_for: &[Why]) -> Result<(), StoreError> {
        let waiting = self.tx.all(
            "SELECT id, header, payload, reason FROM waiting WHERE own_inbox = ?1 AND alias = ?2 ORDER BY id",
            params![self.own_inbox, alias],
            |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, Vec<u8>>(2)?, row.get::<_, i64>(3)?))
            },
        )?;
        for (row, header, payload, reason) in waiting {
            if waited_for.iter().all(|why| why.code() != reason) {
                continue;
            }
            match self.take(&Incoming { alias, header: &header, payload: &payload }) {
                Err(Fault::Wait(why)) => {
                    self.tx.execute("UPDATE waiting SET reason = ?2 WHERE id = ?1", params![row, why.code()])?;
                    continue;
                }
                Err(Fault::Store(error)) => return Err(error),
                Err(Fault::Refused(code)) => count_refusals(self.tx, code, 1)?,
                Err(Fault::Unopened(cause)) => count_refusals(self.tx, unopened_code(cause), 1)?,
                Ok(_) => {}
            }
            self.tx.execute("DELETE FROM waiting WHERE id = ?1", [row])?;
        }
        Ok(())
    }
}
