//! A relay that is dead, refuses, or has lost what was written there, holds up nothing but what only it could do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_protocol::relay::server_frame;
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, RelayAddress};
use sotto_sim::{Fate, Person, World};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn calls(world: &World, relay: &RelayAddress, path: &str) -> usize {
    world.network.traffic().iter().filter(|call| call.relay == *relay.name() && call.path == path).count()
}

fn tasks(person: &Person) -> i64 {
    person.database().number("SELECT count(*) FROM relay_task")
}

#[tokio::test(start_paused = true)]
async fn c1_people_meet_and_talk_while_the_second_relay_of_each_is_dead() {
    let world = World::seeded(190);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    alice.catch_up().await.unwrap();
    bob.catch_up().await.unwrap();
    world.network.set_down(&relays[1], true);
    let invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    bob.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.messenger.accept(alice.contact("bob").await.unwrap().id).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    alice.say("bob", "hello").await.unwrap();
    bob.say("alice", "hello back").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    for said in [bob.transcript("alice").await.unwrap(), alice.transcript("bob").await.unwrap()] {
        assert_eq!(said, ["hello", "hello back"]);
    }
    // What the second relay must know it learns when it is back.
    assert!(tasks(&alice) > 0 && tasks(&bob) > 0);
    let before = calls(&world, &relays[1], path::TOKEN_PUT);
    world.network.set_down(&relays[1], false);
    assert!(alice.catch_up().await.unwrap().is_complete && bob.catch_up().await.unwrap().is_complete);
    assert_eq!((tasks(&alice), tasks(&bob)), (0, 0));
    assert_eq!(
        calls(&world, &relays[1], path::TOKEN_PUT),
        before + 4,
        "invite and pair of hers, reply and pair of his"
    );
}

#[tokio::test(start_paused = true)]
async fn c1_a_letter_of_a_handshake_never_leaves_before_its_tokens_stand_somewhere() {
    let world = World::seeded(191);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays[..1]).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    bob.catch_up().await.unwrap();
    let refused = Bytes::from_static(br#"{"status":507,"code":"full"}"#);
    world.network.meddle(Some(Box::new(move |call| {
        if call.path == path::TOKEN_PUT { Fate::Fails(507, refused.clone()) } else { Fate::Passes }
    })));
    let sent = world.network.envelopes().len();
    bob.messenger.join(&invite.link).await.unwrap();
    bob.catch_up().await.unwrap();
    assert_eq!(world.network.envelopes().len(), sent, "nobody could answer it");
    world.network.meddle(None);
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.contact("bob").await.unwrap().name, "bob");
}

