//! A disk without room: what is there can be read, whatever would be written says so, and nothing is lost or half done.

use std::fs;
use std::io::{Error, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sotto_end_to_end::{Finished, Process, Profile, finish};

use super::stage::{Stage, binary, failure, objects, run, stay, text, transcript};

/// Runs a command whose files cannot grow: writing fails as on a full disk.
fn on_a_full_disk(profile: &Profile, blocks: u32, words: &[&str]) -> Finished {
    let command = profile.command(words);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit -f {blocks}; exec \"$@\""), "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    finish(&mut shell, b"").expect("a shell")
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let stage = Stage::set();
    let (alice, _) = stage.person("alice");
    run(&alice, &["send", "me", "before"]);
    let long = "x".repeat(60_000);
    assert_eq!(failure(&on_a_full_disk(&alice, 100, &["--json", "send", "me", &long])), "disk_full");
    assert_eq!(transcript(&alice, "me"), ["before"]);
    run(&alice, &["send", "me", "after"]);
    assert_eq!(transcript(&alice, "me"), ["before", "after"]);
}

#[test]
fn a_full_disk_leaves_no_half_of_an_account() {
    let stage = Stage::set();
    let init = ["--json", "init", "--relay", stage.relay.address(), "--name", "alice"];
    // In blocks of 512 bytes: room for nothing, for the keys, for some of the database, for almost all of it.
    for blocks in [0, 1, 8, 40, 200] {
        let alice = stage.profile(&format!("alice-{blocks}"));
        let full = on_a_full_disk(&alice, blocks, &init);
        assert_eq!(failure(&full), "disk_full", "{blocks}: {full:?}");
        let left: Vec<_> = fs::read_dir(alice.directory()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"], "{blocks}");
        run(&alice, &init);
        run(&alice, &["send", "me", "room again"]);
    }
}

const READING: [&[&str]; 5] = [
    &["--json", "messages", "me"],
    &["--json", "messages", "bob"],
    &["--json", "contacts"],
    &["--json", "chats"],
    &["--json", "safety-number", "bob"],
];

const WRITING: [&[&str]; 9] = [
    &["--json", "send", "me", "no"],
    &["--json", "send", "bob", "no"],
    &["--json", "sync"],
    &["--json", "sync", "--for", "3600"],
    &["--json", "read", "bob"],
    &["--json", "invite"],
    &["--json", "relay", "remove", "http://127.0.0.1:9"],
    &["--json", "contacts", "rename", "bob", "somebody"],
    &["--json", "contacts", "remove", "bob"],
];

/// Alice, whose last process was killed and left its log beside the database, and what can be read of her.
fn somebody_with_a_log() -> (Stage, Profile, Vec<String>) {
    let (stage, alice, bob) = Stage::contacts();
    run(&bob, &["send", "--wait", "alice", "from bob"]);
    run(&alice, &["sync"]);
    let staying = stay(&alice);
    run(&alice, &["send", "me", "in the log"]);
    let before = READING.map(|words| run(&alice, words).out).to_vec();
    staying.kill().expect("it is killed");
    let log = fs::metadata(alice.directory().join("sotto.db-wal")).expect("it is there");
    assert!(log.len() > 0, "there is a log");
    (stage, alice, before)
}

/// The same is read as before, and that there is no room is told.
fn is_read(finished: &Finished, before: &str) {
    assert_eq!((finished.code, &*finished.out), (Some(0), before), "{}", finished.err);
    assert!(finished.err.contains("\"code\":\"disk_full\""), "{}", finished.err);
}

#[test]
fn where_no_file_can_grow_what_is_there_is_read_and_nothing_is_changed() {
    let (_stage, alice, before) = somebody_with_a_log();
    let keys = fs::read(alice.directory().join("keys")).unwrap();
    for (words, before) in READING.iter().zip(&before) {
        is_read(&on_a_full_disk(&alice, 0, words), before);
    }
    for words in WRITING {
        assert_eq!(failure(&on_a_full_disk(&alice, 0, words)), "disk_full", "{words:?}");
    }
    assert_eq!(fs::read(alice.directory().join("keys")).unwrap(), keys);
    for (words, before) in READING.iter().zip(&before) {
        assert_eq!(&run(&alice, words).out, before, "{words:?}");
    }
    run(&alice, &["send", "--wait", "bob", "room again"]);
}

/// A small disk of its own, which only the processes that [`Disk::on`] starts see.
struct Disk {
    holder: Process,
    place: PathBuf,
}

impl Disk {
    const PAGE_BYTES: u64 = 4_096;

    /// What a system that does not permit it says of that.
    fn mount(place: &Path) -> Result<Self, String> {
        fs::create_dir(place).expect("a directory");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command
            .arg("mount -t tmpfs -o size=2m,nr_inodes=40,mode=0700 sotto \"$1\" && echo mounted && exec cat")
            .arg("sh")
            .arg(place);
        let told = |error: Error| format!("unshare: {error}");
        let mut holder = Process::start(command.stderr(Stdio::piped())).map_err(told)?;
        let (lines, complaints) = (holder.lines(), holder.complaints());
        match lines.next() {
            Some(_) => Ok(Self { holder, place: place.to_owned() }),
            None => Err(complaints.rest().join(" ")),
        }
    }

    /// A command that sees it. There is nobody else above it, whoever owns that: it is the user's home.
    fn on(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["--user", "--mount", "--preserve-credentials", "--target", &self.holder.id().to_string(), "--"]);
        inside.arg(command.get_program()).args(command.get_args()).env("HOME", &self.place);
        inside
    }

    fn run(&self, profile: &Profile, words: &[&str]) -> Finished {
        finish(&mut self.on(&profile.command(words)), b"").expect("the command runs")
    }

    fn shell(&self, script: &str) {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&self.place);
        let done = finish(&mut self.on(&command), b"").expect("a shell");
        assert_eq!(done.code, Some(0), "{script}: {}", done.err);
    }

    /// Fills it but for some pages.
    fn fill(&self, free_pages: u64) {
        let free = free_pages * Self::PAGE_BYTES;
        self.shell(&format!(
            "cd \"$1\"; rm -f filling; dd if=/dev/zero of=filling bs=4k 2>&- || test -s filling; truncate -s -{free} filling"
        ));
    }
}

