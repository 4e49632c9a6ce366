//! What calls hold in memory is bounded, counted only once it is there, and given back: by whoever takes its answer, and for whoever
//! does not.

use std::net::SocketAddr;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use sotto_protocol::label::chain_entry_hash;
use sotto_protocol::relay::{ChainAppend, ChainRead};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message};
use sotto_relay::limits::ShellLimits;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{
    Device, Setup, TestServer, authorization, fresh, http2_answers_begin, http2_calls, is_accepted, name, post,
    read_answer, read_to_close,
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

/// A memory in which that many large answers have room, beside the part of small calls.
const fn bytes_for_answers(count: usize) -> usize {
    count * 1_100_000 * 4 / 3
}

fn read() -> Vec<u8> {
    ChainRead { chain: Bytes::copy_from_slice(&CHAIN), from: 0 }.encode_to_vec()
}

/// An HTTP/2 peer that asks for the chain on each of these streams, and opens no window for the answers.
async fn ask_without_a_window(server: &TestServer, streams: u32) -> TcpStream {
    let mut socket = server.connect().await;
    socket.write_all(&http2_calls(path::CHAIN_READ, &read(), streams)).await.unwrap();
    socket
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
    let server = server(|limits| {
        limits.load_bytes_max = bytes_for_answers(2);
        // Longer than any test: nobody makes room for anybody.
        limits.load_patience = Duration::from_secs(3_600);
    })
    .await;
    fill_chain(&server).await;
    let mut greedy = ask_without_a_window(&server, 2).await;
    http2_answers_begin(&mut greedy, 2).await;
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

/// Nine connections from nine addresses, with closed windows, held all the memory that calls have, and everybody else was refused.
#[tokio::test]
async fn answers_that_nobody_takes_make_room_and_small_calls_never_wait_for_it() {
    let server = server(|limits| {
        limits.load_bytes_max = bytes_for_answers(8);
        limits.load_bytes_per_address_max = 2 * 1_100_000;
        limits.load_patience = Duration::ZERO;
    })
    .await;
    fill_chain(&server).await;
    let bob = Device::register(server.address).await;
    let mut greedy = Vec::new();
    for address in 2..11 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, address], 0))).unwrap();
        let mut socket = socket.connect(server.address).await.unwrap();
        socket.write_all(&http2_calls(path::CHAIN_READ, &read(), 2)).await.unwrap();
        // Both answers, or a refusal: whatever there is, it has it.
        http2_answers_begin(&mut socket, 2).await;
        greedy.push(socket);
    }
    for _ in 0..20 {
        let sent = post(&mut server.connect().await, path::SEND, "", &bob.send(b"small")).await.unwrap();
        assert!(is_accepted(&sent));
        let answer = post(&mut server.connect().await, path::CHAIN_READ, "", &read()).await.unwrap();
        assert_eq!((answer.status, answer.body.len() > 900_000), (200, true));
    }
    // Whoever had to make room has lost its connection; who waited less long has not.
    read_to_close(&mut greedy.remove(0)).await;
    drop(greedy);
    server.stop().await;
}

#[tokio::test]
async fn bodies_that_do_not_end_make_room_for_small_calls_too() {
    let server = server(|limits| {
        limits.load_bytes_max = 4 * 200_000;
        limits.load_patience = Duration::ZERO;
    })
    .await;
    let bob = Device::register(server.address).await;
    let mut slow = Vec::new();
    for _ in 0..10 {
        let mut socket = server.connect().await;
        let head = format!("POST {} HTTP/1.1\r\nhost: relay\r\ncontent-length: 60000\r\n\r\n", path::SEND);
        socket.write_all(&[head.as_bytes(), &[0; 50_000]].concat()).await.unwrap();
        slow.push(socket);
    }
    // Four have room at a time: each of the others sent one away, or was the one that had waited longest itself.
    server.sheds(6).await;
    for _ in 0..20 {
        let sent = post(&mut server.connect().await, path::SEND, "", &bob.send(&[1; 10_000])).await.unwrap();
        assert!(is_accepted(&sent));
    }
    read_to_close(&mut slow[0]).await;
    drop(slow);
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
    let server = server(|limits| limits.load_bytes_max = 4 * 1_000_000 / 3).await;
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
    let server = server(|limits| limits.load_bytes_max = 4 * 65_536).await;
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
