//! Runs a command: on an engine of this process, or in the process that has the profile open.
//!
//! One engine per profile. Whoever opens it listens for others while it runs (`handover.rs`); who comes second hands its words over,
//! and needs no passphrase for that: the socket is the same user's, and the engine behind it is open.
//! Nothing in a profile is looked at before it is known to be this user's alone (`profile.rs`).
//! What talks to one program for as long as that wants to (`daemon/`) is always a first process.
//! A first process that ends just then lets the second one open the profile itself, so both are tried until one works.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sotto_core::net::HttpTransport;
use sotto_core::world::{SecretStoreError, SystemClock, SystemRng};
use sotto_core::{DeviceKind, Error, Messenger, NewProfile, StoreError, Threading, World};
use zeroize::Zeroizing;

use crate::arguments::{Arguments, Command};
use crate::chat;
use crate::commands;
use crate::daemon;
use crate::export::Export;
use crate::failed::Failed;
use crate::handover::{self, Asked};
use crate::input::StandardInput;
use crate::keystore::{FileSecrets, Protection};
use crate::output::Output;
use crate::own::{self, Salvage};
use crate::profile;
use crate::proxy;
use crate::signals::{self, Signals};
use crate::terminal::Terminal;

/// How long a profile may be locked by something that does not answer: between a first process's lock and its socket, or the reverse. A
/// database is opened or closed then, on a disk that may be slow; and of many processes that come at once each does so for a moment.
const LOCKED_MAX: Duration = Duration::from_secs(30);
/// After that time whoever waits is told why nothing happens.
const LOCKED_SILENTLY: Duration = Duration::from_secs(2);
/// How long a first process may take to end what others asked of it: a command that waits for relays, and a reader that is slow.
const CLOSING_MAX: Duration = Duration::from_secs(90);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs a command and says how it went. `words` are the command line that `arguments` were read from.
pub(crate) fn run(arguments: Arguments, words: Vec<OsString>) -> ExitCode {
    let (json, mut terminal) = (arguments.json, Terminal::default());
    let done = try_run(arguments, &words, &mut terminal).and_then(|code| terminal.check().map(|()| code));
    if done.as_ref().ok() != Some(&ExitCode::SUCCESS) {
        terminal.undo();
    }
    done.unwrap_or_else(|failed| {
        Output::new(json, &mut terminal).fail(&failed);
        ExitCode::from(failed.exit_code())
    })
}

fn try_run(mut arguments: Arguments, words: &[OsString], terminal: &mut Terminal) -> Result<ExitCode, Failed> {
    let profile = profile::real(&arguments.profile.take().map_or_else(profile::default_directory, Ok)?)?;
    if let Some(repaired) = profile::check(&profile)? {
        Output::new(arguments.json, terminal).warn("keys_were_open", &repaired.told());
    }
    arguments.proxy = proxy::wanted(&profile, &mut arguments)?;
    if let Command::Export(Export { output: Some(file), .. }) | Command::Salvage(Salvage { output: Some(file) }) =
        &arguments.command
    {
        terminal.redirect(file)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|_| Failed::new("runtime_failed", "the runtime does not start"))?;
    let result = runtime.block_on(async {
        signals::outlive_file_limits();
        if matches!(arguments.command, Command::Init { .. }) {
            return init(&arguments, &profile, terminal).await;
        }
        if matches!(arguments.command, Command::Salvage(_)) {
            let secrets = secrets(&profile, &mut None)?;
            own::salvage(&secrets, &profile, &mut Output::new(arguments.json, terminal))?;
            return Ok(ExitCode::SUCCESS);
        }
        ask_or_open(&profile, &mut arguments, words, terminal).await
    });
    runtime.shutdown_timeout(PAUSE);
    result
}

