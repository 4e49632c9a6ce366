//! Lists of devices: what a reader believes, what it never believes again, and what it shows.

use std::time::Duration;

use sotto_core::records::{ContactState, Trust};
use sotto_crypto::letter::{Card, Content};
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::secret::ChainKey;
use sotto_protocol::relay::{ChainEntries, ChainHead, ChainRead};
use sotto_protocol::request::path;
use sotto_protocol::{ChainId, Message as _, RelayAddress};
use sotto_sim::{Fate, Forger, Person, World};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Bob has something to say, and reads alice's chain before it leaves. Returns how many envelopes left.
async fn reads_and_sends(world: &World, bob: &Person) -> usize {
    bob.database().change("UPDATE contact SET manifest_read_at = 0");
    let before = world.network.envelopes().len();
    let _ = bob.say("alice", "before this leaves, alice's chain is read").await;
    let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
    world.network.envelopes().len() - before
}

async fn trust(bob: &Person) -> Trust {
    bob.contact("alice").await.expect("alice is a contact").trust
}

#[tokio::test(start_paused = true)]
async fn b2_two_certificates_for_one_epoch_stop_everything_and_are_shown() {
    let (world, _, alice, bob) = World::contacts(60).await;
    let mut forger = Forger::new(&alice, &bob);
    let second = forger.manifest_of_a_second_certificate(world.now());
    forger.serve(&world.network, &[&second]);
    assert_eq!(reads_and_sends(&world, &bob).await, 0, "nothing leaves");
    assert_eq!(trust(&bob).await, Trust::Compromised);
    assert_eq!(bob.say("alice", "no").await.unwrap_err().code(), "wrong_state");
    // For good, also when the chain looks sound again.
    world.network.meddle(None);
    assert_eq!(reads_and_sends(&world, &bob).await, 0);
    alice.say("bob", "from whom?").await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(Duration::from_secs(5)).await;
    assert_eq!(bob.refused("contact_distrusted"), 1, "and nothing is taken");
}

/// What bob knows but for how much he trusts alice and when he last looked.
fn all_but_trust(bob: &Person) -> std::collections::BTreeMap<String, Vec<String>> {
    let shown = |cell: &&str| !cell.starts_with("trust=") && !cell.starts_with("manifest_read_at=");
    let without = |row: &String| row.split(' ').filter(shown).collect::<Vec<_>>().join(" ");
    let mut dump = bob.dump();
    dump.entry("contact".to_owned()).and_modify(|rows| rows.iter_mut().for_each(|row| *row = without(row)));
    dump
}

/// Bob has nothing to say and looks at alice's chain again.
async fn looks_again(world: &World, bob: &Person) {
    world.wait(Duration::from_secs(26 * 3600)).await;
    bob.catch_up().await.expect("bob looks");
    world.wait(Duration::from_secs(90)).await;
}

#[tokio::test(start_paused = true)]
async fn b5_a_fork_changes_nothing_but_trust() {
    let (world, _, alice, bob) = World::contacts(61).await;
    let mut forger = Forger::new(&alice, &bob);
    let forked = forger.manifest(1, Some([7; 32]), world.now());
    bob.say("alice", "waits").await.unwrap();
    let _ = bob.catch_up().await;
    forger.serve(&world.network, &[&forked]);
    alice.messenger.shut_down();
    let before = all_but_trust(&bob);
    bob.database().change("UPDATE contact SET manifest_read_at = 0");
    let _ = bob.say("alice", "before this leaves, alice's chain is read").await;
    let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
    assert_eq!(trust(&bob).await, Trust::Forked);
    let mut after = all_but_trust(&bob);
    // What bob said waits in his outbox.
    let mut before = before;
    for said in ["message", "outbox", "conversation"] {
        before.remove(said);
        after.remove(said);
    }
    assert!(before == after, "the list, its devices, sessions and seals stay as they were");
    assert_eq!(bob.database().number("SELECT count(*) FROM outbox WHERE state = 0"), 1, "and nothing leaves");
}

