//! What a device heeds of what another device of its account says of a contact, and what of it says nothing any more.

use std::time::Duration;

use sotto_core::records::{ContactState, Failure, MessageState};
use sotto_core::{Event, InviteOptions};
use sotto_crypto::letter::{Card, Content, OwnDeviceSync, SyncedContact, SyncedState};
use sotto_crypto::secret::{ChainKey, PairSecret};
use sotto_protocol::request::path;
use sotto_protocol::{AccountId, ChainId};
use sotto_sim::{Forger, Person, World, hex};

use super::devices::two_devices;

const MINUTE: Duration = Duration::from_secs(60);

/// What a device knows of a contact, as the next word of it.
fn known(device: &Person, contact: i64) -> SyncedContact {
    let blob = |column: &str| {
        let sql = format!("SELECT {column} FROM contact WHERE id = {contact}");
        device.database().blobs(&sql).pop().expect("it is known")
    };
    let key = |column: &str| <[u8; 32]>::try_from(&blob(column)[..]).expect("32 bytes");
    let text = |column: &str| device.database().texts(&format!("SELECT {column} FROM contact WHERE id = {contact}"));
    let number = |column: &str| {
        let number = device.database().number(&format!("SELECT {column} FROM contact WHERE id = {contact}"));
        u64::try_from(number).expect("a count")
    };
    SyncedContact {
        version: number("sync_version") + 1,
        card: Card {
            account: AccountId::from_bytes(key("account")),
            relay: text("relay").remove(0).parse().expect("an address"),
            chain: ChainId::from_bytes(key("chain")),
            chain_key: ChainKey::from_bytes(key("chain_key")),
        },
        manifest: blob("manifest").into(),
        name: text("name").remove(0),
        given_name: text("given_name").pop(),
        state: SyncedState::Accepted,
        blocked: number("blocked") > 0,
        pair_secret: device
            .database()
            .blobs(&format!("SELECT pair_secret FROM contact WHERE id = {contact}"))
            .pop()
            .and_then(|secret| PairSecret::try_from(&secret[..]).ok()),
        pair_usable: number("pair_usable") > 0,
        pair_version: number("pair_version"),
        profile: None,
    }
}

/// A device says that of a contact.
async fn says(world: &World, device: &Person, synced: &SyncedContact, to: &Person) {
    let content = Content::OwnDeviceSync(OwnDeviceSync::Contact(Box::new(synced.clone()))).encode().expect("legal");
    device.database().change(&format!(
        "INSERT INTO outbox (peer_device, content, message_id, state, sent_at)
         SELECT id, x'{}', randomblob(16), 0, 1 FROM peer_device WHERE contact = 0 AND listed = 1",
        hex(&content)
    ));
    world.settle(&[device, to]).await.expect("they settle");
}

fn of_bob(device: &Person, column: &str) -> i64 {
    device.database().number(&format!("SELECT {column} FROM contact WHERE id = 1"))
}

fn pair_of(device: &Person, contact: i64) -> Option<Vec<u8>> {
    device.database().blobs(&format!("SELECT pair_secret FROM contact WHERE id = {contact}")).pop()
}

/// Calls to a path so far.
fn calls(world: &World, path: &str) -> usize {
    world.network.traffic().iter().filter(|call| call.path == path).count()
}

/// Somebody who asks alice, and whom only her phone knows of. Returns them and their row there.
async fn asks(world: &World, alice: &Person, name: &str) -> (Person, i64) {
    let relay = alice.messenger.account().await.expect("it reads").relays.swap_remove(0);
    let person = world.person(name, &[relay]).await.expect("they begin");
    world.wait(MINUTE).await;
    let invite = alice.messenger.invite(InviteOptions::default()).await.expect("a link");
    alice.catch_up().await.expect("it catches up");
    person.messenger.join(&invite.link).await.expect("they ask");
    world.settle(&[&person, alice]).await.expect("they settle");
    assert_eq!(alice.contact(name).await.expect("they are known").state, ContactState::Asking);
    let row = alice.database().number(&format!("SELECT id FROM contact WHERE name = '{name}'"));
    (person, row)
}

