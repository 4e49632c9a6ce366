//! A chat list, from its top down to as far as somebody has scrolled.

use std::sync::{Arc, Mutex, PoisonError};

use super::Moved;
use super::difference::{Change, between};
use crate::conversation;
use crate::engine::Engine;
use crate::error::Error;
use crate::records::{Chats, Conversation};

/// Chats that a list keeps up to date at most: who scrolls further pages on (`Messenger::conversations`).
pub(super) const WINDOW_MAX: u32 = 2_000;

/// A chat list that is kept up to date for as long as this is held.
pub struct ChatList {
    engine: Arc<Engine>,
    chats: Chats,
    window: Mutex<u32>,
    /// One `next` at a time.
    said: tokio::sync::Mutex<Said>,
}

struct Said {
    moved: Moved,
    list: Option<Vec<Conversation>>,
}

impl ChatList {
    pub(crate) fn new(engine: &Arc<Engine>, chats: Chats, window: u32) -> Self {
        let said = Said { moved: Moved::of(engine), list: None };
        Self {
            engine: Arc::clone(engine),
            chats,
            window: Mutex::new(window.clamp(1, WINDOW_MAX)),
            said: tokio::sync::Mutex::new(said),
        }
    }

    /// The list, and each time behind that what has changed of it since: waits until something has. Dropping it early loses nothing.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Paused`], once each: asked again, it waits until something has changed, or the app goes on. That the engine was shut
    /// down is answered at once.
    pub async fn next(&self) -> Result<Vec<Change<Conversation>>, Error> {
        let mut said = self.said.lock().await;
        loop {
            said.moved.begin().await;
            let list = Self::read(&self.engine, self.chats, self.window()).await;
            let list = said.moved.note(list)?;
            let changes = match &said.list {
                None => vec![Change::Reset { items: list.clone() }],
                Some(before) => between(before, &list, |chat| chat.number),
            };
            said.list = Some(list);
            if !changes.is_empty() {
                return Ok(changes);
            }
            said.moved.again().await;
        }
    }

    /// So many more are shown: they come with the next differences.
    pub fn more(&self, count: u32) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        *window = window.saturating_add(count).min(WINDOW_MAX);
        drop(window);
        self.engine.show_again();
    }

    pub(super) async fn read(engine: &Arc<Engine>, chats: Chats, window: u32) -> Result<Vec<Conversation>, Error> {
        engine.read(move |_, view| Ok(conversation::list(view, chats, None, window)?)).await
    }

    fn window(&self) -> u32 {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
