//! The dispatcher: a courier for every device that has letters, one at a time each.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};

use crate::engine::Engine;
use crate::outbox::{self, courier};
use crate::peer::DeviceRow;
use crate::store::StoreError;

/// A device's courier that runs.
struct Busy {
    device: DeviceRow,
    /// Letters were found for it meanwhile: perhaps after its last look.
    has_more: bool,
}

/// Starts couriers as letters come. The first look waits until the second witness against a restored database has spoken.
///
/// Only a change makes a look at all devices. A courier that ends is followed by another for its own device alone, and only where a
/// look has found letters since it began: one that can do nothing waits for the next change, and two such ones wake each other never.
pub(crate) async fn run(engine: Arc<Engine>) {
    engine.witness.is_complete().await;
    let mut couriers = Couriers::default();
    loop {
        if !engine.is_rolled_back()
            && let Ok(devices) = destinations(&engine).await
        {
            devices.into_iter().for_each(|device| couriers.has_letters(&engine, device));
        }
        loop {
            tokio::select! {
                biased;
                Some(ended) = couriers.tasks.join_next_with_id() => couriers.ended(&engine, ended),
                () = engine.outbox_changed() => break,
            }
        }
    }
}

/// Those that run.
#[derive(Default)]
struct Couriers {
    tasks: JoinSet<()>,
    busy: HashMap<Id, Busy>,
}

impl Couriers {
    fn has_letters(&mut self, engine: &Arc<Engine>, device: DeviceRow) {
        if let Some(busy) = self.busy.values_mut().find(|busy| busy.device == device) {
            busy.has_more = true;
        } else {
            self.start(engine, device);
        }
    }

    fn start(&mut self, engine: &Arc<Engine>, device: DeviceRow) {
        let handle = self.tasks.spawn(courier::run(Arc::clone(engine), device));
        self.busy.insert(handle.id(), Busy { device, has_more: false });
    }

    fn ended(&mut self, engine: &Arc<Engine>, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        engine.status.progressed();
        if let Some(busy) = self.busy.remove(&id).filter(|busy| busy.has_more) {
            self.start(engine, busy.device);
        }
    }
}

async fn destinations(engine: &Arc<Engine>) -> Result<Vec<DeviceRow>, StoreError> {
    engine.read_after_write(outbox::destinations).await
}
