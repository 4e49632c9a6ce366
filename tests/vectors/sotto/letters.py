"""Letters and what they say, conversations, safety numbers: sections 6 and 8 of docs/protocol.md."""

import unicodedata

from .devices import ENTRY_MAX
from .primitives import derive, sha512
from .relay import is_canonical
from .wire import check_name, exactly, fields, labelled, message, require, sha256, u32

TEXT_MAX, RANGES_MAX, LINK_MAX = 64 * 1024, 1_000, 2_048
DELETED_MAX, RECEIPTS_MAX, REACTION_MAX, STATUS_MAX = 64, 256, 64, 512
STATES_MAX, SETTING_MAX = 256, 68 * 1024
RESEND_MAX, EARLIER_MAX, COUNTER_MAX = 64, 4, 2**62 - 1

HEAD = {1: ("epoch", "uint"), 2: ("version", "uint"), 3: ("hash", "bytes")}
LETTER = {
    1: ("binding", "bytes"),
    2: ("message_id", "bytes"),
    3: ("counter", "uint"),
    4: ("confirmed", "uint"),
    5: ("sent_at", "uint"),
    6: ("head", HEAD),
    7: ("opener", "bytes"),
    8: ("opened", "bytes"),
    9: ("reply_inbox", "bytes"),
    10: ("conversation", "bytes"),
    11: ("content", "bytes"),
    12: ("oldest", "uint"),
    13: ("earlier", ["bytes"]),
    14: ("ordinal", "uint"),
}
CARD = {1: ("account", "bytes"), 2: ("relay", "string"), 3: ("chain", "bytes"), 4: ("chain_key", "bytes")}
RANGE = {1: ("start", "uint"), 2: ("length", "uint"), 3: ("style", "uint"), 4: ("mention", "bytes"), 5: ("link", "string")}
TARGET = {1: ("author", "bytes"), 2: ("message_id", "bytes")}
TEXT = {1: ("body", "string"), 2: ("ranges", [RANGE]), 3: ("reply_to", TARGET), 4: ("forwarded", "uint")}
EDIT = {1: ("message_id", "bytes"), 2: ("text", TEXT)}
REACTION = {1: ("target", TARGET), 2: ("emoji", "string")}
PIN = {1: ("target", TARGET), 2: ("pinned", "uint")}
PROFILE = {1: ("version", "uint"), 2: ("name", "string"), 3: ("status", "string"), 5: ("device", "bytes")}
REQUEST = {
    1: ("name", "string"),
    2: ("card", CARD),
    3: ("manifest", "bytes"),
    4: ("reply_secret", "bytes"),
    5: ("proof", "bytes"),
}
ACCEPT = {1: ("name", "string"), 2: ("card", CARD), 3: ("pair_secret", "bytes")}
COUNTERS = {1: ("first", "uint"), 2: ("last", "uint")}
RESEND = {1: ("counters", [COUNTERS]), 2: ("inner_hashes", ["bytes"]), 3: ("predecessor", "bytes")}
CIPHERTEXT = {1: ("inner_hash", "bytes"), 2: ("counter", "uint")}
GIVEN_UP = {
    1: ("missing", [COUNTERS]),
    2: ("empty", [COUNTERS]),
    3: ("missing_ciphertexts", [CIPHERTEXT]),
    4: ("empty_ciphertexts", [CIPHERTEXT]),
}
SAID = {1: ("account", "bytes"), 2: ("content", "bytes")}
SYNCED_CONTACT = {
    1: ("version", "uint"),
    2: ("card", CARD),
    3: ("manifest", "bytes"),
    4: ("name", "string"),
    5: ("given_name", "string"),
    6: ("removed", "uint"),
    7: ("blocked", "uint"),
    8: ("pair_secret", "bytes"),
    9: ("pair_usable", "uint"),
    10: ("pair_version", "uint"),
    11: ("profile", PROFILE),
}
OWN_DEVICE_SYNC = {
    1: ("said", SAID),
    2: ("contact", SYNCED_CONTACT),
    3: ("hidden", {1: ("account", "bytes"), 2: ("targets", [TARGET])}),
    4: ("read", {1: ("account", "bytes"), 2: ("message_ids", ["bytes"])}),
    5: ("states", {1: ("account", "bytes"), 2: ("states", [{1: ("message_id", "bytes"), 2: ("progress", "uint")}])}),
    6: ("setting", {1: ("account", "bytes"), 2: ("key", "uint"), 3: ("version", "uint"), 4: ("value", "bytes"), 5: ("device", "bytes")}),
}
CONTENT = {
    1: ("fallback", "string"),
    10: ("text", TEXT),
    11: ("edit", EDIT),
    12: ("delete", {1: ("message_ids", ["bytes"])}),
    13: ("reaction", REACTION),
    23: ("profile", PROFILE),
    24: ("pin", PIN),
    25: ("nudge", {}),
    40: ("receipts", {1: ("read", ["bytes"])}),
    41: ("resend_request", RESEND),
    44: ("confirmation", {}),
    45: ("given_up", GIVEN_UP),
    70: ("contact_request", REQUEST),
    71: ("contact_accept", ACCEPT),
    72: ("pair_ready", {}),
    73: ("card_change", {1: ("card", CARD)}),
    74: ("pair_change", {1: ("pair_secret", "bytes"), 2: ("epoch", "uint"), 3: ("before", "bytes")}),
    75: ("pair_changed", {1: ("pair", "bytes")}),
    43: ("own_device_sync", OWN_DEVICE_SYNC),
}
CHANNELS = {
    "text": ("contact", "own"),
    "edit": ("contact", "own"),
    "delete": ("contact", "own"),
    "reaction": ("contact", "own"),
    "pin": ("contact", "own"),
    "nudge": ("contact",),
    "profile": ("contact",),
    "receipts": ("contact",),
    "resend_request": ("contact", "own"),
    "confirmation": ("contact", "own"),
    "given_up": ("contact", "own"),
    "own_device_sync": ("own",),
    "pair_ready": ("contact",),
    "pair_change": ("contact",),
    "pair_changed": ("contact",),
    "card_change": ("contact",),
    "contact_request": ("invite",),
    "contact_accept": ("reply",),
    "unknown": ("contact", "own"),
}


