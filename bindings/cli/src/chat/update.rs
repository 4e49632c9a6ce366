//! What happens to the model when something happens, and what is to be done then. Keys: `keys.rs`.

use sotto_core::protocol::Timestamp;
use sotto_core::records::{Kind, Message, MessageState, NewText, SearchPage};
use sotto_core::subscriptions::{self, Start, TimelineChanges};

use super::composer::{Composer, Step};
use super::model::{Command, Event, Failure, Mode, Model, Notice, Purpose, Wanted};
use super::scroll::{PAGE, Place};

/// Ticks after the last key until a draft is kept.
const DRAFT_TICKS: u32 = 3;
/// Rows above the first unread message, so that one sees where one was.
const ROWS_ABOVE_UNREAD: usize = 3;

impl Model {
    /// Takes in what happens, and says what is to be done.
    pub(super) fn update(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Key(key) => self.key(key),
            Event::Paste(words) => self.paste(&words),
            Event::Resize(size) => {
                self.size = size;
                self.settle();
                if let Some((number, _)) = self.chosen {
                    self.reveal(number);
                }
                Vec::new()
            }
            Event::Focus(is_focused) => {
                self.is_focused = is_focused;
                Vec::new()
            }
            Event::Tick(now) => self.tick(now),
            Event::Changes(timeline, changes) => {
                if timeline == self.timeline {
                    self.take_changes(changes);
                }
                Vec::new()
            }
            Event::Live(live) => {
                self.live = live;
                Vec::new()
            }
            Event::Contact(contact, name) => {
                (self.contact, self.name) = (Some(contact), name);
                Vec::new()
            }
            Event::Trouble(trouble) => {
                self.trouble = trouble;
                Vec::new()
            }
            Event::Found(search, page) => {
                self.take_found(search, page);
                Vec::new()
            }
            Event::Details(details) => {
                if matches!(self.mode, Mode::Select) {
                    self.mode = Mode::Details(details);
                }
                Vec::new()
            }
            Event::Failed(failure) => {
                self.take_failure(failure);
                Vec::new()
            }
        }
    }

    /// What was drawn is seen: what is to be said of that, and what more is to be shown. To be asked after each drawing.
    pub(super) fn drawn(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        let is_covered = matches!(self.mode, Mode::Search(_) | Mode::Help | Mode::Details(_));
        if self.is_focused && !is_covered {
            let shown = self.shown().into_iter();
            let read: Vec<i64> = shown
                .filter(|number| self.message(*number).is_some_and(|message| message.is_unread))
                .filter(|number| !self.marked.contains(number))
                .collect();
            if !read.is_empty() {
                self.marked.extend(&read);
                commands.push(Command::MarkRead(read));
            }
        }
        if self.is_loaded && !self.asked_for_more {
            let (lacks_older, lacks_newer) = self.lacks();
            commands.extend(lacks_older.then_some(Command::Older(PAGE)));
            commands.extend(lacks_newer.then_some(Command::Newer(PAGE)));
            self.asked_for_more = lacks_older || lacks_newer;
        }
        commands
    }

    /// What is to be done before this ends.
    pub(super) fn last_words(&mut self) -> Vec<Command> {
        self.typing(false).into_iter().chain(self.keep_draft()).collect()
    }

    /// Whoever may know is told that somebody types, or has stopped.
    pub(super) fn typing(&self, is_typing: bool) -> Option<Command> {
        (self.own != self.with).then_some(Command::Typing(is_typing))
    }

    pub(super) fn keep_draft(&mut self) -> Option<Command> {
        let draft = self.draft();
        if self.kept.as_ref() == Some(&draft) {
            return None;
        }
        self.kept = Some(draft.clone());
        Some(Command::SaveDraft(if draft.body.is_empty() { None } else { Some(draft) }))
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Command> {
        self.now = now;
        self.ticks_idle = self.ticks_idle.saturating_add(1);
        let draft = if self.ticks_idle == DRAFT_TICKS { self.keep_draft() } else { None };
        draft.into_iter().chain(self.look_again()).collect()
    }

    fn take_changes(&mut self, changes: TimelineChanges) {
        let (was_at_end, was_loaded) = (self.is_loaded && self.is_at_end(), self.is_loaded);
        let newest = self.messages.last().map(|message| message.position);
        subscriptions::apply(&mut self.messages, changes.changes);
        (self.has_older, self.has_newer) = (changes.has_older, changes.has_newer);
        (self.is_loaded, self.asked_for_more) = (true, false);
        self.hold_choice();
        if let Some(wanted) = self.wanted.take() {
            self.go_to(wanted);
        } else if was_loaded && !(was_at_end && self.is_focused) {
            self.draw_unread_line(newest);
        }
        self.settle();
    }

    /// Above what has come and nobody has seen come, unless there is such a line still.
    fn draw_unread_line(&mut self, newest: Option<i64>) {
        if self.unread_line.and_then(|number| self.message(number)).is_some_and(|message| message.is_unread) {
            return;
        }
        let is_new = |message: &&Message| message.is_unread && Some(message.position) > newest;
        self.unread_line = self.messages.iter().find(is_new).map(|message| message.number).or(self.unread_line);
    }

    /// Goes where somebody wanted to be, now that it is there.
    fn go_to(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Unread => {
                self.place = Place::End;
                let first = self.messages.iter().find(|message| message.is_unread).map(|message| message.number);
                self.unread_line = first;
                if let Some(first) = first {
                    self.show_below(first, ROWS_ABOVE_UNREAD);
                }
            }
            Wanted::End => self.place = Place::End,
            Wanted::Place(place) => self.place = place,
            Wanted::Message(number) => {
                if let Some(message) = self.message(number) {
                    self.chosen = Some((number, message.position));
                    self.show_below(number, self.history_height() / 3);
                }
            }
        }
    }

    /// The chosen message may have gone: then it is the one that stands where it stood.
    fn hold_choice(&mut self) {
        let Some((number, position)) = self.chosen else { return };
        if let Some(message) = self.message(number) {
            self.chosen = Some((number, message.position));
            return;
        }
        let next = self.messages.iter().find(|message| message.position >= position).or(self.messages.last());
        self.chosen = next.map(|message| (message.number, message.position));
        if matches!(self.mode, Mode::React(_) | Mode::Delete) || self.chosen.is_none() {
            self.mode = if self.chosen.is_some() { Mode::Select } else { Mode::Write };
        }
    }

    /// Looks at the conversation from somewhere else.
    pub(super) fn open(&mut self, start: Start, wanted: Wanted) -> Command {
        self.timeline += 1;
        (self.wanted, self.asked_for_more) = (Some(wanted), true);
        Command::Open(self.timeline, start)
    }

    /// Goes to the newest message.
    pub(super) fn go_to_end(&mut self) -> Option<Command> {
        self.place = Place::End;
        self.has_newer.then(|| self.open(Start::Newest, Wanted::End))
    }

    /// Goes to a message, which may be far off.
    pub(super) fn go_to_message(&mut self, number: i64, position: i64) -> Option<Command> {
        self.mode = Mode::Select;
        if self.message(number).is_some() {
            self.go_to(Wanted::Message(number));
            return None;
        }
        Some(self.open(Start::Around(position), Wanted::Message(number)))
    }

    /// Goes back to where one was.
    pub(super) fn go_back(&mut self, place: Place) -> Option<Command> {
        let Place::Top { position, .. } = place else { return self.go_to_end() };
        let first = self.messages.first().map(|message| message.position);
        let last = self.messages.last().map(|message| message.position);
        if first <= Some(position) && Some(position) <= last {
            self.place = place;
            return None;
        }
        Some(self.open(Start::Around(position), Wanted::Place(place)))
    }

    /// Where not everything was looked through, the same search may find more by now.
    fn look_again(&mut self) -> Option<Command> {
        let Mode::Search(search) = &mut self.mode else { return None };
        if search.is_complete || search.is_waiting || search.words.is_empty() || search.chosen > 0 {
            return None;
        }
        (search.is_waiting, search.is_first_page) = (true, true);
        Some(Command::Search(self.search, search.words.text().to_owned(), None))
    }

    fn take_found(&mut self, search: u32, page: SearchPage) {
        let Mode::Search(searching) = &mut self.mode else { return };
        if search != self.search {
            return;
        }
        if searching.is_first_page {
            searching.hits.clear();
            searching.chosen = 0;
        }
        searching.hits.extend(page.hits);
        (searching.next, searching.is_complete) = (page.next, page.is_complete);
        (searching.is_waiting, searching.is_first_page) = (false, false);
    }

    /// Says what went wrong, and loses no words.
    fn take_failure(&mut self, failure: Failure) {
        self.notice = Some(Notice::Failed(failure.why));
        let is_writing = !self.composer.is_empty() || self.purpose != Purpose::Say;
        match failure.undone {
            Some(Command::Send(unsaid)) if !is_writing => self.resume_writing(&unsaid),
            Some(Command::Edit(number, words)) if !is_writing => {
                self.purpose = Purpose::Edit { number, waiting: NewText::default() };
                self.composer = Composer::with(&words);
            }
            // Before what has been begun meanwhile.
            Some(Command::Send(NewText { body: words, .. }) | Command::Edit(_, words)) => {
                self.composer.go(Step::Start);
                self.composer.insert(&format!("{words}\n"));
                self.composer.go(Step::End);
            }
            // It is kept at the next pause, or at the end.
            Some(Command::SaveDraft(_)) => self.kept = None,
            _ => {}
        }
    }

    /// Says what was written, or says it otherwise.
    pub(super) fn say(&mut self) -> Vec<Command> {
        let words = self.composer.text().trim_end().to_owned();
        if words.trim().is_empty() {
            return Vec::new();
        }
        self.composer = Composer::default();
        let mut commands = Vec::new();
        match std::mem::replace(&mut self.purpose, Purpose::Say) {
            Purpose::Say => commands.push(Command::Send(words.into())),
            Purpose::Reply(number) => commands.push(Command::Send(NewText { reply_to: Some(number), ..words.into() })),
            Purpose::Edit { number, waiting } => {
                commands.push(Command::Edit(number, words));
                self.resume_writing(&waiting);
                return commands;
            }
        }
        // Whoever answers has read what is there.
        self.unread_line = None;
        commands.extend(self.go_to_end());
        commands.extend(self.keep_draft());
        commands
    }

    /// Goes on with what was being written before a message was edited.
    pub(super) fn resume_writing(&mut self, waiting: &NewText) {
        self.composer = Composer::with(&waiting.body);
        self.purpose = waiting.reply_to.map_or(Purpose::Say, Purpose::Reply);
    }

    /// Whether something can be done to it that others hear of.
    pub(super) const fn is_said(message: &Message) -> bool {
        matches!(message.kind, Kind::Text | Kind::Unknown | Kind::Nudge)
    }

    pub(super) fn can_edit(&self, message: &Message) -> bool {
        self.is_own(message) && message.kind == Kind::Text
    }

    pub(super) fn can_take_back(&self, message: &Message) -> bool {
        self.is_own(message) && Self::is_said(message) && self.own != self.with
    }

    pub(super) fn can_retry(&self, message: &Message) -> bool {
        matches!(message.state, MessageState::Failed(_)) && message.kind != Kind::Deleted
    }
}
