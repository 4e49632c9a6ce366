//! Meeting at once, and meeting again: whichever letter of a handshake arrives first, late or twice, both sides end as contacts of each
//! other, with one pair secret, and nothing that was said between contacts is lost.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sotto_core::InviteOptions;
use sotto_core::records::{ContactState, MessageState};
use sotto_protocol::AccountId;
use sotto_sim::{HeldPost, Person, World};

pub(crate) async fn link(owner: &Person, auto_accept: bool) -> String {
    let options = InviteOptions { auto_accept, ..InviteOptions::default() };
    let invite = owner.messenger.invite(options).await.expect("an invite is made");
    owner.catch_up().await.expect("its tokens are put");
    invite.link
}

pub(crate) async fn id(person: &Person) -> AccountId {
    person.messenger.account().await.expect("an account").id
}

/// Both are contacts of each other with one secret, know that its tokens stand, and hear of everything that they say.
pub(crate) async fn are_contacts(world: &World, alice: &Person, bob: &Person, story: &str) {
    let to_alice = bob.say("alice", "to alice").await.expect("said");
    world.settle(&[bob, alice]).await.expect("they settle");
    let to_bob = alice.say("bob", "to bob").await.expect("said");
    world.settle(&[alice, bob]).await.expect("they settle");
    for (person, other) in [(bob, "alice"), (alice, "bob")] {
        person.say(other, "and this confirms what came before").await.expect("said");
        world.settle(&[person, if other == "bob" { bob } else { alice }]).await.expect("they settle");
    }
    for (person, other) in [(alice, "bob"), (bob, "alice")] {
        assert_eq!(person.contact(other).await.expect("known").state, ContactState::Accepted, "{story}");
        assert_eq!(
            person.database().number("SELECT pair_usable FROM contact"),
            1,
            "{story}: {other}'s tokens stand {:?} {:?}",
            rows(person),
            person.refusals()
        );
        let waiting = "SELECT count(*) FROM outbox WHERE state <= 2";
        // The last word of a conversation is confirmed with the next one.
        assert!(person.database().number(waiting) <= 1, "{story}: to {other} {:?}", rows(person));
        assert_eq!(person.database().number("SELECT count(*) FROM waiting"), 0, "{story}: nothing waits");
    }
    let pair = |person: &Person| person.database().blobs("SELECT pair_secret FROM contact");
    assert!(pair(alice) == pair(bob) && pair(alice).len() == 1, "{story}: one pair secret");
    for (person, message) in [(bob, &to_alice), (alice, &to_bob)] {
        let state = person.messenger.message(message.number).await.expect("kept").state;
        assert_eq!(state, MessageState::Delivered, "{story}: {:?} {:?}", rows(person), person.refusals());
    }
}

pub(crate) fn rows(person: &Person) -> Vec<String> {
    person.database().texts(
        "SELECT id || ':' || state || ':' || coalesce(counter, '-') || ':' || coalesce(message, '-') FROM outbox",
    )
}

/// Everything that is sent arrives in an order that the seed decides, some of it twice.
pub(crate) async fn arrives_in_any_order(world: &World, post: &HeldPost, people: &[&Person], rng: &mut ChaCha20Rng) {
    let mut held = Vec::new();
    let mut again = 4;
    loop {
        for person in people {
            let _ = person.messenger.catch_up(Duration::from_secs(5)).await;
        }
        held.extend(post.take());
        if held.is_empty() {
            return;
        }
        let place = usize::try_from(rng.next_u32()).expect("a number") % held.len();
        let letter = held.swap_remove(place);
        if again > 0 && rng.next_u32().is_multiple_of(3) {
            again -= 1;
            held.push(letter.clone());
        }
        assert!(post.deliver(&world.network, &letter).await, "its token stands");
    }
}

async fn crossing_invites(seed: u64) {
    let world = World::seeded(seed);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.expect("it works");
    let bob = world.person("bob", &relays).await.expect("it works");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let auto_accept = rng.next_u32().is_multiple_of(2);
    let (of_alice, of_bob) = (link(&alice, auto_accept).await, link(&bob, auto_accept).await);
    let post = HeldPost::begin(&world.network);
    alice.messenger.join(&of_bob).await.expect("it works");
    bob.messenger.join(&of_alice).await.expect("it works");
    arrives_in_any_order(&world, &post, &[&alice, &bob], &mut rng).await;
    post.end(&world.network);
    are_contacts(&world, &alice, &bob, &format!("crossing, seed {seed}")).await;
}

/// Alice removes bob while letters are under way, and scans an invite of his.
async fn removed_and_met_again(seed: u64) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    alice.say("bob", "before").await.expect("it works");
    world.settle(&[&alice, &bob]).await.expect("it works");
    let of_bob = link(&bob, rng.next_u32().is_multiple_of(2)).await;
    let post = HeldPost::begin(&world.network);
    alice.say("bob", "under way when she removes him").await.expect("it works");
    let kept = bob.say("alice", "he does not know yet").await.expect("it works");
    for person in [&alice, &bob] {
        let _ = person.messenger.catch_up(Duration::from_secs(5)).await;
    }
    alice.messenger.remove(id(&bob).await).await.expect("it works");
    alice.messenger.join(&of_bob).await.expect("it works");
    arrives_in_any_order(&world, &post, &[&alice, &bob], &mut rng).await;
    post.end(&world.network);
    are_contacts(&world, &alice, &bob, &format!("met again, seed {seed}")).await;
    assert_eq!(
        bob.messenger.message(kept.number).await.expect("it works").state,
        MessageState::Delivered,
        "seed {seed}"
    );
    let said = alice.transcript("bob").await.expect("it works");
    assert_eq!(said.iter().filter(|text| *text == "he does not know yet").count(), 1, "seed {seed}: {said:?}");
}

