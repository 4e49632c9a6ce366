//! What a letter and its content are accepted and refused for.

use sotto_protocol::letter::content::Body;
use sotto_protocol::limits::{NAME_BYTES_MAX, SETTING_BYTES_MAX, TEXT_BYTES_MAX};
use sotto_protocol::{AccountId, ChainId, DeviceId, identity};

use super::*;
use crate::secret::{ChainKey, InviteProof, PairSecret, ReplySecret};
use crate::testing::Person;

fn people() -> (Person, Person) {
    (Person::new(1), Person::new(2))
}

fn encoded(alice: &Person, bob: &Person) -> letter::Letter {
    let plaintext = alice.letter(bob, "words").encode(&alice.party(), &bob.party());
    letter::Letter::decode(plaintext.as_slice()).unwrap()
}

fn decode(message: &letter::Letter, kind: OlmKind) -> Result<UnverifiedLetter, LetterError> {
    UnverifiedLetter::decode(&message.encode_to_vec(), kind)
}

fn read(message: &letter::Letter, sender: &Party, recipient: &Party) -> Result<Letter, LetterError> {
    decode(message, OlmKind::Normal)?.verify(&sender.curve25519, sender, recipient)
}

#[test]
fn a_letter_says_what_its_sender_wrote() {
    let (alice, bob) = people();
    let letter = Letter {
        counter: 7,
        oldest: 4,
        confirmed: 5,
        ordinal: 6,
        opener: Some(OpenerHash::from_bytes([1; 32])),
        opened: Some(Opened::from_bytes([2; 16])),
        ..alice.letter(&bob, "words")
    };
    let plaintext = letter.encode(&alice.party(), &bob.party());
    let read = UnverifiedLetter::decode(&plaintext, OlmKind::Prekey).ok().unwrap();
    let read = read.verify(&alice.device.curve25519, &alice.party(), &bob.party()).ok().unwrap();
    assert!(read == letter);
    let bare = Letter { opener: None, opened: None, reply_inbox: None, ..letter };
    let plaintext = bare.encode(&alice.party(), &bob.party());
    let read = UnverifiedLetter::decode(&plaintext, OlmKind::Normal).ok().unwrap();
    assert!(read.verify(&alice.device.curve25519, &alice.party(), &bob.party()).ok().unwrap() == bare);
}

#[test]
fn e7_a_letter_is_bound_to_both_ends_and_the_conversation() {
    let (alice, bob) = people();
    let (sender, recipient) = (alice.party(), bob.party());
    let message = encoded(&alice, &bob);
    assert!(read(&message, &sender, &recipient).is_ok());
    let other_account = AccountId::from_bytes([1; 32]);
    let other_device = DeviceId::from_bytes([1; 16]);
    let wrong = Some(LetterError::WrongBinding);
    for (sender, recipient) in [
        (Party { account: other_account, ..sender }, recipient),
        (Party { device: other_device, ..sender }, recipient),
        (Party { ed25519: [1; 32], ..sender }, recipient),
        (Party { curve25519: [1; 32], ..sender }, recipient),
        (sender, Party { account: other_account, ..recipient }),
        (sender, Party { device: other_device, ..recipient }),
        (sender, Party { ed25519: [1; 32], ..recipient }),
        (sender, Party { curve25519: [1; 32], ..recipient }),
        (recipient, sender),
    ] {
        assert_eq!(read(&message, &sender, &recipient).err(), wrong);
    }
    let mut elsewhere = message.clone();
    elsewhere.conversation = Bytes::from_static(&[1; 32]);
    assert_eq!(read(&elsewhere, &sender, &recipient).err(), wrong);
    let mut unbound = message;
    unbound.binding = Bytes::from_static(&[0; 32]);
    assert_eq!(read(&unbound, &sender, &recipient).err(), wrong);
}

