//! A rolled-back or cloned device becomes another device of its account, and the first to do so wins (PROTOCOL H2).

use std::time::Duration;

use sotto_core::records::{KeyChange, Kind};
use sotto_core::{InviteOptions, Messenger, danger};
use sotto_crypto::letter::{Content, Counters, ResendRequest};
use sotto_protocol::request::path;
use sotto_protocol::{Message as _, relay};
use sotto_sim::play::ratchets;
use sotto_sim::{Backup, Fate, Person, Traffic, World, hex};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice and bob have talked, then a copy of alice was made, and then they have talked on: what she got since is acknowledged.
async fn outlived_copy(seed: u64) -> (World, Backup, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    let copy = outlive_copy(&world, &alice, &bob).await;
    (world, copy, alice, bob)
}

/// The same, where alice has been told that there will be another device.
async fn outlived_copy_of_one_of_several(seed: u64) -> (World, Backup, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    danger::expect_siblings(&alice.messenger).await.expect("she does");
    let copy = outlive_copy(&world, &alice, &bob).await;
    (world, copy, alice, bob)
}

async fn outlive_copy(world: &World, alice: &Person, bob: &Person) -> Backup {
    alice.say("bob", "before the copy").await.expect("they speak");
    world.settle(&[alice, bob]).await.expect("they settle");
    let copy = world.back_up(alice);
    bob.say("alice", "after it").await.expect("they speak");
    world.settle(&[bob, alice]).await.expect("they settle");
    copy
}

#[tokio::test(start_paused = true)]
async fn h2_a_restored_profile_becomes_another_device_and_goes_on() {
    let (world, copy, alice, bob) = outlived_copy(1200).await;
    let (before, inboxes) = (alice.messenger.account().await.unwrap(), alice.inboxes());
    alice.messenger.shut_down();
    let alice = world.restore(copy, alice.secrets.clone()).await.unwrap();
    alice.say("bob", "queued meanwhile").await.unwrap();
    alice.catch_up().await.unwrap();
    let after = alice.messenger.account().await.unwrap();
    assert_eq!((after.id, &after.name, &after.relays), (before.id, &before.name, &before.relays));
    assert_ne!(after.device, before.device);
    assert!(alice.inboxes().iter().all(|inbox| !inboxes.contains(inbox)));
    world.settle(&[&bob, &alice]).await.unwrap();
    // Bob has read her new list by then.
    world.wait(Duration::from_secs(60)).await;
    bob.say("alice", "to the new one").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.say("bob", "from it").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let said = bob.transcript("alice").await.unwrap();
    assert_eq!(said, ["before the copy", "after it", "queued meanwhile", "to the new one", "from it"]);
    assert_eq!(alice.database().number("SELECT count(*) FROM former_inbox"), 0, "deleted at their relay");
    // Nothing of it is left to be done, and it is no copy any more.
    let alice = world.reopen(alice).await.unwrap();
    let again = alice.messenger.account().await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(again.device, after.device);
    assert_eq!(alice.database().number("SELECT count(*) FROM relay_task"), 0);
}

#[tokio::test(start_paused = true)]
async fn h2_a_copied_database_becomes_one_more_device_beside_the_one_that_it_was() {
    let (world, copy, alice, bob) = outlived_copy_of_one_of_several(1201).await;
    let secrets = copy.secrets.copy();
    let beside = danger::open_beside(world.world(&secrets), copy.directory()).await.unwrap();
    beside.catch_up(DAY).await.unwrap();
    let (first, second) = (alice.messenger.account().await.unwrap(), beside.account().await.unwrap());
    assert_eq!(first.id, second.id);
    assert_ne!(first.device, second.device);
    // Whoever reads their list sees both, and what is said now goes to both.
    world.wait(2 * DAY).await;
    bob.say("alice", "for which he reads her list").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    bob.say("alice", "to both").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    beside.catch_up(DAY).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), "to both");
    let bob_id = bob.messenger.account().await.unwrap().id;
    let messages = beside.messages(bob_id, None, 100).await.unwrap();
    assert_eq!(messages.last().map(|message| &*message.text), Some("to both"));
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 1"), 2);
}

