//! From an envelope to an authenticated letter: seal, repeat, ratchet, binding. Nothing is written here.

use sotto_crypto::letter::{Letter, UnverifiedLetter};
use sotto_crypto::manifest::VerifiedManifest;
use sotto_crypto::olm::{OlmAccount, OlmError, OlmMessage, OlmSession, PrekeyUsed, SessionId};
use sotto_crypto::seal::{Arrived, OfferedSeal, SealError, Sealed};
use sotto_crypto::{DeviceName, Party};
use sotto_protocol::header::Header;
use sotto_protocol::letter::OlmKind;

use super::{Batch, Fault, Gaps, Incoming, Why};
use crate::contact::{self, Contact, ContactRow};
use crate::manifests::{self, Unbelieved};
use crate::peer::{self, DeviceRow};
use crate::prekey;
use crate::records::Unopened;
use crate::seal;
use crate::session;
use crate::store::{Query, StoreError};

/// A letter whose maker is proven, with everything that taking it would change.
pub(super) struct Authentic {
    pub(super) letter: Letter,
    pub(super) kind: OlmKind,
    pub(super) inner_hash: [u8; 32],
    pub(super) ratchet: Ratchet,
    pub(super) seal: UsedSeal,
}

/// Keys that a letter may skip without waiting for what was sent before it (PROTOCOL E6): of the last 40 vodozemac keeps the keys, and as many
/// again may be missing on the next one.
const GAP_MAX: u64 = 20;

/// The ratchet after the letter.
pub(super) enum Ratchet {
    /// A session that we had, at this place of the device's list.
    Stepped { place: usize, session: Box<OlmSession> },
    /// A session that the letter began, with the account after it.
    Begun { account: Box<OlmAccount>, session: Box<OlmSession>, prekey: PrekeyUsed },
}

impl Ratchet {
    /// The identity key that the session is with.
    pub(super) fn peer(&self) -> [u8; 32] {
        match self {
            Self::Stepped { session, .. } | Self::Begun { session, .. } => session.peer(),
        }
    }
}

/// The seal that the envelope was under.
pub(super) enum UsedSeal {
    /// One that is installed, by its row; `announce` when its maker shows for the first time that it knows.
    Installed { row: i64, announce: bool },
    /// An opener whose key is not installed.
    Opener(Box<OfferedSeal>),
}

/// An opened envelope, before its maker is proven.
pub(super) struct Unsealed {
    pub(super) sealed: Sealed,
    pub(super) inner_hash: [u8; 32],
    pub(super) seal: UsedSeal,
    /// The device that the seal key names: continuations.
    pub(super) maker: Option<DeviceRow>,
}

impl Unsealed {
    fn new(sealed: Sealed, seal: UsedSeal, maker: Option<DeviceRow>) -> Self {
        Self { inner_hash: sealed.message.inner_hash(), sealed, seal, maker }
    }
}

