//! A profile that was brought back from an older copy: it becomes another device of its account, and the one whose place it took says so.

use std::fs;

use sotto_end_to_end::Profile;

use super::stage::{Stage, binary, fails, run, transcript};

/// A copy of a profile that nobody has open.
fn copy(stage: &Stage, profile: &Profile, name: &str) -> Profile {
    let copy = Profile::at(binary(), &stage.path(name));
    fs::create_dir(copy.directory()).expect("a directory");
    for entry in fs::read_dir(profile.directory()).expect("the profile is read").map_while(Result::ok) {
        fs::copy(entry.path(), copy.directory().join(entry.file_name())).expect("a copy");
    }
    copy
}

#[test]
fn h2_an_older_copy_becomes_another_device_and_the_original_says_that_its_place_was_taken() {
    let (stage, alice, bob) = Stage::contacts();
    run(&bob, &["send", "me", "before"]);
    let old = copy(&stage, &bob, "old");
    run(&alice, &["send", "--wait", "bob", "acknowledged by the original"]);
    run(&bob, &["sync"]);
    run(&old, &["send", "--wait", "alice", "from the older copy"]);
    // New processes.
    for words in [&["sync"] as &[&str], &["send", "alice", "no"], &["send", "--wait=5", "alice", "no"], &["invite"]] {
        assert_eq!(fails(&bob, words), "device_replaced", "{words:?}");
    }
    assert_eq!(transcript(&bob, "me"), ["before"], "what is there can be read");
    assert_eq!(transcript(&bob, "alice"), ["acknowledged by the original"], "nothing was queued");
    run(&old, &["send", "--wait", "alice", "still here"]);
}
