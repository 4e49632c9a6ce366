use std::collections::BTreeSet;

use rusqlite::Connection;

use super::*;
use crate::store::{DatabaseKey, ProfileLock, Store, Threading};

const OWN: AccountId = AccountId::from_bytes([1; 32]);
const HOUR: i64 = 3_600_000 << 20;

/// A database with two chats, of which one is with a contact.
async fn store() -> (tempfile::TempDir, Store) {
    let place = tempfile::tempdir().unwrap();
    let key = DatabaseKey::from_bytes([7; 32]);
    let lock = ProfileLock::of_new(place.path()).unwrap();
    let fill = |tx: &mut Tx<'_>| {
        let contact = "INSERT INTO contact (id, account, name, state, relay, chain, chain_key, manifest, epoch, version, hash, manifest_read_at, created_at)
             VALUES (1, ?1, 'bob', 3, '', x'', x'', x'', 1, 1, x'', 1, 1)";
        tx.execute(contact, [[2_u8; 32]])?;
        tx.execute("INSERT INTO conversation (id, conversation, contact) VALUES (1, zeroblob(32), NULL), (2, randomblob(32), 1)", [])?;
        Ok::<_, StoreError>(())
    };
    Store::create(&lock, &key, Threading::Inline, fill).await.unwrap();
    let store = Store::open(lock, &key, Threading::Inline).unwrap();
    (place, store)
}

fn say(tx: &mut Tx<'_>, id: i64, conversation: i64, sender: i64, position: i64, text: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO message (id, conversation, sender, message_id, sent_at, received_at, kind, text, content, state, position)
         VALUES (?1, ?2, ?3, CAST(printf('%016d', ?1) AS BLOB), 1, 1, 1, ?5, x'', 10, ?4)",
        params![id, conversation, sender, position, text],
    )
    .map(drop)
}

fn anything(words: &str) -> Asked {
    Asked { phrases: Phrases::parse(words), conversation: None, sender: None, since: None, until: None }
}

async fn found(store: &Store, asked: Asked) -> Vec<i64> {
    let page = store.read(move |view| find(view, &OWN, &asked, None, 1_000)).await.unwrap();
    page.hits.into_iter().map(|hit| hit.message.number).collect()
}

async fn fill_all(store: &Store) {
    while store.read(rest).await.unwrap() != Rest::None {
        store.write(batch).await.unwrap();
    }
}

