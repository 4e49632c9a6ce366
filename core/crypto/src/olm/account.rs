//! A device's Olm account: its identity, its prekeys, and the sessions that begin with it.
//!
//! vodozemac draws its own randomness here: these are the only calls of this crate whose outcome the caller's rng does not decide.
//! Of last-resort keys it keeps two private halves, the current and the one before; this wrapper remembers their public halves, so
//! that a session begun with one is known as such. Such a message can be replayed, because its key is not used up: whoever accepts
//! one keeps its session id as a tombstone (PROTOCOL E2).

use serde::{Deserialize, Serialize};
use sotto_protocol::{KeyId, Timestamp};
use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{Account, AccountPickle, SessionCreationError};
use zeroize::Zeroizing;

use super::message::OlmMessage;
use super::session::{OlmSession, refusal};
use super::{CONFIG, OlmError};
use crate::prekey::OlmPrekey;
use crate::state::{self, StateError, Stored};

/// A device's identity and the private halves of its Olm prekeys.
pub struct OlmAccount {
    account: Account,
    last_resort: LastResortKey,
    last_resort_before: Option<LastResortKey>,
}

/// A new one-time key, to be signed and put on one relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OneTimeKey {
    /// Names it.
    pub id: KeyId,
    /// The public half.
    pub key: [u8; 32],
}

/// A last-resort key: handed out again and again once one-time keys have run out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastResortKey {
    key: Curve25519PublicKey,
    made_at_ms: u64,
}

impl LastResortKey {
    /// Names it.
    #[must_use]
    pub fn id(&self) -> KeyId {
        name(&self.key)
    }

    /// The public half.
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// When it was made: it does not rotate before KEM keys retired since then are erased (PROTOCOL D4).
    #[must_use]
    pub const fn made_at(&self) -> Timestamp {
        Timestamp::from_ms(self.made_at_ms)
    }
}

/// Which kind of prekey a session began with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrekeyUsed {
    /// It is gone now.
    OneTime,
    /// It is still there: keep the session's id as a tombstone as long as the key lives, and refuse it when it comes again.
    LastResort,
}

/// A session that a peer began, with the account after it. Store both, or drop both.
pub struct Accepted {
    /// The account, without the one-time key that was used.
    pub account: OlmAccount,
    /// The session.
    pub session: OlmSession,
    /// What the message said.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// What it used.
    pub prekey: PrekeyUsed,
}

impl OlmAccount {
    /// A new identity, with a first last-resort key.
    #[must_use]
    pub fn generate(now: Timestamp) -> Self {
        let mut account = Account::new();
        let last_resort = generate_last_resort(&mut account, now);
        Self { account, last_resort, last_resort_before: None }
    }

    /// The Ed25519 key that signs its prekeys.
    #[must_use]
    pub fn ed25519(&self) -> [u8; 32] {
        *self.account.ed25519_key().as_bytes()
    }

    /// The Curve25519 key that is its identity in Olm.
    #[must_use]
    pub fn curve25519(&self) -> [u8; 32] {
        self.account.curve25519_key().to_bytes()
    }

    pub(crate) fn sign(&self, input: &[u8]) -> [u8; 64] {
        self.account.sign(input).to_bytes()
    }

    /// Makes new one-time keys, for one relay: no two relays hand out the same one. vodozemac keeps 5,000 private halves and drops the
    /// oldest beyond that. Store the account before the keys leave.
    pub fn generate_one_time_keys(&mut self, count: usize) -> Vec<OneTimeKey> {
        let created = self.account.generate_one_time_keys(count).created;
        self.account.mark_keys_as_published();
        created.into_iter().map(|key| OneTimeKey { id: name(&key), key: key.to_bytes() }).collect()
    }

    /// How many private halves of one-time keys are kept.
    #[cfg(test)]
    pub(super) fn one_time_key_count(&self) -> usize {
        self.account.stored_one_time_key_count()
    }

    /// The current last-resort key.
    #[must_use]
    pub const fn last_resort(&self) -> LastResortKey {
        self.last_resort
    }

    /// The last-resort key before the current one, while its private half is kept.
    #[must_use]
    pub const fn last_resort_before(&self) -> Option<LastResortKey> {
        self.last_resort_before
    }

