//! What holds for a moment only, under a seal that stands: typing, presence (`docs/protocol.md` section 5, "Ephemerals").
//!
//! ```text
//! SealMaker --for_ephemerals--> EphemeralMaker::seal ---> EphemeralKey::open <--for_ephemerals-- SealKey
//! ```
//! No ratchet and no letter: one that gets lost leaves no hole, and taking one changes nothing that is stored. Its keys derive from the seal
//! key under labels of their own, so no letter opens as one of these and none of these as a letter; who holds them is who holds the seal key,
//! which is the device that made the seal, as a letter has proven, and the one that it was made for.
//! Invariants: one size, whatever it says; what was sent before another of its maker, or at another time than about now, is refused.
//!
//! Not here: whom to tell what and how often, what is shown for how long (the engine).

use std::time::Duration;

use rand_core::CryptoRng;
use sotto_protocol::decode::{self, DecodeError};
use sotto_protocol::header::{EphemeralHeader, NONCE_BYTES, TAG_BYTES};
use sotto_protocol::label::{EPHEMERAL_KEY, EPHEMERAL_TAG, EPHEMERAL_TAG_KEY, labelled};
use sotto_protocol::letter::ephemeral::Signal as Wire;
use sotto_protocol::limits::{EPHEMERAL_PADDED_BYTES, EPHEMERAL_WINDOW};
use sotto_protocol::padding::{pad, unpad};
use sotto_protocol::{Message, Timestamp, letter};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Envelope, SealKey, SealMaker, hmac};
use crate::aead;
use crate::secret::derive;

/// Why something ephemeral is not heeded. It leaves nothing behind.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EphemeralError {
    /// Header or content is not what this code can read.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// The tag is of another seal.
    #[error("the tag belongs to another seal")]
    WrongTag,
    /// Header or payload were changed, or made under another key.
    #[error("it does not open")]
    CannotOpen,
    /// Its time lies too far from now: somebody held it back, or a clock is wrong.
    #[error("it is not of now")]
    NotOfNow,
    /// It is not newer than another of its maker: it came again, or was overtaken.
    #[error("it is not newer than what came before")]
    NotNewer,
}

/// What holds for a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Its maker's user is writing in the conversation of both accounts.
    Typing,
    /// And is not any more.
    Stopped,
    /// Its maker's user has the app before them.
    Online,
    /// And has not any more.
    Offline,
    /// Something that this code does not know.
    Unknown,
}

/// A signal, and when it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ephemeral {
    /// Later than everything ephemeral that its maker has told the same device before.
    pub sent_at: Timestamp,
    /// What it says.
    pub signal: Signal,
}

impl Ephemeral {
    /// Whether it is of now, and newer than the newest of its maker that was heeded.
    ///
    /// # Errors
    /// [`EphemeralError::NotOfNow`], [`EphemeralError::NotNewer`].
    pub fn check(&self, now: Timestamp, newest: Option<Timestamp>) -> Result<(), EphemeralError> {
        let apart = Duration::from_millis(self.sent_at.as_ms().abs_diff(now.as_ms()));
        if apart > EPHEMERAL_WINDOW {
            return Err(EphemeralError::NotOfNow);
        }
        if newest.is_some_and(|newest| self.sent_at <= newest) { Err(EphemeralError::NotNewer) } else { Ok(()) }
    }

    fn encode(&self) -> Vec<u8> {
        let signal = match self.signal {
            Signal::Typing | Signal::Stopped => {
                Some(Wire::Typing(letter::Typing { is_typing: self.signal == Signal::Typing }))
            }
            Signal::Online | Signal::Offline => {
                Some(Wire::Presence(letter::Presence { is_online: self.signal == Signal::Online }))
            }
            Signal::Unknown => None,
        };
        letter::Ephemeral { sent_at_ms: self.sent_at.as_ms(), signal }.encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: letter::Ephemeral = decode::message(bytes, EPHEMERAL_PADDED_BYTES)?;
        let signal = match wire.signal {
            Some(Wire::Typing(typing)) if typing.is_typing => Signal::Typing,
            Some(Wire::Typing(_)) => Signal::Stopped,
            Some(Wire::Presence(presence)) if presence.is_online => Signal::Online,
            Some(Wire::Presence(_)) => Signal::Offline,
            None => Signal::Unknown,
        };
        Ok(Self { sent_at: Timestamp::from_ms(wire.sent_at_ms), signal })
    }
}