#[test]
fn e7_a_letter_through_another_devices_session_is_refused() {
    let (alice, bob) = people();
    let letter = decode(&encoded(&alice, &bob), OlmKind::Normal).ok().unwrap();
    let through_mallory = letter.verify(&[1; 32], &alice.party(), &bob.party());
    assert_eq!(through_mallory.err(), Some(LetterError::WrongSender));
}

#[test]
fn e7_a_letter_of_another_conversation_says_which() {
    let (alice, bob) = people();
    let conversation = ConversationId::from_bytes([3; 32]);
    let letter = Letter { conversation, ..alice.letter(&bob, "words") };
    let message = letter::Letter::decode(letter.encode(&alice.party(), &bob.party()).as_slice()).unwrap();
    assert_eq!(message.conversation, Bytes::from(conversation));
    assert_eq!(read(&message, &alice.party(), &bob.party()).ok().unwrap().conversation, conversation);

    let mut redundant = encoded(&alice, &bob);
    assert!(redundant.conversation.is_empty());
    redundant.conversation = ConversationId::between(&alice.account(), &bob.account()).into();
    assert_eq!(read(&redundant, &alice.party(), &bob.party()).err(), Some(LetterError::RedundantConversation));
}

#[test]
fn e4_letters_count_from_1() {
    let (alice, bob) = people();
    let mut message = encoded(&alice, &bob);
    message.counter = 0;
    assert_eq!(decode(&message, OlmKind::Normal).err(), Some(LetterError::CounterZero));
}

#[test]
fn e4_counters_stay_below_what_a_store_can_count() {
    let (alice, bob) = people();
    let mut message = encoded(&alice, &bob);
    message.counter = COUNTER_MAX;
    assert!(decode(&message, OlmKind::Normal).is_ok());
    message.counter = COUNTER_MAX + 1;
    assert_eq!(decode(&message, OlmKind::Normal).err(), Some(LetterError::CounterTooHigh));
    let mut message = encoded(&alice, &bob);
    message.ordinal = COUNTER_MAX;
    assert!(decode(&message, OlmKind::Normal).is_ok());
    message.ordinal = COUNTER_MAX + 1;
    assert_eq!(decode(&message, OlmKind::Normal).err(), Some(LetterError::OrdinalTooHigh));
}

#[test]
fn e4_what_may_still_come_begins_at_1_and_not_behind_the_letter_that_says_so() {
    let (alice, bob) = people();
    for oldest in [0, 2] {
        let message = letter::Letter { oldest, ..encoded(&alice, &bob) };
        assert_eq!(decode(&message, OlmKind::Normal).err(), Some(LetterError::BadOldest));
    }
}

#[test]
fn e1_a_first_letter_says_where_its_session_is_answered() {
    let (alice, bob) = people();
    let mut message = encoded(&alice, &bob);
    message.reply_inbox.clear();
    assert_eq!(decode(&message, OlmKind::Prekey).err(), Some(LetterError::MissingReplyInbox));
    assert!(decode(&message, OlmKind::Normal).is_ok());
}

#[test]
fn malformed_letters_are_refused() {
    let (alice, bob) = people();
    let refusal = |change: fn(&mut letter::Letter)| {
        let mut message = encoded(&alice, &bob);
        change(&mut message);
        decode(&message, OlmKind::Normal).err().unwrap()
    };
    let malformed = [
        refusal(|message| message.binding.truncate(31)),
        refusal(|message| message.message_id.truncate(15)),
        refusal(|message| message.head = None),
        refusal(|message| message.head.as_mut().unwrap().hash.clear()),
        refusal(|message| message.head.as_mut().unwrap().epoch = 0),
        refusal(|message| message.head.as_mut().unwrap().version = 0),
        refusal(|message| message.opener = Bytes::from_static(&[1; 31])),
        refusal(|message| message.opened = Bytes::from_static(&[1; 17])),
        refusal(|message| message.reply_inbox = Bytes::from_static(&[1; 15])),
        refusal(|message| message.conversation = Bytes::from_static(&[1; 31])),
        refusal(|message| message.content = vec![0; SEALED_BYTES_MAX].into()),
    ];
    assert!(malformed.iter().all(|refusal| matches!(refusal, LetterError::Malformed(_))), "{malformed:?}");
    assert!(UnverifiedLetter::decode(&[0xff; 9], OlmKind::Normal).is_err());
}

