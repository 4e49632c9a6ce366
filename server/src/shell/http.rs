//! HTTP around [`Relay::handle`]: headers in, body in, answer out.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::IntoResponse;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use sotto_protocol::limits::{BODY_BYTES_MAX, CHAIN_READ_BYTES_MAX, PAYLOAD_BYTES_MAX, PEEK_BYTES_MAX};
use sotto_protocol::request::{Authorization, VERSION_HEADER, path};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::connection::CallKind;
use super::guest::{Call, Guest};
use super::memory::Load;
use super::{now, websocket};
use crate::auth::Request;
use crate::limits::ANSWER_PIECE_BYTES;
use crate::problem::{Problem, Response};
use crate::relay::Relay;

type HttpRequest = http::Request<Incoming>;
type HttpResponse = http::Response<Body>;

/// What answers the calls of one connection.
pub(crate) fn service(
    guest: Arc<Guest>,
) -> impl Service<
    HttpRequest,
    Response = HttpResponse,
    Error = Infallible,
    Future = impl Future<Output = Result<HttpResponse, Infallible>> + Send + 'static,
> + Send {
    service_fn(move |request| {
        let guest = Arc::clone(&guest);
        async move { Ok(answer(request, &guest).await) }
    })
}

async fn answer(request: HttpRequest, guest: &Arc<Guest>) -> HttpResponse {
    let call = Call::begin(guest);
    let (parts, body) = request.into_parts();
    if parts.uri.path() == path::STREAM {
        return stream(parts, guest).await;
    }
    let load = Load::new(Arc::clone(guest));
    let response = match read_body(&parts, body, guest, &load).await {
        Ok(body) => {
            let request = into_request(parts, body);
            // The page about itself is nobody's.
            if request.path != path::WELL_KNOWN {
                guest.witness(kind(&request));
            }
            load.is_whole();
            guest.door.relay.handle(request, now()).await
        }
        Err(problem) => guest.door.relay.refuse(problem, now()),
    };
    load.is_answered(response.body.len());
    call.is_answered();
    into_http(response, |bytes| Body::new(Parcel { bytes, _held: (call, load) }))
}

/// Room for the answers that are large; the others fit into what their bodies took.
fn answer_bytes_max(path: &str) -> usize {
    match path {
        path::CHAIN_READ => CHAIN_READ_BYTES_MAX,
        path::INBOX_PEEK => PEEK_BYTES_MAX as usize + PAYLOAD_BYTES_MAX,
        _ => 0,
    }
}

/// Takes only what there is room for, as it comes in: what is announced and not sent costs nothing.
async fn read_body(parts: &Parts, mut body: Incoming, guest: &Guest, load: &Load) -> Result<bytes::Bytes, Problem> {
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(Problem::TooLarge);
    }
    let shed = |reason| {
        guest.door.relay.metrics.shed(reason);
        Problem::Unavailable
    };
    let read = async {
        let mut bytes = bytes::BytesMut::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            // The connection broke: nobody hears the answer.
            let Ok(frame) = frame else { return Err(Problem::BadRequest) };
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > BODY_BYTES_MAX {
                return Err(Problem::TooLarge);
            }
            if !load.add(data.len()) {
                return Err(shed("load"));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    };
    let body = timeout(guest.door.limits.body_timeout, read).await.unwrap_or_else(|_| {
        guest.door.relay.metrics.shed("body_timeout");
        Err(Problem::BadRequest)
    })?;
    if load.add(answer_bytes_max(parts.uri.path())) { Ok(body) } else { Err(shed("load")) }
}

/// An answer's body on its way. The call and its load live until the peer has taken the last piece: a peer that opens no window
/// keeps them, is counted for them, and loses its connection when its time is up.
struct Parcel {
    bytes: bytes::Bytes,
    _held: (Call, Load),
}

impl hyper::body::Body for Parcel {
    type Data = bytes::Bytes;
    type Error = Infallible;

    /// In pieces: HTTP/2 asks for one only when the peer has room, and holds what it was given whether or not all of it fits.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.bytes.len().min(ANSWER_PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

fn into_request(parts: Parts, body: bytes::Bytes) -> Request {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Request {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        version: parts.headers.get(VERSION_HEADER).map(text),
        authorization: parts.headers.get(AUTHORIZATION).map(text),
        has_cookie: parts.headers.contains_key(COOKIE),
        body,
    }
}

fn kind(request: &Request) -> CallKind {
    let authorization = request.authorization.as_deref().and_then(|header| header.parse::<Authorization>().ok());
    authorization.map_or(CallKind::Anonymous, |authorization| CallKind::Signed(authorization.key))
}

fn into_http(response: Response, body: impl FnOnce(bytes::Bytes) -> Body) -> HttpResponse {
    let mut answer = HttpResponse::new(body(response.body));
    *answer.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

async fn stream(mut parts: Parts, guest: &Arc<Guest>) -> HttpResponse {
    if parts.headers.contains_key(AUTHORIZATION) || parts.headers.contains_key(COOKIE) {
        return into_http(guest.door.relay.refuse(Problem::CredentialRefused, now()), Body::from);
    }
    let version = parts.headers.get(VERSION_HEADER).map(|value| String::from_utf8_lossy(value.as_bytes()));
    if let Err(problem) = guest.door.relay.check_version(version.as_deref()) {
        return into_http(guest.door.relay.refuse(problem, now()), Body::from);
    }
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => {
            guest.witness(CallKind::Stream);
            websocket::upgrade(upgrade, Arc::clone(guest))
        }
        Err(rejection) => rejection.into_response(),
    }
}

/// Answers `GET /metrics` until it is aborted; meant for an address that only the operator reaches.
pub(crate) async fn serve_metrics(listener: TcpListener, relay: Arc<Relay>) {
    // One at a time: there is one reader.
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let service = service_fn(|request: HttpRequest| {
            let is_known = request.uri().path() == "/metrics";
            let text = if is_known { relay.metrics().render() } else { String::new() };
            let mut response = HttpResponse::new(Body::from(text));
            if !is_known {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            async { Ok::<_, Infallible>(response) }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection(TokioIo::new(socket), service);
        drop(timeout(Duration::from_secs(10), connection).await);
    }
}
