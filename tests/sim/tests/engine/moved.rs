//! What was queued for a device goes to those that take its place on the list, and never to one that left.

use std::time::Duration;

use sotto_core::records::MessageState;
use sotto_protocol::{DeviceId, InboxId};
use sotto_sim::{Forger, World};

#[tokio::test(start_paused = true)]
async fn h4_what_a_device_that_left_has_not_confirmed_goes_to_the_listed_one_once_and_in_order() {
    let (world, _, alice, bob) = World::contacts(196).await;
    let mut forger = Forger::new(&alice, &bob);
    alice.messenger.shut_down();
    // At the relay and unconfirmed, and another one queued before bob learns of the new list.
    let first = bob.say("alice", "taken by the relay").await.unwrap();
    bob.catch_up().await.unwrap();
    let mut device = forger.known().devices()[0].clone();
    let olm = sotto_crypto::olm::OlmAccount::generate(world.now());
    device.id = DeviceId::from_bytes([9; 16]);
    (device.ed25519, device.curve25519) = (olm.ed25519(), olm.curve25519());
    device.inboxes[0].inbox = InboxId::from_bytes([9; 16]);
    let replaced = forger.manifest_with_devices(&[device], world.now());
    forger.serve(&world.network, &[&replaced]);
    world.wait(Duration::from_secs(25 * 3600)).await;
    let sent = world.network.envelopes_to(&alice).len();
    let second = bob.say("alice", "queued").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    assert_eq!(world.network.envelopes_to(&alice).len(), sent, "nothing is sent to the device that left");
    let number = |sql: &str| bob.database().number(sql);
    let of_listed = "FROM outbox JOIN peer_device ON peer_device.id = peer_device WHERE message IS NOT NULL AND state <= 2 AND listed";
    assert_eq!(number(&format!("SELECT count(*) {of_listed} = 1")), 2);
    assert_eq!(number(&format!("SELECT count(*) {of_listed} = 0")), 0, "nothing waits for it either");
    // Then the list names the device again that alice has.
    let back = forger.manifest_of_a_later_epoch(1, world.now());
    forger.serve(&world.network, &[&replaced, &back]);
    world.wait(Duration::from_secs(25 * 3600)).await;
    let alice = world.reopen(alice).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["taken by the relay", "queued"], "each once");
    world.wait(Duration::from_secs(25 * 3600)).await;
    world.settle(&[&bob, &alice]).await.unwrap();
    for message in [first, second] {
        assert_eq!(bob.messenger.message(message.number).await.unwrap().state, MessageState::Delivered);
    }
    assert_eq!(bob.catch_up().await.unwrap().waiting, 0);
}
