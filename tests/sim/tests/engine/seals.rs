//! Seals as the engine uses them: what stands on the wire, when openers give way to continuations, and when they come back.

use std::time::Duration;

use sotto_protocol::padding;
use sotto_protocol::request::path;
use sotto_sim::{Envelope, Fate, Person, World};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn d1_everything_that_a_relay_is_given_is_sealed_and_of_a_padded_size() {
    let (world, _, alice, bob) = World::contacts(20).await;
    for length in [1, 200, 500, 1_000, 5_000] {
        alice.say("bob", &"x".repeat(length)).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
    }
    let envelopes = world.network.envelopes();
    assert!(envelopes.len() >= 8, "the handshake and the texts");
    for envelope in &envelopes {
        let header = if envelope.is_opener() { 1 + 8 + 1_120 + 24 } else { 1 + 8 + 24 };
        assert_eq!(envelope.header.len(), header);
        assert!([0x11, 0x12].contains(&envelope.header[0]), "openers and continuations are all that there is");
        let padded = envelope.payload.len() - 16;
        assert!(padded >= 256 && padding::padded_length(padded - 4) == padded, "{padded} is no size of a bucket");
    }
}

/// What bob has said to alice since there were so many envelopes.
fn since(world: &World, alice: &Person, count: usize) -> Vec<Envelope> {
    world.network.envelopes_to(alice).split_off(count)
}

#[tokio::test(start_paused = true)]
async fn d2_openers_repeat_with_one_enc_until_the_peer_has_confirmed() {
    let (world, _, alice, bob) = World::contacts(21).await;
    let [mut alice, bob] = world.switched_off([alice, bob], 50 * HOUR).await.unwrap();
    alice.messenger.shut_down();
    let before = world.network.envelopes_to(&alice).len();
    for round in 0..5 {
        bob.say("alice", &format!("{round}")).await.unwrap();
        bob.catch_up().await.unwrap();
    }
    let offline = since(&world, &alice, before);
    assert_eq!(offline.len(), 5);
    assert!(offline.iter().all(|envelope| envelope.is_opener() && envelope.enc() == offline[0].enc()));
    alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    alice.say("bob", "I am back").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let before = world.network.envelopes_to(&alice).len();
    bob.say("alice", "so I see").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let online = since(&world, &alice, before);
    assert!(!online.is_empty() && online.iter().all(|envelope| !envelope.is_opener()), "confirmed: continuations");
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 7);
}

#[tokio::test(start_paused = true)]
async fn d3_a_new_opener_comes_after_100_letters() {
    let (world, _, alice, bob) = World::contacts(22).await;
    alice.say("bob", "go on").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let before = world.network.envelopes_to(&alice).len();
    for round in 0..15 {
        for _ in 0..10 {
            bob.say("alice", "on").await.unwrap();
        }
        world.settle(&[&bob, &alice]).await.unwrap();
        alice.say("bob", &format!("{round}")).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
    }
    let envelopes = since(&world, &alice, before);
    let first_opener = envelopes.iter().skip(5).position(Envelope::is_opener).map(|place| place + 5);
    // A batch may carry the seal a little over its hundred letters.
    assert!(first_opener.is_some_and(|place| (90..=112).contains(&place)), "{first_opener:?}");
    assert!(!envelopes.last().unwrap().is_opener(), "and is confirmed in its turn");
}

#[tokio::test(start_paused = true)]
async fn d3_a_new_opener_comes_after_48_hours_and_with_a_new_kem_key() {
    let (world, _, alice, bob) = World::contacts(23).await;
    alice.say("bob", "hello").await.unwrap();
    bob.say("alice", "hello").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let old = world.network.envelopes_to(&alice);
    let old_opener = old.iter().rfind(|envelope| envelope.is_opener()).unwrap();
    let [alice, bob] = world.switched_off([alice, bob], 49 * HOUR).await.unwrap();
    let before = world.network.envelopes_to(&alice).len();
    bob.say("alice", "two days later").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let new = since(&world, &alice, before);
    assert!(new[0].is_opener());
    assert_ne!(new[0].enc(), old_opener.enc());
    assert_ne!(new[0].header[1..9], old_opener.header[1..9], "alice has another KEM key now");
    assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), "two days later");
}

#[tokio::test(start_paused = true)]
async fn d2_a_seal_key_is_installed_only_by_a_letter_that_names_its_opener() {
    let (world, _, alice, mut bob) = World::contacts(24).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    // Encrypted, and never at the relay before alice has another KEM key.
    world.network.meddle(Some(Box::new(|call| if call.path == path::SEND { Fate::Lost } else { Fate::Passes })));
    bob.say("alice", "an old letter").await.unwrap();
    bob.catch_up().await.unwrap();
    bob.messenger.shut_down();
    world.network.meddle(None);
    world.wait(49 * HOUR).await;
    alice.catch_up().await.unwrap();
    let installed = alice.database().number("SELECT count(*) FROM seal_in");
    bob = world.reopen(bob).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["an old letter"], "delivered all the same");
    assert_eq!(alice.database().number("SELECT count(*) FROM seal_in"), installed, "and installs nothing");
    bob.say("alice", "a new letter").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.database().number("SELECT count(*) FROM seal_in"), installed + 1);
}

#[tokio::test(start_paused = true)]
async fn d3_a_continuation_without_its_key_waits_and_is_tried_again_after_the_next_opener() {
    let (world, _, mut alice, bob) = World::contacts(25).await;
    for _ in 0..2 {
        alice.say("bob", "ping").await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        bob.say("alice", "pong").await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    // As if the opener had not come yet.
    alice.messenger.shut_down();
    alice.database().change("CREATE TABLE late AS SELECT * FROM seal_in; DELETE FROM seal_in;");
    bob.say("alice", "under a continuation").await.unwrap();
    bob.catch_up().await.unwrap();
    assert!(!world.network.envelopes_to(&alice).last().unwrap().is_opener());
    alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 4);
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 1);
    alice.database().change("INSERT INTO seal_in SELECT * FROM late; DROP TABLE late;");
    let [alice, bob] = world.switched_off([alice, bob], 49 * HOUR).await.unwrap();
    bob.say("alice", "under an opener").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let said = alice.transcript("bob").await.unwrap();
    assert_eq!(said[4..], ["under an opener", "under a continuation"]);
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 0);
}
