"""What a relay and a device compute alike: sections 1, 2 and 5 of docs/protocol.md."""

import base64
import hashlib
import ipaddress
import re

from .primitives import derive, verifies
from .wire import Refused, check_name, labelled, require, sha256, u32, u64, utf8

ENC, NONCE = 1120, 24
BUCKETS = (256, 512, 1024, 2048, 4096)


def read_labelled(given):
    label = given.text("label").removeprefix("sotto/v1/")
    return [("bytes", labelled(label, *given.all("part")))]


def token_hash(given):
    return [("hash", sha256("token-hash", given.hex("token")))]


def chain_entry_hash(given):
    return [("hash", sha256("chain-entry", given.hex("previous"), given.hex("entry")))]


def token(given):
    purpose, secret, parts = given.text("purpose"), given.hex("secret"), [given.hex("inbox")]
    if purpose == "own":
        purpose, secret = "pair", derive(secret, 32, "own-secret")
    if purpose == "pair":
        parts.append(u32(given.number("generation")))
    return [("token", derive(secret, 16, purpose + "-token", *parts))]


def invite_chain(given):
    secret = given.hex("secret")
    return [("chain", derive(secret, 32, "invite-chain")), ("chain_key", derive(secret, 32, "invite-chain-key"))]


def base64url(text, code="malformed"):
    require(re.fullmatch(r"[A-Za-z0-9_-]*", text) and len(text) % 4 != 1, code)
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    require(to_base64url(data) == text, code)  # no other spelling of the last letter
    return data


def to_base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def request(given):
    body = hashlib.sha256(given.hex("body")).digest()
    texts = [given.text(name).encode() for name in ("relay", "method", "path")]
    signed = labelled("request", *texts, body, u64(given.number("time")), given.hex("nonce"))
    require(verifies(given.hex("key"), signed, given.hex("signature")), "bad-signature")
    key, nonce, signature = (to_base64url(given.hex(name)) for name in ("key", "nonce", "signature"))
    return [("authorization", f"Sotto key={key}, time={given.text('time')}, nonce={nonce}, signature={signature}")]


def authorization(given):
    parts = re.fullmatch(r"Sotto key=([^,]*), time=([0-9]+), nonce=([^,]*), signature=([^,]*)", given.text("header"))
    require(parts, "malformed")
    key, nonce, signature = (base64url(parts[index]) for index in (1, 3, 4))
    require((len(key), len(nonce), len(signature)) == (32, 16, 64), "malformed")
    return [("key", key), ("time", int(parts[2])), ("nonce", nonce), ("signature", signature)]


def attach(given):
    signed = labelled("attach", given.text("relay").encode(), given.hex("challenge"), given.hex("inbox"))
    require(verifies(given.hex("key"), signed, given.hex("signature")), "bad-signature")
    return []


def ack(given):
    sequence = int(given.text("sequence")).to_bytes(8, "big")
    signed = labelled("ack", given.text("relay").encode(), given.hex("inbox"), sequence)
    require(verifies(given.hex("key"), signed, given.hex("signature")), "bad-signature")
    return []


def parse_address(text, code="bad-address"):
    """The canonical address and the name that signatures for it use."""
    require(len(text) <= 300, code)
    parts = re.fullmatch(r"(https?)://(?:([^@/]*)@)?(\[[0-9A-Fa-f:.]*\]|[^:/@\[\]]*)(?::([0-9]+))?/?", text, re.IGNORECASE)
    require(parts, code)
    scheme, pin, host, port = parts[1].lower(), parts[2], parts[3].lower(), parts[4]
    host = canonical_host(host)
    require(host, code)
    if port is not None:
        require(1 <= int(port) <= 65535, code)
    default = {"https": 443, "http": 80}[scheme]
    name = host if port is None or int(port) == default else f"{host}:{int(port)}"
    if pin is not None:
        require(scheme == "https" and len(base64url(pin, code)) == 32, code)
        return f"https://{pin}@{name}", name
    require(scheme == "https" or is_loopback(host), code)
    return f"{scheme}://{name}", name


