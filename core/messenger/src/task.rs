//! Signed relay calls that must still be made: tokens, prekeys, chain entries.
//!
//! They are rows written in the transaction that needs them, and leave in order per subject (an inbox or a chain), each until its
//! relay took it. All of them are harmless to repeat. A task that its relay refuses stays, is counted and tried again slowly: nothing
//! is dropped silently.
//! Rows made together share a batch; a letter can wait for its batch, which is how tokens stand before the letter
//! that tells of them goes out (PROTOCOL C1). It waits until every call of the batch is made or was tried in vain, and all of those at one
//! inbox at least are made: a relay of ours that is dead holds up nobody. An invite's list waits in the same way. The list of our
//! contacts waits for everything that it tells of (PROTOCOL B6).

use rusqlite::params;
use sotto_protocol::request::path;
use sotto_protocol::{ChainId, InboxId, Message, RelayAddress, Timestamp, relay};

use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::world::Isolation;

/// One call to make.
pub(crate) struct Task {
    /// Row.
    pub(crate) id: i64,
    /// What it is about, which also says who signs.
    pub(crate) subject: Subject,
    /// Where to.
    pub(crate) kind: Kind,
    /// The encoded message.
    pub(crate) body: Vec<u8>,
}

/// What a task is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Subject {
    Inbox(InboxId),
    Chain(ChainId),
}

impl Subject {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Inbox(inbox) => inbox.as_bytes(),
            Self::Chain(chain) => chain.as_bytes(),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        InboxId::try_from(bytes)
            .map(Self::Inbox)
            .or_else(|_| ChainId::try_from(bytes).map(Self::Chain))
            .map_err(|_| StoreError::Corrupt)
    }

    pub(crate) const fn isolation(&self) -> Isolation {
        match self {
            Self::Inbox(inbox) => Isolation::Inbox(*inbox),
            Self::Chain(chain) => Isolation::Chain(*chain),
        }
    }
}

macro_rules! kinds {
    ($($kind:ident = $code:literal, $path:expr;)*) => {
        /// Which call it is.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Kind { $($kind),* }

        impl Kind {
            pub(crate) const fn code(self) -> i64 {
                match self { $(Self::$kind => $code),* }
            }

            fn from_code(code: i64) -> Result<Self, StoreError> {
                match code {
                    $($code => Ok(Self::$kind),)*
                    _ => Err(StoreError::Corrupt),
                }
            }

            /// The path of the call.
            pub(crate) const fn path(self) -> &'static str {
                match self { $(Self::$kind => $path),* }
            }
        }
    };
}

kinds! {
    TokenPut = 1, path::TOKEN_PUT;
    TokenDrop = 2, path::TOKEN_DROP;
    PrekeyPut = 3, path::PREKEY_PUT;
    ChainAppend = 4, path::CHAIN_APPEND;
    ChainDelete = 5, path::CHAIN_DELETE;
    ChainCompact = 6, path::CHAIN_COMPACT;
    InboxDelete = 7, path::INBOX_DELETE;
    InboxManageKey = 8, path::INBOX_MANAGE_KEY;
}

/// A new batch number.
pub(crate) fn new_batch(tx: &Tx<'_>) -> Result<i64, StoreError> {
    Ok(tx.one("SELECT seq + 1 FROM sqlite_sequence WHERE name = 'relay_task'", [], |row| row.get(0))?.unwrap_or(1))
}

/// Queues a call.
pub(crate) fn queue(
    tx: &mut Tx<'_>,
    batch: i64,
    relay: &RelayAddress,
    subject: Subject,
    kind: Kind,
    body: &impl Message,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO relay_task (relay, subject, kind, body, batch) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![relay.to_string(), subject.bytes(), kind.code(), body.encode_to_vec(), batch],
    )?;
    Ok(())
}

/// Queues the putting of one token at an inbox of ours.
pub(crate) fn queue_token(
    tx: &mut Tx<'_>,
    batch: i64,
    relay: &RelayAddress,
    inbox: InboxId,
    token: relay::Token,
) -> Result<(), StoreError> {
    let body = relay::TokenPut { inbox: inbox.into(), tokens: vec![token] };
    queue(tx, batch, relay, Subject::Inbox(inbox), Kind::TokenPut, &body)
}

/// Condition on a row with the batch `$batch`: what it stands for holds up whoever waits for it. `$calls` narrows the calls that count.
macro_rules! holds_up {
    ($batch:literal, $calls:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM relay_task AS before WHERE before.batch = ",
            $batch,
            " AND before.failed_at = 0 AND ",
            $calls,
            ") OR (EXISTS (SELECT 1 FROM relay_task AS before WHERE before.batch = ",
            $batch,
            " AND ",
            $calls,
            ") AND NOT EXISTS (SELECT 1 FROM own_inbox WHERE owner_key_sealed IS NOT NULL AND leaving_at IS NULL AND NOT EXISTS (
                 SELECT 1 FROM relay_task AS before WHERE before.batch = ",
            $batch,
            " AND before.subject = own_inbox.inbox AND ",
            $calls,
            "))))"
        )
    };
}

/// Condition on a row of the outbox: its letter waits for calls.
pub(crate) const LETTER_WAITS: &str = holds_up!("outbox.after_batch", "1");

