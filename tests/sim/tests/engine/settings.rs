//! What is set of conversations, and for the account: the same on all its devices, and nobody else's business.

use std::time::Duration;

use sotto_core::records::{Chats, Conversation, NewText};
use sotto_core::{Error, InputError};
use sotto_protocol::limits::TEXT_BYTES_MAX;
use sotto_sim::{HeldPost, Person, World};

use crate::rebirth::rest;

async fn list(person: &Person, chats: Chats) -> Vec<Conversation> {
    person.messenger.conversations(chats, None, 100).await.expect("a list")
}

async fn names(person: &Person, chats: Chats) -> Vec<String> {
    list(person, chats).await.into_iter().map(|chat| chat.name.unwrap_or_default()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_set_on_one_device_is_set_on_all_and_nobody_else_hears_of_it() {
    let (world, _, alice, bob) = World::contacts(1800).await;
    let tablet = world.second_device(&alice).await.unwrap();
    let bobs = alice.contact("bob").await.unwrap().id;
    bob.say("alice", "hello").await.unwrap();
    rest(&world, &[&bob, &alice, &tablet]).await;
    world.wait(Duration::from_secs(24 * 3600)).await;
    rest(&world, &[&alice, &tablet, &bob]).await;
    let until = world.now().after(Duration::from_secs(3600));
    let post = HeldPost::begin(&world.network);
    alice.messenger.mute(bobs, Some(until)).await.unwrap();
    alice.messenger.pin_conversation(bobs, true).await.unwrap();
    alice.messenger.mark_unread(bobs).await.unwrap();
    let number = alice.messenger.messages(bobs, None, 1).await.unwrap()[0].number;
    let draft = NewText { reply_to: Some(number), ..NewText::from("well, ") };
    alice.messenger.set_draft(bobs, Some(draft)).await.unwrap();
    alice.messenger.set_receipts(false).await.unwrap();
    alice.catch_up().await.unwrap();
    let letters = post.take();
    let boxes = tablet.inboxes();
    assert!(!letters.is_empty() && letters.iter().all(|letter| boxes.contains(&letter.inbox.as_ref().to_vec())));
    post.end(&world.network);
    for letter in &letters {
        assert!(world.network.put(letter).await);
    }
    rest(&world, &[&alice, &tablet, &bob]).await;
    for device in [&alice, &tablet] {
        let chat = list(device, Chats::Main).await.remove(0);
        assert_eq!((chat.muted_until, chat.is_pinned, chat.is_marked_unread), (Some(until), true, true));
        assert_eq!(chat.draft.as_deref(), Some("well, "));
        let draft = device.messenger.draft(bobs).await.unwrap().unwrap();
        let quoted = device.messenger.message(draft.reply_to.unwrap()).await.unwrap();
        assert_eq!((draft.body.as_str(), quoted.text.as_str()), ("well, ", "hello"));
        assert!(!device.messenger.receipts().await.unwrap());
    }
    // The other one takes it back; whatever is read there is no longer marked.
    tablet.messenger.mute(bobs, None).await.unwrap();
    tablet.messenger.pin_conversation(bobs, false).await.unwrap();
    tablet.messenger.set_draft(bobs, None).await.unwrap();
    tablet.messenger.mark_all_read(bobs).await.unwrap();
    rest(&world, &[&tablet, &alice]).await;
    for device in [&alice, &tablet] {
        let chat = list(device, Chats::Main).await.remove(0);
        assert_eq!((chat.muted_until, chat.is_pinned, chat.is_marked_unread, chat.draft), (None, false, false, None));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_put_away_comes_back_when_something_is_said_there() {
    let (world, relay, alice, bob) = World::contacts(1801).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    let tablet = world.second_device(&alice).await.unwrap();
    alice.say("bob", "one").await.unwrap();
    alice.say("carol", "two").await.unwrap();
    rest(&world, &[&alice, &tablet, &bob, &carol]).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    alice.messenger.archive(bobs, true).await.unwrap();
    rest(&world, &[&alice, &tablet]).await;
    for device in [&alice, &tablet] {
        assert_eq!(names(device, Chats::Main).await, ["carol"]);
        assert_eq!(names(device, Chats::Archived).await, ["bob"]);
    }
    bob.say("alice", "still there?").await.unwrap();
    rest(&world, &[&bob, &alice, &tablet]).await;
    for device in [&alice, &tablet] {
        assert_eq!(names(device, Chats::Main).await, ["bob", "carol"]);
    }
    tablet.messenger.archive(bobs, true).await.unwrap();
    tablet.messenger.archive(bobs, false).await.unwrap();
    rest(&world, &[&alice, &tablet]).await;
    assert_eq!(names(&alice, Chats::Main).await, ["bob", "carol"]);
}

#[tokio::test(start_paused = true)]
async fn the_list_goes_on_where_a_page_ended_those_above_the_others_first() {
    let world = World::seeded(1802);
    let relay = world.network.add_relay("relay");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    for name in ["bob", "carol", "dave", "erin"] {
        let person = world.person(name, std::slice::from_ref(&relay)).await.unwrap();
        world.introduce(&alice, &person).await.unwrap();
        alice.clock.tick();
        alice.say(name, "hello").await.unwrap();
    }
    alice.messenger.pin_conversation(alice.contact("carol").await.unwrap().id, true).await.unwrap();
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = alice.messenger.conversations(Chats::Main, before, 1).await.unwrap();
        let Some(chat) = page.into_iter().next() else { break };
        before = Some(chat.place());
        seen.push(chat.name.unwrap());
    }
    assert_eq!(seen, ["carol", "erin", "dave", "bob"]);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_were_set_at_once_all_devices_agree_on_one() {
    let (world, relay, alice, bob) = World::contacts(1803).await;
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    world.network.set_down(&relay, true);
    alice.messenger.set_draft(bobs, Some("on the phone".into())).await.unwrap();
    tablet.messenger.set_draft(bobs, Some("on the tablet".into())).await.unwrap();
    world.network.set_down(&relay, false);
    rest(&world, &[&alice, &tablet]).await;
    let (phone, tablets) = (alice.messenger.draft(bobs).await.unwrap(), tablet.messenger.draft(bobs).await.unwrap());
    assert!(phone.is_some() && phone == tablets, "{phone:?} {tablets:?}");
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_new_knows_what_is_set() {
    let (world, _, alice, bob) = World::contacts(1804).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    alice.say("bob", "hello").await.unwrap();
    alice.messenger.pin_conversation(bobs, true).await.unwrap();
    alice.messenger.set_receipts(false).await.unwrap();
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    // As one that comes without any copy would.
    tablet.database().change("DELETE FROM setting; UPDATE conversation SET pinned = 0");
    alice.database().change("UPDATE peer_device SET handed_over = 0 WHERE contact = 0");
    // As it was another device that has set it.
    alice.database().change("UPDATE setting SET author = x'01020304050607080102030405060708'");
    let watch = world.second_device(&alice).await.unwrap();
    rest(&world, &[&alice, &tablet, &watch, &bob]).await;
    assert!(list(&tablet, Chats::Main).await[0].is_pinned);
    assert!(!tablet.messenger.receipts().await.unwrap());
    // Of two of one version all devices settle for the same: whoever hands one over is not who has set it.
    let others = "SELECT count(*) FROM setting WHERE author != x'01020304050607080102030405060708'";
    assert_eq!(
        (tablet.database().number("SELECT count(*) > 1 FROM setting"), tablet.database().number(others)),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_set_is_refused_and_changes_nothing() {
    let (_, _, alice, _) = World::contacts(1805).await;
    let (bobs, nobody) = (alice.contact("bob").await.unwrap().id, sotto_protocol::AccountId::from_bytes([9; 32]));
    let before = alice.dump();
    let long = NewText::from("x".repeat(TEXT_BYTES_MAX + 1));
    for refused in [
        alice.messenger.mute(nobody, None).await,
        alice.messenger.archive(nobody, true).await,
        alice.messenger.set_draft(bobs, Some(long)).await,
        alice.messenger.set_draft(bobs, Some(NewText { reply_to: Some(i64::MAX), ..NewText::from("x") })).await,
    ] {
        let is_refused =
            matches!(refused, Err(Error::Input(InputError::NotFound { .. } | InputError::OutOfRange { .. })));
        assert!(is_refused, "{refused:?}");
    }
    assert!(alice.dump() == before, "something changed");
}
