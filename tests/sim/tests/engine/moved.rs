//! What was queued for a device that left its list: kept for it, moved by the root key's word, and never lost unnoticed.

use std::time::Duration;

use sotto_core::records::{Failure, MessageState};
use sotto_crypto::letter::{Content, Counters, GivenUp};
use sotto_crypto::manifest::Device;
use sotto_protocol::{DeviceId, InboxId};
use sotto_sim::{Forger, Person, World, hex};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A device that somebody puts in the place of the one that is listed.
pub(super) fn another_device(forger: &Forger, world: &World) -> Device {
    let mut device = forger.known().devices()[0].clone();
    let olm = sotto_crypto::olm::OlmAccount::generate(world.now());
    device.id = DeviceId::from_bytes([9; 16]);
    (device.ed25519, device.curve25519) = (olm.ed25519(), olm.curve25519());
    device.inboxes[0].inbox = InboxId::from_bytes([9; 16]);
    device
}

/// How many messages wait for devices that are listed, and for those that are not.
fn waiting(bob: &Person) -> [i64; 2] {
    [1, 0].map(|listed| {
        bob.database().number(&format!(
            "SELECT count(*) FROM outbox JOIN peer_device ON peer_device.id = peer_device
             WHERE message IS NOT NULL AND state <= 2 AND listed = {listed}"
        ))
    })
}

async fn state(bob: &Person, message: &sotto_core::records::Message) -> MessageState {
    bob.messenger.message(message.number).await.expect("it is there").state
}