async fn ask_or_open(
    profile: &Path,
    arguments: &mut Arguments,
    words: &[OsString],
    terminal: &mut Terminal,
) -> Result<ExitCode, Failed> {
    let (begun, mut passphrase, mut input) = (Instant::now(), None, StandardInput::default());
    let asked_for = stay(&mut arguments.command).copied();
    let is_watching = matches!(arguments.command, Command::Sync { .. });
    let (mut closing, mut locked) = (Waiting::at_most(CLOSING_MAX), Waiting::at_most(LOCKED_MAX));
    loop {
        let asked = if needs_own_engine(&arguments.command) {
            Asked::NobodyThere
        } else {
            handover::ask(profile, words, &mut input, terminal).await
        };
        match asked {
            Asked::Answered(code) => return Ok(code),
            Asked::Interrupted(_) if asked_for.is_some() => return Ok(ExitCode::SUCCESS),
            Asked::Interrupted(caught) => return Err(Failed::interrupted(caught)),
            // Nothing that watching does may be done only once.
            Asked::BrokenOff if !is_watching => return Err(Failed::broken_off()),
            Asked::Closing => {
                closing.pause(arguments.json, terminal).await?;
                // What comes after it has time of its own.
                locked.begin_anew();
                continue;
            }
            Asked::BrokenOff | Asked::NobodyThere => {}
        }
        if let (Some(remaining), Some(seconds)) = (stay(&mut arguments.command), asked_for) {
            // What it watched elsewhere counts.
            *remaining = seconds.saturating_sub(begun.elapsed().as_secs());
        }
        match open(profile, &mut passphrase, arguments, terminal).await {
            Ok(messenger) => return serve(&messenger, profile, arguments, &mut input, terminal).await,
            Err(Error::Store(StoreError::ProfileInUse)) => {
                locked.pause(arguments.json, terminal).await?;
                closing.begin_anew();
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waiting for a profile that somebody else has.
struct Waiting {
    since: Option<Instant>,
    longest: Duration,
    is_told: bool,
}

impl Waiting {
    fn at_most(longest: Duration) -> Self {
        Self { since: None, longest, is_told: false }
    }

    /// Somebody else has it now.
    fn begin_anew(&mut self) {
        self.since = None;
    }

    /// A little of it; fails once it has been too long.
    async fn pause(&mut self, json: bool, terminal: &mut Terminal) -> Result<(), Failed> {
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        if waited > self.longest {
            return Err(Error::Store(StoreError::ProfileInUse).into());
        }
        if waited > LOCKED_SILENTLY && !std::mem::replace(&mut self.is_told, true) {
            Output::new(json, terminal).note("(another process has this profile open: waiting for it)");
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

/// Whether a command is nothing for a process that has the profile already: it keeps what was agreed on with one program, has the
/// terminal of this one, or changes the way by which this one connects.
const fn needs_own_engine(command: &Command) -> bool {
    matches!(command, Command::Daemon | Command::Chat { .. } | Command::Proxy { address: Some(_) })
}

/// How many seconds a command is to stay.
const fn stay(command: &mut Command) -> Option<&mut u64> {
    match command {
        Command::Sync { seconds } => seconds.as_mut(),
        _ => None,
    }
}

/// Runs the command on this process's engine, and others' meanwhile.
async fn serve(
    messenger: &Messenger,
    profile: &Path,
    arguments: &mut Arguments,
    input: &mut StandardInput,
    terminal: &mut Terminal,
) -> Result<ExitCode, Failed> {
    let mut signals = Signals::listen();
    let door = handover::Door::open(profile, messenger.clone(), arguments.proxy.clone());
    let stays = stay(&mut arguments.command).is_some() || matches!(arguments.command, Command::Daemon);
    let mut output = Output::new(arguments.json, terminal);
    if let Err(error) = &door {
        output.note(&format!("(other sotto commands on this profile have to wait for this one: {error})"));
    }
    let result = if let Command::Chat { who } = &arguments.command {
        // It hears signals itself, and ends in order.
        chat::run(messenger, who, &mut signals).await
    } else {
        let running = async {
            match &arguments.command {
                Command::Daemon => daemon::run(messenger, input, &mut tokio::io::stdout()).await,
                command => {
                    if let Command::Proxy { address: Some(_) } = command {
                        proxy::keep(profile, arguments.proxy.as_ref())?;
                    }
                    commands::run(messenger, profile, command, input, &mut output).await
                }
            }
        };
        tokio::select! {
            biased;
            result = running => result,
            // Staying ends when somebody ends it.
            caught = signals.caught() => if stays { Ok(()) } else { Err(Failed::interrupted(caught)) },
        }
    };
    if let Ok(door) = door {
        door.close().await;
    }
    messenger.shut_down();
    result.map(|()| ExitCode::SUCCESS)
}

async fn init(arguments: &Arguments, profile: &Path, terminal: &mut Terminal) -> Result<ExitCode, Failed> {
    let Command::Init { relay, name, relay_codes, passphrase } = &arguments.command else {
        return Err(Failed::new("not_here", "this command makes no account"));
    };
    let new = NewProfile {
        name: name.clone(),
        relays: commands::relays(relay)?,
        kind: DeviceKind::Desktop,
        relay_codes: relay_codes.clone(),
    };
    let protection = if *passphrase { Protection::Passphrase(ask_new_passphrase()?) } else { Protection::Plain };
    let made = profile::make(profile)?;
    let secrets = match FileSecrets::create(profile, &protection) {
        Ok(secrets) => secrets,
        Err(error) => {
            made.undo();
            return Err(Error::from(error).into());
        }
    };
    let mut output = Output::new(arguments.json, terminal);
    let mut signals = Signals::listen();
    let messenger = tokio::select! {
        biased;
        messenger = commands::init(world(secrets, arguments), profile, new, arguments.proxy.as_ref(), &mut output) => messenger,
        caught = signals.caught() => Err(Failed::interrupted(caught)),
    };
    match messenger {
        Ok(messenger) => messenger.shut_down(),
        Err(failed) => {
            made.undo();
            return Err(failed);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the profile. On a disk without room, a command that only reads gets it to be read.
async fn open(
    profile: &Path,
    passphrase: &mut Option<Zeroizing<String>>,
    arguments: &Arguments,
    terminal: &mut Terminal,
) -> Result<Messenger, Error> {
    match Messenger::open(world(secrets(profile, passphrase)?, arguments), profile).await {
        Err(error) if error.code() == "disk_full" && arguments.command.only_reads() => {}
        opened => return opened,
    }
    let messenger = Messenger::open_to_read(world(secrets(profile, passphrase)?, arguments), profile).await?;
    let told = "the disk is full: what is here can be read, and nothing is sent or fetched until there is room";
    Output::new(arguments.json, terminal).warn("disk_full", told);
    Ok(messenger)
}

fn secrets(profile: &Path, passphrase: &mut Option<Zeroizing<String>>) -> Result<FileSecrets, Error> {
    let protection = match FileSecrets::needs_passphrase(profile)? {
        None => return Err(StoreError::Absent.into()),
        Some(false) => Protection::Plain,
        Some(true) => Protection::Passphrase(match passphrase {
            Some(passphrase) => passphrase.clone(),
            None => passphrase.insert(ask_passphrase()?).clone(),
        }),
    };
    Ok(FileSecrets::open(profile, &protection)?)
}

fn world(secrets: FileSecrets, arguments: &Arguments) -> World {
    let way = arguments.proxy.as_ref();
    World {
        transport: Arc::new(way.map_or_else(HttpTransport::new, |way| HttpTransport::through(way.proxy()))),
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
    let ask = |prompt| {
        rpassword::prompt_password(prompt)
            .map(Zeroizing::new)
            .map_err(|_| Failed::new("no_passphrase", "no passphrase was given"))
    };
    let chosen = match std::env::var(PASSPHRASE) {
        Ok(passphrase) => Zeroizing::new(passphrase),
        Err(_) => {
            let (first, second) = (ask("New passphrase: ")?, ask("Once more: ")?);
            if first != second {
                return Err(Failed::new("passphrases_differ", "the passphrases differ"));
            }
            first
        }
    };
    if chosen.is_empty() { Err(Failed::new("no_passphrase", "the passphrase is empty")) } else { Ok(chosen) }
}
