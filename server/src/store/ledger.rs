//! The rows that every put and acknowledgement changes (inboxes and tokens), held in memory between commits.
//!
//! The writer is the only one who changes them, so what it holds is what the database says. A batch changes copies in memory and
//! writes each changed row once, before it commits; a batch that fails forgets everything.
//! Who is let in is let in from memory. Who is refused has always been looked for in the database first, by the same statements
//! whatever is held here: otherwise the time of a refusal would tell an inbox that is used from one that is not there.
//! Invariant: a row here that is not dirty equals its row in the database.

use std::collections::HashMap;

use rusqlite::{Row, params};
use sotto_protocol::{InboxId, TokenHash};

use super::transaction::{Sql, Tx, signed, unsigned};
use super::{AckSignature, PublicKey};
use crate::limits::LEDGER_ROWS_MAX;

/// What waits, and whether senders are told to come back later.
///
/// `full` is set by the put that did not fit and cleared once both measures are down to half: otherwise every acknowledgement
/// would let one sender in and turn it away again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) full: bool,
}

/// What may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueBounds {
    pub(crate) count_max: u64,
    pub(crate) bytes_max: u64,
}

impl QueueBounds {
    /// What one token may fill of it.
    pub(crate) const fn quarter(self) -> Self {
        Self { count_max: self.count_max / 4, bytes_max: self.bytes_max / 4 }
    }
}

impl Queue {
    pub(crate) const fn admits(&self, size: u64, bounds: QueueBounds) -> bool {
        !self.full && self.count < bounds.count_max && self.bytes.saturating_add(size) <= bounds.bytes_max
    }

    /// A put did not fit. One that is merely too large for what is left in a queue below half full turns nobody else away.
    pub(crate) const fn overflow(&mut self, bounds: QueueBounds) {
        self.full = self.is_above_half(bounds);
    }

    pub(crate) const fn add(&mut self, size: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(size);
    }

    pub(crate) const fn remove(&mut self, count: u64, bytes: u64, bounds: QueueBounds) {
        self.count = self.count.saturating_sub(count);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.full = self.full && self.is_above_half(bounds);
    }

    const fn is_above_half(&self, bounds: QueueBounds) -> bool {
        self.count > bounds.count_max / 2 || self.bytes > bounds.bytes_max / 2
    }
}

/// How many claims a day saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DayCount {
    pub(crate) day: u32,
    pub(crate) claims: u32,
}

impl DayCount {
    /// The count of `day`: another day's is forgotten.
    pub(crate) const fn on(self, day: u32) -> Self {
        if self.day == day { self } else { Self { day, claims: 0 } }
    }
}

/// A row of `inbox`.
#[derive(Clone, Copy)]
pub(crate) struct Inbox {
    pub(crate) id: i64,
    pub(crate) name: InboxId,
    pub(crate) owner: PublicKey,
    pub(crate) manage: PublicKey,
    pub(crate) sequence: u64,
    pub(crate) acked: u64,
    /// The owner's word for `acked`.
    pub(crate) ack_signature: Option<AckSignature>,
    pub(crate) queue: Queue,
    pub(crate) token_count: u32,
    pub(crate) today: DayCount,
    /// One-time keys given away on `today.day`.
    pub(crate) one_time_today: u32,
    /// Calls that changed tokens, prekeys or the manage key.
    pub(crate) changes: u64,
}

/// A row of `token`.
#[derive(Clone, Copy)]
pub(crate) struct TokenRow {
    pub(crate) id: i64,
    pub(crate) inbox: i64,
    pub(crate) hash: TokenHash,
    pub(crate) alias: u32,
    /// 0: never.
    pub(crate) expires_at: u64,
    pub(crate) puts_per_claim: u32,
    pub(crate) queued_bytes_max: u64,
    pub(crate) claims_max: u32,
    pub(crate) one_time_keys_per_claim: u32,
    pub(crate) claims_used: u32,
    pub(crate) today: DayCount,
    pub(crate) queue: Queue,
}

impl TokenRow {
    /// Whether any put under it is let in that has room: nothing is counted, so nothing can be used up.
    pub(crate) const fn is_plain(&self) -> bool {
        self.puts_per_claim == 0 && self.claims_max == 0
    }

