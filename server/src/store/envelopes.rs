//! Envelopes: put, waiting, acknowledged.
//!
//! A put is decided by pure comparisons over rows read first, in the same order for every outcome that must not be told apart.
//! Invariants: a sequence number is given out by adding one to a counter that is stored in the same transaction as the envelope,
//! and nothing reads an envelope before that transaction is on stable storage: what a device was shown is never given out again.
//! An envelope and the memory of its id are one transaction: a repeat is either known or was not accepted.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};
use sotto_protocol::{Alias, Bytes, EnvelopeId, InboxId, Timestamp};
use subtle::ConstantTimeEq;

use super::commit::{Acknowledgement, Batch, Step};
use super::ledger::{Inbox, TokenRow};
use super::prekeys::{Binding, ClaimRow, binding, until_tomorrow_ms};
use super::transaction::{self, Sql, signed, unsigned};
use super::{
    Arrival, Denied, Glimpse, Keep, Mailbox, Owner, Page, Position, PublicKey, Put, PutOutcome, Waiting, WaitingPage,
};
use crate::limits::{PEEK_WAITING_MAX, SHARED_PAYLOAD_BYTES_MIN};
use crate::retention::{EnvelopeWindow, expiry};

/// Payloads of one send that are stored once, and how many envelopes of it hold each.
#[derive(Default)]
struct Sharing {
    uses: BTreeMap<u32, u32>,
    rows: BTreeMap<u32, SharedRow>,
}

struct SharedRow {
    id: i64,
    holders: i64,
}

/// What is gone with an envelope.
pub(crate) struct Gone {
    pub(crate) inbox: i64,
    pub(crate) token: i64,
    pub(crate) size: u64,
    pub(crate) shared: Option<i64>,
}

