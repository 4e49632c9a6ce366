//! `sotto chat`, as somebody at a terminal meets it.

use sotto_end_to_end::{Profile, Terminal};

use super::stage::{Stage, objects, run, stay, text, transcript, until};

/// Somebody at a terminal.
fn chat(profile: &Profile, who: &str, columns: u16, rows: u16) -> Terminal {
    let mut command = profile.command(&["chat", who]);
    command.env("TZ", "UTC").env_remove("NO_COLOR");
    Terminal::start(&mut command, columns, rows).expect("the chat starts")
}

/// Waits until all of these are seen.
fn see(terminal: &Terminal, words: &[&str]) -> String {
    let seen = terminal.until(|seen| words.iter().all(|word| seen.contains(word)));
    seen.unwrap_or_else(|seen| unreachable!("{words:?} are not to be seen in\n{seen}"))
}

#[test]
fn a_chat_shows_what_is_said_says_what_is_written_and_gives_the_terminal_back() {
    let (_stage, alice, bob) = Stage::contacts();
    run(&bob, &["send", "alice", "Good morning"]);
    run(&bob, &["sync"]);
    run(&alice, &["sync"]);
    let at_bob = stay(&bob);
    let mut terminal = chat(&alice, "bob", 80, 24);
    see(&terminal, &["Good morning", "New", "bob"]);
    terminal.press("Hello, bob\r").unwrap();
    see(&terminal, &["Hello, bob", "✓"]);
    until(|| transcript(&bob, "alice").len() == 2);
    run(&bob, &["read", "alice"]);
    see(&terminal, &["✔✔"]);
    // What was shown here is read, and its sender hears of it.
    until(|| text(&objects(&run(&bob, &["--json", "messages", "alice"]))[0], "state") == "read");
    terminal.press("\u{3}").unwrap();
    assert!(terminal.wait().unwrap().success());
    assert!(terminal.is_restored().unwrap());
    drop(at_bob);
}
