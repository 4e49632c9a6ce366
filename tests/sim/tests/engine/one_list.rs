//! The list that several devices write, where its relay is busy, serves nonsense, or has lost what one of them wrote.

use std::time::Duration;

use sotto_core::danger;
use sotto_protocol::relay::{ChainEntries, ChainHead};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message as _, RelayAddress};
use sotto_sim::{Fate, Person, World};

use crate::backups::Stores;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice with two devices, and bob, at a relay with a store of the name `first`.
async fn at_home(seed: u64, stores: &Stores) -> (World, RelayAddress, [Person; 3]) {
    let world = World::seeded(seed);
    let home = world.network.add_relay("relay.example");
    stores.open(&world, &home, "first").expect("a store opens");
    let alice = world.person("alice", std::slice::from_ref(&home)).await.expect("alice begins");
    let bob = world.person("bob", std::slice::from_ref(&home)).await.expect("bob begins");
    world.introduce(&alice, &bob).await.expect("they meet");
    let tablet = world.second_device(&alice).await.expect("it begins");
    world.settle(&[&tablet, &alice, &bob]).await.expect("they settle");
    world.wait(2 * DAY).await;
    bob.say("alice", "hello").await.expect("they speak");
    world.settle(&[&bob, &alice, &tablet, &bob]).await.expect("they settle");
    // All that was said is confirmed.
    world.wait(DAY).await;
    world.settle(&[&bob, &alice, &tablet, &bob]).await.expect("they settle");
    (world, home, [alice, tablet, bob])
}

async fn adds_relay(world: &World, person: &Person, name: &str) -> RelayAddress {
    let relay = world.network.add_relay(name);
    person.messenger.add_relay(relay.clone(), String::new()).await.expect("a relay is added");
    relay
}

/// Bob knows so many inboxes of alice's devices at a relay.
fn known_at(bob: &Person, relay: &RelayAddress) -> i64 {
    bob.database().number(&format!("SELECT count(*) FROM peer_inbox WHERE listed = 1 AND relay = '{relay}'"))
}

fn calls(world: &World, path: &str) -> usize {
    world.network.traffic().iter().filter(|call| call.path == path).count()
}

/// What both devices have said of themselves is known to bob, and they speak to each other and to him.
async fn all_is_said(world: &World, [alice, tablet, bob]: [&Person; 3], relays: &[RelayAddress]) {
    world.settle(&[alice, tablet, alice, tablet]).await.expect("they settle");
    world.wait(2 * DAY).await;
    bob.say("alice", "for which he reads her list").await.expect("they speak");
    world.settle(&[bob, alice, tablet, alice]).await.expect("they settle");
    for relay in relays {
        assert_eq!(known_at(bob, relay), 1, "{relay}");
    }
    alice.say("bob", "from the phone").await.expect("they speak");
    tablet.say("bob", "from the tablet").await.expect("they speak");
    world.settle(&[alice, tablet, bob, alice]).await.expect("they settle");
    for (person, with) in [(alice, "bob"), (tablet, "bob"), (bob, "alice")] {
        let said = person.transcript(with).await.expect("it reads");
        for text in ["for which he reads her list", "from the phone", "from the tablet"] {
            assert!(said.iter().any(|known| known == text), "{text}: {said:?}");
        }
    }
    for device in [alice, tablet] {
        assert_eq!(device.database().number("SELECT trust FROM contact WHERE id = 0"), 0);
        assert_eq!(device.database().number("SELECT count(*) FROM relay_task"), 0);
        let caught_up = device.catch_up().await.expect("it catches up");
        assert_eq!(caught_up.unreachable, []);
    }
    assert_eq!(bob.database().number("SELECT trust FROM contact"), 0);
}

/// The phone is to write its list where the tablet has written, and cannot read what.
async fn nothing_is_written_over(seed: u64, answer: fn(&Bytes) -> Fate, code: &str) {
    let stores = Stores::new().expect("a directory");
    let (world, home, [alice, tablet, bob]) = at_home(seed, &stores).await;
    alice.messenger.shut_down();
    let other = adds_relay(&world, &tablet, "other.example").await;
    tablet.catch_up().await.expect("it catches up");
    let alice = world.reopen(alice).await.expect("it opens");
    let name = home.name().clone();
    world.network.meddle(Some(Box::new(move |call| {
        if call.path == path::CHAIN_READ && call.relay == name { answer(&call.body) } else { Fate::Passes }
    })));
    let (written, compacted) = (calls(&world, path::CHAIN_APPEND), calls(&world, path::CHAIN_COMPACT));
    let one = adds_relay(&world, &alice, "one.example").await;
    let caught_up = alice.messenger.catch_up(Duration::from_secs(60)).await.expect("it tries");
    assert!(caught_up.unreachable.iter().any(|(relay, why)| *relay == home && *why == code), "{caught_up:?}");
    world.wait(3 * HOUR).await;
    assert!(calls(&world, path::CHAIN_APPEND) > written, "{code}: it has tried");
    world.network.meddle(None);
    world.wait(2 * HOUR).await;
    all_is_said(&world, [&alice, &tablet, &bob], &[one, other]).await;
    assert_eq!(calls(&world, path::CHAIN_COMPACT), compacted, "{code}: what stood there was never taken for lost");
}

