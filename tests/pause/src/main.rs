//! Walks through pauses: `sotto-pause [--every N] [--seed N] [--rounds N]`, with `--every 0` through none. `cargo xtask pause` starts it.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;
use std::time::Duration;

use sotto_pause::{RELAY_PROCESS, Slice, Violation, Walked, at_once, frozen, walk};

/// What is walked, and how many rounds everything goes on at once.
struct Plan {
    slice: Slice,
    rounds: u64,
}

/// One pause while a relay hangs is much like the next.
const FROZEN_MAX: u64 = 5;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == RELAY_PROCESS) {
        let words = std::env::args_os();
        return sotto_relay::shell::run(words.take(1).chain(std::env::args_os().skip(2)));
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(plan) = read(&words) else {
        eprintln!("sotto-pause [--every N] [--seed N] [--rounds N]");
        return ExitCode::from(2);
    };
    if !cfg!(target_os = "linux") {
        println!("what a process has open is asked in the words of Linux: nothing is walked here");
        return ExitCode::SUCCESS;
    }
    match play(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(violation) => {
            println!("FAILED with --seed {}: {violation}", plan.slice.seed);
            ExitCode::FAILURE
        }
    }
}

fn play(plan: &Plan) -> Result<(), Violation> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        if plan.slice.every > 0 {
            walk_through(plan.slice).await?;
        }
        let pauses = frozen(plan.rounds.min(FROZEN_MAX)).await?;
        println!("{:>6}  {:>52} ms  a relay that hangs", pauses.len(), longest(&pauses).as_millis());
        at_once(plan.rounds, plan.slice.seed).await?;
        println!("{} rounds of everything at once", plan.rounds);
        Ok(())
    })
}

async fn walk_through(slice: Slice) -> Result<(), Violation> {
    println!("pauses  kinds of steps  told that nothing happened  longest  scene");
    for Walked { scene, pauses, met, told } in walk(slice).await? {
        let longest = longest(&pauses).as_millis();
        println!("{:>6}  {:>14}  {told:>26}  {longest:>4} ms  {scene}", pauses.len(), met.len());
    }
    Ok(())
}

fn longest(pauses: &[Duration]) -> Duration {
    pauses.iter().max().copied().unwrap_or(Duration::ZERO)
}

fn read(words: &[String]) -> Option<Plan> {
    let mut plan = Plan { slice: Slice { every: 1, seed: 0 }, rounds: 40 };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let number = words.next()?.parse().ok()?;
        match word.as_str() {
            "--every" => plan.slice.every = number,
            "--seed" => plan.slice.seed = number,
            "--rounds" => plan.rounds = number,
            _ => return None,
        }
    }
    Some(plan)
}
