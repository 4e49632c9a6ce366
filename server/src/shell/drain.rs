use std::sync::Arc;

use tokio::sync::watch;

/// Says once to everybody that the relay is stopping.
#[derive(Clone)]
pub(crate) struct Drain(Arc<watch::Sender<bool>>);

impl Default for Drain {
    fn default() -> Self {
        Self(Arc::new(watch::channel(false).0))
    }
}

impl Drain {
    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Ready once the relay is stopping.
    pub(crate) async fn begun(&self) {
        // The sender is in `self`, so waiting does not fail.
        drop(self.0.subscribe().wait_for(|begun| *begun).await);
    }
}
