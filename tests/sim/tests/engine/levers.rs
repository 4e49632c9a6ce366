//! Beginning anew is no lever: whatever a contact's script makes of the letters of a handshake, it costs a bounded number of rows and of
//! signed calls, and whoever begins anew as people do is heard.

use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_core::records::ContactState;
use sotto_crypto::letter::{Card, Content};
use sotto_crypto::secret::{ChainKey, PairSecret};
use sotto_protocol::relay::{TokenDrop, TokenPut};
use sotto_protocol::request::path;
use sotto_protocol::{AccountId, ChainId, Message as _};
use sotto_sim::{HeldPost, Person, World, hex};

const DAY: Duration = Duration::from_secs(24 * 3600);
const TIMES: usize = 200;

/// Signed calls that put or drop a token at one of this person's inboxes.
fn token_calls(world: &World, person: &Person) -> usize {
    let inboxes = person.inboxes();
    let is_theirs = |call: &&sotto_sim::Traffic| {
        let inbox = match call.path {
            path::TOKEN_PUT => TokenPut::decode(call.body.clone()).unwrap_or_default().inbox,
            path::TOKEN_DROP => TokenDrop::decode(call.body.clone()).unwrap_or_default().inbox,
            _ => return false,
        };
        inboxes.iter().any(|own| **own == *inbox)
    };
    world.network.traffic().iter().filter(is_theirs).count()
}

fn rows(person: &Person, table: &str) -> i64 {
    person.database().number(&format!("SELECT count(*) FROM {table}"))
}

async fn id(person: &Person) -> AccountId {
    person.messenger.account().await.expect("an account").id
}

#[tokio::test(start_paused = true)]
async fn c2_a_request_is_answered_once_however_many_answers_come() {
    let world = World::seeded(260);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
    let invite = bob.messenger.invite(options).await.unwrap();
    bob.catch_up().await.unwrap();
    let post = HeldPost::begin(&world.network);
    alice.messenger.join(&invite.link).await.unwrap();
    let _ = alice.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
    for letter in post.take() {
        assert!(post.deliver(&world.network, &letter).await);
    }
    let _ = bob.messenger.catch_up(Duration::from_secs(5)).await.unwrap();
    let reply_secret = hex(&bob.database().blobs("SELECT reply_secret FROM contact")[0]);
    for letter in post.take() {
        assert!(post.deliver(&world.network, &letter).await);
    }
    for letter in post.take() {
        assert!(post.deliver(&world.network, &letter).await);
    }
    post.end(&world.network);
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.say("bob", "before").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let before = (rows(&alice, "alias"), token_calls(&world, &alice), rows(&alice, "outbox"));
    let pair = alice.database().blobs("SELECT pair_secret FROM contact");
    // Bob's device answers again and again, under the token that her request carried.
    bob.database().change(&format!("UPDATE contact SET pair_usable = 0, reply_secret = x'{reply_secret}'"));
    let card = Card {
        account: id(&bob).await,
        relay: relays[0].clone(),
        chain: ChainId::from_bytes([7; 32]),
        chain_key: ChainKey::from_bytes([8; 32]),
    };
    let pair_secret = PairSecret::from_bytes([9; 32]);
    let answer = Content::ContactAccept { name: "bob".to_owned(), card, pair_secret }.encode().ok().unwrap();
    for _ in 0..TIMES {
        let said = bob.say("alice", "something else").await.unwrap().number;
        bob.database().change(&format!("UPDATE message SET content = x'{}' WHERE id = {said}", hex(&answer)));
    }
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(rows(&alice, "alias"), before.0, "no alias more");
    assert_eq!(token_calls(&world, &alice), before.1, "no token was put or dropped");
    assert!(rows(&alice, "outbox") <= before.2 + 10, "but for confirmations nothing is owed");
    assert!(alice.database().blobs("SELECT pair_secret FROM contact") == pair, "and the pair stays");
    // They were taken and are confirmed all the same: their sender has no reason to put them again for ever.
    alice.say("bob", "after").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(bob.database().number("SELECT count(*) FROM outbox WHERE state <= 2"), 0);
}

#[tokio::test(start_paused = true)]
async fn c2_a_contact_begins_anew_a_few_times_a_day_however_often_they_ask() {
    let world = World::seeded(261);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.unwrap();
    let bob = world.person("bob", &relays).await.unwrap();
    let options = InviteOptions { uses: 1000, auto_accept: true, ..InviteOptions::default() };
    let invite = alice.messenger.invite(options).await.unwrap();
    alice.catch_up().await.unwrap();
    bob.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let before = (rows(&alice, "alias"), token_calls(&world, &alice), rows(&alice, "outbox"));
    let of_alice = id(&alice).await;
    // With the first they are as many as a relay gives prekeys for in a day.
    for _ in 1..TIMES {
        bob.messenger.remove(of_alice).await.unwrap();
        bob.messenger.join(&invite.link).await.unwrap();
        let _ = bob.messenger.catch_up(Duration::from_secs(1)).await.unwrap();
    }
    assert!(alice.refused("request_too_often") > 100, "{:?}", alice.refusals());
    assert!(rows(&alice, "alias") <= before.0 + 16, "{}", rows(&alice, "alias"));
    assert!(token_calls(&world, &alice) <= before.1 + 40, "{}", token_calls(&world, &alice));
    assert!(rows(&alice, "outbox") <= before.2 + 40, "{}", rows(&alice, "outbox"));
    // The last request is heard once a day has passed.
    let [alice, bob] = world.switched_off([alice, bob], DAY + DAY / 12).await.unwrap();
    for _ in 0..4 {
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    assert_eq!(bob.contact("alice").await.unwrap().state, ContactState::Accepted, "{:?}", alice.refusals());
    bob.say("alice", "heard").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["heard"]);
}

#[tokio::test(start_paused = true)]
async fn c1_aliases_of_a_meeting_before_are_forgotten_with_what_waits_under_them() {
    let (world, _, alice, bob) = World::contacts(262).await;
    alice.messenger.remove(id(&bob).await).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
    let invite = bob.messenger.invite(options).await.unwrap();
    bob.catch_up().await.unwrap();
    alice.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let dropped = "SELECT count(*) FROM alias WHERE dropped = 1";
    assert!(alice.database().number(dropped) > 0 && bob.database().number(dropped) > 0);
    let later = world.now().after(20 * DAY).as_ms();
    alice.database().change(&format!(
        "INSERT INTO waiting (own_inbox, alias, header, payload, stored_at, reason)
         SELECT own_inbox, alias, x'00', x'00', {later}, 1 FROM alias WHERE dropped = 1 LIMIT 1"
    ));
    let [alice, bob] = world.switched_off([alice, bob], 38 * DAY).await.unwrap();
    world.wait(Duration::from_secs(3600)).await;
    for person in [&alice, &bob] {
        assert_eq!(person.database().number(dropped), 0);
        assert_eq!(rows(person, "waiting"), 0);
        assert!(person.database().number("SELECT count(*) FROM alias WHERE purpose = 1") > 0, "the pair's is there");
    }
    bob.say("alice", "under the pair's").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["under the pair's"]);
    // Nor do those stay under which an answer was awaited.
    let [alice, _] = world.switched_off([alice, bob], 62 * DAY).await.unwrap();
    world.wait(Duration::from_secs(3600)).await;
    assert_eq!(alice.database().number("SELECT count(*) FROM alias WHERE purpose = 2"), 0);
}
