//! `sotto chat`, as somebody at a terminal meets it.

use sotto_end_to_end::{Profile, Signal, Terminal};

use super::stage::{Stage, fails, objects, run, stay, text, transcript, until};

const UP: &str = "\u{1b}[A";
const PAGE_UP: &str = "\u{1b}[5~";
const ENTER: &str = "\r";
const ESCAPE: &str = "\u{1b}";
const SUSPEND: &str = "\u{1a}";
const LEAVE: &str = "\u{3}";

/// Somebody at a terminal.
fn chat(profile: &Profile, who: &str, columns: u16, rows: u16) -> Terminal {
    let mut command = profile.command(&["chat", who]);
    command.env("TZ", "UTC").env_remove("NO_COLOR");
    Terminal::start(&mut command, columns, rows).expect("the chat starts")
}

/// Leaves, and leaves nothing behind.
fn leave(mut terminal: Terminal) {
    terminal.press(LEAVE).expect("a terminal");
    assert!(terminal.wait().expect("a process").success());
    assert!(terminal.is_restored().expect("a terminal"));
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
    terminal.press(&format!("Hello, bob{ENTER}")).unwrap();
    see(&terminal, &["Hello, bob", "✓"]);
    until(|| transcript(&bob, "alice").len() == 2);
    run(&bob, &["read", "alice"]);
    see(&terminal, &["✔✔"]);
    // What was shown here is read, and its sender hears of it.
    until(|| text(&objects(&run(&bob, &["--json", "messages", "alice"]))[0], "state") == "read");
    leave(terminal);
    drop(at_bob);
}

#[test]
fn two_people_talk_answer_and_think_better_of_it() {
    let (_stage, alice, bob) = Stage::contacts();
    let (mut at_alice, mut at_bob) = (chat(&alice, "bob", 80, 24), chat(&bob, "alice", 120, 40));
    see(&at_alice, &["Write a message"]);
    // As a terminal pastes it.
    at_alice.press("\u{1b}[200~Shall we take the boat out?\n漢字 👋🏽\u{1b}[201~").unwrap();
    at_alice.press(ENTER).unwrap();
    see(&at_bob, &["Shall we take the boat out?", "漢字 👋🏽", &"─".repeat(120)]);
    at_bob.press(&format!("{UP}rYes, at nine{ENTER}")).unwrap();
    see(&at_alice, &["│ you: Shall we take the boat out?", "Yes, at nine"]);
    at_alice.press(&format!("{UP}+1")).unwrap();
    see(&at_bob, &["👍 alice"]);
    at_bob.press(&format!("{UP}e sharp{ENTER}")).unwrap();
    see(&at_alice, &["Yes, at nine sharp (edited)", "👍 you"]);
    at_alice.press("p").unwrap();
    see(&at_bob, &["⚑ pinned"]);
    at_alice.press("i").unwrap();
    see(&at_alice, &["Message", "It said", "Yes, at nine sharp"]);
    at_alice.press(ESCAPE).unwrap();
    at_alice.until(|seen| !seen.contains("It said")).unwrap();
    at_bob.press(&format!("{UP}de")).unwrap();
    see(&at_alice, &["(taken back)"]);
    assert!(!at_alice.contents().contains("Yes, at nine"));
    for (columns, rows) in [(30, 10), (7, 3), (1, 1), (120, 40)] {
        at_alice.resize(columns, rows).unwrap();
    }
    see(&at_alice, &["Shall we take the boat out?", "(taken back)", "────────── Today"]);
    leave(at_alice);
    leave(at_bob);
}

