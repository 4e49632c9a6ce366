//! vodozemac, used carefully: a test for each line of that promise, and the rules of PROTOCOL E that a session decides.

use sotto_protocol::letter::OlmKind;
use sotto_protocol::{Bytes, Timestamp};

use super::*;
use crate::state::sealed::Row;
use crate::testing::{NOW, keys_that_contribute_nothing};

fn pair() -> (OlmAccount, OlmAccount) {
    (OlmAccount::generate(NOW), OlmAccount::generate(NOW))
}

fn one_time_key(account: &mut OlmAccount) -> [u8; 32] {
    account.generate_one_time_keys(1)[0].key
}

/// Alice's session to Bob, Bob's session from her first message, and Bob's account after it.
fn conversation() -> (OlmSession, OlmSession) {
    let (alice, mut bob) = pair();
    let key = one_time_key(&mut bob);
    let mut here = alice.begin_with(&bob.curve25519(), &key).unwrap();
    let accepted = bob.accept(&alice.curve25519(), &here.encrypt(b"first").unwrap()).unwrap();
    let mut there = accepted.session;
    here = here.decrypt(&there.encrypt(b"answer").unwrap()).unwrap().0;
    (here, there)
}

/// The same message with one byte changed.
fn changed(message: &OlmMessage, position: usize, byte: u8) -> Result<OlmMessage, DecodeError> {
    let mut bytes = message.bytes().to_vec();
    bytes[position] = byte;
    OlmMessage::decode(message.kind().into(), bytes.into())
}

fn tampered(message: &OlmMessage) -> OlmMessage {
    let last = message.bytes().len() - 1;
    changed(message, last, message.bytes()[last] ^ 1).unwrap()
}

/// The same message with another key in the place of `key`.
fn with_key(message: &OlmMessage, key: &[u8; 32], replacement: &[u8; 32]) -> OlmMessage {
    let mut bytes = message.bytes().to_vec();
    let position = bytes.windows(32).position(|window| window == key).unwrap();
    bytes[position..position + 32].copy_from_slice(replacement);
    OlmMessage::decode(message.kind().into(), bytes.into()).unwrap()
}

#[test]
fn a_conversation_goes_both_ways_and_survives_being_stored() {
    let (mut here, mut there) = conversation();
    assert_eq!(here.id(), there.id());
    for round in 0..10_u8 {
        let message = here.encrypt(&[round]).unwrap();
        assert!(message.kind() == OlmKind::Normal && here.next_kind() == OlmKind::Normal);
        let (next, plaintext) = there.decrypt(&message).unwrap();
        assert_eq!(*plaintext, [round]);
        (here, there) =
            (OlmSession::from_bytes(&next.to_bytes()).unwrap(), OlmSession::from_bytes(&here.to_bytes()).unwrap());
    }
}

