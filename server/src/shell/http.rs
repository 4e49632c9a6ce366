//! HTTP around [`Relay::handle`]: headers in, body in, answer out.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::IntoResponse;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use sotto_protocol::limits::BODY_BYTES_MAX;
use sotto_protocol::request::{Authorization, VERSION_HEADER, path};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::connection::{CallKind, Guest};
use super::{now, websocket};
use crate::auth::Request;
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
        async move {
            let call = Call::begin(&guest);
            let response = answer(request, &guest).await;
            drop(call);
            Ok(response)
        }
    })
}

/// A call in flight, also when its future is dropped halfway.
struct Call<'a>(&'a Guest);

impl<'a> Call<'a> {
    fn begin(guest: &'a Guest) -> Self {
        guest.call_begins();
        Self(guest)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.call_ends();
    }
}

async fn answer(request: HttpRequest, guest: &Arc<Guest>) -> HttpResponse {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == path::STREAM {
        return stream(parts, guest).await;
    }
    let response = match read_body(&parts, body, guest).await {
        Ok(body) => {
            let request = into_request(parts, body);
            guest.witness(kind(&request));
            guest.door.relay.handle(request, now()).await
        }
        Err(problem) => problem.response(now()),
    };
    into_http(response)
}

async fn read_body(parts: &Parts, body: Incoming, guest: &Guest) -> Result<bytes::Bytes, Problem> {
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(Problem::TooLarge);
    }
    match timeout(guest.door.limits.body_timeout, to_bytes(Body::new(body), BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        // Longer than allowed, or the connection broke: nobody hears the difference then.
        Ok(Err(_)) => Err(Problem::TooLarge),
        Err(_) => {
            guest.door.relay.metrics.shed("body_timeout");
            Err(Problem::BadRequest)
        }
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

fn into_http(response: Response) -> HttpResponse {
    let mut answer = HttpResponse::new(Body::from(response.body));
    *answer.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

async fn stream(mut parts: Parts, guest: &Arc<Guest>) -> HttpResponse {
    if parts.headers.contains_key(AUTHORIZATION) || parts.headers.contains_key(COOKIE) {
        return into_http(Problem::CredentialRefused.response(now()));
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
    while let Ok((socket, _)) = listener.accept().await {
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
        drop(timeout(std::time::Duration::from_secs(10), connection).await);
    }
}
