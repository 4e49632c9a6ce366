//! Kinds that devices compute among themselves.

use sotto_crypto::certificate::Certificate;
use sotto_crypto::kem::KemPrivateKey;
use sotto_crypto::letter::{
    Channel, Ciphertext, Content, Counters, Letter, OwnDeviceSync, Profile, Progress, SyncedState, Target, Text,
    UnverifiedLetter, binding as bind,
};
use sotto_crypto::manifest::{Device, DeviceKind, Head, History, Known, Predecessor, VerifiedManifest, open_entry};
use sotto_crypto::olm::OlmMessage;
use sotto_crypto::prekey::{Bundle, open_one_time};
use sotto_crypto::safety::SafetyNumber;
use sotto_crypto::seal::ephemeral::Signal;
use sotto_crypto::seal::{Arrived, OfferedSeal, OpenerHash, SealKey, Sealed};
use sotto_crypto::secret::{ChainKey, PrekeyKey, invite_proof};
use sotto_crypto::{DeviceName, Party, olm};
use sotto_protocol::header::Header;
use sotto_protocol::invite::InviteSecret;
use sotto_protocol::letter::OlmKind;
use sotto_protocol::{AccountId, Bytes, ChainId, ConversationId, DeviceId, InboxId, KeyId, MessageId, Timestamp};

use super::{Answer, Answers, codes};
use crate::file::{Vector, hex};
use crate::people::{bytes_of, olm_account, stored};

type Outcome = Result<Answer, &'static str>;

fn account(vector: &Vector, name: &str) -> AccountId {
    AccountId::from_bytes(vector.array(name))
}

fn now(vector: &Vector) -> Timestamp {
    Timestamp::from_ms(vector.number("now"))
}

fn shared(vector: &Vector, name: &str) -> Bytes {
    vector.bytes(name).into()
}

pub(crate) fn certificate(vector: &Vector) -> Outcome {
    let (certificate, signature) = (shared(vector, "certificate"), vector.bytes("signature"));
    let read = Certificate::verify(&account(vector, "account"), certificate, &signature);
    let read = read.map_err(|error| codes::certificate(&error))?;
    read.check_time(now(vector)).map_err(|error| codes::certificate(&error))?;
    let (epoch, continues) = (read.epoch(), read.epoch().continues);
    let answers =
        Answers::default().text("epoch", epoch.number).hex("list_key", epoch.list_key).text("home", &epoch.home);
    let answers = answers.text("continues_version", continues.map_or(0, |continues| continues.version));
    Ok(answers.hex("continues_hash", continues.map_or_else(Vec::new, |continues| continues.hash.to_vec())).0)
}

pub(crate) fn successor(vector: &Vector) -> Outcome {
    let predecessor = DeviceId::from_bytes(vector.array("predecessor"));
    let device = Device {
        id: DeviceId::from_bytes(vector.array("device")),
        kind: DeviceKind::Phone,
        ed25519: vector.array("ed25519"),
        curve25519: vector.array("curve25519"),
        inboxes: Vec::new(),
        added_at: Timestamp::EPOCH,
        replaces: Some(Predecessor { device: predecessor, signature: vector.array("signature") }),
    };
    let found = device.predecessor(&account(vector, "account"), |_| Some(vector.array("predecessor_ed25519")));
    if found == Some(predecessor) { Ok(Answers::default().0) } else { Err("bad-signature") }
}

pub(crate) fn manifest(vector: &Vector) -> Outcome {
    let number = |name: &str| u32::try_from(vector.number(name)).unwrap();
    let known = vector.find("known_hash").map(|_| Known {
        head: Head { epoch: number("known_epoch"), version: number("known_version"), hash: vector.array("known_hash") },
        certificate: shared(vector, "known_certificate"),
    });
    let history = match (vector.str("history"), &known) {
        ("unknown", None) => History::Unknown,
        ("next", Some(known)) => History::Next(known),
        ("later", Some(known)) => History::Later(known),
        ("other-chain", Some(known)) => History::OtherChain(known),
        (other, _) => panic!("no such history: {other}"),
    };
    let read = VerifiedManifest::verify(&account(vector, "account"), shared(vector, "manifest"), history, now(vector));
    let read = read.map_err(|error| codes::manifest(&error))?;
    let head = read.head();
    let answers = Answers::default().text("epoch", head.epoch).text("version", head.version).hex("hash", head.hash);
    let answers = answers.hex("previous", read.previous().map_or(&[][..], |hash| hash));
    let answers = answers.text("fresh", if read.is_fresh(now(vector)) { "yes" } else { "no" });
    Ok(read.devices().iter().fold(answers, |answers, device| answers.hex("device", device.id)).0)
}

