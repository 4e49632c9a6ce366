//! The chains of this account: the manifests that tell contacts, invited people and its own devices what it has.
//!
//! A manifest is signed by the list key, sealed for its audience and appended by the relay's task queue (`task`); the row in `own_chain`
//! is already what the relay will have.

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::certificate::Certificate;
use sotto_crypto::keys::{ListKey, WriteKey};
use sotto_crypto::letter::Card;
use sotto_crypto::manifest::{
    Audience, Device, DeviceKind, Head, InboxAddress, ManifestDraft, Predecessor, VerifiedManifest, seal_entry,
};
use sotto_crypto::secret::{ChainKey, PrekeyKey};
use sotto_protocol::label::chain_entry_hash;
use sotto_protocol::{AccountId, Bytes, ChainId, DeviceId, InboxId, RelayAddress, Timestamp, relay};

use super::Own;
use crate::error::Error;
use crate::state::StateSeal;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::task::{self, Subject};
use crate::world::Chance;

/// Who reads a chain that we write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Chain {
    OwnDevices,
    Contacts,
    Invite,
    /// Nobody any more: kept until its relay has deleted it.
    Gone,
    /// Contacts who have not all heard where their chain is now.
    ContactsBefore,
    /// Own devices, likewise.
    OwnDevicesBefore,
}

impl Chain {
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::OwnDevices => 0,
            Self::Contacts => 1,
            Self::Invite => 2,
            Self::Gone => 3,
            Self::ContactsBefore => 4,
            Self::OwnDevicesBefore => 5,
        }
    }

    pub(super) fn from_code(code: i64) -> Result<Self, StoreError> {
        let all =
            [Self::OwnDevices, Self::Contacts, Self::Invite, Self::Gone, Self::ContactsBefore, Self::OwnDevicesBefore];
        all.into_iter().find(|chain| chain.code() == code).ok_or(StoreError::Corrupt)
    }

    /// The chain whose manifests stand in it too, byte for byte: whoever reads either knows the same heads.
    const fn follows(self) -> Option<Self> {
        match self {
            Self::ContactsBefore => Some(Self::Contacts),
            Self::OwnDevicesBefore => Some(Self::OwnDevices),
            Self::OwnDevices | Self::Contacts | Self::Invite | Self::Gone => None,
        }
    }

    const fn audience(self) -> Audience {
        match self {
            Self::OwnDevices | Self::OwnDevicesBefore => Audience::OwnDevices,
            Self::Contacts | Self::Invite | Self::Gone | Self::ContactsBefore => Audience::Others,
        }
    }
}

/// Begins a chain with the account's current manifest and queues its first entry. Returns its row.
#[expect(clippy::too_many_arguments, reason = "each is a part of the chain's first entry")]
pub(crate) fn begin_chain(
    tx: &mut Tx<'_>,
    batch: i64,
    purpose: Chain,
    relay: &RelayAddress,
    chain: ChainId,
    key: &ChainKey,
    seal: &StateSeal,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<i64, Error> {
    let manifest = sign_manifest(tx, seal, purpose.audience(), None, now)?;
    begin_with(tx, batch, purpose, relay, chain, key, seal, &manifest, chance)
}

/// Begins a chain with a manifest that is signed already.
#[expect(clippy::too_many_arguments, reason = "each is a part of the chain's first entry")]
fn begin_with(
    tx: &mut Tx<'_>,
    batch: i64,
    purpose: Chain,
    relay: &RelayAddress,
    chain: ChainId,
    key: &ChainKey,
    seal: &StateSeal,
    manifest: &VerifiedManifest,
    chance: &mut Chance<'_>,
) -> Result<i64, Error> {
    let entry = seal_entry(manifest, &chain, key, chance);
    let head = manifest.head();
    let write_key = WriteKey::generate(chance);
    let row = tx.insert(
        "INSERT INTO own_chain (audience, relay, chain, chain_key, write_key_sealed, epoch, version, hash, entry_hash, manifest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            purpose.code(),
            relay.to_string(),
            chain.as_ref(),
            key.as_bytes(),
            seal.seal("own_chain.write_key", chain.as_ref(), &write_key, chance),
            head.epoch,
            head.version,
            head.hash,
            chain_entry_hash(&[], &entry),
            manifest.bytes().as_ref(),
        ],
    )?;
    let body = relay::ChainAppend {
        chain: chain.into(),
        previous: Bytes::new(),
        entry: entry.into(),
        ..relay::ChainAppend::default()
    };
    task::queue(tx, batch, relay, Subject::Chain(chain), task::Kind::ChainAppend, &body)?;
    Ok(row)
}

