//! A conversation, around the place at which somebody reads it.
//!
//! The window is a stretch of positions, which may be open at either end: what is placed into it comes, wherever in it that is. It grows as
//! somebody scrolls, up to a bound of messages and one of bytes; then what is furthest from where it grew goes, and comes again when somebody
//! scrolls back. A screen stays, however long its messages are.

use std::sync::{Arc, Mutex, PoisonError};

use sotto_protocol::{AccountId, Timestamp};

use super::Moved;
use super::difference::{Change, between};
use crate::conversation::{self, ConversationRow};
use crate::engine::Engine;
use crate::error::Error;
use crate::messenger::conversation_with;
use crate::records::{Meaning, Message, Range};
use crate::store::Query;

/// Messages that a window holds at most: many screens.
const WINDOW_MAX: u32 = 1_000;
/// Bytes of their words that it holds at most: that many messages of a page each.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Messages that it holds however long they are: a screen, and what is half seen above and below.
const SCREEN: usize = 32;
/// Messages that are read at a time: what is too much is found out early.
const AT_ONCE: u32 = 64;

/// Where a window begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At the newest message, with those before it.
    Newest,
    /// Around the first message that was not read; at the newest one, where all were.
    FirstUnread,
    /// Around a position: of a message that was found, say.
    Around(i64),
    /// At the first message of a time or after it, with some before it.
    Date(Timestamp),
}

/// What has changed of a window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimelineChanges {
    /// The differences.
    pub changes: Vec<Change<Message>>,
    /// Whether something stands before the window.
    pub has_older: bool,
    /// Whether something stands behind it: what is said now is not seen then.
    pub has_newer: bool,
}

/// A conversation that is kept up to date for as long as this is held.
pub struct Timeline {
    engine: Arc<Engine>,
    with: AccountId,
    asked: Mutex<Asked>,
    /// One `next` at a time.
    said: tokio::sync::Mutex<Said>,
}

/// What somebody has scrolled to and is not shown yet.
#[derive(Clone, Copy, Default)]
struct Asked {
    older: u32,
    newer: u32,
}

struct Said {
    moved: Moved,
    window: Window,
    shown: Option<Shown>,
}

struct Shown {
    messages: Vec<Message>,
    has_older: bool,
    has_newer: bool,
}

/// A stretch of positions.
#[derive(Clone, Copy)]
enum Window {
    /// Not looked for yet: so many messages from there.
    From { start: Start, count: u32 },
    /// Between two positions, both included; `None`: open.
    Between { first: Option<i64>, last: Option<i64>, grew: End },
}

/// An end of a window: whoever reads is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Older,
    Newer,
}

impl Timeline {
    pub(crate) fn new(engine: &Arc<Engine>, with: AccountId, start: Start, count: u32) -> Self {
        let window = Window::From { start, count: count.clamp(1, WINDOW_MAX) };
        Self {
            engine: Arc::clone(engine),
            with,
            asked: Mutex::default(),
            said: tokio::sync::Mutex::new(Said { moved: Moved::of(engine), window, shown: None }),
        }
    }

    /// The window, and each time behind that what has changed of it since: waits until something has. Dropping it early loses nothing.
    ///
    /// # Errors
    /// [`InputError::NotFound`](crate::InputError::NotFound), and as of [`ChatList::next`](super::ChatList::next).
    pub async fn next(&self) -> Result<TimelineChanges, Error> {
        let mut said = self.said.lock().await;
        loop {
            said.moved.begin().await;
            let (with, window, asked) = (self.with, said.window, self.asked());
            let looked = self.engine.read(move |engine, view| look(engine, view, &with, window, asked)).await;
            let (window, shown) = said.moved.note(looked)?;
            self.is_shown(asked);
            let changes = match &said.shown {
                None => vec![Change::Reset { items: shown.messages.clone() }],
                Some(before) => between(&before.messages, &shown.messages, |message| message.number),
            };
            let is_new = said.shown.as_ref().is_none_or(|before| {
                (before.has_older, before.has_newer) != (shown.has_older, shown.has_newer) || !changes.is_empty()
            });
            let (has_older, has_newer) = (shown.has_older, shown.has_newer);
            (said.window, said.shown) = (window, Some(shown));
            if is_new {
                return Ok(TimelineChanges { changes, has_older, has_newer });
            }
            said.moved.again().await;
        }
    }

    /// So many more before the window are shown: they come with the next differences.
    pub fn older(&self, count: u32) {
        self.ask(|asked| asked.older = asked.older.saturating_add(count).min(WINDOW_MAX));
    }

    /// So many more behind the window are shown.
    pub fn newer(&self, count: u32) {
        self.ask(|asked| asked.newer = asked.newer.saturating_add(count).min(WINDOW_MAX));
    }

