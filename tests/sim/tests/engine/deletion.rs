//! The end of an account: at its relays, in its keystore, on its disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use sotto_core::world::{SecretStore as _, SecretStoreError};
use sotto_core::{Error, InviteOptions, Messenger, NewProfile};
use sotto_protocol::RelayAddress;
use sotto_protocol::request::path;
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use sotto_sim::{Fate, MemorySecrets, Person, World};

/// As long as an app would let somebody wait.
const PATIENCE: Duration = Duration::from_secs(60);
const AT_ONCE: Duration = Duration::ZERO;

/// A relay whose store can be looked into.
fn add_relay(world: &World, name: &str, place: &Path) -> RelayAddress {
    let address: RelayAddress = format!("https://{name}").parse().expect("an address");
    let store = SqliteStore::open(SqliteOptions::file(place.join(name)).inline()).expect("a store");
    let relay = Relay::new(Arc::new(store), RelayConfig::open(address.name().clone()), world.now());
    world.network.put_relay(&address, relay);
    address
}

/// Inboxes and chains that a relay has.
fn holdings(place: &Path, relay: &RelayAddress) -> (i64, i64) {
    let store = Connection::open(place.join(relay.name().as_str())).expect("the relay's store");
    let count = |table| {
        store.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("a table of the relay's")
    };
    (count("inbox"), count("chain"))
}

/// Alice at two relays, of which bob reads at the second; letters and an invite are under way.
async fn stage(seed: u64, place: &Path) -> (World, [RelayAddress; 2], Person, Person) {
    let world = World::seeded(seed);
    let relays = ["one.example", "two.example"].map(|name| add_relay(&world, name, place));
    let alice = world.person("alice", &relays).await.expect("alice begins");
    let bob = world.person("bob", &relays[1..]).await.expect("bob begins");
    world.introduce(&alice, &bob).await.expect("they meet");
    alice.messenger.invite(InviteOptions::default()).await.expect("an invite");
    alice.catch_up().await.expect("it is published");
    bob.say("alice", "too late").await.expect("he says it");
    bob.catch_up().await.expect("it leaves");
    (world, relays, alice, bob)
}

/// Nothing of the profile is left, and another can be made in its place.
async fn is_gone(world: &World, directory: &Path, secrets: &MemorySecrets, relay: &RelayAddress) {
    assert!(!directory.exists());
    assert_eq!(secrets.list(), Ok(Vec::new()));
    assert_eq!(code(Messenger::open(world.world(secrets), directory).await), "no_profile");
    let profile = NewProfile::named("alice again", std::slice::from_ref(relay));
    let again = Messenger::create(world.world(secrets), directory, profile).await.expect("it begins anew");
    again.shut_down();
}

fn code<T>(answer: Result<T, Error>) -> &'static str {
    answer.err().map_or("none", |error| error.code())
}

