//! Why the repository did not do what it was asked to.

use std::io;

use thiserror::Error;

use super::deb::DebError;
use super::names::Name;
use super::rpm::RpmError;
use super::snapshot::SnapshotError;
use crate::model::Sha256Digest;

/// Why the repository did not do what it was asked to.
#[derive(Debug, Error)]
pub enum RepositoryError {
    /// Neither a .deb nor an RPM.
    #[error("the file is neither a .deb nor an RPM; push files that dpkg-deb or rpmbuild built")]
    Unknown,
    /// Debian packages and RPMs together.
    #[error("the files are of both kinds, .deb and RPM; push each kind by itself")]
    Mixed,
    /// A broken .deb.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// A broken RPM.
    #[error(transparent)]
    Rpm(#[from] RpmError),
    /// The same name, version and architecture with other bytes.
    #[error(transparent)]
    Conflict(#[from] Box<Conflict>),
    /// Not there.
    #[error("{0}; see `list` for what is there")]
    NotFound(String),
    /// Too many.
    #[error("there are {0} already; remove some, or use a mirror for a whole distribution")]
    Full(String),
    /// The metadata could not be made.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A file could not be read or written.
    #[error("cannot {action}: {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's error.
        cause: io::Error,
    },
}

/// The same name, version and architecture with other bytes.
#[derive(Debug, Error)]
#[error(
    "{name} {version} for {architecture} is in {place} already, with SHA-256 {known}; the file has {pushed}. Raise the version, or remove the one that is there: nodes that installed it could not tell the two apart"
)]
pub struct Conflict {
    /// Name of the package.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub architecture: Name,
    /// Kind, suite and component.
    pub place: String,
    /// Digest of the one that is there.
    pub known: Sha256Digest,
    /// Digest of the one that was pushed.
    pub pushed: Sha256Digest,
}

/// Adds to a system's error what was tried.
pub(super) fn failed(action: &'static str) -> impl FnOnce(io::Error) -> RepositoryError {
    move |cause| RepositoryError::Io { action, cause }
}