pub(crate) fn manifest_entry(vector: &Vector) -> Outcome {
    let (chain, key) = (ChainId::from_bytes(vector.array("chain")), ChainKey::from_bytes(vector.array("chain_key")));
    let opened = open_entry(&vector.bytes("entry"), &chain, &key).map_err(|error| codes::manifest(&error))?;
    Ok(Answers::default().hex("manifest", opened).0)
}

/// Whose prekeys they are: the identity key plays no part.
fn owner(vector: &Vector) -> Party {
    Party {
        account: account(vector, "account"),
        device: DeviceId::from_bytes(vector.array("device")),
        ed25519: vector.array("ed25519"),
        curve25519: [9; 32],
    }
}

pub(crate) fn one_time_key(vector: &Vector) -> Outcome {
    let (key, inbox) = (PrekeyKey::from_bytes(vector.array("prekey_key")), InboxId::from_bytes(vector.array("inbox")));
    let read = open_one_time(&vector.bytes("blob"), &key, &inbox, &owner(vector), now(vector));
    let read = read.map_err(|error| codes::prekey(&error))?;
    Ok(Answers::default().hex("id", read.id()).hex("key", read.key()).0)
}

pub(crate) fn bundle(vector: &Vector) -> Outcome {
    let (key, inbox) = (PrekeyKey::from_bytes(vector.array("prekey_key")), InboxId::from_bytes(vector.array("inbox")));
    let read = Bundle::open(&vector.bytes("blob"), &key, &inbox, &owner(vector), now(vector));
    let read = read.map_err(|error| codes::prekey(&error))?;
    let answers = Answers::default().hex("kem_id", read.kem.id()).hex("kem_key", read.kem.key().to_bytes());
    Ok(answers.hex("last_resort_id", read.last_resort.id()).hex("last_resort_key", read.last_resort.key()).0)
}

pub(crate) fn opener(vector: &Vector) -> Outcome {
    let (header, payload) = (vector.bytes("header"), vector.bytes("payload"));
    let arrived = Arrived::read(&header).map_err(|error| codes::decode(&error))?;
    let Header::Opener { key_id, enc, .. } = arrived.header() else { panic!("no opener") };
    let recipient =
        DeviceName { account: account(vector, "account"), device: DeviceId::from_bytes(vector.array("device")) };
    let kem = KemPrivateKey::from_bytes(&vector.array("kem_secret"));
    let offered = OfferedSeal::decapsulate(&recipient, &kem, key_id, enc);
    let sealed = offered.open(&arrived, &payload).map_err(|error| codes::seal(&error))?;
    let answers = Answers::default().hex("opener", offered.opener().as_bytes());
    let stored = bytes_of(&offered.clone().install(&vouching(offered.opener())).ok().unwrap());
    let sender = sealed.sender.unwrap();
    let answers = answers.hex("seal_key", &stored[32..64]).hex("tag_key", &stored[64..]);
    let answers = answers.hex("sender_account", sender.account).hex("sender_device", sender.device);
    Ok(olm_of(answers, &sealed))
}

/// A letter that vouches for an opener, to see the keys behind it.
fn vouching(opener: OpenerHash) -> Letter {
    Letter {
        message_id: MessageId::from_bytes([0; 16]),
        counter: 1,
        oldest: 1,
        confirmed: 0,
        sent_at: Timestamp::EPOCH,
        head: Head { epoch: 1, version: 1, hash: [0; 32] },
        opener: Some(opener),
        opened: None,
        reply_inbox: None,
        conversation: ConversationId::from_bytes([0; 32]),
        earlier: Vec::new(),
        ordinal: 0,
        content: Bytes::new(),
    }
}

pub(crate) fn continuation(vector: &Vector) -> Outcome {
    let row = [vec![0; 32], vector.bytes("seal_key"), vector.bytes("tag_key")].concat();
    let key: SealKey = stored(&row);
    let (header, payload) = (vector.bytes("header"), vector.bytes("payload"));
    let arrived = Arrived::read(&header).map_err(|error| codes::decode(&error))?;
    let sealed = key.open(&arrived, &payload).map_err(|error| codes::seal(&error))?;
    Ok(olm_of(Answers::default(), &sealed))
}

