//! What is set of a conversation, a contact, and the account.

use serde_json::Value;

use super::stage::{Stage, fails, objects, run, text};

#[test]
fn a_conversation_is_silent_put_away_unread_or_above_the_others_until_that_is_taken_back() {
    let (_stage, alice, bob) = Stage::contacts();
    run(&bob, &["send", "alice", "hello"]);
    run(&bob, &["sync"]);
    run(&alice, &["sync"]);
    run(&alice, &["read", "bob"]);
    let set = |words: &[&str]| -> Value {
        let shown = objects(&run(&alice, &[&["--json"], words].concat()));
        assert_eq!(shown.len(), 1, "{words:?}");
        assert_eq!(objects(&run(&alice, &["--json", "chats"]))[0], shown[0], "as the list says");
        shown[0].clone()
    };
    assert!(set(&["mute", "bob", "--for", "8h"])["muted_until"].is_u64());
    assert!(run(&alice, &["chats"]).out.ends_with("hello  (muted)\n"));
    assert!(set(&["mute", "bob"])["muted_until"].is_u64());
    assert!(set(&["unmute", "bob"])["muted_until"].is_null());
    for (on, off, field) in [("archive", "unarchive", "archived"), ("pin-chat", "unpin-chat", "pinned")] {
        assert_eq!(set(&[on, "bob"])[field], true);
        assert_eq!(set(&[off, "bob"])[field], false);
    }
    assert_eq!(set(&["unread", "bob"])["marked_unread"], true);
    assert_eq!(text(&set(&["draft", "bob", "- well"]), "draft"), "- well");
    assert!(set(&["draft", "bob", ""])["draft"].is_null());
    assert_eq!(fails(&alice, &["mute", "nobody"]), "not_found");
    assert_eq!(fails(&alice, &["mute", "bob", "--for", "soon"]), "usage");
}

#[test]
fn contacts_are_compared_and_noted() {
    let (_stage, alice, bob) = Stage::contacts();
    let code = |profile, who| text(&objects(&run(profile, &["--json", "safety-number", who]))[0], "code");
    let shown = code(&bob, "alice");
    let contact = |words: &[&str]| objects(&run(&alice, &[&["--json"], words].concat())).remove(0);
    assert_eq!(fails(&alice, &["verify", "bob", "--code", &code(&alice, "bob")]), "wrong_code", "our own");
    assert_eq!(contact(&["contacts"])["verified"], false);
    assert_eq!(contact(&["verify", "bob", "--code", &shown])["verified"], true);
    assert_eq!(contact(&["verify", "bob", "--take-back"])["verified"], false);
    assert_eq!(contact(&["verify", "bob"])["verified"], true);
    assert_eq!(contact(&["accept-keys", "bob"])["held"], false);
    let noted = alice.run_with_input(&["--json", "note", "bob", "-"], "met at the river\n").unwrap();
    assert_eq!(text(&objects(&noted)[0], "note"), "met at the river");
    assert!(run(&alice, &["contacts"]).out.ends_with("contact, verified\n            met at the river\n"));
    assert!(contact(&["note", "bob", ""])["note"].is_null());
    assert!(run(&alice, &["safety-number", "bob", "--qr"]).out.contains('█'), "a picture for people");
    let nudge = contact(&["nudge", "bob"]);
    assert_eq!(text(&nudge, "kind"), "nudge");
}

#[test]
fn what_others_are_told_is_shown_and_changed() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let settings = |words: &[&str]| {
        let shown = objects(&run(&alice, &[&["--json", "settings"], words].concat())).remove(0);
        ["receipts", "typing", "presence"].map(|field| shown[field].as_bool().unwrap())
    };
    assert_eq!(settings(&[]), [true, false, false]);
    assert_eq!(settings(&["--receipts", "off", "--typing", "on"]), [false, true, false]);
    assert_eq!(settings(&["--presence", "on"]), [false, true, true]);
    assert_eq!(run(&alice, &["settings", "--typing", "off"]).out, "receipts off, typing off, presence on\n");
    assert_eq!(fails(&alice, &["settings", "--typing", "maybe"]), "usage");
}
