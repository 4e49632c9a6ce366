//! The memory of a relay that has run for long: ids of envelopes that it accepted on the days before.
//!
//! Written straight into the tables that `server/src/store/seen.rs` makes, because accepting them one by one would take hours. Were
//! the tables made differently, the relay would fail at the first envelope of such a day.

use std::path::Path;

use rusqlite::{Connection, params};
use sotto_core::world::{Clock as _, SystemClock};
use sotto_protocol::EnvelopeId;

use crate::Outcome;

/// Days that a relay remembers.
pub(crate) const DAYS: usize = 37;
/// Inboxes they went to.
const INBOXES: usize = 10_000;

/// Writes so many ids, evenly over the days up to today, into the database of a relay that does not run.
pub(crate) fn remember(data: &Path, ids: usize) -> Outcome<()> {
    let mut database = Connection::open(data.join("relay.sqlite"))?;
    // Nothing that is lost here is missed: a cut means that the measurement begins again.
    database.pragma_update(None, "synchronous", "OFF")?;
    let today = EnvelopeId::new(SystemClock.now(), rand::random()).day();
    for day in today - u32::try_from(DAYS)? + 1..=today {
        let transaction = database.transaction()?;
        transaction.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS seen_{day} (inbox INTEGER NOT NULL, envelope BLOB NOT NULL, \
             PRIMARY KEY (inbox, envelope)) STRICT, WITHOUT ROWID"
        ))?;
        let mut add = transaction.prepare(&format!("INSERT INTO seen_{day} VALUES (?1, ?2)"))?;
        let each = ids / DAYS / INBOXES;
        for inbox in 1..=i64::try_from(INBOXES)? {
            let mut names: Vec<[u8; 12]> = (0..each.max(1)).map(|_| rand::random()).collect();
            // In the table's order, which is the fast one.
            names.sort_unstable();
            for name in names {
                add.execute(params![inbox, name])?;
            }
        }
        drop(add);
        transaction.commit()?;
    }
    // Into the database itself: what the relay moves out of its log later counts as its own work.
    let is_busy: bool = database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy { Err("the log could not be moved".into()) } else { Ok(()) }
}
