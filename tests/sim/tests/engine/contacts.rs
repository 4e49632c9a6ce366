//! Invites, requests, answers, blocking: who reaches whom, and what is learned by those who do not.

use std::collections::BTreeSet;
use std::time::Duration;

use sotto_core::records::{ContactState, MessageState};
use sotto_core::{Error, InviteError, InviteOptions};
use sotto_crypto::secret::PairSecret;
use sotto_protocol::relay::{PrekeyClaim, Send};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, InboxId, Message as _, RelayAddress};
use sotto_sim::{Envelope, Fate, Person, Prekeys, World};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn link(owner: &Person, uses: u32, auto_accept: bool) -> String {
    let options = InviteOptions { uses, auto_accept, ..InviteOptions::default() };
    let invite = owner.messenger.invite(options).await.expect("an invite is made");
    owner.catch_up().await.expect("its tokens are put");
    invite.link
}

/// Joining is refused with this code and changes nothing.
async fn refuses(person: &Person, link: &str, code: &str) {
    let before = person.dump();
    let error = person.messenger.join(link).await.expect_err("it is refused");
    assert_eq!(error.code(), code);
    assert!(person.dump() == before, "{code}: something changed");
}

#[tokio::test(start_paused = true)]
async fn c1_both_sides_reach_every_inbox_of_the_other() {
    let world = World::seeded(40);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays[..1]).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    let puts = |purpose| format!("SELECT count(*) FROM alias WHERE purpose = {purpose}");
    assert_eq!(alice.database().number(&puts(1)), 2, "a pair token at each of her inboxes");
    assert_eq!(alice.database().number(&puts(3)), 2, "the invite's at each");
    assert_eq!(bob.database().number(&puts(1)), 1);
    assert_eq!(alice.database().number("SELECT count(*) FROM relay_task"), 0, "and all of them stand");
    // Who holds the pair secret can compute the token of every inbox in the other's list.
    for (owner, other, count) in [(&alice, &bob, 2), (&bob, &alice, 1)] {
        let secret = other.database().blobs("SELECT pair_secret FROM contact").swap_remove(0);
        let secret = PairSecret::from_bytes(secret.as_slice().try_into().unwrap());
        let relays = owner.database().texts("SELECT relay FROM own_inbox ORDER BY position");
        let inboxes = owner.inboxes();
        assert_eq!(inboxes.len(), count);
        for (inbox, relay) in inboxes.iter().zip(&relays) {
            let id = InboxId::try_from(inbox.as_slice()).unwrap();
            let relay = relay.parse::<RelayAddress>().unwrap().name().clone();
            let template = world.network.envelopes()[0].clone();
            let derived = Bytes::copy_from_slice(secret.token(&id, 0).as_bytes());
            let next = Bytes::copy_from_slice(secret.token(&id, 1).as_bytes());
            let put = Envelope { relay, inbox: id.into(), token: derived, claim: Bytes::new(), ..template };
            assert!(world.network.put(&put).await, "the derived token stands");
            assert!(!world.network.put(&Envelope { token: next, ..put }).await, "and no other one does");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c1_a_blocking_while_the_answer_is_awaited_can_be_taken_back() {
    let world = World::seeded(240);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let link = link(&alice, 1, false).await;
    bob.messenger.join(&link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let alice_id = alice.messenger.account().await.unwrap().id;
    bob.messenger.block(alice_id).await.unwrap();
    bob.catch_up().await.unwrap();
    bob.messenger.unblock(alice_id).await.unwrap();
    bob.catch_up().await.unwrap();
    alice.messenger.accept(bob.messenger.account().await.unwrap().id).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted, "the answer found its way");
}

#[tokio::test(start_paused = true)]
async fn c1_taking_a_blocking_back_brings_no_token_back_of_a_pair_before() {
    let (world, _, alice, bob) = World::contacts(241).await;
    let bob_id = bob.messenger.account().await.unwrap().id;
    let alice_id = alice.messenger.account().await.unwrap().id;
    bob.say("alice", "under the first pair").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let first = world.network.envelopes_to(&alice).last().unwrap().clone();
    alice.messenger.remove(bob_id).await.unwrap();
    alice.catch_up().await.unwrap();
    let link = link(&bob, 1, true).await;
    alice.messenger.join(&link).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    alice.messenger.block(bob_id).await.unwrap();
    alice.catch_up().await.unwrap();
    alice.messenger.unblock(bob_id).await.unwrap();
    alice.catch_up().await.unwrap();
    assert!(!world.network.put(&first).await, "the first pair's token is gone for good");
    bob.messenger.send_text(alice_id, "under the second".to_owned()).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), "under the second");
}

