//! A relay of ours that came back from a backup has forgotten what it was told since: tokens, prekeys, lists. It is told again.
//!
//! The sign is that it remembers fewer acknowledgements than we have made. The last one may as well have been lost on the way, or the
//! relay may claim so whenever it likes: so all of this is harmless to repeat, happens at most once an hour for an inbox, never while the
//! last time is still under way, and gives out no key twice.
//! A relay that has lost everything refuses the inbox itself: it is made again under its name, so that whoever writes to it goes on.
//! Not healed: what was forgotten where nothing was acknowledged since gives no sign. A chain of which it knows nothing any more begins anew with
//! the next list that it refuses (`clerk.rs`).

use std::sync::Arc;
use std::time::Duration;

use rusqlite::params;
use sotto_protocol::{Bytes, RelayAddress, Timestamp};

use crate::engine::Engine;
use crate::error::Error;
use crate::messenger::make_inbox;
use crate::own::OwnInbox;
use crate::second_copy::{self, Found};
use crate::store::column::{ms, stored, timestamp};
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
    engine.write(move |engine, tx| tell_again(engine, tx, &inbox, 0)).await?;
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

/// Queues what the relay of an inbox may have forgotten, which remembers this acknowledgement as the last. Says whether there is something to do now.
pub(crate) fn tell_again(engine: &Engine, tx: &mut Tx<'_>, inbox: &OwnInbox, acked: u64) -> Result<bool, StoreError> {
    let now = engine.network_now();
    let told = told(tx, inbox.row, now)?;
    if inbox.is_leaving || told.is_recent || task::is_under_way(tx, told.batch)? {
        return Ok(false);
    }
    let batch = task::new_batch(tx)?;
    handshake::put_tokens_again(tx, inbox, batch, now)?;
    prekey::put_again(tx, &engine.own(), batch, inbox, (now, engine.sure_now()), &mut engine.chance())?;
    note_told(tx, inbox.row, now, Some(batch), Some(acked))?;
    Ok(true)
}

fn note_told(
    tx: &mut Tx<'_>,
    inbox: i64,
    now: Timestamp,
    batch: Option<i64>,
    acked: Option<u64>,
) -> Result<(), StoreError> {
    let sql = "UPDATE own_inbox SET told_again_at = ?2, told_again_batch = coalesce(?3, told_again_batch), remembered = coalesce(?4, remembered)
               WHERE id = ?1";
    tx.execute(sql, params![inbox, ms(now), batch, acked.map(stored)]).map(drop)
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
