//! What a sender accepts and refuses of a relay's prekeys.

use std::time::Duration;

use sotto_protocol::{AccountId, DeviceId};

use super::*;
use crate::testing::{NOW, Person, keys_that_contribute_nothing};

fn open(person: &Person, blob: &[u8], now: Timestamp) -> Result<Bundle, PrekeyError> {
    let inbox = person.inbox();
    Bundle::open(blob, &inbox.prekey_key, &inbox.inbox, &person.party(), now)
}

/// A one-time key that the person's relay gives out, after `change`.
fn one_time(person: &mut Person, change: impl FnOnce(&mut identity::SignedKey)) -> Result<OlmPrekey, PrekeyError> {
    let key = person.olm.generate_one_time_keys(1)[0];
    let SignedKey(mut signed) = sign_one_time_key(&person.olm, &person.party().name(), key.id, &key.key, NOW);
    change(&mut signed);
    open_one_time_key(person, signed)
}

fn open_one_time_key(person: &mut Person, signed: identity::SignedKey) -> Result<OlmPrekey, PrekeyError> {
    let inbox = person.device.inboxes[0].clone();
    let blob = SignedKey(signed).seal_one_time(&inbox.prekey_key, &inbox.inbox, &mut person.rng);
    open_one_time(&blob, &inbox.prekey_key, &inbox.inbox, &person.party(), NOW)
}

fn resign(person: &Person, purpose: Purpose, owner: &DeviceName, signed: &mut identity::SignedKey) {
    let id = KeyId::try_from(&*signed.id).unwrap();
    let expires_at = Timestamp::from_ms(signed.expires_at_ms);
    let signature = person.olm.sign(&signature_input(purpose, owner, &id, expires_at, &signed.key));
    signed.signature = Bytes::copy_from_slice(&signature);
}

/// The person's bundle, after `change`.
fn bundle(person: &mut Person, change: impl FnOnce(&Person, &mut identity::Bundle)) -> Result<Bundle, PrekeyError> {
    let blob = person.bundle_blob(NOW);
    let inbox = person.device.inboxes[0].clone();
    let opened = open_blob(&inbox.prekey_key, &inbox.inbox, Blob::Bundle, &blob, BUNDLE_BYTES_MAX).unwrap();
    let mut message = identity::Bundle::decode(opened).unwrap();
    change(person, &mut message);
    let blob = seal_blob(&inbox.prekey_key, &inbox.inbox, Blob::Bundle, &message.encode_to_vec(), &mut person.rng);
    open(person, &blob, NOW)
}

#[test]
fn d5_a_bundle_and_a_one_time_key_open_as_they_were_signed() {
    let mut person = Person::new(1);
    let bundle = person.bundle();
    assert!(*bundle.kem.key() == person.kem.public() && bundle.kem.id() == KeyId::from_bytes(*b"kem key1"));
    assert_eq!(bundle.last_resort.key(), &person.olm.last_resort().key());
    assert_eq!(bundle.last_resort.id(), person.olm.last_resort().id());
    assert!(one_time(&mut person, |_| {}).is_ok());
}

#[test]
fn d5_a_key_that_claims_to_hold_longer_than_its_kind_may_is_refused() {
    let mut person = Person::new(1);
    let blob = person.bundle_blob(NOW);
    let day = Duration::from_secs(24 * 3600);
    assert!(open(&person, &blob, NOW.before(day)).is_ok());
    let earlier = Timestamp::from_ms(NOW.before(day).as_ms() - 1);
    assert_eq!(open(&person, &blob, earlier).err(), Some(PrekeyError::HoldsTooLong));
    let owner = person.party().name();
    let long = one_time_for(&mut person, NOW.after(ONE_TIME_KEY_VALID).after(day), &owner);
    assert!(long.is_ok());
    let longer = NOW.after(ONE_TIME_KEY_VALID).after(day).after(Duration::from_millis(1));
    assert_eq!(one_time_for(&mut person, longer, &owner), Err(PrekeyError::HoldsTooLong));
}

/// A one-time key signed to hold until then.
fn one_time_for(person: &mut Person, expires_at: Timestamp, owner: &DeviceName) -> Result<OlmPrekey, PrekeyError> {
    let key = person.olm.generate_one_time_keys(1)[0];
    let SignedKey(mut signed) = sign_one_time_key(&person.olm, owner, key.id, &key.key, NOW);
    signed.expires_at_ms = expires_at.as_ms();
    resign(person, Purpose::OneTime, owner, &mut signed);
    open_one_time_key(person, signed)
}