    /// What it may fill: its own bound, and never more than a quarter of the inbox.
    pub(crate) fn bounds(&self, inbox: QueueBounds) -> QueueBounds {
        let quarter = inbox.quarter();
        match self.queued_bytes_max {
            0 => quarter,
            own => QueueBounds { bytes_max: own.min(quarter.bytes_max), ..quarter },
        }
    }
}

struct Held<R> {
    row: R,
    is_dirty: bool,
}

struct Shelf<R> {
    rows: HashMap<i64, Held<R>>,
    dirty: Vec<i64>,
}

impl<R: Copy> Shelf<R> {
    fn find(&self, id: i64) -> Option<R> {
        self.rows.get(&id).map(|held| held.row)
    }

    /// What is held, or else `row`, held from now on.
    fn keep_or_find(&mut self, id: i64, row: R) -> R {
        self.rows.entry(id).or_insert(Held { row, is_dirty: false }).row
    }

    fn change(&mut self, id: i64, row: R) {
        let was_dirty = self.rows.insert(id, Held { row, is_dirty: true }).is_some_and(|held| held.is_dirty);
        if !was_dirty {
            self.dirty.push(id);
        }
    }

    fn forget(&mut self, id: i64) {
        self.rows.remove(&id);
    }

    /// The changed rows, each once, in the order of their first change.
    fn settle(&mut self) -> Vec<R> {
        let dirty = std::mem::take(&mut self.dirty);
        let changed = dirty.into_iter().filter_map(|id| {
            let held = self.rows.get_mut(&id)?;
            std::mem::take(&mut held.is_dirty).then_some(held.row)
        });
        changed.collect()
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.dirty.clear();
    }
}

impl<R> Default for Shelf<R> {
    fn default() -> Self {
        Self { rows: HashMap::new(), dirty: Vec::new() }
    }
}

/// See the file's story.
#[derive(Default)]
pub(crate) struct Ledger {
    inbox_ids: HashMap<InboxId, i64>,
    inboxes: Shelf<Inbox>,
    token_ids: HashMap<(i64, TokenHash), i64>,
    tokens: Shelf<TokenRow>,
}

impl Ledger {
    /// The inbox, if it is at hand: no statement runs. Only who is let in may be answered by it; see [`Self::inbox`].
    pub(crate) fn inbox_at_hand(&self, name: &InboxId) -> Option<Inbox> {
        self.inboxes.find(*self.inbox_ids.get(name)?)
    }

    /// Asks for the inbox, whether or not it is at hand: so every refusal costs the same statements, on a relay that has just seen
    /// the inbox too. What is at hand is newer than the database's answer.
    pub(crate) fn inbox(&mut self, tx: &Tx<'_>, name: &InboxId) -> Sql<Option<Inbox>> {
        let found = tx.row(INBOX_BY_NAME, [name.as_ref()], read_inbox)?;
        Ok(found.map(|row| self.keep_inbox(row)))
    }

    fn keep_inbox(&mut self, row: Inbox) -> Inbox {
        self.inbox_ids.insert(row.name, row.id);
        self.inboxes.keep_or_find(row.id, row)
    }

    pub(crate) fn inbox_by_id(&mut self, tx: &Tx<'_>, id: i64) -> Sql<Option<Inbox>> {
        if let Some(row) = self.inboxes.find(id) {
            return Ok(Some(row));
        }
        let found = tx.row(INBOX_BY_ID, [id], read_inbox)?;
        Ok(found.map(|row| self.keep_inbox(row)))
    }

    /// To be written before the commit.
    pub(crate) fn change_inbox(&mut self, row: Inbox) {
        self.inboxes.change(row.id, row);
    }

    pub(crate) fn forget_inbox(&mut self, name: &InboxId, id: i64) {
        self.inbox_ids.remove(name);
        self.inboxes.forget(id);
    }

    /// As [`Self::inbox_at_hand`].
    pub(crate) fn token_at_hand(&self, inbox: i64, hash: &TokenHash) -> Option<TokenRow> {
        self.tokens.find(*self.token_ids.get(&(inbox, *hash))?)
    }

