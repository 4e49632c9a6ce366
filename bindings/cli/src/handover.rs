//! A second process hands its request to the first, over a socket in the profile that only its owner may open.
//!
//! One JSON line asks: the words of the command line, and the lines it reads from standard input. The answer is JSON lines: `out` and
//! `err` are lines to print, `exit` ends it. The words are parsed again by the process that runs them, so both understand the same.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
use serde::{Deserialize, Serialize};
use sotto_core::Messenger;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::arguments::Arguments;
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
    Out(String),
    Err(String),
    Exit(u8),
}

/// What became of asking.
pub(crate) enum Asked {
    /// The first process ran it.
    Answered(ExitCode),
    /// Nobody listens, or stopped before it answered.
    NobodyThere,
}

/// Asks the process that has the profile open to run this process's command line.
pub(crate) async fn ask(profile: &Path, input: &[String], terminal: &mut Terminal) -> Asked {
    let Ok(mut stream) = UnixStream::connect(profile.join(SOCKET)).await else { return Asked::NobodyThere };
    let request = Request { words: std::env::args().collect(), input: input.to_vec() };
    let Ok(mut line) = serde_json::to_string(&request) else { return Asked::NobodyThere };
    line.push('\n');
    if stream.write_all(line.as_bytes()).await.is_err() {
        return Asked::NobodyThere;
    }
    let mut lines = BufReader::new(stream).lines();
    let mut heard = false;
    while let Ok(Some(line)) = lines.next_line().await {
        heard = true;
        match serde_json::from_str(&line) {
            Ok(Answer::Out(line)) => terminal.out(&line),
            Ok(Answer::Err(line)) => terminal.err(&line),
            Ok(Answer::Exit(code)) => return Asked::Answered(ExitCode::from(code)),
            Err(_) => break,
        }
    }
    // Half an answer: asking again could do it twice.
    if heard { Asked::Answered(ExitCode::FAILURE) } else { Asked::NobodyThere }
}

/// The first process's side.
pub(crate) struct Door {
    path: PathBuf,
    serving: tokio::task::JoinHandle<()>,
    close: tokio::sync::oneshot::Sender<()>,
}

impl Door {
    /// Listens for others. Without a socket (a file system that has none) they are told that the profile is in use.
    pub(crate) fn open(profile: &Path, messenger: Messenger) -> Option<Self> {
        let path = profile.join(SOCKET);
        // Ours alone: whoever holds the profile's lock owns the name.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).ok()?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).ok()?;
        let (close, closed) = tokio::sync::oneshot::channel();
        let serving = tokio::spawn(serve(listener, messenger, closed));
        Some(Self { path, serving, close })
    }

    /// Takes no more requests, and ends those under way.
    pub(crate) async fn close(self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = self.close.send(());
        let _ = self.serving.await;
    }
}

async fn serve(listener: UnixListener, messenger: Messenger, mut closed: tokio::sync::oneshot::Receiver<()>) {
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = &mut closed => break,
            Ok((stream, _)) = listener.accept() => drop(requests.spawn(answer(stream, messenger.clone()))),
            Some(_) = requests.join_next() => {}
        }
    }
    while requests.join_next().await.is_some() {}
}

async fn answer(stream: UnixStream, messenger: Messenger) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let reader = tokio::io::AsyncReadExt::take(reader, REQUEST_BYTES_MAX);
    if BufReader::new(reader).read_line(&mut line).await.is_err() {
        return;
    }
    let Ok(request) = serde_json::from_str::<Request>(&line) else { return };
    let (sender, mut lines) = mpsc::channel(LINES);
    let running = tokio::spawn(async move {
        let mut sink = Remote(sender.clone());
        let exit = run(&messenger, request, &mut sink).await;
        let _ = sender.send(Answer::Exit(exit)).await;
    });
    while let Some(answer) = lines.recv().await {
        let Ok(mut line) = serde_json::to_string(&answer) else { break };
        line.push('\n');
        if writer.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    // A reader that left: what it asked for is done all the same, unless it only watched.
    drop(lines);
    let _ = running.await;
}

async fn run(messenger: &Messenger, request: Request, sink: &mut Remote) -> u8 {
    let arguments = match Arguments::try_parse_from(request.words) {
        Ok(arguments) => arguments,
        Err(error) => {
            sink.err(&error.to_string());
            return 2;
        }
    };
    let gone = sink.0.clone();
    let mut output = Output::new(arguments.json, sink);
    let result = tokio::select! {
        biased;
        result = commands::run(messenger, &arguments.command, &request.input, &mut output) => result,
        () = gone.closed() => Err(Failed::new("reader_left", "the reader left")),
    };
    match result {
        Ok(()) => 0,
        Err(failed) => {
            output.fail(&failed);
            1
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
}
