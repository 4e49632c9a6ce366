//! A profile behind a passphrase.

use sotto_end_to_end::at_rest::files;
use sotto_end_to_end::finish;

use super::stage::{Stage, binary, failure, run, transcript};

#[test]
fn only_the_right_passphrase_opens_a_profile_and_the_wrong_one_changes_nothing() {
    let stage = Stage::set();
    let bare = stage.profile("alice");
    let (right, wrong, empty) =
        (bare.with_passphrase("correct horse"), bare.with_passphrase("battery"), bare.with_passphrase(""));
    let init = ["--json", "init", "--passphrase", "--relay", stage.relay.address(), "--name", "alice"];
    assert_eq!(failure(&empty.run(&init).unwrap()), "no_passphrase");
    assert!(!bare.directory().exists(), "nothing was begun");
    run(&right, &init);
    run(&right, &["send", "me", "a note"]);
    let before = files(bare.directory()).unwrap();
    assert_eq!(failure(&wrong.run(&["--json", "messages", "me"]).unwrap()), "wrong_passphrase");
    assert_eq!(failure(&empty.run(&["--json", "messages", "me"]).unwrap()), "wrong_passphrase");
    // Without one, and without a terminal to ask at.
    let mut missing = std::process::Command::new("setsid");
    missing.arg("--wait").arg(binary()).args(["--json", "--profile"]).arg(bare.directory()).args(["messages", "me"]);
    assert_eq!(failure(&finish(missing.env_remove("SOTTO_PASSPHRASE"), b"").unwrap()), "keystore_locked");
    assert!(files(bare.directory()).unwrap() == before, "a file changed");
    assert_eq!(transcript(&right, "me"), ["a note"]);
}
