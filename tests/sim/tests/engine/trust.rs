//! Lists of devices: what a reader believes, what it never believes again, and what it shows.

use std::time::Duration;

use sotto_core::records::Trust;
use sotto_protocol::request::path;
use sotto_sim::{Forger, Person, World};

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

#[tokio::test(start_paused = true)]
async fn b5_a_fork_changes_nothing_but_trust() {
    let (world, _, alice, bob) = World::contacts(61).await;
    let mut forger = Forger::new(&alice, &bob);
    let known = forger.known().clone();
    let unlinked = forger.manifest(1, Some([7; 32]), world.now());
    forger.serve(&world.network, &[&unlinked]);
    assert_eq!(reads_and_sends(&world, &bob).await, 0, "nothing leaves");
    assert_eq!(trust(&bob).await, Trust::Forked);
    let stored = bob.database().blobs("SELECT manifest FROM contact");
    assert!(stored[0] == **known.bytes(), "the known list stays");
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
    let before = bob.database().blobs("SELECT manifest FROM contact");
    forger.serve(&world.network, &[&old]);
    assert_eq!(reads_and_sends(&world, &bob).await, 0, "nothing leaves on an old list");
    assert!(bob.database().blobs("SELECT manifest FROM contact") == before);
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
    assert!(prekeys.max() < lists().next(), "the account's lists come after both kinds of prekeys");
    assert!(tokens.max() < lists().max(), "the invite's list comes after its tokens");
}

#[tokio::test(start_paused = true)]
async fn b6_a_list_waits_for_what_it_tells_of_at_every_relay_and_nothing_else_waits_for_it() {
    let world = World::seeded(69);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    alice.catch_up().await.unwrap();
    let lists = || world.network.traffic().iter().filter(|call| call.path == path::CHAIN_APPEND).count();
    let before = lists();
    world.network.set_down(&relays[1], true);
    alice.messenger.invite(sotto_core::InviteOptions::default()).await.unwrap();
    assert!(!alice.messenger.catch_up(Duration::from_secs(5)).await.unwrap().is_complete);
    assert_eq!(lists(), before, "the tokens at the second relay do not stand yet");
    world.network.set_down(&relays[1], false);
    assert!(alice.catch_up().await.unwrap().is_complete);
    assert_eq!(lists(), before + 1);
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
    assert!(alice.database().number("SELECT count(*) FROM kem_key") <= 20, "retired KEM keys are erased");
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
