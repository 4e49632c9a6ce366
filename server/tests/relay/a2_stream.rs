//! A2: acknowledging is a right of the connection that delivered; attaching takes over; peeking does neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sotto_protocol::relay::{Ack, EndReason, Peek, Peeked, client_frame, server_frame::Frame};
use sotto_protocol::request::path;
use sotto_protocol::{Message, RelayName};
use sotto_relay::store::{SqliteOptions, SqliteStore, StepFate};

use crate::support::{Device, Sent, Stream, World, ack, code, name, signing_key};

fn ended(frame: Option<Frame>) -> Option<EndReason> {
    match frame {
        Some(Frame::Ended(ended)) => Some(ended.reason()),
        _ => None,
    }
}

fn is_ended(frame: Option<Frame>, reason: EndReason) -> bool {
    ended(frame) == Some(reason)
}

fn sequences(stream: &mut Stream) -> Vec<u64> {
    stream.deliveries().iter().map(|delivery| delivery.sequence).collect()
}

fn with_mail(world: &World, count: usize) -> Device {
    let bob = world.device();
    let token = world.token(&bob, 1);
    for _ in 0..count {
        assert_eq!(world.put(&bob, &token, b"mail"), Sent::Accepted);
    }
    bob
}

#[test]
fn a2_what_waited_comes_in_order_then_drained_then_the_live_tail() {
    let world = World::new();
    let bob = world.device();
    let token = world.token(&bob, 1);
    world.put(&bob, &token, b"one");
    world.put(&bob, &token, b"two");
    let mut stream = world.attached(&bob);
    let Some(Frame::Deliveries(waited)) = stream.frame() else { panic!("what waited comes first") };
    let payloads: Vec<_> = waited.deliveries.iter().map(|delivery| delivery.payload.clone()).collect();
    assert_eq!(payloads, ["one", "two"]);
    assert!(matches!(stream.frame(), Some(Frame::Drained(_))));
    assert!(stream.frame().is_none());
    world.put(&bob, &token, b"three");
    assert_eq!(sequences(&mut stream), [3]);
}

#[test]
fn a2_an_empty_inbox_is_drained_at_once() {
    let world = World::new();
    let bob = world.device();
    let mut stream = world.attached(&bob);
    assert!(matches!(stream.frame(), Some(Frame::Drained(_))));
    assert!(stream.frame().is_none());
}

