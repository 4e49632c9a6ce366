//! The way to a contact: whose tokens open their inboxes, and the secrets that those tokens come from (PROTOCOL C).

use rusqlite::params;
use sotto_crypto::secret::{PairSecret, ReplySecret, invite_chain};
use sotto_protocol::invite::InviteSecret;
use sotto_protocol::{ChainId, ClaimId, DeviceId, InboxId, Timestamp, Token};

use super::{Contact, ContactRow, ContactState, pair_change};
use crate::peer::{DeviceRow, PeerDevice};
use crate::store::column::{counter, ms, stored, timestamp};
use crate::store::{Query, StoreError, Tx};

/// Whose token opens the way to a contact's inboxes right now.
pub(crate) enum Way {
    /// The pair's.
    Pair(PairSecret),
    /// The one their request carried, until they say that the pair's stand.
    Reply(ReplySecret),
    /// The invite's, under our claim id, until they answer.
    Invite(InviteSecret, ClaimId),
}

impl Way {
    /// The token for one inbox.
    pub(crate) fn token(&self, inbox: &InboxId) -> Token {
        match self {
            Self::Pair(secret) => secret.token(inbox, 0),
            Self::Reply(secret) => secret.token(inbox),
            Self::Invite(secret, _) => sotto_crypto::secret::invite_token(secret, inbox),
        }
    }

    /// The claim id that every put must carry, where the token asks for one.
    pub(crate) const fn claim(&self) -> Option<&ClaimId> {
        match self {
            Self::Invite(_, claim) => Some(claim),
            Self::Pair(_) | Self::Reply(_) => None,
        }
    }
}

impl Contact {
    /// What both share once they are contacts.
    pub(crate) const fn pair_secret(&self) -> Option<&PairSecret> {
        self.pair_secret.as_ref()
    }

    /// Whether their tokens of it stand.
    pub(crate) const fn is_pair_usable(&self) -> bool {
        self.pair_usable
    }

    /// Whether the pair secret is one that we drew.
    pub(crate) const fn has_own_pair(&self) -> bool {
        self.pair_secret.is_some() && self.pair_is_ours
    }

    /// The pair secret that both share, where no other is to come: we ask for none, nothing is under way of a change, and their list shows no epoch
    /// for which theirs has not come.
    pub(crate) fn settled_pair(&self) -> Option<&PairSecret> {
        let is_settled = self.state == ContactState::Accepted && !self.is_asked() && !self.is_changing();
        self.pair_secret.as_ref().filter(|_| is_settled)
    }

    /// Whether we wait for the answer to a request of ours.
    pub(crate) const fn is_asked(&self) -> bool {
        matches!(self.state, ContactState::Asked | ContactState::Accepted) && self.claim.is_some()
    }

    /// Whether that invite is the one under which we asked last, answered or not.
    pub(crate) fn was_asked_under(&self, invite: &InviteSecret) -> bool {
        matches!(self.state, ContactState::Asked | ContactState::Accepted)
            && self.invite_secret.as_ref() == Some(invite)
    }

    /// Whether their lists are read from the chain of the invite that we scanned, for want of another.
    pub(super) fn reads_chain_of_invite(&self) -> bool {
        self.invite_secret.as_ref().is_some_and(|secret| invite_chain(secret).0 == self.chain.chain)
    }

    /// How letters reach them, where anything does.
    pub(crate) fn way(&self) -> Option<Way> {
        match self.state {
            ContactState::Asked | ContactState::Accepted if self.is_asked() => {
                Some(Way::Invite(self.invite_secret.clone()?, self.claim?))
            }
            ContactState::Accepted if self.pair_usable => Some(Way::Pair(self.pair_secret.clone()?)),
            ContactState::Accepted if self.change.before.is_some() => Some(Way::Pair(self.change.before.clone()?)),
            ContactState::Accepted => Some(Way::Reply(self.reply_secret.clone()?)),
            ContactState::Asked | ContactState::Asking | ContactState::Removed => None,
        }
    }
}

/// Condition on a contact's row: there is a way to them. As [`Contact::way`].
pub(crate) const HAS_WAY: &str = "(contact.state IN (1, 3) AND contact.claim IS NOT NULL OR contact.state = 3
     AND (contact.pair_usable = 1 OR contact.pair_before IS NOT NULL OR contact.reply_secret IS NOT NULL))";

