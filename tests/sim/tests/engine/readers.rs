//! Who reads the account's lists: contacts, and nobody who was blocked or removed.

use std::time::Duration;

use sotto_sim::{Person, World};

use crate::rebirth::rest;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The version of the newest list in the chain of `owner` that somebody reads.
fn reads(person: &Person, owner: &Person) -> i64 {
    let chain = sotto_sim::hex(&person.database().blobs("SELECT chain FROM contact WHERE id != 0")[0]);
    owner.database().number(&format!("SELECT version FROM own_chain WHERE chain = x'{chain}'"))
}

/// Chains of ours that contacts read, or have read and may read still.
fn chains(person: &Person) -> i64 {
    person.database().number("SELECT count(*) FROM own_chain WHERE audience IN (1, 4)")
}

#[tokio::test(start_paused = true)]
async fn b4_whoever_is_blocked_or_removed_reads_no_later_list_and_the_others_do() {
    for case in ["blocked", "removed"] {
        let (world, relay, alice, bob) = World::contacts(1910).await;
        let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
        world.introduce(&alice, &carol).await.unwrap();
        rest(&world, &[&alice, &bob, &carol]).await;
        let bobs = alice.contact("bob").await.unwrap().id;
        match case {
            "blocked" => alice.messenger.block(bobs).await.unwrap(),
            _ => alice.messenger.remove(bobs).await.unwrap(),
        }
        rest(&world, &[&alice, &carol]).await;
        let last = reads(&bob, &alice);
        // Lists are signed anew each week.
        world.wait(8 * DAY).await;
        rest(&world, &[&alice, &bob, &carol]).await;
        assert_eq!(reads(&bob, &alice), last, "{case}");
        assert!(reads(&carol, &alice) > last, "{case}");
        alice.say("carol", "still here?").await.unwrap();
        rest(&world, &[&alice, &carol]).await;
        carol.say("alice", "yes").await.unwrap();
        rest(&world, &[&carol, &alice]).await;
        assert_eq!(alice.transcript("carol").await.unwrap(), ["still here?", "yes"], "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn b4_whoever_is_blocked_no_more_reads_on() {
    let (world, _, alice, bob) = World::contacts(1911).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    alice.messenger.block(bobs).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    world.wait(8 * DAY).await;
    rest(&world, &[&alice, &bob]).await;
    let last = reads(&bob, &alice);
    alice.messenger.unblock(bobs).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    alice.say("bob", "welcome back").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    world.wait(DAY).await;
    rest(&world, &[&alice, &bob]).await;
    assert!(reads(&bob, &alice) > last);
    bob.say("alice", "good to hear").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    assert_eq!(alice.transcript("bob").await.unwrap(), ["welcome back", "good to hear"]);
}

#[tokio::test(start_paused = true)]
async fn b4_those_who_stay_are_led_on_once_an_hour_however_many_are_blocked() {
    let (world, relay, alice, bob) = World::contacts(1912).await;
    let mut others = Vec::new();
    for name in ["carol", "dave", "erin"] {
        let other = world.person(name, std::slice::from_ref(&relay)).await.unwrap();
        world.introduce(&alice, &other).await.unwrap();
        others.push(other);
    }
    rest(&world, &[&alice, &bob, &others[0], &others[1], &others[2]]).await;
    for name in ["carol", "dave", "erin"] {
        let id = alice.contact(name).await.unwrap().id;
        alice.messenger.block(id).await.unwrap();
        rest(&world, &[&alice]).await;
    }
    assert_eq!(chains(&alice), 2, "at once, for the first");
    world.wait(HOUR + Duration::from_secs(60)).await;
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(chains(&alice), 3, "and for all others together");
    world.wait(DAY).await;
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(chains(&alice), 3);
    bob.say("alice", "quiet here").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    assert_eq!(alice.transcript("bob").await.unwrap(), ["quiet here"]);
}
