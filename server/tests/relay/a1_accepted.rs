//! A1: accepted means on stable storage, or acknowledged by the recipient; sequence numbers are never given out twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ed25519_dalek::SigningKey;
use sotto_protocol::relay::server_frame::Frame;
use sotto_protocol::relay::{
    ChainAppend, ChainCompact, ChainDelete, InboxDelete, InboxManageKey, PrekeyClaim, PrekeyPut, Token as WireToken,
    TokenDrop, TokenPut,
};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Token};
use sotto_relay::Response;
use sotto_relay::store::{OpenError, SqliteOptions, SqliteStore, StepFate};

use crate::support::{Device, Sent, World, code, fresh, signing_key};

#[test]
fn a1_what_was_accepted_is_there_after_a_cold_start() {
    let world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 7);
    assert_eq!(world.put(&bob, &token, b"hello"), Sent::Accepted);
    let world = world.reopened();
    let waiting = world.waiting(&bob);
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].alias, &waiting[0].payload[..]), (7, &b"hello"[..]));
    assert_eq!(waiting[0].accepted_at_ms, world.now.as_ms());
}

#[test]
fn a1_a_payload_shared_by_several_inboxes_goes_with_its_last_holder() {
    let world = World::on_disk();
    let [alice, bob] = [world.device(), world.device()];
    let tokens = [world.token(&alice, 1), world.token(&bob, 1)];
    let payload = [0x5a; 4_000];
    let sent = world.send(vec![world.item(&alice, &tokens[0]), world.item(&bob, &tokens[1])], &payload);
    assert_eq!(sent, [Sent::Accepted, Sent::Accepted]);
    let world = world.reopened();
    let mut stream = world.attached(&alice);
    assert_eq!(stream.deliveries()[0].payload, payload[..]);
    stream.ack(&alice, 1);
    assert_eq!(world.waiting(&bob)[0].payload, payload[..], "the other holder still has it");
    let shared = |world: &World| world.dump().iter().filter(|line| line.starts_with("shared_payload:")).count();
    assert_eq!(shared(&world), 1);
    let mut stream = world.attached(&bob);
    stream.deliveries();
    stream.ack(&bob, 1);
    assert_eq!(shared(&world), 0);
}

#[test]
fn a1_a_sequence_number_is_not_given_out_again_after_everything_was_acknowledged_and_a_cold_start() {
    let mut world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 1);
    let mut last = 0;
    for _ in 0..3 {
        world.put(&bob, &token, b"one");
        world.put(&bob, &token, b"two");
        let mut stream = world.attached(&bob);
        let sequences: Vec<u64> = stream.deliveries().iter().map(|delivery| delivery.sequence).collect();
        assert!(sequences[0] > last && sequences[1] > sequences[0]);
        last = sequences[1];
        stream.ack(&bob, last);
        drop(stream);
        world = world.reopened();
    }
}

/// Everything that changes the store, once each, in an order that works.
struct Scenario {
    bob: Device,
    writer: SigningKey,
    token: Token,
}

impl Scenario {
    const STEPS: usize = 13;

    fn new() -> Self {
        Self { bob: Device::new(), writer: signing_key(), token: Token::from_bytes(fresh()) }
    }

