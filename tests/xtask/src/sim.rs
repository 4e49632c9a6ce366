//! `cargo xtask sim`: seeds of the proving ground, one process per core; and as many as fit 100 seconds as a step of `test`.
//!
//! `cargo xtask model`: lives of a conversation against a simple model.
//!
//! With `--seed` one seed is played and its story told: `--shrink` finds a shorter one that fails the same way, `--only` plays that again.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;

use crate::checkout::{Checkout, run};
use crate::kills;
use crate::step::{Failure, Outcome};

/// Seconds that the step of `test` takes: most of what breaks under chance breaks within some hundred seeds.
const SLICE_SECONDS: u64 = 100;
/// More seeds than a slice gets to.
const SLICE_SEEDS: u64 = 100_000;
/// Seeds when nobody says how many.
const SEEDS: u64 = 1_000;

/// Lives of the model when nobody says how many.
const LIVES: u64 = 50;

/// What all processes together have played.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Tally {
    played: u64,
    failed: u64,
    texts: u64,
    ms: u64,
}

/// `cargo xtask sim [--seeds N] [--from S]`, or `--seed S [--shrink] [--only STEPS] [--plant]`; `--binary PATH` takes one that is built.
pub(crate) fn sim(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let mut words = arguments.to_vec();
    let binary = match take(&mut words, "--binary")? {
        Some(binary) => PathBuf::from(binary),
        None => optimised(checkout)?,
    };
    if words.iter().any(|word| word == "--seed") {
        return run(checkout.command(binary).args(words)).map(drop);
    }
    let (from, seeds) = range(words, SEEDS)?;
    play(checkout, &binary, from, seeds, None)
}

/// `cargo xtask model [--seeds N] [--from S]`: lives of a conversation on devices that are often apart.
pub(crate) fn model(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let (from, seeds) = range(arguments.to_vec(), LIVES)?;
    let mut lives = checkout.cargo();
    lives.args(["test", "--locked", "--release", "--package", "sotto-sim", "--test", "engine"]);
    lives.args(["--", "--nocapture", "model::"]).env("SOTTO_MODEL_SEEDS", format!("{from}..{}", from + seeds));
    run(&mut lives).map(drop)
}

/// From which seed on, and how many.
fn range(mut words: Vec<String>, otherwise: u64) -> Result<(u64, u64), Failure> {
    let number = |value: Option<String>, otherwise: u64| {
        value.map_or(Ok(otherwise), |value| value.parse().map_err(|_| Failure(format!("{value} is no number"))))
    };
    let seeds = number(take(&mut words, "--seeds")?, otherwise)?;
    let from = number(take(&mut words, "--from")?, 1)?;
    match words.first() {
        Some(word) => Err(Failure(format!("{word} is unknown"))),
        None => Ok((from, seeds)),
    }
}

/// `cargo xtask walk [SCENE ..]`: devices die at every step of what they do, in one process and in children that are aborted.
pub(crate) fn walk(checkout: &Checkout, arguments: &[String]) -> Result<(), Failure> {
    let binary = optimised(checkout)?;
    run(checkout.command(binary).arg("walk").args(arguments)).map(drop)
}

/// The step of `test`.
pub(crate) fn step(checkout: &Checkout) -> Result<Outcome, Failure> {
    let beside = kills::build(checkout)?.with_file_name(format!("sotto-sim{}", std::env::consts::EXE_SUFFIX));
    play(checkout, &beside, 1, SLICE_SEEDS, Some(SLICE_SECONDS)).map(|()| Outcome::Passed)
}

/// Optimised throughout: ten thousand seeds are worth the minutes of building it.
fn optimised(checkout: &Checkout) -> Result<PathBuf, Failure> {
    run(checkout.cargo().args(["build", "--locked", "--release", "--package", "sotto-sim", "--bin", "sotto-sim"]))?;
    Ok(checkout.target().join(format!("release/sotto-sim{}", std::env::consts::EXE_SUFFIX)))
}

fn play(checkout: &Checkout, binary: &Path, from: u64, seeds: u64, within: Option<u64>) -> Result<(), Failure> {
    let processes = thread::available_parallelism().map_or(1, |cores| cores.get() as u64).clamp(1, seeds.max(1));
    let shares = (0..processes).map(|process| {
        let mut command = checkout.command(binary);
        let share = seeds / processes + u64::from(process < seeds % processes);
        command.args(["--many", "--from", &(from + process).to_string(), "--stride", &processes.to_string()]);
        command.args(["--seeds", &share.to_string()]).stdout(Stdio::piped());
        if let Some(seconds) = within {
            command.args(["--within", &seconds.to_string()]);
        }
        command
    });
    let tallies = thread::scope(|scope| {
        let processes: Vec<_> = shares.map(|mut share| scope.spawn(move || tally(share.spawn()?))).collect();
        processes.into_iter().map(|process| process.join()).collect::<Vec<_>>()
    });
    let mut all = Tally::default();
    for tally in tallies {
        let tally = tally.map_err(|_| Failure("a thread of this program panicked".to_owned()))?;
        let tally = tally.map_err(|error| Failure(format!("a process of the simulation: {error}")))?;
        all.played += tally.played;
        all.failed += tally.failed;
        all.texts += tally.texts;
        all.ms = all.ms.max(tally.ms);
    }
    let a_minute = all.played * 60_000 / all.ms.max(1);
    println!("{} seeds from {from} on, {} texts, {a_minute} seeds a minute", all.played, all.texts);
    match all {
        Tally { failed: 0, played, .. } if played > 0 => Ok(()),
        Tally { failed, played, .. } => Err(Failure(format!("{failed} of {played} seeds"))),
    }
}

/// Passes on what a process says, and reads what it says last. One that ends without that has died in the middle of a seed.
fn tally(mut process: std::process::Child) -> std::io::Result<Tally> {
    let mut last = None;
    for line in process.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines) {
        let line = line?;
        match read_tally(&line) {
            Some(tally) => last = Some(tally),
            None => println!("{line}"),
        }
    }
    let status = process.wait()?;
    last.ok_or_else(|| std::io::Error::other(format!("it ended with {status}, and not by itself")))
}

fn read_tally(line: &str) -> Option<Tally> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["played", played, "failed", failed, "texts", texts, "ms", ms] = words[..] else { return None };
    let number = |word: &str| word.parse().ok();
    Some(Tally { played: number(played)?, failed: number(failed)?, texts: number(texts)?, ms: number(ms)? })
}

/// Takes an option and its value out of the words.
fn take(words: &mut Vec<String>, option: &str) -> Result<Option<String>, Failure> {
    let Some(place) = words.iter().position(|word| word == option) else { return Ok(None) };
    if place + 1 >= words.len() {
        return Err(Failure(format!("{option} wants a value")));
    }
    words.remove(place);
    Ok(Some(words.remove(place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_process_is_read_and_no_other() {
        let tally = Tally { played: 3, failed: 1, texts: 40, ms: 900 };
        assert_eq!(read_tally("played 3 failed 1 texts 40 ms 900"), Some(tally));
        assert_eq!(read_tally("seed 3 failed: EverythingArrives"), None);
    }

    #[test]
    fn an_option_is_taken_with_its_value() {
        let mut words = ["--from", "3", "--seeds", "9"].map(str::to_owned).to_vec();
        assert_eq!(take(&mut words, "--seeds"), Ok(Some("9".to_owned())));
        assert_eq!(take(&mut words, "--seeds"), Ok(None));
        assert_eq!(words, ["--from", "3"]);
        assert!(take(&mut vec!["--from".to_owned()], "--from").is_err());
    }
}
