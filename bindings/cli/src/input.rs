//! Lines of standard input, one at a time: read where the command was typed, used where it runs.
//!
//! Invariant: a line is used once. One that was handed over to another process and not used there is given back and is the next one
//! again, so a command that moves between processes loses none and repeats none.

use std::io::{BufRead, Read as _};

use tokio::sync::mpsc;

use crate::failed::Failed;

/// Lines read ahead of the command.
const AHEAD: usize = 64;
/// One line of input: a text may have 64 KiB, and each of its bytes may be escaped.
pub(crate) const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// What standard input has next.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Line {
    /// A line, without its end.
    Text(String),
    /// No more.
    End,
    /// Something that is not text or has no end, or a stream that broke.
    Garbled,
}

/// Where a command gets its lines from.
pub(crate) trait Lines: Send {
    /// The next line; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<String>, Failed>> + Send;

    /// What is to be said: as it was typed, or for `-` a line of standard input, where no other user of the machine sees it.
    fn typed(&mut self, text: &str) -> impl Future<Output = Result<String, Failed>> + Send {
        async move { if text == "-" { Ok(self.next().await?.unwrap_or_default()) } else { Ok(text.to_owned()) } }
    }
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
                Err(Failed::new("input_failed", "standard input is not lines of text; what came before it was said"))
            }
        }
    }
}

/// A thread of its own, because nothing else can be read while a terminal waits for its user. It ends with the process.
fn start() -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        while let Some(line) = read_line(&mut input) {
            let is_last = line == Line::Garbled;
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// The next line of a stream, and never more than a line may have.
fn read_line(input: &mut impl BufRead) -> Option<Line> {
    let mut bytes = Vec::new();
    match input.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
        Ok(0) => return None,
        Ok(length) if length as u64 == LINE_BYTES_MAX && bytes.last() != Some(&b'\n') => return Some(Line::Garbled),
        Ok(_) => {}
        Err(_) => return Some(Line::Garbled),
    }
    let line = String::from_utf8(bytes).map(|line| {
        let line = line.strip_suffix('\n').unwrap_or(&line);
        line.strip_suffix('\r').unwrap_or(line).to_owned()
    });
    Some(line.map_or(Line::Garbled, Line::Text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_up_to_their_end_and_none_is_endless() {
        let mut input = "one\r\n\ntwo".as_bytes();
        let lines: Vec<_> = std::iter::from_fn(|| read_line(&mut input)).collect();
        assert_eq!(lines, ["one", "", "two"].map(|line| Line::Text(line.to_owned())));
        let longest = vec![b'x'; usize::try_from(LINE_BYTES_MAX).unwrap() - 1];
        assert!(matches!(read_line(&mut [&longest, &b"\n"[..]].concat().as_slice()), Some(Line::Text(_))));
        assert_eq!(read_line(&mut [&longest, &b"xx\n"[..]].concat().as_slice()), Some(Line::Garbled));
        assert_eq!(read_line(&mut &b"\xff\n"[..]), Some(Line::Garbled));
    }
}
