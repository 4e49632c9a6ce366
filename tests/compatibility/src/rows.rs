//! A database as text, and back: its schema, its version, and every row.

use rusqlite::{Connection, Result};
/// Named so that SQLite finds its cryptography.
use sotto_cipher as _;

/// Everything that a database holds, as SQL that makes it again.
///
/// # Errors
/// As SQLite.
pub fn dump(connection: &Connection) -> Result<String> {
    let mut text = String::new();
    let mut write = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    for pragma in ["user_version", "application_id"] {
        let value: i64 = connection.pragma_query_value(None, pragma, |row| row.get(0))?;
        write(&format!("PRAGMA {pragma} = {value};"));
    }
    // A virtual table makes the tables that it keeps its rows in.
    let schema = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'
        AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow') ORDER BY type = 'index', rowid";
    for sql in strings(connection, schema)? {
        write(&format!("{sql};"));
    }
    for table in strings(connection, "SELECT name FROM pragma_table_list WHERE type = 'shadow' ORDER BY name")? {
        write(&format!("DELETE FROM \"{table}\";"));
    }
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'
        AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'virtual') ORDER BY rowid";
    for table in strings(connection, tables)? {
        let columns = strings(connection, &format!("SELECT name FROM pragma_table_info('{table}')"))?;
        let quoted: Vec<_> = columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
        let rows = format!("SELECT {} FROM \"{table}\"", quoted.join(" || ', ' || "));
        for row in strings(connection, &rows)? {
            write(&format!("INSERT INTO \"{table}\" ({}) VALUES ({row});", columns.join(", ")));
        }
    }
    Ok(text)
}

/// Fills an empty database with what [`dump`] wrote.
///
/// # Errors
/// As SQLite.
pub fn restore(connection: &Connection, text: &str) -> Result<()> {
    connection.execute_batch(&format!("PRAGMA foreign_keys = OFF; PRAGMA journal_mode = WAL; BEGIN; {text} COMMIT;"))
}

fn strings(connection: &Connection, sql: &str) -> Result<Vec<String>> {
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}
