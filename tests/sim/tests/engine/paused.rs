//! An app that is about to be stopped by the system pauses its engine: nothing is lost, nothing moves, and it goes on where it was.

use std::time::Duration;

use futures_util::future::join_all;
use sotto_core::protocol::AccountId;
use sotto_core::world::SecretStoreError;
use sotto_core::{Error, Event, InviteOptions, Messenger};
use sotto_protocol::request::path;
use sotto_sim::{Fate, World};

const HOUR: Duration = Duration::from_secs(3600);
/// Longer than anything that is cut short here.
const SLOW: Duration = Duration::from_secs(3600);

fn code<T>(answer: Result<T, Error>) -> &'static str {
    match answer {
        Ok(_) => "none",
        Err(error) => {
            assert!(error.code() != "paused" || error.is_retryable());
            error.code()
        }
    }
}

/// What every kind of call answers.
async fn codes(of: &Messenger, other: AccountId, link: &str) -> Vec<&'static str> {
    let relay = || "https://other.example".parse().expect("an address");
    vec![
        code(of.account().await),
        code(of.contacts().await),
        code(of.find_contact("bob").await),
        code(of.safety_number(other).await),
        code(of.conversations(sotto_core::records::Chats::Main, None, 10).await),
        code(of.messages(other, None, 10).await),
        code(of.message(1).await),
        code(of.received_after(0, 10).await),
        code(of.newest().await),
        code(of.relays().await),
        code(of.wait_sent(1, HOUR).await),
        code(of.catch_up(HOUR).await),
        code(of.send_text(other, "not now".to_owned()).await),
        code(of.mark_all_read(other).await),
        code(of.rename(other, Some("robert".to_owned())).await),
        code(of.block(other).await),
        code(of.unblock(other).await),
        code(of.accept(other).await),
        code(of.remove(other).await),
        code(of.invite(InviteOptions::default()).await),
        code(of.join(link).await),
        code(of.add_relay(relay(), String::new()).await),
        code(of.remove_relay(relay()).await),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_paused_engine_answers_paused_to_everything_moves_nothing_and_goes_on_where_it_was() {
    let (world, _, alice, bob) = World::contacts(2_600).await;
    let to = alice.contact("bob").await.unwrap().id;
    let link = bob.messenger.invite(InviteOptions::default()).await.unwrap().link;
    bob.catch_up().await.unwrap();
    let mut events = alice.messenger.events();
    alice.say("bob", "queued").await.unwrap();
    alice.messenger.pause().await;
    assert!(codes(&alice.messenger, to, &link).await.iter().all(|code| *code == "paused"));
    alice.messenger.network_hint();
    bob.say("alice", "waiting").await.unwrap();
    bob.catch_up().await.unwrap();
    bob.messenger.pause().await;
    let calls = world.network.traffic().len();
    world.wait(3 * HOUR).await;
    assert_eq!(world.network.traffic().len(), calls, "nobody calls anybody");
    while events.try_recv().is_ok() {}
    for person in [&alice, &bob] {
        person.messenger.resume().await.unwrap();
    }
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["queued", "waiting"]);
    assert_eq!(bob.transcript("alice").await.unwrap(), ["queued", "waiting"]);
    let told = std::iter::from_fn(|| events.try_recv().ok()).any(|event| matches!(event, Event::MessageReceived(_)));
    assert!(told, "who listened before hears it");
    assert!(!codes(&alice.messenger, to, &link).await.contains(&"paused"));
}

#[tokio::test(start_paused = true)]
async fn pausing_again_resuming_again_and_both_behind_the_end_are_harmless() {
    let (world, _, alice, bob) = World::contacts(2_601).await;
    for _ in 0..2 {
        alice.messenger.pause().await;
        alice.messenger.pause().await;
        alice.messenger.resume().await.unwrap();
        alice.messenger.resume().await.unwrap();
    }
    alice.say("bob", "still here").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["still here"]);
    alice.messenger.pause().await;
    alice.messenger.shut_down();
    alice.messenger.pause().await;
    assert_eq!(code(alice.messenger.account().await), "shut_down");
    assert_eq!(code(alice.messenger.resume().await), "shut_down");
    let alice = world.reopen(alice).await.unwrap();
    alice.say("bob", "again").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["still here", "again"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_keystore_is_locked_it_pauses_on_and_may_be_resumed_later() {
    let (world, _, alice, bob) = World::contacts(2_602).await;
    alice.say("bob", "before the lock screen").await.unwrap();
    alice.messenger.pause().await;
    alice.secrets.fail_with(Some(SecretStoreError::Locked));
    for _ in 0..3 {
        let error = alice.messenger.resume().await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("keystore_locked", true));
        assert_eq!(code(alice.messenger.account().await), "paused");
    }
    alice.secrets.fail_with(None);
    // What can be read and not written is no better: the generation must move first.
    alice.secrets.keep_nothing_new(true);
    for _ in 0..3 {
        assert_eq!(code(alice.messenger.resume().await), "keystore_failed");
        assert_eq!(code(alice.messenger.account().await), "paused");
    }
    alice.secrets.keep_nothing_new(false);
    alice.messenger.resume().await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["before the lock screen"]);
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_another_process_has_opened_meanwhile_is_resumed_once_it_is_free_and_knows_what_happened() {
    let (world, relay, alice, bob) = World::contacts(2_603).await;
    alice.messenger.pause().await;
    let other = Messenger::open(world.world(&alice.secrets), alice.directory()).await.unwrap();
    let error = alice.messenger.resume().await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("profile_in_use", true));
    assert_eq!(code(alice.messenger.account().await), "paused");
    bob.say("alice", "to whoever listens").await.unwrap();
    bob.catch_up().await.unwrap();
    let second = world.network.add_relay("second.example");
    other.add_relay(second.clone(), String::new()).await.unwrap();
    other.catch_up(HOUR).await.unwrap();
    other.shut_down();
    alice.messenger.resume().await.unwrap();
    bob.say("alice", "to her").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["to whoever listens", "to her"]);
    alice.say("bob", "with the head of her new list").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.messenger.account().await.unwrap().relays, [relay.clone(), second]);
    world.network.set_down(&relay, true);
    bob.say("alice", "by the new way").await.unwrap();
    world.wait(HOUR).await;
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 4, "she reads where the other process made her an inbox");
}

