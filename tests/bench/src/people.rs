//! People with engines on a relay process: real sockets, real files, real threads.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rusqlite::Connection;
/// Named so that SQLite finds its cryptography.
use sotto_cipher as _;
use sotto_core::net::HttpTransport;
use sotto_core::protocol::{AccountId, RelayAddress};
use sotto_core::records::{CatchUp, ContactState};
use sotto_core::world::{SecretStore as _, SystemClock, SystemRng};
use sotto_core::{DeviceKind, InviteOptions, Messenger, NewProfile, Threading, World};
use sotto_sim::{FileSecrets, MemorySecrets};
use tempfile::TempDir;

use crate::Outcome;
use crate::relay_process::RelayProcess;

/// A short message.
pub(crate) const TEXT: &str = "Shall we meet at the station at half past six, or is that too early for you?";
/// Longer than any load takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Somebody with one device.
pub(crate) struct Person {
    pub(crate) messenger: Messenger,
    secrets: MemorySecrets,
    directory: TempDir,
}

impl Person {
    /// Makes an account, with its files in `place`.
    pub(crate) async fn create(name: &str, relay: &RelayAddress, place: &Path) -> Outcome<Self> {
        let (directory, secrets) = (TempDir::new_in(place)?, MemorySecrets::default());
        let profile = NewProfile { kind: DeviceKind::Phone, ..NewProfile::named(name, std::slice::from_ref(relay)) };
        let messenger = Messenger::create(world(&secrets), directory.path(), profile).await?;
        Ok(Self { messenger, secrets, directory })
    }

    /// Ends the engine. What is left can be opened again once the profile is free, which this waits for.
    pub(crate) async fn shut_down(self) -> Outcome<Closed> {
        let Self { messenger, secrets, directory } = self;
        messenger.shut_down();
        drop(messenger);
        let lock = File::open(directory.path().join("lock"))?;
        tokio::task::spawn_blocking(move || lock.lock()).await??;
        Ok(Closed { secrets, directory })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) async fn catch_up(&self) -> Outcome<CatchUp> {
        Ok(self.messenger.catch_up(PATIENCE).await?)
    }

    pub(crate) async fn account(&self) -> Outcome<AccountId> {
        Ok(self.messenger.account().await?.id)
    }

    async fn received(&self) -> Outcome<usize> {
        Ok(self.messenger.received_after(0, u32::MAX).await?.len())
    }

    async fn accepted_contacts(&self) -> Outcome<usize> {
        let contacts = self.messenger.contacts().await?;
        Ok(contacts.iter().filter(|contact| contact.state == ContactState::Accepted).count())
    }
}

/// Somebody whose device is off.
pub(crate) struct Closed {
    secrets: MemorySecrets,
    directory: TempDir,
}

impl Closed {
    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Puts the keystore into files, for another process.
    pub(crate) fn secrets_to(&self, directory: &Path) -> Outcome<()> {
        let files = FileSecrets::at(directory.to_path_buf());
        for name in self.secrets.list()? {
            let secret = self.secrets.get(&name)?.ok_or("an entry is gone")?;
            files.put(&name, &secret)?;
        }
        Ok(())
    }

    /// Bytes of each table and index of the database.
    pub(crate) fn sizes(&self) -> Outcome<BTreeMap<String, u64>> {
        let key = self.secrets.get("database")?.ok_or("a profile has a key")?;
        let database = Connection::open(self.directory.path().join("sotto.db"))?;
        database.execute_batch(&format!("PRAGMA key = \"x'{}'\"", HEXLOWER.encode(&key)))?;
        let mut statement = database.prepare("SELECT name, sum(pgsize) FROM dbstat GROUP BY name")?;
        let sizes = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
        Ok(sizes.collect::<Result<_, _>>()?)
    }

    /// Opens the profile.
    pub(crate) async fn open(self) -> Outcome<Person> {
        let Self { secrets, directory } = self;
        let messenger = Messenger::open(world(&secrets), directory.path()).await?;
        Ok(Person { messenger, secrets, directory })
    }
}

fn world(secrets: &MemorySecrets) -> World {
    World {
        transport: Arc::new(HttpTransport::new()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        secrets: Arc::new(secrets.clone()),
        threading: Threading::Threads,
    }
}

/// Somebody who writes to a contact while their relay is away, with files in `place`.
pub(crate) async fn alone(place: &Path) -> Outcome<(Person, AccountId)> {
    let relay = RelayProcess::plain(&place.join("relay"))?;
    let alice = Person::create("alice", relay.address(), place).await?;
    let bob = [Person::create("bob", relay.address(), place).await?];
    introduce(&alice, &bob).await?;
    let to = bob[0].account().await?;
    bob[0].messenger.shut_down();
    Ok((alice, to))
}

/// Makes everybody of `others` a contact of `owner`, with seals that both sides have confirmed.
pub(crate) async fn introduce(owner: &Person, others: &[Person]) -> Outcome<()> {
    let uses = u32::try_from(others.len())?;
    let options = InviteOptions { uses, auto_accept: true, ..InviteOptions::default() };
    let invite = owner.messenger.invite(options).await?;
    owner.catch_up().await?;
    for other in others {
        other.messenger.join(&invite.link).await?;
        other.catch_up().await?;
    }
    loop {
        owner.catch_up().await?;
        let mut are_contacts = owner.accepted_contacts().await? == others.len();
        for other in others {
            other.catch_up().await?;
            are_contacts &= other.accepted_contacts().await? == 1;
        }
        if are_contacts {
            break;
        }
    }
    let account = owner.account().await?;
    // Twice there and back: the first letter carries the opener, the answer its confirmation, the next ones are continuations.
    for round in 1..=2 {
        for other in others {
            other.messenger.send_text(account, format!("words {round}")).await?;
        }
        while owner.received().await? < round * others.len() {
            owner.catch_up().await?;
        }
        for other in others {
            owner.messenger.send_text(other.account().await?, format!("answer {round}")).await?;
        }
        for other in others {
            while other.received().await? < round {
                other.catch_up().await?;
            }
        }
    }
    Ok(())
}
