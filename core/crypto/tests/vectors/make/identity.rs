//! Certificates, manifests, and the entries of their chains.

use sotto_crypto::certificate::{Certificate, Continues, Epoch};
use sotto_crypto::keys::{ListKey, RootKey};
use sotto_crypto::manifest::{Audience, Device, Known, ManifestDraft, VerifiedManifest, seal_entry};
use sotto_crypto::secret::ChainKey;
use sotto_protocol::label::{CERTIFICATE, MANIFEST, labelled};
use sotto_protocol::{AccountId, Bytes, ChainId, Message, Timestamp, identity};

use super::{Scenarios, flipped, flipped_last};
use crate::file::Vector;
use crate::people::{NOW, Person, epoch, inbox};

const DAY_MS: u64 = 24 * 3_600_000;

pub(crate) fn add(scenarios: &mut Scenarios) {
    add_certificates(scenarios);
    add_manifests(scenarios);
    add_malformed_manifests(scenarios);
    add_devices(scenarios);
    add_history(scenarios);
    add_entries(scenarios);
    add_successors(scenarios);
}

/// A device's word for the one that comes in its place.
fn add_successors(scenarios: &mut Scenarios) {
    let (alice, mallory) = (Person::new(1), Person::new(2));
    let account = alice.account();
    let mut next = Person::new(3).device;
    next.succeed(&account, alice.device.id, &alice.olm);
    let signature = next.replaces.unwrap().signature;
    let vector = |expect: &str, about: &str, device: &Device, signature: &[u8; 64]| {
        Vector::refused("successor", expect, about)
            .hex("account", account)
            .hex("predecessor", alice.device.id)
            .hex("predecessor_ed25519", alice.device.ed25519)
            .hex("device", device.id)
            .hex("ed25519", device.ed25519)
            .hex("curve25519", device.curve25519)
            .hex("signature", signature)
    };
    scenarios.add("good", vector("accepted", "A device in whose place another comes says so.", &next, &signature));
    let mut by_another = next.clone();
    by_another.succeed(&account, alice.device.id, &mallory.olm);
    let forged = by_another.replaces.unwrap().signature;
    scenarios.add("other-device", vector("bad-signature", "Another device says so.", &next, &forged));
    let swapped = Device { curve25519: mallory.device.curve25519, ..next.clone() };
    scenarios.add("other-key", vector("bad-signature", "It was said of other keys.", &swapped, &signature));
    let mut elsewhere = next.clone();
    elsewhere.succeed(&mallory.account(), alice.device.id, &alice.olm);
    let elsewhere = elsewhere.replaces.unwrap().signature;
    scenarios.add("other-account", vector("bad-signature", "It was said in another account.", &next, &elsewhere));
}

fn sign(secret: &[u8; 32], label: &str, parts: &[&[u8]]) -> [u8; 64] {
    let key = vodozemac::Ed25519SecretKey::from_slice(secret);
    key.sign(&labelled(label, parts)).to_bytes()
}

fn root_signs(root: &RootKey, label: &str, bytes: &[u8]) -> [u8; 64] {
    sign(&root.to_bytes(), label, &[root.account().as_ref(), bytes])
}

fn certificate(
    expect: &str,
    about: &str,
    account: &AccountId,
    bytes: &[u8],
    signature: &[u8],
    now: Timestamp,
) -> Vector {
    Vector::refused("certificate", expect, about)
        .hex("account", account)
        .hex("certificate", bytes)
        .hex("signature", signature)
        .text("now", now.as_ms())
}

