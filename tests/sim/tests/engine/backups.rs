//! A relay that comes back from a backup has forgotten what it was told since, and is told again; one that merely says so gains nothing.

use std::sync::Arc;
use std::time::Duration;

use sotto_core::InviteOptions;
use sotto_core::world::Isolation;
use sotto_protocol::relay::{Managed, server_frame};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, ChainId, Message as _, RelayAddress};
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use sotto_sim::{Fate, Person, World};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Databases of relays, to be copied and put back.
pub(crate) struct Stores(tempfile::TempDir);

impl Stores {
    pub(crate) fn new() -> Outcome<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// From now on a relay has the store of that name.
    pub(crate) fn open(&self, world: &World, relay: &RelayAddress, name: &str) -> Outcome<()> {
        let options = SqliteOptions::file(self.0.path().join(name)).inline();
        let store = Arc::new(SqliteStore::open(options)?);
        let relay_again = Relay::new(store, RelayConfig::open(relay.name().clone()), world.now());
        world.network.put_relay(relay, relay_again);
        Ok(())
    }

    pub(crate) fn copy(&self, from: &str, to: &str) -> Outcome<()> {
        for end in ["", "-wal"] {
            let file = self.0.path().join(format!("{from}{end}"));
            if file.exists() {
                std::fs::copy(file, self.0.path().join(format!("{to}{end}")))?;
            }
        }
        Ok(())
    }

    /// The store of that name lacks all chains, and nothing else.
    fn lose_chains(&self, name: &str) -> Outcome<()> {
        let store = rusqlite::Connection::open(self.0.path().join(name))?;
        Ok(store.execute_batch("DELETE FROM chain; DELETE FROM chain_entry;")?)
    }
}

/// Alice and bob, at one relay with a store of the name `before`.
async fn two(seed: u64, stores: &Stores) -> Outcome<(World, RelayAddress, Person, Person)> {
    let world = World::seeded(seed);
    let relay = world.network.add_relay("relay.example");
    stores.open(&world, &relay, "before")?;
    let alice = world.person("alice", std::slice::from_ref(&relay)).await?;
    let bob = world.person("bob", std::slice::from_ref(&relay)).await?;
    world.settle(&[&alice, &bob]).await?;
    Ok((world, relay, alice, bob))
}