impl Batch<'_, '_, '_> {
    /// Opens the seal of an envelope that came on a contact's alias.
    pub(super) fn unseal(&mut self, contact: ContactRow, incoming: &Incoming<'_>) -> Result<Unsealed, Fault> {
        let arrived = read_header(incoming)?;
        if !self.seals.contains_key(&contact) {
            let installed = seal::installed(self.tx, &self.own.seal, contact, self.own_inbox)?;
            self.seals.insert(contact, installed);
        }
        let is_continuation = arrived.opener().is_none();
        for found in self.seals.get(&contact).into_iter().flatten() {
            match found.key.open(&arrived, incoming.payload) {
                Err(SealError::WrongOpener | SealError::WrongTag) => {}
                Err(error) => return Err(refused(&error)),
                Ok(sealed) => {
                    let seal = UsedSeal::Installed { row: found.row, announce: is_continuation && !found.announced };
                    let maker = is_continuation.then_some(found.device);
                    return Ok(Unsealed::new(sealed, seal, maker));
                }
            }
        }
        if is_continuation { Err(Fault::Wait(Why::NoOpener)) } else { self.unseal_arrived(&arrived, incoming.payload) }
    }

    /// Opens what must be an opener.
    pub(super) fn unseal_opener(&mut self, incoming: &Incoming<'_>) -> Result<Unsealed, Fault> {
        self.unseal_arrived(&read_header(incoming)?, incoming.payload)
    }

    /// Opens an opener whose key is not installed: decapsulates, once per enc.
    fn unseal_arrived(&mut self, arrived: &Arrived<'_>, payload: &[u8]) -> Result<Unsealed, Fault> {
        let (Header::Opener { key_id, enc, .. }, Some(opener)) = (arrived.header(), arrived.opener()) else {
            return Err(Fault::Refused("opener_expected"));
        };
        let key = match self.decapsulated.get(&opener) {
            Some(key) => key.clone(),
            None => {
                let private = prekey::kem_key(self.tx, self.own, key_id)?.ok_or(Fault::Refused("kem_key_gone"))?;
                let key = OfferedSeal::decapsulate(&self.own.party.name(), &private, key_id, enc);
                self.decapsulated.insert(opener, key.clone());
                key
            }
        };
        let sealed = key.open(arrived, payload).map_err(|error| refused(&error))?;
        Ok(Unsealed::new(sealed, UsedSeal::Opener(Box::new(key)), None))
    }

    /// Whether the inner ciphertext was dealt with before: looked up before any ratchet is touched.
    pub(super) fn is_repeat(&self, unsealed: &Unsealed) -> Result<bool, StoreError> {
        Ok(self.tx.one("SELECT 1 FROM seen_inner WHERE hash = ?1", [unsealed.inner_hash], |_| Ok(()))?.is_some())
    }

    /// The contact's device that made an envelope. One that has left the list speaks no more, under an installed seal neither; but one in whose
    /// place another has come, by its own word, is heard out for a while: what relays took of it before, that other does not know of.
    pub(super) fn maker(&mut self, contact: &Contact, unsealed: &Unsealed) -> Result<DeviceRow, Fault> {
        let row = match unsealed.maker {
            Some(row) => row,
            None => {
                let sender = unsealed.sealed.sender.ok_or(Fault::Refused("sender_missing"))?;
                if sender.account != contact.account {
                    return Err(Fault::Refused("sender_is_not_the_contact"));
                }
                let Some(device) = self.device_row(contact.row, &sender)? else {
                    self.received.stale.push(contact.row);
                    return Err(Fault::Wait(Why::UnknownDevice));
                };
                device
            }
        };
        let is_heard = self.device(contact, row)?.listed || peer::is_heard_out(self.tx, row, self.judging)?;
        if is_heard { Ok(row) } else { Err(Fault::Refused("device_unlisted")) }
    }

    /// Decrypts and checks a letter from a known device.
    pub(super) fn authenticate(
        &mut self,
        contact: &Contact,
        device: DeviceRow,
        unsealed: Unsealed,
    ) -> Result<Authentic, Fault> {
        let message = &unsealed.sealed.message;
        let recipient = self.own.party;
        let (ratchet, plaintext) = self.decrypt(contact, device, message)?;
        let sender = self.device(contact, device)?.party;
        let letter =
            UnverifiedLetter::decode(&plaintext, message.kind()).map_err(|_| Fault::Refused("letter_malformed"))?;
        let letter =
            letter.verify(&ratchet.peer(), &sender, &recipient).map_err(|_| Fault::Refused("binding_refused"))?;
        Ok(Authentic { letter, kind: message.kind(), inner_hash: unsealed.inner_hash, ratchet, seal: unsealed.seal })
    }

    fn decrypt(
        &mut self,
        contact: &Contact,
        device: DeviceRow,
        message: &OlmMessage,
    ) -> Result<(Ratchet, zeroize::Zeroizing<Vec<u8>>), Fault> {
        let (begins, waits) = (message.session(), self.gaps == Gaps::Wait);
        let peer = self.device(contact, device)?;
        let identity_key = peer.party.curve25519;
        if begins.is_some() && message.identity_key() != Some(identity_key) {
            return Err(Fault::Refused("identity_key_refused"));
        }
        let mut verdict = OlmError::BadMessage;
        for (place, stepped) in peer.sessions.iter().enumerate() {
            // A prekey message names its session; a normal one is tried under each.
            if begins.is_some_and(|session| session != stepped.row.session.id()) {
                continue;
            }
            match stepped.row.session.decrypt(message) {
                Ok(_) if waits && stepped.row.session.gap(message) > GAP_MAX => return Err(Fault::Wait(Why::Gap)),
                Ok((session, plaintext)) => {
                    return Ok((Ratchet::Stepped { place, session: Box::new(session) }, plaintext));
                }
                Err(OlmError::BadMessage) => {}
                Err(error) => verdict = error,
            }
            if begins.is_some() {
                return Err(olm_fault(&verdict));
            }
        }
        match begins {
            Some(session) => match self.accept_session(&session, &identity_key, message) {
                Ok(_) if waits && message.chain_index() > GAP_MAX => Err(Fault::Wait(Why::Gap)),
                accepted => accepted,
            },
            None => Err(olm_fault(&verdict)),
        }
    }

    /// A session that the letter begins, unless it was accepted before.
    pub(super) fn accept_session(
        &mut self,
        session: &SessionId,
        identity_key: &[u8; 32],
        message: &OlmMessage,
    ) -> Result<(Ratchet, zeroize::Zeroizing<Vec<u8>>), Fault> {
        if session::is_tombstone(self.tx, session)? {
            return Err(Fault::Refused("session_replayed"));
        }
        let accepted = self.olm()?.accept(identity_key, message).map_err(|error| olm_fault(&error))?;
        let ratchet = Ratchet::Begun {
            account: Box::new(accepted.account),
            session: Box::new(accepted.session),
            prekey: accepted.prekey,
        };
        Ok((ratchet, accepted.plaintext))
    }

    /// Verifies the manifest that a request carries, which is what proves its sender.
    pub(super) fn introduce(
        &mut self,
        sender: &DeviceName,
        manifest: sotto_protocol::Bytes,
        identity_key: &[u8; 32],
    ) -> Result<(VerifiedManifest, Party), Fault> {
        let manifest = match manifests::introduce(self.tx, &sender.account, manifest, self.judging)? {
            Ok(manifest) => manifest,
            Err(Unbelieved { code, distrust }) => {
                if let Some((contact, trust)) = distrust {
                    contact::distrust(self.tx, contact, trust)?;
                    self.forget_contact(contact);
                    self.received.contacts_changed = true;
                }
                return Err(Fault::Refused(code));
            }
        };
        let party = manifest.party(&sender.device).ok_or(Fault::Refused("device_unlisted"))?;
        if party.curve25519 != *identity_key {
            return Err(Fault::Refused("identity_key_refused"));
        }
        Ok((manifest, party))
    }
}

