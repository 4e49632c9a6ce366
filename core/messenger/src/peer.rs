//! Contacts' devices and their inboxes, as their newest manifests list them.
//!
//! What left a list keeps its row, unlisted, for as long as what was sent to it may still be asked for (`peer/departed.rs`).

mod departed;
mod line;

use std::time::Duration;

use rusqlite::{Row, params};
use sotto_crypto::manifest::{Device, VerifiedManifest};
use sotto_protocol::limits::{IDEMPOTENCY_MARGIN, RETENTION};
use sotto_protocol::{ClaimId, DeviceId, InboxId, RelayAddress, Timestamp};

use crate::contact::ContactRow;
use crate::outbox;
use crate::store::column::{counter, ms, stored};
use crate::store::{Query, StoreError, Tx};

pub(crate) use departed::{forget as forget_departed, has_too_many};
pub(crate) use line::{Line, begins_behind, ends_at};

/// What a replaced device said before is taken for so long since we read that it is listed no more: as long as a relay holds what it took of it,
/// and a week in which the one that was replaced may not have known it yet.
pub(crate) const HEARD_OUT: Duration = RETENTION.saturating_add(IDEMPOTENCY_MARGIN);

/// Row of a contact's device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct DeviceRow(pub(crate) i64);

/// Row of a contact's inbox.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct InboxRow(pub(crate) i64);

/// A contact's device.
#[derive(Clone)]
pub(crate) struct PeerDevice {
    pub(crate) row: DeviceRow,
    pub(crate) contact: ContactRow,
    pub(crate) device: DeviceId,
    pub(crate) ed25519: [u8; 32],
    pub(crate) curve25519: [u8; 32],
    pub(crate) listed: bool,
    pub(crate) counter_sent: u64,
    pub(crate) confirmed: u64,
    pub(crate) received: u64,
    pub(crate) met: u64,
    /// It may come from a copy that knows only the pair before ours.
    pub(crate) is_behind: bool,
    /// Of what it says.
    pub(crate) line: Line,
    /// The last ordinal that counts, where another has come in its place.
    pub(crate) ordinals_end: Option<u64>,
}

const DEVICE_COLUMNS: &str = "id, contact, device, ed25519, curve25519, listed, counter_sent, confirmed, received, met, pair_behind != 0, line, ordinals_end";

fn read_device(row: &Row<'_>) -> rusqlite::Result<PeerDevice> {
    Ok(PeerDevice {
        row: DeviceRow(row.get(0)?),
        contact: ContactRow(row.get(1)?),
        device: DeviceId::from_bytes(row.get(2)?),
        ed25519: row.get(3)?,
        curve25519: row.get(4)?,
        listed: row.get(5)?,
        counter_sent: counter(row.get(6)?),
        confirmed: counter(row.get(7)?),
        received: counter(row.get(8)?),
        met: counter(row.get(9)?),
        is_behind: row.get(10)?,
        line: Line(row.get(11)?),
        ordinals_end: row.get::<_, Option<i64>>(12)?.map(counter),
    })
}

pub(crate) fn device_by_row(view: &impl Query, row: DeviceRow) -> Result<PeerDevice, StoreError> {
    view.one(&format!("SELECT {DEVICE_COLUMNS} FROM peer_device WHERE id = ?1"), [row.0], read_device)?
        .ok_or(StoreError::Corrupt)
}

pub(crate) fn device_by_id(
    view: &impl Query,
    contact: ContactRow,
    device: &DeviceId,
) -> Result<Option<PeerDevice>, StoreError> {
    let sql = format!("SELECT {DEVICE_COLUMNS} FROM peer_device WHERE contact = ?1 AND device = ?2");
    view.one(&sql, params![contact.0, device.as_ref()], read_device)
}

/// A letter of a handshake is heeded, unless a later one of that device was: what it began is over. Says which.
pub(crate) fn meet(tx: &mut Tx<'_>, device: DeviceRow, counter: u64) -> Result<Met, StoreError> {
    let changed =
        tx.execute("UPDATE peer_device SET met = ?2 WHERE id = ?1 AND met < ?2", params![device.0, stored(counter)])?;
    Ok(if changed > 0 { Met::Now } else { Met::Late })
}

/// Whether a letter of a handshake counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Met {
    /// It is the latest.
    Now,
    /// A later one has overtaken it.
    Late,
}