/// The notices that a contact's keys have changed.
pub(super) async fn notices(person: &Person, with: &str) -> Vec<KeyChange> {
    let contact = person.contact(with).await.expect("known").id;
    let messages = person.messenger.messages(contact, None, u32::MAX).await.expect("it reads");
    let change = |kind| if let Kind::KeyChange(change) = kind { Some(change) } else { None };
    messages.into_iter().filter_map(|message| change(message.kind)).collect()
}

/// They send and receive until nothing moves, lists that letters name are read, and then once more.
pub(crate) async fn rest(world: &World, people: &[&Person]) {
    for _ in 0..2 {
        world.settle(people).await.expect("they settle");
        world.wait(Duration::from_secs(90)).await;
    }
    world.settle(people).await.expect("they settle");
}

#[tokio::test(start_paused = true)]
async fn h2_what_senders_still_hold_comes_back_in_order_what_was_queued_leaves_and_peers_see_one_notice() {
    let (world, _, alice, bob) = World::contacts(1202).await;
    alice.say("bob", "1").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    bob.say("alice", "2").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    alice.messenger.shut_down();
    // Queued here, and never there.
    let alice = world.reopen(alice).await.unwrap();
    let copy = world.back_up(&alice);
    for number in 3..=30 {
        bob.say("alice", &number.to_string()).await.unwrap();
    }
    world.settle(&[&bob, &alice]).await.unwrap();
    // Bob hears that all of it came, and then says more that nobody fetches.
    alice.say("bob", "31").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    alice.messenger.shut_down();
    bob.say("alice", "32").await.unwrap();
    bob.catch_up().await.unwrap();
    assert_eq!(bob.database().number("SELECT count(*) FROM outbox WHERE state = 3 AND message IS NOT NULL"), 29);
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    restored.say("bob", "33").await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    let expected: Vec<String> = (1..=33).map(|number| number.to_string()).collect();
    assert_eq!(bob.transcript("alice").await.unwrap(), expected);
    let came: Vec<_> = restored.transcript("bob").await.unwrap().into_iter().filter(|text| text != "33").collect();
    assert_eq!(came, expected.into_iter().filter(|text| text != "31" && text != "33").collect::<Vec<_>>());
    assert_eq!(notices(&bob, "alice").await, [KeyChange::Replaced]);
    assert_eq!(notices(&restored, "bob").await, []);
    // However often their lists are renewed and read.
    let [restored, bob] = world.switched_off([restored, bob], 9 * DAY).await.unwrap();
    restored.say("bob", "a week later").await.unwrap();
    bob.say("alice", "a week later").await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    assert_eq!(notices(&bob, "alice").await, [KeyChange::Replaced]);
    assert_eq!(restored.database().number("SELECT count(*) FROM relay_task"), 0);
}

