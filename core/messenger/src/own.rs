//! This account and device: identity, inboxes, keys, and the chains that tell others of them.
//!
//! [`Own`] is what never changes while the engine runs, read once when it opens; what changes (the Olm account, chain heads, cursors)
//! is read where it is used, inside the transaction that changes it.
//! Order for a new inbox (PROTOCOL B6): create, tokens, bundle and prekeys, then the manifest that names it.

use rusqlite::params;
use sotto_crypto::Party;
use sotto_crypto::certificate::{Certificate, Epoch};
use sotto_crypto::keys::{ListKey, ManageKey, OwnerKey, RootKey, SignedCall, WriteKey};
use sotto_crypto::letter::Card;
use sotto_crypto::manifest::{
    Audience, Device, DeviceKind, Head, InboxAddress, ManifestDraft, VerifiedManifest, seal_entry,
};
use sotto_crypto::olm::OlmAccount;
use sotto_crypto::secret::{ChainKey, PrekeyKey};
use sotto_protocol::label::chain_entry_hash;
use sotto_protocol::request::Authorization;
use sotto_protocol::{AccountId, Bytes, ChainId, DeviceId, InboxId, RelayAddress, RelayName, Timestamp, relay};

use crate::error::Error;
use crate::relay_client::Signer;
use crate::state::StateSeal;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::task::{self, Subject};
use crate::world::{Chance, Rng};

/// An inbox of this device.
#[derive(Clone)]
pub(crate) struct OwnInbox {
    pub(crate) row: i64,
    pub(crate) relay: RelayAddress,
    pub(crate) inbox: InboxId,
    pub(crate) prekey_key: PrekeyKey,
    pub(crate) owner_key: OwnerKey,
    pub(crate) manage_key: ManageKey,
    /// What the relay's operator wants to see of new users; empty where nothing.
    pub(crate) relay_code: String,
}

impl OwnInbox {
    fn generate(row: i64, relay: RelayAddress, relay_code: String, chance: &mut Chance<'_>) -> Self {
        Self {
            row,
            relay,
            inbox: InboxId::from_bytes(chance.bytes()),
            prekey_key: PrekeyKey::generate(chance),
            owner_key: OwnerKey::generate(chance),
            manage_key: ManageKey::generate(chance),
            relay_code,
        }
    }

    /// The call that makes it, signed by the owner key.
    pub(crate) fn create_call(&self) -> relay::InboxCreate {
        relay::InboxCreate {
            inbox: self.inbox.into(),
            owner_key: Bytes::copy_from_slice(&self.owner_key.public()),
            manage_key: Bytes::copy_from_slice(&self.manage_key.public()),
            invite_code: self.relay_code.clone(),
            ..Default::default()
        }
    }
}

macro_rules! signers {
    ($($key:ident),*) => {$(
        impl Signer for $key {
            fn authorize(&self, relay: &RelayName, path: &str, body: &[u8], time: Timestamp, rng: &dyn Rng) -> Authorization {
                $key::authorize(self, &SignedCall { relay, path, body }, time, &mut Chance(rng))
            }
        }
    )*};
}

signers!(OwnerKey, ManageKey, WriteKey);

/// What stays the same while the engine runs.
pub(crate) struct Own {
    pub(crate) account: AccountId,
    pub(crate) party: Party,
    pub(crate) inboxes: Vec<OwnInbox>,
    pub(crate) seal: StateSeal,
}

impl Own {
    /// Our inbox of that id.
    pub(crate) fn inbox(&self, inbox: &InboxId) -> Option<&OwnInbox> {
        self.inboxes.iter().find(|own| own.inbox == *inbox)
    }

    /// Our inboxes at a relay.
    pub(crate) fn inboxes_at<'a>(&'a self, relay: &'a RelayAddress) -> impl Iterator<Item = &'a OwnInbox> {
        self.inboxes.iter().filter(move |own| own.relay == *relay)
    }
}

/// An account about to be made: everything drawn, nothing stored.
pub(crate) struct NewAccount {
    pub(crate) root: RootKey,
    list_key: ListKey,
    olm: OlmAccount,
    device: DeviceId,
    pub(crate) inboxes: Vec<OwnInbox>,
}

