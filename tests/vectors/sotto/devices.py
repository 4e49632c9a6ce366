"""Certificates, manifests, prekeys, seals, Olm: sections 3, 4 and 5 of docs/protocol.md."""

import hashlib

from .primitives import (
    agree,
    decrypt,
    derive,
    hkdf,
    hmac,
    hpke_export,
    is_contributory,
    is_kem_key,
    is_strong_signer,
    olm_decrypt,
    olm_keys,
    open_sealed,
    verifies,
    x25519_public,
    x_wing,
)
from .relay import is_canonical, parse_ephemeral_header, parse_header, unpad
from .wire import Refused, exactly, fields, labelled, message, require, sha256, u64

DAY_MS = 24 * 3_600_000
ENTRY_MAX = 16 * 1024

CERTIFICATE = {
    1: ("format", "uint"),
    2: ("account", "bytes"),
    3: ("epoch", "uint"),
    4: ("list_key", "bytes"),
    5: ("continues_version", "uint"),
    6: ("continues_hash", "bytes"),
    7: ("home", "string"),
    8: ("issued_at", "uint"),
    9: ("expires_at", "uint"),
}
INBOX = {1: ("relay", "string"), 2: ("inbox", "bytes"), 3: ("prekey_key", "bytes")}
DEVICE = {
    1: ("id", "bytes"),
    2: ("kind", "uint"),
    3: ("ed25519", "bytes"),
    4: ("curve25519", "bytes"),
    5: ("inboxes", [INBOX]),
    6: ("added_at", "uint"),
    7: ("replaces", "bytes"),
    8: ("replaces_signature", "bytes"),
}
MANIFEST = {
    1: ("format", "uint"),
    2: ("account", "bytes"),
    3: ("epoch", "uint"),
    4: ("version", "uint"),
    5: ("previous", "bytes"),
    6: ("issued_at", "uint"),
    7: ("expires_at", "uint"),
    8: ("devices", [DEVICE]),
    9: ("author", "bytes"),
}
SIGNED_MANIFEST = {
    1: ("certificate", "bytes"),
    2: ("certificate_signature", "bytes"),
    3: ("manifest", "bytes"),
    4: ("manifest_signature", "bytes"),
}
SIGNED_KEY = {1: ("id", "bytes"), 2: ("key", "bytes"), 3: ("expires_at", "uint"), 4: ("signature", "bytes")}
BUNDLE = {1: ("kem", SIGNED_KEY), 2: ("last_resort", SIGNED_KEY)}
SEALED = {1: ("account", "bytes"), 2: ("device", "bytes"), 3: ("kind", "uint"), 4: ("olm", "bytes")}


# ---- section 3


def parse_certificate(data):
    require(len(data) <= 1024, "malformed")
    certificate = message(data, CERTIFICATE)
    require(certificate["format"] == 1, "unknown-version")
    exactly(32, certificate["account"])
    exactly(32, certificate["list_key"])
    require(bool(certificate["continues_version"]) == bool(certificate["continues_hash"]), "malformed")
    require(len(certificate["continues_hash"]) in (0, 32), "malformed")
    require(is_canonical(certificate["home"]), "malformed")
    return certificate


def check_certificate(certificate, data, signature, account, bad_signature):
    exactly(64, signature)
    require(verifies(account, labelled("certificate", account, data), signature), bad_signature)
    require(certificate["account"] == account, "wrong-account")
    require(certificate["epoch"] >= 1, "epoch-zero")


def certificate(given):
    data, account = given.hex("certificate"), given.hex("account")
    read = parse_certificate(data)
    check_certificate(read, data, given.hex("signature"), account, "bad-signature")
    require(given.number("now") < read["expires_at"], "expired")
    names = ("epoch", "list_key", "home", "continues_version", "continues_hash")
    return [(name, read[name]) for name in names]


def parse_manifest(data):
    manifest = message(data, MANIFEST)
    require(manifest["format"] == 1, "unknown-version")
    require(len(manifest["previous"]) in (0, 32), "malformed")
    require(len(manifest["author"]) in (0, 16), "malformed")
    exactly(32, manifest["account"])
    require(1 <= len(manifest["devices"]) <= 16, "malformed")
    for device in manifest["devices"]:
        require(1 <= len(device["inboxes"]) <= 4, "malformed")
        exactly(16, device["id"])
        exactly(32, device["ed25519"])
        exactly(32, device["curve25519"])
        require((len(device["replaces"]), len(device["replaces_signature"])) in ((0, 0), (16, 64)), "malformed")
        for inbox in device["inboxes"]:
            require(is_canonical(inbox["relay"]), "malformed")
            exactly(16, inbox["inbox"])
            exactly(32, inbox["prekey_key"])
    return manifest


