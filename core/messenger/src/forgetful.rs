//! A relay of ours that came back from a backup has forgotten what it was told since: tokens, prekeys, lists. It is told again.
//!
//! The sign is that it remembers fewer acknowledgements than we have made, or fewer calls that changed what it knows of an inbox than it has
//! answered. The last acknowledgement may as well have been lost on the way, or the relay may claim so whenever it likes: so all of this is
//! harmless to repeat, happens at most once an hour for an inbox, never while the last time is still under way, and gives out no key twice.
//! A relay that has lost everything refuses the inbox itself: it is made again under its name, so that whoever writes to it goes on.
//! Not healed: lists that were forgotten where nothing else was give no sign, nor what was forgotten where as many calls were made since whose
//! answers were lost. A chain of which it knows nothing any more begins anew with
//! the next list that it refuses (`clerk.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::params;
use sotto_protocol::{Bytes, RelayAddress, Timestamp};

use crate::engine::Engine;
use crate::error::Error;
use crate::messenger::make_inbox;
use crate::own::OwnInbox;
use crate::second_copy::{self, Found};
use crate::store::column::{counter, ms, stored, timestamp};
use crate::store::{Query, StoreError, Tx};
use crate::{handshake, own, prekey, task};

/// Between two times that an inbox's relay is told again: nobody restores backups more often.
const PAUSE: Duration = Duration::from_secs(3600);

/// A relay refuses an inbox of ours that our list names: makes it again, and tells the relay all that it must know of it. What is there
/// already stays as it is.
pub(crate) async fn make_again(engine: &Arc<Engine>, relay: &RelayAddress) -> Result<(), Error> {
    let own = engine.own();
    let Some(inbox) = own.listed().find(|inbox| inbox.relay == *relay).cloned() else { return Ok(()) };
    let (row, now) = (inbox.row, engine.network_now());
    if engine.read(move |_, view| told(view, row, now)).await?.is_recent {
        return Ok(());
    }
    if let Err(error) = make_inbox(&engine.client, &inbox).await {
        if matches!(&error, Error::Relay(error) if error.is_refusal()) {
            engine.write(move |_, tx| note_told(tx, row, now, None, None)).await?;
        }
        return Err(error);
    }
    tracing::info!("an inbox that was gone at its relay is made again");
    engine.write(move |engine, tx| tell_again(engine, tx, &inbox, Memory::default())).await?;
    engine.wake();
    look_at_chains(Arc::clone(engine), relay.clone()).await;
    Ok(())
}

/// When the relay of an inbox was last told again.
struct Told {
    is_recent: bool,
    batch: i64,
}

fn told(view: &impl Query, inbox: i64, now: Timestamp) -> Result<Told, StoreError> {
    let told = view.one("SELECT told_again_at, told_again_batch FROM own_inbox WHERE id = ?1", [inbox], |row| {
        let told_at = timestamp(row.get(0)?);
        // A time that is still to come was told by a clock that was wrong.
        Ok(Told { is_recent: told_at <= now && now < told_at.after(PAUSE), batch: row.get(1)? })
    })?;
    told.ok_or(StoreError::Corrupt)
}

/// What a relay says that it remembers of an inbox of ours.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    /// The last acknowledgement.
    pub(crate) acked: u64,
    /// How many calls have changed tokens, prekeys and the manage key.
    pub(crate) changes: u64,
}

/// In the place of the changes that a relay has counted: it has forgotten some, and is to be told again however many it counts meanwhile.
const OWED: u64 = u64::MAX >> 1;

/// How many changes the relays of our inboxes are known to have counted. What a relay answers is compared with what was known when it was asked:
/// answers on two connections overtake each other.
pub(crate) fn counted(view: &impl Query) -> Result<BTreeMap<i64, u64>, StoreError> {
    let rows = view.all("SELECT id, changes FROM own_inbox", [], |row| Ok((row.get(0)?, counter(row.get(1)?))))?;
    Ok(rows.into_iter().collect())
}

/// Heeds what a relay says that it remembers when an inbox is attached, of which it had counted so many changes when it was asked. Says whether it
/// has forgotten something, and is told again now.
pub(crate) fn heed_memory(
    engine: &Engine,
    tx: &mut Tx<'_>,
    inbox: &OwnInbox,
    counted: u64,
    memory: Memory,
) -> Result<bool, StoreError> {
    let known = known(tx, inbox.row)?;
    if memory.acked < known.acked || memory.changes < known.changes.min(counted) {
        return tell_again(engine, tx, inbox, memory);
    }
    note_changes(tx, inbox.row, memory.changes)?;
    Ok(false)
}

/// Heeds how many changes a relay has counted with one that it had not made when it had counted `before`. Says whether it has forgotten others, and
/// is told again now.
pub(crate) fn heed_changes(
    engine: &Engine,
    tx: &mut Tx<'_>,
    inbox: &OwnInbox,
    before: u64,
    changes: u64,
) -> Result<bool, StoreError> {
    let known = known(tx, inbox.row)?;
    // A relay of before these were counted says nothing.
    if changes == 0 || changes > known.changes.min(before) {
        note_changes(tx, inbox.row, changes)?;
        return Ok(false);
    }
    // The acknowledgements that it has forgotten with them are no other sign.
    tell_again(engine, tx, inbox, Memory { acked: 0, changes })
}

