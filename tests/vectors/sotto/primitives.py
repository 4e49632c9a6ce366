"""Cryptography, from two common libraries; what they lack (HKDF's parts, HPKE's schedule, X-Wing, Olm) is here."""

import hashlib
import hmac as hmac_module

import nacl.bindings
import nacl.exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from .wire import Refused, labelled

P = 2**255 - 19


def verifies(key, message, signature):
    """Strict Ed25519: libsodium refuses small-order and non-canonical keys, small-order commitments and unreduced scalars."""
    try:
        nacl.bindings.crypto_sign_open(signature + message, key)
        return len(signature) == 64
    except (nacl.exceptions.BadSignatureError, ValueError):
        return False


def is_strong_signer(key):
    """Canonical, on the curve, not of small order (and in the main subgroup, which every honest key is)."""
    return bool(nacl.bindings.crypto_core_ed25519_is_valid_point(key))


def x25519_public(secret):
    key = x25519.X25519PrivateKey.from_private_bytes(secret).public_key()
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def agree(secret, public):
    """X25519; None for a point of small order."""
    try:
        return x25519.X25519PrivateKey.from_private_bytes(secret).exchange(x25519.X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return None


def is_contributory(key):
    return int.from_bytes(key, "little") < P and agree(bytes([1] * 32), key) is not None


def hmac(key, message):
    return hmac_module.new(key, message, hashlib.sha256).digest()


def expand(key, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac(key, block + info + bytes([counter]))
        out, counter = out + block, counter + 1
    return out[:length]


def hkdf(secret, info, length, salt=bytes(32)):
    return expand(hmac(salt, secret), info, length)


def derive(secret, length, label, *parts):
    return hkdf(secret, labelled(label, *parts), length)


def decrypt(key, nonce, aad, ciphertext, code="cannot-open"):
    """XChaCha20-Poly1305."""
    try:
        return nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(ciphertext, aad, nonce, key)
    except (nacl.exceptions.CryptoError, ValueError, TypeError):
        raise Refused(code) from None


def open_sealed(key, aad, sealed):
    """nonce || ciphertext."""
    if len(sealed) < 24:
        raise Refused("cannot-open")
    return decrypt(key, sealed[:24], aad, sealed[24:])


def x_wing(seed, enc):
    """draft-connolly-cfrg-xwing-kem: decapsulates."""
    expanded = hashlib.shake_256(seed).digest(96)
    post_quantum = mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]).decapsulate(enc[:1088])
    classical = x25519.X25519PrivateKey.from_private_bytes(expanded[64:])
    public = x25519_public(expanded[64:])
    try:
        shared = classical.exchange(x25519.X25519PublicKey.from_public_bytes(enc[1088:]))
    except ValueError:
        shared = bytes(32)  # X-Wing hashes whatever comes out
    return hashlib.sha3_256(post_quantum + shared + enc[1088:] + public + b"\\.//^\\").digest()


def is_kem_key(key):
    """ML-KEM's coefficients are reduced, and the X25519 half contributes."""
    if len(key) != 1216 or not is_contributory(key[1184:]):
        return False
    for at in range(0, 1152, 3):
        low, middle, high = key[at : at + 3]
        if low | (middle & 0x0F) << 8 >= 3329 or middle >> 4 | high << 4 >= 3329:
            return False
    return True


def hpke_export(secret, info, context, length):
    """RFC 9180, base mode, of KEM 0x647a, KDF 1, AEAD 3: the exporter of a context made from the KEM's shared secret."""
    suite = b"HPKE" + bytes.fromhex("647a00010003")

    def labeled_extract(salt, label, key):
        return hmac(salt or bytes(32), b"HPKE-v1" + suite + label + key)

    def labeled_expand(key, label, info, length):
        return expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)

    schedule = b"\0" + labeled_extract(b"", b"psk_id_hash", b"") + labeled_extract(b"", b"info_hash", info)
    exporter = labeled_expand(labeled_extract(secret, b"secret", b""), b"exp", schedule, 32)
    return labeled_expand(exporter, b"sec", context, length)


def olm_decrypt(message_key, ciphertext):
    """AES-256-CBC with keys from a message key; the MAC has been checked. None for padding that is none."""
    keys = olm_keys(message_key)
    if len(ciphertext) % 16 or not ciphertext:
        return None
    decryptor = Cipher(algorithms.AES(keys[:32]), modes.CBC(keys[64:])).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    length = padded[-1]
    good = 1 <= length <= 16 and padded.endswith(bytes([length]) * length)
    return padded[:-length] if good else None


def olm_keys(message_key):
    """AES key 32, HMAC key 32, IV 16."""
    return hkdf(message_key, b"OLM_KEYS", 80, salt=b"\0")


def sha512(data):
    digest = hashes.Hash(hashes.SHA512())
    digest.update(data)
    return digest.finalize()
