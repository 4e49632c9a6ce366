//! What calls hold in memory is bounded, counted only once it is there, and given back: by whoever takes its answer, and for whoever
//! does not.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use sotto_protocol::label::chain_entry_hash;
use sotto_protocol::relay::{ChainAppend, ChainRead};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message};
use sotto_relay::limits::ShellLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    Device, Setup, TestServer, authorization, fresh, is_accepted, name, post, read_answer, read_to_close,
};

const SHORT: Duration = Duration::from_millis(50);
const CHAIN: [u8; 32] = [7; 32];

async fn server(change: impl FnOnce(&mut ShellLimits)) -> TestServer {
    let mut limits = ShellLimits::default();
    change(&mut limits);
    TestServer::start(Setup { limits, ..Setup::default() }).await
}

/// A chain whose answer is as large as they get.
async fn fill_chain(server: &TestServer) {
    let writer = SigningKey::from_bytes(&[fresh(), fresh()].concat().try_into().unwrap());
    let mut socket = server.connect().await;
    let mut previous = Vec::new();
    for _ in 0..60 {
        let entry = vec![1; 16 * 1024];
        let hash = chain_entry_hash(&previous, &entry).to_vec();
        let chain = Bytes::copy_from_slice(&CHAIN);
        let append = ChainAppend { chain, previous: previous.into(), entry: entry.into(), ..ChainAppend::default() };
        let body = append.encode_to_vec();
        let header = authorization(&writer, &name(server.address), path::CHAIN_APPEND, &body);
        assert_eq!(post(&mut socket, path::CHAIN_APPEND, &header, &body).await.unwrap().status, 200);
        previous = hash;
    }
}

fn read() -> Vec<u8> {
    ChainRead { chain: Bytes::copy_from_slice(&CHAIN), from: 0 }.encode_to_vec()
}

fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An HTTP/2 peer that asks for the chain on each of these streams, with a window in which no byte of an answer has room.
async fn ask_without_a_window(server: &TestServer, streams: u32) -> TcpStream {
    let mut socket = server.connect().await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let initial_window_size = [0, 4, 0, 0, 0, 0];
    bytes.extend(http2_frame(4, 0, 0, &initial_window_size));
    let length = u8::try_from(path::CHAIN_READ.len()).unwrap();
    // POST, http, a path and an authority, all literal.
    let headers = [&[0x83, 0x86, 0x04, length], path::CHAIN_READ.as_bytes(), &[0x01, 5], b"relay"].concat();
    for stream in 0..streams {
        let number = 2 * stream + 1;
        bytes.extend(http2_frame(1, 0x4, number, &headers));
        bytes.extend(http2_frame(0, 0x1, number, &read()));
    }
    socket.write_all(&bytes).await.unwrap();
    socket
}

/// Reads frames until the headers of that many answers have come.
async fn answers_begin(socket: &mut TcpStream, count: usize) {
    let mut begun = 0;
    while begun < count {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        socket.read_exact(&mut vec![0; length]).await.unwrap();
        begun += usize::from(head[3] == 1);
    }
}

/// Thirty-one answers of a megabyte were held for ever, by each connection of a peer that read on and opened no window.
#[tokio::test]
async fn answers_that_nobody_takes_end_their_connection_and_are_given_back() {
    let server = server(|limits| limits.answer_timeout = SHORT).await;
    fill_chain(&server).await;
    let mut greedy = ask_without_a_window(&server, 20).await;
    read_to_close(&mut greedy).await;
    server.reaches(r#"sotto_relay_shed_total{reason="answer_timeout"} 1"#).await;
    server.reaches("sotto_relay_connections 0").await;
    let answer = post(&mut server.connect().await, path::CHAIN_READ, "", &read()).await.unwrap();
    assert_eq!((answer.status, answer.body.len() > 900_000), (200, true));
    server.stop().await;
}

#[tokio::test]
async fn answers_in_memory_are_bounded_and_who_comes_then_is_told_to_come_back() {
    let server = server(|limits| limits.load_bytes_max = 2_200_000).await;
    fill_chain(&server).await;
    let mut greedy = ask_without_a_window(&server, 2).await;
    answers_begin(&mut greedy, 2).await;
    let mut patient = server.connect().await;
    let answer = post(&mut patient, path::CHAIN_READ, "", &read()).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    let bob = Device::register(server.address).await;
    let sent = post(&mut server.connect().await, path::SEND, "", &bob.send(b"small")).await.unwrap();
    assert!(is_accepted(&sent), "what is small has room");
    drop(greedy);
    server.reaches("sotto_relay_connections 1").await;
    assert_eq!(post(&mut patient, path::CHAIN_READ, "", &read()).await.unwrap().status, 200);
    assert_eq!(post(&mut patient, path::CHAIN_READ, "", &read()).await.unwrap().status, 200, "given back each time");
    server.stop().await;
}

#[tokio::test]
async fn one_address_gets_its_share_of_the_memory_and_no_more() {
    let server = server(|limits| limits.load_bytes_per_address_max = 1_000).await;
    let answer = post(&mut server.connect().await, path::SEND, "", &[0; 2_000]).await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (503, "unavailable"));
    server.reaches(r#"sotto_relay_shed_total{reason="load"} 1"#).await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_announced_and_not_sent_takes_no_room() {
    let server = server(|limits| limits.load_bytes_max = 1_000_000).await;
    let mut announced = Vec::new();
    for _ in 0..8 {
        let mut socket = server.connect().await;
        let head = format!("POST {} HTTP/1.1\r\nhost: relay\r\ncontent-length: 1000000\r\n\r\nabc", path::SEND);
        socket.write_all(head.as_bytes()).await.unwrap();
        announced.push(socket);
    }
    let bob = Device::register(server.address).await;
    let sent = post(&mut server.connect().await, path::SEND, "", &bob.send(&[1; 100_000])).await.unwrap();
    assert!(is_accepted(&sent));
    server.stop().await;
}

#[tokio::test]
async fn a_body_is_given_back_once_its_call_is_answered() {
    let server = server(|limits| limits.load_bytes_max = 150_000).await;
    let bob = Device::register(server.address).await;
    let mut socket = server.connect().await;
    for _ in 0..5 {
        assert!(is_accepted(&post(&mut socket, path::SEND, "", &bob.send(&[1; 100_000])).await.unwrap()));
    }
    drop(socket);
    // One that breaks off halfway, too.
    for _ in 0..3 {
        let mut broken = server.connect().await;
        let head = format!("POST {} HTTP/1.1\r\nhost: relay\r\ncontent-length: 120000\r\n\r\n", path::SEND);
        broken.write_all(&[head.as_bytes(), &[0; 100_000]].concat()).await.unwrap();
        broken.shutdown().await.unwrap();
        read_answer(&mut broken).await;
        drop(broken);
        server.reaches("sotto_relay_connections 0").await;
    }
    assert!(is_accepted(&post(&mut server.connect().await, path::SEND, "", &bob.send(&[1; 100_000])).await.unwrap()));
    server.stop().await;
}
