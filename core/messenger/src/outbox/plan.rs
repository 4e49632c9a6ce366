//! What one device's letters need next: a list to read, prekeys to claim, or nothing but to leave, and where to.
//!
//! Letters go to the first of a device's inboxes that can be reached. What was encrypted for one inbox is offered there for as long as
//! that is not known to be shut, and is encrypted anew for another only then: each inbox has a ratchet of its own (PROTOCOL E1), and a
//! letter that is taken back leaves a hole in it. After [`SKIPPED_MAX`] of those the next letter there begins a new session.
//! Not here: encrypting (`encrypt.rs`), which places are shut (`reach.rs`).

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::Party;
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::prekey::Bundle;
use sotto_crypto::seal::SealMaker;
use sotto_crypto::secret::PrekeyKey;
use sotto_protocol::limits::{BUNDLE_RENEWED, MANIFEST_READ_AGAIN};
use sotto_protocol::{Bytes, ClaimId, Timestamp, Token};

use super::encrypt::{self, Ready, Route};
use super::may_leave;
use super::reach::Choice;
use crate::contact::{self, Contact, ContactRow, Trust};
use crate::engine::{Engine, Times};
use crate::peer::{self, DeviceRow, InboxRow, PeerDevice, PeerInbox};
use crate::seal::{self, SealOut};
use crate::session;
use crate::state::StateSeal;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// A first message that could not leave for so long may be made for a key that is gone: it is made anew (PROTOCOL E2).
const FIRST_MESSAGE_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Between two tries to read a list whose relay does not answer, while letters leave on the one that is known.
const MANIFEST_TRIED_AGAIN: Duration = Duration::from_secs(3600);
/// Between two readings of a bundle that its device should have renewed.
const BUNDLE_ASKED_AGAIN: Duration = Duration::from_secs(12 * 3600);
/// Letters that one ratchet may have skipped in a row: a reader that would have to skip more waits for them first (PROTOCOL E6).
const SKIPPED_MAX: i64 = 20;

/// What one device's letters need next.
pub(crate) enum Plan {
    /// Nothing may leave.
    Idle,
    /// The contact's manifest must be read first.
    ReadManifest(ContactRow),
    /// A relay did not answer lately, and is to be asked whether it does now.
    Ask(PeerInbox),
    /// Prekeys must be claimed first.
    Claim(Claim),
    /// These may leave.
    Send(Parcel),
}

/// Prekeys to claim.
pub(crate) struct Claim {
    pub(crate) inbox: PeerInbox,
    pub(crate) owner: Party,
    pub(crate) token: Token,
    pub(crate) claim: ClaimId,
    /// There is a session already; only the KEM key is too old.
    pub(crate) bundle_only: bool,
    /// The device has no other inbox.
    pub(crate) is_only: bool,
}

/// Letters for one inbox.
pub(crate) struct Parcel {
    pub(crate) inbox: PeerInbox,
    pub(crate) token: Token,
    pub(crate) claim: Option<ClaimId>,
    pub(crate) maker: SealMaker,
    pub(crate) is_confirmed: bool,
    pub(crate) letters: Vec<Ready>,
    /// The device has no other inbox.
    pub(crate) is_only: bool,
}