#[tokio::test(start_paused = true)]
async fn b6_the_list_of_an_inbox_waits_for_its_prekeys_at_every_relay_also_when_one_refuses() {
    let world = World::seeded(192);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let second = relays[1].name().clone();
    let refused = Bytes::from_static(br#"{"status":507,"code":"full"}"#);
    world.network.meddle(Some(Box::new(move |call| {
        let fails = call.path == path::PREKEY_PUT && call.relay == second;
        if fails { Fate::Fails(507, refused.clone()) } else { Fate::Passes }
    })));
    let alice = world.person("alice", &relays).await.unwrap();
    assert!(!alice.catch_up().await.unwrap().is_complete);
    assert_eq!(calls(&world, &relays[0], path::CHAIN_APPEND), 0);
    world.network.meddle(None);
    assert!(alice.catch_up().await.unwrap().is_complete);
    assert_eq!(calls(&world, &relays[0], path::CHAIN_APPEND), 2);
}

#[tokio::test(start_paused = true)]
async fn b5_letters_leave_on_a_list_of_37_days_when_its_relay_cannot_be_asked() {
    let (world, relay, mut alice, mut bob) = World::contacts(193).await;
    let unread = || -> sotto_sim::Meddler {
        Box::new(|call| if call.path == path::CHAIN_READ { Fate::Lost } else { Fate::Passes })
    };
    world.network.meddle(Some(unread()));
    let mut said = Vec::new();
    for day in [2, 10, 20, 30, 36] {
        let passed = DAY * (day - said.last().map_or(0, |(day, _)| *day));
        [alice, bob] = world.switched_off([alice, bob], passed).await.unwrap();
        let before = calls(&world, &relay, path::CHAIN_READ);
        bob.say("alice", &format!("day {day}")).await.unwrap();
        let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
        assert!(calls(&world, &relay, path::CHAIN_READ) > before, "it is asked for first");
        alice.catch_up().await.unwrap();
        said.push((day, format!("day {day}")));
        assert_eq!(alice.transcript("bob").await.unwrap().len(), said.len(), "day {day}");
    }
    // Nobody knows any more whom he would write to.
    [alice, bob] = world.switched_off([alice, bob], DAY * 3).await.unwrap();
    assert!(bob.contact("alice").await.unwrap().outdated);
    bob.say("alice", "too late").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().len(), said.len());
    world.network.meddle(None);
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), "too late");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_is_repeated_ever_more_slowly_and_holds_up_no_other() {
    let world = World::seeded(194);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    alice.catch_up().await.unwrap();
    let refused = Bytes::from_static(br#"{"status":403,"code":"refused"}"#);
    world.network.meddle(Some(Box::new(move |call| {
        if call.path == path::CHAIN_APPEND { Fate::Fails(403, refused.clone()) } else { Fate::Passes }
    })));
    let before = calls(&world, &relay, path::CHAIN_APPEND);
    alice.messenger.invite(InviteOptions::default()).await.unwrap();
    world.wait(12 * HOUR).await;
    let asked = calls(&world, &relay, path::CHAIN_APPEND) - before;
    assert!((12..=48).contains(&asked), "{asked} times in twelve hours");
    // Something else at that relay is done at once.
    let tokens = calls(&world, &relay, path::TOKEN_PUT);
    alice.messenger.invite(InviteOptions::default()).await.unwrap();
    world.wait(Duration::from_secs(1)).await;
    assert_eq!(calls(&world, &relay, path::TOKEN_PUT), tokens + 1);
    world.network.meddle(None);
    assert!(alice.catch_up().await.unwrap().is_complete, "and all of it when somebody looks");
}

#[tokio::test(start_paused = true)]
async fn b4_a_chain_whose_relay_lost_entries_goes_on_with_a_snapshot() {
    let (world, relay, alice, bob) = World::contacts(195).await;
    let contacts = "SELECT version FROM contact";
    // As after an operator brought a backup back: the relay has another head than the owner wrote.
    alice.database().change("UPDATE own_chain SET entry_hash = zeroblob(32)");
    let before = calls(&world, &relay, path::CHAIN_APPEND);
    let [alice, bob] = world.switched_off([alice, bob], 8 * DAY).await.unwrap();
    world.wait(HOUR).await;
    assert_eq!(tasks(&alice), 0, "nothing is repeated for ever");
    assert!(calls(&world, &relay, path::CHAIN_APPEND) <= before + 8);
    for week in 0..2 {
        // Her letter names the list that stands there now.
        alice.say("bob", &format!("{week}")).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        world.wait(Duration::from_secs(60)).await;
        assert_eq!(bob.database().number(contacts), alice.database().number("SELECT version FROM account"));
        if week == 0 {
            world.wait(8 * DAY).await;
        }
    }
    assert_eq!(bob.transcript("alice").await.unwrap(), ["0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a1_who_reads_at_a_relay_that_has_lost_everything_is_reached_there_again() {
    let (world, relay, alice, bob) = World::contacts(196).await;
    alice.say("bob", "before").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    bob.messenger.shut_down();
    alice.say("bob", "taken, and lost").await.unwrap();
    alice.catch_up().await.unwrap();
    world.network.add_relay("relay.example");
    let bob = world.reopen(bob).await.unwrap();
    world.wait(5 * MINUTE).await;
    bob.say("alice", "after").await.unwrap();
    world.wait(5 * MINUTE).await;
    assert_eq!(alice.transcript("bob").await.unwrap(), ["before", "taken, and lost", "after"]);
    let (made, told) = (calls(&world, &relay, path::INBOX_CREATE), calls(&world, &relay, path::TOKEN_PUT));
    let mut bob = bob;
    for _ in 0..16 {
        // It remembers less than was ever acknowledged for a long time from now on.
        bob = world.reopen(bob).await.unwrap();
        world.wait(3 * HOUR).await;
    }
    assert_eq!(calls(&world, &relay, path::TOKEN_PUT), told, "it has been told");
    assert_eq!(bob.transcript("alice").await.unwrap(), ["before", "taken, and lost", "after"]);
    assert_eq!(calls(&world, &relay, path::INBOX_CREATE), made, "once");
    let carol = world.person("carol", &[relay]).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    carol.say("alice", "new here").await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    assert_eq!(alice.transcript("carol").await.unwrap(), ["new here"]);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_goes_on_refusing_an_inbox_is_asked_to_make_it_once_an_hour() {
    let (world, relay, alice, bob) = World::contacts(197).await;
    bob.messenger.shut_down();
    let inbox = alice.inboxes().swap_remove(0);
    // Another's now, at a relay that has lost everything.
    world.network.add_relay("relay.example");
    alice.messenger.shut_down();
    alice.database().change("UPDATE own_inbox SET told_again_at = 0");
    let refused = Bytes::from_static(br#"{"status":403,"code":"refused"}"#);
    world.network.meddle(Some(Box::new(move |call| {
        if call.path == path::INBOX_CREATE { Fate::Fails(403, refused.clone()) } else { Fate::Passes }
    })));
    let alice = world.reopen(alice).await.unwrap();
    let made = calls(&world, &relay, path::INBOX_CREATE);
    world.wait(6 * HOUR).await;
    let tried = calls(&world, &relay, path::INBOX_CREATE) - made;
    assert!((3..=8).contains(&tried), "{tried}");
    assert_eq!(alice.inboxes(), [inbox]);
}

/// Alice, at her home and elsewhere, asks bob again, who is her contact and whose device is off.
async fn asks_again(seed: u64) -> (World, RelayAddress, Person, Person) {
    let world = World::seeded(seed);
    let relays = ["home.example", "other.example", "his.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &relays[..2]).await.expect("she begins");
    let bob = world.person("bob", &relays[2..]).await.expect("he begins");
    world.introduce(&alice, &bob).await.expect("they meet");
    let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
    let invite = bob.messenger.invite(options).await.expect("an invite");
    bob.catch_up().await.expect("its tokens are put");
    bob.messenger.shut_down();
    alice.messenger.join(&invite.link).await.expect("she asks");
    alice.catch_up().await.expect("it leaves");
    let [home, ..] = relays;
    (world, home, alice, bob)
}

/// Whether she has his answer, after both had the time for it.
async fn is_answered(world: &World, alice: &Person, bob: &Person) -> bool {
    for _ in 0..3 {
        for person in [alice, bob] {
            let _ = person.messenger.catch_up(MINUTE).await.expect("it works");
        }
        world.wait(MINUTE).await;
    }
    alice.database().number("SELECT count(*) FROM contact WHERE claim IS NOT NULL") == 0
}

#[tokio::test(start_paused = true)]
async fn b5_a_contact_who_asks_again_is_answered_while_the_relay_of_their_list_is_away() {
    let (world, home, alice, bob) = asks_again(199).await;
    world.network.set_down(&home, true);
    let bob = world.reopen(bob).await.unwrap();
    assert!(is_answered(&world, &alice, &bob).await);
    alice.say("bob", "still there").await.unwrap();
    bob.say("alice", "and you").await.unwrap();
    assert!(is_answered(&world, &alice, &bob).await);
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 2);
    assert_eq!(bob.transcript("alice").await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn b5_a_contact_who_asks_again_is_not_answered_on_a_known_list_when_a_later_epoch_was_told() {
    let (world, home, alice, bob) = asks_again(189).await;
    world.network.set_down(&home, true);
    bob.database().change("UPDATE contact SET manifest_read_at = 0");
    let bob = world.reopen(bob).await.unwrap();
    assert!(!is_answered(&world, &alice, &bob).await, "whoever is on the list that he knows may be gone");
    world.network.set_down(&home, false);
    assert!(is_answered(&world, &alice, &bob).await);
}

#[tokio::test(start_paused = true)]
async fn b5_the_list_of_a_contact_who_asks_again_is_looked_for_though_it_was_just_tried_in_vain() {
    let (world, home, alice, bob) = asks_again(188).await;
    let now = world.now().as_ms();
    bob.database().change(&format!("UPDATE contact SET manifest_tried_at = {now}"));
    let sent = || calls(&world, &home, path::SEND);
    let before = sent();
    world.network.delay_answers(path::CHAIN_READ, Duration::from_secs(5));
    let bob = world.reopen(bob).await.unwrap();
    world.wait(Duration::from_secs(4)).await;
    assert_eq!(sent(), before, "it is asked for first");
    assert!(is_answered(&world, &alice, &bob).await && sent() > before);
}

/// Her relay is back, and her disk fails wherever she looks at what waits.
async fn cannot_look(world: &World, relay: &RelayAddress, alice: Person, damage: &str) -> Person {
    alice.messenger.shut_down();
    world.network.set_down(relay, false);
    alice.database().change(damage);
    let alice = world.reopen(alice).await.expect("it opens");
    world.wait(HOUR).await;
    alice
}

#[tokio::test(start_paused = true)]
async fn letters_that_could_not_be_looked_at_are_looked_at_again_though_no_more_are_queued() {
    let (world, relay, alice, bob) = World::contacts(187).await;
    world.network.set_down(&relay, true);
    alice.say("bob", "hello").await.unwrap();
    let damage = "INSERT INTO meta (key, value) VALUES ('born_with', 'nonsense')";
    let alice = cannot_look(&world, &relay, alice, damage).await;
    assert!(bob.transcript("alice").await.unwrap().is_empty());
    alice.database().change("DELETE FROM meta WHERE key = 'born_with'");
    world.wait(Duration::from_secs(5)).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_could_not_be_looked_at_are_looked_at_again_though_no_more_are_queued() {
    let (world, relay, alice, _bob) = World::contacts(186).await;
    world.network.set_down(&relay, true);
    alice.messenger.invite(InviteOptions::default()).await.unwrap();
    let damage = "INSERT INTO relay_task (id, relay, subject, kind, body, batch) VALUES (-1, 'none', x'', 4, x'', 0)";
    let alice = cannot_look(&world, &relay, alice, damage).await;
    assert!(tasks(&alice) > 1);
    alice.database().change("DELETE FROM relay_task WHERE id = -1");
    world.wait(Duration::from_secs(5)).await;
    assert_eq!(tasks(&alice), 0);
}

/// Every stream of a relay ends, and it is there.
async fn drops(world: &World, relay: &RelayAddress) {
    world.network.set_down(relay, true);
    world.wait(Duration::from_millis(1)).await;
    world.network.set_down(relay, false);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_takes_and_drops_us_is_called_ever_more_rarely() {
    let (world, relay, alice, bob) = World::contacts(198).await;
    bob.messenger.shut_down();
    let called = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&called);
    world.network.lie(Some(Box::new(move |_, frame| {
        calls.fetch_add(usize::from(matches!(frame, server_frame::Frame::Drained(_))), Ordering::SeqCst);
    })));
    for _ in 0..600 {
        drops(&world, &relay).await;
        world.wait(Duration::from_secs(1)).await;
    }
    let calls = called.swap(0, Ordering::SeqCst);
    assert!((8..=30).contains(&calls), "{calls} times in ten minutes");
    // Once it was well for a minute, a loss is made up for at once.
    world.wait(Duration::from_secs(180)).await;
    called.store(0, Ordering::SeqCst);
    drops(&world, &relay).await;
    world.wait(Duration::from_secs(2)).await;
    assert_eq!(called.load(Ordering::SeqCst), 1);
    assert!(alice.catch_up().await.unwrap().is_complete);
}
