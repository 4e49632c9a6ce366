//! What a text says besides its words: how they look, what they answer, that they were said elsewhere (docs/protocol.md, "Content").

use sotto_core::records::{Meaning, Message, NewText, Range, Style};
use sotto_core::{Error, InputError};
use sotto_sim::{HeldPost, Person, World};

use crate::rebirth::rest;

async fn last(person: &Person, with: &str) -> Message {
    let contact = person.contact(with).await.expect("they know each other");
    person.messenger.messages(contact.id, None, 1).await.expect("it is read").pop().expect("there is one")
}

/// What the last message with somebody answers, as far as that is here.
async fn quoted(person: &Person, with: &str) -> Option<String> {
    last(person, with).await.reply_to.expect("it is an answer").here.map(|here| here.text)
}

fn range(start: u32, length: u32, meaning: Meaning) -> Range {
    Range { start, length, meaning }
}

#[tokio::test(start_paused = true)]
async fn a_text_looks_the_same_on_the_other_side_and_on_all_devices() {
    let (world, _, alice, bob) = World::contacts(1500).await;
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&tablet, &alice, &bob]).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    let ranges = vec![
        range(0, 2, Meaning::Style(Style::Bold)),
        range(3, 3, Meaning::Mention(bobs)),
        range(7, 4, Meaning::Link("https://relay.example".to_owned())),
    ];
    let text = NewText { ranges: ranges.clone(), ..NewText::from("👍🏽 Bob, read") };
    alice.messenger.send_text(bobs, text).await.unwrap();
    rest(&world, &[&alice, &bob, &tablet]).await;
    for (person, with) in [(&alice, "bob"), (&tablet, "bob"), (&bob, "alice")] {
        let message = last(person, with).await;
        assert_eq!((message.text.as_str(), &message.ranges), ("👍🏽 Bob, read", &ranges));
        assert!(message.reply_to.is_none() && !message.is_forwarded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_beyond_the_end_is_refused_and_nothing_is_said() {
    let (_, _, alice, _) = World::contacts(1501).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    let ranges = vec![range(1, 6, Meaning::Style(Style::Bold))];
    let refused = alice.messenger.send_text(bobs, NewText { ranges, ..NewText::from("añ👍🏽日本") }).await;
    assert!(matches!(refused, Err(Error::Input(InputError::OutOfRange { .. }))), "{refused:?}");
    assert_eq!(alice.transcript("bob").await.unwrap(), [""; 0]);
    assert_eq!(alice.database().number("SELECT count(*) FROM outbox WHERE message IS NOT NULL"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_shows_what_it_answers_whoever_said_it() {
    let (world, _, alice, bob) = World::contacts(1502).await;
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&tablet, &alice, &bob]).await;
    alice.say("bob", "tea or coffee?").await.unwrap();
    rest(&world, &[&alice, &bob, &tablet]).await;
    for (answer, to) in [("tea", "tea or coffee?"), ("and cake", "tea")] {
        let (alices, question) = (bob.contact("alice").await.unwrap().id, last(&bob, "alice").await);
        assert_eq!(question.text, to);
        let text = NewText { reply_to: Some(question.number), ..NewText::from(answer) };
        bob.clock.tick();
        bob.messenger.send_text(alices, text).await.unwrap();
        rest(&world, &[&bob, &alice, &tablet]).await;
        for (person, with) in [(&bob, "alice"), (&alice, "bob"), (&tablet, "bob")] {
            assert_eq!(quoted(person, with).await.as_deref(), Some(to));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_answer_answers_is_shown_when_it_comes_and_by_reference() {
    let (world, _, alice, bob) = World::contacts(1503).await;
    let post = HeldPost::begin(&world.network);
    let first = alice.say("bob", "first").await.unwrap();
    alice.catch_up().await.unwrap();
    let held = post.take();
    post.end(&world.network);
    let bobs = alice.contact("bob").await.unwrap().id;
    alice.clock.tick();
    let answer = NewText { reply_to: Some(first.number), ..NewText::from("second") };
    alice.messenger.send_text(bobs, answer).await.unwrap();
    alice.catch_up().await.unwrap();
    let carried =
        alice.database().number("SELECT count(*) FROM message WHERE instr(content, CAST('first' AS BLOB)) > 0");
    assert_eq!(carried, 1, "its words stand in the message that says them alone");
    bob.catch_up().await.unwrap();
    assert_eq!(quoted(&bob, "alice").await, None);
    for letter in &held {
        assert!(world.network.put(letter).await);
    }
    bob.catch_up().await.unwrap();
    assert_eq!(quoted(&bob, "alice").await.as_deref(), Some("first"));
}

#[tokio::test(start_paused = true)]
async fn nobody_answers_what_was_said_elsewhere_or_by_nobody() {
    let (world, relay, alice, bob) = World::contacts(1504).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    alice.say("carol", "a secret").await.unwrap();
    let secret = last(&alice, "carol").await.number;
    let bobs = alice.contact("bob").await.unwrap().id;
    let answer = |number| NewText { reply_to: Some(number), ..NewText::from("what she said") };
    let elsewhere = alice.messenger.send_text(bobs, answer(secret)).await;
    assert!(matches!(elsewhere, Err(Error::Input(InputError::NotFound { what: "message" }))), "{elsewhere:?}");
    bob.say("alice", "hello").await.unwrap();
    rest(&world, &[&bob, &alice, &carol]).await;
    let hello = last(&alice, "bob").await.number;
    alice.database().change(&format!("UPDATE message SET kind = 4, cause = 1 WHERE id = {hello}"));
    let by_nobody = alice.messenger.send_text(bobs, answer(hello)).await;
    assert!(matches!(by_nobody, Err(Error::Input(InputError::WrongState { .. }))), "{by_nobody:?}");
    assert_eq!(alice.transcript("bob").await.unwrap(), ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_forwarded_says_so_and_neither_whose_it_is_nor_who_was_meant() {
    let (world, relay, alice, bob) = World::contacts(1505).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    let alices = bob.contact("alice").await.unwrap().id;
    let ranges = vec![range(0, 5, Meaning::Mention(alices)), range(6, 4, Meaning::Style(Style::Italic))];
    bob.messenger.send_text(alices, NewText { ranges, ..NewText::from("Alice said so") }).await.unwrap();
    rest(&world, &[&bob, &alice, &carol]).await;
    let (number, carols) = (last(&alice, "bob").await.number, alice.contact("carol").await.unwrap().id);
    alice.messenger.forward(number, carols).await.unwrap();
    rest(&world, &[&alice, &carol]).await;
    let message = last(&carol, "alice").await;
    assert_eq!((message.text.as_str(), message.is_forwarded), ("Alice said so", true));
    assert_eq!(message.ranges, [range(6, 4, Meaning::Style(Style::Italic))]);
    let bobs = bob.messenger.account().await.unwrap().id;
    let names = format!(
        "SELECT count(*) FROM message WHERE instr(content, x'{}') > 0",
        bobs.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    );
    assert_eq!(carol.database().number(&names), 0);
    alice.database().change(&format!("UPDATE message SET kind = 4, cause = 1 WHERE id = {number}"));
    let wordless = alice.messenger.forward(number, carols).await;
    assert!(matches!(wordless, Err(Error::Input(InputError::WrongState { .. }))), "{wordless:?}");
    let nothing = alice.messenger.forward(i64::MAX, carols).await;
    assert!(matches!(nothing, Err(Error::Input(InputError::NotFound { .. }))), "{nothing:?}");
}
