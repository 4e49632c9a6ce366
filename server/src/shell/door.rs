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
use crate::limits::{ATTACHED_PER_CONNECTION, ShellLimits};
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
    /// Streams with an inbox attached.
    attached: usize,
    /// All other connections.
    others: usize,
    handshakes: Share,
}

impl Inside {
    fn change(&mut self, origin: Origin, change: impl Fn(&mut Present)) {
        for network in origin.networks() {
            if let Some(present) = self.networks.get_mut(&network) {
                change(present);
            }
        }
    }
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
            let others = inside.networks.get(&network).map_or(0, |present| present.others);
            per_address_max > 0 && others >= network.connections(per_address_max)
        };
        if origin.networks().any(is_full) {
            return None;
        }
        let handshakes_max = self.limits.handshakes_per_address_max;
        let mut handshakes = None;
        for network in origin.networks() {
            let new = || Present { attached: 0, others: 0, handshakes: Share::new(handshakes_max) };
            let present = inside.networks.entry(network).or_insert_with(new);
            present.others += 1;
            // The first is the narrowest, and whose turns it takes.
            handshakes.get_or_insert_with(|| present.handshakes.clone());
        }
        inside.count += 1;
        self.relay.metrics.connections().inc();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let handshakes = handshakes.unwrap_or_else(|| Share::new(handshakes_max));
        Some(Guest::new(Arc::clone(self), origin, id, handshakes))
    }

    /// An inbox was attached on a connection: it counts among those from now on, where the wider bound has room. Says whether it does.
    pub(crate) fn attach(&self, origin: Origin) -> bool {
        let mut inside = self.inside();
        let attached_max = self.limits.connections_per_address_max.saturating_mul(ATTACHED_PER_CONNECTION);
        let is_full = |network: Network| {
            let attached = inside.networks.get(&network).map_or(0, |present| present.attached);
            attached_max > 0 && attached >= network.connections(attached_max)
        };
        if origin.networks().any(is_full) {
            return false;
        }
        inside
            .change(origin, |present| (present.attached, present.others) = (present.attached + 1, present.others - 1));
        true
    }

    /// The last inbox on a connection that counted among those is attached no more.
    pub(crate) fn detach(&self, origin: Origin) {
        let back =
            |present: &mut Present| (present.attached, present.others) = (present.attached - 1, present.others + 1);
        self.inside().change(origin, back);
    }

    /// Gives a connection's place back.
    pub(crate) fn let_out(&self, origin: Origin) {
        let mut inside = self.inside();
        inside.count -= 1;
        inside.change(origin, |present| present.others -= 1);
        for network in origin.networks() {
            if inside.networks.get(&network).is_some_and(|present| present.attached + present.others == 0) {
                inside.networks.remove(&network);
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
            (0..4).flat_map(|household| [come(1, household), come(1, household)]).flatten().collect();
        assert_eq!(inside.len(), 8);
        assert!(come(1, 0).is_none() && come(1, 99).is_none(), "another household of a full site");
        inside.push(come(2, 99).unwrap());
        inside.push(door.let_in("192.0.2.1".parse().unwrap()).unwrap());
        inside.remove(0);
        assert!(come(1, 99).is_some(), "a place that is free is given again");
        drop(inside);
        assert!(door.inside().networks.is_empty());
    }

    #[test]
    fn a_carriers_address_holds_a_thousand_attached_phones_and_others_besides() {
        let door = door(ShellLimits::default());
        let come = || door.let_in("192.0.2.1".parse().unwrap());
        let phones: Vec<Guest> = (0..1_000).map(|_| come().expect("there is room")).inspect(attach).collect();
        let mut others: Vec<Guest> = std::iter::from_fn(come).collect();
        assert_eq!(others.len(), door.limits.connections_per_address_max, "those that own nothing have a bound");
        others.iter().for_each(attach);
        let more: Vec<Guest> = std::iter::from_fn(come).collect();
        assert_eq!(more.len(), 24, "and so have those that do");
        // Whose inbox was taken over is one of the others again, until its connection ends.
        phones[0].set_attached(false);
        others.pop();
        assert!(come().is_none());
        drop((phones, others, more));
        assert!(door.inside().networks.is_empty());
    }

    fn attach(guest: &Guest) {
        guest.set_attached(true);
    }
}
