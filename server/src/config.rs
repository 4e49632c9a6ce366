//! What an operator writes: a TOML file, or nothing at all with `--dev`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sotto_protocol::RelayName;
use sotto_protocol::limits::{HEADER_BYTES_MAX, PAYLOAD_BYTES_MAX, RETENTION};

use crate::limits::{RESERVE_BYTES, RESERVE_BYTES_DEVELOPMENT, RESERVE_BYTES_MIN, ShellLimits, StoreBounds};
use crate::policy::InboxPolicy;

/// An hour of a phone.
const PROOF_OF_WORK_BITS_MAX: u32 = 32;
/// A quarter of it is one envelope.
const ENVELOPES_MAX_LEAST: u64 = 4;
/// A quarter of it is the largest envelope.
const BYTES_MAX_LEAST: u64 = 4 * (PAYLOAD_BYTES_MAX + HEADER_BYTES_MAX) as u64;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not such a configuration.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// Without TLS a relay listens on loopback only.
    #[error("without TLS a relay listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// Signatures bind to the name, so it cannot be guessed.
    #[error("`name` must be the host, and port where it is not 443, that addresses of this relay carry")]
    NoName,
    /// More than the server can keep.
    #[error("`retention_days` must be 1 to 30")]
    Retention,
    /// More than a phone can do.
    #[error("`proof_of_work_bits` must be 0 to {PROOF_OF_WORK_BITS_MAX}")]
    Work,
    /// An inbox in which a token's quarter has no room for one envelope.
    #[error("`envelopes_max` must be at least {ENVELOPES_MAX_LEAST}, `bytes_max` at least {BYTES_MAX_LEAST}")]
    TooSmall,
    /// A reserve in which the smallest log has no room.
    #[error("`reserve_bytes` must be at least {RESERVE_BYTES_MIN}")]
    SmallReserve,
    /// A policy that asks for codes, and none given.
    #[error("`policy = \"code\"` needs at least one code of 8 characters or more in `codes`")]
    NoCodes,
}

/// How clients reach the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// Not at all: development.
    Absent,
    /// By a proxy on the same machine that does TLS.
    Proxy,
    /// Certificate and key from files.
    Files { certificate: PathBuf, key: PathBuf },
    /// The relay's own certificate, known by its key.
    SelfSigned,
}