def conversation_of(one, other):
    return sha256("conversation", min(one, other), max(one, other))


def conversation(given):
    return [("conversation", conversation_of(given.hex("one"), given.hex("other")))]


def digits(account):
    value = labelled("safety-number", account)
    for _ in range(5_200):
        value = sha512(value + account)
    groups = [int.from_bytes(value[at : at + 5], "big") % 100_000 for at in range(0, 30, 5)]
    return [f"{group:05}" for group in groups]


def safety_number(given):
    low, high = sorted((given.hex("one"), given.hex("other")))
    return [("digits", " ".join(digits(low) + digits(high)))]


def binding_of(given, conversation):
    names = [f"{role}_{part}" for role in ("sender", "recipient") for part in ("account", "device", "ed25519", "curve25519")]
    return sha256("binding", u32(1), *(given.hex(name) for name in names), conversation)


def binding(given):
    return [("binding", binding_of(given, given.hex("conversation")))]


def letter(given):
    read = message(given.hex("plaintext"), LETTER)
    require(read["counter"] >= 1, "counter-zero")
    require(read["counter"] < 2**62, "counter-too-high")
    require(1 <= read["oldest"] <= read["counter"], "bad-oldest")
    require(read["ordinal"] < 2**62, "ordinal-too-high")
    require(len(read["earlier"]) <= EARLIER_MAX, "too-many-earlier")
    require(len(read["reply_inbox"]) in (0, 16), "malformed")
    require(read["reply_inbox"] or given.text("olm_kind") == "normal", "missing-reply-inbox")
    exactly(32, read["binding"])
    exactly(16, read["message_id"])
    head = read["head"]
    require(head is not None and head["epoch"] and head["version"], "malformed")
    exactly(32, head["hash"])
    require(len(read["opener"]) in (0, 32) and len(read["opened"]) in (0, 16), "malformed")
    require(len(read["conversation"]) in (0, 32), "malformed")
    for hash in read["earlier"]:
        exactly(32, hash)

    require(given.hex("session_peer") == given.hex("sender_curve25519"), "wrong-sender")
    default = conversation_of(given.hex("sender_account"), given.hex("recipient_account"))
    conversation = read["conversation"] or default
    require(read["binding"] == binding_of(given, conversation), "wrong-binding")
    require(read["conversation"] != default, "redundant-conversation")
    answer = [(name, read[name]) for name in ("message_id", "counter", "oldest", "confirmed", "sent_at", "ordinal")]
    answer += [("epoch", head["epoch"]), ("version", head["version"]), ("head", head["hash"])]
    answer += [(name, read[name]) for name in ("opener", "opened", "reply_inbox")]
    answer += [("earlier", hash) for hash in read["earlier"]]
    return answer + [("conversation", conversation), ("content", read["content"])]