/// Every byte of the index.
async fn bytes(store: &Store) -> Vec<u8> {
    let read = |view: &Connection| view.all("SELECT block FROM search_data", [], |row| row.get::<_, Vec<u8>>(0));
    store.read(read).await.unwrap().concat()
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

async fn check_index(store: &Store) {
    let check = |tx: &mut Tx<'_>| tx.execute("INSERT INTO search (search) VALUES ('integrity-check')", []).map(drop);
    assert_eq!(store.write(check).await, Ok(()));
}

#[tokio::test]
async fn nothing_of_the_words_of_what_is_forgotten_is_left() {
    let (_place, store) = store().await;
    // Enough for several segments and many pages, so that there are merges before and behind it.
    let filler: Vec<_> = (0..40).map(|word| format!("zq{word}x")).collect();
    let secret = "wyvernkey 秘密鍵 xylophonist";
    store
        .write(move |tx| {
            for id in 1..=400 {
                let text = if id == 200 { secret.to_owned() } else { format!("{} {id}", filler.join(" ")) };
                say(tx, id, 1, 0, id * HOUR, &text)?;
            }
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    fill_all(&store).await;
    for word in ["wyvernkey", "秘密", "密鍵", "鍵", "xylophonist"] {
        assert_eq!(found(&store, anything(word)).await, [200]);
    }
    // Terms are kept without what they share with the one before: "wyvernkey" and "xylophonist" begin with letters that no other has.
    let parts = ["wyv", "vernkey", "xylo", "lophonist", "\u{5bc6}", "\u{9375}"];
    let before = bytes(&store).await;
    assert!(parts.iter().all(|part| holds(&before, part)), "the test would notice");
    store
        .write(|tx| {
            forget(tx, MessageRow(200))?;
            tx.execute("DELETE FROM message WHERE id = 200", []).map(drop)
        })
        .await
        .unwrap();
    let after = bytes(&store).await;
    let left: Vec<_> = parts.iter().filter(|part| holds(&after, part)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(found(&store, anything("wyvernkey")).await, [0; 0]);
    assert_eq!(found(&store, anything("zq7x")).await.len(), 399);
    check_index(&store).await;
    // A later merge brings nothing back.
    store.write(|tx| tx.execute("INSERT INTO search (search) VALUES ('optimize')", []).map(drop)).await.unwrap();
    let merged = bytes(&store).await;
    assert!(!parts.iter().any(|part| holds(&merged, part)));
    check_index(&store).await;
}

#[tokio::test]
async fn what_changes_moves_or_goes_is_found_as_it_is_whether_the_index_has_come_to_it_or_not() {
    let (_place, store) = store().await;
    let mut seed = 1_u64;
    let mut chance = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut there: Vec<(i64, i64, u64)> = Vec::new();
    for step in 1..=600_i64 {
        let (word, position) = (chance(12), i64::try_from(chance(2_000)).unwrap() << 28);
        match chance(6) {
            0 if !there.is_empty() => {
                let (id, ..) = there.swap_remove(usize::try_from(chance(there.len() as u64)).unwrap());
                let go = move |tx: &mut Tx<'_>| {
                    forget(tx, MessageRow(id))?;
                    tx.execute("DELETE FROM message WHERE id = ?1", [id]).map(drop)
                };
                store.write(go).await.unwrap();
            }
            1 if !there.is_empty() => {
                let index = usize::try_from(chance(there.len() as u64)).unwrap();
                let id = there[index].0;
                there[index] = (id, position, word);
                let change = move |tx: &mut Tx<'_>| {
                    forget(tx, MessageRow(id))?;
                    let sql = "UPDATE message SET text = ?2, position = ?3 WHERE id = ?1";
                    tx.execute(sql, params![id, format!("word{word} 語{word}語"), position])?;
                    put(tx, MessageRow(id))
                };
                store.write(change).await.unwrap();
            }
            2 => store.write(batch).await.unwrap(),
            _ => {
                there.push((step, position, word));
                let text = format!("word{word} 語{word}語");
                store.write(move |tx| say(tx, step, 1 + step % 2, step % 2, position, &text)).await.unwrap();
            }
        }
    }
    store.write(batch).await.unwrap();
    assert_eq!(store.read(rest).await, Ok::<_, StoreError>(Rest::None));
    for word in 0..12 {
        let expected: BTreeSet<_> = there.iter().filter(|(_, _, of)| *of == word).map(|(id, ..)| *id).collect();
        let ids = found(&store, anything(&format!("\"word{word}\""))).await;
        assert_eq!(ids.iter().copied().collect::<BTreeSet<_>>(), expected);
        let second = |id: &i64| there.iter().find(|(other, ..)| other == id).map(|(_, position, _)| position >> 30);
        assert!(ids.windows(2).all(|pair| second(&pair[0]) >= second(&pair[1])), "the newest first");
    }
    check_index(&store).await;
}

#[tokio::test]
async fn an_index_that_has_grown_becomes_one_piece_step_by_step_and_stays_whole() {
    let (_place, store) = store().await;
    for part in 0..60 {
        let fill = move |tx: &mut Tx<'_>| {
            for id in part * 75 + 1..=part * 75 + 75 {
                say(tx, id, 1, 0, id * HOUR, &format!("all of number{id} 今日{id}"))?;
            }
            batch(tx)
        };
        store.write(fill).await.unwrap();
    }
    let pieces =
        |view: &Connection| view.one("SELECT count(DISTINCT segid) FROM search_idx", [], |row| row.get::<_, i64>(0));
    assert!(store.read(fill::is_apart).await.unwrap());
    let apart = store.read(pieces).await.unwrap();
    assert!(apart > Some(2), "{apart:?}");
    let mut steps = 0;
    while store.read(fill::is_apart).await.unwrap() {
        store.write(fill::merge).await.unwrap();
        steps += 1;
    }
    assert_eq!(store.read(pieces).await, Ok(Some(1)));
    assert!((2..50).contains(&steps), "{steps}");
    assert_eq!(found(&store, anything("number77")).await, [77].into_iter().chain(770..=779).rev().collect::<Vec<_>>());
    check_index(&store).await;
    store.write(|tx| forget(tx, MessageRow(77))).await.unwrap();
    assert!(!found(&store, anything("number77")).await.contains(&77));
}

#[tokio::test]
async fn an_index_of_other_rules_is_begun_anew() {
    let (_place, store) = store().await;
    store.write(|tx| say(tx, 1, 1, 0, HOUR, "kept").and_then(|()| batch(tx))).await.unwrap();
    store.write(|tx| tx.execute("UPDATE search_fill SET cut = 'earlier rules'", []).map(drop)).await.unwrap();
    assert_eq!(store.read(rest).await, Ok::<_, StoreError>(Rest::Little));
    // Whatever comes first finds that out.
    store.write(|tx| forget(tx, MessageRow(1))).await.unwrap();
    assert!(!holds(&bytes(&store).await, "kept"));
    store.write(batch).await.unwrap();
    assert_eq!(found(&store, anything("kept")).await, [1]);
}

#[tokio::test]
async fn many_messages_of_one_moment_are_all_found_before_a_date_behind_it() {
    for (count, notes) in [(1_000, 0), (3_000, 1)] {
        let (_place, store) = store().await;
        let many = move |tx: &mut Tx<'_>| {
            for id in 1..=count {
                say(tx, id, 1, 0, HOUR + id, "at once")?;
            }
            say(tx, count + 1, 1, 0, 2 * HOUR, "later at once")
        };
        store.write(many).await.unwrap();
        fill_all(&store).await;
        let (mut hits, mut before) = (0, None);
        loop {
            let asked = Asked { until: Some(Timestamp::from_ms(3_600_001)), ..anything("once") };
            let page = store.read(move |view| find(view, &OWN, &asked, before, 700)).await.unwrap();
            hits += page.hits.len();
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(i64::try_from(hits).unwrap(), count);
        // An index that is begun anew begins without it.
        let noted = |view: &Connection| {
            view.one("SELECT count(*) FROM meta WHERE key = 'search_moved'", [], |row| row.get::<_, i64>(0))
        };
        assert_eq!(store.read(noted).await, Ok(Some(notes)));
        store.write(|tx| tx.execute("UPDATE search_fill SET cut = 'earlier rules'", []).map(drop)).await.unwrap();
        store.write(|tx| begun(tx).map(drop)).await.unwrap();
        assert_eq!(store.read(noted).await, Ok(Some(0)));
    }
}

#[test]
fn a_place_is_one_character_where_it_can_be() {
    assert_eq!((in_conversation(1), by_sender(0)), ("\u{f0001}".to_owned(), "\u{100000}".to_owned()));
    let words: BTreeSet<_> = [0, 1, 0xfffd, 0xfffe, 0xffff, 1 << 40].into_iter().map(in_conversation).collect();
    assert_eq!(words.len(), 6);
}

#[test]
fn pages_of_hits_are_read_in_the_order_of_the_index() {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(include_str!("../store/schema.sql")).unwrap();
    for sql in [BY_WORDS, BY_DATE] {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.query_map(params!["a", 1, 1, 1, 1, 1], |row| row.get::<_, String>(3)).unwrap();
        let plan: Vec<_> = steps.map(Result::unwrap).collect();
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
        let scans = plan.iter().filter(|step| step.starts_with("SCAN")).count();
        assert_eq!(scans, usize::from(sql == BY_WORDS), "the index itself alone: {plan:?}");
    }
}
