//! What a call is answered with: protobuf, or one of a closed set of problems (RFC 9457).
//!
//! A problem says what the caller can do now and nothing about why: an unknown inbox, a wrong key and a used-up token are one.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};
use sotto_protocol::decode::DecodeError;
use sotto_protocol::{Bytes, Message, Timestamp, Versions};

use crate::limits::{RETRY_BUSY_MS, RETRY_FULL_MS};
use crate::store::{Denied, Head};

/// The answer to a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// HTTP's number.
    pub status: u16,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Response {
    pub(crate) const PROTOBUF: &'static str = "application/x-protobuf";
    pub(crate) const PROBLEM: &'static str = "application/problem+json";
    pub(crate) const JSON: &'static str = "application/json";

    pub(crate) fn message(message: &impl Message) -> Self {
        Self { status: 200, content_type: Self::PROTOBUF, body: message.encode_to_vec().into() }
    }

    pub(crate) const fn empty() -> Self {
        Self { status: 200, content_type: Self::PROTOBUF, body: Bytes::new() }
    }

    pub(crate) fn json(value: &Value) -> Self {
        Self { status: 200, content_type: Self::JSON, body: value.to_string().into() }
    }
}

/// Why a call was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// Not such a message, or an id of the wrong length.
    BadRequest,
    /// An anonymous call that says who calls.
    CredentialRefused,
    /// No signature, or not by this key over this call.
    SignatureRefused,
    /// Signed too long ago, or in the future.
    ClockSkew,
    /// Signed and done before.
    Replayed,
    /// A call that was signed later was made already.
    Overtaken,
    /// There is no such thing, or the caller may not.
    Refused,
    /// No such call.
    NotFound,
    /// A chain's last entry is this one.
    Conflict(Head),
    /// The body, or something in it.
    TooLarge,
    /// A version that is not spoken here.
    UpgradeRequired,
    /// Too many of these today.
    RateLimited {
        /// When it is worth asking again.
        retry_after_ms: u64,
    },
    /// The owner's own bound is reached.
    Full,
    /// Not now.
    Unavailable,
}

impl Problem {
    const fn parts(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::BadRequest => (400, "bad_request", "The request is not what this call takes"),
            Self::CredentialRefused => (400, "credential_refused", "This call must not say who makes it"),
            Self::SignatureRefused => (401, "signature_refused", "The request is not signed as it must be"),
            Self::ClockSkew => (401, "clock_skew", "The request was signed at another time than now"),
            Self::Replayed => (401, "replayed", "The request was made before"),
            Self::Refused => (403, "refused", "Refused"),
            Self::NotFound => (404, "not_found", "There is no such call"),
            Self::Overtaken => (409, "overtaken", "A call that was signed later was made before this one"),
            Self::Conflict(_) => (409, "conflict", "The chain has another head"),
            Self::TooLarge => (413, "too_large", "The request is too large"),
            Self::UpgradeRequired => (426, "upgrade_required", "This version is not spoken here"),
            Self::RateLimited { .. } => (429, "rate_limited", "Too many requests of this kind"),
            Self::Full => (507, "full", "There is no room"),
            Self::Unavailable => (503, "unavailable", "Not now"),
        }
    }

    const fn retry_after_ms(self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_ms } => Some(retry_after_ms),
            Self::Full => Some(RETRY_FULL_MS),
            Self::Unavailable => Some(RETRY_BUSY_MS),
            _ => None,
        }
    }

    /// As an answer at `now` of a relay that speaks these versions.
    #[must_use]
    pub fn response(self, now: Timestamp, spoken: Versions) -> Response {
        let (status, code, title) = self.parts();
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        put("status", status.into());
        put("title", title.into());
        put("code", code.into());
        if let Some(retry_after_ms) = self.retry_after_ms() {
            put("retry_after_ms", retry_after_ms.into());
        }
        match self {
            Self::ClockSkew => put("now_ms", now.as_ms().into()),
            Self::Conflict(head) => {
                put("head_index", head.index.into());
                put("head_hash", BASE64URL_NOPAD.encode(&head.hash).into());
            }
            Self::UpgradeRequired => {
                put("min", spoken.min.into());
                put("max", spoken.max.into());
            }
            _ => {}
        }
        Response { status, content_type: Response::PROBLEM, body: Value::Object(body).to_string().into() }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Refused => Self::Refused,
            Denied::Replayed => Self::Replayed,
            Denied::Overtaken => Self::Overtaken,
            Denied::Full => Self::Full,
            Denied::Conflict(head) => Self::Conflict(head),
            Denied::RateLimited { retry_after_ms } => Self::RateLimited { retry_after_ms },
            Denied::Unavailable => Self::Unavailable,
        }
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLong { .. } => Self::TooLarge,
            _ => Self::BadRequest,
        }
    }
}
