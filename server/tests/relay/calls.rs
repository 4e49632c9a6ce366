//! What all calls have in common, and creating inboxes.

use std::sync::Arc;

use futures_util::FutureExt;
use sotto_protocol::relay::{InboxCreate, InboxDelete};
use sotto_protocol::request::path;
use sotto_protocol::{Versions, work};
use sotto_relay::store::{OpenError, SqliteOptions, SqliteStore};
use sotto_relay::{InboxPolicy, Relay, RelayConfig, Request};

use crate::support::{Device, NOON, World, code, fresh, name, sign, text};

#[test]
fn creating_an_inbox_again_with_the_same_keys_is_harmless_and_with_others_refused() {
    let world = World::new();
    let bob = world.device();
    assert_eq!(world.signed(&bob.owner, path::INBOX_CREATE, &bob.create()).status, 200);
    let thief = Device { inbox: bob.inbox, ..Device::new() };
    assert_eq!(code(&world.signed(&thief.owner, path::INBOX_CREATE, &thief.create())), "refused");
    let other_manage = InboxCreate { manage_key: vec![3; 32].into(), ..bob.create() };
    assert_eq!(code(&world.signed(&bob.owner, path::INBOX_CREATE, &other_manage)), "refused");
}

fn relay_with(policy: InboxPolicy, proof_of_work_bits: u32) -> Arc<Relay> {
    let store = SqliteStore::open(SqliteOptions::memory()).unwrap();
    let config = RelayConfig { inbox_policy: policy, proof_of_work_bits, ..RelayConfig::open(name()) };
    Relay::new(Arc::new(store), config, NOON)
}

fn create(relay: &Relay, device: &Device, create: &InboxCreate) -> u16 {
    let request = sign(&device.owner, path::INBOX_CREATE, create, NOON, fresh());
    relay.handle(request, NOON).now_or_never().unwrap().status
}

#[test]
fn inboxes_are_created_by_the_relays_policy() {
    let bob = Device::new();
    assert_eq!(create(&relay_with(InboxPolicy::Closed, 0), &bob, &bob.create()), 403);
    let codes = relay_with(InboxPolicy::Code(vec!["a good code".to_owned()]), 0);
    assert_eq!(create(&codes, &bob, &bob.create()), 403);
    let with_code = InboxCreate { invite_code: "a good code".to_owned(), ..bob.create() };
    assert_eq!(create(&codes, &bob, &with_code), 200);
}

#[test]
fn creating_again_what_is_there_is_harmless_whatever_the_policy_says_today() {
    let world = World::on_disk();
    let bob = world.device();
    let closed = RelayConfig { inbox_policy: InboxPolicy::Closed, proof_of_work_bits: 8, ..RelayConfig::open(name()) };
    let store = SqliteStore::open(SqliteOptions::file(world.database()).inline()).unwrap();
    let relay = Relay::new(Arc::new(store), closed, NOON);
    assert_eq!(create(&relay, &bob, &bob.create()), 200);
    let stranger = Device::new();
    assert_eq!(create(&relay, &stranger, &stranger.create()), 403);
}

#[test]
fn inboxes_cost_work_where_the_relay_asks_for_it() {
    let relay = relay_with(InboxPolicy::Open, 8);
    let bob = Device::new();
    let with = |proof: &[u8]| InboxCreate { proof_of_work: proof.to_vec().into(), ..bob.create() };
    let no_proof = (0_u64..).map(u64::to_be_bytes).find(|nonce| work::bits(bob.inbox.as_ref(), nonce) < 8).unwrap();
    for refused in [&[][..], &no_proof, &[0; 9]] {
        assert_eq!(create(&relay, &bob, &with(refused)), 403);
    }
    let proof = work::prove(bob.inbox.as_ref(), 8).unwrap();
    assert_eq!(create(&relay, &bob, &with(&proof)), 200);
}

#[test]
fn the_id_of_a_deleted_inbox_is_never_given_away_again() {
    let world = World::on_disk();
    let bob = world.device();
    let delete = InboxDelete { inbox: bob.inbox.into() };
    assert_eq!(world.signed(&bob.owner, path::INBOX_DELETE, &delete).status, 200);
    world.sweep();
    let world = world.reopened();
    let thief = Device { inbox: bob.inbox, ..Device::new() };
    for device in [&thief, &bob] {
        assert_eq!(code(&world.signed(&device.owner, path::INBOX_CREATE, &device.create())), "refused");
    }
}

