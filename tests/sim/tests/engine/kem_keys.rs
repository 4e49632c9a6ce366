//! How long the private halves of prekeys live, and how old the ones are that senders use (PROTOCOL D4).

use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_core::records::ContactState;
use sotto_core::world::SecretStore as _;
use sotto_crypto::olm::OlmAccount;
use sotto_crypto::secret::StateKey;
use sotto_crypto::state::{StateRow, open_state};
use sotto_protocol::RelayAddress;
use sotto_protocol::request::path;
use sotto_sim::{Fate, Person, World, hex};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn current(alice: &Person) -> Vec<Vec<u8>> {
    alice.database().blobs("SELECT key_id FROM kem_key WHERE retired_at IS NULL ORDER BY key_id")
}

fn holds(alice: &Person, keys: &[Vec<u8>]) -> bool {
    let held = alice.database().blobs("SELECT key_id FROM kem_key");
    keys.iter().all(|key| held.contains(key))
}

/// Alice with an inbox at each of two relays, and her first KEM keys, which have just retired.
async fn retired(seed: u64) -> (World, [RelayAddress; 2], Person, Vec<Vec<u8>>) {
    let world = World::seeded(seed);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays).await.expect("alice begins");
    alice.catch_up().await.expect("alice catches up");
    let first = current(&alice);
    let [alice] = world.switched_off([alice], 49 * HOUR).await.expect("they come back");
    assert!(holds(&alice, &first) && current(&alice) != first, "renewed after 48 hours");
    (world, relays, alice, first)
}

#[tokio::test(start_paused = true)]
async fn d4_a_retired_kem_key_is_erased_once_every_relay_was_drained_7_days_later() {
    let (world, _, alice, first) = retired(112).await;
    let [alice] = world.switched_off([alice], 6 * DAY + 20 * HOUR).await.unwrap();
    assert!(holds(&alice, &first), "letters may still be under way to it");
    // No bundle is due by then: the erasure waits for none.
    let [alice] = world.switched_off([alice], 5 * HOUR).await.unwrap();
    world.wait(2 * HOUR).await;
    assert!(first.iter().all(|key| !holds(&alice, std::slice::from_ref(key))), "both are gone");
}

