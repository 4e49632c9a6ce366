//! Typed relay calls: protobuf in, protobuf or a typed refusal out.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use sotto_protocol::limits::DATED_AHEAD_MAX;
use sotto_protocol::request::{Authorization, path};
use sotto_protocol::{
    Bytes, ChainId, Message, RelayAddress, RelayName, Timestamp, VersionGap, Versions, decode, relay,
};

use crate::relay_clocks::RelayClocks;
use crate::world::{Answer, Call, Clock, Isolation, Rng, Transport, TransportError};

/// The longest code that a refusal may carry: ours are shorter. Codes are shown and logged, so they are words and nothing else.
const CODE_BYTES_MAX: usize = 32;
/// The largest answer that is decoded.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Why a relay call brought nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RelayError {
    /// The relay was not reached: try again, or another one.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The relay refused, and said why.
    #[error("the relay refused: {}", .0.code)]
    Refused(Problem),
    /// New users must show a code of its operator's, and none was given.
    #[error("the relay asks new users for a code")]
    AsksForCode,
    /// New users must do more work than any honest relay asks for.
    #[error("the relay asks for a proof of work of {bits} bits")]
    AsksForWork {
        /// Leading zero bits.
        bits: u32,
    },
    /// The relay's clock and ours are more than a day apart.
    #[error("the relay's clock and this device's are more than a day apart")]
    ClocksApart,
    /// The relay sent what no relay sends.
    #[error("the relay's answer makes no sense")]
    Malformed,
    /// The relay says that more was acknowledged than we know of, and cannot show our word for it.
    #[error("the relay claims what it cannot prove")]
    Unproven,
}

/// A relay's refusal (RFC 9457), as far as a client acts on it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Problem {
    /// Stable code, see `docs/protocol.md`.
    pub code: String,
    /// When another try makes sense.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// The relay's clock, where ours is the problem.
    #[serde(default)]
    pub now_ms: Option<u64>,
    /// The head that a chain has, in base64url, where another one was expected.
    #[serde(default)]
    pub head_hash: Option<String>,
    /// The oldest version of the protocol that the relay speaks, where ours is not among its own.
    #[serde(default)]
    pub min: Option<u32>,
    /// The newest one.
    #[serde(default)]
    pub max: Option<u32>,
}

impl Problem {
    /// What refuses every call of this program, if that is what it is. A relay that names no versions has left ours behind.
    pub(crate) fn version_gap(&self) -> Option<VersionGap> {
        if self.code != "upgrade_required" {
            return None;
        }
        let spoken = self.min.zip(self.max).map(|(min, max)| Versions { min, max });
        Some(spoken.and_then(Versions::gap).unwrap_or(VersionGap::OursIsOlder))
    }

    /// The head that a chain has, where another one was expected.
    pub(crate) fn head_hash(&self) -> Option<[u8; 32]> {
        let hash = BASE64URL_NOPAD.decode(self.head_hash.as_deref()?.as_bytes()).ok()?;
        hash.try_into().ok()
    }
}

/// The relay's page about itself, as far as a client acts on it.
#[derive(Deserialize)]
struct WellKnown {
    min: u32,
    max: u32,
    #[serde(default)]
    features: Vec<String>,
}

impl RelayError {
    /// Whether the same call may succeed later, unchanged.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Transport(TransportError::Versions(VersionGap::OursIsOlder))
            | Self::AsksForCode
            | Self::AsksForWork { .. } => false,
            Self::Transport(_) | Self::ClocksApart | Self::Malformed | Self::Unproven => true,
            Self::Refused(problem) => {
                matches!(
                    problem.code.as_str(),
                    "unavailable" | "rate_limited" | "full" | "clock_skew" | "replayed" | "overtaken"
                )
            }
        }
    }

    /// Whether the answer was no, and not none: other calls to that relay may succeed.
    pub(crate) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::AsksForCode | Self::AsksForWork { .. })
    }

    /// Whether the relay said exactly this.
    pub(crate) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Refused(problem) if problem.code == code)
    }

    /// How long the relay asks to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after_ms.map(Duration::from_millis),
            Self::Transport(_)
            | Self::AsksForCode
            | Self::AsksForWork { .. }
            | Self::ClocksApart
            | Self::Malformed
            | Self::Unproven => None,
        }
    }
}

/// What signs a call: a key of one inbox or one chain.
pub(crate) trait Signer: Sync {
    /// Signs a call of this relay, made now.
    fn authorize(&self, relay: &RelayName, path: &str, body: &[u8], time: Timestamp, rng: &dyn Rng) -> Authorization;
}

