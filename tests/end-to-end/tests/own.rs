//! What an account is to others, and what is told and saved when something is the matter with it.

use std::fs;

use super::stage::{Stage, fails, objects, run, text};

#[test]
fn a_profile_is_set_and_seen_by_contacts() {
    let (_stage, alice, bob) = Stage::contacts();
    let shown = objects(&run(&alice, &["--json", "profile", "--name", "Alice L.", "--status", "on a train"])).remove(0);
    assert_eq!((text(&shown, "name").as_str(), text(&shown, "status").as_str()), ("Alice L.", "on a train"));
    assert_eq!(run(&alice, &["profile"]).out, "Alice L.: on a train\n");
    run(&alice, &["sync"]);
    run(&bob, &["sync"]);
    let seen = objects(&run(&bob, &["--json", "contacts"])).remove(0);
    assert_eq!((text(&seen, "own_name").as_str(), text(&seen, "status").as_str()), ("Alice L.", "on a train"));
    assert_eq!(fails(&alice, &["profile", "--name", ""]), "empty");
    assert_eq!(fails(&alice, &["profile", "--status", &"s".repeat(513)]), "too_long");
    assert_eq!(run(&alice, &["profile", "--status", ""]).out, "Alice L.\n");
}

#[test]
fn a_report_names_nobody_and_a_damaged_profile_is_saved_to_a_file_of_ones_own() {
    let (stage, alice, _bob) = Stage::contacts();
    run(&alice, &["send", "bob", "worth keeping"]);
    let report = run(&alice, &["diagnostics"]).out;
    assert!(report.contains("contacts: some\n") && !report.contains("bob") && !report.contains("worth"), "{report}");
    let database = alice.directory().join("sotto.db");
    let log = alice.directory().join("sotto.db-wal");
    assert!(!log.exists(), "everything is in the database");
    let mut bytes = fs::read(&database).unwrap();
    let end = bytes.len();
    bytes[end - 2_000] ^= 1;
    fs::write(&database, &bytes).unwrap();
    let file = stage.path("saved.jsonl");
    let saved = run(&alice, &["salvage", "--output", file.to_str().unwrap()]);
    assert!(saved.err.contains("messages; "), "{}", saved.err);
    let lines = fs::read_to_string(&file).unwrap();
    assert!(lines.contains("\"text\":\"worth keeping\"") && lines.contains("\"name\":\"bob\""), "{lines}");
    assert_eq!(fails(&alice, &["salvage", "--output", file.to_str().unwrap()]), "file_exists");
    fs::remove_dir_all(alice.directory()).unwrap();
    assert_eq!(fails(&alice, &["salvage"]), "no_profile");
}
