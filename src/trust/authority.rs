//! The appliance's certificate authority.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use super::{SERVER_NAME, TrustError, write_durably};
use crate::model::{NodeId, Sha256Digest, Timestamp};

/// How long the authority itself lasts.
const AUTHORITY_DAYS: i64 = 20 * 365;
/// How long the listener's certificate lasts; a new one is made at each start.
const SERVER_DAYS: i64 = 5 * 365;
/// How long a node's certificate lasts; the agent asks for the next one after two thirds.
const NODE_DAYS: i64 = 90;
/// Clocks of servers are often behind when they first start.
const CLOCKS_APART: Duration = Duration::days(1);
/// Longest certificate request, bytes.
const REQUEST_BYTES: usize = 8 << 10;

/// A certificate authority whose key lies in the appliance's state.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate that was signed for a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, PEM (RFC 7468).
    pub pem: String,
    /// SHA-256 of its DER.
    pub fingerprint: Sha256Digest,
    /// When it ends.
    pub expires: Timestamp,
}

impl Authority {
    /// Opens the authority in `dir`, making it when there is none.
    ///
    /// # Errors
    /// When the folder cannot be used, or holds half an authority.
    pub fn open(dir: &Path) -> Result<Self, TrustError> {
        let (key_path, certificate_path) = (dir.join("ca.key"), dir.join("ca.crt"));
        if !certificate_path.exists() {
            std::fs::create_dir_all(dir).map_err(|error| failed("make", dir, &error))?;
            let key = KeyPair::generate()?;
            let certificate = authority_params(OffsetDateTime::now_utc()).self_signed(&key)?;
            // The certificate comes last: without it the authority does not exist, and is made anew.
            let write = |path: &Path, bytes: &[u8], mode| {
                write_durably(path, bytes, mode).map_err(|error| failed("write", path, &error))
            };
            write(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
            write(&certificate_path, certificate.pem().as_bytes(), 0o644)?;
        }
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| failed("read", path, &error));
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |error: rcgen::Error| TrustError::File { action: "use", path, cause: error.to_string() }
        };
        let key = KeyPair::from_pem(&read(&key_path)?).map_err(unusable(&key_path))?;
        let pem = read(&certificate_path)?;
        let certificate = super::client::first_certificate(&pem).ok_or_else(|| TrustError::File {
            action: "use",
            path: certificate_path.clone(),
            cause: "there is no certificate in it".into(),
        })?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(unusable(&certificate_path))?;
        Ok(Self { issuer, certificate, pem })
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of the authority's certificate: what nodes are given to know it by.
    pub fn fingerprint(&self) -> Sha256Digest {
        Sha256Digest::of(&self.certificate)
    }

    /// Signs a node's certificate request (PKCS #10, RFC 2986). Of the request only the public key is used.
    ///
    /// # Errors
    /// When the request does not parse, or is not signed with the key it holds.
    pub fn sign_node(&self, request: &str, node: NodeId, now: Timestamp) -> Result<Issued, TrustError> {
        if request.len() > REQUEST_BYTES {
            return Err(TrustError::Request(format!("it has {} bytes", request.len())));
        }
        let request = CertificateSigningRequestParams::from_pem(request)
            .map_err(|error| TrustError::Request(error.to_string()))?;
        let now = moment(now);
        let mut params =
            params(&format!("firstlight node {node}"), now - CLOCKS_APART, now + Duration::days(NODE_DAYS));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = format!("firstlight:node:{node}");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into()?)];
        let expires = params.not_after.unix_timestamp().saturating_mul(1000);
        let certificate = params.signed_by(&request.public_key, &self.issuer)?;
        Ok(Issued {
            pem: certificate.pem(),
            fingerprint: Sha256Digest::of(certificate.der()),
            expires: Timestamp(u64::try_from(expires).unwrap_or(0)),
        })
    }

    /// A new key and certificate for the agents' listener.
    ///
    /// # Errors
    /// When cryptography fails.
    pub fn sign_server(
        &self,
        now: Timestamp,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), TrustError> {
        let key = KeyPair::generate()?;
        let now = moment(now);
        let mut params =
            params("firstlight appliance", now - CLOCKS_APART, now + Duration::days(SERVER_DAYS));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![SanType::DnsName(SERVER_NAME.try_into()?)];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((certificate.der().clone(), key))
    }
}

fn authority_params(now: OffsetDateTime) -> CertificateParams {
    let mut params = params("firstlight authority", now - CLOCKS_APART, now + Duration::days(AUTHORITY_DAYS));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(name: &str, from: OffsetDateTime, to: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = from;
    params.not_after = to;
    params.use_authority_key_identifier_extension = true;
    params
}

fn moment(at: Timestamp) -> OffsetDateTime {
    i64::try_from(at.0 / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn failed(action: &'static str, path: &Path, error: &std::io::Error) -> TrustError {
    TrustError::File { action, path: path.to_owned(), cause: error.to_string() }
}