fn card(person: &Person) -> Card {
    Card {
        account: person.account(),
        relay: "https://relay.example".parse().unwrap(),
        chain: ChainId::from_bytes([1; 32]),
        chain_key: ChainKey::from_bytes([2; 32]),
    }
}

fn synced(person: &Person) -> SyncedContact {
    SyncedContact {
        version: 3,
        card: card(person),
        manifest: person.manifest(1, None).bytes().clone(),
        name: "Zoë".to_owned(),
        given_name: None,
        state: SyncedState::Accepted,
        blocked: false,
        pair_secret: Some(PairSecret::from_bytes([4; 32])),
        pair_usable: true,
        pair_version: 2,
        profile: Some(profile()),
    }
}

fn profile() -> Profile {
    Profile { version: 1, device: DeviceId::from_bytes([7; 16]), name: "Zoë".to_owned(), status: "here".to_owned() }
}

fn one_of_each(person: &Person) -> [Content; 21] {
    let (name, manifest) = ("Zoë".to_owned(), person.manifest(1, None).bytes().clone());
    let (message_id, ids) =
        (MessageId::from_bytes([2; 16]), vec![MessageId::from_bytes([3; 16]), MessageId::from_bytes([4; 16])]);
    let target = Target { author: person.account(), message_id };
    [
        Content::Text(Text { reply_to: Some(target), forwarded: true, ..Text::plain("words") }),
        Content::Edit { message_id, text: Text::plain("others") },
        Content::Delete(ids.clone()),
        Content::Reaction { target, emoji: Some("👍🏽".to_owned()) },
        Content::Pin { target, pinned: true },
        Content::Nudge,
        Content::Profile(profile()),
        Content::Receipts(ids.clone()),
        Content::Confirmation,
        Content::PairReady,
        Content::PairChange {
            pair_secret: PairSecret::from_bytes([6; 32]),
            epoch: 2,
            before: PairSecret::from_bytes([4; 32]).id(),
        },
        Content::PairChanged { pair: PairSecret::from_bytes([6; 32]).id() },
        Content::CardChange(card(person)),
        Content::ContactRequest {
            name: name.clone(),
            card: card(person),
            manifest,
            reply_secret: ReplySecret::from_bytes([3; 32]),
            proof: InviteProof::from_bytes([5; 32]),
        },
        Content::ContactAccept { name, card: card(person), pair_secret: PairSecret::from_bytes([4; 32]) },
        Content::OwnDeviceSync(OwnDeviceSync::Said {
            account: person.account(),
            content: Bytes::from_static(b"words"),
        }),
        Content::OwnDeviceSync(OwnDeviceSync::Contact(Box::new(synced(person)))),
        Content::OwnDeviceSync(OwnDeviceSync::Hidden { account: person.account(), targets: vec![target] }),
        Content::OwnDeviceSync(OwnDeviceSync::Read { account: person.account(), message_ids: ids.clone() }),
        Content::OwnDeviceSync(OwnDeviceSync::States {
            account: person.account(),
            states: vec![(ids[0], Progress::Delivered), (ids[1], Progress::Expired)],
        }),
        Content::OwnDeviceSync(OwnDeviceSync::Setting(setting())),
    ]
}

fn setting() -> Setting {
    Setting {
        account: None,
        key: 5,
        version: 1,
        device: DeviceId::from_bytes([7; 16]),
        value: Bytes::from_static(b"a draft"),
    }
}

