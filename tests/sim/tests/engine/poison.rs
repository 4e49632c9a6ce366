//! Envelopes that are bad in every way that somebody who holds a token, or a contact's device, can make them: each is set aside, and none
//! stands in the way of the next.

use std::time::Duration;

use sotto_core::records::{Kind, MessageState, Missing};
use sotto_protocol::Bytes;
use sotto_sim::{Envelope, HeldPost, Person, World};

const MINUTE: Duration = Duration::from_secs(60);

/// Bob's letters arrive, and alice's engine does all that it has to do.
async fn still_works(world: &World, alice: &Person, bob: &Person) -> MessageState {
    let said = bob.say("alice", "good").await.expect("it works");
    world.settle(&[bob, alice]).await.expect("it works");
    assert!(alice.transcript("bob").await.expect("it works").contains(&"good".to_owned()));
    world.wait(25 * 60 * MINUTE).await;
    world.settle(&[alice, bob]).await.expect("it works");
    alice.say("bob", "likewise").await.expect("it works");
    world.settle(&[alice, bob]).await.expect("it works");
    assert!(bob.transcript("alice").await.expect("it works").contains(&"likewise".to_owned()));
    bob.messenger.message(said.number).await.expect("it works").state
}

fn bad(good: &Envelope, number: usize) -> Envelope {
    let cut = |bytes: &Bytes, length: usize| bytes.slice(..bytes.len().min(length));
    match number % 7 {
        0 => good.with_header_bit(number % (good.header.len() * 8)),
        1 => good.with_payload_bit(number % (good.payload.len() * 8)),
        2 => Envelope { header: cut(&good.header, number % 40), ..good.clone() },
        3 => Envelope { payload: cut(&good.payload, number), ..good.clone() },
        4 => Envelope { header: Bytes::from(vec![0x11; 1_153]), ..good.clone() },
        5 => Envelope { header: Bytes::new(), payload: Bytes::new(), ..good.clone() },
        _ => Envelope { payload: good.header.clone(), header: Bytes::from(vec![0x12; 33]), ..good.clone() },
    }
}

