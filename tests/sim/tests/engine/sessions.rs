//! Sessions, repeats, counters and confirmations between two engines.

use std::collections::BTreeSet;
use std::time::Duration;

use sotto_core::records::MessageState;
use sotto_core::{InviteOptions, danger};
use sotto_protocol::invite::Invite;
use sotto_protocol::relay::PrekeyClaim;
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message as _};
use sotto_sim::{Fate, HeldPost, World};

const HOUR: Duration = Duration::from_secs(3600);
const SENDING: &str = "SELECT hex(session) FROM session WHERE sending = 1";

#[tokio::test(start_paused = true)]
async fn e1_two_who_begin_at_once_end_up_sending_on_one_session() {
    let (world, relay, alice, bob) = World::contacts(70).await;
    // Both have lost their sessions for sending, and both begin a new one while neither hears the other.
    for person in [&alice, &bob] {
        person.database().change("UPDATE session SET sending = 0");
    }
    world.network.set_down(&relay, true);
    alice.say("bob", "from alice").await.unwrap();
    bob.say("alice", "from bob").await.unwrap();
    world.network.set_down(&relay, false);
    for round in 0..3 {
        world.settle(&[&alice, &bob]).await.unwrap();
        alice.say("bob", &format!("alice {round}")).await.unwrap();
        bob.say("alice", &format!("bob {round}")).await.unwrap();
    }
    world.settle(&[&alice, &bob]).await.unwrap();
    let of = |said: Vec<String>| said.into_iter().collect::<BTreeSet<_>>();
    let (said, heard) = (alice.transcript("bob").await.unwrap(), bob.transcript("alice").await.unwrap());
    assert_eq!((said.len(), heard.len()), (8, 8));
    assert_eq!(of(said), of(heard), "both transcripts hold the same");
    let (mine, theirs) = (alice.database().texts(SENDING), bob.database().texts(SENDING));
    assert_eq!(mine.len(), 1);
    assert_eq!(mine, theirs, "one session for both");
}

#[tokio::test(start_paused = true)]
async fn e3_a_retry_after_a_crash_is_the_same_ciphertext_under_the_same_envelope_id() {
    let (world, _, mut alice, bob) = World::contacts(71).await;
    world.network.meddle(Some(Box::new(|call| if call.path == path::SEND { Fate::AnswerLost } else { Fate::Passes })));
    alice.say("bob", "once").await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(3)).await;
    let ciphertext = "SELECT olm FROM outbox WHERE state = 1";
    let before = alice.database().blobs(ciphertext);
    assert_eq!(before.len(), 1);
    alice = world.reopen(alice).await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(3)).await;
    assert_eq!(alice.database().blobs(ciphertext), before, "the ratchet does not step for a retry");
    world.network.meddle(None);
    world.settle(&[&alice, &bob]).await.unwrap();
    let envelopes = world.network.envelopes_to(&bob);
    let last = envelopes.last().unwrap();
    let repeats: Vec<_> = envelopes.iter().filter(|envelope| envelope.id == last.id).collect();
    assert!(repeats.len() >= 3, "put again and again under one id");
    assert!(repeats.windows(2).all(|pair| pair[0].payload != pair[1].payload), "sealed anew each time");
    assert_eq!(bob.transcript("alice").await.unwrap(), ["once"]);
}

#[tokio::test(start_paused = true)]
async fn e2_a_last_resort_session_works_once_and_its_first_message_never_again() {
    let world = World::seeded(72);
    let relays = [world.network.add_relay("relay.example")];
    let mut alice = world.person("alice", &relays).await.unwrap();
    let options = InviteOptions { uses: 200, auto_accept: true, ..InviteOptions::default() };
    let link = alice.messenger.invite(options).await.unwrap().link;
    alice.catch_up().await.unwrap();
    // Whoever has the link may claim: all one-time keys go.
    let secret = link.parse::<Invite>().unwrap().secret;
    let inbox = sotto_protocol::InboxId::try_from(alice.inboxes()[0].as_slice()).unwrap();
    let token = sotto_crypto::secret::invite_token(&secret, &inbox);
    for claim in 0..50_u8 {
        let token = Bytes::copy_from_slice(token.as_bytes());
        let claim = Bytes::copy_from_slice(&[claim; 16]);
        let body = PrekeyClaim { inbox: inbox.into(), token, claim, bundle_only: false };
        world.network.anonymous(&relays[0], path::PREKEY_CLAIM, body.encode_to_vec().into()).await;
    }
    let bob = world.person("bob", &relays).await.unwrap();
    bob.messenger.join(&link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    bob.say("alice", "without a one-time key").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["without a one-time key"]);
    assert_eq!(alice.database().number("SELECT count(*) FROM session_tombstone"), 1);
    let request = world.network.envelopes_to(&alice)[0].clone();
    assert!(!request.claim.is_empty(), "the request came under the invite");
    // Everything else that would know it is gone; the tombstone alone must do.
    alice.messenger.shut_down();
    alice.database().change("DELETE FROM seen_inner; DELETE FROM session;");
    alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    let before = alice.dump();
    assert!(world.network.put(&request).await);
    assert_eq!(alice.refused("session_replayed"), 1, "{:?}", alice.refusals());
    assert!(alice.dump() == before);
}

