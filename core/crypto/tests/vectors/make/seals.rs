//! Openers and continuations, and the Olm messages inside.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sotto_crypto::olm::OlmMessage;
use sotto_crypto::prekey::{Bundle, seal_bundle, sign_kem_key, sign_last_resort_key};
use sotto_crypto::seal::{Envelope, SealMaker};
use sotto_protocol::header::Header;
use sotto_protocol::padding::pad;
use sotto_protocol::{Bytes, KeyId, Message, letter};

use super::{Scenarios, flipped, flipped_last};
use crate::file::Vector;
use crate::people::{KEM_KEY_ID, NOW, Person, bytes_of, public};

pub(crate) fn add(scenarios: &mut Scenarios) {
    let mut world = World::new();
    add_openers(scenarios, &mut world);
    add_continuations(scenarios, &mut world);
    add_hashes(scenarios, &world);
    add_olm(scenarios);
}

struct World {
    alice: Person,
    bob: Person,
    maker: SealMaker,
    /// Of the maker.
    seal_key: [u8; 32],
    tag_key: [u8; 32],
    message: OlmMessage,
}

impl World {
    fn new() -> Self {
        let (mut alice, mut bob) = (Person::new(1), Person::new(2));
        let message = alice.begin(&bob).encrypt(b"a letter").unwrap();
        let bundle = bundle(&mut bob);
        let maker = SealMaker::encapsulate(&bob.party().name(), &bundle.kem, &mut alice.rng);
        let stored = bytes_of(&maker);
        let keys = &stored[stored.len() - 64..];
        let (seal_key, tag_key) = (keys[..32].try_into().unwrap(), keys[32..].try_into().unwrap());
        Self { alice, bob, maker, seal_key, tag_key, message }
    }

    fn opener(&mut self) -> Envelope {
        self.maker.seal_opener(&self.alice.party().name(), &self.message, &mut self.alice.rng).unwrap()
    }

    fn continuation(&mut self) -> Envelope {
        self.maker.seal_continuation(&self.message, &mut self.alice.rng).unwrap()
    }

    fn sealed(&self, is_named: bool) -> letter::Sealed {
        let name = self.alice.party().name();
        letter::Sealed {
            sender_account: if is_named { name.account.into() } else { Bytes::new() },
            sender_device: if is_named { name.device.into() } else { Bytes::new() },
            kind: self.message.kind().into(),
            olm: self.message.bytes().clone(),
        }
    }

    /// Under the maker's key, whatever it says.
    fn payload(&self, header: &[u8], padded: &[u8]) -> Vec<u8> {
        let nonce: [u8; 24] = *header.last_chunk().unwrap();
        let cipher = XChaCha20Poly1305::new((&self.seal_key).into());
        cipher.encrypt(&XNonce::from(nonce), Payload { msg: padded, aad: header }).unwrap()
    }
}

fn bundle(person: &mut Person) -> Bundle {
    let (owner, inbox) = (person.party().name(), person.inbox().clone());
    let kem = sign_kem_key(&person.olm, &owner, KEM_KEY_ID, &person.kem.public(), NOW);
    let last_resort = person.olm.last_resort();
    let last_resort = sign_last_resort_key(&person.olm, &owner, last_resort.id(), &last_resort.key(), NOW);
    let blob = seal_bundle(&kem, &last_resort, &inbox.prekey_key, &inbox.inbox, &mut person.rng);
    Bundle::open(&blob, &inbox.prekey_key, &inbox.inbox, &person.party(), NOW).ok().unwrap()
}

fn opener(expect: &str, about: &str, bob: &Person, header: &[u8], payload: &[u8]) -> Vector {
    Vector::refused("opener", expect, about)
        .hex("account", bob.account())
        .hex("device", bob.device.id)
        .hex("kem_secret", bob.kem.to_bytes())
        .hex("header", header)
        .hex("payload", payload)
}

