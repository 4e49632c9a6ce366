//! The owner's side of first contact: invites made, requests taken and accepted.
//!
//! An invite's uses are counted here, by the device that made it: the first valid requests win, later ones are not answered.

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::letter::Content;
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::secret::{InviteProof, PairSecret, ReplySecret, invite_chain, invite_proof, invite_token};
use sotto_protocol::invite::{Invite, InviteSecret};
use sotto_protocol::limits::{INVITE_PUTS_PER_CLAIM, INVITE_USES_MAX, INVITE_VALID_MAX, TOKENS_MAX};
use sotto_protocol::{AccountId, Bytes, ChainId, DeviceId, Timestamp, relay};

use super::anew;
use super::tokens::{Purpose, Quota, REPLY_VALID, put_tokens};
use crate::contact::{self, ChainAddress, Contact, ContactRow, ContactState, NewContact, PairOf};
use crate::engine::Times;
use crate::error::{Error, InputError};
use crate::own::{self, Chain, Own};
use crate::records::InviteLink;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::task;
use crate::world::Chance;

/// How long after its end an invite's requests may still be under way: relays keep nothing longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long the relay of an invite's chain is asked to delete it: one that is gone for good has nothing left to delete.
const DELETED_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// What an invite is to allow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InviteOptions {
    /// How many may use it, from 1 to 1,000.
    pub uses: u32,
    /// How long it holds, at most 30 days.
    pub valid_for: Duration,
    /// Whether requests are accepted without asking.
    pub auto_accept: bool,
}

impl Default for InviteOptions {
    /// One use, for a week, with the owner's word.
    fn default() -> Self {
        Self { uses: 1, valid_for: Duration::from_secs(7 * 24 * 3600), auto_accept: false }
    }
}

impl InviteOptions {
    pub(crate) fn check(&self) -> Result<(), InputError> {
        if !(1..=INVITE_USES_MAX).contains(&self.uses) {
            return Err(InputError::OutOfRange { what: "the number of uses" });
        }
        if self.valid_for < Duration::from_secs(3600) || self.valid_for > INVITE_VALID_MAX {
            return Err(InputError::OutOfRange { what: "how long the invite holds" });
        }
        Ok(())
    }
}

/// Invites that hold, or whose answers are still to come: each has a chain, which is signed anew every week and told of every change.
/// Who wants to be met by more people makes one with more uses.
const INVITES_MAX: u32 = 256;

