//! A device is taken off an account: a new epoch, in which everything that it knew is another (PROTOCOL B3).

use std::time::Duration;

use sotto_core::records::{ContactState, KeyChange, Kind, MessageState};
use sotto_core::{InviteOptions, danger};
use sotto_crypto::letter::Content;
use sotto_crypto::secret::PairSecret;
use sotto_protocol::DeviceId;
use sotto_protocol::request::path;
use sotto_sim::{HeldPost, Person, World, hex};

use super::backups::Stores;
use super::devices::two_devices;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn device(person: &Person) -> DeviceId {
    person.messenger.account().await.expect("it reads").device
}

/// They send and receive until nothing moves, lists that letters name are read, and then once more.
pub(super) async fn rest(world: &World, people: &[&Person]) {
    for _ in 0..3 {
        world.settle(people).await.expect("they settle");
        world.wait(2 * MINUTE).await;
    }
    world.settle(people).await.expect("they settle");
}

pub(super) fn secret(person: &Person, column: &str, from: &str) -> Vec<u8> {
    person.database().blobs(&format!("SELECT {column} FROM {from}")).pop().expect("a row")
}

/// Both share one pair secret, and nothing of a change is under way.
pub(super) fn share_a_pair(alice: &Person, bob: &Person) -> bool {
    let is_quiet = "SELECT count(*) FROM contact WHERE id != 0 AND pair_usable AND pair_before IS NULL AND pair_changing IS NULL AND NOT pair_former";
    [alice, bob].iter().all(|person| person.database().number(is_quiet) == 1)
        && secret(alice, "pair_secret", "contact WHERE id != 0") == secret(bob, "pair_secret", "contact WHERE id != 0")
}

/// Both hear what the other says.
pub(super) async fn they_talk(world: &World, alice: &Person, bob: &Person, what: &str) {
    alice.say("bob", what).await.expect("they speak");
    rest(world, &[alice, bob]).await;
    bob.say("alice", what).await.expect("they speak");
    rest(world, &[bob, alice]).await;
    for (person, of) in [(alice, "bob"), (bob, "alice")] {
        let heard = person.transcript(of).await.expect("it reads");
        assert_eq!(heard.iter().filter(|text| *text == what).count(), 2, "{heard:?}");
    }
}

/// Alice with two devices, and bob. Carol, who is off, has used an invite of alice's and has not said yet that her tokens stand.
pub(crate) async fn half_met(seed: u64) -> (World, [Person; 4]) {
    let (world, alice, tablet, bob) = two_devices(seed).await;
    let relay = alice.messenger.account().await.expect("they meet").relays.swap_remove(0);
    let carol = world.person("carol", &[relay]).await.expect("they meet");
    let invite = alice
        .messenger
        .invite(InviteOptions { auto_accept: true, ..InviteOptions::default() })
        .await
        .expect("they meet");
    rest(&world, &[&alice, &bob, &tablet]).await;
    alice.messenger.shut_down();
    carol.messenger.join(&invite.link).await.expect("they meet");
    carol.catch_up().await.expect("they meet");
    carol.messenger.shut_down();
    let alice = world.reopen(alice).await.expect("they meet");
    rest(&world, &[&alice, &bob, &tablet]).await;
    (world, [alice, tablet, bob, carol])
}

#[tokio::test(start_paused = true)]
async fn b3_a_removed_device_stops_and_what_is_said_goes_on_without_it() {
    let (world, alice, tablet, bob) = two_devices(1400).await;
    danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    // It reads the account's list daily.
    world.wait(DAY + DAY / 12).await;
    assert_eq!(tablet.messenger.catch_up(MINUTE).await.map(drop).unwrap_err().code(), "device_replaced");
    they_talk(&world, &alice, &bob, "without it").await;
    let _ = tablet.messenger.catch_up(MINUTE).await;
    assert!(!tablet.transcript("bob").await.unwrap().contains(&"without it".to_owned()));
    let contact = bob.contact("alice").await.unwrap().id;
    let messages = bob.messenger.messages(contact, None, u32::MAX).await.unwrap();
    let changes = messages.iter().filter(|message| message.kind == Kind::KeyChange(KeyChange::NewEpoch)).count();
    assert_eq!(changes, 1, "he is told, once");
    assert_eq!(alice.database().number("SELECT count(*) FROM relay_task"), 0);
}

