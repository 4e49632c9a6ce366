//! A post that holds every letter back until a test lets it go, in whatever order: the relays have taken it, as far as its sender knows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sotto_protocol::relay::{SendOutcome, SendResult, SendResults};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message as _};

use crate::{Envelope, Fate, Network, envelopes_of};

/// Letters that were sent and have not arrived. Tokens are not dropped meanwhile: what was taken under one arrives, however late.
#[derive(Clone, Default)]
pub struct HeldPost {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    letters: Vec<Envelope>,
    /// The payload of the one that passes.
    delivered: Bytes,
}

impl HeldPost {
    /// Holds back everything that is sent from now on.
    #[must_use]
    pub fn begin(network: &Network) -> Self {
        let held = Self::default();
        let post = held.clone();
        network.meddle(Some(Box::new(move |call| match call.path {
            path::TOKEN_DROP => Fate::Answered(Default::default()),
            path::SEND => {
                let letters = envelopes_of(call);
                if letters.iter().all(|letter| letter.payload == post.inner().delivered) {
                    return Fate::Passes;
                }
                let accepted = SendResult { outcome: SendOutcome::Accepted.into(), ..SendResult::default() };
                let results = vec![accepted; letters.len()];
                post.inner().letters.extend(letters);
                Fate::Answered(SendResults { results }.encode_to_vec().into())
            }
            _ => Fate::Passes,
        })));
        held
    }

    /// The letters that were sent since this was asked last.
    #[must_use]
    pub fn take(&self) -> Vec<Envelope> {
        std::mem::take(&mut self.inner().letters)
    }

    /// One of them arrives, and nothing else. Says whether its relay took it.
    pub async fn deliver(&self, network: &Network, letter: &Envelope) -> bool {
        self.inner().delivered = letter.payload.clone();
        network.put(letter).await
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Letters pass again.
    pub fn end(self, network: &Network) {
        network.meddle(None);
    }
}
