//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::composer::{Composer, Step};
use super::hints::REACTIONS;
use super::model::{Command, Found, Mode, Model, Notice, Purpose, Search};
use super::scroll::Place;

impl Model {
    pub(super) fn key(&mut self, key: KeyEvent) -> Vec<Command> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        self.notice = None;
        self.ticks_idle = 0;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return vec![Command::Quit],
                KeyCode::Char('l') => return vec![Command::Redraw],
                KeyCode::Char('z') => return vec![Command::Suspend],
                KeyCode::Char('f') => return self.begin_search(),
                _ => {}
            }
        }
        let page = self.history_height().saturating_sub(2).max(1);
        match key.code {
            KeyCode::PageUp => self.scroll_up(page),
            KeyCode::PageDown => self.scroll_down(page),
            KeyCode::F(1) => self.mode = Mode::Help,
            _ => return self.key_in_mode(key),
        }
        Vec::new()
    }

    fn key_in_mode(&mut self, key: KeyEvent) -> Vec<Command> {
        match &mut self.mode {
            Mode::Write => self.key_in_writing(key),
            Mode::Select => self.key_in_selection(key),
            Mode::React(_) => self.key_in_reaction(key),
            Mode::Delete => self.key_in_deletion(key.code),
            Mode::Search(_) => self.key_in_search(key),
            Mode::Help => self.key_in_help(key.code),
            Mode::Details(_) => {
                self.mode = Mode::Select;
                Vec::new()
            }
        }
    }

    /// Pasted words are words, whatever keys they look like.
    pub(super) fn paste(&mut self, words: &str) -> Vec<Command> {
        self.notice = None;
        match &mut self.mode {
            Mode::React(typed) => {
                typed.insert(&one_line(words));
                Vec::new()
            }
            Mode::Search(search) => {
                search.words.insert(&one_line(words));
                self.look_for_words()
            }
            Mode::Write | Mode::Select | Mode::Delete | Mode::Help | Mode::Details(_) => {
                self.write();
                self.composer.insert(words);
                self.wrote()
            }
        }
    }

    fn key_in_writing(&mut self, key: KeyEvent) -> Vec<Command> {
        let width = self.composer_width();
        let has_modifier = |modifier| key.modifiers.contains(modifier);
        let (control, alt) = (has_modifier(KeyModifiers::CONTROL), has_modifier(KeyModifiers::ALT));
        match key.code {
            KeyCode::Enter if alt || has_modifier(KeyModifiers::SHIFT) => self.composer.insert("\n"),
            KeyCode::Char('j') if control => self.composer.insert("\n"),
            KeyCode::Enter => return self.say(),
            KeyCode::Esc => return self.step_back(),
            KeyCode::Up => {
                if !self.composer.go_vertically(width, true) {
                    self.choose_last_shown();
                }
                return Vec::new();
            }
            KeyCode::Down => {
                if !self.composer.go_vertically(width, false) {
                    self.scroll_down(1);
                }
                return Vec::new();
            }
            KeyCode::Char('d') if control && self.composer.is_empty() => return vec![Command::Quit],
            KeyCode::Char('/') if self.composer.is_empty() && !control && !alt => return self.begin_search(),
            KeyCode::Char('?') if self.composer.is_empty() && !control && !alt => {
                self.mode = Mode::Help;
                return Vec::new();
            }
            _ => match edit(&mut self.composer, key) {
                Edited::Words => {}
                Edited::Cursor | Edited::Nothing => return Vec::new(),
            },
        }
        self.wrote()
    }

    /// Words are other than they were: whoever may know is told that somebody types.
    fn wrote(&self) -> Vec<Command> {
        let is_saying = !self.composer.is_empty() && !matches!(self.purpose, Purpose::Edit { .. });
        self.typing(is_saying).into_iter().collect()
    }

    /// Takes back what the words are for; or goes back from what was found.
    fn step_back(&mut self) -> Vec<Command> {
        match std::mem::replace(&mut self.purpose, Purpose::Say) {
            Purpose::Edit { waiting, .. } => self.resume_writing(&waiting),
            Purpose::Reply(_) => {}
            Purpose::Say => {
                let Some(found) = self.found.take() else { return self.go_to_end().into_iter().collect() };
                return self.go_back(found.back).into_iter().collect();
            }
        }
        Vec::new()
    }

    fn write(&mut self) {
        (self.mode, self.chosen) = (Mode::Write, None);
    }

    fn choose_last_shown(&mut self) {
        let last = self.shown().pop().and_then(|number| self.message(number)).or(self.messages.last());
        if let Some(last) = last {
            (self.chosen, self.mode) = (Some((last.number, last.position)), Mode::Select);
        }
    }

    fn choose(&mut self, at: usize) {
        if let Some(message) = self.messages.get(at) {
            let number = message.number;
            self.chosen = Some((number, message.position));
            self.reveal(number);
        }
    }

    fn key_in_selection(&mut self, key: KeyEvent) -> Vec<Command> {
        let Some(message) = self.chosen_message().cloned() else {
            self.write();
            return Vec::new();
        };
        let number = message.number;
        let at = self.messages.iter().position(|message| message.number == number).unwrap_or_default();
        match key.code {
            KeyCode::Up | KeyCode::Char('k') => self.choose_above(at),
            KeyCode::Down | KeyCode::Char('j') if at + 1 == self.messages.len() && self.is_at_end() => {
                self.place = Place::End;
                self.write();
            }
            KeyCode::Down | KeyCode::Char('j') => self.choose_below(at),
            KeyCode::Home | KeyCode::Char('g') => self.choose(0),
            KeyCode::End | KeyCode::Char('G') => {
                let opened = self.go_to_end();
                self.choose(self.messages.len().saturating_sub(1));
                return opened.into_iter().collect();
            }
            KeyCode::Esc => return self.leave_selection(),
            KeyCode::Enter => self.write(),
            KeyCode::Char('/') => return self.begin_search(),
            KeyCode::Char('?') => self.mode = Mode::Help,
            KeyCode::Char('n') => return self.go_to_hit(1),
            KeyCode::Char('N') => return self.go_to_hit(-1),
            KeyCode::Char('i') => return vec![Command::Details(number)],
            KeyCode::Char('y') => {
                self.notice = Some(Notice::Done(format!("Message {number}: its number is in the clipboard")));
                return vec![Command::Copy(number.to_string())];
            }
            KeyCode::Char('d') | KeyCode::Delete => self.mode = Mode::Delete,
            KeyCode::Char('t') if self.can_retry(&message) => return vec![Command::Retry(number)],
            KeyCode::Char('e') if self.can_edit(&message) => {
                let waiting = self.draft();
                self.purpose = Purpose::Edit { number, waiting };
                self.composer = Composer::with(&message.text);
                self.write();
            }
            KeyCode::Char('r' | '+' | 'p') if !Self::is_said(&message) => {
                self.notice = Some(Notice::Failed("That is no message: it can only be deleted.".to_owned()));
            }
            KeyCode::Char('r') => {
                if let Purpose::Edit { waiting, .. } = self.purpose.clone() {
                    self.resume_writing(&waiting);
                }
                self.purpose = Purpose::Reply(number);
                self.write();
            }
            KeyCode::Char('+') => self.mode = Mode::React(Composer::default()),
            KeyCode::Char('p') => return vec![Command::Pin(number, !message.is_pinned)],
            KeyCode::Char('e' | 't') => {
                let why = if key.code == KeyCode::Char('e') {
                    "Only your own words can be edited."
                } else {
                    "It has not failed."
                };
                self.notice = Some(Notice::Failed(why.to_owned()));
            }
            _ => {}
        }
        Vec::new()
    }

    /// The message above; one that begins further up than the screen is read first.
    fn choose_above(&mut self, at: usize) {
        let visible = self.visible(self.history_height());
        match visible.first() {
            Some((first, row)) if *first == at && *row > 0 => self.scroll_up(2),
            _ => self.choose(at.saturating_sub(1)),
        }
    }

    fn choose_below(&mut self, at: usize) {
        let visible = self.visible(self.history_height());
        let last_row = self.block(at).len() - 1;
        match visible.last() {
            Some((last, row)) if *last == at && *row < last_row => self.scroll_down(2),
            _ => self.choose(at + 1),
        }
    }

    fn leave_selection(&mut self) -> Vec<Command> {
        self.write();
        let Some(found) = self.found.take() else { return Vec::new() };
        self.go_back(found.back).into_iter().collect()
    }

    fn key_in_reaction(&mut self, key: KeyEvent) -> Vec<Command> {
        let Mode::React(typed) = &mut self.mode else { return Vec::new() };
        let emoji = match key.code {
            KeyCode::Esc => None,
            KeyCode::Enter if typed.is_empty() => None,
            KeyCode::Enter => Some(Some(typed.text().trim().to_owned())),
            KeyCode::Char('0') if typed.is_empty() => Some(None),
            KeyCode::Char(letter @ '1'..='6') if typed.is_empty() => {
                let chosen = REACTIONS.iter().zip('1'..).find(|(_, key)| *key == letter);
                Some(chosen.map(|(emoji, _)| (*emoji).to_owned()))
            }
            _ => {
                edit(typed, key);
                return Vec::new();
            }
        };
        self.mode = Mode::Select;
        let Some((number, _)) = self.chosen else { return Vec::new() };
        emoji.map(|emoji| Command::React(number, emoji)).into_iter().collect()
    }

    fn key_in_deletion(&mut self, key: KeyCode) -> Vec<Command> {
        self.mode = Mode::Select;
        let Some(message) = self.chosen_message() else { return Vec::new() };
        match key {
            KeyCode::Char('m') => vec![Command::DeleteForMe(message.number)],
            KeyCode::Char('e') if self.can_take_back(message) => vec![Command::DeleteForEveryone(message.number)],
            _ => {
                self.notice = Some(Notice::Done("Nothing was deleted.".to_owned()));
                Vec::new()
            }
        }
    }

    fn key_in_help(&mut self, key: KeyCode) -> Vec<Command> {
        self.mode = if self.chosen.is_some() { Mode::Select } else { Mode::Write };
        if key == KeyCode::Char('?') && self.chosen.is_none() && self.composer.is_empty() {
            self.composer.insert("?");
            return self.wrote();
        }
        Vec::new()
    }

    fn begin_search(&mut self) -> Vec<Command> {
        self.mode = Mode::Search(Search::default());
        Vec::new()
    }

    fn key_in_search(&mut self, key: KeyEvent) -> Vec<Command> {
        let Mode::Search(search) = &mut self.mode else { return Vec::new() };
        match key.code {
            KeyCode::Esc => self.mode = if self.chosen.is_some() { Mode::Select } else { Mode::Write },
            KeyCode::Up => search.chosen = search.chosen.saturating_sub(1),
            KeyCode::Down => {
                search.chosen = (search.chosen + 1).min(search.hits.len().saturating_sub(1));
                if search.chosen + 1 == search.hits.len() && search.next.is_some() && !search.is_waiting {
                    search.is_waiting = true;
                    return vec![Command::Search(self.search, search.words.text().to_owned(), search.next)];
                }
            }
            KeyCode::Enter => return self.go_to_found(),
            KeyCode::Char('/') if search.words.is_empty() && self.composer.is_empty() && self.chosen.is_none() => {
                self.mode = Mode::Write;
                self.composer.insert("/");
                return self.wrote();
            }
            _ => {
                if edit(&mut search.words, key) == Edited::Words {
                    return self.look_for_words();
                }
            }
        }
        Vec::new()
    }

    fn look_for_words(&mut self) -> Vec<Command> {
        let Mode::Search(search) = &mut self.mode else { return Vec::new() };
        self.search += 1;
        let words = search.words.text().to_owned();
        if words.trim().is_empty() {
            *search = Search { words: std::mem::take(&mut search.words), ..Search::default() };
            return Vec::new();
        }
        (search.is_waiting, search.is_first_page) = (true, true);
        vec![Command::Search(self.search, words, None)]
    }

    /// Goes to the chosen one of what was found.
    fn go_to_found(&mut self) -> Vec<Command> {
        let Mode::Search(search) = &mut self.mode else { return Vec::new() };
        if search.hits.is_empty() {
            return Vec::new();
        }
        let (hits, chosen) = (std::mem::take(&mut search.hits), search.chosen);
        let back = self.found.take().map_or(self.place, |found| found.back);
        self.found = Some(Found { hits, chosen, back });
        self.go_to_hit(0)
    }

    /// Goes so many further in what was found: the newest was found first.
    fn go_to_hit(&mut self, step: isize) -> Vec<Command> {
        let Some(found) = &mut self.found else {
            self.notice = Some(Notice::Failed("Nothing was looked for: / searches.".to_owned()));
            return Vec::new();
        };
        let Some(next) = found.chosen.checked_add_signed(step).filter(|next| *next < found.hits.len()) else {
            self.notice = Some(Notice::Done("There is no more of what was found.".to_owned()));
            return Vec::new();
        };
        found.chosen = next;
        let hit = &found.hits[next].message;
        let (number, position) = (hit.number, hit.position);
        self.notice =
            Some(Notice::Done(format!("Found {} of {}: n goes on, N back, Esc leaves", next + 1, found.hits.len())));
        self.go_to_message(number, position).into_iter().collect()
    }
}