/// Both remove each other while letters are under way, and each scans an invite of the other.
async fn removed_and_crossing(seed: u64) {
    let (world, _, alice, bob) = World::contacts(seed).await;
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let (of_alice, of_bob) = (link(&alice, false).await, link(&bob, false).await);
    let post = HeldPost::begin(&world.network);
    alice.say("bob", "under way").await.expect("it works");
    bob.say("alice", "under way").await.expect("it works");
    for person in [&alice, &bob] {
        let _ = person.messenger.catch_up(Duration::from_secs(5)).await;
    }
    alice.messenger.remove(id(&bob).await).await.expect("it works");
    bob.messenger.remove(id(&alice).await).await.expect("it works");
    alice.messenger.join(&of_bob).await.expect("it works");
    bob.messenger.join(&of_alice).await.expect("it works");
    arrives_in_any_order(&world, &post, &[&alice, &bob], &mut rng).await;
    post.end(&world.network);
    are_contacts(&world, &alice, &bob, &format!("both removed, seed {seed}")).await;
}

#[tokio::test(start_paused = true)]
async fn a_contact_who_comes_again_and_again_uses_up_no_numbers() {
    let (world, _, alice, bob) = World::contacts(150).await;
    let post = HeldPost::begin(&world.network);
    bob.say("alice", "never confirmed").await.expect("it works");
    let (of_bob, inboxes) = (id(&bob).await, bob.inboxes());
    for _ in 0..12 {
        alice.messenger.remove(of_bob).await.expect("it works");
        alice.messenger.join(&link(&bob, true).await).await.expect("it works");
        let _ = alice.messenger.catch_up(Duration::from_secs(5)).await;
        for letter in post.take().iter().filter(|letter| inboxes.contains(&letter.inbox.to_vec())) {
            assert!(post.deliver(&world.network, letter).await, "its token stands");
        }
        let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
    }
    let waiting = "SELECT count(*) FROM outbox WHERE message IS NOT NULL AND state <= 2";
    assert!(bob.database().number(waiting) >= 1, "{:?} {:?}", rows(&bob), bob.refusals());
    let last = bob.database().number("SELECT max(id) FROM outbox");
    assert!(last < 100, "{last}: {:?}", rows(&bob));
}

#[tokio::test(start_paused = true)]
async fn e1_two_who_scan_each_other_at_once_agree_whichever_letter_comes_first() {
    for seed in 100..108 {
        crossing_invites(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c2_somebody_removed_and_met_again_is_a_contact_whichever_letter_comes_first() {
    for seed in 120..128 {
        removed_and_met_again(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c2_two_who_removed_each_other_meet_again_at_once() {
    for seed in 140..146 {
        removed_and_crossing(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c1_somebody_blocked_and_removed_can_be_let_in_again() {
    let (world, _, alice, bob) = World::contacts(151).await;
    let (of_alice, of_bob) = (id(&alice).await, id(&bob).await);
    alice.messenger.block(of_bob).await.expect("it works");
    alice.messenger.remove(of_bob).await.expect("it works");
    world.settle(&[&alice, &bob]).await.expect("they settle");
    let of_bob_link = link(&bob, true).await;
    let refused = alice.messenger.join(&of_bob_link).await.map(drop).expect_err("she blocks him");
    assert_eq!(refused.code(), "wrong_state");
    alice.messenger.unblock(of_bob).await.expect("removed, and still known to be blocked");
    bob.messenger.remove(of_alice).await.expect("it works");
    alice.messenger.join(&of_bob_link).await.expect("she may");
    world.settle(&[&alice, &bob]).await.expect("they settle");
    are_contacts(&world, &alice, &bob, "let in again").await;
}

#[tokio::test(start_paused = true)]
async fn c1_somebody_blocked_who_asks_is_not_accepted_before_that_is_taken_back() {
    let world = World::seeded(152);
    let relays = [world.network.add_relay("relay.example")];
    let alice = world.person("alice", &relays).await.expect("it works");
    let bob = world.person("bob", &relays).await.expect("it works");
    bob.messenger.join(&link(&alice, false).await).await.expect("it works");
    world.settle(&[&bob, &alice]).await.expect("they settle");
    let of_bob = id(&bob).await;
    alice.messenger.block(of_bob).await.expect("it works");
    let before = alice.dump();
    assert_eq!(alice.messenger.accept(of_bob).await.expect_err("he is blocked").code(), "wrong_state");
    assert!(alice.dump() == before, "something changed");
    alice.messenger.unblock(of_bob).await.expect("it works");
    alice.messenger.accept(of_bob).await.expect("it works");
    world.settle(&[&alice, &bob]).await.expect("they settle");
    are_contacts(&world, &alice, &bob, "accepted after all").await;
}