/// The account's next manifest, in every chain that is alive: its entries are queued. The version goes up by one in all of them.
pub(crate) fn renew_manifest(
    tx: &mut Tx<'_>,
    seal: &StateSeal,
    batch: i64,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    tx.execute("UPDATE account SET version = version + 1, issued_at = ?1", [ms(now)])?;
    let chains = tx.all(
        "SELECT id, audience, relay, chain, chain_key, hash, entry_hash FROM own_chain WHERE audience != 3 ORDER BY audience, id",
        [],
        |row| {
            let (audience, relay): (i64, String) = (row.get(1)?, row.get(2)?);
            let (chain, key, hash, entry_hash): ([u8; 32], [u8; 32], [u8; 32], [u8; 32]) =
                (row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?);
            Ok((
                row.get::<_, i64>(0)?,
                audience,
                relay,
                ChainId::from_bytes(chain),
                ChainKey::from_bytes(key),
                hash,
                entry_hash,
            ))
        },
    )?;
    let mut signed: Vec<(Chain, VerifiedManifest)> = Vec::new();
    for (row, audience, relay, chain, key, hash, entry_hash) in chains {
        let purpose = Chain::from_code(audience)?;
        let twin = signed.iter().find(|(of, _)| Some(*of) == purpose.follows()).map(|(_, manifest)| manifest.clone());
        let manifest = match twin {
            Some(manifest) => manifest,
            None => sign_manifest(tx, seal, purpose.audience(), Some(hash), now)?,
        };
        signed.push((purpose, manifest.clone()));
        let entry = seal_entry(&manifest, &chain, &key, chance);
        let head = manifest.head();
        tx.execute(
            "UPDATE own_chain SET epoch = ?2, version = ?3, hash = ?4, entry_hash = ?5, manifest = ?6 WHERE id = ?1",
            params![
                row,
                head.epoch,
                head.version,
                head.hash,
                chain_entry_hash(&entry_hash, &entry),
                manifest.bytes().as_ref()
            ],
        )?;
        let body = relay::ChainAppend {
            chain: chain.into(),
            previous: Bytes::copy_from_slice(&entry_hash),
            entry: entry.into(),
            ..relay::ChainAppend::default()
        };
        let relay = relay.parse().map_err(|_| StoreError::Corrupt)?;
        task::queue(tx, batch, &relay, Subject::Chain(chain), task::Kind::ChainAppend, &body)?;
    }
    Ok(())
}

/// Who reads the chains of ours at a relay.
pub(super) fn at(view: &impl Query, relay: &RelayAddress) -> Result<Vec<Chain>, StoreError> {
    let codes = view.all("SELECT audience FROM own_chain WHERE relay = ?1", [relay.to_string()], |row| row.get(0))?;
    codes.into_iter().map(Chain::from_code).collect()
}

/// An audience's chain moves to another relay: the new one goes on from the manifest at the head of the old one, which is written to until
/// nobody is waited for any longer who has not heard of it.
pub(super) fn move_chain(
    tx: &mut Tx<'_>,
    batch: i64,
    purpose: Chain,
    relay: &RelayAddress,
    seal: &StateSeal,
    ends_at: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let newest = tx.one(
        "SELECT account.account, own_chain.manifest FROM own_chain, account WHERE audience = ?1",
        [purpose.code()],
        |row| Ok((AccountId::from_bytes(row.get(0)?), row.get::<_, Vec<u8>>(1)?)),
    )?;
    let (account, manifest) = newest.ok_or(StoreError::Corrupt)?;
    let manifest = VerifiedManifest::reload(&account, manifest.into()).map_err(|_| StoreError::Corrupt)?;
    let before = if purpose == Chain::OwnDevices { Chain::OwnDevicesBefore } else { Chain::ContactsBefore };
    tx.execute(
        "UPDATE own_chain SET audience = ?2, ends_at = ?3 WHERE audience = ?1",
        params![purpose.code(), before.code(), ms(ends_at)],
    )?;
    let (chain, key) = (ChainId::from_bytes(chance.bytes()), ChainKey::generate(chance));
    begin_with(tx, batch, purpose, relay, chain, &key, seal, &manifest, chance).map(drop)
}

