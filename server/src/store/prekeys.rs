//! Bundles, one-time keys, and the claims that take them.
//!
//! A claim is bound to its token by the first use of its id, here or by a put. The one-time key that it got is stored with it, and given again
//! for 30 days: a claim that is asked again costs its owner nothing. The bundle is the current one each time: the KEM key of the one before may be erased
//! by now.
//!
//! Invariant: no one-time key is handed out under two claim ids. An owner whose answer was lost puts the same stack again, and somebody may
//! have claimed of it meanwhile: what was handed out of it stays out.

use rusqlite::params;
use sotto_protocol::{Bytes, ClaimId, Timestamp};

use super::commit::{Batch, Step};
use super::ledger::{Inbox, TokenRow};
use super::transaction::{Sql, signed, unsigned};
use super::{Caller, ClaimRequest, Claimed, Denied, PrekeyChange, PrekeysPut};
use crate::limits::{CLAIM_REMEMBERED, CLAIMS_PER_INBOX_A_DAY, CLAIMS_PER_TOKEN_A_DAY, ONE_TIME_KEYS_PER_INBOX_A_DAY};
use sotto_protocol::InboxId;
use sotto_protocol::limits::ONE_TIME_KEYS_MAX;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A row of `claim`.
#[derive(Clone, Copy)]
pub(crate) struct ClaimRow {
    pub(crate) id: i64,
    pub(crate) puts: u32,
    answered_at: u64,
}

/// Whether a claim id may be used under a token.
pub(crate) enum Binding {
    /// It is bound already.
    Bound(ClaimRow),
    /// It may be bound now.
    Free,
    /// All claims of the token are taken.
    UsedUp,
    /// Enough for today.
    Tomorrow,
}