/// The keys of both ends.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Keys {
    seal: [u8; 32],
    tag: [u8; 32],
}

impl Keys {
    fn of(seal_key: &[u8; 32]) -> Self {
        Self { seal: derive(seal_key, EPHEMERAL_KEY, &[]), tag: derive(seal_key, EPHEMERAL_TAG_KEY, &[]) }
    }

    fn tag(&self, nonce: &[u8; NONCE_BYTES]) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&hmac(&self.tag, &labelled(EPHEMERAL_TAG, &[nonce]))[..TAG_BYTES]);
        tag
    }
}

/// The maker's end.
#[derive(Clone)]
pub struct EphemeralMaker(Keys);

impl SealMaker {
    /// For what is ephemeral, once the peer has confirmed the seal: before, nobody could open it.
    #[must_use]
    pub fn for_ephemerals(&self) -> EphemeralMaker {
        EphemeralMaker(Keys::of(&self.keys.seal))
    }
}

impl EphemeralMaker {
    /// Seals a signal.
    ///
    /// # Panics
    /// Never: a signal is a few bytes.
    #[must_use]
    pub fn seal(&self, ephemeral: &Ephemeral, rng: &mut impl CryptoRng) -> Envelope {
        let nonce = aead::draw_nonce(rng);
        let padded = Zeroizing::new(pad(&ephemeral.encode()).expect("a signal is a few bytes"));
        let header = EphemeralHeader { tag: self.0.tag(&nonce), nonce }.encode();
        let payload = aead::encrypt(&self.0.seal, &nonce, &header, &padded);
        Envelope { header, payload }
    }
}

/// The recipient's end.
#[derive(Clone)]
pub struct EphemeralKey(Keys);

impl SealKey {
    /// For what is ephemeral under this seal.
    #[must_use]
    pub fn for_ephemerals(&self) -> EphemeralKey {
        EphemeralKey(Keys::of(&self.keys.seal))
    }
}

