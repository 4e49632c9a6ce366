//! The proving ground as a program: many seeds, or one with its story. `cargo xtask sim` starts it, once per core.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sotto_sim::play::{Played, play};
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
    let watch = Watch::begin();
    let (mut played, mut failed, mut texts) = (0_u64, 0_u64, 0);
    for number in 0..wanted.seeds {
        if wanted.within.is_some_and(|within| begun.elapsed() > within) {
            break;
        }
        let seed = wanted.from + number * wanted.stride;
        watch.begins(seed);
        let schedule = schedule(seed, &wanted);
        let one = play(&schedule);
        played += 1;
        texts += one.texts;
        if one.violation.is_some() {
            failed += 1;
        }
        if !wanted.is_many || one.violation.is_some() {
            tell(&schedule, &one, &wanted);
        }
    }
    println!("played {played} failed {failed} texts {texts} ms {}", begun.elapsed().as_millis());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// Looks whether a seed comes to an end: one that spins on the spot is a fault like any other, and holds up no others.
#[derive(Clone)]
struct Watch(Arc<Mutex<(u64, Instant)>>);

impl Watch {
    /// A seed takes well under a second.
    const PATIENCE: Duration = Duration::from_secs(600);

    fn begin() -> Self {
        let watch = Self(Arc::new(Mutex::new((0, Instant::now()))));
        let watching = watch.clone();
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_secs(5));
                let (seed, since) = *watching.0.lock().unwrap_or_else(PoisonError::into_inner);
                if since.elapsed() > Self::PATIENCE {
                    println!("seed {seed} does not end: cargo xtask sim --seed {seed}");
                    std::process::exit(3);
                }
            }
        });
        watch
    }

    fn begins(&self, seed: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (seed, Instant::now());
    }
}

fn schedule(seed: u64, wanted: &Wanted) -> Schedule {
    let whole = Schedule::of_seed(seed);
    let whole = if wanted.plants { whole.and(Step::Forget(0)) } else { whole };
    match &wanted.only {
        Some(places) => whole.only(&places.iter().copied().collect::<Vec<_>>()),
        None => whole,
    }
}

fn tell(schedule: &Schedule, played: &Played, wanted: &Wanted) {
    let seed = schedule.seed;
    let Some(violation) = &played.violation else {
        println!("{}{}\nnothing broke; hash {}", schedule.cast, played.story.join("\n"), sotto_sim::hex(&played.hash));
        return;
    };
    println!("seed {seed} failed: {violation}");
    let planted = if wanted.plants { " --plant" } else { "" };
    if !wanted.shrinks {
        if !wanted.is_many {
            println!("{}{}", schedule.cast, played.story.join("\n"));
        }
        println!("its story: cargo xtask sim --seed {seed}{planted} --shrink\n");
        return;
    }
    let shrunk =
        shrink(schedule, |shorter| play(shorter).violation.is_some_and(|now| now.promise == violation.promise));
    let (plays, shrunk) = (shrunk.plays, shrunk.schedule);
    println!(
        "{} of {} steps are enough (found in {plays} plays):\n\n{}{}\n",
        shrunk.steps.len(),
        schedule.steps.len(),
        shrunk.cast,
        play(&shrunk).story.join("\n")
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
