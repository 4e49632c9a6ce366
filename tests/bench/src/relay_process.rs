//! A relay as a process of its own: this binary, run again.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sotto_protocol::RelayAddress;

use crate::Outcome;

/// First word of the command line that makes this binary a relay.
pub(crate) const WORD: &str = "relay-process";

/// A relay that does not outlive the measurement.
pub(crate) struct RelayProcess {
    process: Child,
    address: RelayAddress,
}

impl RelayProcess {
    /// Without TLS, for measuring engines.
    pub(crate) fn plain(data: &Path) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([WORD, "--dev", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        Self::start(&mut command)
    }

    /// With TLS and its own certificate, as a small relay runs, and room for large loads from one address.
    pub(crate) fn tls(data: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(data)?;
        // Its name holds its port, so the port must be known before.
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let file = data.join("relay.toml");
        let queue = data.join("queue");
        let config = format!(
            "listen = \"{listen}\"\nname = \"{listen}\"\ndata = {queue:?}\n\
             [connections]\nper_address_max = 16384\n[tls]\nmode = \"self-signed\"\n[inboxes]\nenvelopes_max = 1000000\nbytes_max = 4000000000\n"
        );
        std::fs::write(&file, config)?;
        Self::tls_again(data)
    }

    /// The same once more, with what it kept.
    pub(crate) fn tls_again(data: &Path) -> Outcome<Self> {
        let file = data.join("relay.toml");
        let mut command = Command::new(std::env::current_exe()?);
        command.args([WORD, "--config"]).arg(file);
        Self::start(&mut command)
    }

    fn start(command: &mut Command) -> Outcome<Self> {
        let mut process = command.env("SOTTO_LOG", "error").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").ok_or("the relay did not start")?.parse()?;
        Ok(Self { process, address })
    }

    pub(crate) const fn address(&self) -> &RelayAddress {
        &self.address
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // A measurement needs no orderly end of what it measured.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
