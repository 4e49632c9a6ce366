//! The public handle: open an account, invite, join, say, read.
//!
//! Mutations return once they are committed on this device; the engine's tasks carry them out from there, whatever becomes of the
//! caller. Queries return pages of records. The handle is cheap to clone; the engine ends with [`Messenger::shut_down`] or with the
//! last clone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sotto_crypto::letter::{Content, Text};
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::safety::SafetyNumber;
use sotto_crypto::self_test;
use sotto_protocol::decode::DecodeError;
use sotto_protocol::invite::Invite;
use sotto_protocol::limits::{INBOXES_PER_DEVICE_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};
use sotto_protocol::request::path;
use sotto_protocol::{AccountId, Bytes, MessageId, RelayAddress, Timestamp, relay};
use tokio::runtime::Handle;
use tokio::sync::broadcast;

pub use sotto_crypto::manifest::DeviceKind;

use crate::contact::{self, ContactState, Trust};
use crate::conversation::{self, Arrivals, ConversationRow, MessageRow, NewMessage};
use crate::engine::{Doing, Engine, Event, State};
use crate::error::{Error, InputError, InviteError};
use crate::handshake::{self, InviteOptions, Reading};
use crate::outbox::{self, NewLetter, Says, courier, encrypt};
use crate::own::{self, NewAccount};
use crate::records::{Account, CatchUp, Contact, Conversation, Failure, InviteLink, Kind, Message, MessageState};
use crate::relay_client::{RelayClient, RelayError};
use crate::state::StateSeal;
use crate::store::{DatabaseKey, OpenMode, Query, Store, StoreError, Threading};
use crate::world::{Chance, Clock, Isolation, Rng, SecretStore, Transport};
use crate::{generation, manifests, prekey, task};

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

    // ---- contacts -----------------------------------------------------------------------------------------------------------------

    /// Makes an invite. The link works once the relays have its tokens, which [`Messenger::catch_up`] waits for.
    ///
    /// # Errors
    /// [`InputError::OutOfRange`], [`Error::Store`].
    pub async fn invite(&self, options: InviteOptions) -> Result<InviteLink, Error> {
        options.check()?;
        let made = self
            .engine()
            .write(move |engine, tx| {
                handshake::invite(tx, &engine.own, &options, engine.network_now(), &mut engine.chance())
                    .map(|(link, _)| link)
            })
            .await?;
        self.engine().wake();
        Ok(made)
    }

    /// Uses an invite: reads who made it, claims their prekeys, and asks them. Returns their account.
    ///
    /// # Errors
    /// [`InviteError`] for a link that cannot be used, [`Error::Relay`] when their relay is not reached, [`Error::Peer`] when what they
    /// published is refused. Nothing was changed then.
    pub async fn join(&self, link: &str) -> Result<AccountId, Error> {
        let invite: Invite = link.parse().map_err(|error: DecodeError| InviteError::Garbage(error))?;
        let engine = self.engine();
        let now = engine.network_now();
        if invite.is_expired(now) {
            return Err(InviteError::Expired.into());
        }
        let account = invite.account;
        if account == engine.own.account {
            return Err(InviteError::Own.into());
        }
        let known = engine.read(move |_, view| contact::by_account(view, &account)).await?;
        if known.is_some_and(|contact| matches!(contact.state, ContactState::Asked | ContactState::Accepted)) {
            return Err(InviteError::AlreadyContact.into());
        }
        let reading = self.read_invite(invite, now).await?;
        let claimed = match self.claim_for(&reading).await {
            Err(error @ Error::Invite(_)) => {
                engine.write(|_, tx| handshake::forget_claim(tx)).await?;
                return Err(error);
            }
            claimed => claimed?,
        };
        engine.write(move |engine, tx| store_asked(engine, tx, &reading, &claimed)).await?;
        engine.wake();
        engine.tell(Event::ContactsChanged);
        Ok(account)
    }

    async fn read_invite(&self, invite: Invite, now: Timestamp) -> Result<Reading, Error> {
        let (chain, _) = handshake::invite_chain_address(&invite);
        let part = manifests::read(&self.engine().client, &chain, 0).await.map_err(|error| match error {
            Error::Relay(error) if error.is("refused") => InviteError::UsedUp.into(),
            error => error,
        })?;
        let manifest = manifests::first_contact(&invite.account, &part, now)?;
        let id = chain.chain;
        let claim = self.engine().write(move |engine, tx| handshake::remember_claim(tx, &id, &engine.chance())).await?;
        Ok(Reading { chain, chain_next: part.next, manifest, claim, invite })
    }

    /// Claims prekeys at the preferred inbox of every device of the invite's owner.
    async fn claim_for(&self, reading: &Reading) -> Result<Vec<relay::PrekeyClaimed>, Error> {
        let mut claimed = Vec::with_capacity(reading.manifest.devices().len());
        for device in reading.manifest.devices() {
            let Some(inbox) = device.inboxes.first() else { continue };
            let token = sotto_crypto::secret::invite_token(&reading.invite.secret, &inbox.inbox);
            let body = relay::PrekeyClaim {
                inbox: inbox.inbox.into(),
                token: Bytes::copy_from_slice(token.as_bytes()),
                claim: reading.claim.into(),
                bundle_only: false,
            };
            let answer = self.engine().client.anonymous(&inbox.relay, path::PREKEY_CLAIM, &body).await;
            claimed.push(answer.map_err(|error: RelayError| {
                if error.is("refused") { InviteError::UsedUp.into() } else { Error::from(error) }
            })?);
        }
        Ok(claimed)
    }

    /// All contacts that were not removed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn contacts(&self) -> Result<Vec<Contact>, Error> {
        self.engine()
            .read(|engine, view| {
                let now = engine.network_now();
                contact::all(view)?.into_iter().map(|contact| contact_record(&contact, now)).collect()
            })
            .await
    }

    /// The contact that a person means by a name, an account id, or the beginning of one.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`InputError::Ambiguous`].
    pub async fn find_contact(&self, who: &str) -> Result<Contact, Error> {
        let who = who.to_owned();
        self.engine().read(move |engine, view| contact_record(&contact::find(view, &who)?, engine.network_now())).await
    }

    /// Accepts a request.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`InputError::WrongState`] for somebody who has not asked.
    pub async fn accept(&self, account: AccountId) -> Result<(), Error> {
        self.change_contact(account, |engine, tx, contact| {
            handshake::accept(tx, &engine.own, contact.row, engine.network_now(), &mut engine.chance())
        })
        .await
    }

    /// Calls a contact by another name, on this account only; `None` calls them by their own.
    ///
    /// # Errors
    /// [`InputError`].
    pub async fn rename(&self, account: AccountId, name: Option<String>) -> Result<(), Error> {
        if let Some(name) = &name {
            check_name(name)?;
        }
        self.change_contact(account, move |_, tx, contact| {
            Ok(contact::set_given_name(tx, contact.row, name.as_deref())?)
        })
        .await
    }

    /// Blocks a contact: at once nothing of theirs is shown or confirmed, and their tokens are dropped at every relay.
    ///
    /// # Errors
    /// [`InputError::NotFound`].
    pub async fn block(&self, account: AccountId) -> Result<(), Error> {
        self.change_contact(account, |engine, tx, contact| {
            contact::set_blocked(tx, contact.row, true)?;
            Ok(handshake::drop_tokens(tx, &engine.own, contact.row)?)
        })
        .await
    }

    /// Takes a blocking back: their tokens are put again.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`InputError::WrongState`] for somebody who is not blocked.
    pub async fn unblock(&self, account: AccountId) -> Result<(), Error> {
        self.change_contact(account, |engine, tx, contact| {
            if !contact.blocked {
                return Err(InputError::WrongState { what: "is not blocked" }.into());
            }
            contact::set_blocked(tx, contact.row, false)?;
            Ok(handshake::restore_tokens(tx, &engine.own, contact)?)
        })
        .await
    }

    /// Removes a contact: they can no longer reach us, and what was still to leave to them fails. What was said stays.
    ///
    /// # Errors
    /// [`InputError::NotFound`].
    pub async fn remove(&self, account: AccountId) -> Result<(), Error> {
        self.change_contact(account, |engine, tx, contact| {
            contact::set_state(tx, contact.row, ContactState::Removed)?;
            outbox::fail_all(tx, contact.row, Failure::Removed, engine.network_now())?;
            Ok(handshake::drop_tokens(tx, &engine.own, contact.row)?)
        })
        .await
    }

    async fn change_contact(
        &self,
        account: AccountId,
        change: impl FnOnce(&Engine, &mut crate::store::Tx<'_>, &contact::Contact) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.engine()
            .write(move |engine, tx| {
                let contact = known_contact(tx, &account)?;
                change(engine, tx, &contact)
            })
            .await?;
        self.engine().wake();
        self.engine().tell(Event::ContactsChanged);
        Ok(())
    }

    /// What both compare to know that nobody stands between them.
    ///
    /// # Errors
    /// [`InputError::NotFound`].
    pub async fn safety_number(&self, account: AccountId) -> Result<SafetyNumber, Error> {
        self.engine()
            .read(move |engine, view| {
                known_contact(view, &account)?;
                Ok(SafetyNumber::between(&engine.own.account, &account))
            })
            .await
    }

    // ---- messages -----------------------------------------------------------------------------------------------------------------

    /// Says something to a contact, or to oneself. Returns once it is stored and queued, offline too.
    ///
    /// # Errors
    /// [`InputError`]; [`Error::Store`] when nothing could be stored.
    pub async fn send_text(&self, to: AccountId, text: String) -> Result<Message, Error> {
        if text.is_empty() {
            return Err(InputError::Empty { what: "the text" }.into());
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(InputError::TooLong { what: "the text", bytes_max: TEXT_BYTES_MAX }.into());
        }
        let sent = self.engine().write(move |engine, tx| store_text(engine, tx, &to, &text)).await?;
        self.engine().wake();
        self.engine().tell(Event::MessagesChanged);
        Ok(sent)
    }

    /// A page of the chat list: the conversations that moved last, before the place of the last one of the page above.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn conversations(
        &self,
        before: Option<(Timestamp, i64)>,
        limit: u32,
    ) -> Result<Vec<Conversation>, Error> {
        self.engine().read(move |_, view| Ok(conversation::list(view, before, limit)?)).await
    }

    /// The newest messages of the conversation with a contact (or with oneself) before `before`, oldest first.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn messages(&self, with: AccountId, before: Option<i64>, limit: u32) -> Result<Vec<Message>, Error> {
        self.engine()
            .read(move |engine, view| match conversation_with(engine, view, &with)? {
                Some(row) => Ok(conversation::page(view, &engine.own.account, row, before, limit)?),
                None => Ok(Vec::new()),
            })
            .await
    }

    /// One message by its local number.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn message(&self, number: i64) -> Result<Message, Error> {
        self.engine()
            .read(move |engine, view| {
                conversation::message(view, &engine.own.account, MessageRow(number))?
                    .ok_or(InputError::NotFound { what: "message" }.into())
            })
            .await
    }

    /// Messages of others that came in after a local number, oldest first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn received_after(&self, number: i64, limit: u32) -> Result<Vec<Message>, Error> {
        self.engine()
            .read(move |engine, view| Ok(conversation::received_after(view, &engine.own.account, number, limit)?))
            .await
    }

    /// The local number of the newest message of all.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn newest(&self) -> Result<i64, Error> {
        self.engine().read(|_, view| Ok(conversation::newest(view)?)).await
    }

    /// Everything in the conversation with a contact has been read.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn mark_read(&self, with: AccountId) -> Result<(), Error> {
        self.engine()
            .write(move |engine, tx| match conversation_with(engine, tx, &with)? {
                Some(row) => Ok(conversation::mark_read(tx, row)?),
                None => Ok::<_, Error>(()),
            })
            .await?;
        self.engine().tell(Event::MessagesChanged);
        Ok(())
    }

    /// Waits until a relay took a message, or it failed; at most `deadline`. Returns how far it is.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn wait_sent(&self, number: i64, deadline: Duration) -> Result<Message, Error> {
        let mut over = self.engine().clock.sleep(deadline);
        loop {
            let changed = self.engine().status.changed();
            let message = self.message(number).await?;
            if !matches!(message.state, MessageState::Queued | MessageState::Sending) {
                return Ok(message);
            }
            tokio::select! {
                biased;
                () = &mut over => return Ok(message),
                () = changed => {}
            }
        }
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

