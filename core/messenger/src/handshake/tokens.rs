//! Tokens at our own inboxes, and what the aliases that deliveries carry stand for (PROTOCOL C1).

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::secret::{PairSecret, invite_token};
use sotto_protocol::invite::InviteSecret;
use sotto_protocol::limits::{INVITE_PUTS_PER_CLAIM, RETENTION, TOKENS_MAX};
use sotto_protocol::{Bytes, InboxId, Timestamp, Token, relay};

use crate::contact::{self, Contact, ContactRow, ContactState};
use crate::engine::Times;
use crate::own::{Own, OwnInbox};
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::task;
use crate::world::Chance;

/// How long the requester's reply tokens hold: as long as any invite, and a month for the answer.
pub(super) const REPLY_VALID: Duration = Duration::from_secs(60 * 24 * 3600);

/// How long after the end of its token something may still come under an alias: relays keep nothing longer, and a relay that is away for a
/// week drops the token late.
pub(crate) const UNDER_WAY: Duration = Duration::from_secs(RETENTION.as_secs() + 7 * 24 * 3600);

/// What an alias on one of our inboxes stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// The pair token of a contact.
    Pair(ContactRow),
    /// The token that our request to them carried, for their answer.
    Reply(ContactRow),
    /// An invite's token.
    Invite(i64),
}

impl Purpose {
    /// Its code, its contact, its invite.
    const fn columns(self) -> (i64, Option<i64>, Option<i64>) {
        match self {
            Self::Pair(contact) => (1, Some(contact.0), None),
            Self::Reply(contact) => (2, Some(contact.0), None),
            Self::Invite(invite) => (3, None, Some(invite)),
        }
    }
}

/// What the alias of a delivery stands for.
pub(crate) fn purpose(view: &impl Query, own_inbox: i64, alias: u32) -> Result<Option<Purpose>, StoreError> {
    let row = view.one(
        "SELECT purpose, contact, invite FROM alias WHERE own_inbox = ?1 AND alias = ?2",
        params![own_inbox, alias],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, Option<i64>>(2)?)),
    )?;
    match row {
        None => Ok(None),
        Some((1, Some(contact), _)) => Ok(Some(Purpose::Pair(ContactRow(contact)))),
        Some((2, Some(contact), _)) => Ok(Some(Purpose::Reply(ContactRow(contact)))),
        Some((3, _, Some(invite))) => Ok(Some(Purpose::Invite(invite))),
        Some(_) => Err(StoreError::Corrupt),
    }
}

/// How a token may be used, in the words of the relay.
#[derive(Clone, Copy, Default)]
pub(super) struct Quota {
    pub(super) expires_at: Option<Timestamp>,
    pub(super) puts_per_claim: u32,
    pub(super) claims: u32,
}

/// Puts a token for `purpose` at every inbox of ours, under an alias of its own at each.
pub(super) fn put_tokens(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    purpose: Purpose,
    quota: Quota,
    token: impl Fn(&InboxId) -> Token,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let (code, contact, invite) = purpose.columns();
    let over_at = quota.expires_at.map(|expires_at| ms(expires_at.after(UNDER_WAY)));
    for inbox in own.listed() {
        let hash = token(&inbox.inbox).hash();
        let alias = u32::from_be_bytes(chance.bytes());
        tx.execute(
            "INSERT INTO alias (own_inbox, alias, purpose, contact, invite, token_hash, batch, over_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![inbox.row, alias, code, contact, invite, hash.as_ref(), batch, over_at],
        )?;
        let token = relay::Token {
            hash: hash.into(),
            alias,
            expires_at_ms: quota.expires_at.map_or(0, Timestamp::as_ms),
            puts_per_claim: quota.puts_per_claim,
            queued_bytes_max: 0,
            claims: quota.claims,
            one_time_keys_per_claim: 1,
        };
        task::queue_token(tx, batch, &inbox.relay, inbox.inbox, token)?;
    }
    Ok(())
}

/// Puts the tokens for our other devices at every inbox of ours.
pub(crate) fn put_sibling_tokens(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    secret: &PairSecret,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let purpose = Purpose::Pair(ContactRow::OWN);
    put_tokens(tx, own, batch, purpose, Quota::default(), |inbox| secret.token(inbox, 0), chance)
}

