//! Finding what was said: by words, by whom, where and when; and opening a conversation there.

use sotto_protocol::limits::TEXT_BYTES_MAX;
use sotto_protocol::{AccountId, Timestamp};

use super::Messenger;
use super::messages::conversation_with;
use crate::contact;
use crate::conversation;
use crate::engine::Engine;
use crate::error::{Error, InputError};
use crate::records::{Message, SearchPage, SearchQuery};
use crate::search::{self, Asked, Phrases, Rest};
use crate::store::Query;

/// Hits of a page: each is read and cut, and no screen shows more.
const HITS_MAX: u32 = 100;

impl Messenger {
    /// Messages by their words, by conversation, sender and time, the newest first; at most a hundred. The page behind another begins at its
    /// `next`, whatever has come meanwhile. Without words it is every message with words that the rest is true of.
    ///
    /// # Errors
    /// [`InputError::Empty`] for a search for nothing, [`InputError::TooLong`] for words that are longer than any text,
    /// [`InputError::NotFound`] for somebody who is no contact; [`Error::Store`].
    pub async fn search(
        &self,
        query: impl Into<SearchQuery>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<SearchPage, Error> {
        let query = query.into();
        check(&query)?;
        let engine = self.engine();
        match engine.read(|_, view| search::rest(view)).await? {
            Rest::None => {}
            // What cannot be filled now is missing, and the page says so: it is filled soon.
            Rest::Little => {
                let filled = engine.write(|_, tx| search::batch(tx).and_then(|()| search::rest(tx)));
                if filled.await != Ok(Rest::None) {
                    engine.want_search();
                }
            }
            Rest::Much => engine.want_search(),
        }
        engine
            .read(move |engine, view| {
                let nothing = SearchPage { hits: Vec::new(), next: None, is_complete: true };
                match asked(engine, view, &query)? {
                    Some(asked) => {
                        let limit = limit.clamp(1, HITS_MAX);
                        Ok(search::find(view, &engine.own().account, &asked, before, limit)?)
                    }
                    None => Ok::<_, Error>(nothing),
                }
            })
            .await
    }

    /// The first messages of the conversation with a contact (or with oneself) behind the position `after`, oldest first.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn messages_after(&self, with: AccountId, after: i64, limit: u32) -> Result<Vec<Message>, Error> {
        self.engine()
            .read(move |engine, view| match conversation_with(engine, view, &with)? {
                Some(row) => Ok(conversation::page_after(view, &engine.own().account, row, after, limit)?),
                None => Ok(Vec::new()),
            })
            .await
    }

    /// The messages of the conversation with a contact (or with oneself) around a position, oldest first: half of them before it, and half from it
    /// on.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn messages_around(&self, with: AccountId, position: i64, limit: u32) -> Result<Vec<Message>, Error> {
        self.engine()
            .read(move |engine, view| {
                let Some(row) = conversation_with(engine, view, &with)? else { return Ok(Vec::new()) };
                let own = &engine.own().account;
                let mut messages = conversation::page(view, own, row, Some(position), limit / 2)?;
                let behind = position.saturating_sub(1);
                messages.extend(conversation::page_after(view, own, row, behind, limit - limit / 2)?);
                Ok::<_, Error>(messages)
            })
            .await
    }

    /// The first message of the conversation with a contact (or with oneself) at a time or after it: its position is the place to open the
    /// conversation at. `None`: the last one is older.
    ///
    /// # Errors
    /// [`InputError::NotFound`], [`Error::Store`].
    pub async fn first_message_since(&self, with: AccountId, time: Timestamp) -> Result<Option<Message>, Error> {
        let behind = conversation::first_position(time).saturating_sub(1);
        Ok(self.messages_after(with, behind, 1).await?.pop())
    }
}

fn check(query: &SearchQuery) -> Result<(), InputError> {
    let SearchQuery { words, conversation, sender, since, until } = query;
    if words.len() > TEXT_BYTES_MAX {
        return Err(InputError::TooLong { what: "what to look for", bytes_max: TEXT_BYTES_MAX });
    }
    let is_any = conversation.is_none() && sender.is_none() && since.is_none() && until.is_none();
    if is_any && words.trim().is_empty() {
        return Err(InputError::Empty { what: "what to look for" });
    }
    Ok(())
}

/// The query in rows; `None` where nothing can be found by it: signs alone, or a conversation in which nothing was said.
fn asked(engine: &Engine, view: &impl Query, query: &SearchQuery) -> Result<Option<Asked>, Error> {
    let phrases = Phrases::parse(&query.words);
    if phrases.is_empty() && !query.words.trim().is_empty() {
        return Ok(None);
    }
    let conversation = match &query.conversation {
        Some(with) => match conversation_with(engine, view, with)? {
            None => return Ok(None),
            found => found,
        },
        None => None,
    };
    let sender = query.sender.as_ref().map(|sender| sender_row(engine, view, sender)).transpose()?;
    Ok(Some(Asked { phrases, conversation, sender, since: query.since, until: query.until }))
}

fn sender_row(engine: &Engine, view: &impl Query, sender: &AccountId) -> Result<i64, Error> {
    if *sender == engine.own().account {
        return Ok(conversation::SELF);
    }
    let contact = contact::by_account(view, sender)?.ok_or(InputError::NotFound { what: "contact" })?;
    Ok(contact.row.0)
}
