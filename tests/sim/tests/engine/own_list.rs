//! What one of several devices makes of the account's list, where its relay shows another one than it knows: whether it is of the account
//! still, and what it shows its user.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sotto_crypto::manifest::VerifiedManifest;
use sotto_protocol::relay::{ChainAppend, ChainEntries, ChainHead, ChainRead};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message as _, RelayAddress};
use sotto_sim::{Fate, Forger, Person, Traffic, World};

use super::backups::Stores;
use super::devices::two_devices;
use super::moved::another_device;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The phone hears from the tablet, whose letters name the head of the list that it knows.
async fn hears(world: &World, alice: &Person, tablet: &Person) {
    tablet.say("bob", "by the tablet").await.expect("it is queued");
    world.settle(&[tablet, alice]).await.expect("they settle");
}

/// Where the account's list stands, and what is wrong with that.
async fn shown(device: &Person) -> Vec<(RelayAddress, &'static str)> {
    device.catch_up().await.expect("it catches up").unreachable
}

/// As if the version of their list that the phone knows were another one.
fn knows_another(alice: &Person) {
    alice.database().change("UPDATE contact SET hash = zeroblob(32) WHERE id = 0");
}

fn knows_the_same(alice: &Person, tablet: &Person) {
    let hash = tablet.database().blobs("SELECT hash FROM contact WHERE id = 0").pop().expect("a row");
    alice.database().change(&format!("UPDATE contact SET hash = x'{}' WHERE id = 0", sotto_sim::hex(&hash)));
}

#[tokio::test(start_paused = true)]
async fn b5_two_lists_of_one_version_are_shown_until_all_devices_know_the_same() {
    let (world, alice, tablet, _bob) = two_devices(1390).await;
    let home = alice.messenger.account().await.unwrap().relays.swap_remove(0);
    let chain = alice.database().blobs("SELECT chain FROM contact WHERE id = 0").remove(0);
    let reads = || {
        let reads = world.network.traffic().into_iter().filter(|call| call.path == path::CHAIN_READ);
        reads.filter(|call| ChainRead::decode(call.body.clone()).is_ok_and(|read| *read.chain == *chain)).count()
    };
    knows_another(&alice);
    let before = reads();
    hears(&world, &alice, &tablet).await;
    assert_eq!(shown(&alice).await, [(home.clone(), "manifest_forked")]);
    assert!(reads() > before, "what stands decides");
    assert_eq!(alice.database().number("SELECT trust FROM contact WHERE id = 0"), 0, "they go on with each other");
    knows_the_same(&alice, &tablet);
    hears(&world, &alice, &tablet).await;
    assert_eq!(shown(&alice).await, []);
    // Whoever reads a later one knows another than when it was found.
    knows_another(&alice);
    hears(&world, &alice, &tablet).await;
    assert_eq!(shown(&alice).await, [(home.clone(), "manifest_forked")]);
    tablet.messenger.add_relay(world.network.add_relay("other.example"), String::new()).await.unwrap();
    tablet.catch_up().await.unwrap();
    tablet.messenger.shut_down();
    world.wait(DAY + DAY / 12).await;
    assert_eq!(shown(&alice).await, []);
}

#[tokio::test(start_paused = true)]
async fn b5_two_lists_of_one_version_are_shown_no_more_once_a_later_one_of_its_own_stands() {
    let (world, alice, tablet, _bob) = two_devices(1391).await;
    knows_another(&alice);
    hears(&world, &alice, &tablet).await;
    assert_eq!(shown(&alice).await.len(), 1);
    tablet.messenger.shut_down();
    alice.messenger.add_relay(world.network.add_relay("one.example"), String::new()).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(shown(&alice).await, []);
}

#[tokio::test(start_paused = true)]
async fn b2_what_the_accounts_own_list_has_shown_of_itself_is_shown() {
    let (_world, alice, _tablet, _bob) = two_devices(1392).await;
    let home = alice.messenger.account().await.unwrap().relays.swap_remove(0);
    for (trust, code) in [(1, "manifest_forked"), (2, "account_compromised")] {
        alice.database().change(&format!("UPDATE contact SET trust = {trust} WHERE id = 0"));
        assert_eq!(shown(&alice).await, [(home.clone(), code)]);
    }
}