#[tokio::test(start_paused = true)]
async fn c2_scanning_the_invite_of_somebody_who_asks_accepts_them() {
    let world = World::seeded(242);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let (of_alice, of_bob) = (link(&alice, 1, false).await, link(&bob, 1, false).await);
    bob.messenger.join(&of_alice).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Asking);
    alice.messenger.join(&of_bob).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Accepted);
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
    alice.say("bob", "both have said yes").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["both have said yes"]);
}

#[tokio::test(start_paused = true)]
async fn c2_who_was_not_answered_may_ask_under_another_invite() {
    let world = World::seeded(243);
    let relays = [world.network.add_relay("relay.example")];
    let mut alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let (first, second) = (link(&alice, 1, false).await, link(&alice, 1, true).await);
    alice.messenger.shut_down();
    bob.messenger.join(&first).await.unwrap();
    bob.catch_up().await.unwrap();
    refuses(&bob, &first, "already_contact").await;
    bob.messenger.join(&second).await.unwrap();
    bob.catch_up().await.unwrap();
    alice = world.reopen(alice).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
    bob.say("alice", "at last").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["at last"]);
    assert_eq!(alice.messenger.contacts().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn c2_a_request_is_sent_no_more_when_its_invite_has_expired() {
    let world = World::seeded(244);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let options = InviteOptions { valid_for: 2 * DAY, ..InviteOptions::default() };
    let invite = alice.messenger.invite(options).await.unwrap();
    alice.catch_up().await.unwrap();
    alice.messenger.shut_down();
    bob.messenger.join(&invite.link).await.unwrap();
    bob.catch_up().await.unwrap();
    let requests = || world.network.envelopes_to(&alice).len();
    world.wait(2 * DAY).await;
    assert!(requests() >= 2, "sent again while it holds");
    world.wait(DAY / 8).await;
    let sent = requests();
    world.wait(3 * DAY).await;
    assert_eq!(requests(), sent, "and no more");
    assert_eq!(bob.database().number("SELECT count(*) FROM outbox WHERE state <= 2"), 0);
    // Bob may ask under a new one.
    let alice = world.reopen(alice).await.unwrap();
    let link = link(&alice, 1, true).await;
    bob.messenger.join(&link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn e4_nothing_is_confirmed_to_somebody_who_only_asks() {
    let world = World::seeded(245);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let link = link(&alice, 1, false).await;
    bob.messenger.join(&link).await.unwrap();
    for _ in 0..3 {
        world.settle(&[&bob, &alice]).await.unwrap();
        // Even when a confirmation were owed.
        alice.database().change("UPDATE peer_device SET confirm_due = 1");
        world.wait(DAY).await;
    }
    assert!(world.network.envelopes_to(&alice).len() >= 2, "bob asks again and again");
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Asking);
    assert_eq!(world.network.envelopes_to(&bob).len(), 0, "and learns nothing");
    assert_eq!(alice.database().number("SELECT count(*) FROM outbox"), 0);
}

#[tokio::test(start_paused = true)]
async fn c2_the_owner_counts_uses_also_where_the_relay_does_not() {
    let world = World::seeded(246);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let carol = world.person("carol", &relays).await.unwrap();
    let link = link(&alice, 1, true).await;
    bob.messenger.join(&link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let claim = world.network.envelopes_to(&alice)[0].claim.clone();
    // The relay gives carol prekeys although the invite's one claim is bob's, and takes her request as if it were his.
    let claimed = Prekeys::of(&alice).claimed_of_last_resort(&alice, world.now());
    let answer: Bytes = claimed.encode_to_vec().into();
    world.network.meddle(Some(Box::new(move |call| match call.path {
        path::PREKEY_CLAIM => Fate::Answered(answer.clone()),
        path::SEND => {
            let mut send = Send::decode(call.body.clone()).unwrap();
            for item in &mut send.items {
                item.claim = if item.claim.is_empty() { Bytes::new() } else { claim.clone() };
            }
            Fate::Becomes(send.encode_to_vec().into())
        }
        _ => Fate::Passes,
    })));
    alice.catch_up().await.unwrap();
    let before = alice.dump();
    carol.messenger.join(&link).await.unwrap();
    carol.catch_up().await.unwrap();
    world.wait(Duration::from_secs(2)).await;
    assert_eq!(alice.refused("invite_used_up"), 1, "{:?}", alice.refusals());
    assert!(alice.dump() == before, "something changed");
}

#[tokio::test(start_paused = true)]
async fn c1_blocking_drops_the_tokens_at_every_inbox_and_unblocking_restores_them() {
    let world = World::seeded(41);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays[..1]).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    let bob_id = alice.contact("bob").await.unwrap().id;
    alice.messenger.block(bob_id).await.unwrap();
    alice.catch_up().await.unwrap();
    let drops = world.network.traffic().into_iter().filter(|call| call.path == path::TOKEN_DROP);
    let at: BTreeSet<_> = drops.map(|call| call.relay).collect();
    assert_eq!(at.len(), 2, "one at each relay");
    let said = bob.say("alice", "are you there?").await.unwrap();
    for _ in 0..3 {
        let _ = bob.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
        alice.catch_up().await.unwrap();
    }
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 0);
    let state = bob.messenger.message(said.number).await.unwrap().state;
    assert!(matches!(state, MessageState::Queued | MessageState::Sending), "{state:?}");
    assert_eq!(alice.messenger.send_text(bob_id, "no".to_owned()).await.unwrap_err().code(), "wrong_state");
    alice.messenger.unblock(bob_id).await.unwrap();
    alice.catch_up().await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["are you there?"], "what waited at its sender arrives");
    alice.say("bob", "I am").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["are you there?", "I am"]);
}

