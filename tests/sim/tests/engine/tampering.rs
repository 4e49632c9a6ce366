//! Whoever stands between, or holds a token, can repeat, change and misdirect envelopes. None of that changes anything, and none of it
//! keeps the next letter from arriving.

use std::time::Duration;

use sotto_protocol::limits::PAYLOAD_BYTES_MAX;
use sotto_protocol::relay::server_frame;
use sotto_sim::{Envelope, Person, World};

/// Puts an envelope, lets alice meet it, and expects this refusal and nothing else.
async fn refuses(world: &World, alice: &Person, envelope: &Envelope, code: &str) {
    let (dump, refused) = (alice.dump(), alice.refused(code));
    let known = alice.refusals();
    assert!(world.network.put(envelope).await, "{code}");
    assert_eq!(alice.refused(code), refused + 1, "{code}: {known:?} became {:?}", alice.refusals());
    assert!(alice.dump() == dump, "{code}: something changed");
}

/// Puts an envelope that cannot be told from one that came too early: it waits, and nothing else changes.
async fn keeps(world: &World, alice: &Person, envelope: &Envelope) {
    let (mut dump, waiting) = (alice.dump(), alice.database().number("SELECT count(*) FROM waiting"));
    assert!(world.network.put(envelope).await);
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), waiting + 1);
    let mut now = alice.dump();
    dump.remove("waiting");
    now.remove("waiting");
    assert!(now == dump, "something changed");
}

/// Alice's last opener and last continuation from bob, in a world where both have talked.
async fn talked(seed: u64) -> (World, Person, Person, Envelope, Envelope) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    // Everybody has another KEM key by then, and begins with an opener under the pair's token.
    let two_days = Duration::from_secs(50 * 3600);
    let [alice, bob] = world.switched_off([alice, bob], two_days).await.expect("they come back");
    for _ in 0..3 {
        alice.say("bob", "ping").await.expect("alice speaks");
        world.settle(&[&alice, &bob]).await.expect("they settle");
        bob.say("alice", "pong").await.expect("bob speaks");
        world.settle(&[&alice, &bob]).await.expect("they settle");
    }
    let envelopes = world.network.envelopes_to(&alice);
    let continuation = envelopes.last().expect("bob spoke").clone();
    assert!(!continuation.is_opener());
    // Under the pair's token, as the continuation.
    let is_opener = |envelope: &&Envelope| envelope.is_opener() && envelope.token == continuation.token;
    let opener = envelopes.iter().rfind(is_opener).expect("bob began").clone();
    (world, alice, bob, opener, continuation)
}

