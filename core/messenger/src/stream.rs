//! The stream client: one connection per own relay, all our inboxes there attached.
//!
//! Deliveries that are at hand together become one batch and one transaction; the acknowledgement leaves after its commit. When a
//! batch fails because this device is in trouble nothing is acknowledged, the connection ends, and the same deliveries come again.
//! What the relay shows was acknowledged is the second witness against a restored database (PROTOCOL H1): our own signature over a number
//! above every one that we know to have acknowledged means that another copy of this profile has lived. A relay that claims so much and
//! has no such signature is at fault itself: that is shown, and its mail goes on coming.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use rusqlite::params;
use sotto_protocol::limits::{SEQUENCE_MAX, SERVER_FRAME_BYTES_MAX, WINDOW_BYTES};
use sotto_protocol::relay::{self, client_frame, server_frame};
use sotto_protocol::{Bytes, InboxId, Message, RelayAddress, RelayName, Timestamp, decode};
use tokio::task::JoinSet;

use crate::engine::Engine;
use crate::error::Error;
use crate::forgetful::{self, Memory};
use crate::outbox::again;
use crate::outbox::backoff::Backoff;
use crate::outbox::reach::Place;
use crate::own::{Own, OwnInbox};
use crate::relay_client::{Problem, RelayError};
use crate::status::Doing;
use crate::store::column::ms;
use crate::store::{Query, StoreError, Tx};
use crate::watched::Watcher;
use crate::witness::Word;
use crate::world::{BoxFuture, RelayStream, TransportError};
use crate::{live, rebirth, receive, second_copy};

/// A relay reads the next deliveries of its queue in well under a millisecond; a phone notices nothing of this wait.
const AT_ONCE: Duration = Duration::from_millis(5);
/// Deliveries in one transaction: a few tens of milliseconds, so that nothing else waits for long.
const BATCH_COUNT: usize = 256;
/// Relays say something every 270 seconds at the latest.
const SILENCE_MAX: Duration = Duration::from_secs(330);
/// How long a relay may take to say what it remembers of us, whatever else it says meanwhile: as long as it gives us for that.
const ATTACH_MAX: Duration = Duration::from_secs(30);
/// After another copy of this profile took the inbox over there is no use in taking it back at once.
const AFTER_TAKEOVER: Duration = Duration::from_secs(60);
/// A connection that has worked for so long shows that its relay is well: the next loss starts from the shortest wait. One that is lost
/// sooner does not, or a relay that takes and drops us would be called, and everybody who waits for a network woken, each second.
const STEADY: Duration = Duration::from_secs(60);

/// Keeps a stream up to every relay where we have an inbox.
pub(crate) async fn run_all(engine: Arc<Engine>) {
    let mut changes = engine.own_changes();
    let (mut streams, mut running) = (JoinSet::new(), BTreeMap::new());
    while !engine.is_rolled_back() {
        let own = changes.see(Arc::clone);
        for relay in own.inboxes.iter().map(|inbox| inbox.relay.clone()) {
            running
                .entry(relay)
                .or_insert_with_key(|relay| streams.spawn(run(Arc::clone(&engine), relay.clone())).id());
        }
        tokio::select! {
            biased;
            Some(ended) = streams.join_next_with_id() => {
                let id = match ended {
                    Ok((id, ())) => id,
                    Err(error) => error.id(),
                };
                running.retain(|_, running| *running != id);
            }
            () = changes.changed() => {}
        }
    }
}