#[tokio::test(start_paused = true)]
async fn b3_everything_that_a_removed_device_knew_is_another() {
    let (world, alice, tablet, bob) = two_devices(1401).await;
    let invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    let known = |person: &Person| {
        [
            secret(person, "pair_secret", "contact WHERE id = 0"),
            secret(person, "pair_secret", "contact WHERE id != 0"),
            secret(person, "chain_key", "own_chain WHERE audience = 0"),
            secret(person, "write_key_sealed", "own_chain WHERE audience = 0"),
            secret(person, "chain_key", "own_chain WHERE audience = 1"),
            secret(person, "write_key_sealed", "own_chain WHERE audience = 1"),
            secret(person, "list_key_sealed", "account"),
            secret(person, "manage_key_sealed", "own_inbox"),
        ]
    };
    let (before, calls) = (known(&alice), world.network.traffic().len());
    // Somebody keeps a letter under a token that the device could have made.
    let post = HeldPost::begin(&world.network);
    let hers = alice.inboxes();
    let mut held = Vec::new();
    for (writer, to) in [(&bob, "alice"), (&tablet, "bob")] {
        writer.say(to, "under a secret of before").await.unwrap();
        writer.catch_up().await.unwrap();
        held.extend(post.take().into_iter().find(|letter| hers.iter().any(|inbox| letter.inbox == *inbox)));
    }
    post.end(&world.network);
    assert_eq!(held.len(), 2);
    danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    for (which, (before, now)) in before.iter().zip(&known(&alice)).enumerate() {
        assert_ne!(before, now, "{which}");
    }
    assert!(share_a_pair(&alice, &bob));
    assert_eq!(secret(&bob, "chain_key", "contact"), secret(&alice, "chain_key", "own_chain WHERE audience = 1"));
    for letter in held {
        assert!(!world.network.put(&letter).await, "its token opens nothing");
    }
    let calls = world.network.traffic().split_off(calls);
    let at = |path: &str| calls.iter().position(|call| call.path == path).expect("it was called");
    assert!(
        at(path::INBOX_MANAGE_KEY) < at(path::TOKEN_PUT),
        "what is put is signed by the key that the device does not have"
    );
    assert_eq!(alice.database().number("SELECT count(*) FROM invite"), 0);
    let relay = alice.messenger.account().await.unwrap().relays.swap_remove(0);
    let carol = world.person("carol", &[relay]).await.unwrap();
    assert!(carol.messenger.join(&invite.link).await.is_err(), "its chain is gone");
}

#[tokio::test(start_paused = true)]
async fn b3_the_chains_that_a_removed_device_reads_tell_of_nothing_behind_the_list_without_it() {
    let (world, alice, tablet, bob) = two_devices(1402).await;
    danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    alice.messenger.add_relay(world.network.add_relay("other.example"), String::new()).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    let heads = |audiences: &str| {
        let sql = format!(
            "SELECT hex(epoch * 100 + version) FROM own_chain WHERE audience IN ({audiences}) ORDER BY audience"
        );
        alice.database().texts(&sql)
    };
    assert_eq!(heads("4, 5").len(), 2);
    let head = |audience: i64| {
        alice.database().number(&format!("SELECT epoch * 100 + version FROM own_chain WHERE audience = {audience}"))
    };
    assert_eq!([head(4), head(5)], [201, 201]);
    assert_eq!([head(0), head(1)], [202, 202]);
    they_talk(&world, &alice, &bob, "at two relays").await;
}

#[tokio::test(start_paused = true)]
async fn b3_what_is_under_way_while_a_pair_secret_changes_arrives_in_order() {
    let (world, alice, tablet, bob) = two_devices(1403).await;
    bob.messenger.shut_down();
    let mut hers = vec![alice.say("bob", "hers, before").await.unwrap()];
    alice.catch_up().await.unwrap();
    danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap();
    hers.push(alice.say("bob", "hers, behind it").await.unwrap());
    alice.catch_up().await.unwrap();
    world.wait(3 * DAY).await;
    let bob = world.reopen(bob).await.unwrap();
    // He has not heard of it, and his letters leave by the tokens that he knows.
    bob.say("alice", "his").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    world.wait(2 * DAY).await;
    rest(&world, &[&bob, &alice]).await;
    for said in [bob.transcript("alice").await.unwrap(), alice.transcript("bob").await.unwrap()] {
        assert_eq!(said, ["hello", "hers, before", "hers, behind it", "his"]);
    }
    for message in hers {
        assert_eq!(alice.messenger.message(message.number).await.unwrap().state, MessageState::Delivered);
    }
    assert!(share_a_pair(&alice, &bob));
}

