//! The relay without sockets: a call in, an answer out.
//!
//! The HTTP shell and an in-process transport pass through exactly this code. Time comes in as an argument, randomness where a
//! stream is opened; writes are answered once they are on stable storage.
//! Not here: connections, TLS, timeouts (`shell`), what a stream says (`stream.rs`), what is stored (`store`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::encoding::{DecodeContext, decode_key, skip_field};
use serde_json::json;
use sotto_protocol::decode::{self, DecodeError};
use sotto_protocol::limits::BODY_BYTES_MAX;
use sotto_protocol::request::path;
use sotto_protocol::{Message, RelayName, Timestamp, Versions};

use crate::auth::{PeekNonces, Request, anonymous, signed};
use crate::hub::Hub;
use crate::limits::BODY_FIELDS_MAX;
use crate::metrics::Metrics;
use crate::policy::InboxPolicy;
use crate::problem::{Problem, Response};
use crate::store::{Caller, Denied, MailboxStore, PublicKey, Swept};
use crate::stream::StreamSession;

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// What signatures must name.
    pub name: RelayName,
    /// Who may create inboxes and chains.
    pub inbox_policy: InboxPolicy,
    /// Leading zero bits that creating an inbox or a chain costs; 0: none.
    pub proof_of_work_bits: u32,
    /// The versions of the protocol that are answered.
    pub versions: Versions,
}

impl RelayConfig {
    /// An open relay of that name.
    #[must_use]
    pub const fn open(name: RelayName) -> Self {
        Self { name, inbox_policy: InboxPolicy::Open, proof_of_work_bits: 0, versions: Versions::SPOKEN }
    }
}

/// See the file's story.
pub struct Relay {
    pub(crate) store: Arc<dyn MailboxStore>,
    pub(crate) config: RelayConfig,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Metrics,
    peeks: Mutex<PeekNonces>,
}

impl Relay {
    /// A relay on `store`, started at `now`.
    #[must_use]
    pub fn new(store: Arc<dyn MailboxStore>, config: RelayConfig, now: Timestamp) -> Arc<Self> {
        let hub = Arc::new(Hub::default());
        store.observe(Arc::clone(&hub) as Arc<_>);
        Arc::new(Self { store, config, hub, metrics: Metrics::default(), peeks: Mutex::new(PeekNonces::new(now)) })
    }

    /// The name that signatures must name.
    #[must_use]
    pub const fn name(&self) -> &RelayName {
        &self.config.name
    }

    /// Its counters.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How many inboxes are attached.
    #[must_use]
    pub fn attached_count(&self) -> usize {
        self.hub.count()
    }

    /// Answers a call.
    pub async fn handle(&self, request: Request, now: Timestamp) -> Response {
        let response = match self.answer(&request, now).await {
            Ok(response) => response,
            Err(problem) => self.refuse(problem, now),
        };
        self.metrics.answered(&request.path, response.status);
        response
    }

    /// A problem as an answer of this relay's.
    pub(crate) fn refuse(&self, problem: Problem, now: Timestamp) -> Response {
        problem.response(now, self.config.versions)
    }

    /// Whether a client that says this version, or none, is answered: the first thing that is asked of it, on streams too.
    ///
    /// # Errors
    /// [`Problem::UpgradeRequired`]; or it says what is no version.
    pub fn check_version(&self, version: Option<&str>) -> Result<(), Problem> {
        match Versions::said(version) {
            None => Err(Problem::BadRequest),
            Some(version) if self.config.versions.contains(version) => Ok(()),
            Some(_) => Err(Problem::UpgradeRequired),
        }
    }

    /// Opens a stream; `challenge` must be random. The first frame is waiting in it.
    #[must_use]
    pub fn open_stream(self: &Arc<Self>, challenge: [u8; 32], now: Timestamp) -> StreamSession {
        StreamSession::new(Arc::clone(self), challenge, now)
    }

    /// Removes a bounded amount of what is due. To be called every minute, and again at once while more is due.
    ///
    /// `elapsed` is what a monotonic clock says passed since the last call that succeeded, or since the start: by it, and not by
    /// `now`, the relay knows how much time has passed; a wall clock that is ahead is believed after a day of agreement.
    ///
    /// # Errors
    /// [`Denied::Unavailable`] when the store cannot be written now.
    pub async fn sweep(&self, now: Timestamp, elapsed: Duration) -> Result<Swept, Denied> {
        self.store.sweep(now, elapsed).await
    }