#[tokio::test(start_paused = true)]
async fn e6_a_device_that_takes_anothers_place_within_an_epoch_gets_nothing_of_before() {
    for declares in [false, true] {
        let (world, _, alice, bob) = World::contacts(197).await;
        let mut forger = Forger::new(&alice, &bob);
        alice.messenger.shut_down();
        // At the relay and unconfirmed, and another one queued before bob learns of the new list.
        let first = bob.say("alice", "taken by the relay").await.unwrap();
        bob.catch_up().await.unwrap();
        let mut device = another_device(&forger, &world);
        // The list key vouches for that, and nobody else: the word is of another device than the one that was there.
        if declares {
            let another = sotto_crypto::olm::OlmAccount::generate(world.now());
            device.succeed(forger.known().account(), forger.known().devices()[0].id, &another);
        }
        let list = forger.manifest_with_devices(&[device], world.now());
        forger.serve(&world.network, &[&list]);
        world.wait(DAY + Duration::from_secs(3600)).await;
        let sent = world.network.envelopes_to(&alice).len();
        let second = bob.say("alice", "queued").await.unwrap();
        let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
        assert_eq!(bob.database().number("SELECT version FROM contact"), i64::from(list.head().version));
        assert_eq!(world.network.envelopes_to(&alice).len(), sent, "nothing is sent to the device that left");
        assert_eq!(waiting(&bob), [0, 2], "and nothing of before is for the one in its place");
        let third = bob.say("alice", "to the list as it is").await.unwrap();
        assert_eq!(waiting(&bob), [1, 2]);
        // The list names alice's device again, in the same epoch: everything that is hers is there.
        let back = forger.manifest(2, Some(list.head().hash), world.now());
        forger.serve(&world.network, &[&list, &back]);
        world.wait(DAY + Duration::from_secs(3600)).await;
        let alice = world.reopen(alice).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        bob.say("alice", "now I read the list").await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        let has = alice.transcript("bob").await.unwrap();
        assert_eq!(has, ["taken by the relay", "queued", "now I read the list"]);
        world.wait(DAY + Duration::from_secs(3600)).await;
        world.settle(&[&bob, &alice]).await.unwrap();
        for message in [&first, &second] {
            assert_eq!(state(&bob, message).await, MessageState::Delivered);
        }
        assert_eq!(state(&bob, &third).await, MessageState::Queued);
    }
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_that_another_declares_to_come_in_its_place_gets_what_was_for_it_once() {
    let (world, _, alice, bob) = World::contacts(199).await;
    let mut forger = Forger::new(&alice, &bob);
    alice.messenger.shut_down();
    bob.say("alice", "taken by the relay").await.unwrap();
    bob.catch_up().await.unwrap();
    let mut device = another_device(&forger, &world);
    forger.succeed(&alice, &mut device);
    let list = forger.manifest_with_devices(&[device.clone()], world.now());
    forger.serve(&world.network, &[&list]);
    world.wait(DAY + Duration::from_secs(3600)).await;
    bob.say("alice", "queued").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    assert_eq!(waiting(&bob), [2, 0]);
    // The next list says the same again.
    let next = forger.manifest_behind(&list, &[device.clone()], world.now());
    forger.serve(&world.network, &[&list, &next]);
    world.wait(DAY + Duration::from_secs(3600)).await;
    bob.say("alice", "more").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    assert_eq!(waiting(&bob), [3, 0]);
    // Whoever has a copy of the first from before has its word as well, and comes too late.
    let mut late = another_device(&forger, &world);
    (late.id, late.inboxes[0].inbox) = (DeviceId::from_bytes([8; 16]), InboxId::from_bytes([8; 16]));
    forger.succeed(&alice, &mut late);
    let last = forger.manifest_behind(&next, &[device, late], world.now());
    forger.serve(&world.network, &[&list, &next, &last]);
    world.wait(DAY + Duration::from_secs(3600)).await;
    bob.say("alice", "to both").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 1"), 2);
    let of_late = "SELECT count(*) FROM outbox WHERE message IS NOT NULL AND state <= 2
                   AND peer_device = (SELECT max(id) FROM peer_device)";
    assert!(bob.database().number(of_late) <= 1, "nothing of before");
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE predecessor IS NOT NULL"), 1);
}

/// A second device that somebody puts in the place of the one that is listed.
pub(super) fn a_third_device(forger: &Forger, world: &World) -> Device {
    let mut device = another_device(forger, world);
    (device.id, device.inboxes[0].inbox) = (DeviceId::from_bytes([8; 16]), InboxId::from_bytes([8; 16]));
    device
}

#[tokio::test(start_paused = true)]
async fn h2_of_two_that_one_list_puts_in_anothers_place_the_first_gets_what_was_for_it() {
    let (world, _, alice, bob) = World::contacts(204).await;
    let mut forger = Forger::new(&alice, &bob);
    alice.messenger.shut_down();
    bob.say("alice", "taken by the relay").await.unwrap();
    bob.catch_up().await.unwrap();
    let mut devices = [another_device(&forger, &world), a_third_device(&forger, &world)];
    devices.iter_mut().for_each(|device| forger.succeed(&alice, device));
    let list = forger.manifest_with_devices(&devices, world.now());
    forger.serve(&world.network, &[&list]);
    world.wait(DAY + Duration::from_secs(3600)).await;
    bob.say("alice", "reads the list").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 1"), 2);
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE predecessor IS NOT NULL"), 1);
    assert_eq!(waiting(&bob), [2, 0]);
    let of_second = "SELECT count(*) FROM outbox JOIN peer_device ON peer_device.id = peer_device WHERE device = x'08080808080808080808080808080808'";
    assert_eq!(bob.database().number(of_second), 0);
}

#[tokio::test(start_paused = true)]
async fn h2_who_declares_to_come_in_the_place_of_a_device_that_was_removed_before_gets_nothing_of_it() {
    for reads_between in [true, false] {
        let (world, _, alice, bob) = World::contacts(205).await;
        let mut forger = Forger::new(&alice, &bob);
        alice.messenger.shut_down();
        bob.say("alice", "taken by the relay").await.unwrap();
        bob.catch_up().await.unwrap();
        // The account has removed a device that was lost, and put none in its place.
        let other = another_device(&forger, &world);
        let without = forger.manifest_with_devices(std::slice::from_ref(&other), world.now());
        forger.serve(&world.network, &[&without]);
        // He reads of that by itself, or of both at once.
        if reads_between {
            world.wait(DAY + Duration::from_secs(3600)).await;
            bob.say("alice", "reads the list").await.unwrap();
            let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
        }
        let mut late = a_third_device(&forger, &world);
        forger.succeed(&alice, &mut late);
        let list = forger.manifest_behind(&without, &[other, late], world.now());
        forger.serve(&world.network, &[&without, &list]);
        world.wait(DAY + Duration::from_secs(3600)).await;
        bob.say("alice", "reads the list").await.unwrap();
        let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
        assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 1"), 2);
        assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE predecessor IS NOT NULL"), 0);
        assert_eq!(waiting(&bob), if reads_between { [1, 2] } else { [0, 2] });
    }
}

#[tokio::test(start_paused = true)]
async fn e6_what_a_device_left_behind_fails_after_37_days_and_says_so() {
    let (world, _, alice, bob) = World::contacts(198).await;
    let mut forger = Forger::new(&alice, &bob);
    alice.messenger.shut_down();
    let said = bob.say("alice", "nobody confirms this").await.unwrap();
    bob.catch_up().await.unwrap();
    let list = forger.manifest_with_devices(&[another_device(&forger, &world)], world.now());
    forger.serve(&world.network, &[&list]);
    world.wait(DAY + Duration::from_secs(3600)).await;
    let of_new_list = bob.say("alice", "before this leaves, the list is read").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    let [mut bob] = world.switched_off([bob], 36 * DAY).await.unwrap();
    assert_eq!(state(&bob, &said).await, MessageState::Sent, "the device may be listed again");
    [bob] = world.switched_off([bob], 3 * DAY).await.unwrap();
    for message in [said, of_new_list] {
        assert_eq!(state(&bob, &message).await, MessageState::Failed(Failure::Expired));
    }
    assert_eq!(waiting(&bob), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn e6_a_message_that_one_device_left_behind_has_not_failed_while_another_may_have_it() {
    let (world, _, alice, bob) = World::contacts(199).await;
    let mut forger = Forger::new(&alice, &bob);
    alice.messenger.shut_down();
    let both = [forger.known().devices()[0].clone(), another_device(&forger, &world)];
    let list = forger.manifest_with_devices(&both, world.now());
    forger.serve(&world.network, &[&list]);
    bob.database().change("UPDATE contact SET manifest_read_at = 0");
    bob.say("alice", "before this leaves, the list is read").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    let said = bob.say("alice", "to both").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    assert_eq!(
        waiting(&bob),
        [4, 0],
        "the first was said when the list named both already, as far as anybody can know"
    );
    // The second device leaves again.
    let without = forger.manifest(2, Some(list.head().hash), world.now());
    forger.serve(&world.network, &[&list, &without]);
    bob.database().change("UPDATE contact SET manifest_read_at = 0");
    bob.say("alice", "and again").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    assert!(waiting(&bob)[1] > 0);
    let [bob] = world.switched_off([bob], 39 * DAY).await.unwrap();
    assert_eq!(waiting(&bob), [3, 0]);
    assert_eq!(state(&bob, &said).await, MessageState::Sent, "alice's own device may have it yet");
    // Her relay has her own list only: another one would show her that a copy of her has lived.
    world.network.meddle(None);
    let alice = world.reopen(alice).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.wait(DAY + Duration::from_secs(3600)).await;
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(state(&bob, &said).await, MessageState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn h4_what_a_device_that_left_has_not_confirmed_goes_to_those_of_a_later_epoch_once_and_in_order() {
    let (world, _, alice, bob) = World::contacts(196).await;
    let mut forger = Forger::new(&alice, &bob);
    alice.messenger.shut_down();
    let first = bob.say("alice", "taken by the relay").await.unwrap();
    bob.catch_up().await.unwrap();
    // What says which of its letters are missing, or will not come, is for that device alone.
    let given_up = GivenUp { empty: vec![Counters { first: 1, last: 1 }], ..GivenUp::default() };
    let given_up = hex(&Content::GivenUp(given_up).encode().unwrap());
    bob.database().change(&format!(
        "INSERT INTO outbox (peer_device, content, message_id, state, sent_at, dies_at)
         SELECT peer_device, x'{given_up}', randomblob(16), 0, sent_at, dies_at FROM outbox LIMIT 1"
    ));
    // In the next epoch another device is listed, in the one after it alice's again.
    let device = another_device(&forger, &world);
    let moved = forger.manifest_of_a_later_epoch_with(1, &[device], world.now());
    forger.serve(&world.network, &[&moved]);
    world.wait(DAY + Duration::from_secs(3600)).await;
    let sent = world.network.envelopes_to(&alice).len();
    let second = bob.say("alice", "queued").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    assert_eq!(world.network.envelopes_to(&alice).len(), sent, "nothing is sent to the device that left");
    assert_eq!(waiting(&bob), [2, 0], "nothing waits for it either");
    assert_eq!(bob.database().number(&format!("SELECT count(*) FROM outbox WHERE content = x'{given_up}'")), 0);
    let back = forger.manifest_of_a_later_epoch(2, world.now());
    forger.serve(&world.network, &[&moved, &back]);
    world.wait(DAY + Duration::from_secs(3600)).await;
    let alice = world.reopen(alice).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["taken by the relay", "queued"], "each once");
    world.wait(DAY + Duration::from_secs(3600)).await;
    world.settle(&[&bob, &alice]).await.unwrap();
    for message in [&first, &second] {
        assert_eq!(state(&bob, message).await, MessageState::Delivered);
    }
    assert_eq!(bob.catch_up().await.unwrap().waiting, 0);
}
