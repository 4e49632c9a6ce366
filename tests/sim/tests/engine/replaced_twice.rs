//! A device that is replaced twice before somebody reads of the first time: whoever knew it follows to the last one, and nothing that was for
//! it is lost (PROTOCOL H2).

use std::time::Duration;

use sotto_core::records::{KeyChange, MessageState};
use sotto_sim::{Backup, Person, World};

use super::devices::two_devices;
use super::rebirth::{notices, rest};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A copy comes in the place of the device that it was, goes on behind a copy of its own, is lost, and that one comes in its place.
async fn replaced_twice(world: &World, copy: Backup) -> Person {
    let first = copy.database().blobs("SELECT device FROM account").remove(0);
    let secrets = copy.secrets.copy();
    let second = world.restore(copy, secrets).await.expect("it opens");
    second.catch_up().await.expect("it comes in the place of the first");
    let between = second.messenger.account().await.expect("it reads").device;
    let copy = world.back_up(&second);
    // The keystore has seen more.
    let second = world.reopen(second).await.expect("it opens");
    let second = world.reopen(second).await.expect("it opens");
    second.messenger.shut_down();
    let third = world.restore(copy, second.secrets.clone()).await.expect("it opens");
    third.catch_up().await.expect("it comes in the place of the second");
    let last = third.messenger.account().await.expect("it reads").device;
    assert!(first != between.as_bytes() && between != last);
    third
}

/// Somebody says something to alice that she has in the copy, something that she confirms behind it, and something that she never gets.
async fn copied_between(world: &World, alice: &Person, by: &Person, to: &str) -> Backup {
    by.say(to, "in the copy").await.expect("they speak");
    rest(world, &[by, alice]).await;
    let copy = world.back_up(alice);
    by.say(to, "behind the copy").await.expect("they speak");
    rest(world, &[by, alice]).await;
    alice.say("bob", "by which it is confirmed").await.expect("they speak");
    rest(world, &[alice, by]).await;
    // Their list is read behind that.
    world.wait(DAY + DAY / 12).await;
    by.say(to, "read behind it").await.expect("they speak");
    rest(world, &[by, alice]).await;
    alice.messenger.shut_down();
    by.say(to, "on its way").await.expect("they speak");
    by.catch_up().await.expect("it leaves");
    by.messenger.shut_down();
    copy
}

const SAID: [&str; 4] = ["in the copy", "behind the copy", "read behind it", "on its way"];

#[tokio::test(start_paused = true)]
async fn h2_a_contact_who_was_away_while_a_device_was_replaced_twice_follows_to_the_last() {
    let (world, _, alice, bob) = World::contacts(1470).await;
    let copy = copied_between(&world, &alice, &bob, "alice").await;
    let alice = replaced_twice(&world, copy).await;
    world.wait(2 * DAY).await;
    let bob = world.reopen(bob).await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    assert_eq!(alice.transcript("bob").await.unwrap(), SAID, "each once, in order");
    bob.say("alice", "to the last").await.unwrap();
    alice.say("bob", "from the last").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    for (person, with) in [(&alice, "bob"), (&bob, "alice")] {
        let said = person.transcript(with).await.unwrap();
        assert!(["to the last", "from the last"].iter().all(|text| said.iter().any(|known| known == text)), "{said:?}");
    }
    assert_eq!(
        notices(&bob, "alice").await,
        [KeyChange::Replaced],
        "he is told once, and of no device that he never knew"
    );
    let id = alice.messenger.account().await.unwrap().id;
    let messages = bob.messenger.messages(id, None, 100).await.unwrap();
    let on_its_way = messages.iter().find(|message| message.text == "on its way").unwrap();
    assert_eq!(on_its_way.state, MessageState::Delivered);
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 1"), 1);
    assert_eq!(bob.database().number("SELECT trust FROM contact"), 0);
}

#[tokio::test(start_paused = true)]
async fn h2_a_sibling_that_was_away_while_a_device_was_replaced_twice_follows_to_the_last() {
    let (world, alice, tablet, bob) = two_devices(1471).await;
    let copy = copied_between(&world, &alice, &tablet, "bob").await;
    bob.catch_up().await.unwrap();
    let alice = replaced_twice(&world, copy).await;
    world.wait(2 * DAY).await;
    let tablet = world.reopen(tablet).await.unwrap();
    rest(&world, &[&tablet, &alice, &bob]).await;
    rest(&world, &[&tablet, &alice, &bob]).await;
    let mut said = alice.transcript("bob").await.unwrap();
    said.retain(|text| SAID.contains(&&**text));
    assert_eq!(said, SAID, "each once, in order");
    tablet.say("bob", "by the tablet").await.unwrap();
    alice.say("bob", "by the last").await.unwrap();
    rest(&world, &[&tablet, &alice, &bob]).await;
    world.wait(2 * DAY).await;
    bob.say("alice", "to both").await.unwrap();
    rest(&world, &[&bob, &tablet, &alice]).await;
    for (person, with) in [(&alice, "bob"), (&tablet, "bob"), (&bob, "alice")] {
        let said = person.transcript(with).await.unwrap();
        for text in ["by the tablet", "by the last", "to both"] {
            assert_eq!(said.iter().filter(|known| *known == text).count(), 1, "{text}: {said:?}");
        }
    }
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 1"), 2);
    assert_eq!(tablet.database().number("SELECT count(*) FROM peer_device WHERE contact = 0 AND listed = 1"), 1);
    let head = |device: &Person| device.database().blobs("SELECT hash FROM contact WHERE id = 0");
    assert_eq!(head(&alice), head(&tablet), "both know one list");
}

#[tokio::test(start_paused = true)]
async fn h2_a_sibling_that_comes_from_a_copy_of_before_follows_to_the_last_of_a_device_that_was_replaced_twice() {
    let (world, alice, tablet, bob) = two_devices(1472).await;
    let copy = world.back_up(&alice);
    bob.say("alice", "behind the copy").await.unwrap();
    rest(&world, &[&bob, &alice, &tablet]).await;
    alice.messenger.shut_down();
    tablet.say("bob", "nobody confirms this").await.unwrap();
    tablet.catch_up().await.unwrap();
    // It reads their list behind that, is copied, and goes on.
    world.wait(2 * DAY).await;
    let copy_of_tablet = world.back_up(&tablet);
    let tablet = world.reopen(tablet).await.unwrap();
    let tablet = world.reopen(tablet).await.unwrap();
    tablet.messenger.shut_down();
    let alice = replaced_twice(&world, copy).await;
    let tablet = world.restore(copy_of_tablet, tablet.secrets.clone()).await.unwrap();
    rest(&world, &[&tablet, &alice, &bob]).await;
    rest(&world, &[&tablet, &alice, &bob]).await;
    let said = alice.transcript("bob").await.unwrap();
    for text in ["behind the copy", "nobody confirms this"] {
        assert_eq!(said.iter().filter(|known| *known == text).count(), 1, "{text}: {said:?}");
    }
    let successions = "SELECT count(*) FROM peer_device WHERE contact = 0 AND predecessor IS NOT NULL";
    assert_eq!(tablet.database().number(successions), 2, "it knows who came in whose place");
}
