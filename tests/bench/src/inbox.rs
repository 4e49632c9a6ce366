//! A device as a relay sees it: an inbox with tokens, on the production transport, without an engine.

use ed25519_dalek::{Signer as _, SigningKey};
use sotto_core::net::HttpTransport;
use sotto_core::world::{Call, Clock as _, Isolation, RelayStream, SystemClock, Transport as _};
use sotto_protocol::label::{ack_signature_input, attach_signature_input};
use sotto_protocol::relay::{self, client_frame, server_frame};
use sotto_protocol::request::{Authorization, path, signature_input};
use sotto_protocol::{Bytes, EnvelopeId, InboxId, Message, RelayAddress, RelayName, Timestamp, Token};

use crate::Outcome;

/// Bytes of a payload: a short message with its padding and seal.
const PAYLOAD_BYTES: usize = 1024;
/// Bytes of a continuation's header.
const HEADER_BYTES: usize = 40;

/// One inbox and its keys.
pub(crate) struct Inbox {
    id: InboxId,
    owner: SigningKey,
    tokens: Vec<Token>,
}

/// One client's connections to a relay.
pub(crate) struct Client {
    transport: HttpTransport,
    relay: RelayAddress,
}

impl Client {
    pub(crate) fn new(relay: &RelayAddress) -> Self {
        Self { transport: HttpTransport::new(), relay: relay.clone() }
    }

    /// Makes an inbox with so many tokens.
    pub(crate) async fn create_inbox(&self, tokens: u32) -> Outcome<Inbox> {
        let (owner, manage) = (SigningKey::from_bytes(&rand::random()), SigningKey::from_bytes(&rand::random()));
        let id = InboxId::from_bytes(rand::random());
        let tokens: Vec<Token> = (0..tokens).map(|_| Token::from_bytes(rand::random())).collect();
        let key = |key: &SigningKey| Bytes::copy_from_slice(key.verifying_key().as_bytes());
        let create = relay::InboxCreate {
            inbox: id.into(),
            owner_key: key(&owner),
            manage_key: key(&manage),
            ..Default::default()
        };
        let put = relay::TokenPut {
            inbox: id.into(),
            tokens: (1..)
                .zip(&tokens)
                .map(|(alias, token)| relay::Token { hash: token.hash().into(), alias, ..Default::default() })
                .collect(),
        };
        self.signed(path::INBOX_CREATE, &create, &owner).await?;
        self.signed(path::TOKEN_PUT, &put, &manage).await?;
        Ok(Inbox { id, owner, tokens })
    }

    async fn signed(&self, path: &'static str, message: &impl Message, key: &SigningKey) -> Outcome<()> {
        let (body, time, nonce) = (Bytes::from(message.encode_to_vec()), now(), rand::random());
        let input = signature_input(self.relay.name(), "POST", path, &body, time, &nonce);
        let authorization =
            Authorization { key: key.verifying_key().to_bytes(), time, nonce, signature: key.sign(&input).to_bytes() };
        // One connection for all of them: these devices have nothing to hide.
        let isolation = Isolation::Inbox(InboxId::from_bytes([0; 16]));
        self.call(isolation, path, body, Some(authorization.to_string())).await.map(drop)
    }