    /// Does the numbered step; `true` when the relay did it, `false` when it said *not now*.
    fn step(&self, world: &World, number: usize) -> bool {
        let inbox = Bytes::from(self.bob.inbox);
        let chain = Bytes::from_static(&[9; 32]);
        let first = sotto_protocol::label::chain_entry_hash(&[], b"first").to_vec();
        let (owner, manage, writer) = (&self.bob.owner, &self.bob.manage, &self.writer);
        let response = match number {
            0 => world.signed(owner, path::INBOX_CREATE, &self.bob.create()),
            1 => {
                let token =
                    WireToken { hash: self.token.hash().into(), one_time_keys_per_claim: 1, ..WireToken::default() };
                world.signed(manage, path::TOKEN_PUT, &TokenPut { inbox, tokens: vec![token] })
            }
            2 => {
                let one_time = vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")];
                let put = PrekeyPut { inbox, bundle: Bytes::from_static(b"bundle"), one_time, replace_one_time: true };
                world.signed(manage, path::PREKEY_PUT, &put)
            }
            3 => {
                let token = self.token.as_bytes().to_vec().into();
                let claim = PrekeyClaim { inbox, token, claim: vec![3; 16].into(), bundle_only: false };
                world.post(path::PREKEY_CLAIM, &claim)
            }
            4 => {
                // The second item shares the payload and goes to the same inbox.
                let items = vec![world.item(&self.bob, &self.token), world.item(&self.bob, &self.token)];
                let outcomes = world.send(items, &[4; 2_000]);
                assert!(matches!(outcomes[..], [Sent::Accepted, Sent::Accepted] | [Sent::Busy, Sent::Busy]));
                return outcomes[0] == Sent::Accepted;
            }
            5 => {
                let rows = || world.dump().iter().filter(|line| line.starts_with("envelope:")).count();
                let before = rows();
                let mut stream = world.stream();
                stream.attach(&self.bob);
                // A relay that cannot say where the inbox stands ends the stream.
                if !matches!(stream.frame(), Some(Frame::Attached(_))) {
                    return false;
                }
                stream.deliveries();
                stream.ack(&self.bob, 1);
                return rows() < before;
            }
            6 => {
                let append = ChainAppend {
                    chain,
                    previous: Bytes::new(),
                    entry: Bytes::from_static(b"first"),
                    ..ChainAppend::default()
                };
                world.signed(writer, path::CHAIN_APPEND, &append)
            }
            7 => {
                let append = ChainAppend {
                    chain,
                    previous: first.into(),
                    entry: Bytes::from_static(b"second"),
                    ..ChainAppend::default()
                };
                world.signed(writer, path::CHAIN_APPEND, &append)
            }
            8 => {
                let head = sotto_protocol::label::chain_entry_hash(&first, b"second").to_vec().into();
                world.signed(
                    writer,
                    path::CHAIN_COMPACT,
                    &ChainCompact { chain, head, snapshot: Bytes::from_static(b"all") },
                )
            }
            9 => world.signed(writer, path::CHAIN_DELETE, &ChainDelete { chain }),
            10 => {
                let manage_key = manage.verifying_key().to_bytes().to_vec().into();
                world.signed(owner, path::INBOX_MANAGE_KEY, &InboxManageKey { inbox, manage_key })
            }
            11 => {
                let hashes = vec![self.token.hash().into()];
                world.signed(manage, path::TOKEN_DROP, &TokenDrop { inbox, hashes })
            }
            _ => world.signed(owner, path::INBOX_DELETE, &InboxDelete { inbox }),
        };
        is_done(&response)
    }
}

fn is_done(response: &Response) -> bool {
    match response.status {
        200 => true,
        503 => {
            assert_eq!(code(response), "unavailable");
            false
        }
        other => panic!("answered {other}"),
    }
}

#[test]
fn a1_a_full_disk_at_any_writing_statement_keeps_nothing_says_so_and_heals_by_itself() {
    let mut failures = 0;
    for fail_at in 1.. {
        let hook = Arc::new(move |step| if step == fail_at { StepFate::DiskFull } else { StepFate::Run });
        let world = World::on_bad_disk(hook, Arc::new(|_| panic!("a full disk is no reason to stop")));
        let scenario = Scenario::new();
        let mut failed_here = 0;
        for number in 0..Scenario::STEPS {
            let before = world.dump();
            if !scenario.step(&world, number) {
                failed_here += 1;
                assert_eq!(world.dump(), before, "step {number} kept something");
                assert!(scenario.step(&world, number), "the same call works once there is room");
            }
        }
        world.sweep_until_done();
        assert!(failed_here <= 1);
        failures += failed_here;
        if failed_here == 0 && fail_at > 100 {
            break;
        }
    }
    assert!(failures > 30, "only {failures} statements were walked through");
}

