//! Prekeys that a relay hands out: whatever is wrong with them, a joining and a courier store nothing of it.

use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_protocol::relay::{PrekeyCount, PrekeyPut, server_frame};
use sotto_protocol::request::path;
use sotto_protocol::{Message as _, RelayAddress};
use sotto_sim::{Fate, Flaw, Person, Prekeys, Traffic, World};

/// What begins with prekeys, and must not when they are refused.
fn begun(person: &Person) -> Vec<Vec<String>> {
    let mut dump = person.dump();
    let tables = ["session", "seal_out", "peer_device", "contact", "account", "session_tombstone"];
    let mut rows: Vec<_> = tables.iter().filter_map(|table| dump.remove(*table)).collect();
    rows.push(
        person.database().blobs("SELECT bundle FROM peer_inbox").iter().map(|bundle| sotto_sim::hex(bundle)).collect(),
    );
    rows
}

#[tokio::test(start_paused = true)]
async fn d5_joining_refuses_every_flawed_prekey_and_changes_nothing() {
    let world = World::seeded(200);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    let mut prekeys = Prekeys::of(&alice);
    let before = all_but_claims(&bob);
    for flaw in Flaw::ALL {
        world.network.answer_claims_with(&prekeys.claimed(flaw, Flaw::None, world.now()));
        assert_eq!(bob.messenger.join(&invite.link).await.unwrap_err().code(), "bundle_refused", "{flaw:?}");
        assert!(all_but_claims(&bob) == before, "{flaw:?} bundle: something changed");
        world.network.answer_claims_with(&prekeys.claimed(Flaw::None, flaw, world.now()));
        assert_eq!(bob.messenger.join(&invite.link).await.unwrap_err().code(), "one_time_key_refused", "{flaw:?}");
        assert!(all_but_claims(&bob) == before, "{flaw:?} one-time key: something changed");
    }
    // Without a flaw the same blobs are good, so that it is the flaw which is refused.
    world.network.answer_claims_with(&prekeys.claimed(Flaw::None, Flaw::None, world.now()));
    bob.messenger.join(&invite.link).await.unwrap();
}

/// The claim ids under which an invite is joined are written down before the relay hears them.
fn all_but_claims(person: &Person) -> std::collections::BTreeMap<String, Vec<String>> {
    let mut dump = person.dump();
    dump.remove("joining");
    dump
}

/// Alice's device puts a bundle that nobody can open who reads her lists; returns the key that they have.
async fn put_bundle_under(world: &World, alice: Person, key: &str) -> (Person, String) {
    let listed = sotto_sim::hex(&alice.database().blobs("SELECT prekey_key FROM own_inbox")[0]);
    alice.messenger.shut_down();
    alice.database().change(&format!("UPDATE own_inbox SET prekey_key = {key}; UPDATE kem_key SET created_at = 0"));
    let alice = world.reopen(alice).await.expect("alice is back");
    alice.catch_up().await.expect("and her bundle is put");
    (alice, format!("x'{listed}'"))
}

#[tokio::test(start_paused = true)]
async fn d5_a_joining_after_refused_prekeys_gets_what_their_owner_has_put_meanwhile() {
    let world = World::seeded(202);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let invite = alice.messenger.invite(InviteOptions { uses: 2, ..InviteOptions::default() }).await.unwrap();
    alice.catch_up().await.unwrap();
    let (alice, listed) = put_bundle_under(&world, alice, "randomblob(32)").await;
    assert_eq!(bob.messenger.join(&invite.link).await.unwrap_err().code(), "bundle_refused");
    let (alice, _) = put_bundle_under(&world, alice, &listed).await;
    // The relay answers the first claim with the same as before; only another one brings the good bundle.
    bob.messenger.join(&invite.link).await.unwrap();
    assert_eq!(bob.database().number("SELECT count(*) FROM joining"), 0);
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.messenger.contacts().await.unwrap().len(), 1, "{:?}", alice.refusals());
}