/// The devices that a letter to the contact goes to.
pub(crate) fn listed_devices(view: &impl Query, contact: ContactRow) -> Result<Vec<DeviceRow>, StoreError> {
    view.all("SELECT id FROM peer_device WHERE contact = ?1 AND listed = 1 ORDER BY id", [contact.0], |row| {
        row.get(0).map(DeviceRow)
    })
}

/// An inbox of a contact's device.
#[derive(Clone)]
pub(crate) struct PeerInbox {
    pub(crate) row: InboxRow,
    pub(crate) relay: RelayAddress,
    pub(crate) inbox: InboxId,
    pub(crate) prekey_key: [u8; 32],
    pub(crate) claim: Option<ClaimId>,
}

fn read_inbox(row: &Row<'_>) -> rusqlite::Result<(String, PeerInbox)> {
    let relay: String = row.get(1)?;
    // Replaced by the parsed address in `parse_inbox`; parsing errors do not fit rusqlite's.
    let placeholder: RelayAddress = "https://invalid".parse().expect("a constant that parses");
    let claim: Option<[u8; 16]> = row.get(4)?;
    let inbox = PeerInbox {
        row: InboxRow(row.get(0)?),
        relay: placeholder,
        inbox: InboxId::from_bytes(row.get(2)?),
        prekey_key: row.get(3)?,
        claim: claim.map(ClaimId::from_bytes),
    };
    Ok((relay, inbox))
}

fn parse_inbox((relay, inbox): (String, PeerInbox)) -> Result<PeerInbox, StoreError> {
    Ok(PeerInbox { relay: relay.parse().map_err(|_| StoreError::Corrupt)?, ..inbox })
}

/// The inboxes of a device, the preferred first.
pub(crate) fn inboxes(view: &impl Query, device: DeviceRow) -> Result<Vec<PeerInbox>, StoreError> {
    let sql = "SELECT id, relay, inbox, prekey_key, claim FROM peer_inbox WHERE peer_device = ?1 AND listed = 1 ORDER BY position";
    view.all(sql, [device.0], read_inbox)?.into_iter().map(parse_inbox).collect()
}

/// A contact's inbox by its id.
pub(crate) fn inbox_by_id(
    view: &impl Query,
    device: DeviceRow,
    inbox: &InboxId,
) -> Result<Option<PeerInbox>, StoreError> {
    let sql = "SELECT id, relay, inbox, prekey_key, claim FROM peer_inbox WHERE peer_device = ?1 AND inbox = ?2";
    view.one(sql, params![device.0, inbox.as_ref()], read_inbox)?.map(parse_inbox).transpose()
}

/// An inbox of a device, whichever: to keep with it what belongs to the device.
pub(crate) fn any_inbox(view: &impl Query, device: DeviceRow) -> Result<InboxRow, StoreError> {
    let sql = "SELECT id FROM peer_inbox WHERE peer_device = ?1 ORDER BY listed DESC, position LIMIT 1";
    view.one(sql, [device.0], |row| row.get(0).map(InboxRow))?.ok_or(StoreError::Corrupt)
}

