"""The other side of tests/stock.rs: a stock SQLCipher that writes and reads the same notes.

    python stock_sqlcipher.py write DIR     write one file per format
    python stock_sqlcipher.py check DIR     read them all, exit 1 at the first difference

Wants a module `sqlcipher3` (PyPI: sqlcipher3-wheels), whose SQLCipher runs on OpenSSL.
"""

import pathlib
import sys

from sqlcipher3 import dbapi2

NOTES = (pathlib.Path(__file__).parent / "fixtures" / "notes.txt").read_text("utf-8").splitlines()

FORMATS = {
    "raw-key.db": ["PRAGMA key = \"x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'\""],
    "passphrase.db": ["PRAGMA key = 'so that only the one beside you hears it'"],
    "format-3.db": ["PRAGMA key = 'sotto voce'", "PRAGMA cipher_compatibility = 3"],
}


def connect(path, pragmas):
    connection = dbapi2.connect(str(path), isolation_level=None)
    for pragma in pragmas:
        connection.execute(pragma)
    provider = connection.execute("PRAGMA cipher_provider").fetchone()[0]
    if provider == "rustcrypto":
        sys.exit("this module runs on our own provider, so it proves nothing")
    return connection


def write(directory):
    for name, pragmas in FORMATS.items():
        connection = connect(directory / name, pragmas)
        connection.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        connection.executemany("INSERT INTO note (text) VALUES (?)", [(note,) for note in NOTES])
        connection.close()


def check(directory):
    for name, pragmas in FORMATS.items():
        connection = connect(directory / name, pragmas)
        faults = connection.execute("PRAGMA cipher_integrity_check").fetchall()
        notes = [text for (text,) in connection.execute("SELECT text FROM note ORDER BY id")]
        if faults or notes != NOTES:
            sys.exit(f"{name}: {faults or 'other notes than expected'}")


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]))
