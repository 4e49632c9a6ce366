//! What a background task manages before its deadline: however short that is, nothing is lost, and the summary is true.

use std::time::Duration;

use sotto_core::Error;
use sotto_core::records::{CatchUp, Message, MessageState};
use sotto_protocol::RelayAddress;
use sotto_sim::{Person, Weather, World};

/// The device on the slow link.
const OUTSIDE: usize = 1;
/// So many texts each way.
const TEXTS: usize = 40;
const SLOW: Weather = Weather { latency_ms_min: 15, latency_ms_max: 40, losses: 0, repeats: 0, is_cut: false };
/// A walk that is longer than this does not end.
const TURNS_MAX: u32 = 60;

/// What becomes of an engine when its deadline is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// The app is killed.
    Killed,
    /// It pauses, as it should.
    Paused,
    /// The call is dropped in the middle, and the app pauses.
    Dropped,
    /// The app pauses while the call is under way.
    PausedBefore,
}

#[tokio::test(start_paused = true)]
async fn whatever_the_deadline_and_whatever_comes_behind_it_everything_arrives_once_and_summaries_are_true() {
    for (seed, then) in [Then::Killed, Then::Paused, Then::Dropped, Then::PausedBefore].into_iter().enumerate() {
        let world = World::seeded(2_700 + seed as u64);
        let (relay, mut alice, bob) = full_of_texts(&world).await;
        world.network.set_weather(OUTSIDE, &relay, SLOW);
        let mut partial = 0;
        for turn in 0..TURNS_MAX {
            // Each length three times: what one leaves behind is what the next begins with.
            let deadline = Duration::from_millis(1 << (turn / 3));
            alice.messenger.resume().await.unwrap();
            let before = received(&alice).await;
            let caught_up = catch_up(&world, &alice, then, deadline).await;
            if let Ok(summary) = &caught_up {
                is_true(&alice, &bob, summary, before).await;
                partial += u32::from(!summary.is_complete && summary.received + summary.sent > 0);
            }
            if then == Then::Killed {
                alice = world.reopen(alice).await.unwrap();
            } else {
                alice.messenger.pause().await;
            }
            if caught_up.is_ok_and(|summary| summary.is_complete) {
                assert!(deadline > Duration::from_millis(SLOW.latency_ms_min), "{then:?}");
                break;
            }
        }
        assert!(partial > 0 || [Then::Dropped, Then::PausedBefore].contains(&then), "{then:?} saw no half of it");
        alice.messenger.resume().await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        for (person, with) in [(&alice, "bob"), (&bob, "alice")] {
            let mut transcript = person.transcript(with).await.unwrap();
            for name in ["alice", "bob"] {
                let of_one: Vec<_> = transcript.extract_if(.., |text| text.starts_with(name)).collect();
                assert_eq!(of_one, texts(name), "{then:?}");
            }
            assert_eq!(transcript, Vec::<String>::new(), "{then:?}");
        }
    }
}

fn texts(of: &str) -> Vec<String> {
    (0..TEXTS).map(|number| format!("{of} {number}")).collect()
}

/// Alice pauses; what she has said is queued, and what bob has said waits.
async fn full_of_texts(world: &World) -> (RelayAddress, Person, Person) {
    let relay = world.network.add_relay("relay.example");
    let relays = std::slice::from_ref(&relay);
    let alice = world.person_outside("alice", relays, OUTSIDE).await.expect("alice begins");
    let bob = world.person("bob", relays).await.expect("bob begins");
    world.introduce(&alice, &bob).await.expect("they meet");
    world.network.set_down(&relay, true);
    for text in texts("alice") {
        alice.say("bob", &text).await.expect("she says it");
    }
    alice.messenger.pause().await;
    world.network.set_down(&relay, false);
    for text in texts("bob") {
        bob.say("alice", &text).await.expect("he says it");
    }
    bob.catch_up().await.expect("it leaves");
    (relay, alice, bob)
}

async fn received(person: &Person) -> u64 {
    let all = person.messenger.received_after(0, u32::MAX).await.expect("it reads");
    all.len() as u64
}

async fn catch_up(world: &World, person: &Person, then: Then, deadline: Duration) -> Result<CatchUp, Error> {
    match then {
        Then::Killed | Then::Paused => person.messenger.catch_up(deadline).await,
        Then::Dropped => {
            let dropped = tokio::time::timeout(deadline, person.messenger.catch_up(Duration::from_secs(3600))).await;
            dropped.unwrap_or(Err(Error::ShutDown))
        }
        Then::PausedBefore => {
            let pausing = async {
                world.wait(deadline).await;
                person.messenger.pause().await;
            };
            let (caught_up, ()) = tokio::join!(person.messenger.catch_up(Duration::from_secs(3600)), pausing);
            assert!(caught_up.as_ref().map_or_else(|error| *error == Error::Paused, |summary| summary.is_complete));
            if caught_up.is_ok() {
                // Looked at below.
                person.messenger.resume().await?;
            }
            caught_up
        }
    }
}

/// What it says is so, at the moment at which it says it.
async fn is_true(alice: &Person, bob: &Person, summary: &CatchUp, before: u64) {
    let now = received(alice).await;
    assert!(summary.received == now - before, "{} came: {summary:?}", now - before);
    let to = bob.messenger.account().await.expect("it reads").id;
    let said = alice.messenger.messages(to, None, u32::MAX).await.expect("it reads");
    let is_to_leave = |message: &&Message| matches!(message.state, MessageState::Queued | MessageState::Sending);
    let to_leave = said.iter().filter(is_to_leave).count() as u64;
    assert!(to_leave <= summary.waiting && summary.waiting <= to_leave + 1, "{to_leave} wait: {summary:?}");
    if summary.is_complete {
        assert_eq!((now, to_leave), (TEXTS as u64, 0), "{summary:?}");
    }
}
