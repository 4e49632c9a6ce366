//! Bindings, letters and what they say; conversations and safety numbers.

use sotto_crypto::Party;
use sotto_crypto::letter::{
    Card, Ciphertext, Content, Counters, GivenUp, Letter, Meaning, OwnDeviceSync, Profile, Progress, Range,
    ResendRequest, Setting, Style, SyncedContact, SyncedState, Target, Text,
};
use sotto_crypto::manifest::Head;
use sotto_crypto::seal::{Opened, OpenerHash};
use sotto_crypto::secret::{ChainKey, InviteProof, PairSecret, ReplySecret, invite_proof};
use sotto_protocol::invite::InviteSecret;
use sotto_protocol::letter::content::Body;
use sotto_protocol::{AccountId, Bytes, ChainId, ConversationId, DeviceId, Message, MessageId, letter};

use super::Scenarios;
use crate::file::Vector;
use crate::people::{NOW, Person, relay};

pub(crate) fn add(scenarios: &mut Scenarios) {
    add_names(scenarios);
    add_letters(scenarios);
    add_contents(scenarios);
    add_requests(scenarios);
    add_resends(scenarios);
    add_texts(scenarios);
    add_deeds(scenarios);
}

fn parties(vector: Vector, sender: &Party, recipient: &Party) -> Vector {
    [("sender", sender), ("recipient", recipient)].into_iter().fold(vector, |vector, (role, party)| {
        vector
            .hex(&format!("{role}_account"), party.account)
            .hex(&format!("{role}_device"), party.device)
            .hex(&format!("{role}_ed25519"), party.ed25519)
            .hex(&format!("{role}_curve25519"), party.curve25519)
    })
}

fn add_names(scenarios: &mut Scenarios) {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let two = |kind: &str, about: &str, one: &AccountId, other: &AccountId| {
        Vector::accepted(kind, about).hex("one", one).hex("other", other)
    };
    let (one, other) = (alice.account(), bob.account());
    scenarios.add("of-two", two("conversation", "The 1:1 of two accounts.", &one, &other));
    scenarios.add("other-way-round", two("conversation", "The same, named from the other side.", &other, &one));
    scenarios.add("note-to-self", two("conversation", "One account with itself.", &one, &one));
    scenarios.add("of-two", two("safety-number", "What two people compare.", &one, &other));
    scenarios.add("other-way-round", two("safety-number", "The same, from the other side.", &other, &one));

    let conversation = ConversationId::between(&one, &other);
    let binding = |about: &str, sender: &Party, recipient: &Party, conversation: &ConversationId| {
        parties(Vector::accepted("binding", about), sender, recipient).hex("conversation", conversation)
    };
    let (here, there) = (alice.party(), bob.party());
    scenarios.add("there", binding("What ties a letter to its two ends.", &here, &there, &conversation));
    scenarios.add("back", binding("The other direction has another binding.", &there, &here, &conversation));
}

fn example(alice: &Person) -> Letter {
    Letter {
        message_id: MessageId::from_bytes([9; 16]),
        counter: 3,
        oldest: 2,
        confirmed: 2,
        sent_at: NOW,
        head: Head { epoch: 1, version: 4, hash: [8; 32] },
        opener: None,
        opened: None,
        reply_inbox: Some(alice.inbox().inbox),
        conversation: ConversationId::between(&alice.account(), &Person::new(2).account()),
        earlier: Vec::new(),
        ordinal: 5,
        content: Content::Text(Text::plain("Grüezi")).encode().ok().unwrap(),
    }
}

