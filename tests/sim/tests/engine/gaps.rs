//! Letters that skip many others, and long backlogs of which a relay has lost parts (PROTOCOL E6).

use std::collections::BTreeSet;
use std::time::Duration;

use sotto_protocol::RelayAddress;
use sotto_sim::{Envelope, HeldPost, Person, World};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Alice says so many things; her relay takes them and loses them.
async fn lost(world: &World, alice: &Person, texts: std::ops::Range<u32>) -> Vec<Envelope> {
    let post = HeldPost::begin(&world.network);
    said(alice, texts).await;
    let letters = post.take();
    post.end(&world.network);
    letters
}

async fn said(alice: &Person, texts: std::ops::Range<u32>) {
    for text in texts {
        alice.say("bob", &format!("{text}")).await.expect("they speak");
    }
    alice.catch_up().await.expect("the relay takes them");
}

async fn heard(bob: &Person) -> Vec<u32> {
    let said = bob.transcript("alice").await.expect("they are contacts");
    said.iter().map(|text| text.parse().unwrap_or(u32::MAX)).collect()
}

/// The same, in the order in which they came.
async fn came(bob: &Person) -> Vec<u32> {
    let messages = bob.messenger.received_after(0, u32::MAX).await.expect("the messages are read");
    messages.iter().filter_map(|message| message.text.parse().ok()).collect()
}

fn waiting(bob: &Person) -> i64 {
    bob.database().number("SELECT count(*) FROM waiting WHERE reason = 6")
}

/// Bob reads at two relays, of which the second is away. Alice writes to the first.
async fn two_relays(seed: u64) -> (World, RelayAddress, Person, Person) {
    let world = World::seeded(seed);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays[..1]).await.expect("it works");
    let bob = world.person("bob", &relays).await.expect("it works");
    world.introduce(&alice, &bob).await.expect("it works");
    world.network.set_down(&relays[1], true);
    world.wait(MINUTE).await;
    (world, relays[1].clone(), alice, bob)
}

#[tokio::test(start_paused = true)]
async fn e6_a_letter_that_skips_more_than_20_others_waits_a_day_for_relays_that_are_not_drained() {
    let (world, _, alice, bob) = two_relays(740).await;
    lost(&world, &alice, 0..21).await;
    said(&alice, 21..22).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!((heard(&bob).await, waiting(&bob)), (vec![], 1));
    world.wait(22 * HOUR).await;
    assert_eq!(heard(&bob).await, [] as [u32; 0]);
    world.wait(3 * HOUR).await;
    assert_eq!(came(&bob).await.first(), Some(&21));
    world.wait(48 * HOUR).await;
    assert_eq!(heard(&bob).await.into_iter().collect::<BTreeSet<_>>(), (0..22).collect(), "and the rest is asked for");
}

#[tokio::test(start_paused = true)]
async fn e6_a_letter_that_skips_20_others_is_opened_at_once() {
    let (world, _, alice, bob) = two_relays(741).await;
    // The answer to bob's first letter was under the same chain.
    lost(&world, &alice, 0..20).await;
    said(&alice, 20..21).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!((heard(&bob).await, waiting(&bob)), (vec![20], 0));
}

#[tokio::test(start_paused = true)]
async fn e6_what_waits_behind_a_gap_is_opened_once_the_gap_is_narrow() {
    let (world, _, alice, bob) = two_relays(742).await;
    let late = lost(&world, &alice, 0..60).await;
    said(&alice, 60..63).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!((heard(&bob).await, waiting(&bob)), (vec![], 3));
    for letter in &late {
        assert!(world.network.put(letter).await);
    }
    assert_eq!(came(&bob).await[38..44], [38, 39, 60, 61, 62, 40], "with 20 before them");
    assert_eq!(heard(&bob).await, (0..63).collect::<Vec<_>>(), "not one key was forgotten, and all stand in order");
    assert_eq!((waiting(&bob), bob.refused("olm_key_gone")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn e6_what_waits_behind_a_gap_is_opened_once_all_relays_are_drained() {
    let (world, second, alice, bob) = two_relays(743).await;
    lost(&world, &alice, 0..30).await;
    said(&alice, 30..33).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(waiting(&bob), 3);
    world.network.set_down(&second, false);
    bob.catch_up().await.unwrap();
    assert_eq!((heard(&bob).await, waiting(&bob)), (vec![30, 31, 32], 0));
}

#[tokio::test(start_paused = true)]
async fn e6_where_all_relays_are_drained_already_nothing_waits() {
    let (world, _, alice, bob) = World::contacts(744).await;
    lost(&world, &alice, 0..30).await;
    said(&alice, 30..31).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!((heard(&bob).await, waiting(&bob)), (vec![30], 0));
}

#[tokio::test(start_paused = true)]
async fn e6_sixty_four_letters_wait_behind_a_gap_and_with_one_more_they_are_opened() {
    let (world, _, alice, bob) = two_relays(745).await;
    lost(&world, &alice, 0..30).await;
    said(&alice, 30..94).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!((heard(&bob).await.len(), waiting(&bob)), (0, 64));
    said(&alice, 94..95).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!((heard(&bob).await, waiting(&bob)), ((30..95).collect::<Vec<_>>(), 0));
}

/// Alice says `count` things while bob is away, of which her relay loses these.
async fn backlog(seed: u64, count: u32, losses: &[std::ops::Range<u32>]) -> (World, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    bob.messenger.shut_down();
    let mut next = 0;
    for loss in losses {
        said(&alice, next..loss.start).await;
        lost(&world, &alice, loss.clone()).await;
        next = loss.end;
    }
    said(&alice, next..count).await;
    let bob = world.reopen(bob).await.expect("it works");
    bob.catch_up().await.expect("it works");
    (world, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn e6_of_a_backlog_with_holes_what_exists_opens_and_what_is_missing_comes() {
    let losses = [0..100, 400..420, 600..700, 710..711, 2_000..2_200, 4_000..4_021];
    let (world, alice, bob) = backlog(746, 5_000, &losses).await;
    let came = heard(&bob).await;
    let exists: Vec<_> = (0..5_000).filter(|text| !losses.iter().any(|loss| loss.contains(text))).collect();
    assert_eq!(came, exists, "in order");
    assert_eq!(bob.database().number("SELECT count(*) FROM received_counter"), 6, "a range behind each hole");
    world.wait(10 * MINUTE).await;
    assert!(heard(&bob).await == (0..5_000).collect::<Vec<_>>(), "each once, in order");
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.database().number("SELECT count(*) FROM received_counter"), 0);
}

#[tokio::test(start_paused = true)]
async fn e6_behind_a_hole_wider_than_a_session_follows_everything_comes_on_another_session() {
    let (world, _alice, bob) = backlog(747, 2_400, std::slice::from_ref(&(100..2_250))).await;
    let came = heard(&bob).await;
    assert_eq!(came[..100], (0..100).collect::<Vec<_>>());
    assert!(bob.refused("olm_too_far_ahead") > 64, "{:?}", bob.refusals());
    world.wait(HOUR / 2).await;
    assert!(heard(&bob).await == (0..2_400).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(bob.database().number("SELECT count(*) FROM unopened"), 0);
}
