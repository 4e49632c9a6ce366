//! Requests, invites and letters that would lead a reader from the chain that it knows to another, or back to an older list.

use std::time::Duration;

use sotto_core::records::{ContactState, Trust};
use sotto_crypto::letter::{Card, Content};
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::secret::ChainKey;
use sotto_protocol::relay::ChainRead;
use sotto_protocol::request::path;
use sotto_protocol::{ChainId, Message as _, RelayAddress};
use sotto_sim::{Fate, Forger, Person, World};

use crate::trust::{all_but_trust, reads_and_sends, trust};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Bob has read a list of alice's that is newer than the one her device knows.
async fn knows_a_newer_list(seed: u64) -> (World, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    let mut forger = Forger::new(&alice, &bob);
    let newer = forger.manifest(1, Some(forger.known().head().hash), world.now());
    forger.serve(&world.network, &[&newer]);
    reads_and_sends(&world, &bob).await;
    world.network.meddle(None);
    world.settle(&[&bob, &alice]).await.expect("they settle");
    assert_eq!(bob.database().number("SELECT version FROM contact"), i64::from(newer.head().version));
    (world, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn b2_a_request_does_not_bring_an_older_list_back() {
    let (world, alice, bob) = knows_a_newer_list(88).await;
    // Whoever holds an older copy of alice's device does not know of the newer list: it scans an invite of bob's.
    let invite = bob.messenger.invite(sotto_core::InviteOptions::default()).await.unwrap();
    bob.catch_up().await.unwrap();
    alice.messenger.remove(alice.contact("bob").await.unwrap().id).await.unwrap();
    alice.catch_up().await.unwrap();
    let before = bob.dump();
    alice.messenger.join(&invite.link).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(Duration::from_secs(5)).await;
    assert_eq!(bob.refused("manifest_older"), 1, "{:?}", bob.refusals());
    assert!(bob.dump() == before, "something changed");
}

/// A device of bob's old epoch, with its list key still, asks alice under an invite of hers: with a list of its own, and a chain of its own.
async fn asks_with_a_chain_of_its_own(alice: &Person, bob: &Person, list: &VerifiedManifest) {
    let options = sotto_core::InviteOptions { auto_accept: true, ..Default::default() };
    let invite = alice.messenger.invite(options).await.expect("an invite is made");
    alice.catch_up().await.expect("its tokens are put");
    bob.messenger.remove(bob.contact("alice").await.expect("known").id).await.expect("removed");
    bob.catch_up().await.expect("and that is done");
    bob.hand_in(list);
    bob.database().change("UPDATE own_chain SET chain = randomblob(32) WHERE audience = 1");
    bob.messenger.join(&invite.link).await.expect("bob asks");
    bob.catch_up().await.expect("it leaves");
}

#[tokio::test(start_paused = true)]
async fn b2_a_request_of_a_known_epoch_does_not_lead_away_from_the_chain_that_is_known() {
    let (world, _, alice, bob) = World::contacts(188).await;
    let mut forger = Forger::new(&bob, &alice);
    let known = |column: &str| alice.database().blobs(&format!("SELECT {column} FROM contact"));
    let (chain, list) = (known("chain"), known("manifest"));
    let own = forger.manifest(3, Some([7; 32]), world.now());
    asks_with_a_chain_of_its_own(&alice, &bob, &own).await;
    world.wait(Duration::from_secs(5)).await;
    assert!(known("chain") == chain && known("manifest") == list, "what was known stays");
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Accepted, "{:?}", alice.refusals());
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted, "and the request is honoured");
    // The root key takes the device off its list, in the chain that alice has always read.
    let epoch = forger.manifest_of_a_later_epoch(1, world.now());
    forger.serve(&world.network, &[&epoch]);
    alice.database().change("UPDATE contact SET manifest_read_at = 0");
    let _ = alice.say("bob", "reads the list").await;
    let _ = alice.messenger.catch_up(Duration::from_secs(5)).await;
    assert_eq!(alice.database().number("SELECT epoch FROM contact"), i64::from(epoch.head().epoch));
}

