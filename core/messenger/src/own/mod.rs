//! This account and device: identity, inboxes and keys; `chain` holds what tells others of them, `siblings` what the account's other devices
//! are to this one, `birth` how another device comes to be.
//!
//! [`Own`] is what never changes while the engine runs, read once when it opens; what changes (the Olm account, chain heads, cursors)
//! is read where it is used, inside the transaction that changes it.
//! Order for a new inbox (PROTOCOL B6): create, tokens, bundle and prekeys, then the manifest that names it.

mod agreement;
mod birth;
mod chain;
mod epoch;
mod heads;
mod holdings;
mod list;
mod readers;
mod relays;
mod removal;
pub(crate) mod siblings;
mod stuck;
pub(crate) mod sync;

use rusqlite::params;
use sotto_crypto::Party;
use sotto_crypto::certificate::{Certificate, Epoch};
use sotto_crypto::keys::{ListKey, ManageKey, OwnerKey, RootKey, SignedCall, WriteKey};
use sotto_crypto::manifest::DeviceKind;
use sotto_crypto::olm::OlmAccount;
use sotto_crypto::secret::{ChainKey, PrekeyKey};
use sotto_protocol::request::Authorization;
use sotto_protocol::{AccountId, Bytes, ChainId, DeviceId, InboxId, RelayAddress, RelayName, Timestamp, relay};

use crate::error::Error;
use crate::relay_client::Signer;
use crate::state::StateSeal;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::world::{Chance, Rng};

pub(crate) use agreement::{has_unknown_of_ours, is_own_list_in, take_up_own_list, take_up_projection, was_appended};
pub(crate) use birth::{
    Newborn, Place, become_another, home_away, is_taken_away, is_unpublished, names as device_names, note_home,
    publish_again,
};
pub(crate) use chain::{
    Chain, begin_behind, begin_chain, chain_is_gone, contacts_card, contacts_manifest, delete as delete_chain,
    end_of_chain, ends_of_chains, head_for, is_told_of_chain, know_no_chain, knows_no_chain, newcomers_know_no_chain,
    renew_manifest, signed, tell_newcomers_of_chain, write_key,
};
pub(crate) use heads::{read_others as read_other_chains, read_own_list};
pub(crate) use holdings::{Holding, holdings};
pub(crate) use list::list_due_at;
pub(crate) use readers::{due_at as readers_due_at, lead_on as lead_readers_on};
pub(crate) use relays::{
    add_relay, forget_left, former_owner_key, home, is_deleted, is_joined, is_listed, is_to_join, left_due_at,
    remove_relay, to_join, will_not_be_read,
};
pub(crate) use removal::{manage_key_was_refused, remove_device};
pub(crate) use stuck::go_on_without_stuck;

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
    /// It is on our list no more, and read until nobody writes to it.
    pub(crate) is_leaving: bool,
}

impl OwnInbox {
    pub(crate) fn generate(row: i64, relay: RelayAddress, relay_code: String, chance: &mut Chance<'_>) -> Self {
        Self {
            row,
            relay,
            inbox: InboxId::from_bytes(chance.bytes()),
            prekey_key: PrekeyKey::generate(chance),
            owner_key: OwnerKey::generate(chance),
            manage_key: ManageKey::generate(chance),
            relay_code,
            is_leaving: false,
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

    /// The inboxes that our list names, the preferred first.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &OwnInbox> {
        self.inboxes.iter().filter(|own| !own.is_leaving)
    }

    /// Our inboxes at a relay.
    pub(crate) fn inboxes_at<'a>(&'a self, relay: &'a RelayAddress) -> impl Iterator<Item = &'a OwnInbox> {
        self.inboxes.iter().filter(move |own| own.relay == *relay)
    }
}

/// An account about to be made: everything drawn that has no date, nothing stored.
pub(crate) struct NewAccount {
    pub(crate) root: RootKey,
    list_key: ListKey,
    device: DeviceId,
    pub(crate) inboxes: Vec<OwnInbox>,
}

impl NewAccount {
    /// Draws its keys. Those of Olm have a date, and are drawn when it is stored.
    pub(crate) fn generate(relays: &[RelayAddress], relay_codes: &[String], chance: &mut Chance<'_>) -> Self {
        let codes = relay_codes.iter().cloned().chain(std::iter::repeat_with(String::new));
        let relays = relays.iter().cloned().zip(codes);
        Self {
            root: RootKey::generate(chance),
            list_key: ListKey::generate(chance),
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
        let olm = OlmAccount::generate(now);
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
                seal.seal("account.olm", b"1", &olm, chance),
            ],
        )?;
        tx.execute(
            "INSERT INTO own_device (id, device, kind, ed25519, curve25519, added_at) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            params![self.device.as_ref(), i32::from(kind), olm.ed25519(), olm.curve25519(), ms(now)],
        )?;
        for inbox in &self.inboxes {
            relays::store(tx, inbox, seal, chance)?;
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
        "SELECT id, relay, inbox, prekey_key, owner_key_sealed, manage_key_sealed, relay_code,
                leaving_at IS NOT NULL
         FROM own_inbox WHERE owner_key_sealed IS NOT NULL ORDER BY position",
        [],
        |row| {
            let (relay, inbox, prekey_key): (String, [u8; 16], [u8; 32]) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((
                row.get(0)?,
                relay,
                InboxId::from_bytes(inbox),
                prekey_key,
                row.get::<_, Vec<u8>>(4)?,
                row.get::<_, Vec<u8>>(5)?,
                row.get(6)?,
                row.get(7)?,
            ))
        },
    )?;
    let mut inboxes = Vec::with_capacity(rows.len());
    for (row, relay, inbox, prekey_key, owner_key, manage_key, relay_code, is_leaving) in rows {
        inboxes.push(OwnInbox {
            row,
            relay: relay.parse().map_err(|_| StoreError::Corrupt)?,
            inbox,
            prekey_key: PrekeyKey::from_bytes(prekey_key),
            owner_key: seal.open("own_inbox.owner_key", inbox.as_ref(), &owner_key)?,
            manage_key: seal.open("own_inbox.manage_key", inbox.as_ref(), &manage_key)?,
            relay_code,
            is_leaving,
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

/// The epoch of the list key that we hold.
pub(crate) fn epoch(view: &impl Query) -> Result<u32, StoreError> {
    view.one("SELECT epoch FROM account", [], |row| row.get(0))?.ok_or(StoreError::Corrupt)
}

/// Of the account's newest list, as far as this device knows.
pub(crate) fn epoch_and_version(view: &impl Query) -> Result<(u32, u32), StoreError> {
    let sql = "SELECT epoch, version FROM account";
    view.one(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?.ok_or(StoreError::Corrupt)
}

/// What we call ourselves.
pub(crate) fn name(view: &impl Query) -> Result<String, StoreError> {
    view.one("SELECT name FROM account", [], |row| row.get(0))?.ok_or(StoreError::Corrupt)
}
