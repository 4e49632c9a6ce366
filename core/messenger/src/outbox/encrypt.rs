//! From queued rows to ciphertexts: one transaction for as many letters of one device as fit a request.
//!
//! A session is loaded, stepped once per letter and stored once. What was encrypted before and not accepted goes out again as it is:
//! the same bytes under the same envelope id, which the relay recognises (PROTOCOL E3).

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::Party;
use sotto_crypto::letter::Letter;
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::olm::OlmMessage;
use sotto_crypto::prekey::Bundle;
use sotto_crypto::seal::SealMaker;
use sotto_crypto::secret::PrekeyKey;
use sotto_protocol::limits::{BUNDLE_RENEWED, MANIFEST_READ_AGAIN, RETENTION};
use sotto_protocol::{Bytes, ClaimId, ConversationId, EnvelopeId, InboxId, MessageId, RelayAddress, Timestamp, Token};

use super::inner_hashes::InnerHashes;
use super::may_leave;
use crate::contact::{self, Contact, ContactRow, Trust};
use crate::conversation::{self, MessageRow};
use crate::engine::Times;
use crate::own::{self, Own};
use crate::peer::{self, DeviceRow, PeerDevice, PeerInbox};
use crate::records::MessageState;
use crate::seal::{self, SealOut};
use crate::session;
use crate::store::column::{counter, ms, stored, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// Letters of one device in a request: the other devices at that relay get their turn.
const LETTERS_MAX: i64 = 64;
/// Bytes of them, likewise: half a request body.
const BYTES_MAX: usize = 400 * 1024;
/// A first message that could not leave for so long may be made for a key that is gone: it is made anew (PROTOCOL E2).
const FIRST_MESSAGE_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Between two tries to read a list whose relay does not answer, while letters leave on the one that is known.
const MANIFEST_TRIED_AGAIN: Duration = Duration::from_secs(3600);
/// Between two readings of a bundle that its device should have renewed.
const BUNDLE_ASKED_AGAIN: Duration = Duration::from_secs(12 * 3600);

/// What one device's letters need next.
pub(crate) enum Plan {
    /// Nothing may leave.
    Idle,
    /// The contact's manifest must be read first.
    ReadManifest(ContactRow),
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
}

/// Letters for one inbox.
pub(crate) struct Parcel {
    pub(crate) relay: RelayAddress,
    pub(crate) inbox: InboxId,
    pub(crate) token: Token,
    pub(crate) claim: Option<ClaimId>,
    pub(crate) maker: SealMaker,
    pub(crate) is_confirmed: bool,
    pub(crate) letters: Vec<Ready>,
}

/// A ciphertext that is committed.
pub(crate) struct Ready {
    pub(crate) row: i64,
    pub(crate) envelope: EnvelopeId,
    pub(crate) message: OlmMessage,
}

/// Decides what a device's letters need, and encrypts them when nothing else is needed.
pub(crate) fn plan(
    tx: &mut Tx<'_>,
    own: &Own,
    device: DeviceRow,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<Plan, StoreError> {
    let now = times.network;
    let device = peer::device_by_row(tx, device)?;
    let contact = contact::by_row(tx, device.contact)?;
    let anything =
        tx.one(&format!("SELECT 1 FROM outbox WHERE {} LIMIT 1", may_leave()), [device.row.0], |_| Ok(()))?;
    let (Some(()), Some(way)) = (anything, contact.way()) else { return Ok(Plan::Idle) };
    if contact.blocked || contact.trust != Trust::Sound {
        return Ok(Plan::Idle);
    }
    if is_over(contact.manifest_read_at, MANIFEST_READ_AGAIN, now) && !may_do_without(tx, &contact, times)? {
        return Ok(Plan::ReadManifest(contact.row));
    }
    if !device.listed {
        return Ok(Plan::Idle);
    }
    let Some(inbox) = peer::inboxes(tx, device.row)?.into_iter().next() else { return Ok(Plan::Idle) };
    let owner = party(&contact, &device);
    take_back(tx, &device, &inbox, way.claim().is_none(), now)?;
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
        return Ok(Plan::Claim(Claim { inbox, owner, token, claim, bundle_only: has_session }));
    };
    let seal_out = current_seal(tx, own, &inbox, &owner, &bundle, now, chance)?;
    let letters = encrypt_all(
        tx,
        own,
        &Route { contact: &contact, device: &device, inbox: &inbox, seal_out: &seal_out },
        now,
        chance,
    )?;
    if letters.is_empty() {
        return Ok(Plan::Idle);
    }
    let token = way.token(&inbox.inbox);
    let is_confirmed = seal_out.confirmed_at.is_some();
    let claim = way.claim().copied();
    Ok(Plan::Send(Parcel {
        relay: inbox.relay,
        inbox: inbox.inbox,
        token,
        claim,
        maker: seal_out.maker,
        is_confirmed,
        letters,
    }))
}

/// One end of a letter, as the contact's verified manifest lists it.
pub(crate) fn party(contact: &Contact, device: &PeerDevice) -> Party {
    Party { account: contact.account, device: device.device, ed25519: device.ed25519, curve25519: device.curve25519 }
}

/// Whether what was read then must be read again. Something dated as far ahead was read by a clock that has been set right since.
fn is_over(read_at: Timestamp, period: Duration, now: Timestamp) -> bool {
    now >= read_at.after(period) || read_at >= now.after(period)
}

/// Whether the list that is known will do for now: the relay of a newer one was asked a while ago and did not answer, nobody has told of a
/// newer one, and the one known is fresh (PROTOCOL B5). So a contact's home relay that dies takes nothing along but itself.
fn may_do_without(tx: &Tx<'_>, contact: &Contact, times: Times) -> Result<bool, StoreError> {
    let was_told = contact.chain_is_new || contact.manifest_read_at == Timestamp::EPOCH;
    let tried_at = tx.one("SELECT manifest_tried_at FROM contact WHERE id = ?1", [contact.row.0], |row| row.get(0))?;
    if was_told || is_over(timestamp(tried_at.unwrap_or(0)), MANIFEST_TRIED_AGAIN, times.network) {
        return Ok(false);
    }
    let known = VerifiedManifest::reload(&contact.account, Bytes::copy_from_slice(&contact.manifest));
    Ok(known.map_err(|_| StoreError::Corrupt)?.is_fresh(times.judging))
}

/// The relay of a contact's list was asked for it in vain. Says whether letters leave without.
pub(crate) fn manifest_was_tried(tx: &mut Tx<'_>, contact: ContactRow, times: Times) -> Result<bool, StoreError> {
    tx.execute("UPDATE contact SET manifest_tried_at = ?2 WHERE id = ?1", params![contact.0, ms(times.network)])?;
    may_do_without(tx, &contact::by_row(tx, contact)?, times)
}

/// Takes back ciphertexts that must be made anew: those for another inbox than the one that letters go to now, and first messages
/// that are so old that their prekeys may be gone (PROTOCOL E2), which begin a new session. A request goes on with the session that
/// it has: its claim id always gets the same prekeys.
fn take_back(
    tx: &mut Tx<'_>,
    device: &PeerDevice,
    inbox: &PeerInbox,
    may_claim_anew: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    const TAKEN_BACK: &str =
        "UPDATE outbox SET state = 0, olm = NULL, envelope = NULL WHERE peer_device = ?1 AND state = 1";
    tx.execute(&format!("{TAKEN_BACK} AND peer_inbox != ?2"), params![device.row.0, inbox.row.0])?;
    let made_by = ms(now.before(FIRST_MESSAGE_AGE_MAX));
    let is_old = tx.one(
        "SELECT 1 FROM outbox WHERE peer_device = ?1 AND state = 1 AND olm_kind = 1 AND encrypted_at <= ?2 LIMIT 1",
        params![device.row.0, made_by],
        |_| Ok(()),
    )?;
    if is_old.is_some() && may_claim_anew {
        tx.execute(&format!("{TAKEN_BACK} AND peer_inbox = ?2 AND olm_kind = 1"), params![device.row.0, inbox.row.0])?;
        session::begin_anew(tx, inbox.row)?;
    }
    Ok(())
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
    own: &Own,
    inbox: &PeerInbox,
    owner: &Party,
    bundle: &Bundle,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<SealOut, StoreError> {
    let current = seal::out(tx, &own.seal, inbox.row)?;
    if let Some(current) = current.filter(|seal| seal.maker.key_id() == bundle.kem.id() && !seal.is_worn(now)) {
        return Ok(current);
    }
    let maker = SealMaker::encapsulate(&owner.name(), &bundle.kem, chance);
    seal::replace_out(tx, &own.seal, inbox.row, &maker, now, chance)?;
    Ok(SealOut { maker, confirmed_at: None, letters: 0 })
}

/// Where letters go and what they go under.
struct Route<'a> {
    contact: &'a Contact,
    device: &'a PeerDevice,
    inbox: &'a PeerInbox,
    seal_out: &'a SealOut,
}

/// A row that waits.
struct Waiting {
    row: i64,
    message: Option<MessageRow>,
    content: Vec<u8>,
    message_id: MessageId,
    sent_at: Timestamp,
    counter: Option<u64>,
    left: InnerHashes,
}

fn encrypt_all(
    tx: &mut Tx<'_>,
    own: &Own,
    route: &Route<'_>,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<Vec<Ready>, StoreError> {
    let mut letters = already_encrypted(tx, route, now, chance)?;
    let mut bytes: usize = letters.iter().map(|letter| letter.message.bytes().len()).sum();
    let room = LETTERS_MAX - i64::try_from(letters.len()).unwrap_or(LETTERS_MAX);
    let waiting = waiting(tx, route.device.row, room)?;
    if waiting.is_empty() {
        return Ok(letters);
    }
    let mut session = session::sending(tx, &own.seal, route.inbox.row)?.ok_or(StoreError::Corrupt)?;
    let recipient = party(route.contact, route.device);
    let (_, head) = own::contacts_card(tx, own)?;
    let opener = route.seal_out.confirmed_at.is_none().then(|| route.seal_out.maker.opener());
    let opened = seal::to_announce(tx, route.device.row)?;
    let reply_inbox =
        own.inboxes_at(&route.inbox.relay).next().or(own.inboxes.first()).ok_or(StoreError::Corrupt)?.inbox;
    let mut last_counter = route.device.counter_sent;
    let mut oldest = super::oldest_unconfirmed(tx, route.device.row)?;
    let mut under_seal = letters.len();
    for waiting in waiting {
        if bytes >= BYTES_MAX {
            break;
        }
        let counter = waiting.counter.unwrap_or_else(|| {
            last_counter += 1;
            last_counter
        });
        let letter = Letter {
            message_id: waiting.message_id,
            counter,
            oldest: *oldest.get_or_insert(counter),
            confirmed: route.device.received,
            sent_at: waiting.sent_at,
            head,
            opener,
            opened: opened.get(usize::try_from(counter).unwrap_or(0) % opened.len().max(1)).copied(),
            // A reader asks for it with prekey messages only, and that is what these are until the peer has answered.
            reply_inbox: (session.session.next_kind() == sotto_protocol::letter::OlmKind::Prekey)
                .then_some(reply_inbox),
            conversation: ConversationId::between(&own.account, &route.contact.account),
            earlier: waiting.left.named(),
            content: waiting.content.into(),
        };
        let message =
            session.session.encrypt(&letter.encode(&own.party, &recipient)).map_err(|_| StoreError::Corrupt)?;
        let envelope = EnvelopeId::new(now, chance.bytes());
        tx.execute(
            "UPDATE outbox SET state = 1, counter = ?2, peer_inbox = ?3, olm_kind = ?4, olm = ?5, envelope = ?6, encrypted_at = ?7,
                 inner = ?8, inner_before = ?9 WHERE id = ?1",
            params![
                waiting.row,
                stored(counter),
                route.inbox.row.0,
                i32::from(message.kind()),
                message.bytes().as_ref(),
                envelope.as_ref(),
                ms(now),
                message.inner_hash(),
                waiting.left.before_the_next(),
            ],
        )?;
        if let Some(row) = waiting.message {
            conversation::advance(tx, row, MessageState::Sending)?;
        }
        bytes += message.bytes().len();
        letters.push(Ready { row: waiting.row, envelope, message });
    }
    under_seal = letters.len() - under_seal;
    session::store(tx, &own.seal, &session, chance)?;
    // Every letter confirms what was received: nothing more is owed.
    tx.execute(
        "UPDATE peer_device SET counter_sent = ?2, confirm_due = NULL, unconfirmed = 0 WHERE id = ?1",
        params![route.device.row.0, stored(last_counter)],
    )?;
    seal::count_letters(tx, route.inbox.row, under_seal)?;
    Ok(letters)
}

/// Rows whose ciphertext is there and was not accepted.
fn already_encrypted(
    tx: &mut Tx<'_>,
    route: &Route<'_>,
    now: Timestamp,
    chance: &Chance<'_>,
) -> Result<Vec<Ready>, StoreError> {
    let rows = tx.all(
        "SELECT id, olm_kind, olm, envelope FROM outbox WHERE peer_device = ?1 AND state = 1 AND peer_inbox = ?2 ORDER BY counter LIMIT ?3",
        params![route.device.row.0, route.inbox.row.0, LETTERS_MAX],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i32>(1)?, row.get::<_, Vec<u8>>(2)?, row.get::<_, [u8; 16]>(3)?)),
    )?;
    let oldest_day = now.before(RETENTION).day();
    let mut letters = Vec::with_capacity(rows.len());
    for (row, kind, olm, envelope) in rows {
        let message = OlmMessage::decode(kind, olm.into()).map_err(|_| StoreError::Corrupt)?;
        let mut envelope = EnvelopeId::from_bytes(envelope);
        if envelope.day() < oldest_day {
            // Older than relays remember: the recipient recognises a repeat by its inner hash.
            envelope = EnvelopeId::new(now, chance.bytes());
            tx.execute("UPDATE outbox SET envelope = ?2 WHERE id = ?1", params![row, envelope.as_ref()])?;
        }
        letters.push(Ready { row, envelope, message });
    }
    Ok(letters)
}

fn waiting(tx: &Tx<'_>, device: DeviceRow, limit: i64) -> Result<Vec<Waiting>, StoreError> {
    let sql = format!(
        "SELECT outbox.id, outbox.message, coalesce(outbox.content, message.content), outbox.message_id, outbox.sent_at, outbox.counter,
                outbox.inner, outbox.inner_before
         FROM outbox LEFT JOIN message ON message.id = outbox.message
         WHERE outbox.id IN (SELECT id FROM outbox WHERE {} AND state = 0 ORDER BY id LIMIT ?2) ORDER BY outbox.id",
        may_leave()
    );
    tx.all(&sql, params![device.0, limit], |row| {
        Ok(Waiting {
            row: row.get(0)?,
            message: row.get::<_, Option<i64>>(1)?.map(MessageRow),
            content: row.get(2)?,
            message_id: MessageId::from_bytes(row.get(3)?),
            sent_at: timestamp(row.get(4)?),
            counter: row.get::<_, Option<i64>>(5)?.map(counter),
            left: InnerHashes::read(row.get(6)?, row.get(7)?),
        })
    })
}
