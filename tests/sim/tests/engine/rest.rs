//! What stands on disks and wires: nothing that can be read in a profile, nothing about people at a relay, and no connection that
//! joins two pseudonyms.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use sotto_core::world::{Isolation, SecretStore as _};
use sotto_protocol::RelayAddress;
use sotto_protocol::request::path;
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use sotto_sim::{Person, World};

/// A text that is in no program.
const CANARY: &str = "quixotic marmalade zeppelin";

/// Every way in which bytes may stand in a file.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![secret.to_vec()];
    for encoding in [&HEXLOWER, &HEXUPPER, &BASE64, &BASE64URL_NOPAD] {
        all.push(encoding.encode(secret).into_bytes());
    }
    // Inside a longer run of base64 the bytes may begin at any of three places; the outer characters are shared with their neighbours.
    for skipped in 0..3 {
        let inner = &secret[skipped..secret.len() - (secret.len() - skipped) % 3];
        all.push(BASE64_NOPAD.encode(inner).into_bytes());
        all.push(BASE64URL_NOPAD.encode(inner).into_bytes());
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        all.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        all.push(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
    }
    all
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).expect("the directory is read");
    let files = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
    files.map(|path| (path.display().to_string(), std::fs::read(&path).expect("a file is read"))).collect()
}

/// Searches every file for every secret in every spelling, in one pass by the first bytes of each.
fn assert_absent(directory: &Path, secrets: &[(&str, Vec<u8>)], when: &str) {
    let mut by_beginning: HashMap<[u8; 4], Vec<(&str, Vec<u8>)>> = HashMap::new();
    for (what, secret) in secrets {
        for spelling in spellings(secret) {
            let beginning = *spelling.first_chunk().expect("no spelling is so short");
            by_beginning.entry(beginning).or_default().push((what, spelling));
        }
    }
    for (name, bytes) in files(directory) {
        for (place, beginning) in bytes.windows(4).enumerate() {
            let Some(candidates) = beginning.first_chunk().and_then(|beginning| by_beginning.get(beginning)) else {
                continue;
            };
            for (what, spelling) in candidates {
                assert!(!bytes[place..].starts_with(spelling), "{when}: {what} stands in {name}");
            }
        }
    }
}

/// What nobody may read of a person: words, names, identities, keys.
fn secrets_of(person: &Person) -> Vec<(&'static str, Vec<u8>)> {
    let database = person.database();
    let one = |sql: &str| database.blobs(sql).pop().expect("a row");
    let kept = |name| person.secrets.get(name).expect("the keystore answers").expect("a secret").to_vec();
    vec![
        ("a text", CANARY.as_bytes().to_vec()),
        ("a name", b"alice-of-the-meadow".to_vec()),
        ("a contact's name", b"bob-the-builder".to_vec()),
        ("the root seed", kept("root")),
        ("the database key", kept("database")),
        ("the account id", one("SELECT account FROM account")),
        ("the identity key", one("SELECT ed25519 FROM own_device")),
        ("the Olm identity key", one("SELECT curve25519 FROM own_device")),
        ("a pair secret", one("SELECT pair_secret FROM contact")),
        ("a contact's account id", one("SELECT account FROM contact")),
    ]
}

async fn talk(world: &World, relay: &RelayAddress) -> (Person, Person) {
    let alice = world.person("alice-of-the-meadow", std::slice::from_ref(relay)).await.expect("alice begins");
    let bob = world.person("bob-the-builder", std::slice::from_ref(relay)).await.expect("bob begins");
    world.introduce(&alice, &bob).await.expect("they meet");
    for _ in 0..5 {
        alice.say("bob-the-builder", CANARY).await.expect("alice speaks");
        bob.say("alice-of-the-meadow", CANARY).await.expect("bob speaks");
        world.settle(&[&alice, &bob]).await.expect("they settle");
    }
    (alice, bob)
}

#[tokio::test(start_paused = true)]
async fn nothing_in_a_profile_can_be_read_without_its_key() {
    let world = World::seeded(80);
    let relay = world.network.add_relay("relay.example");
    let (alice, _) = talk(&world, &relay).await;
    // Queued and not sent, too.
    world.network.set_down(&relay, true);
    alice.say("bob-the-builder", CANARY).await.unwrap();
    let secrets = secrets_of(&alice);
    assert_absent(alice.directory(), &secrets, "open");
    alice.messenger.shut_down();
    assert_absent(alice.directory(), &secrets, "closed");
    assert!(files(alice.directory()).values().map(Vec::len).sum::<usize>() > 100_000, "there was something to search");
}