/// Deletes chains that were retired long enough ago, and gives up those whose relay has not deleted them since.
pub(super) fn forget_retired(tx: &mut Tx<'_>, now: Timestamp, deleted_within: Duration) -> Result<(), StoreError> {
    let over = tx.all("SELECT relay, chain, audience FROM own_chain WHERE ends_at <= ?1", [ms(now)], |row| {
        Ok((row.get::<_, String>(0)?, ChainId::from_bytes(row.get(1)?), row.get::<_, i64>(2)?))
    })?;
    for (relay, chain, audience) in over {
        if audience == Chain::Gone.code() {
            tx.execute("DELETE FROM relay_task WHERE subject = ?1", [chain.as_ref()])?;
            chain_is_gone(tx, &chain)?;
        } else {
            let relay = relay.parse().map_err(|_| StoreError::Corrupt)?;
            delete(tx, &relay, &chain, now.after(deleted_within))?;
        }
    }
    Ok(())
}

/// Has a chain deleted that nobody reads any more. Its key must outlive the call: the row goes when the chain is gone, or its relay is given
/// up.
pub(crate) fn delete(
    tx: &mut Tx<'_>,
    relay: &RelayAddress,
    chain: &ChainId,
    ends_at: Timestamp,
) -> Result<(), StoreError> {
    task::forget_chain(tx, chain)?;
    let (batch, body) = (task::new_batch(tx)?, relay::ChainDelete { chain: (*chain).into() });
    task::queue(tx, batch, relay, Subject::Chain(*chain), task::Kind::ChainDelete, &body)?;
    tx.execute(
        "UPDATE own_chain SET audience = ?2, ends_at = ?3 WHERE chain = ?1",
        params![chain.as_ref(), Chain::Gone.code(), ms(ends_at)],
    )?;
    Ok(())
}

/// A chain's relay has another head than we wrote: from now on the chain is the newest manifest as a snapshot in place of everything up to
/// that head, which is empty where the chain is gone. What was queued for it is in there.
pub(crate) fn begin_behind(
    tx: &mut Tx<'_>,
    chain: &ChainId,
    head: &[u8],
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let row = tx.one(
        "SELECT relay, chain_key, manifest FROM own_chain WHERE chain = ?1 AND audience != 3",
        [chain.as_ref()],
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, Vec<u8>>(2)?)),
    )?;
    let Some((relay, key, manifest)) = row else { return Ok(()) };
    let account =
        tx.one("SELECT account FROM account", [], |row| row.get::<_, [u8; 32]>(0))?.ok_or(StoreError::Corrupt)?;
    let manifest =
        VerifiedManifest::reload(&AccountId::from_bytes(account), manifest.into()).map_err(|_| StoreError::Corrupt)?;
    // Behind that head, so that who has read up to it finds something new.
    let key = ChainKey::from_bytes(key);
    let batch = task::newest_batch(tx, chain)?.map_or_else(|| task::new_batch(tx), Ok)?;
    let relay = relay.parse().map_err(|_| StoreError::Corrupt)?;
    let entry = seal_entry(&manifest, chain, &key, chance);
    let behind = chain_entry_hash(head, &entry);
    task::forget_chain(tx, chain)?;
    tx.execute("UPDATE own_chain SET entry_hash = ?2 WHERE chain = ?1", params![chain.as_ref(), behind])?;
    let append = relay::ChainAppend {
        chain: (*chain).into(),
        previous: Bytes::copy_from_slice(head),
        entry: entry.into(),
        ..relay::ChainAppend::default()
    };
    task::queue(tx, batch, &relay, Subject::Chain(*chain), task::Kind::ChainAppend, &append)?;
    let compact = relay::ChainCompact {
        chain: (*chain).into(),
        head: Bytes::copy_from_slice(&behind),
        snapshot: seal_entry(&manifest, chain, &key, chance).into(),
    };
    task::queue(tx, batch, &relay, Subject::Chain(*chain), task::Kind::ChainCompact, &compact)
}

