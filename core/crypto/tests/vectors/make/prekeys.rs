//! Bundles and one-time keys, as a relay gives them out.

use sotto_crypto::DeviceName;
use sotto_crypto::olm::OlmAccount;
use sotto_crypto::prekey::{SignedKey, seal_bundle, sign_kem_key, sign_last_resort_key, sign_one_time_key};
use sotto_protocol::label::{KEM_KEY, LAST_RESORT_KEY, ONE_TIME_KEY, PREKEY_BLOB, labelled};
use sotto_protocol::{AccountId, DeviceId, KeyId, Message, Timestamp, identity};

use super::{Scenarios, flipped_last};
use crate::file::Vector;
use crate::people::{KEM_KEY_ID, NOW, Person, public};

const DAY_MS: u64 = 24 * 3_600_000;
const ONE_TIME_ID: KeyId = KeyId::from_bytes([0, 0, 0, 0, 0, 0, 0, 1]);

pub(crate) fn add(scenarios: &mut Scenarios) {
    add_one_time_keys(scenarios);
    add_bundles(scenarios);
}

fn vector(kind: &str, expect: &str, about: &str, person: &Person, blob: &[u8], now: Timestamp) -> Vector {
    let (party, inbox) = (person.party(), person.inbox());
    Vector::refused(kind, expect, about)
        .hex("account", party.account)
        .hex("device", party.device)
        .hex("ed25519", party.ed25519)
        .hex("inbox", inbox.inbox)
        .hex("prekey_key", inbox.prekey_key.as_bytes())
        .hex("blob", blob)
        .text("now", now.as_ms())
}

/// A blob that says whatever `message` says.
fn seal_blob(person: &mut Person, kind: &[u8], message: &[u8]) -> Vec<u8> {
    use chacha20poly1305::aead::{Aead, KeyInit, Payload};
    let nonce = crate::people::random::<24>(&mut person.rng);
    let inbox = person.inbox();
    let aad = labelled(PREKEY_BLOB, &[inbox.inbox.as_ref(), kind]);
    let cipher = chacha20poly1305::XChaCha20Poly1305::new(inbox.prekey_key.as_bytes().into());
    let ciphertext = cipher.encrypt(&nonce.into(), Payload { msg: message, aad: &aad }).unwrap();
    [nonce.as_slice(), &ciphertext].concat()
}

/// A key signed by the person's device, for whomever and whatever.
fn signed(
    person: &Person,
    label: &str,
    owner: &DeviceName,
    id: KeyId,
    key: &[u8],
    expires_at: Timestamp,
) -> identity::SignedKey {
    let expires = expires_at.as_ms().to_be_bytes();
    let input = labelled(label, &[owner.account.as_ref(), owner.device.as_ref(), id.as_ref(), &expires, key]);
    let signature = vodozemac::Ed25519SecretKey::from_slice(&person.device_seed).sign(&input).to_bytes();
    identity::SignedKey {
        id: id.into(),
        key: key.to_vec().into(),
        expires_at_ms: expires_at.as_ms(),
        signature: signature.to_vec().into(),
    }
}

fn one_time(person: &Person, device: &OlmAccount) -> SignedKey {
    sign_one_time_key(device, &person.party().name(), ONE_TIME_ID, &public(&person.one_time), NOW)
}

