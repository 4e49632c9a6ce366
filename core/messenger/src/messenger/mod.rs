//! The public handle: make and open an account here, invite and join in `contacts.rs`, say and read in `messages.rs`, find in
//! `search.rs`, do something
//! to what was said in `deeds.rs`, set in `settings.rs`, compared in `verification.rs`, what holds for a moment in `live.rs`, where the
//! account reads in `relays.rs`, its end in `deletion.rs`.
//!
//! Mutations return once they are committed on this device; the engine's tasks carry them out from there, whatever becomes of the
//! caller. Queries return pages of records. The handle is cheap to clone; the engine ends with [`Messenger::shut_down`] or with the
//! last clone.

mod contacts;
mod deeds;
mod deletion;
mod diagnostics;
mod live;
mod messages;
mod profile;
mod relays;
mod salvage;
mod search;
mod settings;
mod verification;

pub use salvage::Salvaged;

pub(crate) use messages::conversation_with;
pub(crate) use relays::make_inbox;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sotto_crypto::self_test;
use sotto_protocol::limits::{INBOXES_PER_DEVICE_MAX, NAME_BYTES_MAX};
use sotto_protocol::{AccountId, RelayAddress, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::broadcast;

pub use sotto_crypto::manifest::DeviceKind;

use crate::engine::{Engine, Gate, Phase, Times};
use crate::error::{Error, InputError};
use crate::events::Event;
use crate::generation::Standing;
use crate::own::{self, NewAccount};
use crate::records::{Account, CatchUp, Chats, LETTER_REFUSED};
use crate::relay_client::RelayClient;
use crate::state::StateSeal;
use crate::status::{Doing, Snapshot, State};
use crate::store::{DatabaseKey, ProfileLock, Store, StoreError, Threading};
use crate::subscriptions::{ChatList, Start, Timeline};
use crate::watched::Watched;
use crate::world::{Chance, Clock, Rng, SecretStore, Transport};
use crate::{generation, keystore, outbox, peer, prekey, rebirth, receipts, task};

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

/// What a new account is to be.
#[derive(Clone)]
pub struct NewProfile {
    /// What others see.
    pub name: String,
    /// One to four, the preferred first.
    pub relays: Vec<RelayAddress>,
    /// What this device is.
    pub kind: DeviceKind,
    /// What the relays' operators want to see of new users, in the order of `relays`: empty, or left out at the end, where nothing is
    /// asked for.
    pub relay_codes: Vec<String>,
}

impl NewProfile {
    /// On a desktop, with relays that are open to everybody.
    #[must_use]
    pub fn named(name: impl Into<String>, relays: &[RelayAddress]) -> Self {
        Self { name: name.into(), relays: relays.to_vec(), kind: DeviceKind::Desktop, relay_codes: Vec::new() }
    }
}

/// One open account on this device.
#[derive(Clone)]
pub struct Messenger {
    engine: Arc<Running>,
    secrets: Arc<dyn SecretStore>,
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
    /// Bad input, a relay that cannot be reached, refuses, or has a clock more than a day from ours, a directory that holds a profile already or is in use. Nothing was made here
    /// then. A device that dies meanwhile leaves no profile either: the same call works afterwards.
    pub async fn create(world: World, directory: &Path, profile: NewProfile) -> Result<Self, Error> {
        check_name(&profile.name)?;
        check_relays(&profile)?;
        check_build(&world)?;
        // Held from here on: whoever else tries meanwhile is told that the profile is in use, and undoes nothing of ours.
        let lock = ProfileLock::of_new(directory)?;
        let client = relay_client(&world);
        let new = NewAccount::generate(&profile.relays, &profile.relay_codes, &mut Chance(&*world.rng));
        for inbox in &new.inboxes {
            relays::make_inbox(&client, inbox).await?;
        }
        // Certificate, lists and first keys are judged by others' clocks.
        let now = client.network_now();
        let key = DatabaseKey::from_bytes(Chance(&*world.rng).bytes());
        let made = match keystore::put(&*world.secrets, &key, &new.root) {
            Ok(()) => Self::fill(&world, &lock, &key, new, now, profile).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = made {
            // They open nothing. A keystore that does not take them back is overwritten by the next attempt.
            let _ = keystore::take_back(&*world.secrets);
            return Err(error);
        }
        Self::start(world, lock, &key).await
    }

    /// Makes the database with everything in it.
    async fn fill(
        world: &World,
        lock: &ProfileLock,
        key: &DatabaseKey,
        new: NewAccount,
        now: Timestamp,
        profile: NewProfile,
    ) -> Result<(), Error> {
        let seal = StateSeal::new(key);
        let rng = Arc::clone(&world.rng);
        Store::create(lock, key, world.threading, move |tx| {
            let mut chance = Chance(&*rng);
            // One batch: the lists that are begun here wait for the prekeys.
            let batch = task::new_batch(tx)?;
            new.store(tx, batch, &profile.name, profile.kind, &seal, now, &mut chance)?;
            let own = own::load(tx, seal)?;
            let times = Times { network: now, judging: now };
            prekey::upkeep(tx, &own, batch, times, None, &mut chance)?;
            tx.execute("INSERT INTO meta (key, value) VALUES ('generation', 0)", [])?;
            Ok::<_, Error>(())
        })
        .await
    }

    /// Opens an account. Must be called within a tokio runtime, which then runs the engine. Only what is open can pause: an app that may be
    /// stopped meanwhile asks its system for the time that this takes.
    ///
    /// # Errors
    /// No profile, one that is in use, a wrong key, a damaged database. One that was restored from an older copy opens, and becomes a device of
    /// its own before anything else moves.
    pub async fn open(world: World, directory: &Path) -> Result<Self, Error> {
        let (lock, key) = unlock(&world, directory)?;
        Self::start(world, lock, &key).await
    }

    /// Opens an account on a disk without room, where [`Messenger::open`] fails with [`StoreError::DiskFull`] or
    /// [`SecretStoreError::Full`]: what is there can be read. Nothing is sent or fetched, whatever would write answers
    /// [`StoreError::DiskFull`], and that stays so until it is opened anew.
    ///
    /// # Errors
    /// As [`Messenger::open`].
    pub async fn open_to_read(world: World, directory: &Path) -> Result<Self, Error> {
        let (lock, key) = unlock(&world, directory)?;
        let store = Store::open_to_read(lock, &key, world.threading)?;
        let secrets = Arc::clone(&world.secrets);
        // No task is started: each of them would have something to write down first.
        Ok(Self { engine: Arc::new(Running(Self::engine_on(store, world, &key).await?)), secrets })
    }

    /// See [`crate::danger::open_beside`].
    pub(crate) async fn open_beside(world: World, directory: &Path) -> Result<Self, Error> {
        let (lock, key) = unlock(&world, directory)?;
        let store = Store::open(lock, &key, world.threading)?;
        let secrets = Arc::clone(&world.secrets);
        // No task is started before: this is nobody's device yet.
        let running = Running(Self::engine_on(store, world, &key).await?);
        if running.0.read(|_, view| Ok::<_, Error>(own::siblings::are_none(view)?)).await? {
            return Err(InputError::WrongState { what: "was not told to expect another device" }.into());
        }
        rebirth::become_another(&running.0, own::Place::Beside, &mut Vec::new()).await?;
        running.0.is_reborn();
        Ok(Self { engine: Arc::new(running), secrets })
    }

    async fn start(world: World, lock: ProfileLock, key: &DatabaseKey) -> Result<Self, Error> {
        let store = Store::open(lock, key, world.threading)?;
        let secrets = Arc::clone(&world.secrets);
        let engine = Self::engine_on(store, world, key).await?;
        engine.start();
        Ok(Self { engine: Arc::new(Running(engine)), secrets })
    }

    async fn engine_on(store: Store, world: World, key: &DatabaseKey) -> Result<Arc<Engine>, Error> {
        let (own, standing) = match generation::prepare(&store, &*world.secrets, key).await {
            Ok(prepared) => prepared,
            Err(error) => {
                // Its threads end here: SQLCipher must not be freed under them.
                store.close();
                return Err(error);
            }
        };
        let phase = Watched::new(Phase::Awake);
        let world = World { transport: Gate::before(world.transport, phase.clone()), ..world };
        let client = relay_client(&world);
        Ok(Engine::new(store, own, client, world.clock, world.rng, world.secrets, Handle::current(), standing, phase))
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine.0
    }

    /// For whatever is bound to a device's inboxes, or whose answer would come there: this one's are given up. Texts are queued. Who is
    /// blocked, removed or called otherwise is not refused: that holds here, and shuts a door.
    fn refuse_if_rolled_back(&self) -> Result<(), Error> {
        self.engine().refuse_if_rolled_back()
    }

    /// For what can wait until this is another device.
    fn refuse_if_replaced(&self) -> Result<(), Error> {
        if self.engine().standing() == Standing::Replaced { Err(Error::DeviceReplaced) } else { Ok(()) }
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
                let own = &engine.own();
                let relays = own.listed().map(|inbox| inbox.relay.clone()).collect();
                Ok(Account { id: own.account, device: own.party.device, name: own::name(view)?, relays })
            })
            .await
    }

    /// Something changed; read it. A listener that falls behind misses events and reads the database instead. They end when the engine is shut
    /// down.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.engine().listen()
    }

    /// A chat list that is kept up to date: its first `count` chats, and more as they are asked for.
    #[must_use]
    pub fn chat_list(&self, chats: Chats, count: u32) -> ChatList {
        ChatList::new(self.engine(), chats, count)
    }

    /// The conversation with a contact (or with oneself), kept up to date: so many messages from there, and more as they are asked for.
    #[must_use]
    pub fn timeline(&self, with: AccountId, start: Start, count: u32) -> Timeline {
        Timeline::new(self.engine(), with, start, count)
    }

    /// The system is about to stop the app: apps call this before. When it returns no file of the profile and no socket is open, and the profile
    /// may be opened by another process. What was under way has ended: a call that has answered is done, one that answers [`Error::Paused`]
    /// has changed nothing, and what is queued waits. Listeners stay. Harmless while it pauses already; runs to its end though nobody waits for it.
    ///
    /// Everything but [`Self::resume`] and [`Self::shut_down`] answers [`Error::Paused`] from then on, [`Self::catch_up`] under way too: what it had
    /// received is stored and was told to listeners, but nobody can look any more at what is left to do. Whoever wants its summary gives
    /// it a deadline that is over before the system's.
    pub async fn pause(&self) {
        self.engine().pause().await;
    }

    /// The app goes on after [`Self::pause`]; or the system had stopped it without one, and apps call this before anything else then. All calls are
    /// made anew, as by [`Self::open`], once relays have said what they remember; a copy of the profile's files that was made before is an old
    /// one from now on. Without a pause before, what was under way when the app was stopped goes on until it is called.
    ///
    /// # Errors
    /// [`Error::SecretStore`], [`Error::Store`], as of [`Self::open`]. After a pause it still pauses then, and this may be called again: the keystore is
    /// locked, or another process has the profile open. Without one all goes on, and copies are told from it no better than before.
    pub async fn resume(&self) -> Result<(), Error> {
        self.engine().resume().await
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
        if engine.store.is_only_read() {
            return Err(StoreError::DiskFull.into());
        }
        let (received_before, sent_before) = engine.status.counts();
        engine.network_hint();
        let mut over = engine.clock.sleep(deadline);
        let (is_complete, moment) = loop {
            let changed = engine.status.changed();
            engine.refuse_if_paused()?;
            match engine.standing() {
                Standing::Replaced => return Err(Error::DeviceReplaced),
                Standing::Copy if matches!(engine.status.of(&Doing::Rebirth), Some(State::Failing(_))) => {
                    let away = engine.read(|engine, view| own::home_away(view, engine.judging_now())).await?;
                    return Err(away.map_or(Error::RolledBack, |home| Error::HomeAway { home }));
                }
                Standing::Copy | Standing::One => {}
            }
            if let Some(moment) = self.settled().await? {
                break (true, moment);
            }
            tokio::select! {
                biased;
                () = &mut over => {
                    self.refuse_if_rolled_back()?;
                    break (false, engine.status.snapshot());
                }
                () = changed => {}
            }
        };
        let failing = moment.failing_devices();
        let (waiting, calls, mut devices, own_list) = engine
            .read(move |_, view| {
                let mut relays = Vec::with_capacity(failing.len());
                for (device, code) in failing {
                    relays.extend(peer::inboxes(view, device)?.into_iter().next().map(|inbox| (inbox.relay, code)));
                }
                let own_list = own::siblings::trouble(view)?;
                Ok::<_, Error>((outbox::waiting(view)?, task::relays(view)?, relays, own_list))
            })
            .await?;
        let (received, sent) = engine.status.counts();
        // Of several codes of one relay the last stands: what is somebody's choice hides no failure, and no device's one of our own.
        devices.sort_by_key(|(_, code)| *code != LETTER_REFUSED);
        let mut unreachable: BTreeMap<RelayAddress, &'static str> = devices.into_iter().collect();
        // One that we have left may be gone: nobody waits for it.
        let own = engine.own();
        let is_left = |relay: &RelayAddress| own.inboxes_at(relay).next().is_some_and(|inbox| inbox.is_leaving);
        unreachable.extend(moment.failing_relays().into_iter().filter(|(relay, _)| !is_left(relay)));
        unreachable.extend(own_list);
        Ok(CatchUp {
            received: received - received_before,
            sent: sent - sent_before,
            waiting,
            is_complete: is_complete && unreachable.is_empty(),
            is_published: calls.iter().all(is_left),
            unreachable: unreachable.into_iter().collect(),
        })
    }

    /// A moment at which nothing was left to look after, every list read, every stream drained, every call made and every letter away, or had failed
    /// since the last hint.
    async fn settled(&self) -> Result<Option<Snapshot>, Error> {
        let engine = self.engine();
        // First: what it queues is read below.
        if engine.is_rolled_back() || !engine.is_looked_after() {
            return Ok(None);
        }
        let (relays, devices, is_all_told) = engine
            .read(|_, view| {
                Ok::<_, Error>((task::relays(view)?, outbox::destinations(view)?, receipts::is_all_told(view)?))
            })
            .await?;
        let moment = engine.status.snapshot();
        let is_settled = is_all_told
            && !moment.is_reading()
            && engine.own().inboxes.iter().all(|inbox| moment.is_over(&Doing::Stream(inbox.relay.clone())))
            && relays.into_iter().all(|relay| moment.is_over(&Doing::Clerk(relay)))
            && devices.into_iter().all(|device| moment.is_over(&Doing::Courier(device)));
        Ok(is_settled.then_some(moment))
    }
}

