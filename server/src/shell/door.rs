//! What all connections share: places, each address's share of them, and the memory that bodies and answers take on their way.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::connection::Witness;
use super::drain::Drain;
use super::guest::Guest;
use super::turns::{Share, Turns};
use crate::limits::ShellLimits;
use crate::relay::Relay;

/// See the file's story.
pub(crate) struct Door {
    pub(crate) relay: Arc<Relay>,
    pub(crate) limits: ShellLimits,
    pub(crate) witness: Option<Arc<dyn Witness>>,
    pub(crate) drain: Drain,
    pub(crate) handshakes: Turns,
    inside: Mutex<Inside>,
    left: Notify,
    next_id: AtomicU64,
}

#[derive(Default)]
struct Inside {
    count: usize,
    bytes: usize,
    addresses: HashMap<IpAddr, Address>,
}

/// What one address has here.
struct Address {
    count: usize,
    bytes: usize,
    handshakes: Share,
}

impl Door {
    pub(crate) fn new(
        relay: Arc<Relay>,
        limits: ShellLimits,
        witness: Option<Arc<dyn Witness>>,
        drain: Drain,
    ) -> Arc<Self> {
        let handshakes = Turns::new(limits.handshakes_max);
        let (inside, left, next_id) = (Mutex::default(), Notify::new(), AtomicU64::new(0));
        Arc::new(Self { relay, limits, witness, drain, handshakes, inside, left, next_id })
    }

    pub(crate) fn let_in(self: &Arc<Self>, address: IpAddr) -> Option<Guest> {
        let address = neighbourhood(address);
        let mut inside = self.inside();
        if inside.count >= self.limits.connections_max {
            return None;
        }
        let per_address_max = self.limits.connections_per_address_max;
        let handshakes_max = self.limits.handshakes_per_address_max;
        let new = || Address { count: 0, bytes: 0, handshakes: Share::new(handshakes_max) };
        let of_address = inside.addresses.entry(address).or_insert_with(new);
        if per_address_max > 0 && of_address.count >= per_address_max {
            return None;
        }
        of_address.count += 1;
        let handshakes = of_address.handshakes.clone();
        inside.count += 1;
        self.relay.metrics.connections().inc();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        Some(Guest::new(Arc::clone(self), address, id, handshakes))
    }

    /// Gives a connection's place back.
    pub(crate) fn let_out(&self, address: IpAddr) {
        let mut inside = self.inside();
        inside.count -= 1;
        if let Some(of_address) = inside.addresses.get_mut(&address) {
            of_address.count -= 1;
            if of_address.count == 0 {
                inside.addresses.remove(&address);
            }
        }
        drop(inside);
        self.relay.metrics.connections().dec();
        self.left.notify_waiters();
    }

    /// Waits until the last connection is gone, or for `patience`.
    pub(crate) async fn wait_until_empty(&self, patience: Duration) {
        let empty = async {
            loop {
                let left = self.left.notified();
                if self.inside().count == 0 {
                    return;
                }
                left.await;
            }
        };
        if timeout(patience, empty).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one address: of IPv6, the network that a household gets.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// Bytes of one call in memory, its body's as they come in and then its answer's; given back when it is dropped.
pub(crate) struct Load {
    guest: Arc<Guest>,
    bytes: usize,
}

impl Load {
    pub(crate) const fn new(guest: Arc<Guest>) -> Self {
        Self { guest, bytes: 0 }
    }

    /// Takes that many bytes more, if there is room for them.
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        let limits = &self.guest.door.limits;
        let mut inside = self.guest.door.inside();
        // A connection's address is there as long as the connection.
        let Some(of_address) = inside.addresses.get(&self.guest.address) else { return false };
        let has_room = inside.bytes + bytes <= limits.load_bytes_max
            // Behind a proxy all come from one address.
            && (limits.connections_per_address_max == 0
                || of_address.bytes + bytes <= limits.load_bytes_per_address_max);
        if has_room {
            Self::change(&mut inside, self.guest.address, |held| held + bytes);
            self.bytes += bytes;
        }
        has_room
    }

    /// Keeps that many of what it has and gives the rest back.
    pub(crate) fn keep(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        Self::change(&mut self.guest.door.inside(), self.guest.address, |held| held.saturating_sub(surplus));
        self.bytes -= surplus;
    }

    fn change(inside: &mut Inside, address: IpAddr, change: impl Fn(usize) -> usize) {
        inside.bytes = change(inside.bytes);
        if let Some(of_address) = inside.addresses.get_mut(&address) {
            of_address.bytes = change(of_address.bytes);
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.keep(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_one_ipv6_network_count_as_one_address() {
        let of = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::1"), of("2001:db8:1:2:4::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
