//! A relay and a program that speak no version of the protocol in common: each is told what to do, and nothing is lost meanwhile.

use std::path::Path;
use std::sync::Arc;

use sotto_core::{Messenger, NewProfile};
use sotto_protocol::{PROTOCOL_VERSION, RelayAddress, Versions};
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use sotto_sim::{MemorySecrets, World};

const MOVED_ON: Versions = Versions { min: PROTOCOL_VERSION + 1, max: PROTOCOL_VERSION + 2 };
const ONE_AHEAD: Versions = Versions { min: PROTOCOL_VERSION, max: PROTOCOL_VERSION + 1 };

/// The relay of that file, of a release that speaks these versions.
fn start(world: &World, address: &RelayAddress, file: &Path, versions: Versions) {
    let store = SqliteStore::open(SqliteOptions::file(file).inline()).expect("a database in a new directory opens");
    let config = RelayConfig { versions, ..RelayConfig::open(address.name().clone()) };
    world.network.set_down(address, true);
    world.network.put_relay(address, Relay::new(Arc::new(store), config, world.now()));
}

#[tokio::test(start_paused = true)]
async fn no_account_is_made_at_a_relay_that_has_left_this_version_behind() {
    let world = World::seeded(90);
    let address = world.network.add_relay("relay.example");
    let directory = tempfile::tempdir().unwrap();
    let (secrets, profile) = (MemorySecrets::default(), || NewProfile::named("alice", std::slice::from_ref(&address)));
    start(&world, &address, &directory.path().join("relay.sqlite"), MOVED_ON);
    let place = directory.path().join("alice");
    let error = Messenger::create(world.world(&secrets), &place, profile()).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("upgrade_required", false));
    start(&world, &address, &directory.path().join("relay.sqlite"), ONE_AHEAD);
    Messenger::create(world.world(&secrets), &place, profile()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_relay_that_has_moved_on_leaves_once_the_two_speak_again() {
    let world = World::seeded(91);
    let address = world.network.add_relay("relay.example");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("relay.sqlite");
    start(&world, &address, &file, Versions::SPOKEN);
    let alice = world.person("alice", std::slice::from_ref(&address)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&address)).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    start(&world, &address, &file, MOVED_ON);
    alice.say("bob", "are you there?").await.unwrap();
    for person in [&alice, &bob] {
        let caught_up = person.catch_up().await.unwrap();
        // Who has nothing to send learns it from the stream.
        assert_eq!(caught_up.unreachable, [(address.clone(), "upgrade_required")]);
    }
    // Of the next release: it speaks the version before its own.
    start(&world, &address, &file, ONE_AHEAD);
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["are you there?"]);
}