pub(crate) fn ephemeral(vector: &Vector) -> Outcome {
    // What is ephemeral has nothing to do with the key that tags letters.
    let row = [vec![0; 32], vector.bytes("seal_key"), vec![0; 32]].concat();
    let key: SealKey = stored(&row);
    let ephemeral = key.for_ephemerals().open(&vector.bytes("header"), &vector.bytes("payload"));
    let ephemeral = ephemeral.map_err(|error| codes::ephemeral(&error))?;
    let newest = vector.find("newest").map(|newest| Timestamp::from_ms(newest.parse().unwrap()));
    ephemeral.check(now(vector), newest).map_err(|error| codes::ephemeral(&error))?;
    let signal = match ephemeral.signal {
        Signal::Typing => "typing",
        Signal::Stopped => "stopped",
        Signal::Online => "online",
        Signal::Offline => "offline",
        Signal::Unknown => "unknown",
    };
    Ok(Answers::default().text("sent_at", ephemeral.sent_at.as_ms()).text("signal", signal).0)
}

fn olm_of(answers: Answers, sealed: &Sealed) -> Answer {
    answers.text("olm_kind", kind_name(sealed.message.kind())).hex("olm", sealed.message.bytes()).0
}

const fn kind_name(kind: OlmKind) -> &'static str {
    match kind {
        OlmKind::Normal => "normal",
        OlmKind::Prekey => "prekey",
    }
}

fn olm_kind(vector: &Vector) -> OlmKind {
    match vector.str("olm_kind") {
        "normal" => OlmKind::Normal,
        "prekey" => OlmKind::Prekey,
        other => panic!("no such kind: {other}"),
    }
}

pub(crate) fn opener_hash(vector: &Vector) -> Outcome {
    let hash = OpenerHash::of(&vector.array("enc"), &KeyId::from_bytes(vector.array("key_id")));
    Ok(Answers::default().hex("hash", hash.as_bytes()).hex("opened", hash.opened().as_bytes()).0)
}

pub(crate) fn inner_hash(vector: &Vector) -> Outcome {
    Ok(Answers::default().hex("hash", olm::inner_hash(olm_kind(vector), &vector.bytes("olm"))).0)
}

pub(crate) fn olm_prekey(vector: &Vector) -> Outcome {
    let account = olm_account(&[1; 32], &vector.array("identity_secret"), &vector.array("one_time_secret"), &[2; 32]);
    let message =
        OlmMessage::decode(OlmKind::Prekey.into(), shared(vector, "olm")).map_err(|error| codes::decode(&error))?;
    let accepted = account.accept(&vector.array("sender_identity"), &message).map_err(|error| codes::olm(&error))?;
    let answers = Answers::default().hex("session", accepted.session.id().as_bytes());
    let answers = answers.text("chain_index", message.chain_index());
    Ok(answers.hex("plaintext", accepted.plaintext.as_slice()).0)
}

pub(crate) fn conversation(vector: &Vector) -> Outcome {
    let conversation = ConversationId::between(&account(vector, "one"), &account(vector, "other"));
    Ok(Answers::default().hex("conversation", conversation).0)
}

pub(crate) fn safety_number(vector: &Vector) -> Outcome {
    Ok(Answers::default().text("digits", SafetyNumber::between(&account(vector, "one"), &account(vector, "other"))).0)
}

fn party(vector: &Vector, role: &str) -> Party {
    Party {
        account: account(vector, &format!("{role}_account")),
        device: DeviceId::from_bytes(vector.array(&format!("{role}_device"))),
        ed25519: vector.array(&format!("{role}_ed25519")),
        curve25519: vector.array(&format!("{role}_curve25519")),
    }
}

pub(crate) fn binding(vector: &Vector) -> Outcome {
    let conversation = ConversationId::from_bytes(vector.array("conversation"));
    let binding = bind(&party(vector, "sender"), &party(vector, "recipient"), &conversation);
    Ok(Answers::default().hex("binding", binding).0)
}

