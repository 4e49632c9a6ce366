//! Telling a contact something that holds for a moment: who may hear it, and the one call that it leaves with.
//!
//! Not here: when, and what (`speaking.rs`). Nothing is written, nothing is tried again, and whatever the relay says changes nothing: a relay that does
//! not answer is known by letters alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::params;
use sotto_crypto::seal::ephemeral::{Ephemeral, EphemeralMaker, Signal};
use sotto_protocol::limits::{MANIFEST_READ_AGAIN, SEAL_AGE_MAX, SEND_ITEMS_MAX};
use sotto_protocol::{AccountId, Bytes, EnvelopeId, InboxId, RelayAddress, Timestamp, Token, relay};

use super::speaking::TOLD_MAX;
use super::{may_share, post};
use crate::contact::{self, Contact, ContactRow};
use crate::conversation;
use crate::engine::Engine;
use crate::outbox::plan::is_over;
use crate::peer::{self, PeerDevice};
use crate::seal;
use crate::store::column::ms;
use crate::store::{Query, StoreError};

/// Whoever has said nothing for so long is told nothing: live state is for conversations under way.
const LATELY: Duration = Duration::from_secs(7 * 24 * 3600);
/// Messages of a conversation in which somebody's last one is looked for: it is among the last few, unless only we have spoken since.
const LOOKED_THROUGH: u32 = 256;
/// Conversations among which the contacts to tell are looked for.
const CONVERSATIONS_MAX: u32 = 96;
/// What a relay has not taken by then is not of now any more.
const PATIENCE: Duration = Duration::from_secs(5);

/// One of a contact's devices, and the way to it.
struct Listener {
    relay: RelayAddress,
    inbox: InboxId,
    token: Token,
    maker: EphemeralMaker,
}

/// Tells each of these contacts something, where they may hear it and can be reached now.
pub(super) async fn tell(engine: &Arc<Engine>, signals: Vec<(AccountId, Signal)>) {
    if !engine.witness.is_any_up() {
        return;
    }
    let found = engine
        .read(move |engine, view| -> Result<_, StoreError> {
            let mut found = Vec::new();
            for (account, signal) in signals {
                let said = Ephemeral { sent_at: engine.live.next_time(engine.network_now()), signal };
                found.extend(listeners(engine, view, &account)?.into_iter().map(|listener| (listener, said)));
            }
            Ok(found)
        })
        .await;
    let Ok(found) = found else { return };
    let mut batches: BTreeMap<RelayAddress, relay::Send> = BTreeMap::new();
    for (listener, said) in found {
        let envelope = listener.maker.seal(&said, &mut engine.chance());
        let batch = batches.entry(listener.relay).or_default();
        if batch.items.len() >= SEND_ITEMS_MAX {
            continue;
        }
        batch.items.push(relay::SendItem {
            inbox: listener.inbox.into(),
            token: Bytes::copy_from_slice(listener.token.as_bytes()),
            envelope: EnvelopeId::new(engine.network_now(), engine.chance().bytes()).into(),
            header: envelope.header.into(),
            payload: u32::try_from(batch.payloads.len()).unwrap_or(u32::MAX),
            ephemeral: true,
            ..Default::default()
        });
        batch.payloads.push(envelope.payload.into());
    }
    for (relay, batch) in batches {
        post(engine, relay, batch, PATIENCE);
    }
}

/// The devices of a contact that may hear something of us now, each by the first of its inboxes that letters would go to.
fn listeners(engine: &Engine, view: &impl Query, account: &AccountId) -> Result<Vec<Listener>, StoreError> {
    let now = engine.network_now();
    let contact = contact::by_account(view, account)?.filter(may_share);
    let Some(contact) = contact.filter(|contact| !is_over(contact.manifest_read_at, MANIFEST_READ_AGAIN, now)) else {
        // Letters would have their list read again first: a device of theirs may be gone.
        return Ok(Vec::new());
    };
    if !has_spoken_lately(view, &contact, now)? {
        return Ok(Vec::new());
    }
    let mut listeners = Vec::new();
    for device in peer::listed_devices(view, contact.row)? {
        let device = peer::device_by_row(view, device)?;
        listeners.extend(listener(engine, view, &contact, &device, now)?);
    }
    Ok(listeners)
}

fn listener(
    engine: &Engine,
    view: &impl Query,
    contact: &Contact,
    device: &PeerDevice,
    now: Timestamp,
) -> Result<Option<Listener>, StoreError> {
    let Some(way) = contact.way_to(device).filter(|way| way.claim().is_none()) else { return Ok(None) };
    for inbox in peer::inboxes(view, device.row)? {
        if engine.reach.is_shut(&inbox) {
            continue;
        }
        let seal = seal::out(view, &engine.own().seal, inbox.row)?;
        let confirmed = seal.filter(|seal| seal.confirmed_at.is_some_and(|at| now < at.after(SEAL_AGE_MAX)));
        if let Some(seal) = confirmed {
            let (token, maker) = (way.token(&inbox.inbox), seal.maker.for_ephemerals());
            return Ok(Some(Listener { relay: inbox.relay, inbox: inbox.inbox, token, maker }));
        }
    }
    Ok(None)
}

/// Whether somebody has said something themselves, and not long ago.
fn has_spoken_lately(view: &impl Query, contact: &Contact, now: Timestamp) -> Result<bool, StoreError> {
    let Some(conversation) = conversation::with_contact(view, contact.row)? else { return Ok(false) };
    let sql = "SELECT EXISTS (SELECT 1 FROM
                 (SELECT sender, kind, received_at FROM message WHERE conversation = ?1 ORDER BY position DESC LIMIT ?4)
               WHERE sender = ?2 AND kind IN (1, 2) AND received_at > ?3)";
    let since = ms(now.before(LATELY));
    let found = view.one(sql, params![conversation.0, contact.row.0, since, LOOKED_THROUGH], |row| row.get(0))?;
    Ok(found.unwrap_or(false))
}

/// Who is told that we are online: of those who may be, the ones whose conversations moved last.
pub(super) fn to_tell(view: &impl Query, now: Timestamp) -> Result<Vec<AccountId>, StoreError> {
    let sql = "SELECT contact FROM conversation WHERE contact IS NOT NULL AND last_at > ?1 ORDER BY last_at DESC, id DESC LIMIT ?2";
    let moved: Vec<ContactRow> =
        view.all(sql, params![ms(now.before(LATELY)), CONVERSATIONS_MAX], |row| row.get(0).map(ContactRow))?;
    let mut accounts = Vec::new();
    for row in moved {
        let contact = contact::by_row(view, row)?;
        if accounts.len() < TOLD_MAX && may_share(&contact) && has_spoken_lately(view, &contact, now)? {
            accounts.push(contact.account);
        }
    }
    Ok(accounts)
}
