//! A profile that others may write in is theirs: `sotto` does not touch it, and gives nothing to what they planted.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use sotto_end_to_end::{Profile, finish};

use super::stage::{Stage, binary, fails, objects, run, text, transcript};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the permissions change");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o777
}

/// Everything in a directory, by name.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("the directory is read").map_while(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_directory_that_others_may_write_in_gets_no_account_and_is_left_as_it_was() {
    let stage = Stage::set();
    let alice = stage.profile("alice");
    fs::create_dir(alice.directory()).unwrap();
    for open in [0o777, 0o1777, 0o770, 0o702] {
        set_mode(alice.directory(), open);
        let init = ["init", "--relay", stage.relay.address(), "--name", "alice"];
        assert_eq!(fails(&alice, &init), "profile_not_private", "{open:o}");
        assert!(names(alice.directory()).is_empty());
    }
    set_mode(alice.directory(), 0o755);
    run(&alice, &["init", "--relay", stage.relay.address(), "--name", "alice"]);
}

#[test]
fn a_profile_that_others_may_write_in_is_not_opened_until_it_is_its_users_alone() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    assert_eq!(mode(alice.directory()), 0o700);
    set_mode(alice.directory(), 0o777);
    for words in [&["send", "me", "secret"] as &[&str], &["sync"], &["messages", "me"], &["contacts"]] {
        assert_eq!(fails(&alice, words), "profile_not_private", "{words:?}");
    }
    set_mode(alice.directory(), 0o700);
    assert!(transcript(&alice, "me").is_empty());
}

#[test]
fn under_a_directory_in_which_others_may_rename_there_is_no_profile() {
    let stage = Stage::set();
    let (open, between) = (stage.path("open"), stage.path("open/between"));
    for directory in [&open, &between] {
        fs::create_dir(directory).unwrap();
    }
    let (alice, bob) = (Profile::at(binary(), &between.join("alice")), Profile::at(binary(), &between.join("bob")));
    let init = ["init", "--relay", stage.relay.address(), "--name", "alice"];
    run(&alice, &init);
    for mode in [0o777, 0o703, 0o707] {
        set_mode(&open, mode);
        assert_eq!(fails(&alice, &["send", "me", "secret"]), "profile_not_private", "{mode:o}");
        assert_eq!(fails(&bob, &init), "profile_not_private", "{mode:o}");
        assert!(!bob.directory().exists(), "nothing was made");
    }
    // What a link hides.
    let linked = Profile::at(binary(), &stage.path("linked"));
    symlink(alice.directory(), linked.directory()).unwrap();
    assert_eq!(fails(&linked, &["send", "me", "secret"]), "profile_not_private");
    // Above a home everything is as its owner's system wants it.
    let at_home = finish(alice.command(&["messages", "me"]).env("HOME", &between), b"").unwrap();
    assert_eq!(at_home.code, Some(0), "{}", at_home.err);
    for mode in [0o1777, 0o755] {
        set_mode(&open, mode);
        assert_eq!(transcript(&linked, "me"), [""; 0], "{mode:o}");
    }
}

#[test]
fn a_planted_link_gets_no_key_and_makes_no_file() {
    let stage = Stage::set();
    for (number, name) in ["keys.new", "keys", "lock", "shown.new", "sotto.sock.new"].into_iter().enumerate() {
        let alice = stage.profile(&format!("alice-{number}"));
        fs::create_dir(alice.directory()).unwrap();
        let (loot, missing) = (stage.path("loot"), stage.path("missing"));
        fs::write(&loot, "").unwrap();
        set_mode(&loot, 0o666);
        for target in [&loot, &missing] {
            let planted = alice.directory().join(name);
            symlink(target, &planted).unwrap();
            let init = ["init", "--relay", stage.relay.address(), "--name", "alice"];
            assert_eq!(fails(&alice, &init), "profile_not_private", "{name}");
            assert!(fs::read(&loot).unwrap().is_empty() && !missing.exists(), "{name}");
            fs::remove_file(planted).unwrap();
        }
    }
}

#[test]
fn a_planted_socket_hears_nothing() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let socket = alice.directory().join("sotto.sock");
    let planted = UnixListener::bind(&socket).unwrap();
    planted.set_nonblocking(true).unwrap();
    set_mode(&socket, 0o777);
    set_mode(alice.directory(), 0o777);
    assert_eq!(fails(&alice, &["send", "me", "secret"]), "profile_not_private");
    assert!(planted.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "nobody came");
}

