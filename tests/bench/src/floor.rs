//! The floors: what vodozemac and SQLCipher cost by themselves for the same rows, indexes and settings as the engine's.

use std::path::Path;

use rusqlite::{Connection, params};
use sotto_cipher as _;

use crate::Outcome;

/// The engine's own schema, so that the floor keeps the same tables and indexes.
const SCHEMA: &str = include_str!("../../../core/messenger/src/store/schema.sql");
/// Bytes of a session at rest: as the engine seals one.
pub(crate) const SESSION_BYTES: usize = 3_000;
/// Bytes of a short text's Content and of the letter around it.
pub(crate) const CONTENT_BYTES: usize = 110;

/// A bare SQLCipher database with the engine's schema and settings.
pub(crate) struct Floor {
    pub(crate) database: Connection,
}

impl Floor {
    /// With `peers` contacts, one device, inbox, session and conversation each.
    pub(crate) fn create(directory: &Path, peers: usize) -> Outcome<Self> {
        let database = Connection::open(directory.join("floor.db"))?;
        database.execute_batch(&format!("PRAGMA key = \"x'{}'\";", "17".repeat(32)))?;
        database.execute_batch(
            "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 1000;",
        )?;
        database.set_prepared_statement_cache_capacity(256);
        database.execute_batch(SCHEMA)?;
        let mut floor = Self { database };
        floor.fill(peers)?;
        Ok(floor)
    }

    fn fill(&mut self, peers: usize) -> Outcome<()> {
        let tx = self.database.transaction()?;
        for peer in 1..=i64::try_from(peers)? {
            let id = [peer.to_be_bytes(); 4].concat();
            let short = [peer.to_be_bytes(); 2].concat();
            tx.execute(
                "INSERT INTO contact (id, account, name, state, relay, chain, chain_key, manifest, epoch, version, hash, manifest_read_at, created_at)
                 VALUES (?1, ?2, 'somebody', 3, 'https://relay.example', ?2, ?2, zeroblob(400), 1, 1, ?2, 1, 1)",
                params![peer, id],
            )?;
            tx.execute(
                "INSERT INTO peer_device (id, contact, device, ed25519, curve25519, listed) VALUES (?1, ?1, ?2, ?3, ?3, 1)",
                params![peer, short, id],
            )?;
            tx.execute(
                "INSERT INTO peer_inbox (id, peer_device, position, relay, inbox, prekey_key, listed)
                 VALUES (?1, ?1, 0, 'https://relay.example', ?2, ?3, 1)",
                params![peer, short, id],
            )?;
            tx.execute(
                "INSERT INTO session (id, session, peer_inbox, inbound, answered, sending, created_at, state_sealed) VALUES (?1, ?2, ?1, 1, 1, 1, 1, ?3)",
                params![peer, id, vec![7_u8; SESSION_BYTES]],
            )?;
            tx.execute("INSERT INTO conversation (id, conversation, contact) VALUES (?1, ?2, ?1)", params![peer, id])?;
        }
        Ok(tx.commit()?)
    }

    /// What a send stores: a message, its conversation's row, an outbox row; one commit.
    pub(crate) fn send(&mut self, at: i64, text: &str) -> Outcome<()> {
        let message_id: [u8; 16] = rand::random();
        let tx = self.database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        insert_message(&tx, 1, 0, &message_id, at, text, 0)?;
        let row = tx.last_insert_rowid();
        tx.prepare_cached("UPDATE conversation SET last_message = ?1, last_at = ?2 WHERE id = 1")?
            .execute([row, at])?;
        tx.prepare_cached(
            "INSERT INTO outbox (peer_device, message, message_id, state, sent_at, dies_at) VALUES (1, ?1, ?2, 0, ?3, ?3)",
        )?
        .execute(params![row, message_id, at])?;
        Ok(tx.commit()?)
    }
}

/// A message row, as the engine's.
pub(crate) fn insert_message(
    tx: &Connection,
    conversation: i64,
    sender: i64,
    message_id: &[u8; 16],
    at: i64,
    text: &str,
    state: i64,
) -> Outcome<()> {
    tx.prepare_cached(
        "INSERT INTO message (conversation, sender, message_id, sent_at, received_at, kind, text, content, state, position, line, ordinal)
         VALUES (?1, ?2, ?3, ?4, ?4, 1, ?5, ?6, ?7, ?4 << 20 | (SELECT coalesce(max(id), 0) + 1 FROM message), ?2, (SELECT coalesce(max(id), 0) + 1 FROM message))",
    )?
    .execute(params![conversation, sender, message_id, at, text, [5_u8; CONTENT_BYTES].as_slice(), state])?;
    Ok(())
}
