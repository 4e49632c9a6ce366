//! A copy of a profile publishes nothing and takes nothing: neither prekeys nor lists nor letters (PROTOCOL H1).

use std::time::Duration;

use sotto_core::records::Trust;
use sotto_protocol::request::path;
use sotto_sim::{Backup, Fate, Meddler, Person, Traffic, World};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice and bob have talked; a copy of alice was made then, and so many days have passed.
async fn aged_copy(seed: u64, days: u32) -> (World, Backup, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    alice.say("bob", "before the copy").await.expect("they speak");
    world.settle(&[&alice, &bob]).await.expect("they settle");
    bob.say("alice", "and this").await.expect("they speak");
    world.settle(&[&bob, &alice]).await.expect("they settle");
    let copy = world.back_up(&alice);
    let [alice, bob] = world.switched_off([alice, bob], days * DAY).await.expect("they come back");
    world.wait(2 * HOUR).await;
    world.settle(&[&bob, &alice]).await.expect("they settle");
    (world, copy, alice, bob)
}

/// Opens the copy and lets it run for hours, while it cannot learn what the account's list says; says how that ended and how many signed calls it
/// has made.
async fn run_copy(world: &World, copy: Backup) -> (&'static str, usize) {
    let calls = world.network.traffic().len();
    let secrets = copy.secrets.copy();
    hide_lists(world, true);
    let copy = world.restore(copy, secrets).await.expect("it opens");
    let code = copy.catch_up().await.map(drop).expect_err("it is found out").code();
    world.wait(3 * HOUR).await;
    copy.messenger.shut_down();
    hide_lists(world, false);
    (code, world.network.traffic()[calls..].iter().filter(|call| call.signed).count())
}

/// From now on no list can be read.
fn hide_lists(world: &World, are_hidden: bool) {
    let hide = move |call: &Traffic| if call.path == path::CHAIN_READ { Fate::Lost } else { Fate::Passes };
    world.network.meddle(are_hidden.then(|| Box::new(hide) as Meddler));
}

/// The one that went on still talks with bob.
async fn goes_on(world: &World, alice: Person, bob: &Person) {
    let alice = world.reopen(alice).await.expect("it opens");
    alice.catch_up().await.expect("it works");
    world.wait(26 * HOUR).await;
    world.settle(&[bob, &alice]).await.expect("they settle");
    assert_eq!(bob.contact("alice").await.expect("known").trust, Trust::Sound);
    bob.say("alice", "to the one that went on").await.expect("they speak");
    world.settle(&[bob, &alice]).await.expect("they settle");
    alice.say("bob", "from it").await.expect("they speak");
    world.settle(&[&alice, bob]).await.expect("they settle");
    let said = alice.transcript("bob").await.expect("it reads");
    assert_eq!(said, bob.transcript("alice").await.expect("it reads"));
    assert_eq!(said[said.len() - 2..], ["to the one that went on", "from it"]);
}

#[tokio::test(start_paused = true)]
async fn h1_a_copy_that_its_relay_shows_to_be_one_writes_no_list_and_puts_no_prekeys() {
    for days in [3, 8] {
        let (world, copy, alice, bob) = aged_copy(900, days).await;
        bob.say("alice", "after the copy").await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        alice.messenger.shut_down();
        assert_eq!(run_copy(&world, copy).await, ("rolled_back", 0), "{days} days");
        goes_on(&world, alice, &bob).await;
    }
}

#[tokio::test(start_paused = true)]
async fn h1_a_copy_is_shown_to_be_one_by_the_list_that_the_other_has_written_since() {
    // Nothing was received since, so no acknowledgement tells of it; and the copy could take what waits.
    let (world, copy, alice, bob) = aged_copy(901, 8).await;
    alice.messenger.shut_down();
    bob.say("alice", "while she is away").await.unwrap();
    bob.catch_up().await.unwrap();
    let (calls, inboxes) = (world.network.traffic().len(), alice.inboxes());
    let device = alice.messenger.account().await.map(|account| account.device);
    let secrets = copy.secrets.copy();
    let copy = world.restore(copy, secrets).await.unwrap();
    copy.catch_up().await.unwrap();
    assert_ne!(copy.messenger.account().await.map(|account| account.device), device);
    // Of the device that it was it has published nothing, and it has taken nothing.
    let of_it =
        |call: &&Traffic| call.signed && inboxes.iter().any(|inbox| call.body.windows(16).any(|id| id == inbox));
    let traffic = world.network.traffic().split_off(calls);
    assert!(traffic.iter().filter(of_it).all(|call| call.path == path::INBOX_DELETE));
    let alice = world.reopen(alice).await.unwrap();
    assert_eq!(alice.catch_up().await.map(drop).unwrap_err().code(), "device_replaced");
    // What waited for the one comes to the other.
    world.wait(26 * HOUR).await;
    bob.say("alice", "to whoever she is").await.unwrap();
    world.settle(&[&bob, &copy]).await.unwrap();
    world.wait(HOUR).await;
    world.settle(&[&bob, &copy]).await.unwrap();
    let said = copy.transcript("bob").await.unwrap();
    assert_eq!(said[said.len() - 2..], ["while she is away", "to whoever she is"]);
}

#[tokio::test(start_paused = true)]
async fn h1_a_copy_that_is_known_to_be_one_does_not_even_attach() {
    let (world, copy, alice, bob) = aged_copy(902, 1).await;
    bob.say("alice", "after the copy").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.messenger.shut_down();
    let secrets = copy.secrets.copy();
    hide_lists(&world, true);
    let known = world.restore(copy, secrets).await.unwrap();
    assert_eq!(known.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    let known = world.reopen(known).await.unwrap();
    world.wait(Duration::from_secs(1)).await;
    assert_eq!(known.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
    bob.say("alice", "at once").await.unwrap();
    bob.catch_up().await.unwrap();
    world.wait(Duration::from_secs(1)).await;
    assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), "at once", "she was not sent away");
}

#[tokio::test(start_paused = true)]
async fn h1_a_copy_takes_no_letter_before_all_its_relays_have_spoken() {
    let world = World::seeded(903);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays[..1]).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    let copy = world.back_up(&alice);
    // The first relay knows that the other one goes on; at the second a letter waits.
    bob.say("alice", "through the first").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.messenger.shut_down();
    bob.database().change("UPDATE peer_inbox SET position = 1 - position");
    bob.say("alice", "through the second").await.unwrap();
    bob.catch_up().await.unwrap();
    world.network.delay_streams_of(&relays[0], Duration::from_secs(5));
    assert_eq!(run_copy(&world, copy).await, ("rolled_back", 0));
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["through the first", "through the second"]);
}
