//! The files are SQLCipher's files: what stock SQLCipher wrote opens here, what is written here opens there, and whatever was
//! changed on the way opens nowhere.
//!
//! Not here: the primitives' own test vectors (`src/provider/tests.rs`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, thread};

use rusqlite::{Connection, Result};
use sotto_cipher::PROVIDER_NAME;
use tempfile::{TempDir, tempdir};

const PAGE_SIZE: usize = 4096;
/// What SQLCipher 4 keeps at the end of a page: 16 bytes of IV, then 64 bytes of HMAC-SHA512.
const RESERVE_SIZE: usize = 80;
const TAG_SIZE: usize = 64;

const RAW_KEY: &[&str] = &[r#"PRAGMA key = "x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'""#];
const PASSPHRASE: &[&str] = &["PRAGMA key = 'so that only the one beside you hears it'"];
const FORMAT_3: &[&str] = &["PRAGMA key = 'sotto voce'", "PRAGMA cipher_compatibility = 3"];
const FORMATS: [(&str, &[&str]); 3] =
    [("raw-key.db", RAW_KEY), ("passphrase.db", PASSPHRASE), ("format-3.db", FORMAT_3)];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn notes() -> Vec<String> {
    include_str!("fixtures/notes.txt").lines().map(str::to_owned).collect()
}

fn open(path: &Path, pragmas: &[&str]) -> Connection {
    sotto_cipher::begin();
    let connection = Connection::open(path).unwrap();
    pragmas.iter().for_each(|pragma| connection.execute_batch(pragma).unwrap());
    connection
}

fn text(connection: &Connection, query: &str) -> String {
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

fn read_notes(connection: &Connection) -> Result<Vec<String>> {
    connection.prepare("SELECT text FROM note ORDER BY id")?.query_map([], |row| row.get(0))?.collect()
}

fn write_notes(connection: &Connection) {
    connection.execute_batch("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)").unwrap();
    for note in notes() {
        connection.execute("INSERT INTO note (text) VALUES (?1)", [note]).unwrap();
    }
}

/// A stock file's copy in which `change` has been at the bytes.
fn changed_copy(change: impl FnOnce(&mut Vec<u8>)) -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("changed.db");
    let mut bytes = fs::read(fixtures().join("raw-key.db")).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

#[test]
fn this_crate_is_the_provider() {
    let connection = open(Path::new(":memory:"), PASSPHRASE);
    assert_eq!(text(&connection, "PRAGMA cipher_provider"), PROVIDER_NAME);
    assert_eq!(text(&connection, "PRAGMA cipher_provider_version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&connection, "PRAGMA cipher"), "aes-256-cbc");
    assert_eq!(text(&connection, "PRAGMA cipher_fips_status"), "0");
}

/// When this fails, compare `struct sqlcipher_provider` in the new `sqlcipher.c` with `Provider` field by field, then change the
/// version here.
#[test]
fn the_provider_table_was_compared_with_this_version_of_sqlcipher() {
    let connection = open(Path::new(":memory:"), PASSPHRASE);
    assert_eq!(text(&connection, "PRAGMA cipher_version"), "4.19.0 community");
}

#[test]
fn files_of_stock_sqlcipher_open() {
    for (name, pragmas) in FORMATS {
        let (_directory, path) = changed_copy(|bytes| *bytes = fs::read(fixtures().join(name)).unwrap());
        assert_eq!(read_notes(&open(&path, pragmas)).unwrap(), notes(), "{name}");
    }
}

#[test]
fn a_wrong_key_opens_nothing() {
    for (name, pragmas) in FORMATS {
        let (_directory, path) = changed_copy(|bytes| *bytes = fs::read(fixtures().join(name)).unwrap());
        let wrong = pragmas.iter().map(|pragma| pragma.replace("00010203", "00010204").replace("so", "os"));
        let wrong = wrong.collect::<Vec<_>>();
        let wrong = wrong.iter().map(String::as_str).collect::<Vec<_>>();
        read_notes(&open(&path, &wrong)).unwrap_err();
        read_notes(&open(&path, &[])).unwrap_err();
        assert_eq!(read_notes(&open(&path, pragmas)).unwrap(), notes(), "a wrong key changed {name}");
    }
}

#[test]
fn one_flipped_bit_anywhere_in_a_page_is_refused() {
    let tag = PAGE_SIZE - TAG_SIZE;
    let iv = PAGE_SIZE - RESERVE_SIZE;
    for in_page in [0, 1, 2000, iv - 1, iv, iv + 15, tag, PAGE_SIZE - 1] {
        let (_directory, path) = changed_copy(|bytes| bytes[PAGE_SIZE + in_page] ^= 1);
        let connection = open(&path, RAW_KEY);
        read_notes(&connection).expect_err(&format!("byte {in_page} of page 2 was changed"));
    }
}

#[test]
fn a_page_put_in_another_pages_place_is_refused() {
    let (_directory, path) = changed_copy(|bytes| bytes.copy_within(2 * PAGE_SIZE..3 * PAGE_SIZE, PAGE_SIZE));
    read_notes(&open(&path, RAW_KEY)).unwrap_err();
}

#[test]
fn nothing_that_was_written_can_be_read_in_the_file() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("new.db");
    write_notes(&open(&path, RAW_KEY));
    let bytes = fs::read(&path).unwrap();
    let contains = |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    assert!(notes().iter().all(|note| !contains(note)) && !contains("CREATE TABLE") && !contains("SQLite format 3"));
    assert_eq!(read_notes(&open(&path, RAW_KEY)).unwrap(), notes());
}

#[test]
fn writing_the_same_page_again_takes_a_new_iv() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("new.db");
    let connection = open(&path, RAW_KEY);
    write_notes(&connection);
    let mut ivs = BTreeSet::new();
    for text in ["one", "two", "one", "two"] {
        connection.execute("UPDATE note SET text = ?1 WHERE id = 1", [text]).unwrap();
        let bytes = fs::read(&path).unwrap();
        ivs.insert(bytes[2 * PAGE_SIZE - RESERVE_SIZE..2 * PAGE_SIZE - TAG_SIZE].to_vec());
    }
    assert_eq!(ivs.len(), 4);
}

#[test]
fn without_a_key_a_database_is_plain_sqlite() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("plain.db");
    write_notes(&open(&path, &[]));
    assert!(fs::read(&path).unwrap().starts_with(b"SQLite format 3\0"));
    assert_eq!(read_notes(&open(&path, &[])).unwrap(), notes());
}

#[test]
fn connections_on_several_threads_do_not_disturb_each_other() {
    let directory = tempdir().unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let path = directory.path().join(format!("{thread}.db"));
            scope.spawn(move || {
                write_notes(&open(&path, RAW_KEY));
                assert_eq!(read_notes(&open(&path, RAW_KEY)).unwrap(), notes());
            });
        }
    });
}

/// Both directions with a living stock SQLCipher. `cargo xtask test` sets up a Python that has one and names it in
/// `SOTTO_STOCK_PYTHON`.
#[test]
#[ignore = "wants a Python with a stock SQLCipher; cargo xtask test provides it"]
fn stock_sqlcipher_and_this_crate_read_each_others_files() {
    let python = env::var("SOTTO_STOCK_PYTHON").expect("SOTTO_STOCK_PYTHON names the Python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stock_sqlcipher.py");
    let (ours, theirs) = (tempdir().unwrap(), tempdir().unwrap());
    let stock = |verb: &str, directory: &TempDir| {
        let status = Command::new(&python).arg(&script).arg(verb).arg(directory.path()).status().unwrap();
        assert!(status.success(), "stock SQLCipher failed to {verb}");
    };

    for (name, pragmas) in FORMATS {
        write_notes(&open(&ours.path().join(name), pragmas));
    }
    stock("check", &ours);

    stock("write", &theirs);
    for (name, pragmas) in FORMATS {
        assert_eq!(read_notes(&open(&theirs.path().join(name), pragmas)).unwrap(), notes(), "{name}");
    }
}