/// Everything that is decided before a relay starts.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) data: PathBuf,
    /// `None`: the listening address.
    pub(crate) name: Option<RelayName>,
    pub(crate) tls: TlsMode,
    pub(crate) inbox_policy: InboxPolicy,
    pub(crate) proof_of_work_bits: u32,
    pub(crate) bounds: StoreBounds,
    pub(crate) reserve_bytes: u64,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) limits: ShellLimits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: SocketAddr,
    data: PathBuf,
    name: String,
    tls: TlsFile,
    #[serde(default)]
    inboxes: InboxesFile,
    #[serde(default)]
    disk: DiskFile,
    #[serde(default)]
    metrics: MetricsFile,
    #[serde(default)]
    connections: ConnectionsFile,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct DiskFile {
    reserve_bytes: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct MetricsFile {
    listen: Option<SocketAddr>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ConnectionsFile {
    max: Option<usize>,
    per_address_max: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, tag = "mode", rename_all = "kebab-case")]
enum TlsFile {
    Files { certificate: PathBuf, key: PathBuf },
    SelfSigned,
    Proxy,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum PolicyFile {
    #[default]
    Open,
    Code,
    Closed,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct InboxesFile {
    #[serde(default)]
    policy: PolicyFile,
    #[serde(default)]
    codes: Vec<String>,
    #[serde(default)]
    proof_of_work_bits: u32,
    retention_days: Option<u64>,
    envelopes_max: Option<u64>,
    bytes_max: Option<u64>,
    chains_bytes_max: Option<u64>,
}

impl Config {
    /// What `--dev` means: plain HTTP on loopback, open to everybody there.
    pub(crate) fn development(listen: Option<SocketAddr>, data: PathBuf) -> Result<Self, ConfigError> {
        let listen = listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        require_loopback(listen)?;
        Ok(Self {
            listen,
            data,
            name: None,
            tls: TlsMode::Absent,
            inbox_policy: InboxPolicy::Open,
            proof_of_work_bits: 0,
            bounds: StoreBounds::default(),
            reserve_bytes: RESERVE_BYTES_DEVELOPMENT,
            metrics: None,
            // Everybody comes from one address here.
            limits: ShellLimits { connections_per_address_max: 0, ..ShellLimits::default() },
        })
    }

    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text)?;
        let tls = match file.tls {
            TlsFile::Files { certificate, key } => TlsMode::Files { certificate, key },
            TlsFile::SelfSigned => TlsMode::SelfSigned,
            TlsFile::Proxy => {
                require_loopback(file.listen)?;
                TlsMode::Proxy
            }
        };
        let limits = ShellLimits::default();
        let per_address_default = if tls == TlsMode::Proxy { 0 } else { limits.connections_per_address_max };
        Ok(Self {
            listen: file.listen,
            data: file.data,
            name: Some(RelayName::parse(&file.name, 443).map_err(|_| ConfigError::NoName)?),
            tls,
            inbox_policy: policy(&file.inboxes)?,
            proof_of_work_bits: proof_of_work(&file.inboxes)?,
            bounds: bounds(&file.inboxes)?,
            reserve_bytes: reserve(&file.disk)?,
            metrics: file.metrics.listen,
            limits: ShellLimits {
                connections_max: file.connections.max.unwrap_or(limits.connections_max),
                connections_per_address_max: file.connections.per_address_max.unwrap_or(per_address_default),
                ..limits
            },
        })
    }
}

fn policy(file: &InboxesFile) -> Result<InboxPolicy, ConfigError> {
    match file.policy {
        PolicyFile::Open => Ok(InboxPolicy::Open),
        PolicyFile::Closed => Ok(InboxPolicy::Closed),
        PolicyFile::Code if file.codes.is_empty() || file.codes.iter().any(|code| code.len() < 8) => {
            Err(ConfigError::NoCodes)
        }
        PolicyFile::Code => Ok(InboxPolicy::Code(file.codes.clone())),
    }
}

fn proof_of_work(file: &InboxesFile) -> Result<u32, ConfigError> {
    if file.proof_of_work_bits <= PROOF_OF_WORK_BITS_MAX { Ok(file.proof_of_work_bits) } else { Err(ConfigError::Work) }
}

fn bounds(file: &InboxesFile) -> Result<StoreBounds, ConfigError> {
    let default = StoreBounds::default();
    let retention = match file.retention_days {
        None => RETENTION,
        Some(days @ 1..=30) => Duration::from_secs(days * 24 * 3600),
        Some(_) => return Err(ConfigError::Retention),
    };
    let is_too_small = |value: Option<u64>, least: u64| value.is_some_and(|value| value < least);
    if is_too_small(file.envelopes_max, ENVELOPES_MAX_LEAST) || is_too_small(file.bytes_max, BYTES_MAX_LEAST) {
        return Err(ConfigError::TooSmall);
    }
    Ok(StoreBounds {
        inbox_count_max: file.envelopes_max.unwrap_or(default.inbox_count_max),
        inbox_bytes_max: file.bytes_max.unwrap_or(default.inbox_bytes_max),
        chains_bytes_max: file.chains_bytes_max.unwrap_or(default.chains_bytes_max),
        retention,
    })
}

fn reserve(file: &DiskFile) -> Result<u64, ConfigError> {
    let bytes = file.reserve_bytes.unwrap_or(RESERVE_BYTES);
    if bytes >= RESERVE_BYTES_MIN { Ok(bytes) } else { Err(ConfigError::SmallReserve) }
}

fn require_loopback(address: SocketAddr) -> Result<(), ConfigError> {
    if address.ip().is_loopback() { Ok(()) } else { Err(ConfigError::NotLoopback(address)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        listen = "0.0.0.0:443"
        data = "/var/lib/sotto-relay"
        name = "Relay.Example"
        [tls]
        mode = "files"
        certificate = "/etc/sotto/certificate.pem"
        key = "/etc/sotto/key.pem"
        [inboxes]
        policy = "code"
        codes = ["a long code"]
        proof_of_work_bits = 16
        retention_days = 14
        [metrics]
        listen = "127.0.0.1:9464"
        [connections]
        per_address_max = 7
    "#;

    #[test]
    fn a_whole_file_is_understood() {
        let config = Config::parse(WHOLE).unwrap();
        assert_eq!(config.name.unwrap().as_str(), "relay.example");
        assert_eq!(config.inbox_policy, InboxPolicy::Code(vec!["a long code".to_owned()]));
        assert_eq!(config.bounds.retention, Duration::from_secs(14 * 24 * 3600));
        assert!(matches!(config.tls, TlsMode::Files { .. }));
        assert_eq!(config.metrics, Some("127.0.0.1:9464".parse().unwrap()));
        assert_eq!(config.limits.connections_per_address_max, 7);
    }

    #[test]
    fn the_example_that_is_shipped_is_a_configuration() {
        let example = include_str!("../deploy/relay.toml");
        assert_eq!(Config::parse(example).unwrap().bounds.inbox_count_max, StoreBounds::default().inbox_count_max);
        let all_set: Vec<&str> = example
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
            .collect();
        let all_set = all_set.join("\n").replace("mode = \"self-signed\"", "").replace("mode = \"proxy\"", "");
        let config = Config::parse(&all_set).unwrap();
        assert_eq!((config.proof_of_work_bits, config.bounds.retention), (0, RETENTION));
        assert_eq!(config.limits.connections_max, ShellLimits::default().connections_max);
    }

    #[test]
    fn a_word_that_is_not_known_is_an_error_and_not_ignored() {
        assert!(matches!(Config::parse(&WHOLE.replace("policy", "polizy")), Err(ConfigError::Toml(_))));
    }

    #[test]
    fn without_tls_a_relay_listens_on_loopback_only() {
        let everywhere = "0.0.0.0:8080".parse().unwrap();
        assert!(matches!(Config::development(Some(everywhere), "d".into()), Err(ConfigError::NotLoopback(_))));
        let proxied = WHOLE.split("[tls]").next().unwrap().to_owned() + "[tls]\nmode = \"proxy\"";
        assert!(matches!(Config::parse(&proxied), Err(ConfigError::NotLoopback(_))));
        assert!(Config::parse(&proxied.replace("0.0.0.0:443", "127.0.0.1:8080")).is_ok());
    }

    #[test]
    fn senseless_values_are_refused() {
        assert!(matches!(Config::parse(&WHOLE.replace("= 14", "= 31")), Err(ConfigError::Retention)));
        assert!(matches!(Config::parse(&WHOLE.replace("a long code", "short")), Err(ConfigError::NoCodes)));
        assert!(matches!(Config::parse(&WHOLE.replace("bits = 16", "bits = 200")), Err(ConfigError::Work)));
        for small in ["envelopes_max = 0", "envelopes_max = 3", "bytes_max = 1000"] {
            let with = WHOLE.replace("retention_days = 14", small);
            assert!(matches!(Config::parse(&with), Err(ConfigError::TooSmall)), "{small}");
        }
        let small = WHOLE.replace("[metrics]", "[disk]\nreserve_bytes = 1000\n[metrics]");
        assert!(matches!(Config::parse(&small), Err(ConfigError::SmallReserve)));
        assert!(matches!(Config::parse(&WHOLE.replace("Relay.Example", "not a name")), Err(ConfigError::NoName)));
    }
}
