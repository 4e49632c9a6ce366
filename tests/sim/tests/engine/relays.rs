//! Relays taken and left: who writes to an account finds it, wherever it was when they last heard of it.

use std::time::Duration;

use sotto_core::{Error, Event, InputError, danger};
use sotto_protocol::RelayAddress;
use sotto_protocol::request::path;
use sotto_sim::{Fate, Person, World};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn add(world: &World, names: &[&str]) -> Vec<RelayAddress> {
    names.iter().map(|name| world.network.add_relay(name)).collect()
}

/// Alice at the first relay, bob at the last, contacts.
async fn apart(seed: u64, names: &[&str]) -> (World, Vec<RelayAddress>, Person, Person) {
    let world = World::seeded(seed);
    let relays = add(&world, names);
    let alice = world.person("alice", &relays[..1]).await.expect("alice begins");
    let bob = world.person("bob", &relays[relays.len() - 1..]).await.expect("bob begins");
    world.introduce(&alice, &bob).await.expect("they meet");
    (world, relays, alice, bob)
}

async fn listed(person: &Person) -> Vec<String> {
    let relays = person.messenger.relays().await.expect("the relays are read");
    relays.into_iter().filter(|relay| !relay.is_left).map(|relay| relay.address.to_string()).collect()
}

fn calls(world: &World, relay: &RelayAddress, path: &str) -> usize {
    world.network.traffic().iter().filter(|call| call.relay == *relay.name() && call.path == path).count()
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_added_serves_contacts_when_the_first_is_away() {
    let (world, relays, alice, bob) = apart(720, &["one.example", "two.example", "his.example"]).await;
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    assert!(alice.catch_up().await.unwrap().is_published);
    assert_eq!(listed(&alice).await, ["https://one.example", "https://two.example"]);
    // Her next letter tells of the new list.
    alice.say("bob", "I read at two relays now").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.wait(Duration::from_secs(60)).await;
    world.network.set_down(&relays[0], true);
    bob.say("alice", "hello").await.unwrap();
    bob.catch_up().await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), "hello");
    let alice = world.reopen(alice).await.unwrap();
    bob.say("alice", "hello again").await.unwrap();
    bob.catch_up().await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), "hello again");
}