fn add_certificates(scenarios: &mut Scenarios) {
    let (alice, mallory) = (Person::new(1), Person::new(2));
    let (account, good) = (alice.account(), &alice.certificate);
    let vector = |expect: &str, about: &str, bytes: &[u8], signature: &[u8]| {
        certificate(expect, about, &account, bytes, signature, NOW)
    };
    scenarios
        .add("first-epoch", vector("accepted", "A certificate of the first epoch.", good.bytes(), good.signature()));
    let continues = Some(Continues { version: 7, hash: [9; 32] });
    let second = Certificate::issue(&alice.root, Epoch { continues, ..epoch(2, &alice.list_key) }, NOW);
    scenarios.add("next-epoch", vector("accepted", "It names what it continues.", second.bytes(), second.signature()));

    let forged = root_signs(&mallory.root, CERTIFICATE, good.bytes());
    scenarios.add("other-root", vector("bad-signature", "Signed by another account.", good.bytes(), &forged));
    let changed = flipped_last(good.bytes());
    scenarios.add("changed", vector("bad-signature", "Changed after it was signed.", &changed, good.signature()));
    let mislabelled = root_signs(&alice.root, MANIFEST, good.bytes());
    scenarios.add(
        "mislabelled",
        vector("bad-signature", "Signed by the account, as something else.", good.bytes(), &mislabelled),
    );
    let end = Timestamp::from_ms(NOW.as_ms() + 3_650 * DAY_MS);
    let expired = certificate("expired", "Its time is over.", &account, good.bytes(), good.signature(), end);
    scenarios.add("expired", expired);
    let last = Timestamp::from_ms(end.as_ms() - 1);
    let about = "The last millisecond of its time.";
    scenarios.add("last-moment", certificate("accepted", about, &account, good.bytes(), good.signature(), last));

    let mut resigned = |scenario: &str, expect: &str, about: &str, change: fn(&mut identity::Certificate)| {
        let mut message = identity::Certificate::decode(good.bytes().clone()).unwrap();
        change(&mut message);
        let bytes = message.encode_to_vec();
        let signature = root_signs(&alice.root, CERTIFICATE, &bytes);
        scenarios.add(scenario, vector(expect, about, &bytes, &signature));
    };
    resigned("other-account", "wrong-account", "Signed by the account, and it names another.", |message| {
        message.account = Bytes::from_static(&[1; 32]);
    });
    resigned("epoch-zero", "epoch-zero", "Epochs count from 1.", |message| message.epoch = 0);
    resigned("other-format", "unknown-version", "A format that is not known.", |message| message.format = 2);
    resigned("short-list-key", "malformed", "A list key of another length.", |message| message.list_key.truncate(31));
    resigned("home-not-canonical", "malformed", "An address in another spelling.", |message| {
        "https://Relay.example".clone_into(&mut message.home);
    });
    resigned("continues-half", "malformed", "A version to continue without its hash.", |message| {
        message.continues_version = 7
    });
    let field = [good.bytes(), [0xfa, 0x01, 0x03, b'n', b'e', b'w'].as_slice()].concat();
    let signature = root_signs(&alice.root, CERTIFICATE, &field);
    scenarios
        .add("field-of-the-future", vector("accepted", "A field that is not known is signed too.", &field, &signature));
}

fn manifest(expect: &str, about: &str, account: &AccountId, bytes: &[u8], now: Timestamp) -> Vector {
    Vector::refused("manifest", expect, about).hex("account", account).hex("manifest", bytes).text("now", now.as_ms())
}

fn unknown(vector: Vector) -> Vector {
    vector.text("history", "unknown")
}

/// Signed again after `change`.
fn resigned(person: &Person, list_key: &ListKey, change: impl FnOnce(&mut identity::Manifest)) -> Vec<u8> {
    let mut outer = identity::SignedManifest::decode(person.manifest(1, None).bytes().clone()).unwrap();
    let mut message = identity::Manifest::decode(outer.manifest.clone()).unwrap();
    change(&mut message);
    outer.manifest = message.encode_to_vec().into();
    let signature = sign(&list_key.to_bytes(), MANIFEST, &[person.account().as_ref(), &outer.manifest]);
    outer.manifest_signature = Bytes::copy_from_slice(&signature);
    outer.encode_to_vec()
}