/// Whether a list gives a device other keys than it had. An id keeps its keys for good: sessions and bindings are with the keys, and what
/// looks like a device that is known must be that device.
pub(crate) fn changes_keys(
    view: &impl Query,
    contact: ContactRow,
    manifest: &VerifiedManifest,
) -> Result<bool, StoreError> {
    for device in manifest.devices() {
        let known = device_by_id(view, contact, &device.id)?;
        if known.is_some_and(|known| (known.ed25519, known.curve25519) != (device.ed25519, device.curve25519)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every device that a contact has ever listed.
pub(crate) fn device_ids(view: &impl Query, contact: ContactRow) -> Result<Vec<DeviceId>, StoreError> {
    view.all("SELECT device FROM peer_device WHERE contact = ?1", [contact.0], |row| {
        row.get(0).map(DeviceId::from_bytes)
    })
}

/// Whether a device of a contact has come in the place of another, by that one's word.
pub(crate) fn has_predecessor(view: &impl Query, contact: ContactRow, device: &DeviceId) -> Result<bool, StoreError> {
    let sql = "SELECT predecessor IS NOT NULL FROM peer_device WHERE contact = ?1 AND device = ?2";
    Ok(view.one(sql, params![contact.0, device.as_ref()], |row| row.get(0))?.unwrap_or(false))
}

/// Makes the rows say what the manifest says. Devices and inboxes that left keep their rows, unlisted: what was sent to them may
/// still be asked for.
pub(crate) fn list_devices(
    tx: &mut Tx<'_>,
    contact: ContactRow,
    manifest: &VerifiedManifest,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE peer_inbox SET listed = 0 WHERE peer_device IN (SELECT id FROM peer_device WHERE contact = ?1)",
        [contact.0],
    )?;
    tx.execute("UPDATE peer_device SET listed = 0 WHERE contact = ?1", [contact.0])?;
    let devices = others(tx, contact, manifest)?;
    for device in &devices {
        list_device(tx, contact, device)?;
    }
    let sql = "SELECT id FROM peer_device WHERE contact = ?1 AND listed = 0 AND left_at IS NULL";
    let left: Vec<_> = tx.all(sql, [contact.0], |row| row.get(0).map(DeviceRow))?;
    for device in &left {
        tx.execute("UPDATE peer_device SET left_at = ?2 WHERE id = ?1", params![device.0, ms(now)])?;
    }
    tx.execute(
        "UPDATE peer_inbox SET left_at = ?2 WHERE listed = 0 AND left_at IS NULL
         AND peer_device IN (SELECT id FROM peer_device WHERE contact = ?1)",
        params![contact.0, ms(now)],
    )?;
    for device in devices {
        heed_predecessor(tx, contact, manifest, device, &left, now)?;
    }
    outbox::again::leave_unlisted_inboxes(tx, contact)
}

/// A list that another one, the `newest`, has followed since: who is missing there has left, and by whose word others have come in their place. Of
/// those that it names without such a word nothing is known by that, so that they are as new in the newest as they would be without it.
pub(crate) fn follow(
    tx: &mut Tx<'_>,
    contact: ContactRow,
    list: &VerifiedManifest,
    newest: &VerifiedManifest,
    now: Timestamp,
) -> Result<(), StoreError> {
    let listed =
        tx.all("SELECT id, device FROM peer_device WHERE contact = ?1 AND listed = 1", [contact.0], |row| {
            Ok((DeviceRow(row.get(0)?), DeviceId::from_bytes(row.get(1)?)))
        })?;
    let mut left = Vec::new();
    for (row, id) in listed {
        if list.devices().iter().all(|device| device.id != id) {
            tx.execute("UPDATE peer_device SET listed = 0, left_at = ?2 WHERE id = ?1", params![row.0, ms(now)])?;
            left.push(row);
        }
    }
    for device in others(tx, contact, list)? {
        let Some(replaces) = device.replaces else { continue };
        let before = device_by_id(tx, contact, &replaces.device)?.filter(|before| left.contains(&before.row));
        let Some(before) = before else { continue };
        let comes_by_its_word = device.predecessor(list.account(), |_| Some(before.ed25519)).is_some();
        let is_another = |named: &Device| {
            named.id == device.id && (named.ed25519, named.curve25519) != (device.ed25519, device.curve25519)
        };
        if !comes_by_its_word
            || device_by_id(tx, contact, &device.id)?.is_some()
            || newest.devices().iter().any(is_another)
        {
            continue;
        }
        list_device(tx, contact, device)?;
        heed_predecessor(tx, contact, list, device, &left, now)?;
    }
    Ok(())
}

/// The devices of a list but this one.
fn others<'m>(
    view: &impl Query,
    contact: ContactRow,
    manifest: &'m VerifiedManifest,
) -> Result<Vec<&'m Device>, StoreError> {
    let own: Option<[u8; 16]> = view.one("SELECT device FROM account", [], |row| row.get(0))?;
    let is_this = |device: &&Device| contact == ContactRow::OWN && Some(*device.id.as_bytes()) == own;
    Ok(manifest.devices().iter().filter(|device| !is_this(device)).collect())
}

/// Whether what a device that has left the list said before is still taken: another has come in its place by its own word, within the epoch,
/// and relays may still hold what it said.
pub(crate) fn is_heard_out(view: &impl Query, device: DeviceRow, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM peer_device WHERE id = ?1 AND heard_out = 1 AND left_at > ?2";
    Ok(view.one(sql, params![device.0, ms(now.before(HEARD_OUT))], |_| Ok(()))?.is_some())
}