impl Batch<'_> {
    pub(crate) fn put_prekeys(&mut self, caller: &Caller, inbox: &InboxId, change: &PrekeyChange) -> Step<PrekeysPut> {
        let found = match self.manage(caller, inbox)? {
            Ok(found) => found,
            Err(denied) => return Ok(Err(denied)),
        };
        let kept = if change.replace_one_time { 0 } else { self.one_time_count(found.id)? };
        if kept + change.one_time.len() > ONE_TIME_KEYS_MAX {
            return Ok(Err(Denied::Full));
        }
        if !change.one_time.is_empty() || change.replace_one_time {
            self.push_one_time(found.id, change)?;
        }
        if let Some(body) = &change.bundle {
            let put = "INSERT INTO bundle (inbox, body) VALUES (?1, ?2) ON CONFLICT (inbox) DO UPDATE SET body = ?2";
            self.tx.execute(put, params![found.id, body.as_ref()])?;
        }
        self.ledger.change_inbox(found);
        let one_time = u32::try_from(self.one_time_count(found.id)?).unwrap_or(u32::MAX);
        Ok(Ok(PrekeysPut { one_time, changes: found.changes }))
    }

    /// Pushes what was not handed out before, and remembers of that what may be pushed again.
    fn push_one_time(&mut self, inbox: i64, change: &PrekeyChange) -> Sql<()> {
        let handed_out =
            self.tx.rows("SELECT id, body FROM one_time WHERE inbox = ?1 AND handed_out = 1", [inbox], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
            })?;
        let (again, over): (Vec<_>, Vec<_>) =
            handed_out.into_iter().partition(|(_, body)| change.one_time.iter().any(|key| key == body));
        for (id, _) in over {
            self.tx.execute("DELETE FROM one_time WHERE id = ?1", [id])?;
        }
        if change.replace_one_time {
            self.tx.execute("DELETE FROM one_time WHERE inbox = ?1 AND handed_out = 0", [inbox])?;
        }
        for key in change.one_time.iter().filter(|key| again.iter().all(|(_, body)| *key != body)) {
            self.tx.execute("INSERT INTO one_time (inbox, body) VALUES (?1, ?2)", params![inbox, key.as_ref()])?;
        }
        Ok(())
    }

    fn one_time_count(&self, inbox: i64) -> Sql<usize> {
        let count =
            self.tx.row("SELECT COUNT(*) FROM one_time WHERE inbox = ?1 AND handed_out = 0", [inbox], |row| {
                row.get::<_, i64>(0)
            })?;
        Ok(usize::try_from(count.unwrap_or(0)).unwrap_or(usize::MAX))
    }

    fn bundle(&self, inbox: i64) -> Sql<Option<Bytes>> {
        let body = self.tx.row("SELECT body FROM bundle WHERE inbox = ?1", [inbox], |row| row.get::<_, Vec<u8>>(0))?;
        Ok(body.map(Bytes::from))
    }

    pub(crate) fn claim_prekey(&mut self, request: &ClaimRequest, now: Timestamp) -> Step<Claimed> {
        let admitted = self.admit(&request.inbox, &request.token, now)?;
        let known = self.claim_row(admitted.map_or(0, |(_, token)| token.id), &request.claim)?;
        let Some((inbox, token)) = admitted else { return Ok(Err(Denied::Refused)) };
        if let Some(known) = known
            && let Some(one_time) = self.repeated_one_time(&known)?
        {
            let bundle = self.bundle(inbox.id)?;
            return Ok(bundle.map(|bundle| Claimed { bundle, one_time }).ok_or(Denied::Unavailable));
        }
        let known = match binding(&token, known, now) {
            Binding::Bound(known) => Some(known),
            Binding::Free => None,
            Binding::UsedUp => return Ok(Err(Denied::Refused)),
            Binding::Tomorrow => return Ok(Err(tomorrow(now))),
        };
        if token.today.on(now.day()).claims >= CLAIMS_PER_TOKEN_A_DAY
            || inbox.today.on(now.day()).claims >= CLAIMS_PER_INBOX_A_DAY
        {
            return Ok(Err(tomorrow(now)));
        }
        let Some(bundle) = self.bundle(inbox.id)? else { return Ok(Err(Denied::Unavailable)) };
        let one_time = self.answer_claim(inbox, token, known, request, now)?;
        Ok(Ok(Claimed { bundle, one_time }))
    }

    /// The one-time key that this claim id got before, empty where it was none, if the answer is still remembered.
    fn repeated_one_time(&mut self, known: &ClaimRow) -> Sql<Option<Bytes>> {
        let forgotten_at = Timestamp::from_ms(known.answered_at).after(CLAIM_REMEMBERED);
        if known.answered_at == 0 || self.sure_time()?.at >= forgotten_at {
            return Ok(None);
        }
        let one_time = self
            .tx
            .row("SELECT one_time FROM claim WHERE id = ?1", [known.id], |row| row.get::<_, Option<Vec<u8>>>(0))?;
        Ok(one_time.map(|one_time| one_time.unwrap_or_default().into()))
    }

    fn answer_claim(
        &mut self,
        mut inbox: Inbox,
        mut token: TokenRow,
        known: Option<ClaimRow>,
        request: &ClaimRequest,
        now: Timestamp,
    ) -> Sql<Bytes> {
        let (today, answered_at) = (now.day(), self.stamp(now)?);
        if inbox.today.day != today {
            inbox.one_time_today = 0;
        }
        inbox.today = inbox.today.on(today);
        token.today = token.today.on(today);
        inbox.today.claims += 1;
        token.today.claims += 1;
        let gets_one_time = token.one_time_keys_per_claim > 0
            && !request.bundle_only
            && inbox.one_time_today < ONE_TIME_KEYS_PER_INBOX_A_DAY;
        let one_time = if gets_one_time { self.pop_one_time(inbox.id)? } else { None };
        if one_time.is_some() {
            inbox.one_time_today += 1;
        }
        if known.is_none() {
            token.claims_used = token.claims_used.saturating_add(1);
        }
        self.ledger.change_inbox(inbox);
        self.ledger.change_token(token);
        self.tx.execute(
            "INSERT INTO claim (token, name, answered_at, one_time) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (token, name) DO UPDATE SET answered_at = ?3, one_time = ?4",
            params![token.id, request.claim.as_ref(), signed(answered_at.as_ms()), one_time],
        )?;
        Ok(Bytes::from(one_time.unwrap_or_default()))
    }

    /// The key pushed last: the one whose private half the device surely still has.
    fn pop_one_time(&mut self, inbox: i64) -> Sql<Option<Vec<u8>>> {
        let mut popped = self.tx.take(
            "UPDATE one_time SET handed_out = 1
             WHERE id = (SELECT MAX(id) FROM one_time WHERE inbox = ?1 AND handed_out = 0) RETURNING body",
            [inbox],
            |row| row.get(0),
        )?;
        Ok(popped.pop())
    }

    /// `token` is 0 where there is none, so that the same statement runs.
    pub(crate) fn claim_row(&self, token: i64, claim: &ClaimId) -> Sql<Option<ClaimRow>> {
        self.tx.row(
            "SELECT id, puts, answered_at FROM claim WHERE token = ?1 AND name = ?2",
            params![token, claim.as_ref()],
            |row| Ok(ClaimRow { id: row.get(0)?, puts: row.get(1)?, answered_at: unsigned(row.get(2)?) }),
        )
    }
}

/// What a claim id may do under `token`.
pub(crate) fn binding(token: &TokenRow, known: Option<ClaimRow>, now: Timestamp) -> Binding {
    match known {
        Some(known) => Binding::Bound(known),
        None if token.claims_max > 0 && token.claims_used >= token.claims_max => Binding::UsedUp,
        None if token.today.on(now.day()).claims >= CLAIMS_PER_TOKEN_A_DAY => Binding::Tomorrow,
        None => Binding::Free,
    }
}

pub(crate) fn until_tomorrow_ms(now: Timestamp) -> u64 {
    DAY_MS - now.as_ms() % DAY_MS
}

/// Refused until the next day begins.
fn tomorrow(now: Timestamp) -> Denied {
    Denied::RateLimited { retry_after_ms: until_tomorrow_ms(now) }
}
