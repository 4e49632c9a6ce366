//! What a device that comes in the place of another must neither use twice nor lose (PROTOCOL H2). Which of two copies goes on, and what peers
//! see of it, is in `rebirth.rs`.

use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message as _, RelayAddress, relay};
use sotto_sim::{Fate, Person, Traffic, World};

use crate::rebirth::{DAY, rest};

/// Makes a copy of a device, lets it live on and see more, and says what was copied. The device is on again.
async fn copied(world: &World, person: Person) -> (sotto_sim::Backup, Person) {
    person.messenger.shut_down();
    let copy = world.back_up(&person);
    // Its keystore sees more.
    let person = world.reopen(person).await.expect("it opens");
    let person = world.reopen(person).await.expect("it opens");
    (copy, person)
}

/// From now on a relay takes no letters, and answers everything else.
fn takes_no_letters(world: &World, relay: &RelayAddress) {
    let (name, busy) = (relay.name().clone(), Bytes::from_static(br#"{"status":503,"code":"busy"}"#));
    world.network.meddle(Some(Box::new(move |call: &Traffic| match call.path {
        path::SEND if call.relay == name => Fate::Fails(503, busy.clone()),
        _ => Fate::Passes,
    })));
}

#[tokio::test(start_paused = true)]
async fn h2_a_claim_that_was_written_down_before_the_copy_begins_no_session_with_the_key_that_it_is_answered_with() {
    let world = World::seeded(1220);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    let invite = bob.messenger.invite(InviteOptions::default()).await.unwrap();
    bob.catch_up().await.unwrap();
    // The claim never arrives, and belongs to the invite all the same.
    let lose = |call: &Traffic| if call.path == path::PREKEY_CLAIM { Fate::Lost } else { Fate::Passes };
    world.network.meddle(Some(Box::new(lose)));
    alice.messenger.join(&invite.link).await.unwrap_err();
    world.network.meddle(None);
    let (copy, alice) = copied(&world, alice).await;
    alice.messenger.join(&invite.link).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    alice.messenger.shut_down();
    let restored = world.restore(copy, alice.secrets.clone()).await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    restored.messenger.join(&invite.link).await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    // He has read her list since; a request that nobody answers comes again.
    world.wait(DAY + Duration::from_secs(3600)).await;
    rest(&world, &[&restored, &bob]).await;
    bob.messenger.accept(restored.messenger.account().await.unwrap().id).await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    restored.say("bob", "met").await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["met"]);
    assert_eq!(bob.refusals().into_keys().collect::<Vec<_>>(), ["device_unlisted"], "every request could be opened");
}

#[tokio::test(start_paused = true)]
async fn h2_a_claim_of_the_device_before_is_spent_at_inboxes_that_are_listed_later_as_well() {
    let world = World::seeded(1221);
    let [home, first, later] =
        ["home.example", "first.example", "later.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", std::slice::from_ref(&home)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&first)).await.unwrap();
    let invite = bob.messenger.invite(InviteOptions::default()).await.unwrap();
    bob.catch_up().await.unwrap();
    takes_no_letters(&world, &first);
    alice.messenger.join(&invite.link).await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(60)).await;
    let (copy, alice) = copied(&world, alice).await;
    bob.messenger.add_relay(later.clone(), String::new()).await.unwrap();
    bob.catch_up().await.unwrap();
    world.wait(DAY + Duration::from_secs(3600)).await;
    let _ = alice.messenger.catch_up(Duration::from_secs(60)).await;
    bob.catch_up().await.unwrap();
    assert_eq!(
        bob.database().number("SELECT count(*) FROM contact WHERE state = 2"),
        1,
        "she has asked where he reads now"
    );
    alice.messenger.shut_down();
    let restored = world.restore(copy, alice.secrets.clone()).await.unwrap();
    let _ = restored.messenger.catch_up(Duration::from_secs(600)).await;
    bob.catch_up().await.unwrap();
    world.wait(DAY + Duration::from_secs(3600)).await;
    let _ = restored.messenger.catch_up(Duration::from_secs(600)).await;
    bob.catch_up().await.unwrap();
    bob.messenger.accept(restored.messenger.account().await.unwrap().id).await.unwrap();
    world.network.meddle(None);
    rest(&world, &[&bob, &restored]).await;
    restored.say("bob", "met").await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["met"]);
    assert_eq!(bob.refusals().into_keys().collect::<Vec<_>>(), ["device_unlisted"], "every request could be opened");
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_that_was_added_since_the_copy_stays_on_the_list_and_hears_what_is_said() {
    let (world, _, alice, bob) = World::contacts(1222).await;
    alice.say("bob", "before the copy").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    let copy = world.back_up(&alice);
    let tablet = world.second_device(&alice).await.unwrap();
    bob.say("alice", "to both").await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    alice.messenger.shut_down();
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    rest(&world, &[&restored, &tablet, &bob]).await;
    world.wait(2 * DAY).await;
    rest(&world, &[&restored, &tablet, &bob]).await;
    bob.say("alice", "whoever they are").await.unwrap();
    rest(&world, &[&bob, &restored, &tablet]).await;
    restored.say("bob", "from the one in its place").await.unwrap();
    rest(&world, &[&restored, &tablet, &bob]).await;
    tablet.say("bob", "from the one beside it").await.unwrap();
    rest(&world, &[&tablet, &restored, &bob]).await;
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 1"), 2);
    let last = ["whoever they are", "from the one in its place", "from the one beside it"];
    for device in [&restored, &tablet] {
        let said = device.transcript("bob").await.unwrap();
        assert_eq!(said[said.len() - 3..], last, "{said:?}");
    }
    assert_eq!(bob.transcript("alice").await.unwrap()[2..], last);
}

