//! Subscriptions: whatever happens, the list before and the differences are what a query finds now; and whoever does not listen costs
//! nobody anything (DESIGN 7, "Public API").

use std::future::ready;
use std::time::Duration;

use sotto_core::records::{Chats, Conversation, Message};
use sotto_core::subscriptions::{Change, ChatList, Start, Timeline, TimelineChanges, apply};
use sotto_core::{Error, StoreError};
use sotto_sim::{Person, World};

use crate::rebirth::rest;

/// What there is to say now, if anything.
pub(crate) async fn now<T>(next: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        next = next => Some(next),
        () = ready(()) => None,
    }
}

/// A screen that shows what differences say.
pub(crate) struct Screen {
    chats: ChatList,
    list: Vec<Conversation>,
    timeline: Timeline,
    messages: Vec<Message>,
    ends: (bool, bool),
}

impl Screen {
    pub(crate) async fn of(person: &Person, with: &str, start: Start, count: u32) -> Self {
        let contact = person.contact(with).await.expect("they know each other").id;
        Self {
            chats: person.messenger.chat_list(Chats::Main, 50),
            list: Vec::new(),
            timeline: person.messenger.timeline(contact, start, count),
            messages: Vec::new(),
            ends: (false, false),
        }
    }

    /// Takes the differences, and counts them.
    pub(crate) async fn draw(&mut self) -> usize {
        let mut count = 0;
        while let Some(changes) = now(self.chats.next()).await {
            let changes = changes.expect("a list");
            count += changes.len();
            apply(&mut self.list, changes);
        }
        while let Some(changes) = now(self.timeline.next()).await {
            let TimelineChanges { changes, has_older, has_newer } = changes.expect("a window");
            count += changes.len();
            apply(&mut self.messages, changes);
            self.ends = (has_older, has_newer);
        }
        count
    }

    fn texts(&self) -> Vec<&str> {
        self.messages.iter().map(|message| message.text.as_str()).filter(|text| !text.is_empty()).collect()
    }

    /// It shows what is there.
    async fn is_right(&self, person: &Person, with: &str) {
        assert_eq!(self.difference(person, with).await, None);
    }

    /// After all differences it shows what is there, also while engines go on: nothing was to be told between two looks that differ.
    pub(crate) async fn becomes_right(&mut self, person: &Person, with: &str) {
        self.draw().await;
        loop {
            let difference = self.difference(person, with).await;
            if difference.is_none() {
                return;
            }
            assert!(self.draw().await > 0, "{difference:?}");
        }
    }

    /// Where it shows something else than a query finds.
    async fn difference(&self, person: &Person, with: &str) -> Option<String> {
        let found = person.messenger.conversations(Chats::Main, None, 50).await.expect("a list");
        if self.list != found {
            return Some(format!("{:?} instead of {found:?}", self.list));
        }
        let contact = person.contact(with).await.expect("they know each other").id;
        let all = person.messenger.messages(contact, None, u32::MAX).await.expect("all of them");
        let position = |message: Option<&Message>| message.map(|message| message.position);
        let (first, last) = (position(self.messages.first()), position(self.messages.last()));
        let (has_older, has_newer) = self.ends;
        let within = |message: &&Message| {
            (!has_older || Some(message.position) >= first) && (!has_newer || Some(message.position) <= last)
        };
        let found: Vec<_> = all.iter().filter(within).collect();
        if self.messages.len() != found.len() {
            return Some(format!("{} messages instead of {}", self.messages.len(), found.len()));
        }
        let mut pairs = self.messages.iter().zip(found);
        pairs.find(|(shown, found)| shown != found).map(|(shown, found)| format!("{shown:?} instead of {found:?}"))
    }
}

