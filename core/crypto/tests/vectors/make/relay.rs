//! What a device and a relay compute alike: hashes, signatures, addresses, links, headers, padding.

use data_encoding::BASE64URL_NOPAD;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sotto_crypto::keys::{ManageKey, OwnerKey, SignedCall};
use sotto_protocol::header::Header;
use sotto_protocol::invite::{Invite, InviteSecret};
use sotto_protocol::label::{INVITE_CHECKSUM, hash};
use sotto_protocol::padding::pad;
use sotto_protocol::request::path::TOKEN_PUT;
use sotto_protocol::{AccountId, InboxId, KeyId, RelayName, Timestamp};

use super::{Scenarios, flipped, flipped_last};
use crate::file::Vector;
use crate::people::{NOW, random};

const BODY: &[u8] = b"the encoded message";

pub(crate) fn add(scenarios: &mut Scenarios) {
    add_hashes(scenarios);
    add_tokens(scenarios);
    add_requests(scenarios);
    add_attaches(scenarios);
    add_acks(scenarios);
    add_addresses(scenarios);
    add_invites(scenarios);
    add_headers(scenarios);
    add_padding(scenarios);
}

fn add_hashes(scenarios: &mut Scenarios) {
    let labelled = |about: &str, parts: &[&[u8]]| {
        let vector = Vector::accepted("labelled", about).text("label", "sotto/v1/seal");
        parts.iter().fold(vector, |vector, part| vector.hex("part", part))
    };
    scenarios.add("no-parts", labelled("A label alone.", &[]));
    scenarios.add("two-parts", labelled("Each part has its length before it.", &[b"ab", b"c"]));
    scenarios.add("moved-byte", labelled("A byte moved from one part to the next gives other bytes.", &[b"a", b"bc"]));
    scenarios.add("empty-part", labelled("An empty part is not the same as none.", &[b"abc", b""]));

    let token = Vector::accepted("token-hash", "What a relay stores of a token.").hex("token", [7; 16]);
    scenarios.add("of-a-token", token);
    let entry = |about: &str, previous: &[u8]| {
        Vector::accepted("chain-entry-hash", about).hex("previous", previous).hex("entry", b"an opaque entry")
    };
    scenarios.add("first", entry("The first entry of a chain has no previous hash.", &[]));
    scenarios.add("next", entry("Every other entry is hashed with the one before.", &[9; 32]));
}

fn add_tokens(scenarios: &mut Scenarios) {
    let token = |purpose: &str, about: &str| {
        Vector::accepted("token", about).text("purpose", purpose).hex("secret", [3; 32]).hex("inbox", [4; 16])
    };
    scenarios.add("invite", token("invite", "A token of an invite, from the secret in the link."));
    scenarios.add("reply", token("reply", "A token for the answer to a contact request."));
    let first = token("pair", "A token of two contacts, in the first generation.").text("generation", 1);
    scenarios.add("pair", first);
    let second =
        token("pair", "The same two contacts after their pair secret's tokens were renewed.").text("generation", 2);
    scenarios.add("pair-next-generation", second);
    let own = token("own", "A token for the other devices of an account, from the secret half of its list key.")
        .text("generation", 0);
    scenarios.add("own", own);
    let chain = Vector::accepted("invite-chain", "Where an invite's manifest stands, and what opens it.")
        .hex("secret", [3; 32]);
    scenarios.add("of-an-invite", chain);
}

struct Request {
    relay: &'static str,
    method: &'static str,
    path: &'static str,
    body: &'static [u8],
    time: u64,
}