#[test]
fn a2_an_ack_deletes_everything_up_to_it_and_nothing_more() {
    let world = World::new();
    let bob = with_mail(&world, 5);
    let mut stream = world.attached(&bob);
    stream.deliveries();
    stream.ack(&bob, 3);
    assert!(stream.frame().is_none());
    drop(stream);
    assert_eq!(world.waiting(&bob).iter().map(|delivery| delivery.sequence).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn a2_an_ack_beyond_what_was_delivered_ends_the_attachment() {
    let world = World::new();
    let bob = with_mail(&world, 2);
    let mut stream = world.attached(&bob);
    assert_eq!(sequences(&mut stream), [1, 2]);
    stream.ack(&bob, 3);
    assert!(is_ended(stream.frame(), EndReason::BadAck));
    stream.ack(&bob, 2);
    assert!(is_ended(stream.frame(), EndReason::BadAck), "the right went with the attachment");
    drop(stream);
    assert_eq!(world.waiting(&bob).len(), 2);
}

#[test]
fn a2_what_was_not_sent_here_cannot_be_acknowledged_here() {
    let world = World::new();
    let bob = with_mail(&world, 2);
    let mut stream = world.attached(&bob);
    // Nothing has been taken from the stream yet, although it waits.
    stream.ack(&bob, 1);
    let frames = stream.frames();
    assert!(matches!(frames.as_slice(), [Frame::Ended(_)]));
}

#[test]
fn a2_an_ack_for_an_inbox_that_is_not_attached_here_is_a_bad_one() {
    let world = World::new();
    let (bob, carol) = (with_mail(&world, 1), with_mail(&world, 1));
    let mut stream = world.attached(&bob);
    stream.deliveries();
    stream.ack(&carol, 1);
    assert!(is_ended(stream.frame(), EndReason::BadAck));
    assert_eq!(world.waiting(&carol).len(), 1);
}

#[test]
fn a2_attaching_again_takes_over_and_the_older_connection_loses_its_right_to_ack() {
    let world = World::new();
    let bob = with_mail(&world, 3);
    let mut older = world.attached(&bob);
    assert_eq!(sequences(&mut older), [1, 2, 3]);
    let mut newer = world.attached(&bob);
    older.ack(&bob, 3);
    assert!(is_ended(older.frame(), EndReason::TakenOver));
    assert_eq!(sequences(&mut newer), [1, 2, 3]);
    drop(older);
    newer.ack(&bob, 1);
    drop(newer);
    assert_eq!(world.waiting(&bob).len(), 2);
}

#[test]
fn a2_attach_answers_with_the_highest_sequence_ever_acknowledged() {
    let world = World::on_disk();
    let bob = with_mail(&world, 4);
    let mut stream = world.attached(&bob);
    stream.deliveries();
    stream.ack(&bob, 4);
    drop(stream);
    let world = world.reopened();
    let mut stream = world.stream();
    stream.attach(&bob);
    let Some(Frame::Attached(attached)) = stream.frame() else { panic!("attached") };
    assert_eq!(attached.acked, 4);
    assert_eq!(attached.signature, ack(&bob, 4).signature, "with its owner's word for that");
}

#[test]
fn h1_an_inbox_that_was_never_acknowledged_has_nobodys_word() {
    let world = World::new();
    let bob = with_mail(&world, 1);
    let mut stream = world.stream();
    stream.attach(&bob);
    let Some(Frame::Attached(attached)) = stream.frame() else { panic!("attached") };
    assert_eq!((attached.acked, attached.signature.len()), (0, 0));
}

#[test]
fn h1_an_ack_without_a_signature_is_a_bad_one() {
    let world = World::new();
    let bob = with_mail(&world, 1);
    for length in [0, 63, 65] {
        let mut stream = world.attached(&bob);
        stream.deliveries();
        let unsigned = Ack { signature: vec![1; length].into(), ..ack(&bob, 1) };
        stream.give(client_frame::Frame::Ack(unsigned));
        assert!(is_ended(stream.frame(), EndReason::BadAck), "{length} bytes");
    }
    assert_eq!(world.waiting(&bob).len(), 1);
}

#[test]
fn h1_the_word_that_a_relay_keeps_is_the_latest_one() {
    let world = World::on_disk();
    let bob = with_mail(&world, 3);
    let mut stream = world.attached(&bob);
    stream.deliveries();
    for sequence in [2, 3, 1] {
        stream.ack(&bob, sequence);
    }
    drop(stream);
    let world = world.reopened();
    let mut stream = world.stream();
    stream.attach(&bob);
    let Some(Frame::Attached(attached)) = stream.frame() else { panic!("attached") };
    assert_eq!((attached.acked, attached.signature), (3, ack(&bob, 3).signature));
}

#[test]
fn a2_the_challenge_is_answered_for_this_relay_by_the_owner_key_or_refused() {
    let world = World::new();
    let bob = world.device();
    let elsewhere = RelayName::parse("other.example", 443).unwrap();
    let mut stream = world.stream();
    for (key, relay) in [(&bob.manage, name()), (&bob.owner, elsewhere), (&signing_key(), name())] {
        stream.attach_signed(&bob, key, &relay);
        assert!(matches!(stream.frame(), Some(Frame::Refused(_))));
    }
    stream.attach(&Device::new());
    assert!(matches!(stream.frame(), Some(Frame::Refused(_))), "an inbox that is not there");
}

#[test]
fn a2_peek_reads_without_taking_over_and_without_a_right_to_ack() {
    let world = World::new();
    let bob = with_mail(&world, 5);
    let mut stream = world.attached(&bob);
    let peek = Peek { inbox: bob.inbox.into(), after: 1, count_max: 2, bytes_max: 1_000 };
    let response = world.signed(&bob.owner, path::INBOX_PEEK, &peek);
    let peeked = Peeked::decode(response.body).unwrap();
    assert_eq!(peeked.deliveries.iter().map(|delivery| delivery.sequence).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(peeked.waiting, 2);
    assert_eq!(sequences(&mut stream), [1, 2, 3, 4, 5], "still attached, nothing lost");
    assert_eq!(code(&world.signed(&bob.manage, path::INBOX_PEEK, &peek)), "refused");
}

#[test]
fn a2_a_window_is_outstanding_and_an_ack_moves_it() {
    let world = World::new();
    let bob = with_mail(&world, 1_100);
    let mut stream = world.attached(&bob);
    let first = sequences(&mut stream);
    assert_eq!(first, (1..=1_024).collect::<Vec<u64>>(), "a whole window without a single acknowledgement");
    stream.ack(&bob, 1);
    assert_eq!(sequences(&mut stream), [1_025]);
    stream.ack(&bob, 100);
    assert_eq!(sequences(&mut stream), (1_026..=1_100).collect::<Vec<u64>>());
}

#[test]
fn a2_the_window_is_bounded_in_bytes_too() {
    let world = World::new();
    let bob = world.device();
    let tokens = [world.token(&bob, 1), world.token(&bob, 2)];
    let large = vec![7; 128 * 1024];
    for round in 0..40 {
        assert_eq!(world.put(&bob, &tokens[round % 2], &large), Sent::Accepted);
    }
    let mut stream = world.attached(&bob);
    let bytes: usize = stream.deliveries().iter().map(|delivery| delivery.payload.len() + delivery.header.len()).sum();
    assert!(bytes <= 4 * 1024 * 1024, "{bytes}");
    assert!(bytes > 3 * 1024 * 1024, "{bytes}");
    stream.ack(&bob, 20);
    assert!(!stream.deliveries().is_empty());
}

#[test]
fn a2_drained_is_said_once_all_that_waited_at_the_attach_is_out_and_not_before() {
    let world = World::new();
    let bob = world.device();
    let token = world.token(&bob, 1);
    for _ in 0..1_025 {
        world.put(&bob, &token, b"waits");
    }
    let mut stream = world.attached(&bob);
    world.put(&bob, &token, b"comes later");
    let frames = stream.frames();
    assert!(!frames.iter().any(|frame| matches!(frame, Frame::Drained(_))), "one of the old ones is still to come");
    stream.ack(&bob, 10);
    let frames = stream.frames();
    assert_eq!(frames.iter().filter(|frame| matches!(frame, Frame::Drained(_))).count(), 1);
}

#[test]
fn a2_several_inboxes_share_a_stream_and_none_waits_for_another() {
    let world = World::new();
    let (bob, carol) = (with_mail(&world, 1_200), with_mail(&world, 3));
    let mut stream = world.stream();
    stream.attach(&bob);
    stream.attach(&carol);
    let deliveries = stream.frames().into_iter().filter_map(|frame| match frame {
        Frame::Deliveries(deliveries) => Some((deliveries.inbox, deliveries.deliveries.len())),
        _ => None,
    });
    let deliveries: Vec<_> = deliveries.collect();
    let place = deliveries.iter().position(|(inbox, _)| inbox[..] == carol.inbox.as_bytes()[..]).unwrap();
    assert!(place <= 1, "the third frame at the latest is carol's");
    assert_eq!(deliveries.iter().map(|(_, count)| count).sum::<usize>(), 1_024 + 3);
}

#[test]
fn a2_no_frame_is_larger_than_the_protocol_allows() {
    let world = World::new();
    let bob = world.device();
    let token = world.token(&bob, 1);
    for size in [128 * 1024, 128 * 1024, 100, 128 * 1024, 60_000, 60_000, 60_000, 60_000] {
        let mut item = world.item(&bob, &token);
        item.header = vec![1; 1_200].into();
        assert_eq!(world.send(vec![item], &vec![2; size]), [Sent::Accepted]);
    }
    let mut stream = world.attached(&bob);
    let sizes: Vec<usize> = stream.raw_frames().iter().map(|frame| frame.len()).collect();
    assert!(sizes.iter().all(|size| *size <= sotto_protocol::limits::SERVER_FRAME_BYTES_MAX), "{sizes:?}");
}

#[test]
fn a2_attaching_twice_on_one_connection_begins_again_from_what_was_acknowledged() {
    let world = World::new();
    let bob = with_mail(&world, 3);
    let mut stream = world.attached(&bob);
    assert_eq!(sequences(&mut stream), [1, 2, 3]);
    stream.ack(&bob, 1);
    stream.attach(&bob);
    let Some(Frame::Attached(attached)) = stream.frame() else { panic!("attached again") };
    assert_eq!(attached.acked, 1);
    assert_eq!(sequences(&mut stream), [2, 3]);
    stream.ack(&bob, 3);
    assert!(stream.frame().is_none(), "the right is the new one");
}

#[test]
fn a2_taking_back_an_inbox_that_was_taken_over_keeps_it() {
    let world = World::new();
    let bob = with_mail(&world, 1);
    let mut one = world.attached(&bob);
    let other = world.attached(&bob);
    // The news of the take-over is still on its way when this connection attaches again.
    one.attach(&bob);
    drop(other);
    let frames = one.frames();
    assert!(!frames.iter().any(|frame| matches!(frame, Frame::Ended(_))));
    world.put(&bob, &world.token(&bob, 2), b"more");
    assert_eq!(one.deliveries().len(), 1);
}

#[test]
fn a2_deleting_an_inbox_ends_its_attachment() {
    let world = World::new();
    let bob = with_mail(&world, 1);
    let mut stream = world.attached(&bob);
    stream.frames();
    let delete = sotto_protocol::relay::InboxDelete { inbox: bob.inbox.into() };
    assert_eq!(world.signed(&bob.owner, path::INBOX_DELETE, &delete).status, 200);
    assert!(is_ended(stream.frame(), EndReason::Deleted));
    stream.attach(&bob);
    assert!(matches!(stream.frame(), Some(Frame::Refused(_))));
}

#[test]
fn a2_more_inboxes_than_a_phone_has_are_refused_on_one_stream() {
    let world = World::new();
    let mut stream = world.stream();
    for _ in 0..16 {
        stream.attach(&world.device());
    }
    assert!(!stream.frames().iter().any(|frame| matches!(frame, Frame::Refused(_))));
    stream.attach(&world.device());
    assert!(matches!(stream.frame(), Some(Frame::Refused(_))));
}

#[test]
fn a2_what_is_no_frame_ends_the_connection() {
    let world = World::new();
    for frame in [&b"\xff\xff\xff"[..], b"", &[0; 5_000]] {
        assert!(world.stream().give_raw(frame).is_err());
    }
    let short_inbox = b"\x12\x05\x0a\x01x\x10\x01";
    assert!(world.stream().give_raw(short_inbox).is_err());
}

#[test]
fn a2_guessing_at_inboxes_ends_the_connection() {
    let world = World::new();
    let mut stream = world.stream();
    for _ in 0..256 {
        stream.attach(&Device::new());
    }
    assert_eq!(stream.try_attach(&Device::new()), Err(sotto_relay::StreamEnd::TooManyAttempts));
}

#[test]
fn a2_the_server_tells_its_time_in_the_challenge_and_with_every_ping() {
    let mut world = World::new();
    let mut stream = world.stream();
    world.pass(std::time::Duration::from_secs(300));
    stream.tick(world.now);
    let Some(Frame::Tick(tick)) = stream.frame() else { panic!("a tick") };
    assert_eq!(tick.now_ms, world.now.as_ms());
}

#[test]
fn a2_an_expired_envelope_is_not_delivered_even_before_it_is_swept() {
    let mut world = World::new();
    let bob = world.device();
    let token = world.token(&bob, 1);
    for _ in 0..600 {
        let mut short = world.item(&bob, &token);
        short.lifetime = sotto_protocol::relay::Lifetime::Hour.into();
        world.send(vec![short], b"mail");
    }
    world.put(&bob, &token, b"mail");
    world.pass(std::time::Duration::from_secs(3600));
    assert!(world.sweep_once().unwrap().has_more, "some expired ones are left");
    assert_eq!(world.waiting(&bob).iter().map(|delivery| delivery.sequence).collect::<Vec<_>>(), [601]);
}

#[test]
fn a2_a_peek_is_bounded_in_count_and_bytes_and_the_first_one_always_comes() {
    let world = World::new();
    let bob = world.device();
    let token = world.token(&bob, 1);
    world.put(&bob, &token, &vec![1; 128 * 1024]);
    for _ in 0..60 {
        world.put(&bob, &token, b"small");
    }
    let peek = |after, count_max, bytes_max| {
        let peek = Peek { inbox: bob.inbox.into(), after, count_max, bytes_max };
        let peeked = Peeked::decode(world.signed(&bob.owner, path::INBOX_PEEK, &peek).body).unwrap();
        (peeked.deliveries.len(), peeked.waiting)
    };
    assert_eq!(peek(0, 50, 10), (1, 60));
    assert_eq!(peek(1, 1_000, u32::MAX), (50, 10));
    assert_eq!(peek(1, 50, 34), (3, 57), "eleven bytes each");
    assert_eq!(peek(61, 50, 1_000), (0, 0));
}

#[test]
fn a2_an_ack_counts_although_its_connection_ends_or_is_taken_over_right_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(SqliteOptions::file(directory.path().join("relay.sqlite"))).unwrap();
        let world = World::on(Arc::new(store));
        let (bob, token) = world.device_with_token().await;
        let mut older: Option<Stream> = None;
        for sequence in 1..=20 {
            assert_eq!(world.send_async(vec![world.item(&bob, &token)], b"mail").await, [Sent::Accepted]);
            let mut stream = world.stream();
            stream.attach_async(&bob).await;
            let Frame::Attached(attached) = stream.frame_async().await else { panic!("attached") };
            assert_eq!(attached.acked, sequence - 1);
            let Frame::Deliveries(deliveries) = stream.frame_async().await else { panic!("a delivery") };
            assert_eq!(deliveries.deliveries.iter().map(|one| one.sequence).collect::<Vec<_>>(), [sequence]);
            stream.ack_async(&bob, sequence).await;
            // Every other time the older connection is still there when the next one comes.
            older = (sequence % 2 == 0).then_some(stream);
        }
        drop(older);
    });
}

/// An attachment whose right had ended stayed, and what its device acknowledged was dropped without a word.
#[test]
fn a2_a_relay_that_cannot_say_where_an_inbox_stands_ends_the_stream_and_does_not_refuse() {
    let is_full = Arc::new(AtomicBool::new(false));
    let sees = Arc::clone(&is_full);
    let hook = Arc::new(move |_| if sees.load(Ordering::SeqCst) { StepFate::DiskFull } else { StepFate::Run });
    let world = World::on_bad_disk(hook, Arc::new(|_| panic!("a full disk is no reason to stop")));
    let bob = world.device();
    let mut stream = world.attached(&bob);
    stream.frames();
    is_full.store(true, Ordering::SeqCst);
    stream.attach(&bob);
    assert!(stream.has_ended());
    assert_eq!(world.relay.attached_count(), 0);
}
