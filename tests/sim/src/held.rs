//! A post that holds every letter back until a test lets it go, in whatever order: the relays have taken it, as far as its sender knows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sotto_protocol::Message as _;
use sotto_protocol::relay::{SendOutcome, SendResult, SendResults};
use sotto_protocol::request::path;

use crate::{Envelope, Fate, Network, envelopes_of};

/// Letters that were sent and have not arrived. Tokens are not dropped meanwhile: what was taken under one arrives, however late.
#[derive(Clone, Default)]
pub struct HeldPost {
    letters: Arc<Mutex<Vec<Envelope>>>,
    is_open: Arc<AtomicBool>,
}

impl HeldPost {
    /// Holds back everything that is sent from now on.
    #[must_use]
    pub fn begin(network: &Network) -> Self {
        let held = Self::default();
        let post = held.clone();
        network.meddle(Some(Box::new(move |call| match call.path {
            path::TOKEN_DROP => Fate::Answered(Default::default()),
            path::SEND if !post.is_open.load(Ordering::SeqCst) => {
                let letters = envelopes_of(call);
                let accepted = SendResult { outcome: SendOutcome::Accepted.into(), ..SendResult::default() };
                let results = vec![accepted; letters.len()];
                post.letters.lock().unwrap_or_else(PoisonError::into_inner).extend(letters);
                Fate::Answered(SendResults { results }.encode_to_vec().into())
            }
            _ => Fate::Passes,
        })));
        held
    }

    /// The letters that were sent since this was asked last.
    #[must_use]
    pub fn take(&self) -> Vec<Envelope> {
        std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One of them arrives. Says whether its relay took it.
    pub async fn deliver(&self, network: &Network, letter: &Envelope) -> bool {
        self.is_open.store(true, Ordering::SeqCst);
        let taken = network.put(letter).await;
        self.is_open.store(false, Ordering::SeqCst);
        taken
    }

    /// Letters pass again.
    pub fn end(self, network: &Network) {
        network.meddle(None);
    }
}
