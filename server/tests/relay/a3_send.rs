//! A3: sending again is harmless; each item has its own result; what may not be told apart is one answer by one path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sotto_protocol::relay::{Send, SendItem, SendResults};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, EnvelopeId, Message, Timestamp, Token};
use sotto_relay::store::StepFate;

use crate::support::{Device, NOON, Sent, World, code, fresh};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn a3_sending_again_is_harmless_before_and_after_the_acknowledgement_and_a_cold_start() {
    let world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 1);
    let item = world.item(&bob, &token);
    assert_eq!(world.send(vec![item.clone()], b"once"), [Sent::Accepted]);
    assert_eq!(world.send(vec![item.clone()], b"once"), [Sent::Accepted]);
    assert_eq!(world.send(vec![item.clone(), item.clone()], b"once"), [Sent::Accepted, Sent::Accepted]);
    let mut stream = world.attached(&bob);
    assert_eq!(stream.deliveries().len(), 1);
    stream.ack(&bob, 1);
    drop(stream);
    let world = world.reopened();
    assert_eq!(world.send(vec![item], b"once"), [Sent::Accepted]);
    assert!(world.waiting(&bob).is_empty());
}

#[test]
fn a3_one_envelope_id_in_two_inboxes_is_two_envelopes() {
    let world = World::new();
    let [alice, bob] = [world.device(), world.device()];
    let one = world.item(&alice, &world.token(&alice, 1));
    let other = SendItem { envelope: one.envelope.clone(), ..world.item(&bob, &world.token(&bob, 1)) };
    assert_eq!(world.send(vec![one, other], b"both"), [Sent::Accepted, Sent::Accepted]);
    assert_eq!((world.waiting(&alice).len(), world.waiting(&bob).len()), (1, 1));
}

#[test]
fn a3_a_repeat_is_recognised_for_retention_and_seven_days_and_stale_after_that() {
    let mut world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 1);
    let item = world.item(&bob, &token);
    world.send(vec![item.clone()], b"once");
    let mut stream = world.attached(&bob);
    stream.deliveries();
    stream.ack(&bob, 1);
    drop(stream);
    world.pass(37 * DAY);
    world.sweep();
    world = world.reopened();
    assert_eq!(world.send(vec![item.clone()], b"once"), [Sent::Accepted], "recognised");
    assert!(world.waiting(&bob).is_empty());
    world.pass(DAY);
    world.sweep();
    assert_eq!(world.send(vec![item], b"once"), [Sent::Stale]);
    assert!(world.waiting(&bob).is_empty());
}

#[test]
fn a3_a_clock_that_is_turned_back_opens_no_day_whose_memory_is_gone() {
    let mut world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 1);
    let item = world.item(&bob, &token);
    world.send(vec![item.clone()], b"once");
    world.pass(40 * DAY);
    world.sweep();
    world = world.reopened();
    world.set_clock(NOON);
    assert_eq!(world.send(vec![item], b"once"), [Sent::Stale]);
}

#[test]
fn a3_envelopes_from_tomorrow_are_accepted_and_from_later_they_are_stale() {
    let world = World::new();
    let bob = world.device();
    let token = world.token(&bob, 1);
    let on = |now: Timestamp| {
        let envelope = EnvelopeId::new(now, fresh()[4..].try_into().unwrap());
        SendItem { envelope: envelope.into(), ..world.item(&bob, &token) }
    };
    let items =
        vec![on(NOON.after(DAY)), on(NOON.after(2 * DAY)), on(NOON.before(37 * DAY)), on(NOON.before(38 * DAY))];
    assert_eq!(world.send(items, b"x"), [Sent::Accepted, Sent::Stale, Sent::Accepted, Sent::Stale]);
}

#[test]
fn a3_each_item_has_its_own_result_in_its_own_place() {
    let world = World::new();
    let [alice, bob] = [world.device(), world.device()];
    let (token, wrong) = (world.token(&alice, 1), Token::from_bytes(fresh()));
    let stale = SendItem { envelope: vec![0; 16].into(), ..world.item(&alice, &token) };
    let items = vec![world.item(&bob, &wrong), world.item(&alice, &token), stale, world.item(&alice, &token)];
    assert_eq!(world.send(items, b"x"), [Sent::Refused, Sent::Accepted, Sent::Stale, Sent::Accepted]);
    assert_eq!(world.waiting(&alice).len(), 2);
}

