//! What others send is shown and never obeyed: by names, by texts, by a relay's refusals.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use sotto_end_to_end::Finished;

use super::stage::{Stage, fails, objects, run, text};

/// Clears the screen, sets a title by C1, turns the direction, and begins a line of its own.
const ACTIVE: &str = "\u{1b}[2J\u{9b}31m\u{202e}\u{2066}\u{2028}x";

/// A terminal obeys none of it.
fn assert_inert(finished: &Finished) {
    for text in [&finished.out, &finished.err] {
        let obeyed = |letter: char| {
            (letter.is_control() && letter != '\n')
                || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}' | '\u{2067}' | '\u{2028}' | '\u{2029}')
        };
        assert!(!text.contains(obeyed), "{text:?}");
    }
}

/// Answers every call with a refusal of its own words.
fn refuse(stream: TcpStream, body: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length])?;
    let head =
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/problem+json\r\nconnection: close\r\ncontent-length";
    write!(reader.get_mut(), "{head}: {}\r\n\r\n{body}", body.len())
}

#[test]
fn names_and_texts_are_shown_and_not_obeyed() {
    let stage = Stage::set();
    let ((alice, _), (mallory, _)) =
        (stage.person("alice"), stage.person_called("mallory", &format!("mal{}", "\u{301}".repeat(60))));
    // What turns or hides is no name, for oneself or for a contact.
    let turned = "mal\u{202e}yrol\u{2028}me";
    assert_eq!(fails(&alice, &["init", "--relay", stage.relay.address(), "--name", turned]), "hidden_character");
    Stage::introduce(&alice, &mallory);
    run(&mallory, &["send", "alice", &format!("one{ACTIVE}\nalice: two")]);
    run(&mallory, &["sync"]);
    for form in [&["--json"] as &[&str], &[]] {
        for words in [&["sync"] as &[&str], &["contacts"], &["chats"]] {
            let shown = run(&alice, &[form, words].concat());
            assert_inert(&shown);
            assert!(!form.is_empty() || shown.out.matches('\u{301}').count() < 20, "{words:?}: marks pile up");
        }
        let id = text(&objects(&run(&alice, &["--json", "contacts"]))[0], "id");
        assert_eq!(fails(&alice, &["contacts", "rename", &id, turned]), "hidden_character");
        let shown = run(&alice, &[form, &["messages", &id]].concat());
        assert_inert(&shown);
        assert!(!shown.out.lines().any(|line| line.starts_with("alice:")), "{}", shown.out);
        if !form.is_empty() {
            assert_eq!(text(&objects(&shown)[0], "text"), format!("one{ACTIVE}\nalice: two"), "programs get it whole");
        }
    }
}

#[test]
fn a_relays_refusal_is_a_word_or_no_refusal() {
    let mut stage = Stage::set();
    let ((alice, _), (bob, _)) = (stage.person("alice"), stage.person("bob"));
    let link = text(&objects(&run(&alice, &["--json", "invite"]))[0], "link");
    let address = stage.relay.address().trim_start_matches("http://").to_owned();
    stage.relay.kill().unwrap();
    let listener = TcpListener::bind(&address).unwrap();
    let body = serde_json::json!({ "status": 403, "code": ACTIVE, "title": ACTIVE }).to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // Who does not want to hear it hangs up.
            let _ = refuse(stream, &body);
        }
    });
    let carol = stage.profile("carol");
    for form in [&["--json"] as &[&str], &[]] {
        let init = ["init", "--name", "carol", "--relay", &format!("http://{address}")];
        for (profile, words) in [(&bob, &["join", &link] as &[&str]), (&alice, &["sync"]), (&carol, &init)] {
            let refused = profile.run(&[form, words].concat()).unwrap();
            assert_ne!(refused.code, Some(0), "{words:?}");
            // Of the refused stream there is only the refusal to be told.
            let is_told = ["relay_malformed", "relay_broken"].iter().any(|code| refused.err.contains(code));
            assert!(is_told, "{words:?}: {}", refused.err);
            assert_inert(&refused);
        }
    }
}
