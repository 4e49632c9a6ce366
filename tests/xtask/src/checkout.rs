//! This tree: where its files are, and how programs are run in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::step::{Failure, Outcome};

/// The checkout that this program was built from.
pub(crate) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    pub(crate) fn here() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self { root: here.ancestors().nth(2).expect("tests/xtask stands two folders below the root").to_owned() }
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub(crate) fn has(&self, relative: &str) -> bool {
        self.path(relative).exists()
    }

    /// Where cargo builds, and where everything else that can be made again goes.
    pub(crate) fn target(&self) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.path("target"), |target| self.root.join(target))
    }

    /// The cargo that started this program, and so the toolchain that was asked for.
    pub(crate) fn cargo(&self) -> Command {
        self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Every file that git tracks or would add, relative to the root.
    pub(crate) fn files(&self) -> Result<Vec<String>, Failure> {
        let listing =
            output(self.command("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
        let files = listing.split('\0').filter(|path| self.path(path).is_file());
        Ok(files.map(str::to_owned).collect())
    }

    pub(crate) fn read(&self, relative: &str) -> Result<String, Failure> {
        fs::read_to_string(self.path(relative)).map_err(|error| Failure(format!("{relative}: {error}")))
    }
}

/// Runs a program whose output goes to the terminal.
pub(crate) fn run(command: &mut Command) -> Result<Outcome, Failure> {
    println!("$ {}", line(command));
    let status = command.status().map_err(|error| Failure(format!("{}: {error}", line(command))))?;
    if status.success() { Ok(Outcome::Passed) } else { Err(Failure(format!("{}: {status}", line(command)))) }
}

/// Runs a program and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| Failure(format!("{}: {error}", line(command))))?;
    if !output.status.success() {
        return Err(Failure(format!("{}: {}", line(command), output.status)));
    }
    String::from_utf8(output.stdout).map_err(|_| Failure(format!("{}: printed no UTF-8", line(command))))
}

/// Whether a program runs at all and is content.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The command as one would type it; the program by its name alone.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
