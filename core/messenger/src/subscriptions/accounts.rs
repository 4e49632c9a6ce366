//! The chat lists of several accounts as one.

use std::cmp::Reverse;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use sotto_protocol::AccountId;

use super::chats::WINDOW_MAX;
use super::difference::{Change, between};
use super::{ChatList, Moved};
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

/// The chat lists of several accounts as one, kept up to date for as long as this is held: what stands above the others first, then what has
/// moved last.
pub struct AllChats {
    accounts: Vec<(AccountId, Arc<Engine>)>,
    chats: Chats,
    window: Mutex<u32>,
    /// One `next` at a time.
    said: tokio::sync::Mutex<Said>,
}

struct Said {
    moved: Vec<Moved>,
    list: Option<Vec<AccountChat>>,
}

impl AllChats {
    /// The first `count` chats of these accounts, and more as they are asked for.
    #[must_use]
    pub fn new(accounts: &[&Messenger], chats: Chats, count: u32) -> Self {
        let engines = accounts.iter().map(|account| account.engine());
        let moved = engines.clone().map(|engine| Moved::of(engine)).collect();
        Self {
            accounts: engines.map(|engine| (engine.own().account, Arc::clone(engine))).collect(),
            chats,
            window: Mutex::new(count.clamp(1, WINDOW_MAX)),
            said: tokio::sync::Mutex::new(Said { moved, list: None }),
        }
    }

    /// As [`ChatList::next`].
    ///
    /// # Errors
    /// Of whichever account has one; it may be asked again.
    pub async fn next(&self) -> Result<Vec<Change<AccountChat>>, Error> {
        let mut said = self.said.lock().await;
        loop {
            said.moved.iter_mut().for_each(Moved::begin);
            let list = self.read().await?;
            let changes = match &said.list {
                None => vec![Change::Reset { items: list.clone() }],
                Some(before) => between(before, &list, |line| (line.account, line.chat.number)),
            };
            said.list = Some(list);
            if !changes.is_empty() {
                return Ok(changes);
            }
            any(&mut said.moved).await;
        }
    }

    /// As [`ChatList::more`].
    pub fn more(&self, count: u32) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        *window = window.saturating_add(count).min(WINDOW_MAX);
        drop(window);
        self.accounts.iter().for_each(|(_, engine)| engine.show_again());
    }

    async fn read(&self) -> Result<Vec<AccountChat>, Error> {
        let window = *self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (account, engine) in &self.accounts {
            let list = ChatList::read(engine, self.chats, window).await?;
            all.extend(list.into_iter().map(|chat| AccountChat { account: *account, chat }));
        }
        // Stable: of one account the order stays what it is there.
        all.sort_by_key(|line| (Reverse(line.chat.is_pinned), Reverse(line.chat.last_at)));
        all.truncate(window as usize);
        Ok(all)
    }
}

/// Waits until one of them has moved.
async fn any(moved: &mut [Moved]) {
    let mut waits: Vec<_> = moved.iter_mut().map(|moved| Box::pin(moved.again())).collect();
    poll_fn(|context| {
        let is_ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
