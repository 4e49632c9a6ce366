//! From queued rows to ciphertexts: one transaction for as many letters of one device as fit a request.
//!
//! A session is loaded, stepped once per letter and stored once. What was encrypted before and not accepted goes out again as it is:
//! the same bytes under the same envelope id, which the relay recognises (PROTOCOL E3).

use rusqlite::params;
use sotto_crypto::letter::{Channel, Content, Letter};
use sotto_crypto::manifest::{InboxAddress, VerifiedManifest};
use sotto_crypto::olm::OlmMessage;
use sotto_protocol::limits::{DATED_AHEAD_MAX, RETENTION};
use sotto_protocol::{Bytes, ConversationId, EnvelopeId, InboxId, MessageId, Timestamp};

use super::inner_hashes::InnerHashes;
use super::may_leave;
use super::plan::{Which, party};
use crate::contact::{Contact, ContactRow};
use crate::conversation::{MessageRow, progress};
use crate::engine::Times;
use crate::own::{self, Own};
use crate::peer::{PeerDevice, PeerInbox};
use crate::records::MessageState;
use crate::seal::{self, SealOut};
use crate::store::column::{counter, ms, stored, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;
use crate::{redate, session};

/// Letters of one device in a request: the other devices at that relay get their turn.
const LETTERS_MAX: i64 = 64;
/// Bytes of them, likewise: half a request body.
const BYTES_MAX: usize = 400 * 1024;

/// A ciphertext that is committed.
pub(crate) struct Ready {
    pub(crate) row: i64,
    pub(crate) envelope: EnvelopeId,
    pub(crate) message: OlmMessage,
}

/// Where letters go and what they go under.
pub(super) struct Route<'a> {
    pub(super) contact: &'a Contact,
    pub(super) device: &'a PeerDevice,
    pub(super) inbox: &'a PeerInbox,
    pub(super) seal_out: &'a SealOut,
}

/// A row that waits.
struct Waiting {
    row: i64,
    message: Option<MessageRow>,
    content: Vec<u8>,
    message_id: MessageId,
    sent_at: Timestamp,
    counter: Option<u64>,
    ordinal: u64,
    left: InnerHashes,
}

/// Where the answer to a request is to come, where it is one: its reader knows the list in it, and none that we have signed since.
fn requested_at(own: &Own, route: &Route<'_>, waiting: &Waiting) -> Option<InboxId> {
    let content = Bytes::copy_from_slice(route.contact.is_asked().then_some(&waiting.content)?);
    let Ok(Content::ContactRequest { manifest, .. }) = Content::decode(&content, Channel::Invite) else { return None };
    let list = VerifiedManifest::reload(&own.account, manifest).ok()?;
    let is_ours = |inbox: &&InboxAddress| own.inboxes.iter().any(|ours| ours.inbox == inbox.inbox);
    let inboxes: Vec<&InboxAddress> = list.device(&own.party.device)?.inboxes.iter().filter(is_ours).collect();
    let same_relay = inboxes.iter().find(|inbox| inbox.relay == route.inbox.relay);
    same_relay.or(inboxes.first()).map(|inbox| inbox.inbox)
}

/// What is encrypted for an inbox already, and as much of what waits as goes there and fits.
pub(super) fn encrypt_all(
    tx: &mut Tx<'_>,
    own: &Own,
    route: &Route<'_>,
    which: Which,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<Vec<Ready>, StoreError> {
    let now = times.network;
    let mut letters = already_encrypted(tx, route, now, chance)?;
    let mut bytes: usize = letters.iter().map(|letter| letter.message.bytes().len()).sum();
    let room = LETTERS_MAX - i64::try_from(letters.len()).unwrap_or(LETTERS_MAX);
    let mut waiting = if which == Which::Encrypted { Vec::new() } else { waiting_for(tx, route, which, room)? };
    let ahead = times.judging.after(DATED_AHEAD_MAX);
    if waiting.iter().any(|waiting| waiting.message.is_some() && waiting.sent_at > ahead) {
        // Said while a clock was wild: nobody else need put it where that has put it here.
        redate::set_messages_right(tx, times.judging)?;
        waiting = waiting_for(tx, route, which, room)?;
    }
    if waiting.is_empty() {
        return Ok(letters);
    }
    let mut session = session::sending(tx, &own.seal, route.inbox.row)?.ok_or(StoreError::Corrupt)?;
    let recipient = party(route.contact, route.device);
    let head = own::head_for(tx, own, route.contact.row)?;
    let is_sibling = route.contact.row == ContactRow::OWN;
    let opener = route.seal_out.confirmed_at.is_none().then(|| route.seal_out.maker.opener());
    let opened = seal::to_announce(tx, route.device.row)?;
    let reply_inbox = own
        .listed()
        .find(|own| own.relay == route.inbox.relay)
        .or(own.listed().next())
        .ok_or(StoreError::Corrupt)?
        .inbox;
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
                .then(|| requested_at(own, route, &waiting).unwrap_or(reply_inbox)),
            conversation: ConversationId::between(&own.account, &route.contact.account),
            earlier: waiting.left.named(),
            ordinal: waiting.ordinal,
            content: match waiting.message.filter(|_| is_sibling) {
                Some(message) => own::sync::said(tx, message, waiting.content)?.into(),
                None => waiting.content.into(),
            },
        };
        let message =
            session.session.encrypt(&letter.encode(&own.party, &recipient)).map_err(|_| StoreError::Corrupt)?;
        let envelope = EnvelopeId::new(now, chance.bytes());
        tx.execute(
            "UPDATE outbox SET state = 1, counter = ?2, peer_inbox = ?3, olm_kind = ?4, olm = ?5, envelope = ?6, encrypted_at = ?7,
                 inner = ?8, inner_before = ?9, to_inbox = NULL WHERE id = ?1",
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
        if let Some(row) = waiting.message.filter(|_| !is_sibling) {
            progress::advance(tx, row, MessageState::Sending, now)?;
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

fn waiting_for(tx: &Tx<'_>, route: &Route<'_>, which: Which, limit: i64) -> Result<Vec<Waiting>, StoreError> {
    let goes_there = if which == Which::Meant { "to_inbox = ?3" } else { "coalesce(to_inbox, ?3) = ?3" };
    let sql = format!(
        "SELECT outbox.id, outbox.message, coalesce(outbox.content, message.content), outbox.message_id, outbox.sent_at, outbox.counter,
                outbox.inner, outbox.inner_before, coalesce(message.ordinal, 0)
         FROM outbox LEFT JOIN message ON message.id = outbox.message
         WHERE outbox.id IN (SELECT id FROM outbox WHERE {} AND state = 0 AND {goes_there} ORDER BY id LIMIT ?2) ORDER BY outbox.id",
        may_leave()
    );
    tx.all(&sql, params![route.device.row.0, limit, route.inbox.row.0], |row| {
        Ok(Waiting {
            row: row.get(0)?,
            message: row.get::<_, Option<i64>>(1)?.map(MessageRow),
            content: row.get(2)?,
            message_id: MessageId::from_bytes(row.get(3)?),
            sent_at: timestamp(row.get(4)?),
            counter: row.get::<_, Option<i64>>(5)?.map(counter),
            left: InnerHashes::read(row.get(6)?, row.get(7)?),
            ordinal: counter(row.get(8)?),
        })
    })
}
