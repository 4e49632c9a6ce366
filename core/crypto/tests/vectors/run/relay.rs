//! Kinds that a relay and a device compute alike.

use sotto_crypto::keys::{ListKey, verify};
use sotto_crypto::secret;
use sotto_crypto::secret::{PairSecret, ReplySecret};
use sotto_protocol::header::Header;
use sotto_protocol::invite::{Invite, InviteSecret};
use sotto_protocol::label;
use sotto_protocol::padding::unpad;
use sotto_protocol::request::{Authorization, signature_input};
use sotto_protocol::{InboxId, RelayAddress, RelayName, Timestamp, Token};

use super::{Answer, Answers, codes};
use crate::file::{Vector, unhex};

type Outcome = Result<Answer, &'static str>;

pub(crate) fn labelled(vector: &Vector) -> Outcome {
    let parts: Vec<_> = vector.given.iter().filter(|(name, _)| name == "part").map(|(_, value)| unhex(value)).collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Ok(Answers::default().hex("bytes", label::labelled(vector.str("label"), &parts)).0)
}

pub(crate) fn token_hash(vector: &Vector) -> Outcome {
    Ok(Answers::default().hex("hash", Token::from_bytes(vector.array("token")).hash()).0)
}

pub(crate) fn chain_entry_hash(vector: &Vector) -> Outcome {
    let hash = label::chain_entry_hash(&vector.bytes("previous"), &vector.bytes("entry"));
    Ok(Answers::default().hex("hash", hash).0)
}

pub(crate) fn token(vector: &Vector) -> Outcome {
    let (secret, inbox) = (vector.array("secret"), InboxId::from_bytes(vector.array("inbox")));
    let token = match vector.str("purpose") {
        "invite" => secret::invite_token(&InviteSecret::from_bytes(secret), &inbox),
        "reply" => ReplySecret::from_bytes(secret).token(&inbox),
        "pair" => PairSecret::from_bytes(secret).token(&inbox, vector.number("generation").try_into().unwrap()),
        "own" => {
            let own = ListKey::from_bytes(&secret).own_secret();
            own.token(&inbox, vector.number("generation").try_into().unwrap())
        }
        other => panic!("no such purpose: {other}"),
    };
    Ok(Answers::default().hex("token", token.as_bytes()).0)
}

pub(crate) fn invite_chain(vector: &Vector) -> Outcome {
    let (chain, key) = secret::invite_chain(&InviteSecret::from_bytes(vector.array("secret")));
    Ok(Answers::default().hex("chain", chain).hex("chain_key", key.as_bytes()).0)
}

pub(crate) fn request(vector: &Vector) -> Outcome {
    let relay = RelayName::parse(vector.str("relay"), 443).unwrap();
    let time = Timestamp::from_ms(vector.number("time"));
    let (method, path, body) = (vector.str("method"), vector.str("path"), vector.bytes("body"));
    let nonce = vector.array("nonce");
    let input = signature_input(&relay, method, path, &body, time, &nonce);
    let (key, signature) = (vector.array("key"), vector.array("signature"));
    verify(&key, &input, &signature).map_err(|_| "bad-signature")?;
    Ok(Answers::default().text("authorization", Authorization { key, time, nonce, signature }).0)
}

pub(crate) fn authorization(vector: &Vector) -> Outcome {
    let read: Authorization = vector.str("header").parse().map_err(|_| "malformed")?;
    let answers = Answers::default().hex("key", read.key).text("time", read.time.as_ms());
    Ok(answers.hex("nonce", read.nonce).hex("signature", read.signature).0)
}

pub(crate) fn attach(vector: &Vector) -> Outcome {
    let relay = RelayName::parse(vector.str("relay"), 443).unwrap();
    let inbox = InboxId::from_bytes(vector.array("inbox"));
    let input = label::attach_signature_input(&relay, &vector.bytes("challenge"), &inbox);
    verify(&vector.array("key"), &input, &vector.bytes("signature")).map_err(|_| "bad-signature")?;
    Ok(Answer::new())
}

pub(crate) fn ack(vector: &Vector) -> Outcome {
    let relay = RelayName::parse(vector.str("relay"), 443).unwrap();
    let inbox = InboxId::from_bytes(vector.array("inbox"));
    let input = label::ack_signature_input(&relay, &inbox, vector.str("sequence").parse().unwrap());
    verify(&vector.array("key"), &input, &vector.bytes("signature")).map_err(|_| "bad-signature")?;
    Ok(Answer::new())
}

pub(crate) fn relay_address(vector: &Vector) -> Outcome {
    let address: RelayAddress = vector.str("text").parse().map_err(|_| "bad-address")?;
    Ok(Answers::default().text("address", &address).text("name", address.name()).0)
}

pub(crate) fn invite(vector: &Vector) -> Outcome {
    let invite: Invite = vector.str("link").parse().map_err(|error| codes::decode(&error))?;
    let answers = Answers::default().hex("account", invite.account).hex("secret", invite.secret.as_bytes());
    Ok(answers.text("expires_at", invite.expires_at.as_ms()).text("name", invite.name).text("relay", invite.relay).0)
}

pub(crate) fn header(vector: &Vector) -> Outcome {
    Ok(match Header::decode(&vector.bytes("header")).map_err(|error| codes::decode(&error))? {
        Header::Opener { key_id, enc, nonce } => {
            Answers::default()
                .text("kind", "opener")
                .hex("key_id", key_id)
                .hex("enc", enc.as_slice())
                .hex("nonce", nonce)
                .0
        }
        Header::Continuation { tag, nonce } => {
            Answers::default().text("kind", "continuation").hex("tag", tag).hex("nonce", nonce).0
        }
    })
}

pub(crate) fn padding(vector: &Vector) -> Outcome {
    let padded = vector.bytes("padded");
    Ok(Answers::default().hex("plaintext", unpad(&padded).map_err(|error| codes::decode(&error))?).0)
}