#[test]
fn on_a_full_disk_what_is_there_is_read_and_what_is_refused_is_not_done_at_all() {
    let (stage, original, before) = somebody_with_a_log();
    let disk = match Disk::mount(&stage.path("disk")) {
        Ok(disk) => disk,
        Err(reason) => {
            // Not through the macro, whose words are kept back when a test passes.
            let told =
                format!("not run: no small disk can be mounted here ({reason}); a limit on files stands for one\n");
            std::io::stderr().write_all(told.as_bytes()).unwrap();
            return;
        }
    };
    let alice = Profile::at(binary(), &stage.path("disk/alice"));
    let copied = original.directory().display();
    // Without the index of the log, whose room would be enough to open it.
    disk.shell(&format!("cp -a '{copied}' \"$1/alice\" && rm \"$1/alice/sotto.db-shm\""));
    disk.fill(0);
    for (words, before) in READING.iter().zip(&before) {
        is_read(&disk.run(&alice, words), before);
    }
    for words in WRITING {
        assert_eq!(failure(&disk.run(&alice, words)), "disk_full", "{words:?}");
    }
    for (words, before) in READING.iter().zip(&before) {
        is_read(&disk.run(&alice, words), before);
    }
    // A little room: for the index of the log, for some of the log, for all but the keys; and once for everything.
    let mut said = vec!["in the log".to_owned()];
    let mut codes = Vec::new();
    for free in [1, 7, 8, 9, 10, 11, 12, 13, 14, 16, 24] {
        disk.fill(free);
        let sent = disk.run(&alice, &["--json", "send", "me", &format!("with {free}")]);
        if sent.code == Some(0) {
            said.push(format!("with {free}"));
        } else {
            assert_eq!(failure(&sent), "disk_full", "{free}");
        }
        codes.push(sent.code);
        let read = disk.run(&alice, &["--json", "messages", "me"]);
        let read: Vec<String> = objects(&read).iter().map(|message| text(message, "text")).collect();
        assert_eq!(read, said, "{free}");
    }
    assert_eq!((codes.first(), codes.last()), (Some(&Some(1)), Some(&Some(0))), "{codes:?}");
    disk.shell("rm \"$1/filling\"");
    // Room enough, and no place for one more file, nor for a log where there is none.
    let read = disk.run(&alice, READING[0]);
    disk.shell("cd \"$1\"; while touch \"file-$((number += 1))\" 2>&-; do :; done");
    is_read(&disk.run(&alice, READING[0]), &read.out);
    assert_eq!(failure(&disk.run(&alice, &["--json", "send", "me", "no"])), "disk_full");
    is_read(&disk.run(&alice, READING[0]), &read.out);
    disk.shell("cd \"$1\"; rm file-*");
    let sent = disk.run(&alice, &["--json", "send", "--wait", "bob", "room again"]);
    assert_eq!(sent.code, Some(0), "{}", sent.err);
}
