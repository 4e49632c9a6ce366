//! Signed relay calls: the `authorization` header and what its signature covers.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::decode::DecodeError;
use crate::label::{REQUEST, labelled};
use crate::{RelayName, Timestamp};

/// Paths of the calls, all `POST`.
pub mod path {
    /// Signed by the owner key in the body.
    pub const INBOX_CREATE: &str = "/v1/inbox/create";
    /// Owner key.
    pub const INBOX_DELETE: &str = "/v1/inbox/delete";
    /// Owner key.
    pub const INBOX_MANAGE_KEY: &str = "/v1/inbox/manage-key";
    /// Owner key.
    pub const INBOX_PEEK: &str = "/v1/inbox/peek";
    /// Manage key.
    pub const TOKEN_PUT: &str = "/v1/token/put";
    /// Manage key.
    pub const TOKEN_DROP: &str = "/v1/token/drop";
    /// Manage key.
    pub const PREKEY_PUT: &str = "/v1/prekey/put";
    /// Anonymous.
    pub const PREKEY_CLAIM: &str = "/v1/prekey/claim";
    /// Write key.
    pub const CHAIN_APPEND: &str = "/v1/chain/append";
    /// Write key.
    pub const CHAIN_COMPACT: &str = "/v1/chain/compact";
    /// Write key.
    pub const CHAIN_DELETE: &str = "/v1/chain/delete";
    /// Anonymous.
    pub const CHAIN_READ: &str = "/v1/chain/read";
    /// Anonymous.
    pub const SEND: &str = "/v1/send";
    /// The WebSocket.
    pub const STREAM: &str = "/v1/stream";
    /// Versions and features, JSON, `GET`.
    pub const WELL_KNOWN: &str = "/.well-known/sotto";
}

/// Header that names the version a client speaks.
pub const VERSION_HEADER: &str = "sotto-version";

const SCHEME: &str = "Sotto ";

/// The value of an `authorization` header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authorization {
    /// Ed25519 public key of the signer.
    pub key: [u8; 32],
    /// When it was signed.
    pub time: Timestamp,
    /// Random; a relay accepts it once.
    pub nonce: [u8; 16],
    /// Over [`signature_input`].
    pub signature: [u8; 64],
}

/// What the key signs.
#[must_use]
pub fn signature_input(
    relay: &RelayName,
    method: &str,
    path: &str,
    body: &[u8],
    time: Timestamp,
    nonce: &[u8; 16],
) -> Vec<u8> {
    let body_hash = Sha256::digest(body);
    let time = time.as_ms().to_be_bytes();
    labelled(REQUEST, &[relay.as_str().as_bytes(), method.as_bytes(), path.as_bytes(), &body_hash, &time, nonce])
}

impl fmt::Display for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let (key, nonce, signature) = (encode(&self.key), encode(&self.nonce), encode(&self.signature));
        write!(formatter, "{SCHEME}key={key}, time={}, nonce={nonce}, signature={signature}", self.time.as_ms())
    }
}

impl FromStr for Authorization {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let parameters = text.strip_prefix(SCHEME).ok_or(DecodeError::Malformed)?;
        let mut parts = parameters.split(", ");
        let mut next = |name: &'static str| {
            let part = parts.next().ok_or(DecodeError::Missing { what: name })?;
            part.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).ok_or(DecodeError::Missing { what: name })
        };
        let key = decode_array(next("key")?)?;
        let time = next("time")?;
        let time = time
            .parse()
            .ok()
            .filter(|_| time.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or(DecodeError::Malformed)?;
        let nonce = decode_array(next("nonce")?)?;
        let signature = decode_array(next("signature")?)?;
        if parts.next().is_some() {
            return Err(DecodeError::TrailingBytes);
        }
        Ok(Self { key, time: Timestamp::from_ms(time), nonce, signature })
    }
}

fn decode_array<const N: usize>(text: &str) -> Result<[u8; N], DecodeError> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| DecodeError::NotBase64)?;
    bytes.as_slice().try_into().map_err(|_| DecodeError::WrongLength { what: "authorization", length: bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Authorization {
        Authorization { key: [1; 32], time: Timestamp::from_ms(1_700_000_000_000), nonce: [2; 16], signature: [3; 64] }
    }

    #[test]
    fn an_authorization_comes_back_as_it_was() {
        assert_eq!(example().to_string().parse(), Ok(example()));
    }

    #[test]
    fn damaged_authorizations_are_refused() {
        let good = example().to_string();
        for bad in [
            String::new(),
            good.replace("Sotto", "Basic"),
            good.replace("time=", "time=+"),
            good.replace(", nonce", ",nonce"),
            format!("{good}, more=1"),
            good.trim_end_matches(|letter| letter != ',').to_owned(),
        ] {
            assert!(bad.parse::<Authorization>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_signature_covers_every_part() {
        let relay = RelayName::parse("relay.example", 443).unwrap();
        let other = RelayName::parse("other.example", 443).unwrap();
        let time = Timestamp::from_ms(5);
        let inputs = [
            signature_input(&relay, "POST", "/a", b"body", time, &[0; 16]),
            signature_input(&other, "POST", "/a", b"body", time, &[0; 16]),
            signature_input(&relay, "GET", "/a", b"body", time, &[0; 16]),
            signature_input(&relay, "POST", "/b", b"body", time, &[0; 16]),
            signature_input(&relay, "POST", "/a", b"bodi", time, &[0; 16]),
            signature_input(&relay, "POST", "/a", b"body", Timestamp::from_ms(6), &[0; 16]),
            signature_input(&relay, "POST", "/a", b"body", time, &[1; 16]),
        ];
        for (index, input) in inputs.iter().enumerate() {
            assert!(inputs[index + 1..].iter().all(|other| other != input));
        }
    }
}
