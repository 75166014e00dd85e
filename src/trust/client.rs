//! The agent's side of TLS: one authority, known by the SHA-256 of its certificate.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{SERVER_NAME, TrustError, provider};
use crate::model::{Sha256Digest, Timestamp};

/// A node's key and the certificate it was given for it, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The private key, PKCS #8.
    pub key: String,
    /// The certificate.
    pub certificate: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// A new private key (PKCS #8, PEM) and a request to certify it (PKCS #10, PEM).
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn request() -> Result<(String, String), TrustError> {
    let key = KeyPair::generate()?;
    let request = CertificateParams::default().serialize_request(&key)?;
    Ok((key.serialize_pem(), request.pem()?))
}

/// TLS towards the appliance whose authority has this digest. A clock that is behind `not_before` (a server whose
/// battery is empty starts in the year of its firmware) is taken to stand there.
///
/// # Errors
/// When the credentials cannot be read.
pub fn config(
    authority: Sha256Digest,
    credentials: Option<&Credentials>,
    not_before: Timestamp,
) -> Result<Arc<ClientConfig>, TrustError> {
    let clock =
        Arc::new(Clock { not_before: UnixTime::since_unix_epoch(Duration::from_millis(not_before.0)) });
    let verifier = Arc::new(Pinned { authority, provider: provider() });
    let config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match credentials {
        None => config.with_no_client_auth(),
        Some(Credentials { key, certificate }) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|error| TrustError::Request(format!("the node's key: {error}")))?;
            let certificate = first_certificate(certificate)
                .ok_or_else(|| TrustError::Request("the node's certificate does not read".into()))?;
            config.with_client_auth_cert(vec![certificate], key)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The name that the appliance's certificate is checked for.
pub fn server_name() -> ServerName<'static> {
    // A constant that is a DNS name.
    ServerName::try_from(SERVER_NAME).unwrap_or_else(|_| unreachable!("SERVER_NAME is a DNS name"))
}

/// The first certificate in a PEM text.
pub(super) fn first_certificate(pem: &str) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

#[derive(Debug)]
struct Clock {
    not_before: UnixTime,
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = UnixTime::now();
        Some(if now.as_secs() < self.not_before.as_secs() { self.not_before } else { now })
    }
}

/// Accepts the server whose chain ends in the authority of this digest.
#[derive(Debug)]
struct Pinned {
    authority: Sha256Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority =
            intermediates.iter().find(|certificate| Sha256Digest::of(certificate) == self.authority);
        let authority = authority.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
