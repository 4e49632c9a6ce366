//! What a replaced device had said before is heard by those who know the one in its place: for as long as relays may hold it, and no longer
//! (PROTOCOL H2).

use std::time::Duration;

use sotto_core::records::Kind;
use sotto_crypto::letter::{Card, Content};
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::secret::{ChainKey, PairSecret};
use sotto_protocol::{AccountId, ChainId};
use sotto_sim::{Envelope, Forger, HeldPost, Person, World, hex};

const DAY: Duration = Duration::from_secs(24 * 3600);
const UNDER_WAY: &str = "under way";

/// Bob knows the device that came in the place of alice's; a letter of the one before is under way to him.
struct Replaced {
    world: World,
    alice: Person,
    bob: Person,
    letter: Envelope,
}

impl Replaced {
    async fn begin(seed: u64) -> Self {
        Self::begin_with(seed, None).await
    }

    /// With a letter that says something else.
    async fn begin_with(seed: u64, content: Option<Content>) -> Self {
        let (world, _, alice, bob) = World::contacts(seed).await;
        for (one, other, name) in [(&alice, &bob, "bob"), (&bob, &alice, "alice"), (&alice, &bob, "bob")] {
            one.say(name, "before the copy").await.expect("they speak");
            world.settle(&[one, other]).await.expect("they settle");
        }
        let copy = world.back_up(&alice);
        bob.say("alice", "after it").await.expect("they speak");
        world.settle(&[&bob, &alice]).await.expect("they settle");
        let post = HeldPost::begin(&world.network);
        let alice = match content {
            None => {
                alice.say("bob", UNDER_WAY).await.expect("they speak");
                alice
            }
            Some(content) => {
                alice.messenger.shut_down();
                alice.database().change(&format!(
                    "INSERT INTO outbox (peer_device, content, message_id, state, sent_at) SELECT id, x'{}', randomblob(16), 0, 1 FROM peer_device",
                    hex(&content.encode().expect("legal"))
                ));
                world.reopen(alice).await.expect("it opens")
            }
        };
        alice.catch_up().await.expect("it leaves");
        let letter = post.take().pop().expect("a letter");
        post.end(&world.network);
        alice.messenger.shut_down();
        let alice = world.restore(copy, alice.secrets.clone()).await.expect("the copy opens");
        alice.catch_up().await.expect("it becomes another device");
        alice.say("bob", "from the new one").await.expect("they speak");
        for _ in 0..2 {
            world.settle(&[&alice, &bob]).await.expect("they settle");
            world.wait(Duration::from_secs(60)).await;
        }
        let said = bob.transcript("alice").await.expect("it reads");
        assert_eq!(said.last().map(String::as_str), Some("from the new one"), "he has read the list");
        Self { world, alice, bob, letter }
    }

    /// Bob's device finds that the one before left so much longer ago.
    fn left_before(&self, by: Duration) {
        let ms = by.as_millis();
        self.bob.database().change(&format!("UPDATE peer_device SET left_at = left_at - {ms} WHERE listed = 0"));
    }

    /// Alice signs, and bob reads, another list.
    async fn bob_reads(&mut self, list: impl FnOnce(&mut Forger, &World) -> VerifiedManifest) {
        let mut forger = Forger::new(&self.alice, &self.bob);
        let list = list(&mut forger, &self.world);
        forger.serve(&self.world.network, &[&list]);
        self.bob.database().change("UPDATE contact SET manifest_read_at = 0");
        self.bob.say("alice", "reads the list").await.expect("they speak");
        let _ = self.bob.messenger.catch_up(Duration::from_secs(5)).await;
        let read = self.bob.database().number("SELECT epoch * 1000000 + version FROM contact");
        assert_eq!(read, i64::from(list.head().epoch) * 1_000_000 + i64::from(list.head().version));
        self.world.network.meddle(None);
    }

