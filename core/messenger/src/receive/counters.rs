//! How far a device's letters have come (PROTOCOL E4): the counter below which nothing is missing, and what came beyond a hole.
//!
//! A hole closes when its letter comes, or when its sender says that it never will: each letter names the oldest counter that may
//! still come. Whoever lies there harms nobody else: its own letters count as received, or its late ones as repeats. What was skipped in
//! that way is remembered all the same, because its sender can be asked whether something is missing that was to be seen (`healing`).

use rusqlite::params;
use sotto_crypto::letter::{Counters, Letter};

use crate::peer::DeviceRow;
use crate::store::column::{counter, stored};
use crate::store::{Query, StoreError, Tx};

/// Ranges beyond the first hole that are remembered per device: with one more hole, what comes behind it is taken all the same, and
/// counts when its sender, who hears of no confirmation, puts it again. A thousand holes are more than one relay makes in its life.
const RANGES_MAX: i64 = 1_024;
/// Ranges that were skipped and not asked about yet, per device. Of more nothing is said: their sender has given them up one by one.
const SKIPPED_MAX: i64 = 64;

/// What the counter of a letter says of the others.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    /// Letters from beyond a hole count now, and their sender has not heard of them yet.
    pub(super) closed_hole: bool,
    /// There is a hole that was not there before, or something was given up that never came.
    pub(super) lacks_more: bool,
    /// It is one of those that were missing.
    pub(super) was_missing: bool,
}

/// How far the letters of a device have come, during a batch.
pub(super) struct Counted {
    /// Nothing is missing up to here.
    pub(super) contiguous: u64,
    /// The highest that came.
    highest: u64,
    /// Whether something came beyond a hole: without, nothing is looked up.
    has_beyond: bool,
}

impl Counted {
    pub(super) fn load(tx: &Tx<'_>, device: DeviceRow, contiguous: u64) -> Result<Self, StoreError> {
        let highest = highest(tx, device)?;
        Ok(Self { contiguous, highest: highest.unwrap_or(0).max(contiguous), has_beyond: highest.is_some() })
    }

    /// Whether a letter of that counter was taken already, or given up by its sender: unless that has not said yet whether it said
    /// something, and says it now.
    pub(super) fn holds(&self, tx: &Tx<'_>, device: DeviceRow, counter: u64) -> Result<bool, StoreError> {
        if counter > self.highest {
            return Ok(false);
        }
        if counter <= self.contiguous {
            return Ok(!is_skipped(tx, device, counter)?);
        }
        Ok(range_before(tx, device, counter)?.is_some_and(|range| range.contains(counter)))
    }

    /// Counts a letter, whether it is new or not: what its sender gave up it says each time.
    pub(super) fn add(&mut self, tx: &mut Tx<'_>, device: DeviceRow, letter: &Letter) -> Result<Place, StoreError> {
        let is_between = letter.counter > self.contiguous && letter.counter < self.highest;
        let mut place =
            Place { was_missing: is_between && !self.holds(tx, device, letter.counter)?, ..Place::default() };
        if letter.counter <= self.contiguous {
            let only = Counters { first: letter.counter, last: letter.counter };
            place.was_missing |= forget_skipped(tx, device, only)?;
        }
        let given_up = letter.oldest.saturating_sub(1);
        if given_up > self.contiguous {
            for skipped in holes(tx, device, Counters { first: self.contiguous + 1, last: given_up })? {
                place.lacks_more |= remember_skipped(tx, device, skipped)?;
            }
            self.contiguous = given_up;
        }
        if letter.counter == self.contiguous.saturating_add(1) {
            self.contiguous = letter.counter;
        } else if letter.counter > self.contiguous {
            remember(tx, device, Counters { first: letter.counter, last: letter.counter })?;
            self.has_beyond = true;
        }
        place.lacks_more |= letter.counter > self.highest.max(self.contiguous).saturating_add(1);
        self.highest = self.highest.max(self.contiguous).max(letter.counter);
        place.closed_hole = self.absorb(tx, device)?;
        Ok(place)
    }

