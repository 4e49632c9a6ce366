//! Who learns what of messages (DESIGN 7, "Receipts"): the table of `receipts.rs`, row by row, strangers and blocked contacts first; and how far
//! messages are, on every device of whoever said them.

use std::time::Duration;

use sotto_core::danger;
use sotto_core::records::{Chats, Message, MessageState};
use sotto_crypto::letter::Content;
use sotto_protocol::{MessageId, RelayAddress};
use sotto_sim::{Envelope, HeldPost, Person, World, hex};

use crate::rebirth::rest;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(start_paused = true)]
async fn very_much_is_read_in_portions_and_what_was_read_when_it_died_stays_read() {
    const MANY: i64 = 300;
    let (world, _, alice, bob) = World::contacts(1350).await;
    for number in 0..MANY {
        bob.clock.tick();
        bob.say("alice", &number.to_string()).await.unwrap();
    }
    rest(&world, &[&bob, &alice]).await;
    assert_eq!(i64::from(unread(&alice).await), MANY);
    let bobs = alice.contact("bob").await.unwrap().id;
    // Behind the writes of the first portion, and before those of the last.
    danger::fail_writes_from(&alice.messenger, 550);
    alice.messenger.mark_all_read(bobs).await.unwrap_err();
    let alice = world.reopen(alice).await.unwrap();
    let left = i64::from(unread(&alice).await);
    assert!((1..MANY).contains(&left), "{left} are unread");
    assert_eq!(alice.database().number("SELECT count(*) FROM message WHERE unread = 1"), left);
    alice.messenger.mark_all_read(bobs).await.unwrap();
    assert_eq!((unread(&alice).await, alice.messenger.first_unread(bobs).await.unwrap()), (0, None));
}

async fn page(person: &Person, with: &str) -> Vec<Message> {
    let contact = person.contact(with).await.expect("they know each other");
    let mut page = person.messenger.messages(contact.id, None, 100).await.expect("a page");
    page.retain(|message| !message.text.is_empty());
    page
}

async fn states(person: &Person, with: &str) -> Vec<MessageState> {
    page(person, with).await.iter().map(|message| message.state).collect()
}

/// Everything here of somebody's was on the screen.
async fn look_at(person: &Person, with: &str) {
    let shown = page(person, with).await.iter().map(|message| message.number).collect();
    person.messenger.mark_read(shown).await.expect("it is read");
}

/// Receipts that are to be told, wait to leave, or have left.
fn given(person: &Person) -> i64 {
    let receipts = Content::Receipts(vec![MessageId::from_bytes([0; 16])]).encode().expect("a content");
    // Its field, which no other content begins with.
    let field = hex(&receipts[..2]);
    let waiting = "SELECT count(*) FROM to_tell WHERE about = 1";
    let left = format!("SELECT count(*) FROM outbox WHERE substr(content, 1, 2) = x'{field}'");
    person.database().number(waiting) + person.database().number(&left)
}

fn is_for(letter: &Envelope, person: &Person) -> bool {
    let own = "SELECT inbox FROM own_inbox WHERE owner_key_sealed IS NOT NULL";
    person.database().blobs(own).contains(&letter.inbox.as_ref().to_vec())
}