#[tokio::test(start_paused = true)]
async fn c1_an_older_word_of_a_contact_with_a_newer_secret_brings_the_secret_alone() {
    let (world, alice, tablet, _bob) = two_devices(1370).await;
    const TOKENS: &str = "SELECT token_hash FROM alias WHERE contact = 1 AND purpose = 1 AND dropped = 0";
    alice.database().change("UPDATE contact SET sync_version = 5 WHERE id = 1");
    let before = alice.database().blobs(TOKENS);
    let mut told = known(&tablet, 1);
    told.version = 4;
    (told.given_name, told.blocked) = (Some("of before".to_owned()), true);
    (told.pair_version, told.pair_secret) = (told.pair_version + 1, Some(PairSecret::from_bytes([7; 32])));
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(pair_of(&alice, 1), Some(vec![7; 32]));
    let contact = alice.messenger.contacts().await.unwrap().remove(0);
    assert_eq!((&*contact.name, contact.blocked), ("bob", false));
    assert_ne!(alice.database().blobs(TOKENS), before, "she hears whoever knows it");
    assert_eq!(of_bob(&alice, "sync_version"), 5);
    // That of a version between is older still.
    told.version = 9;
    says(&world, &tablet, &told, &alice).await;
    (told.version, told.given_name) = (8, Some("late".to_owned()));
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(alice.messenger.contacts().await.unwrap()[0].name, "of before");
}

