//! What stands in the [`SecretStore`], by name: the database's key, the root key, the generation.

use sotto_crypto::keys::RootKey;

use crate::error::Error;
use crate::generation;
use crate::store::{DatabaseKey, StoreError};
use crate::world::{SecretStore, SecretStoreError};

/// The database's raw key.
const DATABASE: &str = "database";
/// The account's root key: kept behind the user's presence where the platform can.
const ROOT: &str = "root";

/// The key of a database that is there. A keystore that has none is not that database's.
pub(crate) fn database_key(secrets: &dyn SecretStore) -> Result<DatabaseKey, Error> {
    let key = secrets.get(DATABASE)?.ok_or(StoreError::WrongKey)?;
    let key = key.as_slice().try_into().map_err(|_| StoreError::WrongKey)?;
    Ok(DatabaseKey::from_bytes(key))
}

/// The root key, where it is on this device and the user is there to allow it.
pub(crate) fn root_key(secrets: &dyn SecretStore) -> Result<Option<RootKey>, SecretStoreError> {
    let Some(bytes) = secrets.get(ROOT)? else { return Ok(None) };
    let bytes = bytes.as_slice().try_into().map_err(|_| SecretStoreError::Failed)?;
    Ok(Some(RootKey::from_bytes(bytes)))
}

/// Puts what a new database needs, in place of what an attempt that failed has left.
pub(crate) fn put(secrets: &dyn SecretStore, key: &DatabaseKey, root: &RootKey) -> Result<(), SecretStoreError> {
    secrets.delete(generation::SECRET)?;
    secrets.put(DATABASE, key.as_bytes())?;
    secrets.put(ROOT, root.to_bytes().as_slice())
}

/// Deletes everything, the database's key first.
pub(crate) fn wipe(secrets: &dyn SecretStore) -> Result<(), SecretStoreError> {
    take_back(secrets)?;
    secrets.list()?.iter().try_for_each(|name| secrets.delete(name))
}

/// Takes it back: what was made is no profile.
pub(crate) fn take_back(secrets: &dyn SecretStore) -> Result<(), SecretStoreError> {
    secrets.delete(DATABASE)?;
    secrets.delete(ROOT)
}
