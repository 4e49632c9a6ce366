//! Lists that somebody appends and takes back between two readings hide nothing (PROTOCOL B3): who holds a list key and no device's adds no device
//! of which nobody hears.

use std::time::Duration;

use sotto_core::records::KeyChange;
use sotto_crypto::manifest::{Device, VerifiedManifest};
use sotto_crypto::olm::OlmAccount;
use sotto_protocol::{DeviceId, InboxId};
use sotto_sim::{Forger, Person, World};

use super::moved::another_device;
use super::rebirth::notices;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Scene {
    world: World,
    bob: Person,
    forger: Forger,
}

impl Scene {
    async fn begin(seed: u64) -> Self {
        let (world, _, alice, bob) = World::contacts(seed).await;
        let forger = Forger::new(&alice, &bob);
        alice.messenger.shut_down();
        Self { world, bob, forger }
    }

    /// A device that nobody knows, whose keys the holder of the list key has made.
    fn strange(&self, name: u8) -> (Device, OlmAccount) {
        let mut device = another_device(&self.forger, &self.world);
        let olm = OlmAccount::generate(self.world.now());
        device.id = DeviceId::from_bytes([name; 16]);
        (device.ed25519, device.curve25519) = (olm.ed25519(), olm.curve25519());
        device.inboxes[0].inbox = InboxId::from_bytes([name; 16]);
        (device, olm)
    }

    /// Bob reads these behind what he knows, all at once.
    async fn reads(&mut self, lists: &[&VerifiedManifest]) -> Vec<KeyChange> {
        let known = self.forger.known().clone();
        let all: Vec<_> = std::iter::once(&known).chain(lists.iter().copied()).collect();
        self.forger.serve_instead(&self.world.network, &all);
        self.world.wait(DAY + Duration::from_secs(3600)).await;
        self.bob.say("alice", "reads the list").await.expect("it is queued");
        let _ = self.bob.messenger.catch_up(Duration::from_secs(30)).await;
        notices(&self.bob, "alice").await
    }
}

#[tokio::test(start_paused = true)]
async fn b3_a_device_that_was_on_a_list_between_two_readings_is_as_new_as_any_when_it_stays() {
    let mut scene = Scene::begin(1480).await;
    let hers = scene.forger.known().devices().to_vec();
    let (strange, _) = scene.strange(7);
    let with = [hers.clone(), vec![strange]].concat();
    let come = scene.forger.manifest_with_devices(&with, scene.world.now());
    let gone = scene.forger.manifest_behind(&come, &hers, scene.world.now());
    assert_eq!(scene.reads(&[&come, &gone]).await, []);
    let back = scene.forger.manifest_behind(&gone, &with, scene.world.now());
    assert_eq!(scene.reads(&[&come, &gone, &back]).await, [KeyChange::DeviceAdded]);
    assert_eq!(scene.bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 1"), 2);
}

#[tokio::test(start_paused = true)]
async fn b3_a_device_that_comes_in_the_place_of_one_that_nobody_has_seen_is_one_more() {
    let mut scene = Scene::begin(1481).await;
    let hers = scene.forger.known().devices().to_vec();
    let ((first, olm), (mut second, _)) = (scene.strange(7), scene.strange(8));
    second.succeed(scene.forger.known().account(), first.id, &olm);
    let come = scene.forger.manifest_with_devices(&[hers.clone(), vec![first]].concat(), scene.world.now());
    let replaced = scene.forger.manifest_behind(&come, &[hers, vec![second]].concat(), scene.world.now());
    assert_eq!(scene.reads(&[&come, &replaced]).await, [KeyChange::DeviceAdded]);
}

#[tokio::test(start_paused = true)]
async fn b3_keys_that_only_a_list_between_two_readings_gave_a_device_are_not_used() {
    let (world, _, alice, bob) = World::contacts(1482).await;
    let forger = Forger::new(&alice, &bob);
    let mut scene = Scene { world, bob, forger };
    let (mut first, _) = scene.strange(7);
    scene.forger.succeed(&alice, &mut first);
    alice.messenger.shut_down();
    let (mut other_keys, _) = scene.strange(7);
    scene.forger.succeed(&alice, &mut other_keys);
    let come = scene.forger.manifest_with_devices(&[first], scene.world.now());
    let changed = scene.forger.manifest_behind(&come, std::slice::from_ref(&other_keys), scene.world.now());
    scene.reads(&[&come, &changed]).await;
    let keys = scene.bob.database().blobs("SELECT curve25519 FROM peer_device WHERE listed = 1");
    assert_eq!(keys, [other_keys.curve25519.to_vec()]);
}
