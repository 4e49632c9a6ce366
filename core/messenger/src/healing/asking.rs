//! When a device is asked for what is missing of its letters, and for what.

use std::time::Duration;

use rusqlite::{Connection, params};
use sotto_crypto::letter::{Content, Counters, ResendRequest};
use sotto_protocol::limits::{COUNTER_MAX, RESEND_HASHES_MAX, RESEND_RANGES_MAX};
use sotto_protocol::{DeviceId, MessageId, Timestamp};

use super::are_drained;
use crate::engine::Engine;
use crate::error::Error;
use crate::outbox::{self, NewLetter, Says};
use crate::peer::{self, DeviceRow};
use crate::receive;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// After something was seen to be missing, or some of it came: what another relay still delivers, or the same one a moment later, is not
/// asked for. Spread, so that it does not say when exactly a relay lost something.
const SOON: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(60));
/// Between two requests to a device that brought nothing: this at first, then twice as long each time.
const ASKED_AGAIN: Duration = Duration::from_secs(10 * 60);
/// At most this long: a phone that comes out of a drawer has been asked within the last day.
const ASKED_AGAIN_MAX: Duration = Duration::from_secs(24 * 3600);
/// Requests in a row that brought nothing: about 37 days of them, for which whatever may be asked for is kept.
const ASKS_MAX: u32 = 44;
/// A relay of ours that is not drained for so long may be gone: what it holds is not waited for.
const UNDRAINED_MAX: Duration = Duration::from_secs(24 * 3600);
/// A request that could not leave for so long: another has been made meanwhile.
const REQUEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The devices that may be asked, where they have to.
const MAY_BE_ASKED: &str = "peer_device JOIN contact ON contact.id = peer_device.contact
    WHERE ask_at IS NOT NULL AND listed = 1 AND contact.state = 3 AND contact.blocked = 0 AND contact.trust = 0 AND contact.claim IS NULL";

/// Devices that left their list, of whose letters something is missing.
const HAVE_LEFT: &str = "peer_device WHERE ask_at IS NOT NULL AND listed = 0 AND left_at IS NOT NULL";

/// What a batch of letters says of what is missing of a device's.
#[derive(Clone, Copy, Default)]
pub(crate) struct News {
    /// More is missing than before.
    pub(crate) lacks_more: bool,
    /// Something that was missing has come, or was said not to come.
    pub(crate) was_missing: bool,
}

impl News {
    pub(crate) fn add(&mut self, more: Self) {
        self.lacks_more |= more.lacks_more;
        self.was_missing |= more.was_missing;
    }
}

/// Decides when the device is asked next.
pub(crate) fn note(
    tx: &mut Tx<'_>,
    device: DeviceRow,
    news: News,
    now: Timestamp,
    chance: &Chance<'_>,
) -> Result<(), StoreError> {
    if !news.lacks_more && !news.was_missing {
        return Ok(());
    }
    if what_is_missing(tx, device)?.is_none() {
        tx.execute("UPDATE peer_device SET ask_at = NULL, asks = 0 WHERE id = ?1", [device.0])?;
        return Ok(());
    }
    let soon = ms(now.after(chance.duration(SOON.0, SOON.1)));
    if news.was_missing {
        tx.execute("UPDATE peer_device SET ask_at = ?2, asks = 0 WHERE id = ?1", params![device.0, soon])?;
    } else if news.lacks_more {
        // No sooner after the last request than the next would be: what is missing more and more is no lever either.
        let again = i64::try_from(ASKED_AGAIN.as_millis()).unwrap_or(i64::MAX);
        tx.execute(
            "UPDATE peer_device SET asks = min(asks, ?4), ask_at = min(coalesce(ask_at, 9223372036854775807),
                 max(?2, iif(asked_at > ?2, 0, asked_at + ?3))) WHERE id = ?1",
            params![device.0, soon, again, ASKS_MAX - 1],
        )?;
    }
    Ok(())
}

/// When the next device is to be asked. As long as a relay of ours has not been drained, what is missing may wait there.
pub(crate) fn due_at(engine: &Engine, view: &Connection) -> Result<Option<Timestamp>, StoreError> {
    let first =
        view.one(&format!("SELECT min(ask_at) FROM {MAY_BE_ASKED}"), [], |row| row.get::<_, Option<i64>>(0))?.flatten();
    let wait = if are_drained(engine) { Duration::ZERO } else { UNDRAINED_MAX };
    let first = first.map(|first| timestamp(first).after(wait));
    let left = view
        .one(&format!("SELECT min(left_at) FROM {HAVE_LEFT}"), [], |row| row.get::<_, Option<i64>>(0))?
        .flatten()
        .map(|left| timestamp(left).after(peer::HEARD_OUT));
    Ok(first.into_iter().chain(left).min())
}

