//! Plays power cuts with many seeds: `sotto-power [--seeds N] [--from SEED] [--left-out]`.
//!
//! Each seed is played on a relay's store, on a relay between two people, on their devices, and on an account that is being made.
//! With `--left-out` commits are not synced, as with `synchronous = NORMAL`, and what is printed is how many seeds notice. An account that is
//! being made does not: its database gets its name once the whole file was synced, whatever its commits were.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sotto_power::conversation::{self, Victim};
use sotto_power::{LeftOut, Numbers, Violation, alone, relay};

/// What is played.
#[derive(Clone, Copy)]
struct Plan {
    seeds: u64,
    from: u64,
    left_out: LeftOut,
}

/// What is cut in a play, and the play.
type Play = (&'static str, fn(u64, LeftOut) -> Result<Numbers, Violation>);

const PLAYS: [Play; 3] = [
    ("a relay's store", relay::play),
    ("the relay", |seed, left_out| alone(seed, move || conversation::play(seed, Victim::Relay, left_out))),
    ("the devices", |seed, left_out| alone(seed, move || conversation::play(seed, Victim::Device, left_out))),
];

const BEGINNING: Play =
    ("an account being made", |seed, left_out| alone(seed, move || conversation::play_beginning(seed, left_out)));

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(plan) = read(&arguments) else {
        eprintln!("sotto-power [--seeds N] [--from SEED] [--left-out]");
        return ExitCode::from(2);
    };
    let mut is_kept = true;
    for (name, play) in PLAYS {
        is_kept &= run(&plan, name, play);
    }
    if plan.left_out == LeftOut::Nothing {
        let (name, play) = BEGINNING;
        is_kept &= run(&plan, name, play);
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read(arguments: &[String]) -> Option<Plan> {
    let mut plan = Plan { seeds: 100, from: 0, left_out: LeftOut::Nothing };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => plan.seeds = words.next()?.parse().ok()?,
            "--from" => plan.from = words.next()?.parse().ok()?,
            "--left-out" => plan.left_out = LeftOut::SyncsOfCommits,
            _ => return None,
        }
    }
    // What plays nothing proves nothing.
    Some(plan).filter(|plan| plan.seeds > 0)
}

/// Plays all seeds on all processors; says whether every promise was kept, or, where syncs are left out, whether that was noticed.
fn run(plan: &Plan, name: &str, play: fn(u64, LeftOut) -> Result<Numbers, Violation>) -> bool {
    let begun = Instant::now();
    let next = AtomicU64::new(plan.from);
    let played = Mutex::new((Numbers::default(), 0_u64));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= plan.from + plan.seeds {
                        return;
                    }
                    let result = play(seed, plan.left_out);
                    let mut played = played.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(numbers) => played.0 = played.0.and(numbers),
                        Err(violation) => {
                            played.1 += 1;
                            tell(seed, name, &violation, plan.left_out);
                        }
                    }
                }
            });
        }
    });
    let (numbers, broken) = played.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{name}: {} seeds, {} cuts, {} envelopes accepted, {} texts, {broken} broken promises; {:.1} s",
        plan.seeds,
        numbers.cuts,
        numbers.accepted,
        numbers.texts,
        begun.elapsed().as_secs_f64()
    );
    match plan.left_out {
        LeftOut::Nothing => broken == 0,
        LeftOut::SyncsOfCommits => broken > 0,
    }
}

fn tell(seed: u64, name: &str, violation: &Violation, left_out: LeftOut) {
    println!("{name}, seed {seed}: {violation}");
    if left_out == LeftOut::Nothing {
        println!("  again: cargo xtask power --from {seed} --seeds 1");
    }
}
