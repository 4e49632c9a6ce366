//! A contact is asked again, by another invite of theirs: they may have removed us, or not, and nothing that was said is lost either way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sotto_core::InviteOptions;
use sotto_core::records::{ContactState, Failure, MessageState};
use sotto_protocol::Bytes;
use sotto_protocol::request::path;
use sotto_sim::{Fate, HeldPost, Person, World};

use crate::meeting::{are_contacts, arrives_in_any_order, id, link, rows};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn state(person: &Person, number: i64) -> MessageState {
    person.messenger.message(number).await.expect("kept").state
}

/// What is known of the only contact's devices, lists and chain.
fn known(person: &Person) -> Vec<String> {
    person.database().texts(
        "SELECT hex(chain) || relay || chain_next || ':' || chain_is_new || ':' || trust || name || coalesce(given_name, '') || epoch || version
             || hex(hash) || coalesce(hex(chain_before), '-') FROM contact
         UNION ALL SELECT hex(device) || listed FROM peer_device UNION ALL SELECT hex(inbox) || listed FROM peer_inbox",
    )
}

/// The last list that is known of a contact, whichever chain it stands in.
const HEAD: &str = "SELECT relay || trust || name || epoch || version || hex(hash) FROM contact WHERE id != 0";

/// Alice and bob, who have met by an invite of one of them.
async fn contacts(seed: u64) -> (World, Person, Person) {
    let world = World::seeded(seed);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.expect("it works");
    let bob = world.person("bob", &relays).await.expect("it works");
    let (owner, scanner) = if seed.is_multiple_of(2) { (&alice, &bob) } else { (&bob, &alice) };
    world.introduce(owner, scanner).await.expect("they meet");
    (world, alice, bob)
}

/// Alice may have removed bob, and says so to nobody. He scans an invite of hers while letters of both are under way.
async fn asked_again(seed: u64, is_removed: bool) {
    let story = format!("asked again, seed {seed}");
    let (world, alice, bob) = contacts(seed).await;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    alice.say("bob", "before").await.expect("it works");
    world.settle(&[&alice, &bob]).await.expect("it works");
    let auto_accept = rng.next_u32().is_multiple_of(2);
    let of_alice = link(&alice, auto_accept).await;
    let post = HeldPost::begin(&world.network);
    let from_alice = alice.say("bob", "from alice, under way").await.expect("it works");
    let sent = bob.say("alice", "sent, and not confirmed").await.expect("it works");
    for person in [&alice, &bob] {
        let _ = person.messenger.catch_up(Duration::from_secs(5)).await;
    }
    if is_removed {
        alice.messenger.remove(id(&bob).await).await.expect("it works");
    }
    let queued = bob.say("alice", "queued before he asks").await.expect("it works");
    let (before, head) = (known(&bob), bob.database().texts(HEAD));
    bob.messenger.join(&of_alice).await.expect("he may ask again");
    assert_eq!(known(&bob), before, "{story}: to ask changes nothing that is known");
    let behind = bob.say("alice", "and after").await.expect("she is a contact as before");
    arrives_in_any_order(&world, &post, &[&alice, &bob], &mut rng).await;
    if is_removed && !auto_accept {
        alice.messenger.accept(id(&bob).await).await.expect("he has asked");
        arrives_in_any_order(&world, &post, &[&alice, &bob], &mut rng).await;
    }
    if is_removed {
        // Those who stayed were led to another chain meanwhile, and so is he.
        let parts = |known: &[String]| known[1..].to_vec();
        assert_eq!(parts(&known(&bob)), parts(&before), "{story}");
        assert_eq!(bob.database().texts(HEAD), head, "{story}");
    } else {
        assert_eq!(known(&bob), before, "{story}");
    }
    post.end(&world.network);
    are_contacts(&world, &alice, &bob, &story).await;
    for message in [&sent, &queued, &behind] {
        assert_eq!(state(&bob, message.number).await, MessageState::Delivered, "{story}: {:?}", rows(&bob));
        let said = alice.transcript("bob").await.expect("it works");
        assert_eq!(said.iter().filter(|text| **text == message.text).count(), 1, "{story}: {said:?}");
    }
    let heard = bob.transcript("alice").await.expect("it works");
    assert_eq!(heard.iter().filter(|text| *text == "from alice, under way").count(), 1, "{story}: {heard:?}");
    if !is_removed {
        assert_eq!(state(&alice, from_alice.number).await, MessageState::Delivered, "{story}");
    }
}

