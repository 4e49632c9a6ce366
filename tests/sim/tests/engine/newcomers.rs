//! What was said since a list was read goes to the devices that the next reading finds new in it: that, to those, and nothing else (PROTOCOL
//! B5, E6).

use std::time::Duration;

use sotto_crypto::manifest::{Device, VerifiedManifest};
use sotto_protocol::DeviceId;
use sotto_sim::{Forger, Person, World, hex};

use super::moved::{a_third_device, another_device};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Bob has just read alice's list, and she has confirmed what he has said since.
struct Since {
    world: World,
    alice: Person,
    bob: Person,
    forger: Forger,
    lists: Vec<VerifiedManifest>,
}

impl Since {
    async fn begin(seed: u64) -> Self {
        let (world, _, alice, bob) = World::contacts(seed).await;
        let forger = Forger::new(&alice, &bob);
        world.wait(2 * DAY).await;
        bob.say("alice", "for which he reads her list").await.expect("they speak");
        world.settle(&[&bob, &alice]).await.expect("they settle");
        let since = Self { world, alice, bob, forger, lists: Vec::new() };
        since.is_confirmed("since").await;
        since
    }

    /// Bob says something to alice, whose device confirms it.
    async fn is_confirmed(&self, text: &str) {
        self.bob.say("alice", text).await.expect("they speak");
        self.world.settle(&[&self.bob, &self.alice]).await.expect("they settle");
        self.alice.say("bob", "heard").await.expect("they speak");
        self.world.settle(&[&self.alice, &self.bob]).await.expect("they settle");
    }

    /// The device that alice has.
    fn first(&self) -> Device {
        self.forger.known().devices()[0].clone()
    }

    /// Two more.
    fn others(&self) -> [Device; 2] {
        [another_device(&self.forger, &self.world), a_third_device(&self.forger, &self.world)]
    }

    /// The next list names these devices. Bob reads it because he says something.
    async fn names(&mut self, devices: &[&Device], text: &str) {
        let (devices, now) = (devices.iter().copied().cloned().collect::<Vec<_>>(), self.world.now());
        let list = match self.lists.last() {
            Some(last) => self.forger.manifest_behind(last, &devices, now),
            None => self.forger.manifest_with_devices(&devices, now),
        };
        self.lists.push(list);
        self.is_read(text).await;
    }

    async fn is_read(&mut self, text: &str) {
        self.forger.serve(&self.world.network, &self.lists.iter().collect::<Vec<_>>());
        self.world.wait(MINUTE).await;
        self.bob.database().change("UPDATE contact SET manifest_read_at = 0");
        self.bob.say("alice", text).await.expect("they speak");
        // Nobody is there behind the devices that are made up.
        let _ = self.bob.messenger.catch_up(Duration::from_secs(30)).await;
        let read = self.bob.database().number("SELECT epoch * 1000 + version FROM contact WHERE name = 'alice'");
        let head = self.lists.last().expect("a list").head();
        assert_eq!(read, i64::from(head.epoch) * 1000 + i64::from(head.version));
    }

    /// What bob has for a device, in the order in which it leaves.
    fn is_for(&self, device: &Device) -> Vec<String> {
        let id: DeviceId = device.id;
        self.bob.database().texts(&format!(
            "SELECT text FROM outbox JOIN message ON message.id = outbox.message
             JOIN peer_device ON peer_device.id = outbox.peer_device WHERE device = x'{}' ORDER BY outbox.id",
            hex(id.as_bytes())
        ))
    }
}

#[tokio::test(start_paused = true)]
async fn b5_what_has_failed_or_was_said_to_others_is_nothing_for_a_new_device() {
    let mut since = Since::begin(1350).await;
    let relay = since.bob.messenger.account().await.unwrap().relays.swap_remove(0);
    let carol = since.world.person("carol", &[relay]).await.unwrap();
    since.world.introduce(&carol, &since.bob).await.unwrap();
    since.bob.say("carol", "to carol").await.unwrap();
    since.is_confirmed("failed").await;
    // As if no device of hers had taken it in time.
    since.bob.database().change("UPDATE message SET state = 5, failure = 1 WHERE text = 'failed'");
    let (first, [second, _]) = (since.first(), since.others());
    since.names(&[&first, &second], "for which he reads it again").await;
    assert_eq!(since.is_for(&second), ["since", "for which he reads it again"]);
}

