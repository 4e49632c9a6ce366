//! A2: acknowledging is a right of the connection that delivered; attaching takes over; peeking does neither.

use sotto_protocol::relay::{EndReason, Peek, Peeked, server_frame::Frame};
use sotto_protocol::request::path;
use sotto_protocol::{Message, RelayName};

use crate::support::{Device, Sent, Stream, World, code, name, signing_key};

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
