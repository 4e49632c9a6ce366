//! Where this account reads: relays listed, taken and left.

use sotto_protocol::request::path;
use sotto_protocol::{DeviceId, Message as _, RelayAddress};

use super::{Empty, Messenger};
use crate::admission;
use crate::engine::Engine;
use crate::error::Error;
use crate::generation::Standing;
use crate::keystore::root_key;
use crate::own::{self, OwnInbox};
use crate::rebirth;
use crate::records::OwnRelay;
use crate::relay_client::RelayClient;
use crate::store::Tx;
use crate::world::Isolation;

impl Messenger {
    /// Where this account reads, the preferred relay first; those that were left last.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn relays(&self) -> Result<Vec<OwnRelay>, Error> {
        let engine = self.engine();
        let home = engine.read(|_, view| own::home(view)).await?;
        let own = engine.own();
        let mut relays: Vec<_> = own
            .inboxes
            .iter()
            .map(|inbox| OwnRelay {
                address: inbox.relay.clone(),
                is_home: inbox.relay == home,
                is_left: inbox.is_leaving,
                trouble: engine.status.trouble(&inbox.relay),
            })
            .collect();
        relays.sort_by_key(|relay| relay.is_left);
        Ok(relays)
    }

    /// Reads at one more relay, behind those that there are: an inbox is made there, and on our list once its tokens and prekeys stand,
    /// which [`Messenger::catch_up`] waits for. Nothing happens where it is one of ours.
    ///
    /// # Errors
    /// [`InputError::OutOfRange`](crate::InputError::OutOfRange) for a fifth relay, [`Error::Relay`] when it cannot be reached or refuses, [`Error::RolledBack`].
    pub async fn add_relay(&self, relay: RelayAddress, relay_code: String) -> Result<(), Error> {
        self.refuse_if_rolled_back()?;
        let engine = self.engine();
        if own::is_listed(&engine.own(), &relay)? {
            return Ok(());
        }
        let inbox = OwnInbox::generate(0, relay.clone(), relay_code, &mut engine.chance());
        if engine.own().inboxes_at(&relay).next().is_none() {
            make_inbox(&engine.client, &inbox).await?;
            // There is nothing that it could remember of us.
            engine.witness.begins(&relay);
        }
        let add = move |engine: &Engine, tx: &mut Tx<'_>| {
            own::is_joined(tx, &inbox.relay)?;
            own::add_relay(engine, tx, &inbox)
        };
        engine.write_then(add, |engine, _| engine.wake()).await
    }

    /// Reads at a relay no more, once those who write there have heard of it: it leaves our list now, and is read for another 37 days. Works
    /// without that relay. Where the account's own list is there, it moves by the root key's word, which contacts see as a change of keys.
    /// A restored copy whose list is there, and which cannot ask for it any more ([`Error::HomeAway`]), becomes another device of its account so: whoever
    /// reads its lists only there learns of it when this account uses an invite of theirs.
    ///
    /// # Errors
    /// [`InputError::NotFound`](crate::InputError::NotFound), [`InputError::LastRelay`](crate::InputError::LastRelay), [`Error::NeedsRootKey`], [`Error::SecretStore`], [`Error::RolledBack`].
    pub async fn remove_relay(&self, relay: RelayAddress) -> Result<(), Error> {
        let engine = self.engine();
        let is_home = engine.read(|_, view| own::home(view)).await? == relay;
        let root = if is_home { root_key(&*self.secrets)? } else { None };
        if is_home && engine.standing() == Standing::Copy {
            return rebirth::leave_home(engine, &relay, root.ok_or(Error::NeedsRootKey)?).await;
        }
        self.refuse_if_rolled_back()?;
        let remove = move |engine: &Engine, tx: &mut Tx<'_>| own::remove_relay(engine, tx, &relay, root.as_ref());
        engine.write_then(remove, |engine, _| engine.wake()).await
    }

    /// Takes another device off the account (`own/removal.rs`).
    pub(crate) async fn remove_device(&self, device: DeviceId) -> Result<(), Error> {
        let root = root_key(&*self.secrets)?.ok_or(Error::NeedsRootKey)?;
        let remove = move |engine: &Engine, tx: &mut Tx<'_>| {
            engine.refuse_if_rolled_back()?;
            own::remove_device(engine, tx, &device, &root)
        };
        self.engine().write_then(remove, |engine, _| engine.wake()).await
    }
}

/// Makes an inbox at its relay, with what its operator wants to see of new users.
pub(crate) async fn make_inbox(client: &RelayClient, inbox: &OwnInbox) -> Result<(), Error> {
    let mut call = inbox.create_call();
    let isolation = Isolation::Inbox(inbox.inbox);
    let (name, code) = (inbox.inbox.as_bytes(), &call.invite_code);
    call.proof_of_work = admission::prove(client, &inbox.relay, isolation, name, code, &[]).await?;
    let body = call.encode_to_vec().into();
    client
        .signed_where_clocks_agree::<Empty>(&inbox.relay, isolation, path::INBOX_CREATE, body, &inbox.owner_key)
        .await?;
    Ok(())
}
