//! A6: an opaque append-only list with compare-and-append, readable from any index, compactable.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::SigningKey;
use futures_util::FutureExt;
use sotto_protocol::label::chain_entry_hash;
use sotto_protocol::relay::{ChainAppend, ChainCompact, ChainDelete, ChainEntries, ChainHead, ChainRead};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message, work};
use sotto_relay::limits::StoreBounds;
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{InboxPolicy, Relay, RelayConfig, Response};

use crate::support::{NOON, World, code, fresh, name, sign, signing_key};

struct Chain {
    id: Bytes,
    key: SigningKey,
}

impl Chain {
    fn new() -> Self {
        Self { id: [fresh(), fresh()].concat().into(), key: signing_key() }
    }

    fn append(&self, world: &World, previous: &[u8], entry: &[u8]) -> Response {
        let (previous, entry) = (Bytes::copy_from_slice(previous), Bytes::copy_from_slice(entry));
        world.signed(
            &self.key,
            path::CHAIN_APPEND,
            &ChainAppend { chain: self.id.clone(), previous, entry, ..ChainAppend::default() },
        )
    }

    /// Appends entries one after the other; the hash of the last.
    fn grow(&self, world: &World, mut head: Vec<u8>, entries: &[&[u8]]) -> Vec<u8> {
        for entry in entries {
            let response = self.append(world, &head, entry);
            assert_eq!(response.status, 200);
            let expected = chain_entry_hash(&head, entry);
            let answered = ChainHead::decode(response.body).unwrap();
            assert_eq!(answered.hash, expected[..]);
            head = expected.to_vec();
        }
        head
    }

    fn compact(&self, world: &World, head: &[u8], snapshot: &'static [u8]) -> Response {
        let (head, snapshot) = (Bytes::copy_from_slice(head), Bytes::from_static(snapshot));
        world.signed(&self.key, path::CHAIN_COMPACT, &ChainCompact { chain: self.id.clone(), head, snapshot })
    }

    fn read(&self, world: &World, from: u64) -> ChainEntries {
        let response = world.post(path::CHAIN_READ, &ChainRead { chain: self.id.clone(), from });
        assert_eq!(response.status, 200);
        ChainEntries::decode(response.body).unwrap()
    }
}

/// Everything that a reader needs fits together.
fn assert_links(answer: &ChainEntries) {
    let head = answer.head.as_ref().unwrap();
    let mut hash = answer.previous.to_vec();
    for entry in &answer.entries {
        hash = chain_entry_hash(&hash, entry).to_vec();
    }
    assert_eq!(hash, head.hash, "the last entry here is the head");
}

#[test]
fn a6_what_was_appended_is_read_from_any_index_after_a_cold_start() {
    let world = World::on_disk();
    let chain = Chain::new();
    chain.grow(&world, Vec::new(), &[b"a", b"b", b"c"]);
    let world = world.reopened();
    for from in 0..=3 {
        let answer = chain.read(&world, from);
        assert_links(&answer);
        assert_eq!((answer.first, answer.entries.len() as u64), (from, 3 - from));
        assert_eq!(answer.head.unwrap().index, 2);
    }
    let beyond = chain.read(&world, 99);
    assert_eq!((beyond.first, beyond.entries.len()), (3, 0));
    assert_links(&beyond);
}

#[test]
fn a6_appending_to_another_head_is_a_conflict_answered_with_the_real_one() {
    let world = World::new();
    let chain = Chain::new();
    let first = chain.grow(&world, Vec::new(), &[b"a"]);
    let head = chain.grow(&world, first.clone(), &[b"b"]);
    for previous in [&first[..], &[], &[7; 32]] {
        let response = chain.append(&world, previous, b"c");
        assert_eq!(code(&response), "conflict");
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["head_index"], 1);
        assert_eq!(body["head_hash"], BASE64URL_NOPAD.encode(&head));
    }
    assert_eq!(chain.read(&world, 0).entries, ["a", "b"]);
}

