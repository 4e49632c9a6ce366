//! Filling: the index follows what was said, in transactions of its own behind those that said it.
//!
//! The cursor and the words before it are committed together: whenever the device dies, the index goes on where it was. A moment passes
//! before it follows, so that a send is one commit and what comes together is filled together; whoever searches meanwhile has what is left
//! filled first where it is little. What was filled apart stands apart in the index, and every search looks into each piece: they are made
//! one when it has grown by a quarter, so that all of it is written a few times in its life. A batch is small enough that those who write
//! between two of them wait for no frame of a screen.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::params;

use super::{Entry, add, begun, done, entry};
use crate::conversation::MessageRow;
use crate::engine::Engine;
use crate::error::Error;
use crate::events::Event;
use crate::outbox::backoff::Backoff;
use crate::store::{Query, StoreError, Tx};

/// Messages of a batch.
const MESSAGES_MAX: i64 = 256;
/// Bytes of their texts; a longer text is a batch by itself.
const BYTES_MAX: i64 = 32 * 1024;
/// Messages that are never worth it to make the index one piece.
const APART_MIN: i64 = 4_096;
/// Pages of the index that are written in a transaction of that: as long as a batch takes.
const PAGES: i64 = 256;
/// Between what was said and the filling of it: longer than a burst of messages, shorter than anybody takes to leave a chat and search.
const MOMENT: Duration = Duration::from_secs(5);

/// What is not in the index yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rest {
    None,
    /// No more than a batch, as far as numbers tell.
    Little,
    Much,
}

/// See there.
pub(crate) fn rest(view: &impl Query) -> Result<Rest, StoreError> {
    let newest = view.one("SELECT max(id) FROM message", [], |row| row.get::<_, Option<i64>>(0))?.flatten();
    let rest = newest.unwrap_or(0) - done(view)?.unwrap_or(0);
    Ok(match rest {
        ..=0 => Rest::None,
        1..=MESSAGES_MAX => Rest::Little,
        _ => Rest::Much,
    })
}

/// Puts the next messages in.
pub(crate) fn batch(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let done = begun(tx)?;
    let sql = "SELECT id, octet_length(text) FROM message WHERE id > ?1 ORDER BY id LIMIT ?2";
    let rows = tx.all(sql, params![done, MESSAGES_MAX], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    let mut bytes = 0;
    let fits = |(index, (_, length)): &(usize, &(i64, i64))| {
        bytes += length;
        *index == 0 || bytes <= BYTES_MAX
    };
    let batch: Vec<i64> = rows.iter().enumerate().take_while(fits).map(|(_, (id, _))| *id).collect();
    let Some(last) = batch.last() else { return Ok(()) };
    let mut entries = Vec::with_capacity(batch.len());
    for id in &batch {
        entries.extend(entry(tx, MessageRow(*id))?);
    }
    // FTS5 writes a segment wherever ids go back.
    entries.sort_by_key(|entry: &Entry| entry.position);
    entries.iter().try_for_each(|entry| add(tx, entry))?;
    tx.execute("UPDATE search_fill SET done = ?1", [last]).map(drop)
}

/// Whether so much was filled since the index was one piece that it is to be made one again.
pub(super) fn is_apart(view: &impl Query) -> Result<bool, StoreError> {
    let found =
        view.one("SELECT done, merged FROM search_fill", [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    Ok(found.is_some_and(|(done, merged)| done - merged > APART_MIN.max(merged / 4)))
}

/// Makes the index one piece, as far as one transaction goes.
pub(super) fn merge(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let before = tx.view().total_changes();
    tx.execute("INSERT INTO search (search, rank) VALUES ('merge', ?1)", [-PAGES])?;
    // The statement itself is one change: there was nothing to do.
    if tx.view().total_changes() - before < 2 {
        tx.execute("UPDATE search_fill SET merged = done", [])?;
    }
    Ok(())
}

/// Fills what is there, and again whenever something was said.
pub(crate) async fn run(engine: Arc<Engine>) {
    let mut failures = Backoff::default();
    let mut wait = MOMENT;
    loop {
        tokio::select! {
            biased;
            () = engine.search_is_wanted() => {}
            () = engine.clock.sleep(wait) => {}
        }
        match fill(&engine).await {
            Ok(()) => {
                failures.reset();
                wait = MOMENT;
                engine.search_is_due().await;
            }
            Err(error) => {
                tracing::warn!(code = error.code(), "the search index could not be filled");
                wait = failures.failed(error.retry_after(), &engine.chance());
            }
        }
    }
}

async fn fill(engine: &Arc<Engine>) -> Result<(), Error> {
    let mut has_filled = false;
    loop {
        let (rest, is_apart) = engine.read(|_, view| Ok::<_, Error>((rest(view)?, is_apart(view)?))).await?;
        match rest {
            Rest::None if has_filled => {
                engine.tell(Event::SearchIndexed);
                has_filled = false;
            }
            Rest::None if !is_apart => return Ok(()),
            Rest::None => engine.write(|_, tx| merge(tx).map_err(Error::from)).await?,
            Rest::Little | Rest::Much => {
                engine.write(|_, tx| batch(tx).map_err(Error::from)).await?;
                has_filled = true;
            }
        }
        // Where the database works inline, others come in between here alone.
        tokio::task::yield_now().await;
    }
}
