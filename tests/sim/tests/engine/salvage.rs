//! Profiles that do not open, or not well: what is told of them, and what can be saved.

use std::fs;
use std::path::Path;

use sotto_core::records::Profile;
use sotto_core::world::SecretStore as _;
use sotto_core::{Error, Messenger, Salvaged, StoreError};
use sotto_sim::{MemorySecrets, Person, World, hex};

/// A page of the database.
const PAGE: usize = 4_096;
const NAME: &str = "sotto.db";

fn saved(secrets: &MemorySecrets, directory: &Path) -> Result<(Salvaged, Vec<String>), Error> {
    let mut lines = Vec::new();
    let salvaged = Messenger::salvage(secrets, directory, &mut lines)?;
    Ok((salvaged, String::from_utf8(lines).expect("text").lines().map(str::to_owned).collect()))
}

fn text(line: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).expect("an object a line");
    line["text"].as_str().expect("a text").to_owned()
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("a directory")
        .map_while(Result::ok)
        .map(|file| (file.file_name().to_string_lossy().into_owned(), fs::read(file.path()).expect("a file")))
        .collect();
    files.sort();
    files
}

/// Alice, who has said and heard a lot.
async fn alice() -> (World, Person) {
    let (world, _, alice, bob) = World::contacts(1960).await;
    let own = alice.messenger.account().await.expect("hers").id;
    for number in 0..150 {
        alice.clock.tick();
        alice.messenger.send_text(own, format!("note {number}: {}", "long ".repeat(40))).await.expect("a note");
    }
    bob.say("alice", "from bob: \"quoted\"\n<b>").await.expect("he says it");
    world.settle(&[&bob, &alice]).await.expect("they settle");
    alice.messenger.shut_down();
    (world, alice)
}

#[tokio::test(start_paused = true)]
async fn what_a_damaged_page_leaves_readable_is_saved_and_nothing_is_changed() {
    let (_, alice) = alice().await;
    let (whole, all) = saved(&alice.secrets, alice.directory()).unwrap();
    assert_eq!((whole.holes, whole.messages), (0, 151));
    let last: serde_json::Value = serde_json::from_str(all.last().unwrap()).unwrap();
    assert_eq!((last["name"].as_str(), last["is_own"].as_bool()), (Some("bob"), Some(false)));
    assert_eq!(last["text"].as_str(), Some("from bob: \"quoted\"\n<b>"));

    let database = alice.directory().join(NAME);
    let sound = fs::read(&database).unwrap();
    let (mut lost_most, mut lost_some, mut roots, mut unreadable) = (0, 0, 0, 0);
    for page in 0..sound.len() / PAGE {
        damage(&database, &sound, &[page]);
        let before = files(alice.directory());
        match saved(&alice.secrets, alice.directory()) {
            // What says where everything is.
            Err(error) => {
                unreadable += 1;
                assert!(
                    [StoreError::WrongKey, StoreError::Corrupt].map(Error::from).contains(&error),
                    "{page}: {error:?}"
                );
            }
            Ok((salvaged, lines)) => {
                assert_eq!(salvaged.messages, u64::try_from(lines.len()).unwrap());
                let mut rest = all.iter();
                assert!(
                    lines.iter().all(|line| rest.any(|known| text(line) == text(known))),
                    "{page}: another message"
                );
                let lost = all.len() - lines.len();
                assert_eq!(lost > 0, salvaged.holes > 0, "{page}: {lost} lost");
                let has_last = lines.last().is_some_and(|line| text(line) == text(all.last().unwrap()));
                assert_eq!(salvaged.is_cut_short, !has_last, "{page}: the end is lost, and that is said");
                // That one says where all the others are.
                roots += usize::from(lost == all.len());
                lost_most = lost_most.max(lost % all.len());
                lost_some += usize::from(lost > 0);
            }
        }
        assert!(files(alice.directory()) == before, "{page}: something was written");
    }
    assert!(lost_some > 5 && lost_most < 30, "{lost_some} pages hold messages, {lost_most} lost at most");
    assert_eq!(roots, 1);
    assert!(unreadable < 20, "{unreadable} pages are needed for anything");
}

#[tokio::test(start_paused = true)]
async fn what_stands_far_behind_damage_is_saved_though_no_conversation_can_be_read() {
    let (_, alice) = alice().await;
    // Much was deleted between the one and the other.
    alice.database().change("PRAGMA foreign_keys = OFF; UPDATE message SET id = id + 30000 WHERE id > 75");
    let conversations = alice.database().number("SELECT rootpage FROM sqlite_schema WHERE name = 'conversation'");
    let conversations = usize::try_from(conversations - 1).unwrap();
    let database = alice.directory().join(NAME);
    let sound = fs::read(&database).unwrap();
    let (mut lost_most, mut lost_some) = (0, 0);
    for page in 0..sound.len() / PAGE {
        damage(&database, &sound, &[page, conversations]);
        let Ok((salvaged, _)) = saved(&alice.secrets, alice.directory()) else { continue };
        let lost = 151 - salvaged.messages;
        assert_eq!(lost > 0, salvaged.holes > 0, "{page}: {lost} lost");
        lost_most = lost_most.max(lost % 151);
        lost_some += u64::from(lost > 0);
    }
    assert!(lost_some > 5 && lost_most < 30, "{lost_some} pages hold messages, {lost_most} lost at most");
}

