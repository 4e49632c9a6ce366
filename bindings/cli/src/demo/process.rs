//! The demo's processes: a relay and two devices, all of them this binary.
//!
//! None outlives the demo, however that ends: each holds the reading end of one pipe as its standard input, and ends when the writing
//! end is gone, with the demo's process or because a signal let go of it.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::signals::{Caught, Signals};

/// What a process of the demo is, by the first word of its command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// The rest of the words are a relay's.
    Relay,
    /// The rest of the words are this program's own.
    Device,
}

impl Part {
    const fn word(self) -> &'static str {
        match self {
            Self::Relay => "demo-relay",
            Self::Device => "demo-device",
        }
    }

    pub(crate) fn of(words: &[OsString]) -> Option<Self> {
        let first = words.get(1)?;
        [Self::Relay, Self::Device].into_iter().find(|part| first == part.word())
    }
}

/// Ends this process, as a kill would, when the demo lets go of its standard input.
pub(crate) fn end_with_the_demo() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
}

/// Holds the demo's processes. They end with the last copy, or when a signal (SIGINT, SIGTERM) lets go of them.
#[derive(Clone)]
pub(super) struct Leash {
    reader: Arc<PipeReader>,
    writer: Arc<Mutex<Option<PipeWriter>>>,
    caught: Arc<OnceLock<Caught>>,
}

impl Leash {
    pub(super) fn new() -> Result<Self, String> {
        let (reader, writer) = std::io::pipe().map_err(|error| format!("no pipe: {error}"))?;
        let writer = Arc::new(Mutex::new(Some(writer)));
        let leash = Self { reader: Arc::new(reader), writer, caught: Arc::default() };
        let (held, came) = (Arc::clone(&leash.writer), Arc::clone(&leash.caught));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the runtime does not start: {error}"))?;
        // The demo waits for its processes, so their end is what ends it in order.
        std::thread::spawn(move || {
            let caught = runtime.block_on(async { Signals::listen().caught().await });
            let _ = came.set(caught);
            drop(held.lock().unwrap_or_else(PoisonError::into_inner).take());
        });
        Ok(leash)
    }

    /// The signal that let go of them.
    pub(super) fn caught(&self) -> Option<Caught> {
        self.caught.get().copied()
    }

    fn command(&self, part: Part) -> Result<Command, String> {
        let this_binary = std::env::current_exe().map_err(|error| format!("where this binary is: {error}"))?;
        let reader = self.reader.try_clone().map_err(|error| format!("no pipe: {error}"))?;
        let mut command = Command::new(this_binary);
        command.arg(part.word()).stdin(reader);
        Ok(command)
    }
}

/// Longer than any script plays.
const STAY_SECONDS: &str = "3600";

/// A process that does not outlive the demo.
struct Running(Child);

impl Running {
    fn spawn(command: &mut Command) -> Result<Self, String> {
        let spawned = command.stdout(Stdio::piped()).spawn();
        spawned.map(Self).map_err(|error| format!("cannot start a process: {error}"))
    }

    fn output(&mut self) -> Result<BufReader<ChildStdout>, String> {
        self.0.stdout.take().map(BufReader::new).ok_or_else(|| "a process without output".to_owned())
    }

    /// SIGKILL: it does not get to finish anything.
    fn kill(mut self) -> Result<(), String> {
        self.0.kill().and_then(|()| self.0.wait()).map(drop).map_err(|error| format!("cannot kill a process: {error}"))
    }

    /// SIGTERM, and waits for the end.
    fn stop(mut self) -> Result<(), String> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)
            .map_err(|error| format!("cannot stop a process: {error}"))?;
        self.0.wait().map(drop).map_err(|error| error.to_string())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already when it was killed or stopped in order.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The relay.
pub(super) struct Relay {
    leash: Leash,
    data: PathBuf,
    address: String,
    running: Option<Running>,
}

impl Relay {
    pub(super) fn start(leash: &Leash, data: &Path) -> Result<Self, String> {
        let (running, address) = spawn_relay(leash, data, "127.0.0.1:0")?;
        Ok(Self { leash: leash.clone(), data: data.to_owned(), address, running: Some(running) })
    }

