//! First contact: invites, requests, answers (docs/protocol.md section 7).
//!
//! ```text
//! owner                                           scanner
//! invite: tokens put, chain written  --link-->    join: chain read, prekeys claimed
//!                                    <--request-- (under the invite's token, sealed; proves the scanner at once)
//! accept: pair tokens put            --answer-->  (under the request's reply token) pair tokens put
//!                                    <--ready---  (under the pair token) from here both use the pair's tokens
//! ```
//! Tokens always stand at the relays before the letter that lets the other side use them: letters wait for their batch of tasks.
//! An invite's uses are counted here, by the device that made it: the first valid requests win, later ones are not answered.

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::letter::{Card, Content};
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::secret::{ChainKey, PairSecret, ReplySecret, invite_chain, invite_token};
use sotto_protocol::invite::{Invite, InviteSecret};
use sotto_protocol::limits::{INVITE_PUTS_PER_CLAIM, INVITE_USES_MAX, INVITE_VALID_MAX};
use sotto_protocol::{Bytes, ChainId, ClaimId, InboxId, Timestamp, Token, relay};

use crate::contact::{self, ChainAddress, Contact, ContactRow, ContactState, NewContact};
use crate::error::{Error, InputError};
use crate::outbox;
use crate::own::{self, Chain, Own};
use crate::records::InviteLink;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::task;
use crate::world::Chance;

/// How long after its end an invite's requests may still be under way: relays keep nothing longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the requester's reply tokens hold: as long as any invite, and a month for the answer.
const REPLY_VALID: Duration = Duration::from_secs(60 * 24 * 3600);

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
struct Quota {
    expires_at: Option<Timestamp>,
    puts_per_claim: u32,
    claims: u32,
}