def check_card(card):
    require(card is not None, "malformed")
    exactly(32, card["account"])
    require(is_canonical(card["relay"]), "malformed")
    exactly(32, card["chain"])
    exactly(32, card["chain_key"])
    return card


def check_target(target):
    require(target is not None, "malformed")
    exactly(32, target["author"])
    exactly(16, target["message_id"])
    return [("target_author", target["author"]), ("target", target["message_id"])]


def check_ids(ids, count_max):
    for id in ids:
        exactly(16, id)
    require(1 <= len(ids) <= count_max and len(set(ids)) == len(ids), "malformed")
    return [("message_id", id) for id in ids]


def check_edit(edit):
    require(edit["text"] is not None, "malformed")
    text = check_text(edit["text"])
    require(edit["text"]["reply_to"] is None and not edit["text"]["forwarded"], "malformed")
    exactly(16, edit["message_id"])
    return [("body", "edit"), ("message_id", edit["message_id"])] + text[1:]


def check_reaction(reaction):
    target, emoji = check_target(reaction["target"]), reaction["emoji"]
    require(len(emoji.encode()) <= REACTION_MAX, "malformed")
    require(not any(letter.isspace() or unicodedata.category(letter) == "Cc" for letter in emoji), "malformed")
    return [("body", "reaction")] + target + [("emoji", emoji)]


def check_pin(pin):
    return [("body", "pin")] + check_target(pin["target"]) + [("pinned", min(pin["pinned"], 1))]


def check_profile(profile):
    require(1 <= profile["version"] < 1 << 62, "malformed")
    check_name(profile["name"])
    require(len(profile["status"].encode()) <= STATUS_MAX, "malformed")
    exactly(16, profile["device"])
    return [(name, profile[name]) for name in ("version", "device", "name", "status")]


def check_text(text):
    require(len(text["ranges"]) <= RANGES_MAX, "too-many-ranges")
    for item in text["ranges"]:
        require(len(item["mention"]) in (0, 32), "malformed")
    require(text["body"], "empty-text")
    require(len(text["body"].encode()) <= TEXT_MAX, "text-too-long")
    for item in text["ranges"]:
        require(item["length"], "empty-range")
        require(item["start"] + item["length"] <= len(text["body"]), "range-beyond-end")
        require(len(item["link"].encode()) <= LINK_MAX, "malformed")
    answer = [("body", "text"), ("ranges", len(text["ranges"])), ("text", text["body"])]
    answer += check_target(text["reply_to"]) if text["reply_to"] is not None else []
    return answer + ([("forwarded", 1)] if text["forwarded"] else [])


def check_request(request):
    check_name(request["name"])
    card = check_card(request["card"])
    require(1 <= len(request["manifest"]) <= ENTRY_MAX, "malformed")
    exactly(32, request["reply_secret"])
    exactly(32, request["proof"])
    answer = [("body", "contact-request"), ("name", request["name"]), ("account", card["account"])]
    answer += [("manifest", request["manifest"]), ("reply_secret", request["reply_secret"])]
    return answer + [("proof", request["proof"])]


