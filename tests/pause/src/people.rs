//! Two people and the relay that they share.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use sotto_core::net::HttpTransport;
use sotto_core::protocol::{AccountId, RelayAddress};
use sotto_core::world::{SecretStore, SecretStoreError, SystemClock, SystemRng};
use sotto_core::{InviteOptions, Messenger, NewProfile, Threading, World, danger};
use zeroize::Zeroizing;

use crate::Violation;
use crate::hold::{Hold, PATIENCE};

/// First word of the command line that makes a binary a relay: with it this process starts itself once more.
pub const RELAY_PROCESS: &str = "relay-process";

/// A relay that does not outlive its walk.
pub(crate) struct RelayProcess {
    process: Child,
    address: RelayAddress,
}

impl RelayProcess {
    fn start(data: &Path) -> Result<Self, Violation> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([RELAY_PROCESS, "--dev", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        let mut process = command.env("SOTTO_LOG", "error").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let out = process.stdout.take().ok_or_else(|| Violation("the relay has no output".to_owned()))?;
        BufReader::new(out).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let address = address.ok_or_else(|| Violation("the relay did not start".to_owned()))?;
        Ok(Self { process, address })
    }
}

impl RelayProcess {
    /// From now on it takes no more than the kernel does for it.
    pub(crate) fn freeze(&self) -> Result<(), Violation> {
        self.signal(Signal::STOP)
    }

