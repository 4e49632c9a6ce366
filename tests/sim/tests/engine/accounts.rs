//! Several accounts in one process: one list, and nothing that they share.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use sotto_core::accounts::{AccountChat, AccountFailure, AccountSecrets, AllChats};
use sotto_core::records::Chats;
use sotto_core::subscriptions::apply;
use sotto_core::world::SecretStore;
use sotto_core::{Error, InputError, InviteOptions, Messenger, NewProfile, StoreError};
use sotto_protocol::{AccountId, RelayAddress};
use sotto_sim::{MemorySecrets, Person, World};
use tempfile::TempDir;

use crate::subscriptions::now;

/// A person with an account at work and one at home, on one phone.
struct Phone {
    keystore: MemorySecrets,
    directories: [TempDir; 2],
    accounts: [Messenger; 2],
}

const NAMES: [&str; 2] = ["work", "home"];

fn world_of(world: &World, keystore: &MemorySecrets, name: &str) -> sotto_core::World {
    let secrets = AccountSecrets::new(Arc::new(keystore.clone()), name).expect("a name");
    sotto_core::World { secrets: Arc::new(secrets), ..world.world(keystore) }
}

impl Phone {
    async fn new(world: &World, relay: &RelayAddress) -> Self {
        let keystore = MemorySecrets::default();
        let directories = [TempDir::new().expect("a directory"), TempDir::new().expect("a directory")];
        let mut accounts = Vec::new();
        for (name, directory) in NAMES.iter().zip(&directories) {
            let profile = NewProfile::named(*name, std::slice::from_ref(relay));
            let made = Messenger::create(world_of(world, &keystore, name), directory.path(), profile).await;
            accounts.push(made.expect("an account"));
        }
        let accounts = accounts.try_into().unwrap_or_else(|_| unreachable!("two"));
        Self { keystore, directories, accounts }
    }

    async fn settle(&self, world: &World, others: &[&Person]) {
        for _ in 0..4 {
            for account in &self.accounts {
                account.catch_up(Duration::from_secs(60)).await.expect("it is on");
            }
            world.settle(others).await.expect("they are on");
        }
    }
}

async fn meet(world: &World, account: &Messenger, person: &Person) {
    world.wait(Duration::from_secs(1)).await;
    let options = InviteOptions { auto_accept: true, ..InviteOptions::default() };
    let link = account.invite(options).await.expect("an invite").link;
    account.catch_up(Duration::from_secs(60)).await.expect("it is published");
    person.messenger.join(&link).await.expect("they ask");
    for _ in 0..3 {
        person.catch_up().await.expect("they are on");
        account.catch_up(Duration::from_secs(60)).await.expect("it is on");
    }
}

