//! Chains: opaque append-only lists with compare-and-append.
//!
//! The hash over the whole chain is stored with every entry, so an answer can begin anywhere and a writer that thinks of another
//! last entry is told the real one. A snapshot stands for everything up to the head of its time; hashes do not change by it.

use rusqlite::{Connection, Row, params};
use sotto_protocol::label::chain_entry_hash;
use sotto_protocol::limits::CHAIN_READ_BYTES_MAX;
use sotto_protocol::{Bytes, ChainId};
use subtle::ConstantTimeEq;

use super::commit::{Batch, Step};
use super::transaction::{self, Sql, Tx, signed, unsigned};
use super::{Caller, ChainSlice, Creation, Denied, Head, PublicKey};
use crate::limits::CHAIN_BYTES_MAX;

struct ChainRow {
    id: i64,
    write_key: PublicKey,
    head: Head,
    entry_bytes: u64,
    snapshot_bytes: u64,
}

impl ChainRow {
    /// What it counts for beside its own row.
    const fn held(&self) -> u64 {
        self.entry_bytes + self.snapshot_bytes
    }
}

/// What a chain counts for by being there.
const CHAIN_ROW_BYTES: u64 = 256;

impl Batch<'_> {
    pub(crate) fn append_chain(
        &mut self,
        caller: &Caller,
        chain: &ChainId,
        previous: &[u8],
        entry: &[u8],
        creation: Creation,
    ) -> Step<Head> {
        let found = find(&self.tx, chain)?;
        if found.is_none() && creation == Creation::Admitted {
            return self.create_chain(caller, chain, entry);
        }
        let found = match self.authorise_writer(caller, found)? {
            Ok(found) => found,
            Err(denied) => return Ok(Err(denied)),
        };
        if previous != found.head.hash {
            return Ok(Err(Denied::Conflict(found.head)));
        }
        let entry_bytes = found.entry_bytes + weight(entry);
        if entry_bytes > CHAIN_BYTES_MAX || !self.has_room_for(weight(entry))? {
            return Ok(Err(Denied::Full));
        }
        let head = Head { index: found.head.index + 1, hash: chain_entry_hash(previous, entry) };
        self.insert_entry(found.id, &head, entry)?;
        self.tx.execute(
            "UPDATE chain SET head_index = ?2, head_hash = ?3, entry_bytes = ?4 WHERE id = ?1",
            params![found.id, signed(head.index), head.hash, signed(entry_bytes)],
        )?;
        self.measure_chains(weight(entry), 0)?;
        Ok(Ok(head))
    }

    fn create_chain(&mut self, caller: &Caller, chain: &ChainId, entry: &[u8]) -> Step<Head> {
        if self.is_retired(chain.as_ref())? {
            return Ok(Err(Denied::Refused));
        }
        if !self.has_room_for(CHAIN_ROW_BYTES + weight(entry))? {
            return Ok(Err(Denied::Full));
        }
        if let Err(denied) = self.spend_nonce(caller)? {
            return Ok(Err(denied));
        }
        let head = Head { index: 0, hash: chain_entry_hash(&[], entry) };
        let id = self.tx.insert(
            "INSERT INTO chain (name, write_key, head_index, head_hash, entry_bytes) VALUES (?1, ?2, 0, ?3, ?4)",
            params![chain.as_ref(), caller.key, head.hash, signed(weight(entry))],
        )?;
        self.insert_entry(id, &head, entry)?;
        self.measure_chains(CHAIN_ROW_BYTES + weight(entry), 0)?;
        Ok(Ok(head))
    }

    fn has_room_for(&self, bytes: u64) -> Sql<bool> {
        let held = self.tx.row("SELECT chain_bytes FROM relay", [], |row| row.get::<_, i64>(0))?;
        Ok(unsigned(held.unwrap_or(0)).saturating_add(bytes) <= self.bounds.chains_bytes_max)
    }

    /// Counts what all chains hold together.
    fn measure_chains(&mut self, more: u64, less: u64) -> Sql<usize> {
        self.tx.execute(
            "UPDATE relay SET chain_bytes = MAX(0, chain_bytes + ?1 - ?2) WHERE id = 1",
            params![signed(more), signed(less)],
        )
    }

    fn insert_entry(&mut self, chain: i64, head: &Head, entry: &[u8]) -> Sql<usize> {
        self.tx.execute(
            "INSERT INTO chain_entry (chain, position, hash, body) VALUES (?1, ?2, ?3, ?4)",
            params![chain, signed(head.index), head.hash, entry],
        )
    }

    pub(crate) fn compact_chain(
        &mut self,
        caller: &Caller,
        chain: &ChainId,
        head: &[u8],
        snapshot: &[u8],
    ) -> Step<Head> {
        let found = find(&self.tx, chain)?;
        let found = match self.authorise_writer(caller, found)? {
            Ok(found) => found,
            Err(denied) => return Ok(Err(denied)),
        };
        if head != found.head.hash {
            return Ok(Err(Denied::Conflict(found.head)));
        }
        if snapshot.len() as u64 > found.held() && !self.has_room_for(snapshot.len() as u64)? {
            return Ok(Err(Denied::Full));
        }
        self.measure_chains(snapshot.len() as u64, found.held())?;
        // At most `CHAIN_BYTES_MAX` of entries: one step bears that.
        self.tx.execute("DELETE FROM chain_entry WHERE chain = ?1", [found.id])?;
        self.tx.execute(
            "UPDATE chain SET entry_bytes = 0, snapshot_index = head_index, snapshot_hash = head_hash, snapshot = ?2
             WHERE id = ?1",
            params![found.id, snapshot],
        )?;
        Ok(Ok(found.head))
    }

    pub(crate) fn delete_chain(&mut self, caller: &Caller, chain: &ChainId) -> Step<()> {
        let found = find(&self.tx, chain)?;
        let found = match self.authorise_writer(caller, found)? {
            Ok(found) => found,
            Err(denied) => return Ok(Err(denied)),
        };
        self.tx.execute("DELETE FROM chain WHERE id = ?1", [found.id])?;
        self.tx.execute("INSERT INTO leaving (chain) VALUES (?1)", [found.id])?;
        self.retire(chain.as_ref())?;
        self.measure_chains(0, CHAIN_ROW_BYTES + found.held())?;
        Ok(Ok(()))
    }

    fn authorise_writer(&mut self, caller: &Caller, found: Option<ChainRow>) -> Step<ChainRow> {
        let expected = found.as_ref().map_or([0; 32], |row| row.write_key);
        let is_equal: bool = expected.ct_eq(&caller.key).into();
        match found {
            Some(found) if is_equal => Ok(self.spend_nonce(caller)?.map(|()| found)),
            _ => Ok(Err(Denied::Refused)),
        }
    }
}

