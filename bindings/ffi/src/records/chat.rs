//! Lines of a chat list.

use sotto_core::protocol::{AccountId, ConversationId, Timestamp};
use sotto_core::records;

use super::{MessageKind, record};

record! {
    /// A line of a chat list.
    Conversation from records::Conversation as chat {
        /// Names it on this device.
        number: i64 = chat.number,
        /// The place to continue a page from.
        place: ChatPlace = chat.place().into(),
        /// The same on all devices.
        id: ConversationId = chat.id,
        /// The other side; none for the note to self.
        contact: Option<AccountId> = chat.contact,
        /// Their name.
        name: Option<String> = chat.name,
        /// When it last moved, by this device's clock.
        last_at_ms: u64 = chat.last_at.as_ms(),
        /// Messages of others that were not read, on any device.
        unread: u32 = chat.unread,
        /// Whether it is to look unread, though there may be nothing.
        is_marked_unread: bool = chat.is_marked_unread,
        /// Until when it is silent.
        muted_until_ms: Option<u64> = chat.muted_until.map(|until| until.as_ms()),
        /// Whether it is put away, until something is said there again.
        is_archived: bool = chat.is_archived,
        /// Whether it stands above the others.
        is_pinned: bool = chat.is_pinned,
        /// What is being written there.
        draft: Option<String> = chat.draft,
        /// Text of the last message.
        preview: Option<String> = chat.preview,
        /// What that is.
        preview_kind: Option<MessageKind> = chat.preview_kind.map(MessageKind::from),
        /// Whether we wrote that.
        preview_is_own: bool = chat.preview_is_own,
    }
}

record! {
    /// Where a conversation stands in a chat list.
    ChatPlace from records::ChatPlace as place {
        /// Whether it stands above the others.
        is_pinned: bool = place.is_pinned,
        /// When it last moved.
        last_at_ms: u64 = place.last_at.as_ms(),
        /// Its local number.
        number: i64 = place.number,
    }
}

impl From<ChatPlace> for records::ChatPlace {
    fn from(place: ChatPlace) -> Self {
        let ChatPlace { is_pinned, last_at_ms, number } = place;
        Self { is_pinned, last_at: Timestamp::from_ms(last_at_ms), number }
    }
}

/// A chat list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, uniffi::Enum)]
pub enum Chats {
    /// What was not put away.
    Main,
    /// What was.
    Archived,
}

impl From<Chats> for records::Chats {
    fn from(chats: Chats) -> Self {
        match chats {
            Chats::Main => Self::Main,
            Chats::Archived => Self::Archived,
        }
    }
}
