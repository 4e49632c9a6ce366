//! Results and errors: lines for people, JSON objects for programs.

use std::path::Path;

use serde_json::{Value, json};
use sotto_core::records::{
    Account, CatchUp, Contact, ContactState, Conversation, InviteLink, Message, OwnRelay, Trust,
};
use sotto_core::world::{Clock as _, SystemClock};

use crate::age::Age;
use crate::failed::Failed;
use crate::message;
use crate::names::{ID_SHOWN, Name, Names};
use crate::readable;
use crate::terminal::Sink;

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

    /// A line of a document, the same for people and for programs. What others wrote must be harmless in it.
    pub(crate) fn line(&mut self, line: &str) {
        self.sink.out(line);
    }

    /// What is to be known of the results before it, for programs only.
    pub(crate) fn summary(&mut self, object: &Value) {
        if self.json {
            self.sink.out(&readable::json(object));
        }
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
            let remedy = failed.remedy().map(|remedy| format!("\n{remedy}")).unwrap_or_default();
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

    pub(crate) fn message(&mut self, said: &Message, names: &Names) {
        self.show(&message::object(said, names), &message::human(said, names));
    }

    /// A relay of ours.
    /// `is_published`: where the list was changed, whether it can be read.
    pub(crate) fn relay(&mut self, relay: &OwnRelay, is_published: Option<bool>) {
        let address = relay.address.to_string();
        let mut object = json!({ "kind": "relay", "relay": address, "home": relay.is_home, "left": relay.is_left, "trouble": relay.trouble });
        if let Some(is_published) = is_published {
            object["published"] = is_published.into();
        }
        let mut human = address;
        if relay.is_home {
            human.push_str(" (home)");
        }
        if relay.is_left {
            human.push_str(" (left, still read)");
        }
        if let Some(trouble) = relay.trouble {
            human.push_str(&format!(" ({trouble})"));
        }
        self.show(&object, &human);
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
        words.extend(contact.is_verified.then_some("verified"));
        let other_devices =
            format!("has other devices (list {}) than those that you verified: nothing leaves to them", contact.keys);
        words.extend(contact.is_held.then_some(other_devices.as_str()));
        words.extend((contact.trust != Trust::Sound).then_some("shows two lists of devices: not to be trusted"));
        words.extend(contact.outdated.then_some("not seen for a long time"));
        let id = contact.id.to_string();
        let mut human = format!("{}  {}…  {}", readable::line(name.as_str()), &id[..ID_SHOWN], words.join(", "));
        if !contact.status.is_empty() {
            human.push_str(&format!("\n            {}", readable::lines(&contact.status)));
        }
        if let Some(note) = &contact.note {
            human.push_str(&format!("\n            {}", readable::lines(note)));
        }
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
        let object = conversation_object(conversation, name);
        let preview = conversation.preview.as_deref().unwrap_or("");
        let one_line = preview.chars().map(|letter| if letter == '\n' { ' ' } else { letter });
        let preview: String = one_line.take(60).collect();
        let preview = if conversation.preview_is_own { format!("you: {preview}") } else { preview };
        let unread = match conversation.unread {
            0 if conversation.is_marked_unread => "  [unread]".to_owned(),
            0 => String::new(),
            count => format!("  [{count} new]"),
        };
        let is_muted = conversation.muted_until.is_some_and(|until| until > SystemClock.now());
        let marks = [
            (conversation.is_pinned, "pinned"),
            (is_muted, "muted"),
            (conversation.is_archived, "archived"),
            (conversation.draft.is_some(), "draft"),
        ];
        let marks: String = marks.iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| format!("  ({mark})")).collect();
        let age = Age::of(conversation.last_at);
        let (name, preview) = (readable::line(name.as_str()), readable::line(&preview));
        self.show(&object, &format!("{age:>10}  {name}{unread}  {preview}{marks}"));
    }

    /// How a `sync` that does not stay went; for people only what is not done.
    pub(crate) fn caught_up(&mut self, caught_up: &CatchUp) {
        self.summary(&caught_up_object(caught_up));
        if caught_up.waiting > 0 {
            self.note(&format!("({} still to be sent)", caught_up.waiting));
        }
    }
}

/// A line of the chat list, for programs.
pub(crate) fn conversation_object(conversation: &Conversation, name: &Name) -> Value {
    json!({
        "kind": "chat",
        "id": conversation.id.to_string(),
        "contact": conversation.contact.map(|contact| contact.to_string()),
        "name": name.as_str(),
        "last_at": conversation.last_at.as_ms(),
        "unread": conversation.unread,
        "marked_unread": conversation.is_marked_unread,
        "muted_until": conversation.muted_until.map(|until| until.as_ms()),
        "archived": conversation.is_archived,
        "pinned": conversation.is_pinned,
        "draft": conversation.draft,
        "preview": conversation.preview,
    })
}

/// How a `sync` went, for programs.
pub(crate) fn caught_up_object(caught_up: &CatchUp) -> Value {
    let unreachable = caught_up.unreachable.iter();
    json!({
        "kind": "sync",
        "received": caught_up.received,
        "sent": caught_up.sent,
        "waiting": caught_up.waiting,
        "complete": caught_up.is_complete,
        "unreachable": unreachable.map(|(relay, code)| json!({ "relay": relay.to_string(), "code": code })).collect::<Vec<_>>(),
    })
}

/// An account, for programs.
pub(crate) fn account_object(account: &Account) -> Value {
    json!({ "kind": "account", "account": account.id.to_string(), "device": account.device.to_string(), "name": account.name })
}

/// An invite, for programs. `is_published`: whether its relay has heard of it.
pub(crate) fn invite_object(invite: &InviteLink, is_published: bool) -> Value {
    json!({ "kind": "invite", "link": invite.link, "expires_at": invite.expires_at.as_ms(), "uses": invite.uses, "published": is_published })
}

/// A contact, for programs.
pub(crate) fn contact_object(contact: &Contact) -> Value {
    json!({
        "kind": "contact",
        "id": contact.id.to_string(),
        "name": contact.name,
        "own_name": contact.own_name,
        "status": contact.status,
        "state": contact_state_name(contact.state),
        "blocked": contact.blocked,
        "trust": trust_name(contact.trust),
        "outdated": contact.outdated,
        "verified": contact.is_verified,
        "held": contact.is_held,
        "keys": contact.keys,
        "note": contact.note,
    })
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