fn add_requests(scenarios: &mut Scenarios) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let key = ManageKey::generate(&mut rng);
    let relay = RelayName::parse("relay.example:8443", 443).unwrap();
    let call = SignedCall { relay: &relay, path: TOKEN_PUT, body: BODY };
    let signed = key.authorize(&call, NOW, &mut rng);
    let good =
        || Request { relay: "relay.example:8443", method: "POST", path: TOKEN_PUT, body: BODY, time: NOW.as_ms() };
    let vector = |vector: Vector, request: &Request| {
        vector
            .text("relay", request.relay)
            .text("method", request.method)
            .text("path", request.path)
            .hex("body", request.body)
            .text("time", request.time)
    };
    let signed_vector = |about: &str, request: Request| {
        let refused = Vector::refused("request", "bad-signature", about).hex("key", signed.key);
        vector(refused, &request).hex("nonce", signed.nonce).hex("signature", signed.signature)
    };
    let accepted = Vector { expect: "accepted".to_owned(), ..signed_vector("A signed call.", good()) };
    scenarios.add("good", accepted);
    for (name, about, request) in [
        ("other-relay", "A call signed for another relay.", Request { relay: "other.example", ..good() }),
        ("other-port", "A call signed for another port of the host.", Request { relay: "relay.example", ..good() }),
        ("other-method", "A call with another method.", Request { method: "GET", ..good() }),
        ("other-path", "A call signed for another path.", Request { path: "/v1/token/drop", ..good() }),
        ("other-body", "A call with another body.", Request { body: b"another message", ..good() }),
        ("other-time", "A call signed at another time.", Request { time: NOW.as_ms() + 1, ..good() }),
    ] {
        scenarios.add(name, signed_vector(about, request));
    }
    let with = |about: &str, key: &[u8], nonce: &[u8], signature: &[u8]| {
        let refused = Vector::refused("request", "bad-signature", about).hex("key", key);
        vector(refused, &good()).hex("nonce", nonce).hex("signature", signature)
    };
    let other_key = ManageKey::generate(&mut rng).public();
    scenarios.add("other-key", with("A call signed by another key.", &other_key, &signed.nonce, &signed.signature));
    scenarios.add("other-nonce", with("A call with another nonce.", &signed.key, &[0; 16], &signed.signature));
    let changed = flipped(&signed.signature, 40);
    scenarios.add("changed-signature", with("A signature with one bit changed.", &signed.key, &signed.nonce, &changed));
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut malleable = signed.signature;
    add_little_endian(&mut malleable[32..], &crate::file::unhex(order));
    let about = "A signature whose scalar was not reduced: the same equation, another spelling.";
    scenarios.add("malleable-signature", with(about, &signed.key, &signed.nonce, &malleable));
    let mut identity = [0; 32];
    identity[0] = 1;
    let forged = [identity.as_slice(), &[0; 32]].concat();
    let about = "The point of order 1 as a key: with it, one signature fits every message.";
    scenarios.add("small-order-key", with(about, &identity, &signed.nonce, &forged));

    let header = |expect: &str, about: &str, header: &str| {
        Vector::refused("authorization", expect, about).text("header", header)
    };
    let text = signed.to_string();
    scenarios.add("good", header("accepted", "The header of a signed call.", &text));
    for (name, about, text) in [
        ("other-scheme", "Another scheme.", text.replace("Sotto ", "Basic ")),
        ("extra-parameter", "A parameter too many.", format!("{text}, more=1")),
        ("missing-parameter", "A parameter too few.", text.split(", signature").next().unwrap().to_owned()),
        (
            "other-order",
            "Parameters in another order.",
            text.replace("key=", "time=").replacen("time=1800", "key=1800", 1),
        ),
        ("signed-number", "A time with a sign.", text.replace("time=", "time=+")),
        ("padded-base64", "Base64url with padding.", text.replace(", time", "=, time")),
        ("short-nonce", "A nonce of another length.", text.replace("nonce=", "nonce=AAAA")),
    ] {
        scenarios.add(name, header("malformed", about, &text));
    }
}

fn add_little_endian(number: &mut [u8], summand: &[u8]) {
    let mut carry = 0;
    for (digit, other) in number.iter_mut().zip(summand) {
        let sum = u16::from(*digit) + u16::from(*other) + carry;
        (*digit, carry) = ((sum & 0xff) as u8, sum >> 8);
    }
}

fn add_attaches(scenarios: &mut Scenarios) {
    let key = OwnerKey::generate(&mut ChaCha20Rng::seed_from_u64(2));
    let relay = RelayName::parse("relay.example", 443).unwrap();
    let (challenge, inbox) = ([8; 32], InboxId::from_bytes([4; 16]));
    let signature = key.attach(&relay, &challenge, &inbox);
    let vector = |expect: &str, about: &str, relay: &str, challenge: &[u8], inbox: &[u8]| {
        Vector::refused("attach", expect, about)
            .hex("key", key.public())
            .text("relay", relay)
            .hex("challenge", challenge)
            .hex("inbox", inbox)
            .hex("signature", signature)
    };
    let name = relay.as_str();
    scenarios.add("good", vector("accepted", "The answer to a stream's challenge.", name, &challenge, inbox.as_ref()));
    for (scenario, about, name, challenge, inbox) in [
        ("other-relay", "An answer that another relay passes on.", "other.example", challenge, [4; 16]),
        ("other-challenge", "An answer to another challenge.", name, [9; 32], [4; 16]),
        ("other-inbox", "An answer for another inbox.", name, challenge, [5; 16]),
    ] {
        scenarios.add(scenario, vector("bad-signature", about, name, &challenge, &inbox));
    }
}

