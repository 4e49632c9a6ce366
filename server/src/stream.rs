//! A stream without its socket: client frames in, server frames out.
//!
//! ```text
//! per inbox:  absent --attach, signed--> replaying --all that waited has gone out--> live
//!             replaying, live --ack beyond what was sent, or unsigned--> ended (BAD_ACK)
//!                             --attached elsewhere--> ended (TAKEN_OVER)   --inbox deleted--> ended (DELETED)
//! ```
//! Whoever drives it alternates between [`StreamSession::receive`] for what came in, which runs to its end, and
//! [`StreamSession::next`] for what goes out, which may be cancelled and called again: a read that was asked for is kept and waited
//! for, so that frames coming in cannot make the store read the same page again and again. Deliveries go out in sequence order, after what this connection was sent: read from the
//! store, or new ones from memory when they are exactly the next.
//! Invariants: at most a window of deliveries is unacknowledged per inbox; what is in memory is bounded (a frame read from the store,
//! a mailbag of new mail); an acknowledgement is valid only up to what this connection was sent and only while it holds the right.
//! Not here: pings, write deadlines, frame sizes on the wire (`shell/websocket.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use ed25519_dalek::SigningKey;
use sotto_protocol::label::attach_signature_input;
use sotto_protocol::limits::{
    ATTACHED_MAX, CLIENT_FRAME_BYTES_MAX, HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX, WINDOW_BYTES, WINDOW_COUNT,
};
use sotto_protocol::relay::{
    Ack, Attach, Attached, Challenge, ClientFrame, Deliveries, Delivery, Drained, EndReason, Ended, Refused,
    ServerFrame, Tick, client_frame, server_frame,
};
use sotto_protocol::{Bytes, InboxId, Message, Timestamp, decode};

use crate::auth::is_signed;
use crate::hub::{AckRight, Mailbag};
use crate::limits::{ATTACH_ATTEMPTS_MAX, FRAME_BYTES_MAX, FRAME_COUNT_MAX};
use crate::relay::Relay;
use crate::store::{Answer, Arrival, Denied, Mailbox, Page, PublicKey, Waiting, WaitingPage};

/// Why a connection must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamEnd {
    /// The client sent what is no frame of this protocol.
    #[error("not a client frame")]
    BadFrame,
    /// The client tried to attach too often.
    #[error("too many attempts to attach")]
    TooManyAttempts,
}

/// See the file's story.
pub struct StreamSession {
    relay: Arc<Relay>,
    challenge: [u8; 32],
    mailbag: Arc<Mailbag>,
    attached: BTreeMap<InboxId, Attachment>,
    attempts: usize,
    outgoing: VecDeque<Bytes>,
    /// The inbox that was read last: the next one comes first.
    turn: Option<InboxId>,
    /// An attachment whose position is being asked for: whoever gives up this session meanwhile must not leave it behind.
    attaching: Option<(InboxId, AckRight)>,
    /// What the store was asked for and has not answered yet. It comes before all news.
    reading: Option<Reading>,
    /// The store could not be read: the client comes back later.
    is_broken: bool,
}

struct Reading {
    inbox: InboxId,
    answer: Answer<WaitingPage>,
}

struct Attachment {
    mailbox: Mailbox,
    right: AckRight,
    acked: u64,
    sent: u64,
    /// The last one that waited when this began, until *drained* has been said.
    drain_to: Option<u64>,
    window: Window,
    has_mail: bool,
}

/// What was sent and not acknowledged.
#[derive(Default)]
struct Window {
    deliveries: VecDeque<(u64, usize)>,
    bytes: usize,
}

impl Window {
    fn add(&mut self, sequence: u64, size: usize) {
        self.deliveries.push_back((sequence, size));
        self.bytes += size;
    }

    fn release(&mut self, sequence: u64) {
        while let Some((_, size)) = self.deliveries.pop_front_if(|(sent, _)| *sent <= sequence) {
            self.bytes -= size;
        }
    }

    /// Room for how many more, and how many bytes; `None` when the largest delivery would not fit.
    fn room(&self) -> Option<(usize, usize)> {
        let count = WINDOW_COUNT - self.deliveries.len().min(WINDOW_COUNT);
        let bytes = WINDOW_BYTES - self.bytes.min(WINDOW_BYTES);
        (count > 0 && bytes >= HEADER_BYTES_MAX + PAYLOAD_BYTES_MAX).then_some((count, bytes))
    }
}

