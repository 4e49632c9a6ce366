//! What a program can ask for: each method is a call or two of the public API.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sotto_core::protocol::Timestamp;
use sotto_core::records::{ChatPlace, Chats, Message, NewText, SearchQuery};
use sotto_core::{InviteOptions, Messenger};

use super::Daemon;
use super::envelope::{self, Refusal, Request};
use crate::commands::account;
use crate::find;
use crate::input::Line;
use crate::message;
use crate::names::{Name, Names};
use crate::output::{account_object, caught_up_object, contact_object, conversation_object, invite_object};
use crate::sync::PATIENCE;

/// Whatever comes in pages: so many at most.
const PAGE_MAX: u32 = 200;
const PAGE: u32 = 50;
const DAY_SECONDS: u64 = 86_400;

const fn page() -> u32 {
    PAGE
}

const fn once() -> u32 {
    1
}

const fn week() -> u64 {
    7 * DAY_SECONDS
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    to: String,
    text: String,
}

/// Words for a message that is there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Say {
    message: i64,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forward {
    message: i64,
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct React {
    message: i64,
    emoji: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    messages: Vec<i64>,
    #[serde(default)]
    for_me: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkRead {
    messages: Vec<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversations {
    #[serde(default)]
    archived: bool,
    before: Option<Place>,
    #[serde(default = "page")]
    limit: u32,
}

/// Where a conversation stands in a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    pinned: bool,
    last_at: u64,
    number: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Messages {
    with: String,
    before: Option<i64>,
    #[serde(default = "page")]
    limit: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invite {
    #[serde(default = "once")]
    uses: u32,
    #[serde(default = "week")]
    valid_for_seconds: u64,
    #[serde(default)]
    auto_accept: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    link: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accept {
    who: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    #[serde(default)]
    words: String,
    #[serde(rename = "in")]
    with: Option<String>,
    from: Option<String>,
    since: Option<u64>,
    until: Option<u64>,
    before: Option<i64>,
    #[serde(default = "page")]
    limit: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subscribe {
    after: Option<i64>,
}

fn read<T: DeserializeOwned>(parameters: Value) -> Result<T, Refusal> {
    serde_json::from_value(parameters).map_err(|error| Refusal::BadParameters(error.to_string()))
}

impl Daemon<'_> {
    /// What is answered to a line; `None`: nothing.
    pub(super) async fn answer(&mut self, line: &Line) -> Option<Value> {
        let request = match line {
            Line::Text(line) => Request::read(line),
            Line::Garbled => Err((Value::Null, Refusal::Unreadable)),
            Line::End => return None,
        };
        match request {
            Ok(Request { id, method, parameters }) => {
                let result = self.call(&method, parameters).await;
                id.map(|id| envelope::answer(&id, result))
            }
            Err((id, refusal)) => Some(envelope::answer(&id, Err(refusal))),
        }
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Result<Value, Refusal> {
        let messenger = self.messenger;
        match method {
            "account" => {
                let Nothing {} = read(parameters)?;
                Ok(account_object(&messenger.account().await?))
            }
            "send" => {
                let Send { to, text } = read(parameters)?;
                let to = account(messenger, &to).await?;
                shown(messenger, messenger.send_text(to, text).await?).await
            }
            "reply" => {
                let Say { message, text } = read(parameters)?;
                let to = messenger.said_with(message).await?;
                let text = NewText { reply_to: Some(message), ..text.into() };
                shown(messenger, messenger.send_text(to, text).await?).await
            }
            "forward" => {
                let Forward { message, to } = read(parameters)?;
                let to = account(messenger, &to).await?;
                shown(messenger, messenger.forward(message, to).await?).await
            }
            "edit" => {
                let Say { message, text } = read(parameters)?;
                shown(messenger, messenger.edit(message, text).await?).await
            }
            "react" => {
                let React { message, emoji } = read(parameters)?;
                shown(messenger, messenger.react(message, emoji).await?).await
            }
            "delete" => {
                let Delete { messages, for_me } = read(parameters)?;
                if for_me {
                    messenger.delete_for_me(messages).await?;
                } else {
                    messenger.delete_for_everyone(messages).await?;
                }
                Ok(json!({}))
            }
            "mark_read" => {
                let MarkRead { messages } = read(parameters)?;
                messenger.mark_read(messages).await?;
                Ok(json!({}))
            }
            "conversations" => conversations(messenger, read(parameters)?).await,
            "messages" => messages(messenger, read(parameters)?).await,
            "search" => search(messenger, read(parameters)?).await,
            "contacts" => {
                let Nothing {} = read(parameters)?;
                let contacts = messenger.contacts().await?;
                Ok(json!({ "contacts": contacts.iter().map(contact_object).collect::<Vec<_>>() }))
            }
            "accept" => {
                let Accept { who } = read(parameters)?;
                let contact = messenger.find_contact(&who).await?;
                messenger.accept(contact.id).await?;
                Ok(contact_object(&messenger.find_contact(&contact.id.to_string()).await?))
            }
            "invite" => {
                let Invite { uses, valid_for_seconds, auto_accept } = read(parameters)?;
                let valid_for = Duration::from_secs(valid_for_seconds);
                let invite = messenger.invite(InviteOptions { uses, valid_for, auto_accept }).await?;
                Ok(invite_object(&invite, messenger.catch_up(PATIENCE).await?.is_published))
            }
            "join" => {
                let Join { link } = read(parameters)?;
                let account = messenger.join(link.trim()).await?;
                Ok(contact_object(&messenger.find_contact(&account.to_string()).await?))
            }
            "sync" => {
                let Nothing {} = read(parameters)?;
                Ok(caught_up_object(&messenger.catch_up(PATIENCE).await?))
            }
            "subscribe" => {
                let Subscribe { after } = read(parameters)?;
                let newest = messenger.newest().await?;
                let after = after.unwrap_or(newest).clamp(0, newest);
                (self.told, self.is_behind) = (Some(after), true);
                Ok(json!({ "after": after }))
            }
            "unsubscribe" => {
                let Nothing {} = read(parameters)?;
                self.told = None;
                Ok(json!({}))
            }
            _ => Err(Refusal::UnknownMethod),
        }
    }
}

async fn shown(messenger: &Messenger, said: Message) -> Result<Value, Refusal> {
    let mut names = Names::read(messenger).await?;
    names.meet(messenger, std::slice::from_ref(&said)).await?;
    Ok(message::object(&said, &names))
}

async fn conversations(messenger: &Messenger, asked: Conversations) -> Result<Value, Refusal> {
    let chats = if asked.archived { Chats::Archived } else { Chats::Main };
    let limit = asked.limit.clamp(1, PAGE_MAX);
    let before = asked.before.map(|place| ChatPlace {
        is_pinned: place.pinned,
        last_at: Timestamp::from_ms(place.last_at),
        number: place.number,
    });
    let page = messenger.conversations(chats, before, limit).await?;
    let next = page.last().filter(|_| page.len() == limit as usize).map(sotto_core::records::Conversation::place);
    let mut names = Names::read(messenger).await?;
    let mut objects = Vec::with_capacity(page.len());
    for conversation in &page {
        let name = match &conversation.contact {
            Some(contact) => names.of(messenger, contact).await?,
            None => Name::myself(),
        };
        objects.push(conversation_object(conversation, &name));
    }
    let next = next
        .map(|place| json!({ "pinned": place.is_pinned, "last_at": place.last_at.as_ms(), "number": place.number }));
    Ok(json!({ "conversations": objects, "next": next }))
}

async fn messages(messenger: &Messenger, asked: Messages) -> Result<Value, Refusal> {
    let with = account(messenger, &asked.with).await?;
    let limit = asked.limit.clamp(1, PAGE_MAX);
    let page = messenger.messages(with, asked.before, limit).await?;
    let mut names = Names::read(messenger).await?;
    names.meet(messenger, &page).await?;
    let next = page.first().filter(|_| page.len() == limit as usize).map(|oldest| oldest.position);
    let objects: Vec<_> = page.iter().map(|said| message::object(said, &names)).collect();
    Ok(json!({ "messages": objects, "next": next }))
}

async fn search(messenger: &Messenger, asked: Search) -> Result<Value, Refusal> {
    let mut query = SearchQuery {
        since: asked.since.map(Timestamp::from_ms),
        until: asked.until.map(Timestamp::from_ms),
        ..asked.words.into()
    };
    if let Some(who) = &asked.with {
        query.conversation = Some(account(messenger, who).await?);
    }
    if let Some(who) = &asked.from {
        query.sender = Some(account(messenger, who).await?);
    }
    let page = messenger.search(query, asked.before, asked.limit).await?;
    let mut names = Names::read(messenger).await?;
    let mut hits = Vec::with_capacity(page.hits.len());
    for hit in &page.hits {
        names.meet(messenger, std::slice::from_ref(&hit.message)).await?;
        names.of(messenger, &hit.with).await?;
        hits.push(find::object(hit, &names));
    }
    Ok(json!({ "hits": hits, "next": page.next, "complete": page.is_complete }))
}
