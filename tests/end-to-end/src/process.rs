//! Relays, profiles and what they print.

use std::ffi::OsStr;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Where a test gives up: longer than anything takes on a loaded machine, devices' waits for a lost relay (a minute) included.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The first words that tie a process to whoever started it: it ends when its standard input does.
const RELAY: &str = "demo-relay";
const DEVICE: &str = "demo-device";

/// A process that does not outlive its handle.
pub struct Process(Child);

impl Process {
    /// Starts it. Its input stays open as long as the handle.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map(Self)
    }

    /// One that was started elsewhere.
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// What it will print.
    pub fn lines(&mut self) -> Lines {
        Lines::of(self.0.stdout.take())
    }

    /// What it will complain of, if that was asked to be piped.
    pub fn complaints(&mut self) -> Lines {
        Lines::of(self.0.stderr.take())
    }

    /// A line for its standard input.
    ///
    /// # Errors
    /// It has closed it.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        let input = self.0.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(input, "{line}")
    }

    /// Ends its standard input.
    pub fn say_no_more(&mut self) {
        self.0.stdin = None;
    }

    /// Sends a signal, and goes on.
    ///
    /// # Errors
    /// The operating system's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.0), signal)?)
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// The operating system's.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        self.0.try_wait().map(|status| status.is_some())
    }

    /// SIGKILL: it does not get to finish anything. Returns when it is gone.
    ///
    /// # Errors
    /// The operating system's.
    pub fn kill(mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }

    /// Asks it to end (SIGTERM), and waits for that.
    ///
    /// # Errors
    /// The operating system's.
    pub fn stop(self) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        // Not `Child::wait` alone: that would close the input first, which ends some of them.
        let input = self.0.stdin.take();
        let _end = Deadline::of(&self.0);
        let status = self.0.wait();
        drop(input);
        status
    }
}

/// Kills a process that has not ended when patience has, so that a test fails instead of hanging. Dropped once it has ended.
struct Deadline(
    #[expect(dead_code, reason = "held, never used: dropping it tells that the process has ended")] mpsc::Sender<()>,
);

impl Deadline {
    fn of(child: &Child) -> Self {
        let (sender, ended) = mpsc::channel();
        let process = Pid::from_child(child);
        std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // It may have ended just now.
                let _ = kill_process(process, Signal::KILL);
            }
        });
        Self(sender)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already when it was killed or ended in order.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines that a process prints, as they come.
pub struct Lines(Receiver<String>);

