//! A9: what a relay knows is a closed list, and what it forgot is gone from the disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use futures_util::FutureExt;
use rusqlite::Connection;
use sotto_protocol::relay::{ChainAppend, ChainDelete, InboxDelete, PrekeyClaim, PrekeyPut, SendItem, TokenDrop};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Token};

use crate::support::{Sent, World, fresh, signing_key};

/// Every column that may exist. Adding one is a decision about what is known of people: it belongs into the threat model too.
const COLUMNS: &[&str] = &[
    "relay: id seen_day_min chain_bytes sure_at clock_lead clock_watched",
    "inbox: id name owner_key manage_key sequence acked ack_signature queued_count queued_bytes full token_count claim_day \
     claim_count one_time_count changes",
    "token: id inbox hash alias expires_at puts_per_claim queued_bytes_max claims_max one_time_keys_per_claim claims_used \
     claim_day claim_count queued_count queued_bytes full",
    "claim: id token name puts answered_at one_time",
    "bundle: inbox body",
    "one_time: id inbox body handed_out",
    "envelope: id inbox sequence token size shared alias accepted_at expires_at name header payload",
    "shared_payload: id holders body",
    "chain: id name write_key head_index head_hash entry_bytes snapshot_index snapshot_hash snapshot",
    "chain_entry: id chain position hash body",
    "nonce: time nonce",
    "managed: inbox time",
    "retired: hash",
    "leaving: id inbox chain",
    "seen_DAY: inbox envelope",
];

fn columns(database: &Path) -> BTreeSet<String> {
    let connection = Connection::open(database).unwrap();
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")
        .unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let describe = |table: String| {
        let statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_names().collect::<Vec<_>>().join(" ");
        let name = match table.strip_prefix("seen_") {
            Some(day) if day.bytes().all(|byte| byte.is_ascii_digit()) => "seen_DAY",
            _ => &table,
        };
        format!("{name}: {columns}")
    };
    tables.into_iter().map(describe).collect()
}

#[test]
fn a9_the_columns_that_exist_are_the_columns_that_may_exist() {
    let world = World::on_disk();
    let bob = world.device();
    world.put(&bob, &world.token(&bob, 1), b"x");
    let expected: BTreeSet<String> = COLUMNS.iter().map(|line| (*line).to_owned()).collect();
    assert_eq!(columns(&world.database()), expected);
}

#[test]
fn a9_there_are_no_triggers_and_no_views() {
    let world = World::on_disk();
    let connection = Connection::open(world.database()).unwrap();
    let count: i64 = connection
        .query_row("SELECT COUNT(*) FROM sqlite_schema WHERE type IN ('view', 'trigger')", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 0);
}

/// The forms in which bytes might stand on a disk.
fn forms(canary: &[u8]) -> Vec<Vec<u8>> {
    let utf16 = |big: bool| -> Vec<u8> {
        let unit = |byte: &u8| if big { [0, *byte] } else { [*byte, 0] };
        canary.iter().flat_map(unit).collect()
    };
    // Encodings in groups: cut so that the ends, which depend on the neighbours, do not matter.
    let mut forms = vec![canary.to_vec(), utf16(false), utf16(true)];
    forms.extend([HEXLOWER.encode(canary), HEXUPPER.encode(canary)].map(String::into_bytes));
    for shift in 0..3 {
        let whole = &canary[shift..];
        let whole = &whole[..whole.len() / 3 * 3];
        forms.extend([BASE64.encode(whole), BASE64URL_NOPAD.encode(whole)].map(String::into_bytes));
    }
    forms.push(BASE32_NOPAD.encode(&canary[..canary.len() / 5 * 5]).into_bytes());
    forms
}

/// Which canaries stand in any file of the directory.
fn found(directory: &Path, canaries: &[Vec<u8>]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for canary in canaries {
            if forms(canary).iter().any(|form| contains(&bytes, form)) {
                found.push(format!("{} in {}", String::from_utf8_lossy(canary), path.display()));
            }
        }
    }
    found
}

/// Looks at the last byte of each possible place first and leaps over what cannot match.
fn contains(bytes: &[u8], form: &[u8]) -> bool {
    let mut leap = [form.len(); 256];
    for (place, byte) in form[..form.len() - 1].iter().enumerate() {
        leap[usize::from(*byte)] = form.len() - 1 - place;
    }
    let mut end = form.len();
    while end <= bytes.len() {
        if &bytes[end - form.len()..end] == form {
            return true;
        }
        end += leap[usize::from(bytes[end - 1])];
    }
    false
}

