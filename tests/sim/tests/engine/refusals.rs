//! Letters of a contact whose device breaks the protocol, and of strangers who do: each is refused for its own reason, and everything else
//! stays as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_core::records::ContactState;
use sotto_crypto::letter::{Card, Channel, Content};
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::secret::{ChainKey, PairSecret};
use sotto_protocol::{AccountId, ChainId, InboxId, RelayAddress};
use sotto_sim::{Forger, HeldPost, Person, World, hex};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Bob's device sends this in the place of what he says.
async fn says_instead(bob: &Person, content: &Content) {
    let said = bob.say("alice", "something else").await.expect("bob speaks").number;
    let content = hex(&content.encode().expect("a content"));
    bob.database().change(&format!("UPDATE message SET content = x'{content}' WHERE id = {said}"));
    bob.catch_up().await.expect("it leaves");
}

async fn arrived(world: &World, alice: &Person, code: &str) {
    world.wait(Duration::from_secs(2)).await;
    assert_eq!(alice.refused(code), 1, "{code}: {:?}", alice.refusals());
}

/// Everything but that a letter came: its ratchet, its seal and its counter.
fn but_the_letter(person: &Person) -> BTreeMap<String, Vec<String>> {
    let mut dump = person.dump();
    dump.retain(|table, _| !["session", "seal_in", "seen_inner", "peer_device"].contains(&table.as_str()));
    dump
}

fn card(account: AccountId, relay: &RelayAddress) -> Card {
    Card {
        account,
        relay: relay.clone(),
        chain: ChainId::from_bytes([7; 32]),
        chain_key: ChainKey::from_bytes([8; 32]),
    }
}

#[tokio::test(start_paused = true)]
async fn e7_content_of_another_channel_is_refused() {
    let (world, relay, alice, bob) = World::contacts(210).await;
    let bob_id = alice.contact("bob").await.unwrap().id;
    let before = but_the_letter(&alice);
    // An answer where nobody has asked: on the pair's alias.
    let pair_secret = PairSecret::from_bytes([9; 32]);
    let answer = Content::ContactAccept { name: "bob".to_owned(), card: card(bob_id, &relay), pair_secret };
    says_instead(&bob, &answer).await;
    arrived(&world, &alice, "content_misplaced").await;
    assert!(but_the_letter(&alice) == before, "something changed");
}

#[tokio::test(start_paused = true)]
async fn b6_a_contact_speaks_for_its_own_account_only() {
    let (world, relay, alice, bob) = World::contacts(211).await;
    let before = but_the_letter(&alice);
    says_instead(&bob, &Content::CardChange(card(AccountId::from_bytes([3; 32]), &relay))).await;
    arrived(&world, &alice, "card_of_another_account").await;
    assert!(but_the_letter(&alice) == before, "something changed");
}

#[tokio::test(start_paused = true)]
async fn e7_a_letter_that_is_bound_to_other_keys_is_refused() {
    let (world, _, mut alice, bob) = World::contacts(212).await;
    // The device that alice knows has another signing key than the one that wrote this.
    alice.messenger.shut_down();
    alice.database().change("UPDATE peer_device SET ed25519 = randomblob(32)");
    alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    let before = alice.dump();
    bob.say("alice", "bound to my keys").await.unwrap();
    bob.catch_up().await.unwrap();
    arrived(&world, &alice, "binding_refused").await;
    assert!(alice.dump() == before, "something changed");
}

#[tokio::test(start_paused = true)]
async fn c4_a_delivery_under_an_alias_that_nobody_was_given_is_refused() {
    let (world, _, alice, bob) = World::contacts(213).await;
    alice.database().change("DELETE FROM alias");
    let before = alice.dump();
    bob.say("alice", "under no alias").await.unwrap();
    bob.catch_up().await.unwrap();
    arrived(&world, &alice, "unknown_alias").await;
    assert!(alice.dump() == before, "something changed");
}

#[tokio::test(start_paused = true)]
async fn e1_a_session_that_is_answered_at_an_inbox_outside_the_list_opens_what_comes_and_nothing_leaves_on_it() {
    let (world, _, mut alice, bob) = World::contacts(214).await;
    bob.database().change("UPDATE session SET sending = 0");
    // The list that alice knows names another inbox than the one in which bob wants to be answered.
    alice.messenger.shut_down();
    alice.database().change("UPDATE peer_inbox SET inbox = randomblob(16)");
    alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    let sending = "SELECT count(*) FROM session WHERE inbound = 1 AND sending = 1";
    let before = alice.database().number(sending);
    bob.say("alice", "answer me elsewhere").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["answer me elsewhere"]);
    assert_eq!(alice.database().number(sending), before);
    assert_eq!(alice.database().number("SELECT count(*) FROM peer_inbox"), 1, "no list has named it");
}

/// Alice's invite, and bob, a stranger to her who is known to carol: so that his lists can be forged.
async fn stranger(seed: u64) -> (World, Person, Person, Forger, String) {
    let (world, relay, carol, bob) = World::contacts(seed).await;
    let alice = world.person("alice", &[relay]).await.expect("alice begins");
    let invite = alice.messenger.invite(InviteOptions::default()).await.expect("an invite");
    alice.catch_up().await.expect("its tokens are put");
    let forger = Forger::new(&bob, &carol);
    (world, alice, bob, forger, invite.link)
}

