//! A second process hands its request to the first, over a socket in the profile that only its owner may open; both look who is there.
//!
//! JSON lines go both ways. The words of the command line ask. `begun` answers first; `out` and `err` are lines to print, `shown` says
//! how far those lines go (`shown.rs`), `more` asks for a line of standard input, and `exit` ends it. The words are parsed again by the
//! process that runs them, so both understand the same.
//!
//! Invariant: a command runs once. Without `begun` it did not run, and who asked may run it. After `begun` nobody repeats what was done:
//! only one that watches, or waits for its next line, is told `moved` by a first process that ends, and goes on by itself.
//! A first process that ends waits for what it has begun and for nobody who only reads: `closing` tells who comes then to wait, and
//! a reader that has stopped is left behind.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use sotto_core::Messenger;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Take};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arguments::{Arguments, Command};
use crate::commands;
use crate::failed::Failed;
use crate::input::{LINE_BYTES_MAX, Line, Lines, StandardInput};
use crate::output::Output;
use crate::proxy::Way;
use crate::readable;
use crate::signals::{Caught, Signals};
use crate::terminal::{Sink, Terminal};

const SOCKET: &str = "sotto.sock";
const NEW_SOCKET: &str = "sotto.sock.new";
/// What a socket's path may have on every system that we know.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// One line of a request: a line of input whose every byte is escaped once more would be longer, and is refused.
const REQUEST_BYTES_MAX: u64 = 2 * LINE_BYTES_MAX;
/// Lines that wait for a slow reader before the command waits too.
const LINES: usize = 256;
/// How long a process that ends waits for readers.
const READER_PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits for what it has begun: as long as any command waits for relays by itself. Who asked it for more is told that it
/// broke off, and what is stored stays.
const WORK_PATIENCE: Duration = Duration::from_secs(60);
/// The code of a command that goes on in the process that asked for it.
const MOVED: &str = "moved";

#[derive(Serialize, Deserialize)]
struct Request {
    words: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Begun,
    Out(String),
    Picture(String),
    Err(String),
    Shown(i64),
    More,
    Exit(u8),
    /// Whether the last line that was asked for was not used.
    Moved(bool),
    Closing,
}

/// What became of asking.
pub(crate) enum Asked {
    /// The first process ran it.
    Answered(ExitCode),
    /// The first process began, and ended before it said how that went.
    BrokenOff,
    /// Nobody ran it, or nobody goes on with it.
    NobodyThere,
    /// The first process is about to end.
    Closing,
    /// A signal ended the waiting. What was asked for may be done all the same.
    Interrupted(Caught),
}

/// Asks the process that has the profile open to run this process's command line.
pub(crate) async fn ask(
    profile: &Path,
    words: &[OsString],
    input: &mut StandardInput,
    terminal: &mut Terminal,
) -> Asked {
    let Ok((path, _directory)) = reachable(profile, SOCKET) else { return Asked::NobodyThere };
    let Ok(stream) = UnixStream::connect(path).await else { return Asked::NobodyThere };
    if !is_of(&stream, geteuid().as_raw()) {
        return Asked::NobodyThere;
    }
    let mut signals = Signals::listen();
    tokio::select! {
        biased;
        asked = converse(stream, profile, words, input, terminal) => asked,
        caught = signals.caught() => Asked::Interrupted(caught),
    }
}

/// Whether it is a user's process that is at the other end: what is typed is for no other, and what is asked for is nobody else's to ask.
fn is_of(stream: &UnixStream, user: u32) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == user)
}

