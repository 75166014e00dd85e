//! What the agent of an installed host keeps below `/etc/firstlight/agent`: where its appliance is, and who it is.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::AgentError;
use crate::model::{ImageRef, Sha256Digest};
use crate::trust::client::Credentials;
use crate::trust::write_durably;

/// Where they lie.
pub const FOLDER: &str = "/etc/firstlight/agent";
/// The settings' file.
pub const SETTINGS: &str = "agent.toml";
/// The file with the private key and the certificate: one file, so that a power cut cannot part them.
pub const IDENTITY: &str = "node.pem";

/// Where the appliance is, and what it installed here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where it listens for agents, `https://ADDRESS:PORT`; the first that answers is used.
    pub servers: Vec<String>,
    /// SHA-256 of its authority's certificate.
    pub authority: Sha256Digest,
    /// The image on this disk, where the appliance installed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
}

impl Settings {
    /// As the text of the file.
    ///
    /// # Errors
    /// When it cannot be written as TOML.
    pub fn text(&self) -> Result<String, AgentError> {
        toml::to_string(self).map_err(|error| AgentError::machine("write the agent's settings", error))
    }
}

/// Reads what is in `folder`.
///
/// # Errors
/// When a file is missing, or makes no sense.
pub fn read(folder: &Path) -> Result<(Settings, Credentials), AgentError> {
    let text = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|error| {
            let hint = "; `firstlight agent enrol` makes it";
            AgentError::machine(format!("read {}", path.display()), format!("{error}{hint}"))
        })
    };
    let settings = toml::from_str(&text(SETTINGS)?)
        .map_err(|error| AgentError::machine(format!("use {SETTINGS}"), error.message()))?;
    let identity = text(IDENTITY)?;
    Ok((settings, Credentials { key: identity.clone(), certificate: identity }))
}

/// Writes all into `folder`, so that after a power cut either what was there is there, or this.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path, settings: &Settings, credentials: &Credentials) -> Result<(), AgentError> {
    std::fs::create_dir_all(folder)
        .map_err(|error| AgentError::machine(format!("make {}", folder.display()), error))?;
    write_credentials(folder, credentials)?;
    put(folder, SETTINGS, settings.text()?.as_bytes(), 0o644)
}

/// Writes a key and its certificate.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_credentials(folder: &Path, credentials: &Credentials) -> Result<(), AgentError> {
    put(folder, IDENTITY, identity_text(credentials).as_bytes(), 0o600)
}

/// A key and its certificate as the text of their file.
pub fn identity_text(credentials: &Credentials) -> String {
    format!("{}{}", credentials.key, credentials.certificate)
}

fn put(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), AgentError> {
    let path = folder.join(name);
    write_durably(&path, bytes, mode)
        .map_err(|error| AgentError::machine(format!("write {}", path.display()), error))
}
