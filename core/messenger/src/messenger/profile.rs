//! What we want to be seen as.

use sotto_protocol::limits::STATUS_BYTES_MAX;

use super::{Messenger, check_name};
use crate::engine::Engine;
use crate::error::{Error, InputError};
use crate::events::Event;
use crate::own;
use crate::profile;
use crate::records::Profile;
use crate::store::Tx;

impl Messenger {
    /// What contacts see of this account.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn profile(&self) -> Result<Profile, Error> {
        self.engine()
            .read(|_, view| {
                let status = profile::own(view)?.map_or_else(String::new, |profile| profile.status);
                Ok(Profile { name: own::name(view)?, status })
            })
            .await
    }

    /// Sets that, on all our devices. Accepted contacts who are not blocked are told, and whoever becomes one later.
    ///
    /// # Errors
    /// [`InputError`] for a name that is none, or a status of more than 512 bytes; [`Error::DeviceReplaced`], [`Error::Store`].
    pub async fn set_profile(&self, profile: Profile) -> Result<(), Error> {
        let Profile { name, status } = profile;
        check_name(&name)?;
        if status.len() > STATUS_BYTES_MAX {
            return Err(InputError::TooLong { what: "the status", bytes_max: STATUS_BYTES_MAX }.into());
        }
        self.refuse_if_replaced()?;
        let set = move |engine: &Engine, tx: &mut Tx<'_>| {
            profile::set(tx, &engine.own(), name, status, engine.network_now(), &mut engine.chance())
        };
        self.engine()
            .write_then(set, |engine, ()| {
                engine.wake_couriers();
                engine.tell(Event::ContactsChanged);
            })
            .await
    }
}
