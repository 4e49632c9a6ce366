//! The start-up self-test: proof that this very build refuses what it must refuse.
//!
//! Test builds of cryptographic libraries can switch authentication off (vodozemac does under `cfg(fuzzing)`), and a miscompiled or
//! patched primitive fails silently. So before any key is used, one message, one seal and one signature are made, accepted, changed by
//! a bit, and must be refused. It costs about a millisecond.

use rand_core::CryptoRng;
use sotto_protocol::header::Header;
use sotto_protocol::label::{CERTIFICATE, labelled};
use sotto_protocol::{AccountId, DeviceId, InboxId, KeyId, Timestamp};

use crate::kem::KemPrivateKey;
use crate::keys::{BadSignature, RootKey, verify};
use crate::olm::{Accepted, OlmAccount, OlmError, OlmMessage};
use crate::party::{DeviceName, Party};
use crate::prekey::{Bundle, seal_bundle, sign_kem_key, sign_last_resort_key};
use crate::seal::{Arrived, OfferedSeal, SealError, SealMaker, Sealed};
use crate::secret::PrekeyKey;

const NAME: DeviceName = DeviceName { account: AccountId::from_bytes([1; 32]), device: DeviceId::from_bytes([2; 16]) };

/// This build must not be used: something that has to be refused was accepted, or the other way round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cryptographic self-test failed: {0}")]
pub struct SelfTestFailed(&'static str);

/// Runs the self-test. Call it once, before anything else.
///
/// # Errors
/// [`SelfTestFailed`]: do not start.
pub fn self_test(rng: &mut impl CryptoRng) -> Result<(), SelfTestFailed> {
    check(&THIS_BUILD, rng)
}

/// The three doors through which everything comes that somebody else made.
#[derive(Clone, Copy)]
struct Doors {
    verify: Verify,
    open: Open,
    accept: Accept,
}

type Verify = fn(&[u8; 32], &[u8], &[u8]) -> Result<(), BadSignature>;
type Open = fn(&OfferedSeal, &Arrived<'_>, &[u8]) -> Result<Sealed, SealError>;
type Accept = fn(&OlmAccount, &[u8; 32], &OlmMessage) -> Result<Accepted, OlmError>;

const THIS_BUILD: Doors = Doors { verify, open: OfferedSeal::open, accept: OlmAccount::accept };

fn check(doors: &Doors, rng: &mut impl CryptoRng) -> Result<(), SelfTestFailed> {
    check_signatures(doors, rng)?;
    check_letters(doors, rng)
}

fn check_signatures(doors: &Doors, rng: &mut impl CryptoRng) -> Result<(), SelfTestFailed> {
    let root = RootKey::generate(rng);
    let signature = root.sign(CERTIFICATE, &[b"signed"]);
    let verifies = |part: &[u8]| (doors.verify)(&root.public(), &labelled(CERTIFICATE, &[part]), &signature).is_ok();
    require(verifies(b"signed"), "a good signature was refused")?;
    require(!verifies(b"forged"), "a forged signature was accepted")
}

fn check_letters(doors: &Doors, rng: &mut impl CryptoRng) -> Result<(), SelfTestFailed> {
    let (alice, bob) = (OlmAccount::generate(Timestamp::EPOCH), OlmAccount::generate(Timestamp::EPOCH));
    let kem = KemPrivateKey::generate(rng);
    let bundle = exchange_bundle(&bob, &kem, rng)?;
    let mut session = alice.begin(&bob.curve25519(), &bundle.last_resort).map_err(|_| SelfTestFailed("no session"))?;
    let message = session.encrypt(b"letter").map_err(|_| SelfTestFailed("no message"))?;
    let maker = SealMaker::encapsulate(&NAME, &bundle.kem, rng);
    let envelope = maker.seal_opener(&NAME, &message, rng).map_err(|_| SelfTestFailed("no envelope"))?;

    let arrived = Arrived::read(&envelope.header).map_err(|_| SelfTestFailed("no header"))?;
    let Header::Opener { key_id, enc, .. } = arrived.header() else { return Err(SelfTestFailed("no opener")) };
    let offered = OfferedSeal::decapsulate(&NAME, &kem, key_id, enc);
    let open = |payload: &[u8]| (doors.open)(&offered, &arrived, payload);
    require(open(&tampered(&envelope.payload)).is_err(), "a tampered seal was opened")?;
    let opened = open(&envelope.payload).map_err(|_| SelfTestFailed("a good seal was refused"))?;

    let changed = OlmMessage::decode(opened.message.kind().into(), tampered(opened.message.bytes()).into());
    let changed = changed.map_err(|_| SelfTestFailed("no tampered message"))?;
    let accept = |message: &OlmMessage| (doors.accept)(&bob, &alice.curve25519(), message);
    require(accept(&changed).is_err(), "a tampered message was decrypted")?;
    let accepted = accept(&opened.message).map_err(|_| SelfTestFailed("a good message was refused"))?;
    require(*accepted.plaintext == b"letter", "a message changed on its way")
}

fn exchange_bundle(
    device: &OlmAccount,
    kem: &KemPrivateKey,
    rng: &mut impl CryptoRng,
) -> Result<Bundle, SelfTestFailed> {
    let now = Timestamp::EPOCH;
    let (prekey_key, inbox) = (PrekeyKey::generate(rng), InboxId::from_bytes([3; 16]));
    let last_resort = device.last_resort();
    let kem = sign_kem_key(device, &NAME, KeyId::from_bytes([4; 8]), &kem.public(), now);
    let last_resort = sign_last_resort_key(device, &NAME, last_resort.id(), &last_resort.key(), now);
    let blob = seal_bundle(&kem, &last_resort, &prekey_key, &inbox, rng);
    let (ed25519, curve25519) = (device.ed25519(), device.curve25519());
    let owner = Party { account: NAME.account, device: NAME.device, ed25519, curve25519 };
    Bundle::open(&blob, &prekey_key, &inbox, &owner, now).map_err(|_| SelfTestFailed("a good bundle was refused"))
}

/// The last byte of everything tested here is of an authentication tag.
fn tampered(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes
}

fn require(condition: bool, otherwise: &'static str) -> Result<(), SelfTestFailed> {
    if condition { Ok(()) } else { Err(SelfTestFailed(otherwise)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    fn this_build_passes_its_self_test() {
        assert_eq!(self_test(&mut ChaCha20Rng::seed_from_u64(1)), Ok(()));
    }

    /// What was tampered with, as its maker made it.
    fn mended(message: &OlmMessage) -> OlmMessage {
        OlmMessage::decode(message.kind().into(), tampered(message.bytes()).into()).unwrap()
    }

    #[test]
    fn a_build_that_checks_nothing_fails_its_self_test() {
        let refusal = |doors: Doors| check(&doors, &mut ChaCha20Rng::seed_from_u64(1)).unwrap_err().0;
        let any_signature = Doors { verify: |_, _, _| Ok(()), ..THIS_BUILD };
        assert_eq!(refusal(any_signature), "a forged signature was accepted");
        let any_seal = Doors {
            open: |seal, header, payload| seal.open(header, payload).or_else(|_| seal.open(header, &tampered(payload))),
            ..THIS_BUILD
        };
        assert_eq!(refusal(any_seal), "a tampered seal was opened");
        let any_message = Doors {
            accept: |account, key, message| {
                account.accept(key, message).or_else(|_| account.accept(key, &mended(message)))
            },
            ..THIS_BUILD
        };
        assert_eq!(refusal(any_message), "a tampered message was decrypted");
    }

    #[test]
    fn a_build_that_refuses_everything_fails_its_self_test() {
        let refusal = |doors: Doors| check(&doors, &mut ChaCha20Rng::seed_from_u64(1)).unwrap_err().0;
        let no_signature = Doors { verify: |_, _, _| Err(BadSignature), ..THIS_BUILD };
        assert_eq!(refusal(no_signature), "a good signature was refused");
        let no_seal = Doors { open: |_, _, _| Err(SealError::CannotOpen), ..THIS_BUILD };
        assert_eq!(refusal(no_seal), "a good seal was refused");
        let no_message = Doors { accept: |_, _, _| Err(OlmError::BadMessage), ..THIS_BUILD };
        assert_eq!(refusal(no_message), "a good message was refused");
    }
}
