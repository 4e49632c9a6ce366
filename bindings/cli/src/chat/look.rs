//! How things look: few colours, those of the terminal's own palette, and nothing that colour alone tells.

use std::ffi::OsStr;

use ratatui::style::{Color, Modifier, Style};
use sotto_core::records::MessageState;

/// The styles of one terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    has_colour: bool,
}

impl Look {
    /// Without colours where their user does not want any (`NO_COLOR`).
    pub(super) fn of_the_environment() -> Self {
        Self::wanted(std::env::var_os("NO_COLOR").as_deref())
    }

    fn wanted(no_colour: Option<&OsStr>) -> Self {
        Self { has_colour: no_colour.is_none_or(OsStr::is_empty) }
    }

    #[cfg(test)]
    pub(super) const fn plain() -> Self {
        Self { has_colour: false }
    }

    fn coloured(self, colour: Color) -> Style {
        if self.has_colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// What may be overlooked.
    pub(super) const fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Words of ours in the place of somebody's.
    pub(super) const fn placeholder(self) -> Style {
        Style::new().add_modifier(Modifier::DIM).add_modifier(Modifier::ITALIC)
    }

    /// Our own name.
    pub(super) fn own(self) -> Style {
        self.coloured(Color::Green).add_modifier(Modifier::BOLD)
    }

    /// Somebody else's name.
    pub(super) fn theirs(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// Where one is.
    pub(super) fn here(self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// The line above what is new.
    pub(super) fn fresh(self) -> Style {
        self.coloured(Color::Yellow)
    }

    /// What needs somebody.
    pub(super) fn alarm(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What was looked for, and what is chosen.
    pub(super) const fn marked(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A sign for how far a message of ours is, at most two columns wide.
    pub(super) fn sign(self, state: MessageState) -> (&'static str, Style) {
        match state {
            MessageState::Queued => ("⋯", self.quiet()),
            MessageState::Sending => ("⇡", self.quiet()),
            MessageState::Sent => ("✓", self.quiet()),
            MessageState::Delivered => ("✓✓", self.quiet()),
            MessageState::Read => ("✔✔", self.coloured(Color::Cyan)),
            MessageState::Failed(_) => ("✗", self.alarm()),
            MessageState::Received => ("", Style::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_out_where_nobody_wants_them() {
        let is_coloured = |no_colour: Option<&str>| {
            let look = Look::wanted(no_colour.map(OsStr::new));
            let sign = look.sign(MessageState::Read).1;
            let styles =
                [look.own(), look.theirs(), look.here(), look.fresh(), look.alarm(), look.quiet(), look.marked(), sign];
            styles.iter().any(|style| style.fg.is_some() || style.bg.is_some())
        };
        assert_eq!([None, Some(""), Some("1"), Some("0")].map(is_coloured), [true, true, false, false]);
    }
}
