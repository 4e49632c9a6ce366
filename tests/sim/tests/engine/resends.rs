//! What is missing of a device's letters is asked for, and sent again (PROTOCOL E6).

use std::time::Duration;

use sotto_core::records::{Kind, MessageState, Missing};
use sotto_crypto::letter::{Ciphertext, Content, Counters, GivenUp, ResendRequest};
use sotto_protocol::limits::COUNTER_MAX;
use sotto_sim::{Envelope, HeldPost, Person, World, hex};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice says these; her relay takes them and loses them.
async fn lost(world: &World, alice: &Person, texts: &[&str]) -> Vec<Envelope> {
    let post = HeldPost::begin(&world.network);
    for text in texts {
        alice.say("bob", text).await.expect("they speak");
    }
    alice.catch_up().await.expect("the relay takes them");
    let letters = post.take();
    post.end(&world.network);
    letters
}

async fn says(world: &World, from: &Person, to: &Person, name: &str, text: &str) {
    from.say(name, text).await.expect("they speak");
    world.settle(&[from, to]).await.expect("it arrives");
}

/// A person's device says this in the place of a text.
async fn says_instead(world: &World, from: &Person, to: &str, content: &Content) {
    let said = from.say(to, "something else").await.expect("they speak").number;
    let content = hex(&content.encode().expect("a content"));
    from.database().change(&format!("UPDATE message SET content = x'{content}' WHERE id = {said}"));
    from.catch_up().await.expect("it leaves");
    world.wait(Duration::from_secs(2)).await;
}

/// Up to here nothing of alice's is missing, and so much came beyond that.
fn received(bob: &Person) -> (i64, i64) {
    let database = bob.database();
    let beyond = "SELECT coalesce(sum(last - first + 1), 0) FROM received_counter";
    (database.number("SELECT received FROM peer_device ORDER BY id LIMIT 1"), database.number(beyond))
}

async fn kinds(bob: &Person) -> Vec<Kind> {
    let alice = bob.contact("alice").await.expect("a contact").id;
    let messages = bob.messenger.messages(alice, None, u32::MAX).await.expect("a page");
    messages.into_iter().map(|message| message.kind).collect()
}

#[tokio::test(start_paused = true)]
async fn e6_a_hole_that_is_still_there_after_all_relays_were_drained_is_asked_for_and_filled() {
    let (world, _, alice, bob) = World::contacts(700).await;
    let before = received(&bob).0;
    lost(&world, &alice, &["one", "two"]).await;
    says(&world, &alice, &bob, "bob", "three").await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["three"], "a hole delays nobody");
    assert_eq!(received(&bob), (before, 1));
    world.wait(2 * MINUTE).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["one", "two", "three"]);
    assert_eq!(received(&bob), (before + 3, 0), "under the counters that they had");
    // Once: nothing is asked for twice, and nothing is shown twice.
    let letters = world.network.envelopes().len();
    world.wait(60 * MINUTE).await;
    assert_eq!(world.network.envelopes().len(), letters);
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE ask_at IS NOT NULL"), 0);
}

#[tokio::test(start_paused = true)]
async fn e6_what_comes_a_moment_later_is_not_asked_for() {
    let (world, _, alice, bob) = World::contacts(701).await;
    let late = lost(&world, &alice, &["late"]).await;
    says(&world, &alice, &bob, "bob", "early").await;
    let before = world.network.envelopes_to(&alice).len();
    world.wait(Duration::from_secs(15)).await;
    assert!(world.network.put(&late[0]).await);
    world.wait(60 * MINUTE).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["late", "early"]);
    assert_eq!(world.network.envelopes_to(&alice).len(), before);
}

#[tokio::test(start_paused = true)]
async fn e6_what_may_wait_at_a_relay_that_is_away_is_asked_for_a_day_later() {
    let world = World::seeded(702);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays[..1]).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.network.set_down(&relays[1], true);
    lost(&world, &alice, &["lost"]).await;
    says(&world, &alice, &bob, "bob", "behind it").await;
    world.wait(20 * 60 * MINUTE).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["behind it"]);
    world.wait(6 * 60 * MINUTE).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["lost", "behind it"]);
}