#[tokio::test(start_paused = true)]
async fn b4_a_list_whose_relay_is_busy_is_not_taken_for_lost() {
    let busy = |_: &Bytes| Fate::Fails(503, Bytes::from_static(br#"{"status":503,"code":"unavailable"}"#));
    nothing_is_written_over(1330, busy, "relay_refused").await;
    let limited = |_: &Bytes| Fate::Fails(429, Bytes::from_static(br#"{"status":429,"code":"rate_limited"}"#));
    nothing_is_written_over(1331, limited, "relay_refused").await;
}

#[tokio::test(start_paused = true)]
async fn b4_a_list_whose_relay_has_left_our_version_behind_is_not_taken_for_lost() {
    let unspoken = |_: &Bytes| Fate::Fails(426, Bytes::from_static(br#"{"status":426,"code":"upgrade_required"}"#));
    nothing_is_written_over(1332, unspoken, "upgrade_required").await;
}

#[tokio::test(start_paused = true)]
async fn b4_a_list_in_whose_place_its_relay_serves_nonsense_is_not_taken_for_lost() {
    let nonsense = |_: &Bytes| {
        let head = Some(ChainHead { index: 0, hash: Bytes::from_static(&[7; 32]) });
        let entries = vec![Bytes::from_static(&[7; 200])];
        Fate::Answered(ChainEntries { head, entries, ..ChainEntries::default() }.encode_to_vec().into())
    };
    nothing_is_written_over(1333, nonsense, "manifest_refused").await;
}

#[tokio::test(start_paused = true)]
async fn b4_a_list_of_another_device_that_is_out_of_date_is_gone_on_behind() {
    let stores = Stores::new().unwrap();
    let (world, _, [alice, tablet, bob]) = at_home(1334, &stores).await;
    alice.messenger.shut_down();
    let other = adds_relay(&world, &tablet, "other.example").await;
    tablet.catch_up().await.unwrap();
    tablet.messenger.shut_down();
    bob.messenger.shut_down();
    world.wait(40 * DAY).await;
    let alice = world.reopen(alice).await.unwrap();
    let one = adds_relay(&world, &alice, "one.example").await;
    alice.catch_up().await.unwrap();
    world.wait(HOUR).await;
    alice.catch_up().await.unwrap();
    let (tablet, bob) = (world.reopen(tablet).await.unwrap(), world.reopen(bob).await.unwrap());
    all_is_said(&world, [&alice, &tablet, &bob], &[one, other]).await;
}

#[tokio::test(start_paused = true)]
async fn b2_two_lists_of_one_version_on_both_sides_of_a_backup_are_one_in_the_end() {
    let stores = Stores::new().unwrap();
    let (world, home, [alice, tablet, bob]) = at_home(1335, &stores).await;
    stores.copy("first", "second").unwrap();
    alice.messenger.shut_down();
    bob.messenger.shut_down();
    let other = adds_relay(&world, &tablet, "other.example").await;
    tablet.catch_up().await.unwrap();
    tablet.messenger.shut_down();
    stores.open(&world, &home, "second").unwrap();
    // The phone has never read what the tablet wrote, and its relay does not know it any more.
    let alice = world.reopen(alice).await.unwrap();
    let one = adds_relay(&world, &alice, "one.example").await;
    alice.catch_up().await.unwrap();
    let newest = "SELECT version FROM own_chain WHERE audience = 0";
    assert_eq!(alice.database().number(newest), tablet.database().number(newest));
    let tablet = world.reopen(tablet).await.unwrap();
    // Bob is told nothing before the tablet has read their list again.
    world.wait(2 * DAY).await;
    world.settle(&[&tablet, &alice]).await.unwrap();
    let bob = world.reopen(bob).await.unwrap();
    all_is_said(&world, [&alice, &tablet, &bob], &[one, other]).await;
}

#[tokio::test(start_paused = true)]
async fn b4_a_device_whose_relay_has_lost_every_list_that_named_it_is_on_the_list_again() {
    let stores = Stores::new().unwrap();
    let world = World::seeded(1336);
    let home = world.network.add_relay("relay.example");
    stores.open(&world, &home, "first").unwrap();
    let alice = world.person("alice", std::slice::from_ref(&home)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&home)).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    danger::expect_siblings(&alice.messenger).await.unwrap();
    alice.catch_up().await.unwrap();
    stores.copy("first", "second").unwrap();
    let copy = world.back_up(&alice);
    alice.messenger.shut_down();
    let tablet = world.open_beside(copy).await.unwrap();
    let read_at = tablet.messenger.account().await.unwrap().relays;
    tablet.messenger.shut_down();
    // Neither its inbox is there any more, nor the list that names it, and the phone has never read that: its own list stands in its place.
    stores.open(&world, &home, "second").unwrap();
    let alice = world.reopen(alice).await.unwrap();
    let one = adds_relay(&world, &alice, "one.example").await;
    alice.catch_up().await.unwrap();
    let tablet = world.reopen(tablet).await.unwrap();
    let _ = tablet.messenger.catch_up(HOUR).await.unwrap();
    assert_eq!(tablet.messenger.account().await.unwrap().relays, read_at);
    world.wait(DAY).await;
    for _ in 0..2 {
        world.settle(&[&tablet, &alice, &bob]).await.unwrap();
        world.wait(DAY).await;
    }
    let other = adds_relay(&world, &tablet, "other.example").await;
    all_is_said(&world, [&alice, &tablet, &bob], &[one, other]).await;
}