#[tokio::test(start_paused = true)]
async fn e3_five_hundred_bad_envelopes_block_nobody_while_they_come_and_in_one_backlog() {
    let (world, _, alice, bob) = World::contacts(760).await;
    for (from, to, other) in [(&bob, "alice", &alice), (&alice, "bob", &bob)] {
        from.say(to, "before").await.unwrap();
        world.settle(&[from, other]).await.unwrap();
    }
    let post = HeldPost::begin(&world.network);
    bob.say("alice", "held").await.unwrap();
    bob.catch_up().await.unwrap();
    let good = post.take().swap_remove(0);
    post.end(&world.network);
    for number in 0..250 {
        world.network.put(&bad(&good, number)).await;
    }
    alice.messenger.shut_down();
    for number in 250..500 {
        world.network.put(&bad(&good, number)).await;
    }
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert!(alice.refusals().values().sum::<i64>() > 200, "{:?}", alice.refusals());
    assert!(alice.database().number("SELECT count(*) FROM waiting") <= 64);
    assert_eq!(still_works(&world, &alice, &bob).await, MessageState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn e3_letters_with_bad_contents_and_wild_numbers_block_nobody() {
    let (world, _, alice, bob) = World::contacts(761).await;
    for number in 0..100 {
        bob.say("alice", &format!("bad {number}")).await.unwrap();
    }
    // Garbage of every length, a text of no bytes, bodies that are known and hold garbage, lists of letters without end.
    bob.database().change(
        "UPDATE message SET content = randomblob(1 + id % 70) WHERE id % 5 = 0;
         UPDATE message SET content = x'5200' WHERE id % 5 = 1;
         UPDATE message SET content = x'ca0203010203' WHERE id % 5 = 2;
         UPDATE message SET content = x'' WHERE id % 5 = 3;
         UPDATE outbox SET sent_at = 9223372036854775807 WHERE id % 5 = 4;
         UPDATE peer_device SET counter_sent = 4611686018427387000",
    );
    bob.catch_up().await.unwrap();
    alice.catch_up().await.unwrap();
    // What had left before stays as it was.
    assert!(alice.refusals().values().sum::<i64>() >= 25, "{:?}", alice.refusals());
    assert_eq!(still_works(&world, &alice, &bob).await, MessageState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn e3_a_letter_that_says_what_no_letter_may_is_shown_so_and_holds_up_none_behind_it() {
    let (world, _, alice, bob) = World::contacts(764).await;
    for (from, to, other) in [(&bob, "alice", &alice), (&alice, "bob", &bob)] {
        from.say(to, "before").await.unwrap();
        world.settle(&[from, other]).await.unwrap();
    }
    bob.say("alice", "bad").await.unwrap();
    bob.database().change("UPDATE message SET content = x'ca0203010203' WHERE text = 'bad'");
    let good = bob.say("alice", "good").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.refused("content_malformed"), 1);
    let contact = alice.contact("bob").await.unwrap().id;
    let kinds: Vec<_> = alice.messenger.messages(contact, None, 2).await.unwrap().iter().map(|m| m.kind).collect();
    assert_eq!(kinds, [Kind::Missing(Missing::Malformed), Kind::Text]);
    alice.say("bob", "heard").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.messenger.message(good.number).await.unwrap().state, MessageState::Delivered);
    assert_eq!(alice.database().number("SELECT count(*) FROM received_counter"), 0);
    assert_eq!(alice.refused("content_malformed"), 1, "it is not asked for again");
}

#[tokio::test(start_paused = true)]
async fn e6_whoever_has_sent_the_last_counter_there_is_is_asked_like_everybody() {
    let (world, _, alice, bob) = World::contacts(762).await;
    for (from, to, other) in [(&bob, "alice", &alice), (&alice, "bob", &bob)] {
        from.say(to, "before").await.unwrap();
        world.settle(&[from, other]).await.unwrap();
    }
    bob.database().change("UPDATE peer_device SET counter_sent = 4611686018427387902");
    bob.say("alice", "the last").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["before", "before", "the last"]);
    // As many places as there may be, so that everything behind that counter would be asked for.
    alice.database().change(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 64)
         INSERT INTO message (id, conversation, sender, message_id, sent_at, received_at, kind, text, content, state, cause, position)
             SELECT 100 + n, 1, 1, randomblob(16), 1, 1, 3, '', x'', 10, 1, (1 << 62) + n FROM n;
         INSERT INTO unopened SELECT randomblob(32), 1, id FROM message WHERE kind = 3;
         UPDATE peer_device SET ask_at = 1",
    );
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(5 * MINUTE).await;
    assert_eq!(alice.database().number("SELECT asks FROM peer_device"), 1);
    assert_eq!(bob.database().number("SELECT answers FROM peer_device"), 1, "and hears it");
}

#[tokio::test(start_paused = true)]
async fn e3_an_envelope_that_this_device_cannot_deal_with_is_set_aside_and_its_sender_keeps_it() {
    let (world, relay, alice, bob) = World::contacts(763).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    for (from, to, other) in [(&bob, "alice", &alice), (&alice, "bob", &bob)] {
        from.say(to, "before").await.unwrap();
        world.settle(&[from, other]).await.unwrap();
    }
    // Of alice's sessions with bob none can be read.
    alice.messenger.shut_down();
    let kept = alice.database().texts("SELECT hex(state_sealed) FROM session ORDER BY id").swap_remove(0);
    alice.database().change("UPDATE session SET state_sealed = x'00' WHERE id = (SELECT min(id) FROM session)");
    bob.say("alice", "poison").await.unwrap();
    carol.say("alice", "behind it").await.unwrap();
    bob.catch_up().await.unwrap();
    carol.catch_up().await.unwrap();
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("carol").await.unwrap(), ["behind it"]);
    assert_eq!(alice.refused("set_aside"), 1);
    // What was the matter is over: it comes again.
    alice.database().change(&format!("UPDATE session SET state_sealed = x'{kept}' WHERE state_sealed = x'00'"));
    bob.say("alice", "good").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    world.wait(5 * MINUTE).await;
    assert_eq!(alice.transcript("bob").await.unwrap(), ["before", "before", "poison", "good"]);
}
