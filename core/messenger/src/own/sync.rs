//! What the devices of an account tell each other: what was said on one of them, and what a contact is (`docs/protocol.md`, "Own devices").
//!
//! A message goes to the siblings in the same transaction as to its recipients, as a row of the outbox that stands for the same message;
//! how far it is says its recipients alone. A contact goes whole, with a version, whenever one device changes what all share of it: its
//! siblings put tokens for it at their own inboxes, and hear it and write to it from then on. What is under way on one device alone, an
//! invite or a request that waits for an answer, stays there (PROTOCOL C2).
//! Invariant: what a sibling says of a contact is heeded once, and never what was said before it.

use rusqlite::params;
use sotto_crypto::letter::{Card, Content, OwnDeviceSync, SyncedContact, SyncedState};
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::secret::PairSecret;
use sotto_protocol::{AccountId, Bytes, DeviceId, Timestamp};

use super::{Own, siblings};
use crate::contact::pair_change;
use crate::contact::{self, ChainAddress, Contact, ContactRow, ContactState, NewContact, PairOf};
use crate::conversation::MessageRow;
use crate::engine::Times;
use crate::error::Error;
use crate::handshake::{self, Before, Dropped};
use crate::outbox;
use crate::peer::{self, DeviceRow};
use crate::profile;
use crate::receipts;
use crate::records::Failure;
use crate::settings;
use crate::store::column::{counter, stored};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// How many changes of one contact another device may have made of which none has come here: nobody makes as many in a life.
const VERSIONS_AHEAD_MAX: u64 = 1 << 20;

/// A message of ours as the siblings get it; the note to self, and what is for them alone, as it is.
pub(crate) fn said(view: &impl Query, message: MessageRow, content: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    let account = view.one(
        "SELECT iif(message.kind = 21, NULL, contact.account) FROM message JOIN conversation ON conversation.id = message.conversation
         LEFT JOIN contact ON contact.id = conversation.contact WHERE message.id = ?1",
        [message.0],
        |row| row.get::<_, Option<[u8; 32]>>(0),
    )?;
    let Some(account) = account.flatten().map(AccountId::from_bytes) else { return Ok(content) };
    let said = Content::OwnDeviceSync(OwnDeviceSync::Said { account, content: content.into() });
    Ok(said.encode().map_err(|_| StoreError::Corrupt)?.to_vec())
}

/// What all our devices share of a contact has changed here: the others hear of it. What one device alone knows of is nothing to them.
pub(crate) fn contact_changed(
    tx: &mut Tx<'_>,
    own: &Own,
    row: ContactRow,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    if siblings::are_none(tx)? {
        return Ok(());
    }
    let contact = contact::by_row(tx, row)?;
    let (version, _) = shared(tx, row)?;
    // Whoever was removed was a contact, also to a device that is about to be linked and comes from a copy of before.
    let is_shared = version > 0 || contact.pair_secret().is_some();
    if !is_shared || state_of(&contact).is_none() {
        return Ok(());
    }
    note_shared(tx, row, version.saturating_add(1), &own.party.device)?;
    let synced = Content::OwnDeviceSync(OwnDeviceSync::Contact(Box::new(describe(tx, &contact)?)));
    outbox::queue_content(tx, ContactRow::OWN, &synced, None, None, now, chance)
}

/// Siblings that are new get what is known of every contact, and what was said here since nobody knew of them.
pub(super) fn hand_over(tx: &mut Tx<'_>, own: &Own, now: Timestamp, chance: &mut Chance<'_>) -> Result<(), Error> {
    let new = tx.all("SELECT id FROM peer_device WHERE contact = 0 AND listed = 1 AND handed_over = 0", [], |row| {
        row.get(0).map(DeviceRow)
    })?;
    if new.is_empty() {
        return Ok(());
    }
    let contacts = tx.all("SELECT id FROM contact WHERE id != 0 ORDER BY id", [], |row| row.get(0).map(ContactRow))?;
    for row in contacts {
        let contact = contact::by_row(tx, row)?;
        if shared(tx, row)?.0 == 0 {
            if contact.state != ContactState::Accepted {
                continue;
            }
            note_shared(tx, row, 1, &own.party.device)?;
        }
        if state_of(&contact).is_some() {
            let synced = Content::OwnDeviceSync(OwnDeviceSync::Contact(Box::new(describe(tx, &contact)?)));
            outbox::queue_content_to(tx, &new, &synced, None, None, now, chance)?;
        }
    }
    settings::hand_over(tx, own, &new, now, chance)?;
    for device in &new {
        // What was for the one in whose place another has come is for that one already.
        if !peer::has_predecessor(tx, ContactRow::OWN, &peer::device_by_row(tx, *device)?.device)? {
            outbox::newcomer::tell(tx, ContactRow::OWN, *device)?;
        }
    }
    all_know(tx)
}

