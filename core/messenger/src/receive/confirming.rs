//! When a device hears what was received of it.

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::letter::Content;
use sotto_protocol::Timestamp;

use super::Device;
use crate::peer::DeviceRow;
use crate::store::column::{ms, stored};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// A device that heard nothing from us for so many letters is told soon: its seals stay openers until then.
const CONFIRM_AFTER_LETTERS: u32 = 32;
/// How soon; spread, so that it does not say when exactly the phone was on.
const CONFIRM_SOON: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// With nothing to say, what was received is confirmed within a day.
const CONFIRM_LATE: (Duration, Duration) = (Duration::from_secs(6 * 3600), Duration::from_secs(20 * 3600));

/// What only makes up for letters that were lost is not worth another.
pub(super) const fn asks_to_be_confirmed(content: &Content) -> bool {
    !matches!(content, Content::Confirmation | Content::ResendRequest(_) | Content::GivenUp(_))
}

/// Writes how far a device's letters have come, and when it must hear of it.
pub(super) fn owe_confirmation(
    tx: &mut Tx<'_>,
    row: DeviceRow,
    device: &Device,
    now: Timestamp,
    chance: &Chance<'_>,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE peer_device SET received = ?2, spoke_at = max(spoke_at, ?3) WHERE id = ?1",
        params![row.0, stored(device.counted.contiguous), ms(device.spoke_at)],
    )?;
    if device.to_confirm == 0 {
        return Ok(());
    }
    let unconfirmed: u32 =
        tx.one("SELECT unconfirmed FROM peer_device WHERE id = ?1", [row.0], |row| row.get(0))?.unwrap_or(0);
    let unconfirmed = unconfirmed.saturating_add(device.to_confirm);
    let (min, max) = if unconfirmed >= CONFIRM_AFTER_LETTERS { CONFIRM_SOON } else { CONFIRM_LATE };
    let due = now.after(chance.duration(min, max));
    tx.execute(
        "UPDATE peer_device SET unconfirmed = ?2, confirm_due = min(coalesce(confirm_due, ?3), ?3) WHERE id = ?1",
        params![row.0, unconfirmed, ms(due)],
    )?;
    Ok(())
}
