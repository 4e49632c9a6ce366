//! Results and errors: lines for people, JSON objects for programs.

use std::path::Path;

use serde_json::{Value, json};
use sotto_core::Error;
use sotto_core::records::{CatchUp, Contact, ContactState, Conversation, Failure, Kind, Message, MessageState, Trust};

use crate::age::Age;
use crate::names::Name;
use crate::readable;
use crate::signals::Caught;
use crate::terminal::Sink;

/// Characters of an account id that are shown to people: enough to be typed instead of it.
pub(crate) const ID_SHOWN: usize = 12;

/// Why a command failed, as it is shown.
#[derive(Debug)]
pub(crate) struct Failed {
    code: String,
    message: String,
    exit_code: u8,
}

impl Failed {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), exit_code: 1 }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(error: &clap::Error) -> Self {
        let message = error.to_string();
        Self { exit_code: 2, ..Self::new("usage", message.trim_start_matches("error: ").trim()) }
    }

    /// A signal ended the command.
    pub(crate) fn interrupted(caught: Caught) -> Self {
        Self { exit_code: caught.exit_code(), ..Self::new("interrupted", "interrupted before it was done") }
    }

    /// Another process began the command and did not end it.
    pub(crate) fn broken_off() -> Self {
        let message = "the process that has the profile open ended while it ran this: it may be done, or not";
        Self::new("broken_off", message)
    }

    pub(crate) fn is(&self, code: &str) -> bool {
        self.code == code
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        self.exit_code
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

    /// One result. What others wrote must have been made [`readable`].
    pub(crate) fn show(&mut self, object: &Value, human: &str) {
        if self.json { self.sink.out(&readable::json(object)) } else { self.sink.out(human) }
    }

    /// Something for people only.
    pub(crate) fn note(&mut self, human: &str) {
        if !self.json {
            self.sink.err(&readable::lines(human));
        }
    }

    /// What did not stop the command and must be known all the same.
    pub(crate) fn warn(&mut self, code: &str, message: &str) {
        if self.json {
            self.sink.err(&readable::json(&json!({ "kind": "warning", "code": code, "message": message })));
        } else {
            self.sink.err(&format!("sotto: {} ({})", readable::lines(message), readable::line(code)));
        }
    }

    pub(crate) fn fail(&mut self, failed: &Failed) {
        let line = if self.json {
            readable::json(&json!({ "code": failed.code, "message": failed.message }))
        } else {
            let remedy = remedy(&failed.code).map(|remedy| format!("\n{remedy}")).unwrap_or_default();
            format!("sotto: {} ({}){remedy}", readable::lines(&failed.message), readable::line(&failed.code))
        };
        self.sink.err(&line);
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.sink.is_closed()
    }

    /// Everything up to a message has been shown.
    pub(crate) fn shown(&mut self, profile: &Path, number: i64) {
        self.sink.shown(profile, number);
    }

    /// Something to look at, for people only.
    pub(crate) fn picture(&mut self, picture: &str) {
        if !self.json {
            self.sink.picture(picture);
        }
    }

    pub(crate) fn message(&mut self, message: &Message, sender: &Name) {
        let text = match message.kind {
            Kind::Text => message.text.clone(),
            Kind::Unknown if message.text.is_empty() => "(something that this version does not know)".to_owned(),
            Kind::Unknown => message.text.clone(),
            Kind::Unreadable => "(could not be opened)".to_owned(),
        };
        let object = json!({
            "id": message.id.to_string(),
            "conversation": message.conversation.to_string(),
            "sender": message.sender.to_string(),
            "sender_name": sender.as_str(),
            "sent_at": message.sent_at.as_ms(),
            "kind": kind_name(message.kind),
            "text": message.text,
            "state": state_name(message.state),
            "cause": cause_name(message.state),
        });
        let mark = match message.state {
            MessageState::Received => String::new(),
            MessageState::Failed(Failure::Expired) => "  (failed: its time was over)".to_owned(),
            MessageState::Failed(Failure::Removed) => "  (failed: the contact was removed)".to_owned(),
            state => format!("  ({})", state_name(state)),
        };
        let age = Age::of(message.sent_at);
        let (sender, text) = (readable::line(sender.as_str()), readable::lines(&text));
        self.show(&object, &format!("{age:>10}  {sender}: {text}{mark}"));
    }

    /// A line of the list of contacts.
    pub(crate) fn contact(&mut self, contact: &Contact, name: &Name) {
        let mut words = vec![match contact.state {
            ContactState::Asked => "has not answered yet",
            ContactState::Asking => "waits for your answer",
            ContactState::Accepted => "contact",
            ContactState::Removed => "removed",
        }];
        words.extend(contact.blocked.then_some("blocked"));
        words.extend((contact.trust != Trust::Sound).then_some("shows two lists of devices: not to be trusted"));
        words.extend(contact.outdated.then_some("not seen for a long time"));
        let id = contact.id.to_string();
        let human = format!("{}  {}…  {}", readable::line(name.as_str()), &id[..ID_SHOWN], words.join(", "));
        self.show(&contact_object(contact), &human);
    }

    /// Something happened to a contact, or is to be done.
    pub(crate) fn contact_news(&mut self, contact: &Contact, name: &Name) {
        let name = readable::line(name.as_str());
        let human = match contact.state {
            ContactState::Asked => format!("{name} was asked; once they accept, you are contacts"),
            ContactState::Asking => {
                let id = contact.id.to_string();
                format!("{name} wants to be your contact: sotto contacts accept {}", &id[..ID_SHOWN])
            }
            ContactState::Accepted => format!("{name} and you are contacts"),
            ContactState::Removed => format!("{name} was removed"),
        };
        self.show(&contact_object(contact), &human);
    }

    pub(crate) fn conversation(&mut self, conversation: &Conversation, name: &Name) {
        let object = json!({
            "id": conversation.id.to_string(),
            "contact": conversation.contact.map(|contact| contact.to_string()),
            "name": name.as_str(),
            "last_at": conversation.last_at.as_ms(),
            "unread": conversation.unread,
            "preview": conversation.preview,
        });
        let preview = conversation.preview.as_deref().unwrap_or("");
        let preview: String = preview.chars().take(60).collect();
        let preview = if conversation.preview_is_own { format!("you: {preview}") } else { preview };
        let unread = if conversation.unread > 0 { format!("  [{} new]", conversation.unread) } else { String::new() };
        let age = Age::of(conversation.last_at);
        let (name, preview) = (readable::line(name.as_str()), readable::line(&preview));
        self.show(&object, &format!("{age:>10}  {name}{unread}  {preview}"));
    }

    /// How a `sync` that does not stay went; for people only what is not done.
    pub(crate) fn caught_up(&mut self, caught_up: &CatchUp) {
        let unreachable = caught_up.unreachable.iter();
        let object = json!({
            "kind": "sync",
            "received": caught_up.received,
            "sent": caught_up.sent,
            "waiting": caught_up.waiting,
            "complete": caught_up.is_complete,
            "unreachable": unreachable.map(|(relay, code)| json!({ "relay": relay.to_string(), "code": code })).collect::<Vec<_>>(),
        });
        if self.json {
            self.show(&object, "");
        } else if caught_up.waiting > 0 {
            self.note(&format!("({} still to be sent)", caught_up.waiting));
        }
    }
}