#[test]
fn a3_an_ephemeral_put_is_answered_the_same_attached_or_not_and_is_never_stored() {
    let world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 4);
    let ephemeral = || SendItem { ephemeral: true, ..world.item(&bob, &token) };
    let before = world.dump();
    let answer = |item: SendItem| {
        let send = Send { payloads: vec![Bytes::from_static(b"typing")], items: vec![item] };
        world.post(path::SEND, &send)
    };
    let unattached = answer(ephemeral());
    let mut stream = world.attached(&bob);
    stream.frames();
    let attached = answer(ephemeral());
    assert_eq!(unattached, attached);
    assert_eq!(SendResults::decode(attached.body).unwrap().results[0].outcome, 1);
    let deliveries = stream.deliveries();
    assert_eq!(deliveries.len(), 1, "only the one while attached");
    assert_eq!((deliveries[0].sequence, deliveries[0].alias, &deliveries[0].payload[..]), (0, 4, &b"typing"[..]));
    assert_eq!(world.dump(), before);
}

#[test]
fn a3_ephemeral_deliveries_to_a_slow_connection_are_dropped_and_stored_ones_are_not() {
    let world = World::new();
    let bob = world.device();
    let token = world.token(&bob, 1);
    let mut stream = world.attached(&bob);
    stream.frames();
    for _ in 0..1_100 {
        let item = SendItem { ephemeral: true, ..world.item(&bob, &token) };
        assert_eq!(world.send(vec![item], &[1; 1_000]), [Sent::Accepted]);
        world.put(&bob, &token, b"stored");
    }
    let deliveries = stream.deliveries();
    let ephemeral = deliveries.iter().filter(|delivery| delivery.sequence == 0).count();
    assert!((1..=64).contains(&ephemeral), "{ephemeral}");
    let stored = deliveries.iter().filter(|delivery| delivery.sequence > 0).count();
    assert_eq!(stored, 1_024, "a window of them");
}

#[test]
fn a3_an_id_of_another_length_is_a_bad_request_and_keeps_nothing() {
    let world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 1);
    let good = world.item(&bob, &token);
    let before = world.dump();
    let bad = [
        SendItem { inbox: vec![1; 15].into(), ..good.clone() },
        SendItem { token: vec![1; 17].into(), ..good.clone() },
        SendItem { envelope: Bytes::new(), ..good.clone() },
        SendItem { claim: vec![1; 3].into(), ..good.clone() },
        SendItem { payload: 1, ..good.clone() },
        SendItem { lifetime: 99, ..good.clone() },
    ];
    for item in bad {
        let send = Send { payloads: vec![Bytes::from_static(b"x")], items: vec![good.clone(), item] };
        assert_eq!(code(&world.post(path::SEND, &send)), "bad_request");
    }
    assert_eq!(world.dump(), before);
}

#[test]
fn a3_what_is_too_large_is_refused_whole() {
    let world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 1);
    let good = world.item(&bob, &token);
    let before = world.dump();
    let send = |items: Vec<SendItem>, payload: usize| {
        world.post(path::SEND, &Send { payloads: vec![vec![0; payload].into()], items })
    };
    assert_eq!(code(&send(vec![good.clone(); 257], 1)), "too_large");
    assert_eq!(code(&send(vec![good.clone()], 128 * 1024 + 1)), "too_large");
    assert_eq!(code(&send(vec![SendItem { header: vec![0; 1_201].into(), ..good.clone() }], 1)), "too_large");
    assert_eq!(code(&send(vec![good], 2 * 1024 * 1024)), "too_large");
    assert_eq!(world.dump(), before);
}

#[test]
fn a3_a_batch_goes_to_many_inboxes_and_the_payload_travels_once() {
    let world = World::new();
    let devices: Vec<(Device, Token)> = (0..200)
        .map(|alias| {
            let device = world.device();
            let token = world.token(&device, alias);
            (device, token)
        })
        .collect();
    let items = devices.iter().map(|(device, token)| world.item(device, token)).collect();
    assert!(world.send(items, &[3; 4_096]).iter().all(|sent| *sent == Sent::Accepted));
    for (alias, (device, _)) in devices.iter().enumerate() {
        let waiting = world.waiting(device);
        assert_eq!((waiting.len(), waiting[0].alias as usize, waiting[0].payload.len()), (1, alias, 4_096));
    }
}

#[test]
fn a3_lifetimes_are_kept_and_never_longer_than_the_relays_retention() {
    let mut world = World::new();
    let bob = world.device();
    let token = world.token(&bob, 1);
    for lifetime in 0..=6 {
        world.send(vec![SendItem { lifetime, ..world.item(&bob, &token) }], b"x");
    }
    let hours = [1, 6, 24, 72, 7 * 24, 14 * 24, 30 * 24];
    let mut passed = 0;
    for (expired, hour) in hours.into_iter().enumerate() {
        world.pass(Duration::from_secs((hour - passed) * 3600) - Duration::from_millis(1));
        world.sweep();
        assert_eq!(world.waiting(&bob).len(), 7 - expired, "just before hour {hour}");
        world.pass(Duration::from_millis(1));
        world.sweep();
        assert_eq!(world.waiting(&bob).len(), 6 - expired, "at hour {hour}");
        passed = hour;
    }
}

