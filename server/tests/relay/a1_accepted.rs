//! A1: accepted means on stable storage, or acknowledged by the recipient; sequence numbers are never given out twice.

use crate::support::{Sent, World};

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