/// What an entry counts for: its bytes and its row, so that a chain of tiny entries is bounded too.
const fn weight(entry: &[u8]) -> u64 {
    entry.len() as u64 + 256
}

fn find(tx: &Tx<'_>, chain: &ChainId) -> Sql<Option<ChainRow>> {
    tx.row(
        "SELECT id, write_key, head_index, head_hash, entry_bytes, COALESCE(LENGTH(snapshot), 0) FROM chain WHERE name = ?1",
        [chain.as_ref()],
        |row| {
            Ok(ChainRow {
                id: row.get(0)?,
                write_key: row.get(1)?,
                head: Head { index: unsigned(row.get(2)?), hash: row.get(3)? },
                entry_bytes: unsigned(row.get(4)?),
                snapshot_bytes: unsigned(row.get(5)?),
            })
        },
    )
}

struct Snapshot {
    index: u64,
    hash: [u8; 32],
}

/// What the chain holds from `from` on, as far as it fits one answer.
pub(crate) fn read(connection: &Connection, chain: &ChainId, from: u64) -> Step<ChainSlice> {
    // One look at the chain, whatever its writer does meanwhile.
    let _snapshot = connection.unchecked_transaction()?;
    let found = transaction::row(
        connection,
        "SELECT id, head_index, head_hash, snapshot_index, snapshot_hash FROM chain WHERE name = ?1",
        [chain.as_ref()],
        read_found,
    )?;
    let Some((id, head, snapshot)) = found else { return Ok(Err(Denied::Refused)) };
    let (first, previous, snapshot) = match snapshot {
        Some(snapshot) if from <= snapshot.index => {
            let body = transaction::row(connection, "SELECT snapshot FROM chain WHERE id = ?1", [id], |row| {
                row.get::<_, Vec<u8>>(0)
            })?;
            (snapshot.index, Bytes::copy_from_slice(&snapshot.hash), body.map(Bytes::from))
        }
        snapshot => {
            let first = from.min(head.index + 1);
            (first, hash_before(connection, id, first, snapshot.as_ref())?, None)
        }
    };
    let wanted = if snapshot.is_some() { first + 1 } else { first };
    let room = CHAIN_READ_BYTES_MAX - snapshot.as_ref().map_or(0, Bytes::len);
    let entries = entries(connection, id, wanted, room)?;
    Ok(Ok(ChainSlice { head, first, previous, snapshot, entries }))
}

fn read_found(row: &Row<'_>) -> Sql<(i64, Head, Option<Snapshot>)> {
    let head = Head { index: unsigned(row.get(1)?), hash: row.get(2)? };
    let snapshot = match row.get::<_, Option<i64>>(3)? {
        None => None,
        Some(index) => Some(Snapshot { index: unsigned(index), hash: row.get(4)? }),
    };
    Ok((row.get(0)?, head, snapshot))
}

fn hash_before(connection: &Connection, chain: i64, index: u64, snapshot: Option<&Snapshot>) -> Sql<Bytes> {
    let Some(before) = index.checked_sub(1) else { return Ok(Bytes::new()) };
    if let Some(snapshot) = snapshot.filter(|snapshot| snapshot.index == before) {
        return Ok(Bytes::copy_from_slice(&snapshot.hash));
    }
    let hash = transaction::row(
        connection,
        "SELECT hash FROM chain_entry WHERE chain = ?1 AND position = ?2",
        params![chain, signed(before)],
        |row| row.get::<_, Vec<u8>>(0),
    )?;
    Ok(hash.unwrap_or_default().into())
}

fn entries(connection: &Connection, chain: i64, from: u64, bytes_max: usize) -> Sql<Vec<Bytes>> {
    let mut statement = connection
        .prepare_cached("SELECT body FROM chain_entry WHERE chain = ?1 AND position >= ?2 ORDER BY position")?;
    let mut rows = statement.query(params![chain, signed(from)])?;
    let mut found = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let body: Vec<u8> = row.get(0)?;
        bytes += body.len();
        if bytes > bytes_max {
            break;
        }
        found.push(Bytes::from(body));
    }
    Ok(found)
}