impl StreamSession {
    pub(crate) fn new(relay: Arc<Relay>, challenge: [u8; 32], now: Timestamp) -> Self {
        let mut session = Self {
            challenge,
            mailbag: Arc::default(),
            attached: BTreeMap::new(),
            attempts: 0,
            outgoing: VecDeque::new(),
            turn: None,
            attaching: None,
            reading: None,
            is_broken: false,
            relay,
        };
        session.push(server_frame::Frame::Challenge(Challenge {
            relay: session.relay.name().as_str().to_owned(),
            challenge: Bytes::copy_from_slice(&challenge),
            now_ms: now.as_ms(),
        }));
        session
    }

    /// Takes one frame from the client.
    ///
    /// # Errors
    /// See [`StreamEnd`]: close the connection.
    pub async fn receive(&mut self, frame: &[u8]) -> Result<(), StreamEnd> {
        let frame: ClientFrame = decode::message(frame, CLIENT_FRAME_BYTES_MAX).map_err(|_| StreamEnd::BadFrame)?;
        match frame.frame {
            Some(client_frame::Frame::Attach(attach)) => self.attach(&attach).await,
            Some(client_frame::Frame::Ack(ack)) => self.acknowledge(&ack),
            None => Err(StreamEnd::BadFrame),
        }
    }