/// Keeps a relay's stream up for as long as we have an inbox there.
async fn run(engine: Arc<Engine>, relay: RelayAddress) {
    let mut backoff = Backoff::default();
    let mut hint = engine.hints();
    let mut drained_at = None;
    while engine.own().inboxes_at(&relay).next().is_some() {
        engine.status.working(Doing::Stream(relay.clone()));
        let ended = live(&engine, &relay, &mut drained_at).await;
        if drained_at.take().is_some_and(|since| engine.clock.instant().duration_since(since) >= STEADY) {
            backoff.reset();
        }
        let error = match ended {
            Ok(End::OtherInboxes) => continue,
            Ok(End::Closed) => Error::from(RelayError::Transport(TransportError::Broken)),
            Err(error) => error,
        };
        let fails = || engine.status.failed(Doing::Stream(relay.clone()), error.code());
        if engine.is_rolled_back() {
            return fails();
        }
        // Why it refuses us is looked into before anybody who waits is told that it does.
        match &error {
            Error::Relay(error) if error.is_refusal() => match rebirth::is_replaced(&engine).await {
                Ok(true) => {
                    engine.declare_replaced().await;
                    return fails();
                }
                // It says nothing of us, or that cannot be known yet.
                Err(Error::Relay(error)) if !error.is_refusal() => engine.witness.failed(&relay),
                Ok(false) | Err(_) => {
                    engine.witness.refused(&relay);
                    made_again(&engine, &relay, error).await;
                }
            },
            _ => engine.witness.failed(&relay),
        }
        fails();
        let wait = backoff.failed(error.retry_after(), &engine.chance());
        if engine.wait_or_hint(wait, &mut hint).await {
            backoff.reset();
        }
    }
    engine.status.ended(Doing::Stream(relay.clone()));
    engine.witness.forget(&relay);
}

/// A relay has refused us: the inbox may be gone there.
async fn made_again(engine: &Arc<Engine>, relay: &RelayAddress, error: &RelayError) {
    if !error.is("refused") {
        return;
    }
    if let Err(error) = forgetful::make_again(engine, relay).await {
        tracing::debug!(code = error.code(), "an inbox could not be made again");
    }
}

/// One connection, until it ends.
async fn live(engine: &Arc<Engine>, relay: &RelayAddress, drained_at: &mut Option<Instant>) -> Result<End, Error> {
    let mut own_changes = engine.own_changes();
    let own = own_changes.see(Arc::clone);
    let mut connection = Connection {
        engine,
        relay,
        own_changes,
        stream: engine.client.transport().stream(relay).await.map_err(RelayError::from)?,
        attach_over: engine.clock.sleep(ATTACH_MAX),
        not_attached: own.inboxes_at(relay).map(|own| own.row).collect(),
        not_drained: 0,
        counted: BTreeMap::new(),
        own,
    };
    connection.attach().await?;
    let mut at_hand = None;
    loop {
        let frame = match at_hand.take() {
            Some(frame) => frame,
            None => match connection.next_or_end().await? {
                Ok(frame) => frame,
                Err(end) => return Ok(end),
            },
        };
        at_hand = connection.take(frame).await?;
        if connection.not_drained == 0 {
            drained_at.get_or_insert_with(|| engine.clock.instant());
        }
    }
}

/// Why a connection ended that did not fail.
enum End {
    /// Its relay closed it.
    Closed,
    /// We have other inboxes there now.
    OtherInboxes,
}

struct Connection<'a> {
    engine: &'a Arc<Engine>,
    relay: &'a RelayAddress,
    /// As it was when the connection began.
    own: Arc<Own>,
    own_changes: Watcher<Arc<Own>>,
    stream: Box<dyn RelayStream>,
    attach_over: BoxFuture<'static, ()>,
    /// How many changes of our inboxes relays were known to have counted when this one was asked.
    counted: BTreeMap<i64, u64>,
    /// Rows of inboxes of which the relay has not said what it remembers.
    not_attached: BTreeSet<i64>,
    not_drained: usize,
}

impl<'a> Connection<'a> {
    /// Answers the challenge for every inbox of ours at this relay.
    async fn attach(&mut self) -> Result<(), Error> {
        let Ok(frame) = self.next_or_end().await? else {
            return Err(RelayError::Transport(TransportError::Broken).into());
        };
        let Some(server_frame::Frame::Challenge(challenge)) = read_frame(frame)? else {
            return Err(RelayError::Malformed.into());
        };
        let name = self.relay.name().clone();
        // Signed for the name that we know, whatever the relay says it is called.
        let bytes = challenge.challenge.as_ref().try_into().map_err(|_| RelayError::Malformed)?;
        self.engine.client.learn_clock(&name, Timestamp::from_ms(challenge.now_ms));
        let attaches: Vec<relay::Attach> =
            self.own.inboxes_at(self.relay).map(|own| attach(own, &name, &bytes)).collect();
        self.not_drained = attaches.len();
        self.engine.status.ended(Doing::Witness(self.relay.clone()));
        self.engine.status.is_well(self.relay);
        self.counted = self.engine.read(|_, view| forgetful::counted(view)).await?;
        for attach in attaches {
            self.send(client_frame::Frame::Attach(attach)).await?;
        }
        Ok(())
    }

