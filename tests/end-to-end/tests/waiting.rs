//! `send --wait` says whether a relay took it, and what it says is true.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;

use sotto_end_to_end::{Profile, Signal};

use super::stage::{Stage, objects, run, text, transcript, until};

#[test]
fn what_no_relay_took_is_no_success_and_arrives_once_later() {
    let (mut stage, alice, bob) = Stage::contacts();
    stage.relay.kill().unwrap();
    let sent = alice.run(&["--json", "send", "--wait=1", "bob", "too early"]).unwrap();
    assert_eq!(text(&objects(&sent)[0], "text"), "too early", "it is stored, and shown");
    assert_eq!(super::stage::failure(&sent), "not_sent_yet");
    // A signal while it waits: the same, by another name.
    let mut sending = alice.start(&["--json", "send", "--wait", "bob", "interrupted"]).unwrap();
    let complaints = sending.complaints();
    // So that whoever looks asks it, and it asks nobody.
    super::stage::wait_for_socket(&alice, &mut sending);
    until(|| transcript(&alice, "bob").len() == 2);
    sending.signal(Signal::TERM).unwrap();
    let complaint: serde_json::Value = serde_json::from_str(&complaints.next().unwrap()).unwrap();
    assert_eq!(complaint["code"], "interrupted");
    assert_eq!(sending.wait().unwrap().code(), Some(143));
    let waiting = objects(&run(&alice, &["--json", "messages", "bob"]));
    assert!(waiting.iter().all(|message| ["queued", "sending"].contains(&text(message, "state").as_str())));
    let sync = alice.run(&["--json", "sync"]).unwrap();
    assert_eq!(super::stage::failure(&sync), "relay_unreachable");
    let summary = objects(&sync).pop().unwrap();
    assert_eq!((&summary["complete"], &summary["waiting"]), (&false.into(), &2.into()));
    stage.relay.restart().unwrap();
    run(&alice, &["sync"]);
    run(&bob, &["sync"]);
    run(&bob, &["sync"]);
    assert_eq!(transcript(&bob, "alice"), ["too early", "interrupted"]);
}

#[test]
fn a_letter_that_is_refused_is_its_recipients_choice_and_a_relay_that_has_lost_everything_is_given_it_again() {
    let (mut stage, alice, bob) = Stage::contacts();
    run(&bob, &["contacts", "block", "alice"]);
    run(&alice, &["send", "bob", "not wanted"]);
    let refused = objects(&run(&alice, &["--json", "sync"])).pop().unwrap();
    assert_eq!((&refused["waiting"], &refused["unreachable"][0]["code"]), (&1.into(), &"letter_refused".into()));
    // It says nothing of us, and keeps nobody else from us.
    let invite = objects(&run(&alice, &["--json", "invite"])).pop().unwrap();
    assert_eq!(invite["published"], true);
    // It comes back without anything that it had.
    stage.relay.kill().unwrap();
    std::fs::remove_dir_all(stage.path("relay")).unwrap();
    stage.relay.restart().unwrap();
    run(&bob, &["contacts", "unblock", "alice"]);
    for profile in [&bob, &alice, &bob, &alice] {
        profile.run(&["--json", "sync"]).unwrap();
    }
    run(&bob, &["send", "alice", "can be reached again"]);
    run(&bob, &["sync"]);
    run(&alice, &["sync"]);
    assert!(transcript(&alice, "bob").contains(&"can be reached again".to_owned()));
}

#[test]
fn a_relay_of_ours_that_goes_on_refusing_us_is_a_failure() {
    let (mut stage, alice, bob) = Stage::contacts();
    // It comes back without anything that it had, and takes nobody in.
    stage.relay.kill().unwrap();
    std::fs::remove_dir_all(stage.path("relay")).unwrap();
    stage.relay.restart_asking_for_a_code().unwrap();
    for profile in [&alice, &bob] {
        let sync = profile.run(&["--json", "sync"]).unwrap();
        assert_eq!(super::stage::failure(&sync), "relay_refused");
        let summary = objects(&sync).pop().unwrap();
        assert_eq!(
            (&summary["complete"], &summary["unreachable"][0]["code"]),
            (&false.into(), &"relay_refused".into())
        );
    }
}

/// Whether the process that has a profile open tells who comes to wait for its end.
fn is_closing(profile: &Profile) -> bool {
    let mut stream = UnixStream::connect(profile.directory().join("sotto.sock")).expect("somebody listens");
    // It may have answered already, and listen no more.
    let _ = writeln!(stream, "{}", serde_json::json!({ "words": ["sotto", "--json", "chats"] }));
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).is_ok() && answer.contains("closing")
}

#[test]
fn the_first_signal_waits_for_what_was_begun_and_the_second_does_not() {
    let (mut stage, alice, _bob) = Stage::contacts();
    stage.relay.kill().unwrap();
    let staying = super::stage::stay(&alice);
    // The process that stays has promised a minute to this one.
    let mut sending = alice.start(&["--json", "send", "--wait=60", "bob", "slow"]).unwrap();
    let complaints = sending.complaints();
    until(|| !transcript(&alice, "bob").is_empty());
    staying.signal(Signal::INT).unwrap();
    until(|| is_closing(&alice));
    staying.signal(Signal::INT).unwrap();
    assert_eq!(staying.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    assert_eq!(sending.wait().unwrap().code(), Some(1));
    let complaint: serde_json::Value = serde_json::from_str(&complaints.next().unwrap()).unwrap();
    assert_eq!(complaint["code"], "broken_off");
    assert_eq!(transcript(&alice, "bob"), ["slow"], "what is on disk is whole");
}
