//! Making an account, and finding contacts by what people type: nobody takes anybody's place.

use std::sync::Arc;
use std::time::Duration;

use sotto_core::records::ContactState;
use sotto_core::world::{SecretStore as _, SecretStoreError};
use sotto_core::{InviteOptions, Messenger, NewProfile};
use sotto_protocol::RelayAddress;
use sotto_protocol::request::path;
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{InboxPolicy, Relay, RelayConfig};
use sotto_sim::{MemorySecrets, Person, World};

/// A name is at most as long as an id in hex, and then some.
async fn meet(world: &World, alice: &Person, relay: &RelayAddress, name: &str, auto_accept: bool) -> Person {
    let person = world.person(name, std::slice::from_ref(relay)).await.expect("somebody begins");
    let options = InviteOptions { auto_accept, ..InviteOptions::default() };
    let invite = alice.messenger.invite(options).await.expect("an invite is made");
    alice.catch_up().await.expect("its tokens are put");
    person.messenger.join(&invite.link).await.expect("the link works");
    world.settle(&[&person, alice]).await.expect("they meet");
    person
}

async fn id(person: &Person) -> String {
    person.messenger.account().await.expect("there is one").id.to_string()
}

async fn found(person: &Person, who: &str) -> Result<String, &'static str> {
    person.contact(who).await.map(|contact| contact.id.to_string()).map_err(|error| error.code())
}

#[tokio::test(start_paused = true)]
async fn a_contact_called_like_anothers_id_never_takes_their_place() {
    let (world, relay, alice, bob) = World::contacts(60).await;
    let bob_id = id(&bob).await;
    let whole = meet(&world, &alice, &relay, &bob_id, true).await;
    assert_eq!(found(&alice, &bob_id).await, Ok(bob_id.clone()), "a whole id means the account");
    assert_eq!(found(&alice, &bob_id.to_uppercase()).await, Ok(bob_id.clone()));
    assert_eq!(found(&alice, &id(&whole).await).await, Ok(id(&whole).await));
    meet(&world, &alice, &relay, &bob_id[..12], true).await;
    assert_eq!(found(&alice, &bob_id[..12]).await, Err("ambiguous"));
    assert_eq!(found(&alice, &bob_id[..13]).await, Ok(bob_id.clone()), "more of the id tells them apart");
    let nobody = "ab".repeat(32);
    meet(&world, &alice, &relay, &nobody, true).await;
    assert_eq!(found(&alice, &nobody).await, Err("not_found"), "nobody has that id, whoever is called so");
}

#[tokio::test(start_paused = true)]
async fn somebody_who_only_asks_does_not_stand_beside_a_contact_of_that_name() {
    let (world, relay, alice, bob) = World::contacts(61).await;
    let bob_id = id(&bob).await;
    let asking = meet(&world, &alice, &relay, "bob", false).await;
    assert_eq!(found(&alice, "bob").await, Ok(bob_id.clone()));
    assert_eq!(found(&alice, &id(&asking).await[..12]).await, Ok(id(&asking).await), "an id is nobody's choice");
    meet(&world, &alice, &relay, "bob", true).await;
    assert_eq!(found(&alice, "bob").await, Err("ambiguous"));
    // A contact named like the shown beginning of a requester's id cannot be accepted, blocked or removed in their place.
    meet(&world, &alice, &relay, &id(&asking).await[..12], true).await;
    assert_eq!(found(&alice, &id(&asking).await[..12]).await, Err("ambiguous"));
}