fn read_header<'a>(incoming: &Incoming<'a>) -> Result<Arrived<'a>, Fault> {
    Arrived::read(incoming.header).map_err(|_| Fault::Refused("header_malformed"))
}

fn refused(error: &SealError) -> Fault {
    Fault::Refused(match error {
        SealError::Malformed(_) => "seal_malformed",
        SealError::WrongOpener | SealError::WrongTag => "seal_mismatched",
        SealError::CannotOpen => "seal_refused",
        SealError::MissingSender | SealError::UnexpectedSender => "sender_misplaced",
    })
}

const fn olm_fault(error: &OlmError) -> Fault {
    match error {
        OlmError::WrongSession | OlmError::BadMessage => Fault::Unopened(Unopened::SessionLost),
        OlmError::MissingKey { .. } => Fault::Unopened(Unopened::KeyGone),
        OlmError::TooFarAhead { .. } => Fault::Unopened(Unopened::TooFarAhead),
        OlmError::MissingOneTimeKey => Fault::Unopened(Unopened::PrekeyGone),
        // These no honest device makes.
        OlmError::Malformed(_) => Fault::Refused("olm_malformed"),
        OlmError::WrongIdentity => Fault::Refused("identity_key_refused"),
        OlmError::NonContributory => Fault::Refused("key_non_contributory"),
        OlmError::NotAPrekeyMessage => Fault::Refused("prekey_message_expected"),
    }
}

pub(super) const fn unopened_code(cause: Unopened) -> &'static str {
    match cause {
        Unopened::SessionLost => "olm_refused",
        Unopened::KeyGone => "olm_key_gone",
        Unopened::TooFarAhead => "olm_too_far_ahead",
        Unopened::PrekeyGone => "one_time_key_gone",
    }
}