/// Makes an invite: its tokens and its chain are queued for the relays, and the link is ready. Returns the batch that must be done
/// before the link works.
pub(crate) fn invite(
    tx: &mut Tx<'_>,
    own: &Own,
    options: &InviteOptions,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(InviteLink, i64), Error> {
    let count: Option<u32> = tx.one("SELECT count(*) FROM invite", [], |row| row.get(0))?;
    if count >= Some(INVITES_MAX) {
        return Err(InputError::TooMany { what: "invites", count_max: INVITES_MAX }.into());
    }
    let secret = InviteSecret::from_bytes(chance.bytes());
    let (chain, key) = invite_chain(&secret);
    let home = own.listed().next().ok_or(StoreError::Corrupt)?.relay.clone();
    let batch = task::new_batch(tx)?;
    let chain_row = own::begin_chain(tx, batch, Chain::Invite, &home, chain, &key, &own.seal, now, chance)?;
    let expires_at = whole_hours(now.after(options.valid_for));
    let row = tx.insert(
        "INSERT INTO invite (secret, own_chain, uses, uses_left, expires_at, auto_accept, created_at) VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)",
        params![secret.as_bytes(), chain_row, options.uses, ms(expires_at), options.auto_accept, ms(now)],
    )?;
    let quota = Quota { expires_at: Some(expires_at), puts_per_claim: INVITE_PUTS_PER_CLAIM, claims: options.uses };
    put_tokens(tx, own, batch, Purpose::Invite(row), quota, |inbox| invite_token(&secret, inbox), chance)?;
    let invite = Invite { account: own.account, secret, expires_at, name: own::name(tx)?, relay: home };
    let link = invite.to_link().map_err(|_| StoreError::Corrupt)?;
    Ok((InviteLink { link, expires_at, uses: options.uses }, batch))
}

/// Links carry whole hours; up, so that nobody gets less than was asked for.
fn whole_hours(time: Timestamp) -> Timestamp {
    const HOUR_MS: u64 = 3_600_000;
    Timestamp::from_ms(time.as_ms().div_ceil(HOUR_MS) * HOUR_MS)
}

/// Invites whose answers are over: their chains and aliases go. Their tokens have run out by themselves. Those of others that were not
/// joined in time are forgotten as well.
pub(crate) fn forget_old_invites(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("DELETE FROM joining WHERE expires_at <= ?1", [ms(now)])?;
    let over = ms(now.before(ANSWERS_WITHIN));
    let old = tx.all(
        "SELECT invite.id, own_chain.relay, own_chain.chain FROM invite JOIN own_chain ON own_chain.id = invite.own_chain
         WHERE invite.expires_at <= ?1",
        [over],
        |row| {
            let (relay, chain): (String, [u8; 32]) = (row.get(1)?, row.get(2)?);
            Ok((row.get::<_, i64>(0)?, relay, ChainId::from_bytes(chain)))
        },
    )?;
    for (invite, relay, chain) in old {
        forget_invite(tx, invite, &relay, &chain, now)?;
    }
    Ok(())
}

fn forget_invite(tx: &mut Tx<'_>, invite: i64, relay: &str, chain: &ChainId, now: Timestamp) -> Result<(), StoreError> {
    let relay = relay.parse().map_err(|_| StoreError::Corrupt)?;
    own::delete_chain(tx, &relay, chain, now.after(DELETED_WITHIN))?;
    tx.execute("DELETE FROM alias WHERE invite = ?1", [invite])?;
    tx.execute("UPDATE contact SET invite = NULL WHERE invite = ?1", [invite])?;
    tx.execute("DELETE FROM invite WHERE id = ?1", [invite])?;
    Ok(())
}

/// Ends all invites: somebody knows their secrets who must not. Whoever has asked already can be answered.
pub(crate) fn end_invites(tx: &mut Tx<'_>, own: &Own, now: Timestamp) -> Result<(), StoreError> {
    let batch = task::new_batch(tx)?;
    for inbox in &own.inboxes {
        let hashes =
            tx.all("SELECT token_hash FROM alias WHERE own_inbox = ?1 AND invite IS NOT NULL", [inbox.row], |row| {
                row.get::<_, [u8; 32]>(0).map(|hash| Bytes::copy_from_slice(&hash))
            })?;
        // As many as a call may name.
        for hashes in hashes.chunks(TOKENS_MAX) {
            let body = relay::TokenDrop { inbox: inbox.inbox.into(), hashes: hashes.to_vec() };
            task::queue(tx, batch, &inbox.relay, task::Subject::Inbox(inbox.inbox), task::Kind::TokenDrop, &body)?;
        }
    }
    let invites = tx.all(
        "SELECT invite.id, own_chain.relay, own_chain.chain FROM invite JOIN own_chain ON own_chain.id = invite.own_chain",
        [],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, ChainId::from_bytes(row.get::<_, [u8; 32]>(2)?))),
    )?;
    invites.into_iter().try_for_each(|(invite, relay, chain)| forget_invite(tx, invite, &relay, &chain, now))
}

/// Whether a request was made under the invite on whose alias it came: the alias is what the relay says.
pub(crate) fn is_proven(
    view: &impl Query,
    own: &Own,
    invite: i64,
    requester: &AccountId,
    proof: &InviteProof,
) -> Result<bool, StoreError> {
    let secret = view.one("SELECT secret FROM invite WHERE id = ?1", [invite], |row| row.get::<_, [u8; 32]>(0))?;
    let secret = InviteSecret::from_bytes(secret.ok_or(StoreError::Corrupt)?);
    Ok(*proof == invite_proof(&secret, requester, &own.account))
}

