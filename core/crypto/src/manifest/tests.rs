//! What a reader of manifests accepts and refuses.

use std::time::Duration;

use sotto_protocol::identity::SignedManifest;
use sotto_protocol::limits::CERTIFICATE_VALID;
use sotto_protocol::{ChainId, InboxId, Message};

use super::*;
use crate::certificate::{Continues, Epoch};
use crate::keys::ListKey;
use crate::olm::OlmAccount;
use crate::secret::{ChainKey, PrekeyKey};
use crate::testing::{NOW, Person, device, epoch, keys_that_contribute_nothing, random, rng};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn verify(person: &Person, bytes: &Bytes, history: History<'_>) -> Result<VerifiedManifest, ManifestError> {
    VerifiedManifest::verify(&person.account(), bytes.clone(), history, NOW)
}

/// A manifest that the person signed, saying whatever `change` makes of it.
fn signed(person: &Person, change: impl FnOnce(&mut identity::Manifest)) -> Bytes {
    signed_by(person, &person.list_key, change)
}

fn signed_by(person: &Person, list_key: &ListKey, change: impl FnOnce(&mut identity::Manifest)) -> Bytes {
    let outer = SignedManifest::decode(person.manifest(1, None).bytes().clone()).unwrap();
    let mut message = identity::Manifest::decode(outer.manifest.clone()).unwrap();
    change(&mut message);
    sign_bytes(person, list_key, outer, message.encode_to_vec().into())
}

fn sign_bytes(person: &Person, list_key: &ListKey, outer: SignedManifest, manifest: Bytes) -> Bytes {
    let signature = list_key.sign(MANIFEST, &[person.account().as_ref(), &manifest]);
    SignedManifest { manifest, manifest_signature: Bytes::copy_from_slice(&signature), ..outer }.encode_to_vec().into()
}

fn refusal(person: &Person, change: impl FnOnce(&mut identity::Manifest)) -> ManifestError {
    verify(person, &signed(person, change), History::Unknown).err().unwrap()
}

/// The same person in another epoch, with another list key.
fn in_epoch(mut person: Person, number: u32, seed: u64) -> Person {
    person.list_key = ListKey::generate(&mut rng(seed));
    person.certificate = Certificate::issue(&person.root, epoch(number, &person.list_key), NOW);
    person
}

fn device_of(message: &mut identity::Manifest) -> &mut identity::Device {
    &mut message.devices[0]
}

#[test]
fn a_manifest_says_what_was_signed() {
    let person = Person::new(1);
    let manifest = verify(&person, person.manifest(3, Some([7; 32])).bytes(), History::Unknown).unwrap();
    assert_eq!((manifest.account(), manifest.issued_at()), (&person.account(), NOW));
    assert_eq!((manifest.head().order(), manifest.previous()), ((1, 3), Some(&[7; 32])));
    let listed = manifest.device(&person.device.id).unwrap();
    assert!(listed.ed25519 == person.device.ed25519 && listed.curve25519 == person.device.curve25519);
    assert!(
        listed.inboxes[0].inbox == person.inbox().inbox && listed.inboxes[0].prekey_key == person.inbox().prekey_key
    );
    assert_eq!(manifest.party(&person.device.id), Some(person.party()));
    assert_eq!(manifest.party(&DeviceId::from_bytes([0; 16])), None);
}

#[test]
fn b1_a_manifest_of_another_account_is_refused() {
    let (alice, mallory) = (Person::new(1), Person::new(2));
    let read = verify(&alice, mallory.manifest(1, None).bytes(), History::Unknown);
    assert_eq!(read.err(), Some(ManifestError::Certificate(CertificateError::BadSignature)));
}

#[test]
fn b2_a_manifest_that_the_list_key_did_not_sign_is_refused() {
    let person = Person::new(1);
    let bytes = signed_by(&person, &ListKey::generate(&mut rng(9)), |_| {});
    assert_eq!(verify(&person, &bytes, History::Unknown).err(), Some(ManifestError::BadSignature));

    let mut outer = SignedManifest::decode(person.manifest(1, None).bytes().clone()).unwrap();
    outer.manifest = Bytes::from([&*outer.manifest, &[0xfa, 0x01, 0x00]].concat()); // one more field
    let bytes = outer.encode_to_vec().into();
    assert_eq!(verify(&person, &bytes, History::Unknown).err(), Some(ManifestError::BadSignature));
}