async fn request_is_refused(world: &World, alice: &Person, bob: &Person, link: &str, code: &str) {
    let before = alice.dump();
    bob.messenger.join(link).await.expect("bob asks");
    bob.catch_up().await.expect("it leaves");
    arrived(world, alice, code).await;
    assert!(alice.dump() == before, "{code}: something changed");
}

#[tokio::test(start_paused = true)]
async fn b5_a_request_with_a_list_older_than_37_days_is_refused() {
    let (world, alice, bob, forger, link) = stranger(215).await;
    bob.hand_in(&forger.manifest(0, None, world.now().before(38 * DAY)));
    request_is_refused(&world, &alice, &bob, &link, "manifest_outdated").await;
}

#[tokio::test(start_paused = true)]
async fn b5_a_request_with_a_list_of_36_days_is_taken() {
    let (world, alice, bob, forger, link) = stranger(216).await;
    bob.hand_in(&forger.manifest(0, None, world.now().before(36 * DAY)));
    bob.messenger.join(&link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.messenger.contacts().await.unwrap().len(), 1, "{:?}", alice.refusals());
}

#[tokio::test(start_paused = true)]
async fn b1_a_request_with_something_that_is_no_list_is_refused() {
    let (world, alice, bob, _, link) = stranger(217).await;
    bob.database().change("UPDATE own_chain SET manifest = randomblob(300) WHERE audience = 1");
    request_is_refused(&world, &alice, &bob, &link, "manifest_refused").await;
}

#[tokio::test(start_paused = true)]
async fn c2_a_request_that_is_answered_at_an_inbox_outside_its_list_is_refused() {
    let (world, alice, bob, forger, link) = stranger(218).await;
    let mut device = forger.known().devices()[0].clone();
    device.inboxes[0].inbox = InboxId::from_bytes([5; 16]);
    bob.hand_in(&forger.manifest_with_devices(&[device], world.now()));
    request_is_refused(&world, &alice, &bob, &link, "reply_inbox_refused").await;
}

/// Bob has asked alice, who has not answered. With his list of a later epoch, to be forged.
async fn has_asked(seed: u64) -> (World, Person, Person, Forger) {
    let world = World::seeded(seed);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.expect("she begins");
    let bob = world.person("bob", &relays).await.expect("he begins");
    let invite = alice.messenger.invite(InviteOptions::default()).await.expect("an invite");
    alice.catch_up().await.expect("its tokens are put");
    bob.messenger.join(&invite.link).await.expect("he asks");
    world.settle(&[&bob, &alice]).await.expect("she knows of it");
    let forger = Forger::new(&bob, &alice);
    (world, alice, bob, forger)
}

/// Bob's request leaves once more on its session, with that list, and for that account.
async fn asks_once_more(world: &World, bob: Person, list: &VerifiedManifest, account: AccountId) -> Person {
    bob.messenger.shut_down();
    let database = bob.database();
    let queued = database.blobs("SELECT content FROM outbox WHERE state <= 2 AND content IS NOT NULL").pop();
    let request = Content::decode(&queued.expect("his request").into(), Channel::Invite).expect("one of an invite");
    let Content::ContactRequest { name, card, reply_secret, proof, .. } = request else {
        unreachable!("another content")
    };
    let (card, manifest) = (Card { account, ..card }, list.bytes().clone());
    let request = Content::ContactRequest { name, card, manifest, reply_secret, proof };
    let request = hex(&request.encode().expect("a content"));
    database.change(&format!(
        "UPDATE outbox SET content = x'{request}', state = 0, olm = NULL, envelope = NULL, accepted_at = NULL, again_at = NULL
         WHERE state <= 2 AND content IS NOT NULL"
    ));
    let bob = world.reopen(bob).await.expect("he is back");
    bob.catch_up().await.expect("it leaves");
    bob
}

#[tokio::test(start_paused = true)]
async fn c1_a_request_of_a_later_epoch_that_comes_again_on_its_session_is_checked_as_any_other() {
    let (world, alice, bob, mut forger) = has_asked(222).await;
    let (account, before) = (alice.contact("bob").await.unwrap().id, alice.dump());
    let later = forger.manifest_of_a_later_epoch(1, world.now());
    let bob = asks_once_more(&world, bob, &later, AccountId::from_bytes([3; 32])).await;
    arrived(&world, &alice, "card_of_another_account").await;
    let mut device = forger.known().devices()[0].clone();
    device.inboxes[0].inbox = InboxId::from_bytes([5; 16]);
    let elsewhere = forger.manifest_of_a_later_epoch_with(1, &[device], world.now());
    let bob = asks_once_more(&world, bob, &elsewhere, account).await;
    arrived(&world, &alice, "reply_inbox_refused").await;
    assert!(alice.dump() == before, "something changed");
    let _bob = asks_once_more(&world, bob, &later, account).await;
    world.wait(Duration::from_secs(2)).await;
    assert_eq!(alice.database().number("SELECT epoch FROM contact"), 2, "{:?}", alice.refusals());
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Asking);
}

