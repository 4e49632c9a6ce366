"""Bytes: labels, protobuf, and the refusal that every reader may answer with."""

import hashlib
import unicodedata


class Refused(Exception):
    """The input is not accepted; `code` says why."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def require(condition, code):
    if not condition:
        raise Refused(code)


def labelled(label, *parts):
    label = ("sotto/v1/" + label).encode()
    return bytes([len(label)]) + label + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def sha256(label, *parts):
    return hashlib.sha256(labelled(label, *parts)).digest()


def u32(number):
    return number.to_bytes(4, "big")


def u64(number):
    return number.to_bytes(8, "big")


# Protobuf. A message is read by a table: field number -> (name, type), with type one of the names below, a table for a message, or a
# list of one of these for a repeated field. Absent fields get their type's default; unknown ones are skipped.

DEFAULTS = {"uint": 0, "bytes": b"", "string": ""}


def varint(data, at):
    number = shift = 0
    while True:
        require(at < len(data) and shift < 70, "malformed")
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number & (2**64 - 1), at


def fields(data):
    """The fields of a message as (number, wire type, value)."""
    at, found = 0, []
    while at < len(data):
        key, at = varint(data, at)
        require(0 < key >> 3 < 2**29, "malformed")
        wire = key & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire in (1, 2, 5):
            length = {1: 8, 5: 4}.get(wire)
            if length is None:
                length, at = varint(data, at)
            value, at = data[at : at + length], at + length
            require(at <= len(data), "malformed")
        else:
            raise Refused("malformed")
        found.append((key >> 3, wire, value))
    return found


def message(data, table):
    read = {}
    for name, kind in table.values():
        read[name] = [] if isinstance(kind, list) else DEFAULTS[kind] if isinstance(kind, str) else None
    for number, wire, value in fields(data):
        if number not in table:
            continue
        name, kind = table[number]
        inner = kind[0] if isinstance(kind, list) else kind
        require(wire == (0 if inner == "uint" else 2), "malformed")
        if inner == "string":
            try:
                value = value.decode("utf-8")
            except UnicodeDecodeError:
                raise Refused("malformed") from None
        elif isinstance(inner, dict):
            value = message(value, inner)
        if isinstance(kind, list):
            read[name].append(value)
        else:
            read[name] = value
    return read


def exactly(length, value):
    require(len(value) == length, "malformed")
    return value


def utf8(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("malformed") from None


# What nobody sees, or what turns what stands around it: ranges of code points.
HIDDEN = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F),
    (0x2028, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)


def hides(name):
    may_follow = ""
    for index, character in enumerate(name):
        code = ord(character)
        if code == 0xFE0F and name[index - 1 : index] in set("0123456789#*"):
            if name[index + 1 : index + 2] != "\u20e3":
                return True
        elif 0xFE00 <= code <= 0xFE0F:
            if "selector" not in may_follow:
                return True
            may_follow = "joiner"
        elif code in (0x200C, 0x200D):
            if "joiner" not in may_follow:
                return True
            may_follow = ""
        elif any(first <= code <= last for first, last in HIDDEN):
            return True
        else:
            may_follow = "" if code < 0x80 else "selector or joiner"
    return False


def check_name(name):
    good = name.strip() and len(name.encode()) <= 128 and not any(unicodedata.category(c) == "Cc" for c in name)
    require(good and not hides(name), "bad-name")
