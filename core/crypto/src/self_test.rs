//! The start-up self-test: proof that this very build refuses what it must refuse.
//!
//! Test builds of cryptographic libraries can switch authentication off (vodozemac does under `cfg(fuzzing)`), and a miscompiled or
//! patched primitive fails silently. So before any key is used, one message, one seal and one signature are made, accepted, changed by
//! a bit, and must be refused. It costs about a millisecond.

use rand_core::CryptoRng;
use sotto_protocol::{AccountId, Bytes, DeviceId, KeyId, Timestamp};

use crate::kem::KemPrivateKey;
use crate::keys::{RootKey, verify};
use crate::olm::{OlmAccount, OlmMessage};
use crate::party::{DeviceName, Party};
use crate::prekey::{Bundle, seal_bundle, sign_kem_key, sign_last_resort_key};
use crate::seal::{SealKey, SealMaker};
use crate::secret::PrekeyKey;
use sotto_protocol::InboxId;
use sotto_protocol::header::Header;

/// This build must not be used: something that has to be refused was accepted, or the other way round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cryptographic self-test failed: {0}")]
pub struct SelfTestFailed(&'static str);

/// Runs the self-test. Call it once, before anything else.
///
/// # Errors
/// [`SelfTestFailed`]: do not start.
pub fn self_test(rng: &mut impl CryptoRng) -> Result<(), SelfTestFailed> {
    check_signatures(rng)?;
    check_letters(rng)
}

fn check_signatures(rng: &mut impl CryptoRng) -> Result<(), SelfTestFailed> {
    let root = RootKey::generate(rng);
    let signature = root.sign("self-test", &[b"signed"]);
    let signed = sotto_protocol::label::labelled("self-test", &[b"signed"]);
    let other = sotto_protocol::label::labelled("self-test", &[b"forged"]);
    require(verify(&root.public(), &signed, &signature).is_ok(), "a good signature was refused")?;
    require(verify(&root.public(), &other, &signature).is_err(), "a forged signature was accepted")
}

fn check_letters(rng: &mut impl CryptoRng) -> Result<(), SelfTestFailed> {
    let now = Timestamp::EPOCH;
    let (alice, bob) = (OlmAccount::generate(now), OlmAccount::generate(now));
    let (kem, key_id) = (KemPrivateKey::generate(rng), KeyId::from_bytes([1; 8]));
    let bundle = exchange_bundle(&bob, &kem, key_id, now, rng)?;

    let mut session = alice.begin(&bob.curve25519(), &bundle.last_resort).map_err(|_| SelfTestFailed("no session"))?;
    let message = session.encrypt(b"letter").map_err(|_| SelfTestFailed("no message"))?;
    let maker = SealMaker::encapsulate(&name(&bob), &bundle.kem, rng).map_err(|_| SelfTestFailed("no seal"))?;
    let envelope = maker.seal_opener(&name(&alice), &message, rng).map_err(|_| SelfTestFailed("no envelope"))?;

    let Ok(Header::Opener { key_id, enc, .. }) = Header::decode(&envelope.header) else {
        return Err(SelfTestFailed("no opener"));
    };
    let key = SealKey::decapsulate(&name(&bob), &kem, &key_id, &enc).map_err(|_| SelfTestFailed("no seal key"))?;
    let last = envelope.payload.len() - 1;
    require(key.open(&envelope.header, &flipped(&envelope.payload, last)).is_err(), "a tampered seal was opened")?;
    let opened =
        key.open(&envelope.header, &envelope.payload).map_err(|_| SelfTestFailed("a good seal was refused"))?;

    let last = opened.message.bytes().len() - 1;
    let tampered = OlmMessage::decode(opened.message.kind().into(), Bytes::from(flipped(opened.message.bytes(), last)));
    let tampered = tampered.map_err(|_| SelfTestFailed("no tampered message"))?;
    require(bob.accept(&alice.curve25519(), &tampered).is_err(), "a tampered message was decrypted")?;
    let accepted =
        bob.accept(&alice.curve25519(), &opened.message).map_err(|_| SelfTestFailed("a good message was refused"))?;
    require(*accepted.plaintext == b"letter", "a message changed on its way")
}

fn exchange_bundle(
    device: &OlmAccount,
    kem: &KemPrivateKey,
    key_id: KeyId,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> Result<Bundle, SelfTestFailed> {
    let (account, device_id) = (name(device).account, name(device).device);
    let owner = Party { account, device: device_id, ed25519: device.ed25519(), curve25519: device.curve25519() };
    let (prekey_key, inbox) = (PrekeyKey::generate(rng), InboxId::from_bytes([1; 16]));
    let last_resort = device.last_resort();
    let kem = sign_kem_key(device, &owner, key_id, &kem.public(), now);
    let last_resort = sign_last_resort_key(device, &owner, last_resort.id(), &last_resort.key(), now);
    let blob = seal_bundle(&kem, &last_resort, &prekey_key, &inbox, rng);
    Bundle::open(&blob, &prekey_key, &inbox, &owner, now).map_err(|_| SelfTestFailed("a good bundle was refused"))
}

const fn name(_device: &OlmAccount) -> DeviceName {
    DeviceName { account: AccountId::from_bytes([1; 32]), device: DeviceId::from_bytes([2; 16]) }
}

fn flipped(bytes: &[u8], position: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[position] ^= 1;
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
}