async fn converse(
    stream: UnixStream,
    profile: &Path,
    words: &[OsString],
    input: &mut StandardInput,
    terminal: &mut Terminal,
) -> Asked {
    let (reader, mut writer) = stream.into_split();
    // Only the profile's path may be no UTF-8, and over there it is known.
    let words = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    // A first process that ends may have answered and left before it was asked: what it said is read all the same.
    let _ = write(&mut writer, &Request { words }).await;
    let mut lines = BufReader::new(reader).lines();
    let (mut has_begun, mut handed_over) = (false, None);
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Answer::Begun) => has_begun = true,
            Ok(Answer::Out(line)) => terminal.out(&readable::received(&line)),
            Ok(Answer::Picture(picture)) => terminal.picture(&readable::received(&picture)),
            Ok(Answer::Err(line)) => terminal.err(&readable::received(&line)),
            Ok(Answer::Shown(number)) => terminal.shown(profile, number),
            Ok(Answer::More) => {
                let line = handed_over.insert(input.next_line().await);
                // Whether it was taken shows in the next answer.
                let _ = write(&mut writer, line).await;
            }
            Ok(Answer::Exit(code)) => return Asked::Answered(ExitCode::from(code)),
            Ok(Answer::Moved(is_unused)) => {
                if let Some(line) = handed_over.filter(|_| is_unused) {
                    input.give_back(line);
                }
                return Asked::NobodyThere;
            }
            Ok(Answer::Closing) => return Asked::Closing,
            Err(_) => break,
        }
    }
    if has_begun { Asked::BrokenOff } else { Asked::NobodyThere }
}

/// The first process's side.
pub(crate) struct Door {
    path: PathBuf,
    serving: tokio::task::JoinHandle<()>,
    closing: watch::Sender<Option<Instant>>,
    emptied: watch::Receiver<bool>,
}

impl Door {
    /// Listens for others. Without a socket (a file system that has none) they are told that the profile is in use.
    pub(crate) fn open(profile: &Path, messenger: Messenger, way: Option<Way>) -> io::Result<Self> {
        let listener = bind(profile)?;
        let ((closing, closed), (empty, emptied)) = (watch::channel(None), watch::channel(false));
        let host = Host { messenger, profile: profile.to_owned(), way, closing: closed };
        let serving = tokio::spawn(serve(listener, host, empty));
        Ok(Self { path: profile.join(SOCKET), serving, closing, emptied })
    }

    /// Takes no more requests, lets those under way end, and sends away who only watches.
    pub(crate) async fn close(mut self) {
        self.closing.send_replace(Some(Instant::now() + READER_PATIENCE));
        let _ = self.emptied.wait_for(|is_empty| *is_empty).await;
        // Before the profile is free: afterwards it could be the next one's.
        let _ = std::fs::remove_file(&self.path);
        self.serving.abort();
    }
}

/// The socket gets its name once it is its owner's alone: nobody finds it before.
fn bind(profile: &Path) -> io::Result<UnixListener> {
    let new = profile.join(NEW_SOCKET);
    // Whoever holds the profile's lock owns both names; what stands there is from a process that was killed.
    let _ = std::fs::remove_file(&new);
    let (short, _directory) = reachable(profile, NEW_SOCKET)?;
    let listener = UnixListener::bind(short)?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    std::fs::rename(&new, profile.join(SOCKET))?;
    Ok(listener)
}

/// A socket under a name that is short enough for one. A deep profile is reached through a handle on its directory, which must
/// live as long as the name is used.
fn reachable(profile: &Path, name: &str) -> io::Result<(PathBuf, Option<File>)> {
    use std::os::fd::AsRawFd as _;
    let path = profile.join(name);
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok((path, None));
    }
    let directory = File::open(profile)?;
    Ok((Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name), Some(directory)))
}

/// What a request runs on.
#[derive(Clone)]
struct Host {
    messenger: Messenger,
    profile: PathBuf,
    /// The proxy that its connections go through.
    way: Option<Way>,
    /// Until when readers are waited for, once the door closes.
    closing: watch::Receiver<Option<Instant>>,
}

impl Host {
    /// Ready once the door closes, with the last moment for readers.
    async fn is_closing(&mut self) -> Instant {
        let deadline = self.closing.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline);
        // A door that was dropped is closed too.
        deadline.unwrap_or_else(Instant::now)
    }

    /// Ready when what was begun has had its time after the door closed.
    async fn is_overdue(&mut self) {
        let readers = self.is_closing().await;
        tokio::time::sleep_until(readers + (WORK_PATIENCE - READER_PATIENCE)).await;
    }

    /// Writes to a reader, and gives up on one that does not read when the door has closed.
    async fn write(&mut self, writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
        let mut writing = std::pin::pin!(write(writer, answer));
        let deadline = tokio::select! {
            biased;
            written = &mut writing => return written,
            deadline = self.is_closing() => deadline,
        };
        tokio::time::timeout_at(deadline, writing).await?
    }
}

