//! Results and errors: lines for people, JSON objects for programs.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};
use sotto_core::Error;
use sotto_core::protocol::Timestamp;
use sotto_core::records::{Contact, ContactState, Conversation, Failure, Kind, Message, MessageState, Trust};
use sotto_core::world::{Clock as _, SystemClock};

use crate::shown;

/// Characters of an account id that are shown to people: enough to be typed instead of it.
const ID_SHOWN: usize = 12;

/// Where lines go: this process's standard streams, or those of the process that asked.
pub(crate) trait Sink: Send {
    /// A line of results.
    fn out(&mut self, line: &str);
    /// A line for standard error.
    fn err(&mut self, line: &str);
    /// Messages up to this number stand in the lines so far: to be written down where those lines have really been written.
    fn shown(&mut self, profile: &Path, number: i64);
}

/// Standard output and error.
#[derive(Default)]
pub(crate) struct Terminal {
    /// Nobody reads any more.
    is_alone: bool,
}

impl Sink for Terminal {
    fn out(&mut self, line: &str) {
        use std::io::Write as _;
        // A reader that went away is no reason to stop what was asked for.
        let mut out = std::io::stdout().lock();
        self.is_alone |= writeln!(out, "{line}").and_then(|()| out.flush()).is_err();
    }

    fn err(&mut self, line: &str) {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    fn shown(&mut self, profile: &Path, number: i64) {
        if !self.is_alone {
            shown::write(profile, number);
        }
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

    /// One result. What others wrote must not steer the terminal.
    pub(crate) fn show(&mut self, object: &Value, human: &str) {
        let line = if self.json { object.to_string() } else { harmless(human) };
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
            let remedy = remedy(&failed.code).map(|remedy| format!("\n{remedy}")).unwrap_or_default();
            format!("sotto: {} ({}){remedy}", failed.message, failed.code)
        };
        self.sink.err(&line);
    }

    /// Everything up to a message has been shown.
    pub(crate) fn shown(&mut self, profile: &Path, number: i64) {
        self.sink.shown(profile, number);
    }

    /// Something to look at, for people only.
    pub(crate) fn picture(&mut self, picture: &str) {
        if !self.json {
            self.sink.out(picture);
        }
    }

    pub(crate) fn message(&mut self, message: &Message, sender_name: &str) {
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
            "sender_name": sender_name,
            "sent_at": message.sent_at.as_ms(),
            "kind": kind_name(message.kind),
            "text": message.text,
            "state": state_name(message.state),
        });
        let mark = match message.state {
            MessageState::Received => String::new(),
            MessageState::Failed(Failure::Expired) => "  (failed: its time was over)".to_owned(),
            MessageState::Failed(Failure::Removed) => "  (failed: the contact was removed)".to_owned(),
            state => format!("  ({})", state_name(state)),
        };
        let age = Age::of(message.sent_at);
        self.show(&object, &format!("{age:>10}  {sender_name}: {text}{mark}"));
    }

    /// A line of the list of contacts.
    pub(crate) fn contact(&mut self, contact: &Contact) {
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
        let human = format!("{}  {}…  {}", contact.name, &id[..ID_SHOWN], words.join(", "));
        self.show(&contact_object(contact), &human);
    }

    /// Something happened to a contact, or is to be done.
    pub(crate) fn contact_news(&mut self, contact: &Contact) {
        let name = &contact.name;
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
        let preview = if conversation.preview_is_own { format!("you: {preview}") } else { preview };
        let unread = if conversation.unread > 0 { format!("  [{} new]", conversation.unread) } else { String::new() };
        let age = Age::of(conversation.last_at);
        self.show(&object, &format!("{age:>10}  {name}{unread}  {preview}"));
    }
}

/// Control characters become visible, and further lines are set in, so that nothing looks like a line of ours.
fn harmless(text: &str) -> String {
    let is_control = |letter: char| letter.is_control() && letter != '\n';
    text.replace(is_control, "\u{fffd}").replace('\n', "\n            ")
}

fn contact_object(contact: &Contact) -> Value {
    json!({
        "kind": "contact",
        "id": contact.id.to_string(),
        "name": contact.name,
        "own_name": contact.own_name,
        "state": contact_state_name(contact.state),
        "blocked": contact.blocked,
        "outdated": contact.outdated,
    })
}

/// What to do now, where there is something.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "no_profile" => "Make one: sotto init --relay ADDRESS --name NAME. Or say where it is: --profile DIR.",
        "profile_exists" => "Use it, or choose another directory: --profile DIR.",
        "profile_in_use" => "Another process has it open and does not answer. Wait for it to end, or end it.",
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
        "invite_garbage" => "Copy the whole link, from https:// to its end, and put it between quotes.",
        "invite_expired" | "invite_used_up" => "Ask for a new invite.",
        "already_contact" => "See sotto contacts.",
        "not_found" => "See sotto contacts for names and ids.",
        "ambiguous" => "Give more of the id, as sotto contacts shows it.",
        "usage" => "See sotto help.",
        _ => return None,
    })
}

/// How long ago something was, for people; from a day on, its date (UTC).
struct Age {
    now: Timestamp,
    at: Timestamp,
}

impl Age {
    fn of(at: Timestamp) -> Self {
        Self { now: SystemClock.now(), at }
    }
}

impl fmt::Display for Age {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.now.since(self.at).as_secs() / 60;
        formatter.pad(&match minutes {
            0 => "now".to_owned(),
            1..60 => format!("{minutes} min"),
            60..1_440 => format!("{} h", minutes / 60),
            _ => date(i64::from(self.at.day())),
        })
    }
}

/// The civil date of a day since 1970: years begin in March, so that the leap day is the last, and come in cycles of 400.
fn date(day: i64) -> String {
    let since_march = day + 719_468;
    let (cycle, day_of_cycle) = (since_march.div_euclid(146_097), since_march.rem_euclid(146_097));
    let year = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day_of_month:02}", cycle * 400 + year + next_year)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal_or_look_like_another_line() {
        assert_eq!(harmless("a\u{1b}[2Jb\rc\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
        assert_eq!(harmless("first\nme: second"), "first\n            me: second");
        assert_eq!(harmless("مرحبا 👋🏽"), "مرحبا 👋🏽");
    }

    #[test]
    fn people_see_how_long_ago_something_was() {
        let now = Timestamp::from_ms(1_800_000_000_000);
        let age = |seconds| {
            let at = now.before(std::time::Duration::from_secs(seconds));
            Age { now, at }.to_string()
        };
        assert_eq!([age(59), age(60), age(3_599)], ["now", "1 min", "59 min"]);
        assert_eq!([age(3_600), age(86_399), age(86_400)], ["1 h", "23 h", "2027-01-14"]);
        let ahead = now.after(std::time::Duration::from_secs(9));
        assert_eq!(Age { now, at: ahead }.to_string(), "now", "their clock is ahead");
    }

    #[test]
    fn days_have_their_date() {
        for (day, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_088, "2024-12-31"),
            (20_089, "2025-01-01"),
        ] {
            assert_eq!(date(day), expected);
        }
    }
}