fn add_letters(scenarios: &mut Scenarios) {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (sender, recipient) = (alice.party(), bob.party());
    let vector = |expect: &str,
                  about: &str,
                  kind: &str,
                  peer: &[u8; 32],
                  sender: &Party,
                  recipient: &Party,
                  plaintext: &[u8]| {
        let vector = Vector::refused("letter", expect, about).text("olm_kind", kind).hex("session_peer", peer);
        parties(vector, sender, recipient).hex("plaintext", plaintext)
    };
    let peer = &sender.curve25519;
    let first = example(&alice);
    let plaintext = first.encode(&sender, &recipient);
    let good = vector("accepted", "The first letter of a session.", "prekey", peer, &sender, &recipient, &plaintext);
    scenarios.add("first", good);
    let seals = Letter {
        opener: Some(OpenerHash::from_bytes([5; 32])),
        opened: Some(Opened::from_bytes([6; 16])),
        reply_inbox: None,
        ..first.clone()
    };
    let about = "A later one that names one opener and confirms another.";
    let later = vector("accepted", about, "normal", peer, &sender, &recipient, &seals.encode(&sender, &recipient));
    scenarios.add("with-seals", later);
    let elsewhere = Letter { conversation: ConversationId::from_bytes([7; 32]), ..first };
    let elsewhere = elsewhere.encode(&sender, &recipient);
    let about = "A letter of another conversation.";
    scenarios.add("other-conversation", vector("accepted", about, "normal", peer, &sender, &recipient, &elsewhere));

    let mut bound = |scenario: &str, about: &str, sender: Party, recipient: Party| {
        let peer = &sender.curve25519;
        scenarios.add(scenario, vector("wrong-binding", about, "prekey", peer, &sender, &recipient, &plaintext));
    };
    let (other_account, other_device) = (AccountId::from_bytes([1; 32]), DeviceId::from_bytes([1; 16]));
    bound("other-sender-account", "Shown as another account's.", Party { account: other_account, ..sender }, recipient);
    bound("other-sender-device", "Shown as another device's.", Party { device: other_device, ..sender }, recipient);
    bound(
        "other-sender-ed25519",
        "The sender's device has another signing key.",
        Party { ed25519: [1; 32], ..sender },
        recipient,
    );
    bound("other-sender-curve25519", "And another identity key.", Party { curve25519: [1; 32], ..sender }, recipient);
    bound(
        "other-recipient-account",
        "Passed on to another account.",
        sender,
        Party { account: other_account, ..recipient },
    );
    bound(
        "other-recipient-device",
        "Passed on to another device.",
        sender,
        Party { device: other_device, ..recipient },
    );
    bound(
        "other-recipient-ed25519",
        "Another signing key of the recipient.",
        sender,
        Party { ed25519: [1; 32], ..recipient },
    );
    bound("reflected", "Sent back to its sender.", recipient, sender);
    let about = "Through the session of another device.";
    let through_another = vector("wrong-sender", about, "prekey", &[1; 32], &sender, &recipient, &plaintext);
    scenarios.add("other-session", through_another);

    let mut changed = |scenario: &str, expect: &str, about: &str, change: &dyn Fn(&mut letter::Letter)| {
        let mut message = letter::Letter::decode(plaintext.as_slice()).unwrap();
        change(&mut message);
        let plaintext = message.encode_to_vec();
        scenarios.add(scenario, vector(expect, about, "prekey", peer, &sender, &recipient, &plaintext));
    };
    let default = ConversationId::between(&sender.account, &recipient.account);
    changed("moved", "wrong-binding", "Moved to another conversation.", &|message| {
        message.conversation = Bytes::from_static(&[7; 32]);
    });
    changed(
        "redundant-conversation",
        "redundant-conversation",
        "It spells out what an empty field means.",
        &|message| {
            message.conversation = default.into();
        },
    );
    changed("counter-zero", "counter-zero", "Letters count from 1.", &|message| message.counter = 0);
    changed("counter-too-high", "counter-too-high", "No store counts so far.", &|message| message.counter = 1 << 62);
    changed("ordinal-too-high", "ordinal-too-high", "Nor does one order so much.", &|message| {
        message.ordinal = 1 << 62;
    });
    changed("no-ordinal", "accepted", "It says nothing of where it stands.", &|message| message.ordinal = 0);
    changed("no-oldest", "bad-oldest", "It does not say what may still come.", &|message| message.oldest = 0);
    changed("oldest-behind-it", "bad-oldest", "What may still come begins behind it.", &|message| message.oldest = 4);
    changed("left-four-times-before", "accepted", "It left in four other ciphertexts before.", &|message| {
        message.earlier = (1..=4).map(|number| Bytes::from(vec![number; 32])).collect();
    });
    changed("left-five-times-before", "too-many-earlier", "One more than it may name.", &|message| {
        message.earlier = vec![Bytes::from_static(&[1; 32]); 5];
    });
    changed("short-earlier", "malformed", "An earlier ciphertext's hash of another length.", &|message| {
        message.earlier = vec![Bytes::from_static(&[1; 31])];
    });
    changed("no-reply-inbox", "missing-reply-inbox", "A first letter that says not where to answer.", &|message| {
        message.reply_inbox.clear();
    });
    changed("no-head", "malformed", "Without a head.", &|message| message.head = None);
    changed("short-head", "malformed", "A head of another length.", &|message| {
        message.head.as_mut().unwrap().hash.truncate(31)
    });
    changed("head-of-epoch-zero", "malformed", "A head of epoch 0.", &|message| {
        message.head.as_mut().unwrap().epoch = 0
    });
    changed("short-binding", "malformed", "A binding of another length.", &|message| message.binding.truncate(31));
    changed("short-message-id", "malformed", "A message id of another length.", &|message| {
        message.message_id.truncate(15)
    });
    changed("short-opener", "malformed", "An opener's hash of another length.", &|message| {
        message.opener = Bytes::from_static(&[1; 16]);
    });
    changed("long-opened", "malformed", "A confirmation of another length.", &|message| {
        message.opened = Bytes::from_static(&[1; 32]);
    });
}

fn hidden() -> OwnDeviceSync {
    OwnDeviceSync::Hidden { account: Person::new(2).account(), targets: vec![target()] }
}

fn read() -> OwnDeviceSync {
    let message_ids = vec![MessageId::from_bytes([3; 16]), MessageId::from_bytes([4; 16])];
    OwnDeviceSync::Read { account: Person::new(2).account(), message_ids }
}