#[test]
fn a6_only_the_write_key_appends_compacts_and_deletes() {
    let world = World::new();
    let chain = Chain::new();
    let head = chain.grow(&world, Vec::new(), &[b"a"]);
    let thief = Chain { id: chain.id.clone(), key: signing_key() };
    assert_eq!(code(&thief.append(&world, &head, b"b")), "refused");
    assert_eq!(code(&thief.append(&world, &[], b"b")), "refused", "not even the head is told");
    assert_eq!(code(&thief.compact(&world, &head, b"s")), "refused");
    let delete = ChainDelete { chain: chain.id.clone() };
    assert_eq!(code(&world.signed(&thief.key, path::CHAIN_DELETE, &delete)), "refused");
    assert_eq!(chain.read(&world, 0).entries, ["a"]);
}

#[test]
fn a6_a_snapshot_stands_for_everything_before_it_and_the_hash_goes_on() {
    let world = World::on_disk();
    let chain = Chain::new();
    let head = chain.grow(&world, Vec::new(), &[b"a", b"b", b"c"]);
    assert_eq!(chain.compact(&world, &head, b"all three").status, 200);
    let head = chain.grow(&world, head, &[b"d", b"e"]);
    let world = world.reopened();
    for from in 0..=2 {
        let answer = chain.read(&world, from);
        assert_eq!((&answer.snapshot[..], answer.first), (&b"all three"[..], 2));
        assert_eq!(answer.entries, ["d", "e"]);
        assert_links(&answer);
    }
    for from in 3..=5 {
        let answer = chain.read(&world, from);
        assert_eq!((answer.snapshot.len(), answer.first), (0, from));
        assert_links(&answer);
    }
    assert_eq!(code(&chain.compact(&world, &[0; 32], b"s")), "conflict");
    assert_eq!(chain.compact(&world, &head, b"all five").status, 200);
    let answer = chain.read(&world, 4);
    assert_eq!((&answer.snapshot[..], answer.first, answer.entries.len()), (&b"all five"[..], 4, 0));
    assert_links(&answer);
}

#[test]
fn a6_an_answer_is_bounded_and_the_reader_goes_on_from_its_end() {
    let world = World::new();
    let chain = Chain::new();
    let entry = [5; 16 * 1024];
    let entries: Vec<&[u8]> = vec![&entry; 100];
    chain.grow(&world, Vec::new(), &entries);
    let mut from = 0;
    let mut answers = 0;
    while from < 100 {
        let answer = chain.read(&world, from);
        assert!(answer.encoded_len() <= 1024 * 1024 + 4_096);
        assert!(!answer.entries.is_empty());
        from = answer.first + answer.entries.len() as u64;
        answers += 1;
    }
    assert_eq!(answers, 2);
}

#[test]
fn a6_entries_snapshots_and_whole_chains_are_bounded() {
    let world = World::new();
    let chain = Chain::new();
    let mut head = chain.grow(&world, Vec::new(), &[b"a"]);
    assert_eq!(code(&chain.append(&world, &head, &[0; 16 * 1024 + 1])), "too_large");
    let snapshot =
        ChainCompact { chain: chain.id.clone(), head: head.clone().into(), snapshot: vec![0; 256 * 1024 + 1].into() };
    assert_eq!(code(&world.signed(&chain.key, path::CHAIN_COMPACT, &snapshot)), "too_large");
    let large = [1; 16 * 1024];
    let refused = loop {
        let response = chain.append(&world, &head, &large);
        if response.status != 200 {
            break response;
        }
        head = ChainHead::decode(response.body).unwrap().hash.to_vec();
    };
    assert_eq!(code(&refused), "full");
    assert_eq!(chain.compact(&world, &head, b"short again").status, 200);
    assert_eq!(chain.append(&world, &head, &large).status, 200);
}

#[test]
fn a6_an_unknown_chain_reads_as_refused_and_a_deleted_one_too() {
    let world = World::on_disk();
    let chain = Chain::new();
    let read = ChainRead { chain: chain.id.clone(), from: 0 };
    let unknown = world.post(path::CHAIN_READ, &read);
    assert_eq!(code(&unknown), "refused");
    chain.grow(&world, Vec::new(), &[b"canary"]);
    let delete = ChainDelete { chain: chain.id.clone() };
    assert_eq!(world.signed(&chain.key, path::CHAIN_DELETE, &delete).status, 200);
    assert_eq!(world.post(path::CHAIN_READ, &read), unknown);
    world.sweep();
    assert!(!world.dump().iter().any(|line| line.starts_with("chain")));
}