/// Answers until everything that was begun has ended after the door closed, and tells the late ones to wait.
async fn serve(listener: UnixListener, mut host: Host, empty: watch::Sender<bool>) {
    let mut requests = JoinSet::new();
    let mut is_closing = false;
    loop {
        if is_closing && requests.is_empty() {
            empty.send_replace(true);
        }
        let request_host = host.clone();
        tokio::select! {
            biased;
            _ = host.is_closing(), if !is_closing => is_closing = true,
            Some(_) = requests.join_next() => {}
            Ok((stream, _)) = listener.accept() => if !is_of(&stream, geteuid().as_raw()) {
                // Nobody of ours; there is nothing to say to them.
                drop(stream);
            } else if is_closing {
                tokio::spawn(turn_away(stream));
            } else {
                requests.spawn(answer(stream, request_host));
            },
        }
    }
}

async fn turn_away(stream: UnixStream) {
    let (_reader, mut writer) = stream.into_split();
    // It may leave without an answer; then it tries again.
    let _ = tokio::time::timeout(READER_PATIENCE, write(&mut writer, &Answer::Closing)).await;
}

/// Lines of somebody who asks, none of them endless.
struct Requests(BufReader<Take<OwnedReadHalf>>);

impl Requests {
    fn new(reader: OwnedReadHalf) -> Self {
        Self(BufReader::new(reader.take(0)))
    }

    /// The next; `None` when they left, or said what nobody says.
    async fn next<T: for<'a> Deserialize<'a>>(&mut self) -> Option<T> {
        self.0.get_mut().set_limit(REQUEST_BYTES_MAX);
        let mut line = String::new();
        self.0.read_line(&mut line).await.ok()?;
        serde_json::from_str(&line).ok()
    }
}

async fn answer(stream: UnixStream, mut host: Host) {
    let (reader, mut writer) = stream.into_split();
    let mut requests = Requests::new(reader);
    let request = tokio::select! {
        biased;
        request = requests.next::<Request>() => request,
        // Who connected and said nothing holds up no end.
        _ = host.is_closing() => return drop(host.write(&mut writer, &Answer::Closing).await),
    };
    let Some(request) = request else { return };
    if host.write(&mut writer, &Answer::Begun).await.is_err() {
        return;
    }
    let (sender, mut answers) = mpsc::channel(LINES);
    let (line_sender, lines) = mpsc::channel(1);
    let mut reading = tokio::spawn(async move {
        while let Some(line) = requests.next::<Line>().await {
            if line_sender.send(line).await.is_err() {
                return;
            }
        }
    });
    let running = tokio::spawn(run(host.clone(), request, sender, lines));
    loop {
        tokio::select! {
            biased;
            answer = answers.recv() => match answer {
                Some(answer) if host.write(&mut writer, &answer).await.is_ok() => {}
                _ => break,
            },
            // This is the reader's end.
            _ = &mut reading => break,
        }
    }
    // A reader that left: what it asked for is done all the same, unless it only watched.
    drop(answers);
    let _ = running.await;
    reading.abort();
}

async fn write(writer: &mut OwnedWriteHalf, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    writer.write_all(line.as_bytes()).await
}

/// Runs a request, and sends what ends its answer.
async fn run(mut host: Host, request: Request, sender: mpsc::Sender<Answer>, lines: mpsc::Receiver<Line>) {
    let mut sink = Remote(sender.clone());
    let json = request.words.iter().any(|word| word == "--json");
    let last = match Arguments::try_parse_from(request.words) {
        Ok(arguments) => {
            let mut input = RemoteInput { sender: sender.clone(), lines, host: host.clone(), is_waiting: false };
            run_arguments(&mut host, &arguments, &mut input, &mut sink).await
        }
        Err(error) => {
            let failed = Failed::usage(&error);
            Output::new(json, &mut sink).fail(&failed);
            Answer::Exit(failed.exit_code())
        }
    };
    let _ = sender.send(last).await;
}

