//! Several accounts in one process: each is a [`Messenger`](crate::Messenger) of its own, with its own profile, connections and keys.
//!
//! What they must not share is given to each: a directory, a [`Transport`](crate::world::Transport) (whose connections are its own), and a
//! keystore. A platform has one keystore, so [`AccountSecrets`] is a part of it that ends with its account and knows of no other. What a
//! person sees of all of them together is one list, [`AllChats`].

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::error::{Error, InputError};
use crate::world::{SecretStore, SecretStoreError};

pub use crate::subscriptions::{AccountChat, AccountFailure, AllChats, AllChatsChanges};

/// Characters of a name of a part.
const NAME_MAX: usize = 64;
/// Between that name and the secret's.
const SEPARATOR: char = '/';

/// The part of a keystore that belongs to one account.
pub struct AccountSecrets {
    keystore: Arc<dyn SecretStore>,
    prefix: String,
}

impl AccountSecrets {
    /// The part of that name, which the app chooses and keeps, as it does the account's directory: 1 to 64 of `a-z`, `0-9` and `-`.
    ///
    /// # Errors
    /// [`InputError::OutOfRange`] for another name.
    pub fn new(keystore: Arc<dyn SecretStore>, name: &str) -> Result<Self, Error> {
        let is_legal = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '-');
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_legal) {
            return Err(InputError::OutOfRange { what: "the name of an account's secrets" }.into());
        }
        Ok(Self { keystore, prefix: format!("{name}{SEPARATOR}") })
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl SecretStore for AccountSecrets {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SecretStoreError> {
        self.keystore.get(&self.full(name))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), SecretStoreError> {
        self.keystore.put(&self.full(name), secret)
    }

    fn delete(&self, name: &str) -> Result<(), SecretStoreError> {
        self.keystore.delete(&self.full(name))
    }

    fn list(&self) -> Result<Vec<String>, SecretStoreError> {
        let own = |name: String| name.strip_prefix(&self.prefix).map(str::to_owned);
        Ok(self.keystore.list()?.into_iter().filter_map(own).collect())
    }
}
