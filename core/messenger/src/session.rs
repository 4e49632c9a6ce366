//! Olm sessions at rest: one per peer inbox, so that every ratchet chain keeps the order of one relay (PROTOCOL E1).
//!
//! Both sides may begin at once. Then both sessions live on for receiving, and both sides send on the one with the lower id; in every
//! other case the newest session is the one to send on. At most four are kept per inbox.
//! No ratchet lives in memory across transactions: a session is loaded, stepped and stored inside one.

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::olm::{OlmSession, SessionId};
use sotto_protocol::{KeyId, Timestamp};

use crate::peer::{DeviceRow, InboxRow};
use crate::state::StateSeal;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// Sessions kept per inbox: two of a crossing, and two of the crossing before, whose letters may still be under way.
const KEPT_MAX: i64 = 4;

const TABLE: &str = "session";

/// A session with its row.
pub(crate) struct SessionRow {
    pub(crate) row: i64,
    pub(crate) session: OlmSession,
}

/// Who began a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begun {
    ByUs,
    ByThem,
    /// They did, to be answered at an inbox that we do not know yet: until then it only receives.
    Elsewhere,
}

/// The session to send on to an inbox.
pub(crate) fn sending(view: &impl Query, seal: &StateSeal, inbox: InboxRow) -> Result<Option<SessionRow>, StoreError> {
    let found = view.one(
        "SELECT id, session, state_sealed FROM session WHERE peer_inbox = ?1 AND sending = 1",
        [inbox.0],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, Vec<u8>>(2)?)),
    )?;
    found.map(|(row, id, sealed)| Ok(SessionRow { row, session: seal.open(TABLE, &id, &sealed)? })).transpose()
}

/// Whether there is a session to send on.
pub(crate) fn has_sending(view: &impl Query, inbox: InboxRow) -> Result<bool, StoreError> {
    Ok(view.one("SELECT 1 FROM session WHERE peer_inbox = ?1 AND sending = 1", [inbox.0], |_| Ok(()))?.is_some())
}

/// All sessions with a device, the newest first: a normal message does not say which one it belongs to.
pub(crate) fn of_device(view: &impl Query, seal: &StateSeal, device: DeviceRow) -> Result<Vec<SessionRow>, StoreError> {
    let rows = view.all(
        "SELECT session.id, session.session, session.state_sealed
         FROM peer_inbox JOIN session ON session.peer_inbox = peer_inbox.id WHERE peer_inbox.peer_device = ?1 ORDER BY session.id DESC",
        [device.0],
        |row| Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, Vec<u8>>(2)?)),
    )?;
    rows.into_iter().map(|(row, id, sealed)| Ok(SessionRow { row, session: seal.open(TABLE, &id, &sealed)? })).collect()
}