#[tokio::test(start_paused = true)]
async fn h4_a_device_of_a_later_epoch_gets_what_was_said_since_beside_what_another_left_behind_once() {
    let mut since = Since::begin(1351).await;
    since.alice.messenger.shut_down();
    since.bob.say("alice", "not confirmed").await.unwrap();
    since.bob.catch_up().await.unwrap();
    let [second, _] = since.others();
    let now = since.world.now();
    since.lists.push(since.forger.manifest_of_a_later_epoch_with(1, std::slice::from_ref(&second), now));
    since.is_read("for which he reads it again").await;
    let mut is_for = since.is_for(&second);
    is_for.sort();
    assert_eq!(is_for, ["for which he reads it again", "not confirmed", "since"]);
}

#[tokio::test(start_paused = true)]
async fn e6_a_device_that_comes_back_to_a_list_gets_nothing_of_what_was_said_without_it() {
    let mut since = Since::begin(1352).await;
    let (first, [second, third]) = (since.first(), since.others());
    since.names(&[&first, &second], "one").await;
    since.names(&[&first], "two").await;
    since.bob.say("alice", "without it").await.unwrap();
    since.names(&[&first, &second, &third], "three").await;
    assert_eq!(since.is_for(&second), ["since", "one", "two"]);
    assert_eq!(since.is_for(&third), ["without it", "three"]);
}

#[tokio::test(start_paused = true)]
async fn b5_what_was_said_since_goes_to_a_new_device_also_where_another_has_left_before() {
    let mut since = Since::begin(1353).await;
    let (first, [second, third]) = (since.first(), since.others());
    since.names(&[&first, &second], "one").await;
    since.names(&[&first, &third], "two").await;
    assert_eq!(since.is_for(&third), Vec::<String>::new(), "it may have been put in the place of the one that left");
    let [mut fourth, _] = since.others();
    (fourth.id, fourth.inboxes[0].inbox) =
        (DeviceId::from_bytes([7; 16]), sotto_protocol::InboxId::from_bytes([7; 16]));
    since.bob.say("alice", "later").await.unwrap();
    since.names(&[&first, &third, &fourth], "three").await;
    assert_eq!(since.is_for(&fourth), ["later", "three"]);
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_in_the_place_of_one_that_came_and_went_between_two_readings_gets_what_was_said_since() {
    let mut since = Since::begin(1356).await;
    let (first, [second, mut third]) = (since.first(), since.others());
    let olm = sotto_crypto::olm::OlmAccount::generate(since.world.now());
    third.succeed(since.forger.known().account(), second.id, &olm);
    let came = since.forger.manifest_with_devices(&[first.clone(), second], since.world.now());
    since.lists.push(came);
    since.names(&[&first, &third], "for which he reads it again").await;
    assert_eq!(since.is_for(&third), ["since", "for which he reads it again"]);
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_in_the_place_of_another_gets_what_was_for_that_one_and_one_beside_it_what_was_said_since() {
    let mut since = Since::begin(1354).await;
    let [mut second, third] = since.others();
    since.forger.succeed(&since.alice, &mut second);
    since.alice.messenger.shut_down();
    since.names(&[&second, &third], "for which he reads it again").await;
    assert_eq!(since.is_for(&second), ["for which he reads it again"], "the rest it asks for, as far as it lacks it");
    assert_eq!(since.is_for(&third), ["since", "for which he reads it again"]);
}

#[tokio::test(start_paused = true)]
async fn e6_a_device_that_claims_the_place_of_one_that_left_before_gets_nothing_of_before() {
    let mut since = Since::begin(1355).await;
    let [second, mut third] = since.others();
    since.names(&[&second], "one").await;
    since.forger.succeed(&since.alice, &mut third);
    since.names(&[&second, &third], "two").await;
    assert_eq!(since.is_for(&third), Vec::<String>::new());
}
