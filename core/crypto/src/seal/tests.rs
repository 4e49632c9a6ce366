//! What a seal hides, and what it refuses.

use sotto_protocol::letter::OlmKind;

use super::*;
use crate::letter::{Channel, Content, UnverifiedLetter};
use crate::state::sealed::Row;
use crate::testing::{Person, random, rng};

/// Alice's session to Bob, her seal to him, and a letter sealed in its opener.
struct Exchange {
    alice: Person,
    bob: Person,
    session: crate::olm::OlmSession,
    maker: SealMaker,
}

impl Exchange {
    fn new() -> Self {
        let (mut alice, mut bob) = (Person::new(1), Person::new(2));
        let bundle = bob.bundle();
        let session = alice.olm.begin(&bob.device.curve25519, &bundle.last_resort).unwrap();
        let maker = SealMaker::encapsulate(&bob.party().name(), &bundle.kem, &mut alice.rng);
        Self { alice, bob, session, maker }
    }

    /// A message of Alice's whose letter names `opener`.
    fn message(&mut self, opener: Option<OpenerHash>) -> OlmMessage {
        let letter = Letter { opener, ..self.alice.letter(&self.bob, "words") };
        let plaintext = letter.encode(&self.alice.party(), &self.bob.party());
        self.session.encrypt(&plaintext).unwrap()
    }

    fn opener(&mut self, message: &OlmMessage) -> Envelope {
        self.maker.seal_opener(&self.alice.party().name(), message, &mut self.alice.rng).unwrap()
    }

    fn offered(&self, envelope: &Envelope) -> OfferedSeal {
        let (key_id, enc) = opener_parts(envelope);
        OfferedSeal::decapsulate(&self.bob.party().name(), &self.bob.kem, &key_id, &enc)
    }

    /// Bob reads an opened message.
    fn letter(&self, sealed: &Sealed) -> Letter {
        let alice = self.alice.party();
        assert_eq!(sealed.sender.unwrap_or(alice.name()), alice.name());
        let accepted = self.bob.olm.accept(&alice.curve25519, &sealed.message).unwrap();
        let letter = UnverifiedLetter::decode(&accepted.plaintext, sealed.message.kind()).unwrap();
        letter.verify(&accepted.session.peer(), &alice, &self.bob.party()).ok().unwrap()
    }

    /// The key that Bob has installed after Alice's first letter.
    fn installed(&mut self) -> SealKey {
        let message = self.message(Some(self.maker.opener()));
        let envelope = self.opener(&message);
        let offered = self.offered(&envelope);
        let letter = self.letter(&offered.open(&arrived(&envelope.header), &envelope.payload).unwrap());
        offered.install(&letter).ok().unwrap()
    }
}

fn arrived(header: &[u8]) -> Arrived<'_> {
    Arrived::read(header).unwrap()
}

fn opener_parts(envelope: &Envelope) -> (KeyId, Box<[u8; ENC_BYTES]>) {
    match Header::decode(&envelope.header).unwrap() {
        Header::Opener { key_id, enc, .. } => (key_id, enc),
        Header::Continuation { .. } => unreachable!("not an opener"),
    }
}

/// A payload under the maker's key, whatever it says.
fn payload_of(maker: &SealMaker, header: &Header, padded: &[u8]) -> Envelope {
    let (Header::Opener { nonce, .. } | Header::Continuation { nonce, .. }) = header;
    let header = header.encode();
    Envelope { payload: aead::encrypt(&maker.keys.seal, nonce, &header, padded), header }
}

fn continuation_header(maker: &SealMaker) -> Header {
    Header::Continuation { tag: maker.keys.tag(&[5; 24]), nonce: [5; 24] }
}

#[test]
fn d1_a_letter_is_readable_only_through_its_seal() {
    let mut exchange = Exchange::new();
    let message = exchange.message(None);
    let envelope = exchange.opener(&message);
    let opened = exchange.offered(&envelope).open(&arrived(&envelope.header), &envelope.payload).unwrap();
    let content = Content::decode(&exchange.letter(&opened).content, Channel::Contact).ok().unwrap();
    assert!(matches!(content, Content::Text(text) if text.body == "words"));
    // The same Olm message without a seal is no payload, under any header.
    let key = exchange.installed();
    let continuation = exchange.maker.seal_continuation(&message, &mut rng(3)).unwrap();
    for header in [&envelope.header, &continuation.header] {
        assert_eq!(key.open(&arrived(header), message.bytes()).err(), Some(SealError::CannotOpen));
    }
}

