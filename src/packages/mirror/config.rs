//! How mirrors are configured, and why they do not serve a file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use super::super::names::Name;
use super::super::sources::is_key_path;
use super::super::state::Kind;
use super::path::plain;
use super::upstream::Base;

/// A mirror, as the configuration tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorConfig {
    /// Its name below `/packages/mirror/`.
    pub name: Name,
    /// The URL below which upstream's files lie, `http://` or `https://`.
    #[serde(deserialize_with = "url")]
    pub url: String,
    /// For apt or for dnf.
    pub kind: Kind,
    /// The suites of it that nodes use, such as `bookworm`. For apt: each goes to the nodes that it fits, and with none
    /// nodes are told nothing of it. For dnf: which nodes it is for, such as `el9`; none: for all that have dnf.
    #[serde(default)]
    pub suites: Vec<Name>,
    /// The components of these suites. For apt.
    #[serde(default)]
    pub components: Vec<Name>,
    /// The folders below the URL that have a `repodata`, such as `9/BaseOS/x86_64/os`; none: nodes are told nothing of
    /// it. For dnf.
    #[serde(default)]
    pub paths: Vec<String>,
    /// The file on the nodes with the key that signs it, such as `/usr/share/keyrings/debian-archive-keyring.gpg`.
    #[serde(default)]
    pub keyring: Option<String>,
    /// Hosts that upstream may redirect to, besides itself.
    #[serde(default)]
    pub redirect_hosts: Vec<String>,
}

/// A URL that can be asked: one that cannot is a mistake in the configuration.
fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let url = String::deserialize(deserializer)?;
    Base::parse(&url, &[]).map_err(D::Error::custom)?;
    Ok(url)
}

impl MirrorConfig {
    /// Looks for values that do not go together; the key at fault, and what is wrong.
    ///
    /// # Errors
    /// When there are such.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let told = match self.kind {
            Kind::Apt => !self.suites.is_empty(),
            Kind::Dnf => !self.paths.is_empty(),
        };
        if self.kind == Kind::Apt && !self.paths.is_empty() {
            return Err(("paths", "they are for kind = \"dnf\"; for apt name suites and components".into()));
        }
        if let Some(path) =
            self.paths.iter().find(|path| !path.is_ascii() || path.contains(' ') || !plain(path))
        {
            let example = "write the folder that has a repodata, such as 9/BaseOS/x86_64/os";
            return Err((
                "paths",
                format!("'{}' is not a path below the URL; {example}", path.escape_debug()),
            ));
        }
        if told && self.kind == Kind::Apt && self.components.is_empty() {
            return Err(("components", "the suites need components, such as [\"main\"]".into()));
        }
        match &self.keyring {
            None if told => Err((
                "keyring",
                "nodes need the key that signs it: the path of a file on them, such as /usr/share/keyrings/debian-archive-keyring.gpg".into(),
            )),
            Some(path) if !is_key_path(path) => {
                Err(("keyring", format!("'{}' is not an absolute path without blanks", path.escape_debug())))
            }
            _ => Ok(()),
        }
    }
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
    #[error(
        "the file has more than {0} bytes, the most that is kept; raise `file_gib` under [mirrors] in the configuration"
    )]
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
