//! Errors as the platforms see them: whose trouble it is, and in every case a stable code, whether to try again, and when.
//!
//! Generated enums lose Rust's words, and words are for the app to choose anyway: it translates the code.

use sotto_core::Error;

macro_rules! errors {
    ($($(#[$doc:meta])* $kind:ident: $words:literal,)*) => {
        /// Why a call did nothing.
        #[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, uniffi::Error)]
        pub enum SottoError {
            $(
                $(#[$doc])*
                #[error($words)]
                $kind {
                    /// Stable; see the core's list.
                    code: String,
                    /// Whether the same call may succeed later, unchanged.
                    is_retryable: bool,
                    /// How long to wait before that, where somebody said.
                    retry_after_ms: Option<u64>,
                },
            )*
        }
    };
}

errors! {
    /// This device: its database or its disk.
    Device: "this device cannot do it right now: {code}",
    /// The platform's keystore.
    Keystore: "the keystore did not answer: {code}",
    /// A relay.
    Relay: "the relay did not do it: {code}",
    /// The other side broke the protocol.
    Peer: "what the other side published is not acceptable: {code}",
    /// An invite that cannot be used.
    Invite: "the invite cannot be used: {code}",
    /// The caller's input.
    Input: "this cannot be meant: {code}",
    /// The profile is an older copy, and becomes a device of its own as soon as the relay of its account's list lets it.
    RolledBack: "the profile was restored from an older copy: {code}",
    /// Another copy of the profile has taken this device's place: it can only be read.
    DeviceReplaced: "another copy of the profile has taken its place: {code}",
    /// The messenger pauses: resume it, then the same call works.
    Paused: "the messenger pauses: {code}",
    /// The messenger was shut down.
    ShutDown: "the messenger is shut down: {code}",
    /// A mistake in this library.
    Internal: "a mistake in the library: {code}",
}

impl From<Error> for SottoError {
    fn from(error: Error) -> Self {
        let code = error.code().to_owned();
        let is_retryable = error.is_retryable();
        let retry_after_ms = error.retry_after().map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        match error {
            Error::Paused | Error::Store(sotto_core::StoreError::Paused) => {
                Self::Paused { code, is_retryable, retry_after_ms }
            }
            Error::ShutDown | Error::Store(sotto_core::StoreError::Closed) => {
                Self::ShutDown { code, is_retryable, retry_after_ms }
            }
            Error::Store(_) => Self::Device { code, is_retryable, retry_after_ms },
            Error::SecretStore(_) | Error::NeedsRootKey => Self::Keystore { code, is_retryable, retry_after_ms },
            Error::RolledBack | Error::HomeAway { .. } => Self::RolledBack { code, is_retryable, retry_after_ms },
            Error::DeviceReplaced => Self::DeviceReplaced { code, is_retryable, retry_after_ms },
            Error::Relay(_) => Self::Relay { code, is_retryable, retry_after_ms },
            Error::Invite(_) => Self::Invite { code, is_retryable, retry_after_ms },
            Error::Peer { .. } => Self::Peer { code, is_retryable, retry_after_ms },
            Error::Input(_) => Self::Input { code, is_retryable, retry_after_ms },
        }
    }
}

impl SottoError {
    pub(crate) fn panicked() -> Self {
        Self::Internal { code: "panicked".to_owned(), is_retryable: false, retry_after_ms: None }
    }

    pub(crate) fn log_taken() -> Self {
        Self::Internal { code: "log_taken".to_owned(), is_retryable: false, retry_after_ms: None }
    }

    pub(crate) fn without_threads() -> Self {
        Self::Device { code: "no_threads".to_owned(), is_retryable: true, retry_after_ms: None }
    }
}

#[cfg(test)]
mod tests {
    use sotto_core::world::SecretStoreError;
    use sotto_core::{InputError, Problem, RelayError, StoreError};

    use super::*;

    #[test]
    fn every_error_keeps_its_code_and_its_remedy() {
        let full = SottoError::from(Error::Store(StoreError::DiskFull));
        assert_eq!(full, SottoError::Device { code: "disk_full".into(), is_retryable: true, retry_after_ms: None });
        let locked = SottoError::from(Error::SecretStore(SecretStoreError::Locked));
        assert_eq!(
            locked,
            SottoError::Keystore { code: "keystore_locked".into(), is_retryable: true, retry_after_ms: None }
        );
        let empty = SottoError::from(Error::Input(InputError::Empty { what: "the text" }));
        assert_eq!(empty, SottoError::Input { code: "empty".into(), is_retryable: false, retry_after_ms: None });
    }

    #[test]
    fn a_relay_that_names_a_delay_is_heard() {
        let problem = Problem { code: "rate_limited".to_owned(), retry_after_ms: Some(2_500), ..Problem::default() };
        let SottoError::Relay { code, is_retryable, retry_after_ms } =
            SottoError::from(Error::Relay(RelayError::Refused(problem)))
        else {
            panic!("a relay's error is a relay's error");
        };
        assert_eq!((code.as_str(), is_retryable, retry_after_ms), ("relay_refused", true, Some(2_500)));
    }
}
