//! Everything of ours that stands at relays: inboxes, with the tokens, prekeys and mail in them, and chains.

use sotto_crypto::keys::{OwnerKey, WriteKey};
use sotto_protocol::{Bytes, ChainId, InboxId, Message as _, RelayAddress, relay};

use super::Own;
use crate::relay_client::Signer;
use crate::store::{Query, StoreError};
use crate::task::{Kind, Subject};

/// One of them, and what deletes it.
pub(crate) struct Holding {
    pub(crate) relay: RelayAddress,
    pub(crate) subject: Subject,
    key: Key,
}

enum Key {
    Owner(OwnerKey),
    Write(WriteKey),
}

impl Holding {
    /// The path and the body of the call that deletes it.
    pub(crate) fn deletion(&self) -> (&'static str, Bytes) {
        let (kind, body) = match self.subject {
            Subject::Inbox(inbox) => (Kind::InboxDelete, relay::InboxDelete { inbox: inbox.into() }.encode_to_vec()),
            Subject::Chain(chain) => (Kind::ChainDelete, relay::ChainDelete { chain: chain.into() }.encode_to_vec()),
        };
        (kind.path(), body.into())
    }

    /// What signs that call.
    pub(crate) fn signer(&self) -> &dyn Signer {
        match &self.key {
            Key::Owner(key) => key,
            Key::Write(key) => key,
        }
    }
}

/// All of them: of this device, of the one that it was before, and of the account.
pub(crate) fn holdings(view: &impl Query, own: &Own) -> Result<Vec<Holding>, StoreError> {
    let mut all: Vec<Holding> = own
        .inboxes
        .iter()
        .map(|inbox| Holding {
            relay: inbox.relay.clone(),
            subject: Subject::Inbox(inbox.inbox),
            key: Key::Owner(inbox.owner_key.clone()),
        })
        .collect();
    for (inbox, relay) in names(view, "SELECT inbox, relay FROM former_inbox")? {
        let inbox = InboxId::from_bytes(inbox);
        let key = super::former_owner_key(view, &own.seal, &inbox)?.ok_or(StoreError::Corrupt)?;
        all.push(Holding { relay, subject: Subject::Inbox(inbox), key: Key::Owner(key) });
    }
    for (chain, relay) in names(view, "SELECT chain, relay FROM own_chain")? {
        let chain = ChainId::from_bytes(chain);
        let key = super::write_key(view, &own.seal, &chain)?.ok_or(StoreError::Corrupt)?;
        all.push(Holding { relay, subject: Subject::Chain(chain), key: Key::Write(key) });
    }
    Ok(all)
}

fn names<const N: usize>(view: &impl Query, sql: &str) -> Result<Vec<([u8; N], RelayAddress)>, StoreError> {
    let rows = view.all(sql, [], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    rows.into_iter().map(|(name, relay)| Ok((name, relay.parse().map_err(|_| StoreError::Corrupt)?))).collect()
}