/// Puts at an inbox that is new everything that can be had of the others: the tokens of our other devices, of contacts, but for those who
/// are blocked, and of invites. Where it was ours before, those that were put then are put again.
pub(crate) fn put_all_tokens(
    tx: &mut Tx<'_>,
    inbox: &OwnInbox,
    batch: i64,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    for contact in contact::own(tx)?.into_iter().chain(contact::all(tx)?) {
        if let Some(pair) = contact.pair_secret().filter(|_| contact.state == ContactState::Accepted) {
            add_alias(tx, inbox, batch, Purpose::Pair(contact.row), &pair.token(&inbox.inbox, 0), None, chance)?;
        }
    }
    let invites = tx.all(
        "SELECT id, secret, expires_at FROM invite WHERE uses_left > 0 AND expires_at > ?1",
        [ms(times.network)],
        |row| Ok((row.get::<_, i64>(0)?, InviteSecret::from_bytes(row.get(1)?), timestamp(row.get(2)?))),
    )?;
    for (invite, secret, expires_at) in invites {
        let token = invite_token(&secret, &inbox.inbox);
        add_alias(tx, inbox, batch, Purpose::Invite(invite), &token, Some(expires_at), chance)?;
    }
    put_tokens_again(tx, inbox, batch, times.network)
}

/// Names an alias for a token at an inbox, unless it has one.
fn add_alias(
    tx: &mut Tx<'_>,
    inbox: &OwnInbox,
    batch: i64,
    purpose: Purpose,
    token: &Token,
    expires_at: Option<Timestamp>,
    chance: &Chance<'_>,
) -> Result<(), StoreError> {
    let (code, contact, invite) = purpose.columns();
    let over_at = expires_at.map(|expires_at| ms(expires_at.after(UNDER_WAY)));
    tx.execute(
        "INSERT INTO alias (own_inbox, alias, purpose, contact, invite, token_hash, batch, over_at)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE NOT EXISTS (SELECT 1 FROM alias WHERE own_inbox = ?1 AND token_hash = ?6)",
        params![
            inbox.row,
            u32::from_be_bytes(chance.bytes()),
            code,
            contact,
            invite,
            token.hash().as_ref(),
            batch,
            over_at
        ],
    )?;
    Ok(())
}

/// The batch that put the token of an alias: it has put those of the same secret at the other inboxes as well.
pub(super) fn batch_under(view: &impl Query, own_inbox: i64, alias: u32) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT batch FROM alias WHERE own_inbox = ?1 AND alias = ?2";
    view.one(sql, params![own_inbox, alias], |row| row.get(0))
}

/// Whether the tokens of a pair secret are put at our inboxes, and were not dropped for good.
pub(crate) fn has_tokens_of(
    view: &impl Query,
    own: &Own,
    contact: ContactRow,
    pair: &PairSecret,
) -> Result<bool, StoreError> {
    for inbox in own.listed() {
        let sql = "SELECT 1 FROM alias WHERE own_inbox = ?1 AND contact = ?2 AND purpose = 1 AND dropped = 0 AND token_hash = ?3";
        let hash = pair.token(&inbox.inbox, 0).hash();
        if view.one(sql, params![inbox.row, contact.0, hash.as_ref()], |_| Ok(()))?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The batch that puts the tokens of a pair secret: of the first of our inboxes that has one.
pub(super) fn batch_of(
    view: &impl Query,
    own: &Own,
    contact: ContactRow,
    pair: &PairSecret,
) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT batch FROM alias WHERE own_inbox = ?1 AND contact = ?2 AND purpose = 1 AND dropped = 0 AND token_hash = ?3";
    for inbox in own.listed() {
        let hash = pair.token(&inbox.inbox, 0).hash();
        let batch = view.one(sql, params![inbox.row, contact.0, hash.as_ref()], |row| row.get(0))?;
        if batch.is_some() {
            return Ok(batch);
        }
    }
    Ok(None)
}

/// An answer has come under an alias. Says whether it is the first to the request whose reply alias that is: each is answered once, and not
/// any more when a later one was. Otherwise whoever was asked once could give us tokens to put and letters to send for as long as they like.
pub(crate) fn is_first_answer(tx: &mut Tx<'_>, own_inbox: i64, alias: u32) -> Result<bool, StoreError> {
    let request = tx.one(
        "SELECT contact, batch FROM alias WHERE own_inbox = ?1 AND alias = ?2 AND purpose = 2 AND answered = 0",
        params![own_inbox, alias],
        |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?)),
    )?;
    let Some((contact, batch)) = request else { return Ok(false) };
    tx.execute(
        "UPDATE alias SET answered = 1 WHERE contact = ?1 AND purpose = 2 AND batch <= ?2",
        params![contact, batch],
    )?;
    Ok(true)
}

