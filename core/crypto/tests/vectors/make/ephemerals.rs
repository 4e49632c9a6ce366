//! What holds for a moment only, under the key of a seal.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sha2::Sha256;
use sotto_crypto::seal::SealMaker;
use sotto_crypto::seal::ephemeral::{Ephemeral, Signal};
use sotto_protocol::header::{ENC_BYTES, EphemeralHeader};
use sotto_protocol::label::{EPHEMERAL_KEY, labelled};
use sotto_protocol::limits::EPHEMERAL_WINDOW;
use sotto_protocol::padding::pad;
use sotto_protocol::{Message, Timestamp, letter};

use super::{Scenarios, flipped, flipped_last};
use crate::file::Vector;
use crate::people::{NOW, stored};

const SEAL_KEY: [u8; 32] = [0x51; 32];

fn maker(seal_key: [u8; 32]) -> SealMaker {
    let (key_id, enc, tag_key) = ([0; 8], [0; ENC_BYTES], [0; 32]);
    stored(&[key_id.as_slice(), &enc, &seal_key, &tag_key].concat())
}

fn vector(expect: &str, about: &str, header: &[u8], payload: &[u8], now: Timestamp) -> Vector {
    Vector::refused("ephemeral", expect, about)
        .hex("seal_key", SEAL_KEY)
        .hex("header", header)
        .hex("payload", payload)
        .text("now", now.as_ms())
}

/// Under the key of the seal, whatever it says.
fn payload_of(header: &[u8], padded: &[u8]) -> Vec<u8> {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(None, &SEAL_KEY).expand(&labelled(EPHEMERAL_KEY, &[]), &mut key).unwrap();
    let nonce: [u8; 24] = *header.last_chunk().unwrap();
    XChaCha20Poly1305::new((&key).into()).encrypt(&XNonce::from(nonce), Payload { msg: padded, aad: header }).unwrap()
}

pub(crate) fn add(scenarios: &mut Scenarios) {
    let mut rng = ChaCha20Rng::seed_from_u64(51);
    let ephemerals = maker(SEAL_KEY).for_ephemerals();
    for (scenario, about, signal) in [
        ("typing", "Somebody is writing.", Signal::Typing),
        ("stopped", "Somebody has stopped writing.", Signal::Stopped),
        ("online", "Somebody has the app before them.", Signal::Online),
        ("offline", "Somebody has left the app.", Signal::Offline),
    ] {
        let made = ephemerals.seal(&Ephemeral { sent_at: NOW, signal }, &mut rng);
        scenarios.add(scenario, vector("accepted", about, &made.header, &made.payload, NOW));
    }
    let made = ephemerals.seal(&Ephemeral { sent_at: NOW, signal: Signal::Typing }, &mut rng);
    let (header, payload) = (&made.header, &made.payload);
    add_times(scenarios, header, payload);

    let mut refused = |scenario: &str, expect: &str, about: &str, header: &[u8], payload: &[u8]| {
        scenarios.add(scenario, vector(expect, about, header, payload, NOW));
    };
    let (wrong_tag, cannot_open, unknown_kind) = ("wrong-tag", "cannot-open", "unknown-kind");
    refused("changed-payload", cannot_open, "A payload changed by one bit.", header, &flipped(payload, 3));
    refused("changed-mac", cannot_open, "An authentication tag changed by one bit.", header, &flipped_last(payload));
    refused("no-payload", cannot_open, "No payload.", header, &[]);
    refused("changed-nonce", wrong_tag, "A nonce changed by one bit.", &flipped_last(header), payload);
    refused("changed-tag", wrong_tag, "A tag changed by one bit.", &flipped(header, 1), payload);
    refused("short-header", "truncated", "A header that ends early.", &header[..32], payload);
    refused("long-header", "trailing-bytes", "A header that goes on.", &[header.as_slice(), &[0]].concat(), payload);
    let with_kind = |kind: u8| [&[kind], &header[1..]].concat();
    refused("as-a-letter", unknown_kind, "The header of a letter's continuation.", &with_kind(0x12), payload);
    refused("other-kind", unknown_kind, "A header of a kind that is not known.", &with_kind(0x15), payload);
    refused("other-version", "unknown-version", "A header of another version.", &with_kind(0x24), payload);
    let other = maker([0x52; 32]).for_ephemerals();
    let other = other.seal(&Ephemeral { sent_at: NOW, signal: Signal::Typing }, &mut rng);
    refused("other-seal", wrong_tag, "Under another seal: of the other direction, say.", &other.header, &other.payload);
    let another = ephemerals.seal(&Ephemeral { sent_at: NOW, signal: Signal::Stopped }, &mut rng);
    refused("payload-of-another", cannot_open, "The payload of another one.", header, &another.payload);

    let said = letter::Ephemeral { sent_at_ms: NOW.as_ms(), signal: None }.encode_to_vec();
    let padded = pad(&said).unwrap();
    let of = |padded: &[u8]| payload_of(header, padded);
    scenarios.add(
        "unknown",
        vector("accepted", "A signal that this version does not know: nothing is done.", header, &of(&padded), NOW),
    );
    let mut refused = |scenario: &str, expect: &str, about: &str, payload: &[u8]| {
        scenarios.add(scenario, vector(expect, about, header, payload, NOW));
    };
    refused("marked-padding", "bad-padding", "Padding that carries something.", &of(&flipped_last(&padded)));
    let long = [said.as_slice(), &[0x7a, 0xac, 0x02], &[0; 300]].concat();
    refused("another-size", "bad-padding", "Another size than all others have.", &of(&pad(&long).unwrap()));
    refused("garbage", "malformed", "No protobuf message inside.", &of(&pad(&[0xff; 50]).unwrap()));
    assert!(EphemeralHeader::decode(header).is_ok());
}

fn add_times(scenarios: &mut Scenarios, header: &[u8], payload: &[u8]) {
    let moment = std::time::Duration::from_millis(1);
    let mut at = |scenario: &str, expect: &str, about: &str, now: Timestamp, newest: Option<Timestamp>| {
        let vector = vector(expect, about, header, payload, now);
        let vector = newest.iter().fold(vector, |vector, newest| vector.text("newest", newest.as_ms()));
        scenarios.add(scenario, vector);
    };
    let late = NOW.after(EPHEMERAL_WINDOW);
    let early = NOW.before(EPHEMERAL_WINDOW);
    at("a-minute-late", "accepted", "A minute after it was given.", late, None);
    at("a-minute-early", "accepted", "A minute before it was given, by a clock that is behind.", early, None);
    at("too-late", "not-of-now", "More than a minute after it was given.", late.after(moment), None);
    at("too-early", "not-of-now", "More than a minute before it was given.", early.before(moment), None);
    at("newer", "accepted", "Newer than what its maker said before.", NOW, Some(NOW.before(moment)));
    at("again", "not-newer", "The same once more.", NOW, Some(NOW));
    at("overtaken", "not-newer", "Older than what its maker has said since.", NOW, Some(NOW.after(moment)));
}