fn states() -> OwnDeviceSync {
    let all = [Progress::Sent, Progress::Delivered, Progress::Read, Progress::Expired, Progress::Removed];
    let states = (1..).zip(all).map(|(id, progress)| (MessageId::from_bytes([id; 16]), progress)).collect();
    OwnDeviceSync::States { account: Person::new(2).account(), states }
}

fn setting() -> Setting {
    let device = DeviceId::from_bytes([7; 16]);
    Setting {
        account: Some(Person::new(2).account()),
        key: 5,
        version: 7,
        device,
        value: Bytes::from_static(b"a draft"),
    }
}

/// A content that comes on a channel.
fn content_vector(expect: &str, about: &str, channel: &str, content: &[u8]) -> Vector {
    Vector::refused("content", expect, about).text("channel", channel).hex("content", content)
}

/// What devices of one account tell each other, and no reader takes.
fn refused_syncs(scenarios: &mut Scenarios) {
    use letter::own_device_sync::What;
    let account = Bytes::from(Person::new(2).account());
    let id = |byte: u8| Bytes::copy_from_slice(&[byte; 16]);
    let target = |byte: u8| letter::Target { author: account.clone(), message_id: id(byte) };
    let state = |byte: u8| letter::State { message_id: id(byte), progress: 1 };
    let hidden = |targets| What::Hidden(letter::Hidden { account: account.clone(), targets });
    let read = |message_ids| What::Read(letter::Read { account: account.clone(), message_ids });
    let states = |states| What::States(letter::States { account: account.clone(), states });
    let setting = |version, value| {
        What::Setting(letter::Setting {
            account: Bytes::new(),
            key: 5,
            version,
            value: Bytes::from(value),
            device: id(7),
        })
    };
    let of_nobody = letter::Setting { key: 5, version: 1, ..letter::Setting::default() };
    for (scenario, expect, about, what) in [
        ("hidden-nothing", "malformed", "What is hidden is named.", hidden(vec![])),
        ("hidden-twice", "malformed", "And once.", hidden(vec![target(3), target(3)])),
        ("hidden-many", "malformed", "65 of them.", hidden((0..65).map(target).collect())),
        ("read-nothing", "malformed", "What was read is named.", read(vec![])),
        ("read-twice", "malformed", "And once.", read(vec![id(3), id(3)])),
        ("states-nothing", "malformed", "Of no message.", states(vec![])),
        ("states-twice", "malformed", "Of one message twice.", states(vec![state(3), state(3)])),
        ("setting-version-zero", "malformed", "Versions count from 1.", setting(0, vec![])),
        ("setting-version-endless", "malformed", "And end at 2^62.", setting(1 << 62, vec![])),
        ("setting-of-no-device", "malformed", "Whoever has set it is named.", What::Setting(of_nobody)),
        ("setting-of-the-account", "accepted", "Of no conversation.", setting(1, vec![1])),
    ] {
        let body = letter::content::Body::OwnDeviceSync(letter::OwnDeviceSync { what: Some(what) });
        let content = letter::Content { fallback: String::new(), body: Some(body) }.encode_to_vec();
        scenarios.add(scenario, content_vector(expect, about, "own", &content));
    }
    let unknown = states(vec![letter::State { message_id: id(3), progress: 9 }, state(4)]);
    let body = letter::content::Body::OwnDeviceSync(letter::OwnDeviceSync { what: Some(unknown) });
    let content = letter::Content { fallback: String::new(), body: Some(body) }.encode_to_vec();
    scenarios.add(
        "states-of-the-future",
        content_vector("accepted", "One that is not known says nothing.", "own", &content),
    );
}

