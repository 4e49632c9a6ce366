//! Comparing: that a contact's account is theirs, by digits or by a scan, and what is done when their devices change.

use sotto_protocol::AccountId;

use super::Messenger;
use super::contacts::known_contact;
use super::settings::conversation_of;
use crate::contact::{Contact, ContactState, verified};
use crate::engine::Engine;
use crate::error::{Error, InputError};
use crate::events::Event;
use crate::settings::{self, Key, Of};
use crate::store::Tx;

/// Begins a code that is shown to be scanned; behind it the account that shows it, and the one it is for.
const CODE: &str = "sotto-verify:1:";

impl Messenger {
    /// What is shown as a QR code to a contact, whose device compares it: both accounts, which are root keys and no secret.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn verification_code(&self, account: AccountId) -> Result<String, Error> {
        self.engine()
            .read(move |engine, view| {
                known_contact(view, &account)?;
                Ok(format!("{CODE}{}:{account}", engine.own().account))
            })
            .await
    }

    /// Compares what a contact's screen shows: they are verified, here and on our other devices, where it is theirs and for us. Devices that are held
    /// back from are a matter of [`Self::accept_keys`]: the code says whose account it is, which a thief of its list key cannot change.
    ///
    /// # Errors
    /// [`InputError::WrongCode`] for any other code: then it is not them, or not the code that they show to us. [`InputError::NotFound`],
    /// [`InputError::WrongState`] for somebody who is no contact yet, [`Error::DeviceReplaced`], [`Error::Store`].
    pub async fn verify_by_code(&self, account: AccountId, code: &str) -> Result<(), Error> {
        let code = code.trim().to_owned();
        self.decide(account, move |engine, tx, contact| {
            if code != format!("{CODE}{account}:{}", engine.own().account) {
                return Err(InputError::WrongCode.into());
            }
            set_verified(engine, tx, contact, true)
        })
        .await
    }

    /// Says that somebody has compared the safety number of a contact, or no longer wants to hear of changes.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`InputError::WrongState`] for somebody who is no contact yet, [`Error::DeviceReplaced`], [`Error::Store`].
    pub async fn set_verified(&self, account: AccountId, is_verified: bool) -> Result<(), Error> {
        self.decide(account, move |engine, tx, contact| set_verified(engine, tx, contact, is_verified)).await
    }

    /// A verified contact's devices are others than before, and that is all right as far as the list that was shown, which is
    /// [`Contact::keys`](crate::records::Contact::keys): what waits leaves, unless another list has come since.
    ///
    /// # Errors
    /// As [`Self::set_verified`], and [`InputError::OutOfRange`] for a list that has not come yet.
    pub async fn accept_keys(&self, account: AccountId, keys: u64) -> Result<(), Error> {
        self.decide(account, move |engine, tx, contact| accept_keys(engine, tx, contact, keys)).await
    }

    async fn decide(
        &self,
        account: AccountId,
        decide: impl FnOnce(&Engine, &mut Tx<'_>, &Contact) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.refuse_if_replaced()?;
        let decide = move |engine: &Engine, tx: &mut Tx<'_>| {
            let contact = known_contact(tx, &account)?;
            if contact.state != ContactState::Accepted {
                return Err(InputError::WrongState { what: "is no contact yet" }.into());
            }
            decide(engine, tx, &contact)
        };
        self.engine()
            .write_then(decide, |engine, ()| {
                engine.wake();
                engine.tell(Event::ContactsChanged);
            })
            .await
    }
}

fn set_verified(engine: &Engine, tx: &mut Tx<'_>, contact: &Contact, is_verified: bool) -> Result<(), Error> {
    if is_verified && !contact.verified {
        // From here on changes are told. What is compared is the root key, which says nothing of devices that are held back from.
        accept_keys(engine, tx, contact, verified::place(&contact.head))?;
    }
    set(engine, tx, contact, Key::Verified, &settings::flag(is_verified))
}

fn accept_keys(engine: &Engine, tx: &mut Tx<'_>, contact: &Contact, keys: u64) -> Result<(), Error> {
    if keys > verified::place(&contact.head) {
        return Err(InputError::OutOfRange { what: "the list of their devices" }.into());
    }
    let conversation = conversation_of(engine, tx, &contact.account)?;
    if keys <= verified::decided(tx, conversation)? {
        return Ok(());
    }
    set(engine, tx, contact, Key::KeysUpTo, &keys.to_be_bytes())
}

fn set(engine: &Engine, tx: &mut Tx<'_>, contact: &Contact, key: Key, value: &[u8]) -> Result<(), Error> {
    let of = Of::Conversation(conversation_of(engine, tx, &contact.account)?);
    settings::set(tx, &engine.own(), of, key, value, engine.network_now(), &mut engine.chance())
}