    fn ask(&self, ask: impl FnOnce(&mut Asked)) {
        ask(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        self.engine.show_again();
    }

    fn asked(&self) -> Asked {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_shown(&self, shown: Asked) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.older -= shown.older.min(asked.older);
        asked.newer -= shown.newer.min(asked.newer);
    }
}

/// What stands in a window now, and the window.
fn look(
    engine: &Engine,
    view: &impl Query,
    with: &AccountId,
    window: Window,
    asked: Asked,
) -> Result<(Window, Shown), Error> {
    let Some(row) = conversation_with(engine, view, with)? else {
        // Nothing was ever said: whatever is comes into the window.
        return Ok((window, Shown { messages: Vec::new(), has_older: false, has_newer: false }));
    };
    let (first, last, grew) = match window {
        Window::From { start, count } => begin(view, &engine.own().account, row, start, count)?,
        Window::Between { first, last, grew } => (first, last, grew),
    };
    let grew = match asked {
        Asked { older: 0, newer: 0 } => grew,
        Asked { older: 0, .. } => End::Newer,
        Asked { .. } => End::Older,
    };
    let own = &engine.own().account;
    let mut first = stretched(view, own, row, first, End::Older, asked.older)?;
    let mut last = stretched(view, own, row, last, End::Newer, asked.newer)?;
    // What is too much goes at the other end.
    let (messages, are_all) = fill(view, own, row, (first, last), grew, Room::OF_ALL)?;
    match grew {
        End::Newer if !are_all => first = messages.first().map(|message| message.position),
        End::Older if !are_all => last = messages.last().map(|message| message.position),
        End::Newer | End::Older => {}
    }
    let has_older = match first {
        Some(first) => conversation::nth_before(view, row, first, 1)?.is_some(),
        None => false,
    };
    let has_newer = match last {
        Some(last) => conversation::nth_after(view, row, last, 1)?.is_some(),
        None => false,
    };
    // An end at which nothing stands is open: what is placed there is seen.
    let window = Window::Between { first: first.filter(|_| has_older), last: last.filter(|_| has_newer), grew };
    Ok((window, Shown { messages, has_older, has_newer }))
}

/// The window that somebody begins with.
fn begin(
    view: &impl Query,
    own: &AccountId,
    row: ConversationRow,
    start: Start,
    count: u32,
) -> Result<(Option<i64>, Option<i64>, End), Error> {
    let middle = match start {
        Start::Newest => None,
        Start::FirstUnread => conversation::first_unread(view, row)?,
        Start::Around(position) => Some(position),
        Start::Date(date) => Some(conversation::first_position(date)),
    };
    Ok(match middle {
        None => (conversation::nth_before(view, row, i64::MAX, count)?, None, End::Newer),
        Some(middle) => {
            let before = stretched(view, own, row, Some(middle), End::Older, count / 2)?;
            (before, conversation::nth_after(view, row, middle.saturating_sub(1), count - count / 2)?, End::Older)
        }
    })
}

/// The end of a window with so many more messages there, as far as they leave room for those at which somebody reads.
fn stretched(
    view: &impl Query,
    own: &AccountId,
    row: ConversationRow,
    end: Option<i64>,
    to: End,
    more: u32,
) -> Result<Option<i64>, Error> {
    let Some(position) = end.filter(|_| more > 0) else { return Ok(end) };
    let room = Room { messages: more as usize, ..Room::OF_MORE };
    let (found, are_all) = match to {
        End::Older => fill(view, own, row, (None, Some(position.saturating_sub(1))), End::Newer, room)?,
        End::Newer => fill(view, own, row, (Some(position.saturating_add(1)), None), End::Older, room)?,
    };
    let furthest = if to == End::Older { found.first() } else { found.last() };
    Ok(furthest.map(|message| message.position).filter(|_| !are_all))
}

/// How much is taken of a conversation.
#[derive(Clone, Copy)]
struct Room {
    messages: usize,
    bytes: usize,
    /// Messages that are taken however long they are.
    screen: usize,
}

impl Room {
    const OF_ALL: Self = Self { messages: WINDOW_MAX as usize, bytes: BYTES_MAX, screen: SCREEN };
    /// What comes at one end.
    const OF_MORE: Self = Self { bytes: BYTES_MAX / 2, screen: SCREEN / 2, ..Self::OF_ALL };
}

/// The messages between two positions, both included, oldest first, and whether these are all: of more than there is room for those at an end.
fn fill(
    view: &impl Query,
    own: &AccountId,
    row: ConversationRow,
    (mut first, mut last): (Option<i64>, Option<i64>),
    at: End,
    room: Room,
) -> Result<(Vec<Message>, bool), Error> {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    let are_all = 'filled: loop {
        let found = conversation::stretch(view, own, row, (first, last), AT_ONCE, at == End::Newer)?;
        let is_last = found.len() < AT_ONCE as usize;
        for message in found {
            bytes += weight(&message);
            if messages.len() >= room.messages || (messages.len() >= room.screen && bytes > room.bytes) {
                break 'filled false;
            }
            match at {
                End::Newer => last = message.position.checked_sub(1),
                End::Older => first = message.position.checked_add(1),
            }
            messages.push(message);
        }
        if is_last {
            break true;
        }
    };
    if at == End::Newer {
        messages.reverse();
    }
    Ok((messages, are_all))
}

/// The bytes of all words that come with a message.
fn weight(message: &Message) -> usize {
    let quoted = message.reply_to.as_ref().and_then(|quote| quote.here.as_ref()).map_or(0, |here| here.text.len());
    let link = |range: &Range| if let Meaning::Link(link) = &range.meaning { link.len() } else { 0 };
    message.text.len() + quoted + message.ranges.iter().map(|range| size_of::<Range>() + link(range)).sum::<usize>()
}
