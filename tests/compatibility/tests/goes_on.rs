//! An earlier release stopped in the middle of something; this one opens what it left and goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sotto_compatibility::make::{self, Device, RELAY, SAID, UNDER_WAY, connect, say, settle};
use sotto_compatibility::{fixtures, rows};
use sotto_core::Messenger;
use sotto_core::world::SecretStore as _;
use sotto_sim::{MemorySecrets, World};

/// Longer than it took to make a fixture, and shorter than anything in it lives.
const LATER: Duration = Duration::from_secs(6 * 3600);

/// How to come out of a failure here, for whoever changed a schema.
const ANEW: &str = "before the first release make the fixture anew: cargo xtask fixtures; after it write a migration";

fn secrets(folder: &Path, name: &str) -> MemorySecrets {
    let secrets = MemorySecrets::default();
    for line in fs::read_to_string(folder.join(format!("{name}.secrets"))).expect("a fixture is whole").lines() {
        let (entry, value) = line.split_once(' ').expect("a fixture is whole");
        secrets
            .put(entry, &data_encoding::HEXLOWER.decode(value.as_bytes()).expect("a fixture is whole"))
            .expect("a fixture is whole");
    }
    secrets
}

fn restore(folder: &Path, name: &str, file: &Path, key: Option<&str>) {
    let text = fs::read_to_string(folder.join(format!("{name}.sql"))).expect("a fixture is whole");
    rows::restore(&connect(file, key), &text).expect("a fixture is whole");
}

async fn open(world: &World, folder: &Path, directory: &Path, name: &str) -> Device {
    let place: PathBuf = directory.join(name);
    fs::create_dir(&place).expect("a fixture is whole");
    let secrets = secrets(folder, name);
    let key = sotto_sim::hex(&secrets.get("database").expect("a fixture is whole").expect("a fixture is whole"));
    restore(folder, name, &place.join("sotto.db"), Some(&key));
    let messenger = Messenger::open(world.world(&secrets), &place).await;
    Device {
        messenger: messenger.unwrap_or_else(|error| unreachable!("{}: {error}; {ANEW}", folder.display())),
        secrets,
    }
}

async fn transcript(messenger: &Messenger, with: &str) -> Vec<String> {
    let contact = messenger.find_contact(with).await.expect("a fixture is whole");
    let messages = messenger.messages(contact.id, None, u32::MAX).await.expect("a fixture is whole");
    messages.into_iter().map(|message| message.text).collect()
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_release_left_under_way_arrives_and_both_go_on() {
    for folder in fixtures() {
        let directory = tempfile::tempdir().unwrap();
        let world = World::seeded(2);
        tokio::time::advance(LATER).await;
        let address = world.network.add_relay(RELAY);
        let file = directory.path().join("relay.sqlite");
        restore(&folder, "relay", &file, None);
        make::start_relay(&world, &address, &file);
        let alice = open(&world, &folder, directory.path(), "alice").await.messenger;
        let bob = open(&world, &folder, directory.path(), "bob").await.messenger;
        let before = [&SAID[..], &UNDER_WAY[..]].concat();
        assert_eq!(transcript(&alice, "bob").await, before, "{}: {ANEW}", folder.display());
        assert_eq!(transcript(&bob, "alice").await, SAID);
        settle(&[&alice, &bob]).await.unwrap();
        assert_eq!(transcript(&bob, "alice").await, before);
        say(&bob, "alice", "it all came").await.unwrap();
        say(&alice, "bob", "good").await.unwrap();
        settle(&[&bob, &alice]).await.unwrap();
        for (person, other) in [(&alice, "bob"), (&bob, "alice")] {
            assert_eq!(transcript(person, other).await.len(), before.len() + 2, "{}", folder.display());
            let found = person.search("it", None, 10).await.unwrap();
            let texts: Vec<_> = found.hits.iter().map(|hit| hit.message.text.as_str()).collect();
            assert_eq!(texts, ["it all came", UNDER_WAY[1], UNDER_WAY[0]], "{}", folder.display());
            assert_eq!(person.search("hell", None, 10).await.unwrap().hits.len(), 2, "{}", folder.display());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_walked_the_migrations_has_the_schema_of_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::seeded(3);
    tokio::time::advance(LATER).await;
    let address = world.network.add_relay(RELAY);
    let secrets = MemorySecrets::default();
    let profile = sotto_core::NewProfile::named("new", std::slice::from_ref(&address));
    let place = directory.path().join("new");
    drop(Messenger::create(world.world(&secrets), &place, profile).await.unwrap());
    let new = schema(&place, &secrets);
    for (number, folder) in fixtures().into_iter().enumerate() {
        let directory = directory.path().join(number.to_string());
        fs::create_dir(&directory).unwrap();
        let old = open(&world, &folder, &directory, "alice").await;
        assert_eq!(schema(&directory.join("alice"), &old.secrets), new, "{}: {ANEW}", folder.display());
    }
}

/// What the tables are, however their columns came to be.
fn schema(place: &Path, secrets: &MemorySecrets) -> Vec<String> {
    let key = sotto_sim::hex(&secrets.get("database").expect("a fixture is whole").expect("a fixture is whole"));
    let connection = connect(&place.join("sotto.db"), Some(&key));
    let columns = "SELECT t.name || '.' || c.name || ' ' || c.type || ' ' || c.\"notnull\" || ' ' || coalesce(c.dflt_value, '') || ' ' || c.pk
                   FROM sqlite_schema AS t JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table'
                   UNION ALL SELECT 'index ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema WHERE type = 'index' ORDER BY 1";
    let mut statement = connection.prepare(columns).expect("a fixture is whole");
    statement
        .query_map([], |row| row.get(0))
        .expect("a fixture is whole")
        .collect::<Result<_, _>>()
        .expect("a fixture is whole")
}