/// Whether a session is one with that device.
pub(crate) fn is_of_device(view: &impl Query, device: DeviceRow, session: &SessionId) -> Result<bool, StoreError> {
    let found = view.one(
        "SELECT 1 FROM session JOIN peer_inbox ON peer_inbox.id = session.peer_inbox WHERE session.session = ?1 AND peer_inbox.peer_device = ?2",
        params![session.as_bytes(), device.0],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// Stores a stepped session.
pub(crate) fn store(
    tx: &mut Tx<'_>,
    seal: &StateSeal,
    row: &SessionRow,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let sealed = seal.seal(TABLE, row.session.id().as_bytes(), &row.session, chance);
    tx.execute("UPDATE session SET state_sealed = ?2 WHERE id = ?1", params![row.row, sealed])?;
    Ok(())
}

/// Something under it was received: it no longer crosses with a session that the peer begins from now on.
pub(crate) fn answered(tx: &mut Tx<'_>, row: i64) -> Result<(), StoreError> {
    tx.execute("UPDATE session SET answered = 1 WHERE id = ?1 AND answered = 0", [row])?;
    Ok(())
}

/// Adds a session and decides which one to send on.
pub(crate) fn add(
    tx: &mut Tx<'_>,
    seal: &StateSeal,
    inbox: InboxRow,
    session: OlmSession,
    begun: Begun,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<SessionRow, StoreError> {
    let id = session.id();
    let rival = match begun {
        Begun::ByThem => crossing(tx, inbox)?,
        Begun::ByUs | Begun::Elsewhere => None,
    };
    let is_for_sending = begun != Begun::Elsewhere && rival.is_none_or(|(_, rival)| id < rival);
    if is_for_sending {
        tx.execute("UPDATE session SET sending = 0 WHERE peer_inbox = ?1 AND sending = 1", [inbox.0])?;
    }
    let sealed = seal.seal(TABLE, id.as_bytes(), &session, chance);
    let row = tx.insert(
        "INSERT INTO session (session, peer_inbox, inbound, answered, sending, created_at, state_sealed) VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)",
        params![id.as_bytes(), inbox.0, begun != Begun::ByUs, is_for_sending, ms(now), sealed],
    )?;
    tx.execute(
        "DELETE FROM session WHERE peer_inbox = ?1 AND sending = 0
         AND id NOT IN (SELECT id FROM session WHERE peer_inbox = ?1 ORDER BY sending DESC, id DESC LIMIT ?2)",
        params![inbox.0, KEPT_MAX],
    )?;
    Ok(SessionRow { row, session })
}

/// Our session to that inbox which the peer cannot have seen when it began its own: both began at once.
fn crossing(tx: &Tx<'_>, inbox: InboxRow) -> Result<Option<(i64, SessionId)>, StoreError> {
    tx.one(
        "SELECT id, session FROM session WHERE peer_inbox = ?1 AND sending = 1 AND inbound = 0 AND answered = 0",
        [inbox.0],
        |row| Ok((row.get(0)?, SessionId::from_bytes(row.get(1)?))),
    )
}

/// The next letter to that inbox begins a new session; what comes in on the old ones still opens. Sessions that the peer has answered
/// stay as they are.
pub(crate) fn begin_anew(tx: &mut Tx<'_>, inbox: InboxRow) -> Result<(), StoreError> {
    tx.execute("UPDATE session SET sending = 0 WHERE peer_inbox = ?1 AND sending = 1 AND answered = 0", [inbox.0])?;
    Ok(())
}

/// The next letter to that inbox begins a new session, whatever was heard on the one before.
pub(crate) fn stop_sending(tx: &mut Tx<'_>, inbox: InboxRow) -> Result<(), StoreError> {
    tx.execute("UPDATE session SET sending = 0 WHERE peer_inbox = ?1 AND sending = 1", [inbox.0])?;
    Ok(())
}

/// A request begins a session: one that they have begun meanwhile carries none.
pub(crate) fn begin_beside_theirs(tx: &mut Tx<'_>, inbox: InboxRow) -> Result<(), StoreError> {
    tx.execute("UPDATE session SET sending = 0 WHERE peer_inbox = ?1 AND sending = 1 AND inbound = 1", [inbox.0])?;
    Ok(())
}

/// Between two sessions that we begin because a device's letters cannot be opened (PROTOCOL E2): what it sends must not become a lever. This at
/// first, then twice as long each time.
const AFRESH_AFTER: Duration = Duration::from_secs(3600);
/// At most this long: by then letters that come are a day old, and whoever sends them hears of it daily.
const AFRESH_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
/// After so long without one the next counts as the first.
const AFRESH_FORGOTTEN: Duration = Duration::from_secs(7 * 24 * 3600);

/// Whether we may begin a session with a device because its letters cannot be opened. If so, one is counted.
pub(crate) fn may_begin_afresh(tx: &mut Tx<'_>, device: DeviceRow, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "SELECT fresh_session_at, fresh_sessions FROM peer_device WHERE id = ?1 AND listed = 1";
    let before = tx.one(sql, [device.0], |row| Ok((timestamp(row.get(0)?), row.get::<_, u32>(1)?)))?;
    let Some((last_at, count)) = before else { return Ok(false) };
    let count = if now >= last_at.after(AFRESH_FORGOTTEN) { 0 } else { count };
    let wait = AFRESH_AFTER.saturating_mul(1 << count.saturating_sub(1).min(8)).min(AFRESH_AFTER_MAX);
    // One that began after now was dated by a wild clock.
    if count > 0 && last_at <= now && now < last_at.after(wait) {
        return Ok(false);
    }
    tx.execute(
        "UPDATE peer_device SET fresh_session_at = ?2, fresh_sessions = ?3 WHERE id = ?1",
        params![device.0, ms(now), count + 1],
    )?;
    Ok(true)
}

/// Whether a session that began with the last-resort key was accepted once: its first message is a replay.
pub(crate) fn is_tombstone(view: &impl Query, session: &SessionId) -> Result<bool, StoreError> {
    Ok(view.one("SELECT 1 FROM session_tombstone WHERE session = ?1", [session.as_bytes()], |_| Ok(()))?.is_some())
}

/// Remembers it as long as a last-resort key lives: the current one, which outlives whichever was used.
pub(crate) fn bury(tx: &mut Tx<'_>, session: &SessionId, current: &KeyId) -> Result<(), StoreError> {
    tx.execute(
        "INSERT OR IGNORE INTO session_tombstone (session, key_id) VALUES (?1, ?2)",
        params![session.as_bytes(), current.as_ref()],
    )?;
    Ok(())
}
