//! A relay of this release is told what devices of an earlier one said to theirs, byte for byte, and answers as theirs did.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use futures_util::FutureExt as _;
use sotto_compatibility::fixtures;
use sotto_compatibility::make::RELAY;
use sotto_compatibility::wire::SPACE;
use sotto_protocol::relay::{ServerFrame, server_frame::Frame};
use sotto_protocol::request::path;
use sotto_protocol::{Message as _, RelayAddress, Timestamp};
use sotto_relay::store::{SqliteOptions, SqliteStore};
use sotto_relay::{Relay, RelayConfig, Request, StreamSession};

/// The version that the clients of all fixtures so far say.
const VERSION: &str = "1";

struct Replay {
    relay: Arc<Relay>,
    streams: BTreeMap<String, StreamSession>,
    /// What was delivered on each, and what is to be: a relay may do so earlier or later, in the same order.
    delivered: Deliveries,
    expected: Deliveries,
}

type Deliveries = BTreeMap<String, Vec<String>>;

impl Replay {
    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let now = |word: &str| Timestamp::from_ms(word.parse().expect("a fixture is whole"));
        let bytes = |word: &str| HEXLOWER.decode(word.as_bytes()).expect("a fixture is whole");
        match words[..] {
            ["call", at, called, authorization, body, status, answer] => {
                let request = Request {
                    method: if called == path::WELL_KNOWN { "GET" } else { "POST" }.to_owned(),
                    path: called.to_owned(),
                    body: bytes(body).into(),
                    authorization: (authorization != "-").then(|| authorization.replace(SPACE, " ")),
                    has_cookie: false,
                    version: Some(VERSION.to_owned()),
                };
                let response = self.relay.handle(request, now(at)).now_or_never().expect("a fixture is whole");
                assert_eq!(response.status.to_string(), status, "{called} at {at}: {:?}", response.body);
                // What a relay of this release is, it may say otherwise than one of another.
                if called != path::WELL_KNOWN {
                    assert_eq!(HEXLOWER.encode(&response.body), answer, "{called} at {at}");
                }
            }
            ["open", stream, at, challenge] => {
                let session = self.relay.open_stream(bytes(challenge).try_into().expect("a fixture is whole"), now(at));
                self.streams.insert(stream.to_owned(), session);
            }
            ["frame", stream, _, frame] => {
                // What a device acknowledges it has seen.
                self.listen();
                let session = self.streams.get_mut(stream).expect("a fixture is whole");
                assert!(
                    session.receive(&bytes(frame)).now_or_never().expect("a fixture is whole").is_ok(),
                    "stream {stream}"
                );
                self.listen();
            }
            ["delivered", stream, delivery] => {
                self.expected.entry(stream.to_owned()).or_default().push(delivery.to_owned());
            }
            _ => unreachable!("{line}"),
        }
    }

    fn listen(&mut self) {
        for (stream, session) in &mut self.streams {
            while let Some(Some(frame)) = session.next().now_or_never() {
                match ServerFrame::decode(frame).expect("a fixture is whole").frame.expect("a fixture is whole") {
                    Frame::Deliveries(deliveries) => {
                        let deliveries = deliveries.deliveries.iter().map(|it| HEXLOWER.encode(&it.encode_to_vec()));
                        self.delivered.entry(stream.clone()).or_default().extend(deliveries);
                    }
                    Frame::Refused(_) => unreachable!("an attach was refused"),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn this_relay_answers_the_bytes_of_an_earlier_client_as_its_own_relay_did() {
    for folder in fixtures() {
        let address: RelayAddress = format!("https://{RELAY}").parse().unwrap();
        let store = SqliteStore::open(SqliteOptions::memory()).unwrap();
        let text = fs::read_to_string(folder.join("wire.txt")).unwrap();
        let first = text.split(' ').nth(1).unwrap().parse().unwrap();
        let relay = Relay::new(Arc::new(store), RelayConfig::open(address.name().clone()), Timestamp::from_ms(first));
        let (streams, delivered, expected) = Default::default();
        let mut replay = Replay { relay, streams, delivered, expected };
        text.lines().for_each(|line| replay.line(line));
        for (stream, expected) in &replay.expected {
            // What still waits is delivered here as well.
            assert!(replay.delivered[stream].starts_with(expected), "{}, stream {stream}", folder.display());
        }
        assert!(replay.expected.values().flatten().count() > SAID_MIN, "{}", folder.display());
    }
}

/// Three texts, and what it takes to meet.
const SAID_MIN: usize = 5;