#[tokio::test(start_paused = true)]
async fn b2_a_request_of_a_device_that_the_known_list_does_not_name_is_heard_once_that_chain_names_it() {
    let (world, relay, alice, bob) = World::contacts(189).await;
    let mut forger = Forger::new(&bob, &alice);
    // What alice knows of bob's list names another device than the one that asks.
    let carol = world.person("carol", &[relay]).await.unwrap();
    world.introduce(&carol, &bob).await.unwrap();
    let mut device = Forger::new(&bob, &carol).known().devices()[0].clone();
    device.id = sotto_protocol::DeviceId::from_bytes([5; 16]);
    let another = forger.manifest_with_devices(&[device], world.now());
    forger.serve(&world.network, &[&another]);
    reads_of(&alice, "bob").await;
    assert_eq!(alice.database().number("SELECT version FROM contact"), i64::from(another.head().version));
    let own = forger.manifest(2, Some(another.head().hash), world.now());
    forger.serve(&world.network, &[&own]);
    asks_with_a_chain_of_its_own(&alice, &bob, &own).await;
    world.wait(Duration::from_secs(2)).await;
    assert_eq!(alice.refused("device_unlisted"), 1, "{:?}", alice.refusals());
    // The chain that alice knows names the device, and she reads it soon: the request, which goes out again a day later, is heard.
    world.wait(Duration::from_secs(90)).await;
    assert_eq!(alice.database().number("SELECT version FROM contact"), i64::from(own.head().version));
    let [alice, bob] = world.switched_off([alice, bob], DAY + DAY / 12).await.unwrap();
    for _ in 0..3 {
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted, "{:?}", alice.refusals());
}

/// Alice's next letter makes her read a chain again.
async fn reads_of(alice: &Person, whom: &str) {
    alice.database().change("UPDATE contact SET manifest_read_at = 0");
    let _ = alice.say(whom, "before this leaves, the list is read").await;
    let _ = alice.messenger.catch_up(Duration::from_secs(5)).await;
}

/// A device of bob's, perhaps one that he has removed, leads alice to another chain.
async fn leads_away(world: &World, alice: &Person, bob: &Person, relay: &RelayAddress) {
    let account = bob.messenger.account().await.expect("an account").id;
    let (chain, chain_key) = (ChainId::from_bytes([7; 32]), ChainKey::from_bytes([8; 32]));
    let card = Content::CardChange(Card { account, relay: relay.clone(), chain, chain_key });
    let said = bob.say("alice", "something else").await.expect("bob speaks").number;
    let content = sotto_sim::hex(&card.encode().expect("a content"));
    bob.database().change(&format!("UPDATE message SET content = x'{content}' WHERE id = {said}"));
    bob.catch_up().await.expect("it leaves");
    world.wait(Duration::from_secs(2)).await;
    assert!(alice.database().blobs("SELECT chain FROM contact") == [[7; 32]]);
}

#[tokio::test(start_paused = true)]
async fn b4_a_chain_that_a_letter_leads_to_is_left_when_the_root_key_speaks_in_the_one_before() {
    let (world, relay, alice, bob) = World::contacts(191).await;
    let known = alice.database().blobs("SELECT chain FROM contact");
    let mut before = Forger::new(&bob, &alice);
    leads_away(&world, &alice, &bob, &relay).await;
    let mut after = Forger::new(&bob, &alice);
    let list = after.manifest(1, None, world.now());
    after.serve(&world.network, &[&list]);
    reads_of(&alice, "bob").await;
    assert_eq!(alice.database().number("SELECT version FROM contact"), i64::from(list.head().version), "it is read");
    let epoch = before.manifest_of_a_later_epoch(1, world.now());
    before.serve(&world.network, &[&epoch]);
    reads_of(&alice, "bob").await;
    assert_eq!(alice.database().number("SELECT epoch FROM contact"), i64::from(epoch.head().epoch));
    assert!(alice.database().blobs("SELECT chain FROM contact") == known, "and is read no more");
    assert_eq!(alice.database().number("SELECT count(*) FROM contact WHERE chain_before IS NOT NULL"), 0);
}

