//! Whoever begins a change and does not wait for it: what is committed leaves, is told and is heeded all the same (DESIGN 7, "Public API").

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use sotto_core::records::{AppState, LiveSettings, Presence, Profile};
use sotto_core::{Error, Event};
use sotto_sim::{Person, World};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use crate::meeting::link;
use crate::rebirth::rest;

/// Long enough for a letter, and no time for anything that comes back by the clock.
const SOON: Duration = Duration::from_secs(1);

/// Begins something, and drops it where it is committed and its answer was not taken.
fn begin_and_drop<T>(change: impl Future<Output = Result<T, Error>>) {
    let mut context = Context::from_waker(Waker::noop());
    // A task that has had its turn is told of nothing more before its next one.
    while pin!(tokio::task::consume_budget()).poll(&mut context).is_ready() {}
    assert!(pin!(change).poll(&mut context).is_pending(), "it was over at once");
}

fn heard(events: &mut Receiver<Event>) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

async fn newest(person: &Person, with: &str) -> i64 {
    let contact = person.contact(with).await.expect("they know each other").id;
    person.messenger.messages(contact, None, 1).await.expect("a page")[0].number
}

#[tokio::test(start_paused = true)]
async fn what_is_said_and_dropped_leaves_at_once_and_is_told() {
    let (world, _, alice, bob) = World::contacts(4100).await;
    rest(&world, &[&alice, &bob]).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    let mut events = alice.messenger.events();
    begin_and_drop(alice.messenger.send_text(bobs, "nobody waits"));
    assert_eq!(heard(&mut events), [Event::MessagesChanged]);
    world.wait(SOON).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["nobody waits"]);
    let number = newest(&alice, "bob").await;
    begin_and_drop(alice.messenger.edit(number, "said otherwise"));
    world.wait(SOON).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["said otherwise"]);
    let status = "away".to_owned();
    begin_and_drop(alice.messenger.set_profile(Profile { name: "alice".to_owned(), status }));
    world.wait(SOON).await;
    assert_eq!(bob.contact("alice").await.unwrap().status, "away");
}

#[tokio::test(start_paused = true)]
async fn whatever_is_changed_and_dropped_is_told() {
    let (world, relay, alice, bob) = World::contacts(4101).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    carol.messenger.join(&link(&alice, false).await).await.unwrap();
    bob.say("alice", "one").await.unwrap();
    rest(&world, &[&alice, &bob, &carol]).await;
    let (bobs, carols) = (alice.contact("bob").await.unwrap().id, alice.contact("carol").await.unwrap().id);
    let number = newest(&alice, "bob").await;
    let mut events = alice.messenger.events();
    let phone = &alice.messenger;
    let mut is_told = |event| {
        let heard = heard(&mut events);
        assert!(heard.contains(&event), "{event:?} is not among {heard:?}");
    };
    begin_and_drop(phone.mark_read(vec![number]));
    is_told(Event::MessagesChanged);
    begin_and_drop(phone.react(number, Some("x".to_owned())));
    is_told(Event::MessagesChanged);
    begin_and_drop(phone.pin_conversation(bobs, true));
    is_told(Event::MessagesChanged);
    for change in [phone.set_verified(bobs, true), phone.set_verified(bobs, false)] {
        begin_and_drop(change);
        is_told(Event::ContactsChanged);
    }
    begin_and_drop(phone.rename(bobs, Some("Robert".to_owned())));
    is_told(Event::ContactsChanged);
    begin_and_drop(phone.block(bobs));
    is_told(Event::ContactsChanged);
    begin_and_drop(phone.unblock(bobs));
    is_told(Event::ContactsChanged);
    begin_and_drop(phone.accept(carols));
    is_told(Event::ContactsChanged);
    begin_and_drop(phone.set_profile(Profile { name: "alice".to_owned(), status: "away".to_owned() }));
    is_told(Event::ContactsChanged);
    world.wait(SOON).await;
    assert_eq!(carol.contact("alice").await.unwrap().state, sotto_core::records::ContactState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn events_end_with_the_engine() {
    let (_, _, alice, _) = World::contacts(4103).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    let mut events = alice.messenger.events();
    alice.messenger.mute(bobs, None).await.unwrap();
    alice.messenger.shut_down();
    assert_eq!(events.recv().await, Ok(Event::MessagesChanged), "what was told before comes before");
    assert_eq!(events.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(alice.messenger.events().try_recv(), Err(TryRecvError::Closed));
}

#[tokio::test(start_paused = true)]
async fn what_is_switched_off_and_dropped_is_off() {
    let (world, _, alice, bob) = World::contacts(4102).await;
    for _ in 0..2 {
        for (person, to) in [(&alice, "bob"), (&bob, "alice")] {
            person.say(to, "words").await.unwrap();
            world.settle(&[&alice, &bob]).await.unwrap();
        }
    }
    for person in [&alice, &bob] {
        person.messenger.set_live_settings(LiveSettings { typing: true, presence: true }).await.unwrap();
    }
    for person in [&alice, &bob] {
        person.messenger.set_presence(AppState::Foreground);
    }
    world.wait(SOON * 60).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    assert_eq!(alice.messenger.live(bobs).await.unwrap().presence, Presence::Online);
    begin_and_drop(alice.messenger.set_live_settings(LiveSettings::default()));
    assert_eq!(alice.messenger.live(bobs).await.unwrap().presence, Presence::Unknown, "who does not tell does not see");
    world.wait(SOON).await;
    let alices = bob.contact("alice").await.unwrap().id;
    assert_eq!(
        bob.messenger.live(alices).await.unwrap().presence,
        Presence::Unknown,
        "and whoever was told sees it end"
    );
}
