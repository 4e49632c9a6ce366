//! The dispatcher: a courier for every device that has letters, one at a time each.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use tokio::task::{Id, JoinSet};

use crate::engine::{Engine, LOOK_AGAIN};
use crate::outbox::{self, courier};
use crate::peer::DeviceRow;
use crate::store::StoreError;

/// Starts couriers as letters come. The first look waits until the second witness against a restored database has spoken.
///
/// Only a change makes a look at all devices. A courier that ends is followed by another for its own device alone, and only where a
/// look has found letters since it began: one that can do nothing waits for the next change, and two such ones wake each other never.
pub(crate) async fn run(engine: Arc<Engine>) {
    engine.witness.is_complete().await;
    let mut couriers = Couriers::new(|device| courier::run(Arc::clone(&engine), device));
    loop {
        let mut has_looked = true;
        if !engine.is_rolled_back() {
            match destinations(&engine).await {
                Ok(devices) => devices.into_iter().for_each(|device| couriers.has_letters(device)),
                Err(_) => has_looked = false,
            }
        }
        let mut again = std::pin::pin!(engine.clock.sleep(LOOK_AGAIN));
        loop {
            tokio::select! {
                biased;
                () = couriers.ended() => engine.status.progressed(),
                () = engine.outbox_changed() => break,
                () = &mut again, if !has_looked => break,
            }
        }
    }
}

/// Those that run, and how one is begun.
struct Couriers<B> {
    begin: B,
    tasks: JoinSet<()>,
    busy: HashMap<Id, Busy>,
}

/// A device's courier that runs.
struct Busy {
    device: DeviceRow,
    /// Letters were found for it meanwhile: perhaps after its last look.
    has_more: bool,
}

impl<B, C> Couriers<B>
where
    B: Fn(DeviceRow) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    fn new(begin: B) -> Self {
        Self { begin, tasks: JoinSet::new(), busy: HashMap::new() }
    }

    /// Letters for a device were found.
    fn has_letters(&mut self, device: DeviceRow) {
        if let Some(busy) = self.busy.values_mut().find(|busy| busy.device == device) {
            busy.has_more = true;
        } else {
            self.start(device);
        }
    }

    fn start(&mut self, device: DeviceRow) {
        let handle = self.tasks.spawn((self.begin)(device));
        self.busy.insert(handle.id(), Busy { device, has_more: false });
    }

    /// Ready when one has ended, and was begun again where that had to be; never while none runs.
    async fn ended(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        if let Some(busy) = self.busy.remove(&id).filter(|busy| busy.has_more) {
            self.start(busy.device);
        }
    }
}

async fn destinations(engine: &Arc<Engine>) -> Result<Vec<DeviceRow>, StoreError> {
    engine.read_after_write(outbox::destinations).await
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn a_courier_that_ends_is_begun_again_where_letters_were_found_meanwhile_and_no_other_is() {
        let begun = RefCell::new(Vec::new());
        let mut couriers = Couriers::new(|device| {
            begun.borrow_mut().push(device.0);
            std::future::ready(())
        });
        for device in [1, 2, 1, 2, 3] {
            couriers.has_letters(DeviceRow(device));
        }
        while !couriers.busy.is_empty() {
            couriers.ended().await;
            assert!(begun.borrow().len() <= 5, "{begun:?}");
        }
        begun.borrow_mut().sort_unstable();
        assert_eq!(*begun.borrow(), [1, 1, 2, 2, 3]);
    }
}
