//! The relay of an account's own list is away, perhaps for good, while the account has several devices: they and their contacts go on
//! by their other relay, and have one list again when it is back.

use std::time::Duration;

use sotto_protocol::RelayAddress;
use sotto_sim::{Person, World};

use super::removal::rest;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice with two devices at two relays, the first of which is her home, and bob at a third. The home is down.
async fn without_home(seed: u64) -> (World, RelayAddress, [Person; 3]) {
    let world = World::seeded(seed);
    let [home, other, bobs] =
        ["home.example", "other.example", "bobs.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &[home.clone(), other]).await.expect("she begins");
    let bob = world.person("bob", &[bobs]).await.expect("he begins");
    world.introduce(&alice, &bob).await.expect("they meet");
    let tablet = world.second_device(&alice).await.expect("it begins");
    rest(&world, &[&tablet, &alice, &bob]).await;
    world.wait(2 * DAY).await;
    bob.say("alice", "for which he reads her list").await.expect("they speak");
    rest(&world, &[&bob, &alice, &tablet]).await;
    world.network.set_down(&home, true);
    (world, home, [alice, tablet, bob])
}

/// Each says something, and all others hear it.
async fn all_hear_all(world: &World, [alice, tablet, bob]: [&Person; 3], when: &str) {
    let texts = ["the phone", "the tablet", "bob"].map(|who| format!("{who}, {when}"));
    for ((device, with), text) in [(alice, "bob"), (tablet, "bob"), (bob, "alice")].into_iter().zip(&texts) {
        device.say(with, text).await.expect("they speak");
    }
    for _ in 0..4 {
        for device in [alice, tablet, bob] {
            let _ = device.messenger.catch_up(Duration::from_secs(60)).await;
        }
        world.wait(Duration::from_secs(600)).await;
    }
    for (device, with) in [(alice, "bob"), (tablet, "bob"), (bob, "alice")] {
        let heard = device.transcript(with).await.expect("it reads");
        for text in &texts {
            assert_eq!(heard.iter().filter(|known| *known == text).count(), 1, "{text}: {heard:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn b2_devices_and_contacts_of_an_account_whose_home_is_dead_hear_each_other_by_another_relay() {
    let (world, _, [alice, tablet, bob]) = without_home(1490).await;
    all_hear_all(&world, [&alice, &tablet, &bob], "at once").await;
    world.wait(2 * DAY).await;
    all_hear_all(&world, [&alice, &tablet, &bob], "two days later").await;
    for person in [&alice, &tablet, &bob] {
        person.messenger.shut_down();
    }
    // Nearly as long as their list is fresh, which nobody can sign again without the home.
    world.wait(30 * DAY).await;
    let (alice, tablet) = (world.reopen(alice).await.unwrap(), world.reopen(tablet).await.unwrap());
    let bob = world.reopen(bob).await.unwrap();
    all_hear_all(&world, [&alice, &tablet, &bob], "weeks later").await;
}

#[tokio::test(start_paused = true)]
async fn b2_devices_whose_home_was_away_for_weeks_have_one_list_when_it_is_back() {
    let (world, home, [alice, tablet, bob]) = without_home(1491).await;
    let [one, two] = ["one.example", "two.example"].map(|name| world.network.add_relay(name));
    // What each has to say of itself waits for the home, which alone decides what the list is.
    alice.messenger.add_relay(one.clone(), String::new()).await.unwrap();
    tablet.messenger.add_relay(two.clone(), String::new()).await.unwrap();
    let refused = alice.messenger.remove_relay(home.clone()).await.unwrap_err();
    assert_eq!(refused.code(), "wrong_state", "the tablet would not learn where the list is");
    all_hear_all(&world, [&alice, &tablet, &bob], "without it").await;
    for person in [&alice, &tablet, &bob] {
        person.messenger.shut_down();
    }
    world.wait(12 * DAY).await;
    let (alice, tablet) = (world.reopen(alice).await.unwrap(), world.reopen(tablet).await.unwrap());
    let bob = world.reopen(bob).await.unwrap();
    all_hear_all(&world, [&alice, &tablet, &bob], "twelve days later").await;
    world.network.set_down(&home, false);
    world.wait(DAY).await;
    rest(&world, &[&alice, &tablet, &bob]).await;
    world.wait(DAY + DAY / 12).await;
    all_hear_all(&world, [&alice, &tablet, &bob], "with it again").await;
    let head = |device: &Person| device.database().blobs("SELECT hash FROM contact WHERE id = 0");
    assert_eq!(head(&alice), head(&tablet), "one list");
    for relay in [one, two] {
        let listed = format!("SELECT count(*) FROM peer_inbox WHERE listed = 1 AND relay = '{relay}'");
        assert_eq!(bob.database().number(&listed), 1, "{relay}");
    }
    for device in [&alice, &tablet] {
        assert_eq!(device.catch_up().await.unwrap().unreachable, []);
        assert_eq!(device.database().number("SELECT count(*) FROM relay_task"), 0);
    }
    assert_eq!(bob.database().number("SELECT trust FROM contact"), 0);
}