#[tokio::test(start_paused = true)]
async fn h2_a_relay_that_makes_the_inbox_and_then_dies_holds_up_no_replacement() {
    let world = World::seeded(1224);
    let relays = ["one.example", "two.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays[..1]).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    let copy = world.back_up(&alice);
    bob.say("alice", "after it").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    alice.messenger.shut_down();
    let name = relays[1].name().clone();
    world.network.meddle(Some(Box::new(move |call| match call.path {
        path::TOKEN_PUT | path::PREKEY_PUT if call.relay == name => Fate::Lost,
        _ => Fate::Passes,
    })));
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    restored.say("bob", "by one relay").await.unwrap();
    let _ = restored.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["after it", "by one relay"]);
    assert_eq!(restored.messenger.account().await.unwrap().relays, relays[..1]);
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_inbox WHERE listed = 1"), 1);
    world.wait(3 * DAY).await;
    let lists = restored.database().number("SELECT version FROM account");
    assert!(lists < 20, "it is asked ever more rarely: {lists}");
    world.network.meddle(None);
    world.wait(2 * DAY).await;
    restored.catch_up().await.unwrap();
    assert_eq!(restored.messenger.account().await.unwrap().relays, relays);
    let left = "SELECT (SELECT count(*) FROM relay_task) + (SELECT count(*) FROM relay_to_join)";
    assert_eq!(restored.database().number(left), 0);
    bob.say("alice", "for which he reads her list").await.unwrap();
    rest(&world, &[&bob, &restored]).await;
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_inbox WHERE listed = 1"), 2);
    // What belongs in that inbox is there.
    world.network.set_down(&relays[0], true);
    bob.say("alice", "by the other").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(60)).await;
    let _ = restored.messenger.catch_up(Duration::from_secs(60)).await;
    assert_eq!(restored.transcript("bob").await.unwrap().last().map(String::as_str), Some("by the other"));
}

