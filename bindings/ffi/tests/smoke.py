"""A conversation between two messengers in Python: what the library exports, called over the C interface.

Usage: smoke.py LIBRARY. Beside the library must stand `uniffi-bindgen`, which writes the bindings from it, and a relay
(`sotto-relay`, or `sotto`, which can be one): `cargo build --workspace` makes all of them. Needs nothing but Python's own library.
"""

import asyncio
import os
import re
import sys
import tempfile
import threading
from pathlib import Path

from conversation import Conversation
from stage import DEADLINE_MS, Relay, generate, keystore, load, log_sink, refused

# What phones load stays small enough to be learnt (DESIGN 11).
FUNCTIONS_MAX = 150


class Life(Conversation):
    """Two accounts from their beginning to their end. `CHECKS` is the order."""

    async def accounts_are_made_and_their_keys_go_to_the_platforms_keystore(self):
        create = self.sotto.create_messenger
        self.alice = await create(self.place("alice"), self.profile("alice"), self.alice_keys)
        self.bob = await create(self.place("bob"), self.profile("bob"), self.bob_keys)
        assert {"database", "root"} <= set(self.alice_keys.entries), self.alice_keys.entries.keys()
        assert len(self.alice_keys.entries["database"]) == 32
        assert self.alice_keys.entries["database"] != self.bob_keys.entries["database"]
        here = threading.get_ident()
        assert all(thread != here for _, thread in self.alice_keys.calls), "the keystore was asked on the caller's thread"

    async def are_contacts(self):
        accepted = self.sotto.ContactState.ACCEPTED
        contacts = await self.alice.contacts() + await self.bob.contacts()
        return [contact.state for contact in contacts] == [accepted, accepted]

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
        queued = await self.alice.send_text(self.bob_id, self.text("Grüße, 世界 🌍"))
        assert queued.text == "Grüße, 世界 🌍" and queued.state == self.sotto.MessageState.QUEUED, queued
        await self.until(lambda: self.has_text(self.bob, self.alice_id, "Grüße, 世界 🌍"))
        await self.bob.send_text(self.alice_id, self.text("hello"))
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
            (self.alice.send_text(self.bob_id, self.text("")), failures.Input, "empty", False),
            (self.alice.send_text("00" * 32, self.text("hello")), failures.Input, "not_found", False),
            (self.alice.messages("nobody", None, 1), failures.Input, "not_found", False),
            (self.open("alice", self.alice_keys), failures.Device, "profile_in_use", True),
            (self.open("nobody", self.alice_keys), failures.Device, "no_profile", False),
            (self.create("dave", "nonsense"), failures.Input, "bad_relay_address", False),
            # Nobody listens on port 1.
            (self.create("dave", "http://127.0.0.1:1"), failures.Relay, "relay_unreachable", True),
        ]
        for call, kind, code, is_retryable in expected:
            error = await refused(call)
            assert isinstance(error, kind), (code, error)
            assert (error.code, error.is_retryable) == (code, is_retryable), error
            assert error.retry_after_ms is None or error.retry_after_ms >= 0, error

    async def reopen(self):
        self.alice = await self.open("alice", self.alice_keys)

    async def a_cancelled_call_still_runs_to_its_end(self):
        call = asyncio.ensure_future(self.alice.send_text(self.bob_id, self.text("cancelled, and said")))
        # Once round the loop: the library has been called, and its answer is not there yet.
        await asyncio.sleep(0)
        call.cancel()
        [outcome] = await asyncio.gather(call, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError), outcome
        await self.until(lambda: self.has_text(self.bob, self.alice_id, "cancelled, and said"))

    async def a_paused_messenger_has_nothing_open_says_so_and_goes_on(self):
        await self.alice.pause()
        await self.alice.pause()
        error = await refused(self.alice.send_text(self.bob_id, self.text("while it pauses")))
        assert isinstance(error, self.sotto.SottoError.Paused), error
        assert (error.code, error.is_retryable) == ("paused", True), error
        if Path("/proc/self/fd").exists():
            names = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
            mine = os.path.realpath(self.place("alice")) + "/"
            assert not [name for name in names if name.startswith(mine)], names
        await self.alice.resume()
        await self.until(lambda: self.has_text(self.alice, self.bob_id, "cancelled, and said"))

    async def what_is_logged_goes_to_whoever_listens_and_a_sink_that_fails_hears_what_it_missed(self):
        sotto, others = self.sotto, self.directory / "with files of others"
        others.mkdir()
        (others / "theirs.txt").touch()
        first, second = log_sink(sotto), log_sink(sotto)

        async def log_something():
            await sotto.wipe_profile(str(others), keystore(sotto))

        def heard(sink):
            return [record for record in sink.records if record.message.startswith("the profile directory stays")]

        async def until_heard(sink):
            while not heard(sink):
                await asyncio.sleep(0)
            return heard(sink)

        first.failures = [ValueError("a bug in the app")]
        sotto.set_log_sink(first, sotto.LogLevel.DEBUG)
        await log_something()
        await log_something()
        [record] = await until_heard(first)
        assert (record.level, record.dropped) == (sotto.LogLevel.DEBUG, 1), record
        assert record.target == "sotto_core::store::open" and str(others) not in record.message, record
        sotto.set_log_sink(None, sotto.LogLevel.DEBUG)
        await log_something()
        sotto.set_log_sink(second, sotto.LogLevel.DEBUG)
        await log_something()
        assert len(await until_heard(second)) == len(heard(first)) == 1, (first.records, second.records)
        sotto.set_log_sink(None, sotto.LogLevel.DEBUG)

    async def after_shutdown_every_call_says_so(self):
        self.said = await self.messages(self.alice, self.bob_id)
        chats = self.alice.chat_list(self.sotto.Chats.MAIN, 10)
        await chats.next()
        waiting = asyncio.ensure_future(chats.next())
        await asyncio.sleep(0)
        await self.alice.shutdown()
        await self.alice.shutdown()
        for call in (self.alice.contacts(), waiting, chats.next()):
            error = await refused(call)
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
        assert await self.messages(self.alice, self.bob_id) == self.said
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
        accounts_are_made_and_their_keys_go_to_the_platforms_keystore,
        an_invite_makes_two_people_contacts,
        a_message_each_way_arrives_once_and_in_order,
        *Conversation.CHECKS,
        errors_carry_a_code_and_whether_to_try_again,
        a_cancelled_call_still_runs_to_its_end,
        a_paused_messenger_has_nothing_open_says_so_and_goes_on,
        what_is_logged_goes_to_whoever_listens_and_a_sink_that_fails_hears_what_it_missed,
        after_shutdown_every_call_says_so,
        a_locked_or_failing_keystore_is_told_from_an_empty_one,
        a_profile_opens_again_with_everything_said,
        a_deleted_account_leaves_no_key_and_no_file,
    ]