#[tokio::test(start_paused = true)]
async fn c1_what_is_under_way_when_somebody_is_blocked_is_neither_shown_nor_confirmed() {
    // The second time for so long that the key under which it came is due to be erased.
    for (seed, seal_age, blocked_for) in [(42, Duration::ZERO, DAY + DAY / 2), (244, 3 * DAY, 12 * DAY)] {
        let (world, _, mut alice, bob) = World::contacts(seed).await;
        world.wait(seal_age).await;
        alice.messenger.shut_down();
        let said = bob.say("alice", "under way").await.unwrap();
        bob.catch_up().await.unwrap();
        world
            .network
            .meddle(Some(Box::new(|call| if call.path == path::TOKEN_DROP { Fate::Lost } else { Fate::Passes })));
        let bob_id = bob.messenger.account().await.unwrap().id;
        alice = world.reopen(alice).await.unwrap();
        alice.messenger.block(bob_id).await.unwrap();
        let _ = alice.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
        assert_eq!(alice.transcript("bob").await.unwrap().len(), 0);
        assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 1);
        world.network.meddle(None);
        world.wait(blocked_for).await;
        assert_eq!(alice.transcript("bob").await.unwrap().len(), 0);
        assert_eq!(bob.messenger.message(said.number).await.unwrap().state, MessageState::Sent, "and never delivered");
        // The relay's copy is gone, and bob has no reason to send another for a month.
        let put = world.network.envelopes_to(&alice).len();
        alice.messenger.unblock(bob_id).await.unwrap();
        alice.catch_up().await.unwrap();
        assert_eq!(alice.transcript("bob").await.unwrap(), ["under way"], "until that is taken back");
        assert_eq!(world.network.envelopes_to(&alice).len(), put);
        alice.say("bob", "I have it").await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        assert_eq!(bob.messenger.message(said.number).await.unwrap().state, MessageState::Delivered);
    }
}

#[tokio::test(start_paused = true)]
async fn c1_all_that_was_under_way_when_somebody_is_blocked_is_there_once_that_is_taken_back() {
    let (world, _, mut alice, bob) = World::contacts(245).await;
    alice.messenger.shut_down();
    let texts: Vec<String> = (0..100).map(|number| format!("text {number}")).collect();
    for text in &texts {
        bob.say("alice", text).await.unwrap();
    }
    bob.catch_up().await.unwrap();
    alice = world.reopen(alice).await.unwrap();
    let bob_id = bob.messenger.account().await.unwrap().id;
    alice.messenger.block(bob_id).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 0);
    alice.messenger.unblock(bob_id).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), texts);
}

