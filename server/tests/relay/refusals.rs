//! What may not be told apart: whoever is refused learns nothing about whether the inbox, the token or the chain is there.
//!
//! Every refusal of one kind of call is one answer, and asks the store the same questions in the same order, on one relay that has
//! just served the very inboxes that are asked about.

use std::sync::{Arc, Mutex};

use ed25519_dalek::SigningKey;
use sotto_protocol::relay::{
    ChainAppend, ChainCompact, ChainDelete, ChainRead, InboxDelete, InboxManageKey, Peek, PrekeyClaim, PrekeyPut, Send,
    SendItem, SendResults, TokenDrop, TokenPut,
};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message, Token};
use sotto_relay::store::{SqliteOptions, SqliteStore, StatementHook};

use crate::support::{Device, Sent, World, fresh, name, signing_key, text};

/// Why somebody is refused, and being refused.
type Case<'a, T> = (String, Box<dyn Fn() -> T + 'a>);
/// A call's body about an inbox.
type Body = fn(Bytes) -> Vec<u8>;

/// A relay that hears what its store is asked, with an inbox that is in use.
struct Spied {
    world: World,
    asked: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
    bob: Device,
    token: Token,
    gone: Device,
    of_gone: Token,
    dropped: Token,
    expired: Token,
    invite: Token,
}

fn claimed(claim: u8, item: SendItem) -> SendItem {
    SendItem { claim: vec![claim; 16].into(), ..item }
}

impl Spied {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let hears = Arc::clone(&asked);
        let hook: StatementHook = Arc::new(move |statement| hears.lock().unwrap().push(statement.to_owned()));
        let file = SqliteOptions::file(directory.path().join("relay.sqlite")).inline();
        let store = SqliteStore::open(SqliteOptions { statement_hook: Some(hook), ..file }).unwrap();
        let world = World::on(Arc::new(store));
        let (bob, gone) = (world.device(), world.device());
        let (token, of_gone, dropped) = (world.token(&bob, 1), world.token(&gone, 1), world.token(&bob, 2));
        let expired = world.token_with(&bob, |token| token.expires_at_ms = world.now.as_ms() + 1);
        let invite = world.token_with(&bob, |token| (token.puts_per_claim, token.claims) = (1, 1));
        let prekeys =
            PrekeyPut { inbox: bob.inbox.into(), bundle: Bytes::from_static(b"bundle"), ..PrekeyPut::default() };
        assert_eq!(world.signed(&bob.manage, path::PREKEY_PUT, &prekeys).status, 200);
        for (device, token) in [(&bob, &token), (&gone, &of_gone), (&bob, &dropped), (&bob, &expired)] {
            assert_eq!(world.put(device, token, b"x"), Sent::Accepted);
        }
        assert_eq!(world.send(vec![claimed(1, world.item(&bob, &invite))], b"x"), [Sent::Accepted]);
        let delete = InboxDelete { inbox: gone.inbox.into() };
        assert_eq!(world.signed(&gone.owner, path::INBOX_DELETE, &delete).status, 200);
        let drop = TokenDrop { inbox: bob.inbox.into(), hashes: vec![dropped.hash().into()] };
        assert_eq!(world.signed(&bob.manage, path::TOKEN_DROP, &drop).status, 200);
        let mut spied =
            Self { world, asked, _directory: directory, bob, token, gone, of_gone, dropped, expired, invite };
        spied.world.pass(std::time::Duration::from_millis(1));
        spied
    }

    /// Uses the inbox as its owner and its contacts do, so that everything about it is at hand.
    fn warm(&self) {
        assert_eq!(self.world.put(&self.bob, &self.token, b"x"), Sent::Accepted);
        let put = TokenPut { inbox: self.bob.inbox.into(), tokens: Vec::new() };
        assert_eq!(self.world.signed(&self.bob.manage, path::TOKEN_PUT, &put).status, 200);
    }

    /// What the store is asked meanwhile.
    fn questions<T>(&self, act: impl FnOnce() -> T) -> (T, Vec<String>) {
        self.warm();
        self.asked.lock().unwrap().clear();
        let answer = act();
        (answer, std::mem::take(&mut *self.asked.lock().unwrap()))
    }

    /// Every way to be refused by token: why, whose inbox, which token.
    fn strangers(&self) -> Vec<(&'static str, Device, Token)> {
        let bob = || Device { inbox: self.bob.inbox, ..Device::new() };
        let gone = Device { inbox: self.gone.inbox, ..Device::new() };
        vec![
            ("no such inbox", Device::new(), Token::from_bytes(fresh())),
            ("no such inbox, a token of another", Device::new(), self.token.clone()),
            ("deleted inbox", gone, self.of_gone.clone()),
            ("no such token", bob(), Token::from_bytes(fresh())),
            ("dropped token", bob(), self.dropped.clone()),
            ("expired token", bob(), self.expired.clone()),
        ]
    }
}

