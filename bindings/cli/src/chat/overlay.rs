//! What stands before the history: what was found, what there is to know about a message, the keys.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Padding};
use sotto_core::records::{DeliveryState, MessageState, SearchHit};

use super::glyphs::{self, clipped};
use super::model::{Details, Mode, Model, Search};
use super::view;
use crate::wording;

/// What stands before the words that are looked for.
const SEARCH: &str = "Search: ";
/// Versions of a message that are shown; there may be more.
pub(super) const VERSIONS: u32 = 10;

/// Keys and signs with what they mean; what means nothing stands above the others. As many rows as fit a terminal of 24.
const HELP: [(&str, &str); 19] = [
    ("Writing", ""),
    ("Enter", "send; Alt+Enter or Ctrl+J begins a new line"),
    ("↑", "choose a message, from the first row of what is written"),
    ("PageUp PageDown", "scroll; Esc goes back to the newest"),
    ("Ctrl+F, or /", "search; // begins a message with /"),
    ("F1, or ?", "these keys; ?? begins a message with ?"),
    ("Ctrl+W U K", "delete the word, to the beginning, to the end"),
    ("Ctrl+L  Ctrl+Z", "draw anew; pause in the shell's background"),
    ("Ctrl+C", "leave; what is written is kept"),
    ("With a chosen message", ""),
    ("↑ ↓  Home End", "another one; the first, the last"),
    ("r  +  e", "reply, react, edit"),
    ("d  p  t", "delete, pin, try again to send"),
    ("i  y", "what there is to know about it; copy its number"),
    ("n  N", "the next and the last of what was found"),
    ("Esc", "write again"),
    ("Signs", ""),
    ("⋯  ⇡  ✓", "waits, is being sent, is at a relay"),
    ("✓✓  ✔✔  ✗", "has arrived, was read, was not sent"),
];

/// Draws it, if anything: lists over the history, boxes over all but the lowest row.
pub(super) fn draw(model: &Model, history: Rect, frame: &mut Frame<'_>) {
    let whole = frame.area();
    let all = Rect { height: whole.height.saturating_sub(1), ..whole };
    match &model.mode {
        Mode::Help => boxed(" Keys ", help(model), all, frame, model),
        Mode::Details(details) => boxed(" Message ", about(model, details, all), all, frame, model),
        Mode::Search(search) => draw_search(model, search, history, frame),
        Mode::Write | Mode::Select | Mode::React(_) | Mode::Delete => {}
    }
}

/// Lines in a box in the middle; what is too much is cut.
fn boxed(title: &'static str, lines: Vec<Line<'static>>, area: Rect, frame: &mut Frame<'_>, model: &Model) {
    let wide = lines.iter().map(glyphs::columns_of).max().unwrap_or(0).max(20);
    let fit = |length: usize, most: u16| u16::try_from(length).unwrap_or(u16::MAX).min(most);
    let (width, height) = (fit(wide + 4, area.width), fit(lines.len() + 2, area.height));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    cut_wide_letters(place, frame);
    frame.render_widget(Clear, place);
    let frame_of = Block::bordered().title(title).border_style(model.look.quiet()).padding(Padding::horizontal(1));
    let inner = frame_of.inner(place);
    frame.render_widget(frame_of, place);
    for (line, y) in lines.iter().zip(inner.y..inner.bottom()) {
        view::put(line, Rect { y, height: 1, ..inner }, frame);
    }
}

/// A letter of two columns, of which one is about to be covered, goes: its half would hide the edge.
fn cut_wide_letters(place: Rect, frame: &mut Frame<'_>) {
    let Some(before) = place.x.checked_sub(1) else { return };
    for y in place.y..place.bottom() {
        let cell = &mut frame.buffer_mut()[(before, y)];
        if glyphs::columns(cell.symbol()) > 1 {
            cell.set_symbol(" ");
        }
    }
}

fn help(model: &Model) -> Vec<Line<'static>> {
    let lines = HELP.iter().map(|(key, meaning)| match *meaning {
        "" => Line::styled(*key, model.look.theirs()),
        meaning => Line::from(vec![Span::styled(format!("{key:<17}"), model.look.here()), Span::raw(meaning)]),
    });
    lines.collect()
}

