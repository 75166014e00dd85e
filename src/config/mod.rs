//! The operator's configuration: one TOML file.
//!
//! [`wire`] is the file as written; [`checked`] is what the program works with, every value parsed and every
//! contradiction refused. Nothing else reads the file.

pub mod allowlist;
mod checked;
mod wire;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use checked::{Config, Deadlines, Enrolment, LogFormat, Policy, Ramdisk, Unknown};
pub use wire::syntax_error;

/// Where the configuration lies when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/firstlight/firstlight.toml";

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {cause}; `firstlight init` writes one for this host")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The file is not TOML, or has a key or a type that does not exist.
    #[error("{path}, line {line}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line at fault, from 1.
        line: usize,
        /// What is wrong, with the nearest valid name.
        message: String,
    },
    /// A value makes no sense.
    #[error("{path}: {key}: {message}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key at fault.
        key: String,
        /// What is wrong with it, and what to write.
        message: String,
    },
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, has an unknown key, or a value that makes no sense.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
        Self::parse(&text, path)
    }

    /// Checks a configuration's text; `path` is only for messages.
    ///
    /// # Errors
    /// When it has an unknown key, or a value that makes no sense.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let wire = wire::parse(text, path)?;
        checked::check(wire).map_err(|(key, message)| ConfigError::Value {
            path: path.to_owned(),
            key,
            message,
        })
    }
}

#[cfg(test)]
mod tests;
