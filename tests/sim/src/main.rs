//! The proving ground as a program: many seeds, or one with its story. `cargo xtask sim` starts it, once per core.
//!
//! Every play has a process of its own: one that aborts or never ends takes no other along, and what failed as one of many fails the same way
//! alone. A seed in so many is played twice, and must be the same story.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sotto_sim::play::{FORKED, play};
use sotto_sim::schedule::{Schedule, Step, shrink};
use sotto_sim::walk::{CHILD, abort_walk, child, scenes, walk};

/// What to play.
struct Wanted {
    from: u64,
    seeds: u64,
    /// From one seed to the next: so many processes share the seeds.
    stride: u64,
    /// No new seed is begun after this.
    within: Option<Duration>,
    /// Seeds that succeed are not told of.
    is_many: bool,
    /// Only these steps of the one seed.
    only: Option<BTreeSet<usize>>,
    shrinks: bool,
    plants: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some(CHILD) => return walk_child(&words),
        Some(PLAY) => return play_child(&words[1..]),
        Some("walk") => return walk_all(&words[1..]),
        _ => {}
    }
    let wanted = match read(&words) {
        Ok(wanted) => wanted,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let (mut played, mut failed, mut texts) = (0_u64, 0_u64, 0);
    for number in 0..wanted.seeds {
        if wanted.within.is_some_and(|within| begun.elapsed() > within) {
            break;
        }
        let seed = wanted.from + number * wanted.stride;
        let schedule = schedule(seed, &wanted);
        let one = match play_alone(&schedule, wanted.plants) {
            Ok(one) => one,
            Err(what) => {
                println!("seed {seed}: {what}");
                return ExitCode::FAILURE;
            }
        };
        played += 1;
        texts += one.texts;
        let one = match number % TWICE_IN {
            0 if wanted.is_many && one.broken.is_none() => twice(&schedule, one, wanted.plants),
            _ => one,
        };
        if one.broken.is_some() {
            failed += 1;
        } else if let Some(why) = one.story.lines().find(|line| line.contains(FORKED)) {
            println!("seed {seed}: {why}");
        }
        if !wanted.is_many || one.broken.is_some() {
            // Of many that fail the first is told whole: most fail for one reason.
            tell(&schedule, &one, &wanted, !wanted.is_many || failed == 1);
        }
    }
    println!("played {played} failed {failed} texts {texts} ms {}", begun.elapsed().as_millis());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Of so many seeds one is played twice: what makes one seed two stories does so to most of them.
const TWICE_IN: u64 = 16;

/// Plays it again: it must be the same story to the last byte.
fn twice(schedule: &Schedule, one: One, plants: bool) -> One {
    match play_alone(schedule, plants) {
        Ok(again) if again.hash == one.hash => one,
        _ => One { broken: Some(("OneSeedIsOneStory".to_owned(), "played again it was another".to_owned())), ..one },
    }
}

/// The word with which the program plays one schedule and says what came of it.
const PLAY: &str = "play";

/// What a process has played.
struct One {
    story: String,
    hash: String,
    texts: usize,
    /// Which promise, and how.
    broken: Option<(String, String)>,
}

impl One {
    /// Its process died, or was ended.
    fn without_end(ended: ExitStatus) -> Self {
        let broken = Some((format!("EveryPlayEnds ({ended})"), "its process said nothing in the end".to_owned()));
        Self { story: String::new(), hash: String::new(), texts: 0, broken }
    }
}

fn play_alone(schedule: &Schedule, plants: bool) -> Result<One, String> {
    let mut command = Command::new(std::env::current_exe().map_err(|error| error.to_string())?);
    command.args([PLAY, "--seed", &schedule.seed.to_string(), "--only", &list(&schedule.places())]);
    if plants {
        command.arg("--plant");
    }
    let (out, ended) = output(&mut command).map_err(|error| error.to_string())?;
    let Some((story, end)) = out.trim_end_matches('\n').rsplit_once('\n') else { return Ok(One::without_end(ended)) };
    let words: Vec<&str> = end.splitn(4, '\t').collect();
    let [hash, texts, promise, what] = words[..] else { return Ok(One::without_end(ended)) };
    let broken = (!promise.is_empty()).then(|| (promise.to_owned(), what.to_owned()));
    Ok(One { story: story.to_owned(), hash: hash.to_owned(), texts: texts.parse().unwrap_or(0), broken })
}

/// What a process prints until it ends, or is ended because it never does: a play takes well under a second.
fn output(command: &mut Command) -> std::io::Result<(String, ExitStatus)> {
    const PATIENCE: Duration = Duration::from_secs(600);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take();
    let child = &Mutex::new(child);
    let (done, is_done) = channel::<()>();
    let said = std::thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // One that has ended meanwhile needs no end.
                let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
            }
        });
        let mut said = Vec::new();
        let read = out.map_or(Ok(0), |mut out| out.read_to_end(&mut said));
        drop(done);
        read.map(|_| String::from_utf8_lossy(&said).into_owned())
    });
    let ended = child.lock().unwrap_or_else(PoisonError::into_inner).wait()?;
    Ok((said?, ended))
}