def canonical_host(host):
    """None for what is no host; an IPv6 address as RFC 5952 writes it."""
    if host.startswith("["):
        try:
            address = ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            return None
        return f"[::ffff:{address.ipv4_mapped}]" if address.ipv4_mapped else f"[{address.compressed}]"
    label = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    return host if len(host) <= 253 and re.fullmatch(rf"{label}(?:\.{label})*", host) else None


def is_loopback(host):
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_canonical(text):
    try:
        return parse_address(text)[0] == text
    except Refused:
        return False


def relay_address(given):
    address, name = parse_address(given.text("text"))
    return [("address", address), ("name", name)]


def invite(given):
    link = given.text("link").strip()
    page, mark, code = link.partition("/i#")
    require(mark, "not-an-invite")
    data = base64url(code)
    require(data, "truncated")
    require(data[0] == 1, "unknown-version")
    require(len(data) >= 4, "truncated")
    body, checksum = data[:-4], data[-4:]
    require(sha256("invite-checksum", body)[:4] == checksum, "bad-checksum")
    require(len(body) >= 70 and body[69] <= 128 and len(body) >= 70 + body[69], "malformed")
    account, secret, hours = body[1:33], body[33:65], int.from_bytes(body[65:69], "big")
    name, address = utf8(body[70 : 70 + body[69]]), body[70 + body[69] :].decode("ascii")
    check_name(name)
    require(is_canonical(address), "malformed")
    scheme, _, rest = address.partition("://")
    require(page == f"{scheme}://{rest.rpartition('@')[2]}", "not-an-invite")
    return [
        ("account", account),
        ("secret", secret),
        ("expires_at", hours * 3_600_000),
        ("name", name),
        ("relay", address),
    ]


def parse_header(header):
    """(kind, key id or tag, enc or nothing, nonce)."""
    require(header, "truncated")
    kind = header[0]
    require(kind >> 4 == 1, "unknown-version")
    require(kind in (0x11, 0x12), "unknown-kind")
    length = 9 + NONCE + (ENC if kind == 0x11 else 0)
    require(len(header) >= length, "truncated")
    require(len(header) == length, "trailing-bytes")
    name = "opener" if kind == 0x11 else "continuation"
    return name, header[1:9], header[9:-NONCE], header[-NONCE:]


def parse_ephemeral_header(header):
    """(tag, nonce)."""
    require(header, "truncated")
    require(header[0] >> 4 == 1, "unknown-version")
    require(header[0] == 0x14, "unknown-kind")
    require(len(header) >= 9 + NONCE, "truncated")
    require(len(header) == 9 + NONCE, "trailing-bytes")
    return header[1:9], header[-NONCE:]


def header(given):
    kind, first, enc, nonce = parse_header(given.hex("header"))
    if kind == "opener":
        return [("kind", kind), ("key_id", first), ("enc", enc), ("nonce", nonce)]
    return [("kind", kind), ("tag", first), ("nonce", nonce)]


def padded_length(length):
    for bucket in BUCKETS:
        if length <= bucket:
            return bucket
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


def unpad(padded):
    require(len(padded) >= 4, "truncated")
    length = int.from_bytes(padded[:4], "big")
    plaintext, zeros = padded[4 : 4 + length], padded[4 + length :]
    good = len(plaintext) == length and length <= 120 * 1024 and len(padded) == padded_length(4 + length) and not any(zeros)
    require(good, "bad-padding")
    return plaintext


def padding(given):
    return [("plaintext", unpad(given.hex("padded")))]


READERS = {
    "labelled": read_labelled,
    "token-hash": token_hash,
    "chain-entry-hash": chain_entry_hash,
    "token": token,
    "invite-chain": invite_chain,
    "request": request,
    "authorization": authorization,
    "attach": attach,
    "ack": ack,
    "relay-address": relay_address,
    "invite": invite,
    "header": header,
    "padding": padding,
}
