//! Lists of devices over time: when they are read, renewed and outdated, and what stands before one names it.

use std::time::Duration;

use sotto_core::records::{ContactState, Trust};
use sotto_protocol::Message as _;
use sotto_protocol::relay::{ChainEntries, ChainHead, ChainRead};
use sotto_protocol::request::path;
use sotto_sim::{Fate, Forger, Person, World};

use crate::trust::{reads_and_sends, trust};

const DAY: Duration = Duration::from_secs(24 * 3600);

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

/// Alice has signed her list again; bob, who has said something since he read it, has just been told of that and could not read it.
async fn has_asked_in_vain(seed: u64) -> (World, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    world.wait(2 * DAY).await;
    for text in ["for which the list is read", "by that list"] {
        bob.say("alice", text).await.expect("bob speaks");
        world.settle(&[&bob, &alice]).await.expect("they settle");
    }
    world.wait(8 * DAY).await;
    assert_eq!(bob.database().number(VERSION), 1, "bob has nothing to say, and did not look");
    hides_the_list_from(&world, &bob);
    alice.say("bob", "I have signed again").await.expect("alice speaks");
    world.settle(&[&alice, &bob]).await.expect("they settle");
    world.wait(Duration::from_secs(120)).await;
    world.network.meddle(None);
    (world, alice, bob)
}

const VERSION: &str = "SELECT version FROM contact";

#[tokio::test(start_paused = true)]
async fn b5_a_newer_head_that_cannot_be_fetched_is_fetched_later_where_something_was_said() {
    let (world, alice, bob) = has_asked_in_vain(89).await;
    world.wait(DAY / 3).await;
    assert_eq!(bob.database().number(VERSION), alice.database().number("SELECT version FROM account"));
    assert!(bob.database().number(VERSION) > 1);
    assert_eq!(bob.database().number("SELECT read_in_vain_at FROM contact"), 0, "and not again and again");
}

#[tokio::test(start_paused = true)]
async fn b5_that_a_list_could_not_be_read_for_a_newer_head_saves_no_letter_the_reading() {
    let (world, alice, bob) = has_asked_in_vain(88).await;
    bob.say("alice", "a minute later").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(bob.database().number(VERSION), alice.database().number("SELECT version FROM account"));
}

/// Which chains were read since then, in order.
fn chains_read(world: &World, since: usize) -> Vec<Vec<u8>> {
    let calls = world.network.traffic().split_off(since);
    let readings = calls.iter().filter(|call| call.path == path::CHAIN_READ);
    readings.map(|call| ChainRead::decode(call.body.clone()).expect("a reading").chain.to_vec()).collect()
}

/// The story: bob has asked under an invite, and reads the invite's chain before he asks again. Alice has signed her list again meanwhile, so
/// that this chain holds a second version; and while bob's reading is under way, her answer leads him to the chain of her contacts, whose
/// second version has a hash of its own. What came of the reading was stored for the new chain, her first text showed "another list", and
/// bob distrusted her for good.
#[tokio::test(start_paused = true)]
async fn b5_a_reading_that_another_chain_overtakes_says_nothing() {
    let world = World::seeded(905);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    world.wait(Duration::from_secs(3600)).await;
    let options = sotto_core::InviteOptions { valid_for: 30 * DAY, ..Default::default() };
    let invite = alice.messenger.invite(options).await.unwrap();
    alice.catch_up().await.unwrap();
    bob.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let of_invite = bob.database().blobs("SELECT chain FROM contact");
    // An hour later bob's relay has nothing for him: a day after that his request is due again.
    world.wait(Duration::from_secs(3600)).await;
    let bob = world.reopen(bob).await.unwrap();
    bob.catch_up().await.unwrap();
    bob.messenger.shut_down();
    // Her list is a week old then, and bob's is not: nothing else is read when he opens.
    alice.database().change("UPDATE account SET issued_at = issued_at - 604800000");
    let [alice] = world.switched_off([alice], 2 * DAY).await.unwrap();
    world.wait(Duration::from_secs(3600)).await;
    assert!(alice.database().number("SELECT version FROM account") > 1, "she has signed again");
    alice.messenger.accept(alice.contact("bob").await.unwrap().id).await.unwrap();
    alice.catch_up().await.unwrap();
    // The courier begins after 15 seconds, the answer comes a second later, and two seconds later what the courier asked for.
    world.network.delay_answers(path::CHAIN_READ, Duration::from_secs(3));
    world.network.delay_streams(Duration::from_secs(16));
    let calls = world.network.traffic().len();
    let bob = world.reopen(bob).await.unwrap();
    world.wait(Duration::from_secs(17)).await;
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
    assert!(chains_read(&world, calls) == of_invite, "the reading of the invite's chain is under way");
    world.wait(Duration::from_secs(10)).await;
    let now = bob.database().blobs("SELECT chain FROM contact");
    assert!(chains_read(&world, calls).contains(&now[0]), "then the chain is read that she has led to");
    let version = bob.database().number("SELECT version FROM contact");
    assert_eq!(version, alice.database().number("SELECT version FROM account"));
    assert_eq!(bob.database().number("SELECT chain_is_new FROM contact"), 0);
    bob.say("alice", "hello alice").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.say("bob", "hello bob").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(trust(&bob).await, Trust::Sound);
    assert_eq!(bob.transcript("alice").await.unwrap(), ["hello alice", "hello bob"]);
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
async fn b5_letters_that_name_epochs_which_no_list_shows_are_no_lever() {
    let (world, _, alice, bob) = World::contacts(2098).await;
    alice.messenger.shut_down();
    alice.database().change("UPDATE own_chain SET epoch = epoch + 1");
    let alice = world.reopen(alice).await.unwrap();
    let before = readings(&world);
    for _ in 0..60 {
        alice.say("bob", "again").await.unwrap();
        let _ = alice.messenger.catch_up(Duration::from_secs(1)).await;
        world.wait(Duration::from_secs(1)).await;
    }
    assert_eq!(bob.transcript("alice").await.unwrap().len(), 60);
    let readings = readings(&world) - before;
    assert!((1..=10).contains(&readings), "{readings} readings in a minute");
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