fn contact_object(contact: &Contact) -> Value {
    json!({
        "kind": "contact",
        "id": contact.id.to_string(),
        "name": contact.name,
        "own_name": contact.own_name,
        "state": contact_state_name(contact.state),
        "blocked": contact.blocked,
        "trust": trust_name(contact.trust),
        "outdated": contact.outdated,
    })
}

/// What to do now, where there is something.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "no_profile" => "Make one: sotto init --relay ADDRESS --name NAME. Or say where it is: --profile DIR.",
        "profile_exists" => "Use it, or choose another directory: --profile DIR.",
        "profile_not_private" => {
            "Somebody may have put something there. Look who could; if it is yours alone: chmod 700 DIR. Or choose another: --profile DIR."
        }
        "no_home" => "Say where the profile is: --profile DIR.",
        "profile_in_use" => "Another process has it open and does not answer. Wait for it to end, or end it.",
        "rolled_back" => {
            "Bring back the newest copy there is, or make a new profile and ask your contacts for invites."
        }
        "not_sent_yet" => "It leaves by itself while sotto runs: sotto sync.",
        "relay_asks_for_code" => "Ask who runs it, and give it: --relay-code CODE.",
        "relay_refused" => "It takes nobody new, or the code is wrong: ask who runs it.",
        "out_of_range" => "An invite has 1 to 1,000 uses and holds 1h to 30d; an account has 1 to 4 relays.",
        "broken_off" => "Look whether it is done before you repeat it: sotto messages WHO.",
        "keystore_locked" => "Type the passphrase in a terminal, or set SOTTO_PASSPHRASE.",
        "wrong_passphrase" => "Try again. Nothing was changed.",
        "wrong_key" | "database_damaged" => "Do not write to it. Bring the directory back from a copy of the disk.",
        "disk_full" => "Nothing was changed. Make room and repeat it.",
        "bad_relay_address" => "It looks like https://relay.example, https://KEY@host:port, or http://127.0.0.1:port.",
        "relay_unreachable" | "relay_timed_out" | "relay_broken" => {
            "Is it running, and is the address right? What was queued leaves by itself; sotto sync tries again now."
        }
        "relay_certificate" => "Somebody may stand in between, or the relay has a new key: ask who runs it.",
        "relay_malformed" => "This does not look like a Sotto relay. Is the address right?",
        "relay_unproven" => {
            "It claims that more of your mail was fetched than it can prove. Nothing is lost; tell who runs it, or use another."
        }
        "invite_garbage" => "Copy the whole link, from https:// to its end, and put it between quotes.",
        "invite_expired" | "invite_used_up" => "Ask for a new invite.",
        "already_contact" => "See sotto contacts.",
        "not_found" => "See sotto contacts for names and ids.",
        "ambiguous" => "Give more of the id, as sotto contacts shows it.",
        "control_character" | "hidden_character" => {
            "Leave out what cannot be seen: it may have come along when the name was copied."
        }
        "usage" => "See sotto help.",
        _ => return None,
    })
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

const fn cause_name(state: MessageState) -> Option<&'static str> {
    match state {
        MessageState::Failed(Failure::Expired) => Some("expired"),
        MessageState::Failed(Failure::Removed) => Some("contact_removed"),
        _ => None,
    }
}

const fn trust_name(trust: Trust) -> &'static str {
    match trust {
        Trust::Sound => "sound",
        Trust::Forked => "forked",
        Trust::Compromised => "compromised",
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
