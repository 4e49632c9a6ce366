//! A relay of ours makes an inbox and takes nothing for it: the list that names it goes on without.
//!
//! A list waits for the tokens and prekeys of every inbox that is new in it (PROTOCOL B6). Where this device has just come in another's place,
//! nobody knows it before that list stands, and a relay that dies at the wrong moment would keep it from everybody. So what a relay was asked
//! for once in vain is not waited for, as long as another inbox has everything: the inbox leaves the list before it was on it, the list is
//! signed again behind what stands, and the relay is asked again later, more and more rarely. One that the user has just taken is waited for,
//! for a day: everything that the account says later stands behind it. Another device may have written the account's own list meanwhile, of a
//! copy that knew the inbox: then the others wait in its place.

use std::time::Duration;

use rusqlite::params;
use sotto_protocol::{Bytes, ChainId, InboxId, Message as _, RelayAddress, Timestamp, relay};

use super::{birth, chain, relays};
use crate::engine::Engine;
use crate::error::Error;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::task;

/// Inboxes of ours without what a list waits for that is new at them, with the batch of that list. A day after
/// that was first tried in vain (`?2`), and at once where no user has just asked for it: of a new device (`?1`: its batch), or at relays
/// that could not be asked before.
const STUCK: &str = "
    SELECT DISTINCT own_inbox.id, own_inbox.inbox, own_inbox.relay, own_inbox.relay_code, put.batch
    FROM own_inbox JOIN relay_task AS put ON put.subject = own_inbox.inbox
    WHERE owner_key_sealed IS NOT NULL AND leaving_at IS NULL AND put.kind IN (1, 3) AND put.failed_at > 0
    AND (put.batch = ?1 OR put.failed_at <= ?2 OR own_inbox.relay IN (SELECT relay FROM relay_to_join))
    AND EXISTS (SELECT 1 FROM relay_task AS list JOIN own_chain ON own_chain.chain = list.subject
                WHERE list.batch = put.batch AND list.kind = 4 AND own_chain.audience IN (0, 1))";

/// Whether an inbox on our list waits for nothing.
const HAS_ANOTHER: &str = "
    SELECT 1 FROM own_inbox WHERE owner_key_sealed IS NOT NULL AND leaving_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM relay_task WHERE subject = own_inbox.inbox AND kind IN (1, 3)) LIMIT 1";

/// How long a list waits for a relay that the user has taken: it may be busy, or away for a night.
const WAITED_FOR: Duration = Duration::from_secs(24 * 3600);

struct Stuck {
    row: i64,
    inbox: InboxId,
    relay: RelayAddress,
    code: String,
    batch: i64,
}

/// Calls of ours were made, or tried in vain: see the file's story. Says whether there are others to make now.
pub(crate) fn go_on_without_stuck(engine: &Engine, tx: &mut Tx<'_>) -> Result<bool, Error> {
    let stuck = stuck(tx, engine.judging_now())?;
    let Some(batch) = stuck.iter().map(|stuck| stuck.batch).max() else { return Ok(false) };
    if tx.one(HAS_ANOTHER, [], |_| Ok(()))?.is_none() {
        return Ok(false);
    }
    for stuck in &stuck {
        tracing::warn!("a relay has made an inbox of ours and takes nothing for it");
        let leaving_at = ms(engine.judging_now());
        tx.execute("UPDATE own_inbox SET leaving_at = ?2 WHERE id = ?1", params![stuck.row, leaving_at])?;
        task::forget_puts(tx, &stuck.inbox)?;
        relays::join_later(tx, &stuck.relay, &stuck.code)?;
    }
    let waiting = waiting(tx, batch)?;
    let (seal, now, chance) = (&engine.own().seal, engine.network_now(), &mut engine.chance());
    chain::renew_manifest(tx, seal, batch, now, chance)?;
    for (chain, end) in waiting {
        chain::begin_behind(tx, &chain, &end, chance)?;
    }
    tx.changes_own();
    Ok(true)
}

fn stuck(view: &impl Query, now: Timestamp) -> Result<Vec<Stuck>, StoreError> {
    let rows = view.all(STUCK, [birth::born_with(view)?.unwrap_or(-1), ms(now.before(WAITED_FOR))], |row| {
        Ok((row.get(0)?, InboxId::from_bytes(row.get(1)?), row.get::<_, String>(2)?, row.get(3)?, row.get(4)?))
    })?;
    let parse = |(row, inbox, relay, code, batch): (i64, InboxId, String, String, i64)| {
        Ok(Stuck { row, inbox, relay: relay.parse().map_err(|_| StoreError::Corrupt)?, code, batch })
    };
    rows.into_iter().map(parse).collect()
}

/// Our chains to which something is to be appended first with that batch, each with the hash of the entry that stands last.
fn waiting(view: &impl Query, batch: i64) -> Result<Vec<(ChainId, Bytes)>, Error> {
    let first = view.all(
        "SELECT chain, body FROM relay_task JOIN own_chain ON own_chain.chain = relay_task.subject
         WHERE relay_task.id IN (SELECT min(id) FROM relay_task WHERE kind = 4 GROUP BY subject) AND batch = ?1 ORDER BY own_chain.id",
        [batch],
        |row| Ok((ChainId::from_bytes(row.get(0)?), Bytes::from(row.get::<_, Vec<u8>>(1)?))),
    )?;
    let end = |(chain, body)| {
        let append = relay::ChainAppend::decode(body).map_err(|_| StoreError::Corrupt)?;
        Ok((chain, append.previous))
    };
    first.into_iter().map(end).collect()
}
