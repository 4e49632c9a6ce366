//! A7: signed calls name the relay, the call and the moment, and count once; anonymous calls say nothing about who calls.

use std::time::Duration;

use sotto_protocol::relay::{
    ChainRead, InboxDelete, InboxManageKey, Peek, PrekeyClaim, PrekeyClaimed, PrekeyPut, Send, Token as WireToken,
    TokenDrop, TokenPut,
};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message, RelayName, Timestamp};
use sotto_relay::Request;

use crate::support::{Device, Sent, World, authorization, code, fresh, name, sign, signing_key};

const WINDOW: Duration = Duration::from_secs(300);
const MOMENT: Duration = Duration::from_millis(1);

fn put(device: &Device) -> TokenPut {
    TokenPut { inbox: device.inbox.into(), tokens: Vec::new() }
}

#[test]
fn a7_a_signature_holds_for_one_relay_method_path_body_time_and_nonce() {
    let world = World::new();
    let bob = world.device();
    let good = sign(&bob.manage, path::TOKEN_PUT, &put(&bob), world.now, fresh());
    let other_relay = RelayName::parse("other.example", 443).unwrap();
    let mut bad = Vec::new();
    let mut add = |change: &dyn Fn(&mut Request)| {
        let mut request = good.clone();
        change(&mut request);
        bad.push(request);
    };
    add(&|request| request.path = path::TOKEN_DROP.to_owned());
    add(&|request| request.body = TokenPut { inbox: vec![1; 16].into(), tokens: Vec::new() }.encode_to_vec().into());
    add(&|request| {
        let signed_for_get = Request { method: "GET".to_owned(), ..request.clone() };
        request.authorization = Some(authorization(&bob.manage, &name(), &signed_for_get, world.now, fresh()));
    });
    add(&|request| {
        request.authorization = Some(authorization(&bob.manage, &other_relay, request, world.now, fresh()));
    });
    let with_part = |part: &str, value: &str| {
        let header = good.authorization.clone().unwrap();
        let start = header.find(part).unwrap() + part.len();
        let end = header[start..].find(',').map_or(header.len(), |comma| start + comma);
        format!("{}{value}{}", &header[..start], &header[end..])
    };
    let later = world.now.after(MOMENT).as_ms().to_string();
    for header in [with_part("time=", &later), with_part("nonce=", "AAAAAAAAAAAAAAAAAAAAAA"), "Basic abc".to_owned()] {
        add(&|request| request.authorization = Some(header.clone()));
    }
    add(&|request| request.authorization = None);
    for request in bad {
        assert_eq!(code(&world.handle(request)), "signature_refused");
    }
    assert_eq!(world.handle(good).status, 200);
}

#[test]
fn a7_a_call_signed_more_than_five_minutes_from_now_is_told_the_relays_time() {
    let world = World::new();
    let bob = world.device();
    let at = |time| world.handle(sign(&bob.manage, path::TOKEN_PUT, &put(&bob), time, fresh()));
    assert_eq!(at(world.now.before(WINDOW)).status, 200);
    assert_eq!(at(world.now.after(WINDOW)).status, 200);
    for time in [world.now.before(WINDOW + MOMENT), world.now.after(WINDOW + MOMENT)] {
        let response = at(time);
        assert_eq!((code(&response).as_str(), response.status), ("clock_skew", 401));
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["now_ms"], world.now.as_ms());
    }
}

#[test]
fn a7_a_call_counts_once_also_across_a_restart_and_until_its_time_is_over() {
    let mut world = World::on_disk();
    let bob = world.device();
    // Signed by a clock that is ahead: it stays acceptable for ten minutes.
    let call = sign(&bob.manage, path::TOKEN_PUT, &put(&bob), world.now.after(WINDOW), fresh());
    assert_eq!(world.handle(call.clone()).status, 200);
    assert_eq!(code(&world.handle(call.clone())), "replayed");
    world = world.reopened();
    assert_eq!(code(&world.handle(call.clone())), "replayed");
    world.pass(2 * WINDOW);
    world.sweep();
    assert_eq!(code(&world.handle(call.clone())), "replayed");
    world.pass(MOMENT);
    assert_eq!(code(&world.handle(call.clone())), "clock_skew");
    world.pass(WINDOW);
    world.sweep();
    assert!(!world.dump().iter().any(|line| line.starts_with("nonce:")), "forgotten once it cannot be accepted");
}

