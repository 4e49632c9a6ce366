//! All that the screen shows, as one value; what happens to it, and what is to be done.
//!
//! ```text
//! keys, engine, clock --Event--> Model::update --Command--> hands.rs --> engine;  Model --view.rs--> screen
//! ```
//! Nothing here knows a terminal, an engine or a clock.

use std::collections::HashSet;

use ratatui::layout::Size;
use sotto_core::protocol::{AccountId, Timestamp};
use sotto_core::records::{Contact, Delivery, Live, Message, NewText, SearchHit, SearchPage, Version};
use sotto_core::subscriptions::{Start, TimelineChanges};

use super::calendar::Calendar;
use super::composer::Composer;
use super::look::Look;
use super::scroll::Place;

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    /// A key was pressed.
    Key(crossterm::event::KeyEvent),
    /// Words were pasted.
    Paste(String),
    /// The terminal has another size.
    Resize(Size),
    /// Somebody looks at the terminal, or does not.
    Focus(bool),
    /// A second is over.
    Tick(Timestamp),
    /// The conversation has changed, as the timeline of that number sees it.
    Changes(u32, TimelineChanges),
    /// What the contact does right now.
    Live(Live),
    /// Who they are.
    Contact(Contact, String),
    /// Why no relay can be read; `None`: one can.
    Trouble(Option<&'static str>),
    /// What was found by the search of that number.
    Found(u32, SearchPage),
    /// What there is to know about a message.
    Details(Box<Details>),
    /// Something was not done.
    Failed(Failure),
}

/// What there is to know about a message.
#[derive(Clone, Debug)]
pub(super) struct Details {
    pub(super) message: Message,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) history: Vec<Version>,
}

/// What was not done, and why.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) why: String,
    /// What it was, where somebody asked for it.
    pub(super) undone: Option<Command>,
}

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Command {
    /// Look at the conversation from there on, by a timeline of that number.
    Open(u32, Start),
    /// Show so many more before what is shown.
    Older(u32),
    /// Show so many more behind it.
    Newer(u32),
    Send(NewText),
    Edit(i64, String),
    React(i64, Option<String>),
    Pin(i64, bool),
    DeleteForMe(i64),
    DeleteForEveryone(i64),
    Retry(i64),
    MarkRead(Vec<i64>),
    SaveDraft(Option<NewText>),
    /// Tell whether somebody types.
    Typing(bool),
    /// Look for words, before a place.
    Search(u32, String, Option<i64>),
    /// Ask what there is to know about a message.
    Details(i64),
    /// Put something into the terminal's clipboard.
    Copy(String),
    /// Draw everything anew.
    Redraw,
    /// Stop, as a shell's job.
    Suspend,
    Quit,
}

/// What keys mean now.
#[derive(Debug)]
pub(super) enum Mode {
    /// Words.
    Write,
    /// Something to do with the chosen message.
    Select,
    /// What is felt about it.
    React(Composer),
    /// For whom it is to be deleted.
    Delete,
    /// What to look for.
    Search(Search),
    /// The keys are shown.
    Help,
    /// What there is to know about a message is shown.
    Details(Box<Details>),
}

/// A search while its words are typed.
#[derive(Default, Debug)]
pub(super) struct Search {
    pub(super) words: Composer,
    pub(super) hits: Vec<SearchHit>,
    pub(super) chosen: usize,
    /// Where the next page begins.
    pub(super) next: Option<i64>,
    pub(super) is_complete: bool,
    pub(super) is_waiting: bool,
    /// Whether what comes next stands in the place of what was found before.
    pub(super) is_first_page: bool,
}

/// What was found, while somebody goes from one to the other.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) hits: Vec<SearchHit>,
    pub(super) chosen: usize,
    /// Where one was before.
    pub(super) back: Place,
}

/// What the written words are for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// To be said.
    Say,
    /// To answer a message.
    Reply(i64),
    /// To stand in the place of what a message says. What was being written before waits.
    Edit { number: i64, waiting: NewText },
}

/// What is wanted of a window when it comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// The first unread message, or the end.
    Unread,
    /// The end.
    End,
    /// A place.
    Place(Place),
    /// A message, chosen.
    Message(i64),
}

/// Something to say to the user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Notice {
    /// It was done.
    Done(String),
    /// It was not.
    Failed(String),
}

