//! Stopping: nobody new, running calls and streams end in order, the log is emptied.

use std::time::Duration;

use futures_util::StreamExt;
use sotto_protocol::request::path;
use sotto_relay::limits::ShellLimits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::{Device, Setup, TestServer, WsClient, is_accepted, post, read_answer, read_to_close};

#[tokio::test]
async fn a_stream_is_told_that_the_relay_goes_away() {
    let server = TestServer::start(Setup::default()).await;
    let bob = Device::register(server.address).await;
    let mut stream = WsClient::open(server.address).await;
    stream.attach(&bob).await;
    stream.drain().await;
    let (stopping, _directory) = server.begin_stop();
    let Some(Ok(WsMessage::Close(Some(close)))) = stream.socket.next().await else { panic!("a farewell comes") };
    assert_eq!(close.code, CloseCode::Away);
    drop(stream);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_under_way_is_answered_and_nobody_new_is_let_in() {
    let server = TestServer::start(Setup::default()).await;
    let (bob, address) = (Device::register(server.address).await, server.address);
    let mut idle = server.connect().await;
    assert!(post(&mut idle, path::SEND, "", b"").await.is_some());
    let mut socket = server.connect().await;
    let body = bob.send(b"half of it comes later");
    let head = format!("POST {} HTTP/1.1\r\nhost: relay\r\ncontent-length: {}\r\n\r\n", path::SEND, body.len());
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&body[..10]).await.unwrap();
    // The idle connection being closed shows that stopping has begun; by then the call is being read.
    server.reaches("sotto_relay_connections 2").await;
    let (stopping, _directory) = server.begin_stop();
    read_to_close(&mut idle).await;
    assert!(TcpStream::connect(address).await.is_err());
    socket.write_all(&body[10..]).await.unwrap();
    assert!(is_accepted(&read_answer(&mut socket).await.unwrap()));
    drop(socket);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_end_does_not_keep_the_relay_from_stopping() {
    let limits = ShellLimits { drain_timeout: Duration::from_millis(50), ..ShellLimits::default() };
    let server = TestServer::start(Setup { limits, ..Setup::default() }).await;
    let mut socket = server.connect().await;
    socket.write_all(b"POST /v1/send HTTP/1.1\r\nhost: relay\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    server.reaches("sotto_relay_connections 1").await;
    server.stop().await;
}

#[tokio::test]
async fn stopping_empties_the_log() {
    let server = TestServer::start(Setup::default()).await;
    let bob = Device::register(server.address).await;
    let mut socket = server.connect().await;
    assert!(is_accepted(&post(&mut socket, path::SEND, "", &bob.send(b"x")).await.unwrap()));
    drop(socket);
    let log = server.directory.path().join("relay.sqlite-wal");
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    let (stopping, _directory) = server.begin_stop();
    stopping.await.unwrap();
    assert_eq!(std::fs::metadata(&log).map_or(0, |log| log.len()), 0);
}
