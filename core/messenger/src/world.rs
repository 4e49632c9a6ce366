//! The four doors to the world: network, time, chance and the platform's keystore.
//!
//! With all four faked, a whole network runs in one process on virtual time from one seed.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use sotto_protocol::{Bytes, ChainId, InboxId, RelayAddress, Timestamp, VersionGap};
use zeroize::Zeroizing;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Relay calls and the stream.
pub trait Transport: Send + Sync + 'static {
    /// One call, one answer, whatever its status.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, TransportError>>;

    /// Opens a stream to a relay. Its first frame is a challenge.
    fn stream(&self, relay: &RelayAddress) -> BoxFuture<'_, Result<Box<dyn RelayStream>, TransportError>>;

    /// Forgets pooled connections: the network changed, or the engine ends.
    fn reset(&self) {}

    /// Closes every connection, those with calls and streams under way too: the engine pauses. Ready when no socket is open.
    fn hang_up(&self) -> BoxFuture<'_, ()> {
        self.reset();
        Box::pin(std::future::ready(()))
    }
}

/// One call to a relay, as bytes.
pub struct Call {
    /// Where to.
    pub relay: RelayAddress,
    /// Whose connection it may travel on.
    pub isolation: Isolation,
    /// One of [`sotto_protocol::request::path`].
    pub path: &'static str,
    /// The protobuf body.
    pub body: Bytes,
    /// Value of the `authorization` header of a signed call.
    pub authorization: Option<String>,
}

/// Calls of different isolation never share a connection or a TLS session (PROTOCOL A7): otherwise a relay would learn which
/// pseudonyms belong to one device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Isolation {
    /// Unsigned calls.
    Anonymous,
    /// Calls signed by the owner or manage key of one inbox.
    Inbox(InboxId),
    /// Calls signed by the write key of one chain.
    Chain(ChainId),
    /// Readings of one chain of ours, unsigned: neither on a connection that signs nor where letters are sent.
    Reading(ChainId),
}

/// What a relay answered.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Protobuf when the status is 200, `application/problem+json` else.
    pub body: Bytes,
}

/// A connected stream. Dropping it closes it.
pub trait RelayStream: Send + 'static {
    /// Sends one client frame.
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), TransportError>>;

    /// The next server frame; `None` when the relay closed.
    /// Dropping the future before it is ready loses nothing.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>>;
}

/// Why a relay was not reached. Worth another try, but for the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection.
    #[error("the relay cannot be reached")]
    Unreachable,
    /// A connection, but not to the relay that the address names.
    #[error("the relay's certificate is not the one its address names")]
    WrongCertificate,
    /// No answer in time.
    #[error("the relay did not answer in time")]
    TimedOut,
    /// The connection broke, or carried what no relay sends.
    #[error("the connection to the relay broke")]
    Broken,
    /// A relay that speaks no version of the protocol that this program speaks. Other relays may.
    #[error("{}", gap_in_words(*.0))]
    Versions(VersionGap),
    /// Nobody was asked any more, or nobody waited for the answer: the engine pauses.
    #[error("the engine pauses")]
    Paused,
}

const fn gap_in_words(gap: VersionGap) -> &'static str {
    match gap {
        VersionGap::OursIsOlder => "this program is too old for the relay: upgrade it",
        VersionGap::TheirsIsOlder => "the relay is too old for this program",
    }
}

/// Time and waiting.
pub trait Clock: Send + Sync + 'static {
    /// Now, by the device's wall clock, which may jump.
    fn now(&self) -> Timestamp;

    /// Now, on a clock that never jumps. It may stand still while the device sleeps.
    fn instant(&self) -> Instant;

    /// Ready after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// Randomness for everything but vodozemac, which draws its own from the operating system.
pub trait Rng: Send + Sync + 'static {
    /// Fills `bytes` with unpredictable ones.
    fn fill(&self, bytes: &mut [u8]);
}

/// The platform's keystore. *Locked* and *failed* are never *absent*: absent means that it was never put, or deleted.
/// Never called while a database transaction is open.
pub trait SecretStore: Send + Sync + 'static {
    /// The secret of that name.
    ///
    /// # Errors
    /// See [`SecretStoreError`].
    fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SecretStoreError>;

    /// Stores or replaces it; durable once this returns.
    ///
    /// # Errors
    /// See [`SecretStoreError`].
    fn put(&self, name: &str, secret: &[u8]) -> Result<(), SecretStoreError>;

    /// Deletes it; harmless when it is absent.
    ///
    /// # Errors
    /// See [`SecretStoreError`].
    fn delete(&self, name: &str) -> Result<(), SecretStoreError>;

    /// All names.
    ///
    /// # Errors
    /// See [`SecretStoreError`].
    fn list(&self) -> Result<Vec<String>, SecretStoreError>;
}

/// Why the keystore did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretStoreError {
    /// The device is locked, or the user was not there to allow it. Later it will work.
    #[error("the keystore is locked")]
    Locked,
    /// The passphrase given does not open it.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// No room to keep it. The same call will work when there is.
    #[error("the disk is full: the keystore cannot be written")]
    Full,
    /// It does not work on this device right now.
    #[error("the keystore failed")]
    Failed,
}

/// The device's own clock, on tokio's timer.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH.after(since_epoch)
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, bytes: &mut [u8]) {
        use rand::Rng as _;
        rand::rng().fill_bytes(bytes);
    }
}

/// A borrowed [`Rng`] in the shape that the crypto crate takes.
pub(crate) struct Chance<'a>(pub(crate) &'a dyn Rng);

impl rand_core::TryRng for Chance<'_> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Chance<'_> {}

impl Chance<'_> {
    /// `N` random bytes.
    pub(crate) fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }

    /// Somewhere between the two, evenly.
    pub(crate) fn duration(&self, min: Duration, max: Duration) -> Duration {
        let span = u64::try_from(max.saturating_sub(min).as_millis()).unwrap_or(u64::MAX);
        min + Duration::from_millis(u64::from_le_bytes(self.bytes()) % span.saturating_add(1).max(1))
    }
}
