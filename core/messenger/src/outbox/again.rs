//! Letters that a relay took and nobody has confirmed: put again, somewhere else where there is somewhere else (PROTOCOL E5).
//!
//! ```text
//! its inbox left its device's list            at once
//! its relay has not answered for an hour      then, while others answer
//! nobody has confirmed it                     a day later, then two, four, ...: at the next inbox, once at each;
//!                                             at the same one when its device has spoken since and confirmed less,
//!                                             or when the relay keeps it no longer
//! ```
//! A letter that is put again keeps its message id and counter, so its device takes it once, whichever copy comes first. A phone that lies
//! in a drawer finds a copy at each of its relays, and whichever of them dies meanwhile takes nothing along.
//! Not here: first messages that nobody answered, whose session begins anew (`unanswered.rs`).

use std::sync::Arc;
use std::time::Duration;

use rusqlite::params;
use sotto_protocol::limits::RETENTION;
use sotto_protocol::{RelayAddress, Timestamp};

use super::reach::Place;
use crate::contact::ContactRow;
use crate::engine::Engine;
use crate::peer::{self, DeviceRow, InboxRow};
use crate::prekey::looked_through_at;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};

/// What a peer that is there confirms within.
const WAIT: Duration = Duration::from_secs(24 * 3600);
/// The wait doubles so often: half a month, and then what a relay keeps is over.
const DOUBLINGS_MAX: u32 = 4;
/// A relay that does not answer for so long was not merely restarted.
const OUT_FOR: Duration = Duration::from_secs(3600);

/// When a letter that was accepted now is looked at, having been looked at so often.
pub(super) fn again_at(accepted_at: Timestamp, tries: u32) -> Timestamp {
    accepted_at.after(WAIT.saturating_mul(1 << tries.min(DOUBLINGS_MAX)).min(RETENTION))
}

/// The row is queued again, for one inbox or for any. Its counter stays.
fn put_again(tx: &mut Tx<'_>, row: i64, to: Option<InboxRow>) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE outbox SET state = 0, olm = NULL, envelope = NULL, accepted_at = NULL, again_at = NULL, to_inbox = ?2 WHERE id = ?1",
        params![row, to.map(|to| to.0)],
    )?;
    Ok(())
}

/// What was put into inboxes that their devices list no more goes to those that they list.
pub(crate) fn leave_unlisted_inboxes(tx: &mut Tx<'_>, contact: ContactRow) -> Result<(), StoreError> {
    for device in peer::listed_devices(tx, contact)? {
        tx.execute(
            "UPDATE outbox SET state = 0, olm = NULL, envelope = NULL, accepted_at = NULL, again_at = NULL, to_inbox = NULL
             WHERE peer_device = ?1 AND state IN (1, 2) AND state <= 2 AND counter IS NOT NULL
             AND peer_inbox IN (SELECT id FROM peer_inbox WHERE peer_device = ?1 AND listed = 0)",
            [device.0],
        )?;
    }
    Ok(())
}

/// An inbox, or its relay, took no letters. A relay that does not answer while others do is remembered: it may have taken letters
/// before.
pub(crate) async fn is_passed_over(
    engine: &Arc<Engine>,
    place: Place,
    asked_for: Option<Duration>,
) -> Result<(), StoreError> {
    let is_news = engine.reach.failed(place.clone(), asked_for, engine.clock.instant(), &engine.chance());
    match place {
        Place::Relay(relay) if is_news => engine.write(move |engine, tx| note_relay(engine, tx, &relay)).await,
        Place::Relay(_) | Place::Inbox(_) => Ok(()),
    }
}

/// Writes down whether a relay is out, as it is known by now: who found that it answers may be faster than who found that it does not.
fn note_relay(engine: &Engine, tx: &mut Tx<'_>, relay: &RelayAddress) -> Result<(), StoreError> {
    if engine.reach.is_out(relay) {
        let sql = "INSERT OR IGNORE INTO relay_out (relay, since) VALUES (?1, ?2)";
        tx.execute(sql, params![relay.to_string(), ms(engine.network_now())]).map(drop)
    } else {
        tx.execute("DELETE FROM relay_out WHERE relay = ?1", [relay.to_string()]).map(drop)
    }
}

/// Relays that nobody lists any more, whether or not they ever answer again.
pub(crate) fn forget_relays(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let sql =
        "DELETE FROM relay_out WHERE relay NOT IN (SELECT relay FROM peer_inbox UNION SELECT relay FROM own_inbox)";
    tx.execute(sql, []).map(drop)
}

/// An inbox took letters, or its relay did; or a relay of ours answers.
pub(crate) async fn has_taken(engine: &Arc<Engine>, place: Place) -> Result<(), StoreError> {
    let is_news = engine.reach.answered(&place, engine.clock.instant());
    match place {
        Place::Relay(relay) if is_news => engine.write(move |engine, tx| note_relay(engine, tx, &relay)).await,
        Place::Relay(_) | Place::Inbox(_) => Ok(()),
    }
}