    /// The next frame, or why there is none. A connection that is silent for longer than its relay's pings are apart is dead.
    async fn next_or_end(&mut self) -> Result<Result<Bytes, End>, Error> {
        loop {
            tokio::select! {
                biased;
                () = self.own_changes.changed() => {
                    let now = self.own_changes.see(Arc::clone);
                    if rows_at(&now, self.relay) != rows_at(&self.own, self.relay) {
                        return Ok(Err(End::OtherInboxes));
                    }
                }
                frame = self.stream.next() => return Ok(frame.transpose().map_err(RelayError::from)?.ok_or(End::Closed)),
                () = &mut self.attach_over, if !self.not_attached.is_empty() => {
                    return Err(RelayError::Transport(TransportError::TimedOut).into());
                }
                () = self.engine.clock.sleep(SILENCE_MAX) => {
                    return Err(RelayError::Transport(TransportError::TimedOut).into());
                }
            }
        }
    }

    async fn send(&mut self, frame: client_frame::Frame) -> Result<(), Error> {
        let frame = relay::ClientFrame { frame: Some(frame) }.encode_to_vec().into();
        Ok(self.stream.send(frame).await.map_err(RelayError::from)?)
    }

    /// Heeds a frame. Returns another one that was read and is not heeded yet.
    async fn take(&mut self, frame: Bytes) -> Result<Option<Bytes>, Error> {
        match read_frame(frame)? {
            Some(server_frame::Frame::Deliveries(deliveries)) => {
                self.attached_own(&deliveries.inbox)?;
                // What a copy took would be lost to the one that goes on.
                self.engine.witness.is_complete().await;
                return self.deliveries(deliveries).await;
            }
            Some(server_frame::Frame::Attached(attached)) => self.attached(&attached).await?,
            Some(server_frame::Frame::Drained(drained)) => self.drained(&drained).await?,
            Some(server_frame::Frame::Refused(_)) => return Err(RelayError::Refused(problem("refused")).into()),
            Some(server_frame::Frame::Ended(ended)) => {
                let code = match ended.reason() {
                    relay::EndReason::TakenOver => "taken_over",
                    relay::EndReason::Deleted => "inbox_deleted",
                    relay::EndReason::BadAck | relay::EndReason::Unspecified => "attachment_ended",
                };
                let retry_after_ms = u64::try_from(AFTER_TAKEOVER.as_millis()).ok();
                return Err(RelayError::Refused(Problem { retry_after_ms, ..problem(code) }).into());
            }
            Some(server_frame::Frame::Tick(tick)) => {
                self.engine.client.learn_clock(self.relay.name(), Timestamp::from_ms(tick.now_ms));
            }
            // A frame of the future, or a second challenge: nothing to do.
            Some(server_frame::Frame::Challenge(_)) | None => {}
        }
        Ok(None)
    }

    async fn attached(&mut self, attached: &relay::Attached) -> Result<(), Error> {
        let own = self.own(&attached.inbox)?;
        let row = own.row;
        let memory = Memory { acked: attached.acked, changes: attached.changes };
        let known = self.engine.read(move |_, view| -> Result<_, StoreError> {
            Ok((acknowledged(view, row)?, forgetful::is_news(view, row, memory)?))
        });
        let (cursor, is_news) = known.await?;
        // More calls than we know of: their answers were lost. Less: so was our last acknowledgement, or the relay came back from an older copy, or
        // from nothing. What it delivers again is known by what it says. The cursor stays: the relay may still hold our word for it.
        if is_news {
            self.heed_memory(&own, memory).await?;
        }
        if attached.acked > cursor {
            let name = self.relay.name();
            if own.owner_key.has_acknowledged(name, &own.inbox, attached.acked, &attached.signature) {
                self.engine.declare_rolled_back().await;
                return Err(Error::RolledBack);
            }
            tracing::warn!("a relay claims that more was acknowledged than it can prove");
            self.engine.status.failed(Doing::Witness(self.relay.clone()), Error::from(RelayError::Unproven).code());
        }
        self.not_attached.remove(&row);
        if self.not_attached.is_empty() {
            let is_first = self.engine.witness.word_of(self.relay) != Word::Spoken;
            if is_first && second_copy::is_shown_by(self.engine, self.relay).await? {
                self.engine.declare_rolled_back().await;
                return Err(Error::RolledBack);
            }
            again::has_taken(self.engine, Place::Relay(self.relay.clone())).await?;
            self.engine.heard_of(self.relay);
        }
        Ok(())
    }