#[tokio::test(start_paused = true)]
async fn a_deleted_account_leaves_nothing_at_its_relays_in_its_keystore_and_on_its_disk() {
    let place = tempfile::tempdir().unwrap();
    let (world, relays, alice, bob) = stage(2_800, place.path()).await;
    assert_eq!(holdings(place.path(), &relays[0]), (1, 4), "her inbox, her two lists and those of two invites");
    let deleted = alice.messenger.delete_account(PATIENCE).await.unwrap();
    assert_eq!((&deleted.told[..], &deleted.not_told[..], deleted.has_other_devices), (&relays[..], &[][..], false));
    assert_eq!(holdings(place.path(), &relays[0]), (0, 0));
    assert_eq!(holdings(place.path(), &relays[1]), (1, 2), "what is left is bob's");
    assert_eq!(code(alice.messenger.account().await), "shut_down");
    is_gone(&world, alice.directory(), &alice.secrets, &relays[0]).await;
    let said = bob.say("alice", "to nobody").await.unwrap();
    bob.catch_up().await.unwrap();
    assert!(bob.messenger.message(said.number).await.is_ok(), "his own is his");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_away_is_named_and_can_be_told_later() {
    let place = tempfile::tempdir().unwrap();
    let (world, relays, alice, bob) = stage(2_801, place.path()).await;
    world.network.set_down(&relays[0], true);
    let deleted = alice.messenger.delete_at_relays(PATIENCE).await.unwrap();
    assert_eq!(deleted.told, relays[1..]);
    assert_eq!(deleted.not_told, [(relays[0].clone(), "relay_unreachable")]);
    // It is over: nothing leaves, and what was deleted is not made again, by a later process neither.
    let to = bob.messenger.account().await.unwrap().id;
    assert_eq!(code(alice.messenger.send_text(to, "no".to_owned()).await), "device_replaced");
    world.network.set_down(&relays[0], false);
    let alice = world.reopen(alice).await.unwrap();
    world.wait(Duration::from_secs(7 * 24 * 3600)).await;
    assert_eq!(code(alice.catch_up().await), "device_replaced");
    assert_eq!(holdings(place.path(), &relays[1]), (1, 2));
    assert_eq!(alice.messenger.contacts().await.unwrap().len(), 1, "it can still be read");
    let deleted = alice.messenger.delete_at_relays(PATIENCE).await.unwrap();
    assert_eq!((&deleted.told[..], deleted.not_told.len()), (&relays[..], 0), "{deleted:?}");
    assert_eq!(holdings(place.path(), &relays[0]), (0, 0));
    alice.messenger.delete_account(AT_ONCE).await.unwrap();
    is_gone(&world, alice.directory(), &alice.secrets, &relays[0]).await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_never_answers_keeps_nobody_from_deleting() {
    let place = tempfile::tempdir().unwrap();
    let (world, relays, alice, _bob) = stage(2_802, place.path()).await;
    world.network.meddle(Some(Box::new(|call| match call.path {
        path::INBOX_DELETE | path::CHAIN_DELETE => Fate::Late(1_000 * PATIENCE),
        _ => Fate::Passes,
    })));
    let began = world.now();
    let deleted = alice.messenger.delete_account(PATIENCE).await.unwrap();
    assert!(world.now().since(began) <= PATIENCE);
    assert_eq!(deleted.not_told.len(), 2, "{deleted:?}");
    assert!(deleted.not_told.iter().all(|(_, code)| *code == "relay_timed_out"));
    world.network.meddle(None);
    is_gone(&world, alice.directory(), &alice.secrets, &relays[0]).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_deletes_at_once_asks_no_relay_whether_it_runs_or_pauses() {
    let place = tempfile::tempdir().unwrap();
    for pauses in [false, true] {
        let (world, relays, alice, _bob) = stage(2_803, place.path()).await;
        for relay in &relays {
            world.network.set_down(relay, true);
        }
        if pauses {
            alice.messenger.pause().await;
        }
        let calls = world.network.traffic().len();
        let began = world.now();
        let deleted = alice.messenger.delete_account(AT_ONCE).await.unwrap();
        assert!(deleted.told.is_empty());
        assert_eq!(deleted.not_told.len(), if pauses { 0 } else { 2 }, "what is closed cannot be looked into");
        assert_eq!((world.now(), world.network.traffic().len()), (began, calls));
        world.network.set_down(&relays[0], false);
        is_gone(&world, alice.directory(), &alice.secrets, &relays[0]).await;
        for relay in &relays {
            std::fs::remove_file(place.path().join(relay.name().as_str())).unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_keystore_that_is_locked_keeps_the_profile_whole() {
    let place = tempfile::tempdir().unwrap();
    let (world, _, alice, bob) = stage(2_804, place.path()).await;
    alice.secrets.fail_with(Some(SecretStoreError::Locked));
    let error = alice.messenger.delete_account(AT_ONCE).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("keystore_locked", true));
    assert_eq!(code(Messenger::wipe(&alice.secrets, alice.directory())), "keystore_locked");
    alice.secrets.fail_with(None);
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["too late"]);
    alice.messenger.delete_account(PATIENCE).await.unwrap();
    assert!(!alice.directory().exists());
}

#[tokio::test(start_paused = true)]
async fn a_copy_deletes_itself_and_nothing_of_the_one_that_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let (world, relays, alice, bob) = stage(2_805, place.path()).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    let copy = world.back_up(&alice);
    alice.messenger.resume().await.unwrap();
    let before = relays.each_ref().map(|relay| holdings(place.path(), relay));
    let secrets = alice.secrets.copy();
    world.network.meddle(Some(Box::new(|call| if call.path == path::CHAIN_READ { Fate::Lost } else { Fate::Passes })));
    let copy = world.restore(copy, secrets.clone()).await.unwrap();
    assert_eq!(code(copy.messenger.delete_at_relays(PATIENCE).await), "rolled_back");
    let deleted = copy.messenger.delete_account(PATIENCE).await.unwrap();
    assert!(deleted.told.is_empty() && deleted.not_told.iter().all(|(_, code)| *code == "rolled_back"));
    assert_eq!(secrets.list(), Ok(Vec::new()));
    assert_eq!(relays.each_ref().map(|relay| holdings(place.path(), relay)), before);
    world.network.meddle(None);
    bob.say("alice", "to the one that goes on").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["too late", "to the one that goes on"]);
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_is_not_open_is_wiped_and_what_is_not_its_own_stays() {
    let place = tempfile::tempdir().unwrap();
    let (world, relays, alice, _bob) = stage(2_806, place.path()).await;
    // Another has it open: the keys go all the same, and it is known that the files are left.
    assert_eq!(code(Messenger::wipe(&alice.secrets, alice.directory())), "profile_in_use");
    assert_eq!(alice.secrets.list(), Ok(Vec::new()));
    alice.messenger.shut_down();
    assert_eq!(code(Messenger::open(world.world(&alice.secrets), alice.directory()).await), "wrong_key");
    let photo = alice.directory().join("photo.jpg");
    std::fs::write(&photo, "not ours").unwrap();
    Messenger::wipe(&alice.secrets, alice.directory()).unwrap();
    assert_eq!(alice.files(), [photo.as_path()]);
    std::fs::remove_file(photo).unwrap();
    // Once more, with an empty directory and without one.
    Messenger::wipe(&alice.secrets, alice.directory()).unwrap();
    Messenger::wipe(&alice.secrets, alice.directory()).unwrap();
    is_gone(&world, alice.directory(), &alice.secrets, &relays[0]).await;
}

#[tokio::test(start_paused = true)]
async fn an_account_with_another_device_says_so_and_that_one_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let (world, relays, alice, bob) = stage(2_807, place.path()).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    let second = world.second_device(&alice).await.unwrap();
    world.settle(&[&alice, &second, &bob]).await.unwrap();
    let deleted = alice.messenger.delete_account(PATIENCE).await.unwrap();
    assert!(deleted.has_other_devices && deleted.told == relays, "{deleted:?}");
    world.wait(Duration::from_secs(2 * 3600)).await;
    world.settle(&[&second, &bob]).await.unwrap();
    bob.say("alice", "to the other one").await.unwrap();
    world.settle(&[&bob, &second]).await.unwrap();
    assert_eq!(second.transcript("bob").await.unwrap().last().map(String::as_str), Some("to the other one"));
}