/// A letter whose time for a look has come.
struct Due {
    row: i64,
    device: DeviceRow,
    inbox: InboxRow,
    accepted_at: Timestamp,
    tries: u32,
    spoke_at: Timestamp,
}

/// When something is due next.
pub(crate) fn due_at(view: &impl Query, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let out = view.one("SELECT min(since) FROM relay_out WHERE moved = 0", [], |row| row.get::<_, Option<i64>>(0))?;
    let out = out.flatten().map(|since| timestamp(since).after(OUT_FOR));
    // A confirmation may wait in an inbox of ours until all of them are drained, or one is away for too long: then it is looked at again.
    let due = view.one(
        "SELECT again_at, accepted_at FROM outbox WHERE state = 2 AND again_at IS NOT NULL ORDER BY again_at LIMIT 1",
        [],
        |row| Ok((timestamp(row.get(0)?), timestamp(row.get(1)?))),
    )?;
    let looked_through_at = looked_through_at(view, now)?;
    let due = due.filter(|(_, accepted_at)| looked_through_at >= *accepted_at).map(|(again_at, _)| again_at);
    Ok(out.into_iter().chain(due).min())
}

/// Puts again what is due.
pub(crate) fn renew(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    leave_relays_that_are_out(tx, now)?;
    let due = tx.all(
        "SELECT outbox.id, outbox.peer_device, outbox.peer_inbox, outbox.accepted_at, outbox.tries, peer_device.spoke_at
         FROM outbox JOIN peer_device ON peer_device.id = outbox.peer_device
         WHERE outbox.state = 2 AND outbox.again_at <= ?1 AND outbox.accepted_at <= ?2",
        params![ms(now), ms(looked_through_at(tx, now)?)],
        |row| {
            Ok(Due {
                row: row.get(0)?,
                device: DeviceRow(row.get(1)?),
                inbox: InboxRow(row.get(2)?),
                accepted_at: timestamp(row.get(3)?),
                tries: row.get(4)?,
                spoke_at: timestamp(row.get(5)?),
            })
        },
    )?;
    due.into_iter().try_for_each(|due| look_at(tx, &due, now))
}

fn look_at(tx: &mut Tx<'_>, due: &Due, now: Timestamp) -> Result<(), StoreError> {
    let tries = due.tries.saturating_add(1);
    tx.execute("UPDATE outbox SET tries = ?2 WHERE id = ?1", params![due.row, tries])?;
    let inboxes = peer::inboxes(tx, due.device)?;
    let place = inboxes.iter().position(|inbox| inbox.row == due.inbox);
    let has_copies_everywhere = usize::try_from(due.tries).is_ok_and(|tries| tries.saturating_add(1) >= inboxes.len());
    if let Some(place) = place.filter(|_| !has_copies_everywhere) {
        return put_again(tx, due.row, Some(inboxes[(place + 1) % inboxes.len()].row));
    }
    let has_spoken_since = due.spoke_at >= due.accepted_at.after(WAIT);
    if has_spoken_since || now >= due.accepted_at.after(RETENTION) {
        return put_again(tx, due.row, None);
    }
    tx.execute(
        "UPDATE outbox SET again_at = ?2 WHERE id = ?1",
        params![due.row, ms(again_at(due.accepted_at, tries))],
    )?;
    Ok(())
}

/// What relays took that have not answered since goes to another inbox, where its device has one.
fn leave_relays_that_are_out(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    let out =
        tx.all("SELECT relay FROM relay_out WHERE moved = 0 AND since <= ?1", [ms(now.before(OUT_FOR))], |row| {
            row.get::<_, String>(0)
        })?;
    for relay in out {
        let rows = tx.all(
            "SELECT outbox.id, (SELECT other.id FROM peer_inbox AS other WHERE other.peer_device = outbox.peer_device AND other.listed = 1
                 AND other.relay NOT IN (SELECT relay FROM relay_out) ORDER BY other.position LIMIT 1)
             FROM outbox JOIN peer_inbox ON peer_inbox.id = outbox.peer_inbox WHERE outbox.state = 2 AND peer_inbox.relay = ?1",
            [&relay],
            |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?.map(InboxRow))),
        )?;
        for (row, other) in rows {
            if other.is_some() {
                put_again(tx, row, other)?;
            }
        }
        tx.execute("UPDATE relay_out SET moved = 1 WHERE relay = ?1", [&relay])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_what_is_not_confirmed_is_looked_at_ever_more_rarely_and_never_later_than_its_relay_keeps_it() {
        let accepted_at = Timestamp::from_ms(1_800_000_000_000);
        let waits: Vec<_> = (0..40).map(|tries| again_at(accepted_at, tries).since(accepted_at)).collect();
        assert_eq!(waits[0], WAIT);
        assert!(waits.is_sorted() && waits.iter().all(|wait| *wait <= RETENTION));
    }
}