fn add_one_time_keys(scenarios: &mut Scenarios) {
    let (mut alice, mallory) = (Person::new(1), Person::new(2));
    let (owner, inbox) = (alice.party().name(), alice.inbox().clone());
    let good = one_time(&alice, &alice.olm).seal_one_time(&inbox.prekey_key, &inbox.inbox, &mut alice.rng);
    let kind = "one-time-key";
    scenarios.add("good", vector(kind, "accepted", "A one-time key.", &alice, &good, NOW));
    let end = Timestamp::from_ms(NOW.as_ms() + 180 * DAY_MS);
    scenarios.add("expired", vector(kind, "expired", "Its time is over.", &alice, &good, end));
    let last = Timestamp::from_ms(end.as_ms() - 1);
    scenarios.add("last-moment", vector(kind, "accepted", "The last millisecond of its time.", &alice, &good, last));
    let early = Timestamp::from_ms(NOW.as_ms() - DAY_MS - 1);
    let about = "It claims to hold for longer than 180 days, and a day for clocks.";
    scenarios.add("holds-too-long", vector(kind, "holds-too-long", about, &alice, &good, early));
    let forged = one_time(&alice, &mallory.olm).seal_one_time(&inbox.prekey_key, &inbox.inbox, &mut alice.rng);
    scenarios
        .add("other-signer", vector(kind, "bad-signature", "Signed by another device's key.", &alice, &forged, NOW));

    let key = public(&alice.one_time);
    let end = Timestamp::from_ms(NOW.as_ms() + DAY_MS);
    let another_device = DeviceName { device: DeviceId::from_bytes([1; 16]), ..owner };
    let another_account = DeviceName { account: AccountId::from_bytes([1; 32]), ..owner };
    let key_of = |label: &str, owner: &DeviceName, key: &[u8; 32]| signed(&alice, label, owner, ONE_TIME_ID, key, end);
    let good_message = key_of(ONE_TIME_KEY, &owner, &key);
    let small_order =
        crate::file::unhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157").try_into().unwrap();
    let changed = |change: &dyn Fn(&mut identity::SignedKey)| {
        let mut message = good_message.clone();
        change(&mut message);
        message
    };
    let messages = [
        ("as-last-resort", "wrong-purpose", "Signed as a last-resort key.", key_of(LAST_RESORT_KEY, &owner, &key)),
        ("as-kem-key", "wrong-purpose", "Signed as a KEM key.", key_of(KEM_KEY, &owner, &key)),
        ("other-device", "bad-signature", "Signed for another device.", key_of(ONE_TIME_KEY, &another_device, &key)),
        ("other-account", "bad-signature", "Signed for another account.", key_of(ONE_TIME_KEY, &another_account, &key)),
        ("zero", "non-contributory", "A key of zeros, signed.", key_of(ONE_TIME_KEY, &owner, &[0; 32])),
        (
            "small-order",
            "non-contributory",
            "A key of small order, signed.",
            key_of(ONE_TIME_KEY, &owner, &small_order),
        ),
        ("unsigned", "unsigned", "Without a signature.", changed(&|message| message.signature.clear())),
        (
            "later-expiry",
            "bad-signature",
            "With a later end than was signed.",
            changed(&|message| message.expires_at_ms += 1),
        ),
        (
            "other-id",
            "bad-signature",
            "With another id than was signed.",
            changed(&|message| message.id = vec![9; 8].into()),
        ),
        (
            "other-key",
            "bad-signature",
            "With another key than was signed.",
            changed(&|message| message.key = vec![9; 32].into()),
        ),
        ("short-id", "malformed", "With an id of another length.", changed(&|message| message.id.truncate(7))),
        ("short-key", "malformed", "With a key of another length.", changed(&|message| message.key.truncate(31))),
    ];
    for (scenario, expect, about, message) in messages {
        let blob = seal_blob(&mut alice, b"one-time", &message.encode_to_vec());
        scenarios.add(scenario, vector(kind, expect, about, &alice, &blob, NOW));
    }

    let as_bundle = seal_blob(&mut alice, b"bundle", &good_message.encode_to_vec());
    scenarios.add("sealed-as-bundle", vector(kind, "cannot-open", "Sealed as a bundle.", &alice, &as_bundle, NOW));
    scenarios.add("changed", vector(kind, "cannot-open", "Changed by one bit.", &alice, &flipped_last(&good), NOW));
    let mut elsewhere = Person::new(1);
    elsewhere.device.inboxes[0].inbox = mallory.inbox().inbox;
    scenarios.add("other-inbox", vector(kind, "cannot-open", "Another inbox's.", &elsewhere, &good, NOW));
    elsewhere.device.inboxes[0] = inbox;
    elsewhere.device.inboxes[0].prekey_key = mallory.inbox().prekey_key.clone();
    scenarios.add("other-prekey-key", vector(kind, "cannot-open", "Under another key.", &elsewhere, &good, NOW));
}