/// The root key has spoken for a later epoch: whatever stands in no list since then has nothing more to say (PROTOCOL B2).
pub(crate) fn hear_listed_only(tx: &mut Tx<'_>, contact: ContactRow) -> Result<(), StoreError> {
    tx.execute("UPDATE peer_device SET heard_out = 0 WHERE contact = ?1", [contact.0])?;
    Ok(())
}

/// A device that comes in the place of one that we know, by that one's word, gets what was for it: the first one, and only in the list in which
/// that one is missing for the first time and with which it `left`. Its word stays with whoever has a copy of it from before, also when another
/// has come already, or the account has removed it.
fn heed_predecessor(
    tx: &mut Tx<'_>,
    contact: ContactRow,
    manifest: &VerifiedManifest,
    device: &Device,
    left: &[DeviceRow],
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(replaces) = device.replaces else { return Ok(()) };
    let before = device_by_id(tx, contact, &replaces.device)?.filter(|before| left.contains(&before.row));
    let Some(before) = before else { return Ok(()) };
    if device.predecessor(manifest.account(), |_| Some(before.ed25519)).is_none() {
        tracing::warn!("a device claims another's place without its word");
        return Ok(());
    }
    let successor = device_by_id(tx, contact, &device.id)?.ok_or(StoreError::Corrupt)?.row;
    let is_news = tx.execute(
        "UPDATE peer_device SET predecessor = ?2 WHERE id = ?1 AND predecessor IS NULL
         AND NOT EXISTS (SELECT 1 FROM peer_device WHERE predecessor = ?2)",
        params![successor.0, before.row.0],
    )?;
    if is_news == 0 {
        return Ok(());
    }
    // However often a device is replaced, a day is a day.
    tx.execute(
        "UPDATE peer_device SET (answers, answers_since) = (SELECT answers, answers_since FROM peer_device WHERE id = ?2) WHERE id = ?1",
        params![successor.0, before.row.0],
    )?;
    tx.execute("UPDATE peer_device SET heard_out = 1 WHERE id = ?1", [before.row.0])?;
    tx.execute("UPDATE peer_device SET line = ?2 WHERE id = ?1", params![successor.0, before.line.0])?;
    // Whoever has a copy of the one before says nothing that stands above what this one says.
    let ordinals_end = stored(begins_behind(manifest.head().epoch, manifest.head().version));
    tx.execute("UPDATE peer_device SET ordinals_end = ?2 WHERE id = ?1", params![before.row.0, ordinals_end])?;
    // It may come from a copy of before our last change of the pair secret, of which the one before has confirmed all letters.
    tx.execute(
        "UPDATE peer_device SET pair_behind = 1 WHERE id = ?1
         AND EXISTS (SELECT 1 FROM contact WHERE contact.id = ?2 AND coalesce(pair_before, pair_last) IS NOT NULL)",
        params![successor.0, contact.0],
    )?;
    outbox::moved::succeed(tx, before.row, successor, now)
}

fn list_device(tx: &mut Tx<'_>, contact: ContactRow, device: &Device) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO peer_device (contact, device, ed25519, curve25519, listed) VALUES (?1, ?2, ?3, ?4, 1)
         ON CONFLICT (contact, device) DO UPDATE SET listed = 1, left_at = NULL, heard_out = 0",
        params![contact.0, device.id.as_ref(), device.ed25519, device.curve25519],
    )?;
    let row = device_by_id(tx, contact, &device.id)?.ok_or(StoreError::Corrupt)?.row;
    tx.execute("UPDATE peer_device SET line = id WHERE id = ?1 AND line = 0", [row.0])?;
    for (position, inbox) in device.inboxes.iter().enumerate() {
        tx.execute(
            "INSERT INTO peer_inbox (peer_device, position, relay, inbox, prekey_key, listed) VALUES (?1, ?2, ?3, ?4, ?5, 1)
             ON CONFLICT (peer_device, inbox) DO UPDATE SET position = ?2, relay = ?3, prekey_key = ?5, listed = 1, left_at = NULL",
            params![
                row.0,
                i64::try_from(position).unwrap_or(i64::MAX),
                inbox.relay.to_string(),
                inbox.inbox.as_ref(),
                inbox.prekey_key.as_bytes(),
            ],
        )?;
    }
    Ok(())
}
