//! A process on a terminal of its own: keys go in, and what a person would see can be read.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::process::{PATIENCE, Process};

/// A process and the terminal that it runs on.
pub struct Terminal {
    process: Option<Process>,
    keyboard: File,
    /// The process's end, which its modes are read from.
    line: OwnedFd,
    modes_before: Termios,
    shared: Arc<Shared>,
}

/// What is seen, and that it has changed.
struct Shared {
    screen: Mutex<Seen>,
    changed: Condvar,
}

struct Seen {
    parser: vt100::Parser,
    /// All that was written, for what is not seen.
    written: Vec<u8>,
}

impl Terminal {
    /// Starts a command on a terminal of so many columns and rows.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start(command: &mut Command, columns: u16, rows: u16) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let keyboard = openpt(flags)?;
        grantpt(&keyboard)?;
        unlockpt(&keyboard)?;
        let line = ioctl_tiocgptpeer(&keyboard, flags)?;
        tcsetwinsize(&keyboard, size(columns, rows))?;
        let modes_before = tcgetattr(&line)?;
        command
            .stdin(line.try_clone()?)
            .stdout(line.try_clone()?)
            .stderr(line.try_clone()?)
            .env("TERM", "xterm-256color");
        // A job of its own, as a shell would start it: whoever stops it stops nobody else.
        let process = Process::of(command.process_group(0).spawn()?);
        let parser = vt100::Parser::new(one_at_least(rows), one_at_least(columns), 0);
        let screen = Mutex::new(Seen { parser, written: Vec::new() });
        let shared = Arc::new(Shared { screen, changed: Condvar::new() });
        let keyboard = File::from(keyboard);
        watch(keyboard.try_clone()?, Arc::clone(&shared));
        Ok(Self { process: Some(process), keyboard, line, modes_before, shared })
    }

    /// Presses keys, or sends whatever else a terminal sends.
    ///
    /// # Errors
    /// The operating system's.
    pub fn press(&mut self, keys: &str) -> io::Result<()> {
        self.keyboard.write_all(keys.as_bytes())
    }

    /// Makes it larger or smaller, and says so as a terminal would.
    ///
    /// # Errors
    /// The operating system's.
    pub fn resize(&mut self, columns: u16, rows: u16) -> io::Result<()> {
        self.seen().parser.screen_mut().set_size(one_at_least(rows), one_at_least(columns));
        tcsetwinsize(&self.keyboard, size(columns, rows))?;
        // It is nobody's controlling terminal, so the system tells nobody.
        self.signal(Signal::WINCH)
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    /// The operating system's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal(signal))
    }

    /// What is seen now, row by row.
    #[must_use]
    pub fn contents(&self) -> String {
        contents(&self.seen())
    }

    /// All that was ever written to it.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        self.seen().written.clone()
    }

    /// Waits until something is seen.
    ///
    /// # Errors
    /// What is seen instead, when patience is over.
    pub fn until(&self, mut is_so: impl FnMut(&str) -> bool) -> Result<String, String> {
        let is_not_yet = |seen: &mut Seen| !is_so(&contents(seen));
        let waited = self.shared.changed.wait_timeout_while(self.seen(), PATIENCE, is_not_yet);
        let (seen, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        let contents = contents(&seen);
        if waited.timed_out() { Err(contents) } else { Ok(contents) }
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.take().map_or_else(|| Err(io::Error::other("it was waited for")), Process::wait)
    }

    /// Whether the terminal is in the modes in which it was before, and all that was switched on is off again.
    ///
    /// # Errors
    /// The operating system's.
    pub fn is_restored(&self) -> io::Result<bool> {
        let modes = tcgetattr(self.line.as_fd())?;
        let before = &self.modes_before;
        let is_same = modes.input_modes == before.input_modes
            && modes.output_modes == before.output_modes
            && modes.local_modes == before.local_modes
            && modes.control_modes == before.control_modes;
        let seen = self.seen();
        let screen = seen.parser.screen();
        Ok(is_same && !screen.alternate_screen() && !screen.bracketed_paste() && !screen.hide_cursor())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn contents(seen: &Seen) -> String {
    let screen = seen.parser.screen();
    let (_, columns) = screen.size();
    screen.rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn one_at_least(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap_or(NonZeroU16::MIN)
}

/// Reads what the process writes. Ends with the terminal.
fn watch(mut terminal: File, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = terminal.read(&mut bytes) {
            let mut seen = shared.screen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.parser.process(&bytes[..count]);
            seen.written.extend_from_slice(&bytes[..count]);
            drop(seen);
            shared.changed.notify_all();
        }
    });
}