#[tokio::test(start_paused = true)]
async fn b4_the_chain_before_is_read_until_it_is_gone_and_claims_of_no_root_key_count_for_nothing_in_it() {
    let (world, relay, alice, bob) = World::contacts(192).await;
    let before = Forger::new(&bob, &alice);
    leads_away(&world, &alice, &bob, &relay).await;
    let has_before = "SELECT count(*) FROM contact WHERE chain_before IS NOT NULL";
    // Another account's list of a later epoch stands in it.
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&carol, &bob).await.unwrap();
    let of_carol = Forger::new(&carol, &bob).manifest_of_a_later_epoch(1, world.now());
    let mut before = before;
    before.serve(&world.network, &[&of_carol]);
    reads_of(&alice, "bob").await;
    assert_eq!(alice.database().number(has_before), 1, "still read");
    assert!(alice.database().blobs("SELECT chain FROM contact") == [[7; 32]]);
    let gone = ChainRead { chain: vec![9; 32].into(), from: 0 }.encode_to_vec();
    world.network.meddle(Some(Box::new(move |call| {
        if call.path == path::CHAIN_READ { Fate::Becomes(gone.clone().into()) } else { Fate::Passes }
    })));
    reads_of(&alice, "bob").await;
    assert_eq!(alice.database().number(has_before), 0);
}

#[tokio::test(start_paused = true)]
async fn b2_a_request_of_a_later_epoch_brings_its_list_and_its_chain() {
    let (world, _, alice, bob) = World::contacts(190).await;
    let chain = alice.database().blobs("SELECT chain FROM contact");
    let epoch = Forger::new(&bob, &alice).manifest_of_a_later_epoch(1, world.now());
    asks_with_a_chain_of_its_own(&alice, &bob, &epoch).await;
    world.wait(Duration::from_secs(5)).await;
    assert!(alice.database().blobs("SELECT chain FROM contact") != chain);
    assert_eq!(alice.database().number("SELECT epoch FROM contact"), i64::from(epoch.head().epoch));
}

#[tokio::test(start_paused = true)]
async fn b2_joining_does_not_bring_an_older_list_back() {
    let (world, alice, bob) = knows_a_newer_list(89).await;
    let invite = alice.messenger.invite(sotto_core::InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    bob.messenger.remove(bob.contact("alice").await.unwrap().id).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let before = bob.dump();
    assert_eq!(bob.messenger.join(&invite.link).await.unwrap_err().code(), "manifest_older");
    assert!(bob.dump() == before, "something changed");
}

#[tokio::test(start_paused = true)]
async fn b2_a_second_certificate_in_an_invite_is_seen_and_nothing_else_changes() {
    let (world, _, alice, bob) = World::contacts(90).await;
    let invite = alice.messenger.invite(sotto_core::InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    let mut forger = Forger::new(&alice, &bob).of_invite(&invite.link);
    bob.messenger.remove(bob.contact("alice").await.unwrap().id).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let second = forger.manifest_of_a_second_certificate(world.now());
    forger.serve(&world.network, &[&second]);
    let before = all_but_trust(&bob);
    assert_eq!(bob.messenger.join(&invite.link).await.unwrap_err().code(), "account_compromised");
    assert!(all_but_trust(&bob) == before, "something changed");
    assert_eq!(bob.database().number("SELECT trust FROM contact"), 2);
    world.network.meddle(None);
    let before = bob.dump();
    assert_eq!(bob.messenger.join(&invite.link).await.unwrap_err().code(), "account_compromised", "for good");
    assert!(bob.dump() == before, "something changed");
}

#[tokio::test(start_paused = true)]
async fn b2_a_second_certificate_in_a_request_is_seen_and_nothing_else_changes() {
    let (world, _, alice, bob) = World::contacts(91).await;
    let invite = bob.messenger.invite(sotto_core::InviteOptions::default()).await.unwrap();
    bob.catch_up().await.unwrap();
    alice.messenger.remove(alice.contact("bob").await.unwrap().id).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    // Somebody else has certified another list key, and alice's own device hands the list in.
    let second = Forger::new(&alice, &bob).manifest_of_a_second_certificate(world.now());
    alice.hand_in(&second);
    let before = all_but_trust(&bob);
    alice.messenger.join(&invite.link).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(Duration::from_secs(5)).await;
    assert_eq!(bob.refused("account_compromised"), 1, "{:?}", bob.refusals());
    assert!(all_but_trust(&bob) == before, "something changed");
    assert_eq!(trust(&bob).await, Trust::Compromised);
}