    /// The letter arrives. Says whether bob heard it.
    async fn is_heard(&self) -> bool {
        assert!(self.world.network.put(&self.letter).await);
        self.bob.catch_up().await.expect("he fetches it");
        self.bob.transcript("alice").await.expect("it reads").contains(&UNDER_WAY.to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn h2_what_a_relay_took_of_the_device_before_is_heard_by_those_who_know_the_new_one_already() {
    for (seed, days) in [(1210, 0), (1220, 36)] {
        let replaced = Replaced::begin(seed).await;
        replaced.left_before(days * DAY);
        assert!(replaced.is_heard().await, "{days} days later: {:?}", replaced.bob.refusals());
    }
}

#[tokio::test(start_paused = true)]
async fn h2_a_replaced_device_is_heard_no_more_when_no_relay_can_hold_what_it_said() {
    let replaced = Replaced::begin(1221).await;
    replaced.left_before(38 * DAY);
    assert!(!replaced.is_heard().await);
    assert_eq!(replaced.bob.refused("device_unlisted"), 1);
}

#[tokio::test(start_paused = true)]
async fn h2_a_replaced_device_is_heard_no_more_once_the_root_key_has_spoken_for_a_later_epoch() {
    let mut replaced = Replaced::begin(1222).await;
    replaced.bob_reads(|forger, world| forger.manifest_of_a_later_epoch(1, world.now())).await;
    assert!(!replaced.is_heard().await);
    assert_eq!(replaced.bob.refused("device_unlisted"), 1);
}

#[tokio::test(start_paused = true)]
async fn h2_a_replaced_device_that_was_listed_again_and_removed_is_heard_no_more() {
    let mut replaced = Replaced::begin(1223).await;
    let device = replaced.bob.database().blobs("SELECT device FROM peer_device WHERE listed = 0").swap_remove(0);
    let keys = |column: &str| {
        let sql = format!("SELECT {column} FROM peer_device WHERE listed = 0");
        <[u8; 32]>::try_from(&replaced.bob.database().blobs(&sql).swap_remove(0)[..]).expect("32 bytes")
    };
    let (ed25519, curve25519) = (keys("ed25519"), keys("curve25519"));
    let mut listed = Vec::new();
    replaced
        .bob_reads(|forger, world| {
            listed = forger.known().devices().to_vec();
            let mut again = listed[0].clone();
            again.id = sotto_protocol::DeviceId::try_from(&device[..]).expect("an id");
            again.replaces = None;
            (again.ed25519, again.curve25519) = (ed25519, curve25519);
            again.inboxes[0].inbox = sotto_protocol::InboxId::from_bytes([7; 16]);
            listed[0].replaces = None;
            forger.manifest_with_devices(&[listed[0].clone(), again], world.now())
        })
        .await;
    assert_eq!(replaced.bob.database().number("SELECT count(*) FROM peer_device WHERE listed = 1"), 2);
    replaced.bob_reads(|forger, world| forger.manifest_with_devices(&listed, world.now())).await;
    assert!(!replaced.is_heard().await);
    assert_eq!(replaced.bob.refused("device_unlisted"), 1);
}

#[tokio::test(start_paused = true)]
async fn h2_what_cannot_be_opened_of_a_replaced_device_leaves_no_place_and_asks_nobody() {
    let replaced = Replaced::begin(1224).await;
    let bob = &replaced.bob;
    bob.database().change("DELETE FROM session WHERE peer_inbox IN (SELECT peer_inbox.id FROM peer_inbox JOIN peer_device ON peer_device.id = peer_device WHERE peer_device.listed = 0)");
    let sent = replaced.world.network.envelopes_to(&replaced.alice).len();
    assert!(!replaced.is_heard().await);
    assert_eq!(bob.refused("olm_refused"), 1, "{:?}", bob.refusals());
    let alice = bob.contact("alice").await.unwrap().id;
    let messages = bob.messenger.messages(alice, None, u32::MAX).await.unwrap();
    assert!(!messages.iter().any(|message| matches!(message.kind, Kind::Unopened(_))));
    assert_eq!(replaced.world.network.envelopes_to(&replaced.alice).len(), sent);
}

/// What bob shares with alice, and where he reads her lists.
fn known(bob: &Person) -> Vec<Vec<u8>> {
    bob.database().blobs("SELECT pair_secret FROM contact UNION ALL SELECT chain FROM contact")
}

#[tokio::test(start_paused = true)]
async fn h2_a_replaced_device_changes_neither_the_pair_secret_nor_the_chain_that_is_read() {
    let before = PairSecret::from_bytes([1; 32]).id();
    let change = Content::PairChange { pair_secret: PairSecret::from_bytes([9; 32]), epoch: 2, before };
    let (world, relay, alice, _) = World::contacts(1225).await;
    let account: AccountId = alice.messenger.account().await.expect("it reads").id;
    drop(world);
    let (chain, chain_key) = (ChainId::from_bytes([9; 32]), ChainKey::from_bytes([9; 32]));
    let moved = Content::CardChange(Card { account, relay, chain, chain_key });
    for content in [change, moved] {
        let replaced = Replaced::begin_with(1225, Some(content)).await;
        let bob = &replaced.bob;
        // As if she had begun an epoch since, of which the device before knows as well.
        bob.database().change("UPDATE contact SET epoch = 40");
        let before = known(bob);
        assert!(replaced.world.network.put(&replaced.letter).await);
        let _ = bob.messenger.catch_up(Duration::from_secs(5)).await;
        assert_eq!(known(bob), before);
        assert_eq!(bob.refusals().len(), 0, "it is heard, and says nothing: {:?}", bob.refusals());
    }
}
