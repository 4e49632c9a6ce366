//! Profiles: what we want to be seen as, and what contacts do (`docs/protocol.md` section 6, "Profiles").
//!
//! Ours is a setting of the account, so that all our devices agree. Whoever sets it tells all contacts; devices that are new, and those
//! of whoever was blocked or no contact then, are told by any device of ours that finds them untold. Strangers, and who is blocked, hear
//! nothing of it beyond the name that a request and its answer bear.

use rusqlite::params;
use sotto_crypto::letter::{Channel, Content, Profile};
use sotto_protocol::{Bytes, Timestamp};

use crate::contact::ContactRow;
use crate::error::Error;
use crate::outbox;
use crate::own::Own;
use crate::peer::DeviceRow;
use crate::settings::{self, Key, Of};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// How many versions of a contact's profile may have been made of which none has come here: nobody makes as many in a life, and a device
/// that was stolen from them would have the last word for good.
const VERSIONS_AHEAD_MAX: u64 = 1 << 20;

/// The devices that may hear of our profile, and have not.
const UNTOLD: &str = "SELECT peer_device.id FROM peer_device INDEXED BY peer_device_profile_untold JOIN contact ON contact.id = peer_device.contact
    WHERE profile_untold = 1 AND listed = 1 AND contact.id != 0 AND contact.state = 3 AND contact.blocked = 0 AND contact.trust = 0
    ORDER BY peer_device.id";

/// Ours, where somebody has set one.
pub(crate) fn own(view: &impl Query) -> Result<Option<Profile>, StoreError> {
    Ok(read(settings::get(view, Of::Account, Key::Profile)?))
}

/// Sets ours, and tells all contacts. Nothing is done where it is so already.
pub(crate) fn set(
    tx: &mut Tx<'_>,
    own: &Own,
    name: String,
    status: String,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), Error> {
    if self::own(tx)?.is_some_and(|known| known.name == name && known.status == status) {
        return Ok(());
    }
    let version = settings::next_version(tx, Of::Account, Key::Profile)?;
    let profile = Content::Profile(Profile { version, device: own.party.device, name, status });
    let profile = profile.encode().map_err(|_| StoreError::Failed)?;
    settings::set(tx, own, Of::Account, Key::Profile, &profile, now, chance)?;
    nobody_is_told(tx)?;
    tell(tx, now, chance)
}

/// Ours was set, here or on another device, which tells whom it can. Whoever may not hear it now hears it when they may, from any device of ours.
pub(crate) fn settle(tx: &mut Tx<'_>, profile: &[u8]) -> Result<(), StoreError> {
    let Some(profile) = read(profile.to_vec()) else { return Ok(()) };
    tx.execute("UPDATE account SET name = ?1", [profile.name])?;
    nobody_is_told(tx)?;
    are_told(tx, &untold(tx)?)
}

/// Everybody is told by this device: it was set here, or whoever has set it may be gone without having told anybody.
pub(crate) fn nobody_is_told(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("UPDATE peer_device SET profile_untold = 1 WHERE contact != 0", []).map(drop)
}

/// Whether somebody is to be told.
pub(crate) fn is_due(view: &impl Query) -> Result<bool, StoreError> {
    Ok(own(view)?.is_some() && !untold(view)?.is_empty())
}

/// Tells them.
pub(crate) fn tell(tx: &mut Tx<'_>, now: Timestamp, chance: &mut Chance<'_>) -> Result<(), Error> {
    let Some(profile) = own(tx)? else { return Ok(()) };
    let devices = untold(tx)?;
    are_told(tx, &devices)?;
    outbox::queue_content_to(tx, &devices, &Content::Profile(profile), None, None, now, chance)
}

fn untold(view: &impl Query) -> Result<Vec<DeviceRow>, StoreError> {
    view.all(UNTOLD, [], |row| row.get(0).map(DeviceRow))
}

fn are_told(tx: &mut Tx<'_>, devices: &[DeviceRow]) -> Result<(), StoreError> {
    for device in devices {
        tx.execute("UPDATE peer_device SET profile_untold = 0 WHERE id = ?1", [device.0])?;
    }
    Ok(())
}

/// A contact's, where they have told one.
pub(crate) fn known(view: &impl Query, contact: ContactRow) -> Result<Option<Profile>, StoreError> {
    let profile = view.one("SELECT profile FROM contact WHERE id = ?1", [contact.0], |row| row.get(0))?;
    Ok(profile.flatten().and_then(read))
}

/// A contact wants to be seen as this. Says whether that is news.
pub(crate) fn take(tx: &mut Tx<'_>, contact: ContactRow, profile: &Profile) -> Result<bool, StoreError> {
    let known = known(tx, contact)?;
    let version = known.as_ref().map_or(0, |known| known.version);
    if known.is_some_and(|known| !profile.order(&known).is_gt()) {
        return Ok(false);
    }
    if profile.version > version.saturating_add(VERSIONS_AHEAD_MAX) {
        tracing::warn!("a contact leaves no version of a profile to be made later");
        return Ok(false);
    }
    let content = Content::Profile(profile.clone()).encode().map_err(|_| StoreError::Failed)?;
    tx.execute(
        "UPDATE contact SET profile = ?2, name = ?3 WHERE id = ?1",
        params![contact.0, content.as_ref(), profile.name],
    )?;
    Ok(true)
}

fn read(content: Vec<u8>) -> Option<Profile> {
    match Content::decode(&Bytes::from(content), Channel::Contact) {
        Ok(Content::Profile(profile)) => Some(profile),
        _ => None,
    }
}
