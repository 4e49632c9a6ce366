//! Letters that come and cannot be opened: a visible place, which the letter takes when it comes again (PROTOCOL E2, E6).

use std::time::Duration;

use sotto_core::records::{Kind, Message, Missing, Unopened};
use sotto_sim::{HeldPost, Person, World};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Everything that bob heard of alice, with its kind.
async fn heard(bob: &Person) -> Vec<Message> {
    let alice = bob.contact("alice").await.expect("a contact").id;
    bob.messenger.messages(alice, None, u32::MAX).await.expect("a page")
}

async fn kinds(bob: &Person) -> Vec<Kind> {
    heard(bob).await.into_iter().map(|message| message.kind).collect()
}

async fn says(world: &World, from: &Person, to: &Person, name: &str, text: &str) {
    from.say(name, text).await.expect("they speak");
    world.settle(&[from, to]).await.expect("it arrives");
}

/// They have talked both ways, so that letters are no first messages, and bob has lost every session since.
async fn lost_sessions(seed: u64) -> (World, Person, Person) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    says(&world, &alice, &bob, "bob", "before").await;
    says(&world, &bob, &alice, "alice", "likewise").await;
    bob.database().change("DELETE FROM session");
    (world, alice, bob)
}

#[tokio::test(start_paused = true)]
async fn e6_what_cannot_be_opened_leaves_a_place_and_takes_it_when_it_comes_again() {
    let (world, alice, bob) = lost_sessions(720).await;
    alice.say("bob", "one").await.unwrap();
    says(&world, &alice, &bob, "bob", "two").await;
    let unopened = Kind::Unopened(Unopened::SessionLost);
    assert_eq!(kinds(&bob).await, [Kind::Text, Kind::Text, unopened, unopened]);
    let places: Vec<_> = heard(&bob).await.iter().map(|message| message.number).collect();
    let newest = bob.messenger.newest().await.unwrap();
    says(&world, &bob, &alice, "alice", "what did you say?").await;
    world.wait(5 * MINUTE).await;
    let healed = heard(&bob).await;
    let texts: Vec<_> = healed.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["before", "likewise", "one", "two", "what did you say?"]);
    assert_eq!(healed[..4].iter().map(|message| message.number).collect::<Vec<_>>(), places, "each in its place");
    assert_eq!(bob.database().number("SELECT count(*) FROM unopened"), 0);
    // Whoever reads what came since hears of them.
    let came = bob.messenger.received_after(newest, 10).await.unwrap();
    assert_eq!(came.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    says(&world, &alice, &bob, "bob", "three").await;
    assert_eq!(heard(&bob).await.last().map(|message| message.text.clone()).as_deref(), Some("three"));
    let came = bob.messenger.received_after(came[1].arrival, 10).await.unwrap();
    assert_eq!(came.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), ["three"]);
}

#[tokio::test(start_paused = true)]
async fn e6_a_place_goes_when_the_letter_turns_out_to_be_no_message() {
    let (world, alice, bob) = lost_sessions(721).await;
    bob.messenger.mark_all_read(bob.contact("alice").await.unwrap().id).await.unwrap();
    let newest = bob.messenger.newest().await.unwrap();
    // Alice owes a confirmation, and makes it on the session that bob has lost.
    world.wait(DAY).await;
    assert_eq!(bob.refused("olm_refused"), 1, "{:?}", bob.refusals());
    assert_eq!(kinds(&bob).await, [Kind::Text, Kind::Text]);
    let conversation = &bob.messenger.conversations(sotto_core::records::Chats::Main, None, 10).await.unwrap()[0];
    assert_eq!((conversation.unread, conversation.preview.as_deref()), (0, Some("likewise")));
    // Its number is given to nobody else.
    says(&world, &alice, &bob, "bob", "a message").await;
    assert_eq!(bob.messenger.received_after(newest, 10).await.unwrap().len(), 1);
    assert!(heard(&bob).await.last().unwrap().number > newest + 1);
}

#[tokio::test(start_paused = true)]
async fn e6_a_place_becomes_missing_when_its_sender_has_given_the_letter_up() {
    let (world, alice, bob) = lost_sessions(722).await;
    says(&world, &alice, &bob, "bob", "given up").await;
    alice.database().change("UPDATE outbox SET state = 4 WHERE state = 2");
    world.wait(5 * MINUTE).await;
    let last = heard(&bob).await.pop().unwrap();
    assert_eq!((last.kind, last.number), (Kind::Missing(Missing::GivenUp), 3), "in its place");
}

#[tokio::test(start_paused = true)]
async fn e6_a_place_that_nobody_answers_for_becomes_missing() {
    let (world, alice, bob) = lost_sessions(723).await;
    says(&world, &alice, &bob, "bob", "never again").await;
    alice.messenger.shut_down();
    bob.database().change("UPDATE peer_device SET asks = 44");
    world.wait(2 * MINUTE).await;
    assert_eq!(kinds(&bob).await.pop(), Some(Kind::Missing(Missing::Unanswered)));
    assert_eq!(bob.database().number("SELECT count(*) FROM unopened"), 0);
}