fn add_manifests(scenarios: &mut Scenarios) {
    let (mut alice, mallory) = (Person::new(1), Person::new(2));
    let account = alice.account();
    let vector = |expect: &str, about: &str, bytes: &[u8]| unknown(manifest(expect, about, &account, bytes, NOW));
    let good = alice.manifest(1, None);
    scenarios.add("good", vector("accepted", "A manifest with one device.", good.bytes()));
    let audience = Audience::OwnDevices { author: alice.device.id };
    let own = ManifestDraft { audience, ..alice.draft(1, None) }.sign(&alice.list_key, NOW).ok().unwrap();
    let about = "The own-devices chain also says kinds and dates, and who has written the list.";
    scenarios.add("own-devices", vector("accepted", about, own.bytes()));
    let unlisted = resigned(&alice, &alice.list_key, |message| message.author = Bytes::from_static(&[7; 16]));
    scenarios.add("author-unlisted", vector("author-unlisted", "By a device that is not in it.", &unlisted));
    let short = resigned(&alice, &alice.list_key, |message| message.author = Bytes::from_static(&[7; 15]));
    scenarios.add("short-author", vector("malformed", "An author's id of another length.", &short));
    let second = {
        let mut device = Person::new(3).device;
        device.inboxes.push(inbox(&mut alice.rng));
        let before = Person::new(4);
        device.succeed(&account, before.device.id, &before.olm);
        device
    };
    let devices = [alice.device.clone(), second];
    let two = ManifestDraft { devices: &devices, ..alice.draft(2, Some(good.head().hash)) }.sign(&alice.list_key, NOW);
    let about = "Two devices, one with two inboxes and in the place of another.";
    scenarios.add("two-devices", vector("accepted", about, two.ok().unwrap().bytes()));

    let listed = {
        let mut device = Person::new(3).device;
        device.succeed(&account, alice.device.id, &alice.olm);
        vec![alice.device.clone(), device]
    };
    let listed = resigned(&alice, &alice.list_key, |message| {
        message.devices = listed.iter().map(sotto_crypto::manifest::Device::to_message).collect();
    });
    scenarios.add("replaces-listed", vector("replaces-listed", "A device in the place of one that is there.", &listed));
    let half = resigned(&alice, &alice.list_key, |message| {
        message.devices[0].replaces = Bytes::copy_from_slice(&[7; 16]);
    });
    scenarios.add("replaces-unsigned", vector("malformed", "In the place of another without its word.", &half));

    scenarios.add(
        "other-account",
        vector("bad-certificate-signature", "Another account's.", mallory.manifest(1, None).bytes()),
    );
    let forged = resigned(&alice, &mallory.list_key, |_| {});
    scenarios.add("other-list-key", vector("bad-signature", "Signed by a list key that is not certified.", &forged));
    let mut changed = identity::SignedManifest::decode(good.bytes().clone()).unwrap();
    changed.manifest = flipped(&changed.manifest, 50).into();
    scenarios.add("changed", vector("bad-signature", "Changed after it was signed.", &changed.encode_to_vec()));
    let outer = identity::SignedManifest::decode(good.bytes().clone()).unwrap();
    let signature = sign(&alice.list_key.to_bytes(), CERTIFICATE, &[account.as_ref(), &outer.manifest]);
    let mislabelled = identity::SignedManifest { manifest_signature: Bytes::copy_from_slice(&signature), ..outer };
    scenarios.add(
        "mislabelled",
        vector("bad-signature", "Signed by the list key, as something else.", &mislabelled.encode_to_vec()),
    );

    let year = |ms: u64| Timestamp::from_ms(NOW.as_ms() + 365 * DAY_MS + ms);
    let expired = manifest("expired", "Not renewed for a year.", &account, good.bytes(), year(0));
    scenarios.add("expired", unknown(expired));
    let before = |ms: u64| Timestamp::from_ms(NOW.as_ms() - ms);
    let about = "Dated a day ahead of the reader: another time zone.";
    let ahead = manifest("accepted", about, &account, good.bytes(), before(DAY_MS));
    scenarios.add("dated-a-day-ahead", unknown(ahead));
    let about = "Dated further ahead: it would be fresh for too long.";
    let ahead = manifest("dated-ahead", about, &account, good.bytes(), before(DAY_MS + 1));
    scenarios.add("dated-ahead", unknown(ahead));
    let outdated = Timestamp::from_ms(NOW.as_ms() + 37 * DAY_MS + 1);
    let outdated = manifest("accepted", "Older than 37 days: usable, and not fresh.", &account, good.bytes(), outdated);
    scenarios.add("outdated", unknown(outdated));
    let long = resigned(&alice, &alice.list_key, |message| message.expires_at_ms = u64::MAX);
    let certificate_end = Timestamp::from_ms(NOW.as_ms() + 3_650 * DAY_MS);
    let over = manifest("certificate-expired", "Its certificate's time is over.", &account, &long, certificate_end);
    scenarios.add("certificate-expired", unknown(over));

    let field = {
        let mut outer = identity::SignedManifest::decode(good.bytes().clone()).unwrap();
        outer.manifest = [&*outer.manifest, &[0xfa, 0x01, 0x03, b'n', b'e', b'w']].concat().into();
        let signature = sign(&alice.list_key.to_bytes(), MANIFEST, &[account.as_ref(), &outer.manifest]);
        outer.manifest_signature = Bytes::copy_from_slice(&signature);
        outer.encode_to_vec()
    };
    scenarios
        .add("field-of-the-future", vector("accepted", "A field that is not known is signed and hashed too.", &field));
}