#[tokio::test(start_paused = true)]
async fn c1_an_answer_that_arrives_while_its_sender_is_blocked_counts_once_that_is_taken_back() {
    let world = World::seeded(243);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    bob.messenger.join(&link(&alice, 1, false).await).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    // The answer is taken by bob's relay before it hears that alice's tokens are gone.
    world.network.meddle(Some(Box::new(|call| if call.path == path::TOKEN_DROP { Fate::Lost } else { Fate::Passes })));
    let (alice_id, bob_id) = (alice.messenger.account().await.unwrap().id, alice.contact("bob").await.unwrap().id);
    bob.messenger.block(alice_id).await.unwrap();
    alice.messenger.accept(bob_id).await.unwrap();
    alice.say("bob", "and behind it").await.unwrap();
    for person in [&alice, &bob] {
        let _ = person.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
    }
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Asked);
    world.network.meddle(None);
    bob.messenger.unblock(alice_id).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted, "{:?}", bob.refusals());
    assert_eq!(bob.transcript("alice").await.unwrap(), ["and behind it"]);
}

#[tokio::test(start_paused = true)]
async fn c2_a_link_that_is_used_twice_at_once_is_asked_under_once() {
    for slow in [path::CHAIN_READ, path::PREKEY_CLAIM] {
        let world = World::seeded(543);
        let relays = [world.network.add_relay("relay.example")];
        let alice = world.person("alice", &relays).await.unwrap();
        let bob = world.person("bob", &relays).await.unwrap();
        let link = link(&alice, 2, false).await;
        world.network.delay_answers(slow, Duration::from_secs(2));
        let (one, other) = tokio::join!(bob.messenger.join(&link), bob.messenger.join(&link));
        assert!(one.is_ok() != other.is_ok(), "{slow}: {one:?}, {other:?}");
        assert_eq!(one.and(other).unwrap_err().code(), "already_contact", "{slow}");
        assert_eq!(bob.database().number("SELECT count(*) FROM outbox"), 1, "{slow}");
        assert_eq!(bob.database().number("SELECT count(DISTINCT batch) FROM alias WHERE purpose = 2"), 1);
        let calls = world.network.traffic().into_iter().filter(|call| call.path == path::PREKEY_CLAIM);
        let claims: BTreeSet<_> = calls.map(|call| PrekeyClaim::decode(call.body).unwrap().claim).collect();
        assert_eq!(claims.len(), 1, "{slow}: the other use of the invite is still there");
        world.settle(&[&bob, &alice]).await.unwrap();
        assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Asking);
        assert_eq!(alice.database().number("SELECT uses_left FROM invite"), 1, "{slow}");
    }
}

