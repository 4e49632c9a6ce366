//! What all connections share: places, each network's share of them, turns, and memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::connection::Witness;
use super::drain::Drain;
use super::guest::Guest;
use super::memory::Memory;
use super::network::{Network, Origin};
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
    pub(crate) memory: Memory,
    inside: Mutex<Inside>,
    left: Notify,
    next_id: AtomicU64,
}

#[derive(Default)]
struct Inside {
    count: usize,
    networks: HashMap<Network, Present>,
}

/// What one network has here.
struct Present {
    count: usize,
    handshakes: Share,
}

impl Door {
    pub(crate) fn new(
        relay: Arc<Relay>,
        limits: ShellLimits,
        witness: Option<Arc<dyn Witness>>,
        drain: Drain,
    ) -> Arc<Self> {
        let (handshakes, memory) = (Turns::new(limits.handshakes_max), Memory::new(&limits));
        let (inside, left, next_id) = (Mutex::default(), Notify::new(), AtomicU64::new(0));
        Arc::new(Self { relay, limits, witness, drain, handshakes, memory, inside, left, next_id })
    }

    pub(crate) fn let_in(self: &Arc<Self>, address: IpAddr) -> Option<Guest> {
        let origin = Origin::of(address);
        let mut inside = self.inside();
        if inside.count >= self.limits.connections_max {
            return None;
        }
        let per_address_max = self.limits.connections_per_address_max;
        let is_full = |network: Network| {
            let present = inside.networks.get(&network).map_or(0, |present| present.count);
            per_address_max > 0 && present >= network.connections(per_address_max)
        };
        if origin.networks().any(is_full) {
            return None;
        }
        let handshakes_max = self.limits.handshakes_per_address_max;
        let mut handshakes = None;
        for network in origin.networks() {
            let new = || Present { count: 0, handshakes: Share::new(handshakes_max) };
            let present = inside.networks.entry(network).or_insert_with(new);
            present.count += 1;
            // The first is the narrowest, and whose turns it takes.
            handshakes.get_or_insert_with(|| present.handshakes.clone());
        }
        inside.count += 1;
        self.relay.metrics.connections().inc();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let handshakes = handshakes.unwrap_or_else(|| Share::new(handshakes_max));
        Some(Guest::new(Arc::clone(self), origin, id, handshakes))
    }

    /// Gives a connection's place back.
    pub(crate) fn let_out(&self, origin: Origin) {
        let mut inside = self.inside();
        inside.count -= 1;
        for network in origin.networks() {
            if let Some(present) = inside.networks.get_mut(&network) {
                present.count -= 1;
                if present.count == 0 {
                    inside.networks.remove(&network);
                }
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

#[cfg(test)]
mod tests {
    use sotto_protocol::Timestamp;

    use super::*;
    use crate::relay::RelayConfig;
    use crate::store::{SqliteOptions, SqliteStore};

    fn door(limits: ShellLimits) -> Arc<Door> {
        let store = SqliteStore::open(SqliteOptions::memory()).unwrap();
        let name = sotto_protocol::RelayName::parse("relay.example", 443).unwrap();
        let relay = Relay::new(Arc::new(store), RelayConfig::open(name), Timestamp::from_ms(1_800_000_000_000));
        Door::new(relay, limits, None, Drain::default())
    }

    #[test]
    fn a_site_with_many_households_has_a_bound_of_its_own() {
        let door = door(ShellLimits { connections_per_address_max: 2, ..ShellLimits::default() });
        let come =
            |site: u32, household: u32| door.let_in(format!("2001:db8:{site:x}:{household:x}::1").parse().unwrap());
        let mut inside: Vec<Guest> =
            (0..16).flat_map(|household| [come(1, household), come(1, household)]).flatten().collect();
        assert_eq!(inside.len(), 32);
        assert!(come(1, 0).is_none() && come(1, 99).is_none(), "another household of a full site");
        inside.push(come(2, 99).unwrap());
        inside.push(door.let_in("192.0.2.1".parse().unwrap()).unwrap());
        inside.remove(0);
        assert!(come(1, 99).is_some(), "a place that is free is given again");
        drop(inside);
        assert!(door.inside().networks.is_empty());
    }
}
