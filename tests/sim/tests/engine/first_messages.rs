//! Sessions that begin and are not answered: which one is sent on, which are kept, and when a first message is made anew
//! (PROTOCOL E1, E2).

use std::time::Duration;

use sotto_protocol::Message as _;
use sotto_protocol::relay::{PrekeyClaim, Send, SendOutcome, SendResult, SendResults};
use sotto_protocol::request::path;
use sotto_sim::{Fate, Person, Traffic, World};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn sending(person: &Person) -> Vec<String> {
    person.database().texts("SELECT hex(session) FROM session WHERE sending = 1")
}

/// The next letter begins a session.
fn forget_session(person: &Person) {
    person.database().change("UPDATE session SET sending = 0");
}

fn lose_sends(world: &World) {
    world.network.meddle(Some(Box::new(|call| if call.path == path::SEND { Fate::Lost } else { Fate::Passes })));
}

/// Relays say that they have taken everything, and keep nothing.
fn swallow_sends(world: &World) {
    world.network.meddle(Some(Box::new(|call| {
        if call.path != path::SEND {
            return Fate::Passes;
        }
        let items = Send::decode(call.body.clone()).unwrap_or_default().items.len();
        let accepted = SendResult { outcome: SendOutcome::Accepted.into(), ..SendResult::default() };
        Fate::Answered(SendResults { results: vec![accepted; items] }.encode_to_vec().into())
    })));
}

/// One-time keys asked for.
fn claims(world: &World) -> usize {
    let asks = |call: &&Traffic| {
        call.path == path::PREKEY_CLAIM && PrekeyClaim::decode(call.body.clone()).is_ok_and(|claim| !claim.bundle_only)
    };
    world.network.traffic().iter().filter(asks).count()
}

#[tokio::test(start_paused = true)]
async fn e1_of_two_sessions_that_began_at_once_the_lower_id_is_sent_on() {
    let (world, _, alice, bob) = World::contacts(120).await;
    for round in 0..6 {
        let mut begun = Vec::new();
        // Neither hears of the other's beginning.
        forget_session(&alice);
        forget_session(&bob);
        lose_sends(&world);
        for (person, to) in [(&alice, "bob"), (&bob, "alice")] {
            person.say(to, &format!("round {round}")).await.unwrap();
            let _ = person.messenger.catch_up(Duration::from_secs(2)).await;
            begun.extend(sending(person));
        }
        assert_eq!(begun.len(), 2, "both have begun");
        world.network.meddle(None);
        world.settle(&[&alice, &bob]).await.unwrap();
        world.settle(&[&alice, &bob]).await.unwrap();
        let lower = begun.iter().min().unwrap();
        assert_eq!((&sending(&alice)[0], &sending(&bob)[0]), (lower, lower));
    }
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 12);
    assert_eq!(bob.transcript("alice").await.unwrap().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn e1_at_most_four_sessions_are_kept_with_the_one_that_is_sent_on_among_them() {
    let (world, _, alice, bob) = World::contacts(121).await;
    for round in 0..24 {
        // As if alice had begun hers and bob had not heard of it: the lower id of the two stays.
        alice.database().change("UPDATE session SET inbound = 0, answered = 0 WHERE sending = 1");
        forget_session(&bob);
        bob.say("alice", &format!("{round}")).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        let kept = alice.database().number("SELECT count(*) FROM session");
        assert!(kept <= 4, "{kept} after round {round}");
        assert_eq!(sending(&alice).len(), 1);
    }
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 24);
}

#[tokio::test(start_paused = true)]
async fn e2_a_first_message_that_could_not_leave_for_7_days_is_made_anew_with_other_prekeys() {
    let (world, _, alice, bob) = World::contacts(122).await;
    world.wait(HOUR).await;
    forget_session(&bob);
    lose_sends(&world);
    bob.say("alice", "a week late").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(2)).await;
    let (session, claimed) = (sending(&bob), claims(&world));
    let [alice, bob] = world.switched_off([alice, bob], 6 * DAY).await.unwrap();
    assert_eq!((sending(&bob), claims(&world)), (session.clone(), claimed), "its keys may still be there");
    let [alice, bob] = world.switched_off([alice, bob], DAY + HOUR).await.unwrap();
    assert_ne!(sending(&bob), session);
    assert_eq!(claims(&world), claimed + 1);
    world.network.meddle(None);
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["a week late"]);
}

