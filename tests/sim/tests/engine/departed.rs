//! Devices that have left their list: what is kept of them, for how long, and how many there may be.

use std::time::Duration;

use sotto_crypto::olm::OlmAccount;
use sotto_protocol::{DeviceId, InboxId};
use sotto_sim::{Forger, Person, World};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What bob's device holds that belongs to devices that have left.
fn keys(bob: &Person) -> i64 {
    let left = "SELECT id FROM peer_device WHERE listed = 0";
    let inboxes = format!("SELECT id FROM peer_inbox WHERE peer_device IN ({left})");
    bob.database().number(&format!(
        "SELECT (SELECT count(*) FROM session WHERE peer_inbox IN ({inboxes})) + (SELECT count(*) FROM seal_out WHERE peer_inbox IN ({inboxes}))
              + (SELECT count(*) FROM seal_in WHERE state_sealed IS NOT NULL AND peer_device IN ({left}))"
    ))
}

fn departed(bob: &Person) -> i64 {
    bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 0")
}

/// They are off for so long, and speak.
async fn off(world: &World, people: [Person; 2], time: Duration, said: &mut Vec<String>) -> [Person; 2] {
    let [alice, bob] = world.switched_off(people, time).await.expect("they open");
    let what = format!("number {}", said.len());
    alice.say("bob", &what).await.expect("they speak");
    said.push(what);
    for _ in 0..3 {
        world.settle(&[&alice, &bob]).await.expect("they settle");
        world.wait(Duration::from_secs(3 * 3600)).await;
    }
    [alice, bob]
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_a_device_that_left_is_erased_after_37_days_and_its_row_after_74() {
    let (world, _, alice, bob) = World::contacts(1450).await;
    let mut said = Vec::new();
    for _ in 0..3 {
        let what = format!("number {}", said.len());
        alice.say("bob", &what).await.unwrap();
        said.push(what);
        world.settle(&[&alice, &bob]).await.unwrap();
        bob.say("alice", "yes").await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    let copy = world.back_up(&alice);
    bob.say("alice", "after the copy").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.messenger.shut_down();
    let alice = world.restore(copy, alice.secrets.clone()).await.unwrap();
    alice.catch_up().await.unwrap();
    let mut people = off(&world, [alice, bob], DAY, &mut said).await;
    assert_eq!(departed(&people[1]), 1, "he has read her list");
    assert!(keys(&people[1]) > 0);
    people = off(&world, people, 34 * DAY, &mut said).await;
    assert!(keys(&people[1]) > 0, "it may still be heard");
    people = off(&world, people, 5 * DAY, &mut said).await;
    assert_eq!(keys(&people[1]), 0);
    assert_eq!(departed(&people[1]), 1, "what was for it may still be asked for");
    let inboxes =
        "SELECT count(*) FROM peer_inbox JOIN peer_device ON peer_device.id = peer_device WHERE peer_device.listed = 0";
    assert_eq!(people[1].database().number(inboxes), 1, "what is kept of a device is kept with one of them");
    people = off(&world, people, 20 * DAY, &mut said).await;
    people = off(&world, people, 20 * DAY, &mut said).await;
    assert_eq!(departed(&people[1]), 0);
    people = off(&world, people, DAY, &mut said).await;
    let shown = people[1].transcript("alice").await.unwrap();
    let shown: Vec<_> = shown.into_iter().filter(|text| text.starts_with("number")).collect();
    assert_eq!(shown, said);
}

#[tokio::test(start_paused = true)]
async fn a_list_with_more_devices_than_anybody_has_is_refused() {
    let (world, _, alice, bob) = World::contacts(1451).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    let before = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
                  INSERT INTO peer_device (contact, device, ed25519, curve25519, listed, left_at)
                  SELECT 1, randomblob(16), randomblob(32), randomblob(32), 0, 1779883200000 FROM n";
    bob.database().change(&before.replace("{}", "1022"));
    let mut forger = Forger::new(&alice, &bob);
    let own = forger.known().devices()[0].clone();
    let another = |number: u8| {
        let mut device = own.clone();
        let olm = OlmAccount::generate(world.now());
        (device.id, device.ed25519) = (DeviceId::from_bytes([number; 16]), olm.ed25519());
        device.curve25519 = olm.curve25519();
        device.inboxes[0].inbox = InboxId::from_bytes([number; 16]);
        let prekey_key: &[u8] = &[number; 32];
        device.inboxes[0].prekey_key = prekey_key.try_into().expect("32 bytes");
        device
    };
    let listed = "SELECT count(*) FROM peer_device WHERE listed = 1";
    for (devices, known) in [(vec![own.clone(), another(1), another(2)], 1), (vec![own.clone(), another(1)], 2)] {
        let list = forger.manifest_with_devices(&devices, world.now());
        forger.serve(&world.network, &[&list]);
        bob.database().change("UPDATE contact SET manifest_read_at = 0");
        bob.say("alice", "reads the list").await.unwrap();
        let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
        assert_eq!(bob.database().number(listed), known, "of {}", devices.len());
        world.network.meddle(None);
    }
    assert_eq!(bob.database().number("SELECT trust FROM contact"), 0, "it shows nothing worse");
}

#[tokio::test(start_paused = true)]
async fn an_inbox_that_left_its_list_is_forgotten_after_37_days_unless_a_session_was_begun_by_it() {
    let (world, _, alice, bob) = World::contacts(1452).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    let mut forger = Forger::new(&alice, &bob);
    let own = forger.known().devices()[0].clone();
    let mut moved = own.clone();
    let mut another = own.inboxes[0].clone();
    another.inbox = InboxId::from_bytes([9; 16]);
    moved.inboxes.push(another);
    let known = "SELECT count(*) FROM peer_inbox";
    let first = forger.manifest_with_devices(&[moved], world.now());
    let second = forger.manifest_behind(&first, &[own], world.now());
    for (lists, inboxes) in [(&[&first][..], 2), (&[&first, &second], 2)] {
        forger.serve(&world.network, lists);
        bob.database().change("UPDATE contact SET manifest_read_at = 0");
        bob.say("alice", "reads the list").await.unwrap();
        let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
        assert_eq!(bob.database().number(known), inboxes);
    }
    world.network.meddle(None);
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_inbox WHERE listed = 1"), 1);
    let mut said = Vec::new();
    let people = off(&world, [alice, bob], 35 * DAY, &mut said).await;
    assert_eq!(people[1].database().number(known), 2, "a letter may still be for it");
    let people = off(&world, people, 4 * DAY, &mut said).await;
    let [alice, bob] = off(&world, people, DAY, &mut said).await;
    assert_eq!(bob.database().number(known), 1);
    // The one that is left is given up by her as well, but what she writes on was begun by it.
    bob.database().change("UPDATE peer_inbox SET listed = 0, left_at = 1");
    bob.database().change("UPDATE outbox SET peer_inbox = NULL");
    for (listed, left_at) in [("0", "1"), ("1", "NULL")] {
        bob.database().change(&format!(
            "INSERT INTO peer_inbox (peer_device, position, relay, inbox, prekey_key, listed, left_at)
             SELECT peer_device, 1, relay, randomblob(16), prekey_key, {listed}, {left_at} FROM peer_inbox LIMIT 1"
        ));
    }
    let [_alice, bob] = off(&world, [alice, bob], 2 * DAY, &mut said).await;
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_inbox WHERE left_at = 1"), 1);
    assert_eq!(bob.transcript("alice").await.unwrap().last(), said.last());
}

#[tokio::test(start_paused = true)]
async fn a_list_with_more_inboxes_than_anybody_has_is_refused() {
    let (world, _, alice, bob) = World::contacts(1453).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    bob.database().change(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4094)
         INSERT INTO peer_inbox (peer_device, position, relay, inbox, prekey_key, listed, left_at)
         SELECT peer_device, 1, relay, randomblob(16), prekey_key, 0, 1779883200000 FROM n, peer_inbox",
    );
    let mut forger = Forger::new(&alice, &bob);
    let own = forger.known().devices()[0].clone();
    for (more, listed) in [(2, 1), (1, 2)] {
        let mut device = own.clone();
        for number in 0..more {
            let mut inbox = own.inboxes[0].clone();
            inbox.inbox = InboxId::from_bytes([number + 1; 16]);
            device.inboxes.push(inbox);
        }
        let list = forger.manifest_with_devices(&[device], world.now());
        forger.serve(&world.network, &[&list]);
        bob.database().change("UPDATE contact SET manifest_read_at = 0");
        bob.say("alice", "reads the list").await.unwrap();
        let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
        assert_eq!(bob.database().number("SELECT count(*) FROM peer_inbox WHERE listed = 1"), listed);
        world.network.meddle(None);
    }
}