fn known_contact(view: &impl Query, account: &AccountId) -> Result<contact::Contact, Error> {
    let found = contact::by_account(view, account)?.filter(|contact| contact.state != ContactState::Removed);
    found.ok_or(InputError::NotFound { what: "contact" }.into())
}

fn contact_record(contact: &contact::Contact, now: Timestamp) -> Result<Contact, Error> {
    let manifest = VerifiedManifest::reload(&contact.account, Bytes::copy_from_slice(&contact.manifest))
        .map_err(|_| StoreError::Corrupt)?;
    Ok(Contact {
        id: contact.account,
        name: contact.shown_name().to_owned(),
        own_name: contact.name.clone(),
        state: contact.state,
        blocked: contact.blocked,
        trust: contact.trust,
        outdated: !manifest.is_fresh(now),
    })
}

fn conversation_with(engine: &Engine, view: &impl Query, with: &AccountId) -> Result<Option<ConversationRow>, Error> {
    if *with == engine.own.account {
        return Ok(
            view.one("SELECT id FROM conversation WHERE contact IS NULL", [], |row| row.get(0).map(ConversationRow))?
        );
    }
    let contact = contact::by_account(view, with)?.ok_or(InputError::NotFound { what: "contact" })?;
    Ok(conversation::with_contact(view, contact.row)?)
}