#[test]
fn sessions_are_of_config_version_1() {
    let (alice, mut bob) = pair();
    let key = one_time_key(&mut bob);
    let mut session = alice.begin_with(&bob.curve25519(), &key).unwrap();
    let message = session.encrypt(b"words").unwrap();
    let there = bob.accept(&alice.curve25519(), &message).unwrap().session;
    assert_eq!(message.bytes()[0], 3);
    let inner = message.prekey().unwrap().message().to_bytes();
    assert_eq!(inner[0], 3);
    assert!(OlmMessage::decode(OlmKind::Normal.into(), inner.clone().into()).is_ok());

    // A message of config version 2 has a full MAC behind the same content.
    let version_2 = [&[4], &inner[1..inner.len() - 8], &[0; 32]].concat();
    let refused = OlmMessage::decode(OlmKind::Normal.into(), version_2.into());
    assert_eq!(refused.err(), Some(DecodeError::UnknownVersion { version: 4 }));
    // A session of config version 2 is none that this code stored.
    let row = String::from_utf8(there.to_bytes().to_vec()).unwrap();
    assert!(row.contains(r#""version":"V1""#), "the pickle names its config");
    assert!(OlmSession::from_bytes(row.replace(r#""version":"V1""#, r#""version":"V2""#).as_bytes()).is_err());
}

#[test]
fn state_is_never_pickled_with_vodozemacs_own_encryption() {
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut folders = vec![std::path::PathBuf::from(sources)];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let source = std::fs::read_to_string(&path).unwrap();
                let (encrypt, decrypt) = (concat!("pickle()", ".encrypt("), concat!("::", "from_encrypted("));
                assert!(!source.contains(encrypt) && !source.contains(decrypt), "{}", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 20);
}

#[test]
fn keys_that_contribute_nothing_begin_no_session() {
    let (alice, mut bob) = pair();
    let key = one_time_key(&mut bob);
    for weak in keys_that_contribute_nothing() {
        assert_eq!(alice.begin_with(&weak, &key).err(), Some(OlmError::NonContributory));
        assert_eq!(alice.begin_with(&bob.curve25519(), &weak).err(), Some(OlmError::NonContributory));
    }
}

#[test]
fn keys_that_contribute_nothing_are_accepted_from_no_peer() {
    let (alice, mut bob) = pair();
    let key = one_time_key(&mut bob);
    let message = alice.begin_with(&bob.curve25519(), &key).unwrap().encrypt(b"words").unwrap();
    let base_key = message.prekey().unwrap().base_key().to_bytes();
    for weak in keys_that_contribute_nothing() {
        let with_base_key = with_key(&message, &base_key, &weak);
        assert_eq!(bob.accept(&alice.curve25519(), &with_base_key).err(), Some(OlmError::NonContributory));
        let with_identity = with_key(&message, &alice.curve25519(), &weak);
        assert_eq!(bob.accept(&weak, &with_identity).err(), Some(OlmError::NonContributory));
    }
    assert!(bob.accept(&alice.curve25519(), &message).is_ok());
}

#[test]
fn ratchet_keys_that_contribute_nothing_are_refused() {
    let (mut here, there) = conversation();
    let message = here.encrypt(b"words").unwrap();
    for weak in keys_that_contribute_nothing() {
        let refused = there.decrypt(&with_key(&message, &message.ratchet_key(), &weak));
        assert_eq!(refused.err(), Some(OlmError::NonContributory));
    }
}

#[test]
fn a_message_that_fails_changes_no_session() {
    let (mut here, mut there) = conversation();
    let message = here.encrypt(b"words").unwrap();
    let before = there.to_bytes();
    assert_eq!(there.decrypt(&tampered(&message)).err(), Some(OlmError::BadMessage));
    // An unknown ratchet key makes vodozemac advance its own ratchet before it has authenticated anything.
    let mut random_key = message.ratchet_key();
    random_key[0] ^= 1;
    let unknown = with_key(&message, &message.ratchet_key(), &random_key);
    assert_eq!(there.decrypt(&unknown).err(), Some(OlmError::BadMessage));
    assert!(there.to_bytes() == before);
    // A session that has received and not yet answered is where it would show.
    there = there.decrypt(&message).unwrap().0;
    let before = there.to_bytes();
    assert_eq!(there.decrypt(&unknown).err(), Some(OlmError::BadMessage));
    assert!(there.to_bytes() == before);
}

#[test]
fn a_message_that_decrypts_changes_nothing_until_the_session_after_it_is_stored() {
    let (mut here, there) = conversation();
    let message = here.encrypt(b"words").unwrap();
    let before = there.to_bytes();
    let (after, _) = there.decrypt(&message).unwrap();
    assert!(there.to_bytes() == before);
    assert!(there.decrypt(&message).is_ok());
    assert_eq!(after.decrypt(&message).err(), Some(OlmError::MissingKey { index: message.chain_index() }));
}

#[test]
fn a_one_time_key_is_dropped_only_after_a_success() {
    let (alice, mut bob) = pair();
    let key = one_time_key(&mut bob);
    let message = alice.begin_with(&bob.curve25519(), &key).unwrap().encrypt(b"words").unwrap();
    let before = bob.to_bytes();
    assert_eq!(bob.accept(&alice.curve25519(), &tampered(&message)).err(), Some(OlmError::BadMessage));
    assert_eq!(bob.accept(&bob.curve25519(), &message).err(), Some(OlmError::WrongIdentity));
    assert!(bob.to_bytes() == before && bob.one_time_key_count() == 1);

    let accepted = bob.accept(&alice.curve25519(), &message).unwrap();
    assert_eq!((bob.one_time_key_count(), accepted.account.one_time_key_count()), (1, 0));
    assert_eq!(accepted.prekey, PrekeyUsed::OneTime);
    let again = accepted.account.accept(&alice.curve25519(), &message);
    assert_eq!(again.err(), Some(OlmError::MissingOneTimeKey));
}

#[test]
fn e2_a_session_begun_with_a_last_resort_key_is_known_as_such_because_it_can_be_replayed() {
    let (alice, mut bob) = pair();
    let mut outbound = alice.begin_with(&bob.curve25519(), &bob.last_resort().key()).unwrap();
    let message = outbound.encrypt(b"words").unwrap();
    let first = bob.accept(&alice.curve25519(), &message).unwrap();
    let replayed = first.account.accept(&alice.curve25519(), &message).unwrap();
    assert_eq!((first.prekey, replayed.prekey), (PrekeyUsed::LastResort, PrekeyUsed::LastResort));
    // This is what a tombstone keeps, and what is compared with it before anything is decrypted.
    assert_eq!(message.session(), Some(first.session.id()));
    assert_eq!(first.session.id(), replayed.session.id());

    bob = first.account;
    bob.rotate_last_resort(NOW);
    assert_eq!(bob.accept(&alice.curve25519(), &message).unwrap().prekey, PrekeyUsed::LastResort);
    bob.rotate_last_resort(NOW);
    assert_eq!(bob.accept(&alice.curve25519(), &message).err(), Some(OlmError::MissingOneTimeKey));
}

#[test]
fn d4_two_last_resort_keys_are_kept_and_a_third_erases_the_oldest() {
    let mut bob = OlmAccount::generate(NOW);
    let first = bob.last_resort();
    assert!(bob.last_resort_before().is_none());
    let later = Timestamp::from_ms(NOW.as_ms() + 5);
    let second = bob.rotate_last_resort(later);
    assert_eq!((bob.last_resort(), bob.last_resort_before()), (second, Some(first)));
    assert_eq!((first.made_at(), second.made_at()), (NOW, later));
    assert_ne!((first.key(), first.id()), (second.key(), second.id()));

    let bob_after = OlmAccount::from_bytes(&bob.to_bytes()).unwrap();
    assert_eq!((bob_after.last_resort(), bob_after.last_resort_before()), (second, Some(first)));
    let alice = OlmAccount::generate(NOW);
    let message = alice.begin_with(&bob.curve25519(), &first.key()).unwrap().encrypt(b"words").unwrap();
    bob.rotate_last_resort(later);
    assert_eq!(bob.last_resort_before(), Some(second));
    assert_eq!(bob.accept(&alice.curve25519(), &message).err(), Some(OlmError::MissingOneTimeKey));
    assert!(bob_after.accept(&alice.curve25519(), &message).is_ok());
}

#[test]
fn one_time_keys_have_ids_of_their_own() {
    let mut bob = OlmAccount::generate(NOW);
    let mut keys = bob.generate_one_time_keys(3);
    bob = OlmAccount::from_bytes(&bob.to_bytes()).unwrap();
    keys.extend(bob.generate_one_time_keys(3));
    let last_resort = [bob.last_resort().id(), bob.rotate_last_resort(NOW).id()];
    keys.extend(bob.generate_one_time_keys(3));
    let mut ids: Vec<_> = keys.iter().map(|key| key.id).chain(last_resort).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), bob.one_time_key_count()), (11, 9));
}

#[test]
fn e1_each_end_of_a_simultaneous_beginning_can_read_both_sessions() {
    let (mut alice, mut bob) = pair();
    let (for_alice, for_bob) = (one_time_key(&mut alice), one_time_key(&mut bob));
    let mut from_alice = alice.begin_with(&bob.curve25519(), &for_bob).unwrap();
    let mut from_bob = bob.begin_with(&alice.curve25519(), &for_alice).unwrap();
    let to_bob = bob.accept(&alice.curve25519(), &from_alice.encrypt(b"one").unwrap()).unwrap().session;
    let to_alice = alice.accept(&bob.curve25519(), &from_bob.encrypt(b"two").unwrap()).unwrap().session;
    // Both name the two alike, so both choose the same one to send on.
    assert_eq!(from_alice.id().min(to_alice.id()), from_bob.id().min(to_bob.id()));
    assert!(to_bob.decrypt(&from_alice.encrypt(b"more").unwrap()).is_ok());
    assert!(to_alice.decrypt(&from_bob.encrypt(b"more").unwrap()).is_ok());
}

#[test]
fn e2_a_prekey_message_is_read_by_its_own_session_only() {
    let (alice, mut bob) = pair();
    let keys = [one_time_key(&mut bob), one_time_key(&mut bob)];
    let [mut one, mut two] = keys.map(|key| alice.begin_with(&bob.curve25519(), &key).unwrap());
    let there = bob.accept(&alice.curve25519(), &one.encrypt(b"first").unwrap()).unwrap().session;
    assert!(there.decrypt(&one.encrypt(b"second").unwrap()).is_ok());
    assert_eq!(there.decrypt(&two.encrypt(b"first").unwrap()).err(), Some(OlmError::WrongSession));
}

#[test]
fn a_session_remembers_whose_key_it_was_made_with() {
    let (alice, mut bob) = pair();
    let key = one_time_key(&mut bob);
    let mut here = alice.begin_with(&bob.curve25519(), &key).unwrap();
    let there = bob.accept(&alice.curve25519(), &here.encrypt(b"first").unwrap()).unwrap().session;
    assert_eq!((here.peer(), there.peer()), (bob.curve25519(), alice.curve25519()));
    assert_eq!(OlmSession::from_bytes(&there.to_bytes()).unwrap().peer(), alice.curve25519());
    let normal = conversation().0.encrypt(b"words").unwrap();
    assert_eq!(bob.accept(&alice.curve25519(), &normal).err(), Some(OlmError::NotAPrekeyMessage));
}

#[test]
fn e3_the_same_message_has_one_inner_hash_and_its_kind_is_part_of_it() {
    let (mut here, _) = conversation();
    let (one, two) = (here.encrypt(b"words").unwrap(), here.encrypt(b"words").unwrap());
    let again = OlmMessage::decode(one.kind().into(), one.bytes().clone()).unwrap();
    assert_eq!(one.inner_hash(), again.inner_hash());
    assert_ne!(one.inner_hash(), two.inner_hash());
    assert_ne!(inner_hash(OlmKind::Normal, one.bytes()), inner_hash(OlmKind::Prekey, one.bytes()));
}

#[test]
fn e6_how_many_keys_a_message_skips_is_known_before_it_is_decrypted() {
    let (mut here, mut there) = conversation();
    let messages: Vec<_> = (0..30_u8).map(|number| here.encrypt(&[number]).unwrap()).collect();
    assert_eq!(there.gap(&messages[0]), 0);
    assert_eq!(there.gap(&messages[21]), 21);
    there = there.decrypt(&messages[5]).unwrap().0;
    assert_eq!([0, 5, 6, 8].map(|index| there.gap(&messages[index])), [0, 0, 0, 2]);
    there = there.decrypt(&messages[3]).unwrap().0; // fills a hole
    assert_eq!([4, 6, 29].map(|index| there.gap(&messages[index])), [0, 0, 23]);
    there = OlmSession::from_bytes(&there.to_bytes()).unwrap();
    assert_eq!(there.gap(&messages[29]), 23);

    // A new chain begins at 0, whatever the one before had reached.
    here = here.decrypt(&there.encrypt(b"turn").unwrap()).unwrap().0;
    let on_new_chain: Vec<_> = (0..3_u8).map(|number| here.encrypt(&[number]).unwrap()).collect();
    assert_eq!([0, 1, 2].map(|index| there.gap(&on_new_chain[index])), [0, 1, 2]);
}

#[test]
fn e6_a_first_message_that_is_not_the_chains_first_says_so() {
    let (alice, mut bob) = pair();
    let key = one_time_key(&mut bob);
    let mut here = alice.begin_with(&bob.curve25519(), &key).unwrap();
    let lost = here.encrypt(b"lost").unwrap();
    let arrived = here.encrypt(b"arrived").unwrap();
    assert_eq!(arrived.chain_index(), 1);
    let there = bob.accept(&alice.curve25519(), &arrived).unwrap().session;
    let later: Vec<_> = (0..3_u8).map(|number| here.encrypt(&[number]).unwrap()).collect();
    assert_eq!((there.gap(&lost), there.gap(&later[0]), there.gap(&later[2])), (0, 0, 2));
    assert_eq!(*there.decrypt(&lost).unwrap().1, b"lost");
}

#[test]
fn the_mirror_of_the_receiving_chains_agrees_with_vodozemacs_state() {
    let (mut here, mut there) = conversation();
    for round in 0..12_u8 {
        for skipped in 0..=round % 3 {
            let message = here.encrypt(&[skipped]).unwrap();
            if skipped == round % 3 {
                there = there.decrypt(&message).unwrap().0;
            }
        }
        here = here.decrypt(&there.encrypt(b"turn").unwrap()).unwrap().0;
    }
    let row: serde_json::Value = serde_json::from_slice(&there.to_bytes()).unwrap();
    let real = row["session"]["receiving_chains"]["inner"].as_array().unwrap();
    let mirror = row["chains"].as_array().unwrap();
    assert_eq!((real.len(), mirror.len()), (5, 5));
    for (real, mirror) in real.iter().zip(mirror) {
        assert_eq!(real["ratchet_key"], mirror["ratchet_key"]);
        assert_eq!(real["hkdf_ratchet"]["index"], mirror["next_index"]);
    }
}

#[test]
fn at_most_forty_skipped_keys_are_kept_and_a_gap_of_two_thousand_is_the_end() {
    let (mut here, there) = conversation();
    let messages: Vec<_> = (0..2_050_u16).map(|number| here.encrypt(&number.to_be_bytes()).unwrap()).collect();
    let first = messages[0].chain_index();
    let after = there.decrypt(&messages[45]).unwrap().0;
    let lost = (0..45).filter(|index| after.decrypt(&messages[*index]).is_err()).collect::<Vec<_>>();
    assert_eq!(lost, [0, 1, 2, 3, 4]);
    let gone = after.decrypt(&messages[0]).err();
    assert_eq!(gone, Some(OlmError::MissingKey { index: first }));
    let gap = there.gap(&messages[2_001]);
    assert_eq!(there.decrypt(&messages[2_001]).err(), Some(OlmError::TooFarAhead { gap }));
}

#[test]
fn an_olm_message_has_one_spelling() {
    let (alice, mut bob) = pair();
    let one_time = one_time_key(&mut bob);
    let first = alice.begin_with(&bob.curve25519(), &one_time).unwrap().encrypt(b"words").unwrap();
    let longer = [first.bytes(), [0x2a, 0].as_slice()].concat();
    assert_eq!(OlmMessage::decode(OlmKind::Prekey.into(), longer.into()).err(), Some(DecodeError::Malformed));
    let message = conversation().0.encrypt(b"words").unwrap();
    let (body, mac) = message.bytes().split_at(message.bytes().len() - 8);
    let longer = [body, &[0x2a, 0], mac].concat();
    assert_eq!(OlmMessage::decode(OlmKind::Normal.into(), longer.into()).err(), Some(DecodeError::Malformed));
    let again = OlmMessage::decode(OlmKind::Normal.into(), message.bytes().clone()).unwrap();
    assert_eq!(again.bytes(), message.bytes());
}

#[test]
fn what_is_no_olm_message_is_refused() {
    let (mut here, _) = conversation();
    let message = here.encrypt(b"words").unwrap();
    let refused = |kind: i32, bytes: Bytes| OlmMessage::decode(kind, bytes).err().unwrap();
    assert_eq!(refused(2, message.bytes().clone()), DecodeError::UnknownKind { kind: 2 });
    assert_eq!(refused(-1, message.bytes().clone()), DecodeError::UnknownKind { kind: 255 });
    assert_eq!(refused(OlmKind::Prekey.into(), message.bytes().clone()), DecodeError::Malformed);
    assert_eq!(refused(0, Bytes::new()), DecodeError::Malformed);
    assert_eq!(refused(0, message.bytes().slice(..20)), DecodeError::Malformed);
    assert!(matches!(refused(0, Bytes::from(vec![3; 200_000])), DecodeError::TooLong { .. }));
    assert!(changed(&message, 0, 9).is_err());
}