def check_devices(devices, author):
    ids, keys, inboxes = set(), set(), set()
    listed = {device["id"] for device in devices}
    require(not author or author in listed, "author-unlisted")
    for device in devices:
        require(device["replaces"] not in listed, "replaces-listed")
        require(device["id"] not in ids, "duplicate-device")
        ids.add(device["id"])
        for key in (device["ed25519"], device["curve25519"]):
            require(key not in keys, "duplicate-key")
            keys.add(key)
        require(is_strong_signer(device["ed25519"]) and is_contributory(device["curve25519"]), "weak-key")
        for inbox in device["inboxes"]:
            require(inbox["inbox"] not in inboxes, "duplicate-inbox")
            inboxes.add(inbox["inbox"])


def check_history(given, head, previous, certificate):
    history = given.text("history")
    if history == "unknown":
        return
    known = (given.number("known_epoch"), given.number("known_version"))
    known_hash = given.hex("known_hash")
    order, read_hash = head
    require(order[0] != known[0] or certificate == given.hex("known_certificate"), "compromised")
    require(order >= known, "older")
    if history == "other-chain":
        return
    if order == known:
        require(read_hash == known_hash, "fork")
    elif history == "next" and order[0] == known[0] and previous != known_hash:
        raise Refused("fork" if order[1] == known[1] + 1 else "unlinked")


def manifest(given):
    data, account, now = given.hex("manifest"), given.hex("account"), given.number("now")
    require(len(data) <= ENTRY_MAX, "malformed")
    signed = message(data, SIGNED_MANIFEST)
    certificate = parse_certificate(signed["certificate"])
    exactly(64, signed["certificate_signature"])
    read = parse_manifest(signed["manifest"])
    exactly(64, signed["manifest_signature"])

    check_certificate(
        certificate, signed["certificate"], signed["certificate_signature"], account, "bad-certificate-signature"
    )
    require(now < certificate["expires_at"], "certificate-expired")

    covered = labelled("manifest", account, signed["manifest"])
    require(verifies(certificate["list_key"], covered, signed["manifest_signature"]), "bad-signature")
    require(read["account"] == account, "wrong-account")
    require(read["epoch"] == certificate["epoch"], "wrong-epoch")
    require(read["version"] >= 1, "version-zero")
    require(now < read["expires_at"], "expired")
    require(read["issued_at"] <= now + DAY_MS, "dated-ahead")

    check_devices(read["devices"], read["author"])
    read_hash = sha256("manifest-hash", signed["certificate"], signed["manifest"])
    head = ((read["epoch"], read["version"]), read_hash)
    check_history(given, head, read["previous"], signed["certificate"])
    answer = [("epoch", read["epoch"]), ("version", read["version"]), ("hash", read_hash), ("previous", read["previous"])]
    answer.append(("fresh", "yes" if now - read["issued_at"] <= 37 * DAY_MS else "no"))
    return answer + [("device", device["id"]) for device in read["devices"]]


def manifest_entry(given):
    aad = labelled("manifest-entry", given.hex("chain"))
    return [("manifest", open_sealed(given.hex("chain_key"), aad, given.hex("entry")))]


# ---- section 4

PURPOSES = ("one-time-key", "last-resort-key", "kem-key")
HELD_DAYS = {"one-time-key": 180, "last-resort-key": 37, "kem-key": 37}


def check_key(given, signed, purpose):
    exactly(8, signed["id"])
    require(signed["signature"], "unsigned")

    def signed_for(purpose):
        parts = (given.hex("account"), given.hex("device"), signed["id"], u64(signed["expires_at"]), signed["key"])
        return verifies(given.hex("ed25519"), labelled(purpose, *parts), signed["signature"])

    if not signed_for(purpose):
        elsewhere = any(signed_for(other) for other in PURPOSES if other != purpose)
        raise Refused("wrong-purpose" if elsewhere else "bad-signature")
    require(given.number("now") < signed["expires_at"], "expired")
    require(signed["expires_at"] <= given.number("now") + (HELD_DAYS[purpose] + 1) * DAY_MS, "holds-too-long")


