//! A4 and C2: a token is the right to put into one inbox, within what its owner allowed, and the relay keeps only its hash.

use std::time::Duration;

use sotto_protocol::relay::server_frame::Frame;
use sotto_protocol::relay::{
    InboxManageKey, Managed, PrekeyClaim, PrekeyCount, PrekeyPut, SendItem, Token as WireToken, TokenDrop, TokenPut,
};
use sotto_protocol::request::path;
use sotto_protocol::{Bytes, Message as _, Token};
use sotto_relay::limits::{StoreBounds, TOKENS_PER_INBOX_MAX};

use crate::support::{Device, Sent, World, code, fresh, signing_key};

fn claimed(claim: u8, item: SendItem) -> SendItem {
    SendItem { claim: vec![claim; 16].into(), ..item }
}

fn put(world: &World, device: &Device, tokens: Vec<WireToken>) -> sotto_relay::Response {
    world.signed(&device.manage, path::TOKEN_PUT, &TokenPut { inbox: device.inbox.into(), tokens })
}

#[test]
fn a4_tokens_are_managed_by_the_manage_key_and_by_no_other() {
    let world = World::new();
    let (bob, carol) = (world.device(), world.device());
    let token = WireToken { hash: Token::from_bytes(fresh()).hash().into(), ..WireToken::default() };
    let put = TokenPut { inbox: bob.inbox.into(), tokens: vec![token.clone()] };
    let drop = TokenDrop { inbox: bob.inbox.into(), hashes: vec![token.hash] };
    for key in [&bob.owner, &carol.manage, &signing_key()] {
        assert_eq!(code(&world.signed(key, path::TOKEN_PUT, &put)), "refused");
        assert_eq!(code(&world.signed(key, path::TOKEN_DROP, &drop)), "refused");
    }
    assert_eq!(world.signed(&bob.manage, path::TOKEN_PUT, &put).status, 200);
    assert_eq!(world.signed(&bob.manage, path::TOKEN_DROP, &drop).status, 200);
    assert_eq!(
        world.signed(&bob.manage, path::TOKEN_DROP, &drop).status,
        200,
        "dropping what is not there is harmless"
    );
}

#[test]
fn a4_a_relay_counts_what_changed_an_inbox_so_that_its_owner_knows_what_it_has_forgotten() {
    let mut world = World::on_disk();
    let bob = world.device();
    let counted = |world: &World| {
        let mut stream = world.stream();
        stream.attach(&bob);
        match stream.frame() {
            Some(Frame::Attached(attached)) => attached.changes,
            _ => panic!("it is not attached"),
        }
    };
    let managed = |response: &sotto_relay::Response| {
        assert_eq!(response.status, 200);
        Managed::decode(response.body.clone()).unwrap().changes
    };
    assert_eq!(counted(&world), 0);
    let token = WireToken { hash: Token::from_bytes(fresh()).hash().into(), ..WireToken::default() };
    assert_eq!(managed(&put(&world, &bob, vec![token.clone()])), 1);
    let prekeys = PrekeyPut { inbox: bob.inbox.into(), bundle: "bundle".into(), ..PrekeyPut::default() };
    let prekeys = world.signed(&bob.manage, path::PREKEY_PUT, &prekeys);
    assert_eq!(PrekeyCount::decode(prekeys.body).unwrap().changes, 2);
    world = world.reopened();
    assert_eq!(counted(&world), 2, "as durably as the changes");
    // What changes nothing is not counted.
    let keys = PrekeyPut { inbox: bob.inbox.into(), one_time: vec!["key".into(); 60], ..PrekeyPut::default() };
    assert_eq!(world.signed(&bob.manage, path::PREKEY_PUT, &keys).status, 200);
    assert_eq!(code(&world.signed(&bob.manage, path::PREKEY_PUT, &keys)), "full");
    assert_eq!(
        code(&world.signed(&bob.owner, path::TOKEN_PUT, &TokenPut { inbox: bob.inbox.into(), tokens: vec![] })),
        "refused"
    );
    let drop = TokenDrop { inbox: bob.inbox.into(), hashes: vec![token.hash] };
    assert_eq!(managed(&world.signed(&bob.manage, path::TOKEN_DROP, &drop)), 4);
    let key =
        InboxManageKey { inbox: bob.inbox.into(), manage_key: bob.manage.verifying_key().to_bytes().to_vec().into() };
    assert_eq!(managed(&world.signed(&bob.owner, path::INBOX_MANAGE_KEY, &key)), 5);
    assert_eq!(counted(&world), 5);
}

