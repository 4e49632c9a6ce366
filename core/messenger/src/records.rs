//! Records: plain data that crosses the API by value. What a UI draws is in here; what it may do is on `Messenger`.

mod found;

use sotto_protocol::{AccountId, ConversationId, DeviceId, MessageId, RelayAddress, Timestamp};

pub use sotto_crypto::letter::{Meaning, Range, Style};

pub use crate::contact::{ContactState, Trust};
pub use crate::live::{AppState, Live, LiveSettings, Presence};
pub use found::{SearchHit, SearchPage, SearchQuery, Snippet, Span};

/// This account and device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The root public key.
    pub id: AccountId,
    /// This installation.
    pub device: DeviceId,
    /// What others see.
    pub name: String,
    /// Where its inboxes are, the preferred first.
    pub relays: Vec<RelayAddress>,
}

/// Somebody we can talk to, or who wants to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contact {
    /// Their root public key.
    pub id: AccountId,
    /// What to show: the name we gave, else theirs.
    pub name: String,
    /// The name they gave themselves.
    pub own_name: String,
    /// What they say of themselves, on as many lines as they want; empty where they say nothing.
    pub status: String,
    /// How far the handshake is.
    pub state: ContactState,
    /// Whether we blocked them.
    pub blocked: bool,
    /// What their manifest chain has shown.
    pub trust: Trust,
    /// Whether their list of devices was not renewed for longer than it should have been.
    pub outdated: bool,
    /// Whether somebody has compared that their root key is theirs.
    pub is_verified: bool,
    /// Whether nothing leaves to them, because they are verified and have other devices than when that was decided last.
    pub is_held: bool,
    /// Which list of their devices this was: what [`accept_keys`](crate::Messenger::accept_keys) is about. It grows with every list of theirs.
    pub keys: u64,
    /// What was noted of them, for ourselves.
    pub note: Option<String>,
}

/// What contacts see of this account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// What we call ourselves.
    pub name: String,
    /// What we say of ourselves, at most 512 bytes; may be empty.
    pub status: String,
}

/// A line of the chat list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conversation {
    /// Local number.
    pub number: i64,
    /// The same on all devices.
    pub id: ConversationId,
    /// The other side of a 1:1; `None` for the note to self.
    pub contact: Option<AccountId>,
    /// Their name.
    pub name: Option<String>,
    /// When it last moved, by this device's clock.
    pub last_at: Timestamp,
    /// Messages of others that were not read, on any device.
    pub unread: u32,
    /// Whether it is to look unread, though there may be nothing.
    pub is_marked_unread: bool,
    /// Until when it is silent.
    pub muted_until: Option<Timestamp>,
    /// Whether it is put away, until something is said there again.
    pub is_archived: bool,
    /// Whether it stands above the others.
    pub is_pinned: bool,
    /// What is being written there.
    pub draft: Option<String>,
    /// Text of the last message.
    pub preview: Option<String>,
    /// What that is.
    pub preview_kind: Option<Kind>,
    /// Whether we wrote that.
    pub preview_is_own: bool,
}

impl Conversation {
    /// The place to continue a page from.
    #[must_use]
    pub const fn place(&self) -> ChatPlace {
        ChatPlace { is_pinned: self.is_pinned, last_at: self.last_at, number: self.number }
    }
}

/// Where a conversation stands in a chat list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChatPlace {
    /// Whether it stands above the others.
    pub is_pinned: bool,
    /// When it last moved.
    pub last_at: Timestamp,
    /// Its local number.
    pub number: i64,
}

/// A chat list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chats {
    /// What was not put away.
    Main,
    /// What was.
    Archived,
}

/// A relay of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnRelay {
    /// Which.
    pub address: RelayAddress,
    /// Whether the account's own list is there.
    pub is_home: bool,
    /// Whether it was taken off our list: it is still read for a while.
    pub is_left: bool,
    /// Why it cannot be read right now: the code of an error.
    pub trouble: Option<&'static str>,
}

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Local number: names it on this device.
    pub number: i64,
    /// Where it stands in its conversation, and the place to continue a page from: the same on all devices, but for what clocks were wrong for.
    pub position: i64,
    /// Local number of its arrival: its own, or a later one where it came in the place of what could not be opened.
    pub arrival: i64,
    /// The same on all devices.
    pub id: MessageId,
    /// Where it was said.
    pub conversation: ConversationId,
    /// Who said it.
    pub sender: AccountId,
    /// By the time that relays told its sender, and behind all that it had seen in the conversation.
    pub sent_at: Timestamp,
    /// When this device stored it.
    pub received_at: Timestamp,
    /// What it is.
    pub kind: Kind,
    /// What to show.
    pub text: String,
    /// How stretches of it look, who is meant by them, and where they lead; counted in Unicode scalar values.
    pub ranges: Vec<Range>,
    /// What it answers.
    pub reply_to: Option<Quote>,
    /// Whether these are words that somebody said elsewhere.
    pub is_forwarded: bool,
    /// When its author last said it otherwise, as they dated that.
    pub edited_at: Option<Timestamp>,
    /// What is felt about it: one reaction of each person, in the order in which they were given.
    pub reactions: Vec<Reaction>,
    /// Whether it is kept where both find it.
    pub is_pinned: bool,
    /// Whether it was not read yet; of what others have said.
    pub is_unread: bool,
    /// How far it is.
    pub state: MessageState,
}

