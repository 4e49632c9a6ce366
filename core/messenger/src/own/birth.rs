//! A database becomes another device than it was (PROTOCOL H2): in the place of that one, or beside it.
//!
//! ```text
//! a copy    --one transaction--> a new device that nobody knows --its list stands in the account's own chain--> one of the account's
//!                                                               --another's stands there----------------------> nothing any more
//! ```
//! The transaction draws everything that is a device's anew (id, Olm account, inboxes), forgets all that was bound to the device before, and
//! keeps what is the account's: contacts, conversations, chains. What was still to leave is said again, under counters of the new device.
//! Invariant: no letter leaves, and no list but the account's own is written, before the account's own chain names the new device. Which of
//! two copies comes first is decided there, and the other has done nothing that anybody has seen.
//! Not here: when this is done and what is asked of relays before (`rebirth.rs`); what peers make of it (`outbox/moved.rs`).

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::keys::RootKey;
use sotto_crypto::manifest::{Device, DeviceKind, VerifiedManifest};
use sotto_crypto::olm::OlmAccount;
use sotto_protocol::{DeviceId, RelayAddress, Timestamp};

use super::heads::{self, HeldChain};
use super::{Own, OwnInbox, chain, relays, siblings, sync};
use crate::contact::ContactState;
use crate::engine::{Engine, Times};
use crate::error::Error;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::task;
use crate::world::Chance;
use crate::{conversation, generation, handshake, healing, outbox, prekey};

/// After so long without the account's list the user is told that its relay may be gone, or have lost it: most come back sooner.
const AWAY: Duration = Duration::from_secs(24 * 3600);

/// Where a new device stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// In that of the device that this database was, by that one's word.
    Taken,
    /// Beside it: that one goes on elsewhere, and keeps what is its own.
    Beside,
}

/// What is there of a new device before its database is one.
pub(crate) struct Newborn {
    pub(crate) place: Place,
    /// Made at their relays.
    pub(crate) inboxes: Vec<OwnInbox>,
    /// Relays that could not be asked for one, each with what its operator wants to see.
    pub(crate) to_join: Vec<(RelayAddress, String)>,
    /// Our chains, as their relays hold them.
    pub(crate) held: Vec<HeldChain>,
    /// The number that the keystore was told.
    pub(crate) generation: u64,
    /// The device that this database was when it began: nobody has been faster.
    pub(crate) was: DeviceId,
    /// Whose word it comes by where the account's own chain cannot be read any more.
    pub(crate) root: Option<RootKey>,
}

/// Becomes it.
pub(crate) fn become_another(engine: &Engine, tx: &mut Tx<'_>, new: &Newborn) -> Result<(), Error> {
    let (times, chance) = (engine.times(), &mut engine.chance());
    let before = super::load(tx, engine.own().seal.clone())?;
    if before.party.device != new.was {
        return Err(Error::RolledBack);
    }
    let seal = &before.seal;
    let batch = task::new_batch(tx)?;
    let shorter = heads::adopt(tx, &before, &new.held, times.network, chance)?;
    let olm_before = super::olm(tx, seal)?;
    let said_on_copy = conversation::said_on_copy(tx)?;
    if new.place == Place::Beside {
        leave_what_is_under_way(tx)?;
    }
    leave_inboxes(tx, &before, new.place, times, chance)?;
    forget_letters(tx, &before, new.place, batch, times.network, chance)?;
    forget_keys(tx)?;
    let olm = OlmAccount::generate(times.network);
    store_device(tx, &before, new.place, &olm, &olm_before, times.network, chance)?;
    super::store_olm(tx, seal, &olm, chance)?;
    for inbox in &new.inboxes {
        relays::will_be_read(tx, inbox)?;
        relays::store(tx, inbox, seal, chance)?;
    }
    relays::delete_unread(tx, batch)?;
    for (relay, code) in &new.to_join {
        relays::join_later(tx, relay, code)?;
    }
    let own = super::load(tx, seal.clone())?;
    for inbox in own.listed() {
        handshake::put_all_tokens(tx, inbox, batch, times, chance)?;
    }
    prekey::upkeep(tx, &own, batch, times, engine.sure_now(), chance)?;
    match &new.root {
        Some(root) => relays::leave_home(engine, tx, &own, root, batch)?,
        None => publish(tx, &own, &shorter, batch, times.network, chance)?,
    }
    conversation::goes_on(tx, super::epoch_and_version(tx)?, &said_on_copy)?;
    match new.place {
        Place::Taken => handshake::ask_anew(tx, &own, batch, times, chance)?,
        Place::Beside => siblings::join(tx, times.network, chance)?,
    }
    // What became of contacts since the copy was made they tell this one, and not it them.
    sync::all_know(tx)?;
    tx.execute("DELETE FROM meta WHERE key = 'home_away_since'", [])?;
    generation::is_another(tx, new.generation)?;
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('born_with', ?1)", [batch])?;
    tx.changes_own();
    Ok(())
}

