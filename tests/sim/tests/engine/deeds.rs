//! What is done to messages: said otherwise, taken back, felt about, pinned, taken from view (docs/protocol.md, "Deeds"). It looks the same on
//! both sides and on all devices, whichever letter comes first, and is nobody's to do but whose it is.

use std::time::Duration;

use sotto_core::records::{Kind, Meaning, Message, NewText, Range, Style};
use sotto_core::{Error, InputError};
use sotto_crypto::letter::{Content, Target, Text};
use sotto_protocol::{AccountId, MessageId};
use sotto_sim::{Envelope, HeldPost, Person, World, hex};

use crate::rebirth::rest;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Alice with two devices, and Bob.
struct Three {
    world: World,
    alice: Person,
    tablet: Person,
    bob: Person,
}

impl Three {
    async fn meet(seed: u64) -> Self {
        let (world, _, alice, bob) = World::contacts(seed).await;
        let tablet = world.second_device(&alice).await.expect("a second device");
        let three = Self { world, alice, tablet, bob };
        three.rest().await;
        three
    }

    async fn rest(&self) {
        rest(&self.world, &[&self.alice, &self.tablet, &self.bob]).await;
    }

    /// What stands between Alice and Bob, as each device shows it.
    async fn shown(&self) -> Vec<String> {
        let lines = shown(&self.alice, "bob").await;
        assert_eq!(shown(&self.tablet, "bob").await, lines, "Alice's other device shows something else");
        assert_eq!(shown(&self.bob, "alice").await, lines, "Bob's device shows something else");
        lines
    }
}

async fn page(person: &Person, with: &str) -> Vec<Message> {
    let contact = person.contact(with).await.expect("they know each other");
    person.messenger.messages(contact.id, None, 100).await.expect("a page")
}

async fn last(person: &Person, with: &str) -> Message {
    page(person, with).await.pop().expect("there is one")
}

async fn numbered(person: &Person, with: &str, text: &str) -> i64 {
    let page = page(person, with).await;
    page.iter().find(|message| message.text == text).expect("it is there").number
}

async fn id_of(person: &Person) -> AccountId {
    person.messenger.account().await.expect("an account").id
}

/// A line each, whoever shows it.
async fn shown(person: &Person, with: &str) -> Vec<String> {
    let line = |message: &Message| {
        let mut line = match message.kind {
            Kind::Text | Kind::Unknown => message.text.clone(),
            kind => format!("[{kind:?}]"),
        };
        if message.edited_at.is_some() {
            line.push_str(" (edited)");
        }
        for reaction in &message.reactions {
            line.push_str(&format!(" {}:{:02x}", reaction.emoji, reaction.author.as_bytes()[0]));
        }
        if message.is_pinned {
            line.push_str(" (pinned)");
        }
        line
    };
    let page = page(person, with).await;
    page.iter().filter(|message| !matches!(message.kind, Kind::KeyChange(_))).map(line).collect()
}

/// Whether words stand anywhere in somebody's database, as they are or in a letter that waits.
fn keeps(person: &Person, words: &str) -> bool {
    let words = hex(words.as_bytes());
    let found = |table: &str, column: &str| {
        let sql = format!("SELECT count(*) FROM {table} WHERE instr(CAST({column} AS BLOB), x'{words}') > 0");
        person.database().number(&sql)
    };
    found("message", "text") + found("message", "content") + found("outbox", "content") > 0
}