fn damage(database: &Path, sound: &[u8], pages: &[usize]) {
    let mut damaged = sound.to_vec();
    for page in pages {
        damaged[page * PAGE + 100] = !sound[page * PAGE + 100];
    }
    fs::write(database, damaged).expect("it is damaged");
}

#[tokio::test(start_paused = true)]
async fn why_nothing_can_be_saved_is_told_and_what_a_later_release_has_written_can_be() {
    let (world, alice) = alice().await;
    let alice = world.reopen(alice).await.unwrap();
    assert_eq!(saved(&alice.secrets, alice.directory()).unwrap_err(), StoreError::ProfileInUse.into());
    alice.database().change("PRAGMA user_version = 1000");
    alice.messenger.shut_down();
    let opened = Messenger::open(world.world(&alice.secrets), alice.directory()).await;
    assert_eq!(opened.err(), Some(StoreError::TooNew.into()));
    assert_eq!(
        saved(&alice.secrets, alice.directory()).unwrap().0,
        Salvaged { messages: 151, holes: 0, is_cut_short: false }
    );
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(saved(&alice.secrets, empty.path()).unwrap_err(), StoreError::Absent.into());
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
    let other = MemorySecrets::default();
    assert_eq!(saved(&other, alice.directory()).unwrap_err(), StoreError::WrongKey.into());
    other.put("database", &[7; 32]).unwrap();
    assert_eq!(saved(&other, alice.directory()).unwrap_err(), StoreError::WrongKey.into());
    // And begins anew.
    Messenger::wipe(&alice.secrets, alice.directory()).unwrap();
    assert_eq!(saved(&alice.secrets, alice.directory()).unwrap_err(), StoreError::Absent.into());
}

#[tokio::test(start_paused = true)]
async fn a_report_says_what_the_engine_is_at_and_nothing_of_anybody() {
    let world = World::seeded(1961);
    let relay = world.network.add_relay("canary-relay.example");
    let alice = world.person("canary-alice", std::slice::from_ref(&relay)).await.unwrap();
    let bob = world.person("canary-bob", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    let profile = Profile { name: "canary-alice".to_owned(), status: "canary-status".to_owned() };
    alice.messenger.set_profile(profile).await.unwrap();
    let bobs = alice.contact("canary-bob").await.unwrap().id;
    alice.messenger.set_note(bobs, Some("canary-note".to_owned())).await.unwrap();
    alice.messenger.set_draft(bobs, Some("canary-draft".into())).await.unwrap();
    alice.say("canary-bob", "canary-text").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.network.set_down(&relay, true);
    alice.say("canary-bob", "canary-queued").await.unwrap();
    alice.catch_up().await.unwrap();
    let report = alice.messenger.diagnostics().await.unwrap();
    for line in ["letters queued: 1", "contacts: some", "relay 1, stream: ", "rolled back: false", "search index: "] {
        assert!(report.contains(line), "{line}: {report}");
    }
    assert!(!report.contains("canary"), "{report}");
    let mut ids = alice.inboxes();
    ids.extend(alice.database().blobs(
        "SELECT device FROM peer_device UNION SELECT message_id FROM message UNION SELECT account FROM contact",
    ));
    // Chains, tokens, keys, and whatever else is nobody's but a machine's to know.
    ids.extend(alice.database().blobs(
        "SELECT chain FROM own_chain UNION SELECT chain_key FROM own_chain UNION SELECT chain FROM contact UNION SELECT chain_key FROM contact
         UNION SELECT pair_secret FROM contact UNION SELECT token_hash FROM alias UNION SELECT key_id FROM kem_key
         UNION SELECT ed25519 FROM peer_device UNION SELECT curve25519 FROM peer_device UNION SELECT prekey_key FROM own_inbox
         UNION SELECT prekey_key FROM peer_inbox UNION SELECT session FROM session UNION SELECT opener FROM seal_out
         UNION SELECT secret FROM invite UNION SELECT subject FROM relay_task",
    ));
    assert!(ids.len() > 20, "{} ids", ids.len());
    ids.push(alice.messenger.account().await.unwrap().id.as_ref().to_vec());
    let lower = report.to_ascii_lowercase();
    for id in ids {
        assert!(!lower.contains(&hex(&id)[..8]), "{report}");
    }
    let today = world.now().as_ms().to_string();
    assert!(!report.contains(&today[..7]), "a time of day: {report}");
}