#[test]
fn a4_the_owner_key_replaces_the_manage_key_and_the_old_one_is_refused_from_then_on() {
    let world = World::on_disk();
    let bob = world.device();
    let new = signing_key();
    let replace =
        InboxManageKey { inbox: bob.inbox.into(), manage_key: new.verifying_key().to_bytes().to_vec().into() };
    assert_eq!(code(&world.signed(&bob.manage, path::INBOX_MANAGE_KEY, &replace)), "refused");
    assert_eq!(world.signed(&bob.owner, path::INBOX_MANAGE_KEY, &replace).status, 200);
    let world = world.reopened();
    let put = TokenPut { inbox: bob.inbox.into(), tokens: Vec::new() };
    assert_eq!(code(&world.signed(&bob.manage, path::TOKEN_PUT, &put)), "refused");
    assert_eq!(world.signed(&new, path::TOKEN_PUT, &put).status, 200);
}

#[test]
fn a4_a_token_opens_its_own_inbox_only() {
    let world = World::new();
    let (bob, carol) = (world.device(), world.device());
    let token = world.token(&bob, 1);
    assert_eq!(world.put(&carol, &token, b"x"), Sent::Refused);
    assert_eq!(world.put(&bob, &token, b"x"), Sent::Accepted);
}

#[test]
fn a4_a_dropped_token_is_refused_at_once_and_what_it_brought_stays() {
    let world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 1);
    world.put(&bob, &token, b"before");
    let drop = TokenDrop { inbox: bob.inbox.into(), hashes: vec![token.hash().into()] };
    world.signed(&bob.manage, path::TOKEN_DROP, &drop);
    assert_eq!(world.put(&bob, &token, b"after"), Sent::Refused);
    let world = world.reopened();
    assert_eq!(world.put(&bob, &token, b"after"), Sent::Refused);
    let mut stream = world.attached(&bob);
    assert_eq!(stream.deliveries().len(), 1);
    stream.ack(&bob, 1);
    assert!(!world.dump().iter().any(|line| line.starts_with("envelope:")));
}

#[test]
fn a4_a_token_expires_at_its_time() {
    let mut world = World::new();
    let bob = world.device();
    let end = world.now.after(Duration::from_secs(60));
    let token = world.token_with(&bob, |token| token.expires_at_ms = end.as_ms());
    world.now = end.before(Duration::from_millis(1));
    assert_eq!(world.put(&bob, &token, b"x"), Sent::Accepted);
    world.now = end;
    assert_eq!(world.put(&bob, &token, b"x"), Sent::Refused);
}

