"""What the checks of the library stand on: a relay, the generated bindings, a keystore, two people, and lists kept up to date."""

import importlib
import shutil
import subprocess
import sys
import threading
from pathlib import Path

# Longer than any step takes on a busy machine: it bounds a test that hangs, and nothing waits for it.
DEADLINE_MS = 60_000


class Relay:
    """A relay process on loopback, gone when the test is."""

    def __init__(self, built: Path, data: Path):
        relay, sotto = built / "sotto-relay", built / "sotto"
        command = [relay] if relay.exists() else [sotto, "demo-relay"]
        options = ["--dev", "--listen", "127.0.0.1:0", "--data", data]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        self.address = line.removeprefix("listening on ")
        if self.address == line:
            raise RuntimeError("the relay did not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def generate(language: str, built: Path, library: Path, into: Path):
    """Writes the bindings for one language."""
    command = [built / "uniffi-bindgen", "generate", "--no-format", "--language", language, "--out-dir", into, library]
    subprocess.run(command, check=True)


def load(library: Path, bindings: Path):
    """Puts the library beside its Python bindings, where they look for it."""
    shutil.copy(library, bindings / library.name)
    sys.path.insert(0, str(bindings))
    return importlib.import_module("sotto")


def keystore(sotto):
    class Keystore(sotto.SecretStore):
        """The platform's part: it counts its calls and can be locked."""

        def __init__(self):
            self.entries, self.calls, self.failure = {}, [], None

        def called(self, call):
            self.calls.append((call, threading.get_ident()))
            if self.failure:
                raise self.failure

        def get(self, name):
            self.called("get")
            return self.entries.get(name)

        def put(self, name, secret):
            self.called("put")
            self.entries[name] = bytes(secret)

        def delete(self, name):
            self.called("delete")
            self.entries.pop(name, None)

        def list(self):
            self.called("list")
            return list(self.entries)

    return Keystore()


def log_sink(sotto):
    class Sink(sotto.LogSink):
        """Keeps what it is given, but for what it is made to fail at."""

        def __init__(self):
            self.records, self.failures = [], []

        def log(self, record):
            if self.failures:
                raise self.failures.pop()
            self.records.append(record)

    return Sink()


async def refused(call):
    """What the call was refused with."""
    try:
        await call
    except Exception as error:  # Whatever it is, the check looks at it.
        return error
    return None


class Kept:
    """A list that a subscription keeps up to date: it holds what the differences alone make of it."""

    def __init__(self, subscription):
        self.subscription, self.items, self.answers = subscription, [], 0
        self.has_older = self.has_newer = None

    async def next(self):
        answer = await self.subscription.next()
        if not isinstance(answer, list):
            self.has_older, self.has_newer, answer = answer.has_older, answer.has_newer, answer.changes
        self.answers += 1
        for change in answer:
            self.apply(change)

    def apply(self, change):
        if change.is_RESET():
            self.items = list(change.items)
        elif change.is_REMOVE():
            del self.items[change.index]
        elif change.is_INSERT():
            self.items.insert(change.index, change.item)
        else:
            self.items[change.index] = change.item

    async def until(self, fresh):
        """Applies differences until they make what a fresh query finds."""
        while self.answers == 0 or self.items != await fresh():
            await self.next()


class Stage:
    """Two people and a relay. Checks on it run in order, each on what those before have left."""

    def __init__(self, sotto, relay: Relay, directory: Path):
        self.sotto, self.relay, self.directory = sotto, relay, directory
        self.alice_keys, self.bob_keys = keystore(sotto), keystore(sotto)
        self.alice = self.bob = self.alice_id = self.bob_id = None

    def profile(self, name, relay=None):
        kind = self.sotto.DeviceKind.PHONE
        return self.sotto.NewProfile(name=name, relays=[relay or self.relay.address], kind=kind)

    def place(self, name):
        return str(self.directory / name)

    def open(self, name, keys):
        return self.sotto.open_messenger(self.place(name), keys)

    def create(self, name, relay=None):
        return self.sotto.create_messenger(self.place(name), self.profile(name, relay), keystore(self.sotto))

    async def until(self, is_so, *others):
        """All catch up until something is so: what one has handed to the relay may still be on its way to the other."""
        while not await is_so():
            for person in (self.alice, self.bob, *others):
                caught_up = await person.catch_up(DEADLINE_MS)
                assert caught_up.is_complete, caught_up

    def text(self, body, ranges=(), reply_to=None):
        return self.sotto.NewText(body=body, ranges=list(ranges), reply_to=reply_to)

    async def messages(self, reader, other):
        return await reader.messages(other, None, 100)

    async def texts(self, reader, other):
        return [(message.sender, message.text) for message in await self.messages(reader, other)]

    async def has_text(self, reader, other, text):
        return text in [said for _, said in await self.texts(reader, other)]

    async def found(self, reader, other, text):
        """The message with that text, as somebody has it."""
        [message] = [message for message in await self.messages(reader, other) if message.text == text]
        return message

    async def alice_says(self, text, **more):
        """Alice says something, and Bob has it: as each of them has it."""
        said = await self.alice.send_text(self.bob_id, self.text(text, **more))
        await self.until(lambda: self.has_text(self.bob, self.alice_id, text))
        return said, await self.found(self.bob, self.alice_id, text)

    async def bob_says(self, text, **more):
        """Likewise the other way round: as Bob has it, and as Alice has it."""
        said = await self.bob.send_text(self.alice_id, self.text(text, **more))
        await self.until(lambda: self.has_text(self.alice, self.bob_id, text))
        return said, await self.found(self.alice, self.bob_id, text)

    async def until_message(self, reader, number, is_so):
        """Waits until a message is so, as somebody has it."""

        async def message_is_so():
            return is_so(await reader.message(number))

        await self.until(message_is_so)
        return await reader.message(number)
