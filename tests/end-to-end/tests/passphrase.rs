//! A profile behind a passphrase, and what stands in its files.

use std::collections::BTreeMap;

use sotto_end_to_end::Profile;

use crate::stage::{Stage, failure, run, transcript};

const CANARY: &str = "quixotic marmalade zeppelin";

fn files(profile: &Profile) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(profile.directory()).expect("the profile is read");
    let files = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
    files.map(|path| (path.display().to_string(), std::fs::read(&path).expect("a file is read"))).collect()
}

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
    run(&right, &["send", "me", CANARY]);
    let before = files(&bare);
    assert_eq!(failure(&wrong.run(&["--json", "messages", "me"]).unwrap()), "wrong_passphrase");
    assert_eq!(failure(&empty.run(&["--json", "messages", "me"]).unwrap()), "wrong_passphrase");
    // Without one, and without a terminal to ask at.
    let missing = std::process::Command::new("setsid")
        .arg(crate::stage::binary())
        .args(["--json", "--profile"])
        .arg(bare.directory())
        .args(["messages", "me"])
        .env_remove("SOTTO_PASSPHRASE")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&missing.stderr).contains("keystore_locked"), "{missing:?}");
    assert!(files(&bare) == before, "a file changed");
    assert_eq!(transcript(&right, "me"), [CANARY]);
    let all = files(&bare);
    let holds =
        |needle: &[u8]| all.iter().find(|(_, bytes)| bytes.windows(needle.len()).any(|window| window == needle));
    for needle in [CANARY.as_bytes(), b"alice".as_slice(), b"correct horse", b"\"database\"", b"\"root\""] {
        assert!(holds(needle).is_none(), "{needle:?} stands in {:?}", holds(needle).map(|(name, _)| name));
    }
    assert!(holds(b"sotto-keys 2").is_some(), "the search finds what is there");
}
