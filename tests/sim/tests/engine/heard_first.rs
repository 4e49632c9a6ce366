//! A device that has come in another's place is heard before it is spoken to (PROTOCOL H2): what it asks for stands before what is new.

use std::time::Duration;

use sotto_sim::{Envelope, HeldPost, Person, World};

use crate::rebirth::rest;

/// Bob has read of the device in the place of alice's and speaks, before anything of hers has come. Returns what is on its way from her.
async fn spoken_to_before_it_speaks(seed: u64) -> (World, Person, Person, Vec<Envelope>) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    bob.say("alice", "before the copy").await.expect("it is done");
    rest(&world, &[&bob, &alice]).await;
    let copy = world.back_up(&alice);
    for what in ["one", "two"] {
        bob.say("alice", what).await.expect("it is done");
    }
    rest(&world, &[&bob, &alice]).await;
    alice.say("bob", "they came").await.expect("it is done");
    rest(&world, &[&alice, &bob]).await;
    alice.messenger.shut_down();
    let post = HeldPost::begin(&world.network);
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.expect("it is done");
    restored.catch_up().await.expect("it is done");
    let on_the_way = post.take();
    assert!(!on_the_way.is_empty());
    bob.database().change("UPDATE contact SET manifest_read_at = 0");
    bob.say("alice", "three").await.expect("it is done");
    bob.catch_up().await.expect("it is done");
    world.wait(Duration::from_secs(5 * 60)).await;
    assert_eq!(post.take().len(), 0, "it is about to say what it lacks");
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE predecessor IS NOT NULL"), 1);
    post.end(&world.network);
    (world, restored, bob, on_the_way)
}

#[tokio::test(start_paused = true)]
async fn h2_what_is_said_to_a_device_before_it_has_asked_stands_behind_what_it_asks_for() {
    let (world, restored, bob, on_the_way) = spoken_to_before_it_speaks(1231).await;
    for letter in &on_the_way {
        assert!(world.network.put(letter).await);
    }
    rest(&world, &[&bob, &restored]).await;
    let heard = restored.transcript("bob").await.unwrap();
    assert_eq!(heard, ["before the copy", "one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_that_does_not_speak_is_spoken_to_after_ten_minutes() {
    let (world, restored, _bob, _) = spoken_to_before_it_speaks(1232).await;
    world.wait(Duration::from_secs(6 * 60)).await;
    restored.catch_up().await.unwrap();
    assert_eq!(restored.transcript("bob").await.unwrap(), ["before the copy", "three"]);
}
