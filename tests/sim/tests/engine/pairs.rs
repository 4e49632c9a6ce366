//! Another pair secret between people who stay contacts, whatever else is under way between them, on whichever of their devices (PROTOCOL B3).

use std::time::Duration;

use sotto_core::danger;
use sotto_sim::{HeldPost, Person, World};

use super::devices::two_devices;
use super::removal::{device, rest, secret, share_a_pair, they_talk};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Bob, whom alice and her tablet know, gets another device.
async fn bob_with_another_device(world: &World, [alice, tablet, bob]: [&Person; 3]) -> Person {
    let laptop = world.second_device(bob).await.expect("it begins");
    rest(world, &[&laptop, bob, alice, tablet]).await;
    world.wait(2 * DAY).await;
    they_talk(world, alice, bob, "both have two").await;
    rest(world, &[tablet, alice, bob, &laptop]).await;
    laptop
}

#[tokio::test(start_paused = true)]
async fn b3_a_device_that_hears_of_a_change_from_another_is_reached_by_whoever_has_not_heard_of_it() {
    let (world, alice, tablet, bob) = two_devices(1420).await;
    let laptop = bob_with_another_device(&world, [&alice, &tablet, &bob]).await;
    let post = HeldPost::begin(&world.network);
    danger::remove_device(&bob.messenger, device(&laptop).await).await.unwrap();
    laptop.messenger.shut_down();
    bob.catch_up().await.unwrap();
    let (mut of_bob, mut to_the_tablet) = (post.take(), Vec::new());
    of_bob.retain(|letter| {
        let is_for_her = alice.inboxes().iter().any(|inbox| letter.inbox == *inbox);
        to_the_tablet.extend((!is_for_her).then(|| letter.clone()));
        is_for_her
    });
    for letter in &of_bob {
        assert!(post.deliver(&world.network, letter).await);
    }
    // What she answers stays with her relay for now, and what she tells her tablet arrives.
    alice.catch_up().await.unwrap();
    alice.messenger.shut_down();
    let hers = post.take();
    post.end(&world.network);
    for letter in hers.iter().filter(|letter| tablet.inboxes().iter().any(|inbox| letter.inbox == *inbox)) {
        assert!(world.network.put(letter).await);
    }
    tablet.catch_up().await.unwrap();
    let shared = secret(&alice, "pair_secret", "contact WHERE id != 0");
    assert_eq!(secret(&tablet, "pair_secret", "contact WHERE id != 0"), shared, "it has heard of it from her");
    bob.say("alice", "under the secret of before").await.unwrap();
    bob.catch_up().await.unwrap();
    tablet.catch_up().await.unwrap();
    assert!(tablet.transcript("bob").await.unwrap().contains(&"under the secret of before".to_owned()));
    // His own word comes at last, and somebody answers it.
    for letter in &to_the_tablet {
        assert!(world.network.put(letter).await);
    }
    rest(&world, &[&tablet, &bob]).await;
    assert_eq!(bob.database().number("SELECT count(*) FROM contact WHERE id != 0 AND pair_usable"), 1);
    they_talk(&world, &tablet, &bob, "without her").await;
    assert!(share_a_pair(&tablet, &bob));
}
