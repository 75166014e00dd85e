//! TLS of the agents' listener.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::{Authority, TrustError, provider};
use crate::model::Timestamp;

/// TLS 1.3 only; a client may show a certificate of the authority, and need not: what it may do without one is
/// decided by request.
///
/// # Errors
/// When cryptography fails.
pub fn config(authority: &Authority, now: Timestamp) -> Result<Arc<ServerConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TrustError::Crypto(error.to_string()))?;
    let (certificate, key) = authority.sign_server(now)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        // The authority goes along: the agent knows it by its digest only.
        .with_single_cert(vec![certificate, authority.certificate().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
