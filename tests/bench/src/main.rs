//! Benchmarks: the budgets of the design, measured on this machine and written beside it (`docs/benchmarks.md`).
//!
//! Not tests: nothing here fails because a machine is slow. Where there is a floor (a bare commit, a bare decryption) it is measured
//! in the same run, so that the ratio means something on any machine. CPU is counted per process, by the kernel: the relay is a
//! process of its own (this binary, run again), so that its cost and ours do not mix. Every load is bounded and on loopback.
//! - `meter`: CPU, wall time, memory; `report`: rows, budgets, verdicts
//! - `relay_process`: the relay; `people`: engines on it; `inbox`: a device of the relay's without an engine
//! - `send`, `receive` (with `floor`): the engine's rows; `large` (of `texts`): a large profile, for `open`, `screens`, `search` and `memory`
//! - `pause`: what an app waits for before the system may stop it; `outbox`: a send behind many others; `link`: what a slow link and a relay that is gone cost, in simulated time
//! - `plays`: what the simulation itself costs
//! - `relay`: the relay's rows; `load`: what every server is given to do; `old_ids`: a relay's memory; `peers`: servers beside it
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod floor;
mod inbox;
mod large;
mod link;
mod load;
mod memory;
mod meter;
mod old_ids;
mod open;
mod outbox;
mod pause;
mod peers;
mod people;
mod plays;
mod receive;
mod relay;
mod relay_process;
mod report;
mod screens;
mod search;
mod send;
mod texts;

use std::path::PathBuf;
use std::process::ExitCode;

use report::Report;

/// What every measurement ends in.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How large the loads are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    /// As the budgets say.
    Whole,
    /// A few seconds in all, to see that everything still runs. Its numbers mean nothing.
    Small,
}

impl Size {
    const fn pick(self, whole: usize, small: usize) -> usize {
        match self {
            Self::Whole => whole,
            Self::Small => small,
        }
    }

    /// Ids of earlier envelopes that a relay remembers while it is measured.
    const fn old_ids(self) -> usize {
        self.pick(30_000_000, 30_000)
    }
}

const USAGE: &str = "sotto-bench [--small] [--write FILE] [pause] [send] [outbox] [receive] [open] [screens] [search] [memory] [--messages N] [link] [plays] [relay] | peers";

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == relay_process::WORD) {
        let words = std::env::args_os();
        return sotto_relay::shell::run(words.take(1).chain(std::env::args_os().skip(2)));
    }
    if std::env::args_os().nth(1).is_some_and(|word| word == memory::WORD) {
        return ended(runtime().and_then(|runtime| runtime.block_on(memory::read(std::env::args_os().skip(2)))));
    }
    let mut names = Vec::new();
    let (mut size, mut file, mut messages) = (Size::Whole, None, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--small" => size = Size::Small,
            "--write" => file = words.next().map(PathBuf::from),
            "--messages" => messages = words.next().and_then(|count| count.parse().ok()),
            "pause" | "send" | "outbox" | "receive" | "open" | "screens" | "search" | "memory" | "link" | "plays"
            | "relay" | "peers" => names.push(word),
            _ => {
                println!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    ended(run(&names, size, messages, file))
}

fn ended(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn run(names: &[String], size: Size, messages: Option<u32>, file: Option<PathBuf>) -> Outcome<()> {
    let runtime = runtime()?;
    let mut report = Report::default();
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    runtime.block_on(async {
        // First: whatever this process has open then is an engine's that did not close it.
        if is_wanted("pause") {
            pause::measure(size, &mut report).await?;
        }
        if is_wanted("send") {
            send::measure(size, &mut report).await?;
        }
        if is_wanted("receive") {
            receive::measure(size, &mut report).await?;
        }
        if large::PARTS.into_iter().any(is_wanted) {
            large::measure(size, messages, is_wanted, &mut report).await?;
        }
        if is_wanted("outbox") {
            outbox::measure(size, &mut report).await?;
        }
        if is_wanted("relay") {
            relay::measure(size, &mut report).await?;
        }
        // Other people's servers only when they are asked for.
        if names.iter().any(|name| name == "peers") {
            peers::measure(size, &mut report).await?;
        }
        Outcome::Ok(())
    })?;
    if is_wanted("link") {
        link::measure(size, &mut report)?;
    }
    if is_wanted("plays") {
        plays::measure(size, &mut report)?;
    }
    match file {
        Some(file) if names.iter().any(|name| name == "peers") => report.write_into(&file, "peers"),
        Some(file) => report.write_into(&file, "measured"),
        None => Ok(()),
    }
}