    /// The next frame for the client, once there is one; `None` when the connection must be closed.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.outgoing.pop_front() {
                return Some(frame);
            }
            if self.is_broken {
                return None;
            }
            if let Some(reading) = &mut self.reading {
                let (inbox, found) = (reading.inbox, (&mut reading.answer).await);
                self.reading = None;
                match found {
                    Ok(found) => self.deliver(inbox, found),
                    Err(_) => self.is_broken = true,
                }
                continue;
            }
            self.take_news();
            if !self.outgoing.is_empty() {
                continue;
            }
            match self.readable() {
                Some(inbox) => self.ask(inbox),
                None => self.mailbag.arrival().await,
            }
        }
    }

    /// Whether frames are ready to go out.
    #[must_use]
    pub fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether any inbox is attached here.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        !self.attached.is_empty()
    }

    /// Queues the relay's clock, to go out with a ping, and looks again whether mail waits.
    pub fn tick(&mut self, now: Timestamp) {
        for attachment in self.attached.values_mut() {
            attachment.has_mail = true;
        }
        self.push(server_frame::Frame::Tick(Tick { now_ms: now.as_ms() }));
    }

    async fn attach(&mut self, attach: &Attach) -> Result<(), StreamEnd> {
        self.attempts += 1;
        if self.attempts > ATTACH_ATTEMPTS_MAX {
            return Err(StreamEnd::TooManyAttempts);
        }
        let inbox = InboxId::try_from(attach.inbox.as_ref()).map_err(|_| StreamEnd::BadFrame)?;
        let has_room = self.attached.contains_key(&inbox) || self.attached.len() < ATTACHED_MAX;
        let attached = if has_room { self.try_attach(inbox, &attach.signature).await } else { Err(Denied::Refused) };
        match attached {
            Ok(()) => {}
            Err(Denied::Refused) => self.push(server_frame::Frame::Refused(Refused { inbox: inbox.into() })),
            // "Not now" is no "no": the client comes back.
            Err(_) => self.is_broken = true,
        }
        Ok(())
    }

    /// Attaches the inbox if the signature says so; one that is not there is checked too.
    async fn try_attach(&mut self, inbox: InboxId, signature: &[u8]) -> Result<(), Denied> {
        let owner = self.relay.store.owner(inbox).await?;
        let key = owner.map_or_else(nobodys_key, |owner| owner.key);
        let input = attach_signature_input(self.relay.name(), &self.challenge, &inbox);
        let is_signed = is_signed(&key, &input, signature);
        let Some(owner) = owner.filter(|_| is_signed) else { return Err(Denied::Refused) };
        // First the older attachment loses its right, here or elsewhere; then the position is asked for: it includes all that was
        // still valid.
        self.forget(&inbox);
        let right = self.relay.hub.attach(inbox, &self.mailbag);
        self.give_up_attaching();
        self.attaching = Some((inbox, right.clone()));
        let position = self.relay.store.position(owner.mailbox).await.and_then(|found| found.ok_or(Denied::Refused));
        let position = match position {
            Ok(position) => position,
            Err(denied) => {
                self.give_up_attaching();
                return Err(denied);
            }
        };
        self.attaching = None;
        let attachment = Attachment {
            mailbox: owner.mailbox,
            right,
            acked: position.acked,
            sent: position.acked,
            drain_to: Some(position.last),
            window: Window::default(),
            has_mail: true,
        };
        self.attached.insert(inbox, attachment);
        self.push(server_frame::Frame::Attached(Attached {
            inbox: inbox.into(),
            acked: position.acked,
            signature: position.ack_signature.map_or_else(Bytes::new, |signature| Bytes::copy_from_slice(&signature)),
            changes: position.changes,
        }));
        Ok(())
    }

    /// The signature is kept, and not verified: only who holds the owner key comes as far as this, and verifying would double what a
    /// message costs to drain. Of two who hold it, the one who signs falsely is not proven to the other, who is told of the number.
    fn acknowledge(&mut self, ack: &Ack) -> Result<(), StreamEnd> {
        let inbox = InboxId::try_from(ack.inbox.as_ref()).map_err(|_| StreamEnd::BadFrame)?;
        let delivered = self.attached.get_mut(&inbox).filter(|attachment| ack.sequence <= attachment.sent);
        let (Some(attachment), Ok(signature)) = (delivered, ack.signature.as_ref().try_into()) else {
            self.end(inbox, EndReason::BadAck);
            return Ok(());
        };
        if ack.sequence > attachment.acked {
            attachment.acked = ack.sequence;
            attachment.window.release(ack.sequence);
            attachment.right.exercise(|| self.relay.store.acknowledge(attachment.mailbox, ack.sequence, signature));
        }
        Ok(())
    }

    fn take_news(&mut self) {
        let news = self.mailbag.take();
        for inbox in news.mail {
            if let Some(attachment) = self.attached.get_mut(&inbox) {
                attachment.has_mail = true;
            }
        }
        self.deliver_fresh(news.fresh);
        for (inbox, reason) in news.ended {
            // Not when it was attached here again since.
            if self.attached.get(&inbox).is_some_and(|attachment| !attachment.right.holds()) {
                self.end(inbox, reason);
            }
        }
        for (inbox, delivery) in news.ephemeral {
            if self.attached.contains_key(&inbox) {
                self.push_deliveries(inbox, vec![delivery]);
            }
        }
    }

    /// New mail goes out as it is when it is exactly the next one and has room; else it is read from the store in its turn.
    fn deliver_fresh(&mut self, arrivals: Vec<Arrival>) {
        let mut frames: Vec<(InboxId, Vec<Delivery>)> = Vec::new();
        for Arrival { inbox, envelope } in arrivals {
            let Some(attachment) = self.attached.get_mut(&inbox) else { continue };
            let is_next = !attachment.has_mail && envelope.sequence == attachment.sent + 1;
            if !is_next || attachment.window.room().is_none() {
                // What was read meanwhile is not read again.
                attachment.has_mail |= envelope.sequence > attachment.sent;
                continue;
            }
            attachment.window.add(envelope.sequence, envelope.size());
            attachment.sent = envelope.sequence;
            match frames.last_mut() {
                Some((last, deliveries)) if *last == inbox => deliveries.push(delivery(envelope)),
                _ => frames.push((inbox, vec![delivery(envelope)])),
            }
        }
        for (inbox, deliveries) in frames {
            self.relay.metrics.delivered(deliveries.len());
            self.push_deliveries(inbox, deliveries);
        }
    }

    /// An inbox with mail and room in its window; each in its turn.
    fn readable(&self) -> Option<InboxId> {
        let is_readable = |(inbox, attachment): (&InboxId, &Attachment)| {
            (attachment.has_mail && attachment.window.room().is_some()).then_some(*inbox)
        };
        let after = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.attached.range((after, Bound::Unbounded));
        rest.find_map(is_readable).or_else(|| self.attached.iter().find_map(is_readable))
    }

    fn ask(&mut self, inbox: InboxId) {
        let Some(attachment) = self.attached.get(&inbox) else { return };
        let Some((count, bytes)) = attachment.window.room() else { return };
        let page = Page {
            after: attachment.sent,
            count_max: count.min(FRAME_COUNT_MAX),
            bytes_max: bytes.min(FRAME_BYTES_MAX),
        };
        self.reading = Some(Reading { inbox, answer: self.relay.store.waiting(attachment.mailbox, page) });
    }

    fn give_up_attaching(&mut self) {
        if let Some((inbox, right)) = self.attaching.take() {
            self.relay.hub.detach(&inbox, &right);
        }
    }

    /// Takes the inbox out, with what was asked for on its behalf.
    fn forget(&mut self, inbox: &InboxId) -> Option<Attachment> {
        self.reading.take_if(|reading| reading.inbox == *inbox);
        self.attached.remove(inbox)
    }

    fn deliver(&mut self, inbox: InboxId, found: WaitingPage) {
        self.turn = Some(inbox);
        let Some(attachment) = self.attached.get_mut(&inbox) else { return };
        attachment.has_mail = !found.is_end;
        for envelope in &found.envelopes {
            attachment.window.add(envelope.sequence, envelope.size());
            attachment.sent = envelope.sequence;
        }
        let sent = attachment.sent;
        let is_drained = attachment.drain_to.take_if(|last| found.is_end || sent >= *last).is_some();
        if !found.envelopes.is_empty() {
            self.relay.metrics.delivered(found.envelopes.len());
            self.push_deliveries(inbox, found.envelopes.into_iter().map(delivery).collect());
        }
        if is_drained {
            self.push(server_frame::Frame::Drained(Drained { inbox: inbox.into() }));
        }
    }

    fn end(&mut self, inbox: InboxId, reason: EndReason) {
        if let Some(attachment) = self.forget(&inbox) {
            self.relay.hub.detach(&inbox, &attachment.right);
        }
        self.push(server_frame::Frame::Ended(Ended { inbox: inbox.into(), reason: reason.into() }));
    }

    fn push_deliveries(&mut self, inbox: InboxId, deliveries: Vec<Delivery>) {
        self.push(server_frame::Frame::Deliveries(Deliveries { inbox: inbox.into(), deliveries }));
    }

    fn push(&mut self, frame: server_frame::Frame) {
        self.outgoing.push_back(ServerFrame { frame: Some(frame) }.encode_to_vec().into());
    }
}