/// Condition: the call may be made. A list waits for the tokens and prekeys of its batch: whoever reads it must find them standing, an
/// invite's that is new at one inbox, any other at every one (PROTOCOL B6). A batch without prekeys names no new inbox. The account's own
/// list comes before all others, which only repeat what it says (PROTOCOL B2, B4); an inbox is deleted when the lists no longer name it.
const MAY_BE_MADE: &str = concat!(
    "(relay_task.kind != 4 OR CASE WHEN EXISTS (SELECT 1 FROM own_chain WHERE chain = relay_task.subject AND audience = 2)
         AND NOT EXISTS (SELECT 1 FROM relay_task AS before WHERE before.batch = relay_task.batch AND before.kind = 3) THEN NOT ",
    holds_up!("relay_task.batch", "before.kind = 1"),
    " ELSE NOT EXISTS (SELECT 1 FROM relay_task AS before WHERE before.batch = relay_task.batch AND before.kind IN (1, 3)) END)
     AND (relay_task.kind != 7 OR NOT EXISTS (SELECT 1 FROM relay_task AS before JOIN own_chain ON own_chain.chain = before.subject
         WHERE before.batch = relay_task.batch AND before.kind = 4 AND own_chain.audience IN (0, 1)))
     AND (relay_task.kind != 4 OR NOT EXISTS (SELECT 1 FROM relay_task AS before JOIN own_chain ON own_chain.chain = before.subject
         WHERE before.batch = relay_task.batch AND before.kind = 4 AND own_chain.audience = 0 AND before.subject != relay_task.subject))"
);

/// Relays that have tasks which may be made now.
pub(crate) fn relays(view: &impl Query) -> Result<Vec<RelayAddress>, StoreError> {
    let sql = format!("SELECT DISTINCT relay FROM relay_task WHERE {MAY_BE_MADE}");
    let relays = view.all(&sql, [], |row| row.get::<_, String>(0))?;
    relays.iter().map(|relay| relay.parse().map_err(|_| StoreError::Corrupt)).collect()
}

/// The first task of each subject at a relay, oldest first; a key that is replaced before what it signs.
pub(crate) fn due(view: &impl Query, relay: &RelayAddress) -> Result<Vec<Task>, StoreError> {
    let sql = format!(
        "SELECT id, subject, kind, body FROM relay_task
         WHERE id IN (SELECT coalesce(max(iif(kind = 8, id, NULL)), min(id)) FROM relay_task WHERE relay = ?1 GROUP BY subject) AND {MAY_BE_MADE} ORDER BY id"
    );
    let rows = view
        .all(&sql, [relay.to_string()], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?, row.get(3)?)))?;
    rows.into_iter()
        .map(|(id, subject, kind, body)| {
            Ok(Task { id, subject: Subject::from_bytes(&subject)?, kind: Kind::from_code(kind)?, body })
        })
        .collect()
}

/// A relay was asked for these in vain: all that waits there, or one subject's. Says whether that is news.
pub(crate) fn tried_in_vain(
    tx: &mut Tx<'_>,
    relay: &RelayAddress,
    subject: Option<&Subject>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let subject = subject.map(Subject::bytes);
    let changed = tx.execute(
        "UPDATE relay_task SET failed_at = ?3 WHERE relay = ?1 AND failed_at = 0 AND subject = coalesce(?2, subject)",
        params![relay.to_string(), subject, ms(now)],
    )?;
    Ok(changed > 0)
}

/// Whether calls of a batch are still to be made.
pub(crate) fn is_under_way(view: &impl Query, batch: i64) -> Result<bool, StoreError> {
    Ok(view.one("SELECT 1 FROM relay_task WHERE batch = ?1 LIMIT 1", [batch], |_| Ok(()))?.is_some())
}

/// Whether calls about a chain are still to be made.
pub(crate) fn is_written_to(view: &impl Query, chain: &ChainId) -> Result<bool, StoreError> {
    Ok(view.one("SELECT 1 FROM relay_task WHERE subject = ?1 LIMIT 1", [chain.as_ref()], |_| Ok(()))?.is_some())
}

/// The newest batch in which something is still to be written to a chain: what waits for that, and what that waits for, stays so.
pub(crate) fn newest_batch(view: &impl Query, chain: &ChainId) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT max(batch) FROM relay_task WHERE subject = ?1 AND kind IN (4, 6)";
    Ok(view.one(sql, [chain.as_ref()], |row| row.get::<_, Option<i64>>(0))?.flatten())
}

/// Nothing more is to be written to a chain.
pub(crate) fn forget_chain(tx: &mut Tx<'_>, chain: &ChainId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM relay_task WHERE subject = ?1 AND kind IN (4, 6)", [chain.as_ref()])?;
    Ok(())
}

/// Nothing more is put into an inbox: it leaves our list. What was to be dropped there still is.
pub(crate) fn forget_puts(tx: &mut Tx<'_>, inbox: &InboxId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM relay_task WHERE subject = ?1 AND kind IN (1, 3)", [inbox.as_ref()])?;
    Ok(())
}

/// The key that was to replace the one before is replaced itself.
pub(crate) fn forget_manage_key(tx: &mut Tx<'_>, inbox: &InboxId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM relay_task WHERE subject = ?1 AND kind = 8", [inbox.as_ref()])?;
    Ok(())
}

/// Whether its relay is asked to delete an inbox already.
pub(crate) fn is_deleting(view: &impl Query, inbox: &InboxId) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM relay_task WHERE subject = ?1 AND kind = 7 LIMIT 1";
    Ok(view.one(sql, [inbox.as_ref()], |_| Ok(()))?.is_some())
}

/// The relay took it.
pub(crate) fn done(tx: &mut Tx<'_>, id: i64) -> Result<(), StoreError> {
    tx.execute("DELETE FROM relay_task WHERE id = ?1", [id])?;
    Ok(())
}
