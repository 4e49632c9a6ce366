//! Sotto in the terminal: a thin client over the public API of `sotto-core`, and the door for scripts (JSON lines).
//!
//! - `arguments.rs`: what can be typed; `run.rs`: the engine, or the process that has it; `commands.rs`: what each command does
//! - `output.rs`: results and errors, for people and for programs; `keystore.rs`: the profile's keys in a file
//! - `handover.rs`: a second process hands its request to the first
//! - `demo/`: a relay and two devices as processes of their own, and what the relay knows

mod arguments;
mod commands;
mod demo;
mod handover;
mod keystore;
mod output;
mod run;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    // The demo's relay: the same binary, under another first word.
    if std::env::args_os().nth(1).is_some_and(|word| word == demo::RELAY_WORD) {
        let program = words.next();
        return sotto_relay::shell::run(program.into_iter().chain(words.skip(1)));
    }
    let arguments = Arguments::parse();
    start_log();
    match arguments.command {
        Command::Demo { script } => demo::run(script.as_deref()),
        _ => run::run(&arguments),
    }
}

/// Diagnostics go to standard error when somebody asks: `SOTTO_LOG=debug`.
fn start_log() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("SOTTO_LOG") {
        drop(
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .with_target(false)
                .try_init(),
        );
    }
}
