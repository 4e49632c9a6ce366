//! The screen, drawn from the model: a title, the history, what is being written, and what can be done.

use ratatui::Frame;
use ratatui::layout::{Position, Rect, Size};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use sotto_core::records::{ContactState, Presence, Trust};

use super::glyphs::{self, clipped};
use super::model::{Mode, Model, Purpose};
use super::{hints, overlay};
use crate::wording;

/// Rows of the composer at most, and never more than a third of the screen.
const COMPOSER_MAX: usize = 8;
/// Columns before the words that are written.
const PROMPT: u16 = 3;
/// Below this a screen has no rules and no hints.
const LOW: u16 = 9;

/// From here on there is room for a rule below the title.
const HIGH: u16 = 20;

/// Where everything stands.
struct Regions {
    title: Rect,
    history: Rect,
    /// Who types, and how much is new below.
    rule: Rect,
    /// What the words are for.
    purpose: Rect,
    composer: Rect,
    hints: Rect,
}

impl Model {
    fn regions(&self) -> Regions {
        let Size { width, height } = self.size;
        let is_low = height < LOW;
        let title = u16::from(height >= 4) + u16::from(height >= HIGH);
        let hints = u16::from(!is_low || self.needs_hints());
        let rule = u16::from(!is_low);
        let purpose = u16::from(self.purpose != Purpose::Say && height >= 5);
        let lines = self.composer.lines(self.composer_width()).len();
        let composer = u16::try_from(lines.min(COMPOSER_MAX)).unwrap_or(1).min((height / 3).max(1));
        let history = height.saturating_sub(title + hints + rule + purpose + composer);
        let mut y = 0;
        let mut next = |rows: u16| {
            let rows = rows.min(height - y);
            y += rows;
            Rect::new(0, y - rows, width, rows)
        };
        Regions {
            title: next(title),
            history: next(history),
            rule: next(rule),
            purpose: next(purpose),
            composer: next(composer),
            hints: next(hints),
        }
    }

    /// Whether the lowest row has something to say that must be seen.
    const fn needs_hints(&self) -> bool {
        self.notice.is_some() || !matches!(self.mode, Mode::Write)
    }

    /// Rows of the history.
    pub(super) fn history_height(&self) -> usize {
        usize::from(self.regions().history.height)
    }

    /// Columns for words that are written; one at the right is for the cursor.
    pub(super) fn composer_width(&self) -> usize {
        usize::from(self.size.width.saturating_sub(PROMPT + 1)).max(1)
    }
}

/// Draws all of it.
pub(super) fn draw(model: &Model, frame: &mut Frame<'_>) {
    let regions = model.regions();
    put(&title(model), regions.title, frame);
    if regions.title.height > 1 {
        let below = Rect { y: regions.title.y + 1, height: 1, ..regions.title };
        put(&Line::styled("─".repeat(usize::from(below.width)), model.look.quiet()), below, frame);
    }
    history(model, regions.history, frame);
    put(&rule(model), regions.rule, frame);
    put(&purpose(model), regions.purpose, frame);
    composer(model, regions.composer, frame);
    put(&hints::line(model), regions.hints, frame);
    overlay::draw(model, regions.history, frame);
    if let Mode::React(composer) = &model.mode {
        let place = hints::REACT.len() + composer.cursor(usize::MAX).0;
        show_cursor(frame, regions.hints, place, 0);
    }
}

/// A name at the left and what is to be known at the right.
fn title(model: &Model) -> Line<'static> {
    let width = usize::from(model.size.width);
    let mut known = Vec::new();
    if let Some(contact) = &model.contact {
        known.extend((model.live.presence == Presence::Online).then(|| Span::styled("online", model.look.own())));
        known.extend(contact.is_verified.then(|| Span::styled("verified", model.look.own())));
        let state = match contact.state {
            ContactState::Asked => Some("has not answered yet"),
            ContactState::Asking => Some("waits for your answer: sotto contacts accept"),
            ContactState::Removed => Some("removed"),
            ContactState::Accepted => None,
        };
        let alarms = [
            state,
            contact.blocked.then_some("blocked"),
            (contact.trust != Trust::Sound).then_some("shows two lists of devices: not to be trusted"),
            contact.is_held.then_some("keys changed: nothing leaves"),
        ];
        known.extend(alarms.into_iter().flatten().map(|alarm| Span::styled(alarm, model.look.alarm())));
    }
    known.extend(model.trouble.map(|code| Span::styled(format!("no connection ({code})"), model.look.alarm())));
    let known: Vec<Span<'static>> = known.into_iter().flat_map(|word| [word, Span::raw("  ")]).collect();
    let known = Line::from(known);
    let name = clipped(&model.name, width.saturating_sub(glyphs::columns_of(&known) + 3).max(width / 3));
    let gap = width.saturating_sub(glyphs::columns(&name) + glyphs::columns_of(&known) + 1);
    let mut title = vec![Span::raw(" "), Span::styled(name, model.look.theirs()), Span::raw(" ".repeat(gap))];
    title.extend(known.spans);
    Line::from(title)
}