#[test]
fn d5_an_unsigned_key_is_refused() {
    let mut person = Person::new(1);
    assert_eq!(one_time(&mut person, |signed| signed.signature.clear()), Err(PrekeyError::Unsigned));
    let unsigned = bundle(&mut person, |_, bundle| bundle.kem.as_mut().unwrap().signature.clear());
    assert_eq!(unsigned.err(), Some(PrekeyError::Unsigned));
    let unsigned = bundle(&mut person, |_, bundle| bundle.last_resort.as_mut().unwrap().signature.clear());
    assert_eq!(unsigned.err(), Some(PrekeyError::Unsigned));
}

#[test]
fn d5_a_key_signed_for_another_purpose_is_refused() {
    let mut person = Person::new(1);
    let owner = person.party().name();
    for purpose in [Purpose::LastResort, Purpose::Kem] {
        let key = person.olm.generate_one_time_keys(1)[0];
        let mut signed = sign_one_time_key(&person.olm, &owner, key.id, &key.key, NOW).0;
        resign(&person, purpose, &owner, &mut signed);
        assert_eq!(open_one_time_key(&mut person, signed), Err(PrekeyError::WrongPurpose));
    }
    for purpose in [Purpose::OneTime, Purpose::Kem] {
        let mislabelled = bundle(&mut person, |person, bundle| {
            resign(person, purpose, &owner, bundle.last_resort.as_mut().unwrap());
        });
        assert_eq!(mislabelled.err(), Some(PrekeyError::WrongPurpose));
    }
    for purpose in [Purpose::OneTime, Purpose::LastResort] {
        let mislabelled = bundle(&mut person, |person, bundle| {
            resign(person, purpose, &owner, bundle.kem.as_mut().unwrap());
        });
        assert_eq!(mislabelled.err(), Some(PrekeyError::WrongPurpose));
    }
}

#[test]
fn d5_a_key_of_another_device_or_account_is_refused() {
    let mut person = Person::new(1);
    let name = person.party().name();
    for owner in [
        DeviceName { device: DeviceId::from_bytes([1; 16]), ..name },
        DeviceName { account: AccountId::from_bytes([1; 32]), ..name },
    ] {
        let key = person.olm.generate_one_time_keys(1)[0];
        let signed = sign_one_time_key(&person.olm, &owner, key.id, &key.key, NOW).0;
        assert_eq!(open_one_time_key(&mut person, signed), Err(PrekeyError::BadSignature));
    }
    let stranger = Person::new(2);
    let key = person.olm.generate_one_time_keys(1)[0];
    let signed = sign_one_time_key(&stranger.olm, &name, key.id, &key.key, NOW).0;
    assert_eq!(open_one_time_key(&mut person, signed), Err(PrekeyError::BadSignature));
}

#[test]
fn d5_a_key_that_was_changed_is_refused() {
    let mut person = Person::new(1);
    let other = Bytes::copy_from_slice(&Person::new(2).olm.last_resort().key());
    assert_eq!(one_time(&mut person, |signed| signed.key = other), Err(PrekeyError::BadSignature));
    assert_eq!(one_time(&mut person, |signed| signed.expires_at_ms += 1), Err(PrekeyError::BadSignature));
    let renamed = |signed: &mut identity::SignedKey| signed.id = Bytes::from_static(&[9; 8]);
    assert_eq!(one_time(&mut person, renamed), Err(PrekeyError::BadSignature));
}

#[test]
fn d5_an_expired_key_is_refused() {
    let mut person = Person::new(1);
    let expires_at = NOW.after(ONE_TIME_KEY_VALID);
    let key = person.olm.generate_one_time_keys(1)[0];
    let inbox = person.device.inboxes[0].clone();
    let signed = sign_one_time_key(&person.olm, &person.party().name(), key.id, &key.key, NOW);
    let blob = signed.seal_one_time(&inbox.prekey_key, &inbox.inbox, &mut person.rng);
    let open_at = |now| open_one_time(&blob, &inbox.prekey_key, &inbox.inbox, &person.party(), now);
    assert!(open_at(Timestamp::from_ms(expires_at.as_ms() - 1)).is_ok());
    assert_eq!(open_at(expires_at), Err(PrekeyError::Expired));
}