fn add_contents(scenarios: &mut Scenarios) {
    let alice = Person::new(1);
    let card = || Card {
        account: alice.account(),
        relay: relay(),
        chain: ChainId::from_bytes([1; 32]),
        chain_key: ChainKey::from_bytes([2; 32]),
    };
    let (name, manifest) = ("Zoë".to_owned(), alice.manifest(1, None).bytes().clone());
    let request = Content::ContactRequest {
        name: name.clone(),
        card: card(),
        manifest,
        reply_secret: ReplySecret::from_bytes([3; 32]),
        proof: InviteProof::from_bytes([5; 32]),
    };
    let accept = Content::ContactAccept { name, card: card(), pair_secret: PairSecret::from_bytes([4; 32]) };
    let said = OwnDeviceSync::Said {
        account: Person::new(2).account(),
        content: Content::Text(Text::plain("Grüezi")).encode().ok().unwrap(),
    };
    let synced = SyncedContact {
        version: 3,
        card: card(),
        manifest: alice.manifest(1, None).bytes().clone(),
        name: "Zoë".to_owned(),
        given_name: Some("Zed".to_owned()),
        state: SyncedState::Accepted,
        blocked: true,
        pair_secret: Some(PairSecret::from_bytes([4; 32])),
        pair_usable: false,
        pair_version: 2,
        profile: Some(profile()),
    };
    let before = PairSecret::from_bytes([4; 32]).id();
    let pair_change = Content::PairChange { pair_secret: PairSecret::from_bytes([6; 32]), epoch: 2, before };
    let channels = ["contact", "invite", "reply", "own"];
    for (body, content, legal) in [
        ("text", Content::Text(Text::plain("Grüezi")), ["contact", "own"].as_slice()),
        ("edit", edit(), &["contact", "own"]),
        ("delete", Content::Delete(vec![MessageId::from_bytes([3; 16])]), &["contact", "own"]),
        ("reaction", Content::Reaction { target: target(), emoji: Some("👍🏽".to_owned()) }, &["contact", "own"]),
        ("pin", Content::Pin { target: target(), pinned: true }, &["contact", "own"]),
        ("nudge", Content::Nudge, &["contact"]),
        ("profile", Content::Profile(profile()), &["contact"]),
        ("receipts", Content::Receipts(vec![MessageId::from_bytes([3; 16])]), &["contact"]),
        ("confirmation", Content::Confirmation, &["contact", "own"]),
        ("resend-request", Content::ResendRequest(resend_request()), &["contact", "own"]),
        ("given-up", Content::GivenUp(given_up()), &["contact", "own"]),
        ("pair-ready", Content::PairReady, &["contact"]),
        ("pair-change", pair_change, &["contact"]),
        ("pair-changed", Content::PairChanged { pair: PairSecret::from_bytes([6; 32]).id() }, &["contact"]),
        ("card-change", Content::CardChange(card()), &["contact"]),
        ("contact-request", request, &["invite"]),
        ("contact-accept", accept, &["reply"]),
        ("said", Content::OwnDeviceSync(said), &["own"]),
        ("synced-contact", Content::OwnDeviceSync(OwnDeviceSync::Contact(Box::new(synced.clone()))), &["own"]),
        ("hidden", Content::OwnDeviceSync(hidden()), &["own"]),
        ("read", Content::OwnDeviceSync(read()), &["own"]),
        ("states", Content::OwnDeviceSync(states()), &["own"]),
        ("setting", Content::OwnDeviceSync(OwnDeviceSync::Setting(setting())), &["own"]),
    ] {
        let bytes = content.encode().ok().unwrap();
        for channel in channels {
            let is_legal = legal.contains(&channel);
            let (expect, about) = if is_legal {
                ("accepted", "Legal on this channel.")
            } else {
                ("misplaced", "Not legal on this channel.")
            };
            scenarios.add(&format!("{body}-on-{channel}"), content_vector(expect, about, channel, &bytes));
        }
    }
    let mut refused = |scenario: &str, about: &str, change: fn(&mut SyncedContact)| {
        let mut contact = synced.clone();
        change(&mut contact);
        let content = Content::OwnDeviceSync(OwnDeviceSync::Contact(Box::new(contact))).encode().ok().unwrap();
        scenarios.add(scenario, content_vector("malformed", about, "own", &content));
    };
    refused("synced-contact-version-zero", "Versions count from 1.", |contact| contact.version = 0);
    refused("synced-contact-version-endless", "Versions end at 2^62.", |contact| contact.version = 1 << 62);
    refused("synced-contact-pair-version-endless", "Likewise.", |contact| contact.pair_version = 1 << 62);
    refused("synced-contact-without-secret", "A contact shares a secret.", |contact| contact.pair_secret = None);
    refused("synced-contact-removed-with-secret", "Somebody who was removed shares none.", |contact| {
        contact.state = SyncedState::Removed;
    });
    refused_syncs(scenarios);
    let mut unknown = letter::Content { fallback: "a poll".to_owned(), body: None }.encode_to_vec();
    unknown.extend_from_slice(&[0x92, 0x01, 0x02, 1, 2]); // field 18
    for channel in channels {
        let (expect, about) = if matches!(channel, "contact" | "own") {
            ("accepted", "A body that is not known shows its fallback.")
        } else {
            ("misplaced", "A body that is not known is legal for contacts and own devices only.")
        };
        scenarios.add(&format!("unknown-on-{channel}"), content_vector(expect, about, channel, &unknown));
    }

    let (text, confirmation) = (Content::Text(Text::plain("words")).encode(), Content::Confirmation.encode());
    let (text, confirmation) = (text.ok().unwrap(), confirmation.ok().unwrap());
    let fallback = letter::Content { fallback: "words".to_owned(), body: None }.encode_to_vec();
    for (scenario, expect, about, bytes) in [
        ("empty", "body-count", "Nothing.", Vec::new()),
        ("only-fallback", "body-count", "A fallback for nothing.", fallback),
        ("two-bodies", "body-count", "Two bodies.", [&*text, &confirmation].concat()),
        ("same-body-twice", "body-count", "One body twice.", [&*text, &text].concat()),
        (
            "known-and-unknown",
            "body-count",
            "A body that is known and one that is not.",
            [&*text, &unknown[8..]].concat(),
        ),
        (
            "field-beside",
            "accepted",
            "A field below 10 may come to stand beside a body.",
            [&*text, &[0x4a, 0x00]].concat(),
        ),
        ("cut-off", "malformed", "A message that ends early.", text[..4].to_vec()),
        ("garbage", "malformed", "No protobuf message.", vec![0xff; 12]),
    ] {
        scenarios.add(scenario, content_vector(expect, about, "contact", &bytes));
    }

    let request_with = |manifest: Bytes| {
        let content = Content::ContactRequest {
            name: "Zoë".to_owned(),
            card: card(),
            manifest,
            reply_secret: ReplySecret::from_bytes([3; 32]),
            proof: InviteProof::from_bytes([5; 32]),
        };
        content.encode().ok().unwrap()
    };
    let signed = alice.manifest(1, None).bytes().clone();
    let field = request_with([&*signed, &[0x4a, 0x01, 0x07]].concat().into());
    let about = "A manifest is kept byte for byte, fields that are not known too.";
    scenarios.add("request-with-field", content_vector("accepted", about, "invite", &field));
    let none = request_with(Bytes::new());
    scenarios.add("no-manifest", content_vector("malformed", "A request without a manifest.", "invite", &none));
    let long = request_with(vec![7; 16 * 1024 + 1].into());
    let about = "A manifest that is longer than an entry of a chain.";
    scenarios.add("manifest-too-long", content_vector("malformed", about, "invite", &long));

    let mut named = |scenario: &str, expect: &str, about: &str, change: &dyn Fn(&mut letter::ContactAccept)| {
        let bytes = Content::ContactAccept {
            name: "Zoë".to_owned(),
            card: card(),
            pair_secret: PairSecret::from_bytes([4; 32]),
        };
        let mut message = letter::Content::decode(bytes.encode().ok().unwrap()).unwrap();
        let Some(Body::ContactAccept(accept)) = &mut message.body else { panic!("another body") };
        change(accept);
        scenarios.add(scenario, content_vector(expect, about, "reply", &message.encode_to_vec()));
    };
    named("long-name", "accepted", "As long as a name may be.", &|accept| accept.name = "n".repeat(128));
    named("name-too-long", "bad-name", "A byte longer.", &|accept| accept.name = "n".repeat(129));
    named("no-name", "bad-name", "No name.", &|accept| accept.name.clear());
    named("name-of-two-lines", "bad-name", "A name of two lines.", &|accept| accept.name = "Zoë\nVerified".to_owned());
    named("name-with-joiners", "accepted", "Joiners and a selector that have something to act on.", &|accept| {
        accept.name = "\u{639}\u{644}\u{6cc}\u{200c}\u{631}\u{636}\u{627} \u{2764}\u{fe0f}\u{200d}\u{1f525}".to_owned();
    });
    named("name-with-two-selectors", "bad-name", "A selector more than selects.", &|accept| {
        accept.name = "\u{2764}\u{fe0f}\u{fe0f}".to_owned();
    });
    named("name-with-a-key", "accepted", "An emoji's selector between a key and its cap.", &|accept| {
        accept.name = "DJ 1\u{fe0f}\u{20e3}".to_owned();
    });
    named("name-with-a-key-without-cap", "bad-name", "A selector behind a digit that stays one.", &|accept| {
        accept.name = "DJ 1\u{fe0f}".to_owned();
    });
    named("name-that-turns", "bad-name", "A mark that turns what follows.", &|accept| {
        accept.name = "Zo\u{200f}".to_owned()
    });
    named("no-card", "malformed", "No card.", &|accept| accept.card = None);
    named("short-pair-secret", "malformed", "A pair secret of another length.", &|accept| {
        accept.pair_secret.truncate(31)
    });
    named("card-not-canonical", "malformed", "A card with an address in another spelling.", &|accept| {
        "https://relay.example/".clone_into(&mut accept.card.as_mut().unwrap().relay);
    });
    named("short-chain", "malformed", "A card with a chain id of another length.", &|accept| {
        accept.card.as_mut().unwrap().chain.truncate(31);
    });
}