def check_olm_key(given, signed, purpose):
    exactly(32, signed["key"])
    check_key(given, signed, purpose)
    require(is_contributory(signed["key"]), "non-contributory")


def open_blob(given, kind):
    aad = labelled("prekey-blob", given.hex("inbox"), kind)
    return open_sealed(given.hex("prekey_key"), aad, given.hex("blob"))


def one_time_key(given):
    signed = message(open_blob(given, b"one-time"), SIGNED_KEY)
    check_olm_key(given, signed, "one-time-key")
    return [("id", signed["id"]), ("key", signed["key"])]


def bundle(given):
    read = message(open_blob(given, b"bundle"), BUNDLE)
    kem, last_resort = read["kem"], read["last_resort"]
    require(kem is not None and last_resort is not None, "malformed")
    check_key(given, kem, "kem-key")
    require(is_kem_key(kem["key"]), "bad-kem-key")
    check_olm_key(given, last_resort, "last-resort-key")
    return [
        ("kem_id", kem["id"]),
        ("kem_key", kem["key"]),
        ("last_resort_id", last_resort["id"]),
        ("last_resort_key", last_resort["key"]),
    ]


# ---- section 5

KINDS = {0: "normal", 1: "prekey"}


def opener_hash_of(enc, key_id):
    return sha256("opener", enc, key_id)


def open_payload(seal_key, header, payload, is_named):
    sealed = message(unpad(decrypt(seal_key, header[-24:], header, payload)), SEALED)
    has_name = sealed["account"] or sealed["device"]
    if is_named:
        require(has_name, "missing-sender")
        exactly(32, sealed["account"])
        exactly(16, sealed["device"])
    else:
        require(not has_name, "unexpected-sender")
    require(sealed["kind"] in KINDS, "unknown-kind")
    (parse_prekey if sealed["kind"] == 1 else parse_olm)(sealed["olm"])
    return sealed


def opener(given):
    header = given.hex("header")
    _, key_id, enc, _ = parse_header(header)
    info = labelled("seal", given.hex("account"), given.hex("device"), key_id)
    secret = hpke_export(x_wing(given.hex("kem_secret"), enc), info, labelled("seal-secret"), 32)
    seal_key, tag_key = derive(secret, 32, "seal-key"), derive(secret, 32, "seal-tag-key")
    sealed = open_payload(seal_key, header, given.hex("payload"), is_named=True)
    return [
        ("opener", opener_hash_of(enc, key_id)),
        ("seal_key", seal_key),
        ("tag_key", tag_key),
        ("sender_account", sealed["account"]),
        ("sender_device", sealed["device"]),
        ("olm_kind", KINDS[sealed["kind"]]),
        ("olm", sealed["olm"]),
    ]


def continuation(given):
    header = given.hex("header")
    _, tag, _, nonce = parse_header(header)
    require(hmac(given.hex("tag_key"), labelled("seal-tag", nonce))[:8] == tag, "wrong-tag")
    sealed = open_payload(given.hex("seal_key"), header, given.hex("payload"), is_named=False)
    return [("olm_kind", KINDS[sealed["kind"]]), ("olm", sealed["olm"])]


EPHEMERAL_SIZE, EPHEMERAL_WINDOW_MS = 256, 60_000
EPHEMERAL = {1: ("sent_at", "uint"), 51: ("typing", {1: ("is_typing", "uint")}), 54: ("presence", {1: ("is_online", "uint")})}


def ephemeral(given):
    seal_key, header = given.hex("seal_key"), given.hex("header")
    tag, nonce = parse_ephemeral_header(header)
    tag_key, key = derive(seal_key, 32, "ephemeral-tag-key"), derive(seal_key, 32, "ephemeral-key")
    require(hmac(tag_key, labelled("ephemeral-tag", nonce))[:8] == tag, "wrong-tag")
    padded = decrypt(key, nonce, header, given.hex("payload"))
    plaintext = unpad(padded)
    require(len(padded) == EPHEMERAL_SIZE, "bad-padding")
    read = message(plaintext, EPHEMERAL)
    signals = [number for number, _, _ in fields(plaintext) if number in (51, 54)]
    require(abs(read["sent_at"] - given.number("now")) <= EPHEMERAL_WINDOW_MS, "not-of-now")
    require(not given.has("newest") or read["sent_at"] > given.number("newest"), "not-newer")
    if not signals:
        signal = "unknown"
    elif signals[-1] == 51:
        signal = "typing" if read["typing"]["is_typing"] else "stopped"
    else:
        signal = "online" if read["presence"]["is_online"] else "offline"
    return [("sent_at", read["sent_at"]), ("signal", signal)]