#[tokio::test(start_paused = true)]
async fn d5_an_invite_of_one_use_still_belongs_to_the_claim_whose_prekeys_were_refused() {
    let world = World::seeded(203);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    // A bad answer comes in the place of the relay's own, which has given the invite to bob's claim.
    let mut prekeys = Prekeys::of(&alice);
    let bad = prekeys.claimed(Flaw::Unsigned, Flaw::None, world.now()).encode_to_vec();
    let mut body = None;
    let seen = std::sync::Arc::new(std::sync::Mutex::new(None));
    let claim = seen.clone();
    world.network.meddle(Some(Box::new(move |call| {
        if call.path != path::PREKEY_CLAIM {
            return Fate::Passes;
        }
        body.get_or_insert_with(|| call.body.clone());
        claim.lock().unwrap().clone_from(&body);
        Fate::Answered(bad.clone().into())
    })));
    assert_eq!(bob.messenger.join(&invite.link).await.unwrap_err().code(), "bundle_refused");
    world.network.meddle(None);
    let claim = seen.lock().unwrap().take().unwrap();
    assert_eq!(world.network.anonymous(&relays[0], path::PREKEY_CLAIM, claim).await, 200);
    bob.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.messenger.contacts().await.unwrap().len(), 1, "{:?}", alice.refusals());
}

#[tokio::test(start_paused = true)]
async fn c2_joining_another_invite_in_between_does_not_use_up_the_first() {
    let world = World::seeded(204);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let carol = world.person("carol", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let mut links = Vec::new();
    for owner in [&alice, &carol] {
        links.push(owner.messenger.invite(InviteOptions::default()).await.unwrap().link);
        owner.catch_up().await.unwrap();
    }
    let is_claim = |call: &sotto_sim::Traffic| call.path == path::PREKEY_CLAIM;
    world.network.meddle(Some(Box::new(move |call| if is_claim(call) { Fate::AnswerLost } else { Fate::Passes })));
    for link in &links {
        assert_eq!(bob.messenger.join(link).await.unwrap_err().code(), "relay_broken");
    }
    world.network.meddle(None);
    for link in &links {
        bob.messenger.join(link).await.unwrap();
    }
    world.settle(&[&bob, &alice, &carol]).await.unwrap();
    assert_eq!(bob.database().number("SELECT count(*) FROM joining"), 0);
    assert_eq!(bob.database().number("SELECT count(*) FROM contact"), 2);
}

#[tokio::test(start_paused = true)]
async fn d5_a_courier_refuses_every_flawed_prekey_and_goes_on_with_a_good_one() {
    let (world, _, alice, bob) = World::contacts(201).await;
    let mut prekeys = Prekeys::of(&alice);
    // A new session and a new bundle are needed for the next letter.
    bob.database().change("UPDATE session SET sending = 0; UPDATE peer_inbox SET bundle_read_at = 0;");
    let before = begun(&bob);
    world.network.answer_claims_with(&prekeys.claimed(Flaw::Unsigned, Flaw::None, world.now()));
    bob.say("alice", "under good prekeys").await.unwrap();
    let envelopes = world.network.envelopes().len();
    for flaw in Flaw::ALL {
        for (bundle, one_time) in [(flaw, Flaw::None), (Flaw::None, flaw)] {
            world.network.answer_claims_with(&prekeys.claimed(bundle, one_time, world.now()));
            let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
            assert!(begun(&bob) == before, "{bundle:?} {one_time:?}: something began");
            assert_eq!(world.network.envelopes().len(), envelopes, "{bundle:?} {one_time:?}: nothing leaves");
        }
    }
    world.network.meddle(None);
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["under good prekeys"]);
}

#[tokio::test(start_paused = true)]
async fn d5_what_was_dated_by_a_wild_clock_is_made_anew_as_soon_as_the_clock_is_right() {
    let world = World::seeded(177);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    world.network.set_clocks_ahead(Duration::from_secs(30 * 86_400));
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    // One-time keys are made anew in the meantime as well.
    alice.database().change("UPDATE own_inbox SET one_time_unused = 0, one_time_made_at = 1");
    world.wait(Duration::from_secs(2 * 3600)).await;
    assert!(alice.database().number("SELECT min(one_time_unused) FROM own_inbox") > 0, "they were");
    assert!(
        alice.database().number("SELECT max(created_at) FROM kem_key")
            > i64::try_from(world.now().as_ms()).unwrap() + 86_400_000,
        "the relay was believed"
    );
    assert!(alice.database().number("SELECT count(*) FROM kem_key WHERE retired_at IS NOT NULL") > 0);
    world.network.set_clocks_ahead(Duration::ZERO);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    // Nor does a date that was made up keep a retired key alive.
    let tomorrow = world.now().after(Duration::from_secs(2 * 86_400)).as_ms();
    assert_eq!(alice.database().number(&format!("SELECT count(*) FROM kem_key WHERE retired_at > {tomorrow}")), 0);
    let bob = world.person("bob", &relays).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    bob.say("alice", "reached").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["reached"]);
}

