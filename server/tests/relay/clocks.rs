//! One wild clock: the relay of somebody whose machine came up with the year 2037 deleted all waiting mail and called everything of
//! today stale for years. What destroys goes by the time that has surely passed.

use std::time::Duration;

use sotto_protocol::relay::{Peek, Peeked, PrekeyClaim, PrekeyPut, SendItem};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message, Timestamp, Token};

use crate::support::{Device, NOON, Sent, World, fresh, sign};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const WILD: Timestamp = Timestamp::from_ms(NOON.as_ms() + 4_000 * 86_400_000);

/// Sweeps every hour.
fn run(world: &mut World, hours: u32) {
    world.sweep();
    for _ in 0..hours {
        world.pass(HOUR);
        world.sweep();
    }
}

fn payloads(world: &World, device: &Device) -> Vec<Bytes> {
    world.waiting(device).into_iter().map(|delivery| delivery.payload).collect()
}

fn claim(world: &World, device: &Device, token: &Token, id: u8) -> Bytes {
    let token = token.as_bytes().to_vec().into();
    let claim = PrekeyClaim { inbox: device.inbox.into(), token, claim: vec![id; 16].into(), bundle_only: false };
    world.post(path::PREKEY_CLAIM, &claim).body
}

#[test]
fn a3_a_clock_that_is_wild_for_hours_deletes_nothing_and_makes_nothing_stale() {
    let mut world = World::on_disk();
    let bob = world.device();
    let token = world.token_with(&bob, |token| token.one_time_keys_per_claim = 1);
    let dated = world.token_with(&bob, |token| token.expires_at_ms = NOON.after(30 * DAY).as_ms());
    let prekeys = PrekeyPut {
        inbox: bob.inbox.into(),
        bundle: "bundle".into(),
        one_time: vec!["one".into()],
        replace_one_time: true,
    };
    assert_eq!(world.signed(&bob.manage, path::PREKEY_PUT, &prekeys).status, 200);
    let claimed = claim(&world, &bob, &token, 1);
    let item = world.item(&bob, &token);
    assert_eq!(world.send(vec![item.clone()], b"before"), [Sent::Accepted]);
    assert_eq!(world.send(vec![SendItem { lifetime: 3, ..world.item(&bob, &token) }], b"brief"), [Sent::Accepted]);

    let of_today = world.item(&bob, &token);
    world.set_clock(WILD);
    run(&mut world, 10);
    world = world.reopened();
    run(&mut world, 10);
    assert_eq!(world.send(vec![of_today], b"meanwhile"), [Sent::Accepted], "whose senders' clocks are right");
    assert_eq!(claim(&world, &bob, &token, 1), claimed, "claims are remembered");
    assert_eq!(payloads(&world, &bob), ["before", "brief", "meanwhile"]);

    world.set_clock(NOON.after(20 * HOUR));
    run(&mut world, 3);
    assert_eq!(payloads(&world, &bob), ["before", "brief", "meanwhile"]);
    assert_eq!(world.send(vec![item], b"before"), [Sent::Accepted], "known");
    assert_eq!(world.put(&bob, &token, b"after"), Sent::Accepted);
    assert_eq!(world.put(&bob, &dated, b"dated"), Sent::Accepted);
    assert_eq!(payloads(&world, &bob), ["before", "brief", "meanwhile", "after", "dated"]);
    run(&mut world, 2);
    assert_eq!(payloads(&world, &bob), ["before", "meanwhile", "after", "dated"], "a day is over");
}

#[test]
fn a3_an_acknowledgement_while_the_clock_is_wild_deletes_only_what_was_delivered() {
    let mut world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 1);
    world.put(&bob, &token, b"older");
    world.set_clock(WILD);
    world.put(&bob, &token, b"newer");
    let mut stream = world.attached(&bob);
    let seen: Vec<_> = stream.deliveries().into_iter().map(|delivery| (delivery.sequence, delivery.payload)).collect();
    assert_eq!(seen, [(1, "older".into()), (2, "newer".into())]);
    stream.ack(&bob, 2);
    assert!(world.waiting(&bob).is_empty());
}

#[test]
fn a3_mail_accepted_while_the_clock_is_behind_lives_as_long_as_any_other() {
    let mut world = World::new();
    let bob = world.device();
    let token = world.token(&bob, 1);
    world.set_clock(NOON.before(35 * DAY));
    world.put(&bob, &token, b"x");
    world.set_clock(NOON);
    run(&mut world, 29 * 24);
    assert_eq!(world.waiting(&bob).len(), 1);
    run(&mut world, 24);
    assert!(world.waiting(&bob).is_empty());
}

#[test]
fn a3_a_relay_that_was_off_for_a_month_deletes_what_is_due_after_a_day_of_running() {
    let mut world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 1);
    world.put(&bob, &token, b"x");
    world.set_clock(NOON.after(31 * DAY));
    world = world.reopened();
    run(&mut world, 12);
    world = world.reopened();
    run(&mut world, 11);
    assert_eq!(world.waiting(&bob).len(), 1, "not sure yet");
    run(&mut world, 1);
    assert!(world.waiting(&bob).is_empty());
}

#[test]
fn a2_a_peek_counts_nothing_that_has_expired() {
    let mut world = World::new();
    let bob = world.device();
    let token = world.token(&bob, 1);
    for _ in 0..600 {
        world.send(vec![SendItem { lifetime: 1, ..world.item(&bob, &token) }], b"brief");
    }
    world.put(&bob, &token, b"long");
    let waiting = |world: &World| {
        let peek = Peek { inbox: bob.inbox.into(), after: 0, count_max: 0, bytes_max: 0 };
        let response = world.handle(sign(&bob.owner, path::INBOX_PEEK, &peek, world.now, fresh()));
        Peeked::decode(response.body).unwrap().waiting
    };
    assert_eq!(waiting(&world), 601);
    world.pass(HOUR);
    assert!(world.sweep_once().unwrap().has_more, "some expired ones are left");
    assert_eq!(waiting(&world), 1);
}