/// Relay calls over a [`Transport`].
#[derive(Clone)]
pub(crate) struct RelayClient {
    transport: Arc<dyn Transport>,
    rng: Arc<dyn Rng>,
    /// Signatures are made on the time of the relay that they are for.
    clocks: Arc<RelayClocks>,
}

impl RelayClient {
    pub(crate) fn new(transport: Arc<dyn Transport>, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self { transport, rng, clocks: Arc::new(RelayClocks::new(clock)) }
    }

    pub(crate) fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// An anonymous call, about what is not ours.
    pub(crate) async fn anonymous<R: Message + Default>(
        &self,
        relay: &RelayAddress,
        path: &'static str,
        body: &impl Message,
    ) -> Result<R, RelayError> {
        self.unsigned(relay, Isolation::Anonymous, path, body).await
    }

    /// A call that nobody signs. About what is ours it goes neither where we sign nor where we send (PROTOCOL A7).
    pub(crate) async fn unsigned<R: Message + Default>(
        &self,
        relay: &RelayAddress,
        isolation: Isolation,
        path: &'static str,
        body: &impl Message,
    ) -> Result<R, RelayError> {
        let body = body.encode_to_vec().into();
        let call = Call { relay: relay.clone(), isolation, path, body, authorization: None };
        read_answer(self.transport.call(call).await?)
    }

    /// The end of a chain of ours, asked for on a connection of its own: nobody else reads some of them, so whatever leaves on a
    /// connection that asks for one is its owner's (PROTOCOL A7).
    pub(crate) async fn end_of_own_chain(
        &self,
        relay: &RelayAddress,
        chain: ChainId,
    ) -> Result<relay::ChainEntries, RelayError> {
        let body = relay::ChainRead { chain: chain.into(), from: u64::MAX };
        self.unsigned(relay, Isolation::Reading(chain), path::CHAIN_READ, &body).await
    }

    /// What a relay says of itself to everybody. Asked on the connection of what it is asked for: only who makes something asks.
    pub(crate) async fn features(&self, relay: &RelayAddress, isolation: Isolation) -> Result<Vec<String>, RelayError> {
        let path = path::WELL_KNOWN;
        let call = Call { relay: relay.clone(), isolation, path, body: Bytes::new(), authorization: None };
        let answer = self.transport.call(call).await?;
        if answer.status != 200 {
            return read_answer::<relay::PrekeyCount>(answer).and(Err(RelayError::Malformed));
        }
        let known: WellKnown = serde_json::from_slice(&answer.body).map_err(|_| RelayError::Malformed)?;
        match (Versions { min: known.min, max: known.max }).gap() {
            Some(gap) => Err(TransportError::Versions(gap).into()),
            None => Ok(known.features),
        }
    }

    /// A signed call. Where the relay says that our clock is off, once more on its time.
    pub(crate) async fn signed<R: Message + Default>(
        &self,
        relay: &RelayAddress,
        isolation: Isolation,
        path: &'static str,
        body: Bytes,
        signer: &dyn Signer,
    ) -> Result<R, RelayError> {
        self.signed_on_its_time(relay, isolation, path, body, signer, Duration::MAX).await
    }

    /// A signed call that makes what is dated for good: not where the relay's clock and ours are more than a day apart. One of the two is
    /// wrong, and nobody here knows which.
    pub(crate) async fn signed_where_clocks_agree<R: Message + Default>(
        &self,
        relay: &RelayAddress,
        isolation: Isolation,
        path: &'static str,
        body: Bytes,
        signer: &dyn Signer,
    ) -> Result<R, RelayError> {
        self.signed_on_its_time(relay, isolation, path, body, signer, DATED_AHEAD_MAX).await
    }

    async fn signed_on_its_time<R: Message + Default>(
        &self,
        relay: &RelayAddress,
        isolation: Isolation,
        path: &'static str,
        body: Bytes,
        signer: &dyn Signer,
        apart_max: Duration,
    ) -> Result<R, RelayError> {
        match self.signed_once(relay, isolation, path, body.clone(), signer).await {
            Err(RelayError::Refused(Problem { code, now_ms: Some(now_ms), .. })) if code == "clock_skew" => {
                let apart = Duration::from_millis(now_ms.abs_diff(self.clocks.own_now().as_ms()));
                if apart > apart_max {
                    return Err(RelayError::ClocksApart);
                }
                self.learn_clock(relay.name(), Timestamp::from_ms(now_ms));
                self.clocks.sign_anew(relay.name());
                self.signed_once(relay, isolation, path, body, signer).await
            }
            answer => answer,
        }
    }

