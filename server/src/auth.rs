//! Who calls: signed requests, and calls that must not say it.
//!
//! A signature covers the relay's name, the method, the path, the body and a time and nonce, so it serves for one call on one relay.
//! The nonce of a call with an effect is spent in the transaction of that effect, which survives a restart. A peek has none: its
//! nonces are in memory, and after a restart only peeks signed since then are answered. A phone whose clock is behind is told the
//! time and asks again.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{Signature, VerifyingKey};
use sotto_protocol::limits::CLOCK_WINDOW;
use sotto_protocol::request::{Authorization, signature_input};
use sotto_protocol::{Bytes, RelayName, Timestamp};

use crate::limits::{PEEK_NONCES_MAX, PEEK_NONCES_PER_KEY_LEAST, PEEK_NONCES_PER_KEY_MAX};
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

/// Nonces of peeks, each key's by itself: whoever peeks without end spends its own memory and nobody else's.
pub(crate) struct PeekNonces {
    /// Calls signed earlier are not answered: their nonces were forgotten by a restart.
    started_at: Timestamp,
    keys: BTreeMap<[u8; 32], Spent>,
    /// Of all keys.
    count: usize,
}

/// What one key has spent.
#[derive(Default)]
struct Spent {
    /// Calls signed earlier are not answered: there were too many to remember.
    time_min: Timestamp,
    nonces: BTreeSet<(Timestamp, [u8; 16])>,
}

impl Spent {
    /// Forgets the oldest beyond `count`, and with them the right to sign that early; says how many.
    fn keep_newest(&mut self, count: usize) -> usize {
        let mut forgotten = 0;
        while self.nonces.len() > count
            && let Some((time, _)) = self.nonces.pop_first()
        {
            self.time_min = self.time_min.max(Timestamp::from_ms(time.as_ms() + 1));
            forgotten += 1;
        }
        forgotten
    }
}

impl PeekNonces {
    /// Remembers nothing from before `started_at`.
    pub(crate) const fn new(started_at: Timestamp) -> Self {
        Self { started_at, keys: BTreeMap::new(), count: 0 }
    }

    /// Whether the call may still be answered.
    pub(crate) fn check(&mut self, caller: &Caller, now: Timestamp) -> Result<(), Problem> {
        // A clock that was ahead at the start and was set right: what is signed from now on is answered.
        self.started_at = self.started_at.min(now);
        let spent = self.keys.get(&caller.key);
        if caller.time < self.started_at.max(spent.map_or(self.started_at, |spent| spent.time_min)) {
            return Err(Problem::ClockSkew);
        }
        if spent.is_some_and(|spent| spent.nonces.contains(&(caller.time, caller.nonce))) {
            return Err(Problem::Replayed);
        }
        Ok(())
    }

    /// Spends the nonce of a call that was answered. Over its bound a key's oldest go, and everything of it that is as old is
    /// refused from then on. Over the bound of all, each key keeps a few; over it still, nobody is answered until
    /// some are too old.
    pub(crate) fn spend(&mut self, caller: &Caller, now: Timestamp) -> Result<(), Problem> {
        self.check(caller, now)?;
        if self.count >= PEEK_NONCES_MAX {
            self.forget_before(now.before(CLOCK_WINDOW));
            self.shrink_to(PEEK_NONCES_MAX / 2);
        }
        if self.count >= PEEK_NONCES_MAX {
            return Err(Problem::Unavailable);
        }
        let spent = self.keys.entry(caller.key).or_default();
        self.count += usize::from(spent.nonces.insert((caller.time, caller.nonce)));
        self.count -= spent.keep_newest(PEEK_NONCES_PER_KEY_MAX);
        Ok(())
    }

    /// If there are more than that, every key keeps its newest few: whoever spends most loses most.
    fn shrink_to(&mut self, count: usize) {
        if self.count > count {
            for spent in self.keys.values_mut() {
                self.count -= spent.keep_newest(PEEK_NONCES_PER_KEY_LEAST);
            }
        }
    }

