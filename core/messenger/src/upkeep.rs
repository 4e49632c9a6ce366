//! What is due by the clock: prekeys, manifests, confirmations, receipts, what went unanswered, things to forget.
//!
//! One task, one transaction a turn. What destroys something goes by a time that has passed by our clock and a relay's: a device that
//! reaches none destroys nothing.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};
use sotto_crypto::letter::Content;
use sotto_protocol::limits::RETENTION;
use sotto_protocol::{MessageId, Timestamp};

use crate::conversation::deeds;
use crate::engine::Engine;
use crate::error::Error;
use crate::outbox::backoff::Backoff;
use crate::outbox::{self, NewLetter, Says};
use crate::peer::DeviceRow;
use crate::redate::ListsAhead;
use crate::status::{Doing, State};
use crate::store::column::{ms, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::{contact, handshake, healing, own, peer, prekey, profile, rebirth, receipts, receive, redate, task};

/// Before it tries again what is due and could not be done.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// The longest that it sleeps: clocks jump.
const SLEEP_MAX: Duration = Duration::from_secs(3600);
/// A confirmation that could not leave for so long says nothing that the next letter will not say.
pub(crate) const CONFIRMATION_LIFETIME: Duration = Duration::from_secs(37 * 24 * 3600);
/// How long inner hashes are kept: relays hold nothing longer than the retention, and repeats of sends for a week more.
const SEEN_FOR: Duration = Duration::from_secs(RETENTION.as_secs() + 7 * 24 * 3600);

/// The devices that may hear what was received, where they have to.
const MAY_HEAR: &str = "peer_device JOIN contact ON contact.id = peer_device.contact
    WHERE confirm_due IS NOT NULL AND listed = 1 AND contact.state = 3 AND contact.blocked = 0";

/// Turn after turn, each when something is due.
pub(crate) async fn run(engine: Arc<Engine>) {
    let mut failures = Backoff::default();
    loop {
        let asked = engine.upkeep_asked();
        let turn = look_after(&engine).await;
        engine.looked_after(asked);
        let wait = match turn {
            Ok(wait) => {
                failures.reset();
                wait
            }
            Err(error) => {
                tracing::warn!(code = error.code(), "upkeep failed");
                failures.failed(error.retry_after(), &engine.chance())
            }
        };
        tokio::select! {
            biased;
            () = engine.upkeep_is_due() => {}
            () = engine.clock.sleep(wait) => {}
        }
    }
}

/// Does what is due; says how long nothing will be.
async fn look_after(engine: &Arc<Engine>) -> Result<Duration, Error> {
    if engine.is_rolled_back() {
        return Ok(SLEEP_MAX);
    }
    healing::open_gaps(engine).await?;
    let due = engine.read(due_at).await?;
    if due <= engine.network_now() {
        engine.write(upkeep).await?;
        engine.wake();
        engine.status.progressed();
    }
    if engine.read(|_, view| own::is_to_join(view)).await? {
        for (relay, code) in engine.write(|engine, tx| own::to_join(tx, engine.network_now())).await? {
            engine.spawn(rebirth::join(Arc::clone(engine), relay, code));
        }
    }
    for contact in engine.read(|engine, view| contact::to_read_again(view, engine.network_now())).await? {
        engine.read_again(contact);
    }
    let due = engine.read(due_at).await?;
    // What is due and could not be done, because clocks disagree or a relay is down, is no reason to spin.
    let wait = due.since(engine.network_now());
    Ok(if wait.is_zero() { TRY_AGAIN } else { wait.min(SLEEP_MAX) })
}

/// When something is due next.
fn due_at(engine: &Engine, view: &Connection) -> Result<Timestamp, StoreError> {
    let now = engine.network_now();
    // Before any relay has told the time, nothing is known to be ahead of it.
    if engine.client.has_heard_the_time() && redate::is_due(view, engine.judging_now())? {
        return Ok(Timestamp::EPOCH);
    }
    let issued_at =
        view.one("SELECT issued_at FROM account", [], |row| row.get(0))?.map(timestamp).ok_or(StoreError::Corrupt)?;
    let confirm_at =
        view.one(&format!("SELECT min(confirm_due) FROM {MAY_HEAR}"), [], |row| row.get::<_, Option<i64>>(0))?;
    let knows_the_time = engine.client.has_heard_the_time();
    let dies_at = view.one(
        "SELECT min(dies_at) FROM outbox WHERE dies_at IS NOT NULL AND state <= 2 AND ?1",
        [knows_the_time],
        |row| row.get::<_, Option<i64>>(0),
    )?;
    let others = [confirm_at.flatten(), dies_at.flatten()].into_iter().flatten().map(timestamp);
    let others = others.chain(outbox::unanswered::due_at(view, now)?).chain(outbox::again::due_at(view, now)?);
    let others = others.chain(receipts::due_at(view)?).chain(own::readers_due_at(view)?);
    let others = others.chain(own::left_due_at(view)?.filter(|_| knows_the_time));
    let others = others.chain(healing::due_at(engine, view)?).chain(healing::predecessors_due_at(view)?);
    let is_to_tell = !contact::pair_change::behind(view)?.is_empty()
        || !own::know_no_chain(view)?.is_empty()
        || profile::is_due(view)?;
    let others = others.chain(is_to_tell.then_some(Timestamp::EPOCH));
    let others = others.chain(prekey::due_at(view, now, knows_the_time)?);
    Ok(others.fold(own::list_due_at(view, issued_at, now)?, Timestamp::min))
}

fn upkeep(engine: &Engine, tx: &mut Tx<'_>) -> Result<(), Error> {
    let (times, sure_now) = (engine.times(), engine.sure_now());
    let now = times.network;
    let mut lists_ahead = ListsAhead::None;
    if let Some(sure_now) = sure_now {
        redate::note_sure(tx, sure_now)?;
        lists_ahead = redate::set_right(tx, times.judging)?;
    }
    prekey::upkeep(tx, &engine.own(), task::new_batch(tx)?, times, sure_now, &mut engine.chance())?;
    // Before anything else is written where they read.
    own::lead_readers_on(tx, &engine.own(), times, &mut engine.chance())?;
    let issued_at =
        tx.one("SELECT issued_at FROM account", [], |row| row.get(0))?.map(timestamp).ok_or(StoreError::Corrupt)?;
    if lists_ahead == ListsAhead::Some || now >= own::list_due_at(tx, issued_at, now)? {
        let batch = task::new_batch(tx)?;
        own::renew_manifest(tx, &engine.own().seal, batch, now, &mut engine.chance())?;
    }
    confirm_what_is_due(engine, tx, now)?;
    outbox::again::renew(tx, now)?;
    outbox::unanswered::renew(tx, now)?;
    receipts::tell_what_is_due(tx, now, &mut engine.chance())?;
    healing::ask_what_is_due(engine, tx, now)?;
    healing::ask_for_predecessors(tx, now, &engine.chance())?;
    handshake::tell_successors(tx, &engine.own(), now, &mut engine.chance())?;
    own::tell_newcomers_of_chain(tx, &engine.own(), now, &mut engine.chance())?;
    profile::tell(tx, now, &mut engine.chance())?;
    sure_now.map_or(Ok(()), |sure_now| forget_what_is_over(engine, tx, sure_now))
}

fn forget_what_is_over(engine: &Engine, tx: &mut Tx<'_>, sure_now: Timestamp) -> Result<(), Error> {
    note_drained(engine, tx, sure_now)?;
    outbox::expire(tx, sure_now)?;
    contact::pair_change::forget_last(tx, sure_now)?;
    handshake::end_requests(tx, &engine.own(), sure_now, engine.times(), &mut engine.chance())?;
    handshake::forget_old_invites(tx, sure_now)?;
    handshake::forget_old_aliases(tx, sure_now)?;
    receive::expire_waiting(tx, sure_now)?;
    deeds::expire(tx, sure_now)?;
    own::forget_left(tx, &engine.own(), sure_now)?;
    peer::forget_departed(tx, sure_now)?;
    outbox::again::forget_relays(tx)?;
    tx.execute("DELETE FROM seen_inner WHERE day < ?1", [sure_now.before(SEEN_FOR).day()])?;
    Ok(())
}

/// A stream that is up and drained has nothing waiting now, however long ago the relay said so.
fn note_drained(engine: &Engine, tx: &mut Tx<'_>, now: Timestamp) -> Result<(), StoreError> {
    for inbox in &engine.own().inboxes {
        if engine.status.of(&Doing::Stream(inbox.relay.clone())) == Some(State::Drained) {
            tx.execute("UPDATE own_inbox SET drained_at = ?2 WHERE id = ?1", params![inbox.row, ms(now)])?;
        }
    }
    Ok(())
}

/// Letters that carry nothing but what was received, to devices that heard nothing from us for too long.
fn confirm_what_is_due(engine: &Engine, tx: &mut Tx<'_>, now: Timestamp) -> Result<(), Error> {
    let due: Vec<_> =
        tx.all(&format!("SELECT peer_device.id FROM {MAY_HEAR} AND confirm_due <= ?1"), [ms(now)], |row| {
            row.get(0).map(DeviceRow)
        })?;
    let content = Content::Confirmation.encode().map_err(|_| StoreError::Failed)?;
    for device in &due {
        let message_id = MessageId::from_bytes(engine.chance().bytes());
        let letter = NewLetter {
            says: Says::Content(&content),
            message_id,
            sent_at: now,
            dies_at: Some(now.after(CONFIRMATION_LIFETIME)),
            after_batch: None,
        };
        outbox::queue(tx, *device, &letter)?;
        tx.execute("UPDATE peer_device SET confirm_due = NULL WHERE id = ?1", [device.0])?;
    }
    // The others are owed it still: somebody blocked hears when they no longer are, and whoever is removed begins anew.
    Ok(())
}
