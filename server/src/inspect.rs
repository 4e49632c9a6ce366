//! Everything a relay knows, for people to read: each table with its columns, sizes and a few values.
//!
//! Reads the database as it is, beside a running relay if there is one, and interprets nothing: what is not shown here is not
//! there. For the demo, and for an operator who is asked what the relay could hand over.

use std::fmt;
use std::path::Path;

use data_encoding::HEXLOWER;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::shell::database;

/// Why a database cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("the relay's database cannot be read: {0}")]
pub struct InspectError(#[from] rusqlite::Error);

/// All tables, in the order of the schema.
#[derive(Clone, Debug)]
pub struct Report {
    /// Every table of the database; of the tables of seen envelopes, one per day, those that hold anything.
    pub tables: Vec<Table>,
}

/// One table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// How many rows it has.
    pub rows: u64,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// One column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Bytes of all its values.
    pub bytes: u64,
    /// The newest values: numbers as they are, bytes in hex, long ones cut with their length.
    pub samples: Vec<String>,
}

/// Values shown of each column.
const SAMPLES: usize = 3;
/// Bytes shown of a value: enough to see that it says nothing.
const SAMPLE_BYTES: usize = 12;

/// Looks at the relay whose data directory this is.
///
/// # Errors
/// [`InspectError`] when there is no readable database.
pub fn report(data: &Path) -> Result<Report, InspectError> {
    // The log's index must be writable to be read; the pragma forbids the rest.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database(data), flags)?;
    connection.pragma_update(None, "query_only", true)?;
    let snapshot = connection.unchecked_transaction()?;
    let mut names = snapshot.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid")?;
    let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut tables = names.into_iter().map(|name| table(&snapshot, name)).collect::<Result<Vec<_>, _>>()?;
    tables.retain(|table| table.rows > 0 || !table.name.starts_with("seen_"));
    Ok(Report { tables })
}

fn table(connection: &Connection, name: String) -> Result<Table, InspectError> {
    // Names come from the schema, which is this crate's; they are quoted all the same.
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let rows: i64 = connection.query_row(&format!("SELECT COUNT(*) FROM {quoted}"), [], |row| row.get(0))?;
    let names: Vec<String> = {
        let statement = connection.prepare(&format!("SELECT * FROM {quoted} LIMIT 0"))?;
        statement.column_names().map(str::to_owned).collect()
    };
    let mut columns = Vec::new();
    for column in names {
        let column_quoted = format!("\"{}\"", column.replace('"', "\"\""));
        let bytes: i64 = connection.query_row(
            &format!("SELECT COALESCE(SUM(LENGTH(CAST({column_quoted} AS BLOB))), 0) FROM {quoted}"),
            [],
            |row| row.get(0),
        )?;
        columns.push(Column { name: column, bytes: u64::try_from(bytes).unwrap_or(0), samples: Vec::new() });
    }
    let mut newest = connection.prepare(&format!("SELECT * FROM {quoted} LIMIT {SAMPLES} OFFSET ?1"))?;
    let mut found = newest.query([rows.saturating_sub(i64::try_from(SAMPLES).unwrap_or(0)).max(0)])?;
    while let Some(row) = found.next()? {
        for (index, column) in columns.iter_mut().enumerate() {
            column.samples.push(sample(row.get_ref(index)?));
        }
    }
    Ok(Table { name, rows: u64::try_from(rows).unwrap_or(0), columns })
}

fn sample(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "-".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) if bytes.len() <= SAMPLE_BYTES => HEXLOWER.encode(bytes),
        ValueRef::Blob(bytes) => format!("{}.. ({} bytes)", HEXLOWER.encode(&bytes[..SAMPLE_BYTES]), bytes.len()),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            let rows = if table.rows == 1 { "row" } else { "rows" };
            writeln!(formatter, "{} ({} {rows})", table.name, table.rows)?;
            let width = table.columns.iter().map(|column| column.name.len()).max().unwrap_or(0);
            for column in table.columns.iter().filter(|_| table.rows > 0) {
                let samples = column.samples.join("  ");
                writeln!(formatter, "  {:width$}  {:>8} bytes  {samples}", column.name, column.bytes)?;
            }
        }
        Ok(())
    }
}
