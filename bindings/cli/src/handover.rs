//! A second process hands its request to the first, over a socket in the profile that only its owner may open (`main` sets the mask).
//!
//! One JSON line asks: the words of the command line, and the lines it reads from standard input. The answer is JSON lines: `begun`
//! comes first, `out` and `err` are lines to print, `shown` says how far those lines go (`shown.rs`), `exit` ends it. The words are parsed again by the process that runs them, so both
//! understand the same.
//!
//! Invariant: a command runs once. Without `begun` it did not run, and who asked may run it; after `begun` nobody repeats it, except
//! one that only watches: a first process that ends says `moved` to those, and they go on by themselves.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use serde::{Deserialize, Serialize};
use sotto_core::Messenger;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::arguments::{Arguments, Command};
use crate::commands;
use crate::output::{Failed, Output, Sink, Terminal};

const SOCKET: &str = "sotto.sock";
/// A request: many lines of standard input.
const REQUEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Lines that wait for a slow reader before the command waits too.
const LINES: usize = 256;

#[derive(Serialize, Deserialize)]
struct Request {
    words: Vec<String>,
    input: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Begun,
    Out(String),
    Err(String),
    Shown(i64),
    Exit(u8),
    Moved,
}

/// What became of asking.
pub(crate) enum Asked {
    /// The first process ran it.
    Answered(ExitCode),
    /// The first process began, and ended before it said how that went.
    BrokenOff,
    /// Nobody ran it, or nobody goes on with it.
    NobodyThere,
}

/// Asks the process that has the profile open to run this process's command line.
pub(crate) async fn ask(profile: &Path, words: &[OsString], input: &[String], terminal: &mut Terminal) -> Asked {
    let Ok(mut stream) = UnixStream::connect(profile.join(SOCKET)).await else { return Asked::NobodyThere };
    // Only the profile's path may be no UTF-8, and over there it is known.
    let words = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let request = Request { words, input: input.to_vec() };
    let Ok(mut line) = serde_json::to_string(&request) else { return Asked::NobodyThere };
    line.push('\n');
    if stream.write_all(line.as_bytes()).await.is_err() {
        return Asked::NobodyThere;
    }
    let mut lines = BufReader::new(stream).lines();
    let mut has_begun = false;
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Answer::Begun) => has_begun = true,
            Ok(Answer::Out(line)) => terminal.out(&line),
            Ok(Answer::Err(line)) => terminal.err(&line),
            Ok(Answer::Shown(number)) => terminal.shown(profile, number),
            Ok(Answer::Exit(code)) => return Asked::Answered(ExitCode::from(code)),
            Ok(Answer::Moved) => return Asked::NobodyThere,
            Err(_) => break,
        }
    }
    if has_begun { Asked::BrokenOff } else { Asked::NobodyThere }
}

/// The first process's side.
pub(crate) struct Door {
    path: PathBuf,
    serving: tokio::task::JoinHandle<()>,
    closing: watch::Sender<bool>,
}

impl Door {
    /// Listens for others. Without a socket (a file system that has none) they are told that the profile is in use.
    pub(crate) fn open(profile: &Path, messenger: Messenger) -> Option<Self> {
        let path = profile.join(SOCKET);
        // Ours alone: whoever holds the profile's lock owns the name.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).ok()?;
        let (closing, closed) = watch::channel(false);
        let host = Host { messenger, profile: profile.to_owned(), closing: closed };
        let serving = tokio::spawn(serve(listener, host));
        Some(Self { path, serving, closing })
    }

    /// Takes no more requests, lets those under way end, and sends away who only watches.
    pub(crate) async fn close(self) {
        let _ = std::fs::remove_file(&self.path);
        self.closing.send_replace(true);
        let _ = self.serving.await;
    }
}

/// What a request runs on.
#[derive(Clone)]
struct Host {
    messenger: Messenger,
    profile: PathBuf,
    closing: watch::Receiver<bool>,
}

impl Host {
    async fn is_closing(&mut self) {
        // An error is a door that was dropped: closed too.
        let _ = self.closing.wait_for(|is_closing| *is_closing).await;
    }
}

async fn serve(listener: UnixListener, mut host: Host) {
    let mut requests = JoinSet::new();
    loop {
        let request_host = host.clone();
        tokio::select! {
            biased;
            () = host.is_closing() => break,
            Ok((stream, _)) = listener.accept() => drop(requests.spawn(answer(stream, request_host))),
            Some(_) = requests.join_next() => {}
        }
    }
    while requests.join_next().await.is_some() {}
}

async fn answer(stream: UnixStream, mut host: Host) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(REQUEST_BYTES_MAX));
    tokio::select! {
        biased;
        read = reader.read_line(&mut line) => if read.is_err() { return },
        // Who connected and said nothing holds up no end.
        () = host.is_closing() => return,
    }
    let Ok(request) = serde_json::from_str::<Request>(&line) else { return };
    let (sender, mut lines) = mpsc::channel(LINES);
    if write(&mut writer, &Answer::Begun).await.is_err() {
        return;
    }
    let running = tokio::spawn(async move {
        let mut sink = Remote(sender.clone());
        let last = run(host, request, &mut sink).await;
        let _ = sender.send(last).await;
    });
    loop {
        tokio::select! {
            biased;
            answer = lines.recv() => match answer {
                Some(answer) if write(&mut writer, &answer).await.is_ok() => {}
                _ => break,
            },
            // Nothing more is asked: this is the reader's end.
            _ = reader.read_u8() => break,
        }
    }
    // A reader that left: what it asked for is done all the same, unless it only watched.
    drop(lines);
    let _ = running.await;
}

async fn write(writer: &mut OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    writer.write_all(line.as_bytes()).await
}

/// Runs a request; says what ends its answer.
async fn run(mut host: Host, request: Request, sink: &mut Remote) -> Answer {
    let arguments = match Arguments::try_parse_from(request.words) {
        Ok(arguments) => arguments,
        Err(error) => {
            sink.err(&error.to_string());
            return Answer::Exit(2);
        }
    };
    let is_watching = matches!(arguments.command, Command::Sync { .. });
    let gone = sink.0.clone();
    let (messenger, profile) = (host.messenger.clone(), host.profile.clone());
    let mut output = Output::new(arguments.json, sink);
    let result = tokio::select! {
        biased;
        result = commands::run(&messenger, &profile, &arguments.command, &request.input, &mut output) => result,
        () = gone.closed(), if is_watching => Err(Failed::new("reader_left", "the reader left")),
        () = host.is_closing(), if is_watching => return Answer::Moved,
    };
    match result {
        Ok(()) => Answer::Exit(0),
        Err(failed) => {
            output.fail(&failed);
            Answer::Exit(1)
        }
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

    fn err(&mut self, line: &str) {
        self.send(Answer::Err(line.to_owned()));
    }

    fn shown(&mut self, _: &Path, number: i64) {
        self.send(Answer::Shown(number));
    }
}
