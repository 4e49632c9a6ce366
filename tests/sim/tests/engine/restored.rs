//! A database that is an older copy is told from one that was killed, and its ratchets never move.

use sotto_core::{Messenger, danger};
use sotto_sim::World;

#[tokio::test(start_paused = true)]
async fn h1_an_old_copy_of_the_files_is_rolled_back() {
    let (world, _, alice, bob) = World::contacts(50).await;
    let old = world.back_up(&alice);
    alice.say("bob", "after the copy").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let alice = world.reopen(alice).await.unwrap();
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.shut_down();
    let envelopes = world.network.envelopes().len();
    let error = world.restore(old, alice.secrets.clone()).await.map(drop).unwrap_err();
    assert_eq!(error.code(), "rolled_back");
    assert_eq!(world.network.envelopes().len(), envelopes, "nothing is sent");
}

#[tokio::test(start_paused = true)]
async fn h1_an_old_copy_of_files_and_keystore_together_is_found_out_by_the_relay() {
    let (world, _, alice, bob) = World::contacts(51).await;
    let old = world.back_up(&alice);
    bob.say("alice", "after the copy").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.messenger.shut_down();
    let secrets = old.secrets.copy();
    let alice = world.restore(old, secrets).await.unwrap();
    let before = world.network.envelopes().len();
    assert_eq!(alice.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
    let _ = alice.say("bob", "with an old ratchet").await;
    let _ = alice.catch_up().await;
    world.wait(std::time::Duration::from_secs(3600)).await;
    assert_eq!(world.network.envelopes().len(), before, "no ratchet moves");
}

#[tokio::test(start_paused = true)]
async fn h1_a_crash_between_the_database_and_the_keystore_is_no_rollback() {
    let (world, _, alice, bob) = World::contacts(52).await;
    alice.messenger.shut_down();
    let secrets_before = alice.secrets.copy();
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.shut_down();
    // The database has committed the next generation, and the keystore never heard of it.
    let torn = world.back_up(&alice);
    let alice = world.restore(torn, secrets_before).await.unwrap();
    alice.say("bob", "still me").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["still me"]);
}

#[tokio::test(start_paused = true)]
async fn h1_a_copy_from_between_a_crash_and_the_next_opening_is_rolled_back() {
    let (world, _, alice, _bob) = World::contacts(56).await;
    alice.messenger.shut_down();
    let secrets_before = alice.secrets.copy();
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.shut_down();
    // The database is one ahead of its keystore, is copied, and goes on.
    let (torn, copy) = (world.back_up(&alice), world.back_up(&alice));
    let alice = world.restore(torn, secrets_before).await.unwrap();
    alice.say("bob", "a ratchet steps").await.unwrap();
    alice.messenger.shut_down();
    let error = match world.restore(copy, alice.secrets.copy()).await {
        Ok(alice) => alice.catch_up().await.map(drop).unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.code(), "rolled_back");
}

#[tokio::test(start_paused = true)]
async fn h1_a_kill_at_any_write_of_a_receive_is_no_rollback() {
    let (world, _, mut alice, bob) = World::contacts(53).await;
    world.network.lose_acks(true);
    for step in 1..6 {
        danger::fail_writes_from(&alice.messenger, step);
        bob.say("alice", &format!("{step}")).await.unwrap();
        bob.catch_up().await.unwrap();
        alice = world.reopen(alice).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    assert_eq!(alice.transcript("bob").await.unwrap(), ["1", "2", "3", "4", "5"]);
}

#[tokio::test(start_paused = true)]
async fn h1_a_locked_keystore_is_not_an_absent_one() {
    use sotto_core::world::SecretStoreError;
    let (world, _, alice, bob) = World::contacts(54).await;
    alice.secrets.fail_with(Some(SecretStoreError::Locked));
    alice.messenger.shut_down();
    let copy = world.back_up(&alice);
    let error = world.restore(copy, alice.secrets.clone()).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("keystore_locked", true));
    alice.secrets.fail_with(None);
    let alice = world.reopen(alice).await.unwrap();
    alice.say("bob", "unlocked").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["unlocked"]);
}

#[tokio::test(start_paused = true)]
async fn h1_a_keystore_that_fails_at_two_openings_is_no_rollback() {
    let (world, _, alice, bob) = World::contacts(55).await;
    alice.messenger.shut_down();
    let secrets = alice.secrets.clone();
    let copy = world.back_up(&alice);
    // Three times the database is opened and the keystore does not keep what it is told.
    secrets.keep_nothing_new(true);
    for _ in 0..3 {
        let error = Messenger::open(world.world(&secrets), copy.directory()).await.map(drop).unwrap_err();
        assert_eq!(error.code(), "keystore_failed");
    }
    secrets.keep_nothing_new(false);
    let alice = world.restore(copy, secrets).await.unwrap();
    alice.say("bob", "still me").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["still me"]);
}
