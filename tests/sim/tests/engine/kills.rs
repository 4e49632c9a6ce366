//! Nothing is lost and nothing comes twice, whichever write is the last one before the engine dies, or finds no room on the disk.
//!
//! Each walk lets the first write fail, then the second, and so on until a run passes through. After each the profile is opened again
//! from what is on disk, everything is finished, and both sides are compared.

use std::time::Duration;

use sotto_core::records::ContactState;
use sotto_core::{InviteOptions, danger};
use sotto_sim::World;

/// Long enough for everything that works, too short for many retries of what cannot.
const SOON: Duration = Duration::from_secs(2);
/// A walk that is longer than this does not end.
const STEPS_MAX: u64 = 400;

#[tokio::test(start_paused = true)]
async fn a_message_survives_a_kill_at_every_write_of_its_sending() {
    let (world, _, mut alice, bob) = World::contacts(10).await;
    let mut said = Vec::new();
    for step in 1..STEPS_MAX {
        danger::fail_writes_from(&alice.messenger, step);
        let text = format!("message {step}");
        if alice.say("bob", &text).await.is_ok() {
            said.push(text);
        }
        let _ = alice.messenger.catch_up(SOON).await;
        let passed = danger::writes(&alice.messenger) < step;
        alice = world.reopen(alice).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        assert_eq!(bob.transcript("alice").await.unwrap(), said, "killed at write {step}");
        if passed {
            assert!(step > 10, "a send and its journey take more writes than {step}");
            assert_eq!(alice.transcript("bob").await.unwrap(), said);
            return;
        }
    }
    unreachable!("the walk ends");
}

#[tokio::test(start_paused = true)]
async fn a_message_survives_a_kill_at_every_write_of_its_receiving() {
    let (world, _, alice, mut bob) = World::contacts(11).await;
    let mut said = Vec::new();
    for step in 1..STEPS_MAX {
        for part in ["a", "b"] {
            said.push(format!("message {step}{part}"));
            alice.say("bob", said.last().unwrap()).await.unwrap();
        }
        danger::fail_writes_from(&bob.messenger, step);
        alice.catch_up().await.unwrap();
        let _ = bob.messenger.catch_up(SOON).await;
        let passed = danger::writes(&bob.messenger) < step;
        bob = world.reopen(bob).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        assert_eq!(bob.transcript("alice").await.unwrap(), said, "killed at write {step}");
        if passed {
            assert!(step > 5, "a receive takes more writes than {step}");
            return;
        }
    }
    unreachable!("the walk ends");
}

#[tokio::test(start_paused = true)]
async fn a_message_survives_acknowledgements_and_answers_that_get_lost_with_every_kill() {
    let (world, _, mut alice, mut bob) = World::contacts(12).await;
    let mut said = Vec::new();
    for step in 1..8 {
        world.network.lose_acks(true);
        let mut lost = false;
        world.network.meddle(Some(Box::new(move |call| {
            let loses = call.path == sotto_protocol::request::path::SEND && !std::mem::replace(&mut lost, true);
            if loses { sotto_sim::Fate::AnswerLost } else { sotto_sim::Fate::Passes }
        })));
        said.push(format!("message {step}"));
        alice.say("bob", said.last().unwrap()).await.unwrap();
        let _ = alice.messenger.catch_up(SOON).await;
        let _ = bob.messenger.catch_up(SOON).await;
        alice = world.reopen(alice).await.unwrap();
        bob = world.reopen(bob).await.unwrap();
        world.network.lose_acks(step % 2 == 0);
        world.settle(&[&alice, &bob]).await.unwrap();
        assert_eq!(bob.transcript("alice").await.unwrap(), said);
    }
}

/// From the link to the first message, with the last write of the owner and of the scanner at every step that there is.
#[tokio::test(start_paused = true)]
async fn first_contact_survives_a_kill_of_both_sides_at_every_write() {
    let (world, relay, mut alice, _) = World::contacts(13).await;
    for step in 1..STEPS_MAX {
        let mut bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
        let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
        danger::fail_writes_from(&alice.messenger, step);
        danger::fail_writes_from(&bob.messenger, step);
        // A call that fails has changed nothing, and is made again as its user would.
        let mut invite = alice.messenger.invite(options).await;
        let _ = alice.messenger.catch_up(SOON).await;
        if invite.is_err() {
            alice = world.reopen(alice).await.unwrap();
            invite = alice.messenger.invite(options).await;
            alice.catch_up().await.unwrap();
        }
        let link = invite.unwrap().link;
        let joined = bob.messenger.join(&link).await;
        for person in [&bob, &alice, &bob, &alice] {
            let _ = person.messenger.catch_up(SOON).await;
        }
        let passed = danger::writes(&alice.messenger) < step && danger::writes(&bob.messenger) < step;
        alice = world.reopen(alice).await.unwrap();
        bob = world.reopen(bob).await.unwrap();
        if joined.is_err() {
            alice.catch_up().await.unwrap();
            bob.messenger.join(&link).await.unwrap_or_else(|error| unreachable!("write {step}: {error}"));
        }
        world.settle(&[&bob, &alice]).await.unwrap();
        let bob_id = bob.messenger.account().await.unwrap().id.to_string();
        let of_alice = alice.contact(&bob_id).await.unwrap_or_else(|error| unreachable!("write {step}: {error}"));
        let of_bob = bob.contact("alice").await.unwrap_or_else(|error| unreachable!("write {step}: {error}"));
        assert_eq!((of_alice.state, of_bob.state), (ContactState::Accepted, ContactState::Accepted), "write {step}");
        alice.say(&bob_id, "hello").await.unwrap();
        bob.say("alice", "hello back").await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        assert_eq!(alice.transcript(&bob_id).await.unwrap().len(), 2, "write {step}");
        assert_eq!(bob.transcript("alice").await.unwrap().len(), 2, "write {step}");
        if passed {
            assert!(step > 20, "first contact takes more writes than {step}");
            return;
        }
    }
    unreachable!("the walk ends");
}