def opener_hash(given):
    name = opener_hash_of(given.hex("enc"), given.hex("key_id"))
    return [("hash", name), ("opened", name[:16])]


def inner_hash(given):
    kind = {"normal": b"\0", "prekey": b"\1"}[given.text("olm_kind")]
    return [("hash", sha256("inner", kind, given.hex("olm")))]


# Olm, as matrix.org specifies it: version 3, with a MAC of 8 bytes.

PREKEY = {1: ("one_time_key", "bytes"), 2: ("base_key", "bytes"), 3: ("identity_key", "bytes"), 4: ("message", "bytes")}
OLM = {1: ("ratchet_key", "bytes"), 2: ("index", "uint"), 4: ("ciphertext", "bytes")}


def to_varint(number):
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + to_varint(rest) if rest else bytes([low])


def field(number, value):
    return bytes([number << 3 | 2]) + to_varint(len(value)) + value


def parse_olm(data):
    require(len(data) >= 10 and data[0] in (3, 4), "malformed")
    require(data[0] == 3, "unknown-version")
    read = message(data[1:-8], OLM)
    require(any(number == 2 for number, _, _ in fields(data[1:-8])), "malformed")
    exactly(32, read["ratchet_key"])
    # One spelling: the MAC covers it.
    canonical = b"\3" + field(1, read["ratchet_key"]) + b"\x10" + to_varint(read["index"]) + field(4, read["ciphertext"])
    require(data[:-8] == canonical, "malformed")
    return read


def parse_prekey(data):
    require(data and data[0] == 3, "malformed")
    read = message(data[1:], PREKEY)
    for name in ("one_time_key", "base_key", "identity_key"):
        exactly(32, read[name])
    parse_olm(read["message"])
    names = ("one_time_key", "base_key", "identity_key", "message")
    require(data == b"\3" + b"".join(field(at, read[name]) for at, name in enumerate(names, 1)), "malformed")
    return read


def olm_prekey(given):
    read = parse_prekey(given.hex("olm"))
    inner = parse_olm(read["message"])
    identity, one_time = given.hex("identity_secret"), given.hex("one_time_secret")
    require(read["identity_key"] == given.hex("sender_identity"), "wrong-identity")
    require(read["one_time_key"] == x25519_public(one_time), "missing-one-time-key")
    shared = [agree(one_time, read["identity_key"]), agree(identity, read["base_key"]), agree(one_time, read["base_key"])]
    require(all(secret is not None for secret in shared), "non-contributory")
    chain_key = hkdf(b"".join(shared), b"OLM_ROOT", 64, salt=b"\0")[32:]
    for _ in range(inner["index"]):
        chain_key = hmac(chain_key, b"\2")
    message_key = hmac(chain_key, b"\1")
    authenticated, mac = read["message"][:-8], read["message"][-8:]
    require(hmac(olm_keys(message_key)[32:64], authenticated)[:8] == mac, "bad-message")
    plaintext = olm_decrypt(message_key, inner["ciphertext"])
    require(plaintext is not None, "bad-message")
    session = hashlib.sha256(read["identity_key"] + read["base_key"] + read["one_time_key"]).digest()
    return [("session", session), ("chain_index", inner["index"]), ("plaintext", plaintext)]


def successor(given):
    names = ("account", "predecessor", "device", "ed25519", "curve25519")
    signed = labelled("successor", *(given.hex(name) for name in names))
    require(verifies(given.hex("predecessor_ed25519"), signed, given.hex("signature")), "bad-signature")
    return []


READERS = {
    "successor": successor,
    "certificate": certificate,
    "manifest": manifest,
    "manifest-entry": manifest_entry,
    "one-time-key": one_time_key,
    "bundle": bundle,
    "opener": opener,
    "continuation": continuation,
    "ephemeral": ephemeral,
    "opener-hash": opener_hash,
    "inner-hash": inner_hash,
    "olm-prekey": olm_prekey,
}