impl Drop for StreamSession {
    fn drop(&mut self) {
        self.give_up_attaching();
        for (inbox, attachment) in &self.attached {
            self.relay.hub.detach(inbox, &attachment.right);
        }
    }
}

/// A stored envelope on its way out.
pub(crate) fn delivery(envelope: Waiting) -> Delivery {
    Delivery {
        sequence: envelope.sequence,
        alias: envelope.alias.0,
        envelope: envelope.envelope.into(),
        header: envelope.header,
        payload: envelope.payload,
        accepted_at_ms: envelope.accepted_at.as_ms(),
    }
}

/// A key that stands in for the owner of an inbox that is not there, so that refusing takes the same work.
fn nobodys_key() -> PublicKey {
    static KEY: OnceLock<PublicKey> = OnceLock::new();
    *KEY.get_or_init(|| SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, mpsc};

    use ed25519_dalek::Signer;
    use futures_util::FutureExt;
    use sotto_protocol::relay::Lifetime;
    use sotto_protocol::{Alias, EnvelopeId, RelayName, Token};

    use super::*;
    use crate::limits::{READER_QUEUE_MAX, READERS};
    use crate::relay::RelayConfig;
    use crate::store::{
        Caller, Creation, InboxKeys, Keep, MailboxStore, Payload, Put, PutOutcome, SqliteOptions, SqliteStore,
        StepFate, TokenGrant,
    };

    const NOW: Timestamp = Timestamp::from_ms(20_500 * 86_400_000);

    async fn with_mail(store: &SqliteStore, owner: &SigningKey, inbox: InboxId) {
        let key = owner.verifying_key().to_bytes();
        let caller = |nonce| Caller { key, time: NOW, nonce: [nonce; 16] };
        let keys = InboxKeys { owner: key, manage: key };
        store.create_inbox(caller(1), inbox, keys, Creation::Admitted).await.unwrap();
        let token = Token::from_bytes([3; 16]).hash();
        let grant = TokenGrant {
            hash: token,
            alias: Alias(1),
            expires_at: None,
            puts_per_claim: 0,
            queued_bytes_max: 0,
            claims_max: 0,
            one_time_keys_per_claim: 0,
        };
        store.put_tokens(caller(2), inbox, vec![grant]).await.unwrap();
        let put = Put {
            inbox,
            token,
            envelope: EnvelopeId::new(NOW, [4; 12]),
            header: Bytes::new(),
            payload: Payload { index: 0, bytes: Bytes::from_static(b"mail") },
            lifetime: Lifetime::Retention,
            claim: None,
            keep: Keep::Stored,
        };
        assert_eq!(store.put_envelopes(vec![put], NOW).await.unwrap(), [PutOutcome::Accepted]);
    }

    fn frame(frame: client_frame::Frame) -> Vec<u8> {
        ClientFrame { frame: Some(frame) }.encode_to_vec()
    }

    async fn next(session: &mut StreamSession) -> server_frame::Frame {
        ServerFrame::decode(session.next().await.unwrap()).unwrap().frame.unwrap()
    }

    /// A device that talks without end had the store read the same page for each of its frames, until the readers' queue was full
    /// for everybody.
    #[tokio::test]
    async fn frames_that_come_in_while_mail_is_read_do_not_have_it_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = SqliteOptions::file(directory.path().join("relay.sqlite"));
        let store = Arc::new(SqliteStore::open(file).unwrap());
        let (owner, inbox) = (SigningKey::from_bytes(&[5; 32]), InboxId::from_bytes([6; 16]));
        with_mail(&store, &owner, inbox).await;
        let name = RelayName::parse("relay.example", 443).unwrap();
        let relay = Relay::new(Arc::clone(&store) as Arc<_>, RelayConfig::open(name.clone()), NOW);
        let mut session = relay.open_stream([7; 32], NOW);
        next(&mut session).await;
        let signature = owner.sign(&attach_signature_input(&name, &[7; 32], &inbox)).to_bytes().to_vec().into();
        let attach = frame(client_frame::Frame::Attach(Attach { inbox: inbox.into(), signature }));
        session.receive(&attach).await.unwrap();
        assert!(matches!(next(&mut session).await, server_frame::Frame::Attached(_)));
        let mut waits = Vec::new();
        let held: Vec<mpsc::Sender<()>> = (0..READERS)
            .map(|_| {
                let (release, held) = mpsc::channel::<()>();
                waits.push(store.read(move |_| {
                    held.recv().ok();
                    Ok(Ok(()))
                }));
                release
            })
            .collect();
        let signature = Bytes::from_static(&[0; 64]);
        let ack = frame(client_frame::Frame::Ack(Ack { inbox: inbox.into(), sequence: 0, signature }));
        for _ in 0..=READER_QUEUE_MAX {
            assert!(session.next().now_or_never().is_none());
            session.receive(&ack).await.unwrap();
        }
        drop(held);
        assert!(matches!(next(&mut session).await, server_frame::Frame::Deliveries(_)));
    }

    #[tokio::test]
    async fn a_session_that_is_given_up_while_it_attaches_leaves_nothing_attached() {
        let directory = tempfile::tempdir().unwrap();
        let (release, held) = mpsc::channel::<()>();
        let (closed, held) = (Arc::new(AtomicBool::new(false)), Mutex::new(held));
        let is_closed = Arc::clone(&closed);
        let hook = move |_| {
            if is_closed.load(Ordering::SeqCst) {
                held.lock().unwrap().recv().ok();
            }
            StepFate::Run
        };
        let file = SqliteOptions::file(directory.path().join("relay.sqlite"));
        let store = Arc::new(SqliteStore::open(SqliteOptions { step_hook: Some(Arc::new(hook)), ..file }).unwrap());
        let (owner, inbox) = (SigningKey::from_bytes(&[5; 32]), InboxId::from_bytes([6; 16]));
        with_mail(&store, &owner, inbox).await;
        let name = RelayName::parse("relay.example", 443).unwrap();
        let relay = Relay::new(Arc::clone(&store) as Arc<_>, RelayConfig::open(name.clone()), NOW);
        let mut session = relay.open_stream([7; 32], NOW);
        let signature = owner.sign(&attach_signature_input(&name, &[7; 32], &inbox)).to_bytes().to_vec().into();
        let attach = frame(client_frame::Frame::Attach(Attach { inbox: inbox.into(), signature }));
        closed.store(true, Ordering::SeqCst);
        let mut receive = Box::pin(session.receive(&attach));
        while relay.attached_count() == 0 {
            assert!(futures_util::poll!(&mut receive).is_pending());
            tokio::task::yield_now().await;
        }
        drop(receive);
        drop(session);
        let left = relay.attached_count();
        drop(release);
        assert_eq!(left, 0);
    }
}