    /// As [`Self::inbox`]. `inbox` is 0 where there is none, so that the same statement runs.
    pub(crate) fn token(&mut self, tx: &Tx<'_>, inbox: i64, hash: &TokenHash) -> Sql<Option<TokenRow>> {
        let found = tx.row(TOKEN_BY_HASH, params![inbox, hash.as_ref()], read_token)?;
        Ok(found.map(|row| self.keep_token(row)))
    }

    fn keep_token(&mut self, row: TokenRow) -> TokenRow {
        self.token_ids.insert((row.inbox, row.hash), row.id);
        self.tokens.keep_or_find(row.id, row)
    }

    pub(crate) fn token_by_id(&mut self, tx: &Tx<'_>, id: i64) -> Sql<Option<TokenRow>> {
        if let Some(row) = self.tokens.find(id) {
            return Ok(Some(row));
        }
        let found = tx.row(TOKEN_BY_ID, [id], read_token)?;
        Ok(found.map(|row| self.keep_token(row)))
    }

    /// To be written before the commit.
    pub(crate) fn change_token(&mut self, row: TokenRow) {
        self.tokens.change(row.id, row);
    }

    pub(crate) fn forget_token(&mut self, inbox: i64, hash: &TokenHash, id: Option<i64>) {
        self.token_ids.remove(&(inbox, *hash));
        if let Some(id) = id {
            self.tokens.forget(id);
        }
    }

    /// Writes what changed.
    pub(crate) fn settle(&mut self, tx: &mut Tx<'_>) -> Sql<()> {
        for row in self.inboxes.settle() {
            write_inbox(tx, &row)?;
        }
        for row in self.tokens.settle() {
            write_token(tx, &row)?;
        }
        Ok(())
    }

    /// Makes room once there is too much; only between batches.
    pub(crate) fn trim(&mut self) {
        if self.inbox_ids.len() + self.token_ids.len() > LEDGER_ROWS_MAX {
            self.clear();
        }
    }

    /// After a batch that was undone.
    pub(crate) fn clear(&mut self) {
        self.inbox_ids.clear();
        self.inboxes.clear();
        self.token_ids.clear();
        self.tokens.clear();
    }
}

const INBOX_BY_NAME: &str =
    "SELECT id, name, owner_key, manage_key, sequence, acked, queued_count, queued_bytes, full, token_count,
            claim_day, claim_count, one_time_count, ack_signature, changes
     FROM inbox WHERE name = ?1";
const INBOX_BY_ID: &str =
    "SELECT id, name, owner_key, manage_key, sequence, acked, queued_count, queued_bytes, full, token_count,
            claim_day, claim_count, one_time_count, ack_signature, changes
     FROM inbox WHERE id = ?1";
const TOKEN_BY_HASH: &str =
    "SELECT id, inbox, hash, alias, expires_at, puts_per_claim, queued_bytes_max, claims_max, one_time_keys_per_claim,
            claims_used, claim_day, claim_count, queued_count, queued_bytes, full
     FROM token WHERE inbox = ?1 AND hash = ?2";
const TOKEN_BY_ID: &str =
    "SELECT id, inbox, hash, alias, expires_at, puts_per_claim, queued_bytes_max, claims_max, one_time_keys_per_claim,
            claims_used, claim_day, claim_count, queued_count, queued_bytes, full
     FROM token WHERE id = ?1";

fn read_inbox(row: &Row<'_>) -> Sql<Inbox> {
    Ok(Inbox {
        id: row.get(0)?,
        name: InboxId::from_bytes(row.get(1)?),
        owner: row.get(2)?,
        manage: row.get(3)?,
        sequence: unsigned(row.get(4)?),
        acked: unsigned(row.get(5)?),
        ack_signature: row.get(13)?,
        queue: Queue { count: unsigned(row.get(6)?), bytes: unsigned(row.get(7)?), full: row.get(8)? },
        token_count: row.get(9)?,
        today: DayCount { day: row.get(10)?, claims: row.get(11)? },
        one_time_today: row.get(12)?,
        changes: unsigned(row.get(14)?),
    })
}