#[tokio::test(start_paused = true)]
async fn e2_a_first_message_that_nobody_answers_is_made_anew_a_day_after_all_relays_were_drained() {
    let world = World::seeded(123);
    let relays = [world.network.add_relay("one.example"), world.network.add_relay("two.example")];
    let alice = world.person("alice", &relays[..1]).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    forget_session(&bob);
    // Alice's answer may wait at bob's second relay, which is down.
    world.network.set_down(&relays[1], true);
    world.wait(HOUR).await;
    swallow_sends(&world);
    bob.say("alice", "swallowed").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
    world.network.meddle(None);
    let (session, claimed) = (sending(&bob), claims(&world));
    world.wait(30 * HOUR).await;
    assert_eq!((sending(&bob), claims(&world)), (session.clone(), claimed));
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 0);
    world.network.set_down(&relays[1], false);
    world.wait(2 * HOUR).await;
    assert_ne!(sending(&bob), session);
    assert_eq!(claims(&world), claimed + 1, "claimed again");
    assert_eq!(alice.transcript("bob").await.unwrap(), ["swallowed"]);
}

#[tokio::test(start_paused = true)]
async fn e2_a_missing_one_time_key_is_answered_by_a_fresh_session_once_an_hour_at_most() {
    let (world, _, alice, bob) = World::contacts(124).await;
    // A claim id always gets the same key: the second session of one, by a device that does not know that it has begun one, has used it up.
    let begin_with_the_same_key = |bob: &Person| {
        forget_session(bob);
        bob.database().change("UPDATE peer_inbox SET spent_claim = NULL, claim = x'11111111111111111111111111111111'");
    };
    let begun_at = || alice.database().number("SELECT fresh_session_at FROM peer_device");
    begin_with_the_same_key(&bob);
    bob.say("alice", "0").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["0"]);
    let mut last = begun_at();
    for (round, wait) in [(1, Duration::ZERO), (2, HOUR / 2), (3, HOUR / 4), (4, HOUR / 2)] {
        world.wait(wait).await;
        begin_with_the_same_key(&bob);
        bob.say("alice", &format!("{round}")).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        assert!(alice.refused("one_time_key_gone") >= round, "what is asked for comes with that key as well");
        assert_eq!(begun_at() != last, round == 1 || round == 4, "round {round}");
        last = begun_at();
    }
    // And all of it heals without anybody's help.
    let [alice, bob] = world.switched_off([alice, bob], DAY + HOUR).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let mut said = alice.transcript("bob").await.unwrap();
    said.sort();
    assert_eq!(said, ["0", "1", "2", "3", "4"]);
}

#[tokio::test(start_paused = true)]
async fn e2_a_missing_one_time_key_of_somebody_who_is_no_contact_is_not_answered() {
    let (world, _, alice, bob) = World::contacts(125).await;
    let again = |person: &Person| {
        forget_session(person);
        person
            .database()
            .change("UPDATE peer_inbox SET spent_claim = NULL, claim = x'11111111111111111111111111111111'");
    };
    again(&bob);
    bob.say("alice", "0").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    // Listed no more.
    alice.messenger.shut_down();
    again(&bob);
    bob.say("alice", "1").await.unwrap();
    bob.catch_up().await.unwrap();
    alice.database().change("UPDATE contact SET state = 2");
    let before = world.network.envelopes_to(&bob).len();
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(HOUR).await;
    assert_eq!(alice.refused("one_time_key_gone"), 1);
    assert_eq!(world.network.envelopes_to(&bob).len(), before);
    assert_eq!(alice.database().number("SELECT count(*) FROM outbox WHERE state = 0"), 0, "nor later");
}
