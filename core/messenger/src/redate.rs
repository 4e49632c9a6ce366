//! Dates that a wild clock has made up.
//!
//! What is dated here is dated by the network's time, which with one relay is that relay's clock, or by the later of that and our own, where
//! a date too early would make something forgotten too soon. What was dated further ahead than others
//! believe, by every clock that we know now, was dated by a clock that has been set right since: it counts as dated now. Otherwise a minute
//! of a wild clock would last for as long as it was ahead: letters never put again, confirmations never due, seals never worn.
//! The list of an invite that was made under such a clock is refused by everybody who uses it: it is signed anew (`upkeep.rs`), and the invite
//! ends as long after now as it was made for. Its link says a later end, up to which nobody is told that it is over.
//! Not here: what else is made anew because others would refuse its date (`prekey.rs`, `own/chain.rs`).

use std::time::Duration;

use sotto_protocol::Timestamp;
use sotto_protocol::limits::DATED_AHEAD_MAX;

use crate::conversation;
use crate::handshake::UNDER_WAY;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};

/// Columns that hold when something happened here, with the rows in which it still matters.
const PAST: [(&str, &str, &str); 17] = [
    ("outbox", "accepted_at", "state = 2"),
    ("relay_out", "since", "1"),
    ("outbox", "encrypted_at", "state <= 2"),
    ("own_inbox", "one_time_made_at", "1"),
    ("session", "created_at", "1"),
    ("seal_out", "confirmed_at", "1"),
    ("waiting", "stored_at", "1"),
    ("conversation", "last_at", "1"),
    ("peer_device", "fresh_session_at", "1"),
    ("contact", "asked_at", "state = 2"),
    ("kem_key", "retired_at", "1"),
    ("kem_key", "replaced_at", "1"),
    ("peer_device", "left_at", "1"),
    ("peer_device", "asked_at", "1"),
    ("peer_device", "answers_since", "1"),
    ("relay_task", "failed_at", "1"),
    // A few seconds ahead at most.
    ("to_tell", "due_at", "1"),
];

/// When a device hears what came of it: within a day of being written, and no later.
const SOON: (&str, &str, &str) = ("peer_device", "confirm_due", "1");
/// When it is asked for what is missing: likewise.
const ASKED_SOON: (&str, &str, &str) = ("peer_device", "ask_at", "1");
/// That day.
const SOON_MAX: Duration = Duration::from_secs(24 * 3600);
/// When nothing comes any more under an alias whose token was dropped, and how long after that.
const DROPPED: (&str, &str, &str) = ("alias", "over_at", "dropped = 1");

/// Whether there is such a date where it is seen at once: a look at the ends of indexes and at two short tables, cheap enough for every turn.
pub(crate) fn is_due(view: &impl Query, judging_now: Timestamp) -> Result<bool, StoreError> {
    let latest = latest(view, judging_now)?;
    let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM outbox WHERE state = 2 AND accepted_at > ?1)
               OR EXISTS (SELECT 1 FROM conversation WHERE archived IN (0, 1) AND pinned IN (0, 1) AND last_at > ?1)
               OR EXISTS (SELECT 1 FROM invite WHERE created_at > ?1)
               OR EXISTS (SELECT 1 FROM to_tell WHERE due_at > ?1)
               OR EXISTS (SELECT 1 FROM peer_device WHERE confirm_due IS NOT NULL AND confirm_due > ?2)";
    let ahead = latest.after(DATED_AHEAD_MAX);
    Ok(view.one(sql, [ms(ahead), ms(ahead.after(SOON_MAX))], |_| Ok(()))?.is_some())
}

/// Remembers a time that has surely passed.
pub(crate) fn note_sure(tx: &mut Tx<'_>, sure_now: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO meta (key, value) VALUES ('sure_at', ?1) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)";
    tx.execute(sql, [ms(sure_now)]).map(drop)
}

/// The latest time by any clock, and no earlier than one that has surely passed: when all clocks fall back together, what was dated before
/// is right.
fn latest(view: &impl Query, judging_now: Timestamp) -> Result<Timestamp, StoreError> {
    let sure_at = view.one("SELECT value FROM meta WHERE key = 'sure_at'", [], |row| row.get::<_, i64>(0))?;
    Ok(sure_at.map(timestamp).map_or(judging_now, |sure_at| sure_at.max(judging_now)))
}

/// Dates messages anew that are dated ahead of the latest time by any clock.
pub(crate) fn set_messages_right(tx: &mut Tx<'_>, judging_now: Timestamp) -> Result<(), StoreError> {
    let latest = latest(tx, judging_now)?;
    conversation::set_right(tx, latest)
}

/// Lists that others refuse, because they are dated ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ListsAhead {
    /// Of an invite, at least.
    Some,
    None,
}

/// Dates anew what is dated ahead of the latest time by any clock. Says whether lists must be signed anew.
pub(crate) fn set_right(tx: &mut Tx<'_>, judging_now: Timestamp) -> Result<ListsAhead, StoreError> {
    let latest = latest(tx, judging_now)?;
    let (now, ahead) = (ms(latest), ms(latest.after(DATED_AHEAD_MAX)));
    for (table, column, matters) in PAST {
        tx.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE {column} > ?2 AND {matters}"), [now, ahead])?;
    }
    for ((table, column, matters), last, most) in
        [(SOON, latest, SOON_MAX), (ASKED_SOON, latest, SOON_MAX), (DROPPED, latest.after(UNDER_WAY), UNDER_WAY)]
    {
        let ahead = latest.after(DATED_AHEAD_MAX).after(most);
        tx.execute(
            &format!("UPDATE {table} SET {column} = ?1 WHERE {column} > ?2 AND {matters}"),
            [ms(last), ms(ahead)],
        )?;
    }
    conversation::set_right(tx, latest)?;
    tx.execute("UPDATE seen_inner SET day = ?1 WHERE day > ?2", [latest.day(), latest.after(DATED_AHEAD_MAX).day()])?;
    let sql = "UPDATE invite SET expires_at = expires_at - created_at + ?1, created_at = ?1 WHERE created_at > ?2";
    Ok(if tx.execute(sql, [now, ahead])? > 0 { ListsAhead::Some } else { ListsAhead::None })
}