fn play_child(words: &[String]) -> ExitCode {
    let Ok(wanted) = read(words) else { return ExitCode::from(2) };
    let played = play(&schedule(wanted.from, &wanted));
    let (promise, what) = match &played.violation {
        Some(violation) => (format!("{:?}", violation.promise), violation.what.replace(['\n', '\t'], " ")),
        None => (String::new(), String::new()),
    };
    println!("{}\n{}\t{}\t{promise}\t{what}", played.story.join("\n"), sotto_sim::hex(&played.hash), played.texts);
    ExitCode::SUCCESS
}

/// A child of the abort walk.
fn walk_child(words: &[String]) -> ExitCode {
    let [_, scene, step, directory] = words else { return ExitCode::from(2) };
    match child(scene, step.parse().unwrap_or(0), Path::new(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

/// Both walks through every scene, or those that are named.
fn walk_all(wanted: &[String]) -> ExitCode {
    if let Some(unknown) = wanted.iter().find(|name| scenes().all(|scene| scene != name.as_str())) {
        eprintln!("no scene is called “{unknown}”; there are: {}", scenes().collect::<Vec<_>>().join(", "));
        return ExitCode::from(2);
    }
    let program = std::env::current_exe().unwrap_or_default();
    let mut met = BTreeSet::new();
    let mut failed = false;
    println!("deaths  aborts  kinds of steps  scene");
    for scene in scenes().filter(|scene| wanted.is_empty() || wanted.iter().any(|name| name == scene)) {
        match walk(scene).and_then(|walked| Ok((walked, abort_walk(&program, scene)?))) {
            Ok((walked, aborted)) => {
                let kinds: BTreeSet<String> = walked.met.union(&aborted.met).cloned().collect();
                println!("{:>6}  {:>6}  {:>14}  {scene}", walked.deaths, aborted.deaths, kinds.len());
                met.extend(kinds);
            }
            Err(what) => {
                println!("FAILED: {what}");
                failed = true;
            }
        }
    }
    println!("{} distinct steps hit", met.len());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn schedule(seed: u64, wanted: &Wanted) -> Schedule {
    let whole = Schedule::of_seed(seed);
    let whole = if wanted.plants { whole.and(Step::Forget(0)) } else { whole };
    match &wanted.only {
        Some(places) => whole.only(&places.iter().copied().collect::<Vec<_>>()),
        None => whole,
    }
}

fn tell(schedule: &Schedule, played: &One, wanted: &Wanted, is_whole: bool) {
    let seed = schedule.seed;
    let Some((promise, what)) = &played.broken else {
        println!("{}{}\nnothing broke; hash {}", schedule.cast, played.story, played.hash);
        return;
    };
    println!("seed {seed} failed: {promise}: {what}");
    let planted = if wanted.plants { " --plant" } else { "" };
    if !wanted.shrinks {
        if is_whole {
            println!("{}{}", schedule.cast, played.story);
        }
        println!("shorter: cargo xtask sim --seed {seed}{planted} --shrink\n");
        return;
    }
    let again = |shorter: &Schedule| play_alone(shorter, wanted.plants).ok();
    let fails = |shorter: &Schedule| again(shorter).and_then(|one| one.broken).is_some_and(|(now, _)| now == *promise);
    let shrunk = shrink(schedule, fails);
    let (plays, shrunk) = (shrunk.plays, shrunk.schedule);
    println!(
        "{} of {} steps are enough (found in {plays} plays):\n\n{}{}\n",
        shrunk.steps.len(),
        schedule.steps.len(),
        shrunk.cast,
        again(&shrunk).map(|one| one.story).unwrap_or_default()
    );
    println!("again: cargo xtask sim --seed {seed}{planted} --only {}\n", list(&shrunk.places()));
}

fn list(places: &[usize]) -> String {
    if places.is_empty() {
        return "none".to_owned();
    }
    places.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn read(words: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        from: 1,
        seeds: 1,
        stride: 1,
        within: None,
        is_many: false,
        only: None,
        shrinks: false,
        plants: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        let number = |value: &String| value.parse::<u64>().map_err(|_| format!("{word} wants a number"));
        match word.as_str() {
            "--seed" => (wanted.from, wanted.seeds) = (number(value()?)?, 1),
            "--many" => wanted.is_many = true,
            "--from" => wanted.from = number(value()?)?,
            "--seeds" => wanted.seeds = number(value()?)?,
            "--stride" => wanted.stride = number(value()?)?,
            "--within" => wanted.within = Some(Duration::from_secs(number(value()?)?)),
            "--only" => {
                let places = value()?.split(',').filter(|place| *place != "none").map(str::parse);
                wanted.only = Some(places.collect::<Result<_, _>>().map_err(|_| "--only wants places".to_owned())?);
            }
            "--shrink" => wanted.shrinks = true,
            "--plant" => wanted.plants = true,
            _ => return Err(format!("{word} is unknown")),
        }
    }
    Ok(wanted)
}
