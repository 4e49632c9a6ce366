//! A5: one replaceable bundle, a stack of one-time keys, claims that can be repeated and not be used to drain.

use std::time::Duration;

use sotto_protocol::relay::{PrekeyClaim, PrekeyClaimed, PrekeyCount, PrekeyPut};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message, Token};
use sotto_relay::Response;
use sotto_relay::limits::{CLAIMS_PER_TOKEN_A_DAY, ONE_TIME_KEYS_PER_INBOX_A_DAY};

use crate::support::{Device, World, code, fresh};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn put(world: &World, device: &Device, bundle: &'static [u8], one_time: &[&'static [u8]]) -> Response {
    let one_time = one_time.iter().map(|key| Bytes::from_static(key)).collect();
    let put =
        PrekeyPut { inbox: device.inbox.into(), bundle: Bytes::from_static(bundle), one_time, replace_one_time: false };
    world.signed(&device.manage, path::PREKEY_PUT, &put)
}

fn count(response: &Response) -> u32 {
    assert_eq!(response.status, 200);
    PrekeyCount::decode(response.body.clone()).unwrap().one_time
}

fn request(device: &Device, token: &Token, claim: [u8; 16]) -> PrekeyClaim {
    PrekeyClaim {
        inbox: device.inbox.into(),
        token: token.as_bytes().to_vec().into(),
        claim: claim.to_vec().into(),
        bundle_only: false,
    }
}

/// The bundle and the one-time key of a claim.
fn claim(world: &World, request: &PrekeyClaim) -> (Bytes, Bytes) {
    let response = world.post(path::PREKEY_CLAIM, request);
    assert_eq!(response.status, 200);
    let claimed = PrekeyClaimed::decode(response.body).unwrap();
    (claimed.bundle, claimed.one_time)
}

fn with_one_time(world: &World, device: &Device) -> Token {
    world.token_with(device, |token| token.one_time_keys_per_claim = 1)
}

#[test]
fn a5_a_claim_gets_the_bundle_and_one_key_each_key_once_the_newest_first() {
    let world = World::on_disk();
    let bob = world.device();
    assert_eq!(count(&put(&world, &bob, b"bundle", &[b"one", b"two"])), 2);
    let token = with_one_time(&world, &bob);
    assert_eq!(claim(&world, &request(&bob, &token, fresh())), ("bundle".into(), "two".into()));
    let world = world.reopened();
    assert_eq!(claim(&world, &request(&bob, &token, fresh())), ("bundle".into(), "one".into()));
    assert_eq!(claim(&world, &request(&bob, &token, fresh())), ("bundle".into(), Bytes::new()));
}

#[test]
fn a5_a_stack_that_is_put_again_brings_back_no_key_that_was_handed_out() {
    let world = World::on_disk();
    let bob = world.device();
    let put = |one_time: &[&'static [u8]], replace_one_time| {
        let one_time = one_time.iter().map(|key| Bytes::from_static(key)).collect();
        let put =
            PrekeyPut { inbox: bob.inbox.into(), bundle: Bytes::from_static(b"bundle"), one_time, replace_one_time };
        count(&world.signed(&bob.manage, path::PREKEY_PUT, &put))
    };
    let token = with_one_time(&world, &bob);
    let one_time = || claim(&world, &request(&bob, &token, fresh())).1;
    for replaces in [true, false] {
        assert_eq!(put(&[b"one", b"two", b"three"], true), 3);
        assert_eq!(one_time(), "three");
        // Its answer was lost; and a bundle that comes alone changes nothing.
        assert_eq!(put(&[], false), 2);
        assert_eq!(put(&[b"one", b"two", b"three"], replaces), if replaces { 2 } else { 4 });
        assert_eq!(one_time(), "two");
        assert_eq!(put(&[b"four"], true), 1);
        assert_eq!((one_time(), one_time()), ("four".into(), Bytes::new()));
        // One that no put names is not remembered for ever.
        assert_eq!(put(&[b"three"], true), 1);
        assert_eq!(put(&[], true), 0);
    }
}

