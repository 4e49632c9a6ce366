//! How far a change of the pair secret has come, between people who stay contacts (PROTOCOL B3; `handshake/rotation.rs` says how it goes).

use rusqlite::params;
use sotto_crypto::secret::{PairId, PairSecret};
use sotto_protocol::Timestamp;
use sotto_protocol::limits::MANIFEST_VALID;

use super::{Contact, ContactRow, ContactState};
use crate::peer::DeviceRow;
use crate::store::column::{ms, stored};
use crate::store::{Query, StoreError, Tx};

/// The epoch that an account begins with: no device was removed before it.
const EPOCH_FIRST: u32 = 1;

/// What a contact's row says of changes of the pair secret.
#[derive(Clone, Default)]
pub(crate) struct PairChange {
    /// The one that both shared before ours: by its tokens they are reached until they have taken ours up.
    pub(super) before: Option<PairSecret>,
    /// Our epoch that began with the change that they have not taken up.
    pub(super) under_way: Option<u32>,
    /// One must begin once they have said that the tokens of the pair stand, and no request of ours waits for an answer.
    pub(super) is_due: bool,
    /// Their epoch that their last change began with.
    pub(super) heard_of: u32,
    /// The one that both shared before they took ours up: a device of theirs that comes from a copy of then knows that one alone.
    pub(super) last: Option<PairSecret>,
    /// Tokens of pairs before the one in use stand at our inboxes.
    pub(super) has_former: bool,
}

/// What becomes of a change that a contact tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// It was heard of, or a later one was.
    Known,
    /// Another device of ours has taken it up, and told this one.
    Shared,
    /// Both have changed at once, and ours is the one that stays.
    OursStays,
    /// It is taken up.
    News,
}

impl Contact {
    /// Whether both share a secret of which both know that the other has it, so that it can be changed. While we ask them nothing can: the answer
    /// brings another one, and whatever else we have to say waits for it.
    pub(crate) const fn can_change_pair(&self) -> bool {
        (self.pair_usable || self.change.before.is_some()) && !self.is_asked()
    }

    /// The id of the secret that both shared before ours.
    pub(crate) fn shared_pair(&self) -> Option<PairId> {
        self.change.before.as_ref().or(self.pair_secret.as_ref()).map(PairSecret::id)
    }

    /// Whether the tokens of the pair are to be changed now that they stand.
    pub(crate) const fn is_change_due(&self) -> bool {
        self.change.is_due
    }

    /// Whether a change is to come, or under way: ours is due or not taken up, or theirs has not come that belongs to the epoch of their list.
    pub(super) fn is_changing(&self) -> bool {
        let is_theirs_to_come = self.head.epoch > self.change.heard_of.max(EPOCH_FIRST);
        self.change.is_due || self.change.under_way.is_some() || self.change.before.is_some() || is_theirs_to_come
    }

    /// What is under way of a change, to be said again where the letter that told them was given up: the epoch of ours and the secret before, where
    /// we have drawn the one in use.
    pub(crate) fn change_under_way(&self) -> Option<(u32, &PairSecret)> {
        self.change.under_way.zip(self.pair_before_ours())
    }

    /// Whether this device tells them of another pair, and they have not said that they have it. Nothing else shows that: they may have had it
    /// before, by an answer, and come to that of this device behind it.
    pub(crate) const fn is_telling_change(&self) -> bool {
        self.change.under_way.is_some()
    }

    /// Whether a newer pair was made elsewhere by who knew nothing of the one in use, which this device has answered them with: they may have
    /// settled for either.
    pub(crate) const fn was_answered_beside(&self, known: u64, told: u64) -> bool {
        let is_answer = self.has_own_pair() && self.reply_secret.is_some();
        matches!(self.state, ContactState::Accepted) && is_answer && (known == told || !self.pair_usable)
    }

    /// Whether they have drawn the secret in use with a change, and may not know that we have taken it up.
    pub(crate) const fn has_taken_change_up(&self) -> bool {
        self.change.has_former && self.pair_usable && !self.pair_is_ours && self.change.heard_of > 0
    }

    /// What a device of theirs may know in the place of a secret that we have drawn, where it comes from an older copy.
    pub(crate) fn pair_before_ours(&self) -> Option<&PairSecret> {
        self.change.before.as_ref().or(self.change.last.as_ref())
    }

    /// Whether tokens of pairs before this one stand at our inboxes.
    pub(crate) const fn has_former_tokens(&self) -> bool {
        self.change.has_former
    }

    /// Whether that is the pair in use, which one of our devices has drawn and they have not taken up as far as is known.
    pub(crate) fn is_changing_to(&self, pair: &PairId) -> bool {
        !self.pair_usable && self.pair_secret.as_ref().is_some_and(|secret| secret.id() == *pair)
    }

    /// Whether another change of ours follows theirs, which takes the place of one: a change that is due, or under way at the same time, is of a
    /// device that was removed, and that theirs may have been told to.
    pub(crate) fn owes_change_behind(&self, before: &PairId) -> bool {
        let is_crossed = self.pair_secret.as_ref().is_some_and(|secret| secret.id() != *before);
        self.change.is_due || self.change.under_way.is_some() && is_crossed
    }