/// How many stacks of one-time keys were put at a relay.
fn stacks(world: &World, relay: &RelayAddress) -> usize {
    let is_put = |call: &&Traffic| call.path == path::PREKEY_PUT && call.relay == *relay.name();
    let traffic = world.network.traffic();
    let puts = traffic.iter().filter(is_put).filter_map(|call| PrekeyPut::decode(call.body.clone()).ok());
    puts.filter(|put| !put.one_time.is_empty()).count()
}

#[tokio::test(start_paused = true)]
async fn a5_no_answer_of_a_relay_makes_more_than_a_stack_in_two_days_nor_ends_the_keys_of_another() {
    let world = World::seeded(205);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let mut alice = world.person("alice", &relays).await.unwrap();
    let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
    let invite = alice.messenger.invite(options).await.unwrap();
    alice.catch_up().await.unwrap();
    let carol = world.person("carol", &relays[..1]).await.unwrap();
    carol.catch_up().await.unwrap();
    carol.messenger.join(&invite.link).await.unwrap();
    carol.messenger.shut_down();
    let liar = relays[1].name().clone();
    world.network.meddle(Some(Box::new(move |call| {
        if call.path == path::PREKEY_PUT && call.relay == liar {
            return Fate::Answered(PrekeyCount::default().encode_to_vec().into());
        }
        Fate::Passes
    })));
    assert_eq!(stacks(&world, &relays[1]), 1);
    // As after any answer of hers.
    alice.database().change("UPDATE own_inbox SET one_time_unused = 0 WHERE position = 1");
    for hour in 0..50 {
        alice = world.reopen(alice).await.unwrap();
        alice.catch_up().await.unwrap();
        assert_eq!(stacks(&world, &relays[1]), if hour < 48 { 1 } else { 2 }, "after {hour} hours");
        world.wait(Duration::from_secs(3600)).await;
    }
    assert_eq!(stacks(&world, &relays[0]), 2, "the one of one.example is another relay's, and carol's is there");
    world.network.meddle(None);
    let carol = world.reopen(carol).await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    assert_eq!(alice.contact("carol").await.unwrap().state, sotto_core::records::ContactState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a5_a_relay_that_has_forgotten_hands_out_no_key_twice_though_it_is_no_time_for_new_ones() {
    let (world, relay, alice, bob) = World::contacts(206).await;
    bob.say("alice", "hello").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    bob.messenger.shut_down();
    let before = stacks(&world, &relay);
    world.network.lie(Some(Box::new(|_, frame| {
        if let server_frame::Frame::Attached(attached) = frame {
            attached.acked = 0;
        }
    })));
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(stacks(&world, &relay), before);
    assert_eq!(alice.database().number("SELECT one_time_unused FROM own_inbox"), 0, "as the relay itself says");
    world.network.lie(None);
    let [alice] = world.switched_off([alice], Duration::from_secs(49 * 3600)).await.unwrap();
    assert_eq!(stacks(&world, &relay), before + 1);
    assert!(alice.database().number("SELECT one_time_unused FROM own_inbox") > 0);
}

#[tokio::test(start_paused = true)]
async fn a5_a_stack_that_stands_for_a_month_is_replaced() {
    let world = World::seeded(207);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    alice.catch_up().await.unwrap();
    let [alice] = world.switched_off([alice], Duration::from_secs(29 * 86_400)).await.unwrap();
    assert_eq!(stacks(&world, &relay), 1);
    let [_] = world.switched_off([alice], Duration::from_secs(2 * 86_400)).await.unwrap();
    assert_eq!(stacks(&world, &relay), 2);
}
