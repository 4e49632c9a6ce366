//! Finding what was said, and opening a conversation there (DESIGN 7, "Search").

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sotto_core::records::{Message, SearchPage, SearchQuery};
use sotto_core::{Error, Event, InputError, danger};
use sotto_protocol::{AccountId, Timestamp};
use sotto_sim::{Person, World};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than the index waits before it follows.
const SOON: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const PAGE: u32 = 100;

async fn search(person: &Person, query: impl Into<SearchQuery>) -> SearchPage {
    person.messenger.search(query, None, PAGE).await.expect("it is a search")
}

/// The texts of what is found.
async fn found(person: &Person, query: impl Into<SearchQuery>) -> Vec<String> {
    let page = search(person, query).await;
    assert!(page.is_complete && page.next.is_none());
    page.hits.into_iter().map(|hit| hit.message.text).collect()
}

async fn own(person: &Person) -> AccountId {
    person.messenger.account().await.expect("an account").id
}

/// Alice, who has noted down some texts, the first one first.
async fn noted(seed: u64, texts: &[&str]) -> (World, Person) {
    let world = World::seeded(seed);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", &[relay]).await.expect("alice begins");
    for text in texts {
        note(&alice, text).await;
        world.wait(SECOND).await;
    }
    (world, alice)
}

async fn note(person: &Person, text: &str) -> Message {
    person.clock.tick();
    person.messenger.send_text(own(person).await, text.to_owned()).await.expect("it is noted")
}

#[tokio::test(start_paused = true)]
async fn words_are_found_whole_and_the_last_by_its_beginning_whatever_their_case_and_marks() {
    let texts = ["The train is late", "Mañana en el café", "trainspotting über alles", "İstanbul'da ılık"];
    let (_, alice) = noted(1700, &texts).await;
    for (typed, expected) in [
        ("train", &[2, 0][..]),
        ("train ", &[2, 0]),
        ("TRAIN late", &[0]),
        ("late train", &[2, 0][1..]),
        ("tra is", &[]),
        ("manana cafe", &[1]),
        ("MAÑ", &[1]),
        ("uber", &[2]),
        ("istanbul ilık", &[3]),
        ("spotting", &[]),
        ("t", &[2, 0]),
        ("trainspottingx", &[]),
    ] {
        let expected: Vec<_> = expected.iter().map(|index| texts[*index]).collect();
        assert_eq!(found(&alice, typed).await, expected, "{typed}");
    }
}

