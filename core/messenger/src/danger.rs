//! Tools that break things on purpose, for tests that walk through every step of an operation, and one that makes a profile large.

use std::cell::RefCell;

use rusqlite::params;
use sotto_protocol::{AccountId, Timestamp};

use crate::store::{Query as _, Tx};
pub use crate::store::{StepHook, StoreStep};
use crate::{Error, Messenger, World};

thread_local! {
    static HOOK: RefCell<Option<StepHook>> = const { RefCell::new(None) };
    static TO_COME: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Profiles that are made or opened on this thread from now on tell this one of every step of their database; `None`: nobody.
pub fn hear_steps(hook: Option<StepHook>) {
    HOOK.set(hook);
}

/// Whom a profile that is opened now tells.
pub(crate) fn step_hook() -> Option<StepHook> {
    HOOK.with_borrow(Clone::clone)
}

/// Profiles that are opened on this thread from now on are opened by a release that has these migrations behind those of this one, and walk
/// those that they lack. One that has walked them can be opened by no release without them.
pub fn let_come(migrations: Vec<String>) {
    TO_COME.set(migrations);
}

/// What a later release has behind the migrations of this one.
pub(crate) fn migrations_to_come() -> Vec<String> {
    TO_COME.with_borrow(Clone::clone)
}

/// Lets the `step`th database write from now fail as a full disk would, once; 0: none.
pub fn fail_write(messenger: &Messenger, step: u64) {
    messenger.engine().store.fail_at().arm(step);
}

/// Lets the `step`th database write from now fail, and every one after it: the process died there, as far as its disk knows.
pub fn fail_writes_from(messenger: &Messenger, step: u64) {
    messenger.engine().store.fail_at().arm_for_good(step);
}

/// Database writes since one of the above.
#[must_use]
pub fn writes(messenger: &Messenger) -> u64 {
    messenger.engine().store.fail_at().steps()
}

/// Opens a copy of a profile as one more device of its account, which goes on beside the one that it was copied from, which was told to
/// [expect](expect_siblings) that. The copy's keystore must be one of its own.
///
/// # Errors
/// As [`Messenger::open`]; the relay of the account's list must be there. [`InputError::WrongState`](crate::InputError::WrongState) where the
/// copy was made before that one was told.
pub async fn open_beside(world: World, directory: &std::path::Path) -> Result<Messenger, Error> {
    Messenger::open_beside(world, directory).await
}

/// Makes room for more devices of the account: what a copy of this profile that becomes one of them needs to reach this one. Before the
/// copy is made.
///
/// # Errors
/// [`Error::Store`].
pub async fn expect_siblings(messenger: &Messenger) -> Result<(), Error> {
    let engine = messenger.engine();
    engine
        .write(|engine, tx| {
            let now = engine.network_now();
            Ok::<_, Error>(crate::own::siblings::expect(tx, &engine.own(), now, &mut engine.chance()).map(drop)?)
        })
        .await?;
    engine.wake();
    Ok(())
}

/// Takes another device of the account off its list, for good: all secrets that it knew are others from then on.
///
/// # Errors
/// [`InputError::NotFound`](crate::InputError::NotFound), [`InputError::WrongState`](crate::InputError::WrongState) for an account with more
/// devices than the two, [`Error::NeedsRootKey`], [`Error::SecretStore`], [`Error::RolledBack`].
pub async fn remove_device(messenger: &Messenger, device: sotto_protocol::DeviceId) -> Result<(), Error> {
    messenger.remove_device(device).await
}

/// Fills a profile with chats and with messages that nobody sent, as a phone has them after years: a tenth of all in one chat, the
/// others spread evenly and interleaved, one every 150 s. `says` tells what message of a number says. Returns the account of the long chat. For
/// benchmarks of large profiles: nothing of it ever travelled.
///
/// # Errors
/// [`Error::Store`].
pub async fn fill_with_chats(
    messenger: &Messenger,
    chats: u32,
    messages: u32,
    says: impl Fn(u32) -> String + Clone + Send + 'static,
) -> Result<AccountId, Error> {
    /// Rows of a transaction: a log of a few megabytes.
    const TOGETHER: u32 = 10_000;
    let engine = messenger.engine();
    engine.write(move |_, tx| (1..=i64::from(chats)).try_for_each(|chat| fill_chat(tx, chat))).await?;
    // The index is made at the end: filling it in the order of the rows would touch all of its pages in every transaction.
    let index = "SELECT sql FROM sqlite_schema WHERE name = 'message_once'";
    let index: String =
        engine.read(move |_, view| Ok::<_, Error>(view.one(index, [], |row| row.get(0))?)).await?.unwrap_or_default();
    engine.write(|_, tx| Ok::<_, Error>(tx.execute("DROP INDEX message_once", [])?)).await?;
    for first in (0..messages).step_by(TOGETHER as usize) {
        let last = first.saturating_add(TOGETHER).min(messages);
        let says = says.clone();
        let fill =
            move |tx: &mut Tx<'_>| (first..last).try_for_each(|number| fill_message(tx, number, chats, &says(number)));
        engine.write(move |_, tx| fill(tx)).await?;
    }
    engine
        .write(move |_, tx| {
            tx.execute(&index, [])?;
            tx.execute(
                "UPDATE conversation SET (last_message, last_at) =
                 (SELECT max(id), max(received_at) FROM message WHERE message.conversation = conversation.id)
                 WHERE EXISTS (SELECT 1 FROM message WHERE message.conversation = conversation.id)",
                [],
            )?;
            Ok::<_, Error>(())
        })
        .await?;
    Ok(AccountId::from_bytes(filled_account(1)))
}

/// What was delivered without a number and not heeded, by its cause: it is counted in memory alone.
#[must_use]
pub fn passed_over(messenger: &Messenger) -> std::collections::BTreeMap<&'static str, u64> {
    messenger.engine().live.refusals()
}