    /// What the relay remembers is not what we know that it did.
    async fn heed_memory(&mut self, own: &OwnInbox, memory: Memory) -> Result<(), Error> {
        let (inbox, counted) = (own.clone(), self.counted.get(&own.row).copied().unwrap_or_default());
        if self.engine.write(move |engine, tx| forgetful::heed_memory(engine, tx, &inbox, counted, memory)).await? {
            forgetful::is_told_again(self.engine, self.relay);
        }
        Ok(())
    }

    /// Takes these and whatever else has arrived meanwhile.
    async fn deliveries(&mut self, first: relay::Deliveries) -> Result<Option<Bytes>, Error> {
        let own = self.own(&first.inbox)?;
        let inbox = first.inbox.clone();
        let mut deliveries = first.deliveries;
        let mut size = bytes(&deliveries);
        let mut next = None;
        while deliveries.len() < BATCH_COUNT && size < WINDOW_BYTES {
            let Some(Ok(frame)) = self.at_hand().await else { break };
            match read_frame(frame.clone())? {
                Some(server_frame::Frame::Deliveries(more)) if more.inbox == inbox => {
                    size += bytes(&more.deliveries);
                    deliveries.extend(more.deliveries);
                }
                _ => {
                    next = Some(frame);
                    break;
                }
            }
        }
        // What has no number is not acknowledged and holds for a moment only: whatever it is, nothing is stored of it.
        let (fleeting, deliveries): (Vec<_>, Vec<_>) =
            deliveries.into_iter().partition(|delivery| delivery.sequence == 0);
        if !deliveries.is_empty() {
            self.letters(&own, inbox, deliveries).await?;
        }
        if !fleeting.is_empty() {
            live::hear(self.engine, own.row, fleeting).await;
        }
        Ok(next)
    }

    /// Takes these in one transaction, then acknowledges.
    async fn letters(&mut self, own: &OwnInbox, inbox: Bytes, deliveries: Vec<relay::Delivery>) -> Result<(), Error> {
        let last = deliveries.iter().map(|delivery| delivery.sequence).max().unwrap_or(0);
        if last > SEQUENCE_MAX {
            // Our signature under a number that our cursor cannot hold would look like another copy's for ever.
            return Err(RelayError::Malformed.into());
        }
        match take_deliveries(self.engine, own.row, deliveries.clone()).await {
            // One of them may be what this device cannot deal with: the others are not held up by it.
            Err(Error::Store(StoreError::Corrupt | StoreError::Failed)) => {
                for delivery in deliveries {
                    take_or_set_aside(self.engine, own.row, delivery).await?;
                }
            }
            taken => taken?,
        }
        let signature = Bytes::copy_from_slice(&own.owner_key.acknowledge(self.relay.name(), &own.inbox, last));
        self.send(client_frame::Frame::Ack(relay::Ack { inbox, sequence: last, signature })).await?;
        Ok(())
    }

    /// The next frame if it is there, or comes at once while the relay still empties its queue: a fuller batch is a cheaper one.
    async fn at_hand(&mut self) -> Option<Result<Bytes, TransportError>> {
        let next = self.stream.next();
        if self.not_drained == 0 {
            return next.now_or_never()?;
        }
        tokio::select! {
            biased;
            frame = next => frame,
            () = self.engine.clock.sleep(AT_ONCE) => None,
        }
    }

