//! The scenarios. Each has a name, `kind/scenario`; for those that are accepted the answer is filled in by this crate, and checked by
//! the independent reader.

mod ephemerals;
mod identity;
mod letters;
mod prekeys;
mod relay;
mod seals;

use std::collections::BTreeMap;

use crate::file::Vector;
use crate::run;

/// Scenarios in the making.
#[derive(Default)]
pub(crate) struct Scenarios(BTreeMap<String, Vector>);

impl Scenarios {
    pub(crate) fn add(&mut self, scenario: &str, mut vector: Vector) {
        match run::run(&vector) {
            Ok(answer) if vector.expect == "accepted" => vector.answer = answer,
            Ok(_) => panic!("{}/{scenario} is accepted", vector.kind),
            Err(code) => assert_eq!(vector.expect, code, "{}/{scenario}", vector.kind),
        }
        let name = format!("{}/{scenario}", vector.kind);
        assert!(self.0.insert(name.clone(), vector).is_none(), "{name} twice");
    }
}

pub(crate) fn all() -> BTreeMap<String, Vector> {
    let mut scenarios = Scenarios::default();
    relay::add(&mut scenarios);
    identity::add(&mut scenarios);
    prekeys::add(&mut scenarios);
    seals::add(&mut scenarios);
    ephemerals::add(&mut scenarios);
    letters::add(&mut scenarios);
    scenarios.0
}

/// One bit changed.
pub(crate) fn flipped(bytes: &[u8], position: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[position] ^= 1;
    bytes
}

pub(crate) fn flipped_last(bytes: &[u8]) -> Vec<u8> {
    flipped(bytes, bytes.len() - 1)
}