impl NewAccount {
    /// Draws all keys.
    pub(crate) fn generate(
        relays: &[RelayAddress],
        relay_codes: &[String],
        now: Timestamp,
        chance: &mut Chance<'_>,
    ) -> Self {
        let codes = relay_codes.iter().cloned().chain(std::iter::repeat_with(String::new));
        let relays = relays.iter().cloned().zip(codes);
        Self {
            root: RootKey::generate(chance),
            list_key: ListKey::generate(chance),
            olm: OlmAccount::generate(now),
            device: DeviceId::from_bytes(chance.bytes()),
            inboxes: (1..)
                .zip(relays)
                .map(|(row, (relay, code))| OwnInbox::generate(row, relay, code, chance))
                .collect(),
        }
    }

    /// Stores it and queues what its relays and chains must hear.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the account's first rows")]
    pub(crate) fn store(
        &self,
        tx: &mut Tx<'_>,
        batch: i64,
        name: &str,
        kind: DeviceKind,
        seal: &StateSeal,
        now: Timestamp,
        chance: &mut Chance<'_>,
    ) -> Result<(), Error> {
        let home = self
            .inboxes
            .first()
            .map(|inbox| inbox.relay.clone())
            .ok_or(crate::error::InputError::Empty { what: "the list of relays" })?;
        let epoch = Epoch { number: 1, list_key: self.list_key.public(), continues: None, home: home.clone() };
        let certificate = Certificate::issue(&self.root, epoch, now);
        tx.execute(
            "INSERT INTO account (id, account, name, list_key_sealed, certificate, certificate_signature, epoch, version, issued_at, device, olm_sealed)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, 1, 1, ?6, ?7, ?8)",
            params![
                self.root.account().as_ref(),
                name,
                seal.seal("account.list_key", b"1", &self.list_key, chance),
                certificate.bytes().as_ref(),
                certificate.signature(),
                ms(now),
                self.device.as_ref(),
                seal.seal("account.olm", b"1", &self.olm, chance),
            ],
        )?;
        tx.execute(
            "INSERT INTO own_device (id, device, kind, ed25519, curve25519, added_at) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            params![self.device.as_ref(), i32::from(kind), self.olm.ed25519(), self.olm.curve25519(), ms(now)],
        )?;
        for (position, inbox) in (0_i64..).zip(&self.inboxes) {
            tx.execute(
                "INSERT INTO own_inbox (id, own_device, position, relay, inbox, prekey_key, owner_key_sealed, manage_key_sealed, relay_code)
                 VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    inbox.row,
                    position,
                    inbox.relay.to_string(),
                    inbox.inbox.as_ref(),
                    inbox.prekey_key.as_bytes(),
                    seal.seal("own_inbox.owner_key", inbox.inbox.as_ref(), &inbox.owner_key, chance),
                    seal.seal("own_inbox.manage_key", inbox.inbox.as_ref(), &inbox.manage_key, chance),
                    inbox.relay_code,
                ],
            )?;
        }
        for purpose in [Chain::OwnDevices, Chain::Contacts] {
            let chain = ChainId::from_bytes(chance.bytes());
            begin_chain(tx, batch, purpose, &home, chain, &ChainKey::generate(chance), seal, now, chance)?;
        }
        Ok(())
    }
}

