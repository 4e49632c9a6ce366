//! The database of a profile, from outside the engine: for tests that compare it before and after, or damage it.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params};
/// Named so that SQLite finds its cryptography.
use sotto_cipher as _;
use sotto_core::world::SecretStore;

use crate::Person;

/// Columns that move with every delivery, whatever becomes of it.
const MOVING: [(&str, &str); 3] = [("own_inbox", "cursor"), ("own_inbox", "remembered"), ("own_inbox", "drained_at")];
/// Tables that count what was refused.
const COUNTING: &str = "refusal";

/// A connection of its own to a profile's database.
pub struct Database(Connection);

impl Person {
    /// Looks into this person's database.
    ///
    /// # Panics
    /// When it does not open.
    #[must_use]
    pub fn database(&self) -> Database {
        Database::open(self.directory(), &self.secrets)
    }

    /// Everything that this person's database says, but for counts of what was refused and how far deliveries have come.
    #[must_use]
    pub fn dump(&self) -> BTreeMap<String, Vec<String>> {
        self.database().dump()
    }

    /// How often each reason to refuse an envelope was met.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, i64> {
        self.database().refusals()
    }

    /// How often one of them was.
    #[must_use]
    pub fn refused(&self, code: &str) -> i64 {
        self.refusals().get(code).copied().unwrap_or(0)
    }
}

impl Database {
    pub(crate) fn open(directory: &Path, secrets: &dyn SecretStore) -> Self {
        let key = secrets.get("database").expect("the keystore answers").expect("a profile has a key");
        let connection = Connection::open(directory.join("sotto.db")).expect("a profile has a database");
        connection
            .execute_batch(&format!("PRAGMA key = \"x'{}'\"; PRAGMA busy_timeout = 5000;", hex(&key)))
            .expect("the key opens the database");
        Self(connection)
    }

    /// Runs statements.
    ///
    /// # Panics
    /// When they fail.
    pub fn change(&self, sql: &str) {
        self.0.execute_batch(sql).expect("a test's statement runs");
    }

    /// How often each reason to refuse an envelope was met.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<String, i64> {
        self.pairs("SELECT code, count FROM refusal").into_iter().collect()
    }

    /// The number that a query finds; 0 when it finds none.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn number(&self, sql: &str) -> i64 {
        self.values(sql).first().map_or(0, |value| match value {
            Value::Integer(number) => *number,
            _ => 0,
        })
    }

    /// The bytes in the first column of every row.
    #[must_use]
    pub fn blobs(&self, sql: &str) -> Vec<Vec<u8>> {
        let blob = |value| match value {
            Value::Blob(bytes) => Some(bytes),
            _ => None,
        };
        self.values(sql).into_iter().filter_map(blob).collect()
    }

    /// The texts in the first column of every row.
    #[must_use]
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let text = |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        };
        self.values(sql).into_iter().filter_map(text).collect()
    }

    fn values(&self, sql: &str) -> Vec<Value> {
        let mut statement = self.0.prepare(sql).expect("a test's query is SQL");
        let rows = statement.query_map([], |row| row.get(0)).expect("a test's query runs");
        rows.collect::<Result<_, _>>().expect("the rows are read")
    }

    fn pairs(&self, sql: &str) -> Vec<(String, i64)> {
        let mut statement = self.0.prepare(sql).expect("a test's query is SQL");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("a test's query runs");
        rows.collect::<Result<_, _>>().expect("the rows are read")
    }

    /// See [`Person::dump`].
    ///
    /// # Panics
    /// When a table cannot be read.
    #[must_use]
    pub fn dump(&self) -> BTreeMap<String, Vec<String>> {
        // The search index follows what was said when it comes to it.
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'search%' AND name != ?1";
        let mut statement = self.0.prepare(tables).expect("the schema is read");
        let names = statement.query_map(params![COUNTING], |row| row.get::<_, String>(0)).expect("the schema is read");
        names.map(|name| name.expect("a name")).map(|name| (name.clone(), self.rows_of(&name))).collect()
    }

    fn rows_of(&self, table: &str) -> Vec<String> {
        let mut statement = self.0.prepare(&format!("SELECT * FROM {table}")).expect("a table is read");
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut found = statement.query([]).expect("a table is read");
        let mut rows = Vec::new();
        while let Some(row) = found.next().expect("a row is read") {
            let shown = columns.iter().enumerate().filter(|(_, column)| !MOVING.contains(&(table, column.as_str())));
            let cell = |(index, column): (usize, &String)| {
                format!("{column}={}", show(&row.get(index).expect("a column is read")))
            };
            rows.push(shown.map(cell).collect::<Vec<_>>().join(" "));
        }
        rows.sort();
        rows
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Blob(bytes) => hex(bytes),
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
