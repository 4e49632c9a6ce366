//! A message as rows: what stands above it, its words, what is felt about it, and beside them when, and how far it is.
//!
//! ```text
//! ────────── Today ──────────     a day, the unread line
//!   Bob                           who, where somebody else begins
//!  14:02 ✓✓ │ you: a quote        what it answers
//!           The words             ...
//!           👍 Bob                reactions
//! ```

use std::time::Duration;

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use sotto_core::protocol::letter::Style as TextStyle;
use sotto_core::records::{Failure, Kind, Meaning, Message, MessageState};

use super::glyphs::{self, clipped};
use super::model::Model;
use crate::wording;

/// Somebody who goes on so soon needs no name above it.
const GROUP: Duration = Duration::from_secs(10 * 60);
/// Columns beside the words: a bar for what is chosen, the time, a sign.
const GUTTER: usize = 10;
/// The same where there is no room for times.
const GUTTER_NARROW: usize = 4;
/// Screens below this have no room for times.
const WIDE: u16 = 40;
/// Links of one message that are shown by themselves.
const LINKS_MAX: usize = 3;

impl Model {
    /// A message of the window, and what stands above it.
    pub(super) fn block(&self, at: usize) -> Vec<Line<'static>> {
        let message = &self.messages[at];
        let mut rows = Vec::new();
        self.push_head(at, &mut rows);
        let width = self.words_width();
        let is_chosen = self.chosen.is_some_and(|(number, _)| number == message.number);
        let mut is_first = true;
        for words in self.words(message, width, is_chosen) {
            let mut row = Line::from(self.gutter(at, is_chosen, is_first));
            row.spans.extend(words.spans);
            rows.push(row);
            is_first = false;
        }
        rows
    }

    fn gutter_width(&self) -> usize {
        if self.size.width >= WIDE { GUTTER } else { GUTTER_NARROW }
    }

    /// Columns for words; one at the right stays free.
    fn words_width(&self) -> usize {
        usize::from(self.size.width).saturating_sub(self.gutter_width() + 1).max(1)
    }

    /// Whether somebody begins here: another one, on another day, after a while, or behind the unread line.
    fn begins(&self, at: usize) -> bool {
        let message = &self.messages[at];
        let Some(before) = at.checked_sub(1).map(|before| &self.messages[before]) else { return true };
        before.sender != message.sender
            || self.is_new_day(at)
            || message.sent_at.since(before.sent_at) > GROUP
            || self.unread_line == Some(message.number)
    }

    fn is_new_day(&self, at: usize) -> bool {
        let day = |at: usize| self.calendar.day(self.messages[at].sent_at);
        at.checked_sub(1).is_none_or(|before| day(before) != day(at))
    }

    fn push_head(&self, at: usize, rows: &mut Vec<Line<'static>>) {
        let message = &self.messages[at];
        if at == 0 && !self.has_older {
            rows.push(self.centred("This is where it begins.", self.look.quiet()));
        }
        if self.is_new_day(at) {
            let day = self.calendar.day_name(self.calendar.day(message.sent_at), self.now);
            rows.push(self.rule(&day, self.look.quiet()));
        }
        if self.unread_line == Some(message.number) {
            rows.push(self.rule("New", self.look.fresh()));
        }
        if self.begins(at) {
            if rows.is_empty() {
                rows.push(Line::default());
            }
            let style = if self.is_own(message) { self.look.own() } else { self.look.theirs() };
            let indent = self.gutter_width();
            let name = clipped(&self.name_of(&message.sender), usize::from(self.size.width).saturating_sub(indent));
            rows.push(Line::from(vec![Span::raw(" ".repeat(indent)), Span::styled(name, style)]));
        }
    }

    /// Words in the middle of a row.
    pub(super) fn centred(&self, words: &str, style: Style) -> Line<'static> {
        let width = usize::from(self.size.width);
        let words = clipped(words, width);
        let before = width.saturating_sub(glyphs::columns(&words)) / 2;
        Line::from(vec![Span::raw(" ".repeat(before)), Span::styled(words, style)])
    }

    /// A line across the screen, with a word in it.
    pub(super) fn rule(&self, word: &str, style: Style) -> Line<'static> {
        let width = usize::from(self.size.width);
        let word = format!(" {} ", clipped(word, width.saturating_sub(4)));
        let rest = width.saturating_sub(glyphs::columns(&word));
        Line::from(Span::styled(format!("{}{word}{}", "─".repeat(rest / 2), "─".repeat(rest - rest / 2)), style))
    }

    fn gutter(&self, at: usize, is_chosen: bool, is_first: bool) -> Vec<Span<'static>> {
        let message = &self.messages[at];
        let bar = if is_chosen { Span::styled("▌", self.look.here()) } else { Span::raw(" ") };
        if !is_first {
            return vec![bar, Span::raw(" ".repeat(self.gutter_width() - 1))];
        }
        let (sign, sign_style) = self.look.sign(message.state);
        let sign = Span::styled(format!("{sign:<2}"), sign_style);
        if self.gutter_width() == GUTTER_NARROW {
            return vec![bar, sign, Span::raw(" ")];
        }
        let time = self.calendar.time(message.sent_at);
        let is_told = at
            .checked_sub(1)
            .is_some_and(|before| !self.begins(at) && self.calendar.time(self.messages[before].sent_at) == time);
        let time = if is_told { String::new() } else { time };
        vec![bar, Span::styled(format!("{time:<5}"), self.look.quiet()), Span::raw(" "), sign, Span::raw(" ")]
    }

    fn words(&self, message: &Message, width: usize, is_chosen: bool) -> Vec<Line<'static>> {
        let quiet = self.look.quiet();
        let mut rows = Vec::new();
        if message.is_forwarded {
            rows.push(Line::styled(clipped("↪ forwarded", width), quiet));
        }
        if let Some(quote) = &message.reply_to {
            let said = match &quote.here {
                Some(here) => wording::shown(here.kind, &here.text),
                None => "(something that is not here)",
            };
            let quoted = clipped(&format!("{}: {said}", self.name_of(&quote.author)), width.saturating_sub(2));
            rows.push(Line::styled(format!("│ {quoted}"), quiet));
        }
        rows.extend(self.text(message, width, is_chosen));
        rows.extend(
            links(message).take(LINKS_MAX).map(|link| Line::styled(clipped(&format!("→ {link}"), width), quiet)),
        );
        if !message.reactions.is_empty() {
            let reactions = message.reactions.iter();
            let felt = reactions.map(|felt| format!("{} {}", felt.emoji, self.name_of(&felt.author)));
            rows.push(Line::styled(clipped(&felt.collect::<Vec<_>>().join(" · "), width), quiet));
        }
        if let MessageState::Failed(failure) = message.state {
            let why = match failure {
                Failure::Expired => "Not sent: its time was over. Choose it and press t to try again.",
                Failure::Removed => "Not sent: the contact was removed.",
            };
            let why = glyphs::glyphs(why, |_| self.look.alarm());
            rows.extend(glyphs::rows(&why, width).into_iter().map(|row| glyphs::line(&why[row])));
        }
        rows
    }

    /// The words themselves, and behind them what was done to them.
    fn text(&self, message: &Message, width: usize, is_chosen: bool) -> Vec<Line<'static>> {
        let shown = wording::shown(message.kind, &message.text);
        let (marks, has_own_words) = (self.marks(message), shown == message.text);
        let base = if has_own_words { Style::new() } else { self.look.placeholder() };
        let styles = if has_own_words { letter_styles(message, base, self.look.here(), is_chosen) } else { Vec::new() };
        let mut rows = Vec::new();
        let (mut place, mut lines) = (0, shown.split('\n').peekable());
        while let Some(words) = lines.next() {
            let begin = place;
            let mut drawn =
                glyphs::glyphs(&words.replace('\t', " "), |at| styles.get(begin + at).copied().unwrap_or(base));
            place += words.chars().count() + 1;
            if lines.peek().is_none() && !marks.is_empty() {
                drawn.extend(glyphs::glyphs(&marks, |_| self.look.quiet()));
            }
            rows.extend(glyphs::rows(&drawn, width).into_iter().map(|row| glyphs::line(&drawn[row])));
        }
        rows
    }

    fn marks(&self, message: &Message) -> String {
        let mut marks = String::new();
        if message.edited_at.is_some() && message.kind != Kind::Deleted {
            marks.push_str(" (edited)");
        }
        if message.is_pinned {
            marks.push_str(" ⚑ pinned");
        }
        marks
    }
}