#[tokio::test(start_paused = true)]
async fn the_search_finds_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    for spelling in spellings(CANARY.as_bytes()) {
        std::fs::write(directory.path().join("file"), [b"before".as_slice(), &spelling, b"after"].concat()).unwrap();
        let secrets = [("a text", CANARY.as_bytes().to_vec())];
        let found = std::panic::catch_unwind(|| assert_absent(directory.path(), &secrets, "planted"));
        assert!(found.is_err());
    }
    // In the middle of a longer run of base64, at each of the three places where it may begin.
    let secret = [0xfb_u8; 32];
    for before in 0..3 {
        let run = [vec![7; before], secret.to_vec(), vec![9; 5]].concat();
        for run in [BASE64.encode(&run), BASE64URL_NOPAD.encode(&run)] {
            std::fs::write(directory.path().join("file"), run).unwrap();
            let secrets = [("a key", secret.to_vec())];
            let found = std::panic::catch_unwind(|| assert_absent(directory.path(), &secrets, "planted"));
            assert!(found.is_err(), "{before}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a9_a_relay_holds_nothing_about_people_then_or_after_its_retention() {
    let world = World::seeded(81);
    let data = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(SqliteOptions::file(data.path().join("relay.db")).inline()).unwrap();
    let address: RelayAddress = "https://relay.example".parse().unwrap();
    let relay = Relay::new(Arc::new(store), RelayConfig::open(address.name().clone()), world.now());
    world.network.put_relay(&address, Arc::clone(&relay));
    let (alice, bob) = talk(&world, &address).await;
    let mut secrets = secrets_of(&alice);
    secrets.extend(secrets_of(&bob));
    // Something waits for bob.
    bob.messenger.shut_down();
    alice.say("bob-the-builder", CANARY).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_absent(data.path(), &secrets, "while letters wait");
    assert!(files(data.path()).values().map(Vec::len).sum::<usize>() > 50_000, "there was something to search");
    alice.messenger.shut_down();
    relay.sweep(world.now(), Duration::ZERO).await.unwrap();
    let retention = Duration::from_secs(45 * 24 * 3600);
    world.wait(retention).await;
    relay.sweep(world.now(), retention).await.unwrap();
    for _ in 0..100 {
        relay.sweep(world.now(), Duration::ZERO).await.unwrap();
    }
    relay.checkpoint().await.unwrap();
    assert_absent(data.path(), &secrets, "after the retention");
    let payloads = world.network.envelopes().into_iter().map(|envelope| ("a payload", envelope.payload[..64].to_vec()));
    assert_absent(data.path(), &payloads.collect::<Vec<_>>(), "after the retention");
}

#[tokio::test(start_paused = true)]
async fn a7_signed_and_anonymous_calls_never_share_a_connection_and_neither_do_two_pseudonyms() {
    let world = World::seeded(82);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays[..1]).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    let bob_id = bob.messenger.account().await.unwrap().id;
    alice.messenger.block(bob_id).await.unwrap();
    let [_, _] = world.switched_off([alice, bob], Duration::from_secs(8 * 24 * 3600)).await.unwrap();
    let mut seen = BTreeSet::new();
    for call in world.network.traffic() {
        seen.insert(call.path);
        let is_anonymous = matches!(call.path, path::SEND | path::PREKEY_CLAIM | path::CHAIN_READ | path::WELL_KNOWN);
        assert_eq!(call.signed, !is_anonymous, "{}", call.path);
        assert_eq!(call.isolation == Isolation::Anonymous, !call.signed, "{}", call.path);
        // The connection is that of the very inbox or chain which the call is about: the first field of every signed message.
        let named = || &call.body[2..2 + usize::from(call.body[1])];
        match call.isolation {
            Isolation::Anonymous => {}
            Isolation::Inbox(inbox) => assert_eq!(named(), inbox.as_bytes(), "{}", call.path),
            Isolation::Chain(chain) => assert_eq!(named(), chain.as_bytes(), "{}", call.path),
        }
    }
    for path in [path::INBOX_CREATE, path::TOKEN_PUT, path::TOKEN_DROP, path::PREKEY_PUT, path::CHAIN_APPEND] {
        assert!(seen.contains(path), "{path} was met");
    }
}