    /// Judges a change of theirs. Of two at once the one stays that the account with the lower id has drawn; they are at once where theirs
    /// begins with another secret than the one that we have drawn. `is_with_answer`: it comes the way of an answer, from whoever we have asked.
    /// Then it need not be of a later epoch: several of their devices have answered at once, and it follows on the answer that we have.
    pub(crate) fn hears_of(
        &self,
        own: &sotto_protocol::AccountId,
        pair: &PairSecret,
        epoch: u32,
        before: &PairId,
        is_with_answer: bool,
    ) -> Heard {
        let Some(known) = &self.pair_secret else { return Heard::Known };
        let is_later = epoch > self.change.heard_of && epoch > EPOCH_FIRST;
        let follows = is_with_answer && known.id() == *before;
        if known == pair {
            Heard::Shared
        } else if !is_later && !follows {
            Heard::Known
        } else if self.pair_is_ours && known.id() != *before && *own < self.account {
            Heard::OursStays
        } else {
            Heard::News
        }
    }
}

/// We have drawn another: what both shared is used until they have taken it up.
pub(crate) fn begin(tx: &mut Tx<'_>, row: ContactRow, pair: &PairSecret, epoch: u32) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET pair_before = coalesce(pair_before, pair_secret), pair_secret = ?2, pair_is_ours = 1, pair_usable = 0,
             pair_changing = ?3, pair_due = 0, pair_former = 1, reply_secret = NULL, pair_version = pair_version + 1 WHERE id = ?1",
        params![row.0, pair.as_bytes(), epoch],
    )?;
    Ok(())
}

/// Another device of ours has answered them beside this one, and what it has drawn is what all share. They may have this device's answer alone,
/// so that is kept as what they had before; and they are told the way that the answer went, because they may have the tokens of neither.
pub(crate) fn give_way(
    tx: &mut Tx<'_>,
    row: ContactRow,
    pair: &PairSecret,
    version: u64,
    epoch: u32,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET pair_last = pair_secret, pair_last_at = ?5, pair_secret = ?2, pair_is_ours = 1, pair_usable = 0, pair_version = ?3,
             pair_changing = ?4, pair_former = 1 WHERE id = ?1",
        params![row.0, pair.as_bytes(), stored(version), epoch, ms(now)],
    )?;
    Ok(())
}

/// A change waits until they have said that the tokens of the pair stand, or until our request to them has ended.
pub(crate) fn begin_later(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET pair_due = 1 WHERE id = ?1", [row.0])?;
    Ok(())
}

/// They have drawn another, whose tokens stand at their inboxes; ours follows where one `is_due` behind it.
pub(crate) fn take(tx: &mut Tx<'_>, row: ContactRow, pair: &PairSecret, is_due: bool) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET pair_secret = ?2, pair_is_ours = 0, pair_usable = 1, reply_secret = NULL, pair_before = NULL, pair_changing = NULL,
             pair_due = ?3, pair_former = 1, pair_version = pair_version + 1 WHERE id = ?1",
        params![row.0, pair.as_bytes(), is_due],
    )?;
    Ok(())
}

/// A change of theirs was heard of, and counts.
pub(crate) fn note(tx: &mut Tx<'_>, row: ContactRow, epoch: u32) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET pair_epoch = max(pair_epoch, ?2) WHERE id = ?1", params![row.0, epoch])?;
    Ok(())
}

/// They have taken up ours, and their tokens of it stand.
pub(crate) fn is_taken_up(tx: &mut Tx<'_>, row: ContactRow, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET pair_usable = 1, reply_secret = NULL, pair_last = coalesce(pair_before, pair_last), pair_last_at = ?2, pair_before = NULL,
             pair_changing = NULL WHERE id = ?1",
        params![row.0, ms(now)],
    )?;
    Ok(())
}

/// Nobody comes from a copy of then any more who could still be told: an older one knows no list of theirs that is fresh.
pub(crate) fn forget_last(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    let over = ms(now.before(MANIFEST_VALID));
    tx.execute("UPDATE contact SET pair_last = NULL WHERE pair_last IS NOT NULL AND pair_last_at <= ?1", [over])?;
    Ok(())
}

/// A letter has come from a device under the pair in use: it knows that one.
pub(crate) fn is_not_behind(tx: &mut Tx<'_>, device: DeviceRow) -> Result<(), StoreError> {
    tx.execute("UPDATE peer_device SET pair_behind = 0 WHERE id = ?1 AND pair_behind != 0", [device.0])?;
    Ok(())
}

/// Devices that are to be told the pair in use, each with whose it is.
pub(crate) fn behind(view: &impl Query) -> Result<Vec<(DeviceRow, ContactRow)>, StoreError> {
    view.all("SELECT id, contact FROM peer_device WHERE pair_behind = 1 AND listed = 1 ORDER BY id", [], |row| {
        Ok((DeviceRow(row.get(0)?), ContactRow(row.get(1)?)))
    })
}

/// It will be told.
pub(crate) fn is_told(tx: &mut Tx<'_>, device: DeviceRow) -> Result<(), StoreError> {
    tx.execute("UPDATE peer_device SET pair_behind = 2 WHERE id = ?1", [device.0])?;
    Ok(())
}

/// No tokens of a pair before stand any more.
pub(crate) fn former_are_gone(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET pair_former = 0 WHERE id = ?1", [row.0])?;
    Ok(())
}

/// The two begin anew: nothing of before is under way.
pub(super) fn forget(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET pair_before = NULL, pair_changing = NULL, pair_due = 0, pair_former = 0, pair_last = NULL WHERE id = ?1",
        [row.0],
    )?;
    Ok(())
}
