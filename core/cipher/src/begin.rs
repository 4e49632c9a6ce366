//! The beginning of SQLite, once and to its end.
#![expect(unsafe_code, reason = "rusqlite has no door to this function of SQLite's")]

use std::sync::Once;

use rusqlite::ffi;

static BEGUN: Once = Once::new();

/// Has SQLite and SQLCipher begun before the first connection is opened.
///
/// SQLite begins by itself with the first connection, but lets SQLCipher set itself up only after others may go on: a thread that opens a
/// database at that moment finds no provider, and its key is refused.
pub fn begin() {
    BEGUN.call_once(|| {
        // SAFETY: may be called at any time and from any thread; nothing else here runs it beside this.
        // What it answers the first connection answers as well.
        unsafe { ffi::sqlite3_initialize() };
    });
}
