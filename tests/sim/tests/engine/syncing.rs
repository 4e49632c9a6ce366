//! What several devices of one account share of a contact: whatever happens on them at once, all hold the same in the end, and reach them.

use std::time::Duration;

use sotto_core::records::{Kind, Missing};

use sotto_protocol::AccountId;
use sotto_sim::{HeldPost, Person, World};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice with two devices, and bob, who knows both.
async fn two_devices(seed: u64) -> (World, Person, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    let tablet = world.second_device(&alice).await.expect("it begins");
    world.settle(&[&tablet, &alice, &bob]).await.expect("they settle");
    world.wait(2 * DAY).await;
    bob.say("alice", "hello").await.expect("they speak");
    world.settle(&[&bob, &alice, &tablet, &bob]).await.expect("they settle");
    (world, alice, tablet, bob)
}

async fn id(person: &Person) -> AccountId {
    person.messenger.account().await.expect("it reads").id
}

#[tokio::test(start_paused = true)]
async fn e6_what_another_device_said_and_cannot_bring_any_more_is_shown_as_missing() {
    let (world, alice, tablet, bob) = two_devices(1338).await;
    let post = HeldPost::begin(&world.network);
    alice.say("bob", "lost on the way").await.unwrap();
    alice.catch_up().await.unwrap();
    post.end(&world.network);
    alice.say("bob", "not lost").await.unwrap();
    world.settle(&[&alice, &tablet]).await.unwrap();
    alice.messenger.shut_down();
    tablet.database().change("UPDATE peer_device SET asks = 44");
    world.wait(2 * MINUTE).await;
    assert_eq!(tablet.transcript("bob").await.unwrap(), ["hello", "not lost"]);
    let notes = tablet.messenger.messages(id(&tablet).await, None, 10).await.unwrap();
    assert_eq!(notes.last().map(|note| note.kind), Some(Kind::Missing(Missing::Unanswered)), "nobody knows to whom");
    drop(bob);
}
