//! Our prekeys: what strangers and contacts claim from our relays before their first letter.
//!
//! A bundle is renewed every 48 hours with a new KEM key; one-time keys have a schedule of their own (`one_time.rs`).
//! A retired KEM key is erased once every relay has been drained a week after its relay has taken the next one, at the latest 37 days after
//! its retirement (PROTOCOL D4); until then letters sealed to it may still arrive. The last-resort key rotates no faster, because vodozemac keeps two.
//! Everything is decided and written in one transaction; the relay hears of it through tasks.

mod one_time;

use std::time::Duration;

use rusqlite::params;
use sotto_crypto::kem::KemPrivateKey;
use sotto_crypto::olm::OlmAccount;
use sotto_crypto::prekey::{seal_bundle, sign_kem_key, sign_last_resort_key};
use sotto_protocol::limits::{BUNDLE_RENEWED, BUNDLE_VALID, DATED_AHEAD_MAX};
use sotto_protocol::{InboxId, KeyId, Timestamp, relay};

use crate::engine::Times;
use crate::own::{self, Own, OwnInbox};
use crate::seal;
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::task::{self, Subject};
use crate::world::Chance;

pub(crate) use one_time::{one_time_key_used, one_time_keys_left};

/// How long after a KEM key was replaced every relay must have been drained before it is erased early.
const DRAINED_AFTER_REPLACEMENT: Duration = Duration::from_secs(7 * 24 * 3600);

/// When something that was dated `made_at`, and lives for `period`, is due to be made anew: at once when it is dated further ahead than
/// others believe. A relay's clock was wrong then, and has been set right since.
pub(crate) fn renewal_due_at(made_at: Timestamp, period: Duration, now: Timestamp) -> Timestamp {
    if made_at > now.after(DATED_AHEAD_MAX) { Timestamp::EPOCH } else { made_at.after(period) }
}

/// When [`upkeep`] has something to do. What renews retires, and what retires erases: neither is due before a relay has told the time.
pub(crate) fn due_at(view: &impl Query, now: Timestamp, knows_the_time: bool) -> Result<Option<Timestamp>, StoreError> {
    let Some(newest) = newest_kem_key(view)? else { return Ok(Some(Timestamp::EPOCH)) };
    let one_time = one_time::due_at(view, knows_the_time)?;
    if !knows_the_time {
        return Ok(one_time);
    }
    let renewed_at = renewal_due_at(newest, BUNDLE_RENEWED, now);
    Ok([Some(renewed_at), erasure_due_at(view)?, one_time].into_iter().flatten().min())
}

/// Condition: an opener waits here for what is missing to it. It has been drained and not been opened: the key that it names stays until the
/// last day of any.
const IS_WAITED_FOR: &str = "key_id IN (SELECT substr(header, 2, 8) FROM waiting WHERE substr(header, 1, 1) = x'11')";

/// When a retired KEM key was offered last, or null while its relay may still hand it out: an inbox that we have left gives out nothing.
const OFFERED_UNTIL: &str = "iif(inbox IN (SELECT inbox FROM own_inbox WHERE owner_key_sealed IS NOT NULL AND leaving_at IS NULL), replaced_at, retired_at)";