#[tokio::test(start_paused = true)]
async fn b6_a_new_inbox_is_on_the_list_once_its_tokens_and_prekeys_stand() {
    for (seed, refused) in [(721, path::PREKEY_PUT), (745, path::TOKEN_PUT)] {
        let (world, relays, alice, _) = apart(seed, &["one.example", "two.example", "his.example"]).await;
        let (two, before) = (relays[1].name().clone(), calls(&world, &relays[0], path::CHAIN_APPEND));
        let full = sotto_protocol::Bytes::from_static(br#"{"status":507,"code":"full"}"#);
        world.network.meddle(Some(Box::new(move |call| {
            let fails = call.path == refused && call.relay == two;
            if fails { Fate::Fails(507, full.clone()) } else { Fate::Passes }
        })));
        alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
        assert!(!alice.catch_up().await.unwrap().is_published, "{refused}");
        assert_eq!(calls(&world, &relays[0], path::CHAIN_APPEND), before, "{refused}");
        world.network.meddle(None);
        assert!(alice.catch_up().await.unwrap().is_published, "{refused}");
        assert!(calls(&world, &relays[0], path::CHAIN_APPEND) > before, "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn invites_that_were_made_before_lead_to_the_new_relay_too() {
    let (world, relays, alice, _) = apart(722, &["one.example", "two.example", "his.example"]).await;
    let options = sotto_core::InviteOptions { auto_accept: true, ..Default::default() };
    let invite = alice.messenger.invite(options).await.unwrap();
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    alice.catch_up().await.unwrap();
    let carol = world.person("carol", &relays[2..]).await.unwrap();
    carol.messenger.join(&invite.link).await.unwrap();
    world.network.set_down(&relays[0], true);
    for _ in 0..3 {
        let _ = carol.catch_up().await;
        let _ = alice.catch_up().await;
    }
    assert_eq!(alice.contact("carol").await.unwrap().name, "carol");
}

#[tokio::test(start_paused = true)]
async fn an_account_moves_to_another_relay_while_its_contact_is_away_for_a_week() {
    let (world, relays, alice, bob) = apart(723, &["one.example", "two.example", "his.example"]).await;
    bob.messenger.shut_down();
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    alice.catch_up().await.unwrap();
    alice.messenger.remove_relay(relays[0].clone()).await.unwrap();
    assert!(alice.catch_up().await.unwrap().is_published);
    assert_eq!(listed(&alice).await, ["https://two.example"]);
    world.wait(7 * DAY).await;
    // For good.
    world.network.set_down(&relays[0], true);
    let bob = world.reopen(bob).await.unwrap();
    let _ = bob.catch_up().await;
    bob.say("alice", "where are you?").await.unwrap();
    for _ in 0..2 {
        let _ = bob.catch_up().await;
        alice.catch_up().await.unwrap();
    }
    assert_eq!(alice.transcript("bob").await.unwrap(), ["where are you?"]);
    alice.say("bob", "here").await.unwrap();
    alice.catch_up().await.unwrap();
    bob.catch_up().await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["where are you?", "here"]);
    assert_eq!(bob.contact("alice").await.unwrap().trust, sotto_core::records::Trust::Sound);
}

#[tokio::test(start_paused = true)]
async fn a_contacts_new_device_hears_where_lists_stand_though_it_comes_from_a_copy_of_before() {
    let (world, relays, alice, bob) = apart(742, &["one.example", "two.example", "his.example"]).await;
    danger::expect_siblings(&bob.messenger).await.unwrap();
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let copy = world.back_up(&bob);
    alice.messenger.remove_relay(relays[0].clone()).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    // For good.
    world.network.set_down(&relays[0], true);
    let tablet = world.open_beside(copy).await.unwrap();
    world.settle(&[&tablet, &bob]).await.unwrap();
    world.wait(2 * DAY).await;
    alice.say("bob", "for which she reads his list").await.unwrap();
    for _ in 0..3 {
        for person in [&alice, &bob, &tablet] {
            let _ = person.catch_up().await;
        }
    }
    tablet.say("alice", "from the tablet").await.unwrap();
    for person in [&tablet, &alice] {
        let _ = person.catch_up().await;
    }
    assert_eq!(alice.transcript("bob").await.unwrap(), ["for which she reads his list", "from the tablet"]);
}

#[tokio::test(start_paused = true)]
async fn both_move_while_neither_hears_of_the_other() {
    let (world, relays, alice, bob) =
        apart(724, &["hers.example", "her-next.example", "his-next.example", "his.example"]).await;
    for (person, from, to) in [(&alice, 0, 1), (&bob, 3, 2)] {
        person.messenger.add_relay(relays[to].clone(), String::new()).await.unwrap();
        person.messenger.remove_relay(relays[from].clone()).await.unwrap();
        person.catch_up().await.unwrap();
    }
    world.settle(&[&alice, &bob]).await.unwrap();
    world.network.set_down(&relays[0], true);
    world.network.set_down(&relays[3], true);
    alice.say("bob", "hello").await.unwrap();
    bob.say("alice", "hello to you").await.unwrap();
    for _ in 0..3 {
        let _ = alice.catch_up().await;
        let _ = bob.catch_up().await;
    }
    assert_eq!(alice.transcript("bob").await.unwrap().len(), 2);
    assert_eq!(bob.transcript("alice").await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn b2_the_home_relay_is_left_by_the_root_keys_word_when_it_is_gone_for_good() {
    let (world, relays, alice, bob) = apart(725, &["one.example", "two.example", "his.example"]).await;
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.network.set_down(&relays[0], true);
    alice.messenger.remove_relay(relays[0].clone()).await.unwrap();
    let caught_up = alice.catch_up().await.unwrap();
    assert!(caught_up.unreachable.is_empty(), "nobody waits for a relay that was left: {:?}", caught_up.unreachable);
    assert!(caught_up.is_published, "who looks for her finds her");
    let _ = bob.catch_up().await;
    bob.say("alice", "you have moved").await.unwrap();
    let _ = bob.catch_up().await;
    alice.catch_up().await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["you have moved"]);
    assert_eq!(alice.database().number("SELECT epoch FROM account"), 2);
    assert_eq!(bob.database().number("SELECT epoch FROM contact"), 2);
    // And a stranger finds her.
    let carol = world.person("carol", &relays[2..]).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    carol.say("alice", "hello").await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    assert_eq!(alice.transcript("carol").await.unwrap(), ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn e5_what_was_put_where_we_were_arrives() {
    let (world, relays, alice, bob) = apart(726, &["one.example", "two.example", "his.example"]).await;
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    alice.catch_up().await.unwrap();
    alice.messenger.remove_relay(relays[0].clone()).await.unwrap();
    // He has not heard of it.
    bob.say("alice", "to the old place").await.unwrap();
    bob.catch_up().await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["to the old place"]);
    assert!(alice.messenger.relays().await.unwrap().iter().any(|relay| relay.is_left));
}

#[tokio::test(start_paused = true)]
async fn e5_what_a_relay_has_taken_is_put_elsewhere_at_once_when_its_owner_leaves_it() {
    let (world, relays, alice, bob) = apart(742, &["one.example", "two.example", "his.example"]).await;
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.wait(DAY).await;
    bob.say("alice", "for which he reads her list").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    // Her home is where it was: what she leaves is the other one, which alone takes letters for now.
    alice.messenger.shut_down();
    world.network.set_down(&relays[0], true);
    for text in ["one", "two"] {
        bob.say("alice", text).await.unwrap();
    }
    let _ = bob.catch_up().await;
    world.network.set_down(&relays[0], false);
    world.network.set_down(&relays[1], true);
    let alice = world.reopen(alice).await.unwrap();
    alice.messenger.remove_relay(relays[1].clone()).await.unwrap();
    let _ = alice.catch_up().await;
    assert_eq!(alice.transcript("bob").await.unwrap(), ["for which he reads her list"]);
    // Far less than the hour after which a relay that does not answer is taken to be gone.
    world.wait(Duration::from_secs(60)).await;
    bob.database().change("UPDATE contact SET manifest_read_at = 0");
    bob.say("alice", "three").await.unwrap();
    let _ = bob.catch_up().await;
    let _ = alice.catch_up().await;
    let heard = alice.transcript("bob").await.unwrap();
    assert_eq!(heard, ["for which he reads her list", "one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_took_letters_and_is_gone_is_forgotten_when_nobody_lists_it() {
    let (world, relays, alice, bob) = apart(743, &["one.example", "two.example", "his.example"]).await;
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.network.set_down(&relays[0], true);
    bob.say("alice", "elsewhere").await.unwrap();
    let _ = bob.catch_up().await;
    let out = "SELECT count(*) FROM relay_out";
    assert_eq!(bob.database().number(out), 1);
    world.wait(DAY).await;
    assert_eq!(bob.database().number(out), 1, "she lists it");
    bob.database().change("INSERT INTO relay_out (relay, since) VALUES ('gone.example', 1)");
    world.wait(DAY).await;
    assert_eq!(bob.database().number(out), 1, "that one is nobody's");
}

#[tokio::test(start_paused = true)]
async fn nobody_reads_at_more_than_sixteen_relays() {
    let names: Vec<_> = (0..18).map(|number| format!("{number}.example")).collect();
    let (world, relays, alice, _) = apart(744, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for relay in &relays[1..16] {
        alice.messenger.add_relay(relay.clone(), String::new()).await.unwrap();
        alice.messenger.remove_relay(relay.clone()).await.unwrap();
    }
    let refused = alice.messenger.add_relay(relays[16].clone(), String::new()).await;
    assert!(matches!(refused, Err(Error::Input(InputError::OutOfRange { .. }))), "{refused:?}");
    assert_eq!(calls(&world, &relays[16], path::INBOX_CREATE), 0);
    alice.messenger.add_relay(relays[15].clone(), String::new()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_dies_before_it_is_on_the_list_holds_up_no_later_list_for_more_than_a_day() {
    let (world, relays, alice, bob) = apart(741, &["one.example", "two.example", "three.example", "his.example"]).await;
    let dying = relays[1].name().clone();
    world.network.meddle(Some(Box::new(move |call| match call.path {
        path::TOKEN_PUT | path::PREKEY_PUT if call.relay == dying => Fate::Lost,
        _ => Fate::Passes,
    })));
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    alice.messenger.add_relay(relays[2].clone(), String::new()).await.unwrap();
    world.wait(HOUR).await;
    let read_at = "SELECT count(*) FROM peer_inbox WHERE listed = 1";
    bob.say("alice", "for which he reads her list").await.unwrap();
    world.settle(&[&bob]).await.unwrap();
    assert_eq!(bob.database().number(read_at), 1, "it may be busy");
    world.wait(DAY + HOUR).await;
    assert_eq!(alice.messenger.account().await.unwrap().relays, [relays[0].clone(), relays[2].clone()]);
    world.wait(DAY).await;
    bob.say("alice", "and again").await.unwrap();
    world.settle(&[&bob]).await.unwrap();
    assert_eq!(bob.database().number(read_at), 2);
    world.network.meddle(None);
    world.wait(2 * DAY).await;
    assert_eq!(alice.messenger.account().await.unwrap().relays.len(), 3, "it is there, and on the list");
}

#[tokio::test(start_paused = true)]
async fn the_list_without_a_relay_that_died_stands_when_its_day_is_over_though_nothing_else_happens() {
    let (world, relays, alice, bob) = apart(742, &["one.example", "two.example", "his.example"]).await;
    bob.messenger.shut_down();
    world.wait(DAY).await;
    let dying = relays[1].name().clone();
    world.network.meddle(Some(Box::new(move |call| match call.path {
        path::TOKEN_PUT | path::PREKEY_PUT if call.relay == dying => Fate::Lost,
        _ => Fate::Passes,
    })));
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    let waits = || alice.database().number("SELECT count(*) FROM relay_task WHERE kind = 4");
    world.wait(DAY - HOUR).await;
    assert!(waits() > 0, "it may be busy");
    world.wait(HOUR + HOUR / 12).await;
    assert_eq!(waits(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_left_is_read_for_37_days_and_then_deleted_there() {
    let (world, relays, mut alice, mut bob) = apart(727, &["one.example", "two.example", "his.example"]).await;
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    alice.catch_up().await.unwrap();
    alice.messenger.remove_relay(relays[0].clone()).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    [alice, bob] = world.switched_off([alice, bob], 36 * DAY).await.unwrap();
    assert_eq!(calls(&world, &relays[0], path::INBOX_DELETE), 0);
    assert_eq!(alice.messenger.relays().await.unwrap().len(), 2);
    [alice, bob] = world.switched_off([alice, bob], 2 * DAY).await.unwrap();
    world.wait(2 * HOUR).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(calls(&world, &relays[0], path::INBOX_DELETE), 1);
    assert_eq!(alice.messenger.relays().await.unwrap().len(), 1);
    assert_eq!(alice.database().number("SELECT count(*) FROM own_chain"), 2, "those in use");
    bob.say("alice", "still there?").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["still there?"]);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_was_left_and_is_gone_is_given_up_with_everything_that_waits_for_it() {
    let (world, relays, mut alice, mut bob) = apart(728, &["one.example", "two.example", "his.example"]).await;
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.network.set_down(&relays[0], true);
    alice.messenger.remove_relay(relays[0].clone()).await.unwrap();
    let _ = alice.catch_up().await;
    let _ = bob.catch_up().await;
    for _ in 0..5 {
        [alice, bob] = world.switched_off([alice, bob], 16 * DAY).await.unwrap();
        world.wait(2 * HOUR).await;
    }
    assert_eq!(alice.database().number("SELECT count(*) FROM relay_task"), 0);
    assert_eq!(alice.messenger.relays().await.unwrap().len(), 1);
    assert!(alice.catch_up().await.unwrap().is_complete);
}

#[tokio::test(start_paused = true)]
async fn one_relay_has_to_stay_and_four_are_enough() {
    let names = ["one.example", "two.example", "three.example", "four.example", "five.example"];
    let (_, relays, alice, _) = apart(729, &names).await;
    let messenger = &alice.messenger;
    assert_eq!(messenger.remove_relay(relays[0].clone()).await, Err(Error::Input(InputError::LastRelay)));
    for relay in &relays[..4] {
        messenger.add_relay(relay.clone(), String::new()).await.unwrap();
    }
    assert_eq!(listed(&alice).await.len(), 4, "the first was there already");
    let fifth = messenger.add_relay(relays[4].clone(), String::new()).await;
    assert!(matches!(fifth, Err(Error::Input(InputError::OutOfRange { .. }))), "{fifth:?}");
    let unknown = messenger.remove_relay(relays[4].clone()).await;
    assert!(matches!(unknown, Err(Error::Input(InputError::NotFound { .. }))), "{unknown:?}");
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_to_a_relay_finds_the_inbox_that_was_left_there() {
    let (world, relays, alice, bob) = apart(730, &["one.example", "two.example", "his.example"]).await;
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    let inboxes = alice.inboxes();
    alice.messenger.remove_relay(relays[1].clone()).await.unwrap();
    alice.messenger.add_relay(relays[1].clone(), String::new()).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.inboxes(), inboxes);
    assert_eq!(listed(&alice).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn whoever_listens_hears_when_a_relay_of_ours_is_in_trouble_and_when_it_is_well_again() {
    let (world, relay, alice, _bob) = World::contacts(771).await;
    let trouble = || async { alice.messenger.relays().await.unwrap()[0].trouble };
    let mut events = alice.messenger.events();
    let mut told =
        || std::iter::from_fn(|| events.try_recv().ok()).filter(|event| *event == Event::ConnectionsChanged).count();
    alice.messenger.network_hint();
    world.wait(MINUTE).await;
    assert_eq!((trouble().await, told()), (None, 0), "it is read");
    world.network.set_down(&relay, true);
    world.wait(MINUTE).await;
    assert_eq!((trouble().await, told()), (Some("relay_unreachable"), 2), "it was lost, and then it was not reached");
    world.wait(HOUR).await;
    assert_eq!(told(), 0, "however often it is called");
    alice.messenger.network_hint();
    assert_eq!(trouble().await, Some("relay_unreachable"), "to try again is no end of it");
    world.network.set_down(&relay, false);
    alice.messenger.network_hint();
    world.wait(MINUTE).await;
    assert_eq!((trouble().await, told()), (None, 1));
    world.network.set_down(&relay, true);
    world.wait(MINUTE).await;
    assert_eq!(told(), 2);
    alice.messenger.pause().await;
    assert_eq!(told(), 1, "whoever pauses reads nothing, and nothing is in trouble");
}
