//! Nothing readable at rest: every file of a profile is searched, and what a process says of itself when it is asked to say all.

use std::collections::BTreeMap;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::HEXLOWER;
use sotto_end_to_end::at_rest::{Secret, files, find};
use sotto_end_to_end::{Profile, finish};

use super::stage::{Stage, objects, run, stay, text, transcript};

const CANARY: &str = "quixotic marmalade zeppelin";
const PASSPHRASE: &str = "correct horse battery staple";
const ALICE: &str = "alice-of-the-meadow";
const BOB: &str = "bob-the-builder";

/// The keys of a profile by their names, read as the head of `keystore.rs` says.
fn keys(profile: &Profile) -> BTreeMap<String, Vec<u8>> {
    let file = std::fs::read(profile.directory().join("keys")).expect("the keys are read");
    let (head, body) = file.split_at("sotto-keys 2\n".len());
    let plain = if head == b"sotto-keys 1\n" {
        body.to_vec()
    } else {
        let ((salt, body), mut key) = (body.split_at(16), [0; 32]);
        let argon2 =
            Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(65_536, 3, 4, Some(32)).expect("fit"));
        argon2.hash_password_into(PASSPHRASE.as_bytes(), salt, &mut key).expect("a key");
        let (nonce, sealed) = body.split_first_chunk::<24>().expect("a nonce");
        let payload = Payload { msg: sealed, aad: head };
        XChaCha20Poly1305::new(&key.into()).decrypt(&XNonce::from(*nonce), payload).expect("the keys open")
    };
    let entries: BTreeMap<String, String> = serde_json::from_slice(&plain).expect("entries");
    entries.into_iter().map(|(name, hex)| (name, HEXLOWER.decode(hex.as_bytes()).expect("hex"))).collect()
}

fn key_secrets(profile: &Profile) -> Vec<Secret> {
    let keys = keys(profile);
    vec![("the database key", keys["database"].clone()), ("the root key", keys["root"].clone())]
}

#[test]
fn no_text_name_id_or_key_stands_in_any_file_of_a_profile_or_in_what_it_logs() {
    let stage = Stage::set();
    let (bob, bob_id) = stage.person_called("bob", BOB);
    let alice = stage.profile("alice").with_passphrase(PASSPHRASE);
    let made = run(&alice, &["--json", "init", "--passphrase", "--relay", stage.relay.address(), "--name", ALICE]);
    let alice_id = text(&objects(&made)[0], "account");
    Stage::introduce(&alice, &bob);
    for _ in 0..3 {
        run(&alice, &["send", "--wait", BOB, CANARY]);
        run(&bob, &["sync"]);
        run(&bob, &["send", "--wait", ALICE, CANARY]);
        run(&alice, &["sync"]);
    }
    run(&alice, &["send", "me", CANARY]);
    let link = text(&objects(&run(&alice, &["--json", "invite"]))[0], "link");
    let fragment = link.split_once('#').expect("a link has a fragment").1;
    let mut secrets = key_secrets(&alice);
    secrets.extend([
        ("a text", CANARY.as_bytes().to_vec()),
        ("a name", ALICE.as_bytes().to_vec()),
        ("a contact's name", BOB.as_bytes().to_vec()),
        ("the passphrase", PASSPHRASE.as_bytes().to_vec()),
        ("the account id", HEXLOWER.decode(alice_id.as_bytes()).unwrap()),
        ("a contact's account id", HEXLOWER.decode(bob_id.as_bytes()).unwrap()),
        ("an invite", fragment.as_bytes().to_vec()),
    ]);
    assert_eq!(find(&files(alice.directory()).unwrap(), &secrets), None, "closed");
    // Open, with a write-ahead log and a socket.
    let staying = stay(&alice);
    run(&alice, &["send", BOB, CANARY]);
    let open = files(alice.directory()).unwrap();
    assert!(open.keys().any(|name| name.ends_with("-wal")), "{:?}", open.keys());
    assert_eq!(find(&open, &secrets), None, "open");
    staying.kill().unwrap();
    let killed = files(alice.directory()).unwrap();
    assert!(killed.values().map(Vec::len).sum::<usize>() > 100_000, "there was something to search");
    assert_eq!(find(&killed, &secrets), None, "killed");
    // What it says of itself, for everybody who helps to find a fault.
    let mut log = Vec::new();
    for words in [&["sync"] as &[&str], &["send", "--wait", BOB, CANARY], &["invite"]] {
        let said = finish(alice.command(words).env("SOTTO_LOG", "trace"), b"").unwrap();
        assert_eq!(said.code, Some(0), "{words:?}");
        log.append(&mut said.err.into_bytes());
    }
    assert!(log.len() > 1_000, "it says something");
    assert_eq!(find(&[("the log".to_owned(), log)].into(), &secrets), None);
    assert_eq!(transcript(&alice, "me"), [CANARY]);
}

#[test]
fn without_a_passphrase_keys_stand_in_one_file_that_is_its_owners_alone_and_nowhere_else() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::set();
    let (alice, _) = stage.person(ALICE);
    run(&alice, &["send", "me", CANARY]);
    let (mut all, secrets) = (files(alice.directory()).unwrap(), key_secrets(&alice));
    for name in all.keys() {
        let mode = std::fs::metadata(name).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is its owner's alone");
    }
    assert!(find(&all, &secrets).is_some_and(|found| found.ends_with("/keys")), "the search finds what is there");
    all.retain(|name, _| !name.ends_with("/keys"));
    assert_eq!(find(&all, &secrets), None);
}
