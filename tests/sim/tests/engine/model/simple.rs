//! What a conversation is, without devices, letters and time: whatever somebody does is done at once, in the order in which all of it was
//! done.

use std::collections::BTreeMap;

use sotto_core::records::{Kind, Message, MessageState};
use sotto_protocol::MessageId;

/// Whose message something is: 0 or 1.
pub(super) type Side = usize;

/// A message.
struct Said {
    id: MessageId,
    by: Side,
    /// The last one is what it says now.
    words: Vec<String>,
    answers: Option<MessageId>,
    is_taken_back: bool,
    reactions: BTreeMap<Side, String>,
    is_pinned: bool,
    /// By each side, for itself.
    is_hidden: [bool; 2],
    /// By whom it was said to.
    is_read: bool,
    /// And it was told so.
    is_receipted: bool,
}

/// A conversation of two.
#[derive(Default)]
pub(super) struct Simple {
    said: Vec<Said>,
}

/// A message as one side sees it; of what was taken back only that it was.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Line {
    id: MessageId,
    by: Side,
    pub(super) is_taken_back: bool,
    words: String,
    is_edited: bool,
    answers: Option<MessageId>,
    reactions: BTreeMap<Side, String>,
    is_pinned: bool,
    pub(super) is_unread: bool,
    /// Of one's own that the other side has not taken from view: whether they have read it, as far as is known.
    is_read_there: Option<bool>,
}

impl Simple {
    pub(super) fn say(&mut self, by: Side, id: MessageId, words: String, answers: Option<MessageId>) {
        self.said.push(Said {
            id,
            by,
            words: vec![words],
            answers,
            is_taken_back: false,
            reactions: BTreeMap::new(),
            is_pinned: false,
            is_hidden: [false; 2],
            is_read: false,
            is_receipted: false,
        });
    }

    /// What is done to a message that was taken back is nothing.
    fn living(&mut self, id: MessageId) -> Option<&mut Said> {
        self.said.iter_mut().find(|said| said.id == id && !said.is_taken_back)
    }

    pub(super) fn edit(&mut self, id: MessageId, words: String) {
        if let Some(said) = self.living(id) {
            said.words.push(words);
        }
    }

    pub(super) fn react(&mut self, by: Side, id: MessageId, reaction: Option<String>) {
        if let Some(said) = self.living(id) {
            match reaction {
                Some(reaction) => drop(said.reactions.insert(by, reaction)),
                None => drop(said.reactions.remove(&by)),
            }
        }
    }

    pub(super) fn pin(&mut self, id: MessageId, is_pinned: bool) {
        if let Some(said) = self.living(id) {
            said.is_pinned = is_pinned;
        }
    }

    pub(super) fn take_back(&mut self, id: MessageId) {
        if let Some(said) = self.living(id) {
            said.is_taken_back = true;
        }
    }

    pub(super) fn hide(&mut self, by: Side, id: MessageId) {
        if let Some(said) = self.said.iter_mut().find(|said| said.id == id) {
            said.is_hidden[by] = true;
        }
    }

    pub(super) fn read(&mut self, id: MessageId, is_receipted: bool) {
        if let Some(said) = self.living(id) {
            said.is_read = true;
            said.is_receipted |= is_receipted;
        }
    }

    pub(super) fn seen_by(&self, side: Side) -> Vec<Line> {
        self.said.iter().filter(|said| !said.is_hidden[side]).map(|said| said.seen_by(side)).collect()
    }

    /// What an edited message has said, the oldest first.
    pub(super) fn history(&self, id: MessageId) -> &[String] {
        self.said.iter().find(|said| said.id == id && !said.is_taken_back).map_or(&[], |said| &said.words)
    }

    /// What a search for a word finds, the newest first.
    pub(super) fn found(&self, side: Side, word: &str) -> Vec<MessageId> {
        let is_found = |said: &&Said| {
            let words = said.words.last().expect("it says something");
            !said.is_taken_back && !said.is_hidden[side] && words.contains(word)
        };
        self.said.iter().rev().filter(is_found).map(|said| said.id).collect()
    }
}

impl Said {
    fn seen_by(&self, side: Side) -> Line {
        let there = 1 - side;
        let line = Line {
            id: self.id,
            by: self.by,
            is_taken_back: self.is_taken_back,
            words: String::new(),
            is_edited: false,
            answers: None,
            reactions: BTreeMap::new(),
            is_pinned: false,
            is_unread: false,
            is_read_there: None,
        };
        if self.is_taken_back {
            return line;
        }
        Line {
            words: self.words.last().cloned().unwrap_or_default(),
            is_edited: self.words.len() > 1,
            answers: self.answers,
            reactions: self.reactions.clone(),
            is_pinned: self.is_pinned,
            is_unread: self.by == there && !self.is_read,
            is_read_there: (self.by == side && !self.is_hidden[there]).then_some(self.is_receipted),
            ..line
        }
    }
}

impl Line {
    /// What a device shows, where it is a message; `is_hidden_there` is what no device of this side can know.
    pub(super) fn of(
        message: &Message,
        side: Side,
        side_of: impl Fn(&Message) -> Side,
        known: &Simple,
    ) -> Option<Self> {
        match message.kind {
            Kind::Text | Kind::Deleted => {}
            Kind::KeyChange(_) => return None,
            _ => unreachable!("something is missing: {message:?}"),
        }
        let by = side_of(message);
        let is_taken_back = message.kind == Kind::Deleted;
        let is_hidden_there = known.said.iter().any(|said| said.id == message.id && said.is_hidden[1 - side]);
        let side_of_reaction = |author| if author == message.sender { by } else { 1 - by };
        Some(Self {
            id: message.id,
            by,
            is_taken_back,
            words: message.text.clone(),
            is_edited: message.edited_at.is_some(),
            answers: message.reply_to.as_ref().map(|quote| quote.id),
            reactions: message
                .reactions
                .iter()
                .map(|reaction| (side_of_reaction(reaction.author), reaction.emoji.clone()))
                .collect(),
            is_pinned: message.is_pinned,
            is_unread: message.is_unread,
            is_read_there: (by == side && !is_taken_back && !is_hidden_there).then(|| match message.state {
                MessageState::Read => true,
                MessageState::Delivered => false,
                _ => unreachable!("everybody has it: {message:?}"),
            }),
        })
    }
}