fn add_malformed_manifests(scenarios: &mut Scenarios) {
    let alice = Person::new(1);
    let mut refused = |scenario: &str, expect: &str, about: &str, change: fn(&mut identity::Manifest)| {
        let bytes = resigned(&alice, &alice.list_key, change);
        scenarios.add(scenario, unknown(manifest(expect, about, &alice.account(), &bytes, NOW)));
    };
    refused("wrong-account", "wrong-account", "It names another account.", |message| {
        message.account = Bytes::from_static(&[1; 32])
    });
    refused("wrong-epoch", "wrong-epoch", "It names another epoch than its certificate.", |message| message.epoch = 2);
    refused("version-zero", "version-zero", "Versions count from 1.", |message| message.version = 0);
    refused("other-format", "unknown-version", "A format that is not known.", |message| message.format = 2);
    refused("no-devices", "malformed", "No devices.", |message| message.devices.clear());
    refused("too-many-devices", "malformed", "Seventeen devices.", |message| {
        message.devices = vec![message.devices[0].clone(); 17];
    });
    refused("no-inboxes", "malformed", "A device without an inbox.", |message| message.devices[0].inboxes.clear());
    refused("too-many-inboxes", "malformed", "A device with five inboxes.", |message| {
        message.devices[0].inboxes = vec![message.devices[0].inboxes[0].clone(); 5];
    });
    refused("short-previous", "malformed", "A previous hash of another length.", |message| {
        message.previous = Bytes::from_static(&[1; 31]);
    });
    refused("short-device-id", "malformed", "A device id of another length.", |message| {
        message.devices[0].id.truncate(15)
    });
    refused("short-inbox-id", "malformed", "An inbox id of another length.", |message| {
        message.devices[0].inboxes[0].inbox.truncate(15);
    });
    refused("relay-not-canonical", "malformed", "A relay address in another spelling.", |message| {
        "https://relay.example:443".clone_into(&mut message.devices[0].inboxes[0].relay);
    });
    let outer = identity::SignedManifest::decode(alice.manifest(1, None).bytes().clone()).unwrap();
    let unsigned = identity::SignedManifest { manifest_signature: Bytes::new(), ..outer }.encode_to_vec();
    let vector = manifest("malformed", "Not signed.", &alice.account(), &unsigned, NOW);
    scenarios.add("unsigned", unknown(vector));
    let vector = manifest("malformed", "No protobuf message.", &alice.account(), &[0xff; 20], NOW);
    scenarios.add("garbage", unknown(vector));
}