#[tokio::test(start_paused = true)]
async fn b4_letters_leave_for_a_contact_whose_relay_came_back_from_a_backup_without_her_newest_list() {
    let world = World::seeded(296);
    let stores = Stores::new().unwrap();
    let relay = world.network.add_relay("relay.example");
    stores.open(&world, &relay, "first").unwrap();
    let mut alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let mut bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    stores.copy("first", "second").unwrap();
    let mut said = Vec::new();
    for week in 0..5 {
        [alice, bob] = world.switched_off([alice, bob], 8 * DAY).await.unwrap();
        alice.catch_up().await.unwrap();
        world.wait(HOUR).await;
        said.push(format!("week {week}"));
        bob.say("alice", said.last().unwrap()).await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
        assert_eq!(alice.transcript("bob").await.unwrap(), said);
        let known = bob.database().number("SELECT version FROM contact");
        let newest = alice.database().number("SELECT version FROM account");
        // The list that stands where he has read already he finds with the next one.
        assert!(known == newest || week == 1 && known + 1 == newest, "week {week}: {known} of {newest}");
        if week == 0 {
            assert!(known > 1, "he has read what will be lost");
            stores.open(&world, &relay, "second").unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c1_contacts_and_invites_of_which_a_relay_has_forgotten_everything_go_on() {
    let stores = Stores::new().unwrap();
    let (world, relay, alice, bob) = two(297, &stores).await.unwrap();
    stores.copy("before", "after").unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    bob.say("alice", "before").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    stores.open(&world, &relay, "after").unwrap();
    let [alice, bob] = world.switched_off([alice, bob], HOUR).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    bob.say("alice", "after").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.say("bob", "hers").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap(), ["before", "after", "hers"]);
    assert_eq!(bob.transcript("alice").await.unwrap(), ["before", "after", "hers"]);
    // Its list and its tokens are later than the backup; the prekeys that are claimed were handed out before it.
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    carol.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    alice.messenger.accept(alice.contact("carol").await.unwrap().id).await.unwrap();
    world.settle(&[&alice, &carol]).await.unwrap();
    carol.say("alice", "met").await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    assert_eq!(alice.transcript("carol").await.unwrap(), ["met"]);
    let tasks = "SELECT count(*) FROM relay_task";
    assert_eq!((alice.database().number(tasks), bob.database().number(tasks)), (0, 0));
}

/// Carol is met by an invite that the relay had forgotten.
async fn joins(world: &World, relay: &RelayAddress, alice: &Person, link: &str) -> Outcome<()> {
    let carol = world.person("carol", std::slice::from_ref(relay)).await?;
    carol.messenger.join(link).await?;
    world.settle(&[&carol, alice]).await?;
    alice.messenger.accept(alice.contact("carol").await?.id).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn c1_a_relay_that_has_forgotten_an_invite_and_acknowledgements_of_nobody_is_told_again() {
    let stores = Stores::new().unwrap();
    let (world, relay, alice, bob) = two(306, &stores).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    stores.copy("before", "after").unwrap();
    let mut invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    for _ in 0..8 {
        invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    }
    alice.catch_up().await.unwrap();
    stores.open(&world, &relay, "after").unwrap();
    let [alice] = world.switched_off([alice], HOUR).await.unwrap();
    joins(&world, &relay, &alice, &invite.link).await.unwrap();
    // Nothing has been forgotten since.
    let told = alice.database().number("SELECT told_again_at FROM own_inbox");
    let [alice] = world.switched_off([alice], 2 * HOUR).await.unwrap();
    assert_eq!(alice.database().number("SELECT told_again_at FROM own_inbox"), told);
}

#[tokio::test(start_paused = true)]
async fn c1_what_a_relay_forgets_within_an_hour_is_told_after_it_however_much_it_hears_meanwhile() {
    let stores = Stores::new().unwrap();
    let (world, relay, alice, bob) = two(308, &stores).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    stores.copy("before", "after").unwrap();
    let invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    alice.database().change(&format!("UPDATE own_inbox SET told_again_at = {}", world.now().as_ms()));
    stores.open(&world, &relay, "after").unwrap();
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    for _ in 0..5 {
        alice.messenger.invite(InviteOptions::default()).await.unwrap();
    }
    alice.catch_up().await.unwrap();
    let [alice] = world.switched_off([alice], 2 * HOUR).await.unwrap();
    joins(&world, &relay, &alice, &invite.link).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn c1_an_answer_and_an_attachment_that_overtake_each_other_are_no_sign_of_a_backup() {
    let (world, relay, alice, _) = World::contacts(309).await;
    let second = Duration::from_secs(1);
    let counted = || alice.database().number("SELECT changes FROM own_inbox");
    let before = counted();
    // The answer comes after the attachment that counts the same call,
    world.network.delay_answers(path::TOKEN_PUT, 60 * second);
    alice.messenger.invite(InviteOptions::default()).await.unwrap();
    world.wait(second).await;
    world.network.set_down(&relay, true);
    world.wait(second).await;
    world.network.set_down(&relay, false);
    world.wait(30 * second).await;
    assert_eq!(counted(), before + 1, "it is attached again");
    world.wait(60 * second).await;
    world.network.delay_answers(path::TOKEN_PUT, Duration::ZERO);
    alice.catch_up().await.unwrap();
    assert_eq!(counted(), before + 1);
    assert_eq!(alice.database().number("SELECT told_again_at FROM own_inbox"), 0);
    // and an attachment from before a call after its answer.
    let database = alice.database();
    world.network.lie(Some(Box::new(move |_, frame| {
        if let server_frame::Frame::Attached(_) = frame {
            database.change("UPDATE own_inbox SET changes = changes + 1");
        }
    })));
    world.network.set_down(&relay, true);
    world.wait(second).await;
    world.network.set_down(&relay, false);
    world.wait(60 * second).await;
    world.network.lie(None);
    assert_eq!(counted(), before + 2);
    assert_eq!(alice.database().number("SELECT told_again_at FROM own_inbox"), 0);
}

#[tokio::test(start_paused = true)]
async fn c1_a_relay_that_counts_less_with_a_call_than_before_it_is_told_again_what_it_has_forgotten() {
    let (world, relay, alice, _) = World::contacts(307).await;
    // It came back from a backup between two calls, and nobody has attached since.
    let forgets = Managed { changes: 1 }.encode_to_vec();
    let is_first = std::sync::atomic::AtomicBool::new(true);
    world.network.meddle(Some(Box::new(move |call| {
        let is_it = call.path == path::TOKEN_PUT && is_first.swap(false, std::sync::atomic::Ordering::SeqCst);
        if is_it { Fate::Answered(forgets.clone().into()) } else { Fate::Passes }
    })));
    let invite = alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    joins(&world, &relay, &alice, &invite.link).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn c1_a_relay_that_counts_no_changes_has_not_forgotten_any_by_that() {
    let (world, _, alice, _) = World::contacts(310).await;
    // One of the version before answers with nothing.
    world.network.meddle(Some(Box::new(|call| {
        if call.path == path::TOKEN_PUT { Fate::Answered(Bytes::new()) } else { Fate::Passes }
    })));
    alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    assert_eq!(alice.database().number("SELECT told_again_at FROM own_inbox"), 0);
}

#[tokio::test(start_paused = true)]
async fn c1_a_relay_that_forgets_a_second_time_is_told_a_second_time() {
    let stores = Stores::new().unwrap();
    let (world, relay, alice, bob) = two(303, &stores).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    stores.copy("before", "first").unwrap();
    stores.copy("before", "second").unwrap();
    for _ in 0..40 {
        bob.say("alice", "before").await.unwrap();
        world.settle(&[&bob, &alice]).await.unwrap();
    }
    stores.open(&world, &relay, "first").unwrap();
    let [alice, bob] = world.switched_off([alice, bob], HOUR).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    // Of all that she acknowledges from here on, the relay has given a number before.
    let elsewhere = world.network.add_relay("elsewhere.example");
    let carol = world.person("carol", &[elsewhere]).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    world.settle(&[&carol, &alice]).await.unwrap();
    let numbers = alice.database().number("SELECT cursor - remembered FROM own_inbox");
    assert!(numbers > 0, "{numbers}");
    stores.open(&world, &relay, "second").unwrap();
    let [alice, _bob] = world.switched_off([alice, bob], 2 * HOUR).await.unwrap();
    world.settle(&[&alice]).await.unwrap();
    carol.say("alice", "met after the backup").await.unwrap();
    world.wait(2 * HOUR).await;
    world.settle(&[&carol, &alice]).await.unwrap();
    assert_eq!(alice.transcript("carol").await.unwrap(), ["met after the backup"]);
}

#[tokio::test(start_paused = true)]
async fn c1_who_is_blocked_gets_in_by_no_token_that_a_relay_has_back() {
    let stores = Stores::new().unwrap();
    let (world, relay, alice, bob) = two(298, &stores).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    stores.copy("before", "after").unwrap();
    bob.say("alice", "before").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.messenger.block(bob.messenger.account().await.unwrap().id).await.unwrap();
    alice.catch_up().await.unwrap();
    stores.open(&world, &relay, "after").unwrap();
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    let bob = world.reopen(bob).await.unwrap();
    bob.say("alice", "blocked").await.unwrap();
    let _ = bob.messenger.catch_up(Duration::from_secs(30)).await;
    alice.catch_up().await.unwrap();
    assert_eq!(alice.database().number("SELECT count(*) FROM waiting"), 0, "it would wait for an unblocking");
}

#[tokio::test(start_paused = true)]
async fn c1_a_relay_that_says_at_every_attach_that_it_has_forgotten_is_told_again_once_an_hour() {
    let stores = Stores::new().unwrap();
    let (world, relay, mut alice, bob) = two(299, &stores).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let inboxes = alice.inboxes();
    world.network.lie(Some(Box::new(move |_, frame| {
        if let server_frame::Frame::Attached(attached) = frame
            && inboxes.iter().any(|inbox| **inbox == *attached.inbox)
        {
            attached.acked = 0;
        }
    })));
    let calls = |path: &str| {
        world.network.traffic().iter().filter(|call| call.relay == *relay.name() && call.path == path).count()
    };
    let told = || (calls(path::TOKEN_PUT), calls(path::PREKEY_PUT), calls(path::CHAIN_APPEND));
    let before = told();
    for _ in 0..10 {
        alice = world.reopen(alice).await.unwrap();
        alice.catch_up().await.unwrap();
    }
    assert_eq!(told(), (before.0 + 1, before.1 + 2, before.2), "and a chain that is there is left alone");
    // What the relay does not take either is queued once.
    let refused = Bytes::from_static(br#"{"status":507,"code":"full"}"#);
    world.network.meddle(Some(Box::new(move |call| {
        let is_refused = call.path == path::TOKEN_PUT || call.path == path::PREKEY_PUT;
        if is_refused { Fate::Fails(507, refused.clone()) } else { Fate::Passes }
    })));
    let mut queued = Vec::new();
    for _ in 0..6 {
        // It hears an acknowledgement, and forgets it again.
        bob.say("alice", "hour after hour").await.unwrap();
        bob.catch_up().await.unwrap();
        let _ = alice.messenger.catch_up(Duration::from_secs(5)).await;
        world.wait(HOUR).await;
        alice = world.reopen(alice).await.unwrap();
        let _ = alice.messenger.catch_up(Duration::from_secs(5)).await;
        queued.push(alice.database().number("SELECT count(*) FROM relay_task"));
    }
    assert_eq!(queued, [3; 6]);
    world.network.meddle(None);
    // No renewal is put off by it.
    for _ in 0..26 {
        world.wait(2 * HOUR).await;
        alice = world.reopen(alice).await.unwrap();
        alice.catch_up().await.unwrap();
    }
    let newest = alice.database().number("SELECT max(created_at) FROM kem_key WHERE retired_at IS NULL");
    assert!(u64::try_from(newest).unwrap() > world.now().before(2 * DAY).as_ms());
    bob.say("alice", "hello").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.transcript("bob").await.unwrap().last().map(String::as_str), Some("hello"));
}

/// From now on every relay says of every inbox that nothing was acknowledged there.
fn forget_acknowledgements(world: &World) {
    world.network.lie(Some(Box::new(|_, frame| {
        if let server_frame::Frame::Attached(attached) = frame {
            attached.acked = 0;
        }
    })));
}

#[tokio::test(start_paused = true)]
async fn a7_an_own_list_is_never_asked_for_on_the_connection_of_anonymous_calls() {
    let (world, _, alice, bob) = World::contacts(310).await;
    bob.say("alice", "hello").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    alice.messenger.invite(InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    bob.messenger.shut_down();
    let before = world.network.traffic().len();
    forget_acknowledgements(&world);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    world.wait(Duration::from_secs(60)).await;
    let own = alice.database().blobs("SELECT chain FROM own_chain");
    assert_eq!(own.len(), 4, "of own devices, of contacts, and of two invites");
    let traffic = world.network.traffic().split_off(before);
    let read = |chain: &[u8]| {
        let is_of_it = |call: &&sotto_sim::Traffic| call.path == path::CHAIN_READ && call.body[2..34] == *chain;
        traffic.iter().filter(is_of_it).map(|call| call.isolation).collect::<Vec<_>>()
    };
    for chain in own {
        let own_connection = Isolation::Reading(ChainId::try_from(&*chain).unwrap());
        assert_eq!(read(&chain), [own_connection]);
    }
    // What follows goes to others, on a connection that nothing of hers was asked on.
    assert!(traffic.iter().all(|call| call.isolation != Isolation::Anonymous));
}

#[tokio::test(start_paused = true)]
async fn c2_a_used_up_invite_stays_used_up_at_a_relay_that_is_told_again() {
    let world = World::seeded(311);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    // An invite of one use, whose user is counted under a later one; another invite of two, of which one is left.
    world.introduce(&alice, &bob).await.unwrap();
    bob.messenger.remove(alice.messenger.account().await.unwrap().id).await.unwrap();
    bob.catch_up().await.unwrap();
    let invite = alice.messenger.invite(InviteOptions { uses: 2, auto_accept: true, ..Default::default() });
    let invite = invite.await.unwrap();
    alice.catch_up().await.unwrap();
    bob.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    assert_eq!(alice.database().texts("SELECT uses_left || '' FROM invite ORDER BY id"), ["0", "1"]);
    bob.say("alice", "hello").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let before = world.network.traffic().len();
    forget_acknowledgements(&world);
    let alice = world.reopen(alice).await.unwrap();
    alice.catch_up().await.unwrap();
    let traffic = world.network.traffic().split_off(before);
    let puts = traffic.iter().filter(|call| call.path == path::TOKEN_PUT);
    let tokens = puts.flat_map(|call| sotto_protocol::relay::TokenPut::decode(call.body.clone()).unwrap().tokens);
    let invites: Vec<u32> = tokens.filter(|token| token.puts_per_claim > 0).map(|token| token.claims).collect();
    assert_eq!(invites, [2], "the one that is not used up, with as many claims as it was made for");
}

#[tokio::test(start_paused = true)]
async fn e5_what_the_only_relay_of_a_silent_device_has_lost_is_put_again_when_it_would_keep_it_no_longer() {
    let stores = Stores::new().unwrap();
    let world = World::seeded(298);
    let [hers, his] = ["hers.example", "his.example"].map(|name| world.network.add_relay(name));
    stores.open(&world, &his, "first").unwrap();
    let alice = world.person("alice", &[hers]).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&his)).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.wait(2 * DAY).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    bob.messenger.shut_down();
    stores.copy("first", "second").unwrap();
    alice.say("bob", "lost with the backup").await.unwrap();
    alice.catch_up().await.unwrap();
    stores.open(&world, &his, "second").unwrap();
    let bob = world.reopen(bob).await.unwrap();
    let [alice, bob] = world.switched_off([alice, bob], 29 * DAY).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let early = bob.transcript("alice").await.unwrap();
    let [alice, bob] = world.switched_off([alice, bob], 2 * DAY).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!((early, bob.transcript("alice").await.unwrap()), (vec![], vec!["lost with the backup".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn b4_chains_that_a_relay_has_lost_and_nothing_else_begin_anew_with_the_next_list() {
    let stores = Stores::new().unwrap();
    let (world, relay, alice, bob) = two(299, &stores).await.unwrap();
    world.introduce(&alice, &bob).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    stores.copy("before", "after").unwrap();
    stores.lose_chains("after").unwrap();
    stores.open(&world, &relay, "after").unwrap();
    let [alice, bob] = world.switched_off([alice, bob], 8 * DAY).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    world.wait(HOUR).await;
    world.settle(&[&alice, &bob]).await.unwrap();
    assert_eq!([&alice, &bob].map(|person| person.database().number("SELECT count(*) FROM relay_task")), [0, 0]);
    // The list that stands where he has read already he finds with the next one.
    let [alice, bob] = world.switched_off([alice, bob], 8 * DAY).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    let [alice, bob] = world.switched_off([alice, bob], 2 * DAY).await.unwrap();
    bob.say("alice", "on her newest list").await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let newest = alice.database().number("SELECT version FROM account");
    assert_eq!((newest > 2, bob.database().number("SELECT version FROM contact")), (true, newest));
}
