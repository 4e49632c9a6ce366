//! The door to the network, shut while the engine pauses: what is under way ends there, and nothing begins.
//!
//! Without it a caller whose network is taken away would be told that a relay failed; so they are told that the engine pauses.
//! Not here: streams that stand, which end with the task that reads them, and sockets, which the transport closes.

use std::sync::Arc;

use sotto_protocol::RelayAddress;

use super::Phase;
use crate::watched::Watched;
use crate::world::{Answer, BoxFuture, Call, RelayStream, Transport, TransportError};

/// See the file's story.
pub(crate) struct Gate {
    behind: Arc<dyn Transport>,
    phase: Watched<Phase>,
}

impl Gate {
    pub(crate) fn before(behind: Arc<dyn Transport>, phase: Watched<Phase>) -> Arc<Self> {
        Arc::new(Self { behind, phase })
    }

    async fn unless_paused<T>(
        &self,
        reaches: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        let mut phase = self.phase.watcher();
        tokio::select! {
            biased;
            () = phase.until(|phase| *phase == Phase::Paused) => Err(TransportError::Paused),
            reached = reaches => reached,
        }
    }
}

impl Transport for Gate {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, TransportError>> {
        Box::pin(self.unless_paused(self.behind.call(call)))
    }

    fn stream(&self, relay: &RelayAddress) -> BoxFuture<'_, Result<Box<dyn RelayStream>, TransportError>> {
        Box::pin(self.unless_paused(self.behind.stream(relay)))
    }

    fn reset(&self) {
        self.behind.reset();
    }

    fn hang_up(&self) -> BoxFuture<'_, ()> {
        self.behind.hang_up()
    }
}