async fn deliver(world: &World, letters: &[Envelope]) {
    for letter in letters {
        assert!(world.network.put(letter).await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_shows_everywhere_and_what_was_said_before_stays_in_the_history() {
    let three = Three::meet(1600).await;
    let said = three.alice.say("bob", "the trian is late").await.unwrap();
    three.rest().await;
    let ranges = vec![Range { start: 0, length: 3, meaning: Meaning::Style(Style::Bold) }];
    for text in ["the train is late", "the train has come"] {
        three.alice.clock.tick();
        let text = NewText { ranges: ranges.clone(), ..NewText::from(text) };
        three.alice.messenger.edit(said.number, text).await.unwrap();
    }
    three.rest().await;
    assert_eq!(three.shown().await, ["the train has come (edited)"]);
    for (person, with) in [(&three.alice, "bob"), (&three.tablet, "bob"), (&three.bob, "alice")] {
        let message = last(person, with).await;
        assert_eq!(message.ranges, ranges);
        let history = person.messenger.history(message.number, 10).await.unwrap();
        let versions: Vec<_> = history.iter().map(|version| version.text.as_str()).collect();
        assert_eq!(versions, ["the trian is late", "the train is late", "the train has come"]);
        assert!(history.windows(2).all(|pair| pair[0].said_at < pair[1].said_at));
        let short = person.messenger.history(message.number, 1).await.unwrap();
        assert_eq!(short.len(), 2, "the first and the last");
        assert_eq!(short[1].text, "the train has come");
    }
}

#[tokio::test(start_paused = true)]
async fn the_later_of_two_edits_counts_on_every_device_whichever_comes_first() {
    let three = Three::meet(1601).await;
    three.alice.say("bob", "one").await.unwrap();
    three.rest().await;
    let (phone, tablet) = (last(&three.alice, "bob").await.number, last(&three.tablet, "bob").await.number);
    let relay = three.alice.messenger.account().await.unwrap().relays.remove(0);
    three.world.network.set_down(&relay, true);
    three.alice.messenger.edit(phone, "two").await.unwrap();
    three.tablet.clock.tick();
    three.tablet.messenger.edit(tablet, "three").await.unwrap();
    three.world.network.set_down(&relay, false);
    let post = HeldPost::begin(&three.world.network);
    three.tablet.catch_up().await.unwrap();
    let later = post.take();
    three.alice.catch_up().await.unwrap();
    let earlier = post.take();
    post.end(&three.world.network);
    deliver(&three.world, &later).await;
    deliver(&three.world, &earlier).await;
    three.rest().await;
    assert_eq!(three.shown().await, ["three (edited)"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_done_to_a_message_waits_for_it() {
    let three = Three::meet(1602).await;
    for (text, edited) in [("first", None), ("second", Some("second, better")), ("third", None)] {
        let post = HeldPost::begin(&three.world.network);
        let said = three.alice.say("bob", text).await.unwrap();
        three.alice.catch_up().await.unwrap();
        let letters = post.take();
        post.end(&three.world.network);
        three.alice.clock.tick();
        match (text, edited) {
            (_, Some(edited)) => drop(three.alice.messenger.edit(said.number, edited).await.unwrap()),
            ("first", _) => {
                three.alice.messenger.pin(said.number, true).await.unwrap();
                three.alice.messenger.react(said.number, Some("🎈".to_owned())).await.unwrap();
            }
            _ => three.alice.messenger.delete_for_everyone(vec![said.number]).await.unwrap(),
        }
        three.alice.catch_up().await.unwrap();
        three.bob.catch_up().await.unwrap();
        deliver(&three.world, &letters).await;
        three.rest().await;
    }
    let alices = id_of(&three.alice).await.as_bytes()[0];
    let lines =
        [format!("first 🎈:{alices:02x} (pinned)"), "second, better (edited)".to_owned(), "[Deleted]".to_owned()];
    assert_eq!(three.shown().await, lines);
    assert!(!keeps(&three.bob, "third") && !keeps(&three.alice, "third"));
    assert_eq!(
        three.bob.messenger.conversations(sotto_core::records::Chats::Main, None, 1).await.unwrap()[0].unread,
        2,
        "what is gone is not unread"
    );
}

#[tokio::test(start_paused = true)]
async fn of_each_person_one_reaction_counts_and_is_theirs_to_take_back() {
    let three = Three::meet(1603).await;
    three.alice.say("bob", "cake?").await.unwrap();
    three.rest().await;
    let (alice, bob) = (id_of(&three.alice).await.as_bytes()[0], id_of(&three.bob).await.as_bytes()[0]);
    let (ours, theirs) = (last(&three.alice, "bob").await.number, last(&three.bob, "alice").await.number);
    let react = async |person: &Person, number, emoji: Option<&str>| {
        person.clock.tick();
        person.messenger.react(number, emoji.map(str::to_owned)).await.unwrap();
        three.rest().await;
    };
    react(&three.bob, theirs, Some("👍🏽")).await;
    react(&three.alice, ours, Some("🎂")).await;
    assert_eq!(three.shown().await, [format!("cake? 👍🏽:{bob:02x} 🎂:{alice:02x}")]);
    react(&three.bob, theirs, Some("❤️")).await;
    assert_eq!(three.shown().await, [format!("cake? 🎂:{alice:02x} ❤️:{bob:02x}")]);
    let tablets = last(&three.tablet, "bob").await.number;
    react(&three.tablet, tablets, None).await;
    assert_eq!(three.shown().await, [format!("cake? ❤️:{bob:02x}")]);
    react(&three.bob, theirs, None).await;
    assert_eq!(three.shown().await, ["cake?"]);
    assert_eq!(three.bob.database().number("SELECT count(*) FROM deed"), 2, "of each the last");
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_is_not_said() {
    let three = Three::meet(1604).await;
    let said = three.alice.say("bob", "as it is").await.unwrap();
    three.rest().await;
    three.alice.messenger.react(said.number, Some("x".to_owned())).await.unwrap();
    three.rest().await;
    let letters = three.alice.database().number("SELECT count(*) FROM outbox");
    three.alice.messenger.edit(said.number, "as it is").await.unwrap();
    three.alice.messenger.react(said.number, Some("x".to_owned())).await.unwrap();
    three.alice.messenger.pin(said.number, false).await.unwrap();
    assert_eq!(three.alice.database().number("SELECT count(*) FROM outbox"), letters);
}

#[tokio::test(start_paused = true)]
async fn both_sides_pin_and_unpin_and_the_latest_counts() {
    let three = Three::meet(1605).await;
    for text in ["the address", "chatter", "the date"] {
        three.alice.say("bob", text).await.unwrap();
        three.rest().await;
    }
    for text in ["the address", "the date"] {
        let number = numbered(&three.bob, "alice", text).await;
        three.bob.clock.tick();
        three.bob.messenger.pin(number, true).await.unwrap();
        three.rest().await;
    }
    let bobs = three.alice.contact("bob").await.unwrap().id;
    let pinned = three.alice.messenger.pinned(bobs, None, 10).await.unwrap();
    assert_eq!(pinned.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), ["the date", "the address"]);
    let behind = three.alice.messenger.pinned(bobs, Some(pinned[0].position), 10).await.unwrap();
    assert_eq!(behind.len(), 1);
    three.alice.clock.tick();
    three.alice.messenger.pin(pinned[0].number, false).await.unwrap();
    three.rest().await;
    assert_eq!(three.shown().await, ["the address (pinned)", "chatter", "the date"]);
}

#[tokio::test(start_paused = true)]
async fn of_what_was_taken_back_nothing_stays_anywhere() {
    let three = Three::meet(1606).await;
    let said = three.alice.say("bob", "a secret").await.unwrap();
    three.rest().await;
    three.alice.clock.tick();
    three.alice.messenger.edit(said.number, "another secret").await.unwrap();
    let theirs = last(&three.bob, "alice").await.number;
    three.bob.messenger.react(theirs, Some("telling".to_owned())).await.unwrap();
    three.bob.clock.tick();
    let answer = NewText { reply_to: Some(theirs), ..NewText::from("oh") };
    let alices = three.bob.contact("alice").await.unwrap().id;
    three.bob.messenger.send_text(alices, answer).await.unwrap();
    three.rest().await;
    let tablets = numbered(&three.tablet, "bob", "another secret").await;
    three.tablet.messenger.delete_for_everyone(vec![tablets]).await.unwrap();
    three.rest().await;
    assert_eq!(three.shown().await, ["[Deleted]", "oh"]);
    let quote = last(&three.alice, "bob").await.reply_to.unwrap().here.unwrap();
    assert_eq!((quote.kind, quote.text.as_str()), (Kind::Deleted, ""));
    for (person, with) in [(&three.alice, "bob"), (&three.tablet, "bob"), (&three.bob, "alice")] {
        assert!(!keeps(person, "secret") && !keeps(person, "telling"));
        let page = page(person, with).await;
        let number = page.iter().find(|message| message.kind == Kind::Deleted).unwrap().number;
        assert!(person.messenger.history(number, 10).await.unwrap().is_empty());
    }
    // Nothing can be done to it any more.
    let dead = three.alice.messenger.react(said.number, Some("x".to_owned())).await;
    assert!(matches!(dead, Err(Error::Input(InputError::WrongState { .. }))), "{dead:?}");
    let dead = three.alice.messenger.edit(said.number, "back again").await;
    assert!(matches!(dead, Err(Error::Input(InputError::WrongState { .. }))), "{dead:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_before_it_left_does_not_leave() {
    let (world, relay, alice, bob) = World::contacts(1607).await;
    world.network.set_down(&relay, true);
    let said = alice.say("bob", "never mind").await.unwrap();
    alice.messenger.delete_for_everyone(vec![said.number]).await.unwrap();
    world.network.set_down(&relay, false);
    let post = HeldPost::begin(&world.network);
    alice.catch_up().await.unwrap();
    assert_eq!(post.take().len(), 1, "that it was taken back");
    post.end(&world.network);
    assert!(!keeps(&alice, "never mind"));
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(shown(&alice, "bob").await, ["[Deleted]"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_done_to_a_message_reaches_the_others_though_it_is_taken_from_view_before_that_has_left() {
    let three = Three::meet(1727).await;
    let own = three.alice.say("bob", "said").await.unwrap();
    three.bob.say("alice", "answered").await.unwrap();
    three.rest().await;
    three.alice.clock.tick();
    let answer = last(&three.alice, "bob").await.number;
    let relay = three.alice.messenger.account().await.unwrap().relays.remove(0);
    three.world.network.set_down(&relay, true);
    three.alice.messenger.edit(own.number, "said better").await.unwrap();
    three.alice.messenger.react(answer, Some("+1".to_owned())).await.unwrap();
    three.alice.messenger.pin(answer, true).await.unwrap();
    three.alice.messenger.delete_for_me(vec![own.number, answer]).await.unwrap();
    three.world.network.set_down(&relay, false);
    three.rest().await;
    let mut seen = page(&three.bob, "alice").await;
    seen.retain(|message| !message.text.is_empty());
    assert_eq!(seen.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), ["said better", "answered"]);
    assert_eq!((seen[1].reactions.len(), seen[1].is_pinned), (1, true));
    for device in [&three.alice, &three.tablet] {
        assert_eq!(shown(device, "bob").await, [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_from_view_is_so_on_all_devices_of_the_account_and_nowhere_else() {
    let three = Three::meet(1608).await;
    three.alice.say("bob", "ours").await.unwrap();
    three.rest().await;
    three.bob.say("alice", "theirs").await.unwrap();
    three.rest().await;
    let numbers = page(&three.alice, "bob").await.iter().map(|message| message.number).collect();
    three.alice.messenger.delete_for_me(numbers).await.unwrap();
    three.rest().await;
    // What was said leaves this device's database when everybody has confirmed it.
    three.world.wait(DAY).await;
    three.rest().await;
    for device in [&three.alice, &three.tablet] {
        assert_eq!(shown(device, "bob").await, [""; 0]);
        assert!(!keeps(device, "ours") && !keeps(device, "theirs"));
        let chat = &device.messenger.conversations(sotto_core::records::Chats::Main, None, 1).await.unwrap()[0];
        assert_eq!((chat.unread, chat.preview.as_deref()), (0, None));
    }
    assert_eq!(shown(&three.bob, "alice").await, ["ours", "theirs"]);
    // Whatever is done to it, it does not come back.
    three.bob.clock.tick();
    let theirs = numbered(&three.bob, "alice", "theirs").await;
    three.bob.messenger.edit(theirs, "theirs again").await.unwrap();
    three.rest().await;
    assert_eq!(shown(&three.tablet, "bob").await, [""; 0]);
    assert!(!keeps(&three.tablet, "theirs"));
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_from_view_before_it_left_leaves_all_the_same() {
    let three = Three::meet(1609).await;
    let relay = three.alice.messenger.account().await.unwrap().relays.remove(0);
    three.world.network.set_down(&relay, true);
    let said = three.alice.say("bob", "on its way").await.unwrap();
    three.alice.messenger.delete_for_me(vec![said.number]).await.unwrap();
    three.world.network.set_down(&relay, false);
    three.rest().await;
    assert_eq!(shown(&three.bob, "alice").await, ["on its way"]);
    assert_eq!(shown(&three.alice, "bob").await, [""; 0]);
    assert_eq!(shown(&three.tablet, "bob").await, [""; 0]);
    three.world.wait(DAY).await;
    three.rest().await;
    assert!(!keeps(&three.alice, "on its way"));
}

#[tokio::test(start_paused = true)]
async fn notes_to_self_are_edited_pinned_and_taken_back_on_all_devices() {
    let three = Three::meet(1610).await;
    let own = id_of(&three.alice).await;
    let note = three.alice.messenger.send_text(own, "milk").await.unwrap();
    three.alice.clock.tick();
    let other = three.alice.messenger.send_text(own, "a secret").await.unwrap();
    three.rest().await;
    three.alice.clock.tick();
    three.alice.messenger.edit(note.number, "milk and bread").await.unwrap();
    three.alice.messenger.pin(note.number, true).await.unwrap();
    three.alice.messenger.delete_for_everyone(vec![other.number]).await.unwrap();
    three.rest().await;
    for device in [&three.alice, &three.tablet] {
        let notes = device.messenger.messages(own, None, 10).await.unwrap();
        assert_eq!((notes[0].text.as_str(), notes[0].is_pinned), ("milk and bread", true));
        assert_eq!(notes[1].kind, Kind::Deleted);
        assert!(!keeps(device, "a secret"));
    }
    assert_eq!(shown(&three.bob, "alice").await, [""; 0]);
}

/// Bob's device sends this in the place of what he says.
async fn says_instead(bob: &Person, content: &Content) {
    let said = bob.say("alice", "something else").await.expect("bob speaks").number;
    let content = hex(&content.encode().expect("a content"));
    bob.database().change(&format!("UPDATE message SET content = x'{content}' WHERE id = {said}"));
    bob.catch_up().await.expect("it leaves");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_has_said_is_nobodys_to_edit_take_back_or_unfeel() {
    let (world, _, alice, bob) = World::contacts(1611).await;
    let said = alice.say("bob", "mine").await.unwrap();
    alice.clock.tick();
    alice.messenger.react(said.number, Some("x".to_owned())).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    let (before, lines) = (alice.database().number("SELECT count(*) FROM deed"), shown(&alice, "bob").await);
    let text = || Text { body: "yours".to_owned(), ranges: Vec::new(), reply_to: None, forwarded: false };
    says_instead(&bob, &Content::Edit { message_id: said.id, text: text() }).await;
    says_instead(&bob, &Content::Delete(vec![said.id])).await;
    // A reaction is its sender's: there is no field to name another's.
    let target = Target { author: id_of(&alice).await, message_id: said.id };
    says_instead(&bob, &Content::Reaction { target, emoji: None }).await;
    // Nor of a message of his own that has the id of hers, or of somebody who is neither of the two.
    let stranger = Target { author: AccountId::from_bytes([9; 32]), message_id: said.id };
    says_instead(&bob, &Content::Pin { target: stranger, pinned: true }).await;
    let his = Target { author: id_of(&bob).await, message_id: said.id };
    says_instead(&bob, &Content::Pin { target: his, pinned: true }).await;
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(shown(&alice, "bob").await, lines);
    assert_eq!(alice.refused("deed_misplaced"), 4);
    assert_eq!(alice.database().number("SELECT count(*) FROM deed"), before + 1, "that he feels nothing");
    // Nor is it on one's own device.
    let theirs = last(&bob, "alice").await.number;
    for refused in [
        bob.messenger.edit(numbered(&bob, "alice", "mine").await, "yours").await.map(drop),
        bob.messenger.delete_for_everyone(vec![numbered(&bob, "alice", "mine").await, theirs]).await,
    ] {
        assert!(matches!(refused, Err(Error::Input(InputError::WrongState { .. }))), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_done_to_messages_that_never_come_is_bounded_and_forgotten() {
    let (world, _, alice, bob) = World::contacts(1612).await;
    let id = |number: u64| {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        MessageId::from_bytes(id)
    };
    for first in (0..1_280).step_by(64) {
        says_instead(&bob, &Content::Delete((first..first + 64).map(id).collect())).await;
    }
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM deed"), 1_024);
    let oldest = format!("SELECT count(*) FROM deed WHERE target = x'{}'", hex(id(0).as_bytes()));
    assert_eq!(alice.database().number(&oldest), 0);
    alice.database().change("UPDATE deed SET ends_at = ends_at - 75 * 86400000");
    world.wait(2 * DAY).await;
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM deed"), 0);
    assert_eq!(alice.database().number("SELECT count(*) FROM message WHERE kind = 20"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wild_clock_has_the_last_word_of_nothing_for_good() {
    let (world, _, alice, bob) = World::contacts(1613).await;
    let said = alice.say("bob", "the address").await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    let theirs = last(&bob, "alice").await.number;
    bob.messenger.pin(theirs, true).await.unwrap();
    // A year ahead.
    bob.database().change("UPDATE outbox SET sent_at = sent_at + 31536000000 WHERE state = 0");
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(shown(&alice, "bob").await, ["the address (pinned)"]);
    world.wait(Duration::from_secs(600)).await;
    alice.messenger.pin(said.number, false).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    assert_eq!(shown(&alice, "bob").await, ["the address"]);
    let ahead = "SELECT count(*) FROM deed WHERE (stamp >> 20) > (SELECT max(received_at) FROM message) + 86400000";
    assert_eq!(alice.database().number(ahead), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_meant_is_refused_and_changes_nothing() {
    let (world, relay, alice, bob) = World::contacts(1614).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    let to_bob = alice.say("bob", "to bob").await.unwrap().number;
    let to_carol = alice.say("carol", "to carol").await.unwrap().number;
    rest(&world, &[&alice, &bob, &carol]).await;
    let before = alice.dump();
    let (long, emoji) = ("x".repeat(65), |emoji: &str| Some(emoji.to_owned()));
    for refused in [
        alice.messenger.edit(to_bob, "").await.map(drop),
        alice.messenger.edit(to_bob, NewText { reply_to: Some(to_bob), ..NewText::from("x") }).await.map(drop),
        alice.messenger.edit(i64::MAX, "x").await.map(drop),
        alice.messenger.react(to_bob, emoji("")).await.map(drop),
        alice.messenger.react(to_bob, emoji("two words")).await.map(drop),
        alice.messenger.react(to_bob, Some(long)).await.map(drop),
        alice.messenger.react(i64::MAX, emoji("x")).await.map(drop),
        alice.messenger.pin(i64::MAX, true).await.map(drop),
        alice.messenger.delete_for_everyone(vec![]).await,
        alice.messenger.delete_for_everyone(vec![to_bob, to_carol]).await,
        alice.messenger.delete_for_everyone((0..65).collect()).await,
        alice.messenger.delete_for_me(vec![to_bob, to_carol]).await,
        alice.messenger.delete_for_me(vec![to_bob, i64::MAX]).await,
    ] {
        assert!(matches!(refused, Err(Error::Input(_))), "{refused:?}");
    }
    assert!(alice.dump() == before, "something changed");
}