async fn run_arguments(host: &mut Host, arguments: &Arguments, input: &mut RemoteInput, sink: &mut Remote) -> Answer {
    let is_watching = matches!(arguments.command, Command::Sync { .. });
    let gone = sink.0.clone();
    let (messenger, profile, mut overdue) = (host.messenger.clone(), host.profile.clone(), host.clone());
    let mut output = Output::new(arguments.json, sink);
    if arguments.proxy.is_some() && arguments.proxy != host.way {
        let failed = Failed::new("proxy_differs", "the process that has the profile open connects by another way");
        output.fail(&failed);
        return Answer::Exit(failed.exit_code());
    }
    let result = tokio::select! {
        biased;
        result = commands::run(&messenger, &profile, &arguments.command, input, &mut output) => result,
        () = gone.closed(), if is_watching => Err(Failed::new("reader_left", "the reader left")),
        _ = host.is_closing(), if is_watching => return Answer::Moved(false),
        () = overdue.is_overdue() => Err(Failed::broken_off()),
    };
    match result {
        Ok(()) => Answer::Exit(0),
        Err(failed) if failed.is(MOVED) => Answer::Moved(input.is_waiting),
        Err(failed) => {
            output.fail(&failed);
            Answer::Exit(failed.exit_code())
        }
    }
}

/// Standard input of the process that asked, a line at a time.
struct RemoteInput {
    sender: mpsc::Sender<Answer>,
    lines: mpsc::Receiver<Line>,
    host: Host,
    /// A line was asked for and has not come.
    is_waiting: bool,
}

impl Lines for RemoteInput {
    async fn next(&mut self) -> Result<Option<String>, Failed> {
        let left = || Failed::new("reader_left", "the process that asked ended");
        let moved = || Failed::new(MOVED, "the command goes on elsewhere");
        if self.host.closing.borrow().is_some() {
            return Err(moved());
        }
        self.sender.send(Answer::More).await.map_err(|_| left())?;
        self.is_waiting = true;
        let line = tokio::select! {
            biased;
            line = self.lines.recv() => line.ok_or_else(left)?,
            _ = self.host.is_closing() => return Err(moved()),
            () = self.sender.closed() => return Err(left()),
        };
        self.is_waiting = false;
        line.into_result()
    }
}

/// Lines for the process that asked.
struct Remote(mpsc::Sender<Answer>);

impl Remote {
    fn send(&self, answer: Answer) {
        // Waits for a slow reader, and hands this thread's other work to another one meanwhile. A reader that left is noticed by
        // the command's own watch.
        let _ = tokio::task::block_in_place(|| self.0.blocking_send(answer));
    }
}

impl Sink for Remote {
    fn out(&mut self, line: &str) {
        self.send(Answer::Out(line.to_owned()));
    }

    fn picture(&mut self, picture: &str) {
        self.send(Answer::Picture(picture.to_owned()));
    }

    fn err(&mut self, line: &str) {
        self.send(Answer::Err(line.to_owned()));
    }

    fn shown(&mut self, _: &Path, number: i64) {
        self.send(Answer::Shown(number));
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_users_process_is_nobody() {
        let (one, other) = UnixStream::pair().unwrap();
        let own = geteuid().as_raw();
        assert!(is_of(&one, own) && is_of(&other, own));
        assert!(!is_of(&one, own + 1));
    }

    #[tokio::test]
    async fn what_a_first_process_said_before_it_was_asked_is_heard() {
        let (own, mut first) = UnixStream::pair().unwrap();
        first.write_all(b"\"closing\"\n").await.unwrap();
        drop(first);
        let (mut input, mut terminal) = (StandardInput::default(), Terminal::default());
        let asked = converse(own, Path::new("profile"), &["sotto".into()], &mut input, &mut terminal).await;
        assert!(matches!(asked, Asked::Closing));
    }
}
