//! How far a device's letters have come (PROTOCOL E4): the counter below which nothing is missing, and what came beyond a hole.
//!
//! A hole closes when its letter comes, or when its sender says that it never will: each letter names the oldest counter that may
//! still come. Whoever lies there harms nobody else: its own letters count as received, or its late ones as repeats.

use rusqlite::params;
use sotto_crypto::letter::Letter;

use crate::peer::DeviceRow;
use crate::store::column::stored;
use crate::store::{Query, StoreError, Tx};

/// Letters beyond a hole that are remembered per device. One more is taken all the same; it counts when its sender, who hears of no
/// confirmation, puts it again. A thousand letters a week for a month behind one hole, and a hundred kilobytes.
const BEYOND_MAX: i64 = 4_096;

/// How far the letters of a device have come, during a batch.
pub(super) struct Counted {
    /// Nothing is missing up to here.
    pub(super) contiguous: u64,
    /// Whether counters beyond a hole may be remembered: without, nothing is looked up.
    has_beyond: bool,
}

impl Counted {
    pub(super) fn load(tx: &Tx<'_>, device: DeviceRow, contiguous: u64) -> Result<Self, StoreError> {
        Ok(Self { contiguous, has_beyond: first_beyond(tx, device)?.is_some() })
    }

    /// Whether a letter of that counter was taken already, or given up by its sender.
    pub(super) fn holds(&self, tx: &Tx<'_>, device: DeviceRow, counter: u64) -> Result<bool, StoreError> {
        if counter <= self.contiguous || !self.has_beyond {
            return Ok(counter <= self.contiguous);
        }
        let beyond = "SELECT 1 FROM received_counter WHERE peer_device = ?1 AND counter = ?2";
        Ok(tx.one(beyond, params![device.0, stored(counter)], |_| Ok(()))?.is_some())
    }

    /// Counts a letter, whether it is new or not: what its sender gave up it says each time. Says whether a hole closed: letters from
    /// beyond it count now, and their sender has not heard of them yet.
    pub(super) fn add(&mut self, tx: &mut Tx<'_>, device: DeviceRow, letter: &Letter) -> Result<bool, StoreError> {
        let mut next = self.contiguous.max(letter.oldest.saturating_sub(1));
        if letter.counter == next.saturating_add(1) {
            next = letter.counter;
        } else if letter.counter > next {
            remember_beyond(tx, device, letter.counter)?;
            self.has_beyond = true;
        }
        let mut closed_hole = false;
        while self.has_beyond {
            let Some(first) = first_beyond(tx, device)? else {
                self.has_beyond = false;
                break;
            };
            if first > stored(next.saturating_add(1)) {
                break;
            }
            forget_up_to(tx, device, first.max(stored(next)))?;
            next = next.max(crate::store::column::counter(first));
            closed_hole = true;
        }
        self.contiguous = next;
        Ok(closed_hole)
    }

    /// A letter of a handshake begins the count anew: what is missing below it was given up.
    pub(super) fn begin_anew(&mut self, tx: &mut Tx<'_>, device: DeviceRow, counter: u64) -> Result<(), StoreError> {
        let before = counter.saturating_sub(1);
        if self.contiguous < before {
            self.contiguous = before;
            forget_up_to(tx, device, stored(before))?;
        }
        Ok(())
    }
}

fn forget_up_to(tx: &mut Tx<'_>, device: DeviceRow, counter: i64) -> Result<(), StoreError> {
    tx.execute("DELETE FROM received_counter WHERE peer_device = ?1 AND counter <= ?2", params![device.0, counter])?;
    Ok(())
}

fn first_beyond(tx: &Tx<'_>, device: DeviceRow) -> Result<Option<i64>, StoreError> {
    let first = "SELECT min(counter) FROM received_counter WHERE peer_device = ?1";
    Ok(tx.one(first, [device.0], |row| row.get::<_, Option<i64>>(0))?.flatten())
}

fn remember_beyond(tx: &mut Tx<'_>, device: DeviceRow, counter: u64) -> Result<(), StoreError> {
    tx.execute(
        "INSERT OR IGNORE INTO received_counter (peer_device, counter)
         SELECT ?1, ?2 WHERE (SELECT count(*) FROM received_counter WHERE peer_device = ?1) < ?3",
        params![device.0, stored(counter), BEYOND_MAX],
    )?;
    Ok(())
}
