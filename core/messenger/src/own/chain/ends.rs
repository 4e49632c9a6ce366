//! How chains of ours end: closed, retired, and deleted at their relays.

use std::time::Duration;

use rusqlite::params;
use sotto_protocol::{ChainId, RelayAddress, Timestamp, relay};

use super::Chain;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::task::{self, Subject};

/// Whoever reads the chains from which our readers are led away learns of the first list of that epoch, and of nothing behind it.
pub(in crate::own) fn close_former(tx: &mut Tx<'_>, epoch: u32) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE own_chain SET last_epoch = min(coalesce(last_epoch, ?1), ?1) WHERE audience IN (?2, ?3)",
        params![epoch, Chain::ContactsBefore.code(), Chain::OwnDevicesBefore.code()],
    )?;
    Ok(())
}

/// Whoever reads a chain from which contacts are led away learns of nothing behind what stands there.
pub(in crate::own) fn close_contacts_before(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE own_chain SET last_epoch = min(coalesce(last_epoch, epoch), epoch) WHERE audience = ?1",
        [Chain::ContactsBefore.code()],
    )
    .map(drop)
}

/// Deletes chains that were retired long enough ago, and gives up those whose relay has not deleted them since.
pub(in crate::own) fn forget_retired(
    tx: &mut Tx<'_>,
    now: Timestamp,
    deleted_within: Duration,
) -> Result<(), StoreError> {
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

/// Its relay has deleted a chain that nobody reads any more.
pub(crate) fn chain_is_gone(tx: &mut Tx<'_>, chain: &ChainId) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM own_chain WHERE chain = ?1 AND audience = ?2",
        params![chain.as_ref(), Chain::Gone.code()],
    )?;
    Ok(())
}
