//! The relay of an account's own list is away, perhaps for good, while the account has several devices: they and their contacts go on
//! by their other relay, and have one list again when it is back.

use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_core::records::ContactState;
use sotto_protocol::RelayAddress;
use sotto_protocol::request::path;
use sotto_sim::{Fate, Person, World};

use super::removal::rest;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice with two devices at two relays, the first of which is her home, and bob at a third. The home is down.
async fn without_home(seed: u64) -> (World, RelayAddress, [Person; 3]) {
    let world = World::seeded(seed);
    let [home, other, bobs] =
        ["home.example", "other.example", "bobs.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &[home.clone(), other]).await.expect("she begins");
    let bob = world.person("bob", &[bobs]).await.expect("he begins");
    world.introduce(&alice, &bob).await.expect("they meet");
    let tablet = world.second_device(&alice).await.expect("it begins");
    rest(&world, &[&tablet, &alice, &bob]).await;
    world.wait(2 * DAY).await;
    bob.say("alice", "for which he reads her list").await.expect("they speak");
    rest(&world, &[&bob, &alice, &tablet]).await;
    world.network.set_down(&home, true);
    (world, home, [alice, tablet, bob])
}

/// Each says something, and all others hear it.
async fn all_hear_all(world: &World, [alice, tablet, bob]: [&Person; 3], when: &str) {
    let texts = ["the phone", "the tablet", "bob"].map(|who| format!("{who}, {when}"));
    for ((device, with), text) in [(alice, "bob"), (tablet, "bob"), (bob, "alice")].into_iter().zip(&texts) {
        device.say(with, text).await.expect("they speak");
    }
    for _ in 0..4 {
        for device in [alice, tablet, bob] {
            let _ = device.messenger.catch_up(Duration::from_secs(60)).await;
        }
        world.wait(Duration::from_secs(600)).await;
    }
    for (device, with) in [(alice, "bob"), (tablet, "bob"), (bob, "alice")] {
        let heard = device.transcript(with).await.expect("it reads");
        for text in &texts {
            assert_eq!(heard.iter().filter(|known| *known == text).count(), 1, "{text}: {heard:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn b2_devices_and_contacts_of_an_account_whose_home_is_dead_hear_each_other_by_another_relay() {
    let (world, _, [alice, tablet, bob]) = without_home(1490).await;
    all_hear_all(&world, [&alice, &tablet, &bob], "at once").await;
    world.wait(2 * DAY).await;
    all_hear_all(&world, [&alice, &tablet, &bob], "two days later").await;
    for person in [&alice, &tablet, &bob] {
        person.messenger.shut_down();
    }
    // Nearly as long as their list is fresh, which nobody can sign again without the home.
    world.wait(30 * DAY).await;
    let (alice, tablet) = (world.reopen(alice).await.unwrap(), world.reopen(tablet).await.unwrap());
    let bob = world.reopen(bob).await.unwrap();
    all_hear_all(&world, [&alice, &tablet, &bob], "weeks later").await;
}

#[tokio::test(start_paused = true)]
async fn b2_devices_whose_home_was_away_for_weeks_have_one_list_when_it_is_back() {
    let (world, home, [alice, tablet, bob]) = without_home(1491).await;
    let [one, two] = ["one.example", "two.example"].map(|name| world.network.add_relay(name));
    // What each has to say of itself waits for the home, which alone decides what the list is.
    alice.messenger.add_relay(one.clone(), String::new()).await.unwrap();
    tablet.messenger.add_relay(two.clone(), String::new()).await.unwrap();
    let refused = alice.messenger.remove_relay(home.clone()).await.unwrap_err();
    assert_eq!(refused.code(), "wrong_state", "the tablet would not learn where the list is");
    all_hear_all(&world, [&alice, &tablet, &bob], "without it").await;
    for person in [&alice, &tablet, &bob] {
        person.messenger.shut_down();
    }
    world.wait(12 * DAY).await;
    let (alice, tablet) = (world.reopen(alice).await.unwrap(), world.reopen(tablet).await.unwrap());
    let bob = world.reopen(bob).await.unwrap();
    all_hear_all(&world, [&alice, &tablet, &bob], "twelve days later").await;
    world.network.set_down(&home, false);
    world.wait(DAY).await;
    rest(&world, &[&alice, &tablet, &bob]).await;
    world.wait(DAY + DAY / 12).await;
    all_hear_all(&world, [&alice, &tablet, &bob], "with it again").await;
    let head = |device: &Person| device.database().blobs("SELECT hash FROM contact WHERE id = 0");
    assert_eq!(head(&alice), head(&tablet), "one list");
    for relay in [one, two] {
        let listed = format!("SELECT count(*) FROM peer_inbox WHERE listed = 1 AND relay = '{relay}'");
        assert_eq!(bob.database().number(&listed), 1, "{relay}");
    }
    for device in [&alice, &tablet] {
        assert_eq!(device.catch_up().await.unwrap().unreachable, []);
        assert_eq!(device.database().number("SELECT count(*) FROM relay_task"), 0);
    }
    assert_eq!(bob.database().number("SELECT trust FROM contact"), 0);
}

/// What bob has done with alice's request by the time that she leaves her only relay, which is gone for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Request {
    /// It has not come to his relay.
    OnItsWay,
    /// It waits at his relay.
    NotRead,
    /// He knows of it, and has not answered.
    Read,
    /// He has answered, to where nobody reads any more.
    Answered,
}

#[tokio::test(start_paused = true)]
async fn c1_a_request_whose_sender_leaves_her_only_relay_unanswered_is_answered_where_she_reads_then() {
    for (seed, request) in
        [(2741, Request::OnItsWay), (2742, Request::NotRead), (2743, Request::Read), (2744, Request::Answered)]
    {
        let world = World::seeded(seed);
        let [one, two, his] = ["one.example", "two.example", "his.example"].map(|name| world.network.add_relay(name));
        let alice = world.person("alice", std::slice::from_ref(&one)).await.unwrap();
        let bob = world.person("bob", std::slice::from_ref(&his)).await.unwrap();
        let options = InviteOptions { auto_accept: request == Request::Answered, ..InviteOptions::default() };
        let invite = bob.messenger.invite(options).await.unwrap();
        bob.catch_up().await.unwrap();
        bob.messenger.shut_down();
        if request == Request::OnItsWay {
            world
                .network
                .meddle(Some(Box::new(|call| if call.path == path::SEND { Fate::Lost } else { Fate::Passes })));
        }
        alice.messenger.join(&invite.link).await.unwrap();
        let _ = alice.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
        world.network.set_down(&one, true);
        let mut bob = world.reopen(bob).await.unwrap();
        if matches!(request, Request::Read | Request::Answered) {
            let _ = bob.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
            assert!(bob.contact("alice").await.is_ok(), "he knows of it");
        }
        bob.messenger.shut_down();
        alice.messenger.add_relay(two.clone(), String::new()).await.unwrap();
        alice.messenger.remove_relay(one.clone()).await.unwrap();
        world.network.meddle(None);
        alice.catch_up().await.unwrap();
        bob = world.reopen(bob).await.unwrap();
        let _ = bob.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
        if request != Request::Answered {
            let id = bob.contact("alice").await.unwrap().id;
            bob.messenger.accept(id).await.unwrap();
        }
        world.settle(&[&bob, &alice, &bob, &alice]).await.unwrap();
        assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Accepted, "{request:?}");
        bob.say("alice", "there you are").await.unwrap();
        alice.say("bob", "here I am").await.unwrap();
        world.settle(&[&bob, &alice, &bob]).await.unwrap();
        assert_eq!(alice.transcript("bob").await.unwrap().len(), 2, "{request:?}: {:?}", alice.refusals());
        assert_eq!(bob.transcript("alice").await.unwrap().len(), 2, "{request:?}: {:?}", bob.refusals());
    }
}

#[tokio::test(start_paused = true)]
async fn c1_a_request_that_leaves_late_is_answered_where_its_own_list_says() {
    let world = World::seeded(2745);
    let [hers, his] = ["hers.example", "his.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", std::slice::from_ref(&hers)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&his)).await.unwrap();
    let invite = bob.messenger.invite(InviteOptions { auto_accept: true, ..InviteOptions::default() }).await.unwrap();
    bob.catch_up().await.unwrap();
    // It waits for the tokens under which it is to be answered.
    let busy = hers.name().clone();
    world.network.meddle(Some(Box::new(move |call| {
        if call.path == path::TOKEN_PUT && call.relay == busy { Fate::Lost } else { Fate::Passes }
    })));
    alice.messenger.join(&invite.link).await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
    // She reads at his relay too from now on, which the list in her request does not say.
    alice.messenger.add_relay(his.clone(), String::new()).await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
    world.network.meddle(None);
    world.settle(&[&alice, &bob, &alice]).await.unwrap();
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Accepted, "{:?}", bob.refusals());
}