impl Contact {
    /// How letters reach one of their devices: by the pair before ours, where it may know no other.
    pub(crate) fn way_to(&self, device: &PeerDevice) -> Option<Way> {
        let before = self.pair_before_ours().filter(|_| device.is_behind);
        match (self.way()?, before) {
            (Way::Pair(_), Some(before)) => Some(Way::Pair(before.clone())),
            (way, _) => Some(way),
        }
    }
}

/// What our request to them needs until they answer. The secret stays when they have: who scans the same invite again asks for nothing.
pub(crate) fn set_invite(
    tx: &mut Tx<'_>,
    row: ContactRow,
    secret: &InviteSecret,
    claim: &ClaimId,
    is_spent: bool,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET invite_secret = ?2, claim = ?3, spent_claim = iif(?4, ?3, NULL), invite_expires_at = ?5 WHERE id = ?1",
        params![row.0, secret.as_bytes(), claim.as_ref(), is_spent, ms(expires_at)],
    )?;
    Ok(())
}

/// The invite under which we ask, and when it ends.
pub(crate) fn invite_of(view: &impl Query, row: ContactRow) -> Result<Option<(InviteSecret, Timestamp)>, StoreError> {
    let found = view.one("SELECT invite_secret, invite_expires_at FROM contact WHERE id = ?1", [row.0], |row| {
        Ok((row.get::<_, Option<_>>(0)?.map(InviteSecret::from_bytes), row.get::<_, Option<i64>>(1)?.map(timestamp)))
    })?;
    Ok(found.and_then(|(secret, expires_at)| secret.zip(expires_at)))
}

/// Whoever is asked for the first time, or after they were removed, shares no secret with us.
pub(crate) fn forget_pair(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET pair_secret = NULL, pair_usable = 0, reply_secret = NULL WHERE id = ?1", [row.0])?;
    pair_change::forget(tx, row)
}

/// A contact is asked again. What we share stays as it is until they answer, and then gives way to what they have drawn, whoever drew it.
pub(crate) fn ask_again(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET pair_is_ours = 0 WHERE id = ?1", [row.0])?;
    Ok(())
}

/// They need not answer any more: nobody has while the invite held, or another device of ours has met them, or removed them.
pub(crate) fn end_request(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET claim = NULL, invite_expires_at = NULL WHERE id = ?1", [row.0])?;
    Ok(())
}

/// Another device of ours has met them anew: what was under way here is over.
pub(crate) fn is_met_elsewhere(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    end_request(tx, row)?;
    pair_change::forget(tx, row)
}

/// Contacts who were asked again and have not answered while the invite held: all goes on as it was before. An answer counts all the same.
/// Says who they are.
pub(crate) fn end_requests(tx: &mut Tx<'_>, now: Timestamp) -> Result<Vec<ContactRow>, StoreError> {
    let rows = tx.all(
        "SELECT id FROM contact WHERE state = ?2 AND claim IS NOT NULL AND invite_expires_at <= ?1 ORDER BY id",
        params![ms(now), ContactState::Accepted.code()],
        |row| row.get(0).map(ContactRow),
    )?;
    rows.iter().try_for_each(|row| end_request(tx, *row))?;
    Ok(rows)
}

/// How our answer reaches them, and which invite of ours they used.
pub(crate) fn set_reply(
    tx: &mut Tx<'_>,
    row: ContactRow,
    secret: &ReplySecret,
    invite: i64,
    asker: &DeviceId,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET reply_secret = ?2, invite = ?3, asked_at = ?4, pair_secret = NULL, pair_usable = 0,
             asker = (SELECT id FROM peer_device WHERE contact = ?1 AND device = ?5) WHERE id = ?1",
        params![row.0, secret.as_bytes(), invite, ms(now), asker.as_ref()],
    )?;
    pair_change::forget(tx, row)
}

/// The device of theirs that has asked us, and hears the answer.
pub(crate) fn asker(view: &impl Query, row: ContactRow) -> Result<Option<DeviceRow>, StoreError> {
    let sql = "SELECT peer_device.id FROM contact JOIN peer_device ON peer_device.id = contact.asker WHERE contact.id = ?1 AND listed = 1";
    view.one(sql, [row.0], |row| row.get(0).map(DeviceRow))
}

/// Whether another device of theirs has asked us last, and is theirs still. `None` where none has asked this device.
pub(crate) fn another_has_asked(
    view: &impl Query,
    row: ContactRow,
    device: &DeviceId,
) -> Result<Option<bool>, StoreError> {
    let sql = "SELECT device != ?2 AND listed = 1 FROM contact JOIN peer_device ON peer_device.id = contact.asker WHERE contact.id = ?1";
    view.one(sql, params![row.0, device.as_ref()], |row| row.get(0))
}

