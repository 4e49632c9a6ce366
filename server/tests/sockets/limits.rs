//! What one peer may take is bounded, and the relay goes on for the others.

use std::time::Duration;

use sotto_protocol::request::path;
use sotto_relay::limits::ShellLimits;
use tokio::io::AsyncWriteExt;

use crate::support::{Device, Setup, TestServer, WsClient, is_accepted, post, read_answer, read_to_close};

const SHORT: Duration = Duration::from_millis(50);

async fn server(change: impl FnOnce(&mut ShellLimits)) -> TestServer {
    let mut limits = ShellLimits::default();
    change(&mut limits);
    TestServer::start(Setup { limits, ..Setup::default() }).await
}

/// The relay still answers others.
async fn assert_serves(server: &TestServer) {
    let answer = post(&mut server.connect().await, path::SEND, "", b"").await.unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let server = server(|_| {}).await;
    let mut socket = server.connect().await;
    let head = format!("POST {} HTTP/1.1\r\nhost: relay\r\ncontent-length: 99999999\r\n\r\n", path::SEND);
    socket.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut socket).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    assert_serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_refused() {
    let server = server(|_| {}).await;
    let mut socket = server.connect().await;
    let head = format!("POST {} HTTP/1.1\r\nhost: relay\r\ntransfer-encoding: chunked\r\n\r\n", path::SEND);
    socket.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[0; 0x1_0000], b"\r\n"].concat();
    for _ in 0..17 {
        // The relay may have stopped listening before the last one.
        socket.write_all(&chunk).await.ok();
    }
    let answer = read_answer(&mut socket).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    server.stop().await;
}

#[tokio::test]
async fn headers_that_are_too_large_or_too_many_end_the_connection() {
    let server = server(|_| {}).await;
    for headers in [format!("x: {}\r\n", "y".repeat(20_000)), "x: y\r\n".repeat(40)] {
        let mut socket = server.connect().await;
        let answer = post(&mut socket, path::SEND, &headers, b"").await;
        assert!(answer.is_none_or(|answer| answer.status == 431), "refused without an answer of ours");
    }
    assert_serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn headers_that_never_end_end_the_connection() {
    let server = server(|limits| limits.header_timeout = SHORT).await;
    let mut socket = server.connect().await;
    socket.write_all(b"POST /v1/send HTTP/1.1\r\nhost:").await.unwrap();
    read_to_close(&mut socket).await;
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_never_comes_ends_the_call() {
    let server = server(|limits| limits.body_timeout = SHORT).await;
    let mut socket = server.connect().await;
    let head = format!("POST {} HTTP/1.1\r\nhost: relay\r\ncontent-length: 10\r\n\r\nabc", path::SEND);
    socket.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut socket).await.unwrap();
    assert_eq!(answer.status, 400);
    server.reaches(r#"sotto_relay_shed_total{reason="body_timeout"} 1"#).await;
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = server(|limits| (limits.idle_timeout, limits.header_timeout) = (SHORT, SHORT)).await;
    let mut silent = server.connect().await;
    read_to_close(&mut silent).await;
    // On a busy machine one may be closed before it has come to speak.
    loop {
        let mut once = server.connect().await;
        let Some(answer) = post(&mut once, path::SEND, "", b"").await else { continue };
        assert_eq!(answer.status, 200);
        read_to_close(&mut once).await;
        break;
    }
    server.reaches("sotto_relay_connections 0").await;
    server.stop().await;
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once_and_a_place_that_is_free_is_given_again() {
    let server = server(|limits| limits.connections_max = 2).await;
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    assert!(post(&mut one, path::SEND, "", b"").await.is_some());
    assert!(post(&mut two, path::SEND, "", b"").await.is_some());
    assert!(post(&mut server.connect().await, path::SEND, "", b"").await.is_none());
    drop(one);
    server.reaches("sotto_relay_connections 1").await;
    assert_serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn one_address_gets_its_share_of_connections_and_no_more() {
    let server = server(|limits| limits.connections_per_address_max = 1).await;
    let mut one = server.connect().await;
    assert!(post(&mut one, path::SEND, "", b"").await.is_some());
    assert!(post(&mut server.connect().await, path::SEND, "", b"").await.is_none());
    server.reaches(r#"sotto_relay_shed_total{reason="connections"} 1"#).await;
    drop(one);
    server.reaches("sotto_relay_connections 0").await;
    assert_serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_stream_with_an_inbox_takes_no_place_from_the_calls_of_its_address() {
    let server = server(|limits| limits.connections_per_address_max = 1).await;
    let bob = Device::register(server.address).await;
    server.reaches("sotto_relay_connections 0").await;
    let mut stream = WsClient::open(server.address).await;
    assert!(post(&mut server.connect().await, path::SEND, "", b"").await.is_none(), "it might attach nothing");
    stream.attach(&bob).await;
    stream.drain().await;
    let mut one = server.connect().await;
    assert!(post(&mut one, path::SEND, "", b"").await.is_some());
    assert!(post(&mut server.connect().await, path::SEND, "", b"").await.is_none());
    drop((one, stream));
    server.reaches("sotto_relay_connections 0").await;
    assert_serves(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_attaches_nothing_is_closed() {
    let server = server(|limits| limits.attach_timeout = SHORT).await;
    let mut stream = WsClient::open(server.address).await;
    assert!(stream.frame().await.is_none());
    server.reaches(r#"sotto_relay_shed_total{reason="attach_timeout"} 1"#).await;
    server.stop().await;
}

#[tokio::test]
async fn a_slow_reader_is_shed_and_its_mail_waits() {
    let server = server(|limits| limits.write_timeout = SHORT).await;
    let bob = Device::register(server.address).await;
    let mut socket = server.connect().await;
    for _ in 0..60 {
        assert!(is_accepted(&post(&mut socket, path::SEND, "", &bob.send(&[1; 120_000])).await.unwrap()));
    }
    drop(socket);
    let small = tokio::net::TcpSocket::new_v4().unwrap();
    small.set_recv_buffer_size(4_096).unwrap();
    let mut slow = WsClient::over(small.connect(server.address).await.unwrap()).await.unwrap();
    slow.attach(&bob).await;
    server.reaches("sotto_relay_streams 0").await;
    assert_eq!(server.relay.attached_count(), 0);
    let mut patient = WsClient::open(server.address).await;
    patient.attach(&bob).await;
    let Some(_attached) = patient.frame().await else { panic!("the relay goes on") };
    let Some(sotto_protocol::relay::server_frame::Frame::Deliveries(first)) = patient.frame().await else {
        panic!("the mail is there")
    };
    assert_eq!(first.deliveries[0].sequence, 1);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_ends_the_connection() {
    let server = server(|limits| limits.write_timeout = SHORT).await;
    let small = tokio::net::TcpSocket::new_v4().unwrap();
    small.set_recv_buffer_size(4_096).unwrap();
    let mut socket = small.connect(server.address).await.unwrap();
    let call = format!("POST {} HTTP/1.1\r\nhost: relay\r\ncontent-length: 0\r\n\r\n", path::SEND);
    // Asks on and on without ever reading, until the relay has had enough.
    while socket.write_all(call.repeat(100).as_bytes()).await.is_ok() {}
    server.reaches("sotto_relay_connections 0").await;
    server.stop().await;
}
