//! Streams over real WebSockets.

use futures_util::SinkExt;
use sotto_protocol::relay::{EndReason, server_frame::Frame};
use sotto_protocol::request::path;
use tokio_tungstenite::tungstenite::Message as WsMessage;

use crate::support::{Device, Setup, TestServer, WsClient, is_accepted, post, read_answer};

#[tokio::test]
async fn mail_that_waits_and_mail_that_comes_is_delivered_and_acknowledged() {
    let server = TestServer::start(Setup::default()).await;
    let bob = Device::register(server.address).await;
    let mut socket = server.connect().await;
    assert!(is_accepted(&post(&mut socket, path::SEND, "", &bob.send(b"waits")).await.unwrap()));
    let mut stream = WsClient::open(server.address).await;
    stream.attach(&bob).await;
    assert_eq!(stream.drain().await.len(), 1);
    stream.ack(&bob, 1).await;
    assert!(is_accepted(&post(&mut socket, path::SEND, "", &bob.send(b"comes")).await.unwrap()));
    let Some(Frame::Deliveries(live)) = stream.frame().await else { panic!("a delivery comes next") };
    assert_eq!((live.deliveries[0].sequence, &live.deliveries[0].payload[..]), (2, &b"comes"[..]));
    let mut other = WsClient::open(server.address).await;
    other.attach(&bob).await;
    let Some(Frame::Ended(ended)) = stream.frame().await else { panic!("taken over") };
    assert!(ended.reason() == EndReason::TakenOver);
    assert_eq!(other.drain().await.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [2]);
    server.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_too_large_or_text_ends_the_stream_and_frees_the_inbox() {
    let server = TestServer::start(Setup::default()).await;
    let bob = Device::register(server.address).await;
    for bad in [
        WsMessage::Binary(vec![0; 5_000].into()),
        WsMessage::Text("hello".into()),
        WsMessage::Binary(vec![0xff; 9].into()),
    ] {
        let mut stream = WsClient::open(server.address).await;
        stream.attach(&bob).await;
        stream.drain().await;
        assert_eq!(server.relay.attached_count(), 1);
        stream.socket.send(bad).await.unwrap();
        while stream.frame().await.is_some() {}
        server.reaches("sotto_relay_streams 0").await;
        assert_eq!(server.relay.attached_count(), 0);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_with_a_credential_is_refused() {
    let server = TestServer::start(Setup::default()).await;
    for header in ["authorization: Sotto x\r\n", "cookie: a=b\r\n"] {
        let mut socket = server.connect().await;
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: relay\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{header}\r\n",
            path::STREAM
        );
        tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut socket).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (400, "credential_refused"));
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_compresses() {
    let server = TestServer::start(Setup::default()).await;
    let mut socket = server.connect().await;
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: relay\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n",
        path::STREAM
    );
    tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await.unwrap();
    let answer = read_answer(&mut socket).await.unwrap();
    assert_eq!(answer.status, 101);
    assert!(!answer.head.contains("extensions"));
    let mut socket = server.connect().await;
    let answer = post(&mut socket, path::SEND, "accept-encoding: gzip, br, zstd\r\n", b"").await.unwrap();
    assert!(!answer.head.contains("content-encoding"));
    server.stop().await;
}