pub(crate) fn letter(vector: &Vector) -> Outcome {
    let letter = UnverifiedLetter::decode(&vector.bytes("plaintext"), olm_kind(vector));
    let letter = letter.map_err(|error| codes::letter(&error))?;
    let letter = letter.verify(&vector.array("session_peer"), &party(vector, "sender"), &party(vector, "recipient"));
    let letter = letter.map_err(|error| codes::letter(&error))?;
    let answers = Answers::default().hex("message_id", letter.message_id);
    let answers = answers
        .text("counter", letter.counter)
        .text("oldest", letter.oldest)
        .text("confirmed", letter.confirmed)
        .text("sent_at", letter.sent_at.as_ms())
        .text("ordinal", letter.ordinal);
    let answers =
        answers.text("epoch", letter.head.epoch).text("version", letter.head.version).hex("head", letter.head.hash);
    let answers = answers.hex("opener", letter.opener.map_or_else(Vec::new, |opener| opener.as_bytes().to_vec()));
    let answers = answers.hex("opened", letter.opened.map_or_else(Vec::new, |opened| opened.as_bytes().to_vec()));
    let answers =
        answers.hex("reply_inbox", letter.reply_inbox.map_or_else(Vec::new, |inbox| inbox.as_bytes().to_vec()));
    let answers = letter.earlier.iter().fold(answers, |answers, hash| answers.hex("earlier", hash));
    Ok(answers.hex("conversation", letter.conversation).hex("content", letter.content).0)
}

pub(crate) fn content(vector: &Vector) -> Outcome {
    let channel = match vector.str("channel") {
        "contact" => Channel::Contact,
        "invite" => Channel::Invite,
        "reply" => Channel::Reply,
        "own" => Channel::Own,
        other => panic!("no such channel: {other}"),
    };
    let content = Content::decode(&shared(vector, "content"), channel).map_err(|error| codes::content(&error))?;
    let answers = Answers::default();
    Ok(match content {
        Content::Text(text) => text_of(answers.text("body", "text"), text).0,
        Content::Edit { message_id, text } => {
            text_of(answers.text("body", "edit").hex("message_id", message_id), text).0
        }
        Content::Delete(ids) => {
            ids.iter().fold(answers.text("body", "delete"), |answers, id| answers.hex("message_id", id)).0
        }
        Content::Reaction { target, emoji } => {
            target_of(answers.text("body", "reaction"), &target).text("emoji", emoji.unwrap_or_default()).0
        }
        Content::Pin { target, pinned } => {
            target_of(answers.text("body", "pin"), &target).text("pinned", u8::from(pinned)).0
        }
        Content::Nudge => answers.text("body", "nudge").0,
        Content::Profile(profile) => profile_of(answers.text("body", "profile"), &profile).0,
        Content::Receipts(ids) => {
            ids.iter().fold(answers.text("body", "receipts"), |answers, id| answers.hex("message_id", id)).0
        }
        Content::Confirmation => answers.text("body", "confirmation").0,
        Content::ResendRequest(request) => {
            let answers = ranges(answers.text("body", "resend-request"), "counters", &request.counters);
            let answers = request.inner_hashes.iter().fold(answers, |answers, hash| answers.hex("hash", hash));
            request.predecessor.iter().fold(answers, |answers, device| answers.hex("predecessor", device)).0
        }
        Content::GivenUp(given_up) => {
            let answers = ranges(answers.text("body", "given-up"), "missing", &given_up.missing);
            let answers = ranges(answers, "empty", &given_up.empty);
            let answers = ciphertexts(answers, "missing_ciphertext", &given_up.missing_ciphertexts);
            ciphertexts(answers, "empty_ciphertext", &given_up.empty_ciphertexts).0
        }
        Content::ContactRequest { name, card, manifest, reply_secret, proof } => {
            let answers = answers.text("body", "contact-request").text("name", name).hex("account", card.account);
            let answers = answers.hex("manifest", manifest).hex("reply_secret", reply_secret.as_bytes());
            answers.hex("proof", proof.as_bytes()).0
        }
        Content::ContactAccept { name, card, pair_secret } => {
            let answers = answers.text("body", "contact-accept").text("name", name).hex("account", card.account);
            answers.hex("pair_secret", pair_secret.as_bytes()).0
        }
        Content::PairReady => answers.text("body", "pair-ready").0,
        Content::PairChange { pair_secret, epoch, before } => {
            let answers = answers.text("body", "pair-change").hex("pair_secret", pair_secret.as_bytes());
            answers.text("epoch", epoch).hex("before", before.as_bytes()).0
        }
        Content::PairChanged { pair } => answers.text("body", "pair-changed").hex("pair", pair.as_bytes()).0,
        Content::OwnDeviceSync(OwnDeviceSync::Said { account, content }) => {
            answers.text("body", "said").hex("account", account).hex("content", content).0
        }
        Content::OwnDeviceSync(OwnDeviceSync::Contact(contact)) => {
            let answers = answers.text("body", "synced-contact").hex("account", contact.card.account);
            let answers = answers.text("version", contact.version).text("name", contact.name);
            let answers = answers.text("given_name", contact.given_name.unwrap_or_default());
            let flags = [contact.state == SyncedState::Removed, contact.blocked, contact.pair_usable];
            let answers = answers.text("flags", flags.map(|flag| if flag { "1" } else { "0" }).concat());
            let secret = contact.pair_secret.map_or_else(Vec::new, |secret| secret.as_bytes().to_vec());
            let answers = answers.hex("manifest", contact.manifest).hex("pair_secret", secret);
            let answers = answers.text("pair_version", contact.pair_version);
            contact.profile.iter().fold(answers, profile_of).0
        }
        Content::OwnDeviceSync(OwnDeviceSync::Hidden { account, targets }) => {
            targets.iter().fold(answers.text("body", "hidden").hex("account", account), target_of).0
        }
        Content::OwnDeviceSync(OwnDeviceSync::Read { account, message_ids }) => {
            let answers = answers.text("body", "read").hex("account", account);
            message_ids.iter().fold(answers, |answers, id| answers.hex("message_id", id)).0
        }
        Content::OwnDeviceSync(OwnDeviceSync::States { account, states }) => {
            let answers = answers.text("body", "states").hex("account", account);
            states.iter().fold(answers, state_of).0
        }
        Content::OwnDeviceSync(OwnDeviceSync::Setting(setting)) => {
            let account = setting.account.map_or_else(Vec::new, |account| account.as_bytes().to_vec());
            let answers = answers.text("body", "setting").hex("account", account).text("key", setting.key);
            answers
                .text("version", setting.version)
                .hex("device", setting.device.as_bytes())
                .hex("value", setting.value)
                .0
        }
        Content::OwnDeviceSync(OwnDeviceSync::Unknown) => answers.text("body", "own-device-sync").0,
        Content::CardChange(card) => {
            answers.text("body", "card-change").hex("account", card.account).hex("chain", card.chain).0
        }
        Content::Unknown { fallback } => answers.text("body", "unknown").text("fallback", fallback).0,
    })
}