#[test]
fn what_is_half_written_is_there_again_however_the_chat_ended() {
    let (_stage, alice, _bob) = Stage::contacts();
    let mut terminal = chat(&alice, "bob", 80, 24);
    see(&terminal, &["Write a message"]);
    terminal.press("Half a").unwrap();
    see(&terminal, &["Half a"]);
    // The shell gets its terminal, and gives it back.
    terminal.press(SUSPEND).unwrap();
    until(|| terminal.is_restored().unwrap());
    terminal.signal(Signal::CONT).unwrap();
    see(&terminal, &["Half a", "Enter send"]);
    terminal.press(" word").unwrap();
    see(&terminal, &["Half a word"]);
    for (signal, more) in [(Signal::TERM, "!"), (Signal::HUP, "!!"), (Signal::INT, "!!!")] {
        terminal.press("!").unwrap();
        see(&terminal, &[&format!("Half a word{more}")]);
        terminal.signal(signal).unwrap();
        assert!(terminal.wait().unwrap().success());
        assert!(terminal.is_restored().unwrap(), "{signal:?}");
        terminal = chat(&alice, "bob", 80, 24);
        see(&terminal, &[&format!("Half a word{more}")]);
    }
    leave(terminal);
}

#[test]
fn who_scrolls_and_searches_finds_what_was_said_long_ago() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    // More than comes at a time.
    let lines: String =
        (1..=300).map(|line| format!("Line {line}{}\n", if line == 7 { " with a needle" } else { "" })).collect();
    assert_eq!(alice.run_with_input(&["send", "me", "-"], &lines).unwrap().code, Some(0));
    let mut terminal = chat(&alice, "me", 80, 24);
    see(&terminal, &["Note to self", "Line 300"]);
    terminal.press("/needle").unwrap();
    see(&terminal, &["Search: needle", "you: Line 7 with a needle"]);
    terminal.press(ENTER).unwrap();
    see(&terminal, &["Found 1 of 1", "Line 6", "Line 7 with a needle", "Line 8"]);
    terminal.press(ESCAPE).unwrap();
    see(&terminal, &["Line 300", "Write to yourself"]);
    // Each screen shows what comes before the last one, until there is nothing. A row may be seen when it is half drawn.
    // What is older may come after the key that asks for it, and the view does not move then: the key is pressed again now and then.
    let (mut top, mut looks) = (None, 0);
    until(|| {
        looks += 1;
        let seen = terminal.contents();
        let first = seen.lines().find_map(|row| row.split_once("Line ")?.1.split(' ').next()?.parse::<u16>().ok());
        if first.is_some() && (first != top || looks % 2_000 == 0) {
            top = first;
            terminal.press(PAGE_UP).unwrap();
        }
        seen.contains("This is where it begins.")
    });
    see(&terminal, &["Line 1\n", "more below"]);
    terminal.press(ESCAPE).unwrap();
    see(&terminal, &["Line 300"]);
    leave(terminal);
}

#[test]
fn what_others_send_reaches_no_terminal_as_it_is_and_colours_only_where_they_are_wanted() {
    let (_stage, alice, bob) = Stage::contacts();
    run(&bob, &["send", "alice", "one\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}two\u{2066}\u{1b}[2J"]);
    run(&bob, &["sync"]);
    run(&alice, &["sync"]);
    let is_coloured = |written: &[u8]| {
        let text = String::from_utf8_lossy(written).into_owned();
        text.split("\u{1b}[")
            .any(|sequence| sequence.starts_with("38;") || sequence.starts_with("3") && sequence[2..].starts_with('m'))
    };
    for no_colour in [None, Some("1")] {
        let mut command = alice.command(&["chat", "bob"]);
        command.env_remove("NO_COLOR").envs(no_colour.map(|value| ("NO_COLOR", value)));
        let terminal = Terminal::start(&mut command, 80, 24).expect("the chat starts");
        see(&terminal, &["]0;owned", "31m", "two", "[2J"]);
        assert_eq!(is_coloured(&terminal.written()), no_colour.is_none());
        let written = String::from_utf8(terminal.written()).expect("text alone is written");
        assert!(
            written.contains("one\u{fffd}]0;owned\u{fffd}\u{fffd}31m\u{fffd}two\u{fffd}\u{fffd}[2J"),
            "{written:?}"
        );
        assert!(!written.contains(['\u{7}', '\u{9b}', '\u{202e}', '\u{2066}']), "{written:?}");
        leave(terminal);
    }
}

#[test]
fn a_chat_is_for_somebody_at_a_terminal() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    assert_eq!(fails(&alice, &["chat", "me"]), "no_terminal");
    assert_eq!(fails(&alice, &["chat", "nobody"]), "not_found");
}