fn add_acks(scenarios: &mut Scenarios) {
    let key = OwnerKey::generate(&mut ChaCha20Rng::seed_from_u64(2));
    let relay = RelayName::parse("relay.example", 443).unwrap();
    let signature = key.acknowledge(&relay, &InboxId::from_bytes([4; 16]), 7);
    let vector = |expect: &str, about: &str, relay: &str, inbox: [u8; 16], sequence: u64, signature: &[u8]| {
        Vector::refused("ack", expect, about)
            .hex("key", key.public())
            .text("relay", relay)
            .hex("inbox", inbox)
            .text("sequence", sequence)
            .hex("signature", signature)
    };
    let name = relay.as_str();
    let about = "An owner's word that everything up to a number is dealt with.";
    scenarios.add("good", vector("accepted", about, name, [4; 16], 7, &signature));
    for (scenario, about, name, inbox, sequence) in [
        ("other-relay", "The word given to another relay.", "other.example", [4; 16], 7),
        ("other-inbox", "The word for another inbox.", name, [5; 16], 7),
        ("higher-number", "A relay that claims more than it was told.", name, [4; 16], 8),
    ] {
        scenarios.add(scenario, vector("bad-signature", about, name, inbox, sequence, &signature));
    }
    let about = "The answer to a challenge with the same bytes in it.";
    let attach = key.attach(&relay, &[8; 32], &InboxId::from_bytes([4; 16]));
    scenarios.add("attach-signature", vector("bad-signature", about, name, [4; 16], 7, &attach));
}

fn add_addresses(scenarios: &mut Scenarios) {
    let pin = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    for (scenario, about, text) in [
        ("plain", "A relay with a certificate of a public authority.", "https://relay.example".to_owned()),
        (
            "default-port",
            "Case, a default port and a last slash do not matter.",
            "https://Relay.Example:443/".to_owned(),
        ),
        ("pinned", "A relay with a pinned key.", format!("https://{pin}@10.0.0.2:8443")),
        ("loopback", "Without TLS, on loopback.", "http://127.0.0.1:8080".to_owned()),
        ("ipv6", "An IPv6 address.", "http://[::1]:80".to_owned()),
        ("ipv6-long", "One with zeros spelled out.", "https://[2001:DB8:0:0::0001]".to_owned()),
        ("ipv6-mapped", "One that holds an IPv4 address.", "https://[::ffff:c000:0201]".to_owned()),
    ] {
        scenarios.add(scenario, Vector::accepted("relay-address", about).text("text", text));
    }
    for (scenario, about, text) in [
        ("without-tls", "Without TLS, not on loopback.", "http://relay.example"),
        ("other-scheme", "Another scheme.", "ftp://relay.example"),
        ("with-path", "A path.", "https://relay.example/path"),
        ("port-zero", "Port 0.", "https://relay.example:0"),
        ("port-too-high", "A port beyond 65,535.", "https://relay.example:65536"),
        ("no-host", "No host.", "https://"),
        ("bad-label", "A host with a label that begins with a hyphen.", "https://-relay.example"),
        ("short-pin", "A pin of another length.", "https://BwcH@relay.example"),
    ] {
        scenarios.add(scenario, Vector::refused("relay-address", "bad-address", about).text("text", text));
    }
}

fn add_invites(scenarios: &mut Scenarios) {
    let invite = Invite {
        account: AccountId::from_bytes([1; 32]),
        secret: InviteSecret::from_bytes([2; 32]),
        expires_at: Timestamp::from_ms(500_000 * 3_600_000),
        name: "Zoë".to_owned(),
        relay: "https://relay.example".parse().unwrap(),
    };
    let link = invite.to_link().unwrap();
    let vector = |expect: &str, about: &str, link: &str| Vector::refused("invite", expect, about).text("link", link);
    scenarios.add("good", vector("accepted", "An invite.", &link));
    let loopback = Invite { relay: "http://127.0.0.1:8080".parse().unwrap(), ..invite };
    scenarios.add("loopback", vector("accepted", "An invite on loopback.", &loopback.to_link().unwrap()));
    let damaged = link.replacen("#AQEB", "#AQEC", 1);
    for (scenario, expect, about, link) in [
        ("damaged", "bad-checksum", "A link with a letter changed in copying.", damaged),
        ("cut-off", "bad-checksum", "A link whose end is missing.", link[..link.len() - 4].to_owned()),
        ("empty", "truncated", "A link with nothing behind the mark.", "https://relay.example/i#".to_owned()),
        ("other-version", "unknown-version", "An invite of a later version.", "https://relay.example/i#Ag".to_owned()),
        ("no-invite", "not-an-invite", "A link to something else.", "https://relay.example/about".to_owned()),
        (
            "other-host",
            "not-an-invite",
            "A link that shows another relay than it uses.",
            link.replace("relay.example/", "r.example/"),
        ),
        ("nameless", "bad-name", "An invite without a name.", link_with_name(b"")),
        ("blank-name", "bad-name", "A name that cannot be seen.", link_with_name(b" \xe3\x80\x80")),
        ("name-of-two-lines", "bad-name", "A name that a terminal would break.", link_with_name(b"Zoe\nBob")),
        (
            "name-with-nothing-to-see",
            "bad-name",
            "A name with more to it than is seen.",
            link_with_name("Bob\u{200b}".as_bytes()),
        ),
        ("name-that-turns", "bad-name", "A name that is read from its end.", link_with_name("\u{202e}boB".as_bytes())),
        (
            "name-joined-to-nothing",
            "bad-name",
            "A joiner behind a letter that never joins.",
            link_with_name("Bo\u{200d}b".as_bytes()),
        ),
        ("name-too-long", "malformed", "A name of 129 bytes.", link_with_name(&[b'n'; 129])),
        ("name-no-text", "malformed", "A name that is no UTF-8.", link_with_name(b"\xff")),
        ("not-base64", "malformed", "Something else behind the mark.", "https://relay.example/i#!!!".to_owned()),
    ] {
        scenarios.add(scenario, vector(expect, about, &link));
    }
}