/// The list that makes the device known came too late: the account's has moved on, and does not name it yet. It is signed again behind that.
pub(crate) fn publish_again(
    engine: &Engine,
    tx: &mut Tx<'_>,
    held: &[HeldChain],
    generation: u64,
) -> Result<(), Error> {
    let Some(batch) = born_with(tx)? else { return Ok(()) };
    let (own, now, chance) = (engine.own(), engine.network_now(), &mut engine.chance());
    let shorter = heads::adopt(tx, &own, held, now, chance)?;
    publish(tx, &own, &shorter, batch, now, chance)?;
    Ok(generation::is_another(tx, generation)?)
}

/// The account's own chain was asked for: since when its relay has not answered, or not with the account's list.
pub(crate) fn note_home(tx: &mut Tx<'_>, is_away: bool, now: Timestamp) -> Result<(), StoreError> {
    if is_away {
        tx.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('home_away_since', ?1)", [ms(now)])?;
    } else {
        tx.execute("DELETE FROM meta WHERE key = 'home_away_since'", [])?;
    }
    Ok(())
}

/// The relay of the account's list, where it has not shown that to a copy for so long that it may be gone for good.
pub(crate) fn home_away(view: &impl Query, now: Timestamp) -> Result<Option<RelayAddress>, StoreError> {
    let sql = "SELECT value FROM meta WHERE key = 'home_away_since'";
    let since: Option<i64> = view.one(sql, [], |row| row.get(0))?;
    let is_long = since.is_some_and(|since| now >= timestamp(since).after(AWAY));
    if is_long { relays::home(view).map(Some) } else { Ok(None) }
}

fn publish(
    tx: &mut Tx<'_>,
    own: &Own,
    shorter: &[&HeldChain],
    batch: i64,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    chain::renew_manifest(tx, &own.seal, batch, now, chance)?;
    Ok(heads::go_on_behind(tx, shorter, chance)?)
}

pub(super) fn born_with(view: &impl Query) -> Result<Option<i64>, StoreError> {
    view.one("SELECT value FROM meta WHERE key = 'born_with'", [], |row| row.get(0))
}

/// Whether the account's own chain does not name this device yet, as far as is known.
pub(crate) fn is_unpublished(view: &impl Query) -> Result<bool, StoreError> {
    Ok(born_with(view)?.is_some())
}

/// A list of this device stands in the account's own chain.
pub(super) fn is_published(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("DELETE FROM meta WHERE key = 'born_with'", []).map(drop)
}

