//! What contacts see of this account.

use crate::error::SottoError;
use crate::messenger::Messenger;
use crate::records::Profile;

#[uniffi::export]
impl Messenger {
    /// What contacts see of this account.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn profile(&self) -> Result<Profile, SottoError> {
        self.run(|core| async move { core.profile().await.map(Profile::from) }).await
    }

    /// Sets that, on all our devices. Accepted contacts who are not blocked are told, and whoever becomes one later.
    ///
    /// # Errors
    /// [`SottoError::Input`] for a name that is none, or a status of more than 512 bytes; [`SottoError::DeviceReplaced`], [`SottoError::Device`].
    pub async fn set_profile(&self, profile: Profile) -> Result<(), SottoError> {
        self.run(|core| async move { core.set_profile(profile.into()).await }).await
    }
}