async fn still_talk(world: &World, alice: &Person, bob: &Person) {
    let before = alice.transcript("bob").await.expect("read").len();
    bob.say("alice", "and still").await.expect("bob speaks");
    world.settle(&[bob, alice]).await.expect("they settle");
    assert_eq!(alice.transcript("bob").await.expect("read").len(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn e3_a_replayed_envelope_changes_nothing() {
    let (world, alice, bob, opener, continuation) = talked(30).await;
    refuses(&world, &alice, &continuation, "repeat").await;
    refuses(&world, &alice, &opener, "repeat").await;
    still_talk(&world, &alice, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn e3_a_repeat_is_known_before_any_ratchet_is_touched() {
    let (world, alice, bob, _, continuation) = talked(31).await;
    // Without the memory of inner hashes the ratchet is asked, and says no.
    alice.database().change("DELETE FROM seen_inner");
    let sessions = || alice.database().texts("SELECT hex(state_sealed) FROM session ORDER BY id");
    let (before, heard) = (sessions(), alice.transcript("bob").await.unwrap());
    assert!(world.network.put(&continuation).await);
    assert_eq!((alice.refused("olm_key_gone"), sessions() == before), (1, true));
    // Its maker sends it again, and that is known by what it says.
    world.wait(Duration::from_secs(300)).await;
    assert_eq!(alice.transcript("bob").await.unwrap(), heard);
    still_talk(&world, &alice, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn d6_a_changed_header_or_payload_opens_nothing() {
    let (world, alice, bob, opener, continuation) = talked(32).await;
    // The kind, the tag, the nonce.
    refuses(&world, &alice, &continuation.with_header_bit(0), "header_malformed").await;
    keeps(&world, &alice, &continuation.with_header_bit(8)).await;
    keeps(&world, &alice, &continuation.with_header_bit(8 * 32)).await;
    refuses(&world, &alice, &continuation.with_payload_bit(0), "seal_refused").await;
    let last = continuation.payload.len() * 8 - 1;
    refuses(&world, &alice, &continuation.with_payload_bit(last), "seal_refused").await;
    // The key id, the encapsulated key's two halves, the nonce.
    refuses(&world, &alice, &opener.with_header_bit(8), "kem_key_gone").await;
    refuses(&world, &alice, &opener.with_header_bit(8 * 9), "seal_refused").await;
    refuses(&world, &alice, &opener.with_header_bit(8 * (9 + 1_119)), "seal_refused").await;
    refuses(&world, &alice, &opener.with_header_bit(8 * (9 + 1_120)), "seal_refused").await;
    let mut short = continuation.clone();
    short.header = short.header.slice(..short.header.len() - 1);
    refuses(&world, &alice, &short, "header_malformed").await;
    let mut empty = continuation.clone();
    empty.payload = empty.payload.slice(..16);
    refuses(&world, &alice, &empty, "seal_refused").await;
    still_talk(&world, &alice, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn c4_a_letter_on_the_alias_of_somebody_else_is_refused() {
    let (world, alice, bob, opener, continuation) = talked(33).await;
    let carol = world.person("carol", &alice.messenger.account().await.unwrap().relays).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    carol.say("alice", "hello from carol").await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    let of_carol = world.network.envelopes_to(&alice).last().unwrap().clone();
    assert_ne!(of_carol.token, continuation.token);
    // Memory of inner hashes is not what refuses these.
    alice.database().change("DELETE FROM seen_inner");
    refuses(&world, &alice, &opener.instead_of(&of_carol), "sender_is_not_the_contact").await;
    keeps(&world, &alice, &continuation.instead_of(&of_carol)).await;
    still_talk(&world, &alice, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn d1_garbage_from_a_contact_never_blocks_the_next_letter() {
    let (world, alice, bob, opener, continuation) = talked(34).await;
    alice.messenger.shut_down();
    for bit in 0..40 {
        world.network.put(&continuation.with_payload_bit(bit)).await;
        world.network.put(&opener.with_header_bit(8 * 20 + bit)).await;
        world.network.put(&continuation.with_header_bit(8 + bit)).await;
    }
    bob.say("alice", "behind the garbage").await.unwrap();
    bob.catch_up().await.unwrap();
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), "behind the garbage");
    assert_eq!(alice.refused("seal_refused"), 80);
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 40);
}

#[tokio::test(start_paused = true)]
async fn d3_aliases_of_one_contact_share_the_room_for_what_waits() {
    let (world, alice, bob, _, continuation) = talked(36).await;
    for alias in 1..=4 {
        alice.database().change(&format!(
            "INSERT INTO alias (own_inbox, alias, purpose, contact, token_hash, batch)
             SELECT id, {alias}, 1, (SELECT id FROM contact), randomblob(32), 0 FROM own_inbox;
             WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 64)
             INSERT INTO waiting (own_inbox, alias, header, payload, stored_at, reason)
             SELECT own_inbox.id, {alias}, randomblob(40), x'00', {}, 1 FROM own_inbox, number",
            world.now().as_ms()
        ));
    }
    refuses(&world, &alice, &continuation.with_header_bit(8 * 10), "too_many_waiting").await;
    alice.database().change("DELETE FROM waiting WHERE alias = 4");
    keeps(&world, &alice, &continuation.with_header_bit(8 * 10)).await;
    still_talk(&world, &alice, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn d6_what_is_longer_than_an_envelope_may_be_is_neither_opened_nor_kept() {
    let (world, _, alice, bob) = World::contacts(246).await;
    world.network.lie(Some(Box::new(|_, frame| {
        if let server_frame::Frame::Deliveries(deliveries) = frame {
            for delivery in &mut deliveries.deliveries {
                delivery.payload = vec![7; PAYLOAD_BYTES_MAX + 1].into();
            }
        }
    })));
    bob.say("alice", "a short one").await.unwrap();
    bob.catch_up().await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.refused("oversized"), 1);
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 0);
}

#[tokio::test(start_paused = true)]
async fn d3_at_most_64_continuations_wait_per_alias_and_for_30_days() {
    let (world, alice, bob, _, continuation) = talked(35).await;
    for bit in 0..64 {
        world.network.put(&continuation.with_header_bit(8 + bit)).await;
    }
    alice.catch_up().await.unwrap();
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 64);
    refuses(&world, &alice, &continuation.with_header_bit(8 * 10), "too_many_waiting").await;
    still_talk(&world, &alice, &bob).await;
    let [alice, _] = world.switched_off([alice, bob], Duration::from_secs(31 * 24 * 3600)).await.unwrap();
    world.wait(Duration::from_secs(3600)).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 0);
    assert_eq!(alice.refused("waited_too_long"), 64);
}