#[tokio::test(start_paused = true)]
async fn e4_counters_run_without_holes_and_every_letter_confirms() {
    let (world, _, alice, bob) = World::contacts(73).await;
    for round in 0..5 {
        alice.say("bob", &format!("{round}")).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        bob.say("alice", &format!("{round}")).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    let number = |sql| (alice.database().number(sql), bob.database().number(sql));
    let (of_alice, of_bob) = number("SELECT counter_sent FROM peer_device");
    assert_eq!(number("SELECT received FROM peer_device"), (of_bob, of_alice));
    assert_eq!(alice.database().number("SELECT confirmed FROM peer_device"), of_alice, "bob's last letter says so");
    assert_eq!(number("SELECT count(*) FROM received_counter"), (0, 0));
    assert_eq!(alice.database().number("SELECT count(DISTINCT counter) FROM outbox"), of_alice);
}

#[tokio::test(start_paused = true)]
async fn e4_with_nothing_to_say_what_was_received_is_confirmed_within_a_day() {
    let (world, _, alice, bob) = World::contacts(74).await;
    let said = alice.say("bob", "no answer needed").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.messenger.message(said.number).await.unwrap().state, MessageState::Sent);
    world.wait(24 * HOUR).await;
    assert_eq!(alice.messenger.message(said.number).await.unwrap().state, MessageState::Delivered);
    // A confirmation is not confirmed in its turn.
    let letters = world.network.envelopes().len();
    world.wait(30 * HOUR).await;
    assert_eq!(world.network.envelopes().len(), letters);
}

#[tokio::test(start_paused = true)]
async fn e3_no_number_that_a_relay_gives_a_letter_makes_it_unseen() {
    let (world, _, alice, bob) = World::contacts(67).await;
    // As after a delivery that was numbered wildly: on the same connection, and on the next one, to a relay that counts as before.
    alice.database().change("UPDATE own_inbox SET cursor = 4611686018427387904");
    bob.say("alice", "one").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["one"]);
    let alice = world.reopen(alice).await.unwrap();
    bob.say("alice", "two").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn e4_a_letter_that_comes_again_is_confirmed_again() {
    let (world, _, alice, bob) = World::contacts(66).await;
    let said = alice.say("bob", "did this arrive?").await.unwrap();
    alice.catch_up().await.unwrap();
    bob.catch_up().await.unwrap();
    // Bob's confirmation is lost for good, and he never writes.
    let post = HeldPost::begin(&world.network);
    world.wait(Duration::from_secs(86_400)).await;
    let _ = bob.messenger.catch_up(Duration::from_secs(60)).await;
    assert!(!post.take().is_empty(), "it was on its way");
    post.end(&world.network);
    bob.messenger.shut_down();
    bob.database().change("UPDATE outbox SET state = 4 WHERE message IS NULL AND state <= 2");
    let bob = world.reopen(bob).await.unwrap();
    for _ in 0..32 {
        world.wait(Duration::from_secs(86_400)).await;
        world.settle(&[&alice, &bob]).await.unwrap();
    }
    assert_eq!(alice.messenger.message(said.number).await.unwrap().state, MessageState::Delivered);
    assert_eq!(bob.transcript("alice").await.unwrap(), ["did this arrive?"]);
}

#[tokio::test(start_paused = true)]
async fn e4_many_letters_are_confirmed_soon() {
    let (world, _, alice, bob) = World::contacts(75).await;
    let before = world.network.envelopes_to(&alice).len();
    for round in 0..33 {
        alice.say("bob", &format!("{round}")).await.unwrap();
    }
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(world.network.envelopes_to(&alice).len(), before);
    world.wait(Duration::from_secs(10)).await;
    assert_eq!(world.network.envelopes_to(&alice).len(), before + 1, "one small letter");
    world.wait(Duration::from_secs(10)).await;
    let bob_id = bob.messenger.account().await.unwrap().id;
    let states = alice.messenger.messages(bob_id, None, 100).await.unwrap();
    assert!(states.iter().all(|message| message.state == MessageState::Delivered));
}