#[test]
fn a4_putting_a_token_again_changes_what_the_owner_says_and_keeps_what_was_used_up() {
    let world = World::on_disk();
    let bob = world.device();
    let mut wire = WireToken { puts_per_claim: 1, claims: 1, alias: 3, ..WireToken::default() };
    let token = Token::from_bytes(fresh());
    wire.hash = token.hash().into();
    put(&world, &bob, vec![wire.clone()]);
    assert_eq!(world.send(vec![claimed(1, world.item(&bob, &token))], b"x"), [Sent::Accepted]);
    wire.alias = 4;
    put(&world, &bob, vec![wire.clone()]);
    let world = world.reopened();
    assert_eq!(world.send(vec![claimed(1, world.item(&bob, &token))], b"x"), [Sent::Refused], "its put is used up");
    assert_eq!(world.send(vec![claimed(2, world.item(&bob, &token))], b"x"), [Sent::Refused], "its claim is used up");
    wire.puts_per_claim = 2;
    put(&world, &bob, vec![wire]);
    assert_eq!(world.send(vec![claimed(1, world.item(&bob, &token))], b"x"), [Sent::Accepted]);
    assert_eq!(world.waiting(&bob).iter().map(|delivery| delivery.alias).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn c2_a_single_use_invite_is_bound_by_the_first_claim_id_for_thirty_two_puts() {
    let world = World::on_disk();
    let bob = world.device();
    let invite = world.token_with(&bob, |token| (token.puts_per_claim, token.claims) = (32, 1));
    assert_eq!(world.put(&bob, &invite, b"without a claim"), Sent::Refused);
    for _ in 0..32 {
        assert_eq!(world.send(vec![claimed(1, world.item(&bob, &invite))], b"x"), [Sent::Accepted]);
    }
    let world = world.reopened();
    assert_eq!(world.send(vec![claimed(1, world.item(&bob, &invite))], b"x"), [Sent::Refused]);
    assert_eq!(world.send(vec![claimed(2, world.item(&bob, &invite))], b"x"), [Sent::Refused]);
}

#[test]
fn c2_an_invite_for_n_admits_n_claim_ids_each_with_its_own_puts() {
    let world = World::new();
    let bob = world.device();
    let invite = world.token_with(&bob, |token| (token.puts_per_claim, token.claims) = (2, 3));
    for claim in 1..=3 {
        let items = vec![claimed(claim, world.item(&bob, &invite)); 3].into_iter();
        let items = items.map(|item| SendItem { envelope: world.envelope_id().into(), ..item }).collect();
        assert_eq!(world.send(items, b"x"), [Sent::Accepted, Sent::Accepted, Sent::Refused]);
    }
    assert_eq!(world.send(vec![claimed(4, world.item(&bob, &invite))], b"x"), [Sent::Refused]);
}

#[test]
fn c2_a_repeated_put_uses_nothing_up() {
    let world = World::new();
    let bob = world.device();
    let invite = world.token_with(&bob, |token| (token.puts_per_claim, token.claims) = (2, 1));
    let item = claimed(1, world.item(&bob, &invite));
    for _ in 0..5 {
        assert_eq!(world.send(vec![item.clone()], b"x"), [Sent::Accepted]);
    }
    assert_eq!(world.send(vec![claimed(1, world.item(&bob, &invite))], b"x"), [Sent::Accepted]);
    assert_eq!(world.send(vec![claimed(1, world.item(&bob, &invite))], b"x"), [Sent::Refused]);
    assert_eq!(world.send(vec![item], b"x"), [Sent::Accepted], "a repeat, although all is used up");
}

#[test]
fn c2_claiming_prekeys_and_putting_bind_the_same_claim() {
    let world = World::new();
    let bob = world.device();
    let bundle = PrekeyPut { inbox: bob.inbox.into(), bundle: Bytes::from_static(b"bundle"), ..PrekeyPut::default() };
    world.signed(&bob.manage, path::PREKEY_PUT, &bundle);
    let invite = world.token_with(&bob, |token| (token.puts_per_claim, token.claims) = (2, 1));
    let claim = |claim: u8| PrekeyClaim {
        inbox: bob.inbox.into(),
        token: invite.as_bytes().to_vec().into(),
        claim: vec![claim; 16].into(),
        bundle_only: false,
    };
    assert_eq!(world.post(path::PREKEY_CLAIM, &claim(1)).status, 200);
    assert_eq!(code(&world.post(path::PREKEY_CLAIM, &claim(2))), "refused");
    assert_eq!(world.send(vec![claimed(2, world.item(&bob, &invite))], b"x"), [Sent::Refused]);
    assert_eq!(world.send(vec![claimed(1, world.item(&bob, &invite))], b"x"), [Sent::Accepted]);
    assert_eq!(world.send(vec![claimed(1, world.item(&bob, &invite))], b"x"), [Sent::Accepted]);
    assert_eq!(world.send(vec![claimed(1, world.item(&bob, &invite))], b"x"), [Sent::Refused]);
}

#[test]
fn c2_nothing_fleeting_comes_by_an_invite() {
    let world = World::new();
    let bob = world.device();
    let invite = world.token_with(&bob, |token| (token.puts_per_claim, token.claims) = (2, 1));
    let item = SendItem { ephemeral: true, ..claimed(1, world.item(&bob, &invite)) };
    assert_eq!(world.send(vec![item], b"x"), [Sent::Refused]);
}

fn small() -> StoreBounds {
    StoreBounds { inbox_count_max: 16, inbox_bytes_max: 16_000, ..StoreBounds::default() }
}

#[test]
fn a4_one_token_fills_at_most_a_quarter_of_an_inbox_in_count_and_in_bytes() {
    let world = World::bounded(small());
    let bob = world.device();
    let (many, large) = (world.token(&bob, 1), world.token(&bob, 2));
    let outcomes: Vec<Sent> = (0..6).map(|_| world.put(&bob, &many, b"x")).collect();
    assert_eq!(outcomes, [[Sent::Accepted; 4].as_slice(), &[Sent::Full; 2]].concat());
    assert_eq!(world.put(&bob, &large, &[0; 3_900]), Sent::Accepted);
    assert_eq!(world.put(&bob, &large, &[0; 200]), Sent::Full);
    assert_eq!(world.put(&bob, &world.token(&bob, 3), b"x"), Sent::Accepted, "others have their own share");
}

#[test]
fn a4_a_token_with_a_bound_of_its_own_stays_below_it() {
    let world = World::bounded(small());
    let bob = world.device();
    let token = world.token_with(&bob, |token| token.queued_bytes_max = 1_000);
    assert_eq!(world.put(&bob, &token, &[0; 900]), Sent::Accepted);
    assert_eq!(world.put(&bob, &token, &[0; 200]), Sent::Full);
    let greedy = world.token_with(&bob, |token| token.queued_bytes_max = 1_000_000);
    assert_eq!(world.put(&bob, &greedy, &[0; 3_900]), Sent::Accepted);
    assert_eq!(world.put(&bob, &greedy, &[0; 200]), Sent::Full, "a quarter all the same");
}

#[test]
fn a4_full_ends_when_half_has_been_acknowledged_and_not_before() {
    let world = World::bounded(small());
    let bob = world.device();
    let tokens: Vec<Token> = (0..5).map(|alias| world.token(&bob, alias)).collect();
    for round in 0..16 {
        assert_eq!(world.put(&bob, &tokens[round / 4], b"x"), Sent::Accepted);
    }
    assert_eq!(world.put(&bob, &tokens[4], b"x"), Sent::Full, "the inbox");
    let mut stream = world.attached(&bob);
    stream.deliveries();
    stream.ack(&bob, 7);
    assert_eq!(world.put(&bob, &tokens[4], b"x"), Sent::Full, "nine of sixteen still wait");
    stream.ack(&bob, 8);
    assert_eq!(world.put(&bob, &tokens[4], b"x"), Sent::Accepted);
}

#[test]
fn a4_full_is_told_only_to_holders_of_a_valid_token() {
    let world = World::bounded(small());
    let bob = world.device();
    for alias in 0..4 {
        let token = world.token(&bob, alias);
        for _ in 0..4 {
            world.put(&bob, &token, b"x");
        }
    }
    assert_eq!(world.put(&bob, &world.token(&bob, 9), b"x"), Sent::Full);
    assert_eq!(world.put(&bob, &Token::from_bytes(fresh()), b"x"), Sent::Refused);
}

#[test]
fn a4_a_repeat_of_what_is_there_is_accepted_by_a_full_inbox() {
    let world = World::bounded(small());
    let bob = world.device();
    let token = world.token(&bob, 1);
    let item = world.item(&bob, &token);
    world.send(vec![item.clone()], b"x");
    for _ in 0..4 {
        world.put(&bob, &token, b"x");
    }
    assert_eq!(world.put(&bob, &token, b"x"), Sent::Full);
    assert_eq!(world.send(vec![item], b"x"), [Sent::Accepted]);
}

#[test]
fn a4_what_expires_makes_room_again() {
    let mut world = World::bounded(small());
    let bob = world.device();
    let token = world.token(&bob, 1);
    while world.put(&bob, &token, b"x") == Sent::Accepted {}
    world.pass(Duration::from_secs(31 * 24 * 3600));
    world.sweep();
    assert_eq!(world.put(&bob, &token, b"x"), Sent::Accepted);
}

#[test]
fn a4_an_inbox_has_a_bounded_number_of_tokens_and_more_are_refused_whole() {
    let world = World::on_disk();
    let bob = world.device();
    let batch = |start: u32, count: u32| -> Vec<WireToken> {
        let hash = |number: u32| {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&number.to_be_bytes());
            Bytes::copy_from_slice(&hash)
        };
        (start..start + count).map(|number| WireToken { hash: hash(number), ..WireToken::default() }).collect()
    };
    let mut there = 0;
    while there < TOKENS_PER_INBOX_MAX {
        let count = (TOKENS_PER_INBOX_MAX - there).min(250);
        assert_eq!(put(&world, &bob, batch(there, count)).status, 200);
        there += count;
    }
    let tokens = |world: &World| world.dump().iter().filter(|line| line.starts_with("token:")).count();
    let before = tokens(&world);
    let mut one_known_one_new = batch(0, 1);
    one_known_one_new[0].alias = 77;
    one_known_one_new.extend(batch(there, 1));
    assert_eq!(code(&put(&world, &bob, one_known_one_new)), "full");
    assert_eq!(tokens(&world), before);
    assert!(!world.dump().iter().any(|line| line.starts_with("token:") && line.contains("]), Integer(77)")));
    assert_eq!(put(&world, &bob, batch(0, 1)).status, 200, "one that is there is replaced");
    assert_eq!(code(&put(&world, &bob, batch(0, 257))), "too_large");
}

#[test]
fn a4_the_same_token_twice_in_one_put_is_one_token() {
    let world = World::on_disk();
    let bob = world.device();
    let token = Token::from_bytes(fresh());
    let wire = |alias| WireToken { hash: token.hash().into(), alias, ..WireToken::default() };
    assert_eq!(put(&world, &bob, vec![wire(1), wire(2)]).status, 200);
    world.put(&bob, &token, b"x");
    assert_eq!(world.waiting(&bob)[0].alias, 2);
}

#[test]
fn a4_the_database_holds_no_token_only_hashes() {
    let world = World::on_disk();
    let bob = world.device();
    let token = world.token(&bob, 1);
    world.put(&bob, &token, b"x");
    let dump = world.dump().join("\n");
    assert!(dump.contains(&format!("{:?}", rusqlite::types::ValueRef::Blob(token.hash().as_ref()))));
    assert!(!dump.contains(&format!("{:?}", token.as_bytes()).replace(['[', ']'], "")));
}

#[test]
fn a4_an_expired_token_is_forgotten_after_its_repeats_are() {
    let mut world = World::on_disk();
    let bob = world.device();
    let end = world.now.after(Duration::from_secs(60)).as_ms();
    let invite = world.token_with(&bob, |token| {
        (token.puts_per_claim, token.claims, token.expires_at_ms) = (1, 1, end);
    });
    world.send(vec![claimed(1, world.item(&bob, &invite))], b"x");
    let rows = |world: &World| {
        world.dump().iter().filter(|line| line.starts_with("token:") || line.starts_with("claim:")).count()
    };
    world.pass(Duration::from_secs(37 * 24 * 3600));
    world.sweep();
    assert_eq!(rows(&world), 2);
    world.pass(Duration::from_secs(24 * 3600));
    world.sweep();
    assert_eq!(rows(&world), 0);
}
