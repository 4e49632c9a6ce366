//! People with devices on a simulated network.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sotto_core::records::{CatchUp, Contact, Kind, Message};
use sotto_core::world::Clock as _;
use sotto_core::{DeviceKind, Error, InviteOptions, Messenger, NewProfile, Threading, danger};
use sotto_protocol::{RelayAddress, Timestamp};
use tempfile::TempDir;

use crate::{MemorySecrets, Network, SeededRng, TestClock};

/// Virtual time is free: longer than any backoff.
const PATIENCE: Duration = Duration::from_secs(600);

/// A network of people. Needs a paused tokio clock and one thread.
pub struct World {
    /// The relays.
    pub network: Network,
    clock: Arc<TestClock>,
    rng: Arc<SeededRng>,
}

impl World {
    /// Without relays or people.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let clock = Arc::new(TestClock::default());
        let rng = Arc::new(SeededRng::new(seed));
        Self { network: Network::new(clock.clone(), rng.clone()), clock, rng }
    }

    /// What an engine with this keystore lives in.
    #[must_use]
    pub fn world(&self, secrets: &MemorySecrets) -> sotto_core::World {
        sotto_core::World {
            transport: self.network.transport(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            secrets: Arc::new(secrets.clone()),
            threading: Threading::Inline,
        }
    }

    fn world_by(&self, clock: &TestClock, secrets: &MemorySecrets, device: Option<usize>) -> sotto_core::World {
        let world = sotto_core::World { clock: Arc::new(clock.clone()), ..self.world(secrets) };
        match device {
            Some(device) => sotto_core::World { transport: self.network.transport_of(device), ..world },
            None => world,
        }
    }

    /// Somebody with one device.
    ///
    /// # Errors
    /// As [`Messenger::create`].
    ///
    /// # Panics
    /// When no temporary directory can be made.
    pub async fn person(&self, name: &str, relays: &[RelayAddress]) -> Result<Person, Error> {
        self.somebody(name, relays, None).await
    }

    /// Somebody whose device has weather between it and its relays ([`Network::set_weather`] under that number).
    ///
    /// # Errors
    /// As [`Messenger::create`].
    ///
    /// # Panics
    /// When no temporary directory can be made.
    pub async fn person_outside(&self, name: &str, relays: &[RelayAddress], device: usize) -> Result<Person, Error> {
        self.somebody(name, relays, Some(device)).await
    }

    async fn somebody(&self, name: &str, relays: &[RelayAddress], device: Option<usize>) -> Result<Person, Error> {
        let directory = temporary();
        let secrets = MemorySecrets::default();
        let profile = NewProfile {
            name: name.to_owned(),
            relays: relays.to_vec(),
            kind: DeviceKind::Phone,
            relay_codes: Vec::new(),
        };
        let clock = self.clock.another();
        let messenger = Messenger::create(self.world_by(&clock, &secrets, device), directory.path(), profile).await?;
        Ok(Person { messenger, secrets, clock, device, directory })
    }

    /// One more device of somebody's account, made of a copy of theirs. Other devices hear of it when they read the account's list.
    ///
    /// # Errors
    /// Whatever goes wrong on the way.
    pub async fn second_device(&self, person: &Person) -> Result<Person, Error> {
        danger::expect_siblings(&person.messenger).await?;
        person.catch_up().await?;
        self.open_beside(self.back_up(person)).await
    }

    /// A copy of somebody's device who expects another one becomes that.
    ///
    /// # Errors
    /// Whatever goes wrong on the way.
    pub async fn open_beside(&self, backup: Backup) -> Result<Person, Error> {
        let Backup { secrets, directory } = backup;
        let clock = self.clock.another();
        let messenger = danger::open_beside(self.world_by(&clock, &secrets, None), directory.path()).await?;
        let device = Person { messenger, secrets, clock, directory, device: None };
        device.catch_up().await?;
        Ok(device)
    }

    /// Kills a device's engine between two instructions and opens it again from what is on disk.
    ///
    /// # Errors
    /// As [`Messenger::open`].
    pub async fn reopen(&self, person: Person) -> Result<Person, Error> {
        let Person { messenger, secrets, clock, device, directory } = person;
        messenger.shut_down();
        drop(messenger);
        let messenger = Messenger::open(self.world_by(&clock, &secrets, device), directory.path()).await?;
        Ok(Person { messenger, secrets, clock, device, directory })
    }

    /// What a thief or a backup program takes: the files and the keystore as they are now.
    ///
    /// # Panics
    /// When a file cannot be copied.
    #[must_use]
    pub fn back_up(&self, person: &Person) -> Backup {
        let directory = temporary();
        for file in person.files() {
            let name = file.file_name().expect("a file has a name");
            std::fs::copy(&file, directory.path().join(name)).expect("a file can be copied");
        }
        Backup { secrets: person.secrets.copy(), directory }
    }

    /// Opens what was backed up, with a keystore of the caller's choice.
    ///
    /// # Errors
    /// As [`Messenger::open`].
    pub async fn restore(&self, backup: Backup, secrets: MemorySecrets) -> Result<Person, Error> {
        let clock = self.clock.another();
        let messenger = Messenger::open(self.world_by(&clock, &secrets, None), backup.directory.path()).await?;
        Ok(Person { messenger, secrets, clock, device: None, directory: backup.directory })
    }

    /// Switches everybody off, lets time pass, and switches them on again: much cheaper than a long wait with engines that run.
    ///
    /// # Errors
    /// As [`Messenger::open`].
    pub async fn switched_off<const N: usize>(
        &self,
        people: [Person; N],
        duration: Duration,
    ) -> Result<[Person; N], Error> {
        people.iter().for_each(|person| person.messenger.shut_down());
        self.wait(duration).await;
        let mut back = Vec::with_capacity(N);
        for person in people {
            back.push(self.reopen(person).await?);
        }
        let back: [Person; N] = back.try_into().unwrap_or_else(|_| unreachable!("as many as before"));
        self.settle(&back.each_ref()).await?;
        Ok(back)
    }

    /// Lets virtual time pass.
    pub async fn wait(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets everybody send and receive until nothing moves.
    ///
    /// # Errors
    /// As [`Messenger::catch_up`].
    pub async fn settle(&self, people: &[&Person]) -> Result<(), Error> {
        loop {
            let mut moved = 0;
            for person in people {
                let caught_up = person.catch_up().await?;
                moved += caught_up.received + caught_up.sent;
            }
            if moved == 0 {
                return Ok(());
            }
        }
    }

    /// Two people, alice and bob, who are contacts at one relay.
    ///
    /// # Panics
    /// When that does not work.
    pub async fn contacts(seed: u64) -> (Self, RelayAddress, Person, Person) {
        let world = Self::seeded(seed);
        let relay = world.network.add_relay("relay.example");
        let alice = world.person("alice", std::slice::from_ref(&relay)).await.expect("alice begins");
        let bob = world.person("bob", std::slice::from_ref(&relay)).await.expect("bob begins");
        world.introduce(&alice, &bob).await.expect("they meet");
        (world, relay, alice, bob)
    }

    /// Makes two people contacts.
    ///
    /// # Errors
    /// Whatever goes wrong on the way.
    pub async fn introduce(&self, owner: &Person, scanner: &Person) -> Result<(), Error> {
        // Lists that are signed in one millisecond are one list: an invite's chain and the contacts' chain would have one hash.
        self.wait(Duration::from_secs(1)).await;
        let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
        let invite = owner.messenger.invite(options).await?;
        owner.catch_up().await?;
        scanner.messenger.join(&invite.link).await?;
        self.settle(&[scanner, owner]).await
    }
}

/// A directory in memory where there is one: nothing here tests the disk, and thousands of syncs would take most of the time.
pub(crate) fn temporary() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a temporary directory can be made")
}