/// Whether the account's own chain, the last list last, shows that this device is none of the account's any more: it was removed, which is a
/// later epoch, or another has come in its place by its word. A list that merely does not name it says nothing: its relay may have lost those
/// that did, and whoever wrote behind that had never read them.
pub(crate) fn is_taken_away(view: &impl Query, lists: &[VerifiedManifest]) -> Result<bool, StoreError> {
    let Some(newest) = lists.last() else { return Ok(false) };
    let (device, before) = names(view)?;
    let is_newborn_beside = before.is_none() && is_unpublished(view)?;
    let is_listed = |device: &DeviceId| newest.device(device).is_some();
    if is_newborn_beside || is_listed(&device) || before.as_ref().is_some_and(is_listed) {
        return Ok(false);
    }
    let sql = "SELECT ed25519 FROM own_device WHERE device = ?1";
    let ed25519: [u8; 32] = view.one(sql, [device.as_ref()], |row| row.get(0))?.ok_or(StoreError::Corrupt)?;
    let is_in_our_place = |of: &Device| match of.replaces {
        Some(replaced) if replaced.device == device => of.predecessor(newest.account(), |_| Some(ed25519)).is_some(),
        Some(replaced) => of.id != device && Some(replaced.device) == before,
        None => false,
    };
    let is_later = newest.head().epoch > super::epoch(view)?;
    Ok(is_later || lists.iter().flat_map(VerifiedManifest::devices).any(is_in_our_place))
}

/// Which device this is, and in whose place it has come where the account's own chain may not say so yet.
pub(crate) fn names(view: &impl Query) -> Result<(DeviceId, Option<DeviceId>), StoreError> {
    let found = view.one("SELECT device, replaces FROM own_device JOIN account USING (device)", [], |row| {
        Ok((DeviceId::from_bytes(row.get(0)?), row.get::<_, Option<[u8; 16]>>(1)?.map(DeviceId::from_bytes)))
    })?;
    let (device, before) = found.ok_or(StoreError::Corrupt)?;
    Ok((device, before.filter(|_| is_unpublished(view).unwrap_or(false))))
}

/// What the device before goes on with by itself: calls that it has still to make, its invites, requests that wait for an answer, theirs or
/// its own (PROTOCOL C2), and changes of a pair secret that have to wait: two devices would each draw one.
fn leave_what_is_under_way(tx: &mut Tx<'_>) -> Result<(), Error> {
    let (asked, asking) = (ContactState::Asked.code(), ContactState::Asking.code());
    tx.execute("UPDATE contact SET state = ?3 WHERE state IN (?1, ?2)", [asked, asking, ContactState::Removed.code()])?;
    tx.execute("UPDATE contact SET claim = NULL, invite_expires_at = NULL, invite = NULL, pair_due = 0", [])?;
    let tables = ["relay_task", "joining", "alias", "invite", "predecessor_request", "predecessor", "former_inbox"];
    for table in tables {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
    }
    let (invite, gone) = (chain::Chain::Invite.code(), chain::Chain::Gone.code());
    tx.execute("DELETE FROM own_chain WHERE audience IN (?1, ?2)", [invite, gone])?;
    Ok(())
}

/// The inboxes of the device before: deleted behind the new list, or somebody else's from now on.
fn leave_inboxes(
    tx: &mut Tx<'_>,
    before: &Own,
    place: Place,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let seal = &before.seal;
    for table in ["alias", "waiting", "seal_in"] {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
    }
    for inbox in &before.inboxes {
        tx.execute("DELETE FROM relay_task WHERE subject = ?1", [inbox.inbox.as_ref()])?;
        if place == Place::Beside {
            tx.execute("UPDATE own_inbox SET owner_key_sealed = NULL WHERE id = ?1", [inbox.row])?;
            continue;
        }
        tx.execute("DELETE FROM own_inbox WHERE id = ?1", [inbox.row])?;
        relays::will_not_be_read(tx, inbox, seal, times.judging, chance)?;
    }
    Ok(())
}