#[tokio::test(start_paused = true)]
async fn e6_whoever_does_not_answer_is_asked_ever_more_rarely_and_then_it_is_shown_as_missing() {
    let (world, _, alice, bob) = World::contacts(703).await;
    lost(&world, &alice, &["lost"]).await;
    says(&world, &alice, &bob, "bob", "behind it").await;
    says(&world, &bob, &alice, "alice", "nothing to confirm").await;
    alice.messenger.shut_down();
    let asked = || bob.database().number("SELECT asks FROM peer_device");
    world.wait(60 * MINUTE).await;
    assert!((2..=4).contains(&asked()), "{}", asked());
    world.wait(DAY).await;
    assert!((6..=10).contains(&asked()), "{}", asked());
    world.wait(DAY).await;
    assert!((7..=13).contains(&asked()), "{}", asked());
    // As after 37 days of that.
    bob.database().change("UPDATE peer_device SET asks = 44");
    world.wait(2 * DAY).await;
    assert_eq!(kinds(&bob).await.last(), Some(&Kind::Missing(Missing::Unanswered)));
    let letters = world.network.envelopes_to(&alice).len();
    world.wait(5 * DAY).await;
    assert!(world.network.envelopes_to(&alice).len() <= letters + 2, "it is not asked any more");
    // And whoever is back after that is asked as soon as it says something.
    let alice = world.reopen(alice).await.unwrap();
    lost(&world, &alice, &["lost too"]).await;
    says(&world, &alice, &bob, "bob", "I am back").await;
    world.wait(40 * MINUTE).await;
    assert_eq!(received(&bob).1, 0);
    assert_eq!(bob.transcript("alice").await.unwrap().len(), 6, "and the line stays");
}

#[tokio::test(start_paused = true)]
async fn e6_a_letter_that_was_confirmed_is_sent_again_too() {
    let (world, _, alice, bob) = World::contacts(704).await;
    let said = alice.say("bob", "kept").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    says(&world, &bob, &alice, "alice", "heard").await;
    assert_eq!(alice.messenger.message(said.number).await.unwrap().state, MessageState::Delivered);
    assert_eq!(alice.database().number("SELECT count(*) FROM outbox WHERE state <= 2"), 0);
    // Bob has lost it since.
    bob.database().change(
        "UPDATE conversation SET last_message = NULL; DELETE FROM search_row; DELETE FROM message WHERE text = 'kept';
         UPDATE peer_device SET received = received - 1",
    );
    says(&world, &alice, &bob, "bob", "next").await;
    world.wait(2 * MINUTE).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["kept", "heard", "next"]);
    assert_eq!(alice.database().number("SELECT count(*) FROM outbox WHERE state < 2"), 0);
    let kept = alice.database().number("SELECT state FROM outbox WHERE ended_at IS NOT NULL AND message = 1");
    assert_eq!(kept, 3, "and what was confirmed is confirmed");
}

#[tokio::test(start_paused = true)]
async fn e6_what_its_sender_no_longer_holds_is_shown_as_missing_where_it_was_said_and_elsewhere_not() {
    let (world, _, alice, bob) = World::contacts(705).await;
    let before = received(&bob).0;
    lost(&world, &alice, &["held", "given up", "given up too", "held too"]).await;
    alice
        .database()
        .change("UPDATE outbox SET state = 4 WHERE message IN (SELECT id FROM message WHERE text LIKE 'given up%')");
    says(&world, &alice, &bob, "bob", "behind them").await;
    world.wait(2 * MINUTE).await;
    let heard = bob.transcript("alice").await.unwrap();
    assert_eq!(heard, ["held", "held too", "behind them", ""]);
    assert_eq!(kinds(&bob).await[3], Kind::Missing(Missing::GivenUp), "one line, however many");
    assert_eq!(received(&bob), (before + 6, 0), "with the letter that says so");
}

#[tokio::test(start_paused = true)]
async fn e6_what_a_later_letter_says_was_given_up_is_asked_about_and_shown_as_missing() {
    let (world, _, alice, bob) = World::contacts(706).await;
    says(&world, &bob, &alice, "alice", "hello").await;
    lost(&world, &alice, &["given up"]).await;
    alice.database().change("UPDATE outbox SET state = 4 WHERE message IS NOT NULL");
    says(&world, &alice, &bob, "bob", "behind it").await;
    assert_eq!(received(&bob), (alice.database().number("SELECT counter_sent FROM peer_device"), 0), "no hole is left");
    world.wait(2 * MINUTE).await;
    assert_eq!(kinds(&bob).await, [Kind::Text, Kind::Text, Kind::Missing(Missing::GivenUp)]);
    assert_eq!(bob.database().number("SELECT count(*) FROM skipped_counter"), 0);
}

#[tokio::test(start_paused = true)]
async fn e6_a_letter_that_said_nothing_is_missed_by_nobody() {
    let (world, _, alice, bob) = World::contacts(707).await;
    says(&world, &bob, &alice, "alice", "hello").await;
    // Alice's confirmation is lost, and dies.
    let post = HeldPost::begin(&world.network);
    world.wait(DAY).await;
    assert_eq!(post.take().len(), 1);
    post.end(&world.network);
    alice.database().change("UPDATE outbox SET state = 4, content = NULL WHERE message IS NULL AND state = 2");
    says(&world, &alice, &bob, "bob", "behind it").await;
    world.wait(2 * MINUTE).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["hello", "behind it"]);
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE ask_at IS NOT NULL"), 0);
}