#[test]
fn a1_a_broken_disk_stops_the_relay_and_nothing_is_acknowledged_by_it_afterwards() {
    let crashed = Arc::new(AtomicBool::new(false));
    let breaks = Arc::new(AtomicBool::new(false));
    let (sees, hears) = (Arc::clone(&breaks), Arc::clone(&crashed));
    let hook = Arc::new(move |_| if sees.load(Ordering::SeqCst) { StepFate::DiskBroken } else { StepFate::Run });
    let world = World::on_bad_disk(hook, Arc::new(move |_| hears.store(true, Ordering::SeqCst)));
    let bob = world.device();
    let token = world.token(&bob, 1);
    assert_eq!(world.put(&bob, &token, b"kept"), Sent::Accepted);
    breaks.store(true, Ordering::SeqCst);
    assert_eq!(world.put(&bob, &token, b"lost"), Sent::Busy);
    assert!(crashed.load(Ordering::SeqCst));
    breaks.store(false, Ordering::SeqCst);
    assert_eq!(world.put(&bob, &token, b"lost"), Sent::Busy, "a retry after a failed write would be a lie");
    let world = world.reopened();
    let payloads: Vec<Bytes> = world.waiting(&bob).into_iter().map(|delivery| delivery.payload).collect();
    assert_eq!(payloads, ["kept"]);
}

#[test]
fn a1_a_send_whose_caller_went_away_is_still_carried_out_and_told_to_who_is_attached() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(SqliteStore::open(SqliteOptions::file(directory.path().join("relay.sqlite"))).unwrap());
        let world = World::on(store);
        let (bob, token) = world.device_with_token().await;
        let mut stream = world.stream();
        stream.attach_async(&bob).await;
        assert!(matches!(stream.frame_async().await, Frame::Attached(_)));
        assert!(matches!(stream.frame_async().await, Frame::Drained(_)));
        let mut send = Box::pin(world.send_async(vec![world.item(&bob, &token)], b"hello"));
        assert!(futures_util::poll!(&mut send).is_pending(), "the writer's thread has it now");
        drop(send);
        let Frame::Deliveries(deliveries) = stream.frame_async().await else { panic!("a delivery comes next") };
        assert_eq!(deliveries.deliveries[0].payload, "hello");
    });
}

/// After a failed sync the log may hold what the disk does not: read from memory it would be taken for stored.
#[test]
fn a1_a_relay_on_a_broken_disk_does_not_start_from_the_log_of_its_last_run() {
    let world = World::on_disk();
    let bob = world.device();
    assert_eq!(world.put(&bob, &world.token(&bob, 1), b"kept"), Sent::Accepted);
    let crashed = Arc::new(AtomicBool::new(false));
    let hears = Arc::clone(&crashed);
    let options = SqliteOptions {
        step_hook: Some(Arc::new(|step| if step == 0 { StepFate::DiskBroken } else { StepFate::Run })),
        crash: Arc::new(move |_| hears.store(true, Ordering::SeqCst)),
        ..SqliteOptions::file(world.database()).inline()
    };
    assert!(matches!(SqliteStore::open(options), Err(OpenError::LogNotEmptied)));
    assert!(crashed.load(Ordering::SeqCst));
    assert_eq!(world.reopened().waiting(&bob).len(), 1);
}

