#!/usr/bin/env python3
"""Reads every vector in this folder without any of Sotto's code: an independent check of docs/protocol.md.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python run.py

One file is one scenario (README.md). A reader of its kind gets what is given and answers, or refuses with a code; both must be
what the file says. The last line is `N passed, N failed`.
"""

import pathlib
import sys

from sotto import devices, letters, relay
from sotto.wire import Refused

READERS = {**relay.READERS, **devices.READERS, **letters.READERS}


class Vector:
    """What a file says."""

    def __init__(self, text):
        self.given, self.answer = [], []
        for line in text.splitlines():
            if not line or line.startswith("# "):
                continue
            name, value = line.split(":", 1)
            value = value.removeprefix(" ")
            if name == "kind":
                self.kind = value
            elif name == "expect":
                self.expect = value
            elif name.startswith("-> "):
                self.answer.append((name.removeprefix("-> "), value))
            else:
                self.given.append((name, value))

    def text(self, name):
        return dict(self.given)[name]

    def number(self, name):
        return int(self.text(name))

    def hex(self, name):
        return bytes.fromhex(self.text(name))

    def has(self, name):
        return name in dict(self.given)

    def all(self, name):
        return [bytes.fromhex(value) for key, value in self.given if key == name]


def written(answer):
    return [(name, value.hex() if isinstance(value, bytes) else str(value)) for name, value in answer]


def complaint(vector):
    """What is wrong, or None."""
    try:
        answer = written(READERS[vector.kind](vector))
    except Refused as refusal:
        return None if refusal.code == vector.expect else f"{refusal.code} instead of {vector.expect}"
    if vector.expect != "accepted":
        return f"accepted instead of {vector.expect}"
    if answer == vector.answer:
        return None
    wrong = [name for (name, value) in answer if (name, value) not in vector.answer]
    return f"another answer: {', '.join(wrong) or 'fields missing'}"


def main():
    folder = pathlib.Path(__file__).parent
    passed = failed = 0
    for path in sorted(folder.glob("*/*.txt")):
        wrong = complaint(Vector(path.read_text(encoding="utf-8")))
        if wrong is None:
            passed += 1
        else:
            failed += 1
            print(f"{path.relative_to(folder)}: {wrong}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
