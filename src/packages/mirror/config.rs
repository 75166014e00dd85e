//! How mirrors are configured, and why they do not serve a file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::super::names::Name;
use super::super::state::Kind;

/// A mirror, as the configuration tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorConfig {
    /// Its name below `/packages/mirror/`.
    pub name: Name,
    /// The URL below which upstream's files lie, `http://` or `https://`.
    pub url: String,
    /// For apt or for dnf.
    pub kind: Kind,
    /// The suites of it that nodes use, such as `bookworm`; none: nodes are told nothing of it. For apt.
    #[serde(default)]
    pub suites: Vec<Name>,
    /// The components of these suites.
    #[serde(default)]
    pub components: Vec<Name>,
    /// The file on the nodes with the key that signs it, such as `/usr/share/keyrings/debian-archive-keyring.gpg`.
    #[serde(default)]
    pub keyring: Option<String>,
    /// Hosts that upstream may redirect to, besides itself.
    #[serde(default)]
    pub redirect_hosts: Vec<String>,
}

/// How the mirrors behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that the cache may hold.
    pub cache_bytes: u64,
    /// Largest file, bytes.
    pub file_bytes: u64,
    /// An index that was compared with upstream less long ago is served without asking again.
    pub fresh: Duration,
    /// An older version of an index is served when upstream has not answered after so long.
    pub patience: Duration,
    /// CA certificates (PEM) for https, instead of those of the system.
    pub ca_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        let (cache_bytes, file_bytes) = (50 << 30, 4 << 30);
        let (fresh, patience) = (Duration::from_secs(10), Duration::from_secs(8));
        Self { cache_bytes, file_bytes, fresh, patience, ca_file: None }
    }
}

/// Why a mirror does not serve a file.
#[derive(Debug, Clone, Error)]
pub enum MirrorError {
    /// No such mirror.
    #[error("there is no mirror {0}; add it to the configuration as [[mirror]]")]
    Unknown(Name),
    /// A path that is none.
    #[error("the path is not one of a file below a mirror")]
    Path,
    /// Two mirrors of one name.
    #[error("the mirror {0} is in the configuration twice; rename one")]
    Twice(Name),
    /// Upstream has no such file.
    #[error("upstream has no such file (it answered {0})")]
    Missing(u16),
    /// Upstream is away, and the file is not in the cache.
    #[error("upstream is away ({0}), and the file is not in the cache")]
    Away(String),
    /// Upstream's URL or answer cannot be used.
    #[error("upstream cannot be used: {0}")]
    Upstream(String),
    /// The bytes are not what the index says.
    #[error("upstream sent other bytes than its index says: {0}")]
    Mismatch(String),
    /// Too large.
    #[error("the file has more than {0} bytes, the most that is kept; raise the limits of the mirrors")]
    Large(u64),
    /// Too many at once.
    #[error("too many downloads at once; try again")]
    Busy,
    /// The cache failed.
    #[error("the cache cannot be used: {0}")]
    Cache(Arc<io::Error>),
}

impl MirrorError {
    /// The HTTP status that tells a client.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unknown(_) | Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Path => StatusCode::BAD_REQUEST,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Away(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(_) | Self::Mismatch(_) | Self::Large(_) => StatusCode::BAD_GATEWAY,
            Self::Cache(_) | Self::Twice(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
