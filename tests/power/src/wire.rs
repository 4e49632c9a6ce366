//! What passes between devices and their relay: a memory of it, and the promises that it shows broken.
//!
//! It stands between an engine and the simulated network. A machine without power sends nothing and hears nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sotto_core::world::{
    Answer, BoxFuture, Call, RelayStream, SecretStore, SecretStoreError, Transport, TransportError,
};
use sotto_protocol::relay::{Send, SendOutcome, SendResults, ServerFrame, server_frame::Frame};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message as _, RelayAddress};
use sotto_sim::MemorySecrets;

use crate::Machine;
use crate::play::Violation;

type Envelope = Bytes;
type Inbox = Bytes;

/// What relays said, whoever heard it.
#[derive(Clone, Default)]
pub(crate) struct Wire(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    accepted: BTreeSet<(Inbox, Envelope)>,
    delivered: BTreeSet<(Inbox, Envelope)>,
    numbers: BTreeMap<(Inbox, u64), Envelope>,
    acked: BTreeMap<Inbox, u64>,
    violation: Option<Violation>,
}

impl Wire {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many envelopes a relay said it had accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.said().accepted.len() as u64
    }

    /// Whether everything that was accepted was delivered, once everybody has fetched what waited.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        let said = self.said();
        if let Some(violation) = &said.violation {
            return Err(violation.clone());
        }
        let lost = said.accepted.difference(&said.delivered).count();
        if lost == 0 { Ok(()) } else { Err(Violation(format!("{lost} envelopes were accepted and never delivered"))) }
    }

    fn answered(&self, request: &Bytes, answer: &Answer) {
        let (Ok(request), Ok(results)) = (Send::decode(request.clone()), SendResults::decode(answer.body.clone()))
        else {
            return;
        };
        for (item, result) in request.items.into_iter().zip(results.results) {
            if result.outcome == i32::from(SendOutcome::Accepted) {
                self.said().accepted.insert((item.inbox, item.envelope));
            }
        }
    }

    fn heard(&self, frame: &Bytes) {
        let Ok(ServerFrame { frame: Some(frame) }) = ServerFrame::decode(frame.clone()) else { return };
        let mut said = self.said();
        match frame {
            Frame::Attached(attached) => {
                let before = said.acked.insert(attached.inbox, attached.acked).unwrap_or(0);
                if before > attached.acked {
                    said.violation = Some(Violation("less is acknowledged than was said before".to_owned()));
                }
            }
            Frame::Deliveries(deliveries) => {
                for delivery in deliveries.deliveries {
                    let (inbox, envelope) = (deliveries.inbox.clone(), delivery.envelope);
                    let known = said.numbers.insert((inbox.clone(), delivery.sequence), envelope.clone());
                    if known.is_some_and(|known| known != envelope) {
                        said.violation = Some(Violation(format!("number {} was used twice", delivery.sequence)));
                    }
                    said.delivered.insert((inbox, envelope));
                }
            }
            _ => {}
        }
    }
}

/// The network as a machine with that power reaches it.
pub(crate) struct Line {
    pub(crate) network: Arc<dyn Transport>,
    pub(crate) machine: Machine,
    pub(crate) wire: Wire,
}

impl Line {
    fn check(&self) -> Result<(), TransportError> {
        if self.machine.is_cut() { Err(TransportError::Broken) } else { Ok(()) }
    }
}

impl Transport for Line {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, TransportError>> {
        Box::pin(async move {
            self.check()?;
            let (path, body) = (call.path, call.body.clone());
            let answer = self.network.call(call).await?;
            if path == path::SEND && answer.status == 200 {
                self.wire.answered(&body, &answer);
            }
            self.check()?;
            Ok(answer)
        })
    }

    fn stream(&self, relay: &RelayAddress) -> BoxFuture<'_, Result<Box<dyn RelayStream>, TransportError>> {
        let stream = self.network.stream(relay);
        Box::pin(async move {
            self.check()?;
            let tapped = Tapped { stream: stream.await?, machine: self.machine.clone(), wire: self.wire.clone() };
            Ok(Box::new(tapped) as Box<dyn RelayStream>)
        })
    }
}

struct Tapped {
    stream: Box<dyn RelayStream>,
    machine: Machine,
    wire: Wire,
}

impl RelayStream for Tapped {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), TransportError>> {
        if self.machine.is_cut() {
            return Box::pin(async { Err(TransportError::Broken) });
        }
        self.stream.send(frame)
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
        Box::pin(async move {
            let frame = self.stream.next().await;
            if self.machine.is_cut() {
                return Some(Err(TransportError::Broken));
            }
            if let Some(Ok(frame)) = &frame {
                self.wire.heard(frame);
            }
            frame
        })
    }
}

/// A keystore that keeps everything at once, and does nothing without power.
pub(crate) struct Keystore {
    pub(crate) secrets: MemorySecrets,
    pub(crate) machine: Machine,
}

impl Keystore {
    fn check(&self) -> Result<(), SecretStoreError> {
        if self.machine.is_cut() { Err(SecretStoreError::Failed) } else { Ok(()) }
    }
}

impl SecretStore for Keystore {
    fn get(&self, name: &str) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, SecretStoreError> {
        self.check().and_then(|()| self.secrets.get(name))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), SecretStoreError> {
        self.check().and_then(|()| self.secrets.put(name, secret))
    }

    fn delete(&self, name: &str) -> Result<(), SecretStoreError> {
        self.check().and_then(|()| self.secrets.delete(name))
    }

    fn list(&self) -> Result<Vec<String>, SecretStoreError> {
        self.check().and_then(|()| self.secrets.list())
    }
}