    /// Forgets what would be refused for its time anyway.
    fn forget_before(&mut self, time: Timestamp) {
        for spent in self.keys.values_mut() {
            spent.nonces = spent.nonces.split_off(&(time, [0; 16]));
        }
        self.keys.retain(|_, spent| !spent.nonces.is_empty() || spent.time_min >= time);
        self.count = self.keys.values().map(|spent| spent.nonces.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000_000);

    fn caller(key: u64, time: Timestamp, nonce: u64) -> Caller {
        let bytes = |number: u64| [number.to_be_bytes(), [0; 8]].concat().try_into().unwrap();
        Caller { key: [bytes(key), [0; 16]].concat().try_into().unwrap(), time, nonce: bytes(nonce) }
    }

    fn later(ms: u64) -> Timestamp {
        Timestamp::from_ms(NOW.as_ms() + ms)
    }

    #[test]
    fn a7_the_memory_of_peeks_is_bounded_per_key_and_forgets_nothing_that_it_would_accept() {
        let mut nonces = PeekNonces::new(NOW);
        for nonce in 0..=PEEK_NONCES_PER_KEY_MAX as u64 {
            nonces.spend(&caller(1, later(nonce % 7), nonce), NOW).unwrap();
        }
        assert_eq!(nonces.count, PEEK_NONCES_PER_KEY_MAX);
        assert_eq!(nonces.check(&caller(1, NOW, 0), NOW), Err(Problem::ClockSkew), "it may be the forgotten one");
        assert_eq!(nonces.check(&caller(1, later(1), 1), NOW), Err(Problem::Replayed));
        assert_eq!(nonces.check(&caller(1, later(1), u64::MAX), NOW), Ok(()));
    }

    #[test]
    fn a7_whoever_peeks_without_end_and_ahead_of_the_clock_turns_nobody_else_away() {
        let mut nonces = PeekNonces::new(NOW);
        let ahead = NOW.after(CLOCK_WINDOW);
        for nonce in 0..5_000 {
            nonces.spend(&caller(1, ahead, nonce), NOW).ok();
        }
        assert_eq!(nonces.spend(&caller(2, NOW, 0), NOW), Ok(()));
        // With all the keys it takes to fill the memory of all.
        for number in 0..PEEK_NONCES_MAX as u64 {
            nonces.spend(&caller(10 + number % 300, later(number), number), NOW).unwrap();
        }
        assert_eq!(nonces.spend(&caller(2, NOW, 1), NOW), Ok(()));
        assert!(nonces.count <= PEEK_NONCES_MAX);
    }

    #[test]
    fn the_memory_of_all_keys_is_bounded_and_has_room_again_once_they_are_too_old() {
        let mut nonces = PeekNonces::new(NOW);
        for key in 0..PEEK_NONCES_MAX as u64 {
            nonces.spend(&caller(key, NOW, 0), NOW).unwrap();
        }
        assert_eq!(nonces.spend(&caller(u64::MAX, NOW, 0), NOW), Err(Problem::Unavailable));
        let then = NOW.after(CLOCK_WINDOW + std::time::Duration::from_millis(1));
        assert_eq!(nonces.spend(&caller(u64::MAX, then, 0), then), Ok(()));
        assert_eq!((nonces.count, nonces.keys.len()), (1, 1));
    }

    #[test]
    fn a_restart_forgets_nonces_and_therefore_answers_no_peek_signed_before_it() {
        let mut nonces = PeekNonces::new(NOW);
        assert_eq!(nonces.check(&caller(1, Timestamp::from_ms(NOW.as_ms() - 1), 1), NOW), Err(Problem::ClockSkew));
        assert_eq!(nonces.check(&caller(1, NOW, 1), NOW), Ok(()));
    }

    #[test]
    fn a_relay_that_started_with_its_clock_ahead_answers_peeks_once_it_is_set_right() {
        let mut nonces = PeekNonces::new(NOW.after(std::time::Duration::from_secs(1_000_000)));
        assert_eq!(nonces.check(&caller(1, NOW, 1), NOW), Ok(()));
        assert_eq!(nonces.check(&caller(1, NOW, 1), later(1)), Ok(()));
        assert_eq!(nonces.check(&caller(1, NOW.before(CLOCK_WINDOW), 1), later(1)), Err(Problem::ClockSkew));
    }
}