/// What the list says when nothing more is to be told.
async fn draw(chats: &AllChats, list: &mut Vec<AccountChat>) {
    loop {
        tokio::select! {
            biased;
            changes = chats.next() => {
                let changes = changes.expect("a list");
                assert_eq!(changes.failing, []);
                apply(list, changes.changes);
            }
            () = ready(()) => return,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_chats_of_several_accounts_are_one_list_that_is_kept_up_to_date() {
    let world = World::seeded(1950);
    let relay = world.network.add_relay("relay");
    let phone = Phone::new(&world, &relay).await;
    let [bob, carol] = [
        world.person("bob", std::slice::from_ref(&relay)).await,
        world.person("carol", std::slice::from_ref(&relay)).await,
    ]
    .map(|person| person.expect("they begin"));
    let [work, home] = &phone.accounts;
    for (account, person) in [(work, &bob), (home, &bob), (home, &carol)] {
        meet(&world, account, person).await;
    }
    let chats = AllChats::new(&[work, home], Chats::Main, 10);
    let mut list = Vec::new();
    let mut shown = Vec::new();
    for step in 0..5 {
        world.wait(Duration::from_secs(5)).await;
        match step {
            1 => drop(bob.say("work", "to work").await.unwrap()),
            2 => drop(carol.say("home", "to home").await.unwrap()),
            3 => drop(bob.say("home", "home as well").await.unwrap()),
            4 => {
                let bobs = work.find_contact("bob").await.unwrap().id;
                work.pin_conversation(bobs, true).await.unwrap();
            }
            _ => {}
        }
        phone.settle(&world, &[&bob, &carol]).await;
        draw(&chats, &mut list).await;
        let mut fresh = Vec::new();
        draw(&AllChats::new(&[work, home], Chats::Main, 10), &mut fresh).await;
        assert_eq!(list, fresh);
        let line = |line: &AccountChat| line.chat.preview.clone().unwrap_or_default();
        shown.push(list.iter().map(line).filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", "));
    }
    assert_eq!(
        shown,
        ["", "to work", "to home, to work", "home as well, to home, to work", "to work, home as well, to home"]
    );
    let at_work = work.account().await.unwrap().id;
    let at_home = home.account().await.unwrap().id;
    assert_eq!(list.iter().map(|line| line.account).collect::<Vec<_>>(), [at_work, at_home, at_home]);
    let mut short = Vec::new();
    let chats = AllChats::new(&[work, home], Chats::Main, 1);
    draw(&chats, &mut short).await;
    assert_eq!(short, list[..1]);
    chats.more(1);
    draw(&chats, &mut short).await;
    assert_eq!(short, list[..2]);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_fails_hides_none_of_the_others() {
    let world = World::seeded(1952);
    let relay = world.network.add_relay("relay");
    let phone = Phone::new(&world, &relay).await;
    let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    let [work, home] = &phone.accounts;
    for (account, to) in [(work, "work"), (home, "home")] {
        meet(&world, account, &bob).await;
        bob.say(to, "before").await.unwrap();
    }
    phone.settle(&world, &[&bob]).await;
    let chats = AllChats::new(&[work, home], Chats::Main, 10);
    let mut list = Vec::new();
    draw(&chats, &mut list).await;
    let (at_work, at_home) = (work.account().await.unwrap().id, home.account().await.unwrap().id);
    let preview = |list: &[AccountChat], of: AccountId| {
        let line = list.iter().find(|line| line.account == of);
        line.and_then(|line| line.chat.preview.clone()).unwrap_or_default()
    };
    work.pause().await;
    bob.say("home", "at home").await.unwrap();
    bob.say("work", "at work").await.unwrap();
    bob.catch_up().await.unwrap();
    home.catch_up(Duration::from_secs(60)).await.unwrap();
    let changes = chats.next().await.unwrap();
    assert_eq!(changes.failing, [AccountFailure { account: at_work, error: Error::Paused }]);
    apply(&mut list, changes.changes);
    assert_eq!([at_work, at_home].map(|of| preview(&list, of)), ["before", "at home"]);
    for _ in 0..3 {
        assert!(now(chats.next()).await.is_none(), "and that is said once");
    }
    work.resume().await.unwrap();
    let changes = chats.next().await.unwrap();
    assert_eq!(changes.failing, []);
    apply(&mut list, changes.changes);
    phone.settle(&world, &[&bob]).await;
    draw(&chats, &mut list).await;
    assert_eq!([at_work, at_home].map(|of| preview(&list, of)), ["at work", "at home"]);
    work.shut_down();
    let changes = chats.next().await.unwrap();
    assert_eq!((changes.changes.len(), changes.failing.len()), (0, 1));
    assert!(now(chats.next()).await.is_none());
    home.shut_down();
    for _ in 0..2 {
        assert_eq!(chats.next().await, Err(Error::Store(StoreError::Closed)), "the last one has ended");
    }
}

#[tokio::test(start_paused = true)]
async fn accounts_share_no_key_and_the_end_of_one_leaves_the_other_whole() {
    let world = World::seeded(1951);
    let relay = world.network.add_relay("relay");
    let phone = Phone::new(&world, &relay).await;
    let bob = world.person("bob", std::slice::from_ref(&relay)).await.unwrap();
    for account in &phone.accounts {
        meet(&world, account, &bob).await;
    }
    let names = phone.keystore.list().unwrap();
    let (work, home): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.starts_with("work/"));
    assert!(!work.is_empty() && !home.is_empty() && home.iter().all(|name| name.starts_with("home/")));
    let mut secrets = BTreeSet::new();
    for name in names.iter().filter(|name| !name.ends_with("generation")) {
        assert!(secrets.insert(phone.keystore.get(name).unwrap().unwrap().to_vec()), "{name} is another's as well");
    }
    let Phone { keystore, directories, accounts: [work, home] } = phone;
    work.delete_account(Duration::from_secs(60)).await.unwrap();
    home.shut_down();
    assert!(keystore.list().unwrap().iter().all(|name| name.starts_with("home/")));
    let home = Messenger::open(world_of(&world, &keystore, "home"), directories[1].path()).await.unwrap();
    bob.say("home", "still there?").await.unwrap();
    bob.catch_up().await.unwrap();
    home.catch_up(Duration::from_secs(60)).await.unwrap();
    let bobs = home.find_contact("bob").await.unwrap().id;
    assert_eq!(home.messages(bobs, None, 1).await.unwrap()[0].text, "still there?");
}

#[test]
fn a_part_of_a_keystore_has_a_plain_name() {
    let keystore: Arc<dyn SecretStore> = Arc::new(MemorySecrets::default());
    for name in ["", "a/b", "A", "é", &"a".repeat(65)] {
        let refused = AccountSecrets::new(Arc::clone(&keystore), name).err();
        let what = "the name of an account's secrets";
        assert_eq!(refused, Some(Error::Input(InputError::OutOfRange { what })), "{name}");
    }
    let [one, other] = ["a", "a-b"].map(|name| AccountSecrets::new(Arc::clone(&keystore), name).unwrap());
    one.put("key", &[1]).unwrap();
    assert_eq!((other.get("key").unwrap(), other.list().unwrap().len()), (None, 0));
    other.put("key", &[2]).unwrap();
    one.delete("key").unwrap();
    assert_eq!((one.list().unwrap(), other.list().unwrap()), (vec![], vec!["key".to_owned()]));
}