#[test]
fn a7_a_peek_counts_once_and_none_from_before_a_restart_is_answered() {
    let mut world = World::on_disk();
    let bob = world.device();
    let peek = Peek { inbox: bob.inbox.into(), after: 0, count_max: 1, bytes_max: 1 };
    let call = sign(&bob.owner, path::INBOX_PEEK, &peek, world.now, fresh());
    assert_eq!(world.handle(call.clone()).status, 200);
    assert_eq!(code(&world.handle(call.clone())), "replayed");
    world.pass(MOMENT);
    world = world.reopened();
    assert_eq!(code(&world.handle(call)), "clock_skew");
    assert_eq!(world.handle(sign(&bob.owner, path::INBOX_PEEK, &peek, world.now, fresh())).status, 200);
}

#[test]
fn a7_a_call_that_was_refused_spends_no_memory() {
    let world = World::on_disk();
    let bob = world.device();
    let before = world.dump();
    for _ in 0..5 {
        let call = sign(&signing_key(), path::TOKEN_PUT, &put(&bob), world.now, fresh());
        assert_eq!(code(&world.handle(call)), "refused");
    }
    assert_eq!(world.dump(), before);
}

#[test]
fn a7_anonymous_calls_that_say_who_calls_are_refused() {
    let world = World::new();
    let bob = world.device();
    let calls = [
        Request::post(path::SEND, Send::default().encode_to_vec()),
        Request::post(path::PREKEY_CLAIM, PrekeyClaim::default().encode_to_vec()),
        Request::post(path::CHAIN_READ, ChainRead::default().encode_to_vec()),
    ];
    for call in calls {
        let signed = authorization(&bob.owner, &name(), &call, world.now, fresh());
        let with_authorization = Request { authorization: Some(signed), ..call.clone() };
        assert_eq!(code(&world.handle(with_authorization)), "credential_refused");
        assert_eq!(
            code(&world.handle(Request { authorization: Some(String::new()), ..call.clone() })),
            "credential_refused"
        );
        assert_eq!(code(&world.handle(Request { has_cookie: true, ..call })), "credential_refused");
    }
}

#[test]
fn a7_an_inbox_is_created_by_the_key_that_will_own_it() {
    let world = World::on_disk();
    let bob = Device::new();
    let before = world.dump();
    assert_eq!(code(&world.signed(&bob.manage, path::INBOX_CREATE, &bob.create())), "signature_refused");
    assert_eq!(world.dump(), before);
}

