//! Lines of standard input, one at a time: read where the command was typed, used where it runs.
//!
//! Invariant: a line is used once. One that was handed over to another process and not used there is given back and is the next one
//! again, so a command that moves between processes loses none and repeats none.

use std::io::BufRead as _;

use tokio::sync::mpsc;

use crate::failed::Failed;

/// Lines read ahead of the command.
const AHEAD: usize = 64;

/// What standard input has next.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Line {
    /// A line, without its end.
    Text(String),
    /// No more.
    End,
    /// Something that is not text, or a stream that broke.
    Garbled,
}

/// Where a command gets its lines from.
pub(crate) trait Lines: Send {
    /// The next line; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<String>, Failed>> + Send;
}

/// This process's standard input.
#[derive(Default)]
pub(crate) struct StandardInput {
    /// From the thread that reads, once anybody asked for a line.
    read: Option<mpsc::Receiver<Line>>,
    given_back: Option<Line>,
}

impl StandardInput {
    pub(crate) async fn next_line(&mut self) -> Line {
        if let Some(line) = self.given_back.take() {
            return line;
        }
        self.read.get_or_insert_with(start).recv().await.unwrap_or(Line::End)
    }

    /// Nobody used this line.
    pub(crate) fn give_back(&mut self, line: Line) {
        self.given_back = Some(line);
    }
}

impl Lines for StandardInput {
    async fn next(&mut self) -> Result<Option<String>, Failed> {
        self.next_line().await.into_result()
    }
}

impl Line {
    pub(crate) fn into_result(self) -> Result<Option<String>, Failed> {
        match self {
            Self::Text(line) => Ok(Some(line)),
            Self::End => Ok(None),
            Self::Garbled => {
                Err(Failed::new("input_failed", "standard input is not text; what came before it was said"))
            }
        }
    }
}

/// A thread of its own, because nothing else can be read while a terminal waits for its user. It ends with the process.
fn start() -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let line = line.map_or(Line::Garbled, Line::Text);
            let is_last = line == Line::Garbled;
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}