/// The siblings that are listed now know every contact that this device does, from this one or from before it was.
pub(super) fn all_know(tx: &mut Tx<'_>) -> Result<(), Error> {
    tx.execute("UPDATE peer_device SET handed_over = 1 WHERE contact = 0 AND listed = 1", [])?;
    Ok(())
}

const fn state_of(contact: &Contact) -> Option<SyncedState> {
    match contact.state {
        ContactState::Accepted => Some(SyncedState::Accepted),
        ContactState::Removed => Some(SyncedState::Removed),
        // They begin anew on one device: the others hear what comes of it.
        ContactState::Asked | ContactState::Asking => None,
    }
}

fn describe(view: &impl Query, contact: &Contact) -> Result<SyncedContact, StoreError> {
    let state = state_of(contact).ok_or(StoreError::Corrupt)?;
    let (version, _) = shared(view, contact.row)?;
    Ok(SyncedContact {
        version,
        card: Card {
            account: contact.account,
            relay: contact.chain.relay.clone(),
            chain: contact.chain.chain,
            chain_key: contact.chain.key.clone(),
        },
        manifest: Bytes::copy_from_slice(&contact.manifest),
        name: contact.name.clone(),
        given_name: contact.given_name.clone(),
        state,
        blocked: contact.blocked,
        pair_secret: contact.pair_secret().filter(|_| state == SyncedState::Accepted).cloned(),
        pair_usable: contact.is_pair_usable(),
        pair_version: contact::pair_version(view, contact.row)?,
        profile: profile::known(view, contact.row)?,
    })
}

/// Version and author of what our devices share of a contact.
fn shared(view: &impl Query, row: ContactRow) -> Result<(u64, DeviceId), StoreError> {
    let found = view.one("SELECT sync_version, sync_author FROM contact WHERE id = ?1", [row.0], |row| {
        Ok((counter(row.get(0)?), DeviceId::from_bytes(row.get::<_, Option<[u8; 16]>>(1)?.unwrap_or_default())))
    })?;
    found.ok_or(StoreError::Corrupt)
}

fn note_shared(tx: &mut Tx<'_>, row: ContactRow, version: u64, author: &DeviceId) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET sync_version = ?2, sync_author = ?3 WHERE id = ?1",
        params![row.0, stored(version), author.as_ref()],
    )?;
    Ok(())
}