#[tokio::test(start_paused = true)]
async fn e4_nothing_is_confirmed_to_somebody_who_is_blocked() {
    let (world, _, alice, bob) = World::contacts(76).await;
    bob.say("alice", "before the block").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let bob_id = bob.messenger.account().await.unwrap().id;
    alice.messenger.block(bob_id).await.unwrap();
    let before = world.network.envelopes_to(&bob).len();
    world.wait(30 * HOUR).await;
    assert_eq!(world.network.envelopes_to(&bob).len(), before);
}

#[tokio::test(start_paused = true)]
async fn e4_what_was_owed_before_a_blocking_is_confirmed_within_a_day_of_its_end() {
    let (world, _, alice, bob) = World::contacts(576).await;
    let said = bob.say("alice", "before the block").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let state = async || bob.messenger.message(said.number).await.unwrap().state;
    let bob_id = bob.messenger.account().await.unwrap().id;
    alice.messenger.block(bob_id).await.unwrap();
    world.wait(50 * HOUR).await;
    assert_eq!(state().await, MessageState::Sent);
    alice.messenger.unblock(bob_id).await.unwrap();
    world.wait(24 * HOUR).await;
    assert_eq!(state().await, MessageState::Delivered);
    assert_eq!(alice.database().number("SELECT count(*) FROM peer_device WHERE confirm_due IS NOT NULL"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_said_and_the_same_call_works_when_there_is_room() {
    let (world, _, alice, bob) = World::contacts(77).await;
    let mut told = 0;
    for step in 1.. {
        let before = alice.dump();
        danger::fail_write(&alice.messenger, step);
        let said = alice.say("bob", &format!("{step}")).await;
        danger::fail_write(&alice.messenger, 0);
        let Err(error) = said else { break };
        assert_eq!((error.code(), error.is_retryable()), ("disk_full", true));
        assert!(alice.dump() == before, "write {step} left something");
        told += 1;
        alice.say("bob", &format!("{step}")).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
    }
    assert!(told >= 4, "a send is more than {told} writes");
    assert_eq!(bob.transcript("alice").await.unwrap().len(), told);
}

#[tokio::test(start_paused = true)]
async fn a_send_is_one_commit_and_at_most_12_pages_of_the_log() {
    let (world, _, alice, bob) = World::contacts(78).await;
    for round in 0..20 {
        alice.say("bob", &format!("{round}")).await.unwrap();
    }
    world.settle(&[&alice, &bob]).await.unwrap();
    let bob_id = bob.messenger.account().await.unwrap().id;
    alice.database().change("PRAGMA wal_checkpoint(TRUNCATE)");
    danger::fail_write(&alice.messenger, 0);
    // Polled once: nothing but the sending itself runs.
    let sent = alice.messenger.send_text(bob_id, "a text of the usual length, more or less".to_owned());
    let mut sent = std::pin::pin!(sent);
    let polled = std::future::poll_fn(|context| std::task::Poll::Ready(sent.as_mut().poll(context))).await;
    assert!(polled.is_ready(), "the store works inline");
    let log = std::fs::metadata(alice.directory().join("sotto.db-wal")).unwrap().len();
    let pages = (log - 32) / (4_096 + 24);
    assert!((1..=12).contains(&pages), "{pages} pages");
    // Three rows and the commit.
    assert_eq!(danger::writes(&alice.messenger), 4);
}

#[tokio::test(start_paused = true)]
async fn e4_what_is_said_right_after_accepting_follows_the_answer() {
    let world = World::seeded(85);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    let link = alice.messenger.invite(InviteOptions::default()).await.unwrap().link;
    alice.catch_up().await.unwrap();
    bob.messenger.join(&link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let asking = alice.contact("bob").await.unwrap();
    alice.messenger.accept(asking.id).await.unwrap();
    let said = alice.say("bob", "welcome").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["welcome"]);
    bob.say("alice", "thanks").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.messenger.message(said.number).await.unwrap().state, MessageState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn letters_that_are_refused_are_offered_more_and_more_rarely() {
    let (world, _, alice, bob) = World::contacts(86).await;
    let id = bob.contact("alice").await.unwrap().id;
    bob.messenger.block(id).await.unwrap();
    bob.catch_up().await.unwrap();
    let sends = || world.network.traffic().iter().filter(|call| call.path == path::SEND).count();
    let before = sends();
    alice.say("bob", "does not arrive").await.unwrap();
    world.wait(24 * HOUR).await;
    let offered = sends() - before;
    assert!((2..60).contains(&offered), "{offered}");
}
