//! Trouble on this device and on the way: each is said by a code of its own, and leaves the profile as it was.

use std::path::Path;

use sotto_core::world::{SecretStore as _, SecretStoreError};
use sotto_core::{DeviceKind, Error, InviteOptions, Messenger, NewProfile, danger};
use sotto_protocol::Bytes;
use sotto_protocol::RelayAddress;
use sotto_sim::{Fate, MemorySecrets, Person, World};

const PAGE: usize = 4_096;
const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

async fn create(world: &World, secrets: &MemorySecrets, directory: &Path, relay: &RelayAddress) -> Result<(), Error> {
    let profile = NewProfile {
        name: "alice".to_owned(),
        relays: vec![relay.clone()],
        relay_codes: Default::default(),
        kind: DeviceKind::Phone,
    };
    Messenger::create(world.world(secrets), directory, profile).await.map(drop)
}

/// The code with which a profile does not open.
async fn refusal(world: &World, person: &Person, secrets: &MemorySecrets) -> Option<String> {
    let opened = Messenger::open(world.world(secrets), person.directory()).await;
    opened.map(|messenger| messenger.shut_down()).err().map(|error| error.code().to_owned())
}

fn database_of(person: &Person) -> std::path::PathBuf {
    person.directory().join("sotto.db")
}