fn add_openers(scenarios: &mut Scenarios, world: &mut World) {
    let (first, repeated) = (world.opener(), world.opener());
    let Envelope { header, payload } = &first;
    let good = opener("accepted", "The first letter under a seal.", &world.bob, header, payload);
    scenarios.add("first", good);
    let again =
        opener("accepted", "The same enc again, with another nonce.", &world.bob, &repeated.header, &repeated.payload);
    scenarios.add("repeated", again);

    let mut refused = |scenario: &str, expect: &str, about: &str, bob: &Person, header: &[u8], payload: &[u8]| {
        scenarios.add(scenario, opener(expect, about, bob, header, payload));
    };
    let bob = &world.bob;
    let cannot_open = "cannot-open";
    refused("changed-payload", cannot_open, "A payload changed by one bit.", bob, header, &flipped(payload, 3));
    refused(
        "changed-mac",
        cannot_open,
        "An authentication tag changed by one bit.",
        bob,
        header,
        &flipped_last(payload),
    );
    refused("no-payload", cannot_open, "No payload.", bob, header, &[]);
    refused("changed-nonce", cannot_open, "A nonce changed by one bit.", bob, &flipped_last(header), payload);
    refused("changed-key-id", cannot_open, "Another KEM key's id.", bob, &flipped(header, 1), payload);
    refused(
        "changed-ml-kem",
        cannot_open,
        "The post-quantum half of enc changed by one bit.",
        bob,
        &flipped(header, 9),
        payload,
    );
    refused(
        "changed-x25519",
        cannot_open,
        "The classical half of enc changed by one bit.",
        bob,
        &flipped(header, 1_100),
        payload,
    );
    refused("payload-of-another", cannot_open, "The payload of another envelope.", bob, header, &repeated.payload);
    refused("short-header", "truncated", "A header that ends early.", bob, &header[..header.len() - 1], payload);
    let mut other = Person::new(2);
    other.device.id = Person::new(3).device.id;
    refused("other-device", cannot_open, "Passed on to another device of the account.", &other, header, payload);
    let mut other = Person::new(2);
    other.root = Person::new(3).root;
    refused("other-account", cannot_open, "Passed on to another account.", &other, header, payload);
    let mut other = Person::new(2);
    other.kem = Person::new(3).kem;
    refused("other-kem-key", cannot_open, "Decapsulated with another key.", &other, header, payload);

    let named = world.sealed(true);
    let mut said = |scenario: &str, expect: &str, about: &str, sealed: &letter::Sealed| {
        let payload = world.payload(header, &pad(&sealed.encode_to_vec()).unwrap());
        refused(scenario, expect, about, bob, header, &payload);
    };
    said("no-sender", "missing-sender", "An opener that names no sender.", &world.sealed(false));
    let half = letter::Sealed { sender_device: Bytes::new(), ..named.clone() };
    said("half-a-sender", "malformed", "An opener that names an account and no device.", &half);
    said(
        "other-kind",
        "unknown-kind",
        "An Olm message of a kind that is not known.",
        &letter::Sealed { kind: 7, ..named.clone() },
    );
    said("no-olm", "malformed", "No Olm message inside.", &letter::Sealed { olm: Bytes::new(), ..named.clone() });
    let padded = pad(&named.encode_to_vec()).unwrap();
    let payload = world.payload(header, &flipped_last(&padded));
    refused("marked-padding", "bad-padding", "Padding that carries something.", bob, header, &payload);
    let payload = world.payload(header, &[padded.as_slice(), &[0; 256]].concat());
    refused("longer-padding", "bad-padding", "A size that is not the plaintext's.", bob, header, &payload);
    let payload = world.payload(header, &pad(&[0xff; 50]).unwrap());
    refused("garbage", "malformed", "No protobuf message inside.", bob, header, &payload);
}

fn add_continuations(scenarios: &mut Scenarios, world: &mut World) {
    let Envelope { header, payload } = world.continuation();
    let another = World::new_seal(world);
    let vector = |expect: &str, about: &str, keys: (&[u8; 32], &[u8; 32]), header: &[u8], payload: &[u8]| {
        Vector::refused("continuation", expect, about)
            .hex("seal_key", keys.0)
            .hex("tag_key", keys.1)
            .hex("header", header)
            .hex("payload", payload)
    };
    let keys = (&world.seal_key, &world.tag_key);
    scenarios.add("good", vector("accepted", "A letter under an installed key.", keys, &header, &payload));
    let mut refused =
        |scenario: &str, expect: &str, about: &str, keys: (&[u8; 32], &[u8; 32]), header: &[u8], payload: &[u8]| {
            scenarios.add(scenario, vector(expect, about, keys, header, payload));
        };
    refused("changed-payload", "cannot-open", "A payload changed by one bit.", keys, &header, &flipped(&payload, 3));
    refused(
        "changed-nonce",
        "wrong-tag",
        "A nonce changed by one bit: the tag is of another.",
        keys,
        &flipped_last(&header),
        &payload,
    );
    refused("changed-tag", "wrong-tag", "A tag changed by one bit.", keys, &flipped(&header, 1), &payload);
    refused("other-key", "wrong-tag", "Another key of the alias.", (&another.0, &another.1), &header, &payload);
    refused("other-seal-key", "cannot-open", "A tag that matches by chance.", (&another.0, keys.1), &header, &payload);

    let named = pad(&world.sealed(true).encode_to_vec()).unwrap();
    refused(
        "named-sender",
        "unexpected-sender",
        "A continuation that names its sender.",
        keys,
        &header,
        &world.payload(&header, &named),
    );
    let anonymous = pad(&world.sealed(false).encode_to_vec()).unwrap();
    let marked = world.payload(&header, &flipped_last(&anonymous));
    refused("marked-padding", "bad-padding", "Padding that carries something.", keys, &header, &marked);
}