#[test]
fn b2_a_list_key_does_not_sign_for_another_epoch_or_account() {
    let person = Person::new(1);
    assert_eq!(refusal(&person, |message| message.epoch = 2), ManifestError::WrongEpoch);
    assert_eq!(refusal(&person, |message| message.account = Bytes::from_static(&[1; 32])), ManifestError::WrongAccount);
    assert_eq!(refusal(&person, |message| message.version = 0), ManifestError::VersionZero);
    let wrong_key = person.draft(1, None).sign(&ListKey::generate(&mut rng(9)), NOW);
    assert_eq!(wrong_key.err(), Some(ManifestError::BadSignature));
}

#[test]
fn b2_an_older_manifest_is_refused() {
    let person = Person::new(1);
    let (first, second) = (person.manifest(1, None), person.manifest(2, None));
    let known = second.known();
    for history in [History::Next(&known), History::Later(&known), History::OtherChain(&known)] {
        let read = verify(&person, first.bytes(), history);
        assert_eq!(read.err(), Some(ManifestError::History(HistoryError::Older)));
    }
    let later_epoch = in_epoch(person, 2, 5);
    let known = later_epoch.manifest(1, None).known();
    let read = verify(&later_epoch, second.bytes(), History::Later(&known));
    assert_eq!(read.err(), Some(ManifestError::History(HistoryError::Older)));
}

#[test]
fn b2_a_fork_is_refused() {
    let person = Person::new(1);
    let known = person.manifest(2, Some([1; 32])).known();
    let fork = person.manifest(2, Some([2; 32]));
    for history in [History::Next(&known), History::Later(&known)] {
        assert_eq!(verify(&person, fork.bytes(), history).err(), Some(ManifestError::History(HistoryError::Fork)));
    }
    // Hashes of another chain say nothing.
    assert!(verify(&person, fork.bytes(), History::OtherChain(&known)).is_ok());
}

#[test]
fn b2_the_known_manifest_may_be_read_again() {
    let person = Person::new(1);
    let manifest = person.manifest(1, None);
    assert!(verify(&person, manifest.bytes(), History::Later(&manifest.known())).is_ok());
}

#[test]
fn b2_the_next_manifest_names_the_known_one() {
    let person = Person::new(1);
    let first = person.manifest(1, None);
    let linked = person.manifest(2, Some(first.head().hash));
    let forked = person.manifest(2, Some([1; 32]));
    let unnamed = person.manifest(2, None);
    let behind_a_gap = person.manifest(3, Some(linked.head().hash));
    let known = first.known();
    assert!(verify(&person, linked.bytes(), History::Next(&known)).is_ok());
    // The version after the known one that continues another: there are two of the known version. With a gap nobody can say that.
    for (manifest, error) in
        [(&forked, HistoryError::Fork), (&unnamed, HistoryError::Fork), (&behind_a_gap, HistoryError::Unlinked)]
    {
        let read = verify(&person, manifest.bytes(), History::Next(&known));
        assert_eq!(read.err(), Some(ManifestError::History(error)));
        assert!(verify(&person, manifest.bytes(), History::Later(&known)).is_ok());
    }
}

#[test]
fn b2_a_new_epoch_heals_whatever_came_before_it() {
    let known = Person::new(1).manifest(2, None).known();
    let healed = in_epoch(Person::new(1), 2, 9);
    let read = verify(&healed, healed.manifest(1, Some([1; 32])).bytes(), History::Next(&known));
    assert!(read.is_ok(), "{:?}", read.err());
}

#[test]
fn b2_two_certificates_for_one_epoch_are_a_compromise_whichever_manifest_is_older() {
    let person = Person::new(1);
    let (second, third) = (person.manifest(2, None).known(), person.manifest(3, None).known());
    let thief = in_epoch(person, 1, 666);
    let stolen = thief.manifest(2, None);
    for known in [&second, &third] {
        for history in [History::Next(known), History::Later(known), History::OtherChain(known)] {
            let read = verify(&thief, stolen.bytes(), history);
            assert_eq!(read.err(), Some(ManifestError::History(HistoryError::Compromised)));
        }
    }
}

