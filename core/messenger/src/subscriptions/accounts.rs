//! The chat lists of several accounts as one.

use std::cmp::Reverse;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use sotto_protocol::AccountId;

use super::chats::WINDOW_MAX;
use super::difference::{Change, between};
use super::{ChatList, Moved, is_over};
use crate::engine::Engine;
use crate::error::Error;
use crate::messenger::Messenger;
use crate::records::{Chats, Conversation};

/// A line of the list: two accounts may well know the same person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountChat {
    /// Whose line it is: which account is to open it.
    pub account: AccountId,
    /// It; its number is that account's.
    pub chat: Conversation,
}

/// An account of which nothing can be read now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountFailure {
    /// Which.
    pub account: AccountId,
    /// Why.
    pub error: Error,
}

/// What has changed of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllChatsChanges {
    /// The differences.
    pub changes: Vec<Change<AccountChat>>,
    /// Whose lines stand as they were shown last, and why: all that fail now.
    pub failing: Vec<AccountFailure>,
}

/// The chat lists of several accounts as one, kept up to date for as long as this is held: what stands above the others first, then what has
/// moved last.
pub struct AllChats {
    engines: Vec<Arc<Engine>>,
    chats: Chats,
    window: Mutex<u32>,
    /// One `next` at a time.
    said: tokio::sync::Mutex<Said>,
}

struct Said {
    accounts: Vec<One>,
    list: Option<Vec<AccountChat>>,
    failing: Vec<AccountFailure>,
}

/// An account, and its lines as they were read last.
struct One {
    account: AccountId,
    engine: Arc<Engine>,
    moved: Moved,
    lines: Vec<Conversation>,
}

impl AllChats {
    /// The first `count` chats of these accounts, and more as they are asked for.
    #[must_use]
    pub fn new(accounts: &[&Messenger], chats: Chats, count: u32) -> Self {
        let engines: Vec<_> = accounts.iter().map(|account| Arc::clone(account.engine())).collect();
        let accounts = engines.iter().map(One::of).collect();
        Self {
            engines,
            chats,
            window: Mutex::new(count.clamp(1, WINDOW_MAX)),
            said: tokio::sync::Mutex::new(Said { accounts, list: None, failing: Vec::new() }),
        }
    }

    /// As [`ChatList::next`]; an account that fails hides none of the others.
    ///
    /// # Errors
    /// [`StoreError::Closed`](crate::StoreError::Closed) once the last of the accounts was shut down.
    pub async fn next(&self) -> Result<AllChatsChanges, Error> {
        let mut said = self.said.lock().await;
        loop {
            let window = *self.window.lock().unwrap_or_else(PoisonError::into_inner);
            let mut failing = Vec::new();
            for one in &mut said.accounts {
                let failed = one.read(self.chats, window).await.err();
                failing.extend(failed.map(|error| AccountFailure { account: one.account, error }));
            }
            if let Some(last) = failing.last().filter(|_| failing.len() == said.accounts.len())
                && failing.iter().all(|failing| is_over(&failing.error))
            {
                return Err(last.error.clone());
            }
            let list = said.all(window);
            let changes = match &said.list {
                None => vec![Change::Reset { items: list.clone() }],
                Some(before) => between(before, &list, |line| (line.account, line.chat.number)),
            };
            let is_new = !changes.is_empty() || failing != said.failing;
            said.list = Some(list);
            said.failing.clone_from(&failing);
            if is_new {
                return Ok(AllChatsChanges { changes, failing });
            }
            any(&mut said.accounts).await;
        }
    }

    /// As [`ChatList::more`].
    pub fn more(&self, count: u32) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        *window = window.saturating_add(count).min(WINDOW_MAX);
        drop(window);
        self.engines.iter().for_each(|engine| engine.show_again());
    }
}

impl Said {
    fn all(&self, window: u32) -> Vec<AccountChat> {
        let line = |one: &One, chat: &Conversation| AccountChat { account: one.account, chat: chat.clone() };
        let mut all: Vec<_> =
            self.accounts.iter().flat_map(|one| one.lines.iter().map(move |chat| line(one, chat))).collect();
        // Stable: of one account the order stays what it is there.
        all.sort_by_key(|line| (Reverse(line.chat.is_pinned), Reverse(line.chat.last_at)));
        all.truncate(window as usize);
        all
    }
}

impl One {
    fn of(engine: &Arc<Engine>) -> Self {
        let account = engine.own().account;
        Self { account, engine: Arc::clone(engine), moved: Moved::of(engine), lines: Vec::new() }
    }

    async fn read(&mut self, chats: Chats, window: u32) -> Result<(), Error> {
        self.moved.see();
        self.lines = ChatList::read(&self.engine, chats, window).await?;
        Ok(())
    }
}

/// Waits until one of them has moved.
async fn any(accounts: &mut [One]) {
    let mut waits: Vec<_> = accounts.iter_mut().map(|one| Box::pin(one.moved.again())).collect();
    poll_fn(|context| {
        let is_ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
