//! Comparing: that a contact's account is theirs, by digits or by a scan, and what is done when their devices change.

use sotto_core::protocol::AccountId;

use crate::error::SottoError;
use crate::messenger::Messenger;
use crate::records::record;

record! {
    /// What two people compare to know that nobody stands between them: the same on both screens.
    SafetyNumber from sotto_core::SafetyNumber as number {
        /// Sixty digits.
        digits: String = number.digits().to_owned(),
        /// The same, in twelve groups of five.
        groups: Vec<String> = number.to_string().split(' ').map(str::to_owned).collect(),
    }
}

#[uniffi::export]
impl Messenger {
    /// What both compare, aloud or side by side.
    ///
    /// # Errors
    /// [`SottoError::Input`].
    pub async fn safety_number(&self, contact: AccountId) -> Result<SafetyNumber, SottoError> {
        self.run(|core| async move { core.safety_number(contact).await.map(SafetyNumber::from) }).await
    }

    /// What is shown as a QR code to a contact, whose device compares it. No secret.
    ///
    /// # Errors
    /// [`SottoError::Input`], [`SottoError::Device`].
    pub async fn verification_code(&self, contact: AccountId) -> Result<String, SottoError> {
        self.run(|core| async move { core.verification_code(contact).await }).await
    }

    /// Compares what a contact's screen shows: they are verified where it is theirs and for us.
    ///
    /// # Errors
    /// [`SottoError::Input`] with `wrong_code` for any other code: then it is not them, or not the code that they show to us.
    pub async fn verify_by_code(&self, contact: AccountId, code: String) -> Result<(), SottoError> {
        self.run(|core| async move { core.verify_by_code(contact, &code).await }).await
    }

    /// Says that somebody has compared the safety number of a contact, or no longer wants to hear of changes.
    ///
    /// # Errors
    /// [`SottoError::Input`] for somebody who is no contact yet; [`SottoError::DeviceReplaced`], [`SottoError::Device`].
    pub async fn set_verified(&self, contact: AccountId, is_verified: bool) -> Result<(), SottoError> {
        self.run(|core| async move { core.set_verified(contact, is_verified).await }).await
    }

    /// A verified contact's devices are others than before, and that is all right as far as the list that was shown, which is `Contact.keys`:
    /// what waits leaves, unless another list has come since.
    ///
    /// # Errors
    /// As of [`Messenger::set_verified`], and `out_of_range` for a list that has not come yet.
    pub async fn accept_keys(&self, contact: AccountId, keys: u64) -> Result<(), SottoError> {
        self.run(move |core| async move { core.accept_keys(contact, keys).await }).await
    }
}