/// Decides what a device's letters need, and encrypts them when nothing else is needed.
pub(crate) fn plan(engine: &Engine, tx: &mut Tx<'_>, device: DeviceRow) -> Result<Plan, StoreError> {
    if engine.is_rolled_back() {
        // Asked here, behind whatever was written before: no ratchet of a copy moves once it is known to be one.
        return Ok(Plan::Idle);
    }
    let (own, times, chance) = (&engine.own(), engine.times(), &mut engine.chance());
    let now = times.network;
    let device = peer::device_by_row(tx, device)?;
    let contact = contact::by_row(tx, device.contact)?;
    let anything =
        tx.one(&format!("SELECT 1 FROM outbox WHERE {} LIMIT 1", may_leave()), [device.row.0], |_| Ok(()))?;
    let (Some(()), Some(way)) = (anything, contact.way_to(&device)) else { return Ok(Plan::Idle) };
    if contact.blocked || contact.held || contact.trust != Trust::Sound {
        return Ok(Plan::Idle);
    }
    if is_over(contact.manifest_read_at, MANIFEST_READ_AGAIN, now) && !may_do_without(tx, &contact, times)? {
        return Ok(Plan::ReadManifest(contact.row));
    }
    if !device.listed {
        return Ok(Plan::Idle);
    }
    let inboxes = peer::inboxes(tx, device.row)?;
    let is_only = inboxes.len() == 1;
    let (inbox, which) = match destination(engine, tx, &device, inboxes)? {
        None => return Ok(Plan::Idle),
        Some(Destination::Ask(inbox)) => return Ok(Plan::Ask(inbox)),
        Some(Destination::To(inbox, which)) => (inbox, which),
    };
    let owner = party(&contact, &device);
    if renew_old_first_messages(tx, &device, &inbox, way.claim().is_none(), now)? {
        // They may go anywhere now.
        return plan(engine, tx, device.row);
    }
    if way.claim().is_some() {
        session::begin_beside_theirs(tx, inbox.row)?;
    }
    let has_session = session::has_sending(tx, inbox.row)?;
    let bundle = stored_bundle(tx, &inbox, &owner, times)?;
    let (true, Some(bundle)) = (has_session, bundle) else {
        let claim = match way.claim() {
            Some(claim) => *claim,
            None => remember_claim(tx, &inbox, chance)?,
        };
        let token = way.token(&inbox.inbox);
        return Ok(Plan::Claim(Claim { inbox, owner, token, claim, bundle_only: has_session, is_only }));
    };
    let seal_out = current_seal(tx, &own.seal, &inbox, &owner, &bundle, now, chance)?;
    let route = Route { contact: &contact, device: &device, inbox: &inbox, seal_out: &seal_out };
    let letters = encrypt::encrypt_all(tx, own, &route, which, times, chance)?;
    if letters.is_empty() {
        return Ok(Plan::Idle);
    }
    let token = way.token(&inbox.inbox);
    let is_confirmed = seal_out.confirmed_at.is_some();
    let claim = way.claim().copied();
    Ok(Plan::Send(Parcel { inbox, token, claim, maker: seal_out.maker, is_confirmed, letters, is_only }))
}

/// Where a device's letters go now.
enum Destination {
    /// Nowhere, before this one's relay was asked whether it is back.
    Ask(PeerInbox),
    To(PeerInbox, Which),
}

/// Which letters leave for an inbox.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that are encrypted for it, and all that may go anywhere.
    All,
    /// Those that are encrypted for it: the others have a better way.
    Encrypted,
    /// Those that have to go there and nowhere else.
    Meant,
}

fn destination(
    engine: &Engine,
    tx: &mut Tx<'_>,
    device: &PeerDevice,
    mut inboxes: Vec<PeerInbox>,
) -> Result<Option<Destination>, StoreError> {
    let Some(choice) = engine.reach.choose(&inboxes, engine.clock.instant()) else { return Ok(None) };
    let chosen = choice.place();
    let begun = begun_at(tx, device.row)?;
    let may_end = |inbox: &PeerInbox| matches!(choice, Choice::Hope(_)) || !engine.reach.is_shut(inbox);
    let ends = inboxes.iter().position(|inbox| begun.contains(&inbox.row) && may_end(inbox));
    if let Some(place) = ends.filter(|place| *place != chosen) {
        return Ok(Some(Destination::To(inboxes.swap_remove(place), Which::Encrypted)));
    }
    if let Choice::Ask(place) = choice {
        return Ok(Some(Destination::Ask(inboxes.swap_remove(place))));
    }
    let row = inboxes[chosen].row;
    for shut in begun.into_iter().filter(|begun| *begun != row) {
        take_back(tx, device.row, shut)?;
    }
    if let Some(meant) = first_meant_for(tx, device.row)?.filter(|meant| *meant != row) {
        let place = inboxes.iter().position(|inbox| inbox.row == meant);
        if let Some(place) = place.filter(|place| !engine.reach.is_shut(&inboxes[*place])) {
            return Ok(Some(Destination::To(inboxes.swap_remove(place), Which::Meant)));
        }
        // It has to leave all the same.
        tx.execute(
            "UPDATE outbox SET to_inbox = NULL WHERE peer_device = ?1 AND state = 0 AND to_inbox = ?2",
            params![device.row.0, meant.0],
        )?;
    }
    Ok(Some(Destination::To(inboxes.swap_remove(chosen), Which::All)))
}