    /// Makes a new last-resort key. The current one becomes the one before, and the one before is gone with its private half.
    pub fn rotate_last_resort(&mut self, now: Timestamp) -> LastResortKey {
        let made = generate_last_resort(&mut self.account, now);
        self.last_resort_before = Some(std::mem::replace(&mut self.last_resort, made));
        made
    }

    /// Begins a session with a peer's device, from the keys that its manifest and its relay gave.
    ///
    /// # Errors
    /// [`OlmError::NonContributory`] for a key with which the secret would be known to all.
    pub fn begin(&self, identity_key: &[u8; 32], prekey: &OlmPrekey) -> Result<OlmSession, OlmError> {
        self.begin_with(identity_key, prekey.key())
    }

    pub(crate) fn begin_with(&self, identity_key: &[u8; 32], one_time_key: &[u8; 32]) -> Result<OlmSession, OlmError> {
        let (identity_key, one_time_key) =
            (Curve25519PublicKey::from_bytes(*identity_key), Curve25519PublicKey::from_bytes(*one_time_key));
        let session = self.account.create_outbound_session(CONFIG, identity_key, one_time_key);
        session.map(|session| OlmSession::outbound(session, identity_key)).map_err(|error| creation_refusal(&error))
    }

    /// Accepts a session that the device with `identity_key` (from its manifest) began with a prekey message. This account is unchanged
    /// whatever happens; the answer holds the one to store.
    ///
    /// # Errors
    /// One variant per cause.
    pub fn accept(&self, identity_key: &[u8; 32], message: &OlmMessage) -> Result<Accepted, OlmError> {
        let prekey_message = message.prekey().ok_or(OlmError::NotAPrekeyMessage)?;
        let mut account = self.copy();
        let identity_key = Curve25519PublicKey::from_bytes(*identity_key);
        let created = account.account.create_inbound_session(CONFIG, identity_key, prekey_message);
        let created = created.map_err(|error| creation_refusal(&error))?;
        let used = prekey_message.one_time_key();
        let is_last_resort =
            self.last_resort.key == used || self.last_resort_before.is_some_and(|before| before.key == used);
        Ok(Accepted {
            account,
            session: OlmSession::inbound(created.session, identity_key, message),
            plaintext: Zeroizing::new(created.plaintext),
            prekey: if is_last_resort { PrekeyUsed::LastResort } else { PrekeyUsed::OneTime },
        })
    }

    fn copy(&self) -> Self {
        Self { account: Account::from_pickle(self.account.pickle()), ..*self }
    }
}

/// A prekey is called by its first bytes: a number would tell whoever claims it how many came before.
fn name(key: &Curve25519PublicKey) -> KeyId {
    let mut id = [0; 8];
    id.copy_from_slice(&key.as_bytes()[..8]);
    KeyId::from_bytes(id)
}

fn generate_last_resort(account: &mut Account, now: Timestamp) -> LastResortKey {
    account.generate_fallback_key();
    let key = *account.fallback_key().values().next().expect("a fallback key was generated a line above");
    account.mark_keys_as_published();
    LastResortKey { key, made_at_ms: now.as_ms() }
}

fn creation_refusal(error: &SessionCreationError) -> OlmError {
    match error {
        SessionCreationError::MissingOneTimeKey(_) => OlmError::MissingOneTimeKey,
        SessionCreationError::MismatchedIdentityKey(..) => OlmError::WrongIdentity,
        SessionCreationError::NonContributoryKey => OlmError::NonContributory,
        SessionCreationError::MismatchedSessionConfig { .. } => OlmError::BadMessage,
        SessionCreationError::Decryption(error) => refusal(error),
    }
}

#[derive(Serialize, Deserialize)]
struct AccountRow {
    account: AccountPickle,
    last_resort: LastResortKey,
    last_resort_before: Option<LastResortKey>,
}

impl Stored for OlmAccount {}

impl state::sealed::Row for OlmAccount {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        state::to_json(&AccountRow {
            account: self.account.pickle(),
            last_resort: self.last_resort,
            last_resort_before: self.last_resort_before,
        })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let AccountRow { account, last_resort, last_resort_before } = state::from_json(bytes)?;
        Ok(Self { account: Account::from_pickle(account), last_resort, last_resort_before })
    }
}
