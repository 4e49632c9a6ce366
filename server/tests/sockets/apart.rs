//! Anonymous calls, signed calls and streams can be told apart by connection: how tests prove that clients keep them apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use sotto_protocol::Message;
use sotto_protocol::relay::TokenPut;
use sotto_protocol::request::path;
use sotto_relay::shell::{CallKind, ConnectionId, Witness};

use crate::support::{Device, Setup, TestServer, WsClient, authorization, name, post};

/// What each connection carried.
#[derive(Default)]
struct Ledger(Mutex<BTreeMap<ConnectionId, BTreeSet<CallKind>>>);

impl Witness for Ledger {
    fn saw(&self, connection: ConnectionId, kind: CallKind) {
        self.0.lock().unwrap().entry(connection).or_default().insert(kind);
    }
}

#[tokio::test]
async fn a7_the_witness_sees_which_connection_carried_which_kind_of_call_and_for_which_key() {
    let ledger = Arc::new(Ledger::default());
    let server = TestServer::start(Setup { witness: Some(Arc::clone(&ledger) as Arc<_>), ..Setup::default() }).await;
    let bob = Device::register(server.address).await;
    let mut anonymous = server.connect().await;
    post(&mut anonymous, path::SEND, "", &bob.send(b"x")).await.unwrap();
    post(&mut anonymous, path::SEND, "", &bob.send(b"y")).await.unwrap();
    let mut stream = WsClient::open(server.address).await;
    stream.attach(&bob).await;
    stream.drain().await;
    let body = TokenPut { inbox: bob.inbox.into(), tokens: Vec::new() }.encode_to_vec();
    let signed = authorization(&bob.manage, &name(server.address), path::TOKEN_PUT, &body);
    let mut careless = server.connect().await;
    post(&mut careless, path::TOKEN_PUT, &signed, &body).await.unwrap();
    post(&mut careless, path::SEND, "", &bob.send(b"z")).await.unwrap();
    let owner = CallKind::Signed(bob.owner.verifying_key().to_bytes());
    let manage = CallKind::Signed(bob.manage.verifying_key().to_bytes());
    let seen: Vec<BTreeSet<CallKind>> = ledger.0.lock().unwrap().values().cloned().collect();
    let expected = [
        BTreeSet::from([owner]),
        BTreeSet::from([manage]),
        BTreeSet::from([CallKind::Anonymous]),
        BTreeSet::from([CallKind::Stream]),
        BTreeSet::from([CallKind::Anonymous, manage]),
    ];
    assert_eq!(seen, expected, "the last one is what a client must not do");
    server.stop().await;
}

#[tokio::test]
async fn a7_a_credential_on_an_anonymous_call_is_refused_through_the_socket_too() {
    let server = TestServer::start(Setup::default()).await;
    let bob = Device::register(server.address).await;
    let body = bob.send(b"x");
    let signed = authorization(&bob.owner, &name(server.address), path::SEND, &body);
    for header in [signed.as_str(), "authorization: Bearer x\r\n", "cookie: session=1\r\n"] {
        let answer = post(&mut server.connect().await, path::SEND, header, &body).await.unwrap();
        assert_eq!((answer.status, answer.code().as_str()), (400, "credential_refused"));
    }
    server.stop().await;
}
