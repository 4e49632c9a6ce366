//! `sotto daemon`: programs ask over standard input, and are answered and told what comes over standard output. JSON-RPC 2.0, one object
//! a line; `daemon.schema.json` says what each is, docs/bots.md how to begin.
//!
//! - `envelope.rs`: JSON-RPC itself; `methods.rs`: what can be asked for
//!
//! Requests are dealt with one after the other, in the order in which they came, so an answer may wait for a relay that the one before it
//! waits for. Nothing is queued for a reader that is slow: a line is written before the next request is read, and what came meanwhile is
//! read from the database when there is room for it. Batches are refused: lines are enough.

mod envelope;
mod methods;

use sotto_core::{Event, Messenger};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::failed::Failed;
use crate::input::{Line, StandardInput};
use crate::message;
use crate::names::Names;
use crate::readable;

/// Messages told at a time, before the next request is looked at: as many as are read from the database at once.
const PAGE: u32 = 32;

/// Answers and tells until the input ends, or nobody reads.
pub(crate) async fn run(
    messenger: &Messenger,
    input: &mut StandardInput,
    output: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Failed> {
    let mut daemon = Daemon { messenger, events: messenger.events(), told: None, is_behind: false };
    match daemon.talk(input, output).await {
        Err(failed) if failed.is(READER_LEFT) => Ok(()),
        ended => ended,
    }
}

/// The code of an output that nobody reads any more, which ends a daemon as the end of its input does.
const READER_LEFT: &str = "reader_left";

/// One conversation with a program.
struct Daemon<'a> {
    messenger: &'a Messenger,
    events: Receiver<Event>,
    /// Number of the last arrival that was told; `None`: nobody wants to be told.
    told: Option<i64>,
    /// Whether there may be something to tell.
    is_behind: bool,
}

impl Daemon<'_> {
    async fn talk(&mut self, input: &mut StandardInput, output: &mut (impl AsyncWrite + Unpin)) -> Result<(), Failed> {
        loop {
            self.hear();
            if self.is_behind {
                self.tell(output).await?;
            }
            tokio::select! {
                biased;
                line = input.next_line() => {
                    let is_last = !matches!(line, Line::Text(_));
                    if let Some(answer) = self.answer(&line).await {
                        write(output, &answer).await?;
                    }
                    if is_last {
                        return line.into_result().map(drop);
                    }
                }
                // A page was full: there may be more, and it is looked at again.
                () = std::future::ready(()), if self.is_behind => {}
                event = self.events.recv() => match event {
                    Ok(event) => self.is_behind |= concerns(event),
                    Err(RecvError::Lagged(_)) => self.is_behind = true,
                    Err(RecvError::Closed) => return Ok(()),
                },
            }
        }
    }

    /// Takes note of what has happened so far.
    fn hear(&mut self) {
        loop {
            match self.events.try_recv() {
                Ok(event) => self.is_behind |= concerns(event),
                Err(TryRecvError::Lagged(_)) => self.is_behind = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Tells a page of what came in, where somebody wants that.
    async fn tell(&mut self, output: &mut (impl AsyncWrite + Unpin)) -> Result<(), Failed> {
        self.is_behind = false;
        let Some(told) = self.told else { return Ok(()) };
        let page = self.messenger.received_after(told, PAGE).await?;
        self.is_behind = page.len() == PAGE as usize;
        let mut names = Names::read(self.messenger).await?;
        names.meet(self.messenger, &page).await?;
        for said in &page {
            write(output, &envelope::notification("message", &message::object(said, &names))).await?;
            self.told = Some(said.arrival);
        }
        Ok(())
    }
}

/// Whether a message may have come in.
const fn concerns(event: Event) -> bool {
    match event {
        Event::MessageReceived(_) => true,
        Event::MessagesChanged
        | Event::ContactsChanged
        | Event::LiveChanged(_)
        | Event::ConnectionsChanged
        | Event::SearchIndexed => false,
    }
}

/// A line, written before anything else is done.
async fn write(output: &mut (impl AsyncWrite + Unpin), object: &serde_json::Value) -> Result<(), Failed> {
    let line = readable::json(object) + "\n";
    let written = async {
        output.write_all(line.as_bytes()).await?;
        output.flush().await
    };
    written.await.map_err(|error: std::io::Error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failed::new(READER_LEFT, "nobody reads any more"),
        _ => Failed::new("output_failed", "the results could not be printed"),
    })
}