/// Whether an alias is that of a request to which no answer has come, nor to a later one.
pub(crate) fn is_unanswered(view: &impl Query, own_inbox: i64, alias: u32) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM alias WHERE own_inbox = ?1 AND alias = ?2 AND purpose = 2 AND answered = 0";
    Ok(view.one(sql, params![own_inbox, alias], |_| Ok(()))?.is_some())
}

/// Aliases under which nothing comes any more go, with what waits under them; and what makes tokens of others' that have run out.
pub(crate) fn forget_old_aliases(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM waiting WHERE (own_inbox, alias) IN (SELECT own_inbox, alias FROM alias WHERE over_at <= ?1)",
        [ms(now)],
    )?;
    tx.execute("DELETE FROM alias WHERE over_at <= ?1", [ms(now)])?;
    let answered = "reply_secret IS NOT NULL AND pair_usable = 1";
    tx.execute(
        &format!("UPDATE contact SET reply_secret = NULL WHERE {answered} AND asked_at <= ?1"),
        [ms(now.before(REPLY_VALID))],
    )?;
    Ok(())
}

/// Which tokens of a contact are dropped, and whether they may come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dropped {
    /// All, until the contact is unblocked.
    Blocked,
    /// All, for good.
    Removed,
    /// Those of a pair secret in whose place another has come.
    Replaced,
}

/// Drops tokens of a contact at every inbox of ours. The aliases stay a while, so that what is still under way is recognised.
pub(crate) fn drop_tokens(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: ContactRow,
    dropped: Dropped,
    now: Timestamp,
) -> Result<(), StoreError> {
    let which = match dropped {
        Dropped::Blocked | Dropped::Removed => "contact = ?1 AND dropped = 0",
        Dropped::Replaced => "contact = ?1 AND dropped = 0 AND purpose = 1",
    };
    let batch = task::new_batch(tx)?;
    for inbox in &own.inboxes {
        let hashes = tx.all(
            &format!("SELECT token_hash FROM alias WHERE own_inbox = ?2 AND {which}"),
            params![contact.0, inbox.row],
            |row| row.get::<_, [u8; 32]>(0).map(|hash| Bytes::copy_from_slice(&hash)),
        )?;
        if !hashes.is_empty() {
            let body = relay::TokenDrop { inbox: inbox.inbox.into(), hashes };
            task::queue(tx, batch, &inbox.relay, task::Subject::Inbox(inbox.inbox), task::Kind::TokenDrop, &body)?;
        }
    }
    if dropped != Dropped::Blocked {
        tx.execute(
            &format!("UPDATE alias SET dropped = 1, over_at = ?2 WHERE {which}"),
            params![contact.0, ms(now.after(UNDER_WAY))],
        )?;
    }
    Ok(())
}

/// Whether an alias is of a pair's token at that inbox.
pub(crate) fn is_under_pair(
    view: &impl Query,
    own: &Own,
    own_inbox: i64,
    alias: u32,
    pair: &PairSecret,
) -> Result<bool, StoreError> {
    let Some(inbox) = own.inboxes.iter().find(|inbox| inbox.row == own_inbox) else { return Ok(false) };
    let hash = view.one(
        "SELECT token_hash FROM alias WHERE own_inbox = ?1 AND alias = ?2 AND purpose = 1",
        params![own_inbox, alias],
        |row| row.get::<_, [u8; 32]>(0),
    )?;
    Ok(hash.is_some_and(|hash| pair.token(&inbox.inbox, 0).hash().as_ref() == hash.as_slice()))
}

/// Drops the tokens of a contact that are of pairs before this one, at every inbox of ours, but for those that were put in the batch `used`.
pub(super) fn drop_former_tokens(
    tx: &mut Tx<'_>,
    own: &Own,
    contact: ContactRow,
    pair: &PairSecret,
    used: Option<i64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let batch = task::new_batch(tx)?;
    for inbox in &own.inboxes {
        let kept = pair.token(&inbox.inbox, 0).hash();
        let sql = "SELECT token_hash FROM alias WHERE own_inbox = ?1 AND contact = ?2 AND purpose = 1 AND dropped = 0 AND token_hash != ?3
                   AND batch IS NOT ?4";
        let hashes = tx.all(sql, params![inbox.row, contact.0, kept.as_ref(), used], |row| {
            row.get::<_, [u8; 32]>(0).map(|hash| Bytes::copy_from_slice(&hash))
        })?;
        if hashes.is_empty() {
            continue;
        }
        tx.execute(
            "UPDATE alias SET dropped = 1, over_at = ?5
             WHERE own_inbox = ?1 AND contact = ?2 AND purpose = 1 AND dropped = 0 AND token_hash != ?3 AND batch IS NOT ?4",
            params![inbox.row, contact.0, kept.as_ref(), used, ms(now.after(UNDER_WAY))],
        )?;
        let body = relay::TokenDrop { inbox: inbox.inbox.into(), hashes };
        task::queue(tx, batch, &inbox.relay, task::Subject::Inbox(inbox.inbox), task::Kind::TokenDrop, &body)?;
    }
    Ok(())
}

