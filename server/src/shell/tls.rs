//! TLS by rustls on aws-lc-rs, named explicitly because another provider may be linked beside it.
//!
//! Certificates come from files, or the relay makes its own once and is known by its key: the pin in its address. Sessions are not
//! resumed: a ticket would tie an anonymous connection to a signed one. Certificates from an authority by ACME come later; until
//! then any ACME client writes the files and restarts the relay.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::StartHandshake;
use tokio_rustls::{Accept, LazyConfigAcceptor};

use crate::store::make_directory;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that holds no certificate or no key.
    #[error("{path} is not what it should be: {reason}")]
    NotPem {
        /// Which one.
        path: PathBuf,
        /// What was missing.
        reason: String,
    },
    /// A key that does not fit its certificate, or a kind that is not supported.
    #[error("certificate and key: {0}")]
    Rustls(#[from] rustls::Error),
    /// Making a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Ready to shake hands.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    pin: [u8; 32],
}

impl Tls {
    /// From a certificate chain and a key, both PEM.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let not_pem = |path: &Path, reason: String| TlsError::NotPem { path: path.to_owned(), reason };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(certificate)?)
            .collect::<Result<_, _>>()
            .map_err(|error| not_pem(certificate, error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| not_pem(certificate, "no certificate".to_owned()))?;
        let pin = pin(leaf).ok_or_else(|| not_pem(certificate, "not a certificate".to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| not_pem(key, error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), pin })
    }

    /// From the relay's own certificate in `directory`, made when there is none yet.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn self_signed(directory: &Path) -> Result<Self, TlsError> {
        let (certificate, key) = (directory.join("certificate.pem"), directory.join("key.pem"));
        // "Cannot look" is not "is not there": a new key would be a new address.
        if !key.try_exists().map_err(|source| TlsError::File { path: key.clone(), source })? {
            let pair = rcgen::KeyPair::generate()?;
            // Nobody looks at names: clients know the key.
            let made = rcgen::CertificateParams::new(vec!["sotto.invalid".to_owned()])?.self_signed(&pair)?;
            make_directory(directory).map_err(|source| TlsError::File { path: directory.to_owned(), source })?;
            write(&certificate, &made.pem())?;
            // The key last: a start that was cut short makes both again.
            write(&key, &pair.serialize_pem())?;
        }
        Self::from_files(&certificate, &key)
    }

    /// SHA-256 of the certificate's public key: what a pinned address names.
    #[must_use]
    pub const fn pin(&self) -> [u8; 32] {
        self.pin
    }

    /// Waits for the peer's first message.
    pub(crate) async fn hello<S: AsyncRead + AsyncWrite + Unpin>(&self, socket: S) -> io::Result<StartHandshake<S>> {
        LazyConfigAcceptor::new(Acceptor::default(), socket).await
    }

    /// Shakes hands; the work begins with this call.
    pub(crate) fn shake<S: AsyncRead + AsyncWrite + Unpin>(&self, hello: StartHandshake<S>) -> Accept<S> {
        hello.into_stream(Arc::clone(&self.config))
    }
}

fn pin(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(Sha256::digest(parsed.public_key().raw).into())
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// Whole or not at all, and only for this user.
fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    let unfinished = path.with_extension("unfinished");
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        // Or a power cut leaves the old name, and the printed address is gone with the key.
        path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
    })();
    written.map_err(|source| TlsError::File { path: path.to_owned(), source })
}
