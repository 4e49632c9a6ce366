//! The other devices of this account, as a peer like others: letters, sessions, counters and seals with them are those of a contact.
//!
//! The row [`ContactRow::OWN`] stands for the account itself: its lists are read from the account's own chain, its devices but this one are
//! the siblings, and an *own secret* is what the pair secret is with a contact: tokens for siblings derive from it at every inbox of the
//! account, and it from the list key, which all of them hold. There is no such row before the account has, or is about to have, a second device: a device that is alone gives its relays
//! no token that nobody will use, and nobody else writes its lists.
//! Not here: what siblings tell each other (`own/sync.rs`), lists that several devices write (`own/agreement.rs`).

use rusqlite::params;
use sotto_crypto::letter::Content;
use sotto_crypto::manifest::VerifiedManifest;
use sotto_protocol::{AccountId, DeviceId, RelayAddress, Timestamp};

use super::chain::Chain;
use super::list::list_key;
use super::{Own, birth, chain};
use crate::contact::{self, ContactRow, ContactState, Trust};
use crate::conversation;
use crate::error::Error;
use crate::handshake::{self, Dropped};
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::upkeep::CONFIRMATION_LIFETIME;
use crate::world::Chance;
use crate::{manifests, outbox, peer, task};

/// Whether this device is the only one of its account, and about to stay so.
pub(crate) fn are_none(view: &impl Query) -> Result<bool, StoreError> {
    Ok(view.one("SELECT 1 FROM contact WHERE id = 0", [], |_| Ok(()))?.is_none())
}

/// Makes room for siblings: from now on what one of them says under the own secret's tokens is heard, and others may write the account's
/// lists. Returns the batch that puts the tokens.
pub(crate) fn expect(tx: &mut Tx<'_>, own: &Own, now: Timestamp, chance: &mut Chance<'_>) -> Result<i64, StoreError> {
    let batch = task::new_batch(tx)?;
    if !are_none(tx)? {
        return Ok(batch);
    }
    let secret = list_key(tx, &own.seal)?.own_secret();
    tx.execute(
        "INSERT INTO contact (id, account, name, state, relay, chain, chain_key, manifest, epoch, version, hash, manifest_read_at, pair_secret,
             pair_usable, created_at, said_before)
         SELECT 0, account, name, ?2, relay, chain, chain_key, manifest, own_chain.epoch, own_chain.version, hash, 1, ?3, 1, ?4, ?5
         FROM own_chain, account WHERE audience = ?1",
        params![
            Chain::OwnDevices.code(),
            ContactState::Accepted.code(),
            secret.as_bytes(),
            ms(now),
            conversation::newest(tx)?
        ],
    )?;
    handshake::put_sibling_tokens(tx, own, batch, &secret, chance)?;
    Ok(batch)
}

/// The account's list as it is known to stand in its own chain, where there are siblings.
pub(super) fn list(view: &impl Query) -> Result<Option<VerifiedManifest>, StoreError> {
    let found = view.one("SELECT account, manifest FROM contact WHERE id = 0", [], |row| {
        Ok((AccountId::from_bytes(row.get(0)?), row.get::<_, Vec<u8>>(1)?))
    })?;
    let Some((account, manifest)) = found else { return Ok(None) };
    VerifiedManifest::reload(&account, manifest.into()).map(Some).map_err(|_| StoreError::Corrupt)
}

/// Devices that are of the account no more, one that this one is about to remove among them.
pub(super) fn gone(view: &impl Query) -> Result<Vec<DeviceId>, StoreError> {
    let sql = "SELECT device FROM peer_device WHERE contact = 0 AND listed = 0";
    view.all(sql, [], |row| row.get(0).map(DeviceId::from_bytes))
}

/// The own secret of another list key: a device that knew the one before is none of ours any more.
pub(super) fn change_secret(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    handshake::drop_tokens(tx, own, ContactRow::OWN, Dropped::Replaced, now)?;
    let secret = list_key(tx, &own.seal)?.own_secret();
    tx.execute("UPDATE contact SET pair_secret = ?1 WHERE id = 0", [secret.as_bytes()])?;
    handshake::put_sibling_tokens(tx, own, batch, &secret, chance)
}

/// A list of ours stands in the account's own chain. Whatever a sibling knew of the one before is over.
pub(super) fn list_stands(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    list_stands_behind(tx, &[], now)
}