#[tokio::test(start_paused = true)]
async fn h2_a_device_of_which_the_copy_had_never_heard_is_asked_for_what_it_holds_as_well() {
    let (world, _, alice, bob) = World::contacts(1225).await;
    alice.say("bob", "before the copy").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    let copy = world.back_up(&alice);
    let tablet = world.second_device(&bob).await.unwrap();
    alice.say("bob", "for which she reads his list").await.unwrap();
    world.wait(2 * DAY).await;
    rest(&world, &[&alice, &bob, &tablet]).await;
    tablet.say("alice", "from the tablet").await.unwrap();
    rest(&world, &[&tablet, &alice, &bob]).await;
    alice.say("bob", "it came").await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    let confirmed = "SELECT count(*) FROM outbox JOIN peer_device ON peer_device.id = outbox.peer_device JOIN message ON message.id = outbox.message
                     WHERE peer_device.contact != 0 AND outbox.state = 3 AND message.text = 'from the tablet'";
    assert_eq!(tablet.database().number(confirmed), 1);
    alice.messenger.shut_down();
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    rest(&world, &[&restored, &bob, &tablet]).await;
    world.wait(2 * DAY).await;
    rest(&world, &[&restored, &bob, &tablet]).await;
    world.wait(2 * DAY).await;
    rest(&world, &[&restored, &bob, &tablet]).await;
    let said = restored.transcript("bob").await.unwrap();
    assert!(said.contains(&"from the tablet".to_owned()), "{said:?}");
    assert_eq!(restored.database().number("SELECT count(*) FROM predecessor_request"), 0, "all have answered");
}

#[tokio::test(start_paused = true)]
async fn h2_whoever_was_asked_in_a_letter_that_others_have_ended_is_asked_again() {
    let (world, relay, alice, bob) = World::contacts(1226).await;
    let copy = world.back_up(&alice);
    bob.say("alice", "after it").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    alice.say("bob", "it came").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    alice.messenger.shut_down();
    takes_no_letters(&world, &relay);
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    let _ = restored.messenger.catch_up(Duration::from_secs(60)).await;
    restored.messenger.shut_down();
    // As a handshake does, or a device that has left.
    let ended = format!("state = 4, content = NULL, olm = NULL, ended_at = {}", world.now().as_ms());
    restored.database().change(&format!("UPDATE outbox SET {ended} WHERE state <= 2"));
    world.network.meddle(None);
    let restored = world.reopen(restored).await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    world.wait(2 * DAY).await;
    rest(&world, &[&restored, &bob]).await;
    assert_eq!(restored.transcript("bob").await.unwrap(), ["after it"]);
    let [restored, _bob] = world.switched_off([restored, bob], 40 * DAY).await.unwrap();
    assert_eq!(restored.database().number("SELECT count(*) FROM predecessor"), 0, "nobody holds anything any more");
}

#[tokio::test(start_paused = true)]
async fn h2_a_copy_whose_home_relay_is_gone_for_good_goes_on_by_the_root_keys_word() {
    let world = World::seeded(1227);
    let [home, other] = ["home.example", "other.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &[home.clone(), other.clone()]).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&other)).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    alice.say("bob", "before the copy").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    let (copy, alice) = copied(&world, alice).await;
    alice.messenger.shut_down();
    world.network.set_down(&home, true);
    let restored = world.restore(copy, alice.secrets.clone()).await.unwrap();
    assert_eq!(restored.catch_up().await.map(drop).unwrap_err().code(), "rolled_back", "it may come back");
    world.wait(DAY + Duration::from_secs(3600)).await;
    let error = restored.catch_up().await.map(drop).unwrap_err();
    assert_eq!(error, sotto_core::Error::HomeAway { home: home.clone() });
    let before = restored.messenger.account().await.unwrap().device;
    restored.messenger.remove_relay(home.clone()).await.unwrap();
    let _ = restored.messenger.catch_up(Duration::from_secs(600)).await.unwrap();
    let account = restored.messenger.account().await.unwrap();
    assert_ne!(account.device, before);
    assert_eq!(account.relays, std::slice::from_ref(&other));
    // Bob has read her lists only there: she asks him anew, with the list in her request, and nothing that was said is gone.
    let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
    let invite = bob.messenger.invite(options).await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(600)).await;
    restored.messenger.join(&invite.link).await.unwrap();
    for _ in 0..3 {
        let _ = bob.messenger.catch_up(Duration::from_secs(600)).await;
        let _ = restored.messenger.catch_up(Duration::from_secs(600)).await;
    }
    restored.say("bob", "here I am").await.unwrap();
    let _ = restored.messenger.catch_up(Duration::from_secs(600)).await;
    let _ = bob.messenger.catch_up(Duration::from_secs(600)).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["before the copy", "here I am"]);
    assert_eq!(bob.database().number("SELECT trust FROM contact"), 0);
    // Without the root key nothing of it is done.
    let without = restored.messenger.remove_relay(other).await.map(drop).unwrap_err();
    assert_eq!(without.code(), "last_relay");
}

