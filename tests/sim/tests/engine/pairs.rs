//! Another pair secret between people who stay contacts, whatever else is under way between them, on whichever of their devices (PROTOCOL B3).

use std::time::Duration;

use sotto_core::danger;
use sotto_crypto::letter::Content;
use sotto_protocol::request::path;
use sotto_sim::{Fate, HeldPost, Person, World, envelopes_of, hex};

use super::devices::two_devices;
use super::meeting::link;
use super::removal::{device, half_met, rest, secret, share_a_pair, they_talk};

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

/// What alice sends to bob is lost on the way, until she may speak again.
pub(super) fn hold_back_what_goes_to(world: &World, bob: &Person) {
    let inboxes = bob.inboxes();
    world.network.meddle(Some(Box::new(move |call| match call.path {
        path::SEND if envelopes_of(call).iter().any(|letter| inboxes.iter().any(|inbox| letter.inbox == *inbox)) => {
            Fate::Lost
        }
        _ => Fate::Passes,
    })));
}

/// In both orders of their ids.
async fn is_first(alice: &Person, bob: &Person) -> bool {
    let (hers, his) =
        (alice.messenger.account().await.expect("it reads"), bob.messenger.account().await.expect("it reads"));
    hers.id < his.id
}

#[tokio::test(start_paused = true)]
async fn b3_a_device_removed_while_its_owner_asks_a_contact_again_changes_the_pair_secret_with_the_answer() {
    let mut orders = Vec::new();
    for seed in [1404, 1405] {
        let (world, alice, tablet, bob) = two_devices(seed).await;
        let known = secret(&alice, "pair_secret", "contact WHERE id != 0");
        let of_bob = link(&bob, false).await;
        bob.messenger.shut_down();
        alice.messenger.join(&of_bob).await.unwrap();
        danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap();
        tablet.messenger.shut_down();
        alice.catch_up().await.unwrap();
        let bob = world.reopen(bob).await.unwrap();
        rest(&world, &[&bob, &alice]).await;
        assert_eq!(bob.refused("content_misplaced"), 0, "nothing but the request leaves under the invite");
        they_talk(&world, &alice, &bob, "answered").await;
        assert!(share_a_pair(&alice, &bob), "seed {seed}");
        assert_ne!(secret(&alice, "pair_secret", "contact WHERE id != 0"), known);
        orders.push(is_first(&alice, &bob).await);
    }
    assert!(orders.contains(&true) && orders.contains(&false), "{orders:?}");
}