impl Batch<'_> {
    pub(crate) fn put_envelopes(&mut self, puts: &[Put], now: Timestamp) -> Step<Vec<PutOutcome>> {
        let sure = self.sure_time()?.at;
        let day_min = self.seen.day_min(&self.tx)?;
        // By the clock, or by what is sure: a clock that is wrong turns nobody away.
        let windows = [now, sure].map(|time| EnvelopeWindow::at(time, self.bounds.retention));
        let is_open = |day| day >= day_min && windows.iter().any(|window| window.contains(day));
        let mut sharing = Sharing::of(puts);
        let mut outcomes = Vec::with_capacity(puts.len());
        for put in puts {
            let outcome = if is_open(put.envelope.day()) {
                self.put_envelope(put, &mut sharing, now)?
            } else {
                PutOutcome::Stale
            };
            outcomes.push(outcome);
        }
        for shared in sharing.rows.values() {
            self.tx
                .execute("UPDATE shared_payload SET holders = ?2 WHERE id = ?1", params![shared.id, shared.holders])?;
        }
        Ok(Ok(outcomes))
    }

    fn put_envelope(&mut self, put: &Put, sharing: &mut Sharing, now: Timestamp) -> Sql<PutOutcome> {
        let Some((inbox, token)) = self.admit(&put.inbox, &put.token, now)? else {
            return self.refuse_stranger(put);
        };
        if put.keep == Keep::Ephemeral {
            // A token whose puts are counted is an invite's: nothing fleeting comes by it.
            return match token.puts_per_claim {
                0 => {
                    let size = (put.header.len() + put.payload.bytes.len()) as u64;
                    let passed = self.fleeting.pass(token.id, size, now);
                    Ok(passed.map_or_else(
                        |retry_after_ms| PutOutcome::RateLimited { retry_after_ms },
                        |()| PutOutcome::Passed(Alias(token.alias)),
                    ))
                }
                _ => self.refuse_stranger(put),
            };
        }
        let size = (put.header.len() + put.payload.bytes.len()) as u64;
        let (inbox_bounds, token_bounds) = (self.bounds.queue(), token.bounds(self.bounds.queue()));
        let has_room = inbox.queue.admits(size, inbox_bounds) && token.queue.admits(size, token_bounds);
        if token.puts_per_claim == 0 && has_room {
            // The common case asks and remembers in one statement.
            let is_new = self.seen.add(&mut self.tx, inbox.id, &put.envelope)?;
            return if is_new { self.accept(put, inbox, token, size, sharing, now) } else { Ok(PutOutcome::Accepted) };
        }
        let is_seen = self.seen.contains(&self.tx, inbox.id, &put.envelope)?;
        let claim = match &put.claim {
            None => None,
            Some(claim) => self.claim_row(token.id, claim)?,
        };
        if is_seen {
            return Ok(PutOutcome::Accepted);
        }
        let share = match share_of(&token, put, claim, now) {
            Ok(share) => share,
            Err(outcome) => return Ok(outcome),
        };
        if !has_room {
            return Ok(self.overflow(inbox, token, size));
        }
        let token = self.use_share(share, token, put, now)?;
        self.seen.add(&mut self.tx, inbox.id, &put.envelope)?;
        self.accept(put, inbox, token, size, sharing, now)
    }

    /// Asks everything that a put under a used-up token asks, so that none of the refusals can be told apart.
    fn refuse_stranger(&mut self, put: &Put) -> Sql<PutOutcome> {
        self.seen.contains(&self.tx, 0, &put.envelope)?;
        if let Some(claim) = &put.claim {
            self.claim_row(0, claim)?;
        }
        Ok(PutOutcome::Refused)
    }

    /// Closes whatever was too full until it is half empty.
    fn overflow(&mut self, mut inbox: Inbox, mut token: TokenRow, size: u64) -> PutOutcome {
        let bounds = self.bounds.queue();
        if inbox.queue.admits(size, bounds) {
            token.queue.overflow(token.bounds(bounds));
            self.ledger.change_token(token);
        } else {
            inbox.queue.overflow(bounds);
            self.ledger.change_inbox(inbox);
        }
        PutOutcome::Full
    }

    fn accept(
        &mut self,
        put: &Put,
        mut inbox: Inbox,
        mut token: TokenRow,
        size: u64,
        sharing: &mut Sharing,
        now: Timestamp,
    ) -> Sql<PutOutcome> {
        inbox.sequence += 1;
        inbox.queue.add(size);
        token.queue.add(size);
        self.ledger.change_inbox(inbox);
        self.ledger.change_token(token);
        self.insert_envelope(put, &inbox, &token, size, sharing, now)?;
        let envelope = Waiting {
            sequence: inbox.sequence,
            alias: Alias(token.alias),
            envelope: put.envelope,
            header: put.header.clone(),
            payload: put.payload.bytes.clone(),
            accepted_at: now,
        };
        self.news.arrived.push(Arrival { inbox: put.inbox, envelope });
        Ok(PutOutcome::Accepted)
    }

    fn use_share(&mut self, share: Share, mut token: TokenRow, put: &Put, now: Timestamp) -> Sql<TokenRow> {
        match (share, &put.claim) {
            (Share::Bound(claim), _) => {
                self.tx.execute("UPDATE claim SET puts = puts + 1 WHERE id = ?1", [claim.id])?;
            }
            (Share::New, Some(name)) => {
                token.claims_used = token.claims_used.saturating_add(1);
                token.today = token.today.on(now.day());
                token.today.claims += 1;
                let insert = "INSERT INTO claim (token, name, puts) VALUES (?1, ?2, 1)";
                self.tx.execute(insert, params![token.id, name.as_ref()])?;
            }
            (Share::Unlimited | Share::New, _) => {}
        }
        Ok(token)
    }

    fn insert_envelope(
        &mut self,
        put: &Put,
        inbox: &Inbox,
        token: &TokenRow,
        size: u64,
        sharing: &mut Sharing,
        now: Timestamp,
    ) -> Sql<()> {
        let shared = self.share_payload(put, sharing)?;
        let payload = if shared.is_some() { None } else { Some(put.payload.bytes.as_ref()) };
        let expires_at = expiry(put.lifetime, self.bounds.retention, self.stamp(now)?);
        self.tx.execute(
            "INSERT INTO envelope (inbox, sequence, token, size, shared, alias, accepted_at, expires_at, name, header, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                inbox.id,
                signed(inbox.sequence),
                token.id,
                signed(size),
                shared,
                token.alias,
                signed(now.as_ms()),
                signed(expires_at.as_ms()),
                put.envelope.as_ref(),
                put.header.as_ref(),
                payload,
            ],
        )?;
        Ok(())
    }

    /// The row of a payload that more than one item of this send carries.
    fn share_payload(&mut self, put: &Put, sharing: &mut Sharing) -> Sql<Option<i64>> {
        let index = put.payload.index;
        if let Some(row) = sharing.rows.get_mut(&index) {
            row.holders += 1;
            return Ok(Some(row.id));
        }
        let is_shared = sharing.uses.get(&index).is_some_and(|uses| *uses > 1);
        if !is_shared || put.payload.bytes.len() < SHARED_PAYLOAD_BYTES_MIN {
            return Ok(None);
        }
        let insert = "INSERT INTO shared_payload (holders, body) VALUES (1, ?1)";
        let id = self.tx.insert(insert, [put.payload.bytes.as_ref()])?;
        sharing.rows.insert(index, SharedRow { id, holders: 1 });
        Ok(Some(id))
    }

    pub(crate) fn position(&mut self, mailbox: Mailbox) -> Step<Option<Position>> {
        let inbox = self.ledger.inbox_by_id(&self.tx, mailbox.0)?;
        Ok(Ok(inbox.map(|inbox| Position {
            acked: inbox.acked,
            ack_signature: inbox.ack_signature,
            last: inbox.sequence,
            changes: inbox.changes,
        })))
    }

    pub(crate) fn acknowledge(&mut self, acknowledgement: Acknowledgement) -> Sql<()> {
        let Acknowledgement { mailbox, sequence, signature } = acknowledgement;
        let Some(mut inbox) = self.ledger.inbox_by_id(&self.tx, mailbox.0)? else { return Ok(()) };
        // Nothing beyond what was given out: the caller checked, and a wrong memory here would never heal.
        if sequence <= inbox.acked || sequence > inbox.sequence {
            return Ok(());
        }
        // Two statements: `RETURNING` would make and drop a table of its own each time, which costs more than reading twice.
        let acknowledged = params![inbox.id, signed(sequence)];
        let gone = self.tx.rows(
            "SELECT inbox, token, size, shared FROM envelope WHERE inbox = ?1 AND sequence <= ?2",
            acknowledged,
            read_gone,
        )?;
        self.tx.execute("DELETE FROM envelope WHERE inbox = ?1 AND sequence <= ?2", acknowledged)?;
        inbox.acked = sequence;
        inbox.ack_signature = Some(signature);
        self.ledger.change_inbox(inbox);
        self.settle_gone(&gone)
    }

    /// Removes a part of what is acknowledged, and says whether there may be more; the acknowledgement itself comes with the last part.
    /// A kill between them leaves a queue without what its owner has already.
    pub(crate) fn remove_acknowledged(&mut self, acknowledgement: &Acknowledgement) -> Sql<bool> {
        let Some(inbox) = self.ledger.inbox_by_id(&self.tx, acknowledgement.mailbox.0)? else { return Ok(false) };
        if acknowledgement.sequence <= inbox.acked || acknowledgement.sequence > inbox.sequence {
            return Ok(false);
        }
        let gone = self.tx.take(
            "DELETE FROM envelope WHERE id IN (SELECT id FROM envelope WHERE inbox = ?1 AND sequence <= ?2
                                               ORDER BY sequence LIMIT ?3)
             RETURNING inbox, token, size, shared",
            params![inbox.id, signed(acknowledgement.sequence), self.removed_max],
            read_gone,
        )?;
        self.settle_gone(&gone)?;
        Ok(gone.len() >= self.removed_max as usize)
    }

    /// Takes what is gone off the queues' measures and releases the payloads.
    pub(crate) fn settle_gone(&mut self, gone: &[Gone]) -> Sql<()> {
        let mut inboxes: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        let mut tokens: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        let mut payloads: BTreeMap<i64, i64> = BTreeMap::new();
        for envelope in gone {
            for (measures, id) in [(&mut inboxes, envelope.inbox), (&mut tokens, envelope.token)] {
                let (count, bytes) = measures.entry(id).or_default();
                *count += 1;
                *bytes += envelope.size;
            }
            if let Some(shared) = envelope.shared {
                *payloads.entry(shared).or_default() += 1;
            }
        }
        for (id, (count, bytes)) in inboxes {
            if let Some(mut inbox) = self.ledger.inbox_by_id(&self.tx, id)? {
                inbox.queue.remove(count, bytes, self.bounds.queue());
                self.ledger.change_inbox(inbox);
            }
        }
        for (id, (count, bytes)) in tokens {
            if let Some(mut token) = self.ledger.token_by_id(&self.tx, id)? {
                token.queue.remove(count, bytes, token.bounds(self.bounds.queue()));
                self.ledger.change_token(token);
            }
        }
        for (id, holders) in payloads {
            let release = "UPDATE shared_payload SET holders = holders - ?2 WHERE id = ?1";
            self.tx.execute(release, params![id, holders])?;
            self.tx.execute("DELETE FROM shared_payload WHERE id = ?1 AND holders <= 0", [id])?;
        }
        Ok(())
    }
}