/// What there is to know about a message.
fn about(model: &Model, details: &Details, area: Rect) -> Vec<Line<'static>> {
    let width = usize::from(area.width.saturating_sub(4));
    let message = &details.message;
    let mut facts = vec![
        ("Number", message.number.to_string()),
        ("From", model.name_of(&message.sender)),
        ("Said", model.calendar.moment(message.sent_at)),
        ("Stored here", model.calendar.moment(message.received_at)),
    ];
    let state = match message.state {
        MessageState::Queued => Some("waits here"),
        MessageState::Sending => Some("is being sent"),
        MessageState::Sent => Some("is at a relay"),
        MessageState::Delivered => Some("has arrived"),
        MessageState::Read => Some("was read"),
        MessageState::Failed(_) => Some("was not sent"),
        MessageState::Received => None,
    };
    facts.extend(state.map(|state| ("State", state.to_owned())));
    for delivery in &details.deliveries {
        let whose = if delivery.is_own { "Own device" } else { "Their device" };
        let how = match delivery.state {
            DeliveryState::Waiting => "waits here",
            DeliveryState::Accepted => "at its relay",
            DeliveryState::Confirmed => "has it",
            DeliveryState::Failed => "will not get it",
        };
        let device: String = delivery.device.to_string().chars().take(8).collect();
        let since = delivery.at.map(|at| format!(", {}", model.calendar.short(at, model.now))).unwrap_or_default();
        let relay = delivery.relay.as_ref().map(|relay| format!(", {relay}")).unwrap_or_default();
        facts.push((whose, format!("{device}… {how}{since}{relay}")));
    }
    if details.history.len() > 1 {
        for version in &details.history {
            let said = wording::shown(message.kind, &version.text);
            facts.push(("It said", format!("{}  {said}", model.calendar.short(version.said_at, model.now))));
        }
    }
    let line = |(fact, what): (&str, String)| {
        let what = clipped(&what, width.saturating_sub(14));
        Line::from(vec![Span::styled(format!("{fact:<14}"), model.look.quiet()), Span::raw(what)])
    };
    facts.into_iter().map(line).collect()
}

fn draw_search(model: &Model, search: &Search, area: Rect, frame: &mut Frame<'_>) {
    if area.is_empty() {
        return;
    }
    frame.render_widget(Clear, area);
    let mut words = search.words.lines(usize::MAX).into_iter().next().unwrap_or_default();
    words.spans.insert(0, Span::styled(format!(" {SEARCH}"), model.look.here()));
    let line = Rect { height: 1, ..area };
    view::put(&words, line, frame);
    view::show_cursor(frame, line, SEARCH.len() + 1 + search.words.cursor(usize::MAX).0, 0);
    let list = Rect { y: area.y + 1, height: area.height - 1, ..area };
    if search.hits.is_empty() {
        let words = match (search.words.is_empty(), search.is_waiting) {
            (true, _) => "Words, or their beginnings; “in quotes”, together.",
            (false, true) => "…",
            (false, false) if search.is_complete => "Nothing was found.",
            (false, false) => "Nothing was found yet: not everything was looked through.",
        };
        view::put(&Line::styled(format!(" {words}"), model.look.quiet()), list, frame);
        return;
    }
    let height = usize::from(list.height);
    let first = (search.chosen + 1).saturating_sub(height);
    for ((at, hit), y) in search.hits.iter().enumerate().skip(first).zip(list.y..list.bottom()) {
        let row = hit_line(model, hit, at == search.chosen);
        view::put(&row, Rect { y, height: 1, ..list }, frame);
    }
}

fn hit_line(model: &Model, hit: &SearchHit, is_chosen: bool) -> Line<'static> {
    let bar = if is_chosen { Span::styled("▌", model.look.here()) } else { Span::raw(" ") };
    let when =
        Span::styled(format!("{:<11}", model.calendar.short(hit.message.sent_at, model.now)), model.look.quiet());
    let who = if model.is_own(&hit.message) { model.look.own() } else { model.look.theirs() };
    let name = Span::styled(format!("{}: ", clipped(&model.name_of(&hit.message.sender), 16)), who);
    let is_match = |at: usize| {
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        hit.snippet.matches.iter().any(|span| at.checked_sub(span.start).is_some_and(|behind| behind < span.length))
    };
    let style = |at| if is_match(at) { model.look.marked() } else { Style::new() };
    let words = glyphs::line(&glyphs::glyphs(&hit.snippet.text, style));
    let mut line = Line::from(vec![bar, when, name]);
    line.spans.extend(words.spans);
    line
}