#[tokio::test(start_paused = true)]
async fn b2_a_new_epoch_heals_a_fork_and_what_waited_goes_both_ways() {
    let (world, _, alice, bob) = World::contacts(85).await;
    let mut forger = Forger::new(&alice, &bob);
    let forked = forger.manifest(1, Some([7; 32]), world.now());
    forger.serve(&world.network, &[&forked]);
    assert_eq!(reads_and_sends(&world, &bob).await, 0);
    assert_eq!(trust(&bob).await, Trust::Forked);
    alice.say("bob", "while you did not trust me").await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(Duration::from_secs(30)).await;
    assert_eq!(bob.transcript("alice").await.unwrap().len(), 1, "what came from her waits, and bob's own text");
    // The same two lists, and behind them the root key's word for a new epoch.
    let healed = forger.manifest_of_a_later_epoch(1, world.now());
    forger.serve(&world.network, &[&forked, &healed]);
    looks_again(&world, &bob).await;
    assert_eq!(trust(&bob).await, Trust::Sound);
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap().last().unwrap(), "while you did not trust me");
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 2, "and hers has his");
}

#[tokio::test(start_paused = true)]
async fn b2_no_epoch_heals_two_certificates_for_one() {
    let (world, _, alice, bob) = World::contacts(86).await;
    let mut forger = Forger::new(&alice, &bob);
    let second = forger.manifest_of_a_second_certificate(world.now());
    let later = forger.manifest_of_a_later_epoch(1, world.now());
    // The later epoch stands behind the second certificate in one answer, and alone in the next.
    forger.serve(&world.network, &[&second, &later]);
    assert_eq!(reads_and_sends(&world, &bob).await, 0);
    assert_eq!(trust(&bob).await, Trust::Compromised);
    forger.serve(&world.network, &[&later]);
    looks_again(&world, &bob).await;
    assert_eq!(trust(&bob).await, Trust::Compromised);
}

#[tokio::test(start_paused = true)]
async fn b2_no_epoch_heals_a_fork_in_which_two_certificates_stand_for_one() {
    let (world, _, alice, bob) = World::contacts(84).await;
    let mut forger = Forger::new(&alice, &bob);
    let forked = forger.manifest(1, Some([7; 32]), world.now());
    let second = forger.manifest_of_a_second_certificate(world.now());
    let later = forger.manifest_of_a_later_epoch(1, world.now());
    forger.serve(&world.network, &[&forked]);
    reads_and_sends(&world, &bob).await;
    assert_eq!(trust(&bob).await, Trust::Forked);
    forger.serve(&world.network, &[&forked, &second, &later]);
    looks_again(&world, &bob).await;
    assert_eq!(trust(&bob).await, Trust::Compromised);
}

#[tokio::test(start_paused = true)]
async fn b5_a_gap_is_no_fork_and_is_read_again() {
    let (world, _, alice, bob) = World::contacts(87).await;
    let mut forger = Forger::new(&alice, &bob);
    let next = forger.manifest(1, Some(forger.known().head().hash), world.now());
    let after_next = forger.manifest(2, Some(next.head().hash), world.now());
    forger.serve(&world.network, &[&after_next]);
    let before = all_but_trust(&bob);
    bob.database().change("UPDATE contact SET manifest_read_at = 0");
    bob.say("alice", "behind the gap").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
    assert_eq!(trust(&bob).await, Trust::Sound);
    assert!(before["contact"] == all_but_trust(&bob)["contact"], "an entry was left out: nothing is believed");
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 0);
    forger.serve(&world.network, &[&next, &after_next]);
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["behind the gap"]);
    assert_eq!(bob.database().number("SELECT version FROM contact"), i64::from(after_next.head().version));
}

