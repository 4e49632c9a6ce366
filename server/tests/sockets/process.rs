//! The relay as a process of its own: what it prints, how it stops, and that a kill loses nothing that was accepted.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use sotto_protocol::relay::SendOutcome;
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::support::{Device, WsClient, http2_answers_begin, http2_calls, is_accepted, post};

/// A relay process; killed when it is dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(data: &Path, port: u16) -> Self {
        let mut child = command(data, &format!("127.0.0.1:{port}")).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on http://").unwrap().strip_suffix('\n').unwrap().parse().unwrap();
        Self { child, address }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn command(data: &Path, listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sotto-relay"));
    command.args(["--dev", "--listen", listen, "--data"]).arg(data);
    command
}

#[test]
fn without_tls_the_process_listens_on_loopback_only() {
    let directory = tempfile::tempdir().unwrap();
    let output = command(directory.path(), "0.0.0.0:0").output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(String::from_utf8(output.stderr).unwrap().contains("loopback"));
}

#[test]
fn the_process_says_what_it_does_not_understand() {
    let output = Command::new(env!("CARGO_BIN_EXE_sotto-relay")).arg("--dve").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let output = Command::new(env!("CARGO_BIN_EXE_sotto-relay")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_the_process_in_order_and_a_second_one_on_the_same_data_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = Process::start(directory.path(), 0);
    let bob = Device::register(relay.address).await;
    let mut socket = TcpStream::connect(relay.address).await.unwrap();
    assert!(is_accepted(&post(&mut socket, path::SEND, "", &bob.send(b"x")).await.unwrap()));
    drop(socket);
    let second = command(directory.path(), "127.0.0.1:0").output().unwrap();
    assert!(!second.status.success() && second.stdout.is_empty());
    relay.signal("-TERM");
    assert!(relay.child.wait().unwrap().success());
    let mut rest = String::new();
    relay.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line and nothing else");
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().ends_with("-wal")), "{names:?}");
    let relay = Process::start(directory.path(), relay.address.port());
    let mut stream = WsClient::open(relay.address).await;
    stream.attach(&bob).await;
    assert_eq!(stream.drain().await.len(), 1);
}

/// What became of an envelope of a few KiB.
#[cfg(target_os = "linux")]
async fn send_large(relay: &Process, bob: &Device) -> SendOutcome {
    let mut socket = TcpStream::connect(relay.address).await.unwrap();
    let answer = post(&mut socket, path::SEND, "", &bob.send(&[7; 4_000])).await.unwrap();
    let results = sotto_protocol::relay::SendResults::decode(&answer.body[..]).unwrap().results;
    results[0].outcome()
}

/// A quota on files is a failed write to SQLite, and a signal that ends a process; the relay died of both and began again for ever.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_files_is_a_full_disk_mail_is_delivered_meanwhile_and_accepted_again_once_there_is_room() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let directory = tempfile::tempdir().unwrap();
    let mut relay = Process::start(directory.path(), 0);
    let pid = Pid::from_child(&relay.child);
    let limit = |current| prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    let bob = Device::register(relay.address).await;
    limit(Some(800_000));
    let (mut accepted, mut refused_in_a_row) = (0, 0);
    // One refusal makes it move its log into the main file, which may make room once more.
    while refused_in_a_row < 5 {
        match send_large(&relay, &bob).await {
            SendOutcome::Accepted => (accepted, refused_in_a_row) = (accepted + 1, 0),
            other => {
                assert!(other == SendOutcome::Busy);
                refused_in_a_row += 1;
            }
        }
        assert!(accepted < 1_000, "the limit is never met");
    }
    // It goes on for those who have mail, and goes on saying so to those who bring some.
    for _ in 0..3 {
        let mut stream = WsClient::open(relay.address).await;
        stream.attach(&bob).await;
        assert_eq!(stream.drain().await.len(), accepted);
        assert!(send_large(&relay, &bob).await == SendOutcome::Busy);
    }
    limit(None);
    assert!(send_large(&relay, &bob).await == SendOutcome::Accepted);
    assert!(relay.child.try_wait().unwrap().is_none(), "the same process");
    relay.signal("-TERM");
    assert!(relay.child.wait().unwrap().success());
    let relay = Process::start(directory.path(), relay.address.port());
    let mut stream = WsClient::open(relay.address).await;
    stream.attach(&bob).await;
    assert_eq!(stream.drain().await.len(), accepted + 1);
}

/// What a sender knows of its envelopes.
#[derive(Default)]
struct Sent {
    accepted: Mutex<Vec<Bytes>>,
    /// Asked for, and the answer never came: may be there or not.
    unanswered: Mutex<Vec<Vec<u8>>>,
}