/// Requests that wait for the owner's word at most: a link that has leaked fills no screen. Of more nothing is stored, and they come again while
/// their senders wait.
const REQUESTS_MAX: u32 = 64;

/// A request that was opened and proven to come from the account that its card names.
pub(crate) struct ProvenRequest<'a> {
    pub(crate) invite: i64,
    pub(crate) account: &'a AccountId,
    /// Which of their devices asks.
    pub(crate) device: &'a DeviceId,
    pub(crate) name: &'a str,
    /// Where its sender's lists are from now on, and the newest of them; `None` where what is known stays.
    pub(crate) list: Option<(&'a ChainAddress, &'a VerifiedManifest)>,
    pub(crate) reply_secret: &'a ReplySecret,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Requested {
    /// Stored, and it waits for the owner's word.
    Taken(ContactRow),
    /// Stored, and accepted at once.
    Accepted(ContactRow),
    /// The invite's uses are spent, its time is over, they come too often, or the person is blocked: they learn nothing.
    Ignored(&'static str),
}

/// Takes a request: counts the use, and accepts where the invite says so, where they are a contact already and come again with a new
/// handshake, or where we have asked them too. Until it says that it is taken, nothing is written.
pub(crate) fn take_request(
    tx: &mut Tx<'_>,
    own: &Own,
    request: &ProvenRequest<'_>,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<Requested, Error> {
    let now = times.network;
    let invite =
        tx.one("SELECT uses_left, expires_at, auto_accept FROM invite WHERE id = ?1", [request.invite], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?, row.get::<_, bool>(2)?))
        })?;
    let (uses_left, expires_at, auto_accept) = invite.ok_or(StoreError::Corrupt)?;
    let known = contact::by_account(tx, request.account)?;
    if known.as_ref().is_some_and(|contact| contact.blocked) {
        return Ok(Requested::Ignored("request_of_blocked"));
    }
    let came_with_this_invite = match &known {
        Some(contact) => {
            let invite = tx
                .one("SELECT invite FROM contact WHERE id = ?1", [contact.row.0], |row| row.get::<_, Option<i64>>(0))?;
            invite.flatten() == Some(request.invite) && contact.state != ContactState::Removed
        }
        None => false,
    };
    if !came_with_this_invite {
        if uses_left == 0 {
            return Ok(Requested::Ignored("invite_used_up"));
        }
        if now >= timestamp(expires_at).after(ANSWERS_WITHIN) {
            return Ok(Requested::Ignored("invite_expired"));
        }
    }
    let state = known.as_ref().map(|contact| contact.state);
    let accepts = auto_accept || matches!(state, Some(ContactState::Asked | ContactState::Accepted));
    if let Some(known) = &known
        && accepts
        && !contact::may_meet(tx, known.row, now)?
    {
        return Ok(Requested::Ignored("request_too_often"));
    }
    if !accepts && state != Some(ContactState::Asking) && contact::asking(tx)? >= REQUESTS_MAX {
        return Ok(Requested::Ignored("too_many_requests"));
    }
    if !came_with_this_invite {
        tx.execute("UPDATE invite SET uses_left = uses_left - 1 WHERE id = ?1", [request.invite])?;
    }
    let row = begin(tx, request, known.as_ref(), now)?;
    let shared = match &known {
        Some(known) => shared_with_others(tx, known, request)?,
        None => None,
    };
    contact::set_reply(tx, row, request.reply_secret, request.invite, request.device, times.judging)?;
    if accepts {
        answer(tx, own, row, shared, times, chance)?;
        return Ok(Requested::Accepted(row));
    }
    Ok(Requested::Taken(row))
}

