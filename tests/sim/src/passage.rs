//! The way from a device to a relay and back: calls and streams, in process, through whatever weather lies between.
//!
//! Where there is no weather a call is answered within the same instant and a stream hands over what its relay says at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sotto_core::world::{Answer, BoxFuture, Call, RelayStream, Transport, TransportError};
use sotto_protocol::relay::{ClientFrame, client_frame};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message as _, RelayAddress, RelayName, VersionGap};
use sotto_relay::{Relay, Request, Response, StreamSession};
use tokio::time::{Instant, sleep_until};

use crate::condition::Condition;
use crate::network::{Fate, Network, Traffic};
use crate::weather::Weather;

/// How long a device waits for an answer, as over sockets.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How long it waits for a connection, likewise.
const CONNECTING_MAX: Duration = Duration::from_secs(10);
/// Frames of a stream that are under way at once.
const UNDER_WAY_MAX: usize = 1024;

/// Somebody's way to all relays: a device's, or one that no weather touches.
pub(crate) struct InProcess {
    pub(crate) network: Network,
    pub(crate) device: Option<usize>,
}

impl InProcess {
    fn weather(&self, relay: &RelayName) -> Option<Condition<Weather>> {
        self.device.map(|device| self.network.weather(device, relay))
    }

    /// One way: it takes its time, or leads nowhere.
    async fn travel(&self, weather: Option<&Condition<Weather>>) -> Result<(), TransportError> {
        let Some(weather) = weather else { return Ok(()) };
        let now = weather.now();
        if now.is_cut {
            return Err(TransportError::Unreachable);
        }
        let (latency, is_lost) = self.network.roll(|chance| (now.latency(chance), now.loses(chance)));
        self.network.pass(latency).await;
        if is_lost || weather.now().is_cut {
            let (wait, error) = self.network.roll(Weather::loss);
            self.network.pass(wait).await;
            return Err(error);
        }
        Ok(())
    }

    /// The same call arrives again, when nobody waits for its answer any more.
    fn repeat_late(
        &self,
        name: &RelayName,
        relay: &Arc<Relay>,
        request: &Request,
        weather: Option<&Condition<Weather>>,
    ) {
        let Some(weather) = weather.map(Condition::now) else { return };
        let Some(delay) = self.network.roll(|chance| weather.repeats(chance)) else { return };
        let (network, name) = (self.network.clone(), name.clone());
        let (relay, request) = (Arc::clone(relay), copy(request));
        tokio::spawn(async move {
            network.pass(delay).await;
            let (path, body) = (request.path.clone(), request.body.clone());
            let response = relay.handle(request, network.relays_now()).await;
            network.answered(&name, &path, &body, &response.body);
            network.record(&[b"again", &response.body]);
        });
    }
}

fn copy(request: &Request) -> Request {
    Request {
        method: request.method.clone(),
        path: request.path.clone(),
        body: request.body.clone(),
        authorization: request.authorization.clone(),
        has_cookie: request.has_cookie,
        version: request.version.clone(),
    }
}

impl InProcess {
    /// A device does not wait for ever.
    async fn within<T>(
        &self,
        patience: Duration,
        passes: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        if self.device.is_none() {
            return passes.await;
        }
        tokio::time::timeout(patience, passes).await.unwrap_or(Err(TransportError::TimedOut))
    }
}

impl Transport for InProcess {
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, TransportError>> {
        let passes = async move {
            let weather = self.weather(call.relay.name());
            self.network.reach(&call.relay)?;
            self.travel(weather.as_ref()).await?;
            let (relay, is_down) = self.network.reach(&call.relay)?;
            let traffic = Traffic {
                relay: call.relay.name().clone(),
                isolation: call.isolation,
                path: call.path,
                signed: call.authorization.is_some(),
                body: call.body.clone(),
            };
            self.network.record(&[traffic.relay.to_string().as_bytes(), call.path.as_bytes(), &call.body]);
            let (body, answer_is_lost) = match self.network.judge(traffic) {
                Fate::Passes => (call.body, false),
                Fate::AnswerLost => (call.body, true),
                Fate::Late(delay) => {
                    self.network.pass(delay).await;
                    (call.body, false)
                }
                Fate::Becomes(body) => (body, false),
                Fate::Lost => return Err(TransportError::Unreachable),
                Fate::Answered(body) => return Ok(Answer { status: 200, body }),
                Fate::Fails(status, body) => return Ok(Answer { status, body }),
            };
            let request = Request {
                method: if call.path == path::WELL_KNOWN { "GET" } else { "POST" }.to_owned(),
                path: call.path.to_owned(),
                body,
                authorization: call.authorization,
                has_cookie: false,
                version: Some(sotto_protocol::PROTOCOL_VERSION.to_string()),
            };
            self.repeat_late(call.relay.name(), &relay, &request, weather.as_ref());
            let asked = request.body.clone();
            let Response { status, body, .. } = relay.handle(request, self.network.relays_now()).await;
            self.network.answered(call.relay.name(), call.path, &asked, &body);
            self.network.record(&[&status.to_le_bytes(), &body]);
            self.network.pass(self.network.answer_delay(call.path)).await;
            if answer_is_lost || is_down.now() {
                return Err(TransportError::Broken);
            }
            self.travel(weather.as_ref()).await?;
            Ok(Answer { status, body })
        };
        Box::pin(self.within(CALL_MAX, passes))
    }