/// When the oldest retired KEM key must go: at once when every relay has been drained for long enough.
fn erasure_due_at(view: &impl Query) -> Result<Option<Timestamp>, StoreError> {
    let drained = ms(drained_at(view)?.before(DRAINED_AFTER_REPLACEMENT));
    let early = format!(
        "SELECT 1 FROM kem_key WHERE retired_at IS NOT NULL AND {OFFERED_UNTIL} <= ?1 AND NOT ({IS_WAITED_FOR}) LIMIT 1"
    );
    if view.one(&early, [drained], |_| Ok(()))?.is_some() {
        return Ok(Some(Timestamp::EPOCH));
    }
    let oldest = view.one("SELECT min(retired_at) FROM kem_key", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(oldest.flatten().map(|retired_at| timestamp(retired_at).after(BUNDLE_VALID)))
}

/// When our own relays were last drained, all of them.
fn drained_at(view: &impl Query) -> Result<Timestamp, StoreError> {
    let drained_at = view.one(
        "SELECT min(drained_at) FROM own_inbox WHERE owner_key_sealed IS NOT NULL AND leaving_at IS NULL",
        [],
        |row| row.get::<_, Option<i64>>(0),
    )?;
    Ok(drained_at.flatten().map_or(Timestamp::EPOCH, timestamp))
}

/// A relay of ours that is gone is never drained again: letters that were taken so long ago do not wait for it.
const DRAINED_WITHIN: Duration = Duration::from_secs(3 * 24 * 3600);

/// By when whatever others have answered has been read: all of our relays were drained since, or one of them is away for too long.
pub(crate) fn looked_through_at(view: &impl Query, now: Timestamp) -> Result<Timestamp, StoreError> {
    Ok(drained_at(view)?.max(now.before(DRAINED_WITHIN)))
}

/// Renews what is due by the network's time, erases what is over by every clock. While no relay has told the time nothing is retired and
/// nothing erased, and what retires does so by the later clock: a key that retired too early by a clock that is behind would be erased too
/// early as well. A date that a clock ahead has made up is set right (`redate.rs`).
pub(crate) fn upkeep(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    times: Times,
    sure_now: Option<Timestamp>,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let now = times.network;
    let mut olm = own::olm(tx, &own.seal)?;
    let mut changed = sure_now.is_some_and(|sure_now| rotate_last_resort(&mut olm, sure_now));
    let made_at = newest_kem_key(tx)?;
    // Whoever is given a one-time key that is dated ahead refuses it as well.
    let is_dated_ahead = sure_now.is_some() && made_at.is_some_and(|made_at| made_at > now.after(DATED_AHEAD_MAX));
    // A last-resort key that has rotated is offered no longer: what was signed for it before ends before it is forgotten.
    if (changed || made_at.is_none_or(|made_at| now >= renewal_due_at(made_at, BUNDLE_RENEWED, now)))
        && (sure_now.is_some() || made_at.is_none())
    {
        put_bundles(tx, own, batch, &olm, times, chance)?;
    }
    for inbox in own.listed() {
        let make = if is_dated_ahead { one_time::replace } else { one_time::upkeep };
        changed |= make(tx, own, batch, &mut olm, inbox, (now, sure_now), chance)?;
    }
    if changed {
        own::store_olm(tx, &own.seal, &olm, chance)?;
        forget_tombstones(tx, &olm)?;
    }
    sure_now.map_or(Ok(()), |sure_now| erase_retired(tx, sure_now))
}

fn newest_kem_key(view: &impl Query) -> Result<Option<Timestamp>, StoreError> {
    let made_at = view
        .one("SELECT max(created_at) FROM kem_key WHERE retired_at IS NULL", [], |row| row.get::<_, Option<i64>>(0))?;
    Ok(made_at.flatten().map(timestamp))
}

/// New KEM keys in new bundles, one of its own for each inbox: its id stands in every opener, and two relays that saw one id would know
/// that two inboxes are one device's.
fn put_bundles(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    olm: &OlmAccount,
    times: Times,
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    tx.execute("UPDATE kem_key SET retired_at = ?1 WHERE retired_at IS NULL", [ms(times.judging)])?;
    let now = times.network;
    for inbox in own.listed() {
        put_bundle(tx, own, batch, olm, inbox, (now, now), chance)?;
    }
    Ok(())
}

/// A new bundle for an inbox, whose keys are renewed as if they had been made at another time.
fn put_bundle(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    olm: &OlmAccount,
    inbox: &OwnInbox,
    (now, made_at): (Timestamp, Timestamp),
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let last_resort = olm.last_resort();
    let last_resort = sign_last_resort_key(olm, &own.party.name(), last_resort.id(), &last_resort.key(), now);
    let private = KemPrivateKey::generate(chance);
    let key_id = KeyId::from_bytes(chance.bytes());
    tx.execute(
        "INSERT INTO kem_key (key_id, private_sealed, created_at, inbox) VALUES (?1, ?2, ?3, ?4)",
        params![
            key_id.as_ref(),
            own.seal.seal("kem_key", key_id.as_ref(), &private, chance),
            ms(made_at),
            inbox.inbox.as_ref()
        ],
    )?;
    let kem = sign_kem_key(olm, &own.party.name(), key_id, &private.public(), now);
    let bundle = seal_bundle(&kem, &last_resort, &inbox.prekey_key, &inbox.inbox, chance);
    let body = relay::PrekeyPut { inbox: inbox.inbox.into(), bundle: bundle.into(), ..Default::default() };
    task::queue(tx, batch, &inbox.relay, Subject::Inbox(inbox.inbox), task::Kind::PrekeyPut, &body)
}

/// A relay has taken prekeys for an inbox of ours. Where it has them all, it hands out none of those that have retired any more.
pub(crate) fn were_taken(tx: &mut Tx<'_>, inbox: &InboxId, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE kem_key SET replaced_at = ?2 WHERE inbox = ?1 AND retired_at IS NOT NULL AND replaced_at IS NULL
         AND NOT EXISTS (SELECT 1 FROM relay_task WHERE subject = ?1 AND kind = ?3)",
        params![inbox.as_ref(), ms(now), task::Kind::PrekeyPut.code()],
    )?;
    Ok(())
}