/// The tablet reads, in a chain that has lost what it knows, what `serve` shows. Returns what it says to that when it catches up.
async fn reads(seed: u64, serve: impl FnOnce(&World, &Person, &mut Forger)) -> (Person, Option<&'static str>) {
    let (world, alice, tablet, bob) = two_devices(seed).await;
    let mut forger = Forger::new(&alice, &bob).of_own_list(&tablet);
    alice.messenger.shut_down();
    serve(&world, &tablet, &mut forger);
    world.wait(DAY + DAY / 12).await;
    let caught_up = tablet.messenger.catch_up(MINUTE).await;
    (tablet, caught_up.err().map(|error| error.code()))
}

/// The next list, which does not name the tablet and does not follow what it knows.
fn without(forger: &Forger, tablet: &Person, world: &World) -> VerifiedManifest {
    let id = tablet.database().blobs("SELECT device FROM account").remove(0);
    let devices: Vec<_> =
        forger.known().devices().iter().filter(|device| device.id.as_bytes()[..] != id[..]).cloned().collect();
    assert_eq!(devices.len(), 1);
    let before = forger.manifest(0, None, world.now());
    forger.manifest_behind(&before, &devices, world.now())
}

#[tokio::test(start_paused = true)]
async fn b2_a_second_certificate_in_the_accounts_own_chain_is_shown_and_nothing_leaves_for_its_devices() {
    let (tablet, _) = reads(1398, |world, _, forger| {
        let second = forger.manifest_of_a_second_certificate(world.now());
        forger.serve(&world.network, &[&second]);
    })
    .await;
    assert_eq!(tablet.database().number("SELECT trust FROM contact WHERE id = 0"), 2);
    let account = tablet.messenger.account().await.unwrap();
    assert_eq!(shown(&tablet).await, [(account.relays[0].clone(), "account_compromised")]);
    let to_itself = "SELECT count(*) FROM outbox JOIN peer_device ON peer_device.id = peer_device WHERE contact = 0 AND counter IS NULL";
    let waiting = tablet.database().number(to_itself);
    tablet.messenger.send_text(account.id, "for nobody else".to_owned()).await.unwrap();
    let _ = tablet.messenger.catch_up(MINUTE).await;
    assert_eq!(tablet.database().number(to_itself), waiting + 1, "it stays");
}