    fn stream(&self, relay: &RelayAddress) -> BoxFuture<'_, Result<Box<dyn RelayStream>, TransportError>> {
        let relay = relay.clone();
        let opens = async move {
            let (name, weather) = (relay.name().clone(), self.weather(relay.name()));
            let (at, is_down) = self.network.reach(&relay)?;
            self.network.pass(self.network.stream_delay(&name)).await;
            self.travel(weather.as_ref()).await?;
            if at.check_version(Some(&sotto_protocol::PROTOCOL_VERSION.to_string())).is_err() {
                return Err(TransportError::Versions(VersionGap::OursIsOlder));
            }
            let mut challenge = [0; 32];
            self.network.fill(&mut challenge);
            let session = at.open_stream(challenge, self.network.relays_now());
            let network = self.network.clone();
            let (there, back) = (VecDeque::new(), VecDeque::new());
            Ok(Box::new(Stream { name, session, is_down, network, weather, there, back, is_lost: false }) as Box<_>)
        };
        Box::pin(self.within(CONNECTING_MAX, opens))
    }
}

fn is_ack(frame: &Bytes) -> bool {
    ClientFrame::decode(frame.clone()).is_ok_and(|frame| matches!(frame.frame, Some(client_frame::Frame::Ack(_))))
}

struct Stream {
    name: RelayName,
    session: StreamSession,
    is_down: Condition<bool>,
    network: Network,
    weather: Option<Condition<Weather>>,
    /// Frames to the relay, with when they arrive.
    there: VecDeque<(Instant, Bytes)>,
    /// Frames from it, likewise; `None`: it has closed.
    back: VecDeque<(Instant, Option<Bytes>)>,
    /// Something got lost: what comes behind it does too.
    is_lost: bool,
}

impl Stream {
    /// When something arrives that leaves now behind `last`; `None`: it gets lost.
    fn arrival(&self, last: Option<Instant>) -> Option<Instant> {
        let weather = self.weather.as_ref().map(Condition::now).unwrap_or_default();
        let (latency, is_lost) = self.network.roll(|chance| (weather.latency(chance), weather.loses(chance)));
        let at = Instant::now() + latency;
        (!is_lost).then(|| last.map_or(at, |last| last.max(at)))
    }

    fn has_weather(&self) -> bool {
        let is_calm = |weather: &Condition<Weather>| weather.now() == Weather::default();
        self.weather.as_ref().is_some_and(|weather| !is_calm(weather))
            || !self.there.is_empty()
            || !self.back.is_empty()
    }

    fn said(&self, frame: Bytes) -> Bytes {
        let frame = self.network.said(&self.name, frame);
        self.network.record(&[self.name.to_string().as_bytes(), b"says", &frame]);
        frame
    }

    /// The next frame, or what becomes of the connection.
    async fn step(&mut self) -> Stepped {
        let has_weather = self.has_weather();
        let (there, back) = (self.there.front().map(|(at, _)| *at), self.back.front().map(|(at, _)| *at));
        let is_full = self.back.len() >= UNDER_WAY_MAX || matches!(self.back.back(), Some((_, None)));
        tokio::select! {
            biased;
            () = self.is_down.until(|is_down| is_down) => Stepped::Broken,
            () = is_cut(self.weather.as_ref()) => Stepped::Broken,
            () = until(there), if there.is_some() => {
                let Some((_, frame)) = self.there.pop_front() else { return Stepped::Moved };
                match self.session.receive(&frame).await {
                    Ok(()) => Stepped::Moved,
                    Err(_) => Stepped::Broken,
                }
            }
            () = until(back), if back.is_some() => Stepped::Arrived(self.back.pop_front().and_then(|(_, frame)| frame)),
            frame = self.session.next(), if !is_full => {
                if !has_weather {
                    return Stepped::Arrived(frame);
                }
                match self.arrival(self.back.back().map(|(at, _)| *at)) {
                    Some(at) => {
                        self.back.push_back((at, frame));
                        Stepped::Moved
                    }
                    None => Stepped::Broken,
                }
            }
        }
    }
}

enum Stepped {
    Moved,
    Arrived(Option<Bytes>),
    Broken,
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn is_cut(weather: Option<&Condition<Weather>>) {
    match weather {
        Some(weather) => weather.until(|weather| weather.is_cut).await,
        None => std::future::pending().await,
    }
}

impl RelayStream for Stream {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), TransportError>> {
        Box::pin(async move {
            if self.is_down.now() || self.is_lost {
                return Err(TransportError::Broken);
            }
            self.network.record(&[self.name.to_string().as_bytes(), b"hears", &frame]);
            if self.network.are_acks_lost() && is_ack(&frame) {
                return Ok(());
            }
            if self.has_weather() {
                match self.arrival(self.there.back().map(|(at, _)| *at)) {
                    Some(at) => self.there.push_back((at, frame)),
                    // It left, as far as the device knows.
                    None => self.is_lost = true,
                }
                return Ok(());
            }
            self.session.receive(&frame).await.map_err(|_| TransportError::Broken)
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, TransportError>>> {
        Box::pin(async move {
            loop {
                if self.is_lost {
                    return Some(Err(TransportError::Broken));
                }
                match self.step().await {
                    Stepped::Moved => {}
                    Stepped::Arrived(frame) => return frame.map(|frame| Ok(self.said(frame))),
                    Stepped::Broken => {
                        self.is_lost = true;
                        return Some(Err(TransportError::Broken));
                    }
                }
            }
        })
    }
}
