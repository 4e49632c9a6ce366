//! The lowest row: what can be done now, or what has just gone wrong.

use ratatui::text::{Line, Span};

use super::glyphs::{self, clipped};
use super::model::{Mode, Model, Notice, Purpose};

/// Before what is felt.
pub(super) const REACT: &str = " React: ";

/// What one key gives; more by typing.
pub(super) const REACTIONS: [&str; 6] = ["👍", "❤️", "😂", "😮", "😢", "🙏"];

/// The lowest row.
pub(super) fn line(model: &Model) -> Line<'static> {
    let width = usize::from(model.size.width);
    match &model.notice {
        Some(Notice::Failed(words)) => {
            return Line::styled(format!(" {}", clipped(words, width.saturating_sub(2))), model.look.alarm());
        }
        Some(Notice::Done(words)) => {
            return Line::styled(format!(" {}", clipped(words, width.saturating_sub(2))), model.look.here());
        }
        None => {}
    }
    if let Mode::React(typed) = &model.mode {
        let mut words = typed.lines(usize::MAX).into_iter().next().unwrap_or_default();
        words.spans.insert(0, Span::raw(REACT));
        let choices: Vec<String> = REACTIONS.iter().zip(1..).map(|(emoji, key)| format!("{key} {emoji}")).collect();
        words
            .spans
            .push(Span::styled(format!("   {}   0 none   or type one, Enter", choices.join(" ")), model.look.quiet()));
        return words;
    }
    keys(&keys_of(model), width, model)
}

fn keys_of(model: &Model) -> Vec<(&'static str, &'static str)> {
    match &model.mode {
        Mode::Write => {
            let mut keys =
                vec![("Enter", "send"), ("↑", "choose"), ("Ctrl+F", "search"), ("F1", "help"), ("Ctrl+C", "leave")];
            match model.purpose {
                Purpose::Say => {}
                Purpose::Reply(_) => keys.insert(1, ("Esc", "no answer")),
                Purpose::Edit { .. } => keys.splice(..1, [("Enter", "change it"), ("Esc", "as it was")]).for_each(drop),
            }
            keys
        }
        Mode::Select => {
            let mut keys = vec![("r", "reply"), ("+", "react")];
            if let Some(message) = model.chosen_message() {
                if model.can_edit(message) {
                    keys.push(("e", "edit"));
                }
                if model.can_retry(message) {
                    keys.push(("t", "try again"));
                }
                keys.extend([("d", "delete"), ("p", if message.is_pinned { "unpin" } else { "pin" })]);
            }
            keys.extend([("i", "info"), ("y", "copy number"), ("/", "search"), ("?", "help")]);
            if model.found.is_some() {
                keys.splice(..0, [("n N", "next, last"), ("Esc", "back")]).for_each(drop);
            } else {
                keys.push(("Esc", "write"));
            }
            keys
        }
        Mode::Delete => {
            let mut keys = vec![("m", "delete for me")];
            if model.chosen_message().is_some_and(|message| model.can_take_back(message)) {
                keys.push(("e", "delete for everyone"));
            }
            keys.push(("Esc", "keep it"));
            keys
        }
        Mode::Search(_) => vec![("↑ ↓", "choose"), ("Enter", "go there"), ("Esc", "back")],
        Mode::Help | Mode::Details(_) => vec![("Esc", "back")],
        Mode::React(_) => Vec::new(),
    }
}

/// As many as there is room for.
fn keys(keys: &[(&'static str, &'static str)], width: usize, model: &Model) -> Line<'static> {
    let mut line = Line::default();
    for (key, meaning) in keys {
        let spans = [
            Span::raw(" "),
            Span::styled(*key, model.look.here()),
            Span::styled(format!(" {meaning} "), model.look.quiet()),
        ];
        if glyphs::columns_of(&line) + spans.iter().map(|span| glyphs::columns(&span.content)).sum::<usize>() > width {
            break;
        }
        line.spans.extend(spans);
    }
    line
}
