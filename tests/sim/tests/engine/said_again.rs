//! What a device had beyond a hole when its copy was made is said again to the one in its place, with what fills the hole (PROTOCOL H2): all of
//! it stands in the order in which it was said.

use std::time::Duration;

use sotto_sim::{HeldPost, Person, World, hex};

use crate::rebirth::rest;

/// How what is said again comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comes {
    AtOnce,
    OneByOne,
}

/// A device in the place of alice's, which had these of four letters of bob's when the copy was made that it comes from, in this order.
async fn in_the_place_of_one_that_had(seed: u64, came: &[usize]) -> (World, Person, Person) {
    let (world, relay, alice, bob) = World::contacts(seed).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.expect("she begins");
    world.introduce(&alice, &carol).await.expect("they meet");
    alice.say("bob", "hers").await.expect("they speak");
    rest(&world, &[&alice, &bob]).await;
    let post = HeldPost::begin(&world.network);
    let mut letters = Vec::new();
    for number in 0..4 {
        bob.say("alice", &number.to_string()).await.expect("they speak");
        bob.catch_up().await.expect("they speak");
        letters.push(post.take().pop().expect("a letter"));
    }
    post.end(&world.network);
    for number in came {
        assert!(world.network.put(&letters[*number]).await);
        alice.catch_up().await.expect("they speak");
    }
    alice.say("bob", "hers, meanwhile").await.expect("she speaks");
    let copy = world.back_up(&alice);
    // What makes it a copy.
    carol.say("alice", "to the one before").await.expect("they speak");
    rest(&world, &[&carol, &alice]).await;
    alice.messenger.shut_down();
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.expect("it opens");
    (world, restored, bob)
}

/// All that bob says comes by itself, so that what fills a hole is for a while the last.
async fn comes_one_by_one(world: &World, restored: &Person, bob: &Person) {
    let post = HeldPost::begin(&world.network);
    for _ in 0..4 {
        for person in [restored, bob] {
            person.catch_up().await.expect("it catches up");
            for letter in post.take() {
                post.deliver(&world.network, &letter).await;
                restored.catch_up().await.expect("it catches up");
            }
        }
        world.wait(Duration::from_secs(90)).await;
    }
    post.end(&world.network);
}

/// All that was said stands there as it was said, and what is said next behind it.
async fn stands_in_order(seed: u64, came: &[usize], comes: Comes) {
    let (world, restored, bob) = in_the_place_of_one_that_had(seed, came).await;
    if comes == Comes::OneByOne {
        comes_one_by_one(&world, &restored, &bob).await;
    }
    rest(&world, &[&restored, &bob]).await;
    let mut said = vec!["hers", "0", "1", "2", "3", "hers, meanwhile"];
    assert_eq!(restored.transcript("bob").await.expect("it is there"), said);
    let last = "SELECT text FROM conversation JOIN message ON message.id = last_message JOIN contact ON contact.id = conversation.contact
                WHERE contact.name = 'bob'";
    assert_eq!(restored.database().texts(last), ["hers, meanwhile"]);
    bob.say("alice", "4").await.expect("it is there");
    rest(&world, &[&bob, &restored]).await;
    said.push("4");
    assert_eq!(restored.transcript("bob").await.expect("it is there"), said);
}

#[tokio::test(start_paused = true)]
async fn h2_what_fills_a_hole_that_a_copy_had_stands_before_what_was_there() {
    stands_in_order(1240, &[1, 2, 3], Comes::AtOnce).await;
    stands_in_order(1244, &[1, 2, 3], Comes::OneByOne).await;
}

#[tokio::test(start_paused = true)]
async fn h2_what_fills_several_holes_that_a_copy_had_stands_where_it_was_said() {
    stands_in_order(1241, &[3, 1], Comes::AtOnce).await;
}

#[tokio::test(start_paused = true)]
async fn h2_what_had_come_late_to_a_copy_stands_where_it_was_said() {
    stands_in_order(1242, &[0, 3, 1], Comes::AtOnce).await;
}

#[tokio::test(start_paused = true)]
async fn h2_who_says_old_messages_again_in_another_order_moves_none_of_them() {
    let (world, relay, alice, bob) = World::contacts(1243).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    let mut said = Vec::new();
    for (asked, answered) in [("keep?", "yes"), ("sell?", "no"), ("a notice", "noted")] {
        bob.say("alice", asked).await.unwrap();
        rest(&world, &[&bob, &alice]).await;
        alice.say("bob", answered).await.unwrap();
        rest(&world, &[&alice, &bob]).await;
        said.extend([asked, answered]);
    }
    let copy = world.back_up(&alice);
    carol.say("alice", "to the one before").await.unwrap();
    rest(&world, &[&carol, &alice]).await;
    alice.messenger.shut_down();
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    // As if it were a notice: those bear names that a contact's devices know.
    restored.database().change("UPDATE message SET kind = 5, cause = 1 WHERE text = 'a notice'");
    said.retain(|text| *text != "a notice");
    for asked in ["a notice", "sell?", "keep?"] {
        let id = hex(&bob.database().blobs(&format!("SELECT message_id FROM message WHERE text = '{asked}'"))[0]);
        bob.say("alice", "again").await.unwrap();
        bob.database().change(&format!("UPDATE outbox SET message_id = x'{id}' WHERE state = 0"));
        rest(&world, &[&bob, &restored]).await;
    }
    assert_eq!(restored.transcript("bob").await.unwrap(), said);
}