#[tokio::test(start_paused = true)]
async fn b2_a_request_does_not_bring_an_older_list_back() {
    let (world, _, alice, bob) = World::contacts(88).await;
    let mut forger = Forger::new(&alice, &bob);
    let newer = forger.manifest(1, Some(forger.known().head().hash), world.now());
    forger.serve(&world.network, &[&newer]);
    reads_and_sends(&world, &bob).await;
    world.network.meddle(None);
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(bob.database().number("SELECT version FROM contact"), i64::from(newer.head().version));
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
    let (world, _, alice, bob) = World::contacts(89).await;
    let mut forger = Forger::new(&alice, &bob);
    let newer = forger.manifest(1, Some(forger.known().head().hash), world.now());
    forger.serve(&world.network, &[&newer]);
    reads_and_sends(&world, &bob).await;
    world.network.meddle(None);
    world.settle(&[&bob, &alice]).await.unwrap();
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

#[tokio::test(start_paused = true)]
async fn b2_a_list_that_gives_a_known_device_other_keys_is_refused() {
    let (world, _, alice, bob) = World::contacts(92).await;
    let mut forger = Forger::new(&alice, &bob);
    let mut device = forger.known().devices()[0].clone();
    device.curve25519 = sotto_crypto::olm::OlmAccount::generate(world.now()).curve25519();
    let other = forger.manifest_with_devices(&[device], world.now());
    forger.serve(&world.network, &[&other]);
    let before = all_but_trust(&bob);
    assert_eq!(reads_and_sends(&world, &bob).await, 0, "nothing leaves");
    assert!(before["contact"] == all_but_trust(&bob)["contact"] && before["peer_device"] == bob.dump()["peer_device"]);
    assert_eq!(trust(&bob).await, Trust::Sound);
    world.network.meddle(None);
    assert!(reads_and_sends(&world, &bob).await > 0);
}

#[tokio::test(start_paused = true)]
async fn b2_a_device_that_left_the_list_speaks_no_more_under_a_seal_that_is_installed() {
    let (world, _, alice, bob) = World::contacts(93).await;
    for _ in 0..3 {
        alice.say("bob", "ping").await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        bob.say("alice", "pong").await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    let mut forger = Forger::new(&alice, &bob);
    let mut device = forger.known().devices()[0].clone();
    device.id = sotto_protocol::DeviceId::from_bytes([9; 16]);
    let olm = sotto_crypto::olm::OlmAccount::generate(world.now());
    (device.ed25519, device.curve25519) = (olm.ed25519(), olm.curve25519());
    let without = forger.manifest_with_devices(&[device], world.now());
    forger.serve(&world.network, &[&without]);
    reads_and_sends(&world, &bob).await;
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 1"), 1);
    let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
    let before = bob.dump();
    alice.say("bob", "still here").await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(Duration::from_secs(1)).await;
    assert!(!world.network.envelopes_to(&bob).last().unwrap().is_opener(), "a continuation");
    assert_eq!(bob.refused("device_unlisted"), 1, "{:?}", bob.refusals());
    assert!(bob.dump() == before, "something changed");
}

#[tokio::test(start_paused = true)]
async fn b2_an_older_manifest_changes_nothing() {
    let (world, _, alice, bob) = World::contacts(62).await;
    let old = Forger::new(&alice, &bob).known().clone();
    // Alice signs again after a week; bob reads it.
    let [alice, bob] = world.switched_off([alice, bob], 8 * DAY).await.unwrap();
    assert!(reads_and_sends(&world, &bob).await > 0);
    let mut forger = Forger::new(&alice, &bob);
    assert!(forger.known().head().version > old.head().version, "bob knows the newer one");
    alice.messenger.shut_down();
    let but_for_what_he_says = |mut dump: std::collections::BTreeMap<_, _>| {
        ["message", "outbox", "conversation"].iter().for_each(|said| drop(dump.remove(*said)));
        dump
    };
    let before = but_for_what_he_says(all_but_trust(&bob));
    forger.serve(&world.network, &[&old]);
    assert_eq!(reads_and_sends(&world, &bob).await, 0, "nothing leaves on an old list");
    assert!(but_for_what_he_says(all_but_trust(&bob)) == before, "something changed");
    world.network.meddle(None);
    assert!(reads_and_sends(&world, &bob).await > 0, "and with the true chain back everything leaves");
    assert_eq!(trust(&bob).await, Trust::Sound);
}

#[tokio::test(start_paused = true)]
async fn b2_entries_that_open_with_no_key_change_nothing() {
    let (world, _, alice, bob) = World::contacts(63).await;
    let forger = Forger::new(&alice, &bob);
    forger.serve_entries(&world.network, vec![vec![7; 300].into()]);
    assert_eq!(reads_and_sends(&world, &bob).await, 0);
    assert_eq!(trust(&bob).await, Trust::Sound);
    world.network.meddle(None);
    assert!(reads_and_sends(&world, &bob).await > 0);
}

#[tokio::test(start_paused = true)]
async fn b5_a_letter_that_names_another_head_of_a_known_version_shows_a_fork() {
    let (world, _, alice, bob) = World::contacts(64).await;
    bob.say("alice", "one list").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    // Bob's relay shows alice one chain, and bob has written another.
    bob.database().change("UPDATE own_chain SET hash = randomblob(32) WHERE audience = 1");
    bob.say("alice", "another list").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.contact("bob").await.unwrap().trust, Trust::Forked);
    assert_eq!(alice.say("bob", "to whom?").await.unwrap_err().code(), "wrong_state");
}

/// The chain in which this person reads their contact's lists answers nobody.
fn hides_the_list_from(world: &World, reader: &Person) {
    let chain = reader.database().blobs("SELECT chain FROM contact").swap_remove(0);
    world.network.meddle(Some(Box::new(move |call| {
        let is_hidden = call.path == path::CHAIN_READ
            && ChainRead::decode(call.body.clone()).is_ok_and(|read| *read.chain == *chain);
        if is_hidden { Fate::Lost } else { Fate::Passes }
    })));
}

fn readings(world: &World) -> usize {
    world.network.traffic().iter().filter(|call| call.path == path::CHAIN_READ).count()
}

#[tokio::test(start_paused = true)]
async fn b5_a_list_is_read_again_before_sending_when_24_hours_have_passed_and_not_before() {
    let (world, _, alice, bob) = World::contacts(94).await;
    bob.say("alice", "first").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let mut before = readings(&world);
    for (after, expected) in [(23, 0), (2, 1), (23, 0), (2, 1)] {
        alice.messenger.shut_down();
        world.wait(Duration::from_secs(after * 3600)).await;
        bob.say("alice", "again").await.unwrap();
        let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
        assert_eq!(readings(&world) - before, expected, "{after} hours later");
        before = readings(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn b5_a_newer_head_in_a_letter_is_fetched_at_once() {
    let (world, _, mut alice, mut bob) = World::contacts(95).await;
    // Everything is confirmed by then: bob has nothing to send that he would read the list for.
    world.wait(2 * DAY).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    bob.messenger.shut_down();
    [alice] = world.switched_off([alice], 8 * DAY).await.unwrap();
    bob = world.reopen(bob).await.unwrap();
    bob.catch_up().await.unwrap();
    let version = "SELECT version FROM contact";
    assert_eq!(bob.database().number(version), 1, "bob has nothing to say, and did not look");
    alice.say("bob", "I have signed again").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.wait(Duration::from_secs(15)).await;
    assert_eq!(bob.database().number(version), alice.database().number("SELECT version FROM account"));
    assert!(bob.database().number(version) > 1);
}

#[tokio::test(start_paused = true)]
async fn b5_letters_that_name_heads_which_nobody_finds_are_no_lever() {
    let (world, _, alice, bob) = World::contacts(98).await;
    // Alice's relay does not give bob her list, and she goes on talking.
    hides_the_list_from(&world, &bob);
    bob.database().change("UPDATE contact SET version = 0, manifest_read_at = 1");
    let before = readings(&world);
    for _ in 0..30 {
        alice.say("bob", "again").await.unwrap();
        let _ = alice.messenger.catch_up(Duration::from_secs(1)).await;
        world.wait(Duration::from_secs(4)).await;
    }
    assert_eq!(bob.transcript("alice").await.unwrap().len(), 30);
    assert!((1..=4).contains(&(readings(&world) - before)), "{} readings in two minutes", readings(&world) - before);
}

#[tokio::test(start_paused = true)]
async fn b5_a_letter_of_an_unknown_device_is_shown_whoever_reads_its_list() {
    let (world, _, alice, bob) = World::contacts(99).await;
    let mut forger = Forger::new(&alice, &bob);
    // Bob's list names another device, and alice's relay does not answer him.
    hides_the_list_from(&world, &bob);
    alice.database().change("UPDATE session SET sending = 0; DELETE FROM seal_out");
    bob.messenger.shut_down();
    bob.database().change(
        "UPDATE peer_device SET device = randomblob(16), ed25519 = randomblob(32), curve25519 = randomblob(32)",
    );
    let bob = world.reopen(bob).await.unwrap();
    bob.catch_up().await.unwrap();
    alice.say("bob", "from a device that you do not know").await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(5)).await;
    world.wait(Duration::from_secs(5)).await;
    assert!(bob.database().number("SELECT count(*) FROM waiting WHERE reason = 2") >= 1, "{:?}", bob.refusals());
    let next = forger.manifest(1, Some(forger.known().head().hash), world.now());
    forger.serve(&world.network, &[&next]);
    // Nobody writes: bob's upkeep looks at the list again.
    world.wait(8 * Duration::from_secs(3600)).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["from a device that you do not know"]);
}

#[tokio::test(start_paused = true)]
async fn b5_a_list_that_nobody_has_renewed_for_37_days_is_shown_as_outdated() {
    let (world, _, alice, mut bob) = World::contacts(96).await;
    alice.messenger.shut_down();
    for (days, outdated) in [(36, false), (2, true)] {
        bob.messenger.shut_down();
        world.wait(days * DAY).await;
        bob = world.reopen(bob).await.unwrap();
        assert_eq!(bob.contact("alice").await.unwrap().outdated, outdated);
    }
    // For somebody who is known already it is used all the same.
    bob.say("alice", "out of the drawer").await.unwrap();
    bob.catch_up().await.unwrap();
    let alice = world.reopen(alice).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["out of the drawer"]);
    bob.say("alice", "and this one finds the new list").await.unwrap();
    world.wait(2 * DAY).await;
    assert!(!bob.contact("alice").await.unwrap().outdated);
}

#[tokio::test(start_paused = true)]
async fn b5_an_answer_without_entries_moves_nothing() {
    let (world, _, mut alice, bob) = World::contacts(97).await;
    // A relay says that the chain is very long, and gives nothing of it.
    world.network.meddle(Some(Box::new(|call| {
        if call.path != path::CHAIN_READ {
            return Fate::Passes;
        }
        let head = Some(ChainHead { index: u64::MAX, hash: vec![0; 32].into() });
        Fate::Answered(ChainEntries { head, first: 1 << 62, ..Default::default() }.encode_to_vec().into())
    })));
    reads_and_sends(&world, &bob).await;
    world.network.meddle(None);
    assert!(bob.database().number("SELECT chain_next FROM contact") < 5);
    [alice] = world.switched_off([alice], 8 * DAY).await.unwrap();
    reads_and_sends(&world, &bob).await;
    let version = bob.database().number("SELECT version FROM contact");
    assert_eq!(version, alice.database().number("SELECT version FROM account"), "and bob is not blind");
}

#[tokio::test(start_paused = true)]
async fn b5_a_list_older_than_37_days_is_not_used_for_first_contact() {
    let (world, relay, alice, bob) = World::contacts(65).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    let invite = alice.messenger.invite(sotto_core::InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    let mut forger = Forger::new(&alice, &bob).of_invite(&invite.link);
    let stale = forger.manifest(0, None, world.now().before(38 * DAY));
    forger.serve(&world.network, &[&stale]);
    let before = carol.dump();
    assert_eq!(carol.messenger.join(&invite.link).await.unwrap_err().code(), "manifest_outdated");
    assert!(carol.dump() == before, "nothing changed");
    let fresh = forger.manifest(0, None, world.now().before(36 * DAY));
    forger.serve(&world.network, &[&fresh]);
    carol.messenger.join(&invite.link).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn b6_an_inbox_is_created_then_its_tokens_and_prekeys_are_put_then_the_list_names_it() {
    let world = World::seeded(66);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", &[relay]).await.unwrap();
    alice.messenger.invite(sotto_core::InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    let calls: Vec<_> = world.network.traffic().iter().map(|call| call.path).collect();
    // Reading what the relay asks for comes before, and changes nothing there.
    let calls = &calls.into_iter().filter(|path| *path != path::WELL_KNOWN).collect::<Vec<_>>();
    let places = |path| (0..calls.len()).filter(move |place| calls[*place] == path);
    let (prekeys, tokens) = (places(path::PREKEY_PUT), places(path::TOKEN_PUT));
    let lists = || places(path::CHAIN_APPEND);
    assert_eq!(places(path::INBOX_CREATE).next(), Some(0));
    let (last_prekey, first_list) =
        (prekeys.max().expect("prekeys are put"), lists().next().expect("lists are written"));
    assert!(last_prekey < first_list, "the account's lists come after both kinds of prekeys");
    let (last_token, last_list) = (tokens.max().expect("tokens are put"), lists().max().expect("lists are written"));
    assert!(last_token < last_list, "the invite's list comes after its tokens");
}

#[tokio::test(start_paused = true)]
async fn b5_lists_and_prekeys_are_renewed_for_60_days_and_contacts_go_on_talking() {
    let (world, _, mut alice, mut bob) = World::contacts(67).await;
    for round in 0..12 {
        [alice, bob] = world.switched_off([alice, bob], 5 * DAY).await.unwrap();
        bob.say("alice", &format!("question {round}")).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        alice.say("bob", &format!("answer {round}")).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        assert!(!bob.contact("alice").await.unwrap().outdated, "day {}", 5 * (round + 1));
    }
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 24);
    assert_eq!(alice.transcript("bob").await.unwrap(), bob.transcript("alice").await.unwrap());
    assert!(alice.database().number("SELECT version FROM account") >= 7, "signed again when a week has passed");
    // Renewed every two days and drained at once: the current one, and those retired in the last week.
    let keys = alice.database().number("SELECT count(*) FROM kem_key");
    assert!((2..=5).contains(&keys), "retired KEM keys are erased, and not at once: {keys}");
    assert_eq!(trust(&bob).await, Trust::Sound);
}

#[tokio::test(start_paused = true)]
async fn d4_a_peer_who_was_away_for_10_days_catches_up_on_everything() {
    let (world, _, mut alice, mut bob) = World::contacts(68).await;
    alice.messenger.shut_down();
    let mut said = Vec::new();
    for day in 0..10 {
        [bob] = world.switched_off([bob], DAY).await.unwrap();
        said.push(format!("day {day}"));
        bob.say("alice", said.last().unwrap()).await.unwrap();
        bob.catch_up().await.unwrap();
    }
    alice = world.reopen(alice).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), said);
    alice.say("bob", "back").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap().last().unwrap(), "back");
}

#[tokio::test(start_paused = true)]
async fn d5_each_inbox_has_a_kem_key_of_its_own_so_that_no_id_joins_two_relays() {
    let world = World::seeded(80);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let current = "SELECT count(DISTINCT key_id) FROM kem_key WHERE retired_at IS NULL";
    assert_eq!(alice.database().number(current), 2);
    let [alice] = world.switched_off([alice], 3 * DAY).await.unwrap();
    assert_eq!(alice.database().number(current), 2, "renewed for both");
    assert_eq!(alice.database().number("SELECT count(*) FROM kem_key WHERE retired_at IS NOT NULL"), 2);
}
