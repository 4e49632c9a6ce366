//! A WebSocket around a [`StreamSession`]: frames in, frames out, pings in between.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use sotto_protocol::limits::CLIENT_FRAME_BYTES_MAX;
use tokio::time::{Instant, sleep_until, timeout};

use super::guest::Guest;
use super::now;
use crate::limits::{WEBSOCKET_READ_BUFFER, WEBSOCKET_WRITE_BUFFER};
use crate::stream::StreamSession;

pub(crate) fn upgrade(upgrade: WebSocketUpgrade, guest: Arc<Guest>) -> Response {
    guest.become_stream();
    upgrade
        .read_buffer_size(WEBSOCKET_READ_BUFFER)
        .write_buffer_size(WEBSOCKET_WRITE_BUFFER)
        .max_frame_size(CLIENT_FRAME_BYTES_MAX)
        .max_message_size(CLIENT_FRAME_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            guest.door.relay.metrics.streams().inc();
            drive(socket, &guest).await;
            guest.door.relay.metrics.streams().dec();
        })
}

/// Why a stream ended.
enum End {
    /// The peer went, or cannot be heard any more.
    Gone,
    /// It did not read what was sent, or did nothing at all.
    Shed(&'static str),
    /// It broke the protocol.
    Protocol,
    /// The relay stops, or cannot read its store.
    Away,
}

async fn drive(mut socket: WebSocket, guest: &Guest) {
    let challenge: [u8; 32] = rand::random();
    let mut session = guest.door.relay.open_stream(challenge, now());
    let end = exchange(&mut socket, &mut session, guest).await;
    // The inboxes are free for the next connection before this one has been taken leave of.
    drop(session);
    let code = match end {
        End::Gone => return,
        End::Shed(reason) => return guest.door.relay.metrics.shed(reason),
        End::Protocol => close_code::PROTOCOL,
        End::Away => close_code::AWAY,
    };
    let farewell = Message::Close(Some(CloseFrame { code, reason: "".into() }));
    drop(timeout(guest.door.limits.write_timeout, socket.send(farewell)).await);
}

async fn exchange(socket: &mut WebSocket, session: &mut StreamSession, guest: &Guest) -> End {
    let limits = &guest.door.limits;
    let mut attach_by = None;
    let mut ping_at = Instant::now() + limits.ping_interval;
    let mut was_heard = true;
    loop {
        guest.set_attached(session.is_attached());
        // Also once the last inbox was taken over.
        attach_by = match session.is_attached() {
            true => None,
            false => attach_by.or_else(|| Some(Instant::now() + limits.attach_timeout)),
        };
        tokio::select! {
            biased;
            () = guest.door.drain.begun() => return End::Away,
            () = sleep_until(attach_by.unwrap_or(ping_at)), if attach_by.is_some() => return End::Shed("attach_timeout"),
            // Before what may come without end; after what is ready, so that it cannot pile up.
            message = socket.recv(), if !session.has_outgoing() => {
                was_heard = true;
                match message {
                    Some(Ok(Message::Binary(frame))) => {
                        if session.receive(&frame).await.is_err() {
                            return End::Protocol;
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Text(_))) => return End::Protocol,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
                }
            }
            frame = session.next() => {
                let Some(frame) = frame else { return End::Away };
                if let Err(end) = send(socket, Message::Binary(frame), limits.write_timeout).await {
                    return end;
                }
            }
            () = sleep_until(ping_at) => {
                if !was_heard {
                    return End::Gone;
                }
                was_heard = false;
                ping_at = Instant::now() + limits.ping_interval;
                session.tick(now());
                if let Err(end) = send(socket, Message::Ping(Bytes::new()), limits.write_timeout).await {
                    return end;
                }
            }
        }
    }
}

async fn send(socket: &mut WebSocket, message: Message, patience: Duration) -> Result<(), End> {
    match timeout(patience, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Shed("slow_reader")),
    }
}