/// New prekeys for an inbox whose relay may hand out old ones. Those that it has keep their private halves, and no renewal is put off: a
/// relay that says so again and again neither ends a key that letters are under way to, nor keeps one alive.
pub(crate) fn put_again(
    tx: &mut Tx<'_>,
    own: &Own,
    batch: i64,
    inbox: &OwnInbox,
    (now, sure_now): (Timestamp, Option<Timestamp>),
    chance: &mut Chance<'_>,
) -> Result<(), StoreError> {
    let mut olm = own::olm(tx, &own.seal)?;
    let made_at = newest_kem_key(tx)?.unwrap_or(now);
    put_bundle(tx, own, batch, &olm, inbox, (now, made_at), chance)?;
    one_time::replace(tx, own, batch, &mut olm, inbox, (now, sure_now), chance)?;
    own::store_olm(tx, &own.seal, &olm, chance)
}

/// A last-resort key lives two rotations: as the current one, then as the one before.
fn rotate_last_resort(olm: &mut OlmAccount, now: Timestamp) -> bool {
    let is_due = now >= olm.last_resort().made_at().after(BUNDLE_VALID);
    if is_due {
        olm.rotate_last_resort(now);
    }
    is_due
}

/// Sessions that began with a last-resort key are remembered for as long as it can be replayed, however long this device was off.
fn forget_tombstones(tx: &mut Tx<'_>, olm: &OlmAccount) -> Result<(), StoreError> {
    let current = olm.last_resort().id();
    let before = olm.last_resort_before().map_or(current, |before| before.id());
    tx.execute(
        "DELETE FROM session_tombstone WHERE key_id NOT IN (?1, ?2)",
        params![current.as_ref(), before.as_ref()],
    )?;
    Ok(())
}

fn erase_retired(tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    let drained = ms(drained_at(tx)?.before(DRAINED_AFTER_REPLACEMENT));
    tx.execute(
        &format!(
            "DELETE FROM kem_key WHERE retired_at IS NOT NULL AND (retired_at <= ?2 OR ({OFFERED_UNTIL} <= ?1 AND NOT ({IS_WAITED_FOR})))"
        ),
        params![drained, ms(now.before(BUNDLE_VALID))],
    )?;
    seal::forget_retired(tx)
}

/// The private half that an opener names.
pub(crate) fn kem_key(view: &impl Query, own: &Own, key_id: &KeyId) -> Result<Option<KemPrivateKey>, StoreError> {
    let sealed: Option<Vec<u8>> =
        view.one("SELECT private_sealed FROM kem_key WHERE key_id = ?1", [key_id.as_ref()], |row| row.get(0))?;
    sealed.map(|sealed| own.seal.open("kem_key", key_id.as_ref(), &sealed)).transpose()
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn d4_nothing_is_due_for_a_key_that_an_opener_waits_for_before_its_last_day() {
        let view = Connection::open_in_memory().unwrap();
        view.execute_batch(include_str!("store/schema.sql")).unwrap();
        view.execute_batch(
            "PRAGMA foreign_keys = OFF;
             INSERT INTO own_inbox (id, own_device, position, relay, inbox, prekey_key, owner_key_sealed, manage_key_sealed, drained_at)
                 VALUES (1, 1, 0, '', x'', x'', x'', x'', 864000000);
             INSERT INTO kem_key VALUES (x'0102030405060708', x'', 0, 0, x'', 0);",
        )
        .unwrap();
        assert_eq!(erasure_due_at(&view).unwrap(), Some(Timestamp::EPOCH), "drained on the tenth day");
        view.execute_batch("INSERT INTO waiting VALUES (1, 1, 1, x'11010203040506070899', x'', 0, 2)").unwrap();
        assert_eq!(erasure_due_at(&view).unwrap(), Some(Timestamp::EPOCH.after(BUNDLE_VALID)));
        view.execute_batch("DELETE FROM waiting; UPDATE kem_key SET replaced_at = NULL").unwrap();
        assert_eq!(erasure_due_at(&view).unwrap(), Some(Timestamp::EPOCH.after(BUNDLE_VALID)), "it is offered still");
    }
}
