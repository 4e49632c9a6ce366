//! A database that is an older copy is told from one that was killed, and its ratchets never move. What becomes of it is in `rebirth.rs`.

use std::sync::{Arc, Mutex};

use sotto_core::{InviteOptions, Messenger, danger};
use sotto_protocol::relay::{Attached, server_frame};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, DeviceId, RelayAddress, RelayName};
use sotto_sim::{Fate, Meddler, Person, Traffic, World};

/// From now on no list can be read: a copy cannot know whether another has taken its place.
fn hide_lists(world: &World, are_hidden: bool) {
    let hide = move |call: &Traffic| if call.path == path::CHAIN_READ { Fate::Lost } else { Fate::Passes };
    world.network.meddle(are_hidden.then(|| Box::new(hide) as Meddler));
}

async fn device(person: &Person) -> DeviceId {
    person.messenger.account().await.expect("it reads").device
}

/// She is the device that she was, and nobody was told otherwise.
async fn is_no_other(alice: &Person, before: DeviceId, bob: &Person) {
    assert_eq!(device(alice).await, before);
    assert_eq!(bob.database().number("SELECT count(*) FROM message WHERE kind = 5"), 0, "no notice");
}

#[tokio::test(start_paused = true)]
async fn h1_an_old_copy_of_the_files_is_rolled_back() {
    let (world, _, alice, bob) = World::contacts(50).await;
    let old = world.back_up(&alice);
    alice.say("bob", "after the copy").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let alice = world.reopen(alice).await.unwrap();
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.shut_down();
    let (envelopes, calls) = (world.network.envelopes().len(), world.network.traffic().len());
    hide_lists(&world, true);
    let old = world.restore(old, alice.secrets.clone()).await.unwrap();
    let error = old.catch_up().await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("rolled_back", true));
    world.wait(std::time::Duration::from_secs(3600)).await;
    assert_eq!(world.network.envelopes().len(), envelopes, "nothing is sent");
    assert!(world.network.traffic()[calls..].iter().all(|call| !call.signed), "and nothing published");
    // It has tried all the time.
    hide_lists(&world, false);
    world.wait(std::time::Duration::from_secs(120)).await;
    old.catch_up().await.unwrap();
    old.say("bob", "as another device").await.unwrap();
    world.settle(&[&old, &bob]).await.unwrap();
    world.wait(std::time::Duration::from_secs(60)).await;
    world.settle(&[&old, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["after the copy", "as another device"]);
}

