//! PROTOCOL A7 over real sockets: what a relay sees on one connection never joins two pseudonyms, or a pseudonym and an anonymous call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sotto_core::net::HttpTransport;
use sotto_core::world::{SecretStore, SecretStoreError, SystemClock, SystemRng};
use sotto_core::{InviteOptions, Messenger, NewProfile, Threading, World};
use sotto_protocol::{RelayAddress, RelayName, Timestamp};
use sotto_relay::limits::ShellLimits;
use sotto_relay::shell::{CallKind, ConnectionId, Server, Witness};
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What each connection carried.
#[derive(Default)]
struct Ledger(Mutex<BTreeMap<ConnectionId, BTreeSet<CallKind>>>);

impl Witness for Ledger {
    fn saw(&self, connection: ConnectionId, kind: CallKind) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(connection).or_default().insert(kind);
    }
}

/// A keystore in memory.
#[derive(Default)]
struct Secrets(Mutex<BTreeMap<String, Vec<u8>>>);

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

async fn person(directory: &std::path::Path, name: &str, relay: &RelayAddress) -> Messenger {
    let world = World {
        transport: Arc::new(HttpTransport::new()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        secrets: Arc::new(Secrets::default()),
        threading: Threading::Threads,
    };
    let profile = NewProfile::named(name, std::slice::from_ref(relay));
    Messenger::create(world, &directory.join(name), profile).await.expect("the account is made")
}

async fn settle(people: [&Messenger; 2]) {
    loop {
        let mut moved = 0;
        for person in people {
            let caught_up = person.catch_up(PATIENCE).await.expect("it catches up");
            moved += caught_up.received + caught_up.sent;
        }
        if moved == 0 {
            return;
        }
    }
}

/// The calls by which a relay knows whose each row is.
fn keys(store: &std::path::Path, query: &str) -> Vec<BTreeSet<CallKind>> {
    let connection = rusqlite::Connection::open(store).expect("the relay's store");
    let mut statement = connection.prepare(query).expect("a query");
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|at| Ok(CallKind::Signed(row.get(at)?))).collect());
    rows.expect("it runs").collect::<Result<_, _>>().expect("keys")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_connection_ids_of_anonymous_and_signed_calls_never_meet() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let name = RelayName::parse(&address.to_string(), 80).unwrap();
    let store = SqliteStore::open(SqliteOptions::file(directory.path().join("relay.sqlite"))).unwrap();
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let relay = Relay::new(Arc::new(store), RelayConfig::open(name), Timestamp::EPOCH.after(since_epoch));
    let ledger = Arc::new(Ledger::default());
    let witness = Some(Arc::clone(&ledger) as Arc<dyn Witness>);
    let server = Server { relay, listener, metrics: None, tls: None, limits: ShellLimits::default(), witness };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));

    let address: RelayAddress = format!("http://{address}").parse().unwrap();
    let (alice, bob) =
        (person(directory.path(), "alice", &address).await, person(directory.path(), "bob", &address).await);
    let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
    let invite = alice.invite(options).await.unwrap();
    alice.catch_up(PATIENCE).await.unwrap();
    bob.join(&invite.link).await.unwrap();
    settle([&bob, &alice]).await;
    let bob_id = bob.account().await.unwrap().id;
    for number in 0..5 {
        alice.send_text(bob_id, format!("text {number}")).await.unwrap();
        settle([&alice, &bob]).await;
    }
    // Everybody's signed calls once more, on pools that are warm: tokens dropped and put, another invite's chain.
    alice.block(bob_id).await.unwrap();
    settle([&alice, &bob]).await;
    alice.unblock(bob_id).await.unwrap();
    alice.invite(InviteOptions::default()).await.unwrap();
    settle([&alice, &bob]).await;
    assert_eq!(bob.received_after(0, 100).await.unwrap().len(), 5);

    alice.shut_down();
    bob.shut_down();
    stop.send(()).unwrap();
    serving.await.unwrap();

    let file = directory.path().join("relay.sqlite");
    // Its owner's and its manage key: one call names both anyway, when the inbox is made.
    let inboxes = keys(&file, "SELECT owner_key, manage_key FROM inbox");
    let chains = keys(&file, "SELECT write_key FROM chain");
    let of_chains = 2 * 2 + 1 + 2;
    assert_eq!(
        (inboxes.len(), chains.len()),
        (2, of_chains),
        "two lists each, one that the block moved, and two invites"
    );
    let seen = ledger.0.lock().unwrap();
    let groups: BTreeSet<&BTreeSet<CallKind>> = seen.values().collect();
    for group in &groups {
        let is_one_inbox = inboxes.iter().any(|inbox| group.is_subset(inbox));
        assert!(group.len() == 1 || is_one_inbox, "a connection joins {group:?}");
    }
    let all: BTreeSet<CallKind> = groups.into_iter().flatten().copied().collect();
    assert!(all.contains(&CallKind::Anonymous) && all.contains(&CallKind::Stream), "there were calls of both kinds");
    let lacking = inboxes.iter().chain(&chains).find(|keys| keys.is_disjoint(&all));
    assert_eq!(lacking, None, "every inbox and every chain was spoken for");
}
