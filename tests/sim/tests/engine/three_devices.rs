//! An account of three devices: each hears the two others and its contacts, whichever is away meanwhile, and their lists are one.

use std::time::Duration;

use sotto_core::danger;
use sotto_sim::{Person, World};

use super::devices::two_devices;
use super::removal::{device, rest};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice with three devices, the third made of the second, and bob, who knows all three.
async fn three_devices(seed: u64) -> (World, [Person; 3], Person) {
    let (world, alice, tablet, bob) = two_devices(seed).await;
    let laptop = world.second_device(&tablet).await.expect("it begins");
    rest(&world, &[&laptop, &tablet, &alice, &bob]).await;
    world.wait(2 * DAY).await;
    bob.say("alice", "for which he reads her list").await.expect("they speak");
    rest(&world, &[&bob, &alice, &tablet, &laptop]).await;
    (world, [alice, tablet, laptop], bob)
}

/// How often each text is known to a device.
async fn know_once(devices: &[&Person], with: &str, texts: &[&str]) {
    for (number, device) in devices.iter().enumerate() {
        let said = device.transcript(with).await.expect("it reads");
        for text in texts {
            assert_eq!(said.iter().filter(|known| known == text).count(), 1, "{number} {text}: {said:?}");
        }
    }
}

fn listed(device: &Person, contact: i64) -> i64 {
    device.database().number(&format!("SELECT count(*) FROM peer_device WHERE contact = {contact} AND listed = 1"))
}

fn head(device: &Person) -> Vec<Vec<u8>> {
    device.database().blobs("SELECT hash FROM contact WHERE id = 0")
}

#[tokio::test(start_paused = true)]
async fn whatever_one_of_three_devices_says_the_others_and_its_contacts_know() {
    let (world, [alice, tablet, laptop], bob) = three_devices(1480).await;
    let devices = [&alice, &tablet, &laptop];
    assert_eq!(devices.map(|device| listed(device, 0)), [2; 3], "each knows the two others");
    assert_eq!(listed(&bob, 1), 3);
    let texts = ["from the phone", "from the tablet", "from the laptop", "from bob"];
    for (device, text) in devices.iter().zip(texts) {
        device.say("bob", text).await.unwrap();
    }
    bob.say("alice", "from bob").await.unwrap();
    rest(&world, &[&alice, &tablet, &laptop, &bob]).await;
    know_once(&devices, "bob", &texts).await;
    know_once(&[&bob], "alice", &texts).await;
    assert!(head(&alice) == head(&tablet) && head(&tablet) == head(&laptop), "one list");
}

#[tokio::test(start_paused = true)]
async fn a_third_device_that_was_away_for_days_gets_what_the_others_and_contacts_have_said() {
    let (world, [alice, tablet, laptop], bob) = three_devices(1481).await;
    laptop.messenger.shut_down();
    let other = world.network.add_relay("other.example");
    // Each of the two says something of the list, and they renew it.
    alice.messenger.add_relay(other.clone(), String::new()).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    tablet.messenger.add_relay(other, String::new()).await.unwrap();
    let texts = ["from the phone", "from the tablet", "from bob"];
    for (device, with, text) in [(&alice, "bob", texts[0]), (&tablet, "bob", texts[1]), (&bob, "alice", texts[2])] {
        device.say(with, text).await.unwrap();
    }
    rest(&world, &[&alice, &tablet, &bob]).await;
    let [alice, tablet, bob] = world.switched_off([alice, tablet, bob], 9 * DAY).await.unwrap();
    let laptop = world.reopen(laptop).await.unwrap();
    rest(&world, &[&laptop, &alice, &tablet, &bob]).await;
    know_once(&[&alice, &tablet, &laptop], "bob", &texts).await;
    laptop.say("bob", "back again").await.unwrap();
    rest(&world, &[&laptop, &alice, &tablet, &bob]).await;
    know_once(&[&alice, &tablet, &laptop], "bob", &["back again"]).await;
    know_once(&[&bob], "alice", &["from the phone", "from the tablet", "from bob", "back again"]).await;
    assert!(head(&alice) == head(&tablet) && head(&tablet) == head(&laptop), "one list");
    for device in [&alice, &tablet, &laptop] {
        assert_eq!(device.catch_up().await.unwrap().unreachable, []);
        assert_eq!(device.database().number("SELECT count(*) FROM relay_task"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn h2_the_siblings_of_a_device_that_replaces_itself_know_the_one_in_its_place_and_each_other() {
    let (world, [alice, tablet, laptop], bob) = three_devices(1482).await;
    let copy = world.back_up(&laptop);
    alice.say("bob", "behind the copy").await.unwrap();
    rest(&world, &[&alice, &tablet, &laptop, &bob]).await;
    let before = device(&laptop).await;
    laptop.messenger.shut_down();
    tablet.messenger.shut_down();
    let secrets = copy.secrets.copy();
    let laptop = world.restore(copy, secrets).await.unwrap();
    rest(&world, &[&laptop, &alice, &bob]).await;
    assert_ne!(device(&laptop).await, before);
    world.wait(4 * DAY).await;
    let tablet = world.reopen(tablet).await.unwrap();
    rest(&world, &[&tablet, &laptop, &alice, &bob]).await;
    let texts = ["from the phone", "from the tablet", "from the laptop"];
    for (device, text) in [&alice, &tablet, &laptop].into_iter().zip(texts) {
        device.say("bob", text).await.unwrap();
    }
    rest(&world, &[&tablet, &laptop, &alice, &bob]).await;
    know_once(&[&alice, &tablet, &laptop], "bob", &["behind the copy", texts[0], texts[1], texts[2]]).await;
    know_once(&[&bob], "alice", &texts).await;
    assert_eq!([&alice, &tablet, &laptop].map(|device| listed(device, 0)), [2; 3]);
    assert!(head(&alice) == head(&tablet) && head(&tablet) == head(&laptop), "one list");
}

#[tokio::test(start_paused = true)]
async fn b3_of_three_devices_none_is_removed_as_long_as_the_others_cannot_be_told_and_all_goes_on() {
    let (world, [alice, tablet, laptop], bob) = three_devices(1483).await;
    let before = alice.dump();
    for other in [&tablet, &laptop] {
        let refused = danger::remove_device(&alice.messenger, device(other).await).await.unwrap_err();
        assert_eq!(refused.code(), "wrong_state");
    }
    assert!(alice.dump() == before, "nothing has changed");
    laptop.say("bob", "all goes on").await.unwrap();
    rest(&world, &[&laptop, &alice, &tablet, &bob]).await;
    know_once(&[&alice, &tablet, &laptop], "bob", &["all goes on"]).await;
}