/// A message that another one answers: by reference, so that nothing of it stays when it goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quote {
    /// Who said it.
    pub author: AccountId,
    /// The same on all devices.
    pub id: MessageId,
    /// What it says here, if it is here.
    pub here: Option<Quoted>,
}

/// What a quoted message says here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// Its local number.
    pub number: i64,
    /// What it is.
    pub kind: Kind,
    /// What to show.
    pub text: String,
}

/// What somebody feels about a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reaction {
    /// Who.
    pub author: AccountId,
    /// What: an emoji, or a short word.
    pub emoji: String,
    /// As they dated it.
    pub at: Timestamp,
}

/// What a message said at some time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// What was shown.
    pub text: String,
    /// How stretches of it looked, who was meant by them, and where they led.
    pub ranges: Vec<Range>,
    /// When it was said so, as its author dated it.
    pub said_at: Timestamp,
}

/// A text to be said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NewText {
    /// The words.
    pub body: String,
    /// How stretches of them look, who is meant by them, and where they lead; counted in Unicode scalar values.
    pub ranges: Vec<Range>,
    /// Local number of the message that it answers.
    pub reply_to: Option<i64>,
}

impl<T: Into<String>> From<T> for NewText {
    fn from(body: T) -> Self {
        Self { body: body.into(), ranges: Vec::new(), reply_to: None }
    }
}

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Words.
    Text,
    /// Something that this version does not know; `text` is its fallback, and the bytes are kept.
    Unknown,
    /// It came and could not be opened. Its sender is asked for it again, and it takes this place when it comes.
    Unopened(Unopened),
    /// Something was to be seen here, one message or several, and will not come.
    Missing(Missing),
    /// No message: what it is encrypted for is other keys from here on.
    KeyChange(KeyChange),
    /// Its author took it back, for everyone: nothing of it is left.
    Deleted,
    /// Look here: no words.
    Nudge,
}

/// Why a contact's keys are others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyChange {
    /// A device of theirs was restored from an older copy, or copied, and has replaced itself, by its own word.
    Replaced,
    /// They have one more device, or another.
    DeviceAdded,
    /// Their root key has named another list of devices.
    NewEpoch,
}

/// Why a message could not be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unopened {
    /// No session that we have opens it: one of the two sides has lost it.
    SessionLost,
    /// Its key was used, or too many were skipped before it and it was forgotten.
    KeyGone,
    /// More messages are missing before it than a session follows.
    TooFarAhead,
    /// It begins a session with a key of ours that is gone.
    PrekeyGone,
}

/// Why a message will not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// Its sender no longer has it.
    GivenUp,
    /// Its sender was asked for it again and again, and does not answer.
    Unanswered,
    /// It came, and says what no message may.
    Malformed,
}

/// How far a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageState {
    /// Stored here, not on its way yet.
    Queued,
    /// Encrypted, being offered to a relay.
    Sending,
    /// A relay took it for a device of each recipient.
    Sent,
    /// A recipient's device has it.
    Delivered,
    /// It was read.
    Read,
    /// It will not arrive.
    Failed(Failure),
    /// Theirs.
    Received,
}

/// How far a message is with one device that it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Which.
    pub device: DeviceId,
    /// Whether it is one of ours.
    pub is_own: bool,
    /// How far.
    pub state: DeliveryState,
    /// Since when.
    pub at: Option<Timestamp>,
    /// The relay that it went to.
    pub relay: Option<RelayAddress>,
}

/// How far a message is with a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryState {
    /// It has not left.
    Waiting,
    /// A relay took it.
    Accepted,
    /// The device has it.
    Confirmed,
    /// It will not arrive there.
    Failed,
}

/// Why a message will not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Its time was over before it could be delivered.
    Expired,
    /// The contact was removed.
    Removed,
}

/// An invite as its owner sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InviteLink {
    /// The link, which is also what the QR code holds.
    pub link: String,
    /// After this it is refused.
    pub expires_at: Timestamp,
    /// How many may use it.
    pub uses: u32,
}

/// The code of a relay that takes no letter of ours, because its owner does not want it or is gone: never that of a relay of ours that
/// refuses us.
pub const LETTER_REFUSED: &str = "letter_refused";

/// What the engine knows of its relays and queues.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CatchUp {
    /// Messages that came in.
    pub received: u64,
    /// Letters that relays took.
    pub sent: u64,
    /// Letters still waiting to leave.
    pub waiting: u64,
    /// Whether everything that waited has been dealt with.
    pub is_complete: bool,
    /// Whether our relays have been told everything that they are to be told of us, but for those that were left: what others need to reach us
    /// is there.
    pub is_published: bool,
    /// Relays with which not everything could be done, each with the code of the error: those that could not be reached, and those that
    /// refuse. What fails at a relay of ours counts before what fails there on its way to others.
    pub unreachable: Vec<(RelayAddress, &'static str)>,
}

/// What became of what an account had at its relays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Deleted {
    /// Relays that have nothing of this device and of the account's lists any more.
    pub told: Vec<RelayAddress>,
    /// Those that may have, each with the code of the error. What stands there dies with its time: nobody fetches or renews it.
    pub not_told: Vec<(RelayAddress, &'static str)>,
    /// Whether the account has other devices, which go on until they are deleted themselves.
    pub has_other_devices: bool,
}
