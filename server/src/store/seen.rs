//! Which envelopes were accepted before: one table per day, dropped whole once its day is over.
//!
//! The day is the one that the envelope id begins with, so a repeat finds its table without searching, and a day whose table is gone
//! is a day whose envelopes are refused as stale. The first day that is still open only moves forward and is stored: a clock that
//! is turned back opens no day whose memory is gone. It moves with the time that has surely passed (`sure_time.rs`): a clock that is
//! wrong for an hour must not make everything of today stale.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};
use sotto_protocol::EnvelopeId;

use super::transaction::{Sql, Tx};

/// The tables there are.
#[derive(Default)]
pub(crate) struct SeenDays {
    known: Option<Known>,
}

struct Known {
    day_min: u32,
    tables: BTreeMap<u32, Statements>,
}

struct Statements {
    find: String,
    add: String,
}

impl Statements {
    fn new(day: u32) -> Self {
        Self {
            find: format!("SELECT 1 FROM seen_{day} WHERE inbox = ?1 AND envelope = ?2"),
            add: format!("INSERT OR IGNORE INTO seen_{day} (inbox, envelope) VALUES (?1, ?2)"),
        }
    }
}

const PREFIX: &str = "seen_";

impl SeenDays {
    /// After a batch that was undone: tables may not be there after all.
    pub(crate) fn forget(&mut self) {
        self.known = None;
    }

    /// The first day whose envelopes are accepted, whatever the clock says.
    pub(crate) fn day_min(&mut self, tx: &Tx<'_>) -> Sql<u32> {
        Ok(self.known(tx)?.day_min)
    }

    /// Whether `envelope` was put into `inbox` before.
    pub(crate) fn contains(&mut self, tx: &Tx<'_>, inbox: i64, envelope: &EnvelopeId) -> Sql<bool> {
        match self.known(tx)?.tables.get(&envelope.day()) {
            None => Ok(false),
            Some(table) => {
                let found = tx.row(&table.find, params![inbox, random_part(envelope)], |_| Ok(()))?;
                Ok(found.is_some())
            }
        }
    }

    /// Remembers it, and says whether that was new.
    pub(crate) fn add(&mut self, tx: &mut Tx<'_>, inbox: i64, envelope: &EnvelopeId) -> Sql<bool> {
        let day = envelope.day();
        self.open(tx, day)?;
        match self.known(tx)?.tables.get(&day) {
            Some(table) => Ok(tx.execute(&table.add, params![inbox, random_part(envelope)])? == 1),
            None => Ok(false),
        }
    }

    /// Makes sure that the day has its table.
    pub(crate) fn open(&mut self, tx: &mut Tx<'_>, day: u32) -> Sql<()> {
        if self.known(tx)?.tables.contains_key(&day) {
            return Ok(());
        }
        tx.execute(
            &format!(
                "CREATE TABLE IF NOT EXISTS {PREFIX}{day} (
                     inbox    INTEGER NOT NULL,
                     envelope BLOB    NOT NULL, -- without its day
                     PRIMARY KEY (inbox, envelope)
                 ) STRICT, WITHOUT ROWID"
            ),
            [],
        )?;
        self.known(tx)?.tables.insert(day, Statements::new(day));
        Ok(())
    }

    /// Closes every day before `day_min`; drops at most one table, and says whether there are more.
    pub(crate) fn close_before(&mut self, tx: &mut Tx<'_>, day_min: u32) -> Sql<bool> {
        let known = self.known(tx)?;
        if known.day_min < day_min {
            known.day_min = day_min;
            tx.execute("UPDATE relay SET seen_day_min = ?1 WHERE id = 1", [day_min])?;
        }
        let Some(day) = known.tables.range(..day_min).next().map(|(day, _)| *day) else { return Ok(false) };
        known.tables.remove(&day);
        let has_more = known.tables.range(..day_min).next().is_some();
        // Dropping it would write every one of its pages anew with zeros, in one transaction that holds up every sender. What stays
        // on free pages until they are used again are random numbers that name nothing any more.
        tx.connection.pragma_update(None, "secure_delete", false)?;
        let dropped = tx.execute(&format!("DROP TABLE IF EXISTS {PREFIX}{day}"), []);
        tx.connection.pragma_update(None, "secure_delete", true)?;
        dropped?;
        Ok(has_more)
    }

    fn known(&mut self, tx: &Tx<'_>) -> Sql<&mut Known> {
        if self.known.is_none() {
            self.known = Some(load(tx)?);
        }
        Ok(self.known.as_mut().expect("set on the line before"))
    }
}

fn load(tx: &Tx<'_>) -> Sql<Known> {
    let day_min = tx.connection.query_row("SELECT seen_day_min FROM relay", [], |row| row.get(0)).optional()?;
    let names: Vec<String> =
        tx.rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'seen_[0-9]*'", [], |row| {
            row.get(0)
        })?;
    let days = names.iter().filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok());
    Ok(Known { day_min: day_min.unwrap_or(0), tables: days.map(|day| (day, Statements::new(day))).collect() })
}

fn random_part(envelope: &EnvelopeId) -> &[u8] {
    &envelope.as_bytes()[4..]
}
