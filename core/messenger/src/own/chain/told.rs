//! What others are told of our chains: where they are, and the last list in them that is known to stand.

use sotto_crypto::letter::Card;
use sotto_crypto::manifest::{Head, VerifiedManifest};
use sotto_crypto::secret::ChainKey;
use sotto_protocol::{Bytes, ChainId};

use super::{Chain, Own};
use crate::contact::ContactRow;
use crate::store::{Query, StoreError};

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