impl EphemeralKey {
    /// Opens an envelope. Another seal's is [`EphemeralError::WrongTag`], for the price of one hash.
    ///
    /// # Errors
    /// One variant per check.
    pub fn open(&self, header: &[u8], payload: &[u8]) -> Result<Ephemeral, EphemeralError> {
        let EphemeralHeader { tag, nonce } = EphemeralHeader::decode(header)?;
        if !bool::from(self.0.tag(&nonce).ct_eq(&tag)) {
            return Err(EphemeralError::WrongTag);
        }
        let padded = aead::decrypt(&self.0.seal, &nonce, header, payload).ok_or(EphemeralError::CannotOpen)?;
        let plaintext = unpad(&padded)?;
        if padded.len() != EPHEMERAL_PADDED_BYTES {
            return Err(DecodeError::BadPadding.into());
        }
        Ok(Ephemeral::decode(plaintext)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{Arrived, SealError};
    use crate::testing::{Person, rng};

    const NOON: Timestamp = Timestamp::from_ms(1_800_000_000_000);
    const EVERY: [Signal; 5] = [Signal::Typing, Signal::Stopped, Signal::Online, Signal::Offline, Signal::Unknown];

    /// Both ends of a seal: of a direction between two people.
    fn seal(from: u64, to: u64) -> (SealMaker, SealKey) {
        let (mut maker, mut reader) = (Person::new(from), Person::new(to));
        let bundle = reader.bundle();
        let made = SealMaker::encapsulate(&reader.party().name(), &bundle.kem, &mut maker.rng);
        let key = SealKey { opener: made.opener(), keys: made.keys.clone() };
        (made, key)
    }

    fn typing() -> Ephemeral {
        Ephemeral { sent_at: NOON, signal: Signal::Typing }
    }

    fn made(maker: &SealMaker) -> Envelope {
        maker.for_ephemerals().seal(&typing(), &mut rng(1))
    }

    fn open(key: &SealKey, envelope: &Envelope) -> Result<Ephemeral, EphemeralError> {
        key.for_ephemerals().open(&envelope.header, &envelope.payload)
    }

    /// Under the maker's key, whatever it says.
    fn under(maker: &SealMaker, padded: &[u8]) -> Envelope {
        let keys = maker.for_ephemerals().0.clone();
        let header = EphemeralHeader { tag: keys.tag(&[5; 24]), nonce: [5; 24] }.encode();
        Envelope { payload: aead::encrypt(&keys.seal, &[5; 24], &header, padded), header }
    }

    #[test]
    fn what_is_said_comes_out_and_nothing_tells_it_from_anything_else_by_its_size() {
        let (maker, key) = seal(1, 2);
        for signal in EVERY {
            for sent_at in [Timestamp::EPOCH, NOON, Timestamp::from_ms(u64::MAX)] {
                let said = Ephemeral { sent_at, signal };
                let envelope = maker.for_ephemerals().seal(&said, &mut rng(1));
                assert_eq!((envelope.header.len(), envelope.payload.len()), (33, 256 + 16));
                assert_eq!(open(&key, &envelope), Ok(said));
            }
        }
    }

    #[test]
    fn every_byte_of_header_and_payload_is_authenticated() {
        let (maker, key) = seal(1, 2);
        let envelope = made(&maker);
        for position in 0..envelope.header.len() {
            let mut changed = envelope.clone();
            changed.header[position] ^= 1;
            let expected =
                if position == 0 { DecodeError::UnknownKind { kind: 0x15 }.into() } else { EphemeralError::WrongTag };
            assert_eq!(open(&key, &changed), Err(expected), "header at {position}");
        }
        for position in 0..envelope.payload.len() {
            let mut changed = envelope.clone();
            changed.payload[position] ^= 1;
            assert_eq!(open(&key, &changed), Err(EphemeralError::CannotOpen), "payload at {position}");
        }
        let empty = Envelope { payload: Vec::new(), ..envelope };
        assert_eq!(open(&key, &empty), Err(EphemeralError::CannotOpen));
    }

    #[test]
    fn d6_the_header_is_the_aad() {
        // The tag does not cover the kind, the cipher does.
        let (maker, key) = seal(1, 2);
        let keys = maker.for_ephemerals().0.clone();
        let header = EphemeralHeader { tag: keys.tag(&[5; 24]), nonce: [5; 24] }.encode();
        let padded = pad(&typing().encode()).unwrap();
        for aad in [&[][..], &header[1..]] {
            let payload = aead::encrypt(&keys.seal, &[5; 24], aad, &padded);
            assert_eq!(open(&key, &Envelope { header: header.clone(), payload }), Err(EphemeralError::CannotOpen));
        }
    }

    #[test]
    fn d2_what_goes_one_way_opens_on_no_other() {
        let ((there, there_key), (back, back_key)) = (seal(1, 2), seal(2, 1));
        let (to_another, another_key) = seal(1, 3);
        for (maker, own) in [(&there, &there_key), (&back, &back_key), (&to_another, &another_key)] {
            for key in [&there_key, &back_key, &another_key] {
                let expected = if key.opener() == own.opener() { Ok(typing()) } else { Err(EphemeralError::WrongTag) };
                assert_eq!(open(key, &made(maker)), expected);
            }
        }
    }

    #[test]
    fn a_letter_is_not_taken_for_an_ephemeral_nor_the_other_way_round() {
        let (mut alice, mut bob) = (Person::new(1), Person::new(2));
        let bundle = bob.bundle();
        let mut session = alice.olm.begin(&bob.device.curve25519, &bundle.last_resort).unwrap();
        let message = session.encrypt(b"words").unwrap();
        let (maker, key) = seal(1, 2);
        let as_kind = |envelope: &Envelope, kind: u8| {
            let mut changed = envelope.clone();
            changed.header[0] = kind;
            changed
        };
        let (ephemeral, letter) = (made(&maker), maker.seal_continuation(&message, &mut alice.rng).unwrap());
        assert!(Arrived::read(&ephemeral.header).is_err());
        let posing = as_kind(&ephemeral, 0x12);
        let arrived = Arrived::read(&posing.header).unwrap();
        assert_eq!(key.open(&arrived, &posing.payload).err(), Some(SealError::WrongTag));
        assert_eq!(open(&key, &letter), Err(DecodeError::UnknownKind { kind: 0x12 }.into()));
        assert_eq!(open(&key, &as_kind(&letter, 0x14)), Err(EphemeralError::WrongTag));
        // Even where the tag fits: the key is another.
        let (nonce, padded) = ([7; 24], pad(&typing().encode()).unwrap());
        let header = EphemeralHeader { tag: maker.for_ephemerals().0.tag(&nonce), nonce }.encode();
        let payload = aead::encrypt(&maker.keys.seal, &nonce, &header, &padded);
        assert_eq!(open(&key, &Envelope { header, payload }), Err(EphemeralError::CannotOpen));
    }

    #[test]
    fn the_keys_are_none_of_the_seals_own_and_apart_from_each_other() {
        let (maker, _) = seal(1, 2);
        let keys = maker.for_ephemerals().0.clone();
        let mut all = vec![keys.seal, keys.tag, maker.keys.seal, maker.keys.tag];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
        let nonce = [1; 24];
        assert_ne!(keys.tag(&nonce), maker.keys.tag(&nonce));
    }

    #[test]
    fn two_of_the_same_have_nothing_in_common() {
        let (maker, _) = seal(1, 2);
        let mut rng = rng(1);
        let ephemerals = maker.for_ephemerals();
        let (one, two) = (ephemerals.seal(&typing(), &mut rng), ephemerals.seal(&typing(), &mut rng));
        assert!(one.header[1..9] != two.header[1..9] && one.header[9..] != two.header[9..]);
        assert_ne!(one.payload, two.payload);
    }

    #[test]
    fn what_was_sealed_badly_by_its_very_maker_is_refused() {
        let (maker, key) = seal(1, 2);
        let refusal = |padded: &[u8]| open(&key, &under(&maker, padded)).unwrap_err();
        assert_eq!(open(&key, &under(&maker, &pad(&typing().encode()).unwrap())), Ok(typing()));
        let mut marked = pad(&typing().encode()).unwrap();
        *marked.last_mut().unwrap() = 1;
        assert_eq!(refusal(&marked), DecodeError::BadPadding.into());
        assert_eq!(refusal(&pad(&[0; 400]).unwrap()), DecodeError::BadPadding.into(), "one size");
        assert_eq!(refusal(&[]), DecodeError::Truncated.into());
        assert_eq!(refusal(&pad(&[0xff; 40]).unwrap()), DecodeError::Malformed.into());
    }

    #[test]
    fn what_came_before_or_was_held_back_is_refused() {
        let minute = EPHEMERAL_WINDOW;
        let moment = Duration::from_millis(1);
        let check = |sent_at, newest| Ephemeral { sent_at, ..typing() }.check(NOON, newest);
        assert_eq!(check(NOON, None), Ok(()));
        assert_eq!(check(NOON.before(minute), None), Ok(()));
        assert_eq!(check(NOON.after(minute), None), Ok(()));
        assert_eq!(check(NOON.before(minute).before(moment), None), Err(EphemeralError::NotOfNow));
        assert_eq!(check(NOON.after(minute).after(moment), None), Err(EphemeralError::NotOfNow));
        assert_eq!(check(NOON, Some(NOON.before(moment))), Ok(()));
        assert_eq!(check(NOON, Some(NOON)), Err(EphemeralError::NotNewer));
        assert_eq!(check(NOON, Some(NOON.after(moment))), Err(EphemeralError::NotNewer));
    }
}
