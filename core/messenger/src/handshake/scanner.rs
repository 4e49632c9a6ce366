//! The scanner's side of first contact: an invite read, a request sent, the answer taken.

use rusqlite::params;
use sotto_crypto::letter::{Card, Content};
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::secret::{PairSecret, ReplySecret, invite_chain, invite_proof};
use sotto_protocol::invite::{Invite, InviteSecret};
use sotto_protocol::{AccountId, ChainId, ClaimId, DeviceId, InboxId, Timestamp};

use super::tokens::{Purpose, Quota, REPLY_VALID, put_tokens};
use super::{anew, rotation};
use crate::contact::pair_change;
use crate::contact::{self, ChainAddress, ContactRow, ContactState, NewContact, PairOf};
use crate::engine::Times;
use crate::error::Error;
use crate::outbox;
use crate::own::{self, Own};
use crate::peer::{self, DeviceRow};
use crate::records::Failure;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::task;
use crate::world::Chance;

/// Everything that joining read from the owner's relay before anything was stored.
pub(crate) struct Reading {
    pub(crate) invite: Invite,
    pub(crate) chain: ChainAddress,
    pub(crate) chain_next: u64,
    pub(crate) manifest: VerifiedManifest,
    /// Under which prekeys are claimed: the first that the relay takes.
    pub(crate) claims: Vec<ClaimId>,
}

impl Reading {
    /// Whether a device's prekeys were claimed at that inbox.
    pub(crate) fn is_claimed_at(&self, device: &DeviceId, inbox: &InboxId) -> bool {
        let listed = self.manifest.device(device).and_then(|device| device.inboxes.first());
        listed.is_some_and(|listed| listed.inbox == *inbox)
    }
}

/// Where an invite's manifest chain is.
pub(crate) fn invite_chain_address(invite: &Invite) -> ChainAddress {
    let (chain, key) = invite_chain(&invite.secret);
    ChainAddress { relay: invite.relay.clone(), chain, key }
}

/// The claim ids under which an invite is joined, in the order in which they are tried. The first is written down before the relay hears it:
/// a single-use invite belongs to the first claim id, so joining again after a crash or a lost answer must not come with another.
pub(crate) fn remember_claim(
    tx: &mut Tx<'_>,
    invite: &ChainId,
    expires_at: Timestamp,
    chance: &Chance<'_>,
) -> Result<Vec<ClaimId>, StoreError> {
    tx.execute(
        "INSERT OR IGNORE INTO joining (chain, claim, expires_at) VALUES (?1, ?2, ?3)",
        params![invite.as_ref(), chance.bytes::<16>(), ms(expires_at)],
    )?;
    let claims = tx.one("SELECT claim, refused FROM joining WHERE chain = ?1", [invite.as_ref()], |row| {
        Ok([Some(row.get::<_, [u8; 16]>(0)?), row.get(1)?])
    })?;
    Ok(claims.ok_or(StoreError::Corrupt)?.into_iter().flatten().map(ClaimId::from_bytes).collect())
}

/// The prekeys of a claim were refused. A relay gives a claim the same one-time key for a month, so the next joining comes with another claim id, and
/// gets what the owner has put meanwhile. Where the invite has no other claim, the refused one is still the one that it belongs to.
pub(crate) fn refuse_claim(
    tx: &mut Tx<'_>,
    invite: &ChainId,
    refused: &ClaimId,
    chance: &Chance<'_>,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE joining SET claim = ?3, refused = ?2 WHERE chain = ?1",
        params![invite.as_ref(), refused.as_ref(), chance.bytes::<16>()],
    )?;
    Ok(())
}

/// Whether the device in whose place this one came has had the claims of a joining as well, and may have used what they are answered with.
fn is_claim_spent(view: &impl Query, invite: &ChainId) -> Result<bool, StoreError> {
    let sql = "SELECT is_spent FROM joining WHERE chain = ?1";
    Ok(view.one(sql, [invite.as_ref()], |row| row.get(0))?.unwrap_or(false))
}

/// The joining is over: the request has taken its claim along, or the invite cannot be used.
pub(crate) fn forget_claim(tx: &mut Tx<'_>, invite: &ChainId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM joining WHERE chain = ?1", [invite.as_ref()])?;
    Ok(())
}