/// The same, where `lists` are those of that chain.
fn list_stands_behind(tx: &mut Tx<'_>, lists: &[VerifiedManifest], now: Timestamp) -> Result<(), StoreError> {
    no_fork(tx)?;
    let (known, newest) = (contact::by_row(tx, ContactRow::OWN)?.head.order(), chain::own_list(tx)?);
    let between = manifests::leading_to(&newest, lists, known);
    contact::list_is(tx, ContactRow::OWN, (&between, &newest), now).map(drop)
}

/// The account's list was read, the last of `lists`, before this device writes it again. Whoever it names beside this one, and beside the one in
/// whose place this one comes, is a sibling: also where the copy that this database was knew of none.
pub(super) fn list_was_read(
    tx: &mut Tx<'_>,
    own: &Own,
    lists: &[VerifiedManifest],
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let (device, before) = birth::names(tx)?;
    let list = chain::own_list(tx)?;
    let known = peer::listed_devices(tx, ContactRow::OWN)?;
    if are_none(tx)? {
        if list.devices().iter().all(|other| other.id == device || Some(other.id) == before) {
            return Ok(());
        }
        expect(tx, own, now, chance)?;
        list_stands(tx, now)?;
    } else {
        list_stands_behind(tx, lists, now)?;
    }
    let mut new = peer::listed_devices(tx, ContactRow::OWN)?;
    new.retain(|sibling| !known.contains(sibling));
    if new.is_empty() {
        return Ok(());
    }
    // What has not left yet was said without knowing of them.
    tx.execute(
        "UPDATE contact SET said_before = min(said_before, coalesce((
             SELECT min(message) - 1 FROM outbox WHERE state < 2 AND message IS NOT NULL), said_before)) WHERE id = 0",
        [],
    )?;
    for sibling in new {
        // What was for the one in whose place another has come is for that one already.
        if !peer::has_predecessor(tx, ContactRow::OWN, &peer::device_by_row(tx, sibling)?.device)? {
            outbox::newcomer::tell(tx, ContactRow::OWN, sibling)?;
        }
    }
    Ok(())
}

/// A sibling knows another list of the version that we know.
pub(crate) fn note_fork(tx: &mut Tx<'_>, version: u32) -> Result<(), StoreError> {
    tx.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('own_list_forked', ?1)", [version]).map(drop)
}

/// All know the same list, or this device another one than when that was found.
pub(crate) fn no_fork(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("DELETE FROM meta WHERE key = 'own_list_forked'", []).map(drop)
}

/// What our own list has shown that no reading of it has healed yet: where it stands, and a code.
pub(crate) fn trouble(view: &impl Query) -> Result<Option<(RelayAddress, &'static str)>, StoreError> {
    if are_none(view)? {
        return Ok(None);
    }
    let known = contact::by_row(view, ContactRow::OWN)?;
    let forked = view.one("SELECT 1 FROM meta WHERE key = 'own_list_forked'", [], |_| Ok(()))?;
    let code = match (known.trust, forked) {
        (Trust::Compromised, _) => "account_compromised",
        (Trust::Forked, _) | (Trust::Sound, Some(())) => "manifest_forked",
        (Trust::Sound, None) => return Ok(None),
    };
    Ok(Some((known.chain.relay, code)))
}

/// The account's own chain is another one from now on.
pub(super) fn chain_moved(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET (relay, chain, chain_key) = (SELECT relay, chain, chain_key FROM own_chain WHERE audience = ?1),
             chain_next = 0, chain_is_new = 1, manifest_read_at = min(manifest_read_at, 1) WHERE id = 0",
        [Chain::OwnDevices.code()],
    )?;
    Ok(())
}

/// This device is new beside the others: it knows them from the beginning, and shows itself to them and to every contact, whoever may read of it
/// when. What was said before is the others' to send.
pub(super) fn join(tx: &mut Tx<'_>, now: Timestamp, chance: &mut Chance<'_>) -> Result<(), Error> {
    tx.execute("UPDATE contact SET said_before = ?1", [conversation::newest(tx)?])?;
    let list = list(tx)?.ok_or(StoreError::Corrupt)?;
    peer::list_devices(tx, ContactRow::OWN, &list, now)?;
    let lives_until = Some(now.after(CONFIRMATION_LIFETIME));
    // Nobody asks, or is asked, on a device that has just come.
    let contacts = contact::all(tx)?.into_iter().filter(|contact| !contact.blocked).map(|contact| contact.row);
    for contact in contacts.chain([ContactRow::OWN]) {
        outbox::queue_content(tx, contact, &Content::Confirmation, None, lives_until, now, chance)?;
    }
    Ok(())
}
