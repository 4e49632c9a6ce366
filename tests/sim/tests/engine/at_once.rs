//! Two devices of one account accept somebody at once, each by a request of another device of theirs: all devices of both end with one pair
//! secret, and hear each other.

use std::time::Duration;

use sotto_core::records::ContactState;
use sotto_sim::{Person, World};

use super::devices::two_devices;
use super::meeting::{id, link};
use super::removal::rest;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Each accepts who has asked it, and has heard nothing of the other's word.
async fn accept_at_once(world: &World, devices: [&Person; 2], who: &Person) {
    let relay = who.messenger.account().await.expect("it reads").relays.swap_remove(0);
    world.network.set_down(&relay, true);
    let id = id(who).await;
    for device in devices {
        assert_eq!(device.contact("carol").await.expect("known").state, ContactState::Asking);
        device.messenger.accept(id).await.expect("it accepts");
    }
    world.network.set_down(&relay, false);
}

/// Whatever any device says, all others of both hear once.
async fn all_hear_all(world: &World, hers: &[&Person], carols: &[&Person], story: &str) {
    let everybody: Vec<&Person> = hers.iter().chain(carols).copied().collect();
    let with = |device: usize| if device < hers.len() { "carol" } else { "alice" };
    let mut said = Vec::new();
    for (number, device) in everybody.iter().enumerate() {
        said.push(format!("by {number}"));
        device.say(with(number), said.last().expect("one")).await.expect("it says that");
        rest(world, &everybody).await;
    }
    for (number, device) in everybody.iter().enumerate() {
        let mut heard = device.transcript(with(number)).await.expect("it reads");
        heard.retain(|text| text.starts_with("by "));
        heard.sort();
        assert_eq!(heard, said, "{story}: device {number} {:?}", device.refusals());
    }
    let pair = |device: &Person, of: &str| {
        let sql =
            format!("SELECT pair_secret FROM contact WHERE name = '{of}' AND pair_usable AND pair_before IS NULL");
        device.database().blobs(&sql)
    };
    let pairs: Vec<_> = everybody.iter().enumerate().map(|(number, device)| pair(device, with(number))).collect();
    assert!(pairs[0].len() == 1 && pairs.iter().all(|pair| *pair == pairs[0]), "{story}: one pair secret, {pairs:?}");
}

#[tokio::test(start_paused = true)]
async fn c1_two_requests_of_two_devices_that_are_accepted_at_once_on_two_make_one_pair() {
    for seed in 1458..1462 {
        let (world, alice, tablet, _bob) = two_devices(seed).await;
        let relay = alice.messenger.account().await.unwrap().relays.swap_remove(0);
        let carol = world.person("carol", &[relay]).await.unwrap();
        let laptop = world.second_device(&carol).await.unwrap();
        rest(&world, &[&laptop, &carol]).await;
        for (asked, asking) in [(&alice, &carol), (&tablet, &laptop)] {
            asking.messenger.join(&link(asked, false).await).await.unwrap();
            world.settle(&[asking, asked]).await.unwrap();
        }
        accept_at_once(&world, [&alice, &tablet], &carol).await;
        let mut everybody = [&alice, &tablet, &carol, &laptop];
        everybody.rotate_left(usize::try_from(seed % 4).unwrap());
        rest(&world, &everybody).await;
        world.wait(2 * DAY).await;
        all_hear_all(&world, &[&alice, &tablet], &[&carol, &laptop], &format!("seed {seed}")).await;
    }
}