#[test]
fn what_is_set_has_a_version_and_a_bound() {
    let refused = |change: fn(&mut Setting)| {
        let mut setting = setting();
        change(&mut setting);
        Content::OwnDeviceSync(OwnDeviceSync::Setting(setting)).encode().is_err()
    };
    assert!(!refused(|setting| setting.value = Bytes::new()));
    assert!(!refused(|setting| setting.value = vec![1; SETTING_BYTES_MAX].into()));
    assert!(refused(|setting| setting.value = vec![1; SETTING_BYTES_MAX + 1].into()));
    assert!(refused(|setting| setting.version = 0));
    assert!(refused(|setting| setting.version = 1 << 62));
}

#[test]
fn each_content_is_legal_on_exactly_its_channels() {
    let person = Person::new(1);
    let everywhere = [Channel::Contact, Channel::Invite, Channel::Reply, Channel::Own];
    let legal: [&[Channel]; 21] = [
        &[Channel::Contact, Channel::Own],
        &[Channel::Contact, Channel::Own],
        &[Channel::Contact, Channel::Own],
        &[Channel::Contact, Channel::Own],
        &[Channel::Contact, Channel::Own],
        &[Channel::Contact],
        &[Channel::Contact],
        &[Channel::Contact],
        &[Channel::Contact, Channel::Own],
        &[Channel::Contact],
        &[Channel::Contact],
        &[Channel::Contact],
        &[Channel::Contact],
        &[Channel::Invite],
        &[Channel::Reply],
        &[Channel::Own],
        &[Channel::Own],
        &[Channel::Own],
        &[Channel::Own],
        &[Channel::Own],
        &[Channel::Own],
    ];
    for (content, legal) in one_of_each(&person).iter().zip(legal) {
        let bytes = content.encode().unwrap();
        for channel in everywhere {
            match Content::decode(&bytes, channel) {
                Ok(read) => assert!(read == *content && legal.contains(&channel)),
                Err(error) => assert!(error == ContentError::Misplaced && !legal.contains(&channel), "{error}"),
            }
        }
    }
    let unknown = Bytes::from(vec![0xe2, 0x04, 0x00]); // field 76, empty
    for channel in everywhere {
        let is_legal = Content::decode(&unknown, channel).is_ok();
        assert_eq!(is_legal, matches!(channel, Channel::Contact | Channel::Own));
    }
}

#[test]
fn a_pair_changes_in_an_epoch() {
    let (pair_secret, before) = (PairSecret::from_bytes([6; 32]), PairSecret::from_bytes([4; 32]).id());
    assert!(
        Content::PairChange { pair_secret: pair_secret.clone(), epoch: 0, before: before.clone() }.encode().is_err()
    );
    assert!(Content::PairChange { pair_secret, epoch: 1, before }.encode().is_ok(), "of two answers");
    let of = |byte: u8| Bytes::copy_from_slice(&[byte; 32]);
    let body = letter::PairChange { pair_secret: of(6), epoch: 0, before: of(4) };
    let body = Some(letter::content::Body::PairChange(body));
    let bytes = letter::Content { fallback: String::new(), body }.encode_to_vec().into();
    assert!(matches!(Content::decode(&bytes, Channel::Contact), Err(ContentError::Malformed(_))));
}

#[test]
fn what_devices_of_one_account_share_of_a_contact_is_whole() {
    let person = Person::new(1);
    let refused = |change: fn(&mut SyncedContact)| {
        let mut contact = synced(&person);
        change(&mut contact);
        let content = Content::OwnDeviceSync(OwnDeviceSync::Contact(Box::new(contact)));
        content.encode().is_err() || Content::decode(&content.encode().unwrap(), Channel::Own).is_err()
    };
    assert!(!refused(|contact| contact.given_name = Some("Zed".to_owned())));
    assert!(refused(|contact| contact.version = 0));
    assert!(refused(|contact| contact.version = 1 << 62), "nothing could be said after it");
    assert!(refused(|contact| contact.pair_version = 1 << 62));
    assert!(refused(|contact| contact.pair_secret = None));
    assert!(refused(|contact| contact.state = SyncedState::Removed), "nobody who was removed shares a secret with us");
    assert!(refused(|contact| contact.name = String::new()));
    let (one, other) = (DeviceId::from_bytes([1; 16]), DeviceId::from_bytes([2; 16]));
    assert!(SyncedContact::order((2, &one), (1, &other)).is_gt(), "the version counts first");
    assert!(SyncedContact::order((2, &one), (2, &other)).is_lt());
    let (one, other) = (PairSecret::from_bytes([1; 32]), PairSecret::from_bytes([2; 32]));
    assert!(SyncedContact::order_of_pairs((2, Some(&one)), (1, Some(&other))).is_gt(), "the version counts first");
    assert!(SyncedContact::order_of_pairs((2, Some(&one)), (2, Some(&other))).is_lt());
    assert!(SyncedContact::order_of_pairs((2, Some(&one)), (2, None)).is_gt());
}

