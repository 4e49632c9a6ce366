"""A conversation between two messengers in Python: what the library exports, called over the C interface.

Usage: smoke.py LIBRARY. Beside the library must stand `uniffi-bindgen`, which writes the Python side from it, and a relay
(`sotto-relay`, or `sotto`, which can be one): `cargo build --workspace` makes all of them. Needs nothing but Python's own library.
"""

import asyncio
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
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


def generate(built: Path, library: Path, into: Path):
    """Writes the bindings and puts the library beside them, where they look for it."""
    bindgen = built / "uniffi-bindgen"
    subprocess.run([bindgen, "generate", "--no-format", "--language", "python", "--out-dir", into, library], check=True)
    shutil.copy(library, into / library.name)
    sys.path.insert(0, str(into))
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


async def refused(call):
    """What the call was refused with."""
    try:
        await call
    except Exception as error:  # Whatever it is, the check looks at it.
        return error
    return None


class Conversation:
    """Two people, a relay, and the checks on the way, in order: each builds on the ones before."""

    def __init__(self, sotto, relay: Relay, directory: Path):
        self.sotto, self.relay, self.directory = sotto, relay, directory
        self.alice_keys, self.bob_keys = keystore(sotto), keystore(sotto)

    def profile(self, name, relay=None):
        kind = self.sotto.DeviceKind.PHONE
        return self.sotto.NewProfile(name=name, relays=[relay or self.relay.address], kind=kind)

    def place(self, name):
        return str(self.directory / name)

    async def until(self, is_so):
        """Both catch up until something is so: what one has handed to the relay may still be on its way to the other."""
        while not await is_so():
            for person in (self.alice, self.bob):
                caught_up = await person.catch_up(DEADLINE_MS)
                assert caught_up.is_complete, caught_up

    async def are_contacts(self):
        accepted = self.sotto.ContactState.ACCEPTED
        contacts = await self.alice.contacts() + await self.bob.contacts()
        return [contact.state for contact in contacts] == [accepted, accepted]

    async def has_text(self, reader, other, text):
        return text in [message.text for message in await reader.messages(other, None, 100)]

    async def texts(self, reader, other):
        return [(message.sender, message.text) for message in await reader.messages(other, None, 100)]

    async def accounts_are_made_and_their_keys_go_to_the_platforms_keystore(self):
        create = self.sotto.create_messenger
        self.alice = await create(self.place("alice"), self.profile("alice"), self.alice_keys)
        self.bob = await create(self.place("bob"), self.profile("bob"), self.bob_keys)
        assert {"database", "root"} <= set(self.alice_keys.entries), self.alice_keys.entries.keys()
        assert len(self.alice_keys.entries["database"]) == 32
        assert self.alice_keys.entries["database"] != self.bob_keys.entries["database"]
        here = threading.get_ident()
        assert all(thread != here for _, thread in self.alice_keys.calls), "the keystore was asked on the caller's thread"

    async def an_invite_makes_two_people_contacts(self):
        options = self.sotto.InviteOptions(uses=1, valid_for_ms=86_400_000, auto_accept=True)
        invite = await self.alice.invite(options)
        assert invite.link.startswith("http") and invite.uses == 1, invite
        await self.alice.resume()
        await self.alice.catch_up(DEADLINE_MS)
        self.alice_id = await self.bob.join(invite.link)
        await self.until(self.are_contacts)
        [bobs] = await self.bob.contacts()
        [alices] = await self.alice.contacts()
        self.bob_id = alices.id
        assert (bobs.id, bobs.name, alices.name) == (self.alice_id, "alice", "bob"), (bobs, alices)

    async def a_message_each_way_arrives_once_and_in_order(self):
        queued = await self.alice.send_text(self.bob_id, "Grüße, 世界 🌍")
        assert queued.text == "Grüße, 世界 🌍" and queued.state == self.sotto.MessageState.QUEUED, queued
        await self.until(lambda: self.has_text(self.bob, self.alice_id, "Grüße, 世界 🌍"))
        await self.bob.send_text(self.alice_id, "hello")
        await self.until(lambda: self.has_text(self.alice, self.bob_id, "hello"))
        said = [(self.alice_id, "Grüße, 世界 🌍"), (self.bob_id, "hello")]
        assert await self.texts(self.alice, self.bob_id) == said
        assert await self.texts(self.bob, self.alice_id) == said
        [first, second] = await self.alice.messages(self.bob_id, None, 100)
        states = self.sotto.MessageState
        assert (first.state, second.state) == (states.DELIVERED, states.RECEIVED), (first, second)
        [older] = await self.alice.messages(self.bob_id, second.position, 100)
        assert older.id == first.id

    async def errors_carry_a_code_and_whether_to_try_again(self):
        failures = self.sotto.SottoError
        expected = [
            (self.alice.join("not a link"), failures.Invite, "invite_garbage", False),
            (self.alice.send_text(self.bob_id, ""), failures.Input, "empty", False),
            (self.alice.send_text("00" * 32, "hello"), failures.Input, "not_found", False),
            (self.alice.messages("nobody", None, 1), failures.Input, "not_found", False),
            (self.open("alice", self.alice_keys), failures.Device, "profile_in_use", True),
            (self.open("nobody", self.alice_keys), failures.Device, "no_profile", False),
            (self.create("carol", "nonsense"), failures.Input, "bad_relay_address", False),
            # Nobody listens on port 1.
            (self.create("carol", "http://127.0.0.1:1"), failures.Relay, "relay_unreachable", True),
        ]
        for call, kind, code, is_retryable in expected:
            error = await refused(call)
            assert isinstance(error, kind), (code, error)
            assert (error.code, error.is_retryable) == (code, is_retryable), error
            assert error.retry_after_ms is None or error.retry_after_ms >= 0, error

    def open(self, name, keys):
        return self.sotto.open_messenger(self.place(name), keys)

    async def reopen(self):
        self.alice = await self.open("alice", self.alice_keys)

    def create(self, name, relay):
        return self.sotto.create_messenger(self.place(name), self.profile(name, relay), keystore(self.sotto))

    async def a_cancelled_call_still_runs_to_its_end(self):
        call = asyncio.ensure_future(self.alice.send_text(self.bob_id, "cancelled, and said"))
        # Once round the loop: the library has been called, and its answer is not there yet.
        await asyncio.sleep(0)
        call.cancel()
        [outcome] = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError), outcome
        await self.until(lambda: self.has_text(self.bob, self.alice_id, "cancelled, and said"))

    async def a_paused_messenger_has_nothing_open_says_so_and_goes_on(self):
        await self.alice.pause()
        await self.alice.pause()
        error = await refused(self.alice.send_text(self.bob_id, "while it pauses"))
        assert isinstance(error, self.sotto.SottoError.Paused), error
        assert (error.code, error.is_retryable) == ("paused", True), error
        if Path("/proc/self/fd").exists():
            names = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
            mine = os.path.realpath(self.place("alice")) + "/"
            assert not [name for name in names if name.startswith(mine)], names
        await self.alice.resume()
        await self.until(lambda: self.has_text(self.alice, self.bob_id, "cancelled, and said"))

    async def after_shutdown_every_call_says_so(self):
        await self.alice.shutdown()
        await self.alice.shutdown()
        error = await refused(self.alice.contacts())
        assert isinstance(error, self.sotto.SottoError.ShutDown) and error.code == "shut_down", error

    async def a_locked_or_failing_keystore_is_told_from_an_empty_one(self):
        locked = self.sotto.SecretStoreError.Locked
        for failure, code in [(locked(), "keystore_locked"), (ValueError("a bug in the app"), "keystore_failed")]:
            self.alice_keys.failure = failure
            error = await refused(self.open("alice", self.alice_keys))
            assert isinstance(error, self.sotto.SottoError.Keystore), error
            assert (error.code, error.is_retryable) == (code, True), error
        error = await refused(self.open("alice", keystore(self.sotto)))
        assert isinstance(error, self.sotto.SottoError.Device) and error.code == "wrong_key", error

    async def a_profile_opens_again_with_everything_said(self):
        self.alice_keys.failure = None
        # The profile is in use until the last reference to its handle is gone, and the engine's tasks with it.
        self.alice = None
        while (error := await refused(self.reopen())) is not None:
            assert (error.code, error.is_retryable) == ("profile_in_use", True), error
        texts = [text for _, text in await self.texts(self.alice, self.bob_id)]
        assert texts == ["Grüße, 世界 🌍", "hello", "cancelled, and said"], texts
        await self.bob.shutdown()

    async def a_deleted_account_leaves_no_key_and_no_file(self):
        deleted = await self.alice.delete_account(DEADLINE_MS)
        assert deleted.told == [self.relay.address] and deleted.not_told == [], deleted
        assert not deleted.has_other_devices
        assert self.alice_keys.entries == {} and not Path(self.place("alice")).exists()
        error = await refused(self.open("alice", self.alice_keys))
        assert error.code == "no_profile", error
        error = await refused(self.sotto.wipe_profile(self.place("bob"), self.bob_keys))
        assert error is None or error.code == "profile_in_use", error
        assert self.bob_keys.entries == {}