#[test]
fn the_well_known_document_says_what_is_spoken_and_asked_for() {
    let relay = relay_with(InboxPolicy::Code(vec!["code".to_owned()]), 12);
    let request = Request { method: "GET".to_owned(), path: path::WELL_KNOWN.to_owned(), ..Request::default() };
    let response = relay.handle(request, NOON).now_or_never().unwrap();
    assert_eq!((response.status, response.content_type), (200, "application/json"));
    assert_eq!(text(&response), r#"{"features":["invite-code","proof-of-work-12"],"max":1,"min":1}"#);
}

#[test]
fn a_version_that_is_not_spoken_here_is_told_so() {
    let world = World::new();
    let with = |version: &str| Request { version: Some(version.to_owned()), ..Request::post(path::SEND, "") };
    assert_eq!(world.handle(with("1")).status, 200);
    let response = world.handle(with("2"));
    assert_eq!((code(&response).as_str(), response.status), ("upgrade_required", 426));
    assert_eq!(code(&world.handle(with("one"))), "bad_request");
}

#[test]
fn a_relay_that_has_moved_on_answers_the_version_before_its_own_and_names_its_versions_to_others() {
    let store = SqliteStore::open(SqliteOptions::memory()).unwrap();
    let config = RelayConfig { versions: Versions { min: 2, max: 3 }, ..RelayConfig::open(name()) };
    let relay = Relay::new(Arc::new(store), config, NOON);
    let answered = |version: Option<&str>| {
        let request = Request { version: version.map(str::to_owned), ..Request::post(path::SEND, "") };
        relay.handle(request, NOON).now_or_never().unwrap()
    };
    for spoken in ["2", "3"] {
        assert_eq!(answered(Some(spoken)).status, 200);
    }
    for unspoken in [Some("1"), Some("4"), None] {
        let response = answered(unspoken);
        assert_eq!((code(&response).as_str(), response.status), ("upgrade_required", 426));
        let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!((&body["min"], &body["max"]), (&2.into(), &3.into()));
    }
}

#[test]
fn what_is_no_call_is_not_found() {
    let world = World::new();
    for path in ["/", "/v1/send/", "/v1/blob/create", "/v2/send"] {
        assert_eq!(code(&world.handle(Request::post(path, ""))), "not_found");
    }
    let get = Request { method: "GET".to_owned(), ..Request::post(path::SEND, "") };
    assert_eq!(code(&world.handle(get)), "not_found");
}

#[test]
fn bytes_that_are_no_message_are_a_bad_request_and_too_many_are_too_large() {
    let world = World::new();
    assert_eq!(code(&world.handle(Request::post(path::SEND, &b"\xff\xff"[..]))), "bad_request");
    assert_eq!(code(&world.handle(Request::post(path::SEND, vec![0; 1024 * 1024 + 1]))), "too_large");
}

#[test]
fn a_problem_has_a_status_a_title_a_code_and_nothing_about_the_caller() {
    let world = World::new();
    let response = world.handle(Request::post(path::SEND, &b"\xff"[..]));
    assert_eq!(response.content_type, "application/problem+json");
    assert_eq!(
        text(&response),
        r#"{"code":"bad_request","status":400,"title":"The request is not what this call takes"}"#
    );
}

#[test]
fn a_database_of_another_schema_or_of_somebody_else_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sqlite");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (a); PRAGMA user_version = 7")
        .unwrap();
    let opened = SqliteStore::open(SqliteOptions::file(&path).inline());
    assert!(matches!(opened.err(), Some(OpenError::UnknownSchema { found: 7 })));
    let tables: i64 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
        .unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn metrics_count_by_closed_labels_and_name_nobody() {
    let world = World::new();
    let bob = world.device();
    world.put(&bob, &world.token(&bob, 1), b"x");
    world.handle(Request::post("/made/up/by/a/stranger", ""));
    let text = world.relay.metrics().render();
    assert!(text.contains(r#"sotto_relay_items_total{outcome="accepted"} 1"#), "{text}");
    assert!(text.contains(r#"call="unknown""#) && !text.contains("stranger"));
    assert!(!text.contains(&bob.inbox.to_string()));
}