impl Sharing {
    fn of(puts: &[Put]) -> Self {
        let mut sharing = Self::default();
        if puts.len() > 1 {
            for put in puts {
                *sharing.uses.entry(put.payload.index).or_default() += 1;
            }
        }
        sharing
    }
}

pub(crate) fn read_gone(row: &Row<'_>) -> Sql<Gone> {
    Ok(Gone { inbox: row.get(0)?, token: row.get(1)?, size: unsigned(row.get(2)?), shared: row.get(3)? })
}

/// What a put uses of its token.
enum Share {
    /// The token does not count puts.
    Unlimited,
    /// One more put of this claim.
    Bound(ClaimRow),
    /// The first put of a new claim.
    New,
}

fn share_of(token: &TokenRow, put: &Put, claim: Option<ClaimRow>, now: Timestamp) -> Result<Share, PutOutcome> {
    if token.puts_per_claim == 0 {
        return Ok(Share::Unlimited);
    }
    if put.claim.is_none() {
        return Err(PutOutcome::Refused);
    }
    match binding(token, claim, now) {
        Binding::Bound(claim) if claim.puts < token.puts_per_claim => Ok(Share::Bound(claim)),
        Binding::Free => Ok(Share::New),
        Binding::Bound(_) | Binding::UsedUp => Err(PutOutcome::Refused),
        Binding::Tomorrow => Err(PutOutcome::RateLimited { retry_after_ms: until_tomorrow_ms(now) }),
    }
}