/// Where a message leads that does not say so in its words.
fn links(message: &Message) -> impl Iterator<Item = &str> {
    message.ranges.iter().filter_map(|range| match &range.meaning {
        Meaning::Link(link) if !message.text.contains(link.as_str()) => Some(link.as_str()),
        _ => None,
    })
}

/// How each letter looks; empty where all look the same.
fn letter_styles(message: &Message, base: Style, mention: Style, is_chosen: bool) -> Vec<Style> {
    if message.ranges.is_empty() {
        return Vec::new();
    }
    let mut styles = vec![base; message.text.chars().count()];
    for range in &message.ranges {
        let patch = match &range.meaning {
            Meaning::Style(TextStyle::Bold) => Style::new().add_modifier(Modifier::BOLD),
            Meaning::Style(TextStyle::Italic) => Style::new().add_modifier(Modifier::ITALIC),
            Meaning::Style(TextStyle::Strikethrough) => Style::new().add_modifier(Modifier::CROSSED_OUT),
            // A spoiler is seen by whoever chooses its message.
            Meaning::Style(TextStyle::Spoiler) if !is_chosen => {
                Style::new().add_modifier(Modifier::REVERSED | Modifier::HIDDEN)
            }
            Meaning::Mention(_) => mention,
            Meaning::Link(_) => Style::new().add_modifier(Modifier::UNDERLINED),
            Meaning::Style(_) | Meaning::Unknown => continue,
        };
        let (start, length) = (range.start as usize, range.length as usize);
        for style in styles.iter_mut().skip(start).take(length) {
            *style = style.patch(patch);
        }
    }
    styles
}
