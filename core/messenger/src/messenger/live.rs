//! What holds for a moment: who types, who is online. Nothing of it is stored, and nothing waits for it.

use sotto_protocol::AccountId;

use super::Messenger;
use crate::contact;
use crate::engine::Engine;
use crate::error::Error;
use crate::live::{AppState, Live, LiveSettings};
use crate::store::Tx;

impl Messenger {
    /// What contacts are told of what we do, and we see of them. Everything is off unless switched on.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn live_settings(&self) -> Result<LiveSettings, Error> {
        self.engine().read(|_, view| Ok(LiveSettings::load(view)?)).await
    }

    /// Switches that on or off. Who does not tell does not see: what was shown is gone with it, and whoever was told sees it end.
    ///
    /// # Errors
    /// [`Error::DeviceReplaced`], [`Error::Store`].
    pub async fn set_live_settings(&self, settings: LiveSettings) -> Result<(), Error> {
        self.refuse_if_replaced()?;
        let store = move |engine: &Engine, tx: &mut Tx<'_>| {
            settings.store(tx, &engine.own(), engine.network_now(), &mut engine.chance())
        };
        self.engine().write_then(store, |engine, ()| engine.wake_couriers()).await
    }

    /// Our user types to a contact: to be called with each key pressed, or has stopped. How often it is told is decided here; not at all unless it is
    /// switched on, and to nobody who is not in a conversation with us. Sending a message stops it.
    pub fn set_typing(&self, with: AccountId, is_typing: bool) {
        self.engine().types_to(with, is_typing);
    }

    /// The app came before its user, or went. While it is there some contacts are told that we are online, where that is switched on. Apps call it
    /// before they are suspended: what is not told then ends at the others after five minutes.
    pub fn set_presence(&self, app: AppState) {
        self.engine().app_is(app);
    }

    /// What a contact does right now. Of whoever is no contact, blocked or not to be trusted: nothing, and neither where it is switched off here.
    /// [`Event::LiveChanged`](crate::Event::LiveChanged) says when to ask again.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn live(&self, with: AccountId) -> Result<Live, Error> {
        self.engine()
            .read(move |engine, view| {
                let contact = contact::by_account(view, &with)?;
                Ok(contact.map_or_else(Live::default, |contact| engine.live_of(&contact)))
            })
            .await
    }
}