    /// Its sender says of these that they will not come. Says whether one of them was missing.
    pub(super) fn close(&mut self, tx: &mut Tx<'_>, device: DeviceRow, range: Counters) -> Result<bool, StoreError> {
        let mut was_missing = forget_skipped(tx, device, range)?;
        let open = Counters { first: range.first.max(self.contiguous + 1), last: range.last.min(self.highest) };
        if open.first <= open.last {
            for hole in holes(tx, device, open)? {
                remember(tx, device, hole)?;
                was_missing = true;
            }
            self.absorb(tx, device)?;
        }
        Ok(was_missing)
    }

    /// A letter of a handshake begins the count anew: what is missing below it was given up.
    pub(super) fn begin_anew(&mut self, tx: &mut Tx<'_>, device: DeviceRow, counter: u64) -> Result<(), StoreError> {
        let before = counter.saturating_sub(1);
        if self.contiguous < before {
            self.contiguous = before;
            self.highest = self.highest.max(before);
            self.absorb(tx, device)?;
        }
        tx.execute(
            "DELETE FROM skipped_counter WHERE peer_device = ?1 AND last <= ?2",
            params![device.0, stored(before)],
        )?;
        Ok(())
    }

    /// Moves over what came early. Says whether anything did.
    fn absorb(&mut self, tx: &mut Tx<'_>, device: DeviceRow) -> Result<bool, StoreError> {
        if !self.has_beyond {
            return Ok(false);
        }
        let mut moved = false;
        while let Some(range) = range_before(tx, device, self.contiguous.saturating_add(1))? {
            tx.execute(
                "DELETE FROM received_counter WHERE peer_device = ?1 AND first <= ?2",
                params![device.0, stored(range.first)],
            )?;
            self.contiguous = self.contiguous.max(range.last);
            moved = true;
        }
        self.has_beyond = self.highest > self.contiguous;
        Ok(moved)
    }
}

/// What is missing of a device's letters: given up without a word, or below something that came. In order and apart.
pub(crate) fn lacking(view: &impl Query, device: DeviceRow, contiguous: u64) -> Result<Vec<Counters>, StoreError> {
    let mut lacking = view.all(
        "SELECT first, last FROM skipped_counter WHERE peer_device = ?1 ORDER BY first",
        [device.0],
        read_range,
    )?;
    if let Some(highest) = highest(view, device)?.filter(|highest| *highest > contiguous) {
        lacking.extend(holes(view, device, Counters { first: contiguous + 1, last: highest })?);
    }
    lacking.sort_unstable_by_key(|range| range.first);
    lacking.dedup_by(|next, range| {
        let touches = next.first <= range.last.saturating_add(1);
        if touches {
            range.last = range.last.max(next.last);
        }
        touches
    });
    Ok(lacking)
}

/// The highest counter that came, if anything came beyond a hole.
pub(crate) fn highest(view: &impl Query, device: DeviceRow) -> Result<Option<u64>, StoreError> {
    let last = "SELECT max(last) FROM received_counter WHERE peer_device = ?1";
    Ok(view.one(last, [device.0], |row| row.get::<_, Option<i64>>(0))?.flatten().map(counter))
}

/// The parts of a range that did not come.
fn holes(view: &impl Query, device: DeviceRow, within: Counters) -> Result<Vec<Counters>, StoreError> {
    let came = view.all(
        "SELECT first, last FROM received_counter WHERE peer_device = ?1 AND first <= ?2 ORDER BY first",
        params![device.0, stored(within.last)],
        read_range,
    )?;
    let mut holes = Vec::new();
    let mut next = within.first;
    for range in came.into_iter().filter(|range| range.last >= within.first) {
        if range.first > next {
            holes.push(Counters { first: next, last: range.first - 1 });
        }
        next = next.max(range.last.saturating_add(1));
    }
    if next <= within.last {
        holes.push(Counters { first: next, last: within.last });
    }
    Ok(holes)
}