async def live(life):
    passed, failed = 0, 0
    for check in Life.CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            await asyncio.wait_for(check(life), DEADLINE_MS / 1000)
            passed += 1
            print(f"passed  {name}")
        except Exception as error:
            failed += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}")
    return passed, failed


def check_bindings(built, library, directory):
    """Bindings for every platform are written, and speak of no more functions than there may be."""
    for language in ("python", "kotlin", "swift"):
        generate(language, built, library, directory / language)
    [kotlin] = (directory / "kotlin").rglob("*.kt")
    [swift] = (directory / "swift").rglob("*.swift")
    names = [(kotlin, "suspend fun `deleteForMe`("), (swift, "func deleteForMe(numbers: [Int64]) async throws")]
    for written, words in names:
        if words not in written.read_text():
            sys.exit(f"{written.name} has no {words}")
    exported = r"uniffi_sotto_ffi_checksum_((?:func|constructor|method)_\w+)"
    functions = set(re.findall(exported, (directory / "python" / "sotto.py").read_text()))
    print(f"{len(functions)} functions of at most {FUNCTIONS_MAX}")
    if not 0 < len(functions) <= FUNCTIONS_MAX:
        sys.exit("these are more than a person learns" if functions else "no function is counted")


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
        check_bindings(built, library, directory)
        sotto = load(library, directory / "python")
        relay = Relay(built, directory / "relay")
        try:
            passed, failed = asyncio.run(live(Life(sotto, relay, directory)))
        finally:
            relay.stop()
    print(f"{passed} passed, {failed} failed", flush=True)
    # At once: Python ends every thread that calls it while it takes itself apart, and the library's threads may still let go of a keystore.
    os._exit(1 if failed else 0)


if __name__ == "__main__":
    main()