#[test]
fn somebody_elses_socket_or_directory_is_not_used() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    if !is_root() {
        // Not through the macro, whose words are kept back when a test passes.
        std::io::Write::write_all(
            &mut std::io::stderr(),
            b"not run in part: only root can give a socket or a directory away; root's own directory stands for one\n",
        )
        .unwrap();
        assert_eq!(fails(&Profile::at(binary(), Path::new("/")), &["send", "me", "secret"]), "profile_not_private");
        return;
    }
    let socket = alice.directory().join("sotto.sock");
    let planted = UnixListener::bind(&socket).unwrap();
    planted.set_nonblocking(true).unwrap();
    std::os::unix::fs::lchown(&socket, Some(65_534), None).unwrap();
    assert_eq!(fails(&alice, &["send", "me", "secret"]), "profile_not_private");
    assert!(planted.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "nobody came");
    fs::remove_file(&socket).unwrap();
    run(&alice, &["send", "me", "a note"]);
    std::os::unix::fs::chown(alice.directory(), Some(65_534), None).unwrap();
    assert_eq!(fails(&alice, &["send", "me", "secret"]), "profile_not_private");
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0)
}

#[test]
fn what_another_process_prints_for_us_is_not_obeyed() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let first = UnixListener::bind(alice.directory().join("sotto.sock")).unwrap();
    let answering = std::thread::spawn(move || {
        for form in ["out", "err", "picture"] {
            let (stream, _) = first.accept().unwrap();
            let mut reader = BufReader::new(stream);
            reader.read_line(&mut String::new()).unwrap();
            let line = serde_json::json!({ form: "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}x" });
            writeln!(reader.get_mut(), "\"begun\"\n{line}\n{}", serde_json::json!({ "exit": 0 })).unwrap();
        }
    });
    for _ in 0..3 {
        let shown = run(&alice, &["chats"]);
        let printed = format!("{}{}", shown.out, shown.err);
        assert!(printed.contains("\u{fffd}[2J\u{fffd}]0;owned\u{fffd}\u{fffd}31m\u{fffd}x"), "{printed:?}");
        let own = printed.replace("\u{1b}[30;107m", "").replace("\u{1b}[0m", "");
        assert!(!own.chars().any(|letter| letter.is_control() && letter != '\n'), "{printed:?}");
    }
    answering.join().unwrap();
}

#[test]
fn keys_that_others_could_read_are_closed_and_the_user_is_told() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    let keys = alice.directory().join("keys");
    for form in [&[] as &[&str], &["--json"]] {
        set_mode(&keys, 0o666);
        let told = run(&alice, &[form, &["send", "me", "hi"]].concat());
        assert!(told.err.contains("keys_were_open"), "{}", told.err);
        assert_eq!(mode(&keys), 0o600);
        assert!(run(&alice, &[form, &["chats"]].concat()).err.is_empty());
    }
}

#[test]
fn without_a_word_about_it_the_profile_is_in_the_users_own_place_and_never_in_the_current_directory() {
    let stage = Stage::set();
    let (home, here) = (stage.path("home"), stage.path("here"));
    for directory in [&home, &here] {
        fs::create_dir(directory).unwrap();
    }
    let sotto = |data: Option<&Path>, home: Option<&Path>, words: &[&str]| {
        let mut command = std::process::Command::new(binary());
        command.current_dir(&here).env_remove("SOTTO_PROFILE").env_remove("XDG_DATA_HOME").env_remove("HOME");
        command.envs(data.map(|data| ("XDG_DATA_HOME", data))).envs(home.map(|home| ("HOME", home)));
        finish(command.args(words), b"").expect("the command runs")
    };
    let init = ["--json", "init", "--relay", stage.relay.address(), "--name", "alice"];
    let made = sotto(None, Some(&home), &init);
    assert_eq!(made.code, Some(0), "{}", made.err);
    let place = home.join(".local/share/sotto");
    assert!(place.join("sotto.db").exists() && mode(&place) == 0o700);
    assert_eq!(transcript(&Profile::at(binary(), &place), "me"), [""; 0]);
    let data = home.join("data");
    let made = sotto(Some(&data), Some(&home), &init);
    assert_eq!(made.code, Some(0), "{}", made.err);
    assert_ne!(text(&objects(&made)[0], "account"), "");
    assert!(data.join("sotto/sotto.db").exists());
    // A place that is none, and a user without one.
    assert!(sotto(Some(Path::new("data")), None, &init).err.contains("no_home"));
    assert!(names(&here).is_empty());
}