/// Who may attach `inbox`.
pub(crate) fn owner(connection: &Connection, inbox: &InboxId) -> Step<Option<Owner>> {
    transaction::row(connection, "SELECT id, owner_key FROM inbox WHERE name = ?1", [inbox.as_ref()], |row| {
        Ok(Owner { mailbox: Mailbox(row.get(0)?), key: row.get(1)? })
    })
    .map(Ok)
}

/// What waits after a sequence number, as far as it fits the page; what has expired and was not swept yet is not there. The same
/// time decides here and in the sweep: an acknowledgement of later mail deletes nothing that was passed over by a wrong clock.
pub(crate) fn waiting(connection: &Connection, mailbox: Mailbox, page: &Page) -> Sql<WaitingPage> {
    let mut statement = connection.prepare_cached(
        "SELECT envelope.sequence, envelope.alias, envelope.name, envelope.accepted_at, envelope.header,
                COALESCE(envelope.payload, shared_payload.body)
         FROM envelope LEFT JOIN shared_payload ON shared_payload.id = envelope.shared
         WHERE envelope.inbox = ?1 AND envelope.sequence > ?2 AND envelope.expires_at > (SELECT sure_at FROM relay)
         ORDER BY envelope.sequence",
    )?;
    let mut rows = statement.query(params![mailbox.0, signed(page.after)])?;
    let mut found = WaitingPage::default();
    let mut bytes = 0;
    while found.envelopes.len() < page.count_max {
        let Some(row) = rows.next()? else {
            found.is_end = true;
            break;
        };
        let envelope = read_waiting(row)?;
        bytes += envelope.size();
        if bytes > page.bytes_max && !found.envelopes.is_empty() {
            break;
        }
        found.envelopes.push(envelope);
    }
    Ok(found)
}

fn read_waiting(row: &Row<'_>) -> Sql<Waiting> {
    let blob = |index| row.get_ref(index)?.as_blob().map(Bytes::copy_from_slice).map_err(rusqlite::Error::from);
    Ok(Waiting {
        sequence: unsigned(row.get(0)?),
        alias: Alias(row.get(1)?),
        envelope: EnvelopeId::from_bytes(row.get(2)?),
        accepted_at: Timestamp::from_ms(unsigned(row.get(3)?)),
        header: blob(4)?,
        payload: blob(5)?,
    })
}

/// What waits, for the owner key's holder; an inbox that is not there is compared too.
pub(crate) fn peek(connection: &Connection, key: &PublicKey, inbox: &InboxId, page: &Page) -> Step<Glimpse> {
    let _snapshot = connection.unchecked_transaction()?;
    let found = match owner(connection, inbox)? {
        Ok(found) => found,
        Err(denied) => return Ok(Err(denied)),
    };
    let is_equal: bool = found.map_or([0; 32], |owner| owner.key).ct_eq(key).into();
    let Some(owner) = found.filter(|_| is_equal) else { return Ok(Err(Denied::Refused)) };
    let envelopes = waiting(connection, owner.mailbox, page)?.envelopes;
    let last = envelopes.last().map_or(page.after, |envelope| envelope.sequence);
    let waiting = transaction::row(
        connection,
        "SELECT COUNT(*) FROM (SELECT 1 FROM envelope WHERE inbox = ?1 AND sequence > ?2
                                AND expires_at > (SELECT sure_at FROM relay) LIMIT ?3)",
        params![owner.mailbox.0, signed(last), PEEK_WAITING_MAX],
        |row| row.get(0),
    )?;
    Ok(Ok(Glimpse { envelopes, waiting: waiting.unwrap_or(0) }))
}