/// Bob asks alice under an invite of hers.
fn add_requests(scenarios: &mut Scenarios) {
    let (alice, bob) = (Person::new(1), Person::new(2));
    let (owner, requester) = (alice.account(), bob.account());
    let (invite, other_invite) = ([3; 32], [4; 32]);
    let proof = invite_proof(&InviteSecret::from_bytes(invite), &requester, &owner);
    let card = Card {
        account: requester,
        relay: relay(),
        chain: ChainId::from_bytes([1; 32]),
        chain_key: ChainKey::from_bytes([2; 32]),
    };
    let request = Content::ContactRequest {
        name: "Bob".to_owned(),
        card,
        manifest: bob.manifest(1, None).bytes().clone(),
        reply_secret: ReplySecret::from_bytes([5; 32]),
        proof: proof.clone(),
    };
    let request = request.encode().ok().unwrap();
    let vector =
        |expect: &str, about: &str, secret: [u8; 32], requester: &AccountId, owner: &AccountId, bytes: &[u8]| {
            let vector = Vector::refused("contact-request", expect, about).hex("secret", secret);
            vector.hex("requester", requester).hex("owner", owner).hex("content", bytes)
        };
    scenarios.add(
        "good",
        vector("accepted", "Under the invite on whose alias it came.", invite, &requester, &owner, &request),
    );
    let refused = |about: &str, secret: [u8; 32], requester: &AccountId, owner: &AccountId| {
        vector("wrong-proof", about, secret, requester, owner, &request)
    };
    let third = Person::new(3).account();
    let about = "Delivered under the alias of another invite of the same owner.";
    scenarios.add("other-invite", refused(about, other_invite, &requester, &owner));
    scenarios.add("other-requester", refused("From another account.", invite, &third, &owner));
    scenarios.add("other-owner", refused("Passed on to another account.", invite, &requester, &third));
    scenarios.add("reflected", refused("The owner's and the requester's places changed.", invite, &owner, &requester));
    let changed = |change: &dyn Fn(&mut letter::ContactRequest)| {
        let mut message = letter::Content::decode(request.clone()).unwrap();
        let Some(Body::ContactRequest(request)) = &mut message.body else { panic!("another body") };
        change(request);
        message.encode_to_vec()
    };
    let flipped = changed(&|request| request.proof = super::flipped_last(&request.proof).into());
    let about = "A proof that is changed by one bit.";
    scenarios.add("changed", vector("wrong-proof", about, invite, &requester, &owner, &flipped));
    let secret = changed(&|request| request.proof = Bytes::copy_from_slice(&invite));
    let about = "The secret itself is no proof.";
    scenarios.add("secret-as-proof", vector("wrong-proof", about, invite, &requester, &owner, &secret));
    let none = changed(&|request| request.proof.clear());
    let about = "A request without a proof.";
    scenarios.add("no-proof", vector("malformed", about, invite, &requester, &owner, &none));
    let short = changed(&|request| request.proof.truncate(31));
    let about = "A proof of another length.";
    scenarios.add("short-proof", vector("malformed", about, invite, &requester, &owner, &short));
}

