//! Removing what is due, a bounded amount at a time, so that no sender waits for it.
//!
//! What is due is decided by the time that has surely passed (`sure_time.rs`): one wrong clock must not delete everything.
//! Due are: envelopes past their lifetime, days whose envelopes are stale, answers of old claims, tokens long
//! expired, nonces and signing times that no call that is accepted is compared with, and what deleted inboxes and chains held.

use std::time::Duration;

use rusqlite::params;
use sotto_protocol::Timestamp;
use sotto_protocol::limits::CLOCK_WINDOW;

use super::commit::{Batch, Step};
use super::envelopes::read_gone;
use super::transaction::{Sql, signed};
use crate::limits::{CLAIM_REMEMBERED, SWEEP_ROWS, TOKEN_REMEMBERED};
use crate::retention::EnvelopeWindow;

/// What a sweep did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Rows removed, of all kinds.
    pub removed: u64,
    /// Whether more is due now.
    pub has_more: bool,
}

impl Swept {
    fn count(&mut self, removed: usize, bound: u32) {
        self.removed += removed as u64;
        self.has_more |= removed >= bound as usize;
    }
}

impl Batch<'_> {
    pub(crate) fn sweep(&mut self, now: Timestamp, elapsed: Duration) -> Step<Swept> {
        let mut swept = Swept::default();
        let sure = self.look_at_clocks(now, elapsed)?.at;
        self.sweep_envelopes(sure, &mut swept)?;
        self.sweep_days(sure, now, &mut swept)?;
        self.sweep_claims(sure, &mut swept)?;
        self.sweep_tokens(sure, &mut swept)?;
        // Whether a nonce may be forgotten is also a matter of the clock that its call would be compared with.
        self.sweep_nonces(sure.min(now), &mut swept)?;
        self.sweep_leaving(&mut swept)?;
        Ok(Ok(swept))
    }

    fn sweep_envelopes(&mut self, sure: Timestamp, swept: &mut Swept) -> Sql<()> {
        let gone = self.tx.take(
            "DELETE FROM envelope WHERE id IN (SELECT id FROM envelope WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
             RETURNING inbox, token, size, shared",
            params![signed(sure.as_ms()), self.removed_max],
            read_gone,
        )?;
        swept.count(gone.len(), self.removed_max);
        self.settle_gone(&gone)
    }

    fn sweep_days(&mut self, sure: Timestamp, now: Timestamp, swept: &mut Swept) -> Sql<()> {
        let day_min = EnvelopeWindow::at(sure, self.bounds.retention).day_min;
        swept.has_more |= self.seen.close_before(&mut self.tx, day_min)?;
        // Made before they are needed, so that the first sender of a day does not wait for it.
        self.seen.open(&mut self.tx, now.day())?;
        self.seen.open(&mut self.tx, now.day().saturating_add(1))
    }

    fn sweep_claims(&mut self, sure: Timestamp, swept: &mut Swept) -> Sql<()> {
        let forgotten = signed(sure.before(CLAIM_REMEMBERED).as_ms());
        // A claim that its token counts stays as a bare name; another one has no meaning without its answer.
        let emptied = self.tx.execute(
            "UPDATE claim SET answered_at = 0, one_time = NULL
             WHERE id IN (SELECT claim.id FROM claim JOIN token ON token.id = claim.token
                          WHERE answered_at > 0 AND answered_at <= ?1
                            AND (token.claims_max > 0 OR token.puts_per_claim > 0) LIMIT ?2)",
            params![forgotten, SWEEP_ROWS],
        )?;
        let removed = self.tx.execute(
            "DELETE FROM claim
             WHERE id IN (SELECT claim.id FROM claim JOIN token ON token.id = claim.token
                          WHERE answered_at > 0 AND answered_at <= ?1
                            AND token.claims_max = 0 AND token.puts_per_claim = 0 LIMIT ?2)",
            params![forgotten, SWEEP_ROWS],
        )?;
        for count in [emptied, removed] {
            swept.count(count, SWEEP_ROWS);
        }
        Ok(())
    }

    fn sweep_tokens(&mut self, sure: Timestamp, swept: &mut Swept) -> Sql<()> {
        let due = self.tx.rows(
            "SELECT id FROM token WHERE expires_at > 0 AND expires_at <= ?1 LIMIT ?2",
            params![signed(sure.before(TOKEN_REMEMBERED).as_ms()), SWEEP_ROWS],
            |row| row.get::<_, i64>(0),
        )?;
        swept.count(due.len(), SWEEP_ROWS);
        for id in due {
            let Some(token) = self.ledger.token_by_id(&self.tx, id)? else { continue };
            self.delete_token(&token)?;
            if let Some(mut inbox) = self.ledger.inbox_by_id(&self.tx, token.inbox)? {
                inbox.token_count = inbox.token_count.saturating_sub(1);
                self.ledger.change_inbox(inbox);
            }
        }
        Ok(())
    }

    fn sweep_nonces(&mut self, now: Timestamp, swept: &mut Swept) -> Sql<()> {
        let refused = signed(now.before(2 * CLOCK_WINDOW).as_ms());
        let nonces = self.tx.execute(
            "DELETE FROM nonce WHERE (time, nonce) IN (SELECT time, nonce FROM nonce WHERE time < ?1 ORDER BY time LIMIT ?2)",
            params![refused, SWEEP_ROWS],
        )?;
        let managed = self.tx.execute(
            "DELETE FROM managed WHERE inbox IN (SELECT inbox FROM managed WHERE time < ?1 ORDER BY time LIMIT ?2)",
            params![refused, SWEEP_ROWS],
        )?;
        for count in [nonces, managed] {
            swept.count(count, SWEEP_ROWS);
        }
        Ok(())
    }

    fn sweep_leaving(&mut self, swept: &mut Swept) -> Sql<()> {
        let next = self.tx.row("SELECT id, inbox, chain FROM leaving ORDER BY id LIMIT 1", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, Option<i64>>(2)?))
        })?;
        let Some((id, inbox, chain)) = next else { return Ok(()) };
        let mut removed = 0;
        if let Some(inbox) = inbox {
            removed += self.empty_inbox(inbox)?;
        }
        if let Some(chain) = chain {
            removed += self.tx.execute(
                "DELETE FROM chain_entry WHERE id IN (SELECT id FROM chain_entry WHERE chain = ?1 LIMIT ?2)",
                params![chain, self.removed_max],
            )?;
        }
        if removed == 0 {
            self.tx.execute("DELETE FROM leaving WHERE id = ?1", [id])?;
        }
        swept.removed += removed as u64;
        swept.has_more = true;
        Ok(())
    }

    fn empty_inbox(&mut self, inbox: i64) -> Sql<usize> {
        let gone = self.tx.take(
            "DELETE FROM envelope WHERE id IN (SELECT id FROM envelope WHERE inbox = ?1 LIMIT ?2)
             RETURNING inbox, token, size, shared",
            params![inbox, self.removed_max],
            read_gone,
        )?;
        self.settle_gone(&gone)?;
        let tokens =
            self.tx.rows("SELECT id FROM token WHERE inbox = ?1 LIMIT 50", [inbox], |row| row.get::<_, i64>(0))?;
        for id in &tokens {
            if let Some(token) = self.ledger.token_by_id(&self.tx, *id)? {
                self.delete_token(&token)?;
            }
        }
        let bundles = self.tx.execute("DELETE FROM bundle WHERE inbox = ?1", [inbox])?;
        self.tx.execute("DELETE FROM managed WHERE inbox = ?1", [inbox])?;
        let one_time = self.tx.execute("DELETE FROM one_time WHERE inbox = ?1", [inbox])?;
        Ok(gone.len() + tokens.len() + bundles + one_time)
    }
}