/// The pair secret that was told to another device of theirs than the one that asks, by us or, as far as is known, by another device of ours.
/// It gets that one: the other may not hear for long, or never, that there is a newer one, and two that both were answered could not tell
/// which one we use. Whoever asks again, or has come in the place of the one that asked before, begins anew, and so does a later epoch: a device
/// that was removed knows what is shared (PROTOCOL B3).
fn shared_with_others(
    view: &impl Query,
    known: &Contact,
    request: &ProvenRequest<'_>,
) -> Result<Option<PairSecret>, StoreError> {
    let is_later = request.list.is_some_and(|(_, list)| list.head().epoch > known.head.epoch);
    let was_told = match contact::another_has_asked(view, known.row, request.device)? {
        Some(was_told) => was_told,
        None => !own::siblings::are_none(view)?,
    };
    Ok(known.settled_pair().filter(|_| was_told && !is_later).cloned())
}

/// Whoever asks is somebody who asks, with the list that they brought or the one that is known.
fn begin(
    tx: &mut Tx<'_>,
    request: &ProvenRequest<'_>,
    known: Option<&Contact>,
    now: Timestamp,
) -> Result<ContactRow, StoreError> {
    if let Some(known) = known.filter(|contact| !contact.is_asked()) {
        // They begin on a session of their own, and may not have what ours needs. When both ask at once both sessions are new.
        anew::stop_sessions(tx, known.row)?;
    }
    match (request.list, known) {
        (Some((chain, manifest)), _) => {
            let new = NewContact { name: request.name, state: ContactState::Asking, chain, manifest, chain_next: 0 };
            contact::begin(tx, &new, now)
        }
        (None, Some(known)) => {
            contact::begin_again(tx, known.row, request.name, ContactState::Asking)?;
            Ok(known.row)
        }
        (None, None) => Err(StoreError::Corrupt),
    }
}

/// Whether somebody who asks would still hear the answer: their tokens for it run out, and then we would take for a contact who never hears
/// that they are one.
pub(crate) fn can_be_answered(view: &impl Query, row: ContactRow, now: Timestamp) -> Result<bool, StoreError> {
    Ok(now < contact::asked_at(view, row)?.after(REPLY_VALID))
}

/// A request has come again: by its sender's clock its time is not over, so a clock of ours was behind when it came first.
pub(crate) fn was_asked_again(tx: &mut Tx<'_>, contact: &Contact, now: Timestamp) -> Result<(), StoreError> {
    if contact.state == ContactState::Asking && !can_be_answered(tx, contact.row, now)? {
        contact::has_asked_now(tx, contact.row, now)?;
    }
    Ok(())
}

/// Accepts a request.
pub(crate) fn accept(
    tx: &mut Tx<'_>,
    own: &Own,
    row: ContactRow,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    answer(tx, own, row, None, times, chance)
}

/// Pair tokens first, then the answer. `shared`: the secret that other devices of theirs have; else another is drawn.
fn answer(
    tx: &mut Tx<'_>,
    own: &Own,
    row: ContactRow,
    shared: Option<PairSecret>,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let contact = contact::by_row(tx, row)?;
    if contact.state != ContactState::Asking {
        return Err(InputError::WrongState { what: "has not asked" }.into());
    }
    let pair = shared.unwrap_or_else(|| PairSecret::generate(chance));
    let batch = anew::begin_tokens(tx, own, row, &pair, times, chance)?;
    contact::set_pair(tx, row, &pair, PairOf::Us)?;
    contact::set_state(tx, row, ContactState::Accepted)?;
    contact::conversation(tx, &own.account, &contact)?;
    let (card, _) = own::contacts_card(tx, own)?;
    contact::has_told_chain(tx, row, &card.chain)?;
    let answer = Content::ContactAccept { name: own::name(tx)?, card, pair_secret: pair };
    // Only where it asked from are there tokens for the answer: their other devices hear of us from that one.
    let asker = contact::asker(tx, row)?;
    anew::begin_pair(tx, row, &answer, asker, batch, times.network, chance)?;
    own::sync::contact_changed(tx, own, row, times.network, chance)
}
