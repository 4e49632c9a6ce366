//! Putting and dropping tokens, and whether a token lets somebody in.

use rusqlite::params;
use sotto_protocol::{InboxId, Timestamp, TokenHash};
use subtle::ConstantTimeEq;

use super::commit::{Batch, Step};
use super::ledger::{Inbox, TokenRow};
use super::transaction::{Sql, signed};
use super::{Caller, Denied, TokenGrant};
use crate::limits::TOKENS_PER_INBOX_MAX;

impl Batch<'_> {
    pub(crate) fn put_tokens(&mut self, caller: &Caller, inbox: &InboxId, tokens: &[TokenGrant]) -> Step<u64> {
        let mut found = match self.manage(caller, inbox)? {
            Ok(found) => found,
            Err(denied) => return Ok(Err(denied)),
        };
        let mut known = Vec::new();
        let mut new: Vec<&TokenGrant> = Vec::new();
        for grant in tokens {
            match self.ledger.token(&self.tx, found.id, &grant.hash)? {
                Some(row) => known.push(regranted(row, grant)),
                None => {
                    new.retain(|earlier| earlier.hash != grant.hash);
                    new.push(grant);
                }
            }
        }
        found.token_count = found.token_count.saturating_add(u32::try_from(new.len()).unwrap_or(u32::MAX));
        if found.token_count > TOKENS_PER_INBOX_MAX {
            return Ok(Err(Denied::Full));
        }
        for row in known {
            self.update_token(row)?;
        }
        for grant in new {
            self.insert_token(&found, grant)?;
        }
        self.ledger.change_inbox(found);
        Ok(Ok(found.changes))
    }

    fn update_token(&mut self, row: TokenRow) -> Sql<()> {
        self.tx.execute(
            "UPDATE token SET alias = ?2, expires_at = ?3, puts_per_claim = ?4, queued_bytes_max = ?5, claims_max = ?6,
                    one_time_keys_per_claim = ?7
             WHERE id = ?1",
            params![
                row.id,
                row.alias,
                signed(row.expires_at),
                row.puts_per_claim,
                signed(row.queued_bytes_max),
                row.claims_max,
                row.one_time_keys_per_claim,
            ],
        )?;
        self.ledger.change_token(row);
        Ok(())
    }

    fn insert_token(&mut self, inbox: &Inbox, grant: &TokenGrant) -> Sql<()> {
        self.ledger.forget_token(inbox.id, &grant.hash, None);
        self.tx.execute(
            "INSERT INTO token (inbox, hash, alias, expires_at, puts_per_claim, queued_bytes_max, claims_max,
                                one_time_keys_per_claim)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                inbox.id,
                grant.hash.as_ref(),
                grant.alias.0,
                grant.expires_at.map_or(0, |time| signed(time.as_ms())),
                grant.puts_per_claim,
                signed(grant.queued_bytes_max),
                grant.claims_max,
                grant.one_time_keys_per_claim,
            ],
        )?;
        Ok(())
    }

    pub(crate) fn drop_tokens(&mut self, caller: &Caller, inbox: &InboxId, hashes: &[TokenHash]) -> Step<u64> {
        let mut found = match self.manage(caller, inbox)? {
            Ok(found) => found,
            Err(denied) => return Ok(Err(denied)),
        };
        for hash in hashes {
            if let Some(token) = self.ledger.token(&self.tx, found.id, hash)? {
                self.delete_token(&token)?;
                found.token_count = found.token_count.saturating_sub(1);
            }
        }
        self.ledger.change_inbox(found);
        Ok(Ok(found.changes))
    }

    /// What waits under it stays: it was accepted.
    pub(crate) fn delete_token(&mut self, token: &TokenRow) -> Sql<()> {
        self.tx.execute("DELETE FROM claim WHERE token = ?1", [token.id])?;
        self.tx.execute("DELETE FROM token WHERE id = ?1", [token.id])?;
        self.ledger.forget_token(token.inbox, &token.hash, Some(token.id));
        Ok(())
    }

    /// The inbox and its token, if `token` lets the caller in now. Every refusal takes the same steps, whatever is at hand: both are
    /// asked for, with a number that no inbox has where there is none, and the hashes are compared in constant time. Only a token
    /// under which nothing can be used up is let in without asking: a later refusal would be one that asked less.
    pub(crate) fn admit(
        &mut self,
        inbox: &InboxId,
        token: &TokenHash,
        now: Timestamp,
    ) -> Sql<Option<(Inbox, TokenRow)>> {
        let time = self.stamp(now)?.as_ms();
        let is_current = |row: &TokenRow| row.expires_at == 0 || time < row.expires_at;
        let at_hand = self.ledger.inbox_at_hand(inbox).and_then(|found| {
            let row = self.ledger.token_at_hand(found.id, token)?;
            (row.is_plain() && is_current(&row)).then_some((found, row))
        });
        if at_hand.is_some() {
            return Ok(at_hand);
        }
        let inbox = self.ledger.inbox(&self.tx, inbox)?;
        let row = self.ledger.token(&self.tx, inbox.map_or(0, |found| found.id), token)?;
        let expected = row.map_or([0; 32], |row| *row.hash.as_bytes());
        let is_equal: bool = expected.ct_eq(token.as_bytes()).into();
        Ok(inbox.zip(row).filter(|(_, row)| is_equal && is_current(row)))
    }
}

/// The owner's new wishes; what was used up stays used up.
fn regranted(known: TokenRow, grant: &TokenGrant) -> TokenRow {
    TokenRow {
        alias: grant.alias.0,
        expires_at: grant.expires_at.map_or(0, Timestamp::as_ms),
        puts_per_claim: grant.puts_per_claim,
        queued_bytes_max: grant.queued_bytes_max,
        claims_max: grant.claims_max,
        one_time_keys_per_claim: grant.one_time_keys_per_claim,
        ..known
    }
}
