//! Typing and presence: told and heard only while they hold, only where that is switched on, and written down nowhere (docs/protocol.md,
//! "Ephemerals").

use std::time::Duration;

use sotto_core::records::{AppState, Live, LiveSettings, Presence};
use sotto_core::world::Isolation;
use sotto_core::{Event, danger};
use sotto_protocol::relay::{Send, SendItem};
use sotto_protocol::request::path;
use sotto_protocol::{AccountId, EnvelopeId, Message as _, RelayAddress};
use sotto_sim::{Envelope, Fate, Person, World, envelopes_of, hex};
use tokio::sync::broadcast::Receiver;

use crate::meeting::link;
use crate::rebirth::rest;

const BOTH: LiveSettings = LiveSettings { typing: true, presence: true };
const NOTHING: Live = Live { is_typing: false, presence: Presence::Unknown };
const TYPING: Live = Live { is_typing: true, presence: Presence::Unknown };
const ONLINE: Live = Live { is_typing: false, presence: Presence::Online };
const SECOND: Duration = Duration::from_secs(1);
/// By then whoever begins to type has told it, and it has arrived.
const SOON: Duration = SECOND;

/// Lets everybody say something to each other, and say that it has come: seals are confirmed both ways.
async fn converse(world: &World, one: (&Person, &str), other: (&Person, &str)) {
    for _ in 0..2 {
        for ((person, _), (_, to)) in [(one, other), (other, one)] {
            person.say(to, "words").await.expect("it is said");
            world.settle(&[one.0, other.0]).await.expect("they settle");
        }
    }
}

/// Alice and Bob in a conversation.
async fn conversation(seed: u64) -> (World, RelayAddress, Person, Person) {
    let (world, relay, alice, bob) = World::contacts(seed).await;
    converse(&world, (&alice, "alice"), (&bob, "bob")).await;
    (world, relay, alice, bob)
}

/// And both tell what they do.
async fn open_conversation(seed: u64) -> (World, RelayAddress, Person, Person) {
    let (world, relay, alice, bob) = conversation(seed).await;
    share(&[&alice, &bob]).await;
    (world, relay, alice, bob)
}

async fn share(people: &[&Person]) {
    for person in people {
        person.messenger.set_live_settings(BOTH).await.expect("it is stored");
    }
}

async fn id(person: &Person, of: &str) -> AccountId {
    person.contact(of).await.expect("they know each other").id
}

async fn types(person: &Person, to: &str) {
    person.messenger.set_typing(id(person, to).await, true);
}

async fn stops(person: &Person, to: &str) {
    person.messenger.set_typing(id(person, to).await, false);
}

async fn live(person: &Person, of: &str) -> Live {
    person.messenger.live(id(person, of).await).await.expect("it is read")
}

/// Everything ephemeral that was ever offered to a relay.
fn fleeting(world: &World) -> Vec<Envelope> {
    world.network.envelopes().into_iter().filter(|envelope| envelope.is_ephemeral).collect()
}

fn fleeting_to(world: &World, person: &Person) -> Vec<Envelope> {
    world.network.envelopes_to(person).into_iter().filter(|envelope| envelope.is_ephemeral).collect()
}

/// How often somebody was told that there is something else to see of that contact.
fn changes(events: &mut Receiver<Event>, of: AccountId) -> usize {
    std::iter::from_fn(|| events.try_recv().ok()).filter(|event| *event == Event::LiveChanged(of)).count()
}

/// The bytes of everything in the profile, what the database says, and what it has counted.
fn everything(person: &Person) -> String {
    let file = |path: std::path::PathBuf| {
        let bytes = std::fs::read(&path).expect("a file of the profile can be read");
        format!("{} {}", path.display(), hex(&bytes))
    };
    // What readers share about the log is no content.
    let files = person.files().into_iter().filter(|path| !path.to_string_lossy().ends_with("-shm"));
    let mut files: Vec<_> = files.map(file).collect();
    files.sort_unstable();
    format!("{files:?} {:?} {:?}", person.dump(), person.refusals())
}

fn passed_over(person: &Person, code: &str) -> u64 {
    danger::passed_over(&person.messenger).get(code).copied().unwrap_or(0)
}

/// Puts many at once, as anybody could who holds the token.
async fn put_all(world: &World, relay: &RelayAddress, envelopes: &[Envelope]) {
    for some in envelopes.chunks(200) {
        let items = some.iter().zip(0..).map(|(envelope, number)| SendItem {
            inbox: envelope.inbox.clone(),
            token: envelope.token.clone(),
            envelope: EnvelopeId::new(world.now(), id_of(envelope, number)).into(),
            header: envelope.header.clone(),
            payload: number,
            ephemeral: envelope.is_ephemeral,
            ..SendItem::default()
        });
        let payloads = some.iter().map(|envelope| envelope.payload.clone()).collect();
        let body = Send { items: items.collect(), payloads }.encode_to_vec().into();
        assert_eq!(world.network.anonymous(relay, path::SEND, body).await, 200);
        world.wait(Duration::from_millis(1)).await;
    }
}

