//! Whether another copy of this profile has written to a chain of ours: a third witness against a restored or copied database (PROTOCOL H1).
//!
//! A relay that came back from a backup shows less than we wrote. A list that is newer than ours, or another one under the same number,
//! only the account's own list key can have signed; so no relay can make this up. A relay that hides such a list is not found out.
//! One device writes an account's lists for now.

use std::sync::Arc;

use rusqlite::Connection;
use sotto_crypto::manifest::{Head, VerifiedManifest};
use sotto_crypto::secret::ChainKey;
use sotto_protocol::{AccountId, ChainId, RelayAddress};

use crate::contact::ChainAddress;
use crate::engine::Engine;
use crate::error::Error;
use crate::manifests;
use crate::store::{Query as _, StoreError};

/// Reads a chain of ours, and looks for a list in it that we did not write.
pub(crate) async fn has_written(engine: &Arc<Engine>, relay: &RelayAddress, chain: ChainId) -> Result<bool, Error> {
    let Some((account, key, _)) = engine.read(move |_, view| newest(view, &chain)).await? else { return Ok(false) };
    let address = ChainAddress { relay: relay.clone(), chain, key };
    let part = match manifests::read_own(&engine.client, &address).await {
        Ok(part) => part,
        // It holds what nobody of ours wrote, or nothing: that proves nothing.
        Err(Error::Peer { .. }) => return Ok(false),
        Err(Error::Relay(error)) if error.is_refusal() => return Ok(false),
        Err(error) => return Err(error),
    };
    // Afterwards: what we have written meanwhile is ours.
    let Some((_, _, own)) = engine.read(move |_, view| newest(view, &chain)).await? else { return Ok(false) };
    let mut heads = part
        .entries
        .into_iter()
        .filter_map(|entry| VerifiedManifest::reload(&account, entry).ok())
        .map(|list| list.head());
    Ok(heads.any(|head| is_anothers(&head, &own)))
}

fn is_anothers(found: &Head, own: &Head) -> bool {
    let (found_at, own_at) = ((found.epoch, found.version), (own.epoch, own.version));
    found_at > own_at || found_at == own_at && found.hash != own.hash
}

type Newest = (AccountId, ChainKey, Head);

/// The account, the chain's key, and the head of the newest list that we wrote to it.
fn newest(view: &Connection, chain: &ChainId) -> Result<Option<Newest>, StoreError> {
    view.one(
        "SELECT account.account, chain_key, own_chain.epoch, own_chain.version, hash FROM own_chain, account WHERE chain = ?1",
        [chain.as_ref()],
        |row| {
            let head = Head { epoch: row.get(2)?, version: row.get(3)?, hash: row.get(4)? };
            Ok((AccountId::from_bytes(row.get(0)?), ChainKey::from_bytes(row.get(1)?), head))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h1_only_a_newer_list_or_another_of_the_same_number_is_anothers() {
        let head = |epoch, version, byte| Head { epoch, version, hash: [byte; 32] };
        let own = head(1, 5, 5);
        for ours in [head(1, 5, 5), head(1, 4, 4), head(1, 1, 9), head(0, 9, 9)] {
            assert!(!is_anothers(&ours, &own));
        }
        for other in [head(1, 5, 6), head(1, 6, 5), head(2, 1, 1)] {
            assert!(is_anothers(&other, &own));
        }
    }
}