#[test]
fn an_unknown_body_shows_its_fallback() {
    let mut bytes = letter::Content { fallback: "a poll".to_owned(), body: None }.encode_to_vec();
    bytes.extend_from_slice(&[0x92, 0x01, 0x02, 1, 2]); // field 18
    let content = Content::decode(&bytes.into(), Channel::Contact).ok().unwrap();
    assert!(content == Content::Unknown { fallback: "a poll".to_owned() });
    assert_eq!(content.encode().err(), Some(ContentError::BodyCount { count: 0 }));
}

#[test]
fn there_is_exactly_one_body() {
    let text = Content::Text(Text::plain("words")).encode().unwrap();
    let confirmation = Content::Confirmation.encode().unwrap();
    let refusal = |bytes: Vec<u8>| Content::decode(&bytes.into(), Channel::Contact).err();
    assert_eq!(refusal(vec![]), Some(ContentError::BodyCount { count: 0 }));
    let only_fallback = letter::Content { fallback: "words".to_owned(), body: None }.encode_to_vec();
    assert_eq!(refusal(only_fallback), Some(ContentError::BodyCount { count: 0 }));
    assert_eq!(refusal([&*text, &confirmation].concat()), Some(ContentError::BodyCount { count: 2 }));
    assert_eq!(refusal([&*text, &text].concat()), Some(ContentError::BodyCount { count: 2 }));
    assert_eq!(refusal([&*text, &[0xda, 0x04, 0x00]].concat()), Some(ContentError::BodyCount { count: 2 }));
    // Fields below 10 may come to stand beside a body.
    assert_eq!(refusal([&*text, &[0x4a, 0x00]].concat()), None);
}

#[test]
fn a_fallback_is_no_longer_than_a_text() {
    let content = |length: usize| {
        let fallback = "f".repeat(length);
        let bytes =
            letter::Content { fallback, body: Some(Body::Confirmation(letter::Confirmation {})) }.encode_to_vec();
        Content::decode(&bytes.into(), Channel::Contact).err()
    };
    assert_eq!(content(TEXT_BYTES_MAX), None);
    assert_eq!(content(TEXT_BYTES_MAX + 1), Some(ContentError::FallbackTooLong { length: TEXT_BYTES_MAX + 1 }));
}

#[test]
fn only_a_contact_request_introduces() {
    let (alice, bob) = people();
    let introduction = |content: Content| {
        let letter = Letter { content: content.encode().unwrap(), ..alice.letter(&bob, "words") };
        let plaintext = letter.encode(&alice.party(), &bob.party());
        UnverifiedLetter::decode(&plaintext, OlmKind::Prekey).ok().unwrap().introduction()
    };
    for content in one_of_each(&alice) {
        let is_request = matches!(content, Content::ContactRequest { .. });
        assert_eq!(introduction(content).is_ok(), is_request);
    }
}

/// Bytes of a text that no sender of ours writes.
fn text(body: &str, ranges: Vec<letter::Range>) -> Option<ContentError> {
    let text = letter::Text { body: body.to_owned(), ranges, ..letter::Text::default() };
    let bytes = letter::Content { fallback: String::new(), body: Some(Body::Text(text)) }.encode_to_vec();
    Content::decode(&bytes.into(), Channel::Contact).err()
}

