//! What a search asks for and what it finds.

use sotto_protocol::{AccountId, Timestamp};

use super::Message;

/// What to look for. Everything that is set must be true of a message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SearchQuery {
    /// As they are typed: all of them must be there, the last one as a beginning, and what stands in quotes together. Empty: any.
    pub words: String,
    /// In the conversation with a contact, or with oneself.
    pub conversation: Option<AccountId>,
    /// Said by somebody, or by oneself.
    pub sender: Option<AccountId>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl<T: Into<String>> From<T> for SearchQuery {
    fn from(words: T) -> Self {
        Self { words: words.into(), ..Self::default() }
    }
}

/// A page of what was found, the newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SearchPage {
    /// What was found.
    pub hits: Vec<SearchHit>,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<i64>,
    /// Whether everything that was said has been looked through: where much came at once it takes a while, and the same search finds more then.
    pub is_complete: bool,
}

/// A message that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SearchHit {
    /// It.
    pub message: Message,
    /// With whom it was said: whose conversation is to be opened, at its position.
    pub with: AccountId,
    /// What to show of it.
    pub snippet: Snippet,
}

/// A piece of a text around the first place of what was found, on one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snippet {
    /// The piece, with an ellipsis where it was cut.
    pub text: String,
    /// Where in it is what was looked for.
    pub matches: Vec<Span>,
}

/// A stretch of a text, counted in Unicode scalar values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The first.
    pub start: u32,
    /// How many.
    pub length: u32,
}
