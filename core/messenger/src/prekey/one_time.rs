//! One-time keys: what a relay of ours hands out once each to whoever claims (PROTOCOL A5).
//!
//! Only the relay knows how many are left, and it may say what it likes. So a stack of them is made on a schedule of ours: when few are
//! said to be left, but not twice within [`STACK_MADE_AGAIN`] for an inbox, by a time that has surely passed; and in place of one that is
//! old. Where more are claimed than that, the bundle's last-resort key serves.
//!
//! Invariant: no relay's answers end a key that another one handed out. vodozemac keeps the newest [`PRIVATE_HALVES_MAX`] private halves
//! of all inboxes together: at that pace, of every inbox a device may have, that is all of the last [`KEPT_FOR`], which is longer than a
//! key stands at its relay and its letter may be under way.

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::olm::OlmAccount;
use sotto_crypto::prekey::sign_one_time_key;
use sotto_protocol::limits::{BUNDLE_RENEWED, INBOXES_PER_DEVICE_MAX, INVITE_VALID_MAX, RETENTION};
use sotto_protocol::{Bytes, Timestamp, relay};

use crate::own::{Own, OwnInbox};
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::task::{self, Subject};
use crate::world::Chance;

/// Keys in a stack: what a device and its contacts use in a busy two days of new contacts and session resets.
const ONE_TIME_KEYS: usize = 32;
/// Below this another stack is made.
const ONE_TIME_KEYS_LOW: i64 = 16;
/// Between two stacks for an inbox: as often as the bundle changes anyway, so that a refill tells nobody when this device is used.
const STACK_MADE_AGAIN: Duration = BUNDLE_RENEWED;
/// How long a stack stands at its relay before another comes in its place, however few were used.
const STACK_RENEWED: Duration = Duration::from_secs(30 * 24 * 3600);
/// What vodozemac keeps, of all inboxes together.
const PRIVATE_HALVES_MAX: u64 = 5_000;
/// How long every private half is kept at least, when all relays use up their stacks as fast as they may.
const KEPT_FOR: Duration = Duration::from_secs(
    PRIVATE_HALVES_MAX / (ONE_TIME_KEYS * INBOXES_PER_DEVICE_MAX) as u64 * STACK_MADE_AGAIN.as_secs(),
);

// A key is claimed as long as it stands; a request that rests on it is repeated as long as its invite holds, or waits at the relay.
const _: () = assert!(KEPT_FOR.as_secs() >= STACK_RENEWED.as_secs() + RETENTION.as_secs() + 7 * 24 * 3600);
const _: () = assert!(INVITE_VALID_MAX.as_secs() <= RETENTION.as_secs());

/// When a stack is to be made next; before any relay has told the time only where there never was one.
pub(super) fn due_at(view: &impl Query, knows_the_time: bool) -> Result<Option<Timestamp>, StoreError> {
    let due_at = view.one(
        "SELECT min(CASE WHEN one_time_made_at = 0 THEN 0 WHEN one_time_unused < ?1 THEN one_time_made_at + ?2
                    ELSE one_time_made_at + ?3 END)
         FROM own_inbox WHERE owner_key_sealed IS NOT NULL AND leaving_at IS NULL AND (?4 OR one_time_made_at = 0)",
        params![ONE_TIME_KEYS_LOW, millis(STACK_MADE_AGAIN), millis(STACK_RENEWED), knows_the_time],
        |row| row.get::<_, Option<i64>>(0),
    )?;
    Ok(due_at.flatten().map(timestamp))
}

/// Makes an inbox's stack when it is due. Says whether the account has changed and must be stored.
pub(super) fn upkeep(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    olm: &mut OlmAccount,
    inbox: &OwnInbox,
    times: (Timestamp, Option<Timestamp>),
    chance: &mut Chance<'_>,
) -> Result<bool, StoreError> {
    let is_due = Stack::of(tx, inbox)?.is_due(times.1);
    if is_due {
        put(tx, own, batch, olm, inbox, times, chance)?;
    }
    Ok(is_due)
}

