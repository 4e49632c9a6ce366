//! Test vectors: one file one scenario in `tests/vectors/`, made here, and read by this runner and by an independent one in Python.
//!
//! The generator draws everything from fixed seeds, so that a vector changes only when the protocol does: the checked-in files must be
//! what it makes. After a change that is meant, write them again with `SOTTO_WRITE_VECTORS=1 cargo test -p sotto-crypto --test vectors`
//! and look at the difference: it is a change of the protocol.
//!
//! - `file.rs`: the format; `people.rs`: accounts and ratchets from fixed secrets
//! - `make.rs`, `make/`: the scenarios; `run.rs`, `run/`: what each kind means in terms of this crate

#![expect(clippy::unwrap_used, clippy::panic, reason = "this whole crate is a test")]

mod file;
mod make;
mod people;
mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use file::Vector;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

fn checked_in() -> BTreeMap<String, Vector> {
    let mut vectors = BTreeMap::new();
    for kind in std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let kind_name = kind.file_name().unwrap().to_str().unwrap().to_owned();
        for file in std::fs::read_dir(&kind).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "txt") {
                let name = format!("{kind_name}/{}", file.file_stem().unwrap().to_str().unwrap());
                vectors.insert(name, Vector::parse(&std::fs::read_to_string(&file).unwrap()));
            }
        }
    }
    vectors
}

#[test]
fn the_checked_in_vectors_are_what_the_generator_makes() {
    let made = make::all();
    if std::env::var_os("SOTTO_WRITE_VECTORS").is_some() {
        for (name, vector) in &made {
            let path = folder().join(format!("{name}.txt"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vector.render()).unwrap();
        }
    }
    let checked_in = checked_in();
    let names = |vectors: &BTreeMap<String, Vector>| vectors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&checked_in), names(&made));
    for (name, vector) in &made {
        assert!(checked_in[name] == *vector, "{name} differs: the protocol has changed");
        assert!(Vector::parse(&vector.render()) == *vector, "{name} does not survive being written");
    }
}

#[test]
fn every_vector_has_the_outcome_that_it_says() {
    let vectors = checked_in();
    let wrong: Vec<_> =
        vectors.iter().filter_map(|(name, vector)| Some(format!("{name}: {}", run::check(vector).err()?))).collect();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), vectors.len(), wrong.join("\n"));
}

#[test]
fn most_vectors_are_refusals() {
    let vectors = checked_in();
    let accepted = vectors.values().filter(|vector| vector.expect == "accepted").count();
    assert!(vectors.len() > 150 && accepted * 2 < vectors.len(), "{accepted} of {} are accepted", vectors.len());
}