/// Whether there is anything to heed in what a relay says that it remembers.
pub(crate) fn is_news(view: &impl Query, inbox: i64, memory: Memory) -> Result<bool, StoreError> {
    let known = known(view, inbox)?;
    Ok(memory.acked < known.acked || memory.changes != known.changes)
}

/// What the relay of an inbox is known to remember.
fn known(view: &impl Query, inbox: i64) -> Result<Memory, StoreError> {
    let known = view.one("SELECT remembered, changes FROM own_inbox WHERE id = ?1", [inbox], |row| {
        Ok(Memory { acked: counter(row.get(0)?), changes: counter(row.get(1)?) })
    })?;
    known.ok_or(StoreError::Corrupt)
}

fn note_changes(tx: &mut Tx<'_>, inbox: i64, changes: u64) -> Result<(), StoreError> {
    tx.execute("UPDATE own_inbox SET changes = max(changes, ?2) WHERE id = ?1", params![inbox, stored(changes)])
        .map(drop)
}

/// Queues what the relay of an inbox may have forgotten, which remembers so much. Says whether there is something to do now.
fn tell_again(engine: &Engine, tx: &mut Tx<'_>, inbox: &OwnInbox, memory: Memory) -> Result<bool, StoreError> {
    let now = engine.network_now();
    let told = told(tx, inbox.row, now)?;
    if inbox.is_leaving {
        return Ok(false);
    }
    if told.is_recent || task::is_under_way(tx, told.batch)? {
        note_changes(tx, inbox.row, OWED)?;
        return Ok(false);
    }
    let batch = task::new_batch(tx)?;
    handshake::put_tokens_again(tx, inbox, batch, now)?;
    prekey::put_again(tx, &engine.own(), batch, inbox, (now, engine.sure_now()), &mut engine.chance())?;
    note_told(tx, inbox.row, now, Some(batch), Some(memory))?;
    Ok(true)
}

fn note_told(
    tx: &mut Tx<'_>,
    inbox: i64,
    now: Timestamp,
    batch: Option<i64>,
    memory: Option<Memory>,
) -> Result<(), StoreError> {
    let sql = "UPDATE own_inbox SET told_again_at = ?2, told_again_batch = coalesce(?3, told_again_batch), remembered = coalesce(?4, remembered),
                   changes = coalesce(?5, changes) WHERE id = ?1";
    let (acked, changes) = (memory.map(|memory| stored(memory.acked)), memory.map(|memory| stored(memory.changes)));
    tx.execute(sql, params![inbox, ms(now), batch, acked, changes]).map(drop)
}

/// A relay is being told again what it knew of an inbox: our chains there are looked at as well.
pub(crate) fn is_told_again(engine: &Arc<Engine>, relay: &RelayAddress) {
    tracing::info!("a relay remembers less than it was told, and is told again");
    engine.wake();
    engine.spawn(look_at_chains(Arc::clone(engine), relay.clone()));
}

/// Looks whether our chains at a relay end as we wrote them, and goes on behind what is left of the others.
pub(crate) async fn look_at_chains(engine: Arc<Engine>, relay: RelayAddress) {
    if let Err(error) = mend_chains(&engine, &relay).await {
        // Whoever writes the next list finds out.
        tracing::debug!(code = error.code(), "our chains at a relay were not looked at");
    }
}

async fn mend_chains(engine: &Arc<Engine>, relay: &RelayAddress) -> Result<(), Error> {
    let at = relay.to_string();
    for (chain, written) in engine.read(move |_, view| own::ends_of_chains(view, &at)).await? {
        let (left, is_gone) = match engine.client.end_of_own_chain(relay, chain).await {
            Ok(answer) => (answer.head.map(|head| head.hash).unwrap_or_default(), false),
            Err(error) if error.is("refused") => (Bytes::new(), true),
            Err(error) => return Err(error.into()),
        };
        if left == written.as_slice() || (!is_gone && left.len() != written.len()) {
            continue;
        }
        match if is_gone { Found::Loss } else { second_copy::look_at(engine, relay, chain).await? } {
            Found::Copy => {
                engine.declare_rolled_back().await;
                return Err(Error::RolledBack);
            }
            Found::Sibling => continue,
            Found::Loss => {}
        }
        engine
            .write(move |engine, tx| {
                // An append that is still to be made meets what is left by itself; but nothing is appended to a chain that is gone.
                let is_same = own::end_of_chain(tx, &chain)? == Some(written);
                if is_same && (is_gone || !task::is_written_to(tx, &chain)?) {
                    own::begin_behind(tx, &chain, &left, &mut engine.chance())?;
                }
                Ok::<_, Error>(())
            })
            .await?;
        engine.wake();
    }
    Ok(())
}
