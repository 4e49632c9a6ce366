//! Seals at rest: the one we send under per peer inbox, and those that peers send under to us (PROTOCOL D).
//!
//! ```text
//! ours    Unconfirmed (letters are openers, the same enc) --peer says opened--> Confirmed (letters are continuations)
//!         --peer's KEM key changed, or 100 letters or 48 h after the confirmation--> a new Unconfirmed
//! theirs  Installed --four newer ones of the same device, to the same inbox--> Retired (secret erased, hash kept: it installs nothing again)
//!         Retired --its KEM key is erased--> gone (nothing opens it any more)
//! ```

use rusqlite::params;
use sotto_crypto::seal::{Opened, OpenerHash, SealKey, SealMaker};
use sotto_protocol::limits::{SEAL_AGE_MAX, SEAL_LETTERS_MAX};
use sotto_protocol::{KeyId, Timestamp};

use crate::contact::ContactRow;
use crate::peer::{DeviceRow, InboxRow};
use crate::state::StateSeal;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::world::Chance;

/// Installed keys kept per device and inbox of ours: the current one, and those of letters that wait at its relay.
const KEPT_MAX: i64 = 4;

const OUT: &str = "seal_out";
const IN: &str = "seal_in";

/// The seal that we send under to an inbox.
pub(crate) struct SealOut {
    pub(crate) maker: SealMaker,
    pub(crate) confirmed_at: Option<Timestamp>,
    pub(crate) letters: u32,
}

impl SealOut {
    /// Whether its time is over by PROTOCOL D3; a change of the peer's KEM key is judged by who has read the new bundle.
    pub(crate) fn is_worn(&self, now: Timestamp) -> bool {
        self.confirmed_at.is_some_and(|at| self.letters >= SEAL_LETTERS_MAX || now >= at.after(SEAL_AGE_MAX))
    }
}

/// Ours to an inbox.
pub(crate) fn out(view: &impl Query, seal: &StateSeal, inbox: InboxRow) -> Result<Option<SealOut>, StoreError> {
    let row =
        view.one("SELECT state_sealed, confirmed_at, letters FROM seal_out WHERE peer_inbox = ?1", [inbox.0], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Option<i64>>(1)?, row.get(2)?))
        })?;
    row.map(|(sealed, confirmed_at, letters)| {
        let maker = seal.open(OUT, &inbox.0.to_be_bytes(), &sealed)?;
        Ok(SealOut { maker, confirmed_at: confirmed_at.map(timestamp), letters })
    })
    .transpose()
}

/// Sends under a new one from now on.
pub(crate) fn replace_out(
    tx: &mut Tx<'_>,
    seal: &StateSeal,
    inbox: InboxRow,
    maker: &SealMaker,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT OR REPLACE INTO seal_out (peer_inbox, opener, state_sealed, made_at) VALUES (?1, ?2, ?3, ?4)",
        params![inbox.0, maker.opener().as_bytes(), seal.seal(OUT, &inbox.0.to_be_bytes(), maker, chance), ms(now)],
    )?;
    Ok(())
}

/// So many letters went under it.
pub(crate) fn count_letters(tx: &mut Tx<'_>, inbox: InboxRow, letters: usize) -> Result<(), StoreError> {
    let letters = i64::try_from(letters).unwrap_or(i64::MAX);
    tx.execute(
        "UPDATE seal_out SET letters = letters + ?2 WHERE peer_inbox = ?1 AND confirmed_at IS NOT NULL",
        params![inbox.0, letters],
    )?;
    Ok(())
}

/// A device says that it has installed one of ours.
pub(crate) fn confirm_out(
    tx: &mut Tx<'_>,
    device: DeviceRow,
    opened: &Opened,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE seal_out SET confirmed_at = ?3 WHERE confirmed_at IS NULL AND substr(opener, 1, 16) = ?2
         AND peer_inbox IN (SELECT id FROM peer_inbox WHERE peer_device = ?1)",
        params![device.0, opened.as_bytes(), ms(now)],
    )?;
    Ok(())
}

/// A key that a peer's device sends under.
#[derive(Clone)]
pub(crate) struct SealIn {
    pub(crate) row: i64,
    pub(crate) device: DeviceRow,
    pub(crate) key: SealKey,
    pub(crate) announced: bool,
}