/// The inboxes that were asked for with this call.
fn inboxes_of(traffic: &[Traffic], call: &str) -> std::collections::BTreeSet<Bytes> {
    let calls = traffic.iter().filter(|traffic| traffic.path == call).map(|traffic| traffic.body.clone());
    let inbox = |body| match call {
        path::INBOX_CREATE => relay::InboxCreate::decode(body).expect("it is one").inbox,
        _ => relay::InboxDelete::decode(body).expect("it is one").inbox,
    };
    calls.map(inbox).collect()
}

#[tokio::test(start_paused = true)]
async fn h2_a_copy_that_dies_between_its_inbox_and_its_list_leaves_no_inbox_behind() {
    let (world, _, alice, bob) = World::contacts(1229).await;
    let (copy, alice) = copied(&world, alice).await;
    alice.messenger.shut_down();
    let before = world.network.traffic().len();
    // The relay makes it, and nobody hears of that.
    world.network.meddle(Some(Box::new(|call| match call.path {
        path::INBOX_CREATE => Fate::AnswerLost,
        _ => Fate::Passes,
    })));
    let restored = world.restore(copy, alice.secrets.clone()).await.unwrap();
    assert_eq!(restored.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
    restored.messenger.shut_down();
    world.network.meddle(None);
    let restored = world.reopen(restored).await.unwrap();
    rest(&world, &[&restored, &bob]).await;
    let traffic = world.network.traffic().split_off(before);
    let (mut made, deleted) = (inboxes_of(&traffic, path::INBOX_CREATE), inboxes_of(&traffic, path::INBOX_DELETE));
    assert!(made.len() > 1, "one died with the process");
    made.retain(|inbox| !deleted.contains(inbox));
    assert_eq!(made.into_iter().map(|inbox| inbox.to_vec()).collect::<Vec<_>>(), restored.inboxes());
    assert_eq!(restored.database().number("SELECT count(*) FROM former_inbox"), 0);
}

#[tokio::test(start_paused = true)]
async fn h2_a_relay_for_which_there_is_no_room_any_more_is_asked_for_no_inbox() {
    let world = World::seeded(1230);
    let names = ["one.example", "two.example", "three.example", "four.example", "five.example"];
    let relays = names.map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &relays[..2]).await.unwrap();
    alice.catch_up().await.unwrap();
    let (copy, alice) = copied(&world, alice).await;
    alice.messenger.shut_down();
    world.network.set_down(&relays[1], true);
    let restored = world.restore(copy, alice.secrets.clone()).await.unwrap();
    let _ = restored.messenger.catch_up(Duration::from_secs(60)).await.unwrap();
    for relay in &relays[2..] {
        restored.messenger.add_relay(relay.clone(), String::new()).await.unwrap();
    }
    let before = world.network.traffic().len();
    world.network.set_down(&relays[1], false);
    world.wait(3 * DAY).await;
    let traffic = world.network.traffic().split_off(before);
    assert_eq!(inboxes_of(&traffic, path::INBOX_CREATE).len(), 0);
    assert_eq!(restored.database().number("SELECT count(*) FROM relay_to_join"), 0);
}