#[tokio::test(start_paused = true)]
async fn h1_an_old_copy_of_files_and_keystore_together_is_found_out_by_the_relay() {
    let (world, _, alice, bob) = World::contacts(51).await;
    let old = world.back_up(&alice);
    bob.say("alice", "after the copy").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let link = bob.messenger.invite(InviteOptions::default()).await.unwrap().link;
    world.settle(&[&bob]).await.unwrap();
    alice.messenger.shut_down();
    let secrets = old.secrets.copy();
    hide_lists(&world, true);
    let alice = world.restore(old, secrets).await.unwrap();
    let before = world.network.envelopes().len();
    assert_eq!(alice.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
    alice.say("bob", "with no old ratchet").await.unwrap();
    // Nothing is begun of which the answer would come to inboxes that are given up.
    let invite = alice.messenger.invite(InviteOptions::default()).await.map(drop).unwrap_err();
    let join = alice.messenger.join(&link).await.map(drop).unwrap_err();
    let accept = alice.messenger.accept(alice.messenger.contacts().await.unwrap()[0].id).await.unwrap_err();
    // What has waited would be opened.
    alice.messenger.block(alice.contact("bob").await.unwrap().id).await.unwrap();
    let unblock = alice.messenger.unblock(alice.contact("bob").await.unwrap().id).await.unwrap_err();
    assert_eq!([invite, join, accept, unblock].map(|error| error.code()), ["rolled_back"; 4]);
    let _ = alice.catch_up().await;
    world.wait(std::time::Duration::from_secs(3600)).await;
    assert_eq!(world.network.envelopes().len(), before, "no ratchet moves");
}

#[tokio::test(start_paused = true)]
async fn h1_a_crash_between_the_database_and_the_keystore_is_no_rollback() {
    let (world, _, alice, bob) = World::contacts(52).await;
    let before = device(&alice).await;
    alice.messenger.shut_down();
    let secrets_before = alice.secrets.copy();
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.shut_down();
    // The database has committed the next generation, and the keystore never heard of it.
    let torn = world.back_up(&alice);
    let alice = world.restore(torn, secrets_before).await.unwrap();
    alice.say("bob", "still me").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["still me"]);
    is_no_other(&alice, before, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn h1_a_copy_from_between_a_crash_and_the_next_opening_is_rolled_back() {
    let (world, _, alice, _bob) = World::contacts(56).await;
    alice.messenger.shut_down();
    let secrets_before = alice.secrets.copy();
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.shut_down();
    // The database is one ahead of its keystore, is copied, and goes on.
    let (torn, copy) = (world.back_up(&alice), world.back_up(&alice));
    let alice = world.restore(torn, secrets_before).await.unwrap();
    alice.say("bob", "a ratchet steps").await.unwrap();
    alice.messenger.shut_down();
    hide_lists(&world, true);
    let copy = world.restore(copy, alice.secrets.copy()).await.unwrap();
    assert_eq!(copy.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
}

#[tokio::test(start_paused = true)]
async fn h1_a_kill_at_any_write_of_a_receive_is_no_rollback() {
    let (world, _, mut alice, bob) = World::contacts(53).await;
    let before = device(&alice).await;
    world.network.lose_acks(true);
    for step in 1..6 {
        danger::fail_writes_from(&alice.messenger, step);
        bob.say("alice", &format!("{step}")).await.unwrap();
        bob.catch_up().await.unwrap();
        alice = world.reopen(alice).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    assert_eq!(alice.transcript("bob").await.unwrap(), ["1", "2", "3", "4", "5"]);
    is_no_other(&alice, before, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn h1_a_locked_keystore_is_not_an_absent_one() {
    use sotto_core::world::SecretStoreError;
    let (world, _, alice, bob) = World::contacts(54).await;
    let before = device(&alice).await;
    alice.secrets.fail_with(Some(SecretStoreError::Locked));
    alice.messenger.shut_down();
    let copy = world.back_up(&alice);
    let error = world.restore(copy, alice.secrets.clone()).await.map(drop).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("keystore_locked", true));
    alice.secrets.fail_with(None);
    let alice = world.reopen(alice).await.unwrap();
    alice.say("bob", "unlocked").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["unlocked"]);
    is_no_other(&alice, before, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn h1_a_keystore_that_fails_at_two_openings_is_no_rollback() {
    let (world, _, alice, bob) = World::contacts(55).await;
    let before = device(&alice).await;
    alice.messenger.shut_down();
    let secrets = alice.secrets.clone();
    let copy = world.back_up(&alice);
    // Three times the database is opened and the keystore does not keep what it is told.
    secrets.keep_nothing_new(true);
    for _ in 0..3 {
        let error = Messenger::open(world.world(&secrets), copy.directory()).await.map(drop).unwrap_err();
        assert_eq!(error.code(), "keystore_failed");
    }
    secrets.keep_nothing_new(false);
    let alice = world.restore(copy, secrets).await.unwrap();
    alice.say("bob", "still me").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["still me"]);
    is_no_other(&alice, before, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn h1_a_copy_from_before_the_app_was_resumed_is_rolled_back() {
    let (world, _, alice, bob) = World::contacts(60).await;
    let before = device(&alice).await;
    let copy = world.back_up(&alice);
    alice.messenger.resume().await.unwrap();
    // Nothing comes to her, so no relay knows more than the copy.
    bob.messenger.shut_down();
    alice.say("bob", "after the copy").await.unwrap();
    alice.catch_up().await.unwrap();
    alice.messenger.shut_down();
    hide_lists(&world, true);
    let sent = world.network.envelopes().len();
    let old = world.restore(copy, alice.secrets.clone()).await.unwrap();
    old.say("bob", "by a ratchet that has moved").await.unwrap();
    assert_eq!(old.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
    assert_eq!(world.network.envelopes().len(), sent, "nothing is sent");
    old.messenger.shut_down();
    let alice = world.reopen(alice).await.unwrap();
    let bob = world.reopen(bob).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["after the copy"]);
    is_no_other(&alice, before, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn h1_a_keystore_that_fails_when_the_app_is_resumed_is_no_rollback() {
    let (world, _, alice, bob) = World::contacts(61).await;
    let before = device(&alice).await;
    alice.secrets.keep_nothing_new(true);
    for _ in 0..3 {
        assert_eq!(alice.messenger.resume().await.unwrap_err().code(), "keystore_failed");
    }
    alice.say("bob", "goes on").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    alice.secrets.keep_nothing_new(false);
    alice.messenger.resume().await.unwrap();
    let alice = world.reopen(alice).await.unwrap();
    alice.say("bob", "still me").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["goes on", "still me"]);
    is_no_other(&alice, before, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn h1_a_device_whose_keystore_has_gone_on_without_it_finds_out_when_it_is_resumed() {
    let (world, _, alice, bob) = World::contacts(62).await;
    let copy = world.restore(world.back_up(&alice), alice.secrets.clone()).await.unwrap();
    copy.messenger.shut_down();
    bob.messenger.shut_down();
    hide_lists(&world, true);
    let sent = world.network.envelopes().len();
    alice.messenger.resume().await.unwrap();
    alice.say("bob", "by a ratchet that has moved").await.unwrap();
    assert_eq!(alice.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
    assert_eq!(world.network.envelopes().len(), sent, "nothing is sent");
}

#[tokio::test(start_paused = true)]
async fn h1_a_device_that_is_resumed_hears_what_relays_remember_before_its_letters_leave() {
    let (world, _, alice, bob) = World::contacts(63).await;
    let slow = std::time::Duration::from_secs(5);
    world.network.delay_streams(slow);
    alice.messenger.resume().await.unwrap();
    let sent = world.network.envelopes().len();
    alice.say("bob", "after they have spoken").await.unwrap();
    world.wait(slow / 2).await;
    assert_eq!(world.network.envelopes().len(), sent);
    world.wait(slow).await;
    assert_eq!(world.network.envelopes().len(), sent + 1);
    world.network.delay_streams(std::time::Duration::ZERO);
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["after they have spoken"]);
}

/// Changes every *attached* that relays answer with.
fn claim(world: &World, mut change: impl FnMut(&RelayName, &mut Attached) + Send + 'static) {
    world.network.lie(Some(Box::new(move |relay, frame| {
        if let server_frame::Frame::Attached(attached) = frame {
            change(relay, attached);
        }
    })));
}

/// Alice at two relays and bob at the first, contacts; both have had mail.
async fn at_two_relays(seed: u64) -> (World, [RelayAddress; 2], Person, Person) {
    let world = World::seeded(seed);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays).await.expect("it works");
    let bob = world.person("bob", &relays[..1]).await.expect("it works");
    world.introduce(&alice, &bob).await.expect("it works");
    (world, relays, alice, bob)
}

/// Alice reads and writes under what relays claim; she blames those that lie, once they have stopped nobody.
async fn lives_on(world: &World, alice: Person, bob: &Person, blamed: &[&RelayAddress]) -> Person {
    let alice = world.reopen(alice).await.expect("it works");
    bob.say("alice", "to her").await.expect("it works");
    bob.catch_up().await.expect("it works");
    let caught_up = alice.catch_up().await.expect("it works");
    let expected: Vec<_> = blamed.iter().map(|relay| ((*relay).clone(), "relay_unproven")).collect();
    assert_eq!(caught_up.unreachable, expected);
    assert_eq!(caught_up.is_complete, blamed.is_empty());
    alice.say("bob", "from her").await.expect("it works");
    alice.catch_up().await.expect("it works");
    world.settle(&[bob]).await.expect("it works");
    assert_eq!(alice.transcript("bob").await.expect("it works"), bob.transcript("alice").await.expect("it works"));
    assert_eq!(alice.transcript("bob").await.expect("it works").len() % 2, 0);
    alice
}

#[tokio::test(start_paused = true)]
async fn h1_a_number_that_a_relay_makes_up_stops_nothing_and_is_its_own_fault() {
    let (world, relays, mut alice, bob) = at_two_relays(57).await;
    let second = relays[1].name().clone();
    for number in [1_000, u64::MAX] {
        for signature in [Bytes::new(), Bytes::from_static(&[7; 64])] {
            let second = second.clone();
            claim(&world, move |relay, attached| {
                if *relay == second {
                    (attached.acked, attached.signature) = (number, signature.clone());
                }
            });
            alice = lives_on(&world, alice, &bob, &[&relays[1]]).await;
        }
    }
    claim(&world, |_, attached| attached.acked += 1);
    alice = lives_on(&world, alice, &bob, &[&relays[0], &relays[1]]).await;
    world.network.lie(None);
    lives_on(&world, alice, &bob, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn h1_a_relay_gets_no_signature_under_a_number_that_the_cursor_cannot_hold() {
    let (world, _, mut alice, bob) = at_two_relays(60).await;
    let (numbered, signed) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (counted, kept) = (Arc::clone(&numbered), Arc::clone(&signed));
    world.network.lie(Some(Box::new(move |_, frame| match frame {
        server_frame::Frame::Deliveries(deliveries) => {
            for delivery in &mut deliveries.deliveries {
                delivery.sequence = u64::MAX;
                *counted.lock().unwrap() += 1;
            }
        }
        server_frame::Frame::Attached(attached) => kept.lock().unwrap().push(attached.acked),
        _ => {}
    })));
    bob.say("alice", "numbered beyond all numbers").await.unwrap();
    bob.catch_up().await.unwrap();
    for _ in 0..3 {
        let caught_up = alice.messenger.catch_up(std::time::Duration::from_secs(30)).await.unwrap();
        assert_eq!(caught_up.unreachable.first().map(|(_, code)| *code), Some("relay_malformed"));
        alice = world.reopen(alice).await.unwrap();
    }
    assert!(*numbered.lock().unwrap() > 0);
    assert!(signed.lock().unwrap().iter().all(|acked| *acked < 1_000), "nothing was signed for: {signed:?}");
    world.network.lie(None);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["numbered beyond all numbers"]);
    alice.say("bob", "still here").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn h1_the_proof_of_another_relay_or_inbox_proves_nothing() {
    let (world, relays, mut alice, bob) = at_two_relays(58).await;
    // What each relay holds of each inbox.
    let seen = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&seen);
    claim(&world, move |_, attached| written.lock().unwrap().push(attached.clone()));
    let bob = world.reopen(bob).await.unwrap();
    alice = lives_on(&world, alice, &bob, &[]).await;
    let seen: Vec<Attached> = seen.lock().unwrap().iter().filter(|attached| attached.acked > 0).cloned().collect();
    assert!(seen.len() >= 2, "bob's at the first relay, and alice's");
    for replayed in seen {
        let second = relays[1].name().clone();
        claim(&world, move |relay, attached| {
            if *relay == second {
                (attached.acked, attached.signature) = (replayed.acked, replayed.signature.clone());
            }
        });
        alice = lives_on(&world, alice, &bob, &[&relays[1]]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn h1_a_relay_that_forgets_and_remembers_again_has_proven_nothing() {
    let (world, relays, mut alice, bob) = at_two_relays(59).await;
    alice = lives_on(&world, alice, &bob, &[]).await;
    let held = Arc::new(Mutex::new(None));
    let written = Arc::clone(&held);
    let first = relays[0].name().clone();
    claim(&world, move |relay, attached| {
        if *relay == first {
            *written.lock().unwrap() = Some(attached.clone());
            (attached.acked, attached.signature) = (0, Bytes::new());
        }
    });
    alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    let held: Attached = held.lock().unwrap().clone().unwrap();
    assert!(held.acked > 0 && held.signature.len() == 64);
    let first = relays[0].name().clone();
    claim(&world, move |relay, attached| {
        if *relay == first {
            (attached.acked, attached.signature) = (held.acked, held.signature.clone());
        }
    });
    lives_on(&world, alice, &bob, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn h1_a_copy_from_before_its_home_was_left_can_be_read_and_sends_nothing() {
    let (world, home, alice, bob) = World::contacts(59).await;
    alice.say("bob", "before").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    alice.messenger.add_relay(world.network.add_relay("other.example"), String::new()).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let copy = world.back_up(&alice);
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.remove_relay(home).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    alice.messenger.shut_down();
    bob.messenger.shut_down();
    let sent = world.network.envelopes().len();
    let alice = world.restore(copy, alice.secrets.clone()).await.unwrap();
    assert_eq!(alice.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
    alice.say("bob", "queued").await.unwrap();
    world.wait(std::time::Duration::from_secs(2 * 24 * 3600)).await;
    assert_eq!(alice.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
    assert_eq!(world.network.envelopes().len(), sent);
    assert_eq!(alice.transcript("bob").await.unwrap(), ["before", "queued"]);
}