#[tokio::test(start_paused = true)]
async fn h2_what_senders_held_before_they_were_restored_themselves_comes_back_as_well() {
    for (seed, have_met) in [(1215, false), (1216, true)] {
        let (world, _, alice, bob) = World::contacts(seed).await;
        let bob = world.reopen(bob).await.unwrap();
        let old = world.back_up(&bob);
        for text in ["1", "2"] {
            alice.say("bob", text).await.unwrap();
        }
        rest(&world, &[&alice, &bob]).await;
        bob.say("alice", "lost with what bob says after his backup").await.unwrap();
        rest(&world, &[&alice, &bob]).await;
        let bob = world.reopen(bob).await.unwrap();
        let copy = world.back_up(&alice);
        let alice = world.reopen(alice).await.unwrap();
        alice.messenger.shut_down();
        let alice = world.restore(copy, alice.secrets.clone()).await.unwrap();
        if have_met {
            rest(&world, &[&alice, &bob]).await;
            alice.say("bob", "3").await.unwrap();
            rest(&world, &[&alice, &bob]).await;
        }
        bob.messenger.shut_down();
        let bob = world.restore(old, bob.secrets.clone()).await.unwrap();
        rest(&world, &[&alice, &bob]).await;
        alice.say("bob", "4").await.unwrap();
        rest(&world, &[&alice, &bob]).await;
        let expected: Vec<&str> = ["1", "2", "3", "4"].into_iter().filter(|text| have_met || *text != "3").collect();
        assert_eq!(bob.transcript("alice").await.unwrap(), expected, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn h2_a_second_restore_of_one_backup_is_told_that_it_was_replaced_and_sends_nothing() {
    for keeps_keystore in [false, true] {
        let (world, copy, alice, bob) = outlived_copy(1203).await;
        let again = copy.another();
        alice.messenger.shut_down();
        let secrets = copy.secrets.copy();
        let restored = world.restore(copy, secrets).await.unwrap();
        restored.say("bob", "from the first").await.unwrap();
        rest(&world, &[&restored, &bob]).await;
        let (envelopes, calls) = (world.network.envelopes().len(), world.network.traffic().len());
        let secrets = if keeps_keystore { restored.secrets.clone() } else { again.secrets.copy() };
        restored.messenger.shut_down();
        bob.messenger.shut_down();
        let again = world.restore(again, secrets).await.unwrap();
        let _ = again.say("bob", "from the second").await;
        let error = again.catch_up().await.map(drop).unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("device_replaced", false));
        let again = world.reopen(again).await.unwrap();
        let said = again.say("bob", "again").await.map(drop).unwrap_err();
        let invite = again.messenger.invite(InviteOptions::default()).await.map(drop).unwrap_err();
        assert_eq!([said.code(), invite.code()], ["device_replaced"; 2]);
        world.wait(2 * DAY).await;
        assert_eq!(world.network.envelopes().len(), envelopes);
        assert!(world.network.traffic()[calls..].iter().all(|call| !call.signed), "nothing was published");
        assert!(again.transcript("bob").await.unwrap().contains(&"before the copy".to_owned()), "it can be read");
    }
}

#[tokio::test(start_paused = true)]
async fn h2_of_two_copies_that_replace_themselves_at_once_one_wins_and_the_other_is_told() {
    for seed in 1204..1208 {
        let (world, copy, alice, bob) = outlived_copy(seed).await;
        let twin = copy.another();
        let [secrets, others] = [&copy, &twin].map(|copy| copy.secrets.copy());
        let (first, second) = (world.restore(copy, secrets).await.unwrap(), world.restore(twin, others).await.unwrap());
        // Each has something to say, which must not leave before it is clear who says it.
        first.say("bob", "from the first").await.unwrap();
        second.say("bob", "from the second").await.unwrap();
        let (one, other) = tokio::join!(first.catch_up(), second.catch_up());
        let lost = [one.map(drop), other.map(drop)].map(|outcome| outcome.err().map(|error| error.code()));
        assert!(
            lost == [Some("device_replaced"), None] || lost == [None, Some("device_replaced")],
            "seed {seed}: {lost:?}"
        );
        let (winner, said) = if lost[0].is_none() { (&first, "from the first") } else { (&second, "from the second") };
        winner.say("bob", "the one").await.unwrap();
        rest(&world, &[winner, &bob]).await;
        assert_eq!(bob.transcript("alice").await.unwrap(), ["before the copy", "after it", said, "the one"]);
        assert_eq!(notices(&bob, "alice").await, [KeyChange::Replaced]);
        // The one that both were made of was on all the time.
        world.wait(Duration::from_secs(300)).await;
        assert_eq!(alice.catch_up().await.map(drop).unwrap_err().code(), "device_replaced");
    }
}

#[tokio::test(start_paused = true)]
async fn h2_no_ratchet_and_no_claim_of_the_device_before_is_used_by_the_one_in_its_place() {
    let (world, _, alice, bob) = World::contacts(1208).await;
    ratchets::keep(&alice.database());
    alice.say("bob", "before").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    // A claim is under way when the copy is made: the next letter begins a session.
    alice.messenger.shut_down();
    alice.database().change("UPDATE session SET sending = 0; UPDATE peer_inbox SET claim = randomblob(16)");
    let copy = world.back_up(&alice);
    let before = world.network.traffic().len();
    let alice = world.reopen(alice).await.unwrap();
    alice.say("bob", "under the claim").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    bob.say("alice", "acknowledged").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    alice.say("bob", "once more").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    alice.messenger.shut_down();
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    restored.say("bob", "from the one in its place").await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    restored.say("bob", "and again").await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    assert_eq!(ratchets::used_twice_among(&[&alice.database(), &restored.database()]), None);
    let claims = world.network.traffic().split_off(before);
    let claims = claims.into_iter().filter(|call| call.path == path::PREKEY_CLAIM);
    let mut claims: Vec<_> = claims.map(|call| relay::PrekeyClaim::decode(call.body).expect("a claim").claim).collect();
    let count = claims.len();
    claims.sort_unstable();
    claims.dedup();
    assert!(count >= 3 && claims.len() == count, "each session came from a claim of its own: {count}");
    let said = bob.transcript("alice").await.unwrap();
    assert_eq!(
        said,
        ["before", "under the claim", "acknowledged", "once more", "from the one in its place", "and again"]
    );
}

#[tokio::test(start_paused = true)]
async fn h2_only_the_declared_successor_is_answered_for_a_device() {
    let (world, copy, alice, bob) = outlived_copy_of_one_of_several(1209).await;
    bob.say("alice", "for the first alone").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    alice.say("bob", "confirmed").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    // What he says from here on is for whoever is listed by then.
    world.wait(2 * DAY).await;
    bob.say("alice", "for which he reads her list as it is").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    let secrets = copy.secrets.copy();
    let beside = danger::open_beside(world.world(&secrets), copy.directory()).await.unwrap();
    beside.catch_up(DAY).await.unwrap();
    world.wait(2 * DAY).await;
    bob.say("alice", "for which he reads her list").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    beside.shut_down();
    // It asks for what was for a device in whose place it has not come.
    let counters = vec![Counters { first: 1, last: 1_000 }];
    let predecessor = Some(alice.messenger.account().await.unwrap().device);
    let request = ResendRequest { counters, inner_hashes: Vec::new(), predecessor };
    let content = hex(&Content::ResendRequest(request).encode().unwrap());
    copy.database().change(&format!(
        "INSERT INTO outbox (peer_device, content, message_id, state, sent_at) SELECT id, x'{content}', randomblob(16), 0, {} FROM peer_device WHERE contact = 1",
        world.now().as_ms()
    ));
    let sent = world.network.envelopes().len();
    let beside = Messenger::open(world.world(&secrets), copy.directory()).await.unwrap();
    beside.catch_up(DAY).await.unwrap();
    assert_eq!(world.network.envelopes().len(), sent + 1, "it has asked");
    rest(&world, &[&bob]).await;
    bob.say("alice", "to both").await.unwrap();
    rest(&world, &[&bob]).await;
    beside.catch_up(DAY).await.unwrap();
    let messages = beside.messages(bob.messenger.account().await.unwrap().id, None, 100).await.unwrap();
    let texts: Vec<_> = messages.iter().map(|message| &*message.text).collect();
    assert!(texts.contains(&"to both") && !texts.contains(&"for the first alone"), "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn h2_a_dead_relay_holds_up_no_replacement_and_is_read_again_once_it_is_back() {
    let world = World::seeded(1210);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays[..1]).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    let copy = world.back_up(&alice);
    bob.say("alice", "after it").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    alice.messenger.shut_down();
    world.network.set_down(&relays[1], true);
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    restored.say("bob", "by one relay").await.unwrap();
    let _ = restored.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
    assert_eq!(restored.messenger.account().await.unwrap().relays, relays[..1]);
    rest(&world, &[&restored, &bob]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["after it", "by one relay"]);
    world.network.set_down(&relays[1], false);
    world.wait(Duration::from_secs(2 * 3600)).await;
    restored.catch_up().await.unwrap();
    assert_eq!(restored.messenger.account().await.unwrap().relays, relays);
    assert_eq!(restored.database().number("SELECT count(*) FROM relay_task"), 0);
}

#[tokio::test(start_paused = true)]
async fn h2_a_copy_that_two_relays_tell_apart_at_once_replaces_itself() {
    for seed in 1230..1236 {
        let world = World::seeded(seed);
        let relays = ["one.example", "two.example", "three.example"].map(|name| world.network.add_relay(name));
        let alice = world.person("alice", &relays[..2]).await.unwrap();
        let bob = world.person("bob", &relays[2..]).await.unwrap();
        world.introduce(&alice, &bob).await.unwrap();
        let numbers = |person: &Person| {
            [0, 1].map(|at| {
                person.database().number(&format!("SELECT cursor FROM own_inbox ORDER BY id LIMIT 1 OFFSET {at}"))
            })
        };
        let (copy, at_copy) = (world.back_up(&alice), numbers(&alice));
        for away in &relays[..2] {
            world.network.set_down(away, true);
            bob.say("alice", "by the other").await.unwrap();
            rest(&world, &[&alice, &bob]).await;
            world.network.set_down(away, false);
            world.wait(Duration::from_secs(120)).await;
            rest(&world, &[&alice, &bob]).await;
        }
        assert!(numbers(&alice).iter().zip(at_copy).all(|(now, then)| *now > then), "at both");
        alice.messenger.shut_down();
        let secrets = copy.secrets.copy();
        let restored = world.restore(copy, secrets).await.unwrap();
        restored.catch_up().await.unwrap();
        rest(&world, &[&restored, &bob]).await;
        assert_eq!(notices(&bob, "alice").await, [KeyChange::Replaced]);
    }
}

#[tokio::test(start_paused = true)]
async fn h2_whoever_was_asked_can_answer_the_device_in_the_place_of_the_one_that_asked() {
    for answers_first in [false, true] {
        let world = World::seeded(1211);
        let relay = world.network.add_relay("relay.example");
        let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
        let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
        let invite = bob.messenger.invite(InviteOptions::default()).await.unwrap();
        bob.catch_up().await.unwrap();
        alice.messenger.join(&invite.link).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        let id = alice.messenger.account().await.unwrap().id;
        alice.messenger.shut_down();
        let copy = world.back_up(&alice);
        // The keystore has seen more.
        let alice = world.reopen(alice).await.unwrap();
        let alice = world.reopen(alice).await.unwrap();
        alice.messenger.shut_down();
        if answers_first {
            bob.messenger.accept(id).await.unwrap();
            bob.catch_up().await.unwrap();
        }
        let restored = world.restore(copy, alice.secrets.clone()).await.unwrap();
        rest(&world, &[&restored, &bob]).await;
        // He has read her list since; a request that nobody answers comes again.
        world.wait(DAY + Duration::from_secs(3600)).await;
        rest(&world, &[&restored, &bob]).await;
        if !answers_first {
            bob.messenger.accept(id).await.unwrap();
            rest(&world, &[&restored, &bob]).await;
        }
        restored.say("bob", "met").await.unwrap();
        rest(&world, &[&restored, &bob]).await;
        assert_eq!(bob.transcript("alice").await.unwrap(), ["met"], "answers first: {answers_first}");
        bob.say("alice", "indeed").await.unwrap();
        rest(&world, &[&restored, &bob]).await;
        assert_eq!(restored.transcript("bob").await.unwrap(), ["met", "indeed"]);
    }
}

#[tokio::test(start_paused = true)]
async fn h2_no_letter_leaves_before_the_accounts_own_chain_names_the_device() {
    let (world, copy, alice, bob) = outlived_copy(1212).await;
    let inboxes = alice.inboxes();
    alice.messenger.shut_down();
    world
        .network
        .meddle(Some(Box::new(|call| if call.path == path::CHAIN_APPEND { Fate::Lost } else { Fate::Passes })));
    let (envelopes, calls) = (world.network.envelopes().len(), world.network.traffic().len());
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    restored.say("bob", "as whom").await.unwrap();
    let _ = restored.messenger.catch_up(Duration::from_secs(60)).await;
    world.wait(Duration::from_secs(3600)).await;
    assert_eq!(world.network.envelopes().len(), envelopes);
    let is_deleted = |call: &Traffic| call.path == path::INBOX_DELETE;
    assert!(!world.network.traffic()[calls..].iter().any(is_deleted), "nor are its inboxes of before deleted");
    // It dies meanwhile, and knows what it is.
    let restored = world.reopen(restored).await.unwrap();
    let _ = restored.messenger.catch_up(Duration::from_secs(60)).await;
    assert_eq!(world.network.envelopes().len(), envelopes);
    world.network.meddle(None);
    rest(&world, &[&restored, &bob]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["before the copy", "after it", "as whom"]);
    assert!(world.network.traffic()[calls..].iter().any(is_deleted));
    assert!(restored.inboxes().iter().all(|inbox| !inboxes.contains(inbox)));
    assert_eq!(notices(&bob, "alice").await, [KeyChange::Replaced]);
}

#[tokio::test(start_paused = true)]
async fn h2_a_copy_of_a_device_that_nobody_knew_yet_takes_its_place_and_is_no_copy_at_the_next_opening() {
    let (world, _, alice, bob) = World::contacts(1218).await;
    let copy = world.back_up(&alice);
    let alice = world.reopen(alice).await.unwrap();
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.shut_down();
    let loses_lists = |call: &Traffic| if call.path == path::CHAIN_APPEND { Fate::Lost } else { Fate::Passes };
    world.network.meddle(Some(Box::new(loses_lists)));
    let unknown = world.restore(copy, alice.secrets.clone()).await.unwrap();
    world.wait(Duration::from_secs(60)).await;
    let name = unknown.messenger.account().await.unwrap().device;
    assert_ne!(name, alice.database().blobs("SELECT device FROM account")[0].as_slice().try_into().unwrap());
    let copy = world.back_up(&unknown);
    let unknown = world.reopen(unknown).await.unwrap();
    let unknown = world.reopen(unknown).await.unwrap();
    unknown.messenger.shut_down();
    let restored = world.restore(copy, unknown.secrets.clone()).await.unwrap();
    world.network.meddle(None);
    rest(&world, &[&restored, &bob]).await;
    let restored = world.reopen(restored).await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    assert_eq!(restored.messenger.account().await.unwrap().device, name);
    restored.say("bob", "as one device").await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["as one device"]);
    assert_eq!(notices(&bob, "alice").await, [KeyChange::Replaced]);
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_whose_first_list_stands_speaks_also_where_another_list_waits_behind_it() {
    let (world, _, alice, bob) = World::contacts(1217).await;
    let alice = world.reopen(alice).await.unwrap();
    let copy = world.back_up(&alice);
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.shut_down();
    let minute = Duration::from_secs(60);
    world.network.delay_answers(path::CHAIN_APPEND, minute);
    let restored = world.restore(copy, alice.secrets.clone()).await.unwrap();
    world.wait(minute / 2).await;
    let other = world.network.add_relay("other.example");
    restored.messenger.add_relay(other.clone(), String::new()).await.unwrap();
    world.network.set_down(&other, true);
    world.wait(minute).await;
    world.network.delay_answers(path::CHAIN_APPEND, Duration::ZERO);
    restored.say("bob", "at once").await.unwrap();
    world.wait(2 * minute).await;
    bob.catch_up().await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["at once"]);
}

#[tokio::test(start_paused = true)]
async fn h2_a_copy_whose_lists_still_wait_finds_that_another_was_faster_and_overwrites_nothing() {
    let world = World::seeded(1212);
    let relays = ["one.example", "two.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    let copies = [world.back_up(&alice), world.back_up(&alice)];
    bob.say("alice", "after both copies").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.messenger.shut_down();
    let [slow, fast] = copies;
    // The slow one reads the list, and cannot append to it; then it has something more to say.
    let failing = sotto_protocol::Bytes::from_static(br#"{"status":503,"code":"busy"}"#);
    world.network.meddle(Some(Box::new(move |call| {
        if call.path == path::CHAIN_APPEND { Fate::Fails(503, failing.clone()) } else { Fate::Passes }
    })));
    let secrets = slow.secrets.copy();
    let slow = world.restore(slow, secrets).await.unwrap();
    let _ = slow.messenger.catch_up(Duration::from_secs(60)).await;
    slow.messenger.remove_relay(relays[1].clone()).await.unwrap();
    slow.messenger.shut_down();
    world.network.meddle(None);
    let secrets = fast.secrets.copy();
    let fast = world.restore(fast, secrets).await.unwrap();
    rest(&world, &[&fast, &bob]).await;
    fast.say("bob", "it is me").await.unwrap();
    rest(&world, &[&fast, &bob]).await;
    let slow = world.reopen(slow).await.unwrap();
    let _ = slow.messenger.catch_up(Duration::from_secs(60)).await;
    world.wait(Duration::from_secs(3600)).await;
    let id = bob.messenger.account().await.unwrap().id;
    let said = slow.messenger.send_text(id, "nobody hears this".to_owned()).await;
    assert_eq!(said.unwrap_err().code(), "device_replaced");
    fast.say("bob", "still me").await.unwrap();
    rest(&world, &[&fast, &bob]).await;
    bob.say("alice", "I see").await.unwrap();
    rest(&world, &[&bob, &fast]).await;
    assert_eq!(fast.transcript("bob").await.unwrap().last().map(String::as_str), Some("I see"));
    assert_eq!(bob.database().number("SELECT trust FROM contact"), 0);
    assert_eq!(notices(&bob, "alice").await, [KeyChange::Replaced]);
}