#[tokio::test(start_paused = true)]
async fn c2_a_single_use_invite_serves_the_first_and_tells_the_second_that_it_is_used_up() {
    let world = World::seeded(43);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let carol = world.person("carol", &relays).await.unwrap();
    let link = link(&alice, 1, false).await;
    bob.messenger.join(&link).await.unwrap();
    refuses(&carol, &link, "invite_used_up").await;
    refuses(&bob, &link, "already_contact").await;
    refuses(&alice, &link, "invite_own").await;
    world.settle(&[&bob, &alice]).await.unwrap();
    refuses(&bob, &link, "already_contact").await;
    assert_eq!(alice.messenger.contacts().await.unwrap().len(), 1);
    let asking = alice.contact("bob").await.unwrap();
    assert_eq!(asking.state, ContactState::Asking);
    assert_eq!(alice.messenger.send_text(asking.id, "early".to_owned()).await.unwrap_err().code(), "wrong_state");
    alice.messenger.accept(asking.id).await.unwrap();
    assert_eq!(alice.messenger.accept(asking.id).await.unwrap_err().code(), "wrong_state");
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn c2_an_invite_of_two_uses_serves_two() {
    let world = World::seeded(44);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let link = link(&alice, 2, true).await;
    for name in ["bob", "carol"] {
        let person = world.person(name, &relays).await.unwrap();
        person.messenger.join(&link).await.unwrap();
        world.settle(&[&person, &alice]).await.unwrap();
        assert_eq!(person.contact("alice").await.unwrap().state, ContactState::Accepted);
        assert_eq!(alice.contact(name).await.unwrap().state, ContactState::Accepted);
    }
    let dave = world.person("dave", &relays).await.unwrap();
    refuses(&dave, &link, "invite_used_up").await;
}

#[tokio::test(start_paused = true)]
async fn c2_an_expired_or_damaged_link_changes_nothing() {
    let (world, relay, alice, _) = World::contacts(45).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    let link = link(&alice, 1, true).await;
    for garbage in ["", "hello", "https://relay.example/i#", &link[..link.len() - 2], &format!("{link}x")] {
        refuses(&carol, garbage, "invite_garbage").await;
    }
    let damaged = link.replace("relay.example", "relay.exampl");
    let refused = carol.messenger.join(&damaged).await.unwrap_err();
    assert!(matches!(refused, Error::Invite(InviteError::Garbage(_)) | Error::Relay(_)), "{refused:?}");
    world.network.set_down(&relay, true);
    refuses(&carol, &link, "relay_unreachable").await;
    world.network.set_down(&relay, false);
    world.wait(8 * DAY).await;
    refuses(&carol, &link, "invite_expired").await;
}

#[tokio::test(start_paused = true)]
async fn c2_a_lost_answer_to_the_claim_does_not_use_the_invite_up() {
    let (world, relay, alice, _) = World::contacts(46).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    let link = link(&alice, 1, true).await;
    let claims = |call: &sotto_sim::Traffic| call.path == path::PREKEY_CLAIM;
    world.network.meddle(Some(Box::new(move |call| if claims(call) { Fate::AnswerLost } else { Fate::Passes })));
    assert_eq!(carol.messenger.join(&link).await.unwrap_err().code(), "relay_broken");
    world.network.meddle(None);
    carol.messenger.join(&link).await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    assert_eq!(carol.contact("alice").await.unwrap().state, ContactState::Accepted);
    assert_eq!(carol.database().number("SELECT count(*) FROM joining"), 0);
}

#[tokio::test(start_paused = true)]
async fn c2_a_request_waits_for_an_owner_who_is_away_for_days() {
    let world = World::seeded(47);
    let relays = [world.network.add_relay("relay.example")];
    let mut alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let link = link(&alice, 1, false).await;
    alice.messenger.shut_down();
    bob.messenger.join(&link).await.unwrap();
    bob.catch_up().await.unwrap();
    world.wait(3 * DAY).await;
    let claim = &world.network.envelopes_to(&alice)[0].claim;
    let requests: Vec<_> = world.network.envelopes_to(&alice);
    assert!(requests.len() >= 2, "sent again while it is not answered");
    assert!(requests.iter().all(|request| request.claim == claim), "under the same claim id");
    alice = world.reopen(alice).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let asking = alice.contact("bob").await.unwrap();
    alice.messenger.accept(asking.id).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    bob.say("alice", "at last").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["at last"]);
    assert_eq!(alice.messenger.contacts().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn c2_a_request_whose_answer_nobody_would_hear_any_more_is_not_accepted() {
    let world = World::seeded(244);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    bob.messenger.join(&link(&alice, 1, false).await).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let [alice, bob] = world.switched_off([alice, bob], 61 * DAY).await.unwrap();
    let bob_id = bob.messenger.account().await.unwrap().id;
    let before = alice.dump();
    assert_eq!(alice.messenger.accept(bob_id).await.unwrap_err().code(), "wrong_state");
    assert!(alice.dump() == before, "something changed");
    // Another request is as good as the first, and so is one of alice's own.
    alice.messenger.join(&link(&bob, 1, true).await).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    for (person, other) in [(&alice, "bob"), (&bob, "alice")] {
        assert_eq!(person.contact(other).await.unwrap().state, ContactState::Accepted);
    }
}

#[tokio::test(start_paused = true)]
async fn e1_two_who_scan_each_other_at_once_become_contacts_once() {
    let world = World::seeded(48);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let (of_alice, of_bob) = (link(&alice, 1, true).await, link(&bob, 1, true).await);
    alice.messenger.join(&of_bob).await.unwrap();
    bob.messenger.join(&of_alice).await.unwrap();
    for _ in 0..4 {
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Accepted);
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
    alice.say("bob", "from alice").await.unwrap();
    bob.say("alice", "from bob").await.unwrap();
    for _ in 0..4 {
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 2);
    assert_eq!(bob.transcript("alice").await.unwrap().len(), 2);
    let sending = "SELECT hex(session) FROM session WHERE sending = 1";
    assert_eq!(alice.database().texts(sending), bob.database().texts(sending), "both send on one session");
}