/// The range that contains a counter, or else the last one before it.
fn range_before(view: &impl Query, device: DeviceRow, counter: u64) -> Result<Option<Counters>, StoreError> {
    view.one(
        "SELECT first, last FROM received_counter WHERE peer_device = ?1 AND first <= ?2 ORDER BY first DESC LIMIT 1",
        params![device.0, stored(counter)],
        read_range,
    )
}

fn read_range(row: &rusqlite::Row<'_>) -> rusqlite::Result<Counters> {
    Ok(Counters { first: counter(row.get(0)?), last: counter(row.get(1)?) })
}

/// Remembers counters of which none came before: as part of the ranges that they touch, or as one of their own.
fn remember(tx: &mut Tx<'_>, device: DeviceRow, new: Counters) -> Result<(), StoreError> {
    let before = range_before(tx, device, new.first)?;
    if before.is_some_and(|before| before.last >= new.last) {
        return Ok(());
    }
    let joined = before.filter(|before| before.last.saturating_add(1) >= new.first);
    let behind = tx.one(
        "SELECT first, last FROM received_counter WHERE peer_device = ?1 AND first = ?2",
        params![device.0, stored(new.last.saturating_add(1))],
        read_range,
    )?;
    let (first, last) = (joined.map_or(new.first, |joined| joined.first), behind.map_or(new.last, |range| range.last));
    if let Some(behind) = behind {
        tx.execute(
            "DELETE FROM received_counter WHERE peer_device = ?1 AND first = ?2",
            params![device.0, stored(behind.first)],
        )?;
    }
    if joined.is_some() {
        tx.execute(
            "UPDATE received_counter SET last = ?3 WHERE peer_device = ?1 AND first = ?2",
            params![device.0, stored(first), stored(last)],
        )?;
        return Ok(());
    }
    tx.execute(
        "INSERT OR IGNORE INTO received_counter (peer_device, first, last)
         SELECT ?1, ?2, ?3 WHERE (SELECT count(*) FROM received_counter WHERE peer_device = ?1) < ?4",
        params![device.0, stored(first), stored(last), RANGES_MAX],
    )?;
    Ok(())
}

fn remember_skipped(tx: &mut Tx<'_>, device: DeviceRow, skipped: Counters) -> Result<bool, StoreError> {
    let inserted = tx.execute(
        "INSERT OR IGNORE INTO skipped_counter (peer_device, first, last)
         SELECT ?1, ?2, ?3 WHERE (SELECT count(*) FROM skipped_counter WHERE peer_device = ?1) < ?4",
        params![device.0, stored(skipped.first), stored(skipped.last), SKIPPED_MAX],
    )?;
    Ok(inserted > 0)
}

fn is_skipped(view: &impl Query, device: DeviceRow, counter: u64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM skipped_counter WHERE peer_device = ?1 AND first <= ?2 AND last >= ?2";
    Ok(view.one(sql, params![device.0, stored(counter)], |_| Ok(()))?.is_some())
}

/// Takes these out of what was skipped. Says whether any of them was.
fn forget_skipped(tx: &mut Tx<'_>, device: DeviceRow, range: Counters) -> Result<bool, StoreError> {
    let touched = tx.all(
        "SELECT first, last FROM skipped_counter WHERE peer_device = ?1 AND first <= ?3 AND last >= ?2",
        params![device.0, stored(range.first), stored(range.last)],
        read_range,
    )?;
    for skipped in &touched {
        tx.execute(
            "DELETE FROM skipped_counter WHERE peer_device = ?1 AND first = ?2",
            params![device.0, stored(skipped.first)],
        )?;
        if skipped.first < range.first {
            remember_skipped(tx, device, Counters { first: skipped.first, last: range.first - 1 })?;
        }
        if skipped.last > range.last {
            remember_skipped(tx, device, Counters { first: range.last + 1, last: skipped.last })?;
        }
    }
    Ok(!touched.is_empty())
}
