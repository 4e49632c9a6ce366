//! Where lines go: this process's standard streams, a new file in the place of the output, or the process that asked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

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
    /// Where results go instead of the standard output.
    file: Option<(PathBuf, BufWriter<File>)>,
}

impl Terminal {
    /// Results go to a new file from here on, for its owner alone. One that is there is left alone.
    pub(crate) fn redirect(&mut self, path: &Path) -> Result<(), Failed> {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failed::new("file_exists", "there is such a file already"),
            _ => Failed::new("output_failed", format!("the file cannot be made: {error}")),
        })?;
        self.file = Some((path.to_owned(), BufWriter::new(file)));
        Ok(())
    }

    /// Nothing was done, or not all of it: half a file is none.
    pub(crate) fn undo(&mut self) {
        if let Some((path, _)) = self.file.take() {
            let _ = fs::remove_file(path);
        }
    }

    /// What was asked for was done, and could not all be printed. A reader that had enough is no failure.
    pub(crate) fn check(&mut self) -> Result<(), Failed> {
        if let Some((_, file)) = &mut self.file
            && let Err(error) = file.flush().and_then(|()| file.get_ref().sync_all())
        {
            self.failure.get_or_insert(error.kind());
        }
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
        let mut stdout = io::stdout().lock();
        let written = match &mut self.file {
            Some((_, file)) => writeln!(file, "{line}"),
            None => writeln!(stdout, "{line}").and_then(|()| stdout.flush()),
        };
        if let Err(error) = written {
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
