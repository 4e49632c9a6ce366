//! What a contact's lists have shown of themselves, and how far their chain was read.
//!
//! ```text
//! Sound  --two lists of one version--> Forked --a new epoch--> Sound
//! any    --two certificates for one epoch--> Compromised, for good: whoever holds the root key can make any epoch
//! ```
//! Not here: reading chains (`manifests.rs`), the devices that a list names (`peer.rs`).

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::manifest::{Known, VerifiedManifest};
use sotto_crypto::secret::ChainKey;
use sotto_protocol::limits::MANIFEST_READ_AGAIN;
use sotto_protocol::{Bytes, ChainId, RelayAddress, Timestamp};

use super::{Contact, ContactRow, verified};
use crate::conversation::MessageRow;
use crate::records::KeyChange;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::{conversation, outbox, own, peer};

/// How long a letter of an unknown device waits for the next look at its owner's list.
const WAITING_READ_AGAIN: Duration = Duration::from_secs(6 * 3600);

/// Where a contact's manifest chain for us is.
#[derive(Clone)]
pub(crate) struct ChainAddress {
    pub(crate) relay: RelayAddress,
    pub(crate) chain: ChainId,
    pub(crate) key: ChainKey,
}

/// What a contact's chain has shown of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// One history.
    Sound,
    /// Two histories: somebody shows different lists. Nothing is sent until a new epoch heals it.
    Forked,
    /// Two certificates for one epoch: the root key is in wrong hands. For good.
    Compromised,
}

impl Trust {
    pub(super) const fn code(self) -> i64 {
        match self {
            Self::Sound => 0,
            Self::Forked => 1,
            Self::Compromised => 2,
        }
    }

    pub(super) fn from_code(code: i64) -> Result<Self, StoreError> {
        match code {
            0 => Ok(Self::Sound),
            1 => Ok(Self::Forked),
            2 => Ok(Self::Compromised),
            _ => Err(StoreError::Corrupt),
        }
    }
}

impl Contact {
    /// What the next list must agree with.
    pub(crate) fn known(&self) -> Result<Known, StoreError> {
        let manifest = VerifiedManifest::reload(&self.account, Bytes::copy_from_slice(&self.manifest));
        Ok(manifest.map_err(|_| StoreError::Corrupt)?.known())
    }

    /// Whether a list that comes with a request takes the place of the one that is known, and the chain of its card that of the chain that
    /// is read. A device that was removed has the list key of its epoch still, and a request of its own would lead us to a chain in
    /// which nobody ever removes it. So the chain that is known decides, until the root key has spoken again. Only an invite's chain
    /// is left at once: it ends with the invite.
    pub(crate) fn gives_way_to(&self, manifest: &VerifiedManifest) -> bool {
        manifest.head().epoch > self.head.epoch || self.reads_chain_of_invite()
    }
}

/// A newer manifest was verified. The root key's word for a new epoch heals a fork. Returns the notice that keys have changed, if they have.
pub(crate) fn manifest_read(
    tx: &mut Tx<'_>,
    row: ContactRow,
    (between, newest): (&[VerifiedManifest], &VerifiedManifest),
    chain_next: u64,
    now: Timestamp,
) -> Result<Option<MessageRow>, StoreError> {
    let notice = list_is(tx, row, (between, newest), now)?;
    chain_read(tx, row, chain_next, now)?;
    Ok(notice)
}

/// That list stands in the chain that is read, for certain, and `between` the one that was known and it stood those.
pub(crate) fn list_is(
    tx: &mut Tx<'_>,
    row: ContactRow,
    (between, list): (&[VerifiedManifest], &VerifiedManifest),
    now: Timestamp,
) -> Result<Option<MessageRow>, StoreError> {
    let notice = believe(tx, row, (between, list), now)?;
    tx.execute("UPDATE contact SET chain_is_new = 0 WHERE id = ?1", [row.0])?;
    Ok(notice)
}

/// The chain was read up to there.
pub(crate) fn chain_read(tx: &mut Tx<'_>, row: ContactRow, chain_next: u64, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET manifest_read_at = ?2, read_in_vain_at = 0, chain_next = ?3 WHERE id = ?1",
        params![row.0, ms(now), i64::try_from(chain_next).unwrap_or(i64::MAX)],
    )?;
    Ok(())
}