CHECKS = [
    Conversation.accounts_are_made_and_their_keys_go_to_the_platforms_keystore,
    Conversation.an_invite_makes_two_people_contacts,
    Conversation.a_message_each_way_arrives_once_and_in_order,
    Conversation.errors_carry_a_code_and_whether_to_try_again,
    Conversation.a_cancelled_call_still_runs_to_its_end,
    Conversation.a_paused_messenger_has_nothing_open_says_so_and_goes_on,
    Conversation.after_shutdown_every_call_says_so,
    Conversation.a_locked_or_failing_keystore_is_told_from_an_empty_one,
    Conversation.a_profile_opens_again_with_everything_said,
    Conversation.a_deleted_account_leaves_no_key_and_no_file,
]


async def converse(conversation):
    passed, failed = 0, 0
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            await asyncio.wait_for(check(conversation), DEADLINE_MS / 1000)
            passed += 1
            print(f"passed  {name}")
        except Exception as error:
            failed += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}")
    return passed, failed


def main():
    library = Path(sys.argv[1]).resolve()
    built = library.parent
    missing = [name for name in ("uniffi-bindgen",) if not (built / name).exists()]
    if not any((built / name).exists() for name in ("sotto-relay", "sotto")):
        missing.append("sotto-relay")
    if missing:
        sys.exit(f"beside the library there is no {' and no '.join(missing)}: run cargo build --workspace")
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        sotto = generate(built, library, directory / "bindings")
        relay = Relay(built, directory / "relay")
        try:
            passed, failed = asyncio.run(converse(Conversation(sotto, relay, directory)))
        finally:
            relay.stop()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
