//! A relay in this process, and people with a keystore each.

use std::collections::BTreeMap;
use std::future::pending;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sotto_core::protocol::{AccountId, RelayAddress, RelayName, Timestamp};
use sotto_ffi::{
    Contact, ContactState, DeviceKind, InviteOptions, Message, Messenger, NewProfile, NewText, SecretStore,
    SecretStoreError, SottoError, create_messenger, open_messenger,
};
use sotto_relay::limits::ShellLimits;
use sotto_relay::shell::Server;
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// Longer than anything takes on a busy machine: it bounds a test that hangs, and nothing waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
const DEADLINE_MS: u64 = 60_000;

/// More messages than are said.
pub(crate) const ALL: u32 = 1_000;

#[derive(Default)]
pub(crate) struct Keystore(pub(crate) Mutex<BTreeMap<String, Vec<u8>>>);

impl SecretStore for Keystore {
    fn get(&self, name: String) -> Result<Option<Vec<u8>>, SecretStoreError> {
        Ok(self.0.lock().unwrap().get(&name).cloned())
    }

    fn put(&self, name: String, secret: Vec<u8>) -> Result<(), SecretStoreError> {
        self.0.lock().unwrap().insert(name, secret);
        Ok(())
    }

    fn delete(&self, name: String) -> Result<(), SecretStoreError> {
        self.0.lock().unwrap().remove(&name);
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, SecretStoreError> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }
}

/// Somebody with one device.
pub(crate) struct Person {
    pub(crate) messenger: Arc<Messenger>,
    pub(crate) id: AccountId,
    pub(crate) keys: Arc<Keystore>,
    pub(crate) place: String,
}

impl Deref for Person {
    type Target = Messenger;

    fn deref(&self) -> &Messenger {
        &self.messenger
    }
}

impl Person {
    pub(crate) async fn says(&self, to: &Self, text: &str) -> Message {
        self.send_text(to.id, words(text)).await.unwrap()
    }

    pub(crate) async fn all(&self, with: &Self) -> Vec<Message> {
        self.messages(with.id, None, ALL).await.unwrap()
    }

    pub(crate) async fn contact(&self, who: &Self) -> Option<Contact> {
        self.contacts().await.unwrap().into_iter().find(|contact| contact.id == who.id)
    }

    pub(crate) async fn has(&self, who: &Self, state: ContactState) -> bool {
        self.contact(who).await.is_some_and(|contact| contact.state == state)
    }

    /// A link that so many may use.
    pub(crate) async fn link(&self, auto_accept: bool) -> String {
        let invite = self.invite(InviteOptions { uses: 100, valid_for_ms: 86_400_000, auto_accept }).await.unwrap();
        assert!(self.messenger.catch_up(DEADLINE_MS).await.unwrap().is_complete);
        invite.link
    }
}

/// Where all of them keep their files. A process must not end while a database is open (see `sotto-cipher`): this waits until none is.
struct Place(TempDir);

impl Drop for Place {
    fn drop(&mut self) {
        let given_up = Instant::now() + DEADLINE;
        while !std::thread::panicking() && self.is_in_use() {
            assert!(Instant::now() < given_up, "somebody holds a file open");
            std::thread::yield_now();
        }
    }
}

impl Place {
    /// Whether this process has anything open there.
    fn is_in_use(&self) -> bool {
        // Some other descriptor may be closed while it is looked at.
        let open =
            std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
        open.into_iter().any(|file| file.starts_with(self.0.path()))
    }
}