/// Puts the tokens of a contact again, after an unblocking: the pair's, and those for an answer, under which letters come until the pair's
/// are known to stand.
pub(crate) fn restore_tokens(tx: &mut Tx<'_>, own: &Own, contact: &Contact, now: Timestamp) -> Result<(), StoreError> {
    let batch = task::new_batch(tx)?;
    let reply_expires_at = now.after(REPLY_VALID);
    for inbox in &own.inboxes {
        let tokens = tx.all(
            "SELECT alias, token_hash, purpose FROM alias WHERE own_inbox = ?1 AND contact = ?2 AND dropped = 0",
            params![inbox.row, contact.row.0],
            |row| Ok((row.get::<_, u32>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, i64>(2)? == 2)),
        )?;
        for (alias, hash, is_reply) in tokens {
            let token = relay::Token {
                hash: Bytes::copy_from_slice(&hash),
                alias,
                expires_at_ms: if is_reply { reply_expires_at.as_ms() } else { 0 },
                one_time_keys_per_claim: 1,
                ..Default::default()
            };
            task::queue_token(tx, batch, &inbox.relay, inbox.inbox, token)?;
        }
    }
    tx.execute(
        "UPDATE alias SET over_at = ?2 WHERE contact = ?1 AND dropped = 0 AND purpose = 2",
        params![contact.row.0, ms(reply_expires_at.after(UNDER_WAY))],
    )?;
    Ok(())
}

/// Puts every token at an inbox again, as it was, and drops those again that are to let nobody in: its relay may have forgotten both. An
/// invite that is used up is not put again: it would let in as many as before.
pub(crate) fn put_tokens_again(
    tx: &mut Tx<'_>,
    inbox: &OwnInbox,
    batch: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows = tx.all(
        "SELECT alias, token_hash, over_at, dropped OR coalesce(contact.blocked, 0), invite.uses
         FROM alias LEFT JOIN contact ON contact.id = alias.contact LEFT JOIN invite ON invite.id = alias.invite
         WHERE own_inbox = ?1 AND coalesce(uses_left, 1) > 0 ORDER BY alias",
        [inbox.row],
        |row| {
            let expires_at = row.get::<_, Option<i64>>(2)?.map(|over_at| timestamp(over_at).before(UNDER_WAY));
            let uses: Option<u32> = row.get(4)?;
            let token = relay::Token {
                hash: Bytes::copy_from_slice(&row.get::<_, [u8; 32]>(1)?),
                alias: row.get(0)?,
                expires_at_ms: expires_at.map_or(0, Timestamp::as_ms),
                puts_per_claim: if uses.is_some() { INVITE_PUTS_PER_CLAIM } else { 0 },
                claims: uses.unwrap_or(0),
                one_time_keys_per_claim: 1,
                ..Default::default()
            };
            Ok((token, row.get::<_, bool>(3)?))
        },
    )?;
    let (dropped, held): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, is_dropped)| *is_dropped);
    let subject = task::Subject::Inbox(inbox.inbox);
    let hashes: Vec<Bytes> = dropped.into_iter().map(|(token, _)| token.hash).collect();
    for hashes in hashes.chunks(TOKENS_MAX) {
        let body = relay::TokenDrop { inbox: inbox.inbox.into(), hashes: hashes.to_vec() };
        task::queue(tx, batch, &inbox.relay, subject, task::Kind::TokenDrop, &body)?;
    }
    let holds = |token: &relay::Token| token.expires_at_ms == 0 || token.expires_at_ms > now.as_ms();
    let tokens: Vec<relay::Token> = held.into_iter().map(|(token, _)| token).filter(holds).collect();
    for tokens in tokens.chunks(TOKENS_MAX) {
        let body = relay::TokenPut { inbox: inbox.inbox.into(), tokens: tokens.to_vec() };
        task::queue(tx, batch, &inbox.relay, subject, task::Kind::TokenPut, &body)?;
    }
    Ok(())
}