fn range(start: u32, length: u32, meaning: Option<letter::range::Meaning>) -> letter::Range {
    letter::Range { start, length, meaning }
}

#[test]
fn a_text_has_words_and_an_end() {
    assert_eq!(text("", vec![]), Some(ContentError::Text(TextError::Empty)));
    assert_eq!(text(&"t".repeat(TEXT_BYTES_MAX), vec![]), None);
    let too_long = TEXT_BYTES_MAX + 1;
    assert_eq!(text(&"t".repeat(too_long), vec![]), Some(ContentError::Text(TextError::TooLong { length: too_long })));
    assert_eq!(Content::Text(Text::plain("")).encode().err(), Some(ContentError::Text(TextError::Empty)));
}

#[test]
fn ranges_count_unicode_scalar_values() {
    let body = "añ👍🏽日本"; // the thumb and its skin tone are two
    let scalars = u32::try_from(body.chars().count()).unwrap();
    assert_eq!(scalars, 6);
    let bold = || Some(letter::range::Meaning::Style(Style::Bold.into()));
    assert_eq!(text(body, vec![range(0, scalars, bold()), range(5, 1, bold())]), None);
    let beyond = Some(ContentError::Text(TextError::RangeBeyondEnd));
    assert_eq!(text(body, vec![range(0, scalars + 1, bold())]), beyond);
    assert_eq!(text(body, vec![range(scalars, 1, bold())]), beyond);
    assert_eq!(text(body, vec![range(u32::MAX, u32::MAX, bold())]), beyond);
    assert_eq!(text(body, vec![range(0, 0, bold())]), Some(ContentError::Text(TextError::EmptyRange)));
}

#[test]
fn ranges_are_bounded_and_their_meanings_checked() {
    let bold = || Some(letter::range::Meaning::Style(Style::Bold.into()));
    assert_eq!(text("t", vec![range(0, 1, bold()); 1_000]), None);
    let too_many = Some(ContentError::Text(TextError::TooManyRanges { count: 1_001 }));
    assert_eq!(text("t", vec![range(0, 1, bold()); 1_001]), too_many);
    let mention = |length: usize| Some(letter::range::Meaning::Mention(vec![1; length].into()));
    assert_eq!(text("t", vec![range(0, 1, mention(32))]), None);
    assert!(matches!(text("t", vec![range(0, 1, mention(31))]), Some(ContentError::Text(TextError::BadPart(_)))));
    let link = |length: usize| Some(letter::range::Meaning::Link("l".repeat(length)));
    assert_eq!(text("t", vec![range(0, 1, link(2_048))]), None);
    assert!(matches!(text("t", vec![range(0, 1, link(2_049))]), Some(ContentError::Text(TextError::BadPart(_)))));
}

#[test]
fn styles_and_meanings_of_the_future_are_kept_as_plain_text() {
    let bytes = {
        let ranges = vec![range(0, 1, Some(letter::range::Meaning::Style(99))), range(0, 1, None)];
        let text = letter::Text { body: "t".to_owned(), ranges, ..letter::Text::default() };
        letter::Content { fallback: String::new(), body: Some(Body::Text(text)) }.encode_to_vec()
    };
    let Ok(Content::Text(text)) = Content::decode(&bytes.into(), Channel::Contact) else { unreachable!() };
    assert!(text.ranges.iter().all(|range| range.meaning == Meaning::Unknown));
}

#[test]
fn a_text_with_ranges_comes_back_as_it_was() {
    let meanings = [
        Meaning::Style(Style::Spoiler),
        Meaning::Mention(AccountId::from_bytes([1; 32])),
        Meaning::Link("https://a.example".to_owned()),
    ];
    let ranges = meanings.map(|meaning| Range { start: 1, length: 2, meaning }).to_vec();
    let content = Content::Text(Text { ranges, ..Text::plain("some words") });
    assert!(Content::decode(&content.encode().unwrap(), Channel::Own).ok().unwrap() == content);
}

