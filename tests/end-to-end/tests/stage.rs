//! A relay, people with profiles, and what they type.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use sotto_end_to_end::{Finished, PATIENCE, Process, Profile, Relay};
use tempfile::TempDir;

/// The binary under test, built by cargo because these are tests of its package.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sotto"))
}

/// A relay and a place for profiles.
pub(crate) struct Stage {
    pub(crate) relay: Relay,
    directory: TempDir,
}

impl Stage {
    pub(crate) fn set() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let relay = Relay::start(binary(), &directory.path().join("relay")).expect("the relay starts");
        Self { relay, directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A profile without an account.
    pub(crate) fn profile(&self, name: &str) -> Profile {
        Profile::at(binary(), &self.path(name))
    }

    /// Somebody with an account; returns its id too.
    pub(crate) fn person(&self, name: &str) -> (Profile, String) {
        self.person_called(name, name)
    }

    /// Somebody whose profile is called otherwise than they call themselves.
    pub(crate) fn person_called(&self, profile: &str, name: &str) -> (Profile, String) {
        let profile = self.profile(profile);
        let name = format!("--name={name}");
        let made = objects(&run(&profile, &["--json", "init", "--relay", self.relay.address(), &name]));
        (profile, text(&made[0], "account"))
    }

    /// Makes two people contacts.
    pub(crate) fn introduce(owner: &Profile, scanner: &Profile) {
        let invite = objects(&run(owner, &["--json", "invite", "--auto-accept"]));
        run(scanner, &["--json", "join", &text(&invite[0], "link")]);
        for profile in [owner, scanner, owner] {
            run(profile, &["--json", "sync"]);
        }
    }

    /// Alice and Bob, who are contacts.
    pub(crate) fn contacts() -> (Self, Profile, Profile) {
        let stage = Self::set();
        let ((alice, _), (bob, _)) = (stage.person("alice"), stage.person("bob"));
        Self::introduce(&alice, &bob);
        (stage, alice, bob)
    }
}

/// Runs a command that works.
pub(crate) fn run(profile: &Profile, words: &[&str]) -> Finished {
    let finished = profile.run(words).expect("the command runs");
    assert_eq!(finished.code, Some(0), "{words:?}: {}", finished.err);
    finished
}

/// Runs a command that fails, in both forms, and returns the code of its failure.
pub(crate) fn fails(profile: &Profile, words: &[&str]) -> String {
    let human = profile.run(words).expect("the command runs");
    assert!(!human.err.trim().is_empty(), "{words:?}: people are told something");
    failure(&profile.run(&[&["--json"], words].concat()).expect("the command runs"))
}

/// The code of a failure: one object on standard error, and no success.
pub(crate) fn failure(finished: &Finished) -> String {
    assert!(!matches!(finished.code, Some(0)), "{finished:?}");
    let lines: Vec<&str> = finished.err.lines().collect();
    let [line] = lines[..] else { unreachable!("one line on standard error: {}", finished.err) };
    let object: Value = serde_json::from_str(line).expect("an object");
    assert!(!text(&object, "message").is_empty());
    assert_eq!(object.as_object().map(serde_json::Map::len), Some(2), "{object}");
    text(&object, "code")
}

/// What a command printed, line by line.
pub(crate) fn objects(finished: &Finished) -> Vec<Value> {
    finished.objects().expect("every line is an object")
}

/// A field that is a string.
pub(crate) fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_else(|| unreachable!("{field} in {object}")).to_owned()
}

/// Everything said with somebody, oldest first.
pub(crate) fn transcript(profile: &Profile, who: &str) -> Vec<String> {
    let said = objects(&run(profile, &["--json", "messages", who, "--limit", "100000"]));
    said.iter().map(|message| text(message, "text")).collect()
}

/// A process that stays, once it answers others.
pub(crate) fn stay(profile: &Profile) -> Process {
    let mut process = profile.stay().expect("the process starts");
    wait_for_socket(profile, &mut process);
    process
}

/// Waits until a process listens for others.
pub(crate) fn wait_for_socket(profile: &Profile, process: &mut Process) {
    let socket = profile.directory().join("sotto.sock");
    // Asking may come too early, and then it is answered by the process that asks: so it must be seen that somebody else answers.
    until(|| {
        assert!(!process.has_ended().expect("a process"), "the process ended");
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
}

/// Waits until something can be seen.
pub(crate) fn until(mut is_so: impl FnMut() -> bool) {
    let given_up = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < given_up, "it does not come");
        std::thread::yield_now();
    }
}
