//! Texts: words with ranges that style them, count in Unicode scalar values, and never reach past the end.

use std::fmt;

use sotto_protocol::decode::DecodeError;
use sotto_protocol::letter;
pub use sotto_protocol::letter::Style;
use sotto_protocol::limits::TEXT_BYTES_MAX;
use sotto_protocol::{AccountId, Bytes};

use super::deeds::Target;

/// Ranges in one text: a sentence each on forty pages; a reader draws them all at once.
const RANGES_MAX: usize = 1_000;
/// A link in a range: what browsers agree to open.
const LINK_BYTES_MAX: usize = 2_048;

/// Why a text is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TextError {
    /// It says nothing.
    #[error("an empty text")]
    Empty,
    /// Longer than a text may be.
    #[error("a text of {length} bytes")]
    TooLong {
        /// Length found.
        length: usize,
    },
    /// More ranges than a text may have.
    #[error("a text with {count} ranges")]
    TooManyRanges {
        /// How many.
        count: usize,
    },
    /// A range of nothing.
    #[error("an empty range")]
    EmptyRange,
    /// A range that reaches past the end.
    #[error("a range beyond the end of the text")]
    RangeBeyondEnd,
    /// A mention of what is no account, a link that is too long, an answer to what is no message.
    #[error("a text with a malformed part: {0}")]
    BadPart(#[from] DecodeError),
}

/// A text message.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// The words.
    pub body: String,
    /// In the order the sender gave; they may overlap.
    pub ranges: Vec<Range>,
    /// What it answers.
    pub reply_to: Option<Target>,
    /// Whether these are somebody else's words.
    pub forwarded: bool,
}

/// A stretch of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// First Unicode scalar value.
    pub start: u32,
    /// How many.
    pub length: u32,
    /// What it means there.
    pub meaning: Meaning,
}

/// What a range means.
#[derive(Clone, PartialEq, Eq)]
pub enum Meaning {
    /// How it looks.
    Style(Style),
    /// Who is meant.
    Mention(AccountId),
    /// Where it leads.
    Link(String),
    /// Something of the future: shown as plain text.
    Unknown,
}

/// Says which it is, and nothing of what it holds.
impl fmt::Debug for Meaning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Style(style) => style.as_str_name(),
            Self::Mention(_) => "Mention",
            Self::Link(_) => "Link",
            Self::Unknown => "Unknown",
        })
    }
}

impl Text {
    /// Words alone.
    #[must_use]
    pub fn plain(body: impl Into<String>) -> Self {
        Self { body: body.into(), ranges: Vec::new(), reply_to: None, forwarded: false }
    }

    pub(super) fn to_message(&self) -> Result<letter::Text, TextError> {
        self.check()?;
        Ok(letter::Text {
            body: self.body.clone(),
            ranges: self.ranges.iter().map(Range::to_message).collect(),
            reply_to: self.reply_to.map(Target::to_message),
            forwarded: self.forwarded,
        })
    }

    pub(super) fn from_message(message: letter::Text) -> Result<Self, TextError> {
        if message.ranges.len() > RANGES_MAX {
            return Err(TextError::TooManyRanges { count: message.ranges.len() });
        }
        let ranges = message.ranges.into_iter().map(Range::from_message).collect::<Result<_, _>>()?;
        let reply_to = message.reply_to.map(|target| Target::from_message(&target)).transpose()?;
        let text = Self { body: message.body, ranges, reply_to, forwarded: message.forwarded };
        text.check()?;
        Ok(text)
    }

    fn check(&self) -> Result<(), TextError> {
        if self.body.is_empty() {
            return Err(TextError::Empty);
        }
        if self.body.len() > TEXT_BYTES_MAX {
            return Err(TextError::TooLong { length: self.body.len() });
        }
        if self.ranges.len() > RANGES_MAX {
            return Err(TextError::TooManyRanges { count: self.ranges.len() });
        }
        let scalars = self.body.chars().count() as u64;
        for range in &self.ranges {
            if range.length == 0 {
                return Err(TextError::EmptyRange);
            }
            if u64::from(range.start) + u64::from(range.length) > scalars {
                return Err(TextError::RangeBeyondEnd);
            }
            range.meaning.check()?;
        }
        Ok(())
    }
}

impl Range {
    fn to_message(&self) -> letter::Range {
        let meaning = match &self.meaning {
            Meaning::Style(style) => Some(letter::range::Meaning::Style((*style).into())),
            Meaning::Mention(account) => Some(letter::range::Meaning::Mention((*account).into())),
            Meaning::Link(link) => Some(letter::range::Meaning::Link(link.clone())),
            Meaning::Unknown => None,
        };
        letter::Range { start: self.start, length: self.length, meaning }
    }

    fn from_message(message: letter::Range) -> Result<Self, DecodeError> {
        let meaning = match message.meaning {
            Some(letter::range::Meaning::Style(style)) => {
                Style::try_from(style).map_or(Meaning::Unknown, Meaning::Style)
            }
            Some(letter::range::Meaning::Mention(account)) => Meaning::Mention(read_mention(&account)?),
            Some(letter::range::Meaning::Link(link)) => Meaning::Link(link),
            None => Meaning::Unknown,
        };
        Ok(Self { start: message.start, length: message.length, meaning })
    }
}

fn read_mention(account: &Bytes) -> Result<AccountId, DecodeError> {
    AccountId::try_from(&**account)
}

impl Meaning {
    const fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Link(link) if link.len() > LINK_BYTES_MAX => {
                Err(DecodeError::TooLong { length: link.len(), length_max: LINK_BYTES_MAX })
            }
            Self::Link(_) | Self::Style(_) | Self::Mention(_) | Self::Unknown => Ok(()),
        }
    }
}