/// The inboxes for which letters are encrypted that no relay has taken.
fn begun_at(tx: &Tx<'_>, device: DeviceRow) -> Result<Vec<InboxRow>, StoreError> {
    tx.all("SELECT DISTINCT peer_inbox FROM outbox WHERE peer_device = ?1 AND state = 1", [device.0], |row| {
        row.get(0).map(InboxRow)
    })
}

/// The inbox that the first letter which may leave is meant for, where it is for one.
fn first_meant_for(tx: &Tx<'_>, device: DeviceRow) -> Result<Option<InboxRow>, StoreError> {
    let sql = format!("SELECT to_inbox FROM outbox WHERE {} AND state = 0 ORDER BY id LIMIT 1", may_leave());
    Ok(tx.one(&sql, [device.0], |row| row.get::<_, Option<i64>>(0))?.flatten().map(InboxRow))
}

const TAKEN_BACK: &str =
    "UPDATE outbox SET state = 0, olm = NULL, envelope = NULL WHERE peer_device = ?1 AND state = 1 AND peer_inbox = ?2";

/// Takes back what was encrypted for an inbox that cannot be reached, or has left its list. Its relay may have it all the same: the letter
/// keeps its counter, and is taken once.
fn take_back(tx: &mut Tx<'_>, device: DeviceRow, inbox: InboxRow) -> Result<(), StoreError> {
    let count = tx.execute(TAKEN_BACK, params![device.0, inbox.0])?;
    tx.execute(
        "UPDATE peer_inbox SET skipped = skipped + ?2 WHERE id = ?1",
        params![inbox.0, i64::try_from(count).unwrap_or(i64::MAX)],
    )?;
    let skipped = tx.one("SELECT skipped FROM peer_inbox WHERE id = ?1", [inbox.0], |row| row.get::<_, i64>(0))?;
    if skipped.is_some_and(|skipped| skipped > SKIPPED_MAX) {
        session::stop_sending(tx, inbox)?;
        letters_were_taken(tx, inbox)?;
    }
    Ok(())
}

/// A letter has got through to an inbox: its ratchet has skipped no more than it had before.
pub(super) fn letters_were_taken(tx: &mut Tx<'_>, inbox: InboxRow) -> Result<(), StoreError> {
    tx.execute("UPDATE peer_inbox SET skipped = 0 WHERE id = ?1 AND skipped > 0", [inbox.0])?;
    Ok(())
}

/// One end of a letter, as the contact's verified manifest lists it.
pub(crate) fn party(contact: &Contact, device: &PeerDevice) -> Party {
    Party { account: contact.account, device: device.device, ed25519: device.ed25519, curve25519: device.curve25519 }
}

/// Whether what was read then must be read again. Something dated as far ahead was read by a clock that has been set right since.
pub(crate) fn is_over(read_at: Timestamp, period: Duration, now: Timestamp) -> bool {
    now >= read_at.after(period) || read_at >= now.after(period)
}

/// Whether the list that is known will do for now: the relay of a newer one was asked a while ago and did not answer, nobody has told of a
/// later epoch, and the one known is fresh (PROTOCOL B5). So a contact's home relay that dies takes nothing along but itself.
fn may_do_without(tx: &Tx<'_>, contact: &Contact, times: Times) -> Result<bool, StoreError> {
    let was_told = contact.manifest_read_at == Timestamp::EPOCH;
    let tried_at = tx.one("SELECT manifest_tried_at FROM contact WHERE id = ?1", [contact.row.0], |row| row.get(0))?;
    if was_told || is_over(timestamp(tried_at.unwrap_or(0)), MANIFEST_TRIED_AGAIN, times.network) {
        return Ok(false);
    }
    let known = VerifiedManifest::reload(&contact.account, Bytes::copy_from_slice(&contact.manifest));
    Ok(known.map_err(|_| StoreError::Corrupt)?.is_fresh(times.judging))
}