#[test]
fn a5_the_same_claim_id_gets_the_same_key_for_thirty_days_with_the_bundle_of_the_day() {
    let mut world = World::on_disk();
    let bob = world.device();
    put(&world, &bob, b"old", &[b"one", b"two"]);
    let token = with_one_time(&world, &bob);
    let request = request(&bob, &token, fresh());
    let answer = claim(&world, &request);
    assert_eq!(answer, ("old".into(), "two".into()));
    put(&world, &bob, b"new", &[b"three"]);
    world = world.reopened();
    assert_eq!(claim(&world, &request), ("new".into(), "two".into()));
    world.pass(30 * DAY - Duration::from_millis(1));
    world.sweep();
    assert_eq!(claim(&world, &request), ("new".into(), "two".into()));
    world.pass(Duration::from_millis(1));
    world.sweep();
    assert_eq!(claim(&world, &request), ("new".into(), "three".into()));
}

#[test]
fn a5_a_claim_without_a_bundle_to_give_is_put_off_and_uses_nothing_up() {
    let world = World::on_disk();
    let bob = world.device();
    let token = world.token_with(&bob, |token| token.claims = 1);
    let before = world.dump();
    assert_eq!(code(&world.post(path::PREKEY_CLAIM, &request(&bob, &token, [1; 16]))), "unavailable");
    assert_eq!(world.dump(), before);
    put(&world, &bob, b"bundle", &[]);
    assert_eq!(claim(&world, &request(&bob, &token, [2; 16])).0, "bundle");
}

#[test]
fn a5_a_token_without_one_time_keys_and_a_claim_for_the_bundle_alone_spend_none() {
    let world = World::new();
    let bob = world.device();
    put(&world, &bob, b"bundle", &[b"one"]);
    let group = world.token(&bob, 1);
    assert_eq!(claim(&world, &request(&bob, &group, fresh())).1, "");
    let contact = with_one_time(&world, &bob);
    let look = PrekeyClaim { bundle_only: true, ..request(&bob, &contact, fresh()) };
    assert_eq!(claim(&world, &look).1, "");
    assert_eq!(claim(&world, &request(&bob, &contact, fresh())).1, "one");
}

#[test]
fn a5_the_stack_holds_a_hundred_and_what_is_over_is_refused_whole() {
    let world = World::on_disk();
    let bob = world.device();
    let keys: Vec<&'static [u8]> = vec![b"key"; 60];
    assert_eq!(count(&put(&world, &bob, b"", &keys)), 60);
    let before = world.dump();
    assert_eq!(code(&put(&world, &bob, b"new bundle", &keys)), "full");
    let without_nonces =
        |dump: Vec<String>| -> Vec<String> { dump.into_iter().filter(|line| !line.starts_with("nonce:")).collect() };
    assert_eq!(without_nonces(world.dump()), without_nonces(before));
    assert_eq!(count(&put(&world, &bob, b"", &keys[..40])), 100);
    let replace = PrekeyPut {
        inbox: bob.inbox.into(),
        one_time: vec![Bytes::from_static(b"fresh"); 3],
        replace_one_time: true,
        ..PrekeyPut::default()
    };
    assert_eq!(count(&world.signed(&bob.manage, path::PREKEY_PUT, &replace)), 3);
}

#[test]
fn a5_blobs_that_are_too_large_or_empty_are_refused() {
    let world = World::new();
    let bob = world.device();
    let put = |bundle: usize, one_time: usize| {
        let put = PrekeyPut {
            inbox: bob.inbox.into(),
            bundle: vec![1; bundle].into(),
            one_time: vec![vec![1; one_time].into()],
            replace_one_time: false,
        };
        world.signed(&bob.manage, path::PREKEY_PUT, &put)
    };
    assert_eq!(put(4_096, 512).status, 200);
    assert_eq!(code(&put(4_097, 512)), "too_large");
    assert_eq!(code(&put(4_096, 513)), "too_large");
    assert_eq!(code(&put(4_096, 0)), "bad_request");
    let many =
        PrekeyPut { inbox: bob.inbox.into(), one_time: vec![Bytes::from_static(b"k"); 101], ..PrekeyPut::default() };
    assert_eq!(code(&world.signed(&bob.manage, path::PREKEY_PUT, &many)), "too_large");
}

