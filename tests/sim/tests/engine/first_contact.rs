//! From an invite to a conversation, over a relay in the same process.

use sotto_core::InviteOptions;
use sotto_core::records::{ContactState, MessageState};
use sotto_sim::World;

#[tokio::test(start_paused = true)]
async fn two_people_meet_and_talk() {
    let world = World::seeded(1);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let bob = world.person("bob", &[relay]).await.unwrap();

    let invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    assert!(alice.catch_up().await.unwrap().is_complete);
    bob.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let request = alice.contact("bob").await.unwrap();
    assert_eq!(request.state, ContactState::Asking);
    alice.messenger.accept(request.id).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Accepted);
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);

    for round in 0..5 {
        bob.say("alice", &format!("question {round}")).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        alice.say("bob", &format!("answer {round}")).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
    }
    let said = alice.transcript("bob").await.unwrap();
    assert_eq!(said.len(), 10);
    assert_eq!(said[..4], ["question 0", "answer 0", "question 1", "answer 1"]);
    assert_eq!(said, bob.transcript("alice").await.unwrap());

    let with_alice = bob.contact("alice").await.unwrap().id;
    let messages = bob.messenger.messages(with_alice, None, 100).await.unwrap();
    assert_eq!(messages[0].state, MessageState::Delivered, "an answer confirms what came before it");
}