/// Puts a token for `purpose` at every inbox of ours, under an alias of its own at each.
fn put_tokens(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    purpose: Purpose,
    quota: Quota,
    token: impl Fn(&InboxId) -> Token,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let (code, contact, invite) = match purpose {
        Purpose::Pair(contact) => (1, Some(contact.0), None),
        Purpose::Reply(contact) => (2, Some(contact.0), None),
        Purpose::Invite(invite) => (3, None, Some(invite)),
    };
    for inbox in &own.inboxes {
        let hash = token(&inbox.inbox).hash();
        let alias = u32::from_be_bytes(chance.bytes());
        tx.execute(
            "INSERT INTO alias (own_inbox, alias, purpose, contact, invite, token_hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![inbox.row, alias, code, contact, invite, hash.as_ref()],
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

/// Drops every token of a contact at every inbox of ours. The aliases stay, so that what is still under way is recognised.
pub(crate) fn drop_tokens(tx: &mut Tx<'_>, own: &Own, contact: ContactRow) -> Result<(), StoreError> {
    let batch = task::new_batch(tx)?;
    for inbox in &own.inboxes {
        let hashes = tx.all(
            "SELECT token_hash FROM alias WHERE own_inbox = ?1 AND contact = ?2",
            params![inbox.row, contact.0],
            |row| row.get::<_, [u8; 32]>(0).map(|hash| Bytes::copy_from_slice(&hash)),
        )?;
        if !hashes.is_empty() {
            let body = relay::TokenDrop { inbox: inbox.inbox.into(), hashes };
            task::queue(tx, batch, &inbox.relay, task::Subject::Inbox(inbox.inbox), task::Kind::TokenDrop, &body)?;
        }
    }
    Ok(())
}

/// Puts the pair's tokens of a contact again, after an unblocking.
pub(crate) fn restore_tokens(tx: &mut Tx<'_>, own: &Own, contact: &Contact) -> Result<(), StoreError> {
    let batch = task::new_batch(tx)?;
    for inbox in &own.inboxes {
        let tokens = tx.all(
            "SELECT alias, token_hash FROM alias WHERE own_inbox = ?1 AND contact = ?2 AND purpose = 1",
            params![inbox.row, contact.row.0],
            |row| Ok((row.get::<_, u32>(0)?, row.get::<_, [u8; 32]>(1)?)),
        )?;
        for (alias, hash) in tokens {
            let token = relay::Token {
                hash: Bytes::copy_from_slice(&hash),
                alias,
                one_time_keys_per_claim: 1,
                ..Default::default()
            };
            task::queue_token(tx, batch, &inbox.relay, inbox.inbox, token)?;
        }
    }
    Ok(())
}

// ---- the owner's side -------------------------------------------------------------------------------------------------------------

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

/// Makes an invite: its tokens and its chain are queued for the relays, and the link is ready. Returns the batch that must be done
/// before the link works.
pub(crate) fn invite(
    tx: &mut Tx<'_>,
    own: &Own,
    options: &InviteOptions,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(InviteLink, i64), Error> {
    let secret = InviteSecret::from_bytes(chance.bytes());
    let (chain, key) = invite_chain(&secret);
    let home = own.inboxes.first().ok_or(StoreError::Corrupt)?.relay.clone();
    let batch = task::new_batch(tx)?;
    let chain_row = own::begin_chain(tx, batch, Chain::Invite, &home, chain, &key, &own.seal, now, chance)?;
    let expires_at = whole_hours(now.after(options.valid_for));
    let row = tx.insert(
        "INSERT INTO invite (secret, own_chain, uses_left, expires_at, auto_accept, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
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

/// Invites whose answers are over: their chains and aliases go. Their tokens have run out by themselves.
pub(crate) fn forget_old_invites(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    let over = ms(now.before(ANSWERS_WITHIN));
    let old = tx.all(
        "SELECT invite.id, own_chain.id, own_chain.relay, own_chain.chain FROM invite JOIN own_chain ON own_chain.id = invite.own_chain
         WHERE invite.expires_at <= ?1",
        [over],
        |row| {
            let (relay, chain): (String, [u8; 32]) = (row.get(2)?, row.get(3)?);
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, relay, ChainId::from_bytes(chain)))
        },
    )?;
    let batch = task::new_batch(tx)?;
    for (invite, chain_row, relay, chain) in old {
        let relay = relay.parse().map_err(|_| StoreError::Corrupt)?;
        let body = relay::ChainDelete { chain: chain.into() };
        task::queue(tx, batch, &relay, task::Subject::Chain(chain), task::Kind::ChainDelete, &body)?;
        tx.execute("DELETE FROM alias WHERE invite = ?1", [invite])?;
        tx.execute("UPDATE contact SET invite = NULL WHERE invite = ?1", [invite])?;
        tx.execute("DELETE FROM invite WHERE id = ?1", [invite])?;
        // The key must outlive the call: the row goes once the chain is gone.
        tx.execute("UPDATE own_chain SET audience = ?2 WHERE id = ?1", params![chain_row, own::Chain::Gone.code()])?;
    }
    Ok(())
}

/// A request that was opened and proven to come from the account that its card names.
pub(crate) struct ProvenRequest<'a> {
    pub(crate) invite: i64,
    pub(crate) name: &'a str,
    pub(crate) chain: &'a ChainAddress,
    pub(crate) manifest: &'a VerifiedManifest,
    pub(crate) reply_secret: &'a ReplySecret,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Requested {
    /// Stored; `answered` when the invite accepts by itself.
    Taken { contact: ContactRow, answered: bool },
    /// The invite's uses are spent, its time is over, or the person is blocked: they learn nothing.
    Ignored(&'static str),
}

/// Takes a request: counts the use, and accepts where the invite says so, or where they are a contact already and come again with a
/// new handshake.
pub(crate) fn take_request(
    tx: &mut Tx<'_>,
    own: &Own,
    request: &ProvenRequest<'_>,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<Requested, Error> {
    let invite =
        tx.one("SELECT uses_left, expires_at, auto_accept FROM invite WHERE id = ?1", [request.invite], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?, row.get::<_, bool>(2)?))
        })?;
    let (uses_left, expires_at, auto_accept) = invite.ok_or(StoreError::Corrupt)?;
    let known = contact::by_account(tx, request.manifest.account())?;
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
        tx.execute("UPDATE invite SET uses_left = uses_left - 1 WHERE id = ?1", [request.invite])?;
    }
    let was_accepted = known.as_ref().is_some_and(|contact| contact.state == ContactState::Accepted);
    let new = NewContact {
        name: request.name,
        state: ContactState::Asking,
        chain: request.chain,
        manifest: request.manifest,
        chain_next: 0,
    };
    let row = contact::begin(tx, &new, now)?;
    contact::set_reply(tx, row, request.reply_secret, request.invite)?;
    let answered = auto_accept || was_accepted;
    if answered {
        accept(tx, own, row, now, chance)?;
    }
    Ok(Requested::Taken { contact: row, answered })
}

/// Accepts a request: pair tokens first, then the answer.
pub(crate) fn accept(
    tx: &mut Tx<'_>,
    own: &Own,
    row: ContactRow,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let contact = contact::by_row(tx, row)?;
    if contact.state != ContactState::Asking {
        return Err(InputError::WrongState { what: "has not asked" }.into());
    }
    let pair = PairSecret::generate(chance);
    let batch = task::new_batch(tx)?;
    put_tokens(tx, own, batch, Purpose::Pair(row), Quota::default(), |inbox| pair.token(inbox, 0), chance)?;
    contact::set_pair(tx, row, &pair, false)?;
    contact::set_state(tx, row, ContactState::Accepted)?;
    contact::conversation(tx, &own.account, &contact)?;
    let (card, _) = own::contacts_card(tx, own)?;
    let answer = Content::ContactAccept { name: own::name(tx)?, card, pair_secret: pair };
    outbox::queue_content(tx, row, &answer, Some(batch), None, now, chance)
}

