//! One engine per profile: whoever comes second is served by the first, once, and loses nothing when it ends.

use std::os::unix::fs::PermissionsExt as _;

use sotto_end_to_end::Signal;

use super::stage::{Stage, objects, run, stay, text, transcript, until};

#[test]
fn a_second_process_is_served_by_the_first_and_once() {
    let (_stage, alice, bob) = Stage::contacts();
    let mut staying = stay(&alice);
    let lines = staying.lines();
    let socket = alice.directory().join("sotto.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    run(&alice, &["send", "bob", "said over there"]);
    assert_eq!(transcript(&alice, "bob"), ["said over there"]);
    run(&bob, &["sync"]);
    run(&bob, &["send", "--wait", "alice", "heard"]);
    lines.next_object(|line| line["text"] == "heard").unwrap();
    assert_eq!(transcript(&bob, "alice"), ["said over there", "heard"]);
    // What makes no sense is refused over there in the same form.
    let refused = alice.run(&["--json", "messages", "nobody"]).unwrap();
    assert_eq!(super::stage::failure(&refused), "not_found");
    // A killed process leaves its socket, and nobody behind it.
    staying.kill().unwrap();
    assert!(socket.exists());
    run(&alice, &["send", "bob", "said here"]);
    assert_eq!(transcript(&alice, "bob"), ["said over there", "heard", "said here"]);
}

#[test]
fn who_watches_goes_on_when_the_first_process_ends_or_is_killed() {
    for is_killed in [false, true] {
        let (_stage, alice, bob) = Stage::contacts();
        let first = stay(&alice);
        let mut watching = alice.stay().unwrap();
        let lines = watching.lines();
        run(&bob, &["send", "--wait", "alice", "to the first"]);
        lines.next_object(|line| line["text"] == "to the first").unwrap();
        if is_killed {
            first.kill().unwrap();
        } else {
            assert!(first.stop().unwrap().success(), "staying ends when somebody ends it");
        }
        run(&bob, &["send", "--wait", "alice", "to the second"]);
        lines.next_object(|line| line["text"] == "to the second").unwrap();
        assert!(watching.stop().unwrap().success());
    }
}

#[test]
fn a_deep_profile_has_a_socket_too() {
    let stage = Stage::set();
    let deep = ["deep"; 30].join("/");
    let (alice, _) = stage.person_called(&deep, "alice");
    assert!(alice.directory().as_os_str().len() > 120);
    let staying = stay_deep(&alice);
    run(&alice, &["send", "me", "from a second process"]);
    assert_eq!(transcript(&alice, "me"), ["from a second process"]);
    staying.stop().unwrap();
}

/// Its socket cannot be reached by its whole path.
fn stay_deep(profile: &sotto_end_to_end::Profile) -> sotto_end_to_end::Process {
    let mut process = profile.stay().expect("the process starts");
    until(|| {
        assert!(!process.has_ended().expect("a process"), "the process ended");
        profile.directory().join("sotto.sock").exists()
    });
    process
}

#[test]
fn lines_are_said_as_they_come_and_none_is_lost_or_said_twice_when_the_first_process_ends() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let staying = stay(&alice);
    let mut saying = alice.start(&["--json", "send", "me", "-"]).unwrap();
    let lines = saying.lines();
    for text in ["one", "two"] {
        saying.say(text).unwrap();
        assert_eq!(lines.next_object(|_| true).unwrap()["text"], text, "before the next one is typed");
    }
    assert!(staying.stop().unwrap().success());
    for text in ["three", "four"] {
        saying.say(text).unwrap();
        assert_eq!(lines.next_object(|_| true).unwrap()["text"], text);
    }
    saying.say_no_more();
    assert!(saying.wait().unwrap().success());
    assert_eq!(transcript(&alice, "me"), ["one", "two", "three", "four"]);
}

#[test]
fn a_reader_that_has_stopped_does_not_hold_up_the_end_of_the_first_process() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let many: String = (0..3_000).map(|number| format!("{number} {}\n", "x".repeat(200))).collect();
    assert_eq!(alice.run_with_input(&["--json", "send", "me", "-"], &many).unwrap().code, Some(0));
    let staying = stay(&alice);
    // Nobody reads what it prints, so it soon reads no more either.
    let mut reader = alice.start(&["--json", "messages", "me", "--limit", "3000"]).unwrap();
    let complaints = reader.complaints();
    let mut staying = staying;
    staying.signal(Signal::TERM).unwrap();
    assert!(staying.lines().rest().is_empty());
    assert!(staying.wait().unwrap().success());
    // Now it is read: what was begun over there and not brought to its end is told.
    let printed = reader.lines().rest();
    let status = reader.wait().unwrap();
    assert!(status.success() == (printed.len() == 3_000), "{} lines, {:?}", printed.len(), complaints.rest());
}

#[test]
fn who_comes_while_the_first_process_ends_waits_for_it() {
    let (mut stage, alice, _bob) = Stage::contacts();
    stage.relay.kill().unwrap();
    let staying = stay(&alice);
    let sending = alice.start(&["--json", "send", "--wait=5", "bob", "slow"]).unwrap();
    until(|| !transcript(&alice, "bob").is_empty());
    staying.signal(Signal::TERM).unwrap();
    // The first process has promised five seconds to the one before; this one comes meanwhile.
    let said = objects(&run(&alice, &["--json", "send", "bob", "patient"]));
    assert_eq!(text(&said[0], "text"), "patient");
    assert_eq!(sending.wait().unwrap().code(), Some(1), "not sent yet");
    assert!(staying.wait().unwrap().success());
    assert_eq!(transcript(&alice, "bob"), ["slow", "patient"]);
}

#[test]
fn of_many_that_come_at_once_each_is_done_once() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let texts: Vec<String> = (0..60).map(|number| format!("text {number:02}")).collect();
    let sending: Vec<_> = texts.iter().map(|text| alice.start(&["send", "me", text]).unwrap()).collect();
    for mut process in sending {
        let complaints = process.complaints();
        assert!(process.wait().unwrap().success(), "{:?}", complaints.rest());
    }
    let mut said = transcript(&alice, "me");
    said.sort();
    assert_eq!(said, texts);
}

#[test]
fn a_profile_that_is_held_by_something_silent_is_waited_for() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let held = std::fs::File::open(alice.directory().join("lock")).unwrap();
    held.lock().unwrap();
    let mut sending = alice.start(&["send", "me", "after all"]).unwrap();
    let complaints = sending.complaints();
    assert!(complaints.next().unwrap().contains("waiting for it"));
    held.unlock().unwrap();
    assert!(sending.wait().unwrap().success());
    assert_eq!(transcript(&alice, "me"), ["after all"]);
}
