//! The public handle: make and open an account here, invite and join in `contacts.rs`, say and read in `messages.rs`.
//!
//! Mutations return once they are committed on this device; the engine's tasks carry them out from there, whatever becomes of the
//! caller. Queries return pages of records. The handle is cheap to clone; the engine ends with [`Messenger::shut_down`] or with the
//! last clone.

mod contacts;
mod messages;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sotto_crypto::self_test;
use sotto_protocol::RelayAddress;
use sotto_protocol::limits::{INBOXES_PER_DEVICE_MAX, NAME_BYTES_MAX};
use sotto_protocol::request::path;
use tokio::runtime::Handle;
use tokio::sync::broadcast;

pub use sotto_crypto::manifest::DeviceKind;

use crate::engine::{Engine, Event};
use crate::error::{Error, InputError};
use crate::own::{self, NewAccount};
use crate::records::{Account, CatchUp};
use crate::relay_client::RelayClient;
use crate::state::StateSeal;
use crate::status::{Doing, State};
use crate::store::{DatabaseKey, OpenMode, Store, StoreError, Threading};
use crate::world::{Chance, Clock, Isolation, Rng, SecretStore, Transport};
use crate::{generation, outbox, prekey, task};

/// The world that an engine lives in.
#[derive(Clone)]
pub struct World {
    /// Network.
    pub transport: Arc<dyn Transport>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
    /// Keystore.
    pub secrets: Arc<dyn SecretStore>,
    /// Where database work runs.
    pub threading: Threading,
}

/// Names of the engine's entries in the [`SecretStore`].
mod secret_name {
    /// The database's raw key.
    pub(super) const DATABASE: &str = "database";
    /// The account's root key: kept behind the user's presence where the platform can.
    pub(super) const ROOT: &str = "root";
}

/// What a new account is to be.
#[derive(Clone)]
pub struct NewProfile {
    /// What others see.
    pub name: String,
    /// One to four, the preferred first.
    pub relays: Vec<RelayAddress>,
    /// What this device is.
    pub kind: DeviceKind,
}

/// One open account on this device.
#[derive(Clone)]
pub struct Messenger {
    engine: Arc<Running>,
}