/// Alice asks bob again, in vain, and removes her tablet before that or behind it.
async fn asked_in_vain(seed: u64, is_removed_first: bool) -> (World, Person, Person) {
    let (world, alice, tablet, bob) = two_devices(seed).await;
    let (of_bob, hers) = (link(&bob, false).await, alice.messenger.account().await.expect("it works").id);
    // Blocked, he hears no request and keeps her as a contact.
    bob.messenger.block(hers).await.expect("it works");
    bob.catch_up().await.expect("it works");
    let removed = device(&tablet).await;
    tablet.messenger.shut_down();
    if is_removed_first {
        danger::remove_device(&alice.messenger, removed).await.expect("it works");
        alice.messenger.join(&of_bob).await.expect("it works");
    } else {
        alice.messenger.join(&of_bob).await.expect("it works");
        danger::remove_device(&alice.messenger, removed).await.expect("it works");
    }
    world.settle(&[&alice, &bob]).await.expect("it works");
    let [alice, bob] = world.switched_off([alice, bob], 8 * DAY).await.expect("it works");
    world.wait(DAY / 4).await;
    bob.messenger.unblock(hers).await.expect("it works");
    rest(&world, &[&alice, &bob]).await;
    (world, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn b3_a_change_that_a_request_has_put_off_or_given_up_goes_on_when_nobody_answers_it() {
    for (seed, is_removed_first) in [(1424, false), (1425, true)] {
        let (world, alice, bob) = asked_in_vain(seed, is_removed_first).await;
        they_talk(&world, &alice, &bob, "as it was").await;
        assert!(share_a_pair(&alice, &bob), "removed first: {is_removed_first}");
        assert_eq!(bob.database().number("SELECT pair_epoch FROM contact WHERE id != 0"), 2, "another one");
    }
}

#[tokio::test(start_paused = true)]
async fn b4_a_contact_is_led_to_another_chain_also_where_a_request_without_an_answer_stood_in_between() {
    for (seed, is_removed_first) in [(1424, false), (1425, true)] {
        let (world, alice, bob) = asked_in_vain(seed, is_removed_first).await;
        they_talk(&world, &alice, &bob, "as it was").await;
        let (read, written) =
            (secret(&bob, "chain", "contact WHERE id != 0"), secret(&alice, "chain", "own_chain WHERE audience = 1"));
        assert_eq!(read, written, "removed first: {is_removed_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn b3_that_a_change_was_taken_up_is_not_said_under_an_invite_and_is_said_when_nobody_answers() {
    for (seed, asks_first) in [(1426, true), (1427, false)] {
        let (world, alice, tablet, bob) = two_devices(seed).await;
        let laptop = bob_with_another_device(&world, [&alice, &tablet, &bob]).await;
        let hers = alice.messenger.account().await.unwrap().id;
        tablet.messenger.shut_down();
        // An invite of before ends with the removal, and he hears no request by one of later: he blocks her.
        let before = link(&bob, true).await;
        hold_back_what_goes_to(&world, &bob);
        if asks_first {
            alice.messenger.join(&before).await.unwrap();
        }
        danger::remove_device(&bob.messenger, device(&laptop).await).await.unwrap();
        laptop.messenger.shut_down();
        for person in [&bob, &alice] {
            person.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
        }
        assert_eq!(alice.database().number("SELECT pair_epoch FROM contact WHERE id != 0"), 2, "she has heard of it");
        if asks_first {
            let waits = "SELECT count(*) FROM outbox WHERE state < 2 AND after_batch IS NOT NULL";
            assert_eq!(alice.database().number(waits), 1, "what waits for calls would leave");
        } else {
            alice.messenger.join(&link(&bob, true).await).await.unwrap();
        }
        bob.messenger.block(hers).await.unwrap();
        world.network.meddle(None);
        world.settle(&[&bob, &alice]).await.unwrap();
        let [alice, bob] = world.switched_off([alice, bob], 8 * DAY).await.unwrap();
        world.wait(DAY / 4).await;
        bob.messenger.unblock(hers).await.unwrap();
        rest(&world, &[&alice, &bob]).await;
        they_talk(&world, &alice, &bob, "all the same").await;
        assert!(share_a_pair(&alice, &bob), "asks first: {asks_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn c2_an_answer_counts_also_where_another_device_has_told_of_a_secret_since_the_request() {
    let mut orders = Vec::new();
    for seed in [1404, 1405] {
        let (world, alice, tablet, bob) = two_devices(seed).await;
        let of_bob = link(&bob, true).await;
        bob.messenger.shut_down();
        tablet.messenger.join(&of_bob).await.unwrap();
        // As if the secret were one that he has drawn since the tablet heard of it.
        alice.database().change("UPDATE contact SET pair_version = pair_version + 1 WHERE id != 0");
        let bobs = alice.contact("bob").await.unwrap().id;
        alice.messenger.rename(bobs, Some("bob".to_owned())).await.unwrap();
        world.settle(&[&alice, &tablet]).await.unwrap();
        let told = "SELECT count(*) FROM contact WHERE claim IS NOT NULL AND pair_version = 2";
        assert_eq!(tablet.database().number(told), 1, "it has heard, and still asks");
        let bob = world.reopen(bob).await.unwrap();
        rest(&world, &[&bob, &tablet, &alice]).await;
        let shared = |person: &Person| secret(person, "pair_secret", "contact WHERE id != 0");
        assert_eq!([shared(&tablet), shared(&alice)], [shared(&bob), shared(&bob)], "seed {seed}");
        they_talk(&world, &tablet, &bob, "answered").await;
        orders.push(is_first(&alice, &bob).await);
    }
    assert!(orders.contains(&true) && orders.contains(&false), "{orders:?}");
}

#[tokio::test(start_paused = true)]
async fn b3_a_pair_that_changes_later_is_told_to_a_device_that_was_linked_meanwhile() {
    let (world, [alice, tablet, bob, carol]) = half_met(1430).await;
    // Half met: that her tokens stand carol has not said yet.
    danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap();
    tablet.messenger.shut_down();
    rest(&world, &[&alice, &bob]).await;
    let laptop = world.second_device(&alice).await.unwrap();
    rest(&world, &[&laptop, &alice, &bob]).await;
    let carol = world.reopen(carol).await.unwrap();
    rest(&world, &[&carol, &alice, &laptop]).await;
    let shared = |person: &Person, name: &str| secret(person, "pair_secret", &format!("contact WHERE name = '{name}'"));
    let carols = shared(&carol, "alice");
    assert_eq!([shared(&alice, "carol"), shared(&laptop, "carol")], [carols.clone(), carols]);
    for device in [&alice, &laptop] {
        let is_quiet = "SELECT count(*) FROM contact WHERE name = 'carol' AND pair_usable AND pair_before IS NULL AND NOT pair_due";
        assert_eq!(device.database().number(is_quiet), 1);
    }
    world.wait(2 * DAY).await;
    carol.say("alice", "to both of them").await.unwrap();
    laptop.say("carol", "from the laptop").await.unwrap();
    rest(&world, &[&laptop, &carol, &alice, &laptop]).await;
    for (person, of) in [(&laptop, "carol"), (&alice, "carol"), (&carol, "alice")] {
        let said = person.transcript(of).await.unwrap();
        assert!(
            ["to both of them", "from the laptop"].iter().all(|text| said.iter().any(|other| other == text)),
            "{said:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn b3_whoever_has_not_heard_of_a_change_does_not_say_that_it_is_ready() {
    let (world, alice, tablet, bob) = two_devices(1431).await;
    hold_back_what_goes_to(&world, &bob);
    danger::remove_device(&alice.messenger, device(&tablet).await).await.unwrap();
    tablet.messenger.shut_down();
    bob.messenger.shut_down();
    bob.database().change(&format!(
        "INSERT INTO outbox (peer_device, content, message_id, state, sent_at)
         SELECT peer_device.id, x'{}', randomblob(16), 0, 1 FROM peer_device JOIN contact ON contact.id = contact WHERE name = 'alice'",
        hex(&Content::PairReady.encode().expect("legal"))
    ));
    let bob = world.reopen(bob).await.unwrap();
    for person in [&bob, &alice] {
        let _ = person.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
    }
    assert_eq!(bob.database().number("SELECT count(*) FROM outbox WHERE state < 2"), 0, "it has left");
    assert_eq!(alice.database().number("SELECT count(*) FROM contact WHERE id != 0 AND pair_usable"), 0);
    world.network.meddle(None);
    rest(&world, &[&alice, &bob]).await;
    they_talk(&world, &alice, &bob, "when he has heard").await;
    assert!(share_a_pair(&alice, &bob));
}

#[tokio::test(start_paused = true)]
async fn h2_a_copy_from_before_a_contacts_change_of_the_pair_secret_hears_of_it() {
    let (world, _, alice, bob) = World::contacts(1432).await;
    let laptop = world.second_device(&bob).await.unwrap();
    rest(&world, &[&laptop, &bob, &alice]).await;
    world.wait(2 * DAY).await;
    they_talk(&world, &alice, &bob, "both have two").await;
    let copy = world.back_up(&alice);
    danger::remove_device(&bob.messenger, device(&laptop).await).await.unwrap();
    laptop.messenger.shut_down();
    rest(&world, &[&bob, &alice]).await;
    they_talk(&world, &alice, &bob, "under another").await;
    assert!(share_a_pair(&alice, &bob));
    // All that was said of it is confirmed, and gone.
    world.wait(2 * DAY).await;
    rest(&world, &[&alice, &bob]).await;
    alice.messenger.shut_down();
    let alice = world.restore(copy, alice.secrets.clone()).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(2 * DAY).await;
    bob.say("alice", "to the device in its place").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    they_talk(&world, &alice, &bob, "as before").await;
    assert!(alice.transcript("bob").await.unwrap().contains(&"to the device in its place".to_owned()));
    assert!(share_a_pair(&alice, &bob));
    let (read, written) =
        (secret(&alice, "chain", "contact WHERE id != 0"), secret(&bob, "chain", "own_chain WHERE audience = 1"));
    assert_eq!(read, written, "where his lists stand now");
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE pair_behind != 0"), 0);
}

/// When she removes her tablet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Removes {
    BeforeSheAsks,
    /// And his laptop has read the list without it, and not heard of a change.
    BeforeSheAsksAndThatIsRead,
    WhenSheHasAsked,
}

/// She asks a device of bob's that nobody has asked before, and removes one of hers, which knows what all share.
async fn no_answer_brings_that_back(seed: u64, removes: Removes) {
    let (world, alice, tablet, bob) = two_devices(seed).await;
    let laptop = bob_with_another_device(&world, [&alice, &tablet, &bob]).await;
    let known = secret(&alice, "pair_secret", "contact WHERE id != 0");
    let link = link(&laptop, true).await;
    let post = HeldPost::begin(&world.network);
    let remove = async || {
        danger::remove_device(&alice.messenger, device(&tablet).await).await.expect("it is removed");
        alice.catch_up().await.expect("her list is written");
    };
    if removes != Removes::WhenSheHasAsked {
        remove().await;
    }
    if removes == Removes::BeforeSheAsksAndThatIsRead {
        laptop.database().change("UPDATE contact SET manifest_read_at = 0");
        laptop.say("alice", "for which he reads her list").await.expect("they speak");
        laptop.catch_up().await.expect("it reads");
        assert_eq!(laptop.database().number("SELECT epoch FROM contact WHERE id != 0"), 2);
    }
    let mut held = post.take();
    alice.messenger.join(&link).await.expect("she asks");
    alice.catch_up().await.expect("it leaves");
    let requests = post.take();
    if removes == Removes::WhenSheHasAsked {
        remove().await;
    }
    for letter in requests.iter().filter(|letter| laptop.inboxes().iter().any(|inbox| letter.inbox == *inbox)) {
        assert!(post.deliver(&world.network, letter).await);
    }
    laptop.catch_up().await.expect("it answers");
    let is_another = secret(&laptop, "pair_secret", "contact WHERE id != 0") != known;
    assert_eq!(is_another, removes != Removes::WhenSheHasAsked, "{removes:?}: an epoch that it knows of");
    held.extend(requests.into_iter().chain(post.take()));
    post.end(&world.network);
    for letter in &held {
        world.network.put(letter).await;
    }
    rest(&world, &[&alice, &laptop, &bob]).await;
    world.wait(2 * DAY).await;
    bob.say("alice", "for which he reads her list").await.expect("they speak");
    rest(&world, &[&bob, &laptop, &alice]).await;
    for device in [&alice, &bob, &laptop] {
        assert_ne!(secret(device, "pair_secret", "contact WHERE id != 0"), known, "{removes:?}");
    }
    assert!(share_a_pair(&alice, &bob) && share_a_pair(&alice, &laptop), "{removes:?}");
}

#[tokio::test(start_paused = true)]
async fn b3_no_answer_brings_back_what_a_device_that_was_removed_knows() {
    no_answer_brings_that_back(1474, Removes::BeforeSheAsks).await;
    no_answer_brings_that_back(1475, Removes::BeforeSheAsksAndThatIsRead).await;
    no_answer_brings_that_back(1476, Removes::WhenSheHasAsked).await;
}
