//! TLS by rustls with the ring provider, passed explicitly: a build that also holds a relay links two providers.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use sotto_protocol::address::Tls;
use subtle::ConstantTimeEq;

/// A configuration with a session cache of its own.
pub(super) fn client_config(tls: Tls) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    Ok(match tls {
        Tls::Pinned(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { pin, provider }))
            .with_no_client_auth(),
        Tls::Authority | Tls::Absent => {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    })
}

/// Whether rustls refused the peer's certificate, below however many layers that verdict comes. An I/O error gives its inner error's
/// cause as its own and hides the inner error itself, so that one is looked into as well.
pub(super) fn is_refused_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(verdict) = error.downcast_ref::<Error>() {
        return matches!(verdict, Error::InvalidCertificate(_));
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| is_refused_certificate(inner)) || error.source().is_some_and(is_refused_certificate)
}

/// Accepts the one certificate whose public key has this hash, whatever its names and dates: the address vouches for it.
#[derive(Debug)]
struct Pinned {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key_info = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
        if bool::from(Sha256::digest(&key_info).as_slice().ct_eq(&self.pin)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_certificate_is_found_below_the_layers_that_wrap_it() {
        let refused = || Error::from(CertificateError::ApplicationVerificationFailure);
        let once = std::io::Error::other(refused());
        assert!(is_refused_certificate(&once));
        assert!(is_refused_certificate(&std::io::Error::other(std::io::Error::other(refused()))));
        assert!(!is_refused_certificate(&std::io::Error::other(Error::DecryptError)));
    }
}
