//! What people want to be seen as: the same on all their devices, told to contacts and to nobody else, and only its owner's latest word.

use std::time::Duration;

use sotto_core::records::Profile;
use sotto_core::{Error, InputError, InviteOptions};
use sotto_sim::{HeldPost, Person, World};

use crate::rebirth::rest;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn set(person: &Person, name: &str, status: &str) {
    let profile = Profile { name: name.to_owned(), status: status.to_owned() };
    person.messenger.set_profile(profile).await.expect("a profile");
}

/// Names and statuses of everybody whom somebody knows.
async fn seen(person: &Person) -> Vec<(String, String)> {
    let contacts = person.messenger.contacts().await.expect("contacts");
    contacts.into_iter().map(|contact| (contact.own_name, contact.status)).collect()
}

fn shown(name: &str, status: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), status.to_owned())]
}

/// Whether something leaves for somebody while it is done and a day passes.
async fn hears_of(world: &World, who: &Person, by: &Person, done: impl AsyncFnOnce()) -> bool {
    let post = HeldPost::begin(&world.network);
    done().await;
    by.catch_up().await.expect("it is on");
    world.wait(DAY).await;
    let boxes = who.inboxes();
    let letters = post.take();
    post.end(&world.network);
    letters.iter().any(|letter| boxes.contains(&letter.inbox.as_ref().to_vec()))
}