/// Reads what stays the same.
pub(crate) fn load(view: &impl Query, seal: StateSeal) -> Result<Own, StoreError> {
    let account = view.one(
        "SELECT account, device, ed25519, curve25519 FROM account JOIN own_device USING (device)",
        [],
        |row| {
            Ok(Party {
                account: AccountId::from_bytes(row.get(0)?),
                device: DeviceId::from_bytes(row.get(1)?),
                ed25519: row.get(2)?,
                curve25519: row.get(3)?,
            })
        },
    )?;
    let party = account.ok_or(StoreError::Corrupt)?;
    let rows = view.all(
        "SELECT id, relay, inbox, prekey_key, owner_key_sealed, manage_key_sealed, relay_code FROM own_inbox WHERE owner_key_sealed IS NOT NULL ORDER BY position",
        [],
        |row| {
            let (relay, inbox, prekey_key): (String, [u8; 16], [u8; 32]) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((row.get(0)?, relay, InboxId::from_bytes(inbox), prekey_key, row.get::<_, Vec<u8>>(4)?, row.get::<_, Vec<u8>>(5)?, row.get(6)?))
        },
    )?;
    let mut inboxes = Vec::with_capacity(rows.len());
    for (row, relay, inbox, prekey_key, owner_key, manage_key, relay_code) in rows {
        inboxes.push(OwnInbox {
            row,
            relay: relay.parse().map_err(|_| StoreError::Corrupt)?,
            inbox,
            prekey_key: PrekeyKey::from_bytes(prekey_key),
            owner_key: seal.open("own_inbox.owner_key", inbox.as_ref(), &owner_key)?,
            manage_key: seal.open("own_inbox.manage_key", inbox.as_ref(), &manage_key)?,
            relay_code,
        });
    }
    Ok(Own { account: party.account, party, inboxes, seal })
}

/// The Olm account, to step and [`store_olm`] in this transaction.
pub(crate) fn olm(view: &impl Query, seal: &StateSeal) -> Result<OlmAccount, StoreError> {
    let sealed: Option<Vec<u8>> = view.one("SELECT olm_sealed FROM account", [], |row| row.get(0))?;
    seal.open("account.olm", b"1", &sealed.ok_or(StoreError::Corrupt)?)
}

pub(crate) fn store_olm(
    tx: &mut Tx<'_>,
    seal: &StateSeal,
    olm: &OlmAccount,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    tx.execute("UPDATE account SET olm_sealed = ?1", [seal.seal("account.olm", b"1", olm, chance)])?;
    Ok(())
}

/// What we call ourselves.
pub(crate) fn name(view: &impl Query) -> Result<String, StoreError> {
    view.one("SELECT name FROM account", [], |row| row.get(0))?.ok_or(StoreError::Corrupt)
}

// ---- chains ---------------------------------------------------------------------------------------------------------------------

/// Who reads a chain that we write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Chain {
    OwnDevices,
    Contacts,
    Invite,
    /// Nobody any more: kept until its relay has deleted it.
    Gone,
}

impl Chain {
    pub(crate) const fn code(self) -> i64 {
        match self {
            Self::OwnDevices => 0,
            Self::Contacts => 1,
            Self::Invite => 2,
            Self::Gone => 3,
        }
    }

    const fn audience(self) -> Audience {
        match self {
            Self::OwnDevices => Audience::OwnDevices,
            Self::Contacts | Self::Invite | Self::Gone => Audience::Others,
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
    let entry = seal_entry(&manifest, &chain, key, chance);
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
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    tx.execute("UPDATE account SET version = version + 1, issued_at = ?1", [ms(now)])?;
    let chains = tx.all(
        "SELECT id, audience, relay, chain, chain_key, hash, entry_hash FROM own_chain WHERE audience != 3 ORDER BY id",
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
    let batch = task::new_batch(tx)?;
    for (row, audience, relay, chain, key, hash, entry_hash) in chains {
        let audience = if audience == Chain::OwnDevices.code() { Audience::OwnDevices } else { Audience::Others };
        let manifest = sign_manifest(tx, seal, audience, Some(hash), now)?;
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
        "SELECT id, device, kind, ed25519, curve25519, added_at, replaces FROM own_device ORDER BY id",
        [],
        |row| {
            let replaces: Option<[u8; 16]> = row.get(6)?;
            let device = Device {
                id: DeviceId::from_bytes(row.get(1)?),
                kind: DeviceKind::try_from(row.get::<_, i32>(2)?).unwrap_or_default(),
                ed25519: row.get(3)?,
                curve25519: row.get(4)?,
                inboxes: Vec::new(),
                added_at: crate::store::column::timestamp(row.get(5)?),
                replaces: replaces.map(DeviceId::from_bytes),
            };
            Ok((row.get::<_, i64>(0)?, device))
        },
    )?;
    let mut devices = Vec::with_capacity(rows.len());
    for (row, mut device) in rows {
        let inboxes = tx.all(
            "SELECT relay, inbox, prekey_key FROM own_inbox WHERE own_device = ?1 ORDER BY position",
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