impl Lines {
    fn of(stream: Option<impl Read + Send + 'static>) -> Self {
        let (sender, receiver) = mpsc::channel();
        if let Some(stream) = stream {
            // Ends with the stream, or with the next line after nobody listens.
            std::thread::spawn(move || {
                let lines = BufReader::new(stream).lines().map_while(Result::ok);
                for line in lines {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self(receiver)
    }

    /// All that are still to come, until the end.
    #[must_use]
    pub fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The next line; `None` at the end, or when patience is.
    #[must_use]
    pub fn next(&self) -> Option<String> {
        self.0.recv_timeout(PATIENCE).ok()
    }

    /// The next line that is an object which `is_wanted`.
    pub fn next_object(&self, is_wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        loop {
            if let Ok(object) = serde_json::from_str(&self.next()?)
                && is_wanted(&object)
            {
                return Some(object);
            }
        }
    }

    /// Hands every line on until the end, and then `None`.
    pub(crate) fn forward(self, mut to: impl FnMut(Option<String>) -> bool + Send + 'static) {
        std::thread::spawn(move || {
            while let Ok(line) = self.0.recv() {
                if !to(Some(line)) {
                    return;
                }
            }
            to(None);
        });
    }
}

/// What a command that ended has left.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status; `None` when it was killed.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Finished {
    /// The objects that it printed; `None` if a line is none.
    #[must_use]
    pub fn objects(&self) -> Option<Vec<Value>> {
        self.out.lines().map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// A relay in a process of its own.
pub struct Relay {
    binary: PathBuf,
    data: PathBuf,
    address: String,
    process: Option<Process>,
}

impl Relay {
    /// Starts a relay on a free port of this machine.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(binary: &Path, data: &Path) -> io::Result<Self> {
        let mut relay = Self {
            binary: binary.to_owned(),
            data: data.to_owned(),
            address: "http://127.0.0.1:0".to_owned(),
            process: None,
        };
        relay.restart()?;
        Ok(relay)
    }

    /// Starts it again where it was, on what is on its disk.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&mut self) -> io::Result<()> {
        let mut command = Command::new(&self.binary);
        command.args([RELAY, "--dev", "--listen", self.place(), "--data"]).arg(&self.data);
        self.address = self.run(&mut command)?;
        Ok(())
    }

    /// Likewise, and it makes no inbox for anybody who does not know a code.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart_asking_for_a_code(&mut self) -> io::Result<()> {
        let (place, data) = (self.place(), &self.data);
        let text = format!(
            "listen = \"{place}\"\nname = \"{place}\"\ndata = {data:?}\n[tls]\nmode = \"proxy\"\n\
             [inboxes]\npolicy = \"code\"\ncodes = [\"nobody knows it\"]\nproof_of_work_bits = 10\n"
        );
        let config = self.data.with_extension("toml");
        std::fs::write(&config, text)?;
        let mut command = Command::new(&self.binary);
        command.args([RELAY, "--config"]).arg(config);
        // It says where a proxy in front of it would be reached.
        self.run(&mut command).map(drop)
    }

    fn place(&self) -> &str {
        self.address.trim_start_matches("http://")
    }

    /// Says what it says: where it is reached.
    fn run(&mut self, command: &mut Command) -> io::Result<String> {
        let mut process = Process::start(command.env("SOTTO_LOG", "error"))?;
        let line = process.lines().next().ok_or_else(|| io::Error::other("the relay did not start"))?;
        let address = line.strip_prefix("listening on ").ok_or_else(|| io::Error::other("the relay said otherwise"))?;
        let address = address.to_owned();
        self.process = Some(process);
        Ok(address)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// The operating system's.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.take().map_or(Ok(()), Process::kill)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// A profile, and the command lines that are run on it.
#[derive(Clone)]
pub struct Profile {
    binary: PathBuf,
    directory: PathBuf,
    passphrase: Option<String>,
}

impl Profile {
    /// A profile that is or will be in a directory.
    #[must_use]
    pub fn at(binary: &Path, directory: &Path) -> Self {
        Self { binary: binary.to_owned(), directory: directory.to_owned(), passphrase: None }
    }

    /// The same profile, with a passphrase in the environment of every command.
    #[must_use]
    pub fn with_passphrase(&self, passphrase: &str) -> Self {
        Self { passphrase: Some(passphrase.to_owned()), ..self.clone() }
    }

    /// Its files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A command line, not run yet, and free of what the environment says.
    pub fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = self.bare_command();
        command.arg("--profile").arg(&self.directory).args(words);
        command
    }

    fn bare_command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_remove("SOTTO_PASSPHRASE").env_remove("SOTTO_LOG");
        command.envs(self.passphrase.iter().map(|passphrase| ("SOTTO_PASSPHRASE", passphrase)));
        command
    }

    /// Runs a command line to its end, with lines for its standard input.
    ///
    /// # Errors
    /// The operating system's.
    pub fn run_with_input<S: AsRef<OsStr>>(&self, words: &[S], input: &str) -> io::Result<Finished> {
        finish(&mut self.command(words), input.as_bytes())
    }

    /// Runs a command line to its end.
    ///
    /// # Errors
    /// The operating system's.
    pub fn run<S: AsRef<OsStr>>(&self, words: &[S]) -> io::Result<Finished> {
        self.run_with_input(words, "")
    }

    /// Starts a command that says what lines hold, and goes on by itself.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start_saying(&self, who: &str, lines: &str) -> io::Result<Process> {
        let mut process = Process::start(&mut self.command(&["--json", "send", who, "-"]))?;
        if let Some(mut input) = process.0.stdin.take() {
            let lines = lines.to_owned();
            // It says them as it reads them. One that is killed does not read the rest.
            std::thread::spawn(move || drop(input.write_all(lines.as_bytes())));
        }
        Ok(process)
    }

    /// Starts a command line; its complaints can be read.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<S: AsRef<OsStr>>(&self, words: &[S]) -> io::Result<Process> {
        Process::start(self.command(words).stderr(Stdio::piped()))
    }

    /// Starts a process that stays and prints what comes in, until it is stopped, or whoever started it ends.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn stay(&self) -> io::Result<Process> {
        let mut command = self.bare_command();
        command.arg(DEVICE).arg("--profile").arg(&self.directory).args(["--json", "sync", "--for", "86400"]);
        Process::start(&mut command)
    }
}

/// Runs a command to its end, with lines for its standard input.
///
/// # Errors
/// The operating system's.
pub fn finish(command: &mut Command, input: &[u8]) -> io::Result<Finished> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_owned();
        // Beside the reading of what it prints, or both might wait for each other. One that does not read its input has closed it.
        std::thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let _end = Deadline::of(&child);
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Finished { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}