async fn send_until_killed(address: SocketAddr, bob: Arc<Device>, sent: Arc<Sent>, told: UnboundedSender<()>) {
    let Ok(mut socket) = TcpStream::connect(address).await else { return };
    loop {
        let item = bob.item();
        let envelope = item.envelope.clone();
        let send = sotto_protocol::relay::Send { payloads: vec![vec![7; 1_000].into()], items: vec![item] };
        let body = send.encode_to_vec();
        match post(&mut socket, path::SEND, "", &body).await {
            Some(answer) => {
                assert!(is_accepted(&answer));
                sent.accepted.lock().await.push(envelope);
                // Nobody counts any more once there are enough.
                told.send(()).ok();
            }
            None => return sent.unanswered.lock().await.push(body),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a_kill_in_the_middle_of_a_load_loses_nothing_that_was_accepted_and_reuses_no_sequence_number() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = Process::start(directory.path(), 0);
    let bob = Arc::new(Device::register(relay.address).await);
    let sent = Arc::new(Sent::default());
    let mut shown: BTreeMap<u64, Bytes> = BTreeMap::new();
    for _ in 0..3 {
        let (tell, mut told) = unbounded_channel();
        let senders: Vec<_> = (0..4)
            .map(|_| tokio::spawn(send_until_killed(relay.address, Arc::clone(&bob), Arc::clone(&sent), tell.clone())))
            .collect();
        let mut stream = WsClient::open(relay.address).await;
        stream.attach(&bob).await;
        note(&mut shown, stream.drain().await);
        for _ in 0..100 {
            told.recv().await.unwrap();
        }
        let address = relay.address;
        relay.signal("-KILL");
        for sender in senders {
            sender.await.unwrap();
        }
        // What was still on its way to the device counts as shown too.
        while let Some(frame) = stream.frame().await {
            if let sotto_protocol::relay::server_frame::Frame::Deliveries(deliveries) = frame {
                note(&mut shown, deliveries.deliveries.into_iter().map(|one| (one.sequence, one.envelope)).collect());
            }
        }
        drop(relay);
        relay = Process::start(directory.path(), address.port());
        // Whoever got no answer asks again: harmless, whether or not it was accepted before.
        let mut socket = TcpStream::connect(relay.address).await.unwrap();
        for body in sent.unanswered.lock().await.drain(..) {
            assert!(is_accepted(&post(&mut socket, path::SEND, "", &body).await.unwrap()));
        }
        let mut stream = WsClient::open(relay.address).await;
        stream.attach(&bob).await;
        let mut last = 0;
        loop {
            match stream.frame().await.unwrap() {
                sotto_protocol::relay::server_frame::Frame::Deliveries(deliveries) => {
                    last = deliveries.deliveries.last().unwrap().sequence;
                    note(
                        &mut shown,
                        deliveries.deliveries.into_iter().map(|one| (one.sequence, one.envelope)).collect(),
                    );
                    stream.ack(&bob, last).await;
                }
                sotto_protocol::relay::server_frame::Frame::Drained(_) => break,
                _ => {}
            }
        }
        assert!(last > 0);
    }
    let mut envelopes: Vec<&Bytes> = shown.values().collect();
    envelopes.sort();
    let all = envelopes.len();
    envelopes.dedup();
    assert_eq!(envelopes.len(), all, "none under two sequence numbers");
    for accepted in sent.accepted.lock().await.iter() {
        assert!(envelopes.binary_search(&accepted).is_ok(), "an accepted envelope is lost");
    }
}

/// Each sequence number stands for one envelope for ever.
fn note(shown: &mut BTreeMap<u64, Bytes>, deliveries: Vec<(u64, Bytes)>) {
    for (sequence, envelope) in deliveries {
        let before = shown.insert(sequence, envelope.clone());
        assert!(before.is_none_or(|before| before == envelope), "sequence {sequence} was given out twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_names_an_address_an_id_or_a_key_however_much_is_logged() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = command(directory.path(), "127.0.0.1:0")
        .env("SOTTO_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("listening on http://").unwrap().trim_end().parse().unwrap();
    let relay = Process { child, address };
    let bob = Device::register(address).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    assert!(is_accepted(&post(&mut socket, path::SEND, "", &bob.send(b"canary payload")).await.unwrap()));
    post(&mut socket, path::SEND, "", b"\xff\xff\xff").await.unwrap();
    let mut two = TcpStream::connect(address).await.unwrap();
    two.write_all(&http2_calls(path::SEND, &bob.send(b"canary payload"), 1)).await.unwrap();
    http2_answers_begin(&mut two, 1).await;
    let (local, local_two) = (socket.local_addr().unwrap(), two.local_addr().unwrap());
    let mut stream = WsClient::open(address).await;
    stream.attach(&bob).await;
    stream.drain().await;
    stream.ack(&bob, 99).await;
    stream.frame().await;
    drop((socket, two, stream));
    relay.signal("-TERM");
    let mut relay = relay;
    relay.child.wait().unwrap();
    let mut log = String::new();
    relay.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let secrets = [
        hex(bob.inbox.as_ref()),
        hex(bob.token.as_bytes()),
        hex(bob.token.hash().as_ref()),
        hex(bob.owner.verifying_key().as_bytes()),
        format!("{:?}", bob.inbox.as_bytes()),
        data_encoding::BASE64URL_NOPAD.encode(bob.owner.verifying_key().as_bytes()),
        local.to_string(),
        format!(":{}", local.port()),
        format!(":{}", local_two.port()),
        "127.0.0.1".to_owned(),
        "canary".to_owned(),
    ];
    assert!(log.contains("TRACE"), "there was something to search:\n{log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} in the log:\n{log}");
    }
}