/// Ends the engine with the last handle.
struct Running(Arc<Engine>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl Messenger {
    /// Makes an account with its inboxes at its relays, and opens it. Must be called within a tokio runtime, which then runs the engine.
    ///
    /// # Errors
    /// Bad input, a relay that cannot be reached or refuses, a directory that holds a profile already. Nothing was made here then.
    pub async fn create(world: World, directory: &Path, profile: NewProfile) -> Result<Self, Error> {
        check_name(&profile.name)?;
        check_relays(&profile.relays)?;
        if directory.join("sotto.db").exists() {
            return Err(StoreError::Exists.into());
        }
        let client = RelayClient::new(Arc::clone(&world.transport), Arc::clone(&world.clock), Arc::clone(&world.rng));
        let now = world.clock.now();
        let new = NewAccount::generate(&profile.relays, now, &mut Chance(&*world.rng));
        for inbox in &new.inboxes {
            let body = prost::Message::encode_to_vec(&inbox.create_call()).into();
            let isolation = Isolation::Inbox(inbox.inbox);
            client.signed::<Empty>(&inbox.relay, isolation, path::INBOX_CREATE, body, &inbox.owner_key).await?;
        }
        let key = DatabaseKey::from_bytes(Chance(&*world.rng).bytes());
        world.secrets.delete("generation")?;
        world.secrets.put(secret_name::DATABASE, key.as_bytes())?;
        world.secrets.put(secret_name::ROOT, new.root.to_bytes().as_slice())?;
        let made = Self::fill(&world, directory, &key, new, profile).await;
        if let Err(error) = made {
            remove_database(directory);
            return Err(error);
        }
        Self::open(world, directory).await
    }

    /// Makes the database with everything in it.
    async fn fill(
        world: &World,
        directory: &Path,
        key: &DatabaseKey,
        new: NewAccount,
        profile: NewProfile,
    ) -> Result<(), Error> {
        let store = Store::open(directory, key, OpenMode::Create, world.threading)?;
        let seal = StateSeal::new(key);
        let (rng, now) = (Arc::clone(&world.rng), world.clock.now());
        let filled = store
            .write(move |tx| {
                let mut chance = Chance(&*rng);
                // One batch: the lists that are begun here wait for the prekeys.
                let batch = task::new_batch(tx)?;
                new.store(tx, batch, &profile.name, profile.kind, &seal, now, &mut chance)?;
                let own = own::load(tx, seal)?;
                prekey::upkeep(tx, &own, batch, now, now, &mut chance)?;
                tx.execute("INSERT INTO meta (key, value) VALUES ('generation', 0)", [])?;
                Ok::<_, Error>(())
            })
            .await;
        store.close();
        filled
    }

    /// Opens an account. Must be called within a tokio runtime, which then runs the engine.
    ///
    /// # Errors
    /// No profile, one that is in use, a wrong key, a damaged database, or one that was restored from an older copy.
    pub async fn open(world: World, directory: &Path) -> Result<Self, Error> {
        self_test(&mut Chance(&*world.rng)).map_err(|error| {
            tracing::error!(%error, "this build must not be used");
            StoreError::Failed
        })?;
        if !directory.join("sotto.db").exists() {
            return Err(StoreError::Absent.into());
        }
        let key = world.secrets.get(secret_name::DATABASE)?.ok_or(StoreError::WrongKey)?;
        let key = DatabaseKey::from_bytes(key.as_slice().try_into().map_err(|_| StoreError::WrongKey)?);
        let store = Store::open(directory, &key, OpenMode::Existing, world.threading)?;
        generation::advance(&store, &*world.secrets).await?;
        let seal = StateSeal::new(&key);
        let own = store.read(move |view| own::load(view, seal)).await?;
        let client = RelayClient::new(Arc::clone(&world.transport), Arc::clone(&world.clock), Arc::clone(&world.rng));
        let engine = Engine::new(store, own, client, world.clock, world.rng, Handle::current());
        engine.start();
        Ok(Self { engine: Arc::new(Running(engine)) })
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine.0
    }

    /// Ends the engine: tasks stop, the database closes behind the transaction under way. Later calls answer
    /// [`StoreError::Closed`].
    pub fn shut_down(&self) {
        self.engine().shut_down();
    }

    /// This account and device.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn account(&self) -> Result<Account, Error> {
        self.engine()
            .read(|engine, view| {
                let own = &engine.own;
                let relays = own.inboxes.iter().map(|inbox| inbox.relay.clone()).collect();
                Ok(Account { id: own.account, device: own.party.device, name: own::name(view)?, relays })
            })
            .await
    }

    /// Something changed; read it. A listener that falls behind misses events and reads the database instead.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.engine().events()
    }

    /// The network may be back: everything queued is tried at once.
    pub fn network_hint(&self) {
        self.engine().network_hint();
    }

    /// Gives a network hint and waits until everything that waited here and at the relays has been dealt with, or was tried and failed;
    /// at most `deadline`.
    ///
    /// # Errors
    /// [`Error::RolledBack`], [`Error::Store`].
    pub async fn catch_up(&self, deadline: Duration) -> Result<CatchUp, Error> {
        let engine = self.engine();
        let (received_before, sent_before) = engine.status.counts();
        engine.network_hint();
        let mut over = engine.clock.sleep(deadline);
        let is_complete = loop {
            let changed = engine.status.changed();
            if engine.is_rolled_back() {
                return Err(Error::RolledBack);
            }
            if self.is_settled().await? {
                break true;
            }
            tokio::select! {
                biased;
                () = &mut over => break false,
                () = changed => {}
            }
        };
        let waiting = engine.read(|_, view| outbox::waiting(view)).await?;
        let (received, sent) = engine.status.counts();
        let unreachable = engine.status.failing_relays();
        Ok(CatchUp {
            received: received - received_before,
            sent: sent - sent_before,
            waiting,
            is_complete: is_complete && unreachable.is_empty(),
            unreachable,
        })
    }

    /// Whether every stream is drained, every call made and every letter away, or failed since the last hint.
    async fn is_settled(&self) -> Result<bool, Error> {
        let engine = self.engine();
        let is_over = |doing: &Doing| matches!(engine.status.of(doing), Some(State::Drained | State::Failing(_)));
        if !engine.own.inboxes.iter().all(|inbox| is_over(&Doing::Stream(inbox.relay.clone()))) {
            return Ok(false);
        }
        let (relays, devices) =
            engine.read(|_, view| Ok::<_, Error>((task::relays(view)?, outbox::destinations(view)?))).await?;
        Ok(relays.into_iter().all(|relay| is_over(&Doing::Clerk(relay)))
            && devices.into_iter().all(|device| is_over(&Doing::Courier(device))))
    }
}

/// The empty answer.
#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

fn check_name(name: &str) -> Result<(), InputError> {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err(InputError::Empty { what: "the name" });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(InputError::TooLong { what: "the name", bytes_max: NAME_BYTES_MAX });
    }
    Ok(())
}

fn check_relays(relays: &[RelayAddress]) -> Result<(), InputError> {
    let distinct: std::collections::BTreeSet<_> = relays.iter().collect();
    if relays.is_empty() || relays.len() > INBOXES_PER_DEVICE_MAX || distinct.len() != relays.len() {
        return Err(InputError::OutOfRange { what: "the number of relays" });
    }
    Ok(())
}

/// Takes back a database that could not be filled.
fn remove_database(directory: &Path) {
    for name in ["sotto.db", "sotto.db-wal", "sotto.db-shm"] {
        let _ = std::fs::remove_file(directory.join(name));
    }
}
