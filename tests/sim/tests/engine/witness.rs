//! The second witness against a restored copy: what a relay remembers is heard before any ratchet moves (PROTOCOL H1).

use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_core::records::ContactState;
use sotto_protocol::RelayAddress;
use sotto_protocol::relay::{Tick, server_frame};
use sotto_protocol::request::path;
use sotto_sim::{Backup, Fate, Person, World};

/// Slower than couriers that do not wait, faster than the patience of those that do.
const SLOW: Duration = Duration::from_secs(5);
const RATCHETS: &str = "SELECT state_sealed FROM session ORDER BY id";

/// A copy of alice with a letter queued and nothing encrypted, which alice has outlived.
async fn outlived_copy(seed: u64) -> (World, Backup, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    alice.say("bob", "queued").await.expect("they speak");
    alice.messenger.shut_down();
    let copy = world.back_up(&alice);
    assert_eq!(copy.database().number("SELECT count(*) FROM outbox WHERE state = 0"), 1);
    let alice = world.reopen(alice).await.expect("they come back");
    world.settle(&[&alice, &bob]).await.expect("they settle");
    bob.say("alice", "after the copy").await.expect("they speak");
    world.settle(&[&bob, &alice]).await.expect("they settle");
    alice.messenger.shut_down();
    (world, copy, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn h1_a_restored_copy_with_letters_queued_moves_no_ratchet_before_its_relay_has_spoken() {
    let (world, copy, _alice, bob) = outlived_copy(110).await;
    let (ratchets, envelopes) = (copy.database().blobs(RATCHETS), world.network.envelopes().len());
    world.network.delay_streams(SLOW);
    let secrets = copy.secrets.copy();
    // Nor can it know whether another has taken its place.
    world.network.meddle(Some(Box::new(|call| if call.path == path::CHAIN_READ { Fate::Lost } else { Fate::Passes })));
    let restored = world.restore(copy, secrets).await.unwrap();
    world.wait(Duration::from_secs(3600)).await;
    assert_eq!(restored.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
    assert_eq!(world.network.envelopes().len(), envelopes, "nothing left");
    assert!(restored.database().blobs(RATCHETS) == ratchets, "and no ratchet moved");
    assert_eq!(bob.transcript("alice").await.unwrap(), ["queued", "after the copy"]);
}

#[tokio::test(start_paused = true)]
async fn h1_a_relay_that_neither_answers_nor_fails_holds_letters_up_for_a_moment_only() {
    let (world, _, alice, bob) = World::contacts(111).await;
    world.network.delay_streams(Duration::from_secs(24 * 3600));
    let alice = world.reopen(alice).await.unwrap();
    alice.say("bob", "soon").await.unwrap();
    world.wait(SLOW).await;
    assert_eq!(bob.transcript("alice").await.unwrap().len(), 0, "the witness has its time");
    world.wait(Duration::from_secs(15)).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["soon"]);
}

/// From now on this relay never says what it remembers of anybody; it says the time instead.
fn silence(world: &World, silent: &RelayAddress) {
    let (silent, now_ms) = (silent.name().clone(), world.now().as_ms());
    world.network.lie(Some(Box::new(move |relay, frame| {
        if *relay == silent && matches!(frame, server_frame::Frame::Attached(_)) {
            *frame = server_frame::Frame::Tick(Tick { now_ms });
        }
    })));
}

#[tokio::test(start_paused = true)]
async fn h1_a_relay_that_never_says_what_it_remembers_holds_up_no_first_contact() {
    let world = World::seeded(112);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays[..1]).await.unwrap();
    silence(&world, &relays[1]);
    let alice = world.reopen(alice).await.unwrap();
    let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
    let invite = alice.messenger.invite(options).await.unwrap();
    // As long as a command waits.
    let patience = Duration::from_secs(60);
    let caught_up = alice.messenger.catch_up(patience).await.unwrap();
    assert_eq!(caught_up.unreachable.len(), 1, "{caught_up:?}");
    bob.messenger.join(&invite.link).await.unwrap();
    bob.messenger.catch_up(patience).await.unwrap();
    let _ = alice.messenger.catch_up(patience).await.unwrap();
    bob.messenger.catch_up(patience).await.unwrap();
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn h1_nothing_is_taken_from_a_relay_that_has_not_said_what_it_remembers() {
    let (world, relay, alice, bob) = World::contacts(113).await;
    alice.messenger.shut_down();
    bob.say("alice", "waiting").await.unwrap();
    bob.catch_up().await.unwrap();
    silence(&world, &relay);
    let alice = world.reopen(alice).await.unwrap();
    let before = alice.database().blobs(RATCHETS);
    let caught_up = alice.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
    assert_eq!(caught_up.unreachable, [(relay, "relay_malformed")]);
    assert!(alice.database().blobs(RATCHETS) == before);
    world.network.lie(None);
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["waiting"]);
}
