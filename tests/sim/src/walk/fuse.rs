//! A fuse: it hears of every step of a device and burns through at one of them. From then on the device is dead: nothing is written,
//! nothing sent, nothing kept.
//!
//! Steps are the statements and commits of the database, and the calls to the network and to the keystore, each before and after.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sotto_core::danger::{StepHook, StoreStep};
use sotto_core::world::{
    Answer, BoxFuture, Call, RelayStream, SecretStore, SecretStoreError, Transport, TransportError,
};
use sotto_protocol::{Bytes, RelayAddress};
use zeroize::Zeroizing;

/// How a device dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Death {
    /// Every step from that one on fails.
    Failing,
    /// The process is aborted.
    Abort,
}

/// See the file's story. Clones are the same fuse.
#[derive(Clone)]
pub(crate) struct Fuse(Arc<Mutex<Inner>>);

struct Inner {
    death: Death,
    burns_at: u64,
    steps: u64,
    is_burnt: bool,
    /// What each step was, told apart by what it does and where.
    met: BTreeSet<String>,
}

impl Fuse {
    /// One that burns through at no step yet.
    pub(crate) fn new(death: Death) -> Self {
        let inner = Inner { death, burns_at: u64::MAX, steps: 0, is_burnt: false, met: BTreeSet::new() };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It burns through at the `step`th step from now.
    pub(crate) fn arm(&self, step: u64) {
        let mut inner = self.inner();
        (inner.steps, inner.burns_at, inner.is_burnt) = (0, step, false);
    }

    /// It is whole, for good.
    pub(crate) fn disarm(&self) {
        self.arm(u64::MAX);
    }

    /// Whether the device died.
    pub(crate) fn is_burnt(&self) -> bool {
        self.inner().is_burnt
    }

    /// Every kind of step that was met.
    pub(crate) fn met(&self) -> BTreeSet<String> {
        self.inner().met.clone()
    }

    /// One step. Says whether the device lives on.
    fn lives(&self, what: &str, part: &str) -> bool {
        let mut inner = self.inner();
        if inner.is_burnt {
            return false;
        }
        inner.steps += 1;
        if inner.steps == inner.burns_at {
            if inner.death == Death::Abort {
                std::process::abort();
            }
            inner.is_burnt = true;
        }
        let mut step = String::with_capacity(what.len() + part.len() + 1);
        let _ = write!(step, "{what} {part}");
        inner.met.insert(step);
        !inner.is_burnt
    }

    /// What a profile's database tells.
    pub(crate) fn hook(&self) -> StepHook {
        let fuse = self.clone();
        Arc::new(move |step| match step {
            StoreStep::Write(sql) => fuse.lives("write", sql),
            StoreStep::Commit => fuse.lives("commit", "before"),
            StoreStep::Committed => fuse.lives("commit", "after"),
        })
    }

    /// The same keystore, by way of the fuse.
    pub(crate) fn secrets(&self, secrets: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        Arc::new(Fused { fuse: self.clone(), of: secrets })
    }

    /// The same network, likewise.
    pub(crate) fn transport(&self, transport: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(Fused { fuse: self.clone(), of: transport })
    }
}

struct Fused<T> {
    fuse: Fuse,
    of: T,
}

impl Fused<Arc<dyn SecretStore>> {
    fn ask<T>(
        &self,
        what: &str,
        name: &str,
        ask: impl FnOnce() -> Result<T, SecretStoreError>,
    ) -> Result<T, SecretStoreError> {
        let lives = |part: &str| {
            if self.fuse.lives(what, &format!("{name} {part}")) { Ok(()) } else { Err(SecretStoreError::Failed) }
        };
        lives("before")?;
        let answer = ask()?;
        lives("after")?;
        Ok(answer)
    }
}

impl SecretStore for Fused<Arc<dyn SecretStore>> {
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SecretStoreError> {
        self.ask("keystore get", name, || self.of.get(name))
    }

    fn put(&self, name: &str, secret: &[u8]) -> Result<(), SecretStoreError> {
        self.ask("keystore put", name, || self.of.put(name, secret))
    }

    fn delete(&self, name: &str) -> Result<(), SecretStoreError> {
        self.ask("keystore delete", name, || self.of.delete(name))
    }

    fn list(&self) -> Result<Vec<String>, SecretStoreError> {
        self.ask("keystore list", "", || self.of.list())
    }
}

impl Transport for Fused<Arc<dyn Transport>> {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, TransportError>> {
        Box::pin(async move {
            let path = call.path;
            if !self.fuse.lives("call before", path) {
                return Err(TransportError::Unreachable);
            }
            let answer = self.of.call(call).await?;
            if self.fuse.lives("call after", path) { Ok(answer) } else { Err(TransportError::Broken) }
        })
    }

    fn stream(&self, relay: &RelayAddress) -> BoxFuture<'_, Result<Box<dyn RelayStream>, TransportError>> {
        let relay = relay.clone();
        Box::pin(async move {
            if !self.fuse.lives("stream", "opens") {
                return Err(TransportError::Unreachable);
            }
            let stream = self.of.stream(&relay).await?;
            Ok(Box::new(Fused { fuse: self.fuse.clone(), of: stream }) as Box<dyn RelayStream>)
        })
    }
}

impl RelayStream for Fused<Box<dyn RelayStream>> {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            if !self.fuse.lives("stream", "before a frame leaves") {
                return Err(TransportError::Broken);
            }
            self.of.send(frame).await?;
            if self.fuse.lives("stream", "after a frame left") { Ok(()) } else { Err(TransportError::Broken) }
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
        Box::pin(async move {
            let frame = self.of.next().await;
            if frame.is_some() && !self.fuse.lives("stream", "a frame has come") {
                return Some(Err(TransportError::Broken));
            }
            frame
        })
    }
}
