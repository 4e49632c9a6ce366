//! What happens before a fixture is taken: two people meet and write to each other, and something is left under way everywhere.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use sotto_core::world::SecretStore as _;
use sotto_core::{Error, InviteOptions, Messenger, NewProfile};
use sotto_protocol::RelayAddress;
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use sotto_sim::{MemorySecrets, World, hex};

use crate::rows;
use crate::wire::Recorder;

/// The relay's name.
pub const RELAY: &str = "relay.example";
/// Virtual time is free.
const PATIENCE: Duration = Duration::from_secs(600);

/// What alice said that bob had not fetched, and what had not left her device, when the fixture was taken.
pub const UNDER_WAY: [&str; 2] = ["it waits at the relay", "it waits on the device"];
/// What both had by then.
pub const SAID: [&str; 3] = ["hello bob", "hello alice", "how are you?"];

/// One of the two, on a disk.
pub struct Device {
    /// Their engine.
    pub messenger: Messenger,
    /// Their keystore.
    pub secrets: MemorySecrets,
}

/// The relay of a file.
///
/// # Panics
/// When its database does not open.
pub fn start_relay(world: &World, address: &RelayAddress, file: &Path) {
    let store = SqliteStore::open(SqliteOptions::file(file).inline()).expect("the relay's database opens");
    let now = world.world(&MemorySecrets::default()).clock.now();
    world.network.put_relay(address, Relay::new(Arc::new(store), RelayConfig::open(address.name().clone()), now));
}

/// Makes a fixture in a folder. Needs a paused tokio clock and one thread.
///
/// # Errors
/// Whatever goes wrong on the way.
///
/// # Panics
/// When a file cannot be written.
pub async fn make(folder: &Path) -> Result<(), Error> {
    let world = World::seeded(1);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let relay_file = directory.path().join("relay.sqlite");
    let address = world.network.add_relay(RELAY);
    start_relay(&world, &address, &relay_file);
    let plain = world.world(&MemorySecrets::default());
    let recorder = Recorder::new(plain.transport, plain.clock.clone());
    let mut people = Vec::new();
    for name in ["alice", "bob"] {
        let secrets = MemorySecrets::default();
        let world = sotto_core::World { transport: Arc::new(recorder.clone()), ..world.world(&secrets) };
        let profile = NewProfile::named(name, std::slice::from_ref(&address));
        let messenger = Messenger::create(world, &directory.path().join(name), profile).await?;
        people.push(Device { messenger, secrets });
    }
    let (alice, bob) = (&people[0].messenger, &people[1].messenger);
    plain.clock.sleep(Duration::from_secs(1)).await;
    let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
    let invite = alice.invite(options).await?;
    alice.catch_up(PATIENCE).await?;
    bob.join(&invite.link).await?;
    settle(&[bob, alice]).await?;
    for (from, to, text) in [(alice, "bob", SAID[0]), (bob, "alice", SAID[1]), (alice, "bob", SAID[2])] {
        say(from, to, text).await?;
        settle(&[alice, bob]).await?;
    }
    // The words of what was said so far stand in the search index.
    alice.search("hello", None, 1).await?;
    bob.shut_down();
    say(alice, "bob", UNDER_WAY[0]).await?;
    alice.catch_up(PATIENCE).await?;
    world.network.set_down(&address, true);
    say(alice, "bob", UNDER_WAY[1]).await?;
    alice.shut_down();
    fs::create_dir_all(folder).expect("the folder can be made");
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("a fixture can be written");
    write("wire.txt", recorder.text());
    write("relay.sql", dump(&relay_file, None));
    for (device, name) in people.iter().zip(["alice", "bob"]) {
        let names = device.secrets.list()?;
        let secret = |name: &String| Some(format!("{name} {}\n", hex(&device.secrets.get(name).ok()??)));
        write(&format!("{name}.secrets"), names.iter().filter_map(secret).collect());
        let key = device.secrets.get("database")?.map(|key| hex(&key));
        write(&format!("{name}.sql"), dump(&directory.path().join(name).join("sotto.db"), key.as_deref()));
    }
    Ok(())
}

/// Everybody looks at everything until nothing moves any more.
///
/// # Errors
/// As [`Messenger::catch_up`].
pub async fn settle(people: &[&Messenger]) -> Result<(), Error> {
    loop {
        let mut moved = 0;
        for person in people {
            let caught_up = person.catch_up(PATIENCE).await?;
            moved += caught_up.received + caught_up.sent;
        }
        if moved == 0 {
            return Ok(());
        }
    }
}

/// Says something to a contact by name.
///
/// # Errors
/// As [`Messenger::send_text`].
pub async fn say(from: &Messenger, to: &str, text: &str) -> Result<(), Error> {
    let contact = from.find_contact(to).await?;
    from.send_text(contact.id, text.to_owned()).await.map(drop)
}

/// A database, opened with its key if it has one.
///
/// # Panics
/// When it does not open.
#[must_use]
pub fn connect(file: &Path, key: Option<&str>) -> Connection {
    let connection = Connection::open(file).expect("a database opens");
    if let Some(key) = key {
        connection.execute_batch(&format!("PRAGMA key = \"x'{key}'\"")).expect("the key is taken");
    }
    connection
}

fn dump(file: &Path, key: Option<&str>) -> String {
    rows::dump(&connect(file, key)).expect("a database can be read")
}
