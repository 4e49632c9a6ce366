//! Envelopes as the wire carries them: read out of the calls that passed, changed, and put again.

use std::time::Duration;

use sotto_protocol::relay::{Send, SendItem, SendOutcome, SendResults};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, EnvelopeId, Message as _, RelayAddress, RelayName};

use crate::{Network, Person, Traffic};
use sotto_core::world::{Call, Isolation};

/// An envelope on its way to one inbox.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Which relay.
    pub relay: RelayName,
    /// Which inbox.
    pub inbox: Bytes,
    /// What gives the right to put it there.
    pub token: Bytes,
    /// The claim that the token asks for, where it does.
    pub claim: Bytes,
    /// The id under which a repeat is recognised.
    pub id: Bytes,
    /// The recipient's header.
    pub header: Bytes,
    /// What is sealed.
    pub payload: Bytes,
    /// Whether it is for whoever is attached, and never stored.
    pub is_ephemeral: bool,
}

impl Envelope {
    /// Whether it is an opener; else it is a continuation.
    #[must_use]
    pub fn is_opener(&self) -> bool {
        self.header.first() == Some(&0x11)
    }

    /// The encapsulated key of an opener.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn enc(&self) -> Bytes {
        assert!(self.is_opener(), "only openers carry one");
        self.header.slice(9..9 + sotto_protocol::header::ENC_BYTES)
    }

    /// The same but for one bit of the header.
    #[must_use]
    pub fn with_header_bit(&self, bit: usize) -> Self {
        Self { header: flip(&self.header, bit), ..self.clone() }
    }

    /// The same but for one bit of the payload.
    #[must_use]
    pub fn with_payload_bit(&self, bit: usize) -> Self {
        Self { payload: flip(&self.payload, bit), ..self.clone() }
    }

    /// The same contents where, and as whom, another one goes.
    #[must_use]
    pub fn instead_of(&self, other: &Self) -> Self {
        Self { header: self.header.clone(), payload: self.payload.clone(), ..other.clone() }
    }
}

fn flip(bytes: &Bytes, bit: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.into()
}

/// The envelopes in a call.
#[must_use]
pub fn envelopes_of(traffic: &Traffic) -> Vec<Envelope> {
    if traffic.path != path::SEND {
        return Vec::new();
    }
    let send = Send::decode(traffic.body.clone()).unwrap_or_default();
    let envelope = |item: &SendItem| Envelope {
        relay: traffic.relay.clone(),
        inbox: item.inbox.clone(),
        token: item.token.clone(),
        claim: item.claim.clone(),
        id: item.envelope.clone(),
        header: item.header.clone(),
        payload: send.payloads[item.payload as usize].clone(),
        is_ephemeral: item.ephemeral,
    };
    send.items.iter().map(envelope).collect()
}

impl Network {
    /// Every envelope that was ever offered to a relay, in order.
    #[must_use]
    pub fn envelopes(&self) -> Vec<Envelope> {
        self.traffic().iter().flat_map(envelopes_of).collect()
    }

    /// Those to a person's inboxes.
    #[must_use]
    pub fn envelopes_to(&self, person: &Person) -> Vec<Envelope> {
        let inboxes = person.inboxes();
        let is_theirs = |envelope: &Envelope| inboxes.iter().any(|inbox| **inbox == *envelope.inbox);
        self.envelopes().into_iter().filter(is_theirs).collect()
    }

    /// Puts an envelope as anybody could who holds its token, under an id of its own, and lets whoever is attached meet it. Says whether the
    /// relay took it.
    ///
    /// # Panics
    /// When the relay does not answer a send as it must.
    pub async fn put(&self, envelope: &Envelope) -> bool {
        let mut random = [0; 12];
        self.fill(&mut random);
        let id = EnvelopeId::new(self.now(), random);
        let item = SendItem {
            inbox: envelope.inbox.clone(),
            token: envelope.token.clone(),
            claim: envelope.claim.clone(),
            envelope: id.into(),
            header: envelope.header.clone(),
            ephemeral: envelope.is_ephemeral,
            ..SendItem::default()
        };
        let body = Send { payloads: vec![envelope.payload.clone()], items: vec![item] }.encode_to_vec().into();
        let relay: RelayAddress = format!("https://{}", envelope.relay).parse().expect("a relay of this network");
        let call = Call { relay, isolation: Isolation::Anonymous, path: path::SEND, body, authorization: None };
        let answer = self.transport().call(call).await;
        let answer = answer.unwrap_or_else(|error| unreachable!("the relay is up: {error}"));
        self.pass(Duration::from_secs(1)).await;
        let results = SendResults::decode(answer.body).expect("a relay answers with results");
        results.results[0].outcome() == SendOutcome::Accepted
    }
}