#[test]
fn d2_a_key_is_installed_only_by_a_letter_that_repeats_the_hash_of_its_opener() {
    let mut exchange = Exchange::new();
    let another = OpenerHash::from_bytes([7; 32]);
    for opener in [None, Some(another)] {
        let message = exchange.message(opener);
        let envelope = exchange.opener(&message);
        let offered = exchange.offered(&envelope);
        let letter = exchange.letter(&offered.open(&arrived(&envelope.header), &envelope.payload).unwrap());
        assert_eq!(offered.install(&letter).err(), Some(NotVouchedFor));
    }
    let opener = exchange.maker.opener();
    assert_eq!(exchange.installed().opener(), opener);
}

#[test]
fn d2_an_opener_repeats_with_the_same_enc_and_another_nonce() {
    let mut exchange = Exchange::new();
    let (one, two) = (exchange.message(None), exchange.message(None));
    let (first, second) = (exchange.opener(&one), exchange.opener(&two));
    assert!(opener_parts(&first) == opener_parts(&second) && first.header != second.header);
    // One decapsulation opens both, in any order, and so does the key once it is installed.
    let offered = exchange.offered(&first);
    assert!(
        offered.open(&arrived(&second.header), &second.payload).is_ok()
            && offered.open(&arrived(&first.header), &first.payload).is_ok()
    );
    assert!(exchange.installed().open(&arrived(&second.header), &second.payload).is_ok());
}

#[test]
fn d2_sealing_the_same_message_twice_gives_nothing_in_common() {
    let mut exchange = Exchange::new();
    let message = exchange.message(None);
    let one = exchange.maker.seal_continuation(&message, &mut exchange.alice.rng).unwrap();
    let two = exchange.maker.seal_continuation(&message, &mut exchange.alice.rng).unwrap();
    assert!(one.header != two.header && one.payload != two.payload);
    let key = exchange.installed();
    let opened =
        |envelope: &Envelope| key.open(&arrived(&envelope.header), &envelope.payload).unwrap().message.inner_hash();
    assert_eq!(opened(&one), opened(&two));
}

#[test]
fn d2_an_opener_opens_for_its_recipient_and_key_id_only() {
    let mut exchange = Exchange::new();
    let message = exchange.message(None);
    let envelope = exchange.opener(&message);
    let (key_id, enc) = opener_parts(&envelope);
    let name = exchange.bob.party().name();
    let refused = |recipient: &DeviceName, kem: &KemPrivateKey, key_id: &KeyId| {
        let offered = OfferedSeal::decapsulate(recipient, kem, key_id, &enc);
        offered.open(&arrived(&envelope.header), &envelope.payload).err()
    };
    assert_eq!(refused(&name, &exchange.bob.kem, &key_id), None);
    let another_device = DeviceName { device: DeviceId::from_bytes([1; 16]), ..name };
    let another_account = DeviceName { account: AccountId::from_bytes([1; 32]), ..name };
    assert_eq!(refused(&another_device, &exchange.bob.kem, &key_id), Some(SealError::CannotOpen));
    assert_eq!(refused(&another_account, &exchange.bob.kem, &key_id), Some(SealError::CannotOpen));
    assert_eq!(refused(&name, &exchange.alice.kem, &key_id), Some(SealError::CannotOpen));
    assert_eq!(refused(&name, &exchange.bob.kem, &KeyId::from_bytes([1; 8])), Some(SealError::WrongOpener));
}

#[test]
fn d2_an_enc_that_was_changed_opens_nothing() {
    let mut exchange = Exchange::new();
    let message = exchange.message(None);
    let envelope = exchange.opener(&message);
    for position in [9, 9 + 1_087, 9 + 1_088, 9 + 1_119] {
        let mut changed = envelope.clone();
        changed.header[position] ^= 1;
        let offered = exchange.offered(&changed);
        assert_eq!(offered.open(&arrived(&changed.header), &changed.payload).err(), Some(SealError::CannotOpen));
        assert_eq!(offered.open(&arrived(&envelope.header), &envelope.payload).err(), Some(SealError::WrongOpener));
    }
}