#[test]
fn a_name_is_one_line_that_fits() {
    let person = Person::new(1);
    let named = |name: &str| {
        let accept = letter::ContactAccept {
            name: name.to_owned(),
            card: Some(identity::Card {
                account: person.account().into(),
                relay: "https://relay.example".to_owned(),
                chain: Bytes::from_static(&[1; 32]),
                chain_key: Bytes::from_static(&[2; 32]),
            }),
            pair_secret: Bytes::from_static(&[3; 32]),
        };
        let bytes =
            letter::Content { fallback: String::new(), body: Some(Body::ContactAccept(accept)) }.encode_to_vec();
        Content::decode(&bytes.into(), Channel::Reply).err()
    };
    assert_eq!(named(&"n".repeat(NAME_BYTES_MAX)), None);
    for name in ["", "  ", "two\nlines", "\u{7f}", &"n".repeat(NAME_BYTES_MAX + 1)] {
        assert_eq!(named(name), Some(ContentError::BadName), "{name:?}");
        let content = Content::ContactAccept {
            name: name.to_owned(),
            card: card(&person),
            pair_secret: PairSecret::from_bytes([4; 32]),
        };
        assert_eq!(content.encode().err(), Some(ContentError::BadName));
    }
}

#[test]
fn malformed_cards_and_secrets_are_refused() {
    let card = identity::Card {
        account: Bytes::from_static(&[1; 32]),
        relay: "https://relay.example".to_owned(),
        chain: Bytes::from_static(&[1; 32]),
        chain_key: Bytes::from_static(&[2; 32]),
    };
    let refusal = |body: Body| {
        let bytes = letter::Content { fallback: String::new(), body: Some(body) }.encode_to_vec();
        [Channel::Contact, Channel::Invite, Channel::Reply]
            .map(|channel| Content::decode(&bytes.clone().into(), channel).err())
    };
    let is_malformed = |body: Body| {
        let refusals = refusal(body);
        assert!(refusals.iter().all(|refusal| matches!(refusal, Some(ContentError::Malformed(_)))), "{refusals:?}");
    };
    let changes: [fn(&mut identity::Card); 4] = [
        |card| card.account.truncate(31),
        |card| "relay.example".clone_into(&mut card.relay),
        |card| card.chain.truncate(31),
        |card| card.chain_key.truncate(31),
    ];
    for change in changes {
        let mut changed = card.clone();
        change(&mut changed);
        is_malformed(Body::CardChange(letter::CardChange { card: Some(changed) }));
    }
    is_malformed(Body::CardChange(letter::CardChange { card: None }));
    let name = "Zoë".to_owned();
    let secret = Bytes::from_static(&[1; 31]);
    let accept = letter::ContactAccept { name: name.clone(), card: Some(card.clone()), pair_secret: secret.clone() };
    is_malformed(Body::ContactAccept(accept));
    let (manifest, whole) = (Bytes::from_static(&[1; 9]), Bytes::from_static(&[1; 32]));
    let request =
        letter::ContactRequest { name, card: Some(card), manifest, reply_secret: whole.clone(), proof: whole };
    is_malformed(Body::ContactRequest(letter::ContactRequest { reply_secret: secret.clone(), ..request.clone() }));
    is_malformed(Body::ContactRequest(letter::ContactRequest { proof: secret, ..request.clone() }));
    is_malformed(Body::ContactRequest(letter::ContactRequest { proof: Bytes::new(), ..request.clone() }));
    is_malformed(Body::ContactRequest(letter::ContactRequest { manifest: Bytes::new(), ..request.clone() }));
    is_malformed(Body::ContactRequest(letter::ContactRequest { card: None, ..request }));
    assert!(Content::decode(&Bytes::from_static(&[0x52, 0x05, 0x01]), Channel::Contact).is_err());
}
