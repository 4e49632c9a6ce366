//! Counters and confirmations when a letter is missing (PROTOCOL E4).

use std::collections::BTreeSet;
use std::time::Duration;

use sotto_core::records::MessageState;
use sotto_protocol::request::path;
use sotto_sim::{Fate, Person, World};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Counters that bob has of alice's device: up to here nothing is missing, and so many came beyond.
fn received(bob: &Person) -> (i64, i64) {
    let database = bob.database();
    (
        database.number("SELECT received FROM peer_device ORDER BY id LIMIT 1"),
        database.number("SELECT coalesce(sum(last - first + 1), 0) FROM received_counter"),
    )
}

fn lose_sends(world: &World) {
    world.network.meddle(Some(Box::new(|call| if call.path == path::SEND { Fate::Lost } else { Fate::Passes })));
}

/// Alice encrypts it, and it never reaches a relay.
async fn says_in_vain(world: &World, alice: &Person, text: &str) {
    lose_sends(world);
    alice.say("bob", text).await.expect("they speak");
    let _ = alice.messenger.catch_up(Duration::from_secs(2)).await;
    world.network.meddle(None);
}

async fn state(person: &Person, number: i64) -> MessageState {
    person.messenger.message(number).await.expect("a message").state
}

#[tokio::test(start_paused = true)]
async fn e4_what_was_given_up_does_not_keep_later_letters_unconfirmed() {
    let (world, _, alice, bob) = World::contacts(100).await;
    bob.say("alice", "no answer needed").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    // The confirmation that alice owes is encrypted, reaches no relay, and dies after 37 days.
    lose_sends(&world);
    world.wait(DAY).await;
    let encrypted = "SELECT count(*) FROM outbox WHERE message IS NULL AND counter IS NOT NULL AND state";
    assert_eq!(alice.database().number(&format!("{encrypted} = 1")), 1);
    let [alice, bob] = world.switched_off([alice, bob], 38 * DAY).await.unwrap();
    assert_eq!(alice.database().number(&format!("{encrypted} = 4")), 1, "given up, with its counter");
    world.network.meddle(None);
    let said = alice.say("bob", "at last").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(received(&bob), (alice.database().number("SELECT counter_sent FROM peer_device"), 0));
    bob.say("alice", "there you are").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(state(&alice, said.number).await, MessageState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn e4_only_what_is_contiguous_below_a_hole_is_confirmed_until_the_hole_closes() {
    let (world, _, alice, bob) = World::contacts(101).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    let before = received(&bob).0;
    says_in_vain(&world, &alice, "late").await;
    let late = world.network.envelopes_to(&bob).last().unwrap().clone();
    // As if the relay had taken it and lost it.
    alice
        .database()
        .change("UPDATE outbox SET state = 2, olm = NULL, accepted_at = sent_at, again_at = sent_at WHERE state = 1");
    let mut said = Vec::new();
    for text in ["one", "two"] {
        said.push(alice.say("bob", text).await.unwrap().number);
    }
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["one", "two"], "a hole delays nobody");
    bob.say("alice", "I hear you").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(received(&bob), (before, 2));
    for number in &said {
        assert_eq!(state(&alice, *number).await, MessageState::Sent);
    }
    assert!(world.network.put(&late).await);
    assert_eq!(received(&bob), (before + 3, 0));
    bob.say("alice", "and the first one too").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    for number in &said {
        assert_eq!(state(&alice, *number).await, MessageState::Delivered);
    }
}

#[tokio::test(start_paused = true)]
async fn e4_a_closed_hole_is_confirmed_without_being_asked() {
    let (world, _, alice, bob) = World::contacts(102).await;
    says_in_vain(&world, &alice, "given up").await;
    alice
        .database()
        .change("UPDATE outbox SET state = 2, olm = NULL, accepted_at = sent_at, again_at = sent_at WHERE state = 1");
    let said = alice.say("bob", "behind it").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    bob.database().change("UPDATE peer_device SET ask_at = NULL");
    world.wait(DAY).await;
    assert_eq!(
        state(&alice, said.number).await,
        MessageState::Sent,
        "what bob confirms within a day ends below the hole"
    );
    // What closes the hole is a letter that asks for no confirmation by itself.
    alice.database().change("UPDATE outbox SET state = 4 WHERE state = 2 AND message = 1");
    bob.say("alice", "a question").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    world.wait(DAY).await;
    world.wait(DAY).await;
    assert_eq!(received(&bob).1, 0);
    assert_eq!(state(&alice, said.number).await, MessageState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn e4_whoever_lies_about_what_may_still_come_spoils_its_own_confirmations_only() {
    let (world, relay, alice, bob) = World::contacts(103).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    world.introduce(&bob, &carol).await.unwrap();
    let of_carol = "SELECT received FROM peer_device ORDER BY id DESC LIMIT 1";
    let before = (received(&bob).0, bob.database().number(of_carol));
    // Two letters that do not arrive yet; alice says of the first that it never will.
    says_in_vain(&world, &alice, "denied").await;
    let denied = world.network.envelopes_to(&bob).last().unwrap().clone();
    alice
        .database()
        .change("UPDATE outbox SET state = 2, olm = NULL, accepted_at = sent_at, again_at = sent_at WHERE state = 1");
    says_in_vain(&world, &alice, "on its way").await;
    let on_its_way = world.network.envelopes_to(&bob).last().unwrap().clone();
    alice.database().change(
        "UPDATE outbox SET state = 2, olm = NULL, accepted_at = sent_at WHERE state = 1;
         UPDATE outbox SET state = 4 WHERE counter = (SELECT min(counter) FROM outbox WHERE state = 2 AND message IS NOT NULL)",
    );
    alice.say("bob", "the third").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(received(&bob), (before.0 + 1, 1), "the first is given up, the second is not");
    // What it denied arrives all the same, before it was asked what that was: it is shown.
    assert!(world.network.put(&denied).await);
    assert_eq!(bob.transcript("alice").await.unwrap(), ["denied", "the third"]);
    assert_eq!(received(&bob), (before.0 + 1, 1));
    // The second names an older one than the third did: nothing goes back.
    assert!(world.network.put(&on_its_way).await);
    assert_eq!(bob.transcript("alice").await.unwrap(), ["denied", "on its way", "the third"]);
    assert_eq!(received(&bob), (before.0 + 3, 0));
    assert_eq!(bob.database().number(of_carol), before.1, "and nobody else's letters count");
    carol.say("bob", "here I am").await.unwrap();
    world.settle(&[&carol, &bob]).await.unwrap();
    assert_eq!(bob.transcript("carol").await.unwrap(), ["here I am"]);
}

#[tokio::test(start_paused = true)]
async fn e4_what_comes_beyond_a_hole_is_remembered_up_to_a_bound_and_taken_beyond_it() {
    let (world, _, alice, bob) = World::contacts(104).await;
    says_in_vain(&world, &alice, "late").await;
    let late = world.network.envelopes_to(&bob).last().unwrap().clone();
    alice
        .database()
        .change("UPDATE outbox SET state = 2, olm = NULL, accepted_at = sent_at, again_at = sent_at WHERE state = 1");
    bob.database().change(
        "WITH RECURSIVE n (n) AS (SELECT 1000000 UNION ALL SELECT n + 2 FROM n WHERE n < 1002046)
         INSERT INTO received_counter SELECT 1, n, n FROM n",
    );
    alice.say("bob", "beyond the bound").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["beyond the bound"]);
    assert_eq!(received(&bob).1, 1_024, "and no more");
    bob.database().change("DELETE FROM received_counter");
    assert!(world.network.put(&late).await);
    // It counts when it is put again, and is not shown again.
    let [alice, bob] = world.switched_off([alice, bob], 31 * DAY).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(received(&bob), (alice.database().number("SELECT counter_sent FROM peer_device"), 0));
    assert_eq!(bob.transcript("alice").await.unwrap(), ["late", "beyond the bound"]);
}

#[tokio::test(start_paused = true)]
async fn e5_letters_whose_skipped_keys_are_forgotten_arrive_when_they_are_put_again() {
    let (world, _, alice, bob) = World::contacts(106).await;
    // Sixty letters that a relay takes and loses: Olm remembers the last forty of the keys that it skips.
    lose_sends(&world);
    let lost = world.network.envelopes_to(&bob).len();
    for number in 0..60 {
        alice.say("bob", &format!("{number}")).await.unwrap();
    }
    let _ = alice.messenger.catch_up(Duration::from_secs(2)).await;
    let first = world.network.envelopes_to(&bob)[lost].clone();
    alice
        .database()
        .change("UPDATE outbox SET state = 2, olm = NULL, accepted_at = sent_at, again_at = sent_at WHERE state = 1");
    world.network.meddle(None);
    alice.say("bob", "behind them").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["behind them"]);
    assert!(world.network.put(&first).await);
    assert_eq!(bob.refused("olm_key_gone"), 1);
    let [alice, bob] = world.switched_off([alice, bob], 31 * DAY).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let said = bob.transcript("alice").await.unwrap();
    let distinct: BTreeSet<_> = said.iter().collect();
    assert_eq!((said.len(), distinct.len()), (61, 61));
    assert_eq!(received(&bob).1, 0);
}
