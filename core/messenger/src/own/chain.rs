//! The chains of this account: the manifests that tell contacts, invited people and its own devices what it has.
//!
//! A manifest is signed by the list key, sealed for its audience and appended by the relay's task queue (`task`); the row in `own_chain`
//! is already what the relay will have, unless another device of the account writes there first (`own/agreement.rs`).

mod behind;
mod ends;
mod told;

use rusqlite::params;
use sotto_crypto::keys::WriteKey;
use sotto_crypto::manifest::{Audience, ManifestDraft, VerifiedManifest, seal_entry};
use sotto_crypto::secret::ChainKey;
use sotto_protocol::label::chain_entry_hash;
use sotto_protocol::{AccountId, Bytes, ChainId, DeviceId, RelayAddress, Timestamp, relay};

use super::list::{breaks_a_rule, list_key, sign_manifest};
use super::{Own, siblings};
use crate::error::Error;
use crate::state::StateSeal;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::task::{self, Subject};
use crate::world::Chance;

pub(crate) use behind::{begin_behind, end_of_chain, ends_of_chains};
pub(crate) use ends::{chain_is_gone, delete};
pub(super) use ends::{close_contacts_before, close_former, forget_retired};
pub(crate) use told::{
    contacts_card, contacts_manifest, head_for, is_told_of_chain, know_no_chain, knows_no_chain,
    newcomers_know_no_chain, tell_newcomers_of_chain,
};

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

    pub(super) const fn audience(self, author: DeviceId) -> Audience {
        match self {
            Self::OwnDevices | Self::OwnDevicesBefore => Audience::OwnDevices { author },
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
    let manifest = sign_manifest(tx, seal, purpose, None, now)?;
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
        "INSERT INTO own_chain (audience, relay, chain, chain_key, write_key_sealed, epoch, version, hash, entry_hash, manifest, signed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?8)",
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

/// The account's next manifest. Its own chain is where it is decided (PROTOCOL B2, B4): as long as no other device writes there the others
/// follow at once, else when it is known to stand there.
pub(crate) fn renew_manifest(
    tx: &mut Tx<'_>,
    seal: &StateSeal,
    batch: i64,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let own = rows(tx)?.into_iter().find(|row| row.purpose == Chain::OwnDevices).ok_or(StoreError::Corrupt)?;
    if !holds_list_key(tx, own.order.0)? {
        return Ok(());
    }
    tx.execute("UPDATE account SET version = version + 1, issued_at = ?1", [ms(now)])?;
    let manifest = sign_manifest(tx, seal, Chain::OwnDevices, Some(own.hash), now)?;
    append(tx, batch, &own, &manifest, chance)?;
    if siblings::are_none(tx)? { project(tx, seal, batch, chance) } else { Ok(()) }
}

/// Whether the list key of that epoch is ours to sign with. That of an epoch which another device has begun comes from there.
fn holds_list_key(view: &impl Query, epoch: u32) -> Result<bool, StoreError> {
    Ok(view.one("SELECT epoch >= ?1 FROM account", [epoch], |row| row.get(0))?.unwrap_or(false))
}

/// Writes what the account's own list says to the chains of all others that say less. A projection is the same, whichever device makes it:
/// who comes second finds what it would have written.
pub(super) fn project(tx: &mut Tx<'_>, seal: &StateSeal, batch: i64, chance: &mut Chance<'_>) -> Result<(), Error> {
    let list = own_list(tx)?;
    let order = list.head().order();
    if !holds_list_key(tx, order.0)? {
        return Ok(());
    }
    let list_key = list_key(tx, seal)?;
    let mut written: Vec<(Chain, VerifiedManifest)> = vec![(Chain::OwnDevices, list.clone())];
    for row in rows(tx)? {
        let is_closed = row.last_epoch.is_some_and(|last| row.order.0 >= last);
        if row.purpose == Chain::OwnDevices || row.order >= order || is_closed {
            continue;
        }
        let twin = written.iter().find(|(of, _)| Some(*of) == row.purpose.follows()).map(|(_, twin)| twin.clone());
        let manifest = match (twin, row.purpose.follows()) {
            (Some(twin), _) => twin,
            // The chain that it follows has it already.
            (None, Some(followed)) => newest_of(tx, followed)?,
            (None, None) => {
                let draft = ManifestDraft {
                    certificate: list.certificate(),
                    version: order.1,
                    previous: Some(row.hash),
                    devices: list.devices(),
                    audience: Audience::Others,
                };
                draft.sign(&list_key, list.issued_at()).map_err(|error| breaks_a_rule(&error))?
            }
        };
        written.push((row.purpose, manifest.clone()));
        append(tx, batch, &row, &manifest, chance)?;
    }
    Ok(())
}

/// A chain that is alive, as far as it was written.
pub(super) struct Row {
    row: i64,
    pub(super) purpose: Chain,
    relay: RelayAddress,
    pub(super) chain: ChainId,
    key: ChainKey,
    pub(super) order: (u32, u32),
    pub(super) hash: [u8; 32],
    entry_hash: [u8; 32],
    /// Somebody reads it who is to learn of nothing behind the first list of that epoch.
    last_epoch: Option<u32>,
}

pub(super) fn rows(view: &impl Query) -> Result<Vec<Row>, StoreError> {
    let rows = view.all(
        "SELECT id, audience, relay, chain, chain_key, epoch, version, hash, entry_hash, last_epoch FROM own_chain WHERE audience != 3 ORDER BY audience, id",
        [],
        |row| {
            let (audience, relay): (i64, String) = (row.get(1)?, row.get(2)?);
            let (chain, key): ([u8; 32], [u8; 32]) = (row.get(3)?, row.get(4)?);
            let order = (row.get(5)?, row.get(6)?);
            Ok((row.get::<_, i64>(0)?, audience, relay, chain, key, order, row.get(7)?, row.get(8)?, row.get(9)?))
        },
    )?;
    rows.into_iter()
        .map(|(row, audience, relay, chain, key, order, hash, entry_hash, last_epoch)| {
            Ok(Row {
                row,
                purpose: Chain::from_code(audience)?,
                relay: relay.parse().map_err(|_| StoreError::Corrupt)?,
                chain: ChainId::from_bytes(chain),
                key: ChainKey::from_bytes(key),
                order,
                hash,
                entry_hash,
                last_epoch,
            })
        })
        .collect()
}

/// What is queued for a chain stands there now.
pub(super) fn stands(tx: &mut Tx<'_>, chain: &ChainId) -> Result<(), StoreError> {
    tx.execute("UPDATE own_chain SET stood_epoch = epoch, stood_version = version WHERE chain = ?1", [chain.as_ref()])
        .map(drop)
}

/// What this device knows of the lists in the account's own chain.
pub(crate) struct Signed {
    /// Epoch and version of the last one that is known to have stood there.
    stood: (u32, u32),
    /// Hashes of the newest one, and of the last 64 that were signed here: also of those that another device's came before. The relay that did
    /// not take them has them all the same, and may show them later.
    hashes: Vec<[u8; 32]>,
}

impl Signed {
    /// Whether a list that stands there now, behind all that is known to have stood there, was signed elsewhere.
    pub(crate) fn lacks(&self, list: &VerifiedManifest) -> bool {
        let head = list.head();
        head.order() > self.stood && !self.hashes.contains(&head.hash)
    }
}

pub(crate) fn signed(view: &impl Query) -> Result<Signed, StoreError> {
    let sql = "SELECT stood_epoch, stood_version, signed, hash FROM own_chain WHERE audience = ?1";
    let found = view.one(sql, [Chain::OwnDevices.code()], |row| {
        let (signed, newest): (Vec<u8>, [u8; 32]) = (row.get(2)?, row.get(3)?);
        let hashes = signed.as_chunks().0.iter().copied().chain([newest]).collect();
        Ok(Signed { stood: (row.get(0)?, row.get(1)?), hashes })
    })?;
    found.ok_or(StoreError::Corrupt)
}

/// Queues a manifest behind the last of a chain. Where another device may have written there meanwhile, nobody is told of it before it is
/// known to stand.
fn append(
    tx: &mut Tx<'_>,
    batch: i64,
    row: &Row,
    manifest: &VerifiedManifest,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let is_alone = siblings::are_none(tx)?;
    let entry = seal_entry(manifest, &row.chain, &row.key, chance);
    let head = manifest.head();
    tx.execute(
        "UPDATE own_chain SET epoch = ?2, version = ?3, hash = ?4, entry_hash = ?5, manifest = ?6, told = iif(?7, NULL, coalesce(told, manifest)),
             signed = substr(CAST(signed || ?4 AS BLOB), -2048) WHERE id = ?1",
        params![
            row.row,
            head.epoch,
            head.version,
            head.hash,
            chain_entry_hash(&row.entry_hash, &entry),
            manifest.bytes().as_ref(),
            is_alone,
        ],
    )?;
    let body = relay::ChainAppend {
        chain: row.chain.into(),
        previous: Bytes::copy_from_slice(&row.entry_hash),
        entry: entry.into(),
        ..relay::ChainAppend::default()
    };
    task::queue(tx, batch, &row.relay, Subject::Chain(row.chain), task::Kind::ChainAppend, &body)
}

/// The newest list of a chain that we know, whether or not it is known to stand there.
fn newest_of(view: &impl Query, purpose: Chain) -> Result<VerifiedManifest, StoreError> {
    let found = view.one(
        "SELECT account.account, own_chain.manifest FROM own_chain, account WHERE audience = ?1",
        [purpose.code()],
        |row| Ok((AccountId::from_bytes(row.get(0)?), row.get::<_, Vec<u8>>(1)?)),
    )?;
    let (account, manifest) = found.ok_or(StoreError::Corrupt)?;
    VerifiedManifest::reload(&account, manifest.into()).map_err(|_| StoreError::Corrupt)
}

/// The newest list of the account that we know.
pub(super) fn own_list(view: &impl Query) -> Result<VerifiedManifest, StoreError> {
    newest_of(view, Chain::OwnDevices)
}

/// Who reads the chains of ours at a relay.
pub(super) fn at(view: &impl Query, relay: &RelayAddress) -> Result<Vec<Chain>, StoreError> {
    let codes = view.all("SELECT audience FROM own_chain WHERE relay = ?1", [relay.to_string()], |row| row.get(0))?;
    codes.into_iter().map(Chain::from_code).collect()
}

/// An audience is led to another chain: it goes on from the manifest at the head of the old one, which is written to, unless that is closed,
/// until nobody is waited for any longer who has not heard of it.
pub(super) fn move_chain(
    tx: &mut Tx<'_>,
    batch: i64,
    purpose: Chain,
    relay: &RelayAddress,
    seal: &StateSeal,
    ends_at: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let manifest = newest_of(tx, purpose)?;
    let before = if purpose == Chain::OwnDevices { Chain::OwnDevicesBefore } else { Chain::ContactsBefore };
    tx.execute(
        "UPDATE own_chain SET audience = ?2, ends_at = ?3 WHERE audience = ?1",
        params![purpose.code(), before.code(), ms(ends_at)],
    )?;
    if purpose == Chain::Contacts {
        told::lists_have_moved(tx)?;
    }
    let (chain, key) = (ChainId::from_bytes(chance.bytes()), ChainKey::generate(chance));
    begin_with(tx, batch, purpose, relay, chain, &key, seal, &manifest, chance)?;
    if purpose == Chain::OwnDevices { Ok(siblings::chain_moved(tx)?) } else { Ok(()) }
}

/// Where a chain of ours stands.
pub(super) fn relay_of(view: &impl Query, purpose: Chain) -> Result<RelayAddress, StoreError> {
    let sql = "SELECT relay FROM own_chain WHERE audience = ?1";
    let relay: Option<String> = view.one(sql, [purpose.code()], |row| row.get(0))?;
    relay.ok_or(StoreError::Corrupt)?.parse().map_err(|_| StoreError::Corrupt)
}

/// The key that writes one of our chains.
pub(crate) fn write_key(view: &impl Query, seal: &StateSeal, chain: &ChainId) -> Result<Option<WriteKey>, StoreError> {
    let sealed: Option<Vec<u8>> =
        view.one("SELECT write_key_sealed FROM own_chain WHERE chain = ?1", [chain.as_ref()], |row| row.get(0))?;
    sealed.map(|sealed| seal.open("own_chain.write_key", chain.as_ref(), &sealed)).transpose()
}
