//! TLS with the relay's own key, known by its pin.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest, Sha256};
use sotto_protocol::request::path;
use sotto_relay::limits::ShellLimits;
use sotto_relay::shell::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Setup, TestServer, post, read_to_close};

/// Accepts the one certificate whose key has the pin, as clients of a pinned address do.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
    seen: Mutex<usize>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.lock().unwrap() += 1;
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
        let pin: [u8; 32] = Sha256::digest(parsed.public_key().raw).into();
        if pin == self.pin {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("another key".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn client(pin: [u8; 32], protocol: &[u8]) -> (Arc<ClientConfig>, Arc<Pinned>) {
    let provider = provider();
    let algorithms = provider.signature_verification_algorithms;
    let verifier = Arc::new(Pinned { pin, algorithms, seen: Mutex::new(0) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<_>)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    (Arc::new(config), verifier)
}

async fn shake(server: &TestServer, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(ServerName::try_from("any.example").unwrap(), server.connect().await).await
}

async fn server(tls: &Tls, limits: ShellLimits) -> TestServer {
    TestServer::start(Setup { tls: Some(tls.clone()), limits, ..Setup::default() }).await
}

#[tokio::test]
async fn a_relay_with_its_own_certificate_is_reached_by_its_pin_and_by_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Tls::self_signed(directory.path()).unwrap();
    let server = server(&tls, ShellLimits::default()).await;
    let mut socket = shake(&server, &client(tls.pin(), b"http/1.1").0).await.unwrap();
    assert_eq!(post(&mut socket, path::SEND, "", b"").await.unwrap().status, 200);
    drop(socket);
    assert!(shake(&server, &client([0; 32], b"http/1.1").0).await.is_err());
    server.stop().await;
}

#[test]
fn a_relay_keeps_its_key_so_that_its_address_stays() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let first = Tls::self_signed(directory.path()).unwrap();
    assert_eq!(Tls::self_signed(directory.path()).unwrap().pin(), first.pin());
    let mode = std::fs::metadata(directory.path().join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(Tls::self_signed(other.path()).unwrap().pin(), first.pin());
}

#[test]
fn files_that_hold_no_certificate_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("certificate.pem"), directory.path().join("key.pem"));
    assert!(Tls::from_files(&certificate, &key).is_err());
    Tls::self_signed(directory.path()).unwrap();
    assert!(Tls::from_files(&certificate, &certificate).is_err());
    std::fs::write(&certificate, "nothing").unwrap();
    assert!(Tls::from_files(&certificate, &key).is_err());
}

#[tokio::test]
async fn sessions_are_never_resumed_so_that_none_ties_two_connections() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Tls::self_signed(directory.path()).unwrap();
    let server = server(&tls, ShellLimits::default()).await;
    let (config, verifier) = client(tls.pin(), b"http/1.1");
    for connection in 1..=3 {
        let mut socket = shake(&server, &config).await.unwrap();
        assert!(post(&mut socket, path::SEND, "", b"").await.is_some());
        assert_eq!(socket.get_ref().1.tls13_tickets_received(), 0);
        assert_eq!(*verifier.seen.lock().unwrap(), connection, "a full handshake each time");
    }
    server.stop().await;
}

#[tokio::test]
async fn http_two_is_offered() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Tls::self_signed(directory.path()).unwrap();
    let server = server(&tls, ShellLimits::default()).await;
    let socket = shake(&server, &client(tls.pin(), b"h2").0).await.unwrap();
    assert_eq!(socket.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    drop(socket);
    server.stop().await;
}

#[tokio::test]
async fn a_handshake_that_never_ends_and_one_that_is_none_are_closed() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Tls::self_signed(directory.path()).unwrap();
    let limits = ShellLimits { handshake_timeout: Duration::from_millis(50), ..ShellLimits::default() };
    let server = server(&tls, limits).await;
    let mut silent = server.connect().await;
    read_to_close(&mut silent).await;
    let mut plain = server.connect().await;
    plain.write_all(b"POST /v1/send HTTP/1.1\r\n\r\n").await.unwrap();
    let answer = read_to_close(&mut plain).await;
    assert!(!answer.starts_with(b"HTTP"));
    server.reaches("sotto_relay_connections 0").await;
    server.stop().await;
}

/// Each of these held one of a fixed number of places before it had said anything: two hundred of them ended TLS for everybody.
#[tokio::test]
async fn who_says_nothing_and_who_stops_halfway_hold_up_no_handshake() {
    let directory = tempfile::tempdir().unwrap();
    let tls = Tls::self_signed(directory.path()).unwrap();
    let limits = ShellLimits { handshakes_max: 1, handshakes_per_address_max: 1, ..ShellLimits::default() };
    let server = server(&tls, limits).await;
    let (config, _) = client(tls.pin(), b"http/1.1");
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(server.connect().await);
        let mut begun = server.connect().await;
        begun.write_all(&[0x16]).await.unwrap();
        idle.push(begun);
        // The whole first message, the relay's answer, and then nothing.
        let mut halfway = server.connect().await;
        let mut tls = ClientConnection::new(Arc::clone(&config), ServerName::try_from("any.example").unwrap()).unwrap();
        let mut hello = Vec::new();
        tls.write_tls(&mut hello).unwrap();
        halfway.write_all(&hello).await.unwrap();
        assert_eq!(halfway.read(&mut [0]).await.unwrap(), 1);
        idle.push(halfway);
    }
    let mut socket = shake(&server, &config).await.unwrap();
    assert_eq!(post(&mut socket, path::SEND, "", b"").await.unwrap().status, 200);
    drop((socket, idle));
    server.stop().await;
}
