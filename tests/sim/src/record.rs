//! One hash over everything that happened, in order: two runs of one seed must agree in it.

use sha2::{Digest as _, Sha256};
use sotto_protocol::Timestamp;

/// See the file's story.
#[derive(Clone, Default)]
pub(crate) struct Record(Sha256);

impl Record {
    pub(crate) fn add(&mut self, now: Timestamp, parts: &[&[u8]]) {
        self.0.update(now.as_ms().to_le_bytes());
        for part in parts {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }
}
