//! What calls hold in memory on their way: their bodies as they come in, then their answers until the peer has taken them.
//!
//! All of it is bounded, and so is each network's part. Small calls, which are nearly all that honest devices make, have a part for
//! themselves, so that large answers which nobody takes do not stand in their way. When a part is full, who has waited for its peer
//! longest makes room: an answer that is not taken first, then a body that does not end. Nobody is sent away before waiting as long as
//! somebody who is refused is told to wait, and nobody whom the relay itself keeps waiting.
//! Invariant: bytes are counted from when they are taken until their [`Load`] is dropped or was sent away, and once.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::guest::Guest;
use super::network::{Network, Origin};
use crate::limits::{SMALL_CALL_BYTES_MAX, SMALL_CALLS_PART, ShellLimits};

/// See the file's story.
pub(crate) struct Memory {
    bytes_max: [usize; 2],
    /// 0 when all come from one address.
    bytes_per_address_max: usize,
    patience: Duration,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    next_call: u64,
    calls: HashMap<u64, Held>,
    parts: [Part; 2],
    networks: HashMap<Network, usize>,
}

/// Small calls' part of the memory, or the others'.
#[derive(Default)]
struct Part {
    bytes: usize,
    /// Who waits for its peer, by what for, since when.
    waiting: [BTreeSet<(Instant, u64)>; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Size {
    Small = 0,
    Large = 1,
}

/// What a call waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waiting {
    /// That its answer is taken. These go first.
    Answer = 0,
    /// The rest of its body.
    Body = 1,
}

/// What one call holds.
struct Held {
    bytes: usize,
    size: Size,
    /// `None` while the relay works on it.
    waiting: Option<(Waiting, Instant)>,
    origin: Origin,
    /// Ends its connection.
    sent_away: Arc<Notify>,
}

impl Size {
    const fn of(bytes: usize) -> Self {
        if bytes < SMALL_CALL_BYTES_MAX { Self::Small } else { Self::Large }
    }
}

impl Memory {
    pub(crate) fn new(limits: &ShellLimits) -> Self {
        let small = limits.load_bytes_max / SMALL_CALLS_PART;
        // Behind a proxy all come from one address.
        let is_shared = limits.connections_per_address_max > 0;
        Self {
            bytes_max: [small, limits.load_bytes_max - small],
            bytes_per_address_max: if is_shared { limits.load_bytes_per_address_max } else { 0 },
            patience: limits.load_patience,
            inside: Mutex::default(),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room in a part for a call, by sending others away if need be.
    fn make_room(&self, inside: &mut Inside, call: u64, size: Size, bytes: usize) -> bool {
        let bytes_max = self.bytes_max[size as usize];
        if bytes > bytes_max {
            return false;
        }
        let until = Instant::now().checked_sub(self.patience);
        while inside.parts[size as usize].bytes + bytes > bytes_max {
            let waits_longest = until.and_then(|until| inside.waits_longest(size, until));
            match waits_longest {
                Some(other) if other != call => inside.send_away(other),
                _ => return false,
            }
        }
        true
    }
}

impl Inside {
    /// Of those who began to wait before a moment, and hold something that they could give back.
    fn waits_longest(&self, size: Size, until: Instant) -> Option<u64> {
        let holds_something = |call: &u64| self.calls.get(call).is_some_and(|held| held.bytes > 0);
        let of_kind = |waiting: &BTreeSet<(Instant, u64)>| {
            let old = waiting.iter().take_while(|(since, _)| *since <= until);
            old.map(|(_, call)| *call).find(holds_something)
        };
        self.parts[size as usize].waiting.iter().find_map(of_kind)
    }

    fn send_away(&mut self, call: u64) {
        if let Some(held) = self.forget(call) {
            held.sent_away.notify_one();
        }
    }

    /// Gives back all that a call holds.
    fn forget(&mut self, call: u64) -> Option<Held> {
        self.set_waiting(call, None);
        let held = self.calls.remove(&call)?;
        self.parts[held.size as usize].bytes -= held.bytes;
        self.give_back(held.origin, held.bytes);
        Some(held)
    }

    fn give_back(&mut self, origin: Origin, bytes: usize) {
        for network in origin.networks() {
            if let Some(of_network) = self.networks.get_mut(&network) {
                *of_network -= bytes;
                if *of_network == 0 {
                    self.networks.remove(&network);
                }
            }
        }
    }

    fn set_waiting(&mut self, call: u64, waiting: Option<(Waiting, Instant)>) {
        let Some(held) = self.calls.get_mut(&call) else { return };
        let part = &mut self.parts[held.size as usize];
        if let Some((what, since)) = std::mem::replace(&mut held.waiting, waiting) {
            part.waiting[what as usize].remove(&(since, call));
        }
        if let Some((what, since)) = waiting {
            part.waiting[what as usize].insert((since, call));
        }
    }
}

/// Bytes of one call in memory; given back when it is dropped.
pub(crate) struct Load {
    guest: Arc<Guest>,
    call: u64,
}

impl Load {
    /// Of a call whose body is awaited.
    pub(crate) fn new(guest: Arc<Guest>) -> Self {
        let mut inside = guest.door.memory.inside();
        let call = inside.next_call;
        inside.next_call += 1;
        let (origin, sent_away) = (guest.origin, Arc::clone(&guest.sent_away));
        inside.calls.insert(call, Held { bytes: 0, size: Size::Small, waiting: None, origin, sent_away });
        inside.set_waiting(call, Some((Waiting::Body, Instant::now())));
        drop(inside);
        Self { guest, call }
    }

    /// Takes that many bytes more, if there is room for them.
    pub(crate) fn add(&self, bytes: usize) -> bool {
        let memory = &self.guest.door.memory;
        let mut inside = memory.inside();
        let Some(held) = inside.calls.get(&self.call) else { return false };
        let (before, size, waiting) = (held.bytes, held.size, held.waiting);
        let new_size = Size::of(before + bytes).max(size);
        let is_shared_out = memory.bytes_per_address_max > 0
            && self.guest.origin.networks().any(|network| {
                let of_network = inside.networks.get(&network).copied().unwrap_or_default();
                of_network + bytes > network.memory(memory.bytes_per_address_max)
            });
        let needed = if new_size == size { bytes } else { before + bytes };
        if is_shared_out || !memory.make_room(&mut inside, self.call, new_size, needed) {
            return false;
        }
        // It may move to the other part, and waits there then.
        inside.set_waiting(self.call, None);
        inside.parts[size as usize].bytes -= before;
        inside.parts[new_size as usize].bytes += before + bytes;
        for network in self.guest.origin.networks().filter(|_| bytes > 0) {
            *inside.networks.entry(network).or_default() += bytes;
        }
        if let Some(held) = inside.calls.get_mut(&self.call) {
            (held.bytes, held.size) = (before + bytes, new_size);
        }
        inside.set_waiting(self.call, waiting);
        true
    }

    /// The body is there: from now on it is the relay's turn.
    pub(crate) fn is_whole(&self) {
        self.guest.door.memory.inside().set_waiting(self.call, None);
    }

    /// Keeps that many of what it has for the answer, gives the rest back, and waits for the peer.
    pub(crate) fn is_answered(&self, bytes: usize) {
        let mut inside = self.guest.door.memory.inside();
        let Some(held) = inside.calls.get_mut(&self.call) else { return };
        let surplus = held.bytes.saturating_sub(bytes);
        held.bytes -= surplus;
        let size = held.size;
        inside.parts[size as usize].bytes -= surplus;
        inside.give_back(self.guest.origin, surplus);
        inside.set_waiting(self.call, Some((Waiting::Answer, Instant::now())));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.guest.door.memory.inside().forget(self.call);
    }
}

#[cfg(test)]
mod tests {
    use sotto_protocol::Timestamp;

    use super::*;
    use crate::relay::{Relay, RelayConfig};
    use crate::shell::door::Door;
    use crate::shell::drain::Drain;
    use crate::store::{SqliteOptions, SqliteStore};

    const LARGE: usize = SMALL_CALL_BYTES_MAX;

    /// Room for four calls of the large size, and a small part of as much as one of them.
    fn limits() -> ShellLimits {
        ShellLimits {
            load_bytes_max: 4 * LARGE * SMALL_CALLS_PART / (SMALL_CALLS_PART - 1),
            load_bytes_per_address_max: 3 * LARGE,
            load_patience: Duration::ZERO,
            ..ShellLimits::default()
        }
    }

    fn door(limits: ShellLimits) -> Arc<Door> {
        let store = SqliteStore::open(SqliteOptions::memory()).unwrap();
        let name = sotto_protocol::RelayName::parse("relay.example", 443).unwrap();
        let relay = Relay::new(Arc::new(store), RelayConfig::open(name), Timestamp::from_ms(1_800_000_000_000));
        Door::new(relay, limits, None, Drain::default())
    }

    /// A call on a connection of its own, from an address of its own unless a site is given.
    fn call(door: &Arc<Door>, address: &str) -> Load {
        Load::new(Arc::new(door.let_in(address.parse().unwrap()).unwrap()))
    }

    fn is_there(load: &Load) -> bool {
        load.guest.door.memory.inside().calls.contains_key(&load.call)
    }

    #[test]
    fn small_calls_have_room_when_large_ones_have_taken_theirs() {
        let door = door(ShellLimits { load_patience: Duration::from_secs(3_600), ..limits() });
        let large: Vec<Load> = (0..4).map(|number| call(&door, &format!("192.0.2.{number}"))).collect();
        assert!(large.iter().all(|load| load.add(LARGE)));
        assert!(!call(&door, "192.0.2.9").add(LARGE));
        let small = call(&door, "192.0.2.9");
        assert!(small.add(LARGE - 1));
        assert!(!small.add(1), "it is small no more");
        drop(large);
        assert!(small.add(1));
        drop(small);
        let inside = door.memory.inside();
        assert!(inside.calls.is_empty() && inside.networks.is_empty());
        assert!(inside.parts.iter().all(|part| part.bytes == 0 && part.waiting.iter().all(BTreeSet::is_empty)));
    }

    #[test]
    fn who_waits_longest_makes_room_answers_before_bodies_and_never_who_waits_for_us() {
        let door = door(limits());
        let [body, ours, first, second] = [1, 2, 3, 4].map(|number| call(&door, &format!("192.0.2.{number}")));
        assert!([&body, &ours, &first, &second].iter().all(|load| load.add(LARGE)));
        for load in [&ours, &first, &second] {
            load.is_whole();
        }
        first.is_answered(LARGE);
        second.is_answered(LARGE);
        let new: Vec<Load> = (10..13).map(|number| call(&door, &format!("192.0.2.{number}"))).collect();
        let mut left = [&first, &second, &body].into_iter();
        for load in &new {
            assert!(load.add(LARGE));
            load.is_whole();
            assert!(!is_there(left.next().unwrap()));
            assert!(left.clone().all(is_there) && is_there(&ours));
        }
        assert!(!call(&door, "192.0.2.20").add(LARGE), "nobody waits for a peer");
        assert!(!first.add(1), "who was sent away takes nothing more");
        drop(left);
        drop((first, second, body, ours, new));
        assert_eq!(door.memory.inside().parts[1].bytes, 0);
    }

    #[test]
    fn who_holds_nothing_is_not_sent_away_for_nothing() {
        let door = door(limits());
        let empty: Vec<Load> = (0..4).map(|number| call(&door, &format!("192.0.2.{number}"))).collect();
        let full = call(&door, "192.0.2.9");
        assert!(full.add(LARGE - 1));
        assert!(call(&door, "192.0.2.10").add(LARGE - 1));
        assert!(empty.iter().all(is_there) && !is_there(&full));
    }

    #[test]
    fn nobody_makes_room_before_having_waited_as_long_as_who_is_refused() {
        let door = door(ShellLimits { load_patience: Duration::from_secs(3_600), ..limits() });
        let waiting: Vec<Load> = (0..4).map(|number| call(&door, &format!("192.0.2.{number}"))).collect();
        assert!(waiting.iter().all(|load| load.add(LARGE)));
        waiting.iter().for_each(|load| load.is_answered(LARGE));
        assert!(!call(&door, "192.0.2.9").add(LARGE));
        assert!(waiting.iter().all(is_there));
    }

    #[test]
    fn one_address_and_one_site_get_their_share_and_no_more() {
        let door = door(ShellLimits { load_bytes_max: 64 * LARGE, ..limits() });
        let address = call(&door, "192.0.2.1");
        assert!(address.add(3 * LARGE) && !address.add(1));
        // Twice that for all households of a site together.
        let site: Vec<Load> = (0..6).map(|household| call(&door, &format!("2001:db8:1:{household}::1"))).collect();
        assert!(site.iter().all(|load| load.add(LARGE)));
        assert!(!call(&door, "2001:db8:1:99::1").add(1) && call(&door, "2001:db8:2:99::1").add(1));
        site[0].is_answered(LARGE - 1);
        assert!(call(&door, "2001:db8:1:99::1").add(1), "what is given back is there for others");
    }
}