#[test]
fn b2_a_new_epoch_is_later_than_any_version_and_heals_a_fork() {
    let person = Person::new(1);
    let fork = person.manifest(9, Some([1; 32]));
    let continues = Some(Continues { version: 9, hash: [2; 32] });
    let mut healed = in_epoch(person, 2, 5);
    healed.certificate = Certificate::issue(&healed.root, Epoch { continues, ..epoch(2, &healed.list_key) }, NOW);
    let manifest = healed.manifest(1, None);
    assert!(manifest.head().order() > fork.head().order());
    assert!(verify(&healed, manifest.bytes(), History::Later(&fork.known())).is_ok());
}

#[test]
fn b4_outside_the_own_devices_chain_kinds_and_dates_are_left_out() {
    let person = Person::new(1);
    let audience = Audience::OwnDevices { author: person.device.id };
    let own = ManifestDraft { audience, ..person.draft(1, None) }.sign(&person.list_key, NOW).unwrap();
    let others = person.manifest(1, None);
    assert!(own.devices()[0].kind == DeviceKind::Phone && own.devices()[0].added_at == NOW);
    assert!(others.devices()[0].kind == DeviceKind::Unspecified && others.devices()[0].added_at == Timestamp::EPOCH);
    assert_eq!(own.head().order(), others.head().order());
    assert_ne!(own.head().hash, others.head().hash);
    assert!(own.author() == Some(&person.device.id) && others.author().is_none());
}

#[test]
fn b4_a_list_of_own_devices_is_by_one_of_them() {
    let person = Person::new(1);
    let audience = Audience::OwnDevices { author: Person::new(2).device.id };
    let refusal = ManifestDraft { audience, ..person.draft(1, None) }.sign(&person.list_key, NOW).err();
    assert_eq!(refusal, Some(ManifestError::Devices(DevicesError::AuthorUnlisted)));
}

#[test]
fn b5_a_manifest_is_fresh_for_37_days_and_usable_for_longer() {
    let person = Person::new(1);
    let manifest = person.manifest(1, None);
    assert!(manifest.is_fresh(NOW.after(37 * DAY)));
    let outdated = Timestamp::from_ms(NOW.after(37 * DAY).as_ms() + 1);
    assert!(!manifest.is_fresh(outdated));
    let bytes = manifest.bytes().clone();
    assert!(VerifiedManifest::verify(&person.account(), bytes.clone(), History::Unknown, outdated).is_ok());

    let end = NOW.after(365 * DAY);
    assert!(manifest.is_expired(end) && !manifest.is_expired(outdated));
    let expired = VerifiedManifest::verify(&person.account(), bytes.clone(), History::Unknown, end);
    assert_eq!(expired.err(), Some(ManifestError::Expired));
    assert!(VerifiedManifest::reload(&person.account(), bytes).is_ok());
}

#[test]
fn b5_a_manifest_dated_more_than_a_day_ahead_is_refused() {
    let person = Person::new(1);
    let bytes = person.manifest(1, None).bytes().clone();
    let read = |now| VerifiedManifest::verify(&person.account(), bytes.clone(), History::Unknown, now).err();
    assert_eq!(read(NOW.before(DAY)), None);
    let earlier = Timestamp::from_ms(NOW.before(DAY).as_ms() - 1);
    assert_eq!(read(earlier), Some(ManifestError::DatedAhead));
    // In a chain only the last entry's time counts: the next renewal heals it.
    let ahead = person.draft(1, None).sign(&person.list_key, NOW.after(365 * DAY)).unwrap();
    let next = person.manifest(2, Some(ahead.head().hash));
    let entries = [ahead.bytes().clone(), next.bytes().clone()];
    assert!(read_chain(&person.account(), &entries, History::Unknown, NOW).is_ok());
    assert_eq!(
        read_chain(&person.account(), &entries[..1], History::Unknown, NOW).err(),
        Some(ManifestError::DatedAhead)
    );
}

#[test]
fn b5_a_manifest_under_an_expired_certificate_is_refused() {
    let person = Person::new(1);
    let bytes = signed(&person, |message| message.expires_at_ms = u64::MAX);
    let end = NOW.after(CERTIFICATE_VALID);
    let read = VerifiedManifest::verify(&person.account(), bytes, History::Unknown, end);
    assert_eq!(read.err(), Some(ManifestError::Certificate(CertificateError::Expired)));
}

