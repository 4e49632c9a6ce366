//! A device that is new beside the others of its account: what it shows of itself, what it says, and what it leaves to them.

use std::time::Duration;

use sotto_core::danger;
use sotto_protocol::request::path;
use sotto_sim::{Fate, Traffic, World};

use super::devices::two_devices;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Messages that a device has sent, or will send, to the device of somebody's that it heard of last.
const FOR_THE_LAST: &str = "SELECT count(*) FROM outbox WHERE message IS NOT NULL AND peer_device = (SELECT max(id) FROM peer_device WHERE contact = 1)";

#[tokio::test(start_paused = true)]
async fn what_was_said_before_a_device_was_linked_it_leaves_to_the_one_that_said_it() {
    let (world, _, alice, bob) = World::contacts(1360).await;
    world.wait(2 * DAY).await;
    alice.say("bob", "for which his list is read").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    alice.say("bob", "on the phone, alone").await.unwrap();
    danger::expect_siblings(&alice.messenger).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let copy = world.back_up(&alice);
    alice.messenger.shut_down();
    let desktop = world.second_device(&bob).await.unwrap();
    let tablet = world.open_beside(copy).await.unwrap();
    world.settle(&[&tablet, &desktop, &bob]).await.unwrap();
    assert_eq!(tablet.database().number("SELECT count(*) FROM peer_device WHERE contact = 1 AND listed = 1"), 2);
    assert_eq!(tablet.database().number(FOR_THE_LAST), 0);
    let alice = world.reopen(alice).await.unwrap();
    world.settle(&[&alice, &tablet, &desktop, &bob]).await.unwrap();
    assert_eq!(alice.database().number(FOR_THE_LAST), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_device_says_before_it_knows_of_a_new_one_comes_to_that_one_by_it() {
    let (world, home, alice, bob) = World::contacts(1364).await;
    let own = alice.messenger.account().await.unwrap().id;
    alice.messenger.send_text(own, "in the copy".to_owned()).await.unwrap();
    danger::expect_siblings(&alice.messenger).await.unwrap();
    alice.catch_up().await.unwrap();
    let copy = world.back_up(&alice);
    alice.messenger.shut_down();
    let tablet = world.open_beside(copy).await.unwrap();
    world.network.set_down(&home, true);
    let alice = world.reopen(alice).await.unwrap();
    alice.say("bob", "to bob").await.unwrap();
    alice.messenger.send_text(own, "to herself".to_owned()).await.unwrap();
    assert_eq!(alice.database().number("SELECT count(*) FROM peer_device WHERE contact = 0"), 0);
    world.network.set_down(&home, false);
    world.settle(&[&alice, &tablet, &bob]).await.unwrap();
    assert_eq!(tablet.transcript("bob").await.unwrap(), ["to bob"]);
    let notes = tablet.messenger.messages(own, None, 10).await.unwrap();
    assert_eq!(notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>(), ["in the copy", "to herself"]);
}

#[tokio::test(start_paused = true)]
async fn h2_what_a_copy_says_before_it_knows_of_a_new_device_comes_to_that_one_once_it_is_another() {
    let (world, home, alice, bob) = World::contacts(1367).await;
    danger::expect_siblings(&alice.messenger).await.unwrap();
    alice.catch_up().await.unwrap();
    let (beside, copy) = (world.back_up(&alice), world.back_up(&alice));
    alice.messenger.shut_down();
    let tablet = world.open_beside(beside).await.unwrap();
    let alice = world.reopen(alice).await.unwrap();
    world.settle(&[&alice, &tablet, &bob]).await.unwrap();
    alice.messenger.shut_down();
    world.network.set_down(&home, true);
    let alice = world.restore(copy, alice.secrets.clone()).await.unwrap();
    alice.say("bob", "to bob").await.unwrap();
    assert_eq!(alice.database().number("SELECT count(*) FROM peer_device WHERE contact = 0"), 0);
    world.network.set_down(&home, false);
    world.wait(DAY / 24).await;
    world.settle(&[&alice, &tablet, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["to bob"]);
    assert_eq!(tablet.transcript("bob").await.unwrap(), ["to bob"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_device_has_nothing_to_say_to_whoever_is_blocked() {
    let (world, _, alice, bob) = World::contacts(1361).await;
    alice.messenger.block(bob.messenger.account().await.unwrap().id).await.unwrap();
    let tablet = world.second_device(&alice).await.unwrap();
    assert_eq!(tablet.catch_up().await.unwrap().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_device_that_cannot_show_itself_to_a_contact_gives_up_when_its_next_letter_will() {
    let world = World::seeded(1362);
    let (one, two) = (world.network.add_relay("one.example"), world.network.add_relay("two.example"));
    let alice = world.person("alice", std::slice::from_ref(&one)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&two)).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.network.set_down(&two, true);
    let tablet = world.second_device(&alice).await.unwrap();
    assert_eq!(tablet.catch_up().await.unwrap().waiting, 1);
    bob.messenger.shut_down();
    let [alice, tablet] = world.switched_off([alice, tablet], 38 * DAY).await.unwrap();
    world.wait(DAY / 12).await;
    assert_eq!(tablet.catch_up().await.unwrap().waiting, 0);
    drop(alice);
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_in_the_place_of_a_sibling_gets_nothing_again_that_its_copy_has() {
    let (world, alice, tablet, bob) = two_devices(1363).await;
    alice.say("bob", "in the copy").await.unwrap();
    world.settle(&[&alice, &tablet, &bob]).await.unwrap();
    tablet.say("bob", "by which it is confirmed").await.unwrap();
    world.settle(&[&tablet, &alice, &bob]).await.unwrap();
    let copy = world.back_up(&tablet);
    alice.say("bob", "behind the copy").await.unwrap();
    world.settle(&[&alice, &tablet, &bob]).await.unwrap();
    tablet.messenger.shut_down();
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    world.settle(&[&restored, &alice, &bob, &restored]).await.unwrap();
    assert!(restored.transcript("bob").await.unwrap().contains(&"behind the copy".to_owned()));
    let again = "SELECT count(*) FROM outbox JOIN message ON message.id = outbox.message WHERE text = 'in the copy'
                 AND outbox.peer_device = (SELECT max(id) FROM peer_device WHERE contact = 0)";
    assert_eq!(alice.database().number(again), 0);
    // Nobody is told of contacts who is of the account no more, also where that was never done.
    alice.database().change("UPDATE peer_device SET handed_over = 0 WHERE contact = 0");
    restored.messenger.add_relay(world.network.add_relay("other.example"), String::new()).await.unwrap();
    restored.say("bob", "by which the list is read").await.unwrap();
    world.settle(&[&restored, &alice]).await.unwrap();
    world.wait(DAY + DAY / 12).await;
    let told = |listed: u8| {
        format!(
            "SELECT count(*) FROM outbox JOIN peer_device ON peer_device.id = outbox.peer_device
                 WHERE contact = 0 AND listed = {listed} AND message IS NULL AND state <= 2"
        )
    };
    assert_eq!(alice.database().number(&told(0)), 0);
    assert_eq!(alice.database().number("SELECT handed_over FROM peer_device WHERE contact = 0 AND listed = 1"), 1);
    let left = "SELECT handed_over FROM peer_device WHERE contact = 0 AND listed = 0";
    assert_eq!(alice.database().number(left), 0, "it is told when it comes back");
}

#[tokio::test(start_paused = true)]
async fn a_new_device_is_told_of_every_contact_once_and_no_contact_of_any() {
    let (world, alice, tablet, bob) = two_devices(1365).await;
    let told = "SELECT count(*) FROM outbox JOIN peer_device ON peer_device.id = outbox.peer_device
                WHERE contact = 0 AND message IS NULL";
    let before = alice.database().number(told);
    assert!(before > 0);
    // Each time that the account's list is read.
    alice.database().change("UPDATE contact SET manifest_read_at = 0 WHERE id = 0");
    world.wait(DAY / 12).await;
    world.settle(&[&alice, &tablet, &bob]).await.unwrap();
    assert_eq!(alice.database().number(told), before);
    assert_eq!(bob.refused("content_misplaced"), 0, "{:?}", bob.refusals());
}

#[tokio::test(start_paused = true)]
async fn b4_a_device_whose_first_list_another_followed_before_it_heard_that_it_stands_speaks() {
    let (world, _, alice, bob) = World::contacts(1368).await;
    danger::expect_siblings(&alice.messenger).await.unwrap();
    alice.catch_up().await.unwrap();
    let copy = world.back_up(&alice);
    world.network.delay_answers(path::CHAIN_APPEND, DAY);
    let tablet = world.open_beside(copy).await.unwrap();
    tablet.messenger.shut_down();
    world.network.delay_answers(path::CHAIN_APPEND, Duration::ZERO);
    // Hers names it, and is renewed behind that.
    let [alice, bob] = world.switched_off([alice, bob], 8 * DAY).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let tablet = world.reopen(tablet).await.unwrap();
    tablet.say("bob", "on the tablet").await.unwrap();
    world.settle(&[&alice, &tablet, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["on the tablet"]);
    assert_eq!(alice.transcript("bob").await.unwrap(), ["on the tablet"]);
}

#[tokio::test(start_paused = true)]
async fn b4_a_device_that_no_list_names_yet_says_nothing_whatever_list_it_reads() {
    let (world, _, alice, bob) = World::contacts(1369).await;
    danger::expect_siblings(&alice.messenger).await.unwrap();
    alice.catch_up().await.unwrap();
    let copy = world.back_up(&alice);
    alice.messenger.shut_down();
    bob.messenger.shut_down();
    let loses_lists = |call: &Traffic| if call.path == path::CHAIN_APPEND { Fate::Lost } else { Fate::Passes };
    world.network.meddle(Some(Box::new(loses_lists)));
    let sent = world.network.envelopes().len();
    let tablet = world.open_beside(copy).await.unwrap();
    tablet.say("bob", "not before").await.unwrap();
    world.wait(2 * DAY).await;
    let reads = world.network.traffic().iter().filter(|call| call.path == path::CHAIN_READ).count();
    assert!(reads > 0);
    assert_eq!(world.network.envelopes().len(), sent);
    world.network.meddle(None);
    world.wait(DAY).await;
    let bob = world.reopen(bob).await.unwrap();
    world.settle(&[&tablet, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["not before"]);
}
