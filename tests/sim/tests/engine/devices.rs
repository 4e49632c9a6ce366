//! Several devices of one account: each gets what is said to it, shows what was said on the others, and knows the same contacts.

use std::time::Duration;

use sotto_core::records::{ContactState, KeyChange, Kind, MessageState};
use sotto_core::{InviteOptions, danger};
use sotto_protocol::request::path;
use sotto_sim::{Fate, Meddler, Person, World};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice with two devices, and bob, who knows both.
pub(super) async fn two_devices(seed: u64) -> (World, Person, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    let tablet = world.second_device(&alice).await.expect("it begins");
    world.settle(&[&tablet, &alice, &bob]).await.expect("they settle");
    // Whoever writes to her reads her list again.
    world.wait(2 * DAY).await;
    bob.say("alice", "hello").await.expect("they speak");
    world.settle(&[&bob, &alice, &tablet, &bob]).await.expect("they settle");
    (world, alice, tablet, bob)
}

async fn listed(person: &Person, contact: i64) -> i64 {
    person.database().number(&format!("SELECT count(*) FROM peer_device WHERE listed = 1 AND contact = {contact}"))
}

#[tokio::test(start_paused = true)]
async fn a_second_device_is_known_to_the_first_and_to_contacts() {
    let (_, alice, tablet, bob) = two_devices(1300).await;
    assert_eq!((listed(&alice, 0).await, listed(&tablet, 0).await), (1, 1), "each other");
    assert_eq!(listed(&bob, 1).await, 2);
    let (one, other) = (alice.messenger.account().await.unwrap(), tablet.messenger.account().await.unwrap());
    assert_eq!(one.id, other.id);
    assert_ne!(one.device, other.device);
    assert_eq!(alice.messenger.contacts().await.unwrap().len(), 1, "an account is no contact of itself");
    assert!(alice.messenger.find_contact(&one.id.to_string()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_said_to_an_account_comes_to_every_device_of_it() {
    let (world, alice, tablet, bob) = two_devices(1301).await;
    for text in ["one", "two", "three"] {
        bob.say("alice", text).await.unwrap();
    }
    world.settle(&[&bob, &alice, &tablet]).await.unwrap();
    for device in [&alice, &tablet] {
        assert_eq!(device.transcript("bob").await.unwrap(), ["hello", "one", "two", "three"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_on_one_device_is_shown_on_the_others_as_said_by_oneself() {
    let (world, alice, tablet, bob) = two_devices(1302).await;
    alice.say("bob", "from the phone").await.unwrap();
    world.settle(&[&alice, &tablet, &bob]).await.unwrap();
    tablet.say("bob", "from the tablet").await.unwrap();
    world.settle(&[&tablet, &alice, &bob]).await.unwrap();
    let said = ["hello", "from the phone", "from the tablet"];
    for device in [&alice, &tablet] {
        assert_eq!(device.transcript("bob").await.unwrap(), said);
        let bob = device.contact("bob").await.unwrap().id;
        let own = device.messenger.account().await.unwrap().id;
        let messages = device.messenger.messages(bob, None, 10).await.unwrap();
        assert!(messages[1..].iter().all(|message| message.sender == own), "both are hers");
        let chats = device.messenger.conversations(sotto_core::records::Chats::Main, None, 10).await.unwrap();
        assert!(chats[0].preview_is_own && chats[0].unread <= 1, "what she said is nothing new to her");
    }
    assert_eq!(bob.transcript("alice").await.unwrap(), said);
}

#[tokio::test(start_paused = true)]
async fn how_far_a_message_is_its_recipients_devices_say_and_no_device_of_ours() {
    let (world, alice, tablet, bob) = two_devices(1303).await;
    bob.messenger.shut_down();
    let sent = alice.say("bob", "is he there?").await.unwrap();
    world.settle(&[&alice, &tablet, &alice]).await.unwrap();
    // The tablet has it and confirms it within a day.
    world.wait(2 * DAY).await;
    world.settle(&[&tablet, &alice]).await.unwrap();
    let unconfirmed = "SELECT count(*) FROM outbox JOIN peer_device ON peer_device.id = peer_device
                       WHERE contact = 0 AND outbox.message IS NOT NULL AND outbox.state < 3";
    assert_eq!(alice.database().number(unconfirmed), 0, "the tablet has confirmed it");
    assert_eq!(alice.messenger.message(sent.number).await.unwrap().state, MessageState::Sent);
    let bob = world.reopen(bob).await.unwrap();
    bob.catch_up().await.unwrap();
    bob.say("alice", "yes").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.messenger.message(sent.number).await.unwrap().state, MessageState::Delivered);
}

#[tokio::test(start_paused = true)]
async fn a_note_to_self_is_on_every_device() {
    let (world, alice, tablet, _bob) = two_devices(1304).await;
    let own = alice.messenger.account().await.unwrap().id;
    alice.messenger.send_text(own, "buy milk".to_owned()).await.unwrap();
    tablet.messenger.send_text(own, "and bread".to_owned()).await.unwrap();
    world.settle(&[&alice, &tablet, &alice]).await.unwrap();
    for device in [&alice, &tablet] {
        let notes = device.messenger.messages(own, None, 10).await.unwrap();
        let mut texts: Vec<_> = notes.iter().map(|note| note.text.as_str()).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["and bread", "buy milk"]);
        assert!(notes.iter().all(|note| note.sender == own && note.state == MessageState::Sent));
    }
}

#[tokio::test(start_paused = true)]
async fn a_contact_made_on_one_device_is_a_contact_of_all() {
    let (world, alice, tablet, _bob) = two_devices(1305).await;
    let relay = alice.messenger.account().await.unwrap().relays[0].clone();
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    world.settle(&[&alice, &tablet, &carol]).await.unwrap();
    assert_eq!(tablet.contact("carol").await.unwrap().state, ContactState::Accepted);
    tablet.say("carol", "this is alice's tablet").await.unwrap();
    carol.say("alice", "hello, both of you").await.unwrap();
    world.settle(&[&tablet, &carol, &alice, &tablet, &carol]).await.unwrap();
    let mut expected = ["hello, both of you", "this is alice's tablet"];
    expected.sort_unstable();
    for (person, with) in [(&alice, "carol"), (&tablet, "carol"), (&carol, "alice")] {
        let mut said = person.transcript(with).await.unwrap();
        said.sort_unstable();
        assert_eq!(said, expected);
    }
    assert_eq!(carol.messenger.contacts().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_invite_of_somebody_with_two_devices_is_used_at_the_one_that_made_it() {
    let (world, alice, tablet, _bob) = two_devices(1306).await;
    let relay = alice.messenger.account().await.unwrap().relays[0].clone();
    let dave = world.person("dave", std::slice::from_ref(&relay)).await.unwrap();
    let two = world.second_device(&dave).await.unwrap();
    world.settle(&[&two, &dave]).await.unwrap();
    // The first reads who the second is, whose letters wait until then.
    world.wait(MINUTE).await;
    world.settle(&[&two, &dave]).await.unwrap();
    // Invited by the tablet, scanned by a second device as well.
    let invite =
        tablet.messenger.invite(InviteOptions { auto_accept: true, ..InviteOptions::default() }).await.unwrap();
    tablet.catch_up().await.unwrap();
    two.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&two, &tablet, &two, &alice, &dave]).await.unwrap();
    world.settle(&[&two, &tablet, &alice, &dave]).await.unwrap();
    for device in [&alice, &tablet] {
        assert_eq!(device.contact("dave").await.unwrap().state, ContactState::Accepted);
    }
    alice.say("dave", "hello").await.unwrap();
    dave.say("alice", "hello").await.unwrap();
    world.settle(&[&alice, &dave, &tablet, &two]).await.unwrap();
    world.settle(&[&alice, &dave, &tablet, &two]).await.unwrap();
    for (device, with) in [(&alice, "dave"), (&tablet, "dave"), (&dave, "alice"), (&two, "alice")] {
        assert_eq!(device.transcript(with).await.unwrap(), ["hello", "hello"]);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_renamed_blocked_or_removed_on_one_device_is_so_on_all() {
    let (world, alice, tablet, bob) = two_devices(1307).await;
    let id = bob.messenger.account().await.unwrap().id;
    alice.messenger.rename(id, Some("Robert".to_owned())).await.unwrap();
    tablet.messenger.block(id).await.unwrap();
    world.settle(&[&alice, &tablet, &alice]).await.unwrap();
    let (here, there) = (alice.messenger.contacts().await.unwrap(), tablet.messenger.contacts().await.unwrap());
    assert_eq!(here, there, "whichever came last, both hold the same");
    alice.messenger.block(id).await.unwrap();
    world.settle(&[&alice, &tablet]).await.unwrap();
    assert!(tablet.messenger.contacts().await.unwrap()[0].blocked);
    bob.say("alice", "can you hear me?").await.unwrap();
    world.settle(&[&bob, &alice, &tablet]).await.unwrap();
    tablet.messenger.unblock(id).await.unwrap();
    world.settle(&[&tablet, &alice, &bob, &alice, &tablet]).await.unwrap();
    for device in [&alice, &tablet] {
        let contact = device.messenger.contacts().await.unwrap().remove(0);
        assert!(!contact.blocked);
        let messages = device.messenger.messages(id, None, 10).await.unwrap();
        assert_eq!(messages.last().map(|message| &*message.text), Some("can you hear me?"));
    }
    tablet.messenger.remove(id).await.unwrap();
    world.settle(&[&tablet, &alice]).await.unwrap();
    assert!(alice.messenger.contacts().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn b2_two_devices_that_change_the_list_at_once_both_say_what_they_have_to_say() {
    let (world, alice, tablet, bob) = two_devices(1308).await;
    let (one, other) = (world.network.add_relay("one.example"), world.network.add_relay("other.example"));
    // Neither has heard of the other's list.
    alice.messenger.add_relay(one.clone(), String::new()).await.unwrap();
    tablet.messenger.add_relay(other.clone(), String::new()).await.unwrap();
    world.settle(&[&alice, &tablet, &alice]).await.unwrap();
    world.wait(2 * DAY).await;
    bob.say("alice", "for which he reads her list").await.unwrap();
    world.settle(&[&bob, &alice, &tablet]).await.unwrap();
    for relay in [one, other] {
        let listed = format!("SELECT count(*) FROM peer_inbox WHERE listed = 1 AND relay = '{relay}'");
        assert_eq!(bob.database().number(&listed), 1);
    }
    assert_eq!(bob.database().number("SELECT trust FROM contact"), 0, "nothing looked like a fork");
    for device in [&alice, &tablet] {
        assert!(!device.messenger.contacts().await.unwrap().is_empty());
        assert_eq!(device.transcript("bob").await.unwrap().len(), 2);
        assert_eq!(device.database().number("SELECT count(*) FROM relay_task"), 0);
        assert_eq!(device.database().number("SELECT count(*) FROM own_chain WHERE told IS NOT NULL"), 0);
        assert_eq!(device.database().number("SELECT trust FROM contact WHERE id = 0"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_home_of_an_account_with_several_devices_stays_where_it_is() {
    let (world, alice, tablet, _bob) = two_devices(1311).await;
    let home = alice.messenger.account().await.unwrap().relays[0].clone();
    alice.messenger.add_relay(world.network.add_relay("another.example"), String::new()).await.unwrap();
    let refused = alice.messenger.remove_relay(home).await.err();
    assert_eq!(refused.map(|error| error.code()), Some("wrong_state"), "the tablet would not learn where the list is");
    tablet.say("bob", "all goes on").await.unwrap();
    world.settle(&[&alice, &tablet]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), "all goes on");
}

#[tokio::test(start_paused = true)]
async fn b5_the_list_is_signed_again_every_week_by_one_of_the_devices() {
    let (world, mut alice, mut tablet, bob) = two_devices(1309).await;
    let version = |person: &Person| person.database().number("SELECT version FROM own_chain WHERE audience = 0");
    let before = version(&alice);
    // It is due on both when they are switched on again: who comes second finds that it has been done.
    for _ in 0..2 {
        [alice, tablet] = world.switched_off([alice, tablet], 8 * DAY).await.unwrap();
    }
    assert_eq!((version(&alice), version(&tablet)), (before + 2, before + 2), "not once for each of them");
    bob.say("alice", "still there?").await.unwrap();
    world.settle(&[&bob, &alice, &tablet]).await.unwrap();
    assert_eq!(bob.database().number("SELECT trust FROM contact"), 0);
    assert_eq!(tablet.transcript("bob").await.unwrap().last().unwrap(), "still there?");
}

#[tokio::test(start_paused = true)]
async fn h1_a_list_by_another_device_is_no_sign_of_a_copy_and_one_in_its_own_name_is() {
    let (world, one, other, bob) = two_devices(1310).await;
    // The device with the lower id signs first.
    let id = async |device: &Person| *device.messenger.account().await.expect("it reads").device.as_bytes();
    let (alice, tablet) = if id(&one).await < id(&other).await { (one, other) } else { (other, one) };
    let copy = world.back_up(&alice);
    let relay = world.network.add_relay("another.example");
    tablet.messenger.add_relay(relay, String::new()).await.unwrap();
    tablet.catch_up().await.unwrap();
    let before = alice.messenger.account().await.unwrap().device;
    // Her list is due on her first device, and not yet on the second. It is read before anything of hers leaves.
    let [alice, tablet] = world.switched_off([alice, tablet], 7 * DAY + 60 * MINUTE).await.unwrap();
    assert_eq!(alice.messenger.account().await.unwrap().device, before, "she is no copy");
    world.wait(120 * MINUTE).await;
    world.settle(&[&alice, &tablet]).await.unwrap();
    alice.messenger.shut_down();
    let secrets = copy.secrets.copy();
    let restored = world.restore(copy, secrets).await.unwrap();
    restored.catch_up().await.unwrap();
    world.settle(&[&restored, &tablet, &bob]).await.unwrap();
    assert_ne!(restored.messenger.account().await.unwrap().device, before, "a copy comes in the place of what it was");
    assert_eq!(listed(&tablet, 0).await, 1);
    restored.say("bob", "back again").await.unwrap();
    world.settle(&[&restored, &tablet, &bob]).await.unwrap();
    assert_eq!(tablet.transcript("bob").await.unwrap().last().unwrap(), "back again");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_before_its_sender_has_read_of_a_new_device_comes_to_that_one_as_well_and_what_was_before_does_not()
 {
    let (world, _, alice, bob) = World::contacts(1312).await;
    bob.say("alice", "before").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    // From here on bob writes by the list that he has just read, for a day.
    world.wait(2 * DAY).await;
    bob.say("alice", "for which he reads her list").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let tablet = world.second_device(&alice).await.unwrap();
    bob.say("alice", "to the phone, as far as he knows").await.unwrap();
    bob.say("alice", "and another").await.unwrap();
    world.settle(&[&bob, &alice, &tablet]).await.unwrap();
    let said = ["before", "for which he reads her list", "to the phone, as far as he knows", "and another"];
    assert_eq!(tablet.transcript("bob").await.unwrap(), said);
    let of_tablet =
        "SELECT count(*) FROM outbox WHERE message IS NOT NULL AND peer_device = (SELECT max(id) FROM peer_device)";
    assert_eq!(bob.database().number(of_tablet), 2, "it has a copy of what was before, and nobody sends it");
}

#[tokio::test(start_paused = true)]
async fn a_new_device_shows_itself_to_everybody_without_being_spoken_to() {
    let (world, _, alice, bob) = World::contacts(1313).await;
    let tablet = world.second_device(&alice).await.unwrap();
    // The first goes away for good, and nobody says anything.
    alice.messenger.shut_down();
    bob.catch_up().await.unwrap();
    assert_eq!(listed(&bob, 1).await, 2, "once is enough: what is read is waited for");
    let messages = bob.messenger.messages(bob.contact("alice").await.unwrap().id, None, 10).await.unwrap();
    assert!(messages.iter().any(|message| message.kind == Kind::KeyChange(KeyChange::DeviceAdded)));
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(listed(&alice, 0).await, 1);
    assert_eq!(tablet.contact("bob").await.unwrap().state, ContactState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn what_two_devices_say_before_they_know_each_other_is_on_both() {
    let (world, _, alice, bob) = World::contacts(1314).await;
    let own = alice.messenger.account().await.unwrap().id;
    alice.say("bob", "alone").await.unwrap();
    alice.messenger.send_text(own, "a note of before".to_owned()).await.unwrap();
    alice.catch_up().await.unwrap();
    let tablet = world.second_device(&alice).await.unwrap();
    // The phone has not heard of it.
    alice.say("bob", "from the phone").await.unwrap();
    alice.messenger.send_text(own, "a note on the phone".to_owned()).await.unwrap();
    tablet.say("bob", "from the tablet").await.unwrap();
    world.settle(&[&alice, &tablet, &bob]).await.unwrap();
    let mut expected = ["alone", "from the phone", "from the tablet"];
    expected.sort_unstable();
    for (device, with) in [(&alice, "bob"), (&tablet, "bob"), (&bob, "alice")] {
        let mut said = device.transcript(with).await.unwrap();
        said.sort_unstable();
        assert_eq!(said, expected);
    }
    for device in [&alice, &tablet] {
        let notes = device.messenger.messages(own, None, 10).await.unwrap();
        let texts: Vec<_> = notes.iter().map(|note| note.text.as_str()).collect();
        assert_eq!(texts, ["a note of before", "a note on the phone"]);
    }
    let sent_again = "SELECT count(*) FROM outbox JOIN message ON message.id = outbox.message WHERE text IN ('alone', 'a note of before')
                      AND outbox.peer_device IN (SELECT id FROM peer_device WHERE contact = 0)";
    assert_eq!(alice.database().number(sent_again), 0, "what was before is in the copy");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_on_one_device_is_sent_to_a_contacts_new_device_by_that_one_alone() {
    let (world, alice, tablet, bob) = two_devices(1315).await;
    world.wait(2 * DAY).await;
    for device in [&alice, &tablet] {
        device.say("bob", "for which his list is read").await.unwrap();
    }
    world.settle(&[&alice, &tablet, &bob]).await.unwrap();
    let desktop = world.second_device(&bob).await.unwrap();
    alice.say("bob", "from the phone").await.unwrap();
    world.settle(&[&alice, &tablet, &bob, &desktop]).await.unwrap();
    assert_eq!(desktop.transcript("alice").await.unwrap().last().unwrap(), "from the phone");
    let sent = "SELECT count(*) FROM outbox WHERE message IS NOT NULL AND peer_device = (SELECT max(id) FROM peer_device WHERE contact = 1)";
    assert_eq!((alice.database().number(sent), tablet.database().number(sent)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_expects_no_other_device_gets_none_by_a_copy() {
    let (world, _, alice, _bob) = World::contacts(1316).await;
    let copy = world.back_up(&alice);
    let secrets = copy.secrets.copy();
    let opened = danger::open_beside(world.world(&secrets), copy.directory()).await;
    assert_eq!(opened.err().map(|error| error.code()), Some("wrong_state"));
    assert_eq!(alice.database().number("SELECT count(*) FROM contact WHERE id = 0"), 0);
    let version = "SELECT version FROM own_chain WHERE audience = 0";
    let before = alice.database().number(version);
    alice.catch_up().await.unwrap();
    assert_eq!(alice.database().number(version), before, "nobody has written her list");
}

#[tokio::test(start_paused = true)]
async fn a_new_device_writes_to_a_contact_whose_home_is_gone() {
    let world = World::seeded(1317);
    let (one, two) = (world.network.add_relay("one.example"), world.network.add_relay("two.example"));
    let alice = world.person("alice", std::slice::from_ref(&one)).await.unwrap();
    let bob = world.person("bob", &[two.clone(), one]).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.network.set_down(&two, true);
    let tablet = world.second_device(&alice).await.unwrap();
    world.settle(&[&alice, &tablet]).await.unwrap();
    tablet.say("bob", "by the list that is known").await.unwrap();
    world.settle(&[&tablet, &alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["by the list that is known"]);
}

#[tokio::test(start_paused = true)]
async fn b5_what_was_said_while_a_list_could_not_be_read_comes_to_whom_it_names_without_another_word() {
    let world = World::seeded(1320);
    let (one, two) = (world.network.add_relay("one.example"), world.network.add_relay("two.example"));
    let alice = world.person("alice", std::slice::from_ref(&one)).await.unwrap();
    let bob = world.person("bob", &[two.clone(), one]).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    // His new device goes away before alice has heard of it.
    let without_letters: Meddler = Box::new(|call| if call.path == path::SEND { Fate::Lost } else { Fate::Passes });
    world.network.meddle(Some(without_letters));
    let desktop = world.second_device(&bob).await.unwrap();
    desktop.messenger.shut_down();
    world.network.set_down(&two, true);
    world.network.meddle(None);
    world.wait(2 * DAY).await;
    alice.say("bob", "to all of them").await.unwrap();
    for person in [&alice, &bob, &alice] {
        let _ = person.catch_up().await;
    }
    assert_eq!(bob.transcript("alice").await.unwrap(), ["to all of them"]);
    assert_eq!(listed(&alice, 1).await, 1, "the list that names both cannot be read");
    world.network.set_down(&two, false);
    bob.messenger.shut_down();
    world.wait(DAY / 3).await;
    alice.catch_up().await.unwrap();
    assert_eq!(listed(&alice, 1).await, 2, "nobody has told her since");
    let desktop = world.reopen(desktop).await.unwrap();
    desktop.catch_up().await.unwrap();
    assert_eq!(desktop.transcript("alice").await.unwrap(), ["to all of them"]);
}

#[tokio::test(start_paused = true)]
async fn b6_no_list_of_two_devices_waits_for_a_relay_that_was_just_taken_and_is_gone() {
    let (world, _, alice, bob) = World::contacts(1318).await;
    danger::expect_siblings(&alice.messenger).await.unwrap();
    alice.catch_up().await.unwrap();
    let other = world.network.add_relay("other.example");
    alice.messenger.add_relay(other.clone(), String::new()).await.unwrap();
    // For good, before anything was put there.
    world.network.set_down(&other, true);
    let tablet = world.open_beside(world.back_up(&alice)).await.unwrap();
    for _ in 0..3 {
        for person in [&tablet, &alice] {
            let _ = person.catch_up().await;
        }
        world.wait(DAY).await;
    }
    bob.say("alice", "to both").await.unwrap();
    for person in [&bob, &alice, &tablet] {
        let _ = person.catch_up().await;
    }
    assert_eq!(listed(&bob, 1).await, 2);
    assert_eq!(tablet.transcript("bob").await.unwrap(), ["to both"]);
    let list = "SELECT count(*) FROM relay_task JOIN own_chain ON own_chain.chain = relay_task.subject";
    assert_eq!(alice.database().number(list), 0, "no list waits for that relay");
}

#[tokio::test(start_paused = true)]
async fn letters_for_two_devices_that_have_no_way_yet_wait_and_nobody_spins() {
    let (world, alice, tablet, bob) = two_devices(1317).await;
    bob.messenger.shut_down();
    // As where another device of his has met her and has not heard yet that her tokens stand.
    bob.database().change("UPDATE contact SET pair_usable = 0 WHERE id != 0");
    let bob = world.reopen(bob).await.expect("it opens");
    bob.say("alice", "later").await.expect("it is queued");
    bob.messenger.network_hint();
    bob.messenger.network_hint();
    world.wait(DAY / 24).await;
    assert!(bob.catch_up().await.expect("it works").is_complete, "there is nothing that he could do for them");
    assert_eq!(bob.database().number("SELECT count(*) FROM outbox WHERE state = 0"), 2, "one for each");
    bob.messenger.shut_down();
    bob.database().change("UPDATE contact SET pair_usable = 1 WHERE id != 0");
    let bob = world.reopen(bob).await.expect("it opens");
    world.settle(&[&bob, &alice, &tablet]).await.expect("they settle");
    for device in [&alice, &tablet] {
        let said = device.transcript("bob").await.expect("known");
        assert!(said.iter().any(|line| line.contains("later")), "{said:?}");
    }
}