const fn counters(first: u64, last: u64) -> Counters {
    Counters { first, last }
}

fn resend_request() -> ResendRequest {
    ResendRequest {
        counters: vec![counters(3, 3), counters(5, 9)],
        inner_hashes: vec![[1; 32], [2; 32]],
        predecessor: None,
    }
}

fn given_up() -> GivenUp {
    GivenUp {
        missing: vec![counters(3, 3)],
        empty: vec![counters(1, 2), counters(5, 9)],
        missing_ciphertexts: vec![Ciphertext { inner_hash: [1; 32], counter: Some(4) }],
        empty_ciphertexts: vec![Ciphertext { inner_hash: [2; 32], counter: None }],
    }
}

fn add_resends(scenarios: &mut Scenarios) {
    let vector = |expect: &str, about: &str, body: Body| {
        let content = letter::Content { fallback: String::new(), body: Some(body) }.encode_to_vec();
        Vector::refused("content", expect, about).text("channel", "contact").hex("content", content)
    };
    let range = |first: u64, last: u64| letter::Counters { first, last };
    let hash = Bytes::from_static(&[7; 32]);
    let mut asked = |scenario: &str, expect: &str, about: &str, counters: Vec<letter::Counters>, hashes: Vec<Bytes>| {
        let request = letter::ResendRequest { counters, inner_hashes: hashes, ..Default::default() };
        scenarios.add(&format!("resend-{scenario}"), vector(expect, about, Body::ResendRequest(request)));
    };
    let end = (1 << 62) - 1;
    asked("of-nothing", "nothing-named", "It asks for nothing.", vec![], vec![]);
    asked("of-all", "accepted", "Everything from a counter on.", vec![range(7, end)], vec![]);
    asked("beyond-all", "bad-range", "A counter that no letter has.", vec![range(7, end + 1)], vec![]);
    asked("from-zero", "bad-range", "Letters count from 1.", vec![range(0, 1)], vec![]);
    asked("backwards", "bad-range", "A range that ends before it begins.", vec![range(2, 1)], vec![]);
    asked("touching", "bad-range", "Two ranges that are one.", vec![range(1, 2), range(3, 4)], vec![]);
    asked("disordered", "bad-range", "Ranges out of order.", vec![range(5, 6), range(1, 2)], vec![]);
    asked("short-hash", "malformed", "A hash of another length.", vec![], vec![Bytes::from_static(&[7; 31])]);
    let apart = |count: u64| (1..=count).map(|number| range(2 * number, 2 * number)).collect::<Vec<_>>();
    asked("as-much", "accepted", "As much as it may ask for.", apart(64), vec![hash.clone(); 64]);
    asked("too-many-ranges", "too-many-ranges", "A range more.", apart(65), vec![]);
    asked("too-many-hashes", "too-many-hashes", "A hash more.", vec![], vec![hash.clone(); 65]);
    let mut of_device = |scenario: &str, expect: &str, about: &str, predecessor: &'static [u8]| {
        let request = letter::ResendRequest {
            counters: vec![range(7, end)],
            predecessor: Bytes::from_static(predecessor),
            ..Default::default()
        };
        scenarios.add(&format!("resend-{scenario}"), vector(expect, about, Body::ResendRequest(request)));
    };
    of_device("for-predecessor", "accepted", "What was for the device in whose place it came.", &[9; 16]);
    of_device("short-predecessor", "malformed", "A device id of another length.", &[9; 15]);
    let mut given_up = |scenario: &str, expect: &str, about: &str, message: letter::GivenUp| {
        scenarios.add(&format!("given-up-{scenario}"), vector(expect, about, Body::GivenUp(message)));
    };
    given_up("nothing", "nothing-named", "It gives up nothing.", letter::GivenUp::default());
    let message = letter::GivenUp { empty: vec![range(4, 3)], ..Default::default() };
    given_up("backwards", "bad-range", "A range that ends before it begins.", message);
    let ciphertext = |counter: u64| letter::Ciphertext { inner_hash: hash.clone(), counter };
    let message = letter::GivenUp { missing_ciphertexts: vec![ciphertext(end + 1)], ..Default::default() };
    given_up("counter-too-high", "bad-range", "A ciphertext of a letter that no device writes.", message);
    let message = letter::GivenUp {
        missing_ciphertexts: vec![ciphertext(1); 32],
        empty_ciphertexts: vec![ciphertext(0); 33],
        ..Default::default()
    };
    given_up("too-many-hashes", "too-many-hashes", "More hashes than were asked for, in both lists.", message);
}