    /// Empties the store's log, so that nothing deleted stays in it. To be called now and then, and before stopping.
    ///
    /// # Errors
    /// [`Denied::Unavailable`] when somebody is reading; ask again.
    pub async fn checkpoint(&self) -> Result<(), Denied> {
        self.store.checkpoint().await
    }

    async fn answer(&self, request: &Request, now: Timestamp) -> Result<Response, Problem> {
        if request.path == path::WELL_KNOWN && request.method == "GET" {
            return Ok(self.well_known());
        }
        if request.method != "POST" {
            return Err(Problem::NotFound);
        }
        self.check_version(request.version.as_deref())?;
        let signer = || signed(request, &self.config.name, now);
        match request.path.as_str() {
            path::SEND => self.send(unsigned(request)?, now).await,
            path::PREKEY_CLAIM => self.claim_prekey(unsigned(request)?, now).await,
            path::CHAIN_READ => self.read_chain(unsigned(request)?).await,
            path::INBOX_CREATE => self.create_inbox(signer()?, body(request)?).await,
            path::INBOX_DELETE => self.delete_inbox(signer()?, body(request)?).await,
            path::INBOX_MANAGE_KEY => self.replace_manage_key(signer()?, body(request)?).await,
            path::INBOX_PEEK => self.peek(signer()?, body(request)?, now).await,
            path::TOKEN_PUT => self.put_tokens(signer()?, body(request)?).await,
            path::TOKEN_DROP => self.drop_tokens(signer()?, body(request)?).await,
            path::PREKEY_PUT => self.put_prekeys(signer()?, body(request)?).await,
            path::CHAIN_APPEND => self.append_chain(signer()?, body(request)?).await,
            path::CHAIN_COMPACT => self.compact_chain(signer()?, body(request)?).await,
            path::CHAIN_DELETE => self.delete_chain(signer()?, body(request)?).await,
            _ => Err(Problem::NotFound),
        }
    }

    fn well_known(&self) -> Response {
        let mut features = Vec::new();
        if matches!(self.config.inbox_policy, InboxPolicy::Code(_)) {
            features.push("invite-code".to_owned());
        }
        if self.config.proof_of_work_bits > 0 {
            features.push(format!("proof-of-work-{}", self.config.proof_of_work_bits));
        }
        let Versions { min, max } = self.config.versions;
        Response::json(&json!({ "min": min, "max": max, "features": features }))
    }

    pub(crate) fn check_peek(&self, caller: &Caller, now: Timestamp) -> Result<(), Problem> {
        self.peeks.lock().unwrap_or_else(PoisonError::into_inner).check(caller, now)
    }

    pub(crate) fn spend_peek(&self, caller: &Caller, now: Timestamp) -> Result<(), Problem> {
        self.peeks.lock().unwrap_or_else(PoisonError::into_inner).spend(caller, now)
    }
}

/// The body of an anonymous call.
fn unsigned<M: Message + Default>(request: &Request) -> Result<M, Problem> {
    anonymous(request)?;
    body(request)
}

fn body<M: Message + Default>(request: &Request) -> Result<M, Problem> {
    at_most_fields(&request.body)?;
    Ok(decode::shared(request.body.clone(), BODY_BYTES_MAX)?)
}

/// Passes over the body without keeping anything: a megabyte of empty items would be a hundred of them decoded.
fn at_most_fields(mut body: &[u8]) -> Result<(), Problem> {
    at_most(body.len(), BODY_BYTES_MAX)?;
    for _ in 0..BODY_FIELDS_MAX {
        if body.is_empty() {
            return Ok(());
        }
        let (tag, wire_type) = decode_key(&mut body).map_err(|_| Problem::BadRequest)?;
        skip_field(wire_type, tag, &mut body, DecodeContext::default()).map_err(|_| Problem::BadRequest)?;
    }
    if body.is_empty() { Ok(()) } else { Err(Problem::TooLarge) }
}

/// An id of exactly its length.
pub(crate) fn id<T: for<'a> TryFrom<&'a [u8], Error = DecodeError>>(bytes: &[u8]) -> Result<T, Problem> {
    Ok(T::try_from(bytes)?)
}

/// An Ed25519 public key; whether it is one shows when it verifies something.
pub(crate) fn key(bytes: &[u8]) -> Result<PublicKey, Problem> {
    array(bytes)
}

pub(crate) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Problem> {
    bytes.try_into().map_err(|_| Problem::BadRequest)
}

pub(crate) fn at_most(count: usize, count_max: usize) -> Result<(), Problem> {
    if count <= count_max { Ok(()) } else { Err(Problem::TooLarge) }
}