/// All that was said up to that number was said before the chain was read.
pub(crate) fn was_read_behind(tx: &mut Tx<'_>, row: ContactRow, number: i64) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET said_before = max(said_before, ?2) WHERE id = ?1", params![row.0, number])?;
    Ok(())
}

/// From now on this is what the contact's devices are. Whatever shows that their keys have changed, it is said once (PROTOCOL B3): a device is
/// new once, and an epoch later once. The lists `between` the one that was known and this one say who came in whose place, and nothing else: a
/// device that was replaced twice since is followed to the last one (PROTOCOL H2).
pub(super) fn believe(
    tx: &mut Tx<'_>,
    row: ContactRow,
    (between, manifest): (&[VerifiedManifest], &VerifiedManifest),
    now: Timestamp,
) -> Result<Option<MessageRow>, StoreError> {
    let head = manifest.head();
    let known: Option<u32> = tx.one("SELECT epoch FROM contact WHERE id = ?1", [row.0], |row| row.get(0))?;
    let is_later_epoch = known.is_some_and(|known| known < head.epoch);
    tx.execute(
        "UPDATE contact SET trust = CASE WHEN trust = ?6 AND epoch < ?3 THEN ?7 ELSE trust END,
             chain_before = CASE WHEN epoch < ?3 THEN NULL ELSE chain_before END,
             manifest = ?2, epoch = ?3, version = ?4, hash = ?5 WHERE id = ?1",
        params![
            row.0,
            manifest.bytes().as_ref(),
            head.epoch,
            head.version,
            head.hash,
            Trust::Forked.code(),
            Trust::Sound.code()
        ],
    )?;
    let (before, listed_before) = (peer::device_ids(tx, row)?, peer::listed_devices(tx, row)?);
    for list in between {
        if !peer::changes_keys(tx, row, list)? && !peer::has_too_many(tx, row, list)? {
            peer::follow(tx, row, list, manifest, now)?;
        }
    }
    peer::list_devices(tx, row, manifest, now)?;
    if is_later_epoch {
        peer::hear_listed_only(tx, row)?;
        outbox::moved::follow(tx, row, now)?;
    }
    let mut new = manifest.devices().iter().filter(|device| !before.contains(&device.id)).peekable();
    own::newcomers_know_no_chain(tx, row, &listed_before)?;
    if row == ContactRow::OWN || before.is_empty() || new.peek().is_none() && !is_later_epoch {
        return Ok(None);
    }
    outbox::newcomer::welcome(tx, row, manifest, &before, is_later_epoch, now)?;
    let are_declared =
        new.try_fold(true, |all, device| Ok::<_, StoreError>(all && peer::has_predecessor(tx, row, &device.id)?))?;
    let change = match (is_later_epoch, are_declared) {
        (true, _) => KeyChange::NewEpoch,
        (false, true) => KeyChange::Replaced,
        (false, false) => KeyChange::DeviceAdded,
    };
    verified::keys_changed(tx, row, &head)?;
    conversation::note_key_change(tx, row, change, &head.hash, now)
}

/// An answer says where the contact's manifests for us stand. A chain that is read already stays read up to where it was, and only an
/// invite's, which ends with the invite, is left at once.
pub(crate) fn answered_from_chain(tx: &mut Tx<'_>, contact: &Contact, chain: &ChainAddress) -> Result<(), StoreError> {
    if contact.chain.relay == chain.relay && contact.chain.chain == chain.chain {
        return Ok(());
    }
    if contact.reads_chain_of_invite() {
        turn_to_chain(tx, contact.row, chain)
    } else {
        led_to_chain(tx, contact.row, chain)
    }
}

/// The contact's manifests for us stand in another chain from now on. It is read before anything is sent, if it can be.
pub(crate) fn turn_to_chain(tx: &mut Tx<'_>, row: ContactRow, chain: &ChainAddress) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET relay = ?2, chain = ?3, chain_key = ?4, chain_next = 0, chain_is_new = 1, manifest_read_at = min(manifest_read_at, 1) WHERE id = ?1",
        params![row.0, chain.relay.to_string(), chain.chain.as_bytes(), chain.key.as_bytes()],
    )?;
    Ok(())
}