#[test]
fn d6_every_byte_of_header_and_payload_is_authenticated() {
    let mut exchange = Exchange::new();
    let (message, key) = (exchange.message(None), exchange.installed());
    let opener = exchange.opener(&message);
    let continuation = exchange.maker.seal_continuation(&message, &mut exchange.alice.rng).unwrap();
    for envelope in [opener, continuation] {
        assert!(key.open(&arrived(&envelope.header), &envelope.payload).is_ok());
        for position in 0..envelope.header.len() {
            let mut header = envelope.header.clone();
            header[position] ^= 1;
            let opens = |header: &Arrived<'_>| key.open(header, &envelope.payload).is_ok();
            assert!(!Arrived::read(&header).is_ok_and(|header| opens(&header)), "header at {position}");
        }
        for position in (0..envelope.payload.len()).step_by(7).chain([envelope.payload.len() - 1]) {
            let mut payload = envelope.payload.clone();
            payload[position] ^= 1;
            assert_eq!(
                key.open(&arrived(&envelope.header), &payload).err(),
                Some(SealError::CannotOpen),
                "payload at {position}"
            );
        }
        assert_eq!(key.open(&arrived(&envelope.header), &[]).err(), Some(SealError::CannotOpen));
    }
}

#[test]
fn d6_the_header_alone_is_the_aad() {
    // The header of one envelope with another's nonce: it is decoded, and the payload was not made under it.
    let mut exchange = Exchange::new();
    let (message, key) = (exchange.message(None), exchange.installed());
    let envelope = exchange.opener(&message);
    let Header::Opener { key_id, enc, nonce } = Header::decode(&envelope.header).unwrap() else { unreachable!() };
    let under_no_header = Header::Opener { key_id, enc, nonce };
    let padded = pad(&sealed_message(Some(&exchange.alice.party().name()), &message).encode_to_vec()).unwrap();
    let payload = aead::encrypt(&exchange.maker.keys.seal, &nonce, &[], &padded);
    assert_eq!(key.open(&arrived(&under_no_header.encode()), &payload).err(), Some(SealError::CannotOpen));
}

#[test]
fn d6_the_tag_finds_its_key_and_is_fresh_for_each_message() {
    let mut exchange = Exchange::new();
    let message = exchange.message(None);
    let key = exchange.installed();
    let mut second = Exchange::new();
    second.maker = SealMaker::encapsulate(&second.bob.party().name(), &second.bob.bundle().kem, &mut rng(77));
    let other_key = second.installed();
    let mut tags = Vec::new();
    for _ in 0..20 {
        let envelope = exchange.maker.seal_continuation(&message, &mut exchange.alice.rng).unwrap();
        assert_eq!(envelope.header.len(), 33);
        let header = Header::decode(&envelope.header).unwrap();
        assert!(key.open(&arrived(&envelope.header), &envelope.payload).is_ok());
        assert_eq!(other_key.open(&arrived(&envelope.header), &envelope.payload).err(), Some(SealError::WrongTag));
        let Header::Continuation { tag, .. } = header else { unreachable!() };
        tags.push(tag);
    }
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 20);
}

#[test]
fn d6_an_opener_names_its_sender_and_a_continuation_does_not() {
    let mut exchange = Exchange::new();
    let (message, key) = (exchange.message(None), exchange.installed());
    let (key_id, enc) = (exchange.maker.key_id, exchange.maker.enc.clone());
    let opener = Header::Opener { key_id, enc, nonce: [5; 24] };
    let continuation = continuation_header(&exchange.maker);
    let name = exchange.alice.party().name();
    let envelope = |header: &Header, sealed: letter::Sealed| {
        let envelope = payload_of(&exchange.maker, header, &pad(&sealed.encode_to_vec()).unwrap());
        key.open(&arrived(&envelope.header), &envelope.payload)
    };
    let (named, anonymous) = (sealed_message(Some(&name), &message), sealed_message(None, &message));
    assert_eq!(envelope(&opener, named.clone()).unwrap().sender, Some(name));
    assert_eq!(envelope(&continuation, anonymous.clone()).unwrap().sender, None);
    assert_eq!(envelope(&opener, anonymous).err(), Some(SealError::MissingSender));
    assert_eq!(envelope(&continuation, named.clone()).err(), Some(SealError::UnexpectedSender));
    let half = letter::Sealed { sender_device: Bytes::new(), ..named };
    assert!(matches!(envelope(&opener, half.clone()).err(), Some(SealError::Malformed(_))));
    assert_eq!(envelope(&continuation, half).err(), Some(SealError::UnexpectedSender));
}