#[tokio::test(start_paused = true)]
async fn b3_two_who_remove_a_device_at_once_share_one_pair_secret_in_the_end() {
    let mut orders = Vec::new();
    for seed in [1404, 1405] {
        let (world, alice, tablet, bob) = two_devices(seed).await;
        let laptop = world.second_device(&bob).await.unwrap();
        rest(&world, &[&laptop, &bob, &alice, &tablet]).await;
        world.wait(2 * DAY).await;
        they_talk(&world, &alice, &bob, "both have two").await;
        let relay = alice.messenger.account().await.unwrap().relays.swap_remove(0);
        world.network.set_down(&relay, true);
        danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap();
        danger::remove_device(&bob.messenger, device(&laptop).await).await.unwrap();
        for gone in [&tablet, &laptop] {
            gone.messenger.shut_down();
        }
        let drawn = [&alice, &bob].map(|person| secret(person, "pair_secret", "contact WHERE id != 0"));
        world.wait(MINUTE).await;
        world.network.set_down(&relay, false);
        world.wait(2 * MINUTE).await;
        rest(&world, &[&alice, &bob]).await;
        they_talk(&world, &alice, &bob, "one each").await;
        assert!(share_a_pair(&alice, &bob), "{seed}");
        let shared = secret(&alice, "pair_secret", "contact WHERE id != 0");
        assert!(!drawn.contains(&shared), "each was sent to a device that the other had just removed, seed {seed}");
        orders.push(alice.messenger.account().await.unwrap().id < bob.messenger.account().await.unwrap().id);
    }
    assert!(orders.contains(&true) && orders.contains(&false), "{orders:?}");
}

#[tokio::test(start_paused = true)]
async fn b3_a_pair_that_is_not_known_to_both_yet_changes_when_it_is() {
    let (world, [alice, tablet, bob, carol]) = half_met(1408).await;
    assert_eq!(alice.contact("carol").await.unwrap().state, ContactState::Accepted);
    let drawn = secret(&alice, "pair_secret", "contact WHERE name = 'carol'");
    assert_eq!(alice.database().number("SELECT count(*) FROM contact WHERE name = 'carol' AND NOT pair_usable"), 1);
    danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    let carol = world.reopen(carol).await.unwrap();
    rest(&world, &[&alice, &carol, &bob]).await;
    carol.say("alice", "met").await.unwrap();
    alice.say("carol", "well met").await.unwrap();
    rest(&world, &[&alice, &carol]).await;
    assert_eq!(carol.transcript("alice").await.unwrap().len(), 2);
    assert_eq!(alice.transcript("carol").await.unwrap().len(), 2);
    let (hers, carols) =
        (secret(&alice, "pair_secret", "contact WHERE name = 'carol'"), secret(&carol, "pair_secret", "contact"));
    assert_ne!(drawn, hers);
    assert_eq!(hers, carols);
}

#[tokio::test(start_paused = true)]
async fn b3_a_relay_that_was_away_hears_of_the_new_manage_key_before_anything_that_it_signs() {
    let (world, alice, tablet, bob) = two_devices(1410).await;
    let relay = alice.messenger.account().await.unwrap().relays.swap_remove(0);
    world.network.set_down(&relay, true);
    alice.messenger.block(bob.messenger.account().await.unwrap().id).await.unwrap();
    alice.messenger.unblock(bob.messenger.account().await.unwrap().id).await.unwrap();
    danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap();
    tablet.messenger.shut_down();
    world.wait(MINUTE).await;
    world.network.set_down(&relay, false);
    world.wait(2 * MINUTE).await;
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM relay_task"), 0);
    they_talk(&world, &alice, &bob, "all is put").await;
}

#[tokio::test(start_paused = true)]
async fn b3_a_relay_that_came_back_from_before_a_removal_hears_of_the_manage_key_again() {
    let world = World::seeded(1415);
    let stores = Stores::new().unwrap();
    let relay = world.network.add_relay("relay.example");
    stores.open(&world, &relay, "first").unwrap();
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&tablet, &alice, &bob]).await;
    stores.copy("first", "second").unwrap();
    danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap();
    tablet.messenger.shut_down();
    rest(&world, &[&alice, &bob]).await;
    stores.open(&world, &relay, "second").unwrap();
    let bob_is = bob.messenger.account().await.unwrap().id;
    alice.messenger.block(bob_is).await.unwrap();
    alice.messenger.unblock(bob_is).await.unwrap();
    world.wait(2 * 60 * MINUTE).await;
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM relay_task"), 0, "what it signs is taken");
    they_talk(&world, &alice, &bob, "all is put").await;
}

