//! A profile that was brought back from an older copy: it says so, whatever is asked of it, and promises nothing that it cannot keep.

use std::fs;

use sotto_end_to_end::Profile;

use super::stage::{Stage, binary, fails, objects, run, text, transcript};

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
fn what_an_older_copy_is_asked_to_send_is_refused_and_not_queued() {
    let (stage, alice, bob) = Stage::contacts();
    let (carol, _) = stage.person("carol");
    run(&bob, &["send", "me", "before"]);
    let old = copy(&stage, &bob, "old");
    run(&alice, &["send", "--wait", "bob", "acknowledged by the original"]);
    run(&bob, &["sync"]);
    assert_eq!(fails(&old, &["sync"]), "rolled_back");
    // New processes, which have not asked the relay yet.
    let link = text(&objects(&run(&carol, &["--json", "invite"]))[0], "link");
    for words in [
        &["send", "alice", "no"] as &[&str],
        &["send", "--wait=5", "alice", "no"],
        &["sync"],
        &["invite"],
        &["join", &link],
        &["contacts", "accept", "alice"],
    ] {
        assert_eq!(fails(&old, words), "rolled_back", "{words:?}");
    }
    assert_eq!(objects(&run(&old, &["--json", "contacts"])).len(), 1, "nobody was asked");
    assert!(transcript(&old, "alice").is_empty(), "nothing was queued");
    assert_eq!(transcript(&old, "me"), ["before"], "what is there can be read");
    // The original goes on.
    run(&bob, &["send", "--wait", "alice", "still here"]);
}
