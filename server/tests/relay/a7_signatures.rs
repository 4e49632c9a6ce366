//! A7: signed calls name the relay, the call and the moment, and count once; anonymous calls say nothing about who calls.

use std::time::Duration;

use sotto_protocol::relay::{ChainRead, InboxDelete, Peek, PrekeyClaim, Send, TokenPut};
use sotto_protocol::request::path;
use sotto_protocol::{Message, RelayName};
use sotto_relay::Request;

use crate::support::{Device, World, authorization, code, fresh, name, sign, signing_key};

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
