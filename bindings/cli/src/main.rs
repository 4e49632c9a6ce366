//! Sotto in the terminal: a thin client over the public API of `sotto-core`, and the door for scripts (JSON lines).
//!
//! - `arguments.rs`: what can be typed; `run.rs`: the engine, or the process that has it; `commands.rs`: what each command does
//! - `deeds.rs`, `find.rs`, `info.rs`: of messages: what is done to them, which, all of one; `sending.rs`: what becomes of what was said
//! - `settings.rs`: of conversations, contacts and the account
//! - `own.rs`: what the account is to others, and what is the matter with it; `chat/`: one conversation on the whole terminal
//! - `sync.rs`: news, as they come; `shown.rs`: how far they were shown
//! - `output.rs`: results and errors, for people and for programs; `message.rs`: those of a message; `names.rs`, `age.rs`, `date.rs`, `readable.rs`, `wording.rs`: whose, when, harmless, and what stands where words would
//! - `terminal.rs`, `input.rs`, `signals.rs`: lines out, lines in, and the end
//! - `profile.rs`: where the profile is, and that it is its user's alone; `keystore.rs`: its keys in a file; `proxy.rs`: its way out
//! - `handover.rs`: a second process hands its request to the first
//! - `daemon/`: programs ask and are told, over standard input and output
//! - `export/`: a conversation to keep
//! - `demo/`: a relay and two devices as processes of their own, and what the relay knows

mod age;
mod arguments;
mod chat;
mod commands;
mod daemon;
mod date;
mod deeds;
mod demo;
mod export;
mod failed;
mod find;
mod handover;
mod info;
mod input;
mod keystore;
mod message;
mod names;
mod output;
mod own;
mod profile;
mod proxy;
mod readable;
mod run;
mod sending;
mod settings;
mod shown;
mod signals;
mod sync;
mod terminal;
mod wording;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::failed::Failed;
use crate::output::Output;
use crate::terminal::Terminal;

fn main() -> ExitCode {
    // Every file of a profile is for its owner alone, the socket from its first moment.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let mut words: Vec<OsString> = std::env::args_os().collect();
    match demo::Part::of(&words) {
        Some(part) => {
            words.remove(1);
            demo::end_with_the_demo();
            match part {
                demo::Part::Relay => sotto_relay::shell::run(words),
                demo::Part::Device => run_words(words),
            }
        }
        None => run_words(words),
    }
}

fn run_words(words: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments,
        Err(error) => return misused(&words, &error),
    };
    // Its lines would stand in the middle of a chat's screen.
    if !(matches!(arguments.command, Command::Chat { .. }) && std::io::stderr().is_terminal()) {
        start_log();
    }
    match arguments.command {
        Command::Demo { script } => demo::run(script.as_deref(), arguments.json),
        _ => run::run(arguments, words),
    }
}

/// Help and version are no errors; what makes no sense is one, in the form that was asked for.
fn misused(words: &[OsString], error: &clap::Error) -> ExitCode {
    if error.use_stderr() && words.iter().any(|word| word == "--json") {
        Output::new(true, &mut Terminal::default()).fail(&Failed::usage(error));
    } else {
        // The library's own text.
        drop(error.print());
    }
    ExitCode::from(u8::from(error.use_stderr()) * 2)
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