#[test]
fn a1_a_relay_starts_on_a_full_disk_delivers_and_accepts_again_once_the_log_found_room() {
    for reserve_bytes in [0, RESERVE] {
        let world = World::on_disk();
        let bob = world.device();
        let token = world.token(&bob, 1);
        assert_eq!(world.put(&bob, &token, b"kept"), Sent::Accepted);
        let is_full = Arc::new(AtomicBool::new(true));
        let sees = Arc::clone(&is_full);
        let options = SqliteOptions {
            step_hook: Some(Arc::new(move |step| {
                if step == 0 && sees.load(Ordering::SeqCst) { StepFate::DiskFull } else { StepFate::Run }
            })),
            crash: Arc::new(|_| panic!("a full disk is no reason to stop")),
            reserve_bytes,
            ..SqliteOptions::file(world.database()).inline()
        };
        // Beside the first one, which stands for the run that was killed and does nothing any more.
        let again = World::on(Arc::new(SqliteStore::open(options).unwrap()));
        let mut stream = again.attached(&bob);
        assert_eq!(stream.deliveries()[0].payload, "kept");
        assert_eq!(again.put(&bob, &token, b"new"), Sent::Busy);
        stream.ack(&bob, 1);
        assert_eq!(again.waiting(&bob).len(), 0);
        is_full.store(false, Ordering::SeqCst);
        assert_eq!(again.put(&bob, &token, b"new"), Sent::Accepted);
        assert_eq!(reserve(&world).is_some(), reserve_bytes > 0);
    }
}

/// Small enough for a test, large enough for a store.
const RESERVE: u64 = 4 * 1024 * 1024;

/// How much the store keeps for a full disk.
fn reserve(world: &World) -> Option<u64> {
    std::fs::metadata(world.database().with_extension("sqlite-reserve")).ok().map(|file| file.len())
}

#[test]
fn a1_on_a_full_disk_the_reserve_lets_mail_be_acknowledged_and_is_made_again_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("relay.sqlite");
    let kept = directory.path().join("relay.sqlite-reserve");
    let (is_full, takes_room) = (Arc::new(AtomicBool::new(false)), kept.clone());
    let sees = Arc::clone(&is_full);
    // The disk is full as long as nobody gives anything back.
    let hook = Arc::new(move |step| {
        if step > 0 && sees.load(Ordering::SeqCst) && takes_room.exists() { StepFate::DiskFull } else { StepFate::Run }
    });
    let options = SqliteOptions {
        step_hook: Some(hook),
        crash: Arc::new(|_| panic!("a full disk is no reason to stop")),
        reserve_bytes: RESERVE,
        ..SqliteOptions::file(&database).inline()
    };
    let world = World::on(Arc::new(SqliteStore::open(options).unwrap()));
    assert_eq!(std::fs::metadata(&kept).unwrap().len(), RESERVE);
    let bob = world.device();
    let token = world.token(&bob, 1);
    for _ in 0..20 {
        assert_eq!(world.put(&bob, &token, &[7; 4_000]), Sent::Accepted);
    }
    let mut stream = world.attached(&bob);
    assert_eq!(stream.deliveries().len(), 20);
    is_full.store(true, Ordering::SeqCst);
    // Nobody put anything since: the acknowledgement itself meets the full disk, and is kept.
    stream.ack(&bob, 20);
    assert_eq!(world.waiting(&bob).len(), 0);
    assert_eq!(
        std::fs::metadata(directory.path().join("relay.sqlite-wal")).unwrap().len(),
        0,
        "the log gives its room"
    );
    is_full.store(false, Ordering::SeqCst);
    assert_eq!(world.put(&bob, &token, b"new"), Sent::Accepted);
    assert_eq!(std::fs::metadata(&kept).unwrap().len(), RESERVE);
    assert_eq!(world.waiting(&bob).len(), 1);
}

#[test]
fn a1_a_full_disk_moves_the_log_at_once_so_that_acknowledgements_find_room() {
    let (is_full, moves) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (sees, counts) = (Arc::clone(&is_full), Arc::clone(&moves));
    let hook = Arc::new(move |step| {
        counts.fetch_add(u64::from(step == 0), Ordering::SeqCst);
        if step > 0 && sees.load(Ordering::SeqCst) { StepFate::DiskFull } else { StepFate::Run }
    });
    let world = World::on_bad_disk(hook, Arc::new(|_| panic!("a full disk is no reason to stop")));
    let bob = world.device();
    let token = world.token(&bob, 1);
    let before = moves.load(Ordering::SeqCst);
    is_full.store(true, Ordering::SeqCst);
    assert_eq!(world.put(&bob, &token, b"x"), Sent::Busy);
    assert_eq!(moves.load(Ordering::SeqCst), before + 1);
}
