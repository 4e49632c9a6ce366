//! Several relays of one account: letters go to the first that can be reached, and what was on one that dies comes all the same.

use std::time::Duration;

use sotto_core::records::MessageState;
use sotto_protocol::request::path;
use sotto_protocol::{Message as _, RelayAddress, relay};
use sotto_sim::{Fate, Person, World};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice at two relays, bob at a third, contacts.
async fn alice_at_two(seed: u64) -> (World, [RelayAddress; 3], Person, Person) {
    let world = World::seeded(seed);
    let relays = ["one.example", "two.example", "his.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &relays[..2]).await.expect("alice begins");
    let bob = world.person("bob", &relays[2..]).await.expect("bob begins");
    world.introduce(&alice, &bob).await.expect("they meet");
    (world, relays, alice, bob)
}

fn sends(world: &World, relay: &RelayAddress) -> usize {
    world.network.traffic().iter().filter(|call| call.relay == *relay.name() && call.path == path::SEND).count()
}

async fn states(person: &Person, with: &str) -> Vec<MessageState> {
    let contact = person.contact(with).await.expect("they are contacts");
    let messages = person.messenger.messages(contact.id, None, 100).await.expect("the page is read");
    messages.into_iter().map(|message| message.state).collect()
}

#[tokio::test(start_paused = true)]
async fn letters_go_to_the_first_relay_and_to_the_next_when_that_is_away() {
    let (world, relays, alice, bob) = alice_at_two(700).await;
    bob.say("alice", "to the first").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(sends(&world, &relays[1]), 0, "the second is for later");
    world.network.set_down(&relays[0], true);
    bob.say("alice", "to the second").await.unwrap();
    bob.catch_up().await.unwrap();
    assert_eq!(states(&bob, "alice").await[1], MessageState::Sent);
    assert_eq!(sends(&world, &relays[1]), 1);
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["to the first", "to the second"]);
    world.network.set_down(&relays[0], false);
    world.wait(2 * MINUTE).await;
    let before = sends(&world, &relays[1]);
    bob.say("alice", "to the first again").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(sends(&world, &relays[1]), before, "it is preferred as soon as it is back");
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_relay_that_others_have_found_away() {
    let (world, relays, alice, bob) = alice_at_two(701).await;
    let carol = world.person("carol", &relays[..2]).await.unwrap();
    world.introduce(&carol, &bob).await.unwrap();
    bob.say("alice", "first").await.unwrap();
    bob.say("carol", "first").await.unwrap();
    world.settle(&[&bob, &alice, &carol]).await.unwrap();
    let one = relays[0].name().clone();
    world.network.meddle(Some(Box::new(move |call| if call.relay == one { Fate::Lost } else { Fate::Passes })));
    bob.say("alice", "second").await.unwrap();
    world.wait(Duration::from_secs(1)).await;
    let tried = sends(&world, &relays[0]);
    bob.say("carol", "second").await.unwrap();
    world.wait(Duration::from_millis(100)).await;
    assert_eq!(sends(&world, &relays[0]), tried, "what one courier has found out the others know");
    world.settle(&[&alice, &carol]).await.unwrap();
    assert_eq!(carol.transcript("bob").await.unwrap(), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_hangs_is_waited_for_for_fifteen_seconds() {
    let (world, relays, alice, bob) = alice_at_two(711).await;
    bob.say("alice", "first").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let one = relays[0].name().clone();
    let hangs = Duration::from_secs(50);
    world.network.meddle(Some(Box::new(move |call| if call.relay == one { Fate::Late(hangs) } else { Fate::Passes })));
    bob.say("alice", "second").await.unwrap();
    world.wait(Duration::from_secs(14)).await;
    assert_ne!(states(&bob, "alice").await[1], MessageState::Sent, "it may answer yet");
    world.wait(Duration::from_secs(2)).await;
    assert_eq!(states(&bob, "alice").await[1], MessageState::Sent);
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_away_is_asked_whether_it_is_back_and_no_ratchet_steps_for_that() {
    let (world, relays, alice, bob) = alice_at_two(702).await;
    bob.say("alice", "first").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let one = relays[0].name().clone();
    world.network.meddle(Some(Box::new(move |call| if call.relay == one { Fate::Lost } else { Fate::Passes })));
    let tried = sends(&world, &relays[0]);
    for number in 0..100 {
        bob.say("alice", &number.to_string()).await.unwrap();
        world.wait(2 * MINUTE).await;
    }
    assert_eq!(sends(&world, &relays[0]), tried + 1, "the first of them found out");
    world.network.meddle(None);
    world.wait(2 * MINUTE).await;
    bob.say("alice", "last").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(sends(&world, &relays[0]), tried + 2);
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 102);
    assert!(alice.refusals().is_empty(), "{:?}", alice.refusals());
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_answers_and_takes_no_letters_is_tried_less_and_less_often() {
    let (world, relays, alice, bob) = alice_at_two(712).await;
    bob.say("alice", "first").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let one = relays[0].name().clone();
    world.network.meddle(Some(Box::new(move |call| {
        if call.relay == one && call.path == path::SEND { Fate::Lost } else { Fate::Passes }
    })));
    let tried = sends(&world, &relays[0]);
    for number in 0..240 {
        bob.say("alice", &number.to_string()).await.unwrap();
        world.wait(Duration::from_secs(5)).await;
    }
    let tried = sends(&world, &relays[0]) - tried;
    assert!((5..50).contains(&tried), "{tried}");
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 241);
}

#[tokio::test(start_paused = true)]
async fn an_inbox_that_is_full_or_refuses_leaves_the_others_of_its_device() {
    let (world, _, alice, bob) = alice_at_two(704).await;
    bob.say("alice", "first").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    // The first relay has lost everything, and nobody of it answers for alice.
    world.network.add_relay("one.example");
    bob.say("alice", "second").await.unwrap();
    bob.catch_up().await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn e5_what_a_relay_took_before_it_died_for_good_is_put_into_the_next() {
    let (world, relays, alice, bob) = alice_at_two(705).await;
    alice.messenger.shut_down();
    bob.say("alice", "lost with the relay").await.unwrap();
    bob.catch_up().await.unwrap();
    assert_eq!(states(&bob, "alice").await, [MessageState::Sent]);
    world.network.set_down(&relays[0], true);
    bob.say("alice", "found it away").await.unwrap();
    bob.catch_up().await.unwrap();
    world.wait(2 * HOUR).await;
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["lost with the relay", "found it away"]);
}

#[tokio::test(start_paused = true)]
async fn e5_what_nobody_confirms_for_a_day_has_a_copy_at_every_relay_and_is_taken_once() {
    let (world, relays, alice, bob) = alice_at_two(706).await;
    // What they owe each other of their meeting is confirmed.
    world.wait(DAY).await;
    alice.messenger.shut_down();
    bob.say("alice", "hello").await.unwrap();
    bob.catch_up().await.unwrap();
    let before = (sends(&world, &relays[0]), sends(&world, &relays[1]));
    world.wait(5 * DAY).await;
    let put = (sends(&world, &relays[0]) - before.0, sends(&world, &relays[1]) - before.1);
    assert_eq!(put.1, 1, "one copy at the second");
    assert!(put.0 <= 1, "and at most one more at the first, because nobody has answered the session at the second");
    // Whichever is left has it.
    world.network.set_down(&relays[0], true);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["hello"]);
    world.network.set_down(&relays[0], false);
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["hello"]);
    world.wait(DAY).await;
    assert_eq!(states(&bob, "alice").await, [MessageState::Delivered]);
}

#[tokio::test(start_paused = true)]
async fn e5_what_a_relay_of_both_took_before_it_died_arrives_though_nobody_writes_to_it_any_more() {
    let world = World::seeded(710);
    let relays = ["one.example", "two.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.wait(DAY).await;
    alice.messenger.shut_down();
    bob.say("alice", "the last thing I said").await.unwrap();
    bob.catch_up().await.unwrap();
    // For good, and bob's own relay is never drained again.
    world.network.set_down(&relays[0], true);
    world.wait(5 * DAY).await;
    let alice = world.reopen(alice).await.unwrap();
    let _ = alice.catch_up().await;
    assert_eq!(alice.transcript("bob").await.unwrap(), ["the last thing I said"]);
}

#[tokio::test(start_paused = true)]
async fn e5_a_device_that_speaks_a_day_later_and_has_not_confirmed_gets_it_again() {
    let (world, _, alice, bob) = World::contacts(707).await;
    alice.say("bob", "so that both have spoken").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    bob.say("alice", "before").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    // The relay says that it has it.
    world.network.meddle(Some(Box::new(|call| match relay::Send::decode(call.body.clone()) {
        Ok(send) if call.path == path::SEND => {
            let accepted = relay::SendResult { outcome: relay::SendOutcome::Accepted.into(), ..Default::default() };
            let results = relay::SendResults { results: vec![accepted; send.items.len()] };
            Fate::Answered(results.encode_to_vec().into())
        }
        _ => Fate::Passes,
    })));
    bob.say("alice", "lost").await.unwrap();
    bob.catch_up().await.unwrap();
    world.network.meddle(None);
    world.wait(DAY + HOUR).await;
    alice.say("bob", "are you there?").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.wait(2 * DAY).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap()[2..], ["lost", "are you there?"]);
}

#[tokio::test(start_paused = true)]
async fn first_contact_goes_through_whichever_relay_of_the_inviter_is_up() {
    let world = World::seeded(708);
    let relays = ["one.example", "two.example", "his.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &relays[..2]).await.unwrap();
    let bob = world.person("bob", &relays[2..]).await.unwrap();
    world.wait(Duration::from_secs(1)).await;
    let options = sotto_core::InviteOptions { auto_accept: true, ..Default::default() };
    let invite = alice.messenger.invite(options).await.unwrap();
    alice.catch_up().await.unwrap();
    bob.messenger.join(&invite.link).await.unwrap();
    // The chain was read there; from here on it is away.
    world.network.set_down(&relays[0], true);
    for _ in 0..3 {
        let _ = bob.catch_up().await;
        let _ = alice.catch_up().await;
    }
    bob.say("alice", "hello").await.unwrap();
    for _ in 0..2 {
        let _ = bob.catch_up().await;
        let _ = alice.catch_up().await;
    }
    assert_eq!(alice.transcript("bob").await.unwrap(), ["hello"]);
}

/// 500 on a slow relay, 100 on a fast one, drained in the wrong order.
#[tokio::test(start_paused = true)]
async fn e1_what_was_put_into_two_relays_opens_in_whichever_order_they_are_drained() {
    let (world, relays, alice, bob) = alice_at_two(709).await;
    bob.say("alice", "first").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.messenger.shut_down();
    for number in 0..500 {
        bob.say("alice", &format!("slow {number}")).await.unwrap();
    }
    bob.catch_up().await.unwrap();
    world.network.set_down(&relays[0], true);
    for number in 0..100 {
        bob.say("alice", &format!("fast {number}")).await.unwrap();
    }
    bob.catch_up().await.unwrap();
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 101, "the fast relay's");
    world.network.set_down(&relays[0], false);
    alice.catch_up().await.unwrap();
    let said = (0..500).map(|number| format!("slow {number}")).chain((0..100).map(|number| format!("fast {number}")));
    let said: Vec<_> = std::iter::once("first".to_owned()).chain(said).collect();
    assert_eq!(alice.transcript("bob").await.unwrap(), said, "and in his order");
    let contact = alice.contact("bob").await.unwrap().id;
    let mut pages = Vec::new();
    let mut before = None;
    loop {
        let page = alice.messenger.messages(contact, before, 7).await.unwrap();
        let Some(first) = page.first() else { break };
        before = Some(first.position);
        pages.splice(0..0, page.into_iter().map(|message| message.text));
    }
    assert_eq!(pages, said, "page by page too");
    let chats = alice.messenger.conversations(sotto_core::records::Chats::Main, None, 1).await.unwrap();
    assert_eq!((chats[0].preview.as_deref(), chats[0].unread), (Some("fast 99"), 601));
    assert!(alice.refusals().is_empty(), "{:?}", alice.refusals());
}