/// Our chains at a relay, with the hash of the last entry that we wrote.
pub(crate) fn ends_of_chains(view: &impl Query, relay: &str) -> Result<Vec<(ChainId, [u8; 32])>, StoreError> {
    view.all("SELECT chain, entry_hash FROM own_chain WHERE relay = ?1 AND audience != 3", [relay], |row| {
        Ok((ChainId::from_bytes(row.get(0)?), row.get(1)?))
    })
}

/// The hash of the last entry that we wrote to a chain.
pub(crate) fn end_of_chain(view: &impl Query, chain: &ChainId) -> Result<Option<[u8; 32]>, StoreError> {
    view.one("SELECT entry_hash FROM own_chain WHERE chain = ?1", [chain.as_ref()], |row| row.get(0))
}

/// Signs the account's current version for an audience.
fn sign_manifest(
    tx: &Tx<'_>,
    seal: &StateSeal,
    audience: Audience,
    previous: Option<[u8; 32]>,
    now: Timestamp,
) -> Result<VerifiedManifest, Error> {
    let row = tx.one(
        "SELECT account, list_key_sealed, certificate, certificate_signature, version FROM account",
        [],
        |row| {
            Ok((
                row.get::<_, [u8; 32]>(0)?,
                row.get::<_, Vec<u8>>(1)?,
                row.get::<_, Vec<u8>>(2)?,
                row.get::<_, Vec<u8>>(3)?,
                row.get(4)?,
            ))
        },
    )?;
    let (account, list_key, certificate, signature, version) = row.ok_or(StoreError::Corrupt)?;
    let list_key: ListKey = seal.open("account.list_key", b"1", &list_key)?;
    let certificate = Certificate::verify(&AccountId::from_bytes(account), certificate.into(), &signature)
        .map_err(|_| StoreError::Corrupt)?;
    let devices = devices(tx)?;
    let draft = ManifestDraft { certificate: &certificate, version, previous, devices: &devices, audience };
    draft.sign(&list_key, now).map_err(|error| {
        tracing::error!(%error, "our own manifest breaks a rule");
        StoreError::Corrupt.into()
    })
}

fn devices(tx: &Tx<'_>) -> Result<Vec<Device>, StoreError> {
    let rows = tx.all(
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
        let inboxes = tx.all(
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

/// The card that contacts get, with the head of its chain.
pub(crate) fn contacts_card(view: &impl Query, own: &Own) -> Result<(Card, Head), StoreError> {
    let card = view.one(
        "SELECT relay, chain, chain_key, epoch, version, hash FROM own_chain WHERE audience = ?1",
        [Chain::Contacts.code()],
        |row| {
            let (relay, chain, key): (String, [u8; 32], [u8; 32]) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let head = Head { epoch: row.get(3)?, version: row.get(4)?, hash: row.get(5)? };
            Ok((relay, ChainId::from_bytes(chain), ChainKey::from_bytes(key), head))
        },
    )?;
    let (relay, chain, chain_key, head) = card.ok_or(StoreError::Corrupt)?;
    let relay = relay.parse().map_err(|_| StoreError::Corrupt)?;
    Ok((Card { account: own.account, relay, chain, chain_key }, head))
}

/// The manifest at the head of the contacts' chain, as it was signed: signing that version again with another date would be a fork.
pub(crate) fn contacts_manifest(view: &impl Query) -> Result<Bytes, StoreError> {
    let manifest: Option<Vec<u8>> =
        view.one("SELECT manifest FROM own_chain WHERE audience = ?1", [Chain::Contacts.code()], |row| row.get(0))?;
    Ok(manifest.ok_or(StoreError::Corrupt)?.into())
}

/// Its relay has deleted a chain that nobody reads any more.
pub(crate) fn chain_is_gone(tx: &mut Tx<'_>, chain: &ChainId) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM own_chain WHERE chain = ?1 AND audience = ?2",
        params![chain.as_ref(), Chain::Gone.code()],
    )?;
    Ok(())
}

/// The key that writes one of our chains.
pub(crate) fn write_key(view: &impl Query, seal: &StateSeal, chain: &ChainId) -> Result<Option<WriteKey>, StoreError> {
    let sealed: Option<Vec<u8>> =
        view.one("SELECT write_key_sealed FROM own_chain WHERE chain = ?1", [chain.as_ref()], |row| row.get(0))?;
    sealed.map(|sealed| seal.open("own_chain.write_key", chain.as_ref(), &sealed)).transpose()
}
