//! Invites, requests, answers, blocking: who reaches whom, and what is learned by those who do not.

use std::time::Duration;

use sotto_core::records::{ContactState, MessageState};
use sotto_core::{Error, InviteError, InviteOptions};
use sotto_protocol::request::path;
use sotto_sim::{Fate, Person, World};

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
    let at: std::collections::BTreeSet<_> = drops.map(|call| call.relay).collect();
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
    let (world, _, mut alice, bob) = World::contacts(42).await;
    alice.messenger.shut_down();
    let said = bob.say("alice", "under way").await.unwrap();
    bob.catch_up().await.unwrap();
    world.network.meddle(Some(Box::new(|call| if call.path == path::TOKEN_DROP { Fate::Lost } else { Fate::Passes })));
    let bob_id = bob.messenger.account().await.unwrap().id;
    alice = world.reopen(alice).await.unwrap();
    alice.messenger.block(bob_id).await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 0);
    assert_eq!(alice.refused("contact_blocked"), 1);
    world.network.meddle(None);
    world.wait(DAY + DAY / 2).await;
    assert_eq!(bob.messenger.message(said.number).await.unwrap().state, MessageState::Sent, "and never delivered");
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
    assert_eq!(carol.database().number("SELECT count(*) FROM meta WHERE key = 'joining'"), 0);
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
