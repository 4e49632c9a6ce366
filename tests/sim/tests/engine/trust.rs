//! Lists of devices: what a reader believes, what it never believes again, and what it shows.

use std::time::Duration;

use sotto_core::records::Trust;
use sotto_sim::{Forger, Person, World};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Bob has something to say, and reads alice's chain before it leaves. Returns how many envelopes left.
pub(crate) async fn reads_and_sends(world: &World, bob: &Person) -> usize {
    bob.database().change("UPDATE contact SET manifest_read_at = 0");
    let before = world.network.envelopes().len();
    let _ = bob.say("alice", "before this leaves, alice's chain is read").await;
    let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
    world.network.envelopes().len() - before
}

pub(crate) async fn trust(bob: &Person) -> Trust {
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
pub(crate) fn all_but_trust(bob: &Person) -> std::collections::BTreeMap<String, Vec<String>> {
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