impl World {
    /// The keys of another seal to the same recipient.
    fn new_seal(&mut self) -> ([u8; 32], [u8; 32]) {
        let bundle = bundle(&mut self.bob);
        let maker = SealMaker::encapsulate(&self.bob.party().name(), &bundle.kem, &mut ChaCha20Rng::seed_from_u64(99));
        let stored = bytes_of(&maker);
        let keys = &stored[stored.len() - 64..];
        (keys[..32].try_into().unwrap(), keys[32..].try_into().unwrap())
    }
}

fn add_hashes(scenarios: &mut Scenarios, world: &World) {
    let envelope = world
        .maker
        .seal_opener(&world.alice.party().name(), &world.message, &mut ChaCha20Rng::seed_from_u64(5))
        .unwrap();
    let Header::Opener { key_id, enc, .. } = Header::decode(&envelope.header).unwrap() else { panic!("no opener") };
    let vector = |about: &str, key_id: &KeyId| {
        Vector::accepted("opener-hash", about).hex("enc", enc.as_slice()).hex("key_id", key_id)
    };
    scenarios.add("of-an-opener", vector("What names an opener.", &key_id));
    scenarios.add("other-key-id", vector("The same enc for another KEM key.", &KeyId::from_bytes([9; 8])));
    let inner = |about: &str, kind: &str| {
        Vector::accepted("inner-hash", about).text("olm_kind", kind).hex("olm", world.message.bytes())
    };
    scenarios.add("prekey", inner("What recognises a prekey message when it comes again.", "prekey"));
    scenarios.add("normal", inner("The kind is part of it.", "normal"));
}

fn add_olm(scenarios: &mut Scenarios) {
    let (mut alice, bob, mallory) = (Person::new(1), Person::new(2), Person::new(3));
    let mut session = alice.begin(&bob);
    let (first, second) =
        (session.encrypt(b"the first letter").unwrap(), session.encrypt(b"the second letter").unwrap());
    let vector = |expect: &str, about: &str, sender: &[u8; 32], one_time: &[u8; 32], olm: &[u8]| {
        Vector::refused("olm-prekey", expect, about)
            .hex("identity_secret", bob.identity)
            .hex("one_time_secret", one_time)
            .hex("sender_identity", sender)
            .hex("olm", olm)
    };
    let (sender, key) = (public(&alice.identity), &bob.one_time);
    scenarios.add("first", vector("accepted", "The first message of a session.", &sender, key, first.bytes()));
    scenarios.add(
        "second",
        vector("accepted", "The second, before the first: a key is skipped.", &sender, key, second.bytes()),
    );
    let mut refused = |scenario: &str, expect: &str, about: &str, sender: &[u8; 32], key: &[u8; 32], olm: &[u8]| {
        scenarios.add(scenario, vector(expect, about, sender, key, olm));
    };
    refused("changed-mac", "bad-message", "A MAC changed by one bit.", &sender, key, &flipped_last(first.bytes()));
    let ciphertext_at = first.bytes().len() - 12;
    refused(
        "changed",
        "bad-message",
        "A ciphertext changed by one bit.",
        &sender,
        key,
        &flipped(first.bytes(), ciphertext_at),
    );
    let other = public(&mallory.identity);
    refused(
        "other-sender",
        "wrong-identity",
        "From another identity than the manifest lists.",
        &other,
        key,
        first.bytes(),
    );
    let about = "For a one-time key that is used up.";
    refused("missing-one-time-key", "missing-one-time-key", about, &sender, &mallory.one_time, first.bytes());
    let base_key = position_of(first.bytes(), 0x12);
    let mut weak = first.bytes().to_vec();
    weak[base_key..base_key + 32].fill(0);
    refused("zero-base-key", "non-contributory", "A base key of zeros.", &sender, key, &weak);
    let version_2 = [&[4], &first.bytes()[1..]].concat();
    refused("other-version", "malformed", "A prekey message of another version.", &sender, key, &version_2);
    let later = [first.bytes(), [0x2a, 0].as_slice()].concat();
    refused(
        "field-of-the-future",
        "malformed",
        "A field that no message has: it would be another spelling.",
        &sender,
        key,
        &later,
    );
    refused("cut-off", "malformed", "A message that ends early.", &sender, key, &first.bytes()[..60]);
}

/// Where the 32 bytes of a prekey message's field begin.
fn position_of(message: &[u8], tag: u8) -> usize {
    message.windows(2).position(|window| window == [tag, 32]).unwrap() + 2
}