/// What stands at a relay must be handed out no more: a whole new stack comes in its place, or none until it is time for one. Says whether
/// the account has changed and must be stored.
pub(super) fn replace(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    olm: &mut OlmAccount,
    inbox: &OwnInbox,
    times: (Timestamp, Option<Timestamp>),
    chance: &mut Chance<'_>,
) -> Result<bool, StoreError> {
    let may_be_made = Stack::of(tx, inbox)?.may_be_made(times.1);
    if may_be_made {
        put(tx, own, batch, olm, inbox, times, chance)?;
    } else {
        queue(tx, batch, inbox, Vec::new())?;
    }
    Ok(may_be_made)
}

/// What is known of the stack at a relay.
struct Stack {
    unused: i64,
    /// The epoch where there never was one.
    made_at: Timestamp,
}

impl Stack {
    fn of(view: &impl Query, inbox: &OwnInbox) -> Result<Self, StoreError> {
        let stack =
            view.one("SELECT one_time_unused, one_time_made_at FROM own_inbox WHERE id = ?1", [inbox.row], |row| {
                Ok(Self { unused: row.get(0)?, made_at: timestamp(row.get(1)?) })
            })?;
        stack.ok_or(StoreError::Corrupt)
    }

    fn may_be_made(&self, sure_now: Option<Timestamp>) -> bool {
        self.made_at == Timestamp::EPOCH || sure_now.is_some_and(|now| now >= self.made_at.after(STACK_MADE_AGAIN))
    }

    fn is_due(&self, sure_now: Option<Timestamp>) -> bool {
        let is_old = sure_now.is_some_and(|now| now >= self.made_at.after(STACK_RENEWED));
        self.may_be_made(sure_now) && (self.unused < ONE_TIME_KEYS_LOW || is_old)
    }
}

fn put(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    olm: &mut OlmAccount,
    inbox: &OwnInbox,
    (now, sure_now): (Timestamp, Option<Timestamp>),
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let mut one_time = Vec::with_capacity(ONE_TIME_KEYS);
    for key in olm.generate_one_time_keys(ONE_TIME_KEYS) {
        let signed = sign_one_time_key(olm, &own.party.name(), key.id, &key.key, now);
        one_time.push(Bytes::from(signed.seal_one_time(&inbox.prekey_key, &inbox.inbox, chance)));
    }
    // The next one goes by this: one relay's clock must not hurry it.
    let made_at = ms(sure_now.unwrap_or(now));
    tx.execute("UPDATE own_inbox SET one_time_made_at = ?2 WHERE id = ?1", params![inbox.row, made_at])?;
    queue(tx, batch, inbox, one_time)
}

/// In place of what is left of the stack before: the call may be made twice, and a stack that grows each time would be refused as too high,
/// and hold up everything behind it.
fn queue(tx: &mut Tx<'_>, batch: i64, inbox: &OwnInbox, one_time: Vec<Bytes>) -> Result<(), StoreError> {
    let unused = i64::try_from(one_time.len()).unwrap_or(i64::MAX);
    tx.execute("UPDATE own_inbox SET one_time_unused = ?2 WHERE id = ?1", params![inbox.row, unused])?;
    let body = relay::PrekeyPut { inbox: inbox.inbox.into(), one_time, replace_one_time: true, ..Default::default() };
    task::queue(tx, batch, &inbox.relay, Subject::Inbox(inbox.inbox), task::Kind::PrekeyPut, &body)
}

/// What the relay says of the one-time keys that it still has: whoever claims some tells nobody.
pub(crate) fn one_time_keys_left(tx: &mut Tx<'_>, own_inbox: i64, count: u32) -> Result<(), StoreError> {
    tx.execute("UPDATE own_inbox SET one_time_unused = ?2 WHERE id = ?1", params![own_inbox, count])?;
    Ok(())
}

/// A letter has come under a one-time key.
pub(crate) fn one_time_key_used(tx: &mut Tx<'_>, own_inbox: i64) -> Result<(), StoreError> {
    tx.execute("UPDATE own_inbox SET one_time_unused = max(0, one_time_unused - 1) WHERE id = ?1", [own_inbox])?;
    Ok(())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