#[test]
fn b5_a_letters_head_tells_a_later_list_from_a_fork() {
    let person = Person::new(1);
    let known = person.manifest(2, None).head();
    let head = |epoch, version, hash| Head { epoch, version, hash };
    assert_eq!(known.news(&known), HeadNews::Same);
    assert_eq!(known.news(&head(1, 3, [1; 32])), HeadNews::Newer);
    assert_eq!(known.news(&head(2, 1, [1; 32])), HeadNews::Newer);
    assert_eq!(known.news(&head(1, 1, [1; 32])), HeadNews::Older);
    assert_eq!(known.news(&head(1, 2, [1; 32])), HeadNews::Fork);
}

#[test]
fn d5_a_signature_for_another_purpose_is_no_manifest() {
    let person = Person::new(1);
    let mut outer = SignedManifest::decode(person.manifest(1, None).bytes().clone()).unwrap();
    let label = sotto_protocol::label::CERTIFICATE;
    let signature = person.list_key.sign(label, &[person.account().as_ref(), &outer.manifest]);
    outer.manifest_signature = Bytes::copy_from_slice(&signature);
    let read = verify(&person, &outer.encode_to_vec().into(), History::Unknown);
    assert_eq!(read.err(), Some(ManifestError::BadSignature));
}

#[test]
fn devices_are_distinct_in_ids_keys_and_inboxes() {
    let mut person = Person::new(1);
    let two = |change: &dyn Fn(&mut Device, &Device)| {
        let mut second = device(&OlmAccount::generate(NOW), &mut rng(8));
        change(&mut second, &person.device);
        let devices = [person.device.clone(), second];
        ManifestDraft { devices: &devices, ..person.draft(1, None) }.sign(&person.list_key, NOW)
    };
    assert!(two(&|_, _| {}).is_ok_and(|manifest| manifest.devices().len() == 2));
    let refusal = |change: &dyn Fn(&mut Device, &Device)| two(change).err().unwrap();
    let expected = |error| ManifestError::Devices(error);
    assert_eq!(refusal(&|second, first| second.id = first.id), expected(DevicesError::DuplicateDevice));
    assert_eq!(refusal(&|second, first| second.ed25519 = first.ed25519), expected(DevicesError::DuplicateKey));
    assert_eq!(refusal(&|second, first| second.curve25519 = first.curve25519), expected(DevicesError::DuplicateKey));
    assert_eq!(
        refusal(&|second, first| second.inboxes.clone_from(&first.inboxes)),
        expected(DevicesError::DuplicateInbox)
    );

    let twice = person.device.inboxes[0].clone();
    person.device.inboxes.push(twice);
    assert_eq!(person.draft(1, None).sign(&person.list_key, NOW).err(), Some(expected(DevicesError::DuplicateInbox)));
}

#[test]
fn devices_with_weak_keys_are_refused() {
    let person = Person::new(1);
    for key in keys_that_contribute_nothing() {
        let refusal = refusal(&person, |message| device_of(message).curve25519 = Bytes::copy_from_slice(&key));
        assert_eq!(refusal, ManifestError::Devices(DevicesError::WeakKey));
    }
    let mut identity_point = [0; 32];
    identity_point[0] = 1;
    let refusal = refusal(&person, |message| device_of(message).ed25519 = Bytes::copy_from_slice(&identity_point));
    assert_eq!(refusal, ManifestError::Devices(DevicesError::WeakKey));
}