fn text_of(answers: Answers, text: Text) -> Answers {
    let answers = answers.text("ranges", text.ranges.len()).text("text", text.body);
    let answers = text.reply_to.iter().fold(answers, target_of);
    if text.forwarded { answers.text("forwarded", 1) } else { answers }
}

fn state_of(answers: Answers, (id, progress): &(MessageId, Progress)) -> Answers {
    let progress = match progress {
        Progress::Sent => 1,
        Progress::Delivered => 2,
        Progress::Read => 3,
        Progress::Expired => 4,
        Progress::Removed => 5,
    };
    answers.text("state", format!("{} {progress}", hex(id)))
}

fn profile_of(answers: Answers, profile: &Profile) -> Answers {
    let answers = answers.text("version", profile.version).hex("device", profile.device);
    answers.text("name", &profile.name).text("status", &profile.status)
}

fn target_of(answers: Answers, target: &Target) -> Answers {
    answers.hex("target_author", target.author).hex("target", target.message_id)
}

fn ranges(answers: Answers, name: &str, ranges: &[Counters]) -> Answers {
    ranges.iter().fold(answers, |answers, range| answers.text(name, format!("{} {}", range.first, range.last)))
}

fn ciphertexts(answers: Answers, name: &str, ciphertexts: &[Ciphertext]) -> Answers {
    ciphertexts.iter().fold(answers, |answers, ciphertext| {
        answers.text(name, format!("{} {}", hex(ciphertext.inner_hash), ciphertext.counter.unwrap_or(0)))
    })
}

pub(crate) fn contact_request(vector: &Vector) -> Outcome {
    let content = Content::decode(&shared(vector, "content"), Channel::Invite);
    let Content::ContactRequest { proof, .. } = content.map_err(|error| codes::content(&error))? else {
        return Err("misplaced");
    };
    let secret = InviteSecret::from_bytes(vector.array("secret"));
    let expected = invite_proof(&secret, &account(vector, "requester"), &account(vector, "owner"));
    if proof == expected { Ok(Answers::default().hex("proof", expected.as_bytes()).0) } else { Err("wrong-proof") }
}