#[tokio::test(start_paused = true)]
async fn e6_a_place_of_a_device_that_left_its_list_becomes_missing_after_37_days() {
    let (world, alice, bob) = lost_sessions(726).await;
    says(&world, &alice, &bob, "bob", "never again").await;
    alice.messenger.shut_down();
    bob.database().change("UPDATE peer_device SET listed = 0, left_at = (SELECT max(received_at) FROM message)");
    let [bob] = world.switched_off([bob], 36 * DAY).await.unwrap();
    world.wait(MINUTE).await;
    assert_eq!(kinds(&bob).await.pop(), Some(Kind::Unopened(Unopened::SessionLost)), "it may be listed again");
    world.wait(2 * DAY).await;
    assert_eq!(kinds(&bob).await.pop(), Some(Kind::Missing(Missing::Unanswered)));
    assert_eq!(bob.database().number("SELECT count(*) FROM unopened"), 0);
    assert_eq!(bob.database().number("SELECT count(*) FROM peer_device WHERE ask_at IS NOT NULL"), 0);
}

#[tokio::test(start_paused = true)]
async fn e6_a_ciphertext_that_its_maker_disowns_is_shown_no_longer() {
    let (world, _, alice, bob) = World::contacts(724).await;
    says(&world, &alice, &bob, "bob", "before").await;
    // As somebody else made it, and a relay delivered it as alice's.
    bob.database().change(
        "INSERT INTO message (id, conversation, sender, message_id, sent_at, received_at, kind, text, content, state, cause, position)
             VALUES (9, 1, 1, randomblob(16), 1, 1, 3, '', x'', 10, 1, 1 << 62);
         INSERT INTO unopened VALUES (randomblob(32), 1, 9);
         UPDATE peer_device SET ask_at = 1;",
    );
    let bob = world.reopen(bob).await.unwrap();
    assert_eq!(kinds(&bob).await, [Kind::Text, Kind::Unopened(Unopened::SessionLost)]);
    world.settle(&[&bob, &alice]).await.unwrap();
    world.wait(MINUTE).await;
    assert_eq!(kinds(&bob).await, [Kind::Text]);
}

#[tokio::test(start_paused = true)]
async fn e6_a_place_is_taken_by_a_letter_of_its_own_device_only() {
    let (world, relay, alice, bob) = World::contacts(725).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    world.introduce(&bob, &carol).await.unwrap();
    says(&world, &alice, &bob, "bob", "before").await;
    bob.database().change("DELETE FROM session WHERE id IN (SELECT session.id FROM session JOIN peer_inbox ON peer_inbox.id = peer_inbox WHERE peer_device = 1)");
    says(&world, &alice, &bob, "bob", "one").await;
    assert_eq!(kinds(&bob).await.len(), 2);
    let hash = bob.database().texts("SELECT hex(hash) FROM unopened").swap_remove(0);
    // Carol has a place of her own, so that hers are looked for.
    bob.database().change("INSERT INTO message (id, conversation, sender, message_id, sent_at, received_at, kind, text, content, state, cause, position)
             SELECT 9, conversation.id, 2, randomblob(16), 1, 1, 3, '', x'', 10, 1, 9 FROM conversation WHERE contact = 2;
         INSERT INTO unopened VALUES (randomblob(32), (SELECT id FROM peer_device WHERE contact = 2), 9);");
    let bob = world.reopen(bob).await.unwrap();
    // Carol's letter claims to have left in that ciphertext.
    carol.say("bob", "mine").await.unwrap();
    carol.database().change(&format!("UPDATE outbox SET inner = x'{hash}' WHERE state = 0"));
    world.settle(&[&carol, &bob]).await.unwrap();
    assert_eq!(bob.transcript("carol").await.unwrap(), ["", "mine"]);
    assert_eq!(kinds(&bob).await, [Kind::Text, Kind::Unopened(Unopened::SessionLost)]);
    world.wait(5 * MINUTE).await;
    assert_eq!(bob.transcript("alice").await.unwrap(), ["before", "one"]);
}

#[tokio::test(start_paused = true)]
async fn e6_sixty_four_places_are_kept_and_all_that_came_beyond_them_comes_again_as_well() {
    let (world, alice, bob) = lost_sessions(726).await;
    bob.messenger.shut_down();
    let texts: Vec<String> = (0..100).map(|number| format!("{number}")).collect();
    for text in &texts {
        alice.say("bob", text).await.unwrap();
    }
    alice.catch_up().await.unwrap();
    let bob = world.reopen(bob).await.unwrap();
    bob.catch_up().await.unwrap();
    assert_eq!(bob.database().number("SELECT count(*) FROM unopened"), 64);
    assert_eq!(bob.refused("too_many_unopened"), 36);
    world.wait(20 * MINUTE).await;
    assert_eq!(bob.transcript("alice").await.unwrap().split_off(2), texts, "in order");
}

#[tokio::test(start_paused = true)]
async fn e2_sessions_are_begun_anew_for_what_cannot_be_opened_ever_more_rarely() {
    let (world, alice, bob) = lost_sessions(727).await;
    // Nothing that bob sends arrives: alice goes on as before.
    let alice_inbox = alice.inboxes().swap_remove(0);
    let post = HeldPost::begin(&world.network);
    let mut sessions = Vec::new();
    for hour in 0..12_u32 {
        alice.say("bob", &format!("{hour}")).await.unwrap();
        alice.catch_up().await.unwrap();
        for letter in post.take().iter().filter(|letter| *letter.inbox != *alice_inbox) {
            post.deliver(&world.network, letter).await;
        }
        let _ = bob.messenger.catch_up(MINUTE).await;
        bob.database().change("DELETE FROM session WHERE sending = 0");
        sessions.push(bob.database().number("SELECT fresh_session_at FROM peer_device"));
        world.wait(60 * MINUTE).await;
    }
    sessions.dedup();
    assert!((3..=5).contains(&sessions.len()), "{sessions:?}");
}