#[test]
fn malformed_manifests_are_refused() {
    let person = Person::new(1);
    let malformed = [
        refusal(&person, |message| message.format = 2),
        refusal(&person, |message| message.previous = Bytes::from_static(&[1; 31])),
        refusal(&person, |message| message.account = Bytes::from_static(&[1; 31])),
        refusal(&person, |message| message.devices.clear()),
        refusal(&person, |message| message.devices = vec![message.devices[0].clone(); 17]),
        refusal(&person, |message| device_of(message).inboxes.clear()),
        refusal(&person, |message| {
            let device = device_of(message);
            device.inboxes = vec![device.inboxes[0].clone(); 5];
        }),
        refusal(&person, |message| device_of(message).id = Bytes::from_static(&[1; 15])),
        refusal(&person, |message| device_of(message).ed25519 = Bytes::from_static(&[1; 31])),
        refusal(&person, |message| device_of(message).curve25519 = Bytes::from_static(&[1; 33])),
        refusal(&person, |message| device_of(message).replaces = Bytes::from_static(&[1; 15])),
        refusal(&person, |message| device_of(message).inboxes[0].relay = "https://Relay.example".to_owned()),
        refusal(&person, |message| device_of(message).inboxes[0].relay = "https://relay.example/".to_owned()),
        refusal(&person, |message| device_of(message).inboxes[0].inbox = Bytes::from_static(&[1; 15])),
        refusal(&person, |message| device_of(message).inboxes[0].prekey_key = Bytes::from_static(&[1; 31])),
    ];
    assert!(malformed.iter().all(|refusal| matches!(refusal, ManifestError::Malformed(_))), "{malformed:?}");
    assert_eq!(malformed[0], ManifestError::Malformed(DecodeError::UnknownVersion { version: 2 }));

    let mut outer = SignedManifest::decode(person.manifest(1, None).bytes().clone()).unwrap();
    outer.manifest_signature = Bytes::new();
    let unsigned = verify(&person, &outer.encode_to_vec().into(), History::Unknown).err().unwrap();
    assert!(matches!(unsigned, ManifestError::Malformed(DecodeError::WrongLength { .. })));
    let too_long = verify(&person, &Bytes::from(vec![0; CHAIN_ENTRY_BYTES_MAX + 1]), History::Unknown).err().unwrap();
    assert!(matches!(too_long, ManifestError::Malformed(DecodeError::TooLong { .. })));
}

#[test]
fn fields_of_the_future_are_signed_and_survive() {
    let person = Person::new(1);
    let outer = SignedManifest::decode(person.manifest(1, None).bytes().clone()).unwrap();
    let with_field = Bytes::from([&*outer.manifest, &[0xfa, 0x01, 0x03, b'n', b'e', b'w']].concat()); // field 31
    let bytes = sign_bytes(&person, &person.list_key, outer, with_field);
    let read = verify(&person, &bytes, History::Unknown).unwrap();
    assert_eq!(read.bytes(), &bytes);
    assert_ne!(read.head().hash, person.manifest(1, None).head().hash);
}

#[test]
fn a_device_of_a_future_kind_is_read_as_one_of_no_kind() {
    let person = Person::new(1);
    let bytes = signed(&person, |message| device_of(message).kind = 99);
    assert!(verify(&person, &bytes, History::Unknown).unwrap().devices()[0].kind == DeviceKind::Unspecified);
}

#[test]
fn what_is_signed_fits_an_entry() {
    let mut person = Person::new(1);
    let (chain, key) = (ChainId::from_bytes([1; 32]), ChainKey::from_bytes([2; 32]));
    // Twelve devices with long addresses nearly fill an entry; the address of a thirteenth grows until no more fits.
    let mut devices: Vec<Device> = (0..13).map(|_| device(&OlmAccount::generate(NOW), &mut person.rng)).collect();
    for device in &mut devices[..12] {
        device.inboxes = [(); 4].map(|()| device_inbox(&mut person.rng, 230)).to_vec();
    }
    let mut signed = (1..230).map(|length| {
        devices[12].inboxes = vec![device_inbox(&mut person.rng, length)];
        let draft = ManifestDraft {
            certificate: &person.certificate,
            version: 1,
            previous: None,
            devices: &devices,
            audience: Audience::Others,
        };
        let manifest = draft.sign(&person.list_key, NOW)?;
        Ok(seal_entry(&manifest, &chain, &key, &mut person.rng).len())
    });
    let fitting: Vec<usize> = signed.by_ref().map_while(Result::ok).collect();
    assert_eq!(fitting.last(), Some(&CHAIN_ENTRY_BYTES_MAX));
    let refused: Option<Result<usize, ManifestError>> = signed.next();
    assert!(matches!(refused, Some(Err(ManifestError::Malformed(DecodeError::TooLong { .. })))));
}