/// All that the screen shows.
pub(super) struct Model {
    pub(super) own: AccountId,
    pub(super) with: AccountId,
    /// What they are called: to be drawn like anything of others.
    pub(super) name: String,
    pub(super) contact: Option<Contact>,
    pub(super) live: Live,
    pub(super) trouble: Option<&'static str>,
    pub(super) now: Timestamp,
    pub(super) calendar: Calendar,
    pub(super) look: Look,
    pub(super) size: Size,
    pub(super) is_focused: bool,

    pub(super) messages: Vec<Message>,
    pub(super) has_older: bool,
    pub(super) has_newer: bool,
    pub(super) is_loaded: bool,
    /// The number of the timeline that is looked at.
    pub(super) timeline: u32,
    pub(super) wanted: Option<Wanted>,
    /// More was asked for and has not come.
    pub(super) asked_for_more: bool,
    pub(super) place: Place,
    /// The number of the message above which the unread line stands.
    pub(super) unread_line: Option<i64>,
    /// Messages that were shown, and of which that was said.
    pub(super) marked: HashSet<i64>,

    pub(super) mode: Mode,
    /// The chosen message, with its position, in case it goes.
    pub(super) chosen: Option<(i64, i64)>,
    pub(super) found: Option<Found>,
    /// The number of the last search.
    pub(super) search: u32,
    pub(super) composer: Composer,
    pub(super) purpose: Purpose,
    /// The draft as it is kept; `None`: it may not be.
    pub(super) kept: Option<NewText>,
    /// How long nobody has written, in ticks.
    pub(super) ticks_idle: u32,
    pub(super) notice: Option<Notice>,
}

impl Model {
    /// A conversation before anything of it is known.
    pub(super) fn new(own: AccountId, with: AccountId, name: String, calendar: Calendar, look: Look) -> Self {
        Self {
            own,
            with,
            name,
            contact: None,
            live: Live::default(),
            trouble: None,
            now: Timestamp::EPOCH,
            calendar,
            look,
            size: Size::new(80, 24),
            is_focused: true,
            messages: Vec::new(),
            has_older: false,
            has_newer: false,
            is_loaded: false,
            timeline: 0,
            wanted: Some(Wanted::Unread),
            asked_for_more: false,
            place: Place::End,
            unread_line: None,
            marked: HashSet::new(),
            mode: Mode::Write,
            chosen: None,
            found: None,
            search: 0,
            composer: Composer::default(),
            purpose: Purpose::Say,
            kept: Some(NewText::default()),
            ticks_idle: 0,
            notice: None,
        }
    }

    /// Goes on with what was being written.
    pub(super) fn take_draft(&mut self, draft: NewText) {
        self.composer = Composer::with(&draft.body);
        self.purpose = draft.reply_to.map_or(Purpose::Say, Purpose::Reply);
        self.kept = Some(draft);
    }

    /// What is being written, as it is to be kept.
    pub(super) fn draft(&self) -> NewText {
        let (body, reply_to) = match &self.purpose {
            Purpose::Say => (self.composer.text(), None),
            Purpose::Reply(number) => (self.composer.text(), Some(*number)),
            Purpose::Edit { waiting, .. } => (waiting.body.as_str(), waiting.reply_to),
        };
        // An answer without words is none yet.
        if body.trim().is_empty() { NewText::default() } else { NewText { reply_to, ..body.into() } }
    }

    pub(super) fn message(&self, number: i64) -> Option<&Message> {
        self.messages.iter().find(|message| message.number == number)
    }

    pub(super) fn chosen_message(&self) -> Option<&Message> {
        self.chosen.and_then(|(number, _)| self.message(number))
    }

    pub(super) fn is_own(&self, message: &Message) -> bool {
        message.sender == self.own
    }

    /// What somebody is called.
    pub(super) fn name_of(&self, account: &AccountId) -> String {
        if *account == self.own {
            "you".to_owned()
        } else if *account == self.with {
            self.name.clone()
        } else {
            account.to_string().chars().take(crate::names::ID_SHOWN).collect()
        }
    }

    /// Messages of theirs in the window that were not read.
    pub(super) fn unread(&self) -> usize {
        self.messages.iter().filter(|message| message.is_unread).count()
    }
}
