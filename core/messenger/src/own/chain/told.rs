//! What others are told of our chains: where they are, and the last list in them that is known to stand.

use sotto_crypto::letter::{Card, Content};
use sotto_crypto::manifest::{Head, VerifiedManifest};
use sotto_crypto::secret::ChainKey;
use sotto_protocol::{Bytes, ChainId, Timestamp};

use super::{Chain, Own};
use crate::contact::{self, ContactRow};
use crate::error::Error;
use crate::outbox;
use crate::peer::{self, DeviceRow};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// The card that contacts get, with the head of its chain.
pub(crate) fn contacts_card(view: &impl Query, own: &Own) -> Result<(Card, Head), StoreError> {
    card(view, own, Chain::Contacts)
}

/// The head of the chain that a contact reads, or another device of ours. One that may still turn out not to be it is not told of: it would
/// look like a fork.
pub(crate) fn head_for(view: &impl Query, own: &Own, contact: ContactRow) -> Result<Head, StoreError> {
    let purpose = if contact == ContactRow::OWN { Chain::OwnDevices } else { Chain::Contacts };
    Ok(card(view, own, purpose)?.1)
}

fn card(view: &impl Query, own: &Own, purpose: Chain) -> Result<(Card, Head), StoreError> {
    let card = view.one(
        "SELECT relay, chain, chain_key, epoch, version, hash, told FROM own_chain WHERE audience = ?1",
        [purpose.code()],
        |row| {
            let (relay, chain, key): (String, [u8; 32], [u8; 32]) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let head = Head { epoch: row.get(3)?, version: row.get(4)?, hash: row.get(5)? };
            Ok((relay, ChainId::from_bytes(chain), ChainKey::from_bytes(key), head, row.get::<_, Option<Vec<u8>>>(6)?))
        },
    )?;
    let (relay, chain, chain_key, newest, told) = card.ok_or(StoreError::Corrupt)?;
    let head = match told {
        Some(told) => VerifiedManifest::reload(&own.account, told.into()).map_err(|_| StoreError::Corrupt)?.head(),
        None => newest,
    };
    let relay = relay.parse().map_err(|_| StoreError::Corrupt)?;
    Ok((Card { account: own.account, relay, chain, chain_key }, head))
}

/// The manifest at the head of the contacts' chain, as it was signed: signing that version again with another date would be a fork.
pub(crate) fn contacts_manifest(view: &impl Query) -> Result<Bytes, StoreError> {
    let manifest: Option<Vec<u8>> = view.one(
        "SELECT coalesce(told, manifest) FROM own_chain WHERE audience = ?1",
        [Chain::Contacts.code()],
        |row| row.get(0),
    )?;
    Ok(manifest.ok_or(StoreError::Corrupt)?.into())
}

/// Contacts' lists stand elsewhere from now on. Whoever has a device later may bring it what was known before.
pub(super) fn lists_have_moved(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('lists_have_moved', 1)", []).map(drop)
}

/// Devices of a contact that were not listed `before` know of our lists what somebody else has told them, a copy, or what they heard when they
/// last were: perhaps where those stood before.
pub(crate) fn newcomers_know_no_chain(
    tx: &mut Tx<'_>,
    contact: ContactRow,
    before: &[DeviceRow],
) -> Result<(), StoreError> {
    if contact == ContactRow::OWN || before.is_empty() {
        return Ok(());
    }
    if tx.one("SELECT 1 FROM meta WHERE key = 'lists_have_moved'", [], |_| Ok(()))?.is_none() {
        return Ok(());
    }
    for device in peer::listed_devices(tx, contact)?.iter().filter(|device| !before.contains(device)) {
        tx.execute("UPDATE peer_device SET chain_untold = 1 WHERE id = ?1", [device.0])?;
    }
    Ok(())
}

/// A contact was not told where our lists stand while they were blocked: they are, once they may be.
pub(crate) fn knows_no_chain(tx: &mut Tx<'_>, own: &Own, contact: ContactRow) -> Result<(), StoreError> {
    let chain = contacts_card(tx, own)?.0.chain;
    if contact::was_told_chain(tx, contact, &chain)? {
        return Ok(());
    }
    contact::has_told_chain(tx, contact, &chain)?;
    tx.execute("UPDATE peer_device SET chain_untold = 1 WHERE contact = ?1", [contact.0]).map(drop)
}

/// Devices of contacts that are to be told where our lists stand, once they do. In this order: as a rule there is none, and it is looked at
/// with every wake-up.
const KNOW_NO_CHAIN: &str = "
    SELECT peer_device.id FROM peer_device CROSS JOIN contact ON contact.id = peer_device.contact
    WHERE chain_untold = 1 AND listed = 1 AND contact.state = 3 AND contact.blocked = 0 AND contact.claim IS NULL
    AND NOT EXISTS (SELECT 1 FROM own_chain CROSS JOIN relay_task ON relay_task.relay = own_chain.relay AND relay_task.subject = own_chain.chain
        WHERE audience = ?1)
    ORDER BY peer_device.id";

/// Those devices.
pub(crate) fn know_no_chain(view: &impl Query) -> Result<Vec<DeviceRow>, StoreError> {
    view.all(KNOW_NO_CHAIN, [Chain::Contacts.code()], |row| row.get(0).map(DeviceRow))
}

/// Tells them.
pub(crate) fn tell_newcomers_of_chain(
    tx: &mut Tx<'_>,
    own: &Own,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    let devices = know_no_chain(tx)?;
    if devices.is_empty() {
        return Ok(());
    }
    for device in &devices {
        is_told_of_chain(tx, *device)?;
    }
    let card = Content::CardChange(contacts_card(tx, own)?.0);
    outbox::queue_content_to(tx, &devices, &card, None, None, now, chance)
}

/// It is being told.
pub(crate) fn is_told_of_chain(tx: &mut Tx<'_>, device: DeviceRow) -> Result<(), StoreError> {
    tx.execute("UPDATE peer_device SET chain_untold = 0 WHERE id = ?1", [device.0]).map(drop)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::KNOW_NO_CHAIN;

    #[test]
    fn who_is_to_be_told_is_found_without_a_look_at_every_device() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../../store/schema.sql")).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {KNOW_NO_CHAIN}")).unwrap();
        let steps = statement.query_map([1], |row| row.get(3)).unwrap();
        let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
        assert!(steps.iter().any(|step| step.contains("peer_device_untold")), "{steps:?}");
        let scans = steps.iter().filter(|step| step.contains("SCAN"));
        assert!(scans.clone().all(|step| step.contains("own_chain")), "{steps:?}");
    }
}