async fn unread(person: &Person) -> u32 {
    let chats = person.messenger.conversations(Chats::Main, None, 100).await.expect("a list");
    chats.iter().map(|chat| chat.unread).sum()
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_asks_learns_nothing() {
    let world = World::seeded(1700);
    let relay = world.network.add_relay("relay");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    let link = alice.messenger.invite(sotto_core::InviteOptions::default()).await.unwrap().link;
    alice.catch_up().await.unwrap();
    bob.messenger.join(&link).await.unwrap();
    bob.catch_up().await.unwrap();
    let post = HeldPost::begin(&world.network);
    world.wait(DAY * 2).await;
    alice.catch_up().await.unwrap();
    assert_eq!(alice.messenger.contacts().await.unwrap().len(), 1, "she has the request");
    assert!(!post.take().iter().any(|letter| is_for(letter, &bob)), "and nothing left for him");
}

#[tokio::test(start_paused = true)]
async fn somebody_blocked_removed_or_with_two_lists_learns_nothing() {
    for case in ["blocked", "removed", "two lists", "blocked before it leaves"] {
        let (world, _, alice, bob) = World::contacts(1701).await;
        bob.say("alice", "hello").await.unwrap();
        rest(&world, &[&bob, &alice]).await;
        let bobs = alice.contact("bob").await.unwrap().id;
        let shown: Vec<i64> = page(&alice, "bob").await.iter().map(|message| message.number).collect();
        match case {
            "blocked" => alice.messenger.block(bobs).await.unwrap(),
            "removed" => alice.messenger.remove(bobs).await.unwrap(),
            "two lists" => alice.database().change("UPDATE contact SET trust = 1"),
            _ => {}
        }
        alice.messenger.mark_read(shown).await.unwrap();
        if case == "blocked before it leaves" {
            assert_eq!(given(&alice), 1);
            alice.messenger.block(bobs).await.unwrap();
        }
        world.wait(Duration::from_secs(60)).await;
        assert_eq!(given(&alice), 0, "{case}");
        assert_eq!(unread(&alice).await, 0, "it is read here all the same");
        rest(&world, &[&alice, &bob]).await;
        assert!(states(&bob, "alice").await != [MessageState::Read], "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_learns_anything_while_receipts_are_switched_off_nor_later() {
    let (world, _, alice, bob) = World::contacts(1702).await;
    assert!(alice.messenger.receipts().await.unwrap(), "they are given until somebody says otherwise");
    bob.say("alice", "one").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    alice.messenger.set_receipts(false).await.unwrap();
    look_at(&alice, "bob").await;
    alice.messenger.set_receipts(true).await.unwrap();
    bob.say("alice", "two").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    look_at(&alice, "bob").await;
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(states(&bob, "alice").await, [MessageState::Delivered, MessageState::Read]);
    // Switched off before they leave.
    bob.say("alice", "three").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    look_at(&alice, "bob").await;
    alice.messenger.set_receipts(false).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    world.wait(DAY).await;
    assert!(states(&bob, "alice").await[2] != MessageState::Read);
}

/// Each at a relay of their own.
async fn apart(seed: u64) -> (World, RelayAddress, Person, Person) {
    let world = World::seeded(seed);
    let [hers, his] = ["hers.example", "his.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &[hers]).await.expect("alice begins");
    let bob = world.person("bob", std::slice::from_ref(&his)).await.expect("bob begins");
    world.introduce(&alice, &bob).await.expect("they meet");
    (world, his, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_no_relay_has_taken_leaves_no_more_once_somebody_is_blocked_or_receipts_are_switched_off() {
    for (case, on_another_device) in [("blocked", false), ("off", false), ("blocked", true), ("off", true)] {
        let (world, his, alice, bob) = apart(1708).await;
        let tablet = world.second_device(&alice).await.unwrap();
        rest(&world, &[&alice, &tablet, &bob]).await;
        bob.say("alice", "hello").await.unwrap();
        rest(&world, &[&bob, &alice, &tablet]).await;
        world.network.set_down(&his, true);
        look_at(&alice, "bob").await;
        alice.say("bob", "this one does").await.unwrap();
        world.wait(Duration::from_secs(10)).await;
        let queued = "SELECT count(*) FROM outbox WHERE state < 2 AND peer_device IN (SELECT id FROM peer_device WHERE contact != 0)";
        assert_eq!((given(&alice), alice.database().number(queued)), (1, 2), "both wait for his relay");
        let device = if on_another_device { &tablet } else { &alice };
        match case {
            "blocked" => device.messenger.block(alice.contact("bob").await.unwrap().id).await.unwrap(),
            _ => device.messenger.set_receipts(false).await.unwrap(),
        }
        // Hers works: her devices hear of each other.
        world.settle(&[&tablet, &alice]).await.unwrap();
        assert_eq!(given(&alice), 0, "{case}, {on_another_device}");
        world.network.set_down(&his, false);
        world.wait(Duration::from_secs(600)).await;
        rest(&world, &[&alice, &tablet, &bob]).await;
        assert!(states(&bob, "alice").await[0] != MessageState::Read, "{case}, {on_another_device}");
        let said = if case == "off" { 2 } else { 1 };
        assert_eq!(states(&bob, "alice").await.len(), said, "what was said waits for as long as he is blocked");
    }
}

#[tokio::test(start_paused = true)]
async fn a_contact_learns_what_was_shown_and_nothing_else() {
    let (world, _, alice, bob) = World::contacts(1703).await;
    for text in ["one", "two", "three"] {
        bob.say("alice", text).await.unwrap();
        rest(&world, &[&bob, &alice]).await;
    }
    assert_eq!(unread(&alice).await, 3);
    let bobs = alice.contact("bob").await.unwrap().id;
    let read = page(&alice, "bob").await;
    assert_eq!(unread(&alice).await, 3, "fetching is not reading");
    assert_eq!(alice.messenger.first_unread(bobs).await.unwrap().unwrap().text, "one");
    alice.messenger.mark_read(vec![read[1].number]).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    let state = states(&bob, "alice").await;
    assert_eq!(state, [MessageState::Delivered, MessageState::Read, MessageState::Delivered]);
    assert_eq!(alice.messenger.first_unread(bobs).await.unwrap().unwrap().text, "one");
    // Read without being shown.
    alice.messenger.mark_all_read(bobs).await.unwrap();
    assert_eq!((unread(&alice).await, alice.messenger.first_unread(bobs).await.unwrap()), (0, None));
    rest(&world, &[&alice, &bob]).await;
    world.wait(DAY).await;
    assert_eq!(states(&bob, "alice").await, state);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_together_is_one_letter_and_does_not_leave_at_that_moment() {
    let (world, _, alice, bob) = World::contacts(1704).await;
    for number in 0..20 {
        bob.say("alice", &format!("message {number}")).await.unwrap();
    }
    rest(&world, &[&bob, &alice]).await;
    let post = HeldPost::begin(&world.network);
    for message in page(&alice, "bob").await {
        alice.messenger.mark_read(vec![message.number]).await.unwrap();
    }
    world.wait(Duration::from_millis(900)).await;
    assert_eq!(post.take().len(), 0, "it says nothing of when exactly");
    world.wait(Duration::from_secs(6)).await;
    assert_eq!(post.take().len(), 1);
    post.end(&world.network);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_on_one_device_is_read_on_all_and_how_far_messages_are_all_show() {
    let (world, _, alice, bob) = World::contacts(1705).await;
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    alice.say("bob", "from the phone").await.unwrap();
    rest(&world, &[&alice, &tablet]).await;
    let on_tablet = states(&tablet, "bob").await;
    assert_eq!(on_tablet, states(&alice, "bob").await);
    assert_eq!(on_tablet, [MessageState::Sent], "and no further");
    bob.say("alice", "to both").await.unwrap();
    rest(&world, &[&bob, &alice, &tablet]).await;
    assert_eq!(states(&tablet, "bob").await, [MessageState::Delivered, MessageState::Received]);
    assert_eq!((unread(&alice).await, unread(&tablet).await), (1, 1));
    look_at(&tablet, "bob").await;
    rest(&world, &[&tablet, &alice, &bob]).await;
    assert_eq!((unread(&alice).await, unread(&tablet).await), (0, 0));
    assert_eq!(states(&bob, "alice").await[1], MessageState::Read);
    look_at(&bob, "alice").await;
    rest(&world, &[&bob, &alice, &tablet]).await;
    for device in [&alice, &tablet] {
        assert_eq!(states(device, "bob").await[0], MessageState::Read);
    }
    // Not shown is still read on all of ours.
    bob.say("alice", "unseen").await.unwrap();
    rest(&world, &[&bob, &alice, &tablet]).await;
    alice.messenger.mark_all_read(alice.contact("bob").await.unwrap().id).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    assert_eq!(unread(&tablet).await, 0);
    assert!(states(&bob, "alice").await[2] != MessageState::Read);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_or_told_before_a_message_came_counts_when_it_comes() {
    let (world, _, alice, bob) = World::contacts(1706).await;
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    // Bob's letter for the tablet is late, and so is what the phone has said to him.
    let post = HeldPost::begin(&world.network);
    bob.say("alice", "late on the tablet").await.unwrap();
    bob.catch_up().await.unwrap();
    let (late, letters): (Vec<_>, Vec<_>) = post.take().into_iter().partition(|letter| is_for(letter, &tablet));
    assert_eq!((late.len(), letters.len()), (1, 1));
    assert!(post.deliver(&world.network, &letters[0]).await);
    alice.catch_up().await.unwrap();
    // What the phone says to both leaves for Bob alone.
    look_at(&alice, "bob").await;
    alice.say("bob", "an answer").await.unwrap();
    alice.catch_up().await.unwrap();
    let (own, theirs): (Vec<_>, Vec<_>) = post.take().into_iter().partition(|letter| is_for(letter, &tablet));
    for letter in &theirs {
        assert!(post.deliver(&world.network, letter).await);
    }
    bob.catch_up().await.unwrap();
    look_at(&bob, "alice").await;
    bob.catch_up().await.unwrap();
    world.wait(Duration::from_secs(10)).await;
    let told = post.take();
    post.end(&world.network);
    // The last first: that it was read, and then what.
    let mut known = 0;
    for letter in told.iter().chain(own.iter().rev()).chain(&late) {
        assert!(world.network.put(letter).await);
        tablet.catch_up().await.unwrap();
        known = known.max(tablet.database().number("SELECT count(*) FROM deed WHERE kind IN (6, 7)"));
    }
    assert!(known >= 2, "both were known before: {known}");
    rest(&world, &[&bob, &alice, &tablet]).await;
    assert_eq!((unread(&alice).await, unread(&tablet).await), (0, 0));
    assert_eq!(states(&alice, "bob").await, states(&tablet, "bob").await);
    let waiting = "SELECT count(*) FROM deed WHERE kind IN (6, 7)";
    assert_eq!(tablet.database().number(waiting), 0, "nothing waits");
}

#[tokio::test(start_paused = true)]
async fn receipts_for_what_was_never_said_are_bounded() {
    let (world, _, alice, bob) = World::contacts(1707).await;
    for round in 0..6_u8 {
        let ids = (0..=255_u8).map(|id| MessageId::from_bytes([round, id, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]));
        let said = bob.say("alice", "something else").await.unwrap().number;
        let content = hex(&Content::Receipts(ids.collect()).encode().unwrap());
        bob.database().change(&format!("UPDATE message SET content = x'{content}' WHERE id = {said}"));
        bob.catch_up().await.unwrap();
    }
    rest(&world, &[&bob, &alice]).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM deed"), 1_024);
}