/// Becomes somebody's contact to be, or again: puts reply tokens, queues the request behind them.
pub(crate) fn ask(
    tx: &mut Tx<'_>,
    own: &Own,
    reading: &Reading,
    claim: &ClaimId,
    claimed: &[DeviceId],
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<ContactRow, Error> {
    let now = times.network;
    let is_spent = is_claim_spent(tx, &reading.chain.chain)?;
    forget_claim(tx, &reading.chain.chain)?;
    let known = contact::by_account(tx, &reading.invite.account)?;
    let accepted = known.filter(|contact| contact.state == ContactState::Accepted).map(|contact| contact.row);
    let row = match accepted {
        Some(row) => begin_with_contact(tx, row, now)?,
        None => begin_with_stranger(tx, reading, now)?,
    };
    anew::stop_sessions(tx, row)?;
    anew::stop_seals(tx, row)?;
    contact::set_invite(tx, row, &reading.invite.secret, claim, is_spent, reading.invite.expires_at)?;
    let (batch, asked) = (task::new_batch(tx)?, (row, reading.invite.account));
    let until = reading.invite.expires_at;
    queue_request(tx, own, asked, claimed, &reading.invite.secret, until, batch, times, chance)?;
    if accepted.is_some() {
        outbox::anew::send_messages_again(tx, row)?;
    }
    Ok(row)
}

/// Asks again whom the device asked in whose place this one comes, in its own name: the answer has other inboxes to come to. The claim stays,
/// because the invite belongs to it.
pub(crate) fn ask_anew(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    for contact in contact::all(tx)?.into_iter().filter(contact::Contact::is_asked) {
        let Some((secret, expires_at)) = contact::invite_of(tx, contact.row)? else { continue };
        outbox::moved::forget_requests(tx, contact.row)?;
        let asked = (contact.row, contact.account);
        queue_request(tx, own, asked, &[], &secret, expires_at, batch, times, chance)?;
    }
    Ok(())
}

/// Our lists stand elsewhere, and name other inboxes: whoever we have asked hears of that with the request, which leaves once more. It is to be
/// answered under a secret of its own, because an answer to the one before may be under way: that to the later one counts.
pub(crate) fn ask_from_elsewhere(
    tx: &mut Tx<'_>,
    own: &Own,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let (card, _) = own::contacts_card(tx, own)?;
    let manifest = own::contacts_manifest(tx)?;
    for contact in contact::all(tx)?.into_iter().filter(|contact| contact.is_asked() && !contact.blocked) {
        // No list waits for these tokens.
        let (batch, reply) = (task::new_batch(tx)?, ReplySecret::generate(chance));
        if outbox::moved::renew_requests(tx, contact.row, (&card, &manifest, &reply), batch)? {
            let purpose = Purpose::Reply(contact.row);
            put_tokens(tx, own, batch, purpose, for_replies(times), |inbox| reply.token(inbox), chance)?;
        }
    }
    Ok(())
}

/// Requests to contacts that nobody has answered while their invites held are over: all goes on as it was before, and what was given up for
/// them, or put off, is said. `ended_at` is a time that is certain.
pub(crate) fn end_requests(
    tx: &mut Tx<'_>,
    own: &Own,
    ended_at: Timestamp,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    for row in contact::end_requests(tx, ended_at)? {
        rotation::go_on(tx, own, row, times, chance)?;
        // What led them to a chain was given up for the request, or left out because that names it.
        contact::has_told_no_chain(tx, row)?;
        tell_of_chain(tx, own, row, None, times.network, chance)?;
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "each is a part of the request or of how it leaves")]
fn queue_request(
    tx: &mut Tx<'_>,
    own: &Own,
    (row, account): (ContactRow, AccountId),
    claimed: &[DeviceId],
    secret: &InviteSecret,
    expires_at: Timestamp,
    batch: i64,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let reply = ReplySecret::generate(chance);
    put_tokens(tx, own, batch, Purpose::Reply(row), for_replies(times), |inbox| reply.token(inbox), chance)?;
    let (card, _) = own::contacts_card(tx, own)?;
    contact::has_told_chain(tx, row, &card.chain)?;
    let manifest = own::contacts_manifest(tx)?;
    let proof = invite_proof(secret, &own.account, &account);
    let request = Content::ContactRequest { name: own::name(tx)?, card, manifest, reply_secret: reply, proof };
    let devices = asked_devices(tx, row, claimed)?;
    outbox::queue_content_to(tx, &devices, &request, Some(batch), Some(expires_at), times.network, chance)
}

/// By the later clock: an answer must not come too late because one was behind.
fn for_replies(times: Times) -> Quota {
    Quota { expires_at: Some(times.judging.after(REPLY_VALID)), ..Quota::default() }
}

/// The devices that the request goes to: those at which the invite holds. Where the known list names none of them, all that it names.
fn asked_devices(view: &impl Query, row: ContactRow, claimed: &[DeviceId]) -> Result<Vec<DeviceRow>, StoreError> {
    let mut devices = Vec::with_capacity(claimed.len());
    for id in claimed {
        devices.extend(peer::device_by_id(view, row, id)?.filter(|device| device.listed).map(|device| device.row));
    }
    if devices.is_empty() { peer::listed_devices(view, row) } else { Ok(devices) }
}

/// Somebody who is no contact, or was removed: what is known of them from now on is what their invite says.
fn begin_with_stranger(tx: &mut Tx<'_>, reading: &Reading, now: Timestamp) -> Result<ContactRow, StoreError> {
    let new = NewContact {
        name: &reading.invite.name,
        state: ContactState::Asked,
        chain: &reading.chain,
        manifest: &reading.manifest,
        chain_next: reading.chain_next,
    };
    let row = contact::begin(tx, &new, now)?;
    // Nobody who is asked is owed anything: letters of a meeting before are over, and a request before this one is pointless.
    outbox::fail_all(tx, row, Failure::Removed, now)?;
    contact::forget_pair(tx, row)?;
    Ok(row)
}

/// A contact, who may have removed us since. Until they answer nothing that is known of them changes, and letters of theirs are heard: if
/// they have not, all goes on as it was.
fn begin_with_contact(tx: &mut Tx<'_>, row: ContactRow, now: Timestamp) -> Result<ContactRow, StoreError> {
    outbox::anew::end_letters(tx, row, now)?;
    contact::ask_again(tx, row)?;
    Ok(row)
}

/// The owner answered: our pair tokens, then word that they stand. `chain` is where their contacts read their manifests.
///
/// When both asked at once, both may have answered. Then the pair secret that the account with the lower id drew is the one, on both
/// sides and in whichever order the answers came.
pub(crate) fn answered(
    tx: &mut Tx<'_>,
    own: &Own,
    row: ContactRow,
    answer: &Answered,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let contact = contact::by_row(tx, row)?;
    if contact.has_own_pair() && own.account < contact.account {
        return Ok(());
    }
    let batch = anew::begin_tokens(tx, own, row, &answer.pair_secret, times, chance)?;
    contact::set_pair(tx, row, &answer.pair_secret, PairOf::Them)?;
    contact::set_state(tx, row, ContactState::Accepted)?;
    contact::set_name(tx, row, &answer.name)?;
    contact::answered_from_chain(tx, &contact, &answer.chain)?;
    contact::conversation(tx, &own.account, &contact)?;
    anew::begin_pair(tx, row, &Content::PairReady, None, batch, times.network, chance)?;
    if contact.pair_secret() == Some(&answer.pair_secret) {
        // A change has brought it before, and whoever has told of that waits for this word.
        let changed = Content::PairChanged { pair: answer.pair_secret.id() };
        outbox::queue_content(tx, row, &changed, Some(batch), None, times.network, chance)?;
    }
    own::sync::contact_changed(tx, own, row, times.network, chance)?;
    if contact.pair_secret() == Some(&answer.pair_secret) && contact.is_change_due() {
        // The answer has brought no other one.
        pair_change::begin_later(tx, row)?;
        rotation::change_what_is_due(tx, own, row, times, chance)?;
    }
    // Our request may have named a chain that we have led our contacts from since.
    tell_of_chain(tx, own, row, Some(batch), times.network, chance)
}

/// Tells a contact where our lists stand, unless they were told: behind the answer, where one is waited for. Whoever is blocked is told when that
/// is over.
pub(crate) fn tell_of_chain(
    tx: &mut Tx<'_>,
    own: &Own,
    row: ContactRow,
    batch: Option<i64>,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let contact = contact::by_row(tx, row)?;
    let (card, _) = own::contacts_card(tx, own)?;
    let may_hear = contact.state == ContactState::Accepted && !contact.is_asked() && !contact.blocked;
    if !may_hear || contact::was_told_chain(tx, row, &card.chain)? {
        return Ok(());
    }
    contact::has_told_chain(tx, row, &card.chain)?;
    outbox::queue_content(tx, row, &Content::CardChange(card), batch, None, now, chance)
}

/// Tells all contacts, likewise.
pub(crate) fn tell_all_of_chain(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    for contact in contact::all(tx)? {
        tell_of_chain(tx, own, contact.row, Some(batch), now, chance)?;
    }
    Ok(())
}

/// What an answer says, checked.
pub(crate) struct Answered {
    pub(crate) name: String,
    pub(crate) chain: ChainAddress,
    pub(crate) pair_secret: PairSecret,
}

/// Where a card says that its account's chain is.
pub(crate) fn chain_of(card: &Card) -> ChainAddress {
    ChainAddress { relay: card.relay.clone(), chain: card.chain, key: card.chain_key.clone() }
}