// ---- the scanner's side -----------------------------------------------------------------------------------------------------------

/// Everything that joining read from the owner's relay before anything was stored.
pub(crate) struct Reading {
    pub(crate) invite: Invite,
    pub(crate) chain: ChainAddress,
    pub(crate) chain_next: u64,
    pub(crate) manifest: VerifiedManifest,
    pub(crate) claim: ClaimId,
}

/// Where an invite's manifest chain is.
pub(crate) fn invite_chain_address(invite: &Invite) -> (ChainAddress, ChainKey) {
    let (chain, key) = invite_chain(&invite.secret);
    (ChainAddress { relay: invite.relay.clone(), chain, key: *key.as_bytes() }, key)
}

/// The claim id under which an invite is being joined. It is written down before the relay hears it: a single-use invite belongs to
/// the first claim id, so joining again after a crash or a lost answer must not come with another.
pub(crate) fn remember_claim(tx: &mut Tx<'_>, invite: &ChainId, chance: &Chance<'_>) -> Result<ClaimId, StoreError> {
    const CHAIN_BYTES: usize = 32;
    let joining =
        tx.one("SELECT value FROM meta WHERE key = 'joining'", [], |row| row.get::<_, Vec<u8>>(0))?.unwrap_or_default();
    if let Some((chain, claim)) = joining.split_at_checked(CHAIN_BYTES)
        && chain == invite.as_ref()
    {
        return ClaimId::try_from(claim).map_err(|_| StoreError::Corrupt);
    }
    let claim = ClaimId::from_bytes(chance.bytes());
    let joining = [invite.as_ref(), claim.as_ref()].concat();
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('joining', ?1)", [joining])?;
    Ok(claim)
}

/// The joining is over: the request has taken its claim along, or the invite cannot be used.
pub(crate) fn forget_claim(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("DELETE FROM meta WHERE key = 'joining'", [])?;
    Ok(())
}

/// Becomes somebody's contact to be: stores them, puts reply tokens, queues the request behind them.
pub(crate) fn ask(
    tx: &mut Tx<'_>,
    own: &Own,
    reading: &Reading,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<ContactRow, Error> {
    let new = NewContact {
        name: &reading.invite.name,
        state: ContactState::Asked,
        chain: &reading.chain,
        manifest: &reading.manifest,
        chain_next: reading.chain_next,
    };
    forget_claim(tx)?;
    let row = contact::begin(tx, &new, now)?;
    contact::set_invite(tx, row, &reading.invite.secret, &reading.claim, reading.invite.expires_at)?;
    let reply = ReplySecret::generate(chance);
    let batch = task::new_batch(tx)?;
    let quota = Quota { expires_at: Some(now.after(REPLY_VALID)), ..Quota::default() };
    put_tokens(tx, own, batch, Purpose::Reply(row), quota, |inbox| reply.token(inbox), chance)?;
    let (card, _) = own::contacts_card(tx, own)?;
    let manifest = own::contacts_manifest(tx)?;
    let request = Content::ContactRequest { name: own::name(tx)?, card, manifest, reply_secret: reply };
    outbox::queue_content(tx, row, &request, Some(batch), Some(reading.invite.expires_at), now, chance)?;
    Ok(row)
}

/// The owner answered: our pair tokens, then word that they stand. `chain` is where their contacts read their manifests.
pub(crate) fn answered(
    tx: &mut Tx<'_>,
    own: &Own,
    row: ContactRow,
    answer: &Answered,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let contact = contact::by_row(tx, row)?;
    let batch = task::new_batch(tx)?;
    put_tokens(
        tx,
        own,
        batch,
        Purpose::Pair(row),
        Quota::default(),
        |inbox| answer.pair_secret.token(inbox, 0),
        chance,
    )?;
    contact::set_pair(tx, row, &answer.pair_secret, true)?;
    contact::set_state(tx, row, ContactState::Accepted)?;
    contact::set_name(tx, row, &answer.name)?;
    contact::turn_to_chain(tx, row, &answer.chain)?;
    contact::conversation(tx, &own.account, &contact)?;
    outbox::queue_content(tx, row, &Content::PairReady, Some(batch), None, now, chance)
}

/// What an answer says, checked.
pub(crate) struct Answered {
    pub(crate) name: String,
    pub(crate) chain: ChainAddress,
    pub(crate) pair_secret: PairSecret,
}

/// Where a card says that its account's chain is.
pub(crate) fn chain_of(card: &Card) -> ChainAddress {
    ChainAddress { relay: card.relay.clone(), chain: card.chain, key: *card.chain_key.as_bytes() }
}