/// Two contacts, Alice and Bob, two relays of which they read at the first, and room for more people.
pub(crate) struct Stage {
    pub(crate) relays: [RelayAddress; 2],
    serving: Mutex<Option<Runtime>>,
    pub(crate) alice: Person,
    pub(crate) bob: Person,
    /// Dropped last.
    place: Place,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop_relays();
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let serving = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let relays = ["first", "second"].map(|name| relay(&serving, &directory.path().join(name)));
        let serving = Mutex::new(Some(serving));
        let alice = person(directory.path(), "alice", &relays[..1]).await;
        let bob = person(directory.path(), "bob", &relays[..1]).await;
        bob.join(alice.link(true).await).await.unwrap();
        let stage = Self { relays, serving, alice, bob, place: Place(directory) };
        stage.are_contacts(&stage.alice, &stage.bob).await;
        stage
    }

    /// Nobody is there any more, at either of them, and nobody holds a connection.
    pub(crate) fn stop_relays(&self) {
        if let Some(serving) = self.serving.lock().unwrap().take() {
            serving.shutdown_background();
        }
    }

    pub(crate) fn place(&self, name: &str) -> String {
        place(self.place.0.path(), name)
    }

    pub(crate) fn profile(&self, name: &str) -> NewProfile {
        profile(name, &self.relays[..1])
    }

    pub(crate) async fn person(&self, name: &str) -> Person {
        self.person_at(name, &self.relays[..1]).await
    }

    pub(crate) async fn person_at(&self, name: &str, relays: &[RelayAddress]) -> Person {
        person(self.place.0.path(), name, relays).await
    }

    /// Both have accepted each other.
    pub(crate) async fn are_contacts(&self, one: &Person, other: &Person) {
        let accepted = ContactState::Accepted;
        self.until(&[one, other], async || one.has(other, accepted).await && other.has(one, accepted).await).await;
    }

    /// Something Alice has said, as Bob has it, not read yet.
    pub(crate) async fn heard_by_bob(&self, text: &str) -> Message {
        self.alice.says(&self.bob, text).await;
        let heard = async || self.bob.all(&self.alice).await.into_iter().find(|message| message.text == text);
        self.until(&[&self.alice, &self.bob], async || heard().await.is_some()).await;
        heard().await.unwrap()
    }

    /// All of them catch up until it is so.
    pub(crate) async fn until(&self, people: &[&Person], is_so: impl AsyncFn() -> bool) {
        until(async || {
            for person in people {
                person.catch_up(DEADLINE_MS).await.unwrap();
            }
            is_so().await
        })
        .await;
    }
}

/// Ends the use of a profile; answers once it is free.
pub(crate) async fn close(person: Person) -> (String, Arc<Keystore>) {
    let Person { messenger, keys, place, .. } = person;
    messenger.shutdown().await.unwrap();
    drop(messenger);
    until(async || is_free(&place).await).await;
    (place, keys)
}

/// Whether nobody has a profile open that is there.
async fn is_free(place: &str) -> bool {
    code_of_opening(place).await == "wrong_key"
}

/// What opening says to whoever has no key.
pub(crate) async fn code_of_opening(place: &str) -> String {
    match open_messenger(place.to_owned(), Arc::<Keystore>::default()).await {
        Err(SottoError::Device { code, .. }) => code,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it opened without a key"),
    }
}

/// Asks again and again until it is so.
pub(crate) async fn until(is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, asking).await.expect("it is never so");
}

pub(crate) fn words(text: &str) -> NewText {
    NewText { body: text.to_owned(), ranges: Vec::new(), reply_to: None }
}

fn place(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().expect("a temporary directory has a plain name").to_owned()
}

fn profile(name: &str, relays: &[RelayAddress]) -> NewProfile {
    NewProfile { name: name.to_owned(), relays: relays.to_vec(), kind: DeviceKind::Phone, relay_codes: Vec::new() }
}

async fn person(directory: &Path, name: &str, relays: &[RelayAddress]) -> Person {
    let (keys, place) = (Arc::<Keystore>::default(), place(directory, name));
    let messenger = create_messenger(place.clone(), profile(name, relays), keys.clone()).await.unwrap();
    let id = messenger.account().await.unwrap().id;
    Person { messenger, id, keys, place }
}

/// A relay that is there until its runtime ends.
fn relay(serving: &Runtime, file: &Path) -> RelayAddress {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let _serving = serving.enter();
    let listener = TcpListener::from_std(listener).unwrap();
    let name = RelayName::parse(&address.to_string(), 80).unwrap();
    let store = SqliteStore::open(SqliteOptions::file(file.with_extension("sqlite"))).unwrap();
    let now = Timestamp::EPOCH.after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let relay = Relay::new(Arc::new(store), RelayConfig::open(name), now);
    let server = Server { relay, listener, metrics: None, tls: None, limits: ShellLimits::default(), witness: None };
    serving.spawn(server.serve(pending()));
    format!("http://{address}").parse().unwrap()
}
