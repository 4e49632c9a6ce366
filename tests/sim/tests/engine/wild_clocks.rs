//! What one wild clock dated does not last for as long as the clock was ahead, and one wild clock destroys nothing.

use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_core::records::{ContactState, MessageState};
use sotto_protocol::request::path;
use sotto_sim::{Person, World};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// For one opening all relays are 30 days ahead: further, and every list that they have would have ended.
async fn wild(world: &World, person: Person, says: Option<(&str, &str)>) -> Person {
    world.network.set_clocks_ahead(30 * DAY);
    let person = world.reopen(person).await.expect("it opens");
    if let Some((to, text)) = says {
        person.say(to, text).await.expect("they speak");
    }
    person.catch_up().await.expect("they catch up");
    world.network.set_clocks_ahead(Duration::ZERO);
    person
}

fn is_ahead(world: &World, person: &Person, sql: &str) -> bool {
    person.database().number(sql) > i64::try_from(world.now().after(DAY).as_ms()).expect("a date")
}

/// Alice and bob, who have answered each other.
async fn acquainted(seed: u64) -> (World, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    alice.say("bob", "ping").await.expect("they speak");
    world.settle(&[&alice, &bob]).await.expect("they settle");
    bob.say("alice", "pong").await.expect("they speak");
    world.settle(&[&bob, &alice]).await.expect("they settle");
    (world, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn g1_a_letter_that_was_accepted_under_a_wild_clock_is_put_again_after_the_retention() {
    let (world, alice, bob) = acquainted(200).await;
    bob.messenger.shut_down();
    let alice = wild(&world, alice, Some(("bob", "while the clock was wild"))).await;
    assert!(is_ahead(&world, &alice, "SELECT max(accepted_at) FROM outbox"), "the relay was believed");
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(2 * HOUR).await;
    assert!(!is_ahead(&world, &alice, "SELECT max(accepted_at) FROM outbox WHERE state = 2"));
    let sent = world.network.envelopes_to(&bob).len();
    let [alice] = world.switched_off([alice], 31 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    alice.catch_up().await.unwrap();
    assert!(world.network.envelopes_to(&bob).len() > sent, "a relay keeps it no longer than that");
}

#[tokio::test(start_paused = true)]
async fn g1_what_came_in_under_a_wild_clock_is_confirmed_within_a_day_and_not_on_top_for_ever() {
    let (world, alice, bob) = acquainted(201).await;
    let relay = world.network.traffic()[0].relay.clone();
    let address = format!("https://{relay}").parse().unwrap();
    let carol = world.person("carol", &[address]).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    // Nothing is owed from before.
    let [alice, bob, carol] = world.switched_off([alice, bob, carol], 26 * HOUR).await.unwrap();
    world.settle(&[&alice, &bob, &carol]).await.unwrap();
    alice.messenger.shut_down();
    let said = bob.say("alice", "did this arrive?").await.unwrap();
    bob.catch_up().await.unwrap();
    let alice = wild(&world, alice, None).await;
    assert!(is_ahead(&world, &alice, "SELECT max(confirm_due) FROM peer_device"), "the relay was believed");
    assert!(is_ahead(&world, &alice, "SELECT max(last_at) FROM conversation"));
    alice.database().change(
        "INSERT INTO waiting (own_inbox, alias, header, payload, stored_at, reason)
         VALUES (1, 1, x'00', x'00', 4102444800000, 1)",
    );
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    let [alice, bob, carol] = world.switched_off([alice, bob, carol], 26 * HOUR).await.unwrap();
    bob.catch_up().await.unwrap();
    assert_eq!(bob.messenger.message(said.number).await.unwrap().state, MessageState::Delivered);
    carol.say("alice", "newer").await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    let top =
        "SELECT contact.name FROM conversation JOIN contact ON contact.id = contact ORDER BY last_at DESC LIMIT 1";
    assert_eq!(alice.database().texts(top), ["carol"]);
    bob.messenger.shut_down();
    carol.messenger.shut_down();
    let [alice] = world.switched_off([alice], 32 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 0);
}

/// Something waits for a seal that never comes.
fn wait_in_vain(world: &World, person: &Person) {
    let stored_at = world.now().as_ms();
    person.database().change(&format!(
        "INSERT INTO waiting (own_inbox, alias, header, payload, stored_at, reason)
         SELECT own_inbox, alias, x'00', x'00', {stored_at}, 1 FROM alias LIMIT 1",
    ));
}

/// What a clock that is ahead would have destroyed.
fn kept(person: &Person) -> Vec<i64> {
    let database = person.database();
    let kept = [
        "SELECT count(*) FROM waiting",
        "SELECT count(*) FROM seen_inner",
        "SELECT count(*) FROM invite",
        "SELECT count(*) FROM alias",
        "SELECT count(*) FROM outbox",
        "SELECT count(*) FROM outbox WHERE state <= 2",
    ];
    kept.iter().map(|sql| database.number(sql)).collect()
}

fn kem_keys(person: &Person) -> Vec<String> {
    person.database().texts("SELECT hex(key_id) FROM kem_key ORDER BY key_id")
}

#[tokio::test(start_paused = true)]
async fn d4_a_device_whose_clock_is_ahead_and_that_reaches_no_relay_destroys_nothing() {
    let (world, alice, bob) = acquainted(202).await;
    let relay = format!("https://{}", world.network.traffic()[0].relay).parse().unwrap();
    // A second bundle, so that a KEM key is retired, and a request that nobody answers.
    let [alice, bob] = world.switched_off([alice, bob], 3 * DAY).await.unwrap();
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    let invite = carol.messenger.invite(InviteOptions::default()).await.unwrap();
    carol.catch_up().await.unwrap();
    alice.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    alice.messenger.shut_down();
    bob.say("alice", "under the keys of today").await.unwrap();
    bob.catch_up().await.unwrap();
    wait_in_vain(&world, &alice);
    let (before, keys) = (kept(&alice), kem_keys(&alice));
    assert!(before.iter().all(|count| *count > 0), "there is something to destroy: {before:?}");
    world.network.set_down(&relay, true);
    alice.clock.set_ahead(90 * DAY);
    let alice = world.reopen(alice).await.unwrap();
    world.wait(2 * HOUR).await;
    assert_eq!((kept(&alice), kem_keys(&alice)), (before, keys));
    alice.clock.set_right();
    world.network.set_down(&relay, false);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["ping", "pong", "under the keys of today"]);
}

#[tokio::test(start_paused = true)]
async fn d4_a_device_whose_clock_is_behind_and_that_reaches_no_relay_retires_nothing() {
    let (world, alice, bob) = acquainted(203).await;
    let relay = format!("https://{}", world.network.traffic()[0].relay).parse().unwrap();
    alice.messenger.shut_down();
    bob.say("alice", "under the keys of today").await.unwrap();
    bob.catch_up().await.unwrap();
    let keys = kem_keys(&alice);
    world.network.set_down(&relay, true);
    alice.clock.set_behind(60 * DAY);
    let alice = world.reopen(alice).await.unwrap();
    world.wait(2 * HOUR).await;
    alice.clock.set_right();
    assert_eq!(kem_keys(&alice), keys);
    world.network.set_down(&relay, false);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(kem_keys(&alice), keys);
    assert_eq!(alice.transcript("bob").await.unwrap(), ["ping", "pong", "under the keys of today"]);
}

/// When things happened that count for as long as that was not too long ago.
fn dates(person: &Person) -> Vec<String> {
    person.database().texts("SELECT 'stored ' || stored_at FROM waiting UNION SELECT hex(hash) || day FROM seen_inner")
}

#[tokio::test(start_paused = true)]
async fn g1_a_clock_that_falls_back_while_it_runs_dates_nothing_back_and_destroys_nothing_when_it_is_right_again() {
    let (world, alice, bob) = acquainted(204).await;
    wait_in_vain(&world, &alice);
    let before = dates(&alice);
    assert!(before.len() > 1);
    alice.clock.set_behind(60 * DAY);
    bob.say("alice", "meanwhile").await.unwrap();
    bob.catch_up().await.unwrap();
    world.wait(Duration::from_secs(30)).await;
    assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), "meanwhile");
    let meanwhile = dates(&alice);
    assert!(before.iter().all(|date| meanwhile.contains(date)), "{before:?} {meanwhile:?}");
    alice.clock.set_right();
    bob.say("alice", "right again").await.unwrap();
    bob.catch_up().await.unwrap();
    world.wait(2 * HOUR).await;
    let after = dates(&alice);
    assert!(meanwhile.iter().all(|date| after.contains(date)), "{meanwhile:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn d4_a_clock_that_runs_ahead_while_it_runs_destroys_nothing() {
    let (world, alice, bob) = acquainted(205).await;
    wait_in_vain(&world, &alice);
    let (before, keys) = (dates(&alice), kem_keys(&alice));
    alice.clock.set_ahead(90 * DAY);
    bob.say("alice", "meanwhile").await.unwrap();
    bob.catch_up().await.unwrap();
    world.wait(Duration::from_secs(30)).await;
    let meanwhile = dates(&alice);
    assert!(before.iter().all(|date| meanwhile.contains(date)), "{before:?} {meanwhile:?}");
    let left = kem_keys(&alice);
    assert!(keys.iter().all(|key| left.contains(key)));
}

#[tokio::test(start_paused = true)]
async fn g1_nothing_is_dated_back_behind_a_time_that_has_surely_passed() {
    let (world, alice, bob) = acquainted(206).await;
    // What is right is the later time; then all clocks fall back together.
    world.network.set_clocks_ahead(20 * DAY);
    alice.clock.set_ahead(20 * DAY);
    bob.clock.set_ahead(20 * DAY);
    let [alice, bob] = world.switched_off([alice, bob], HOUR).await.unwrap();
    bob.say("alice", "the last one before").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.messenger.shut_down();
    let last_at = "SELECT max(last_at) FROM conversation";
    let before = alice.database().number(last_at);
    world.network.set_clocks_ahead(Duration::ZERO);
    alice.clock.set_right();
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(Duration::from_secs(300)).await;
    let moved = before - alice.database().number(last_at);
    assert!(moved < 3_600_000, "it moved back by {moved} ms");
}

/// Alice, who is away, and bob, whose request under her invite waits for her.
async fn asked(seed: u64) -> (World, Person, Person) {
    let world = World::seeded(seed);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.expect("it works");
    let bob = world.person("bob", &relays).await.expect("it works");
    let invite = alice.messenger.invite(InviteOptions::default()).await.expect("it is made");
    alice.catch_up().await.expect("it is published");
    alice.messenger.shut_down();
    bob.messenger.join(&invite.link).await.expect("bob asks");
    bob.catch_up().await.expect("it leaves");
    (world, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn g1_a_request_that_came_while_the_relays_were_behind_can_be_accepted() {
    let (world, alice, bob) = asked(207).await;
    world.network.set_clocks_behind(90 * DAY);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    world.network.set_clocks_behind(Duration::ZERO);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    alice.messenger.accept(bob.messenger.account().await.unwrap().id).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn g1_a_request_that_came_while_all_clocks_were_behind_can_be_accepted_once_it_comes_again() {
    let (world, alice, bob) = asked(208).await;
    let alice = world.reopen(alice).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let bob_id = bob.messenger.account().await.unwrap().id;
    let asked_at = world.now().before(90 * DAY).as_ms();
    alice.database().change(&format!("UPDATE contact SET asked_at = {asked_at}"));
    assert_eq!(alice.messenger.accept(bob_id).await.unwrap_err().code(), "wrong_state");
    world.wait(25 * HOUR).await;
    alice.messenger.accept(bob_id).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn g1_a_request_that_came_while_a_clock_was_ahead_is_not_accepted_for_as_long_as_that() {
    let (world, alice, bob) = asked(209).await;
    bob.messenger.shut_down();
    alice.clock.set_ahead(30 * DAY);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    alice.clock.set_right();
    assert!(is_ahead(&world, &alice, "SELECT asked_at FROM contact"), "her clock was believed");
    let [alice] = world.switched_off([alice], 3 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    assert!(!is_ahead(&world, &alice, "SELECT asked_at FROM contact"));
}

#[tokio::test(start_paused = true)]
async fn g1_an_alias_that_ends_while_the_relays_are_behind_is_not_forgotten_when_they_are_right() {
    let (world, alice, bob) = acquainted(210).await;
    world.network.set_clocks_behind(90 * DAY);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    alice.messenger.remove(bob.messenger.account().await.unwrap().id).await.unwrap();
    alice.catch_up().await.unwrap();
    world.network.set_clocks_behind(Duration::ZERO);
    let dropped = "SELECT count(*) FROM alias WHERE dropped = 1";
    let before = alice.database().number(dropped);
    assert!(before > 0);
    bob.messenger.shut_down();
    let [alice] = world.switched_off([alice], 3 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    assert_eq!(alice.database().number(dropped), before, "what is under way is still recognised");
    let [alice] = world.switched_off([alice], 40 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    assert_eq!(alice.database().number(dropped), 0, "and not for ever");
}

#[tokio::test(start_paused = true)]
async fn g1_an_alias_that_ends_while_a_clock_is_ahead_is_forgotten_all_the_same() {
    let (world, alice, bob) = acquainted(211).await;
    alice.clock.set_ahead(200 * DAY);
    alice.messenger.remove(bob.messenger.account().await.unwrap().id).await.unwrap();
    alice.clock.set_right();
    let dropped = "SELECT count(*) FROM alias WHERE dropped = 1";
    assert!(alice.database().number(dropped) > 0);
    bob.messenger.shut_down();
    let [alice] = world.switched_off([alice], 3 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    let [alice] = world.switched_off([alice], 40 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    assert_eq!(alice.database().number(dropped), 0);
}

#[tokio::test(start_paused = true)]
async fn d4_a_key_that_retires_while_a_clock_is_behind_is_kept_when_it_is_right_again() {
    let (world, alice, bob) = acquainted(212).await;
    let keys = kem_keys(&alice);
    bob.messenger.shut_down();
    alice.messenger.shut_down();
    world.wait(3 * DAY).await;
    alice.clock.set_behind(60 * DAY);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(HOUR).await;
    assert_eq!(
        alice.database().number("SELECT count(*) FROM kem_key WHERE retired_at IS NOT NULL"),
        1,
        "it is renewed"
    );
    alice.clock.set_right();
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(3 * HOUR).await;
    let left = kem_keys(&alice);
    assert!(keys.iter().all(|key| left.contains(key)), "letters under it may be under way");
}

#[tokio::test(start_paused = true)]
async fn d4_a_key_that_retires_while_a_clock_is_ahead_is_not_kept_for_as_long_as_that() {
    let (world, alice, bob) = acquainted(213).await;
    let ahead = "SELECT max(retired_at) FROM kem_key";
    bob.messenger.shut_down();
    alice.messenger.shut_down();
    world.wait(3 * DAY).await;
    alice.clock.set_ahead(30 * DAY);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(HOUR).await;
    alice.clock.set_right();
    assert!(is_ahead(&world, &alice, ahead), "her clock was believed");
    let [alice] = world.switched_off([alice], 3 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    assert!(!is_ahead(&world, &alice, ahead));
}

#[tokio::test(start_paused = true)]
async fn g1_an_invite_that_was_made_while_a_clock_was_ahead_works_once_it_is_right_and_ends_as_long_after_that() {
    let world = World::seeded(214);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    alice.catch_up().await.unwrap();
    world.network.set_down(&relay, true);
    alice.clock.set_ahead(46 * DAY);
    let alice = world.reopen(alice).await.unwrap();
    let options = InviteOptions { uses: 2, auto_accept: true, ..InviteOptions::default() };
    let invite = alice.messenger.invite(options).await.unwrap();
    alice.clock.set_right();
    world.network.set_down(&relay, false);
    let alice = world.reopen(alice).await.unwrap();
    world.settle(&[&alice]).await.unwrap();
    bob.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted);
    bob.messenger.shut_down();
    let mut alice = alice;
    // No list may be older than 37 days, or an invite's is refused for that.
    for days in [8, 31] {
        assert_eq!(alice.database().number("SELECT count(*) FROM invite"), 1);
        [alice] = world.switched_off([alice], days * DAY).await.unwrap();
    }
    assert_eq!(alice.database().number("SELECT count(*) FROM invite"), 0, "a week, and what waits on relays");
}

/// How often relays were asked to put tokens.
fn tokens_put(world: &World) -> usize {
    world.network.traffic().iter().filter(|call| call.path == path::TOKEN_PUT).count()
}

#[tokio::test(start_paused = true)]
async fn a7_a_device_whose_clock_runs_ahead_for_a_while_does_not_overtake_itself() {
    let (world, relay, alice, _) = World::contacts(215).await;
    // It has slept, and knows of no relay's time but what its own clock says.
    alice.clock.set_ahead(4 * MINUTE);
    alice.messenger.invite(InviteOptions::default()).await.unwrap();
    world.wait(Duration::from_secs(1)).await;
    alice.clock.set_right();
    world.network.set_down(&relay, true);
    world.wait(Duration::from_secs(1)).await;
    world.network.set_down(&relay, false);
    world.wait(MINUTE).await;
    let before = tokens_put(&world);
    alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(tokens_put(&world), before + 1, "it is taken at once");
}

#[tokio::test(start_paused = true)]
async fn a7_a_device_signs_by_a_relays_clock_that_was_set_back() {
    let (world, _, alice, _) = World::contacts(216).await;
    let second = Duration::from_secs(1);
    world.network.delay_answers(path::TOKEN_PUT, 10 * second);
    alice.messenger.invite(InviteOptions::default()).await.unwrap();
    world.wait(second).await;
    // The tokens stand; the invite's list is signed next.
    world.network.set_clocks_behind(7 * MINUTE);
    world.wait(15 * second).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM relay_task"), 0, "told of the time, it signs by that");
}