/// The keys of a contact that are installed for an inbox of ours, the newest first: a tag names one of them.
pub(crate) fn installed(
    view: &impl Query,
    seal: &StateSeal,
    contact: ContactRow,
    own_inbox: i64,
) -> Result<Vec<SealIn>, StoreError> {
    let rows = view.all(
        "SELECT seal_in.id, seal_in.peer_device, seal_in.state_sealed, seal_in.announced, seal_in.opener
         FROM peer_device JOIN seal_in ON seal_in.peer_device = peer_device.id
         WHERE peer_device.contact = ?1 AND seal_in.own_inbox = ?2 AND seal_in.state_sealed IS NOT NULL ORDER BY seal_in.id DESC",
        params![contact.0, own_inbox],
        |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, Vec<u8>>(2)?,
                row.get(3)?,
                row.get::<_, [u8; 32]>(4)?,
            ))
        },
    )?;
    rows.into_iter()
        .map(|(row, device, sealed, announced, opener)| {
            Ok(SealIn { row, device: DeviceRow(device), key: seal.open(IN, &opener, &sealed)?, announced })
        })
        .collect()
}

/// Whether an opener's key is installed, or was.
pub(crate) fn is_known(view: &impl Query, opener: &OpenerHash) -> Result<bool, StoreError> {
    Ok(view.one("SELECT 1 FROM seal_in WHERE opener = ?1", [opener.as_bytes()], |_| Ok(()))?.is_some())
}

/// Where an opener came from and to, and what it was made for.
pub(crate) struct Opening {
    pub(crate) device: DeviceRow,
    pub(crate) own_inbox: i64,
    pub(crate) key_id: KeyId,
}

/// Installs the key of an opener whose letter has authenticated its maker; older ones of the same device to the same inbox retire.
pub(crate) fn install(
    tx: &mut Tx<'_>,
    seal: &StateSeal,
    opening: &Opening,
    key: &SealKey,
    now: Timestamp,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let opener = key.opener();
    tx.execute(
        "INSERT INTO seal_in (opener, peer_device, own_inbox, key_id, state_sealed, installed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            opener.as_bytes(),
            opening.device.0,
            opening.own_inbox,
            opening.key_id.as_ref(),
            seal.seal(IN, opener.as_bytes(), key, chance),
            ms(now)
        ],
    )?;
    tx.execute(
        "UPDATE seal_in SET state_sealed = NULL, retired_at = ?3 WHERE peer_device = ?1 AND own_inbox = ?2 AND state_sealed IS NOT NULL
         AND id NOT IN (SELECT id FROM seal_in WHERE peer_device = ?1 AND own_inbox = ?2 ORDER BY id DESC LIMIT ?4)",
        params![opening.device.0, opening.own_inbox, ms(now), KEPT_MAX],
    )?;
    Ok(())
}

/// A continuation came under it: its maker knows that we hold it, and uses none that came before it to that inbox.
pub(crate) fn announced(tx: &mut Tx<'_>, row: i64) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE seal_in SET announced = 1
         WHERE announced = 0 AND id <= ?1 AND (peer_device, own_inbox) = (SELECT peer_device, own_inbox FROM seal_in WHERE id = ?1)",
        [row],
    )?;
    Ok(())
}

/// What letters to a device still have to say of its openers: that the newest to each inbox of ours is installed. A letter has room for
/// one of them: they take turns.
pub(crate) fn to_announce(view: &impl Query, device: DeviceRow) -> Result<Vec<Opened>, StoreError> {
    view.all(
        "SELECT opener FROM seal_in WHERE announced = 0
         AND id IN (SELECT max(id) FROM seal_in WHERE peer_device = ?1 GROUP BY own_inbox) ORDER BY id DESC",
        [device.0],
        |row| row.get(0).map(|opener| OpenerHash::from_bytes(opener).opened()),
    )
}

/// Hashes of retired ones are kept as long as their openers could come again: the KEM keys that open those are erased by now.
pub(crate) fn forget_retired(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute("DELETE FROM seal_in WHERE state_sealed IS NULL AND key_id NOT IN (SELECT key_id FROM kem_key)", [])?;
    Ok(())
}
