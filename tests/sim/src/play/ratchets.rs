//! No ratchet gives one key twice: every ciphertext that a device has ever committed is kept beside its outbox, by a trigger that is no
//! part of the engine, and in the end no two of them stand at the same place of the same chain. No one-time key begins two sessions:
//! every session that a device was asked for and has made is kept likewise, and its sender's first message tells which key it was made of.
//!
//! Kept in the device's own database, they are undone with a transaction that fails: what was never committed was never sent either.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::Database;

/// Makes a profile keep them.
pub fn keep(database: &Database) {
    database.change(
        "CREATE TABLE kept_ciphertext (olm BLOB PRIMARY KEY) STRICT;
         CREATE TRIGGER keep_ciphertext AFTER UPDATE OF olm ON outbox WHEN NEW.olm IS NOT NULL
         BEGIN INSERT OR IGNORE INTO kept_ciphertext (olm) VALUES (NEW.olm); END;
         CREATE TABLE kept_session (session BLOB PRIMARY KEY) STRICT;
         CREATE TRIGGER keep_session AFTER INSERT ON session WHEN NEW.inbound = 1
         BEGIN INSERT OR IGNORE INTO kept_session (session) VALUES (NEW.session); END;
         CREATE TABLE kept_last_resort (session BLOB PRIMARY KEY) STRICT;
         CREATE TRIGGER keep_last_resort AFTER INSERT ON session_tombstone
         BEGIN INSERT OR IGNORE INTO kept_last_resort (session) VALUES (NEW.session); END;",
    );
}

/// What a profile has kept.
pub(super) struct Kept(Vec<(&'static str, &'static str, Vec<Vec<u8>>)>);

/// Takes along what a profile has kept: its files are about to be those of before.
pub(super) fn take_along(database: &Database) -> Kept {
    let tables = [("kept_ciphertext", "olm"), ("kept_session", "session"), ("kept_last_resort", "session")];
    let blobs = |(table, column)| (table, column, database.blobs(&format!("SELECT {column} FROM {table}")));
    Kept(tables.map(blobs).into())
}

/// And brings it back.
pub(super) fn bring_back(database: &Database, kept: &Kept) {
    for (table, column, blobs) in &kept.0 {
        for blob in blobs {
            database.change(&format!("INSERT OR IGNORE INTO {table} ({column}) VALUES (x'{}')", crate::hex(blob)));
        }
    }
}

/// A place in a chain at which two different ciphertexts were made.
pub(super) fn used_twice(database: &Database) -> Option<String> {
    used_twice_among(&[database])
}

/// The same, among copies of one profile that have lived apart.
#[must_use]
pub fn used_twice_among(databases: &[&Database]) -> Option<String> {
    let mut places: BTreeMap<Place, Vec<u8>> = BTreeMap::new();
    for ciphertext in databases.iter().flat_map(|database| database.blobs("SELECT olm FROM kept_ciphertext")) {
        let Some(place) = place(&ciphertext) else { return Some("a ciphertext that is none".to_owned()) };
        let index = place.index;
        if places.insert(place, ciphertext.clone()).is_some_and(|other| other != ciphertext) {
            return Some(format!("two ciphertexts at place {index} of one chain"));
        }
    }
    None
}

/// A one-time key of which one device has made two sessions. A last-resort key makes many, and is known by what the device remembers of them.
pub(super) fn one_time_key_used_twice(databases: &[Database]) -> Option<String> {
    let first_messages = databases.iter().flat_map(|database| database.blobs("SELECT olm FROM kept_ciphertext"));
    let keys: BTreeMap<Vec<u8>, Vec<u8>> = first_messages.filter_map(|message| beginning(&message)).collect();
    for database in databases {
        let made = "SELECT session FROM kept_session EXCEPT SELECT session FROM kept_last_resort";
        let mut used = BTreeSet::new();
        for session in database.blobs(made) {
            match keys.get(&session) {
                Some(key) if !used.insert(key) => return Some("two sessions of one one-time key".to_owned()),
                Some(_) => {}
                None => return Some("a session that nobody began".to_owned()),
            }
        }
    }
    None
}

/// The id of the session that a first message begins, and the one-time key that it is made of.
fn beginning(message: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    const ONE_TIME: u8 = 0x0a;
    const BASE: u8 = 0x12;
    const IDENTITY: u8 = 0x1a;
    let mut rest = message.get(1..)?;
    let mut part = |expected: u8| {
        let (&tag, after) = rest.split_first()?;
        let (length, after) = number(after)?;
        let (bytes, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
        rest = after;
        (tag == expected).then_some(bytes)
    };
    let (one_time, base, identity) = (part(ONE_TIME)?, part(BASE)?, part(IDENTITY)?);
    Some((Sha256::digest([identity, base, one_time].concat()).to_vec(), one_time.to_vec()))
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    ratchet_key: Vec<u8>,
    index: u64,
}

/// Where a ciphertext stands, by its header (the Olm specification, "message format"): a first message wraps another one.
fn place(message: &[u8]) -> Option<Place> {
    const FIRST_KEY: u8 = 0x0a;
    const CHAIN_INDEX: u8 = 0x10;
    const BASE_KEY: u8 = 0x12;
    const INNER: u8 = 0x22;
    let (mut ratchet_key, mut index, mut is_first) = (None, None, false);
    // Behind the version byte.
    let mut rest = message.get(1..)?;
    loop {
        let (&tag, after) = rest.split_first()?;
        let (number, after) = number(after)?;
        if tag == CHAIN_INDEX {
            (index, rest) = (Some(number), after);
            continue;
        }
        let length = usize::try_from(number).ok()?;
        let (bytes, after) = after.split_at_checked(length)?;
        match tag {
            FIRST_KEY => ratchet_key = Some(bytes.to_vec()),
            BASE_KEY => is_first = true,
            INNER if is_first => return place(bytes),
            INNER => return Some(Place { ratchet_key: ratchet_key?, index: index? }),
            _ => {}
        }
        rest = after;
    }
}

/// A number of seven bits a byte, the lowest first.
fn number(mut bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (mut number, mut shift) = (0_u64, 0_u32);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((number, rest));
        }
        (bytes, shift) = (rest, shift + 7);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(key: u8, index: u8, ciphertext: &[u8]) -> Vec<u8> {
        let mut message = vec![3, 0x0a, 1, key, 0x10, index, 0x22, u8::try_from(ciphertext.len()).unwrap()];
        message.extend(ciphertext);
        message.extend([9; 8]);
        message
    }

    #[test]
    fn a_place_is_read_out_of_a_message_and_out_of_a_first_one() {
        let expected = Some(Place { ratchet_key: vec![7], index: 5 });
        assert_eq!(place(&normal(7, 5, b"text")), expected);
        let inner = normal(7, 5, b"text");
        let mut first = vec![3, 0x0a, 1, 1, 0x12, 1, 2, 0x1a, 1, 3, 0x22, u8::try_from(inner.len()).unwrap()];
        first.extend(&inner);
        assert_eq!(place(&first), expected);
        assert_eq!(place(&[3, 0x0a, 9]), None);
        assert_eq!(beginning(&inner), None);
        let session = Sha256::digest([3, 2, 1]).to_vec();
        assert_eq!(beginning(&first), Some((session, vec![1])));
    }
}