def check_accept(accept):
    check_name(accept["name"])
    card = check_card(accept["card"])
    exactly(32, accept["pair_secret"])
    answer = [("body", "contact-accept"), ("name", accept["name"]), ("account", card["account"])]
    return answer + [("pair_secret", accept["pair_secret"])]


def check_pair_change(change):
    exactly(32, change["pair_secret"])
    require(change["epoch"] >= 1, "malformed")
    exactly(32, change["before"])
    answer = [("body", "pair-change"), ("pair_secret", change["pair_secret"]), ("epoch", change["epoch"])]
    return answer + [("before", change["before"])]


def check_pair_changed(changed):
    exactly(32, changed["pair"])
    return [("body", "pair-changed"), ("pair", changed["pair"])]


def check_card_change(change):
    card = check_card(change["card"])
    return [("body", "card-change"), ("account", card["account"]), ("chain", card["chain"])]


def check_ranges(ranges):
    require(len(ranges) <= RESEND_MAX, "too-many-ranges")
    end = -1
    for item in ranges:
        require(max(1, end + 2) <= item["first"] <= item["last"] <= COUNTER_MAX, "bad-range")
        end = item["last"]




def shown_ranges(name, ranges):
    return [(name, f"{item['first']} {item['last']}") for item in ranges]


def shown_ciphertexts(name, ciphertexts):
    return [(name, f"{item['inner_hash'].hex()} {item['counter']}") for item in ciphertexts]


def check_resend_request(request):
    for hash in request["inner_hashes"]:
        exactly(32, hash)
    if request["predecessor"]:
        exactly(16, request["predecessor"])
    require(request["counters"] or request["inner_hashes"], "nothing-named")
    check_ranges(request["counters"])
    require(len(request["inner_hashes"]) <= RESEND_MAX, "too-many-hashes")
    answer = [("body", "resend-request")] + shown_ranges("counters", request["counters"])
    answer += [("hash", hash) for hash in request["inner_hashes"]]
    return answer + ([("predecessor", request["predecessor"])] if request["predecessor"] else [])


def check_given_up(given_up):
    ciphertexts = given_up["missing_ciphertexts"] + given_up["empty_ciphertexts"]
    for item in ciphertexts:
        exactly(32, item["inner_hash"])
    require(given_up["missing"] or given_up["empty"] or ciphertexts, "nothing-named")
    check_ranges(given_up["missing"])
    check_ranges(given_up["empty"])
    require(all(item["counter"] <= COUNTER_MAX for item in ciphertexts), "bad-range")
    require(len(ciphertexts) <= RESEND_MAX, "too-many-hashes")
    answer = [("body", "given-up")] + shown_ranges("missing", given_up["missing"])
    answer += shown_ranges("empty", given_up["empty"])
    answer += shown_ciphertexts("missing_ciphertext", given_up["missing_ciphertexts"])
    return answer + shown_ciphertexts("empty_ciphertext", given_up["empty_ciphertexts"])


def check_own_device_sync(sync):
    if sync["contact"] is not None:
        return check_synced_contact(sync["contact"])
    if sync["said"] is not None:
        exactly(32, sync["said"]["account"])
        require(sync["said"]["content"], "malformed")
        return [("body", "said"), ("account", sync["said"]["account"]), ("content", sync["said"]["content"])]
    for name in ("hidden", "read", "states", "setting"):
        if sync[name] is not None:
            return [("body", name), ("account", sync[name]["account"])] + SYNCS[name](sync[name])
    return [("body", "own-device-sync")]


def check_hidden(hidden):
    exactly(32, hidden["account"])
    require(1 <= len(hidden["targets"]) <= DELETED_MAX, "malformed")
    answer = [pair for target in hidden["targets"] for pair in check_target(target)]
    named = [(target["author"], target["message_id"]) for target in hidden["targets"]]
    require(len(set(named)) == len(named), "malformed")
    return answer


def check_read(read):
    exactly(32, read["account"])
    return check_ids(read["message_ids"], RECEIPTS_MAX)


