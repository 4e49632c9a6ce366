//! What is deleted is erased (DESIGN 7, 9): nothing of its words is left in any page of any file, whoever has the key.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sotto_sim::{Person, World};

/// Longer than the index waits, receipts take, and a letter is confirmed by a letter of its own: until then what it says is held for it.
const LATER: Duration = Duration::from_secs(26 * 3_600);

const HOUR: Duration = Duration::from_secs(3_600);

async fn rest(world: &World, people: &[&Person]) {
    for _ in 0..3 {
        world.settle(people).await.expect("they settle");
        world.wait(LATER).await;
    }
}

/// All files of a profile that pauses, as whoever has the key reads them.
async fn files(person: &Person) -> Vec<u8> {
    person.messenger.pause().await;
    let files = person.plain_files();
    assert!(!files.contains_key("sotto.db-wal"), "the log goes with the pause");
    person.messenger.resume().await.expect("it goes on");
    files.into_values().collect::<Vec<_>>().concat()
}

/// How often a word stands there. Its first letters do not count: words are kept without what they share with the one before.
fn places(files: &[u8], word: &str) -> usize {
    let wanted = &word.as_bytes()[4..];
    files.windows(wanted.len()).filter(|window| *window == wanted).count()
}

async fn number_of(person: &Person, with: &str, word: &str) -> i64 {
    let contact = person.contact(with).await.expect("they know each other");
    let messages = person.messenger.messages(contact.id, None, u32::MAX).await.expect("a page");
    messages.iter().find(|message| message.text.contains(word)).expect("it is there").number
}

#[tokio::test(start_paused = true)]
async fn nothing_of_what_was_deleted_is_left_in_any_file_and_of_what_was_edited_its_history_alone() {
    let (world, _, alice, bob) = World::contacts(2400).await;
    let tablet = world.second_device(&alice).await.unwrap();
    let people = [&alice, &tablet, &bob];
    rest(&world, &people).await;
    for text in ["before", "xquixoticmarmalade", "ozeppelinbagatelle", "vparaphernaliahum", "behind"] {
        alice.say("bob", &format!("{text} and more")).await.unwrap();
    }
    rest(&world, &people).await;
    // As it is shown, as it travelled, and as a word of the index.
    let all = [("xquixoticmarmalade", 3), ("ozeppelinbagatelle", 3), ("vparaphernaliahum", 3)];
    for person in people {
        let files = files(person).await;
        assert_eq!(all.map(|(word, _)| (word, places(&files, word))), all, "the test would notice");
    }
    let number = number_of(&alice, "bob", "vparaphernaliahum").await;
    for text in ["yskullduggerynoon", "zlollygaggingdusk"] {
        alice.clock.tick();
        alice.messenger.edit(number, text).await.unwrap();
        rest(&world, &people).await;
    }
    for person in people {
        let files = files(person).await;
        // What it said once stands in the history alone, and nowhere as a word.
        let edited = [("vparaphernaliahum", 1), ("yskullduggerynoon", 1), ("zlollygaggingdusk", 3)];
        assert_eq!(edited.map(|(word, _)| (word, places(&files, word))), edited);
    }
    let for_everyone = vec![number, number_of(&alice, "bob", "xquixoticmarmalade").await];
    alice.messenger.delete_for_everyone(for_everyone).await.unwrap();
    alice.clock.tick();
    let for_me = number_of(&alice, "bob", "ozeppelinbagatelle").await;
    alice.messenger.delete_for_me(vec![for_me]).await.unwrap();
    rest(&world, &people).await;
    for (person, kept) in [(&alice, 0), (&tablet, 0), (&bob, 3)] {
        let files = files(person).await;
        for word in ["xquixoticmarmalade", "vparaphernaliahum", "yskullduggerynoon", "zlollygaggingdusk"] {
            assert_eq!(places(&files, word), 0, "{word}");
        }
        assert_eq!(places(&files, "ozeppelinbagatelle"), kept, "what one has deleted for herself the other keeps");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_hundreds_of_messages_of_all_sizes_deleted_in_any_order() {
    let (world, _, alice, bob) = World::contacts(2401).await;
    let people = [&alice, &bob];
    let mut rng = ChaCha20Rng::seed_from_u64(2401);
    let mut below = |end: usize| usize::try_from(rng.next_u32()).unwrap() % end;
    let mut words: Vec<(String, i64)> = Vec::new();
    let mut gone: Vec<String> = Vec::new();
    for round in 0..300 {
        let mut word = || (0..16).map(|_| char::from(b'a' + u8::try_from(below(26)).unwrap())).collect::<String>();
        let new = word();
        let text = |below: &mut dyn FnMut(usize) -> usize, word: &str| {
            // From a word to a few pages of the database.
            let length = [1, 3, 20, 60, 200, 600][below(6)];
            vec![word; length].join(" ")
        };
        match below(10) {
            0..=4 => {
                let said = alice.say("bob", &text(&mut below, &new)).await.unwrap();
                words.push((new, said.number));
            }
            5 | 6 if !words.is_empty() => {
                let index = below(words.len());
                alice.clock.tick();
                alice.messenger.edit(words[index].1, text(&mut below, &new)).await.unwrap();
                gone.push(std::mem::replace(&mut words[index].0, new));
            }
            _ if words.len() > 10 => {
                let (word, number) = words.swap_remove(below(words.len()));
                gone.push(word);
                alice.messenger.delete_for_everyone(vec![number]).await.unwrap();
            }
            _ => {}
        }
        if round % 10 == 9 {
            world.settle(&people).await.unwrap();
            world.wait(HOUR).await;
        }
    }
    // The last go too: an edited one keeps what it said before.
    let kept = words.split_off(words.len() / 2);
    for (word, number) in words {
        alice.messenger.delete_for_everyone(vec![number]).await.unwrap();
        gone.push(word);
    }
    rest(&world, &people).await;
    let numbers: Vec<_> = kept.iter().map(|(_, number)| *number).collect();
    for person in people {
        let files = files(person).await;
        assert!(kept.iter().all(|(word, _)| places(&files, word) >= 3), "the test would notice");
    }
    // Their histories.
    for number in numbers {
        alice.messenger.delete_for_everyone(vec![number]).await.unwrap();
    }
    gone.extend(kept.into_iter().map(|(word, _)| word));
    rest(&world, &people).await;
    for (person, name) in [(&alice, "alice"), (&bob, "bob")] {
        let files = files(person).await;
        let left: Vec<_> = gone.iter().map(|word| places(&files, word)).filter(|places| *places > 0).collect();
        assert!(left.is_empty(), "{name}: {} of {} are left, {left:?}", left.len(), gone.len());
    }
}
