//! A message as it is shown: an object for programs, lines for people.
//!
//! What others wrote begins a line of its own or is set in by [`readable::lines`]; what this program adds below a text is set in by less,
//! so that no text looks like it.

use serde_json::{Value, json};
use sotto_core::records::{
    Failure, KeyChange, Kind, Meaning, Message, MessageState, Missing, Quote, Range, Style, Unopened,
};

use crate::age::Age;
use crate::names::Names;
use crate::readable;
use crate::wording;

/// How much of a text is shown where it is only mentioned.
const MENTIONED_LETTERS: usize = 60;

/// For programs.
pub(crate) fn object(message: &Message, names: &Names) -> Value {
    let reactions = message.reactions.iter().map(|reaction| {
        json!({
            "author": reaction.author.to_string(),
            "author_name": names.known(&reaction.author).as_str(),
            "emoji": reaction.emoji,
            "at": reaction.at.as_ms(),
        })
    });
    json!({
        "number": message.number,
        "position": message.position,
        "arrival": message.arrival,
        "id": message.id.to_string(),
        "conversation": message.conversation.to_string(),
        "sender": message.sender.to_string(),
        "sender_name": names.known(&message.sender).as_str(),
        "sent_at": message.sent_at.as_ms(),
        "received_at": message.received_at.as_ms(),
        "kind": kind_name(message.kind),
        "text": message.text,
        "ranges": message.ranges.iter().filter_map(range).collect::<Vec<_>>(),
        "reply_to": message.reply_to.as_ref().map(|quote| quoted(quote, names)),
        "forwarded": message.is_forwarded,
        "edited_at": message.edited_at.map(|at| at.as_ms()),
        "reactions": reactions.collect::<Vec<_>>(),
        "pinned": message.is_pinned,
        "unread": message.is_unread,
        "deleted": message.kind == Kind::Deleted,
        "state": state_name(message.state),
        "cause": cause_name(message.kind, message.state),
    })
}

fn quoted(quote: &Quote, names: &Names) -> Value {
    let here = quote.here.as_ref();
    json!({
        "author": quote.author.to_string(),
        "author_name": names.known(&quote.author).as_str(),
        "id": quote.id.to_string(),
        "number": here.map(|here| here.number),
        "kind": here.map(|here| kind_name(here.kind)),
        "text": here.map(|here| &here.text),
    })
}

/// A stretch of a text; of those that this version knows.
fn range(range: &Range) -> Option<Value> {
    let mut object = json!({ "start": range.start, "length": range.length });
    let (field, value) = match &range.meaning {
        Meaning::Style(Style::Bold) => ("style", "bold".to_owned()),
        Meaning::Style(Style::Italic) => ("style", "italic".to_owned()),
        Meaning::Style(Style::Strikethrough) => ("style", "strikethrough".to_owned()),
        Meaning::Style(Style::Monospace) => ("style", "monospace".to_owned()),
        Meaning::Style(Style::Spoiler) => ("style", "spoiler".to_owned()),
        Meaning::Mention(account) => ("mention", account.to_string()),
        Meaning::Link(link) => ("link", link.clone()),
        Meaning::Style(Style::Unspecified) | Meaning::Unknown => return None,
    };
    object[field] = value.into();
    Some(object)
}

/// For people: who said what and how far it is, and below it what it answers and what is felt about it.
pub(crate) fn human(message: &Message, names: &Names) -> String {
    let sender = readable::line(names.known(&message.sender).as_str());
    let text = readable::lines(wording::shown(message.kind, &message.text));
    let marks: String = marks(message).iter().map(|mark| format!("  ({mark})")).collect();
    let mut lines = format!("{:>10}  #{} {sender}: {text}{marks}", Age::of(message.sent_at), message.number);
    if let Some(quote) = &message.reply_to {
        lines.push_str(&format!("\n      answers {}", mentioned(quote, names)));
    }
    let felt = message.reactions.iter().map(|reaction| {
        format!("{} {}", readable::line(&reaction.emoji), readable::line(names.known(&reaction.author).as_str()))
    });
    let felt: Vec<String> = felt.collect();
    if !felt.is_empty() {
        lines.push_str(&format!("\n      reactions: {}", felt.join(", ")));
    }
    lines
}

/// What is to be known of a message besides its words.
pub(crate) fn marks(message: &Message) -> Vec<&'static str> {
    let mut marks = Vec::new();
    marks.extend(message.is_forwarded.then_some("forwarded"));
    marks.extend(message.edited_at.map(|_| "edited"));
    marks.extend(message.is_pinned.then_some("pinned"));
    marks.extend(match message.state {
        MessageState::Received => message.is_unread.then_some("new"),
        MessageState::Failed(Failure::Expired) => Some("failed: its time was over"),
        MessageState::Failed(Failure::Removed) => Some("failed: the contact was removed"),
        state => Some(state_name(state)),
    });
    marks
}

/// A message that another one answers, on one line.
fn mentioned(quote: &Quote, names: &Names) -> String {
    let author = readable::line(names.known(&quote.author).as_str());
    match &quote.here {
        Some(here) => {
            let text = wording::shown(here.kind, &here.text);
            let mut letters = text.chars().map(|letter| if letter == '\n' { ' ' } else { letter });
            let beginning: String = letters.by_ref().take(MENTIONED_LETTERS).collect();
            let more = if letters.next().is_some() { "…" } else { "" };
            format!("#{} {author}: {}{more}", here.number, readable::line(&beginning))
        }
        None => format!("{author}: (a message that is not here)"),
    }
}

pub(crate) const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Unknown => "unknown",
        Kind::Unopened(_) => "unopened",
        Kind::Missing(_) => "missing",
        Kind::KeyChange(_) => "key_change",
        Kind::Deleted => "deleted",
        Kind::Nudge => "nudge",
    }
}

pub(crate) const fn state_name(state: MessageState) -> &'static str {
    match state {
        MessageState::Queued => "queued",
        MessageState::Sending => "sending",
        MessageState::Sent => "sent",
        MessageState::Delivered => "delivered",
        MessageState::Read => "read",
        MessageState::Failed(_) => "failed",
        MessageState::Received => "received",
    }
}

/// Why a message failed, cannot be opened, or is missing, and why keys have changed.
const fn cause_name(kind: Kind, state: MessageState) -> Option<&'static str> {
    match (kind, state) {
        (Kind::Unopened(Unopened::SessionLost), _) => Some("session_lost"),
        (Kind::Unopened(Unopened::KeyGone), _) => Some("key_gone"),
        (Kind::Unopened(Unopened::TooFarAhead), _) => Some("too_far_ahead"),
        (Kind::Unopened(Unopened::PrekeyGone), _) => Some("prekey_gone"),
        (Kind::Missing(Missing::GivenUp), _) => Some("given_up"),
        (Kind::Missing(Missing::Unanswered), _) => Some("unanswered"),
        (Kind::Missing(Missing::Malformed), _) => Some("malformed"),
        (Kind::KeyChange(KeyChange::Replaced), _) => Some("replaced"),
        (Kind::KeyChange(KeyChange::DeviceAdded), _) => Some("device_added"),
        (Kind::KeyChange(KeyChange::NewEpoch), _) => Some("new_epoch"),
        (_, MessageState::Failed(Failure::Expired)) => Some("expired"),
        (_, MessageState::Failed(Failure::Removed)) => Some("contact_removed"),
        _ => None,
    }
}
