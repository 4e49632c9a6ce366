//! What is done to messages, each named by its number: here and on the other side.

use serde_json::Value;
use sotto_end_to_end::Profile;

use super::stage::{Stage, fails, objects, run, text};

/// The one message that a command shows.
fn one(profile: &Profile, words: &[&str]) -> Value {
    let mut shown = objects(&run(profile, &[&["--json"], words].concat()));
    assert_eq!(shown.len(), 1, "{words:?}");
    shown.remove(0)
}

fn number(message: &Value) -> String {
    message["number"].as_i64().expect("a number").to_string()
}

fn all(profile: &Profile, who: &str) -> Vec<Value> {
    objects(&run(profile, &["--json", "messages", who]))
}

fn human(profile: &Profile, words: &[&str]) -> String {
    run(profile, words).out
}

fn sync(profiles: &[&Profile]) {
    for profile in profiles {
        run(profile, &["sync"]);
    }
}

#[test]
fn what_is_done_to_a_message_shows_on_both_sides() {
    let (_stage, alice, bob) = Stage::contacts();
    let asked = one(&alice, &["send", "bob", "Shall we meat?"]);
    sync(&[&alice, &bob]);
    let theirs = all(&bob, "alice").remove(0);
    assert_eq!((&theirs["unread"], &theirs["id"]), (&true.into(), &asked["id"]));

    let edited = one(&alice, &["edit", &number(&asked), "Shall we meet?"]);
    assert!(edited["edited_at"].is_u64() && text(&edited, "text") == "Shall we meet?", "{edited}");
    let felt = one(&bob, &["react", &number(&theirs), "👍"]);
    assert_eq!(
        (text(&felt["reactions"][0], "emoji"), text(&felt["reactions"][0], "author_name")),
        ("👍".into(), "me".into())
    );
    assert_eq!(one(&bob, &["pin", &number(&theirs)])["pinned"], true);
    run(&bob, &["send", "me", "elsewhere"]);
    let answer = one(&bob, &["reply", &number(&theirs), "-5 degrees? No."]);
    assert_eq!(
        (text(&answer["reply_to"], "author_name"), &answer["reply_to"]["number"]),
        ("alice".into(), &theirs["number"])
    );
    sync(&[&bob, &alice, &bob]);
    assert_eq!(one(&alice, &["messages", "bob", "--pinned"])["id"], theirs["id"]);
    assert_eq!(one(&alice, &["messages", "bob", "--around", &number(&asked), "--limit", "1"])["id"], theirs["id"]);

    let (at_alice, at_bob) = (all(&alice, "bob"), all(&bob, "alice"));
    for (mine, theirs) in at_alice.iter().zip(&at_bob) {
        for field in ["id", "text", "edited_at", "pinned", "deleted", "forwarded"] {
            assert_eq!(mine[field], theirs[field], "{field}");
        }
    }
    assert_eq!(text(&at_alice[0]["reactions"][0], "author_name"), "bob");
    assert_eq!(text(&at_alice[1]["reply_to"], "text"), "Shall we meet?");
    let shown = human(&alice, &["messages", "bob"]);
    let (first, second) = (number(&at_alice[0]), number(&at_alice[1]));
    for line in [
        format!("#{first} me: Shall we meet?  (edited)  (pinned)  (delivered)"),
        "      reactions: 👍 bob".to_owned(),
        format!("#{second} bob: -5 degrees? No.  (new)"),
        format!("      answers #{first} me: Shall we meet?"),
    ] {
        assert!(shown.lines().any(|shown| shown.ends_with(&line)), "{line} in {shown}");
    }

    assert_eq!(one(&bob, &["react", &number(&theirs), "--take-back"])["reactions"], Value::Array(Vec::new()));
    assert_eq!(one(&alice, &["unpin", &first])["pinned"], false);
    sync(&[&alice, &bob]);
    let note = one(&alice, &["forward", &second, "me"]);
    assert_eq!((&note["forwarded"], text(&note, "text")), (&true.into(), "-5 degrees? No.".into()));
    let gone = one(&bob, &["delete", &number(&answer)]);
    assert_eq!(
        (&gone["deleted"], text(&gone, "kind"), text(&gone, "text")),
        (&true.into(), "deleted".into(), String::new())
    );
    assert!(run(&alice, &["--json", "delete", "--for-me", &first]).out.is_empty());
    sync(&[&bob, &alice, &bob]);
    let (at_alice, at_bob) = (all(&alice, "bob"), all(&bob, "alice"));
    assert_eq!((at_alice.len(), &at_alice[0]["deleted"]), (1, &true.into()), "one taken back, one taken from view");
    assert_eq!(
        (at_bob.len(), &at_bob[0]["pinned"], &at_bob[0]["reactions"]),
        (2, &false.into(), &Value::Array(Vec::new()))
    );
}