fn asks_for_all() -> Content {
    let counters = vec![Counters { first: 1, last: COUNTER_MAX }];
    Content::ResendRequest(ResendRequest { counters, ..ResendRequest::default() })
}

#[tokio::test(start_paused = true)]
async fn e6_a_request_brings_256_letters_at_most_and_64_requests_a_day_are_answered() {
    let (world, _, alice, bob) = World::contacts(708).await;
    // As many as were confirmed in a month.
    alice.say("bob", "said").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    alice.database().change(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 400)
         INSERT INTO outbox (peer_device, message, message_id, state, sent_at, counter, ended_at)
         SELECT 1, 1, randomblob(16), 3, 0, 1000 + n, 9000000000000 FROM n;
         UPDATE peer_device SET counter_sent = 1400, confirmed = 1400",
    );
    let letters = || world.network.envelopes_to(&bob).len();
    let before = letters();
    says_instead(&world, &bob, "alice", &asks_for_all()).await;
    world.wait(MINUTE / 4).await;
    let answered = letters() - before;
    assert!((256..=258).contains(&answered), "{answered}");
    alice.database().change("UPDATE peer_device SET answers = 63");
    says_instead(&world, &bob, "alice", &asks_for_all()).await;
    world.wait(MINUTE / 4).await;
    let before = letters();
    says_instead(&world, &bob, "alice", &asks_for_all()).await;
    world.wait(10 * MINUTE).await;
    assert_eq!(letters(), before, "not today");
    world.wait(2 * DAY).await;
    let before = letters();
    says_instead(&world, &bob, "alice", &asks_for_all()).await;
    world.wait(10 * MINUTE).await;
    assert!(letters() >= before + 256, "and then again");
}

#[tokio::test(start_paused = true)]
async fn e6_nobody_gets_by_asking_what_was_said_to_somebody_else() {
    let (world, relay, alice, bob) = World::contacts(709).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    says(&world, &alice, &bob, "bob", "for bob alone").await;
    let hash = alice.database().blobs("SELECT inner FROM outbox WHERE message IS NOT NULL").swap_remove(0);
    let to_carol = world.network.envelopes_to(&carol).len();
    let request = ResendRequest {
        counters: Vec::new(),
        inner_hashes: vec![hash.as_slice().try_into().expect("a hash has 32 bytes")],
        predecessor: None,
    };
    says_instead(&world, &carol, "alice", &Content::ResendRequest(request)).await;
    world.wait(MINUTE).await;
    world.settle(&[&alice, &carol]).await.unwrap();
    assert_eq!(world.network.envelopes_to(&carol).len(), to_carol + 1, "that it was never made for her");
    assert!(!carol.transcript("alice").await.unwrap().contains(&"for bob alone".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn e6_nobody_is_answered_before_they_are_a_contact_or_once_they_are_none() {
    let (world, _, alice, bob) = World::contacts(710).await;
    says(&world, &alice, &bob, "bob", "hello").await;
    let bob_id = alice.contact("bob").await.unwrap().id;
    for change in
        ["UPDATE contact SET blocked = 1", "UPDATE contact SET blocked = 0, state = 4", "UPDATE contact SET state = 2"]
    {
        alice.database().change(change);
        let before = alice.database().number("SELECT answers FROM peer_device");
        says_instead(&world, &bob, "alice", &asks_for_all()).await;
        assert_eq!(alice.database().number("SELECT answers FROM peer_device"), before, "{change}");
    }
    alice.database().change("UPDATE contact SET state = 3");
    assert_eq!(alice.contact("bob").await.unwrap().id, bob_id);
    says_instead(&world, &bob, "alice", &asks_for_all()).await;
    assert_eq!(alice.database().number("SELECT answers FROM peer_device"), 1);
}

#[tokio::test(start_paused = true)]
async fn e6_whoever_gives_up_what_came_or_was_never_there_changes_nothing() {
    let (world, _, alice, bob) = World::contacts(711).await;
    says(&world, &alice, &bob, "bob", "one").await;
    let before = received(&bob).0;
    let all = vec![Counters { first: 1, last: COUNTER_MAX }];
    let missing_ciphertexts = vec![Ciphertext { inner_hash: [7; 32], counter: Some(99) }];
    let given_up = GivenUp { missing: all, missing_ciphertexts, ..GivenUp::default() };
    says_instead(&world, &alice, "bob", &Content::GivenUp(given_up)).await;
    assert_eq!(received(&bob), (before + 1, 0));
    assert_eq!(bob.transcript("alice").await.unwrap(), ["one"]);
    says(&world, &alice, &bob, "bob", "two").await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["one", "two"]);
}