/// What a key did to words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edited {
    Words,
    Cursor,
    Nothing,
}

/// What keys do wherever words are written.
fn edit(composer: &mut Composer, key: KeyEvent) -> Edited {
    let by_word = key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT);
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let step = match key.code {
        KeyCode::Left => {
            if by_word {
                Step::WordLeft
            } else {
                Step::Left
            }
        }
        KeyCode::Right => {
            if by_word {
                Step::WordRight
            } else {
                Step::Right
            }
        }
        KeyCode::Home if control => Step::Start,
        KeyCode::End if control => Step::End,
        KeyCode::Home => Step::LineStart,
        KeyCode::End => Step::LineEnd,
        KeyCode::Char('a') if control => Step::LineStart,
        KeyCode::Char('e') if control => Step::LineEnd,
        KeyCode::Char('b') if by_word => {
            if control {
                Step::Left
            } else {
                Step::WordLeft
            }
        }
        KeyCode::Backspace => return deleted(composer, if by_word { Step::WordLeft } else { Step::Left }),
        KeyCode::Char('h') if control => return deleted(composer, Step::Left),
        KeyCode::Char('w') if control => return deleted(composer, Step::WordLeft),
        KeyCode::Char('u') if control => return deleted(composer, Step::LineStart),
        KeyCode::Char('k') if control => return deleted(composer, Step::LineEnd),
        KeyCode::Delete => return deleted(composer, if by_word { Step::WordRight } else { Step::Right }),
        KeyCode::Tab => {
            composer.insert("\t");
            return Edited::Words;
        }
        KeyCode::Char(letter) if !by_word => {
            composer.insert(letter.encode_utf8(&mut [0; 4]));
            return Edited::Words;
        }
        _ => return Edited::Nothing,
    };
    composer.go(step);
    Edited::Cursor
}

fn deleted(composer: &mut Composer, step: Step) -> Edited {
    composer.delete(step);
    Edited::Words
}

fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}