/// The empty answer.
#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

fn check_name(name: &str) -> Result<(), InputError> {
    if name.trim().is_empty() {
        return Err(InputError::Empty { what: "the name" });
    }
    if name.chars().any(char::is_control) {
        return Err(InputError::ControlCharacter { what: "the name" });
    }
    if sotto_protocol::name::hides(name) {
        return Err(InputError::HiddenCharacter { what: "the name" });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(InputError::TooLong { what: "the name", bytes_max: NAME_BYTES_MAX });
    }
    Ok(())
}

fn check_relays(profile: &NewProfile) -> Result<(), InputError> {
    let relays = &profile.relays;
    let distinct: std::collections::BTreeSet<_> = relays.iter().collect();
    if relays.is_empty() || relays.len() > INBOXES_PER_DEVICE_MAX || distinct.len() != relays.len() {
        return Err(InputError::OutOfRange { what: "the number of relays" });
    }
    if profile.relay_codes.len() > relays.len() {
        return Err(InputError::OutOfRange { what: "the number of codes for relays" });
    }
    Ok(())
}

/// The lock and the key of a profile that is there.
fn unlock(world: &World, directory: &Path) -> Result<(ProfileLock, DatabaseKey), Error> {
    check_build(world)?;
    let lock = ProfileLock::of_existing(directory)?;
    Ok((lock, keystore::database_key(&*world.secrets)?))
}

fn check_build(world: &World) -> Result<(), StoreError> {
    self_test(&mut Chance(&*world.rng)).map_err(|error| {
        tracing::error!(%error, "this build must not be used");
        StoreError::Failed
    })
}

fn relay_client(world: &World) -> RelayClient {
    RelayClient::new(Arc::clone(&world.transport), Arc::clone(&world.clock), Arc::clone(&world.rng))
}