#[tokio::test(start_paused = true)]
async fn d4_a_kem_key_that_its_relay_still_offers_is_kept_until_7_days_after_the_next_one_was_taken() {
    let world = World::seeded(118);
    let relay = world.network.add_relay("one.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    alice.catch_up().await.unwrap();
    let first = current(&alice);
    world.network.meddle(Some(Box::new(|call| {
        let busy = sotto_protocol::Bytes::from_static(br#"{"status":503,"code":"busy"}"#);
        if call.path == path::PREKEY_PUT { Fate::Fails(503, busy) } else { Fate::Passes }
    })));
    let [alice] = world.switched_off([alice], 49 * HOUR).await.unwrap();
    assert_ne!(current(&alice), first);
    let [alice] = world.switched_off([alice], 9 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    assert!(holds(&alice, &first), "whoever asks gets it");
    world.network.meddle(None);
    let [alice] = world.switched_off([alice], 6 * DAY + 20 * HOUR).await.unwrap();
    world.wait(HOUR).await;
    assert!(holds(&alice, &first), "letters may be under way to it");
    let [alice] = world.switched_off([alice], 7 * DAY + HOUR).await.unwrap();
    world.wait(2 * HOUR).await;
    assert!(!holds(&alice, &first));
}

#[tokio::test(start_paused = true)]
async fn d4_a_relay_that_is_down_keeps_retired_kem_keys_for_37_days_and_no_longer() {
    let (world, relays, mut alice, first) = retired(113).await;
    world.network.set_down(&relays[1], true);
    for _ in 0..6 {
        [alice] = world.switched_off([alice], 6 * DAY).await.unwrap();
        assert!(holds(&alice, &first), "what waits at the second relay may still be sealed to it");
    }
    [alice] = world.switched_off([alice], DAY + HOUR).await.unwrap();
    world.wait(HOUR).await;
    assert!(first.iter().all(|key| !holds(&alice, std::slice::from_ref(key))), "after 37 days nothing can be");
}

/// The current last-resort key of a device, and whether the one before is kept.
fn last_resort(person: &Person) -> ([u8; 32], Option<[u8; 32]>) {
    let key = person.secrets.get("database").expect("a profile has a key").expect("a profile has a key");
    let key = StateKey::of_database(key.as_slice().try_into().expect("a profile has a key"));
    let sealed = person.database().blobs("SELECT olm_sealed FROM account").pop().expect("a row");
    let row = StateRow { table: "account.olm", id: b"1", version: 1 };
    let olm: OlmAccount = open_state(&sealed, &key, &row).expect("a profile has a key");
    (olm.last_resort().key(), olm.last_resort_before().map(|before| before.key()))
}

#[tokio::test(start_paused = true)]
async fn d4_a_last_resort_key_rotates_after_37_days_and_is_kept_for_as_long_again() {
    let (world, _, alice, _) = retired(114).await;
    let first = last_resort(&alice);
    let [alice] = world.switched_off([alice], 34 * DAY + 20 * HOUR).await.unwrap();
    assert_eq!(last_resort(&alice), first, "not before");
    let [alice] = world.switched_off([alice], 6 * HOUR).await.unwrap();
    world.wait(48 * HOUR).await;
    let second = last_resort(&alice);
    assert_ne!(second.0, first.0);
    assert_eq!(second.1, Some(first.0), "bundles with it are still out");
    let [alice] = world.switched_off([alice], 34 * DAY).await.unwrap();
    assert_eq!(last_resort(&alice), second);
    let [alice] = world.switched_off([alice], 4 * DAY).await.unwrap();
    let third = last_resort(&alice);
    assert_eq!(third.1, Some(second.0), "the first is gone");
    assert_ne!(third.0, second.0);
}

#[tokio::test(start_paused = true)]
async fn d4_a_bundle_is_fetched_again_when_it_is_48_hours_old_however_lately_it_was_read() {
    let (world, _, alice, bob) = World::contacts(115).await;
    bob.say("alice", "hello").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    // Bob reads alice's next bundle when it is a day and a half old.
    world.wait(49 * HOUR).await;
    alice.catch_up().await.unwrap();
    let made = current(&alice);
    world.wait(36 * HOUR).await;
    bob.say("alice", "under the second").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(world.network.envelopes_to(&alice).last().unwrap().header[1..9], made[0]);
    // Alice has another one; bob's reading of hers is no 20 hours old.
    world.wait(19 * HOUR).await;
    let renewed = current(&alice);
    assert_ne!(renewed, made);
    bob.say("alice", "under the third").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(world.network.envelopes_to(&alice).last().unwrap().header[1..9], renewed[0]);
}

#[tokio::test(start_paused = true)]
async fn d4_a_bundle_behind_which_another_waits_is_what_its_relay_offers() {
    let world = World::seeded(119);
    let relay = world.network.add_relay("one.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    alice.catch_up().await.unwrap();
    let first = hex(&current(&alice)[0]);
    let passes = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let left = passes.clone();
    world.network.meddle(Some(Box::new(move |call| {
        let busy = sotto_protocol::Bytes::from_static(br#"{"status":503,"code":"busy"}"#);
        let one_less = |left: usize| left.checked_sub(1);
        let order = std::sync::atomic::Ordering::SeqCst;
        let is_put = call.path == path::PREKEY_PUT;
        if is_put && left.fetch_update(order, order, one_less).is_err() { Fate::Fails(503, busy) } else { Fate::Passes }
    })));
    let [alice] = world.switched_off([alice], 49 * HOUR).await.unwrap();
    let [alice] = world.switched_off([alice], 49 * HOUR).await.unwrap();
    let pending = "SELECT count(*) FROM relay_task WHERE kind = 3";
    let waiting = alice.database().number(pending);
    assert!(waiting >= 2, "{waiting}");
    passes.store(1, std::sync::atomic::Ordering::SeqCst);
    let [alice] = world.switched_off([alice], HOUR).await.unwrap();
    assert_eq!(alice.database().number(pending), waiting - 1);
    let replaced = "SELECT count(*) FROM kem_key WHERE replaced_at IS NOT NULL";
    assert_eq!(alice.database().number(replaced), 0, "which of them its relay offers is not known");
    world.network.meddle(None);
    let [alice] = world.switched_off([alice], HOUR).await.unwrap();
    assert_eq!(alice.database().number(pending), 0);
    assert_eq!(alice.database().number(&format!("{replaced} AND key_id = x'{first}'")), 1);
}

/// The story: a relay took bob's claim, and he never heard the answer. When he asked again ten days later, the relay repeated that answer: a bundle
/// whose KEM key alice had erased, because nobody who got it by then had been silent for a week.
#[tokio::test(start_paused = true)]
async fn d4_a_claim_that_is_asked_again_after_10_days_gets_no_bundle_whose_key_is_gone() {
    let world = World::seeded(117);
    let relay = world.network.add_relay("one.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    let options = InviteOptions { valid_for: 30 * DAY, auto_accept: true, ..InviteOptions::default() };
    let invite = alice.messenger.invite(options).await.unwrap();
    alice.catch_up().await.unwrap();
    let first = current(&alice);
    world.network.meddle(Some(Box::new(
        |call| {
            if call.path == path::PREKEY_CLAIM { Fate::AnswerLost } else { Fate::Passes }
        },
    )));
    bob.messenger.join(&invite.link).await.unwrap_err();
    world.network.meddle(None);
    let [alice, bob] = world.switched_off([alice, bob], 3 * DAY).await.unwrap();
    let [alice, bob] = world.switched_off([alice, bob], 7 * DAY + HOUR).await.unwrap();
    world.wait(2 * HOUR).await;
    assert!(!holds(&alice, &first));
    bob.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Accepted);
}
