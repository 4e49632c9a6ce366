//! What comes twice is shown once, whatever it comes as (PROTOCOL E3).

use std::time::Duration;

use sotto_sim::World;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The newest letter goes out once more, as a letter of its own with the same message id.
const ONCE_MORE: &str = "INSERT INTO outbox (peer_device, message, content, message_id, state, sent_at)
    SELECT peer_device, message, content, message_id, 0, sent_at FROM outbox WHERE id = (SELECT max(id) FROM outbox)";

#[tokio::test(start_paused = true)]
async fn e3_a_message_id_is_shown_once_under_however_many_counters_it_comes() {
    let (world, _, alice, bob) = World::contacts(130).await;
    let before = world.network.envelopes_to(&bob).len();
    alice.say("bob", "once").await.unwrap();
    alice.database().change(ONCE_MORE);
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(world.network.envelopes_to(&bob).len(), before + 2, "two letters");
    assert_eq!(bob.transcript("alice").await.unwrap(), ["once"]);
    assert_eq!(bob.messenger.conversations(sotto_core::records::Chats::Main, None, 10).await.unwrap()[0].unread, 1);
    let sent = alice.database().number("SELECT counter_sent FROM peer_device");
    assert_eq!(bob.database().number("SELECT received FROM peer_device"), sent, "both count");
}

#[tokio::test(start_paused = true)]
async fn e3_inner_hashes_outlive_what_relays_keep_by_7_days_and_no_longer() {
    let (world, _, alice, bob) = World::contacts(132).await;
    alice.say("bob", "remembered").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let hashes = bob.database().blobs("SELECT hash FROM seen_inner");
    assert!(!hashes.is_empty());
    let known = |bob: &sotto_sim::Person| {
        let known = bob.database().blobs("SELECT hash FROM seen_inner");
        hashes.iter().filter(|hash| known.contains(hash)).count()
    };
    let [alice, bob] = world.switched_off([alice, bob], 36 * DAY).await.unwrap();
    assert_eq!(known(&bob), hashes.len());
    let [_, bob] = world.switched_off([alice, bob], 3 * DAY).await.unwrap();
    assert_eq!(known(&bob), 0);
}
