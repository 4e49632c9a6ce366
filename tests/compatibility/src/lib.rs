//! What an earlier release left behind: its databases, and the bytes that it sent to relays.
//!
//! `fixtures/` has a folder for each release, made by that release and never edited afterwards; the tests open all of them with this one's
//! code. Until there is a release there is one folder, `unreleased`, and whoever changes a schema or a message makes it anew:
//! `cargo xtask fixtures`.
//! Databases are kept as SQL, one row a line: what changed shows in a review. That files stay files of SQLCipher 4 is proven elsewhere,
//! with checked-in ones (`core/cipher/tests`). The same chance makes the same bytes, but for what is new.
//! Modules: `make` (what happens before a fixture is taken), `rows` (databases as text), `wire` (calls and streams as text).

pub mod make;
pub mod rows;
pub mod wire;

use std::path::PathBuf;

/// The folder of what no release has left behind yet.
pub const UNRELEASED: &str = "unreleased";

/// The folders of all fixtures.
///
/// # Panics
/// When they are gone.
#[must_use]
pub fn fixtures() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let entries = std::fs::read_dir(root).expect("the fixtures are checked in");
    let mut folders: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}
