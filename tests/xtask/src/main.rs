//! `cargo xtask`: every chore of the project behind one word, so that nobody has to remember flags.
//!
//! A chore is a row in `COMMANDS`. `test` is the README's test command and all that CI runs; the others are parts of it, or recipes
//! for one purpose. Chores run the same way on a laptop and in CI; what a machine lacks is set up (`machine.rs`) or named.
//! Modules: `step` (run, time, sum up), `suite` (what `test` runs), `checkout` (this tree and its cargo), `machine` (Debian
//! packages), `python` (virtual environments), `kills` (kill -9 on the way), `power` (power cuts), `pause` (apps that the system stops), `sim` (seeds of the proving ground),
//! `bench` (budgets), `tree` (words and `unsafe` where they
//! must not be), `policy` (`deny.toml`).
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

mod bench;
mod checkout;
mod kills;
mod machine;
mod pause;
mod policy;
mod power;
mod python;
mod sim;
mod step;
mod suite;
mod tree;

use std::env;
use std::process::ExitCode;

use checkout::Checkout;
use step::Failure;

/// One chore: its name, its line in the help, and what it does with the words after its name.
struct Command {
    name: &'static str,
    summary: &'static str,
    run: fn(&Checkout, &[String]) -> Result<(), Failure>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        summary: "set up what is missing, then run every check (or only the STEPs named)",
        run: suite::test,
    },
    Command {
        name: "kill-test",
        summary: "1,000 texts each way with the relay killed 5 times and both devices twice (--seed, --rounds, --relays, ..)",
        run: kills::kill_test,
    },
    Command {
        name: "power",
        summary: "power cuts: 1,000 seeds each on a store, the relay, devices and beginnings (--seeds, --from; --left-out: unsynced commits are noticed)",
        run: power::power,
    },
    Command {
        name: "pause",
        summary: "engines pause at every step of what they do, on real threads, files and sockets (--every, --seed, --rounds)",
        run: pause::pause,
    },
    Command {
        name: "sim",
        summary: "play seeds of the proving ground on all cores (--seeds, --from), or one (--seed, --shrink, --only)",
        run: sim::sim,
    },
    Command {
        name: "model",
        summary: "random lives of a conversation against a simple model (--seeds, --from)",
        run: sim::model,
    },
    Command {
        name: "fixtures",
        summary: "make anew what this tree's release would leave behind: databases and bytes for tests/compatibility",
        run: suite::fixtures,
    },
    Command {
        name: "walk",
        summary: "let devices die at every step of all that they do, and open them again (or only in the SCENEs named)",
        run: sim::walk,
    },
    Command { name: "fmt", summary: "format all Rust code", run: suite::format },
    Command {
        name: "lint",
        summary: "clippy without a warning, unsafe only where it may be, no unfinished work",
        run: suite::lint,
    },
    Command {
        name: "deny",
        summary: "hold every dependency against deny.toml: bans, duplicates, licences, sources",
        run: suite::deny,
    },
    Command {
        name: "bench",
        summary: "measure every budget and write docs/benchmarks.md (or only print: pause, send, receive, open, search, outbox, link, plays, relay; --small)",
        run: bench::bench,
    },
    Command {
        name: "bench-peers",
        summary: "measure the relay beside ejabberd and NATS from Debian packages (--small: only see that it runs)",
        run: bench::bench_peers,
    },
];

fn main() -> ExitCode {
    let arguments = env::args().skip(1).collect::<Vec<_>>();
    let (name, rest) = match arguments.split_first() {
        None => ("help", [].as_slice()),
        Some((name, rest)) => (name.as_str(), rest),
    };
    if matches!(name, "help" | "--help" | "-h") {
        return help();
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("no chore is called {name}: see cargo xtask help");
        return ExitCode::from(2);
    };
    match (command.run)(&Checkout::here(), rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\n{name} failed: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> ExitCode {
    println!("cargo xtask COMMAND\n");
    for command in COMMANDS {
        println!("  {:<12} {}", command.name, command.summary);
    }
    println!("\nSteps of test: {}", suite::step_names().collect::<Vec<_>>().join(", "));
    ExitCode::SUCCESS
}
