//! Who calls: signed requests, and calls that must not say it.
//!
//! A signature covers the relay's name, the method, the path, the body and a time and nonce, so it serves for one call on one relay.
//! The nonce of a call with an effect is spent in the transaction of that effect, which survives a restart. A peek has none: its
//! nonces are in memory, and after a restart only peeks signed since then are answered. A phone whose clock is behind is told the
//! time and asks again.

use std::collections::BTreeSet;

use ed25519_dalek::{Signature, VerifyingKey};
use sotto_protocol::limits::CLOCK_WINDOW;
use sotto_protocol::request::{Authorization, signature_input};
use sotto_protocol::{Bytes, RelayName, Timestamp};

use crate::limits::PEEK_NONCES_MAX;
use crate::problem::Problem;
use crate::store::Caller;

/// A call, byte for byte, without the connection it came by.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `POST`, or `GET` for the well-known document.
    pub method: String,
    /// Without a query.
    pub path: String,
    /// The header `sotto-version`.
    pub version: Option<String>,
    /// The header `authorization`.
    pub authorization: Option<String>,
    /// Whether there is a header `cookie`.
    pub has_cookie: bool,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// A `POST` without credentials.
    #[must_use]
    pub fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self { method: "POST".to_owned(), path: path.to_owned(), body: body.into(), ..Self::default() }
    }
}

/// Passes a call that says nothing about its maker.
pub(crate) fn anonymous(request: &Request) -> Result<(), Problem> {
    if request.authorization.is_some() || request.has_cookie { Err(Problem::CredentialRefused) } else { Ok(()) }
}

/// Verifies a signed call; whether the key may do this is for the store to say.
pub(crate) fn signed(request: &Request, relay: &RelayName, now: Timestamp) -> Result<Caller, Problem> {
    let header = request.authorization.as_deref().ok_or(Problem::SignatureRefused)?;
    let authorization: Authorization = header.parse().map_err(|_| Problem::SignatureRefused)?;
    let Authorization { key, time, nonce, signature } = authorization;
    if time.since(now) > CLOCK_WINDOW || now.since(time) > CLOCK_WINDOW {
        return Err(Problem::ClockSkew);
    }
    let input = signature_input(relay, &request.method, &request.path, &request.body, time, &nonce);
    if !is_signed(&key, &input, &signature) {
        return Err(Problem::SignatureRefused);
    }
    Ok(Caller { key, time, nonce })
}

/// Whether `signature` over `input` is by `key`: strictly, so that no weak key signs everything.
pub(crate) fn is_signed(key: &[u8; 32], input: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(key) else { return false };
    let Ok(signature) = Signature::from_slice(signature) else { return false };
    key.verify_strict(input, &signature).is_ok()
}

/// Nonces of peeks.
pub(crate) struct PeekNonces {
    /// Calls signed earlier are not answered: their nonces may be forgotten.
    time_min: Timestamp,
    spent: BTreeSet<(Timestamp, [u8; 16])>,
}

impl PeekNonces {
    /// Remembers nothing from before `started_at`.
    pub(crate) const fn new(started_at: Timestamp) -> Self {
        Self { time_min: started_at, spent: BTreeSet::new() }
    }

    /// Whether the call may still be answered.
    pub(crate) fn check(&self, caller: &Caller) -> Result<(), Problem> {
        if caller.time < self.time_min {
            return Err(Problem::ClockSkew);
        }
        if self.spent.contains(&(caller.time, caller.nonce)) { Err(Problem::Replayed) } else { Ok(()) }
    }

    /// Spends the nonce of a call that was answered. Over the bound the oldest go, and everything as old is refused from then on.
    pub(crate) fn spend(&mut self, caller: &Caller, now: Timestamp) -> Result<(), Problem> {
        self.check(caller)?;
        self.spent = self.spent.split_off(&(now.before(CLOCK_WINDOW), [0; 16]));
        self.spent.insert((caller.time, caller.nonce));
        if self.spent.len() > PEEK_NONCES_MAX
            && let Some((time, _)) = self.spent.pop_first()
        {
            self.time_min = self.time_min.max(Timestamp::from_ms(time.as_ms() + 1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(time: u64, nonce: u64) -> Caller {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&nonce.to_be_bytes());
        Caller { key: [0; 32], time: Timestamp::from_ms(time), nonce: bytes }
    }

    #[test]
    fn the_memory_of_peeks_is_bounded_and_forgets_nothing_that_it_would_accept() {
        let mut nonces = PeekNonces::new(Timestamp::from_ms(0));
        let now = Timestamp::from_ms(1_000);
        for nonce in 0..=PEEK_NONCES_MAX as u64 {
            nonces.spend(&caller(1_000 + nonce % 7, nonce), now).unwrap();
        }
        assert_eq!(nonces.spent.len(), PEEK_NONCES_MAX);
        assert_eq!(nonces.check(&caller(1_000, 0)), Err(Problem::ClockSkew), "it may be the forgotten one");
        assert_eq!(nonces.check(&caller(1_001, 1)), Err(Problem::Replayed));
        assert_eq!(nonces.check(&caller(1_001, u64::MAX)), Ok(()));
    }

    #[test]
    fn a_restart_forgets_nonces_and_therefore_answers_no_peek_signed_before_it() {
        let nonces = PeekNonces::new(Timestamp::from_ms(5_000));
        assert_eq!(nonces.check(&caller(4_999, 1)), Err(Problem::ClockSkew));
        assert_eq!(nonces.check(&caller(5_000, 1)), Ok(()));
    }
}