#[tokio::test(start_paused = true)]
async fn after_whatever_happens_the_differences_make_what_a_query_finds() {
    let (world, _, alice, bob) = World::contacts(1900).await;
    let tablet = world.second_device(&alice).await.unwrap();
    rest(&world, &[&alice, &tablet, &bob]).await;
    let mut screens = Vec::new();
    for (person, with) in [(&alice, "bob"), (&tablet, "bob"), (&bob, "alice")] {
        screens.push((person, with, Screen::of(person, with, Start::Newest, 5).await));
    }
    let bobs = alice.contact("bob").await.unwrap().id;
    for step in 0..14 {
        world.wait(Duration::from_secs(1)).await;
        match step {
            0 => drop(alice.say("bob", "one").await.unwrap()),
            1 => drop(bob.say("alice", "two").await.unwrap()),
            2 => {
                let number = alice.messenger.messages(bobs, None, 1).await.unwrap()[0].number;
                alice.messenger.react(number, Some("x".to_owned())).await.unwrap();
            }
            3 => alice.messenger.mark_all_read(bobs).await.unwrap(),
            4 => {
                for number in 0..6 {
                    bob.clock.tick();
                    bob.say("alice", &format!("many {number}")).await.unwrap();
                }
            }
            5 => alice.messenger.pin_conversation(bobs, true).await.unwrap(),
            6 => {
                let number =
                    bob.messenger.messages(bob.contact("alice").await.unwrap().id, None, 1).await.unwrap()[0].number;
                bob.messenger.edit(number, "the last, said otherwise").await.unwrap();
            }
            7 => {
                let number =
                    bob.messenger.messages(bob.contact("alice").await.unwrap().id, None, 2).await.unwrap()[0].number;
                bob.messenger.delete_for_everyone(vec![number]).await.unwrap();
            }
            8 => {
                let number = alice.messenger.messages(bobs, None, 3).await.unwrap()[0].number;
                alice.messenger.delete_for_me(vec![number]).await.unwrap();
            }
            9 => alice.messenger.set_draft(bobs, Some("well".into())).await.unwrap(),
            10 => alice.messenger.archive(bobs, true).await.unwrap(),
            11 => drop(bob.say("alice", "back").await.unwrap()),
            12 => alice.messenger.rename(bobs, Some("Robert".to_owned())).await.unwrap(),
            _ => alice.messenger.mute(bobs, Some(world.now())).await.unwrap(),
        }
        for settled in [false, true] {
            if settled {
                rest(&world, &[&alice, &tablet, &bob]).await;
            }
            for (person, with, screen) in &mut screens {
                let with =
                    if step > 11 && *with == "bob" && person.contact("bob").await.is_err() { "Robert" } else { with };
                screen.draw().await;
                screen.is_right(person, with).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_grows_as_somebody_scrolls_and_begins_where_they_want() {
    let (world, _, alice, bob) = World::contacts(1901).await;
    let mut noon = None;
    for number in 0..30 {
        world.wait(Duration::from_secs(60)).await;
        if number == 15 {
            noon = Some(world.now());
        }
        bob.say("alice", &format!("{number:02}")).await.unwrap();
    }
    rest(&world, &[&bob, &alice]).await;
    let bobs = alice.contact("bob").await.unwrap().id;
    let all = alice.messenger.messages(bobs, None, 100).await.unwrap();
    let mut screen = Screen::of(&alice, "bob", Start::Newest, 5).await;
    screen.draw().await;
    assert_eq!((screen.texts().join(" ").as_str(), screen.ends), ("25 26 27 28 29", (true, false)));
    screen.timeline.older(3);
    screen.draw().await;
    assert_eq!((screen.texts().join(" ").as_str(), screen.ends), ("22 23 24 25 26 27 28 29", (true, false)));
    screen.timeline.older(1_000);
    screen.draw().await;
    assert_eq!((screen.texts().len(), screen.ends), (30, (false, false)));
    let position = all.iter().find(|message| message.text == "10").unwrap().position;
    for (start, texts) in [
        (Start::FirstUnread, "00 01 02"),
        (Start::Around(position), "08 09 10 11 12"),
        (Start::Date(noon.unwrap()), "13 14 15 16 17"),
    ] {
        let mut screen = Screen::of(&alice, "bob", start, 5).await;
        screen.draw().await;
        assert_eq!(screen.texts().join(" "), texts, "{start:?}");
        assert_eq!(screen.ends, (start != Start::FirstUnread, true));
        let shown = screen.texts().len();
        screen.timeline.newer(2);
        screen.draw().await;
        assert_eq!(screen.texts().len(), shown + 2);
        // What is said behind the window is not seen in it; scrolled to the end, it is.
        screen.timeline.newer(100);
        screen.draw().await;
        assert!(!screen.ends.1);
        screen.is_right(&alice, "bob").await;
    }
    alice.messenger.mark_all_read(bobs).await.unwrap();
    let mut screen = Screen::of(&alice, "bob", Start::FirstUnread, 2).await;
    screen.draw().await;
    assert_eq!(screen.texts().join(" "), "28 29", "all is read");
    bob.say("alice", "30").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    screen.draw().await;
    assert_eq!(screen.texts().join(" "), "28 29 30");
}

#[tokio::test(start_paused = true)]
async fn a_window_is_bounded_and_lets_go_at_the_end_that_nobody_reads() {
    let (_, _, alice, _) = World::contacts(1902).await;
    let own = alice.messenger.account().await.unwrap().id;
    for number in 0..1_010 {
        alice.clock.tick();
        alice.messenger.send_text(own, number.to_string()).await.unwrap();
    }
    let notes = alice.messenger.timeline(own, Start::Newest, 10);
    let mut shown: Vec<Message> = Vec::new();
    apply(&mut shown, notes.next().await.unwrap().changes);
    notes.older(990);
    apply(&mut shown, notes.next().await.unwrap().changes);
    assert_eq!((shown.len(), shown[0].text.as_str()), (1_000, "10"));
    notes.older(5);
    let scrolled = notes.next().await.unwrap();
    apply(&mut shown, scrolled.changes);
    assert_eq!((shown.len(), shown[0].text.as_str(), shown[999].text.as_str()), (1_000, "5", "1004"));
    assert!(scrolled.has_older && scrolled.has_newer);
    notes.newer(5);
    let back = notes.next().await.unwrap();
    apply(&mut shown, back.changes);
    assert_eq!((shown.len(), shown[999].text.as_str(), back.has_newer), (1_000, "1009", false));
    alice.clock.tick();
    alice.messenger.send_text(own, "the newest").await.unwrap();
    apply(&mut shown, notes.next().await.unwrap().changes);
    assert_eq!((shown.len(), shown[0].text.as_str(), shown[999].text.as_str()), (1_000, "11", "the newest"));
}

#[tokio::test(start_paused = true)]
async fn a_window_of_long_texts_is_bounded_in_bytes_and_keeps_what_is_read() {
    const LENGTH: usize = 64 * 1024;
    let (_, _, alice, _) = World::contacts(1907).await;
    let own = alice.messenger.account().await.unwrap().id;
    let say = async |number: usize| {
        alice.clock.tick();
        let text = format!("{number:03}{}", "x".repeat(LENGTH - 3));
        alice.messenger.send_text(own, text).await.unwrap().position
    };
    let mut positions = Vec::new();
    for number in 0..150 {
        positions.push(say(number).await);
    }
    let seen = |shown: &[Message]| {
        let bytes: usize = shown.iter().map(|message| message.text.len()).sum();
        assert!(bytes <= 4 * 1024 * 1024 && shown.len() >= 32, "{bytes} bytes of {} messages", shown.len());
        let number = |message: Option<&Message>| message.unwrap().text[..3].parse::<usize>().unwrap();
        (number(shown.first()), number(shown.last()))
    };
    let notes = alice.messenger.timeline(own, Start::Newest, 200);
    let mut shown: Vec<Message> = Vec::new();
    let next = notes.next().await.unwrap();
    apply(&mut shown, next.changes);
    assert_eq!((seen(&shown), next.has_older, next.has_newer), ((86, 149), true, false));
    // What comes pushes out what is furthest away.
    say(150).await;
    apply(&mut shown, notes.next().await.unwrap().changes);
    assert_eq!(seen(&shown), (87, 150));
    // Who scrolls back keeps what they see at the top, however much they ask for.
    notes.older(500);
    let next = notes.next().await.unwrap();
    apply(&mut shown, next.changes);
    assert_eq!((seen(&shown), next.has_older, next.has_newer), ((55, 118), true, true));
    notes.newer(500);
    apply(&mut shown, notes.next().await.unwrap().changes);
    assert_eq!(seen(&shown), (87, 150));
    let middle = alice.messenger.timeline(own, Start::Around(positions[70]), 1_000);
    let mut shown: Vec<Message> = Vec::new();
    apply(&mut shown, middle.next().await.unwrap().changes);
    assert_eq!(seen(&shown), (38, 101));
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_listen_queues_nothing_and_gets_it_all_at_once() {
    let (world, _, alice, bob) = World::contacts(1903).await;
    let mut screen = Screen::of(&alice, "bob", Start::Newest, 50).await;
    screen.draw().await;
    for number in 0..20 {
        bob.say("alice", &format!("{number}")).await.unwrap();
        rest(&world, &[&bob, &alice]).await;
        alice.messenger.mark_all_read(alice.contact("bob").await.unwrap().id).await.unwrap();
    }
    let timeline = screen.timeline.next().await.unwrap();
    assert_eq!(timeline.changes.len(), 20, "one for each message, however often each changed");
    assert_eq!(screen.chats.next().await.unwrap().len(), 1);
    assert!(now(screen.chats.next()).await.is_none(), "and that is all");
}

#[tokio::test(start_paused = true)]
async fn a_next_that_is_dropped_loses_nothing_and_what_is_elsewhere_says_nothing() {
    let (world, relay, alice, bob) = World::contacts(1904).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    let contact = alice.contact("bob").await.unwrap().id;
    let timeline = alice.messenger.timeline(contact, Start::Newest, 5);
    assert!(matches!(&timeline.next().await.unwrap().changes[..], [Change::Reset { .. }]));
    for _ in 0..3 {
        assert!(now(timeline.next()).await.is_none());
    }
    alice.say("carol", "elsewhere").await.unwrap();
    rest(&world, &[&alice, &carol, &bob]).await;
    assert!(now(timeline.next()).await.is_none());
    alice.say("bob", "here").await.unwrap();
    assert!(matches!(&timeline.next().await.unwrap().changes[..], [Change::Insert { .. }]));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_said_once_and_then_it_waits_until_the_app_goes_on() {
    let (world, _, alice, bob) = World::contacts(1906).await;
    bob.say("alice", "one").await.unwrap();
    rest(&world, &[&bob, &alice]).await;
    let contact = alice.contact("bob").await.unwrap().id;
    let (chats, timeline) =
        (alice.messenger.chat_list(Chats::Main, 5), alice.messenger.timeline(contact, Start::Newest, 5));
    alice.messenger.pause().await;
    assert_eq!(now(chats.next()).await, Some(Err(Error::Paused)));
    assert_eq!(now(timeline.next()).await.map(|next| next.unwrap_err()), Some(Error::Paused));
    for _ in 0..3 {
        assert!(now(chats.next()).await.is_none() && now(timeline.next()).await.is_none());
    }
    alice.messenger.resume().await.unwrap();
    let (list, window) = (now(chats.next()).await, now(timeline.next()).await);
    assert!(matches!(&list.unwrap().unwrap()[..], [Change::Reset { items }] if items.len() == 1));
    assert!(matches!(&window.unwrap().unwrap().changes[..], [Change::Reset { items }] if items.len() == 1));
    alice.messenger.shut_down();
    for _ in 0..3 {
        let over = Error::Store(StoreError::Closed);
        assert_eq!(now(chats.next()).await, Some(Err(over.clone())));
        assert_eq!(now(timeline.next()).await, Some(Err(over)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_conversation_in_which_nothing_was_said_yet_is_empty_until_something_is() {
    let (_, _, alice, _) = World::contacts(1905).await;
    let own = alice.messenger.account().await.unwrap().id;
    let notes = alice.messenger.timeline(own, Start::Newest, 5);
    assert_eq!(notes.next().await.unwrap().changes, [Change::Reset { items: vec![] }]);
    alice.messenger.send_text(own, "milk").await.unwrap();
    assert_eq!(notes.next().await.unwrap().changes.len(), 1);
    let end = async { alice.messenger.shut_down() };
    let (ended, ()) = tokio::join!(notes.next(), end);
    assert!(ended.is_err(), "and it ends with the engine");
}
