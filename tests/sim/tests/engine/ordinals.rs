//! What is said stands at the time at which it was said, the same on all devices; and what one device says in the order in which it said it,
//! whichever letter comes first, whoever has come in whose place meanwhile, and whatever its clock shows (docs/protocol.md, "Where a message
//! stands"; PROTOCOL H2).

use std::time::Duration;

use sotto_core::records::Kind;
use sotto_sim::{Envelope, HeldPost, Person, World};

use crate::rebirth::rest;

/// Carol has something confirmed by alice, so that a copy of before is one.
async fn outlives(world: &World, alice: &Person, carol: &Person) {
    carol.say("alice", "to the one before").await.expect("they speak");
    rest(world, &[carol, alice]).await;
}

/// Ends a device, and opens a copy of it.
async fn restored(world: &World, device: Person, copy: sotto_sim::Backup) -> Person {
    device.messenger.shut_down();
    let secrets = device.secrets.clone();
    world.restore(copy, secrets).await.expect("it opens")
}

/// Says something whose letters are on the way for now.
async fn held(world: &World, from: &Person, to: &str, what: &[&str]) -> Vec<Envelope> {
    let post = HeldPost::begin(&world.network);
    let mut letters = Vec::new();
    for what in what {
        from.say(to, what).await.expect("they speak");
        from.catch_up().await.expect("they speak");
        letters.extend(post.take());
    }
    post.end(&world.network);
    letters
}

#[tokio::test(start_paused = true)]
async fn e4_messages_stand_in_the_order_in_which_they_were_said_whichever_comes_first() {
    let (world, _, alice, bob) = World::contacts(1250).await;
    let letters = held(&world, &alice, "bob", &["0", "1", "2", "3", "4"]).await;
    bob.say("alice", "meanwhile").await.unwrap();
    for number in [3, 1, 4, 0, 2] {
        assert!(world.network.put(&letters[number]).await);
        bob.catch_up().await.unwrap();
    }
    rest(&world, &[&bob, &alice]).await;
    for (person, with) in [(&bob, "alice"), (&alice, "bob")] {
        assert_eq!(person.transcript(with).await.unwrap(), ["0", "1", "2", "3", "4", "meanwhile"]);
        let last = "SELECT text FROM conversation JOIN message ON message.id = last_message";
        assert_eq!(person.database().texts(last), ["meanwhile"]);
    }
}

/// All that is said with somebody, with its positions.
async fn positions(person: &Person, with: &str) -> Vec<(String, i64)> {
    let contact = person.contact(with).await.expect("they know each other");
    let messages = person.messenger.messages(contact.id, None, 100).await.expect("they are read");
    let said = messages.into_iter().filter(|message| message.kind == Kind::Text);
    said.map(|message| (message.text, message.position)).collect()
}

#[tokio::test(start_paused = true)]
async fn all_devices_of_both_sides_show_one_order_whichever_letter_comes_first() {
    let (world, relay, alice, bob) = World::contacts(1264).await;
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&tablet, &alice, &bob]).await;
    for round in 0..3 {
        world.network.set_down(&relay, true);
        for (person, with, name) in [(&alice, "bob", "alice"), (&tablet, "bob", "tablet"), (&bob, "alice", "bob")] {
            person.say(with, &format!("{name} {round}")).await.unwrap();
        }
        world.network.set_down(&relay, false);
        // Another one is first each time.
        let mut people = [&alice, &bob, &tablet];
        people.rotate_left(round);
        rest(&world, &people).await;
    }
    let said = positions(&alice, "bob").await;
    let texts: Vec<_> = said.iter().map(|(text, _)| text.as_str()).collect();
    let expected: Vec<_> =
        (0..3).flat_map(|round| ["alice", "tablet", "bob"].map(|name| format!("{name} {round}"))).collect();
    assert_eq!(texts, expected);
    assert_eq!(positions(&tablet, "bob").await, said);
    assert_eq!(positions(&bob, "alice").await, said);
}