fn add_devices(scenarios: &mut Scenarios) {
    let (alice, other) = (Person::new(1), Person::new(3));
    let second = identity::Manifest::decode(
        identity::SignedManifest::decode(other.manifest(1, None).bytes().clone()).unwrap().manifest,
    )
    .unwrap()
    .devices
    .remove(0);
    let mut refused =
        |scenario: &str, expect: &str, about: &str, change: &dyn Fn(&identity::Device, &mut identity::Device)| {
            let bytes = resigned(&alice, &alice.list_key, |message| {
                let mut second = second.clone();
                change(&message.devices[0], &mut second);
                message.devices.push(second);
            });
            scenarios.add(scenario, unknown(manifest(expect, about, &alice.account(), &bytes, NOW)));
        };
    refused("same-device-id", "duplicate-device", "Two devices of one id.", &|first, second| {
        second.id = first.id.clone()
    });
    refused("same-ed25519", "duplicate-key", "Two devices with one signing key.", &|first, second| {
        second.ed25519 = first.ed25519.clone();
    });
    refused("same-curve25519", "duplicate-key", "Two devices with one identity key.", &|first, second| {
        second.curve25519 = first.curve25519.clone();
    });
    refused("key-in-two-roles", "duplicate-key", "One key as both of a device's.", &|first, second| {
        second.curve25519 = first.ed25519.clone();
    });
    refused("same-inbox", "duplicate-inbox", "Two devices with one inbox.", &|first, second| {
        second.inboxes = first.inboxes.clone();
    });
    refused("zero-curve25519", "weak-key", "An identity key of zeros.", &|_, second| {
        second.curve25519 = Bytes::from_static(&[0; 32]);
    });
    let low_order = Bytes::from(crate::file::unhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"));
    refused("small-order-curve25519", "weak-key", "An identity key of small order.", &|_, second| {
        second.curve25519 = low_order.clone();
    });
    refused("unreduced-curve25519", "weak-key", "The base point in another spelling.", &|_, second| {
        let mut base_point = [0; 32];
        base_point[0] = 9;
        base_point[31] = 0x80;
        second.curve25519 = Bytes::copy_from_slice(&base_point);
    });
    refused("small-order-ed25519", "weak-key", "A signing key of small order.", &|_, second| {
        second.ed25519 = Bytes::from([[1].as_slice(), &[0; 31]].concat());
    });
    refused("mixed-order-ed25519", "weak-key", "One outside the group of prime order.", &|_, second| {
        second.ed25519 = Bytes::from([[0x95].as_slice(), &[0x99; 31]].concat());
    });
}

fn add_history(scenarios: &mut Scenarios) {
    let alice = Person::new(1);
    let account = alice.account();
    let first = alice.manifest(1, None);
    let second = alice.manifest(2, Some(first.head().hash));
    let mut add = |scenario: &str, expect: &str, about: &str, read: &VerifiedManifest, history: &str, known: &Known| {
        let vector = manifest(expect, about, &account, read.bytes(), NOW)
            .text("history", history)
            .text("known_epoch", known.head.epoch)
            .text("known_version", known.head.version)
            .hex("known_hash", known.head.hash)
            .hex("known_certificate", &known.certificate);
        scenarios.add(scenario, vector);
    };
    let (known_first, known_second) = (first.known(), second.known());
    add("next", "accepted", "The next entry names the known one.", &second, "next", &known_first);
    add("same", "accepted", "The known manifest, read again.", &second, "later", &known_second);
    add("older", "older", "A relay that shows the past.", &first, "later", &known_second);
    add("older-as-next", "older", "The past as the next entry.", &first, "next", &known_second);
    let fork = alice.manifest(2, Some([5; 32]));
    add("fork", "fork", "The known version with another hash.", &fork, "later", &known_second);
    add("fork-as-next", "fork", "The same, as the next entry.", &fork, "next", &known_second);
    add("fork-behind", "fork", "The next version names another than the known one.", &fork, "next", &known_first);
    let third = alice.manifest(3, Some(second.head().hash));
    add("unlinked", "unlinked", "An entry was left out.", &third, "next", &known_first);
    add("after-a-gap", "accepted", "Behind a snapshot the link cannot be checked.", &fork, "later", &known_first);
    add("other-chain", "accepted", "In another chain hashes say nothing.", &fork, "other-chain", &known_second);
    add(
        "older-in-other-chain",
        "older",
        "In another chain the order still counts.",
        &first,
        "other-chain",
        &known_second,
    );

    let in_epoch = |number: u32, seed: u64| {
        let mut person = Person::new(1);
        person.list_key = Person::new(seed).list_key;
        person.certificate = Certificate::issue(&person.root, epoch(number, &person.list_key), NOW);
        person
    };
    let stolen = in_epoch(1, 9).manifest(2, Some(first.head().hash));
    add("two-certificates", "compromised", "A second certificate for the epoch.", &stolen, "next", &known_first);
    let older = in_epoch(1, 9).manifest(1, None);
    let about = "A second certificate for the epoch, under an older version.";
    add("two-certificates-older", "compromised", about, &older, "later", &known_second);
    add(
        "two-certificates-other-chain",
        "compromised",
        "The same, in another chain.",
        &older,
        "other-chain",
        &known_second,
    );
    let healed = in_epoch(2, 9).manifest(1, Some(second.head().hash));
    add("next-epoch", "accepted", "A new epoch is later than any version.", &healed, "next", &known_second);
    let about = "A new epoch heals whatever came before it.";
    let unlinked = in_epoch(2, 9).manifest(1, Some([5; 32]));
    add("next-epoch-unlinked", "accepted", about, &unlinked, "next", &known_second);
    add("epoch-before", "older", "An epoch that is over.", &second, "later", &healed.known());
}

fn add_entries(scenarios: &mut Scenarios) {
    let mut alice = Person::new(1);
    let (chain, key) = (ChainId::from_bytes([6; 32]), ChainKey::from_bytes([7; 32]));
    let entry = seal_entry(&alice.manifest(1, None), &chain, &key, &mut alice.rng);
    let vector = |expect: &str, about: &str, chain: &[u8], key: &[u8], entry: &[u8]| {
        Vector::refused("manifest-entry", expect, about).hex("chain", chain).hex("chain_key", key).hex("entry", entry)
    };
    let (chain, key) = (chain.as_bytes(), key.as_bytes());
    scenarios.add("good", vector("accepted", "An entry of a manifest chain.", chain, key, &entry));
    for (scenario, about, chain, key, entry) in [
        ("other-chain", "An entry moved to another chain.", &[9; 32], key, entry.clone()),
        ("other-key", "An entry under another key.", chain, &[9; 32], entry.clone()),
        ("changed", "An entry changed by one bit.", chain, key, flipped_last(&entry)),
        ("too-short", "An entry shorter than a nonce.", chain, key, entry[..20].to_vec()),
    ] {
        scenarios.add(scenario, vector("cannot-open", about, chain, key, &entry));
    }
}
