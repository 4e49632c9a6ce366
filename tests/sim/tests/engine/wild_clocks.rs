//! What one wild clock dated does not last for as long as the clock was ahead.

use std::time::Duration;

use sotto_core::records::MessageState;
use sotto_sim::{Person, World};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// For one opening all relays are 30 days ahead: further, and every list that they have would have ended.
async fn wild(world: &World, person: Person, says: Option<(&str, &str)>) -> Person {
    world.network.set_clocks_ahead(30 * DAY);
    let person = world.reopen(person).await.expect("it opens");
    if let Some((to, text)) = says {
        person.say(to, text).await.expect("they speak");
    }
    person.catch_up().await.expect("they catch up");
    world.network.set_clocks_ahead(Duration::ZERO);
    person
}

fn is_ahead(world: &World, person: &Person, sql: &str) -> bool {
    person.database().number(sql) > i64::try_from(world.now().after(DAY).as_ms()).expect("a date")
}

/// Alice and bob, who have answered each other.
async fn acquainted(seed: u64) -> (World, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    alice.say("bob", "ping").await.expect("they speak");
    world.settle(&[&alice, &bob]).await.expect("they settle");
    bob.say("alice", "pong").await.expect("they speak");
    world.settle(&[&bob, &alice]).await.expect("they settle");
    (world, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn g1_a_letter_that_was_accepted_under_a_wild_clock_is_put_again_after_the_retention() {
    let (world, alice, bob) = acquainted(200).await;
    bob.messenger.shut_down();
    let alice = wild(&world, alice, Some(("bob", "while the clock was wild"))).await;
    assert!(is_ahead(&world, &alice, "SELECT max(accepted_at) FROM outbox"), "the relay was believed");
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(2 * HOUR).await;
    assert!(!is_ahead(&world, &alice, "SELECT max(accepted_at) FROM outbox WHERE state = 2"));
    let sent = world.network.envelopes_to(&bob).len();
    let [alice] = world.switched_off([alice], 31 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    alice.catch_up().await.unwrap();
    assert!(world.network.envelopes_to(&bob).len() > sent, "a relay keeps it no longer than that");
}

#[tokio::test(start_paused = true)]
async fn g1_what_came_in_under_a_wild_clock_is_confirmed_within_a_day_and_not_on_top_for_ever() {
    let (world, alice, bob) = acquainted(201).await;
    let relay = world.network.traffic()[0].relay.clone();
    let address = format!("https://{relay}").parse().unwrap();
    let carol = world.person("carol", &[address]).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    // Nothing is owed from before.
    let [alice, bob, carol] = world.switched_off([alice, bob, carol], 26 * HOUR).await.unwrap();
    world.settle(&[&alice, &bob, &carol]).await.unwrap();
    alice.messenger.shut_down();
    let said = bob.say("alice", "did this arrive?").await.unwrap();
    bob.catch_up().await.unwrap();
    let alice = wild(&world, alice, None).await;
    assert!(is_ahead(&world, &alice, "SELECT max(confirm_due) FROM peer_device"), "the relay was believed");
    assert!(is_ahead(&world, &alice, "SELECT max(last_at) FROM conversation"));
    alice.database().change(
        "INSERT INTO waiting (own_inbox, alias, header, payload, accepted_at, stored_at, reason)
         VALUES (1, 1, x'00', x'00', 0, 4102444800000, 1)",
    );
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    let [alice, bob, carol] = world.switched_off([alice, bob, carol], 26 * HOUR).await.unwrap();
    bob.catch_up().await.unwrap();
    assert_eq!(bob.messenger.message(said.number).await.unwrap().state, MessageState::Delivered);
    carol.say("alice", "newer").await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    let top =
        "SELECT contact.name FROM conversation JOIN contact ON contact.id = contact ORDER BY last_at DESC LIMIT 1";
    assert_eq!(alice.database().texts(top), ["carol"]);
    bob.messenger.shut_down();
    carol.messenger.shut_down();
    let [alice] = world.switched_off([alice], 32 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 0);
}