/// A link that this code would not make.
fn link_with_name(name: &[u8]) -> String {
    let mut code = vec![1];
    code.extend_from_slice(&[[1; 32], [2; 32]].concat());
    code.extend_from_slice(&500_000_u32.to_be_bytes());
    code.push(u8::try_from(name.len()).unwrap());
    code.extend_from_slice(name);
    code.extend_from_slice(b"https://relay.example");
    let checksum = hash(INVITE_CHECKSUM, &[&code]);
    code.extend_from_slice(&checksum[..4]);
    format!("https://relay.example/i#{}", BASE64URL_NOPAD.encode(&code))
}

fn add_headers(scenarios: &mut Scenarios) {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let enc = Box::new(random(&mut rng));
    let opener = Header::Opener { key_id: KeyId::from_bytes([1; 8]), enc, nonce: [2; 24] }.encode();
    let continuation = Header::Continuation { tag: [3; 8], nonce: [4; 24] }.encode();
    let vector =
        |expect: &str, about: &str, header: &[u8]| Vector::refused("header", expect, about).hex("header", header);
    scenarios.add("opener", vector("accepted", "The header of an opener.", &opener));
    scenarios.add("continuation", vector("accepted", "The header of a continuation.", &continuation));
    scenarios.add("empty", vector("truncated", "No header at all.", &[]));
    scenarios.add("short-opener", vector("truncated", "An opener that ends early.", &opener[..opener.len() - 1]));
    scenarios.add("short-continuation", vector("truncated", "A continuation that ends early.", &continuation[..32]));
    let long = [continuation.as_slice(), &[0]].concat();
    scenarios.add("long-continuation", vector("trailing-bytes", "A continuation with a byte too many.", &long));
    let long = [opener.as_slice(), &[0]].concat();
    scenarios.add("long-opener", vector("trailing-bytes", "An opener with a byte too many.", &long));
    let later = [&[0x22], &continuation[1..]].concat();
    scenarios.add("other-version", vector("unknown-version", "A header of a later version.", &later));
    let other = [&[0x1f], &continuation[1..]].concat();
    scenarios.add("other-kind", vector("unknown-kind", "A header of a kind that is not known.", &other));
}

fn add_padding(scenarios: &mut Scenarios) {
    let vector =
        |expect: &str, about: &str, padded: &[u8]| Vector::refused("padding", expect, about).hex("padded", padded);
    for (scenario, about, length) in [
        ("empty", "Nothing, padded.", 0),
        ("bucket", "As much as fits the smallest size.", 252),
        ("next-bucket", "A byte more.", 253),
        ("padme", "Beyond the largest fixed size.", 4_093),
        ("padme-larger", "Where it rounds up by more.", 9_000),
    ] {
        scenarios.add(scenario, vector("accepted", about, &pad(&vec![7; length]).unwrap()));
    }
    let good = pad(b"hello").unwrap();
    scenarios.add("too-short", vector("truncated", "Too short for a length.", &[0; 3]));
    scenarios.add("not-zero", vector("bad-padding", "Padding that carries something.", &flipped_last(&good)));
    scenarios.add("longer", vector("bad-padding", "A size that is none.", &[good.as_slice(), &[0]].concat()));
    scenarios.add("shorter", vector("bad-padding", "Padding cut off.", &good[..255]));
    let doubled = [good.as_slice(), &[0; 256]].concat();
    scenarios.add("larger-bucket", vector("bad-padding", "A size that is one, but not this plaintext's.", &doubled));
    let mut beyond = good;
    beyond[..4].copy_from_slice(&253_u32.to_be_bytes());
    scenarios.add("length-beyond-end", vector("bad-padding", "A length beyond the end.", &beyond));
}