#[test]
fn a7_a_wrong_key_and_an_unknown_inbox_are_one_answer() {
    let world = World::new();
    let (bob, nobody) = (world.device(), Device::new());
    let answers = [
        world.signed(&signing_key(), path::INBOX_DELETE, &InboxDelete { inbox: bob.inbox.into() }),
        world.signed(&bob.manage, path::INBOX_DELETE, &InboxDelete { inbox: bob.inbox.into() }),
        world.signed(&bob.owner, path::INBOX_DELETE, &InboxDelete { inbox: nobody.inbox.into() }),
    ];
    assert_eq!(code(&answers[0]), "refused");
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a7_a_weak_key_signs_nothing() {
    let world = World::new();
    let device = Device::new();
    // The identity point: under a lax check its signatures hold for every message.
    let mut weak = [0; 32];
    weak[0] = 1;
    let create = sotto_protocol::relay::InboxCreate { owner_key: weak.to_vec().into(), ..device.create() };
    let mut request = Request::post(path::INBOX_CREATE, create.encode_to_vec());
    let mut signature = [0; 64];
    signature[0] = 1;
    let authorization =
        sotto_protocol::request::Authorization { key: weak, time: world.now, nonce: fresh(), signature };
    request.authorization = Some(authorization.to_string());
    assert_eq!(code(&world.handle(request)), "signature_refused");
}

/// The story: a device's put of a bundle was held up on its way, and the device gave it up, made it again, and two days later the next. The first
/// came after all, the relay offered its keys from then on, and a week later they were erased.
#[test]
fn a7_a_call_that_was_held_up_does_not_undo_what_was_signed_since() {
    let mut world = World::on_disk();
    let bob = world.device();
    let at = |world: &World, path, message: &dyn Fn() -> Vec<u8>, time: Timestamp| {
        world.handle(crate::support::sign_bytes(&bob.manage, path, &message(), time, fresh()))
    };
    let bundle = |body: &'static [u8]| {
        let put = PrekeyPut { inbox: bob.inbox.into(), bundle: Bytes::from_static(body), ..PrekeyPut::default() };
        move || put.encode_to_vec()
    };
    let token = world.token(&bob, 1);
    let grant = || {
        let wire = WireToken { hash: token.hash().into(), alias: 1, ..WireToken::default() };
        TokenPut { inbox: bob.inbox.into(), tokens: vec![wire] }.encode_to_vec()
    };
    let drop = || TokenDrop { inbox: bob.inbox.into(), hashes: vec![token.hash().into()] }.encode_to_vec();
    let claimed = |world: &World| {
        let claim = PrekeyClaim {
            inbox: bob.inbox.into(),
            token: token.as_bytes().to_vec().into(),
            claim: fresh().to_vec().into(),
            bundle_only: true,
        };
        PrekeyClaimed::decode(world.post(path::PREKEY_CLAIM, &claim).body).unwrap().bundle
    };
    let held_up = world.now;
    world.pass(MOMENT);
    assert_eq!(at(&world, path::PREKEY_PUT, &bundle(b"newer"), world.now).status, 200);
    world = world.reopened();
    let late = at(&world, path::PREKEY_PUT, &bundle(b"older"), held_up);
    assert_eq!((code(&late).as_str(), late.status), ("overtaken", 409));
    assert_eq!(claimed(&world), "newer");
    // Of the same moment, neither is known to be the later one.
    assert_eq!(at(&world, path::PREKEY_PUT, &bundle(b"newest"), world.now).status, 200);
    assert_eq!(claimed(&world), "newest");
    world.pass(MOMENT);
    assert_eq!(at(&world, path::TOKEN_DROP, &drop, world.now).status, 200);
    assert_eq!(code(&at(&world, path::TOKEN_PUT, &grant, held_up)), "overtaken");
    assert_eq!(world.put(&bob, &token, b"x"), Sent::Refused);
    world.pass(MOMENT);
    assert_eq!(at(&world, path::TOKEN_PUT, &grant, world.now).status, 200);
    assert_eq!(code(&at(&world, path::TOKEN_DROP, &drop, held_up)), "overtaken");
    assert_eq!(world.put(&bob, &token, b"x"), Sent::Accepted);
    let key =
        InboxManageKey { inbox: bob.inbox.into(), manage_key: bob.owner.verifying_key().to_bytes().to_vec().into() };
    let key = sign(&bob.owner, path::INBOX_MANAGE_KEY, &key, held_up, fresh());
    assert_eq!(world.handle(key).status, 200, "no call by the manage key keeps its owner from changing it");
    let by_owner =
        |time| world.handle(crate::support::sign_bytes(&bob.owner, path::TOKEN_PUT, &grant(), time, fresh()));
    assert_eq!(by_owner(held_up).status, 200, "what the key before has signed counts no more");
    // What is left of it goes once nothing that is accepted is earlier.
    let times = |world: &World| world.dump().iter().filter(|line| line.starts_with("managed:")).count();
    world.pass(WINDOW * 2 - MOMENT * 3);
    world.sweep();
    assert_eq!(times(&world), 1);
    world.pass(WINDOW);
    world.sweep();
    assert_eq!(times(&world), 0);
}

#[test]
fn a7_no_call_waits_for_a_time_at_which_only_a_wrong_clock_was() {
    let mut world = World::new();
    let bob = world.device();
    let right = world.now;
    let at = |world: &World| world.signed(&bob.manage, path::TOKEN_PUT, &put(&bob)).status;
    // Of the relay, and of a phone that it believes.
    for ahead in [WINDOW * 2, WINDOW * 2 + MOMENT] {
        world.set_clock(right.after(ahead));
        assert_eq!(at(&world), 200);
        world.set_clock(right);
        assert_eq!(at(&world), if ahead == WINDOW * 2 { 409 } else { 200 });
        world.set_clock(right);
    }
}
