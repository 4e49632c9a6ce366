//! What holds for a moment: who types, who is online. Told by [`Event::LiveChanged`](crate::Event::LiveChanged), and stored nowhere.

use sotto_core::protocol::AccountId;
use sotto_core::records;

use crate::error::SottoError;
use crate::messenger::Messenger;
use crate::records::{mirror, record};

record! {
    /// What is told to contacts, and seen of them: who does not tell does not see. Off unless switched on.
    LiveSettings from records::LiveSettings as settings {
        /// That somebody is typing.
        typing: bool = settings.typing,
        /// That somebody is online.
        presence: bool = settings.presence,
    }
}

impl From<LiveSettings> for records::LiveSettings {
    fn from(settings: LiveSettings) -> Self {
        let LiveSettings { typing, presence } = settings;
        Self { typing, presence }
    }
}

record! {
    /// What a contact does right now, as far as they tell.
    LiveState from records::Live as live {
        /// They type in the conversation with us.
        is_typing: bool = live.is_typing,
        /// Whether they are there.
        presence: Presence = live.presence.into(),
    }
}

mirror! {
    /// Whether a contact is there.
    Presence from records::Presence {
        /// Nobody knows: they do not tell, or cannot be heard. There is no "last seen".
        Unknown = records::Presence::Unknown,
        /// They have the app before them.
        Online = records::Presence::Online,
    }
}

/// Where the app is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, uniffi::Enum)]
pub enum AppState {
    /// Before its user.
    Foreground,
    /// Not before anybody.
    Background,
}

#[uniffi::export]
impl Messenger {
    /// What contacts are told of what we do, and we see of them.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn live_settings(&self) -> Result<LiveSettings, SottoError> {
        self.run(|core| async move { core.live_settings().await.map(LiveSettings::from) }).await
    }

    /// Switches that on or off: what was shown is gone with it, and whoever was told sees it end.
    ///
    /// # Errors
    /// [`SottoError::DeviceReplaced`], [`SottoError::Device`].
    pub async fn set_live_settings(&self, settings: LiveSettings) -> Result<(), SottoError> {
        self.run(|core| async move { core.set_live_settings(settings.into()).await }).await
    }

    /// Our user types to a contact: to be called with each key pressed, or has stopped. Waits for nothing; sending a message stops it.
    ///
    /// # Errors
    /// [`SottoError::Input`] for what is no account.
    pub fn set_typing(&self, with: AccountId, is_typing: bool) -> Result<(), SottoError> {
        self.core().set_typing(with, is_typing);
        Ok(())
    }

    /// The app came before its user, or went: call it before the app is suspended. Waits for nothing.
    ///
    /// # Errors
    /// [`SottoError::Internal`].
    pub fn set_presence(&self, app: AppState) -> Result<(), SottoError> {
        self.core().set_presence(match app {
            AppState::Foreground => records::AppState::Foreground,
            AppState::Background => records::AppState::Background,
        });
        Ok(())
    }

    /// What a contact does right now: of whoever is no contact, blocked or not to be trusted nothing.
    ///
    /// # Errors
    /// [`SottoError::Device`].
    pub async fn live(&self, with: AccountId) -> Result<LiveState, SottoError> {
        self.run(|core| async move { core.live(with).await.map(LiveState::from) }).await
    }
}
