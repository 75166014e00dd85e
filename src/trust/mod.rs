//! Keys and certificates: who may speak for a node, and how a node knows its appliance.
//!
//! [`authority`] is the appliance's own certificate authority: it signs the certificate of the agents' listener at each
//! start, and one certificate a node at its enrolment. [`server`] is that listener's TLS, [`client`] the agent's: it
//! trusts one authority, by the digest of its certificate, whatever address it is reached at.

pub mod authority;
pub mod client;
pub mod server;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use thiserror::Error;

pub use authority::{Authority, Issued};

/// The one name in the certificate of every appliance. Its authority signs nothing else for a server, so that the
/// address it is reached at need not be in the certificate, and may change.
pub const SERVER_NAME: &str = "appliance.firstlight.internal";

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum TrustError {
    /// A file of the authority cannot be used.
    #[error("cannot {action} {path}: {cause}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A request to sign makes no sense.
    #[error("the certificate request is not usable: {0}")]
    Request(String),
    /// Cryptography failed.
    #[error("making a certificate failed: {0}")]
    Crypto(String),
}

impl From<rcgen::Error> for TrustError {
    fn from(error: rcgen::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}

impl From<rustls::Error> for TrustError {
    fn from(error: rustls::Error) -> Self {
        Self::Crypto(error.to_string())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Writes a file so that after a power cut either what was there is there, or all of this.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_durably(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}
