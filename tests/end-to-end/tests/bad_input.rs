//! Bad input and bad days: a typed code, and nothing changed.

use sotto_core::protocol::Timestamp;
use sotto_core::protocol::invite::Invite;
use sotto_end_to_end::{Relay, finish};

use super::stage::{Stage, binary, fails, failure, objects, run, text, transcript};

#[test]
fn links_that_cannot_be_used_change_nothing() {
    let stage = Stage::set();
    let ((alice, _), (bob, _), (carol, _)) = (stage.person("alice"), stage.person("bob"), stage.person("carol"));
    let link = text(&objects(&run(&alice, &["--json", "invite", "--auto-accept"]))[0], "link");
    for garbage in ["", "hello", &link[..link.len() - 3], &format!("{link}x")] {
        assert_eq!(fails(&carol, &["join", garbage]), "invite_garbage", "{garbage}");
    }
    assert_eq!(fails(&alice, &["join", &link]), "invite_own");
    run(&bob, &["join", &link]);
    assert_eq!(fails(&bob, &["join", &link]), "already_contact");
    assert_eq!(fails(&carol, &["join", &link]), "invite_used_up");
    assert!(run(&carol, &["--json", "contacts"]).out.is_empty());
}

#[test]
fn a_link_that_has_expired_or_whose_relay_is_away_or_is_another_changes_nothing() {
    let (mut stage, alice, bob) = Stage::contacts();
    run(&bob, &["send", "me", "before"]);
    let (carol, _) = stage.person("carol");
    let link = text(&objects(&run(&carol, &["--json", "invite", "--auto-accept"]))[0], "link");
    let known = run(&bob, &["--json", "contacts"]).out;
    let invite: Invite = link.parse().expect("a link");
    let expired = Invite { expires_at: Timestamp::from_ms(1_000 * 3_600_000), ..invite.clone() };
    assert_eq!(fails(&bob, &["join", &expired.to_link().expect("a link")]), "invite_expired");
    // A port where nobody listens, and a relay that has never heard of this invite.
    let elsewhere = Invite { relay: "http://127.0.0.1:1".parse().expect("an address"), ..invite.clone() };
    assert_eq!(fails(&bob, &["join", &elsewhere.to_link().expect("a link")]), "relay_unreachable");
    let other = Relay::start(binary(), &stage.path("other relay")).unwrap();
    let elsewhere = Invite { relay: other.address().parse().expect("an address"), ..invite };
    assert_eq!(fails(&bob, &["join", &elsewhere.to_link().expect("a link")]), "invite_used_up");
    stage.relay.kill().unwrap();
    assert_eq!(fails(&bob, &["join", &link]), "relay_unreachable");
    assert_eq!(run(&bob, &["--json", "contacts"]).out, known);
    assert_eq!(transcript(&bob, "me"), ["before"]);
    stage.relay.restart().unwrap();
    run(&bob, &["join", &link]);
    run(&alice, &["sync"]);
}

#[test]
fn what_is_no_text_is_refused_and_what_looks_like_an_option_is_said() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    run(&alice, &["send", "me", "-5"]);
    run(&alice, &["send", "me", "--", "--json"]);
    let garbled = finish(&mut alice.command(&["--json", "send", "me", "-"]), b"fine\n\xff\xfe\nnever read\n").unwrap();
    assert_eq!(failure(&garbled), "input_failed");
    assert_eq!(fails(&alice, &["send", "me", ""]), "empty");
    let long = "x".repeat(70_000);
    let too_long = alice.run_with_input(&["--json", "send", "me", "-"], &format!("{long}\n")).unwrap();
    assert_eq!(failure(&too_long), "too_long");
    assert_eq!(transcript(&alice, "me"), ["-5", "--json", "fine"]);
}

#[test]
fn a_damaged_database_is_told_and_left_alone() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    run(&alice, &["send", "me", "before"]);
    let path = alice.directory().join("sotto.db");
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    // One bit in every page but the first, which is what tells a database from a wrong key.
    damaged.chunks_mut(4_096).skip(1).for_each(|page| page[2_000] ^= 1);
    std::fs::write(&path, &damaged).unwrap();
    assert_eq!(fails(&alice, &["messages", "me"]), "database_damaged");
    assert!(std::fs::read(&path).unwrap() == damaged, "nobody repairs what they cannot read");
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(transcript(&alice, "me"), ["before"]);
}