/// The relay of a contact's list was asked for it in vain. Says whether letters leave without.
pub(crate) fn manifest_was_tried(tx: &mut Tx<'_>, contact: ContactRow, times: Times) -> Result<bool, StoreError> {
    let now = ms(times.network);
    // A letter waits for it. Whether anything was said, so that it is wanted without one as well, is looked at when it is tried again.
    tx.execute(
        "UPDATE contact SET manifest_tried_at = ?2, read_in_vain_at = ?2 WHERE id = ?1",
        params![contact.0, now],
    )?;
    may_do_without(tx, &contact::by_row(tx, contact)?, times)
}

/// First messages that are so old that their prekeys may be gone begin a new session (PROTOCOL E2). A request goes on with the session that
/// it has: its claim id always gets the same one-time key. Says whether there were any.
fn renew_old_first_messages(
    tx: &mut Tx<'_>,
    device: &PeerDevice,
    inbox: &PeerInbox,
    may_claim_anew: bool,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let made_by = ms(now.before(FIRST_MESSAGE_AGE_MAX));
    let is_old = tx.one(
        "SELECT 1 FROM outbox WHERE peer_device = ?1 AND peer_inbox = ?2 AND state = 1 AND olm_kind = 1 AND encrypted_at <= ?3 LIMIT 1",
        params![device.row.0, inbox.row.0, made_by],
        |_| Ok(()),
    )?;
    let are_renewed = is_old.is_some() && may_claim_anew;
    if are_renewed {
        tx.execute(&format!("{TAKEN_BACK} AND olm_kind = 1"), params![device.row.0, inbox.row.0])?;
        session::begin_anew(tx, inbox.row)?;
    }
    Ok(are_renewed)
}

/// The bundle claimed last, unless it must be fetched again: because it was read too long ago, or because its device should have
/// renewed it by now. A device that is away renews nothing, so that one is asked for no more than twice a day.
fn stored_bundle(tx: &Tx<'_>, inbox: &PeerInbox, owner: &Party, times: Times) -> Result<Option<Bundle>, StoreError> {
    let row = tx.one(
        "SELECT bundle, bundle_read_at FROM peer_inbox WHERE id = ?1 AND bundle IS NOT NULL",
        [inbox.row.0],
        |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)),
    )?;
    let Some((blob, read_at)) = row else { return Ok(None) };
    let read_at = timestamp(read_at);
    if is_over(read_at, BUNDLE_RENEWED, times.network) {
        return Ok(None);
    }
    // One that has expired since it was read is as good as none.
    let key = PrekeyKey::from_bytes(inbox.prekey_key);
    let bundle = Bundle::open(&blob, &key, &inbox.inbox, owner, times.judging).ok();
    Ok(bundle.filter(|bundle| !bundle.is_due(times.judging) || !is_over(read_at, BUNDLE_ASKED_AGAIN, times.network)))
}

/// The claim id under way at an inbox, so that asking again after a crash is the same claim.
fn remember_claim(tx: &mut Tx<'_>, inbox: &PeerInbox, chance: &Chance<'_>) -> Result<ClaimId, StoreError> {
    if let Some(claim) = inbox.claim {
        return Ok(claim);
    }
    let claim = ClaimId::from_bytes(chance.bytes());
    tx.execute("UPDATE peer_inbox SET claim = ?2 WHERE id = ?1", params![inbox.row.0, claim.as_ref()])?;
    Ok(claim)
}

/// The seal to send under: a new one when the peer's KEM key changed or the old one is worn (PROTOCOL D3).
fn current_seal(
    tx: &mut Tx<'_>,
    seal: &StateSeal,
    inbox: &PeerInbox,
    owner: &Party,
    bundle: &Bundle,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<SealOut, StoreError> {
    let current = seal::out(tx, seal, inbox.row)?;
    if let Some(current) = current.filter(|out| out.maker.key_id() == bundle.kem.id() && !out.is_worn(now)) {
        return Ok(current);
    }
    let maker = SealMaker::encapsulate(&owner.name(), &bundle.kem, chance);
    seal::replace_out(tx, seal, inbox.row, &maker, now, chance)?;
    Ok(SealOut { maker, confirmed_at: None, letters: 0 })
}