fn id_of(envelope: &Envelope, number: u32) -> [u8; 12] {
    let mut id = [0; 12];
    id[..8].copy_from_slice(&envelope.id[8..16]);
    id[8..].copy_from_slice(&number.to_be_bytes());
    id
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_and_nothing_seen_unless_it_is_switched_on() {
    let (world, _, alice, bob) = conversation(1600).await;
    for person in [&alice, &bob] {
        assert_eq!(person.messenger.live_settings().await.unwrap(), LiveSettings::default());
        person.messenger.set_presence(AppState::Foreground);
    }
    for _ in 0..20 {
        types(&alice, "bob").await;
        types(&bob, "alice").await;
        world.wait(SECOND).await;
    }
    assert!(fleeting(&world).is_empty());
    assert_eq!((live(&bob, "alice").await, live(&alice, "bob").await), (NOTHING, NOTHING));
}

#[tokio::test(start_paused = true)]
async fn the_switches_outlive_the_app() {
    let (world, _, alice, bob) = open_conversation(1601).await;
    let alice = world.reopen(alice).await.unwrap();
    assert_eq!(alice.messenger.live_settings().await.unwrap(), BOTH);
    world.settle(&[&alice, &bob]).await.unwrap();
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!(live(&bob, "alice").await, TYPING);
}

#[tokio::test(start_paused = true)]
async fn typing_shows_and_ends_by_itself() {
    let (world, _, alice, bob) = open_conversation(1602).await;
    let (mut events, alices) = (bob.messenger.events(), id(&bob, "alice").await);
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!((live(&bob, "alice").await, changes(&mut events, alices)), (TYPING, 1));
    world.wait(SECOND * 8).await;
    assert_eq!((live(&bob, "alice").await, changes(&mut events, alices)), (NOTHING, 1));
    assert_eq!(fleeting(&world).len(), 1, "that it ended by itself is not told");
    assert_eq!(live(&alice, "bob").await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn typing_shows_as_long_as_somebody_types_and_leaves_every_few_seconds() {
    let (world, _, alice, bob) = open_conversation(1603).await;
    let (mut events, alices) = (bob.messenger.events(), id(&bob, "alice").await);
    for second in 0..60 {
        types(&alice, "bob").await;
        world.wait(SECOND).await;
        assert_eq!(live(&bob, "alice").await, TYPING, "after {second} s");
    }
    assert_eq!(changes(&mut events, alices), 1);
    assert!((10..=21).contains(&fleeting(&world).len()), "{}", fleeting(&world).len());
}

#[tokio::test(start_paused = true)]
async fn typing_ends_when_somebody_stops() {
    let (world, _, alice, bob) = open_conversation(1604).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    stops(&alice, "bob").await;
    world.wait(Duration::from_millis(100)).await;
    assert_eq!(live(&bob, "alice").await, NOTHING);
    types(&alice, "bob").await;
    stops(&alice, "bob").await;
    world.wait(SECOND * 10).await;
    assert_eq!(fleeting(&world).len(), 2, "what ended before it left is nobody's business");
}

#[tokio::test(start_paused = true)]
async fn typing_ends_with_the_message_whichever_comes_first() {
    for is_stopped_lost in [false, true] {
        let (world, _, alice, bob) = open_conversation(1605).await;
        types(&alice, "bob").await;
        world.wait(SOON).await;
        assert_eq!(live(&bob, "alice").await, TYPING);
        if is_stopped_lost {
            world.network.meddle(Some(Box::new(|call| {
                let is_fleeting = envelopes_of(call).iter().any(|envelope| envelope.is_ephemeral);
                if is_fleeting { Fate::Lost } else { Fate::Passes }
            })));
        }
        alice.say("bob", "here it is").await.unwrap();
        world.wait(Duration::from_millis(500)).await;
        assert_eq!(live(&bob, "alice").await, NOTHING);
        assert_eq!(bob.transcript("alice").await.unwrap().last().unwrap(), "here it is");
        assert_eq!(fleeting(&world).len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_tell_does_not_see() {
    for (settings, expected) in [
        (LiveSettings::default(), NOTHING),
        (LiveSettings { typing: true, presence: false }, TYPING),
        (LiveSettings { typing: false, presence: true }, ONLINE),
    ] {
        let (world, _, alice, bob) = conversation(1606).await;
        alice.messenger.set_live_settings(BOTH).await.unwrap();
        bob.messenger.set_live_settings(settings).await.unwrap();
        for (person, with) in [(&alice, "bob"), (&bob, "alice")] {
            person.messenger.set_presence(AppState::Foreground);
            types(person, with).await;
        }
        world.wait(SECOND * 12).await;
        types(&alice, "bob").await;
        types(&bob, "alice").await;
        world.wait(SOON).await;
        // Each sees what the other tells, and tells itself.
        assert_eq!((live(&bob, "alice").await, live(&alice, "bob").await), (expected, expected));
        assert_eq!(fleeting_to(&world, &alice).is_empty(), settings == LiveSettings::default());
    }
}

#[tokio::test(start_paused = true)]
async fn switching_off_ends_what_is_seen_on_both_sides() {
    let (world, _, alice, bob) = open_conversation(1607).await;
    for (person, with) in [(&alice, "bob"), (&bob, "alice")] {
        person.messenger.set_presence(AppState::Foreground);
        types(person, with).await;
    }
    world.wait(SECOND * 11).await;
    types(&alice, "bob").await;
    types(&bob, "alice").await;
    world.wait(SOON).await;
    let both = Live { is_typing: true, presence: Presence::Online };
    assert_eq!((live(&bob, "alice").await, live(&alice, "bob").await), (both, both));
    let (mut events, bobs) = (alice.messenger.events(), id(&alice, "bob").await);
    alice.messenger.set_live_settings(LiveSettings::default()).await.unwrap();
    assert_eq!(live(&alice, "bob").await, NOTHING);
    world.wait(SOON).await;
    assert_eq!(live(&bob, "alice").await, NOTHING);
    assert_eq!(changes(&mut events, bobs), 1);
    let told = fleeting_to(&world, &bob).len();
    world.wait(SECOND * 300).await;
    assert_eq!(fleeting_to(&world, &bob).len(), told, "nothing goes on");
}

#[tokio::test(start_paused = true)]
async fn a7_what_is_ephemeral_leaves_anonymously_and_all_of_it_has_one_size() {
    let (world, _, alice, bob) = open_conversation(1608).await;
    alice.messenger.set_presence(AppState::Foreground);
    types(&alice, "bob").await;
    world.wait(SECOND * 11).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    stops(&alice, "bob").await;
    alice.messenger.set_presence(AppState::Background);
    world.wait(SOON).await;
    for call in world.network.traffic() {
        if envelopes_of(&call).iter().any(|envelope| envelope.is_ephemeral) {
            assert!(call.isolation == Isolation::Anonymous && !call.signed && call.path == path::SEND);
        }
    }
    let told = fleeting_to(&world, &bob);
    assert!(told.len() >= 4, "{}", told.len());
    for envelope in &told {
        assert_eq!((envelope.header.len(), envelope.payload.len()), (33, 256 + 16));
        assert_eq!((envelope.header[0], envelope.claim.len()), (0x14, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a3_nobody_who_is_away_hears_of_it_later_and_its_sender_cannot_tell() {
    let (world, _, alice, bob) = open_conversation(1609).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    let template = fleeting_to(&world, &bob).pop().unwrap();
    assert!(world.network.put(&template).await, "attached");
    let inbox = bob.inboxes();
    bob.messenger.shut_down();
    assert!(world.network.put(&template).await, "and not");
    types(&alice, "bob").await;
    world.wait(SECOND * 5).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    let before = fleeting(&world).len();
    assert!(before >= 2, "it leaves all the same");
    let before = bob.dump();
    let bob = world.reopen(bob).await.unwrap();
    let came = bob.catch_up().await.unwrap();
    assert_eq!((came.received, bob.inboxes()), (0, inbox));
    assert_eq!(live(&bob, "alice").await, NOTHING);
    let (messages, waiting) = (&bob.dump()["message"], &bob.dump()["waiting"]);
    assert_eq!((messages, waiting), (&before["message"], &before["waiting"]));
    assert!(bob.refusals().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_relay_shows_again_is_not_heeded() {
    let (world, _, alice, bob) = open_conversation(1610).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    let typing = fleeting_to(&world, &bob).pop().unwrap();
    stops(&alice, "bob").await;
    world.wait(SOON).await;
    let (mut events, alices) = (bob.messenger.events(), id(&bob, "alice").await);
    for _ in 0..3 {
        assert!(world.network.put(&typing).await);
        assert_eq!(live(&bob, "alice").await, NOTHING);
    }
    assert_eq!(passed_over(&bob, "not_newer"), 3);
    world.wait(SECOND * 40).await;
    world.network.put(&typing).await;
    assert_eq!((live(&bob, "alice").await, passed_over(&bob, "not_newer")), (NOTHING, 4));
    world.wait(SECOND * 60).await;
    world.network.put(&typing).await;
    assert_eq!((live(&bob, "alice").await, passed_over(&bob, "not_of_now")), (NOTHING, 1));
    assert_eq!(changes(&mut events, alices), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_relay_has_recorded_is_of_no_use_to_it_after_a_restart() {
    let (world, _, alice, bob) = open_conversation(1611).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    let typing = fleeting_to(&world, &bob).pop().unwrap();
    let bob = world.reopen(bob).await.unwrap();
    bob.catch_up().await.unwrap();
    world.network.put(&typing).await;
    assert_eq!((live(&bob, "alice").await, passed_over(&bob, "before_begin")), (NOTHING, 1));
    world.wait(SECOND * 10).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!(live(&bob, "alice").await, TYPING);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_for_more_than_a_minute_is_not_heeded() {
    for (seconds, expected) in [(50, TYPING), (65, NOTHING)] {
        let (world, _, alice, bob) = open_conversation(1612).await;
        let delay = SECOND * seconds;
        world.network.meddle(Some(Box::new(move |_| Fate::Late(delay))));
        types(&alice, "bob").await;
        world.wait(SOON).await;
        world.network.meddle(None);
        let held = fleeting_to(&world, &bob).pop().unwrap();
        world.wait(delay - SECOND * 2).await;
        world.network.put(&held).await;
        world.wait(SECOND).await;
        assert_eq!(live(&bob, "alice").await, expected, "{seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_it_is_written_anywhere() {
    let (world, _, alice, bob) = open_conversation(1613).await;
    rest(&world, &[&alice, &bob]).await;
    let before = (everything(&alice), everything(&bob));
    for person in [&alice, &bob] {
        person.messenger.set_presence(AppState::Foreground);
    }
    for _ in 0..10 {
        types(&alice, "bob").await;
        types(&bob, "alice").await;
        world.wait(SECOND).await;
    }
    let template = fleeting_to(&world, &bob).pop().unwrap();
    for bad in [template.with_header_bit(70), template.with_payload_bit(3), template.clone()] {
        world.network.put(&bad).await;
    }
    assert_eq!(live(&bob, "alice").await, Live { is_typing: true, presence: Presence::Online });
    stops(&alice, "bob").await;
    world.wait(SOON).await;
    assert!(before == (everything(&alice), everything(&bob)), "nothing of it is in any table, nor in any file");
}

#[tokio::test(start_paused = true)]
async fn d6_what_is_not_whole_or_comes_another_way_changes_nothing() {
    let (world, relay, alice, bob) = open_conversation(1614).await;
    world.introduce(&bob, &world.person("carol", &[relay]).await.unwrap()).await.unwrap();
    let letter = world.network.envelopes_to(&bob).into_iter().rfind(|envelope| !envelope.is_opener()).unwrap();
    assert_eq!(letter.payload.len(), 256 + 16, "a short letter has the same size");
    types(&alice, "bob").await;
    world.wait(SOON).await;
    let typing = fleeting_to(&world, &bob).pop().unwrap();
    types(&bob, "alice").await;
    world.wait(SOON).await;
    let reflected = fleeting_to(&world, &alice).pop().unwrap().instead_of(&typing);
    stops(&alice, "bob").await;
    world.wait(SECOND * 10).await;
    let before = (bob.dump(), bob.refusals());
    let (mut events, alices) = (bob.messenger.events(), id(&bob, "alice").await);
    let posing = |bytes: &Envelope, kind: u8| {
        let mut header = bytes.header.to_vec();
        header[0] = kind;
        Envelope { header: header.into(), is_ephemeral: true, ..bytes.clone() }
    };
    for (bad, code) in [
        (typing.with_header_bit(1), "malformed"),
        (typing.with_header_bit(8), "wrong_tag"),
        (typing.with_header_bit(100), "wrong_tag"),
        (typing.with_payload_bit(0), "cannot_open"),
        (typing.with_payload_bit(2_175), "cannot_open"),
        (Envelope { payload: typing.payload.slice(1..), ..typing.clone() }, "malformed"),
        (Envelope { header: typing.header.slice(1..), ..typing.clone() }, "malformed"),
        (reflected, "wrong_tag"),
        (Envelope { is_ephemeral: true, ..letter.clone() }, "malformed"),
        (posing(&letter, 0x14), "wrong_tag"),
        (posing(&typing, 0x12), "malformed"),
    ] {
        let counted = passed_over(&bob, code);
        assert!(world.network.put(&bad).await);
        assert_eq!(
            passed_over(&bob, code),
            counted + 1,
            "{code} {:?} {}",
            danger::passed_over(&bob.messenger),
            bad.payload.len()
        );
    }
    // What is not heeded does not stand in the way of what is: the same letter comes again as what it is.
    assert_eq!(before, (bob.dump(), bob.refusals()));
    assert_eq!((live(&bob, "alice").await, changes(&mut events, alices)), (NOTHING, 0));
    // As a letter it is refused, and acknowledged.
    world.network.put(&Envelope { is_ephemeral: false, ..typing }).await;
    assert_eq!(bob.refused("header_malformed"), 1);
    assert_eq!((bob.dump(), live(&bob, "alice").await), (before.0, NOTHING));
}

#[tokio::test(start_paused = true)]
async fn c4_what_comes_under_anothers_alias_is_nobodys() {
    let (world, relay, alice, bob) = open_conversation(1615).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    world.introduce(&bob, &carol).await.unwrap();
    converse(&world, (&carol, "carol"), (&bob, "bob")).await;
    share(&[&carol]).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    let alices = fleeting_to(&world, &bob).pop().unwrap();
    types(&carol, "bob").await;
    world.wait(SOON).await;
    let carols = fleeting_to(&world, &bob).pop().unwrap();
    stops(&alice, "bob").await;
    stops(&carol, "bob").await;
    world.wait(SECOND).await;
    let seen = (live(&bob, "alice").await, live(&bob, "carol").await);
    world.network.put(&alices.instead_of(&carols)).await;
    world.network.put(&carols.instead_of(&alices)).await;
    assert_eq!((live(&bob, "alice").await, live(&bob, "carol").await), seen);
    assert_eq!(passed_over(&bob, "wrong_tag"), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_to_who_is_no_contact_yet() {
    let world = World::seeded(1616);
    let relay = world.network.add_relay("relay.example");
    let alice = world.person("alice", std::slice::from_ref(&relay)).await.unwrap();
    let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    share(&[&alice, &bob]).await;
    world.wait(SECOND).await;
    let invite = alice.messenger.invite(sotto_core::InviteOptions::default()).await.unwrap();
    alice.catch_up().await.unwrap();
    let alices = bob.messenger.join(&invite.link).await.unwrap();
    world.settle(&[&bob, &alice]).await.unwrap();
    let bobs = id(&alice, "bob").await;
    for (person, with) in [(&alice, bobs), (&bob, alices), (&alice, AccountId::from_bytes([7; 32]))] {
        person.messenger.set_presence(AppState::Foreground);
        person.messenger.set_typing(with, true);
    }
    world.wait(SECOND * 20).await;
    assert!(fleeting(&world).is_empty());
    alice.messenger.accept(bobs).await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    alice.messenger.set_typing(bobs, true);
    bob.messenger.set_typing(alices, true);
    world.wait(SECOND * 200).await;
    assert!(fleeting(&world).is_empty(), "nor to a contact who has not said anything");
    assert_eq!(alice.messenger.live(AccountId::from_bytes([7; 32])).await.unwrap(), NOTHING);
}

#[tokio::test(start_paused = true)]
async fn to_whoever_is_blocked_removed_or_distrusted_nothing_is_told_and_nothing_of_them_is_seen() {
    for what in ["blocked", "removed", "distrusted"] {
        let (world, _, alice, bob) = open_conversation(1617).await;
        for (person, with) in [(&alice, "bob"), (&bob, "alice")] {
            person.messenger.set_presence(AppState::Foreground);
            types(person, with).await;
        }
        world.wait(SECOND * 11).await;
        types(&bob, "alice").await;
        world.wait(SOON).await;
        assert_eq!(live(&alice, "bob").await, Live { is_typing: true, presence: Presence::Online });
        let bobs = id(&alice, "bob").await;
        // The relay still takes what comes under their tokens.
        world.network.meddle(Some(Box::new(|call| match call.path {
            path::TOKEN_DROP => Fate::Answered(Default::default()),
            _ => Fate::Passes,
        })));
        match what {
            "blocked" => alice.messenger.block(bobs).await.unwrap(),
            "removed" => alice.messenger.remove(bobs).await.unwrap(),
            _ => alice.database().change("UPDATE contact SET trust = 1"),
        }
        world.settle(&[&alice, &bob]).await.unwrap();
        assert_eq!(alice.messenger.live(bobs).await.unwrap(), NOTHING, "{what}");
        let (told, before) = (fleeting_to(&world, &bob).len(), alice.dump());
        let mut events = alice.messenger.events();
        let refused = passed_over(&alice, "not_shared");
        alice.messenger.set_typing(bobs, true);
        types(&bob, "alice").await;
        world.wait(SECOND * 150).await;
        types(&bob, "alice").await;
        alice.messenger.set_typing(bobs, true);
        world.wait(SOON).await;
        alice.messenger.set_presence(AppState::Background);
        world.wait(SOON).await;
        assert_eq!(fleeting_to(&world, &bob).len(), told, "{what}");
        assert_eq!(alice.messenger.live(bobs).await.unwrap(), NOTHING, "{what}");
        assert!(passed_over(&alice, "not_shared") > refused, "{what}: it came, and was passed over");
        assert!(changes(&mut events, bobs) <= 1, "{what}: no more than that what was seen has ended");
        assert_eq!(alice.dump()["message"], before["message"]);
    }
}

#[tokio::test(start_paused = true)]
async fn presence_shows_while_the_app_is_open_and_ends_at_once_when_it_goes() {
    let (world, _, alice, bob) = open_conversation(1618).await;
    alice.messenger.set_presence(AppState::Foreground);
    world.wait(SECOND * 11).await;
    assert_eq!((live(&bob, "alice").await, live(&alice, "bob").await), (ONLINE, NOTHING));
    for _ in 0..20 {
        world.wait(SECOND * 60).await;
        assert_eq!(live(&bob, "alice").await, ONLINE);
    }
    assert!((9..=14).contains(&fleeting(&world).len()), "{}", fleeting(&world).len());
    alice.messenger.set_presence(AppState::Background);
    world.wait(SOON).await;
    assert_eq!(live(&bob, "alice").await, NOTHING);
    alice.messenger.set_presence(AppState::Foreground);
    world.wait(SECOND * 11).await;
    assert_eq!(live(&bob, "alice").await, ONLINE);
    // A phone without power says nothing.
    alice.messenger.shut_down();
    world.wait(SECOND * 280).await;
    assert_eq!(live(&bob, "alice").await, ONLINE);
    world.wait(SECOND * 30).await;
    assert_eq!(live(&bob, "alice").await, NOTHING);
}

#[tokio::test(start_paused = true)]
async fn who_comes_online_sees_soon_who_is() {
    let (world, _, alice, bob) = open_conversation(1619).await;
    alice.messenger.set_presence(AppState::Foreground);
    world.wait(SECOND * 50).await;
    bob.messenger.shut_down();
    let bob = world.reopen(bob).await.unwrap();
    bob.catch_up().await.unwrap();
    assert_eq!(live(&bob, "alice").await, NOTHING);
    bob.messenger.set_presence(AppState::Foreground);
    world.wait(SECOND * 16).await;
    assert_eq!((live(&bob, "alice").await, live(&alice, "bob").await), (ONLINE, ONLINE));
}

#[tokio::test(start_paused = true)]
async fn only_who_has_said_something_lately_hears_that_we_are_online() {
    let (world, relay, alice, bob) = open_conversation(1620).await;
    let carol = world.person("carol", &[relay]).await.unwrap();
    world.introduce(&alice, &carol).await.unwrap();
    share(&[&carol]).await;
    alice.say("carol", "are you there?").await.unwrap();
    world.settle(&[&alice, &carol]).await.unwrap();
    alice.messenger.set_presence(AppState::Foreground);
    world.wait(SECOND * 150).await;
    assert!(fleeting_to(&world, &carol).is_empty() && !fleeting_to(&world, &bob).is_empty());
    converse(&world, (&carol, "carol"), (&alice, "alice")).await;
    world.wait(SECOND * 150).await;
    assert_eq!(live(&carol, "alice").await, ONLINE);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_told_takes_nobodys_place() {
    for (blocked, sender) in [(1, "id"), (0, "0")] {
        let (world, _, alice, bob) = open_conversation(1631).await;
        let now = world.now().as_ms();
        for number in 101..=140 {
            alice.database().change(&format!(
                "INSERT INTO contact (id, account, name, state, blocked, relay, chain, chain_key, manifest, epoch, version, hash, manifest_read_at, created_at)
                 VALUES ({number}, randomblob(32), 'somebody', 3, {blocked}, 'https://relay.example', randomblob(32), randomblob(32), zeroblob(400), 1, 1,
                     randomblob(32), {now}, 1);
                 INSERT INTO conversation (id, conversation, contact, last_at) VALUES ({number}, randomblob(32), {number}, {now} + 1000);
                 INSERT INTO message (conversation, sender, message_id, sent_at, received_at, kind, text, content, state, position)
                 SELECT id, {sender}, randomblob(16), {now}, {now}, 1, '', x'', 10, {now} << 20 FROM conversation WHERE id = {number}"
            ));
        }
        alice.messenger.set_presence(AppState::Foreground);
        world.wait(SECOND * 11).await;
        assert_eq!(live(&bob, "alice").await, ONLINE);
    }
}

#[tokio::test(start_paused = true)]
async fn all_devices_of_a_contact_see_it_and_each_of_theirs_is_seen() {
    let (world, _, alice, bob) = open_conversation(1621).await;
    let (tablet, laptop) = (world.second_device(&alice).await.unwrap(), world.second_device(&bob).await.unwrap());
    let everybody = [&alice, &bob, &tablet, &laptop];
    rest(&world, &everybody).await;
    for _ in 0..2 {
        for (person, to) in [(&tablet, "bob"), (&laptop, "alice"), (&alice, "bob"), (&bob, "alice")] {
            person.say(to, "words").await.unwrap();
            rest(&world, &everybody).await;
        }
    }
    share(&everybody).await;
    for device in [&alice, &tablet] {
        types(device, "bob").await;
        world.wait(SOON).await;
        assert_eq!((live(&bob, "alice").await, live(&laptop, "alice").await), (TYPING, TYPING));
        stops(device, "bob").await;
        world.wait(SOON).await;
        assert_eq!((live(&bob, "alice").await, live(&laptop, "alice").await), (NOTHING, NOTHING));
    }
    types(&alice, "bob").await;
    types(&tablet, "bob").await;
    world.wait(SECOND * 5).await;
    stops(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!(live(&bob, "alice").await, TYPING, "the tablet goes on");
    assert_eq!((live(&alice, "bob").await, live(&tablet, "bob").await), (NOTHING, NOTHING));
}

#[tokio::test(start_paused = true)]
async fn b5_and_d3_a_conversation_that_has_rested_for_days_begins_with_a_letter_and_goes_on_under_its_new_seal() {
    let (world, _, alice, bob) = open_conversation(1622).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    let under_old_seal = fleeting_to(&world, &bob).len();
    assert_eq!(under_old_seal, 1);
    let read_at = |age: Duration| format!("UPDATE contact SET manifest_read_at = {}", world.now().before(age).as_ms());
    world.wait(SECOND * 10).await;
    alice.database().change(&read_at(SECOND * 3600 * 25));
    let calls = world.network.traffic().len();
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!(fleeting_to(&world, &bob).len(), 1, "the list is old");
    world.wait(SECOND * 10).await;
    assert_eq!(world.network.traffic().len(), calls, "nothing is asked for it either");
    alice.database().change(&read_at(Duration::ZERO));
    let confirmed_at = world.now().before(SECOND * 3600 * 49).as_ms();
    alice.database().change(&format!("UPDATE seal_out SET confirmed_at = {confirmed_at}"));
    types(&alice, "bob").await;
    world.wait(SECOND * 10).await;
    assert_eq!(fleeting_to(&world, &bob).len(), 1, "the seal is");
    let [alice, bob] = world.switched_off([alice, bob], SECOND * 3600 * 50).await.unwrap();
    alice.say("bob", "it is me").await.unwrap();
    world.settle(&[&alice]).await.unwrap();
    let opener = world.network.envelopes_to(&bob).pop().unwrap();
    assert!(opener.is_opener());
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!(fleeting_to(&world, &bob).len(), 1, "the new one is not confirmed");
    converse(&world, (&alice, "alice"), (&bob, "bob")).await;
    world.wait(SECOND * 10).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!((live(&bob, "alice").await, fleeting_to(&world, &bob).len()), (TYPING, 2));
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_away_is_not_tried_again_nor_known_to_be_away_by_it() {
    let (world, relay, alice, bob) = open_conversation(1623).await;
    let far = world.network.add_relay("far.example");
    let carol = world.person("carol", std::slice::from_ref(&far)).await.unwrap();
    world.introduce(&carol, &alice).await.unwrap();
    converse(&world, (&carol, "carol"), (&alice, "alice")).await;
    share(&[&carol]).await;
    world.network.set_down(&far, true);
    let before = fleeting(&world).len();
    for _ in 0..30 {
        types(&alice, "carol").await;
        types(&alice, "bob").await;
        world.wait(SECOND).await;
        assert_eq!(live(&bob, "alice").await, TYPING, "one relay does not hold up the other");
    }
    assert!(fleeting(&world).len() - before <= 22, "each once");
    assert_eq!(alice.catch_up().await.unwrap().unreachable, []);
    world.network.set_down(&far, false);
    alice.say("carol", "and now").await.unwrap();
    world.wait(SECOND).await;
    world.settle(&[&alice, &carol]).await.unwrap();
    assert_eq!(carol.transcript("alice").await.unwrap().last().unwrap(), "and now");
    // And nothing leaves while no stream of ours stands.
    world.network.set_down(&relay, true);
    world.wait(SECOND).await;
    let before = fleeting(&world).len();
    types(&alice, "carol").await;
    world.wait(SECOND * 3).await;
    assert_eq!(fleeting(&world).len(), before);
}

#[tokio::test(start_paused = true)]
async fn a_flood_costs_little_and_stalls_nobody() {
    let (world, relay, alice, bob) = open_conversation(1624).await;
    let carol = world.person("carol", std::slice::from_ref(&relay)).await.unwrap();
    world.introduce(&bob, &carol).await.unwrap();
    converse(&world, (&carol, "carol"), (&bob, "bob")).await;
    share(&[&carol]).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    let typing = fleeting_to(&world, &bob).pop().unwrap();
    stops(&alice, "bob").await;
    world.wait(SECOND * 12).await;
    let before = bob.dump();
    let flood: Vec<_> = (0..2_000).map(|number| typing.with_payload_bit(number)).collect();
    put_all(&world, &relay, &flood).await;
    types(&carol, "bob").await;
    carol.say("bob", "do you hear me?").await.unwrap();
    types(&carol, "bob").await;
    world.wait(SOON).await;
    let looked_at = passed_over(&bob, "cannot_open");
    assert!((1..=40).contains(&looked_at), "{looked_at} were looked at");
    assert!(passed_over(&bob, "too_many") >= 1);
    assert_eq!(live(&bob, "carol").await, TYPING);
    assert_eq!(bob.transcript("carol").await.unwrap().last().unwrap(), "do you hear me?");
    assert_eq!(before["waiting"], bob.dump()["waiting"]);
    world.wait(SECOND * 12).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!(live(&bob, "alice").await, TYPING, "when it is over");
    let report = bob.messenger.diagnostics().await.unwrap();
    assert!(report.contains("of what holds for a moment, refused as too_many: "), "{report}");
    // Who sees nothing does not look at any.
    bob.messenger.set_live_settings(LiveSettings::default()).await.unwrap();
    let before = danger::passed_over(&bob.messenger);
    put_all(&world, &relay, &flood[..10]).await;
    assert_eq!(danger::passed_over(&bob.messenger), before);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_heard_of_a_device_that_has_left_its_list() {
    let (world, _, alice, bob) = open_conversation(1625).await;
    bob.database().change("UPDATE peer_device SET listed = 0");
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!((live(&bob, "alice").await, passed_over(&bob, "device_unlisted")), (NOTHING, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_to_who_was_asked_again_and_has_not_answered() {
    let (world, _, alice, bob) = open_conversation(1626).await;
    let of_bob = link(&bob, false).await;
    bob.messenger.shut_down();
    alice.messenger.join(&of_bob).await.unwrap();
    world.wait(SECOND * 5).await;
    // All else is there for it.
    let now = world.now().as_ms();
    alice
        .database()
        .change(&format!("UPDATE seal_out SET confirmed_at = {now}; UPDATE contact SET manifest_read_at = {now}"));
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert!(fleeting(&world).is_empty(), "letters go by the invite, which counts what goes by it");
}

#[tokio::test(start_paused = true)]
async fn it_goes_where_letters_go_when_a_contacts_first_relay_is_away() {
    let world = World::seeded(1627);
    let [home, near, far] = ["home", "near", "far"].map(|name| world.network.add_relay(&format!("{name}.example")));
    let alice = world.person("alice", std::slice::from_ref(&home)).await.unwrap();
    let bob = world.person("bob", &[near.clone(), far]).await.unwrap();
    world.introduce(&bob, &alice).await.unwrap();
    converse(&world, (&alice, "alice"), (&bob, "bob")).await;
    share(&[&alice, &bob]).await;
    let went_to = || fleeting_to(&world, &bob).pop().map(|envelope| envelope.relay.to_string());
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!((live(&bob, "alice").await, went_to().as_deref()), (TYPING, Some("near.example")));
    world.network.set_down(&near, true);
    converse(&world, (&alice, "alice"), (&bob, "bob")).await;
    // A letter finds out that the first is away.
    alice.say("bob", "by the other").await.unwrap();
    world.wait(SECOND * 20).await;
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!((live(&bob, "alice").await, went_to().as_deref()), (TYPING, Some("far.example")));
}

#[tokio::test(start_paused = true)]
async fn a_letter_alone_does_not_make_somebody_who_is_silent_hear_of_it() {
    let (world, _, alice, bob) = open_conversation(1628).await;
    let [alice, bob] = world.switched_off([alice, bob], SECOND * 3600 * 24 * 8).await.unwrap();
    alice.say("bob", "are you there?").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    // His device confirms it within a day; he says nothing.
    let [alice, bob] = world.switched_off([alice, bob], SECOND * 3600 * 21).await.unwrap();
    rest(&world, &[&alice, &bob]).await;
    alice.messenger.set_presence(AppState::Foreground);
    types(&alice, "bob").await;
    world.wait(SECOND * 15).await;
    assert!(fleeting(&world).is_empty());
    bob.say("alice", "yes").await.unwrap();
    world.settle(&[&alice, &bob]).await.unwrap();
    types(&alice, "bob").await;
    world.wait(SOON).await;
    assert_eq!(fleeting(&world).len(), 1, "all else was there for it");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_and_is_set_right_makes_nobody_mute() {
    let (world, relay, alice, bob) = open_conversation(1629).await;
    for ahead in [3_600, 0] {
        world.network.set_clocks_ahead(SECOND * ahead);
        world.network.set_down(&relay, true);
        world.wait(SECOND).await;
        world.network.set_down(&relay, false);
        rest(&world, &[&alice, &bob]).await;
        types(&alice, "bob").await;
        world.wait(SOON).await;
        assert_eq!(live(&bob, "alice").await, TYPING, "{ahead} s ahead");
        stops(&alice, "bob").await;
        world.wait(SOON).await;
        assert_eq!(live(&bob, "alice").await, NOTHING);
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_does_not_answer_is_told_four_things_at_a_time() {
    let (world, relay, alice, bob) = open_conversation(1630).await;
    let names = ["carol", "dave", "erin", "frank", "grace"];
    for name in names {
        let somebody = world.person(name, std::slice::from_ref(&relay)).await.unwrap();
        world.introduce(&alice, &somebody).await.unwrap();
        converse(&world, (&somebody, name), (&alice, "alice")).await;
        somebody.messenger.shut_down();
    }
    world.network.delay_answers(path::SEND, SECOND * 60);
    let type_to_all = async || {
        for name in names {
            types(&alice, name).await;
        }
        types(&alice, "bob").await;
        world.wait(SOON).await;
    };
    type_to_all().await;
    assert_eq!(fleeting(&world).len(), 4);
    assert_eq!(alice.say("bob", "letters leave all the same").await.unwrap().text, "letters leave all the same");
    // After five seconds nobody waits for those any more.
    world.wait(SECOND * 8).await;
    type_to_all().await;
    assert_eq!(fleeting(&world).len(), 8);
    drop(bob);
}