    async fn drained(&mut self, drained: &relay::Drained) -> Result<(), Error> {
        let own = self.attached_own(&drained.inbox)?.row;
        // Keys are erased by it: a relay with a wild clock must not hurry that.
        if let Some(now) = self.engine.sure_now() {
            self.engine
                .write(move |_, tx| {
                    tx.execute("UPDATE own_inbox SET drained_at = ?2 WHERE id = ?1", params![own, ms(now)])
                        .map(drop)
                        .map_err(Error::from)
                })
                .await?;
        }
        self.not_drained = self.not_drained.saturating_sub(1);
        if self.not_drained == 0 {
            // In this order: whoever sees it drained waits for what is due since the relay told its time.
            self.engine.look_after();
            self.engine.status.drained(self.relay);
        }
        Ok(())
    }

    /// An inbox of ours of which the relay has said what it remembers: before that it has nothing else to say of it.
    fn attached_own(&self, inbox: &[u8]) -> Result<OwnInbox, Error> {
        let own = self.own(inbox)?;
        if self.not_attached.contains(&own.row) { Err(RelayError::Malformed.into()) } else { Ok(own) }
    }

    fn own(&self, inbox: &[u8]) -> Result<OwnInbox, Error> {
        let own = InboxId::try_from(inbox).ok().and_then(|inbox| self.own.inbox(&inbox));
        own.cloned().ok_or(RelayError::Malformed.into())
    }
}

fn rows_at(own: &Own, relay: &RelayAddress) -> Vec<i64> {
    own.inboxes_at(relay).map(|own| own.row).collect()
}

async fn take_deliveries(engine: &Arc<Engine>, own_inbox: i64, deliveries: Vec<relay::Delivery>) -> Result<(), Error> {
    let receive = move |engine: &Engine, tx: &mut Tx<'_>| -> Result<_, Error> {
        engine.refuse_if_rolled_back()?;
        Ok(receive::receive(tx, &engine.own(), own_inbox, &deliveries, engine.times(), &mut engine.chance())?)
    };
    let received = engine.write_then(receive, Engine::after_receive).await?;
    live::messages_came(engine, &received.messages).await;
    Ok(())
}

/// A delivery by itself. Where that fails, and the database works all the same, it is counted and let go: it is not confirmed, so its
/// sender keeps it, and is asked for it.
async fn take_or_set_aside(engine: &Arc<Engine>, own_inbox: i64, delivery: relay::Delivery) -> Result<(), Error> {
    let sequence = delivery.sequence;
    match take_deliveries(engine, own_inbox, vec![delivery]).await {
        Err(Error::Store(StoreError::Corrupt | StoreError::Failed)) => {
            tracing::error!("an envelope could not be dealt with");
            engine.write(move |_, tx| Ok(receive::set_aside(tx, own_inbox, sequence)?)).await
        }
        taken => taken,
    }
}

fn attach(own: &OwnInbox, relay: &RelayName, challenge: &[u8; 32]) -> relay::Attach {
    let signature = own.owner_key.attach(relay, challenge, &own.inbox);
    relay::Attach { inbox: own.inbox.into(), signature: Bytes::copy_from_slice(&signature) }
}

fn read_frame(frame: Bytes) -> Result<Option<server_frame::Frame>, Error> {
    let frame: relay::ServerFrame = decode::shared(frame, SERVER_FRAME_BYTES_MAX).map_err(|_| RelayError::Malformed)?;
    Ok(frame.frame)
}

fn bytes(deliveries: &[relay::Delivery]) -> usize {
    deliveries.iter().map(|delivery| delivery.header.len() + delivery.payload.len()).sum()
}

fn problem(code: &str) -> Problem {
    Problem { code: code.to_owned(), ..Default::default() }
}

/// The highest number that we ever acknowledged in an inbox.
fn acknowledged(view: &impl Query, own_inbox: i64) -> Result<u64, StoreError> {
    let found = view.one("SELECT cursor FROM own_inbox WHERE id = ?1", [own_inbox], |row| row.get(0))?;
    found.map(crate::store::column::counter).ok_or(StoreError::Corrupt)
}