/// A sibling says what a contact is. Says whose row that is, where it is news.
///
/// What they share with us is a matter of its own: a device that knows a newer secret need not have heard of what another has done to
/// the contact since, and the other way round.
pub(crate) fn take_contact(
    tx: &mut Tx<'_>,
    own: &Own,
    author: &DeviceId,
    synced: &SyncedContact,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<Option<ContactRow>, Error> {
    let account = synced.card.account;
    let known = contact::by_account(tx, &account)?;
    if account == own.account {
        return Ok(None);
    }
    let is_news = match &known {
        Some(known) => {
            let (version, before) = shared(tx, known.row)?;
            SyncedContact::order((synced.version, author), (version, &before)).is_gt()
        }
        None => true,
    };
    if is_too_far_on(tx, known.as_ref(), synced)? {
        tracing::warn!("another device of this account leaves no version of a contact to the others");
        return Ok(None);
    }
    let was_paired =
        known.as_ref().is_some_and(|known| known.state == ContactState::Accepted && known.pair_secret().is_some());
    let before = if was_paired { Before::Pair } else { Before::Nothing };
    let row = match &known {
        Some(known) if !is_news => known.row,
        _ => {
            let Ok(manifest) = VerifiedManifest::reload(&account, synced.manifest.clone()) else {
                tracing::warn!("another device of this account tells of a contact whose list is refused");
                return Ok(None);
            };
            let row = take_state(tx, known.as_ref(), synced, &manifest, times.network)?;
            if profile::known(tx, row)?.is_none() {
                contact::set_name(tx, row, &synced.name)?;
            }
            contact::set_given_name(tx, row, synced.given_name.as_deref())?;
            note_shared(tx, row, synced.version, author)?;
            row
        }
    };
    let has_shown = match &synced.profile {
        Some(profile) => profile::take(tx, row, profile)?,
        None => false,
    };
    let lost = answer_beside(tx, row, synced, times.judging)?;
    if !take_pair(tx, row, synced, before, lost.is_some(), times.network)? && !is_news && !has_shown {
        return Ok(None);
    }
    stand_by_state(tx, own, row, before, times, chance)?;
    if let Some(lost) = lost {
        let contact = contact::by_row(tx, row)?;
        handshake::tell_of_other_answer(tx, own, &contact, &lost, times.network, chance)?;
    }
    if is_news {
        take_blocking(tx, own, row, synced, times)?;
    }
    Ok(Some(row))
}

/// A device that was stolen could say what nobody ever says anything after, and would have the last word of all contacts for good: also when
/// it is none of ours any more.
fn is_too_far_on(view: &impl Query, known: Option<&Contact>, synced: &SyncedContact) -> Result<bool, StoreError> {
    let (version, pair_version) = match known {
        Some(known) => (shared(view, known.row)?.0, contact::pair_version(view, known.row)?),
        None => (0, 0),
    };
    let is_too_far = |told: u64, known: u64| told > known.saturating_add(VERSIONS_AHEAD_MAX);
    Ok(is_too_far(synced.version, version) || is_too_far(synced.pair_version, pair_version))
}

/// What is known of their lists stays, where it is newer; a chain that is read already is read on.
fn take_state(
    tx: &mut Tx<'_>,
    known: Option<&Contact>,
    synced: &SyncedContact,
    manifest: &VerifiedManifest,
    now: Timestamp,
) -> Result<ContactRow, Error> {
    let state = match synced.state {
        SyncedState::Accepted => ContactState::Accepted,
        SyncedState::Removed => ContactState::Removed,
    };
    let chain =
        ChainAddress { relay: synced.card.relay.clone(), chain: synced.card.chain, key: synced.card.chain_key.clone() };
    if let Some(known) = known {
        let is_read = matches!(known.state, ContactState::Accepted | ContactState::Removed);
        let is_newer = manifest.head().order() > known.head.order() && !peer::changes_keys(tx, known.row, manifest)?;
        if known.state == state {
            if manifest.head().order() > known.head.order() {
                contact::manifest_is_due(tx, known.row)?;
            }
            return Ok(known.row);
        }
        if is_read || !is_newer {
            contact::set_state(tx, known.row, state)?;
            if known.chain.chain == chain.chain {
                // Their home may be gone: what is known of them here will do.
                contact::manifest_is_due(tx, known.row)?;
            } else if known.state != ContactState::Accepted {
                // Ours may be that of an invite, which ends with it, and whose lists are others than those that their letters name.
                contact::turn_to_chain(tx, known.row, &chain)?;
            }
            return Ok(known.row);
        }
    }
    let new = NewContact { name: &synced.name, state, chain: &chain, manifest, chain_next: 0 };
    let row = contact::begin(tx, &new, now)?;
    // That list may stand in another chain: of an invite, or where they have led our other device from since.
    contact::turn_to_chain(tx, row, &chain)?;
    Ok(row)
}

/// The secret that this device has answered them with, where the one that a sibling tells takes its place and was drawn by who knew nothing of
/// it. They may have settled for either, so they have to be told, for as long as they hear answers.
fn answer_beside(
    view: &impl Query,
    row: ContactRow,
    synced: &SyncedContact,
    now: Timestamp,
) -> Result<Option<PairSecret>, StoreError> {
    let contact = contact::by_row(view, row)?;
    let known = (contact::pair_version(view, row)?, contact.pair_secret());
    let told = (synced.pair_version, synced.pair_secret.as_ref());
    let gives_way = told.1.is_some() && told.1 != known.1 && SyncedContact::order_of_pairs(told, known).is_gt();
    if !gives_way || !contact.was_answered_beside(known.0, told.0) || !handshake::can_be_answered(view, row, now)? {
        return Ok(None);
    }
    Ok(known.1.cloned())
}

/// Of two secrets the newer one is what they share with us. Says whether anything has changed. Between somebody who asks, or is asked, on this
/// device and this device alone there is something under way: its outcome is newer.
fn take_pair(
    tx: &mut Tx<'_>,
    row: ContactRow,
    synced: &SyncedContact,
    before: Before,
    has_answered_beside: bool,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let contact = contact::by_row(tx, row)?;
    let known = (contact::pair_version(tx, row)?, contact.pair_secret());
    let told = (synced.pair_version, synced.pair_secret.as_ref());
    if let Some(pair) = told.1.filter(|_| has_answered_beside) {
        pair_change::give_way(tx, row, pair, told.0, super::epoch(tx)?, now)?;
        return Ok(true);
    }
    let is_missing = contact.state == ContactState::Accepted && known.1.is_none() && told.1.is_some();
    let is_newer = SyncedContact::order_of_pairs(told, known).is_gt() && state_of(&contact).is_some();
    if is_missing || is_newer {
        // What they have drawn is usable at once, and what we have only when they say so.
        let drawn_by = if synced.pair_usable { PairOf::Them } else { PairOf::Us };
        contact::set_shared_pair(tx, row, told.1, drawn_by, told.0)?;
        if before == Before::Nothing || contact.state == ContactState::Removed {
            contact::is_met_elsewhere(tx, row)?;
        }
    }
    let contact = contact::by_row(tx, row)?;
    let becomes_usable = synced.pair_usable
        && !contact.is_pair_usable()
        && !contact.is_telling_change()
        && contact.pair_secret() == told.1;
    if becomes_usable {
        contact::pair_is_usable(tx, row)?;
    }
    Ok(is_missing || is_newer || becomes_usable)
}

/// Tokens are those of what is shared with a contact, and there are none for anybody removed.
fn stand_by_state(
    tx: &mut Tx<'_>,
    own: &Own,
    row: ContactRow,
    before: Before,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let contact = contact::by_row(tx, row)?;
    match (contact.state, contact.pair_secret()) {
        (ContactState::Accepted, Some(pair)) => {
            if !handshake::has_tokens_of(tx, own, row, pair)? {
                handshake::take_pair(tx, own, row, pair, before, times, chance)?;
                if contact.blocked {
                    handshake::drop_tokens(tx, own, row, Dropped::Blocked, times.judging)?;
                }
            }
            contact::has_told_chain(tx, row, &super::contacts_card(tx, own)?.0.chain)?;
            contact::conversation(tx, &own.account, &contact)?;
        }
        (ContactState::Removed, _) => {
            outbox::fail_all(tx, row, Failure::Removed, times.network)?;
            handshake::drop_tokens(tx, own, row, Dropped::Removed, times.judging)?;
        }
        (ContactState::Accepted | ContactState::Asked | ContactState::Asking, _) => {}
    }
    Ok(())
}

fn take_blocking(
    tx: &mut Tx<'_>,
    own: &Own,
    row: ContactRow,
    synced: &SyncedContact,
    times: Times,
) -> Result<(), Error> {
    let contact = contact::by_row(tx, row)?;
    if contact.blocked == synced.blocked {
        return Ok(());
    }
    contact::set_blocked(tx, row, synced.blocked)?;
    if synced.blocked {
        receipts::take_back(tx, Some(row), times.judging)?;
        handshake::drop_tokens(tx, own, row, Dropped::Blocked, times.judging)?;
    } else {
        // None, where they were removed: those were dropped for good.
        handshake::restore_tokens(tx, own, &contact, times.judging)?;
        super::knows_no_chain(tx, own, row)?;
    }
    Ok(())
}
