//! Where lines go: this process's standard streams, or those of the process that asked.

use std::io::{self, Write as _};
use std::path::Path;

use crate::failed::Failed;
use crate::shown;

/// Takes lines.
pub(crate) trait Sink: Send {
    /// A line of results.
    fn out(&mut self, line: &str);
    /// Lines of blocks, dark where they are full.
    fn picture(&mut self, picture: &str);
    /// A line for standard error.
    fn err(&mut self, line: &str);
    /// Messages up to this number stand in the lines so far: to be written down where those lines have really been written.
    fn shown(&mut self, profile: &Path, number: i64);
    /// Whether nobody reads any more: who only watches may stop.
    fn is_closed(&self) -> bool;
}

/// Standard output and error.
#[derive(Default)]
pub(crate) struct Terminal {
    /// Why the last line was not written.
    failure: Option<io::ErrorKind>,
}

impl Terminal {
    /// What was asked for was done, and could not all be printed. A reader that had enough is no failure.
    pub(crate) fn check(&self) -> Result<(), Failed> {
        match self.failure {
            None | Some(io::ErrorKind::BrokenPipe) => Ok(()),
            Some(io::ErrorKind::StorageFull) => Err(Failed::new("output_failed", "no room for the results")),
            Some(_) => Err(Failed::new("output_failed", "the results could not be printed")),
        }
    }
}

impl Sink for Terminal {
    fn out(&mut self, line: &str) {
        // A reader that went away is no reason to stop what was asked for.
        let mut out = io::stdout().lock();
        if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            self.failure.get_or_insert(error.kind());
        }
    }

    /// Black on white whatever the terminal's colours are: scanners are not sure to know the inverse.
    fn picture(&mut self, picture: &str) {
        for line in picture.lines() {
            self.out(&format!("\u{1b}[30;107m{line}\u{1b}[0m"));
        }
    }

    fn err(&mut self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    fn shown(&mut self, profile: &Path, number: i64) {
        if self.failure.is_none() {
            shown::write(profile, number);
        }
    }

    fn is_closed(&self) -> bool {
        self.failure.is_some()
    }
}
