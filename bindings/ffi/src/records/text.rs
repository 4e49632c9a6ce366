//! Words, and what stretches of them mean. Places in a text are counted in Unicode scalar values, on all platforms.

use sotto_core::protocol::AccountId;
use sotto_core::records;

use super::{list, record};

/// A text to be said. Words alone are enough.
#[derive(Clone, PartialEq, Eq, Debug, uniffi::Record)]
pub struct NewText {
    /// The words.
    pub body: String,
    /// How stretches of them look, who is meant by them, and where they lead.
    #[uniffi(default = [])]
    pub ranges: Vec<TextRange>,
    /// Local number of the message that it answers.
    #[uniffi(default = None)]
    pub reply_to: Option<i64>,
}

impl From<NewText> for records::NewText {
    fn from(text: NewText) -> Self {
        Self { body: text.body, ranges: list(text.ranges), reply_to: text.reply_to }
    }
}

impl From<records::NewText> for NewText {
    fn from(text: records::NewText) -> Self {
        Self { body: text.body, ranges: list(text.ranges), reply_to: text.reply_to }
    }
}

record! {
    /// A stretch of a text that means something.
    TextRange from records::Range as range {
        /// The first scalar value.
        start: u32 = range.start,
        /// How many.
        length: u32 = range.length,
        /// What it means there.
        meaning: Meaning = range.meaning.into(),
    }
}

impl From<TextRange> for records::Range {
    fn from(range: TextRange) -> Self {
        Self { start: range.start, length: range.length, meaning: range.meaning.into() }
    }
}

record! {
    /// A stretch of a text.
    TextSpan from records::Span as span {
        /// The first scalar value.
        start: u32 = span.start,
        /// How many.
        length: u32 = span.length,
    }
}

/// What a stretch of a text means.
#[derive(Clone, PartialEq, Eq, Debug, uniffi::Enum)]
pub enum Meaning {
    /// How it looks.
    Styled {
        /// How.
        style: TextStyle,
    },
    /// Who is meant.
    Mention {
        /// Whom.
        account: AccountId,
    },
    /// Where it leads.
    Link {
        /// An address.
        target: String,
    },
    /// Something of the future: shown as plain text.
    Unknown,
}

impl From<records::Meaning> for Meaning {
    fn from(meaning: records::Meaning) -> Self {
        let styled = |style| Self::Styled { style };
        match meaning {
            records::Meaning::Style(records::Style::Bold) => styled(TextStyle::Bold),
            records::Meaning::Style(records::Style::Italic) => styled(TextStyle::Italic),
            records::Meaning::Style(records::Style::Strikethrough) => styled(TextStyle::Strikethrough),
            records::Meaning::Style(records::Style::Monospace) => styled(TextStyle::Monospace),
            records::Meaning::Style(records::Style::Spoiler) => styled(TextStyle::Spoiler),
            records::Meaning::Mention(account) => Self::Mention { account },
            records::Meaning::Link(target) => Self::Link { target },
            records::Meaning::Style(records::Style::Unspecified) | records::Meaning::Unknown => Self::Unknown,
        }
    }
}

impl From<Meaning> for records::Meaning {
    fn from(meaning: Meaning) -> Self {
        match meaning {
            Meaning::Styled { style } => Self::Style(style.into()),
            Meaning::Mention { account } => Self::Mention(account),
            Meaning::Link { target } => Self::Link(target),
            Meaning::Unknown => Self::Unknown,
        }
    }
}

/// How a stretch of a text looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, uniffi::Enum)]
pub enum TextStyle {
    /// Bold.
    Bold,
    /// Slanted.
    Italic,
    /// With a line through it.
    Strikethrough,
    /// Every letter as wide as the others.
    Monospace,
    /// Hidden until it is touched.
    Spoiler,
}

impl From<TextStyle> for records::Style {
    fn from(style: TextStyle) -> Self {
        match style {
            TextStyle::Bold => Self::Bold,
            TextStyle::Italic => Self::Italic,
            TextStyle::Strikethrough => Self::Strikethrough,
            TextStyle::Monospace => Self::Monospace,
            TextStyle::Spoiler => Self::Spoiler,
        }
    }
}
