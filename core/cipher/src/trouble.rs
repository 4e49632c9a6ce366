//! What the operating system said when SQLite failed: SQLite's own codes do not tell a quota from a broken disk.
#![expect(unsafe_code, reason = "rusqlite has no door to this function of SQLite's")]

use std::ffi::c_int;

use rusqlite::{Connection, ffi};

/// The operating system's error number behind the last failure of this connection to open, read or write a file. Whoever wants it asks
/// before anything else runs on the connection.
#[must_use]
pub fn system_error(connection: &Connection) -> c_int {
    // SAFETY: the handle is open as long as the connection is borrowed, and used by no other thread: a connection is not `Sync`. SQLite
    // only reads a number out of it.
    unsafe { ffi::sqlite3_system_errno(connection.handle()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_the_operating_systems_number() {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open_in_memory().unwrap();
        assert_eq!(system_error(&connection), 0);
        let attach = format!("ATTACH '{}' AS missing", directory.path().join("no/such").display());
        connection.execute_batch(&attach).unwrap_err();
        let not_found = std::fs::File::open(directory.path().join("no/such")).unwrap_err();
        assert_eq!(Some(system_error(&connection)), not_found.raw_os_error());
    }
}
