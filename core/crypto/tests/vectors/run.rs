//! What each kind of vector means in terms of this crate: what is given goes in, an answer or the code of a refusal comes out.

mod codes;
mod devices;
mod relay;

use crate::file::{Vector, hex};

/// An answer: names and values, in a fixed order.
pub(crate) type Answer = Vec<(String, String)>;

/// Whether the vector comes out as it says.
pub(crate) fn check(vector: &Vector) -> Result<(), String> {
    match run(vector) {
        Ok(_) if vector.expect != "accepted" => Err(format!("accepted instead of {}", vector.expect)),
        Ok(answer) if answer != vector.answer => Err("another answer".to_owned()),
        Err(code) if code != vector.expect => Err(format!("{code} instead of {}", vector.expect)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Runs one.
pub(crate) fn run(vector: &Vector) -> Result<Answer, &'static str> {
    let kind: fn(&Vector) -> Result<Answer, &'static str> = match vector.kind.as_str() {
        "labelled" => relay::labelled,
        "token-hash" => relay::token_hash,
        "chain-entry-hash" => relay::chain_entry_hash,
        "token" => relay::token,
        "invite-chain" => relay::invite_chain,
        "request" => relay::request,
        "authorization" => relay::authorization,
        "attach" => relay::attach,
        "ack" => relay::ack,
        "relay-address" => relay::relay_address,
        "invite" => relay::invite,
        "header" => relay::header,
        "padding" => relay::padding,
        "certificate" => devices::certificate,
        "successor" => devices::successor,
        "manifest" => devices::manifest,
        "manifest-entry" => devices::manifest_entry,
        "one-time-key" => devices::one_time_key,
        "bundle" => devices::bundle,
        "opener" => devices::opener,
        "continuation" => devices::continuation,
        "ephemeral" => devices::ephemeral,
        "opener-hash" => devices::opener_hash,
        "inner-hash" => devices::inner_hash,
        "olm-prekey" => devices::olm_prekey,
        "conversation" => devices::conversation,
        "safety-number" => devices::safety_number,
        "binding" => devices::binding,
        "letter" => devices::letter,
        "content" => devices::content,
        "contact-request" => devices::contact_request,
        other => panic!("no such kind: {other}"),
    };
    kind(vector)
}

/// Builds an answer.
#[derive(Default)]
struct Answers(Answer);

impl Answers {
    fn hex(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let value = hex(bytes);
        self.text(name, value)
    }

    fn text(mut self, name: &str, value: impl ToString) -> Self {
        self.0.push((name.to_owned(), value.to_string()));
        self
    }
}