#[test]
fn a6_a_chain_begins_with_an_empty_previous_and_with_nothing_else() {
    let world = World::new();
    let chain = Chain::new();
    assert_eq!(code(&chain.append(&world, &[1; 32], b"a")), "refused");
    assert_eq!(code(&chain.append(&world, &[1; 31], b"a")), "bad_request");
    assert_eq!(chain.append(&world, &[], b"a").status, 200);
}

/// A relay with a policy, and an append to it that creates.
fn created(relay: &Relay, chain: &Chain, change: impl FnOnce(&mut ChainAppend)) -> Response {
    let mut append = ChainAppend { chain: chain.id.clone(), entry: Bytes::from_static(b"a"), ..ChainAppend::default() };
    change(&mut append);
    let request = sign(&chain.key, path::CHAIN_APPEND, &append, NOON, fresh());
    relay.handle(request, NOON).now_or_never().unwrap()
}

fn relay_with(inbox_policy: InboxPolicy, proof_of_work_bits: u32, bounds: StoreBounds) -> Arc<Relay> {
    let store = SqliteStore::open(SqliteOptions { bounds, ..SqliteOptions::memory() }).unwrap();
    Relay::new(Arc::new(store), RelayConfig { inbox_policy, proof_of_work_bits, ..RelayConfig::open(name()) }, NOON)
}

#[test]
fn a6_chains_are_created_by_the_same_policy_as_inboxes() {
    let chain = Chain::new();
    let closed = relay_with(InboxPolicy::Closed, 0, StoreBounds::default());
    assert_eq!(code(&created(&closed, &chain, |_| {})), "refused");
    let codes = relay_with(InboxPolicy::Code(vec!["a good code".to_owned()]), 8, StoreBounds::default());
    let proof = Bytes::copy_from_slice(&work::prove(&chain.id, 8).unwrap());
    assert_eq!(code(&created(&codes, &chain, |append| append.proof_of_work = proof.clone())), "refused", "no code");
    let other =
        Bytes::copy_from_slice(&(0_u64..).map(u64::to_be_bytes).find(|n| work::bits(&chain.id, n) < 8).unwrap());
    let with = |proof: Bytes| {
        move |append: &mut ChainAppend| {
            append.invite_code = "a good code".to_owned();
            append.proof_of_work = proof;
        }
    };
    assert_eq!(code(&created(&codes, &chain, with(other))), "refused", "no work");
    assert_eq!(created(&codes, &chain, with(proof)).status, 200);
    // What is there grows without either.
    let first = chain_entry_hash(&[], b"a").to_vec();
    assert_eq!(created(&codes, &chain, |append| append.previous = first.into()).status, 200);
}

#[test]
fn a6_all_chains_together_are_bounded_and_what_is_deleted_or_compacted_makes_room() {
    let world = World::bounded(StoreBounds { chains_bytes_max: 4_000, ..StoreBounds::default() });
    let (one, other) = (Chain::new(), Chain::new());
    let head = one.grow(&world, Vec::new(), &[&[1; 1_500], &[2; 1_000]]);
    assert_eq!(code(&other.append(&world, &[], &[3; 1_500])), "full", "a new chain");
    assert_eq!(code(&one.append(&world, &head, &[3; 1_500])), "full", "a longer one");
    assert_eq!(one.compact(&world, &head, b"small").status, 200);
    other.grow(&world, Vec::new(), &[&[3; 1_500]]);
    assert_eq!(code(&one.append(&world, &head, &[3; 1_500])), "full");
    let delete = ChainDelete { chain: other.id.clone() };
    assert_eq!(world.signed(&other.key, path::CHAIN_DELETE, &delete).status, 200);
    assert_eq!(one.append(&world, &head, &[3; 1_500]).status, 200);
}

#[test]
fn a6_the_id_of_a_deleted_chain_is_never_given_away_again() {
    let world = World::on_disk();
    let chain = Chain::new();
    chain.grow(&world, Vec::new(), &[b"a"]);
    let delete = ChainDelete { chain: chain.id.clone() };
    assert_eq!(world.signed(&chain.key, path::CHAIN_DELETE, &delete).status, 200);
    world.sweep();
    let world = world.reopened();
    let reader = Chain { id: chain.id.clone(), key: signing_key() };
    for writer in [&reader, &chain] {
        assert_eq!(code(&writer.append(&world, &[], b"a")), "refused");
    }
}