/// Asks every device of which something is missing for long enough. Of those that left their list nothing comes any more.
pub(crate) fn ask_what_is_due(engine: &Engine, tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Error> {
    let sql = format!("SELECT id FROM {HAVE_LEFT} AND left_at <= ?1");
    for device in tx.all(&sql, [ms(now.before(peer::HEARD_OUT))], |row| row.get(0).map(DeviceRow))? {
        give_up(engine, tx, device, now)?;
    }
    let by = if are_drained(engine) { now } else { now.before(UNDRAINED_MAX) };
    let due: Vec<_> =
        tx.all(&format!("SELECT peer_device.id, asks FROM {MAY_BE_ASKED} AND ask_at <= ?1"), [ms(by)], |row| {
            Ok((DeviceRow(row.get(0)?), row.get::<_, u32>(1)?))
        })?;
    for (device, asks) in due {
        match what_is_missing(tx, device)? {
            None => tx.execute("UPDATE peer_device SET ask_at = NULL, asks = 0 WHERE id = ?1", [device.0]).map(drop)?,
            Some(_) if asks >= ASKS_MAX => give_up(engine, tx, device, now)?,
            Some(request) => ask(tx, device, request, asks, now, &engine.chance())?,
        }
    }
    Ok(())
}

fn give_up(engine: &Engine, tx: &mut Tx<'_>, device: DeviceRow, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE peer_device SET ask_at = NULL WHERE id = ?1", [device.0])?;
    receive::give_up_asking(tx, device, now, &engine.chance())
}

fn ask(
    tx: &mut Tx<'_>,
    device: DeviceRow,
    request: ResendRequest,
    asks: u32,
    now: Timestamp,
    chance: &Chance<'_>,
) -> Result<(), StoreError> {
    let content = Content::ResendRequest(request).encode().map_err(|_| StoreError::Failed)?;
    let letter = NewLetter {
        says: Says::Content(&content),
        message_id: MessageId::from_bytes(chance.bytes()),
        sent_at: now,
        dies_at: Some(now.after(REQUEST_LIFETIME)),
        after_batch: None,
    };
    outbox::queue(tx, device, &letter)?;
    let wait = ASKED_AGAIN.saturating_mul(1 << asks.min(16)).min(ASKED_AGAIN_MAX);
    tx.execute(
        "UPDATE peer_device SET asks = asks + 1, asked_at = ?2, ask_at = ?3 WHERE id = ?1",
        params![device.0, ms(now), ms(now.after(chance.duration(wait / 2, wait)))],
    )?;
    Ok(())
}

/// What a device still holds of its letters to the one that this was, whose counters are these (PROTOCOL H2): all that was missing, and all
/// behind what came.
pub(super) fn for_predecessor(
    view: &impl Query,
    device: DeviceRow,
    predecessor: DeviceId,
) -> Result<ResendRequest, StoreError> {
    let contiguous = peer::device_by_row(view, device)?.received;
    let mut counters = receive::lacking(view, device, contiguous)?;
    counters.truncate(RESEND_RANGES_MAX - 1);
    let highest = receive::highest(view, device)?.unwrap_or(0).max(contiguous);
    counters.extend((highest < COUNTER_MAX).then_some(Counters { first: highest + 1, last: COUNTER_MAX }));
    let inner_hashes = receive::unopened_of(view, device, RESEND_HASHES_MAX)?;
    Ok(ResendRequest { counters, inner_hashes, predecessor: Some(predecessor) })
}

/// Everything that a device can be asked for, or none. Of more than fits, the first.
fn what_is_missing(view: &impl Query, device: DeviceRow) -> Result<Option<ResendRequest>, StoreError> {
    let contiguous = peer::device_by_row(view, device)?.received;
    let mut counters = receive::lacking(view, device, contiguous)?;
    let inner_hashes = receive::unopened_of(view, device, RESEND_HASHES_MAX)?;
    if inner_hashes.len() == RESEND_HASHES_MAX {
        // Perhaps more came than is remembered: everything behind what came is asked for.
        let highest = receive::highest(view, device)?.unwrap_or(0).max(contiguous);
        let behind = Counters { first: highest.saturating_add(1), last: COUNTER_MAX };
        // Who has sent the last counter that there is has sent everything.
        counters.extend(Some(behind).filter(|range| range.first <= range.last));
    }
    counters.truncate(RESEND_RANGES_MAX);
    let request = ResendRequest { counters, inner_hashes, predecessor: None };
    Ok(Some(request).filter(|request| !request.counters.is_empty() || !request.inner_hashes.is_empty()))
}