fn add_texts(scenarios: &mut Scenarios) {
    let vector = |expect: &str, about: &str, body: &str, ranges: Vec<letter::Range>| {
        let text = letter::Text { body: body.to_owned(), ranges, ..letter::Text::default() };
        let content = letter::Content { fallback: String::new(), body: Some(Body::Text(text)) }.encode_to_vec();
        Vector::refused("content", expect, about).text("channel", "contact").hex("content", content)
    };
    let bold = || Some(letter::range::Meaning::Style(Style::Bold.into()));
    let range = |start: u32, length: u32| letter::Range { start, length, meaning: bold() };
    let styled = {
        let meanings = [
            Meaning::Style(Style::Italic),
            Meaning::Mention(AccountId::from_bytes([1; 32])),
            Meaning::Link("https://a.example".to_owned()),
        ];
        let ranges = meanings.map(|meaning| Range { start: 0, length: 4, meaning }).to_vec();
        Content::Text(Text { ranges, ..Text::plain("some words") }).encode().ok().unwrap()
    };
    let about = "A style, a mention and a link.";
    scenarios.add("text-styled", Vector::accepted("content", about).text("channel", "own").hex("content", styled));
    let body = "añ👍🏽日本"; // the thumb and its skin tone are two
    for (scenario, expect, about, body, ranges) in [
        ("text-range-to-end", "accepted", "A range up to the end, in Unicode scalar values.", body, vec![range(0, 6)]),
        ("text-range-beyond", "range-beyond-end", "A range one further.", body, vec![range(1, 6)]),
        (
            "text-range-overflow",
            "range-beyond-end",
            "A range whose end overflows 32 bits.",
            body,
            vec![range(u32::MAX, 2)],
        ),
        ("text-range-empty", "empty-range", "A range of nothing.", body, vec![range(1, 0)]),
        ("text-empty", "empty-text", "A text without words.", "", vec![]),
        ("text-ranges", "accepted", "As many ranges as a text may have.", "t", vec![range(0, 1); 1_000]),
        ("text-ranges-too-many", "too-many-ranges", "One more.", "t", vec![range(0, 1); 1_001]),
    ] {
        scenarios.add(scenario, vector(expect, about, body, ranges));
    }
    let meaning = |meaning: Option<letter::range::Meaning>| vec![letter::Range { start: 0, length: 1, meaning }];
    let short = Some(letter::range::Meaning::Mention(Bytes::from_static(&[1; 31])));
    scenarios.add("text-short-mention", vector("malformed", "A mention of what is no account.", "t", meaning(short)));
    let long = Some(letter::range::Meaning::Link("l".repeat(2_049)));
    scenarios.add("text-long-link", vector("malformed", "A link that is too long.", "t", meaning(long)));
    let future = Some(letter::range::Meaning::Style(99));
    scenarios.add("text-style-of-the-future", vector("accepted", "A style that is not known.", "t", meaning(future)));
    scenarios.add("text-without-meaning", vector("accepted", "A meaning that is not known.", "t", meaning(None)));
}

fn target() -> Target {
    Target { author: AccountId::from_bytes([1; 32]), message_id: MessageId::from_bytes([2; 16]) }
}

fn edit() -> Content {
    Content::Edit { message_id: MessageId::from_bytes([3; 16]), text: Text::plain("Grüessech") }
}

fn profile() -> Profile {
    Profile {
        version: 2,
        device: DeviceId::from_bytes([7; 16]),
        name: "Zoë".to_owned(),
        status: "On a train".to_owned(),
    }
}