#[tokio::test(start_paused = true)]
async fn an_answer_stands_behind_what_it_answers_however_late_its_clock_is() {
    let (world, _, alice, bob) = World::contacts(1265).await;
    alice.say("bob", "what do you think?").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    world.network.set_clocks_behind(Duration::from_secs(3600));
    let bob = world.reopen(bob).await.unwrap();
    bob.clock.set_behind(Duration::from_secs(7200));
    bob.say("alice", "let us go").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    for (person, with) in [(&bob, "alice"), (&alice, "bob")] {
        assert_eq!(person.transcript(with).await.unwrap(), ["what do you think?", "let us go"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_wild_clock_has_dated_years_ahead_stands_no_later_than_it_came() {
    let (world, _, alice, bob) = World::contacts(1266).await;
    alice.say("bob", "in ten years").await.unwrap();
    alice.database().change("UPDATE outbox SET sent_at = sent_at + 315360000000 WHERE state = 0");
    rest(&world, &[&alice, &bob]).await;
    world.wait(Duration::from_secs(6 * 60)).await;
    bob.say("alice", "now").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["in ten years", "now"]);
    let ahead = "SELECT count(*) FROM message WHERE (position >> 20) > received_at + 300000";
    assert_eq!(bob.database().number(ahead), 0);
}

#[tokio::test(start_paused = true)]
async fn two_messages_of_one_time_and_alike_ids_are_both_found_page_by_page() {
    let (world, relay, alice, bob) = World::contacts(1269).await;
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&tablet, &alice, &bob]).await;
    world.network.set_down(&relay, true);
    for (person, text, last) in [(&alice, "one", "01"), (&tablet, "other", "02")] {
        let said = person.say("bob", text).await.unwrap();
        let same = format!("sent_at = {}, message_id = x'{}{last}'", 1_779_990_000_000_u64, "07".repeat(15));
        person.database().change(&format!("UPDATE outbox SET {same} WHERE message = {}", said.number));
    }
    world.network.set_down(&relay, false);
    world.wait(Duration::from_secs(2 * 86_400)).await;
    rest(&world, &[&alice, &tablet, &bob]).await;
    let (contact, mut before, mut found) = (bob.contact("alice").await.unwrap().id, None, Vec::new());
    while let Some(message) = bob.messenger.messages(contact, before, 1).await.unwrap().pop() {
        before = Some(message.position);
        found.extend((message.kind == Kind::Text).then_some(message.text));
    }
    found.sort();
    assert_eq!(found, ["one", "other"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_dated_long_ago_stands_before_nothing_of_long_ago() {
    let (world, _, alice, bob) = World::contacts(1270).await;
    bob.say("alice", "of old").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    let [alice, bob] = world.switched_off([alice, bob], Duration::from_secs(80 * 24 * 3600)).await.unwrap();
    alice.say("bob", "dated 1970").await.unwrap();
    alice.database().change("UPDATE outbox SET sent_at = 1 WHERE state = 0 AND message IS NOT NULL");
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["of old", "dated 1970"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_said_while_a_clock_was_years_ahead_leaves_with_a_date_of_now() {
    let (world, relay, alice, bob) = World::contacts(1267).await;
    world.network.set_down(&relay, true);
    alice.clock.set_ahead(Duration::from_secs(10 * 365 * 86_400));
    let alice = world.reopen(alice).await.unwrap();
    for text in ["one", "two"] {
        alice.say("bob", text).await.unwrap();
    }
    alice.clock.set_right();
    let alice = world.reopen(alice).await.unwrap();
    alice.say("bob", "three").await.unwrap();
    world.wait(Duration::from_secs(120)).await;
    world.network.set_down(&relay, false);
    rest(&world, &[&alice, &bob]).await;
    bob.say("alice", "four").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    let said = positions(&alice, "bob").await;
    assert_eq!(said.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["one", "two", "three", "four"]);
    assert_eq!(positions(&bob, "alice").await, said);
    let ahead = alice.database().number("SELECT count(*) FROM message WHERE sent_at > received_at + 86400000");
    assert_eq!(ahead, 0);
}

#[tokio::test(start_paused = true)]
async fn a_note_that_was_made_while_a_clock_was_years_ahead_stands_among_those_of_now() {
    let world = World::seeded(1268);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let own = alice.messenger.account().await.unwrap().id;
    world.network.set_down(&relay, true);
    alice.clock.set_ahead(Duration::from_secs(10 * 365 * 86_400));
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.send_text(own, "a note".to_owned()).await.unwrap();
    alice.clock.set_right();
    world.network.set_down(&relay, false);
    let alice = world.reopen(alice).await.unwrap();
    rest(&world, &[&alice]).await;
    let ahead = "SELECT count(*) FROM message WHERE (position >> 20) > 1779990000000";
    assert_eq!(alice.database().number(ahead), 0);
    assert_eq!(alice.messenger.messages(own, None, 1).await.unwrap()[0].text, "a note");
}

#[tokio::test(start_paused = true)]
async fn h2_what_is_asked_for_stands_before_what_was_said_to_the_one_in_its_place_already() {
    let (world, _, alice, bob) = World::contacts(1251).await;
    bob.say("alice", "before the copy").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    let copy = world.back_up(&alice);
    for what in ["one", "two"] {
        bob.say("alice", what).await.unwrap();
    }
    rest(&world, &[&bob, &alice]).await;
    alice.say("bob", "they came").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    alice.messenger.shut_down();
    let post = HeldPost::begin(&world.network);
    let alice = world.restore(copy, alice.secrets.clone()).await.unwrap();
    alice.catch_up().await.unwrap();
    let asking = post.take();
    assert!(!asking.is_empty());
    post.end(&world.network);
    // He has read of her before he hears her.
    bob.database().change("UPDATE contact SET manifest_read_at = 0");
    bob.say("alice", "three").await.unwrap();
    bob.catch_up().await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["before the copy", "three"]);
    for letter in &asking {
        assert!(world.network.put(letter).await);
    }
    rest(&world, &[&bob, &alice]).await;
    assert_eq!(alice.transcript("bob").await.unwrap(), ["before the copy", "one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn h2_what_a_device_had_said_stands_before_what_those_in_its_place_say() {
    let (world, relay, alice, bob) = World::contacts(1252).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    alice.say("bob", "before").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    let copy = world.back_up(&alice);
    let of_the_first = held(&world, &alice, "bob", &["first, 1", "first, 2"]).await;
    outlives(&world, &alice, &carol).await;
    let alice = restored(&world, alice, copy).await;
    // Said on the copy, before it is another device.
    alice.say("bob", "second, 0").await.unwrap();
    rest(&world, &[&alice, &carol, &bob]).await;
    alice.say("bob", "second, 1").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    let copy = world.back_up(&alice);
    let of_the_second = held(&world, &alice, "bob", &["second, 2", "second, 3"]).await;
    outlives(&world, &alice, &carol).await;
    // With its keystore: a relay shows it to be a copy.
    alice.messenger.shut_down();
    let secrets = copy.secrets.copy();
    let alice = world.restore(copy, secrets).await.unwrap();
    alice.say("bob", "third, 0").await.unwrap();
    rest(&world, &[&alice, &carol, &bob]).await;
    alice.say("bob", "third, 1").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    for letter in of_the_second.iter().rev().chain(of_the_first.iter().rev()) {
        assert!(world.network.put(letter).await);
        bob.catch_up().await.unwrap();
    }
    let said = bob.transcript("alice").await.unwrap();
    let firsts = ["before", "first, 1", "first, 2"];
    let seconds = ["second, 0", "second, 1", "second, 2", "second, 3"];
    assert_eq!(said, [&firsts[..], &seconds[..], &["third, 0", "third, 1"]].concat());
}

#[tokio::test(start_paused = true)]
async fn h2_what_was_said_in_a_conversation_that_a_copy_does_not_know_stands_before_what_is_said_in_it_then() {
    let (world, relay, alice, bob) = World::contacts(1253).await;
    let dave = world.person("dave", std::slice::from_ref(&relay)).await.unwrap();
    let copy = world.back_up(&dave);
    world.introduce(&alice, &dave).await.unwrap();
    for (from, to, what) in [
        (&alice, "dave", "hers, 1"),
        (&dave, "alice", "his, 1"),
        (&dave, "alice", "his, 2"),
        (&alice, "dave", "hers, 2"),
    ] {
        from.say(to, what).await.unwrap();
        rest(&world, &[&alice, &dave]).await;
    }
    let dave = restored(&world, dave, copy).await;
    dave.catch_up().await.unwrap();
    alice.say("dave", "hers, 3").await.unwrap();
    world.wait(Duration::from_secs(20 * 60)).await;
    world.introduce(&alice, &dave).await.unwrap();
    dave.say("alice", "his, 3").await.unwrap();
    rest(&world, &[&dave, &alice, &bob]).await;
    assert_eq!(dave.transcript("alice").await.unwrap(), ["hers, 1", "hers, 2", "hers, 3", "his, 3"]);
    let said = ["hers, 1", "his, 1", "his, 2", "hers, 2", "hers, 3", "his, 3"];
    assert_eq!(alice.transcript("dave").await.unwrap(), said);
}

#[tokio::test(start_paused = true)]
async fn a_message_stands_before_none_that_came_long_ago() {
    let (world, _, alice, bob) = World::contacts(1257).await;
    for (text, ordinal) in [("the first", 1000), ("far ahead", 1_i64 << 40)] {
        alice.database().change(&format!("UPDATE conversation SET ordinal = {ordinal} - 1"));
        alice.say("bob", text).await.unwrap();
        rest(&world, &[&alice, &bob]).await;
    }
    alice.database().change("UPDATE conversation SET ordinal = 0");
    alice.say("bob", "put before both").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["put before both", "the first", "far ahead"]);
    let [alice, bob] = world.switched_off([alice, bob], Duration::from_secs(75 * 24 * 3600)).await.unwrap();
    for text in ["where it came", "and the next"] {
        alice.say("bob", text).await.unwrap();
        rest(&world, &[&alice, &bob]).await;
    }
    let said = ["put before both", "the first", "far ahead", "where it came", "and the next"];
    assert_eq!(bob.transcript("alice").await.unwrap(), said);
    assert_eq!(bob.database().number("SELECT count(*) FROM message WHERE ordinal = 0"), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_over_to_a_device_in_anothers_place_comes_as_it_was_said() {
    let (world, _, alice, bob) = World::contacts(1258).await;
    bob.say("alice", "before the copy").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    let copy = world.back_up(&alice);
    for number in 0..5 {
        bob.say("alice", &number.to_string()).await.unwrap();
    }
    rest(&world, &[&bob, &alice]).await;
    alice.say("bob", "they came").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    let alice = restored(&world, alice, copy).await;
    rest(&world, &[&alice, &bob, &alice]).await;
    assert_eq!(alice.transcript("bob").await.unwrap(), ["before the copy", "0", "1", "2", "3", "4"]);
    let arrived = "SELECT text FROM message WHERE state = 10 AND kind = 1 ORDER BY id";
    assert_eq!(alice.database().texts(arrived), ["before the copy", "0", "1", "2", "3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_in_whose_place_another_came_says_nothing_that_stands_above_that_ones_words() {
    let (world, relay, alice, bob) = World::contacts(1259).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    let copy = world.back_up(&alice);
    // In the room of the one that comes, and higher.
    let version = bob.database().number("SELECT version FROM contact WHERE name = 'alice'");
    let mut late = Vec::new();
    for (text, ordinal) in [("high", (1_i64 << 40) + ((version + 1) << 24) + 1000), ("too high", (1_i64 << 62) - 2)] {
        alice.database().change(&format!("UPDATE conversation SET ordinal = {ordinal}"));
        late.extend(held(&world, &alice, "bob", &[text]).await);
    }
    outlives(&world, &alice, &carol).await;
    let alice = restored(&world, alice, copy).await;
    rest(&world, &[&alice, &carol, &bob]).await;
    alice.say("bob", "one").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    for letter in &late {
        assert!(world.network.put(letter).await);
        bob.catch_up().await.unwrap();
    }
    alice.say("bob", "two").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["high", "too high", "one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn h2_a_note_on_a_copy_stands_behind_those_that_the_one_before_has_made() {
    for (seed, is_shown_by_keystore) in [(1260, true), (1261, false)] {
        notes_of_a_copy(seed, is_shown_by_keystore).await;
    }
}

async fn notes_of_a_copy(seed: u64, is_shown_by_keystore: bool) {
    let (world, relay, mut alice, bob) = World::contacts(seed).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.expect("it is done");
    world.introduce(&alice, &carol).await.expect("it is done");
    let tablet = world.second_device(&alice).await.expect("it is done");
    rest(&world, &[&tablet, &alice, &carol, &bob]).await;
    let own = alice.messenger.account().await.expect("it is done").id;
    let note =
        async |of: &Person, text: &str| drop(of.messenger.send_text(own, text.to_owned()).await.expect("it is done"));
    let notes = async |of: &Person| {
        let notes = of.messenger.messages(own, None, 10).await.expect("it is done");
        notes.into_iter().map(|note| note.text).collect::<Vec<_>>()
    };
    let copy = world.back_up(&alice);
    if is_shown_by_keystore {
        alice = world.reopen(alice).await.expect("it opens");
    }
    for text in ["1", "2", "3"] {
        note(&alice, text).await;
    }
    outlives(&world, &alice, &carol).await;
    rest(&world, &[&alice, &tablet]).await;
    assert_eq!(notes(&tablet).await, ["1", "2", "3"]);
    let alice = restored(&world, alice, copy).await;
    note(&alice, "on the copy").await;
    rest(&world, &[&alice, &tablet, &carol]).await;
    assert_eq!(notes(&tablet).await, ["1", "2", "3", "on the copy"]);
}

#[tokio::test(start_paused = true)]
async fn h2_what_waited_when_the_copy_was_made_stands_where_the_one_before_has_put_it() {
    let (world, relay, alice, bob) = World::contacts(1262).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    world.network.set_down(&relay, true);
    alice.say("bob", "one").await.unwrap();
    let copy = world.back_up(&alice);
    let alice = world.reopen(alice).await.unwrap();
    world.network.set_down(&relay, false);
    let on_the_way = held(&world, &alice, "bob", &["two", "three"]).await;
    assert_eq!(on_the_way.len(), 3);
    outlives(&world, &alice, &carol).await;
    let alice = restored(&world, alice, copy).await;
    rest(&world, &[&alice, &bob, &carol]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["one"]);
    for letter in &on_the_way {
        assert!(world.network.put(letter).await);
    }
    bob.catch_up().await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["one", "two", "three"]);
}