#[tokio::test(start_paused = true)]
async fn scripts_without_spaces_are_found_by_any_stretch_of_a_run() {
    let texts = ["今日は雨です、傘を持って", "วันนี้ฉันกินข้าวแล้ว", "친구가 내일 온다", "コーヒーを飲む", "我买了iPhone手机"];
    let (_, alice) = noted(1701, &texts).await;
    for (typed, expected) in [
        ("今日", Some(0)),
        ("雨", Some(0)),
        ("雨で", Some(0)),
        ("日は雨で", Some(0)),
        ("傘 今日", Some(0)),
        ("す傘", None),
        ("日今", None),
        ("กินข้าว", Some(1)),
        ("ข้าว", Some(1)),
        ("แล้ว", Some(1)),
        ("친구", Some(2)),
        ("구가", Some(2)),
        ("내", Some(2)),
        ("コーヒー", Some(3)),
        ("ｺｰﾋｰ", Some(3)),
        ("飲む", Some(3)),
        ("了iphone", Some(4)),
        ("iphone手机", Some(4)),
        ("手", Some(4)),
        ("买 iph", Some(4)),
        ("手买", None),
    ] {
        let expected: Vec<_> = expected.iter().map(|index| texts[*index]).collect();
        assert_eq!(found(&alice, typed).await, expected, "{typed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_picture_is_found_in_every_shade_and_beside_any_word() {
    let (_, alice) = noted(1702, &["well done👍🏽", "👍 again", "👨\u{200d}👩\u{200d}👧 come", "I ❤\u{fe0f} you"]).await;
    assert_eq!(found(&alice, "👍").await.len(), 2);
    assert_eq!(found(&alice, "👍🏿 done").await, ["well done👍🏽"]);
    assert_eq!(found(&alice, "👨\u{200d}👩").await.len(), 1);
    assert_eq!(found(&alice, "❤").await.len(), 1);
    assert_eq!(found(&alice, "🎉").await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn quotes_hold_words_together_and_nothing_else_that_is_typed_means_anything() {
    let texts = ["the cat sat", "sat the cat", "cat OR dog", "words : near(cat)"];
    let (_, alice) = noted(1703, &texts).await;
    assert_eq!(found(&alice, "\"the cat\" sat").await.len(), 2);
    assert_eq!(found(&alice, "\"cat sat\"").await, ["the cat sat"]);
    assert_eq!(found(&alice, "\u{201c}cat sa").await, ["the cat sat"]);
    assert_eq!(found(&alice, "\"cat sa\"").await, [""; 0]);
    assert_eq!(found(&alice, "dog OR cat").await, ["cat OR dog"]);
    assert_eq!(found(&alice, "dog OR sat").await, [""; 0]);
    assert_eq!(found(&alice, "words:cat").await, [""; 0]);
    assert_eq!(found(&alice, "near(cat)").await, ["words : near(cat)"]);
    assert_eq!(found(&alice, "place : \u{f0001}").await, [""; 0]);
    for typed in
        ["*", "\"", "\"\"", "(", "NOT", "cat\u{0}*", "^cat", "-cat", "{words} : c", "cat + sat", "'", "AND", "a\"b\"c*"]
    {
        search(&alice, typed).await;
    }
    assert_eq!(found(&alice, "^cat").await.len(), 4);
    assert_eq!(found(&alice, "?!").await, [""; 0], "signs alone are nowhere");
    let long = alice.messenger.search("word ".repeat(14_000), None, 1).await;
    assert!(matches!(long, Err(Error::Input(InputError::TooLong { .. }))));
    assert_eq!(found(&alice, "cat ".repeat(10_000)).await.len(), 4);
}

/// Alice with two contacts and her notes: what was said with whom, one second after the other.
async fn three_chats(seed: u64) -> (World, Person, Person, Person) {
    let (world, relay, alice, bob) = World::contacts(seed).await;
    let carol = world.person("carol", &[relay]).await.expect("carol begins");
    world.introduce(&alice, &carol).await.expect("they meet");
    for round in 0..3 {
        for (from, to, text) in [(&alice, "bob", "to bob"), (&bob, "alice", "of bob"), (&carol, "alice", "of carol")] {
            from.say(to, &format!("lunch {round} {text}")).await.expect("they speak");
            world.wait(SECOND).await;
        }
        world.settle(&[&alice, &bob, &carol]).await.expect("it arrives");
        note(&alice, &format!("lunch {round} to myself")).await;
        world.wait(SECOND).await;
    }
    (world, alice, bob, carol)
}

#[tokio::test(start_paused = true)]
async fn a_search_keeps_to_a_chat_a_sender_and_a_time_and_shows_the_newest_first() {
    let (_world, alice, ..) = three_chats(1704).await;
    let (bob, carol) = (alice.contact("bob").await.unwrap().id, alice.contact("carol").await.unwrap().id);
    let me = own(&alice).await;
    let all = search(&alice, "lunch").await.hits;
    assert_eq!(all.len(), 12);
    assert!(all.windows(2).all(|pair| pair[0].message.position > pair[1].message.position), "the newest first");
    assert_eq!(all.iter().filter(|hit| hit.with == me).count(), 3);
    assert!(all.iter().all(|hit| hit.with != bob || hit.message.text.ends_with("bob")));
    let lunch = |conversation, sender| SearchQuery { conversation, sender, ..SearchQuery::from("lunch") };
    assert_eq!(found(&alice, lunch(Some(bob), None)).await.len(), 6);
    assert_eq!(found(&alice, lunch(Some(bob), Some(me))).await, ["lunch 2 to bob", "lunch 1 to bob", "lunch 0 to bob"]);
    assert_eq!(found(&alice, lunch(Some(bob), Some(carol))).await, [""; 0]);
    assert_eq!(found(&alice, lunch(None, Some(me))).await.len(), 6);
    assert_eq!(found(&alice, lunch(Some(me), None)).await.len(), 3);
    // Without words, what the rest is true of.
    assert_eq!(found(&alice, SearchQuery { sender: Some(carol), ..SearchQuery::default() }).await.len(), 3);
    let (first, last) = (all[7].message.sent_at, all[3].message.sent_at);
    for words in ["", "lunch"] {
        let within = SearchQuery { since: Some(first), until: Some(last), ..SearchQuery::from(words) };
        let expected: Vec<_> = all[4..=7].iter().map(|hit| hit.message.text.clone()).collect();
        assert_eq!(found(&alice, within).await, expected, "from the first moment on, up to before the last");
    }
    let nothing = alice.messenger.search(" ", None, 10).await;
    assert!(matches!(nothing, Err(Error::Input(InputError::Empty { .. }))));
    let stranger = Some(AccountId::from_bytes([9; 32]));
    for query in [lunch(stranger, None), lunch(None, stranger)] {
        let unknown = alice.messenger.search(query, None, 10).await;
        assert!(matches!(unknown, Err(Error::Input(InputError::NotFound { .. }))));
    }
}

#[tokio::test(start_paused = true)]
async fn pages_go_on_where_the_last_one_ended_whatever_comes_meanwhile() {
    let (world, alice, bob, _) = three_chats(1705).await;
    let expected = found(&alice, "lunch").await;
    for limit in [1, 5, 11, 12] {
        let (mut texts, mut before) = (Vec::new(), None);
        loop {
            let page = alice.messenger.search("lunch", before, limit).await.unwrap();
            assert!(page.hits.len() <= limit as usize && !page.hits.is_empty());
            texts.extend(page.hits.into_iter().map(|hit| hit.message.text));
            bob.say("alice", &format!("more {limit} lunchs")).await.unwrap();
            world.settle(&[&bob, &alice]).await.unwrap();
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        let of_then: Vec<_> = texts.into_iter().filter(|text| text.starts_with("lunch")).collect();
        assert_eq!(of_then, expected, "pages of {limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hit_shows_where_it_was_found() {
    let (_, alice) = noted(1706, &[&format!("{} Ñandú {}", "before ".repeat(40), "behind ".repeat(40))]).await;
    let hit = search(&alice, "nandu").await.hits.pop().unwrap();
    let [place] = hit.snippet.matches[..] else { unreachable!("one place") };
    let marked: String = hit.snippet.text.chars().skip(place.start as usize).take(place.length as usize).collect();
    assert_eq!(marked, "Ñandú");
    assert!(hit.snippet.text.starts_with('…') && hit.snippet.text.chars().count() < 125);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_opened_at_a_hit_and_at_a_date() {
    let (world, alice) = noted(1707, &[]).await;
    let mut all = Vec::new();
    for number in 0..20 {
        all.push(note(&alice, &format!("note {number}")).await);
        world.wait(DAY).await;
    }
    let (me, messenger) = (own(&alice).await, &alice.messenger);
    let numbers = |messages: Vec<Message>| messages.iter().map(|message| message.number).collect::<Vec<_>>();
    let those = |range: std::ops::Range<usize>| all[range].iter().map(|message| message.number).collect::<Vec<_>>();
    let hit = search(&alice, "\"note 7\"").await.hits.pop().unwrap().message;
    assert_eq!(numbers(messenger.messages_around(me, hit.position, 6).await.unwrap()), those(4..10));
    assert_eq!(numbers(messenger.messages_around(me, hit.position, 5).await.unwrap()), those(5..10));
    assert_eq!(numbers(messenger.messages_around(me, all[0].position, 4).await.unwrap()), those(0..2));
    assert_eq!(numbers(messenger.messages_after(me, hit.position, 3).await.unwrap()), those(8..11));
    assert_eq!(numbers(messenger.messages_after(me, all[18].position, 3).await.unwrap()), those(19..20));
    let at = |time: Timestamp| messenger.first_message_since(me, time);
    assert_eq!(at(all[5].sent_at).await.unwrap().map(|message| message.number), Some(all[5].number));
    let behind = all[5].sent_at.after(Duration::from_millis(1));
    assert_eq!(at(behind).await.unwrap().map(|message| message.number), Some(all[6].number));
    assert_eq!(at(Timestamp::EPOCH).await.unwrap().map(|message| message.number), Some(all[0].number));
    assert_eq!(at(world.now()).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn the_index_follows_by_itself_behind_what_is_said_and_not_within_it() {
    let (world, _, alice, bob) = World::contacts(1708).await;
    world.wait(SOON).await;
    let rows = |person: &Person| person.database().number("SELECT count(*) FROM search_row");
    alice.say("bob", "hello").await.unwrap();
    assert_eq!(rows(&alice), 0);
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!((rows(&alice), rows(&bob)), (0, 0));
    world.wait(SOON).await;
    assert_eq!((rows(&alice), rows(&bob)), (1, 1));
    danger::fail_write(&alice.messenger, 0);
    assert_eq!(found(&alice, "hello").await, ["hello"]);
    assert_eq!(danger::writes(&alice.messenger), 0, "there was nothing left to do");
}

#[tokio::test(start_paused = true)]
async fn where_much_came_at_once_a_page_says_so_until_it_is_filled() {
    let (world, alice) = noted(1709, &["the first"]).await;
    world.wait(SOON).await;
    alice.database().change(
        "WITH RECURSIVE number (n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM number WHERE n < 700)
         INSERT INTO message (id, conversation, sender, message_id, sent_at, received_at, kind, text, content, state, position)
         SELECT n, 1, 0, randomblob(16), n, n, 1, 'the last ' || n, x'', 2, n << 32 FROM number",
    );
    let mut events = alice.messenger.events();
    let mut told =
        || std::iter::from_fn(|| events.try_recv().ok()).filter(|event| *event == Event::SearchIndexed).count();
    let page = search(&alice, "the").await;
    assert_eq!((page.hits.len(), page.is_complete, told()), (1, false, 0));
    world.wait(SECOND).await;
    assert_eq!(told(), 1, "it can be searched once more");
    let page = search(&alice, "the").await;
    assert_eq!((page.hits.len(), page.is_complete), (PAGE as usize, true));
    assert_eq!(found(&alice, "\"last 700\"").await.len(), 1);
    world.wait(SOON).await;
    assert_eq!(told(), 0, "there was nothing to fill");
}

#[tokio::test(start_paused = true)]
async fn the_index_is_whole_again_after_a_kill_at_every_write_of_its_filling() {
    for of_search in [false, true] {
        let (world, mut alice) = noted(1710, &[]).await;
        world.wait(SOON).await;
        let mut said = Vec::new();
        for step in 1..100 {
            for part in ["a", "b"] {
                said.push(format!("needle {part}{step}"));
                note(&alice, said.last().unwrap()).await;
            }
            alice.catch_up().await.unwrap();
            danger::fail_writes_from(&alice.messenger, step);
            if of_search {
                let page = search(&alice, "needle").await;
                assert_eq!(page.is_complete, danger::writes(&alice.messenger) < step);
                let has_new = usize::from(page.is_complete) * 2;
                assert_eq!(page.hits.len(), said.len() - 2 + has_new, "killed at write {step}");
            } else {
                world.wait(SOON).await;
            }
            let passed = danger::writes(&alice.messenger) < step;
            alice = world.reopen(alice).await.unwrap();
            if !of_search {
                world.wait(SOON).await;
                let filled = alice.database().number("SELECT count(*) FROM search_row");
                assert_eq!(usize::try_from(filled).unwrap(), said.len(), "killed at write {step}");
            }
            alice.database().change("INSERT INTO search (search) VALUES ('integrity-check')");
            let newest_first: Vec<_> = said.iter().rev().cloned().collect();
            assert_eq!(found(&alice, "needle").await, newest_first, "killed at write {step}");
            if passed {
                assert!(step > 6, "filling two messages takes more writes than {step}");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_opened_is_found_once_it_takes_its_place() {
    let (world, _, alice, bob) = World::contacts(1711).await;
    for (from, to, name) in [(&alice, &bob, "bob"), (&bob, &alice, "alice")] {
        from.say(name, "before").await.unwrap();
        world.settle(&[from, to]).await.unwrap();
    }
    bob.database().change("DELETE FROM session");
    alice.say("bob", "a needle").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.wait(SOON).await;
    assert_eq!(bob.database().number("SELECT count(*) FROM message WHERE kind = 3"), 1);
    let last = bob.database().number("SELECT max(id) FROM message");
    assert_eq!(bob.database().number("SELECT done FROM search_fill"), last, "the index has passed its place");
    assert_eq!(found(&bob, "needle").await, [""; 0]);
    bob.say("alice", "what did you say?").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.wait(5 * MINUTE).await;
    assert_eq!(found(&bob, "needle").await, ["a needle"]);
    assert_eq!(found(&bob, "b").await, ["before", "before"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_wild_clock_dated_is_found_where_it_stands_once_that_is_set_right() {
    let (world, alice) = noted(1712, &["needle before"]).await;
    world.network.set_clocks_ahead(30 * DAY);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    note(&alice, "needle while wild").await;
    world.wait(SOON).await;
    let wild = SearchQuery { since: Some(world.now().after(20 * DAY)), ..SearchQuery::from("needle") };
    assert_eq!(found(&alice, wild.clone()).await, ["needle while wild"]);
    world.network.set_clocks_ahead(Duration::ZERO);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(DAY).await;
    note(&alice, "needle since").await;
    assert_eq!(found(&alice, "needle").await, ["needle since", "needle while wild", "needle before"]);
    assert_eq!(found(&alice, wild).await, [""; 0]);
    alice.database().change("INSERT INTO search (search) VALUES ('integrity-check')");
}

/// What a message must hold, by a search of the simplest kind.
fn holds(text: &str, typed: &[&str]) -> bool {
    let words: Vec<_> = text.split(' ').collect();
    let is_last = |index: usize| index + 1 == typed.len();
    typed.iter().enumerate().all(|(index, wanted)| {
        let is_run = !wanted.is_ascii();
        words.iter().any(|word| {
            word == wanted || (is_run && word.contains(wanted)) || (is_last(index) && word.starts_with(wanted))
        })
    })
}

#[tokio::test(start_paused = true)]
async fn of_hundreds_of_random_messages_the_same_are_found_as_by_reading_them_all() {
    const WORDS: [&str; 16] = [
        "a",
        "an",
        "ant",
        "anthem",
        "tea",
        "team",
        "teapot",
        "lunch",
        "train",
        "42",
        "今日",
        "今日雨",
        "日今",
        "雨",
        "กิน",
        "친구",
    ];
    let (world, relay, alice, bob) = World::contacts(1713).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1713);
    let mut below = |end: usize| usize::try_from(rng.next_u32()).unwrap() % end;
    let people = [own(&alice).await, own(&bob).await, own(&carol).await];
    for round in 0..300 {
        let text: Vec<_> = (0..=below(5)).map(|_| WORDS[below(WORDS.len())]).collect();
        let text = text.join(" ");
        match below(5) {
            0 => drop(note(&alice, &text).await),
            1 => drop(alice.say("bob", &text).await.unwrap()),
            2 => drop(alice.say("carol", &text).await.unwrap()),
            3 => drop(bob.say("alice", &text).await.unwrap()),
            _ => drop(carol.say("alice", &text).await.unwrap()),
        }
        if below(3) == 0 {
            world.wait(Duration::from_millis(u64::try_from(below(20_000)).unwrap())).await;
        }
        if round % 25 == 24 {
            world.settle(&[&alice, &bob, &carol]).await.unwrap();
        }
    }
    let mut all: Vec<(AccountId, Message)> = Vec::new();
    for with in people {
        let messages = alice.messenger.messages(with, None, u32::MAX).await.unwrap();
        all.extend(messages.into_iter().map(|message| (with, message)));
    }
    all.sort_by_key(|(_, message)| message.position);
    let mut hits = 0;
    for _ in 0..400 {
        let typed: Vec<_> = (0..=below(3)).map(|_| WORDS[below(WORDS.len())]).collect();
        let pick = |choice: usize| people.get(choice).copied();
        let (conversation, sender) = (pick(below(6)), pick(below(9)));
        let mut moment = || (below(4) == 0).then(|| all[below(all.len())].1.sent_at);
        let (since, until) = (moment(), moment());
        let expected: Vec<_> = all
            .iter()
            .rev()
            .filter(|(with, message)| {
                holds(&message.text, &typed)
                    && conversation.is_none_or(|of| of == *with)
                    && sender.is_none_or(|of| of == message.sender)
                    && since.is_none_or(|since| message.sent_at >= since)
                    && until.is_none_or(|until| message.sent_at < until)
            })
            .map(|(_, message)| message.number)
            .collect();
        let query = SearchQuery { words: typed.join(" "), conversation, sender, since, until };
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = alice.messenger.search(query.clone(), before, 7).await.unwrap();
            assert!(page.hits.iter().all(|hit| !hit.snippet.matches.is_empty()), "{typed:?}");
            found.extend(page.hits.into_iter().map(|hit| hit.message));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        hits += expected.len();
        let second = |message: &Message| message.sent_at.as_ms() / 1_024;
        assert!(found.windows(2).all(|pair| second(&pair[0]) >= second(&pair[1])), "{typed:?}");
        found.sort_by_key(|message| std::cmp::Reverse(message.position));
        let numbers: Vec<_> = found.iter().map(|message| message.number).collect();
        assert_eq!(numbers, expected, "{typed:?}");
    }
    assert!(hits > 2_000, "{hits}");
}

#[tokio::test(start_paused = true)]
async fn what_was_said_otherwise_is_found_by_its_words_of_now_and_what_was_taken_back_by_none() {
    let (world, alice) = noted(1750, &["the trian is late", "a secret", "chatter"]).await;
    world.wait(SOON).await;
    let notes = alice.messenger.messages(own(&alice).await, None, 10).await.unwrap();
    alice.clock.tick();
    alice.messenger.edit(notes[0].number, "the train has come").await.unwrap();
    alice.messenger.delete_for_everyone(vec![notes[1].number]).await.unwrap();
    alice.messenger.delete_for_me(vec![notes[2].number]).await.unwrap();
    for (typed, expected) in [("train", 1), ("come", 1), ("trian", 0), ("late", 0), ("secret", 0), ("chatter", 0)] {
        assert_eq!(found(&alice, typed).await.len(), expected, "{typed}");
    }
    assert_eq!(alice.database().number("SELECT count(*) FROM search_row"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_little_that_is_more_than_a_search_fills_is_filled_behind_it() {
    let (_, _, alice, _) = World::contacts(1790).await;
    let own = alice.messenger.account().await.unwrap().id;
    for number in 0..5 {
        alice.clock.tick();
        alice.messenger.send_text(own, format!("{number} needle {}", "hay ".repeat(7_500))).await.unwrap();
    }
    let page = alice.messenger.search("needle", None, 10).await.unwrap();
    assert!(!page.is_complete && page.hits.len() < 5, "{} hits", page.hits.len());
    // No time passes, and others have their turn.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let page = alice.messenger.search("needle", None, 10).await.unwrap();
    assert_eq!((page.is_complete, page.hits.len()), (true, 5));
}
