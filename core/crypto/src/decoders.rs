//! Foreign bytes never panic, whatever they are: every decoder of this crate on random bytes, and on good bytes with a few changed.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use sotto_protocol::letter::OlmKind;
use sotto_protocol::{Bytes, ChainId, InboxId};

use crate::certificate::Certificate;
use crate::letter::{Channel, Content, Text, UnverifiedLetter};
use crate::manifest::{History, VerifiedManifest, open_entry};
use crate::olm::{OlmMessage, OlmSession};
use crate::party::Party;
use crate::prekey::{Bundle, open_one_time};
use crate::seal::ephemeral::Ephemeral;
use crate::secret::{ChainKey, PrekeyKey};
use crate::state::sealed::Row;
use crate::testing::{NOW, Person};

fn read_everything(bytes: &[u8], reader: &Party) {
    let shared = Bytes::copy_from_slice(bytes);
    let (key, inbox) = (PrekeyKey::from_bytes([1; 32]), InboxId::from_bytes([1; 16]));
    let _ = Certificate::verify(&reader.account, shared.clone(), &bytes[..bytes.len().min(64)]);
    let _ = VerifiedManifest::verify(&reader.account, shared.clone(), History::Unknown, NOW);
    let _ = open_entry(bytes, &ChainId::from_bytes([1; 32]), &ChainKey::from_bytes([1; 32]));
    let _ = Bundle::open(bytes, &key, &inbox, reader, NOW);
    let _ = open_one_time(bytes, &key, &inbox, reader, NOW);
    let _ = OlmSession::from_bytes(bytes);
    let _ = Ephemeral::decode(bytes);
    for kind in [OlmKind::Normal, OlmKind::Prekey] {
        let _ = OlmMessage::decode(kind.into(), shared.clone());
        if let Ok(letter) = UnverifiedLetter::decode(bytes, kind) {
            let _ = letter.introduction();
            let _ = letter.verify(&reader.curve25519, reader, reader);
        }
    }
    for channel in [Channel::Contact, Channel::Invite, Channel::Reply, Channel::Own] {
        let _ = Content::decode(&shared, channel);
    }
}

/// A manifest, a letter, an Olm message, a content.
fn good_bytes() -> ([Vec<u8>; 4], Party) {
    let (alice, mut bob) = (Person::new(1), Person::new(2));
    let letter = alice.letter(&bob, "words").encode(&alice.party(), &bob.party()).to_vec();
    let bundle = bob.bundle();
    let mut session = alice.olm.begin(&bob.device.curve25519, &bundle.last_resort).unwrap();
    let message = session.encrypt(b"words").unwrap().bytes().to_vec();
    let content = Content::Text(Text::plain("words and more words")).encode().unwrap().to_vec();
    ([bob.manifest(1, None).bytes().to_vec(), letter, message, content], bob.party())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_only_refused(bytes in vec(any::<u8>(), 0..400)) {
        thread_local!(static READER: Party = Person::new(2).party());
        READER.with(|reader| read_everything(&bytes, reader));
    }

    #[test]
    fn good_bytes_with_a_few_changed_are_only_read_or_refused(
        which in 0..4_usize,
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<Index>()),
    ) {
        thread_local!(static GOOD: ([Vec<u8>; 4], Party) = good_bytes());
        let (mut bytes, reader) = GOOD.with(|(good, reader)| (good[which].clone(), *reader));
        for (position, byte) in &changes {
            let position = position.index(bytes.len());
            bytes[position] = *byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |cut| cut.index(bytes.len())));
        read_everything(&bytes, &reader);
    }
}