    /// At the same place, on what is on its disk.
    pub(super) fn restart(&mut self) -> Result<(), String> {
        let listen = self.address.trim_start_matches("http://").to_owned();
        let (running, address) = spawn_relay(&self.leash, &self.data, &listen)?;
        if address != self.address {
            return Err("the relay came back elsewhere".to_owned());
        }
        self.running = Some(running);
        Ok(())
    }

    pub(super) fn kill(&mut self) -> Result<(), String> {
        self.running.take().map_or(Ok(()), Running::kill)
    }

    pub(super) fn stop(&mut self) -> Result<(), String> {
        self.running.take().map_or(Ok(()), Running::stop)
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn id(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.0.id())
    }
}

fn spawn_relay(leash: &Leash, data: &Path, listen: &str) -> Result<(Running, String), String> {
    let mut command = leash.command(Part::Relay)?;
    command.args(["--dev", "--listen", listen, "--data"]).arg(data).env("SOTTO_LOG", "error");
    let mut running = Running::spawn(&mut command)?;
    let mut line = String::new();
    running.output()?.read_line(&mut line).map_err(|error| error.to_string())?;
    let address = line.trim().strip_prefix("listening on ").ok_or("the relay did not start")?.to_owned();
    Ok((running, address))
}

/// A device: a profile, and the process that has it open.
pub(super) struct Device {
    leash: Leash,
    name: String,
    profile: PathBuf,
    account: String,
    running: Option<(Running, Receiver<Value>)>,
}

impl Device {
    pub(super) fn init(leash: &Leash, name: &str, profile: &Path, relay: &str) -> Result<Self, String> {
        let mut device = Self {
            leash: leash.clone(),
            name: name.to_owned(),
            profile: profile.to_owned(),
            account: String::new(),
            running: None,
        };
        let made = device.ask(&["init", "--relay", relay, &format!("--name={name}")])?;
        device.account = made.first().and_then(|line| line["account"].as_str()).ok_or("no account")?.to_owned();
        device.start()?;
        Ok(device)
    }

    /// Starts the process that stays and shows what comes in.
    pub(super) fn start(&mut self) -> Result<(), String> {
        let mut command = self.command()?;
        command.args(["sync", "--for", STAY_SECONDS]);
        let mut running = Running::spawn(&mut command)?;
        let output = running.output()?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str(&line) else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        self.running = Some((running, lines));
        Ok(())
    }

    pub(super) fn kill(&mut self) -> Result<(), String> {
        self.running.take().map_or(Ok(()), |(running, _)| running.kill())
    }

    pub(super) fn stop(&mut self) -> Result<(), String> {
        self.running.take().map_or(Ok(()), |(running, _)| running.stop())
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }

    pub(super) fn id(&self) -> u32 {
        self.running.as_ref().map_or(0, |(running, _)| running.0.id())
    }

    /// Runs a command line on this profile and returns its results.
    pub(super) fn ask(&self, words: &[&str]) -> Result<Vec<Value>, String> {
        let output = self.command()?.args(words).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(format!("{} {}: {}", self.name, words[0], String::from_utf8_lossy(&output.stderr).trim()));
        }
        let lines = String::from_utf8_lossy(&output.stdout);
        lines.lines().map(|line| serde_json::from_str(line).map_err(|error| error.to_string())).collect()
    }

    /// Waits until the process that stays has a contact.
    pub(super) fn wait_for_contact(&mut self, deadline: Instant) -> Result<(), String> {
        self.next_line(deadline, |line| line["kind"] == "contact" && line["state"] == "accepted").map(drop)
    }

    /// The next text that comes in on the process that stays.
    pub(super) fn next_text(&mut self, deadline: Instant) -> Result<String, String> {
        let line = self.next_line(deadline, |line| line["kind"] == "text")?;
        Ok(line["text"].as_str().unwrap_or_default().to_owned())
    }

    fn next_line(&self, deadline: Instant, is_wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let (_, lines) = self.running.as_ref().ok_or("the device is away")?;
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(patience) {
                Ok(line) if is_wanted(&line) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Err("it did not arrive in time".to_owned()),
                Err(RecvTimeoutError::Disconnected) => return Err("the device's process ended".to_owned()),
            }
        }
    }

    fn command(&self) -> Result<Command, String> {
        let mut command = self.leash.command(Part::Device)?;
        command.arg("--profile").arg(&self.profile).arg("--json");
        Ok(command)
    }
}