/// Alice has removed bob and scans his invite; he does not know, and scans hers.
async fn asked_again_and_crossing(seed: u64, is_removed: bool) {
    let story = format!("asked again and crossing, seed {seed}");
    let (world, alice, bob) = contacts(seed).await;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let (of_alice, of_bob) = (link(&alice, false).await, link(&bob, false).await);
    let post = HeldPost::begin(&world.network);
    let kept = bob.say("alice", "under way").await.expect("it works");
    for person in [&alice, &bob] {
        let _ = person.messenger.catch_up(Duration::from_secs(5)).await;
    }
    if is_removed {
        alice.messenger.remove(id(&bob).await).await.expect("it works");
    }
    alice.messenger.join(&of_bob).await.expect("it works");
    bob.messenger.join(&of_alice).await.expect("it works");
    arrives_in_any_order(&world, &post, &[&alice, &bob], &mut rng).await;
    post.end(&world.network);
    are_contacts(&world, &alice, &bob, &story).await;
    assert_eq!(state(&bob, kept.number).await, MessageState::Delivered, "{story}");
}

#[tokio::test(start_paused = true)]
async fn c2_whoever_was_removed_and_asks_again_loses_nothing_whichever_letter_comes_first() {
    for seed in 160..172 {
        asked_again(seed, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c2_to_ask_somebody_again_who_has_removed_nobody_harms_nothing_whichever_letter_comes_first() {
    for seed in 172..184 {
        asked_again(seed, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c2_two_who_ask_each_other_again_at_once_agree_whichever_letter_comes_first() {
    for seed in 184..196 {
        asked_again_and_crossing(seed, seed % 3 != 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c2_the_invite_by_which_they_met_or_that_waits_for_its_answer_is_not_used_twice() {
    let (world, _, alice, bob) = World::contacts(196).await;
    let options = InviteOptions { uses: 5, ..InviteOptions::default() };
    let again = alice.messenger.invite(options).await.unwrap().link;
    alice.catch_up().await.unwrap();
    alice.messenger.shut_down();
    bob.messenger.join(&again).await.unwrap();
    bob.catch_up().await.unwrap();
    let before = bob.dump();
    assert_eq!(bob.messenger.join(&again).await.unwrap_err().code(), "already_contact", "he waits for the answer");
    assert!(bob.dump() == before, "something changed");
    let alice = world.reopen(alice).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.messenger.join(&again).await.unwrap_err().code(), "already_contact", "they have met by it");
    are_contacts(&world, &alice, &bob, "asked again").await;
    assert_eq!(alice.database().number("SELECT uses_left FROM invite ORDER BY id DESC LIMIT 1"), 4);
}

#[tokio::test(start_paused = true)]
async fn c1_somebody_blocked_is_not_asked_again() {
    let (_, _, alice, bob) = World::contacts(197).await;
    let of_alice = link(&alice, true).await;
    bob.messenger.block(id(&alice).await).await.unwrap();
    bob.catch_up().await.unwrap();
    let before = bob.dump();
    assert_eq!(bob.messenger.join(&of_alice).await.unwrap_err().code(), "wrong_state");
    assert!(bob.dump() == before, "something changed");
}

#[tokio::test(start_paused = true)]
async fn c2_while_a_contact_is_asked_again_they_are_heard_and_nothing_but_the_request_leaves() {
    let (world, relay, alice, bob) = World::contacts(198).await;
    let of_alice = link(&alice, true).await;
    // She hears nothing for a while, and what she says arrives.
    alice.say("bob", "from alice").await.unwrap();
    alice.catch_up().await.unwrap();
    alice.messenger.shut_down();
    let before = world.network.envelopes_to(&alice).len();
    bob.messenger.shut_down();
    let bob = world.reopen(bob).await.unwrap();
    bob.messenger.join(&of_alice).await.unwrap();
    bob.say("alice", "one").await.unwrap();
    bob.say("alice", "two").await.unwrap();
    let caught_up = bob.catch_up().await.unwrap();
    assert!(caught_up.is_complete && caught_up.waiting == 2, "{caught_up:?}");
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
    assert_eq!(bob.transcript("alice").await.unwrap(), ["from alice", "one", "two"]);
    // A confirmation that is due waits as well.
    world.wait(DAY).await;
    let sent: Vec<_> = world.network.envelopes_to(&alice).split_off(before);
    assert!(
        !sent.is_empty() && sent.iter().all(|letter| !letter.claim.is_empty()),
        "only the request, under the invite"
    );
    world.network.set_down(&relay, false);
    let alice = world.reopen(alice).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["from alice", "one", "two"]);
    are_contacts(&world, &alice, &bob, "heard meanwhile").await;
}

#[tokio::test(start_paused = true)]
async fn c2_a_request_to_a_contact_that_nobody_answers_ends_with_its_invite_and_all_is_as_it_was() {
    // Blocked, alice hears no request and keeps him as a contact.
    let (world, _, alice, bob) = World::contacts(199).await;
    let of_alice = link(&alice, true).await;
    let of_bob = id(&bob).await;
    alice.messenger.block(of_bob).await.unwrap();
    alice.catch_up().await.unwrap();
    bob.messenger.join(&of_alice).await.unwrap();
    let kept = bob.say("alice", "waits").await.unwrap();
    bob.catch_up().await.unwrap();
    alice.catch_up().await.unwrap();
    assert!(alice.refused("request_of_blocked") > 0, "{:?}", alice.refusals());
    let [alice, bob] = world.switched_off([alice, bob], 8 * DAY).await.unwrap();
    world.wait(DAY / 4).await;
    assert_eq!(bob.database().number("SELECT count(*) FROM contact WHERE claim IS NOT NULL"), 0);
    alice.messenger.unblock(of_bob).await.unwrap();
    alice.catch_up().await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["waits"]);
    are_contacts(&world, &alice, &bob, "as it was").await;
    assert_eq!(state(&bob, kept.number).await, MessageState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn c2_an_answer_that_comes_after_the_end_of_the_invite_counts() {
    for seed in 300..304 {
        let (world, alice, bob) = contacts(seed).await;
        let of_alice = link(&alice, false).await;
        let of_bob = id(&bob).await;
        alice.messenger.remove(of_bob).await.unwrap();
        alice.catch_up().await.unwrap();
        let kept = bob.say("alice", "until she answers").await.unwrap();
        bob.messenger.join(&of_alice).await.unwrap();
        for _ in 0..3 {
            let _ = bob.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
            alice.catch_up().await.unwrap();
        }
        assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Asking);
        alice.messenger.shut_down();
        bob.messenger.shut_down();
        world.wait(10 * DAY).await;
        let (alice, bob) = (world.reopen(alice).await.unwrap(), world.reopen(bob).await.unwrap());
        let _ = bob.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
        assert_eq!(bob.database().number("SELECT count(*) FROM contact WHERE claim IS NOT NULL"), 0);
        alice.messenger.accept(of_bob).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        are_contacts(&world, &alice, &bob, &format!("late answer, seed {seed}")).await;
        assert_eq!(state(&bob, kept.number).await, MessageState::Delivered);
    }
}

#[tokio::test(start_paused = true)]
async fn e5_what_a_relay_has_taken_stays_sent_when_its_recipient_is_removed() {
    let (world, _, alice, bob) = World::contacts(305).await;
    let sent = bob.say("alice", "it arrives").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(state(&bob, sent.number).await, MessageState::Sent, "and is not confirmed yet");
    world.network.meddle(Some(Box::new(|call| match call.path {
        path::SEND => Fate::Lost,
        _ => Fate::Passes,
    })));
    let queued = bob.say("alice", "it does not").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
    bob.messenger.remove(id(&alice).await).await.unwrap();
    assert_eq!(state(&bob, sent.number).await, MessageState::Sent);
    assert_eq!(state(&bob, queued.number).await, MessageState::Failed(Failure::Removed));
    world.network.meddle(None);
    assert_eq!(bob.database().number("SELECT count(*) FROM outbox WHERE state <= 2"), 0, "nothing of it is sent again");
    // Met again, he says neither again.
    let of_alice = link(&alice, true).await;
    bob.messenger.join(&of_alice).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    are_contacts(&world, &alice, &bob, "met again").await;
    assert_eq!(state(&bob, sent.number).await, MessageState::Sent);
    assert!(!alice.transcript("bob").await.unwrap().contains(&"it does not".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn e5_what_a_relay_takes_while_its_recipient_is_removed_is_sent() {
    let (world, _, alice, bob) = World::contacts(306).await;
    let of_alice = id(&alice).await;
    // Between the relay and the device that waits for its answer.
    let (remover, failed) = (bob.messenger.clone(), Arc::new(AtomicBool::new(false)));
    let has_failed = Arc::clone(&failed);
    let number = Arc::new(AtomicI64::new(0));
    let said = Arc::clone(&number);
    world.network.meddle(Some(Box::new(move |call| {
        if call.path == path::SEND {
            let (remover, has_failed, said) = (remover.clone(), Arc::clone(&has_failed), Arc::clone(&said));
            tokio::spawn(async move {
                if remover.remove(of_alice).await.is_ok() {
                    let message = remover.message(said.load(Ordering::SeqCst)).await.unwrap();
                    let is_failed = message.state == MessageState::Failed(Failure::Removed);
                    has_failed.store(is_failed, Ordering::SeqCst);
                }
            });
        }
        Fate::Passes
    })));
    let sending = bob.say("alice", "on its way").await.unwrap();
    number.store(sending.number, Ordering::SeqCst);
    world.settle(&[&bob, &alice]).await.unwrap();
    assert!(failed.load(Ordering::SeqCst), "he removed her before he knew");
    assert_eq!(alice.transcript("bob").await.unwrap(), ["on its way"]);
    assert_eq!(state(&bob, sending.number).await, MessageState::Sent);
}

#[tokio::test(start_paused = true)]
async fn e1_a_request_goes_on_a_session_of_its_own_whatever_session_they_begin_meanwhile() {
    for seed in 310..316 {
        let (world, _, alice, bob) = World::contacts(seed).await;
        let of_alice = link(&alice, true).await;
        // His reply tokens cannot be put for now, and the request waits for them.
        world.network.meddle(Some(Box::new(|call| match call.path {
            path::TOKEN_PUT => Fate::Fails(503, Bytes::new()),
            _ => Fate::Passes,
        })));
        bob.messenger.join(&of_alice).await.unwrap();
        let kept = bob.say("alice", "behind the request").await.unwrap();
        alice.database().change("UPDATE session SET sending = 0");
        alice.say("bob", "on another session").await.unwrap();
        for person in [&alice, &bob] {
            let _ = person.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
        }
        assert_eq!(bob.transcript("alice").await.unwrap().len(), 2, "she is heard meanwhile");
        world.network.meddle(None);
        world.settle(&[&bob, &alice]).await.unwrap();
        assert_eq!(alice.refused("prekey_message_expected"), 0, "seed {seed}");
        are_contacts(&world, &alice, &bob, &format!("a session of its own, seed {seed}")).await;
        assert_eq!(state(&bob, kept.number).await, MessageState::Delivered);
    }
}
