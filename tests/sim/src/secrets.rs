//! Keystores: in memory, and in files that outlive the process.

use std::collections::BTreeMap;
use std::path::PathBuf;
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

/// A keystore of one file an entry, unprotected: what a test process leaves to the next.
pub struct FileSecrets {
    directory: PathBuf,
}

impl FileSecrets {
    /// In a directory, which is made when it is missing.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn at(directory: PathBuf) -> Self {
        std::fs::create_dir_all(&directory).expect("a test's directory can be made");
        Self { directory }
    }
}

impl SecretStore for FileSecrets {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SecretStoreError> {
        match std::fs::read(self.directory.join(name)) {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(SecretStoreError::Failed),
        }
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), SecretStoreError> {
        // Whole or not at all, also for a process that dies here.
        let beside = self.directory.join(".new");
        let written = std::fs::write(&beside, secret).and_then(|()| std::fs::rename(beside, self.directory.join(name)));
        written.map_err(|_| SecretStoreError::Failed)
    }

    fn delete(&self, name: &str) -> Result<(), SecretStoreError> {
        match std::fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(SecretStoreError::Failed),
            _ => Ok(()),
        }
    }

    fn list(&self) -> Result<Vec<String>, SecretStoreError> {
        let entries = std::fs::read_dir(&self.directory).map_err(|_| SecretStoreError::Failed)?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter(|name| name != ".new").collect())
    }
}
