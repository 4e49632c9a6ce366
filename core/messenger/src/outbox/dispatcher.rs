//! The dispatcher: a courier for every device that has letters, one at a time each.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::Engine;
use crate::outbox::{self, courier};
use crate::peer::DeviceRow;

/// Starts couriers as letters come.
pub(crate) async fn run(engine: Arc<Engine>) {
    let mut couriers = tokio::task::JoinSet::new();
    let mut busy: HashMap<tokio::task::Id, DeviceRow> = HashMap::new();
    loop {
        if !engine.is_rolled_back()
            && let Ok(devices) = engine.read(|_, view| outbox::destinations(view)).await
        {
            let idle: Vec<_> = devices.into_iter().filter(|device| !busy.values().any(|busy| busy == device)).collect();
            for device in idle {
                let handle = couriers.spawn(courier::run(Arc::clone(&engine), device));
                busy.insert(handle.id(), device);
            }
        }
        tokio::select! {
            biased;
            Some(ended) = couriers.join_next_with_id() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(error) => error.id(),
                };
                // Round again: letters may have come between its last look and its end.
                busy.remove(&id);
                engine.status.progressed();
            }
            () = engine.outbox_changed() => {}
        }
    }
}