/// A copy of a profile's files and of its keystore.
pub struct Backup {
    /// The keystore as it was.
    pub secrets: MemorySecrets,
    directory: TempDir,
}

impl Backup {
    /// The same once more.
    ///
    /// # Panics
    /// When a file cannot be copied.
    #[must_use]
    pub fn another(&self) -> Self {
        let directory = temporary();
        for file in std::fs::read_dir(self.directory.path()).expect("the copy can be read").map_while(Result::ok) {
            std::fs::copy(file.path(), directory.path().join(file.file_name())).expect("a file can be copied");
        }
        Self { secrets: self.secrets.copy(), directory }
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Looks into the copied database.
    ///
    /// # Panics
    /// When it does not open.
    #[must_use]
    pub fn database(&self) -> crate::Database {
        crate::Database::open(self.directory.path(), &self.secrets)
    }
}

/// Somebody with one device.
pub struct Person {
    /// Their engine.
    pub messenger: Messenger,
    /// Their keystore.
    pub secrets: MemorySecrets,
    /// The clock of their device.
    pub clock: TestClock,
    device: Option<usize>,
    directory: TempDir,
}

impl Person {
    /// Where their profile is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Every file of the profile.
    ///
    /// # Panics
    /// When the directory cannot be read.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory.path()).expect("the profile can be read");
        entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
    }

    /// The ids of this person's inboxes.
    #[must_use]
    pub fn inboxes(&self) -> Vec<Vec<u8>> {
        self.database().blobs("SELECT inbox FROM own_inbox ORDER BY position")
    }

    /// Sends and receives until everything was tried.
    ///
    /// # Errors
    /// As [`Messenger::catch_up`].
    pub async fn catch_up(&self) -> Result<CatchUp, Error> {
        self.messenger.catch_up(PATIENCE).await
    }

    /// The contact of that name.
    ///
    /// # Errors
    /// As [`Messenger::find_contact`].
    pub async fn contact(&self, name: &str) -> Result<Contact, Error> {
        self.messenger.find_contact(name).await
    }

    /// Says something to a contact by name.
    ///
    /// # Errors
    /// As [`Messenger::send_text`].
    pub async fn say(&self, to: &str, text: &str) -> Result<Message, Error> {
        let contact = self.contact(to).await?;
        self.clock.tick();
        self.messenger.send_text(contact.id, text.to_owned()).await
    }

    /// Everything said with a contact, oldest first; not that keys have changed.
    ///
    /// # Errors
    /// As [`Messenger::messages`].
    pub async fn transcript(&self, with: &str) -> Result<Vec<String>, Error> {
        let contact = self.contact(with).await?;
        let messages = self.messenger.messages(contact.id, None, u32::MAX).await?;
        let said = messages.into_iter().filter(|message| !matches!(message.kind, Kind::KeyChange(_)));
        Ok(said.map(|message| message.text).collect())
    }
}