#[tokio::test(start_paused = true)]
async fn a_word_that_is_known_already_is_no_news() {
    let (world, alice, tablet, _bob) = two_devices(1371).await;
    let told = known(&tablet, 1);
    says(&world, &tablet, &told, &alice).await;
    let mut events = alice.messenger.events();
    says(&world, &tablet, &told, &alice).await;
    let heard: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert!(!heard.contains(&Event::ContactsChanged), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn no_device_says_of_the_account_itself_what_a_contact_is() {
    let (world, alice, tablet, _bob) = two_devices(1372).await;
    let mut told = known(&tablet, 0);
    (told.state, told.pair_secret) = (SyncedState::Removed, None);
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(alice.database().number("SELECT state FROM contact WHERE id = 0"), 3);
    alice.say("bob", "from the phone").await.unwrap();
    world.settle(&[&alice, &tablet]).await.unwrap();
    assert_eq!(tablet.transcript("bob").await.unwrap().last().unwrap(), "from the phone");
}

#[tokio::test(start_paused = true)]
async fn another_name_puts_and_drops_no_token_and_is_known_to_all() {
    let (world, alice, tablet, _bob) = two_devices(1373).await;
    let tokens = || (calls(&world, path::TOKEN_PUT), calls(&world, path::TOKEN_DROP));
    let mut told = known(&tablet, 1);
    for is_blocked in [false, true] {
        if is_blocked {
            let before = calls(&world, path::TOKEN_DROP);
            (told.blocked, told.version) = (true, told.version + 1);
            says(&world, &tablet, &told, &alice).await;
            assert_eq!(calls(&world, path::TOKEN_DROP), before + 1);
        }
        let before = tokens();
        (told.name, told.version) = (format!("Bob {is_blocked}"), told.version + 1);
        says(&world, &tablet, &told, &alice).await;
        assert_eq!(alice.messenger.contacts().await.unwrap()[0].own_name, told.name);
        assert_eq!(tokens(), before);
    }
    // Another secret with somebody who is blocked lets them in no more than the one before.
    (told.pair_version, told.pair_secret) = (told.pair_version + 1, Some(PairSecret::from_bytes([7; 32])));
    says(&world, &tablet, &told, &alice).await;
    let of_tokens = |call: &&sotto_sim::Traffic| [path::TOKEN_PUT, path::TOKEN_DROP].contains(&call.path);
    let traffic = world.network.traffic();
    assert_eq!(traffic.iter().filter(of_tokens).last().unwrap().path, path::TOKEN_DROP);
    assert_eq!(pair_of(&alice, 1), Some(vec![7; 32]));
}

/// Alice with two devices at one relay, and bob at another.
async fn apart(seed: u64) -> (World, Person, Person, Person) {
    let world = World::seeded(seed);
    let (one, two) = (world.network.add_relay("one.example"), world.network.add_relay("two.example"));
    let alice = world.person("alice", &[one]).await.expect("alice begins");
    let bob = world.person("bob", std::slice::from_ref(&two)).await.expect("bob begins");
    world.introduce(&alice, &bob).await.expect("they meet");
    let tablet = world.second_device(&alice).await.expect("it begins");
    world.settle(&[&tablet, &alice, &bob]).await.expect("they settle");
    world.wait(MINUTE).await;
    world.settle(&[&tablet, &alice, &bob]).await.expect("they settle");
    world.network.set_down(&two, true);
    (world, alice, tablet, bob)
}

#[tokio::test(start_paused = true)]
async fn c1_what_waits_for_somebody_whom_another_device_has_removed_fails_and_nothing_of_theirs_comes_back() {
    let (world, alice, tablet, _bob) = apart(1374).await;
    let waits = alice.say("bob", "waits").await.unwrap();
    let chain = alice.database().blobs("SELECT chain FROM contact WHERE id = 1");
    let mut told = known(&tablet, 1);
    (told.state, told.pair_secret, told.blocked, told.version) = (SyncedState::Removed, None, true, told.version + 2);
    // Whoever has stolen a device could lead all others away.
    told.card.chain = ChainId::from_bytes([7; 32]);
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(alice.messenger.message(waits.number).await.unwrap().state, MessageState::Failed(Failure::Removed));
    assert_eq!(alice.database().number("SELECT count(*) FROM alias WHERE contact = 1 AND dropped = 0"), 0);
    assert_eq!(alice.database().blobs("SELECT chain FROM contact WHERE id = 1"), chain);
    let before = calls(&world, path::TOKEN_PUT);
    (told.blocked, told.version) = (false, told.version + 1);
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(of_bob(&alice, "blocked"), 0);
    assert_eq!(calls(&world, path::TOKEN_PUT), before);
}

#[tokio::test(start_paused = true)]
async fn b2_a_list_that_another_device_tells_of_is_looked_for_in_the_chain_and_not_believed() {
    let (world, alice, tablet, bob) = two_devices(1375).await;
    let newer = Forger::new(&bob, &alice).manifest(5, None, world.now());
    let version = of_bob(&alice, "version");
    let read = |alice: &Person| of_bob(alice, "manifest_read_at");
    let mut told = known(&tablet, 1);
    told.version += 2;
    told.manifest = newer.bytes().clone();
    let before = read(&alice);
    says(&world, &tablet, &told, &alice).await;
    assert_ne!(read(&alice), before, "it is read before anything is sent");
    assert_eq!(of_bob(&alice, "version"), version);
    alice.messenger.remove(bob.messenger.account().await.unwrap().id).await.unwrap();
    let before = i64::try_from(world.now().as_ms()).unwrap();
    alice.database().change(&format!("UPDATE contact SET manifest_read_at = {before} WHERE id = 1"));
    told.version += 2;
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(of_bob(&alice, "state"), 3);
    assert_ne!(read(&alice), before, "nobody has read it for long, as far as is known");
    assert_eq!(of_bob(&alice, "version"), version);
}

#[tokio::test(start_paused = true)]
async fn b2_of_somebody_who_asks_here_and_is_a_contact_there_the_newest_list_is_known() {
    let (world, alice, tablet, bob) = two_devices(1376).await;
    let (carol, row) = asks(&world, &alice, "carol").await;
    let version = |alice: &Person| alice.database().number(&format!("SELECT version FROM contact WHERE id = {row}"));
    let keys =
        |alice: &Person| alice.database().blobs(&format!("SELECT ed25519 FROM peer_device WHERE contact = {row}"));
    let mut told = known(&alice, row);
    (told.version, told.pair_secret, told.pair_version) = (1, Some(PairSecret::from_bytes([7; 32])), 1);
    let forger = Forger::new(&carol, &alice);
    let (known_version, known_keys) = (version(&alice), keys(&alice));
    let mut other = forger.known().devices()[0].clone();
    let olm = sotto_crypto::olm::OlmAccount::generate(world.now());
    (other.ed25519, other.curve25519) = (olm.ed25519(), olm.curve25519());
    let other_keys = forger.manifest_with_devices(&[other], world.now());
    // What is under way on this device alone is beside what another says.
    let asks_again = format!(
        "UPDATE contact SET state = 2, pair_secret = NULL, pair_version = 0, sync_version = 0 WHERE id = {row}"
    );
    told.manifest = other_keys.bytes().clone();
    says(&world, &tablet, &told, &alice).await;
    assert_eq!((version(&alice), keys(&alice)), (known_version, known_keys), "an id keeps its keys");
    assert_eq!(alice.contact("carol").await.unwrap().state, ContactState::Accepted);
    alice.database().change(&asks_again);
    told.manifest = forger.manifest(3, None, world.now()).bytes().clone();
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(version(&alice), known_version + 3);
    alice.database().change(&asks_again);
    told.manifest = forger.known().bytes().clone();
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(version(&alice), known_version + 3, "and none before it");
    drop(bob);
}

#[tokio::test(start_paused = true)]
async fn c1_a_secret_of_another_device_is_for_a_contact_and_for_nobody_who_asks_or_was_removed() {
    let (world, alice, tablet, _bob) = two_devices(1377).await;
    let mut told = known(&tablet, 1);
    (told.version, told.pair_version, told.pair_secret) = (1, 1, Some(PairSecret::from_bytes([7; 32])));
    let before = pair_of(&alice, 1);
    let hears_late =
        |sql: &str| alice.database().change(&format!("UPDATE contact SET sync_version = 9, {sql} WHERE id = 1"));
    hears_late("pair_version = 5");
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(pair_of(&alice, 1), before, "there is a newer one");
    hears_late("state = 4, pair_secret = NULL");
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(pair_of(&alice, 1), None, "they were removed since");
    hears_late("state = 2");
    told.pair_version = 8;
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(pair_of(&alice, 1), None, "they ask anew");
    hears_late("state = 3");
    told.pair_version = 2;
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(pair_of(&alice, 1), Some(vec![7; 32]), "any is better than none");
    let mut none = told.clone();
    (none.state, none.pair_secret, none.pair_version) = (SyncedState::Removed, None, 1);
    hears_late("pair_secret = NULL");
    says(&world, &tablet, &none, &alice).await;
    assert_eq!(of_bob(&alice, "pair_version"), 2);
}

#[tokio::test(start_paused = true)]
async fn c1_a_pair_is_used_once_another_device_knows_that_their_tokens_of_it_stand() {
    let (world, alice, tablet, bob) = two_devices(1378).await;
    let told = known(&tablet, 1);
    let other = PairSecret::from_bytes([7; 32]);
    alice.database().change("UPDATE contact SET sync_version = 9, pair_usable = 0, pair_version = 5 WHERE id = 1");
    alice.say("bob", "waits for the way").await.unwrap();
    says(&world, &tablet, &SyncedContact { pair_secret: Some(other), ..told.clone() }, &alice).await;
    assert_eq!(of_bob(&alice, "pair_usable"), 0, "those of another");
    says(&world, &tablet, &SyncedContact { pair_usable: false, ..told.clone() }, &alice).await;
    assert_eq!(of_bob(&alice, "pair_usable"), 0, "that device does not know either");
    let mut events = alice.messenger.events();
    says(&world, &tablet, &told, &alice).await;
    assert_eq!(of_bob(&alice, "pair_usable"), 1);
    let heard: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert!(heard.contains(&Event::ContactsChanged), "{heard:?}");
    bob.catch_up().await.unwrap();
    assert_eq!(bob.transcript("alice").await.unwrap().last().unwrap(), "waits for the way");
}

#[tokio::test(start_paused = true)]
async fn somebody_whom_another_device_has_met_is_in_the_list_of_chats_and_hears_of_no_chain_twice() {
    let (world, alice, tablet, bob) = two_devices(1379).await;
    let relay = alice.messenger.account().await.unwrap().relays.swap_remove(0);
    let carol = world.person("carol", &[relay]).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    world.settle(&[&alice, &tablet, &carol]).await.unwrap();
    let chats = tablet.messenger.conversations(sotto_core::records::Chats::Main, None, 10).await.unwrap();
    assert!(chats.iter().any(|chat| chat.name.as_deref() == Some("carol")), "{chats:?}");
    let told =
        "SELECT count(*) FROM contact JOIN own_chain ON own_chain.chain = told_chain WHERE contact.name = 'carol'";
    assert_eq!(tablet.database().number(told), 1);
    drop(bob);
}

#[tokio::test(start_paused = true)]
async fn b4_the_lists_of_somebody_whom_another_device_has_asked_show_no_fork() {
    let (world, alice, tablet, _bob) = two_devices(1380).await;
    let relay = alice.messenger.account().await.unwrap().relays.swap_remove(0);
    let carol = world.person("carol", &[relay]).await.unwrap();
    // Lists that are signed in one millisecond are one list.
    world.wait(MINUTE).await;
    world.introduce(&carol, &alice).await.unwrap();
    world.settle(&[&alice, &tablet, &carol]).await.unwrap();
    tablet.say("carol", "by a list of the invite").await.unwrap();
    world.settle(&[&tablet, &carol]).await.unwrap();
    assert_eq!(carol.transcript("alice").await.unwrap(), ["by a list of the invite"]);
    world.wait(48 * 60 * MINUTE).await;
    tablet.say("carol", "by one of her chain").await.unwrap();
    world.settle(&[&tablet, &carol]).await.unwrap();
    assert_eq!(tablet.database().number("SELECT max(trust) FROM contact"), 0);
}

/// The phone tells its siblings of every contact as if they were new, because it reads the account's list.
async fn hands_over_again(world: &World, alice: &Person) {
    let everything = "UPDATE peer_device SET handed_over = 0 WHERE contact = 0; UPDATE contact SET manifest_read_at = 0 WHERE id = 0";
    alice.database().change(everything);
    world.wait(120 * MINUTE).await;
    assert_eq!(alice.database().number("SELECT handed_over FROM peer_device WHERE contact = 0"), 1);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_is_turned_away_where_they_ask_is_known_to_no_other_device() {
    let (world, alice, tablet, _bob) = two_devices(1381).await;
    let (carol, _) = asks(&world, &alice, "carol").await;
    hands_over_again(&world, &alice).await;
    alice.messenger.remove(carol.messenger.account().await.unwrap().id).await.unwrap();
    world.settle(&[&alice, &tablet]).await.unwrap();
    assert_eq!(tablet.database().number("SELECT count(*) FROM contact WHERE name = 'carol'"), 0);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_was_a_contact_of_all_and_asks_anew_is_renamed_on_the_one_that_they_ask() {
    let (world, alice, tablet, bob) = two_devices(1382).await;
    let bob_id = bob.messenger.account().await.unwrap().id;
    alice.messenger.remove(bob_id).await.unwrap();
    world.settle(&[&alice, &tablet]).await.unwrap();
    let invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    bob.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.contact("bob").await.unwrap().state, ContactState::Asking);
    alice.messenger.rename(bob_id, Some("Robert".to_owned())).await.unwrap();
    world.settle(&[&alice, &tablet]).await.unwrap();
    assert_eq!(tablet.contact("bob").await.unwrap().state, ContactState::Removed, "they hear what comes of it");
    hands_over_again(&world, &alice).await;
    alice.messenger.remove(bob_id).await.unwrap();
    world.settle(&[&alice, &tablet]).await.unwrap();
    assert_eq!(tablet.contact("Robert").await.unwrap().state, ContactState::Removed);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_is_alone_counts_no_words_of_a_contact() {
    let (_world, _, alice, bob) = World::contacts(1383).await;
    alice.messenger.rename(bob.messenger.account().await.unwrap().id, Some("Robert".to_owned())).await.unwrap();
    assert_eq!(of_bob(&alice, "sync_version"), 0);
}