#[test]
fn what_was_sealed_badly_by_its_very_maker_is_refused() {
    let mut exchange = Exchange::new();
    let (message, key) = (exchange.message(None), exchange.installed());
    let header = continuation_header(&exchange.maker);
    let refusal = |padded: &[u8]| {
        let envelope = payload_of(&exchange.maker, &header, padded);
        key.open(&arrived(&envelope.header), &envelope.payload).err().unwrap()
    };
    let good = pad(&sealed_message(None, &message).encode_to_vec()).unwrap();
    let mut marked = good.clone();
    *marked.last_mut().unwrap() = 1;
    assert_eq!(refusal(&marked), SealError::Malformed(DecodeError::BadPadding));
    assert_eq!(refusal(&[good.as_slice(), &[0; 256]].concat()), SealError::Malformed(DecodeError::BadPadding));
    assert_eq!(refusal(&[]), SealError::Malformed(DecodeError::Truncated));
    assert_eq!(refusal(&pad(&[0xff; 40]).unwrap()), SealError::Malformed(DecodeError::Malformed));
    let of_unknown_kind = letter::Sealed { kind: 7, ..sealed_message(None, &message) };
    let of_unknown_kind = refusal(&pad(&of_unknown_kind.encode_to_vec()).unwrap());
    assert_eq!(of_unknown_kind, SealError::Malformed(DecodeError::UnknownKind { kind: 7 }));
    let without_message = letter::Sealed { olm: Bytes::new(), ..sealed_message(None, &message) };
    assert!(matches!(refusal(&pad(&without_message.encode_to_vec()).unwrap()), SealError::Malformed(_)));
}

#[test]
fn payloads_come_in_few_sizes() {
    let mut exchange = Exchange::new();
    let mut sizes: Vec<usize> = Vec::new();
    for length in 1..600 {
        let letter = exchange.alice.letter(&exchange.bob, &"w".repeat(length));
        let plaintext = letter.encode(&exchange.alice.party(), &exchange.bob.party());
        let message = exchange.session.encrypt(&plaintext).unwrap();
        sizes.push(exchange.maker.seal_continuation(&message, &mut exchange.alice.rng).unwrap().payload.len());
    }
    sizes.dedup();
    assert_eq!(sizes, [512 + 16, 1024 + 16]);
}

#[test]
fn what_is_too_long_is_not_sealed() {
    let mut exchange = Exchange::new();
    let message = exchange.session.encrypt(&vec![0; SEALED_BYTES_MAX]).unwrap();
    let sealed = exchange.maker.seal_continuation(&message, &mut exchange.alice.rng);
    assert!(matches!(sealed.err(), Some(DecodeError::TooLong { .. })));
}

#[test]
fn openers_are_named_by_enc_and_key_id() {
    let mut rng = rng(1);
    let mut enc = Box::new([0; ENC_BYTES]);
    rand_core::Rng::fill_bytes(&mut rng, enc.as_mut());
    let (one, two) = (KeyId::from_bytes(random(&mut rng)), KeyId::from_bytes(random(&mut rng)));
    let hash = OpenerHash::of(&enc, &one);
    assert_ne!(hash, OpenerHash::of(&enc, &two));
    enc[0] ^= 1;
    assert_ne!(hash, OpenerHash::of(&enc, &one));
    assert_eq!(hash.opened().as_bytes(), &hash.as_bytes()[..16]);
}

#[test]
fn both_ends_survive_being_stored() {
    let mut exchange = Exchange::new();
    let (message, key) = (exchange.message(None), exchange.installed());
    let maker = SealMaker::from_bytes(&exchange.maker.to_bytes()).unwrap();
    let key = SealKey::from_bytes(&key.to_bytes()).unwrap();
    assert_eq!((maker.opener(), maker.key_id()), (exchange.maker.opener(), exchange.maker.key_id()));
    let continuation = maker.seal_continuation(&message, &mut exchange.alice.rng).unwrap();
    assert!(key.open(&arrived(&continuation.header), &continuation.payload).is_ok());
    let opener = maker.seal_opener(&exchange.alice.party().name(), &message, &mut exchange.alice.rng).unwrap();
    assert!(key.open(&arrived(&opener.header), &opener.payload).is_ok());
    for bytes in [maker.to_bytes(), key.to_bytes()] {
        let (short, long) = (&bytes[..bytes.len() - 1], [bytes.as_slice(), &[0]].concat());
        assert!(SealMaker::from_bytes(short).is_err() && SealMaker::from_bytes(&long).is_err());
        assert!(SealKey::from_bytes(short).is_err() && SealKey::from_bytes(&long).is_err());
    }
}

#[test]
fn an_inner_message_keeps_its_kind() {
    let mut exchange = Exchange::new();
    let (message, key) = (exchange.message(None), exchange.installed());
    let continuation = exchange.maker.seal_continuation(&message, &mut exchange.alice.rng).unwrap();
    let opened = key.open(&arrived(&continuation.header), &continuation.payload).unwrap();
    assert!(opened.message.kind() == OlmKind::Prekey && opened.message.bytes() == message.bytes());
}