/// What the device before has counted is over. What it had still to say is said by the new one, in the same order and under new numbers:
/// no answer to a call under way means one of those. Beside it that one says it itself.
fn forget_letters(
    tx: &mut Tx<'_>,
    before: &Own,
    place: Place,
    batch: i64,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    if place == Place::Taken {
        healing::note_predecessor(tx, before.party.device, now)?;
    }
    tx.execute(
        "UPDATE peer_device SET counter_sent = 0, confirmed = 0, received = 0, met = 0, confirm_due = NULL, unconfirmed = 0,
             fresh_session_at = 0, fresh_sessions = 0, ask_at = NULL, asked_at = 0, asks = 0, counter_anew = 0",
        [],
    )?;
    for table in ["received_counter", "skipped_counter", "seen_inner"] {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
    }
    tx.execute("DELETE FROM outbox WHERE ?1", [place == Place::Beside])?;
    outbox::moved::end_count(tx)?;
    outbox::moved::forget_what_is_bound(tx, 0)?;
    let rows: Vec<i64> = tx.all("SELECT id FROM outbox WHERE state <= 2 ORDER BY id", [], |row| row.get(0))?;
    if place == Place::Taken {
        // In the first letter to each.
        healing::ask_for_predecessors(tx, now, chance)?;
    }
    let last: i64 = tx.one("SELECT coalesce(max(id), 0) FROM outbox", [], |row| row.get(0))?.unwrap_or(0);
    for (row, number) in rows.into_iter().zip(last.saturating_add(1)..) {
        tx.execute(
            "UPDATE outbox SET id = ?2, state = 0, counter = NULL, peer_inbox = NULL, olm_kind = NULL, olm = NULL, inner = NULL,
                 inner_before = NULL, envelope = NULL, encrypted_at = NULL, accepted_at = NULL, to_inbox = NULL, again_at = NULL, tries = 0,
                 after_batch = iif(after_batch IS NULL, NULL, ?3) WHERE id = ?1",
            params![row, number, batch],
        )?;
    }
    Ok(())
}

/// Ratchets, seals, prekeys, and claims under way: another copy may have used any of them.
fn forget_keys(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    for table in ["session", "session_tombstone", "seal_out", "kem_key"] {
        tx.execute(&format!("DELETE FROM {table}"), [])?;
    }
    tx.execute("UPDATE peer_inbox SET claim = NULL, renewals = 0, skipped = 0", [])?;
    // The claim of an invite stays, because the invite belongs to it, and is answered with the same one-time keys again: at inboxes that are
    // listed later as well.
    tx.execute("UPDATE contact SET spent_claim = claim WHERE claim IS NOT NULL", [])?;
    tx.execute("UPDATE joining SET is_spent = 1", [])?;
    // Lists that are known here may be as old as this copy.
    tx.execute("UPDATE contact SET manifest_read_at = min(manifest_read_at, 1)", [])?;
    Ok(())
}

fn store_device(
    tx: &mut Tx<'_>,
    before: &Own,
    place: Place,
    olm: &OlmAccount,
    olm_before: &OlmAccount,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let device = before.party.device;
    let kind: i32 = tx
        .one("SELECT kind FROM own_device WHERE device = ?1", [device.as_ref()], |row| row.get(0))?
        .ok_or(StoreError::Corrupt)?;
    let mut new = Device {
        id: DeviceId::from_bytes(chance.bytes()),
        kind: DeviceKind::try_from(kind).unwrap_or_default(),
        ed25519: olm.ed25519(),
        curve25519: olm.curve25519(),
        inboxes: Vec::new(),
        added_at: now,
        replaces: None,
    };
    if place == Place::Taken {
        new.succeed(&before.account, device, olm_before);
        tx.execute("DELETE FROM own_device WHERE device = ?1", [device.as_ref()])?;
    }
    tx.execute(
        "INSERT INTO own_device (device, kind, ed25519, curve25519, added_at, replaces, replaces_signature) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            new.id.as_ref(),
            kind,
            new.ed25519,
            new.curve25519,
            ms(now),
            new.replaces.map(|replaces| *replaces.device.as_bytes()),
            new.replaces.map(|replaces| replaces.signature),
        ],
    )?;
    tx.execute("UPDATE account SET device = ?1", [new.id.as_ref()])?;
    Ok(())
}