/// Asks twice over, so that what the first round left behind would show in the second; every answer and all questions are equal.
fn assert_alike<T: Clone + PartialEq + std::fmt::Debug>(spied: &Spied, cases: &[Case<'_, T>]) {
    let mut first: Option<(T, Vec<String>)> = None;
    for round in 1..=2 {
        for (why, act) in cases {
            let found = spied.questions(act);
            let first = first.get_or_insert_with(|| found.clone());
            assert_eq!(found.0, first.0, "{why}, round {round}");
            assert_eq!(found.1, first.1, "{why}, round {round}");
        }
    }
    assert!(first.is_some_and(|(_, questions)| !questions.is_empty()), "the spy hears");
}

#[test]
fn a3_every_refused_put_is_one_answer_and_asks_the_same_on_a_relay_that_is_warm() {
    let spied = Spied::new();
    let world = &spied.world;
    let mut items: Vec<(String, SendItem)> = Vec::new();
    for (why, device, token) in spied.strangers() {
        items.push((why.to_owned(), claimed(1, world.item(&device, &token))));
    }
    items.push(("used up by this claim".to_owned(), claimed(1, world.item(&spied.bob, &spied.invite))));
    items.push(("used up by another claim".to_owned(), claimed(2, world.item(&spied.bob, &spied.invite))));
    let cases: Vec<Case<'_, Bytes>> = items
        .into_iter()
        .map(|(why, item)| {
            let send = Send { payloads: vec![Bytes::from_static(b"x")], items: vec![item] };
            let act: Box<dyn Fn() -> Bytes> = Box::new(move || world.post(path::SEND, &send).body);
            (why, act)
        })
        .collect();
    assert_alike(&spied, &cases);
    let result = SendResults::decode(cases[0].1()).unwrap().results[0];
    assert_eq!((result.outcome, result.retry_after_ms), (2, 0));
}

#[test]
fn a3_every_refused_put_without_a_claim_and_every_refused_ephemeral_one_asks_the_same() {
    let spied = Spied::new();
    let world = &spied.world;
    for ephemeral in [false, true] {
        let mut items: Vec<(String, SendItem)> = Vec::new();
        for (why, device, token) in spied.strangers() {
            items.push((why.to_owned(), world.item(&device, &token)));
        }
        items.push(("an invite's token".to_owned(), world.item(&spied.bob, &spied.invite)));
        let cases: Vec<Case<'_, Bytes>> = items
            .into_iter()
            .map(|(why, item)| {
                let items = vec![SendItem { ephemeral, ..item }];
                let send = Send { payloads: vec![Bytes::from_static(b"x")], items };
                let act: Box<dyn Fn() -> Bytes> = Box::new(move || world.post(path::SEND, &send).body);
                (why, act)
            })
            .collect();
        assert_alike(&spied, &cases);
    }
}

#[test]
fn a5_every_refused_claim_is_one_answer_and_asks_the_same_on_a_relay_that_is_warm() {
    let spied = Spied::new();
    let world = &spied.world;
    let mut claims: Vec<(String, PrekeyClaim)> = Vec::new();
    let claim = |device: &Device, token: &Token| PrekeyClaim {
        inbox: device.inbox.into(),
        token: token.as_bytes().to_vec().into(),
        claim: vec![9; 16].into(),
        bundle_only: false,
    };
    for (why, device, token) in spied.strangers() {
        claims.push((why.to_owned(), claim(&device, &token)));
    }
    claims.push(("used up".to_owned(), claim(&spied.bob, &spied.invite)));
    let cases: Vec<Case<'_, (u16, String)>> = claims
        .into_iter()
        .map(|(why, claim)| {
            let act: Box<dyn Fn() -> (u16, String)> = Box::new(move || {
                let response = world.post(path::PREKEY_CLAIM, &claim);
                (response.status, text(&response))
            });
            (why, act)
        })
        .collect();
    assert_eq!(cases[0].1().0, 403);
    assert_alike(&spied, &cases);
}

#[test]
fn a4_every_refused_signed_call_is_one_answer_and_asks_the_same_on_a_relay_that_is_warm() {
    let spied = Spied::new();
    let calls: [(&'static str, Body); 6] = [
        (path::INBOX_DELETE, |inbox| InboxDelete { inbox }.encode_to_vec()),
        (path::INBOX_MANAGE_KEY, |inbox| InboxManageKey { inbox, manage_key: vec![7; 32].into() }.encode_to_vec()),
        (path::INBOX_PEEK, |inbox| Peek { inbox, count_max: 10, bytes_max: 1_000, ..Peek::default() }.encode_to_vec()),
        (path::TOKEN_PUT, |inbox| TokenPut { inbox, tokens: Vec::new() }.encode_to_vec()),
        (path::TOKEN_DROP, |inbox| TokenDrop { inbox, hashes: vec![vec![7; 32].into()] }.encode_to_vec()),
        (path::PREKEY_PUT, |inbox| PrekeyPut { inbox, bundle: "b".into(), ..PrekeyPut::default() }.encode_to_vec()),
    ];
    for (path, body) in calls {
        let is_owners = matches!(path, path::INBOX_DELETE | path::INBOX_MANAGE_KEY | path::INBOX_PEEK);
        let other_role = if is_owners { &spied.bob.manage } else { &spied.bob.owner };
        let keys: [(&str, &Device, SigningKey); 4] = [
            ("no such inbox", &Device::new(), signing_key()),
            (
                "deleted inbox",
                &spied.gone,
                if is_owners { spied.gone.owner.clone() } else { spied.gone.manage.clone() },
            ),
            ("a stranger's key", &spied.bob, signing_key()),
            ("the key of the other role", &spied.bob, other_role.clone()),
        ];
        let cases: Vec<Case<'_, (u16, String)>> = keys
            .iter()
            .map(|(why, device, key)| {
                let body = body(device.inbox.into());
                let act: Box<dyn Fn() -> (u16, String)> = Box::new({
                    let spied = &spied;
                    move || spied.call(key, path, &body)
                });
                (format!("{path}: {why}"), act)
            })
            .collect();
        assert_eq!(cases[0].1().0, 403);
        assert_alike(&spied, &cases);
    }
}

impl Spied {
    fn call(&self, key: &SigningKey, path: &str, body: &[u8]) -> (u16, String) {
        let response = self.world.handle(crate::support::sign_bytes(key, path, body, self.world.now, fresh()));
        (response.status, text(&response))
    }
}

#[test]
fn a6_every_refused_call_about_a_chain_is_one_answer_and_asks_the_same() {
    let spied = Spied::new();
    let (writer, chain) = (signing_key(), Bytes::from_static(&[5; 32]));
    let append = |chain: &Bytes, previous: Vec<u8>| {
        let entry = Bytes::from_static(b"entry");
        ChainAppend { chain: chain.clone(), previous: previous.into(), entry, ..ChainAppend::default() }.encode_to_vec()
    };
    assert_eq!(spied.call(&writer, path::CHAIN_APPEND, &append(&chain, Vec::new())).0, 200);
    let (head, unknown) = (vec![1; 32], Bytes::from_static(&[6; 32]));
    let bodies = |chain: &Bytes| {
        let compact = ChainCompact { chain: chain.clone(), head: head.clone().into(), snapshot: "s".into() };
        [
            (path::CHAIN_APPEND, append(chain, head.clone())),
            (path::CHAIN_COMPACT, compact.encode_to_vec()),
            (path::CHAIN_DELETE, ChainDelete { chain: chain.clone() }.encode_to_vec()),
        ]
    };
    let stranger = signing_key();
    for ((path, of_unknown), (_, of_chain)) in bodies(&unknown).into_iter().zip(bodies(&chain)) {
        let cases: Vec<Case<'_, (u16, String)>> = vec![
            (format!("{path}: no such chain"), Box::new(|| spied.call(&stranger, path, &of_unknown))),
            (format!("{path}: another key"), Box::new(|| spied.call(&stranger, path, &of_chain))),
        ];
        assert_eq!(cases[0].1().0, 403);
        assert_alike(&spied, &cases);
    }
    let read = ChainRead { chain: unknown, from: 0 };
    assert_eq!(spied.world.post(path::CHAIN_READ, &read).status, 403);
}

#[test]
fn a2_every_refused_attach_is_one_answer_and_asks_the_same_on_a_relay_that_is_warm() {
    let spied = Spied::new();
    let unknown = Device::new();
    let refusals: [(&str, &Device, &SigningKey); 4] = [
        ("no such inbox", &unknown, &unknown.owner),
        ("deleted inbox", &spied.gone, &spied.gone.owner),
        ("a stranger's key", &spied.bob, &unknown.owner),
        ("the manage key", &spied.bob, &spied.bob.manage),
    ];
    let cases: Vec<Case<'_, String>> = refusals
        .iter()
        .map(|(why, device, key)| {
            let act: Box<dyn Fn() -> String> = Box::new(|| {
                let mut stream = spied.world.stream();
                stream.attach_signed(device, key, &name());
                match stream.frame() {
                    Some(sotto_protocol::relay::server_frame::Frame::Refused(_)) => "refused".to_owned(),
                    _ => "something else".to_owned(),
                }
            });
            ((*why).to_owned(), act)
        })
        .collect();
    assert_eq!(cases[0].1(), "refused");
    assert_alike(&spied, &cases);
}