#[test]
fn a5_prekeys_are_put_by_the_manage_key_alone() {
    let world = World::new();
    let bob = world.device();
    let put = PrekeyPut { inbox: bob.inbox.into(), bundle: Bytes::from_static(b"mine"), ..PrekeyPut::default() };
    assert_eq!(code(&world.signed(&bob.owner, path::PREKEY_PUT, &put)), "refused");
}

#[test]
fn a5_a_token_claims_a_bounded_number_of_times_a_day() {
    let mut world = World::new();
    let bob = world.device();
    put(&world, &bob, b"bundle", &[]);
    let token = world.token(&bob, 1);
    let first = request(&bob, &token, fresh());
    claim(&world, &first);
    for _ in 1..CLAIMS_PER_TOKEN_A_DAY {
        claim(&world, &request(&bob, &token, fresh()));
    }
    let response = world.post(path::PREKEY_CLAIM, &request(&bob, &token, fresh()));
    assert_eq!(code(&response), "rate_limited");
    let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["retry_after_ms"], 12 * 3600 * 1000, "it is noon");
    claim(&world, &first);
    claim(&world, &request(&bob, &world.token(&bob, 2), fresh()));
    world.pass(DAY / 2);
    claim(&world, &request(&bob, &token, fresh()));
}

#[test]
fn a5_nobody_empties_a_stack_faster_than_its_owner_fills_it() {
    let world = World::new();
    let bob = world.device();
    put(&world, &bob, b"bundle", &[]);
    let mut given = 0;
    for stack in [b"one".as_slice(), b"two", b"three"] {
        let token = with_one_time(&world, &bob);
        put(&world, &bob, b"", &[stack; 100]);
        for _ in 0..100 {
            given += u32::from(!claim(&world, &request(&bob, &token, fresh())).1.is_empty());
        }
    }
    assert_eq!(given, ONE_TIME_KEYS_PER_INBOX_A_DAY);
}

#[test]
fn a5_every_refused_claim_is_one_answer() {
    let world = World::new();
    let bob = world.device();
    put(&world, &bob, b"bundle", &[]);
    let expired = world.token_with(&bob, |token| token.expires_at_ms = 1);
    let used_up = world.token_with(&bob, |token| token.claims = 1);
    claim(&world, &request(&bob, &used_up, fresh()));
    let any = Token::from_bytes(fresh());
    let answers = [
        world.post(path::PREKEY_CLAIM, &request(&Device::new(), &any, fresh())),
        world.post(path::PREKEY_CLAIM, &request(&bob, &any, fresh())),
        world.post(path::PREKEY_CLAIM, &request(&bob, &expired, fresh())),
        world.post(path::PREKEY_CLAIM, &request(&bob, &used_up, fresh())),
    ];
    assert_eq!(code(&answers[0]), "refused");
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a5_a_bundle_that_was_replaced_is_gone() {
    let world = World::on_disk();
    let bob = world.device();
    put(&world, &bob, b"one", &[]);
    claim(&world, &request(&bob, &world.token(&bob, 1), fresh()));
    put(&world, &bob, b"two", &[]);
    assert_eq!(world.dump().iter().filter(|line| line.starts_with("bundle:")).count(), 1);
}

#[test]
fn a5_an_inbox_answers_so_many_claims_a_day_under_all_tokens_together() {
    let mut world = World::new();
    let bob = world.device();
    put(&world, &bob, b"bundle", &[]);
    let claim = |world: &World, token: &Token| world.post(path::PREKEY_CLAIM, &request(&bob, token, fresh()));
    for alias in 0..25 {
        let token = world.token(&bob, alias);
        assert!((0..200).all(|_| claim(&world, &token).status == 200));
    }
    let token = world.token(&bob, 25);
    assert_eq!(code(&claim(&world, &token)), "rate_limited");
    world.pass(DAY / 2);
    assert_eq!(claim(&world, &token).status, 200, "tomorrow");
}
