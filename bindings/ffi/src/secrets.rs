//! The platform's keystore, implemented in Kotlin or Swift.

use std::sync::Arc;

use sotto_core::world;
use zeroize::Zeroizing;

/// The platform's keystore. *Locked* and *failed* are never *absent*: absent means that it was never put, or deleted.
///
/// Called on the library's threads, one call at a time from each, never while the database is in a transaction. Excluded from backups.
#[uniffi::export(with_foreign)]
pub trait SecretStore: Send + Sync {
    /// The secret of that name, or nothing if there is none.
    ///
    /// # Errors
    /// See [`SecretStoreError`].
    fn get(&self, name: String) -> Result<Option<Vec<u8>>, SecretStoreError>;

    /// Stores or replaces it; durable once this returns.
    ///
    /// # Errors
    /// See [`SecretStoreError`].
    fn put(&self, name: String, secret: Vec<u8>) -> Result<(), SecretStoreError>;

    /// Deletes it; harmless when it is absent.
    ///
    /// # Errors
    /// See [`SecretStoreError`].
    fn delete(&self, name: String) -> Result<(), SecretStoreError>;

    /// All names.
    ///
    /// # Errors
    /// See [`SecretStoreError`].
    fn list(&self) -> Result<Vec<String>, SecretStoreError>;
}

/// Why the keystore did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error, uniffi::Error)]
pub enum SecretStoreError {
    /// The device is locked, or the user was not there to allow it. Later it will work.
    #[error("the keystore is locked")]
    Locked,
    /// It does not work on this device right now. Whatever the platform's code throws besides, counts as this.
    #[error("the keystore failed")]
    Failed,
}

impl From<uniffi::UnexpectedUniFFICallbackError> for SecretStoreError {
    fn from(_: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed
    }
}

impl From<SecretStoreError> for world::SecretStoreError {
    fn from(error: SecretStoreError) -> Self {
        match error {
            SecretStoreError::Locked => Self::Locked,
            SecretStoreError::Failed => Self::Failed,
        }
    }
}

/// A platform's keystore in the shape that the core takes.
pub(crate) struct Foreign(pub(crate) Arc<dyn SecretStore>);

impl world::SecretStore for Foreign {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, world::SecretStoreError> {
        Ok(self.0.get(name.to_owned())?.map(Zeroizing::new))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), world::SecretStoreError> {
        Ok(self.0.put(name.to_owned(), secret.to_vec())?)
    }

    fn delete(&self, name: &str) -> Result<(), world::SecretStoreError> {
        Ok(self.0.delete(name.to_owned())?)
    }

    fn list(&self) -> Result<Vec<String>, world::SecretStoreError> {
        Ok(self.0.list()?)
    }
}
