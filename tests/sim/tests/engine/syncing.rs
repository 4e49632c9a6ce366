//! What several devices of one account share of a contact: whatever happens on them at once, all hold the same in the end, and reach them.

use std::time::Duration;

use sotto_core::records::{ContactState, Kind, Missing};
use sotto_core::{InviteOptions, danger};
use sotto_protocol::AccountId;
use sotto_sim::{HeldPost, Person, World};

use super::devices::two_devices;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn id(person: &Person) -> AccountId {
    person.messenger.account().await.expect("it reads").id
}

/// Somebody else at the same relay.
async fn another(world: &World, alice: &Person, name: &str) -> Person {
    let relay = alice.messenger.account().await.expect("it reads").relays[0].clone();
    world.person(name, std::slice::from_ref(&relay)).await.expect("they begin")
}

/// Whatever one of them says is heard by the other, on every device.
async fn speak(world: &World, devices: &[&Person; 2], bob: &Person) {
    devices[0].say("bob", "from the phone").await.expect("it is queued");
    devices[1].say("bob", "from the tablet").await.expect("it is queued");
    bob.say("alice", "to both").await.expect("it is queued");
    world.settle(&[devices[0], devices[1], bob]).await.expect("they settle");
    for (person, with) in [(devices[0], "bob"), (devices[1], "bob"), (bob, "alice")] {
        let said = person.transcript(with).await.expect("it reads");
        for text in ["from the phone", "from the tablet", "to both"] {
            assert!(said.iter().any(|other| other == text), "{with}: {text} is not in {said:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_was_removed_on_one_device_and_kept_by_a_later_word_of_another_reaches_both() {
    let (world, alice, tablet, bob) = two_devices(1330).await;
    let bob_id = id(&bob).await;
    alice.messenger.remove(bob_id).await.unwrap();
    for name in ["Rob", "Robbie", "bob"] {
        tablet.messenger.rename(bob_id, Some(name.to_owned())).await.unwrap();
    }
    world.settle(&[&alice, &tablet, &alice]).await.unwrap();
    for device in [&alice, &tablet] {
        assert_eq!(device.contact("bob").await.unwrap().state, ContactState::Accepted);
        let tokens = "SELECT count(*) FROM alias WHERE purpose = 1 AND contact = 1 AND dropped = 0";
        assert_eq!(device.database().number(tokens), 1);
    }
    speak(&world, &[&alice, &tablet], &bob).await;
}

#[tokio::test(start_paused = true)]
async fn c1_what_another_device_says_of_a_contact_brings_no_pair_secret_of_before_back() {
    let (world, alice, tablet, bob) = two_devices(1331).await;
    let (alice_id, bob_id) = (id(&alice).await, id(&bob).await);
    // What the tablet says is under way for long.
    let post = HeldPost::begin(&world.network);
    for name in ["Rob", "Robbie", "bob"] {
        tablet.messenger.rename(bob_id, Some(name.to_owned())).await.unwrap();
    }
    tablet.catch_up().await.unwrap();
    tablet.messenger.shut_down();
    let letters = post.take();
    post.end(&world.network);
    assert!(!letters.is_empty());
    bob.messenger.remove(alice_id).await.unwrap();
    bob.catch_up().await.unwrap();
    let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
    let invite = alice.messenger.invite(options).await.unwrap();
    alice.catch_up().await.unwrap();
    bob.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let secret = |person: &Person| person.database().blobs("SELECT pair_secret FROM contact WHERE id = 1");
    assert_eq!(secret(&alice), secret(&bob));
    for letter in &letters {
        assert!(world.network.put(letter).await);
    }
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(secret(&alice), secret(&bob), "it is of no change of the name what both share");
    let tablet = world.reopen(tablet).await.unwrap();
    world.settle(&[&tablet, &alice, &bob, &tablet]).await.unwrap();
    assert_eq!(secret(&tablet), secret(&bob));
    assert_eq!(alice.messenger.contacts().await.unwrap()[0].name, "bob", "the last name of the tablet is hers");
    speak(&world, &[&alice, &tablet], &bob).await;
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_that_replaced_itself_hears_of_every_contact_from_the_others() {
    let (world, alice, tablet, bob) = two_devices(1332).await;
    let copy = world.back_up(&tablet);
    let carol = another(&world, &alice, "carol").await;
    world.introduce(&alice, &carol).await.unwrap();
    alice.messenger.block(id(&bob).await).await.unwrap();
    world.settle(&[&alice, &tablet]).await.unwrap();
    // The tablet confirms all that it has heard, and then something waits for it.
    world.wait(2 * DAY).await;
    world.settle(&[&tablet, &alice]).await.unwrap();
    tablet.messenger.shut_down();
    alice.say("carol", "a letter that waits").await.unwrap();
    alice.catch_up().await.unwrap();
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    world.settle(&[&restored, &alice, &carol, &restored]).await.unwrap();
    world.wait(2 * DAY).await;
    world.settle(&[&restored, &alice, &carol, &restored]).await.unwrap();
    assert_eq!(alice.database().number("SELECT count(*) FROM peer_device WHERE contact = 0"), 2, "it is another one");
    assert_eq!(restored.messenger.contacts().await.unwrap(), alice.messenger.contacts().await.unwrap());
    assert!(restored.transcript("carol").await.unwrap().iter().any(|text| text == "a letter that waits"));
}

#[tokio::test(start_paused = true)]
async fn what_became_of_contacts_while_a_device_was_linked_stays_so() {
    for seed in 1333..1335 {
        let (world, _, alice, bob) = World::contacts(seed).await;
        let (carol, dave) = (another(&world, &alice, "carol").await, another(&world, &alice, "dave").await);
        for friend in [&carol, &dave] {
            world.introduce(&alice, friend).await.unwrap();
        }
        danger::expect_siblings(&alice.messenger).await.unwrap();
        alice.catch_up().await.unwrap();
        let copy = world.back_up(&alice);
        alice.messenger.remove(id(&bob).await).await.unwrap();
        alice.messenger.block(id(&carol).await).await.unwrap();
        alice.messenger.rename(id(&dave).await, Some("David".to_owned())).await.unwrap();
        alice.catch_up().await.unwrap();
        let tablet = world.open_beside(copy).await.unwrap();
        world.settle(&[&tablet, &alice, &tablet]).await.unwrap();
        world.wait(MINUTE).await;
        world.settle(&[&tablet, &alice, &tablet]).await.unwrap();
        for device in [&alice, &tablet] {
            let contacts = device.messenger.contacts().await.unwrap();
            let names: Vec<_> = contacts.iter().map(|contact| (contact.name.as_str(), contact.blocked)).collect();
            assert_eq!(names, [("David", false), ("carol", true)], "seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn b4_the_chain_of_a_request_that_another_device_has_the_answer_to_shows_no_fork() {
    let (world, _, alice, _bob) = World::contacts(1336).await;
    let carol = another(&world, &alice, "carol").await;
    // Lists that are signed in one millisecond are one list.
    world.wait(MINUTE).await;
    let invite = carol.messenger.invite(InviteOptions::default()).await.unwrap();
    carol.catch_up().await.unwrap();
    alice.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&alice, &carol]).await.unwrap();
    let tablet = world.second_device(&alice).await.unwrap();
    world.settle(&[&tablet, &alice]).await.unwrap();
    carol.messenger.accept(id(&alice).await).await.unwrap();
    world.settle(&[&carol, &alice, &tablet, &carol]).await.unwrap();
    for text in ["one", "two"] {
        carol.say("alice", text).await.unwrap();
        world.settle(&[&carol, &alice, &tablet, &carol]).await.unwrap();
    }
    for device in [&alice, &tablet] {
        assert_eq!(device.transcript("carol").await.unwrap(), ["one", "two"]);
        assert_eq!(device.database().number("SELECT max(trust) FROM contact"), 0, "she has one history");
    }
    tablet.say("carol", "three").await.unwrap();
    world.settle(&[&tablet, &carol]).await.unwrap();
    assert_eq!(carol.transcript("alice").await.unwrap(), ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn b5_another_name_on_one_device_makes_the_others_read_nothing() {
    let (world, alice, tablet, bob) = two_devices(1337).await;
    let read = |device: &Person| device.database().number("SELECT manifest_read_at FROM contact WHERE id = 1");
    alice.say("bob", "for which his list is read").await.unwrap();
    world.settle(&[&alice, &tablet, &bob]).await.unwrap();
    let before = read(&alice);
    tablet.messenger.rename(id(&bob).await, Some("Robert".to_owned())).await.unwrap();
    world.settle(&[&tablet, &alice]).await.unwrap();
    assert_eq!(alice.contact("Robert").await.unwrap().own_name, "bob");
    assert_eq!(read(&alice), before, "his list is as good as it was");
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

#[tokio::test(start_paused = true)]
async fn a_version_that_leaves_none_to_the_others_is_not_heeded() {
    let (world, alice, tablet, bob) = two_devices(1339).await;
    let bob_id = id(&bob).await;
    for poison in ["sync_version = 1 << 40", "sync_version = 20, pair_version = 1 << 40"] {
        tablet.database().change(&format!("UPDATE contact SET {poison} WHERE id = 1"));
        tablet.messenger.rename(bob_id, Some("nobody".to_owned())).await.unwrap();
        world.settle(&[&tablet, &alice]).await.unwrap();
        assert_eq!(alice.messenger.contacts().await.unwrap()[0].name, "bob");
        assert!(alice.database().number("SELECT max(sync_version, pair_version) FROM contact WHERE id = 1") < 20);
    }
}