    async fn call(
        &self,
        isolation: Isolation,
        path: &'static str,
        body: Bytes,
        authorization: Option<String>,
    ) -> Outcome<Bytes> {
        let answer =
            self.transport.call(Call { relay: self.relay.clone(), isolation, path, body, authorization }).await?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(format!("{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body)).into())
        }
    }

    /// Puts an envelope of 1 KiB into each of these inboxes, in one request; all must be accepted.
    pub(crate) async fn send(&self, to: &[&Inbox], turn: usize) -> Outcome<()> {
        let payloads = to.iter().map(|_| Bytes::from(rand::random::<[u8; 32]>().repeat(PAYLOAD_BYTES / 32))).collect();
        let items = (0..).zip(to).map(|(payload, inbox)| inbox.item(turn, payload)).collect();
        let body = relay::Send { payloads, items }.encode_to_vec().into();
        let answer = self.call(Isolation::Anonymous, path::SEND, body, None).await?;
        let results = relay::SendResults::decode(answer)?.results;
        let accepted = results.iter().filter(|result| result.outcome() == relay::SendOutcome::Accepted).count();
        if accepted == to.len() { Ok(()) } else { Err(format!("{accepted} of {} accepted", to.len()).into()) }
    }

    /// Opens a stream and attaches the inbox; returns once it is drained when there is nothing in it, else with the first deliveries
    /// still to come.
    pub(crate) async fn attach(&self, inbox: &Inbox) -> Outcome<Attached> {
        let mut stream = self.transport.stream(&self.relay).await?;
        let Some(server_frame::Frame::Challenge(challenge)) = next(&mut *stream).await? else {
            return Err("no challenge".into());
        };
        let input = attach_signature_input(self.relay.name(), &challenge.challenge, &inbox.id);
        let signature = Bytes::copy_from_slice(&inbox.owner.sign(&input).to_bytes());
        let attach = relay::Attach { inbox: inbox.id.into(), signature };
        let (relay, owner) = (self.relay.name().clone(), inbox.owner.clone());
        let mut attached = Attached { stream, inbox: inbox.id, relay, owner };
        attached.tell(client_frame::Frame::Attach(attach)).await?;
        match attached.next().await? {
            Some(server_frame::Frame::Attached(_)) => Ok(attached),
            _ => Err("not attached".into()),
        }
    }
}

impl Inbox {
    fn item(&self, turn: usize, payload: u32) -> relay::SendItem {
        let token = &self.tokens[turn % self.tokens.len()];
        relay::SendItem {
            inbox: self.id.into(),
            token: Bytes::copy_from_slice(token.as_bytes()),
            envelope: EnvelopeId::new(now(), rand::random()).into(),
            header: Bytes::from_static(&[7; HEADER_BYTES]),
            payload,
            ..Default::default()
        }
    }
}

/// A stream with one inbox.
pub(crate) struct Attached {
    stream: Box<dyn RelayStream>,
    inbox: InboxId,
    relay: RelayName,
    owner: SigningKey,
}

impl Attached {
    async fn tell(&mut self, frame: client_frame::Frame) -> Outcome<()> {
        let frame = relay::ClientFrame { frame: Some(frame) }.encode_to_vec();
        Ok(self.stream.send(frame.into()).await?)
    }

    async fn next(&mut self) -> Outcome<Option<server_frame::Frame>> {
        next(&mut *self.stream).await
    }

    /// Waits for the word that nothing more waits.
    pub(crate) async fn drained(&mut self) -> Outcome<()> {
        while !matches!(self.next().await?, Some(server_frame::Frame::Drained(_))) {}
        Ok(())
    }

    /// Takes `count` deliveries and acknowledges each frame of them.
    pub(crate) async fn take(&mut self, count: usize) -> Outcome<()> {
        let mut taken = 0;
        while taken < count {
            let Some(server_frame::Frame::Deliveries(deliveries)) = self.next().await? else { continue };
            taken += deliveries.deliveries.len();
            let Some(last) = deliveries.deliveries.last() else { continue };
            let input = ack_signature_input(&self.relay, &self.inbox, last.sequence);
            let signature = Bytes::copy_from_slice(&self.owner.sign(&input).to_bytes());
            let ack = relay::Ack { inbox: self.inbox.into(), sequence: last.sequence, signature };
            self.tell(client_frame::Frame::Ack(ack)).await?;
        }
        Ok(())
    }
}

async fn next(stream: &mut dyn RelayStream) -> Outcome<Option<server_frame::Frame>> {
    let frame = stream.next().await.ok_or("the relay closed the stream")??;
    Ok(relay::ServerFrame::decode(frame)?.frame)
}

fn now() -> Timestamp {
    SystemClock.now()
}
