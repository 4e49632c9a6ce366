//! A keystore in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sotto_core::world::{SecretStore, SecretStoreError};
use zeroize::Zeroizing;

/// A keystore that a test can copy, lock and roll back. Clones share the same entries.
#[derive(Clone, Default)]
pub struct MemorySecrets {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone, Default)]
struct Inner {
    entries: BTreeMap<String, Vec<u8>>,
    failure: Option<SecretStoreError>,
    keeps_nothing_new: bool,
}

impl MemorySecrets {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another keystore with what this one holds now.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { inner: Arc::new(Mutex::new(self.inner().clone())) }
    }

    /// Every call fails like this, or none.
    pub fn fail_with(&self, failure: Option<SecretStoreError>) {
        self.inner().failure = failure;
    }

    /// What it has can be read, and nothing new is taken.
    pub fn keep_nothing_new(&self, so: bool) {
        self.inner().keeps_nothing_new = so;
    }
}

impl SecretStore for MemorySecrets {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SecretStoreError> {
        let inner = self.inner();
        match inner.failure {
            Some(failure) => Err(failure),
            None => Ok(inner.entries.get(name).cloned().map(Zeroizing::new)),
        }
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), SecretStoreError> {
        let mut inner = self.inner();
        match inner.failure {
            Some(failure) => Err(failure),
            None if inner.keeps_nothing_new => Err(SecretStoreError::Failed),
            None => {
                inner.entries.insert(name.to_owned(), secret.to_vec());
                Ok(())
            }
        }
    }

    fn delete(&self, name: &str) -> Result<(), SecretStoreError> {
        let mut inner = self.inner();
        match inner.failure {
            Some(failure) => Err(failure),
            None => {
                inner.entries.remove(name);
                Ok(())
            }
        }
    }

    fn list(&self) -> Result<Vec<String>, SecretStoreError> {
        let inner = self.inner();
        match inner.failure {
            Some(failure) => Err(failure),
            None => Ok(inner.entries.keys().cloned().collect()),
        }
    }
}