/// One transaction: the message, its conversation, a letter per device.
fn store_text(engine: &Engine, tx: &mut crate::store::Tx<'_>, to: &AccountId, text: &str) -> Result<Message, Error> {
    let own = &engine.own;
    let now = engine.clock.now();
    let contact = if *to == own.account { None } else { Some(sendable(tx, to)?) };
    let conversation = match &contact {
        Some(contact) => ConversationRow(contact::conversation(tx, &own.account, contact)?),
        None => conversation::note_to_self(tx, &own.account)?,
    };
    let content = Content::Text(Text::plain(text)).encode().map_err(|_| InputError::OutOfRange { what: "the text" })?;
    let message_id = MessageId::from_bytes(engine.chance().bytes());
    let new = NewMessage {
        conversation,
        sender: None,
        message_id,
        sent_at: now,
        received_at: now,
        kind: Kind::Text,
        text,
        content: &content,
        // The note to self has arrived.
        state: if contact.is_some() { MessageState::Queued } else { MessageState::Sent },
    };
    let row = conversation::insert(tx, &new)?.ok_or(StoreError::Failed)?;
    conversation::touch(tx, conversation, &Arrivals { last: row, last_at: now, unread: 0 })?;
    if let Some(contact) = contact {
        let letter = NewLetter { says: Says::Message(row), message_id, sent_at: now, dies_at: None, after_batch: None };
        outbox::queue_to_contact(tx, contact.row, &letter)?;
    }
    Ok(conversation::message(tx, &own.account, row)?.ok_or(StoreError::Failed)?)
}

