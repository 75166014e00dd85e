//! The key by which a client knows this machine; made anew at each start, as nothing is kept here.

use russh::keys::key::safe_rng;
use russh::keys::{Algorithm, HashAlg, PrivateKey};

use super::server::RescueError;

/// An Ed25519 key pair. Its private half is never shown.
pub struct HostKey(PrivateKey);

impl HostKey {
    /// Makes one from the kernel's randomness.
    pub fn generate() -> Result<Self, RescueError> {
        PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map(Self).map_err(RescueError::HostKey)
    }

    /// As `ssh` shows it to be confirmed: `SHA256:` and 43 characters of base64.
    pub fn fingerprint(&self) -> String {
        self.0.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    /// The public half, as it stands in `known_hosts` behind the host's name.
    pub fn public_line(&self) -> Result<String, RescueError> {
        self.0.public_key().to_openssh().map_err(RescueError::HostKey)
    }

    /// For the server alone.
    pub(super) fn into_private(self) -> PrivateKey {
        self.0
    }
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}