fn add_deeds(scenarios: &mut Scenarios) {
    let mut scenario = |name: &str, expect: &str, about: &str, body: Body| {
        let content = letter::Content { fallback: String::new(), body: Some(body) }.encode_to_vec();
        let vector = Vector::refused("content", expect, about).text("channel", "contact").hex("content", content);
        scenarios.add(name, vector);
    };
    let id = |number: u16| Bytes::from([[0; 14].as_slice(), &number.to_be_bytes()].concat());
    let aimed = || letter::Target { author: target().author.into(), message_id: target().message_id.into() };
    let words = || letter::Text { body: "words".to_owned(), ..letter::Text::default() };
    let astray = || letter::Target { author: Bytes::from_static(&[1; 31]), ..aimed() };

    let answer = letter::Text { reply_to: Some(aimed()), ..words() };
    scenario("text-reply", "accepted", "An answer.", Body::Text(answer.clone()));
    let forwarded = letter::Text { forwarded: true, ..words() };
    scenario("text-forwarded", "accepted", "Somebody else's words.", Body::Text(forwarded.clone()));
    let nowhere = letter::Text { reply_to: Some(astray()), ..words() };
    scenario("text-reply-to-nobody", "malformed", "An answer to no account.", Body::Text(nowhere));

    let mut edited = |name: &str, about: &str, message_id: Bytes, text: Option<letter::Text>| {
        scenario(name, "malformed", about, Body::Edit(letter::Edit { message_id, text }));
    };
    edited("edit-without-text", "An edit says something.", id(3), None);
    edited("edit-of-nothing", "An edit of what is no message.", Bytes::from_static(&[3; 15]), Some(words()));
    edited("edit-of-what-it-answers", "What it answers stays.", id(3), Some(answer));
    edited("edit-of-whose-it-is", "Whose words they are stays.", id(3), Some(forwarded));
    let empty = letter::Edit { message_id: id(3), text: Some(letter::Text::default()) };
    scenario("edit-empty", "empty-text", "Whoever wants to say nothing deletes.", Body::Edit(empty));

    let ids = |count: u16| (0..count).map(id).collect::<Vec<_>>();
    for (name, expect, about, message_ids) in [
        ("delete-as-much", "accepted", "As many as one letter takes back.", ids(64)),
        ("delete-too-much", "malformed", "One more.", ids(65)),
        ("delete-nothing", "malformed", "None.", ids(0)),
        ("delete-twice", "malformed", "One twice.", vec![id(1), id(2), id(1)]),
        ("delete-short", "malformed", "What is no message.", vec![Bytes::from_static(&[3; 15])]),
    ] {
        scenario(name, expect, about, Body::Delete(letter::Delete { message_ids }));
    }
    for (name, expect, about, read) in [
        ("receipts-as-many", "accepted", "As many as one letter says.", ids(256)),
        ("receipts-too-many", "malformed", "One more.", ids(257)),
        ("receipts-of-nothing", "malformed", "None.", ids(0)),
        ("receipts-twice", "malformed", "One twice.", vec![id(1), id(2), id(1)]),
    ] {
        scenario(name, expect, about, Body::Receipts(letter::Receipts { read }));
    }
    for (name, expect, about, target, emoji) in [
        ("reaction-taken-back", "accepted", "None any more.", Some(aimed()), String::new()),
        ("reaction-as-long", "accepted", "As long as a reaction may be.", Some(aimed()), "👍".repeat(16)),
        ("reaction-too-long", "malformed", "Longer.", Some(aimed()), "👍".repeat(17)),
        ("reaction-of-two-lines", "malformed", "It stands on one line.", Some(aimed()), "a\u{2028}b".to_owned()),
        ("reaction-that-controls", "malformed", "It can be seen.", Some(aimed()), "\u{1b}[2J".to_owned()),
        ("reaction-to-nothing", "malformed", "A reaction to no message.", None, "👍".to_owned()),
        ("reaction-to-nobody", "malformed", "To a message of no account.", Some(astray()), "👍".to_owned()),
    ] {
        scenario(name, expect, about, Body::Reaction(letter::Reaction { target, emoji }));
    }
    let unpinned = letter::Pin { target: Some(aimed()), pinned: false };
    scenario("pin-taken-off", "accepted", "Pinned no more.", Body::Pin(unpinned));
    scenario("pin-nothing", "malformed", "A pin without a message.", Body::Pin(letter::Pin::default()));

    let device = Bytes::from_static(&[7; 16]);
    let shown =
        || letter::Profile { version: 2, name: "Zoë".to_owned(), status: String::new(), device: device.clone() };
    for (name, expect, about, profile) in [
        ("profile-without-status", "accepted", "Nothing is said.", shown()),
        ("profile-version-zero", "malformed", "Versions count from 1.", letter::Profile { version: 0, ..shown() }),
        ("profile-version-endless", "malformed", "And end.", letter::Profile { version: 1 << 62, ..shown() }),
        ("profile-without-name", "bad-name", "Nobody.", letter::Profile { name: String::new(), ..shown() }),
        ("profile-of-no-device", "malformed", "Set nowhere.", letter::Profile { device: Bytes::new(), ..shown() }),
        (
            "profile-status-as-long",
            "accepted",
            "As much as one says.",
            letter::Profile { status: "s".repeat(512), ..shown() },
        ),
        ("profile-status-too-long", "malformed", "More.", letter::Profile { status: "s".repeat(513), ..shown() }),
    ] {
        scenario(name, expect, about, Body::Profile(profile));
    }
}
