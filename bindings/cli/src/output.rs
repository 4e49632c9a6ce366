//! Results and errors: lines for people, JSON objects for programs.

use serde_json::{Value, json};
use sotto_core::Error;
use sotto_core::records::{Contact, ContactState, Conversation, Kind, Message, MessageState};

/// Where lines go: this process's standard streams, or those of the process that asked.
pub(crate) trait Sink: Send {
    /// A line of results.
    fn out(&mut self, line: &str);
    /// A line for standard error.
    fn err(&mut self, line: &str);
}

/// Standard output and error.
pub(crate) struct Terminal;

impl Sink for Terminal {
    fn out(&mut self, line: &str) {
        use std::io::Write as _;
        // A reader that went away is no reason to stop what was asked for.
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    fn err(&mut self, line: &str) {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }
}

/// Why a command failed, as it is shown.
#[derive(Debug)]
pub(crate) struct Failed {
    code: String,
    message: String,
}

impl Failed {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// Shows results in the form that was asked for.
pub(crate) struct Output<'a> {
    json: bool,
    sink: &'a mut dyn Sink,
}

impl<'a> Output<'a> {
    pub(crate) fn new(json: bool, sink: &'a mut dyn Sink) -> Self {
        Self { json, sink }
    }

    /// One result.
    pub(crate) fn show(&mut self, object: &Value, human: &str) {
        let line = if self.json { object.to_string() } else { human.to_owned() };
        self.sink.out(&line);
    }

    /// Something for people only.
    pub(crate) fn note(&mut self, human: &str) {
        if !self.json {
            self.sink.err(human);
        }
    }

    pub(crate) fn fail(&mut self, failed: &Failed) {
        let line = if self.json {
            json!({ "code": failed.code, "message": failed.message }).to_string()
        } else {
            format!("sotto: {} ({})", failed.message, failed.code)
        };
        self.sink.err(&line);
    }

    pub(crate) fn message(&mut self, message: &Message, sender_name: &str) {
        let text = match message.kind {
            Kind::Text => message.text.clone(),
            Kind::Unknown if message.text.is_empty() => "(something that this version does not know)".to_owned(),
            Kind::Unknown => message.text.clone(),
            Kind::Unreadable => "(could not be opened)".to_owned(),
        };
        let state = state_name(message.state);
        let object = json!({
            "id": message.id.to_string(),
            "conversation": message.conversation.to_string(),
            "sender": message.sender.to_string(),
            "sender_name": sender_name,
            "sent_at": message.sent_at.as_ms(),
            "kind": kind_name(message.kind),
            "text": message.text,
            "state": state,
        });
        let mark = if message.state == MessageState::Received { String::new() } else { format!("  ({state})") };
        self.show(&object, &format!("{sender_name}: {text}{mark}"));
    }

    pub(crate) fn contact(&mut self, contact: &Contact) {
        let state = contact_state_name(contact.state);
        let object = json!({
            "id": contact.id.to_string(),
            "name": contact.name,
            "own_name": contact.own_name,
            "state": state,
            "blocked": contact.blocked,
            "outdated": contact.outdated,
        });
        let id = contact.id.to_string();
        let blocked = if contact.blocked { ", blocked" } else { "" };
        self.show(&object, &format!("{}  {}…  {state}{blocked}", contact.name, &id[..12]));
    }

    pub(crate) fn conversation(&mut self, conversation: &Conversation) {
        let name = conversation.name.as_deref().unwrap_or("me");
        let object = json!({
            "id": conversation.id.to_string(),
            "contact": conversation.contact.map(|contact| contact.to_string()),
            "name": name,
            "last_at": conversation.last_at.as_ms(),
            "unread": conversation.unread,
            "preview": conversation.preview,
        });
        let preview = conversation.preview.as_deref().unwrap_or("");
        let preview: String = preview.chars().take(60).collect();
        let unread = if conversation.unread > 0 { format!(" [{}]", conversation.unread) } else { String::new() };
        self.show(&object, &format!("{name}{unread}  {preview}"));
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Unknown => "unknown",
        Kind::Unreadable => "unreadable",
    }
}

const fn state_name(state: MessageState) -> &'static str {
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

const fn contact_state_name(state: ContactState) -> &'static str {
    match state {
        ContactState::Asked => "asked",
        ContactState::Asking => "asking",
        ContactState::Accepted => "accepted",
        ContactState::Removed => "removed",
    }
}