#[test]
fn a3_a_full_disk_is_told_as_busy_for_each_item_with_a_hint() {
    let is_full = Arc::new(AtomicBool::new(false));
    let sees = Arc::clone(&is_full);
    let hook = Arc::new(move |_| if sees.load(Ordering::SeqCst) { StepFate::DiskFull } else { StepFate::Run });
    let world = World::on_bad_disk(hook, Arc::new(|_| panic!("a full disk is no reason to stop")));
    let bob = world.device();
    let token = world.token(&bob, 1);
    is_full.store(true, Ordering::SeqCst);
    let items = vec![world.item(&bob, &token), world.item(&bob, &token)];
    let response = world.post(path::SEND, &Send { payloads: vec![Bytes::from_static(b"x")], items: items.clone() });
    let results = SendResults::decode(response.body).unwrap().results;
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|result| result.outcome == 5 && result.retry_after_ms > 0));
    is_full.store(false, Ordering::SeqCst);
    assert_eq!(world.send(items, b"x"), [Sent::Accepted, Sent::Accepted]);
}

#[test]
fn a3_a_body_of_many_empty_fields_is_refused_before_they_are_read() {
    let world = World::new();
    let many = |field: u8, count: usize| world.handle(sotto_relay::Request::post(path::SEND, [field, 0].repeat(count)));
    // Items, and a field that means nothing and would be passed over.
    for field in [0x12, 0x7a] {
        assert_eq!(code(&many(field, 500_000)), "too_large");
    }
    assert_eq!(code(&many(0x12, 256)), "bad_request", "few enough to be looked at");
    assert_eq!(many(0x7a, 256).status, 200);
    let broken = sotto_relay::Request::post(path::SEND, vec![0x12, 0xff]);
    assert_eq!(code(&world.handle(broken)), "bad_request");
}

#[test]
fn a3_ephemeral_puts_under_one_token_have_a_rate_and_its_end_is_told() {
    let mut world = World::new();
    let bob = world.device();
    let [token, other] = [world.token(&bob, 1), world.token(&bob, 2)];
    let put = |world: &World, token: &Token| {
        let item = SendItem { ephemeral: true, ..world.item(&bob, token) };
        let send = Send { payloads: vec![vec![0; 100_000].into()], items: vec![item] };
        let response = world.post(path::SEND, &send);
        let result = SendResults::decode(response.body).unwrap().results[0];
        (result.outcome, result.retry_after_ms)
    };
    let passed = (0..100).take_while(|_| put(&world, &token) == (1, 0)).count();
    assert!((15..25).contains(&passed), "{passed}");
    assert_eq!(put(&world, &token), (5, 60_000));
    assert_eq!(put(&world, &other), (1, 0));
    assert_eq!(world.put(&bob, &token, b"stored"), Sent::Accepted, "what is kept has a quota of its own");
    world.pass(Duration::from_secs(60));
    assert_eq!(put(&world, &token), (1, 0));
}

#[test]
fn a3_too_many_claims_today_are_told_when_tomorrow_begins() {
    let world = World::new();
    let bob = world.device();
    let invite = world.token_with(&bob, |token| token.puts_per_claim = 1);
    let put = |number: u16| {
        let claim = [number.to_be_bytes().as_slice(), &[0; 14]].concat().into();
        let item = SendItem { claim, ..world.item(&bob, &invite) };
        let response = world.post(path::SEND, &Send { payloads: vec![Bytes::from_static(b"x")], items: vec![item] });
        let result = SendResults::decode(response.body).unwrap().results[0];
        (result.outcome, result.retry_after_ms)
    };
    assert!((0..200).all(|number| put(number) == (1, 0)));
    assert_eq!(put(200), (5, 12 * 3600 * 1000), "it is noon");
}

#[test]
fn a3_the_memory_of_a_day_goes_without_writing_it_anew() {
    let mut world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 1);
    assert_eq!(world.put(&bob, &token, b"x"), Sent::Accepted);
    let day = NOON.day();
    let connection = rusqlite::Connection::open(world.database()).unwrap();
    let fill = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
         INSERT INTO seen_{day} SELECT i, randomblob(12) FROM n"
    );
    connection.execute_batch(&fill).unwrap();
    drop(connection);
    world.pass(37 * DAY);
    world.sweep();
    let checkpoint = || futures_util::FutureExt::now_or_never(world.relay.checkpoint()).unwrap().unwrap();
    checkpoint();
    let log = world.directory().join("relay.sqlite-wal");
    let size = || std::fs::metadata(&log).unwrap().len();
    assert_eq!(size(), 0);
    world.now = world.now.after(DAY);
    world.sweep();
    assert!(!world.dump().iter().any(|line| line.starts_with(&format!("seen_{day}:"))));
    assert!((1..200_000).contains(&size()), "{} bytes for a table of a megabyte", size());
}