fn sendable(tx: &crate::store::Tx<'_>, to: &AccountId) -> Result<contact::Contact, Error> {
    let contact = known_contact(tx, to)?;
    let problem = match contact.state {
        _ if contact.blocked => Some("is blocked"),
        _ if contact.trust != Trust::Sound => Some("shows two lists of devices"),
        ContactState::Asked => Some("has not answered yet"),
        ContactState::Asking => Some("waits to be accepted"),
        ContactState::Accepted => None,
        ContactState::Removed => Some("was removed"),
    };
    problem.map_or(Ok(contact), |what| Err(InputError::WrongState { what }.into()))
}

/// One transaction: the contact to be, reply tokens, the request, and the sessions it goes out on.
fn store_asked(
    engine: &Engine,
    tx: &mut crate::store::Tx<'_>,
    reading: &Reading,
    claimed: &[relay::PrekeyClaimed],
) -> Result<(), Error> {
    let row = handshake::ask(tx, &engine.own, reading, engine.network_now(), &mut engine.chance())?;
    let contact = contact::by_row(tx, row)?;
    for (device, claimed) in contact::listed_devices(tx, row)?.into_iter().zip(claimed) {
        let device = contact::device_by_row(tx, device)?;
        let inbox = contact::inboxes(tx, device.row)?.into_iter().next().ok_or(StoreError::Corrupt)?;
        courier::store_claimed(engine, tx, &inbox, &encrypt::party(&contact, &device), claimed)?;
    }
    Ok(())
}