#[tokio::test(start_paused = true)]
async fn h2_what_a_copy_has_handed_in_does_not_leave_once_it_is_known_to_be_one() {
    let world = World::seeded(1223);
    let [slow, quick] = ["slow.example", "quick.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &[slow.clone(), quick.clone()]).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&quick)).await.unwrap();
    let carol = world.person("carol", std::slice::from_ref(&quick)).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    let copy = world.back_up(&alice);
    bob.say("alice", "after the copy").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    alice.messenger.shut_down();
    // The relay that knows better is heard behind everybody's patience; until then letters leave, one request behind the other.
    world.network.delay_streams_of(&slow, Duration::from_secs(20));
    world.network.meddle(Some(Box::new(|call| match call.path {
        path::CHAIN_READ => Fate::Lost,
        path::SEND => Fate::Late(Duration::from_secs(10)),
        _ => Fate::Passes,
    })));
    let secrets = copy.secrets.copy();
    let before = world.network.traffic().len();
    let copy = world.restore(copy, secrets).await.unwrap();
    copy.say("bob", "under way").await.unwrap();
    world.wait(Duration::from_secs(17)).await;
    copy.say("carol", "behind it").await.unwrap();
    world.wait(Duration::from_secs(60)).await;
    assert_eq!(copy.catch_up().await.map(drop).unwrap_err().code(), "rolled_back");
    let sent = world.network.traffic().split_off(before).into_iter().filter(|call| call.path == path::SEND);
    assert_eq!(sent.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn h2_a_copy_that_leaves_its_home_begins_no_epoch_that_the_device_before_has_begun() {
    let world = World::seeded(1228);
    let [home, other] = ["home.example", "other.example"].map(|name| world.network.add_relay(name));
    let alice = world.person("alice", &[home.clone(), other.clone()]).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&other)).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    let (copy, alice) = copied(&world, alice).await;
    alice.messenger.remove_relay(home.clone()).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(bob.database().number("SELECT epoch FROM contact"), 2);
    alice.messenger.shut_down();
    world.network.set_down(&home, true);
    let restored = world.restore(copy, alice.secrets.clone()).await.unwrap();
    restored.messenger.remove_relay(home).await.unwrap();
    let _ = restored.messenger.catch_up(Duration::from_secs(600)).await.unwrap();
    let invite = bob.messenger.invite(InviteOptions { auto_accept: true, ..InviteOptions::default() }).await.unwrap();
    bob.catch_up().await.unwrap();
    restored.messenger.join(&invite.link).await.unwrap();
    for _ in 0..3 {
        let _ = bob.messenger.catch_up(Duration::from_secs(600)).await;
        let _ = restored.messenger.catch_up(Duration::from_secs(600)).await;
    }
    assert_eq!(bob.database().number("SELECT trust FROM contact"), 0, "two certificates of one epoch are the end");
    assert!(bob.database().number("SELECT epoch FROM contact") > 2);
}

#[tokio::test(start_paused = true)]
async fn h2_what_a_copy_says_before_it_has_read_of_another_device_comes_to_that_as_well() {
    let (world, relay, alice, bob) = World::contacts(1233).await;
    let copy = world.back_up(&alice);
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&tablet, &alice, &bob]).await;
    alice.messenger.shut_down();
    world.network.set_down(&relay, true);
    let restored = world.restore(copy, alice.secrets.clone()).await.unwrap();
    restored.say("bob", "who else is there?").await.unwrap();
    world.network.set_down(&relay, false);
    rest(&world, &[&restored, &tablet, &bob, &restored, &tablet]).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["who else is there?"]);
    assert_eq!(tablet.transcript("bob").await.unwrap(), ["who else is there?"]);
}
