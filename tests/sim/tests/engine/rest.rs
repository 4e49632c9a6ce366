//! What stands on disks and wires: nothing that can be read in a profile, nothing about people at a relay, and no connection that
//! joins two pseudonyms.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sotto_core::world::{Isolation, SecretStore as _};
use sotto_end_to_end::at_rest::{Secret, files, find};
use sotto_protocol::RelayAddress;
use sotto_protocol::request::path;
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use sotto_sim::{Person, World};

/// A text that is in no program.
const CANARY: &str = "quixotic marmalade zeppelin";

fn assert_absent(directory: &Path, secrets: &[Secret], when: &str) {
    let files = files(directory).expect("the files are read");
    assert_eq!(find(&files, secrets), None, "{when}");
}

fn bytes_in(directory: &Path) -> usize {
    files(directory).expect("the files are read").values().map(Vec::len).sum()
}

/// What nobody may read of a person: words, names, identities, keys.
fn secrets_of(person: &Person) -> Vec<Secret> {
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
    assert!(bytes_in(alice.directory()) > 100_000, "there was something to search");
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
    assert!(bytes_in(data.path()) > 50_000, "there was something to search");
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
        if call.path == path::WELL_KNOWN {
            assert!(call.isolation != Isolation::Anonymous, "only who makes something asks for it");
            continue;
        }
        let is_anonymous = matches!(call.path, path::SEND | path::PREKEY_CLAIM | path::CHAIN_READ);
        assert_eq!(call.signed, !is_anonymous, "{}", call.path);
        // A chain of one's own is read unsigned, and never where letters are sent.
        let is_unsigned = matches!(call.isolation, Isolation::Anonymous | Isolation::Reading(_));
        assert_eq!(is_unsigned, !call.signed, "{}", call.path);
        // The connection is that of the very inbox or chain which the call is about: the first field of every signed message.
        let named = || &call.body[2..2 + usize::from(call.body[1])];
        match call.isolation {
            Isolation::Anonymous => {}
            Isolation::Inbox(inbox) => assert_eq!(named(), inbox.as_bytes(), "{}", call.path),
            Isolation::Chain(chain) | Isolation::Reading(chain) => {
                assert_eq!(named(), chain.as_bytes(), "{}", call.path);
            }
        }
    }
    for path in [path::INBOX_CREATE, path::TOKEN_PUT, path::TOKEN_DROP, path::PREKEY_PUT, path::CHAIN_APPEND] {
        assert!(seen.contains(path), "{path} was met");
    }
}