#[tokio::test(start_paused = true)]
async fn contacts_see_it_and_so_does_whoever_becomes_one_and_every_device_that_comes_later() {
    let (world, relay, alice, bob) = World::contacts(1900).await;
    set(&alice, "Alice L.", "on a train").await;
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(seen(&bob).await, shown("Alice L.", "on a train"));
    let own = alice.messenger.profile().await.unwrap();
    assert_eq!((own.name.as_str(), own.status.as_str()), ("Alice L.", "on a train"));
    // To set it again to what it is tells nobody anything.
    assert!(!hears_of(&world, &bob, &alice, async || set(&alice, "Alice L.", "on a train").await).await);

    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    let dave = world.person("dave", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&dave, &alice).await.unwrap();
    rest(&world, &[&alice, &carol, &dave]).await;
    assert_eq!(seen(&carol).await, shown("Alice L.", "on a train"), "who used her invite");
    assert_eq!(seen(&dave).await, shown("Alice L.", "on a train"), "whose invite she used");

    let tablet = world.second_device(&bob).await.unwrap();
    rest(&world, &[&alice, &bob, &tablet]).await;
    assert_eq!(seen(&tablet).await, shown("Alice L.", "on a train"));
    let slate = world.second_device(&alice).await.unwrap();
    rest(&world, &[&alice, &slate, &bob, &tablet]).await;
    let queued = "SELECT count(*) FROM outbox WHERE message IS NULL AND peer_device IN (SELECT id FROM peer_device WHERE contact != 0)";
    let before = slate.database().number(queued);
    set(&alice, "Alice", "").await;
    rest(&world, &[&alice, &slate, &bob, &tablet]).await;
    // Who learns of it from another device of theirs leaves the telling to that one.
    let untold = "SELECT count(*) FROM peer_device WHERE profile_untold = 1 AND listed = 1 AND contact != 0";
    assert_eq!(slate.database().number(untold), 0);
    assert_eq!(slate.database().number(queued), before);
    for device in [&bob, &tablet] {
        assert_eq!(seen(device).await, shown("Alice", ""));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_is_blocked_removed_or_has_shown_two_lists_hears_nothing_and_the_unblocked_hears_it_then() {
    for case in ["asks", "blocked", "removed", "two lists", "no device"] {
        let world = World::seeded(1901);
        let relay = world.network.add_relay("relay");
        let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
        let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
        if case == "asks" {
            let link = alice.messenger.invite(InviteOptions::default()).await.unwrap().link;
            alice.catch_up().await.unwrap();
            bob.messenger.join(&link).await.unwrap();
        } else {
            world.introduce(&alice, &bob).await.unwrap();
        }
        rest(&world, &[&bob, &alice]).await;
        world.wait(DAY).await;
        rest(&world, &[&bob, &alice]).await;
        let bobs = alice.contact("bob").await.unwrap().id;
        match case {
            "blocked" => alice.messenger.block(bobs).await.unwrap(),
            "removed" => alice.messenger.remove(bobs).await.unwrap(),
            "two lists" => alice.database().change("UPDATE contact SET trust = 1"),
            "no device" => alice.database().change("UPDATE peer_device SET listed = 0 WHERE contact != 0"),
            _ => {}
        }
        rest(&world, &[&alice, &bob]).await;
        assert!(!hears_of(&world, &bob, &alice, async || set(&alice, "Alice", "here").await).await, "{case}");
        // Not held back until then: they hear what it is by then.
        assert_eq!(alice.database().number("SELECT count(*) FROM outbox WHERE state < 2"), 0, "{case}");
        if case == "blocked" {
            alice.messenger.unblock(bobs).await.unwrap();
            world.wait(DAY).await;
            rest(&world, &[&alice, &bob]).await;
            assert_eq!(seen(&bob).await, shown("Alice", "here"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_has_not_heard_of_a_contacts_name_takes_it_from_no_other_that_has() {
    let (world, _, alice, bob) = World::contacts(1905).await;
    let tablet = world.second_device(&alice).await.unwrap();
    set(&bob, "Bob", "").await;
    rest(&world, &[&alice, &tablet, &bob]).await;
    set(&bob, "Robert", "").await;
    rest(&world, &[&alice, &bob]).await;
    let bobs = bob.messenger.account().await.unwrap().id;
    tablet.messenger.rename(bobs, Some("my brother".to_owned())).await.unwrap();
    rest(&world, &[&tablet, &alice]).await;
    let seen_here = alice.messenger.contacts().await.unwrap();
    assert_eq!(seen_here[0].name, "my brother");
    assert_eq!(seen(&alice).await, shown("Robert", ""));
    assert_eq!(seen(&tablet).await, shown("Robert", ""));
}

#[tokio::test(start_paused = true)]
async fn of_two_that_were_set_at_once_all_devices_and_all_contacts_see_the_same() {
    for (seed, order) in [(1902, [0, 1]), (1902, [1, 0])] {
        let (world, _, alice, bob) = World::contacts(seed).await;
        let tablet = world.second_device(&alice).await.unwrap();
        rest(&world, &[&alice, &tablet, &bob]).await;
        let devices = [&alice, &tablet];
        let post = HeldPost::begin(&world.network);
        set(&alice, "Alice", "at home").await;
        set(&tablet, "Alice", "at sea").await;
        for device in devices {
            device.catch_up().await.unwrap();
        }
        let letters = post.take();
        post.end(&world.network);
        assert!(letters.len() >= 4, "each has told the other one and bob");
        // What one of them has put comes to everybody before what the other has.
        let mut letters: Vec<_> = letters.into_iter().collect();
        if order == [1, 0] {
            letters.reverse();
        }
        for letter in &letters {
            assert!(world.network.put(letter).await);
        }
        rest(&world, &[&alice, &tablet, &bob]).await;
        let agreed = alice.messenger.profile().await.unwrap();
        assert_eq!(tablet.messenger.profile().await.unwrap(), agreed);
        assert_eq!(seen(&bob).await, shown(&agreed.name, &agreed.status));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_counts_from_a_device_that_is_listed_no_more_nor_a_version_that_leaves_none_to_come() {
    let (world, _, alice, bob) = World::contacts(1903).await;
    set(&alice, "Alice", "first").await;
    rest(&world, &[&alice, &bob]).await;
    let left_at = world.now().as_ms();
    bob.database().change(&format!("UPDATE peer_device SET listed = 0, heard_out = 1, left_at = {left_at}"));
    set(&alice, "Alice", "second").await;
    alice.say("bob", "of then").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(seen(&bob).await, shown("Alice", "first"));
    let heard = bob.transcript("Alice").await.unwrap();
    assert!(heard.iter().any(|line| line.contains("of then")), "it is heard: {heard:?}");
    bob.database().change("UPDATE peer_device SET listed = 1, heard_out = 0, left_at = NULL");
    alice.database().change("UPDATE setting SET version = version + 1048576 WHERE key = 19");
    set(&alice, "Alice", "third").await;
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(seen(&bob).await, shown("Alice", "first"));
    alice.database().change("UPDATE setting SET version = 3 WHERE key = 19");
    set(&alice, "Alice", "fourth").await;
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(seen(&bob).await, shown("Alice", "fourth"));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_be_called_is_refused_and_changes_nothing() {
    let (_, _, alice, _bob) = World::contacts(1904).await;
    let before = alice.messenger.profile().await.unwrap();
    let long = "s".repeat(513);
    for (name, status) in [("", "here"), ("two\nlines", ""), ("hid\u{200b}den", ""), ("Alice", long.as_str())] {
        let profile = Profile { name: name.to_owned(), status: status.to_owned() };
        let refused = alice.messenger.set_profile(profile).await.unwrap_err();
        assert!(matches!(refused, Error::Input(_)), "{name}");
    }
    let profile = Profile { name: "Alice".to_owned(), status: long };
    let too_long = InputError::TooLong { what: "the status", bytes_max: 512 };
    assert_eq!(alice.messenger.set_profile(profile).await.unwrap_err(), Error::Input(too_long));
    assert_eq!(alice.messenger.profile().await.unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn whoever_may_hear_it_later_hears_it_from_a_device_that_has_not_set_it() {
    let (world, _, alice, bob) = World::contacts(1906).await;
    set(&alice, "Alice", "before").await;
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    assert_eq!(seen(&bob).await, shown("Alice", "before"));
    let bobs = alice.contact("bob").await.unwrap().id;
    alice.messenger.block(bobs).await.unwrap();
    rest(&world, &[&alice, &tablet]).await;
    set(&alice, "Alice", "behind").await;
    rest(&world, &[&alice, &tablet]).await;
    // Nothing is heard of the device that has set it any more.
    alice.messenger.shut_down();
    tablet.messenger.unblock(bobs).await.unwrap();
    rest(&world, &[&tablet, &bob]).await;
    world.wait(DAY).await;
    rest(&world, &[&tablet, &bob]).await;
    assert_eq!(seen(&bob).await, shown("Alice", "behind"));
}