/// An inbox on a relay whose host has that many letters.
fn device_inbox(rng: &mut rand_chacha::ChaCha20Rng, length: usize) -> InboxAddress {
    let host: String =
        "r".repeat(length).as_bytes().chunks(60).map(|label| String::from_utf8_lossy(label) + ".").collect();
    let relay = format!("https://{}example", host).parse().unwrap();
    InboxAddress { relay, inbox: InboxId::from_bytes(random(rng)), prekey_key: PrekeyKey::generate(rng) }
}

#[test]
fn an_entry_opens_in_its_chain_with_its_key_only() {
    let mut person = Person::new(1);
    let manifest = person.manifest(1, None);
    let (chain, key) = (ChainId::from_bytes([1; 32]), ChainKey::from_bytes([2; 32]));
    let entry = seal_entry(&manifest, &chain, &key, &mut person.rng);
    assert_eq!(open_entry(&entry, &chain, &key).as_ref(), Ok(manifest.bytes()));
    let mut tampered = entry.clone();
    *tampered.last_mut().unwrap() ^= 1;
    for refused in [
        open_entry(&entry, &ChainId::from_bytes([9; 32]), &key),
        open_entry(&entry, &chain, &ChainKey::from_bytes([9; 32])),
        open_entry(&tampered, &chain, &key),
        open_entry(&entry[..10], &chain, &key),
    ] {
        assert_eq!(refused, Err(ManifestError::CannotOpen));
    }
    assert_ne!(entry, seal_entry(&manifest, &chain, &key, &mut person.rng));
}

#[test]
fn b2_a_chain_is_read_by_its_links() {
    let person = Person::new(1);
    let first = person.manifest(1, None);
    let second = person.manifest(2, Some(first.head().hash));
    let third = person.manifest(3, Some(second.head().hash));
    let [one, two, three] = [&first, &second, &third].map(|manifest| manifest.bytes().clone());
    let read = |entries: &[Bytes], history: History<'_>| {
        read_chain(&person.account(), entries, history, NOW).map(|manifest| manifest.map(|manifest| manifest.head()))
    };
    assert_eq!(read(&[], History::Unknown), Ok(None));
    assert_eq!(read(&[one.clone(), two.clone(), three.clone()], History::Unknown), Ok(Some(third.head())));
    assert_eq!(read(&[two.clone(), three.clone()], History::Next(&first.known())), Ok(Some(third.head())));
    assert_eq!(read(std::slice::from_ref(&three), History::Later(&first.known())), Ok(Some(third.head())));

    let unlinked = Err(ManifestError::History(HistoryError::Unlinked));
    let fork = Err(ManifestError::History(HistoryError::Fork));
    assert_eq!(read(std::slice::from_ref(&three), History::Next(&first.known())), unlinked);
    assert_eq!(read(&[one.clone(), three.clone()], History::Unknown), unlinked);
    let aside = person.manifest(2, Some([1; 32]));
    let after = person.manifest(3, Some(aside.head().hash));
    assert_eq!(read(&[one.clone(), aside.bytes().clone(), after.bytes().clone()], History::Unknown), fork);
    assert_eq!(read(&[two, one], History::Unknown), Err(ManifestError::History(HistoryError::Older)));
}

#[test]
fn only_the_last_entry_of_a_chain_must_not_be_over() {
    let person = Person::new(1);
    let first = person.manifest(1, None);
    let later = NOW.after(364 * DAY);
    let second = person.draft(2, Some(first.head().hash)).sign(&person.list_key, later).unwrap();
    let entries = [first.bytes().clone(), second.bytes().clone()];
    let now = NOW.after(366 * DAY);
    assert!(read_chain(&person.account(), &entries, History::Unknown, now).is_ok());
    let read = read_chain(&person.account(), &entries[..1], History::Unknown, now);
    assert_eq!(read.err(), Some(ManifestError::Expired));
}

#[test]
fn one_bad_entry_spoils_a_chain() {
    let person = Person::new(1);
    let first = person.manifest(1, None);
    let second = person.manifest(2, Some(first.head().hash));
    let forged = signed_by(&person, &ListKey::generate(&mut rng(9)), |_| {});
    let read = read_chain(&person.account(), &[forged, second.bytes().clone()], History::Unknown, NOW);
    assert_eq!(read.err(), Some(ManifestError::BadSignature));
}
