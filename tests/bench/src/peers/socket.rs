//! A TLS connection to a peer, and its certificate.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Outcome;

/// The name in the peers' certificates, which are made as the relay makes its own: the same kind of key costs all of them the same.
const NAME: &str = "localhost";

/// Where a peer listens, and the certificate it shows.
pub(crate) struct Endpoint {
    /// On loopback.
    pub(crate) address: SocketAddr,
    /// PEM.
    pub(crate) certificate: PathBuf,
    /// PEM.
    pub(crate) key: PathBuf,
    connector: TlsConnector,
}

impl Endpoint {
    /// A free port and a certificate of its own in `directory`.
    pub(crate) fn create(directory: &Path) -> Outcome<Self> {
        fs::create_dir_all(directory)?;
        let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
        let pair = rcgen::KeyPair::generate()?;
        let mut made = rcgen::CertificateParams::new(vec![NAME.to_owned()])?;
        // ejabberd cannot read the far years that stand there otherwise.
        (made.not_before, made.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2049, 1, 1));
        let made = made.self_signed(&pair)?;
        fs::write(&certificate, made.pem())?;
        fs::write(&key, pair.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(made.der().clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Self { address, certificate, key, connector: TlsConnector::from(Arc::new(config)) })
    }

    /// A connection before TLS, once the server listens: it is given half a minute to begin.
    pub(crate) async fn connect(&self) -> Outcome<TcpStream> {
        for _ in 0..300 {
            if let Ok(socket) = TcpStream::connect(self.address).await {
                socket.set_nodelay(true)?;
                return Ok(socket);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("the peer did not start".into())
    }

    /// TLS on it.
    pub(crate) async fn encrypt(&self, socket: TcpStream) -> Outcome<Socket> {
        let stream = self.connector.connect(ServerName::try_from(NAME)?, socket).await?;
        Ok(Socket { stream, read: Vec::new() })
    }
}

/// A connection and what was read from it but not yet taken.
pub(crate) struct Socket {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
}

impl Socket {
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Whether something was read that was not taken yet.
    pub(crate) fn has_more(&self) -> bool {
        !self.read.is_empty()
    }

    /// What was read, waiting for more of it first when `has_enough` says no. What is taken is up to the caller.
    pub(crate) async fn read_until(&mut self, has_enough: impl Fn(&[u8]) -> bool) -> Outcome<&mut Vec<u8>> {
        while !has_enough(&self.read) {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(format!("the peer closed after: {}", String::from_utf8_lossy(&self.read)).into());
            }
        }
        Ok(&mut self.read)
    }
}

/// Where `pattern` begins.
pub(crate) fn position(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