/// Somebody's device tells bob of changes of the pair secret, each with the epoch behind the one before.
fn tell_of_changes(device: &Person, epochs: std::ops::RangeInclusive<u32>) {
    let of_bob =
        "SELECT peer_device.id FROM peer_device JOIN contact ON contact.id = contact WHERE contact.name = 'bob'";
    let before = PairSecret::from_bytes([1; 32]).id();
    for epoch in epochs {
        let pair_secret = PairSecret::from_bytes([u8::try_from(epoch).expect("few"); 32]);
        let content = Content::PairChange { pair_secret, epoch, before: before.clone() }.encode().expect("legal");
        device.database().change(&format!(
            "INSERT INTO outbox (peer_device, content, message_id, state, sent_at) SELECT id, x'{}', randomblob(16), 0, 1 FROM ({of_bob})",
            hex(&content)
        ));
    }
}

#[tokio::test(start_paused = true)]
async fn b3_a_removed_device_changes_no_pair_secret_with_those_who_have_not_heard_of_it() {
    let (world, alice, tablet, bob) = two_devices(1411).await;
    let (shared, removed) = (secret(&bob, "pair_secret", "contact"), device(&tablet).await);
    let relay = alice.messenger.account().await.unwrap().relays.swap_remove(0);
    tablet.messenger.shut_down();
    bob.messenger.shut_down();
    // What it says reaches the relay before anything of hers does.
    world.network.set_down(&relay, true);
    danger::remove_device(&alice.messenger, removed).await.unwrap();
    alice.messenger.shut_down();
    world.network.set_down(&relay, false);
    tell_of_changes(&tablet, 9..=9);
    let tablet = world.reopen(tablet).await.unwrap();
    let _ = tablet.messenger.catch_up(Duration::from_secs(30)).await;
    tablet.messenger.shut_down();
    let bob = world.reopen(bob).await.unwrap();
    bob.catch_up().await.unwrap();
    assert_eq!(secret(&bob, "pair_secret", "contact"), shared);
    assert!(bob.database().number("SELECT count(*) FROM waiting") > 0, "{:?}", bob.refusals());
    let alice = world.reopen(alice).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    they_talk(&world, &alice, &bob, "all the same").await;
    assert!(share_a_pair(&alice, &bob));
}

#[tokio::test(start_paused = true)]
async fn b3_a_contact_changes_the_pair_secret_eight_times_in_a_day_and_leaves_two_tokens() {
    let (world, alice, _tablet, bob) = two_devices(1412).await;
    // As if their account were at a late epoch.
    bob.database().change("UPDATE contact SET epoch = 40, pair_version = 0");
    alice.messenger.shut_down();
    tell_of_changes(&alice, 2..=21);
    let alice = world.reopen(alice).await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(60)).await;
    let _ = bob.messenger.catch_up(Duration::from_secs(60)).await;
    assert_eq!(bob.refused("pair_change_too_often"), 12, "{:?}", bob.refusals());
    assert_eq!(bob.database().number("SELECT pair_epoch FROM contact"), 9);
    let stand = "SELECT count(*) FROM alias WHERE purpose = 1 AND contact = 1 AND dropped = 0";
    assert_eq!(bob.database().number(stand), 2, "that under which they came, and the last");
}

#[tokio::test(start_paused = true)]
async fn b3_only_another_device_that_is_listed_is_removed_and_only_the_last_one() {
    let (world, alice, tablet, bob) = two_devices(1409).await;
    let before = alice.dump();
    for none in [device(&alice).await, DeviceId::from_bytes([3; 16])] {
        let refused = danger::remove_device(&alice.messenger, none).await.unwrap_err();
        assert_eq!(refused.code(), "not_found");
    }
    assert!(alice.dump() == before, "nothing has changed");
    let third = world.second_device(&alice).await.unwrap();
    rest(&world, &[&third, &alice, &tablet, &bob]).await;
    let refused = danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap_err();
    assert_eq!(refused.code(), "wrong_state", "the third would not learn of the new keys");
}