#[tokio::test(start_paused = true)]
async fn calls_under_way_are_told_that_it_pauses_and_may_be_made_again() {
    let (world, relay, alice, bob) = World::contacts(2_604).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    let invite = alice.messenger.invite(InviteOptions { auto_accept: true, ..InviteOptions::default() }).await.unwrap();
    alice.catch_up().await.unwrap();
    let other = world.network.add_relay("other.example");
    world.network.meddle(Some(Box::new(|call| {
        let is_slow = [path::PREKEY_CLAIM, path::INBOX_CREATE, path::SEND].contains(&call.path);
        if is_slow { Fate::Late(SLOW) } else { Fate::Passes }
    })));
    let began = world.now();
    let pausing = async {
        world.wait(Duration::from_secs(5)).await;
        carol.messenger.pause().await;
    };
    let (joined, added, caught_up, ()) = tokio::join!(
        carol.messenger.join(&invite.link),
        carol.messenger.add_relay(other.clone(), String::new()),
        carol.messenger.catch_up(SLOW),
        pausing
    );
    assert_eq!((code(joined), code(added)), ("paused", "paused"));
    // It had nothing to do any more before.
    drop(caught_up);
    assert!(world.now().since(began) < SLOW / 2, "nobody waits for the network");
    world.network.meddle(None);
    carol.messenger.resume().await.unwrap();
    carol.messenger.join(&invite.link).await.unwrap();
    carol.messenger.add_relay(other, String::new()).await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    carol.say("alice", "met").await.unwrap();
    world.settle(&[&carol, &alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("carol").await.unwrap(), ["met"]);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_what_is_left_to_do_is_told_that_it_pauses() {
    let (world, _, alice, bob) = World::contacts(2_605).await;
    world.network.meddle(Some(Box::new(|call| if call.path == path::SEND { Fate::Late(SLOW) } else { Fate::Passes })));
    let said = alice.say("bob", "slowly").await.unwrap();
    let pausing = async {
        world.wait(Duration::from_secs(5)).await;
        alice.messenger.pause().await;
    };
    let began = world.now();
    let (caught_up, sent, ()) =
        tokio::join!(alice.messenger.catch_up(SLOW), alice.messenger.wait_sent(said.number, SLOW), pausing);
    assert_eq!((code(caught_up), code(sent)), ("paused", "paused"));
    assert!(world.now().since(began) < SLOW / 2);
    world.network.meddle(None);
    alice.messenger.resume().await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["slowly"]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_pauses_while_it_becomes_a_device_of_its_own_becomes_one_when_it_goes_on() {
    let (world, _, alice, bob) = World::contacts(2_606).await;
    let copy = world.back_up(&alice);
    alice.messenger.resume().await.unwrap();
    bob.messenger.shut_down();
    alice.messenger.shut_down();
    world.network.meddle(Some(Box::new(|call| if call.path == path::CHAIN_READ { Fate::Lost } else { Fate::Passes })));
    let copy = world.restore(copy, alice.secrets.clone()).await.unwrap();
    assert_eq!(code(copy.catch_up().await), "rolled_back");
    copy.messenger.pause().await;
    world.network.meddle(None);
    let calls = world.network.traffic().len();
    world.wait(3 * HOUR).await;
    assert_eq!(world.network.traffic().len(), calls);
    copy.messenger.resume().await.unwrap();
    let bob = world.reopen(bob).await.unwrap();
    copy.say("bob", "as another device").await.unwrap();
    world.settle(&[&copy, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["as another device"]);
}

#[tokio::test(start_paused = true)]
async fn a_profile_on_a_full_disk_pauses_and_is_read_again() {
    let (world, _, alice, _bob) = World::contacts(2_607).await;
    alice.say("bob", "on a disk that was not full yet").await.unwrap();
    alice.catch_up().await.unwrap();
    alice.messenger.shut_down();
    let reader = Messenger::open_to_read(world.world(&alice.secrets), alice.directory()).await.unwrap();
    let bob = reader.find_contact("bob").await.unwrap().id;
    reader.pause().await;
    assert_eq!(code(reader.messages(bob, None, 10).await), "paused");
    reader.resume().await.unwrap();
    assert_eq!(reader.messages(bob, None, 10).await.unwrap().len(), 1);
    assert_eq!(code(reader.send_text(bob, "no".to_owned()).await), "disk_full");
}

#[tokio::test(start_paused = true)]
async fn pausing_resuming_and_ending_at_once_come_to_an_end_in_every_order() {
    let (world, _, mut alice, bob) = World::contacts(2_608).await;
    let mut said = Vec::new();
    for round in 0..40_u32 {
        said.push(format!("round {round}"));
        alice.say("bob", said.last().unwrap()).await.unwrap();
        let messenger = &alice.messenger;
        join_all((0..6).map(|at| async move {
            match round.rotate_left(at) % 3 {
                0 => messenger.pause().await,
                1 => drop(messenger.resume().await),
                _ if round % 4 == 3 && at == 3 => messenger.shut_down(),
                _ => drop(messenger.catch_up(Duration::from_millis(u64::from(at))).await),
            }
        }))
        .await;
        alice = world.reopen(alice).await.unwrap();
    }
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), said);
}