/// When message `number` of a profile that was [filled](fill_with_chats) was said.
#[must_use]
pub fn filled_at(number: u32) -> Timestamp {
    Timestamp::from_ms(filled_at_ms(number).unsigned_abs())
}

fn filled_at_ms(number: u32) -> i64 {
    const APART_MS: i64 = 150_000;
    1_600_000_000_000 + i64::from(number) * APART_MS
}

fn filled_account(chat: i64) -> [u8; 32] {
    let mut account = [0x5f; 32];
    account[..8].copy_from_slice(&chat.to_be_bytes());
    account
}

fn fill_chat(tx: &mut Tx<'_>, chat: i64) -> Result<(), Error> {
    let account = filled_account(chat);
    tx.execute(
        "INSERT INTO contact (id, account, name, state, relay, chain, chain_key, manifest, epoch, version, hash, manifest_read_at, created_at)
         VALUES (?1, ?2, 'Contact ' || ?1, 3, 'https://relay.example', ?2, ?2, zeroblob(400), 1, 1, ?2, 1, 1)",
        params![chat, account],
    )?;
    tx.execute("INSERT INTO conversation (id, conversation, contact) VALUES (?1, ?2, ?1)", params![chat, account])?;
    Ok(())
}

fn fill_message(tx: &mut Tx<'_>, number: u32, chats: u32, text: &str) -> Result<(), Error> {
    let chat = if number.is_multiple_of(10) { 1 } else { i64::from((number - number / 10 - 1) % chats) + 1 };
    let sender = if number.is_multiple_of(3) { 0 } else { chat };
    let state = if sender == 0 { 3 } else { 10 };
    let mut message_id = [0x6a; 16];
    message_id[..4].copy_from_slice(&number.to_be_bytes());
    tx.execute(
        "INSERT INTO message (conversation, sender, message_id, sent_at, received_at, kind, text, content, state, position)
         VALUES (?1, ?2, ?3, ?4, ?4, 1, ?5, CAST(?5 AS BLOB), ?6, ?4 << 20)",
        params![chat, sender, message_id, filled_at_ms(number), text, state],
    )?;
    Ok(())
}