/// Alice, at her home and elsewhere, has asked bob, whose device is off.
async fn has_asked(seed: u64, others: &[&str]) -> (World, RelayAddress, Person, Person) {
    let world = World::seeded(seed);
    let home = world.network.add_relay("home.example");
    let mut hers = vec![home.clone()];
    hers.extend(others.iter().map(|name| world.network.add_relay(name)));
    let alice = world.person("alice", &hers).await.expect("she begins");
    let bob = world.person("bob", &[world.network.add_relay("his.example")]).await.expect("he begins");
    let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
    let invite = bob.messenger.invite(options).await.expect("an invite is made");
    world.settle(&[&bob, &alice]).await.expect("all stands");
    bob.messenger.shut_down();
    alice.messenger.join(&invite.link).await.expect("she asks");
    alice.catch_up().await.expect("it leaves");
    let bob = world.reopen(bob).await.expect("he is back");
    (world, home, alice, bob)
}

async fn they_talk(world: &World, alice: &Person, bob: &Person) {
    for say in [false, true] {
        if say {
            bob.say("alice", "there you are").await.expect("they are contacts");
            alice.say("bob", "here I am").await.expect("they are contacts");
        }
        for _ in 0..3 {
            for person in [alice, bob] {
                let _ = person.messenger.catch_up(Duration::from_secs(60)).await.expect("it works");
            }
            world.wait(Duration::from_secs(60)).await;
        }
    }
    assert_eq!(alice.transcript("bob").await.expect("known").len(), 2, "{:?}", alice.refusals());
    assert_eq!(bob.transcript("alice").await.expect("known").len(), 2, "{:?}", bob.refusals());
}

