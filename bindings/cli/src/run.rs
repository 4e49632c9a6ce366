//! Runs a command: on an engine of this process, or in the process that has the profile open.
//!
//! One engine per profile. Whoever opens it listens for others while it runs (`handover.rs`); who comes second hands its words over,
//! and needs no passphrase for that: the socket is the same user's, and the engine behind it is open.
//! A first process that ends just then lets the second one open the profile itself, so both are tried until one works.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sotto_core::net::HttpTransport;
use sotto_core::world::{SecretStoreError, SystemClock, SystemRng};
use sotto_core::{Error, Messenger, StoreError, Threading, World};
use zeroize::Zeroizing;

use crate::arguments::{Arguments, Command};
use crate::commands;
use crate::handover::{self, Asked};
use crate::keystore::{FileSecrets, Protection};
use crate::output::{Failed, Output, Terminal};

/// How often both ways in are tried before the profile counts as in use by something that does not answer.
const TRIES: u32 = 20;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs a command and says how it went. `words` are the command line that `arguments` were read from.
pub(crate) fn run(arguments: Arguments, words: Vec<OsString>) -> ExitCode {
    let (json, mut terminal) = (arguments.json, Terminal::default());
    match try_run(arguments, &words, &mut terminal) {
        Ok(code) => code,
        Err(failed) => {
            Output::new(json, &mut terminal).fail(&failed);
            ExitCode::FAILURE
        }
    }
}

fn try_run(mut arguments: Arguments, words: &[OsString], terminal: &mut Terminal) -> Result<ExitCode, Failed> {
    let input = commands::read_input(&arguments.command)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|_| Failed::new("runtime_failed", "the runtime does not start"))?;
    let result = runtime.block_on(async {
        if let Command::Init { relay, name, passphrase } = &arguments.command {
            return init(&arguments, relay, name, *passphrase, terminal).await;
        }
        let (begun, mut passphrase) = (Instant::now(), None);
        let asked_for = stay(&mut arguments.command).copied();
        for _ in 0..TRIES {
            match handover::ask(&arguments.profile, words, &input, terminal).await {
                Asked::Answered(code) => return Ok(code),
                Asked::BrokenOff => return Err(broken_off()),
                Asked::NobodyThere => {}
            }
            if let (Some(remaining), Some(seconds)) = (stay(&mut arguments.command), asked_for) {
                // What it watched elsewhere counts.
                *remaining = seconds.saturating_sub(begun.elapsed().as_secs());
            }
            match open(&arguments.profile, &mut passphrase).await {
                Ok(messenger) => return serve(&messenger, &arguments, &input, terminal).await,
                Err(Error::Store(StoreError::ProfileInUse)) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Store(StoreError::ProfileInUse).into())
    });
    runtime.shutdown_timeout(PAUSE);
    result
}

/// How many seconds a command is to stay.
const fn stay(command: &mut Command) -> Option<&mut u64> {
    match command {
        Command::Sync { seconds } => seconds.as_mut(),
        _ => None,
    }
}

fn broken_off() -> Failed {
    Failed::new("broken_off", "the process that has the profile open ended while it ran this: it may be done, or not")
}

/// Runs the command on this process's engine, and others' meanwhile.
async fn serve(
    messenger: &Messenger,
    arguments: &Arguments,
    input: &[String],
    terminal: &mut Terminal,
) -> Result<ExitCode, Failed> {
    let door = handover::Door::open(&arguments.profile, messenger.clone());
    let mut output = Output::new(arguments.json, terminal);
    let result = tokio::select! {
        biased;
        result = commands::run(messenger, &arguments.profile, &arguments.command, input, &mut output) => result,
        () = interrupted() => Ok(()),
    };
    if let Some(door) = door {
        door.close().await;
    }
    messenger.shut_down();
    result.map(|()| ExitCode::SUCCESS)
}

/// SIGINT and SIGTERM end a command in order.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

async fn init(
    arguments: &Arguments,
    relays: &[String],
    name: &str,
    passphrase: bool,
    terminal: &mut Terminal,
) -> Result<ExitCode, Failed> {
    if arguments.profile.join("sotto.db").exists() {
        return Err(Error::Store(StoreError::Exists).into());
    }
    let protection = if passphrase { Protection::Passphrase(ask_new_passphrase()?) } else { Protection::Plain };
    let secrets = FileSecrets::create(&arguments.profile, &protection).map_err(Error::from)?;
    let mut output = Output::new(arguments.json, terminal);
    let messenger = commands::init(world(secrets), &arguments.profile, relays, name, &mut output).await?;
    messenger.shut_down();
    Ok(ExitCode::SUCCESS)
}

async fn open(profile: &Path, passphrase: &mut Option<Zeroizing<String>>) -> Result<Messenger, Error> {
    let protection = match FileSecrets::needs_passphrase(profile)? {
        None => return Err(StoreError::Absent.into()),
        Some(false) => Protection::Plain,
        Some(true) => Protection::Passphrase(match passphrase {
            Some(passphrase) => passphrase.clone(),
            None => passphrase.insert(ask_passphrase()?).clone(),
        }),
    };
    Messenger::open(world(FileSecrets::open(profile, &protection)?), profile).await
}

fn world(secrets: FileSecrets) -> World {
    World {
        transport: Arc::new(HttpTransport::new()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        secrets: Arc::new(secrets),
        threading: Threading::Threads,
    }
}

const PASSPHRASE: &str = "SOTTO_PASSPHRASE";

fn ask_passphrase() -> Result<Zeroizing<String>, SecretStoreError> {
    if let Ok(passphrase) = std::env::var(PASSPHRASE) {
        return Ok(Zeroizing::new(passphrase));
    }
    rpassword::prompt_password("Passphrase: ").map(Zeroizing::new).map_err(|_| SecretStoreError::Locked)
}

fn ask_new_passphrase() -> Result<Zeroizing<String>, Failed> {
    if let Ok(passphrase) = std::env::var(PASSPHRASE) {
        return Ok(Zeroizing::new(passphrase));
    }
    let ask = |prompt| {
        rpassword::prompt_password(prompt)
            .map(Zeroizing::new)
            .map_err(|_| Failed::new("no_passphrase", "no passphrase was given"))
    };
    let (first, second) = (ask("New passphrase: ")?, ask("Once more: ")?);
    if first == second { Ok(first) } else { Err(Failed::new("passphrases_differ", "the passphrases differ")) }
}