fn history(model: &Model, area: Rect, frame: &mut Frame<'_>) {
    let visible = model.visible(usize::from(area.height));
    if model.messages.is_empty() {
        let words = if model.is_loaded { "Nothing was said here yet." } else { "…" };
        let middle = Rect { y: area.y + area.height / 2, height: area.height.min(1), ..area };
        put(&model.centred(words, model.look.quiet()), middle, frame);
        return;
    }
    // What does not fill the screen stands at its foot, where the next word will.
    let empty = area.height.saturating_sub(u16::try_from(visible.len()).unwrap_or(area.height));
    let mut y = area.y + empty;
    for of_one in visible.chunk_by(|one, other| one.0 == other.0) {
        let block = model.block(of_one[0].0);
        for (_, row) in of_one {
            put(&block[*row], Rect { y, height: 1, ..area }, frame);
            y += 1;
        }
    }
}

/// The line above the composer: who types, and how much is new below.
fn rule(model: &Model) -> Line<'static> {
    let width = usize::from(model.size.width);
    let typing = model.live.is_typing.then(|| format!(" {} is typing… ", clipped(&model.name, width / 2)));
    let below = if model.is_at_end() {
        None
    } else {
        match model.unread() {
            0 => Some(" ↓ more below ".to_owned()),
            count if model.has_newer => Some(format!(" ↓ more than {count} new ")),
            count => Some(format!(" ↓ {count} new ")),
        }
    };
    let (typing, below) = (typing.unwrap_or_default(), below.unwrap_or_default());
    let rest = width.saturating_sub(glyphs::columns(&typing) + glyphs::columns(&below) + 4);
    let quiet = model.look.quiet();
    Line::from(vec![
        Span::styled("──", quiet),
        Span::styled(typing, Style::new()),
        Span::styled("─".repeat(rest), quiet),
        Span::styled(below, model.look.fresh()),
        Span::styled("──", quiet),
    ])
}

/// What the words that are written are for.
fn purpose(model: &Model) -> Line<'static> {
    let width = usize::from(model.size.width);
    let about = |number| match model.message(number) {
        Some(message) => {
            format!("{}: {}", model.name_of(&message.sender), wording::shown(message.kind, &message.text))
        }
        None => "a message further off".to_owned(),
    };
    let words = match &model.purpose {
        Purpose::Say => String::new(),
        Purpose::Reply(number) => format!("answer to {}", about(*number)),
        Purpose::Edit { number, .. } => format!("instead of {}", about(*number)),
    };
    Line::styled(format!(" ↩ {}", clipped(&words, width.saturating_sub(4))), model.look.here())
}

fn composer(model: &Model, area: Rect, frame: &mut Frame<'_>) {
    if area.is_empty() {
        return;
    }
    let is_writing = matches!(model.mode, Mode::Write);
    let prompt = Line::styled(" ❯ ", if is_writing { model.look.here() } else { model.look.quiet() });
    put(&prompt, area, frame);
    let words = Rect { x: area.x + PROMPT.min(area.width), width: area.width.saturating_sub(PROMPT), ..area };
    if model.composer.is_empty() {
        let whose = if model.own == model.with { "Write to yourself" } else { "Write a message" };
        put(&Line::styled(whose, model.look.quiet()), words, frame);
    }
    let width = model.composer_width();
    let (column, row) = model.composer.cursor(width);
    let first = (row + 1).saturating_sub(usize::from(area.height));
    let lines = model.composer.lines(width);
    for (line, y) in lines.iter().skip(first).zip(words.y..words.bottom()) {
        put(line, Rect { y, height: 1, ..words }, frame);
    }
    if is_writing {
        show_cursor(frame, words, column, row - first);
    }
}

/// Draws a row at the top of an area.
pub(super) fn put(line: &Line<'_>, area: Rect, frame: &mut Frame<'_>) {
    glyphs::put(line, area, frame.buffer_mut());
}

/// Shows the cursor in an area, at its edge where it would be beyond.
pub(super) fn show_cursor(frame: &mut Frame<'_>, area: Rect, column: usize, row: usize) {
    if area.is_empty() {
        return;
    }
    let within = |at: usize, length: u16| u16::try_from(at).unwrap_or(u16::MAX).min(length - 1);
    frame.set_cursor_position(Position::new(area.x + within(column, area.width), area.y + within(row, area.height)));
}