    async fn signed_once<R: Message + Default>(
        &self,
        relay: &RelayAddress,
        isolation: Isolation,
        path: &'static str,
        body: Bytes,
        signer: &dyn Signer,
    ) -> Result<R, RelayError> {
        let authorization =
            signer.authorize(relay.name(), path, &body, self.clocks.sign_at(relay.name()), &*self.rng).to_string();
        let call = Call { relay: relay.clone(), isolation, path, body, authorization: Some(authorization) };
        read_answer(self.transport.call(call).await?)
    }

    /// Sends a batch; as many results as items.
    pub(crate) async fn send(
        &self,
        relay: &RelayAddress,
        batch: &relay::Send,
    ) -> Result<Vec<relay::SendResult>, RelayError> {
        let answer: relay::SendResults = self.anonymous(relay, path::SEND, batch).await?;
        if answer.results.len() == batch.items.len() { Ok(answer.results) } else { Err(RelayError::Malformed) }
    }

    /// Remembers a relay's clock.
    pub(crate) fn learn_clock(&self, relay: &RelayName, relay_now: Timestamp) {
        self.clocks.learn(relay, relay_now);
    }

    /// Whether any relay has told its time.
    pub(crate) fn has_heard_the_time(&self) -> bool {
        self.clocks.heard_now().is_some()
    }

    /// Now, on relay time where any relay has told it: what relays date and judge is made on it.
    pub(crate) fn network_now(&self) -> Timestamp {
        self.clocks.heard_now().unwrap_or_else(|| self.clocks.own_now())
    }

    /// A time that has passed by our clock and by the relays': what destroys something waits for it, so that one wild clock destroys
    /// nothing. There is none until a relay has told its time: our clock alone is one clock.
    pub(crate) fn sure_now(&self) -> Option<Timestamp> {
        self.clocks.heard_now().map(|heard_now| heard_now.min(self.clocks.own_now()))
    }
}

fn read_answer<R: Message + Default>(answer: Answer) -> Result<R, RelayError> {
    if answer.status == 200 {
        return decode::shared(answer.body, ANSWER_BYTES_MAX).map_err(|_| RelayError::Malformed);
    }
    let problem: Problem = serde_json::from_slice(&answer.body).map_err(|_| RelayError::Malformed)?;
    let is_word = |code: &str| code.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_');
    if problem.code.is_empty() || problem.code.len() > CODE_BYTES_MAX || !is_word(&problem.code) {
        return Err(RelayError::Malformed);
    }
    Err(match problem.version_gap() {
        Some(gap) => TransportError::Versions(gap).into(),
        None => RelayError::Refused(problem),
    })
}

#[cfg(test)]
mod tests {
    use sotto_protocol::PROTOCOL_VERSION;

    use super::*;

    fn refusal(code: &str) -> RelayError {
        refused(&serde_json::json!({ "status": 403, "code": code }))
    }

    fn refused(body: &serde_json::Value) -> RelayError {
        let body = body.to_string();
        let answer: Result<relay::PrekeyCount, _> = read_answer(Answer { status: 403, body: body.into() });
        answer.map(drop).unwrap_err()
    }

    #[test]
    fn a_relay_that_does_not_speak_our_version_is_told_from_one_that_refuses() {
        let ours = PROTOCOL_VERSION;
        let unspoken = |min, max| {
            let body = serde_json::json!({ "status": 426, "code": "upgrade_required", "min": min, "max": max });
            let error = crate::Error::from(refused(&body));
            (error.code(), error.is_retryable())
        };
        assert_eq!(unspoken(ours + 1, ours + 2), ("upgrade_required", false));
        assert_eq!(unspoken(0, ours - 1), ("relay_outdated", true));
        assert_eq!(crate::Error::from(refusal("upgrade_required")).code(), "upgrade_required", "it names no versions");
    }

    #[test]
    fn a_relay_refuses_with_a_word_or_makes_no_sense() {
        assert!(refusal("rate_limited").is("rate_limited"));
        assert!(refusal("overtaken").is_retryable() && !refusal("refused").is_retryable());
        let long = "a".repeat(CODE_BYTES_MAX + 1);
        for code in ["", "\u{1b}[2Jgone", "two words", "line\nline", "\u{202e}desufer", "Refused", &long] {
            assert_eq!(refusal(code), RelayError::Malformed, "{code:?}");
        }
    }
}