fn read_token(row: &Row<'_>) -> Sql<TokenRow> {
    Ok(TokenRow {
        id: row.get(0)?,
        inbox: row.get(1)?,
        hash: TokenHash::from_bytes(row.get(2)?),
        alias: row.get(3)?,
        expires_at: unsigned(row.get(4)?),
        puts_per_claim: row.get(5)?,
        queued_bytes_max: unsigned(row.get(6)?),
        claims_max: row.get(7)?,
        one_time_keys_per_claim: row.get(8)?,
        claims_used: row.get(9)?,
        today: DayCount { day: row.get(10)?, claims: row.get(11)? },
        queue: Queue { count: unsigned(row.get(12)?), bytes: unsigned(row.get(13)?), full: row.get(14)? },
    })
}

fn write_inbox(tx: &mut Tx<'_>, row: &Inbox) -> Sql<usize> {
    tx.execute(
        "UPDATE inbox SET manage_key = ?2, sequence = ?3, acked = ?4, queued_count = ?5, queued_bytes = ?6, full = ?7,
                token_count = ?8, claim_day = ?9, claim_count = ?10, one_time_count = ?11, ack_signature = ?12,
                changes = ?13
         WHERE id = ?1",
        params![
            row.id,
            row.manage,
            signed(row.sequence),
            signed(row.acked),
            signed(row.queue.count),
            signed(row.queue.bytes),
            row.queue.full,
            row.token_count,
            row.today.day,
            row.today.claims,
            row.one_time_today,
            row.ack_signature,
            signed(row.changes),
        ],
    )
}

/// Only what puts and claims change: what the owner decides is written when it does, and its columns are indexed.
fn write_token(tx: &mut Tx<'_>, row: &TokenRow) -> Sql<usize> {
    tx.execute(
        "UPDATE token SET claims_used = ?2, claim_day = ?3, claim_count = ?4, queued_count = ?5, queued_bytes = ?6, full = ?7
         WHERE id = ?1",
        params![
            row.id,
            row.claims_used,
            row.today.day,
            row.today.claims,
            signed(row.queue.count),
            signed(row.queue.bytes),
            row.queue.full,
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: QueueBounds = QueueBounds { count_max: 8, bytes_max: 1_000 };

    #[test]
    fn a_full_queue_admits_again_only_once_it_is_half_empty() {
        let mut queue = Queue::default();
        for _ in 0..8 {
            assert!(queue.admits(10, BOUNDS));
            queue.add(10);
        }
        assert!(!queue.admits(10, BOUNDS));
        queue.overflow(BOUNDS);
        queue.remove(3, 30, BOUNDS);
        assert!(!queue.admits(10, BOUNDS), "five of eight still wait");
        queue.remove(1, 10, BOUNDS);
        assert!(queue.admits(10, BOUNDS));
    }

    #[test]
    fn an_envelope_larger_than_a_nearly_empty_queue_closes_it_to_nobody_else() {
        let mut queue = Queue::default();
        queue.add(100);
        assert!(!queue.admits(950, BOUNDS));
        queue.overflow(BOUNDS);
        assert!(queue.admits(10, BOUNDS));
    }

    #[test]
    fn a_token_never_gets_more_than_a_quarter_of_the_inbox() {
        let token = |queued_bytes_max| TokenRow {
            id: 1,
            inbox: 1,
            hash: TokenHash::from_bytes([0; 32]),
            alias: 0,
            expires_at: 0,
            puts_per_claim: 0,
            queued_bytes_max,
            claims_max: 0,
            one_time_keys_per_claim: 0,
            claims_used: 0,
            today: DayCount::default(),
            queue: Queue::default(),
        };
        assert_eq!(token(0).bounds(BOUNDS), QueueBounds { count_max: 2, bytes_max: 250 });
        assert_eq!(token(900).bounds(BOUNDS), QueueBounds { count_max: 2, bytes_max: 250 });
        assert_eq!(token(100).bounds(BOUNDS), QueueBounds { count_max: 2, bytes_max: 100 });
    }

    #[test]
    fn yesterdays_claims_do_not_count_today() {
        let yesterday = DayCount { day: 5, claims: 9 };
        assert_eq!(yesterday.on(5).claims, 9);
        assert_eq!(yesterday.on(6), DayCount { day: 6, claims: 0 });
    }
}
