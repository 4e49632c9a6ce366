//! `init`: once, whole, or not at all.

use std::path::Path;

use sotto_end_to_end::Profile;

use super::stage::{Stage, fails, failure, run, until};

fn kept_aside(profile: &Profile) -> usize {
    let entries = std::fs::read_dir(profile.directory()).expect("the profile is read").filter_map(Result::ok);
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("keys.old")).count()
}

#[test]
fn of_two_who_begin_at_once_one_does_and_the_other_undoes_nothing() {
    let stage = Stage::set();
    for round in 0..3 {
        let alice = stage.profile(&format!("alice-{round}"));
        let init = ["--json", "init", "--relay", stage.relay.address(), "--name", "alice"];
        let mut both = [alice.start(&init).unwrap(), alice.start(&init).unwrap()];
        let complaints: Vec<String> = both.iter_mut().flat_map(|process| process.complaints().rest()).collect();
        let codes: Vec<_> = both.into_iter().map(|process| process.wait().unwrap().code()).collect();
        assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?} {complaints:?}");
        assert!(complaints[0].contains("profile_in_use") || complaints[0].contains("profile_exists"), "{complaints:?}");
        assert_eq!(kept_aside(&alice), 0);
        run(&alice, &["send", "me", "still here"]);
        assert_eq!(fails(&alice, &init[1..]), "profile_exists");
        run(&alice, &["messages", "me"]);
    }
}

#[test]
fn an_init_that_was_killed_at_any_moment_can_be_repeated_or_was_done() {
    let stage = Stage::set();
    // The moments that show on the disk, in their order.
    for (round, mark) in
        ["lock", "keys", "sotto.db.new", "sotto.db.new-wal", "sotto.db", "sotto.db-wal"].into_iter().enumerate()
    {
        let alice = stage.profile(&format!("alice-{round}"));
        let init = ["--json", "init", "--relay", stage.relay.address(), "--name", "alice"];
        let mut process = alice.start(&init).unwrap();
        let mark = alice.directory().join(mark);
        until(|| Path::exists(&mark) || process.has_ended().unwrap());
        process.kill().unwrap();
        let again = alice.run(&init).unwrap();
        assert!(again.code == Some(0) || failure(&again) == "profile_exists", "{}: {again:?}", mark.display());
        run(&alice, &["send", "me", "it works"]);
        run(&alice, &["sync"]);
    }
}

#[test]
fn an_init_that_cannot_be_done_moves_nothing() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let bob = stage.profile("bob");
    std::fs::create_dir(bob.directory()).unwrap();
    // Keys whose database is elsewhere, on a copy for example.
    std::fs::copy(alice.directory().join("keys"), bob.directory().join("keys")).unwrap();
    let relay = stage.relay.address();
    for (words, code) in [
        (["init", "--relay", "nonsense", "--name", "bob"], "bad_relay_address"),
        (["init", "--relay", "http://127.0.0.1:1", "--name", "bob"], "relay_unreachable"),
        (["init", "--relay", relay, "--name", " "], "empty"),
        (["init", "--relay", relay, "--name", "b\u{1b}b"], "control_character"),
        (["init", "--relay", relay, "--name", "bob\u{200b}"], "hidden_character"),
        (["init", "--relay", relay, "--name", "\u{202e}bob"], "hidden_character"),
    ] {
        assert_eq!(fails(&bob, &words), code);
    }
    assert_eq!(kept_aside(&bob), 0);
    run(&bob, &["init", "--relay", relay, "--name", "bob"]);
    assert_eq!(kept_aside(&bob), 1, "they may open a copy of it");
}

#[test]
fn a_relay_that_asks_for_a_code_gets_it_and_tells_who_has_none() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("relay.toml");
    let data = directory.path().join("data");
    // A port that is free now; the relay's name has it, so it must be known before.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\nname = \"127.0.0.1:{port}\"\ndata = {data:?}\n[tls]\nmode = \"self-signed\"\n\
         [inboxes]\npolicy = \"code\"\ncodes = [\"north-by-north-west\"]\nproof_of_work_bits = 10\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = std::process::Command::new(super::stage::binary());
    command.args(["demo-relay", "--config"]).arg(&config).env("SOTTO_LOG", "error");
    let mut relay = sotto_end_to_end::Process::start(&mut command).unwrap();
    let line = relay.lines().next().unwrap();
    let address = line.strip_prefix("listening on ").unwrap();
    let alice = Profile::at(super::stage::binary(), &directory.path().join("alice"));
    let init =
        |relay: &str, more: &[&str]| fails(&alice, &[&["init", "--relay", relay, "--name", "alice"], more].concat());
    assert_eq!(init(address, &[]), "relay_asks_for_code");
    assert_eq!(init(address, &["--relay-code", "south-by-south-east"]), "relay_refused");
    // Another key than the address names: somebody stands in between.
    let (scheme, pinned) = address.split_at("https://".len());
    let other = if pinned.starts_with('A') { "B" } else { "A" };
    assert_eq!(init(&format!("{scheme}{other}{}", &pinned[1..]), &[]), "relay_certificate");
    run(&alice, &["init", "--relay", address, "--name", "alice", "--relay-code", "north-by-north-west"]);
    run(&alice, &["invite"]);
    relay.stop().unwrap();
}