fn add_bundles(scenarios: &mut Scenarios) {
    let mut alice = Person::new(1);
    let (owner, inbox) = (alice.party().name(), alice.inbox().clone());
    let kem = sign_kem_key(&alice.olm, &owner, KEM_KEY_ID, &alice.kem.public(), NOW);
    let last_resort = alice.olm.last_resort();
    let last_resort = sign_last_resort_key(&alice.olm, &owner, last_resort.id(), &last_resort.key(), NOW);
    let good = seal_bundle(&kem, &last_resort, &inbox.prekey_key, &inbox.inbox, &mut alice.rng);
    let kind = "bundle";
    scenarios.add("good", vector(kind, "accepted", "A bundle.", &alice, &good, NOW));
    let end = Timestamp::from_ms(NOW.as_ms() + 37 * DAY_MS);
    scenarios.add("expired", vector(kind, "expired", "Not renewed for 37 days.", &alice, &good, end));
    let early = Timestamp::from_ms(NOW.as_ms() - DAY_MS - 1);
    let about = "It claims to hold for longer than 37 days, and a day for clocks.";
    scenarios.add("holds-too-long", vector(kind, "holds-too-long", about, &alice, &good, early));
    scenarios.add("changed", vector(kind, "cannot-open", "Changed by one bit.", &alice, &flipped_last(&good), NOW));

    let (kem_key, olm_key) = (alice.kem.public().to_bytes(), public(&alice.last_resort));
    let kem_of = |label: &str, owner: &DeviceName, key: &[u8], end: Timestamp| {
        signed(&alice, label, owner, KEM_KEY_ID, key, end)
    };
    let olm_of = |label: &str, key: &[u8]| signed(&alice, label, &owner, ONE_TIME_ID, key, end);
    let (good_kem, good_olm) = (kem_of(KEM_KEY, &owner, &kem_key, end), olm_of(LAST_RESORT_KEY, &olm_key));
    let another_device = DeviceName { device: DeviceId::from_bytes([1; 16]), ..owner };
    let unreduced = [&[0xff; 3], &kem_key[3..]].concat();
    let weak = [&kem_key[..1_184], &[0; 32]].concat();
    let unsigned = identity::SignedKey { signature: prost_bytes(&[]), ..good_kem.clone() };
    let bundles = [
        ("kem-unsigned", "unsigned", "A KEM key without a signature.", Some(unsigned), Some(good_olm.clone())),
        (
            "kem-as-one-time",
            "wrong-purpose",
            "A KEM key signed as a one-time key.",
            Some(kem_of(ONE_TIME_KEY, &owner, &kem_key, end)),
            Some(good_olm.clone()),
        ),
        (
            "kem-of-other-device",
            "bad-signature",
            "A KEM key signed for another device.",
            Some(kem_of(KEM_KEY, &another_device, &kem_key, end)),
            Some(good_olm.clone()),
        ),
        (
            "kem-expired",
            "expired",
            "A KEM key whose time is over, beside a good last-resort key.",
            Some(kem_of(KEM_KEY, &owner, &kem_key, NOW)),
            Some(good_olm.clone()),
        ),
        (
            "kem-unreduced",
            "bad-kem-key",
            "A KEM key with a coefficient that is not reduced.",
            Some(kem_of(KEM_KEY, &owner, &unreduced, end)),
            Some(good_olm.clone()),
        ),
        (
            "kem-weak",
            "bad-kem-key",
            "A KEM key whose X25519 half contributes nothing.",
            Some(kem_of(KEM_KEY, &owner, &weak, end)),
            Some(good_olm.clone()),
        ),
        (
            "kem-short",
            "bad-kem-key",
            "A KEM key of another length.",
            Some(kem_of(KEM_KEY, &owner, &kem_key[1..], end)),
            Some(good_olm.clone()),
        ),
        (
            "last-resort-as-one-time",
            "wrong-purpose",
            "A last-resort key signed as a one-time key.",
            Some(good_kem.clone()),
            Some(olm_of(ONE_TIME_KEY, &olm_key)),
        ),
        (
            "last-resort-zero",
            "non-contributory",
            "A last-resort key of zeros, signed.",
            Some(good_kem.clone()),
            Some(olm_of(LAST_RESORT_KEY, &[0; 32])),
        ),
        ("no-kem", "malformed", "A bundle without a KEM key.", None, Some(good_olm)),
        ("no-last-resort", "malformed", "A bundle without a last-resort key.", Some(good_kem), None),
    ];
    for (scenario, expect, about, kem, last_resort) in bundles {
        let blob = seal_blob(&mut alice, b"bundle", &identity::Bundle { kem, last_resort }.encode_to_vec());
        scenarios.add(scenario, vector(kind, expect, about, &alice, &blob, NOW));
    }
}

fn prost_bytes(bytes: &[u8]) -> sotto_protocol::Bytes {
    sotto_protocol::Bytes::copy_from_slice(bytes)
}