#[tokio::test(start_paused = true)]
async fn c1_a_request_that_comes_again_behind_a_later_letter_of_its_handshake_says_nothing() {
    let (world, alice, bob, mut forger) = has_asked(223).await;
    let account = alice.contact("bob").await.unwrap().id;
    let post = HeldPost::begin(&world.network);
    let bob = asks_once_more(&world, bob, &forger.manifest_of_a_later_epoch(1, world.now()), account).await;
    let request = post.take().pop().expect("it left");
    alice.messenger.accept(account).await.unwrap();
    for _ in 0..2 {
        for person in [&alice, &bob] {
            let _ = person.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
            for letter in post.take() {
                assert!(post.deliver(&world.network, &letter).await);
            }
            world.wait(Duration::from_secs(2)).await;
        }
    }
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
    let before = but_the_letter(&alice);
    assert!(post.deliver(&world.network, &request).await);
    world.wait(Duration::from_secs(2)).await;
    assert_eq!(alice.database().number("SELECT epoch FROM contact"), 1);
    assert!(but_the_letter(&alice) == before, "something changed: {:?}", alice.refusals());
}

#[tokio::test(start_paused = true)]
async fn c2_a_relay_does_not_choose_the_invite_that_a_request_came_under() {
    let world = World::seeded(221);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let carol = world.person("carol", &relays).await.unwrap();
    let by_itself = InviteOptions { uses: 2, auto_accept: true, ..InviteOptions::default() };
    let by_itself = alice.messenger.invite(by_itself).await.unwrap();
    let by_her_word = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    carol.messenger.join(&by_itself.link).await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    let of_carol = world.network.envelopes_to(&alice)[0].clone();
    let post = HeldPost::begin(&world.network);
    bob.messenger.join(&by_her_word.link).await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
    let request = post.take().pop().unwrap();
    assert!(request.token != of_carol.token);
    // The relay, which knows both tokens, says that it came under the invite that accepts by itself.
    let before = alice.dump();
    assert!(post.deliver(&world.network, &request.instead_of(&of_carol)).await);
    arrived(&world, &alice, "request_of_another_invite").await;
    assert!(alice.dump() == before, "something changed");
    // And where it belongs it waits for her word.
    assert!(post.deliver(&world.network, &request).await);
    world.wait(Duration::from_secs(2)).await;
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Asking, "{:?}", alice.refusals());
}

#[tokio::test(start_paused = true)]
async fn c2_a_request_begins_a_session() {
    let (world, relay, alice, bob) = World::contacts(219).await;
    // Everybody has another KEM key by then: letters are openers, on sessions that have long begun.
    let [alice, bob] = world.switched_off([alice, bob], Duration::from_secs(50 * 3600)).await.unwrap();
    let invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    let carol = world.person("carol", &[relay]).await.unwrap();
    carol.messenger.join(&invite.link).await.unwrap();
    carol.catch_up().await.unwrap();
    let request = world.network.envelopes_to(&alice).last().unwrap().clone();
    bob.say("alice", "an opener").await.unwrap();
    bob.catch_up().await.unwrap();
    world.wait(Duration::from_secs(2)).await;
    let opener = world.network.envelopes_to(&alice).last().unwrap().clone();
    assert!(opener.is_opener() && opener.token != request.token);
    // Memory of inner hashes is not what refuses it.
    alice.database().change("DELETE FROM seen_inner");
    let before = alice.dump();
    assert!(world.network.put(&opener.instead_of(&request)).await);
    arrived(&world, &alice, "prekey_message_expected").await;
    assert!(alice.dump() == before, "something changed");
}

#[tokio::test(start_paused = true)]
async fn c1_nobody_keeps_two_others_apart_by_listing_the_inbox_of_one() {
    let (world, relay, alice, mallory) = World::contacts(220).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    let inbox = InboxId::try_from(carol.inboxes()[0].as_slice()).unwrap();
    let mut forger = Forger::new(&mallory, &alice);
    let mut device = forger.known().devices()[0].clone();
    let mut squatted = device.inboxes[0].clone();
    squatted.inbox = inbox;
    device.inboxes.push(squatted);
    let squatting = forger.manifest_with_devices(&[device], world.now());
    forger.serve(&world.network, &[&squatting]);
    alice.database().change("UPDATE contact SET manifest_read_at = 0");
    alice.say("bob", "reads the list").await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(5)).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM peer_inbox"), 2, "mallory's own, and carol's");
    world.network.meddle(None);
    world.introduce(&alice, &carol).await.unwrap();
    alice.say("carol", "to carol").await.unwrap();
    carol.say("alice", "to alice").await.unwrap();
    world.settle(&[&alice, &carol]).await.unwrap();
    assert_eq!(carol.transcript("alice").await.unwrap().len(), 2);
    assert_eq!(alice.transcript("carol").await.unwrap().len(), 2);
}