def check_states(states):
    exactly(32, states["account"])
    check_ids([state["message_id"] for state in states["states"]], STATES_MAX)
    known = [state for state in states["states"] if 1 <= state["progress"] <= 5]
    return [("state", f"{state['message_id'].hex()} {state['progress']}") for state in known]


def check_setting(setting):
    require(len(setting["account"]) in (0, 32), "malformed")
    require(1 <= setting["version"] < 1 << 62, "malformed")
    require(len(setting["value"]) <= SETTING_MAX, "malformed")
    exactly(16, setting["device"])
    return [(name, setting[name]) for name in ("key", "version", "device", "value")]


SYNCS = {"hidden": check_hidden, "read": check_read, "states": check_states, "setting": check_setting}


def check_synced_contact(contact):
    require(1 <= contact["version"] < 1 << 62, "malformed")
    require(contact["pair_version"] < 1 << 62, "malformed")
    require(bool(contact["pair_secret"]) != bool(contact["removed"]), "malformed")
    require(len(contact["pair_secret"]) in (0, 32), "malformed")
    card = check_card(contact["card"])
    require(1 <= len(contact["manifest"]) <= ENTRY_MAX, "malformed")
    check_name(contact["name"])
    if contact["given_name"]:
        check_name(contact["given_name"])
    flags = "".join(str(min(contact[name], 1)) for name in ("removed", "blocked", "pair_usable"))
    answer = [("body", "synced-contact"), ("account", card["account"]), ("version", contact["version"])]
    answer += [("name", contact["name"]), ("given_name", contact["given_name"]), ("flags", flags)]
    answer += [("manifest", contact["manifest"]), ("pair_secret", contact["pair_secret"])]
    answer += [("pair_version", contact["pair_version"])]
    return answer + (check_profile(contact["profile"]) if contact["profile"] is not None else [])


CHECKS = {
    "text": check_text,
    "edit": check_edit,
    "delete": lambda delete: [("body", "delete")] + check_ids(delete["message_ids"], DELETED_MAX),
    "reaction": check_reaction,
    "pin": check_pin,
    "nudge": lambda _: [("body", "nudge")],
    "profile": lambda profile: [("body", "profile")] + check_profile(profile),
    "receipts": lambda receipts: [("body", "receipts")] + check_ids(receipts["read"], RECEIPTS_MAX),
    "resend_request": check_resend_request,
    "given_up": check_given_up,
    "confirmation": lambda _: [("body", "confirmation")],
    "pair_ready": lambda _: [("body", "pair-ready")],
    "pair_change": check_pair_change,
    "pair_changed": check_pair_changed,
    "contact_request": check_request,
    "contact_accept": check_accept,
    "card_change": check_card_change,
    "own_device_sync": check_own_device_sync,
}


def content(given):
    return content_on(given.hex("content"), given.text("channel"))


def content_on(data, channel):
    read = message(data, CONTENT)
    bodies = [number for number, _, _ in fields(data) if number >= 10]
    require(len(bodies) == 1, "body-count")
    require(len(read["fallback"].encode()) <= TEXT_MAX, "fallback-too-long")
    body = CONTENT.get(bodies[0], ("unknown",))[0]
    if body == "unknown":
        answer = [("body", "unknown"), ("fallback", read["fallback"])]
    else:
        answer = CHECKS[body](read[body])
    require(channel in CHANNELS[body], "misplaced")
    return answer


def contact_request(given):
    """Whether a request that came on an invite's alias was made under that invite."""
    answer = dict(content_on(given.hex("content"), "invite"))
    require(answer["body"] == "contact-request", "misplaced")
    proof = derive(given.hex("secret"), 32, "invite-proof", given.hex("requester"), given.hex("owner"))
    require(answer["proof"] == proof, "wrong-proof")
    return [("proof", proof)]


READERS = {
    "conversation": conversation,
    "safety-number": safety_number,
    "binding": binding,
    "letter": letter,
    "content": content,
    "contact-request": contact_request,
}
