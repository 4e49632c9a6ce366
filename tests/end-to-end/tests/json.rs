//! What programs rely on: one object a line with the promised fields, one object for a failure.

use serde_json::Value;

use super::stage::{Stage, fails, objects, run, text};

fn has(object: &Value, fields: &[&str]) {
    for field in fields {
        assert!(object.get(field).is_some(), "{field} in {object}");
    }
}

#[test]
fn every_command_prints_objects_with_the_promised_fields() {
    let stage = Stage::set();
    let alice = stage.profile("alice");
    let made = objects(&run(&alice, &["--json", "init", "--relay", stage.relay.address(), "--name", "alice"]));
    assert_eq!(text(&made[0], "kind"), "account");
    has(&made[0], &["account", "device", "name", "published"]);
    let (bob, bob_id) = stage.person("bob");
    let invite = objects(&run(&alice, &["--json", "invite", "--uses", "2", "--expires", "1d", "--qr"]));
    assert_eq!(invite.len(), 1, "a picture is for people");
    assert_eq!(text(&invite[0], "kind"), "invite");
    has(&invite[0], &["link", "expires_at", "uses", "published"]);
    let contact = ["kind", "id", "name", "own_name", "state", "blocked", "trust", "outdated"];
    // From standard input, where nobody else sees it.
    let joined = bob.run_with_input(&["--json", "join", "-"], &format!("{}\n", text(&invite[0], "link"))).unwrap();
    has(&objects(&joined)[0], &contact);
    let sync = objects(&run(&alice, &["--json", "sync"]));
    has(&sync[0], &contact);
    assert_eq!((text(&sync[0], "kind"), text(&sync[0], "state")), ("contact".into(), "asking".into()));
    let summary = sync.last().unwrap();
    has(summary, &["received", "sent", "waiting", "complete", "unreachable"]);
    assert_eq!((text(summary, "kind"), &summary["complete"]), ("sync".into(), &true.into()));
    let accepted = objects(&run(&alice, &["--json", "contacts", "accept", "bob"]));
    assert_eq!(text(&accepted[0], "state"), "accepted");
    run(&bob, &["--json", "sync"]);
    run(&alice, &["--json", "sync"]);
    let message = [
        "number",
        "id",
        "conversation",
        "sender",
        "sender_name",
        "sent_at",
        "kind",
        "text",
        "ranges",
        "reply_to",
        "forwarded",
        "edited_at",
        "reactions",
        "pinned",
        "unread",
        "deleted",
        "state",
        "cause",
    ];
    let sent = objects(&run(&alice, &["--json", "send", "--wait", "bob", "-5"]));
    has(&sent[0], &message);
    assert_eq!((text(&sent[0], "text"), text(&sent[0], "state")), ("-5".into(), "sent".into()));
    let received = objects(&run(&bob, &["--json", "sync"]));
    assert_eq!((text(&received[0], "text"), text(&received[0], "state")), ("-5".into(), "received".into()));
    has(&objects(&run(&bob, &["--json", "messages", "alice"]))[0], &message);
    let chats = objects(&run(&bob, &["--json", "chats"]));
    assert_eq!(text(&chats[0], "kind"), "chat");
    has(&chats[0], &["id", "contact", "name", "last_at", "unread", "preview"]);
    assert!(objects(&run(&bob, &["--json", "read", "alice"])).is_empty());
    assert_eq!(objects(&run(&bob, &["--json", "chats"]))[0]["unread"], 0);
    let number = objects(&run(&alice, &["--json", "safety-number", "bob"]));
    assert_eq!((text(&number[0], "kind"), text(&number[0], "safety_number").len()), ("safety_number".into(), 60));
    for (words, state) in [
        ("rename bob robert", "accepted"),
        ("block robert", "accepted"),
        ("unblock robert", "accepted"),
        ("remove robert", "removed"),
    ] {
        let words: Vec<&str> = ["--json", "contacts"].into_iter().chain(words.split(' ')).collect();
        let changed = objects(&run(&alice, &words));
        has(&changed[0], &contact);
        assert_eq!((text(&changed[0], "id"), text(&changed[0], "state")), (bob_id.clone(), state.to_owned()));
    }
    assert!(objects(&run(&alice, &["--json", "contacts"])).is_empty());
    let read = objects(&run(&alice, &["--json", "messages", "robert"]));
    assert_eq!(text(&read[0], "text"), "-5", "what was said with somebody who was removed");
}

#[test]
fn every_failure_is_one_object_with_code_and_message() {
    let stage = Stage::set();
    let nobody = stage.profile("nobody");
    for words in ["invite", "contacts", "sync", "chats", "messages x", "send x y", "read x", "safety-number x"] {
        assert_eq!(fails(&nobody, &words.split(' ').collect::<Vec<_>>()), "no_profile", "{words}");
    }
    assert!(!nobody.directory().exists(), "looking makes nothing");
    let (alice, _) = stage.person("alice");
    let home = stage.relay.address();
    assert_eq!(fails(&alice, &["relay", "remove", home]), "last_relay");
    for (words, code) in [
        ("relay add nonsense", "bad_relay_address"),
        ("relay remove http://127.0.0.1:9", "not_found"),
        ("messages nobody", "not_found"),
        ("contacts accept nobody", "not_found"),
        ("invite --uses 0", "out_of_range"),
        ("invite --expires 30m", "out_of_range"),
        ("invite --expires 30s", "usage"),
        ("sync --for 18446744073709551615", "usage"),
        ("frobnicate", "usage"),
        ("join nonsense", "invite_garbage"),
    ] {
        assert_eq!(fails(&alice, &words.split(' ').collect::<Vec<_>>()), code, "{words}");
    }
    assert_eq!(alice.run(&["--json", "frobnicate"]).unwrap().code, Some(2));
}

#[test]
fn results_that_cannot_be_printed_are_no_success() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    run(&alice, &["send", "me", "a note"]);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = alice.command(&["--json", "messages", "me"]).stdout(full).output().unwrap();
    let failure: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&failure["code"], output.status.code()), (&"output_failed".into(), Some(1)));
}