#[test]
fn a9_after_retention_no_byte_of_what_was_sent_stands_in_database_log_or_free_pages() {
    let mut world = World::on_disk();
    let bob = world.device();
    let tokens: Vec<Token> = (0..4).map(|alias| world.token(&bob, alias)).collect();
    let canaries = [b"canary-of-what-nobody-may-find".to_vec()];
    let canary = &canaries[0];
    for number in 0..40 {
        // Small ones, ones with pages of their own, shared ones, in headers too.
        let payload = canary.repeat(1 + number * 20);
        let header = SendItem { header: canary.clone().into(), ..world.item(&bob, &tokens[number % 4]) };
        let items = vec![header; 1 + number % 3].into_iter();
        let items = items.map(|item| SendItem { envelope: world.envelope_id().into(), ..item }).collect();
        assert!(world.send(items, &payload).iter().all(|sent| *sent == Sent::Accepted));
    }
    world.relay.checkpoint().now_or_never().unwrap().unwrap();
    assert_eq!(found(world.directory(), &canaries).len(), 1, "in the main file; the search works");
    world.put(&bob, &tokens[0], canary);
    assert_eq!(found(world.directory(), &canaries).len(), 2, "and in the log");
    let mut stream = world.attached(&bob);
    let last = stream.deliveries().last().unwrap().sequence;
    stream.ack(&bob, last / 2);
    drop(stream);
    world.pass(Duration::from_secs(30 * 24 * 3600));
    world.sweep();
    world.relay.checkpoint().now_or_never().unwrap().unwrap();
    assert_eq!(found(world.directory(), &canaries), Vec::<String>::new());
    let world = world.reopened();
    assert_eq!(found(world.directory(), &canaries), Vec::<String>::new());
}

#[test]
fn a9_what_was_deleted_is_gone_from_the_disk_too() {
    let world = World::on_disk();
    let bob = world.device();
    let canaries: Vec<Vec<u8>> = ["bundle", "one-time", "payload", "entry", "dropped"]
        .map(|what| format!("canary-{what}-secret-bytes").into_bytes())
        .to_vec();
    let canary = |index: usize| Bytes::from(canaries[index].clone());
    let put = PrekeyPut {
        inbox: bob.inbox.into(),
        bundle: canary(0),
        one_time: vec![canary(1), canary(1)],
        replace_one_time: false,
    };
    world.signed(&bob.manage, path::PREKEY_PUT, &put);
    let token = world.token_with(&bob, |token| token.one_time_keys_per_claim = 1);
    let claim = PrekeyClaim {
        inbox: bob.inbox.into(),
        token: token.as_bytes().to_vec().into(),
        claim: fresh().to_vec().into(),
        bundle_only: false,
    };
    assert_eq!(world.post(path::PREKEY_CLAIM, &claim).status, 200);
    world.put(&bob, &token, &canaries[2]);
    let dropped = world.token(&bob, 9);
    world.put(&bob, &dropped, &canaries[4]);
    let drop = TokenDrop { inbox: bob.inbox.into(), hashes: vec![dropped.hash().into()] };
    world.signed(&bob.manage, path::TOKEN_DROP, &drop);
    let (chain, writer) = (Bytes::from_static(&[8; 32]), signing_key());
    let append =
        ChainAppend { chain: chain.clone(), previous: Bytes::new(), entry: canary(3), ..ChainAppend::default() };
    world.signed(&writer, path::CHAIN_APPEND, &append);
    for (number, canary) in canaries.iter().enumerate() {
        assert!(!found(world.directory(), std::slice::from_ref(canary)).is_empty(), "number {number} is there before");
    }
    world.signed(&writer, path::CHAIN_DELETE, &ChainDelete { chain });
    world.signed(&bob.owner, path::INBOX_DELETE, &InboxDelete { inbox: bob.inbox.into() });
    world.sweep();
    world.relay.checkpoint().now_or_never().unwrap().unwrap();
    assert_eq!(found(world.directory(), &canaries), Vec::<String>::new());
    let mut left = world.dump();
    left.retain(|line| !line.starts_with("seen_") && !line.starts_with("nonce:"));
    let retired = left.extract_if(.., |line| line.starts_with("retired:")).count();
    assert_eq!(retired, 2, "hashes of the two ids, which the search above did not find themselves");
    assert!(left.iter().all(|line| line.starts_with("relay:") || line.starts_with("sqlite_sequence:")), "{left:?}");
}

#[test]
fn a9_the_report_shows_every_table_and_nothing_readable() {
    let world = World::on_disk();
    let bob = world.device();
    world.put(&bob, &world.token(&bob, 5), b"what alice wrote");
    let report = sotto_relay::inspect::report(world.directory()).unwrap();
    let names: BTreeSet<&str> = report.tables.iter().map(|table| table.name.as_str()).collect();
    assert!(names.contains("inbox") && names.contains("envelope") && names.contains("token"));
    let envelope = report.tables.iter().find(|table| table.name == "envelope").unwrap();
    assert_eq!(envelope.rows, 1);
    let payload = envelope.columns.iter().find(|column| column.name == "payload").unwrap();
    assert_eq!(payload.bytes, 16);
    let text = report.to_string();
    assert!(text.contains("payload") && !text.contains("alice"));
}