    pub(crate) fn thaw(&self) -> Result<(), Violation> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Violation> {
        let process = Pid::from_child(&self.process);
        kill_process(process, signal).map_err(|error| Violation(error.to_string()))
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A keystore in memory. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl SecretStore for Secrets {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SecretStoreError> {
        Ok(self.0.lock().map_err(|_| SecretStoreError::Failed)?.get(name).cloned().map(Zeroizing::new))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), SecretStoreError> {
        self.0.lock().map_err(|_| SecretStoreError::Failed)?.insert(name.to_owned(), secret.to_vec());
        Ok(())
    }

    fn delete(&self, name: &str) -> Result<(), SecretStoreError> {
        self.0.lock().map_err(|_| SecretStoreError::Failed)?.remove(name);
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, SecretStoreError> {
        Ok(self.0.lock().map_err(|_| SecretStoreError::Failed)?.keys().cloned().collect())
    }
}

/// Somebody with one device.
pub(crate) struct Person {
    pub(crate) messenger: Messenger,
    pub(crate) account: AccountId,
    directory: PathBuf,
    secrets: Secrets,
}

impl Person {
    async fn begin(name: &str, place: &Path, relay: &RelayAddress) -> Result<Self, Violation> {
        let (directory, secrets) = (place.join(name), Secrets::default());
        let profile = NewProfile::named(name, std::slice::from_ref(relay));
        let messenger = Messenger::create(world(&secrets), &directory, profile).await?;
        let account = messenger.account().await?.id;
        Ok(Self { messenger, account, directory, secrets })
    }

    /// Opens the profile anew, behind the end of the engine that had it.
    pub(crate) async fn reopen(&mut self) -> Result<(), Violation> {
        self.messenger.shut_down();
        self.messenger = Messenger::open(world(&self.secrets), &self.directory).await?;
        Ok(())
    }

    /// Runs statements on the database while it is closed here.
    pub(crate) fn change(&self, sql: &str) -> Result<(), Violation> {
        sotto_cipher::begin();
        let key = self.secrets.get("database").ok().flatten();
        let key = key.ok_or_else(|| Violation("there is no key".to_owned()))?;
        let database = Connection::open(self.directory.join("sotto.db"))?;
        database.execute_batch(&format!("PRAGMA key = \"x'{}'\"; {sql}", data_encoding::HEXLOWER.encode(&key)))?;
        Ok(())
    }

    /// Ready once so much was said with somebody: a relay may still be handing out what it took a moment ago.
    async fn has(&self, count: usize, with: AccountId) -> Result<(), Violation> {
        let mut events = self.messenger.events();
        while self.transcript(with).await?.len() < count {
            // One that fell behind looks as well.
            let _ = events.recv().await;
        }
        Ok(())
    }

    /// What was said with somebody, oldest first.
    pub(crate) async fn transcript(&self, with: AccountId) -> Result<Vec<String>, Violation> {
        let messages = self.messenger.messages(with, None, u32::MAX).await?;
        Ok(messages.into_iter().map(|message| message.text).collect())
    }
}

fn world(secrets: &Secrets) -> World {
    World {
        transport: Arc::new(HttpTransport::new()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        secrets: Arc::new(secrets.clone()),
        threading: Threading::Threads,
    }
}

/// Alice, whose writer can be held, and bob, who are contacts.
pub(crate) struct People {
    pub(crate) alice: Person,
    pub(crate) bob: Person,
    pub(crate) hold: Hold,
    // In this order: the relay ends before its files go.
    pub(crate) relay: RelayProcess,
    pub(crate) place: tempfile::TempDir,
}

impl People {
    pub(crate) async fn meet() -> Result<Self, Violation> {
        let place = tempfile::tempdir()?;
        let relay = RelayProcess::start(&place.path().join("relay"))?;
        let hold = Hold::default();
        danger::hear_steps(Some(hold.hook()));
        let alice = Person::begin("alice", place.path(), &relay.address).await?;
        danger::hear_steps(None);
        let bob = Person::begin("bob", place.path(), &relay.address).await?;
        let people = Self { alice, bob, hold, relay, place };
        let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
        let invite = people.alice.messenger.invite(options).await?;
        people.alice.messenger.catch_up(PATIENCE).await?;
        people.bob.messenger.join(&invite.link).await?;
        people.settle().await?;
        for (from, to) in [(&people.alice, &people.bob), (&people.bob, &people.alice)] {
            from.messenger.send_text(to.account, "hello".to_owned()).await?;
            people.settle().await?;
        }
        Ok(people)
    }

    /// Both send and receive until nothing moves. What moved since they were opened is not told: the first round sends whatever that was.
    pub(crate) async fn settle(&self) -> Result<(), Violation> {
        let mut moved = 1;
        for round in 0.. {
            if round > 1 && moved == 0 {
                break;
            }
            moved = 0;
            for person in [&self.bob, &self.alice] {
                let caught_up = person.messenger.catch_up(PATIENCE).await?;
                if !caught_up.is_complete {
                    return Err(Violation(format!("something does not leave: {caught_up:?}")));
                }
                moved += caught_up.received + caught_up.sent;
            }
        }
        Ok(())
    }

    /// Everything that was said is there once, on both sides, and nothing that was not.
    pub(crate) async fn compare(&self, said: &[String]) -> Result<(), Violation> {
        let come = async {
            self.settle().await?;
            for (person, with) in [(&self.alice, &self.bob), (&self.bob, &self.alice)] {
                person.has(said.len() + 2, with.account).await?;
            }
            Ok::<_, Violation>(())
        };
        // What does not come is shown below.
        if let Ok(settled) = tokio::time::timeout(PATIENCE, come).await {
            settled?;
        }
        let wanted: BTreeSet<&str> = said.iter().map(String::as_str).chain(["hello"]).collect();
        for (person, with) in [(&self.alice, &self.bob), (&self.bob, &self.alice)] {
            let transcript = person.transcript(with.account).await?;
            let seen: BTreeSet<&str> = transcript.iter().map(String::as_str).collect();
            // Both have said hello.
            if seen != wanted || transcript.len() != said.len() + 2 {
                let whose = if person.account == self.alice.account { "alice" } else { "bob" };
                return Err(Violation(format!("said {said:?}, and in {whose}'s transcript is {transcript:?}")));
            }
        }
        Ok(())
    }
}