#[tokio::test(start_paused = true)]
async fn what_a_removed_contact_said_can_be_read() {
    let (world, _, alice, bob) = World::contacts(62).await;
    bob.say("alice", "remember me").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let contact = alice.contact("bob").await.unwrap();
    alice.messenger.remove(contact.id).await.unwrap();
    let removed = alice.contact("bob").await.unwrap();
    assert_eq!((removed.id, removed.state), (contact.id, ContactState::Removed));
    assert_eq!(alice.transcript("bob").await.unwrap(), ["remember me"]);
    assert_eq!(alice.say("bob", "no").await.unwrap_err().code(), "not_found");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_cannot_be_made_leaves_nothing_and_can_be_made_later() {
    let world = World::seeded(63);
    let relay = world.network.add_relay("relay.example");
    let directory = tempfile::tempdir().unwrap();
    let secrets = MemorySecrets::default();
    let profile = NewProfile::named("alice", std::slice::from_ref(&relay));
    let create = || Messenger::create(world.world(&secrets), directory.path(), profile.clone());
    let files = || {
        let entries = std::fs::read_dir(directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
    };
    world.network.set_down(&relay, true);
    assert_eq!(create().await.map(drop).unwrap_err().code(), "relay_unreachable");
    world.network.set_down(&relay, false);
    secrets.fail_with(Some(SecretStoreError::Locked));
    assert_eq!(create().await.map(drop).unwrap_err().code(), "keystore_locked");
    secrets.fail_with(None);
    assert_eq!(files(), ["lock"]);
    assert!(secrets.list().unwrap().is_empty());
    // The keys are put, and then there is no room for the database.
    std::fs::create_dir(directory.path().join("sotto.db.new")).unwrap();
    assert_eq!(create().await.map(drop).unwrap_err().code(), "database_failed");
    assert!(secrets.list().unwrap().is_empty(), "keys of no database");
    std::fs::remove_dir(directory.path().join("sotto.db.new")).unwrap();
    // As a device leaves it that died in the middle.
    std::fs::write(directory.path().join("sotto.db.new"), "half a database").unwrap();
    assert_eq!(
        Messenger::open(world.world(&secrets), directory.path()).await.map(drop).unwrap_err().code(),
        "no_profile"
    );
    let alice = create().await.unwrap();
    alice.catch_up(std::time::Duration::from_secs(60)).await.unwrap();
    assert!(!directory.path().join("sotto.db.new").exists());
}

#[tokio::test(start_paused = true)]
async fn a_second_attempt_to_make_an_account_undoes_nothing_of_the_first() {
    let world = World::seeded(64);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let before = alice.secrets.copy();
    let profile = NewProfile::named("eve", std::slice::from_ref(&relay));
    let create = || Messenger::create(world.world(&alice.secrets), alice.directory(), profile.clone());
    assert_eq!(create().await.map(drop).unwrap_err().code(), "profile_in_use");
    alice.messenger.shut_down();
    assert_eq!(create().await.map(drop).unwrap_err().code(), "profile_exists");
    for name in before.list().unwrap() {
        assert_eq!(alice.secrets.get(&name).unwrap(), before.get(&name).unwrap(), "{name}");
    }
    let alice = world.reopen(alice).await.unwrap();
    assert_eq!(alice.messenger.account().await.unwrap().name, "alice");
}

#[tokio::test(start_paused = true)]
async fn of_two_who_make_an_account_at_once_one_gets_it_and_the_other_is_told() {
    let world = World::seeded(65);
    let relay = world.network.add_relay("relay.example");
    let directory = tempfile::tempdir().unwrap();
    let secrets = MemorySecrets::default();
    let create = |name| {
        Messenger::create(
            world.world(&secrets),
            directory.path(),
            NewProfile::named(name, std::slice::from_ref(&relay)),
        )
    };
    let (one, other) = tokio::join!(create("alice"), create("bob"));
    assert_eq!(other.map(drop).unwrap_err().code(), "profile_in_use");
    let one = one.unwrap();
    one.catch_up(std::time::Duration::from_secs(60)).await.unwrap();
    one.shut_down();
    let again = Messenger::open(world.world(&secrets), directory.path()).await.unwrap();
    assert_eq!(again.account().await.unwrap().name, "alice");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_asks_for_a_code_and_for_work_gets_both() {
    let world = World::seeded(66);
    let address: RelayAddress = "https://relay.example".parse().unwrap();
    let store = SqliteStore::open(SqliteOptions::memory()).unwrap();
    let config = RelayConfig {
        inbox_policy: InboxPolicy::Code(vec!["north-by-north-west".to_owned()]),
        proof_of_work_bits: 8,
        ..RelayConfig::open(address.name().clone())
    };
    world.network.put_relay(&address, Relay::new(Arc::new(store), config, world.now()));
    let secrets = MemorySecrets::default();
    let directory = tempfile::tempdir().unwrap();
    let create = |codes: &[&str]| {
        let relay_codes = codes.iter().map(|&code| code.to_owned()).collect();
        let profile = NewProfile { relay_codes, ..NewProfile::named("alice", std::slice::from_ref(&address)) };
        Messenger::create(world.world(&secrets), directory.path(), profile)
    };
    assert_eq!(create(&[]).await.map(drop).unwrap_err().code(), "relay_asks_for_code");
    assert_eq!(create(&["south"]).await.map(drop).unwrap_err().code(), "relay_refused");
    assert_eq!(create(&["a", "b"]).await.map(drop).unwrap_err().code(), "out_of_range");
    let alice = create(&["north-by-north-west"]).await.unwrap();
    let caught_up = alice.catch_up(std::time::Duration::from_secs(60)).await.unwrap();
    assert!(caught_up.is_complete, "{caught_up:?}");
}

#[tokio::test(start_paused = true)]
async fn catching_up_tells_of_letters_that_wait_for_a_contacts_relay() {
    let world = World::seeded(67);
    let [one, two] = ["one.example", "two.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", std::slice::from_ref(&one)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&two)).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.network.set_down(&two, true);
    alice.say("bob", "wait for it").await.unwrap();
    let caught_up = alice.catch_up().await.unwrap();
    assert_eq!((caught_up.waiting, caught_up.is_complete), (1, false));
    assert_eq!(caught_up.unreachable, [(two.clone(), "relay_unreachable")]);
    world.network.set_down(&two, false);
    let caught_up = alice.catch_up().await.unwrap();
    assert_eq!((caught_up.waiting, caught_up.is_complete), (0, true));
}

#[tokio::test(start_paused = true)]
async fn b1_an_account_is_dated_by_its_relay_and_not_made_where_the_clocks_are_more_than_a_day_apart() {
    const HOUR: Duration = Duration::from_secs(3600);
    let world = World::seeded(312);
    let relay = world.network.add_relay("relay.example");
    world.network.set_clocks_ahead(25 * HOUR);
    let refused = world.person("alice", std::slice::from_ref(&relay)).await.map(drop).unwrap_err();
    assert!(refused.code() == "clocks_apart" && refused.is_retryable());
    let created = || world.network.traffic().iter().filter(|call| call.path == path::INBOX_CREATE).count();
    assert_eq!(created(), 1, "the call that the relay refused: nothing was made there");
    world.network.set_clocks_ahead(23 * HOUR);
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    assert_eq!(created(), 3);
    let now = i64::try_from(world.now().after(23 * HOUR).as_ms()).unwrap();
    for date in ["SELECT issued_at FROM account", "SELECT added_at FROM own_device", "SELECT created_at FROM kem_key"] {
        assert_eq!(alice.database().number(date), now, "{date}");
    }
}
