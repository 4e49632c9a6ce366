//! A rolled-back or cloned device becomes another device of its account, and the first to do so wins (PROTOCOL H2).

use std::time::Duration;

use sotto_core::danger;
use sotto_sim::{Backup, Person, World};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice and bob have talked, then a copy of alice was made, and then they have talked on: what she got since is acknowledged.
async fn outlived_copy(seed: u64) -> (World, Backup, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    alice.say("bob", "before the copy").await.expect("they speak");
    world.settle(&[&alice, &bob]).await.expect("they settle");
    let copy = world.back_up(&alice);
    bob.say("alice", "after it").await.expect("they speak");
    world.settle(&[&bob, &alice]).await.expect("they settle");
    (world, copy, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn h2_a_restored_profile_becomes_another_device_and_goes_on() {
    let (world, copy, alice, bob) = outlived_copy(1200).await;
    let (before, inboxes) = (alice.messenger.account().await.unwrap(), alice.inboxes());
    alice.messenger.shut_down();
    let alice = world.restore(copy, alice.secrets.clone()).await.unwrap();
    alice.say("bob", "queued meanwhile").await.unwrap();
    alice.catch_up().await.unwrap();
    let after = alice.messenger.account().await.unwrap();
    assert_eq!((after.id, &after.name, &after.relays), (before.id, &before.name, &before.relays));
    assert_ne!(after.device, before.device);
    assert!(alice.inboxes().iter().all(|inbox| !inboxes.contains(inbox)));
    world.settle(&[&bob, &alice]).await.unwrap();
    // Bob has read her new list by then.
    world.wait(Duration::from_secs(60)).await;
    bob.say("alice", "to the new one").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.say("bob", "from it").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let said = bob.transcript("alice").await.unwrap();
    assert_eq!(said, ["before the copy", "after it", "queued meanwhile", "to the new one", "from it"]);
    assert_eq!(alice.database().number("SELECT count(*) FROM former_inbox"), 0, "deleted at their relay");
    // Nothing of it is left to be done, and it is no copy any more.
    let alice = world.reopen(alice).await.unwrap();
    let again = alice.messenger.account().await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(again.device, after.device);
    assert_eq!(alice.database().number("SELECT count(*) FROM relay_task"), 0);
}

#[tokio::test(start_paused = true)]
async fn h2_a_copied_database_becomes_one_more_device_beside_the_one_that_it_was() {
    let (world, copy, alice, bob) = outlived_copy(1201).await;
    let secrets = copy.secrets.copy();
    let beside = danger::open_beside(world.world(&secrets), copy.directory()).await.unwrap();
    beside.catch_up(DAY).await.unwrap();
    let (first, second) = (alice.messenger.account().await.unwrap(), beside.account().await.unwrap());
    assert_eq!(first.id, second.id);
    assert_ne!(first.device, second.device);
    // Whoever reads their list sees both, and what is said now goes to both.
    world.wait(2 * DAY).await;
    bob.say("alice", "for which he reads her list").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    bob.say("alice", "to both").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    beside.catch_up(DAY).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), "to both");
    let bob_id = bob.messenger.account().await.unwrap().id;
    let messages = beside.messages(bob_id, None, 100).await.unwrap();
    assert_eq!(messages.last().map(|message| &*message.text), Some("to both"));
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 1"), 2);
}