#[test]
fn all_that_is_known_of_a_message_can_be_seen() {
    let (_stage, alice, bob) = Stage::contacts();
    let said = one(&alice, &["send", "bob", "tomorow"]);
    one(&alice, &["edit", &number(&said), "tomorrow\nat eight"]);
    sync(&[&alice, &bob]);
    // Whoever says something confirms what came before.
    run(&bob, &["send", "alice", "fine"]);
    sync(&[&bob, &alice]);
    let info = one(&alice, &["info", &number(&said)]);
    let history: Vec<_> = info["history"].as_array().unwrap().iter().map(|version| text(version, "text")).collect();
    assert_eq!(history, ["tomorow", "tomorrow\nat eight"]);
    let delivery = &info["deliveries"][0];
    assert_eq!((text(delivery, "state"), &delivery["own"]), ("confirmed".into(), &false.into()));
    assert_eq!(text(&info, "with_name"), "bob");
    let shown = human(&alice, &["info", &number(&said)]);
    assert!(shown.contains(": tomorow\n") && shown.contains("…: confirmed, "), "{shown}");
}

#[test]
fn what_was_said_is_found_by_words_place_sender_and_date() {
    let (_stage, alice, bob) = Stage::contacts();
    run(&alice, &["send", "bob", "The heron stands in the river"]);
    run(&alice, &["send", "me", "read about rivers"]);
    run(&bob, &["send", "alice", "A river? 川です"]);
    sync(&[&alice, &bob, &alice]);
    let found = |words: &[&str]| -> Vec<String> {
        let mut shown = objects(&run(&alice, &[&["--json", "search"], words].concat()));
        let summary = shown.pop().unwrap();
        assert_eq!((text(&summary, "kind"), &summary["complete"]), ("search".into(), &true.into()));
        shown.iter().map(|hit| text(&hit["message"], "text")).collect()
    };
    assert_eq!(found(&["river"]).len(), 3);
    assert_eq!(found(&["stands", "river"]), ["The heron stands in the river"]);
    assert_eq!(found(&["river", "--in", "me"]), ["read about rivers"]);
    assert_eq!(found(&["river", "--from", "bob"]), ["A river? 川です"]);
    assert_eq!(found(&["--from", "bob"]), ["A river? 川です"], "without words, everything that the rest is true of");
    assert_eq!(found(&["river", "--limit", "1"]).len(), 1);
    assert_eq!(found(&["river", "--after", "2020-01-01"]).len(), 3);
    assert!(found(&["river", "--before", "2020-01-01"]).is_empty());
    let hit = &objects(&run(&alice, &["--json", "search", "heron"]))[0];
    let place = &hit["snippet"]["matches"][0];
    assert_eq!(
        (text(hit, "with_name"), place["start"].as_u64(), place["length"].as_u64()),
        ("bob".into(), Some(4), Some(5))
    );
    let shown = human(&alice, &["search", "heron"]);
    assert!(shown.ends_with("[bob] me: The heron stands in the river\n"), "{shown}");
}

#[test]
fn what_cannot_be_done_to_a_message_is_told_and_changes_nothing() {
    let (_stage, alice, bob) = Stage::contacts();
    run(&alice, &["send", "bob", "mine"]);
    sync(&[&alice, &bob]);
    let theirs = number(&all(&bob, "alice")[0]);
    let before = run(&bob, &["--json", "messages", "alice"]).out;
    for (words, code) in [
        (vec!["edit", &theirs, "yours"], "wrong_state"),
        (vec!["delete", &theirs], "wrong_state"),
        (vec!["retry", &theirs], "wrong_state"),
        (vec!["react", &theirs, "not a word"], "control_character"),
        (vec!["react", &theirs], "usage"),
        (vec!["react", &theirs, "👍", "--take-back"], "usage"),
        (vec!["reply", &theirs, ""], "empty"),
        (vec!["reply", "99", "x"], "not_found"),
        (vec!["forward", &theirs, "nobody"], "not_found"),
        (vec!["info", "99"], "not_found"),
        (vec!["messages", "me", "--around", &theirs], "not_found"),
        (vec!["pin", "first"], "usage"),
        (vec!["search"], "empty"),
        (vec!["search", "x", "--after", "yesterday"], "usage"),
    ] {
        assert_eq!(fails(&bob, &words), code, "{words:?}");
    }
    assert_eq!(run(&bob, &["--json", "messages", "alice"]).out, before);
    let piped = bob.run_with_input(&["--json", "reply", &theirs, "-"], "nobody sees it\n").unwrap();
    assert_eq!(text(&objects(&piped)[0], "text"), "nobody sees it");
}

#[test]
fn what_has_failed_is_tried_again_once_it_can_arrive() {
    let (mut stage, alice, bob) = Stage::contacts();
    stage.relay.kill().unwrap();
    let said = number(&one(&alice, &["send", "bob", "late"]));
    assert_eq!(fails(&alice, &["retry", &said]), "wrong_state");
    run(&alice, &["contacts", "remove", "bob"]);
    let failed = one(&alice, &["info", &said]);
    assert_eq!((text(&failed, "state"), text(&failed, "cause")), ("failed".into(), "contact_removed".into()));
    assert_eq!(text(&failed["deliveries"][0], "state"), "failed");
    assert_eq!(fails(&alice, &["retry", &said]), "not_found", "nobody is there");
    stage.relay.restart().unwrap();
    Stage::introduce(&bob, &alice);
    assert_eq!(text(&one(&alice, &["retry", &said]), "state"), "queued");
    sync(&[&alice, &bob]);
    assert_eq!(all(&bob, "alice").iter().map(|message| text(message, "text")).collect::<Vec<_>>(), ["late"]);
}
