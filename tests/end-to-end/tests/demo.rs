//! The demo: the first thing that anybody sees.

use std::io::Write as _;
use std::process::Command;

use sotto_end_to_end::{Finished, Process, Signal, finish};

use super::stage::{binary, failure, until};

/// A short script with everything in it that can break.
const SCRIPT: &str = "Ann: hello\nBen: -5 degrees\n* Ben away\nAnn: while you were away\n* relay killed\nAnn: nobody there\n* relay back\n* Ben back\nBen: مرحبا\n";

fn demo(directory: &std::path::Path, words: &[&str]) -> Command {
    let script = directory.join("script.txt");
    let mut file = std::fs::File::create(&script).expect("a file");
    file.write_all(SCRIPT.as_bytes()).expect("it is written");
    let mut command = Command::new(binary());
    // Its own temporary directory, so that what is left there is its own.
    command.args(words).arg("demo").arg("--script").arg(script).env("TMPDIR", directory.join("tmp"));
    std::fs::create_dir_all(directory.join("tmp")).expect("a directory");
    command
}

/// Processes that were started by this binary for this demo: none may be left.
fn left_behind(directory: &std::path::Path) -> usize {
    let wanted = directory.display().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let command_lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    command_lines.filter(|line| String::from_utf8_lossy(line).contains(&wanted)).count()
}

#[test]
fn a_demo_delivers_everything_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let Finished { code, out, err } = finish(&mut demo(directory.path(), &[]), b"").unwrap();
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.contains("All 5 messages arrived once, in order, on both devices."), "{out}");
    assert!(out.contains("letters wait there") && out.contains("everything the relay knows"), "{out}");
    assert_eq!(left_behind(directory.path()), 0);
    assert_eq!(std::fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_demo_that_is_interrupted_says_so_and_leaves_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(demo(directory.path(), &["--json"]).stderr(std::process::Stdio::piped())).unwrap();
    let (lines, complaints) = (process.lines(), process.complaints());
    lines.next_object(|line| line["text"].as_str().is_some_and(|text| text.contains("they are contacts"))).unwrap();
    process.signal(Signal::INT).unwrap();
    let _ = lines.rest();
    let complaint: serde_json::Value = serde_json::from_str(&complaints.next().unwrap()).unwrap();
    assert_eq!(complaint["code"], "interrupted");
    assert_eq!(process.wait().unwrap().code(), Some(130));
    // They end with their standard input, which is gone.
    until(|| left_behind(directory.path()) == 0);
}

#[test]
fn a_script_that_cannot_be_played_is_refused_in_the_form_that_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("bad.txt");
    std::fs::write(&script, "Ann: x\nBen: y\n* Ann back\n").unwrap();
    let refused = finish(Command::new(binary()).args(["--json", "demo", "--script"]).arg(script), b"").unwrap();
    assert_eq!((failure(&refused).as_str(), refused.code), ("demo_failed", Some(1)));
    assert!(refused.out.is_empty());
}
