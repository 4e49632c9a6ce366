//! What devices sent to a relay, and when, and what it said to that, a line each: a second relay can be told the same.
//!
//! ```text
//! call NOW PATH AUTHORIZATION|- BODY STATUS ANSWER   a call, and what it was answered with
//! open STREAM NOW CHALLENGE                          a stream that began with this challenge
//! frame STREAM NOW BYTES                             what the device sent on it
//! delivered STREAM BYTES                             an envelope that the relay delivered on it, with its alias and number
//! ```
//! Times are milliseconds, bytes are hex. An authorization has spaces of its own: they are written as `~`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use sotto_core::world::{Answer, BoxFuture, Call, Clock, RelayStream, Transport, TransportError};
use sotto_protocol::relay::{ServerFrame, server_frame::Frame};
use sotto_protocol::{Bytes, Message as _, RelayAddress};

/// The space in an authorization.
pub const SPACE: &str = "~";

/// A network that writes down what passes.
#[derive(Clone)]
pub struct Recorder {
    network: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    record: Arc<Mutex<Record>>,
}

#[derive(Default)]
struct Record {
    lines: Vec<String>,
    streams: usize,
}

impl Recorder {
    /// In front of a network.
    #[must_use]
    pub fn new(network: Arc<dyn Transport>, clock: Arc<dyn Clock>) -> Self {
        Self { network, clock, record: Arc::default() }
    }

    /// Everything so far.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n", self.record().lines.join("\n"))
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.clock.now().as_ms()
    }
}

impl Transport for Recorder {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, TransportError>> {
        Box::pin(async move {
            let authorization =
                call.authorization.as_deref().map_or_else(|| "-".to_owned(), |it| it.replace(' ', SPACE));
            let (now, path, body) = (self.now(), call.path, HEXLOWER.encode(&call.body));
            let answer = self.network.call(call).await?;
            let answered = HEXLOWER.encode(&answer.body);
            let line = format!("call {now} {path} {authorization} {body} {} {answered}", answer.status);
            self.record().lines.push(line);
            Ok(answer)
        })
    }

    fn stream(&self, relay: &RelayAddress) -> BoxFuture<'_, Result<Box<dyn RelayStream>, TransportError>> {
        let stream = self.network.stream(relay);
        Box::pin(async move {
            let stream = stream.await?;
            Ok(Box::new(Tapped { stream, number: None, recorder: self.clone() }) as Box<dyn RelayStream>)
        })
    }
}

struct Tapped {
    stream: Box<dyn RelayStream>,
    number: Option<usize>,
    recorder: Recorder,
}

impl RelayStream for Tapped {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), TransportError>> {
        if let Some(number) = self.number {
            let line = format!("frame {number} {} {}", self.recorder.now(), HEXLOWER.encode(&frame));
            self.recorder.record().lines.push(line);
        }
        self.stream.send(frame)
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
        Box::pin(async move {
            let frame = self.stream.next().await;
            if let Some(Ok(bytes)) = &frame {
                self.heard(bytes);
            }
            frame
        })
    }
}

impl Tapped {
    fn heard(&mut self, frame: &Bytes) {
        let now = self.recorder.now();
        let mut record = self.recorder.record();
        match ServerFrame::decode(frame.clone()).ok().and_then(|frame| frame.frame) {
            Some(Frame::Challenge(challenge)) => {
                record.streams += 1;
                let line = format!("open {} {now} {}", record.streams, HEXLOWER.encode(&challenge.challenge));
                record.lines.push(line);
                self.number = Some(record.streams);
            }
            Some(Frame::Deliveries(deliveries)) => {
                let number = self.number.unwrap_or_default();
                let lines = deliveries.deliveries.iter().map(|delivery| HEXLOWER.encode(&delivery.encode_to_vec()));
                record.lines.extend(lines.map(|delivery| format!("delivered {number} {delivery}")));
            }
            _ => {}
        }
    }
}