#[test]
fn d4_a_bundle_is_valid_37_days_and_due_after_48_hours() {
    let mut person = Person::new(1);
    let blob = person.bundle_blob(NOW);
    let end = NOW.after(Duration::from_secs(37 * 24 * 3600));
    let last_moment = Timestamp::from_ms(end.as_ms() - 1);
    let bundle = open(&person, &blob, last_moment).unwrap();
    assert_eq!(open(&person, &blob, end).err(), Some(PrekeyError::Expired));
    assert!(bundle.is_expired(end) && !bundle.is_expired(last_moment));

    let due = NOW.after(Duration::from_secs(48 * 3600));
    assert!(!bundle.is_due(due));
    assert!(bundle.is_due(Timestamp::from_ms(due.as_ms() + 1)));
}

#[test]
fn a_blob_opens_for_its_inbox_key_and_kind_only() {
    let mut person = Person::new(1);
    let blob = person.bundle_blob(NOW);
    let (owner, inbox) = (person.party(), person.inbox().clone());
    let other_inbox = InboxId::from_bytes([9; 16]);
    let refused = |opened: Result<Bundle, PrekeyError>| assert_eq!(opened.err(), Some(PrekeyError::CannotOpen));
    refused(Bundle::open(&blob, &inbox.prekey_key, &other_inbox, &owner, NOW));
    refused(Bundle::open(&blob, &PrekeyKey::from_bytes([9; 32]), &inbox.inbox, &owner, NOW));
    let mut tampered = blob.clone();
    tampered[30] ^= 1;
    refused(open(&person, &tampered, NOW));
    refused(open(&person, &blob[..20], NOW));

    let key = person.olm.generate_one_time_keys(1)[0];
    let signed = sign_one_time_key(&person.olm, &owner.name(), key.id, &key.key, NOW);
    let one_time = signed.seal_one_time(&inbox.prekey_key, &inbox.inbox, &mut person.rng);
    refused(open(&person, &one_time, NOW));
    let as_one_time = open_one_time(&blob[..400], &inbox.prekey_key, &inbox.inbox, &owner, NOW);
    assert_eq!(as_one_time, Err(PrekeyError::CannotOpen));
}

#[test]
fn keys_that_contribute_nothing_are_refused_even_when_signed() {
    let mut person = Person::new(1);
    let owner = person.party().name();
    for key in keys_that_contribute_nothing() {
        let signed = sign_one_time_key(&person.olm, &owner, KeyId::from_bytes([1; 8]), &key, NOW).0;
        assert_eq!(open_one_time_key(&mut person, signed), Err(PrekeyError::NonContributory));
        let weak = bundle(&mut person, |person, bundle| {
            let last_resort = bundle.last_resort.as_mut().unwrap();
            last_resort.key = Bytes::copy_from_slice(&key);
            resign(person, Purpose::LastResort, &owner, last_resort);
        });
        assert_eq!(weak.err(), Some(PrekeyError::NonContributory));
        let weak = bundle(&mut person, |person, bundle| {
            let kem = bundle.kem.as_mut().unwrap();
            kem.key = [&kem.key[..1_184], &key].concat().into();
            resign(person, Purpose::Kem, &owner, kem);
        });
        assert_eq!(weak.err(), Some(PrekeyError::BadKemKey));
    }
}

#[test]
fn what_is_no_kem_key_is_refused_even_when_signed() {
    let mut person = Person::new(1);
    let owner = person.party().name();
    // ML-KEM's coefficients are below 3,329; all ones is above.
    let unreduced = |key: &Bytes| Bytes::from([&[0xff; 3], &key[3..]].concat());
    for change in [unreduced, |key: &Bytes| key.slice(1..), |_: &Bytes| Bytes::new()] {
        let refused = bundle(&mut person, |person, bundle| {
            let kem = bundle.kem.as_mut().unwrap();
            kem.key = change(&kem.key);
            resign(person, Purpose::Kem, &owner, kem);
        });
        assert_eq!(refused.err(), Some(PrekeyError::BadKemKey));
    }
}

#[test]
fn malformed_prekeys_are_refused() {
    let mut person = Person::new(1);
    let is_malformed =
        |error: Option<PrekeyError>| assert!(matches!(error, Some(PrekeyError::Malformed(_))), "{error:?}");
    is_malformed(one_time(&mut person, |signed| signed.id = Bytes::from_static(&[1; 7])).err());
    is_malformed(one_time(&mut person, |signed| signed.key = Bytes::from_static(&[1; 31])).err());
    is_malformed(bundle(&mut person, |_, bundle| bundle.kem = None).err());
    is_malformed(bundle(&mut person, |_, bundle| bundle.last_resort = None).err());
    is_malformed(open(&person, &[0; BUNDLE_BYTES_MAX + 1], NOW).err());
}
