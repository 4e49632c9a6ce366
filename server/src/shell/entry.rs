//! The binary's entry: arguments, start, stop.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use data_encoding::BASE64URL_NOPAD;
use sotto_protocol::RelayName;
use tokio::signal::unix::{SignalKind, signal};

use super::{Server, Tls, TlsError, bind, now};
use crate::config::{Config, ConfigError, TlsMode};
use crate::relay::{Relay, RelayConfig};
use crate::store::{OpenError, SqliteOptions, SqliteStore, make_directory};

/// The Sotto relay.
#[derive(Parser)]
#[command(name = "sotto-relay", version, about)]
struct Arguments {
    /// Plain HTTP on loopback, open to everybody there, no configuration.
    #[arg(long, requires = "data", conflicts_with = "config")]
    dev: bool,
    /// Where to listen with `--dev`; port 0 picks a free one.
    #[arg(long, requires = "dev")]
    listen: Option<SocketAddr>,
    /// Where to keep the database with `--dev`.
    #[arg(long, requires = "dev")]
    data: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, required_unless_present = "dev")]
    config: Option<PathBuf>,
}

/// Why a relay does not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("another relay is running on this data directory")]
    InUse,
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

/// Runs a relay until it is told to stop; `arguments` begin with the program's name.
///
/// Prints one line on standard output once it listens: `listening on ` and the relay's address. Everything else goes to standard
/// error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // The library's own text: help and version are no errors.
            drop(error.print());
            return ExitCode::from(u8::from(error.use_stderr()) * 2);
        }
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("SOTTO_LOG").unwrap_or_else(|_| "info".into());
    // A program that runs a relay inside itself may have its own subscriber.
    drop(tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false).try_init());
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> Result<(), StartError> {
    let config = match (arguments.dev, arguments.data, arguments.config) {
        (true, Some(data), _) => Config::development(arguments.listen, data)?,
        (_, _, Some(path)) => Config::read(&path)?,
        _ => return Err(failed("arguments", io::ErrorKind::InvalidInput.into())),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| failed("cannot start the runtime", source))?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), StartError> {
    let lock = lock(&config.data)?;
    let tls = match &config.tls {
        TlsMode::Absent | TlsMode::Proxy => None,
        TlsMode::Files { certificate, key } => Some(Tls::from_files(certificate, key)?),
        TlsMode::SelfSigned => Some(Tls::self_signed(&config.data.join("tls"))?),
    };
    let stop = stop_signal().map_err(|source| failed("cannot listen for signals", source))?;
    outlive_file_limits().map_err(|source| failed("cannot listen for signals", source))?;
    let store = SqliteStore::open(SqliteOptions {
        bounds: config.bounds.clone(),
        reserve_bytes: config.reserve_bytes,
        ..SqliteOptions::file(database(&config.data))
    })?;
    let listener = bind(config.listen).map_err(|source| failed("cannot listen", source))?;
    let address = listener.local_addr().map_err(|source| failed("cannot listen", source))?;
    let metrics = config.metrics.map(bind).transpose().map_err(|source| failed("cannot listen for metrics", source))?;
    let name = match config.name {
        Some(name) => name,
        None => RelayName::parse(&address.to_string(), 80).map_err(|_| ConfigError::NoName)?,
    };
    let printed = printed_address(&name, &config.tls, tls.as_ref());
    let relay_config = RelayConfig {
        inbox_policy: config.inbox_policy,
        proof_of_work_bits: config.proof_of_work_bits,
        ..RelayConfig::open(name)
    };
    let relay = Relay::new(Arc::new(store), relay_config, now());
    announce(&printed).map_err(|source| failed("cannot say where", source))?;
    let server = Server { relay, listener, metrics, tls, limits: config.limits, witness: None };
    server.serve(stop).await;
    drop(lock);
    Ok(())
}

/// The address that clients are given.
fn printed_address(name: &RelayName, mode: &TlsMode, tls: Option<&Tls>) -> String {
    match (mode, tls) {
        (TlsMode::SelfSigned, Some(tls)) => format!("https://{}@{name}", BASE64URL_NOPAD.encode(&tls.pin())),
        // The proxy's certificate is the one that clients see.
        (TlsMode::Proxy, _) | (_, Some(_)) => format!("https://{name}"),
        (_, None) => format!("http://{name}"),
    }
}

fn announce(address: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening on {address}")?;
    out.flush()
}

/// Where a relay's database is.
pub(crate) fn database(data: &Path) -> PathBuf {
    data.join("relay.sqlite")
}

/// Makes the directory, for this user only, and holds it: two writers on one database would each believe to be the only one.
fn lock(data: &Path) -> Result<File, StartError> {
    use std::os::unix::fs::OpenOptionsExt;
    let said = |source| failed(&data.display().to_string(), source);
    make_directory(data).map_err(said)?;
    let open = |path: PathBuf| OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    // SQLite gives the files beside it the same mode.
    drop(open(database(data)).map_err(said)?);
    let file = open(data.join("relay.lock")).map_err(said)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::InUse),
        Err(std::fs::TryLockError::Error(source)) => Err(said(source)),
    }
}

/// A limit on the size of files is told by a failed write, which callers hear as *full*; the signal that comes with it would end the
/// process instead. Whoever listens for it has taken its default away for good.
fn outlive_file_limits() -> io::Result<()> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn failed(what: &str, source: io::Error) -> StartError {
    StartError::Io { what: what.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_behind_a_proxy_prints_the_address_that_clients_accept() {
        let name = RelayName::parse("relay.example", 443).unwrap();
        assert_eq!(printed_address(&name, &TlsMode::Proxy, None), "https://relay.example");
        assert_eq!(printed_address(&name, &TlsMode::Absent, None), "http://relay.example");
    }
}