/// A letter of theirs leads to another chain. A device that was removed without our knowing can write such a letter too: so the chain that
/// was read before it is read as well, and decides when the root key speaks there. However often they lead on, that is the first one.
pub(crate) fn led_to_chain(tx: &mut Tx<'_>, row: ContactRow, chain: &ChainAddress) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET chain_before_relay = relay, chain_before = chain, chain_before_key = chain_key
         WHERE id = ?1 AND chain_before IS NULL AND chain != ?2",
        params![row.0, chain.chain.as_bytes()],
    )?;
    turn_to_chain(tx, row, chain)
}

/// The root key has spoken in the chain that they led us from: whoever led us away from it did not know, or did not want us to.
pub(crate) fn turn_back_to_chain(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET relay = chain_before_relay, chain = chain_before, chain_key = chain_before_key, chain_next = 0, chain_is_new = 0,
             chain_before_relay = NULL, chain_before = NULL, chain_before_key = NULL
         WHERE id = ?1 AND chain_before IS NOT NULL",
        [row.0],
    )?;
    Ok(())
}

/// The chain before is gone.
pub(crate) fn forget_chain_before(tx: &mut Tx<'_>, row: ContactRow, gone: &ChainId) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET chain_before_relay = NULL, chain_before = NULL, chain_before_key = NULL WHERE id = ?1 AND chain_before = ?2",
        params![row.0, gone.as_bytes()],
    )?;
    Ok(())
}

/// The manifest should be read again before anything is sent: perhaps it says where to now. Where its relay cannot be asked, what is known
/// will do.
pub(crate) fn manifest_is_due(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET manifest_read_at = min(manifest_read_at, 1) WHERE id = ?1", [row.0])?;
    Ok(())
}

/// The manifest must be read again before anything is sent: a letter named an epoch that we do not know.
pub(crate) fn manifest_is_stale(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET manifest_read_at = 0 WHERE id = ?1", [row.0])?;
    Ok(())
}

/// Their lists showed something that an honest owner's never do.
pub(crate) fn distrust(tx: &mut Tx<'_>, row: ContactRow, trust: Trust) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET trust = max(trust, ?2) WHERE id = ?1", params![row.0, trust.code()])?;
    Ok(())
}

/// Their list could not be read. It is tried again while something was said since it last was.
pub(crate) fn was_read_in_vain(tx: &mut Tx<'_>, row: ContactRow, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET read_in_vain_at = iif(EXISTS (
             SELECT 1 FROM message JOIN conversation ON conversation.id = message.conversation
             WHERE conversation.contact = ?1 AND message.id > said_before AND line = 0 AND message.state <= 4), ?2, 0) WHERE id = ?1",
        params![row.0, ms(now)],
    )?;
    Ok(())
}

/// Contacts whose chain is read without a letter to them: those that have shown two lists, daily, because only a new epoch heals that and
/// nothing is sent to them; our own, daily, because other devices write it; those for whose list a letter waits; and those for whom
/// something was said while their list could not be read: it may name a device that lacks it.
pub(crate) fn to_read_again(view: &impl Query, now: Timestamp) -> Result<Vec<ContactRow>, StoreError> {
    view.all(
        "SELECT id FROM contact WHERE state != 4 AND blocked = 0 AND (
             (trust = 1 AND (manifest_read_at <= ?1 OR manifest_read_at > ?3))
             OR (id = 0 AND (manifest_read_at <= ?1 OR manifest_read_at > ?3))
             OR (trust = 0 AND (manifest_read_at <= ?2 OR manifest_read_at > ?3) AND EXISTS (
                 SELECT 1 FROM waiting JOIN alias ON alias.own_inbox = waiting.own_inbox AND alias.alias = waiting.alias
                 WHERE waiting.reason = 2 AND alias.contact = contact.id))
             OR (trust = 0 AND state = 3 AND read_in_vain_at > 0 AND (read_in_vain_at <= ?2 OR read_in_vain_at > ?3)))",
        params![ms(now.before(MANIFEST_READ_AGAIN)), ms(now.before(WAITING_READ_AGAIN)), ms(now)],
        |row| row.get(0).map(ContactRow),
    )
}