/// A switched-off profile with everything in its database and nothing in the log, and what it says.
async fn at_rest(seed: u64) -> (World, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    for round in 0..20 {
        bob.say("alice", &format!("{round}")).await.expect("they speak");
    }
    world.settle(&[&bob, &alice]).await.expect("they settle");
    alice.messenger.shut_down();
    alice.database().change("PRAGMA wal_checkpoint(TRUNCATE)");
    (world, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn a_damaged_page_is_found_out_and_nothing_is_written() {
    let (world, alice, _) = at_rest(140).await;
    let whole = std::fs::read(database_of(&alice)).unwrap();
    let pages = whole.len() / PAGE;
    // An opening counts itself before it reads much.
    let dump = || {
        let mut dump = alice.dump();
        dump.entry("meta".to_owned()).and_modify(|meta| meta.retain(|row| !row.contains("generation")));
        dump
    };
    let said = dump();
    let mut damaged = 0;
    // The first page is the key's witness; the others are met as they are read, some of them while opening.
    for page in 1..pages {
        let place = page * PAGE + 100;
        let flip = |mut bytes: Vec<u8>| {
            bytes[place] ^= 1;
            for log in ["sotto.db-wal", "sotto.db-shm"] {
                let _ = std::fs::remove_file(alice.directory().join(log));
            }
            std::fs::write(database_of(&alice), bytes).unwrap();
        };
        flip(whole.clone());
        let Some(code) = refusal(&world, &alice, &alice.secrets.copy()).await else { continue };
        assert_eq!(code, "database_damaged", "page {page}");
        flip(std::fs::read(database_of(&alice)).unwrap());
        assert!(dump() == said, "page {page}");
        damaged += 1;
    }
    assert!(damaged > 0, "no page of {pages} is read while opening");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_page_that_is_met_later_is_said_by_the_call_that_needs_it() {
    let (world, alice, _) = at_rest(141).await;
    let whole = std::fs::read(database_of(&alice)).unwrap();
    let pages = |sql: &str| -> Vec<usize> {
        let page = alice.database().number(sql);
        usize::try_from(page).ok().filter(|page| *page > 1).into_iter().collect()
    };
    // The messages' own page.
    let root = pages("SELECT rootpage FROM sqlite_schema WHERE name = 'message'");
    let mut bytes = whole.clone();
    for page in &root {
        bytes[(page - 1) * PAGE + 100] ^= 1;
    }
    std::fs::write(database_of(&alice), &bytes).unwrap();
    let alice = world.reopen(alice).await.unwrap();
    let bob_id = alice.contact("bob").await.unwrap().id;
    let error = alice.messenger.messages(bob_id, None, 100).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("database_damaged", false));
    assert_eq!(alice.messenger.send_text(bob_id, "x".to_owned()).await.unwrap_err().code(), "database_damaged");
}

#[tokio::test(start_paused = true)]
async fn another_key_opens_nothing_and_changes_nothing() {
    let (world, alice, _) = at_rest(142).await;
    let (files, said) = (std::fs::read(database_of(&alice)).unwrap(), alice.dump());
    let other = world.person("other", &[world.network.add_relay("other.example")]).await.unwrap();
    other.messenger.shut_down();
    assert_eq!(refusal(&world, &alice, &other.secrets).await.as_deref(), Some("wrong_key"));
    assert_eq!(refusal(&world, &alice, &MemorySecrets::default()).await.as_deref(), Some("wrong_key"));
    alice.secrets.fail_with(Some(SecretStoreError::WrongPassphrase));
    assert_eq!(refusal(&world, &alice, &alice.secrets).await.as_deref(), Some("wrong_passphrase"));
    alice.secrets.fail_with(None);
    assert!(std::fs::read(database_of(&alice)).unwrap() == files);
    assert!(alice.dump() == said);
    assert_eq!(refusal(&world, &alice, &alice.secrets).await, None, "and its own opens it");
}

#[tokio::test(start_paused = true)]
async fn an_account_on_a_disk_without_room_can_be_opened_to_be_read_and_changes_nothing() {
    let (world, relay, alice, bob) = World::contacts(146).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    let link = carol.messenger.invite(InviteOptions::default()).await.unwrap().link;
    world.settle(&[&carol]).await.unwrap();
    bob.say("alice", "to be read").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let bob_id = bob.messenger.account().await.unwrap().id;
    alice.messenger.shut_down();
    let directory = alice.directory();
    let (files, said) = (std::fs::read(database_of(&alice)).unwrap(), alice.dump());
    alice.secrets.keep_nothing_new(true);
    let calls = world.network.envelopes().len();
    let reader = Messenger::open_to_read(world.world(&alice.secrets), directory).await.unwrap();
    let texts = reader.messages(bob_id, None, 100).await.unwrap();
    assert_eq!(texts.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), ["to be read"]);
    assert_eq!(
        (
            reader.contacts().await.unwrap().len(),
            reader.conversations(sotto_core::records::Chats::Main, None, 10).await.unwrap().len()
        ),
        (1, 1)
    );
    let refused = [
        reader.send_text(bob_id, "no".to_owned()).await.map(drop),
        reader.mark_all_read(bob_id).await,
        reader.invite(InviteOptions::default()).await.map(drop),
        reader.join(&link).await.map(drop),
        reader.block(bob_id).await,
        reader.catch_up(std::time::Duration::from_secs(60)).await.map(drop),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().code(), "disk_full");
    }
    let second = Messenger::open_to_read(world.world(&alice.secrets), directory).await.map(drop).unwrap_err();
    assert_eq!(second.code(), "profile_in_use");
    world.wait(std::time::Duration::from_secs(3600)).await;
    reader.shut_down();
    assert_eq!(world.network.envelopes().len(), calls, "nothing was sent");
    assert!(std::fs::read(database_of(&alice)).unwrap() == files && alice.dump() == said);
    alice.secrets.keep_nothing_new(false);
    let alice = world.reopen(alice).await.unwrap();
    alice.say("bob", "room again").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_said_by_invite_and_join_and_leaves_nothing_of_them() {
    let (world, relay, alice, _) = World::contacts(143).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    let mut failed = 0;
    let link = loop {
        let before = alice.dump();
        danger::fail_write(&alice.messenger, failed + 1);
        let made = alice.messenger.invite(InviteOptions { auto_accept: true, ..InviteOptions::default() }).await;
        danger::fail_write(&alice.messenger, 0);
        match made {
            Ok(invite) => break invite.link,
            Err(error) => assert_eq!((error.code(), error.is_retryable()), ("disk_full", true)),
        }
        assert!(alice.dump() == before, "write {} left something", failed + 1);
        failed += 1;
    };
    assert!(failed >= 4, "an invite is more than {failed} writes");
    alice.catch_up().await.unwrap();
    let mut failed = 0;
    loop {
        let before = without_claim(&carol);
        danger::fail_write(&carol.messenger, failed + 1);
        let joined = carol.messenger.join(&link).await;
        danger::fail_write(&carol.messenger, 0);
        match joined {
            Ok(_) => break,
            Err(error) => assert_eq!((error.code(), error.is_retryable()), ("disk_full", true)),
        }
        assert!(without_claim(&carol) == before, "write {} left something", failed + 1);
        failed += 1;
    }
    assert!(failed >= 8, "joining is more than {failed} writes");
    world.settle(&[&carol, &alice]).await.unwrap();
    carol.say("alice", "there was room in the end").await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    assert_eq!(alice.transcript("carol").await.unwrap(), ["there was room in the end"]);
}

/// Fails each write of a call in turn, until it passes: what failed has changed nothing.
async fn all_or_nothing(person: &Person, what: &str, call: impl AsyncFn(&Messenger) -> Result<(), Error>) {
    let mut failed = 0;
    loop {
        let before = person.dump();
        danger::fail_write(&person.messenger, failed + 1);
        let done = call(&person.messenger).await;
        danger::fail_write(&person.messenger, 0);
        match done {
            Ok(()) => break,
            Err(error) => assert_eq!((error.code(), error.is_retryable()), ("disk_full", true), "{what}"),
        }
        assert!(person.dump() == before, "{what}: write {} left something", failed + 1);
        failed += 1;
    }
    assert!(failed > 0, "{what} writes");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_leaves_nothing_of_accepting_blocking_and_removing() {
    let world = World::seeded(147);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let invite = alice.messenger.invite(InviteOptions { uses: 2, ..InviteOptions::default() }).await.unwrap();
    alice.catch_up().await.unwrap();
    for story in ["first met", "met again"] {
        bob.messenger.join(&invite.link).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        let of_bob = bob.messenger.account().await.unwrap().id;
        all_or_nothing(&alice, "accepting", async |alice| alice.accept(of_bob).await).await;
        world.settle(&[&alice, &bob]).await.unwrap();
        all_or_nothing(&alice, "blocking", async |alice| alice.block(of_bob).await).await;
        alice.catch_up().await.unwrap();
        all_or_nothing(&alice, "taking it back", async |alice| alice.unblock(of_bob).await).await;
        alice.catch_up().await.unwrap();
        bob.say("alice", story).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        assert_eq!(alice.transcript("bob").await.unwrap().last().unwrap(), story);
        all_or_nothing(&alice, "removing", async |alice| alice.remove(of_bob).await).await;
        let of_alice = alice.messenger.account().await.unwrap().id;
        all_or_nothing(&bob, "removing", async |bob| bob.remove(of_alice).await).await;
        world.settle(&[&alice, &bob]).await.unwrap();
    }
}

/// Everything but the claim id under which an invite is joined: it is kept, so that trying again is the same claim.
fn without_claim(person: &Person) -> std::collections::BTreeMap<String, Vec<String>> {
    let mut dump = person.dump();
    dump.remove("joining");
    dump
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_while_receiving_acknowledges_nothing_and_the_letters_come_again() {
    let (world, _, mut alice, bob) = World::contacts(144).await;
    let mut said = Vec::new();
    let mut failed = 0;
    loop {
        alice.messenger.shut_down();
        said.push(format!("{failed}"));
        bob.say("alice", said.last().unwrap()).await.unwrap();
        bob.catch_up().await.unwrap();
        alice = world.reopen(alice).await.unwrap();
        let before =
            (alice.transcript("bob").await.unwrap(), alice.database().number("SELECT max(cursor) FROM own_inbox"));
        danger::fail_writes_from(&alice.messenger, failed + 1);
        let _ = alice.messenger.catch_up(std::time::Duration::from_secs(1)).await;
        let passed = danger::writes(&alice.messenger) <= failed;
        if passed {
            break;
        }
        let now =
            (alice.transcript("bob").await.unwrap(), alice.database().number("SELECT max(cursor) FROM own_inbox"));
        // All of it, or nothing.
        assert!(now == before || now.0 == said, "write {}", failed + 1);
        danger::fail_write(&alice.messenger, 0);
        world.settle(&[&alice, &bob]).await.unwrap();
        assert_eq!(alice.transcript("bob").await.unwrap(), said);
        failed += 1;
    }
    assert!(failed >= 6, "a receive is more than {failed} writes");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_runs_on_a_full_disk_goes_on_by_itself_once_there_is_room() {
    let (world, _, alice, bob) = World::contacts(147).await;
    alice.say("bob", "waits here").await.unwrap();
    danger::fail_writes_from(&alice.messenger, 1);
    let error = alice.say("bob", "not kept").await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("disk_full", true));
    bob.say("alice", "waits at the relay").await.unwrap();
    bob.catch_up().await.unwrap();
    world.wait(5 * HOUR).await;
    assert_eq!(alice.transcript("bob").await.unwrap(), ["waits here"], "what could not be kept is not shown");
    danger::fail_write(&alice.messenger, 0);
    world.wait(HOUR).await;
    for said in [alice.transcript("bob").await.unwrap(), bob.transcript("alice").await.unwrap()] {
        assert_eq!(said, ["waits here", "waits at the relay"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_none_or_away_makes_no_profile() {
    let world = World::seeded(145);
    let relay = world.network.add_relay("relay.example");
    let secrets = MemorySecrets::default();
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("profile");
    let nobody: RelayAddress = "https://nobody.example".parse().unwrap();
    let code = |created: Result<(), Error>| created.unwrap_err().code().to_owned();
    assert_eq!(code(create(&world, &secrets, &directory, &nobody).await), "relay_unreachable");
    world.network.set_down(&relay, true);
    assert_eq!(code(create(&world, &secrets, &directory, &relay).await), "relay_unreachable");
    world.network.set_down(&relay, false);
    for answer in strangers() {
        world.network.meddle(Some(Box::new(move |_| answer())));
        assert_eq!(code(create(&world, &secrets, &directory, &relay).await), "relay_malformed");
    }
    let files = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(files.collect::<Vec<_>>(), ["lock"], "nothing was made here");
    assert!(secrets.list().unwrap().is_empty());
    world.network.meddle(None);
    create(&world, &secrets, &directory, &relay).await.unwrap();
}

/// What hosts answer that are something else than a relay.
fn strangers() -> [fn() -> Fate; 3] {
    [
        || Fate::Answered(Bytes::from_static(b"<!doctype html><title>It works</title>")),
        || Fate::Fails(404, Bytes::from_static(b"<h1>Not Found</h1>")),
        || Fate::Fails(405, Bytes::new()),
    ]
}

#[tokio::test(start_paused = true)]
async fn joining_over_a_relay_that_is_none_or_away_changes_nothing() {
    let (world, relay, alice, bob) = World::contacts(146).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    let link = alice.messenger.invite(InviteOptions::default()).await.unwrap().link;
    alice.catch_up().await.unwrap();
    let before = without_claim(&carol);
    for answer in strangers() {
        world.network.meddle(Some(Box::new(move |_| answer())));
        assert_eq!(carol.messenger.join(&link).await.unwrap_err().code(), "relay_malformed");
        assert!(without_claim(&carol) == before);
    }
    world.network.meddle(None);
    // A link whose visible host was altered, and one that was made for another host.
    let altered = link.replace("relay.example", "elsewhere.example");
    assert_eq!(carol.messenger.join(&altered).await.unwrap_err().code(), "invite_garbage");
    let mut elsewhere: sotto_protocol::invite::Invite = link.parse().unwrap();
    elsewhere.relay = "https://elsewhere.example".parse().unwrap();
    let unreachable = carol.messenger.join(&elsewhere.to_link().unwrap()).await.unwrap_err();
    assert_eq!((unreachable.code(), unreachable.is_retryable()), ("relay_unreachable", true));
    world.network.add_relay("elsewhere.example");
    assert_eq!(carol.messenger.join(&elsewhere.to_link().unwrap()).await.unwrap_err().code(), "invite_used_up");
    assert!(without_claim(&carol) == before);
    // Inviting and sending need no relay.
    world.network.set_down(&relay, true);
    assert_eq!(carol.messenger.join(&link).await.unwrap_err().code(), "relay_unreachable");
    alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.say("bob", "later").await.unwrap();
    world.network.set_down(&relay, false);
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap(), ["later"]);
    carol.messenger.join(&link).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_too_long_or_empty_changes_nothing() {
    let (_, _, alice, _) = World::contacts(147).await;
    let before = alice.dump();
    let long = "x".repeat(sotto_protocol::limits::TEXT_BYTES_MAX + 1);
    assert_eq!(alice.say("bob", &long).await.unwrap_err().code(), "too_long");
    assert_eq!(alice.say("bob", "").await.unwrap_err().code(), "empty");
    assert!(alice.dump() == before);
    alice.say("bob", &long[1..]).await.unwrap();
}
