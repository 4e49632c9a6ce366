//! The terminal: taken over whole, and given back as it was, however this ends.
//!
//! Invariant: whoever leaves in order, by an error, by a panic or by a signal leaves the terminal in the mode in which it was found.

use std::io::{self, IsTerminal as _, Stdout, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::event::{DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{cursor, execute};
use data_encoding::BASE64;
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};

use super::model::{Event, Model};
use super::view;
use crate::failed::Failed;

/// Whether the terminal is ours now. There is one.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, for as long as this is held.
pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal over.
    pub(super) fn take() -> Result<Self, Failed> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(Failed::new("no_terminal", "a chat needs a terminal of its own"));
        }
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // First, so that it can be read.
            give_back();
            before(panic);
        }));
        take().map_err(failed)?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()));
        let screen = terminal.map(Self).inspect_err(|_| give_back()).map_err(failed)?;
        Ok(screen)
    }

    /// Whether something ended that had to give it back.
    pub(super) fn is_lost(&self) -> bool {
        !IS_TAKEN.load(Ordering::SeqCst)
    }

    /// Draws the model in the size that the terminal has now.
    pub(super) fn draw(&mut self, model: &mut Model) -> Result<(), Failed> {
        let draw = |frame: &mut Frame<'_>| {
            let size = frame.area().as_size();
            if model.size != size {
                // The event that says so comes behind.
                model.update(Event::Resize(size));
            }
            view::draw(model, frame);
        };
        self.0.draw(draw).map(drop).map_err(failed)
    }

    /// Draws all of it the next time: something else may stand there.
    pub(super) fn forget(&mut self) -> Result<(), Failed> {
        // A new one, because clearing this one asks the terminal where its cursor is, and the answer would be taken for keys.
        execute!(io::stdout(), Clear(ClearType::All)).map_err(failed)?;
        self.0 = Terminal::new(CrosstermBackend::new(io::stdout())).map_err(failed)?;
        Ok(())
    }

    /// Gives the terminal to the shell, until `stopped` is over.
    pub(super) async fn lend(&mut self, stopped: impl Future<Output = ()>) -> Result<(), Failed> {
        give_back();
        stopped.await;
        take().map_err(failed)?;
        self.forget()
    }

    /// Puts words into the terminal's clipboard, where it lets programs do so.
    pub(super) fn copy(&self, words: &str) -> Result<(), Failed> {
        let mut out = io::stdout();
        write!(out, "\u{1b}]52;c;{}\u{7}", BASE64.encode(words.as_bytes())).and_then(|()| out.flush()).map_err(failed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn failed(error: io::Error) -> Failed {
    Failed::new("terminal_failed", format!("the terminal does not work: {}", error.kind()))
}

fn take() -> io::Result<()> {
    IS_TAKEN.store(true, Ordering::SeqCst);
    enable_raw_mode()
        .and_then(|()| {
            execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, EnableFocusChange, cursor::Hide)
        })
        .inspect_err(|_| give_back())
}

fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that went away needs nothing more.
        let _ = execute!(io::stdout(), DisableFocusChange, DisableBracketedPaste, LeaveAlternateScreen, cursor::Show);
        let _ = disable_raw_mode();
    }
}
