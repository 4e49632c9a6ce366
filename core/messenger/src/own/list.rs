//! What the account's list of devices says, and signing it.

use std::time::Duration;

use sotto_crypto::certificate::Certificate;
use sotto_crypto::keys::ListKey;
use sotto_crypto::manifest::{
    Device, DeviceKind, InboxAddress, ManifestDraft, ManifestError, Predecessor, VerifiedManifest,
};
use sotto_crypto::secret::PrekeyKey;
use sotto_protocol::limits::MANIFEST_RENEWED;
use sotto_protocol::{AccountId, DeviceId, InboxId, Timestamp};

use super::chain::Chain;
use super::siblings;
use crate::contact::ContactRow;
use crate::error::Error;
use crate::prekey;
use crate::state::StateSeal;
use crate::store::{Query, StoreError, Tx};

/// Signs the account's current version for a chain.
pub(super) fn sign_manifest(
    tx: &Tx<'_>,
    seal: &StateSeal,
    purpose: Chain,
    previous: Option<[u8; 32]>,
    now: Timestamp,
) -> Result<VerifiedManifest, Error> {
    let row =
        tx.one("SELECT account, certificate, certificate_signature, version, device FROM account", [], |row| {
            Ok((
                AccountId::from_bytes(row.get(0)?),
                row.get::<_, Vec<u8>>(1)?,
                row.get::<_, Vec<u8>>(2)?,
                row.get(3)?,
                DeviceId::from_bytes(row.get(4)?),
            ))
        })?;
    let (account, certificate, signature, version, author) = row.ok_or(StoreError::Corrupt)?;
    let certificate = Certificate::verify(&account, certificate.into(), &signature).map_err(|_| StoreError::Corrupt)?;
    let (devices, audience) = (devices(tx)?, purpose.audience(author));
    let draft = ManifestDraft { certificate: &certificate, version, previous, devices: &devices, audience };
    draft.sign(&list_key(tx, seal)?, now).map_err(|error| breaks_a_rule(&error))
}

pub(super) fn list_key(view: &impl Query, seal: &StateSeal) -> Result<ListKey, StoreError> {
    let sealed: Option<Vec<u8>> = view.one("SELECT list_key_sealed FROM account", [], |row| row.get(0))?;
    seal.open("account.list_key", b"1", &sealed.ok_or(StoreError::Corrupt)?)
}

pub(super) fn breaks_a_rule(error: &ManifestError) -> Error {
    tracing::error!(%error, "our own manifest breaks a rule");
    StoreError::Corrupt.into()
}

/// Between the times at which one device of the account and the next renew the list: as a rule the first has, and the others have read it.
const AFTER_THE_OTHER: Duration = Duration::from_secs(6 * 3600);

/// When this device signs the list again that was signed at that time. Asked at every wake-up: rows say it, and no signature is checked.
pub(crate) fn list_due_at(view: &impl Query, issued_at: Timestamp, now: Timestamp) -> Result<Timestamp, StoreError> {
    let due_at = prekey::renewal_due_at(issued_at, MANIFEST_RENEWED, now);
    let sql =
        "SELECT count(*) FROM peer_device WHERE contact = ?1 AND listed = 1 AND device < (SELECT device FROM account)";
    let before_us: u32 = view.one(sql, [ContactRow::OWN.0], |row| row.get(0))?.unwrap_or(0);
    Ok(due_at.after(AFTER_THE_OTHER.saturating_mul(before_us)))
}

/// What the account's list is to say: of the other devices what it says already, of this one what this one says.
pub(super) fn devices(view: &impl Query) -> Result<Vec<Device>, StoreError> {
    let known = devices_known_here(view)?;
    let Some(committed) = siblings::list(view)? else { return Ok(known) };
    let gone = siblings::gone(view)?;
    let own: Option<[u8; 16]> = view.one("SELECT device FROM account", [], |row| row.get(0))?;
    let own = known.into_iter().find(|device| Some(*device.id.as_bytes()) == own).ok_or(StoreError::Corrupt)?;
    let is_replaced = |id: &DeviceId| own.replaces.is_some_and(|replaces| replaces.device == *id);
    let mut devices = committed.devices().to_vec();
    devices.retain(|device| !is_replaced(&device.id) && !gone.contains(&device.id));
    match devices.iter_mut().find(|device| device.id == own.id) {
        Some(listed) => *listed = own,
        None => devices.push(own),
    }
    Ok(devices)
}

fn devices_known_here(view: &impl Query) -> Result<Vec<Device>, StoreError> {
    let rows = view.all(
        "SELECT id, device, kind, ed25519, curve25519, added_at, replaces, replaces_signature FROM own_device ORDER BY id",
        [],
        |row| {
            let (replaces, signature): (Option<[u8; 16]>, Option<[u8; 64]>) = (row.get(6)?, row.get(7)?);
            let device = Device {
                id: DeviceId::from_bytes(row.get(1)?),
                kind: DeviceKind::try_from(row.get::<_, i32>(2)?).unwrap_or_default(),
                ed25519: row.get(3)?,
                curve25519: row.get(4)?,
                inboxes: Vec::new(),
                added_at: crate::store::column::timestamp(row.get(5)?),
                replaces: replaces
                    .zip(signature)
                    .map(|(device, signature)| Predecessor { device: DeviceId::from_bytes(device), signature }),
            };
            Ok((row.get::<_, i64>(0)?, device))
        },
    )?;
    let mut devices = Vec::with_capacity(rows.len());
    for (row, mut device) in rows {
        let inboxes = view.all(
            "SELECT relay, inbox, prekey_key FROM own_inbox WHERE own_device = ?1 AND leaving_at IS NULL ORDER BY position",
            [row],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, [u8; 32]>(2)?)),
        )?;
        for (relay, inbox, prekey_key) in inboxes {
            let relay = relay.parse().map_err(|_| StoreError::Corrupt)?;
            device.inboxes.push(InboxAddress {
                relay,
                inbox: InboxId::from_bytes(inbox),
                prekey_key: PrekeyKey::from_bytes(prekey_key),
            });
        }
        devices.push(device);
    }
    Ok(devices)
}
