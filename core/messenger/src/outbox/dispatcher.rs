//! The dispatcher: a courier for every device that has letters, one at a time each.

use std::collections::HashMap;
use std::sync::Arc;

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
pub(crate) async fn run(engine: Arc<Engine>) {
    engine.witness.is_complete().await;
    let mut couriers = tokio::task::JoinSet::new();
    let mut busy: HashMap<tokio::task::Id, Busy> = HashMap::new();
    loop {
        if !engine.is_rolled_back()
            && let Ok(devices) = destinations(&engine).await
        {
            for device in devices {
                if let Some(busy) = busy.values_mut().find(|busy| busy.device == device) {
                    busy.has_more = true;
                } else {
                    let handle = couriers.spawn(courier::run(Arc::clone(&engine), device));
                    busy.insert(handle.id(), Busy { device, has_more: false });
                }
            }
        }
        // A courier that ended is started again only when letters were found since it began: one that can do nothing for its device
        // waits for the next change like everybody else.
        loop {
            tokio::select! {
                biased;
                Some(ended) = couriers.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => error.id(),
                    };
                    engine.status.progressed();
                    if busy.remove(&id).is_some_and(|busy| busy.has_more) {
                        break;
                    }
                }
                () = engine.outbox_changed() => break,
            }
        }
    }
}

async fn destinations(engine: &Arc<Engine>) -> Result<Vec<DeviceRow>, StoreError> {
    engine.read_after_write(outbox::destinations).await
}