#[tokio::test(start_paused = true)]
async fn c1_an_answer_that_comes_before_the_request_leaves_from_elsewhere_is_followed_by_word_of_the_lists() {
    let (world, home, alice, bob) = has_asked(2746, &["other.example"]).await;
    alice.messenger.shut_down();
    world.network.set_down(&home, true);
    let _ = bob.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
    world.network.meddle(Some(Box::new(|call| if call.path == path::SEND { Fate::Lost } else { Fate::Passes })));
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.remove_relay(home).await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Accepted, "his answer has come");
    world.network.meddle(None);
    they_talk(&world, &alice, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn c1_the_answer_to_a_request_that_left_from_elsewhere_counts_whatever_came_of_the_one_before() {
    let (world, home, alice, bob) = has_asked(2747, &["other.example"]).await;
    alice.messenger.shut_down();
    let _ = bob.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
    bob.messenger.shut_down();
    world.network.set_down(&home, true);
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.remove_relay(home.clone()).await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Asked, "his answer is where she reads no more");
    world.network.set_down(&home, false);
    alice.catch_up().await.unwrap();
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Accepted, "and now she has it");
    let bob = world.reopen(bob).await.unwrap();
    they_talk(&world, &alice, &bob).await;
}

#[tokio::test(start_paused = true)]
async fn b6_no_list_waits_for_the_tokens_of_a_request_that_leaves_once_more() {
    let (world, home, alice, bob) = has_asked(2748, &["other.example", "third.example"]).await;
    bob.messenger.shut_down();
    let relays = alice.messenger.account().await.unwrap().relays;
    for relay in [&relays[0], &relays[2]] {
        world.network.set_down(relay, true);
    }
    alice.messenger.remove_relay(home.clone()).await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
    let lists = format!("SELECT count(*) FROM relay_task WHERE kind = 4 AND relay != '{home}'");
    assert_eq!(alice.database().number(&lists), 0, "the list of the next epoch stands");
}

#[tokio::test(start_paused = true)]
async fn c1_nobody_who_was_asked_and_is_blocked_gets_a_way_to_answer_elsewhere() {
    let (world, home, alice, bob) = has_asked(2749, &["other.example"]).await;
    bob.messenger.shut_down();
    world.network.set_down(&home, true);
    alice.messenger.block(alice.contact("bob").await.unwrap().id).await.unwrap();
    let ways = || alice.database().number("SELECT count(*) FROM alias WHERE purpose = 2");
    let before = ways();
    alice.messenger.remove_relay(home).await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
    assert_eq!(ways(), before);
}

#[tokio::test(start_paused = true)]
async fn c1_an_invite_is_read_elsewhere_once_its_owner_has_left_a_home_that_is_gone() {
    let world = World::seeded(2750);
    let [home, other, his] = ["home.example", "other.example", "his.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &[home.clone(), other]).await.unwrap();
    let bob = world.person("bob", &[his]).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.network.set_down(&home, true);
    for is_left in [false, true] {
        if is_left {
            alice.messenger.remove_relay(home.clone()).await.unwrap();
        }
        let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
        let invite = alice.messenger.invite(options).await.unwrap();
        let _ = alice.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
        let joined = bob.messenger.join(&invite.link).await;
        assert_eq!(
            joined.map(drop).map_err(|error| error.code()),
            if is_left { Ok(()) } else { Err("relay_unreachable") }
        );
    }
    they_talk(&world, &alice, &bob).await;
}
