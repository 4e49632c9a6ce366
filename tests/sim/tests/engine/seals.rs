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
    // Bob comes back when alice has renewed her bundle: both at once would race for it.
    bob.messenger.shut_down();
    let [alice] = world.switched_off([alice], 49 * HOUR).await.unwrap();
    let bob = world.reopen(bob).await.unwrap();
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
    // A relay that delivers it again, under another number, fills no more places with it.
    let late = world.network.envelopes_to(&alice).last().unwrap().clone();
    assert!(world.network.put(&late).await);
    alice.catch_up().await.unwrap();
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 1);
    alice.database().change("INSERT INTO seal_in SELECT * FROM late; DROP TABLE late;");
    // And nobody puts it again.
    bob.database().change("UPDATE outbox SET again_at = NULL WHERE state = 2");
    let [alice, bob] = world.switched_off([alice, bob], 49 * HOUR).await.unwrap();
    bob.say("alice", "under an opener").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let said = alice.transcript("bob").await.unwrap();
    assert_eq!(said[4..], ["under a continuation", "under an opener"]);
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 0);
}

/// Bob has begun a new seal, under which alice has one letter and which she has not confirmed.
async fn begun(seed: u64) -> (World, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    let [alice, bob] = world.switched_off([alice, bob], 50 * HOUR).await.expect("they come back");
    bob.say("alice", "one").await.expect("bob speaks");
    world.settle(&[&bob, &alice]).await.expect("they settle");
    (world, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn d2_an_enc_is_decapsulated_once() {
    let (world, alice, bob) = begun(26).await;
    // Without the private key nothing can be decapsulated any more.
    alice.database().change("DELETE FROM kem_key");
    for text in ["two", "three"] {
        bob.say("alice", text).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    let envelopes = since(&world, &alice, world.network.envelopes_to(&alice).len() - 3);
    assert!(envelopes.iter().all(|envelope| envelope.is_opener() && envelope.enc() == envelopes[0].enc()));
    assert_eq!(alice.transcript("bob").await.unwrap(), ["one", "two", "three"]);
    assert_eq!(alice.refused("kem_key_gone"), 0);
}

#[tokio::test(start_paused = true)]
async fn d2_an_opener_whose_key_has_retired_is_read_and_installs_nothing_again() {
    let (world, alice, bob) = begun(27).await;
    world.network.meddle(Some(Box::new(|call| if call.path == path::SEND { Fate::Lost } else { Fate::Passes })));
    bob.say("alice", "under a retired key").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(2)).await;
    bob.messenger.shut_down();
    world.network.meddle(None);
    let late = world.network.envelopes_to(&alice).last().unwrap().clone();
    alice
        .database()
        .change("UPDATE seal_in SET state_sealed = NULL, retired_at = 1 WHERE id = (SELECT max(id) FROM seal_in)");
    let seals = alice.dump()["seal_in"].clone();
    assert!(world.network.put(&late).await);
    assert_eq!(alice.transcript("bob").await.unwrap(), ["one", "under a retired key"]);
    assert_eq!(alice.dump()["seal_in"], seals);
}

#[tokio::test(start_paused = true)]
async fn d2_retired_openers_are_forgotten_with_the_kem_key_that_opened_them() {
    let (world, alice, bob) = begun(28).await;
    alice.database().change("UPDATE seal_in SET state_sealed = NULL, retired_at = 1");
    let retired = alice.database().number("SELECT count(*) FROM seal_in");
    assert!(retired >= 2);
    let [alice, bob] = world.switched_off([alice, bob], 60 * HOUR).await.unwrap();
    assert_eq!(alice.database().number("SELECT count(*) FROM seal_in"), retired, "they could come again");
    let [alice, bob] = world.switched_off([alice, bob], 38 * 24 * HOUR).await.unwrap();
    world.wait(HOUR).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM seal_in WHERE state_sealed IS NULL"), 0);
    bob.say("alice", "and still").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["one", "and still"]);
}

#[tokio::test(start_paused = true)]
async fn d2_an_inbox_that_gets_many_new_seals_retires_none_of_another_inbox() {
    let (world, alice, bob) = begun(29).await;
    // Those of another inbox of alice's, which bob uses rarely.
    alice.database().change(
        "INSERT INTO own_inbox (own_device, position, relay, inbox, prekey_key, manage_key_sealed)
         SELECT own_device, 1, 'https://two.example', randomblob(16), prekey_key, manage_key_sealed FROM own_inbox;
         UPDATE seal_in SET own_inbox = (SELECT max(id) FROM own_inbox);",
    );
    let elsewhere = "SELECT count(*) FROM seal_in WHERE own_inbox != 1 AND state_sealed IS NOT NULL";
    let here = "SELECT count(*) FROM seal_in WHERE own_inbox = 1 AND state_sealed IS NOT NULL";
    let kept = alice.database().number(elsewhere);
    assert!(kept > 0);
    for round in 0..6 {
        bob.database().change("DELETE FROM seal_out");
        bob.say("alice", &format!("{round}")).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    assert_eq!(alice.database().number(elsewhere), kept);
    assert_eq!(alice.database().number(here), 4, "the oldest of this inbox retire");
    // Both are told of in turn.
    let before = world.network.envelopes_to(&bob).len();
    for _ in 0..2 {
        alice.say("bob", "heard").await.unwrap();
    }
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(world.network.envelopes_to(&bob).len(), before + 2);
    assert_eq!(bob.database().number("SELECT count(*) FROM seal_out WHERE confirmed_at IS NOT NULL"), 1);
}

#[tokio::test(start_paused = true)]
async fn d3_a_new_opener_comes_48_hours_after_the_confirmation_to_the_same_kem_key() {
    let (world, _, alice, bob) = World::contacts(36).await;
    alice.say("bob", "hello").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    bob.say("alice", "hello").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.say("bob", "confirmed").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    // Alice is away and makes no other KEM key.
    alice.messenger.shut_down();
    let old = world.network.envelopes_to(&alice).into_iter().rfind(Envelope::is_opener).unwrap();
    let [bob] = world.switched_off([bob], 47 * HOUR).await.unwrap();
    bob.say("alice", "47 hours").await.unwrap();
    bob.catch_up().await.unwrap();
    assert!(!world.network.envelopes_to(&alice).last().unwrap().is_opener());
    let [bob] = world.switched_off([bob], 2 * HOUR).await.unwrap();
    bob.say("alice", "49 hours").await.unwrap();
    bob.catch_up().await.unwrap();
    let new = world.network.envelopes_to(&alice).last().unwrap().clone();
    assert!(new.is_opener() && new.enc() != old.enc());
    assert_eq!(new.header[1..9], old.header[1..9], "one KEM key");
}

#[tokio::test(start_paused = true)]
async fn d3_an_unconfirmed_opener_changes_only_with_the_peers_kem_key() {
    let (world, alice, bob) = begun(37).await;
    alice.messenger.shut_down();
    let before = world.network.envelopes_to(&alice).len() - 1;
    for round in 0..120 {
        bob.say("alice", &format!("{round}")).await.unwrap();
    }
    bob.catch_up().await.unwrap();
    let [bob] = world.switched_off([bob], 60 * HOUR).await.unwrap();
    bob.say("alice", "days later").await.unwrap();
    bob.catch_up().await.unwrap();
    let unconfirmed = since(&world, &alice, before);
    assert_eq!(unconfirmed.len(), 122);
    assert!(unconfirmed.iter().all(|envelope| envelope.is_opener() && envelope.enc() == unconfirmed[0].enc()));
    let alice = world.reopen(alice).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 122);
    // She has another KEM key now, and bob reads of it within hours.
    world.wait(13 * HOUR).await;
    bob.say("alice", "to the new key").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let new = world.network.envelopes_to(&alice).last().unwrap().clone();
    assert!(new.is_opener() && new.enc() != unconfirmed[0].enc());
}
