//! What was said.

use sotto_core::protocol::{AccountId, ConversationId, MessageId};
use sotto_core::records;

use super::{TextRange, list, mirror, record};

record! {
    /// A message.
    Message from records::Message as message {
        /// Names it on this device.
        number: i64 = message.number,
        /// Where it stands in its conversation, and the place to continue a page from.
        position: i64 = message.position,
        /// Local number of its arrival: its own, or a later one where it came in the place of what could not be opened.
        arrival: i64 = message.arrival,
        /// The same on all devices.
        id: MessageId = message.id,
        /// Where it was said.
        conversation: ConversationId = message.conversation,
        /// The account that said it.
        sender: AccountId = message.sender,
        /// By the time that relays told its sender.
        sent_at_ms: u64 = message.sent_at.as_ms(),
        /// When this device stored it.
        received_at_ms: u64 = message.received_at.as_ms(),
        /// What it is.
        kind: MessageKind = message.kind.into(),
        /// What to show.
        text: String = message.text,
        /// How stretches of it look, who is meant by them, and where they lead.
        ranges: Vec<TextRange> = list(message.ranges),
        /// What it answers.
        reply_to: Option<Quote> = message.reply_to.map(Quote::from),
        /// Whether these are words that somebody said elsewhere.
        is_forwarded: bool = message.is_forwarded,
        /// When its author last said it otherwise, as they dated that.
        edited_at_ms: Option<u64> = message.edited_at.map(|at| at.as_ms()),
        /// What is felt about it: one reaction of each person, in the order in which they were given.
        reactions: Vec<Reaction> = list(message.reactions),
        /// Whether it is kept where both find it.
        is_pinned: bool = message.is_pinned,
        /// Whether it was not read yet; of what others have said.
        is_unread: bool = message.is_unread,
        /// How far it is.
        state: MessageState = message.state.into(),
    }
}

record! {
    /// A message that another one answers.
    Quote from records::Quote as quote {
        /// Who said it.
        author: AccountId = quote.author,
        /// The same on all devices.
        id: MessageId = quote.id,
        /// What it says here, if it is here.
        here: Option<Quoted> = quote.here.map(Quoted::from),
    }
}

record! {
    /// What a quoted message says here.
    Quoted from records::Quoted as quoted {
        /// Its local number.
        number: i64 = quoted.number,
        /// What it is.
        kind: MessageKind = quoted.kind.into(),
        /// What to show.
        text: String = quoted.text,
    }
}

record! {
    /// What somebody feels about a message.
    Reaction from records::Reaction as reaction {
        /// Who.
        author: AccountId = reaction.author,
        /// What: an emoji, or a short word.
        emoji: String = reaction.emoji,
        /// As they dated it.
        at_ms: u64 = reaction.at.as_ms(),
    }
}

record! {
    /// What a message said at some time.
    MessageVersion from records::Version as version {
        /// What was shown.
        text: String = version.text,
        /// How stretches of it looked, who was meant by them, and where they led.
        ranges: Vec<TextRange> = list(version.ranges),
        /// When it was said so, as its author dated it.
        said_at_ms: u64 = version.said_at.as_ms(),
    }
}

mirror! {
    /// What a message is.
    MessageKind from records::Kind {
        /// Words.
        Text = records::Kind::Text,
        /// Something that this version does not know; the text is its fallback.
        Unknown = records::Kind::Unknown,
        /// It cannot be opened: one of the two sides has lost their session. It is asked for again, and takes this place.
        SessionLost = records::Kind::Unopened(records::Unopened::SessionLost),
        /// Its key was used or forgotten; likewise.
        KeyGone = records::Kind::Unopened(records::Unopened::KeyGone),
        /// Too much is missing before it; likewise.
        TooFarAhead = records::Kind::Unopened(records::Unopened::TooFarAhead),
        /// It begins a session with a key that is gone; likewise.
        PrekeyGone = records::Kind::Unopened(records::Unopened::PrekeyGone),
        /// Something is missing here, and its sender no longer has it.
        GivenUp = records::Kind::Missing(records::Missing::GivenUp),
        /// Something is missing here, and its sender does not answer.
        Unanswered = records::Kind::Missing(records::Missing::Unanswered),
        /// Something came that is no message.
        Malformed = records::Kind::Missing(records::Missing::Malformed),
        /// No message: from here on it is another device, which has come in the place of one that was restored or copied, by its word.
        DeviceReplaced = records::Kind::KeyChange(records::KeyChange::Replaced),
        /// No message: they have another device from here on.
        DeviceAdded = records::Kind::KeyChange(records::KeyChange::DeviceAdded),
        /// No message: their root key has named their devices anew.
        NewEpoch = records::Kind::KeyChange(records::KeyChange::NewEpoch),
        /// Its author took it back, for everyone: nothing of it is left.
        Deleted = records::Kind::Deleted,
        /// Look here: no words.
        Nudge = records::Kind::Nudge,
    }
}

mirror! {
    /// How far a message is.
    MessageState from records::MessageState {
        /// Stored here, not on its way yet.
        Queued = records::MessageState::Queued,
        /// Encrypted, being offered to a relay.
        Sending = records::MessageState::Sending,
        /// A relay took it.
        Sent = records::MessageState::Sent,
        /// A recipient's device has it.
        Delivered = records::MessageState::Delivered,
        /// It was read.
        Read = records::MessageState::Read,
        /// Its time was over before it could be delivered.
        Expired = records::MessageState::Failed(records::Failure::Expired),
        /// It will not arrive: the contact was removed.
        ContactRemoved = records::MessageState::Failed(records::Failure::Removed),
        /// Theirs.
        Received = records::MessageState::Received,
    }
}
