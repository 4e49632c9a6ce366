//! Where a message is, device by device, and what becomes of one that has failed.

use sotto_core::records::{DeliveryState, Failure, MessageState};
use sotto_core::{Error, InputError};
use sotto_sim::World;

use crate::rebirth::rest;

#[tokio::test(start_paused = true)]
async fn of_each_device_is_told_how_far_a_message_is() {
    let (world, relay, alice, bob) = World::contacts(2100).await;
    let bobs_phone = world.second_device(&bob).await.unwrap();
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob, &bobs_phone]).await;
    bob.say("alice", "hello").await.unwrap();
    rest(&world, &[&alice, &tablet, &bob, &bobs_phone]).await;
    bobs_phone.messenger.shut_down();
    world.network.set_down(&relay, true);
    let said = alice.say("bob", "where is it?").await.unwrap();
    let of = async |number| alice.messenger.deliveries(number).await.unwrap();
    assert!(of(said.number).await.iter().all(|to| to.state == DeliveryState::Waiting));
    world.network.set_down(&relay, false);
    rest(&world, &[&alice, &tablet, &bob]).await;
    bob.say("alice", "here").await.unwrap();
    rest(&world, &[&bob, &alice, &tablet]).await;
    let told = of(said.number).await;
    let states: Vec<_> = told.iter().map(|to| (to.device, to.is_own, to.state)).collect();
    let device = async |person: &sotto_sim::Person| person.messenger.account().await.unwrap().device;
    let (bobs, tablets) = (device(&bob).await, device(&tablet).await);
    assert_eq!(states.len(), 3);
    assert!(states.contains(&(bobs, false, DeliveryState::Confirmed)), "{states:?}");
    assert!(states.iter().any(|to| to.0 == tablets && to.1), "{states:?}");
    let other = states.iter().find(|to| !to.1 && to.0 != bobs).unwrap();
    assert_eq!(other.2, DeliveryState::Accepted);
    assert!(told.iter().all(|to| to.relay.as_ref() == Some(&relay) && to.at.is_some()));
    assert!(matches!(alice.messenger.deliveries(i64::MAX).await, Err(Error::Input(InputError::NotFound { .. }))));
}

#[tokio::test(start_paused = true)]
async fn what_has_failed_is_tried_again_when_somebody_wants_it_and_arrives_once() {
    let (world, relay, alice, bob) = World::contacts(2101).await;
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    let early = alice.say("bob", "arrives").await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    let refused = alice.messenger.retry(early.number).await;
    assert!(matches!(refused, Err(Error::Input(InputError::WrongState { .. }))), "{refused:?}");
    world.network.set_down(&relay, true);
    let said = alice.say("bob", "fails first").await.unwrap();
    alice.database().change("UPDATE outbox SET dies_at = 1 WHERE state = 0 AND peer_device IN (SELECT id FROM peer_device WHERE contact != 0)");
    world.network.set_down(&relay, false);
    rest(&world, &[&alice, &tablet, &bob]).await;
    world.wait(std::time::Duration::from_secs(3 * 3600)).await;
    rest(&world, &[&alice, &tablet, &bob]).await;
    let state = async |person: &sotto_sim::Person| {
        let page = person.messenger.messages(bobs, None, 10).await.unwrap();
        page.iter().find(|message| message.text == "fails first").unwrap().state
    };
    for device in [&alice, &tablet] {
        assert_eq!(state(device).await, MessageState::Failed(Failure::Expired));
    }
    alice.messenger.retry(said.number).await.unwrap();
    assert_eq!(state(&alice).await, MessageState::Queued);
    rest(&world, &[&alice, &tablet, &bob]).await;
    for device in [&alice, &tablet] {
        assert_eq!(state(device).await, MessageState::Sent);
    }
    assert_eq!(bob.transcript("alice").await.unwrap(), ["arrives", "fails first"]);
}
