"""A conversation that two people live in: what they say and do, what they see of it, and what they set."""

import asyncio

from stage import Kept, Stage, refused


class Conversation(Stage):
    """What two contacts do. `CHECKS` is the order."""

    async def an_answer_with_a_mention_names_what_it_answers(self):
        sotto = self.sotto
        meaning = sotto.Meaning.MENTION(account=self.alice_id)
        mention = sotto.TextRange(start=3, length=5, meaning=meaning)
        bold = sotto.TextRange(start=0, length=2, meaning=sotto.Meaning.STYLED(style=sotto.TextStyle.BOLD))
        asked, heard = await self.bob_says("🎻! Alice, tea?", ranges=[mention, bold])
        assert heard.ranges == [mention, bold] and asked.id == heard.id, heard
        _, answer = await self.alice_says("yes please", reply_to=heard.number)
        assert answer.reply_to.author == self.bob_id and answer.reply_to.id == asked.id, answer
        assert (answer.reply_to.here.number, answer.reply_to.here.text) == (asked.number, asked.text), answer
        error = await refused(self.alice.send_text(self.bob_id, self.text("short", ranges=[mention])))
        assert (error.code, error.is_retryable) == ("out_of_range", False), error

    async def a_reaction_and_a_pin_are_seen_by_both_and_taken_back(self):
        said, heard = await self.alice_says("a cat")
        await self.bob.react(heard.number, "🐈")
        await self.bob.pin(heard.number, True)
        seen = await self.until_message(self.alice, said.number, lambda it: it.reactions and it.is_pinned)
        [reaction] = seen.reactions
        assert (reaction.author, reaction.emoji) == (self.bob_id, "🐈"), reaction
        [pinned] = await self.alice.pinned(self.bob_id, None, 10)
        assert pinned.number == said.number, pinned
        await self.bob.react(heard.number, None)
        await self.bob.pin(heard.number, False)
        await self.until_message(self.alice, said.number, lambda it: not it.reactions and not it.is_pinned)
        assert await self.alice.pinned(self.bob_id, None, 10) == []

    async def an_edit_keeps_what_was_said_before(self):
        said, heard = await self.alice_says("see you at five")
        edited = await self.alice.edit(said.number, self.text("see you at six"))
        assert edited.text == "see you at six" and edited.edited_at_ms is not None, edited
        seen = await self.until_message(self.bob, heard.number, lambda it: it.text == "see you at six")
        assert seen.edited_at_ms is not None and seen.position == heard.position, seen
        history = await self.bob.history(heard.number, 10)
        assert [version.text for version in history] == ["see you at five", "see you at six"], history
        error = await refused(self.bob.edit(heard.number, self.text("not mine")))
        assert (type(error), error.code) == (self.sotto.SottoError.Input, "wrong_state"), error

    async def what_is_said_elsewhere_and_a_nudge_arrive_as_such(self):
        _, heard = await self.bob_says("from elsewhere")
        forwarded = await self.alice.forward(heard.number, self.bob_id)
        assert forwarded.is_forwarded and forwarded.text == "from elsewhere", forwarded
        nudge = await self.alice.nudge(self.bob_id)

        async def nudged():
            last = (await self.messages(self.bob, self.alice_id))[-1]
            return (last.id, last.kind) == (nudge.id, self.sotto.MessageKind.NUDGE)

        await self.until(nudged)

    async def what_is_taken_back_goes_for_everyone_and_what_is_hidden_for_oneself(self):
        said, heard = await self.alice_says("a slip")
        _, stays = await self.alice_says("stays with alice")
        await self.alice.delete_for_everyone([said.number])
        deleted = self.sotto.MessageKind.DELETED
        seen = await self.until_message(self.bob, heard.number, lambda it: it.kind == deleted)
        assert seen.text == "", seen
        await self.bob.delete_for_me([stays.number])
        assert (await refused(self.bob.message(stays.number))).code == "not_found"
        assert await self.has_text(self.alice, self.bob_id, "stays with alice")
        error = await refused(self.bob.delete_for_everyone([]))
        assert (type(error), error.code) == (self.sotto.SottoError.Input, "empty"), error

    async def what_was_read_is_told_and_what_was_fetched_is_not(self):
        states = self.sotto.MessageState
        await self.bob.mark_all_read(self.alice_id)
        first, heard = await self.alice_says("read me")
        second, unread = await self.alice_says("not me")
        assert heard.is_unread and (await self.bob.first_unread(self.alice_id)).number == heard.number
        await self.bob.mark_read([heard.number])
        await self.until_message(self.alice, first.number, lambda it: it.state == states.READ)
        assert (await self.alice.message(second.number)).state == states.DELIVERED
        assert (await self.bob.first_unread(self.alice_id)).number == unread.number
        [chat] = await self.bob.conversations(self.sotto.Chats.MAIN, None, 10)
        assert (chat.contact, chat.unread) == (self.alice_id, 1), chat
        await self.bob.mark_all_read(self.alice_id)
        assert await self.bob.first_unread(self.alice_id) is None

    async def lists_are_kept_up_to_date_by_their_differences_alone(self):
        chats = Kept(self.bob.chat_list(self.sotto.Chats.MAIN, 100))
        timeline = Kept(self.bob.timeline(self.alice_id, self.sotto.TimelineStart.NEWEST(), 100))

        async def both():
            await chats.until(lambda: self.bob.conversations(self.sotto.Chats.MAIN, None, 100))
            await timeline.until(lambda: self.messages(self.bob, self.alice_id))

        await both()
        said, heard = await self.alice_says("kept up to date")
        await both()
        assert timeline.items[-1].text == chats.items[0].preview == "kept up to date"
        await self.bob.react(heard.number, "👀")
        await self.bob.mute(self.alice_id, 4_000_000_000_000)
        await both()
        assert timeline.items[-1].reactions and chats.items[0].muted_until_ms == 4_000_000_000_000
        await self.alice.edit(said.number, self.text("otherwise"))
        await self.until_message(self.bob, heard.number, lambda it: it.text == "otherwise")
        await both()
        await self.bob.delete_for_me([heard.number])
        await self.bob.mute(self.alice_id, None)
        await both()
        assert heard.number not in [message.number for message in timeline.items]
        assert (timeline.has_older, timeline.has_newer) == (False, False)
        chats.subscription.stop()
        timeline.subscription.stop()

    async def a_timeline_grows_as_somebody_scrolls_and_ends_when_it_is_stopped(self):
        everything = await self.messages(self.alice, self.bob_id)
        starts = self.sotto.TimelineStart
        timeline = self.alice.timeline(self.bob_id, starts.AROUND(position=everything[4].position), 2)
        kept = Kept(timeline)
        await kept.next()
        assert kept.items == everything[3:5] and kept.has_older and kept.has_newer, kept.items
        timeline.older(2)
        await kept.next()
        timeline.newer(1)
        await kept.next()
        assert kept.items == everything[1:6], kept.items
        waiting = asyncio.ensure_future(timeline.next())
        await asyncio.sleep(0)
        timeline.stop()
        assert await waiting is None and await timeline.next() is None
        since = self.alice.timeline(self.bob_id, starts.SINCE(time_ms=everything[-1].sent_at_ms + 1), 2)
        assert (await since.next()).has_older
        with_nobody = await refused(self.alice.timeline("00" * 32, starts.FIRST_UNREAD(), 2).next())
        assert with_nobody.code == "not_found", with_nobody

    async def pages_lead_to_each_other_and_to_a_date(self):
        everything = await self.messages(self.alice, self.bob_id)
        middle = everything[len(everything) // 2]
        before = await self.alice.messages(self.bob_id, middle.position, 2)
        after = await self.alice.messages_after(self.bob_id, middle.position, 2)
        around = await self.alice.messages_around(self.bob_id, middle.position, 4)
        assert around == before + [middle] + after[:1], around
        first = await self.alice.first_message_since(self.bob_id, 0)
        assert first == everything[0] and await self.alice.first_message_since(self.bob_id, 1 << 41) is None

    async def what_was_said_is_found_page_by_page(self):
        query = self.sotto.SearchQuery
        for number in range(3):
            await self.alice_says(f"Grüße Nummer {number} aus Köln")
        page = await self.bob.search(query(words="grusse koln"), None, 2)
        assert page.is_complete and [hit.message.text[13] for hit in page.hits] == ["2", "1"], page
        hit = page.hits[0]
        stretches = [hit.snippet.text[it.start : it.start + it.length] for it in hit.snippet.matches]
        assert hit.with_account == self.alice_id and stretches == ["Grüße", "Köln"], hit
        rest = await self.bob.search(query(words="grusse koln"), page.next, 2)
        assert [hit.message.text[13] for hit in rest.hits] == ["0"] and rest.next is None, rest
        by_bob = await self.bob.search(query(words="grusse", sender=self.bob_id), None, 2)
        assert by_bob.hits == [], by_bob
        assert (await refused(self.bob.search(query(words=" "), None, 2))).code == "empty"

    async def what_is_set_of_a_conversation_is_seen_in_the_list(self):
        chats = self.sotto.Chats
        await self.alice.pin_conversation(self.bob_id, True)
        await self.alice.mark_unread(self.bob_id)
        answered = (await self.messages(self.alice, self.bob_id))[0]
        draft = self.text("half a", reply_to=answered.number)
        await self.alice.set_draft(self.bob_id, draft)
        await self.alice.set_note(self.bob_id, "likes tea")
        [chat] = await self.alice.conversations(chats.MAIN, None, 10)
        assert chat.is_pinned and chat.is_marked_unread and chat.draft == "half a", chat
        assert await self.alice.draft(self.bob_id) == draft
        [contact] = await self.alice.contacts()
        assert contact.note == "likes tea", contact
        await self.alice.set_draft(self.bob_id, None)
        assert await self.alice.draft(self.bob_id) is None
        await self.alice.pin_conversation(self.bob_id, False)
        await self.alice.archive(self.bob_id, True)
        assert await self.alice.conversations(chats.MAIN, None, 10) == []
        [chat] = await self.alice.conversations(chats.ARCHIVED, None, 10)
        assert await self.alice.conversations(chats.ARCHIVED, chat.place, 10) == []
        await self.alice.archive(self.bob_id, False)
        await self.alice.set_profile(self.sotto.Profile(name="Alice", status="on a train"))
        assert (await self.alice.profile()).status == "on a train"
        assert "on a train" not in await self.alice.diagnostics()
        assert await self.alice.receipts()
        await self.alice.set_receipts(False)
        assert not await self.alice.receipts()
        await self.alice.set_receipts(True)

    async def whoever_types_is_seen_only_where_both_want_it(self):
        on = self.sotto.LiveSettings(typing=True, presence=False)
        assert not (await self.alice.live_settings()).typing
        for person in (self.alice, self.bob):
            await person.set_live_settings(on)
        assert await self.bob.live_settings() == on
        events = self.bob.events()
        self.alice.set_presence(self.sotto.AppState.FOREGROUND)
        self.alice.set_typing(self.bob_id, True)
        while not (await self.bob.live(self.alice_id)).is_typing:
            assert await events.next() is not None
        events.stop()
        assert await events.next() is None
        for person in (self.alice, self.bob):
            await person.set_live_settings(self.sotto.LiveSettings(typing=False, presence=False))
        assert not (await self.bob.live(self.alice_id)).is_typing

    async def two_compare_by_digits_and_by_a_scan(self):
        ours, theirs = await self.alice.safety_number(self.bob_id), await self.bob.safety_number(self.alice_id)
        assert ours == theirs and len(ours.digits) == 60 and len(ours.groups) == 12, ours
        shown = await self.bob.verification_code(self.alice_id)
        error = await refused(self.alice.verify_by_code(self.bob_id, await self.alice.verification_code(self.bob_id)))
        assert (error.code, error.is_retryable) == ("wrong_code", False), error
        await self.alice.verify_by_code(self.bob_id, shown)
        [contact] = await self.alice.contacts()
        await self.alice.accept_keys(self.bob_id, contact.keys)
        [contact] = await self.alice.contacts()
        assert contact.is_verified and not contact.is_held, contact
        await self.alice.set_verified(self.bob_id, False)
        [contact] = await self.alice.contacts()
        assert not contact.is_verified, contact

    async def a_stranger_asks_is_accepted_renamed_blocked_and_removed(self):
        states = self.sotto.ContactState
        carol = await self.create("carol")
        invite = await self.alice.invite(self.sotto.InviteOptions(uses=1, valid_for_ms=86_400_000, auto_accept=False))
        await self.alice.catch_up(60_000)
        await carol.join(invite.link)
        carol_id = (await carol.account()).id

        async def state_of_carol():
            return {contact.id: contact for contact in await self.alice.contacts()}.get(carol_id)

        async def is_asking():
            asking = await state_of_carol()
            return asking is not None and asking.state == states.ASKING

        await self.until(is_asking, carol)
        await self.alice.accept(carol_id)
        assert (await state_of_carol()).state == states.ACCEPTED
        await self.alice.rename(carol_id, "Carol of tennis")
        await self.alice.block(carol_id)
        contact = await state_of_carol()
        assert (contact.name, contact.own_name, contact.is_blocked) == ("Carol of tennis", "carol", True), contact
        error = await refused(self.alice.send_text(carol_id, self.text("hello")))
        assert (error.code, error.is_retryable) == ("wrong_state", False), error
        await self.alice.unblock(carol_id)
        assert not (await state_of_carol()).is_blocked
        await self.alice.remove(carol_id)
        assert await state_of_carol() is None
        await carol.shutdown()

    async def each_device_that_a_message_is_for_is_told_of(self):
        said, _ = await self.alice_says("how far is it?")
        sent = await self.alice.wait_sent(said.number, 60_000)
        assert sent.state not in (self.sotto.MessageState.QUEUED, self.sotto.MessageState.SENDING), sent
        [delivery] = await self.alice.deliveries(said.number)
        confirmed = self.sotto.DeliveryState.CONFIRMED
        assert not delivery.is_own and delivery.state in (self.sotto.DeliveryState.ACCEPTED, confirmed), delivery
        assert (await refused(self.alice.retry(said.number))).code == "wrong_state"
        [relay] = await self.alice.relays()
        assert (relay.address, relay.is_home, relay.is_left) == (self.relay.address, True, False), relay
        account = await self.alice.account()
        assert (account.id, account.name, account.relays) == (self.alice_id, "Alice", [self.relay.address]), account
        last = await self.bob.newest()
        assert await self.bob.received_after(last, 10) == []
        assert (await self.bob.received_after(last - 1, 10))[0].arrival == last

    CHECKS = [
        an_answer_with_a_mention_names_what_it_answers,
        a_reaction_and_a_pin_are_seen_by_both_and_taken_back,
        an_edit_keeps_what_was_said_before,
        what_is_said_elsewhere_and_a_nudge_arrive_as_such,
        what_is_taken_back_goes_for_everyone_and_what_is_hidden_for_oneself,
        what_was_read_is_told_and_what_was_fetched_is_not,
        lists_are_kept_up_to_date_by_their_differences_alone,
        a_timeline_grows_as_somebody_scrolls_and_ends_when_it_is_stopped,
        pages_lead_to_each_other_and_to_a_date,
        what_was_said_is_found_page_by_page,
        what_is_set_of_a_conversation_is_seen_in_the_list,
        whoever_types_is_seen_only_where_both_want_it,
        two_compare_by_digits_and_by_a_scan,
        a_stranger_asks_is_accepted_renamed_blocked_and_removed,
        each_device_that_a_message_is_for_is_told_of,
    ]
