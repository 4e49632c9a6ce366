//! Creating, re-keying and deleting inboxes, and the check that every signed step begins with.

use std::time::Duration;

use rusqlite::params;
use sha2::{Digest, Sha256};
use sotto_protocol::InboxId;
use sotto_protocol::limits::CLOCK_WINDOW;
use subtle::ConstantTimeEq;

use super::commit::{Batch, Step};
use super::ledger::Inbox;
use super::transaction::{Sql, signed, unsigned};
use super::{Caller, Creation, Denied, InboxKeys, PublicKey};

/// Which key a step asks for.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    Owner,
    Manager,
}

impl Batch<'_> {
    /// Creates it, or finds it there with the same keys, whatever the policy says today.
    pub(crate) fn create_inbox(
        &mut self,
        caller: &Caller,
        inbox: &InboxId,
        keys: &InboxKeys,
        creation: Creation,
    ) -> Step<()> {
        let found = self.ledger.inbox(&self.tx, inbox)?;
        let is_retired = self.is_retired(inbox.as_ref())?;
        if let Some(found) = found {
            let is_same = found.owner.ct_eq(&keys.owner) & found.manage.ct_eq(&keys.manage);
            return if is_same.into() { self.spend_nonce(caller) } else { Ok(Err(Denied::Refused)) };
        }
        if creation == Creation::Refused || is_retired {
            return Ok(Err(Denied::Refused));
        }
        if let Err(denied) = self.spend_nonce(caller)? {
            return Ok(Err(denied));
        }
        let id = self.tx.insert(
            "INSERT INTO inbox (name, owner_key, manage_key) VALUES (?1, ?2, ?3)",
            params![inbox.as_ref(), keys.owner, keys.manage],
        )?;
        self.ledger.forget_inbox(inbox, id);
        Ok(Ok(()))
    }

    /// The inbox stops existing at once; what it held goes in bounded steps (`sweep.rs`), because a full one would hold up every
    /// other caller of the relay.
    pub(crate) fn delete_inbox(&mut self, caller: &Caller, inbox: &InboxId) -> Step<()> {
        let found = match self.authorise(caller, inbox, Role::Owner)? {
            Ok(found) => found,
            Err(denied) => return Ok(Err(denied)),
        };
        self.tx.execute("DELETE FROM inbox WHERE id = ?1", [found.id])?;
        self.tx.execute("INSERT INTO leaving (inbox) VALUES (?1)", [found.id])?;
        self.retire(inbox.as_ref())?;
        self.ledger.forget_inbox(inbox, found.id);
        self.news.deleted.push(*inbox);
        Ok(Ok(()))
    }

    pub(crate) fn replace_manage_key(&mut self, caller: &Caller, inbox: &InboxId, manage: PublicKey) -> Step<u64> {
        let found = match self.authorise(caller, inbox, Role::Owner)? {
            Ok(found) => found,
            Err(denied) => return Ok(Err(denied)),
        };
        // Whatever was signed with the key before: whoever has that must not keep the owner from taking it away. One that comes late and takes the
        // key back is found out by the next call, which is refused.
        let managed = self.managed(found, caller)?;
        self.ledger.change_inbox(Inbox { manage, ..managed });
        Ok(Ok(managed.changes))
    }

    /// As [`Self::authorise`] with the manage key, for a call that puts something in another's place. One that was held up on its way, and that its
    /// maker has given up and made again, must not undo what was signed since: not bring back a bundle whose keys are erased, nor a token that
    /// was dropped. The row that is returned counts one change more, and is to be kept.
    pub(crate) fn manage(&mut self, caller: &Caller, inbox: &InboxId) -> Step<Inbox> {
        let found = match self.authorise(caller, inbox, Role::Manager)? {
            Ok(found) => found,
            Err(denied) => return Ok(Err(denied)),
        };
        let last = self.tx.row("SELECT time FROM managed WHERE inbox = ?1", [found.id], |row| row.get(0))?;
        let ahead = Duration::from_millis(last.map_or(0, unsigned).saturating_sub(caller.time.as_ms()));
        // What lies further ahead than two calls that are both accepted was signed under a clock that has been set right since.
        if !ahead.is_zero() && ahead <= CLOCK_WINDOW * 2 {
            return Ok(Err(Denied::Overtaken));
        }
        self.managed(found, caller).map(Ok)
    }

    /// The row of an inbox with one change more, which is to be made.
    fn managed(&mut self, found: Inbox, caller: &Caller) -> Sql<Inbox> {
        let put = "INSERT INTO managed (inbox, time) VALUES (?1, ?2) ON CONFLICT (inbox) DO UPDATE SET time = ?2";
        self.tx.execute(put, params![found.id, signed(caller.time.as_ms())])?;
        Ok(Inbox { changes: found.changes + 1, ..found })
    }

    /// The inbox, if it is there and the caller signed with its key; the nonce is spent then. Who is refused has been looked for in
    /// the database once, whatever is at hand.
    pub(crate) fn authorise(&mut self, caller: &Caller, inbox: &InboxId, role: Role) -> Step<Inbox> {
        let at_hand = self.ledger.inbox_at_hand(inbox).filter(|row| may(row, caller, role));
        let found = match at_hand {
            Some(found) => Some(found),
            None => self.ledger.inbox(&self.tx, inbox)?.filter(|row| may(row, caller, role)),
        };
        match found {
            Some(found) => Ok(self.spend_nonce(caller)?.map(|()| found)),
            None => Ok(Err(Denied::Refused)),
        }
    }

    /// Never gives the id of a deleted inbox or chain away again: whoever knows it could make it anew with a key of their own and
    /// put old entries back, and sequence numbers would begin again.
    pub(crate) fn retire(&mut self, id: &[u8]) -> Sql<usize> {
        self.tx.execute("INSERT OR IGNORE INTO retired (hash) VALUES (?1)", [Sha256::digest(id).as_slice()])
    }

    pub(crate) fn is_retired(&self, id: &[u8]) -> Sql<bool> {
        let found =
            self.tx.row("SELECT 1 FROM retired WHERE hash = ?1", [Sha256::digest(id).as_slice()], |_| Ok(()))?;
        Ok(found.is_some())
    }

    /// Remembers the nonce in the same transaction as the effect of its call: a repeat is known after a restart too.
    pub(crate) fn spend_nonce(&mut self, caller: &Caller) -> Sql<Result<(), Denied>> {
        let added = self.tx.execute(
            "INSERT OR IGNORE INTO nonce (time, nonce) VALUES (?1, ?2)",
            params![signed(caller.time.as_ms()), caller.nonce],
        )?;
        Ok(if added == 1 { Ok(()) } else { Err(Denied::Replayed) })
    }
}

/// Whether the caller signed with the key of that role; in constant time.
fn may(inbox: &Inbox, caller: &Caller, role: Role) -> bool {
    let expected = match role {
        Role::Owner => &inbox.owner,
        Role::Manager => &inbox.manage,
    };
    expected.ct_eq(&caller.key).into()
}