#[tokio::test(start_paused = true)]
async fn b2_a_device_of_which_its_relay_has_lost_every_list_is_not_taken_off_by_that() {
    let (tablet, refused) = reads(1393, |world, tablet, forger| {
        let list = without(forger, tablet, world);
        forger.serve_instead(&world.network, &[&list]);
    })
    .await;
    assert_eq!(refused, None);
    let known = "SELECT count(*) FROM peer_device WHERE contact = 0 AND listed = 1";
    assert_eq!(tablet.database().number(known), 1);
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_stops_when_another_stands_in_its_place_also_where_no_list_names_it_any_more() {
    let (_, refused) = reads(1394, |world, tablet, forger| {
        let mut successor = another_device(forger, world);
        forger.succeed(tablet, &mut successor);
        let before = without(forger, tablet, world);
        let devices = [before.devices()[0].clone(), successor];
        let list = forger.manifest_behind(&before, &devices, world.now());
        forger.serve_instead(&world.network, &[&list]);
    })
    .await;
    assert_eq!(refused, Some("device_replaced"));
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_does_not_stop_for_one_that_claims_its_place_without_its_word() {
    let (_, refused) = reads(1399, |world, tablet, forger| {
        let mut claims = another_device(forger, world);
        forger.succeed(tablet, &mut claims);
        claims.replaces.as_mut().expect("it says whose").signature[0] ^= 1;
        let before = without(forger, tablet, world);
        let devices = [before.devices()[0].clone(), claims];
        let list = forger.manifest_behind(&before, &devices, world.now());
        forger.serve_instead(&world.network, &[&list]);
    })
    .await;
    assert_eq!(refused, None);
}

#[tokio::test(start_paused = true)]
async fn b3_a_device_stops_when_the_root_key_has_spoken_without_it_also_where_no_list_names_it_any_more() {
    let (_, refused) = reads(1395, |world, tablet, forger| {
        let devices = without(forger, tablet, world).devices().to_vec();
        let list = forger.manifest_of_a_later_epoch_with(1, &devices, world.now());
        forger.serve_instead(&world.network, &[&list]);
    })
    .await;
    assert_eq!(refused, Some("device_replaced"));
}

#[tokio::test(start_paused = true)]
async fn h2_a_snapshot_that_does_not_name_a_device_does_not_take_it_off() {
    let (_, refused) = reads(1396, |world, tablet, forger| {
        let list = without(forger, tablet, world);
        forger.serve_snapshot(&world.network, &list);
    })
    .await;
    assert_eq!(refused, None, "a relay can serve any list so");
}

#[tokio::test(start_paused = true)]
async fn b2_an_older_list_of_the_account_is_not_taken_up() {
    let (world, alice, tablet, bob) = two_devices(1397).await;
    let mut forger = Forger::new(&alice, &bob).of_own_list(&tablet);
    let other = world.network.add_relay("other.example");
    tablet.messenger.add_relay(other.clone(), String::new()).await.unwrap();
    tablet.catch_up().await.unwrap();
    let older = forger.known().clone();
    forger.serve_instead(&world.network, &[&older]);
    let version = "SELECT version FROM contact WHERE id = 0";
    let before = tablet.database().number(version);
    world.wait(DAY + DAY / 12).await;
    assert_eq!(tablet.database().number(version), before);
    assert!(
        tablet.database().number("SELECT count(*) FROM own_chain WHERE audience = 0 AND version = stood_version") == 1
    );
    assert!(before > i64::from(older.head().version));
}

#[tokio::test(start_paused = true)]
async fn b5_a_gap_in_the_accounts_own_list_is_read_again() {
    let mut version = 0;
    let (tablet, _) = reads(1398, |world, _, forger| {
        let known = forger.known().clone();
        version = i64::from(known.head().version);
        let left_out = forger.manifest_behind(&known, known.devices(), world.now());
        let last = forger.manifest_behind(&left_out, known.devices(), world.now());
        forger.serve_instead(&world.network, &[&known, &last]);
    })
    .await;
    assert_eq!(tablet.database().number("SELECT version FROM contact WHERE id = 0"), version);
}

#[tokio::test(start_paused = true)]
async fn b2_nobody_is_told_of_a_list_that_still_waits_behind_another() {
    let (world, alice, tablet, _bob) = two_devices(1399).await;
    let chain = alice.database().blobs("SELECT chain FROM own_chain WHERE audience = 0").remove(0);
    let is_own = move |call: &Traffic| {
        call.path == path::CHAIN_APPEND
            && ChainAppend::decode(call.body.clone()).is_ok_and(|append| *append.chain == *chain)
    };
    let mut appended = 0;
    let are_taken = Arc::new(AtomicUsize::new(0));
    let taken = Arc::clone(&are_taken);
    world.network.meddle(Some(Box::new(move |call| {
        if !is_own(call) {
            return Fate::Passes;
        }
        if appended == taken.load(Ordering::Relaxed) {
            return busy();
        }
        appended += 1;
        Fate::Passes
    })));
    for name in ["one.example", "other.example"] {
        alice.messenger.add_relay(world.network.add_relay(name), String::new()).await.unwrap();
        let _ = alice.messenger.catch_up(MINUTE).await;
    }
    let versions =
        "SELECT own_chain.version - contact.version FROM own_chain JOIN contact ON contact.id = 0 WHERE audience = 0";
    assert_eq!(alice.database().number(versions), 2);
    are_taken.store(1, Ordering::Relaxed);
    let _ = alice.messenger.catch_up(MINUTE).await;
    let told = "SELECT count(*) FROM own_chain WHERE audience = 0 AND told IS NULL";
    assert_eq!(alice.database().number("SELECT count(*) FROM relay_task WHERE kind = 4"), 1, "the first stands");
    assert_eq!(alice.database().number(told), 0);
    are_taken.store(2, Ordering::Relaxed);
    alice.catch_up().await.unwrap();
    world.settle(&[&alice, &tablet]).await.unwrap();
    assert_eq!((alice.database().number(versions), alice.database().number(told)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn h2_a_copy_takes_the_place_of_no_device_by_a_list_that_is_older_than_the_one_that_stood() {
    let stores = Stores::new().unwrap();
    let world = World::seeded(1401);
    let home = world.network.add_relay("relay.example");
    stores.open(&world, &home, "first").unwrap();
    let alice = world.person("alice", std::slice::from_ref(&home)).await.unwrap();
    alice.catch_up().await.unwrap();
    stores.copy("first", "second").unwrap();
    alice.messenger.add_relay(world.network.add_relay("other.example"), String::new()).await.unwrap();
    alice.catch_up().await.unwrap();
    let device = alice.messenger.account().await.unwrap().device;
    let copy = world.back_up(&alice);
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.shut_down();
    stores.open(&world, &home, "second").unwrap();
    let restored = world.restore(copy, alice.secrets.clone()).await.unwrap();
    let _ = restored.messenger.catch_up(MINUTE).await;
    assert_eq!(restored.messenger.account().await.unwrap().device, device);
    stores.open(&world, &home, "first").unwrap();
    world.wait(DAY / 12).await;
    let _ = restored.messenger.catch_up(MINUTE).await;
    assert_ne!(restored.messenger.account().await.unwrap().device, device);
}

/// What the relay of the account's own list does with what is written there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    /// It says of the first so many that it has taken them, and has not; for all others it is busy.
    HoldsBack(usize),
    /// It is busy for what it has not seen yet.
    IsBusy,
    /// It shows what it has seen, and takes nothing.
    Shows,
    Works,
}

/// The relay holds back what the phone writes to the account's list, all but the last as if it had taken them, and has the tablet's; once the phone
/// has met those, it is `then` as that, and shows in the end what it has held back.
async fn is_itself_still(seed: u64, held_back: usize, then: Home) {
    let (world, alice, tablet, _bob) = two_devices(seed).await;
    let chain = alice.database().blobs("SELECT chain FROM own_chain WHERE audience = 0").remove(0);
    let device = alice.messenger.account().await.expect("it opens").device;
    let home = Arc::new(Mutex::new((Home::HoldsBack(held_back - 1), Vec::new(), false)));
    let does = |what| home.lock().expect("nobody panicked").0 = what;
    let at_home = Arc::clone(&home);
    world.network.meddle(Some(Box::new(move |call| {
        let (does, seen, is_read) = &mut *at_home.lock().expect("nobody panicked");
        match (call.path, ChainAppend::decode(call.body.clone()), ChainRead::decode(call.body.clone())) {
            _ if *does == Home::Works => Fate::Passes,
            (path::CHAIN_APPEND, Ok(append), _) if *append.chain == *chain => {
                let is_new = !seen.contains(&append.entry);
                if is_new {
                    seen.push(append.entry);
                }
                match does {
                    Home::HoldsBack(taken) if seen.len() <= *taken => Fate::Answered(Bytes::new()),
                    Home::IsBusy if !is_new => Fate::Passes,
                    _ => busy(),
                }
            }
            (path::CHAIN_READ, _, Ok(read)) if *read.chain == *chain && *does == Home::Shows => {
                *is_read = true;
                let head = Some(ChainHead { index: seen.len() as u64 - 1, hash: Bytes::from_static(&[0; 32]) });
                let entries = if read.from == 0 { seen.clone() } else { Vec::new() };
                Fate::Answered(
                    ChainEntries { head, first: read.from, entries, ..Default::default() }.encode_to_vec().into(),
                )
            }
            _ => Fate::Passes,
        }
    })));
    let relay = world.network.add_relay("one.example");
    for number in 0..held_back {
        match number % 2 {
            0 => alice.messenger.add_relay(relay.clone(), String::new()).await.expect("it is there"),
            _ => alice.messenger.remove_relay(relay.clone()).await.expect("it is hers"),
        }
    }
    let _ = alice.messenger.catch_up(MINUTE).await;
    alice.messenger.shut_down();
    assert_eq!(home.lock().expect("nobody panicked").1.len(), held_back);
    does(Home::Works);
    tablet.messenger.add_relay(world.network.add_relay("two.example"), String::new()).await.expect("it is there");
    tablet.catch_up().await.expect("it works");
    does(then);
    let alice = world.reopen(alice).await.expect("it opens");
    let _ = alice.messenger.catch_up(MINUTE).await;
    does(Home::Shows);
    alice.messenger.add_relay(world.network.add_relay("three.example"), String::new()).await.expect("it is there");
    alice.messenger.shut_down();
    let alice = world.reopen(alice).await.expect("it opens");
    let _ = alice.messenger.catch_up(MINUTE).await;
    assert!(home.lock().expect("nobody panicked").2, "she has read what it shows");
    does(Home::Works);
    world.settle(&[&alice, &tablet]).await.expect("they settle");
    assert_eq!(alice.messenger.account().await.expect("it opens").device, device);
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_whose_lists_its_relay_holds_back_and_shows_later_does_not_take_itself_for_a_copy() {
    is_itself_still(1402, 2, Home::IsBusy).await;
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_whose_lists_its_relay_shows_once_others_stand_does_not_take_itself_for_a_copy() {
    is_itself_still(1403, 3, Home::Works).await;
}

/// What a relay answers that cannot just now.
fn busy() -> Fate {
    Fate::Fails(503, Bytes::from_static(br#"{"status":503,"code":"unavailable"}"#))
}