/// They hear from us that our lists stand in that chain.
pub(crate) fn has_told_chain(tx: &mut Tx<'_>, row: ContactRow, chain: &ChainId) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET told_chain = ?2 WHERE id = ?1", params![row.0, chain.as_ref()])?;
    Ok(())
}

/// They may have heard of no chain.
pub(crate) fn has_told_no_chain(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET told_chain = NULL WHERE id = ?1", [row.0])?;
    Ok(())
}

/// Whether they have.
pub(crate) fn was_told_chain(view: &impl Query, row: ContactRow, chain: &ChainId) -> Result<bool, StoreError> {
    let told =
        view.one("SELECT told_chain = ?2 FROM contact WHERE id = ?1", params![row.0, chain.as_ref()], |row| {
            row.get::<_, Option<bool>>(0)
        })?;
    Ok(told.flatten() == Some(true))
}

/// When we heard that they ask us.
pub(crate) fn asked_at(view: &impl Query, row: ContactRow) -> Result<Timestamp, StoreError> {
    let asked_at = view.one("SELECT asked_at FROM contact WHERE id = ?1", [row.0], |row| row.get(0))?;
    asked_at.map(timestamp).ok_or(StoreError::Corrupt)
}

/// They ask, as they have before.
pub(crate) fn has_asked_now(tx: &mut Tx<'_>, row: ContactRow, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE contact SET asked_at = ?2 WHERE id = ?1", params![row.0, ms(now)])?;
    Ok(())
}

/// Who drew a pair secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PairOf {
    /// We did, and told them with our answer: theirs stand when they say so.
    Us,
    /// They did: theirs stood before their answer left.
    Them,
}

/// Both share the pair secret.
pub(crate) fn set_pair(
    tx: &mut Tx<'_>,
    row: ContactRow,
    secret: &PairSecret,
    drawn_by: PairOf,
) -> Result<(), StoreError> {
    let is_ours = drawn_by == PairOf::Us;
    tx.execute(
        "UPDATE contact SET pair_secret = ?2, pair_is_ours = ?3, pair_usable = NOT ?3, claim = NULL, invite_expires_at = NULL,
             pair_version = pair_version + 1 WHERE id = ?1",
        params![row.0, secret.as_bytes(), is_ours],
    )?;
    pair_change::forget(tx, row)
}

/// How many pair secrets there have been, on all devices of ours.
pub(crate) fn pair_version(view: &impl Query, row: ContactRow) -> Result<u64, StoreError> {
    let version =
        view.one("SELECT pair_version FROM contact WHERE id = ?1", [row.0], |row| Ok(counter(row.get(0)?)))?;
    version.ok_or(StoreError::Corrupt)
}

/// What a device of ours shares with them is what all share from now on; nothing, where they were removed there. Tokens of a pair before may
/// stand here. `drawn_by` is who has drawn it: they are reached by what both shared before for as long as they may not have ours. A request of ours to somebody who is a contact goes on: whatever they answer takes its place, whoever drew it.
pub(crate) fn set_shared_pair(
    tx: &mut Tx<'_>,
    row: ContactRow,
    secret: Option<&PairSecret>,
    drawn_by: PairOf,
    version: u64,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET pair_secret = ?2, pair_is_ours = ?4 AND claim IS NULL, pair_usable = 0, pair_version = ?3,
             pair_before = iif(?4 AND ?2 IS NOT NULL, coalesce(pair_before, iif(pair_usable, pair_secret, NULL)), NULL), pair_changing = NULL, pair_due = 0, reply_secret = NULL, pair_former = pair_secret IS NOT NULL AND ?2 IS NOT NULL WHERE id = ?1",
        params![row.0, secret.map(PairSecret::as_bytes), stored(version), drawn_by == PairOf::Us],
    )?;
    Ok(())
}

/// Their tokens of the pair stand. Theirs for our answer are needed once more at most, where the pair of the answer has to give way to another
/// device's: so they are kept only by who has other devices, until they run out.
pub(crate) fn pair_is_usable(tx: &mut Tx<'_>, row: ContactRow) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE contact SET pair_usable = 1, reply_secret = iif(EXISTS (SELECT 1 FROM contact WHERE id = 0), reply_secret, NULL), pair_before = NULL,
             pair_changing = NULL WHERE id = ?1 AND pair_secret IS NOT NULL",
        [row.0],
    )?;
    Ok(())
}
